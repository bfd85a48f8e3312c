//! The progress of a check's current attempt to connect.
//!
//! If a thread stops waiting for a server before that attempt ends, its error says what the attempt waits for.

use std::net::SocketAddr;
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use crate::address::ServerAddress;
use crate::cause::CauseCode;
use crate::conn::{Connector, Learned, Observer};
use crate::error::{Error, ErrorKind, Milliseconds, Stage};
use crate::time::Elapsed;

/// See the [module documentation](self).
#[derive(Debug, Default)]
pub(super) struct Attempt(Mutex<Option<Progress>>);

#[derive(Clone, Debug)]
struct Progress {
    /// The last stage that ended, if one has.
    finished: Option<Stage>,
    /// The addresses of the server's name, or of the proxy's.
    addresses: Vec<SocketAddr>,
}

impl Attempt {
    /// An attempt begins, and ends when the result is dropped.
    pub(super) fn begin(&self) -> Observed<'_> {
        *self.lock() = Some(Progress {
            finished: None,
            addresses: Vec::new(),
        });
        Observed(self)
    }

    /// Describes what the current attempt to reach `server` waits for, if any. `elapsed` is the limit that has passed.
    pub(super) fn unfinished(
        &self,
        server: &ServerAddress,
        connector: &Connector,
        elapsed: Elapsed,
    ) -> Option<Error> {
        let progress = self.lock().clone()?;
        let option = elapsed.kind.option();
        let (code, what, remedy) = match progress.stage(server, connector) {
            Stage::Resolve => (
                CauseCode::DnsFailed,
                format!("the resolver has not answered for {:?}", server.host()),
                "Check the name servers in /etc/resolv.conf and the way to them; then raise",
            ),
            Stage::Connect => (
                CauseCode::ConnectTimeout,
                format!("there is no TCP connection to {}", progress.places(server)),
                "Check host and port, and that no firewall drops the packets; then raise",
            ),
            Stage::Tls => (
                CauseCode::HandshakeTimeout,
                "the TLS handshake has not ended".to_owned(),
                "Check that the port speaks TLS, and that the server is not overloaded; then raise",
            ),
            _ => (
                CauseCode::HandshakeTimeout,
                "the server has not answered hello".to_owned(),
                "Check that the port speaks TLS if and only if tls is on, and that the server is not overloaded; then raise",
            ),
        };
        let until = match connector.connect_timeout() {
            Some(limit) => format!(
                "so far; the attempt may take {} (connectTimeoutMS)",
                Milliseconds(limit)
            ),
            None => "so far; connectTimeoutMS sets no limit".to_owned(),
        };
        let error = Error::new(ErrorKind::Timeout, format!("{what} {until}"));
        let error = error.with_cause(code, &format!("{remedy} {option}."));
        Some(error.with_server(server))
    }

    fn lock(&self) -> MutexGuard<'_, Option<Progress>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Progress {
    /// The stage that is going on.
    fn stage(&self, server: &ServerAddress, connector: &Connector) -> Stage {
        let is_unix = matches!(server, ServerAddress::Unix { .. });
        match self.finished {
            None if is_unix => Stage::Connect,
            None => Stage::Resolve,
            Some(Stage::Resolve) => Stage::Connect,
            Some(Stage::Connect) if connector.tls().is_some() => Stage::Tls,
            Some(_) => Stage::Hello,
        }
    }

    fn places(&self, server: &ServerAddress) -> String {
        let places: Vec<_> = self.addresses.iter().map(ToString::to_string).collect();
        match places.is_empty() {
            true => server.to_string(),
            false => places.join(", "),
        }
    }
}

/// Notes how far an attempt is.
pub(super) struct Observed<'a>(&'a Attempt);

impl Observer for Observed<'_> {
    fn finished(&mut self, stage: Stage, _: Duration, learned: Learned<'_>) {
        if let Some(progress) = &mut *self.0.lock() {
            progress.finished = Some(stage);
            if let Learned::Addresses(addresses) = learned {
                progress.addresses = addresses.to_vec();
            }
        }
    }
}

impl Drop for Observed<'_> {
    fn drop(&mut self) {
        *self.0.lock() = None;
    }
}
