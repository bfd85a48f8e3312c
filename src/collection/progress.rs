//! The state of a bulk write that has sent some of its writes: results, errors, and the error that ended it.

use bson::raw::RawDocument;

use super::write::{self, WriteReply};
use crate::document::reply_to_document;
use crate::error::{Error, Result};
use crate::results::{
    BulkFailure, PartialBulkWriteResult, WriteConcernError, WriteError, WriteFailure,
};

/// See the [module documentation](self). `R` is the type of the result.
#[derive(Debug, Default)]
pub(crate) struct Progress<R> {
    pub(crate) result: R,
    /// True if a write has certainly succeeded.
    has_success: bool,
    errors: Vec<WriteError>,
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
        self.failure.is_some() || is_ordered && !self.errors.is_empty()
    }

    /// Notes that a write has certainly succeeded.
    pub(crate) fn succeeded(&mut self) {
        self.has_success = true;
    }

    /// Adds an error of a write, with its index in the bulk.
    pub(crate) fn add_error(&mut self, error: WriteError, index: usize) {
        self.errors.push(WriteError { index, ..error });
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
    /// If it is not valid BSON.
    pub(crate) fn read_concern_error(&mut self, reply: &RawDocument) -> Result<()> {
        if let Ok(Some(error)) = reply.get("writeConcernError") {
            let Some(error) = error.as_document() else {
                return Ok(());
            };
            let error = write::write_concern_error(reply_to_document(error)?);
            self.add_concern_error(error, &write::labels(reply));
        }
        Ok(())
    }

    /// The result, or the errors as one error.
    ///
    /// # Errors
    /// If a write failed or was not acknowledged as required, or if another error ended the bulk.
    pub(crate) fn finish(self, partial: fn(R) -> PartialBulkWriteResult) -> Result<R> {
        let has_failed = !self.errors.is_empty() || !self.concern_errors.is_empty();
        if !has_failed && self.failure.is_none() {
            return Ok(self.result);
        }
        let mut errors = self.errors;
        errors.sort_by_key(|error| error.index);
        let failure = has_failed.then(|| WriteFailure {
            errors,
            concern_error: self.concern_errors.first().cloned(),
        });
        let bulk = BulkFailure {
            concern_errors: self.concern_errors,
            partial_result: self.has_success.then(|| partial(self.result)),
        };
        Err(match (self.failure, failure) {
            (Some(error), None) if bulk.partial_result.is_none() => error,
            (Some(error), failure) => error.in_bulk(failure, bulk),
            (None, failure) => {
                let error = Error::write(failure.unwrap_or_default());
                error.with_labels(&self.labels).in_bulk(None, bulk)
            }
        })
    }

    /// Adds the errors of a reply to `insert`, `update` or `delete`. `index_of` maps the index of a write in the command to
    /// that in the bulk.
    ///
    /// # Errors
    /// If the reply has an error of a write that the command does not have.
    pub(super) fn add_errors(
        &mut self,
        reply: &mut WriteReply,
        index_of: impl Fn(usize) -> Result<usize>,
    ) -> Result<()> {
        if let Some(error) = reply.concern_error.take() {
            self.add_concern_error(error, &reply.labels);
        }
        for error in reply.errors.drain(..) {
            let index = index_of(error.index)?;
            self.add_error(error, index);
        }
        Ok(())
    }
}
