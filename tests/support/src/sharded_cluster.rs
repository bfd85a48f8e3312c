//! Routers of a sharded cluster, each behind its proxy, reachable via DNS or a load balancer.
//!
//! Routers can be added and removed ([`ShardedCluster::add`], [`ShardedCluster::remove`]); [`ShardedCluster::zone`] has
//! the DNS records of the present ones. All share their documents, and each knows only its own cursors. To a client
//! that sends `loadBalanced: true` each reports a separate `serviceId`.

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
    /// Starts this number of routers.
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

    /// Adds a router; returns its index.
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

    /// Stops a router: connections end, new ones are refused, and neither zones nor balancers made from now on include
    /// it.
    ///
    /// # Panics
    ///
    /// Here and in the other methods, if there is no router with that index.
    pub fn remove(&self, index: usize) {
        let router = &mut lock(&self.routers)[index];
        router.is_there = false;
        router.node.kill();
    }

    /// A router: its server, with its record, and its network.
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

    /// The authority that clients trust, or `None` without TLS.
    pub fn ca(&self) -> Option<&Ca> {
        self.maker.ca()
    }

    /// The connection string of all present routers, with the options for TLS, and these options.
    pub fn uri(&self, options: &str) -> String {
        let hosts: Vec<_> = self.nodes().iter().map(|node| node.address()).collect();
        self.maker.uri(&hosts, "", options)
    }

    /// The connection string of these routers, with the options for TLS, and these options.
    pub fn uri_of(&self, hosts: &[String], options: &str) -> String {
        self.maker.uri(hosts, "", options)
    }

    /// The records of `_mongodb._tcp.NAME` that lead to the present routers, with that time to live in seconds.
    ///
    /// Their targets are the hosts of the routers: for clients that compare domains, both must be chosen to match.
    pub fn zone(&self, name: &str, ttl: u32) -> Zone {
        let mut records = String::new();
        for node in self.nodes() {
            let (host, port) = (node.host(), node.port());
            let _ = writeln!(records, "_mongodb._tcp.{name}. SRV {port} {host}.");
        }
        Zone::parse(&records).ttl(ttl)
    }

    /// A balancer of TCP connections in front of all present routers.
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
