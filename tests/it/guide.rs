//! The examples of `docs/tls.md` in Rust: each is between `// example` and `// end`, is run with the bench, and is
//! compared with the text of the guide.
//!
//! Values that a reader has but a test lacks are written as a call of the [`Desk`], which represents its argument in
//! the guide: `desk.uri("mongodb://db.example.com/")` is that connection string with the bench's server in it,
//! `desk.file("ca.pem")` the path of that file.

use std::collections::BTreeMap;
use std::error::Error;
use std::path::PathBuf;
use std::process::Command;
use std::sync::OnceLock;

// example
use std::path::Path;
use std::time::Duration;

use mongotls::bson::doc;
use mongotls::doctor;
use mongotls::event::{Event, TlsEvent};
use mongotls::options::{Secret, SpkiPin, TlsOptions, TlsVersion};
use mongotls::tls::{FileReport, Verification};
use mongotls::{CauseCode, Client, ClientOptions, ConnectionString, ServerAddress};
// end
use mongotls_testbench::pki::{Ca, Identity, KeyKind, LeafSpec, PkiDir, Revocation, Validity};
use mongotls_testbench::server::{
    Auth, AwsMechanism, ClientAuth, Clock, Hello, OidcMechanism, Role, Server, ServerTls, User,
};
use mongotls_testbench::socks5::Socks5Proxy;

const GUIDE: &str = include_str!("../../docs/tls.md");

pub(crate) type Outcome = Result<(), Box<dyn Error>>;

/// The files and servers in the guide.
pub(crate) struct Desk {
    pub(crate) dir: PkiDir,
    servers: BTreeMap<&'static str, Server>,
    /// proxy.example.com, which accepts every client.
    pub(crate) proxy: Socks5Proxy,
    pin: String,
}

/// The password of `locked.pem` and `client.p12`.
const PASSWORD: &str = "correct horse";

impl Desk {
    pub(crate) fn new() -> Self {
        let root = Ca::root("Example Root CA", KeyKind::EcP256);
        let issuing = root.intermediate("Example Issuing CA", KeyKind::EcP256);
        let other = Ca::root("Other Root CA", KeyKind::EcP256);
        let dir = PkiDir::new();
        let leaf = |name: &str| LeafSpec::server(name).dns("localhost");
        let db = issuing.issue(leaf("db.example.com").ip("127.0.0.1"));
        let revoked = issuing.issue(leaf("revoked.example.com"));
        let stapled = issuing.issue(leaf("stapled.example.com"));
        let client = root.issue(LeafSpec::client("app").validity(Validity::days(-1, 20)));

        dir.write("server.pem", db.cert_pem());
        dir.write("ca.pem", root.cert_pem());
        dir.write("ca.der", root.cert().to_der().unwrap());
        dir.write("wrong-ca.pem", other.cert_pem());
        PkiDir::at(&dir.path().join("cas")).write("example.pem", root.cert_pem());
        let entry = Revocation::of(&revoked.cert);
        let lists = [issuing.crl().revoke(entry).build(), root.crl().build()];
        let [of_issuing, of_root] = &lists;
        dir.write("issuing.der", of_issuing.to_der().unwrap());
        dir.write("root.pem", of_root.to_pem().unwrap());
        let pem = lists.iter().flat_map(|crl| crl.to_pem().unwrap());
        dir.write("crl.pem", pem.collect::<Vec<_>>());
        write_client(&dir, &client);

        let require = |identity: &Identity| {
            ServerTls::new(identity).client_auth(ClientAuth::RequireLikeMongod, &[root.cert()])
        };
        let alias = root.issue(LeafSpec::server("db.internal"));
        let expired = root.issue(leaf("old.example.com").validity(Validity::days(-90, -3)));
        let settings = [
            ("db.example.com", ServerTls::new(&db)),
            (
                "x509.example.com",
                require(&issuing.issue(leaf("x509.example.com"))),
            ),
            ("alias.example.com", ServerTls::new(&alias)),
            ("old.example.com", ServerTls::new(&expired)),
            ("revoked.example.com", ServerTls::new(&revoked)),
            (
                "stapled.example.com",
                ServerTls::new(&stapled).staple(issuing.ocsp(&stapled.cert).build()),
            ),
        ];
        let users = |name: &str| {
            let tls = ServerTls::new(&issuing.issue(leaf(name)));
            tls.client_auth(ClientAuth::Request, &[root.cert()])
        };
        let auth = Auth::new()
            .user(User::new("admin", "ada", "pencil"))
            .user(User::new("shop", "till", "pa/ss"))
            .user(User::ldap("eve", "secret"))
            .user(User::certificate("CN=app,OU=clients,O=mongotls"));
        let oidc = OidcMechanism::new();
        oidc.accept("t0ken");
        let aws = AwsMechanism::new().key("AKIDEXAMPLE", "secret", None);
        let of_users = [
            ("aws.example.com", Auth::new().external(aws)),
            ("oidc.example.com", Auth::new().external(oidc)),
            ("users.example.com", auth),
            ("empty.example.com", Auth::new()),
        ]
        .map(|(name, auth)| {
            let server = Server::builder().tls(users(name)).auth(auth);
            (name, server.start())
        });
        let set = ServerTls::new(&issuing.issue(leaf("rs.example.com")));
        let set = Server::builder().tls(set).start();
        let inside = set.addr().to_string();
        set.set_hello(|hello| *hello = Hello::member(Role::Primary, "rs0", &inside, &[&inside]));
        let router = ServerTls::new(&issuing.issue(leaf("router.example.com")));
        let router = Server::builder().tls(router).hello(Hello::mongos());
        let router = router.clock(&Clock::default()).start();
        let key = openssl::sha::sha256(&db.key.public_key_to_der().unwrap());
        Self {
            servers: settings
                .map(|(name, tls)| (name, Server::builder().tls(tls).start()))
                .into_iter()
                .chain(of_users)
                .chain([("rs.example.com", set), ("router.example.com", router)])
                .collect(),
            dir,
            proxy: Socks5Proxy::start(),
            pin: format!("sha256//{}", openssl::base64::encode_block(&key)),
        }
    }

    /// The shared desk of the examples in Rust.
    pub(crate) fn get() -> &'static Self {
        static DESK: OnceLock<Desk> = OnceLock::new();
        DESK.get_or_init(Self::new)
    }

    /// Replaces the names of the guide by this host's servers.
    pub(crate) fn local(&self, text: &str) -> String {
        let port = self.proxy.addr().port();
        let proxy = format!("proxyHost=localhost&proxyPort={port}");
        let text = text.replace("proxyHost=proxy.example.com", &proxy);
        self.servers
            .iter()
            .flat_map(|(name, server)| [("//", name, server), ("@", name, server)])
            .fold(text, |text, (before, name, server)| {
                let local = format!("{before}localhost:{}", server.port());
                text.replace(&format!("{before}{name}:27017"), &local)
                    .replace(&format!("{before}{name}"), &local)
            })
    }

    /// Replaces this host's servers by the names of the guide, and the address of a replica set by one inside of a
    /// network.
    pub(crate) fn foreign(&self, text: &str) -> String {
        let proxy = format!("localhost:{}", self.proxy.addr().port());
        let text = text.replace(&proxy, "proxy.example.com:1080");
        let inside = self.servers["rs.example.com"].addr().to_string();
        let text = text
            .replace(&inside, "10.0.0.7:27017")
            .replace("\"127.0.0.1\"", "\"10.0.0.7\"");
        self.servers.iter().fold(text, |text, (name, server)| {
            text.replace(
                &format!("localhost:{}", server.port()),
                &format!("{name}:27017"),
            )
        })
    }

    pub(crate) fn uri(&self, text: &str) -> String {
        let text = self.local(text);
        let folder = format!("={}/", self.dir.path().display());
        ["tlsCAFile", "tlsCRLFile", "tlsCertificateKeyFile"]
            .iter()
            .fold(text, |text, key| {
                text.replace(&format!("{key}="), &format!("{key}{folder}"))
            })
    }

    pub(crate) fn file(&self, name: &str) -> PathBuf {
        self.dir.path().join(name)
    }

    fn key_uri(&self, uri: &str) -> String {
        uri.replace("file:", &format!("file:{}/", self.dir.path().display()))
    }

    pub(crate) fn server(&self, name: &str) -> ServerAddress {
        ServerAddress::tcp("localhost", self.servers[name].port())
    }

    /// The address of the server of that name.
    pub(crate) fn host(&self, name: &str) -> &'static str {
        assert!(self.servers.contains_key(name));
        "localhost"
    }

    /// The pin of db.example.com, or a valid one of another key.
    fn pin(&self, text: &str) -> &str {
        match text.contains("AAAA") {
            true => "sha256//AAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA=",
            false => &self.pin,
        }
    }
}

fn write_client(dir: &PkiDir, client: &Identity) {
    dir.write("client.pem", client.bundle_pem());
    dir.write("client.crt", client.chain_pem());
    dir.write("client.key", client.key_pem());
    dir.write("locked.pem", client.encrypted_bundle_pem(PASSWORD));
    dir.write("client.p12", client.pkcs12(PASSWORD));
    dir.write("password.txt", format!("{PASSWORD}\n"));
}

#[test]
fn the_guide_shows_the_examples_as_they_are_run_here() {
    expect_shown(include_str!("guide.rs"), GUIDE);
}

/// Fails unless the examples between their marks in `source` are those of a guide, one by one.
pub(crate) fn expect_shown(source: &str, guide: &str) {
    let own = source.split("// example\n").skip(1);
    let own = own.filter_map(|rest| Some(rest.split_once("// end\n")?.0));
    let own: Vec<String> = own.map(|text| as_a_reader_has_it(bare(text))).collect();
    let shown = guide.split("```rust\n").skip(1);
    let shown = shown.filter_map(|rest| Some(rest.split_once("```")?.0));
    let shown: Vec<String> = shown.map(bare).collect();
    for (own, shown) in own.iter().zip(&shown) {
        assert_eq!(own, shown, "run, and shown");
    }
    assert_eq!(own.len(), shown.len());
    expect_complete(source);
}

/// Fails if an example needs a name that only the surrounding test defines, because a reader does not have it.
fn expect_complete(source: &str) {
    for test in source.split("#[test]\n").skip(1) {
        let Some((before, example)) = test.split_once("// example\n") else {
            continue;
        };
        let example = example.split_once("// end\n").unwrap().0;
        let example = as_a_reader_has_it(example.to_owned());
        let is_word = |c: char| c.is_ascii_alphanumeric() || c == '_';
        let words: Vec<&str> = example.split(|c| !is_word(c)).collect();
        // Lines without indentation are the test itself.
        let inside = before.lines().filter(|line| line.starts_with("    "));
        for line in inside.map(str::trim) {
            let defined = ["let mut ", "let ", "fn "]
                .iter()
                .find_map(|begin| line.strip_prefix(begin));
            let name = defined.map(|rest| rest.split(|c| !is_word(c)).next().unwrap());
            let own = format!("let {} ", name.unwrap_or_default());
            // The calls of the desk are replaced, if they fit on one line.
            let name = name.filter(|name| *name != "desk");
            let is_missing =
                name.is_some_and(|name| words.contains(&name)) && !example.contains(&own);
            assert!(!is_missing, "{line} is not in the guide:\n{example}");
        }
    }
}

/// The text of an example without the calls of the desk.
fn as_a_reader_has_it(mut text: String) -> String {
    for (call, begin, end) in [
        ("&desk.uri(\"", "\"", "\""),
        ("desk.key_uri(\"", "\"", "\""),
        ("&desk.file(\"", "Path::new(\"", "\")"),
        ("desk.file(\"", "\"", "\""),
        ("desk.pin(\"", "\"", "\""),
        ("desk.host(\"", "\"", "\""),
        ("desk.server(\"", "ServerAddress::tcp(\"", "\",27017)"),
    ] {
        while let Some((before, rest)) = text.split_once(call) {
            let (argument, after) = rest.split_once("\")").unwrap();
            text = format!("{before}{begin}{argument}{end}{after}");
        }
    }
    text
}

/// Text without white space and without the commas that end a list: line breaks do not matter.
fn bare(text: &str) -> String {
    let text: String = text.split_whitespace().collect();
    text.replace(",)", ")").replace(",}", "}")
}

#[test]
fn basic() -> Outcome {
    let desk = Desk::get();
    // example
    let client = Client::connect(&desk.uri("mongodb://db.example.com/?tls=true&tlsCAFile=ca.pem"))?;
    client.database("admin").run_command(doc! { "ping": 1 })?;
    let handshake = client.server_report()?.handshake.ok_or("no TLS")?;
    assert_eq!(handshake.verification(), &Verification::Verified);
    // end
    Ok(())
}

#[test]
fn builder() -> Outcome {
    let desk = Desk::get();
    // example
    let tls = TlsOptions::builder().ca_file(desk.file("ca.pem")).build()?;
    let options = ClientOptions::builder()
        .host(desk.server("db.example.com"))
        .tls(tls)
        .build()?;
    let client = Client::with_options(options)?;
    // end
    client.server_report()?;
    Ok(())
}

#[test]
fn both() -> Outcome {
    let desk = Desk::get();
    // example
    let uri = ConnectionString::parse(&desk.uri("mongodb://db.example.com/?tlsCAFile=ca.pem"))?;
    let options = uri
        .into_builder()
        .tls_with(|tls| tls.crl_file(desk.file("crl.pem")))
        .build()?;
    let client = Client::with_options(options)?;
    // end
    client.server_report()?;
    assert!(
        client
            .options()
            .tls()
            .as_ref()
            .is_some_and(|tls| tls.ca_file().is_some())
    );
    Ok(())
}

#[test]
fn policy() -> Outcome {
    let desk = Desk::get();
    // example
    let tls = TlsOptions::builder()
        .ca_file(desk.file("ca.pem"))
        .dangerous(|tls| tls.allow_invalid_hostnames(true))
        .build()?;
    // end
    let address = desk.server("alias.example.com");
    let options = ClientOptions::builder().host(address).tls(tls).build()?;
    let report = Client::with_options(options)?.server_report()?;
    let handshake = report.handshake.ok_or("no TLS")?;
    assert_eq!(handshake.verification(), &Verification::ChainOnly);
    Ok(())
}

/// The result of these options of TLS with the server of that name.
fn connect(desk: &Desk, name: &str, tls: TlsOptions) -> mongotls::Result<()> {
    let options = ClientOptions::builder()
        .host(desk.server(name))
        .tls(tls)
        .build()?;
    Client::with_options(options)?.server_report().map(drop)
}

#[test]
fn anchors() -> Outcome {
    let desk = Desk::get();
    rehash(&desk.file("cas"));
    // example
    let folder = TlsOptions::builder()
        .ca_directory(desk.file("cas"))
        .build()?;
    let text = std::fs::read_to_string(desk.file("ca.pem"))?;
    let memory = TlsOptions::builder().ca_certificates_pem(text).build()?;
    // end
    connect(desk, "db.example.com", folder)?;
    connect(desk, "db.example.com", memory)?;
    Ok(())
}

fn rehash(folder: &Path) {
    let run = Command::new("openssl")
        .arg("rehash")
        .arg(folder)
        .output()
        .unwrap();
    assert!(run.status.success(), "{run:?}");
}

#[test]
fn crls() -> Outcome {
    let desk = Desk::get();
    // example
    let tls = TlsOptions::builder()
        .ca_file(desk.file("ca.pem"))
        .crl_file(desk.file("issuing.der"))
        .crl_file(desk.file("root.pem"))
        .check_whole_chain(true)
        .build()?;
    // end
    connect(desk, "db.example.com", tls.clone())?;
    let error = connect(desk, "revoked.example.com", tls).unwrap_err();
    assert_eq!(crate::common::code(&error), CauseCode::RevokedCrl);
    Ok(())
}

#[test]
fn client_certificates() -> Outcome {
    let desk = Desk::get();
    // example
    let tls = || TlsOptions::builder().ca_file(desk.file("ca.pem"));
    let one_file = tls()
        .certificate_key_file(desk.file("client.pem"))
        .build()?;
    let two_files = tls()
        .certificate_and_key_files(desk.file("client.crt"), desk.file("client.key"))
        .build()?;
    let (certificate, key) = (
        std::fs::read_to_string(desk.file("client.crt"))?,
        std::fs::read_to_string(desk.file("client.key"))?,
    );
    let memory = tls().certificate_and_key_pem(certificate, key).build()?;
    let pkcs12 = tls()
        .certificate_key_file(desk.file("client.p12"))
        .certificate_key_file_password("correct horse")
        .build()?;
    // end
    for tls in [one_file, two_files, memory, pkcs12] {
        connect(desk, "x509.example.com", tls)?;
    }
    let error = connect(desk, "x509.example.com", tls().build()?).unwrap_err();
    assert_eq!(
        crate::common::code(&error),
        CauseCode::ClientCertificateRequired
    );
    Ok(())
}

#[test]
fn key_of_a_store() -> Outcome {
    let desk = Desk::get();
    // example
    let tls = TlsOptions::builder()
        .ca_file(desk.file("ca.pem"))
        .certificate_file_and_key_uri(desk.file("client.crt"), desk.key_uri("file:client.key"))
        .build()?;
    // end
    if openssl::version::number() >= 0x3000_0000 {
        connect(desk, "x509.example.com", tls)?;
    }
    Ok(())
}

#[test]
fn passwords() -> Outcome {
    const VARIABLE: &str = "DB_KEY_PASSWORD";
    if std::env::var_os(VARIABLE).is_none() {
        // A test must not change the environment of other tests.
        let mut alone = Command::new(std::env::current_exe()?);
        let alone = alone
            .args(["--exact", "guide::passwords"])
            .env(VARIABLE, PASSWORD);
        let output = alone.output()?;
        assert!(output.status.success(), "{output:?}");
        return Ok(());
    }
    let desk = Desk::get();
    // example
    let tls = || {
        TlsOptions::builder()
            .ca_file(desk.file("ca.pem"))
            .certificate_key_file(desk.file("locked.pem"))
    };
    let text = tls()
        .certificate_key_file_password("correct horse")
        .build()?;
    let file = tls().key_password_file(desk.file("password.txt")).build()?;
    let variable = tls().key_password_variable("DB_KEY_PASSWORD").build()?;
    let callback = tls()
        .key_password_callback(|| Some(Secret::from("correct horse")))
        .build()?;
    // end
    for tls in [text, file, variable, callback] {
        connect(desk, "x509.example.com", tls)?;
    }
    Ok(())
}

#[test]
fn revocation_by_ocsp() -> Outcome {
    let desk = Desk::get();
    // example
    let options = TlsOptions::builder()
        .ca_file(desk.file("ca.pem"))
        .require_revocation_status(true)
        .ocsp_responder_timeout(Duration::from_secs(2))
        .build()?;
    // end
    connect(desk, "stapled.example.com", options)?;
    Ok(())
}

#[test]
fn errors() -> Outcome {
    let desk = Desk::get();
    // example
    let client = Client::connect(&desk.uri("mongodb://old.example.com/?tlsCAFile=ca.pem"))?;
    let error = client
        .database("admin")
        .run_command(doc! { "ping": 1 })
        .unwrap_err();
    let cause = error.cause().ok_or("not a failed connection")?;
    assert_eq!(cause.code(), CauseCode::CertificateExpired);
    assert_eq!(
        cause.remedy(),
        "Renew the server's certificate and let the server load it."
    );
    let ended = cause.facts().get("not_after");
    // end
    assert!(ended.is_some());
    Ok(())
}

#[test]
fn examinations() -> Outcome {
    let desk = Desk::get();
    // example
    let report = FileReport::of(&desk.file("client.pem"), None);
    assert!(report.is_ok() && report.keys.len() == 1);
    let diagnosis = doctor::examine(&desk.uri("mongodb://db.example.com/?tlsCAFile=ca.pem"));
    assert!(diagnosis.is_ok());
    // end
    Ok(())
}

#[test]
fn pins() -> Outcome {
    let desk = Desk::get();
    // example
    let now: SpkiPin = desk
        .pin("sha256//4RmKTT7zKkWzZHoxE5ftlHeVoZ5Gkl1JFS7Tt1Pyl1k=")
        .parse()?;
    let next: SpkiPin = desk
        .pin("sha256//AAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA=")
        .parse()?;
    let tls = TlsOptions::builder()
        .ca_file(desk.file("ca.pem"))
        .pinned_key(now)
        .pinned_key(next)
        .build()?;
    // end
    connect(desk, "db.example.com", tls.clone())?;
    let error = connect(desk, "x509.example.com", {
        TlsOptions::builder()
            .ca_file(desk.file("ca.pem"))
            .pinned_key(now)
            .build()?
    });
    assert_eq!(
        crate::common::code(&error.unwrap_err()),
        CauseCode::PinMismatch
    );
    Ok(())
}

#[test]
fn protocol() -> Outcome {
    let desk = Desk::get();
    // example
    let tls = TlsOptions::builder()
        .ca_file(desk.file("ca.pem"))
        .protocol(|tls| {
            tls.min_version(TlsVersion::Tls13)
                .groups("X25519:P-256")
                .security_level(2)
        })
        .build()?;
    // end
    connect(desk, "db.example.com", tls)?;
    Ok(())
}

#[test]
fn key_log() -> Outcome {
    let desk = Desk::get();
    // example
    let tls = TlsOptions::builder()
        .ca_file(desk.file("ca.pem"))
        .dangerous(|tls| tls.key_log_file(desk.file("keys.log")))
        .build()?;
    // end
    connect(desk, "db.example.com", tls)?;
    assert!(
        std::fs::read_to_string(desk.file("keys.log"))?.contains("CLIENT_HANDSHAKE_TRAFFIC_SECRET")
    );
    Ok(())
}

#[test]
fn reload() -> Outcome {
    let desk = Desk::get();
    // example
    let (told, reloads) = std::sync::mpsc::channel();
    let tls = TlsOptions::builder()
        .ca_file(desk.file("ca.pem"))
        .certificate_key_file(desk.file("client.pem"))
        .watch_files(Duration::from_secs(60))
        .build()?;
    let options = ClientOptions::builder()
        .host(desk.server("x509.example.com"))
        .tls(tls)
        .event_listener(move |event| {
            if let Event::Tls(TlsEvent::Reload(reload)) = event {
                let _ = told.send(reload.error.clone());
            }
        })
        .build()?;
    let client = Client::with_options(options)?;
    client.reload_tls()?; // not before the next look: now
    assert!(reloads.recv()?.is_none()); // no error: the new files are in force
    // end
    client.server_report()?;
    Ok(())
}

#[test]
fn resumption() -> Outcome {
    let desk = Desk::get();
    // example
    let tls = TlsOptions::builder()
        .ca_file(desk.file("ca.pem"))
        .session_resumption(false)
        .build()?;
    // end
    assert!(!tls.session_resumption());
    connect(desk, "db.example.com", tls)?;
    Ok(())
}

#[test]
fn the_causes_that_the_guide_names_are_those_of_the_table() {
    assert!(names_causes(GUIDE) > 20);
}

/// Fails unless the links of a guide lead to entries of the guide to troubleshooting; returns their number.
pub(crate) fn names_causes(guide: &str) -> usize {
    let links = guide.split("](troubleshooting.md#").skip(1);
    let anchors: Vec<_> = links
        .filter_map(|rest| Some(rest.split_once(')')?.0))
        .collect();
    for anchor in &anchors {
        let known = CauseCode::ALL.iter().any(|code| code.as_str() == *anchor);
        let category = CauseCode::ALL
            .iter()
            .any(|code| code.category().as_str() == *anchor);
        assert!(known || category, "{anchor}");
    }
    anchors.len()
}
