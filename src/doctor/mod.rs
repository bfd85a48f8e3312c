//! The examination of a deployment, stage by stage: the findings, the duration, and the error, if any.
//!
//! [`examine`] goes through the stages of every connection (options, resolve, connect, tls, revocation, hello,
//! authentication, command) for each host separately, outside of any pool, and keeps the findings. The hosts are those
//! of the connection string or of DNS. As for a client, the members of a replica set that they name are added, and the
//! members that those name. The examination changes nothing on the server. Besides the commands of authentication it
//! runs only `ping` and `buildInfo` and, if the user was rejected, a hello that requests the databases that have the
//! user. With TLS, a second connection shows if the server accepts the sessions that it issues; it is closed after
//! hello. Before connecting, the examination reads the files that the options name.
//!
//! | file | holds |
//! |---|---|
//! | `mod.rs` | the findings, as plain data; from options to hosts |
//! | `deployment.rs` | the threads: many hosts in parallel, until no new one is named |
//! | `host.rs` | the examination of one host |
//! | `topology.rs` | the result of all examinations together: the topology of a client, as plain data |
//! | `judge.rs` | the rules: the problems of all hosts together |

mod deployment;
mod host;
mod judge;
mod topology;

use std::collections::HashSet;
use std::fmt;
use std::net::SocketAddr;
use std::time::{Duration, Instant, SystemTime};

pub use self::topology::{Member, TopologyFinding, TopologyFindingCode, TopologyReport};
use crate::address::ServerAddress;
use crate::conn::Connector;
use crate::data::hello::Hello;
use crate::error::{Error, Result, Stage};
use crate::options::{AuthMechanism, ClientOptions, ClientOptionsBuilder};
use crate::printable::Quoted;
use crate::srv;
pub use crate::srv::SeedList;
use crate::tls::{
    CertificateRevocation, FileReport, Files, FindingCode, HandshakeReport, Library, Reading,
    Severity, TrustAnchors,
};
use crate::uri::{ConnectionString, Warning};

/// The result of an examination.
#[derive(Clone, Debug)]
#[non_exhaustive]
pub struct Diagnosis {
    /// The examinations, one for each host; a single one without a host if the options are not usable. The hosts of the
    /// seed list come first in its order, then the discovered members, sorted.
    pub examinations: Vec<Examination>,
    /// The result for all hosts together, or `None` if the options are not usable or DNS names no hosts.
    pub topology: Option<TopologyReport>,
}

/// The findings about one host.
#[derive(Clone, Debug)]
#[non_exhaustive]
pub struct Examination {
    /// The host, or `None` if the options are not usable.
    pub server: Option<ServerAddress>,
    /// The stages that were reached, in their order; the last one may have failed.
    pub stages: Vec<StageReport>,
    /// The error that ended the examination, or `None` after success.
    pub error: Option<Error>,
    /// Problems that did not cause a failure but are worth knowing.
    pub warnings: Vec<String>,
    /// The result of DNS for the name in the connection string, or `None` without `mongodb+srv`. It is equal for all
    /// hosts, and part of the stage [`Stage::Resolve`].
    pub seed_list: Option<SeedList>,
    /// The ASCII form of the host's name, which DNS, SNI and verification use; `None` if the name is ASCII itself, or
    /// came from a server.
    pub dns_name: Option<String>,
    /// The number of milliseconds by which the server's clock is ahead of this host's clock; negative if it is behind,
    /// and `None` if the server did not report its time. The error is at most half of the round trip time of hello.
    pub clock_ahead: Option<i64>,
}

/// The findings of one stage.
#[derive(Clone, Debug)]
#[non_exhaustive]
pub struct StageReport {
    /// The stage.
    pub stage: Stage,
    /// The outcome of the stage.
    pub outcome: Outcome,
    /// The duration of the stage.
    pub duration: Duration,
    /// The findings of the stage.
    pub findings: Findings,
}

/// The outcome of a stage.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum Outcome {
    /// The stage succeeded.
    Passed,
    /// The stage failed with the error of the examination.
    Failed,
    /// The stage had nothing to do, for the given reason.
    Skipped(String),
}

impl Outcome {
    /// `passed`, `failed` or `skipped`.
    pub fn as_str(&self) -> &'static str {
        match self {
            Self::Passed => "passed",
            Self::Failed => "failed",
            Self::Skipped(_) => "skipped",
        }
    }
}

impl fmt::Display for Outcome {
    /// The outcome, and the reason if the stage was skipped.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Skipped(reason) => write!(f, "skipped: {reason}"),
            _ => f.write_str(self.as_str()),
        }
    }
}

/// The findings of a stage, by its kind.
#[derive(Clone, Debug)]
#[non_exhaustive]
pub enum Findings {
    /// No findings.
    None,
    /// Options: the TLS state and the sources of trust.
    Options {
        /// The source of the trust anchors, or `None` without TLS or if the stage failed.
        trust_anchors: Option<TrustAnchors>,
        /// The files that the options name: the CA file, the files with CRLs, the client certificate.
        files: Vec<FileReport>,
        /// The OpenSSL in use, or `None` without TLS.
        library: Option<Library>,
    },
    /// Resolve: the addresses in the order in which they are tried.
    Addresses(Vec<SocketAddr>),
    /// Connect: the address that answered, or `None` for a Unix socket.
    Peer(Option<SocketAddr>),
    /// Resolve, with a proxy: its addresses. The proxy resolves the name of the server.
    ProxyAddresses {
        /// The address of the proxy, as the options name it.
        proxy: ServerAddress,
        /// The addresses of the proxy in the order in which they are tried.
        addresses: Vec<SocketAddr>,
    },
    /// Connect, with a proxy: the proxy answered, and has connected to the server.
    ProxyPeer {
        /// The address of the proxy, as the options name it.
        proxy: ServerAddress,
        /// The address of the proxy that answered.
        peer: Option<SocketAddr>,
    },
    /// TLS: the facts of the handshake.
    Handshake(Box<HandshakeReport>),
    /// Revocation: the result for each certificate.
    Revocation {
        /// The number of CRLs that were used.
        crls: usize,
        /// The certificates of the verified chain below its anchor, starting with the server's.
        certificates: Vec<CertificateRevocation>,
    },
    /// Hello: the server's description of itself.
    Hello(Box<Hello>),
    /// Authentication: the user that the server has authenticated.
    Authentication {
        /// The mechanism.
        mechanism: AuthMechanism,
        /// The database that knows the user.
        source: String,
        /// The user. With MONGODB-X509, this is the name that the server reads in the certificate.
        user: Option<String>,
    },
    /// Command: the server's version, if it is known, and the time of one ping.
    Command {
        /// The version, such as `7.0.5`.
        server_version: Option<String>,
        /// The time from sending `ping` to its reply.
        round_trip: Duration,
    },
}

impl Diagnosis {
    /// Returns true if no host has a problem, and neither have all of them together.
    pub fn is_ok(&self) -> bool {
        let findings = self.topology.iter().flat_map(|topology| &topology.findings);
        let mut examinations = self.examinations.iter();
        examinations.all(|examination| examination.error.is_none())
            && findings
                .into_iter()
                .all(|finding| finding.severity != Severity::Failure)
    }

    /// The most informative failed examination: the first of a host that a client would use, or else the first.
    ///
    /// ```no_run
    /// # let diagnosis = mongotls::doctor::examine("mongodb://db.example.com/");
    /// if let Some(examination) = diagnosis.failed() {
    ///     println!("failed at {}", examination.stage());
    /// }
    /// ```
    pub fn failed(&self) -> Option<&Examination> {
        let failed = || {
            let examinations = self.examinations.iter();
            examinations.filter(|examination| examination.error.is_some())
        };
        let is_used = |examination: &&Examination| match (&self.topology, &examination.server) {
            (Some(topology), Some(server)) => topology.description.servers.contains_key(server),
            _ => false,
        };
        failed().find(is_used).or_else(|| failed().next())
    }

    /// The error of the [most informative](Self::failed) failed examination or, if each host alone has no problem, the
    /// first failure of all of them together.
    pub fn error(&self) -> Option<Error> {
        if let Some(failed) = self.failed() {
            return failed.error.clone();
        }
        let mut findings = self.topology.iter().flat_map(|topology| &topology.findings);
        let failure = findings.find(|finding| finding.severity == Severity::Failure)?;
        Some(failure.to_error())
    }
}

impl Examination {
    /// The last stage that was reached.
    pub fn stage(&self) -> Stage {
        self.stages
            .last()
            .map_or(Stage::Options, |report| report.stage)
    }

    /// The server's description of itself, if hello was reached.
    pub fn hello(&self) -> Option<&Hello> {
        self.stages
            .iter()
            .find_map(|report| match &report.findings {
                Findings::Hello(hello) => Some(&**hello),
                _ => None,
            })
    }

    /// The facts of the TLS handshake, if there was a successful one.
    pub fn handshake(&self) -> Option<&HandshakeReport> {
        self.stages
            .iter()
            .find_map(|report| match &report.findings {
                Findings::Handshake(report) => Some(&**report),
                _ => None,
            })
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

/// Examines every host that a connection string names, and every member that those name.
///
/// With `directConnection=true` or `loadBalanced=true`, only the single host is examined. Up to 16 hosts are examined
/// in parallel, each within `connectTimeoutMS` for the connection, and at most 1000 members in total.
///
/// ```no_run
/// let diagnosis = mongotls::doctor::examine("mongodb://db.example.com/?tlsCAFile=ca.pem");
/// if let Some(error) = diagnosis.error() {
///     println!("{error}");
///     if let Some(cause) = error.cause() {
///         println!("what to do: {}", cause.remedy());
///     }
/// }
/// ```
pub fn examine(uri: &str) -> Diagnosis {
    examine_with(uri, |builder| builder)
}

/// Examines the deployment with options that `change` adds to those of the connection string.
///
/// ```no_run
/// use mongotls::doctor;
/// use mongotls::options::Secret;
///
/// let diagnosis = doctor::examine_with("mongodb://ada@db.example.com/", |builder| {
///     builder.password(Secret::new("pencil"))
/// });
/// println!("{}", diagnosis.is_ok());
/// ```
pub fn examine_with(
    uri: &str,
    change: impl FnOnce(ClientOptionsBuilder) -> ClientOptionsBuilder,
) -> Diagnosis {
    let started = Instant::now();
    let parsed = ConnectionString::parse(uri).and_then(|uri| {
        let warnings = uri.warnings().iter().map(Warning::to_string).collect();
        Ok((change(uri.into_builder()).build()?, warnings))
    });
    examine_parsed(started, parsed)
}

/// Examines every host that options name, and every member that those name, as [`examine`] does.
///
/// ```no_run
/// use mongotls::{ClientOptions, doctor};
///
/// let options = ClientOptions::builder().host("db.example.com:27017".parse()?).build()?;
/// for examination in doctor::examine_options(&options).examinations {
///     println!("{:?}", examination.stage());
/// }
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
pub fn examine_options(options: &ClientOptions) -> Diagnosis {
    let checked = options.clone().checked();
    examine_parsed(Instant::now(), checked.map(|options| (options, Vec::new())))
}

fn examine_parsed(started: Instant, parsed: Result<(ClientOptions, Vec<String>)>) -> Diagnosis {
    let mut warnings = Vec::new();
    let mut files = Vec::new();
    let prepared = parsed.and_then(|(options, found)| {
        warnings = found;
        warnings.extend(options.without_effect());
        // The files are read only once, because a pipe has no data for a second time.
        let tls = options.tls.as_ref();
        let read = tls.map(|tls| (tls, Files::of(tls, Reading::Once)));
        if tls.is_some() {
            warnings.extend(Library::inspect().problems());
        }
        if let Some((tls, read)) = &read {
            files = FileReport::of_options(tls, read, SystemTime::now());
        }
        let connector = Connector::with_files(&options, read.map(|(_, read)| read))?;
        Ok((options, connector))
    });
    let took = started.elapsed();
    // For a file that loads, the server decides. For a file that does not load, the error explains the problem.
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
        dns_name: None,
        clock_ahead: None,
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
        alone(examination)
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
        // A TXT record may change the options that determine the connections.
        let completed = srv::resolve(&mut options)
            .and_then(|seed_list| Ok((seed_list, connector.with_options(&options)?)));
        match completed {
            Ok((found, anew)) => (seed_list, connector) = (Some(found), anew),
            Err(error) if error.stage() == Some(Stage::Resolve) => {
                let mut examination = blank(None, None);
                examination.passed(Stage::Options, took, of_options(&connector));
                examination.failed(Stage::Resolve, asked.elapsed(), error);
                return alone(examination);
            }
            Err(error) => return unusable(error),
        }
    }
    let of_options = of_options(&connector);
    let found = deployment::examine_all(&options, |server| {
        let mut examination = blank(Some(server.clone()), seed_list.clone());
        examination.passed(Stage::Options, took, of_options.clone());
        host::examine(server, &options, &connector, &mut examination);
        examination
    });
    let deployment::DeploymentExaminations {
        mut examinations,
        is_complete,
    } = found;
    for examination in &mut examinations {
        let mut told = HashSet::new();
        let warnings = &mut examination.warnings;
        warnings.retain(|warning| told.insert(warning.clone()));
    }
    let topology = judge::judge(&options, &mut examinations, is_complete);
    Diagnosis {
        examinations,
        topology: Some(topology),
    }
}

/// A diagnosis of findings from before the hosts were known.
fn alone(examination: Examination) -> Diagnosis {
    Diagnosis {
        examinations: vec![examination],
        topology: None,
    }
}

/// The problems of a file, up to a severity. Many problems of one kind, as in a bundle of old CAs, are reported by the
/// first one and a count.
fn warnings_of(file: &FileReport, worst: Severity) -> Vec<String> {
    const TOLD_EACH: usize = 3;
    let name = format!(
        "{} {}",
        file.option.unwrap_or_default(),
        Quoted(&file.path.display().to_string())
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
