//! What a piece of work takes: CPU time of the whole process, and time on the clock.

use std::ops::AddAssign;
use std::time::Instant;

use rustix::time::{ClockId, clock_gettime};

/// Nanoseconds of both kinds.
#[derive(Clone, Copy, Debug, Default)]
pub struct Took {
    /// On a CPU, all threads of this process together, those that have ended among them.
    pub cpu: u64,
    /// On the clock.
    pub wall: u64,
}

impl AddAssign for Took {
    fn add_assign(&mut self, other: Self) {
        self.cpu += other.cpu;
        self.wall += other.wall;
    }
}

/// Does the work and says what it took.
pub fn took(work: impl FnOnce()) -> Took {
    let (cpu, wall) = (process_cpu(), Instant::now());
    work();
    Took {
        cpu: process_cpu() - cpu,
        wall: nanoseconds_since(wall),
    }
}

/// Does what is not to be counted, and says how many nanoseconds of CPU time of this thread it took.
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
