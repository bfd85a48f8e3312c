//! PLAIN (RFC 4616): the password itself, for a server that asks LDAP.

use zeroize::Zeroizing;

use super::sasl::SaslClient;
use super::server_not_proven;
use crate::cause::{Cause, CauseCode};
use crate::logging::warn;
use crate::options::{AuthMechanism, ClientOptions, Credential, Secret};

/// The client's side of PLAIN.
pub(super) struct Plain {
    user: String,
    password: Secret,
}

/// Refuses to send the password where anyone on the way could read it, and what the message cannot hold.
pub(super) fn check(options: &ClientOptions) -> Result<(), Cause> {
    let credential = options.credential.iter();
    let mut parts = credential.flat_map(|own| {
        own.username
            .as_deref()
            .into_iter()
            .chain(own.password.as_ref().map(Secret::expose))
    });
    if parts.any(|part| part.contains('\0')) {
        return Err(Cause::new(
            CauseCode::OptionConflict,
            "PLAIN cannot send a user name or a password that holds a NUL",
            "Choose another password, or a user with SCRAM.",
        )
        .fact("mechanism", AuthMechanism::Plain.as_str()));
    }
    if options.tls.is_some() {
        return Ok(());
    }
    if options.plain_without_tls {
        warn!(target: "mongotls::auth", "PLAIN without TLS: everyone on the way to the server can read the password");
        return Ok(());
    }
    Err(Cause::new(
        CauseCode::OptionConflict,
        "PLAIN sends the password as it stands, and tls is off: everyone on the way could read it",
        "Add tls=true to the connection string.",
    )
    .fact("mechanism", AuthMechanism::Plain.as_str()))
}

impl Plain {
    pub(super) fn new(credential: &Credential) -> Self {
        // Both are there: the options were checked.
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
        // In one piece: memory that grows leaves its old content behind.
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

    fn answer(&mut self, _: &[u8]) -> Result<Zeroizing<Vec<u8>>, Cause> {
        Err(server_not_proven(
            AuthMechanism::Plain,
            "it sent a message where none is due",
        ))
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
