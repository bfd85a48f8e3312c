//! Carries a conversation of `auth` over a connection, within the deadline of establishing it.
//!
//! Each command is one request and one reply. A connection whose authentication fails is dropped by the
//! caller: the error is of [`Stage::Authentication`], with the network's cause where the network failed,
//! and that of the refusal otherwise.

use zeroize::Zeroize;

use super::{Connection, Request};
use crate::auth::{Authenticated, Authenticator, Conversation, Refusal, Step};
use crate::error::{Error, Result, Stage};
use crate::time::Deadline;
use crate::tls::TlsContext;

/// What a conversation needs beside the connection.
pub(super) struct Driver<'a> {
    pub(super) authenticator: &'a Authenticator,
    /// None without TLS.
    pub(super) tls: Option<TlsContext>,
    pub(super) deadline: Deadline,
}

impl Driver<'_> {
    /// Goes on from `step` until the conversation is done.
    pub(super) fn run(
        &self,
        connection: &mut Connection,
        mut conversation: Conversation,
        mut step: Step,
    ) -> Result<Authenticated> {
        while let Step::Send(command) = step {
            let outcome = connection.run_at(
                Stage::Authentication,
                &Request {
                    database: conversation.source(),
                    body: &command,
                    sequences: &[],
                    read_preference: None,
                },
                Some(self.deadline),
            );
            // It may hold a password, and the connection's buffer a copy.
            command.into_bytes().zeroize();
            connection.wipe_buffer();
            let reply = outcome.map_err(|error| self.explain(error, &conversation))?;
            step = conversation
                .receive(&reply)
                .map_err(|cause| Error::failed(Stage::Authentication, cause))?;
        }
        Ok(conversation.into_authenticated())
    }

    /// Turns the server's answer to a command into the failure of the authentication.
    fn explain(&self, error: Error, conversation: &Conversation) -> Error {
        let Some(failure) = error.command() else {
            return error;
        };
        let own = self.tls.as_ref().and_then(TlsContext::own_certificate);
        let refusal = Refusal {
            mechanism: conversation.mechanism(),
            failure,
            certificate_user: own.map(|certificate| certificate.subject.as_str()),
        };
        let cause = self.authenticator.refused(&refusal);
        error.into_failed(Stage::Authentication, cause)
    }
}
