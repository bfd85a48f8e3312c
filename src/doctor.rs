//! The examination of a deployment, stage by stage: what was learned, how long it took, and why it
//! ended if it did.
//!
//! [`examine`] goes the way of every connection (options, resolve, connect, tls, revocation, hello,
//! authentication, command) for each host by itself, outside of any pool, and keeps what it finds.
//! It changes nothing on the server: beside those of authentication, its only commands are `ping` and
//! `buildInfo`, and a hello that asks which databases know the user, where the user was refused. Before the
//! network it looks at the files that the options name.

use std::net::SocketAddr;
use std::time::{Duration, Instant, SystemTime};

use bson::{RawDocumentBuf, rawdoc};

use crate::address::ServerAddress;
use crate::cause::CauseCode;
use crate::conn::{Connection, Connector, Hello, Learned, Observer, Place, Request};
use crate::error::{Error, ErrorKind, Result, Stage};
use crate::options::{AuthMechanism, ClientOptions, ProxyOptions};
use crate::srv;
pub use crate::srv::SeedList;
use crate::time::{Deadline, TimeoutKind};
use crate::tls::{
    self, CertificateRevocation, FileReport, FindingCode, HandshakeReport, Library,
    RevocationStatus, Severity, TrustAnchors,
};
use crate::uri::Warning;

/// What an examination found.
#[derive(Clone, Debug)]
#[non_exhaustive]
pub struct Diagnosis {
    /// One for each host; a single one without a host if the options are not usable.
    pub examinations: Vec<Examination>,
}

/// What was found about one host.
#[derive(Clone, Debug)]
#[non_exhaustive]
pub struct Examination {
    /// The host; none if the options are not usable.
    pub server: Option<ServerAddress>,
    /// The stages that were reached, in their order; the last one may have failed.
    pub stages: Vec<StageReport>,
    /// Why it ended; none if all is well.
    pub error: Option<Error>,
    /// What is well and still worth knowing.
    pub warnings: Vec<String>,
    /// What DNS says about the name in the connection string; none without `mongodb+srv`. It is the same for all
    /// hosts, and part of the stage [`Stage::Resolve`].
    pub seed_list: Option<SeedList>,
}

/// What was found at one stage.
#[derive(Clone, Debug)]
#[non_exhaustive]
pub struct StageReport {
    /// The stage.
    pub stage: Stage,
    /// How it ended.
    pub outcome: Outcome,
    /// How long it took.
    pub duration: Duration,
    /// What was learned.
    pub findings: Findings,
}

/// How a stage ended.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum Outcome {
    /// Well.
    Passed,
    /// With the error of the examination.
    Failed,
    /// There was nothing to do, for the reason given.
    Skipped(String),
}

/// What a stage learned.
#[derive(Clone, Debug)]
#[non_exhaustive]
pub enum Findings {
    /// Nothing.
    None,
    /// Options: whether TLS is on, and what it trusts.
    Options {
        /// Where the trust anchors come from; none without TLS, or if the stage failed.
        trust_anchors: Option<TrustAnchors>,
        /// The files that the options name: the CA file, those with CRLs, the client certificate.
        files: Vec<FileReport>,
        /// The OpenSSL in use; none without TLS.
        library: Option<Library>,
    },
    /// Resolve: the addresses in the order in which they are tried.
    Addresses(Vec<SocketAddr>),
    /// Connect: the address that answered; none for a Unix socket.
    Peer(Option<SocketAddr>),
    /// Resolve, where there is a proxy: its addresses. The name of the server is left to it.
    ProxyAddresses {
        /// Where the proxy listens, as the options have it.
        proxy: ServerAddress,
        /// Its addresses in the order in which they are tried.
        addresses: Vec<SocketAddr>,
    },
    /// Connect, where there is a proxy: it answered, and has connected to the server.
    ProxyPeer {
        /// Where the proxy listens, as the options have it.
        proxy: ServerAddress,
        /// The address of the proxy that answered.
        peer: Option<SocketAddr>,
    },
    /// TLS: the facts of the handshake.
    Handshake(Box<HandshakeReport>),
    /// Revocation: what was found out about each certificate.
    Revocation {
        /// How many CRLs were used.
        crls: usize,
        /// The certificates of the verified chain below its anchor, the server's first.
        certificates: Vec<CertificateRevocation>,
    },
    /// Hello: what the server said about itself.
    Hello(Box<Hello>),
    /// Authentication: who the server takes this client for.
    Authentication {
        /// The mechanism.
        mechanism: AuthMechanism,
        /// The database that knows the user.
        source: String,
        /// The user; with MONGODB-X509 as the server reads it in the certificate.
        user: Option<String>,
    },
    /// Command: the server's version, if it told, and the time of one ping.
    Command {
        /// The version, such as `7.0.5`.
        server_version: Option<String>,
        /// The time from sending `ping` to its reply.
        round_trip: Duration,
    },
}

impl Diagnosis {
    /// Whether all is well with every host.
    pub fn is_ok(&self) -> bool {
        self.examinations
            .iter()
            .all(|examination| examination.error.is_none())
    }
}

impl Examination {
    /// The stage that was reached last.
    pub fn stage(&self) -> Stage {
        self.stages
            .last()
            .map_or(Stage::Options, |report| report.stage)
    }

    fn passed(&mut self, stage: Stage, duration: Duration, findings: Findings) {
        self.stages.push(StageReport {
            stage,
            outcome: Outcome::Passed,
            duration,
            findings,
        });
    }

    fn skipped(&mut self, stage: Stage, why: &str) {
        let outcome = Outcome::Skipped(why.to_owned());
        self.stages.push(StageReport {
            stage,
            outcome,
            duration: Duration::ZERO,
            findings: Findings::None,
        });
    }

    fn failed(&mut self, stage: Stage, duration: Duration, error: Error) {
        self.stages.push(StageReport {
            stage,
            outcome: Outcome::Failed,
            duration,
            findings: Findings::None,
        });
        self.error = Some(error);
    }
}

/// Examines every host that a connection string names.
pub fn examine(uri: &str) -> Diagnosis {
    let started = Instant::now();
    let parsed = ClientOptions::parse(uri).map(|(options, found)| {
        let warnings = found.iter().map(Warning::to_string).collect();
        (options, warnings)
    });
    examine_parsed(started, parsed)
}

/// Examines every host that options name.
pub fn examine_options(options: &ClientOptions) -> Diagnosis {
    examine_parsed(Instant::now(), Ok((options.clone(), Vec::new())))
}

fn examine_parsed(started: Instant, parsed: Result<(ClientOptions, Vec<String>)>) -> Diagnosis {
    let mut warnings = Vec::new();
    let mut files = Vec::new();
    let prepared = parsed.and_then(|(options, found)| {
        warnings = found;
        let tls = options.tls.iter();
        files.extend(tls.flat_map(|tls| FileReport::of_options(tls, SystemTime::now())));
        let connector = Connector::new(&options)?;
        Ok((options, connector))
    });
    let took = started.elapsed();
    // The server has the last word on a file that loads; one that does not is told by the error.
    let worst = match prepared {
        Ok(_) => Severity::Failure,
        Err(_) => Severity::Warning,
    };
    warnings.extend(files.iter().flat_map(|file| warnings_of(file, worst)));
    let blank = |server, seed_list| Examination {
        server,
        stages: Vec::new(),
        error: None,
        warnings: warnings.clone(),
        seed_list,
    };
    let unusable = |error| {
        let mut examination = blank(None, None);
        examination.failed(Stage::Options, took, error);
        if let Some(report) = examination.stages.last_mut() {
            report.findings = Findings::Options {
                trust_anchors: None,
                files: files.clone(),
                library: Some(Library::inspect()),
            };
        }
        Diagnosis {
            examinations: vec![examination],
        }
    };
    let (mut options, mut connector) = match prepared {
        Ok(prepared) => prepared,
        Err(error) => return unusable(error),
    };
    let of_options = |connector: &Connector| Findings::Options {
        trust_anchors: connector.tls().map(|tls| tls.trust_anchors().clone()),
        files: files.clone(),
        library: connector.tls().map(|_| Library::inspect()),
    };
    let mut seed_list = None;
    if options.srv.is_some() {
        let asked = Instant::now();
        // A TXT record may change what connections are made for.
        let completed = srv::resolve(&mut options)
            .and_then(|seed_list| Ok((seed_list, Connector::new(&options)?)));
        match completed {
            Ok((found, anew)) => (seed_list, connector) = (Some(found), anew),
            Err(error) if error.stage() == Some(Stage::Resolve) => {
                let mut examination = blank(None, None);
                examination.passed(Stage::Options, took, of_options(&connector));
                examination.failed(Stage::Resolve, asked.elapsed(), error);
                return Diagnosis {
                    examinations: vec![examination],
                };
            }
            Err(error) => return unusable(error),
        }
    }
    let hosts = options.hosts.iter().map(|host| {
        let mut examination = blank(Some(host.clone()), seed_list.clone());
        examination.passed(Stage::Options, took, of_options(&connector));
        examine_host(host, &options, &connector, &mut examination);
        examination
    });
    Diagnosis {
        examinations: hosts.collect(),
    }
}

/// What is wrong with a file, up to a severity. Much of one kind, as in a bundle of old CAs, is told by
/// the first and a number.
fn warnings_of(file: &FileReport, worst: Severity) -> Vec<String> {
    const TOLD_EACH: usize = 3;
    let name = format!(
        "{} {:?}",
        file.option.unwrap_or_default(),
        file.path.display().to_string()
    );
    let findings = file
        .findings
        .iter()
        .filter(|finding| finding.severity <= worst);
    let mut kinds: Vec<(FindingCode, Vec<&str>)> = Vec::new();
    for finding in findings {
        match kinds.iter_mut().find(|(code, _)| *code == finding.code) {
            Some((_, messages)) => messages.push(&finding.message),
            None => kinds.push((finding.code, vec![&finding.message])),
        }
    }
    let told = kinds.iter().flat_map(|(_, messages)| {
        let more = match messages.len() {
            count if count > TOLD_EACH => format!("; and {} more like it", count - 1),
            _ => String::new(),
        };
        let each = if more.is_empty() { TOLD_EACH } else { 1 };
        let name = &name;
        messages
            .iter()
            .take(each)
            .map(move |message| format!("{name}: {message}{more}"))
    });
    told.collect()
}

fn examine_host(
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
    let mut watch = Watch {
        examination,
        proxy: match server {
            ServerAddress::Tcp { .. } => options.proxy.as_ref().map(ProxyOptions::address),
            ServerAddress::Unix { .. } => None,
        },
        crls: connector.tls().map(|tls| tls.crl_count()),
        last: Instant::now(),
    };
    let established = connector.establish(server, &Place::default(), None, &mut watch);
    let took = watch.last.elapsed();
    let mut connection = match established {
        Ok(connection) => connection,
        Err(error) => {
            let error = closer(error, server, options, connector);
            let stage = error.stage().unwrap_or(Stage::Connect);
            if stage == Stage::Revocation {
                examination.skipped(Stage::Tls, "the revocation check ended the handshake");
            }
            return examination.failed(stage, took, error);
        }
    };
    if let Some(report) = connection.handshake() {
        warn_of_ends(report, examination);
    }
    if examination.stage() != Stage::Authentication {
        let why = match connection.hello().is_arbiter() {
            true if options.credential.is_some() => "an arbiter knows no users",
            _ => "no user is configured",
        };
        examination.skipped(Stage::Authentication, why);
    }
    let started = Instant::now();
    match ask(&mut connection, options) {
        Ok(findings) => examination.passed(Stage::Command, started.elapsed(), findings),
        Err(error) => examination.failed(Stage::Command, started.elapsed(), with_cause(error)),
    }
}

/// Tells a refused user more than the server does.
fn closer(
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
            connector.look_closer(server, credential, &databases, error)
        }
        _ => error,
    }
}

/// Pings the server and asks for its version.
fn ask(connection: &mut Connection, options: &ClientOptions) -> Result<Findings> {
    let limit = options.socket_timeout.or(options.connect_timeout);
    let kind = if options.socket_timeout.is_some() {
        TimeoutKind::Socket
    } else {
        TimeoutKind::Connect
    };
    let deadline = Deadline::after(Instant::now(), limit, kind);
    let mut run = |body: RawDocumentBuf| {
        let request = Request {
            database: "admin",
            body: &body,
            sequences: &[],
            read_preference: None,
        };
        connection.run(&request, Some(deadline))
    };
    let started = Instant::now();
    run(rawdoc! { "ping": 1_i32 })?;
    let round_trip = started.elapsed();
    // A user without rights may not ask, and the version is not worth a failure.
    let build_info = run(rawdoc! { "buildInfo": 1_i32 }).ok();
    let server_version =
        build_info.and_then(|reply| reply.get_str("version").ok().map(str::to_owned));
    Ok(Findings::Command {
        server_version,
        round_trip,
    })
}

/// Every failure that the doctor shows has a cause, also that of the ping.
fn with_cause(error: Error) -> Error {
    if error.cause().is_some() {
        return error;
    }
    let code = match error.kind() {
        ErrorKind::Timeout => CauseCode::HandshakeTimeout,
        // Unauthorized, AuthenticationFailed
        ErrorKind::Command
            if error
                .command()
                .is_some_and(|failure| matches!(failure.code, 13 | 18)) =>
        {
            CauseCode::AuthenticationFailed
        }
        ErrorKind::Command => CauseCode::HelloFailed,
        _ => CauseCode::NotMongodb,
    };
    let remedy = match code {
        CauseCode::AuthenticationFailed => {
            "Name a user in the connection string, or give the user a role that may run this command; the connection \
             itself is sound."
        }
        _ => "Look at the server's log for this command; the connection itself is sound.",
    };
    error.with_cause(code, remedy)
}

/// Warns of the certificates that the server sent and of those that it was verified with, as far as no
/// file has told of them.
fn warn_of_ends(report: &HandshakeReport, examination: &mut Examination) {
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

/// Turns the stages of an attempt to connect into those of an examination.
struct Watch<'a> {
    examination: &'a mut Examination,
    /// What is gone through; none if nothing is.
    proxy: Option<ServerAddress>,
    /// How many CRLs TLS uses; none without TLS.
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
        if stage == Stage::Connect && self.examination.stage() != Stage::Resolve {
            self.examination
                .skipped(Stage::Resolve, "a Unix socket has no name to resolve");
        }
        let revocation = match &findings {
            Findings::Handshake(report) => report.revocation(),
            _ => Vec::new(),
        };
        // Evidence is looked for within the handshake, and is a stage of its own to people.
        let steps = revocation.iter().flat_map(|found| &found.steps);
        let looked: Duration = steps.map(|step| step.duration).sum();
        self.examination
            .passed(stage, took.saturating_sub(looked), findings);
        match (stage, self.crls) {
            (Stage::Connect, None) => {
                self.examination.skipped(Stage::Tls, "TLS is off");
                self.examination.skipped(Stage::Revocation, "TLS is off");
            }
            (Stage::Tls, Some(crls)) => self.revocation(crls, revocation, looked),
            _ => {}
        }
    }
}

impl Watch<'_> {
    fn revocation(
        &mut self,
        crls: usize,
        certificates: Vec<CertificateRevocation>,
        looked: Duration,
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
                    "whether the certificate {:?} is revoked is not known: {tried}",
                    found.subject
                ));
            }
        }
        let findings = Findings::Revocation { crls, certificates };
        self.examination.passed(Stage::Revocation, looked, findings);
    }
}

#[cfg(test)]
mod tests {
    use mongotls_testbench::server::{ReplyFault, Server, fail_command};

    use super::*;

    #[test]
    fn a_refused_ping_is_told_once_with_its_cause() {
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
