//! `mongotls explain`: the findings in plans of several versions of MongoDB, of both query engines and of sharded clusters;
//! the report, and what is never sent.
//!
//! The replies have the form of MongoDB's manual ("Explain Results" of the versions 4.2 to 8.0), reduced to the fields that
//! a plan consists of. SecantusDB answers itself in one test.

use mongotls::Client;
use mongotls::bson::oid::ObjectId;
use mongotls::bson::{Bson, Document, doc};
use mongotls_testbench::peers::{Secantus, or_skip};
use mongotls_testbench::server::{Auth, Server, User};
use serde_json::Value;

use crate::cli::{Run, mongotls};

const FIND: &str =
    r#"{"find": "things", "filter": {"kind": "a", "n": {"$gt": 5}}, "sort": {"at": -1}}"#;
/// The index that serves [`FIND`].
const BEST: &str = r#"{"createIndexes":"things","indexes":[{"key":{"kind":1,"at":-1,"n":1},"name":"kind_1_at_-1_n_1"}]}"#;

/// Explains a command on a server with this reply, and these indexes.
fn explain(command: &str, reply: &Document, indexes: &[Document], options: &[&str]) -> Run {
    let reply = reply.clone();
    let list = doc! {
        "cursor": { "id": 0_i64, "ns": "shop.things", "firstBatch": indexes.to_vec() }, "ok": 1.0,
    };
    let server = Server::builder()
        .handle("explain", move |_| {
            let mut reply = reply.clone();
            reply.insert("ok", 1.0);
            Some(reply)
        })
        .handle("listIndexes", move |_| Some(list.clone()))
        .start();
    let uri = server.uri();
    let words = [&["explain", &uri, "shop", command], options].concat();
    mongotls(&words)
}

fn object(run: &Run) -> Value {
    let object = serde_json::from_str(&run.out);
    object.unwrap_or_else(|error| panic!("{error}: {}{}", run.out, run.err))
}

/// The code and the severity of each finding.
fn codes(object: &Value) -> Vec<(&str, &str)> {
    let findings = object["findings"].as_array().unwrap().iter();
    let text = |finding: &'_ Value, key: &str| finding[key].as_str().unwrap().to_owned();
    let all = findings.map(|finding| (text(finding, "code"), text(finding, "severity")));
    let leaked = all.map(|(code, severity)| (&*code.leak(), &*severity.leak()));
    leaked.collect()
}

/// Explains a command, and compares the findings. Returns the object.
fn expect(
    command: &str,
    reply: &Document,
    indexes: &[Document],
    expected: &[(&str, &str)],
) -> Value {
    let run = explain(command, reply, indexes, &["--json"]);
    let object = object(&run);
    assert_eq!(codes(&object), expected, "{}", run.out);
    let has_problem = expected.iter().any(|(_, severity)| *severity == "problem");
    assert_eq!(run.code, i32::from(has_problem), "{}", run.out);
    assert_eq!(object["ok"], !has_problem);
    object
}

fn finding<'a>(object: &'a Value, code: &str) -> (&'a str, &'a str) {
    let mut findings = object["findings"].as_array().unwrap().iter();
    let found = findings.find(|finding| finding["code"] == code).unwrap();
    (
        found["message"].as_str().unwrap(),
        found["remedy"].as_str().unwrap_or_default(),
    )
}

const PROBLEM: &str = "problem";
const NOTE: &str = "note";

/// `executionStats` with these numbers.
fn stats(returned: i32, keys: i32, docs: i32, stages: Document) -> Document {
    doc! {
        "executionSuccess": true, "nReturned": returned, "executionTimeMillis": 412, "totalKeysExamined": keys,
        "totalDocsExamined": docs, "executionStages": stages,
    }
}

/// A sort of a whole collection, as the classic engine of MongoDB 4.2 explains it.
fn classic_4_2() -> Document {
    let scan =
        doc! { "stage": "COLLSCAN", "filter": { "kind": { "$eq": "a" } }, "direction": "forward" };
    let sort = doc! {
        "stage": "SORT", "sortPattern": { "at": -1 },
        "inputStage": { "stage": "SORT_KEY_GENERATOR", "inputStage": &scan },
    };
    let executed = doc! {
        "stage": "SORT", "nReturned": 3, "works": 1_000_007, "sortPattern": { "at": -1 }, "memUsage": 300,
        "memLimit": 33_554_432,
        "inputStage": {
            "stage": "SORT_KEY_GENERATOR", "nReturned": 3,
            "inputStage": { "stage": "COLLSCAN", "nReturned": 3, "docsExamined": 1_000_000 },
        },
    };
    doc! {
        "queryPlanner": {
            "plannerVersion": 1, "namespace": "shop.things", "indexFilterSet": false, "parsedQuery": {},
            "winningPlan": sort, "rejectedPlans": [],
        },
        "executionStats": stats(3, 0, 1_000_000, executed),
        "serverInfo": { "host": "db1", "port": 27017, "version": "4.2.24", "gitVersion": "x" },
    }
}

/// An index scan of the slot-based engine of MongoDB 7.0 and 8.0.
fn slot_based(returned: i32, keys: i32, docs: i32) -> Document {
    let plan = doc! {
        "stage": "FETCH", "planNodeId": 2, "filter": { "n": { "$gt": 5 } },
        "inputStage": {
            "stage": "IXSCAN", "planNodeId": 1, "keyPattern": { "kind": 1 }, "indexName": "kind_1", "isMultiKey": false,
            "direction": "forward", "indexBounds": { "kind": ["[\"a\", \"a\"]"] },
        },
    };
    let executed = doc! {
        "stage": "filter", "planNodeId": 2, "nReturned": returned, "numTested": docs,
        "inputStage": {
            "stage": "nlj", "planNodeId": 2, "nReturned": docs, "totalDocsExamined": docs,
            "outerStage": { "stage": "ixseek", "planNodeId": 1, "nReturned": keys, "keysExamined": keys },
            "innerStage": { "stage": "limit", "planNodeId": 2, "inputStage": { "stage": "seek", "planNodeId": 2 } },
        },
    };
    doc! {
        "explainVersion": "2",
        "queryPlanner": {
            "namespace": "shop.things", "queryHash": "A1", "planCacheKey": "B2", "optimizationTimeMillis": 0,
            "winningPlan": { "isCached": false, "queryPlan": plan, "slotBasedPlan": { "slots": "", "stages": "" } },
            "rejectedPlans": [],
        },
        "executionStats": stats(returned, keys, docs, executed),
    }
}

#[test]
fn a_scan_with_a_sort_in_memory_is_found_in_old_plans() {
    let by_id = [doc! { "v": 2, "key": { "_id": 1 }, "name": "_id_" }];
    // Only 3 documents are sorted, which costs nothing.
    let expected = [
        ("collection-scan", PROBLEM),
        ("many-examined", PROBLEM),
        ("in-memory-sort", NOTE),
    ];
    let object = expect(FIND, &classic_4_2(), &by_id, &expected);
    let (message, remedy) = finding(&object, "collection-scan");
    assert_eq!(
        message,
        "the whole collection is read (1,000,000 documents), because no index serves the filter"
    );
    assert_eq!(remedy, format!("create an index: {BEST}"));
    let (message, _) = finding(&object, "many-examined");
    assert_eq!(
        message,
        "1,000,000 documents and 0 index keys are examined, and 3 documents match"
    );
    let plan = &object["plans"][0];
    assert_eq!(
        plan["stages"],
        serde_json::json!(["SORT", "SORT_KEY_GENERATOR", "COLLSCAN"])
    );
    assert_eq!(
        (&plan["matched"], &plan["documents_examined"]),
        (&3.into(), &1_000_000.into())
    );
    assert_eq!(object["reply"]["queryPlanner"]["namespace"], "shop.things");
}

#[test]
fn the_report_is_short_text() {
    let run = explain(FIND, &classic_4_2(), &[], &[]);
    let expected = format!(
        "\
server      db1:27017, MongoDB 4.2.24
command     find on shop.things, 412 ms
plan        COLLSCAN -> SORT_KEY_GENERATOR -> SORT
examined    1,000,000 documents and 0 index keys, for 3 matches

  problem  the whole collection is read (1,000,000 documents), because no index serves the filter [collection-scan]
           create an index: {BEST}
  problem  1,000,000 documents and 0 index keys are examined, and 3 documents match [many-examined]
           create an index: {BEST}
  note     3 documents are sorted in memory, because no index has this order [in-memory-sort]
           create an index: {BEST}
"
    );
    assert_eq!((run.code, run.err.as_str()), (1, ""));
    assert_eq!(run.out, expected);
    let good = explain(FIND, &slot_based(40, 42, 42), &[], &[]);
    assert_eq!(good.code, 0);
    assert!(
        good.out
            .contains("command     find on shop.things, slot-based engine, 412 ms\n")
    );
    assert!(
        good.out.contains("plan        IXSCAN kind_1 -> FETCH\n"),
        "{}",
        good.out
    );
    assert!(good.out.ends_with("\n  all is well\n"));
}

#[test]
fn an_index_that_does_not_select_enough_is_found_in_both_engines() {
    let indexes = [doc! { "key": { "kind": 1 }, "name": "kind_1" }];
    let slot_based = slot_based(3, 1_000_000, 1_000_000);
    let winning = doc! {
        "stage": "FETCH",
        "inputStage": { "stage": "IXSCAN", "indexName": "kind_1", "keyPattern": { "kind": 1 } },
    };
    let classic = doc! {
        "explainVersion": "1",
        "queryPlanner": { "namespace": "shop.things", "winningPlan": &winning },
        "executionStats": stats(3, 1_000_000, 1_000_000, winning),
    };
    for reply in [slot_based, classic] {
        let object = expect(FIND, &reply, &indexes, &[("many-examined", PROBLEM)]);
        let (message, remedy) = finding(&object, "many-examined");
        assert_eq!(
            message,
            "1,000,000 documents and 1,000,000 index keys are examined, and 3 documents match"
        );
        let expected =
            format!("the index \"kind_1\" does not select enough; create an index: {BEST}");
        assert_eq!(remedy, expected);
        assert_eq!(object["plans"][0]["indexes"], serde_json::json!(["kind_1"]));
    }
    // Nine of ten documents are thrown away only beyond the limits: 100 documents, and ten for each match.
    for (returned, docs, is_found) in [
        (0, 100, false),
        (0, 101, true),
        (11, 109, false),
        (11, 111, true),
    ] {
        let reply = self::slot_based(returned, docs, docs);
        let found = [("many-examined", PROBLEM)];
        expect(FIND, &reply, &indexes, if is_found { &found } else { &[] });
    }
}

#[test]
fn counted_grouped_and_changed_documents_match_although_none_is_returned() {
    let scan = |returned: i32| {
        doc! {
            "stage": "IXSCAN", "indexName": "kind_1", "keyPattern": { "kind": 1 }, "nReturned": returned,
        }
    };
    let over = |stage: &str, returned: i32| {
        let tree = doc! { "stage": stage, "nReturned": 0, "inputStage": scan(returned) };
        doc! {
            "queryPlanner": { "namespace": "shop.things", "winningPlan": &tree },
            "executionStats": stats(0, 50_000, 50_000, tree),
        }
    };
    let filter = r#""q": {"kind": "a"}"#;
    for (stage, command) in [
        (
            "COUNT",
            r#"{"count": "things", "query": {"kind": "a"}}"#.to_owned(),
        ),
        (
            "DELETE",
            format!(r#"{{"delete": "things", "deletes": [{{{filter}, "limit": 0}}]}}"#),
        ),
        (
            "BATCHED_DELETE",
            format!(r#"{{"delete": "things", "deletes": [{{{filter}, "limit": 0}}]}}"#),
        ),
        (
            "UPDATE",
            format!(
                r#"{{"update": "things", "updates": [{{{filter}, "u": {{"$set": {{"a": 1}}}}}}]}}"#
            ),
        ),
    ] {
        let object = expect(&command, &over(stage, 50_000), &[], &[]);
        assert_eq!(object["plans"][0]["matched"], 50_000, "{stage}");
        expect(
            &command,
            &over(stage, 3),
            &[],
            &[("many-examined", PROBLEM)],
        );
    }
    // The slot-based engine groups in the plan.
    let plan = doc! {
        "stage": "GROUP", "planNodeId": 3,
        "inputStage": { "stage": "IXSCAN", "planNodeId": 1, "indexName": "kind_1", "keyPattern": {} },
    };
    let executed = doc! {
        "stage": "project", "planNodeId": 3, "nReturned": 2,
        "inputStage": {
            "stage": "group", "planNodeId": 3, "nReturned": 2,
            "inputStage": { "stage": "ixscan", "planNodeId": 1, "nReturned": 50_000 },
        },
    };
    let reply = doc! {
        "explainVersion": "2",
        "queryPlanner": { "winningPlan": { "queryPlan": plan, "slotBasedPlan": {} } },
        "executionStats": stats(2, 50_000, 0, executed),
    };
    let command = r#"{"aggregate": "things", "pipeline": [{"$match": {"kind": "a"}}, {"$group": {"_id": "$n"}}], "cursor": {}}"#;
    let object = expect(command, &reply, &[], &[]);
    assert_eq!(object["plans"][0]["matched"], 50_000);
}

/// An aggregation whose sort, group and lookup are beside the plan, as MongoDB 5.0 and later explain it.
fn pipeline() -> Document {
    let scan = doc! { "stage": "COLLSCAN", "nReturned": 80_000 };
    doc! {
        "explainVersion": "1",
        "stages": [
            { "$cursor": {
                "queryPlanner": { "namespace": "shop.things", "winningPlan": &scan },
                "executionStats": stats(80_000, 0, 80_000, scan),
            }, "nReturned": 80_000_i64, "executionTimeMillisEstimate": 90_i64 },
            { "$sort": { "sortKey": { "n": 1 } }, "totalDataSizeSortedBytesEstimate": 900_000_000_i64,
              "usedDisk": true, "spills": 9_i64, "spilledDataStorageSize": 450_000_000_i64, "nReturned": 80_000_i64 },
            { "$lookup": { "from": "orders", "as": "orders", "localField": "_id", "foreignField": "thing" },
              "totalDocsExamined": 400_000_000_i64, "totalKeysExamined": 0_i64, "collectionScans": 80_000_i64,
              "indexesUsed": [], "nReturned": 80_000_i64 },
            { "$group": { "_id": "$kind" }, "maxAccumulatorMemoryUsageBytes": {}, "usedDisk": true, "nReturned": 2_i64 },
        ],
        "serverInfo": { "host": "db1", "port": 27017, "version": "5.0.9" },
    }
}

#[test]
fn the_stages_beside_a_plan_are_judged() {
    let command = r#"{"aggregate": "things", "cursor": {}, "pipeline": [{"$sort": {"n": 1}}, {"$lookup": {"from": "orders",
        "localField": "_id", "foreignField": "thing", "as": "orders"}}, {"$group": {"_id": "$kind"}}]}"#;
    let expected = [
        // The whole collection is asked for.
        ("collection-scan", NOTE),
        ("in-memory-sort", PROBLEM),
        ("spilled-to-disk", PROBLEM),
        ("spilled-to-disk", PROBLEM),
        ("lookup-scan", PROBLEM),
    ];
    let object = expect(command, &pipeline(), &[], &expected);
    let (message, remedy) = finding(&object, "in-memory-sort");
    assert_eq!(
        message,
        "80,000 documents are sorted in memory, because no index has this order"
    );
    let index = r#"{"createIndexes":"things","indexes":[{"key":{"n":1},"name":"n_1"}]}"#;
    assert_eq!(remedy, format!("create an index: {index}"));
    let (message, _) = finding(&object, "spilled-to-disk");
    let expected = "the stage $sort needed more memory than the server allows, and used files (9 times, 450,000,000 bytes)";
    assert_eq!(message, expected);
    assert!(
        object["findings"][3]["message"]
            .as_str()
            .unwrap()
            .starts_with("the stage $group needed")
    );
    let (message, remedy) = finding(&object, "lookup-scan");
    let expected =
        "$lookup reads the whole collection orders 80,000 times, 400,000,000 documents in all";
    assert_eq!(message, expected);
    let index = r#"{"createIndexes":"orders","indexes":[{"key":{"thing":1},"name":"thing_1"}]}"#;
    assert_eq!(remedy, format!("create an index: {index}"));
    let text = explain(command, &pipeline(), &[], &[]).out;
    assert!(
        text.contains("then        $sort, $lookup, $group\n"),
        "{text}"
    );
    // Behind a group no index helps.
    let mut reply = pipeline();
    reply.get_array_mut("stages").unwrap().rotate_right(1);
    let Some(Bson::Array(stages)) = reply.get_mut("stages") else {
        panic!()
    };
    stages.swap(0, 1);
    let (_, remedy) = finding(&object_of(command, &reply), "in-memory-sort").into_owned();
    assert!(
        remedy.starts_with("an index cannot help behind $group"),
        "{remedy}"
    );
}

fn object_of(command: &str, reply: &Document) -> Value {
    object(&explain(command, reply, &[], &["--json"]))
}

trait IntoOwned {
    fn into_owned(self) -> (String, String);
}

impl IntoOwned for (&str, &str) {
    fn into_owned(self) -> (String, String) {
        (self.0.to_owned(), self.1.to_owned())
    }
}

#[test]
fn joins_and_spills_of_the_slot_based_engine_are_found() {
    let plan = doc! {
        "stage": "EQ_LOOKUP", "planNodeId": 2, "foreignCollection": "shop.orders", "localField": "_id",
        "foreignField": "thing", "asField": "o", "strategy": "NestedLoopJoin",
        "inputStage": { "stage": "COLLSCAN", "planNodeId": 1, "direction": "forward" },
    };
    let executed = doc! {
        "stage": "project", "planNodeId": 2, "nReturned": 5,
        "inputStage": { "stage": "sort", "planNodeId": 2, "nReturned": 5, "usedDisk": true, "spills": 2, "spilledBytes": 7000 },
    };
    let reply = doc! {
        "explainVersion": "2",
        "queryPlanner": { "namespace": "shop.things", "winningPlan": { "queryPlan": plan, "slotBasedPlan": {} } },
        "executionStats": stats(5, 0, 25, executed),
    };
    let command =
        r#"{"aggregate": "things", "pipeline": [{"$lookup": {"from": "orders"}}], "cursor": {}}"#;
    let expected = [
        ("collection-scan", NOTE),
        ("spilled-to-disk", PROBLEM),
        ("lookup-scan", PROBLEM),
    ];
    let object = expect(command, &reply, &[], &expected);
    let (_, remedy) = finding(&object, "lookup-scan");
    assert!(
        remedy.contains(r#"{"createIndexes":"orders","indexes":[{"key":{"thing":1}"#),
        "{remedy}"
    );
    let (message, _) = finding(&object, "spilled-to-disk");
    assert!(message.ends_with("(2 times, 7,000 bytes)"), "{message}");
}

/// A plan of two shards, as `mongos` explains it.
fn sharded(scan: &str, docs: i32) -> Document {
    let shard = |name: &str, scan: &str| {
        let plan = doc! { "stage": "SHARDING_FILTER", "inputStage": { "stage": scan } };
        doc! { "shardName": name, "connectionString": "rs/x", "namespace": "shop.things", "winningPlan": plan, "rejectedPlans": [] }
    };
    let executed = |name: &str, docs: i32, scan: &str| {
        let stages = doc! { "stage": "SHARDING_FILTER", "nReturned": 1, "inputStage": { "stage": scan, "nReturned": 1 } };
        let mut stats = stats(1, 0, docs, stages);
        stats.insert("shardName", name);
        stats
    };
    let shards = [
        executed("shard0", docs, scan),
        executed("shard1", 1, "IXSCAN"),
    ];
    doc! {
        "queryPlanner": {
            "mongosPlannerVersion": 1,
            "winningPlan": { "stage": "SHARD_MERGE", "shards": [shard("shard0", scan), shard("shard1", "IXSCAN")] },
        },
        "executionStats": stats(2, 0, docs + 1, doc! { "stage": "SHARD_MERGE", "nReturned": 2, "shards": shards.to_vec() }),
    }
}

#[test]
fn each_shard_has_its_own_plan() {
    let reply = sharded("COLLSCAN", 5_000);
    let expected = [
        ("collection-scan", PROBLEM),
        ("many-examined", PROBLEM),
        ("all-shards", NOTE),
    ];
    let object = expect(FIND, &reply, &[], &expected);
    let (message, _) = finding(&object, "collection-scan");
    assert!(
        message.starts_with("the whole collection is read on the shard shard0 ("),
        "{message}"
    );
    let (message, _) = finding(&object, "many-examined");
    assert!(message.starts_with("5,001 documents and 0 index keys are examined, and 2 documents"));
    assert_eq!(object["plans"][1]["shard"], "shard1");
    assert_eq!(object["plans"][1]["documents_examined"], 1);
    expect(FIND, &sharded("IXSCAN", 1), &[], &[("all-shards", NOTE)]);
    // A sharded aggregation has a part for each shard.
    let mut parts = Document::new();
    for shard in ["shard0", "shard1"] {
        let mut part = pipeline();
        part.remove("serverInfo");
        parts.insert(shard, part);
    }
    let reply = doc! { "mergeType": "mongos", "splitPipeline": {}, "shards": parts };
    let command = r#"{"aggregate": "things", "pipeline": [{"$sort": {"n": 1}}], "cursor": {}}"#;
    let object = object_of(command, &reply);
    let (message, _) = finding(&object, "collection-scan");
    assert!(message.starts_with(
        "the whole collection is read on the shards shard0 and shard1 (160,000 documents)"
    ));
    let (message, _) = finding(&object, "spilled-to-disk");
    assert!(
        message.contains("used files on the shard shard0 ("),
        "{message}"
    );
}

#[test]
fn an_index_that_is_not_used_is_named_with_the_reason() {
    let key = || doc! { "kind": 1, "x": 1 };
    let index = |more: Document| {
        let mut index = doc! { "v": 2, "key": key(), "name": "kind_1_x_1" };
        index.extend(more);
        [index]
    };
    for (index, why, remedy) in [
        (
            index(doc! { "hidden": true }),
            "it is hidden",
            r#"show it: {"collMod":"things","index":{"name":"kind_1_x_1","hidden":false}}"#,
        ),
        (
            index(doc! { "partialFilterExpression": { "n": { "$gt": 9 } } }),
            r#"it has only the documents that match {"n":{"$gt":9}}"#,
            "add this condition to the filter",
        ),
        (
            index(doc! { "collation": { "locale": "de" } }),
            r#"its collation is "de", and that of the command is "simple""#,
            "send the command with the collation of the index",
        ),
        (
            index(doc! { "sparse": true }),
            "it is sparse",
            "create an index that is not sparse",
        ),
        (
            index(doc! {}),
            "its field has a condition that an index serves badly",
            "replace $ne",
        ),
    ] {
        let object = object(&explain(FIND, &classic_4_2(), &index, &["--json"]));
        let (message, found) = finding(&object, "unused-index");
        let expected = format!(
            "the index \"kind_1_x_1\" begins with \"kind\", which the filter names, but it is not used: {why}"
        );
        assert!(message.starts_with(&expected), "{message}");
        assert!(found.starts_with(remedy), "{found}");
    }
    // An index of another field cannot be used.
    let other = [doc! { "key": { "x": 1 }, "name": "x_1" }];
    let object = object(&explain(FIND, &classic_4_2(), &other, &["--json"]));
    assert!(
        codes(&object)
            .iter()
            .all(|(code, _)| *code != "unused-index")
    );
}

#[test]
fn small_and_intended_scans_are_notes() {
    let scan = |docs: i32| {
        let tree = doc! { "stage": "COLLSCAN", "nReturned": docs };
        doc! {
            "queryPlanner": { "namespace": "shop.things", "winningPlan": &tree },
            "executionStats": stats(docs, 0, docs, tree),
        }
    };
    let note = [("collection-scan", NOTE)];
    let problem = [("collection-scan", PROBLEM)];
    let filtered = r#"{"find": "things", "filter": {"kind": "a"}}"#;
    expect(filtered, &scan(100), &[], &note);
    expect(filtered, &scan(101), &[], &problem);
    expect(r#"{"find": "things"}"#, &scan(5_000), &[], &note);
    let natural = r#"{"find": "things", "filter": {"kind": "a"}, "hint": {"$natural": 1}}"#;
    let object = expect(natural, &scan(5_000), &[], &note);
    assert!(
        finding(&object, "collection-scan")
            .1
            .starts_with("remove $natural")
    );
    let object = expect(
        r#"{"find": "things", "filter": {"$where": "1"}}"#,
        &scan(5_000),
        &[],
        &problem,
    );
    assert!(
        finding(&object, "collection-scan")
            .1
            .starts_with("no index can serve such a filter")
    );
    let object = expect(
        r#"{"find": "things", "filter": {"$or": [{"a": 1}]}}"#,
        &scan(5_000),
        &[],
        &problem,
    );
    assert!(
        finding(&object, "collection-scan")
            .1
            .starts_with("each branch of $or")
    );
    // A range of a clustered collection is not the whole collection.
    let mut clustered = scan(5_000);
    let planner = clustered.get_document_mut("queryPlanner").unwrap();
    planner.insert(
        "winningPlan",
        doc! { "stage": "COLLSCAN", "minRecord": 1, "maxRecord": 9 },
    );
    expect(filtered, &clustered, &[], &[]);
    let eof =
        doc! { "queryPlanner": { "namespace": "shop.things", "winningPlan": { "stage": "EOF" } } };
    expect(filtered, &eof, &[], &[("nothing-read", NOTE)]);
}

#[test]
fn a_failed_execution_and_an_unknown_reply_are_problems() {
    let mut reply = classic_4_2();
    let stats = reply.get_document_mut("executionStats").unwrap();
    stats.insert("executionSuccess", false);
    stats.insert("errorMessage", "Sort exceeded memory limit");
    let object = object_of(FIND, &reply);
    let (message, _) = finding(&object, "execution-failed");
    assert_eq!(message, "the execution failed: Sort exceeded memory limit");
    let object = expect(
        FIND,
        &doc! { "plan": "secret" },
        &[],
        &[("unknown-plan", PROBLEM)],
    );
    assert_eq!(object["reply"]["plan"], "secret");
    for strange in [
        doc! { "queryPlanner": 5 },
        doc! { "stages": [5, {}, { "$cursor": 5 }] },
        doc! { "shards": { "a": 5 } },
        doc! { "queryPlanner": { "winningPlan": { "shards": [5] } }, "executionStats": [] },
    ] {
        let run = explain(FIND, &strange, &[], &[]);
        assert_eq!(run.code, 1, "{strange}: {}{}", run.out, run.err);
    }
}

#[test]
fn commands_that_write_are_rejected_before_sending() {
    let server = Server::builder().start();
    let uri = server.uri();
    for (command, complaint) in [
        (
            r#"{"aggregate": "c", "pipeline": [{"$out": "d"}], "cursor": {}}"#,
            "explain does not take $out, $merge and the out of mapReduce",
        ),
        (
            r#"{"aggregate": "c", "pipeline": [{"$merge": {"into": "d"}}], "cursor": {}}"#,
            "explain does not take $out, $merge and the out of mapReduce",
        ),
        (
            r#"{"insert": "c", "documents": [{"a": 1}]}"#,
            "explain takes the commands aggregate, count, delete, distinct, find, findAndModify, mapReduce and update",
        ),
        (r#"{"dropDatabase": 1}"#, "explain takes the commands"),
    ] {
        let run = mongotls(&["explain", &uri, "shop", command]);
        assert_eq!((run.code, run.out.as_str()), (2, ""));
        assert!(
            run.err.starts_with(&format!("mongotls: {complaint}")),
            "{}",
            run.err
        );
        let json = mongotls(&["explain", &uri, "shop", command, "--json"]);
        assert_eq!((json.code, object(&json)["ok"].as_bool()), (2, Some(false)));
    }
    assert_eq!(server.counts().accepted, 0, "nothing is connected");
}

#[test]
fn the_command_is_only_explained() {
    let server = Server::builder().start();
    let delete = r#"{"delete": "things", "deletes": [{"q": {"a": 1}, "limit": 0}], "maxTimeMS": 500, "writeConcern": {"w": 2}}"#;
    let run = mongotls(&["explain", &server.uri(), "shop", delete, "--json"]);
    assert_eq!(run.code, 0, "{}{}", run.out, run.err);
    let sent = server.commands_named("explain");
    assert_eq!(sent.len(), 1);
    let body = &sent[0].body;
    let expected = doc! { "delete": "things", "deletes": [{ "q": { "a": 1 }, "limit": 0 }] };
    assert_eq!(body.get_document("explain").ok(), Some(&expected));
    assert_eq!(body.get_str("verbosity").ok(), Some("executionStats"));
    assert_eq!(
        body.get("maxTimeMS").and_then(|limit| limit.as_i32()),
        Some(500)
    );
    assert!(!body.contains_key("writeConcern"));
    assert_eq!(server.count_of("delete"), 0);
}

#[test]
fn a_rejected_explanation_is_an_error() {
    let auth = Auth::new().user(User::new("admin", "ada", "pencil"));
    let server = Server::builder().auth(auth).start();
    let run = mongotls(&["explain", &server.uri(), "shop", FIND, "--json"]);
    let object = object(&run);
    assert_eq!((run.code, object["ok"].as_bool()), (1, Some(false)));
    assert_eq!(object["stage"], "command");
    assert_eq!(object["code"], 13);
    assert!(object.get("findings").is_none());
    let text = mongotls(&["explain", &server.uri(), "shop", FIND]);
    assert_eq!((text.code, text.out.as_str()), (1, ""));
    assert!(text.err.starts_with("mongotls: "), "{}", text.err);
}

#[test]
fn a_real_server_explains_scans_sorts_and_indexes() {
    let Some(secantus) = or_skip(Secantus::shared()) else {
        return;
    };
    let uri = format!("mongodb://{}/?directConnection=true", secantus.addr());
    let client = Client::connect(&uri).unwrap();
    let name = ObjectId::new().to_hex();
    let things = client.database("shop").collection::<Document>(&name);
    things
        .insert_many((0..1000).map(|id| doc! { "_id": id, "kind": id % 500, "at": id }))
        .run()
        .unwrap();
    let command = format!(r#"{{"find": "{name}", "filter": {{"kind": 7}}, "sort": {{"at": 1}}}}"#);
    let explain = || {
        let run = mongotls(&["explain", &uri, "shop", &command, "--json"]);
        (run.code, object(&run))
    };
    let (code, object) = explain();
    let found: Vec<&str> = codes(&object).iter().map(|(code, _)| *code).collect();
    assert_eq!(code, 1, "{object}");
    assert!(found.contains(&"collection-scan"), "{object}");
    let (_, remedy) = finding(&object, "collection-scan");
    let create = remedy.strip_prefix("create an index: ").unwrap();
    // The remedy is a command, and it helps.
    let run = mongotls(&["run", &uri, "shop", create]);
    assert_eq!(run.code, 0, "{}{}", run.out, run.err);
    let (_, object) = explain();
    let found: Vec<&str> = codes(&object).iter().map(|(code, _)| *code).collect();
    assert!(!found.contains(&"collection-scan"), "{object}");
    assert!(!found.contains(&"many-examined"), "{object}");
}
