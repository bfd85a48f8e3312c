//! Why a deployment has no server that can be used: what monitoring and discovery found.

use std::net::SocketAddr;
use std::time::Duration;

use super::hello::WireVersionGap;
use crate::address::ServerAddress;
use crate::time::Elapsed;

/// Why a server, or the deployment, cannot be used, by the rules of "Server Discovery and Monitoring".
#[derive(Clone, Debug, PartialEq)]
pub(crate) enum SdamFailure {
    /// This client speaks no wire version of the server.
    Incompatible {
        server: ServerAddress,
        gap: WireVersionGap,
    },
    /// The server does not belong to the deployment.
    Foreign(ForeignServer),
    /// The server is a member of a replica set that does not know its set (`RSGhost`).
    Ghost,
    /// The first attempt to connect to the server has not ended.
    UnfinishedAttempt(UnfinishedAttempt),
    /// The server did not answer a check in time.
    CheckTimeout(Elapsed),
    /// The doctor found something wrong with the deployment that no host shows by itself.
    Finding {
        code: &'static str,
        message: String,
        remedy: String,
        servers: Vec<ServerAddress>,
    },
}

/// Why a server does not belong to the deployment.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum ForeignServer {
    /// A standalone that is one of several hosts.
    Standalone,
    /// A router of a sharded cluster among the members of a replica set.
    Router,
    /// A member of a replica set among the routers of a sharded cluster.
    Member,
    /// The replica set has this other address for the member.
    OtherAddress { me: ServerAddress },
    /// The primary does not list the server as a member.
    NotListed,
}

/// An attempt to connect that a thread stopped waiting for.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct UnfinishedAttempt {
    pub(crate) server: ServerAddress,
    pub(crate) step: AttemptStep,
    /// The addresses of the server, or of the proxy; empty if they are not known.
    pub(crate) addresses: Vec<SocketAddr>,
    /// `connectTimeoutMS`.
    pub(crate) connect_timeout: Option<Duration>,
    /// The limit of the thread.
    pub(crate) timeout: Elapsed,
}

/// The step of an attempt to connect.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum AttemptStep {
    Resolve,
    Connect,
    Tls,
    Hello,
}
