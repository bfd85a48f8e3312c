//! The system's data about a process, and its limits.

use std::fs;
use std::time::Duration;

/// The processor time of a process, including its threads that have ended.
pub(crate) fn cpu(process: u32) -> Duration {
    let text = fs::read_to_string(format!("/proc/{process}/stat")).unwrap();
    // The name of the program may contain spaces; utime and stime are the 14th and 15th fields (proc(5)).
    let fields = text.rsplit_once(')').unwrap().1.split_whitespace();
    let ticks: u64 = fields
        .skip(11)
        .take(2)
        .map(|it| it.parse::<u64>().unwrap())
        .sum();
    // In Linux, a tick in programs' view is always a hundredth of a second.
    Duration::from_millis(ticks * 10)
}

/// The processor time of the threads of this process, to the nanosecond; without those that have ended.
pub(crate) fn cpu_of_threads() -> Duration {
    let tasks = fs::read_dir("/proc/self/task").unwrap();
    let times = tasks.filter_map(|task| {
        let text = fs::read_to_string(task.ok()?.path().join("schedstat")).ok()?;
        text.split_whitespace().next()?.parse::<u64>().ok()
    });
    Duration::from_nanos(times.sum())
}

/// A number of this process, such as `VmRSS:` in KiB or `Threads:`.
pub(crate) fn status(key: &str) -> u64 {
    number(&fs::read_to_string("/proc/self/status").unwrap(), key).unwrap()
}

/// The number of open descriptors of this process.
pub(crate) fn descriptors() -> u64 {
    // One is that of the folder.
    fs::read_dir("/proc/self/fd").unwrap().count() as u64 - 1
}

/// The maximum number of descriptors of a process, at the start of this one.
pub(crate) fn most_descriptors() -> u64 {
    let limits = fs::read_to_string("/proc/self/limits").unwrap();
    number(&limits, "Max open files").unwrap_or(u64::MAX)
}

/// The number of ports that connections to one address may come from.
pub(crate) fn ports() -> u64 {
    let range = fs::read_to_string("/proc/sys/net/ipv4/ip_local_port_range").unwrap();
    let bounds: Vec<u64> = range
        .split_whitespace()
        .map(|it| it.parse().unwrap())
        .collect();
    bounds[1] - bounds[0] + 1
}

/// The memory that programs could still have, in KiB.
pub(crate) fn free_memory() -> u64 {
    number(
        &fs::read_to_string("/proc/meminfo").unwrap(),
        "MemAvailable:",
    )
    .unwrap()
}

/// The maximum number of connections that may wait until a server accepts them.
pub(crate) fn backlog() -> u64 {
    let most = fs::read_to_string("/proc/sys/net/core/somaxconn").unwrap();
    most.trim().parse().unwrap()
}

/// The first number after `key` at the beginning of a line.
fn number(text: &str, key: &str) -> Option<u64> {
    let rest = text.lines().find_map(|line| line.strip_prefix(key))?;
    rest.split_whitespace().next()?.parse().ok()
}
