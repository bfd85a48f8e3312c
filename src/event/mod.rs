//! Events: what happens inside a client, told to the program as it happens.
//!
//! The program's function runs on the thread that the event happens on, and that thread waits for it; it is
//! called under no lock. If it panics, the log says so, and the client goes on.

mod command;
mod json;
mod pool;
mod sdam;
mod tls;

use std::cell::Cell;
use std::fmt;
use std::panic::{AssertUnwindSafe, RefUnwindSafe, UnwindSafe, catch_unwind};
use std::sync::Arc;
use std::time::{Duration, Instant};

pub use self::command::{
    CommandEvent, CommandFailedEvent, CommandInfo, CommandStartedEvent, CommandSucceededEvent,
};
pub(crate) use self::command::{CommandMonitor, OpenCommand, next_operation_id};
pub use self::pool::{
    ConnectionCheckOutFailedReason, ConnectionClosedReason, PoolEvent, PoolEventKind, PoolOptions,
};
pub use self::sdam::{MonitoringConnection, SdamEvent, SdamEventKind};
pub use self::tls::{
    RevocationEvent, TlsEvent, TlsHandshakeFailedEvent, TlsHandshakeStartedEvent,
    TlsHandshakeSucceededEvent, TlsReloadEvent,
};
use crate::ffi::fork;
use crate::logging::error;
use crate::time::{Deadline, TimeoutKind};

/// Something that happened inside a client.
///
/// ```
/// use mongotls::event::{CommandEvent, Event};
///
/// fn listen(event: &Event) {
///     match event {
///         Event::Command(CommandEvent::Failed(command)) => println!("{}", command.failure),
///         Event::Pool(pool) => println!("{pool}"),
///         _ => {}
///     }
/// }
/// ```
#[derive(Clone, Debug)]
#[non_exhaustive]
pub enum Event {
    /// A TLS handshake, evidence of revocation, or a reload of the TLS files.
    Tls(TlsEvent),
    /// A command.
    Command(CommandEvent),
    /// The connection pool of a server.
    Pool(PoolEvent),
    /// Discovery and monitoring of servers.
    Sdam(SdamEvent),
}

impl Event {
    /// The kind of the event, by which a listener can be limited.
    pub fn kind(&self) -> EventKind {
        match self {
            Self::Tls(_) => EventKind::Tls,
            Self::Command(_) => EventKind::Command,
            Self::Pool(_) => EventKind::Pool,
            Self::Sdam(_) => EventKind::Sdam,
        }
    }
}

/// What an event is about.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum EventKind {
    /// Handshakes, evidence of revocation, and reloads of the files of TLS.
    Tls,
    /// Commands. Each is copied for its listener, with its reply.
    Command,
    /// Connection pools.
    Pool,
    /// Discovery and monitoring of servers. Each answer of a server is copied for its listener.
    Sdam,
}

impl EventKind {
    /// The kind in lower case: `tls`, `command`, `pool` or `sdam`.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Tls => "tls",
            Self::Command => "command",
            Self::Pool => "pool",
            Self::Sdam => "sdam",
        }
    }

    fn bit(self) -> u8 {
        match self {
            Self::Tls => 1,
            Self::Command => 2,
            Self::Pool => 4,
            Self::Sdam => 8,
        }
    }
}

impl fmt::Display for EventKind {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

/// A function of the program that is told of events; none by default.
#[derive(Clone, Default)]
pub(crate) struct EventListener {
    listen: Option<Arc<Listen>>,
    /// Which kinds of events it is told of.
    kinds: u8,
}

type Listen = dyn Fn(&Event) + Send + Sync;

// A panic of the program's function is caught where it is called.
impl UnwindSafe for EventListener {}
impl RefUnwindSafe for EventListener {}

impl EventListener {
    /// A function that is told of events of all kinds.
    pub(crate) fn new(listen: impl Fn(&Event) + Send + Sync + 'static) -> Self {
        Self {
            listen: Some(Arc::new(listen)),
            kinds: u8::MAX,
        }
    }

    /// Tells it of those kinds alone.
    pub(crate) fn limit_to(&mut self, kinds: &[EventKind]) {
        self.kinds = kinds.iter().fold(0, |all, kind| all | kind.bit());
    }

    /// Whether anybody listens to events of that kind. Asked before an event is made.
    pub(crate) fn hears(&self, kind: EventKind) -> bool {
        self.listen.is_some() && self.kinds & kind.bit() != 0
    }

    /// Tells the program; never under a lock. A panic of the program's function ends here.
    pub(crate) fn emit(&self, event: &Event) {
        let Some(listen) = &self.listen else { return };
        let was_listening = LISTENING.replace(true);
        let told = catch_unwind(AssertUnwindSafe(|| fork::outside(|| listen(event))));
        LISTENING.set(was_listening);
        if told.is_err() {
            error!(target: "mongotls::event", "the event listener panicked");
        }
    }
}

thread_local! {
    static LISTENING: Cell<bool> = const { Cell::new(false) };
    /// The time that the program's function has waited on this thread during the current operation.
    static WAITED: Cell<Duration> = const { Cell::new(Duration::ZERO) };
}

/// The limit for the program's function to wait for servers and connections during one operation: 2 s, for all events
/// together. The thread that it is called on may be the one that would find the server, or hold the connection.
const LISTENER_WAITS: Duration = Duration::from_secs(2);

/// Begins an operation on this thread: a command, or a check of a server. An operation of the program's own function
/// belongs to the operation that sent the event.
pub(crate) fn begin_operation() {
    if !LISTENING.get() {
        WAITED.set(Duration::ZERO);
    }
}

/// The deadline for the waits of the program's function, or `None` if this thread is not in such a function.
pub(crate) fn listener_deadline(now: Instant) -> Option<Deadline> {
    let waited = LISTENING.get().then(|| WAITED.get().min(LISTENER_WAITS))?;
    let began = now.checked_sub(waited).unwrap_or(now);
    let limit = Some(LISTENER_WAITS);
    Some(Deadline::after(began, limit, TimeoutKind::Listener))
}

/// The program's function, if this thread is in it, has waited since `started`.
pub(crate) fn listener_waited(started: Instant) {
    if LISTENING.get() {
        WAITED.set(WAITED.get().saturating_add(started.elapsed()));
    }
}

impl fmt::Debug for EventListener {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self.listen {
            Some(_) => "<listener>",
            None => "none",
        })
    }
}

/// Two listeners are the same if they are one.
impl PartialEq for EventListener {
    fn eq(&self, other: &Self) -> bool {
        match (&self.listen, &other.listen) {
            (Some(one), Some(other_one)) => {
                Arc::ptr_eq(one, other_one) && self.kinds == other.kinds
            }
            (one, other) => one.is_none() && other.is_none(),
        }
    }
}

/// Shows an answer as the log does, for tests with hostile ones.
#[cfg(test)]
pub(crate) fn read_for_the_log(reply: &bson::RawDocument) {
    let whole = json::extended_json(reply, usize::MAX);
    let cut = json::extended_json(reply, 20);
    assert!(
        cut == whole
            || cut
                .strip_suffix("...")
                .is_some_and(|cut| whole.starts_with(cut))
    );
}
