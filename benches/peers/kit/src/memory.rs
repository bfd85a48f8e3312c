//! The system's data about this process.

use std::fs;

/// The resident memory, in bytes (`VmRSS`).
pub fn resident() -> u64 {
    let status = fs::read_to_string("/proc/self/status").expect("the status of this process");
    let line = status.lines().find_map(|line| line.strip_prefix("VmRSS:"));
    let kib = line.and_then(|line| line.split_whitespace().next());
    kib.and_then(|kib| kib.parse::<u64>().ok())
        .map_or(0, |kib| kib * 1024)
}

/// The number of open sockets.
pub fn sockets() -> usize {
    let open = fs::read_dir("/proc/self/fd").expect("the descriptors of this process");
    let targets = open
        .flatten()
        .filter_map(|entry| fs::read_link(entry.path()).ok());
    targets
        .filter(|target| target.to_string_lossy().starts_with("socket:"))
        .count()
}
