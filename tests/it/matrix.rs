//! Every cause of the contract, injected with a real server as the peer. The doctor, as a process, and a client of the
//! library report it: the code, the category, the stage, and the important facts, by value.
//!
//! A file below holds the scenarios of one kind and lists the codes that it covers; a code that no file lists and that
//! is not out of scope fails the last test here.

mod chains;
mod clients;
mod credentials;
mod files;
mod issuers;
mod names;
mod network;
mod protocol;
mod revocation;
mod tampered;
mod tools;
pub(crate) mod users;
mod verdicts;

use std::collections::{BTreeSet, HashMap};
use std::error::Error as _;
use std::io::Write;
use std::path::Path;
use std::process::{Command, Output, Stdio};
use std::sync::{Mutex, OnceLock, PoisonError};

use mongotls::cause::Category;
use mongotls::error::Stage;
use mongotls::{CauseCode, Error};
use mongotls_testbench::pki::KeyKind;
use openssl::asn1::{Asn1Time, Asn1TimeRef};
use openssl::hash::MessageDigest;
use openssl::pkey::{PKey, Private};
use openssl::ssl::{SslContextBuilder, SslMethod, SslVersion};
use openssl::x509::{X509NameRef, X509Ref};
use serde_json::{Value, json};

use crate::common::ping;
use crate::target::{attempt_error, waiting_error};

/// The causes that other tests cover: `local_limits.rs` for limits of this host; `ocsp/` for OCSP; `aws.rs`, `oidc.rs`
/// and `gssapi.rs` for credentials from other sources, because a command line cannot set their services and callbacks;
/// `srv.rs` for SRV, because it cannot set the name server either.
const OUT_OF_SCOPE: &[CauseCode] = &[
    CauseCode::LocalLimit,
    CauseCode::RevokedOcspStaple,
    CauseCode::RevokedOcspResponder,
    CauseCode::MustStapleMissing,
    CauseCode::OcspStapleInvalid,
    CauseCode::RevocationUnknown,
    CauseCode::AwsStsRefused,
    CauseCode::OidcCallbackFailed,
    CauseCode::OidcHostNotAllowed,
    CauseCode::KerberosTicketMissing,
    CauseCode::KerberosServiceUnknown,
    CauseCode::KerberosFailed,
    CauseCode::SrvNotFound,
    CauseCode::SrvInvalid,
];

/// Rejected operations are not failures of a connection; `collections/rejections.rs` covers them.
fn is_of_operation(code: CauseCode) -> bool {
    code.category() == Category::Operation
}

#[test]
fn each_code_within_scope_is_covered() {
    let covered: BTreeSet<&str> = [
        chains::CODES,
        clients::CODES,
        credentials::CODES,
        files::CODES,
        names::CODES,
        network::CODES,
        protocol::CODES,
        revocation::CODES,
        users::CODES,
    ]
    .concat()
    .into_iter()
    .map(CauseCode::as_str)
    .collect();
    for code in CauseCode::ALL {
        let out_of_scope = OUT_OF_SCOPE.contains(code) || is_of_operation(*code);
        assert_ne!(covered.contains(code.as_str()), out_of_scope, "{code}");
    }
}

/// The expected result of a scenario.
#[derive(Clone, Debug)]
pub(crate) struct Expected {
    code: CauseCode,
    stage: Stage,
    facts: Vec<(&'static str, Value)>,
    words: Vec<String>,
    message: Option<String>,
    remedy: Option<String>,
}

impl Expected {
    /// Creates the expectation, at the usual stage for this category.
    pub(crate) fn new(code: CauseCode) -> Self {
        let stage = match code.category() {
            Category::Revocation => Stage::Revocation,
            Category::Configuration => Stage::Options,
            Category::Credential => Stage::Authentication,
            Category::Network => Stage::Connect,
            Category::Server => Stage::Hello,
            _ => Stage::Tls,
        };
        Self {
            code,
            stage,
            facts: Vec::new(),
            words: Vec::new(),
            message: None,
            remedy: None,
        }
    }

    pub(crate) fn at(mut self, stage: Stage) -> Self {
        self.stage = stage;
        self
    }

    pub(crate) fn fact(mut self, key: &'static str, value: impl Into<Value>) -> Self {
        self.facts.retain(|(known, _)| *known != key);
        self.facts.push((key, value.into()));
        self
    }

    /// Expects these words in the message or the remedy.
    pub(crate) fn says(mut self, words: &str) -> Self {
        self.words.push(words.to_owned());
        self
    }

    /// Expects exactly this message and this remedy.
    pub(crate) fn reads(mut self, message: &str, remedy: &str) -> Self {
        self.message = Some(message.to_owned());
        self.remedy = Some(remedy.to_owned());
        self
    }

    /// Expects the facts of the certificate at fault, from the certificate itself.
    pub(crate) fn blames(self, certificate: &X509Ref, depth: u32, role: &str) -> Self {
        self.fact("depth", depth)
            .fact("role", role)
            .shows(certificate)
            .fact("not_before", time(certificate.not_before()))
            .fact("sha256_fingerprint", fingerprint(certificate))
    }

    /// Expects the additional facts of a client's certificate.
    pub(crate) fn shows(self, certificate: &X509Ref) -> Self {
        self.fact("subject", name(certificate.subject_name()))
            .fact("issuer", name(certificate.issuer_name()))
            .fact("serial", serial(certificate))
            .fact("not_after", time(certificate.not_after()))
    }

    fn check_cause(&self, scenario: &str, error: &Error) {
        let cause = error.cause().expect(scenario);
        assert_eq!(cause.code(), self.code, "{scenario}: {error}");
        for (key, _) in &self.facts {
            assert!(cause.facts().get(key).is_some(), "{scenario}: no {key}");
        }
        assert!(!cause.message().is_empty() && !cause.remedy().is_empty());
        if let Some(message) = &self.message {
            assert_eq!(cause.message(), message, "{scenario}");
        }
        if let Some(remedy) = &self.remedy {
            assert_eq!(cause.remedy(), remedy, "{scenario}");
        }
        must_not_weaken(cause.remedy(), scenario);
    }
}

/// The codes of the scenarios of one test.
#[derive(Debug, Default)]
pub(crate) struct Seen(BTreeSet<&'static str>);

impl Seen {
    /// Fails unless these are the recorded codes.
    pub(crate) fn are(&self, codes: &[CauseCode]) {
        let codes: BTreeSet<_> = codes.iter().map(|code| code.as_str()).collect();
        assert_eq!(self.0, codes);
    }

    /// Records a code that cannot be caused on this host, or that was checked in another way.
    pub(crate) fn note(&mut self, code: CauseCode) {
        self.0.insert(code.as_str());
    }

    /// Checks a connection string: with the doctor, with one attempt to connect, and with a client. A client waits if
    /// retrying can help, and then reports the last attempt.
    pub(crate) fn check(&mut self, scenario: &str, uri: &str, expected: &Expected) {
        self.check_in(&Place::default(), scenario, uri, expected);
        let attempt = attempt_error(uri);
        self.check_error(scenario, &attempt, expected);
        let is_network = expected.code.category() == Category::Network;
        // A server may reject hello while it starts.
        let is_refusal = expected.code == CauseCode::HelloFailed && attempt.source().is_some();
        // An overloaded server closes before TLS is established, and requests no certificate.
        let is_overload = attempt.has_label("SystemOverloadedError")
            && expected.code.category() != Category::ClientCertificate;
        let is_awaited = is_network || is_refusal || is_overload;
        if !is_awaited {
            let error = ping(uri).expect_err(scenario);
            return self.check_error(scenario, &error, expected);
        }
        let error = waiting_error(uri);
        expected.check_cause(scenario, &error);
        // The text contains the stage.
        let text = attempt.to_string();
        let (_, words) = text.split_once(": ").expect(scenario);
        let (words, _) = words.split_once(": ").expect(scenario);
        assert!(
            error.to_string().contains(words),
            "{scenario}: {words:?} in {error}"
        );
    }

    /// Checks the doctor's result in an environment.
    pub(crate) fn check_in(
        &mut self,
        place: &Place,
        scenario: &str,
        uri: &str,
        expected: &Expected,
    ) {
        let (exit, object) = place.json(&["doctor", uri, "--json"]);
        let context = format!("{scenario}: {uri}: {object:#}");
        assert_eq!((exit, &object["ok"]), (1, &json!(false)), "{context}");
        let told = ["cause", "category", "stage"].map(|key| object[key].as_str().unwrap_or("none"));
        let code = expected.code;
        assert_eq!(
            told,
            [
                code.as_str(),
                code.category().as_str(),
                expected.stage.as_str()
            ],
            "{context}"
        );
        if object["facts"]["alert"].is_string() {
            // OpenSSL's own text differs between versions; 1.1.1 has none for the newest ones.
            let told = object["facts"]["openssl"].as_str();
            let is_old = openssl::version::number() < 0x3000_0000;
            assert!(
                told.map_or(is_old, |told| told.starts_with("tls")
                    || told.starts_with("ssl")),
                "{context}"
            );
        }
        for (key, value) in &expected.facts {
            assert_eq!(&object["facts"][key], value, "{key} of {context}");
        }
        let text = |key: &str| object[key].as_str().unwrap_or_default();
        let advice = text("remedy");
        assert!(
            !text("message").is_empty() && !advice.is_empty(),
            "{context}"
        );
        if let Some(message) = &expected.message {
            assert!(
                text("message").ends_with(message),
                "{message:?} in {context}"
            );
        }
        if let Some(remedy) = &expected.remedy {
            assert_eq!(advice, remedy, "{context}");
        }
        for word in &expected.words {
            assert!(
                text("message").contains(word) || advice.contains(word),
                "{word:?} in {context}"
            );
        }
        must_not_weaken(advice, &context);
        let last = object["stages"].as_array().and_then(|stages| stages.last());
        assert_eq!(
            last.map(|stage| (&stage["name"], &stage["ok"])),
            Some((&json!(expected.stage.as_str()), &json!(false))),
            "{context}"
        );
        self.0.insert(code.as_str());
    }

    /// Checks the error of the library.
    pub(crate) fn check_error(&mut self, scenario: &str, error: &Error, expected: &Expected) {
        expected.check_cause(scenario, error);
        assert_eq!(error.stage(), Some(expected.stage), "{scenario}: {error}");
        self.0.insert(expected.code.as_str());
    }
}

/// Fails if advice would disable verification.
fn must_not_weaken(remedy: &str, context: &str) {
    let weakening = [
        "Insecure=true",
        "AllowInvalid",
        "allow_invalid",
        "tls=false",
    ];
    for word in weakening {
        assert!(!remedy.contains(word), "{context}: {remedy}");
    }
}

/// Checks that a connection string works, for the doctor and for a client.
pub(crate) fn passes(scenario: &str, uri: &str) {
    let (exit, object) = Place::default().json(&["doctor", uri, "--json"]);
    assert_eq!(
        (exit, &object["ok"], &object["cause"]),
        (0, &json!(true), &Value::Null),
        "{scenario}: {uri}: {object:#}"
    );
    ping(uri).expect(scenario);
}

/// The environment of the command line: variables, files and user.
#[derive(Clone, Debug, Default)]
pub(crate) struct Place {
    /// Variables of the environment.
    pub(crate) variables: Vec<(&'static str, String)>,
    /// Files that replace the system's, for this process only.
    pub(crate) mounts: Vec<(String, &'static str)>,
    /// The user to run as.
    pub(crate) user: Option<u32>,
}

impl Place {
    /// Returns true if this host allows separate files for a process.
    pub(crate) fn can_mount() -> bool {
        static CAN: OnceLock<bool> = OnceLock::new();
        *CAN.get_or_init(|| {
            let file = tempfile(b"");
            let place = Self {
                mounts: vec![(file.0.clone(), "/etc/hosts")],
                ..Self::default()
            };
            place
                .command("true", &[])
                .status()
                .is_ok_and(|status| status.success())
        })
    }

    /// Returns true if the command line starts at all.
    pub(crate) fn can_run(&self) -> bool {
        let mut version = self.command(env!("CARGO_BIN_EXE_mongotls"), &["--version"]);
        version.output().is_ok_and(|output| output.status.success())
    }

    pub(crate) fn json(&self, words: &[&str]) -> (i32, Value) {
        let output = self.run(words);
        let object = serde_json::from_slice(&output.stdout).unwrap_or_else(|error| {
            panic!(
                "{error}: {}{}",
                String::from_utf8_lossy(&output.stdout),
                String::from_utf8_lossy(&output.stderr)
            )
        });
        (output.status.code().expect("an exit code"), object)
    }

    /// The code of a client in this environment: that of `mongotls ping`, which uses one.
    pub(crate) fn client_code(&self, uri: &str) -> String {
        let (_, object) = self.json(&["ping", uri, "--json"]);
        object["cause"].as_str().unwrap_or("none").to_owned()
    }

    /// The exit code, and the texts on standard output and standard error.
    pub(crate) fn run_aloud(&self, words: &[&str]) -> (i32, String, String) {
        let output = self.run(words);
        let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
        let code = output.status.code().expect("an exit code");
        (code, text(&output.stdout), text(&output.stderr))
    }

    fn run(&self, words: &[&str]) -> Output {
        self.command(env!("CARGO_BIN_EXE_mongotls"), words)
            .output()
            .unwrap()
    }

    fn command(&self, program: &str, words: &[&str]) -> Command {
        use std::os::unix::process::CommandExt;
        let mut command = if self.mounts.is_empty() {
            Command::new(program)
        } else {
            // A mount namespace: only this process sees the files that are bound there.
            let mut command = Command::new("unshare");
            command.args(["--mount", "--map-root-user", "sh", "-c"]);
            let binds = self
                .mounts
                .iter()
                .map(|(file, place)| format!("mount --bind '{file}' '{place}' && "));
            command.arg(format!("{}exec \"$0\" \"$@\"", binds.collect::<String>()));
            command.arg(program);
            command
        };
        command.args(words).stdin(Stdio::null());
        command.env_remove("MONGOTLS_LOG");
        command.envs(self.variables.iter().map(|(name, value)| (*name, value)));
        if let Some(user) = self.user {
            command.uid(user);
        }
        command
    }
}

/// A file with its folder, which is deleted with it.
fn tempfile(bytes: &[u8]) -> (String, mongotls_testbench::pki::PkiDir) {
    let dir = mongotls_testbench::pki::PkiDir::new();
    (dir.write("file", bytes).display().to_string(), dir)
}

pub(crate) const TLS_1_2: (SslVersion, SslVersion) = (SslVersion::TLS1_2, SslVersion::TLS1_2);
pub(crate) const TLS_1_3: (SslVersion, SslVersion) = (SslVersion::TLS1_3, SslVersion::TLS1_3);
pub(crate) const KINDS: [KeyKind; 2] = [KeyKind::EcP256, KeyKind::Rsa(2048)];

/// A key of that kind; every call returns the cached one, because RSA keys take long to make.
pub(crate) fn key(kind: KeyKind, of: &'static str) -> PKey<Private> {
    type Known = HashMap<(String, &'static str), PKey<Private>>;
    static KNOWN: OnceLock<Mutex<Known>> = OnceLock::new();
    let known = KNOWN.get_or_init(Mutex::default);
    let mut known = known.lock().unwrap_or_else(PoisonError::into_inner);
    let key = known.entry((format!("{kind:?}"), of));
    key.or_insert_with(|| kind.generate()).clone()
}

/// A distinguished name in the order of RFC 2253, for names that need no escapes.
pub(crate) fn name(name: &X509NameRef) -> String {
    let mut parts: Vec<_> = name
        .entries()
        .map(|entry| {
            let attribute = entry.object().nid().short_name().unwrap();
            format!("{attribute}={}", entry.data().to_string().unwrap())
        })
        .collect();
    parts.reverse();
    parts.join(",")
}

pub(crate) fn serial(certificate: &X509Ref) -> String {
    let number = certificate.serial_number().to_bn().unwrap();
    number.to_hex_str().unwrap().to_string()
}

fn fingerprint(certificate: &X509Ref) -> String {
    let digest = certificate.digest(MessageDigest::sha256()).unwrap();
    digest.iter().map(|byte| format!("{byte:02x}")).collect()
}

/// A time of a certificate in its JSON form.
pub(crate) fn time(time: &Asn1TimeRef) -> String {
    let since = Asn1Time::from_unix(0).unwrap().diff(time).unwrap();
    let seconds = i64::from(since.days) * 86_400 + i64::from(since.secs);
    let time = mongotls::bson::DateTime::from_millis(seconds * 1000);
    time.try_to_rfc3339_string().unwrap()
}

/// The security level that this OpenSSL was built with, or that its configuration sets.
pub(crate) fn security_level() -> u32 {
    let context = SslContextBuilder::new(SslMethod::tls_client()).unwrap();
    context.build().security_level()
}

/// Prints the part that this host does not allow a test to do, directly, because the test runner hides the output of
/// passing tests.
pub(crate) fn skipped(what: &str) {
    let _ = writeln!(std::io::stderr(), "SKIPPED: {what}");
}

/// A path in its JSON form.
pub(crate) fn shown(path: &Path) -> String {
    path.display().to_string()
}
