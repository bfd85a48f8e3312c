//! The same bytes for the same types: values of many types are inserted with the `mongodb` crate and with this one, and the
//! documents are compared as they arrive at the server.
//!
//! Each value is then read with both, and must be the value that was inserted.

mod libraries;
mod tap;
mod types;

use std::collections::BTreeSet;
use std::fmt::Debug;

use bson::doc;
use serde::de::DeserializeOwned;
use serde::{Deserialize, Serialize};

use self::tap::Tap;

/// A document with a value of the corpus.
#[derive(Serialize)]
struct Holder<'a, T: ?Sized> {
    _id: i32,
    value: &'a T,
}

/// The same document, as it is read.
#[derive(Debug, Deserialize, PartialEq)]
struct Held<T> {
    _id: i32,
    value: T,
}

/// Both clients, and the list of what they do differently.
struct Corpus {
    tap: Tap,
    official: mongodb::sync::Database,
    ours: mongotls::Database,
    names: BTreeSet<&'static str>,
    differences: Vec<String>,
}

impl Corpus {
    fn start() -> Self {
        let tap = Tap::start();
        let official = mongodb::sync::Client::with_uri_str(tap.uri()).unwrap();
        let ours = mongotls::Client::with_uri_str(tap.uri()).unwrap();
        Self {
            official: official.database("corpus"),
            ours: ours.database("corpus"),
            tap,
            names: BTreeSet::new(),
            differences: Vec::new(),
        }
    }

    fn differ(&mut self, name: &str, what: impl Debug) {
        self.differences.push(format!("{name}: {what:?}"));
    }

    /// Inserts a value with both, and compares the bytes that the server has received.
    fn writes<T: Serialize + Send + Sync + ?Sized>(&mut self, name: &'static str, value: &T) {
        assert!(self.names.insert(name), "{name} is there twice");
        let held = Holder { _id: 1, value };
        let collection = name.replace(|c: char| !c.is_ascii_alphanumeric(), "_");
        let of = |driver: &str| format!("{collection}_{driver}");
        let official = self.official.collection::<Holder<'_, T>>(&of("official"));
        let official = official.insert_one(&held).run();
        let ours = self.ours.collection::<Holder<'_, T>>(&of("ours"));
        let ours = ours.insert_one(&held).run();
        match (official, ours) {
            (Ok(official), Ok(ours)) => assert_eq!(official.inserted_id, ours.inserted_id),
            (official, ours) => {
                let errors = (official.map(drop), ours.map(drop));
                return self.differ(name, format!("is not inserted by both: {errors:?}"));
            }
        }
        let official = self.tap.inserted(&of("official"));
        let ours = self.tap.inserted(&of("ours"));
        assert_eq!(official.len(), 1, "{name}");
        if official != ours {
            let read = |all: &[Vec<u8>]| {
                all.iter()
                    .map(|it| bson::Document::from_reader(&it[..]))
                    .collect::<Vec<_>>()
            };
            let both = (read(&official), read(&ours));
            self.differ(name, both);
        }
    }

    /// As [`writes`](Self::writes), and both read what they have written.
    fn keeps<T>(&mut self, name: &'static str, value: T)
    where
        T: Serialize + DeserializeOwned + PartialEq + Debug + Send + Sync + 'static,
    {
        self.writes(name, &value);
        let collection = name.replace(|c: char| !c.is_ascii_alphanumeric(), "_");
        let expected = Some(Held { _id: 1, value });
        let official = self
            .official
            .collection::<Held<T>>(&format!("{collection}_official"));
        let official = official.find_one(doc! { "_id": 1 }).run().unwrap();
        assert_eq!(official, expected, "{name}, with the official driver");
        let ours = self
            .ours
            .collection::<Held<T>>(&format!("{collection}_ours"));
        match ours.find_one(doc! { "_id": 1 }).run() {
            Ok(found) if found == expected => {}
            other => self.differ(name, format!("is read as {other:?}")),
        }
    }

    /// Both reject a value, and send nothing.
    fn rejects<T: Serialize + Send + Sync>(&mut self, name: &'static str, value: &T) {
        assert!(self.names.insert(name), "{name} is there twice");
        let held = Holder { _id: 1, value };
        let official = self
            .official
            .collection::<Holder<'_, T>>("rejected_official");
        if official.insert_one(&held).run().is_ok() {
            self.differ(name, "is inserted by the official driver");
        }
        let ours = self.ours.collection::<Holder<'_, T>>("rejected_ours");
        match ours.insert_one(&held).run() {
            Err(error) if error.kind() == mongotls::ErrorKind::Bson => {}
            other => self.differ(name, format!("is not rejected: {other:?}")),
        }
        for driver in ["rejected_official", "rejected_ours"] {
            assert_eq!(self.tap.inserted(driver), Vec::<Vec<u8>>::new(), "{name}");
        }
    }

    /// Fails if there are differences, or fewer types than `number`.
    fn end(self, number: usize) {
        assert!(self.differences.is_empty(), "{:#?}", self.differences);
        assert!(self.names.len() >= number, "{} types", self.names.len());
        println!("{} types have the same bytes", self.names.len());
    }
}

#[test]
fn the_bytes_are_those_of_the_official_driver() {
    let mut corpus = Corpus::start();
    types::standard(&mut corpus);
    types::attributes(&mut corpus);
    types::enums(&mut corpus);
    types::limits(&mut corpus);
    libraries::bson(&mut corpus);
    libraries::others(&mut corpus);
    corpus.end(120);
}

/// The one known difference: mongotls moves an `_id` to the front, as servers do when they store a document.
#[test]
fn an_id_at_the_end_is_moved_to_the_front() {
    #[derive(Serialize)]
    struct Last {
        a: i32,
        b: i32,
        _id: i32,
    }
    let last = Last { a: 1, b: 2, _id: 3 };
    let tap = Tap::start();
    let official = mongodb::sync::Client::with_uri_str(tap.uri()).unwrap();
    let official = official.database("corpus").collection::<Last>("official");
    official.insert_one(&last).run().unwrap();
    let ours = mongotls::Client::with_uri_str(tap.uri()).unwrap();
    let ours = ours.database("corpus").collection::<Last>("ours");
    ours.insert_one(&last).run().unwrap();
    let bytes = |document: bson::Document| bson::serialize_to_vec(&document).unwrap();
    let as_written = bytes(doc! { "a": 1, "b": 2, "_id": 3 });
    let moved = bytes(doc! { "_id": 3, "a": 1, "b": 2 });
    assert_eq!(tap.inserted("official"), [as_written]);
    assert_eq!(tap.inserted("ours"), [moved]);
}

/// The listener really sees what is sent: a document that the test builds itself.
#[test]
fn the_tap_sees_the_bytes_of_a_document() {
    let tap = Tap::start();
    let client = mongotls::Client::with_uri_str(tap.uri()).unwrap();
    let things = client.database("corpus").collection("things");
    things
        .insert_one(doc! { "_id": 7, "a": "b" })
        .run()
        .unwrap();
    let mut expected = vec![24, 0, 0, 0, 16];
    expected.extend(b"_id\0\x07\0\0\0\x02a\0\x02\0\0\0b\0\0");
    expected[0] = u8::try_from(expected.len()).unwrap();
    assert_eq!(tap.inserted("things"), [expected]);
    assert!(tap.inserted("others").is_empty());
}
