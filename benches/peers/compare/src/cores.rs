//! The cores that processes run on, set by `taskset`.

use std::fmt;
use std::fs;
use std::process::Command;

/// The cores that this process may use.
pub(crate) struct Cores {
    /// The cores in the system's notation, such as `0-3,6`.
    all: String,
    /// One of them: the last, because systems prefer the first one for their own work.
    one: String,
}

impl Cores {
    pub(crate) fn of_this_process() -> Self {
        let status = fs::read_to_string("/proc/self/status").expect("the status of this process");
        let allowed = status
            .lines()
            .find_map(|line| line.strip_prefix("Cpus_allowed_list:"));
        let all = allowed.expect("a list of cores").trim().to_owned();
        let one = all.rsplit([',', '-']).next().unwrap_or_default().to_owned();
        Self { all, one }
    }

    /// The list: one core for a pinned process.
    pub(crate) fn list(&self, pinned: bool) -> &str {
        if pinned { &self.one } else { &self.all }
    }

    /// Moves a process with all its threads to these cores.
    pub(crate) fn bind(&self, process: u32, pinned: bool) {
        // It fails if a thread ends at that moment.
        let bound = (0..TRIALS).any(|_| {
            let output = Command::new("taskset")
                .args(["-a", "-c", "-p", self.list(pinned), &process.to_string()])
                .output();
            let output = output.expect("taskset, of the package util-linux");
            output.status.success()
        });
        assert!(bound, "taskset cannot move process {process}");
    }
}

impl fmt::Display for Cores {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(
            f,
            "cores: {}; pinned means: all processes on core {}",
            self.all, self.one
        )
    }
}

const TRIALS: usize = 20;
