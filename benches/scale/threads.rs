//! The number of pings per second of several threads together, and their waits for connections.

use std::cell::RefCell;
use std::hint::black_box;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread;
use std::time::{Duration, Instant};

use mongotls::bson::rawdoc;
use mongotls::event::{Event, PoolEventKind};
use mongotls::{Client, ConnectionString};

use crate::common::median;
use crate::process::cpu;
use crate::server::Servers;

const ROUNDS: usize = 3;
const ROUND: Duration = Duration::from_secs(1);

/// Prints a row for each pair of a number of threads and a number of connections.
pub(crate) fn print(servers: &Servers, pairs: &[(usize, usize)]) {
    println!();
    println!(
        "| threads | connections | pings a second | CPU of a ping, client's | check-out, median | p99 | cores busy | the server's share |"
    );
    println!("|---|---|---|---|---|---|---|---|");
    for &(threads, connections) in pairs {
        let uri = format!(
            "{}&minPoolSize={connections}&maxPoolSize={connections}",
            servers.resuming
        );
        let rate = rate(servers, &uri, threads, connections);
        // In separate runs: the counted ones above have no listener.
        let (middle, p99) = waits(&uri, threads, connections);
        println!(
            "| {threads} | {connections} | {:.0} | {:.1} µs | {} | {} | {:.1} | {:.0} % |",
            rate.pings,
            rate.cpu * 1e6,
            human(middle),
            human(p99),
            rate.cores,
            rate.share * 100.0
        );
    }
}

struct Rate {
    /// Pings per second, of all threads together.
    pings: f64,
    /// The processor time of one in this process, in seconds.
    cpu: f64,
    /// The number of processors that either side used.
    cores: f64,
    /// The server's share of that.
    share: f64,
}

fn rate(servers: &Servers, uri: &str, threads: usize, connections: usize) -> Rate {
    let client = Client::connect(uri).unwrap();
    wait_for_connections(&client, connections);
    let own = std::process::id();
    let (mut rates, mut pings) = (Vec::new(), 0);
    let begin = (cpu(own), cpu(servers.process), Instant::now());
    for _ in 0..ROUNDS {
        let started = Instant::now();
        let counts = load(&client, threads, || ());
        let count: u32 = counts.iter().map(|(count, ())| count).sum();
        rates.push(f64::from(count) / started.elapsed().as_secs_f64());
        pings += count;
    }
    let (own, server) = (cpu(own) - begin.0, cpu(servers.process) - begin.1);
    let both = (own + server).as_secs_f64();
    Rate {
        pings: median(&mut rates),
        cpu: own.as_secs_f64() / f64::from(pings),
        cores: both / begin.2.elapsed().as_secs_f64(),
        share: server.as_secs_f64() / both,
    }
}

thread_local! {
    /// The durations of this thread's check-outs.
    static WAITS: RefCell<Vec<Duration>> = const { RefCell::new(Vec::new()) };
}

/// The median and the 99th percentile of the duration of check-outs, from the pool's events.
fn waits(uri: &str, threads: usize, connections: usize) -> (Duration, Duration) {
    let options = ConnectionString::parse(uri).unwrap().into_builder();
    let options = options.event_listener(|event| {
        let Event::Pool(event) = event else { return };
        if let PoolEventKind::ConnectionCheckedOut { duration, .. } = event.kind {
            WAITS.with_borrow_mut(|waits| waits.push(duration));
        }
    });
    let client = Client::with_options(options.build().unwrap()).unwrap();
    wait_for_connections(&client, connections);
    let waits = load(&client, threads, || WAITS.take());
    let mut waits: Vec<Duration> = waits.into_iter().flat_map(|(_, waits)| waits).collect();
    waits.sort();
    (waits[waits.len() / 2], waits[waits.len() * 99 / 100])
}

/// Makes threads ping for a round; returns the number of pings and the result of `end` for each thread.
fn load<T: Send>(client: &Client, threads: usize, end: impl Fn() -> T + Sync) -> Vec<(u32, T)> {
    let over = AtomicBool::new(false);
    thread::scope(|scope| {
        let work = || {
            let admin = client.database("admin");
            let ping = rawdoc! { "ping": 1_i32 };
            let mut count = 0;
            while !over.load(Ordering::Relaxed) {
                black_box(admin.run_raw_command(ping.as_ref()).unwrap());
                count += 1;
            }
            (count, end())
        };
        let threads: Vec<_> = (0..threads).map(|_| scope.spawn(work)).collect();
        thread::sleep(ROUND);
        over.store(true, Ordering::Relaxed);
        threads
            .into_iter()
            .map(|thread| thread.join().unwrap())
            .collect()
    })
}

/// Until the pool has made them in the background.
pub(crate) fn wait_for_connections(client: &Client, count: usize) {
    let available = || {
        client
            .snapshot()
            .pools
            .iter()
            .map(|it| it.available)
            .sum::<usize>()
    };
    while available() < count {
        thread::sleep(Duration::from_millis(1));
    }
}

fn human(time: Duration) -> String {
    match time.as_secs_f64() * 1e6 {
        us if us < 1.0 => format!("{:.0} ns", us * 1e3),
        us if us < 1000.0 => format!("{us:.1} µs"),
        us => format!("{:.1} ms", us / 1e3),
    }
}
