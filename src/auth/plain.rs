//! PLAIN (RFC 4616): sends the password itself, for a server that checks it with LDAP.

use zeroize::Zeroizing;

use super::sasl::{SaslClient, not_proven};
use crate::cause::Cause;
use crate::logging::warn;
use crate::options::{AuthMechanism, ClientOptions, Credential, Secret};
use crate::reason::auth::{AuthFailure, SaslViolation};

/// The client's side of PLAIN.
pub(super) struct Plain {
    user: String,
    password: Secret,
}

/// Rejects a password without TLS, and characters that the message cannot represent.
pub(super) fn check(options: &ClientOptions) -> Result<(), AuthFailure> {
    let credential = options.credential.iter();
    let mut parts = credential.flat_map(|own| {
        own.username
            .as_deref()
            .into_iter()
            .chain(own.password.as_ref().map(Secret::expose))
    });
    if parts.any(|part| part.contains('\0')) {
        return Err(AuthFailure::PlainHoldsNul);
    }
    if options.tls.is_some() {
        return Ok(());
    }
    if options.plain_without_tls {
        warn!(target: "mongotls::auth", "PLAIN without TLS: everyone on the way to the server can read the password");
        return Ok(());
    }
    Err(AuthFailure::PlainWithoutTls)
}

impl Plain {
    pub(super) fn new(credential: &Credential) -> Self {
        // The options were checked: both are set.
        Self {
            user: credential.username.clone().unwrap_or_default(),
            password: credential
                .password
                .clone()
                .unwrap_or_else(|| Secret::new("")),
        }
    }
}

impl SaslClient for Plain {
    fn first(&mut self) -> Result<Zeroizing<Vec<u8>>, Cause> {
        let parts = ["", &self.user, self.password.expose()];
        // The buffer must not grow: it would leave a copy of the password behind.
        let length = parts.iter().map(|part| part.len() + 1).sum();
        let mut message = Zeroizing::new(Vec::with_capacity(length));
        for (index, part) in parts.iter().enumerate() {
            if index > 0 {
                message.push(0);
            }
            message.extend_from_slice(part.as_bytes());
        }
        Ok(message)
    }

    fn respond(&mut self, _: &[u8]) -> Result<Zeroizing<Vec<u8>>, Cause> {
        let violation = SaslViolation::UnexpectedMessage;
        Err(not_proven(AuthMechanism::Plain, violation).into())
    }

    fn is_complete(&self) -> bool {
        true
    }
}

impl std::fmt::Debug for Plain {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Plain").finish_non_exhaustive()
    }
}
