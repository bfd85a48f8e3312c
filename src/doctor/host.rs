//! The examination of one host: an attempt to connect, watched stage by stage, and two commands on the connection.
//!
//! In: a host, and the connector of all connections. Out: the stages of an [`Examination`], its error and its warnings.
//! Nothing here depends on other hosts; many threads examine hosts in parallel.

use std::time::{Duration, Instant, SystemTime};

use bson::{DateTime, RawDocumentBuf, rawdoc};

use super::report::{Examination, Findings};
use crate::address::ServerAddress;
use crate::conn::{Connection, Connector, Learned, Observer, REFUSED_SESSION_REMEDY, Request};
use crate::data::hello::Hello;
use crate::error::{Error, ErrorKind, Result, Stage};
use crate::options::{AuthMechanism, ClientOptions, ProxyOptions};
use crate::printable::Quoted;
use crate::reason::hello::{ExchangeFailure, FirstCommandProblem};
use crate::server_code::{AUTHENTICATION_FAILED, UNAUTHORIZED};
use crate::time::{Deadline, TimeoutKind};
use crate::tls::{self, CertificateRevocation, Failed, HandshakeReport, RevocationStatus};

/// Goes through all stages of a connection to one host, and adds the results to an examination that already has the stage
/// of the options.
pub(super) fn examine(
    server: &ServerAddress,
    options: &ClientOptions,
    connector: &Connector,
    examination: &mut Examination,
) {
    for option in options.tls.iter().flat_map(|tls| tls.relaxed()) {
        examination
            .warnings
            .push(format!("{option}=true relaxes the check of the server"));
    }
    let mechanism = options.credential.as_ref().and_then(|own| own.mechanism);
    if mechanism == Some(AuthMechanism::MongodbOidc) && options.tls.is_none() {
        let why = "MONGODB-OIDC without TLS: everyone on the way to the server can read the access token, and log in with it; add tls=true";
        examination.warnings.push(why.to_owned());
    }
    let dns_name = connector.dns_name(server);
    if matches!(server, ServerAddress::Tcp { host, .. } if host != dns_name) {
        examination.dns_name = Some(dns_name.to_owned());
    }
    let mut watch = Watch {
        examination,
        proxy: match connector.target(server) {
            ServerAddress::Tcp { .. } => options.proxy.as_ref().map(ProxyOptions::address),
            ServerAddress::Unix { .. } => None,
        },
        crls: connector.tls().map(|tls| tls.crl_count()),
        last: Instant::now(),
    };
    let established = connector.establish_in_full(server, &mut watch);
    let took = watch.last.elapsed();
    let mut connection = match established {
        Ok(connection) => connection,
        Err(error) => {
            let error = with_probed_reason(error, server, options, connector);
            let stage = error.stage().unwrap_or(Stage::Connect);
            if stage == Stage::Revocation {
                examination.skipped(Stage::Tls, "the revocation check ended the handshake");
            }
            return examination.failed(stage, took, error);
        }
    };
    if let Some(report) = connection.handshake() {
        warn_of_expiries(report, examination);
        examination.warnings.extend(weak_settings(report.cipher()));
    }
    if examination.stage() != Stage::Authentication {
        let why = match connection.hello().is_arbiter() {
            true if options.credential.is_some() => "an arbiter knows no users",
            _ => "no user is configured",
        };
        examination.skipped(Stage::Authentication, why);
    }
    let started = Instant::now();
    match ping(&mut connection, options) {
        Ok(findings) => examination.passed(Stage::Command, started.elapsed(), findings),
        Err(error) => examination.failed(Stage::Command, started.elapsed(), with_cause(error)),
    }
    drop(connection);
    let resumed = connector.try_session(server);
    let failed = resumed.and_then(Result::err);
    let warning = failed.as_ref().and_then(session_warning);
    examination.warnings.extend(warning);
}

/// Warns of a second connection that offered the TLS session of the first one and failed, probably because of that.
/// A client continues without a session, so this is not a failure.
fn session_warning(failed: &Failed) -> Option<String> {
    const WHAT: &str =
        "a second connection, which offered the TLS session of the first one, failed";
    let error = &failed.error;
    let message = error.cause()?.message();
    if failed.session_refused {
        return Some(format!(
            "{WHAT}: {message}; the server issues sessions that it does not accept. {REFUSED_SESSION_REMEDY}"
        ));
    }
    let may_be_session_failure = matches!(error.stage(), Some(Stage::Tls | Stage::Hello));
    may_be_session_failure.then(|| {
        format!("{WHAT}: {message}; if it does so each time, set tlsSessionResumption=false in the connection string")
    })
}

/// Finds out why a user was rejected, beyond the server's error.
fn with_probed_reason(
    error: Error,
    server: &ServerAddress,
    options: &ClientOptions,
    connector: &Connector,
) -> Error {
    match &options.credential {
        Some(credential) if error.stage() == Some(Stage::Authentication) => {
            let mut databases = vec!["admin"];
            databases.extend(options.default_database.as_deref());
            databases.dedup();
            connector.probe_rejection(server, credential, &databases, error)
        }
        _ => error,
    }
}

/// Pings the server and queries its version.
fn ping(connection: &mut Connection, options: &ClientOptions) -> Result<Findings> {
    let limit = options.socket_timeout.or(options.connect_timeout);
    let kind = if options.socket_timeout.is_some() {
        TimeoutKind::Socket
    } else {
        TimeoutKind::Connect
    };
    let deadline = Deadline::after(Instant::now(), limit, kind);
    let mut run =
        |body: RawDocumentBuf| connection.run(&Request::new("admin", &body), Some(deadline));
    let started = Instant::now();
    run(rawdoc! { "ping": 1_i32 })?;
    let round_trip = started.elapsed();
    // A user without the right to run buildInfo is not a failure.
    let build_info = run(rawdoc! { "buildInfo": 1_i32 }).ok();
    let server_version =
        build_info.and_then(|reply| reply.get_str("version").ok().map(str::to_owned));
    Ok(Findings::Command {
        server_version,
        round_trip,
    })
}

/// Adds a cause to an error of the ping that has none: every failure that the doctor shows has a cause.
fn with_cause(error: Error) -> Error {
    if error.cause().is_some() {
        return error;
    }
    let problem = match (error.kind(), error.command()) {
        (ErrorKind::Timeout, _) => FirstCommandProblem::Timeout,
        // Unauthorized, AuthenticationFailed
        (ErrorKind::Command, Some(failure))
            if matches!(failure.code, UNAUTHORIZED | AUTHENTICATION_FAILED) =>
        {
            FirstCommandProblem::Unauthorized
        }
        (ErrorKind::Command, _) => FirstCommandProblem::Refused,
        _ => FirstCommandProblem::Other,
    };
    let text = error.message().to_owned();
    error.with_cause(ExchangeFailure::FirstCommand { problem, text })
}

/// Warns of certificates that expire soon, of the server and of its verified chain, except those that a warning about a
/// file covers.
fn warn_of_expiries(report: &HandshakeReport, examination: &mut Examination) {
    let now = SystemTime::now();
    let mut known: Vec<String> = examination
        .stages
        .iter()
        .flat_map(|stage| match &stage.findings {
            Findings::Options { files, .. } => files.as_slice(),
            _ => &[],
        })
        .flat_map(|file| &file.certificates)
        .map(|certificate| certificate.sha256_fingerprint.clone())
        .collect();
    for certificate in report.verified_chain().iter().chain(&report.peer_chain()) {
        if !known.contains(&certificate.sha256_fingerprint) {
            known.push(certificate.sha256_fingerprint.clone());
            examination
                .warnings
                .extend(tls::ends_soon(certificate, now));
        }
    }
}

/// Returns the weakness of a cipher suite that is still accepted, by its name in the IANA registry, or `None`.
fn weak_settings(cipher: &str) -> Option<String> {
    let weaknesses = [
        (
            cipher.starts_with("TLS_RSA_WITH_"),
            "has no forward secrecy (TLS_RSA)",
        ),
        (cipher.ends_with("_CBC_SHA"), "uses CBC with SHA-1"),
    ];
    let found = weaknesses.iter().filter(|(is_weak, _)| *is_weak);
    let found: Vec<_> = found.map(|(_, what)| *what).collect();
    (!found.is_empty()).then(|| {
        format!(
            "weak settings: the cipher suite {cipher} {}; let the server prefer TLS 1.3, or ECDHE with AES-GCM or ChaCha20-Poly1305",
            found.join(" and ")
        )
    })
}

/// Turns the stages of an attempt to connect into those of an examination.
struct Watch<'a> {
    examination: &'a mut Examination,
    /// The current stage, if there is one.
    proxy: Option<ServerAddress>,
    /// The number of CRLs that TLS uses, or `None` without TLS.
    crls: Option<usize>,
    last: Instant,
}

impl Observer for Watch<'_> {
    fn finished(&mut self, stage: Stage, took: Duration, learned: Learned<'_>) {
        self.last = Instant::now();
        let findings = match learned {
            Learned::Addresses(addresses) => match self.proxy.clone() {
                Some(proxy) => Findings::ProxyAddresses {
                    proxy,
                    addresses: addresses.to_vec(),
                },
                None => Findings::Addresses(addresses.to_vec()),
            },
            Learned::Peer(peer) => match self.proxy.clone() {
                Some(proxy) => Findings::ProxyPeer { proxy, peer },
                None => Findings::Peer(peer),
            },
            Learned::Handshake(report) => Findings::Handshake(Box::new(report.clone())),
            Learned::Hello(hello) => Findings::Hello(Box::new(hello.clone())),
            Learned::Authentication(authenticated) => Findings::Authentication {
                mechanism: authenticated.mechanism,
                source: authenticated.source.clone(),
                user: authenticated.user.clone(),
            },
        };
        if let Findings::Hello(hello) = &findings {
            self.examination.clock_ahead = clock_ahead(hello, took, SystemTime::now());
        }
        if stage == Stage::Connect && self.examination.stage() != Stage::Resolve {
            self.examination
                .skipped(Stage::Resolve, "a Unix socket has no name to resolve");
        }
        let revocation = match &findings {
            Findings::Handshake(report) => report.revocation(),
            _ => Vec::new(),
        };
        // The search for revocation evidence is part of the handshake, and is shown as a stage of its own.
        let steps = revocation.iter().flat_map(|found| &found.steps);
        let search_time: Duration = steps.map(|step| step.duration).sum();
        self.examination
            .passed(stage, took.saturating_sub(search_time), findings);
        match (stage, self.crls) {
            (Stage::Connect, None) => {
                self.examination.skipped(Stage::Tls, "TLS is off");
                self.examination.skipped(Stage::Revocation, "TLS is off");
            }
            (Stage::Tls, Some(crls)) => self.revocation(crls, revocation, search_time),
            _ => {}
        }
    }
}

/// The number of milliseconds by which the server's clock is ahead, if its hello came at `now` after that round trip. The
/// server is assumed to read its clock in the middle of the round trip.
fn clock_ahead(hello: &Hello, took: Duration, now: SystemTime) -> Option<i64> {
    let theirs = hello.local_time?.timestamp_millis();
    let ours = DateTime::from_system_time(now - took / 2).timestamp_millis();
    theirs.checked_sub(ours)
}

impl Watch<'_> {
    fn revocation(
        &mut self,
        crls: usize,
        certificates: Vec<CertificateRevocation>,
        search_time: Duration,
    ) {
        let was_checked =
            |found: &CertificateRevocation| found.status != RevocationStatus::NotChecked;
        if !certificates.iter().any(was_checked) {
            let why = "no CRL is configured, and the certificate comes without a staple and names no OCSP responder, or the options ask for no check";
            return self.examination.skipped(Stage::Revocation, why);
        }
        for found in &certificates {
            if found.status == RevocationStatus::Undetermined {
                let tried = found.steps.iter();
                let tried = tried.map(|step| format!("{} {}", step.evidence, step.outcome));
                let tried = tried.collect::<Vec<_>>().join("; ");
                self.examination.warnings.push(format!(
                    "whether the certificate {} is revoked is not known: {tried}",
                    Quoted(&found.subject)
                ));
            }
        }
        let findings = Findings::Revocation { crls, certificates };
        self.examination
            .passed(Stage::Revocation, search_time, findings);
    }
}

#[cfg(test)]
mod tests {
    use mongotls_testbench::server::{ReplyFault, Server, fail_command};

    use super::*;
    use crate::cause::CauseCode;
    use crate::doctor::examine;

    #[test]
    fn weak_cipher_suites_are_described_by_their_weakness() {
        let weaknesses = |cipher| weak_settings(cipher);
        let end = "; let the server prefer TLS 1.3, or ECDHE with AES-GCM or ChaCha20-Poly1305";
        for (cipher, what) in [
            (
                "TLS_RSA_WITH_AES_256_GCM_SHA384",
                "has no forward secrecy (TLS_RSA)",
            ),
            (
                "TLS_RSA_WITH_AES_128_CBC_SHA",
                "has no forward secrecy (TLS_RSA) and uses CBC with SHA-1",
            ),
            ("TLS_ECDHE_RSA_WITH_AES_128_CBC_SHA", "uses CBC with SHA-1"),
        ] {
            let expected = format!("weak settings: the cipher suite {cipher} {what}{end}");
            assert_eq!(weaknesses(cipher), Some(expected));
        }
        for cipher in [
            "TLS_AES_256_GCM_SHA384",
            "TLS_ECDHE_ECDSA_WITH_AES_256_GCM_SHA384",
            "TLS_ECDHE_RSA_WITH_AES_128_CBC_SHA256",
            "TLS_DHE_RSA_WITH_CHACHA20_POLY1305_SHA256",
        ] {
            assert_eq!(weaknesses(cipher), None);
        }
    }

    #[test]
    fn a_clock_is_compared_with_the_middle_of_the_round_trip() {
        let now = SystemTime::UNIX_EPOCH + Duration::from_secs(1000);
        let of = |ms| Hello {
            local_time: Some(DateTime::from_millis(ms)),
            ..Hello::default()
        };
        let took = Duration::from_secs(2);
        assert_eq!(clock_ahead(&of(999_000), took, now), Some(0));
        assert_eq!(clock_ahead(&of(939_500), took, now), Some(-59_500));
        assert_eq!(clock_ahead(&of(i64::MIN), took, now), None);
        assert_eq!(clock_ahead(&Hello::default(), took, now), None);
    }

    #[test]
    fn a_rejected_ping_is_reported_once_with_its_cause() {
        let server = Server::builder().start();
        for (code, expected) in [
            (13, CauseCode::AuthenticationFailed),
            (18, CauseCode::AuthenticationFailed),
            (59, CauseCode::HelloFailed),
        ] {
            let failure = bson::doc! { "errorCode": code };
            server.configure_fail_point(&fail_command(1, &["ping"], failure));
            let error = examine(&server.uri()).examinations.remove(0).error.unwrap();
            let cause = error.cause().unwrap();
            assert_eq!(cause.code(), expected);
            assert!(
                cause
                    .message()
                    .starts_with("the server answered with error")
            );
            assert_eq!(error.command().unwrap().code, code);
            let address = server.addr();
            assert_eq!(
                error.to_string(),
                format!("server {address}: command failed: {}", cause.message())
            );
            let host = cause.facts().get("server").unwrap().to_string();
            assert_eq!(host, address.to_string());
        }
    }

    #[test]
    fn a_ping_without_an_answer_is_a_time_out() {
        let server = Server::builder().start();
        server.spoil_replies("ping", 1, ReplyFault::Silence);
        let uri = format!("{}?socketTimeoutMS=100", server.uri());
        let error = examine(&uri).examinations.remove(0).error.unwrap();
        assert!(error.is_timeout());
        assert_eq!(error.cause().unwrap().code(), CauseCode::HandshakeTimeout);
    }
}
