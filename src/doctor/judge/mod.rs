//! The conclusions from all examinations together.
//!
//! In: the options and the examination of each host. Out: a [`TopologyReport`]. Nothing here opens a socket. The same
//! [`TopologyState`] that a client has decides what a client would know about the hosts; the rules here describe what is wrong
//! with it. Source: "Server Discovery and Monitoring".

mod advertised;
mod case;
mod rules;

use std::collections::{BTreeSet, HashMap};
use std::sync::Arc;
use std::time::Instant;

use bson::oid::ObjectId;

use self::case::{DeploymentCase, discovers_members, is_member};
use super::report::Examination;
use super::topology::{Member, TopologyReport};
use crate::address::ServerAddress;
use crate::cause::Cause;
use crate::options::ClientOptions;
use crate::reason::Reason;
use crate::reason::hello::HelloFailure;
use crate::sdam::update::TopologyState;
use crate::sdam::{ServerDescription, ServerType, TopologyDescription};
use crate::tls::Severity;

/// The number of hosts that are listed as naming a member; MongoDB allows 50 members.
const ADVERTISERS: usize = 50;

/// Judges all examinations together. If a member fails under the name that another one gave it, its error then lists
/// the hosts that name it, and the remedy for the name.
pub(super) fn judge(
    options: &ClientOptions,
    examinations: &mut [Examination],
    is_complete: bool,
) -> TopologyReport {
    let servers: Vec<_> = examinations.iter().filter_map(description_of).collect();
    let topology = simulate_client(options, &servers);
    let members = members_of(options, examinations, &servers, &topology);
    let case = DeploymentCase {
        options,
        examinations,
        servers: &servers,
        members: &members,
        topology: &topology,
        is_complete,
    };
    let mut findings = rules::findings(&case);
    let advertised = match discovers_members(options) {
        true => advertised::explanations(&case),
        false => advertised::Explained::default(),
    };
    findings.extend(advertised.findings);
    findings.sort_by_key(|finding| finding.severity != Severity::Failure);
    for (at, error) in advertised.errors {
        examinations[at].error = Some(error);
    }
    TopologyReport {
        description: topology,
        members,
        findings,
    }
}

/// The hosts that a host names: the members of its replica set, and itself by its address there.
pub(super) fn named_by(
    options: &ClientOptions,
    examination: &Examination,
) -> BTreeSet<ServerAddress> {
    let server = match discovers_members(options) {
        true => description_of(examination),
        false => None,
    };
    let server = server.filter(|server| is_member(server.server_type));
    let named = server.iter().flat_map(advertised_members);
    named.cloned().collect()
}

/// All members of the replica set according to this one, and itself by its address there.
fn advertised_members(server: &ServerDescription) -> impl Iterator<Item = &ServerAddress> {
    server.members().chain(&server.me)
}

/// The description of a host after its examination, or `None` if the examination is not about a host. An error after
/// hello, such as a rejected user, does not change the description.
fn description_of(examination: &Examination) -> Option<ServerDescription> {
    let address = examination.server.clone()?;
    if let Some(hello) = examination.hello() {
        return Some(ServerDescription::from_hello(
            address,
            hello,
            Instant::now(),
        ));
    }
    let Some(error) = &examination.error else {
        return Some(ServerDescription::unknown(address));
    };
    // The connection was closed because of the set, so the rest of the answer is not known.
    if let Some(Reason::Hello(HelloFailure::WrongSet { found, .. })) =
        error.cause().map(Cause::reason)
    {
        return Some(ServerDescription {
            server_type: match found {
                Some(_) => ServerType::RsOther,
                None => ServerType::Standalone,
            },
            set_name: found.clone(),
            ..ServerDescription::unknown(address)
        });
    }
    Some(ServerDescription::failed(address, error.clone()))
}

/// The topology of a client after it has checked each host once, in that order, and a second time if the host is named
/// again after it was dropped.
fn simulate_client(
    options: &ClientOptions,
    servers: &[ServerDescription],
) -> Arc<TopologyDescription> {
    let seeds = options.hosts.iter().cloned().collect();
    let (mut topology, _) = TopologyState::open(ObjectId::new(), options, &seeds);
    let mut checks = vec![0; servers.len()];
    loop {
        let mut news = false;
        for (server, count) in servers.iter().zip(&mut checks) {
            let known = topology.description().servers.get(&server.address);
            let is_due = known.is_some_and(|known| !known.is_available() && known.error.is_none());
            if is_due && *count < 2 {
                *count += 1;
                news |= topology.update(server.clone()).is_some();
            }
        }
        if !news {
            return Arc::clone(topology.description());
        }
    }
}

fn members_of(
    options: &ClientOptions,
    examinations: &[Examination],
    servers: &[ServerDescription],
    topology: &TopologyDescription,
) -> Vec<Member> {
    let none = servers.iter().map(|server| (&server.address, Vec::new()));
    let mut advertisers: HashMap<&ServerAddress, Vec<ServerAddress>> = none.collect();
    for server in servers
        .iter()
        .filter(|server| is_member(server.server_type))
    {
        let named: BTreeSet<_> = advertised_members(server).collect();
        for other in named.into_iter().filter(|named| **named != server.address) {
            if let Some(own) = advertisers.get_mut(other) {
                if own.len() < ADVERTISERS {
                    own.push(server.address.clone());
                }
            }
        }
    }
    let seeds: BTreeSet<_> = options.hosts.iter().collect();
    let member = |(server, examination): (&ServerDescription, &Examination)| Member {
        server: server.address.clone(),
        is_seed: seeds.contains(&server.address),
        advertised_by: advertisers.remove(&server.address).unwrap_or_default(),
        server_type: match examination.hello() {
            Some(_) => server.server_type,
            None => ServerType::Unknown,
        },
        is_kept: topology.servers.contains_key(&server.address),
    };
    servers.iter().zip(examinations).map(member).collect()
}

#[cfg(test)]
pub(super) mod tests;
