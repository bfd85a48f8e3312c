//! `docs/troubleshooting.md` and the code: the order and the meaning of the causes are those of the table, and each
//! example is the output of `mongotls doctor` for a failure that is caused here.
//!
//! Values that vary between runs (ports, dates, serial numbers, folders, OpenSSL's own words) are each replaced by a
//! fixed value. With `MONGOTLS_BLESS=1` the generated parts of the file are written again; manual text beside them
//! stays.

mod credentials;
#[cfg(feature = "srv")]
mod srv;

use std::collections::HashMap;
use std::fmt;
use std::io::Read;
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::path::{Path, PathBuf};
use std::time::{Duration, SystemTime};

use mongotls::CauseCode;
use mongotls::bson::{DateTime, doc};
use mongotls::cause::Category;
use mongotls::options::{SpkiPin, TlsOptionsBuilder};
use mongotls_testbench::fault::Fault;
use mongotls_testbench::ocsp::Responder;
use mongotls_testbench::pki::{
    BasicConstraints, Ca, CaSpec, Digest, Identity, KeyKind, LeafSpec, OcspSpec, PkiDir, Purpose,
    Revocation, Validity,
};
use mongotls_testbench::server::{Auth, ClientAuth, ReplyFault, Request, Server, ServerTls, User};
use mongotls_testbench::socks5::{Misbehaviour, Socks5Proxy, Socks5ProxyBuilder};
use mongotls_testbench::stranger::{self, Stranger};
use openssl::ssl::{SslAlert, SslVersion};
use openssl::x509::CrlReason;

use crate::cli::mongotls_with;
use crate::collections::rejections::rejections;
use crate::common::Bench;
use crate::matrix::users::NO_DIGESTS;

const FILE: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/docs/troubleshooting.md");

#[test]
fn the_troubleshooting_guide_matches_the_code() {
    let found = std::fs::read_to_string(FILE).unwrap();
    let old = Guide::read(&found);
    let lab = Lab::new();
    let expected = old.write(|code, kept| entry(&lab, code, kept));
    if std::env::var_os("MONGOTLS_BLESS").is_some_and(|value| !value.is_empty()) {
        return std::fs::write(FILE, expected).unwrap();
    }
    let differs = |(found, expected): &(&str, &str)| found != expected;
    let lines = found.lines().zip(expected.lines()).enumerate();
    let mut lines = lines.map(|(at, pair)| (at + 1, pair));
    if let Some((line, (found, expected))) = lines.find(|(_, pair)| differs(pair)) {
        panic!(
            "docs/troubleshooting.md, line {line}:\n  found    {found}\n  expected {expected}\n\
             If the code is right: MONGOTLS_BLESS=1 cargo test --features cli --test it troubleshooting"
        );
    }
    assert_eq!(found, expected);
}

// --- the file ---

/// The contents of the file, apart from the generated parts.
struct Guide<'a> {
    /// The text before the first category.
    introduction: &'a str,
    /// The manual text below a heading, by the heading's text.
    written: HashMap<&'a str, &'a str>,
    /// The generated text below a heading.
    generated: HashMap<&'a str, &'a str>,
}

/// The text after it, up to the next heading, is manual; all other text is generated.
const BY_HAND: &str = "<!-- by hand -->\n";

impl<'a> Guide<'a> {
    fn read(text: &'a str) -> Self {
        let (introduction, _) = text.split_once("\n## ").unwrap_or((text, ""));
        let mut guide = Self {
            introduction,
            written: HashMap::new(),
            generated: HashMap::new(),
        };
        for (heading, generated, written) in sections(text) {
            guide.generated.insert(heading, generated);
            guide.written.insert(heading, written);
        }
        guide
    }

    /// The expected file. `entry` makes the text below the heading of a code, from the existing text.
    fn write(&self, entry: impl Fn(CauseCode, &str) -> String) -> String {
        let mut text = format!("{}\n", self.introduction.trim_end());
        let mut section = |level: &str, heading: &str, generated: &str| {
            let written = self.written.get(heading).copied().unwrap_or_default();
            text += &format!("\n{level} {heading}\n\n{}\n", generated.trim_end());
            if !written.is_empty() {
                text += &format!("\n{BY_HAND}\n{written}\n");
            }
        };
        let mut category: Option<Category> = None;
        for code in CauseCode::ALL.iter().copied() {
            let of_category = code.category();
            if category.replace(of_category) != Some(of_category) {
                let codes = CauseCode::ALL.iter();
                let codes = codes.filter(|code| code.category() == of_category);
                let links: Vec<_> = codes
                    .map(|code| format!("- [`{code}`](#{code}): {}\n", code.meaning()))
                    .collect();
                section("##", of_category.as_str(), &links.concat());
            }
            let kept = self.generated.get(code.as_str()).copied();
            section("###", code.as_str(), &entry(code, kept.unwrap_or_default()));
        }
        text
    }
}

/// The heading of each section, the generated text below it, and the manual text after that.
fn sections(text: &str) -> impl Iterator<Item = (&str, &str, &str)> {
    let sections = text.split("\n## ").skip(1);
    sections
        .flat_map(|section| section.split("\n### "))
        .map(|section| {
            let (heading, rest) = section.split_once('\n').unwrap_or((section, ""));
            let (generated, written) = rest.split_once(BY_HAND).unwrap_or((rest, ""));
            (heading, generated.trim(), written.trim())
        })
}

/// The text below the heading of a code. `kept` is the existing text, for a failure that cannot be caused on this host.
fn entry(lab: &Lab, code: CauseCode, kept: &str) -> String {
    let mut meaning = code.meaning().to_owned();
    meaning[..1].make_ascii_uppercase();
    let mut text = format!("{meaning}.\n\n");
    let mut told = Vec::new();
    if code.category() == Category::Operation {
        let rejections = rejections();
        let rejection = rejections.iter().find(|it| it.code == code).unwrap();
        let (error, port) = rejection.run();
        let output = lab.normalise(&format!("{error:?}"), Some(&port.to_string()));
        told.push(Told::read(code, &output));
        return text + &first_example(&told[0]);
    }
    for inject in injections(code) {
        match inject(lab) {
            Some(output) => told.push(Told::read(code, &output)),
            None => return text + kept.split_once("\n\n").map_or("", |(_, kept)| kept),
        }
    }
    let (first, others) = told
        .split_first()
        .unwrap_or_else(|| panic!("{code} has no example"));
    text += &first_example(first);
    if !others.is_empty() {
        text += "\nOther forms of it:\n\n";
    }
    for other in others {
        text += &format!("- `{}`: {}\n", other.message, other.remedy);
    }
    text
}

fn first_example(told: &Told) -> String {
    format!(
        "```text\n{}```\n\n**What to do:** {}\n",
        told.block, told.remedy
    )
}

/// The parts of a printed failure.
struct Told {
    /// Heading, message and facts.
    block: String,
    message: String,
    remedy: String,
}

impl Told {
    /// The output of a program that returns the error from `main`.
    fn of_error(code: CauseCode, output: &str) -> Option<Self> {
        let (message, rest) = output.split_once(&format!(" [{code}]\n  remedy: "))?;
        let remedy = rest.lines().next()?;
        Some(Self {
            block: format!("Error: {message} [{code}]\n  remedy: {remedy}\n"),
            message: message.to_owned(),
            remedy: remedy.to_owned(),
        })
    }

    fn read(code: CauseCode, output: &str) -> Self {
        if let Some(error) = Self::of_error(code, output) {
            return error;
        }
        let heading = format!("{}: {code}\n", code.category());
        let start = output.find(&heading);
        let start = start.unwrap_or_else(|| panic!("no {code} in\n{output}"));
        let (block, remedy) = output[start..].split_once("\nremedy\n  ").unwrap();
        // OpenSSL's own text differs between versions.
        let own_words = |line: &&str| line.trim_start().starts_with("openssl   ");
        let words = block
            .lines()
            .find(own_words)
            .map(|line| line.trim_start()["openssl".len()..].trim());
        let lines = block.lines().filter(|line| !own_words(line));
        let mut block: String = lines.flat_map(|line| [line.trim_end(), "\n"]).collect();
        if let Some(words) = words.filter(|words| !words.starts_with("the server")) {
            block = block.replace(words, "…");
        }
        let block = format!("{}\n", block.trim_end());
        let message = block.lines().nth(1).unwrap_or_default().trim();
        // The server and the stage are equal in all of them.
        let message = message
            .split_once(" failed: ")
            .map_or(message, |(_, message)| message);
        Self {
            message: message.to_owned(),
            remedy: remedy.trim_end().to_owned(),
            block,
        }
    }
}

// --- values that vary between runs ---

/// The key identifier of 20 bytes at the start of a text.
fn key_id(text: &str) -> Option<&str> {
    let id = text.get(..59)?;
    let is_byte = |byte: &str| byte.len() == 2 && byte.bytes().all(|b| b.is_ascii_hexdigit());
    id.split(':').all(is_byte).then_some(id)
}

/// The current time in the examples.
const NOW: &str = "2026-06-01T12:00:00Z";

impl Lab {
    /// Makes the text equal on every host and at every time; `port` is the server's.
    fn normalise(&self, text: &str, port: Option<&str>) -> String {
        let text = text.replace(&self.dir.path().display().to_string(), "/etc/db");
        let (mut out, mut rest) = (String::new(), text.as_str());
        let (mut digests, mut key_ids): (Vec<&str>, Vec<&str>) = Default::default();
        while let Some(first) = rest.chars().next() {
            let instant = rest
                .get(..NOW.len())
                .and_then(|text| DateTime::parse_rfc3339_str(text).ok());
            if let Some(instant) = instant {
                out += &self.shifted(instant);
                rest = &rest[NOW.len()..];
                continue;
            }
            if let Some(id) = key_id(rest) {
                let known = key_ids.iter().position(|known| *known == id);
                let place = known.unwrap_or_else(|| {
                    key_ids.push(id);
                    key_ids.len() - 1
                });
                out += &[format!("{place:02X}"), vec!["A7"; 19].join(":")].join(":");
                rest = &rest[id.len()..];
                continue;
            }
            let word = rest
                .find(|c: char| !c.is_ascii_alphanumeric())
                .unwrap_or(rest.len());
            let (word, after) = rest.split_at(word.max(first.len_utf8()));
            rest = after;
            let is_hex = word.bytes().all(|byte| byte.is_ascii_hexdigit());
            out += match word.len() {
                32 if is_hex => "5B21F06E9C3D4A8871E0D2C94F6A13B7",
                64 if is_hex => {
                    let known = digests.iter().position(|digest| *digest == word);
                    DIGESTS[known.unwrap_or_else(|| {
                        digests.push(word);
                        digests.len() - 1
                    })]
                }
                _ if Some(word) == port => "27017",
                _ => word,
            };
        }
        let out = out.replace("localhost", "db.example.com");
        out.replace("127.0.0.1", "192.0.2.10")
    }

    /// An instant with the offset from [`NOW`] that it has from the start of the test, to the hour.
    fn shifted(&self, instant: DateTime) -> String {
        const HOUR: i64 = 3_600_000;
        let now = DateTime::parse_rfc3339_str(NOW).unwrap().timestamp_millis();
        let away = instant.timestamp_millis() - self.started.timestamp_millis();
        let hours = (away + HOUR / 2).div_euclid(HOUR);
        DateTime::from_millis(now + hours * HOUR)
            .try_to_rfc3339_string()
            .unwrap()
    }
}

/// SHA-256 digests, in the order in which one failure lists them.
const DIGESTS: [&str; 3] = [
    "0d9f7c51a86e42b3f0c5e91d37a4682b5fe0c7194d83ba26e1f5907c3ad8b640",
    "73b1e04fd25c986a1e7d30c4b9f8526ad0417ce83b965f2a08e6d41b7f93c25e",
    "c84a06e3917f5bd2406ec18b5da97f3062e1b9d4708cf53a9b2e64d10f78a3c5",
];

// --- how each failure is caused ---

/// Causes a failure and returns the output, or `None` if that is impossible on this host.
type Inject = fn(&Lab) -> Option<String>;

/// Files and servers of all examples.
struct Lab {
    dir: PkiDir,
    root: Ca,
    started: DateTime,
}

impl Lab {
    fn new() -> Self {
        let root = Ca::root("Example Root CA", KeyKind::EcP256);
        let dir = PkiDir::new();
        dir.write("ca.pem", root.cert_pem());
        Self {
            dir,
            root,
            started: DateTime::from_system_time(SystemTime::now()),
        }
    }

    fn file(&self, name: &str, bytes: impl AsRef<[u8]>) -> PathBuf {
        self.dir.write(name, bytes)
    }

    fn doctor(&self, uri: &str) -> Option<String> {
        self.doctor_in(uri, &[])
    }

    /// The doctor's output for `uri`, with these environment variables.
    fn doctor_in(&self, uri: &str, environment: &[(&str, &Path)]) -> Option<String> {
        let run = mongotls_with(&["doctor", uri], environment);
        let authority = uri
            .split("//")
            .nth(1)
            .and_then(|rest| rest.split('/').next());
        let port = authority
            .and_then(|authority| authority.rsplit_once(':'))
            .map(|(_, port)| port);
        Some(self.normalise(&run.out, port))
    }

    /// The doctor's output for a server, with `tlsCAFile` and further options.
    fn examine(&self, server: &Server, host: &str, options: &str) -> Option<String> {
        self.doctor_at(format!("{host}:{}", server.port()), options)
    }

    /// The doctor's output for a listener at this address, if there is one.
    fn doctor_at(&self, authority: impl fmt::Display, options: &str) -> Option<String> {
        let ca = self.dir.path().join("ca.pem");
        self.doctor(&format!(
            "mongodb://{authority}/?tls=true&tlsCAFile={}{options}",
            ca.display()
        ))
    }

    /// A server with this certificate.
    fn present(&self, identity: &Identity) -> Option<String> {
        self.examine(&serve(identity), "localhost", "")
    }

    /// A server whose certificate is valid except for one change.
    fn leaf(&self, change: impl FnOnce(LeafSpec) -> LeafSpec) -> Option<String> {
        self.present(&self.root.issue(change(leaf())))
    }

    /// A server whose certificate is valid except for one change, and a client with a separate OpenSSL configuration.
    /// The default level, and its source, differ between systems.
    fn leaf_at_level_2(&self, change: impl FnOnce(LeafSpec) -> LeafSpec) -> Option<String> {
        let config = self.file("openssl.cnf", LEVEL_2);
        let server = serve(&self.root.issue(change(leaf())));
        let ca = self.dir.path().join("ca.pem");
        let (port, ca) = (server.port(), ca.display());
        let uri = format!("mongodb://localhost:{port}/?tls=true&tlsCAFile={ca}");
        self.doctor_in(&uri, &[("OPENSSL_CONF", &config)])
    }

    /// A server with unusual settings.
    fn settings(&self, change: impl FnOnce(ServerTls) -> ServerTls) -> Option<String> {
        let tls = change(ServerTls::new(&self.root.issue(leaf())));
        self.examine(&Server::builder().tls(tls).start(), "localhost", "")
    }

    /// A valid server whose connections fail.
    fn fault(&self, fault: Fault) -> Option<String> {
        let server = serve(&self.root.issue(leaf()));
        server.faults().all(fault);
        self.examine(&server, "127.0.0.1", "")
    }

    /// A server that is checked with a CRL of this CA.
    fn crl(&self, ca: &Ca, change: impl FnOnce(Crl<'_>) -> Crl<'_>) -> Option<String> {
        let identity = self.root.issue(leaf());
        let crl = change(Crl {
            spec: ca.crl(),
            server: &identity,
        })
        .spec
        .build();
        let path = self.file("crl.pem", crl.to_pem().unwrap());
        self.examine(
            &serve(&identity),
            "localhost",
            &format!("&tlsCRLFile={}", path.display()),
        )
    }

    /// A server that sends this OCSP response.
    fn staple(&self, change: impl FnOnce(OcspSpec) -> OcspSpec) -> Option<String> {
        let identity = self.root.issue(leaf());
        let staple = change(self.root.ocsp(&identity.cert)).build();
        let tls = ServerTls::new(&identity).staple(staple);
        self.examine(&Server::builder().tls(tls).start(), "localhost", "")
    }

    /// A server whose OCSP responder reports it as revoked.
    fn responder(&self) -> Option<String> {
        let responder = Responder::start();
        let identity = self.root.issue(leaf().ocsp_url(&responder.url()));
        let revoked = self.root.ocsp(&identity.cert);
        let revoked = revoked.revoked(-86_400, Some(CrlReason::KEY_COMPROMISE));
        responder.answer(&identity.cert, revoked.build());
        let output = self.present(&identity)?;
        let url = responder.url().replace("127.0.0.1", "192.0.2.10");
        Some(output.replace(&url, "http://ocsp.example.com"))
    }

    /// The output of a program with options that have no key in a connection string.
    fn program(
        &self,
        change: impl FnOnce(TlsOptionsBuilder) -> TlsOptionsBuilder,
    ) -> Option<String> {
        let server = serve(&self.root.issue(leaf()));
        let port = server.port().to_string();
        let bench = Bench::around(server, self.root.clone());
        let ca = self.dir.path().join("ca.pem");
        let error = bench.handshake(|tls| change(tls.ca_file(ca))).unwrap_err();
        Some(self.normalise(&format!("{error:?}"), Some(&port)))
    }

    /// A server that requests a client certificate, and a client with this one.
    fn client(
        &self,
        mode: ClientAuth,
        client: Option<Identity>,
        tls: impl FnOnce(ServerTls) -> ServerTls,
    ) -> Option<String> {
        let settings =
            ServerTls::new(&self.root.issue(leaf())).client_auth(mode, &[self.root.cert()]);
        let server = Server::builder().tls(tls(settings)).start();
        let option = client.map(|client| {
            let path = self.file("client.pem", client.bundle_pem());
            format!("&tlsCertificateKeyFile={}", path.display())
        });
        self.examine(&server, "localhost", &option.unwrap_or_default())
    }

    /// A client with this file in that option; nothing is sent.
    fn local(&self, option: &str, name: &str, bytes: Option<Vec<u8>>) -> Option<String> {
        let path = self.dir.path().join(name);
        if let Some(bytes) = bytes {
            self.file(name, bytes);
        }
        let ca = self.dir.path().join("ca.pem");
        let anchors = match option {
            "tlsCAFile" => String::new(),
            _ => format!("tlsCAFile={}&", ca.display()),
        };
        self.doctor(&format!(
            "mongodb://localhost/?{anchors}{option}={}",
            path.display()
        ))
    }

    /// A client with this certificate file, and further options.
    fn key_file(&self, bytes: Vec<u8>, options: &str) -> Option<String> {
        self.file("client.pem", bytes);
        let path = format!("client.pem{options}");
        self.local("tlsCertificateKeyFile", &path, None)
    }

    fn app(&self) -> Identity {
        self.root.issue(LeafSpec::client("app"))
    }
}

/// A CRL that is being made, and the server that it may list.
struct Crl<'a> {
    spec: mongotls_testbench::pki::CrlSpec<'a>,
    server: &'a Identity,
}

/// A configuration of OpenSSL that sets security level 2.
const LEVEL_2: &str = "openssl_conf = init\n[init]\nssl_conf = modules\n[modules]\nsystem_default = all\n\
    [all]\nCipherString = DEFAULT:@SECLEVEL=2\n";

fn leaf() -> LeafSpec {
    LeafSpec::local_server()
}

fn serve(identity: &Identity) -> Server {
    Server::builder().tls(ServerTls::new(identity)).start()
}

fn alert(number: i32) -> SslAlert {
    SslAlert::from_reason_code(1000 + number).unwrap()
}

/// The ways to cause a failure: the first is the example, the others have a separate remedy.
fn injections(code: CauseCode) -> &'static [Inject] {
    match code.category() {
        Category::Certificate => of_certificates(code),
        Category::Protocol => of_protocol(code),
        Category::Revocation => of_revocation(code),
        Category::ClientCertificate => of_client_certificates(code),
        Category::Configuration => of_configuration(code),
        Category::Credential => credentials::injections(code),
        Category::Network => of_network(code),
        _ => of_servers(code),
    }
}

fn of_certificates(code: CauseCode) -> &'static [Inject] {
    match code {
        CauseCode::CertificateExpired => &[
            |lab| lab.leaf(|leaf| leaf.validity(Validity::expired())),
            |lab| {
                let old = CaSpec::new("Old Intermediate CA").validity(Validity::expired());
                lab.present(&old.issued_by(&lab.root).issue(leaf()))
            },
            |_| {
                let lab = Lab {
                    root: CaSpec::new("Old Root CA")
                        .validity(Validity::expired())
                        .root(),
                    ..Lab::new()
                };
                lab.file("ca.pem", lab.root.cert_pem());
                lab.leaf(|leaf| leaf)
            },
        ],
        CauseCode::CertificateNotYetValid => {
            &[|lab| lab.leaf(|leaf| leaf.validity(Validity::not_yet()))]
        }
        CauseCode::IssuerUnknown => &[
            |lab| {
                let mid = lab
                    .root
                    .intermediate("Example Intermediate CA", KeyKind::EcP256);
                lab.present(&mid.issue(leaf()).without_chain())
            },
            |lab| {
                let other = Ca::root("Other Root CA", KeyKind::EcP256);
                let mid = other.intermediate("Other Intermediate CA", KeyKind::EcP256);
                lab.present(&mid.issue(leaf()))
            },
        ],
        CauseCode::SelfSigned => &[|lab| lab.present(&Identity::self_signed(leaf()))],
        CauseCode::UntrustedRoot => &[|lab| {
            let other = Ca::root("Other Root CA", KeyKind::EcP256);
            let mut identity = other.issue(leaf());
            identity.chain.push(other.cert().to_owned());
            lab.present(&identity)
        }],
        CauseCode::HostnameMismatch => &[|lab| {
            lab.present(
                &lab.root
                    .issue(LeafSpec::server("db.internal").dns("*.db.internal")),
            )
        }],
        CauseCode::IpAddressMismatch => &[|lab| {
            let identity = lab
                .root
                .issue(LeafSpec::server("localhost").ip("192.0.2.7"));
            lab.examine(&serve(&identity), "127.0.0.1", "")
        }],
        CauseCode::NoSubjectAltName => &[|lab| lab.leaf(LeafSpec::no_san)],
        CauseCode::WrongPurpose => &[|lab| lab.leaf(|leaf| leaf.purposes(&[Purpose::ClientAuth]))],
        CauseCode::InvalidCa => &[|lab| {
            let ca = CaSpec::new("Not A CA").basic_constraints(BasicConstraints::NotCa);
            lab.present(&ca.issued_by(&lab.root).issue(leaf()))
        }],
        CauseCode::SignatureInvalid => {
            &[|lab| lab.present(&lab.root.issue(leaf()).with_broken_signature())]
        }
        CauseCode::KeyTooWeak => {
            &[|lab| lab.leaf_at_level_2(|leaf| leaf.key_kind(KeyKind::Rsa(1024)))]
        }
        CauseCode::DigestTooWeak => &[|lab| lab.leaf_at_level_2(|leaf| leaf.digest(Digest::Sha1))],
        CauseCode::PinMismatch => {
            &[|lab| lab.program(|tls| tls.pinned_key(SpkiPin::from_digest([7; 32])))]
        }
        _ => &[],
    }
}

fn of_protocol(code: CauseCode) -> &'static [Inject] {
    match code {
        CauseCode::ProtocolVersionMismatch => {
            &[|lab| lab.settings(|tls| tls.versions(SslVersion::TLS1_1, SslVersion::TLS1_1))]
        }
        CauseCode::NoSharedCipher => &[|lab| {
            lab.settings(|tls| {
                tls.versions(SslVersion::TLS1_2, SslVersion::TLS1_2)
                    .cipher_list("ECDHE-RSA-AES128-GCM-SHA256")
            })
        }],
        CauseCode::ServerNameRejected => &[|lab| lab.settings(|tls| tls.accept_names(|_| false))],
        CauseCode::ServerNotTls => &[
            |lab| {
                let server = Server::builder().start();
                server.faults().next(1, Fault::close_after(0));
                lab.examine(&server, "localhost", "")
            },
            |lab| lab.doctor_at(stranger::http_server().addr(), ""),
            |lab| lab.doctor_at(stranger::banner(*b"220 mail.example ESMTP\r\n").addr(), ""),
        ],
        CauseCode::ServerRequiresTls => &[|lab| {
            // As in mongod, without an alert.
            let server = Stranger::start(|mut socket, _| drop(socket.read(&mut [0; 1024])));
            lab.doctor(&format!("mongodb://localhost:{}/", server.addr().port()))
        }],
        CauseCode::TlsAlert => &[
            |lab| {
                lab.settings(|tls| {
                    tls.accept_names(|_| false)
                        .refuse_with(SslAlert::INTERNAL_ERROR)
                })
            },
            |lab| lab.settings(|tls| tls.accept_names(|_| false).refuse_with(alert(90))),
        ],
        _ => &[],
    }
}

fn of_revocation(code: CauseCode) -> &'static [Inject] {
    match code {
        CauseCode::RevokedCrl => &[|lab| {
            lab.crl(&lab.root, |crl| {
                let entry = Revocation::of(&crl.server.cert).reason(CrlReason::KEY_COMPROMISE);
                Crl {
                    spec: crl.spec.revoke(entry),
                    ..crl
                }
            })
        }],
        CauseCode::CrlMissing => {
            &[|lab| lab.crl(&Ca::root("Other Root CA", KeyKind::EcP256), |crl| crl)]
        }
        CauseCode::CrlExpired => &[|lab| {
            lab.crl(&lab.root, |crl| Crl {
                spec: crl.spec.validity(Validity::expired()),
                ..crl
            })
        }],
        CauseCode::CrlNotYetValid => &[|lab| {
            lab.crl(&lab.root, |crl| Crl {
                spec: crl.spec.validity(Validity::not_yet()),
                ..crl
            })
        }],
        CauseCode::CrlInvalid => &[|lab| {
            lab.crl(&lab.root, |crl| Crl {
                spec: crl.spec.broken_signature(),
                ..crl
            })
        }],
        CauseCode::RevokedOcspStaple => {
            &[|lab| lab.staple(|spec| spec.revoked(-86_400, Some(CrlReason::KEY_COMPROMISE)))]
        }
        CauseCode::RevokedOcspResponder => &[Lab::responder],
        CauseCode::MustStapleMissing => &[|lab| lab.leaf(LeafSpec::must_staple)],
        CauseCode::OcspStapleInvalid => &[
            |lab| lab.staple(|spec| spec.this_update(-86_400).next_update(Some(-3600))),
            |lab| lab.staple(|spec| spec.this_update(86_400).next_update(Some(172_800))),
            |lab| lab.staple(OcspSpec::wrong_serial),
        ],
        CauseCode::RevocationUnknown => {
            &[|lab| lab.program(|tls| tls.require_revocation_status(true))]
        }
        _ => &[],
    }
}

fn of_client_certificates(code: CauseCode) -> &'static [Inject] {
    match code {
        CauseCode::ClientCertificateRequired => {
            &[|lab| lab.client(ClientAuth::RequireLikeMongod, None, |tls| tls)]
        }
        CauseCode::ClientCertificateUntrusted => &[|lab| {
            let other = Ca::root("Other Root CA", KeyKind::EcP256);
            lab.client(
                ClientAuth::Require,
                Some(other.issue(LeafSpec::client("app"))),
                |tls| tls,
            )
        }],
        CauseCode::ClientCertificateExpired => &[|lab| {
            let client = LeafSpec::client("app").validity(Validity::expired());
            lab.client(ClientAuth::Require, Some(lab.root.issue(client)), |tls| tls)
        }],
        CauseCode::ClientCertificateRevoked => &[|lab| {
            let client = lab.app();
            let crl = lab.root.crl().revoke(Revocation::of(&client.cert)).build();
            lab.client(ClientAuth::Require, Some(client), |tls| {
                tls.client_crl(&crl)
            })
        }],
        CauseCode::ClientCertificateRejected => &[
            |lab| {
                let other = Ca::root("Other Root CA", KeyKind::EcP256);
                let client = other.issue(LeafSpec::client("app"));
                lab.client(ClientAuth::RequireLikeMongod, Some(client), |tls| tls)
            },
            |lab| {
                let client = LeafSpec::client("app").purposes(&[Purpose::ServerAuth]);
                lab.client(
                    ClientAuth::RequireLikeMongod,
                    Some(lab.root.issue(client)),
                    |tls| tls,
                )
            },
        ],
        _ => &[],
    }
}

fn of_configuration(code: CauseCode) -> &'static [Inject] {
    match code {
        CauseCode::CaFileUnreadable => &[|lab| lab.local("tlsCAFile", "missing.pem", None)],
        CauseCode::CrlFileUnreadable => &[|lab| lab.local("tlsCRLFile", "missing.pem", None)],
        CauseCode::KeyFileUnreadable => {
            &[|lab| lab.local("tlsCertificateKeyFile", "missing.pem", None)]
        }
        CauseCode::CaFileInvalid => &[|lab| {
            let der = lab.root.cert().to_der().unwrap();
            lab.local("tlsCAFile", "ca.der", Some(der))
        }],
        CauseCode::CrlFileInvalid => &[|lab| {
            lab.local(
                "tlsCRLFile",
                "crl.pem",
                Some(b"<!DOCTYPE html><html></html>".to_vec()),
            )
        }],
        CauseCode::KeyFileNoCertificate => &[|lab| lab.key_file(lab.app().key_pem(), "")],
        CauseCode::KeyFileNoPrivateKey => &[|lab| lab.key_file(lab.app().chain_pem(), "")],
        CauseCode::KeyPasswordMissing => {
            &[|lab| lab.key_file(lab.app().encrypted_bundle_pem("s3cret"), "")]
        }
        CauseCode::KeyPasswordWrong => &[|lab| {
            let file = lab.app().encrypted_bundle_pem("s3cret");
            lab.key_file(file, "&tlsCertificateKeyFilePassword=guess")
        }],
        CauseCode::KeyAlgorithmUnsupported => &[|lab| {
            let key = "-----BEGIN RSA PRIVATE KEY-----\nProc-Type: 4,ENCRYPTED\nDEK-Info: SKIPJACK-CBC,0011223344556677\n\nAAAA\n-----END RSA PRIVATE KEY-----\n";
            let file = [lab.app().chain_pem(), key.into()].concat();
            lab.key_file(file, "&tlsCertificateKeyFilePassword=s3cret")
        }],
        CauseCode::KeyCertificateMismatch => &[
            |lab| lab.key_file([lab.app().cert_pem(), lab.app().key_pem()].concat(), ""),
            |lab| lab.key_file([lab.app().bundle_pem(), lab.app().key_pem()].concat(), ""),
        ],
        CauseCode::LocalLimit => &[|lab| {
            let (error, port) = crate::local_limits::example();
            Some(lab.normalise(&error, Some(&port.to_string())))
        }],
        CauseCode::NoTrustAnchors => &[|lab| {
            let missing = lab.dir.path().join("missing.pem");
            let environment: [(&str, &Path); 2] =
                [("SSL_CERT_FILE", &missing), ("SSL_CERT_DIR", Path::new(""))];
            lab.doctor_in("mongodb://localhost/?tls=true", &environment)
        }],
        CauseCode::OptionConflict => &[
            |lab| lab.doctor("mongodb://localhost/?tls=false&tlsCAFile=ca.pem&tlsInsecure=true"),
            |lab| lab.doctor("mongodb://ada:pencil@localhost/?authMechanism=PLAIN"),
            |lab| lab.doctor("mongodb://localhost/?authMechanism=MONGODB-X509"),
            |lab| lab.doctor("mongodb://localhost/?tls=true&authMechanism=MONGODB-X509"),
            |lab| lab.doctor("mongodb://ada:%07@localhost/?authMechanism=SCRAM-SHA-256"),
        ],
        CauseCode::MechanismUnsupported => &[|lab| {
            if openssl::version::number() < 0x3000_0000 {
                return None;
            }
            let config = lab.file("openssl.cnf", NO_DIGESTS);
            let uri = "mongodb://ada:pencil@localhost/?authMechanism=SCRAM-SHA-1";
            lab.doctor_in(uri, &[("OPENSSL_CONF", &config)])
        }],
        CauseCode::InvalidUri => &[|lab| lab.doctor("mongodb://localhost:0/?tls=true")],
        _ => &[],
    }
}

fn of_network(code: CauseCode) -> &'static [Inject] {
    match code {
        #[cfg(feature = "srv")]
        CauseCode::SrvNotFound | CauseCode::SrvInvalid => srv::injections(code),
        // The entry is kept.
        #[cfg(not(feature = "srv"))]
        CauseCode::SrvNotFound | CauseCode::SrvInvalid => &[|_| None],
        // The system has no such interface, and queries no name server.
        CauseCode::DnsNotFound => &[|lab| {
            let output = lab.doctor("mongodb://[fe80::1%25nosuch]/")?;
            let output = output.replace("[fe80::1%nosuch]", "fe80::1%nosuch");
            Some(output.replace("fe80::1%nosuch", "db.example.com"))
        }],
        // Some resolvers need less than a millisecond, and most only sometimes.
        CauseCode::DnsFailed => &[|lab| {
            let uri = "mongodb://mongotls.invalid/?connectTimeoutMS=1";
            let mut outputs = std::iter::repeat_with(|| lab.doctor(uri))
                .take(50)
                .flatten();
            let output = outputs.find(|output| output.contains("no answer within 1 ms"))?;
            Some(output.replace("mongotls.invalid", "db.example.com"))
        }],
        CauseCode::ConnectionRefused => &[|lab| lab.doctor_at(stranger::nobody(), "")],
        CauseCode::ConnectionReset => &[|lab| lab.fault(Fault::reset_after(100))],
        CauseCode::ConnectionClosed => &[
            |lab| lab.fault(Fault::close_after(100)),
            |lab| lab.fault(Fault::close_after(0)),
        ],
        CauseCode::NetworkUnreachable => &[|lab| {
            // TCP cannot connect to a multicast address.
            let output = lab.doctor_at("224.0.0.1:27017", "");
            output.map(|output| output.replace("224.0.0.1", "192.0.2.10"))
        }],
        CauseCode::ConnectTimeout => &[|lab| {
            let (listener, _queued) = full();
            lab.doctor_at(listener.local_addr().unwrap(), "&connectTimeoutMS=300")
        }],
        CauseCode::ProxyFailed => &[
            |lab| lab.proxy(Socks5Proxy::builder().login("bob", "pw"), "", None),
            |lab| {
                let closed = Socks5Proxy::builder().login("bob", "pw");
                lab.proxy(closed, "&proxyUsername=bob&proxyPassword=guess", None)
            },
            |lab| lab.proxied(Misbehaviour::Greeting(b"HTTP/1.1 400 Bad Request".to_vec())),
            |lab| lab.proxied(Misbehaviour::Reply(vec![5, 1, 0, 1])),
            |lab| lab.proxied(Misbehaviour::Reply(vec![5, 2, 0, 1])),
            |lab| lab.proxied(Misbehaviour::Reply(vec![5, 8, 0, 1])),
        ],
        CauseCode::HandshakeTimeout => &[|lab| {
            let server = stranger::silent();
            lab.doctor_at(server.addr(), "&connectTimeoutMS=300")
        }],
        _ => &[],
    }
}

impl Lab {
    /// The doctor's output for a valid server behind a proxy that answers in this way.
    fn proxied(&self, how: Misbehaviour) -> Option<String> {
        self.proxy(Socks5Proxy::builder(), "", Some(how))
    }

    /// The doctor's output for a valid server behind any proxy, with further options.
    fn proxy(
        &self,
        proxy: Socks5ProxyBuilder,
        options: &str,
        how: Option<Misbehaviour>,
    ) -> Option<String> {
        let server = serve(&self.root.issue(leaf()));
        let proxy = proxy.start();
        how.into_iter().for_each(|how| proxy.misbehave(how));
        let options = format!("&{}{options}", proxy.options());
        let output = self.examine(&server, "localhost", &options)?;
        let place = format!("192.0.2.10:{}", proxy.addr().port());
        Some(output.replace(&place, "proxy.example.com:1080"))
    }
}

/// A listener that never accepts and whose queue is full, so that the kernel drops further requests.
fn full() -> (TcpListener, Vec<TcpStream>) {
    let socket = socket2::Socket::new(socket2::Domain::IPV4, socket2::Type::STREAM, None).unwrap();
    socket
        .bind(&SocketAddr::from(([127, 0, 0, 1], 0)).into())
        .unwrap();
    socket.listen(0).unwrap();
    let listener = TcpListener::from(socket);
    let address = listener.local_addr().unwrap();
    let queued = std::iter::from_fn(|| {
        TcpStream::connect_timeout(&address, Duration::from_millis(200)).ok()
    });
    let queued: Vec<_> = queued.take(16).collect();
    assert!(queued.len() < 16, "the queue has no end");
    (listener, queued)
}

/// The users of the examples.
fn people() -> Auth {
    let ada = User::new("admin", "ada", "pencil");
    let old = User::new("admin", "old", "pencil").only(&["SCRAM-SHA-1"]);
    Auth::new()
        .user(ada)
        .user(old)
        .user(User::ldap("ldap", "pencil"))
}

impl Lab {
    /// The doctor's output for a user, such as `ada:pencil`, with a server that has users.
    fn user(&self, user: &str, options: &str) -> Option<String> {
        self.user_of(people(), user, options)
    }

    fn user_of(&self, auth: Auth, user: &str, options: &str) -> Option<String> {
        let tls = ServerTls::new(&self.root.issue(leaf()));
        let tls = tls.client_auth(ClientAuth::Request, &[self.root.cert()]);
        let server = Server::builder().tls(tls).auth(auth).start();
        let at = if user.is_empty() { "" } else { "@" };
        let uri = format!(
            "mongodb://{user}{at}localhost:{}/?tls=true&tlsCAFile={}{options}",
            server.port(),
            self.dir.path().join("ca.pem").display()
        );
        self.doctor(&uri)
    }
}

fn of_servers(code: CauseCode) -> &'static [Inject] {
    match code {
        CauseCode::NotMongodb => &[|lab| {
            let server = stranger::http_server();
            lab.doctor(&format!("mongodb://{}/", server.addr()))
        }],
        CauseCode::ProtocolError => &[|lab| {
            let server = serve(&lab.root.issue(leaf()));
            server.spoil_replies("ping", 1, ReplyFault::OpCode(1));
            lab.examine(&server, "localhost", "")
        }],
        CauseCode::HelloFailed => &[
            |lab| {
                let server = serve(&lab.root.issue(leaf()));
                lab.examine(&server, "localhost", "&replicaSet=rs0")
            },
            |lab| {
                let server = serve(&lab.root.issue(leaf()));
                server.set_hello(|hello| (hello.min_wire_version, hello.max_wire_version) = (0, 6));
                lab.examine(&server, "localhost", "")
            },
        ],
        CauseCode::AuthenticationFailed => &[
            |lab| lab.user("ada:wrong", ""),
            |lab| lab.user("eve:pencil", ""),
            |lab| lab.user("ada:pencil", "&authSource=things"),
            |lab| {
                let key = lab.file(
                    "app.pem",
                    lab.root.issue(LeafSpec::client("app")).bundle_pem(),
                );
                let options = format!(
                    "&authMechanism=MONGODB-X509&tlsCertificateKeyFile={}",
                    key.display()
                );
                lab.user("", &options)
            },
            |lab| {
                let options = "&authMechanism=PLAIN";
                lab.user("ldap:wrong", options)
            },
            |lab| {
                let refuse = |_: &Request| {
                    let text = "not authorized on admin to execute command";
                    Some(doc! { "ok": 0.0, "code": 13, "codeName": "Unauthorized", "errmsg": text })
                };
                let tls = ServerTls::new(&lab.root.issue(leaf()));
                let server = Server::builder().tls(tls).handle("ping", refuse).start();
                lab.examine(&server, "localhost", "")
            },
        ],
        CauseCode::MechanismUnavailable => &[
            |lab| lab.user("old:pencil", "&authMechanism=SCRAM-SHA-256"),
            |lab| {
                let auth = Auth::new().mechanisms(&["SCRAM-SHA-256"]);
                lab.user_of(auth, "ada:pencil", "&authMechanism=PLAIN")
            },
        ],
        CauseCode::ServerNotProven => &[
            |lab| {
                let auth = people().tamper(|reply| drop(reply.insert("done", true)));
                lab.user_of(auth, "ada:pencil", "")
            },
            |lab| {
                let weak = User::new("admin", "ada", "pencil").iterations(1000);
                lab.user_of(Auth::new().user(weak), "ada:pencil", "")
            },
        ],
        _ => &[],
    }
}
