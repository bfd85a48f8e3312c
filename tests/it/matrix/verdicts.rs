//! The diagnosis of a failure after or within the handshake: the server's rejection of a client certificate, a proxy
//! without its backend, this client's own OpenSSL, or an alert in the middle of a command. Each scenario compares the
//! whole message and the whole remedy.

use std::io::{Read, Write};
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread;
use std::time::Duration;

use mongotls::bson::doc;
use mongotls::error::Stage;
use mongotls::options::{ProtocolOptions, TlsOptions, TlsVersion};
use mongotls::tls::{TlsContext, openssl_version};
use mongotls::{CauseCode, Client, ConnectionString, Error, ErrorKind};
use mongotls_testbench::fault::{Fault, Layer};
use mongotls_testbench::peers::{ClientCertificates, HaProxy, HaProxyOptions, or_skip};
use mongotls_testbench::pki::{Ca, CaSpec, Identity, KeyKind, LeafSpec, PkiDir, Validity};
use mongotls_testbench::server::{ClientAuth, Server, ServerTls};
use mongotls_testbench::stranger::{Stranger, nobody};
use openssl::ssl::SslAlert;

use super::{Expected, Seen, TLS_1_2, TLS_1_3, key, shown, time};
use crate::common::{Bench, code, ping_on};

/// A CA, a server of it, and files for a client.
struct Desk {
    dir: PkiDir,
    ca: Ca,
    server: Identity,
}

impl Desk {
    fn new() -> Self {
        let ca = CaSpec::new("the root")
            .key(&key(KeyKind::EcP256, "root"))
            .root();
        let server = ca.issue(LeafSpec::local_server().key(&key(KeyKind::EcP256, "leaf")));
        let dir = PkiDir::new();
        dir.write("ca.pem", ca.cert_pem());
        Self { dir, ca, server }
    }

    fn uri(&self, address: SocketAddr, client: Option<&Identity>, options: &str) -> String {
        let own = client.map(|client| {
            let path = self.dir.write("client.pem", client.bundle_pem());
            format!("&tlsCertificateKeyFile={}", shown(&path))
        });
        format!(
            "mongodb://localhost:{}/?tls=true&tlsCAFile={}{}{options}",
            address.port(),
            shown(&self.dir.path().join("ca.pem")),
            own.unwrap_or_default()
        )
    }

    fn client(&self) -> Identity {
        self.ca
            .issue(LeafSpec::client("app").key(&key(KeyKind::EcP256, "leaf")))
    }
}

const APP: &str = "\"CN=app,OU=clients,O=mongotls\"";

#[test]
fn a_close_after_the_handshake_has_two_explanations() {
    let desk = Desk::new();
    let client = desk.client();
    let other = CaSpec::new("another root").root();
    let stranger = other.issue(LeafSpec::client("app"));
    let required = Expected::new(CauseCode::ClientCertificateRequired)
        .at(Stage::Hello)
        .reads(
            "the server asks for a client certificate and none is configured: it closed the connection after the TLS handshake without a reason; if it needs none, a proxy in front of it has lost its backend",
            "Set tlsCertificateKeyFile to a PEM file with a certificate that the server accepts and its private key. If the server accepts clients without one, see whether the server behind the proxy runs, and look at the proxy's log.",
        );
    let backend = Expected::new(CauseCode::ClientCertificateRejected)
        .at(Stage::Hello)
        .fact("issuer_listed_by_server", true)
        .reads(
            &format!("the server closed the connection after the TLS handshake without a reason: a proxy in front of it has lost its backend, or it refuses the client certificate {APP}, which is in force and of a CA that the server names"),
            "See whether the server behind the proxy runs, and look at the log of the proxy or of the server for this instant; it holds the reason.",
        );
    let refused = Expected::new(CauseCode::ClientCertificateRejected)
        .at(Stage::Hello)
        .fact("issuer_listed_by_server", false)
        .reads(
            &format!("the server refuses the client certificate {APP}: it closed the connection after the TLS handshake without a reason; if it accepts the certificate, a proxy in front of it has lost its backend"),
            "Look at the server's log for this instant; the certificate needs an issuer that the server trusts. If the certificate is right, see whether the server behind the proxy runs.",
        );
    let mut seen = Seen::default();

    // A server that closes in mongod's way.
    let mongod = Server::builder().start();
    for (min, max) in [TLS_1_2, TLS_1_3] {
        let tls = ServerTls::new(&desk.server).versions(min, max);
        mongod.set_tls(&tls.client_auth(ClientAuth::RequireLikeMongod, &[desk.ca.cert()]));
        let at = mongod.addr();
        seen.check("mongod, none", &desk.uri(at, None, ""), &required);
        seen.check(
            "mongod, another CA",
            &desk.uri(at, Some(&stranger), ""),
            &refused,
        );
    }
    // A proxy without its backend.
    for version in ["TLSv1.2", "TLSv1.3"] {
        let options = HaProxyOptions::new(&desk.server, nobody())
            .clients(ClientCertificates::Optional, desk.ca.cert())
            .versions(version, version);
        let Some(front) = or_skip(HaProxy::start(&options)) else {
            break;
        };
        let place = super::Place::default();
        let scenario = format!("HAProxy {version} without its backend");
        let none = desk.uri(front.addr(), None, "");
        seen.check_in(&place, &scenario, &none, &required);
        let with = desk.uri(front.addr(), Some(&client), "");
        seen.check_in(&place, &scenario, &with, &backend);
    }
}

/// A server that has accepted the same identity has another reason to close.
#[test]
fn a_close_after_acceptance_is_a_network_failure() {
    let desk = Desk::new();
    let client = desk.client();
    for (own, with) in [
        (Some(&client), "the same client certificate"),
        (None, "this client without a certificate"),
    ] {
        for (min, max) in [TLS_1_2, TLS_1_3] {
            let tls = ServerTls::new(&desk.server).versions(min, max);
            let tls = tls.client_auth(ClientAuth::Request, &[desk.ca.cert()]);
            let server = Server::builder().tls(tls).start();
            // Each connection has a full handshake, so that the server requests a certificate each time.
            let options = "&tlsSessionResumption=false&maxAdaptiveRetries=0&serverSelectionTimeoutMS=5000&maxPoolSize=1&heartbeatFrequencyMS=60000&maxIdleTimeMS=20";
            let uri = desk.uri(server.addr(), own, options);
            let program = Client::connect(&uri).unwrap();
            ping_on(&program).unwrap();
            server
                .faults()
                .all(Fault::close_after(0).on(Layer::Message));
            let error = dial_error(&program);
            assert_eq!(code(&error), CauseCode::ConnectionClosed, "{error}");
            assert_eq!(error.kind(), ErrorKind::Network, "{error}");
            assert!(error.has_label("RetryableError"), "{error:?}");
            let cause = error.cause().unwrap();
            assert_eq!(
                cause.message(),
                format!(
                    "the server closed the connection after the TLS handshake, and accepted {with} before"
                )
            );
            assert_eq!(
                cause.remedy(),
                "Look at the server's log for this instant; a proxy in front of the server may have lost its backend, or \
                 the server is older than MongoDB 3.6 and does not know OP_MSG."
            );
            // The server works again, and so does the client.
            server.faults().clear();
            ping_on(&program).unwrap();
            // A client that was never accepted gets the more likely reason.
            server
                .faults()
                .all(Fault::close_after(0).on(Layer::Message));
            let fresh = crate::target::attempt_error(&uri);
            let expected = match own {
                Some(_) => CauseCode::ClientCertificateRejected,
                None => CauseCode::ClientCertificateRequired,
            };
            assert_eq!(code(&fresh), expected, "{fresh}");
        }
    }
}

/// The error of a new connection: the previous one has been idle for too long.
fn dial_error(client: &Client) -> Error {
    thread::sleep(Duration::from_millis(100));
    ping_on(client).unwrap_err()
}

#[test]
fn an_intermediate_of_the_client_is_blamed_before_the_server() {
    let desk = Desk::new();
    let tls = ServerTls::new(&desk.server).client_auth(ClientAuth::Require, &[desk.ca.cert()]);
    let server = Server::builder().tls(tls).start();
    let leaf = || LeafSpec::client("app").key(&key(KeyKind::EcP256, "leaf"));
    let mid = |validity| {
        let spec = CaSpec::new("the middle").key(&key(KeyKind::EcP256, "mid"));
        spec.validity(validity).issued_by(&desk.ca)
    };
    let mut seen = Seen::default();

    let expired = mid(Validity::expired());
    let uri = desk.uri(server.addr(), Some(&expired.issue(leaf())), "");
    let expected = Expected::new(CauseCode::ClientCertificateExpired)
        .at(Stage::Hello)
        .reads(
            &format!("the intermediate CA \"the middle\" that is sent with the client certificate {APP} expired at {}: it sent the alert certificate_expired", time(expired.cert().not_after())),
            "Put a certificate of the intermediate CA \"the middle\" that is in force into tlsCertificateKeyFile, in place of the one there.",
        );
    seen.check("an expired intermediate", &uri, &expected);

    let sound = mid(Validity::days(-1, 10));
    let uri = desk.uri(
        server.addr(),
        Some(&sound.issue(leaf()).without_chain()),
        "",
    );
    let unknown = |issuer: &str| {
        format!(
            "the server does not know the CA {issuer:?} of the client certificate {APP}: it sent the alert unknown_ca"
        )
    };
    let expected = Expected::new(CauseCode::ClientCertificateUntrusted)
        .at(Stage::Hello)
        .reads(
            &unknown("CN=the middle"),
            "If \"CN=the middle\" is an intermediate CA, put its certificate into tlsCertificateKeyFile, after the client's own. Otherwise add the CA to the server's CA file (on mongod net.tls.CAFile), or use a certificate of a CA that the server knows.",
        );
    seen.check("an intermediate that is not sent", &uri, &expected);

    // A CA with the name of the one that the server has, and another key.
    let again = CaSpec::new("the root").root();
    let own = again.issue(leaf());
    let id = own.cert.authority_key_id().unwrap().as_slice().to_vec();
    let id: Vec<_> = id.iter().map(|byte| format!("{byte:02X}")).collect();
    let uri = desk.uri(server.addr(), Some(&own), "");
    let expected = Expected::new(CauseCode::ClientCertificateUntrusted)
        .at(Stage::Hello)
        .reads(
            &unknown("CN=the root"),
            &format!("The server names a CA of that name, so that its own certificate of the CA is another one: put the certificate of \"CN=the root\" with the key identifier {} into the server's CA file (on mongod net.tls.CAFile), or use a client certificate of the CA that the server has.", id.join(":")),
        );
    seen.check("a CA created again", &uri, &expected);
}

/// The message about a client certificate below a higher level names the level, as for a server.
#[test]
fn a_weak_client_certificate_names_the_level_and_its_source() {
    let desk = Desk::new();
    let weak = LeafSpec::client("app").key(&key(KeyKind::Rsa(2048), "leaf"));
    let path = desk
        .dir
        .write("client.pem", desk.ca.issue(weak).bundle_pem());
    let options = TlsOptions::builder()
        .ca_file(desk.dir.path().join("ca.pem"))
        .certificate_key_file(&path)
        .protocol(|tls| tls.security_level(3))
        .build()
        .unwrap();
    let error = TlsContext::new(&options).unwrap_err();
    let expected = Expected::new(CauseCode::KeyTooWeak).reads(
        &format!("tlsCertificateKeyFile {:?} holds the certificate of {APP}, whose key is too weak: RSA 2048 has 112 bits of security, and security level 3, which the option security_level sets, requires 128 (RSA 3072 or an elliptic curve of 256 bits)", shown(&path)),
        &format!("Have the certificate of {APP} issued for a key of RSA 3072, EC P-256 or stronger. Or lower the security level to 2, which accepts it, with security_level(2)."),
    );
    Seen::default().check_error("a client", &error, &expected.at(Stage::Options));
}

/// An alert of the server about a certificate that it has not requested is an ordinary alert.
#[test]
fn an_alert_about_no_client_certificate_is_a_tls_alert() {
    let desk = Desk::new();
    let server = Server::builder().tls(ServerTls::new(&desk.server)).start();
    let mut seen = Seen::default();
    for (number, name) in [(44, "certificate_revoked"), (45, "certificate_expired")] {
        let alert = SslAlert::from_reason_code(1000 + number).unwrap();
        for (min, max) in [TLS_1_2, TLS_1_3] {
            let tls = ServerTls::new(&desk.server).versions(min, max);
            server.set_tls(&tls.refuse_with(alert));
            for own in [None, Some(desk.client())] {
                let uri = desk.uri(server.addr(), own.as_ref(), "");
                let expected = Expected::new(CauseCode::TlsAlert).fact("alert", name).reads(
                    &format!("the server ended the handshake with the alert {name}"),
                    "Look at the server's log for this instant; it holds the reason for the alert.",
                );
                seen.check(name, &uri, &expected);
            }
        }
    }
}

/// Forwards bytes, and changes one of the client's on request.
fn spoiling_proxy(server: SocketAddr) -> (SocketAddr, Arc<AtomicBool>) {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = listener.local_addr().unwrap();
    let spoil = Arc::new(AtomicBool::new(false));
    let told = Arc::clone(&spoil);
    thread::spawn(move || {
        for client in listener.incoming().map_while(Result::ok) {
            let back = TcpStream::connect(server).unwrap();
            let (mut from, mut to) = (back.try_clone().unwrap(), client.try_clone().unwrap());
            thread::spawn(move || std::io::copy(&mut from, &mut to));
            let told = Arc::clone(&told);
            thread::spawn(move || {
                let (mut client, mut back, mut buffer) = (client, back, [0; 16384]);
                while let Ok(count @ 1..) = client.read(&mut buffer) {
                    buffer[count - 1] ^= u8::from(told.swap(false, Ordering::SeqCst));
                    if back.write_all(&buffer[..count]).is_err() {
                        break;
                    }
                }
            });
        }
    });
    (address, spoil)
}

/// After the server has answered, only the connection may be at fault.
#[test]
fn an_alert_during_a_command_is_not_of_the_handshake() {
    let desk = Desk::new();
    let client = desk.client();
    for (min, max) in [TLS_1_2, TLS_1_3] {
        // A listener gets the time of each step, and changes nothing else.
        for (auth, listens) in [
            (ClientAuth::None, false),
            (ClientAuth::Request, false),
            (ClientAuth::None, true),
        ] {
            let tls = ServerTls::new(&desk.server).versions(min, max);
            let tls = tls.client_auth(auth, &[desk.ca.cert()]);
            let server = Server::builder().tls(tls).start();
            let (address, spoil) = spoiling_proxy(server.addr());
            let options = "&directConnection=true&retryReads=false&heartbeatFrequencyMS=600000&serverMonitoringMode=poll";
            let uri = desk.uri(address, Some(&client), options);
            let mut builder = ConnectionString::parse(&uri).unwrap().into_builder();
            if listens {
                builder = builder.event_listener(|_| {});
            }
            let program = Client::with_options(builder.build().unwrap()).unwrap();
            ping_on(&program).unwrap();
            spoil.store(true, Ordering::SeqCst);
            let error = ping_on(&program).unwrap_err();
            let cause = error.cause().unwrap_or_else(|| panic!("{error:?}"));
            assert_eq!(error.stage(), Some(Stage::Command), "{error}");
            assert_eq!(cause.code(), CauseCode::TlsAlert, "{error}");
            assert_eq!(
                (cause.message(), cause.remedy()),
                (
                    "the server ended the established connection with the alert bad_record_mac",
                    "Look for a proxy or a load balancer on the way that changes the bytes, and at the server's log.",
                )
            );
            let database = program.database("db");
            database.run_command(doc! { "ping": 1 }).unwrap();
        }
    }
}

/// A rejection by this client's own OpenSSL is not attributed to a proxy.
#[test]
fn rejections_by_the_local_openssl_are_reported_as_such() {
    let desk = Desk::new();
    let version = openssl_version();
    let mut seen = Seen::default();

    // A chain of more than 100 KiB.
    let mut long = desk.server.clone();
    while long.chain.len() < 300 {
        long.chain.push(desk.ca.cert().clone());
    }
    let server = Server::builder().tls(ServerTls::new(&long)).start();
    let expected = Expected::new(CauseCode::TlsAlert)
        .fact("ended_by", "client")
        .reads(
            &format!("{version} refuses a message of the server's handshake that is too large: its chain of certificates, or its list of CAs for client certificates"),
            "Let the server send its own certificate and its intermediate CAs alone (on mongod net.tls.certificateKeyFile), and name only the CAs of its clients (net.tls.CAFile), each in less than 100 KiB.",
        );
    seen.check(
        "too large a chain",
        &desk.uri(server.addr(), None, ""),
        &expected,
    );

    // A ServerHello without the extension of RFC 5746.
    if openssl::version::number() >= 0x3000_0000 {
        let mut hello = vec![22, 3, 3, 0, 42, 2, 0, 0, 38, 3, 3];
        hello.extend([7; 32]);
        hello.extend([0, 0xc0, 0x2b, 0]);
        let old = Stranger::start(move |mut socket, stop| {
            let _ = socket.read(&mut [0; 4096]);
            let _ = socket.write_all(&hello);
            stop.wait_for_ever();
        });
        let expected = Expected::new(CauseCode::TlsAlert)
            .fact("ended_by", "client")
            .reads(
                &format!("{version} refuses the server, which does not support secure renegotiation (RFC 5746)"),
                "Update the TLS library of the server, or of the proxy in front of it: all that are younger than 2010 support RFC 5746.",
            );
        seen.check(
            "legacy renegotiation",
            &desk.uri(old.addr(), None, ""),
            &expected,
        );
    }
}

/// Limits of the options are named before those that the server might change.
#[test]
fn limits_of_the_options_come_first() {
    let desk = Desk::new();
    let attempt = |address, protocol: fn(ProtocolOptions) -> ProtocolOptions| {
        let options = TlsOptions::builder()
            .ca_file(desk.dir.path().join("ca.pem"))
            .protocol(protocol)
            .build()
            .unwrap();
        let stream = TcpStream::connect(address).unwrap();
        let context = TlsContext::new(&options).unwrap();
        context.connect("localhost", stream).map(drop).unwrap_err()
    };
    let version = |name: &str, alert: &str, remedy: &str| {
        let text = format!("client and server have no TLS version in common: {alert}");
        (
            name.to_owned(),
            Expected::new(CauseCode::ProtocolVersionMismatch).reads(&text, remedy),
        )
    };
    let alert = "the server sent the alert protocol_version";
    let mut seen = Seen::default();
    let start = |tls: ServerTls| Server::builder().tls(tls).start();
    let tls = || ServerTls::new(&desk.server);

    let server = start(tls().versions(TLS_1_2.0, TLS_1_2.1));
    let (scenario, expected) = version(
        "the oldest is 1.3",
        alert,
        "Enable TLS 1.3 at the server (on mongod net.tls.disabledProtocols), or lower min_version, which allows nothing older.",
    );
    let error = attempt(server.addr(), |tls| tls.min_version(TlsVersion::Tls13));
    seen.check_error(&scenario, &error, &expected);

    let server = start(tls().versions(TLS_1_3.0, TLS_1_3.1));
    let (scenario, expected) = version(
        "the newest is 1.2",
        alert,
        "Enable TLS 1.2 at the server (on mongod net.tls.disabledProtocols), or raise max_version, which allows nothing newer.",
    );
    let error = attempt(server.addr(), |tls| tls.max_version(TlsVersion::Tls12));
    seen.check_error(&scenario, &error, &expected);

    let server = start(tls().versions(TLS_1_3.0, TLS_1_3.1).groups("P-384"));
    let expected = Expected::new(CauseCode::NoSharedCipher).reads(
        "client and server have no cipher suite, group or signature algorithm in common: the server sent the alert handshake_failure",
        "The client offers only what these options allow: groups (P-256). Add what the server has, or let the server accept one of these.",
    );
    let error = attempt(server.addr(), |tls| tls.groups("P-256"));
    seen.check_error("groups", &error, &expected);
}

/// The message about a handshake that does not end depends on its progress.
#[test]
fn a_timeout_after_tls_does_not_doubt_tls() {
    let bench = Bench::sound();
    let uri = |address: SocketAddr| {
        format!(
            "mongodb://localhost:{}/?tls=true&tlsCAFile={}&connectTimeoutMS=1500",
            address.port(),
            shown(&bench.ca_file)
        )
    };
    let load = "TLS works: see whether the server, or the server behind a proxy, is overloaded or stopped; then raise connectTimeoutMS.";
    bench
        .server
        .faults()
        .all(Fault::stall_after(0).on(Layer::Message));
    let expected = Expected::new(CauseCode::HandshakeTimeout)
        .at(Stage::Hello)
        .reads(
            "the MongoDB handshake did not end within 1500 ms (connectTimeoutMS)",
            load,
        );
    let place = super::Place::default();
    let mut seen = Seen::default();
    seen.check_in(&place, "hello", &uri(bench.server.addr()), &expected);
    bench
        .server
        .faults()
        .all(Fault::stall_after(500).on(Layer::Tcp));
    let expected = Expected::new(CauseCode::HandshakeTimeout)
        .at(Stage::Tls)
        .reads(
            "the TLS handshake did not end within 1500 ms (connectTimeoutMS)",
            load,
        );
    seen.check_in(
        &place,
        "in the middle",
        &uri(bench.server.addr()),
        &expected,
    );
    // A peer that never answers may be of any kind.
    let silent = Stranger::start(|_, stop| stop.wait_for_ever());
    let expected = Expected::new(CauseCode::HandshakeTimeout)
        .at(Stage::Tls)
        .reads(
            "the TLS handshake did not end within 1500 ms (connectTimeoutMS)",
            "Check that the port speaks TLS if and only if tls is on, and that the server is not overloaded; then raise connectTimeoutMS.",
        );
    seen.check_in(&place, "silence", &uri(silent.addr()), &expected);
}

/// Weak cipher suites that work.
#[test]
fn weak_settings_are_warned_of() {
    let ca = CaSpec::new("the root")
        .key(&key(KeyKind::Rsa(2048), "root"))
        .root();
    let identity = ca.issue(LeafSpec::local_server().key(&key(KeyKind::Rsa(2048), "leaf")));
    let dir = PkiDir::new();
    let ca_file = dir.write("ca.pem", ca.cert_pem());
    let end = "let the server prefer TLS 1.3, or ECDHE with AES-GCM or ChaCha20-Poly1305";
    for (list, told) in [
        (
            "AES128-SHA:@SECLEVEL=0",
            Some(
                "TLS_RSA_WITH_AES_128_CBC_SHA has no forward secrecy (TLS_RSA) and uses CBC with SHA-1",
            ),
        ),
        (
            "ECDHE-RSA-AES256-SHA",
            Some("TLS_ECDHE_RSA_WITH_AES_256_CBC_SHA uses CBC with SHA-1"),
        ),
        ("ECDHE-RSA-AES256-GCM-SHA384", None),
    ] {
        let tls = ServerTls::new(&identity)
            .versions(TLS_1_2.0, TLS_1_2.1)
            .cipher_list(list);
        let server = Server::builder().tls(tls).start();
        let uri = format!(
            "mongodb://localhost:{}/?tls=true&tlsCAFile={}",
            server.port(),
            shown(&ca_file)
        );
        let (exit, object) = super::Place::default().json(&["doctor", &uri, "--json"]);
        let warnings = object["warnings"].as_array().unwrap();
        let weak: Vec<_> = warnings
            .iter()
            .filter_map(|warning| warning.as_str())
            .filter(|warning| warning.starts_with("weak settings"))
            .collect();
        let expected: Vec<String> = told
            .map(|told| format!("weak settings: the cipher suite {told}; {end}"))
            .into_iter()
            .collect();
        assert_eq!(
            (exit, weak),
            (0, expected.iter().map(String::as_str).collect()),
            "{object:#}"
        );
    }
}
