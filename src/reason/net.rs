//! Why a host could not be reached: names, addresses, sockets, and the SOCKS5 proxy on the way.

use std::io;
use std::net::SocketAddr;
use std::path::PathBuf;

use super::io::OsError;
use crate::address::ServerAddress;
use crate::data::limit::{Limit, ReachedLimit};
use crate::time::Elapsed;

/// Why a host could not be reached.
#[derive(Clone, Debug, PartialEq)]
pub(crate) enum NetFailure {
    /// The host name cannot be looked up.
    HostName(HostNameFailure),
    /// Name resolution gave no address.
    Resolve(ResolveFailure),
    /// No TCP connection was established.
    Connect(ConnectFailure),
    /// No connection to a Unix socket was established.
    UnixSocket(UnixSocketFailure),
    /// The SOCKS5 proxy itself cannot be reached.
    ProxyUnreachable {
        proxy: ServerAddress,
        failure: Box<NetFailure>,
        timeout: Elapsed,
    },
    /// The SOCKS5 proxy did not connect to the server.
    Proxy(ProxyFailure),
}

impl NetFailure {
    /// Returns true if the resolver did not answer in time.
    pub(crate) fn is_resolver_timeout(&self) -> bool {
        match self {
            Self::Resolve(ResolveFailure { problem, .. }) => {
                matches!(problem, ResolveProblem::TimedOut(_))
            }
            Self::ProxyUnreachable { failure, .. } => failure.is_resolver_timeout(),
            _ => false,
        }
    }

    /// The limit of this host that is the reason, if one is.
    pub(crate) fn reached_limit(&self) -> Option<ReachedLimit> {
        match self {
            Self::Resolve(ResolveFailure { problem, .. }) => match problem {
                ResolveProblem::Limited(reached) => Some(reached.clone()),
                _ => None,
            },
            Self::Connect(failure) => match failure.closest()? {
                (ConnectProblem::Limit(_), attempt) => attempt.error.limit.clone(),
                _ => None,
            },
            Self::UnixSocket(failure) => failure.error.limit.clone(),
            Self::ProxyUnreachable { failure, .. } => failure.reached_limit(),
            Self::HostName(_) | Self::Proxy(_) => None,
        }
    }

    /// Returns true if a proxy failed before the client asked it to connect to the server, which says nothing about
    /// the server.
    pub(crate) fn is_of_proxy(&self) -> bool {
        match self {
            Self::ProxyUnreachable { .. } => true,
            Self::Proxy(failure) => failure.problem.step() != Some(ProxyStep::Connect),
            _ => false,
        }
    }
}

/// A host name that cannot be looked up.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct HostNameFailure {
    /// The name as the connection string has it.
    pub(crate) host: String,
    pub(crate) problem: HostNameProblem,
}

/// Why a host name cannot be looked up.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum HostNameProblem {
    /// The name has no ASCII form (UTS 46).
    #[cfg_attr(not(feature = "idna"), allow(dead_code))]
    NoAsciiForm,
    /// The ASCII form is not a host name.
    InvalidAsciiForm {
        ascii: String,
        problem: AsciiNameProblem,
    },
    /// This program is built without the feature `idna`.
    #[cfg_attr(feature = "idna", allow(dead_code))]
    NotBuiltIn,
}

/// Why an ASCII name is not a host name.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum AsciiNameProblem {
    ForbiddenCharacter,
    /// The system's resolver would read the name as an address.
    ReadsAsAddress,
}

/// A name without an address.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct ResolveFailure {
    pub(crate) host: String,
    pub(crate) problem: ResolveProblem,
}

/// Why a name has no address.
#[derive(Clone, Debug, PartialEq)]
pub(crate) enum ResolveProblem {
    /// The name does not exist, or has no address.
    NotFound,
    /// This host could not send the query because of a limit.
    Limited(ReachedLimit),
    /// The resolver failed, with this text of the system.
    Failed(String),
    /// The resolver did not answer in time.
    TimedOut(Elapsed),
}

/// Failed attempts to connect to each address of a host, with the limit that they had in all.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct ConnectFailure {
    pub(crate) attempts: Vec<ConnectAttempt>,
    pub(crate) timeout: Elapsed,
}

impl ConnectFailure {
    /// The problem and the first attempt that had it, of the attempts that came closest to the server.
    pub(crate) fn closest(&self) -> Option<(ConnectProblem, &ConnectAttempt)> {
        let problems = self
            .attempts
            .iter()
            .map(|attempt| (attempt.problem(), attempt));
        problems.reduce(|closest, next| match next.0 > closest.0 {
            true => next,
            false => closest,
        })
    }
}

/// A failed attempt to connect to one address.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct ConnectAttempt {
    pub(crate) address: SocketAddr,
    pub(crate) error: OsError,
}

impl ConnectAttempt {
    fn problem(&self) -> ConnectProblem {
        if let Some(reached) = &self.error.limit {
            return ConnectProblem::Limit(reached.limit);
        }
        match self.error.kind {
            io::ErrorKind::ConnectionRefused => ConnectProblem::Refused,
            io::ErrorKind::ConnectionReset | io::ErrorKind::ConnectionAborted => {
                ConnectProblem::Reset
            }
            io::ErrorKind::TimedOut | io::ErrorKind::WouldBlock => ConnectProblem::Slow,
            io::ErrorKind::NetworkUnreachable
            | io::ErrorKind::HostUnreachable
            | io::ErrorKind::AddrNotAvailable => ConnectProblem::Unreachable,
            _ => ConnectProblem::Other,
        }
    }
}

/// How an attempt to connect failed. Later variants came closer to the server. If this host could not make the attempt,
/// it is unknown whether the server is there, so that variant comes last.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum ConnectProblem {
    Other,
    Unreachable,
    Slow,
    Reset,
    Refused,
    Limit(Limit),
}

/// A failed connection to a Unix socket.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct UnixSocketFailure {
    pub(crate) path: PathBuf,
    pub(crate) error: OsError,
    pub(crate) timeout: Elapsed,
}

/// A SOCKS5 proxy that did not connect to the server.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct ProxyFailure {
    pub(crate) proxy: ServerAddress,
    /// The user name of the options, if any.
    pub(crate) user: Option<String>,
    pub(crate) problem: ProxyProblem,
}

/// Why a SOCKS5 proxy did not connect to the server.
#[derive(Clone, Debug, PartialEq)]
pub(crate) enum ProxyProblem {
    /// A text is longer than SOCKS5 allows. The options are checked for it, unless the program changes them later.
    TooLong { text: ProxyText, limit: usize },
    /// The connection to the proxy failed, or time ran out, before the answer to this step.
    NoAnswer {
        step: ProxyStep,
        error: OsError,
        timeout: Elapsed,
    },
    /// The peer is not a SOCKS5 proxy; these are its first bytes.
    NotSocks5 { first_bytes: Vec<u8> },
    /// The proxy refused this step. `host` is the server's name.
    Refused {
        step: ProxyStep,
        refusal: ProxyRefusal,
        host: String,
    },
}

impl ProxyProblem {
    /// The step of the conversation, if there was one.
    pub(crate) fn step(&self) -> Option<ProxyStep> {
        match self {
            Self::TooLong { .. } => None,
            Self::NotSocks5 { .. } => Some(ProxyStep::Greeting),
            Self::NoAnswer { step, .. } | Self::Refused { step, .. } => Some(*step),
        }
    }
}

/// A text that a client sends to a SOCKS5 proxy.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum ProxyText {
    User,
    Password,
    HostName,
}

/// A step of the conversation with a SOCKS5 proxy.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum ProxyStep {
    /// The proxy chooses how the client authenticates.
    Greeting,
    /// The proxy checks user name and password.
    Login,
    /// The proxy connects to the server.
    Connect,
}

/// Why a SOCKS5 proxy refuses, according to its answer.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum ProxyRefusal {
    /// The first answer is not SOCKS5.
    NotSocks5,
    /// The proxy accepts none of the offered authentication methods.
    NoMethod,
    /// The proxy chose a method that was not offered.
    NotOffered(u8),
    /// The proxy does not know the user, or not with this password.
    Login,
    /// The proxy sent this reply code, which is not 0 (RFC 1928 §6).
    Reply(u8),
    /// The proxy broke the rules of SOCKS5.
    Violation(ProxyViolation),
}

/// A rule of SOCKS5 that a proxy broke.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum ProxyViolation {
    /// The answer to user name and password has this version instead of 1.
    LoginVersion(u8),
    /// The reply has this version of SOCKS.
    ReplyVersion(u8),
    /// The reserved byte of the reply is not 0.
    ReservedByte,
    /// The reply has an address of this unknown type.
    AddressType(u8),
    /// The answer does not have the length that was expected.
    Length,
}
