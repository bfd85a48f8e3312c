//! The metadata about this client in the first hello, which servers log.
//!
//! Source: "MongoDB Handshake", "Hello Command", "Supporting Wrapping Libraries" and "Limitations". The document is
//! made once per client, and again when a library on top of this one adds its name. It has at most 512 bytes; what does
//! not fit is removed in the order of the specification: `env` except its name, `os` except its type, all of `env`, the
//! end of `platform`.

use std::env;
use std::fs;
use std::path::Path;
use std::sync::Arc;

use bson::{Document, RawDocumentBuf, doc};
use once_cell::race::{OnceBool, OnceBox};

use crate::error::{Error, Result};
use crate::explain;
use crate::options::DriverInfo;
use crate::reason::hello::HelloFailure;
use crate::sync::Mutex;

/// The limit on the whole document, BSON overhead included.
const MAX_SIZE: usize = 512;

/// The metadata in each hello. The lock is held to copy a pointer, or to add a library.
#[derive(Debug)]
pub(super) struct Metadata(Mutex<MetadataState>);

#[derive(Debug)]
struct MetadataState {
    facts: ClientFacts,
    /// The value of the field `client`.
    encoded: Arc<RawDocumentBuf>,
}

impl Metadata {
    /// # Errors
    /// [`ErrorKind::Configuration`](crate::ErrorKind::Configuration) if the libraries' names do not fit.
    pub(super) fn new(app_name: Option<&str>, libraries: &[DriverInfo]) -> Result<Self> {
        let mut facts = ClientFacts::collect(app_name);
        for library in libraries {
            facts.add(library);
        }
        let encoded = fit(&facts).ok_or_else(|| {
            Error::configuration(HelloFailure::MetadataTooLong { limit: MAX_SIZE })
        })?;
        let encoded = Arc::new(encoded);
        Ok(Self(Mutex::new(MetadataState { facts, encoded })))
    }

    /// The metadata of a forked child. It lacks the added libraries if a thread of the parent may hold the lock.
    pub(super) fn in_child(&self, at_first: Self) -> Self {
        match self.0.try_lock() {
            Some(state) => Self(Mutex::new(MetadataState {
                facts: state.facts.clone(),
                encoded: Arc::clone(&state.encoded),
            })),
            None => at_first,
        }
    }

    /// Adds a library, unless the same one was added before.
    ///
    /// # Errors
    /// [`ErrorKind::InvalidArgument`](crate::ErrorKind::InvalidArgument) if a text contains a forbidden character, or
    /// if the texts do not fit.
    pub(super) fn append(&self, info: &DriverInfo) -> Result<()> {
        if !info.is_sound() {
            let what = "a DriverInfo needs a name, and its texts hold no '|' and no NUL";
            return Err(Error::invalid_argument(what));
        }
        let mut state = self.0.lock();
        let mut facts = state.facts.clone();
        if !facts.add(info) {
            return Ok(());
        }
        let encoded = fit(&facts)
            .ok_or_else(|| Error::invalid_argument(explain::hello::metadata_too_long(MAX_SIZE)))?;
        let encoded = Arc::new(encoded);
        *state = MetadataState { facts, encoded };
        Ok(())
    }

    /// The value of the field `client` of the first hello.
    pub(super) fn current(&self) -> Arc<RawDocumentBuf> {
        Arc::clone(&self.0.lock().encoded)
    }
}

/// The data of the document, without its sources.
#[derive(Clone, Debug, Default)]
struct ClientFacts {
    app_name: Option<String>,
    os_name: Option<String>,
    architecture: &'static str,
    platform: String,
    /// Function as a service, starting with `name`.
    faas: Document,
    container: Document,
    libraries: Vec<DriverInfo>,
}

/// The name that the system has for itself. It is cached for the life of the process, without a lock that a fork could
/// leave locked.
fn os_name() -> Option<String> {
    static NAME: OnceBox<Option<String>> = OnceBox::new();
    let read = || {
        let release = fs::read_to_string("/etc/os-release").ok()?;
        pretty_name(&release)
    };
    NAME.get_or_init(|| Box::new(read())).clone()
}

/// Returns true if the process runs in Docker. This is cached for the life of the process too.
fn is_in_docker() -> bool {
    static IS: OnceBool = OnceBool::new();
    IS.get_or_init(|| Path::new("/.dockerenv").exists())
}

impl ClientFacts {
    /// Gathers all data except the libraries on top.
    fn collect(app_name: Option<&str>) -> Self {
        Self {
            app_name: app_name.map(str::to_owned),
            os_name: os_name(),
            architecture: env::consts::ARCH,
            platform: format!(
                "rustc >= {}, {}",
                env!("CARGO_PKG_RUST_VERSION"),
                openssl::version::version()
            ),
            faas: faas(|name| env::var(name).ok().filter(|value| !value.is_empty())),
            container: container(
                is_in_docker(),
                env::var_os("KUBERNETES_SERVICE_HOST").is_some_and(|host| !host.is_empty()),
            ),
            libraries: Vec::new(),
        }
    }

    /// Adds a library, and returns false if the same one was added before. A library is the same if all of its texts
    /// are; an empty text counts as unset ("Appending metadata").
    fn add(&mut self, library: &DriverInfo) -> bool {
        let library = library.without_empty_texts();
        let is_new = !self.libraries.contains(&library);
        if is_new {
            self.libraries.push(library);
        }
        is_new
    }

    /// A text of this crate, followed by those of the libraries on top.
    fn joined(&self, own: &str, of: fn(&DriverInfo) -> Option<&str>) -> String {
        let mut text = own.to_owned();
        for more in self.libraries.iter().filter_map(of) {
            text.push(DriverInfo::DELIMITER);
            text.push_str(more);
        }
        text
    }
}

/// The largest document that fits, or `None` if the mandatory fields do not fit.
fn fit(facts: &ClientFacts) -> Option<RawDocumentBuf> {
    let mut facts = facts.clone();
    facts.platform = facts.joined(&facts.platform, |library| library.platform.as_deref());
    let mut encoded = encode(&facts);
    let steps: [fn(&mut ClientFacts); 3] = [
        |facts| {
            facts.container.clear();
            facts.faas = facts
                .faas
                .get_str("name")
                .map(|name| doc! { "name": name })
                .unwrap_or_default();
        },
        |facts| {
            facts.os_name = None;
            facts.architecture = "";
        },
        |facts| facts.faas.clear(),
    ];
    for step in steps {
        if encoded.as_bytes().len() <= MAX_SIZE {
            return Some(encoded);
        }
        step(&mut facts);
        encoded = encode(&facts);
    }
    while encoded.as_bytes().len() > MAX_SIZE && facts.platform.pop().is_some() {
        encoded = encode(&facts);
    }
    (encoded.as_bytes().len() <= MAX_SIZE).then_some(encoded)
}

fn encode(facts: &ClientFacts) -> RawDocumentBuf {
    let mut client = Document::new();
    if let Some(name) = &facts.app_name {
        client.insert("application", doc! { "name": name });
    }
    let name = facts.joined("mongotls", |library| Some(&library.name));
    let version = facts.joined(env!("CARGO_PKG_VERSION"), |library| {
        library.version.as_deref()
    });
    client.insert("driver", doc! { "name": name, "version": version });
    let mut os = doc! { "type": os_type() };
    if let Some(name) = &facts.os_name {
        os.insert("name", name);
    }
    if !facts.architecture.is_empty() {
        os.insert("architecture", facts.architecture);
    }
    client.insert("os", os);
    if !facts.platform.is_empty() {
        client.insert("platform", &facts.platform);
    }
    let mut env = facts.faas.clone();
    if !facts.container.is_empty() {
        env.insert("container", facts.container.clone());
    }
    if !env.is_empty() {
        client.insert("env", env);
    }
    // The keys are constants of this file, and no text of an environment variable or of a file's line contains a NUL.
    RawDocumentBuf::try_from(&client).unwrap_or_default()
}

/// The kernel's name, as `uname -s` prints it.
fn os_type() -> &'static str {
    match env::consts::OS {
        "linux" => "Linux",
        "macos" => "Darwin",
        "freebsd" => "FreeBSD",
        _ => "Unix",
    }
}

/// `PRETTY_NAME` of os-release(5).
fn pretty_name(os_release: &str) -> Option<String> {
    let value = os_release
        .lines()
        .find_map(|line| line.strip_prefix("PRETTY_NAME="))?;
    Some(value.trim_matches(['"', '\'']).to_owned()).filter(|name| !name.is_empty())
}

/// Returns true if the program runs as a function on such a platform.
pub(crate) fn is_function() -> bool {
    !faas(|name| env::var(name).ok().filter(|value| !value.is_empty())).is_empty()
}

/// The function platform, from its environment variables; empty if there is none, or more than one.
fn faas(var: impl Fn(&str) -> Option<String>) -> Document {
    let lambda = var("AWS_EXECUTION_ENV").is_some_and(|value| value.starts_with("AWS_Lambda_"))
        || var("AWS_LAMBDA_RUNTIME_API").is_some();
    let azure = var("FUNCTIONS_WORKER_RUNTIME").is_some();
    let gcp = var("K_SERVICE").is_some() || var("FUNCTION_NAME").is_some();
    let vercel = var("VERCEL").is_some();
    // Vercel runs on Lambda and has priority; any other pair is ambiguous.
    let (name, numbers, region): (_, &[(&str, &str)], _) = match (vercel, lambda, azure, gcp) {
        (true, _, false, false) => ("vercel", &[], Some("VERCEL_REGION")),
        (false, true, false, false) => (
            "aws.lambda",
            &[("memory_mb", "AWS_LAMBDA_FUNCTION_MEMORY_SIZE")],
            Some("AWS_REGION"),
        ),
        (false, false, true, false) => ("azure.func", &[], None),
        (false, false, false, true) => (
            "gcp.func",
            &[
                ("memory_mb", "FUNCTION_MEMORY_MB"),
                ("timeout_sec", "FUNCTION_TIMEOUT_SEC"),
            ],
            Some("FUNCTION_REGION"),
        ),
        _ => return Document::new(),
    };
    let mut facts = doc! { "name": name };
    for (field, variable) in numbers {
        if let Some(number) = var(variable).and_then(|value| value.parse::<i32>().ok()) {
            facts.insert(*field, number);
        }
    }
    if let Some(region) = region.and_then(var) {
        facts.insert("region", region);
    }
    facts
}

fn container(docker: bool, kubernetes: bool) -> Document {
    let mut facts = Document::new();
    if docker {
        facts.insert("runtime", "docker");
    }
    if kubernetes {
        facts.insert("orchestrator", "kubernetes");
    }
    facts
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::cause::CauseCode;

    fn facts() -> ClientFacts {
        ClientFacts {
            app_name: Some("a".repeat(128)),
            os_name: Some("Debian".to_owned()),
            architecture: "x86_64",
            platform: "p".repeat(40),
            faas: doc! { "name": "aws.lambda", "memory_mb": 1024, "region": "r".repeat(20) },
            container: doc! { "runtime": "docker" },
            libraries: Vec::new(),
        }
    }

    fn fit(facts: &ClientFacts) -> RawDocumentBuf {
        super::fit(facts).unwrap()
    }

    fn fields(raw: &RawDocumentBuf) -> Document {
        assert!(
            raw.as_bytes().len() <= MAX_SIZE,
            "{} bytes",
            raw.as_bytes().len()
        );
        Document::try_from(raw).unwrap()
    }

    #[test]
    fn metadata_that_fits_is_complete() {
        let client = fields(&fit(&facts()));
        assert_eq!(
            client
                .get_document("os")
                .unwrap()
                .get_str("architecture")
                .unwrap(),
            "x86_64"
        );
        assert_eq!(
            client
                .get_document("env")
                .unwrap()
                .get_document("container")
                .unwrap()
                .get_str("runtime")
                .unwrap(),
            "docker"
        );
        assert_eq!(
            client
                .get_document("driver")
                .unwrap()
                .get_str("name")
                .unwrap(),
            "mongotls"
        );
    }

    #[test]
    fn long_metadata_is_shortened_in_the_specified_order() {
        // Each text has a length that needs exactly one more step.
        let long = |length: usize| ClientFacts {
            faas: doc! { "name": "n", "region": "r".repeat(length) },
            ..facts()
        };
        let client = fields(&fit(&long(400)));
        assert_eq!(client.get_document("env").unwrap(), &doc! { "name": "n" });
        assert!(client.get_document("os").unwrap().contains_key("name"));

        let client = fields(&fit(&ClientFacts {
            os_name: Some("o".repeat(400)),
            ..facts()
        }));
        assert_eq!(client.get_document("os").unwrap().len(), 1);
        assert_eq!(
            client.get_document("env").unwrap(),
            &doc! { "name": "aws.lambda" }
        );

        let client = fields(&fit(&ClientFacts {
            faas: doc! { "name": "n".repeat(400) },
            ..facts()
        }));
        assert!(!client.contains_key("env") && client.get_str("platform").unwrap().len() == 40);

        let client = fields(&fit(&ClientFacts {
            platform: "ä".repeat(300),
            ..facts()
        }));
        assert!(
            !client.contains_key("env") && client.get_str("platform").unwrap().starts_with('ä')
        );
    }

    #[test]
    fn libraries_on_top_stand_behind_a_bar_and_once() {
        let metadata = Metadata::new(None, &[DriverInfo::new("store").version("2")]).unwrap();
        let shop = DriverInfo::new("shop").platform("here");
        let before = metadata.current();
        metadata.append(&shop).unwrap();
        metadata.append(&shop).unwrap();
        let driver = |raw: &RawDocumentBuf| fields(raw).get_document("driver").unwrap().clone();
        let version = env!("CARGO_PKG_VERSION");
        assert_eq!(
            driver(&metadata.current()),
            doc! { "name": "mongotls|store|shop", "version": format!("{version}|2") }
        );
        let platform = fields(&metadata.current());
        assert!(platform.get_str("platform").unwrap().ends_with("|here"));
        assert_eq!(driver(&before).get_str("name").unwrap(), "mongotls|store");
    }

    #[test]
    fn invalid_driver_info_is_rejected_and_changes_nothing() {
        let metadata = Metadata::new(None, &[]).unwrap();
        let before = metadata.current();
        for (info, word) in [
            (DriverInfo::new("a|b"), "'|'"),
            (DriverInfo::new(""), "needs a name"),
            (DriverInfo::new("a").version("1|2"), "'|'"),
            (DriverInfo::new("a").platform("\0"), "NUL"),
            (DriverInfo::new("a".repeat(480)), "512 bytes"),
        ] {
            let error = metadata.append(&info).unwrap_err();
            assert_eq!(error.kind(), crate::ErrorKind::InvalidArgument);
            assert!(error.to_string().contains(word), "{error}");
        }
        assert_eq!(metadata.current(), before);
        let error = Metadata::new(None, &[DriverInfo::new("a".repeat(480))]).unwrap_err();
        assert_eq!(error.cause().unwrap().code(), CauseCode::OptionConflict);
    }

    #[test]
    fn function_platforms_follow_the_table_of_the_specification() {
        let with = |vars: &'static [(&'static str, &'static str)]| {
            faas(|name| {
                vars.iter()
                    .find(|(key, _)| *key == name)
                    .map(|(_, value)| (*value).to_owned())
            })
        };
        assert_eq!(
            with(&[
                ("AWS_EXECUTION_ENV", "AWS_Lambda_java8"),
                ("AWS_REGION", "us-east-2"),
                ("AWS_LAMBDA_FUNCTION_MEMORY_SIZE", "1024")
            ]),
            doc! { "name": "aws.lambda", "memory_mb": 1024, "region": "us-east-2" }
        );
        assert_eq!(with(&[("AWS_EXECUTION_ENV", "EC2")]), doc! {});
        assert_eq!(
            with(&[
                ("AWS_LAMBDA_RUNTIME_API", "x"),
                ("AWS_LAMBDA_FUNCTION_MEMORY_SIZE", "big")
            ]),
            doc! { "name": "aws.lambda" }
        );
        assert_eq!(
            with(&[
                ("AWS_LAMBDA_RUNTIME_API", "x"),
                ("FUNCTIONS_WORKER_RUNTIME", "node")
            ]),
            doc! {}
        );
        assert_eq!(
            with(&[
                ("VERCEL", "1"),
                ("AWS_LAMBDA_RUNTIME_API", "x"),
                ("VERCEL_REGION", "cdg1")
            ]),
            doc! { "name": "vercel", "region": "cdg1" }
        );
        assert_eq!(
            with(&[
                ("K_SERVICE", "s"),
                ("FUNCTION_TIMEOUT_SEC", "60"),
                ("FUNCTION_REGION", "us")
            ]),
            doc! { "name": "gcp.func", "timeout_sec": 60, "region": "us" }
        );
    }

    #[test]
    fn the_pretty_name_is_read_without_its_quotes() {
        assert_eq!(
            pretty_name("ID=debian\nPRETTY_NAME=\"Debian 12\"\n").as_deref(),
            Some("Debian 12")
        );
        assert_eq!(pretty_name("PRETTY_NAME=\nID=x"), None);
    }
}
