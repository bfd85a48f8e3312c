//! Threads that all repeat one operation for some time, and the results.

use std::hint::black_box;
use std::sync::atomic::{AtomicBool, AtomicU32, AtomicUsize, Ordering};
use std::sync::{Barrier, Mutex};
use std::thread;
use std::time::{Duration, Instant};

/// The result of a run.
pub(crate) struct Run {
    /// The operations of each thread.
    operations: Vec<u64>,
    /// From the start of the first thread until the last one had ended.
    elapsed: Duration,
}

impl Run {
    /// The elapsed time for one operation of all threads together, in nanoseconds.
    pub(crate) fn each(&self) -> f64 {
        let operations: u64 = self.operations.iter().sum();
        self.elapsed.as_secs_f64() * 1e9 / operations as f64
    }

    /// The operations of the thread with the fewest, as a part of those of the thread with the most.
    pub(crate) fn share(&self) -> f64 {
        let least = self.operations.iter().min().copied().unwrap_or(0);
        let most = self.operations.iter().max().copied().unwrap_or(0);
        least as f64 / most as f64
    }
}

/// Makes this number of threads repeat `work` until `time` has passed.
pub(crate) fn run(threads: usize, time: Duration, work: &(impl Fn() + Sync)) -> Run {
    let (barrier, over) = (Barrier::new(threads + 1), AtomicBool::new(false));
    let ended = Mutex::new(Vec::new());
    thread::scope(|scope| {
        for _ in 0..threads {
            scope.spawn(|| {
                barrier.wait();
                // The first thread's start counts: this one may get a CPU long after the others.
                let started = Instant::now();
                let mut count = 0;
                while !over.load(Ordering::Relaxed) {
                    work();
                    count += 1;
                }
                ended.lock().unwrap().push((count, started));
            });
        }
        barrier.wait();
        thread::sleep(time);
        over.store(true, Ordering::Relaxed);
    });
    let now = Instant::now();
    let (operations, started): (Vec<u64>, Vec<Instant>) =
        ended.into_inner().unwrap().into_iter().unzip();
    Run {
        operations,
        elapsed: now - started.into_iter().min().unwrap_or(now),
    }
}

/// Durations that any thread records without waiting for another.
pub(crate) struct Waits {
    noted: AtomicUsize,
    nanoseconds: Vec<AtomicU32>,
}

/// The median, the 99th percentile and the maximum of the recorded values, in nanoseconds.
#[derive(Clone, Copy)]
pub(crate) struct Percentiles {
    pub(crate) median: f64,
    pub(crate) p99: f64,
    pub(crate) longest: f64,
}

impl Waits {
    pub(crate) fn new() -> Self {
        Self {
            noted: AtomicUsize::new(0),
            nanoseconds: (0..MOST_WAITS).map(|_| AtomicU32::new(0)).collect(),
        }
    }

    /// Records one; values above the limit are ignored.
    pub(crate) fn note(&self, wait: Duration) {
        let at = self.noted.fetch_add(1, Ordering::Relaxed);
        if let Some(slot) = self.nanoseconds.get(at) {
            let wait = u32::try_from(wait.as_nanos()).unwrap_or(u32::MAX);
            slot.store(wait, Ordering::Relaxed);
        }
    }

    pub(crate) fn forget(&self) {
        self.noted.store(0, Ordering::Relaxed);
    }

    pub(crate) fn percentiles(&self) -> Percentiles {
        let noted = self.noted.load(Ordering::Relaxed).min(MOST_WAITS);
        let noted = &self.nanoseconds[..noted];
        let mut sorted: Vec<u32> = noted
            .iter()
            .map(|wait| wait.load(Ordering::Relaxed))
            .collect();
        sorted.sort_unstable();
        let at = |part: usize| {
            let index = (sorted.len() * part / 100).min(sorted.len().saturating_sub(1));
            sorted.get(index).copied().map_or(f64::NAN, f64::from)
        };
        Percentiles {
            median: at(50),
            p99: at(99),
            longest: at(100),
        }
    }
}

const MOST_WAITS: usize = 4 << 20;

/// Work of a certain length on a CPU: rounds of arithmetic instead of a clock, which continues while another thread has
/// the CPU.
#[derive(Clone, Copy)]
pub(crate) struct Work {
    rounds: u64,
}

impl Work {
    pub(crate) fn of(length: Duration) -> Self {
        const TRIAL: Work = Work { rounds: 100_000 };
        let fastest = (0..20)
            .map(|_| {
                let started = Instant::now();
                TRIAL.run();
                started.elapsed()
            })
            .min()
            .unwrap_or_default();
        let rounds = TRIAL.rounds as f64 * length.as_secs_f64() / fastest.as_secs_f64();
        Self {
            rounds: rounds as u64,
        }
    }

    pub(crate) fn run(self) {
        let mut state = 1_u64;
        for round in 0..self.rounds {
            state = black_box(
                state
                    .wrapping_mul(6_364_136_223_846_793_005)
                    .wrapping_add(round),
            );
        }
    }
}
