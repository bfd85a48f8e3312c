//! MONGODB-AWS: every source of credentials, their cache, and the errors if there are none.
//!
//! The bench repeats the client's signature and compares. Services of AWS are web servers on this host.

use std::collections::BTreeMap;
use std::fs;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::{Duration, SystemTime};

use mongotls::bson::{DateTime, doc};
use mongotls::error::Stage;
use mongotls::internals::CloudServices;
use mongotls::options::AuthMechanism;
use mongotls::{CauseCode, Client, ClientOptions, Error, ErrorKind, ServerAddress};
use mongotls_testbench::http::Request as HttpRequest;
use mongotls_testbench::http_proxy::HttpProxy;
use mongotls_testbench::http_server::{HttpServer, Response};
use mongotls_testbench::pki::{Ca, KeyKind, LeafSpec, PkiDir};
use mongotls_testbench::server::{Auth, AwsMechanism, Server, ServerTls};

use crate::common::{code, fact};
use crate::matrix::Place;

const ID: &str = "AKIDBENCH";
const SECRET: &str = "s3cret-key+/";
const TOKEN: &str = "s3cret-token==";

pub(crate) fn server_of(mechanism: AwsMechanism) -> Server {
    Server::builder()
        .auth(Auth::new().external(mechanism))
        .start()
}

/// A server that accepts the key with its session token.
pub(crate) fn server() -> Server {
    server_of(AwsMechanism::new().key(ID, SECRET, Some(TOKEN)))
}

/// Services that do not exist, and an environment with only these variables.
pub(crate) fn services(variables: &[(&str, &str)]) -> CloudServices {
    let nowhere = "http://127.0.0.1:1".to_owned();
    let pairs = variables.iter();
    let variables = pairs.map(|(name, value)| ((*name).to_owned(), (*value).to_owned()));
    CloudServices {
        aws_ecs: nowhere.clone(),
        aws_ec2: nowhere.clone(),
        aws_sts: nowhere,
        variables: Some(variables.collect::<BTreeMap<_, _>>()),
        ..CloudServices::default()
    }
}

pub(crate) fn client(server: &Server, services: CloudServices) -> Client {
    let options = ClientOptions::builder()
        .host(ServerAddress::tcp("127.0.0.1", server.port()))
        .auth_mechanism(AuthMechanism::MongodbAws, [("", ""); 0])
        .cloud_services(services);
    Client::with_options(options.build().unwrap()).unwrap()
}

pub(crate) fn count(client: &Client) -> Result<(), Error> {
    let command = doc! { "count": "things" };
    client.database("db").run_command(command).map(drop)
}

fn refused(server: &Server, services: CloudServices) -> Error {
    let error = count(&client(server, services)).expect_err("the user was let in");
    assert_eq!(error.stage(), Some(Stage::Authentication), "{error}");
    assert_eq!(error.kind(), ErrorKind::Authentication, "{error}");
    let shown = format!("{error} {error:?} {:?}", error.cause());
    assert!(!shown.contains("s3cret"), "{shown}");
    error
}

/// The reply of ECS and EC2, with credentials that expire after this time.
pub(crate) fn credentials(left: Duration) -> String {
    let end = DateTime::from_system_time(SystemTime::now() + left);
    let end = end.try_to_rfc3339_string().unwrap();
    format!(
        r#"{{"Code":"Success","AccessKeyId":"{ID}","SecretAccessKey":"{SECRET}","Token":"{TOKEN}","Expiration":"{end}"}}"#
    )
}

const HOUR: Duration = Duration::from_secs(3600);

/// A metadata service of EC2, by version 2 of its protocol.
fn ec2(left: Duration) -> HttpServer {
    HttpServer::start(move |request| {
        let token = request.header("X-aws-ec2-metadata-token");
        match (request.method.as_str(), request.target.as_str()) {
            ("PUT", "/latest/api/token") => {
                let ttl = request.header("X-aws-ec2-metadata-token-ttl-seconds");
                assert_eq!(ttl, Some("30"));
                Response::ok("imds-session")
            }
            _ if token != Some("imds-session") => Response::status(401, ""),
            ("GET", "/latest/meta-data/iam/security-credentials/") => Response::ok("bench-role\n"),
            ("GET", "/latest/meta-data/iam/security-credentials/bench-role") => {
                Response::ok(credentials(left))
            }
            _ => Response::status(404, ""),
        }
    })
}

#[test]
fn the_key_of_the_connection_string_signs() {
    let server = server_of(AwsMechanism::new().key(ID, SECRET, None));
    let uri = format!(
        "mongodb://{ID}:s3cret-key%2B%2F@127.0.0.1:{}/?authMechanism=MONGODB-AWS",
        server.port()
    );
    count(&Client::connect(&uri).unwrap()).unwrap();
    let user = server.program_connections()[0].user.clone();
    assert_eq!(
        user.as_deref(),
        Some("$external.arn:aws:iam::123456789012:user/AKIDBENCH")
    );
    let wrong = uri.replace("s3cret-key", "s3cret-kee");
    let error = count(&Client::connect(&wrong).unwrap()).unwrap_err();
    assert_eq!(code(&error), CauseCode::AuthenticationFailed);
    assert!(
        error
            .cause()
            .unwrap()
            .remedy()
            .contains("get-caller-identity")
    );
    assert!(!format!("{error:?}").contains("s3cret"), "{error:?}");
}

#[test]
fn a_session_token_in_the_uri_is_signed_and_sent() {
    let server = server();
    let uri = format!(
        "mongodb://{ID}:s3cret-key%2B%2F@127.0.0.1:{}/?authMechanism=MONGODB-AWS&authMechanismProperties=AWS_SESSION_TOKEN:s3cret-token%3D%3D",
        server.port()
    );
    count(&Client::connect(&uri).unwrap()).unwrap();
}

#[test]
fn regions_follow_the_host_that_the_server_names() {
    for host in [
        "sts.amazonaws.com",
        "sts.eu-central-1.amazonaws.com",
        "localhost",
    ] {
        let server = server_of(AwsMechanism::new().sts_host(host).key(ID, SECRET, None));
        let of_environment = [("AWS_ACCESS_KEY_ID", ID), ("AWS_SECRET_ACCESS_KEY", SECRET)];
        count(&client(&server, services(&of_environment))).unwrap();
    }
}

#[test]
fn the_environment_comes_before_the_services_and_is_not_kept() {
    let server = server();
    let ec2 = ec2(HOUR);
    let mut services = services(&[
        ("AWS_ACCESS_KEY_ID", ID),
        ("AWS_SECRET_ACCESS_KEY", SECRET),
        ("AWS_SESSION_TOKEN", TOKEN),
    ]);
    services.aws_ec2 = ec2.url();
    let client = client(&server, services);
    count(&client).unwrap();
    server.cut();
    let _ = count(&client);
    count(&client).unwrap();
    assert!(ec2.requests().is_empty());
}

#[test]
fn a_part_of_the_environment_is_no_credential() {
    let server = server();
    for (variables, missing) in [
        (
            &[("AWS_ACCESS_KEY_ID", ID)][..],
            "lacks AWS_SECRET_ACCESS_KEY",
        ),
        (
            &[("AWS_SECRET_ACCESS_KEY", SECRET)],
            "lacks AWS_ACCESS_KEY_ID",
        ),
        (
            &[("AWS_SESSION_TOKEN", TOKEN)],
            "lacks AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY",
        ),
    ] {
        let error = refused(&server, services(variables));
        assert_eq!(code(&error), CauseCode::AwsCredentialsMissing);
        assert!(error.to_string().contains(missing), "{error}");
    }
}

#[test]
fn ec2_gives_credentials_that_are_kept_until_they_fail() {
    let server = server();
    let ec2 = ec2(HOUR);
    let mut services = services(&[]);
    services.aws_ec2 = ec2.url();
    let client = client(&server, services);
    count(&client).unwrap();
    let targets: Vec<String> = ec2
        .requests()
        .iter()
        .map(|request| request.target.clone())
        .collect();
    assert_eq!(
        targets,
        [
            "/latest/api/token",
            "/latest/meta-data/iam/security-credentials/",
            "/latest/meta-data/iam/security-credentials/bench-role",
        ]
    );
    // The monitor notices that the connections have ended, and the others are closed too.
    let cut = || {
        server.cut();
        let started = std::time::Instant::now();
        while client.snapshot().pools[0].available > 0 {
            assert!(started.elapsed() < Duration::from_secs(10));
            std::thread::yield_now();
        }
    };
    // New connections use the cached credentials.
    for _ in 0..2 {
        cut();
        count(&client).unwrap();
    }
    assert_eq!(ec2.requests().len(), 3);
    // A rejection clears the cache.
    cut();
    let fails = doc! { "errorCode": 18 };
    server.configure_fail_point(&mongotls_testbench::server::fail_command(
        1,
        &["saslStart"],
        fails,
    ));
    let error = count(&client).unwrap_err();
    assert_eq!(code(&error), CauseCode::AuthenticationFailed);
    count(&client).unwrap();
    assert_eq!(ec2.requests().len(), 6);
}

#[test]
fn credentials_that_end_within_five_minutes_are_not_kept() {
    let server = server();
    let ec2 = ec2(Duration::from_secs(299));
    let mut services = services(&[]);
    services.aws_ec2 = ec2.url();
    let client = client(&server, services);
    count(&client).unwrap();
    server.cut();
    let _ = count(&client);
    count(&client).unwrap();
    assert_eq!(ec2.requests().len(), 6);
}

#[test]
fn ecs_credentials_come_only_from_the_path_in_environment() {
    let server = server();
    let ecs = HttpServer::start(|request| match request.target.as_str() {
        "/v2/credentials/task" => Response::ok(credentials(HOUR)),
        _ => Response::status(404, "no such task"),
    });
    let ec2 = ec2(HOUR);
    let variable = "AWS_CONTAINER_CREDENTIALS_RELATIVE_URI";
    let with = |path: &str| {
        let mut services = services(&[(variable, path)]);
        services.aws_ecs = ecs.url();
        services.aws_ec2 = ec2.url();
        services
    };
    for path in ["/v2/credentials/task", "v2/credentials/task"] {
        count(&client(&server, with(path))).unwrap();
    }
    // It takes precedence over the URL of a container service.
    let mut both = with("/v2/credentials/task");
    let variables = both.variables.as_mut().unwrap();
    variables.insert(FULL_URI.into(), "http://127.0.0.1:1/".into());
    count(&client(&server, both)).unwrap();
    let error = refused(&server, with("/v2/credentials/other"));
    assert_eq!(code(&error), CauseCode::CredentialServiceFailed);
    assert!(
        error.to_string().contains("HTTP status 404: no such task"),
        "{error}"
    );
    // No value of the variable leads to another host.
    let error = refused(&server, with("@127.0.0.1:1/"));
    assert!(error.to_string().contains("HTTP status 404"), "{error}");
    assert!(ec2.requests().is_empty());
}

const FULL_URI: &str = "AWS_CONTAINER_CREDENTIALS_FULL_URI";

/// The agent of EKS Pod Identity, which expects a token.
fn pod_identity(token: &'static str) -> impl Fn(&HttpRequest) -> Response + Send + Sync + 'static {
    move |request| match (request.target.as_str(), request.header("Authorization")) {
        ("/v1/credentials", found) if found == Some(token) => Response::ok(credentials(HOUR)),
        ("/v1/credentials", _) => Response::status(401, "no token"),
        _ => Response::status(404, ""),
    }
}

#[test]
fn eks_pod_identity_requests_use_the_pod_token() {
    let server = server();
    let agent = HttpServer::start(pod_identity("s3cret.jwt"));
    let dir = PkiDir::new();
    let file = dir.write("eks-pod-identity-token", "s3cret.old\n");
    let file = file.to_str().unwrap();
    let url = format!("{}/v1/credentials", agent.url());
    // The file takes precedence, and is read each time.
    let by_file = services(&[
        (FULL_URI, &url),
        ("AWS_CONTAINER_AUTHORIZATION_TOKEN_FILE", file),
        ("AWS_CONTAINER_AUTHORIZATION_TOKEN", "s3cret.jwt"),
    ]);
    let client_by_file = client(&server, by_file.clone());
    let error = count(&client_by_file).unwrap_err();
    assert_eq!(code(&error), CauseCode::CredentialServiceFailed);
    let cause = error.cause().unwrap();
    let expected = "the container credential service of AWS gave no credentials: the service at 127.0.0.1 answered with \
        HTTP status 401: no token";
    assert_eq!(cause.message(), expected);
    let expected = "Check that the service account of the pod has a Pod Identity association and that the EKS Pod Identity \
        agent runs on the node; if this is not a container of AWS, unset AWS_CONTAINER_CREDENTIALS_FULL_URI.";
    assert_eq!(cause.remedy(), expected);
    fs::write(file, "s3cret.jwt\n").unwrap();
    count(&client_by_file).unwrap();

    let token = ("AWS_CONTAINER_AUTHORIZATION_TOKEN", "s3cret.jwt");
    count(&client(&server, services(&[(FULL_URI, &url), token]))).unwrap();
    let by_name = url.replace("127.0.0.1", "localhost");
    count(&client(&server, services(&[(FULL_URI, &by_name), token]))).unwrap();

    let missing = services(&[
        (FULL_URI, &url),
        ("AWS_CONTAINER_AUTHORIZATION_TOKEN_FILE", "/no/such/token"),
    ]);
    let error = refused(&server, missing);
    let cause = error.cause().unwrap();
    let expected = "the container credential service of AWS gave no credentials: the token file \"/no/such/token\" cannot \
        be read: No such file or directory (os error 2)";
    assert_eq!(cause.message(), expected);
    let expected = "Check AWS_CONTAINER_AUTHORIZATION_TOKEN_FILE: the file must exist, be readable, and hold a token. EKS \
        writes it into the pod.";
    assert_eq!(cause.remedy(), expected);
}

#[test]
fn a_remote_container_service_needs_https() {
    let server = server();
    let token = ("AWS_CONTAINER_AUTHORIZATION_TOKEN", "s3cret.jwt");
    let message = |url: &str, token| {
        let error = refused(&server, services(&[(FULL_URI, url), token]));
        assert_eq!(code(&error), CauseCode::CredentialServiceFailed);
        error.cause().unwrap().message().to_owned()
    };
    const FAILED: &str = "the container credential service of AWS gave no credentials: ";
    for host in [
        "169.254.169.254",
        "10.0.0.1",
        "[fd00:ec2::254]",
        "agent.example",
    ] {
        let bare = host.trim_matches(['[', ']']);
        let expected = format!(
            "{FAILED}AWS_CONTAINER_CREDENTIALS_FULL_URI names the host {bare:?} by http, which is allowed only for loopback \
             addresses, 169.254.170.2, 169.254.170.23 and fd00:ec2::23"
        );
        assert_eq!(
            message(&format!("http://{host}/v1/credentials"), token),
            expected
        );
    }
    for (url, why) in [
        ("http://u:s3cret@127.0.0.1/", "it holds a user"),
        ("/v1/credentials", "only http URLs are asked"),
    ] {
        let expected = format!("{FAILED}AWS_CONTAINER_CREDENTIALS_FULL_URI is refused: {why}");
        assert_eq!(message(url, token), expected);
    }
    let split = ("AWS_CONTAINER_AUTHORIZATION_TOKEN", "s3cret\r\nX-Other: 1");
    let expected =
        format!("{FAILED}the authorization token holds a character that a header cannot hold");
    assert_eq!(message("http://127.0.0.1:1/", split), expected);
}

#[test]
fn a_container_service_by_https_is_verified() {
    let server = server();
    let ca = Ca::root("agent root", KeyKind::EcP256);
    let tls = ServerTls::new(&ca.issue(LeafSpec::local_server()));
    let agent = HttpServer::start_tls(&tls, pod_identity("s3cret.jwt"));
    let dir = PkiDir::new();
    let variables = |anchors: &Ca| {
        let anchors = dir.write("ca.pem", anchors.cert_pem());
        vec![
            ("SSL_CERT_FILE", anchors.display().to_string()),
            (FULL_URI, format!("{}/v1/credentials", agent.url())),
            ("AWS_CONTAINER_AUTHORIZATION_TOKEN", "s3cret.jwt".to_owned()),
            ("MONGOTLS_LOG", "trace".to_owned()),
        ]
    };
    let uri = format!("{}?authMechanism=MONGODB-AWS", server.uri());
    let run = |variables| {
        let place = Place {
            variables,
            ..Place::default()
        };
        let (code, out, log) = place.run_aloud(&["ping", &uri]);
        assert!(!format!("{out}{log}").contains("s3cret"), "{out}{log}");
        (code, format!("{out}{log}"))
    };
    let (code, said) = run(variables(&ca));
    assert_eq!(code, 0, "{said}");
    assert_eq!(agent.requests().len(), 1);
    let (code, said) = run(variables(&Ca::root("another root", KeyKind::EcP256)));
    assert_eq!(code, 1, "{said}");
    assert!(said.contains("cannot be reached by TLS"), "{said}");
    assert_eq!(agent.requests().len(), 1);
}

/// A role's token in a file, and STS over TLS.
pub(crate) fn sts(
    answer: impl Fn(&str) -> Response + Send + Sync + 'static,
) -> (HttpServer, PkiDir, CloudServices) {
    let ca = Ca::root("sts root", KeyKind::EcP256);
    let tls = ServerTls::new(&ca.issue(LeafSpec::local_server()));
    let dir = PkiDir::new();
    let token = dir.write("token", "s3cret.jwt\n");
    let sts = HttpServer::start_tls(&tls, move |request| {
        assert_eq!(
            (request.method.as_str(), request.target.as_str()),
            ("POST", "/")
        );
        assert_eq!(request.header("Accept"), Some("application/json"));
        answer(std::str::from_utf8(&request.body).unwrap())
    });
    let mut services = services(&[
        ("AWS_WEB_IDENTITY_TOKEN_FILE", token.to_str().unwrap()),
        ("AWS_ROLE_ARN", "arn:aws:iam::123456789012:role/bench"),
    ]);
    services.aws_sts = sts.url();
    services.aws_sts_ca_file = Some(dir.write("ca.pem", ca.cert_pem()));
    (sts, dir, services)
}

#[test]
fn a_web_identity_is_exchanged_at_sts_by_verified_tls() {
    let server = server();
    let sessions = Arc::new(AtomicUsize::new(0));
    let seen = Arc::clone(&sessions);
    let (sts, _dir, mut services) = sts(move |body| {
        let role = "RoleArn=arn%3Aaws%3Aiam%3A%3A123456789012%3Arole%2Fbench";
        let parts: Vec<&str> = body.split('&').collect();
        assert_eq!(parts[0], "Action=AssumeRoleWithWebIdentity");
        assert!(parts[1].starts_with("RoleSessionName="), "{body}");
        assert_eq!(
            parts[2..],
            [role, "WebIdentityToken=s3cret.jwt", "Version=2011-06-15"]
        );
        if parts[1] == "RoleSessionName=app1" {
            seen.fetch_add(1, Ordering::SeqCst);
        }
        let inner = credentials(HOUR).replace("\"Token\"", "\"SessionToken\"");
        Response::ok(format!(
            r#"{{"AssumeRoleWithWebIdentityResponse":{{"AssumeRoleWithWebIdentityResult":{{"Credentials":{inner}}}}}}}"#
        ))
    });
    let first = client(&server, services.clone());
    count(&first).unwrap();
    server.cut();
    let _ = count(&first);
    count(&first).unwrap();
    assert_eq!(sts.requests().len(), 1);
    assert_eq!(sessions.load(Ordering::SeqCst), 0);
    let variables = services.variables.as_mut().unwrap();
    variables.insert("AWS_ROLE_SESSION_NAME".into(), "app1".into());
    count(&client(&server, services.clone())).unwrap();
    assert_eq!(sessions.load(Ordering::SeqCst), 1);
    // A server without a trusted certificate receives no request.
    services.aws_sts_ca_file = None;
    let error = refused(&server, services);
    assert_eq!(code(&error), CauseCode::CredentialServiceFailed);
    assert!(
        error.to_string().contains("cannot be reached by TLS"),
        "{error}"
    );
    assert_eq!(sts.requests().len(), 2);
}

#[test]
fn real_sts_via_a_proxy_logs_no_secret() {
    let server = server();
    let ca = Ca::root("sts root", KeyKind::EcP256);
    let tls = ServerTls::new(&ca.issue(LeafSpec::server("sts.amazonaws.com")));
    let sts = HttpServer::start_tls(&tls, |_| {
        let inner = credentials(HOUR).replace("\"Token\"", "\"SessionToken\"");
        Response::ok(format!(r#"{{"Credentials":{inner}}}"#))
    });
    let proxy = HttpProxy::tunnel_to(sts.addr());
    let dir = PkiDir::new();
    let place = Place {
        variables: vec![
            ("https_proxy", proxy.url()),
            ("no_proxy", String::new()),
            (
                "SSL_CERT_FILE",
                dir.write("ca.pem", ca.cert_pem()).display().to_string(),
            ),
            (
                "AWS_WEB_IDENTITY_TOKEN_FILE",
                dir.write("token", "s3cret.jwt").display().to_string(),
            ),
            (
                "AWS_ROLE_ARN",
                "arn:aws:iam::123456789012:role/bench".into(),
            ),
            ("MONGOTLS_LOG", "trace".into()),
        ],
        ..Place::default()
    };
    let uri = format!("{}?authMechanism=MONGODB-AWS", server.uri());
    let (code, out, log) = place.run_aloud(&["ping", &uri]);
    assert_eq!(code, 0, "{out}{log}");
    let target = proxy.requests()[0].target.clone();
    assert_eq!(target, "sts.amazonaws.com:443");
    assert_eq!(sts.requests()[0].header("Host"), Some("sts.amazonaws.com"));
    assert!(!format!("{out}{log}").contains("s3cret"), "{out}{log}");
    // A proxy that does not connect is named in the error.
    let other = HttpProxy::answering(403);
    let mut place = place;
    place.variables.retain(|(name, _)| *name != "https_proxy");
    place.variables.push(("https_proxy", other.url()));
    let (_, out, log) = place.run_aloud(&["ping", &uri]);
    let said =
        "https://sts.amazonaws.com cannot be reached: its proxy answered with HTTP status 400";
    assert!(log.contains(said), "{out}{log}");
    // The proxy sees only the name of the host.
    let seen = format!("{:?}", proxy.requests());
    assert!(!seen.contains("s3cret") && proxy.count() == 1, "{seen}");
}

#[test]
fn sts_rejections_are_quoted() {
    let server = server();
    let (_sts, _dir, services) = sts(|_| {
        let text = r#"{"Error":{"Code":"InvalidIdentityToken","Message":"Token is expired","Type":"Sender"}}"#;
        Response::status(400, text)
    });
    let error = refused(&server, services);
    assert_eq!(code(&error), CauseCode::AwsStsRefused);
    assert!(
        error
            .to_string()
            .contains("InvalidIdentityToken: Token is expired"),
        "{error}"
    );
    assert_eq!(fact(&error, "role"), "arn:aws:iam::123456789012:role/bench");
}

#[test]
fn a_web_identity_needs_its_file_and_role() {
    let server = server();
    let (sts, dir, services) = sts(|_| Response::status(500, ""));
    fs::write(dir.path().join("token"), " \n").unwrap();
    let error = refused(&server, services.clone());
    assert_eq!(code(&error), CauseCode::CredentialServiceFailed);
    assert!(error.to_string().contains("is empty"), "{error}");
    fs::remove_file(dir.path().join("token")).unwrap();
    let error = refused(&server, services.clone());
    assert!(error.to_string().contains("cannot be read"), "{error}");
    assert!(sts.requests().is_empty());
    // Half of the values is not a source: the next one is used, and if that has nothing either, the error names this.
    for (left_out, said) in [
        ("AWS_ROLE_ARN", "AWS_ROLE_ARN is not set"),
        (
            "AWS_WEB_IDENTITY_TOKEN_FILE",
            "AWS_WEB_IDENTITY_TOKEN_FILE is not set",
        ),
    ] {
        let mut services = services.clone();
        services.variables.as_mut().unwrap().remove(left_out);
        let error = refused(&server, services.clone());
        assert_eq!(code(&error), CauseCode::AwsCredentialsMissing);
        assert!(error.to_string().contains(said), "{error}");
        let remedy = error.cause().unwrap().remedy();
        assert!(remedy.contains(&format!("Set {left_out} too")), "{remedy}");
        let ec2 = ec2(HOUR);
        services.aws_ec2 = ec2.url();
        count(&client(&server, services)).unwrap();
    }
    assert!(sts.requests().is_empty());
}

#[test]
fn service_replies_with_secrets_are_not_shown() {
    let server = server();
    // Credentials with a status other than 200.
    for status in [203, 206, 302] {
        let agent = HttpServer::start(move |_| Response::status(status, credentials(HOUR)));
        let mut services = services(&[("AWS_CONTAINER_CREDENTIALS_RELATIVE_URI", "/x")]);
        services.aws_ecs = agent.url();
        let error = refused(&server, services);
        assert_eq!(code(&error), CauseCode::CredentialServiceFailed);
        let said = format!("HTTP status {status}");
        assert!(error.to_string().contains(&said), "{error}");
    }
    // A page about a failure that repeats the request.
    for status in [400, 500] {
        let (_sts, _dir, services) = sts(move |body| Response::status(status, body));
        let error = refused(&server, services);
        let said = format!("HTTP status {status}");
        assert!(error.to_string().contains(&said), "{error}");
    }
}

#[test]
fn a_server_that_ends_before_the_signature_is_not_believed() {
    let mechanism = AwsMechanism::new().key(ID, SECRET, None);
    let auth = Auth::new().external(mechanism);
    let server = Server::builder()
        .auth(auth.tamper(|reply| drop(reply.insert("done", true))))
        .start();
    let of_environment = [("AWS_ACCESS_KEY_ID", ID), ("AWS_SECRET_ACCESS_KEY", SECRET)];
    let error = refused(&server, services(&of_environment));
    assert_eq!(code(&error), CauseCode::ServerNotProven);
    assert!(
        error.to_string().contains("ended the conversation early"),
        "{error}"
    );
    assert_eq!(server.count_of("count"), 0);
}

#[test]
fn without_any_source_each_is_named_with_its_reason() {
    let error = refused(&server(), services(&[]));
    assert_eq!(code(&error), CauseCode::AwsCredentialsMissing);
    let text = error.to_string();
    for part in [
        "the connection string names no access key",
        "AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY are not set",
        "AWS_WEB_IDENTITY_TOKEN_FILE and AWS_ROLE_ARN are not set",
        "AWS_CONTAINER_CREDENTIALS_RELATIVE_URI is not set",
        "the EC2 metadata service at http://127.0.0.1:1 cannot be reached",
    ] {
        assert!(text.contains(part), "{part}: {text}");
    }
}

#[test]
fn a_service_that_stalls_or_floods_ends_in_time() {
    let server = server();
    let stalls = HttpServer::start(|_| Response::ok("late").after(Duration::from_secs(60)));
    let floods = HttpServer::start(|_| Response::ok(vec![b'x'; 100_000]));
    let hostile = HttpServer::start(|request| match request.method.as_str() {
        "PUT" => Response::ok("evil\r\nX-Injected: 1"),
        _ => Response::ok("../../role?x"),
    });
    let of = |url: String| {
        let mut services = services(&[]);
        services.aws_ec2 = url;
        services
    };
    let options = ClientOptions::builder()
        .host(ServerAddress::tcp("127.0.0.1", server.port()))
        .auth_mechanism(AuthMechanism::MongodbAws, [("", ""); 0])
        .connect_timeout(Duration::from_millis(400))
        .cloud_services(of(stalls.url()));
    let client = Client::with_options(options.build().unwrap()).unwrap();
    let error = crate::common::at_limit(Duration::from_millis(400), || count(&client).unwrap_err());
    assert!(
        error.to_string().contains("did not answer in time"),
        "{error}"
    );
    let error = refused(&server, of(floods.url()));
    assert!(
        error.to_string().contains("more than 65536 bytes"),
        "{error}"
    );
    let error = refused(&server, of(hostile.url()));
    assert!(
        error.to_string().contains("is not one of a header"),
        "{error}"
    );
    let bad_role = HttpServer::start(|request| match request.method.as_str() {
        "PUT" => Response::ok("session"),
        _ => Response::ok("../../role?x"),
    });
    let error = refused(&server, of(bad_role.url()));
    assert!(
        error
            .to_string()
            .contains("a role name that cannot be read"),
        "{error}"
    );
}

#[test]
fn a_server_that_breaks_the_rules_gets_no_signature() {
    for (first, reason) in [
        (doc! { "h": "sts.amazonaws.com" }, "it sent no nonce"),
        (
            doc! { "s": mongotls::bson::Binary { subtype: mongotls::bson::spec::BinarySubtype::Generic, bytes: vec![0; 64] }, "h": "sts.amazonaws.com" },
            "does not begin with that of the client",
        ),
    ] {
        let server = server_of(AwsMechanism::new().server_first(first));
        let of_environment = [("AWS_ACCESS_KEY_ID", ID), ("AWS_SECRET_ACCESS_KEY", SECRET)];
        let error = refused(&server, services(&of_environment));
        assert_eq!(code(&error), CauseCode::ServerNotProven);
        assert!(error.to_string().contains(reason), "{error}");
        assert_eq!(server.count_of("saslContinue"), 0);
    }
}
