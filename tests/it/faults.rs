//! Servers that are silent, slow, broken, or go away at any byte: each attempt ends in time, and says
//! why.

use std::io::{Read, Write};
use std::net::TcpStream;
use std::thread;
use std::time::Duration;

use mongotls::bson::{Document, RawDocumentBuf, doc, rawdoc, spec::BinarySubtype};
use mongotls::options::TlsOptions;
use mongotls::tls::TlsContext;
use mongotls::{CauseCode, Client, Command, Error, ErrorKind, Stage};
use mongotls_testbench::fault::{Action, Fault, Layer};
use mongotls_testbench::net::Stop;
use mongotls_testbench::pki::{Ca, KeyKind, LeafSpec};
use mongotls_testbench::proxy::Proxy;
use mongotls_testbench::server::{ClientAuth, ReplyFault, Server, ServerTls, fail_command};
use mongotls_testbench::stranger::{self, Stranger};
use mongotls_testbench::wire::{
    CHECKSUM_PRESENT, EXHAUST_ALLOWED, Frame, OP_MSG, OP_REPLY, encode_reply,
};
use openssl::ssl::SslVersion;

use crate::common::{Bench, at_limit, code, expect_open, fact, ping_on, plain_client, timed};

/// The limit of tests that wait for it.
const LIMIT: Duration = Duration::from_millis(400);

/// Long enough to show that something ended by itself.
const FAR: Duration = Duration::from_secs(5);

/// A byte at a time, with a pause of so many milliseconds before each: never long enough a silence for
/// a limit on each read.
///
/// With 300 the last byte before [`LIMIT`] comes late, so that a read which is given the whole limit
/// anew ends far behind it.
fn trickle(pause: u64) -> Action {
    Action::Trickle {
        bytes: 1,
        interval: Duration::from_millis(pause),
    }
}

/// A server of the bench with TLS or without, and what a connection string to it holds.
struct Target {
    bench: Option<Bench>,
    plain: Option<Server>,
}

impl Target {
    fn new(tls: bool) -> Self {
        Self {
            bench: tls.then(Bench::sound),
            plain: (!tls).then(|| Server::builder().start()),
        }
    }

    fn server(&self) -> &Server {
        self.bench
            .as_ref()
            .map(|bench| &bench.server)
            .or(self.plain.as_ref())
            .unwrap()
    }

    /// A client with these options (`name=value&…`).
    fn client(&self, options: &str) -> Client {
        match &self.bench {
            // By address: no resolver and no second family of addresses in what is timed.
            Some(bench) => {
                Client::connect(&bench.uri_for("127.0.0.1", &format!("&{options}"))).unwrap()
            }
            None => plain_client(self.server(), options),
        }
    }
}

/// A ping with a limit of its own.
fn ping_within(client: &Client, limit: Duration) -> Result<Document, Error> {
    let ping = Command::from(doc! { "ping": 1 }).timeout(limit);
    client.database("admin").run_command(ping)
}

/// Runs `check` for each case at once, since most of them only wait.
fn for_each<C: Send>(cases: impl IntoIterator<Item = C>, check: impl Fn(C) + Sync) {
    thread::scope(|scope| {
        for case in cases {
            scope.spawn(|| check(case));
        }
    });
}

// --- time limits ---

#[test]
fn a_connection_is_given_up_at_connect_timeout_wherever_it_hangs() {
    let stall = || Action::Stall;
    let cases = [
        (
            "accepts and is silent",
            true,
            Layer::Tcp,
            0,
            stall(),
            Stage::Tls,
        ),
        (
            "silent in the handshake",
            true,
            Layer::Tcp,
            100,
            stall(),
            Stage::Tls,
        ),
        (
            "trickles the handshake, a byte in 100 ms",
            true,
            Layer::Tcp,
            0,
            trickle(100),
            Stage::Tls,
        ),
        (
            "trickles the handshake, a byte in 300 ms",
            true,
            Layer::Tcp,
            0,
            trickle(300),
            Stage::Tls,
        ),
        (
            "trickles the end of the handshake, a byte in 100 ms",
            true,
            Layer::Tcp,
            300,
            trickle(100),
            Stage::Tls,
        ),
        (
            "trickles the end of the handshake, a byte in 300 ms",
            true,
            Layer::Tcp,
            300,
            trickle(300),
            Stage::Tls,
        ),
        (
            "silent after TLS",
            true,
            Layer::Message,
            0,
            stall(),
            Stage::Hello,
        ),
        (
            "silent in hello, on TLS",
            true,
            Layer::Message,
            20,
            stall(),
            Stage::Hello,
        ),
        (
            "trickles hello, on TLS, a byte in 100 ms",
            true,
            Layer::Message,
            0,
            trickle(100),
            Stage::Hello,
        ),
        (
            "trickles hello, on TLS, a byte in 300 ms",
            true,
            Layer::Message,
            0,
            trickle(300),
            Stage::Hello,
        ),
        (
            "accepts and is silent, plain",
            false,
            Layer::Tcp,
            0,
            stall(),
            Stage::Hello,
        ),
        (
            "silent in hello, plain",
            false,
            Layer::Tcp,
            50,
            stall(),
            Stage::Hello,
        ),
        (
            "trickles hello, plain, a byte in 100 ms",
            false,
            Layer::Tcp,
            0,
            trickle(100),
            Stage::Hello,
        ),
        (
            "trickles hello, plain, a byte in 300 ms",
            false,
            Layer::Tcp,
            0,
            trickle(300),
            Stage::Hello,
        ),
    ];
    for_each(cases, |(name, tls, layer, after, action, stage)| {
        let target = Target::new(tls);
        target
            .server()
            .faults()
            .all(Fault::new(after, action).on(layer));

        let client = target.client(&format!("connectTimeoutMS={}", LIMIT.as_millis()));
        let error = at_limit(LIMIT, || ping_on(&client)).expect_err(name);
        assert_eq!(
            (error.kind(), code(&error), error.stage()),
            (ErrorKind::Timeout, CauseCode::HandshakeTimeout, Some(stage)),
            "{name}: {error}"
        );
        assert_eq!(fact(&error, "option"), "connectTimeoutMS", "{name}");
        assert_eq!(fact(&error, "limit_ms"), "400", "{name}");
        assert!(
            error.to_string().contains("400 ms (connectTimeoutMS)"),
            "{error}"
        );

        // The limit of a call covers connecting too.
        let client = target.client("connectTimeoutMS=60000");
        let error = at_limit(LIMIT, || ping_within(&client, LIMIT)).expect_err(name);
        assert_eq!(
            (error.kind(), code(&error), error.stage()),
            (ErrorKind::Timeout, CauseCode::HandshakeTimeout, Some(stage)),
            "{name}: {error}"
        );
        assert_eq!(
            fact(&error, "option"),
            "the time limit of the call",
            "{name}"
        );
    });
}

#[test]
fn a_command_is_given_up_at_its_limit_wherever_the_reply_hangs() {
    let limit = LIMIT.as_millis();
    let cut = |after, action| ReplyFault::Cut { after, action };
    let faults = [
        ("no reply", ReplyFault::Silence),
        ("silent in the header", cut(7, Action::Stall)),
        ("silent in the document", cut(30, Action::Stall)),
        ("a byte in 100 ms", cut(0, trickle(100))),
        ("a byte in 300 ms", cut(0, trickle(300))),
        (
            "a reply that is shorter than it says",
            ReplyFault::DeclaredLength(47_999_999),
        ),
    ];
    let limits = [
        (
            format!("socketTimeoutMS={limit}"),
            None,
            "400 ms (socketTimeoutMS)",
        ),
        (format!("timeoutMS={limit}"), None, "400 ms (timeoutMS)"),
        (
            "socketTimeoutMS=60000".to_owned(),
            Some(LIMIT),
            "400 ms (the time limit of the call)",
        ),
    ];
    for (options, of_call, named) in &limits {
        let cases = faults
            .iter()
            .flat_map(|(name, fault)| [(name, fault, true), (name, fault, false)]);
        for_each(cases, |(name, fault, tls)| {
            let target = Target::new(tls);
            let client = target.client(options);
            ping_on(&client).unwrap();
            target.server().spoil_replies("ping", 1, fault.clone());
            let error = at_limit(LIMIT, || match of_call {
                Some(limit) => ping_within(&client, *limit),
                None => ping_on(&client),
            })
            .expect_err(name);
            assert_eq!(
                (error.kind(), error.stage()),
                (ErrorKind::Timeout, Some(Stage::Command)),
                "{name}, TLS {tls}: {error}"
            );
            assert!(
                error.to_string().contains(named),
                "{name}, TLS {tls}: {error}"
            );
            assert!(error.to_string().contains("\"ping\""), "{error}");
            // What was left of the reply is not read as the next one.
            ping_on(&client).unwrap();
            assert_eq!(target.server().counts().accepted, 2, "{name}, TLS {tls}");
        });
    }
}

#[test]
fn a_large_command_is_given_up_when_the_server_stops_reading() {
    for_each([true, false], |tls| {
        let target = Target::new(tls);
        let proxy = Proxy::start(target.server().endpoint());
        let port = format!(":{}/", target.server().port());
        let options = format!("socketTimeoutMS={}", LIMIT.as_millis());
        let uri = match &target.bench {
            Some(bench) => bench.uri_for("127.0.0.1", &format!("&{options}")),
            None => format!("{}?{options}", target.server().uri()),
        };
        let client =
            Client::connect(&uri.replace(&port, &format!(":{}/", proxy.addr().port()))).unwrap();
        ping_on(&client).unwrap();

        proxy.pause();
        let error = at_limit(LIMIT, || insert_20_mb(&client)).unwrap_err();
        assert_eq!(
            (error.kind(), error.stage()),
            (ErrorKind::Timeout, Some(Stage::Command))
        );
        assert!(
            error
                .to_string()
                .contains("\"insert\" took longer than 400 ms (socketTimeoutMS)"),
            "{error}"
        );
        proxy.resume();

        ping_on(&client).unwrap();
        assert_eq!(target.server().documents("db.things").len(), 0, "TLS {tls}");
    });
}

#[test]
fn a_server_that_reads_a_little_at_a_time_does_not_stretch_the_limit() {
    let server = Stranger::start(|mut socket, stop| {
        answer_hello(&mut socket);
        let mut taken = vec![0; 64 << 10];
        while socket.read(&mut taken).is_ok_and(|count| count > 0) {
            if stop.wait(Duration::from_millis(50)) {
                break;
            }
        }
    });
    let uri = format!(
        "mongodb://{}/?socketTimeoutMS={}",
        server.addr(),
        LIMIT.as_millis()
    );
    let client = Client::connect(&uri).unwrap();
    client.server_report().unwrap();
    let error = at_limit(LIMIT, || insert_20_mb(&client)).unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Timeout);
    assert!(error.to_string().contains("socketTimeoutMS"), "{error}");
}

/// Inserts 20 documents of a megabyte each into `db.things`.
fn insert_20_mb(client: &Client) -> Result<Document, Error> {
    let binary = mongotls::bson::Binary {
        subtype: BinarySubtype::Generic,
        bytes: vec![7; 1_000_000],
    };
    let document = rawdoc! { "payload": binary };
    let insert = Command::from(doc! { "insert": "things" })
        .documents("documents", std::iter::repeat_n(&document, 20));
    client.database("db").run_command(insert)
}

/// Reads a legacy hello and answers as a standalone does.
fn answer_hello(socket: &mut (impl Read + Write)) {
    let Ok(Some(hello)) = Frame::read(socket) else {
        return;
    };
    let answer = doc! { "ismaster": true, "minWireVersion": 0, "maxWireVersion": 21, "ok": 1.0 };
    let reply = Frame {
        request_id: 1,
        response_to: hello.request_id,
        op_code: OP_REPLY,
        payload: encode_reply(&answer),
    };
    // An error means that the client has gone.
    let _ = socket.write_all(&reply.encode());
}

// --- the end of a connection, at each byte ---

/// How many bytes a server sends for one connection with one ping, one stage after the other.
#[derive(Clone, Copy, Debug)]
struct Lengths {
    handshake: u64,
    hello: u64,
    ping: u64,
}

impl Lengths {
    /// Counts them on sound connections.
    fn measure(bench: Option<&Bench>, server: &Server, client: &Client) -> Self {
        let sent = || server.counts().sent;
        let begin = sent();
        // Kept until the end: closing it would draw a close_notify.
        let _alone = bench.map(|bench| {
            let options = TlsOptions::builder()
                .ca_file(&bench.ca_file)
                .build()
                .unwrap();
            let stream = TcpStream::connect(server.addr()).unwrap();
            let context = TlsContext::new(&options).unwrap();
            context.connect("127.0.0.1", stream).unwrap()
        });
        let handshake = sent() - begin;
        client.server_report().unwrap();
        let hello = sent() - begin - 2 * handshake;
        ping_on(client).unwrap();
        let ping = sent() - begin - 2 * handshake - hello;
        Self {
            handshake,
            hello,
            ping,
        }
    }

    fn total(self) -> u64 {
        self.handshake + self.hello + self.ping
    }

    /// At which stage a client is that has got so many bytes and no more.
    fn stage(self, after: u64) -> Stage {
        match after {
            after if after < self.handshake => Stage::Tls,
            after if after < self.handshake + self.hello => Stage::Hello,
            _ => Stage::Command,
        }
    }
}

/// A server whose handshakes are of the same length each time: Ed25519 signatures have one length,
/// and there are no tickets, which hold a number of varying length.
fn steady(version: SslVersion) -> Bench {
    Bench::with(
        KeyKind::Ed25519,
        |spec| spec,
        |tls| tls.tickets(0).versions(version, version),
    )
}

/// Ends a connection after each number of bytes in turn; `check` sees each error. Afterwards the same
/// client works, and none of its connections is left.
fn end_everywhere(
    target: &Target,
    layer: Layer,
    action: &Action,
    check: impl Fn(u64, Lengths, &Error),
) {
    let options = "connectTimeoutMS=5000&socketTimeoutMS=5000&maxPoolSize=1&waitQueueTimeoutMS=1";
    let server = target.server();
    let mut lengths = Lengths::measure(
        target.bench.as_ref().filter(|_| layer == Layer::Tcp),
        server,
        &target.client(options),
    );
    if layer == Layer::Message {
        // Above TLS the bytes of messages count; those of a server without TLS are the same.
        let plain = Server::builder().start();
        lengths = Lengths::measure(None, &plain, &plain_client(&plain, ""));
    }
    assert!(lengths.hello > 100 && lengths.ping > 30, "{lengths:?}");

    let client = target.client(options);
    for after in 0..lengths.total() {
        server
            .faults()
            .next(1, Fault::new(after, action.clone()).on(layer));
        let error =
            ping_on(&client).expect_err(&format!("{action:?} after {after} bytes of {lengths:?}"));
        check(after, lengths, &error);
    }
    let accepted = server.counts().accepted;
    ping_on(&client).unwrap();
    assert_eq!(server.counts().accepted, accepted + 1);
    expect_open(server, 1);
}

/// What the error of an ended connection on TLS tells beside its code.
fn expect_circumstances(error: &Error, begun: bool) {
    match error.stage().unwrap() {
        Stage::Tls => assert_eq!(fact(error, "phase"), "during the TLS handshake", "{error}"),
        Stage::Hello => assert_eq!(fact(error, "phase"), "after the TLS handshake", "{error}"),
        Stage::Command => {
            let expected = if begun { "yes" } else { "no" };
            assert_eq!(fact(error, "begun"), expected, "{error}");
        }
        stage => assert_eq!(stage, Stage::Connect, "{error}"),
    }
}

/// What a close after so many bytes on the wire is called on TLS.
fn closed_on_tls(after: u64, lengths: Lengths, error: &Error) {
    let stage = lengths.stage(after);
    assert_eq!(
        (code(error), error.stage(), error.kind()),
        (CauseCode::ConnectionClosed, Some(stage), ErrorKind::Network),
        "after {after} of {lengths:?}: {error}"
    );
    // Nothing of the reply can be read before its record is whole.
    expect_circumstances(error, false);
    if stage != Stage::Command {
        assert_eq!(fact(error, "received_bytes"), after.to_string());
    }
}

/// What a reset after so many bytes on the wire is called on TLS. It may overtake what the client is
/// about to send, so that the client is still at the stage before.
fn reset_on_tls(after: u64, lengths: Lengths, error: &Error) {
    assert_eq!(
        (code(error), error.kind()),
        (CauseCode::ConnectionReset, ErrorKind::Network),
        "after {after} of {lengths:?}: {error}"
    );
    let (stage, latest) = (error.stage().unwrap(), lengths.stage(after));
    let earliest = match latest {
        Stage::Tls if after == 0 => Stage::Connect,
        Stage::Hello => Stage::Tls,
        stage => stage,
    };
    assert!(
        (earliest..=latest).contains(&stage),
        "after {after} of {lengths:?}: {error}"
    );
    expect_circumstances(error, false);
}

#[test]
fn a_close_at_each_byte_of_tls_1_3_is_told_with_its_phase() {
    let target = Target {
        bench: Some(steady(SslVersion::TLS1_3)),
        plain: None,
    };
    end_everywhere(&target, Layer::Tcp, &Action::Close, closed_on_tls);
}

#[test]
fn a_close_at_each_byte_of_tls_1_2_is_told_with_its_phase() {
    let target = Target {
        bench: Some(steady(SslVersion::TLS1_2)),
        plain: None,
    };
    end_everywhere(&target, Layer::Tcp, &Action::Close, closed_on_tls);
}

#[test]
fn a_reset_at_each_byte_of_tls_1_3_is_told_with_its_phase() {
    let target = Target {
        bench: Some(steady(SslVersion::TLS1_3)),
        plain: None,
    };
    end_everywhere(&target, Layer::Tcp, &Action::Reset, reset_on_tls);
}

#[test]
fn a_reset_at_each_byte_of_tls_1_2_is_told_with_its_phase() {
    let target = Target {
        bench: Some(steady(SslVersion::TLS1_2)),
        plain: None,
    };
    end_everywhere(&target, Layer::Tcp, &Action::Reset, reset_on_tls);
}

#[test]
fn an_end_at_each_byte_of_replies_above_tls_is_told() {
    for (action, expected) in [
        (Action::Close, CauseCode::ConnectionClosed),
        (Action::Reset, CauseCode::ConnectionReset),
    ] {
        let target = Target::new(true);
        end_everywhere(&target, Layer::Message, &action, |after, lengths, error| {
            assert_eq!(
                (code(error), error.kind()),
                (expected, ErrorKind::Network),
                "after {after}: {error}"
            );
            let stages = if action == Action::Reset && after == 0 {
                // A reset may overtake the end of the handshake.
                vec![Stage::Tls, Stage::Hello]
            } else {
                vec![lengths.stage(after)]
            };
            assert!(
                stages.contains(&error.stage().unwrap()),
                "after {after} of {lengths:?}: {error}"
            );
            expect_circumstances(error, after > lengths.hello);
        });
    }
}

#[test]
fn an_end_at_each_byte_of_replies_in_the_clear_is_told() {
    for (action, expected) in [
        (Action::Close, CauseCode::ConnectionClosed),
        (Action::Reset, CauseCode::ConnectionReset),
    ] {
        let target = Target::new(false);
        end_everywhere(&target, Layer::Tcp, &action, |after, lengths, error| {
            let stage = lengths.stage(after);
            let seen = (code(error), error.stage().unwrap());
            if after == 0 {
                // Not a byte in answer to hello: that is how a server refuses who comes without TLS.
                // A reset may come before hello is sent.
                let at_once = action == Action::Reset && seen == (expected, Stage::Connect);
                assert!(
                    at_once || seen == (CauseCode::ServerRequiresTls, Stage::Hello),
                    "{error}"
                );
                return;
            }
            assert_eq!(
                seen,
                (expected, stage),
                "after {after} of {lengths:?}: {error}"
            );
            let begun = if after == lengths.hello { "no" } else { "yes" };
            assert_eq!(
                fact(error, "begun"),
                begun,
                "after {after} of {lengths:?}: {error}"
            );
        });
    }
}

#[test]
fn an_idle_connection_that_the_server_ended_fails_one_command() {
    for tls in [true, false] {
        let target = Target::new(tls);
        let client = target.client("");
        ping_on(&client).unwrap();
        target.server().cut();
        expect_open(target.server(), 0);
        let error = ping_on(&client).unwrap_err();
        assert_eq!(error.stage(), Some(Stage::Command), "{error}");
        let ends = [CauseCode::ConnectionClosed, CauseCode::ConnectionReset];
        assert!(ends.contains(&code(&error)), "{error}");
        ping_on(&client).unwrap();
        assert_eq!(target.server().counts().accepted, 2);
    }
}

#[test]
fn a_close_after_hello_is_not_blamed_on_a_missing_client_certificate() {
    let ca = Ca::root("bench root", KeyKind::EcP256);
    let identity = ca.issue(LeafSpec::local_server());
    let tls = ServerTls::new(&identity).client_auth(ClientAuth::Request, &[ca.cert()]);
    let bench = Bench::around(Server::builder().tls(tls).start(), ca);
    let client = bench.client("");
    ping_on(&client).unwrap();
    // The server asked for a certificate, went on without one, and answered: it is content.
    bench.server.configure_fail_point(&fail_command(
        1,
        &["ping"],
        doc! { "closeConnection": true },
    ));
    let error = ping_on(&client).unwrap_err();
    assert_eq!(
        (code(&error), error.stage()),
        (CauseCode::ConnectionClosed, Some(Stage::Command)),
        "{error}"
    );
    ping_on(&client).unwrap();
}

// --- the look at a server that does not answer a ClientHello ---

#[test]
fn a_mongodb_server_without_tls_is_told_by_one_hello_in_the_clear() {
    let server = Server::builder().start();
    let uri = format!(
        "{}?tls=true&tlsInsecure=true&connectTimeoutMS={}",
        server.uri(),
        LIMIT.as_millis()
    );
    let client = Client::connect(&uri).unwrap();
    // A mongod takes the ClientHello for the start of a long message and waits for the rest.
    let error = at_limit(LIMIT, || ping_on(&client)).unwrap_err();
    assert_eq!(
        (code(&error), error.stage(), error.kind()),
        (CauseCode::ServerNotTls, Some(Stage::Tls), ErrorKind::Tls),
        "{error}"
    );
    assert_eq!(fact(&error, "looks_like"), "MongoDB in the clear");
    assert_eq!(server.counts().accepted, 2);
    let commands = server.commands();
    let [hello] = commands.as_slice() else {
        panic!("{commands:?}");
    };
    assert_eq!(
        (
            hello.name.as_str(),
            hello.database.as_str(),
            hello.is_legacy()
        ),
        ("isMaster", "admin", true)
    );
    assert_eq!(hello.body, doc! { "isMaster": 1 });

    // Once in a while is enough: a server in trouble is not given more to do, and its answer stands.
    let error = at_limit(LIMIT, || ping_on(&client)).unwrap_err();
    assert_eq!(code(&error), CauseCode::ServerNotTls, "{error}");
    assert_eq!((server.counts().accepted, server.commands().len()), (3, 1));
    expect_open(&server, 0);
}

#[test]
fn the_hello_in_the_clear_is_tried_when_a_server_closes_without_a_byte() {
    let bench = Bench::sound();
    let client = bench.client("");
    for accepted in [2, 3] {
        bench.server.faults().next(1, Fault::close_after(0));
        let error = ping_on(&client).unwrap_err();
        assert_eq!(
            (code(&error), error.stage()),
            (CauseCode::ConnectionClosed, Some(Stage::Tls)),
            "{error}"
        );
        assert_eq!(fact(&error, "received_bytes"), "0");
        assert_eq!(bench.server.counts().accepted, accepted);
    }
    assert!(bench.server.commands().is_empty());
    ping_on(&client).unwrap();

    let server = Server::builder().start();
    server.faults().next(1, Fault::close_after(0));
    let uri = format!("{}?tls=true&tlsInsecure=true", server.uri());
    let error = timed(Duration::ZERO, FAR, || {
        ping_on(&Client::connect(&uri).unwrap())
    })
    .unwrap_err();
    assert_eq!(code(&error), CauseCode::ServerNotTls, "{error}");
    assert_eq!(fact(&error, "looks_like"), "MongoDB in the clear");
}

#[test]
fn the_hello_in_the_clear_is_not_tried_where_tls_was_answered() {
    let ends = [Action::Stall, trickle(100), Action::Close, Action::Reset];
    for_each(ends, |action| {
        let bench = Bench::sound();
        bench
            .server
            .faults()
            .next(1, Fault::new(100, action.clone()));
        let client = Client::connect(&bench.uri_for("127.0.0.1", "&connectTimeoutMS=400")).unwrap();
        let error = ping_on(&client).unwrap_err();
        assert_eq!(error.stage(), Some(Stage::Tls), "{action:?}: {error}");
        assert_eq!(bench.server.counts().accepted, 1, "{action:?}: {error}");
    });
}

#[test]
fn the_hello_in_the_clear_has_a_limit_of_its_own() {
    for action in [Action::Stall, trickle(30)] {
        let server = Server::builder().fault(Fault::new(0, action)).start();
        let uri = format!(
            "{}?tls=true&tlsInsecure=true&connectTimeoutMS={}",
            server.uri(),
            LIMIT.as_millis()
        );
        let client = Client::connect(&uri).unwrap();
        let error = at_limit(LIMIT, || ping_on(&client)).unwrap_err();
        assert_eq!(code(&error), CauseCode::HandshakeTimeout, "{error}");
        assert_eq!(server.counts().accepted, 2);
    }
}

// --- what is not MongoDB ---

#[test]
fn a_port_on_which_nobody_listens_refuses() {
    for tls in ["false", "true&tlsInsecure=true"] {
        let address = stranger::nobody();
        let client = Client::connect(&format!("mongodb://{address}/?tls={tls}")).unwrap();
        let error = timed(Duration::ZERO, FAR, || ping_on(&client)).unwrap_err();
        assert_eq!(
            (code(&error), error.stage(), error.kind()),
            (
                CauseCode::ConnectionRefused,
                Some(Stage::Connect),
                ErrorKind::Network
            )
        );
        assert_eq!(fact(&error, "server"), address.to_string());
        assert!(error.to_string().contains(&address.to_string()), "{error}");
    }
}

#[test]
fn strangers_are_recognised_at_once() {
    const SSH: &[u8] = b"SSH-2.0-OpenSSH_9.2p1 Debian-2+deb12u3\r\n";
    const SHORT_SSH: &[u8] = b"SSH-2.0-x\r\n";
    const SMTP: &[u8] = b"220 mx ESMTP\r\n";
    type Start = fn() -> Stranger;
    let cases: [(&str, Start, &str); 4] = [
        ("a web server", stranger::http_server, "HTTP"),
        ("an SSH server", || stranger::banner(SSH), "SSH"),
        (
            "an SSH server with a short banner",
            || stranger::banner(SHORT_SSH),
            "SSH",
        ),
        ("a mail server", || stranger::banner(SMTP), "220 mx ESMTP"),
    ];
    for (name, start, looks_like) in cases {
        for (tls, expected, stage) in [
            (
                "tls=true&tlsInsecure=true",
                CauseCode::ServerNotTls,
                Stage::Tls,
            ),
            ("tls=false", CauseCode::NotMongodb, Stage::Hello),
        ] {
            let server = start();
            let client = Client::connect(&format!("mongodb://{}/?{tls}", server.addr())).unwrap();
            let error = timed(Duration::ZERO, FAR, || ping_on(&client)).expect_err(name);
            assert_eq!(
                (code(&error), error.stage()),
                (expected, Some(stage)),
                "{name}: {error}"
            );
            assert!(
                fact(&error, "looks_like").contains(looks_like),
                "{name}: {error}"
            );
        }
    }
}

#[test]
fn what_speaks_something_else_behind_tls_is_not_mongodb() {
    for (bytes, looks_like) in [
        (&b"HTTP/1.1 400 Bad Request\r\n\r\n"[..], "HTTP"),
        (b"HTTP/1.1", "HTTP"),
        (b"* OK IMAP4rev1 ready\r\n", "IMAP4"),
    ] {
        let bench = Bench::sound();
        bench
            .server
            .faults()
            .all(Fault::garbage_after(0, bytes).on(Layer::Message));
        let error = timed(Duration::ZERO, FAR, || ping_on(&bench.client(""))).unwrap_err();
        assert_eq!(
            (code(&error), error.stage(), error.kind()),
            (
                CauseCode::NotMongodb,
                Some(Stage::Hello),
                ErrorKind::Protocol
            ),
            "{error}"
        );
        assert!(fact(&error, "looks_like").contains(looks_like), "{error}");
    }
}

#[test]
fn a_server_that_requires_tls_is_told_from_its_alert_or_its_silence() {
    /// Fatal, protocol_version.
    const ALERT: &[u8] = &[21, 3, 3, 0, 2, 2, 70];
    // OpenSSL and mongod close without a word, others send an alert first.
    let bench = Bench::sound();
    let closes = Stranger::start(|mut socket, _| drop(socket.read(&mut [0; 1024])));
    // Some keep the connection open after their alert.
    let lingers = Stranger::start(|mut socket, stop: &Stop| {
        let _ = socket.read(&mut [0; 1024]);
        let _ = socket.write_all(ALERT);
        stop.wait_for_ever();
    });
    let alerts = Stranger::start(|mut socket, _| {
        let _ = socket.read(&mut [0; 1024]);
        let _ = socket.write_all(ALERT);
    });
    let resets = Stranger::start(|mut socket, _| {
        let _ = socket.read(&mut [0; 1024]);
        socket.reset_on_close();
    });
    for (name, address) in [
        ("OpenSSL", bench.server.addr()),
        ("close", closes.addr()),
        ("alert and close", alerts.addr()),
        ("reset", resets.addr()),
        ("alert", lingers.addr()),
    ] {
        let client = Client::connect(&format!(
            "mongodb://{address}/?tls=false&connectTimeoutMS=400"
        ))
        .unwrap();
        let error = timed(Duration::ZERO, Duration::from_millis(540), || {
            ping_on(&client)
        })
        .expect_err(name);
        assert_eq!(
            (code(&error), error.stage(), error.kind()),
            (
                CauseCode::ServerRequiresTls,
                Some(Stage::Hello),
                ErrorKind::Tls
            ),
            "{name}: {error}"
        );
        assert!(
            error.cause().unwrap().remedy().contains("tls=true"),
            "{name}"
        );
    }
    assert!(bench.server.commands().is_empty());
}

#[test]
fn a_reply_is_not_taken_for_tls_by_its_length() {
    // 790 bytes: in little-endian the first bytes are those of a handshake record of SSL 3.0.
    const LENGTH: usize = 790;
    let padding = |length: usize| " ".repeat(LENGTH.checked_sub(length).unwrap());
    let server = Server::builder().start();
    let client = plain_client(&server, "");
    let client = client.database("db");
    let echo = |text: String| client.run_command(doc! { "benchEcho": text });
    let before = server.counts().sent;
    server.set_hello(|hello| drop(hello.extra.insert("padding", "")));
    echo(String::new()).unwrap();
    let hello = usize::try_from(server.counts().sent - before).unwrap();
    echo(String::new()).unwrap();
    let reply = usize::try_from(server.counts().sent - before).unwrap() - hello;
    let hello = hello - reply;

    server.spoil_replies("benchEcho", 1, ReplyFault::WrongResponseTo);
    let before = server.counts().sent;
    let error = echo(padding(reply)).unwrap_err();
    assert_eq!(server.counts().sent - before, 790);
    assert_eq!(
        (code(&error), error.stage()),
        (CauseCode::NotMongodb, Some(Stage::Command)),
        "{error}"
    );

    server.set_hello(|of_server| drop(of_server.extra.insert("padding", padding(hello))));
    server.spoil_replies("isMaster", 1, ReplyFault::WrongResponseTo);
    let before = server.counts().sent;
    let error = echo(String::new()).unwrap_err();
    assert_eq!(server.counts().sent - before, 790);
    assert_eq!(
        (code(&error), error.stage()),
        (CauseCode::NotMongodb, Some(Stage::Hello)),
        "{error}"
    );
}

// --- garbage ---

#[test]
fn garbage_in_the_handshake_ends_with_a_cause_of_its_own() {
    let bench = steady(SslVersion::TLS1_3);
    let lengths = Lengths::measure(Some(&bench), &bench.server, &bench.client(""));
    let kinds: [(&str, Vec<u8>); 5] = [
        ("ones", vec![0xff; 64]),
        ("zeros", vec![0; 64]),
        ("text", b"HTTP/1.1 502 Bad Gateway\r\n\r\n".to_vec()),
        (
            "a record without an end",
            [&[22, 3, 3, 0x3f, 0xff][..], &[0; 64]].concat(),
        ),
        (
            "records of rubbish",
            [&[22, 3, 3, 0, 32][..], &[0xab; 32]].concat().repeat(4),
        ),
    ];
    let places = [
        0,
        1,
        5,
        6,
        50,
        200,
        lengths.handshake - 1,
        lengths.handshake,
    ];
    for_each(kinds, |(name, garbage)| {
        for after in places {
            let bench = steady(SslVersion::TLS1_3);
            bench
                .server
                .faults()
                .all(Fault::garbage_after(after, garbage.clone()));
            let uri = bench.uri_for("127.0.0.1", "&connectTimeoutMS=250");
            let client = Client::connect(&uri).unwrap();
            let error = timed(Duration::ZERO, Duration::from_millis(360), || {
                ping_on(&client)
            })
            .expect_err(name);
            let stage = error.stage().unwrap();
            assert_eq!(stage, lengths.stage(after), "{name} after {after}: {error}");
            let seen = code(&error);
            let expected: &[CauseCode] = match (after, name) {
                (0, "ones" | "zeros" | "text") | (1, _) => &[CauseCode::ServerNotTls],
                // Either the bytes make no sense, or they promise more than comes.
                (..=300, _) => &[CauseCode::TlsAlert, CauseCode::HandshakeTimeout],
                // What is not properly encrypted is refused.
                _ => &[CauseCode::TlsAlert],
            };
            assert!(
                expected.contains(&seen),
                "{name} after {after}: {seen} {error}"
            );
        }
    });
}

#[test]
fn garbage_after_the_handshake_ends_with_a_cause() {
    for tls in [true, false] {
        let target = Target::new(tls);
        let client = target.client("socketTimeoutMS=5000");
        ping_on(&client).unwrap();
        let action = Action::Garbage(vec![0xee; 100]);
        for after in [0, 3, 4, 15, 16, 21, 24] {
            target.server().spoil_replies(
                "ping",
                1,
                ReplyFault::Cut {
                    after,
                    action: action.clone(),
                },
            );
            let error = timed(Duration::ZERO, FAR, || ping_on(&client)).unwrap_err();
            assert_eq!(
                (code(&error), error.kind(), error.stage()),
                (
                    CauseCode::NotMongodb,
                    ErrorKind::Protocol,
                    Some(Stage::Command)
                ),
                "after {after}: {error}"
            );
            ping_on(&client).unwrap();
        }
        expect_open(target.server(), 1);
    }
}

// --- replies that break the protocol ---

/// Replies to a command that break one rule each, with a word of the error's text.
fn broken_replies() -> Vec<(ReplyFault, &'static str)> {
    use ReplyFault as R;
    vec![
        (R::WrongResponseTo, "answers request"),
        (R::DeclaredLength(i32::MAX), "2147483647 bytes"),
        (R::DeclaredLength(48_000_001), "48000001 bytes"),
        (R::DeclaredLength(i32::MIN), "-2147483648 bytes"),
        (R::DeclaredLength(-1), "-1 bytes"),
        (R::DeclaredLength(0), "0 bytes"),
        (R::DeclaredLength(15), "15 bytes"),
        (R::DeclaredLength(25), "25 bytes"),
        (R::DeclaredLength(30), "length of the document"),
        (R::OpCode(0), "opcode 0"),
        (R::OpCode(OP_REPLY), "opcode 1"),
        (R::OpCode(2012), "opcode 2012"),
        (R::OpCode(-1), "opcode -1"),
        (R::Truncated(1), "length of the document"),
        (R::Truncated(1000), "16 bytes"),
        (R::Flags(1 << 2), "flags 0x4"),
        (R::Flags(1 << 15), "flags 0x8000"),
        (R::MoreToCome, "flags 0x2"),
        (R::TrailingBytes(1), "section of kind 0"),
        (R::TrailingBytes(100), "section of kind 0"),
        (R::TwoBodies, "section of kind 0"),
        (
            R::Replace(b"HTTP/1.1 502 Bad Gateway\r\n\r\n".to_vec()),
            "HTTP",
        ),
        (R::Replace(vec![0; 64]), "0 bytes"),
        (R::Replace(vec![0xff; 4]), "-1 bytes"),
    ]
}

#[test]
fn a_reply_that_breaks_the_protocol_costs_its_connection() {
    for tls in [true, false] {
        let target = Target::new(tls);
        let client = target.client("socketTimeoutMS=5000");
        ping_on(&client).unwrap();
        for (accepted, (fault, text)) in (2..).zip(broken_replies()) {
            target.server().spoil_replies("ping", 1, fault.clone());
            let error = timed(Duration::ZERO, FAR, || ping_on(&client)).expect_err(text);
            assert_eq!(
                (error.kind(), code(&error), error.stage()),
                (
                    ErrorKind::Protocol,
                    CauseCode::NotMongodb,
                    Some(Stage::Command)
                ),
                "{fault:?}: {error}"
            );
            assert!(error.to_string().contains(text), "{fault:?}: {error}");
            ping_on(&client).unwrap();
            assert_eq!(target.server().counts().accepted, accepted, "{fault:?}");
        }
        expect_open(target.server(), 1);
    }
}

#[test]
fn an_answer_to_hello_that_breaks_the_protocol_is_not_mongodb() {
    use ReplyFault as R;
    let faults = [
        (R::WrongResponseTo, "answers request"),
        (R::DeclaredLength(i32::MAX), "2147483647 bytes"),
        (R::DeclaredLength(40), "40 bytes"),
        (R::OpCode(OP_MSG), "opcode 2013"),
        (R::Truncated(1), "length of the document"),
        (R::TrailingBytes(5), "length of the document"),
        (R::TwoBodies, "length of the document"),
        (R::Flags(CHECKSUM_PRESENT), "one document"), // in OP_REPLY: CursorNotFound
        (R::Replace(vec![0; 64]), "0 bytes"),
    ];
    for tls in [true, false] {
        let target = Target::new(tls);
        let client = target.client("");
        for (fault, text) in &faults {
            target.server().spoil_replies("isMaster", 1, fault.clone());
            let error = timed(Duration::ZERO, FAR, || ping_on(&client)).expect_err(text);
            assert_eq!(
                (error.kind(), code(&error), error.stage()),
                (
                    ErrorKind::Protocol,
                    CauseCode::NotMongodb,
                    Some(Stage::Hello)
                ),
                "{fault:?}: {error}"
            );
            assert!(error.to_string().contains(text), "{fault:?}: {error}");
        }
        ping_on(&client).unwrap();
        expect_open(target.server(), 1);
    }
}

#[test]
fn what_a_reply_may_hold_costs_nothing() {
    let server = Server::builder().start();
    let client = plain_client(&server, "");
    for fault in [
        ReplyFault::Checksum { valid: true },
        // TCP and TLS guard the bytes; OP_MSG leaves the check to the driver.
        ReplyFault::Checksum { valid: false },
        // Flags from bit 16 on need not be understood.
        ReplyFault::Flags(EXHAUST_ALLOWED),
        ReplyFault::Flags(1 << 31),
    ] {
        server.spoil_replies("ping", 1, fault.clone());
        let reply = ping_on(&client).unwrap_or_else(|error| panic!("{fault:?}: {error}"));
        assert_eq!(reply, doc! { "ok": 1.0 });
    }
    assert_eq!(server.counts().accepted, 1);
}

#[test]
fn a_second_reply_is_not_taken_for_the_next_ones() {
    let server = Server::builder().start();
    let client = plain_client(&server, "");
    client.server_report().unwrap();
    let id = server.commands()[0].request_id + 1;
    let body = RawDocumentBuf::try_from(&doc! { "stale": true, "ok": 1.0 }).unwrap();
    let frame = Frame {
        request_id: 1,
        response_to: id,
        op_code: OP_MSG,
        payload: [&[0; 5][..], body.as_bytes()].concat(),
    };
    server.spoil_replies("ping", 1, ReplyFault::Replace(frame.encode().repeat(2)));
    assert!(ping_on(&client).unwrap().contains_key("stale"));
    let error = ping_on(&client).unwrap_err();
    assert_eq!(
        (error.kind(), code(&error)),
        (ErrorKind::Protocol, CauseCode::NotMongodb)
    );
    assert!(
        error.to_string().contains(&format!("answers request {id}")),
        "{error}"
    );
    assert_eq!(ping_on(&client).unwrap(), doc! { "ok": 1.0 });
}
