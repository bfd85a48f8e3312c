//! Carries a conversation of `auth` over a connection, within the deadline of establishing it.
//!
//! Each command is one request and one reply. A connection whose authentication fails is dropped by the
//! caller: the error is of [`Stage::Authentication`], with the network's cause where the network failed,
//! and that of the refusal otherwise.

use std::time::Duration;

use zeroize::Zeroize;

use super::{Connection, Request};
use crate::auth::{Authenticated, Authenticator, Context, Conversation, Refusal, Step};
use crate::cause::Cause;
use crate::error::{Error, Result, Stage};
use crate::time::Deadline;
use crate::tls::TlsContext;

/// What a conversation needs beside the connection.
pub(super) struct Driver<'a> {
    pub(super) authenticator: &'a Authenticator,
    /// None without TLS.
    pub(super) tls: Option<TlsContext>,
    pub(super) context: Context<'a>,
}

impl Driver<'_> {
    /// Goes on from what `begun` says until a conversation is done. Says how long a person took too, which
    /// no limit counts.
    pub(super) fn run(
        &self,
        connection: &mut Connection,
        begun: Result<(Conversation, Step), Cause>,
    ) -> Result<(Authenticated, Duration)> {
        let outcome = begun
            .map_err(failed)
            .and_then(|(conversation, step)| self.converse(connection, conversation, step));
        if outcome.is_err() {
            self.authenticator.failed();
        }
        outcome
    }

    /// Goes on until a conversation is done, with another one where the mechanism has more than one way.
    fn converse(
        &self,
        connection: &mut Connection,
        mut conversation: Conversation,
        mut step: Step,
    ) -> Result<(Authenticated, Duration)> {
        let mut of_persons = Duration::ZERO;
        let mut context = self.context;
        loop {
            let outcome = talk(connection, &mut conversation, step, context.deadline);
            of_persons += conversation.time_of_person();
            context.deadline = self.context.deadline.extended(of_persons);
            let Err(error) = outcome else {
                return Ok((conversation.into_authenticated(), of_persons));
            };
            let Some(failure) = error.command() else {
                return Err(error);
            };
            let again = self
                .authenticator
                .again(&conversation, failure.code, &context);
            match again.map_err(failed)? {
                Some(next) => (conversation, step) = next,
                None => return Err(self.explain(error, &conversation)),
            }
        }
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
            known: conversation.user_mechanisms(),
            certificate_user: own.map(|certificate| certificate.subject.as_str()),
        };
        let cause = self.authenticator.refused(&refusal);
        error.into_failed(Stage::Authentication, cause)
    }
}

/// Carries one conversation to its end, or to the server's refusal.
fn talk(
    connection: &mut Connection,
    conversation: &mut Conversation,
    mut step: Step,
    deadline: Deadline,
) -> Result<()> {
    while let Step::Send(command) = step {
        let outcome = connection.run_at(
            Stage::Authentication,
            &Request {
                database: conversation.source(),
                body: &command,
                sequences: &[],
                read_preference: None,
            },
            Some(deadline.extended(conversation.time_of_person())),
        );
        // It may hold a password, and the connection's buffer a copy.
        command.into_bytes().zeroize();
        connection.wipe_buffer();
        step = conversation.receive(&outcome?).map_err(failed)?;
    }
    Ok(())
}

fn failed(cause: Cause) -> Error {
    Error::failed(Stage::Authentication, cause)
}
