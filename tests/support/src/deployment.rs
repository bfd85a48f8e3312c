//! The topologies that drivers distinguish, in front of one store.
//!
//! A [`Deployment`] is what a runner of the drivers' specification tests needs: a topology, a server version, and the
//! connection strings of the unified test format. Its servers forward data commands to a [`Backend`], such as
//! [`Secantus`](crate::peers::Secantus), and do the rest themselves: hello, elections, fail points, disconnects.
//! Each server has its own fail points, cursors and transactions.

use crate::net::lock;
use crate::node::{Maker, Node, NodeOptions};
use crate::proxy::Proxy;
use crate::replica_set::ReplicaSet;
use crate::server::{Backend, Hello, Version};
use crate::sharded_cluster::ShardedCluster;
use bson::doc;
use std::fmt;
use std::str::FromStr;
use std::sync::{Arc, Mutex, Weak};

/// The kind of a deployment, with the names of the unified test format.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Topology {
    /// `single`: a standalone server.
    Single,
    /// `replicaset`: a primary and two secondaries.
    ReplicaSet,
    /// `sharded`: two routers.
    Sharded,
    /// `load-balanced`: two routers behind balancers.
    LoadBalanced,
}

impl Topology {
    /// All kinds.
    pub const ALL: [Self; 4] = [
        Self::Single,
        Self::ReplicaSet,
        Self::Sharded,
        Self::LoadBalanced,
    ];

    /// The name in the unified test format.
    pub fn name(self) -> &'static str {
        match self {
            Self::Single => "single",
            Self::ReplicaSet => "replicaset",
            Self::Sharded => "sharded",
            Self::LoadBalanced => "load-balanced",
        }
    }
}

impl fmt::Display for Topology {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}

impl FromStr for Topology {
    type Err = String;

    fn from_str(name: &str) -> Result<Self, String> {
        let kind = Self::ALL.into_iter().find(|kind| kind.name() == name);
        kind.ok_or_else(|| format!("no such topology: {name}"))
    }
}

/// A running deployment; dropping it ends its servers, not the store.
///
/// ```no_run
/// use mongotls_testbench::deployment::{Deployment, Topology};
/// use mongotls_testbench::peers::Secantus;
/// use mongotls_testbench::server::Version;
///
/// let store = Secantus::shared()?.backend();
/// let sharded = Deployment::start(Topology::Sharded, Version::V8_2, &store);
/// println!("{}", sharded.uri_of_all("retryWrites=false"));
/// # Ok::<(), mongotls_testbench::peers::PeerUnavailable>(())
/// ```
#[derive(Debug)]
pub struct Deployment {
    topology: Topology,
    version: Version,
    parts: Parts,
}

#[derive(Debug)]
#[expect(
    clippy::large_enum_variant,
    reason = "a test has few deployments, and does not move them"
)]
enum Parts {
    Single(Box<(Maker, Arc<Node>)>),
    ReplicaSet(Arc<ReplicaSet>),
    Sharded(ShardedCluster),
    LoadBalanced {
        // Declared before the routers: their connections have ended when those are dropped.
        one: Proxy,
        all: Proxy,
        routers: ShardedCluster,
    },
}

impl Deployment {
    /// Starts a deployment without TLS and authentication.
    ///
    /// # Panics
    ///
    /// If a load-balanced deployment is older than 5.0, which brought load balancers.
    pub fn start(topology: Topology, version: Version, store: &Backend) -> Self {
        Self::start_with(topology, version, store, NodeOptions::new())
    }

    /// Starts a deployment whose servers have these further options, such as TLS or users.
    ///
    /// # Panics
    ///
    /// If a load-balanced deployment is older than 5.0, which brought load balancers.
    pub fn start_with(
        topology: Topology,
        version: Version,
        store: &Backend,
        options: NodeOptions,
    ) -> Self {
        let options = options.backend(store).version(version);
        let parts = match topology {
            Topology::Single => {
                let maker = Maker::new(options);
                let node = Arc::new(maker.make(0, Hello::default()));
                Parts::Single(Box::new((maker, node)))
            }
            Topology::ReplicaSet => Parts::ReplicaSet(replica_set(version, options)),
            Topology::Sharded => {
                let routers = ShardedCluster::start(2, options);
                for index in 0..2 {
                    let node = routers.node(index);
                    // Only a router behind a balancer has one.
                    node.server().set_hello(|hello| hello.service_id = None);
                }
                Parts::Sharded(routers)
            }
            Topology::LoadBalanced => {
                assert!(
                    version.wire >= 13,
                    "{} has no load balancers",
                    version.name()
                );
                let routers = ShardedCluster::start(2, options);
                let first = routers.node(0).proxy().endpoint().clone();
                Parts::LoadBalanced {
                    one: Proxy::balance(&[first]),
                    all: routers.load_balancer(),
                    routers,
                }
            }
        };
        Self {
            topology,
            version,
            parts,
        }
    }

    /// Its kind.
    pub fn topology(&self) -> Topology {
        self.topology
    }

    /// The version that its servers claim.
    pub fn version(&self) -> Version {
        self.version
    }

    /// The connection string of the deployment, with one router only if it has routers, and these options.
    ///
    /// A client with it is one whose `useMultipleMongoses` is false in the unified test format.
    pub fn uri(&self, options: &str) -> String {
        match &self.parts {
            Parts::Sharded(routers) => routers.uri_of(&[routers.address(0)], options),
            Parts::LoadBalanced { one, routers, .. } => routers.load_balanced_uri(one, options),
            _ => self.uri_of_all(options),
        }
    }

    /// The connection string of all servers, with these options: `useMultipleMongoses` is true.
    pub fn uri_of_all(&self, options: &str) -> String {
        match &self.parts {
            Parts::Single(parts) => parts.0.uri(&[parts.1.address()], "", options),
            Parts::ReplicaSet(set) => set.uri(options),
            Parts::Sharded(routers) => routers.uri(options),
            Parts::LoadBalanced { all, routers, .. } => routers.load_balanced_uri(all, options),
        }
    }

    /// Its servers: the members, the routers, or the one server.
    pub fn nodes(&self) -> Vec<Arc<Node>> {
        let all = |count: usize, node: &dyn Fn(usize) -> Arc<Node>| (0..count).map(node).collect();
        match &self.parts {
            Parts::Single(parts) => vec![Arc::clone(&parts.1)],
            Parts::ReplicaSet(set) => all(MEMBERS, &|index| set.node(index)),
            Parts::Sharded(routers) | Parts::LoadBalanced { routers, .. } => {
                all(2, &|index| routers.node(index))
            }
        }
    }

    /// The replica set, if it is one: elections and partitions are there.
    pub fn replica_set(&self) -> Option<&ReplicaSet> {
        match &self.parts {
            Parts::ReplicaSet(set) => Some(set),
            _ => None,
        }
    }

    /// Turns off the fail points of all servers.
    pub fn clear_fail_points(&self) {
        for node in self.nodes() {
            node.server().clear_fail_points();
        }
    }
}

/// A set whose primary steps down on `replSetStepDown`; another member is elected at once.
fn replica_set(version: Version, options: NodeOptions) -> Arc<ReplicaSet> {
    let set: Arc<Mutex<Weak<ReplicaSet>>> = Arc::default();
    let known = Arc::clone(&set);
    let options = options.setup_also(move |index, builder| {
        let known = Arc::clone(&known);
        builder.handle("replSetStepDown", move |_| {
            let set = lock(&known).upgrade()?;
            if set.primary() == Some(index) {
                set.fail_over();
            }
            Some(doc! { "ok": 1.0 })
        })
    });
    let started = ReplicaSet::builder("rs0").members(MEMBERS).nodes(options);
    let started = Arc::new(started.max_wire_version(version.wire).start());
    *lock(&set) = Arc::downgrade(&started);
    started
}

/// The number of members of a replica set.
const MEMBERS: usize = 3;
