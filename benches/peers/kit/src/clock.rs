//! The cost of a piece of work: CPU time of the whole process, and elapsed time.

use std::ops::AddAssign;
use std::time::Instant;

use rustix::time::{ClockId, clock_gettime};

/// Nanoseconds of both kinds.
#[derive(Clone, Copy, Debug, Default)]
pub struct Took {
    /// CPU time of all threads of this process together, including those that have ended.
    pub cpu: u64,
    /// Elapsed time.
    pub wall: u64,
}

impl AddAssign for Took {
    fn add_assign(&mut self, other: Self) {
        self.cpu += other.cpu;
        self.wall += other.wall;
    }
}

/// Does the work and returns its cost.
pub fn took(work: impl FnOnce()) -> Took {
    let (cpu, wall) = (process_cpu(), Instant::now());
    work();
    Took {
        cpu: process_cpu() - cpu,
        wall: nanoseconds_since(wall),
    }
}

/// Does work that should not count, and returns its CPU time in this thread, in nanoseconds.
pub fn uncounted(work: impl FnOnce()) -> u64 {
    let before = cpu(ClockId::ThreadCPUTime);
    work();
    cpu(ClockId::ThreadCPUTime) - before
}

/// Nanoseconds since then.
pub fn nanoseconds_since(then: Instant) -> u64 {
    u64::try_from(then.elapsed().as_nanos()).unwrap_or(u64::MAX)
}

fn process_cpu() -> u64 {
    cpu(ClockId::ProcessCPUTime)
}

fn cpu(clock: ClockId) -> u64 {
    let time = clock_gettime(clock);
    (time.tv_sec * 1_000_000_000 + time.tv_nsec) as u64
}
