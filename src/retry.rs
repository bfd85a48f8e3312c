//! Whether a command that failed is tried again, and when.
//!
//! In: what kind of operation it is, the options, the errors of its attempts. Out: a [`Decision`]. No clock, no sleep.
//!
//! - A read through a typed call is tried once more after an error that may be gone on another connection or server
//!   ("Retryable Reads"); with `timeoutMS`, as often as fits into it. `run_command` is not ("generic `runCommand`").
//! - Whatever was not sent, because the pool was cleared meanwhile, is tried once more likewise.
//! - What an overloaded server has refused with the labels `SystemOverloadedError` and `RetryableError` is tried again
//!   whatever it is, up to `maxAdaptiveRetries` times, after a pause that doubles ("Client Backpressure").
//!
//! Writes are the program's to retry, which knows what they do: errors after which the server lets it send the same
//! `txnNumber` again have the label `RetryableWriteError` ("Retryable Writes").

use std::error::Error as _;
use std::time::Duration;

use bson::RawBsonRef;
use bson::raw::RawDocument;

use crate::conn::command_name;
use crate::error::{Error, ErrorKind, Stage};
use crate::options::ClientOptions;

/// What an operation is, as far as trying it again goes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Operation {
    /// It reads, and may be sent twice.
    Read,
    /// Nobody but the program knows.
    Other,
}

/// The attempts of one operation.
#[derive(Clone, Debug)]
pub(crate) struct Attempts {
    operation: Operation,
    /// How many more there may be but for overload.
    ordinary: u32,
    /// How many more there may be once the server was overloaded.
    adaptive: u32,
    retargets: bool,
    made: u32,
    was_overloaded: bool,
}

/// What follows an error.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(crate) enum Decision {
    /// It is the operation's error.
    GiveUp,
    /// Another attempt, after a pause.
    Retry {
        /// The longest that the pause is; a random part of it spares the server a wave.
        pause: Duration,
        /// Whether another server is to be preferred.
        elsewhere: bool,
    },
}

impl Operation {
    /// What a command is that came through a typed call: a read by its name, unless it is part of a transaction or
    /// writes its results somewhere.
    pub(crate) fn of(body: &RawDocument) -> Self {
        const READS: [&str; 7] = [
            "find",
            "aggregate",
            "count",
            "distinct",
            "listCollections",
            "listDatabases",
            "listIndexes",
        ];
        let is_read = READS.contains(&command_name(body)) && !is_of_transaction(body);
        match is_read && !writes_its_results(body) {
            true => Self::Read,
            false => Self::Other,
        }
    }
}

impl Attempts {
    pub(crate) fn new(operation: Operation, options: &ClientOptions, has_limit: bool) -> Self {
        let reads = operation != Operation::Read || options.retry_reads;
        Self {
            operation: if reads { operation } else { Operation::Other },
            ordinary: if has_limit { u32::MAX } else { 1 },
            adaptive: options.max_adaptive_retries,
            retargets: options.enable_overload_retargeting,
            made: 0,
            was_overloaded: false,
        }
    }

    /// An attempt has failed. `is_sharded` tells that another server may do the same.
    pub(crate) fn failed(&mut self, error: &Error, is_sharded: bool) -> Decision {
        let is_overloaded = error.has_label("SystemOverloadedError");
        let is_retryable = match self.operation {
            _ if is_overloaded && error.has_label("RetryableError") => true,
            _ if error.is_pool_cleared() && error.stage() != Some(Stage::Command) => {
                !is_of_refused_user(error)
            }
            Operation::Read => may_be_read_again(error),
            Operation::Other => false,
        };
        self.was_overloaded |= is_overloaded;
        let most = match self.was_overloaded {
            true => self.adaptive,
            false => self.ordinary,
        };
        if !is_retryable || self.made >= most {
            return Decision::GiveUp;
        }
        self.made += 1;
        let pause = match is_overloaded {
            true => BASE_PAUSE
                .saturating_mul(1 << (self.made - 1).min(10))
                .min(MAX_PAUSE),
            false => Duration::ZERO,
        };
        Decision::Retry {
            pause,
            elsewhere: is_sharded || (is_overloaded && self.retargets),
        }
    }
}

/// The pause after the first refusal of an overloaded server: 100 ms; it doubles with each.
const BASE_PAUSE: Duration = Duration::from_millis(100);

/// The longest pause: 10 s.
const MAX_PAUSE: Duration = Duration::from_secs(10);

/// Whether the pool was cleared because a user was refused: who waited would be refused too.
fn is_of_refused_user(error: &Error) -> bool {
    let cleared_by = error.source().and_then(|it| it.downcast_ref::<Error>());
    cleared_by.is_some_and(|it| it.stage() == Some(Stage::Authentication))
}

/// "Retryable Error" of "Retryable Reads".
fn may_be_read_again(error: &Error) -> bool {
    const CODES: [i32; 13] = [
        262, 11600, 11602, 10107, 13435, 13436, 189, 134, 91, 7, 6, 89, 9001,
    ];
    match error.command() {
        Some(failure) => CODES.contains(&failure.code),
        None => is_of_network(error),
    }
}

/// Whether the network failed on the way, or was too slow; not what a certificate or a setting is refused for.
fn is_of_network(error: &Error) -> bool {
    match error.kind() {
        ErrorKind::Network => true,
        // The limit of the operation itself leaves no time anyway.
        ErrorKind::Timeout => error.stage().is_some(),
        ErrorKind::Tls => error.stage() == Some(Stage::Command),
        _ => false,
    }
}

/// Adds the label by which a program knows that it may send a write with the same `txnNumber` again. Servers since
/// MongoDB 4.4 send it themselves; errors of the network have it from here.
pub(crate) fn label_write(error: Error, body: &RawDocument, options: &ClientOptions) -> Error {
    let has_number = has_field(body, "txnNumber");
    let is_end = ["commitTransaction", "abortTransaction"].contains(&command_name(body));
    let may_be_sent_again = has_number && (is_end || !has_field(body, "autocommit"));
    let is_of_network = error.command().is_none() && is_of_network(&error);
    match options.retry_writes && may_be_sent_again && is_of_network {
        true => error.with_labels(&["RetryableWriteError"]),
        false => error,
    }
}

fn is_of_transaction(body: &RawDocument) -> bool {
    has_field(body, "txnNumber") || has_field(body, "autocommit")
}

fn has_field(body: &RawDocument, field: &str) -> bool {
    body.get(field).ok().flatten().is_some()
}

/// Whether the last stage of a pipeline is `$out` or `$merge`; a pipeline that cannot be read counts as one.
fn writes_its_results(body: &RawDocument) -> bool {
    let Ok(Some(RawBsonRef::Array(pipeline))) = body.get("pipeline") else {
        return false;
    };
    pipeline.into_iter().any(|stage| match stage {
        Ok(RawBsonRef::Document(stage)) => ["$out", "$merge"].contains(&command_name(stage)),
        _ => true,
    })
}

#[cfg(test)]
mod tests {
    use bson::{RawDocumentBuf, rawdoc};

    use super::*;
    use crate::cause::{Cause, CauseCode};

    fn options(text: &str) -> ClientOptions {
        ClientOptions::parse(&format!("mongodb://a/?{text}"))
            .unwrap()
            .0
    }

    fn refused(code: i32, labels: &[&str]) -> Error {
        let reply = rawdoc! { "ok": 0, "code": code };
        crate::conn::check(&reply).unwrap_err().with_labels(labels)
    }

    fn reset(stage: Stage) -> Error {
        Error::failed(stage, Cause::new(CauseCode::ConnectionReset, "m", "r"))
    }

    const OVERLOAD: [&str; 2] = ["SystemOverloadedError", "RetryableError"];

    /// How many retries there are of an operation that fails with the same error each time.
    fn retries(operation: Operation, text: &str, has_limit: bool, error: &Error) -> u32 {
        let mut attempts = Attempts::new(operation, &options(text), has_limit);
        let retry = |_: &u32| matches!(attempts.failed(error, false), Decision::Retry { .. });
        u32::try_from((0..100).take_while(retry).count()).unwrap()
    }

    #[test]
    fn reads_are_tried_once_more_and_other_commands_are_not() {
        use Operation as O;
        for (error, read, other) in [
            (refused(10107, &[]), 1, 0),
            (refused(134, &[]), 1, 0),
            (refused(11000, &[]), 0, 0),
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
                    Cause::new(CauseCode::CertificateExpired, "m", "r"),
                ),
                0,
                0,
            ),
            (refused(462, &OVERLOAD), 2, 2),
            (reset(Stage::Hello).with_labels(&OVERLOAD), 2, 2),
            (refused(462, &OVERLOAD[..1]), 0, 0),
            (refused(462, &OVERLOAD[1..]), 0, 0),
        ] {
            assert_eq!(retries(O::Read, "", false, &error), read, "{error:?}");
            assert_eq!(retries(O::Other, "", false, &error), other, "{error:?}");
        }
    }

    #[test]
    fn options_decide_how_often() {
        use Operation as O;
        let (change, overload) = (refused(10107, &[]), refused(462, &OVERLOAD));
        assert_eq!(retries(O::Read, "retryReads=false", false, &change), 0);
        assert_eq!(retries(O::Read, "retryReads=false", false, &overload), 2);
        assert_eq!(retries(O::Read, "", true, &change), 100);
        assert_eq!(retries(O::Read, "", true, &overload), 2);
        assert_eq!(
            retries(O::Other, "maxAdaptiveRetries=5", false, &overload),
            5
        );
        assert_eq!(
            retries(O::Other, "maxAdaptiveRetries=0", false, &overload),
            0
        );
    }

    #[test]
    fn pauses_double_for_an_overloaded_server_alone_and_end_at_ten_seconds() {
        let error = refused(462, &OVERLOAD);
        let mut attempts = Attempts::new(Operation::Other, &options("maxAdaptiveRetries=9"), false);
        let pauses = std::iter::from_fn(|| match attempts.failed(&error, false) {
            Decision::Retry { pause, elsewhere } => Some((pause.as_millis(), elsewhere)),
            Decision::GiveUp => None,
        });
        let pauses: Vec<_> = pauses.collect();
        let expected = [100, 200, 400, 800, 1600, 3200, 6400, 10_000, 10_000];
        assert_eq!(pauses, expected.map(|pause| (pause, false)));
        let mut attempts = Attempts::new(Operation::Read, &options(""), false);
        let elsewhere = Decision::Retry {
            pause: Duration::ZERO,
            elsewhere: true,
        };
        assert_eq!(attempts.failed(&refused(91, &[]), true), elsewhere);
        let with = options("enableOverloadRetargeting=true");
        let mut attempts = Attempts::new(Operation::Other, &with, false);
        let decision = attempts.failed(&error, false);
        assert!(matches!(
            decision,
            Decision::Retry {
                elsewhere: true,
                ..
            }
        ));
    }

    #[test]
    fn reads_are_told_by_name_and_those_that_write_or_are_of_a_transaction_are_none() {
        let is_read = |body: RawDocumentBuf| Operation::of(&body) == Operation::Read;
        assert!(is_read(rawdoc! { "find": "c" }));
        assert!(is_read(
            rawdoc! { "aggregate": "c", "pipeline": [{ "$match": {} }] }
        ));
        assert!(!is_read(
            rawdoc! { "aggregate": "c", "pipeline": [{ "$match": {} }, { "$out": "d" }] }
        ));
        assert!(!is_read(
            rawdoc! { "aggregate": "c", "pipeline": [{ "$merge": { "into": "d" } }] }
        ));
        assert!(!is_read(rawdoc! { "aggregate": "c", "pipeline": [5] }));
        assert!(!is_read(
            rawdoc! { "find": "c", "txnNumber": 1_i64, "autocommit": false }
        ));
        for other in ["insert", "getMore", "mapReduce", "ping", "Find"] {
            let mut body = RawDocumentBuf::new();
            body.append(<&bson::raw::CStr>::try_from(other).unwrap(), 1);
            assert!(!is_read(body), "{other}");
        }
    }

    #[test]
    fn writes_with_a_number_are_labelled_where_the_network_failed() {
        let labelled = |body: RawDocumentBuf, text: &str, error: Error| {
            label_write(error, &body, &options(text)).has_label("RetryableWriteError")
        };
        let write = || rawdoc! { "insert": "c", "txnNumber": 1_i64 };
        assert!(labelled(write(), "", reset(Stage::Command)));
        assert!(labelled(write(), "", Error::pool_cleared(None)));
        assert!(!labelled(
            write(),
            "retryWrites=false",
            reset(Stage::Command)
        ));
        assert!(!labelled(write(), "", refused(10107, &[])));
        assert!(!labelled(
            rawdoc! { "insert": "c" },
            "",
            reset(Stage::Command)
        ));
        let in_transaction = rawdoc! { "insert": "c", "txnNumber": 1_i64, "autocommit": false };
        assert!(!labelled(in_transaction, "", reset(Stage::Command)));
        let commit = rawdoc! { "commitTransaction": 1, "txnNumber": 1_i64, "autocommit": false };
        assert!(labelled(commit, "", reset(Stage::Command)));
    }
}
