//! The state of a bulk write that has sent some of its writes: results, errors, and the error that ended it.

use bson::raw::RawDocument;

use super::write::{self, WriteReply};
use crate::document::reply_to_document;
use crate::error::{Error, Result};
use crate::op::{QueuedWrite, refusal};
use crate::results::{
    BulkFailure, PartialBulkWriteResult, WriteConcernError, WriteError, WriteFailure, Written,
    labels,
};
use crate::server_code;

/// See the [module documentation](self). `R` is the type of the result.
#[derive(Debug, Default)]
pub(crate) struct Progress<R> {
    pub(crate) result: R,
    /// True if a write has certainly succeeded.
    has_success: bool,
    /// True if a document has certainly changed.
    has_written: bool,
    /// True if a write that failed may have changed documents.
    is_doubtful: bool,
    errors: Vec<WriteError>,
    kept_errors: Option<usize>,
    unlisted_errors: u64,
    stopped_at: Option<usize>,
    concern_errors: Vec<WriteConcernError>,
    labels: Vec<String>,
    /// The error that ended the bulk, if it is not that of a single write.
    failure: Option<Error>,
}

impl<R> Progress<R> {
    /// Ends the bulk with an error, unless it has ended with another one.
    pub(crate) fn fail(&mut self, error: Error) {
        self.failure.get_or_insert(error);
    }

    /// The error that ended the bulk.
    pub(crate) fn failure_mut(&mut self) -> &mut Option<Error> {
        &mut self.failure
    }

    /// Returns whether nothing more is sent.
    pub(crate) fn is_over(&self, is_ordered: bool) -> bool {
        self.failure.is_some() || is_ordered && self.has_rejected()
    }

    fn has_rejected(&self) -> bool {
        !self.errors.is_empty() || self.unlisted_errors > 0
    }

    /// Returns whether the bulk has written anything although it failed.
    fn written(&self) -> Written {
        let of_end = self.failure.as_ref().map(Error::written);
        match (self.has_written, of_end) {
            (false, Some(written)) if self.is_doubtful => written.max(Written::Unknown),
            (false, Some(written)) => written,
            (true, Some(_)) => Written::Partly,
            (true, None) if self.has_rejected() => Written::Partly,
            (false, None) if self.is_doubtful => Written::Unknown,
            (false, None) if self.has_rejected() => Written::No,
            (_, None) => Written::Yes,
        }
    }

    /// Notes that a write has certainly succeeded.
    pub(crate) fn succeeded(&mut self) {
        self.has_success = true;
    }

    /// Notes that a document has certainly changed.
    pub(crate) fn wrote(&mut self) {
        self.has_written = true;
    }

    /// Adds an error of a write, with its index in the bulk. `is_multi`: it may have changed some documents before.
    pub(crate) fn add_error(&mut self, error: WriteError, index: usize, is_multi: bool) {
        self.is_doubtful |= is_multi || server_code::CUT_SHORT.contains(&error.code);
        match self.kept_errors {
            Some(limit) if self.errors.len() >= limit => self.unlisted_errors += 1,
            _ => self.errors.push(WriteError { index, ..error }),
        }
    }

    /// Keeps no more than this number of errors, and counts the others.
    pub(crate) fn keep_errors(&mut self, limit: usize) {
        self.kept_errors = Some(limit);
    }

    /// Notes the index of the first document that is not a part of the bulk, because the source or its encoding failed.
    pub(crate) fn stopped_at(&mut self, index: usize) {
        self.stopped_at = Some(index);
    }

    /// Adds the failure of a command to acknowledge its writes.
    pub(crate) fn add_concern_error(&mut self, error: WriteConcernError, labels: &[String]) {
        self.concern_errors.push(error);
        for label in labels {
            if !self.labels.contains(label) {
                self.labels.push(label.clone());
            }
        }
    }

    /// Reads the failure to acknowledge the writes in a reply, if there is one.
    ///
    /// # Errors
    /// If it is no document, or not valid BSON.
    pub(crate) fn read_concern_error(&mut self, reply: &RawDocument) -> Result<()> {
        if let Ok(Some(error)) = reply.get("writeConcernError") {
            let error = error.as_document();
            let error = error.ok_or_else(|| write::malformed("a write concern error"))?;
            let error = WriteConcernError::read(reply_to_document(error)?);
            self.add_concern_error(error, &labels(reply));
        }
        Ok(())
    }

    /// The result, or the errors as one error.
    ///
    /// # Errors
    /// If a write failed or was not acknowledged as required, or if another error ended the bulk.
    pub(crate) fn finish(self, partial: fn(R) -> PartialBulkWriteResult) -> Result<R> {
        let has_failed = self.has_rejected() || !self.concern_errors.is_empty();
        if !has_failed && self.failure.is_none() {
            return Ok(self.result);
        }
        let written = self.written();
        let mut errors = self.errors;
        errors.sort_by_key(|error| error.index);
        let has_details = has_failed || self.stopped_at.is_some();
        let failure = has_details.then(|| WriteFailure {
            errors,
            unlisted_errors: self.unlisted_errors,
            concern_error: self.concern_errors.first().cloned(),
            stopped_at: self.stopped_at,
        });
        let bulk = BulkFailure {
            concern_errors: self.concern_errors,
            partial_result: self.has_success.then(|| partial(self.result)),
        };
        let error = match (self.failure, failure) {
            (Some(error), None) if bulk.partial_result.is_none() => error,
            (Some(error), failure) => error.in_bulk(failure, bulk),
            (None, failure) => {
                let error = Error::write(failure.unwrap_or_default());
                error.with_labels(&self.labels).in_bulk(None, bulk)
            }
        };
        Err(refusal::explained(error.with_written(written)))
    }

    /// Adds the errors of a reply to `insert`, `update` or `delete`. `write_of` returns the write of the bulk with an
    /// index in the command.
    ///
    /// # Errors
    /// If the reply has an error of a write that the command does not have.
    pub(super) fn add_errors(
        &mut self,
        reply: &mut WriteReply,
        write_of: impl Fn(usize) -> Result<QueuedWrite>,
    ) -> Result<()> {
        if let Some(error) = reply.concern_error.take() {
            self.add_concern_error(error, &reply.labels);
        }
        for error in reply.errors.drain(..) {
            let write = write_of(error.index)?;
            self.add_error(error, write.index, write.is_multi);
        }
        Ok(())
    }
}
