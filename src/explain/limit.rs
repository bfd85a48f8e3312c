//! Words for limits of this process and this host.

use crate::cause::{CauseCode, Explanation};
use crate::data::limit::{Limit, LimitSetting, ReachedLimit};
use crate::reason::io::{LimitedAction, LimitedExchange, LocalLimit};

pub(super) fn explain(reason: &LocalLimit) -> Explanation {
    let what = match reason.failed {
        LimitedAction::StartMonitor => "the server is not monitored yet",
    };
    local_limit(what, &reason.reached)
}

/// Explains a failed exchange with another message.
pub(super) fn exchange(failed: &LimitedExchange, message: String) -> Explanation {
    local_limit("", &failed.reached).with_message(message)
}

/// Explains that `what`, the beginning of a sentence, failed because a limit is reached.
pub(crate) fn local_limit(what: &str, reached: &ReachedLimit) -> Explanation {
    let ReachedLimit { limit, settings } = reached;
    let mut message = format!("{what}: {limit}");
    if !settings.is_empty() {
        let settings: Vec<_> = settings.iter().map(setting).collect();
        message += &format!(" ({})", settings.join(", "));
    }
    let first = settings.first();
    Explanation::new(CauseCode::LocalLimit, message, remedy(*limit))
        .fact("limit", first.map_or("memory", |setting| setting.name))
        .fact_opt("value", first.and_then(|setting| setting.value.clone()))
}

fn setting(LimitSetting { name, value }: &LimitSetting) -> String {
    match value {
        Some(value) => format!("{name} is {value}"),
        None => (*name).to_owned(),
    }
}

fn remedy(limit: Limit) -> &'static str {
    match limit {
        Limit::OpenFiles => {
            "Raise the limit of open files of this process (`ulimit -n`, LimitNOFILE= in a systemd unit), or look for \
             what it keeps open (`ls -l /proc/PID/fd`). A lower maxPoolSize needs fewer."
        }
        Limit::OpenFilesOfHost => {
            "Raise the limit of open files of this host (`sysctl fs.file-max`), or look for the process that keeps \
             them open."
        }
        Limit::Threads => {
            "Raise the limit of threads (`ulimit -u`, TasksMax= in a systemd unit, the pids limit of the container), \
             or let this process run fewer."
        }
        Limit::Ports => {
            "Look for what opens so many connections to this server (`ss -s`), which also occupy a port for a minute \
             after their end; or widen the range (`sysctl net.ipv4.ip_local_port_range`)."
        }
        Limit::Memory => {
            "Give this process more memory (`ulimit -v`, the memory limit of the container or of this host), or let \
             it use less."
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::cause::Cause;
    use crate::ffi::system::{Resource, soft_limit};
    use crate::reason::Reason;

    fn reached(limit: Limit, what: &str) -> Cause {
        let explanation = local_limit(what, &limit.reached());
        Cause::explained(Reason::Simulated, explanation)
    }

    #[test]
    fn a_cause_names_the_limit_and_its_value() {
        let cause = reached(Limit::OpenFiles, "no socket");
        let value = soft_limit(Resource::OpenFiles).unwrap();
        assert_eq!(
            cause.message(),
            format!(
                "no socket: this process has reached its limit of open files (RLIMIT_NOFILE is {value})"
            )
        );
        assert_eq!(cause.facts().get("limit"), Some(&"RLIMIT_NOFILE".into()));
        assert_eq!(cause.facts().get("value"), Some(&value.to_string().into()));
        let cause = reached(Limit::Threads, "no thread");
        assert!(
            cause.message().contains("kernel.threads-max is "),
            "{cause}"
        );
        let cause = reached(Limit::Ports, "no connection");
        assert!(
            cause
                .message()
                .contains("(net.ipv4.ip_local_port_range is "),
            "{cause}"
        );
    }
}
