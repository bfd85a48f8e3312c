//! Authenticating the user of an established connection again.
//!
//! A server may answer any command with ReauthenticationRequired, most often because an access token has expired. The
//! server did not run that command; the executor of operations (`op/execute.rs`) authenticates here, without a hello, and
//! sends the command again. Source: "Reauthentication" in "Driver Authentication".

use std::time::{Duration, Instant};

use super::authenticate::Driver;
use super::{Connection, Connector, Perished};
use crate::auth::Context;
use crate::error::Result;
use crate::ffi::fork;
use crate::time::Deadline;

impl Connector {
    /// Authenticates the user of the connection again. Returns the time that a person took to log in, which no
    /// deadline counts, or `None` if the connection has no user.
    ///
    /// # Errors
    /// Those of [`Stage::Authentication`](crate::error::Stage::Authentication). The connection must not be used after them.
    #[cold]
    pub(crate) fn reauthenticate(
        &self,
        connection: &mut Connection,
        deadline: Option<Deadline>,
    ) -> Result<Option<Duration>> {
        let (Some(authenticator), Some(authenticated)) =
            (self.authenticator(), connection.authenticated.take())
        else {
            return Ok(None);
        };
        // Authentication computes hashes with OpenSSL.
        let _at_work = fork::at_work();
        let started = Instant::now();
        let own = self.connect_deadline(started);
        let server = connection.server.clone();
        let context = Context {
            server: &server,
            dns_name: self.dns_name(&server),
            deadline: own.within(deadline),
        };
        let driver = Driver {
            authenticator,
            tls: self.tls(),
            context,
            command_timeout: None,
        };
        let begun = authenticator.reauthenticate(&authenticated, &context);
        let (authenticated, human_time) = driver.run(connection, begun).map_err(|error| {
            // The server's view of the authenticated user is now unknown.
            connection.perished.get_or_insert(Perished::Alone);
            error.with_server(&server)
        })?;
        connection.authenticated = Some(authenticated);
        Ok(Some(human_time))
    }
}
