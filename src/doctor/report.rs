//! The findings of an examination, as plain data.

use std::fmt;
use std::net::SocketAddr;
use std::time::Duration;

use super::topology::TopologyReport;
use crate::address::ServerAddress;
use crate::data::hello::Hello;
use crate::error::{Error, Stage};
use crate::options::AuthMechanism;
use crate::srv::SeedList;
use crate::tls::{
    CertificateRevocation, FileReport, HandshakeReport, Library, Severity, TrustAnchors,
};

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

    pub(super) fn passed(&mut self, stage: Stage, duration: Duration, findings: Findings) {
        self.stages.push(StageReport {
            stage,
            outcome: Outcome::Passed,
            duration,
            findings,
        });
    }

    pub(super) fn skipped(&mut self, stage: Stage, why: &str) {
        let outcome = Outcome::Skipped(why.to_owned());
        self.stages.push(StageReport {
            stage,
            outcome,
            duration: Duration::ZERO,
            findings: Findings::None,
        });
    }

    pub(super) fn failed(&mut self, stage: Stage, duration: Duration, error: Error) {
        self.stages.push(StageReport {
            stage,
            outcome: Outcome::Failed,
            duration,
            findings: Findings::None,
        });
        self.error = Some(error);
    }
}
