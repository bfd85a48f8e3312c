//! Changes of the topology that follow from the description of one server.
//!
//! Input: one description after another, in the order of the checks, or a list of hosts from DNS. Output: an
//! [`Update`], which determines the monitors to start and to stop and the events to send. The caller holds the lock
//! of the topology meanwhile, and applies the effects afterwards. Sources: "Server Discovery and Monitoring",
//! "Updating the TopologyDescription"; "Polling SRV Records for mongos Discovery"; "Load Balancer Support",
//! "Monitoring".

use std::collections::BTreeSet;
use std::sync::Arc;

use bson::oid::ObjectId;

use super::description::{ServerDescription, ServerType, TopologyDescription, TopologyType};
use crate::address::ServerAddress;
use crate::data::hello::TopologyVersion;
use crate::error::{Error, ErrorKind, Stage};
use crate::event::{SdamEvent, SdamEventKind};
use crate::options::ClientOptions;
use crate::reason::hello::HelloFailure;
use crate::reason::sdam::{ForeignServer, SdamFailure};

/// The current topology of a client.
#[derive(Clone, Debug)]
pub(crate) struct TopologyState {
    /// Distinguishes the events of this topology from those of others.
    id: ObjectId,
    /// The number of initial hosts of the client, or of hosts that DNS currently returns.
    seeds: usize,
    description: Arc<TopologyDescription>,
}

/// The topology before and after a change.
#[derive(Clone, Debug)]
pub(crate) struct Update {
    pub(crate) previous: Arc<TopologyDescription>,
    pub(crate) current: Arc<TopologyDescription>,
    /// The description that caused the change, if there was one.
    server: Option<Arc<ServerDescription>>,
    /// Former primaries, which must be checked again at once.
    pub(crate) recheck: Vec<ServerAddress>,
    id: ObjectId,
}

impl TopologyState {
    /// Creates the topology of a client with these initial hosts (the seed list, or the result of DNS), and its first
    /// events. `id` distinguishes them from those of other topologies. Behind a load balancer these are all events until the end: nothing changes any more.
    pub(crate) fn open(
        id: ObjectId,
        options: &ClientOptions,
        seeds: &BTreeSet<ServerAddress>,
    ) -> (Self, Vec<SdamEvent>) {
        let topology_type = match () {
            () if options.load_balanced => TopologyType::LoadBalanced,
            () if options.direct_connection == Some(true) => TopologyType::Single,
            () if options.replica_set.is_some() => TopologyType::ReplicaSetNoPrimary,
            () => TopologyType::Unknown,
        };
        let mut description = TopologyDescription {
            topology_type,
            set_name: options.replica_set.clone(),
            heartbeat_frequency: options.heartbeat_frequency,
            ..TopologyDescription::default()
        };
        seeds.iter().for_each(|seed| add(&mut description, seed));
        let mut topology = Self {
            id,
            seeds: seeds.len(),
            description: Arc::new(description),
        };
        let mut events = topology.opening_events();
        if options.load_balanced {
            let mut next = (*topology.description).clone();
            for seed in seeds {
                put(&mut next, ServerDescription::load_balancer(seed.clone()));
            }
            events.extend(topology.replace(next, None, Vec::new()).events());
        }
        (topology, events)
    }

    /// Returns the current description.
    pub(crate) fn description(&self) -> &Arc<TopologyDescription> {
        &self.description
    }

    /// Applies the result of a check, or an error that made the server unknown. Returns `None` if nothing changes:
    /// the server does not belong to the topology any more, or its reply is older than the known state.
    pub(crate) fn update(&mut self, mut server: ServerDescription) -> Option<Update> {
        let known = self.description.servers.get(&server.address)?;
        let is_fixed = self.description.topology_type == TopologyType::LoadBalanced;
        if is_fixed || TopologyVersion::is_earlier(server.topology_version, known.topology_version)
        {
            return None;
        }
        // The reply to a connection's first hello is not a measurement.
        if server.is_available() && server.round_trip_time.is_none() {
            server.round_trip_time = known.round_trip_time;
            server.min_round_trip_time = known.min_round_trip_time;
        }
        let server = Arc::new(server);
        let mut next = (*self.description).clone();
        let recheck = add_members(&mut next, &server, self.seeds);
        Some(self.replace(next, Some(server), recheck))
    }

    /// Applies the hosts that DNS returns now, where routers may be added and removed. With `srvMaxHosts` the caller
    /// has already selected among them. Returns `None` if the topology has another type, or if the list is empty.
    #[cfg(any(test, feature = "srv"))]
    pub(crate) fn replace_hosts(&mut self, hosts: &BTreeSet<ServerAddress>) -> Option<Update> {
        let may_change = [TopologyType::Unknown, TopologyType::Sharded];
        if !may_change.contains(&self.description.topology_type) || hosts.is_empty() {
            return None;
        }
        let mut next = (*self.description).clone();
        self.seeds = hosts.len();
        next.servers.retain(|address, _| hosts.contains(address));
        hosts.iter().for_each(|host| add(&mut next, host));
        Some(self.replace(next, None, Vec::new()))
    }

    /// Removes all servers when the client is closed, and returns the last events.
    pub(crate) fn close(&mut self) -> Vec<SdamEvent> {
        let empty = TopologyDescription {
            heartbeat_frequency: self.description.heartbeat_frequency,
            ..TopologyDescription::default()
        };
        let mut events = self.replace(empty, None, Vec::new()).events();
        events.push(event(self.id, SdamEventKind::TopologyClosed));
        events
    }

    fn replace(
        &mut self,
        mut next: TopologyDescription,
        server: Option<Arc<ServerDescription>>,
        recheck: Vec<ServerAddress>,
    ) -> Update {
        next.refresh();
        let current = Arc::new(next);
        let previous = std::mem::replace(&mut self.description, Arc::clone(&current));
        Update {
            previous,
            current,
            server,
            recheck,
            id: self.id,
        }
    }

    fn opening_events(&self) -> Vec<SdamEvent> {
        let update = Update {
            previous: Arc::new(TopologyDescription {
                heartbeat_frequency: self.description.heartbeat_frequency,
                ..TopologyDescription::default()
            }),
            current: Arc::clone(&self.description),
            server: None,
            recheck: Vec::new(),
            id: self.id,
        };
        let opened = update.opened().cloned();
        let opened = opened.map(|server| SdamEventKind::ServerOpening { server });
        let kinds = [SdamEventKind::TopologyOpening, update.topology_changed()];
        let kinds = kinds.into_iter().chain(opened);
        kinds.map(|kind| event(self.id, kind)).collect()
    }
}

impl Update {
    /// Returns the added servers, each of which needs a monitor.
    pub(crate) fn opened(&self) -> impl Iterator<Item = &ServerAddress> {
        let previous = &self.previous.servers;
        let current = self.current.servers.keys();
        current.filter(|address| !previous.contains_key(address))
    }

    /// Returns the removed servers, whose monitors and pools must be stopped.
    pub(crate) fn closed(&self) -> impl Iterator<Item = &ServerAddress> {
        let current = &self.current.servers;
        let previous = self.previous.servers.keys();
        previous.filter(|address| !current.contains_key(address))
    }

    /// Returns the server whose pool must be marked ready before other threads see the change, if there is one.
    pub(crate) fn makes_ready(&self) -> Option<&ServerAddress> {
        let address = &self.server.as_ref()?.address;
        let server = self.current.servers.get(address)?;
        let is_direct = self.current.topology_type == TopologyType::Single;
        let is_of_use =
            server.server_type.is_data_bearing() || (is_direct && server.is_available());
        is_of_use.then_some(address)
    }

    /// Returns the reason why the checked server does not belong to the topology, if it was removed.
    pub(crate) fn why_removed(&self) -> Option<Error> {
        let server = self.server.as_ref()?;
        if self.current.servers.contains_key(&server.address) {
            return None;
        }
        let expected_name = self.current.set_name.as_deref();
        let is_other_set = expected_name.is_some() && server.set_name.as_deref() != expected_name;
        let foreign = match (server.server_type, expected_name) {
            (ServerType::Standalone, None) => ForeignServer::Standalone,
            (ServerType::Mongos, _) => ForeignServer::Router,
            (_, None) => ForeignServer::Member,
            (_, Some(expected)) if is_other_set => {
                let error = Error::failed(Stage::Hello, wrong_set(server, expected));
                return Some(error.with_server(&server.address));
            }
            _ => match &server.me {
                Some(me) if *me != server.address => ForeignServer::OtherAddress { me: me.clone() },
                _ => ForeignServer::NotListed,
            },
        };
        let cause = SdamFailure::Foreign(foreign);
        Some(Error::failed(Stage::Hello, cause).with_server(&server.address))
    }

    /// Returns true if the last server was removed. No server can be added any more, which deserves a warning.
    pub(crate) fn is_emptied(&self) -> bool {
        self.current.servers.is_empty() && !self.previous.servers.is_empty()
    }

    /// Returns the events to send, in order.
    pub(crate) fn events(&self) -> Vec<SdamEvent> {
        let mut kinds: Vec<SdamEventKind> = Vec::new();
        let own = self.server.as_ref().map(|server| &server.address);
        // The checked server comes first, even if its reply removed it.
        kinds.extend(own.and_then(|address| self.server_changed(address)));
        let others = self.previous.servers.keys();
        let others = others.filter(|address| own != Some(address));
        kinds.extend(others.filter_map(|address| self.server_changed(address)));
        let opened = self.opened().cloned();
        kinds.extend(opened.map(|server| SdamEventKind::ServerOpening { server }));
        let closed = self.closed().cloned();
        kinds.extend(closed.map(|server| SdamEventKind::ServerClosed { server }));
        if self.previous != self.current {
            kinds.push(self.topology_changed());
        }
        let events = kinds.into_iter().map(|kind| event(self.id, kind));
        events.collect()
    }

    fn server_changed(&self, address: &ServerAddress) -> Option<SdamEventKind> {
        let previous = self.previous.servers.get(address)?;
        let removed = self
            .server
            .as_ref()
            .filter(|server| server.address == *address);
        let new = self.current.servers.get(address).or(removed)?;
        (previous != new).then(|| SdamEventKind::ServerDescriptionChanged {
            previous: Arc::clone(previous),
            new: Arc::clone(new),
        })
    }

    fn topology_changed(&self) -> SdamEventKind {
        SdamEventKind::TopologyDescriptionChanged {
            previous: Arc::clone(&self.previous),
            new: Arc::clone(&self.current),
        }
    }
}

fn event(topology_id: ObjectId, kind: SdamEventKind) -> SdamEvent {
    SdamEvent { topology_id, kind }
}

/// Applies the "TopologyType table". Returns the former primaries.
fn add_members(
    topology: &mut TopologyDescription,
    server: &Arc<ServerDescription>,
    seeds: usize,
) -> Vec<ServerAddress> {
    use ServerType as S;
    use TopologyType as T;
    topology
        .servers
        .insert(server.address.clone(), Arc::clone(server));
    match (topology.topology_type, server.server_type) {
        (T::Single, _) => verify_set_name(topology, server),
        (T::LoadBalanced, _) | (_, S::LoadBalancer) => {}
        (T::Unknown, S::Standalone) if seeds == 1 => topology.topology_type = T::Single,
        (T::Unknown, S::Mongos) => topology.topology_type = T::Sharded,
        (T::Sharded, S::Unknown | S::Mongos) => {}
        (T::Sharded, _) | (T::Unknown, S::Standalone) => remove(topology, server),
        (T::Unknown | T::ReplicaSetNoPrimary, S::Unknown | S::RsGhost) => {}
        (T::ReplicaSetNoPrimary, S::Standalone | S::Mongos) => remove(topology, server),
        (T::ReplicaSetWithPrimary, S::Unknown | S::RsGhost) => check_if_has_primary(topology),
        (T::ReplicaSetWithPrimary, S::Standalone | S::Mongos) => {
            remove(topology, server);
            check_if_has_primary(topology);
        }
        (_, S::RsPrimary) => return update_rs_from_primary(topology, server),
        (T::ReplicaSetWithPrimary, S::RsSecondary | S::RsArbiter | S::RsOther) => {
            update_rs_with_primary_from_member(topology, server);
        }
        (_, S::RsSecondary | S::RsArbiter | S::RsOther) => {
            topology.topology_type = T::ReplicaSetNoPrimary;
            update_rs_without_primary(topology, server);
        }
    }
    Vec::new()
}

/// Applies "Verifying setName with TopologyType Single".
fn verify_set_name(topology: &mut TopologyDescription, server: &ServerDescription) {
    let (Some(expected), true) = (&topology.set_name, server.is_available()) else {
        return;
    };
    if server.set_name.as_ref() == Some(expected) {
        return;
    }
    let error =
        Error::failed(Stage::Hello, wrong_set(server, expected)).with_server(&server.address);
    put(
        topology,
        ServerDescription::failed(server.address.clone(), error),
    );
}

fn wrong_set(server: &ServerDescription, wanted: &str) -> HelloFailure {
    HelloFailure::WrongSet {
        found: server.set_name.clone(),
        wanted: wanted.to_owned(),
    }
}

/// Applies "updateRSWithoutPrimary".
fn update_rs_without_primary(topology: &mut TopologyDescription, server: &ServerDescription) {
    let set_name = topology
        .set_name
        .get_or_insert_with(|| server.set_name.clone().unwrap_or_default());
    if Some(&*set_name) != server.set_name.as_ref() {
        return remove(topology, server);
    }
    server.members().for_each(|member| add(topology, member));
    if is_misaddressed(server) {
        remove(topology, server);
    }
}

/// Applies "updateRSWithPrimaryFromMember".
fn update_rs_with_primary_from_member(
    topology: &mut TopologyDescription,
    server: &ServerDescription,
) {
    if topology.set_name != server.set_name || is_misaddressed(server) {
        remove(topology, server);
    }
    check_if_has_primary(topology);
}

/// Applies "updateRSFromPrimary". Returns the former primaries.
fn update_rs_from_primary(
    topology: &mut TopologyDescription,
    server: &ServerDescription,
) -> Vec<ServerAddress> {
    let set_name = topology
        .set_name
        .get_or_insert_with(|| server.set_name.clone().unwrap_or_default());
    if Some(&*set_name) != server.set_name.as_ref() {
        remove(topology, server);
        check_if_has_primary(topology);
        return Vec::new();
    }
    if !record_election(topology, server) {
        demote(topology, &server.address, "electionId/setVersion mismatch");
        check_if_has_primary(topology);
        return Vec::new();
    }
    let others = topology.of_type(ServerType::RsPrimary);
    let others = others.map(|other| other.address.clone());
    let former: Vec<_> = others.filter(|other| *other != server.address).collect();
    for address in &former {
        demote(topology, address, "discovery of newer primary");
    }
    server.members().for_each(|member| add(topology, member));
    let mut members: BTreeSet<&ServerAddress> = server.members().collect();
    if members.is_empty() {
        // FerretDB with only TLS does not know its own address, and returns an empty one.
        members.insert(&server.address);
    }
    topology
        .servers
        .retain(|address, _| members.contains(address));
    check_if_has_primary(topology);
    former
        .into_iter()
        .filter(|address| topology.servers.contains_key(address))
        .collect()
}

/// Applies "Using electionId and setVersion to detect stale primaries". Returns true if the primary is not older than
/// any known one; its election is then the latest.
fn record_election(topology: &mut TopologyDescription, server: &ServerDescription) -> bool {
    if server.max_wire_version >= ELECTIONS_FIRST {
        // `None` is less than any value.
        let own = (server.election_id, server.set_version);
        if own < (topology.max_election_id, topology.max_set_version) {
            return false;
        }
        (topology.max_election_id, topology.max_set_version) = own;
        return true;
    }
    if let (Some(version), Some(election)) = (server.set_version, server.election_id) {
        if let (Some(max_version), Some(max_election)) =
            (topology.max_set_version, topology.max_election_id)
        {
            if (version, election) < (max_version, max_election) {
                return false;
            }
        }
        topology.max_election_id = Some(election);
    }
    topology.max_set_version = topology.max_set_version.max(server.set_version);
    true
}

/// Applies "checkIfHasPrimary".
fn check_if_has_primary(topology: &mut TopologyDescription) {
    topology.topology_type = match topology.primary() {
        Some(_) => TopologyType::ReplicaSetWithPrimary,
        None => TopologyType::ReplicaSetNoPrimary,
    };
}

/// Marks a former primary. Its pool stays, because servers since MongoDB 4.2 keep the connections.
fn demote(topology: &mut TopologyDescription, address: &ServerAddress, why: &str) {
    let text = format!("primary marked stale due to {why}");
    let error = Error::new(ErrorKind::Network, text).with_server(address);
    put(topology, ServerDescription::failed(address.clone(), error));
}

/// Returns true if the replica set uses another address for the server.
fn is_misaddressed(server: &ServerDescription) -> bool {
    server.me.as_ref().is_some_and(|me| *me != server.address)
}

fn remove(topology: &mut TopologyDescription, server: &ServerDescription) {
    topology.servers.remove(&server.address);
}

fn put(topology: &mut TopologyDescription, server: ServerDescription) {
    topology
        .servers
        .insert(server.address.clone(), Arc::new(server));
}

/// Adds a server unless it exists; up to [`MAX_SERVERS`].
fn add(topology: &mut TopologyDescription, address: &ServerAddress) {
    if topology.servers.len() < MAX_SERVERS && !topology.servers.contains_key(address) {
        put(topology, ServerDescription::unknown(address.clone()));
    }
}

/// From this wire version on (MongoDB 6.0), elections are compared before versions of the configuration.
const ELECTIONS_FIRST: i32 = 17;

/// The maximum number of servers in a topology. Servers report each other, and each needs a thread.
const MAX_SERVERS: usize = 1000;

#[cfg(test)]
mod tests;
