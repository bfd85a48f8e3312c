//! Answers by which a server says that its state has changed: it is another one's turn to be primary, or it is
//! recovering, or about to end.
//!
//! Such an answer is the error of a command (`ok: 0`), or that of the write concern of a command which succeeded.
//! Its code alone decides; where there is none, the text. Errors in `writeErrors` do not count. Source: "Server
//! Discovery and Monitoring", ""not writable primary" and "node is recovering"".

use bson::RawBsonRef;
use bson::raw::RawDocument;

use super::hello::{TopologyVersion, integer};

/// What a server said when its state had changed.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(crate) struct StateChange {
    /// Whether the server is about to end: connections to it are no better.
    pub(crate) is_shutting_down: bool,
    /// Which state of the server the answer is of; none before MongoDB 4.4.
    pub(crate) topology_version: Option<TopologyVersion>,
}

impl StateChange {
    /// Reads an answer to a command; none if it is no such answer.
    pub(crate) fn read(reply: &RawDocument) -> Option<Self> {
        let mut ok = false;
        let mut topology_version = None;
        let mut own = Reason::default();
        let mut of_write_concern = None;
        // A text that is cut within a character ends neither: the code and the version come after it.
        for (key, value) in reply.iter().filter_map(Result::ok) {
            match (key.as_str(), value) {
                ("ok", RawBsonRef::Boolean(yes)) => ok = yes,
                ("ok", number) => ok = integer(number) == Some(1),
                ("topologyVersion", RawBsonRef::Document(version)) => {
                    topology_version = TopologyVersion::read(version);
                }
                ("writeConcernError", RawBsonRef::Document(error)) => {
                    of_write_concern = Some(Reason::read(error));
                }
                (key, value) => own.take(key, value),
            }
        }
        let kind = match ok {
            false => own.kind(),
            true => None,
        };
        let kind = kind.or_else(|| of_write_concern?.kind())?;
        Some(Self {
            is_shutting_down: kind == Kind::ShuttingDown,
            topology_version,
        })
    }
}

/// Code and text of an error.
#[derive(Clone, Copy, Default)]
struct Reason<'a> {
    code: i64,
    message: &'a str,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Kind {
    NotWritablePrimary,
    Recovering,
    ShuttingDown,
}

impl<'a> Reason<'a> {
    fn read(error: &'a RawDocument) -> Self {
        let mut reason = Self::default();
        for (key, value) in error.iter().filter_map(Result::ok) {
            reason.take(key.as_str(), value);
        }
        reason
    }

    fn take(&mut self, key: &str, value: RawBsonRef<'a>) {
        match (key, value) {
            ("code", code) => self.code = integer(code).unwrap_or(0),
            ("errmsg", RawBsonRef::String(text)) => self.message = text,
            _ => {}
        }
    }

    fn kind(self) -> Option<Kind> {
        match self.code {
            // InterruptedAtShutdown, ShutdownInProgress.
            11600 | 91 => Some(Kind::ShuttingDown),
            // InterruptedDueToReplStateChange, NotPrimaryOrSecondary, PrimarySteppedDown.
            11602 | 13436 | 189 => Some(Kind::Recovering),
            // NotWritablePrimary, NotPrimaryNoSecondaryOk, LegacyNotPrimary.
            10107 | 13435 | 10058 => Some(Kind::NotWritablePrimary),
            0 => kind_by_message(self.message),
            _ => None,
        }
    }
}

/// Servers of today always send a code; the texts with "primary" are those of the specification's test plan.
fn kind_by_message(message: &str) -> Option<Kind> {
    const RECOVERING: [&str; 3] = [
        "node is recovering",
        "not master or secondary",
        "not primary or secondary",
    ];
    const NOT_WRITABLE_PRIMARY: [&str; 3] = ["not master", "not primary", "not writable primary"];
    let has_any = |texts: &[&str]| texts.iter().any(|text| message.contains(text));
    if has_any(&RECOVERING) {
        Some(Kind::Recovering)
    } else if has_any(&NOT_WRITABLE_PRIMARY) {
        Some(Kind::NotWritablePrimary)
    } else {
        None
    }
}

#[cfg(test)]
mod tests {
    use bson::oid::ObjectId;
    use bson::rawdoc;

    use super::*;

    fn kind(code: i64, message: &str) -> Option<Kind> {
        Reason { code, message }.kind()
    }

    #[test]
    fn a_text_that_is_cut_within_a_character_hides_no_code() {
        for key in ["errmsg", "writeConcernError"] {
            let error = rawdoc! { "errmsg": "primary stepped d\u{e9}", "code": 189 };
            let reply = match key {
                "errmsg" => rawdoc! { "ok": 0, "errmsg": "primary stepped d\u{e9}", "code": 189 },
                _ => rawdoc! { "ok": 1, "writeConcernError": error },
            };
            let mut bytes = reply.into_bytes();
            let at = bytes.iter().position(|byte| *byte == 0xa9).unwrap();
            bytes[at] = b' ';
            let reply = RawDocument::from_bytes(&bytes).unwrap();
            let change = StateChange::read(reply).map(|change| change.is_shutting_down);
            assert_eq!(change, Some(false), "{key}");
        }
    }

    #[test]
    fn the_code_decides_and_the_text_only_without_one() {
        for (code, message, expected) in [
            (91, "", Some(Kind::ShuttingDown)),
            (11600, "not master", Some(Kind::ShuttingDown)),
            (189, "", Some(Kind::Recovering)),
            (10107, "node is recovering", Some(Kind::NotWritablePrimary)),
            (1, "not master", None),
            (
                0,
                "replicatedToNum called but not master anymore",
                Some(Kind::NotWritablePrimary),
            ),
            (
                0,
                "not master or secondary; cannot read",
                Some(Kind::Recovering),
            ),
            (0, "the node is recovering", Some(Kind::Recovering)),
            (0, "no such command", None),
        ] {
            assert_eq!(kind(code, message), expected, "{code} {message:?}");
        }
    }

    #[test]
    fn errors_of_commands_and_of_write_concerns_count_and_those_of_writes_do_not() {
        let is_shutting_down =
            |reply: &RawDocument| StateChange::read(reply).map(|it| it.is_shutting_down);
        assert_eq!(
            is_shutting_down(&rawdoc! { "ok": 0, "code": 91 }),
            Some(true)
        );
        assert_eq!(
            is_shutting_down(&rawdoc! { "code": 10107_i64, "ok": 0.0 }),
            Some(false)
        );
        let of_write_concern =
            rawdoc! { "ok": 1, "writeConcernError": { "code": 91, "errmsg": "x" } };
        assert_eq!(is_shutting_down(&of_write_concern), Some(true));
        assert_eq!(is_shutting_down(&rawdoc! { "ok": 1, "code": 91 }), None);
        assert_eq!(
            is_shutting_down(&rawdoc! { "ok": 1, "writeErrors": [{ "code": 10107 }] }),
            None
        );
        assert_eq!(
            is_shutting_down(&rawdoc! { "ok": 0, "errmsg": "not master" }),
            Some(false)
        );
    }

    #[test]
    fn the_topology_version_comes_with_it() {
        let process_id = ObjectId::new();
        let version = rawdoc! { "processId": process_id, "counter": 7_i64 };
        let reply = rawdoc! { "topologyVersion": version, "code": 189, "ok": 0 };
        let expected = TopologyVersion {
            process_id,
            counter: 7,
        };
        assert_eq!(
            StateChange::read(&reply).unwrap().topology_version,
            Some(expected)
        );
    }
}
