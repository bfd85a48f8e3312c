//! MONGODB-OIDC: callbacks, environments, the cache, and reauthentication.
//!
//! The prose tests of "Driver Authentication" for MONGODB-OIDC are here, with the bench, with their numbers; and the
//! possible errors of a callback.

use std::collections::BTreeMap;
use std::fs;
use std::process::Command;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, mpsc};
use std::thread;
use std::time::{Duration, Instant};

use mongotls::bson::{Document, doc};
use mongotls::error::Stage;
use mongotls::internals::CloudServices;
use mongotls::options::{AuthMechanism, OidcError, OidcRequest, OidcToken};
use mongotls::{CauseCode, Client, ClientOptions, ConnectionString, Error, ErrorKind};
use mongotls_testbench::http_server::{HttpServer, Response};
use mongotls_testbench::pki::PkiDir;
use mongotls_testbench::server::{Auth, OidcMechanism, Server, fail_command};

use crate::common::{at_limit, code, timed};

/// A server that accepts tokens, and a callback that counts its calls.
struct Bench {
    oidc: OidcMechanism,
    server: Server,
    calls: Arc<Mutex<Vec<OidcRequest>>>,
}

impl Bench {
    fn new() -> Self {
        let oidc = OidcMechanism::new();
        let server = Server::builder()
            .auth(Auth::new().external(oidc.clone()))
            .start();
        Self {
            oidc,
            server,
            calls: Arc::default(),
        }
    }

    /// A bench that accepts the token `good`.
    fn good() -> Self {
        let bench = Self::new();
        bench.oidc.accept("s3cret-good");
        bench
    }

    fn uri(&self, user: &str, options: &str) -> String {
        format!(
            "mongodb://{user}127.0.0.1:{}/?authMechanism=MONGODB-OIDC&{options}",
            self.server.port()
        )
    }

    fn counting(
        &self,
        give: impl Fn(usize, &OidcRequest) -> Result<OidcToken, OidcError> + Send + Sync + 'static,
    ) -> impl Fn(&OidcRequest) -> Result<OidcToken, OidcError> + Send + Sync + 'static {
        let calls = Arc::clone(&self.calls);
        move |request| {
            let number = {
                let mut calls = calls.lock().unwrap();
                calls.push(request.clone());
                calls.len()
            };
            give(number, request)
        }
    }

    fn machine(
        &self,
        give: impl Fn(usize, &OidcRequest) -> Result<OidcToken, OidcError> + Send + Sync + 'static,
    ) -> Client {
        let uri = ConnectionString::parse(&self.uri("", "")).unwrap();
        let builder = uri.into_builder().oidc_callback(self.counting(give));
        Client::with_options(builder.build().unwrap()).unwrap()
    }

    fn human(
        &self,
        user: &str,
        give: impl Fn(usize, &OidcRequest) -> Result<OidcToken, OidcError> + Send + Sync + 'static,
    ) -> Client {
        let uri = ConnectionString::parse(&self.uri(user, "")).unwrap();
        let builder = uri.into_builder().oidc_human_callback(self.counting(give));
        Client::with_options(builder.build().unwrap()).unwrap()
    }

    fn calls(&self) -> usize {
        self.calls.lock().unwrap().len()
    }

    fn fail(&self, times: i32, commands: &[&str], data: Document) {
        self.server
            .configure_fail_point(&fail_command(times, commands, data));
    }

    fn ask_for_user(&self) {
        self.fail(1, &["find"], doc! { "errorCode": 391 });
    }
}

fn good(_: usize, _: &OidcRequest) -> Result<OidcToken, OidcError> {
    Ok(OidcToken::new("s3cret-good"))
}

fn refreshing(_: usize, _: &OidcRequest) -> Result<OidcToken, OidcError> {
    Ok(OidcToken::new("s3cret-good").refresh_token("s3cret-refresh"))
}

fn find(client: &Client) -> Result<(), Error> {
    client
        .database("db")
        .run_command(doc! { "find": "things" })
        .map(drop)
}

fn refused(client: &Client) -> Error {
    let error = find(client).expect_err("the user was let in");
    assert_eq!(error.stage(), Some(Stage::Authentication), "{error}");
    assert_eq!(error.kind(), ErrorKind::Authentication, "{error}");
    let shown = format!("{error} {error:?} {:?} {client:?}", error.cause());
    assert!(!shown.contains("s3cret"), "{shown}");
    error
}

#[test]
fn machine_1_1_the_callback_is_called_during_authentication() {
    let bench = Bench::good();
    find(&bench.machine(good)).unwrap();
    assert_eq!(bench.calls(), 1);
    assert_eq!(
        bench.server.program_connections()[0].user.as_deref(),
        Some("$external.idp/s3cret-good")
    );
}

#[test]
fn machine_1_2_callback_is_called_once_for_many_connections() {
    let bench = Bench::good();
    let client = bench.machine(good);
    thread::scope(|scope| {
        for _ in 0..10 {
            scope.spawn(|| (0..100).for_each(|_| find(&client).unwrap()));
        }
    });
    assert_eq!(bench.calls(), 1);
}

#[test]
fn machine_2_1_the_callback_gets_its_parameters() {
    let bench = Bench::good();
    let uri = bench.uri("ada@", "connectTimeoutMS=5000");
    let builder = ConnectionString::parse(&uri).unwrap().into_builder();
    let options = builder.oidc_callback(bench.counting(good)).build().unwrap();
    find(&Client::with_options(options).unwrap()).unwrap();
    let request = bench.calls.lock().unwrap()[0].clone();
    assert_eq!(
        (request.version, request.username.as_deref()),
        (1, Some("ada"))
    );
    let limit = Duration::from_secs(5);
    assert!(
        request.timeout <= limit && request.timeout > limit / 2,
        "{request:?}"
    );
    assert!(request.idp_info.is_none() && request.refresh_token.is_none());
    // Without a limit of the connection: a minute.
    let uri = bench.uri("", "connectTimeoutMS=0");
    let builder = ConnectionString::parse(&uri).unwrap().into_builder();
    let options = builder.oidc_callback(bench.counting(good)).build().unwrap();
    find(&Client::with_options(options).unwrap()).unwrap();
    let timeout = bench.calls.lock().unwrap()[1].timeout;
    assert!(timeout <= Duration::from_secs(60) && timeout > Duration::from_secs(50));
}

#[test]
fn machine_2_2_and_2_3_a_callback_that_gives_nothing_fails() {
    let bench = Bench::good();
    let error = refused(&bench.machine(|_, _| Err("the vault is sealed".into())));
    assert_eq!(code(&error), CauseCode::OidcCallbackFailed);
    assert!(error.to_string().contains("the vault is sealed"), "{error}");
    let error = refused(&bench.machine(|_, _| Ok(OidcToken::new(""))));
    assert!(
        error.to_string().contains("an empty access token"),
        "{error}"
    );
    let error = refused(&bench.machine(|_, _| panic!("s3cret")));
    assert!(error.to_string().contains("it panicked"), "{error}");
    assert_eq!(bench.server.count_of("saslStart"), 0);
}

#[test]
fn machine_2_4_callback_excludes_environment_and_callbacks() {
    let builder = || {
        let uri = ConnectionString::parse("mongodb://h/?authMechanism=MONGODB-OIDC").unwrap();
        uri.into_builder()
            .oidc_callback(|_| Ok(OidcToken::new("t")))
    };
    let of = |builder: mongotls::options::ClientOptionsBuilder| {
        let error = builder.build().unwrap_err();
        assert_eq!(code(&error), CauseCode::OptionConflict);
        error.to_string()
    };
    let environment = [("ENVIRONMENT", "test")];
    let text = of(builder().auth_mechanism(AuthMechanism::MongodbOidc, environment));
    assert!(
        text.contains("a callback or authMechanismProperties, not both"),
        "{text}"
    );
    let text = of(builder().oidc_human_callback(|_| Ok(OidcToken::new("t"))));
    assert!(text.contains("more than one OIDC callback"), "{text}");
    let text = of(builder().oidc_allowed_hosts(["h"]));
    assert!(
        text.contains("oidc_allowed_hosts needs oidc_human_callback"),
        "{text}"
    );
    let text = of(builder().auth_mechanism(AuthMechanism::Plain, [("", ""); 0]));
    assert!(
        text.contains("an OIDC callback needs authMechanism=MONGODB-OIDC"),
        "{text}"
    );
    let text = of(builder().credential("user", "password"));
    assert!(text.contains("takes no password"), "{text}");
    let uri = "mongodb://h/?authMechanism=MONGODB-OIDC&authMechanismProperties=ALLOWED_HOSTS:h";
    assert!(
        ConnectionString::parse(uri)
            .and_then(|uri| uri
                .into_builder()
                .oidc_callback(|_| Ok(OidcToken::new("t")))
                .build())
            .is_err()
    );
}

#[test]
fn machine_3_1_a_kept_token_that_is_refused_is_replaced() {
    let bench = Bench::good();
    let client =
        bench.machine(|number, _| Ok(OidcToken::new(["s3cret-good", "s3cret-next"][number - 1])));
    find(&client).unwrap();
    bench.oidc.revoke("s3cret-good");
    bench.oidc.accept("s3cret-next");
    bench.server.cut();
    let _ = find(&client);
    find(&client).unwrap();
    assert_eq!(bench.calls(), 2);
}

#[test]
fn machine_3_2_a_fresh_token_that_is_refused_is_an_error() {
    let bench = Bench::new();
    let error = refused(&bench.machine(|_, _| Ok(OidcToken::new("s3cret-bad"))));
    assert_eq!(code(&error), CauseCode::AuthenticationFailed);
    assert_eq!(bench.calls(), 1);
}

#[test]
fn machine_3_3_another_error_does_not_give_the_token_up() {
    let bench = Bench::good();
    let client = bench.machine(good);
    bench.fail(1, &["saslStart"], doc! { "errorCode": 20 });
    refused(&client);
    assert_eq!(bench.calls(), 1);
    find(&client).unwrap();
    assert_eq!(bench.calls(), 1);
}

#[test]
fn machine_4_reauthentication_uses_a_new_token() {
    let bench = Bench::good();
    let client = bench.machine(good);
    find(&client).unwrap();
    bench.ask_for_user();
    find(&client).unwrap();
    assert_eq!(bench.calls(), 2);
    // On the same connection, and without another hello.
    assert_eq!(bench.server.program_connections().len(), 1);
    assert_eq!(bench.server.count_of("find"), 3);
}

fn insert(client: &Client) -> Result<(), Error> {
    let insert = doc! { "insert": "things", "documents": [{ "n": 1 }] };
    client.database("db").run_command(insert).map(drop)
}

#[test]
fn machine_4_2_and_4_3_a_failed_reauthentication_fails_reads_and_writes() {
    type Run = fn(&Client) -> Result<(), Error>;
    let rows: [(&str, Run); 2] = [("find", find), ("insert", insert)];
    for (name, run) in rows {
        let bench = Bench::good();
        let client = bench.machine(|number, _| {
            let token = ["s3cret-good", "s3cret-bad"][number.min(2) - 1];
            Ok(OidcToken::new(token))
        });
        run(&client).unwrap();
        bench.fail(1, &[name], doc! { "errorCode": 391 });
        let error = run(&client).unwrap_err();
        assert_eq!(
            (error.stage(), code(&error)),
            (Some(Stage::Authentication), CauseCode::AuthenticationFailed),
            "{name}"
        );
        assert_eq!(bench.calls(), 2, "{name}");
    }
}

#[test]
fn machine_4_4_reauthentication_is_not_speculative() {
    let bench = Bench::good();
    let client = bench.machine(good);
    insert(&client).unwrap();
    bench.server.cut();
    // This connection sends the cached token with hello.
    while insert(&client).is_err() {}
    assert_eq!((bench.calls(), bench.server.count_of("saslStart")), (1, 1));
    bench.fail(1, &["insert"], doc! { "errorCode": 391 });
    insert(&client).unwrap();
    assert_eq!((bench.calls(), bench.server.count_of("saslStart")), (2, 2));
}

#[test]
fn a_cursor_continues_after_reauthentication() {
    let bench = Bench::good();
    let client = bench.machine(good);
    let things = (0..10)
        .map(|number| doc! { "n": number })
        .collect::<Vec<_>>();
    client
        .database("db")
        .run_command(doc! { "insert": "things", "documents": things })
        .unwrap();
    bench.fail(1, &["getMore"], doc! { "errorCode": 391 });
    let cursor = client
        .database("db")
        .run_cursor_command::<Document>(doc! { "find": "things", "batchSize": 4 });
    assert_eq!(cursor.unwrap().map(Result::unwrap).count(), 10);
    assert_eq!(bench.calls(), 2);
}

#[test]
fn an_unknown_oidc_user_fails_and_closes_the_connection() {
    let bench = Bench::good();
    let client = bench.machine(|number, _| {
        Ok(OidcToken::new(
            ["s3cret-good", "s3cret-bad"][number.min(2) - 1],
        ))
    });
    find(&client).unwrap();
    bench.ask_for_user();
    let error = refused(&client);
    assert_eq!(code(&error), CauseCode::AuthenticationFailed);
    crate::common::expect_program_open(&bench.server, 0);
    // A second request for reauthentication in one command is not answered again.
    bench.oidc.accept("s3cret-bad");
    find(&client).unwrap();
    bench.fail(2, &["find"], doc! { "errorCode": 391 });
    let error = find(&client).unwrap_err();
    assert_eq!(error.command().unwrap().code, 391);
    assert_eq!(error.stage(), Some(Stage::Command));
    find(&client).unwrap();
}

#[test]
fn hello_carries_a_token_that_is_kept_and_only_that() {
    let bench = Bench::good();
    let client = bench.machine(good);
    find(&client).unwrap();
    assert_eq!(bench.server.count_of("saslStart"), 1);
    bench.server.cut();
    let _ = find(&client);
    bench.fail(1, &["saslStart"], doc! { "errorCode": 18 });
    find(&client).unwrap();
    assert_eq!(bench.server.count_of("saslStart"), 1);
    let hellos: Vec<Document> = bench
        .server
        .commands()
        .into_iter()
        .filter(|command| command.name == "isMaster")
        .map(|command| command.body)
        .collect();
    assert!(!hellos[0].contains_key("speculativeAuthenticate"));
    let last = hellos
        .last()
        .unwrap()
        .get_document("speculativeAuthenticate")
        .unwrap();
    assert_eq!(last.get_str("mechanism").unwrap(), "MONGODB-OIDC");
    assert_eq!(last.get_str("db").unwrap(), "$external");
}

#[test]
fn a_token_that_says_when_it_ends_is_not_used_after() {
    let bench = Bench::good();
    let client = bench.machine(|number, _| {
        let time = [Duration::from_millis(1), Duration::ZERO][number.min(2) - 1];
        Ok(OidcToken::new("s3cret-good").expires_in(time))
    });
    find(&client).unwrap();
    // The token expires.
    thread::sleep(Duration::from_millis(2));
    for expected in [2, 2] {
        bench.server.cut();
        let _ = find(&client);
        find(&client).unwrap();
        assert_eq!(bench.calls(), expected);
    }
}

#[test]
fn a_callback_that_blocks_does_not_stretch_the_time_limit() {
    let bench = Bench::good();
    let (release, blocked) = mpsc::channel::<()>();
    let blocked = Mutex::new(blocked);
    let uri = bench.uri("", "connectTimeoutMS=300");
    let builder = ConnectionString::parse(&uri).unwrap().into_builder();
    let give = bench.counting(move |_, request| {
        let _ = blocked.lock().unwrap().recv();
        assert!(request.deadline < Instant::now());
        Ok(OidcToken::new("s3cret-good"))
    });
    let client = Client::with_options(builder.oidc_callback(give).build().unwrap()).unwrap();
    let error = at_limit(Duration::from_millis(300), || refused(&client));
    assert_eq!(code(&error), CauseCode::OidcCallbackFailed);
    assert!(
        error
            .to_string()
            .contains("did not end within 300 ms (connectTimeoutMS)"),
        "{error}"
    );
    // Still one call, whose token serves the next connection.
    release.send(()).unwrap();
    find(&client).unwrap();
    assert_eq!(bench.calls(), 1);
}

#[test]
fn calls_are_one_at_a_time_and_a_tenth_of_a_second_apart() {
    let bench = Bench::good();
    let running = Arc::new(AtomicUsize::new(0));
    let starts = Arc::new(Mutex::new(Vec::new()));
    let (at_once, when) = (Arc::clone(&running), Arc::clone(&starts));
    let client = bench.machine(move |_, _| {
        assert_eq!(at_once.fetch_add(1, Ordering::SeqCst), 0);
        when.lock().unwrap().push(Instant::now());
        thread::sleep(Duration::from_millis(5));
        at_once.fetch_sub(1, Ordering::SeqCst);
        Ok(OidcToken::new("s3cret-good"))
    });
    find(&client).unwrap();
    for _ in 0..3 {
        bench.ask_for_user();
        find(&client).unwrap();
    }
    let starts = starts.lock().unwrap();
    assert_eq!(starts.len(), 4);
    assert!(
        starts
            .windows(2)
            .all(|pair| pair[1] - pair[0] >= Duration::from_millis(100))
    );
}

#[test]
fn human_1_1_and_1_2_login_at_the_idp_of_the_server() {
    for user in ["", "ada@"] {
        let bench = Bench::good();
        find(&bench.human(user, refreshing)).unwrap();
        let expected = (!user.is_empty()).then(|| "ada".to_owned());
        assert_eq!(bench.oidc.principals(), std::slice::from_ref(&expected));
        let request = bench.calls.lock().unwrap()[0].clone();
        // 2.1
        assert_eq!((request.version, request.username), (1, expected));
        let limit = Duration::from_secs(300);
        assert!(request.timeout <= limit && request.timeout > limit - Duration::from_secs(5));
        let idp = request.idp_info.unwrap();
        assert_eq!(idp.issuer, "https://idp.example");
        assert_eq!(idp.client_id.as_deref(), Some("bench"));
        assert_eq!(idp.request_scopes, ["a", "b"]);
        assert!(request.refresh_token.is_none());
    }
}

/// A bench like a server with two identity providers: it needs a user to choose one, and each user has a token.
fn with_two_principals() -> Bench {
    let bench = Bench::new();
    bench.oidc.accept("s3cret-ada");
    bench.oidc.accept("s3cret-bob");
    bench
}

/// Returns the token of the user of the request.
fn of_user(_: usize, request: &OidcRequest) -> Result<OidcToken, OidcError> {
    let user = request.username.as_deref().ok_or("no user")?;
    Ok(OidcToken::new(format!("s3cret-{user}")))
}

#[test]
fn human_1_3_and_1_4_each_of_many_principals_logs_in() {
    for user in ["ada", "bob"] {
        let bench = with_two_principals();
        find(&bench.human(&format!("{user}@"), of_user)).unwrap();
        assert_eq!(bench.oidc.principals(), [Some(user.to_owned())]);
        assert_eq!(bench.calls(), 1);
    }
}

#[test]
fn human_1_5_many_principals_need_a_user() {
    let bench = with_two_principals();
    // As a server with several identity providers that cannot choose one.
    bench.fail(1, &["saslStart"], doc! { "errorCode": 18 });
    let error = refused(&bench.human("", of_user));
    assert_eq!(code(&error), CauseCode::AuthenticationFailed);
    assert_eq!(bench.calls(), 0, "no identity provider was named");
}

#[test]
fn human_1_7_allowed_hosts_in_a_connection_string_are_an_error() {
    let uri = "mongodb://example.com/?authMechanism=MONGODB-OIDC&authMechanismProperties=ALLOWED_HOSTS:%5B%22example.com%22%5D";
    let built = ConnectionString::parse(uri).and_then(|uri| {
        uri.into_builder()
            .oidc_human_callback(|_| unreachable!())
            .build()
    });
    let error = built.unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Configuration, "{error}");
    assert!(
        error.to_string().contains("authMechanismProperties"),
        "{error}"
    );
}

#[test]
fn human_1_8_an_idp_for_machines_names_no_client() {
    let bench = Bench::good();
    bench.oidc.set_idp(doc! { "issuer": "https://idp.example" });
    find(&bench.human("machine@", refreshing)).unwrap();
    let calls = bench.calls.lock().unwrap();
    assert_eq!(calls[0].idp_info.as_ref().unwrap().client_id, None);
}

#[test]
fn human_1_6_no_login_for_a_host_that_is_not_allowed() {
    for hosts in [&[][..], &["example.com"]] {
        let bench = Bench::good();
        let uri = bench.uri("", "");
        let builder = ConnectionString::parse(&uri).unwrap().into_builder();
        let builder = builder.oidc_human_callback(bench.counting(refreshing));
        let options = builder
            .oidc_allowed_hosts(hosts.iter().copied())
            .build()
            .unwrap();
        let error = refused(&Client::with_options(options).unwrap());
        assert_eq!(code(&error), CauseCode::OidcHostNotAllowed);
        assert!(error.to_string().contains("127.0.0.1"), "{error}");
        assert_eq!((bench.calls(), bench.oidc.principals().len()), (0, 0));
    }
}

#[test]
fn human_2_2_missing_fields_of_server_or_callback_fail() {
    let bench = Bench::good();
    let error = refused(&bench.human("", |_, _| Ok(OidcToken::new(""))));
    assert_eq!(code(&error), CauseCode::OidcCallbackFailed);
    bench.oidc.set_idp(doc! { "clientId": "x" });
    let error = refused(&bench.human("", refreshing));
    assert_eq!(code(&error), CauseCode::ServerNotProven);
    assert!(error.to_string().contains("it named no issuer"), "{error}");
}

#[test]
fn human_2_3_and_4_1_a_refresh_token_spares_the_person() {
    let bench = Bench::good();
    let client = bench.human("", refreshing);
    find(&client).unwrap();
    bench.ask_for_user();
    find(&client).unwrap();
    let calls = bench.calls.lock().unwrap();
    assert_eq!(calls.len(), 2);
    assert_eq!(
        calls[1].refresh_token.as_ref().unwrap().expose(),
        "s3cret-refresh"
    );
    assert_eq!(
        calls[1].idp_info.as_ref().unwrap().issuer,
        "https://idp.example"
    );
    // The server received one request for the identity provider.
    assert_eq!(bench.oidc.principals().len(), 1);
}

#[test]
fn human_3_1_a_cached_token_is_sent_with_hello() {
    let bench = Bench::good();
    let client = bench.human("", refreshing);
    bench.fail(1, &["find"], doc! { "closeConnection": true });
    assert_eq!(find(&client).unwrap_err().kind(), ErrorKind::Network);
    // A saslStart would fail now.
    bench.fail(1, &["saslStart"], doc! { "errorCode": 18 });
    find(&client).unwrap();
    assert_eq!(bench.calls(), 1);
}

#[test]
fn human_3_2_nothing_is_kept_at_first() {
    let bench = Bench::good();
    bench.fail(1, &["saslStart"], doc! { "errorCode": 18 });
    refused(&bench.human("", refreshing));
    assert_eq!(bench.calls(), 0);
}

#[test]
fn human_4_2_login_repeats_without_a_refresh_token() {
    let bench = Bench::good();
    let client = bench.human("", good);
    find(&client).unwrap();
    bench.ask_for_user();
    find(&client).unwrap();
    assert_eq!((bench.calls(), bench.oidc.principals().len()), (2, 2));
}

#[test]
fn human_4_3_a_refresh_in_vain_is_followed_by_the_person() {
    let bench = Bench::good();
    let client = bench.human("", refreshing);
    find(&client).unwrap();
    bench.fail(2, &["find", "saslStart"], doc! { "errorCode": 391 });
    find(&client).unwrap();
    assert_eq!((bench.calls(), bench.oidc.principals().len()), (3, 2));
    let used: Vec<bool> = bench
        .calls
        .lock()
        .unwrap()
        .iter()
        .map(|call| call.refresh_token.is_some())
        .collect();
    assert_eq!(used, [false, true, false]);
}

#[test]
fn a_failed_refresh_is_followed_by_a_login() {
    let bench = Bench::good();
    let client = bench.human("", |_, request| match &request.refresh_token {
        Some(_) => Err("the refresh token is too old".into()),
        None => Ok(OidcToken::new("s3cret-good").refresh_token("s3cret-refresh")),
    });
    find(&client).unwrap();
    bench.ask_for_user();
    find(&client).unwrap();
    assert_eq!((bench.calls(), bench.oidc.principals().len()), (3, 2));
}

#[test]
fn human_4_4_a_person_who_stays_unknown_is_an_error() {
    let bench = Bench::good();
    let client = bench.human("", refreshing);
    find(&client).unwrap();
    bench.fail(3, &["find", "saslStart"], doc! { "errorCode": 391 });
    refused(&client);
    assert_eq!(bench.calls(), 2);
}

#[test]
fn no_limit_counts_the_time_of_a_person() {
    let bench = Bench::good();
    let uri = bench.uri("", "connectTimeoutMS=200");
    let builder = ConnectionString::parse(&uri).unwrap().into_builder();
    let slow = bench.counting(|_, _| {
        thread::sleep(Duration::from_millis(500));
        Ok(OidcToken::new("s3cret-good"))
    });
    let client = Client::with_options(builder.oidc_human_callback(slow).build().unwrap()).unwrap();
    timed(Duration::from_millis(500), Duration::from_secs(5), || {
        find(&client).unwrap()
    });
}

/// A client with a built-in environment.
fn in_environment(bench: &Bench, user: &str, properties: &str, services: CloudServices) -> Client {
    let uri = bench.uri(user, &format!("authMechanismProperties={properties}"));
    let builder = ConnectionString::parse(&uri).unwrap().into_builder();
    Client::with_options(builder.cloud_services(services).build().unwrap()).unwrap()
}

fn services(variables: &[(&str, &str)]) -> CloudServices {
    let pairs = variables.iter();
    let variables = pairs.map(|(name, value)| ((*name).to_owned(), (*value).to_owned()));
    CloudServices {
        azure: "http://127.0.0.1:1".into(),
        gcp: "http://127.0.0.1:1".into(),
        kubernetes_token: "/nonexistent/token".into(),
        variables: Some(variables.collect::<BTreeMap<_, _>>()),
        ..CloudServices::default()
    }
}

#[test]
fn azure_gives_a_token_for_the_resource() {
    let bench = Bench::good();
    let azure = HttpServer::start(|request| {
        assert_eq!(request.header("Metadata"), Some("true"));
        assert_eq!(request.header("Accept"), Some("application/json"));
        Response::ok(r#"{"access_token":"s3cret-good","expires_in":"3599","token_type":"Bearer"}"#)
    });
    let mut services = services(&[]);
    services.azure = azure.url();
    let properties = "ENVIRONMENT:azure,TOKEN_RESOURCE:api%3A%2F%2Fa%26b%20c";
    find(&in_environment(
        &bench,
        "client%20id@",
        properties,
        services.clone(),
    ))
    .unwrap();
    find(&in_environment(&bench, "", properties, services.clone())).unwrap();
    let targets: Vec<String> = azure
        .requests()
        .iter()
        .map(|request| request.target.clone())
        .collect();
    let base =
        "/metadata/identity/oauth2/token?api-version=2018-02-01&resource=api%3A%2F%2Fa%26b%20c";
    assert_eq!(
        targets,
        [format!("{base}&client_id=client%20id"), base.to_owned()]
    );
    let refuses = HttpServer::start(|_| Response::status(400, "{\"error\":\"invalid_resource\"}"));
    services.azure = refuses.url();
    let error = refused(&in_environment(&bench, "", properties, services.clone()));
    assert_eq!(code(&error), CauseCode::CredentialServiceFailed);
    assert!(
        error
            .to_string()
            .contains("HTTP status 400: {\"error\":\"invalid_resource\"}"),
        "{error}"
    );
    let odd = HttpServer::start(|_| Response::ok("{\"access_token\":[\"s3cret\"]}"));
    services.azure = odd.url();
    let error = refused(&in_environment(&bench, "", properties, services));
    assert!(
        error.to_string().contains("without an access_token"),
        "{error}"
    );
}

#[test]
fn google_cloud_gives_a_token_for_the_audience() {
    let bench = Bench::good();
    let gcp = HttpServer::start(|request| {
        let path = "/computeMetadata/v1/instance/service-accounts/default/identity?audience=a%3Ab";
        assert_eq!(request.header("Metadata-Flavor"), Some("Google"));
        assert_eq!(request.target, path);
        Response::ok("s3cret-good\n")
    });
    let mut services = services(&[]);
    let properties = "ENVIRONMENT:gcp,TOKEN_RESOURCE:a:b";
    let error = refused(&in_environment(&bench, "", properties, services.clone()));
    assert_eq!(code(&error), CauseCode::CredentialServiceFailed);
    assert!(error.to_string().contains("cannot be reached"), "{error}");
    services.gcp = gcp.url();
    find(&in_environment(&bench, "", properties, services)).unwrap();
}

#[test]
fn kubernetes_has_the_token_in_a_file() {
    let bench = Bench::good();
    let dir = PkiDir::new();
    let file = dir.write("token", "s3cret-good\n");
    let path = file.to_str().unwrap();
    let other = dir.write("other", "s3cret-other");
    for (variable, value) in [
        ("AZURE_FEDERATED_TOKEN_FILE", path),
        ("AWS_WEB_IDENTITY_TOKEN_FILE", path),
    ] {
        let mut services = services(&[(variable, value)]);
        services.kubernetes_token.clone_from(&other);
        find(&in_environment(&bench, "", "ENVIRONMENT:k8s", services)).unwrap();
    }
    let mut services = services(&[]);
    services.kubernetes_token.clone_from(&file);
    find(&in_environment(
        &bench,
        "",
        "ENVIRONMENT:k8s",
        services.clone(),
    ))
    .unwrap();
    fs::remove_file(&file).unwrap();
    let error = refused(&in_environment(&bench, "", "ENVIRONMENT:k8s", services));
    assert_eq!(code(&error), CauseCode::CredentialServiceFailed);
    assert!(error.to_string().contains("cannot be read"), "{error}");
}

#[test]
fn a_token_file_that_never_ends_or_begins_ends_the_attempt() {
    let bench = Bench::good();
    let dir = PkiDir::new();
    let pipe = |name: &str| {
        let path = dir.path().join(name);
        let made = Command::new("mkfifo").arg(&path).status().unwrap();
        assert!(made.success());
        path
    };
    let fifo = pipe("silent");
    for (path, why) in [
        ("/dev/zero", "it is a device, not a file"),
        (
            fifo.to_str().unwrap(),
            "nothing more was written to it within ",
        ),
    ] {
        let mut services = services(&[]);
        services.kubernetes_token = path.into();
        let uri = bench.uri(
            "",
            "connectTimeoutMS=500&authMechanismProperties=ENVIRONMENT:k8s",
        );
        let builder = ConnectionString::parse(&uri).unwrap().into_builder();
        let options = builder.cloud_services(services).build().unwrap();
        let client = Client::with_options(options).unwrap();
        let error = timed(Duration::ZERO, Duration::from_secs(5), || refused(&client));
        let text = error.to_string();
        assert!(
            text.contains(why) || text.contains("did not end within"),
            "{text}"
        );
    }
    // A writer that starts in time is read. The first pipe may still have its reader.
    let fifo = pipe("written");
    let mut services = services(&[]);
    services.kubernetes_token = fifo.clone();
    let writer = thread::spawn(move || fs::write(fifo, "s3cret-good").unwrap());
    find(&in_environment(&bench, "", "ENVIRONMENT:k8s", services)).unwrap();
    writer.join().unwrap();
}

#[test]
fn an_environment_that_stalls_is_named_and_no_callback() {
    let bench = Bench::good();
    let stalls = HttpServer::start(|_| Response::ok("late").after(Duration::from_secs(60)));
    let mut services = services(&[]);
    services.azure = stalls.url();
    services.gcp = stalls.url();
    for (environment, name) in [("azure", "Azure"), ("gcp", "Google Cloud")] {
        let properties = format!("ENVIRONMENT:{environment},TOKEN_RESOURCE:x&connectTimeoutMS=300");
        let client = in_environment(&bench, "", &properties, services.clone());
        let error = at_limit(Duration::from_millis(300), || refused(&client));
        assert_eq!(code(&error), CauseCode::CredentialServiceFailed, "{error}");
        let said = format!("{name} gave no access token: ");
        assert!(error.to_string().contains(&said), "{error}");
        let remedy = error.cause().unwrap().remedy();
        assert!(!remedy.contains("callback"), "{remedy}");
    }
}

#[test]
fn the_test_environment_reads_the_file_that_the_variable_names() {
    let bench = Bench::good();
    let dir = PkiDir::new();
    let file = dir.write("token", "s3cret-good");
    let named = services(&[("OIDC_TOKEN_FILE", file.to_str().unwrap())]);
    find(&in_environment(&bench, "", "ENVIRONMENT:test", named)).unwrap();
    let error = refused(&in_environment(
        &bench,
        "",
        "ENVIRONMENT:test",
        services(&[]),
    ));
    assert!(
        error.to_string().contains("OIDC_TOKEN_FILE is not set"),
        "{error}"
    );
}

#[test]
fn options_show_no_token() {
    let options = ClientOptions::builder()
        .host(mongotls::ServerAddress::tcp("h", 1))
        .oidc_callback(|_| Ok(OidcToken::new("s3cret")))
        .build()
        .unwrap();
    assert!(!format!("{options:?}").contains("s3cret"));
    assert_eq!(options, options.clone());
}

#[test]
fn an_access_token_in_the_clear_is_warned_of() {
    let without =
        "mongodb://127.0.0.1:1/?authMechanism=MONGODB-OIDC&authMechanismProperties=ENVIRONMENT:k8s";
    let warning = "can read the access token";
    for (uri, expected) in [
        (without.to_owned(), true),
        (format!("{without}&tls=true"), false),
    ] {
        let run =
            crate::cli::mongotls_with(&["doctor", &uri], &[("MONGOTLS_LOG", "warn".as_ref())]);
        assert!(
            run.out.contains("connection-refused"),
            "{}{}",
            run.out,
            run.err
        );
        assert_eq!(run.out.contains(warning), expected, "{}", run.out);
        assert_eq!(run.err.contains(warning), expected, "{}", run.err);
    }
}
