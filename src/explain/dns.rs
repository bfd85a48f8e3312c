//! Words for name servers that give no SRV or TXT records.

use std::fmt;

use crate::reason::dns::{AliasError, NameServerError, QueryError};

impl fmt::Display for NameServerError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Code(code) => write!(f, "answered {code}"),
            Self::Referral => f.write_str("does not look names up for others"),
            Self::Aliases(error) => write!(f, "answered with {error}"),
            Self::Malformed => f.write_str("sent a malformed answer"),
            Self::Silent { foreign: 0 } => f.write_str("did not answer in time"),
            Self::Silent { foreign } => write!(
                f,
                "did not answer in time; {foreign} message(s) came that do not answer the query"
            ),
            Self::Io(kind) => write!(f, "could not be asked: {kind}"),
            Self::Limited(limit) => write!(f, "could not be asked: {limit}"),
            Self::Truncated => f.write_str("gave no whole answer by TCP either"),
        }
    }
}

impl fmt::Display for AliasError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Loop => "aliases (CNAME) that lead back to themselves",
            Self::TooMany => "more than 8 aliases (CNAME) in a row",
        })
    }
}

impl fmt::Display for QueryError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::InvalidName(error) => write!(f, "it is no name for DNS: {error}"),
            Self::NoRandomness(error) => write!(f, "OpenSSL has no random bytes: {error}"),
        }
    }
}
