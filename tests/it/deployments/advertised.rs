//! The seed works but the advertised host does not: each reason, as text and by field.

use std::net::{SocketAddr, TcpListener, TcpStream};
use std::time::Duration;

use mongotls_testbench::pki::{Ca, KeyKind, LeafSpec, Revocation, Validity};
use mongotls_testbench::server::{Hello, Role, Server, ServerTls};
use mongotls_testbench::stranger;
use serde_json::{Value, json};

use super::{Set, codes, finding, members, text};
use crate::cli::{doctor, mongotls};

#[test]
fn an_advertised_host_missing_in_its_certificate_is_reported() {
    let set = Set::of(&[Role::Primary]);
    let tls = ServerTls::new(&set.ca.issue(LeafSpec::server("localhost")));
    set.servers[0].set_tls(&tls);
    let advertised = set.servers[0].addr().to_string();
    set.servers[0].set_hello(|hello| {
        *hello = Hello::member(Role::Primary, "rs0", &advertised, &[&advertised]);
    });
    let uri = set.uri(&set.hosts(), "&replicaSet=rs0");
    let run = mongotls(&["doctor", &uri]);
    assert_eq!((run.code, run.err.as_str()), (1, ""), "{}", run.out);
    let text = text(&run, &set);
    let (block, rest) = text.split_once("\nremedy\n").unwrap();
    let opening = "\
options ok N ms TLS is on; trust anchors: DIR/ca.pem N from tlsCAFile)
    tlsCAFile DIR/ca.pem: a certificate
CN=bench root, N to N days left)

127.0.0.1:10001, named by localhost:10001
resolve ok N ms N
connect ok N ms N
tls FAILED N ms

certificate: ip-address-mismatch
  server 127.0.0.1:10001: TLS handshake failed: ";
    assert!(block.starts_with(opening), "{}", run.out);
    assert!(
        block.ends_with("\n  advertised by           localhost:10001\n"),
        "{}",
        run.out
    );
    let expected = "  \
  The replica set's configuration has the host \"127.0.0.1\", so the member's certificate must name it: issue one with \"127.0.0.1\" in its subject alternative names, or change the host of the member (rs.reconfig()) to a name that the certificate has.

replica set \"rs0\", no primary within reach
  host             state             name  chain              issuer      days  tls      revocation   wire  cause
* localhost:10001  primary, dropped  yes   verified, depth 1  bench root  364   TLSv1.3  not-checked  0-21  ok
  127.0.0.1:10001  -                 no    -                  bench root  364   -        -            -     ip-address-mismatch
  * of the seed list; state: as the host reports it; days: until the first certificate of the chain ends

  FAILURE  localhost:10001 answers, and the member that it names does not work: 127.0.0.1:10001 (ip-address-mismatch: no IP address in the certificate matches the address) [advertised-host-fails]
           The replica set's configuration has the host \"127.0.0.1\", so the member's certificate must name it: issue one with \"127.0.0.1\" in its subject alternative names, or change the host of the member (rs.reconfig()) to a name that the certificate has. Until then, directConnection=true with localhost:10001 as the only host reaches that primary alone.
  warning  localhost:10001 calls itself 127.0.0.1:10001: a client drops the address that it came by, and takes the other [other-address]
           Name the members in the connection string as rs.conf() does: that spares each client the detour, and is sure to verify the certificate for the same name.
  1 of 2 hosts fails";
    assert_eq!(rest, expected, "{}", run.out);
}

/// A port that accepts no more connections.
fn full() -> (SocketAddr, TcpListener, Vec<TcpStream>) {
    let socket = socket2::Socket::new(socket2::Domain::IPV4, socket2::Type::STREAM, None).unwrap();
    let any: SocketAddr = "127.0.0.1:0".parse().unwrap();
    socket.bind(&any.into()).unwrap();
    socket.listen(0).unwrap();
    let listener = TcpListener::from(socket);
    let address = listener.local_addr().unwrap();
    let fill = || TcpStream::connect_timeout(&address, Duration::from_millis(100));
    let held = std::iter::from_fn(|| fill().ok()).take(100).collect();
    (address, listener, held)
}

#[test]
fn each_failure_of_an_advertised_host_is_the_verdict() {
    let set = Set::of(&[Role::Primary]);
    let seed = set.host(0);
    let revoked = set.ca.issue(LeafSpec::local_server());
    let crl = set.ca.crl().revoke(Revocation::of(&revoked.cert)).build();
    let crl = set.dir.write("crl.pem", crl.to_pem().unwrap());
    let revoked = Server::builder().tls(ServerTls::new(&revoked)).start();
    let expired = set.server(LeafSpec::local_server().validity(Validity::expired()));
    let unnamed = set.server(LeafSpec::server("db.example.com"));
    let of_other_ca = Ca::root("another root", KeyKind::EcP256);
    let foreign = ServerTls::new(&of_other_ca.issue(LeafSpec::local_server()));
    let foreign = Server::builder().tls(foreign).start();
    let old = set.server(LeafSpec::local_server());
    old.set_hello(|hello| hello.max_wire_version = 6);
    let silent = stranger::silent();
    let (full, _listener, _held) = full();
    let at = |server: &Server| format!("localhost:{}", server.port());
    let of_name = "rs.reconfig()";
    let cases = [
        (
            "db1.mongotls.invalid:27017".to_owned(),
            &["dns-not-found", "dns-failed"][..],
            "resolve",
            of_name,
        ),
        (
            stranger::nobody().to_string(),
            &["connection-refused"],
            "connect",
            of_name,
        ),
        (full.to_string(), &["connect-timeout"], "connect", of_name),
        (at(&unnamed), &["hostname-mismatch"], "tls", of_name),
        (at(&expired), &["certificate-expired"], "tls", "Renew"),
        (
            at(&foreign),
            &["issuer-unknown", "untrusted-root"],
            "tls",
            "tlsCAFile",
        ),
        (at(&revoked), &["revoked-crl"], "revocation", "certificate"),
        (
            silent.addr().to_string(),
            &["handshake-timeout"],
            "tls",
            "connectTimeoutMS",
        ),
        (at(&old), &["hello-failed"], "hello", "Update the server"),
    ];
    for (advertised, expected, stage, remedy) in cases {
        let hosts = [seed.clone(), advertised.clone()];
        set.advertise(0, Role::Primary, &hosts);
        let options = format!(
            "&replicaSet=rs0&connectTimeoutMS=2000&tlsCRLFile={}",
            crl.display()
        );
        let (code, object) = doctor(&set.uri(&hosts[..1], &options));
        assert_eq!((code, &object["ok"]), (1, &json!(false)), "{advertised}");
        let cause = object["cause"].as_str().unwrap();
        assert!(expected.contains(&cause), "{advertised}: {object:#}");
        assert_eq!(object["stage"], stage, "{cause}");
        assert_eq!(object["server"], advertised, "{cause}");
        assert_eq!(object["facts"]["advertised_by"], json!([seed]), "{cause}");
        let told = finding(&object, "advertised-host-fails");
        for text in [&object["remedy"], &told["remedy"]] {
            assert!(text.as_str().unwrap().contains(remedy), "{cause}: {text}");
        }
        let message = told["message"].as_str().unwrap();
        let begins = format!(
            "{seed} answers, and the member that it names does not work: {advertised} ({cause}: "
        );
        assert!(message.starts_with(&begins), "{message}");
        assert!(
            told["remedy"]
                .as_str()
                .unwrap()
                .contains("directConnection=true")
        );
        assert_eq!(codes(&object), ["advertised-host-fails"], "{cause}");
        let row = members(&object)[advertised.as_str()];
        assert_eq!((&row["ok"], &row["cause"]), (&json!(false), &json!(cause)));
        let matches = match cause {
            "hostname-mismatch" => json!(false),
            "hello-failed" => json!(true),
            _ => Value::Null,
        };
        assert_eq!(row["name_matches"], matches, "{cause}");
        let is_past = row["days_left"].as_i64().is_some_and(|days| days < 0);
        assert_eq!(is_past, cause == "certificate-expired", "{row}");
    }
}

#[test]
fn hosts_that_fail_alike_are_shown_in_full_once() {
    let set = Set::of(&[Role::Primary]);
    let dead: Vec<_> = (0..3).map(|_| stranger::nobody().to_string()).collect();
    let hosts: Vec<_> = set.hosts().into_iter().chain(dead.clone()).collect();
    set.advertise(0, Role::Primary, &hosts);
    let run = mongotls(&["doctor", &set.uri(&hosts[..1], "&replicaSet=rs0")]);
    let count = |text: &str| run.out.matches(text).count();
    assert_eq!(count("\nnetwork: connection-refused\n"), 1, "{}", run.out);
    assert_eq!(
        count("  connection-refused, as 127.0.0.1:"),
        2,
        "{}",
        run.out
    );
    assert_eq!(count(", named by localhost:"), 3, "{}", run.out);
    assert!(run.out.ends_with("\n  3 of 4 hosts fail\n"), "{}", run.out);
}
