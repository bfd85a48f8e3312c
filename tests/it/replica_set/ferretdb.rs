//! FerretDB as a replica set, over TLS: by its address and by SRV records.

use mongotls::Client;
use mongotls::bson::{Document, doc};
use mongotls::topology::TopologyType;
use mongotls_testbench::front::Front;
use mongotls_testbench::peers::{FerretDb, FerretDbOptions, or_skip};
use mongotls_testbench::pki::{Ca, KeyKind, LeafSpec, PkiDir};
use mongotls_testbench::server::ServerTls;

fn serves(client: &Client, collection: &str) {
    let database = client.database("set");
    let insert = doc! { "insert": collection, "documents": [{ "_id": 1 }, { "_id": 2 }] };
    assert_eq!(
        database.run_command(insert).unwrap().get_i32("n").unwrap(),
        2
    );
    let find = doc! { "find": collection, "batchSize": 1 };
    let found = database.run_cursor_command::<Document>(find).unwrap();
    assert_eq!(found.count(), 2);
    let topology = client.snapshot().topology;
    assert_eq!(
        topology.topology_type,
        TopologyType::ReplicaSetWithPrimary,
        "{topology}"
    );
    assert_eq!(topology.servers.len(), 1, "{topology}");
    let handshake = client.server_report().unwrap().handshake.unwrap();
    assert!(handshake.is_verified());
}

#[test]
fn the_set_works_whichever_proxy_terminates_tls() {
    let ca = Ca::root("ferret root", KeyKind::EcP256);
    let identity = ca.issue(LeafSpec::local_server().key_kind(KeyKind::Rsa(2048)));
    let dir = PkiDir::new();
    let ca_file = dir.write("ca.pem", ca.cert_pem());
    let uri = |host: &str| {
        let ca_file = ca_file.display();
        format!("mongodb://{host}/?replicaSet=rs0&tls=true&tlsCAFile={ca_file}")
    };
    // With its own TLS it does not know its address, and names an empty one.
    let options = FerretDbOptions::tls(&identity).repl_set_name("rs0");
    let Some(own) = or_skip(FerretDb::start(&options)) else {
        return;
    };
    let client = Client::connect(&uri(&format!("localhost:{}", own.addr().port()))).unwrap();
    serves(&client, "own");
    // A front that names its own address in hello.
    let options = FerretDbOptions::plain().repl_set_name("rs0");
    let Some(behind) = or_skip(FerretDb::start(&options)) else {
        return;
    };
    let front = Front::start("localhost", &ServerTls::new(&identity), behind.addr());
    let client = Client::connect(&uri(front.address())).unwrap();
    serves(&client, "behind");
}

#[cfg(feature = "srv")]
#[test]
fn the_set_works_by_srv_records() {
    use mongotls::ConnectionString;
    use mongotls_testbench::dns::{DnsServer, Zone};
    use mongotls_testbench::socks5::Socks5Proxy;

    // A name below that of the records; a proxy maps it to this host.
    const HOST: &str = "one.set.example";
    let ca = Ca::root("ferret root", KeyKind::EcP256);
    let leaf = LeafSpec::local_server().key_kind(KeyKind::Rsa(2048));
    let identity = ca.issue(leaf.dns(HOST));
    let dir = PkiDir::new();
    let ca_file = dir.write("ca.pem", ca.cert_pem());
    let options = FerretDbOptions::tls(&identity).repl_set_name("rs0");
    let Some(server) = or_skip(FerretDb::start(&options)) else {
        return;
    };
    let port = server.addr().port();
    let dns = DnsServer::start(Zone::parse(&format!(
        "_mongodb._tcp.db.set.example. SRV {port} {HOST}.\ndb.set.example. TXT \"replicaSet=rs0\""
    )));
    let proxy = Socks5Proxy::builder().name(HOST, server.addr()).start();
    let (ca_file, through) = (ca_file.display(), proxy.options());
    let uri = format!("mongodb+srv://db.set.example/?tlsCAFile={ca_file}&{through}");
    let builder = ConnectionString::parse(&uri).unwrap().into_builder();
    let options = builder.dns_server(dns.addr()).build().unwrap();
    let client = Client::with_options(options).unwrap();
    assert_eq!(client.options().replica_set(), Some("rs0"));
    serves(&client, "srv");
}
