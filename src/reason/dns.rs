//! Why DNS has no SRV or TXT records.

use std::io::ErrorKind;
use std::net::SocketAddr;

use crate::data::limit::Limit;
use crate::time::Elapsed;

/// Why there are no records.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum DnsFailure {
    /// The name does not exist (NXDOMAIN).
    NoSuchName,
    /// No name server gave an answer.
    Unanswered {
        /// The last error of each name server that got a query.
        errors: Vec<(SocketAddr, NameServerError)>,
        /// The deadline, if it ended the search.
        elapsed: Option<Elapsed>,
    },
    /// No query was sent.
    NotSent(QueryError),
    /// This host lacks a resource for the query.
    Limited(Limit),
}

/// Why no query was sent.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum QueryError {
    /// DNS cannot hold the name, for this reason.
    InvalidName(String),
    /// OpenSSL has no random bytes, for this reason.
    NoRandomness(String),
}

/// Why a name server gave no answer. `Display`, in `explain`, prints the end of a sentence that begins with its address.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum NameServerError {
    /// The server answered with a code, such as SERVFAIL.
    Code(&'static str),
    /// The server does not look names up for others.
    Referral,
    /// The aliases in the answer lead nowhere.
    Aliases(AliasError),
    /// The answer cannot be read, or contradicts itself.
    Malformed,
    /// No message arrived that answers the query; `foreign` others did.
    Silent { foreign: u32 },
    /// The system could not send or receive.
    Io(ErrorKind),
    /// This host lacks a resource for the query.
    Limited(Limit),
    /// The answer does not fit into UDP, and TCP gave no whole answer either.
    Truncated,
}

/// Why the aliases (CNAME) of a name lead nowhere.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum AliasError {
    /// They lead back to themselves.
    Loop,
    /// There are more than 8 in a row.
    TooMany,
}
