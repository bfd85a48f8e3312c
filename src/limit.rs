//! Limits of this process and this host: descriptors, threads, local ports and memory.
//!
//! A call that fails because one of them is reached says nothing about the server, so it must not be taken for an error
//! of the network, of DNS or of a file. [`Limit::of`] recognises such an error of the system; [`Limit::cause`] names the
//! limit and its value.

use std::fmt;
use std::fs;
use std::io;
use std::net::UdpSocket;

use crate::cause::{Cause, CauseCode};
use crate::ffi::system::{Resource, soft_limit};

/// The resource that has run out.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Limit {
    /// Descriptors of this process (`EMFILE`).
    OpenFiles,
    /// Descriptors of this host (`ENFILE`).
    OpenFilesOfHost,
    /// Threads (`EAGAIN` where one is started).
    Threads,
    /// Local ports for connections to one address (`EADDRNOTAVAIL`).
    Ports,
    /// Memory (`ENOMEM`, `ENOBUFS`).
    Memory,
}

impl Limit {
    /// The limit that an error of the system means, if it means one. `EADDRNOTAVAIL` and `EAGAIN` have other meanings
    /// too: where they mean a limit, the error holds it (see [`io::Error::from`]).
    pub(crate) fn of(error: &io::Error) -> Option<Self> {
        match error.raw_os_error() {
            Some(libc::EMFILE) => Some(Self::OpenFiles),
            Some(libc::ENFILE) => Some(Self::OpenFilesOfHost),
            Some(libc::ENOMEM | libc::ENOBUFS) => Some(Self::Memory),
            Some(_) => None,
            None => error.get_ref()?.downcast_ref().copied(),
        }
    }

    /// The limit for which a descriptor cannot be opened now, if there is one.
    pub(crate) fn of_descriptors() -> Option<Self> {
        let opened = UdpSocket::bind(("127.0.0.1", 0));
        opened.err().as_ref().and_then(Self::of)
    }

    /// The cause of a failure: `what` failed, because this limit is reached.
    #[cold]
    pub(crate) fn cause(self, what: &str) -> Cause {
        let limits = self.limits();
        let named = limits.iter().map(ToString::to_string).collect::<Vec<_>>();
        let mut message = format!("{what}: {self}");
        if !named.is_empty() {
            message += &format!(" ({})", named.join(", "));
        }
        Cause::new(CauseCode::LocalLimit, message, self.remedy())
            .fact("limit", limits.first().map_or("memory", |it| it.name))
            .fact_opt("value", limits.first().and_then(|it| it.value.clone()))
    }

    /// The limits that may be the one, the likeliest first.
    fn limits(self) -> Vec<Named> {
        let of_process = |name, resource| {
            soft_limit(resource).map(|value| Named {
                name,
                value: Some(value.to_string()),
            })
        };
        let memory = || of_process("RLIMIT_AS", Resource::AddressSpace);
        match self {
            Self::OpenFiles => vec![Named {
                name: "RLIMIT_NOFILE",
                value: soft_limit(Resource::OpenFiles).map(|value| value.to_string()),
            }],
            Self::OpenFilesOfHost => vec![Named::of_host("fs.file-max", "/proc/sys/fs/file-max")],
            Self::Ports => vec![Named::of_host(
                "net.ipv4.ip_local_port_range",
                "/proc/sys/net/ipv4/ip_local_port_range",
            )],
            Self::Threads => {
                let host = Named::of_host("kernel.threads-max", "/proc/sys/kernel/threads-max");
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

    fn remedy(self) -> &'static str {
        match self {
            Self::OpenFiles => {
                "Raise the limit of open files of this process (`ulimit -n`, LimitNOFILE= in a systemd unit), or look for \
                 what it keeps open (`ls -l /proc/PID/fd`). A lower maxPoolSize needs fewer."
            }
            Self::OpenFilesOfHost => {
                "Raise the limit of open files of this host (`sysctl fs.file-max`), or look for the process that keeps \
                 them open."
            }
            Self::Threads => {
                "Raise the limit of threads (`ulimit -u`, TasksMax= in a systemd unit, the pids limit of the container), \
                 or let this process run fewer."
            }
            Self::Ports => {
                "Look for what opens so many connections to this server (`ss -s`), which also occupy a port for a minute \
                 after their end; or widen the range (`sysctl net.ipv4.ip_local_port_range`)."
            }
            Self::Memory => {
                "Give this process more memory (`ulimit -v`, the memory limit of the container or of this host), or let \
                 it use less."
            }
        }
    }
}

/// Completes the sentence "what failed: …".
impl fmt::Display for Limit {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::OpenFiles => "this process has reached its limit of open files",
            Self::OpenFilesOfHost => "this host has reached its limit of open files",
            Self::Threads => "this process cannot start another thread",
            Self::Ports => "this host has no local port left for connections to this address",
            Self::Memory => "this process or this host has no memory left",
        })
    }
}

impl std::error::Error for Limit {}

impl From<Limit> for io::Error {
    fn from(limit: Limit) -> Self {
        Self::other(limit)
    }
}

/// A limit by its name, with its value if that is known.
struct Named {
    name: &'static str,
    value: Option<String>,
}

impl Named {
    /// A setting of the kernel. Without a descriptor left it cannot be read.
    fn of_host(name: &'static str, path: &str) -> Self {
        let text = fs::read_to_string(path).ok();
        let value = text.map(|text| text.split_whitespace().collect::<Vec<_>>().join(" "));
        Self { name, value }
    }
}

impl fmt::Display for Named {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name)?;
        match &self.value {
            Some(value) => write!(f, " is {value}"),
            None => Ok(()),
        }
    }
}

/// The limit of the control group that this process is in, if it has one.
fn pids_of_cgroup() -> Option<Named> {
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
    (value != "max").then(|| Named {
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

    #[test]
    fn a_cause_names_the_limit_and_its_value() {
        let cause = Limit::OpenFiles.cause("no socket");
        let value = soft_limit(Resource::OpenFiles).unwrap();
        assert_eq!(
            cause.message(),
            format!(
                "no socket: this process has reached its limit of open files (RLIMIT_NOFILE is {value})"
            )
        );
        assert_eq!(cause.facts().get("limit"), Some(&"RLIMIT_NOFILE".into()));
        assert_eq!(cause.facts().get("value"), Some(&value.to_string().into()));
        let cause = Limit::Threads.cause("no thread");
        assert!(
            cause.message().contains("kernel.threads-max is "),
            "{cause}"
        );
        let cause = Limit::Ports.cause("no connection");
        assert!(
            cause
                .message()
                .contains("(net.ipv4.ip_local_port_range is "),
            "{cause}"
        );
    }
}
