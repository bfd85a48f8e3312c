//! The rate at which connections are established: many threads need one each, all at once.

use std::sync::Barrier;
use std::thread;
use std::time::{Duration, Instant};

use mongotls::Client;
use mongotls::bson::doc;

use crate::common::median;
use crate::process::cpu;
use crate::server::{MEET, Servers};

const ROUNDS: usize = 5;

/// Prints the number of connections per second, if this number is needed at once.
pub(crate) fn print(servers: &Servers, counts: &[u32]) {
    println!();
    println!(
        "| connections | `maxConnecting` | full, a second | client's CPU, each | resumed, a second | client's CPU, each | share that was resumed | cores busy with full ones | the server's share |"
    );
    println!("|---|---|---|---|---|---|---|---|---|");
    for &count in counts {
        for connecting in [2, 8] {
            let options = format!("&maxPoolSize={count}&maxConnecting={connecting}");
            let full = measure(servers, &(servers.forgetful.clone() + &options), count);
            let resumed = measure(servers, &(servers.resuming.clone() + &options), count);
            println!(
                "| {count} | {connecting} | {:.0} | {:.0} µs | {:.0} | {:.0} µs | {:.0} % | {:.1} | {:.0} % |",
                full.rate,
                full.cpu * 1e6,
                resumed.rate,
                resumed.cpu * 1e6,
                resumed.resumed * 100.0,
                full.cores,
                full.share * 100.0
            );
        }
    }
}

struct Rate {
    /// Connections per second.
    rate: f64,
    /// The processor time of one in this process, in seconds.
    cpu: f64,
    /// The share of the connections that resumed a session.
    resumed: f64,
    /// The number of processors that either side used.
    cores: f64,
    /// The server's share of that.
    share: f64,
}

fn measure(servers: &Servers, uri: &str, count: u32) -> Rate {
    let own = std::process::id();
    let (mut rates, mut resumed) = (Vec::new(), 0);
    let (mut clients, mut server, mut clock) = (Duration::ZERO, Duration::ZERO, Duration::ZERO);
    // For few connections, enough rounds to measure the processor time.
    let rounds = ROUNDS.max((500 / count) as usize);
    for _ in 0..rounds {
        let client = Client::connect(uri).unwrap();
        while !client
            .snapshot()
            .topology
            .servers
            .values()
            .all(|it| it.is_available())
        {
            thread::sleep(Duration::from_millis(1));
        }
        let (before, begin) = (client.snapshot(), (cpu(own), cpu(servers.process)));
        let took = connect(&client, count);
        clients += cpu(own) - begin.0;
        server += cpu(servers.process) - begin.1;
        clock += took;
        resumed += client.snapshot().resumed_handshakes - before.resumed_handshakes;
        rates.push(f64::from(count) / took.as_secs_f64());
    }
    let both = (clients + server).as_secs_f64();
    #[allow(clippy::cast_precision_loss)]
    let all = f64::from(count) * rounds as f64;
    #[allow(clippy::cast_precision_loss)]
    let resumed = resumed as f64 / all;
    Rate {
        rate: median(&mut rates),
        cpu: clients.as_secs_f64() / all,
        resumed,
        cores: both / clock.as_secs_f64(),
        share: server.as_secs_f64() / both,
    }
}

/// Makes the client establish this number of connections, and returns the time until all exist.
fn connect(client: &Client, count: u32) -> Duration {
    let ready = Barrier::new(count as usize + 1);
    let (ready, meet) = (&ready, doc! { MEET: i32::try_from(count).unwrap() });
    thread::scope(|scope| {
        let spawn = |_| {
            let database = client.database("admin");
            let meet = meet.clone();
            let thread = thread::Builder::new().stack_size(256 * 1024);
            let work = move || {
                ready.wait();
                database.run_command(meet).unwrap();
            };
            thread.spawn_scoped(scope, work).unwrap()
        };
        let threads: Vec<_> = (0..count).map(spawn).collect();
        ready.wait();
        let started = Instant::now();
        threads
            .into_iter()
            .for_each(|thread| thread.join().unwrap());
        started.elapsed()
    })
}
