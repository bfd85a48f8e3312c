//! `Client::close`, the snapshot, and the public view of the pool.

use std::io::Read;
use std::net::TcpListener;
use std::sync::{Arc, Mutex};
use std::thread;
use std::time::{Duration, Instant};

use mongotls::bson::doc;
use mongotls::bson::oid::ObjectId;
use mongotls::client::PoolState;
use mongotls::event::{ConnectionClosedReason, Event, EventKind, PoolEvent, PoolEventKind};
use mongotls::{Client, ConnectionString, Error, ErrorKind};
use mongotls_testbench::fault::Fault;
use mongotls_testbench::server::{Auth, Hello, Server, User, fail_command};

use crate::common::{expect_open, expect_ready, ping_on, plain_client, while_busy};
use crate::target::dial_anew;

type Seen = Arc<Mutex<Vec<PoolEvent>>>;

/// A client whose pool events are collected.
fn watched(uri: &str) -> (Client, Seen) {
    let seen = Seen::default();
    let store = Arc::clone(&seen);
    let builder = ConnectionString::parse(uri).unwrap().into_builder();
    let options = builder.event_listener_for(&[EventKind::Pool], move |event| {
        let Event::Pool(event) = event else {
            panic!("another kind was not asked for: {event:?}")
        };
        store.lock().unwrap().push(event.clone());
    });
    let client = Client::with_options(options.build().unwrap()).unwrap();
    (client, seen)
}

fn names(seen: &Seen) -> Vec<&'static str> {
    let seen = seen.lock().unwrap();
    seen.iter().map(|event| event.kind.name()).collect()
}

#[test]
fn a_command_has_events_from_check_out_to_check_in() {
    let server = Server::builder().start();
    let (client, seen) = watched(&format!("{}?maxPoolSize=7", server.uri()));
    ping_on(&client).unwrap();
    ping_on(&client).unwrap();
    drop(client);
    assert_eq!(
        names(&seen),
        [
            "ConnectionPoolCreated",
            "ConnectionPoolReady",
            "ConnectionCheckOutStarted",
            "ConnectionCreated",
            "ConnectionReady",
            "ConnectionCheckedOut",
            "ConnectionCheckedIn",
            "ConnectionCheckOutStarted",
            "ConnectionCheckedOut",
            "ConnectionCheckedIn",
            // The end of the sessions.
            "ConnectionCheckOutStarted",
            "ConnectionCheckedOut",
            "ConnectionCheckedIn",
            "ConnectionClosed",
            "ConnectionPoolClosed",
        ]
    );
    let seen = seen.lock().unwrap();
    let lines: Vec<String> = seen.iter().map(ToString::to_string).collect();
    let server = format!("127.0.0.1:{}", server.port());
    assert_eq!(
        lines[0],
        format!("Connection pool created for {server} using options maxPoolSize=7")
    );
    assert_eq!(
        lines[13],
        format!(
            "Connection closed: address={server}, driver-generated ID=1. Reason: Connection pool was closed"
        )
    );
    let (Some(established), Some(waited)) = (duration(&seen[4]), duration(&seen[5])) else {
        panic!("{seen:?}")
    };
    assert!(
        established <= waited,
        "the check-out includes the handshake"
    );
}

fn duration(event: &PoolEvent) -> Option<Duration> {
    match event.kind {
        PoolEventKind::ConnectionReady { duration, .. }
        | PoolEventKind::ConnectionCheckedOut { duration, .. } => Some(duration),
        _ => None,
    }
}

#[test]
fn a_snapshot_counts_what_is_there_and_who_waits() {
    let server = Server::builder().start();
    let client = plain_client(&server, "maxPoolSize=1&waitQueueTimeoutMS=10000");
    expect_ready(&client);
    let empty = client.snapshot().pools.remove(0);
    assert_eq!(
        (empty.state, empty.available, empty.in_use),
        (PoolState::Ready, 0, 0)
    );
    while_busy(&server, &client, || {
        let waiting = client.clone();
        let waiting = thread::spawn(move || ping_on(&waiting).map(drop));
        let until = Instant::now() + Duration::from_secs(10);
        loop {
            let pool = client.snapshot().pools.remove(0);
            assert_eq!((pool.available, pool.in_use, pool.pending), (0, 1, 0));
            if pool.waiting == 1 {
                break;
            }
            assert!(Instant::now() < until, "{pool:?}");
            thread::yield_now();
        }
        drop(waiting);
    });
    let until = Instant::now() + Duration::from_secs(10);
    loop {
        let pool = client.snapshot().pools.remove(0);
        if (pool.available, pool.in_use, pool.pending, pool.waiting) == (1, 0, 0, 0) {
            break;
        }
        assert!(Instant::now() < until, "{pool:?}");
        thread::yield_now();
    }
    let snapshot = client.snapshot();
    assert_eq!(
        (snapshot.full_handshakes, snapshot.resumed_handshakes),
        (0, 0)
    );
}

fn is_closed(error: &Error) -> bool {
    error.kind() == ErrorKind::ClientClosed && error.to_string().contains("the client is closed")
}

#[test]
fn a_closed_client_has_no_connections() {
    let server = Server::builder().start();
    let client = plain_client(&server, "minPoolSize=2");
    ping_on(&client).unwrap();
    let clone = client.clone();
    assert!(client.close(Duration::from_secs(5)).is_empty());
    expect_open(&server, 0);
    for client in [&client, &clone] {
        assert!(is_closed(&ping_on(client).unwrap_err()));
    }
    assert_eq!(client.snapshot().pools[0].state, PoolState::Closed);
    // A second call is no error, and does not wait.
    assert!(clone.close(Duration::MAX).is_empty());
}

#[test]
fn close_waits_for_connections_in_use() {
    let server = Server::builder().start();
    let client = plain_client(&server, "");
    let blocks = doc! { "blockConnection": true, "blockTimeMS": 300 };
    server.configure_fail_point(&fail_command(1, &["ping"], blocks));
    let busy = client.clone();
    let busy = thread::spawn(move || ping_on(&busy).map(drop));
    assert!(
        server.wait_until(Duration::from_secs(10), |server| server.count_of("ping")
            == 1)
    );
    let started = Instant::now();
    assert!(client.close(Duration::from_secs(10)).is_empty());
    assert!(
        started.elapsed() < Duration::from_secs(8),
        "it ends when the command does"
    );
    busy.join().unwrap().expect("the command goes on");
    expect_open(&server, 0);
}

#[test]
fn close_waits_at_most_its_limit_and_reports_use() {
    let server = Server::builder().start();
    let client = plain_client(&server, "");
    while_busy(&server, &client, || {
        let started = Instant::now();
        let in_use = client.close(Duration::from_millis(100));
        let took = started.elapsed();
        assert!((100..2000).contains(&took.as_millis()), "{took:?}");
        let [in_use] = in_use.as_slice() else {
            panic!("{in_use:?}")
        };
        assert_eq!(
            (&in_use.server, in_use.connection_id),
            (&client.options().hosts()[0], 1)
        );
        assert!(in_use.held_for >= Duration::from_millis(100));
        let text = in_use.to_string();
        let expected = format!("connection 1 to 127.0.0.1:{}, for ", server.port());
        assert!(text.starts_with(&expected), "{text}");
    });
    expect_open(&server, 0);
}

#[test]
fn close_aborts_waits_and_connection_attempts() {
    let server = Server::builder().start();
    let options = "maxPoolSize=1&connectTimeoutMS=60000&serverMonitoringMode=poll";
    let client = plain_client(&server, options);
    expect_ready(&client);
    dial_anew(&client);
    server.faults().next(1, Fault::stall_after(0));
    let ping = |client: &Client| {
        let client = client.clone();
        thread::spawn(move || ping_on(&client).unwrap_err())
    };
    let dials = ping(&client);
    assert!(
        server.wait_until(Duration::from_secs(10), |server| server.counts().accepted
            == 2)
    );
    let waits = ping(&client);
    while client.snapshot().pools[0].waiting == 0 {
        thread::yield_now();
    }
    let started = Instant::now();
    assert!(client.close(Duration::from_secs(30)).is_empty());
    for thread in [dials, waits] {
        let error = thread.join().unwrap();
        assert!(is_closed(&error), "{error:?}");
    }
    assert!(started.elapsed() < Duration::from_secs(10));
}

#[test]
fn close_aborts_server_selection_and_monitor_attempts() {
    let silent = TcpListener::bind("127.0.0.1:0").unwrap();
    let host = silent.local_addr().unwrap();
    let client = Client::connect(&format!("mongodb://{host}/?connectTimeoutMS=60000")).unwrap();
    let waits = client.clone();
    let waits = thread::spawn(move || ping_on(&waits).unwrap_err());
    let (mut monitor, _) = silent.accept().unwrap();
    let started = Instant::now();
    assert!(client.close(Duration::from_secs(30)).is_empty());
    let error = waits.join().unwrap();
    assert!(is_closed(&error), "{error:?}");
    // Its connection ends, after the hello without a reply.
    monitor
        .set_read_timeout(Some(Duration::from_secs(10)))
        .unwrap();
    let mut hello = Vec::new();
    monitor.read_to_end(&mut hello).unwrap();
    assert!(started.elapsed() < Duration::from_secs(10));
}

#[test]
fn behind_a_load_balancer_a_failure_clears_one_service() {
    let hello = |service: ObjectId| {
        let mut hello = Hello::mongos();
        hello.extra = doc! { "serviceId": service };
        hello
    };
    let services = [ObjectId::new(), ObjectId::new()];
    let server = Server::builder().hello(hello(services[0])).start();
    let (client, seen) = watched(&format!("{}?loadBalanced=true", server.uri()));
    // Two connections to the first service, and one to the second.
    let three = doc! { "blockConnection": true, "blockTimeMS": 200 };
    server.configure_fail_point(&fail_command(3, &["benchEcho"], three));
    thread::scope(|scope| {
        let echo = || client.database("db").run_command(doc! { "benchEcho": 1 });
        scope.spawn(echo);
        scope.spawn(echo);
        assert!(server.wait_until(
            Duration::from_secs(10),
            |server| server.count_of("benchEcho") == 2
        ));
        server.set_hello(|own| *own = hello(services[1]));
        scope.spawn(echo);
    });
    assert_eq!(client.snapshot().pools[0].available, 3);
    // The newest is the one to the second service, unless it was returned first; ping until a connection to the first
    // one has failed.
    let close = doc! { "closeConnection": true };
    server.configure_fail_point(&fail_command(1, &["ping"], close));
    ping_on(&client).unwrap_err();
    let cleared: Vec<ObjectId> = {
        let seen = seen.lock().unwrap();
        let service = |event: &PoolEvent| match event.kind {
            PoolEventKind::Cleared { service_id, .. } => service_id,
            _ => None,
        };
        seen.iter().filter_map(service).collect()
    };
    let [cleared] = cleared.as_slice() else {
        panic!("{:?}", names(&seen))
    };
    let left = if *cleared == services[0] { 1 } else { 2 };
    let pool = client.snapshot().pools.remove(0);
    assert_eq!((pool.state, pool.available), (PoolState::Ready, left));
    ping_on(&client).unwrap();
    assert_eq!(
        server.counts().accepted,
        3,
        "the other service's connection is used"
    );
}

/// After the reply to hello the service is known, so that a rejected user is an informative error.
#[test]
fn a_rejected_user_clears_only_its_load_balanced_service() {
    let service = ObjectId::new();
    let mut hello = Hello::mongos();
    hello.extra = doc! { "serviceId": service };
    let auth = Auth::new().user(User::new("admin", "ada", "pencil"));
    let server = Server::builder().hello(hello).auth(auth).start();
    let host = format!("127.0.0.1:{}", server.port());
    let (client, seen) = watched(&format!("mongodb://ada:pencil@{host}/?loadBalanced=true"));
    let cleared = || -> Vec<Option<ObjectId>> {
        let seen = seen.lock().unwrap();
        let service = |event: &PoolEvent| match event.kind {
            PoolEventKind::Cleared { service_id, .. } => Some(service_id),
            _ => None,
        };
        seen.iter().filter_map(service).collect()
    };
    while_busy(&server, &client, || {
        for (command, expected) in [("hello", vec![]), ("saslContinue", vec![Some(service)])] {
            let refuse = doc! { "errorCode": 18 };
            server.configure_fail_point(&fail_command(1, &[command], refuse));
            let error = ping_on(&client).unwrap_err();
            assert!(error.to_string().contains("failCommand"), "{error}");
            assert_eq!(cleared(), expected, "{command}");
        }
    });
    // The connection that was in use then is stale.
    let pool = client.snapshot().pools.remove(0);
    assert_eq!((pool.state, pool.available), (PoolState::Ready, 0));
    ping_on(&client).unwrap();
}

#[test]
fn the_pool_keeps_min_pool_size_and_closes_idle_ones() {
    let server = Server::builder().start();
    let (client, seen) = watched(&format!("{}?minPoolSize=3&maxIdleTimeMS=200", server.uri()));
    // One more is the monitor's.
    assert!(server.wait_until(Duration::from_secs(10), |server| server.counts().open == 4));
    // Other connections replace those that were idle for too long.
    assert!(
        server.wait_until(Duration::from_secs(10), |server| server.counts().accepted
            >= 7)
    );
    drop(client);
    expect_open(&server, 0);
    let seen = seen.lock().unwrap();
    let idle = seen.iter().filter(|event| {
        matches!(
            event.kind,
            PoolEventKind::ConnectionClosed {
                reason: ConnectionClosedReason::Idle,
                ..
            }
        )
    });
    assert!(idle.count() >= 3);
}
