//! Words for failed HTTP exchanges with OCSP responders and credential services.

use std::fmt;
use std::io;

use super::limit::local_limit;
use super::net;
use crate::reason::http::{HttpFailure, HttpStep};
use crate::reason::io::LimitedExchange;

impl HttpFailure {
    /// The failure of an exchange for which this host lacks a resource, if that is the reason.
    pub(crate) fn local_limit(&self) -> Option<LimitedExchange> {
        let reached = self.reached_limit()?;
        let explanation = match self {
            Self::Unreachable { failure, .. } => net::explain(failure),
            _ => local_limit("the connection failed", &reached),
        };
        let message = explanation.message().to_owned();
        Some(LimitedExchange { message, reached })
    }
}

impl fmt::Display for HttpFailure {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Unreachable { by_proxy, failure } => {
                let route = if *by_proxy { " by its proxy" } else { "" };
                let explanation = net::explain(failure);
                write!(f, "cannot be reached{route}: {}", explanation.message())
            }
            Self::ProxySpokeEarly => f.write_str("has a proxy that spoke out of turn"),
            Self::ProxyStatus(status) => write!(
                f,
                "cannot be reached: its proxy answered with HTTP status {status}"
            ),
            Self::Io { step, error } => {
                let what = match step {
                    HttpStep::ProxyRequest => "has a proxy that took no request",
                    HttpStep::Request => "took no request",
                    HttpStep::Answer => "did not answer",
                    HttpStep::Rest => "stopped in the middle of its answer",
                };
                match error.kind {
                    io::ErrorKind::TimedOut => write!(f, "{what} in time"),
                    _ => write!(f, "{what}: {}", error.text),
                }
            }
            Self::Closed { has_begun: false } => {
                f.write_str("ended the connection before its answer")
            }
            Self::Closed { has_begun: true } => {
                f.write_str("ended the connection in the middle of its answer")
            }
            Self::TooLarge(limit) => write!(f, "answered with more than {limit} bytes"),
            Self::EndlessHead => f.write_str("sent headers without an end"),
            Self::NotHttp(error) => write!(f, "does not speak HTTP: {error}"),
            Self::UnknownCoding => f.write_str("answers in a coding that is not known"),
            Self::InvalidChunk => f.write_str("sent a chunk that cannot be read"),
            Self::InvalidLength => f.write_str("sent a Content-Length that is no number"),
            Self::InvalidHeader(name) => write!(
                f,
                "was not asked: the value of {name} is not one of a header"
            ),
        }
    }
}
