//! Rejections of a server as causes: the code, the facts, the remedy, and whether anything was written.

use std::thread;
use std::time::Duration;

use mongotls::bson::{Document, doc};
use mongotls::cause::{Category, FactValue};
use mongotls::{
    Canceller, CauseCode, Client, Collection, Command, Error, ErrorKind, Scope, Written,
};
use mongotls_testbench::server::Server;

use crate::common::plain_client;

/// An operation, the reply of the server to it, and what its error says.
pub(crate) struct Rejection {
    pub(crate) code: CauseCode,
    command: &'static str,
    reply: Document,
    run: fn(&Client, &Collection<Document>) -> Result<(), Error>,
    facts: &'static [(&'static str, &'static str)],
    written: Written,
}

fn insert(_: &Client, users: &Collection<Document>) -> Result<(), Error> {
    insert_within(users)
}

fn insert_within<S: Scope>(users: &Collection<Document, S>) -> Result<(), Error> {
    let user = doc! { "_id": 1, "email": "ada@example.com" };
    users.insert_one(user).run().map(drop)
}

fn update(_: &Client, users: &Collection<Document>) -> Result<(), Error> {
    let update = doc! { "$set": { "_id": 2 } };
    users.update_one(doc! { "_id": 1 }, update).run().map(drop)
}

fn find(_: &Client, users: &Collection<Document>) -> Result<(), Error> {
    users.find(doc! { "email": 1 }).run().map(drop)
}

fn take(_: &Client, users: &Collection<Document>) -> Result<(), Error> {
    users.find_one_and_delete(doc! {}).run().map(drop)
}

fn command(client: &Client, command: impl Into<Command>) -> Result<(), Error> {
    client.database("shop").run_command(command).map(drop)
}

/// The field of a reply that the server sends after a second.
const SLOW: &str = "benchSlow";

fn write_error(error: Document) -> Document {
    doc! { "ok": 1, "n": 0, "writeErrors": [error] }
}

fn rejected(code: i32, message: &str) -> Document {
    doc! { "ok": 0, "code": code, "errmsg": message }
}

/// One rejection for each cause of an operation, in the order of the causes.
pub(crate) fn rejections() -> Vec<Rejection> {
    let duplicate = "E11000 duplicate key error collection: shop.users index: email_1 dup key: { email: \"ada@example.com\" }";
    let broken = doc! {
        "operatorName": "$jsonSchema",
        "schemaRulesNotSatisfied": [{
            "operatorName": "properties",
            "propertiesNotSatisfied": [{
                "propertyName": "age",
                "details": [{ "operatorName": "bsonType", "specifiedAs": { "bsonType": "int" } }],
            }],
        }],
    };
    let row = |code, command, reply, run, facts, written| Rejection {
        code,
        command,
        reply,
        run,
        facts,
        written,
    };
    vec![
        row(
            CauseCode::DuplicateKey,
            "insert",
            write_error(doc! {
                "index": 0, "code": 11000, "errmsg": duplicate,
                "keyPattern": { "email": 1 }, "keyValue": { "email": "ada@example.com" },
            }),
            insert,
            &[
                ("index", "email_1"),
                ("key_pattern", "{ \"email\": 1 }"),
                ("key_value", "{ \"email\": \"ada@example.com\" }"),
                ("write", "0"),
            ],
            Written::No,
        ),
        row(
            CauseCode::ValidationFailed,
            "insert",
            write_error(doc! {
                "index": 0, "code": 121, "errmsg": "Document failed validation",
                "errInfo": { "failingDocumentId": 1, "details": broken },
            }),
            insert,
            &[("rules", "age: bsonType")],
            Written::No,
        ),
        row(
            CauseCode::WriteConflict,
            "findAndModify",
            rejected(112, "Write conflict during plan execution"),
            take,
            &[("server_code", "112")],
            Written::No,
        ),
        row(
            CauseCode::NotPrimary,
            "insert",
            rejected(10107, "not primary"),
            insert,
            &[],
            Written::No,
        ),
        row(
            CauseCode::WriteConcernTimeout,
            "insert",
            doc! { "ok": 1, "n": 1, "writeConcernError": {
                "code": 64, "codeName": "WriteConcernTimeout", "errmsg": "waiting for replication timed out",
                "errInfo": { "wtimeout": true, "writeConcern": { "w": "majority", "wtimeout": 100 } },
            } },
            insert,
            &[("w", "majority")],
            Written::Yes,
        ),
        row(
            CauseCode::MaxTimeExpired,
            "find",
            rejected(50, "operation exceeded time limit"),
            find,
            &[],
            Written::No,
        ),
        row(
            CauseCode::DocumentTooLarge,
            "update",
            write_error(
                doc! { "index": 0, "code": 10334, "errmsg": "BSONObj size: 16777300 is invalid" },
            ),
            update,
            &[],
            Written::No,
        ),
        row(
            CauseCode::CursorExpired,
            "getMore",
            rejected(43, "cursor id 5 not found"),
            |client, _| {
                let next = doc! { "getMore": 5_i64, "collection": "users" };
                command(client, Command::from(next).read())
            },
            &[],
            Written::No,
        ),
        row(
            CauseCode::Unauthorized,
            "insert",
            rejected(
                13,
                "not authorized on shop to execute command { insert: \"users\", ordered: true }",
            ),
            insert,
            &[("action", "insert"), ("resource", "shop.users")],
            Written::No,
        ),
        row(
            CauseCode::ImmutableField,
            "update",
            write_error(doc! {
                "index": 0, "code": 66,
                "errmsg": "Performing an update on the path '_id' would modify the immutable field '_id'",
            }),
            update,
            &[("field", "_id")],
            Written::No,
        ),
        row(
            CauseCode::IndexConflict,
            "createIndexes",
            rejected(
                86,
                "An existing index has the same name as the requested index",
            ),
            |client, _| command(client, doc! { "createIndexes": "users", "indexes": [] }),
            &[],
            Written::Unknown,
        ),
        row(
            CauseCode::NamespaceExists,
            "create",
            rejected(48, "Collection shop.users already exists."),
            |client, _| command(client, doc! { "create": "users" }),
            &[],
            Written::Unknown,
        ),
        row(
            CauseCode::ApiStrict,
            "getLog",
            rejected(
                323,
                "Provided apiStrict:true, but the command getLog is not in API Version 1.",
            ),
            |client, _| command(client, doc! { "getLog": "global" }),
            &[],
            Written::No,
        ),
        row(
            CauseCode::Cancelled,
            "delete",
            doc! { "ok": 1, "n": 0, SLOW: true },
            |_, users| {
                let canceller = Canceller::new();
                let delete = users.delete_one(doc! {}).cancelled_by(&canceller);
                thread::scope(|scope| {
                    scope.spawn(|| {
                        thread::sleep(Duration::from_millis(300));
                        canceller.cancel();
                    });
                    delete.run().map(drop)
                })
            },
            &[("step", "reply")],
            Written::Unknown,
        ),
        row(
            CauseCode::GridfsFileNotFound,
            "find",
            found(&[]),
            |client, _| open(client, "photo.jpg", -1),
            &[("filename", "photo.jpg")],
            Written::No,
        ),
        row(
            CauseCode::GridfsRevisionNotFound,
            "find",
            found(&[doc! { "_id": 5, "length": 9, "chunkSize": 4 }]),
            |client, _| open(client, "photo.jpg", 2),
            &[("filename", "photo.jpg"), ("revision", "2")],
            Written::No,
        ),
        row(
            CauseCode::GridfsFileExists,
            "find",
            found(&[doc! { "_id": 5, "length": 9, "chunkSize": 4 }]),
            |client, _| {
                let bucket = client.database("shop").gridfs_bucket(None);
                bucket
                    .open_upload_stream("photo.jpg")
                    .resumable(5)
                    .run()
                    .map(drop)
            },
            &[("file_id", "5")],
            Written::No,
        ),
        row(
            CauseCode::GridfsCorrupt,
            "find",
            // The document of the file and one of its chunks are the same document.
            found(&[doc! { "_id": 5, "length": 9, "chunkSize": 4, "n": 1 }]),
            |client, _| {
                let bucket = client.database("shop").gridfs_bucket(None);
                bucket
                    .download_to_stream(5, std::io::sink())
                    .run()
                    .map(drop)
            },
            &[("file_id", "5"), ("chunk", "0")],
            Written::No,
        ),
        row(
            CauseCode::CommitUnknown,
            "commitTransaction",
            rejected(50, "operation exceeded time limit"),
            |client, users| {
                let session = client.start_session().run()?;
                session.start_transaction().run()?;
                insert_within(&users.within(&session))?;
                session.commit_transaction().run()
            },
            &[],
            Written::Unknown,
        ),
        row(
            CauseCode::TransactionSpoiled,
            "insert",
            rejected(121, "Document failed validation"),
            |client, users| {
                client.transaction().run(|tx| {
                    let _ignored = insert_within(&users.within(tx));
                    Ok(())
                })
            },
            &[],
            Written::No,
        ),
    ]
}

/// Opens the download of a revision.
fn open(client: &Client, name: &str, revision: i32) -> Result<(), Error> {
    let bucket = client.database("shop").gridfs_bucket(None);
    let download = bucket.open_download_stream_by_name(name);
    download.revision(revision).run().map(drop)
}

/// The reply to a `find`. One that skips documents finds none.
fn found(documents: &[Document]) -> Document {
    doc! { "ok": 1, "cursor": { "id": 0_i64, "ns": "shop.fs.files", "firstBatch": documents } }
}

impl Rejection {
    /// Runs the operation on a server that rejects it. Returns the error and the port of the server.
    pub(crate) fn run(&self) -> (Error, u16) {
        let reply = self.reply.clone();
        let server = Server::builder().handle(self.command, move |request| {
            if request.body.contains_key("skip") {
                return Some(found(&[]));
            }
            if reply.contains_key(SLOW) {
                thread::sleep(Duration::from_secs(1));
            }
            Some(reply.clone())
        });
        let server = server.start();
        let client = plain_client(&server, "");
        let users = client.database("shop").collection("users");
        let error = (self.run)(&client, &users).unwrap_err();
        (error, server.port())
    }
}

#[test]
fn each_rejection_is_a_cause_with_its_facts() {
    let rejections = rejections();
    let codes: Vec<CauseCode> = rejections.iter().map(|it| it.code).collect();
    let of_operations = CauseCode::ALL
        .iter()
        .filter(|code| code.category() == Category::Operation);
    assert_eq!(codes, of_operations.copied().collect::<Vec<_>>());
    for rejection in rejections {
        let (error, _) = rejection.run();
        let cause = error.cause().unwrap_or_else(|| panic!("{error}"));
        assert_eq!(cause.code(), rejection.code);
        for (key, value) in rejection.facts {
            let fact = cause.facts().get(key).map(ToString::to_string);
            assert_eq!(fact.as_deref(), Some(*value), "{key} of {error:?}");
        }
        // No server has rejected anything if a file of GridFS is not as it must be.
        let has_host = matches!(cause.facts().get("host"), Some(FactValue::Text(_)));
        assert_eq!(has_host, error.kind() != ErrorKind::GridFs, "{error:?}");
        assert!(!cause.remedy().is_empty());
        assert_eq!(error.written(), rejection.written, "{error}");
    }
}

#[test]
fn a_duplicate_key_is_typed() {
    let (error, _) = rejections()[0].run();
    assert!(error.is_duplicate_key());
    assert_eq!(error.kind(), ErrorKind::Write);
    let key = error.duplicate_key().unwrap().clone();
    assert_eq!(key.index.as_deref(), Some("email_1"));
    assert_eq!(key.pattern, Some(doc! { "email": 1 }));
    assert_eq!(key.value, Some(doc! { "email": "ada@example.com" }));
    let failed = &error.write_failure().unwrap().errors[0];
    assert_eq!(failed.duplicate_key, Some(key));

    // `findAndModify` fails as a command.
    let rejection = Rejection {
        command: "findAndModify",
        reply: doc! { "ok": 0, "code": 11000, "errmsg": "E11000 duplicate key error", "keyValue": { "a": 1 } },
        run: take,
        ..rejections().remove(0)
    };
    let (error, _) = rejection.run();
    assert_eq!(error.kind(), ErrorKind::Command);
    assert!(error.is_duplicate_key());
    assert_eq!(error.duplicate_key().unwrap().value, Some(doc! { "a": 1 }));

    let (error, _) = rejections()[1].run();
    assert!(!error.is_duplicate_key() && error.duplicate_key().is_none());
}

/// Code 50 of a write is a timeout if `timeoutMS` is set.
#[test]
fn an_expired_write_is_a_timeout_only_with_timeout_ms() {
    let expired = doc! { "code": 50, "errmsg": "operation exceeded time limit" };
    let mut of_write = expired.clone();
    of_write.insert("index", 0);
    for reply in [
        write_error(of_write),
        doc! { "ok": 1, "n": 1, "writeConcernError": expired },
    ] {
        let server = Server::builder().handle("insert", move |_| Some(reply.clone()));
        let server = server.start();
        for (options, kind) in [
            ("timeoutMS=20000", ErrorKind::Timeout),
            ("", ErrorKind::Write),
        ] {
            let client = plain_client(&server, options);
            let users = client.database("shop").collection("users");
            let one = users.insert_one(doc! {}).run().unwrap_err();
            let many = users.insert_many([doc! {}]).run().unwrap_err();
            assert_eq!((one.kind(), many.kind()), (kind, kind), "{one} {many}");
        }
    }
}
