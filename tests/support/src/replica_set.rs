//! A replica set of bench servers, with elections, partitions and restarts under a test's control.
//!
//! Changes happen only on a test's request: it steps the primary down, elects, partitions and heals. Members behave
//! like MongoDB's: `electionId` grows with each election and `setVersion` with each change of the configuration,
//! `topologyVersion` with every change in hello, and a member that is not primary rejects commands for primaries.
//! Documents are shared: a secondary shows the primary's writes at once.
//!
//! A partitioned primary still regards itself as primary. After the election of another it is stale: later writes to it
//! are recorded ([`ReplicaSet::writes_to_stale_primaries`]), and lost when it is healed. (MongoDB's would step down
//! after ten seconds; this one waits for the test.)
//!
//! Source: "Server Discovery And Monitoring" of the driver specifications; election ids as in MongoDB's
//! `OID::fromTerm`.

use crate::net::lock;
use crate::node::{Maker, Node, NodeOptions};
use crate::pki::Ca;
use crate::server::{Checks, Hello, Request, Role, Standing};
use bson::Document;
use bson::oid::ObjectId;
use std::sync::{Arc, Mutex};
use std::thread;
use std::time::{Duration, Instant};

/// A running replica set; members are counted from 0, and removed ones keep their number.
///
/// ```
/// use mongotls_testbench::replica_set::{Partition, ReplicaSet};
///
/// let set = ReplicaSet::builder("rs0").members(3).start(); // member 0 is primary
/// assert!(set.uri("appName=test").contains("/?replicaSet=rs0&appName=test"));
/// set.partition(0, Partition::FromMembers); // clients still reach it
/// set.elect(1);
/// assert!(set.writes_to_stale_primaries().is_empty());
/// set.heal(0); // a secondary now
/// assert_eq!(set.primary(), Some(1));
/// ```
#[derive(Debug)]
pub struct ReplicaSet {
    name: String,
    maker: Maker,
    state: Mutex<State>,
}

/// The kind of a member's partition.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Partition {
    /// From the members only: clients reach it.
    FromMembers,
    /// No bytes pass: open connections hang, new ones are accepted but never answered.
    Silent,
    /// Open connections end with RST, and so does each new one.
    Reset,
    /// Open connections end, and new ones are refused.
    Refused,
}

/// The options for a [`ReplicaSet`].
#[derive(Debug)]
pub struct ReplicaSetBuilder {
    name: String,
    kinds: Vec<MemberKind>,
    nodes: NodeOptions,
    max_wire_version: i32,
}

/// The kind of a member.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum MemberKind {
    /// It holds data; only a member in `hosts` can become primary.
    Data(Standing),
    /// It holds no data and votes.
    Arbiter,
}

impl ReplicaSetBuilder {
    /// Sets the number of members that can become primary. Default: 3.
    pub fn members(self, count: usize) -> Self {
        self.kinds(&vec![MemberKind::Data(Standing::Host); count])
    }

    /// Sets the members; the first that can becomes primary.
    pub fn kinds(mut self, kinds: &[MemberKind]) -> Self {
        self.kinds = kinds.to_vec();
        self
    }

    /// Sets how their servers are made. Default: plain, at `localhost`.
    pub fn nodes(mut self, nodes: NodeOptions) -> Self {
        self.nodes = nodes;
        self
    }

    /// `maxWireVersion`; from 17 on clients compare election ids before set versions. Default: 21.
    pub fn max_wire_version(mut self, version: i32) -> Self {
        self.max_wire_version = version;
        self
    }

    /// Starts all members and elects the first suitable one.
    ///
    /// # Panics
    ///
    /// If no member can become primary.
    pub fn start(self) -> ReplicaSet {
        let set = ReplicaSet {
            name: self.name,
            maker: Maker::new(self.nodes),
            state: Mutex::new(State {
                members: Vec::new(),
                set_version: 1,
                term: 0,
                primary: None,
                max_wire_version: self.max_wire_version,
            }),
        };
        let mut state = lock(&set.state);
        for kind in self.kinds {
            set.add_to(&mut state, kind);
        }
        let first = (0..state.members.len()).find(|&index| state.can_be_elected(index));
        state.elect(first.expect("a member that can become primary"));
        state.publish(&set.name);
        drop(state);
        set
    }
}

impl ReplicaSet {
    /// Begins a set of that name.
    pub fn builder(name: &str) -> ReplicaSetBuilder {
        ReplicaSetBuilder {
            name: name.into(),
            kinds: Vec::new(),
            nodes: NodeOptions::new(),
            max_wire_version: 21,
        }
        .members(3)
    }

    /// The connection string with all `hosts` as seeds, `replicaSet`, the options for TLS, and these options.
    pub fn uri(&self, options: &str) -> String {
        let state = lock(&self.state);
        let seeds = state.listed(MemberKind::Data(Standing::Host));
        self.uri_of(&seeds, options)
    }

    /// The connection string with these members as seeds.
    pub fn uri_with_seeds(&self, seeds: &[usize], options: &str) -> String {
        let seeds: Vec<_> = seeds.iter().map(|&index| self.address(index)).collect();
        self.uri_of(&seeds, options)
    }

    fn uri_of(&self, seeds: &[String], options: &str) -> String {
        let name = format!("replicaSet={}", self.name);
        self.maker.uri(seeds, &name, options)
    }

    /// The authority that clients trust, or `None` without TLS.
    pub fn ca(&self) -> Option<&Ca> {
        self.maker.ca()
    }

    /// A member: its server, with its record, and its network.
    ///
    /// # Panics
    ///
    /// Here and in the other methods, if there is no member with that index.
    pub fn node(&self, index: usize) -> Arc<Node> {
        Arc::clone(&lock(&self.state).members[index].node)
    }

    /// The address of a member in the set.
    pub fn address(&self, index: usize) -> String {
        self.node(index).address()
    }

    /// The hellos of monitors to a member; see [`Server::checks`](crate::server::Server::checks).
    pub fn checks(&self, index: usize) -> Checks {
        self.node(index).checks()
    }

    /// The primary according to most members.
    pub fn primary(&self) -> Option<usize> {
        lock(&self.state).primary
    }

    /// The documents of `database.collection` in the set.
    pub fn documents(&self, namespace: &str) -> Vec<Document> {
        self.maker.data().documents(namespace)
    }

    /// Makes all members that the others can reach secondaries: there is no primary.
    pub fn step_down(&self) {
        self.change(|state| state.depose());
    }

    /// Makes a member primary, with a new election id. The old primary becomes a secondary, or a stale primary if it is
    /// partitioned.
    ///
    /// # Panics
    ///
    /// If it cannot become primary: it is partitioned, killed, removed, an arbiter, passive or hidden.
    pub fn elect(&self, index: usize) {
        self.change(|state| {
            assert!(
                state.can_be_elected(index),
                "member {index} cannot become primary"
            );
            state.elect(index);
        });
    }

    /// Steps the primary down and elects the next suitable member; returns its index.
    ///
    /// # Panics
    ///
    /// If there is none.
    pub fn fail_over(&self) -> usize {
        let mut next = 0;
        self.change(|state| {
            let count = state.members.len();
            let start = state.primary.map_or(0, |primary| primary + 1);
            let others = (start..start + count).map(|index| index % count);
            let mut others = others.filter(|index| Some(*index) != state.primary);
            next = others
                .find(|&index| state.can_be_elected(index))
                .expect("another member that can become primary");
            state.elect(next);
        });
        next
    }

    /// Partitions a member from the others; for a partitioned member, changes the kind.
    pub fn partition(&self, index: usize, how: Partition) {
        let mut state = lock(&self.state);
        state.part(index);
        let node = &state.members[index].node;
        match how {
            Partition::FromMembers => node.connect(),
            Partition::Silent => {
                node.proxy().pause();
                node.proxy().admit();
            }
            Partition::Reset => {
                node.proxy().admit();
                node.proxy().reset();
            }
            Partition::Refused => node.proxy().refuse(),
        }
    }

    /// Ends the partition of a member. First it receives the state of the others; then its network works.
    pub fn heal(&self, index: usize) {
        self.change(|state| state.rejoin(index));
        self.node(index).connect();
    }

    /// Ends all connections to a member; new ones are accepted.
    pub fn cut(&self, index: usize) {
        self.node(index).proxy().cut();
    }

    /// Holds the bytes between clients and a member, which stays with its set; see [`Proxy::pause`].
    ///
    /// [`Proxy::pause`]: crate::proxy::Proxy::pause
    pub fn stall(&self, index: usize) {
        self.node(index).proxy().pause();
    }

    /// Ends a stall.
    pub fn resume(&self, index: usize) {
        self.node(index).proxy().resume();
    }

    /// Ends a member's process: connections end, new ones are refused. A partition ends with it.
    ///
    /// If it was primary, the others name it as such until another is elected or it steps down.
    pub fn kill(&self, index: usize) {
        let mut state = lock(&self.state);
        state.members[index].alive = false;
        state.members[index].node.kill();
    }

    /// Starts it again: a secondary with another `processId`, without sessions to resume.
    pub fn restart(&self, index: usize) {
        let node = self.node(index);
        node.kill();
        self.change(|state| {
            node.restart();
            state.members[index].alive = true;
            if state.primary == Some(index) {
                state.depose();
            }
            state.rejoin(index);
        });
        node.connect();
    }

    /// Adds a member, a secondary; returns its index.
    pub fn add(&self, kind: MemberKind) -> usize {
        let mut added = 0;
        self.reconfigure(|state| added = self.add_to(state, kind));
        added
    }

    /// Removes a member: it keeps running, and reports that it is in no set. If it was primary, there is no primary.
    pub fn remove(&self, index: usize) {
        self.reconfigure(|state| {
            if state.primary == Some(index) {
                state.depose();
            }
            state.members[index].removed = true;
        });
    }

    /// Gives a member these tags.
    pub fn set_tags(&self, index: usize, tags: Document) {
        self.reconfigure(|state| state.members[index].tags = tags);
    }

    /// Changes the kind of a member; the primary cannot be changed.
    ///
    /// # Panics
    ///
    /// If it is primary.
    pub fn set_kind(&self, index: usize, kind: MemberKind) {
        self.reconfigure(|state| {
            assert_ne!(state.primary, Some(index), "a primary stays in hosts");
            state.members[index].kind = kind;
        });
    }

    /// Hides a secondary from clients.
    ///
    /// # Panics
    ///
    /// If it is primary.
    pub fn hide(&self, index: usize) {
        self.set_kind(index, MemberKind::Data(Standing::Hidden));
    }

    /// Makes a member report in `lastWrite` that it lags by this time. It still shows the primary's writes.
    pub fn set_lag(&self, index: usize, lag: Duration) {
        self.change(|state| state.members[index].lag = lag);
    }

    /// Sets another `maxWireVersion`.
    pub fn set_max_wire_version(&self, version: i32) {
        self.change(|state| state.max_wire_version = version);
    }

    /// The writes to primaries after another had been elected, which are lost; oldest first.
    pub fn writes_to_stale_primaries(&self) -> Vec<Request> {
        let mut writes = self.served_by_stale_primaries();
        writes.retain(Request::is_write);
        writes
    }

    /// The reads from primaries after another had been elected; oldest first.
    pub fn served_by_stale_primaries(&self) -> Vec<Request> {
        let state = lock(&self.state);
        let nodes = state.members.iter().map(|member| &member.node);
        let mut served: Vec<_> = nodes.flat_map(|node| node.server().stale()).collect();
        served.sort_by_key(|request| request.received);
        served
    }

    /// Waits until `holds` returns true, for at most this time; returns true if it did.
    pub fn wait_until(&self, limit: Duration, holds: impl Fn(&Self) -> bool) -> bool {
        let end = Instant::now() + limit;
        while !holds(self) {
            if Instant::now() > end {
                return false;
            }
            thread::sleep(Duration::from_millis(5));
        }
        true
    }

    fn add_to(&self, state: &mut State, kind: MemberKind) -> usize {
        let index = state.members.len();
        // It reports no set before the state has been published.
        let hello = Hello {
            role: Role::OtherMember,
            ..Hello::default()
        };
        state.members.push(Member {
            node: Arc::new(self.maker.make(index, hello)),
            kind,
            tags: Document::new(),
            lag: Duration::ZERO,
            removed: false,
            alive: true,
            parted: false,
        });
        index
    }

    fn reconfigure(&self, change: impl FnOnce(&mut State)) {
        self.change(|state| {
            change(state);
            state.set_version += 1;
        });
    }

    fn change(&self, change: impl FnOnce(&mut State)) {
        let mut state = lock(&self.state);
        change(&mut state);
        state.publish(&self.name);
    }
}

/// The state that the connected members agree on.
#[derive(Debug)]
struct State {
    members: Vec<Member>,
    set_version: i32,
    term: u32,
    primary: Option<usize>,
    max_wire_version: i32,
}

#[derive(Debug)]
struct Member {
    node: Arc<Node>,
    kind: MemberKind,
    tags: Document,
    lag: Duration,
    removed: bool,
    alive: bool,
    parted: bool,
}

impl State {
    fn can_be_elected(&self, index: usize) -> bool {
        let member = &self.members[index];
        let can = member.kind == MemberKind::Data(Standing::Host);
        can && member.alive && !member.parted && !member.removed
    }

    fn elect(&mut self, index: usize) {
        if self.primary != Some(index) {
            self.depose();
        }
        self.primary = Some(index);
        self.term += 1;
    }

    /// Ends the role of the primary; if it cannot be notified, it is stale from now on.
    fn depose(&mut self) {
        if let Some(member) = self.primary.take().map(|old| &self.members[old]) {
            if member.parted {
                member.node.server().cut_off(true);
            }
        }
    }

    fn part(&mut self, index: usize) {
        let is_primary = self.primary == Some(index);
        let member = &mut self.members[index];
        assert!(member.alive, "member {index} is dead");
        // While there is no other primary, the writes to one are replicated and not lost.
        if !member.parted && !is_primary {
            member.node.server().cut_off(false);
        }
        member.parted = true;
    }

    fn rejoin(&mut self, index: usize) {
        self.members[index].parted = false;
    }

    /// Sends each reachable member its current state; the primary last, so that there are never two.
    fn publish(&self, name: &str) {
        let mut order: Vec<_> = (0..self.members.len()).collect();
        order.sort_by_key(|&index| Some(index) == self.primary);
        for index in order {
            let member = &self.members[index];
            if member.parted || !member.alive {
                continue;
            }
            let server = member.node.server();
            let told = self.hello_of(index, name, server.hello());
            if told != server.hello() {
                server.set_hello(|hello| *hello = told);
            }
            server.rejoin(); // after that: a stale primary takes nothing more that could be seen
        }
    }

    /// The hello of a member, with the other settings of its server.
    fn hello_of(&self, index: usize, name: &str, now: Hello) -> Hello {
        let member = &self.members[index];
        let rest = Hello {
            max_wire_version: self.max_wire_version,
            service_id: now.service_id,
            topology_version: now.topology_version,
            hello_ok: now.hello_ok,
            compressors: now.compressors,
            max_bson_object_size: now.max_bson_object_size,
            max_message_size_bytes: now.max_message_size_bytes,
            max_write_batch_size: now.max_write_batch_size,
            extra: now.extra,
            ..Hello::default()
        };
        if member.removed {
            let mut extra = rest.extra.clone();
            extra.insert("isreplicaset", true);
            return Hello {
                role: Role::OtherMember,
                extra,
                ..rest
            };
        }
        let role = match member.kind {
            MemberKind::Arbiter => Role::Arbiter,
            MemberKind::Data(_) if self.primary == Some(index) => Role::Primary,
            MemberKind::Data(_) => Role::Secondary,
        };
        let standing = match member.kind {
            MemberKind::Data(standing) => standing,
            MemberKind::Arbiter => Standing::Host,
        };
        Hello {
            role,
            set_name: Some(name.into()),
            set_version: self.set_version,
            election_id: Some(election_id(self.term)),
            hosts: self.listed(MemberKind::Data(Standing::Host)),
            passives: self.listed(MemberKind::Data(Standing::Passive)),
            arbiters: self.listed(MemberKind::Arbiter),
            standing,
            tags: member.tags.clone(),
            lag: Some(member.lag),
            me: Some(member.node.address()),
            primary: self.primary.map(|index| self.members[index].node.address()),
            ..rest
        }
    }

    /// The addresses of the members of that kind.
    fn listed(&self, kind: MemberKind) -> Vec<String> {
        let members = self.members.iter();
        let listed = members.filter(|member| !member.removed && member.kind == kind);
        listed.map(|member| member.node.address()).collect()
    }
}

/// The id of an election: greater with each term.
fn election_id(term: u32) -> ObjectId {
    let mut bytes = [0; 12];
    bytes[..4].copy_from_slice(&0x7fff_ffff_u32.to_be_bytes());
    bytes[8..].copy_from_slice(&term.to_be_bytes());
    ObjectId::from_bytes(bytes)
}
