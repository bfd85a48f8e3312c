//! A server's refusal of the user → a cause.
//!
//! Servers say little on purpose: a wrong password, an unknown user and a wrong `authSource` get the same
//! answer. What hello has told about the user's mechanisms tells some of them apart.

use crate::cause::{Cause, CauseCode};
use crate::error::CommandFailure;
use crate::options::{AuthMechanism, Credential};

/// A server refused a command of a conversation.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Refusal<'a> {
    pub(crate) mechanism: AuthMechanism,
    /// What the server said.
    pub(crate) failure: &'a CommandFailure,
    /// The subject of the client certificate, as the server spells it.
    pub(crate) certificate_user: Option<&'a str>,
}

impl Refusal<'_> {
    pub(super) fn explain(&self, credential: &Credential) -> Cause {
        let source = credential.source.as_str();
        let Self {
            mechanism, failure, ..
        } = self;
        Cause::new(
            CauseCode::AuthenticationFailed,
            format!(
                "the server refused the user by {mechanism}: {}",
                failure.message
            ),
            "Check the user name, the password, and authSource.",
        )
        .fact("mechanism", mechanism.as_str())
        .fact_opt(
            "user",
            credential.username.as_deref().or(self.certificate_user),
        )
        .fact("auth_source", source)
        .fact("server_code", i64::from(failure.code))
    }
}
