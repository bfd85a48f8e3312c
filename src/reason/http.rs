//! Why an HTTP exchange with an OCSP responder or a credential service failed.

use super::io::OsError;
use super::net::NetFailure;
use crate::data::limit::ReachedLimit;

/// Why an HTTP exchange failed. `Display`, in `explain`, prints the end of a sentence that begins with the server.
#[derive(Clone, Debug, PartialEq)]
pub(crate) enum HttpFailure {
    /// The server, or the proxy in front of it, cannot be reached.
    Unreachable {
        by_proxy: bool,
        failure: Box<NetFailure>,
    },
    /// The proxy answered CONNECT, and sent more before the client did.
    ProxySpokeEarly,
    /// The proxy answered CONNECT with this status.
    ProxyStatus(u16),
    /// The connection failed in this step.
    Io { step: HttpStep, error: OsError },
    /// The server closed the connection before its answer was complete. `has_begun` is true after the head.
    Closed { has_begun: bool },
    /// The body is longer than this limit in bytes.
    TooLarge(usize),
    /// The headers are longer than the limit.
    EndlessHead,
    /// The answer is not HTTP, for this reason.
    NotHttp(String),
    /// The transfer coding is unknown.
    UnknownCoding,
    /// A chunk of the body cannot be read.
    InvalidChunk,
    /// `Content-Length` is not a number.
    InvalidLength,
    /// The value of the request header with this name is not allowed in HTTP. Nothing was sent.
    InvalidHeader(String),
}

impl HttpFailure {
    /// The limit of this host that is the reason, if one is.
    pub(crate) fn reached_limit(&self) -> Option<ReachedLimit> {
        match self {
            Self::Unreachable { failure, .. } => failure.reached_limit(),
            Self::Io { error, .. } => error.limit.clone(),
            _ => None,
        }
    }
}

/// A step of an HTTP exchange.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum HttpStep {
    /// Sending CONNECT to the proxy.
    ProxyRequest,
    /// Sending the request.
    Request,
    /// Waiting for the answer.
    Answer,
    /// Reading the rest of the answer.
    Rest,
}
