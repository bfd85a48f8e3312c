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
use crate::error::{Error, Result, Stage};
use crate::ffi::fork;
use crate::ffi::system::wait_until_readable;
use crate::reason::sdam::SdamFailure;
use crate::socket::Interrupt;
use crate::time::{Deadline, TimeoutKind};
use crate::wire::compress::Offered;
use crate::wire::reply::{self, Expected, ReadError};
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

/// A hello whose reply was not read yet.
#[derive(Clone, Copy, Debug)]
pub(crate) struct SentHello {
    request_id: i32,
    /// True if the server delays the reply until its state changes.
    is_awaited: bool,
    started: Instant,
    deadline: Deadline,
}

impl SentHello {
    /// The time until which the reply must arrive, or `None` if there is no limit.
    pub(crate) fn deadline(&self) -> Option<Instant> {
        self.deadline.at()
    }
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
        let sent = self.send_hello(limit)?;
        self.receive(sent)
    }

    /// Sends hello. `limit` is the time until its reply.
    pub(crate) fn send_hello(&mut self, limit: Option<Duration>) -> Result<SentHello> {
        self.send(None, limit)
    }

    /// Requests a reply that the server sends when its state is not `known` any more, or after `interval`. Sends nothing
    /// if the server sends further replies without a request. `limit` is the additional time for the network.
    pub(crate) fn request_change(
        &mut self,
        known: TopologyVersion,
        interval: Duration,
        limit: Option<Duration>,
    ) -> Result<SentHello> {
        let limit = limit.map(|limit| limit.saturating_add(interval));
        self.send(Some((known, interval)), limit)
    }

    /// Waits until there is input on this connection or on the `other` one, but not longer than `until`. Returns on which
    /// ones. The end of a connection counts as input.
    pub(crate) fn wait_for_input(&self, other: Option<&Self>, until: Instant) -> [bool; 2] {
        let has_input = |it: &Self| it.connection.has_buffered_input();
        let buffered = [has_input(self), other.is_some_and(has_input)];
        if buffered != [false; 2] {
            return buffered;
        }
        let own = self.connection.as_fd();
        let readable = fork::outside(|| match other {
            Some(other) => wait_until_readable([own, other.connection.as_fd()], until),
            None => wait_until_readable([own], until).map(|[own]| [own, false]),
        });
        // Reading waits too, and reports its own errors.
        readable.unwrap_or([true, false])
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

    fn send(
        &mut self,
        awaited: Option<(TopologyVersion, Duration)>,
        limit: Option<Duration>,
    ) -> Result<SentHello> {
        let connection = &mut self.connection;
        let started = Instant::now();
        let deadline = Deadline::after(started, limit, TimeoutKind::Connect);
        let is_awaited = awaited.is_some();
        if let Some(request_id) = self.more {
            return Ok(SentHello {
                request_id,
                is_awaited,
                started,
                deadline,
            });
        }
        let request_id = connection.next_request_id();
        let body = check_command(connection.hello_name(), awaited);
        let server_api = connection.server_api;
        let more = |fields: &mut request::Fields<'_>| {
            fields.server_api(server_api);
            fields.text("$db", "admin");
        };
        let size = crate::wire::MAX_MESSAGE_SIZE;
        request::encode_msg(&mut connection.buffer, request_id, &body, more, &[], size)
            .map_err(|error| connection.too_large(error))?;
        if is_awaited {
            request::allow_exhaust(&mut connection.buffer);
        }
        let sent = connection.exchange_by(&[], Some(deadline), false, |_| Ok(()));
        sent.map_err(|failure| self.failed(failure, deadline))?;
        Ok(SentHello {
            request_id,
            is_awaited,
            started,
            deadline,
        })
    }

    /// Reads the reply, until the deadline of the request.
    pub(crate) fn receive(&mut self, sent: SentHello) -> Result<HelloExchange> {
        let SentHello {
            request_id,
            is_awaited,
            started,
            deadline,
        } = sent;
        let expected = Expected {
            request_id,
            offered: Offered::NONE,
        };
        let connection = &mut self.connection;
        // The buffer is empty, so nothing is sent.
        let outcome =
            connection.exchange_by(&[], Some(deadline), true, |stream| match is_awaited {
                true => reply::read_one_of_many(Vec::new(), stream, expected, None),
                false => reply::read(stream, expected).map(|reply| (reply, None)),
            });
        let (reply, more) = outcome.map_err(|failure| self.failed(failure, deadline))?;
        self.more = more;
        let connection = &mut self.connection;
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

    fn failed(&mut self, failure: ReadError, deadline: Deadline) -> Error {
        let (stage, what) = (Stage::Command, "a check of the server");
        let error = self
            .connection
            .explain(failure, stage, what, Some(deadline));
        match error.is_timeout() {
            true => error.with_cause(SdamFailure::CheckTimeout(deadline.elapsed())),
            false => error,
        }
    }
}
