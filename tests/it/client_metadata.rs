//! The metadata that a client sends with hello: the prose tests of "MongoDB Handshake", with their numbers.
//!
//! The specification numbers two groups of tests: those of the handshake (`handshake_…`), and those of updates of the
//! metadata (`update_…`).

use std::process::Command;
use std::thread;
use std::time::Duration;

use mongotls::bson::{Document, doc};
use mongotls::options::DriverInfo;
use mongotls::{Client, ConnectionString, ErrorKind};
use mongotls_testbench::server::{Auth, Hello, Server, User};

use crate::common::{ping_on, plain_client};

/// A server, and a client whose connections are too old for the next command after 1 ms.
struct Bench {
    server: Server,
    client: Client,
}

impl Bench {
    fn new(initial: &[DriverInfo]) -> Self {
        let server = Server::builder().start();
        let uri = format!("{}?maxIdleTimeMS=1&serverMonitoringMode=poll", server.uri());
        let builder = ConnectionString::parse(&uri).unwrap().into_builder();
        let builder = initial
            .iter()
            .fold(builder, |builder, info| builder.driver_info(info.clone()));
        let client = Client::with_options(builder.build().unwrap()).unwrap();
        Self { server, client }
    }

    /// Sends a ping, and returns the field `client` of the hello on its connection. Then waits until the connection has
    /// been idle for too long.
    fn ping(&self) -> Document {
        ping_on(&self.client).unwrap();
        let commands = self.server.commands();
        let ping = commands.iter().rfind(|command| command.name == "ping");
        let connection = ping.unwrap().connection;
        let hello = commands
            .iter()
            .find(|command| command.connection == connection)
            .unwrap();
        thread::sleep(Duration::from_millis(5));
        hello.body.get_document("client").unwrap().clone()
    }

    fn append(&self, info: &DriverInfo) {
        self.client.append_metadata(info).unwrap();
    }
}

fn info(name: &str, version: Option<&str>, platform: Option<&str>) -> DriverInfo {
    let mut info = DriverInfo::new(name);
    info.version = version.map(str::to_owned);
    info.platform = platform.map(str::to_owned);
    info
}

fn library() -> DriverInfo {
    info("library", Some("1.2"), Some("Library Platform"))
}

/// Returns the metadata with another text appended to name, version and platform, where there is one.
fn appended(metadata: &Document, more: &DriverInfo) -> Document {
    let mut expected = metadata.clone();
    let append = |document: &mut Document, key: &str, more: Option<&str>| {
        if let Some(more) = more {
            let text = format!("{}|{more}", document.get_str(key).unwrap());
            document.insert(key, text);
        }
    };
    let driver = expected.get_document_mut("driver").unwrap();
    append(driver, "name", Some(&more.name));
    append(driver, "version", more.version.as_deref());
    append(&mut expected, "platform", more.platform.as_deref());
    expected
}

/// The rows of tests 1 and 2.
fn frameworks() -> [DriverInfo; 4] {
    let (version, platform) = (Some("2.0"), Some("Framework Platform"));
    [
        info("framework", version, platform),
        info("framework", version, None),
        info("framework", None, platform),
        info("framework", None, None),
    ]
}

#[test]
fn update_1_metadata_is_appended_after_creation() {
    for framework in frameworks() {
        let bench = Bench::new(&[library()]);
        let initial = bench.ping();
        let driver = initial.get_document("driver").unwrap();
        assert_eq!(driver.get_str("name").unwrap(), "mongotls|library");
        bench.append(&framework);
        assert_eq!(bench.ping(), appended(&initial, &framework));
    }
}

#[test]
fn update_2_metadata_is_appended_repeatedly() {
    for framework in frameworks() {
        let bench = Bench::new(&[]);
        bench.append(&library());
        let first = bench.ping();
        bench.append(&framework);
        assert_eq!(bench.ping(), appended(&first, &framework));
    }
}

#[test]
fn update_3_partly_identical_metadata_is_appended() {
    for name in ["library", "framework"] {
        for version in ["1.2", "2.0"] {
            for platform in ["Library Platform", "Framework Platform"] {
                let bench = Bench::new(&[]);
                bench.append(&library());
                let first = bench.ping();
                let more = info(name, Some(version), Some(platform));
                bench.append(&more);
                let expected = match more == library() {
                    true => first,
                    false => appended(&first, &more),
                };
                assert_eq!(bench.ping(), expected, "{more:?}");
            }
        }
    }
}

#[test]
fn update_4_a_duplicate_of_an_earlier_update_is_not_appended() {
    let bench = Bench::new(&[]);
    bench.append(&library());
    bench.ping();
    bench.append(&frameworks()[0]);
    let before = bench.ping();
    bench.append(&library());
    assert_eq!(bench.ping(), before);
}

#[test]
fn update_5_a_duplicate_of_the_initial_metadata_is_not_appended() {
    let bench = Bench::new(&[library()]);
    let before = bench.ping();
    bench.append(&library());
    assert_eq!(bench.ping(), before);
}

#[test]
fn update_6_a_duplicate_is_not_appended_after_other_metadata() {
    let bench = Bench::new(&[library()]);
    let initial = bench.ping();
    let other = info("framework", Some("1.2"), Some("Library Platform"));
    bench.append(&other);
    let before = bench.ping();
    assert_eq!(before, appended(&initial, &other));
    bench.append(&library());
    assert_eq!(bench.ping(), before);
}

/// The rows of tests 7 and 8. Case 1 has no name, which this library requires.
fn unset_and_empty() -> [(DriverInfo, DriverInfo); 2] {
    [
        (
            info("library", None, Some("Library Platform")),
            info("library", Some(""), Some("Library Platform")),
        ),
        (
            info("library", Some("1.2"), None),
            info("library", Some("1.2"), Some("")),
        ),
    ]
}

#[test]
fn update_7_empty_texts_count_as_unset_in_updates() {
    for (unset, empty) in unset_and_empty() {
        for (first, second) in [(&unset, &empty), (&empty, &unset)] {
            let bench = Bench::new(&[]);
            bench.append(first);
            let before = bench.ping();
            bench.append(second);
            assert_eq!(bench.ping(), before);
        }
    }
}

#[test]
fn update_8_empty_texts_count_as_unset_in_the_initial_metadata() {
    for (unset, empty) in unset_and_empty() {
        let expected = Bench::new(std::slice::from_ref(&unset)).ping();
        for (first, second) in [(&unset, &empty), (&empty, &unset)] {
            let bench = Bench::new(std::slice::from_ref(first));
            assert_eq!(bench.ping(), expected);
            bench.append(second);
            assert_eq!(bench.ping(), expected);
        }
    }
}

#[test]
fn initial_metadata_is_appended_once() {
    let twice = Bench::new(&[library(), frameworks()[0].clone(), library()]).ping();
    let once = Bench::new(&[library(), frameworks()[0].clone()]).ping();
    assert_eq!(twice, once);
}

#[test]
fn update_9_each_handshake_has_the_version_of_backpressure() {
    let balanced = Hello {
        service_id: Some(mongotls::bson::oid::ObjectId::new()),
        ..Hello::mongos()
    };
    for (hello, options) in [(Hello::default(), ""), (balanced, "loadBalanced=true")] {
        let server = Server::builder().hello(hello).start();
        let client = plain_client(&server, options);
        ping_on(&client).unwrap();
        let is_hello = |name: &str| ["hello", "isMaster"].contains(&name);
        let mut handshakes = server.commands();
        handshakes.retain(|it| is_hello(&it.name) && it.body.contains_key("client"));
        assert!(!handshakes.is_empty());
        for handshake in handshakes {
            assert_eq!(handshake.body.get_str("backpressure").unwrap(), "2");
        }
    }
}

#[test]
fn a_delimiter_in_appended_metadata_is_an_error_and_changes_nothing() {
    for bad in [
        info("frame|work", Some("2.0"), Some("Framework Platform")),
        info("framework", Some("2|0"), Some("Framework Platform")),
        info("framework", Some("2.0"), Some("Framework|Platform")),
    ] {
        let bench = Bench::new(&[library()]);
        let before = bench.ping();
        let error = bench.client.append_metadata(&bad).unwrap_err();
        assert_eq!(error.kind(), ErrorKind::InvalidArgument);
        assert!(error.to_string().contains("'|'"), "{error}");
        assert_eq!(bench.ping(), before);
    }
}

/// The variables of the environments in handshake test 1.
const VARIABLES: [&str; 13] = [
    "AWS_EXECUTION_ENV",
    "AWS_LAMBDA_RUNTIME_API",
    "AWS_REGION",
    "AWS_LAMBDA_FUNCTION_MEMORY_SIZE",
    "FUNCTIONS_WORKER_RUNTIME",
    "K_SERVICE",
    "FUNCTION_NAME",
    "FUNCTION_MEMORY_MB",
    "FUNCTION_TIMEOUT_SEC",
    "FUNCTION_REGION",
    "VERCEL",
    "VERCEL_REGION",
    "KUBERNETES_SERVICE_HOST",
];

/// Returns the field `env` that a process with these variables sends.
fn env_of(variables: &[(&str, &str)]) -> Document {
    let server = Server::builder().start();
    let mut ping = Command::new(env!("CARGO_BIN_EXE_mongotls"));
    VARIABLES.iter().for_each(|name| {
        ping.env_remove(name);
    });
    let output = ping
        .args(["ping", &server.uri()])
        .envs(variables.iter().copied())
        .output()
        .unwrap();
    assert!(output.status.success(), "{variables:?}: {output:?}");
    let hello = &server.commands()[0];
    let client = hello.body.get_document("client").unwrap();
    client.get_document("env").cloned().unwrap_or_default()
}

#[test]
fn handshake_2_an_unknown_mechanism_is_accepted() {
    let auth = Auth::new().user(User::new("admin", "ada", "pencil"));
    let hello = Hello {
        extra: doc! { "saslSupportedMechs": ["SCRAM-SHA-256", "arbitrary"] },
        ..Hello::default()
    };
    let server = Server::builder().hello(hello).auth(auth).start();
    let uri = server.uri().replace("mongodb://", "mongodb://ada:pencil@");
    ping_on(&Client::connect(&uri).unwrap()).unwrap();
}

#[test]
fn handshake_1_the_environment_is_described() {
    let long = "a".repeat(512);
    let lambda = ("AWS_EXECUTION_ENV", "AWS_Lambda_java8");
    let memory = ("AWS_LAMBDA_FUNCTION_MEMORY_SIZE", "1024");
    let region = ("AWS_REGION", "us-east-2");
    let of_lambda = doc! { "name": "aws.lambda", "memory_mb": 1024, "region": "us-east-2" };
    let rows: [(&[(&str, &str)], Document); 8] = [
        (&[lambda, region, memory], of_lambda.clone()),
        (
            &[("FUNCTIONS_WORKER_RUNTIME", "node")],
            doc! { "name": "azure.func" },
        ),
        (
            &[
                ("K_SERVICE", "servicename"),
                ("FUNCTION_MEMORY_MB", "1024"),
                ("FUNCTION_TIMEOUT_SEC", "60"),
                ("FUNCTION_REGION", "us-central1"),
            ],
            doc! { "name": "gcp.func", "memory_mb": 1024, "timeout_sec": 60, "region": "us-central1" },
        ),
        (
            &[("VERCEL", "1"), ("VERCEL_REGION", "cdg1")],
            doc! { "name": "vercel", "region": "cdg1" },
        ),
        (&[lambda, ("FUNCTIONS_WORKER_RUNTIME", "node")], doc! {}),
        (
            &[lambda, ("AWS_REGION", &long)],
            doc! { "name": "aws.lambda" },
        ),
        (
            &[lambda, ("AWS_LAMBDA_FUNCTION_MEMORY_SIZE", "big")],
            doc! { "name": "aws.lambda" },
        ),
        (&[("AWS_EXECUTION_ENV", "EC2")], doc! {}),
    ];
    for (variables, expected) in rows {
        let mut found = env_of(variables);
        // These tests may run in a container themselves.
        found.remove("container");
        assert_eq!(found, expected, "{variables:?}");
    }
    let orchestrated = env_of(&[lambda, region, memory, ("KUBERNETES_SERVICE_HOST", "1")]);
    let container = orchestrated.get_document("container").unwrap();
    assert_eq!(container.get_str("orchestrator").unwrap(), "kubernetes");
    let mut rest = orchestrated.clone();
    rest.remove("container");
    assert_eq!(rest, of_lambda);
}
