//! Evidence that a failed attempt of an operation has written something, or that it has not.
//!
//! Nothing was written if the command was not sent, or if the server's answer proves it. A later attempt does not change
//! what an earlier one may have done, so the strongest evidence of all attempts counts ([`Error::written`]).

use super::{Extent, OperationKind};
use crate::conn;
use crate::error::{Error, Stage};
use crate::results::Written;
use crate::server_code;

/// The properties of an operation that decide about the evidence.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Evidence {
    pub(crate) kind: OperationKind,
    pub(crate) extent: Extent,
    /// False for a write without acknowledgment.
    pub(crate) has_reply: bool,
}

impl Evidence {
    /// An operation of which only the kind is known.
    pub(crate) fn of_kind(kind: OperationKind) -> Self {
        Self {
            kind,
            extent: Extent::Unknown,
            has_reply: true,
        }
    }

    /// Judges one attempt, which failed with `error`. `is_router`: the server was a router, or behind a load balancer.
    pub(crate) fn of(self, error: &Error, is_router: bool) -> Written {
        let is_read = matches!(self.kind, OperationKind::Read | OperationKind::Cursor);
        if is_read || error.stage() != Some(Stage::Command) {
            return Written::No;
        }
        let Some(failure) = error.command().filter(|_| self.has_reply) else {
            return Written::Unknown;
        };
        // The write was made, and the server has not acknowledged it as required.
        if conn::check(&failure.reply).is_ok() {
            return Written::Yes;
        }
        let is_certain = error.has_label("NoWritesPerformed")
            || error.has_label("SystemOverloadedError")
            || server_code::REJECTED_BEFORE_RUN.contains(&failure.code)
            || self.extent == Extent::OneDocument
                && !(is_router && server_code::CUT_SHORT.contains(&failure.code));
        match is_certain {
            true => Written::No,
            false => Written::Unknown,
        }
    }
}

#[cfg(test)]
mod tests {
    use bson::rawdoc;

    use super::*;

    fn rejected(code: i32) -> Error {
        let error = conn::check(&rawdoc! { "ok": 0, "code": code }).unwrap_err();
        error.with_stage(Stage::Command)
    }

    #[test]
    fn only_an_answer_that_proves_it_says_that_nothing_was_written() {
        use Written as W;
        let lost = || Error::protocol("lost").with_stage(Stage::Command);
        let evidence = |extent| Evidence {
            kind: OperationKind::RetryableWrite,
            extent,
            has_reply: true,
        };
        let [one, many] = [Extent::OneDocument, Extent::Documents].map(evidence);
        let silent = Evidence {
            has_reply: false,
            ..one
        };
        for (error, of_one, of_many, at_router) in [
            (Error::client_closed(), W::No, W::No, W::No),
            (lost(), W::Unknown, W::Unknown, W::Unknown),
            (rejected(91), W::No, W::Unknown, W::Unknown),
            (rejected(2), W::No, W::Unknown, W::No),
            (rejected(13), W::No, W::No, W::No),
            (
                rejected(91).with_labels(&["NoWritesPerformed"]),
                W::No,
                W::No,
                W::No,
            ),
            (
                rejected(462).with_labels(&["SystemOverloadedError"]),
                W::No,
                W::No,
                W::No,
            ),
        ] {
            assert_eq!(one.of(&error, false), of_one, "{error}");
            assert_eq!(many.of(&error, false), of_many, "{error}");
            assert_eq!(one.of(&error, true), at_router, "{error}");
        }
        assert_eq!(silent.of(&rejected(2), false), W::Unknown);
        assert_eq!(silent.of(&lost(), false), W::Unknown);
        assert_eq!(silent.of(&Error::client_closed(), false), W::No);
        let read = Evidence::of_kind(OperationKind::Read);
        assert_eq!(read.of(&lost(), false), W::No);
    }
}
