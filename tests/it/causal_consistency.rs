//! The prose tests of the specification "Causal Consistency" by their numbers.
//!
//! Test 10 no longer exists. Tests 11 and 12, about `$clusterTime`, are in `sessions.rs`.

use mongotls::bson::{Document, Timestamp, doc};
use mongotls::options::ReadConcern;
use mongotls::{Client, Collection, Result, Session};
use mongotls_testbench::server::{Clock, Hello, Server};

use crate::common::plain_client;

/// A router whose replies have the time of a clock, with three documents, and a client of it.
fn bench() -> (Server, Clock, Client) {
    let clock = Clock::default();
    let server = Server::builder().hello(Hello::mongos()).clock(&clock);
    let server = server.start();
    let client = plain_client(&server, "");
    let documents = (0..3).map(|id| doc! { "_id": id });
    things(&client).insert_many(documents).run().unwrap();
    server.forget_commands();
    (server, clock, client)
}

fn things(client: &Client) -> Collection<Document> {
    client.database("db").collection("things")
}

fn started(client: &Client) -> Session {
    client.start_session().run().unwrap()
}

/// The read concern of the last command with this name.
fn read_concern(server: &Server, name: &str) -> Option<Document> {
    let last = server.commands_named(name).pop().expect("a command");
    last.body.get_document("readConcern").ok().cloned()
}

fn after(time: Timestamp) -> Option<Document> {
    Some(doc! { "afterClusterTime": time })
}

/// The work of a session.
type Work<'a> = dyn Fn(&Session) -> Result<()> + 'a;

#[test]
fn prose_1_and_2_the_first_read_depends_on_nothing() {
    let (server, _, client) = bench();
    let session = started(&client);
    assert_eq!(session.operation_time(), None);
    let find = things(&client).within(&session).find_one(doc! {}).run();
    find.unwrap();
    assert_eq!(read_concern(&server, "find"), None);
}

#[test]
fn prose_3_each_reply_advances_the_operation_time() {
    let (_server, clock, client) = bench();
    let things = things(&client);
    let operations: [&Work<'_>; 4] = [
        &|session| things.within(session).find_one(doc! {}).run().map(drop),
        &|session| things.within(session).insert_one(doc! {}).run().map(drop),
        // These two fail.
        &|session| {
            things
                .within(session)
                .insert_one(doc! { "_id": 0 })
                .run()
                .map(drop)
        },
        &|session| {
            let database = client.database("db").within(session);
            database.run_command(doc! { "unknown": 1 }).map(drop)
        },
    ];
    for (index, operation) in operations.iter().enumerate() {
        let session = started(&client);
        assert_eq!(operation(&session).is_ok(), index < 2);
        assert_eq!(session.operation_time(), Some(clock.now()), "{index}");
    }
}

#[test]
fn prose_4_and_5_a_read_follows_the_last_operation() {
    let (server, _, client) = bench();
    let things = things(&client);
    let before: [&Work<'_>; 6] = [
        &|session| things.within(session).find_one(doc! {}).run().map(drop),
        &|session| things.within(session).insert_one(doc! {}).run().map(drop),
        &|session| {
            let update = doc! { "$set": { "a": 1 } };
            things
                .within(session)
                .update_many(doc! {}, update)
                .run()
                .map(drop)
        },
        &|session| {
            let delete = things.within(session).delete_one(doc! { "_id": 2 });
            delete.run().map(drop)
        },
        &|session| {
            things
                .within(session)
                .insert_many([doc! {}, doc! {}])
                .run()
                .map(drop)
        },
        // An error of the server has a time, too.
        &|session| {
            things
                .within(session)
                .insert_one(doc! { "_id": 0 })
                .run()
                .map(drop)
        },
    ];
    for operation in before {
        let session = started(&client);
        operation(&session).ok();
        let time = session.operation_time().unwrap();
        let reads = things.within(&session);
        reads.find_one(doc! {}).run().unwrap();
        assert_eq!(read_concern(&server, "find"), after(time));
        let time = session.operation_time().unwrap();
        reads.distinct("_id", doc! {}).run().ok();
        assert_eq!(read_concern(&server, "distinct"), after(time));
    }
}

#[test]
fn prose_6_without_causal_consistency_nothing_is_related() {
    let (server, _, client) = bench();
    let session = client.start_session().causal_consistency(false);
    let session = session.run().unwrap();
    let things = things(&client);
    for _ in 0..2 {
        things.within(&session).find_one(doc! {}).run().unwrap();
        assert_eq!(read_concern(&server, "find"), None);
    }
    assert!(session.operation_time().is_some());
}

#[test]
fn prose_7_a_standalone_server_has_no_cluster_time() {
    let server = Server::builder().start();
    let client = plain_client(&server, "");
    let session = started(&client);
    session.advance_operation_time(Timestamp {
        time: 7,
        increment: 1,
    });
    things(&client)
        .within(&session)
        .find_one(doc! {})
        .run()
        .unwrap();
    assert_eq!(read_concern(&server, "find"), None);
}

#[test]
fn prose_8_and_9_the_read_concern_keeps_its_level() {
    let (server, _, client) = bench();
    let session = started(&client);
    let things = things(&client);
    things.within(&session).find_one(doc! {}).run().unwrap();
    let time = session.operation_time().unwrap();
    things.within(&session).find_one(doc! {}).run().unwrap();
    assert_eq!(read_concern(&server, "find"), after(time));
    let time = session.operation_time().unwrap();
    let find = things.within(&session).find_one(doc! {});
    find.read_concern(ReadConcern::majority()).run().unwrap();
    let expected = doc! { "level": "majority", "afterClusterTime": time };
    assert_eq!(read_concern(&server, "find"), Some(expected));
}

/// "Interaction with Causal Consistency" of "Transactions".
#[test]
fn the_first_command_of_a_transaction_follows_the_last_operation() {
    let (server, _, client) = bench();
    let session = started(&client);
    let things = things(&client);
    let things = things.within(&session);
    things.find_one(doc! {}).run().unwrap();
    let time = session.operation_time().unwrap();
    session.start_transaction().run().unwrap();
    things.insert_one(doc! {}).run().unwrap();
    assert_eq!(read_concern(&server, "insert"), after(time));
    things.find_one(doc! {}).run().unwrap();
    assert_eq!(read_concern(&server, "find"), None);
}
