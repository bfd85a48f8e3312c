//! The table of operations: what each does, how to run it, and which writes it makes.

use std::fmt::Debug;

use mongotls::bson::{Document, doc};
use mongotls::error::Result;
use mongotls::options::{ValidationLevel, Verbosity};
use mongotls::{Command, Cursor, IndexModel, SearchIndexModel};

use crate::scene::Scene;

/// An operation of the public API.
pub(crate) struct Operation {
    /// The type and the method. More words follow after a space, if it has several rows.
    pub(crate) name: &'static str,
    /// The command that fails.
    pub(crate) command: &'static str,
    pub(crate) kind: Kind,
    /// The writes of the operation, in their order. See [`Snapshot::applied`](crate::judge::Snapshot::applied).
    pub(crate) units: &'static [&'static str],
    /// Runs it, and returns its result as text.
    pub(crate) run: fn(&Scene) -> Result<String>,
}

/// The kinds of operations, as far as it is known what a failure may have done.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Kind {
    /// It writes nothing.
    Read,
    /// It writes one document at most, and is retried.
    One,
    /// Its commands write several documents, and are retried.
    Batch,
    /// It writes several documents, and is not retried.
    Many,
    /// A command of the program, or one that changes collections and indexes. It is not retried.
    Other,
}

macro_rules! operations {
    ($($kind:ident $name:literal $command:literal [$($unit:literal)*] |$it:ident| $run:expr;)*) => {
        pub(crate) const OPERATIONS: &[Operation] = &[$(Operation {
            name: $name,
            command: $command,
            kind: Kind::$kind,
            units: &[$($unit),*],
            run: |$it| shown($run),
        }),*];
    };
}

operations! {
    Read "Collection::find" "find" [] |it| it.things().find(doc! {}).sort(by_id()).run().and_then(all);
    Read "Cursor::advance" "getMore" [] |it| it.things().find(doc! {}).sort(by_id()).batch_size(2).run().and_then(all);
    Read "Cursor::close" "killCursors" [] |it| it.things().find(doc! {}).batch_size(2).run().map(Cursor::close);
    Read "Collection::find_one" "find" [] |it| it.things().find_one(doc! { "_id": "s1" }).run();
    Read "Collection::find_one (raw)" "find" [] |it| it.things().find_one(doc! { "_id": "s1" }).run_raw();
    Read "Collection::find (explained)" "explain" [] |it| it.things().find(doc! {}).explain(Verbosity::QueryPlanner).map(|plan| plan.contains_key("ok"));
    Read "Collection::aggregate" "aggregate" [] |it| it.things().aggregate([doc! { "$sort": by_id() }]).run().and_then(all);
    Many "Collection::aggregate ($out)" "aggregate" ["+out" "+out/s0" "+out/s3"] |it| it.things().aggregate([doc! { "$out": "out" }]).run().map(|cursor| cursor.is_open());
    Many "Collection::aggregate ($merge)" "aggregate" ["+out" "+out/s0" "+out/s3"] |it| it.things().aggregate([doc! { "$merge": { "into": "out" } }]).run().map(|cursor| cursor.is_open());
    Read "Database::aggregate" "aggregate" [] |it| it.database().aggregate([doc! { "$documents": [{ "a": 1 }] }]).run().and_then(all);
    Read "Collection::count_documents" "aggregate" [] |it| it.things().count_documents(doc! { "kind": "a" }).run();
    Read "Collection::estimated_document_count" "count" [] |it| it.things().estimated_document_count().run();
    Read "Collection::distinct" "distinct" [] |it| it.things().distinct("kind", doc! {}).run();

    One "Collection::insert_one" "insert" ["+things/u0"] |it| it.things().insert_one(doc! { "_id": "u0" }).run();
    One "Collection::insert_one (duplicate)" "insert" ["+things/s0"] |it| it.things().insert_one(doc! { "_id": "s0" }).run();
    One "Collection::update_one" "update" ["*things/s0"] |it| it.things().update_one(doc! { "_id": "s0" }, more()).run();
    One "Collection::update_one (upsert)" "update" ["+things/u0"] |it| it.things().update_one(doc! { "_id": "u0" }, more()).upsert(true).run();
    One "Collection::replace_one" "update" ["*things/s0"] |it| it.things().replace_one(doc! { "_id": "s0" }, doc! { "n": 1 }).run();
    One "Collection::delete_one" "delete" ["-things/s0"] |it| it.things().delete_one(doc! { "_id": "s0" }).run();
    One "Collection::find_one_and_update" "findAndModify" ["*things/s0"] |it| it.things().find_one_and_update(doc! { "_id": "s0" }, more()).run();
    One "Collection::find_one_and_replace" "findAndModify" ["*things/s0"] |it| it.things().find_one_and_replace(doc! { "_id": "s0" }, doc! { "n": 1 }).run();
    One "Collection::find_one_and_delete" "findAndModify" ["-things/s0"] |it| it.things().find_one_and_delete(doc! { "_id": "s0" }).run();
    Many "Collection::update_many" "update" ["*things/s0" "*things/s1" "*things/s2" "*things/s3"] |it| it.things().update_many(doc! {}, more()).run();
    Many "Collection::delete_many" "delete" ["-things/s0" "-things/s1" "-things/s2" "-things/s3"] |it| it.things().delete_many(doc! {}).run();

    Batch "Collection::insert_many" "insert" ["+things/u0" "+things/u1" "+things/u2" "+things/u3" "+things/u4"] |it| it.things().insert_many(new(5)).batch_bytes(40).run();
    Batch "Collection::insert_many (duplicate)" "insert" ["+things/u0" "+things/s0" "+things/u1"] |it| it.things().insert_many(ids(["u0", "s0", "u1"])).run();
    Batch "Collection::insert_many (unordered)" "insert" ["+things/u0" "+things/s0" "+things/u1"] |it| it.things().insert_many(ids(["u0", "s0", "u1"])).ordered(false).run();
    Batch "Collection::try_insert_many" "insert" ["+things/u0" "+things/u1" "+things/u2"] |it| it.things().try_insert_many(new(3).map(Ok::<_, String>)).run();
    Batch "Collection::try_insert_many (fails)" "insert" ["+things/u0" "+things/u1"] |it| it.things().try_insert_many(new(2).map(Ok).chain([Err("no more")])).batch_bytes(1).run();
    Batch "Collection::bulk" "insert" ["+things/u0" "*things/s0" "-things/s1" "+things/u1" "*things/s2" "+things/u2"] |it| it.bulk(true);
    Batch "Collection::bulk (unordered)" "update" ["+things/u0" "*things/s0" "-things/s1" "+things/u1" "*things/s2" "+things/u2"] |it| it.bulk(false);
    Batch "Collection::bulk (nothing)" "insert" ["*things/s9" "+things/s0"] |it| it.bulk_that_changes_nothing();
    Batch "Collection::bulk (duplicate)" "insert" ["+things/u0" "+things/s0" "*things/s1"] |it| it.bulk_with_duplicate(true);
    Batch "Collection::bulk (unordered, duplicate)" "insert" ["+things/u0" "+things/s0" "*things/s1"] |it| it.bulk_with_duplicate(false);
    Many "Collection::bulk (many)" "update" ["*things/s0" "*things/s1"] |it| it.bulk_of_many();
    Batch "Client::bulk" "bulkWrite" ["+things/u0" "*things/s0" "-things/s1" "+things/u1" "*things/s2" "+things/u2"] |it| it.client_bulk(true);
    Batch "Client::bulk (unordered)" "bulkWrite" ["+things/u0" "*things/s0" "-things/s1" "+things/u1" "*things/s2" "+things/u2"] |it| it.client_bulk(false);
    Batch "Client::bulk (verbose)" "bulkWrite" ["+things/u0" "*things/s0" "-things/s1" "+things/u1" "*things/s2" "+things/u2"] |it| it.verbose_client_bulk();
    Batch "Client::bulk (nothing)" "bulkWrite" ["*things/s9" "+things/s0"] |it| it.client_bulk_that_changes_nothing();
    Batch "Client::bulk (duplicate)" "bulkWrite" ["+things/u0" "+things/s0" "*things/s1"] |it| it.client_bulk_with_duplicate(true);
    Batch "Client::bulk (unordered, duplicate)" "bulkWrite" ["+things/u0" "+things/s0" "*things/s1"] |it| it.client_bulk_with_duplicate(false);

    One "Client::transaction" "commitTransaction" ["+things/u0" "*things/s0"] |it| it.transaction();
    One "Client::transaction (first command)" "insert" ["+things/u0" "*things/s0"] |it| it.transaction();
    One "Client::transaction (second command)" "update" ["+things/u0" "*things/s0"] |it| it.transaction();

    Read "Client::list_databases" "listDatabases" [] |it| it.client.list_databases().filter(doc! { "name": &it.database }).run().map(|all| all.len());
    Read "Client::list_database_names" "listDatabases" [] |it| it.client.list_database_names().filter(doc! { "name": &it.database }).run().map(|all| all.len());
    Read "Database::list_collections" "listCollections" [] |it| it.database().list_collections().run().and_then(all).map(|all| all.len());
    Read "Database::list_collection_names" "listCollections" [] |it| it.database().list_collection_names().run();
    Read "Collection::list_indexes" "listIndexes" [] |it| it.things().list_indexes().run().and_then(all);
    Read "Collection::list_index_names" "listIndexes" [] |it| it.things().list_index_names().run();
    Other "Database::create_collection" "create" ["+made"] |it| it.database().create_collection("made").run();
    Other "Database::modify_collection" "collMod" [] |it| it.database().modify_collection("things").validation_level(ValidationLevel::Off).run();
    Other "Database::drop" "dropDatabase" ["-things" "-things/s0"] |it| it.database().drop().run();
    Other "Collection::drop" "drop" ["-things" "-things/s0"] |it| it.things().drop().run();
    Other "Collection::rename" "renameCollection" ["-things" "+others" "+others/s0"] |it| it.things().rename("others").run();
    Other "Collection::create_index" "createIndexes" ["+things#n_1"] |it| it.things().create_index(index("n")).run().map(|it| it.index_name);
    Other "Collection::create_indexes" "createIndexes" ["+things#n_1" "+things#m_1"] |it| it.things().create_indexes([index("n"), index("m")]).run().map(|it| it.index_names);
    Other "Collection::drop_index" "dropIndexes" ["-things#kind_1"] |it| it.things().drop_index("kind_1").run();
    Other "Collection::drop_indexes" "dropIndexes" ["-things#kind_1"] |it| it.things().drop_indexes().run();
    Other "Collection::create_search_index" "createSearchIndexes" [] |it| it.things().create_search_index(search()).run();
    Other "Collection::create_search_indexes" "createSearchIndexes" [] |it| it.things().create_search_indexes([search()]).run();
    Other "Collection::update_search_index" "updateSearchIndex" [] |it| it.things().update_search_index("by-text", doc! {}).run();
    Other "Collection::drop_search_index" "dropSearchIndex" [] |it| it.things().drop_search_index("by-text").run();
    Read "Collection::list_search_indexes" "aggregate" [] |it| it.things().list_search_indexes().run().and_then(all);

    Other "Database::run_command" "insert" ["+things/u0"] |it| it.database().run_command(doc! { "insert": "things", "documents": [{ "_id": "u0" }] }).map(|reply| reply.get_i32("n").ok());
    Other "Database::run_command_as" "count" [] |it| it.database().run_command_as::<Count>(doc! { "count": "things" });
    Other "Database::run_raw_command" "count" [] |it| it.database().run_raw_command(doc! { "count": "things" }).map(|reply| reply.get_i32("n").ok());
    Read "Database::run_cursor_command" "find" [] |it| it.database().run_cursor_command(Command::from(doc! { "find": "things" }).read()).and_then(all);
    Read "Database::run_cursor_command_with_reply" "find" [] |it| it.database().run_cursor_command_with_reply(Command::from(doc! { "find": "things" }).read()).and_then(|(_, cursor)| cursor.map(all).transpose());
}

#[derive(Debug, serde::Deserialize)]
struct Count {
    #[allow(dead_code, reason = "it is printed")]
    n: i32,
}

fn shown<T: Debug>(outcome: Result<T>) -> Result<String> {
    outcome.map(|value| format!("{value:?}"))
}

fn all(cursor: Cursor<Document>) -> Result<Vec<Document>> {
    cursor.collect()
}

fn by_id() -> Document {
    doc! { "_id": 1 }
}

/// An update that shows how often it was made.
pub(crate) fn more() -> Document {
    doc! { "$inc": { "n": 1 } }
}

fn new(count: usize) -> impl Iterator<Item = Document> {
    (0..count).map(|n| doc! { "_id": format!("u{n}") })
}

fn ids<const N: usize>(ids: [&str; N]) -> [Document; N] {
    ids.map(|id| doc! { "_id": id })
}

fn index(key: &str) -> IndexModel {
    IndexModel::new(doc! { key: 1 })
}

fn search() -> SearchIndexModel {
    SearchIndexModel::new(doc! { "mappings": { "dynamic": true } }).name("by-text")
}
