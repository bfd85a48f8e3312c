//! A connection on which a server is checked, by hello only.
//!
//! It has no user and belongs to no pool. A server of MongoDB 4.4 or later can delay its reply until its state changes,
//! and then send further replies without a request (`exhaustAllowed`, `moreToCome`). After an error the connection must
//! not be used again. Source: "Server Monitoring".

use std::sync::Arc;
use std::time::{Duration, Instant};

use bson::RawDocumentBuf;

use super::establish::{ConnectionSlot, Connector, Observer};
use super::hello::check_command;
use super::{Connection, check};
use crate::address::ServerAddress;
use crate::data::hello::{Hello, TopologyVersion};
use crate::error::{Result, Stage};
use crate::reason::sdam::SdamFailure;
use crate::socket::Interrupt;
use crate::time::{Deadline, TimeoutKind};
use crate::wire::compress::Offered;
use crate::wire::reply::{self, Expected};
use crate::wire::request;

/// See the [module documentation](self).
#[derive(Debug)]
pub(crate) struct CheckConnection {
    connection: Connection,
    /// The id of the request that the next reply belongs to, if the server sends further replies without a request.
    more: Option<i32>,
    /// The version of the state in the last reply, or `None` if the server cannot delay replies.
    version: Option<TopologyVersion>,
    /// The metadata that was sent to the server.
    metadata: Arc<RawDocumentBuf>,
}

/// A reply to hello.
#[derive(Debug)]
pub(crate) struct HelloExchange {
    pub(crate) hello: Hello,
    pub(crate) reply: RawDocumentBuf,
    /// The time from sending hello to its reply or, for a reply without a request, the time of the wait for it.
    pub(crate) took: Duration,
}

impl Connector {
    /// Opens a connection for checks, within `connectTimeoutMS`, unless it is interrupted. Its hello is the first
    /// check.
    pub(crate) fn open_for_checks(
        &self,
        server: &ServerAddress,
        id: u64,
        interrupt: &Arc<Interrupt>,
        observer: &mut impl Observer,
    ) -> Result<(CheckConnection, HelloExchange)> {
        let place = ConnectionSlot {
            id,
            interrupt: Arc::clone(interrupt),
        };
        let metadata = self.metadata.current();
        let (connection, reply, took) = self.establish_for_checks(server, &place, observer)?;
        let answer = HelloExchange {
            hello: connection.hello.clone(),
            reply,
            took,
        };
        let checks = CheckConnection {
            connection,
            more: None,
            version: answer.hello.topology_version,
            metadata,
        };
        Ok((checks, answer))
    }

    /// Returns true if connections for commands are established like those for checks: without authentication and
    /// without compression.
    pub(crate) fn can_adopt(&self) -> bool {
        self.authenticator().is_none() && self.compressors.is_empty()
    }

    /// Converts a connection for checks to one for commands, in a place of a pool. Returns `None` if a new connection
    /// would differ from it.
    pub(crate) fn adopt(
        &self,
        checks: CheckConnection,
        place: &ConnectionSlot,
    ) -> Option<Connection> {
        let is_as_new = self.can_adopt()
            && checks.more.is_none()
            && Arc::ptr_eq(&checks.metadata, &self.metadata.current())
            && self.unsuitable(&checks.connection.hello).is_none();
        let mut connection = Some(checks.connection).filter(|_| is_as_new)?;
        connection.move_to(&place.interrupt).ok()?;
        connection.id = place.id;
        Some(connection)
    }
}

impl CheckConnection {
    /// Sends hello and reads the reply, within `limit`, or without a limit if there is none.
    pub(crate) fn hello(&mut self, limit: Option<Duration>) -> Result<HelloExchange> {
        self.exchange_hello(None, limit)
    }

    /// Waits for a reply of another state than `known`, or until `interval` has passed at the server. `limit` is the
    /// additional time for the network.
    pub(crate) fn wait_for_change(
        &mut self,
        known: TopologyVersion,
        interval: Duration,
        limit: Option<Duration>,
    ) -> Result<HelloExchange> {
        let limit = limit.map(|limit| limit.saturating_add(interval));
        self.exchange_hello(Some((known, interval)), limit)
    }

    /// The number of the connection.
    pub(crate) fn id(&self) -> u64 {
        self.connection.id
    }

    /// The version of the state in the last reply, or `None` if the server cannot delay replies.
    pub(crate) fn version(&self) -> Option<TopologyVersion> {
        self.version
    }

    /// Returns true if the server has not closed the connection, as far as this is visible without waiting.
    pub(crate) fn is_open(&mut self) -> bool {
        self.connection.is_open()
    }

    /// Replaces the handle that can interrupt this connection. Fails if the new handle is interrupted already.
    pub(crate) fn move_to(&mut self, interrupt: &Arc<Interrupt>) -> std::io::Result<()> {
        self.connection.move_to(interrupt)
    }

    /// The server's number of the connection.
    pub(crate) fn server_connection_id(&self) -> Option<i64> {
        self.connection.hello.connection_id
    }

    fn exchange_hello(
        &mut self,
        awaited: Option<(TopologyVersion, Duration)>,
        limit: Option<Duration>,
    ) -> Result<HelloExchange> {
        let connection = &mut self.connection;
        let started = Instant::now();
        let deadline = Deadline::after(started, limit, TimeoutKind::Connect);
        let request_id = match self.more {
            Some(id) => id,
            None => {
                let id = connection.next_request_id();
                let body = check_command(connection.hello_name(), awaited);
                let server_api = connection.server_api;
                let more = |fields: &mut request::Fields<'_>| {
                    fields.server_api(server_api);
                    fields.text("$db", "admin");
                };
                let size = crate::wire::MAX_MESSAGE_SIZE;
                request::encode_msg(&mut connection.buffer, id, &body, more, &[], size)
                    .map_err(|error| connection.too_large(error))?;
                if awaited.is_some() {
                    request::allow_exhaust(&mut connection.buffer);
                }
                id
            }
        };
        let expected = Expected {
            request_id,
            offered: Offered::NONE,
        };
        // The buffer is empty, so nothing is sent.
        let outcome = connection.exchange_by(&[], Some(deadline), true, |stream| match awaited {
            Some(_) => reply::read_one_of_many(Vec::new(), stream, expected, None),
            None => reply::read(stream, expected).map(|reply| (reply, None)),
        });
        let (reply, more) = outcome.map_err(|failure| {
            let error = connection.explain(
                failure,
                Stage::Command,
                "a check of the server",
                Some(deadline),
            );
            match error.is_timeout() {
                true => error.with_cause(SdamFailure::CheckTimeout(deadline.elapsed())),
                false => error,
            }
        })?;
        self.more = more;
        check(&reply).map_err(|error| error.with_server(&connection.server))?;
        let hello = Hello::read(&reply);
        self.version = hello.topology_version;
        connection.hello.hello_ok = hello.hello_ok;
        Ok(HelloExchange {
            hello,
            reply,
            took: started.elapsed(),
        })
    }
}
