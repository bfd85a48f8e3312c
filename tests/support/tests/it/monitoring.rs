//! The properties of the bench server that monitors rely on: awaitable and streaming hello, and fail points on both.

use bson::oid::ObjectId;
use bson::{Document, doc};
use mongotls_testbench::client::RawClient;
use mongotls_testbench::server::{Hello, Role, Server, fail_command};
use mongotls_testbench::wire::{EXHAUST_ALLOWED, MORE_TO_COME, Msg, OP_MSG};
use std::net::TcpStream;
use std::time::{Duration, Instant};

const SOON: Duration = Duration::from_secs(5);
const LONG: i64 = 60_000;
/// More answers than a stream that is about to end can have.
const MANY: usize = 200;

fn server() -> (Server, RawClient<TcpStream>, Document) {
    let server = Server::builder().start();
    let mut client = RawClient::connect(server.addr()).unwrap();
    let hello = doc! { "hello": 1, "client": { "application": { "name": "app" } } };
    let first = client.command("admin", hello).unwrap();
    let version = first.get_document("topologyVersion").unwrap().clone();
    (server, client, version)
}

fn awaitable(version: &Document, limit: i64) -> Document {
    doc! { "hello": 1, "topologyVersion": version.clone(), "maxAwaitTimeMS": limit }
}

fn stream(client: &mut RawClient<TcpStream>, version: &Document, limit: i64) {
    let mut msg = Msg::of(awaitable(version, limit));
    msg.body.insert("$db", "admin");
    msg.flags = EXHAUST_ALLOWED;
    client.send(OP_MSG, msg.encode()).unwrap();
}

fn next(client: &mut RawClient<TcpStream>) -> std::io::Result<Msg> {
    Msg::decode(&client.receive()?.payload)
}

fn expect_end(client: &mut RawClient<TcpStream>) {
    let ended = (0..MANY).any(|_| next(client).is_err());
    assert!(ended, "the stream goes on");
}

/// A version that differs from this one in this field.
fn other(version: &Document, key: &str, value: impl Into<bson::Bson>) -> Document {
    let mut other = version.clone();
    other.insert(key, value);
    other
}

#[test]
fn awaitable_hello_is_answered_at_its_limit_or_at_a_change() {
    let (_server, mut client, version) = server();
    let begun = Instant::now();
    let reply = client.command("admin", awaitable(&version, 100)).unwrap();
    assert!(begun.elapsed() >= Duration::from_millis(100));
    assert_eq!(*reply.get_document("topologyVersion").unwrap(), version);

    let begun = Instant::now();
    // Its counter has no meaning for another process, even if it is greater.
    for counter in [0_i64, 7] {
        let process = other(&version, "processId", ObjectId::new());
        let unknown = awaitable(&other(&process, "counter", counter), LONG);
        let reply = client.command("admin", unknown).unwrap();
        assert_eq!(*reply.get_document("topologyVersion").unwrap(), version);
    }
    let older = awaitable(&other(&version, "counter", -1_i64), LONG);
    client.command("admin", older).unwrap();
    assert!(begun.elapsed() < SOON);
}

#[test]
fn an_awaitable_hello_that_makes_no_sense_is_an_error() {
    let (_server, mut client, version) = server();
    let mut refusal = |hello: Document| {
        let reply = client.command("admin", hello).unwrap();
        assert_eq!(reply.get_f64("ok").unwrap(), 0.0);
        reply.get_i32("code").unwrap()
    };
    let alone = doc! { "hello": 1, "topologyVersion": version.clone() };
    assert_eq!(refusal(alone), 31368);
    let alone = doc! { "hello": 1, "maxAwaitTimeMS": LONG };
    assert_eq!(refusal(alone), 31368);
    let future = other(&version, "counter", 1_i64);
    assert_eq!(refusal(awaitable(&future, LONG)), 31382);
    assert_eq!(refusal(awaitable(&version, -1)), 14);
    let malformed = other(&version, "counter", "one");
    assert_eq!(refusal(awaitable(&malformed, LONG)), 14);
}

#[test]
fn a_stream_goes_on_at_each_limit_and_ends_with_an_error() {
    let (server, mut client, version) = server();
    stream(&mut client, &version, 50);
    for _ in 0..3 {
        let told = next(&mut client).unwrap();
        assert_eq!(told.flags, MORE_TO_COME);
        assert_eq!(*told.body.get_document("topologyVersion").unwrap(), version);
    }
    let failure = doc! { "errorCode": 91, "appName": "app" };
    server.configure_fail_point(&fail_command(1, &["hello"], failure));
    let mut answers = (0..MANY).map(|_| next(&mut client).unwrap());
    let last = answers.find(|told| told.flags != MORE_TO_COME);
    let last = last.expect("the end of the stream");
    assert_eq!(last.body.get_i32("code").unwrap(), 91);
    // The connection is usable for the next request.
    client.command("admin", doc! { "ping": 1 }).unwrap();
    assert_eq!(server.count_of("hello"), 2);
}

#[test]
fn fail_points_strike_a_stream_and_spare_other_applications() {
    let (server, mut client, version) = server();
    let close = |app: &str| {
        let failure = doc! { "closeConnection": true, "appName": app };
        server.configure_fail_point(&fail_command(1, &["hello"], failure));
    };
    stream(&mut client, &version, 20);
    close("another");
    for _ in 0..3 {
        assert_eq!(next(&mut client).unwrap().flags, MORE_TO_COME);
    }
    close("app");
    expect_end(&mut client);
    assert!(server.wait_until(SOON, |server| server.counts().open == 0));
}

#[test]
fn a_fail_point_holds_an_awaitable_hello_back() {
    let (server, mut client, version) = server();
    let failure = doc! { "blockConnection": true, "blockTimeMS": 150 };
    server.configure_fail_point(&fail_command(1, &["hello"], failure));
    let begun = Instant::now();
    let process = other(&version, "processId", ObjectId::new());
    client.command("admin", awaitable(&process, LONG)).unwrap();
    assert!(begun.elapsed() >= Duration::from_millis(150));
}

#[test]
fn a_restart_ends_a_stream_and_begins_another_count() {
    let (server, mut client, version) = server();
    server.set_hello(|hello| *hello = Hello::member(Role::Primary, "rs0", "a:1", &["a:1"]));
    stream(&mut client, &version, LONG);
    let told = next(&mut client).unwrap();
    let counter = told.body.get_document("topologyVersion").unwrap();
    assert_eq!(counter.get_i64("counter").unwrap(), 1);
    server.restart();
    expect_end(&mut client);
    let mut client = RawClient::connect(server.addr()).unwrap();
    let told = client.command("admin", doc! { "hello": 1 }).unwrap();
    let after = told.get_document("topologyVersion").unwrap();
    assert_eq!(after.get_i64("counter").unwrap(), 0);
    assert_ne!(after.get("processId"), version.get("processId"));
}

#[test]
fn only_load_balanced_clients_get_a_service_id() {
    let id = ObjectId::new();
    let hello = Hello {
        service_id: Some(id),
        ..Hello::mongos()
    };
    let server = Server::builder().hello(hello).start();
    let mut client = RawClient::connect(server.addr()).unwrap();
    let hello = doc! { "hello": 1 };
    let reply = client.command("admin", hello).unwrap();
    assert!(!reply.contains_key("serviceId"));
    let hello = doc! { "hello": 1, "loadBalanced": true };
    let reply = client.command("admin", hello).unwrap();
    assert_eq!(reply.get_object_id("serviceId").unwrap(), id);
}
