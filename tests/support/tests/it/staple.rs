//! Stapled responses: a client that requests a staple receives the server's, in every version of TLS.

use mongotls_testbench::peers::{HaProxy, HaProxyOptions, SServer, or_skip};
use mongotls_testbench::pki::{Ca, Identity, KeyKind, LeafSpec, PkiDir};
use mongotls_testbench::server::{Server, ServerTls, Staple};
use openssl::ssl::{
    Ssl, SslContext, SslContextBuilder, SslMethod, SslRef, SslSession, SslSessionCacheMode,
    SslStream, SslVersion, StatusType,
};
use std::io::Read;
use std::net::{SocketAddr, TcpStream};
use std::sync::{Arc, Mutex};
use std::time::Duration;

const VERSIONS: [(SslVersion, &str); 2] = [
    (SslVersion::TLS1_2, "TLSv1.2"),
    (SslVersion::TLS1_3, "TLSv1.3"),
];

fn client(version: SslVersion) -> SslContextBuilder {
    let mut builder = SslContext::builder(SslMethod::tls_client()).unwrap();
    builder.set_min_proto_version(Some(version)).unwrap();
    builder.set_max_proto_version(Some(version)).unwrap();
    builder
        .set_status_callback(|_: &mut SslRef| Ok(true))
        .unwrap();
    builder
}

fn connect(addr: SocketAddr, ssl: Ssl) -> SslStream<TcpStream> {
    let stream = TcpStream::connect(addr).unwrap();
    stream
        .set_read_timeout(Some(Duration::from_secs(5)))
        .unwrap();
    ssl.connect(stream).unwrap()
}

/// The stapled response, for a client that requests it with this name.
fn stapled(addr: SocketAddr, version: SslVersion, name: &str) -> Option<Vec<u8>> {
    let mut ssl = Ssl::new(&client(version).build()).unwrap();
    ssl.set_status_type(StatusType::OCSP).unwrap();
    ssl.set_hostname(name).unwrap();
    let stream = connect(addr, ssl);
    stream.ssl().ocsp_status().map(<[u8]>::to_vec)
}

fn setup() -> (Ca, Identity) {
    let ca = Ca::root("root", KeyKind::EcP256);
    let identity = ca.issue(LeafSpec::local_server());
    (ca, identity)
}

#[test]
fn a_staple_changes_while_the_server_runs() {
    let (ca, identity) = setup();
    let good = ca.ocsp(&identity.cert).build();
    let revoked = ca.ocsp(&identity.cert).revoked(-60, None).build();
    let staple = Staple::default();
    let tls = ServerTls::new(&identity).staple_from(&staple);
    let server = Server::builder().tls(tls).start();
    for (version, name) in VERSIONS {
        let seen = || stapled(server.addr(), version, "localhost");
        assert_eq!(seen(), None, "{name}");
        staple.set(&*good);
        assert_eq!(seen().as_deref(), Some(&*good), "{name}");
        staple.set(&*revoked);
        assert_eq!(seen().as_deref(), Some(&*revoked), "{name}");
        staple.clear();
        assert_eq!(seen(), None, "{name}");
    }
    assert_eq!(staple.asked(), 8);
    // A client that does not request it receives nothing.
    staple.set(&*good);
    let stream = connect(
        server.addr(),
        Ssl::new(&client(SslVersion::TLS1_3).build()).unwrap(),
    );
    assert_eq!(stream.ssl().ocsp_status(), None);
    assert_eq!(staple.asked(), 8);
}

#[test]
fn a_staple_is_chosen_by_name_or_left_out() {
    let (ca, identity) = setup();
    let good = ca.ocsp(&identity.cert).build();
    let fixed = ServerTls::new(&identity).staple(&*good);
    let answer = good.clone();
    let chosen = ServerTls::new(&identity)
        .staple_with(move |name| (name == Some("good.example")).then(|| answer.clone()));
    let server = Server::builder().tls(fixed).start();
    for (version, name) in VERSIONS {
        let seen = |name: &str| stapled(server.addr(), version, name);
        assert_eq!(seen("any.example").as_deref(), Some(&*good), "{name}");
    }
    server.set_tls(&chosen);
    for (version, name) in VERSIONS {
        let seen = |name: &str| stapled(server.addr(), version, name);
        assert_eq!(seen("good.example").as_deref(), Some(&*good), "{name}");
        assert_eq!(seen("other.example"), None, "{name}");
    }
    server.set_tls(&ServerTls::new(&identity));
    for (version, _) in VERSIONS {
        assert_eq!(stapled(server.addr(), version, "localhost"), None);
    }
}

#[test]
fn sessions_survive_a_new_staple() {
    let (ca, identity) = setup();
    for (version, name) in VERSIONS {
        let staple = Staple::new(ca.ocsp(&identity.cert).build());
        let tls = ServerTls::new(&identity).staple_from(&staple);
        let server = Server::builder().tls(tls).start();
        let kept: Arc<Mutex<Option<SslSession>>> = Arc::default();
        let sink = Arc::clone(&kept);
        let mut builder = client(version);
        builder.set_session_cache_mode(SslSessionCacheMode::CLIENT);
        builder.set_new_session_callback(move |_, session| *sink.lock().unwrap() = Some(session));
        let context = builder.build();
        let visit = || {
            let mut ssl = Ssl::new(&context).unwrap();
            ssl.set_status_type(StatusType::OCSP).unwrap();
            if let Some(session) = kept.lock().unwrap().take() {
                #[expect(unsafe_code, reason = "the test has one context only")]
                // SAFETY: the session was made by this context.
                unsafe {
                    ssl.set_session(&session).unwrap();
                }
            }
            let mut stream = connect(server.addr(), ssl);
            let limit = Some(Duration::from_millis(100));
            stream.get_ref().set_read_timeout(limit).unwrap();
            let _ = stream.read(&mut [0; 1]); // nothing but the tickets of TLS 1.3
            stream.shutdown().unwrap();
            stream.ssl().session_reused()
        };
        assert!(!visit(), "{name}");
        assert_eq!(staple.asked(), 1, "{name}");
        staple.set(ca.ocsp(&identity.cert).revoked(-60, None).build());
        assert!(visit(), "{name}");
        assert_eq!(staple.asked(), 1, "{name}");
    }
}

#[test]
fn haproxy_staples_on_every_version_what_it_can_make_out() {
    let root = Ca::root("root", KeyKind::EcP256);
    let middle = root.intermediate("intermediate", KeyKind::EcP256);
    let identity = middle.issue(LeafSpec::local_server());
    let delegate = middle.issue(LeafSpec::ocsp_responder("responder"));
    let server = Server::builder().start();
    let options = |response: &[u8]| {
        HaProxyOptions::new(&identity, server.addr()).staple(response, middle.cert())
    };
    let spec = || middle.ocsp(&identity.cert);
    let good = spec().build();
    let Some(proxy) = or_skip(HaProxy::start(&options(&good))) else {
        return;
    };
    for (version, name) in VERSIONS {
        let seen = stapled(proxy.addr(), version, "localhost");
        assert_eq!(seen.as_deref(), Some(&*good), "{name}");
    }
    let delegated = spec().signed_by(&delegate).build();
    let proxy = HaProxy::start(&options(&delegated)).unwrap();
    let seen = stapled(proxy.addr(), SslVersion::TLS1_3, "localhost");
    assert_eq!(seen, Some(delegated));

    // Checking the signature is up to the client.
    let cases: [(Vec<u8>, &str); 7] = [
        (spec().broken_signature().build(), ""),
        (spec().revoked(-60, None).build(), ""),
        (spec().next_update(Some(-600)).build(), "no longer valid"),
        (spec().next_update(None).build(), "missing nextupdate"),
        (spec().wrong_serial().build(), "does not match certificate"),
        (spec().unknown().build(), "certificate status is unknown"),
        (spec().truncated(100).build(), "Unable to parse"),
    ];
    for (response, warning) in cases {
        let proxy = HaProxy::start(&options(&response)).unwrap();
        let seen = stapled(proxy.addr(), SslVersion::TLS1_3, "localhost");
        assert_eq!(seen, warning.is_empty().then_some(response), "{warning}");
        assert!(proxy.log().contains(warning), "{}", proxy.log());
    }
}

#[test]
fn s_server_staples_on_every_version() {
    let (ca, identity) = setup();
    let response = ca.ocsp(&identity.cert).build();
    let dir = PkiDir::new();
    let file = dir.write("response", &response);
    let arguments = ["-status_file", file.to_str().unwrap()];
    let Some(server) = or_skip(SServer::start(&identity, &arguments)) else {
        return;
    };
    for (version, name) in VERSIONS {
        let seen = stapled(server.addr(), version, "localhost");
        assert_eq!(seen.as_deref(), Some(&*response), "{name}");
    }
}
