//! A command of the program, sent as it is ("Run Command").

use std::time::Duration;

use bson::raw::RawDocument;
use bson::{RawBsonRef, RawDocumentBuf};

use super::target::SelectedConnection;
use super::{CursorFields, CursorReply, HasDeployment, Kind, Operation, execute};
use crate::command::Command;
use crate::error::Result;
use crate::options::ReadPreference;
use crate::wire::request::{DocumentSequence, EncodeCommand, command_name};

/// See the [module documentation](self).
pub(crate) struct RunCommand<'a> {
    database: &'a str,
    command: &'a Command,
    body: &'a RawDocumentBuf,
    sequences: Vec<DocumentSequence<'a>>,
    is_typed: bool,
}

impl<'a> RunCommand<'a> {
    /// A command that is never retried as a read, whatever it does.
    ///
    /// # Errors
    /// If the command cannot be encoded.
    pub(crate) fn new(database: &'a str, command: &'a Command) -> Result<Self> {
        Ok(Self {
            database,
            command,
            body: command.body()?,
            sequences: command.sequences(),
            is_typed: false,
        })
    }

    /// A command of a typed call. It is retried as a read if its name is that of one.
    ///
    /// # Errors
    /// As [`new`](Self::new).
    pub(crate) fn typed(database: &'a str, command: &'a Command) -> Result<Self> {
        let operation = Self::new(database, command)?;
        Ok(Self {
            is_typed: true,
            ..operation
        })
    }

    /// Runs the command and returns its reply.
    pub(crate) fn run(&self, client: &dyn HasDeployment) -> Result<RawDocumentBuf> {
        let (reply, _) = execute::run(client, self, &mut ())?;
        Ok(reply)
    }

    /// Runs a command that may open a cursor. Returns its reply, and the connection that it came from.
    pub(crate) fn run_for_cursor(
        &self,
        client: &dyn HasDeployment,
    ) -> Result<(CursorReply, SelectedConnection)> {
        let mut fields = CursorFields::of_first_batch();
        let (reply, connection) = execute::run(client, self, &mut fields)?;
        Ok((CursorReply::new(reply, fields), connection))
    }
}

impl Operation for RunCommand<'_> {
    fn command(&self) -> &dyn EncodeCommand {
        self.body
    }

    fn database(&self) -> &str {
        self.database
    }

    fn kind(&self) -> Kind {
        match self.body {
            body if self.is_typed && is_read(body) => Kind::Read,
            body if is_numbered_write(body) => Kind::NumberedWrite,
            _ => Kind::Other,
        }
    }

    fn sequences(&self) -> &[DocumentSequence<'_>] {
        &self.sequences
    }

    fn limit(&self) -> Option<Duration> {
        self.command.limit()
    }

    fn read_preference(&self) -> Option<&ReadPreference> {
        self.command.preference()
    }
}

/// Returns whether a command reads, by its name. A command of a transaction does not count, nor one that writes its
/// results to a collection.
fn is_read(body: &RawDocument) -> bool {
    const READS: [&str; 7] = [
        "find",
        "aggregate",
        "count",
        "distinct",
        "listCollections",
        "listDatabases",
        "listIndexes",
    ];
    let is_of_transaction = has_field(body, "txnNumber") || has_field(body, "autocommit");
    READS.contains(&command_name(body)) && !is_of_transaction && !writes_results(body)
}

/// Returns whether a stage of a pipeline is `$out` or `$merge`. A pipeline that cannot be read counts as one with such a
/// stage.
fn writes_results(body: &RawDocument) -> bool {
    let Ok(Some(RawBsonRef::Array(pipeline))) = body.get("pipeline") else {
        return false;
    };
    pipeline.into_iter().any(|stage| match stage {
        Ok(RawBsonRef::Document(stage)) => ["$out", "$merge"].contains(&command_name(stage)),
        _ => true,
    })
}

/// Returns whether the program may send a write again with the same `txnNumber`. In a transaction only its last command
/// may be sent again.
fn is_numbered_write(body: &RawDocument) -> bool {
    let is_end = ["commitTransaction", "abortTransaction"].contains(&command_name(body));
    has_field(body, "txnNumber") && (is_end || !has_field(body, "autocommit"))
}

fn has_field(body: &RawDocument, field: &str) -> bool {
    body.get(field).ok().flatten().is_some()
}

#[cfg(test)]
mod tests {
    use bson::rawdoc;

    use super::*;

    fn kind(body: RawDocumentBuf) -> Kind {
        RunCommand::typed("d", &body.into()).unwrap().kind()
    }

    #[test]
    fn reads_are_recognised_by_name() {
        for name in ["find", "aggregate", "count", "distinct", "listIndexes"] {
            let mut body = RawDocumentBuf::new();
            body.append(<&bson::raw::CStr>::try_from(name).unwrap(), "c");
            assert_eq!(kind(body.clone()), Kind::Read, "{name}");
            let untyped = body.into();
            let untyped = RunCommand::new("d", &untyped).unwrap();
            assert_eq!(untyped.kind(), Kind::Other, "{name}");
        }
        for other in ["insert", "getMore", "mapReduce", "ping", "Find"] {
            let mut body = RawDocumentBuf::new();
            body.append(<&bson::raw::CStr>::try_from(other).unwrap(), 1);
            assert_eq!(kind(body), Kind::Other, "{other}");
        }
    }

    #[test]
    fn a_pipeline_that_writes_its_results_is_not_a_read() {
        let aggregate =
            |pipeline: bson::RawArrayBuf| rawdoc! { "aggregate": "c", "pipeline": pipeline };
        let stages = |last: RawDocumentBuf| {
            let mut pipeline = bson::RawArrayBuf::new();
            pipeline.push(rawdoc! { "$match": {} });
            pipeline.push(last);
            pipeline
        };
        let matching = stages(rawdoc! { "$match": {} });
        assert_eq!(kind(aggregate(matching)), Kind::Read);
        for stage in [
            rawdoc! { "$out": "d" },
            rawdoc! { "$merge": { "into": "d" } },
        ] {
            assert_eq!(kind(aggregate(stages(stage))), Kind::Other);
        }
        let mut no_stage = bson::RawArrayBuf::new();
        no_stage.push(5);
        assert_eq!(kind(aggregate(no_stage)), Kind::Other);
    }

    #[test]
    fn a_number_makes_a_write_that_may_be_sent_again() {
        let number = || rawdoc! { "insert": "c", "txnNumber": 1_i64 };
        assert_eq!(kind(number()), Kind::NumberedWrite);
        let untyped = number().into();
        let untyped = RunCommand::new("d", &untyped).unwrap();
        assert_eq!(untyped.kind(), Kind::NumberedWrite);
        assert_eq!(kind(rawdoc! { "insert": "c" }), Kind::Other);
        for name in ["insert", "find"] {
            let mut body = RawDocumentBuf::new();
            body.append(<&bson::raw::CStr>::try_from(name).unwrap(), "c");
            body.append(bson::cstr!("txnNumber"), 1_i64);
            body.append(bson::cstr!("autocommit"), false);
            assert_eq!(kind(body), Kind::Other, "{name}");
        }
        let commit = rawdoc! { "commitTransaction": 1, "txnNumber": 1_i64, "autocommit": false };
        assert_eq!(kind(commit), Kind::NumberedWrite);
    }
}
