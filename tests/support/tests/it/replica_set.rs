//! The simulated replica set, tested with raw messages.

use bson::oid::ObjectId;
use bson::{Bson, Document, doc};
use mongotls_testbench::client::RawClient;
use mongotls_testbench::node::NodeOptions;
use mongotls_testbench::replica_set::{MemberKind, Partition, ReplicaSet};
use mongotls_testbench::server::{CheckKind, Role, ServerTls, Standing, fail_command};
use mongotls_testbench::wire::{EXHAUST_ALLOWED, MORE_TO_COME, Msg, OP_MSG};
use std::io::{self, ErrorKind, Read};
use std::net::TcpStream;
use std::sync::Barrier;
use std::time::{Duration, Instant};

const SOON: Duration = Duration::from_secs(5);

fn three() -> ReplicaSet {
    ReplicaSet::builder("rs0").start()
}

fn connect(set: &ReplicaSet, index: usize) -> RawClient<TcpStream> {
    RawClient::connect(set.node(index).proxy().addr()).unwrap()
}

fn hello(set: &ReplicaSet, index: usize) -> Document {
    let mut client = connect(set, index);
    client.command("admin", doc! { "hello": 1 }).unwrap()
}

fn insert(client: &mut RawClient<TcpStream>, id: i32) -> Document {
    let insert = doc! { "insert": "c", "documents": [{ "_id": id }] };
    client.command("db", insert).unwrap()
}

fn find(client: &mut RawClient<TcpStream>, mode: &str) -> Document {
    let find = doc! { "find": "c", "$readPreference": { "mode": mode } };
    client.command("db", find).unwrap()
}

fn found(reply: &Document) -> usize {
    let cursor = reply.get_document("cursor").unwrap();
    cursor.get_array("firstBatch").unwrap().len()
}

fn code(reply: &Document) -> i32 {
    reply.get_i32("code").unwrap_or_else(|_| panic!("{reply}"))
}

fn version(reply: &Document) -> (ObjectId, i64) {
    let version = reply.get_document("topologyVersion").unwrap();
    let counter = version.get_i64("counter").unwrap();
    (version.get_object_id("processId").unwrap(), counter)
}

/// Requests answers without further requests, starting from the state `known`.
fn stream(client: &mut RawClient<TcpStream>, known: &Document, limit: i64) {
    let mut msg = Msg::of(doc! {
        "hello": 1, "$db": "admin", "maxAwaitTimeMS": limit,
        "topologyVersion": known.get_document("topologyVersion").unwrap().clone(),
    });
    msg.flags = EXHAUST_ALLOWED;
    client.send(OP_MSG, msg.encode()).unwrap();
}

fn next(client: &mut RawClient<TcpStream>) -> io::Result<Msg> {
    Msg::decode(&client.receive()?.payload)
}

fn strings(reply: &Document, key: &str) -> Vec<String> {
    let list = reply.get_array(key).into_iter().flatten();
    list.filter_map(Bson::as_str).map(Into::into).collect()
}

#[test]
fn members_tell_of_one_set_and_one_primary() {
    let set = three();
    let addresses: Vec<_> = (0..3).map(|index| set.address(index)).collect();
    assert!(addresses[0].starts_with("localhost:"), "{addresses:?}");
    for index in 0..3 {
        let hello = hello(&set, index);
        assert_eq!(hello.get_str("setName").unwrap(), "rs0");
        assert_eq!(hello.get_i32("setVersion").unwrap(), 1);
        assert_eq!(strings(&hello, "hosts"), addresses);
        assert_eq!(hello.get_str("me").unwrap(), addresses[index]);
        assert_eq!(hello.get_str("primary").unwrap(), addresses[0]);
        assert_eq!(hello.get_bool("isWritablePrimary").unwrap(), index == 0);
        assert_eq!(hello.get_bool("secondary").unwrap(), index != 0);
        assert_eq!(hello.contains_key("electionId"), index == 0);
        assert_eq!(hello.get_i32("logicalSessionTimeoutMinutes").unwrap(), 30);
        assert_eq!(hello.get_i32("maxWireVersion").unwrap(), 21);
        let last = hello.get_document("lastWrite").unwrap();
        last.get_datetime("lastWriteDate").unwrap();
        for key in ["passives", "arbiters", "tags", "hidden", "passive"] {
            assert!(!hello.contains_key(key), "{key}");
        }
    }
    assert_eq!(
        set.uri("w=1"),
        format!("mongodb://{}/?replicaSet=rs0&w=1", addresses.join(","))
    );
    assert_eq!(
        set.uri_with_seeds(&[2], ""),
        format!("mongodb://{}/?replicaSet=rs0", addresses[2])
    );
}

#[test]
fn each_election_has_a_greater_id_and_a_newer_topology_version() {
    let set = three();
    let id = |reply: &Document| reply.get_object_id("electionId").unwrap();
    let first = hello(&set, 0);
    set.elect(1);
    let (old, new) = (hello(&set, 0), hello(&set, 1));
    assert!(id(&new) > id(&first));
    assert!(!old.get_bool("isWritablePrimary").unwrap() && !old.contains_key("electionId"));
    let (before, after) = (version(&first), version(&old));
    assert!(before.0 == after.0 && before.1 < after.1);
    assert_eq!(set.fail_over(), 2);
    assert!(id(&hello(&set, 2)) > id(&new));

    set.step_down();
    assert_eq!(set.primary(), None);
    for index in 0..3 {
        let hello = hello(&set, index);
        assert!(hello.get_bool("secondary").unwrap() && !hello.contains_key("primary"));
    }
}

#[test]
fn there_are_never_two_primaries_that_hear_of_each_other() {
    let set = three();
    // Kept here: getting them from the set would wait until the election is over.
    let nodes = [set.node(0), set.node(1)];
    let role = |index: usize| nodes[index].server().hello().role;
    for _ in 0..200 {
        set.elect(1);
        let ready = Barrier::new(2);
        // Back to the member that comes first in every list.
        std::thread::scope(|scope| {
            let watcher = scope.spawn(|| {
                let end = Instant::now() + SOON;
                ready.wait();
                while role(0) != Role::Primary {
                    assert!(Instant::now() < end, "it was elected");
                }
                role(1)
            });
            ready.wait();
            set.elect(0);
            assert_eq!(watcher.join().unwrap(), Role::Secondary);
        });
    }
}

#[test]
fn writes_are_rejected_elsewhere_with_topology_version() {
    let set = three();
    let (mut primary, mut secondary) = (connect(&set, 0), connect(&set, 1));
    assert_eq!(insert(&mut primary, 1).get_i32("n").unwrap(), 1);
    let refused = insert(&mut secondary, 2);
    assert_eq!(code(&refused), 10107);
    assert_eq!(refused.get_str("codeName").unwrap(), "NotWritablePrimary");
    assert_eq!(version(&refused), version(&hello(&set, 1)));

    let refused = secondary.command("db", doc! { "find": "c" }).unwrap();
    assert_eq!(code(&refused), 13435);
    assert_eq!(code(&find(&mut secondary, "primary")), 13435);
    for mode in [
        "primaryPreferred",
        "secondary",
        "secondaryPreferred",
        "nearest",
    ] {
        assert_eq!(found(&find(&mut secondary, mode)), 1, "{mode}");
    }
    let ping = secondary.command("admin", doc! { "ping": 1 }).unwrap();
    assert_eq!(ping.get_f64("ok").unwrap(), 1.0);
    assert_eq!(set.documents("db.c"), [doc! { "_id": 1 }]);

    set.elect(1);
    assert_eq!(code(&insert(&mut primary, 3)), 10107);
    assert_eq!(insert(&mut secondary, 3).get_i32("n").unwrap(), 1);
    assert_eq!(found(&find(&mut primary, "nearest")), 2);
}

#[test]
fn a_cursor_is_known_to_its_own_member_alone() {
    let set = three();
    let (mut primary, mut secondary) = (connect(&set, 0), connect(&set, 1));
    for id in 0..3 {
        insert(&mut primary, id);
    }
    let find = doc! { "find": "c", "batchSize": 1 };
    let reply = primary.command("db", find).unwrap();
    let id = reply.get_document("cursor").unwrap().get_i64("id").unwrap();
    let more = doc! { "getMore": id, "collection": "c" };
    assert_eq!(code(&secondary.command("db", more.clone()).unwrap()), 43);
    let reply = primary.command("db", more).unwrap();
    let batch = reply.get_document("cursor").unwrap();
    assert_eq!(batch.get_array("nextBatch").unwrap().len(), 2);
}

#[test]
fn a_stale_primary_takes_writes_that_are_recorded_and_lost() {
    let set = three();
    let mut old = connect(&set, 0);
    let told = hello(&set, 0);
    set.partition(0, Partition::FromMembers);
    // There is no other primary yet: its writes are kept.
    insert(&mut old, 1);
    set.elect(1);
    let begun = Instant::now();
    let mut new = connect(&set, 1);
    assert_eq!(insert(&mut old, 2).get_i32("n").unwrap(), 1);
    assert_eq!(insert(&mut new, 3).get_i32("n").unwrap(), 1);
    assert_eq!(found(&find(&mut old, "primary")), 2);
    let stale = hello(&set, 0);
    assert!(stale.get_bool("isWritablePrimary").unwrap());
    assert_eq!(stale.get("electionId"), told.get("electionId"));
    assert_eq!(version(&stale), version(&told));
    assert_eq!(stale.get_str("primary").unwrap(), set.address(0));

    let lost = set.writes_to_stale_primaries();
    assert_eq!(lost.len(), 1);
    assert_eq!(lost[0].documents("documents"), [doc! { "_id": 2 }]);
    assert!(lost[0].received > begun);
    assert_eq!(set.served_by_stale_primaries().len(), 2);

    set.heal(0);
    assert_eq!(code(&insert(&mut old, 4)), 10107);
    assert_eq!(
        set.documents("db.c"),
        [doc! { "_id": 1 }, doc! { "_id": 3 }]
    );
    assert_eq!(found(&find(&mut old, "secondary")), 2);
    assert_eq!(set.writes_to_stale_primaries().len(), 1);
}

#[test]
fn a_primary_healed_before_an_election_stays_primary() {
    let set = three();
    let mut client = connect(&set, 0);
    set.partition(0, Partition::FromMembers);
    insert(&mut client, 1);
    set.heal(0);
    assert_eq!(set.primary(), Some(0));
    assert_eq!(insert(&mut client, 2).get_i32("n").unwrap(), 1);
    assert_eq!(set.documents("db.c").len(), 2);
    assert!(set.served_by_stale_primaries().is_empty());
}

#[test]
fn a_secondary_that_is_parted_stays_behind_until_it_is_healed() {
    let set = three();
    let (mut primary, mut parted) = (connect(&set, 0), connect(&set, 2));
    set.partition(2, Partition::FromMembers);
    let before = hello(&set, 2);
    insert(&mut primary, 1);
    set.elect(1);
    assert_eq!(found(&find(&mut parted, "secondary")), 0);
    let after = hello(&set, 2);
    assert_eq!(version(&before), version(&after));
    assert_eq!(after.get_str("primary").unwrap(), set.address(0));
    set.heal(2);
    assert_eq!(found(&find(&mut parted, "secondary")), 1);
    assert_eq!(hello(&set, 2).get_str("primary").unwrap(), set.address(1));
    assert!(set.served_by_stale_primaries().is_empty());
}

#[test]
fn a_silent_partition_hangs_connections_until_healed() {
    let set = three();
    let mut old = connect(&set, 0);
    insert(&mut old, 1);
    set.partition(0, Partition::Silent);
    let mut new = connect(&set, 0);
    let is_silent = |client: &mut RawClient<TcpStream>| {
        let limit = Duration::from_millis(100);
        client.stream.set_read_timeout(Some(limit)).unwrap();
        let ping = Msg::of(doc! { "ping": 1, "$db": "admin" });
        client.send(OP_MSG, ping.encode()).unwrap();
        let error = client.stream.read(&mut [0]).unwrap_err();
        assert_eq!(error.kind(), ErrorKind::WouldBlock);
        client.stream.set_read_timeout(Some(SOON)).unwrap();
    };
    is_silent(&mut old);
    is_silent(&mut new);
    assert_eq!(set.node(0).server().count_of("ping"), 0);
    set.elect(1);
    // The member receives the result of the election before the held bytes reach it.
    set.heal(0);
    for client in [&mut old, &mut new] {
        assert_eq!(next(client).unwrap().body.get_f64("ok").unwrap(), 1.0);
        assert_eq!(code(&insert(client, 2)), 10107);
    }
}

#[test]
fn a_partition_resets_or_refuses_and_can_change_its_way() {
    let set = three();
    let addr = set.node(1).proxy().addr();
    let mut old = connect(&set, 1);
    old.command("admin", doc! { "ping": 1 }).unwrap();
    set.partition(1, Partition::Reset);
    let kind = |result: io::Result<usize>| result.unwrap_err().kind();
    let reset = ErrorKind::ConnectionReset;
    assert_eq!(kind(old.stream.read(&mut [0])), reset);
    let taken = set.node(1).proxy().accepted().len();
    let mut new = TcpStream::connect(addr).unwrap();
    assert_eq!(kind(new.read(&mut [0])), reset);
    assert_eq!(set.node(1).proxy().accepted().len(), taken + 1);

    set.partition(1, Partition::Refused);
    let error = TcpStream::connect(addr).unwrap_err();
    assert_eq!(error.kind(), ErrorKind::ConnectionRefused);
    set.partition(1, Partition::FromMembers);
    assert!(hello(&set, 1).get_bool("secondary").unwrap());
    set.partition(1, Partition::Refused);
    set.partition(1, Partition::Silent);
    TcpStream::connect(addr).unwrap();
    set.heal(1);
    assert!(hello(&set, 1).get_bool("secondary").unwrap());
}

#[test]
fn a_restarted_member_is_a_new_process_on_the_same_port() {
    let set = three();
    let mut client = connect(&set, 0);
    insert(&mut client, 1);
    insert(&mut client, 2);
    let cursor = doc! { "find": "c", "batchSize": 1 };
    client.command("db", cursor).unwrap();
    assert_eq!(set.node(0).server().open_cursors(), 1);
    let before = hello(&set, 0);
    let off = fail_command(9, &["ping"], doc! { "errorCode": 1 });
    set.node(0).server().configure_fail_point(&off);
    set.kill(0);
    let error = client.command("admin", doc! { "ping": 1 }).unwrap_err();
    assert!(
        matches!(
            error.kind(),
            ErrorKind::UnexpectedEof | ErrorKind::ConnectionReset | ErrorKind::BrokenPipe
        ),
        "{error}"
    );
    let error = TcpStream::connect(set.node(0).proxy().addr()).unwrap_err();
    assert_eq!(error.kind(), ErrorKind::ConnectionRefused);
    assert_eq!(hello(&set, 1).get_str("primary").unwrap(), set.address(0));

    set.restart(0);
    let after = hello(&set, 0);
    assert!(after.get_bool("secondary").unwrap());
    assert_ne!(version(&before).0, version(&after).0);
    assert_eq!(set.primary(), None);
    assert_eq!(set.node(0).server().open_cursors(), 0);
    let pong = connect(&set, 0).command("admin", doc! { "ping": 1 });
    assert_eq!(pong.unwrap().get_f64("ok").unwrap(), 1.0);
    set.elect(0);
    assert_eq!(insert(&mut connect(&set, 0), 3).get_i32("n").unwrap(), 1);
    assert_eq!(set.documents("db.c").len(), 3);
}

#[test]
fn configurations_change_with_their_version() {
    let data = MemberKind::Data;
    let kinds = [
        data(Standing::Passive),
        data(Standing::Host),
        data(Standing::Host),
        MemberKind::Arbiter,
    ];
    let set = ReplicaSet::builder("rs0").kinds(&kinds).start();
    let of = |index| set.address(index);
    assert_eq!(set.primary(), Some(1), "the first that can be");
    let told = hello(&set, 1);
    assert_eq!(strings(&told, "hosts"), [of(1), of(2)]);
    assert_eq!(strings(&told, "passives"), [of(0)]);
    assert_eq!(strings(&told, "arbiters"), [of(3)]);
    assert!(hello(&set, 0).get_bool("passive").unwrap());
    let arbiter = hello(&set, 3);
    assert!(arbiter.get_bool("arbiterOnly").unwrap());
    assert!(!arbiter.get_bool("secondary").unwrap() && !arbiter.contains_key("lastWrite"));
    assert_eq!(code(&find(&mut connect(&set, 3), "nearest")), 13436);

    set.set_tags(2, doc! { "dc": "east" });
    let told = hello(&set, 2);
    assert_eq!(told.get_i32("setVersion").unwrap(), 2);
    assert_eq!(*told.get_document("tags").unwrap(), doc! { "dc": "east" });
    set.hide(2);
    let told = hello(&set, 2);
    assert!(told.get_bool("hidden").unwrap());
    assert_eq!(strings(&told, "hosts"), [of(1)]);
    let added = set.add(data(Standing::Host));
    assert_eq!(strings(&hello(&set, 0), "hosts"), [of(1), of(added)]);
    assert!(hello(&set, added).get_bool("secondary").unwrap());

    set.remove(1);
    assert_eq!((set.primary(), added), (None, 4));
    let removed = hello(&set, 1);
    assert!(removed.get_bool("isreplicaset").unwrap() && !removed.contains_key("setName"));
    assert!(!removed.get_bool("isWritablePrimary").unwrap());
    assert_eq!(code(&insert(&mut connect(&set, 1), 1)), 10107);
    let told = hello(&set, added);
    assert_eq!(told.get_i32("setVersion").unwrap(), 5);
    assert_eq!(strings(&told, "hosts"), [of(added)]);
}

#[test]
fn the_date_of_the_last_write_is_behind_where_a_test_says_so() {
    let set = three();
    let date = |index| {
        let hello = hello(&set, index);
        let last = hello.get_document("lastWrite").unwrap();
        last.get_datetime("lastWriteDate")
            .unwrap()
            .timestamp_millis()
    };
    insert(&mut connect(&set, 0), 1);
    set.set_lag(1, Duration::from_secs(120));
    assert_eq!(date(0), date(2));
    assert_eq!(date(0) - date(1), 120_000);
    set.set_max_wire_version(13);
    assert_eq!(hello(&set, 1).get_i32("maxWireVersion").unwrap(), 13);
}

#[test]
fn streaming_monitors_hear_of_an_election_at_once() {
    let set = three();
    let mut monitors: Vec<_> = (0..3).map(|index| connect(&set, index)).collect();
    for client in &mut monitors {
        let known = client.command("admin", doc! { "hello": 1 }).unwrap();
        stream(client, &known, 60_000);
    }
    let begun = Instant::now();
    set.elect(2);
    for (index, client) in monitors.iter_mut().enumerate() {
        let told = next(client).unwrap();
        assert_eq!(told.flags, MORE_TO_COME);
        assert_eq!(told.body.get_bool("isWritablePrimary").unwrap(), index == 2);
    }
    assert!(begun.elapsed() < Duration::from_secs(1));
}

#[test]
fn what_monitors_ask_is_told_apart_from_what_programs_do() {
    let set = three();
    let named = |name: &str| {
        doc! { "hello": 1, "client": { "application": { "name": name } } }
    };
    let mut program = connect(&set, 0);
    program.command("admin", named("p")).unwrap();
    program.command("admin", doc! { "ping": 1 }).unwrap();
    let mut polling = connect(&set, 0);
    for _ in 0..3 {
        polling.command("admin", named("m")).unwrap();
    }
    let mut streaming = connect(&set, 0);
    let known = streaming.command("admin", named("m")).unwrap();
    stream(&mut streaming, &known, 60_000);
    let all_came = set.wait_until(SOON, |set| set.checks(0).len() == 5);
    assert!(all_came, "{:?}", set.checks(0));

    let checks = set.checks(0);
    assert_eq!(checks.clone().of_kind(CheckKind::Plain).len(), 4);
    assert_eq!(checks.clone().of_kind(CheckKind::Streaming).len(), 1);
    assert_eq!(checks.clone().handshakes().len(), 2);
    assert_eq!(checks.clone().of_app("m").len(), 5);
    assert!(checks.clone().of_app("p").is_empty());
    assert_eq!(checks.most_within(SOON), 5);
    assert!(checks.shortest_interval().unwrap() < SOON);
    assert!(set.checks(1).is_empty());
    let connections = set.node(0).server().connections();
    let open = connections
        .iter()
        .filter(|info| info.open && info.is_monitor());
    assert_eq!(open.count(), 2);
    // A monitor that disconnects is noticed while its answer is awaited.
    drop(streaming);
    let has_gone = |set: &ReplicaSet| set.node(0).server().counts().open == 2;
    assert!(set.wait_until(SOON, has_gone));
}

#[test]
fn members_speak_tls_and_one_may_have_a_bad_certificate() {
    use mongotls_testbench::pki::LeafSpec;
    let nodes = NodeOptions::new().tls(|ca, index| {
        let name = if index == 1 {
            "elsewhere.test"
        } else {
            "localhost"
        };
        ServerTls::new(&ca.issue(LeafSpec::new(name).dns(name)))
    });
    let set = ReplicaSet::builder("rs0").nodes(nodes).start();
    let ca = set.ca().unwrap().cert();
    let visit = |index: usize| {
        let addr = set.node(index).proxy().addr();
        RawClient::connect_tls(addr, "localhost", ca)?.command("admin", doc! { "hello": 1 })
    };
    assert!(visit(0).unwrap().get_bool("isWritablePrimary").unwrap());
    let refusal = visit(1).unwrap_err().to_string();
    assert!(refusal.contains("ostname mismatch"), "{refusal}");
    let uri = set.uri("");
    let (_, file) = uri.split_once("&tls=true&tlsCAFile=").unwrap();
    assert_eq!(std::fs::read(file).unwrap(), set.ca().unwrap().cert_pem());
    set.restart(2);
    visit(2).unwrap();

    let set =
        ReplicaSet::builder("rs0").nodes(NodeOptions::new().secure().host(|_| "127.0.0.1".into()));
    let set = set.members(1).start();
    assert_eq!(set.address(0), set.node(0).proxy().addr().to_string());
    let ca = set.ca().unwrap().cert();
    RawClient::connect_tls(set.node(0).proxy().addr(), "127.0.0.1", ca).unwrap();
}
