//! The decision whether a failed operation is retried, and when.
//!
//! In: the kind of the operation, the options, and the errors of its attempts. Out: a [`Decision`]. No clock, no sleep.
//!
//! - A read is retried once after an error that another connection or server may not have ("Retryable Reads"); with a
//!   time limit, as often as the limit allows. The generic `run_command` is not retried as a read ("Run Command").
//! - An operation that was not sent because the pool was cleared is retried in the same way.
//! - An operation that an overloaded server rejects with the labels `SystemOverloadedError` and `RetryableError` is
//!   retried whatever it does, up to `maxAdaptiveRetries` times, after a pause that doubles ("Client Backpressure").
//!
//! The program retries its own writes: errors after which it may send the same `txnNumber` again have the label
//! `RetryableWriteError` ("Retryable Writes").

use std::error::Error as _;
use std::time::Duration;

use super::OperationKind;
use crate::error::{Error, ErrorKind, Stage};
use crate::options::ClientOptions;
use crate::server_code;

/// The attempts of one operation.
#[derive(Clone, Debug)]
pub(crate) struct Attempts {
    kind: OperationKind,
    /// The limit on retries while the server has never been overloaded.
    ordinary_limit: u32,
    /// The limit on retries after the server has been overloaded.
    adaptive_limit: u32,
    /// True if a retry after overload prefers another server.
    retargets: bool,
    retries: u32,
    was_overloaded: bool,
}

/// The next step of the executor after an error.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(crate) enum Decision {
    /// Returns the error.
    GiveUp,
    /// Makes another attempt after a pause.
    Retry {
        /// The longest pause. The executor takes a random part of it, so that clients do not retry at the same instant.
        max_pause: Duration,
        /// True if another server is preferred.
        deprioritize: bool,
    },
}

impl Attempts {
    pub(crate) fn new(kind: OperationKind, options: &ClientOptions, has_limit: bool) -> Self {
        Self {
            kind: match kind {
                OperationKind::Read if !options.retry_reads => OperationKind::Other,
                kind => kind,
            },
            ordinary_limit: if has_limit { u32::MAX } else { 1 },
            adaptive_limit: options.max_adaptive_retries,
            retargets: options.enable_overload_retargeting,
            retries: 0,
            was_overloaded: false,
        }
    }

    /// Decides after a failed attempt. In a sharded cluster another router can run the same operation.
    pub(crate) fn failed(&mut self, error: &Error, is_sharded: bool) -> Decision {
        let is_overloaded = error.has_label("SystemOverloadedError");
        let is_retryable = match self.kind {
            _ if is_overloaded && error.has_label("RetryableError") => true,
            _ if error.is_pool_cleared() && error.stage() != Some(Stage::Command) => {
                !is_of_rejected_user(error)
            }
            OperationKind::Read => is_retryable_read_error(error),
            OperationKind::NumberedWrite | OperationKind::Other => false,
        };
        self.was_overloaded |= is_overloaded;
        let limit = match self.was_overloaded {
            true => self.adaptive_limit,
            false => self.ordinary_limit,
        };
        if !is_retryable || self.retries >= limit {
            return Decision::GiveUp;
        }
        self.retries += 1;
        let max_pause = match is_overloaded {
            true => BASE_PAUSE
                .saturating_mul(1 << (self.retries - 1).min(10))
                .min(MAX_PAUSE),
            false => Duration::ZERO,
        };
        Decision::Retry {
            max_pause,
            deprioritize: is_sharded || (is_overloaded && self.retargets),
        }
    }
}

/// The pause after the first rejection by an overloaded server: 100 ms. It doubles with each further one.
const BASE_PAUSE: Duration = Duration::from_millis(100);

/// The longest pause: 10 s.
const MAX_PAUSE: Duration = Duration::from_secs(10);

/// Returns whether the pool was cleared because the server rejected the user. It would reject the user again.
fn is_of_rejected_user(error: &Error) -> bool {
    let cleared_by = error.source().and_then(|it| it.downcast_ref::<Error>());
    cleared_by.is_some_and(|it| it.stage() == Some(Stage::Authentication))
}

/// "Retryable Error" of "Retryable Reads".
fn is_retryable_read_error(error: &Error) -> bool {
    match error.command() {
        Some(failure) => server_code::RETRYABLE_READ.contains(&failure.code),
        None => is_of_network(error),
    }
}

/// Returns whether the network failed or was too slow. A rejected certificate or a wrong setting is not of this kind.
fn is_of_network(error: &Error) -> bool {
    match error.kind() {
        ErrorKind::Network => true,
        // After the limit of the operation itself, which has no stage, no time is left.
        ErrorKind::Timeout => error.stage().is_some(),
        ErrorKind::Tls => error.stage() == Some(Stage::Command),
        _ => false,
    }
}

/// Adds the label that tells a program that it may send a write with the same `txnNumber` again. Servers from MongoDB 4.4
/// send it themselves; errors of the network get it here.
pub(crate) fn label_write(error: Error, kind: OperationKind, options: &ClientOptions) -> Error {
    let is_of_network = error.command().is_none() && is_of_network(&error);
    match options.retry_writes && kind == OperationKind::NumberedWrite && is_of_network {
        true => error.with_labels(&["RetryableWriteError"]),
        false => error,
    }
}

#[cfg(test)]
mod tests {
    use bson::rawdoc;

    use super::*;
    use crate::cause::{Cause, CauseCode};

    fn options(text: &str) -> ClientOptions {
        ClientOptions::parse(&format!("mongodb://a/?{text}"))
            .unwrap()
            .0
    }

    fn rejected(code: i32, labels: &[&str]) -> Error {
        let reply = rawdoc! { "ok": 0, "code": code };
        crate::conn::check(&reply).unwrap_err().with_labels(labels)
    }

    fn reset(stage: Stage) -> Error {
        Error::failed(
            stage,
            Cause::simulated(CauseCode::ConnectionReset, "m", "r"),
        )
    }

    const OVERLOAD: [&str; 2] = ["SystemOverloadedError", "RetryableError"];

    /// The number of retries of an operation that fails with the same error each time.
    fn retries(kind: OperationKind, text: &str, has_limit: bool, error: &Error) -> u32 {
        let mut attempts = Attempts::new(kind, &options(text), has_limit);
        let retry = |_: &u32| matches!(attempts.failed(error, false), Decision::Retry { .. });
        u32::try_from((0..100).take_while(retry).count()).unwrap()
    }

    #[test]
    fn reads_are_retried_once_and_other_commands_are_not() {
        use OperationKind as K;
        for (error, read, other) in [
            (rejected(10107, &[]), 1, 0),
            (rejected(134, &[]), 1, 0),
            (rejected(11000, &[]), 0, 0),
            (reset(Stage::Command), 1, 0),
            (reset(Stage::Connect), 1, 0),
            (Error::pool_cleared(None), 1, 1),
            (Error::pool_cleared(Some(reset(Stage::Connect))), 1, 1),
            (
                Error::pool_cleared(Some(reset(Stage::Authentication))),
                0,
                0,
            ),
            (Error::interrupted().with_stage(Stage::Command), 1, 0),
            (Error::client_closed(), 0, 0),
            (Error::protocol("x"), 0, 0),
            (
                Error::failed(
                    Stage::Tls,
                    Cause::simulated(CauseCode::CertificateExpired, "m", "r"),
                ),
                0,
                0,
            ),
            (rejected(462, &OVERLOAD), 2, 2),
            (reset(Stage::Hello).with_labels(&OVERLOAD), 2, 2),
            (rejected(462, &OVERLOAD[..1]), 0, 0),
            (rejected(462, &OVERLOAD[1..]), 0, 0),
        ] {
            assert_eq!(retries(K::Read, "", false, &error), read, "{error:?}");
            assert_eq!(retries(K::Other, "", false, &error), other, "{error:?}");
        }
    }

    #[test]
    fn options_limit_the_number_of_retries() {
        use OperationKind as K;
        let (change, overload) = (rejected(10107, &[]), rejected(462, &OVERLOAD));
        assert_eq!(retries(K::Read, "retryReads=false", false, &change), 0);
        assert_eq!(retries(K::Read, "retryReads=false", false, &overload), 2);
        assert_eq!(retries(K::Read, "", true, &change), 100);
        assert_eq!(retries(K::Read, "", true, &overload), 2);
        assert_eq!(
            retries(K::Other, "maxAdaptiveRetries=5", false, &overload),
            5
        );
        assert_eq!(
            retries(K::Other, "maxAdaptiveRetries=0", false, &overload),
            0
        );
    }

    #[test]
    fn pauses_after_overload_double_up_to_ten_seconds() {
        let error = rejected(462, &OVERLOAD);
        let mut attempts = Attempts::new(
            OperationKind::Other,
            &options("maxAdaptiveRetries=9"),
            false,
        );
        let pauses = std::iter::from_fn(|| match attempts.failed(&error, false) {
            Decision::Retry {
                max_pause,
                deprioritize,
            } => Some((max_pause.as_millis(), deprioritize)),
            Decision::GiveUp => None,
        });
        let pauses: Vec<_> = pauses.collect();
        let expected = [100, 200, 400, 800, 1600, 3200, 6400, 10_000, 10_000];
        assert_eq!(pauses, expected.map(|pause| (pause, false)));
        let mut attempts = Attempts::new(OperationKind::Read, &options(""), false);
        let elsewhere = Decision::Retry {
            max_pause: Duration::ZERO,
            deprioritize: true,
        };
        assert_eq!(attempts.failed(&rejected(91, &[]), true), elsewhere);
        let with = options("enableOverloadRetargeting=true");
        let mut attempts = Attempts::new(OperationKind::Other, &with, false);
        let decision = attempts.failed(&error, false);
        assert!(matches!(
            decision,
            Decision::Retry {
                deprioritize: true,
                ..
            }
        ));
    }

    #[test]
    fn numbered_writes_are_labelled_after_a_network_error() {
        let labelled = |kind: OperationKind, text: &str, error: Error| {
            label_write(error, kind, &options(text)).has_label("RetryableWriteError")
        };
        let (write, off) = (OperationKind::NumberedWrite, "retryWrites=false");
        assert!(labelled(write, "", reset(Stage::Command)));
        assert!(labelled(write, "", Error::pool_cleared(None)));
        assert!(!labelled(write, off, reset(Stage::Command)));
        assert!(!labelled(write, "", rejected(10107, &[])));
        assert!(!labelled(OperationKind::Other, "", reset(Stage::Command)));
        assert!(!labelled(OperationKind::Read, "", reset(Stage::Command)));
    }
}
