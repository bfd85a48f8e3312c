//! Events: what happens inside a client, told to the program as it happens.

mod pool;
mod tls;

use std::fmt;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::Arc;

use log::error;

pub use self::pool::{
    ConnectionCheckOutFailedReason, ConnectionClosedReason, PoolEvent, PoolEventKind, PoolOptions,
};
pub use self::tls::{RevocationEvent, TlsReloadEvent};

/// Something that happened inside a client.
#[derive(Clone, Debug)]
#[non_exhaustive]
pub enum Event {
    /// Something happened in the connection pool of a server.
    Pool(PoolEvent),
    /// The files of TLS were read anew.
    TlsReload(TlsReloadEvent),
    /// A handshake looked for evidence of whether the server's certificate is revoked.
    Revocation(RevocationEvent),
}

/// A function of the program that is told of events; none by default.
#[derive(Clone, Default)]
pub(crate) struct EventListener(Option<Arc<Listen>>);

type Listen = dyn Fn(&Event) + Send + Sync;

impl EventListener {
    pub(crate) fn new(listen: impl Fn(&Event) + Send + Sync + 'static) -> Self {
        Self(Some(Arc::new(listen)))
    }

    /// Whether anybody listens.
    pub(crate) fn is_there(&self) -> bool {
        self.0.is_some()
    }

    /// Tells the program; never under a lock. A panic of the program's function ends here.
    pub(crate) fn emit(&self, event: &Event) {
        let Some(listen) = &self.0 else { return };
        if catch_unwind(AssertUnwindSafe(|| listen(event))).is_err() {
            error!(target: "mongotls::event", "the event listener panicked");
        }
    }
}

impl fmt::Debug for EventListener {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self.0 {
            Some(_) => "<listener>",
            None => "none",
        })
    }
}

/// Two listeners are the same if they are one.
impl PartialEq for EventListener {
    fn eq(&self, other: &Self) -> bool {
        match (&self.0, &other.0) {
            (Some(one), Some(other)) => Arc::ptr_eq(one, other),
            (one, other) => one.is_none() && other.is_none(),
        }
    }
}
