//! A SOCKS5 proxy that cannot be reached, rejects, disconnects, is slow, or is another kind of server: each has its
//! cause, and the proxy is never bypassed.

use std::thread;
use std::time::{Duration, Instant};

use mongotls::error::Stage;
use mongotls::{CauseCode, Client, Error, ErrorKind};
use mongotls_testbench::fault::{Action, Fault};
use mongotls_testbench::server::Server;
use mongotls_testbench::socks5::{Misbehaviour, Socks5Proxy};
use mongotls_testbench::stranger::{self, Stranger};

use crate::common::{at_limit, code, fact, ping, ping_error, ping_on};
use crate::target::{LIMIT, attempt_error, for_each, trickle, waiting_error};

const LABELS: [&str; 2] = ["SystemOverloadedError", "RetryableError"];

/// A server that is directly reachable, and a proxy that fails.
struct Scene {
    server: Server,
    proxy: Socks5Proxy,
}

impl Scene {
    fn new() -> Self {
        Self {
            server: Server::builder().start(),
            proxy: Socks5Proxy::start(),
        }
    }

    /// A scene whose proxy requires a user.
    fn with_login() -> Self {
        Self {
            server: Server::builder().start(),
            proxy: Socks5Proxy::builder().login("bob", "p@ss").start(),
        }
    }

    fn uri(&self, options: &str) -> String {
        format!("{}?{}{options}", self.server.uri(), self.proxy.options())
    }

    /// The error of an attempt, at the stage connect, which names server and proxy and contains no password.
    fn error(&self, options: &str) -> Error {
        let error = attempt_error(&self.uri(options));
        assert_eq!(error.stage(), Some(Stage::Connect), "{error}");
        assert_eq!(fact(&error, "proxy"), self.proxy.addr().to_string());
        assert_eq!(fact(&error, "server"), self.server.addr().to_string());
        assert!(!format!("{error:?}").contains("p@ss"), "{error:?}");
        error
    }
}

const BOB: &str = "&proxyUsername=bob&proxyPassword=p%40ss";

fn is_labelled(error: &Error) -> bool {
    let both = error.labels() == LABELS;
    assert!(both || error.labels().is_empty(), "{:?}", error.labels());
    both
}

#[test]
fn each_proxy_reply_has_its_cause_without_a_bypass() {
    use CauseCode as C;
    let scene = Scene::new();
    for (reply, cause, word) in [
        (1, C::ProxyFailed, "does not say why"),
        (2, C::ProxyFailed, "does not allow"),
        (3, C::NetworkUnreachable, "no route"),
        (4, C::NetworkUnreachable, "cannot reach the host"),
        (5, C::ConnectionRefused, "refused by the server"),
        (6, C::NetworkUnreachable, "TTL expired"),
        (7, C::ProxyFailed, "CONNECT"),
        (8, C::ProxyFailed, "address of this kind"),
        (9, C::ProxyFailed, "does not know"),
        (255, C::ProxyFailed, "does not know"),
    ] {
        scene.proxy.reply_with(reply);
        let error = scene.error("");
        assert_eq!((code(&error), error.kind()), (cause, ErrorKind::Network));
        assert_eq!(fact(&error, "reply"), reply.to_string());
        assert!(error.to_string().contains(word), "{error}");
        // Network errors behind the proxy may be caused by an overloaded server; the proxy's own errors may not.
        assert_eq!(is_labelled(&error), cause != C::ProxyFailed, "{error}");
    }
    // A client that waits reports its monitor's attempts in the same way, and does not bypass the proxy either.
    scene.proxy.reply_with(2);
    let error = waiting_error(&scene.uri(""));
    assert_eq!(
        (code(&error), &*fact(&error, "reply")),
        (C::ProxyFailed, "2")
    );
    assert_eq!(scene.server.counts().accepted, 0);
    scene.proxy.behave();
    ping(&scene.uri("")).unwrap();
}

#[test]
fn a_proxy_rejection_names_the_missing_credential() {
    let greeting = |bytes: &[u8]| Misbehaviour::Greeting(bytes.to_vec());
    let login = |bytes: &[u8]| Misbehaviour::Login(bytes.to_vec());
    let reply = |bytes: &[u8]| Misbehaviour::Reply(bytes.to_vec());
    let scene = Scene::with_login();
    for (how, options, word, step) in [
        (None, "", "requires user and password", "greeting"),
        (
            Some(Misbehaviour::Method(2)),
            "",
            "requires user and password",
            "greeting",
        ),
        (
            Some(Misbehaviour::Method(1)),
            BOB,
            "chose method 1",
            "greeting",
        ),
        (
            Some(Misbehaviour::Method(0xFF)),
            BOB,
            "supports neither",
            "greeting",
        ),
        (
            Some(login(&[1, 1])),
            BOB,
            "refused the user \"bob\"",
            "login",
        ),
        (Some(login(&[5, 0])), BOB, "in version 5", "login"),
        (Some(reply(&[4, 1, 0, 1])), BOB, "in version 4", "connect"),
        (
            Some(greeting(b"HTTP/1.1 400 Bad Request\r\n")),
            BOB,
            "looks like HTTP",
            "greeting",
        ),
        (Some(greeting(&[4, 90])), BOB, "\"\\x04Z\"", "greeting"),
    ] {
        scene.proxy.behave();
        if let Some(how) = &how {
            scene.proxy.misbehave(how.clone());
        }
        let error = scene.error(options);
        assert_eq!(
            (code(&error), error.kind()),
            (CauseCode::ProxyFailed, ErrorKind::Network)
        );
        assert!(error.to_string().contains(word), "{word}: {error}");
        assert_eq!(fact(&error, "step"), step);
        assert!(!is_labelled(&error));
        // The password is sent only to a proxy that requests it after it was offered.
        let visit = scene.proxy.visits().pop().unwrap();
        assert_eq!(visit.login.is_some(), step != "greeting", "{how:?}");
    }
    let broken = |bytes: &[u8], word: &str| {
        scene.proxy.misbehave(reply(bytes));
        let error = scene.error(BOB);
        assert_eq!(code(&error), CauseCode::ProxyFailed);
        assert!(error.to_string().contains(word), "{error}");
    };
    broken(&[5, 0, 1, 1, 0, 0, 0, 0, 0, 0], "reserved byte");
    broken(&[5, 0, 0, 2, 0, 0, 0, 0, 0, 0], "unknown type 2");
    // A rejection need not be followed by an address.
    broken(&[5, 2, 0, 1], "does not allow");
}

#[test]
fn each_form_of_a_good_reply_leads_to_the_server() {
    let long = [&[5, 0, 0, 3, 255][..], &[b'n'; 255], &[0, 80]].concat();
    let scene = Scene::new();
    for reply in [
        &[
            5, 0, 0, 4, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 1, 0, 80,
        ],
        &b"\x05\0\0\x03\0\0\0"[..],
        &long,
    ] {
        scene.proxy.misbehave(Misbehaviour::Reply(reply.to_vec()));
        ping(&scene.uri("")).unwrap();
        // In pieces of any size.
        let pause = Duration::from_millis(1);
        scene
            .proxy
            .faults()
            .next(1, Fault::trickle_after(0, 1, pause));
        ping(&scene.uri("")).unwrap();
    }
}

/// The proxy's reply and the server's first bytes are in one segment: the reply is not read beyond its end.
#[test]
fn early_bytes_of_the_server_are_not_lost() {
    let talker = stranger::banner(*b"SSH-2.0-OpenSSH_9.2p1\r\n");
    let proxy = Socks5Proxy::start();
    for how in [None, Some(Misbehaviour::WithServersBytes)] {
        if let Some(how) = how {
            proxy.misbehave(how);
        }
        let error = ping_error(&format!("mongodb://{}/?{}", talker.addr(), proxy.options()));
        assert_eq!(code(&error), CauseCode::NotMongodb, "{error}");
        assert_eq!(fact(&error, "looks_like"), "SSH");
    }
}

#[test]
fn a_proxy_that_ends_the_connection_is_named_at_each_byte() {
    let scene = Scene::with_login();
    // Two bytes each of greeting and login, ten of the reply.
    for after in 0..14 {
        let step = match after {
            0..2 => "greeting",
            2..4 => "login",
            _ => "connect",
        };
        for (fault, cause, word) in [
            (
                Fault::close_after(after),
                CauseCode::ConnectionClosed,
                "closed the connection",
            ),
            (
                Fault::reset_after(after),
                CauseCode::ConnectionReset,
                "reset the connection",
            ),
        ] {
            scene.proxy.faults().next(1, fault);
            let error = scene.error(BOB);
            // A close with unread bytes of the client is a reset.
            let is_either = matches!(
                code(&error),
                CauseCode::ConnectionClosed | CauseCode::ConnectionReset
            );
            assert!(is_either, "{after}: {error}");
            if after > 0 {
                assert_eq!(code(&error), cause, "{after}: {error}");
                assert!(error.to_string().contains(word), "{after}: {error}");
            }
            assert_eq!(fact(&error, "step"), step, "{after}: {error}");
            assert_eq!(is_labelled(&error), step == "connect", "{after}: {error}");
        }
    }
    let asked = scene.proxy.visits();
    let asked = asked.iter().filter(|visit| visit.address_type != 0).count();
    assert!(scene.server.counts().accepted <= asked as u64);
}

#[test]
fn a_silent_or_slow_proxy_ends_with_the_connect_timeout() {
    let limit = format!("&connectTimeoutMS={}{BOB}", LIMIT.as_millis());
    for_each(
        [
            (0, Action::Stall, "the greeting", "greeting"),
            (1, Action::Stall, "the greeting", "greeting"),
            (2, Action::Stall, "the login request", "login"),
            (4, Action::Stall, "the request to connect", "connect"),
            (13, Action::Stall, "the request to connect", "connect"),
            (4, trickle(150), "the request to connect", "connect"),
            (0, trickle(600), "the greeting", "greeting"),
        ],
        |(after, action, question, step)| {
            let scene = Scene::with_login();
            scene.proxy.faults().all(Fault::new(after, action));
            let error = at_limit(LIMIT, || scene.error(&limit));
            assert_eq!(
                (code(&error), error.kind()),
                (CauseCode::ConnectTimeout, ErrorKind::Timeout)
            );
            assert_eq!(fact(&error, "option"), "connectTimeoutMS");
            assert_eq!(fact(&error, "step"), step);
            let text = error.to_string();
            let words = format!("the SOCKS5 proxy {} did not answer", scene.proxy.addr());
            assert!(text.contains(&words) && text.contains(question), "{text}");
            assert!(text.contains("(connectTimeoutMS)"), "{text}");
            assert_eq!(is_labelled(&error), step == "connect", "{text}");
        },
    );
}

#[test]
fn a_server_that_is_no_proxy_is_recognised_quickly() {
    let server = Server::builder().start();
    let cases: [(Stranger, &str); 3] = [
        (stranger::http_server(), "HTTP"),
        // These wait for more bytes, and the client must not wait for them.
        (stranger::banner(*b"SSH-2.0-x\r\n"), "SSH"),
        (stranger::banner(*b"\x15\x03\x01\0\x02\x02\x28"), "TLS"),
    ];
    for (stranger, expected) in cases {
        let addr = stranger.addr();
        let options = format!("proxyHost={}&proxyPort={}", addr.ip(), addr.port());
        let started = Instant::now();
        let error = attempt_error(&format!("{}?{options}", server.uri()));
        assert!(started.elapsed() < Duration::from_secs(5));
        assert_eq!(code(&error), CauseCode::ProxyFailed, "{error}");
        assert_eq!(fact(&error, "looks_like"), expected);
        assert!(!is_labelled(&error));
    }
    assert_eq!(server.counts().accepted, 0);
}

#[test]
fn a_proxy_out_of_reach_is_said_to_be_the_proxy() {
    let server = Server::builder().start();
    let nobody = stranger::nobody();
    let of = |host: &str, port: u16| {
        let uri = format!(
            "{}?proxyHost={host}&proxyPort={port}&connectTimeoutMS=20000",
            server.uri()
        );
        let error = attempt_error(&uri);
        let words = format!("the SOCKS5 proxy {host}:{port} cannot be reached");
        assert!(error.to_string().contains(&words), "{error}");
        assert_eq!(fact(&error, "proxy"), format!("{host}:{port}"));
        assert!(!is_labelled(&error), "{error}");
        error
    };
    let error = of("127.0.0.1", nobody.port());
    assert_eq!(
        (code(&error), error.stage()),
        (CauseCode::ConnectionRefused, Some(Stage::Connect))
    );
    assert!(error.cause().unwrap().remedy().contains("Start the proxy"));
    let error = of("proxy.mongotls.invalid", 1080);
    assert_eq!(error.stage(), Some(Stage::Resolve));
    // Without a name server the resolver fails.
    assert!(matches!(
        code(&error),
        CauseCode::DnsNotFound | CauseCode::DnsFailed
    ));
    let error = of("255.255.255.255", 1080);
    assert_eq!(code(&error), CauseCode::NetworkUnreachable);
    assert_eq!(server.counts().accepted, 0);
}

#[test]
fn values_too_long_for_a_proxy_are_option_conflicts() {
    let long = "x".repeat(256);
    for (options, name) in [
        (
            format!("&proxyUsername={long}&proxyPassword=p"),
            "proxyUsername",
        ),
        (
            format!("&proxyUsername=u&proxyPassword={long}"),
            "proxyPassword",
        ),
    ] {
        let error = Client::connect(&format!("mongodb://h/?proxyHost=p{options}")).unwrap_err();
        assert_eq!(code(&error), CauseCode::OptionConflict);
        assert_eq!(error.stage(), Some(Stage::Options));
        assert!(error.to_string().contains(name), "{error}");
        assert!(!format!("{error:?}").contains("xxx"), "{error:?}");
    }
}

#[test]
fn closing_a_client_ends_the_wait_for_a_proxy() {
    for after in [0, 2] {
        let scene = Scene::new();
        scene.proxy.faults().all(Fault::stall_after(after));
        let client = Client::connect(&scene.uri("&connectTimeoutMS=60000")).unwrap();
        let other = client.clone();
        let dial = thread::spawn(move || ping_on(&other).unwrap_err());
        let is_there = scene.proxy.wait_until(Duration::from_secs(10), |visits| {
            visits
                .last()
                .is_some_and(|visit| after == 0 || visit.address_type != 0)
        });
        assert!(is_there);
        let started = Instant::now();
        assert!(client.close(Duration::from_secs(30)).is_empty());
        let error = dial.join().unwrap();
        assert_eq!(error.kind(), ErrorKind::ClientClosed, "{error:?}");
        assert!(started.elapsed() < Duration::from_secs(10));
    }
}
