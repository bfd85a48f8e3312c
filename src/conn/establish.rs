//! Establishing a connection: resolve, connect, TLS, hello, authentication, all within one deadline.
//!
//! With a proxy, the proxy's name is resolved, and the proxy connects to the server; TLS and all later stages are with
//! the server. Hello negotiates a compressor ("OP_COMPRESSED"). A network error gets the labels of an error that an
//! overloaded server may cause ([`overload`](super::overload)).
//!
//! An [`Observer`] is notified of every stage as it ends, with its result; the doctor uses one, pools do not. An error
//! always names its stage and its reason.

use std::collections::{BTreeMap, HashMap};
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::{Duration, Instant, SystemTime};

use bson::oid::ObjectId;
use bson::{RawDocument, RawDocumentBuf};
use zeroize::Zeroize;

use super::authenticate;
use super::hello::{self, HelloName};
use super::metadata::Metadata;
use super::overload;
use super::probe::Probe;
use super::{Connection, Stream, check, time_limit};
use crate::address::ServerAddress;
use crate::auth::{Authenticated, Authentication, Authenticator, Context};
use crate::cause::{Category, Cause, CauseCode};
use crate::data::hello::Hello;
use crate::error::{Error, Result, Stage};
use crate::event::{
    CommandMonitor, Event, EventKind, EventListener, LogSettings, RevocationEvent, TlsEvent,
    TlsHandshakeFailedEvent, TlsHandshakeStartedEvent, TlsHandshakeSucceededEvent,
};
use crate::explain;
use crate::ffi::fork;
use crate::idn;
use crate::logging::{debug, warn};
use crate::net::{Route, Unreachable};
use crate::options::{ClientOptions, Compressor, DriverInfo, ProxyOptions, ServerApi};
use crate::reason::Reason;
use crate::reason::cancel::Cancelled;
use crate::reason::hello::{ExchangeFailure, HandshakeStep, HelloFailure};
use crate::socket::{Interrupt, Socket};
use crate::sync::Mutex;
use crate::time::{Deadline, TimeoutKind};
use crate::tls::{Failed, Files, HandshakeReport, ResponderWait, SessionOffer, TlsContext};
use crate::wire::compress::{Compression, Offered};
use crate::wire::reply::Expected;
use crate::wire::request;

/// Opens the connections of a client: created once, shared by all pools.
#[derive(Debug)]
pub(crate) struct Connector {
    /// `None` without TLS. The lock is held only to copy or replace the context.
    tls: Option<Mutex<TlsContext>>,
    /// Held during a reload, so that a slow reload cannot replace the files of a later one.
    reloading: Mutex<()>,
    /// `None` without a user.
    pub(super) authenticator: Option<Authenticator>,
    pub(super) metadata: Metadata,
    /// The compressors that the options name and that are built in, best first.
    pub(super) compressors: Vec<Compressor>,
    zlib_level: i32,
    commands: CommandMonitor,
    log: LogSettings,
    pub(super) connect_timeout: Option<Duration>,
    /// `timeoutMS` of the client, unless it means no limit.
    timeout: Option<Duration>,
    load_balanced: bool,
    server_api: Option<ServerApi>,
    replica_set: Option<String>,
    /// True if the hosts come from an SRV record, which turns TLS on.
    is_srv: bool,
    /// The ASCII names for DNS of the hosts that the options name in other characters.
    dns_names: HashMap<String, String>,
    /// The proxy for connections, except those to Unix sockets.
    pub(super) proxy: Option<ProxyOptions>,
    /// The addresses to connect to instead of those of servers.
    connect_to: BTreeMap<ServerAddress, ServerAddress>,
    probe: Probe,
    listener: EventListener,
}

/// Observes the stages of an attempt to connect.
pub(crate) trait Observer {
    /// `stage` succeeded.
    fn finished(&mut self, stage: Stage, took: Duration, learned: Learned<'_>);
}

/// Ignores all stages.
impl Observer for () {
    fn finished(&mut self, _: Stage, _: Duration, _: Learned<'_>) {}
}

/// The result of a stage.
pub(crate) enum Learned<'a> {
    /// The addresses of the server, or of the proxy.
    Addresses(&'a [SocketAddr]),
    /// The address of the peer: the server or the proxy.
    Peer(Option<SocketAddr>),
    Handshake(&'a HandshakeReport),
    Hello(&'a Hello),
    /// Absent without a user, and for an arbiter.
    Authentication(&'a Authenticated),
}

impl Connector {
    /// Reads the files of TLS and prepares the data that is sent with each hello.
    ///
    /// # Errors
    /// [`ErrorKind::Configuration`](crate::ErrorKind::Configuration) if a file is wrong, or if an option needs a
    /// feature that this build lacks.
    pub(crate) fn new(options: &ClientOptions) -> Result<Arc<Self>> {
        Self::build(options).map(Arc::new)
    }

    /// Creates the connector of a forked child, without anything that a thread of the parent may have locked.
    pub(crate) fn in_child(&self, options: &ClientOptions) -> Result<Arc<Self>> {
        let inherited = self
            .tls
            .as_ref()
            .and_then(|tls| Some(tls.try_lock()?.clone()));
        let mut child = match inherited {
            Some(tls) => Self::with_tls(options, Some(tls))?,
            None => Self::build(options)?,
        };
        child.metadata = self.metadata.in_child(child.metadata);
        Ok(Arc::new(child))
    }

    /// Creates the connector from TLS files that were read already; `files` is `None` without TLS.
    pub(crate) fn with_files(options: &ClientOptions, files: Option<Files>) -> Result<Arc<Self>> {
        let tls = options.tls.as_ref().zip(files);
        let tls = tls.map(|(tls, files)| TlsContext::with_files(tls, files));
        Self::with_tls(options, tls.transpose()?).map(Arc::new)
    }

    /// Creates a connector for other options with the same TLS context.
    pub(crate) fn with_options(&self, options: &ClientOptions) -> Result<Arc<Self>> {
        Self::with_tls(options, self.tls()).map(Arc::new)
    }

    fn build(options: &ClientOptions) -> Result<Self> {
        let tls = options.tls.as_ref().map(TlsContext::new).transpose()?;
        Self::with_tls(options, tls)
    }

    fn with_tls(options: &ClientOptions, tls: Option<TlsContext>) -> Result<Self> {
        let log = LogSettings {
            topology_id: ObjectId::new(),
            document_length: options.max_log_document_length,
        };
        Ok(Self {
            dns_names: dns_names(options)?,
            tls: tls.map(Mutex::new),
            reloading: Mutex::new(()),
            authenticator: Authenticator::new(options)?,
            metadata: Metadata::new(options.app_name.as_deref(), &options.driver_info)?,
            compressors: built_in(&options.compressors),
            zlib_level: options.zlib_compression_level,
            commands: CommandMonitor::new(&options.listener, log),
            log,
            connect_timeout: options.connect_timeout,
            timeout: options.timeout.filter(|limit| !limit.is_zero()),
            load_balanced: options.load_balanced,
            server_api: options.server_api,
            replica_set: options.replica_set.clone(),
            is_srv: options.srv.is_some(),
            proxy: options.proxy.clone(),
            connect_to: options.connect_to.clone(),
            probe: Probe::default(),
            listener: options.listener.clone(),
        })
    }

    /// The name of `server` for DNS, SNI and verification: the ASCII form if the options name it in other characters,
    /// otherwise the name itself. For a server on a Unix socket it is the name of this host.
    pub(crate) fn dns_name<'a>(&'a self, server: &'a ServerAddress) -> &'a str {
        match server {
            ServerAddress::Tcp { host, .. } => self.dns_names.get(host).unwrap_or(host),
            ServerAddress::Unix { .. } => "localhost",
        }
    }

    /// The parts that all log messages of the client have in common.
    pub(crate) fn log(&self) -> LogSettings {
        self.log
    }

    /// The current TLS context, or `None` without TLS.
    pub(crate) fn tls(&self) -> Option<TlsContext> {
        let tls = self.tls.as_ref()?.lock();
        Some(tls.clone())
    }

    /// Reads the files of TLS again. The new context replaces the old one if it can be used at `now`; otherwise the old
    /// one stays.
    pub(crate) fn reload_tls(&self, now: SystemTime) -> Result<()> {
        let _one_at_a_time = self.reloading.lock();
        let (Some(slot), Some(tls)) = (&self.tls, self.tls()) else {
            return Ok(());
        };
        let fresh = tls.reloaded(now)?;
        let old = std::mem::replace(&mut *slot.lock(), fresh);
        drop(old);
        Ok(())
    }

    /// The address to connect to for `server`.
    pub(crate) fn target<'a>(&'a self, server: &'a ServerAddress) -> &'a ServerAddress {
        self.connect_to.get(server).unwrap_or(server)
    }

    /// The authenticator of connections, or `None` without a user.
    pub(super) fn authenticator(&self) -> Option<&Authenticator> {
        self.authenticator.as_ref()
    }

    /// `connectTimeoutMS`.
    pub(crate) fn connect_timeout(&self) -> Option<Duration> {
        self.connect_timeout
    }

    /// The deadline that `connectTimeoutMS` sets for work that begins at `now`.
    pub(super) fn connect_deadline(&self, now: Instant) -> Deadline {
        Deadline::after(now, self.connect_timeout, TimeoutKind::Connect)
    }

    /// Adds a library to the metadata in hello, from the next connection on.
    pub(crate) fn append_metadata(&self, info: &DriverInfo) -> Result<()> {
        self.metadata.append(info)
    }

    /// Opens a connection to `server` for a place in a pool, before `deadline` and within `connectTimeoutMS`, unless
    /// it is interrupted.
    pub(crate) fn establish(
        &self,
        server: &ServerAddress,
        place: &ConnectionSlot,
        deadline: Option<Deadline>,
        observer: &mut impl Observer,
    ) -> Result<Connection> {
        let user = self.authenticator.as_ref();
        self.establish_as(
            user,
            server,
            place,
            deadline,
            SessionOffer::Session,
            observer,
        )
    }

    /// Establishes a connection outside of any pool with a full TLS handshake, so that `observer` sees every stage.
    pub(crate) fn establish_in_full(
        &self,
        server: &ServerAddress,
        observer: &mut impl Observer,
    ) -> Result<Connection> {
        let user = self.authenticator.as_ref();
        let place = ConnectionSlot::default();
        self.establish_as(
            user,
            server,
            &place,
            None,
            SessionOffer::NoSession,
            observer,
        )
    }

    /// Opens another connection to `server`, which offers the TLS session of an earlier one, up to the reply to hello,
    /// and closes it. Returns `None` if there is no session to offer.
    pub(crate) fn try_session(&self, server: &ServerAddress) -> Option<Result<(), Failed>> {
        let tls = self.tls()?;
        if !tls.holds_session(&server.to_string()) {
            return None;
        }
        let attempt = EstablishAttempt {
            connector: self,
            server,
            place: &ConnectionSlot::default(),
            deadline: self.connect_deadline(Instant::now()),
            command_timeout: None,
            purpose: ConnectionPurpose::Checks,
            offer: SessionOffer::Session,
        };
        Some(attempt.greet_once(SessionOffer::Session, &mut ()).map(drop))
    }

    /// Establishes a connection outside of any pool and without authentication, even if the options name a user.
    pub(crate) fn establish_without_user(
        &self,
        server: &ServerAddress,
        deadline: Option<Deadline>,
        observer: &mut impl Observer,
    ) -> Result<Connection> {
        let place = ConnectionSlot::default();
        self.establish_as(
            None,
            server,
            &place,
            deadline,
            SessionOffer::Session,
            observer,
        )
    }

    fn establish_as(
        &self,
        authenticator: Option<&Authenticator>,
        server: &ServerAddress,
        place: &ConnectionSlot,
        deadline: Option<Deadline>,
        offer: SessionOffer,
        observer: &mut impl Observer,
    ) -> Result<Connection> {
        let own = self.connect_deadline(Instant::now());
        let attempt = EstablishAttempt {
            connector: self,
            server,
            place,
            deadline: own.within(deadline),
            // The deadline of an operation includes the handshake. Without one, a background thread of the pool dials,
            // or the doctor, outside of a pool.
            command_timeout: self.timeout.filter(|_| deadline.is_none() && place.id != 0),
            purpose: ConnectionPurpose::Commands(authenticator),
            offer,
        };
        attempt.explained(attempt.run(observer))
    }

    /// Opens a connection for checks of `server`, within `connectTimeoutMS`: without a user and without compression.
    /// Also returns the reply to its hello, and the round trip time. Any kind of server is accepted.
    pub(super) fn establish_for_checks(
        &self,
        server: &ServerAddress,
        place: &ConnectionSlot,
        observer: &mut impl Observer,
    ) -> Result<(Connection, RawDocumentBuf, Duration)> {
        let attempt = EstablishAttempt {
            connector: self,
            server,
            place,
            deadline: self.connect_deadline(Instant::now()),
            command_timeout: None,
            purpose: ConnectionPurpose::Checks,
            offer: SessionOffer::Session,
        };
        let mut timed = Timed {
            hello: Duration::ZERO,
            observer,
        };
        let greeted = attempt.greet(&mut timed);
        let took = timed.hello;
        let (mut connection, reply, _) = attempt.explained(greeted)?;
        connection.established = true;
        Ok((connection, reply, took))
    }

    /// The reason why the server cannot serve this client, or `None` if it can.
    pub(super) fn unsuitable(&self, hello: &Hello) -> Option<HelloFailure> {
        if let Some(failure) = hello::incompatibility(hello) {
            return Some(failure);
        }
        if self.load_balanced && hello.service_id.is_none() {
            return Some(HelloFailure::NoService);
        }
        let required = self.replica_set.as_deref()?;
        let found = hello.set_name.as_deref();
        (found != Some(required)).then(|| HelloFailure::WrongSet {
            found: found.map(str::to_owned),
            wanted: required.to_owned(),
        })
    }
}

/// The ASCII names of all hosts in the options whose names have other characters.
fn dns_names(options: &ClientOptions) -> Result<HashMap<String, String>> {
    let mut names = HashMap::new();
    let proxy = options.proxy.as_ref().map(ProxyOptions::address);
    let targets = options.connect_to.values();
    for server in options.hosts.iter().chain(&proxy).chain(targets) {
        let ServerAddress::Tcp { host, .. } = server else {
            continue;
        };
        let name = idn::to_ascii(host).map_err(Error::configuration)?;
        if *name != **host {
            names.insert(host.clone(), name.into_owned());
        }
    }
    Ok(names)
}

/// Records the duration of hello, and forwards every call.
struct Timed<'a, O> {
    hello: Duration,
    observer: &'a mut O,
}

impl<O: Observer> Observer for Timed<'_, O> {
    fn finished(&mut self, stage: Stage, took: Duration, learned: Learned<'_>) {
        if stage == Stage::Hello {
            self.hello = took;
        }
        self.observer.finished(stage, took, learned);
    }
}

/// Passes the service that hello names to a function, before authentication begins.
pub(crate) struct ServiceObserver<'a>(pub(crate) &'a mut dyn FnMut(ObjectId));

impl Observer for ServiceObserver<'_> {
    fn finished(&mut self, _: Stage, _: Duration, learned: Learned<'_>) {
        if let Learned::Hello(Hello {
            service_id: Some(service),
            ..
        }) = learned
        {
            (self.0)(*service);
        }
    }
}

/// The place in a pool for a connection. The default is no place.
#[derive(Debug, Default)]
pub(crate) struct ConnectionSlot {
    /// The number of the connection, starting from 1.
    pub(crate) id: u64,
    /// Interrupts the connection, and the attempt to establish it.
    pub(crate) interrupt: Arc<Interrupt>,
}

/// One attempt to connect.
struct EstablishAttempt<'a> {
    connector: &'a Connector,
    server: &'a ServerAddress,
    place: &'a ConnectionSlot,
    deadline: Deadline,
    /// The limit of each command of authentication, in addition to the deadline of the attempt. The first hello belongs to
    /// connecting: the cases of "Client Side Operations Timeout" fill a pool whose servers answer hello after `timeoutMS`.
    command_timeout: Option<Duration>,
    purpose: ConnectionPurpose<'a>,
    offer: SessionOffer,
}

/// A connection after hello, the reply to hello, and the authentication that hello began.
type Greeted<'a> = (Connection, RawDocumentBuf, Option<Authentication<'a>>);

/// The purpose of a connection.
#[derive(Clone, Copy)]
enum ConnectionPurpose<'a> {
    /// Commands of the program, with this user if there is one.
    Commands(Option<&'a Authenticator>),
    /// Checks of the server ("Server Monitoring", "Servers are monitored with dedicated sockets").
    Checks,
}

impl<'a> EstablishAttempt<'a> {
    fn run(&self, observer: &mut impl Observer) -> Result<Connection> {
        let (mut connection, reply, authentication) = self.greet(observer)?;
        connection.compression = self.negotiated_compression(&connection.hello);
        // The first commands of authentication compute hashes.
        let _at_work = fork::at_work();
        // An arbiter has no users ("Authentication Handshake", step 2).
        if let (Some(authentication), false) = (authentication, connection.hello.is_arbiter()) {
            self.authenticate(&mut connection, authentication, &reply, observer)?;
        }
        connection.established = true;
        Ok(connection)
    }

    /// Completes the error of this attempt: an interruption by the caller, both forms of the host name, and labels.
    fn explained<T>(&self, outcome: Result<T>) -> Result<T> {
        outcome.map_err(|error| {
            let interrupt = &self.place.interrupt;
            let error = match interrupt.is_interrupted() {
                true if interrupt.is_cancelled() => {
                    let stage = error.stage().unwrap_or(Stage::Connect);
                    Error::cancelled(Cancelled::Establishing).with_stage(stage)
                }
                true => Error::interrupted(),
                false => error,
            };
            let error = match self.server {
                ServerAddress::Tcp { host, .. } => {
                    idn::in_both_forms(error, host, self.connector.dns_name(self.server))
                }
                ServerAddress::Unix { .. } => error,
            };
            overload::label(error.with_server(self.server))
        })
    }

    fn authenticator(&self) -> Option<&'a Authenticator> {
        match self.purpose {
            ConnectionPurpose::Commands(authenticator) => authenticator,
            ConnectionPurpose::Checks => None,
        }
    }

    /// Opens a connection up to the reply to hello.
    ///
    /// If a server answers an offered TLS session with an alert, a second connection is attempted at once, without a
    /// session. A server that closes the connection, resets it or does not answer may be overloaded, and is not tried
    /// again.
    fn greet(&self, observer: &mut impl Observer) -> Result<Greeted<'a>> {
        match self.greet_once(self.offer, observer) {
            Err(failed) if failed.session_refused => {
                let server = self.server;
                let error = failed.error;
                debug!(target: "mongotls::tls", "{server} refused a TLS session; dialing again without one: {error}");
                let greeted = self.greet_once(SessionOffer::NoSession, observer);
                let greeted = greeted.map_err(|failed| failed.error)?;
                warn!(target: "mongotls::tls", "{server} refuses TLS sessions that it issued itself, which costs a second connection. {REFUSED_SESSION_REMEDY}");
                Ok(greeted)
            }
            greeted => greeted.map_err(|failed| failed.error),
        }
    }

    fn greet_once(
        &self,
        offer: SessionOffer,
        observer: &mut impl Observer,
    ) -> Result<Greeted<'a>, Failed> {
        let socket = self.open(observer)?;
        let stream = match self.connector.tls() {
            Some(tls) => self.secure(&tls, socket, offer, observer)?,
            None => Stream::Plain(socket),
        };
        // The first read of TLS 1.3 processes session tickets, and authentication computes hashes.
        let _at_work = fork::at_work();
        let mut connection = Connection::new(
            self.server.clone(),
            stream,
            Arc::clone(&self.place.interrupt),
        );
        connection.id = self.place.id;
        connection.commands = self.connector.commands.clone();
        connection.offered = Offered::of(self.compressors());
        connection.server_api = self.connector.server_api;
        let refused = |cause| Error::failed(Stage::Authentication, cause);
        let context = self.context();
        let begun = self.authenticator().map(|own| own.begin(&context));
        let authentication = begun.transpose().map_err(refused)?;
        let started = Instant::now();
        let reply = self.hello(&mut connection, authentication.as_ref())?;
        observer.finished(
            Stage::Hello,
            started.elapsed(),
            Learned::Hello(&connection.hello),
        );
        Ok((connection, reply, authentication))
    }

    /// The compressors that are offered to the server.
    fn compressors(&self) -> &'a [Compressor] {
        match self.purpose {
            ConnectionPurpose::Commands(_) => &self.connector.compressors,
            ConnectionPurpose::Checks => &[],
        }
    }

    /// Authenticates, by the conversation that hello began or by a new one.
    fn authenticate(
        &self,
        connection: &mut Connection,
        authentication: Authentication<'_>,
        hello: &RawDocument,
        observer: &mut impl Observer,
    ) -> Result<()> {
        let Some(authenticator) = self.authenticator() else {
            return Ok(());
        };
        let started = Instant::now();
        let context = self.context();
        let begun = authentication.start(hello, &context);
        let driver = authenticate::Driver {
            authenticator,
            tls: self.connector.tls(),
            context,
            command_timeout: self.command_timeout,
        };
        let outcome = driver.run(connection, begun);
        let service_id = connection.hello.service_id;
        let (authenticated, _) = outcome.map_err(|error| error.with_service(service_id))?;
        observer.finished(
            Stage::Authentication,
            started.elapsed(),
            Learned::Authentication(&authenticated),
        );
        connection.authenticated = Some(authenticated);
        Ok(())
    }

    fn context(&self) -> Context<'_> {
        Context {
            server: self.server,
            dns_name: self.connector.dns_name(self.server),
            deadline: self.deadline,
        }
    }

    /// Opens a connected socket.
    fn open(&self, observer: &mut impl Observer) -> Result<Socket> {
        let target = self.connector.target(self.server);
        let unreachable = |Unreachable { stage, failure }| match target == self.server {
            true => Error::failed(stage, *failure),
            false => {
                let cause = explain::net::redirected((*failure).into(), self.server, target);
                Error::failed(stage, cause)
            }
        };
        let route = Route {
            server: target,
            dns_name: self.connector.dns_name(target),
            proxy: self.connector.proxy.as_ref(),
            interrupt: &self.place.interrupt,
            deadline: &self.deadline,
        };
        let started = Instant::now();
        let addresses = route.resolve().map_err(unreachable)?;
        if let Some(addresses) = &addresses {
            let learned = Learned::Addresses(addresses);
            observer.finished(Stage::Resolve, started.elapsed(), learned);
        }
        let started = Instant::now();
        let socket = route
            .connect(&addresses.unwrap_or_default())
            .map_err(unreachable)?;
        let learned = Learned::Peer(socket.peer_addr());
        observer.finished(Stage::Connect, started.elapsed(), learned);
        Ok(socket)
    }

    /// Performs the TLS handshake on the socket.
    fn secure(
        &self,
        tls: &TlsContext,
        mut socket: Socket,
        offer: SessionOffer,
        observer: &mut impl Observer,
    ) -> Result<Stream, Failed> {
        let host = self.connector.dns_name(self.server);
        self.emit_handshake();
        let started = Instant::now();
        socket.set_deadline(Some(self.deadline));
        let server = self.server.to_string();
        let stream = tls
            .connect_to(&server, host, socket, Some(self.deadline), offer)
            .map_err(|failed| {
                let took = started.elapsed();
                let error = self.explain_handshake(failed.error, failed.responder_wait.as_ref());
                let error = overload::label(error.with_server(self.server));
                self.emit_handshake_end(Err(&error), took);
                Failed { error, ..failed }
            })?;
        self.emit_revocation(Ok(stream.report()));
        self.emit_handshake_end(Ok(stream.report()), started.elapsed());
        observer.finished(
            Stage::Tls,
            started.elapsed(),
            Learned::Handshake(stream.report()),
        );
        Ok(Stream::Tls(Box::new(stream)))
    }

    /// Logs the start of the handshake, and emits its event.
    fn emit_handshake(&self) {
        let server = self.server;
        debug!(target: "mongotls::tls", "TLS handshake with {server} started");
        let listener = &self.connector.listener;
        if listener.listens_to(EventKind::Tls) {
            let server = server.clone();
            listener.emit(&Event::Tls(TlsEvent::HandshakeStarted(
                TlsHandshakeStartedEvent { server },
            )));
        }
    }

    /// Logs the end of the handshake, and emits its event.
    fn emit_handshake_end(&self, outcome: Result<&HandshakeReport, &Error>, duration: Duration) {
        let server = self.server;
        let ms = duration.as_millis();
        let has_listener = self.connector.listener.listens_to(EventKind::Tls);
        let event = match outcome {
            Ok(report) => {
                let (protocol, cipher) = (report.protocol(), report.cipher());
                let (resumed, revocation) = (report.resumed(), report.own_revocation());
                debug!(
                    target: "mongotls::tls",
                    "TLS handshake with {server} succeeded in {ms} ms: {protocol}, {cipher}, {}, revocation {}",
                    if resumed { "resumed" } else { "full" },
                    revocation.as_str()
                );
                has_listener.then(|| {
                    Event::Tls(TlsEvent::HandshakeSucceeded(TlsHandshakeSucceededEvent {
                        server: server.clone(),
                        protocol: protocol.to_owned(),
                        cipher: cipher.to_owned(),
                        resumed,
                        revocation,
                        duration,
                    }))
                })
            }
            Err(error) => {
                let code = error.cause().map_or("", |cause| cause.code().as_str());
                debug!(target: "mongotls::tls", "TLS handshake with {server} failed after {ms} ms: {error} [{code}]");
                has_listener.then(|| {
                    Event::Tls(TlsEvent::HandshakeFailed(TlsHandshakeFailedEvent {
                        server: server.clone(),
                        error: error.clone(),
                        duration,
                    }))
                })
            }
        };
        if let Some(event) = event {
            self.connector.listener.emit(&event);
        }
    }

    /// Emits the event about revocation: the evidence, or the error if revocation was the reason.
    fn emit_revocation(&self, outcome: Result<&HandshakeReport, &Error>) {
        let listener = &self.connector.listener;
        if !listener.listens_to(EventKind::Tls) {
            return;
        }
        let (certificates, error) = match outcome {
            Ok(report) if report.resumed() => return,
            Ok(report) => (report.revocation(), None),
            Err(error) => (Vec::new(), Some(error.clone())),
        };
        let is_checked = certificates.iter().any(|found| !found.steps.is_empty());
        if is_checked || error.is_some() {
            listener.emit(&Event::Tls(TlsEvent::Revocation(RevocationEvent {
                server: self.server.clone(),
                certificates,
                error,
            })));
        }
    }

    /// Adds the information of this layer: the time limit, and whether the server speaks MongoDB without TLS.
    fn explain_handshake(&self, error: Error, waited: Option<&ResponderWait>) -> Error {
        // An attempt that was interrupted says nothing about the server.
        let is_interrupted = self.place.interrupt.is_interrupted();
        let Some(cause) = error.cause().filter(|_| !is_interrupted) else {
            return error;
        };
        if cause.category() == Category::Revocation {
            self.emit_revocation(Err(&error));
        }
        let received = match cause.reason() {
            Reason::Tls(failure) => failure.received(),
            _ => None,
        };
        let ended = matches!(
            cause.code(),
            CauseCode::HandshakeTimeout | CauseCode::ConnectionClosed | CauseCode::ConnectionReset
        );
        if ended
            && received == Some(0)
            && self.connector.probe.speaks_mongodb_in_the_clear(
                self.connector.target(self.server),
                self.connector.dns_name(self.connector.target(self.server)),
                self.connector.proxy.as_ref(),
                &self.deadline,
                &self.place.interrupt,
            )
        {
            return Error::failed(
                Stage::Tls,
                self.with_srv(HelloFailure::SpeaksWithoutTls.into()),
            );
        }
        match cause.code() {
            CauseCode::ServerNotTls => {
                let cause = self.with_srv(cause.clone());
                error.replace_cause(cause)
            }
            CauseCode::HandshakeTimeout => {
                let timeout = self.deadline.elapsed();
                let step = HandshakeStep::Tls { received };
                let waited = waited.filter(|waited| waited.is_considerable(timeout.limit));
                let failure = ExchangeFailure::HandshakeTimeout {
                    step,
                    timeout,
                    waited: waited.cloned(),
                };
                Error::failed(Stage::Tls, failure)
            }
            _ => error,
        }
    }

    /// Adds the reason why TLS is on, if the connection string need not contain it.
    fn with_srv(&self, cause: Cause) -> Cause {
        if !self.connector.is_srv {
            return cause;
        }
        explain::hello::with_srv(cause)
    }

    /// Sends the first hello. The connection keeps the reply's data about the server; authentication needs the returned
    /// reply.
    fn hello(
        &self,
        connection: &mut Connection,
        authentication: Option<&Authentication<'_>>,
    ) -> Result<RawDocumentBuf, Failed> {
        let load_balanced = self.connector.load_balanced;
        let metadata = self.connector.metadata.current();
        let compressors = self.compressors();
        let server_api = self.connector.server_api;
        let name = HelloName::new(load_balanced || server_api.is_some());
        let body = hello::command(&metadata, name, load_balanced, compressors, authentication);
        let id = connection.next_request_id();
        connection
            .buffer
            .reserve(body.as_bytes().len() + authenticate::HEADER_AND_DATABASE);
        let (deadline, max_time_ms) = time_limit::of_handshake(self.deadline, None);
        let more = |fields: &mut request::Fields<'_>| {
            fields.server_api(server_api);
            fields.text("$db", "admin");
            if let Some(limit) = max_time_ms {
                fields.int64("maxTimeMS", limit);
            }
        };
        let size = crate::wire::MAX_MESSAGE_SIZE;
        request::encode_msg(&mut connection.buffer, id, &body, more, &[], size)
            .map_err(|error| connection.too_large(error))?;
        let expected = Expected {
            request_id: id,
            offered: connection.offered,
        };
        let reply = connection.exchange(&[], expected, Some(deadline));
        // The command may contain an access token, and the connection's buffer a copy of it.
        body.into_bytes().zeroize();
        connection.wipe_buffer();
        let reply = reply.map_err(|failure| Failed {
            session_refused: connection.is_session_refused(&failure),
            responder_wait: None,
            error: connection.explain(failure, Stage::Hello, "the answer to hello", Some(deadline)),
        })?;
        if let Stream::Tls(stream) = connection.stream.get_mut() {
            stream.note_answer();
        }
        if let Err(refused) = check(&reply) {
            let cause = HelloFailure::Refused {
                text: refused.to_string(),
                code: refused.command().map(|failure| failure.code),
            };
            let error = Error::failed(Stage::Hello, cause).with_labels(refused.labels());
            return Err(error.with_source(refused).into());
        }
        let hello = Hello::read(&reply);
        let unsuitable = match self.purpose {
            ConnectionPurpose::Commands(_) => self.connector.unsuitable(&hello),
            ConnectionPurpose::Checks => None,
        };
        match unsuitable {
            Some(failure) => Err(Error::failed(Stage::Hello, failure).into()),
            None => {
                connection.hello = hello;
                Ok(reply)
            }
        }
    }

    /// The compression of requests: the first compressor that both sides know.
    fn negotiated_compression(&self, hello: &Hello) -> Option<Compression> {
        let ours = &self.connector.compressors;
        let first = ours.iter().find(|one| hello.compressors.contains(one));
        if first.is_none() && !ours.is_empty() {
            debug!(target: "mongotls::command", "{} knows none of the compressors: nothing is compressed", self.server);
        }
        first.map(|compressor| Compression {
            compressor: *compressor,
            level: self.connector.zlib_level,
        })
    }
}

/// The remedy for a server that answers its own TLS sessions with an alert.
pub(crate) const REFUSED_SESSION_REMEDY: &str = "Set a session ID context at the server (SSL_CTX_set_session_id_context in OpenSSL, Context.set_session_id in pyOpenSSL), or tlsSessionResumption=false in the connection string.";

/// Returns the compressors that are built in; the others are reported in the log.
fn built_in(wanted: &[Compressor]) -> Vec<Compressor> {
    let (built_in, missing): (Vec<Compressor>, Vec<Compressor>) =
        wanted.iter().partition(|one| one.is_built_in());
    for compressor in missing {
        let name = compressor.as_str();
        warn!(
            target: "mongotls::command",
            "compressors: {name} is not offered to servers, since this program was built without the cargo feature \"{name}\" of mongotls"
        );
    }
    built_in
}
