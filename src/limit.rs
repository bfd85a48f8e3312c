//! Limits of this process and this host: file descriptors, threads, local ports and memory.
//!
//! A call that fails because a limit is reached says nothing about the server, so it must not be mistaken for a
//! network, DNS or file error. [`Limit::of`] recognises such a system error; [`Limit::reached`] looks up the settings
//! behind the limit, with their values.

use std::fs;
use std::io;
use std::net::UdpSocket;

pub(crate) use crate::data::limit::Limit;
use crate::data::limit::{LimitSetting, ReachedLimit};
use crate::ffi::system::{Resource, soft_limit};

impl Limit {
    /// Returns the limit that a system error indicates, if it indicates one. `EADDRNOTAVAIL` and `EAGAIN` have other
    /// meanings too; if they indicate a limit, the error contains it (see [`io::Error::from`]).
    pub(crate) fn of(error: &io::Error) -> Option<Self> {
        match error.raw_os_error() {
            Some(libc::EMFILE) => Some(Self::OpenFiles),
            Some(libc::ENFILE) => Some(Self::OpenFilesOfHost),
            Some(libc::ENOMEM | libc::ENOBUFS) => Some(Self::Memory),
            Some(_) => None,
            None => error.get_ref()?.downcast_ref().copied(),
        }
    }

    /// Returns the limit that prevents this process from opening a file descriptor now, if any.
    pub(crate) fn of_descriptors() -> Option<Self> {
        let opened = UdpSocket::bind(("127.0.0.1", 0));
        opened.err().as_ref().and_then(Self::of)
    }

    /// Returns the limit with the settings behind it.
    #[cold]
    pub(crate) fn reached(self) -> ReachedLimit {
        ReachedLimit {
            limit: self,
            settings: self.settings(),
        }
    }

    /// Returns the settings that may define the limit, the most likely first.
    fn settings(self) -> Vec<LimitSetting> {
        let of_process = |name, resource| {
            soft_limit(resource).map(|value| LimitSetting {
                name,
                value: Some(value.to_string()),
            })
        };
        let memory = || of_process("RLIMIT_AS", Resource::AddressSpace);
        match self {
            Self::OpenFiles => vec![LimitSetting {
                name: "RLIMIT_NOFILE",
                value: soft_limit(Resource::OpenFiles).map(|value| value.to_string()),
            }],
            Self::OpenFilesOfHost => vec![LimitSetting::of_host(
                "fs.file-max",
                "/proc/sys/fs/file-max",
            )],
            Self::Ports => vec![LimitSetting::of_host(
                "net.ipv4.ip_local_port_range",
                "/proc/sys/net/ipv4/ip_local_port_range",
            )],
            Self::Threads => {
                let host =
                    LimitSetting::of_host("kernel.threads-max", "/proc/sys/kernel/threads-max");
                let limits = [
                    memory(),
                    of_process("RLIMIT_NPROC", Resource::Processes),
                    pids_of_cgroup(),
                    Some(host),
                ];
                limits.into_iter().flatten().collect()
            }
            Self::Memory => memory().into_iter().collect(),
        }
    }
}

impl LimitSetting {
    /// Reads a kernel setting. It cannot be read if no file descriptor is left.
    fn of_host(name: &'static str, path: &str) -> Self {
        let text = fs::read_to_string(path).ok();
        let value = text.map(|text| text.split_whitespace().collect::<Vec<_>>().join(" "));
        Self { name, value }
    }
}

/// Returns the limit on processes of this process's control group, if it has one.
fn pids_of_cgroup() -> Option<LimitSetting> {
    let groups = fs::read_to_string("/proc/self/cgroup").ok()?;
    let mut paths = groups.lines().filter_map(|line| {
        let (_, rest) = line.split_once(':')?;
        let (controllers, path) = rest.split_once(':')?;
        match controllers {
            "" => Some(format!("/sys/fs/cgroup{path}/pids.max")),
            "pids" => Some(format!("/sys/fs/cgroup/pids{path}/pids.max")),
            _ => None,
        }
    });
    let value = paths.find_map(|path| fs::read_to_string(path).ok())?;
    let value = value.trim();
    (value != "max").then(|| LimitSetting {
        name: "pids.max of the control group",
        value: Some(value.to_owned()),
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn errors_of_the_system_that_mean_a_limit_are_recognised() {
        let of = |errno| Limit::of(&io::Error::from_raw_os_error(errno));
        assert_eq!(of(libc::EMFILE), Some(Limit::OpenFiles));
        assert_eq!(of(libc::ENFILE), Some(Limit::OpenFilesOfHost));
        assert_eq!(of(libc::ENOMEM), Some(Limit::Memory));
        assert_eq!(of(libc::ENOBUFS), Some(Limit::Memory));
        for other in [
            libc::EAGAIN,
            libc::EADDRNOTAVAIL,
            libc::ECONNREFUSED,
            libc::ENOENT,
        ] {
            assert_eq!(of(other), None);
        }
        for limit in [Limit::Threads, Limit::Ports] {
            assert_eq!(Limit::of(&limit.into()), Some(limit));
        }
        assert_eq!(Limit::of(&io::Error::other("x")), None);
        assert_eq!(Limit::of_descriptors(), None);
    }
}
