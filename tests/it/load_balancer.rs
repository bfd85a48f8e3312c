//! Clients behind a load balancer: pinned connections, their events and their count, and errors that concern one service.
//! Source: "Load Balancer Support".

use std::sync::{Arc, Mutex};

use mongotls::bson::oid::ObjectId;
use mongotls::bson::{Document, doc, rawdoc};
use mongotls::event::{Event, EventKind, PoolEventKind};
use mongotls::{CauseCode, Client, Command, ConnectionString, Cursor, ErrorKind};
use mongotls_testbench::server::{Auth, Hello, Server, ServerBuilder, User, fail_command};

use crate::common::{code, ping_on};

/// A router that names its service, as behind a load balancer.
fn service() -> (ServerBuilder, ObjectId) {
    let id = ObjectId::new();
    let mut hello = Hello::mongos();
    hello.extra.insert("serviceId", id);
    (Server::builder().hello(hello), id)
}

type Seen = Arc<Mutex<Vec<PoolEventKind>>>;

/// A client with `loadBalanced=true`, and the events of its pool.
fn client(uri: &str, options: &str) -> (Client, Seen) {
    let seen = Seen::default();
    let store = Arc::clone(&seen);
    let uri = format!("{uri}?loadBalanced=true&{options}");
    let builder = ConnectionString::parse(&uri).unwrap().into_builder();
    let options = builder.event_listener_for(&[EventKind::Pool], move |event| {
        if let Event::Pool(event) = event {
            store.lock().unwrap().push(event.kind.clone());
        }
    });
    let client = Client::with_options(options.build().unwrap()).unwrap();
    (client, seen)
}

/// The names of the events since the last call, without the prefix `Connection`.
fn names(seen: &Seen) -> Vec<String> {
    let events = std::mem::take(&mut *seen.lock().unwrap());
    let names = events.iter().map(|kind| match kind {
        PoolEventKind::ConnectionClosed { reason, .. } => format!("Closed: {}", reason.as_str()),
        kind => kind.name().trim_start_matches("Connection").to_owned(),
    });
    names.collect()
}

fn fill(client: &Client) {
    let things = (0..30).map(|id| rawdoc! { "_id": id });
    let insert = Command::from(doc! { "insert": "things" }).documents("documents", things);
    client.database("db").run_command(insert).unwrap();
}

fn open(client: &Client) -> Cursor<Document> {
    let find = doc! { "find": "things", "batchSize": 10 };
    client.database("db").run_cursor_command(find).unwrap()
}

fn in_use(client: &Client) -> usize {
    client.snapshot().pools[0].in_use
}

/// "Initial Handshake Errors": the service is known after hello, before the first connection to it is established.
#[test]
fn an_authentication_error_on_the_first_connection_clears_its_service() {
    let (builder, service) = service();
    let auth = Auth::new().user(User::new("admin", "ada", "pencil"));
    let server = builder.auth(auth).start();
    let uri = format!("mongodb://ada:wrong@{}/", server.addr());
    let (client, seen) = client(&uri, "");
    let error = ping_on(&client).unwrap_err();
    assert_eq!(code(&error), CauseCode::AuthenticationFailed, "{error}");
    let events = seen.lock().unwrap().clone();
    let cleared: Vec<_> = events
        .iter()
        .filter_map(|kind| match kind {
            PoolEventKind::Cleared {
                service_id,
                interrupt_in_use_connections,
            } => Some((*service_id, *interrupt_in_use_connections)),
            _ => None,
        })
        .collect();
    assert_eq!(cleared, [(Some(service), false)]);
    assert_eq!(
        names(&seen),
        [
            "PoolCreated",
            "PoolReady",
            "CheckOutStarted",
            "Created",
            "PoolCleared",
            "Closed: error",
            "CheckOutFailed"
        ]
    );
    let snapshot = client.snapshot();
    let known = snapshot.topology.servers.values().next().unwrap();
    assert_eq!(known.server_type.as_str(), "LoadBalancer");
    assert!(known.error.is_none());
    // Each attempt clears the service again, because no connection to it was left.
    ping_on(&client).unwrap_err();
    assert!(names(&seen).contains(&"PoolCleared".to_owned()));
}

/// "Initial Handshake Errors": errors before the end of hello are ignored.
#[test]
fn an_error_during_hello_clears_nothing() {
    let (builder, _) = service();
    let server = builder.start();
    let refusal = doc! { "errorCode": 11600 };
    server.configure_fail_point(&fail_command(1, &["hello", "isMaster"], refusal));
    let (client, seen) = client(&server.uri(), "");
    ping_on(&client).unwrap_err();
    assert_eq!(
        names(&seen)[2..],
        [
            "CheckOutStarted",
            "Created",
            "Closed: error",
            "CheckOutFailed"
        ]
    );
    ping_on(&client).unwrap();
}

/// "Connection Tracking".
#[test]
fn a_wait_queue_timeout_names_the_uses_of_connections() {
    let (builder, _) = service();
    let server = builder.start();
    let (client, _) = client(&server.uri(), "maxPoolSize=2&waitQueueTimeoutMS=50");
    fill(&client);
    let expected = |cursors: usize, others: usize| {
        format!(
            "Timeout waiting for connection from the connection pool. maxPoolSize: 2, connections in use by cursors: \
             {cursors}, connections in use by transactions: 0, connections in use by other operations: {others}"
        )
    };
    let (one, two) = (open(&client), open(&client));
    let error = ping_on(&client).unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Timeout);
    assert!(error.to_string().contains(&expected(2, 0)), "{error}");
    // An operation has the connection of the first cursor.
    drop(one);
    let blocks = doc! { "blockConnection": true, "blockTimeMS": 1000 };
    server.configure_fail_point(&fail_command(1, &["ping"], blocks));
    std::thread::scope(|scope| {
        scope.spawn(|| ping_on(&client).unwrap());
        assert!(server.wait_until(crate::target::FAR, |server| server.count_of("ping") == 1));
        let error = ping_on(&client).unwrap_err();
        assert!(error.to_string().contains(&expected(1, 1)), "{error}");
    });
    drop(two);
    ping_on(&client).unwrap();
}

/// "Connection Pinning": one check-out and one check-in for all commands of a cursor.
#[test]
fn a_cursor_is_checked_out_and_in_once() {
    let (builder, _) = service();
    let server = builder.start();
    let (client, seen) = client(&server.uri(), "");
    fill(&client);
    names(&seen);
    let pair = ["CheckOutStarted", "CheckedOut", "CheckedIn"];
    let drained = open(&client);
    assert_eq!(in_use(&client), 1);
    assert_eq!(drained.map(Result::unwrap).count(), 30);
    assert_eq!((server.count_of("getMore"), in_use(&client)), (1, 0));
    assert_eq!(names(&seen), pair);
    let mut closed = open(&client);
    assert!(closed.advance().unwrap());
    drop(closed);
    assert_eq!((server.count_of("killCursors"), in_use(&client)), (1, 0));
    assert_eq!(names(&seen), pair);
    // All documents in the first batch.
    let find = doc! { "find": "things", "batchSize": 101 };
    let _complete: Cursor<Document> = client.database("db").run_cursor_command(find).unwrap();
    assert_eq!(in_use(&client), 0);
    assert_eq!(names(&seen), pair);
}

/// "Behaviour With Cursors": a network error leaves the connection pinned, and no `killCursors` follows.
#[test]
fn a_network_error_of_a_batch_leaves_the_connection_pinned() {
    let (builder, _) = service();
    let server = builder.start();
    let (client, seen) = client(&server.uri(), "");
    fill(&client);
    let close = doc! { "closeConnection": true };
    server.configure_fail_point(&fail_command(1, &["getMore"], close));
    let mut cursor = open(&client);
    names(&seen);
    let outcomes: Vec<_> = cursor.by_ref().take(11).collect();
    let error = outcomes[10].as_ref().unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Network, "{error}");
    assert!(cursor.next().is_none());
    assert_eq!(in_use(&client), 1);
    assert_eq!(names(&seen), ["PoolCleared"]);
    drop(cursor);
    assert_eq!(in_use(&client), 0);
    assert_eq!(names(&seen), ["CheckedIn", "Closed: error"]);
    assert_eq!(server.count_of("killCursors"), 0);
}

/// "Behaviour With Cursors": the connection is checked in regardless of the result of `killCursors`.
#[test]
fn a_failed_kill_cursors_returns_the_connection() {
    let (builder, _) = service();
    let server = builder.start();
    let (client, seen) = client(&server.uri(), "");
    fill(&client);
    for (data, expected) in [
        (doc! { "errorCode": 1 }, vec!["CheckedIn"]),
        (
            doc! { "closeConnection": true },
            vec!["PoolCleared", "CheckedIn", "Closed: error"],
        ),
    ] {
        server.configure_fail_point(&fail_command(1, &["killCursors"], data));
        let cursor = open(&client);
        names(&seen);
        drop(cursor);
        assert_eq!(names(&seen), expected);
        assert_eq!(in_use(&client), 0);
    }
}

/// An error of a batch that is not of the network: `killCursors` closes the cursor on the same connection.
#[test]
fn a_refused_batch_leaves_the_cursor_to_be_closed() {
    let (builder, _) = service();
    let server = builder.start();
    let (client, seen) = client(&server.uri(), "");
    fill(&client);
    // The server has lost the cursor with the second error, so there is nothing to close.
    for (error_code, killed) in [(1, 1), (43, 0)] {
        server.forget_commands();
        let refusal = doc! { "errorCode": error_code };
        server.configure_fail_point(&fail_command(1, &["getMore"], refusal));
        let mut cursor = open(&client);
        names(&seen);
        let error = cursor.find_map(Result::err).unwrap();
        assert_eq!(error.command().unwrap().code, error_code);
        drop(cursor);
        assert_eq!(names(&seen), ["CheckedIn"], "{error_code}");
        let commands = server.commands_named("killCursors");
        assert_eq!(commands.len(), killed, "{error_code}");
        let pinned = server.commands_named("find")[0].connection;
        assert!(commands.iter().all(|command| command.connection == pinned));
    }
}
