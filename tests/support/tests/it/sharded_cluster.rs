//! Routers, changing DNS names for them, and a load balancer in front of them.

use bson::doc;
use mongotls_testbench::client::RawClient;
use mongotls_testbench::dns::DnsServer;
use mongotls_testbench::node::NodeOptions;
use mongotls_testbench::proxy::Proxy;
use mongotls_testbench::sharded_cluster::ShardedCluster;
use std::collections::BTreeSet;
use std::net::{TcpStream, UdpSocket};
use std::time::Duration;

/// The ports and the times to live in a name server's answer to an SRV query for `_mongodb._tcp.c.test`.
fn ask(dns: &DnsServer) -> (BTreeSet<u16>, BTreeSet<u32>) {
    let socket = UdpSocket::bind("127.0.0.1:0").unwrap();
    socket
        .set_read_timeout(Some(Duration::from_secs(5)))
        .unwrap();
    let mut query = b"\x12\x34\x01\0\0\x01\0\0\0\0\0\0".to_vec();
    query.extend(b"\x08_mongodb\x04_tcp\x01c\x04test\0\0\x21\0\x01");
    socket.send_to(&query, dns.addr()).unwrap();
    let mut reply = [0; 2048];
    let length = socket.recv(&mut reply).unwrap();
    let (mut ports, mut ttls) = (BTreeSet::new(), BTreeSet::new());
    let mut rest = &reply[query.len()..length];
    while !rest.is_empty() {
        // A pointer to the name, type and class, the time to live, the length; priority, weight, port.
        ttls.insert(u32::from_be_bytes(rest[6..10].try_into().unwrap()));
        let length = usize::from(u16::from_be_bytes([rest[10], rest[11]]));
        ports.insert(u16::from_be_bytes([rest[16], rest[17]]));
        rest = &rest[12 + length..];
    }
    (ports, ttls)
}

fn ports(cluster: &ShardedCluster, indexes: &[usize]) -> BTreeSet<u16> {
    let ports = indexes.iter().map(|&index| cluster.node(index).port());
    ports.collect()
}

#[test]
fn names_follow_the_routers_that_are_there() {
    let cluster = ShardedCluster::start(2, NodeOptions::new());
    let dns = DnsServer::start(cluster.zone("c.test", 60));
    assert_eq!(ask(&dns), (ports(&cluster, &[0, 1]), BTreeSet::from([60])));

    let added = cluster.add();
    cluster.remove(0);
    assert!(TcpStream::connect(cluster.node(0).proxy().addr()).is_err());
    dns.set_zone(cluster.zone("c.test", 5));
    assert_eq!(
        ask(&dns),
        (ports(&cluster, &[1, added]), BTreeSet::from([5]))
    );
    assert_eq!(
        cluster.uri("w=1"),
        format!(
            "mongodb://{},{}/?w=1",
            cluster.address(1),
            cluster.address(added)
        )
    );
}

#[test]
fn routers_share_documents_and_keep_cursors_to_themselves() {
    let cluster = ShardedCluster::start(2, NodeOptions::new());
    let connect = |index| RawClient::connect(cluster.node(index).proxy().addr()).unwrap();
    let (mut one, mut two) = (connect(0), connect(1));
    let hello = one.command("admin", doc! { "hello": 1 }).unwrap();
    assert_eq!(hello.get_str("msg").unwrap(), "isdbgrid");
    let insert = doc! { "insert": "c", "documents": [{ "_id": 1 }, { "_id": 2 }] };
    one.command("db", insert).unwrap();
    assert_eq!(cluster.documents("db.c").len(), 2);
    let find = doc! { "find": "c", "batchSize": 1 };
    let reply = two.command("db", find).unwrap();
    let id = reply.get_document("cursor").unwrap().get_i64("id").unwrap();
    let more = doc! { "getMore": id, "collection": "c" };
    let reply = one.command("db", more.clone()).unwrap();
    assert_eq!(reply.get_i32("code").unwrap(), 43);
    let reply = two.command("db", more).unwrap();
    assert_eq!(reply.get_f64("ok").unwrap(), 1.0);
}

#[test]
fn a_load_balancer_gives_each_connection_the_next_router() {
    let cluster = ShardedCluster::start(3, NodeOptions::new().secure());
    let balancer = cluster.load_balancer();
    let service = |balancer: &Proxy| {
        let ca = cluster.ca().unwrap().cert();
        let mut client = RawClient::connect_tls(balancer.addr(), "localhost", ca).unwrap();
        let hello = doc! { "hello": 1, "loadBalanced": true };
        let reply = client.command("admin", hello).unwrap();
        reply.get_object_id("serviceId").unwrap()
    };
    let services: Vec<_> = (0..6).map(|_| service(&balancer)).collect();
    assert_eq!(services[..3], services[3..]);
    assert_eq!(services.iter().collect::<BTreeSet<_>>().len(), 3);
    let uri = cluster.load_balanced_uri(&balancer, "appName=a");
    let port = balancer.addr().port();
    let start = format!("mongodb://localhost:{port}/?loadBalanced=true&tls=true&tlsCAFile=");
    assert!(uri.starts_with(&start) && uri.ends_with("&appName=a"));

    cluster.remove(0);
    let balancer = cluster.load_balancer();
    let services: BTreeSet<_> = (0..4).map(|_| service(&balancer)).collect();
    assert_eq!(services.len(), 2);
}
