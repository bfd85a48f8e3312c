//! Events: what happens inside a client, reported to the program at once.
//!
//! The program's listener runs on the thread on which the event happens, and that thread waits for it. No lock is
//! held during the call. If the listener panics, the panic is logged and the client continues.

mod command;
mod command_monitor;
mod json;
mod message;
mod pool;
mod sdam;
mod tls;
mod transaction;

use std::cell::Cell;
use std::fmt;
use std::panic::{AssertUnwindSafe, RefUnwindSafe, UnwindSafe, catch_unwind};
use std::sync::Arc;
use std::time::{Duration, Instant};

pub use self::command::{
    CommandEvent, CommandFailedEvent, CommandInfo, CommandStartedEvent, CommandSucceededEvent,
};
pub(crate) use self::command_monitor::{CommandMonitor, OpenCommand, OperationId};
pub(crate) use self::message::{LogSettings, Message, SelectionInfo, SelectionStep};
pub use self::pool::{
    ConnectionCheckOutFailedReason, ConnectionClosedReason, PoolEvent, PoolEventKind, PoolOptions,
};
pub use self::sdam::{MonitoringConnection, SdamEvent, SdamEventKind};
pub use self::tls::{
    RevocationEvent, TlsEvent, TlsHandshakeFailedEvent, TlsHandshakeStartedEvent,
    TlsHandshakeSucceededEvent, TlsReloadEvent,
};
pub use self::transaction::{OutsideOfTransactionEvent, TransactionEvent, TransactionRetry};
pub use crate::data::timing::{PoolLoad, Timing};
use crate::enum_text::display_as_str;
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
#[expect(
    clippy::large_enum_variant,
    reason = "listeners get events by reference, and a box would cost an allocation"
)]
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
    /// A transaction.
    Transaction(TransactionEvent),
}

impl Event {
    /// Returns the kind of the event, by which a listener can be restricted.
    pub fn kind(&self) -> EventKind {
        match self {
            Self::Tls(_) => EventKind::Tls,
            Self::Command(_) => EventKind::Command,
            Self::Pool(_) => EventKind::Pool,
            Self::Sdam(_) => EventKind::Sdam,
            Self::Transaction(_) => EventKind::Transaction,
        }
    }
}

/// The subject of an event.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum EventKind {
    /// TLS handshakes, evidence of revocation, and reloads of the TLS files.
    Tls,
    /// Commands. Each command and its reply are copied for the listener.
    Command,
    /// Connection pools.
    Pool,
    /// Discovery and monitoring of servers. Each reply of a server is copied for the listener.
    Sdam,
    /// Transactions: retries, and commands outside of them.
    Transaction,
}

impl EventKind {
    /// Returns the kind in lower case: `tls`, `command`, `pool`, `sdam` or `transaction`.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Tls => "tls",
            Self::Command => "command",
            Self::Pool => "pool",
            Self::Sdam => "sdam",
            Self::Transaction => "transaction",
        }
    }

    fn bit(self) -> u8 {
        match self {
            Self::Tls => 1,
            Self::Command => 2,
            Self::Pool => 4,
            Self::Sdam => 8,
            Self::Transaction => 16,
        }
    }
}

display_as_str!(EventKind);

/// A function of the program that receives events, if one is registered. By default there is no listener.
#[derive(Clone, Default)]
pub(crate) struct EventListener {
    listen: Option<Arc<Listen>>,
    /// The kinds of events that the listener receives, as a set of bits.
    kinds: u8,
}

type Listen = dyn Fn(&Event) + Send + Sync;

// A panic of the program's function is caught at the call.
impl UnwindSafe for EventListener {}
impl RefUnwindSafe for EventListener {}

impl EventListener {
    /// Creates a listener for events of all kinds.
    pub(crate) fn new(listen: impl Fn(&Event) + Send + Sync + 'static) -> Self {
        Self {
            listen: Some(Arc::new(listen)),
            kinds: u8::MAX,
        }
    }

    /// Restricts the listener to these kinds.
    pub(crate) fn limit_to(&mut self, kinds: &[EventKind]) {
        self.kinds = kinds.iter().fold(0, |all, kind| all | kind.bit());
    }

    /// Returns true if a listener is registered for events of this kind. Callers check this before they build an
    /// event.
    pub(crate) fn listens_to(&self, kind: EventKind) -> bool {
        self.listen.is_some() && self.kinds & kind.bit() != 0
    }

    /// Calls the listener; never call this under a lock. A panic of the program's function is caught here.
    pub(crate) fn emit(&self, event: &Event) {
        let Some(listen) = &self.listen else { return };
        let was_listening = LISTENING.replace(true);
        let outcome = catch_unwind(AssertUnwindSafe(|| fork::outside(|| listen(event))));
        LISTENING.set(was_listening);
        if outcome.is_err() {
            error!(target: "mongotls::event", "the event listener panicked");
        }
    }
}

thread_local! {
    static LISTENING: Cell<bool> = const { Cell::new(false) };
    /// The time for which the program's function has waited on this thread during the current operation.
    static WAITED: Cell<Duration> = const { Cell::new(Duration::ZERO) };
}

/// The time limit for waits of the program's function for servers and connections during one operation: 2 s, for all
/// events together. The thread that runs the function may be the one that would discover the server, or the one that
/// holds the connection.
const LISTENER_WAITS: Duration = Duration::from_secs(2);

/// Returns true on a thread that is inside the program's function.
pub(crate) fn is_listening() -> bool {
    LISTENING.get()
}

/// Begins an operation on this thread: a command, or a check of a server. An operation that the program's own
/// function starts belongs to the operation that sent the event.
pub(crate) fn begin_operation() {
    if !LISTENING.get() {
        WAITED.set(Duration::ZERO);
    }
}

/// Returns `deadline` within the limit for the waits of the program's function, if this thread is inside that function.
#[inline]
pub(crate) fn within_listener_limit(deadline: Deadline, now: Instant) -> Deadline {
    if !LISTENING.get() {
        return deadline;
    }
    let waited = WAITED.get().min(LISTENER_WAITS);
    let began = now.checked_sub(waited).unwrap_or(now);
    let limit = Some(LISTENER_WAITS);
    deadline.earlier(Deadline::after(began, limit, TimeoutKind::Listener))
}

/// Records a wait since `started`, if this thread is inside the program's function.
#[inline]
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

/// Two listeners are equal if they are the same object.
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

/// Formats a reply as the log does, for tests with hostile replies.
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
