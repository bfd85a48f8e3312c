//! The indexes: created by the first write of a bucket, if there are no files and no equivalent indexes.

use mongotls::bson::{Document, doc};
use mongotls::{Client, IndexModel};

use super::{Store, bucket};

/// The commands of an upload other than inserts, with their collections.
fn commands(store: &Store) -> Vec<String> {
    let nodes = store.deployment.nodes();
    let all = nodes.iter().flat_map(|node| node.server().commands());
    let named = all.filter(|it| ["find", "listIndexes", "createIndexes"].contains(&&*it.name));
    named
        .map(|it| format!("{} {}", it.name, it.body.get_str(&it.name).unwrap()))
        .collect()
}

fn forget(store: &Store) {
    let nodes = store.deployment.nodes();
    nodes
        .iter()
        .for_each(|node| node.server().forget_commands());
}

#[test]
fn the_first_write_creates_them() {
    let Some(store) = Store::start() else {
        return;
    };
    store.put(1, "file", b"content");
    let expected = [
        "find fs.files",
        "listIndexes fs.files",
        "createIndexes fs.files",
        "listIndexes fs.chunks",
        "createIndexes fs.chunks",
    ];
    assert_eq!(commands(&store), expected);
    let indexes = |name: &str| -> Vec<Document> {
        let all = store.database.collection::<Document>(name).list_indexes();
        all.run().unwrap().map(Result::unwrap).collect()
    };
    let of_files = indexes("fs.files");
    assert!(
        of_files
            .iter()
            .any(|it| it.get_document("key").ok() == Some(&doc! { "filename": 1, "uploadDate": 1 }))
    );
    let of_chunks = indexes("fs.chunks");
    let chunk = of_chunks
        .iter()
        .find(|it| it.get_document("key").ok() == Some(&doc! { "files_id": 1, "n": 1 }));
    assert_eq!(chunk.unwrap().get_bool("unique").ok(), Some(true));

    // Once for a bucket and its clones; another bucket only looks for a file.
    forget(&store);
    store.put(2, "file", b"content");
    store
        .bucket
        .clone()
        .upload_from_stream("x", &b""[..])
        .run()
        .unwrap();
    assert!(commands(&store).is_empty());
    let other = bucket(&store.database, 4);
    other.upload_from_stream("x", &b"12345"[..]).run().unwrap();
    assert_eq!(commands(&store), ["find fs.files"]);

    // After a drop they are created again.
    store.bucket.drop().run().unwrap();
    forget(&store);
    store.put(3, "file", b"");
    assert_eq!(commands(&store), expected);
}

#[test]
fn reads_and_changes_of_files_create_none() {
    let Some(store) = Store::start() else {
        return;
    };
    store.get(1).unwrap_err();
    store.bucket.delete(1).run().unwrap_err();
    store.bucket.rename(1, "x").run().unwrap_err();
    let commands = commands(&store);
    let of_indexes = commands
        .iter()
        .filter(|command| command.contains("Indexes"));
    assert_eq!(of_indexes.count(), 0, "{commands:?}");
}

#[test]
fn equivalent_indexes_of_other_numeric_types_are_accepted() {
    let Some(store) = Store::start() else {
        return;
    };
    let files = IndexModel::new(doc! { "filename": 1.0, "uploadDate": 1_i64 });
    store.files().create_index(files).run().unwrap();
    let chunks = IndexModel::new(doc! { "files_id": 1.0, "n": 1.0 }).unique(true);
    store.chunks().create_index(chunks).run().unwrap();
    forget(&store);
    store.put(1, "file", b"content");
    let expected = [
        "find fs.files",
        "listIndexes fs.files",
        "listIndexes fs.chunks",
    ];
    assert_eq!(commands(&store), expected);
}

#[test]
fn an_index_that_cannot_be_created_is_an_error() {
    let Some(store) = Store::start() else {
        return;
    };
    let client = Client::connect(&store.deployment.uri("retryWrites=false")).unwrap();
    let files = bucket(&client.database(store.database.name()), 4);
    for node in store.deployment.nodes() {
        node.server()
            .configure_fail_point(&mongotls_testbench::server::fail_command(
                1,
                &["createIndexes"],
                doc! { "errorCode": 13 },
            ));
    }
    let error = files
        .upload_from_stream("x", &b"12345"[..])
        .run()
        .unwrap_err();
    assert_eq!(
        error.command().map(|failure| failure.code),
        Some(13),
        "{error}"
    );
    // No chunk was sent, and the next upload tries again.
    assert_eq!(store.chunks().count_documents(doc! {}).run().unwrap(), 0);
    store.deployment.clear_fail_points();
    files.upload_from_stream("x", &b"12345"[..]).run().unwrap();
}
