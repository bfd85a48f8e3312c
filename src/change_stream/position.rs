//! The position of a change stream: where another cursor continues, and after which errors. No I/O.
//!
//! Source: "Change Streams", "Resume Process", "Updating the Cached Resume Token", "Resumable Error".

use bson::raw::RawDocument;
use bson::{RawDocumentBuf, Timestamp, cstr};

use super::ResumeToken;
use crate::error::{Error, ErrorKind};
use crate::server_code::CURSOR_NOT_FOUND;

/// The options that say where a stream starts, as the program has set them.
#[derive(Clone, Debug, Default)]
pub(super) struct Start {
    pub(super) resume_after: Option<ResumeToken>,
    pub(super) start_after: Option<ResumeToken>,
    pub(super) at_operation_time: Option<Timestamp>,
}

/// See the [module documentation](self).
#[derive(Debug)]
pub(super) struct Position {
    start: Start,
    /// The token behind what the program has received.
    token: Option<ResumeToken>,
    /// The operation time of the first reply, if nothing else says where to continue.
    first_reply: Option<Timestamp>,
    has_returned: bool,
}

impl Position {
    pub(super) fn new(start: Start) -> Self {
        let token = start.start_after.clone().or(start.resume_after.clone());
        Self {
            start,
            token,
            first_reply: None,
            has_returned: false,
        }
    }

    /// The token behind what the program has received.
    pub(super) fn token(&self) -> Option<&ResumeToken> {
        self.token.as_ref()
    }

    /// Appends the options of the first cursor, all that the program has set. The server rejects those that contradict.
    pub(super) fn append_start(&self, stage: &mut RawDocumentBuf) {
        if let Some(token) = &self.start.resume_after {
            stage.append(cstr!("resumeAfter"), token.as_document());
        }
        if let Some(token) = &self.start.start_after {
            stage.append(cstr!("startAfter"), token.as_document());
        }
        if let Some(time) = self.start.at_operation_time {
            stage.append(cstr!("startAtOperationTime"), time);
        }
    }

    /// Appends the options of a cursor that continues.
    pub(super) fn append_resumption(&self, stage: &mut RawDocumentBuf) {
        let time = self.start.at_operation_time.or(self.first_reply);
        match (&self.token, time) {
            (Some(token), _) if self.start.start_after.is_some() && !self.has_returned => {
                stage.append(cstr!("startAfter"), token.as_document());
            }
            (Some(token), _) => stage.append(cstr!("resumeAfter"), token.as_document()),
            (None, Some(time)) => stage.append(cstr!("startAtOperationTime"), time),
            (None, None) => {}
        }
    }

    /// Notes the reply that opened the first cursor.
    pub(super) fn opened(&mut self, reply: &RawDocument, first: FirstBatch) {
        let is_needed = self.start.at_operation_time.is_none()
            && self.token.is_none()
            && first.is_empty
            && !first.has_token
            && first.wire_version >= START_AT_OPERATION_TIME;
        if is_needed {
            self.first_reply = reply.get_timestamp("operationTime").ok();
        }
    }

    /// Notes an empty batch.
    pub(super) fn passed_empty_batch(&mut self, post_batch: Option<&RawDocument>) {
        if let Some(token) = post_batch {
            self.token = Some(ResumeToken::new(token));
        }
    }

    /// Notes that the program receives this event. `post_batch` is the token behind its batch, if it is the last one.
    ///
    /// # Errors
    /// If the event has no token, because the pipeline has removed it.
    pub(super) fn returns(
        &mut self,
        event: &RawDocument,
        post_batch: Option<&RawDocument>,
    ) -> Result<(), Error> {
        let id = event.get_document("_id").map_err(|_| {
            Error::invalid_argument(
                "Cannot provide resume functionality when the resume token is missing: the pipeline has removed the \
                 field _id of the events",
            )
        })?;
        self.token = Some(ResumeToken::new(post_batch.unwrap_or(id)));
        self.has_returned = true;
        Ok(())
    }
}

/// The first batch of a stream.
#[derive(Clone, Copy, Debug)]
pub(super) struct FirstBatch {
    pub(super) is_empty: bool,
    pub(super) has_token: bool,
    pub(super) wire_version: i32,
}

/// The first wire version whose servers take `startAtOperationTime`: MongoDB 4.0.
const START_AT_OPERATION_TIME: i32 = 7;

/// Returns whether another cursor may continue after the failure of a `getMore`. `wire_version` is that of its server.
pub(super) fn is_resumable(error: &Error, wire_version: i32) -> bool {
    match error.command() {
        Some(failure) if failure.code == CURSOR_NOT_FOUND => true,
        Some(_) if wire_version >= LABELS => error.has_label("ResumableChangeStreamError"),
        Some(failure) => RESUMABLE.contains(&failure.code),
        // An error that is not the server's. Those of the program itself are not resumable either.
        None => matches!(
            error.kind(),
            ErrorKind::Network
                | ErrorKind::Timeout
                | ErrorKind::Tls
                | ErrorKind::Authentication
                | ErrorKind::Protocol
        ),
    }
}

/// The first wire version whose servers label resumable errors: MongoDB 4.4.
const LABELS: i32 = 9;

/// The codes of resumable errors of older servers.
const RESUMABLE: [i32; 17] = [
    6,     // HostUnreachable
    7,     // HostNotFound
    63,    // StaleShardVersion
    89,    // NetworkTimeout
    91,    // ShutdownInProgress
    133,   // FailedToSatisfyReadPreference
    150,   // StaleEpoch
    189,   // PrimarySteppedDown
    234,   // RetryChangeStream
    262,   // ExceededTimeLimit
    9001,  // SocketException
    10107, // NotWritablePrimary
    11600, // InterruptedAtShutdown
    11602, // InterruptedDueToReplStateChange
    13388, // StaleConfig
    13435, // NotPrimaryNoSecondaryOk
    13436, // NotPrimaryOrSecondary
];

#[cfg(test)]
mod tests {
    use bson::{Document, doc, rawdoc};

    use super::*;
    use crate::conn;

    fn token(data: &str) -> ResumeToken {
        ResumeToken::try_from(doc! { "_data": data }).unwrap()
    }

    fn time(time: u32) -> Timestamp {
        Timestamp { time, increment: 1 }
    }

    fn options(append: impl Fn(&mut RawDocumentBuf)) -> Document {
        let mut stage = RawDocumentBuf::new();
        append(&mut stage);
        Document::try_from(&*stage).unwrap()
    }

    fn first(position: &Position) -> Document {
        options(|stage| position.append_start(stage))
    }

    fn resumed(position: &Position) -> Document {
        options(|stage| position.append_resumption(stage))
    }

    const EMPTY: FirstBatch = FirstBatch {
        is_empty: true,
        has_token: false,
        wire_version: 7,
    };

    #[test]
    fn a_stream_resumes_behind_the_last_event() {
        let mut position = Position::new(Start::default());
        assert_eq!((first(&position), resumed(&position)), (doc! {}, doc! {}));
        let event = rawdoc! { "_id": { "_data": "a" } };
        position.returns(&event, None).unwrap();
        assert_eq!(position.token(), Some(&token("a")));
        assert_eq!(resumed(&position), doc! { "resumeAfter": { "_data": "a" } });
        let post_batch = rawdoc! { "_data": "b" };
        position.returns(&event, Some(&post_batch)).unwrap();
        assert_eq!(resumed(&position), doc! { "resumeAfter": { "_data": "b" } });
        position.passed_empty_batch(Some(&rawdoc! { "_data": "c" }));
        assert_eq!(resumed(&position), doc! { "resumeAfter": { "_data": "c" } });
        position.passed_empty_batch(None);
        assert_eq!(position.token(), Some(&token("c")));
        assert_eq!(first(&position), doc! {});
    }

    /// Prose tests 17 and 18.
    #[test]
    fn start_after_stays_until_the_first_event() {
        let mut position = Position::new(Start {
            start_after: Some(token("s")),
            at_operation_time: Some(time(9)),
            ..Start::default()
        });
        let at_first = doc! { "startAfter": { "_data": "s" }, "startAtOperationTime": time(9) };
        assert_eq!(first(&position), at_first);
        assert_eq!(resumed(&position), doc! { "startAfter": { "_data": "s" } });
        position.passed_empty_batch(Some(&rawdoc! { "_data": "t" }));
        assert_eq!(resumed(&position), doc! { "startAfter": { "_data": "t" } });
        let event = rawdoc! { "_id": { "_data": "a" } };
        position.returns(&event, None).unwrap();
        assert_eq!(resumed(&position), doc! { "resumeAfter": { "_data": "a" } });
    }

    #[test]
    fn a_stream_without_events_resumes_at_the_operation_time() {
        let reply = rawdoc! { "ok": 1, "operationTime": time(5) };
        let after = |start: Start, batch: FirstBatch| {
            let mut position = Position::new(start);
            position.opened(&reply, batch);
            resumed(&position)
        };
        let saved = doc! { "startAtOperationTime": time(5) };
        assert_eq!(after(Start::default(), EMPTY), saved);
        for batch in [
            FirstBatch {
                is_empty: false,
                ..EMPTY
            },
            FirstBatch {
                has_token: true,
                ..EMPTY
            },
            FirstBatch {
                wire_version: 6,
                ..EMPTY
            },
        ] {
            assert_eq!(after(Start::default(), batch), doc! {}, "{batch:?}");
        }
        let start = Start {
            at_operation_time: Some(time(3)),
            ..Start::default()
        };
        assert_eq!(
            after(start, EMPTY),
            doc! { "startAtOperationTime": time(3) }
        );
        let start = Start {
            resume_after: Some(token("r")),
            ..Start::default()
        };
        assert_eq!(
            after(start, EMPTY),
            doc! { "resumeAfter": { "_data": "r" } }
        );
    }

    #[test]
    fn an_event_without_a_token_is_an_error() {
        for event in [rawdoc! {}, rawdoc! { "_id": 5 }] {
            let mut position = Position::new(Start::default());
            let error = position.returns(&event, None).unwrap_err();
            assert_eq!(error.kind(), ErrorKind::InvalidArgument);
            let expected = "Cannot provide resume functionality when the resume token is missing";
            assert!(error.to_string().starts_with(expected), "{error}");
            assert_eq!(position.token(), None);
        }
    }

    #[test]
    fn the_server_says_which_errors_are_resumable() {
        let rejected = |code: i32, labels: &[&str]| {
            let error = conn::check(&rawdoc! { "ok": 0, "code": code }).unwrap_err();
            error.with_labels(labels)
        };
        let label = ["ResumableChangeStreamError"];
        for (error, wire_version, expected) in [
            (rejected(43, &[]), 9, true),
            (rejected(43, &[]), 8, true),
            (rejected(6, &[]), 8, true),
            (rejected(6, &[]), 9, false),
            (rejected(6, &label), 9, true),
            (rejected(1, &label), 9, true),
            (rejected(1, &label), 8, false),
            (rejected(280, &[]), 8, false),
            (Error::interrupted(), 9, true),
            (Error::client_closed(), 9, false),
            (Error::invalid_argument("x"), 9, false),
        ] {
            assert_eq!(
                is_resumable(&error, wire_version),
                expected,
                "{error}, {wire_version}"
            );
        }
    }
}
