//! Replies that report a change of the server's state: it is not the primary, it is recovering, or it shuts down.
//!
//! Such a reply is the error of a command (`ok: 0`), or the write concern error of a command that succeeded. The code
//! alone decides; the text decides if there is no code. Errors in `writeErrors` do not count. Source: "Server
//! Discovery and Monitoring", ""not writable primary" and "node is recovering"".

use bson::RawBsonRef;
use bson::raw::RawDocument;

use crate::data::hello::{TopologyVersion, integer};
use crate::server_code as code;

/// A change of state that a server reports.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(crate) struct StateChange {
    /// True if the server is shutting down, so that all connections to it are about to fail.
    pub(crate) is_shutting_down: bool,
    /// The state of the server at the time of the reply; `None` before MongoDB 4.4.
    pub(crate) topology_version: Option<TopologyVersion>,
}

impl StateChange {
    /// Reads the reply to a command; returns `None` if it reports no change.
    pub(crate) fn read(reply: &RawDocument) -> Option<Self> {
        let mut ok = false;
        let mut topology_version = None;
        let mut own = ServerError::default();
        let mut of_write_concern = None;
        // Servers truncate long texts, also within a character. The code and the version may follow such a text.
        for (key, value) in reply.iter().filter_map(Result::ok) {
            match (key.as_str(), value) {
                ("ok", RawBsonRef::Boolean(yes)) => ok = yes,
                ("ok", number) => ok = integer(number) == Some(1),
                ("topologyVersion", RawBsonRef::Document(version)) => {
                    topology_version = TopologyVersion::read(version);
                }
                ("writeConcernError", RawBsonRef::Document(error)) => {
                    of_write_concern = Some(ServerError::read(error));
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
            is_shutting_down: kind == StateChangeKind::ShuttingDown,
            topology_version,
        })
    }
}

/// The code and text of an error.
#[derive(Clone, Copy, Default)]
struct ServerError<'a> {
    code: i64,
    message: &'a str,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum StateChangeKind {
    NotWritablePrimary,
    Recovering,
    ShuttingDown,
}

impl<'a> ServerError<'a> {
    fn read(error: &'a RawDocument) -> Self {
        let mut own = Self::default();
        for (key, value) in error.iter().filter_map(Result::ok) {
            own.take(key.as_str(), value);
        }
        own
    }

    fn take(&mut self, key: &str, value: RawBsonRef<'a>) {
        match (key, value) {
            ("code", code) => self.code = integer(code).unwrap_or(0),
            ("errmsg", RawBsonRef::String(text)) => self.message = text,
            _ => {}
        }
    }

    fn kind(self) -> Option<StateChangeKind> {
        match i32::try_from(self.code).ok()? {
            code::INTERRUPTED_AT_SHUTDOWN | code::SHUTDOWN_IN_PROGRESS => {
                Some(StateChangeKind::ShuttingDown)
            }
            code::INTERRUPTED_DUE_TO_REPL_STATE_CHANGE
            | code::NOT_PRIMARY_OR_SECONDARY
            | code::PRIMARY_STEPPED_DOWN => Some(StateChangeKind::Recovering),
            code::NOT_WRITABLE_PRIMARY
            | code::NOT_PRIMARY_NO_SECONDARY_OK
            | code::LEGACY_NOT_PRIMARY => Some(StateChangeKind::NotWritablePrimary),
            0 => kind_by_message(self.message),
            _ => None,
        }
    }
}

/// Finds the kind by the text. Current servers always send a code; the texts with "primary" are from the
/// specification's test plan.
fn kind_by_message(message: &str) -> Option<StateChangeKind> {
    const RECOVERING: [&str; 3] = [
        "node is recovering",
        "not master or secondary",
        "not primary or secondary",
    ];
    const NOT_WRITABLE_PRIMARY: [&str; 3] = ["not master", "not primary", "not writable primary"];
    let has_any = |texts: &[&str]| texts.iter().any(|text| message.contains(text));
    if has_any(&RECOVERING) {
        Some(StateChangeKind::Recovering)
    } else if has_any(&NOT_WRITABLE_PRIMARY) {
        Some(StateChangeKind::NotWritablePrimary)
    } else {
        None
    }
}

#[cfg(test)]
mod tests {
    use bson::oid::ObjectId;
    use bson::rawdoc;

    use super::*;

    fn kind(code: i64, message: &str) -> Option<StateChangeKind> {
        ServerError { code, message }.kind()
    }

    #[test]
    fn a_text_cut_within_a_character_hides_no_code() {
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
            (91, "", Some(StateChangeKind::ShuttingDown)),
            (11600, "not master", Some(StateChangeKind::ShuttingDown)),
            (189, "", Some(StateChangeKind::Recovering)),
            (
                10107,
                "node is recovering",
                Some(StateChangeKind::NotWritablePrimary),
            ),
            (1, "not master", None),
            (
                0,
                "replicatedToNum called but not master anymore",
                Some(StateChangeKind::NotWritablePrimary),
            ),
            (
                0,
                "not master or secondary; cannot read",
                Some(StateChangeKind::Recovering),
            ),
            (
                0,
                "the node is recovering",
                Some(StateChangeKind::Recovering),
            ),
            (0, "no such command", None),
        ] {
            assert_eq!(kind(code, message), expected, "{code} {message:?}");
        }
    }

    #[test]
    fn write_errors_report_no_change_of_state() {
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
