//! A model test of the pool's lock and wait queue: `src/pool/state.rs` and `src/pool/wait_queue.rs` unchanged, on locks
//! whose threads a scheduler can switch at any point.
//!
//! The scheduler is shuttle's. Loom would try all schedules, but those of three threads that each take five locks are
//! too many already, and the relevant faults need three or four: one that returns a connection, one that waits, one
//! whose time limit passes, one that clears. Shuttle selects at random, also with few and well placed switches (PCT),
//! and can try all schedules of a small scenario. It does not model weak memory; the pool relies on it only behind its
//! locks.
//!
//! Each scenario runs `MONGOTLS_MODEL_SCHEDULES` times with either scheduler (default: 1000). A failure prints its
//! schedule; `MONGOTLS_MODEL_REPLAY` repeats it, with the test's name as the filter.

#![cfg(test)]

mod scenarios;
#[path = "../../../src/pool/state/mod.rs"]
#[allow(dead_code, reason = "the pool uses what the model does not")]
mod state;
mod sync;
#[path = "../../../src/pool/wait_queue.rs"]
#[allow(dead_code, reason = "the pool uses what the model does not")]
mod wait_queue;
mod world;

use shuttle::scheduler::{DfsScheduler, PctScheduler, RandomScheduler};
use shuttle::{Config, FailurePersistence, MaxSteps, Runner};

/// Runs `scenario` under many schedules: at random, and with three switches at critical points.
fn explore(scenario: impl Fn() + Send + Sync + 'static) {
    if let Ok(schedule) = std::env::var("MONGOTLS_MODEL_REPLAY") {
        shuttle::replay(scenario, &schedule);
        return;
    }
    let wanted = std::env::var("MONGOTLS_MODEL_SCHEDULES").ok();
    let schedules = wanted.and_then(|text| text.parse().ok()).unwrap_or(1000);
    let scenario = std::sync::Arc::new(scenario);
    let same = std::sync::Arc::clone(&scenario);
    Runner::new(RandomScheduler::new(schedules), config()).run(move || same());
    Runner::new(PctScheduler::new(3, schedules), config()).run(move || scenario());
}

/// Runs `scenario` under all possible schedules. It makes no choices of its own.
fn exhaust(scenario: impl Fn() + Send + Sync + 'static) {
    let run = Runner::new(DfsScheduler::new(Some(MOST), false), config()).run(scenario);
    assert!(run < MOST, "there are more than {MOST} schedules");
    eprintln!("all {run} schedules");
}

/// The maximum number of schedules for trying all of them.
const MOST: usize = 1_000_000;

fn config() -> Config {
    let mut config = Config::new();
    config.failure_persistence = FailurePersistence::Print;
    config.max_steps = MaxSteps::FailAfter(100_000);
    config
}
