//! The connection of a server's first check, until it is the program's.
//!
//! A program that has just begun needs a connection as soon as the first check has found its server; a short one is over
//! before the next check. So where connections for commands are made as those for checks are, the monitor offers its
//! connection: the pool's first dial takes it, and the monitor opens another one for its next check, which resumes the
//! TLS session. If nobody took it until then, it is the monitor's again. A server that is found again later is nobody's
//! first: its monitor keeps the connection.

use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use crate::conn::CheckConnection;

/// See the [module documentation](self).
#[derive(Debug, Default)]
pub(super) struct Handover(Mutex<Option<Offer>>);

#[derive(Debug)]
struct Offer {
    connection: CheckConnection,
    /// The pool's generation when the connection was made.
    generation: u64,
    since: Instant,
}

impl Handover {
    /// Offers a connection to the pool, if it is still of that generation when it dials.
    pub(super) fn offer(&self, connection: CheckConnection, generation: u64) {
        *self.lock() = Some(Offer {
            connection,
            generation,
            since: Instant::now(),
        });
    }

    /// What is offered to a pool of that generation, if it is still open.
    pub(super) fn take(&self, generation: u64) -> Option<CheckConnection> {
        let mut offer = self.lock().take()?;
        let is_sound = offer.generation == generation
            && (offer.since.elapsed() < TRUSTED || offer.connection.is_open());
        is_sound.then_some(offer.connection)
    }

    /// What nobody has taken.
    pub(super) fn take_back(&self) -> Option<CheckConnection> {
        self.lock().take().map(|offer| offer.connection)
    }

    fn lock(&self) -> MutexGuard<'_, Option<Offer>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// How long a connection may be unused without a look at its socket: 1 s, as in a pool.
const TRUSTED: Duration = Duration::from_secs(1);
