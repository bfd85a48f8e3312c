//! Check-outs and check-ins, with no or some work between them.
//!
//! Only for mongotls and r2d2, because the pool of the `mongodb` crate is not accessible separately.

use std::hint::black_box;
use std::time::{Duration, Instant};

use crate::load::{Waits, Work, run};
use crate::peers::{NAMES, fill, our_pool, r2d2_pool};
use crate::table::{Results, head};

/// The duration of one run. Long enough for each thread to get a CPU several times.
const TIME: Duration = Duration::from_millis(100);
const TIME_OF_MANY: Duration = Duration::from_millis(500);

/// The time for which a thread works with its connection, in microseconds.
const HOLDS: [u64; 2] = [0, 20];

const THREADS: [usize; 4] = [1, 2, 8, 64];

pub(crate) fn measure(port: u16, rounds: usize) {
    let ours = our_pool(port);
    fill(|| ours.check_out().expect("a connection"));
    let r2d2 = r2d2_pool(port);
    fill(|| r2d2.get().expect("a connection"));
    let waits = Waits::new();
    for hold in HOLDS {
        head(&format!("check-out and check-in, held for {hold} µs"));
        let hold = Work::of(Duration::from_micros(hold));
        for threads in THREADS {
            let time = if threads > 8 { TIME_OF_MANY } else { TIME };
            let mut results: [Results; 2] = Default::default();
            for round in 0..=rounds {
                let timed = |check_out: &(dyn Fn() -> Duration + Sync)| {
                    waits.forget();
                    run(threads, time, &|| waits.note(check_out()));
                    waits.percentiles()
                };
                let runs = [
                    run(threads, time, &|| {
                        let connection = ours.check_out().expect("a connection");
                        hold.run();
                        drop(black_box(connection));
                    }),
                    run(threads, time, &|| {
                        let connection = r2d2.get().expect("a connection");
                        hold.run();
                        drop(black_box(connection));
                    }),
                ];
                let waited = [
                    timed(&|| {
                        let asked = Instant::now();
                        let connection = ours.check_out().expect("a connection");
                        let waited = asked.elapsed();
                        hold.run();
                        drop(black_box(connection));
                        waited
                    }),
                    timed(&|| {
                        let asked = Instant::now();
                        let connection = r2d2.get().expect("a connection");
                        let waited = asked.elapsed();
                        hold.run();
                        drop(black_box(connection));
                        waited
                    }),
                ];
                // The first round warms up.
                if round > 0 {
                    for ((results, run), waited) in results.iter_mut().zip(&runs).zip(&waited) {
                        results.add(run, *waited);
                    }
                }
            }
            Results::print(threads, &NAMES[..2], &results);
        }
    }
}
