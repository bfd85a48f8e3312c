//! `TlsContext`: from options to an OpenSSL context, and from a stream to a verified [`TlsStream`].

use std::fmt;
use std::io::{Read, Write};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Instant, SystemTime};

use openssl::error::ErrorStack;
use openssl::ssl::{HandshakeError, Ssl, SslCipherRef, SslRef};
use openssl::x509::X509VerifyResult;
use openssl::x509::verify::X509CheckFlags;

use super::diagnose::{self, Peer};
use super::rejection::{self, Rules};
use super::report::{HandshakeReport, Verification};
use super::session::{SessionCache, SessionOffer};
use super::sharing::{self, InUse};
use super::stream::{self, Tap, TlsStream};
use super::verify::VerifyWatch;
use crate::address::ip_address;
use crate::cause::{Category, Cause, CauseCode};
use crate::data::certificate::CertificateRole;
use crate::data::certificate::{Certificate, TrustAnchors};
use crate::data::revocation::RevocationStatus;
use crate::error::{Error, Result, Stage};
use crate::explain;
use crate::ffi::callback;
use crate::ffi::fork::{self, Abandon, PerProcess};
use crate::ffi::openssl::{self as ffi, clear_errors};
use crate::idn;
use crate::options::TlsOptions;
use crate::reason::Reason;
use crate::reason::certificate::CertificateFailure;
use crate::reason::files::FileFailure;
use crate::reason::revocation::ResponderWait;
use crate::reason::tls::{TlsFailure, TlsPhase};
use crate::time::Deadline;
use crate::tls::config::identity::Accepted;
use crate::tls::config::reading::{Files, Reading};
use crate::tls::config::trust;
use crate::tls::library::internal;
use crate::tls::ocsp::Checker;

pub(crate) use crate::reason::certificate::ServerName;

/// The TLS settings of a client's options, ready for any number of handshakes.
///
/// Cheap to clone; all clones share one OpenSSL context.
#[derive(Clone)]
pub struct TlsContext {
    /// Each process has its own context: a session is offered only once, and a lock may have been held during the fork.
    shared: Arc<PerProcess<Arc<InUse>>>,
    /// The counters of this client alone, even if other clients share the context.
    handshakes: Arc<Counters>,
    /// Each process has a separate list, for the same reason.
    accepted: Arc<PerProcess<Accepted>>,
}

/// The numbers of successful handshakes.
#[derive(Default)]
struct Counters {
    full: AtomicU64,
    resumed: AtomicU64,
    /// The full handshakes with an undetermined revocation status.
    undetermined: AtomicU64,
}

impl Abandon for Arc<InUse> {
    fn abandon(&self) {}

    fn begin(&self) {}
}

impl TlsContext {
    /// Reads the files that `options` name and builds the context.
    ///
    /// Only the trust anchors that the options name are used. If the options name none, the system's are used: the file
    /// and folders in `SSL_CERT_FILE` and `SSL_CERT_DIR` if either is set, otherwise the places that this OpenSSL was
    /// built with, otherwise the places where distributions keep them, otherwise the roots built in with the feature
    /// `bundled-roots`.
    ///
    /// The system's OpenSSL configuration and security level apply. A minimum version below TLS 1.2 is raised to TLS
    /// 1.2.
    ///
    /// If another context in use in this process has equal options, and its files have not changed, both share one
    /// OpenSSL context and its TLS sessions. This does not apply if the anchors come from the system or a folder, or if
    /// a key or a password comes from a source outside of the options and files.
    ///
    /// ```no_run
    /// use mongotls::options::TlsOptions;
    /// use mongotls::tls::TlsContext;
    ///
    /// let options = TlsOptions::builder().ca_file("ca.pem").build()?;
    /// let context = TlsContext::new(&options)?; // reads the files
    /// println!("{}", context.trust_anchors());
    /// # Ok::<(), mongotls::Error>(())
    /// ```
    ///
    /// # Errors
    /// [`ErrorKind::Configuration`](crate::ErrorKind::Configuration) if a file cannot be read or has the wrong
    /// contents, or if there are no trust anchors.
    pub fn new(options: &TlsOptions) -> Result<Self> {
        Self::with_files(options, Files::of(options, Reading::Once))
    }

    /// Creates a context from files that were read already.
    pub(crate) fn with_files(options: &TlsOptions, files: Files) -> Result<Self> {
        Ok(Self {
            shared: own(sharing::context(options, files)?),
            handshakes: Arc::default(),
            accepted: Arc::new(PerProcess::new(Accepted::default())),
        })
    }

    /// Reads the files again. The new context continues the counters of this one.
    ///
    /// # Errors
    /// [`ErrorKind::Configuration`](crate::ErrorKind::Configuration) if a file cannot be used, or if the contents of the
    /// files must not replace those in use at `now`.
    pub(crate) fn reloaded(&self, now: SystemTime) -> Result<Self> {
        let options = self.options();
        let files = Files::of(options, Reading::Again);
        let fresh = sharing::fresh(options, files)?;
        fresh
            .loaded
            .may_replace(&newest(self.shared()).loaded, now)?;
        Ok(Self {
            shared: own(fresh),
            handshakes: Arc::clone(&self.handshakes),
            accepted: Arc::clone(&self.accepted),
        })
    }

    /// The context that this process uses. In a forked child it holds no lock of this crate that a thread of the
    /// parent may have taken. If the files can be used, OpenSSL's part is created again too.
    pub(super) fn shared(&self) -> &Arc<InUse> {
        self.shared.get(|inherited| {
            let inherited = newest(inherited);
            fresh_in_child(inherited).unwrap_or_else(|_| inherited.inherited())
        })
    }

    /// The context to use in place of this one. If a forked child could not load the files, it tries again at each
    /// use, until it can.
    fn successor(&self) -> Option<Self> {
        let shared = self.shared();
        let successor = shared.successor.as_ref()?;
        let known = match successor.get() {
            Some(known) => known,
            None => {
                let fresh = fresh_in_child(shared).ok()?;
                // Another thread may have set it first.
                successor.get_or_init(|| Box::new(own(fresh)))
            }
        };
        Some(Self {
            shared: Arc::clone(known),
            handshakes: Arc::clone(&self.handshakes),
            accepted: Arc::clone(&self.accepted),
        })
    }

    /// Returns the servers that have accepted this client. It is empty in a forked child.
    pub(super) fn accepted(&self) -> &Accepted {
        self.accepted.get(|_| Accepted::default())
    }

    /// The options that the context was built from.
    pub fn options(&self) -> &TlsOptions {
        &self.shared().loaded.options
    }

    /// The source of the trust anchors.
    pub fn trust_anchors(&self) -> &TrustAnchors {
        &self.shared().loaded.anchors
    }

    /// The number of full handshakes of this context that succeeded.
    pub fn full_handshakes(&self) -> u64 {
        self.handshakes.full.load(Ordering::Relaxed)
    }

    /// The number of handshakes of this context that resumed a session.
    pub fn resumed_handshakes(&self) -> u64 {
        self.handshakes.resumed.load(Ordering::Relaxed)
    }

    /// The number of full handshakes of this context that succeeded although the revocation status of the server's
    /// certificate is undetermined (soft fail). Resumed handshakes are not counted again.
    pub fn undetermined_revocations(&self) -> u64 {
        self.handshakes.undetermined.load(Ordering::Relaxed)
    }

    /// The number of loaded CRLs.
    pub fn crl_count(&self) -> usize {
        self.shared().loaded.crls.count()
    }

    /// The client's certificate, if one is configured.
    pub fn own_certificate(&self) -> Option<&Certificate> {
        self.shared()
            .loaded
            .own
            .as_ref()
            .map(|own| &own.certificate)
    }

    /// Runs the handshake over `stream` with the server `host`, a name or an IP address.
    ///
    /// The server's certificate must lead to a trust anchor and hold `host` among its subject
    /// alternative names (RFC 9525), unless the options relax that. A name is also sent as SNI (RFC
    /// 6066); an IP address is not. A Unicode name is converted to its ASCII form (UTS 46) first.
    ///
    /// The caller limits the time for which `stream` may block: a read that fails with `WouldBlock` or `TimedOut` ends
    /// the handshake.
    ///
    /// A session of an earlier connection is offered if there is one. If the handshake then fails, no session is
    /// offered to `host` for five minutes, so that the next call makes a full handshake.
    ///
    /// ```no_run
    /// use std::net::TcpStream;
    ///
    /// # let options = mongotls::options::TlsOptions::builder().ca_file("ca.pem").build()?;
    /// # let context = mongotls::tls::TlsContext::new(&options)?;
    /// let stream = TcpStream::connect("db.example.com:27017")?;
    /// match context.connect("db.example.com", stream) {
    ///     Ok(stream) => println!("{}", stream.report().protocol()),
    ///     Err(error) => println!("{}", error.cause().map_or("", |cause| cause.remedy())),
    /// }
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    ///
    /// # Errors
    /// [`ErrorKind::Tls`](crate::ErrorKind::Tls), [`ErrorKind::Network`](crate::ErrorKind::Network) or
    /// [`ErrorKind::Timeout`](crate::ErrorKind::Timeout), always with a [`Cause`].
    pub fn connect<S: Read + Write>(&self, host: &str, stream: S) -> Result<TlsStream<S>> {
        let name = idn::to_ascii(host).map_err(|cause| Error::failed(Stage::Tls, cause))?;
        self.connect_to(host, &name, stream, None, SessionOffer::Session)
            .map_err(|failed| idn::in_both_forms(failed.error, host, &name))
    }

    /// Returns whether there is a session that the next connection to `server` would offer.
    pub(crate) fn holds_session(&self, server: &str) -> bool {
        let sessions = newest(self.shared()).sessions.as_ref();
        sessions.is_some_and(|sessions| sessions.holds_session(server))
    }

    /// Runs the handshake as [`connect`](Self::connect) does. Sessions are kept by `server`, so that servers on the same
    /// host do not share them.
    pub(crate) fn connect_to<S: Read + Write>(
        &self,
        server: &str,
        host: &str,
        stream: S,
        deadline: Option<Deadline>,
        offer: SessionOffer,
    ) -> Result<TlsStream<S>, Failed> {
        let name = ServerName::parse(host)?;
        let _at_work = fork::at_work();
        if let Some(successor) = self.successor() {
            return successor.connect_to(server, host, stream, deadline, offer);
        }
        let (mut ssl, watch) = self.prepare(&name).map_err(internal)?;
        if let Some(sessions) = &self.shared().sessions {
            sessions
                .prepare(&mut ssl, server, offer)
                .map_err(internal)?;
        }
        if let Some(ocsp) = &self.shared().ocsp {
            ocsp.prepare(&mut ssl, server, deadline).map_err(internal)?;
        }
        let started = Instant::now();
        callback::take_panic();
        trust::take_folder_error();
        clear_errors();
        let connected = ssl.connect(Tap::new(stream));
        if callback::take_panic() {
            return Err(Error::failed(Stage::Tls, TlsFailure::CallbackPanicked).into());
        }
        let mut failed = match connected {
            Ok(stream) => {
                self.require_proof(stream.ssl())?;
                let options = &self.shared().loaded.options;
                let verifies = (options.verifies_certificate(), options.verifies_hostname());
                let sent = self.shared().loaded.own.is_some();
                let mut report =
                    HandshakeReport::of(stream.ssl(), verifies, sent, started.elapsed());
                report.revocation = Checker::conclude(stream.ssl())
                    .map(|result| result.findings)
                    .unwrap_or_default();
                if let Some(proof) = SessionCache::resumed(stream.ssl()) {
                    report.rest_on(&proof, self.shared().loaded.options.checks_revocation());
                }
                report.checks_whole_chain = options.check_whole_chain();
                if self.shared().loaded.anchors == TrustAnchors::NotUsed {
                    // Without anchors every chain fails, so the result would not be informative.
                    report.verification = Verification::None { would_fail: None };
                }
                let handshakes = &self.handshakes;
                let counter = if report.resumed {
                    &handshakes.resumed
                } else {
                    &handshakes.full
                };
                counter.fetch_add(1, Ordering::Relaxed);
                if !report.resumed && report.revocation.status == RevocationStatus::Undetermined {
                    handshakes.undetermined.fetch_add(1, Ordering::Relaxed);
                }
                let server = server.to_owned();
                return Ok(TlsStream::new(stream, report, self.clone(), name, server));
            }
            Err(HandshakeError::SetupFailure(error)) => return Err(internal(error).into()),
            Err(HandshakeError::Failure(failed) | HandshakeError::WouldBlock(failed)) => failed,
        };

        // A server that sent its certificate has declined the session.
        let may_be_session_failure = SessionCache::was_offered(failed.ssl()) && !watch.has_begun();
        if let Some(sessions) = &self.shared().sessions {
            match may_be_session_failure {
                true => sessions.pause(server, Instant::now()),
                false => sessions.forget(server),
            }
        }
        let tap = failed.get_mut();
        let failure = tap.take_failure();
        if failure.is_none() {
            tap.recheck_readable();
        }
        let error = failed.error();
        let session_refused = may_be_session_failure && diagnose::is_alert(error);
        let checked = Checker::conclude(failed.ssl()).unwrap_or_default();
        let revocation = checked.rejection;
        let mut responder_wait = None;
        let cause = match (watch.take(), revocation, &failure) {
            (_, Some(failure), _) => Cause::from(*failure),
            (Some(error), None, _) => {
                let anchors = &self.shared().loaded.anchors;
                let rules = Rules {
                    name: &name,
                    anchors,
                    crls: &self.shared().loaded.crls,
                    protocol: self.options().protocol(),
                    level: failed.ssl().security_level(),
                    now: SystemTime::now(),
                };
                let cause = Cause::from(rejection::rejected_chain(&error, &rules));
                with_folder_error(cause, trust::take_folder_error(), anchors)
            }
            (None, None, io) => {
                let tap = failed.get_ref();
                let peer = self.peer(server, &name, failed.ssl(), tap, TlsPhase::Handshake);
                match io {
                    // The greeting of another protocol may be shorter than the header of a TLS record.
                    Some(io) if stream::is_timeout(io) => {
                        responder_wait = checked.findings.wait();
                        let reason =
                            diagnose::not_tls(&peer).unwrap_or(TlsFailure::HandshakeTimeout {
                                received: peer.received,
                            });
                        match (&reason, &responder_wait) {
                            (TlsFailure::HandshakeTimeout { .. }, Some(wait)) => {
                                wait.named_in(reason.into(), started.elapsed())
                            }
                            _ => reason.into(),
                        }
                    }
                    io => diagnose::failed_exchange(error, io.as_ref(), &peer).into(),
                }
            }
        };
        let cause = self.with_changed_files(cause);
        let stack = error.ssl_error().cloned();
        // The CRLs are checked with the chain, but reported as a separate stage.
        let stage = if cause.category() == Category::Revocation {
            Stage::Revocation
        } else {
            Stage::Tls
        };
        let error = Error::failed(stage, cause);
        let error = match stack {
            Some(stack) => error.with_source(stack),
            None => error,
        };
        Err(Failed {
            error,
            session_refused,
            responder_wait,
        })
    }

    /// Names in the remedy the first of the files behind a cause that has changed since it was read.
    pub(crate) fn with_changed_files(&self, cause: Cause) -> Cause {
        let shared = self.shared();
        let options = &shared.loaded.options;
        let files = files_behind(&cause, options);
        let changed = fork::outside(|| {
            let mut files = files.into_iter();
            files.find(|path| {
                shared.loaded.seen.has_changed(path) && !shared.loaded.still_holds(path)
            })
        });
        let is_watched = options.watch_interval().is_some();
        match changed {
            Some(path) => explain::with_changed_file(cause, path, is_watched),
            None => cause,
        }
    }

    /// Rejects a handshake without a verified certificate. The system's configuration may allow anonymous cipher
    /// suites, with which the server sends no certificate and OpenSSL has nothing to reject.
    fn require_proof(&self, ssl: &SslRef) -> Result<()> {
        let verified =
            ssl.peer_certificate().is_some() && ssl.verify_result() == X509VerifyResult::OK;
        if verified || !self.shared().loaded.options.verifies_certificate() {
            return Ok(());
        }
        let cipher = ssl.current_cipher().map_or("none", SslCipherRef::name);
        Err(Error::failed(
            Stage::Tls,
            CertificateFailure::Anonymous {
                cipher: cipher.to_owned(),
            },
        ))
    }

    /// Creates the SSL object, configured to verify `name`.
    fn prepare(&self, name: &ServerName) -> Result<(Ssl, VerifyWatch), ErrorStack> {
        let options = &self.shared().loaded.options;
        let mut ssl = Ssl::new(&self.shared().loaded.context)?;
        ffi::expect_certificate_request(&mut ssl)?;
        if let ServerName::Dns(host) = name {
            ssl.set_hostname(host)?;
        }
        if options.verifies_hostname() {
            let mut flags = X509CheckFlags::NO_PARTIAL_WILDCARDS;
            if !options.allow_common_name() {
                flags |= X509CheckFlags::NEVER_CHECK_SUBJECT;
            }
            let param = ssl.param_mut();
            param.set_hostflags(flags);
            match name {
                ServerName::Dns(host) => param.set_host(host)?,
                ServerName::Ip(address) => param.set_ip(*address)?,
            }
        }
        let watch = VerifyWatch::default();
        if options.verifies_certificate() {
            watch.install(&mut ssl, options.pinned_keys(), &self.shared().loaded.crls);
        }
        Ok((ssl, watch))
    }

    pub(super) fn peer<'a, S>(
        &'a self,
        server: &str,
        name: &'a ServerName,
        ssl: &SslRef,
        tap: &'a Tap<S>,
        phase: TlsPhase,
    ) -> Peer<'a> {
        let own = self.shared().loaded.own.as_ref();
        Peer {
            name,
            head: tap.head(),
            received: tap.received(),
            requested_certificate: ffi::saw_certificate_request(ssl),
            requested_ca_names: ffi::requested_ca_names(ssl),
            own,
            answered: tap.was_write_last(),
            phase,
            accepted_before: self.accepted().has(server, own),
            protocol: self.options().protocol(),
            level: ssl.security_level(),
            now: SystemTime::now(),
        }
    }
}

/// A cause that a CA folder may be behind: an issuer was not found, and a file of the folder was not used.
fn with_folder_error(
    cause: Cause,
    folder_error: trust::FolderError,
    anchors: &TrustAnchors,
) -> Cause {
    use CauseCode as Code;
    let codes = [Code::IssuerUnknown, Code::SelfSigned, Code::UntrustedRoot];
    if !codes.contains(&cause.code()) {
        return cause;
    }
    match (folder_error.limit, folder_error.unused) {
        (Some(limit), _) => FileFailure::AnchorsLimited {
            anchors: anchors.clone(),
            limit: limit.reached(),
        }
        .into(),
        (None, Some(file)) => explain::with_unused_file(cause, &file.path, file.problem.as_ref()),
        (None, None) => cause,
    }
}

/// The files whose contents can be the reason for such a failure.
fn files_behind<'a>(cause: &Cause, options: &'a TlsOptions) -> Vec<&'a Path> {
    use CauseCode as Code;
    let anchors = || options.ca_file().into_iter().chain(options.ca_directory());
    let is_about_anchor = || match cause.reason() {
        Reason::Certificate(CertificateFailure::Chain(rejection)) => {
            rejection.role == CertificateRole::TrustAnchor
        }
        _ => false,
    };
    match cause.code() {
        Code::ClientCertificateExpired
        | Code::ClientCertificateUntrusted
        | Code::ClientCertificateRevoked
        | Code::ClientCertificateRejected => {
            let files = options.identity_files().into_iter();
            files.map(PathBuf::as_path).collect()
        }
        Code::IssuerUnknown | Code::SelfSigned | Code::UntrustedRoot | Code::SignatureInvalid => {
            anchors().collect()
        }
        Code::CertificateExpired if is_about_anchor() => anchors().collect(),
        Code::CrlMissing | Code::CrlExpired | Code::CrlNotYetValid | Code::CrlInvalid => {
            let crls = options.crl_files().iter().map(PathBuf::as_path);
            crls.chain(anchors()).collect()
        }
        _ => Vec::new(),
    }
}

/// The reason why there is no connection, and whether another attempt without a session may succeed at once.
pub(crate) struct Failed {
    pub(crate) error: Error,
    /// A session was offered, and the server answered with an alert.
    pub(crate) session_refused: bool,
    /// The deadline passed, and a part of the time was spent on an OCSP responder.
    pub(crate) responder_wait: Option<ResponderWait>,
}

impl From<Error> for Failed {
    fn from(error: Error) -> Self {
        Self {
            error,
            session_refused: false,
            responder_wait: None,
        }
    }
}

impl fmt::Debug for TlsContext {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("TlsContext")
            .field("options", &self.shared().loaded.options)
            .field("anchors", &self.shared().loaded.anchors)
            .finish_non_exhaustive()
    }
}

impl ServerName {
    pub(crate) fn parse(host: &str) -> Result<Self> {
        if let Some(address) = ip_address(host) {
            return Ok(Self::Ip(address));
        }
        // The final dot of an absolute name is not part of names in certificates or of SNI.
        let name = host.strip_suffix('.').unwrap_or(host);
        // OpenSSL matches a name that begins with a dot with any name below it, so only whole labels are accepted.
        let is_label = |label: &str| {
            (1..=63).contains(&label.len())
                && label
                    .bytes()
                    .all(|b| b.is_ascii_alphanumeric() || b == b'-' || b == b'_')
        };
        if name.len() <= 253 && name.split('.').all(is_label) {
            return Ok(Self::Dns(name.to_owned()));
        }
        let host = host.to_owned();
        Err(Error::failed(
            Stage::Tls,
            TlsFailure::UnusableHostName { host },
        ))
    }
}

/// Loads the files of a context in a forked child.
fn fresh_in_child(inherited: &InUse) -> Result<Arc<InUse>> {
    let options = &inherited.loaded.options;
    let files = Files::of(options, Reading::Again);
    let fresh = sharing::fresh(options, files)?;
    fresh
        .loaded
        .may_replace(&inherited.loaded, SystemTime::now())?;
    Ok(fresh)
}

/// The context that a process used last: an inherited one, or its replacement.
fn newest(inherited: &Arc<InUse>) -> &InUse {
    match inherited.successor.as_ref().and_then(|later| later.get()) {
        Some(successor) => successor.made(),
        None => inherited,
    }
}

/// Wraps the context so that each process has a separate one.
fn own(shared: Arc<InUse>) -> Arc<PerProcess<Arc<InUse>>> {
    Arc::new(PerProcess::new(shared))
}
