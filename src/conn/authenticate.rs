//! Authentication on a connection: runs a conversation of `auth`, within the deadline of the handshake.
//!
//! Each command is one request and one reply. The caller drops a connection whose authentication fails. The error has
//! [`Stage::Authentication`], with the cause of a network error or of the server's rejection.

use std::time::Duration;

use zeroize::Zeroize;

use super::{Connection, Request, time_limit};
use crate::auth::{Authenticated, Authenticator, Context, Conversation, Step};
use crate::cause::Cause;
use crate::error::{Error, Result, Stage};
use crate::reason::auth::AuthFailure;
use crate::time::Deadline;
use crate::tls::{Certificate, TlsContext};

/// The data that a conversation needs besides the connection.
pub(super) struct Driver<'a> {
    pub(super) authenticator: &'a Authenticator,
    /// `None` without TLS.
    pub(super) tls: Option<TlsContext>,
    pub(super) context: Context<'a>,
    /// The limit of each command, in addition to the deadline of the context.
    pub(super) command_timeout: Option<Duration>,
}

impl Driver<'_> {
    /// Continues from the state `begun` until a conversation is done. Returns the time that a person took, too; no
    /// limit includes it.
    pub(super) fn run(
        &self,
        connection: &mut Connection,
        begun: Result<(Conversation, Step), Cause>,
    ) -> Result<(Authenticated, Duration)> {
        let outcome = begun
            .map_err(failed)
            .and_then(|(conversation, step)| self.converse(connection, conversation, step));
        if outcome.is_err() {
            self.authenticator.clear_cached();
        }
        outcome
    }

    /// Continues until a conversation is done, with another conversation if the mechanism has more than one method.
    fn converse(
        &self,
        connection: &mut Connection,
        mut conversation: Conversation,
        mut step: Step,
    ) -> Result<(Authenticated, Duration)> {
        let mut human_time = Duration::ZERO;
        let mut context = self.context;
        loop {
            let limits = (context.deadline, self.command_timeout);
            let outcome = converse(connection, &mut conversation, step, limits);
            human_time += conversation.human_time();
            context.deadline = self.context.deadline.extended(human_time);
            let Err(error) = outcome else {
                return Ok((conversation.into_authenticated(), human_time));
            };
            let Some(failure) = error.command() else {
                return Err(error);
            };
            let retry = self
                .authenticator
                .retry(&conversation, failure.code, &context);
            match retry.map_err(failed)? {
                Some(next) => (conversation, step) = next,
                None => return Err(self.explain(error, &conversation)),
            }
        }
    }

    /// Converts the server's reply to a command to an authentication error.
    fn explain(&self, error: Error, conversation: &Conversation) -> Error {
        let Some(failure) = error.command() else {
            return error;
        };
        let own = self.tls.as_ref().and_then(TlsContext::own_certificate);
        let own = own.map(Certificate::user_name);
        let rejection = self.authenticator.rejection(conversation, failure, own);
        let reason = AuthFailure::Rejected(Box::new(rejection));
        error.into_failed(Stage::Authentication, reason.into())
    }
}

/// An upper bound of what a message adds to a command: header, flags, and the name of a database. A buffer of this
/// capacity need not grow; growing would leave its old content in memory, and a secret with it.
pub(super) const HEADER_AND_DATABASE: usize = 512;

/// Runs one conversation to its end, or to the server's rejection.
fn converse(
    connection: &mut Connection,
    conversation: &mut Conversation,
    mut step: Step,
    (deadline, command_timeout): (Deadline, Option<Duration>),
) -> Result<()> {
    while let Step::Send(command) = step {
        connection
            .buffer
            .reserve(command.as_bytes().len() + HEADER_AND_DATABASE);
        let whole = deadline.extended(conversation.human_time());
        let (deadline, max_time_ms) = time_limit::of_handshake(whole, command_timeout);
        let mut request = Request::new(conversation.source(), &command);
        request.envelope.max_time_ms = max_time_ms;
        let outcome =
            connection.run_in_stage(Stage::Authentication, &request, &mut (), Some(deadline));
        // The command may contain a password, and the connection's buffer a copy of it.
        command.into_bytes().zeroize();
        connection.wipe_buffer();
        step = conversation.receive(&outcome?).map_err(failed)?;
    }
    Ok(())
}

fn failed(cause: Cause) -> Error {
    Error::failed(Stage::Authentication, cause)
}
