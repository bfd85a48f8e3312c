//! `TlsContext`: the OpenSSL context and the files that all connections of a client share, also in a forked child.

use std::fmt;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::SystemTime;

use openssl::ssl::SslRef;

use super::diagnose::Peer;
use super::report::HandshakeReport;
use super::sharing::{self, InUse};
use super::tap::Tap;
use crate::cause::{Cause, CauseCode};
use crate::data::certificate::{Certificate, CertificateRole, TrustAnchors};
use crate::data::revocation::RevocationStatus;
use crate::error::Result;
use crate::explain;
use crate::ffi::fork::{self, Abandon, PerProcess};
use crate::ffi::openssl as ffi;
use crate::options::TlsOptions;
use crate::reason::Reason;
use crate::reason::certificate::{CertificateFailure, ServerName};
use crate::reason::tls::TlsPhase;
use crate::tls::config::identity::Accepted;
use crate::tls::config::reading::{Files, Reading};

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
    pub(super) fn successor(&self) -> Option<Self> {
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

    /// Counts a successful handshake.
    pub(super) fn count(&self, report: &HandshakeReport) {
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

    /// Returns whether there is a session that the next connection to `server` would offer.
    pub(crate) fn holds_session(&self, server: &str) -> bool {
        let sessions = newest(self.shared()).sessions.as_ref();
        sessions.is_some_and(|sessions| sessions.holds_session(server))
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

impl fmt::Debug for TlsContext {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("TlsContext")
            .field("options", &self.shared().loaded.options)
            .field("anchors", &self.shared().loaded.anchors)
            .finish_non_exhaustive()
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
