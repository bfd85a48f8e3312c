//! Local limits with other services than the server: name servers, credential services, files with tokens, OCSP
//! responders and CA folders.

use std::fs::File;
use std::thread;
use std::time::Duration;

use mongotls::bson::doc;
use mongotls::error::Stage;
use mongotls::internals::CloudServices;
use mongotls::options::{TlsOptions, TlsOptionsBuilder};
use mongotls::tls::RevocationStatus;
use mongotls::{Client, ConnectionString, Error, ErrorKind};
use mongotls_testbench::http_server::{HttpServer, Response};
use mongotls_testbench::ocsp::Responder;
use mongotls_testbench::pki::{Ca, KeyKind, LeafSpec, PkiDir};
use mongotls_testbench::server::{Auth, OidcMechanism, Server, ServerTls};

use super::{FILES, all_descriptors, expect_local_limit, in_child, set_limit, uri_of_child};
use crate::aws;
use crate::common::{Bench, expect_ready, ping_on};
use crate::trust::hashed;

/// The data from the parent to its child, without the name of the test's module.
fn run(test: &str, parts: &[&str]) {
    in_child(&format!("services::{test}"), &parts.join(" "), &[]);
}

/// All descriptors but one, which a connection needs.
fn all_but_one() -> Vec<File> {
    let mut kept = all_descriptors();
    kept.pop();
    kept
}

/// Checks an error at `stage` with the text `what`, and that the pool was not cleared.
fn expect_files(client: &Client, error: &Error, stage: Stage, what: &str) {
    expect_local_limit(error, ErrorKind::Configuration, "RLIMIT_NOFILE", "100");
    assert_eq!(error.stage(), Some(stage), "{error}");
    assert_eq!(error.cause().unwrap().message(), format!("{what}: {FILES}"));
    assert_eq!(client.snapshot().pools[0].generation, 0);
}

/// A client whose monitor is idle, with these options and services.
fn authenticating(uri: &str, services: CloudServices) -> Client {
    let uri = format!("{uri}&serverMonitoringMode=poll&heartbeatFrequencyMS=600000");
    let builder = ConnectionString::parse(&uri).unwrap().into_builder();
    let options = builder.cloud_services(services).build().unwrap();
    let client = Client::with_options(options).unwrap();
    expect_ready(&client);
    client
}

fn find(client: &Client) -> Result<(), Error> {
    let command = doc! { "find": "things" };
    client.database("db").run_command(command).map(drop)
}

/// Checks that authentication fails without descriptors, loses no connection, and succeeds when there are some.
fn expect_nothing_lost(client: &Client, what: &str) {
    let kept = all_but_one();
    let error = find(client).unwrap_err();
    expect_files(client, &error, Stage::Authentication, what);
    drop(kept);
    find(client).unwrap();
    // The healthy connection serves all threads.
    let kept = all_but_one();
    thread::scope(|scope| {
        let work = || (0..10).try_for_each(|_| find(client));
        let all: Vec<_> = (0..6).map(|_| scope.spawn(work)).collect();
        all.into_iter().for_each(|it| it.join().unwrap().unwrap());
    });
    let pool = client.snapshot().pools.remove(0);
    assert!(pool.generation == 0 && pool.available > 0, "{pool:?}");
    drop(kept);
}

#[test]
fn aws_credentials_that_cannot_be_obtained() {
    let Some(given) = uri_of_child() else {
        let server = aws::server();
        // Credentials that expire soon are requested again by each connection.
        let service =
            HttpServer::start(|_| Response::ok(aws::credentials(Duration::from_secs(60))));
        let dir = PkiDir::new();
        let token = dir.write("token", "s3cret");
        let parts = [&server.uri(), &service.url(), token.to_str().unwrap()];
        run("aws_credentials_that_cannot_be_obtained", &parts);
        return;
    };
    let parts: Vec<&str> = given.split(' ').collect();
    let [server, service, token] = parts[..] else {
        panic!("{given}");
    };
    set_limit(true, 100);
    let uri = format!("{server}?authMechanism=MONGODB-AWS");
    let by_path = [("AWS_CONTAINER_CREDENTIALS_RELATIVE_URI", "/x")];
    let full = [
        ("AWS_CONTAINER_CREDENTIALS_FULL_URI", service),
        ("AWS_CONTAINER_AUTHORIZATION_TOKEN_FILE", token),
    ];
    let web_identity = [
        ("AWS_WEB_IDENTITY_TOKEN_FILE", token),
        ("AWS_ROLE_ARN", "arn:aws:iam::123456789012:role/bench"),
    ];
    let at = service.trim_start_matches("http://");
    let no_file = format!("the token file \"{token}\" cannot be read");
    let no_service = format!("no connection to {at}");
    let cases = [
        (&by_path[..], &no_service),
        (&[], &no_service),
        (&full, &no_file),
        (&web_identity, &no_file),
    ];
    for (variables, why) in cases {
        let mut services = aws::services(variables);
        service.clone_into(&mut services.aws_ecs);
        service.clone_into(&mut services.aws_ec2);
        let client = authenticating(&uri, services);
        let what = format!("no AWS credentials were obtained: {why}");
        if variables.is_empty() || variables.len() == 2 && variables[0] == web_identity[0] {
            // The bench has neither an EC2 nor an STS that answers.
            let _kept = all_but_one();
            let error = find(&client).unwrap_err();
            expect_files(&client, &error, Stage::Authentication, &what);
        } else {
            expect_nothing_lost(&client, &what);
        }
    }
}

#[test]
fn oidc_tokens_that_cannot_be_obtained() {
    let Some(given) = uri_of_child() else {
        let oidc = OidcMechanism::new();
        oidc.accept("s3cret-good");
        let auth = Auth::new().external(oidc);
        let server = Server::builder().auth(auth).start();
        let azure = HttpServer::start(|_| Response::ok(r#"{"access_token":"s3cret-good"}"#));
        let dir = PkiDir::new();
        let token = dir.write("token", "s3cret-good");
        let parts = [&server.uri(), &azure.url(), token.to_str().unwrap()];
        run("oidc_tokens_that_cannot_be_obtained", &parts);
        return;
    };
    let parts: Vec<&str> = given.split(' ').collect();
    let [server, azure, token] = parts[..] else {
        panic!("{given}");
    };
    set_limit(true, 100);
    let mut services = aws::services(&[]);
    services.kubernetes_token = token.into();
    azure.clone_into(&mut services.azure);
    let at = azure.trim_start_matches("http://");
    for (environment, what) in [
        (
            "k8s",
            format!("Kubernetes gave no access token: the token file \"{token}\" cannot be read"),
        ),
        (
            "azure,TOKEN_RESOURCE:a",
            format!("Azure gave no access token: no connection to {at}"),
        ),
    ] {
        let properties = format!("authMechanismProperties=ENVIRONMENT:{environment}");
        let uri = format!("{server}?authMechanism=MONGODB-OIDC&{properties}");
        expect_nothing_lost(&authenticating(&uri, services.clone()), &what);
    }
}

/// A client without monitors: each handshake belongs to a command.
fn by_tls(port: &str, tls: TlsOptionsBuilder) -> Client {
    let uri = format!("mongodb://127.0.0.1:{port}/?loadBalanced=true");
    let builder = ConnectionString::parse(&uri).unwrap().into_builder();
    let options = builder.tls(tls.build().unwrap()).build().unwrap();
    Client::with_options(options).unwrap()
}

#[test]
fn ocsp_responders_that_cannot_be_asked() {
    let Some(given) = uri_of_child() else {
        let responder = Responder::start();
        let ca = Ca::root("bench root", KeyKind::EcP256);
        let identity = ca.issue(LeafSpec::local_server().ocsp_url(&responder.url()));
        responder.answer(&identity.cert, ca.ocsp(&identity.cert).build());
        let server = Server::builder().tls(ServerTls::new(&identity)).start();
        let bench = Bench::around(server, ca);
        bench.without_monitors();
        let (port, at) = (bench.server.port().to_string(), responder.addr());
        let file = bench.ca_file.to_str().unwrap();
        let parts = [&*port, file, &at.to_string()];
        run("ocsp_responders_that_cannot_be_asked", &parts);
        return;
    };
    let parts: Vec<&str> = given.split(' ').collect();
    let [port, file, at] = parts[..] else {
        panic!("{given}");
    };
    set_limit(true, 100);
    let tls = || TlsOptions::builder().ca_file(file);
    let soft = by_tls(port, tls());
    let strict = by_tls(port, tls().require_revocation_status(true));
    let kept = all_but_one();
    ping_on(&soft).unwrap();
    let report = soft.server_report().unwrap().handshake.unwrap();
    let found = report.revocation().swap_remove(0);
    assert_eq!(found.status, RevocationStatus::Undetermined);
    let outcomes: Vec<_> = found.steps.into_iter().map(|step| step.outcome).collect();
    let why = format!("no connection to {at}: {FILES}");
    assert_eq!(outcomes, [format!("cannot be reached: {why}")]);
    drop(kept);
    let kept = all_but_one();
    let error = ping_on(&strict).unwrap_err();
    let what = format!(
        "whether the server's certificate \"localhost\" is revoked is not known, and require_revocation_status asks for \
         it: no connection to {at}"
    );
    expect_files(&strict, &error, Stage::Tls, &what);
    drop(kept);
    // The responder gets another request at once.
    ping_on(&strict).unwrap();
}

#[test]
fn ca_folders_that_cannot_be_read() {
    let Some(given) = uri_of_child() else {
        let bench = Bench::sound();
        bench.without_monitors();
        let folder = hashed(&[&bench.ca]);
        let port = bench.server.port().to_string();
        let parts = [&*port, folder.path().to_str().unwrap()];
        run("ca_folders_that_cannot_be_read", &parts);
        return;
    };
    let (port, folder) = given.split_once(' ').unwrap();
    set_limit(true, 100);
    let client = by_tls(port, TlsOptions::builder().ca_directory(folder));
    let kept = all_but_one();
    let error = ping_on(&client).unwrap_err();
    let what = format!("the trust anchors in {folder} cannot be read");
    expect_files(&client, &error, Stage::Tls, &what);
    drop(kept);
    ping_on(&client).unwrap();
    // No CRL of the folder is ignored.
    let _kept = all_descriptors();
    let options = TlsOptions::builder().ca_directory(folder).build().unwrap();
    let error = mongotls::tls::TlsContext::new(&options).unwrap_err();
    expect_local_limit(&error, ErrorKind::Configuration, "RLIMIT_NOFILE", "100");
}

#[cfg(feature = "srv")]
#[test]
fn name_servers_that_cannot_be_asked() {
    use mongotls_testbench::dns::{DnsFault, DnsServer, Zone};

    let Some(given) = uri_of_child() else {
        let zone = "_mongodb._tcp.db.example.org. SRV 27017 one.example.org.";
        let (whole, long) = (
            DnsServer::start(Zone::parse(zone)),
            DnsServer::start(Zone::parse(zone)),
        );
        long.set_fault(DnsFault::Truncated);
        let parts = [whole.addr().to_string(), long.addr().to_string()];
        let parts = [&*parts[0], &*parts[1]];
        run("name_servers_that_cannot_be_asked", &parts);
        return;
    };
    let (whole, long) = given.split_once(' ').unwrap();
    let options = |server: Option<&str>| {
        let uri = "mongodb+srv://db.example.org/?tls=false&connectTimeoutMS=5000";
        let builder = ConnectionString::parse(uri).unwrap().into_builder();
        match server {
            Some(server) => builder.dns_server(server.parse::<std::net::SocketAddr>().unwrap()),
            None => builder,
        }
        .build()
        .unwrap()
    };
    let refused = |options: mongotls::ClientOptions| {
        let begun = std::time::Instant::now();
        let error = Client::with_options(options).unwrap_err();
        assert!(begun.elapsed() < Duration::from_secs(4));
        expect_local_limit(&error, ErrorKind::Configuration, "RLIMIT_NOFILE", "100");
        assert_eq!(error.stage(), Some(Stage::Resolve));
        let query = "_mongodb._tcp.db.example.org";
        let what = format!("the SRV records of \"{query}\" cannot be requested: {FILES}");
        assert_eq!(error.cause().unwrap().message(), what);
    };
    set_limit(true, 100);
    let kept = all_descriptors();
    refused(options(Some(whole)));
    // The configuration cannot be read.
    refused(options(None));
    drop(kept);
    // UDP has its socket, and TCP has none.
    Client::with_options(options(Some(long))).unwrap();
    let kept = all_but_one();
    refused(options(Some(long)));
    drop(kept);
    let error = Client::with_options(options(Some("127.0.0.1:1"))).unwrap_err();
    assert_eq!(
        error.cause().unwrap().code(),
        mongotls::CauseCode::DnsFailed
    );
}
