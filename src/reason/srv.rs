//! Why DNS gave no hosts and options for a `mongodb+srv` name.

#[cfg(feature = "srv")]
use std::net::SocketAddr;

#[cfg(feature = "srv")]
use super::dns::{NameServerError, QueryError};
#[cfg(feature = "srv")]
use crate::address::ServerAddress;
#[cfg(feature = "srv")]
use crate::data::auth_mechanism::AuthMechanism;
#[cfg(feature = "srv")]
use crate::data::limit::ReachedLimit;
#[cfg(feature = "srv")]
use crate::reason::options::OptionConflict;
#[cfg(feature = "srv")]
use crate::time::Elapsed;

/// Why DNS gave no hosts and options for a `mongodb+srv` name.
#[derive(Clone, Debug, PartialEq)]
pub(crate) enum SrvFailure {
    /// The cargo feature `srv` is off.
    #[cfg(not(feature = "srv"))]
    NotBuiltIn,
    /// The records of this name in the connection string cannot be used.
    #[cfg(feature = "srv")]
    Records { host: String, problem: SrvProblem },
    /// OpenSSL has no random numbers to choose hosts with, with this text.
    #[cfg(feature = "srv")]
    RandomNumbers(String),
}

impl SrvFailure {
    /// Returns true if the name servers did not answer in time.
    pub(crate) fn is_resolver_timeout(&self) -> bool {
        #[cfg(feature = "srv")]
        if let Self::Records {
            problem: SrvProblem::Unanswered(lookup),
            ..
        } = self
        {
            return lookup.elapsed.is_some();
        }
        false
    }
}

/// Why the records of a name cannot be used.
#[cfg(feature = "srv")]
#[derive(Clone, Debug, PartialEq)]
pub(crate) enum SrvProblem {
    /// The name of this query does not exist (NXDOMAIN).
    NoSuchName {
        query: String,
        name_servers: Vec<SocketAddr>,
    },
    /// The name of this query has no SRV record.
    NoRecords {
        query: String,
        name_servers: Vec<SocketAddr>,
    },
    /// The specification refuses a host in an SRV record.
    Host {
        query: String,
        target: String,
        port: u16,
        /// The domain that the host must be in.
        domain: String,
        problem: SrvHostProblem,
    },
    /// The TXT record of this name cannot be used.
    Txt { query: String, problem: TxtProblem },
    /// No name server answered.
    Unanswered(UnansweredLookup),
    /// The query was not sent.
    NotSent {
        record: DnsRecordType,
        query: String,
        error: QueryError,
    },
    /// A limit of this host prevented the query.
    Limited {
        record: DnsRecordType,
        query: String,
        reached: ReachedLimit,
    },
    /// The options of the connection string, the program and the TXT record contradict each other.
    Conflicts {
        conflicts: Vec<SrvConflict>,
        hosts: Vec<ServerAddress>,
    },
}

/// Why a host must not be in an SRV record.
#[cfg(feature = "srv")]
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum SrvHostProblem {
    /// The record says that the service does not exist (RFC 2782).
    NoService,
    NotHostName,
    NotPort,
    /// The host is the name in the connection string, without a further part.
    SameName,
    OutsideDomain,
}

/// Why a TXT record cannot be used.
#[cfg(feature = "srv")]
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum TxtProblem {
    NotUtf8,
    /// There is this number of records, and only one is allowed.
    Several(usize),
    /// The options in the record cannot be used: the end of a sentence, and the beginning of the record.
    Options {
        why: String,
        record: String,
    },
}

/// Options that cannot be used together.
#[cfg(feature = "srv")]
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum SrvConflict {
    /// A rule about the kind of the deployment.
    Deployment(OptionConflict),
    /// The TXT record sets this `authSource`, which the mechanism does not support.
    AuthSource {
        source: String,
        mechanism: AuthMechanism,
    },
}

/// The type of a DNS record.
#[cfg(feature = "srv")]
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum DnsRecordType {
    Srv,
    Txt,
}

/// A query that no name server answered.
#[cfg(feature = "srv")]
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct UnansweredLookup {
    pub(crate) record: DnsRecordType,
    pub(crate) query: String,
    pub(crate) name_servers: Vec<SocketAddr>,
    /// The last error of each name server that got a query.
    pub(crate) errors: Vec<(SocketAddr, NameServerError)>,
    /// The deadline, if it ended the search.
    pub(crate) elapsed: Option<Elapsed>,
}
