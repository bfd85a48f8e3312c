//! Routers of a sharded cluster, each behind its proxy, that DNS can name or a load balancer hide.
//!
//! Routers come and go ([`ShardedCluster::add`], [`ShardedCluster::remove`]); [`ShardedCluster::zone`]
//! is what a name server says of those that are there. All share their documents, and each knows its own
//! cursors alone. To a client that says `loadBalanced: true` each tells a `serviceId` of its own.

use crate::dns::Zone;
use crate::net::lock;
use crate::node::{Maker, Node, NodeOptions};
use crate::pki::Ca;
use crate::proxy::Proxy;
use crate::server::Hello;
use bson::Document;
use bson::oid::ObjectId;
use std::fmt::Write;
use std::sync::{Arc, Mutex};

/// A running cluster; routers are counted from 0, and removed ones keep their number.
///
/// ```
/// use mongotls_testbench::dns::DnsServer;
/// use mongotls_testbench::node::NodeOptions;
/// use mongotls_testbench::sharded_cluster::ShardedCluster;
///
/// let cluster = ShardedCluster::start(2, NodeOptions::new());
/// let dns = DnsServer::start(cluster.zone("cluster.localhost", 60));
/// cluster.remove(0);
/// dns.set_zone(cluster.zone("cluster.localhost", 60));
/// let balancer = cluster.load_balancer();
/// assert!(cluster.load_balanced_uri(&balancer, "").ends_with("/?loadBalanced=true"));
/// ```
#[derive(Debug)]
pub struct ShardedCluster {
    maker: Maker,
    routers: Mutex<Vec<Router>>,
}

#[derive(Debug)]
struct Router {
    node: Arc<Node>,
    is_there: bool,
}

impl ShardedCluster {
    /// So many routers.
    pub fn start(routers: usize, nodes: NodeOptions) -> Self {
        let cluster = Self {
            maker: Maker::new(nodes),
            routers: Mutex::default(),
        };
        for _ in 0..routers {
            cluster.add();
        }
        cluster
    }

    /// Adds a router; says its index.
    pub fn add(&self) -> usize {
        let mut routers = lock(&self.routers);
        let index = routers.len();
        let hello = Hello {
            service_id: Some(ObjectId::new()),
            ..Hello::mongos()
        };
        routers.push(Router {
            node: Arc::new(self.maker.make(index, hello)),
            is_there: true,
        });
        index
    }

    /// Ends a router: connections end, new ones are refused, and neither names nor balancers made from
    /// now on lead there.
    ///
    /// # Panics
    ///
    /// Here and everywhere, if there is none of that index.
    pub fn remove(&self, index: usize) {
        let router = &mut lock(&self.routers)[index];
        router.is_there = false;
        router.node.kill();
    }

    /// A router: its server, which has recorded what it saw, and its network.
    pub fn node(&self, index: usize) -> Arc<Node> {
        Arc::clone(&lock(&self.routers)[index].node)
    }

    /// The address of a router.
    pub fn address(&self, index: usize) -> String {
        self.node(index).address()
    }

    /// The documents of `database.collection`.
    pub fn documents(&self, namespace: &str) -> Vec<Document> {
        self.maker.data().documents(namespace)
    }

    /// The authority that clients trust; none without TLS.
    pub fn ca(&self) -> Option<&Ca> {
        self.maker.ca()
    }

    /// The connection string of all routers that are there, with what TLS needs, and these options.
    pub fn uri(&self, options: &str) -> String {
        let hosts: Vec<_> = self.nodes().iter().map(|node| node.address()).collect();
        self.maker.uri(&hosts, "", options)
    }

    /// The records that lead from `_mongodb._tcp.NAME` to the routers that are there, with that time to
    /// live in seconds.
    ///
    /// Their targets are their own hosts: for clients that compare domains both must be chosen to fit.
    pub fn zone(&self, name: &str, ttl: u32) -> Zone {
        let mut records = String::new();
        for node in self.nodes() {
            let (host, port) = (node.host(), node.port());
            let _ = writeln!(records, "_mongodb._tcp.{name}. SRV {port} {host}.");
        }
        Zone::parse(&records).ttl(ttl)
    }

    /// A balancer of TCP connections before all routers that are there.
    pub fn load_balancer(&self) -> Proxy {
        let nodes = self.nodes();
        let endpoints: Vec<_> = nodes
            .iter()
            .map(|node| node.proxy().endpoint().clone())
            .collect();
        Proxy::balance(&endpoints)
    }

    /// The connection string of that balancer, at `localhost`.
    pub fn load_balanced_uri(&self, balancer: &Proxy, options: &str) -> String {
        let host = format!("localhost:{}", balancer.addr().port());
        self.maker.uri(&[host], "loadBalanced=true", options)
    }

    fn nodes(&self) -> Vec<Arc<Node>> {
        let routers = lock(&self.routers);
        let there = routers.iter().filter(|router| router.is_there);
        there.map(|router| Arc::clone(&router.node)).collect()
    }
}
