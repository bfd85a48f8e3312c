//! Change streams: the prose tests of the specification, and what it leaves to drivers.
//!
//! Most tests use a router of the bench that answers from a list; the others SecantusDB behind the bench.

use std::collections::VecDeque;
use std::sync::{Arc, Mutex};
use std::thread;
use std::time::{Duration, Instant};

use mongotls::bson::oid::ObjectId;
use mongotls::bson::{Bson, Document, Timestamp, doc};
use mongotls::change_stream::{ChangeStreamEvent, OperationType, ResumeToken, SplitEvent};
use mongotls::options::{FullDocumentType, ReadPreference, ReadPreferenceMode};
use mongotls::{Canceller, ChangeStream, Client, Collection, ErrorKind};
use mongotls_testbench::deployment::{Deployment, Topology};
use mongotls_testbench::peers::{Secantus, or_skip};
use mongotls_testbench::server::{Hello, Request, Server, Version, fail_command};

use crate::common::{plain_client, program_commands};

const MS: fn(u64) -> Duration = Duration::from_millis;

/// The replies of a command, in order. The last one is repeated.
type Replies = Arc<Mutex<VecDeque<Document>>>;

/// A router whose change streams are scripts.
struct Script {
    server: Server,
    client: Client,
    opened: Replies,
    batches: Replies,
}

impl Script {
    fn new() -> Self {
        Self::with(Hello::mongos(), "")
    }

    fn with(hello: Hello, options: &str) -> Self {
        let (opened, batches) = (Replies::default(), Replies::default());
        let answer = |replies: &Replies| {
            let replies = Arc::clone(replies);
            move |_: &Request| {
                let mut replies = replies.lock().unwrap();
                match replies.len() {
                    1 => replies.front().cloned(),
                    _ => replies.pop_front(),
                }
            }
        };
        let builder = Server::builder().hello(hello);
        let builder = builder.handle("aggregate", answer(&opened));
        let builder = builder.handle("getMore", answer(&batches));
        let builder = builder.handle("killCursors", |_| Some(doc! { "ok": 1 }));
        let server = builder.start();
        let client = plain_client(&server, options);
        Self {
            server,
            client,
            opened,
            batches,
        }
    }

    /// Adds the reply to an aggregation.
    fn opens(&self, events: &[Document], token: Option<&str>) -> &Self {
        let reply = reply("firstBatch", events, token);
        self.opened.lock().unwrap().push_back(reply);
        self
    }

    /// Adds the reply to a `getMore`.
    fn then(&self, events: &[Document], token: Option<&str>) -> &Self {
        let reply = reply("nextBatch", events, token);
        self.batches.lock().unwrap().push_back(reply);
        self
    }

    /// Adds the error of a `getMore`.
    fn fails(&self, code: i32) -> &Self {
        let labels = ["ResumableChangeStreamError"];
        let reply = doc! { "ok": 0, "code": code, "errmsg": "x", "errorLabels": &labels[..] };
        self.batches.lock().unwrap().push_back(reply);
        self
    }

    fn things(&self) -> Collection<Document> {
        self.client.database("db").collection("things")
    }

    fn open(&self) -> ChangeStream<Document> {
        self.things().watch().with_type().run().unwrap()
    }

    /// The stages `$changeStream` of the aggregations so far.
    fn stages(&self) -> Vec<Document> {
        let commands = self.server.commands_named("aggregate").into_iter();
        let stage = |request: Request| {
            let pipeline = request.body.get_array("pipeline").unwrap();
            let first = pipeline[0].as_document().unwrap();
            first.get_document("$changeStream").unwrap().clone()
        };
        commands.map(stage).collect()
    }

    fn names(&self) -> Vec<String> {
        let commands = program_commands(&self.server).into_iter();
        let names = commands.map(|request| request.name);
        names
            .filter(|name| !["isMaster", "hello"].contains(&&**name))
            .collect()
    }
}

fn reply(batch: &str, events: &[Document], token: Option<&str>) -> Document {
    let mut cursor = doc! { "id": 7_i64, "ns": "db.things", batch: events };
    if let Some(token) = token {
        cursor.insert("postBatchResumeToken", doc! { "_data": token });
    }
    let time = Timestamp {
        time: 5,
        increment: 1,
    };
    doc! { "ok": 1, "cursor": cursor, "operationTime": time }
}

fn event(token: &str) -> Document {
    doc! { "_id": { "_data": token }, "operationType": "insert", "fullDocument": { "x": token } }
}

fn token(data: &str) -> Option<ResumeToken> {
    Some(ResumeToken::try_from(doc! { "_data": data }).unwrap())
}

/// The text of the event's token.
fn data(event: &Document) -> &str {
    let id = event.get_document("_id").unwrap();
    id.get_str("_data").unwrap()
}

fn next(stream: &mut ChangeStream<Document>) -> String {
    let event = stream.next().unwrap().unwrap();
    data(&event).to_owned()
}

/// Prose tests 1, 11, 13 and 14.
#[test]
fn the_token_follows_events_and_batches() {
    let script = Script::new();
    script.opens(&[event("a"), event("b")], Some("c"));
    script.then(&[], Some("d")).then(&[event("e")], None);
    let mut stream = script.open();
    assert_eq!(stream.resume_token(), None, "nothing was returned");
    assert_eq!(next(&mut stream), "a");
    assert_eq!(stream.resume_token(), token("a"));
    assert_eq!(next(&mut stream), "b");
    assert_eq!(stream.resume_token(), token("c"));
    assert_eq!(stream.next_if_any().unwrap(), None);
    assert_eq!(stream.resume_token(), token("d"));
    assert_eq!(next(&mut stream), "e");
    assert_eq!(stream.resume_token(), token("e"));
}

/// Prose test 14.
#[test]
fn the_token_at_first_is_that_of_the_start() {
    let script = Script::new();
    script.opens(&[event("b")], Some("c"));
    let watch = || script.things().watch().with_type::<Document>();
    let resumed = watch().resume_after(token("r")).run().unwrap();
    assert_eq!(resumed.resume_token(), token("r"));
    let started = watch().start_after(token("s")).run().unwrap();
    assert_eq!(started.resume_token(), token("s"));
    let stages = script.stages();
    assert_eq!(stages[0], doc! { "resumeAfter": { "_data": "r" } });
    assert_eq!(stages[1], doc! { "startAfter": { "_data": "s" } });
}

/// Prose test 12.
#[test]
fn old_servers_send_no_token_for_a_batch() {
    let script = Script::new();
    script
        .opens(&[], None)
        .then(&[event("a")], None)
        .then(&[], None);
    let mut stream = script.open();
    assert_eq!(stream.resume_token(), None);
    assert_eq!(next(&mut stream), "a");
    assert_eq!(stream.next_if_any().unwrap(), None);
    assert_eq!(stream.resume_token(), token("a"));
}

/// Prose test 2.
#[test]
fn an_event_without_a_token_ends_the_stream() {
    let script = Script::new();
    script.opens(&[doc! { "operationType": "insert" }], None);
    let mut stream = script.open();
    let error = stream.next().unwrap().unwrap_err();
    assert_eq!(error.kind(), ErrorKind::InvalidArgument);
    let expected = "Cannot provide resume functionality when the resume token is missing";
    assert!(error.to_string().starts_with(expected), "{error}");
    assert!(!stream.is_alive());
    assert!(stream.next().is_none());
    assert_eq!(script.names(), ["aggregate", "killCursors"]);
}

/// Prose tests 3 and 8, and the session of "Resume Process".
#[test]
fn a_stream_resumes_with_its_pipeline_and_options() {
    let script = Script::new();
    script
        .opens(&[event("a")], Some("a"))
        .opens(&[event("b")], None);
    script.fails(6).then(&[], None);
    let kill = fail_command(1, &["killCursors"], doc! { "errorCode": 1 });
    script.server.configure_fail_point(&kill);
    let watch = script.things().watch().with_type::<Document>();
    let watch = watch.pipeline([doc! { "$match": { "x": 1 } }]);
    let watch = watch.full_document(FullDocumentType::UpdateLookup);
    let mut stream = watch.batch_size(5).comment("c").run().unwrap();
    assert_eq!([next(&mut stream), next(&mut stream)], ["a", "b"]);
    let expected = ["aggregate", "getMore", "killCursors", "aggregate"];
    assert_eq!(script.names(), expected);
    let mut commands = script.server.commands_named("aggregate");
    let (mut second, mut first) = (commands.pop().unwrap().body, commands.pop().unwrap().body);
    assert_eq!(first.get("lsid"), second.get("lsid"));
    let options = doc! { "fullDocument": "updateLookup" };
    let mut resumed = options.clone();
    resumed.insert("resumeAfter", doc! { "_data": "a" });
    let pipeline = |options: Document| -> Bson {
        let stages = [
            doc! { "$changeStream": options },
            doc! { "$match": { "x": 1 } },
        ];
        Bson::from(stages.to_vec())
    };
    assert_eq!(first.remove("pipeline"), Some(pipeline(options)));
    assert_eq!(second.remove("pipeline"), Some(pipeline(resumed)));
    for key in ["cursor", "comment", "aggregate", "$db"] {
        assert_eq!(first.get(key), second.get(key), "{key}");
    }
}

#[test]
fn a_second_failure_in_a_row_is_returned_and_the_stream_goes_on() {
    let script = Script::new();
    script.opens(&[], Some("a"));
    script.fails(6).fails(6).then(&[event("b")], None);
    let mut stream = script.open();
    let error = stream.next().unwrap().unwrap_err();
    assert_eq!(error.command().unwrap().code, 6);
    assert!(stream.is_alive());
    assert_eq!(next(&mut stream), "b");
    let resumed = doc! { "resumeAfter": { "_data": "a" } };
    assert_eq!(script.stages(), [doc! {}, resumed.clone(), resumed]);
}

/// Prose test 4.
#[test]
fn an_error_of_the_aggregation_is_not_resumed() {
    let script = Script::with(Hello::mongos(), "retryReads=false");
    script.opens(&[], None);
    let labels = ["ResumableChangeStreamError"];
    let data = doc! { "errorCode": 6, "errorLabels": &labels[..] };
    let fail = fail_command(1, &["aggregate"], data);
    script.server.configure_fail_point(&fail);
    let error = script.things().watch().run().unwrap_err();
    assert_eq!(error.command().unwrap().code, 6);
    assert_eq!(script.names(), ["aggregate"]);
}

#[test]
fn an_error_that_is_not_resumable_ends_the_stream() {
    let script = Script::new();
    script.opens(&[], None);
    let reply = doc! { "ok": 0, "code": 280, "errmsg": "x" };
    script.batches.lock().unwrap().push_back(reply);
    let mut stream = script.open();
    let error = stream.next().unwrap().unwrap_err();
    assert_eq!(error.command().unwrap().code, 280);
    assert!(!stream.is_alive());
    assert_eq!(script.names(), ["aggregate", "getMore", "killCursors"]);
}

/// Prose test 6.
#[test]
fn a_stream_resumes_with_its_read_preference() {
    let script = Script::new();
    script.opens(&[], None).fails(6).then(&[event("a")], None);
    let nearest = ReadPreference::new(ReadPreferenceMode::Nearest);
    let watch = script.things().watch().with_type::<Document>();
    let mut stream = watch.selection_criteria(nearest).run().unwrap();
    assert_eq!(next(&mut stream), "a");
    let commands = script.server.commands_named("aggregate");
    assert_eq!(commands.len(), 2);
    for command in commands {
        let preference = command.body.get_document("$readPreference").unwrap();
        assert_eq!(preference, &doc! { "mode": "nearest" });
    }
}

/// Prose test 7.
#[test]
fn an_empty_first_batch_leaves_the_cursor_open() {
    let script = Script::new();
    script.opens(&[], None);
    let stream = script.open();
    assert!(stream.is_alive());
    assert_eq!(script.names(), ["aggregate"]);
    drop(stream);
    assert_eq!(script.names(), ["aggregate", "killCursors"]);
}

/// Prose test 9.
#[test]
fn a_stream_without_a_token_resumes_at_the_operation_time() {
    let mut hello = Hello::mongos();
    hello.max_wire_version = 8;
    let script = Script::with(hello, "");
    script.opens(&[], None).fails(6).then(&[event("a")], None);
    let mut stream = script.open();
    assert_eq!(next(&mut stream), "a");
    let time = Timestamp {
        time: 5,
        increment: 1,
    };
    assert_eq!(
        script.stages(),
        [doc! {}, doc! { "startAtOperationTime": time }]
    );
}

/// Prose tests 17 and 18.
#[test]
fn start_after_is_replaced_after_the_first_event() {
    let script = Script::new();
    script
        .opens(&[], Some("s"))
        .fails(6)
        .then(&[event("a")], None);
    script.fails(6).then(&[event("b")], None);
    let watch = script.things().watch().with_type::<Document>();
    let mut stream = watch.start_after(token("s")).run().unwrap();
    assert_eq!([next(&mut stream), next(&mut stream)], ["a", "b"]);
    let started = doc! { "startAfter": { "_data": "s" } };
    // The cursor that replaces the first one has an empty batch with the token "s", too.
    let stages = script.stages();
    assert_eq!(stages[..2], [started.clone(), started]);
    assert!(stages[2].contains_key("resumeAfter"));
    assert!(!stages[2].contains_key("startAfter"));
}

fn fragment(number: i32, of: i32, field: &str) -> Document {
    doc! {
        "_id": { "_data": format!("f{number}") },
        "splitEvent": { "fragment": number, "of": of },
        field: if field == "operationType" { "update" } else { "x" },
    }
}

/// Prose test 19.
#[test]
fn split_events_are_parts_or_joined() {
    let script = Script::new();
    let parts = [fragment(1, 2, "operationType"), fragment(2, 2, "big")];
    script.opens(&parts, Some("z"));
    let things = script.things();
    let split = [doc! { "$changeStreamSplitLargeEvent": {} }];
    let mut stream = things
        .watch()
        .pipeline(split.clone())
        .with_type::<Document>()
        .run()
        .unwrap();
    for number in 1..=2 {
        let part = stream.next().unwrap().unwrap();
        let expected = doc! { "fragment": number, "of": 2 };
        assert_eq!(part.get_document("splitEvent").unwrap(), &expected);
    }
    let mut typed = things.watch().pipeline(split).run().unwrap();
    let event = typed.next().unwrap().unwrap();
    assert_eq!(
        event.split_event.map(|part| (part.fragment, part.of)),
        Some((1, 2))
    );
    let _: Option<SplitEvent> = event.split_event;

    let mut joined = things
        .watch()
        .with_type::<Document>()
        .join_split_events()
        .run()
        .unwrap();
    let whole = doc! { "_id": { "_data": "f2" }, "operationType": "update", "big": "x" };
    assert_eq!(joined.next().unwrap().unwrap(), whole);
    assert_eq!(joined.resume_token(), token("z"));
    let last = script.server.commands_named("aggregate").pop().unwrap();
    let pipeline = last.body.get_array("pipeline").unwrap();
    let stage = doc! { "$changeStreamSplitLargeEvent": {} };
    assert_eq!(pipeline.last(), Some(&Bson::Document(stage)));
}

#[test]
fn the_token_stays_in_front_of_an_event_of_which_a_part_is_missing() {
    let script = Script::new();
    script.opens(&[event("a"), fragment(1, 2, "operationType")], Some("f1"));
    script
        .then(&[], None)
        .fails(6)
        .then(&[fragment(2, 2, "big")], None);
    let watch = script.things().watch().with_type::<Document>();
    let mut stream = watch.join_split_events().run().unwrap();
    assert_eq!(next(&mut stream), "a");
    assert_eq!(stream.next_if_any().unwrap(), None);
    assert_eq!(stream.resume_token(), token("a"));
    // The cursor that replaces the first one continues behind the part.
    script.opened.lock().unwrap().clear();
    script.opens(&[], None);
    assert_eq!(next(&mut stream), "f2");
    assert_eq!(stream.resume_token(), token("f2"));
    assert_eq!(
        script.stages()[1],
        doc! { "resumeAfter": { "_data": "f1" } }
    );
}

#[test]
fn databases_and_deployments_are_watched() {
    let script = Script::new();
    script.opens(&[], None);
    drop(script.client.database("db").watch().run().unwrap());
    drop(
        script
            .client
            .watch()
            .show_expanded_events(true)
            .run()
            .unwrap(),
    );
    let session = script.client.start_session().run().unwrap();
    drop(script.client.within(&session).watch().run().unwrap());
    let commands = script.server.commands_named("aggregate");
    let seen = commands.iter().map(|command| {
        let target = command.body.get("aggregate").cloned().unwrap();
        (command.database.clone(), target)
    });
    let one = Bson::Int32(1);
    let admin = || ("admin".to_owned(), one.clone());
    let expected = [("db".to_owned(), one.clone()), admin(), admin()];
    assert_eq!(seen.collect::<Vec<_>>(), expected);
    let all = doc! { "allChangesForCluster": true };
    let mut expanded = all.clone();
    expanded.insert("showExpandedEvents", true);
    assert_eq!(script.stages(), [doc! {}, expanded, all]);
    let id = commands[2].body.get_document("lsid").unwrap();
    assert_eq!(id, &session.id());
}

#[test]
fn a_stage_that_is_not_a_document_is_an_error() {
    let script = Script::new();
    let error = script.things().watch().pipeline([5]).run().unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Bson);
    assert_eq!(script.names(), [""; 0]);
}

/// Waits in `next` for a server that does not answer, and returns the error and how long it took after `end`.
fn ended_by(end: impl FnOnce(&Client, &Canceller) + Send) -> (mongotls::Error, Duration) {
    let script = Script::new();
    script.opens(&[], None).then(&[], None);
    let data = doc! { "blockConnection": true, "blockTimeMS": 3000 };
    let slow = fail_command(9, &["getMore"], data);
    script.server.configure_fail_point(&slow);
    let canceller = Canceller::new();
    let watch = script.things().watch().with_type::<Document>();
    let mut stream = watch.cancelled_by(&canceller).run().unwrap();
    thread::scope(|scope| {
        let waiting = scope.spawn(move || {
            let error = stream.next().unwrap().unwrap_err();
            assert!(!stream.is_alive());
            assert!(stream.next().is_none());
            (error, Instant::now())
        });
        let has_begun = |server: &Server| server.count_of("getMore") > 0;
        assert!(script.server.wait_until(MS(5000), has_begun));
        thread::sleep(MS(50));
        let started = Instant::now();
        end(&script.client, &canceller);
        let (error, ended) = waiting.join().unwrap();
        (error, ended.saturating_duration_since(started))
    })
}

#[test]
fn a_waiting_stream_can_be_cancelled() {
    let (error, took) = ended_by(|_, canceller| canceller.cancel());
    assert_eq!(error.kind(), ErrorKind::Cancelled);
    assert!(took < MS(1000), "{took:?}");
}

#[test]
fn closing_the_client_ends_a_waiting_stream() {
    let (error, took) = ended_by(|client, _| drop(client.close(Duration::ZERO)));
    assert_eq!(error.kind(), ErrorKind::ClientClosed, "{error}");
    assert!(took < MS(1000), "{took:?}");
}

#[test]
fn a_stream_continues_after_a_timeout() {
    let script = Script::with(Hello::mongos(), "timeoutMS=300");
    script.opens(&[], Some("a")).then(&[event("b")], None);
    let mut stream = script.open();
    let data = doc! { "blockConnection": true, "blockTimeMS": 600 };
    let slow = fail_command(1, &["getMore"], data);
    script.server.configure_fail_point(&slow);
    let error = stream.next().unwrap().unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Timeout);
    assert!(stream.is_alive());
    assert_eq!(next(&mut stream), "b");
    assert_eq!(
        script.stages(),
        [doc! {}, doc! { "resumeAfter": { "_data": "a" } }]
    );
    let more = script.server.commands_named("getMore");
    assert!(!more[0].body.contains_key("maxTimeMS"));
}

#[test]
fn an_event_of_another_type_is_an_error_and_the_stream_continues() {
    let script = Script::new();
    let wrong = doc! { "_id": { "_data": "a" }, "operationType": 5 };
    script.opens(&[wrong, event("b")], None);
    let mut stream = script.things().watch().run().unwrap();
    let error = stream.next().unwrap().unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Bson);
    assert!(error.to_string().contains("operationType"), "{error}");
    assert_eq!(stream.resume_token(), token("a"));
    let event = stream.next().unwrap().unwrap();
    assert_eq!(event.operation_type, OperationType::Insert);
}

/// A collection on SecantusDB, behind a replica set of the bench.
fn stored() -> Option<(Deployment, Collection<Document>)> {
    let backend = or_skip(Secantus::shared())?.backend();
    let deployment = Deployment::start(Topology::ReplicaSet, Version::V8_2, &backend);
    let client = Client::connect(&deployment.uri("")).unwrap();
    let things = client
        .database(&ObjectId::new().to_hex())
        .collection("things");
    things.insert_one(doc! { "_id": 0 }).run().unwrap();
    Some((deployment, things))
}

#[test]
fn changes_are_typed_events() {
    let Some((_deployment, things)) = stored() else {
        return;
    };
    let mut stream = things.watch().run().unwrap();
    things.insert_one(doc! { "_id": 1, "n": 1 }).run().unwrap();
    let set = doc! { "$set": { "n": 2 } };
    things.update_one(doc! { "_id": 1 }, set).run().unwrap();
    things.delete_one(doc! { "_id": 1 }).run().unwrap();
    let events: Vec<ChangeStreamEvent<Document>> = stream
        .by_ref()
        .take(3)
        .map(|event| event.unwrap())
        .collect();
    let kinds = events.iter().map(|event| event.operation_type.as_str());
    assert_eq!(kinds.collect::<Vec<_>>(), ["insert", "update", "delete"]);
    assert_eq!(events[0].full_document, Some(doc! { "_id": 1, "n": 1 }));
    let update = events[1].update_description.as_ref().unwrap();
    assert_eq!(update.updated_fields, doc! { "n": 2 });
    assert_eq!(events[2].document_key, Some(doc! { "_id": 1 }));
    let ns = events[0].ns.as_ref().unwrap();
    assert_eq!(ns.coll.as_deref(), Some("things"));
    // Another stream continues behind the first event.
    let mut again = things
        .watch()
        .resume_after(events[0].id.clone())
        .run()
        .unwrap();
    let next = again.next().unwrap().unwrap();
    assert_eq!(next.operation_type, OperationType::Update);
}

#[test]
fn a_stream_ends_when_its_collection_is_dropped() {
    let Some((_deployment, things)) = stored() else {
        return;
    };
    let mut stream = things.watch().run().unwrap();
    things.drop().run().unwrap();
    let kinds: Vec<String> = stream
        .by_ref()
        .map(|event| event.unwrap().operation_type.to_string())
        .collect();
    assert_eq!(kinds, ["drop", "invalidate"]);
    assert!(!stream.is_alive());
    assert!(stream.next_if_any().unwrap().is_none());
}

/// Every number exactly once and in order, while connections are cut and cursors are lost.
#[test]
fn no_change_is_lost_or_seen_twice() {
    let Some((deployment, things)) = stored() else {
        return;
    };
    const LAST: i32 = 60;
    let mut stream = things
        .watch()
        .batch_size(2)
        .max_await_time(MS(100))
        .run()
        .unwrap();
    thread::scope(|scope| {
        let reader = scope.spawn(move || {
            let mut seen = Vec::new();
            let mut failures = 0;
            while seen.last() != Some(&LAST) {
                match stream.next().expect("the stream goes on") {
                    Ok(event) => {
                        let key = event.document_key.unwrap();
                        seen.push(key.get_i32("_id").unwrap());
                    }
                    Err(error) => {
                        failures += 1;
                        assert!(stream.is_alive() && failures < 20, "{error}");
                    }
                }
            }
            seen
        });
        let writer = things.clone();
        for number in 1..=LAST {
            if number % 5 == 0 {
                let data = match number % 15 {
                    0 => doc! { "closeConnection": true },
                    5 => doc! { "errorCode": 43 },
                    _ => doc! { "errorCode": 91, "errorLabels": ["ResumableChangeStreamError"] },
                };
                for node in deployment.nodes() {
                    let fail = fail_command(1, &["getMore"], data.clone());
                    node.server().configure_fail_point(&fail);
                }
            }
            writer.insert_one(doc! { "_id": number }).run().unwrap();
            thread::sleep(MS(10));
        }
        let seen = reader.join().unwrap();
        assert_eq!(seen, (1..=LAST).collect::<Vec<_>>());
    });
}
