//! The connection of a server's first check, which can be handed over to the program.
//!
//! A program that has just started needs a connection as soon as the first check has discovered its server, and a
//! short program ends before the next check. Therefore, if connections for commands are established in the same way
//! as those for checks, the monitor offers its connection. The pool takes it for its first connection, and the
//! monitor opens another one for its next check, which resumes the TLS session. If the pool has not taken the
//! connection by then, the monitor keeps it. Only the first successful check is handed over; after a recovery the
//! monitor keeps its connection. The option `reuse_monitor_connection` turns the hand-over off.

use std::time::{Duration, Instant};

use crate::conn::CheckConnection;
use crate::sync::Mutex;

/// See the [module documentation](self).
#[derive(Debug, Default)]
pub(super) struct Handover(Mutex<Option<OfferedConnection>>);

#[derive(Debug)]
struct OfferedConnection {
    connection: CheckConnection,
    /// The generation of the pool when the connection was established.
    generation: u64,
    since: Instant,
}

impl Handover {
    /// Offers a connection to the pool. It can be taken as long as the pool's generation is still the same.
    pub(super) fn offer(&self, connection: CheckConnection, generation: u64) {
        *self.0.lock() = Some(OfferedConnection {
            connection,
            generation,
            since: Instant::now(),
        });
    }

    /// Takes the offered connection for a pool of this generation, if it is still open.
    pub(super) fn take(&self, generation: u64) -> Option<CheckConnection> {
        let mut offer = self.0.lock().take()?;
        let is_sound = offer.generation == generation
            && (offer.since.elapsed() < TRUSTED || offer.connection.is_open());
        is_sound.then_some(offer.connection)
    }

    /// Takes back the connection, if the pool has not taken it.
    pub(super) fn take_back(&self) -> Option<CheckConnection> {
        self.0.lock().take().map(|offer| offer.connection)
    }
}

/// The time for which an unused connection is trusted without a check of its socket: 1 s, as in a pool.
const TRUSTED: Duration = Duration::from_secs(1);
