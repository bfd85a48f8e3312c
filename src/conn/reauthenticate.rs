//! A command on a connection whose user the server wants to see again.
//!
//! A server may answer any command with ReauthenticationRequired, most often because an access token has
//! expired. The command was not carried out then; it is sent once more after a conversation without a
//! hello. Source: "Reauthentication" in "Driver Authentication".

use std::time::Instant;

use bson::RawDocumentBuf;

use super::authenticate::Driver;
use super::{Connection, Connector, Perished, Request};
use crate::auth::Context;
use crate::error::{Error, Result};
use crate::ffi::fork;
use crate::time::Deadline;

impl Connector {
    /// Runs a command as [`Connection::run`] does, and a second time if the server asks who the user is.
    ///
    /// # Errors
    /// Those of the second time; and of [`Stage::Authentication`](crate::Stage::Authentication), which
    /// leave a connection that must not be used again.
    pub(crate) fn run(
        &self,
        connection: &mut Connection,
        request: &Request<'_>,
        deadline: Option<Deadline>,
    ) -> Result<RawDocumentBuf> {
        let outcome = connection.run(request, deadline);
        let failure = outcome.as_ref().err().and_then(Error::command);
        if failure.is_none_or(|failure| failure.code != REAUTHENTICATION_REQUIRED) {
            return outcome;
        }
        let (Some(authenticator), Some(authenticated)) =
            (self.authenticator(), connection.authenticated.take())
        else {
            return outcome;
        };
        // Authentication hashes.
        let _at_work = fork::at_work();
        let started = Instant::now();
        let own = self.connect_deadline(started);
        let server = connection.server.clone();
        let context = Context {
            server: &server,
            dns_name: self.dns_name(&server),
            deadline: deadline.map_or(own, |deadline| deadline.earlier(own)),
        };
        let driver = Driver {
            authenticator,
            tls: self.tls(),
            context,
        };
        let begun = authenticator.reauthenticate(&authenticated, &context);
        let (authenticated, of_person) = driver.run(connection, begun).map_err(|error| {
            // As whom the server sees it now is not known.
            connection.perished.get_or_insert(Perished::Alone);
            error.with_server(&server)
        })?;
        connection.authenticated = Some(authenticated);
        connection.run(
            request,
            deadline.map(|deadline| deadline.extended(of_person)),
        )
    }
}

const REAUTHENTICATION_REQUIRED: i32 = 391;
