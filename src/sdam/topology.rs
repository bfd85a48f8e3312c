//! The topology of a client: its state, which threads share and monitors keep up to date.
//!
//! One lock guards the descriptions and the states of the pools, so that no server is selected whose pool is not
//! ready. Nothing that takes time happens under the lock. The effects of a change (reporting to the program, closing
//! connections, starting and stopping threads) are queued in order ([`Effects`]), and applied without the lock.
//! Readers copy a pointer to a [`TopologySnapshot`]. Sources: "Server Discovery and Monitoring", "Server Monitoring", "Server
//! Selection".

use std::collections::{BTreeMap, BTreeSet};
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Weak};
use std::time::{Duration, Instant};

use log::Level;

use super::description::ServerDescription;
use super::effects::{Effect, Effects};
use super::errors::{ApplicationError, CheckEffect, Clear, ErrorEffects, OperationResult};
use super::heartbeat::{AbortedCheck, OpenHeartbeat};
use super::monitor;
use super::server::{DialFailures, Server, ServerConnection, ServerPool};
use super::snapshot::TopologySnapshot;
use super::update::{TopologyState, Update};
use crate::address::ServerAddress;
use crate::conn::{Connector, HelloExchange, is_function};
use crate::error::{Error, Result};
use crate::event::{
    Event, EventKind, EventListener, LogSettings, Message, MonitoringConnection, SdamEvent,
    SdamEventKind,
};
use crate::ffi::fork;
use crate::ffi::thread::Background;
use crate::logging::{Component, warn};
use crate::options::{ClientOptions, ServerMonitoringMode};
use crate::pool::{self, Lease, PoolSnapshot};
use crate::sync::{Condvar, Mutex, MutexGuard};

/// See the [module documentation](self).
#[derive(Debug)]
pub(crate) struct Topology {
    pub(super) own: Weak<Self>,
    /// The number of forks of the process when the topology was created.
    forks: u64,
    pub(super) log: LogSettings,
    connector: Arc<Connector>,
    pools: pool::PoolSettings,
    monitors: monitor::MonitorSettings,
    listener: EventListener,
    pub(super) local_threshold: Duration,
    pub(super) selection_timeout: Duration,
    /// True if hosts may be added from DNS later.
    is_polled: bool,
    locked: Mutex<LockedTopology>,
    /// Notified of each new snapshot.
    changed: Condvar,
    effects: Effects,
    /// The threads of the client, including those of its monitors.
    background: Background,
    last_monitoring_id: AtomicU64,
}

/// The data guarded by the lock.
#[derive(Debug)]
pub(super) struct LockedTopology {
    state: TopologyState,
    pub(super) snapshot: Arc<TopologySnapshot>,
    has_begun: bool,
    pub(super) is_closed: bool,
    /// The reasons why servers were found not to belong to the deployment; the latest comes last.
    pub(super) removal_errors: Vec<Error>,
}

impl Topology {
    /// Creates the topology of a client with these options, whose hosts are known. Nothing happens before
    /// [`begin`](Self::begin).
    pub(crate) fn new(options: &ClientOptions, connector: &Arc<Connector>) -> Arc<Self> {
        let seeds: BTreeSet<ServerAddress> = options.hosts.iter().cloned().collect();
        let log = connector.log();
        let (state, events) = TopologyState::open(log.topology_id, options, &seeds);
        let streams = match options.server_monitoring_mode {
            ServerMonitoringMode::Auto => !is_function(),
            ServerMonitoringMode::Stream => true,
            ServerMonitoringMode::Poll => false,
        };
        Arc::new_cyclic(|own: &Weak<Self>| {
            let mut pools = pool::PoolSettings::new(options);
            pools.log = log;
            let server = |seed: &ServerAddress| {
                let server = Server::new(seed, connector, own.clone(), pools.clone());
                (seed.clone(), server)
            };
            let servers: BTreeMap<_, _> = seeds.iter().map(server).collect();
            let effects = Effects::default();
            effects.push(events.into_iter().map(Effect::Tell));
            let description = Arc::clone(state.description());
            let snapshot = TopologySnapshot::new(description, servers, options.local_threshold);
            Self {
                own: Weak::clone(own),
                forks: fork::count(),
                log,
                connector: Arc::clone(connector),
                monitors: monitor::MonitorSettings {
                    interval: options.heartbeat_frequency,
                    limit: options.connect_timeout,
                    streams,
                    hands_over: options.reuse_monitor_connection,
                },
                listener: options.listener.clone(),
                local_threshold: options.local_threshold,
                selection_timeout: options.server_selection_timeout,
                is_polled: options.srv.is_some(),
                locked: Mutex::new(LockedTopology {
                    state,
                    snapshot: Arc::new(snapshot),
                    has_begun: false,
                    is_closed: false,
                    removal_errors: Vec::new(),
                }),
                changed: Condvar::new(),
                effects,
                background: Background::default(),
                last_monitoring_id: AtomicU64::new(0),
                pools,
            }
        })
    }

    /// Reports the topology and its pools to the program, and starts the monitors.
    pub(crate) fn begin(&self) {
        let mut locked = self.lock();
        locked.has_begun = true;
        let servers = locked.snapshot.servers().values();
        self.effects.push_new(servers.cloned().collect());
        let is_fixed = locked.snapshot.is_load_balanced();
        for server in locked.snapshot.servers().values().filter(|_| is_fixed) {
            if server.pool.mark_ready() {
                self.effects.push([Effect::Ready(Arc::clone(server))]);
            }
        }
        drop(locked);
        self.act();
    }

    /// Returns the current state.
    pub(crate) fn snapshot(&self) -> Arc<TopologySnapshot> {
        Arc::clone(&self.lock().snapshot)
    }

    /// Returns the state of the pools.
    pub(crate) fn pool_snapshots(&self) -> Vec<PoolSnapshot> {
        let snapshot = self.snapshot();
        let servers = snapshot.servers().values();
        servers.map(|server| server.pool.snapshot()).collect()
    }

    /// Returns the pools. After [`close`](Self::close) it returns those that existed before.
    pub(crate) fn pools(&self) -> Vec<Arc<ServerPool>> {
        let snapshot = self.snapshot();
        let servers = snapshot.servers().values();
        servers.map(|server| Arc::clone(&server.pool)).collect()
    }

    /// Stops monitors and pools, and fails all threads that wait for a server.
    pub(crate) fn close(&self) {
        let mut locked = self.lock();
        if std::mem::replace(&mut locked.is_closed, true) {
            return;
        }
        if locked.has_begun {
            for server in locked.snapshot.servers().values() {
                self.abort_heartbeat(server, AbortedCheck::ClientClosed);
            }
            let events = locked.state.close();
            self.effects.push(events.into_iter().map(Effect::Tell));
        } else {
            self.effects.clear();
        }
        let snapshot = Arc::clone(&locked.snapshot);
        drop(locked);
        self.changed.notify_all();
        self.background.clear();
        for server in snapshot.servers().values() {
            server.control.end();
            server.pool.close();
        }
        self.act();
        if !self.is_inherited() {
            // The last events may be on their way on another thread.
            self.effects.wait(CLOSING);
        }
    }

    /// Closes, in a forked child, the available connections of the parent's pools, without sending anything to the
    /// servers.
    pub(crate) fn abandon(&self) {
        if let Some(locked) = self.locked.try_lock() {
            let servers = locked.snapshot.servers().values();
            servers.for_each(|server| server.pool.abandon());
        }
    }

    /// Makes all existing connections stale; monitors soon establish new ones.
    pub(crate) fn retire(&self) {
        for server in self.snapshot().servers().values() {
            // The monitor comes first, so that it does not offer an old connection to the pool's next generation.
            server.control.retire();
            server.pool.retire();
        }
    }

    /// Handles the end of an operation: an error, or a reply that may contain an error.
    pub(crate) fn operation_ended(&self, connection: &ServerConnection, what: OperationResult<'_>) {
        let error = ApplicationError {
            server: connection.pool().server(),
            what,
            is_stale: false,
            max_wire_version: connection.hello().max_wire_version,
            service_id: connection.hello().service_id,
        };
        self.application_failed(connection.pool(), connection.lease(), error);
    }

    fn application_failed(&self, pool: &ServerPool, on: Lease, error: ApplicationError<'_>) {
        if self.is_inherited() {
            return;
        }
        let mut locked = self.lock();
        let snapshot = Arc::clone(&locked.snapshot);
        let Some(server) = snapshot.of_pool(pool).filter(|_| !locked.is_closed) else {
            return;
        };
        let error = ApplicationError {
            is_stale: pool.is_stale(on),
            ..error
        };
        let because = match error.what {
            OperationResult::Error(error) => Some(error),
            OperationResult::Reply(_) => None,
        };
        let outcome = ErrorEffects::of_operation(locked.state.description(), error);
        self.carry_out(&mut locked, server, outcome, Some(on), because);
        drop(locked);
        self.act();
    }

    /// Handles the hello of a new connection of the program, which is as good as a check ("Clients update the
    /// topology from each handshake").
    pub(crate) fn greeted(&self, connection: &ServerConnection) {
        if self.is_inherited() {
            return;
        }
        // Behind a load balancer there is no monitor that would do this.
        self.background.retry();
        connection.pool().maintain();
        let address = connection.pool().server().clone();
        let mut locked = self.lock();
        let snapshot = Arc::clone(&locked.snapshot);
        let Some(server) = snapshot.of_pool(connection.pool()) else {
            return;
        };
        if locked.is_closed || connection.pool().is_stale(connection.lease()) {
            return;
        }
        let hello = connection.hello();
        let known = locked.state.description().servers.get(&address);
        let now = Instant::now();
        let description = ServerDescription::from_hello(address, hello, now);
        // Most replies contain nothing new.
        if known.is_none_or(|known| **known == description) {
            return;
        }
        self.update(&mut locked, server, description);
        drop(locked);
        self.act();
    }

    /// Handles a successful check of a server.
    pub(super) fn checked(&self, server: &Arc<Server>, description: ServerDescription) {
        self.background.retry();
        server.pool.maintain();
        server.pool.release_memory();
        let mut locked = self.lock();
        let is_fit = description.is_compatible();
        if !locked.is_closed && locked.snapshot.has(server) {
            self.update(&mut locked, server, description);
            let known = locked.state.description().servers.get(server.address());
            match known.and_then(|known| known.error.as_ref()) {
                // The server answered, but it is not the expected one.
                Some(error) => server.verdict().failed(Instant::now(), error),
                None => server.verdict().succeeded(is_fit),
            }
        }
        drop(locked);
        self.act();
    }

    /// Handles a failed check of a server, and returns the next step of its monitor.
    pub(super) fn check_failed(&self, server: &Arc<Server>, error: Error) -> CheckEffect {
        self.background.retry();
        let mut locked = self.lock();
        if !error.is_local_limit() {
            server.verdict().failed(Instant::now(), &error);
        }
        let known = locked.state.description().servers.get(server.address());
        let known = known.filter(|_| !locked.is_closed && locked.snapshot.has(server));
        let check = known.cloned().map_or(CheckEffect::AsBefore, |known| {
            let outcome = ErrorEffects::of_check(&known, &error);
            let check = outcome.check;
            self.carry_out(&mut locked, server, outcome, None, Some(&error));
            check
        });
        drop(locked);
        self.act();
        check
    }

    /// Handles a new list of hosts from DNS.
    #[cfg(feature = "srv")]
    pub(crate) fn replace_hosts(&self, hosts: &BTreeSet<ServerAddress>) {
        let mut locked = self.lock();
        if locked.is_closed {
            return;
        }
        if let Some(update) = locked.state.replace_hosts(hosts) {
            self.follow(&mut locked, &update);
        }
        drop(locked);
        self.act();
    }

    pub(super) fn connector(&self) -> &Connector {
        &self.connector
    }

    /// Returns the threads of the client, to which others may be added.
    pub(crate) fn background(&self) -> &Background {
        &self.background
    }

    /// Returns the number of a new connection for checks.
    pub(super) fn next_monitoring_id(&self) -> u64 {
        self.last_monitoring_id.fetch_add(1, Ordering::Relaxed) + 1
    }

    /// Reports the start of a check, unless the server does not belong to the topology any more.
    pub(super) fn heartbeat_started(
        &self,
        server: &Arc<Server>,
        awaited: bool,
        connection: MonitoringConnection,
    ) {
        self.emit_of(server, |open| {
            let started = OpenHeartbeat::new(connection.clone(), awaited);
            let left = open
                .replace(started)
                .map(|left| left.aborted(AbortedCheck::Unfinished));
            let start = SdamEventKind::ServerHeartbeatStarted {
                connection,
                awaited,
            };
            left.into_iter().chain([start]).collect()
        });
    }

    /// Waits until the listener has received all events so far, if there is one. The wait is short, because the listener
    /// may be waiting for the result of a check.
    pub(super) fn wait_for_events(&self) {
        /// The longest wait: 100 ms.
        const LONGEST: Duration = Duration::from_millis(100);
        if self.has_listener() {
            self.effects.wait(LONGEST);
        }
    }

    /// Reports the end of a check that took `took`, if its start was reported and its end was not.
    pub(super) fn heartbeat_ended(
        &self,
        server: &Arc<Server>,
        server_connection_id: Option<i64>,
        outcome: &Result<HelloExchange>,
        took: Duration,
    ) {
        self.emit_of(server, |open| {
            let Some(open) = open.take() else {
                return Vec::new();
            };
            vec![open.ended(server_connection_id, outcome, took)]
        });
    }

    /// Sends events of a server to the program and the log, after all earlier events. Does nothing if the server does
    /// not belong to the topology any more.
    fn emit_of(
        &self,
        server: &Arc<Server>,
        kinds: impl FnOnce(&mut Option<OpenHeartbeat>) -> Vec<SdamEventKind>,
    ) {
        if !self.has_listener() || self.is_inherited() {
            return;
        }
        let locked = self.lock();
        if !locked.is_closed && locked.snapshot.has(server) {
            let kinds = kinds(&mut server.heartbeat.lock());
            self.effects
                .push(kinds.into_iter().map(|kind| self.tell(kind)));
        }
        drop(locked);
        self.act();
    }

    /// Queues the end of a check that is in progress, under the lock of the topology.
    fn abort_heartbeat(&self, server: &Server, why: AbortedCheck) {
        let open = server.heartbeat.lock().take();
        self.effects
            .push(open.map(|open| self.tell(open.aborted(why))));
    }

    fn tell(&self, kind: SdamEventKind) -> Effect {
        Effect::Tell(SdamEvent {
            topology_id: self.log.topology_id,
            kind,
        })
    }

    fn has_listener(&self) -> bool {
        self.listener.listens_to(EventKind::Sdam) || Component::Topology.is_logged(Level::Debug)
    }

    /// Requests a check from all monitors.
    pub(super) fn request_checks(snapshot: &TopologySnapshot) {
        for server in snapshot.servers().values() {
            server.control.request();
        }
    }

    /// Returns true if no further check can find a suitable server, so that waiting is useless.
    pub(super) fn must_wait_fail(
        &self,
        locked: &LockedTopology,
        since: Instant,
        now: Instant,
    ) -> bool {
        let servers = &locked.snapshot.description().servers;
        if servers.is_empty() {
            return !self.is_polled;
        }
        servers.values().all(|description| {
            let server = locked.snapshot.server(&description.address);
            match (server, &description.error) {
                (Some(server), Some(error)) => server.verdict().is_final(error, since, now),
                _ => false,
            }
        })
    }

    /// Returns true if the topology belongs to the parent process. Its lock may then be held forever.
    pub(super) fn is_inherited(&self) -> bool {
        self.forks != fork::count()
    }

    /// Waits for the next snapshot, for at most `remaining` if given.
    pub(super) fn wait<'a>(
        &self,
        locked: MutexGuard<'a, LockedTopology>,
        remaining: Option<Duration>,
    ) -> MutexGuard<'a, LockedTopology> {
        self.changed.wait(locked, remaining)
    }

    /// Lets the threads that wait for a server look again.
    pub(super) fn wake_selections(&self) {
        // A thread that has looked, and does not sleep yet, holds the lock.
        drop(self.lock());
        self.changed.notify_all();
    }

    pub(super) fn lock(&self) -> MutexGuard<'_, LockedTopology> {
        self.locked.lock()
    }

    fn carry_out(
        &self,
        locked: &mut LockedTopology,
        server: &Arc<Server>,
        outcome: ErrorEffects,
        on: Option<Lease>,
        because: Option<&Error>,
    ) {
        if let Some(description) = outcome.description {
            self.update(locked, server, description);
        }
        match outcome.clear {
            Clear::No => {}
            Clear::Pool {
                interrupt_in_use_connections: interrupt,
            } => {
                if let Some(clearing) = server.pool.mark_cleared(on, because, interrupt) {
                    let server = Arc::clone(server);
                    self.effects.push([Effect::Cleared(server, clearing)]);
                }
            }
            Clear::Service(service) => {
                if let Some(on) = on {
                    let server = Arc::clone(server);
                    self.effects
                        .push([Effect::ClearService(server, on, service)]);
                }
            }
        }
        match outcome.check {
            CheckEffect::AsBefore | CheckEffect::Retry => {}
            CheckEffect::Request => server.control.request(),
            // Interrupted at once instead of through the queue: a listener may wait for the result of the next check.
            CheckEffect::Cancel => server.control.cancel().interrupt(),
        }
    }

    fn update(
        &self,
        locked: &mut LockedTopology,
        server: &Arc<Server>,
        description: ServerDescription,
    ) {
        let Some(update) = locked.state.update(description) else {
            return;
        };
        if update.makes_ready() == Some(server.address()) && server.pool.mark_ready() {
            self.effects.push([Effect::Ready(Arc::clone(server))]);
        }
        self.follow(locked, &update);
    }

    /// Publishes a change, and queues its effects.
    fn follow(&self, locked: &mut LockedTopology, update: &Update) {
        let mut servers = locked.snapshot.servers().clone();
        let mut ended = Vec::new();
        for address in update.closed() {
            if let Some(server) = servers.remove(address) {
                self.abort_heartbeat(&server, AbortedCheck::ServerRemoved);
                server.control.end();
                ended.push(Effect::End(server));
            }
        }
        let mut started = Vec::new();
        for address in update.opened() {
            let server = Server::new(
                address,
                &self.connector,
                self.own.clone(),
                self.pools.clone(),
            );
            started.push(Arc::clone(&server));
            servers.insert(address.clone(), server);
        }
        if let Some(why) = update.why_removed() {
            locked
                .removal_errors
                .retain(|other| other.server() != why.server());
            locked.removal_errors.truncate(MOST_LEFT - 1);
            locked.removal_errors.push(why);
        }
        let recheck = update.recheck.iter();
        for server in recheck.filter_map(|address| servers.get(address)) {
            server.control.request();
        }
        if update.is_emptied() && !self.is_polled {
            self.effects.push([Effect::Warn]);
        }
        if self.has_listener() {
            let events = update.events().into_iter();
            self.effects.push(events.map(Effect::Tell));
        }
        self.effects.push(ended);
        self.effects.push_new(started);
        let current = Arc::clone(&update.current);
        locked.snapshot = Arc::new(TopologySnapshot::new(
            current,
            servers,
            self.local_threshold,
        ));
        self.changed.notify_all();
    }

    /// Applies the queued effects, unless another thread is doing that. Never call this under the lock.
    fn act(&self) {
        if self.is_inherited() {
            return;
        }
        let start = |server: Arc<Server>| {
            if !self.snapshot().is_load_balanced() {
                monitor::start(&self.own, &server, &self.connector, &self.monitors);
            }
        };
        self.effects.run(start, |effect| match effect {
            Effect::Tell(event) => {
                Message::Sdam(&event).log(self.log);
                if self.listener.listens_to(EventKind::Sdam) {
                    self.listener.emit(&Event::Sdam(event));
                }
            }
            Effect::Warn => warn!(
                target: "mongotls::topology",
                "no server is left of the deployment: none belongs to what the connection string asks for"
            ),
            Effect::Announce(server) => server.pool.announce(),
            Effect::End(server) => server.pool.close(),
            Effect::Ready(server) => server.pool.follow_ready(),
            Effect::Cleared(server, clearing) => server.pool.follow_cleared(clearing),
            Effect::ClearService(server, on, service) => server.pool.clear_service(on, service),
        });
    }
}

impl DialFailures for Topology {
    fn connection_failed(&self, pool: &ServerPool, on: Lease, error: &Error) {
        let error = ApplicationError {
            server: pool.server(),
            what: OperationResult::Error(error),
            is_stale: false,
            // Before the server's hello its version is unknown.
            max_wire_version: i32::MAX,
            service_id: error.service_id(),
        };
        self.application_failed(pool, on, error);
    }
}

/// The maximum time for which closing waits until the program has received the last events: 1 s. The listener may
/// itself wait for the thread that closes the client.
const CLOSING: Duration = Duration::from_secs(1);
/// The maximum number of removed servers that are remembered.
const MOST_LEFT: usize = 20;
