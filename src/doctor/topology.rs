//! The state of the deployment as a whole, as plain data.
//!
//! [`judge`](super::judge) makes it from the examinations of the hosts; the command line prints it.

use std::sync::Arc;

use crate::address::ServerAddress;
use crate::enum_text::codes;
use crate::error::{Error, Stage};
use crate::reason::sdam::SdamFailure;
use crate::sdam::{ServerType, TopologyDescription};
use crate::tls::Severity;

/// The deployment as a client sees it, and its problems.
#[derive(Clone, Debug)]
#[non_exhaustive]
pub struct TopologyReport {
    /// The description that a client would have after one check of each host, by the rules of "Server Discovery and
    /// Monitoring": the type, the name of the replica set, and the servers that the client would use.
    pub description: Arc<TopologyDescription>,
    /// One for each examination, in the same order.
    pub members: Vec<Member>,
    /// Problems and notes that no host shows by itself; failures first.
    pub findings: Vec<TopologyFinding>,
}

/// A host, and its role among the others.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct Member {
    /// The host, as the seed list or another member names it.
    pub server: ServerAddress,
    /// True if the host is in the seed list: the connection string or DNS names it.
    pub is_seed: bool,
    /// The other hosts that name it as a member of their replica set, or itself by this address (`me`).
    pub advertised_by: Vec<ServerAddress>,
    /// The type that the host reports; [`Unknown`](ServerType::Unknown) if it did not answer hello.
    pub server_type: ServerType,
    /// True if a client would keep the host. A client drops hosts that do not belong to the others.
    pub is_kept: bool,
}

/// A problem of the hosts together, or a note about them.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct TopologyFinding {
    /// The stable name.
    pub code: TopologyFindingCode,
    /// The severity of the finding.
    pub severity: Severity,
    /// The finding in one line, lower case, without a full stop.
    pub message: String,
    /// The remedy: one or two sentences.
    pub remedy: String,
    /// The hosts that the finding concerns.
    pub servers: Vec<ServerAddress>,
}

codes! {
    /// The stable name of a finding about a deployment.
    TopologyFindingCode

    AdvertisedHostFails = "advertised-host-fails", "a host of the seed list answers, and a member that it names fails";
    ForeignSet = "foreign-set", "a host belongs to another replica set, or to no set although the options name one";
    MixedKinds = "mixed-kinds", "some hosts are mongos, and some are members of a replica set";
    StandaloneDropped = "standalone-dropped", "a host is a standalone, and not the only one";
    NotInitialized = "not-initialized", "a host is a replica set member without a configuration of its set";
    OtherAddress = "other-address", "a member reports another address for itself than the one that leads to it";
    NotAMember = "not-a-member", "a host of the seed list is not among the members that the primary names";
    SeveralPrimaries = "several-primaries", "more than one member says that it is the primary";
    NoPrimary = "no-primary", "no member says that it is the primary";
    NoServerLeft = "no-server-left", "a client would drop every host";
    NotInService = "not-in-service", "a member is starting, recovering or being removed";
    MembersDisagree = "members-disagree", "members report different lists of members";
    ReplicaSetNotNamed = "replica-set-not-named", "several hosts are given without the name of their replica set";
    AnchorsDiffer = "anchors-differ", "the certificates of the hosts lead to different CAs";
    ClockDiffers = "clock-differs", "the clock of a host differs from the local clock";
    NotAllExamined = "not-all-examined", "the deployment has more hosts than the doctor examines";
}

impl TopologyFinding {
    /// Converts the finding to the error of a connection to the deployment, because no single host has failed.
    pub(super) fn to_error(&self) -> Error {
        let cause = SdamFailure::Finding {
            code: self.code.as_str(),
            message: self.message.clone(),
            remedy: self.remedy.clone(),
            servers: self.servers.clone(),
        };
        Error::failed(Stage::Hello, cause)
    }
}
