//! The problems of all hosts together: one function for each rule, in the order in which the findings are reported.
//!
//! A rule looks at a [`DeploymentCase`] and returns findings. The topology determines if a client drops a host; the rule explains
//! why.

use std::collections::{BTreeMap, BTreeSet};

use super::super::topology::{Member, TopologyFinding, TopologyFindingCode as Code};
use super::case::{DeploymentCase, discovers_members, is_member, list, number_of};
use crate::address::ServerAddress;
use crate::options::ReadPreferenceMode;
use crate::printable::Quoted;
use crate::sdam::{ServerDescription, ServerType};
use crate::tls::Severity;

/// Smaller differences are attributed to the network: 30 s.
const CLOCK_TOLERANCE_MS: u64 = 30_000;

/// The number of differences between lists of members that are reported.
const DIFFERENCES: usize = 3;

/// All findings, except those about advertised hosts.
pub(super) fn findings(case: &DeploymentCase<'_>) -> Vec<TopologyFinding> {
    let of_all: &[fn(&DeploymentCase<'_>) -> Option<TopologyFinding>] = &[
        foreign_set,
        mixed_kinds,
        standalone_dropped,
        not_initialized,
        several_primaries,
        no_primary,
        no_usable_server,
        not_a_member,
        not_in_service,
        members_disagree,
        replica_set_not_named,
        anchors_differ,
        not_all_examined,
    ];
    let mut findings = Vec::new();
    // The error of a single host already explains its problem.
    let is_explained = matches!(case.examinations, [only] if only.error.is_some());
    if discovers_members(case.options) && !is_explained {
        findings.extend(of_all.iter().filter_map(|rule| rule(case)));
        findings.extend(other_address(case));
    }
    findings.extend(clock_differs(case));
    findings
}

impl<'a> DeploymentCase<'a> {
    /// The hosts that satisfy the condition.
    fn servers_where(
        &self,
        holds: impl Fn(&ServerDescription, &Member) -> bool,
    ) -> Vec<&'a ServerDescription> {
        let servers = self.servers.iter().zip(self.members);
        servers
            .filter(|(server, member)| holds(server, member))
            .map(|(server, _)| server)
            .collect()
    }

    fn of_type(&self, wanted: ServerType) -> Vec<&'a ServerDescription> {
        self.servers_where(|server, _| server.server_type == wanted)
    }

    /// Returns true if a host belongs to the replica set that a client takes this deployment for.
    fn is_of_the_set(&self, server: &ServerDescription) -> bool {
        is_member(server.server_type) && server.set_name == self.topology.set_name
    }
}

/// Returns true if the replica set knows the server by another address.
fn has_other_address(server: &ServerDescription) -> bool {
    server.me.as_ref().is_some_and(|me| *me != server.address)
}

fn addresses<'a>(
    servers: &[&'a ServerDescription],
) -> impl Iterator<Item = &'a ServerAddress> + use<'a> {
    let addresses: Vec<_> = servers.iter().map(|server| &server.address).collect();
    addresses.into_iter()
}

fn finding(
    code: Code,
    severity: Severity,
    servers: &[&ServerDescription],
    message: String,
    remedy: impl Into<String>,
) -> Option<TopologyFinding> {
    Some(TopologyFinding {
        code,
        severity,
        message,
        remedy: remedy.into(),
        servers: addresses(servers).cloned().collect(),
    })
}

fn foreign_set(case: &DeploymentCase<'_>) -> Option<TopologyFinding> {
    let own = case.topology.set_name.as_ref()?;
    let requires_set = case.options.replica_set.is_some();
    let foreign = case.servers_where(|server, _| {
        let is_of_other = is_member(server.server_type) && server.set_name.as_ref() != Some(own);
        is_of_other || (requires_set && server.server_type == ServerType::Standalone)
    });
    let first = foreign.first()?;
    let count = foreign.len();
    let found: BTreeSet<_> = foreign.iter().map(|server| &server.set_name).collect();
    let found = match (&first.set_name, found.len()) {
        (Some(name), 1) => format!("the replica set {name}", name = Quoted(&name)),
        (None, 1) => "no replica set".to_owned(),
        _ => "other replica sets, or to none".to_owned(),
    };
    let why = match requires_set {
        true => "as replicaSet asks",
        false => "as the first host that answers does",
    };
    finding(
        Code::ForeignSet,
        Severity::Failure,
        &foreign,
        format!(
            "{} {} to {found}, not to {own} {why}: a client drops {}",
            list(addresses(&foreign)),
            number_of(count, "belongs", "belong"),
            number_of(count, "it", "them"),
            own = Quoted(&own)
        ),
        "Take it out of the connection string, or correct replicaSet; a member that is named by others and answers so \
         has been started with another --replSet.",
    )
}

fn mixed_kinds(case: &DeploymentCase<'_>) -> Option<TopologyFinding> {
    let routers = case.of_type(ServerType::Mongos);
    let members = case.servers_where(|server, _| is_member(server.server_type));
    if routers.is_empty() || members.is_empty() {
        return None;
    }
    let all: Vec<_> = routers.iter().chain(&members).copied().collect();
    finding(
        Code::MixedKinds,
        Severity::Failure,
        &all,
        format!(
            "{} {} mongos, and {} {} to a replica set: a client takes one kind and drops the other",
            list(addresses(&routers)),
            number_of(routers.len(), "is", "are"),
            list(addresses(&members)),
            number_of(members.len(), "belongs", "belong")
        ),
        "Name the mongos of a sharded cluster, and not the members of its shards, or the members of one replica set.",
    )
}

fn standalone_dropped(case: &DeploymentCase<'_>) -> Option<TopologyFinding> {
    // If the options name a set, a standalone is a host without a set.
    if case.options.replica_set.is_some() {
        return None;
    }
    let dropped = case.servers_where(|server, member| {
        server.server_type == ServerType::Standalone && !member.is_kept
    });
    dropped.first()?;
    let count = dropped.len();
    finding(
        Code::StandaloneDropped,
        Severity::Failure,
        &dropped,
        format!(
            "{} {}: of several hosts, a client drops those that belong to nothing",
            list(addresses(&dropped)),
            number_of(count, "is a standalone", "are standalones"),
        ),
        "For a standalone, name it alone. A member of a replica set that answers so was started without --replSet.",
    )
}

fn not_initialized(case: &DeploymentCase<'_>) -> Option<TopologyFinding> {
    let ghosts = case.of_type(ServerType::RsGhost);
    ghosts.first()?;
    finding(
        Code::NotInitialized,
        Severity::Failure,
        &ghosts,
        format!(
            "{} {} with --replSet and {} no replica set",
            list(addresses(&ghosts)),
            number_of(ghosts.len(), "was started", "were started"),
            number_of(ghosts.len(), "knows", "know"),
        ),
        "For a new replica set run rs.initiate() once, on one member; add a member to one that is there with rs.add() on \
         its primary.",
    )
}

fn several_primaries(case: &DeploymentCase<'_>) -> Option<TopologyFinding> {
    // A server that reports another address is also examined by that address.
    let primaries = case.servers_where(|server, _| {
        let is_primary = server.server_type == ServerType::RsPrimary;
        is_primary && case.is_of_the_set(server) && !has_other_address(server)
    });
    let (first, others) = primaries.split_first()?;
    others.first()?;
    let named: BTreeSet<_> = first.members().collect();
    let know_each_other = others.iter().all(|other| {
        let mut by_other = other.members();
        named.contains(&other.address) && by_other.any(|member| *member == first.address)
    });
    let (why, remedy) = match know_each_other {
        true => (
            "and name each other as members",
            "Run the doctor again: during an election the old primary may not know yet. If it lasts, compare rs.status() \
             on both.",
        ),
        false => (
            "and do not name each other: they are sets of their own that have the same name, or one has two addresses",
            "Name the hosts of one replica set alone, each by the address that rs.conf() has; sets that one client sees \
             must not share a name.",
        ),
    };
    finding(
        Code::SeveralPrimaries,
        Severity::Failure,
        &primaries,
        format!(
            "{} say that they are the primary, {why}",
            list(addresses(&primaries))
        ),
        remedy,
    )
}

fn no_primary(case: &DeploymentCase<'_>) -> Option<TopologyFinding> {
    let members = case.servers_where(|server, _| case.is_of_the_set(server));
    let is_primary = |server: &&ServerDescription| server.server_type == ServerType::RsPrimary;
    if members.is_empty() || members.iter().any(is_primary) {
        return None;
    }
    let silent = case.servers_where(|server, _| !server.is_available());
    let perhaps = match silent.is_empty() {
        true => String::new(),
        false => format!(
            "; it may be among those that did not answer, {}",
            list(addresses(&silent))
        ),
    };
    let (severity, what) = match case.options.read_preference.mode {
        ReadPreferenceMode::Primary => (Severity::Failure, "reads and writes"),
        _ => (Severity::Warning, "writes"),
    };
    finding(
        Code::NoPrimary,
        severity,
        &members,
        format!(
            "no member of {} says that it is the primary, so {what} fail{perhaps}",
            Quoted(&case.topology.set_name.as_deref().unwrap_or_default())
        ),
        "Compare rs.status() on the members: a primary needs a majority of the votes, and members that reach each other.",
    )
}

fn no_usable_server(case: &DeploymentCase<'_>) -> Option<TopologyFinding> {
    if !case.topology.servers.is_empty() {
        return None;
    }
    let all = case.servers_where(|_, _| true);
    finding(
        Code::NoServerLeft,
        Severity::Failure,
        &all,
        format!("a client drops every host, {}", list(addresses(&all))),
        "The findings beside this one say why each host is dropped; correct the hosts of the connection string.",
    )
}

fn not_a_member(case: &DeploymentCase<'_>) -> Option<TopologyFinding> {
    let primaries = case.of_type(ServerType::RsPrimary);
    let primaries = primaries.iter().filter(|server| case.is_of_the_set(server));
    let primary = primaries.copied().next()?;
    let unlisted = case.servers_where(|server, member| {
        let is_named = primary.members().any(|named| *named == server.address);
        let is_primary = server.server_type == ServerType::RsPrimary;
        let may_be = !server.is_available() || (case.is_of_the_set(server) && !is_primary);
        member.is_seed && !member.is_kept && may_be && !is_named && !has_other_address(server)
    });
    unlisted.first()?;
    finding(
        Code::NotAMember,
        Severity::Warning,
        &unlisted,
        format!(
            "{} {} not among the members that the primary, {}, names: a client drops {}",
            list(addresses(&unlisted)),
            number_of(unlisted.len(), "is", "are"),
            primary.address,
            number_of(unlisted.len(), "it", "them"),
        ),
        "Name the members by the addresses that rs.conf() has.",
    )
}

/// Returns one finding for the seeds, which a client drops and does without, and one for members that others name but
/// that a client cannot use.
fn other_address(case: &DeploymentCase<'_>) -> Vec<TopologyFinding> {
    let of = |is_seed: bool| {
        let others = case.servers_where(|server, member| {
            has_other_address(server) && case.is_of_the_set(server) && member.is_seed == is_seed
        });
        others.first()?;
        let pairs = others.iter().take(DIFFERENCES).filter_map(|server| {
            let me = server.me.as_ref()?;
            Some(format!("{} calls itself {me}", server.address))
        });
        let mut pairs: Vec<_> = pairs.collect();
        if others.len() > DIFFERENCES {
            pairs.push(format!("and {} more", others.len() - DIFFERENCES));
        }
        let (severity, remedy) = match is_seed {
            true => (
                Severity::Warning,
                "Name the members in the connection string as rs.conf() does: that spares each client the detour, and is \
                 sure to verify the certificate for the same name.",
            ),
            false => (
                Severity::Failure,
                "The name leads to another member than the configuration means: correct DNS, /etc/hosts or what forwards \
                 the port, or the host of the member (rs.reconfig()).",
            ),
        };
        finding(
            Code::OtherAddress,
            severity,
            &others,
            format!(
                "{}: a client drops the address that it came by, and takes the other",
                pairs.join(", ")
            ),
            remedy,
        )
    };
    [true, false].into_iter().filter_map(of).collect()
}

fn not_in_service(case: &DeploymentCase<'_>) -> Option<TopologyFinding> {
    let servers = case.servers.iter().zip(case.examinations);
    let idle: Vec<_> = servers
        .filter(|(server, examination)| {
            let is_hidden = examination.hello().is_some_and(|hello| hello.hidden);
            let is_of_no_use = server.server_type == ServerType::RsOther && !is_hidden;
            is_of_no_use && case.is_of_the_set(server)
        })
        .map(|(server, _)| server)
        .collect();
    idle.first()?;
    finding(
        Code::NotInService,
        Severity::Warning,
        &idle,
        format!(
            "{} {} neither primary nor secondary nor arbiter: starting, recovering, or in a rollback",
            list(addresses(&idle)),
            number_of(idle.len(), "is", "are")
        ),
        "Look at rs.status() and the member's log; it answers no requests until it is a secondary.",
    )
}

fn members_disagree(case: &DeploymentCase<'_>) -> Option<TopologyFinding> {
    let mut members = case
        .servers_where(|server, _| case.is_of_the_set(server) && server.members().next().is_some());
    members.sort_by_key(|server| server.server_type != ServerType::RsPrimary);
    let (first, others) = members.split_first()?;
    let named: BTreeSet<_> = first.members().collect();
    let mut concerned = vec![*first];
    let mut differences = Vec::new();
    for other in others {
        let own: BTreeSet<_> = other.members().collect();
        if own == named {
            continue;
        }
        concerned.push(other);
        let (one, two) = (&first.address, &other.address);
        let missing: Vec<_> = named.difference(&own).copied().collect();
        if !missing.is_empty() {
            differences.push(format!("{one} names {}, and {two} does not", list(missing)));
        }
        let added: Vec<_> = own.difference(&named).copied().collect();
        if !added.is_empty() {
            differences.push(format!("{two} names {}, and {one} does not", list(added)));
        }
    }
    if differences.is_empty() {
        return None;
    }
    let more = differences.len().saturating_sub(DIFFERENCES);
    differences.truncate(DIFFERENCES);
    if more > 0 {
        differences.push(format!("{more} more differences"));
    }
    finding(
        Code::MembersDisagree,
        Severity::Warning,
        &concerned,
        differences.join("; "),
        "Run the doctor again: a change by rs.reconfig() reaches all members within seconds. If it lasts, compare \
         rs.conf() on them.",
    )
}

fn replica_set_not_named(case: &DeploymentCase<'_>) -> Option<TopologyFinding> {
    let members =
        case.servers_where(|server, member| member.is_seed && is_member(server.server_type));
    let name = case.topology.set_name.as_deref()?;
    if case.options.replica_set.is_some() || case.options.hosts.len() < 2 {
        return None;
    }
    members.first()?;
    finding(
        Code::ReplicaSetNotNamed,
        Severity::Warning,
        &members,
        format!(
            "several hosts are given without replicaSet: a client takes the set of the first that answers, here {name}",
            name = Quoted(&name)
        ),
        format!("Add replicaSet={name} to the connection string, so that no other set is taken."),
    )
}

fn anchors_differ(case: &DeploymentCase<'_>) -> Option<TopologyFinding> {
    let mut anchors: BTreeMap<String, (String, Vec<&ServerDescription>)> = BTreeMap::new();
    for (server, examination) in case.servers.iter().zip(case.examinations) {
        let chain = examination
            .handshake()
            .map(|report| report.verified_chain());
        let Some(anchor) = chain.and_then(|mut chain| chain.pop()) else {
            continue;
        };
        let name = anchor.short_name().to_owned();
        let known = anchors.entry(anchor.sha256_fingerprint);
        known.or_insert((name, Vec::new())).1.push(server);
    }
    if anchors.len() < 2 {
        return None;
    }
    let groups = anchors.values().map(|(name, servers)| {
        let hosts = list(addresses(servers));
        format!("{hosts} to {name}", name = Quoted(&name))
    });
    let groups: Vec<_> = groups.collect();
    let all: Vec<_> = anchors
        .values()
        .flat_map(|(_, servers)| servers)
        .copied()
        .collect();
    finding(
        Code::AnchorsDiffer,
        Severity::Warning,
        &all,
        format!(
            "the certificates lead to different trust anchors: {}",
            groups.join(", ")
        ),
        "While one CA takes over from another that is as it should be; until then each client needs both.",
    )
}

fn not_all_examined(case: &DeploymentCase<'_>) -> Option<TopologyFinding> {
    if case.is_complete {
        return None;
    }
    let message = format!(
        "the hosts name more than the {} that were examined",
        case.members.len()
    );
    let remedy = "A replica set has 50 members at most: look at what the hosts name (rs.conf()).";
    finding(
        Code::NotAllExamined,
        Severity::Warning,
        &[],
        message,
        remedy,
    )
}

fn clock_differs(case: &DeploymentCase<'_>) -> Option<TopologyFinding> {
    let servers = case.servers.iter().zip(case.examinations);
    let wrong: Vec<_> = servers
        .filter_map(|(server, examination)| Some((server, examination.clock_ahead?)))
        .filter(|(_, ahead)| ahead.unsigned_abs() > CLOCK_TOLERANCE_MS)
        .collect();
    let offsets = wrong.iter().take(DIFFERENCES).map(|(server, ahead)| {
        let side = if *ahead > 0 { "ahead of" } else { "behind" };
        let seconds = ahead.unsigned_abs() / 1000;
        format!("that of {} is {seconds} s {side} it", server.address)
    });
    let mut offsets: Vec<_> = offsets.collect();
    if wrong.len() > DIFFERENCES {
        offsets.push(format!("and {} more", wrong.len() - DIFFERENCES));
    }
    let concerned: Vec<_> = wrong.iter().map(|(server, _)| *server).collect();
    concerned.first()?;
    finding(
        Code::ClockDiffers,
        Severity::Warning,
        &concerned,
        format!("the clocks here and there differ: {}", offsets.join(", ")),
        "Synchronize them (timedatectl, chronyc tracking): by its own clock each side judges certificates, CRLs and OCSP \
         responses.",
    )
}
