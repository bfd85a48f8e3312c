//! The bench server, tested with plain OpenSSL and hand-built bytes.

use bson::{Document, doc};
use mongotls_testbench::client::{RawClient, agrees_on_groups, tls};
use mongotls_testbench::net::Bind;
use mongotls_testbench::pki::{Ca, Identity, KeyKind, LeafSpec, Revocation};
use mongotls_testbench::server::{ClientAuth, Hello, Role, Server, ServerTls, fail_command};
use mongotls_testbench::wire::{EXHAUST_ALLOWED, Frame, MORE_TO_COME, Msg, OP_MSG, Sequence};
use openssl::ssl::{
    Ssl, SslAlert, SslContext, SslMethod, SslSessionCacheMode, SslStream, SslVerifyMode,
    SslVersion, StatusType,
};
use std::io::{ErrorKind, Read, Write};
use std::net::TcpStream;
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

const SOON: Duration = Duration::from_secs(5);

fn ca() -> Ca {
    Ca::root("root", KeyKind::EcP256)
}

fn plain() -> (Server, RawClient<TcpStream>) {
    let server = Server::builder().start();
    let client = RawClient::connect(server.addr()).unwrap();
    (server, client)
}

fn code(reply: &Document) -> i32 {
    reply.get_i32("code").unwrap()
}

#[test]
fn hello_by_op_query_and_ping_by_op_msg_over_tls() {
    let ca = ca();
    let middle = ca.intermediate("middle", KeyKind::EcP256);
    let identity = middle.issue(LeafSpec::local_server());
    let server = Server::builder().tls(ServerTls::new(&identity)).start();

    let mut client = RawClient::connect_tls(server.addr(), "localhost", ca.cert()).unwrap();
    let hello = client.legacy_hello().unwrap();
    assert!(hello.get_bool("ismaster").unwrap() && hello.get_bool("helloOk").unwrap());
    assert_eq!(hello.get_i32("maxWireVersion").unwrap(), 21);
    let pong = client.command("admin", doc! { "ping": 1 }).unwrap();
    assert_eq!(pong.get_f64("ok").unwrap(), 1.0);

    let seen = server.commands();
    assert_eq!(
        (seen[0].name.as_str(), seen[0].is_legacy()),
        ("isMaster", true)
    );
    assert_eq!(
        (seen[1].name.as_str(), seen[1].is_legacy()),
        ("ping", false)
    );
    assert_eq!(seen[1].database, "admin");
    let connection = &server.connections()[0];
    assert_eq!(connection.protocol.as_deref(), Some("TLSv1.3"));
    assert_eq!(connection.sni.as_deref(), Some("localhost"));
    let counts = server.counts();
    assert_eq!(
        (counts.accepted, counts.handshakes, counts.resumed),
        (1, 1, 0)
    );
    assert!(counts.sent > 500 && counts.received > 200, "{counts:?}");
    drop(client);
    assert!(server.wait_until(SOON, |server| server.counts().open == 0));
}

#[test]
fn ping_of_hand_built_bytes_gets_bytes_by_the_book() {
    let server = Server::builder().start();
    let mut stream = TcpStream::connect(server.addr()).unwrap();
    let body = b"\x1e\0\0\0\x10ping\0\x01\0\0\0\x02$db\0\x06\0\0\0admin\0\0";
    let mut message = b"\x33\0\0\0\x2a\0\0\0\0\0\0\0\xdd\x07\0\0\0\0\0\0\0".to_vec();
    message.extend_from_slice(body);
    assert_eq!(message.len(), 0x33);
    stream.write_all(&message).unwrap();
    let mut reply = [0; 38];
    stream.read_exact(&mut reply).unwrap();
    assert_eq!(reply[..4], 38_i32.to_le_bytes());
    assert_eq!(reply[8..12], 42_i32.to_le_bytes());
    assert_eq!(reply[12..21], *b"\xdd\x07\0\0\0\0\0\0\0");
    assert_eq!(reply[21..], *b"\x11\0\0\0\x01ok\0\0\0\0\0\0\0\xf0\x3f\0");
}

#[test]
fn compressed_messages_are_read_and_answered_in_kind() {
    use mongotls_testbench::compress::{Compressor, unwrap, wrap, wrap_as};
    let server = Server::builder().start();
    let mut stream = TcpStream::connect(server.addr()).unwrap();
    let ping = Frame {
        request_id: 5,
        response_to: 0,
        op_code: OP_MSG,
        payload: Msg::of(doc! { "ping": 1, "$db": "admin" }).encode(),
    };
    let all = [
        Compressor::Noop,
        Compressor::Snappy,
        Compressor::Zlib,
        Compressor::Zstd,
    ];
    for compressor in all {
        let wrapped = wrap(&ping, compressor).encode();
        assert_eq!(wrapped[12..20], *b"\xdc\x07\0\0\xdd\x07\0\0");
        assert_eq!(wrapped[24], compressor as u8);
        stream.write_all(&wrapped).unwrap();
        let reply = Frame::read(&mut stream).unwrap().unwrap();
        let (reply, found) = unwrap(reply).unwrap();
        assert_eq!((found, reply.response_to), (Some(compressor), 5));
        let reply = Msg::decode(&reply.payload).unwrap().body;
        assert_eq!(reply.get_f64("ok").unwrap(), 1.0);
        let seen = server.commands().pop().unwrap();
        assert_eq!(seen.compressor, Some(compressor));

        let size = i32::try_from(ping.payload.len()).unwrap();
        let data = compressor.compress(&ping.payload);
        let bad = wrap_as(&ping, OP_MSG, size + 1, compressor as u8, &data);
        assert_eq!(unwrap(bad).unwrap_err().kind(), ErrorKind::InvalidData);
    }
    let unknown = wrap_as(&ping, OP_MSG, 1, 4, b"x");
    assert_eq!(unwrap(unknown).unwrap_err().kind(), ErrorKind::Unsupported);
}

#[test]
fn hello_tells_what_it_was_told_and_echoes_compressors() {
    let server = Server::builder()
        .hello(Hello {
            compressors: vec!["zlib".into()],
            extra: doc! { "setVersion": 7 },
            ..Hello::member(Role::Secondary, "rs0", "a:1", &["a:1", "b:2"])
        })
        .start();
    let mut client = RawClient::connect(server.addr()).unwrap();
    let hello = client
        .command(
            "admin",
            doc! { "hello": 1, "compression": ["zstd", "zlib"] },
        )
        .unwrap();
    assert!(!hello.get_bool("isWritablePrimary").unwrap());
    assert!(hello.get_bool("secondary").unwrap());
    assert_eq!(hello.get_str("setName").unwrap(), "rs0");
    assert_eq!(hello.get_i32("setVersion").unwrap(), 7);
    assert_eq!(hello.get_array("hosts").unwrap().len(), 2);
    assert_eq!(
        *hello.get_array("compression").unwrap(),
        vec!["zlib".into()]
    );
    assert!(!hello.contains_key("helloOk"));

    server.set_hello(|hello| *hello = Hello::mongos());
    let hello = client.command("admin", doc! { "hello": 1 }).unwrap();
    assert_eq!(hello.get_str("msg").unwrap(), "isdbgrid");
}

#[test]
fn awaitable_hello_waits_for_a_change_and_streams_if_allowed() {
    let (server, mut client) = plain();
    let version = |reply: &Document| reply.get_document("topologyVersion").unwrap().clone();
    let first = client.command("admin", doc! { "hello": 1 }).unwrap();
    let mut msg = Msg::of(doc! {
        "hello": 1, "topologyVersion": version(&first), "maxAwaitTimeMS": 60_000_i64, "$db": "admin",
    });
    msg.flags = EXHAUST_ALLOWED;
    client.send(OP_MSG, msg.encode()).unwrap();
    assert!(server.wait_until(SOON, |server| server.count_of("hello") == 2));

    server.set_hello(|hello| hello.max_wire_version = 17);
    let one = client.receive().unwrap();
    let told = Msg::decode(&one.payload).unwrap();
    assert_eq!(told.flags, MORE_TO_COME);
    assert_eq!(told.body.get_i32("maxWireVersion").unwrap(), 17);
    server.set_hello(|hello| hello.max_wire_version = 21);
    let two = client.receive().unwrap();
    assert_eq!(two.response_to, one.request_id);
    let begun = Instant::now();
    drop(server); // while the next one is awaited
    assert!(begun.elapsed() < Duration::from_secs(1));
}

#[test]
fn insert_find_and_get_more_page_through_documents() {
    let (server, mut client) = plain();
    let documents =
        |range: std::ops::Range<i32>| range.map(|n| doc! { "_id": n, "even": n % 2 == 0 });
    let insert = Msg {
        flags: 0,
        body: doc! { "insert": "c" },
        sequences: vec![Sequence {
            id: "documents".into(),
            documents: documents(0..6).collect(),
        }],
    };
    let reply = client.message("db", insert).unwrap().body;
    assert_eq!(reply.get_i32("n").unwrap(), 6);
    let in_body: Vec<_> = documents(5..8).collect();
    let reply = client
        .command(
            "db",
            doc! { "insert": "c", "documents": in_body, "ordered": false },
        )
        .unwrap();
    assert_eq!(reply.get_i32("n").unwrap(), 2);
    let errors = reply.get_array("writeErrors").unwrap();
    let error = errors[0].as_document().unwrap();
    assert_eq!((code(error), error.get_i32("index").unwrap()), (11000, 0));
    assert_eq!(server.commands()[0].sequences[0].id, "documents");

    let find = doc! { "find": "c", "filter": { "even": true }, "batchSize": 2, "limit": 4 };
    let reply = client.command("db", find.clone()).unwrap();
    let cursor = reply.get_document("cursor").unwrap();
    assert_eq!(cursor.get_array("firstBatch").unwrap().len(), 2);
    assert_eq!(cursor.get_str("ns").unwrap(), "db.c");
    let id = cursor.get_i64("id").unwrap();
    assert_eq!((id != 0, server.open_cursors()), (true, 1));
    let get_more = doc! { "getMore": id, "collection": "c", "batchSize": 5 };
    let reply = client.command("db", get_more.clone()).unwrap();
    let cursor = reply.get_document("cursor").unwrap();
    assert_eq!(cursor.get_array("nextBatch").unwrap().len(), 2);
    assert_eq!(
        (cursor.get_i64("id").unwrap(), server.open_cursors()),
        (0, 0)
    );
    assert_eq!(code(&client.command("db", get_more).unwrap()), 43);

    let reply = client.command("db", find).unwrap();
    let id = reply.get_document("cursor").unwrap().get_i64("id").unwrap();
    let kill = doc! { "killCursors": "c", "cursors": [id, 999_i64] };
    let reply = client.command("db", kill).unwrap();
    assert_eq!(*reply.get_array("cursorsKilled").unwrap(), vec![id.into()]);
    assert_eq!(reply.get_array("cursorsNotFound").unwrap().len(), 1);
    assert_eq!(server.open_cursors(), 0);

    let deletes = vec![doc! { "q": { "even": true }, "limit": 0 }];
    let reply = client
        .command("db", doc! { "delete": "c", "deletes": deletes })
        .unwrap();
    assert_eq!(reply.get_i32("n").unwrap(), 4);
    let reply = client.command("db", doc! { "count": "c" }).unwrap();
    assert_eq!(reply.get_i32("n").unwrap(), 4);
    let odd = doc! { "find": "c", "filter": { "_id": { "$gt": 1 } } };
    assert_eq!(code(&client.command("db", odd).unwrap()), 2);
    let reply = client.command("db", doc! { "nonesuch": 1 }).unwrap();
    assert_eq!(
        (code(&reply), reply.get_str("codeName").unwrap()),
        (59, "CommandNotFound")
    );
    assert_eq!(server.documents("db.c").len(), 4);
}

#[test]
fn unacknowledged_write_gets_no_reply() {
    let (server, mut client) = plain();
    let msg = Msg {
        flags: MORE_TO_COME,
        ..Msg::of(doc! { "insert": "c", "documents": [{ "a": 1 }], "$db": "db" })
    };
    client.send(OP_MSG, msg.encode()).unwrap();
    client.command("db", doc! { "ping": 1 }).unwrap();
    assert_eq!(server.documents("db.c").len(), 1);
}

#[test]
fn handler_replaces_an_answer() {
    let server = Server::builder()
        .handle("ping", |request| {
            (request.database == "odd").then(|| doc! { "ok": 0, "errmsg": "no" })
        })
        .start();
    let mut client = RawClient::connect(server.addr()).unwrap();
    assert!(
        client
            .command("odd", doc! { "ping": 1 })
            .unwrap()
            .contains_key("errmsg")
    );
    assert!(
        !client
            .command("db", doc! { "ping": 1 })
            .unwrap()
            .contains_key("errmsg")
    );
}

#[test]
fn fail_command_skips_then_fails_so_many_times() {
    let (_server, mut client) = plain();
    let configure = doc! {
        "configureFailPoint": "failCommand",
        "mode": { "skip": 1, "times": 2 },
        "data": { "failCommands": ["ping"], "errorCode": 91, "errorLabels": ["A"] },
    };
    client.command("admin", configure).unwrap();
    let mut codes = Vec::new();
    for _ in 0..4 {
        let reply = client.command("db", doc! { "ping": 1 }).unwrap();
        codes.push(reply.get_i32("code").unwrap_or(0));
        client.command("db", doc! { "buildInfo": 1 }).unwrap();
        if codes.len() == 2 {
            assert_eq!(reply.get_str("codeName").unwrap(), "ShutdownInProgress");
            assert_eq!(*reply.get_array("errorLabels").unwrap(), vec!["A".into()]);
        }
    }
    assert_eq!(codes, [0, 91, 91, 0]);

    let on = doc! {
        "configureFailPoint": "failCommand", "mode": "alwaysOn",
        "data": { "failCommands": ["insert"], "writeConcernError": { "code": 64, "errmsg": "slow" } },
    };
    client.command("admin", on).unwrap();
    let insert = doc! { "insert": "c", "documents": [{ "a": 1 }] };
    let reply = client.command("db", insert.clone()).unwrap();
    assert_eq!(
        (
            reply.get_i32("n").unwrap(),
            reply.contains_key("writeConcernError")
        ),
        (1, true)
    );
    let off = doc! { "configureFailPoint": "failCommand", "mode": "off" };
    assert_eq!(
        client
            .command("admin", off.clone())
            .unwrap()
            .get_i64("count")
            .unwrap(),
        1
    );
    assert!(
        !client
            .command("db", insert)
            .unwrap()
            .contains_key("writeConcernError")
    );
    assert_eq!(code(&client.command("db", off).unwrap()), 13);
}

#[test]
fn fail_command_blocks_closes_and_heeds_the_application() {
    let (server, mut client) = plain();
    server.configure_fail_point(&fail_command(
        1,
        &["ping"],
        doc! { "blockConnection": true, "blockTimeMS": 80 },
    ));
    let begun = Instant::now();
    client.command("db", doc! { "ping": 1 }).unwrap();
    assert!(begun.elapsed() >= Duration::from_millis(80));

    let data = doc! { "closeConnection": true, "appName": "mine" };
    server.configure_fail_point(&fail_command(1, &["ping"], data));
    client.command("db", doc! { "ping": 1 }).unwrap();
    let metadata = doc! { "hello": 1, "client": { "application": { "name": "mine" } } };
    client.command("admin", metadata).unwrap();
    let error = client.command("db", doc! { "ping": 1 }).unwrap_err();
    assert_eq!(error.kind(), ErrorKind::UnexpectedEof);
    let mut other = RawClient::connect(server.addr()).unwrap();
    other.command("db", doc! { "ping": 1 }).unwrap();
}

#[test]
fn client_certificates_are_asked_for_in_four_ways() {
    let ca = ca();
    let other = Ca::root("other", KeyKind::EcP256);
    let identity = ca.issue(LeafSpec::local_server());
    let good = ca.issue(LeafSpec::client("app"));
    let bad = other.issue(LeafSpec::client("app"));
    let server = Server::builder().tls(ServerTls::new(&identity)).start();
    let outcome = |client: Option<&Identity>| -> Result<bool, String> {
        let stream = tls(server.addr(), "localhost", Some(ca.cert()), client)
            .map_err(|error| error.to_string())?;
        let reply = RawClient::over(stream).legacy_hello();
        reply.map(|_| true).or_else(|error| match error.kind() {
            ErrorKind::UnexpectedEof => Ok(false),
            _ => Err(error.to_string()),
        })
    };
    let ask = |mode| server.set_tls(&ServerTls::new(&identity).client_auth(mode, &[ca.cert()]));

    ask(ClientAuth::Request);
    assert_eq!((outcome(None), outcome(Some(&good))), (Ok(true), Ok(true)));
    assert!(outcome(Some(&bad)).unwrap_err().contains("unknown ca"));
    ask(ClientAuth::Require);
    assert!(outcome(None).unwrap_err().contains("certificate required"));
    assert_eq!(outcome(Some(&good)), Ok(true));
    ask(ClientAuth::RequireLikeMongod);
    assert_eq!(outcome(None), Ok(false));
    assert_eq!(outcome(Some(&bad)), Ok(false));
    assert_eq!(outcome(Some(&good)), Ok(true));

    let crl = ca.crl().revoke(Revocation::of(&good.cert)).build();
    server.set_tls(
        &ServerTls::new(&identity)
            .client_auth(ClientAuth::Require, &[ca.cert()])
            .client_crl(&crl),
    );
    assert!(
        outcome(Some(&good))
            .unwrap_err()
            .contains("certificate revoked")
    );
}

#[test]
fn x509_authentication_wants_a_client_certificate() {
    let ca = ca();
    let identity = ca.issue(LeafSpec::local_server());
    let tls = ServerTls::new(&identity).client_auth(ClientAuth::Request, &[ca.cert()]);
    let server = Server::builder().tls(tls).start();
    let app = ca.issue(LeafSpec::client("app"));
    let mut client =
        RawClient::connect_tls_as(server.addr(), "localhost", ca.cert(), &app).unwrap();
    let authenticate = doc! { "authenticate": 1, "mechanism": "MONGODB-X509" };
    let reply = client.command("$external", authenticate.clone()).unwrap();
    assert_eq!(reply.get_f64("ok").unwrap(), 1.0);
    let mut client = RawClient::connect_tls(server.addr(), "localhost", ca.cert()).unwrap();
    assert_eq!(
        code(&client.command("$external", authenticate).unwrap()),
        18
    );
}

/// A client context that keeps the sessions that it receives.
fn keeping_context() -> (SslContext, Arc<Mutex<Vec<openssl::ssl::SslSession>>>) {
    let kept = Arc::new(Mutex::new(Vec::new()));
    let mut builder = SslContext::builder(SslMethod::tls_client()).unwrap();
    builder.set_verify(SslVerifyMode::NONE);
    builder.set_session_cache_mode(SslSessionCacheMode::CLIENT | SslSessionCacheMode::NO_INTERNAL);
    let sink = Arc::clone(&kept);
    builder.set_new_session_callback(move |_, session| sink.lock().unwrap().push(session));
    (builder.build(), kept)
}

#[test]
fn sessions_resume_until_the_settings_change() {
    let ca = ca();
    let identity = ca.issue(LeafSpec::local_server());
    for version in [SslVersion::TLS1_2, SslVersion::TLS1_3] {
        let settings = ServerTls::new(&identity).versions(version, version);
        let server = Server::builder().tls(settings.clone()).start();
        let (context, kept) = keeping_context();
        let visit = || {
            let mut ssl = Ssl::new(&context).unwrap();
            if let Some(session) = kept.lock().unwrap().pop() {
                #[expect(unsafe_code, reason = "the test has one context only")]
                // SAFETY: the session was made by this context.
                unsafe {
                    ssl.set_session(&session).unwrap();
                }
            }
            let stream = ssl
                .connect(TcpStream::connect(server.addr()).unwrap())
                .unwrap();
            let mut client = RawClient::over(stream);
            client.legacy_hello().unwrap();
            // OpenSSL discards a TLS 1.2 session if its connection ends without close_notify.
            client.stream.shutdown().unwrap();
            client.stream.ssl().session_reused()
        };
        assert_eq!([visit(), visit()], [false, true], "{version:?}");
        server.set_tls(&settings.clone().tickets(0));
        kept.lock().unwrap().clear();
        assert_eq!([visit(), visit()], [false, false], "{version:?}");
        assert!(kept.lock().unwrap().is_empty());
        assert_eq!(server.counts().resumed, 1);
    }
}

fn refusal(server: &Server, host: &str) -> String {
    tls(server.addr(), host, None, None)
        .unwrap_err()
        .to_string()
}

#[test]
fn handshakes_fail_by_name_alert_or_version() {
    let identity = ca().issue(LeafSpec::local_server());
    let tls = ServerTls::new(&identity).accept_names(|name| name == Some("good.example"));
    let server = Server::builder().tls(tls).start();
    assert!(refusal(&server, "bad.example").contains("unrecognized name"));
    // The client may receive the failure before the server has recorded it.
    assert!(server.wait_until(SOON, |server| server.counts().failed_handshakes == 1));
    assert_eq!(server.connections()[0].sni.as_deref(), Some("bad.example"));
    mongotls_testbench::client::tls(server.addr(), "good.example", None, None).unwrap();

    server.set_tls(&ServerTls::new(&identity).refuse_with(SslAlert::INTERNAL_ERROR));
    assert!(refusal(&server, "localhost").contains("internal error"));
    server.set_tls(&ServerTls::new(&identity).versions(SslVersion::TLS1_1, SslVersion::TLS1_1));
    let text = refusal(&server, "localhost");
    assert!(text.contains("protocol"), "{text}");
    server.set_tls(
        &ServerTls::new(&identity)
            .versions(SslVersion::TLS1_2, SslVersion::TLS1_2)
            .cipher_list("ECDHE-RSA-AES128-GCM-SHA256"),
    );
    assert!(refusal(&server, "localhost").contains("handshake failure"));
    assert!(server.wait_until(SOON, |server| server.counts().failed_handshakes == 4));
}

#[test]
fn settings_decide_version_cipher_and_group() {
    let identity = ca().issue(LeafSpec::local_server());
    let settings = ServerTls::new(&identity)
        .versions(SslVersion::TLS1_3, SslVersion::TLS1_3)
        .ciphersuites("TLS_CHACHA20_POLY1305_SHA256")
        .groups("P-384");
    let server = Server::builder().tls(settings).start();
    let stream = tls(server.addr(), "localhost", None, None).unwrap();
    let cipher = stream.ssl().current_cipher().unwrap().name();
    assert_eq!(cipher, "TLS_CHACHA20_POLY1305_SHA256");
    assert!(agrees_on_groups(server.addr(), "P-384").unwrap());
    assert!(!agrees_on_groups(server.addr(), "X25519:P-256").unwrap());
}

#[test]
fn staple_reaches_a_client_that_asks() {
    let ca = ca();
    let identity = ca.issue(LeafSpec::local_server());
    let response = ca.ocsp(&identity.cert).broken_signature().build();
    let server = Server::builder()
        .tls(ServerTls::new(&identity).staple(&*response))
        .start();
    let mut builder = SslContext::builder(SslMethod::tls_client()).unwrap();
    let got = Arc::new(Mutex::new(None));
    let sink = Arc::clone(&got);
    let take = move |ssl: &mut openssl::ssl::SslRef| {
        *sink.lock().unwrap() = ssl.ocsp_status().map(<[u8]>::to_vec);
        Ok(true)
    };
    builder.set_status_callback(take).unwrap();
    let mut ssl = Ssl::new(&builder.build()).unwrap();
    ssl.set_status_type(StatusType::OCSP).unwrap();
    let _stream: SslStream<_> = ssl
        .connect(TcpStream::connect(server.addr()).unwrap())
        .unwrap();
    assert_eq!(got.lock().unwrap().as_deref(), Some(&*response));
}

#[test]
fn weak_certificates_can_be_served() {
    let ca = Ca::root("root", KeyKind::Rsa(1024));
    let spec = LeafSpec::local_server().key_kind(KeyKind::Rsa(1024));
    let identity = ca.issue(spec.digest(mongotls_testbench::pki::Digest::Md5));
    Server::builder().tls(ServerTls::new(&identity)).start();
}

#[test]
fn listens_on_a_unix_socket() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("mongodb.sock");
    let server = Server::builder().bind(Bind::Unix(path.clone())).start();
    let socket = server.endpoint().connect().unwrap();
    RawClient::over(socket).legacy_hello().unwrap();
    assert!(server.uri().contains("%2Fmongodb.sock"));
    drop(server);
    assert!(!path.exists());
}

#[test]
fn listens_on_ipv6() {
    if std::net::TcpListener::bind("[::1]:0").is_err() {
        println!("SKIPPED: this system has no IPv6 on its loopback interface");
        return;
    }
    let server = Server::builder().bind(Bind::V6(0)).start();
    assert!(server.uri().starts_with("mongodb://[::1]:"));
    let mut client = RawClient::connect(server.addr()).unwrap();
    client.legacy_hello().unwrap();
}

#[test]
fn drop_ends_open_connections_within_a_second() {
    let (server, mut client) = plain();
    client.legacy_hello().unwrap();
    let mut silent = TcpStream::connect(server.addr()).unwrap();
    let addr = server.addr();
    assert!(server.wait_until(SOON, |server| server.counts().open == 2));
    let begun = Instant::now();
    drop(server);
    assert!(begun.elapsed() < Duration::from_secs(1));
    assert!(client.legacy_hello().is_err());
    assert_eq!(silent.read(&mut [0; 1]).unwrap_or(0), 0);
    assert!(TcpStream::connect(addr).is_err());
}

#[test]
fn cut_ends_connections_but_not_the_server() {
    let (server, mut client) = plain();
    client.legacy_hello().unwrap();
    server.cut();
    assert!(client.legacy_hello().is_err());
    let mut again = RawClient::connect(server.addr()).unwrap();
    again.legacy_hello().unwrap();
}
