//! Host names with characters beyond ASCII: the form for DNS, SNI and verification, and the form in messages.

use std::collections::BTreeSet;
use std::net::TcpStream;
use std::time::Duration;

use mongotls::doctor;
use mongotls::options::TlsOptions;
use mongotls::tls::TlsContext;
use mongotls::{CauseCode, Client, ClientOptions, ErrorKind, ServerAddress};
use mongotls_testbench::pki::{KeyKind, LeafSpec};
use mongotls_testbench::server::{Hello, Role};
use mongotls_testbench::socks5::Socks5Proxy;

use crate::cli::{self, mongotls};
use crate::common::{Bench, code, fact, ping, ping_error, ping_on};

const WRITTEN: &str = "Bücher.mongotls.invalid";
const ASCII: &str = "xn--bcher-kva.mongotls.invalid";

/// A server with one name in its certificate, and a proxy that maps `ASCII` to the server.
fn bench(name: &str) -> (Bench, Socks5Proxy) {
    let spec = |_| LeafSpec::server(name);
    let bench = Bench::with(KeyKind::EcP256, spec, |tls| tls);
    let proxy = Socks5Proxy::builder().name(ASCII, bench.server.addr());
    (bench, proxy.start())
}

fn uri(host: &str, bench: &Bench, proxy: &Socks5Proxy) -> String {
    let (ca, proxy) = (bench.ca_file.display(), proxy.options());
    format!("mongodb://{host}/?directConnection=true&tls=true&tlsCAFile={ca}&{proxy}")
}

#[test]
fn a_server_is_reached_and_verified_by_its_ascii_name() {
    let (bench, proxy) = bench(ASCII);
    for host in [WRITTEN, "bu\u{308}cher.mongotls.invalid", ASCII] {
        ping(&uri(host, &bench, &proxy)).unwrap();
    }
    assert!(proxy.visits().iter().all(|visit| visit.host == ASCII));
    let uri = uri(WRITTEN, &bench, &proxy);
    let (options, _) = ClientOptions::parse(&uri).unwrap();
    let expected = [ServerAddress::tcp("bücher.mongotls.invalid", 27017)];
    assert_eq!(
        options.hosts(),
        expected,
        "parsing leaves the name as it is"
    );

    let options = TlsOptions::builder().ca_file(&bench.ca_file);
    let context = TlsContext::new(&options.build().unwrap()).unwrap();
    let stream = || TcpStream::connect(bench.server.addr()).unwrap();
    context.connect(WRITTEN, stream()).unwrap();
    let error = context.connect("café.example", stream()).unwrap_err();
    assert_eq!(code(&error), CauseCode::HostnameMismatch);
    assert_eq!(fact(&error, "dns_name"), "xn--caf-dma.example");
    let message = error.cause().unwrap().message().to_owned();
    let end = " (\"café.example\" is \"xn--caf-dma.example\" in DNS)";
    assert!(message.ends_with(end), "{message}");
}

#[test]
fn the_doctor_shows_both_forms() {
    let (bench, proxy) = bench(ASCII);
    let uri = uri(WRITTEN, &bench, &proxy);
    let diagnosis = doctor::examine(&uri);
    assert!(diagnosis.is_ok(), "{diagnosis:?}");
    let examination = &diagnosis.examinations[0];
    assert_eq!(examination.dns_name.as_deref(), Some(ASCII));
    let server = examination.server.as_ref().unwrap().to_string();
    assert_eq!(server, "bücher.mongotls.invalid:27017");
    let text = mongotls(&["doctor", &uri]).out;
    assert!(text.contains(&format!("    in DNS {ASCII}\n")), "{text}");
    let (_, json) = cli::doctor(&uri);
    assert_eq!(json["dns_name"], ASCII);
}

#[test]
fn errors_name_both_forms() {
    let (bench, proxy) = bench("other.example");
    let error = ping_error(&uri(WRITTEN, &bench, &proxy));
    assert_eq!(code(&error), CauseCode::HostnameMismatch);
    assert_eq!(fact(&error, "expected_name"), ASCII);
    assert_eq!(fact(&error, "dns_name"), ASCII);
    assert_eq!(fact(&error, "host"), "bücher.mongotls.invalid");
    // Without a proxy this host's resolver is used, which does not know the name or does not exist.
    let uri = "mongodb://bücher.mongotls.invalid/?serverSelectionTimeoutMS=2000";
    let error = ping_error(uri);
    assert_eq!(fact(&error, "dns_name"), ASCII);
    let both = "(\"bücher.mongotls.invalid\" is \"xn--bcher-kva.mongotls.invalid\" in DNS)";
    assert!(error.to_string().contains(both), "{error}");
}

#[test]
fn a_name_that_none_of_dns_can_be_is_refused_at_once() {
    for (host, why) in [
        (
            "１２７.0.0.1",
            "its ASCII form \"127.0.0.1\" reads as an IP address",
        ),
        (
            "a＿b.example",
            "it has no ASCII form for DNS (UTS 46): a character is not allowed there, or a part is empty or too long",
        ),
    ] {
        let options = ClientOptions::builder().host(ServerAddress::tcp(host, 27017));
        let error = Client::with_options(options.build().unwrap()).unwrap_err();
        let cause = error.cause().unwrap();
        assert_eq!(
            (error.kind(), cause.code(), cause.message(), cause.remedy()),
            (
                ErrorKind::Configuration,
                CauseCode::OptionConflict,
                &*format!("the host name {host:?} cannot be looked up: {why}"),
                "Correct the host name in the connection string."
            )
        );
    }
}

#[test]
fn names_of_servers_are_not_converted() {
    let (bench, _) = bench("first.mongotls.invalid");
    let first = "first.mongotls.invalid:27017";
    let second = "münchen.mongotls.invalid:27017";
    let proxy = Socks5Proxy::builder().name("first.mongotls.invalid", bench.server.addr());
    let proxy = proxy.start();
    bench.server.set_hello(|hello| {
        *hello = Hello::member(Role::Primary, "rs0", first, &[first, second]);
    });
    let uri = uri("first.mongotls.invalid", &bench, &proxy);
    let client = Client::connect(&uri.replace("directConnection=true", "replicaSet=rs0")).unwrap();
    ping_on(&client).unwrap();
    proxy.wait_until(Duration::from_secs(10), |visits| {
        visits
            .iter()
            .any(|visit| !["", "first.mongotls.invalid"].contains(&&*visit.host))
    });
    // A visit that has just begun has no host yet.
    let visits = proxy.visits().into_iter().map(|visit| visit.host);
    let hosts: BTreeSet<String> = visits.filter(|host| !host.is_empty()).collect();
    let expected = ["first.mongotls.invalid", "münchen.mongotls.invalid"];
    assert_eq!(hosts, expected.map(str::to_owned).into());
}

#[cfg(feature = "srv")]
#[test]
fn srv_records_are_those_of_the_ascii_name() {
    use mongotls::error::Stage;
    use mongotls_testbench::dns::{DnsServer, Zone};

    let dns = DnsServer::start(Zone::parse(
        "_mongodb._tcp.db.xn--bcher-kva.example. SRV 27018 one.xn--bcher-kva.example.\n\
         db.xn--bcher-kva.example. TXT \"replicaSet=rs0\"",
    ));
    let options = || {
        let uri = mongotls::ConnectionString::parse("mongodb+srv://db.bücher.example/").unwrap();
        uri.into_builder().dns_server(dns.addr()).build().unwrap()
    };
    let client = Client::with_options(options()).unwrap();
    assert_eq!(
        client.options().hosts(),
        [ServerAddress::tcp("one.xn--bcher-kva.example", 27018)]
    );
    assert_eq!(client.options().replica_set(), Some("rs0"));
    // A record with the name in other characters is another name.
    dns.set_zone(Zone::parse(
        "_mongodb._tcp.db.xn--bcher-kva.example. SRV 27018 one.bücher.example.",
    ));
    let error = Client::with_options(options()).unwrap_err();
    assert_eq!(
        (code(&error), error.stage()),
        (CauseCode::SrvInvalid, Some(Stage::Resolve))
    );
    assert_eq!(fact(&error, "target"), r"one.b\195\188cher.example");
    let end = " (\"db.bücher.example\" is \"db.xn--bcher-kva.example\" in DNS)";
    assert!(error.cause().unwrap().message().ends_with(end), "{error}");
}
