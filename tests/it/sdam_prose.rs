//! The prose tests of "Server Discovery and Monitoring" and of "Connection Monitoring and Pooling", by their names.
//!
//! The other specifications' are beside their subjects: SRV polling in `src/srv/polling.rs`, "Initial DNS Seedlist
//! Discovery" in `srv.rs`.

use std::io::Read;
use std::net::TcpListener;
use std::sync::{Arc, Mutex};
use std::thread;
use std::time::{Duration, Instant};

use mongotls::bson::doc;
use mongotls::event::{
    ConnectionCheckOutFailedReason, Event, EventKind, PoolEventKind, PoolOptions, SdamEventKind,
};
use mongotls::{Client, ConnectionString, Error};
use mongotls_testbench::server::{Hello, Role, Server};

use crate::common::ping_on;

type Seen<T> = Arc<Mutex<Vec<T>>>;

/// A client with a listener for events of this kind; `select` returns what to keep of them.
fn listening<T: Send + 'static>(
    uri: &str,
    kind: EventKind,
    select: impl Fn(&Event) -> Option<T> + Send + Sync + 'static,
) -> Result<(Client, Seen<T>), Error> {
    let seen = Seen::<T>::default();
    let store = Arc::clone(&seen);
    let builder = ConnectionString::parse(uri)?.into_builder();
    let options = builder.event_listener_for(&[kind], move |event| {
        if let Some(selected) = select(event) {
            store.lock().unwrap().push(selected);
        }
    });
    Ok((Client::with_options(options.build()?)?, seen))
}

/// A standalone server, a replica set of one member, and a router.
fn deployments() -> [Server; 3] {
    let member = Server::builder().start();
    let address = member.addr().to_string();
    member.set_hello(|hello| *hello = Hello::member(Role::Primary, "rs0", &address, &[&address]));
    let router = Server::builder().hello(Hello::mongos()).start();
    [Server::builder().start(), member, router]
}

// --- Server Discovery and Monitoring ---

/// "Streaming protocol Tests", 1.
#[test]
fn streaming_1_heartbeats_are_as_frequent_as_the_option_says() {
    for server in deployments() {
        let uri = format!("{}?heartbeatFrequencyMS=500", server.uri());
        let succeeded = |event: &Event| match event {
            Event::Sdam(event) => match event.kind {
                SdamEventKind::ServerHeartbeatSucceeded { awaited, .. } => {
                    Some((Instant::now(), awaited))
                }
                _ => None,
            },
            _ => None,
        };
        let (client, seen) = listening(&uri, EventKind::Sdam, succeeded).unwrap();
        ping_on(&client).unwrap();
        thread::sleep(Duration::from_millis(2800));
        let seen = seen.lock().unwrap().clone();
        let awaited: Vec<_> = seen.iter().filter(|(_, awaited)| *awaited).collect();
        // About five fit; the default interval of 10 s would leave none.
        assert!((2..=6).contains(&awaited.len()), "{seen:?}");
        for pair in awaited.windows(2) {
            let pause = pair[1].0 - pair[0].0;
            assert!(pause >= Duration::from_millis(400), "{pause:?}");
        }
    }
}

/// "RTT Tests", 1: "Test that RTT is continuously updated".
#[test]
fn rtt_1_is_continuously_updated() {
    let server = Server::builder().start();
    let uri = format!(
        "{}?heartbeatFrequencyMS=500&appName=streamingRttTest",
        server.uri()
    );
    let changed = |event: &Event| match event {
        Event::Sdam(event) => match &event.kind {
            SdamEventKind::ServerDescriptionChanged { new, .. } => Some(new.round_trip_time),
            _ => None,
        },
        _ => None,
    };
    let (client, seen) = listening(&uri, EventKind::Sdam, changed).unwrap();
    let find = doc! { "find": "things" };
    client.database("db").run_command(find).unwrap();
    thread::sleep(Duration::from_secs(2));
    let seen = seen.lock().unwrap().clone();
    assert!(!seen.is_empty());
    for time in seen {
        assert!(time.is_some_and(|time| !time.is_zero()), "{time:?}");
    }
    let fail_point = |mode: mongotls::bson::Bson| {
        doc! {
            "configureFailPoint": "failCommand",
            "mode": mode,
            "data": {
                "failCommands": ["hello", "isMaster"],
                "blockConnection": true,
                "blockTimeMS": 500,
                "appName": "streamingRttTest",
            },
        }
    };
    server.configure_fail_point(&fail_point(doc! { "times": 1000 }.into()));
    let started = Instant::now();
    loop {
        let snapshot = client.snapshot();
        let known = snapshot.topology.servers.values().next().unwrap();
        if known.round_trip_time > Some(Duration::from_millis(250)) {
            break;
        }
        assert!(started.elapsed() < Duration::from_secs(10), "{known:?}");
        thread::sleep(Duration::from_millis(20));
    }
    server.configure_fail_point(&fail_point("off".into()));
}

/// "Heartbeat Tests", 1: "Test that `ServerHeartbeatStartedEvent` is emitted before the monitoring socket was created".
#[test]
fn heartbeat_1_starts_before_the_socket_is_created() {
    let events = Seen::<&'static str>::default();
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = listener.local_addr().unwrap();
    let of_server = Arc::clone(&events);
    thread::spawn(move || {
        for stream in listener.incoming() {
            let Ok(mut stream) = stream else { return };
            of_server.lock().unwrap().push("client connected");
            let mut byte = [0];
            if stream.read_exact(&mut byte).is_ok() {
                of_server.lock().unwrap().push("client hello received");
            }
        }
    });
    let of_client = Arc::clone(&events);
    let note = move |event: &Event| {
        if let Event::Sdam(event) = event {
            let name = event.kind.name();
            if name.starts_with("ServerHeartbeat") {
                of_client.lock().unwrap().push(name);
            }
        }
        None::<()>
    };
    let uri = format!("mongodb://{address}/?serverSelectionTimeoutMS=500");
    let (client, _) = listening(&uri, EventKind::Sdam, note).unwrap();
    ping_on(&client).unwrap_err();
    let events = events.lock().unwrap().clone();
    assert_eq!(
        events[..4],
        [
            "ServerHeartbeatStarted",
            "client connected",
            "client hello received",
            "ServerHeartbeatFailed"
        ]
    );
}

// --- Connection Monitoring and Pooling ---

/// Options other than the defaults.
const POOL_OPTIONS: &str =
    "maxPoolSize=7&minPoolSize=1&maxIdleTimeMS=9000&maxConnecting=3&waitQueueTimeoutMS=800";

/// CMAP, 1: "All ConnectionPoolOptions MUST be specified at the MongoClient level"; 3: "A user MUST be able to specify all
/// ConnectionPoolOptions via a URI string".
#[test]
fn cmap_1_and_3_the_options_belong_to_the_client_and_its_connection_string() {
    let uri = format!("mongodb://127.0.0.1:1/?{POOL_OPTIONS}");
    let from_uri = ConnectionString::parse(&uri).unwrap().into_builder();
    let by_builder = ConnectionString::parse("mongodb://127.0.0.1:1")
        .unwrap()
        .into_builder()
        .max_pool_size(7)
        .min_pool_size(1)
        .max_idle_time(Duration::from_secs(9))
        .max_connecting(3)
        .wait_queue_timeout(Duration::from_millis(800));
    for builder in [from_uri, by_builder] {
        let client = Client::with_options(builder.build().unwrap()).unwrap();
        let options = client.options();
        assert_eq!((options.max_pool_size(), options.min_pool_size()), (7, 1));
        assert_eq!(options.max_connecting(), 3);
        assert_eq!(options.max_idle_time(), Some(Duration::from_secs(9)));
        let wait = Some(Duration::from_millis(800));
        assert_eq!(options.wait_queue_timeout(), wait);
    }
}

/// CMAP, 2: "All ConnectionPoolOptions MUST be the same for all pools created by a MongoClient"; 4: "A user MUST be able
/// to subscribe to Connection Monitoring Events".
#[test]
fn cmap_2_and_4_all_pools_have_the_same_options_and_events_show_them() {
    let routers = [(), ()].map(|()| Server::builder().hello(Hello::mongos()).start());
    let hosts = routers.each_ref().map(|router| router.addr().to_string());
    let uri = format!("mongodb://{}/?{POOL_OPTIONS}", hosts.join(","));
    let created = |event: &Event| match event {
        Event::Pool(event) => match &event.kind {
            PoolEventKind::Created { options } => Some((event.server.to_string(), options.clone())),
            _ => None,
        },
        _ => None,
    };
    let (client, seen) = listening(&uri, EventKind::Pool, created).unwrap();
    ping_on(&client).unwrap();
    let mut seen: Vec<(String, PoolOptions)> = seen.lock().unwrap().clone();
    seen.sort_by(|one, two| one.0.cmp(&two.0));
    let mut expected = hosts.to_vec();
    expected.sort();
    let servers: Vec<_> = seen.iter().map(|(server, _)| server.clone()).collect();
    assert_eq!(servers, expected);
    for (_, options) in &seen {
        assert_eq!(options, &seen[0].1);
        assert_eq!(
            (options.max_pool_size, options.min_pool_size),
            (Some(7), Some(1))
        );
        assert_eq!(options.max_connecting, Some(3));
        assert_eq!(options.max_idle_time, Some(Duration::from_secs(9)));
        assert_eq!(options.wait_queue_timeout, Some(Duration::from_millis(800)));
    }
}

/// CMAP, 5: "When a check out attempt fails because connection set up throws an error, assert that a
/// ConnectionCheckOutFailedEvent with reason="connectionError" is emitted".
#[test]
fn cmap_5_a_failed_connection_set_up_fails_the_check_out() {
    let auth = mongotls_testbench::server::Auth::new();
    let server = Server::builder().auth(auth).start();
    let uri = format!("mongodb://ada:pencil@{}/", server.addr());
    let failed = |event: &Event| match event {
        Event::Pool(event) => match &event.kind {
            PoolEventKind::ConnectionCheckOutFailed { reason, error, .. } => {
                Some((*reason, error.to_string()))
            }
            _ => None,
        },
        _ => None,
    };
    let (client, seen) = listening(&uri, EventKind::Pool, failed).unwrap();
    let error = ping_on(&client).unwrap_err();
    let expected = ConnectionCheckOutFailedReason::ConnectionError;
    assert_eq!(*seen.lock().unwrap(), [(expected, error.to_string())]);
}
