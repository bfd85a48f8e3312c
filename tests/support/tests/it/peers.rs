//! Real programs as peers. A test whose program is missing is skipped, with a message.

use bson::{Document, doc};
use mongotls_testbench::client::{RawClient, agrees_on_groups, tls};
use mongotls_testbench::front::Front;
use mongotls_testbench::peers::{
    ClientCertificates, FerretDb, FerretDbOptions, HaProxy, HaProxyOptions, MicroSocks,
    OpensslOcsp, OpensslOcspOptions, SServer, Secantus, SecantusOptions, or_skip,
};
use mongotls_testbench::pki::{Ca, Identity, KeyKind, LeafSpec, PkiDir, Revocation};
use mongotls_testbench::server::{Server, ServerTls};
use mongotls_testbench::wire::{MORE_TO_COME, Msg, OP_MSG};
use openssl::ssl::{Ssl, SslContext, SslMethod, SslRef, StatusType};
use openssl::x509::CrlReason;
use std::io::{Read, Write};
use std::net::TcpStream;
use std::process::Command;

#[test]
fn secantus_answers_over_tls_and_rejects_the_unknown() {
    let ca = Ca::root("root", KeyKind::EcP256);
    let identity = ca.issue(LeafSpec::local_server());
    let client = ca.issue(LeafSpec::client("app"));
    let options = SecantusOptions::tls(&identity)
        .client_ca(ca.cert(), true)
        .auth();
    let Some(server) = or_skip(Secantus::start(&options)) else {
        return;
    };
    let bare = RawClient::connect_tls(server.addr(), "localhost", ca.cert());
    assert!(
        bare.and_then(|mut bare| bare.command("admin", doc! { "hello": 1 }))
            .is_err()
    );
    let mut client =
        RawClient::connect_tls_as(server.addr(), "localhost", ca.cert(), &client).unwrap();
    let hello = client.command("admin", doc! { "hello": 1 }).unwrap();
    assert_eq!(hello.get_str("setName").unwrap(), "secantus");
    // Without a user nothing else is allowed.
    let reply = client.command("db", doc! { "find": "c" }).unwrap();
    assert_eq!(reply.get_i32("code").unwrap(), 13, "{reply}");
}

#[test]
fn ferretdb_answers_over_tls_and_keeps_documents() {
    let ca = Ca::root("root", KeyKind::EcP256);
    let identity = ca.issue(LeafSpec::local_server());
    let client = ca.issue(LeafSpec::client("app"));
    let options = FerretDbOptions::tls(&identity).client_ca(ca.cert());
    let Some(server) = or_skip(FerretDb::start(&options)) else {
        return;
    };
    let mut bare = RawClient::connect_tls(server.addr(), "localhost", ca.cert()).unwrap();
    assert!(bare.legacy_hello().is_err());
    let mut client =
        RawClient::connect_tls_as(server.addr(), "localhost", ca.cert(), &client).unwrap();
    let hello = client.legacy_hello().unwrap();
    assert!(hello.get_bool("ismaster").unwrap(), "{hello}");
    let documents: Vec<_> = (0..3).map(|n| doc! { "_id": n }).collect();
    let insert = doc! { "insert": "c", "documents": documents };
    let reply = client.command("db", insert).unwrap();
    assert_eq!(reply.get_i32("n").unwrap(), 3, "{reply}");
    let addr = server.addr();
    drop(server);
    assert!(std::net::TcpStream::connect(addr).is_err());
}

fn hosts(hello: &Document) -> Vec<&str> {
    let hosts = hello.get_array("hosts").unwrap().iter();
    hosts.map(|host| host.as_str().unwrap()).collect()
}

#[test]
fn ferretdb_runs_without_tls_as_a_replica_set() {
    let options = FerretDbOptions::plain().repl_set_name("rs0");
    let Some(server) = or_skip(FerretDb::start(&options)) else {
        return;
    };
    let mut client = RawClient::connect(server.addr()).unwrap();
    let hello = client.legacy_hello().unwrap();
    assert_eq!(hello.get_str("setName").unwrap(), "rs0");
    assert_eq!(hosts(&hello), [server.addr().to_string()]);
    for key in [
        "me",
        "primary",
        "setVersion",
        "electionId",
        "topologyVersion",
    ] {
        assert!(!hello.contains_key(key), "{key}");
    }
}

#[test]
fn ferretdb_is_a_replica_set_over_tls_behind_a_front_alone() {
    let ca = Ca::root("root", KeyKind::EcP256);
    let identity = ca.issue(LeafSpec::local_server());
    let connect = |addr| RawClient::connect_tls(addr, "localhost", ca.cert()).unwrap();
    let options = FerretDbOptions::tls(&identity).repl_set_name("rs0");
    let Some(server) = or_skip(FerretDb::start(&options)) else {
        return;
    };
    let hello = connect(server.addr()).legacy_hello().unwrap();
    assert_eq!(hosts(&hello), [""]);

    let server = FerretDb::start(&FerretDbOptions::plain().repl_set_name("rs0")).unwrap();
    let front = Front::start("localhost", &ServerTls::new(&identity), server.addr());
    assert_eq!(
        front.address(),
        format!("localhost:{}", front.addr().port())
    );
    let mut client = connect(front.addr());
    let by_query = client.legacy_hello().unwrap();
    let by_msg = client.command("admin", doc! { "hello": 1 }).unwrap();
    for hello in [by_query, by_msg] {
        assert_eq!(hello.get_str("setName").unwrap(), "rs0");
        assert_eq!(hosts(&hello), [front.address()]);
    }
    let insert = doc! { "insert": "c", "documents": [{ "hosts": 1, "setName": 2 }] };
    let mut unacknowledged = Msg::of(insert.clone());
    unacknowledged.flags = MORE_TO_COME;
    unacknowledged.body.insert("$db", "db");
    client.send(OP_MSG, unacknowledged.encode()).unwrap();
    let reply = client.command("db", insert).unwrap();
    assert_eq!(reply.get_i32("n").unwrap(), 1, "{reply}");
}

#[test]
fn haproxy_fronts_the_bench_server() {
    let ca = Ca::root("root", KeyKind::EcP256);
    let identity = ca
        .intermediate("middle", KeyKind::EcP256)
        .issue(LeafSpec::local_server());
    let server = Server::builder().start();
    let options = HaProxyOptions::new(&identity, server.addr()).versions("TLSv1.2", "TLSv1.2");
    let Some(proxy) = or_skip(HaProxy::start(&options)) else {
        return;
    };
    let mut client = RawClient::connect_tls(proxy.addr(), "localhost", ca.cert()).unwrap();
    assert_eq!(client.stream.ssl().version_str(), "TLSv1.2");
    client.legacy_hello().unwrap();
    assert_eq!(server.count_of("isMaster"), 1);

    let app = ca.issue(LeafSpec::client("app"));
    let gone = ca.issue(LeafSpec::client("gone"));
    let crl = ca.crl().revoke(Revocation::of(&gone.cert)).build();
    let options = HaProxyOptions::new(&identity, server.addr())
        .clients(ClientCertificates::Required, ca.cert())
        .crl(&crl);
    let proxy = HaProxy::start(&options).unwrap();
    let visit = |client| {
        let stream = tls(proxy.addr(), "localhost", Some(ca.cert()), client)?;
        RawClient::over(stream).legacy_hello()
    };
    visit(Some(&app)).unwrap();
    let refusal = |client| visit(client).unwrap_err().to_string();
    assert!(refusal(None).contains("certificate required"));
    assert!(refusal(Some(&gone)).contains("certificate revoked"));
}

#[test]
fn s_server_takes_openssl_arguments() {
    let ca = Ca::root("root", KeyKind::EcP256);
    let identity = ca.issue(LeafSpec::local_server());
    let arguments = ["-tls1_3", "-groups", "P-521"];
    let Some(server) = or_skip(SServer::start(&identity, &arguments)) else {
        return;
    };
    assert!(agrees_on_groups(server.addr(), "P-521").unwrap());
    assert!(!agrees_on_groups(server.addr(), "X25519:P-256").unwrap());
    let wrong = SServer::start(&identity, &["-nonsense"]).unwrap_err();
    assert!(wrong.what.contains("nonsense"), "{wrong}");
}

#[test]
fn haproxy_staples_what_it_is_given() {
    let ca = Ca::root("root", KeyKind::EcP256);
    let identity = ca.issue(LeafSpec::local_server());
    let server = Server::builder().start();
    let response = ocsp_response(&ca, &identity);
    let options = HaProxyOptions::new(&identity, server.addr()).staple(&response, ca.cert());
    let Some(proxy) = or_skip(HaProxy::start(&options)) else {
        return;
    };
    let mut builder = SslContext::builder(SslMethod::tls_client()).unwrap();
    let keep = |ssl: &mut SslRef| Ok(ssl.ocsp_status().is_some());
    builder.set_status_callback(keep).unwrap();
    let mut ssl = Ssl::new(&builder.build()).unwrap();
    ssl.set_status_type(StatusType::OCSP).unwrap();
    let stream = ssl.connect(TcpStream::connect(proxy.addr()).unwrap());
    let stream = stream.unwrap();
    assert_eq!(stream.ssl().ocsp_status(), Some(&response[..]));
}

/// A response with the status good, made by the `openssl` program.
fn ocsp_response(ca: &Ca, identity: &Identity) -> Vec<u8> {
    let dir = PkiDir::new();
    dir.write("ca.pem", ca.cert_pem());
    dir.write("ca-key.pem", ca.key().private_key_to_pem_pkcs8().unwrap());
    dir.write("server.pem", identity.cert_pem());
    let serial = identity.serial_hex();
    dir.write(
        "index",
        format!("V\t491231235959Z\t\t{serial}\tunknown\t/CN=x\n"),
    );
    for step in [
        "-issuer ca.pem -cert server.pem -no_nonce -reqout request",
        "-index index -CA ca.pem -rsigner ca.pem -rkey ca-key.pem -reqin request -respout response -ndays 7",
    ] {
        let made = Command::new("openssl")
            .arg("ocsp")
            .args(step.split(' '))
            .current_dir(dir.path())
            .output()
            .unwrap();
        assert!(made.status.success(), "{made:?}");
    }
    std::fs::read(dir.path().join("response")).unwrap()
}

/// The output of `openssl ocsp` as a client for `certs`, in the order of its lines.
fn ask_responder(url: &str, ca: &Ca, certs: &[&Identity]) -> String {
    let dir = PkiDir::new();
    dir.write("ca.pem", ca.cert_pem());
    let mut command = Command::new("openssl");
    let arguments = "ocsp -resp_text -no_nonce -CAfile ca.pem -issuer ca.pem";
    command.args(arguments.split(' ')).args(["-url", url]);
    for (number, identity) in certs.iter().enumerate() {
        let name = format!("cert{number}");
        dir.write(&name, identity.cert_pem());
        command.args(["-cert", &name]);
    }
    let output = command.current_dir(dir.path()).output().unwrap();
    [output.stdout, output.stderr]
        .map(|bytes| String::from_utf8_lossy(&bytes).into_owned())
        .concat()
}

#[test]
fn openssl_ocsp_knows_what_it_is_told() {
    let ca = Ca::root("root", KeyKind::EcP256);
    let Some(responder) = or_skip(OpensslOcsp::start(&OpensslOcspOptions::new(&ca))) else {
        return;
    };
    let issue = || ca.issue(LeafSpec::local_server().ocsp_url(&responder.url()));
    let (good, gone, unknown) = (issue(), issue(), issue());
    responder.good(&good.cert);
    responder.revoked(&gone.cert, -86_400, Some(CrlReason::KEY_COMPROMISE));
    let said = ask_responder(&responder.url(), &ca, &[&good, &gone, &unknown]);
    for line in [
        "Response verify OK",
        "cert0: good",
        "cert1: revoked",
        "Reason: keyCompromise",
        "cert2: unknown",
        "Signature Algorithm: ecdsa-with-SHA256",
    ] {
        assert!(said.contains(line), "{line}: {said}");
    }
    // Each change applies to the next request.
    responder.good(&unknown.cert);
    responder.revoked(&good.cert, -60, None);
    responder.good(&gone.cert);
    let said = ask_responder(&responder.url(), &ca, &[&good, &gone, &unknown]);
    for line in ["cert0: revoked", "cert1: good", "cert2: good"] {
        assert!(said.contains(line), "{line}: {said}");
    }
    assert!(!said.contains("Reason:"), "{said}");
    let addr = responder.addr();
    drop(responder);
    assert!(TcpStream::connect(addr).is_err());
}

#[test]
fn openssl_ocsp_takes_a_delegate_and_arguments() {
    let ca = Ca::root("root", KeyKind::Rsa(2048));
    let server = ca.issue(LeafSpec::local_server());
    let delegate = ca.issue(LeafSpec::ocsp_responder("delegate"));
    let ask = |options: &OpensslOcspOptions| {
        let responder = or_skip(OpensslOcsp::start(options))?;
        responder.good(&server.cert);
        Some(ask_responder(&responder.url(), &ca, &[&server]))
    };
    let options = OpensslOcspOptions::new(&ca).signed_by(&delegate);
    let Some(said) = ask(&options) else {
        return;
    };
    assert!(said.contains("Response verify OK"), "{said}");
    assert!(said.contains("OCSP Signing"), "{said}");
    assert!(said.contains("cert0: good"), "{said}");
    let said = ask(&options.clone().arguments(&["-resp_no_certs"])).unwrap();
    assert!(said.contains("signer certificate not found"), "{said}");
    let said = ask(&options.clone().arguments(&["-resp_key_id", "-nmin", "5"])).unwrap();
    // RFC 5280 §4.2.1.2, method (1): the subject key identifier is that very hash.
    let key_id = delegate.cert.subject_key_id().unwrap().as_slice();
    let hex: String = key_id.iter().map(|byte| format!("{byte:02X}")).collect();
    assert!(said.contains(&format!("Responder Id: {hex}")), "{said}");
    assert!(said.contains("Response verify OK"), "{said}");
    let wrong = OpensslOcsp::start(&options.arguments(&["-nonsense"])).unwrap_err();
    assert!(wrong.what.contains("nonsense"), "{wrong}");
}

#[test]
fn microsocks_makes_connections_for_its_user() {
    let Some(proxy) = or_skip(MicroSocks::start(Some(("bob", "pw")))) else {
        return;
    };
    let server = Server::builder().start();
    let mut stream = TcpStream::connect(proxy.addr()).unwrap();
    let request = [
        &[5, 1, 0, 1, 127, 0, 0, 1],
        &server.port().to_be_bytes()[..],
    ]
    .concat();
    let messages: [(&[u8], usize); 3] =
        [(&[5, 1, 2], 2), (b"\x01\x03bob\x02pw", 2), (&request, 10)];
    for (message, length) in messages {
        stream.write_all(message).unwrap();
        let mut answer = vec![0; length];
        stream.read_exact(&mut answer).unwrap();
    }
    assert!(RawClient::over(stream).legacy_hello().is_ok());
    assert!(
        proxy.log().contains("connected to 127.0.0.1"),
        "{}",
        proxy.log()
    );
}
