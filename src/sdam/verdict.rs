//! The decision whether waiting for a server can help.
//!
//! Input: the result of each check, in order. Server selection fails immediately only if no later check can have
//! another result. For a server that has never worked in this client, one check is enough, because the connection
//! string is probably wrong. A server that has worked will probably work again: a restarting proxy replies with an
//! error page, and a member that is being replaced has another version. Only a certificate, a TLS version or a local
//! setting counts against such a server, and only after two such checks in a row.

use std::time::Instant;

use super::control::MIN_HEARTBEAT_FREQUENCY;
use crate::error::Error;

/// See the [module documentation](self).
#[derive(Debug, Default)]
pub(super) struct ServerVerdict {
    /// The instant at which the last check failed, or `None` if it succeeded.
    failed: Option<Instant>,
    /// True if any check has found the server usable.
    has_worked: bool,
    /// The number of consecutive checks, up to now, that failed for a lasting reason.
    refusals: u32,
}

impl ServerVerdict {
    /// Records that the server answered a check. `is_fit` is true if this client can use it.
    pub(super) fn succeeded(&mut self, is_fit: bool) {
        self.failed = None;
        self.refusals = 0;
        self.has_worked |= is_fit;
    }

    /// Records that a check failed at `now`, or that its reply was rejected.
    pub(super) fn failed(&mut self, now: Instant, error: &Error) {
        self.failed = Some(now);
        self.refusals = match error.is_lasting() {
            true => self.refusals.saturating_add(1),
            false => 0,
        };
    }

    /// Returns true if any check has found the server usable.
    pub(super) fn has_worked(&self) -> bool {
        self.has_worked
    }

    /// Returns true if waiting cannot help a thread that has waited since `since`. `known` is the error in the
    /// server's description.
    pub(super) fn is_final(&self, known: &Error, since: Instant, now: Instant) -> bool {
        // Within the minimum pause no check can be more recent. An error that only the program's own connection
        // reports is not enough, because the next check may succeed.
        let is_fresh = self.failed.is_some_and(|at| {
            at >= since || now.saturating_duration_since(at) < MIN_HEARTBEAT_FREQUENCY
        });
        let is_certain = match self.has_worked {
            true => known.is_lasting() && self.refusals >= CONFIRMED,
            false => known.is_permanent(),
        };
        is_fresh && is_certain
    }
}

/// The number of consecutive failed checks after which waiting for a server that has worked ends.
const CONFIRMED: u32 = 2;

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;
    use crate::cause::{Cause, CauseCode};
    use crate::error::Stage;

    fn failure(code: CauseCode) -> Error {
        Error::failed(Stage::Tls, Cause::simulated(code, "m", "r"))
    }

    /// Returns whether the decision is final after the first and after the second check that failed like this.
    fn after_two_checks(has_worked: bool, code: CauseCode) -> (bool, bool) {
        let (now, error) = (Instant::now(), failure(code));
        let mut verdict = ServerVerdict::default();
        verdict.succeeded(has_worked);
        let mut fail = || {
            verdict.failed(now, &error);
            verdict.is_final(&error, now, now)
        };
        (fail(), fail())
    }

    #[test]
    fn one_check_is_enough_for_a_server_that_never_worked() {
        use CauseCode as C;
        for code in [
            C::CertificateExpired,
            C::NotMongodb,
            C::HelloFailed,
            C::ServerNotTls,
        ] {
            assert_eq!(after_two_checks(false, code), (true, true), "{code}");
        }
        for code in [C::ConnectionRefused, C::DnsFailed, C::ConnectTimeout] {
            assert_eq!(after_two_checks(false, code), (false, false), "{code}");
        }
    }

    #[test]
    fn a_server_that_worked_fails_for_lasting_causes_alone() {
        for code in CauseCode::ALL {
            let is_lasting = (matches!(code.category().as_str(), "certificate" | "configuration")
                && *code != CauseCode::LocalLimit)
                || code.as_str().starts_with("revoked-")
                || *code == CauseCode::ProtocolVersionMismatch;
            assert_eq!(after_two_checks(true, *code), (false, is_lasting), "{code}");
        }
    }

    #[test]
    fn two_checks_in_a_row_must_agree_and_be_recent() {
        let now = Instant::now();
        let (lasting, odd) = (
            failure(CauseCode::SelfSigned),
            failure(CauseCode::NotMongodb),
        );
        let mut verdict = ServerVerdict::default();
        verdict.succeeded(true);
        for error in [&lasting, &odd, &lasting] {
            verdict.failed(now, error);
            assert!(!verdict.is_final(error, now, now));
        }
        verdict.succeeded(false);
        verdict.failed(now, &lasting);
        assert!(!verdict.is_final(&lasting, now, now));
        verdict.failed(now, &lasting);
        assert!(verdict.is_final(&lasting, now, now));
        // A thread that starts to wait later waits for its own check, unless the last one is very recent.
        let later = now + Duration::from_secs(1);
        assert!(!verdict.is_final(&lasting, later, later));
        assert!(verdict.is_final(&lasting, now, later));
    }
}
