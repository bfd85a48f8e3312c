//! Every defect of a server's certificate, reported by code and facts: on TLS 1.2 and 1.3, with RSA and ECDSA.

use std::net::TcpStream;
use std::time::Duration;

use mongotls::error::Stage;
use mongotls::options::TlsOptions;
use mongotls::tls::TlsContext;
use mongotls::{CauseCode, Client, ClientOptions, Error, ErrorKind, ServerAddress};
use mongotls_testbench::pki::{
    BasicConstraints, Ca, CaSpec, Digest, Identity, KeyKind, LeafSpec, PkiDir, Purpose, Revocation,
    Usage, Validity,
};
use mongotls_testbench::server::{ConnectionInfo, Request, Server, ServerTls};
use openssl::ssl::SslVersion;
use openssl::x509::CrlReason;

use crate::common::{Bench, code, fact, ping, ping_error, ping_on, security_level, too_small_rsa};

/// The server's chain in one case, and the client's options.
struct Case {
    name: &'static str,
    identity: Identity,
    anchors: Vec<u8>,
    host: &'static str,
    expected: CauseCode,
    facts: Vec<(&'static str, String)>,
}

fn cases(kind: KeyKind) -> Vec<Case> {
    let root = Ca::root("the root", kind);
    let other = Ca::root("another root", kind);
    let mid = root.intermediate("the intermediate", kind);
    let leaf = || LeafSpec::local_server().key_kind(kind);
    let case = |name, identity, expected| Case {
        name,
        identity,
        anchors: root.cert_pem(),
        host: "localhost",
        expected,
        facts: Vec::new(),
    };
    let ca = |name: &str| CaSpec::new(name).key_kind(kind);
    let small = too_small_rsa();

    let mut cases = vec![
        case(
            "end entity expired",
            mid.issue(leaf().validity(Validity::expired())),
            CauseCode::CertificateExpired,
        )
        .fact("role", "end entity")
        .fact("depth", "0"),
        case(
            "end entity not yet valid",
            mid.issue(leaf().validity(Validity::not_yet())),
            CauseCode::CertificateNotYetValid,
        )
        .fact("subject", "CN=localhost"),
        case(
            "intermediate expired",
            ca("old")
                .validity(Validity::expired())
                .issued_by(&root)
                .issue(leaf()),
            CauseCode::CertificateExpired,
        )
        .fact("role", "intermediate")
        .fact("subject", "CN=old"),
        case(
            "intermediate not sent",
            mid.issue(leaf()).without_chain(),
            CauseCode::IssuerUnknown,
        )
        .fact("sent_only_end_entity", "yes")
        .fact("missing_issuer", "CN=the intermediate"),
        case("another CA", other.issue(leaf()), CauseCode::IssuerUnknown)
            .fact("missing_issuer", "CN=another root"),
        case(
            "self-signed",
            Identity::self_signed(leaf()),
            CauseCode::SelfSigned,
        )
        .fact("role", "end entity"),
        case(
            "another name",
            mid.issue(
                LeafSpec::server("db.example")
                    .dns("*.db.example")
                    .key_kind(kind),
            ),
            CauseCode::HostnameMismatch,
        )
        .fact("expected_name", "localhost")
        .fact("presented_names", "db.example, *.db.example"),
        case(
            "another address",
            mid.issue(LeafSpec::server("localhost").ip("192.0.2.7").key_kind(kind)),
            CauseCode::IpAddressMismatch,
        )
        .host("127.0.0.1")
        .fact("presented_names", "localhost, 192.0.2.7"),
        case(
            "a name where an address is needed",
            mid.issue(LeafSpec::server("localhost").key_kind(kind)),
            CauseCode::IpAddressMismatch,
        )
        .host("127.0.0.1"),
        case(
            "an address as a DNS name",
            mid.issue(
                LeafSpec::new("x")
                    .dns("127.0.0.1")
                    .purposes(&[Purpose::ServerAuth])
                    .key_kind(kind),
            ),
            CauseCode::IpAddressMismatch,
        )
        .host("127.0.0.1"),
        case(
            "no alternative name",
            mid.issue(LeafSpec::server("localhost").no_san().key_kind(kind)),
            CauseCode::NoSubjectAltName,
        )
        .fact("common_name", "localhost"),
        case(
            "a client's certificate",
            mid.issue(leaf().purposes(&[Purpose::ClientAuth])),
            CauseCode::WrongPurpose,
        ),
        case(
            "a signer's certificate",
            mid.issue(leaf().purposes(&[Purpose::CodeSigning])),
            CauseCode::WrongPurpose,
        ),
        case(
            "key usage without signing",
            mid.issue(leaf().usage(Usage::CertSign)),
            CauseCode::WrongPurpose,
        ),
        case(
            "issued by an end entity",
            ca("no CA")
                .basic_constraints(BasicConstraints::NotCa)
                .issued_by(&root)
                .issue(leaf()),
            CauseCode::InvalidCa,
        )
        .fact("subject", "CN=no CA"),
        case(
            "path too long",
            ca("short")
                .path_length(0)
                .issued_by(&root)
                .intermediate("below", kind)
                .issue(leaf()),
            CauseCode::InvalidCa,
        ),
        case(
            "CA that may not sign",
            ca("mute")
                .without_cert_sign()
                .issued_by(&root)
                .issue(leaf()),
            CauseCode::InvalidCa,
        )
        .fact("subject", "CN=mute"),
        case(
            "name outside of the CA's",
            ca("fenced")
                .permit_dns("example.org")
                .issued_by(&root)
                .issue(leaf()),
            CauseCode::InvalidCa,
        ),
        case(
            "name that the CA excludes",
            ca("fenced")
                .exclude_dns("localhost")
                .issued_by(&root)
                .issue(leaf()),
            CauseCode::InvalidCa,
        ),
        case(
            "broken signature",
            mid.issue(leaf()).with_broken_signature(),
            CauseCode::SignatureInvalid,
        )
        .fact("subject", "CN=localhost"),
        case(
            "SHA-1 signature",
            mid.issue(leaf().digest(Digest::Sha1)),
            CauseCode::DigestTooWeak,
        )
        .fact("depth", "0"),
        case(
            "SHA-1 in the intermediate",
            ca("old")
                .digest(Digest::Sha1)
                .issued_by(&root)
                .issue(leaf()),
            CauseCode::DigestTooWeak,
        )
        .fact("subject", "CN=old"),
        case(
            "small RSA key",
            mid.issue(leaf().key_kind(KeyKind::Rsa(small))),
            CauseCode::KeyTooWeak,
        )
        .fact("key", &format!("RSA {small}")),
        case(
            "small RSA key in the intermediate",
            ca("small")
                .key_kind(KeyKind::Rsa(small))
                .issued_by(&root)
                .issue(leaf()),
            CauseCode::KeyTooWeak,
        )
        .fact("subject", "CN=small"),
    ];

    // The server sends the root too, and the client has another one.
    let mut with_root = other.issue(leaf());
    with_root.chain.push(other.cert().to_owned());
    cases.push(
        case("foreign root sent", with_root, CauseCode::UntrustedRoot)
            .fact("subject", "CN=another root"),
    );
    // An expired anchor.
    let old_root = ca("old root").validity(Validity::expired()).root();
    let mut expired_anchor = case(
        "anchor expired",
        old_root.issue(leaf()),
        CauseCode::CertificateExpired,
    )
    .fact("role", "trust anchor");
    expired_anchor.anchors = old_root.cert_pem();
    cases.push(expired_anchor);
    cases
}

impl Case {
    fn host(mut self, host: &'static str) -> Self {
        self.host = host;
        self
    }

    fn fact(mut self, key: &'static str, value: &str) -> Self {
        self.facts.push((key, value.to_owned()));
        self
    }

    fn attempt(&self, server: &Server, versions: (SslVersion, SslVersion)) -> Result<(), Error> {
        server.set_tls(&ServerTls::new(&self.identity).versions(versions.0, versions.1));
        let dir = PkiDir::new();
        let ca_file = dir.write("ca.pem", &self.anchors);
        ping(&format!(
            "mongodb://{}:{}/?tls=true&tlsCAFile={}",
            self.host,
            server.port(),
            ca_file.display()
        ))
    }

    fn check(&self, server: &Server, versions: (SslVersion, SslVersion)) {
        let commands = server.counts().commands;
        let outcome = self.attempt(server, versions);
        if self.expected == CauseCode::DigestTooWeak && sha1_will_do() {
            return outcome.unwrap_or_else(|error| panic!("{}: {error}", self.name));
        }
        let error = outcome.expect_err(self.name);
        let context = format!("{} on {:?}: {error}", self.name, versions.0);
        assert_eq!(code(&error), self.expected, "{context}");
        assert_eq!(
            (error.kind(), error.stage()),
            (ErrorKind::Tls, Some(Stage::Tls)),
            "{context}"
        );
        for (key, value) in &self.facts {
            assert_eq!(fact(&error, key), *value, "{context}");
        }
        // Each error names its server and gives advice that does not weaken the check.
        assert_eq!(
            fact(&error, "server"),
            format!("{}:{}", self.host, server.port())
        );
        let remedy = error.cause().unwrap().remedy();
        assert!(
            !remedy.is_empty() && !remedy.contains("Insecure") && !remedy.contains("AllowInvalid"),
            "{remedy}"
        );
        assert_eq!(
            server.counts().commands,
            commands,
            "{context}: a command reached an unverified server"
        );
    }
}

/// OpenSSL 1.1.1 accepts SHA-1 at level 1, which is its own default; 3 rejects it at each level but 0.
fn sha1_will_do() -> bool {
    security_level() < 2 && openssl::version::number() < 0x3000_0000
}

const TLS_1_2: (SslVersion, SslVersion) = (SslVersion::TLS1_2, SslVersion::TLS1_2);
const TLS_1_3: (SslVersion, SslVersion) = (SslVersion::TLS1_3, SslVersion::TLS1_3);

fn check_all(kind: KeyKind) {
    let sound = Ca::root("r", KeyKind::EcP256).issue(LeafSpec::local_server());
    let server = Server::builder().tls(ServerTls::new(&sound)).start();
    for case in cases(kind) {
        // An OpenSSL server does not even offer an ECDSA key on TLS 1.2 that may not sign.
        if !(case.name == "key usage without signing" && kind == KeyKind::EcP256) {
            case.check(&server, TLS_1_2);
        }
        case.check(&server, TLS_1_3);
    }
}

#[test]
fn each_fault_of_an_ecdsa_chain_is_distinguished() {
    check_all(KeyKind::EcP256);
}

#[test]
fn each_fault_of_an_rsa_chain_is_distinguished() {
    check_all(KeyKind::Rsa(2048));
}

#[test]
fn an_expired_certificate_shows_its_dates_and_the_clock() {
    let bench = Bench::with(
        KeyKind::EcP256,
        |leaf| leaf.validity(Validity::days(-30, -3)),
        |tls| tls,
    );
    let error = ping_error(&bench.uri(""));
    let (until, checked) = (fact(&error, "not_after"), fact(&error, "checked_at"));
    assert!(
        until < checked && error.to_string().contains(&until),
        "{error}"
    );
    assert!(!fact(&error, "serial").is_empty() && fact(&error, "issuer") == "CN=bench root");
}

#[test]
fn a_sound_chain_is_verified_on_every_version_and_key() {
    for kind in [
        KeyKind::EcP256,
        KeyKind::EcP384,
        KeyKind::Rsa(2048),
        KeyKind::Ed25519,
    ] {
        for (min, max) in [TLS_1_2, TLS_1_3] {
            let bench = Bench::with(kind, |leaf| leaf, |tls| tls.versions(min, max));
            // The first handshake: OpenSSL 1.1.1 does not know the group of a resumed TLS 1.2 session.
            let report = bench.client("").server_report().unwrap().handshake.unwrap();
            assert!(
                report.is_verified() && !report.resumed() && report.group().is_some(),
                "{report:?}"
            );
            for host in ["localhost", "127.0.0.1"] {
                ping(&bench.uri_for(host, ""))
                    .unwrap_or_else(|error| panic!("{kind:?} {min:?} {host}: {error}"));
            }
            let path: Vec<_> = report
                .verified_chain()
                .into_iter()
                .map(|cert| cert.subject)
                .collect();
            assert_eq!(path, ["CN=localhost", "CN=bench root"]);
        }
    }
}

#[test]
fn the_key_exchange_group_has_its_tls_name() {
    let groups = [
        ("P-256", "secp256r1"),
        ("P-384", "secp384r1"),
        ("X25519", "x25519"),
        ("X448", "x448"),
    ];
    for (group, name) in groups {
        for (min, max) in [TLS_1_2, TLS_1_3] {
            let tls = |tls: ServerTls| tls.versions(min, max).groups(group);
            let bench = Bench::with(KeyKind::EcP256, |leaf| leaf, tls);
            let report = bench.client("").server_report().unwrap().handshake.unwrap();
            assert_eq!(report.group(), Some(name), "{min:?}");
        }
    }
}

#[test]
fn names_are_sent_as_sni_and_addresses_are_not() {
    let bench = Bench::sound();
    for (host, handshakes) in [("localhost", 2), ("127.0.0.1", 4)] {
        let client = Client::connect(&bench.uri_for(host, "")).unwrap();
        ping_on(&client).unwrap();
        // The monitor's own connection comes with its second check.
        let is_there = |server: &Server| server.counts().handshakes == handshakes;
        assert!(bench.server.wait_until(Duration::from_secs(10), is_there));
    }
    let names = |connections: Vec<ConnectionInfo>| {
        let names = connections.into_iter().map(|connection| connection.sni);
        names.collect::<Vec<_>>()
    };
    let name = || Some("localhost".to_owned());
    assert_eq!(names(bench.server.program_connections()), [name(), None]);
    // Including those of the monitors.
    let all = names(bench.server.connections());
    assert_eq!(all, [name(), name(), None, None]);
}

#[test]
fn an_intermediate_in_the_ca_file_is_an_anchor() {
    let root = Ca::root("root", KeyKind::EcP256);
    let mid = root.intermediate("mid", KeyKind::EcP256);
    let identity = mid.issue(LeafSpec::local_server()).without_chain();
    let server = Server::builder().tls(ServerTls::new(&identity)).start();
    let mut bench = Bench::around(server, root);
    bench.ca_file = bench.dir.write("mid.pem", mid.cert_pem());
    ping(&bench.uri("")).unwrap();
}

#[test]
fn a_ca_file_replaces_the_system_trust_anchors() {
    let bench = Bench::sound();
    let mut many = Ca::root("unrelated", KeyKind::EcP256).cert_pem();
    many.extend(bench.ca.cert_pem());
    let path = bench.dir.write("many.pem", many);
    ping(&format!(
        "mongodb://localhost:{}/?tls=true&tlsCAFile={}",
        bench.server.port(),
        path.display()
    ))
    .unwrap();
    // Without the file the system's anchors are used, which do not include the bench's CA.
    let error = ping_error(&format!(
        "mongodb://localhost:{}/?tls=true",
        bench.server.port()
    ));
    assert_eq!(code(&error), CauseCode::IssuerUnknown);
    assert!(
        fact(&error, "trust_anchors").contains("system"),
        "{}",
        fact(&error, "trust_anchors")
    );
}

/// A handshake for any name with a server of this host.
fn handshake_as(host: &str, bench: &Bench) -> Result<(), mongotls::Error> {
    let options = TlsOptions::builder()
        .ca_file(&bench.ca_file)
        .build()
        .unwrap();
    let stream = TcpStream::connect(bench.server.addr()).unwrap();
    TlsContext::new(&options)
        .unwrap()
        .connect(host, stream)
        .map(|_| ())
}

#[test]
fn wildcards_match_one_label_and_no_part_of_one() {
    let spec = LeafSpec::server("*.db.example")
        .dns("f*.part.example")
        .dns("*")
        .dns("a.*.inner.example");
    let bench = Bench::with(KeyKind::EcP256, |_| spec, |tls| tls);
    handshake_as("a.db.example", &bench).unwrap();
    handshake_as("A.DB.example", &bench).unwrap();
    for host in [
        "a.b.db.example",
        "db.example",
        "foo.part.example",
        "localhost",
        "a.b.inner.example",
        "xdb.example",
    ] {
        assert_eq!(
            code(&handshake_as(host, &bench).unwrap_err()),
            CauseCode::HostnameMismatch,
            "{host}"
        );
    }
}

#[test]
fn invalid_host_names_are_rejected_before_connecting() {
    // OpenSSL would match ".example" with any name below it, and "*" with itself.
    let bench = Bench::with(
        KeyKind::EcP256,
        |_| {
            LeafSpec::server("db.example")
                .dns("*.db.example")
                .dns("db_1.example")
        },
        |tls| tls,
    );
    for host in [
        ".example",
        ".db.example",
        "*.db.example",
        "",
        ".",
        "a..b",
        "db example",
        "bü_cher.example",
        "db.example\0",
        &"a".repeat(64),
    ] {
        let error = handshake_as(host, &bench).unwrap_err();
        assert_eq!(code(&error), CauseCode::OptionConflict, "{host:?}");
    }
    handshake_as("db_1.example", &bench).unwrap();
}

#[test]
fn the_final_dot_of_a_name_is_not_compared() {
    let bench = Bench::sound();
    handshake_as("localhost.", &bench).unwrap();
    let sent = |server: &Server| {
        server
            .connections()
            .iter()
            .any(|connection| connection.sni.as_deref() == Some("localhost"))
    };
    assert!(
        bench.server.wait_until(Duration::from_secs(5), sent),
        "{:?}",
        bench.server.connections()
    );
}

#[test]
fn the_common_name_counts_only_where_the_program_admits_it() {
    let bench = Bench::with(
        KeyKind::EcP256,
        |_| LeafSpec::server("localhost").no_san(),
        |tls| tls,
    );
    assert_eq!(
        code(&ping_error(&bench.uri(""))),
        CauseCode::NoSubjectAltName
    );
    let tls = TlsOptions::builder()
        .ca_file(&bench.ca_file)
        .dangerous(|tls| tls.allow_common_name(true))
        .build()
        .unwrap();
    let options = ClientOptions::builder()
        .host(ServerAddress::tcp("localhost", bench.server.port()))
        .tls(tls)
        .build()
        .unwrap();
    let client = mongotls::Client::with_options(options).unwrap();
    assert!(
        client
            .server_report()
            .unwrap()
            .handshake
            .unwrap()
            .is_verified()
    );
}

#[test]
fn relaxed_options_do_what_they_say_and_no_more() {
    let wrong_name = Bench::with(
        KeyKind::EcP256,
        |_| LeafSpec::server("db.example"),
        |tls| tls,
    );
    let expired = Bench::with(
        KeyKind::EcP256,
        |leaf| leaf.validity(Validity::expired()),
        |tls| tls,
    );
    let report = |bench: &Bench, options: &str| {
        bench
            .client(options)
            .server_report()
            .map(|report| report.handshake.unwrap())
    };

    let relaxed = report(&wrong_name, "&tlsAllowInvalidHostnames=true").unwrap();
    assert_eq!(
        relaxed.verification().to_string(),
        "chain verified, host name not compared"
    );
    assert_eq!(
        code(&report(&expired, "&tlsAllowInvalidHostnames=true").unwrap_err()),
        CauseCode::CertificateExpired
    );

    for option in ["&tlsAllowInvalidCertificates=true", "&tlsInsecure=true"] {
        for bench in [&wrong_name, &expired] {
            let relaxed = report(bench, option).unwrap();
            assert!(
                !relaxed.is_verified() && relaxed.protocol() == "TLSv1.3",
                "{relaxed:?}"
            );
        }
        let would_fail = report(&expired, option).unwrap().verification().to_string();
        assert!(would_fail.starts_with("not verified"), "{would_fail}");
    }
    for option in [
        "&tlsAllowInvalidHostnames=false",
        "&tlsAllowInvalidCertificates=false",
        "&tlsInsecure=false",
    ] {
        assert_eq!(
            code(&report(&wrong_name, option).unwrap_err()),
            CauseCode::HostnameMismatch,
            "{option}"
        );
    }
}

#[test]
fn predicted_failures_need_trust_anchors() {
    let bench = Bench::sound();
    let verification = |uri: &str| {
        let client = mongotls::Client::connect(uri).unwrap();
        let report = client.server_report().unwrap().handshake.unwrap();
        report.verification().to_string()
    };
    let other = bench
        .dir
        .write("other.pem", Ca::root("other", KeyKind::EcP256).cert_pem());
    let at = format!(
        "mongodb://localhost:{}/?tlsInsecure=true",
        bench.server.port()
    );
    assert_eq!(verification(&at), "not verified");
    assert_eq!(
        verification(&bench.uri("&tlsInsecure=true")),
        "not verified"
    );
    let other = verification(&format!("{at}&tlsCAFile={}", other.display()));
    assert!(
        other.contains("unable to get local issuer certificate"),
        "{other}"
    );
}

#[test]
fn relaxed_options_never_lead_to_plain_text() {
    let plain = Server::builder().start();
    for option in [
        "tlsAllowInvalidCertificates",
        "tlsInsecure",
        "tlsAllowInvalidHostnames",
    ] {
        let error = ping_error(&format!(
            "mongodb://localhost:{}/?{option}=true&connectTimeoutMS=1000",
            plain.port()
        ));
        assert_eq!(code(&error), CauseCode::ServerNotTls, "{error}");
        // Only the question whether the server speaks MongoDB without TLS, which names nothing of the program.
        let is_question = |request: &Request| {
            request.name.eq_ignore_ascii_case("hello") && request.app_name.is_none()
        };
        let commands = plain.commands();
        assert!(commands.iter().all(is_question), "{commands:?}");
    }
}

#[test]
fn a_crl_refuses_the_revoked_and_needs_to_be_in_force() {
    let kind = KeyKind::EcP256;
    let bench = Bench::sound();
    let good = bench.ca.issue(LeafSpec::local_server().key_kind(kind));
    let bad = bench.ca.issue(LeafSpec::local_server().key_kind(kind));
    let crl = |spec: mongotls_testbench::pki::CrlSpec<'_>| {
        bench.dir.write("crl.pem", spec.build().to_pem().unwrap())
    };
    let listing = || {
        bench
            .ca
            .crl()
            .revoke(Revocation::of(&bad.cert).reason(CrlReason::KEY_COMPROMISE))
    };
    let attempt = |identity: &Identity| {
        bench.server.set_tls(&ServerTls::new(identity));
        let path = bench.dir.path().join("crl.pem");
        ping(&bench.uri(&format!("&tlsCRLFile={}", path.display())))
    };

    crl(listing());
    attempt(&good).unwrap();
    let error = attempt(&bad).unwrap_err();
    assert_eq!(
        (code(&error), error.stage()),
        (CauseCode::RevokedCrl, Some(Stage::Revocation))
    );
    assert_eq!(fact(&error, "serial"), bad.serial_hex());
    assert_eq!(fact(&error, "reason"), "keyCompromise");
    assert!(
        fact(&error, "revoked_at") < fact(&error, "checked_at"),
        "{error:?}"
    );

    let faults = [
        (
            listing().validity(Validity::expired()),
            CauseCode::CrlExpired,
        ),
        (
            listing().validity(Validity::not_yet()),
            CauseCode::CrlNotYetValid,
        ),
        (listing().broken_signature(), CauseCode::CrlInvalid),
    ];
    for (spec, expected) in faults {
        crl(spec);
        assert_eq!(code(&attempt(&good).unwrap_err()), expected);
    }
    let other = Ca::root("another", kind);
    bench
        .dir
        .write("crl.pem", other.crl().build().to_pem().unwrap());
    assert_eq!(code(&attempt(&good).unwrap_err()), CauseCode::CrlMissing);
}
