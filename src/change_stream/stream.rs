//! The stream: iteration, and the replacement of its cursor ("Change Streams", "Resume Process").

use std::fmt;
use std::marker::PhantomData;

#[cfg(not(feature = "serde"))]
use bson::Document;
use bson::RawDocumentBuf;
use bson::raw::RawDocument;
#[cfg(feature = "serde")]
use serde::de::DeserializeOwned;

use super::ResumeToken;
use super::position::{FirstBatch, Position, Start, is_resumable};
use super::source::Source;
use super::split::Parts;
use crate::cancel::Canceller;
use crate::client_session::{Free, Scope};
use crate::collection::action::Replaced;
use crate::cursor::Cursor;
#[cfg(not(feature = "serde"))]
use crate::document::to_document;
#[cfg(feature = "serde")]
use crate::document::to_typed_result;
use crate::error::{Error, Result};
use crate::logging::warn;
use crate::op::run_command::Opened;
use crate::op::{CursorTimeout, HasDeployment, TimeLimit};

/// The changes of a collection, a database or a deployment, as they happen. `T` is the type of its events.
///
/// As an iterator it waits for the next event, for as long as it takes. It ends after an event `invalidate`: what it watched
/// was dropped or renamed. [`next_if_any`](Self::next_if_any) asks the server once. To end a wait from another thread, use a
/// [`Canceller`](super::Watch::cancelled_by), or [close](crate::Client::close) the client.
///
/// **Failures.** After a failure of the network, a change of the primary or the loss of its cursor the stream continues by
/// itself: it opens another cursor behind the last event, once for each failure. If this fails too, the error is returned;
/// an error of the network leaves the stream alive, and the next call tries again. A warning in the log (target
/// `mongotls::change_stream`) reports each failure.
///
/// **Tokens.** A program that wants to continue after a restart stores [`resume_token`](Self::resume_token) after it has
/// processed an event, and passes it to [`Watch::resume_after`](super::Watch::resume_after). The token also moves on while there is no event, so store it
/// now and then in a loop of [`next_if_any`](Self::next_if_any): servers forget old changes.
///
/// **Time.** `timeoutMS` applies to opening the stream, and again to each iteration. After a timeout the stream is alive, and
/// the next call opens another cursor. If no event has arrived before a timeout, the server may be too slow to read its
/// history in that time; then open another stream with a longer limit.
///
/// Dropping a stream closes its cursor, within two seconds at most.
pub struct ChangeStream<T, S: Scope = Free> {
    source: Source<S>,
    cursor: Cursor<(), S>,
    position: Position,
    /// The wire version of the server that has the cursor.
    wire_version: i32,
    timeout: CursorTimeout,
    /// The error after which another cursor must replace this one.
    failure: Option<Error>,
    has_ended: bool,
    /// The parts of a split event, if they are joined.
    parts: Option<Parts>,
    /// The event that was joined last.
    joined: Option<RawDocumentBuf>,
    /// The token in front of an event of which only some parts have arrived.
    token_before_parts: Option<ResumeToken>,
    /// The number of events so far.
    count: u64,
    /// Ends the stream when the client is closed.
    closing: Canceller,
    events: PhantomData<fn() -> T>,
}

impl<T, S: Scope> ChangeStream<T, S> {
    pub(super) fn open(mut source: Source<S>, start: Start, joins_parts: bool) -> Result<Self> {
        let client = source.action.client();
        let closing = client.closing();
        source.action.own_client = Some(client.cancelled_by(&closing));
        let mut position = Position::new(start);
        let append_start = |stage: &mut RawDocumentBuf| position.append_start(stage);
        let opened = source.open(append_start, Replaced::default());
        let opened = opened.map_err(|error| of_closing(error, &closing))?;
        let timeout = opened.timeout;
        let wire_version = wire_version(&opened);
        let reply = opened.reply.reply().to_owned();
        let cursor = source.cursor(opened)?;
        let first = FirstBatch {
            is_empty: cursor.is_at_end_of_batch(),
            has_token: cursor.post_batch_token().is_some(),
            wire_version,
        };
        position.opened(&reply, first);
        let mut stream = Self {
            source,
            cursor,
            position,
            wire_version,
            timeout,
            failure: None,
            has_ended: false,
            parts: joins_parts.then(Parts::default),
            joined: None,
            token_before_parts: None,
            count: 0,
            closing,
            events: PhantomData,
        };
        stream.note_empty_batch();
        Ok(stream)
    }

    /// The place behind the last event, or behind all changes that the server has searched since. `None` at first, if the
    /// stream was opened without a token and the server sends none without events (before MongoDB 4.0.7).
    pub fn resume_token(&self) -> Option<ResumeToken> {
        let is_incomplete = self.parts.as_ref().is_some_and(Parts::is_incomplete);
        match is_incomplete {
            true => self.token_before_parts.clone(),
            false => self.position.token().cloned(),
        }
    }

    /// Returns whether further events may arrive. False after an event `invalidate`, after an error from which the stream cannot
    /// continue, and after it was cancelled.
    pub fn is_alive(&self) -> bool {
        !self.has_ended
    }

    /// Changes the type of the events.
    pub fn with_type<U>(self) -> ChangeStream<U, S> {
        ChangeStream {
            source: self.source,
            cursor: self.cursor,
            position: self.position,
            wire_version: self.wire_version,
            timeout: self.timeout,
            failure: self.failure,
            has_ended: self.has_ended,
            parts: self.parts,
            joined: self.joined,
            token_before_parts: self.token_before_parts,
            count: self.count,
            closing: self.closing,
            events: PhantomData,
        }
    }

    /// Moves to the next event, and waits for it if `waits`; otherwise requests one batch at most. Returns whether there is
    /// an event.
    fn advance(&mut self, waits: bool) -> Result<bool> {
        if self.has_ended {
            return Ok(false);
        }
        self.joined = None;
        // One limit for all commands of this call.
        let limit = self.timeout.of_iteration();
        let outcome = self.step(waits, limit);
        if let Err(error) = &outcome {
            if self.failure.is_none() {
                self.end(error);
            }
        }
        outcome.map_err(|error| of_closing(error, &self.closing))
    }

    fn step(&mut self, waits: bool, limit: TimeLimit) -> Result<bool> {
        // True until a command of the replaced cursor succeeds.
        let mut was_replaced = false;
        loop {
            if self.failure.is_some() {
                self.resume(limit)?;
                was_replaced = true;
            }
            match self.cursor.advance_in_stream(limit) {
                Ok(true) => {
                    if self.take_event()? {
                        return Ok(true);
                    }
                    was_replaced = false;
                }
                Ok(false) => {
                    self.note_empty_batch();
                    was_replaced = false;
                    self.has_ended = !self.cursor.is_open();
                    if self.has_ended || !waits {
                        return Ok(false);
                    }
                }
                Err(error) => {
                    if !is_resumable(&error, self.wire_version) {
                        return Err(error);
                    }
                    self.failure = Some(error.clone());
                    // No time is left, or another cursor does not help.
                    let is_late = error.is_timeout() && self.timeout.is_refreshed();
                    if is_late || was_replaced {
                        return Err(error);
                    }
                }
            }
        }
    }

    /// Replaces the cursor with another one that continues behind the last event ("Resume Process").
    fn resume(&mut self, limit: TimeLimit) -> Result<()> {
        let Some(failure) = self.failure.take() else {
            return Ok(());
        };
        warn!(target: "mongotls::change_stream", "continues with another cursor after a failure: {failure}");
        let replaced = Replaced {
            limit: Some(limit),
            session: self.cursor.retire(Some(&failure)),
        };
        let append_place = |stage: &mut RawDocumentBuf| self.position.append_resumption(stage);
        let opened = self.source.open(append_place, replaced);
        let opened = match opened {
            Ok(opened) => opened,
            Err(error) => {
                // The next call tries again, unless the server has rejected it.
                if error.command().is_none() && is_resumable(&error, self.wire_version) {
                    self.failure = Some(error.clone());
                }
                return Err(error);
            }
        };
        self.wire_version = wire_version(&opened);
        self.cursor = self.source.cursor(opened)?;
        self.note_empty_batch();
        Ok(())
    }

    /// Notes that the current batch is used up without an event in it.
    fn note_empty_batch(&mut self) {
        if self.cursor.is_at_end_of_batch() {
            self.position
                .passed_empty_batch(self.cursor.post_batch_token());
        }
    }

    /// Takes the event that the cursor has moved to. Returns false if it is only a part of one.
    fn take_event(&mut self) -> Result<bool> {
        let event = self.cursor.current();
        let post_batch = self.cursor.post_batch_token();
        let post_batch = post_batch.filter(|_| self.cursor.is_at_end_of_batch());
        if let Some(parts) = &mut self.parts {
            if !parts.is_incomplete() {
                self.token_before_parts = self.position.token().cloned();
            }
            self.joined = parts.add(event)?;
        }
        self.position.returns(event, post_batch)?;
        let is_whole = self.parts.is_none() || self.joined.is_some();
        self.count += u64::from(is_whole);
        Ok(is_whole)
    }

    /// Ends the stream after an error from which it cannot continue.
    fn end(&mut self, error: &Error) {
        self.has_ended = true;
        // A wait that was cancelled ends at once. The cursor is closed when the stream is dropped.
        if !error.is_cancelled() {
            let session = self.cursor.retire(Some(error));
            let client = self.source.action.client();
            client.deployment().sessions.end(session, None);
        }
    }

    /// The event that [`advance`](Self::advance) has moved to.
    fn current(&self) -> &RawDocument {
        let joined = self.joined.as_deref();
        joined.unwrap_or_else(|| self.cursor.current())
    }

    fn next_with<V>(
        &mut self,
        waits: bool,
        value: impl FnOnce(&RawDocument, u64) -> Result<V>,
    ) -> Option<Result<V>> {
        match self.advance(waits) {
            Ok(true) => Some(value(self.current(), self.count - 1)),
            Ok(false) => None,
            Err(error) => Some(Err(error)),
        }
    }
}

/// Implements the iteration for these types of events.
macro_rules! iteration {
    ($([$($parameters:tt)*] $event:ty, $convert:expr;)*) => {$(
        impl<$($parameters)* S: Scope> ChangeStream<$event, S> {
            /// Returns the next event that has arrived, or requests one batch from the server. Returns `None` if it has no
            /// event for now; the server waits for one, for at most [`max_await_time`](crate::Watch::max_await_time). If only
            /// some parts of a [split event](crate::Watch::join_split_events) have arrived, it requests another batch.
            ///
            /// # Errors
            /// As the iterator: [`ErrorKind::Bson`](crate::ErrorKind::Bson) if the event is not of the type of the stream,
            /// which continues then; otherwise those of
            /// [`Database::run_command`](crate::Database::run_command).
            pub fn next_if_any(&mut self) -> Result<Option<$event>> {
                self.next_with(false, $convert).transpose()
            }
        }

        impl<$($parameters)* S: Scope> Iterator for ChangeStream<$event, S> {
            type Item = Result<$event>;

            /// Waits for the next event. Returns `None` after the end of the stream.
            fn next(&mut self) -> Option<Result<$event>> {
                self.next_with(true, $convert)
            }
        }
    )*};
}

#[cfg(feature = "serde")]
iteration! {
    [T: DeserializeOwned + 'static,] T, |event, index| to_typed_result(event, Some(index));
}

#[cfg(not(feature = "serde"))]
iteration! {
    [] Document, |event, _| to_document(event);
    [] RawDocumentBuf, |event, _| Ok(event.to_owned());
}

impl<T, S: Scope> fmt::Debug for ChangeStream<T, S> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("ChangeStream")
            .field("cursor", &self.cursor)
            .field("is_alive", &self.is_alive())
            .finish_non_exhaustive()
    }
}

/// The wire version of the server that has opened a cursor.
fn wire_version(opened: &Opened) -> i32 {
    opened.connection.connection().hello().max_wire_version
}

/// The error of a stream whose client is closed, instead of that of a cancelled operation.
fn of_closing(error: Error, closing: &Canceller) -> Error {
    match error.is_cancelled() && closing.is_cancelled() {
        true => Error::client_closed(),
        false => error,
    }
}
