//! Each fault from the view of a raw client: the bytes before it, and the end after it.

use bson::doc;
use mongotls_testbench::client::{Patient, RawClient, tls};
use mongotls_testbench::fault::{Action, Fault, Layer};
use mongotls_testbench::pki::{Ca, KeyKind, LeafSpec};
use mongotls_testbench::proxy::Proxy;
use mongotls_testbench::server::{ReplyFault, Server, ServerTls};
use mongotls_testbench::wire::{MORE_TO_COME, Msg, OP_MSG, crc32c};
use openssl::ssl::{ShutdownState, SslStream};
use std::io::{ErrorKind, Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::process::Command;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

/// The end of a stream.
#[derive(Debug, PartialEq)]
enum End {
    Eof,
    Reset,
    Silence,
}

const QUIET: Duration = Duration::from_millis(100);

/// Reads everything, until the end or until nothing came for a while.
fn drain(stream: &mut TcpStream) -> (Vec<u8>, End) {
    stream.set_read_timeout(Some(QUIET)).unwrap();
    let mut all = Vec::new();
    let mut buffer = [0; 4096];
    loop {
        match stream.read(&mut buffer) {
            Ok(0) => return (all, End::Eof),
            Ok(count) => all.extend_from_slice(&buffer[..count]),
            Err(error) => match error.kind() {
                ErrorKind::ConnectionReset => return (all, End::Reset),
                ErrorKind::WouldBlock | ErrorKind::TimedOut => return (all, End::Silence),
                other => panic!("{other:?}"),
            },
        }
    }
}

/// Sends a ping and drains the answer.
fn ping(addr: SocketAddr) -> (Vec<u8>, End) {
    let mut client = RawClient::connect(addr).unwrap();
    let ping = Msg::of(doc! { "ping": 1, "$db": "admin" });
    // An error means that the fault was faster.
    let _ = client.send(OP_MSG, ping.encode());
    drain(&mut client.stream)
}

const REPLY: usize = 38;

#[test]
fn faults_strike_a_plain_reply_at_any_byte_on_either_layer() {
    for layer in [Layer::Tcp, Layer::Message] {
        for after in [1, 15, 16, 37, 38] {
            let met = |action: Action| {
                let server = Server::builder().start();
                server.faults().next(1, Fault::new(after, action).on(layer));
                let met = ping(server.addr());
                // Only one connection has the fault.
                let mut next = RawClient::connect(server.addr()).unwrap();
                next.command("admin", doc! { "ping": 1 }).unwrap();
                met
            };
            let count = usize::try_from(after).unwrap();
            let (bytes, end) = met(Action::Stall);
            assert_eq!((bytes.len(), end), (count, End::Silence));
            let (bytes, end) = met(Action::Close);
            assert_eq!((bytes.len(), end), (count, End::Eof));
            let (bytes, end) = met(Action::Reset);
            assert!(bytes.len() <= count);
            assert_eq!(end, End::Reset);
            let (bytes, end) = met(Action::Garbage(b"garbage".to_vec()));
            assert_eq!((&bytes[count..], end), (&b"garbage"[..], End::Silence));
        }
    }
}

#[test]
fn faults_after_no_byte_strike_at_once() {
    let server = Server::builder().start();
    let idle = |fault| {
        server.faults().next(1, fault);
        drain(&mut TcpStream::connect(server.addr()).unwrap())
    };
    assert_eq!(idle(Fault::close_after(0)), (vec![], End::Eof));
    assert_eq!(idle(Fault::reset_after(0)), (vec![], End::Reset));
    assert_eq!(idle(Fault::stall_after(0)), (vec![], End::Silence));
    assert_eq!(
        idle(Fault::garbage_after(0, "x")),
        (b"x".to_vec(), End::Silence)
    );
    server.faults().all(Fault::stall_after(0));
    assert_eq!(ping(server.addr()), (vec![], End::Silence));
    assert_eq!(ping(server.addr()), (vec![], End::Silence));
    server.faults().clear();
    assert_eq!(ping(server.addr()).0.len(), REPLY);
}

#[test]
fn trickle_is_slow_and_complete() {
    let server = Server::builder().start();
    let trickle = Fault::trickle_after(30, 2, Duration::from_millis(20));
    server.faults().all(trickle.on(Layer::Message));
    let begun = Instant::now();
    let mut client = RawClient::connect(server.addr()).unwrap();
    client.command("admin", doc! { "ping": 1 }).unwrap();
    assert!(begun.elapsed() >= Duration::from_millis(80));
}

#[test]
fn faults_strike_inside_the_handshake() {
    let ca = Ca::root("root", KeyKind::EcP256);
    let identity = ca.issue(LeafSpec::local_server());
    let server = Server::builder().tls(ServerTls::new(&identity)).start();
    let outcome = |fault| {
        server.faults().next(1, fault);
        let met = tls(server.addr(), "localhost", Some(ca.cert()), None);
        met.map(|_| ()).unwrap_err().to_string()
    };
    let text = outcome(Fault::close_after(100));
    assert!(
        text.contains("unexpected EOF") || text.contains("unexpected eof"),
        "{text}"
    );
    let text = outcome(Fault::reset_after(100));
    assert!(text.contains("reset") || text.contains("error:"), "{text}");
    let text = outcome(Fault::garbage_after(0, "HTTP/1.1 400 Bad Request\r\n\r\n"));
    assert!(text.contains("wrong version number"), "{text}");
    server
        .faults()
        .next(1, Fault::trickle_after(0, 500, Duration::from_millis(1)));
    tls(server.addr(), "localhost", Some(ca.cert()), None).unwrap();

    server.faults().next(1, Fault::stall_after(100));
    let mut raw = TcpStream::connect(server.addr()).unwrap();
    raw.write_all(&client_hello()).unwrap();
    let (bytes, end) = drain(&mut raw);
    assert_eq!((bytes.len(), end), (100, End::Silence));
}

/// A ClientHello as OpenSSL makes it.
fn client_hello() -> Vec<u8> {
    let listener = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let addr = listener.local_addr().unwrap();
    let catcher = std::thread::spawn(move || {
        let mut hello = vec![0; 4096];
        let count = listener.accept().unwrap().0.read(&mut hello).unwrap();
        hello.truncate(count);
        hello
    });
    assert!(tls(addr, "localhost", None, None).is_err());
    catcher.join().unwrap()
}

#[test]
fn close_above_tls_says_close_notify_and_below_it_does_not() {
    let ca = Ca::root("root", KeyKind::EcP256);
    // Not ECDSA: its signatures, and so its handshakes, vary in length.
    let identity = ca.issue(LeafSpec::local_server().key_kind(KeyKind::Ed25519));
    let server = Server::builder().tls(ServerTls::new(&identity)).start();
    let connect = || RawClient::connect_tls(server.addr(), "localhost", ca.cert()).unwrap();
    // The number of bytes before the end, and true if close_notify was that end.
    let receive_after = |client: &mut RawClient<SslStream<Patient>>| {
        let ping = Msg::of(doc! { "ping": 1, "$db": "admin" });
        client.send(OP_MSG, ping.encode()).unwrap();
        let mut bytes = Vec::new();
        client.stream.read_to_end(&mut bytes).unwrap();
        (bytes.len(), client.stream.get_shutdown())
    };
    let properly = (20, ShutdownState::RECEIVED);

    server
        .faults()
        .next(1, Fault::close_after(20).on(Layer::Message));
    assert_eq!(receive_after(&mut connect()), properly);
    let mut client = connect();
    server.spoil_replies(
        "ping",
        1,
        ReplyFault::Cut {
            after: 20,
            action: Action::Close,
        },
    );
    assert_eq!(receive_after(&mut client), properly);

    let server = Server::builder().tls(ServerTls::new(&identity)).start();
    let connect = || RawClient::connect_tls(server.addr(), "localhost", ca.cert()).unwrap();
    let mut probe = connect();
    probe.legacy_hello().unwrap();
    let handshake_and_hello = server.counts().sent;
    server
        .faults()
        .next(1, Fault::close_after(handshake_and_hello));
    let mut client = connect();
    client.legacy_hello().unwrap();
    let ping = Msg::of(doc! { "ping": 1, "$db": "admin" });
    let _ = client.send(OP_MSG, ping.encode());
    assert!(client.receive().is_err());
    assert_eq!(client.stream.get_shutdown(), ShutdownState::empty());
}

#[test]
fn spoiled_replies_have_exactly_their_one_fault() {
    let server = Server::builder().start();
    let met = |fault| {
        server.spoil_replies("ping", 1, fault);
        let (bytes, _) = ping(server.addr());
        bytes
    };
    let int = |bytes: &[u8], at: usize| i32::from_le_bytes(bytes[at..at + 4].try_into().unwrap());

    assert!(met(ReplyFault::Silence).is_empty());
    assert_eq!(int(&met(ReplyFault::WrongResponseTo), 8), 2);
    for length in [-1, 0, 15, 0x7fff_ffff] {
        let bytes = met(ReplyFault::DeclaredLength(length));
        assert_eq!((int(&bytes, 0), bytes.len()), (length, REPLY));
    }
    assert_eq!(int(&met(ReplyFault::OpCode(7)), 12), 7);
    let bytes = met(ReplyFault::Truncated(3));
    assert_eq!((int(&bytes, 0), bytes.len()), (35, 35));
    assert_eq!(int(&met(ReplyFault::Flags(1 << 9)), 16), 1 << 9);
    let flags = int(&met(ReplyFault::MoreToCome), 16);
    assert_eq!(u32::try_from(flags).unwrap(), MORE_TO_COME);
    let bytes = met(ReplyFault::TrailingBytes(5));
    assert_eq!((int(&bytes, 0), bytes.len()), (43, 43));
    let bytes = met(ReplyFault::TwoBodies);
    assert_eq!(bytes[20..38], bytes[38..]);
    assert_eq!(met(ReplyFault::Replace(b"nonsense".to_vec())), b"nonsense");
    for valid in [true, false] {
        let bytes = met(ReplyFault::Checksum { valid });
        let sum = crc32c(&bytes[..REPLY]).to_le_bytes();
        assert_eq!((int(&bytes, 0), int(&bytes, 16)), (42, 1));
        assert_eq!(bytes[REPLY..] == sum, valid);
    }
    assert_eq!(ping(server.addr()).0.len(), REPLY);
    server.spoil_replies("*", usize::MAX, ReplyFault::Silence);
    assert!(ping(server.addr()).0.is_empty());
    server.heal_replies();
    assert_eq!(ping(server.addr()).0.len(), REPLY);
}

#[test]
fn stalled_connections_do_not_hold_up_the_end() {
    let server = Server::builder().start();
    server.faults().all(Fault::stall_after(0));
    let open: Vec<_> = (0..4).map(|_| ping(server.addr())).collect();
    let begun = Instant::now();
    drop(server);
    assert!(begun.elapsed() < Duration::from_secs(1));
    drop(open);
}

#[test]
fn proxy_relays_spoils_holds_and_cuts() {
    let ca = Ca::root("root", KeyKind::EcP256);
    let identity = ca.issue(LeafSpec::local_server());
    let server = Server::builder().tls(ServerTls::new(&identity)).start();
    let proxy = Proxy::start(server.endpoint());
    let connect = || RawClient::connect_tls(proxy.addr(), "localhost", ca.cert());
    let big = "x".repeat(1 << 20);
    let mut client = connect().unwrap();
    let echo = client.command("db", doc! { "benchEcho": &big }).unwrap();
    assert_eq!(echo.get_str("benchEcho").unwrap(), big);

    proxy.pause();
    let begun = Instant::now();
    std::thread::scope(|scope| {
        scope.spawn(|| {
            std::thread::sleep(Duration::from_millis(100));
            proxy.resume();
        });
        client.command("db", doc! { "ping": 1 }).unwrap();
    });
    assert!(begun.elapsed() >= Duration::from_millis(100));

    proxy.cut();
    assert!(client.command("db", doc! { "ping": 1 }).is_err());
    let all_gone = |server: &Server| server.counts().open == 0;
    assert!(server.wait_until(Duration::from_secs(2), all_gone));

    proxy.faults().next(1, Fault::close_after(100));
    assert!(connect().is_err());
    connect().unwrap().legacy_hello().unwrap();
    let plain = Server::builder().start();
    let proxy = Proxy::start(plain.endpoint());
    proxy.faults().next(1, Fault::reset_after(20));
    let (bytes, end) = ping(proxy.addr());
    assert!(bytes.len() <= 20);
    assert_eq!(end, End::Reset);
    proxy.faults().next(1, Fault::stall_after(20));
    let (bytes, end) = ping(proxy.addr());
    assert_eq!((bytes.len(), end), (20, End::Silence));

    let _open = TcpStream::connect(proxy.addr()).unwrap();
    let begun = Instant::now();
    drop(proxy);
    assert!(begun.elapsed() < Duration::from_secs(1));
}

#[test]
fn a_port_is_reused_while_programs_start() {
    let server = Server::builder().start();
    let proxy = Proxy::start(server.endpoint());
    let over = AtomicBool::new(false);
    std::thread::scope(|scope| {
        // A child has a copy of every socket until it has become another program.
        scope.spawn(|| {
            for _ in 0..2000 {
                Command::new("true").status().unwrap();
                if over.load(Ordering::Relaxed) {
                    break;
                }
            }
        });
        let refusals = (0..200).map(|_| {
            proxy.refuse();
            let refusal = TcpStream::connect(proxy.addr()).map(drop);
            proxy.admit();
            TcpStream::connect(proxy.addr()).unwrap();
            refusal.map_err(|error| error.kind())
        });
        let refusals: Vec<_> = refusals.collect();
        over.store(true, Ordering::Relaxed);
        assert_eq!(refusals, [Err(ErrorKind::ConnectionRefused); 200]);
    });
}
