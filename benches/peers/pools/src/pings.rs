//! Pings over loopback TCP, from a program with one client and many threads.

use std::sync::Arc;
use std::time::Duration;

use crate::load::{Waits, run};
use crate::peers::{NAMES, Pingers};
use crate::table::{Results, head};

/// The duration of one run.
const TIME: Duration = Duration::from_millis(400);

const THREADS: [usize; 4] = [1, 2, 8, 64];

pub(crate) fn measure(port: u16, rounds: usize) {
    let waits = [(); 3].map(|()| Arc::new(Waits::new()));
    let quiet = Pingers::new(port, None);
    let noted = Pingers::new(port, Some(waits.clone()));
    // Makes every pool establish all its connections.
    for peer in 0..NAMES.len() {
        run(64, TIME, &|| quiet.ping(peer));
        run(64, TIME, &|| noted.ping(peer));
    }
    head("ping");
    for threads in THREADS {
        let mut results: [Results; 3] = Default::default();
        for round in 0..=rounds {
            for (peer, results) in results.iter_mut().enumerate() {
                let counted = run(threads, TIME, &|| quiet.ping(peer));
                waits[peer].forget();
                run(threads, TIME, &|| noted.ping(peer));
                // The first round warms up.
                if round > 0 {
                    results.add(&counted, waits[peer].percentiles());
                }
            }
        }
        Results::print(threads, &NAMES, &results);
    }
}
