//! A connection on which a server is checked: by hello, and by nothing else.
//!
//! It has no user and belongs to no pool. A server of MongoDB 4.4 or later may be asked to hold its answer back until
//! its state is another one, and then to go on telling without being asked again (`exhaustAllowed`, `moreToCome`).
//! After an error the connection is of no use. Source: "Server Monitoring".

use std::sync::Arc;
use std::time::{Duration, Instant};

use bson::RawDocumentBuf;

use super::establish::{Connector, Observer, Place};
use super::hello::{Hello, TopologyVersion, check_command};
use super::{Connection, check};
use crate::address::ServerAddress;
use crate::error::{Result, Stage};
use crate::reason::sdam::SdamFailure;
use crate::socket::Interrupt;
use crate::time::{Deadline, TimeoutKind};
use crate::wire::compress::Offered;
use crate::wire::reply::{self, Expected};
use crate::wire::{opcode, request};

/// See the [module documentation](self).
#[derive(Debug)]
pub(crate) struct CheckConnection {
    connection: Connection,
    /// The request that the next answer answers, if the server goes on without being asked.
    more: Option<i32>,
    /// The state that the last answer is of; none where the server cannot hold answers back.
    version: Option<TopologyVersion>,
    /// What the server was told of this client.
    told: Arc<RawDocumentBuf>,
}

/// An answer to hello.
#[derive(Debug)]
pub(crate) struct Answer {
    pub(crate) hello: Hello,
    pub(crate) reply: RawDocumentBuf,
    /// From sending hello to its answer, or for how long this one was waited for.
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
    ) -> Result<(CheckConnection, Answer)> {
        let place = Place {
            id,
            interrupt: Arc::clone(interrupt),
        };
        let told = self.metadata.current();
        let (connection, reply, took) = self.establish_for_checks(server, &place, observer)?;
        let answer = Answer {
            hello: connection.hello.clone(),
            reply,
            took,
        };
        let checks = CheckConnection {
            connection,
            more: None,
            version: answer.hello.topology_version,
            told,
        };
        Ok((checks, answer))
    }

    /// Whether connections for commands are made as those for checks are: nobody authenticates, and nothing is
    /// compressed.
    pub(crate) fn can_adopt(&self) -> bool {
        self.authenticator().is_none() && self.compressors.is_empty()
    }

    /// Makes a connection for checks one for commands, in a place of a pool; none where a new one would not be the same.
    pub(crate) fn adopt(&self, checks: CheckConnection, place: &Place) -> Option<Connection> {
        let is_as_new = self.can_adopt()
            && checks.more.is_none()
            && Arc::ptr_eq(&checks.told, &self.metadata.current())
            && self.unsuitable(&checks.connection.hello).is_none();
        let mut connection = Some(checks.connection).filter(|_| is_as_new)?;
        connection.move_to(&place.interrupt).ok()?;
        connection.id = place.id;
        Some(connection)
    }
}

impl CheckConnection {
    /// Asks for an answer now, within `limit`; none is no limit.
    pub(crate) fn ask(&mut self, limit: Option<Duration>) -> Result<Answer> {
        self.exchange(None, limit)
    }

    /// Waits for an answer of another state than `known`, or until `interval` has passed at the server; `limit` is
    /// what the network may take on top of that.
    pub(crate) fn wait_for_change(
        &mut self,
        known: TopologyVersion,
        interval: Duration,
        limit: Option<Duration>,
    ) -> Result<Answer> {
        let limit = limit.map(|limit| limit.saturating_add(interval));
        self.exchange(Some((known, interval)), limit)
    }

    /// The number of the connection.
    pub(crate) fn id(&self) -> u64 {
        self.connection.id
    }

    /// The state that the last answer is of; none where the server cannot hold answers back.
    pub(crate) fn version(&self) -> Option<TopologyVersion> {
        self.version
    }

    /// Whether the server has not closed the connection, as far as that can be seen without waiting.
    pub(crate) fn is_open(&mut self) -> bool {
        self.connection.is_open()
    }

    /// Lets another than before cut the connection off. Fails if that has been asked for already.
    pub(crate) fn move_to(&mut self, interrupt: &Arc<Interrupt>) -> std::io::Result<()> {
        self.connection.move_to(interrupt)
    }

    /// The server's number of the connection.
    pub(crate) fn server_connection_id(&self) -> Option<i64> {
        self.connection.hello.connection_id
    }

    fn exchange(
        &mut self,
        awaited: Option<(TopologyVersion, Duration)>,
        limit: Option<Duration>,
    ) -> Result<Answer> {
        let connection = &mut self.connection;
        let started = Instant::now();
        let deadline = Deadline::after(started, limit, TimeoutKind::Connect);
        let request_id = match self.more {
            Some(id) => id,
            None => {
                let id = connection.next_request_id();
                let body = check_command(connection.hello.hello_ok, awaited);
                let more = |fields: &mut request::Fields<'_>| fields.text("$db", "admin");
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
            opcode: opcode::MSG,
            offered: Offered::NONE,
        };
        // With nothing in the buffer, nothing is sent.
        let outcome = connection.exchange_by(Some(deadline), |stream| match awaited {
            Some(_) => reply::read_one_of_many(stream, expected),
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
        Ok(Answer {
            hello,
            reply,
            took: started.elapsed(),
        })
    }
}
