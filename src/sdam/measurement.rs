//! The measurement of round trips to a server whose monitor waits for pushed replies.
//!
//! It sends a hello every `heartbeatFrequencyMS` on a connection of its own, starting one interval after the first check;
//! until then the monitor's own hello is the measurement. It has no thread: the monitor waits for input on both
//! connections. Only establishing the connection, which may take long, is left to another thread for that time.
//! Failures are ignored, because the monitor has its own checks.
//!
//! Source: "Server Monitoring", "Measuring RTT".

use std::fmt::Display;
use std::sync::Arc;
use std::time::{Duration, Instant};

use super::server::Server;
use crate::conn::{CheckConnection, Connector, SentHello};
use crate::ffi::thread;
use crate::logging::debug;
use crate::socket::Interrupt;
use crate::sync::Mutex;

/// See the [module documentation](self).
pub(super) struct Measurement {
    next_id: NextId,
    server: Arc<Server>,
    connector: Arc<Connector>,
    /// `heartbeatFrequencyMS`.
    interval: Duration,
    /// `connectTimeoutMS`.
    limit: Option<Duration>,
    /// The time of the next hello.
    due: Instant,
    state: MeasurementState,
}

/// Returns the number of a new connection, or `None` if the client has ended.
pub(super) type NextId = Arc<dyn Fn() -> Option<u64> + Send + Sync>;

#[derive(Default)]
enum MeasurementState {
    #[default]
    Closed,
    /// Another thread establishes the connection, and puts it into the place.
    Opening {
        place: Arc<Mutex<Option<CheckConnection>>>,
        interrupt: Arc<Interrupt>,
    },
    Open(CheckConnection),
    Sent(CheckConnection, SentHello),
}

impl Measurement {
    pub(super) fn new(
        next_id: NextId,
        server: &Arc<Server>,
        connector: &Arc<Connector>,
        interval: Duration,
        limit: Option<Duration>,
    ) -> Self {
        Self {
            next_id,
            server: Arc::clone(server),
            connector: Arc::clone(connector),
            interval,
            limit,
            due: later(interval),
            state: MeasurementState::Closed,
        }
    }

    /// The connection on which a reply is expected now.
    pub(super) fn waiting(&self) -> Option<&CheckConnection> {
        match &self.state {
            MeasurementState::Sent(connection, _) => Some(connection),
            _ => None,
        }
    }

    /// The time of the next [step](Self::step), unless there is input before. `None` if there is no limit.
    pub(super) fn next(&self) -> Option<Instant> {
        match &self.state {
            MeasurementState::Sent(_, sent) => sent.deadline(),
            _ => Some(self.due),
        }
    }

    /// Does what is due. `has_input` is true if the connection that was [waiting](Self::waiting) has input.
    pub(super) fn step(&mut self, has_input: bool) {
        let is_due = self.next().is_some_and(|next| next <= Instant::now());
        if !has_input && !is_due {
            return;
        }
        self.state = match std::mem::take(&mut self.state) {
            MeasurementState::Sent(connection, sent) => self.receive(connection, sent),
            MeasurementState::Open(connection) => self.send(connection),
            MeasurementState::Closed => self.open(),
            MeasurementState::Opening { place, interrupt } => {
                // The other thread has a weak reference.
                let is_running = Arc::weak_count(&place) > 0;
                let opened = place.lock().take();
                match opened {
                    Some(connection) => self.send(connection),
                    None if is_running => MeasurementState::Opening { place, interrupt },
                    None => self.open(),
                }
            }
        };
        self.due = later(self.interval);
    }

    /// Closes the connection. The next hello is sent on a new one.
    pub(super) fn close(&mut self) {
        if let MeasurementState::Opening { interrupt, .. } = std::mem::take(&mut self.state) {
            interrupt.interrupt();
        }
    }

    /// Leaves the connection to the parent, in a forked child.
    pub(super) fn abandon(&mut self) {
        std::mem::forget(std::mem::take(&mut self.state));
    }

    fn send(&self, mut connection: CheckConnection) -> MeasurementState {
        match connection.send_hello(self.limit) {
            Ok(sent) => MeasurementState::Sent(connection, sent),
            Err(error) => not_measured(&error),
        }
    }

    fn receive(&self, mut connection: CheckConnection, sent: SentHello) -> MeasurementState {
        match connection.receive(sent) {
            Ok(answer) => {
                self.server.round_trip_times().record(answer.took);
                MeasurementState::Open(connection)
            }
            Err(error) => not_measured(&error),
        }
    }

    /// Lets another thread establish the connection, whose hello is the first measurement.
    fn open(&self) -> MeasurementState {
        let place = Arc::new(Mutex::new(None));
        let interrupt = self.server.control.renew_other();
        let own_interrupt = Arc::clone(&interrupt);
        let (next_id, target) = (Arc::clone(&self.next_id), Arc::downgrade(&place));
        let (server, connector) = (Arc::clone(&self.server), Arc::clone(&self.connector));
        let run = move || {
            let Some(id) = next_id() else {
                return;
            };
            let opened = connector.open_for_checks(server.address(), id, &own_interrupt, &mut ());
            match (opened, target.upgrade()) {
                (Ok((connection, answer)), Some(place)) => {
                    server.round_trip_times().record(answer.took);
                    *place.lock() = Some(connection);
                }
                // The monitor has closed its own connection meanwhile.
                (Ok(_), None) => {}
                (Err(error), _) => drop(not_measured(&error)),
            }
        };
        match thread::spawn("mongotls-rtt", run) {
            Ok(()) => MeasurementState::Opening { place, interrupt },
            Err(error) => not_measured(&error),
        }
    }
}

/// The next attempt is made when the next hello is due.
fn not_measured(error: &dyn Display) -> MeasurementState {
    debug!(target: "mongotls::topology", "no round trip measured: {error}");
    MeasurementState::Closed
}

fn later(interval: Duration) -> Instant {
    let now = Instant::now();
    now.checked_add(interval).unwrap_or(now)
}
