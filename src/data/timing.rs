//! The time that the steps of an operation took.

use std::fmt;
use std::time::Duration;

/// The time that the steps of an operation or of a command took.
///
/// A [timeout](crate::Error::timing) has the time of all attempts of the operation, as far as steps had to wait: a step that
/// did not is zero. An event has the time of one command, with all steps.
///
/// `Display` prints the total and the longest steps, for example `of 5.0 s, 4.9 s waiting for a connection:
/// maxPoolSize=10, 14 threads waiting`.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub struct Timing {
    /// The time until a server was selected.
    pub server_selection: Duration,
    /// The time until a connection was checked out, with the time for establishing it.
    pub check_out: Duration,
    /// The part of `check_out` in which this operation established a connection: TCP, TLS, hello and authentication.
    pub establishing: Duration,
    /// The pauses before retries.
    pub pauses: Duration,
    /// The time for sending the command.
    pub send: Duration,
    /// The time from the end of sending until the first byte of the reply.
    pub wait: Duration,
    /// The time from the first byte of the reply until its end.
    pub receive: Duration,
    /// The time for checking the reply and finding its fields. It does not include the conversion of documents to types of
    /// the program.
    pub decode: Duration,
    /// The pool when the operation began to wait for one of its connections. `None` if it did not wait.
    pub pool: Option<PoolLoad>,
}

/// The load of a connection pool.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct PoolLoad {
    /// `maxPoolSize`. `None` means no limit.
    pub max_pool_size: Option<usize>,
    /// The number of threads that waited for a connection, with the thread of the operation.
    pub waiting: usize,
}

impl Timing {
    /// The time of all steps.
    pub fn total(&self) -> Duration {
        let parts = self.parts();
        parts.iter().map(|(time, _)| *time).sum::<Duration>() + self.decode
    }

    /// The steps in which an operation waits, in order.
    fn parts(&self) -> [(Duration, &'static str); 7] {
        let waiting = self.check_out.saturating_sub(self.establishing);
        [
            (self.server_selection, "waiting for a server"),
            (waiting, WAITING),
            (self.establishing, "establishing a connection"),
            (self.send, "sending"),
            (self.wait, "waiting for the reply"),
            (self.receive, "receiving the reply"),
            (self.pauses, "pausing before a retry"),
        ]
    }
}

/// The wait for a connection of a pool, in words.
const WAITING: &str = "waiting for a connection";

impl fmt::Display for Timing {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let total = self.total();
        write!(f, "of {}", Seconds(total))?;
        let mut parts = self.parts();
        parts.sort_by_key(|(time, _)| std::cmp::Reverse(*time));
        // Steps below a twentieth of the time explain nothing.
        let shown: Vec<_> = parts
            .into_iter()
            .filter(|(time, _)| !time.is_zero() && *time >= total / 20)
            .collect();
        for (time, step) in &shown {
            write!(f, ", {} {step}", Seconds(*time))?;
            if let Some(load) = self.pool.filter(|_| *step == WAITING) {
                match shown.len() {
                    1 => write!(f, ": {load}")?,
                    _ => write!(f, " ({load})")?,
                }
            }
        }
        Ok(())
    }
}

impl fmt::Display for PoolLoad {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if let Some(size) = self.max_pool_size {
            write!(f, "maxPoolSize={size}, ")?;
        }
        match self.waiting {
            1 => f.write_str("1 thread waiting"),
            waiting => write!(f, "{waiting} threads waiting"),
        }
    }
}

/// A time as people read it: `4.9 s`, `250 ms`.
struct Seconds(Duration);

impl fmt::Display for Seconds {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.0 >= Duration::from_secs(1) {
            true => write!(f, "{:.1} s", self.0.as_secs_f64()),
            false => write!(f, "{} ms", self.0.as_millis()),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const MS: fn(u64) -> Duration = Duration::from_millis;

    #[test]
    fn the_longest_steps_are_named_first() {
        let waited = Timing {
            check_out: MS(4_900),
            wait: MS(100),
            pool: Some(PoolLoad {
                max_pool_size: Some(10),
                waiting: 14,
            }),
            ..Timing::default()
        };
        assert_eq!(
            waited.to_string(),
            "of 5.0 s, 4.9 s waiting for a connection: maxPoolSize=10, 14 threads waiting"
        );
        let both = Timing {
            wait: MS(5_000),
            ..waited
        };
        assert_eq!(
            both.to_string(),
            "of 9.9 s, 5.0 s waiting for the reply, 4.9 s waiting for a connection (maxPoolSize=10, 14 threads waiting)"
        );
        let dialed = Timing {
            check_out: MS(700),
            establishing: MS(500),
            ..Timing::default()
        };
        assert_eq!(
            dialed.to_string(),
            "of 700 ms, 500 ms establishing a connection, 200 ms waiting for a connection"
        );
        assert_eq!(Timing::default().to_string(), "of 0 ms");
    }

    #[test]
    fn a_pool_without_limit_has_no_size() {
        let load = PoolLoad {
            max_pool_size: None,
            waiting: 1,
        };
        assert_eq!(load.to_string(), "1 thread waiting");
    }
}
