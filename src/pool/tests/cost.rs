//! The cost of checking out an available connection: no allocation, and no system call.

use std::fs;
use std::process::{Command, Stdio};

use super::*;
use crate::time::TimeoutKind;

/// A dialer whose connections do nothing.
struct Nothing;

impl Dial for Nothing {
    type Connection = Self;

    fn dial(
        &self,
        _server: &ServerAddress,
        _place: Lease,
        _interrupt: &Arc<Interrupt>,
        _deadline: Option<Deadline>,
        _served_by: &mut dyn FnMut(ObjectId),
    ) -> Result<Self> {
        Ok(Self)
    }

    fn failed(&self, _pool: &Pool<Self>, _on: Lease, _error: &Error) {
        panic!("nothing fails")
    }
}

impl Pooled for Nothing {
    fn has_perished(&self) -> bool {
        false
    }

    fn is_open(&mut self) -> bool {
        panic!("nothing was unused for so long")
    }
}

/// Returns a pool with one connection, with all limits set and no listener.
fn pool() -> Arc<Pool<Nothing>> {
    let uri = "mongodb://db.example/?maxPoolSize=2&maxIdleTimeMS=60000&waitQueueTimeoutMS=60000";
    let (options, _) = ClientOptions::parse(uri).unwrap();
    let settings = PoolSettings::new(&options);
    let pool = Pool::new(options.hosts[0].clone(), Arc::new(Nothing), settings);
    pool.ready();
    drop(pool.check_out(None).unwrap());
    pool
}

/// Does one check-out with a deadline, and the check-in.
fn once(pool: &Arc<Pool<Nothing>>) {
    let limit = Some(Duration::from_secs(30));
    let deadline = Deadline::after(Instant::now(), limit, TimeoutKind::Client);
    let connection = pool.check_out(Some(deadline)).unwrap();
    assert!(!connection.is_new());
}

#[test]
fn a_check_out_allocates_nothing() {
    let pool = pool();
    let info = allocation_counter::measure(|| (0..1000).for_each(|_| once(&pool)));
    assert_eq!(info.count_total, 0, "{info:?}");
    // Proves that the counter works.
    let info = allocation_counter::measure(|| drop(std::hint::black_box(Box::new(1))));
    assert_eq!(info.count_total, 1, "{info:?}");
}

/// Runs itself under strace, with and without many check-outs. If strace is missing or not permitted, the test prints
/// that and passes.
#[test]
#[allow(clippy::print_stderr, reason = "a test that is skipped says so")]
fn a_check_out_makes_no_system_call() {
    if let Ok(count) = std::env::var(CHILD) {
        let pool = pool();
        (0..count.parse().unwrap()).for_each(|_: u32| once(&pool));
        return;
    }
    let calls = |count: u32| {
        let log = std::env::temp_dir().join(format!("mongotls-{}-{count}", std::process::id()));
        let traced = Command::new("strace")
            .args(["-f", "-qq", "-o"])
            .arg(&log)
            .arg(std::env::current_exe().unwrap())
            .args(["--exact", "pool::cost::a_check_out_makes_no_system_call"])
            .env(CHILD, count.to_string())
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            .status();
        let calls = fs::read_to_string(&log).unwrap_or_default().lines().count();
        let _ = fs::remove_file(&log);
        traced.is_ok_and(|status| status.success()).then_some(calls)
    };
    let (Some(without), Some(with)) = (calls(0), calls(100_000)) else {
        eprintln!("SKIPPED: strace is not there, or may not trace");
        return;
    };
    assert!(without > 0);
    // The number varies: the process itself makes a few hundred calls at its start and end.
    assert!(with < without + 100, "{with}, without check-outs {without}");
}

/// Set in the process that strace observes: the number of check-outs that it makes.
const CHILD: &str = "MONGOTLS_COST_CHILD";
