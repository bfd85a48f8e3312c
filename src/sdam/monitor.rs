//! The thread that checks a server.
//!
//! The monitor opens its own connection, whose hello is the first check. (It may [hand over](super::handover) that
//! connection, and open another one for the next check.) If the server supports streaming, each further check waits
//! at the server until its state changes, so that changes are reported at once. Otherwise the monitor sends a hello
//! every `heartbeatFrequencyMS`. A check that waits at the server does not measure a round trip. Therefore the monitor
//! [measures](super::measurement) on a second connection meanwhile.
//!
//! The thread does not keep the topology alive, and [`Control::end`](super::control::Control::end) stops it. Source:
//! "Server Monitoring".

use std::sync::{Arc, Weak};
use std::time::{Duration, Instant};

use super::control::{Begin, End, MIN_HEARTBEAT_FREQUENCY};
use super::description::ServerDescription;
use super::errors::CheckEffect;
use super::measurement::Measurement;
use super::pushes::Pushes;
use super::server::Server;
use super::topology::Topology;
use crate::conn::{CheckConnection, Connector, HelloExchange};
use crate::data::hello::TopologyVersion;
use crate::error::{Error, Result, Stage};
use crate::event::{self, MonitoringConnection};
use crate::ffi::fork;
use crate::ffi::thread;
use crate::limit::Limit;
use crate::logging::warn;
use crate::reason::io::{LimitedAction, LocalLimit};

/// The settings that the threads of all servers share.
#[derive(Clone, Debug)]
pub(super) struct MonitorSettings {
    /// `heartbeatFrequencyMS`.
    pub(super) interval: Duration,
    /// `connectTimeoutMS`.
    pub(super) limit: Option<Duration>,
    /// True if servers that support streaming are monitored by it.
    pub(super) streams: bool,
    /// `reuse_monitor_connection`: true if the connection of the first check is offered to the pool.
    pub(super) hands_over: bool,
}

/// The monitor of one server.
struct Monitor {
    topology: Weak<Topology>,
    server: Arc<Server>,
    connector: Arc<Connector>,
    settings: MonitorSettings,
    connection: Option<CheckConnection>,
    /// True until the first check has succeeded, if the options allow the hand-over. Only the connection of that check is handed over to the pool. After a
    /// recovery the monitor keeps its connection, because it would have to open another one, which may fail.
    may_offer: bool,
    /// The rate at which the server has pushed replies.
    pushes: Pushes,
    /// True if the server pushed too many replies. It is then polled until a check fails.
    is_flooding: bool,
    measurement: Measurement,
    /// The number of forks of the process when the monitor was started.
    forks: u64,
}

/// The result of a successful check.
struct Checked {
    answer: HelloExchange,
    /// True if the server delayed the reply; otherwise the reply measures a round trip.
    is_awaited: bool,
}

/// Starts the monitor of a server.
pub(super) fn start(
    topology: &Weak<Topology>,
    server: &Arc<Server>,
    connector: &Arc<Connector>,
    settings: &MonitorSettings,
) {
    let Some(alive) = topology.upgrade() else {
        return;
    };
    let weak = Weak::clone(topology);
    let next_id = Arc::new(move || Some(weak.upgrade()?.next_monitoring_id()));
    let monitor = Monitor {
        topology: Weak::clone(topology),
        server: Arc::clone(server),
        connector: Arc::clone(connector),
        settings: settings.clone(),
        connection: None,
        may_offer: settings.hands_over,
        pushes: Pushes::new(settings.interval),
        is_flooding: false,
        measurement: Measurement::new(
            next_id,
            server,
            connector,
            settings.interval,
            settings.limit,
        ),
        forks: fork::count(),
    };
    let started = alive
        .background()
        .start("mongotls-monitor", move || monitor.run());
    if let Err(error) = started {
        let address = server.address();
        let limit = LocalLimit {
            failed: LimitedAction::StartMonitor,
            reached: Limit::Threads.reached(),
        };
        let error = Error::failed(Stage::Connect, limit)
            .with_source(error)
            .with_server(address);
        alive.check_failed(server, error);
    }
}

impl Monitor {
    fn run(mut self) {
        let server = Arc::clone(&self.server);
        let what = format!("the monitor of {}", server.address());
        thread::restart_after_panics(
            &what,
            || self.check_until_the_end(),
            || server.control.pause(MIN_HEARTBEAT_FREQUENCY),
        );
        if !self.is_inherited() {
            drop(self.server.handover.take_back());
        }
    }

    fn check_until_the_end(&mut self) {
        if self.is_inherited() {
            self.abandon();
            return;
        }
        // The state of the connections is unknown after a panic.
        self.disconnect();
        let server = Arc::clone(&self.server);
        let control = &server.control;
        loop {
            match control.begin() {
                Begin::AsBefore => self.take_back(),
                Begin::Anew => {
                    drop(server.handover.take_back());
                    self.disconnect();
                }
                Begin::Never => return,
            }
            let outcome = self.check();
            if self.is_inherited() {
                // The listener has forked on this thread, and this is the child: nothing is left to do here.
                self.abandon();
                return;
            }
            let end = control.finish();
            if outcome.is_err() {
                self.disconnect();
            }
            let pause = match (end, outcome) {
                (End::Ended, _) => return,
                // The thread that cancelled the check has already updated the server's description.
                (End::Cancelled, _) => {
                    self.disconnect();
                    Some(self.settings.interval)
                }
                (End::OfItself, Ok(checked)) => self.succeeded(&checked),
                (End::OfItself, Err(error)) => self.failed(error),
            };
            if pause.is_some_and(|pause| !control.wait(pause)) {
                return;
            }
        }
    }

    /// Closes both connections.
    fn disconnect(&mut self) {
        self.connection = None;
        self.measurement.close();
    }

    /// Leaves both connections to the parent, in a forked child.
    fn abandon(&mut self) {
        std::mem::forget(self.connection.take());
        self.measurement.abandon();
    }

    /// Offers the connection to the pool, if the pool waits for the server and can use it. Returns true if it was
    /// offered.
    fn offer(&mut self) -> bool {
        let server = &self.server;
        let generation = server.pool.paused_generation();
        let Some(generation) = generation.filter(|_| self.connector.can_adopt()) else {
            return false;
        };
        // The pool gets the connection with a new handle, because a handle that interrupts checks must not interrupt
        // the program's commands. If the old handle was used since the check ended, the connection cannot be offered.
        if server.control.renew().is_interrupted() {
            return false;
        }
        let Some(connection) = self.connection.take() else {
            return false;
        };
        server.handover.offer(connection, generation);
        true
    }

    /// Takes back the offered connection if the pool has not taken it.
    fn take_back(&mut self) {
        let server = &self.server;
        if let Some(mut offered) = server.handover.take_back() {
            let is_ours = offered.move_to(&server.control.renew()).is_ok();
            self.connection = is_ours.then_some(offered);
        }
    }

    fn check(&mut self) -> Result<Checked> {
        event::begin_operation();
        let awaited = self.connection.as_ref().and_then(CheckConnection::version);
        let awaited = awaited.filter(|_| self.streams());
        let (id, server_connection_id) = match &self.connection {
            Some(open) => (open.id(), open.server_connection_id()),
            None => (self.next_id(), None),
        };
        let is_awaited = awaited.is_some();
        if let Some(topology) = self.topology.upgrade() {
            let connection = MonitoringConnection {
                server: self.server.address().clone(),
                connection_id: id,
                server_connection_id,
            };
            topology.heartbeat_started(&self.server, is_awaited, connection);
            if self.connection.is_none() {
                // The listener must learn of the check before there is a socket ("Heartbeats").
                topology.wait_for_events();
            }
        }
        if self.is_inherited() {
            return Err(Error::of_the_parent());
        }
        let started = Instant::now();
        let outcome = match (&mut self.connection, awaited) {
            (None, _) => {
                let interrupt = self.server.control.renew();
                let mut observed = self.server.attempt.begin();
                let opened = self.connector.open_for_checks(
                    self.server.address(),
                    id,
                    &interrupt,
                    &mut observed,
                );
                opened.map(|(connection, answer)| {
                    self.connection = Some(connection);
                    answer
                })
            }
            (Some(open), Some(version)) => {
                wait_for_change(open, version, &self.settings, &mut self.measurement)
            }
            (Some(open), None) => open.hello(self.settings.limit),
        };
        let open = self.connection.as_ref();
        let opened_id = open.and_then(CheckConnection::server_connection_id);
        if let Some(topology) = self.topology.upgrade() {
            let server_connection_id = opened_id.or(server_connection_id);
            let took = started.elapsed();
            topology.heartbeat_ended(&self.server, server_connection_id, &outcome, took);
        }
        outcome.map(|answer| Checked { answer, is_awaited })
    }

    /// Returns true if the server may delay and push replies.
    fn streams(&self) -> bool {
        self.settings.streams && !self.is_flooding
    }

    /// Returns true if this process is a forked child of the process that started the monitor.
    fn is_inherited(&self) -> bool {
        self.forks != fork::count()
    }

    /// Returns the pause until the next check, or `None` if it begins at once.
    fn succeeded(&mut self, checked: &Checked) -> Option<Duration> {
        let interval = self.settings.interval;
        let Some(topology) = self.topology.upgrade() else {
            return Some(interval);
        };
        let answer = &checked.answer;
        let address = self.server.address().clone();
        let mut description = ServerDescription::from_hello(address, &answer.hello, Instant::now());
        let mut times = self.server.round_trip_times();
        if !checked.is_awaited {
            times.record(answer.took);
        }
        description.round_trip_time = times.average();
        description.min_round_trip_time = times.minimum();
        drop(times);
        // Offer the connection before `checked` makes the pool ready, so that the first thread can use it.
        let is_offered = std::mem::take(&mut self.may_offer) && self.offer();
        topology.checked(&self.server, description);
        if checked.is_awaited && !self.pushes.admit(Instant::now()) {
            warn!(
                target: "mongotls::topology",
                "{} pushes answers to hello without pause, and is polled from now on", self.server.address()
            );
            self.is_flooding = true;
            self.disconnect();
        }
        let is_streaming = self.streams() && answer.hello.topology_version.is_some();
        match (is_streaming, is_offered) {
            // The next check opens a new connection. It waits for the shortest time between checks, as any other.
            (true, true) => Some(interval.min(MIN_HEARTBEAT_FREQUENCY)),
            (true, false) => None,
            (false, _) => Some(interval),
        }
    }

    /// Returns the pause until the next check, or `None` if it begins at once.
    fn failed(&mut self, error: Error) -> Option<Duration> {
        // The next connection may reach another server.
        self.is_flooding = false;
        let is_local_limit = error.is_local_limit();
        if !is_local_limit {
            self.server.round_trip_times().reset();
        }
        let check = self
            .topology
            .upgrade()
            .map(|topology| topology.check_failed(&self.server, error));
        let interval = self.settings.interval;
        match check {
            Some(CheckEffect::Retry) => None,
            // A resource that this host lacks now may be available again soon.
            _ if is_local_limit => Some(interval.min(MIN_HEARTBEAT_FREQUENCY)),
            _ => Some(interval),
        }
    }

    fn next_id(&self) -> u64 {
        let topology = self.topology.upgrade();
        topology.map_or(0, |topology| topology.next_monitoring_id())
    }
}

/// Waits until the state of the server is not `known` any more, and measures round trips meanwhile.
fn wait_for_change(
    open: &mut CheckConnection,
    known: TopologyVersion,
    settings: &MonitorSettings,
    measurement: &mut Measurement,
) -> Result<HelloExchange> {
    const LONG: Duration = Duration::from_secs(3600);
    let sent = open.request_change(known, settings.interval, settings.limit)?;
    loop {
        let now = Instant::now();
        let until = [sent.deadline(), measurement.next(), now.checked_add(LONG)];
        let until = until.into_iter().flatten().min().unwrap_or(now);
        let [has_changed, is_measured] = open.wait_for_input(measurement.waiting(), until);
        let is_over = sent.deadline().is_some_and(|end| end <= Instant::now());
        if has_changed || is_over {
            return open.receive(sent);
        }
        measurement.step(is_measured);
    }
}
