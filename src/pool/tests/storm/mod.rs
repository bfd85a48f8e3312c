//! Tests of the pool under threads that behave randomly, with mock connections.
//!
//! A dial may be slow, fail or panic. A connection may perish, be found closed after it was idle, or be dropped by a
//! panic. The pool is cleared with and without interruption, retired, made ready, maintained in the background, and
//! finally closed. The tests do not rely on the pool's own state: connections and events are counted independently.
//!
//! `MONGOTLS_FUZZ_ROUNDS` sets the number of steps (a step is one attempt to check out, with what follows), and
//! `MONGOTLS_FUZZ_SEED` the first seed. A failure prints its seed. The seed repeats the choices, but not the moments
//! at which the system switches threads.

mod bench;
mod ledger;

use std::io::Write;
use std::panic::{AssertUnwindSafe, catch_unwind, resume_unwind};
use std::sync::atomic::Ordering::SeqCst;
use std::sync::{Barrier, mpsc};
use std::thread;

use mongotls_testbench::random::{Random, rounds};

use self::bench::{Bench, Faults};
use self::ledger::Ledger;
use super::*;
use crate::time::TimeoutKind;

/// A pool with its environment.
struct Site {
    pool: Arc<Pool<Bench>>,
    bench: Arc<Bench>,
    ledger: Arc<Ledger>,
    plan: StormPlan,
}

/// The parameters of a storm.
#[derive(Clone, Copy, Debug)]
struct StormPlan {
    seed: u64,
    max_size: usize,
    min_size: usize,
    max_connecting: usize,
    max_idle: Option<Duration>,
    wait_limit: Option<Duration>,
    /// True if clearing interrupts connections in use.
    interrupts: bool,
    faults: Faults,
}

impl StormPlan {
    fn chosen_by(random: &mut Random, seed: u64) -> Self {
        let max_size = 1 + random.below(6);
        Self {
            seed,
            max_size,
            min_size: [0, 0, 1, max_size][random.below(4)],
            max_connecting: 1 + random.below(3),
            max_idle: [
                None,
                Some(Duration::from_millis(1 + random.below(20) as u64)),
            ][random.below(2)],
            wait_limit: [
                None,
                Some(Duration::from_millis(1 + random.below(4) as u64)),
            ][random.below(2)],
            interrupts: random.below(2) == 0,
            faults: Faults {
                slow: [0, 50, 400][random.below(3)],
                fail_one_in: [0, 8, 2][random.below(3)],
                panic_one_in: [0, 40][random.below(2)],
                dead_one_in: [0, 4][random.below(2)],
                behind_load_balancer: random.below(3) == 0,
                seed,
            },
        }
    }

    fn site(self) -> Site {
        let (options, _) = ClientOptions::parse("mongodb://db.example/").unwrap();
        let ledger = Arc::new(Ledger::default());
        let bench = Arc::new(Bench::new(self.faults, self.max_size, self.max_connecting));
        let listener_ledger = Arc::clone(&ledger);
        let mut settings = PoolSettings::new(&options);
        settings.listener = EventListener::new(move |event| listener_ledger.note(event));
        settings.limits = Limits {
            max_size: self.max_size,
            min_size: self.min_size,
            max_connecting: self.max_connecting,
            max_idle_time: self.max_idle,
        };
        settings.wait_queue_timeout = self.wait_limit;
        settings.checked_when_idle_for = Duration::from_micros(50);
        let pool = Pool::new(options.hosts[0].clone(), Arc::clone(&bench), settings);
        pool.announce();
        Site {
            pool,
            bench,
            ledger,
            plan: self,
        }
    }
}

impl Site {
    /// Closes the pool, and checks that nothing of it remains.
    fn end(self) {
        self.pool.close();
        assert_eq!(self.pool.drain(Some(Instant::now() + LONG)), []);
        // The background thread may still hold a connection.
        let started = Instant::now();
        while self.bench.alive.load(SeqCst) > 0 || Arc::strong_count(&self.pool) > 1 {
            assert!(started.elapsed() < LONG, "{:?}", self.pool.snapshot());
            thread::yield_now();
        }
        let PoolSnapshot {
            available,
            in_use,
            pending,
            waiting,
            ..
        } = self.pool.snapshot();
        assert_eq!((available, in_use, pending, waiting), (0, 0, 0, 0));
        let dials = self.bench.dials.load(SeqCst);
        assert_eq!(self.bench.sound_dials.load(SeqCst), dials);
        self.ledger.check_at_the_end(dials);
    }
}

/// Uses the pool for `steps` steps in one thread.
fn use_it(site: &Site, random: &mut Random, steps: u64) {
    let Site {
        pool, bench, plan, ..
    } = site;
    let mut step = 0;
    while step < steps {
        step += 1;
        let limit = match random.below(8) {
            0 => Some(Duration::ZERO),
            1 => Some(Duration::from_micros(random.below(500) as u64)),
            _ => None,
        };
        let started = Instant::now();
        let deadline =
            limit.map(|limit| Deadline::after(started, Some(limit), TimeoutKind::Operation));
        let census = bench.enter();
        let cleared = bench.cleared.load(SeqCst);
        let outcome = catch_unwind(AssertUnwindSafe(|| pool.check_out(deadline)));
        let took = started.elapsed();
        let mut connection = match outcome {
            Ok(Ok(connection)) => connection,
            Ok(Err(error)) => {
                check_failure(&error, plan, took, limit);
                if error.is_timeout() {
                    bench.tally.timed_out.fetch_add(1, SeqCst);
                } else if error.is_pool_cleared() {
                    bench.tally.refused.fetch_add(1, SeqCst);
                    // Acts as a monitor that finds the server available; otherwise every further check-out would
                    // fail.
                    thread::yield_now();
                    if random.below(4) == 0 {
                        pool.ready();
                    }
                } else {
                    bench.tally.failed.fetch_add(1, SeqCst);
                }
                continue;
            }
            Err(panic) => {
                if bench::text(&*panic) != bench::PANIC {
                    resume_unwind(panic);
                }
                continue;
            }
        };
        let used = census.add();
        connection.begin_use();
        bench.tally.served.fetch_add(1, SeqCst);
        if !connection.is_new() {
            bench.tally.reused.fetch_add(1, SeqCst);
            assert!(!connection.was_spoilt, "it was given back so");
            assert!(
                connection.cleared_before >= cleared,
                "it is older than a clear that was over before the check-out began"
            );
        }
        match random.below(64) {
            0..4 => thread::sleep(Duration::from_micros(random.below(100) as u64)),
            4..12 => thread::yield_now(),
            12..16 => connection.perish(),
            16 => connection.clear_pool(Some(&Error::protocol("of a user"))),
            _ => {}
        }
        if random.below(64) == 0 {
            // A panic of the program drops the guard.
            let panic = catch_unwind(AssertUnwindSafe(|| {
                connection.end_use();
                drop(used);
                let _connection = connection;
                resume_unwind(Box::new(()));
            }));
            assert!(panic.is_err());
            continue;
        }
        connection.end_use();
        drop(used);
        drop(connection);
    }
}

fn check_failure(error: &Error, plan: &StormPlan, took: Duration, limit: Option<Duration>) {
    if error.is_timeout() {
        let own = plan.wait_limit.unwrap_or(Duration::MAX);
        let least = own.min(limit.unwrap_or(Duration::MAX));
        assert!(took >= least, "{error}: after {took:?}");
        assert!(took < LONG, "it gave up long after its time");
        return;
    }
    assert!(
        error.is_pool_cleared() || error.to_string().contains(bench::FAILURE),
        "{error}"
    );
}

/// Clears the pool and makes it ready, like monitors and file reloads do, until all users have ended.
fn disturb(site: &Site, random: &mut Random, is_over: &mpsc::Receiver<()>) {
    let Site {
        pool, bench, plan, ..
    } = site;
    let pause = |random: &mut Random, most: usize| {
        let micros = random.below(most) as u64;
        is_over.recv_timeout(Duration::from_micros(micros)) == Err(mpsc::RecvTimeoutError::Timeout)
    };
    while pause(random, 3000) {
        let snapshot = pool.snapshot();
        let total = snapshot.available + snapshot.in_use + snapshot.pending;
        assert!(total <= plan.max_size, "{snapshot:?}");
        assert!(snapshot.pending <= plan.max_connecting, "{snapshot:?}");
        match random.below(3) {
            0 => bench.clearing(false, || pool.retire()),
            _ => {
                let interrupt = plan.interrupts && random.below(2) == 0;
                let because = Error::protocol("of the monitor");
                bench.clearing(interrupt, || pool.clear(Some(&because), interrupt));
                pause(random, 100);
            }
        }
        pool.ready();
    }
    pool.ready();
}

/// Runs a storm of `steps` steps in total; fails if a thread does not end. Returns the numbers of results.
fn storm(plan: StormPlan, steps: u64) -> [u64; 6] {
    let site = plan.site();
    site.pool.ready();
    let running = thread::scope(|scope| {
        let (over, is_over) = mpsc::channel();
        let (done, dones) = mpsc::channel();
        let site = &site;
        let disturber = scope.spawn(move || {
            disturb(site, &mut Random::seeded(plan.seed ^ 0xD157), &is_over);
        });
        for number in 0..THREADS {
            let done = done.clone();
            scope.spawn(move || {
                let mut random = Random::seeded(plan.seed.rotate_left(8) + number);
                let ended = catch_unwind(AssertUnwindSafe(|| {
                    use_it(site, &mut random, steps / THREADS)
                }));
                done.send(ended.map_err(|panic| bench::text(&*panic)))
                    .unwrap();
            });
        }
        drop(done);
        for _ in 0..THREADS {
            // A pool that stays paused does not count as a lost wake-up, because threads make it ready again and
            // again.
            let Ok(ended) = dones.recv_timeout(STUCK) else {
                give_up(&format!("stuck: {plan:?} {:?}", site.pool.snapshot()));
            };
            if let Err(panic) = ended {
                give_up(&format!("failed: {plan:?}: {panic}"));
            }
        }
        drop(over);
        disturber.join().map_err(|panic| bench::text(&*panic))
    });
    assert_eq!(running, Ok(()), "{plan:?}");
    let bench = Arc::clone(&site.bench);
    let ended = catch_unwind(AssertUnwindSafe(|| site.end()));
    if let Err(panic) = ended {
        panic!("{plan:?}: {}", bench::text(&*panic));
    }
    let dials = bench.dials.load(SeqCst);
    let tally = &bench.tally;
    let counts = [
        &tally.served,
        &tally.reused,
        &tally.refused,
        &tally.timed_out,
        &tally.failed,
    ];
    let [served, reused, refused, timed_out, failed] = counts.map(|count| count.load(SeqCst));
    [served, reused, refused, timed_out, failed, dials]
}

/// Aborts the process: threads may hang, and cannot be stopped.
fn give_up(why: &str) -> ! {
    // Not by a macro, whose output the test harness would capture.
    let _ = writeln!(std::io::stderr(), "{why}");
    std::process::abort();
}

#[test]
#[allow(clippy::print_stdout, reason = "a long run tells how far it came")]
fn a_storm_of_users_loses_nothing() {
    let target = rounds(60_000);
    let first = std::env::var("MONGOTLS_FUZZ_SEED").ok();
    let first: u64 = first.and_then(|text| text.parse().ok()).unwrap_or(1);
    let started = Instant::now();
    let mut all = [0; 6];
    for (seed, at) in (first..).zip((0..target).step_by(STEPS)) {
        let plan = StormPlan::chosen_by(&mut Random::seeded(seed), seed);
        for (all, one) in all.iter_mut().zip(storm(plan, STEPS as u64)) {
            *all += one;
        }
        let done = at + STEPS as u64;
        if done % 1_000_000 < STEPS as u64 {
            let [served, reused, refused, timed_out, failed, dials] = all;
            println!(
                "{done} steps, to seed {seed}, {:?}: {served} served ({reused} with what was there), {refused} refused, {timed_out} timed out, {failed} failed; {dials} dials",
                started.elapsed()
            );
        }
    }
}

/// 500 threads at once check out of a pool that has no connection yet.
#[test]
#[allow(clippy::print_stdout, reason = "figures that are reported")]
fn a_cold_pool_does_not_storm_its_server() {
    for (max_connecting, max_size) in [(2, 100), (8, 100), (2, 3)] {
        let plan = StormPlan {
            seed: 1,
            max_size,
            min_size: 0,
            max_connecting,
            max_idle: None,
            wait_limit: None,
            interrupts: false,
            faults: Faults {
                slow: 500,
                ..Faults::default()
            },
        };
        let site = plan.site();
        site.pool.ready();
        let barrier = Barrier::new(CROWD);
        let mut waited: Vec<_> = thread::scope(|scope| {
            let check_out = || {
                scope.spawn(|| {
                    barrier.wait();
                    let census = site.bench.enter();
                    let started = Instant::now();
                    let connection = site.pool.check_out(None).unwrap();
                    let waited = started.elapsed();
                    let used = census.add();
                    connection.begin_use();
                    thread::sleep(Duration::from_micros(200));
                    connection.end_use();
                    drop(used);
                    waited
                })
            };
            let threads: Vec<_> = (0..CROWD).map(|_| check_out()).collect();
            let waited = threads.into_iter().map(|thread| thread.join().unwrap());
            waited.collect()
        });
        waited.sort_unstable();
        let most = site.bench.most_dialling.load(SeqCst);
        assert!(most <= max_connecting, "{most} dialled at once");
        let dials = site.bench.dials.load(SeqCst);
        assert!(dials <= max_size as u64, "{dials} dials");
        println!(
            "{CROWD} threads, maxConnecting={max_connecting}, maxPoolSize={max_size}: {dials} dials, {most} at once; waited {:?} at the median, {:?} at the 99th percentile, {:?} at most",
            waited[CROWD / 2],
            waited[CROWD * 99 / 100],
            waited[CROWD - 1],
        );
        site.end();
    }
}

#[test]
fn waiting_threads_are_served_in_the_order_of_their_arrival() {
    let plan = StormPlan {
        seed: 1,
        max_size: 1,
        min_size: 0,
        max_connecting: 1,
        max_idle: None,
        wait_limit: None,
        interrupts: false,
        faults: Faults::default(),
    };
    let site = plan.site();
    site.pool.ready();
    let held = site.pool.check_out(None).unwrap();
    let served = Mutex::new(Vec::new());
    thread::scope(|scope| {
        for number in 0..QUEUE {
            let (site, served) = (&site, &served);
            scope.spawn(move || {
                let mut connection = site.pool.check_out(None).unwrap();
                served.lock().push(number);
                // The result is the connection itself or a lease for a new one; the order is the same.
                if number % 3 == 0 {
                    connection.perish();
                }
            });
            let started = Instant::now();
            while site.pool.snapshot().waiting <= number {
                assert!(started.elapsed() < LONG);
                thread::yield_now();
            }
        }
        drop(held);
    });
    assert_eq!(*served.lock(), (0..QUEUE).collect::<Vec<_>>());
    site.end();
}

#[test]
fn a_panic_in_the_background_does_not_end_the_maintenance() {
    let plan = StormPlan {
        seed: 1,
        max_size: 3,
        min_size: 3,
        max_connecting: 2,
        max_idle: Some(LONG),
        wait_limit: None,
        interrupts: false,
        faults: Faults {
            panic_one_in: 1,
            ..Faults::default()
        },
    };
    let site = plan.site();
    site.pool.ready();
    let until = |is_so: &dyn Fn() -> bool| {
        let started = Instant::now();
        while !is_so() {
            assert!(started.elapsed() < LONG, "{:?}", site.pool.snapshot());
            thread::yield_now();
        }
    };
    until(&|| site.bench.dials.load(SeqCst) > 0 && site.pool.snapshot().pending == 0);
    site.bench.has_recovered.store(true, SeqCst);
    site.pool.wake_maintenance();
    until(&|| site.pool.snapshot().available == 3);
    site.end();
}

/// Only the error that clears the pool is reported as the reason of the clear.
#[test]
fn a_stale_error_is_not_what_a_pool_was_cleared_for() {
    let plan = StormPlan::chosen_by(&mut Random::seeded(1), 1);
    let site = StormPlan {
        max_size: 2,
        faults: Faults::default(),
        ..plan
    }
    .site();
    site.pool.ready();
    let old = site.pool.check_out(None).unwrap();
    site.pool.clear(Some(&Error::protocol("the first")), false);
    old.clear_pool(Some(&Error::protocol("the late")));
    let error = site.pool.check_out(None).unwrap_err();
    let source = std::error::Error::source(&error).unwrap();
    assert_eq!(source.to_string(), "the first");
    drop(old);
    site.end();
}

/// The number of users in a storm.
const THREADS: u64 = 6;

/// The number of steps in one storm.
const STEPS: usize = 6000;

/// The number of threads that check out of a cold pool at once.
const CROWD: usize = 500;

/// The number of threads that wait in the queue.
const QUEUE: usize = 64;

/// The time limit for events that happen at once unless something is wrong.
const LONG: Duration = Duration::from_secs(20);

/// The time after which a waiting thread counts as forgotten.
const STUCK: Duration = Duration::from_secs(60);
