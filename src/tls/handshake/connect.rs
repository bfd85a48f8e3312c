//! A handshake: from a context and a stream to a verified [`TlsStream`].

use std::io::{Read, Write};
use std::time::{Instant, SystemTime};

use openssl::error::ErrorStack;
use openssl::ssl::{HandshakeError, Ssl, SslCipherRef, SslRef};
use openssl::x509::X509VerifyResult;
use openssl::x509::verify::X509CheckFlags;

use super::context::TlsContext;
use super::diagnose;
use super::rejection::{self, Rules};
use super::report::{HandshakeReport, Verification};
use super::session::{SessionCache, SessionOffer};
use super::stream::TlsStream;
use super::tap::{self, Tap};
use super::verify::VerifyWatch;
use crate::cause::{Category, Cause, CauseCode};
use crate::data::certificate::TrustAnchors;
use crate::error::{Error, Result, Stage};
use crate::explain;
use crate::ffi::callback;
use crate::ffi::fork;
use crate::ffi::openssl::{self as ffi, clear_errors};
use crate::idn;
use crate::reason::certificate::{CertificateFailure, ServerName};
use crate::reason::files::FileFailure;
use crate::reason::revocation::ResponderWait;
use crate::reason::tls::{TlsFailure, TlsPhase};
use crate::time::Deadline;
use crate::tls::config::trust;
use crate::tls::library::internal;
use crate::tls::ocsp::Checker;

impl TlsContext {
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
                self.count(&report);
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
                    Some(io) if tap::is_timeout(io) => {
                        responder_wait = checked.findings.wait();
                        let took = started.elapsed();
                        let waited = responder_wait.as_ref();
                        let waited = waited.filter(|waited| waited.is_considerable(took));
                        let reason = diagnose::not_tls(&peer);
                        let reason = reason.unwrap_or_else(|| TlsFailure::HandshakeTimeout {
                            received: peer.received,
                            waited: waited.cloned(),
                        });
                        reason.into()
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
