//! Compares the values with those of `bson`: each of many documents as each of many types.

use std::borrow::Cow;
use std::collections::BTreeMap;
use std::fmt::Debug;
use std::net::IpAddr;
use std::time::{Duration, SystemTime};

use bson::oid::ObjectId;
use bson::raw::{RawArrayBuf, RawDocument};
use bson::serde_helpers::HumanReadable;
use bson::spec::BinarySubtype;
use bson::{
    Binary, Bson, DateTime, DbPointer, Decimal128, Document, JavaScriptCodeWithScope, RawBson,
    RawBsonRef, RawDocumentBuf, Regex, Timestamp, Utf8Lossy, Uuid, doc,
};
use serde::Deserialize;
use serde::de::{DeserializeOwned, IgnoredAny};

use crate::direct::deserialize;

/// One value of each kind and size that matters.
fn values() -> Vec<Bson> {
    let binary = |subtype, bytes: &[u8]| {
        let bytes = bytes.to_vec();
        Bson::Binary(Binary { subtype, bytes })
    };
    let code = String::from("f()");
    let regex = Regex {
        pattern: "^a+".try_into().unwrap(),
        options: "ix".try_into().unwrap(),
    };
    let pointer: DbPointer = {
        // It has no constructor.
        let id = ObjectId::from_bytes([5; 12]);
        let text =
            serde_json::json!({ "$dbPointer": { "$ref": "a.b", "$id": { "$oid": id.to_hex() } } });
        serde_json::from_value(text).unwrap()
    };
    vec![
        Bson::Double(1.5),
        Bson::Double(3.0),
        "".into(),
        "x".into(),
        "One".into(),
        "text with ü and \0".into(),
        "127.0.0.1".into(),
        doc! {}.into(),
        doc! { "One": 1 }.into(),
        doc! { "Two": [1, "x"] }.into(),
        doc! { "Named": { "a": 1, "b": null } }.into(),
        doc! { "type": "b", "x": ObjectId::from_bytes([1; 12]) }.into(),
        doc! { "t": "Tuple", "c": [5, DateTime::from_millis(7)] }.into(),
        doc! { "secs": 1_i64, "nanos": 5_i64 }.into(),
        doc! { "secs_since_epoch": 1_i64, "nanos_since_epoch": 5_i64 }.into(),
        doc! { "a": 1, "b": { "c": [true] }, "One": 2 }.into(),
        doc! { "$oid": "not an ID" }.into(),
        Bson::Array(vec![]),
        Bson::Array(vec![1.into(), 2.into()]),
        Bson::Array(vec![1.into(), "x".into(), Bson::Null]),
        Bson::Array(vec![
            doc! { "a": 1 }.into(),
            ObjectId::from_bytes([2; 12]).into(),
        ]),
        binary(BinarySubtype::Generic, &[1, 2, 3]),
        binary(BinarySubtype::Generic, &[]),
        binary(BinarySubtype::BinaryOld, &[1, 2, 3]),
        binary(BinarySubtype::Uuid, &[7; 16]),
        binary(BinarySubtype::UuidOld, &[7; 16]),
        binary(BinarySubtype::UserDefined(200), &[9]),
        Bson::Undefined,
        ObjectId::from_bytes([3; 12]).into(),
        true.into(),
        false.into(),
        DateTime::from_millis(1_700_000_000_123).into(),
        DateTime::from_millis(-1).into(),
        DateTime::MAX.into(),
        Bson::Null,
        Bson::RegularExpression(regex),
        Bson::DbPointer(pointer),
        Bson::JavaScriptCode(code.clone()),
        Bson::JavaScriptCodeWithScope(JavaScriptCodeWithScope {
            code,
            scope: doc! { "x": 1, "id": ObjectId::from_bytes([4; 12]) },
        }),
        Bson::Symbol("symbol".into()),
        0.into(),
        1.into(),
        200.into(),
        Bson::Int32(i32::MIN),
        Bson::Int64(5),
        Bson::Int64(i64::MAX),
        Bson::Timestamp(Timestamp {
            time: 1,
            increment: 2,
        }),
        Decimal128::from_bytes([9; 16]).into(),
        Bson::MinKey,
        Bson::MaxKey,
    ]
}

/// The documents: each value between others, in an array, and as a document of its own.
fn documents() -> Vec<Vec<u8>> {
    let mut documents = Vec::new();
    for value in values() {
        let before = DateTime::from_millis(3);
        documents.push(doc! { "before": before, "value": &value, "after": [] });
        documents.push(doc! { "value": [before, &value, &value] });
        documents.push(doc! { "x": { "y": &value }, "value": { "value": &value, "a": "b" } });
        if let Bson::Document(document) = value {
            documents.push(document);
        }
    }
    let documents = documents.iter().map(|document| document.to_vec().unwrap());
    documents.collect()
}

/// Counts the outcomes.
#[derive(Default)]
struct Seen {
    values: usize,
    errors: usize,
}

impl Seen {
    /// Compares the conversions of one document. A failure of both is the same, whatever the errors say.
    fn compare<'a, T: Deserialize<'a> + Debug>(&mut self, document: &'a [u8]) {
        let own = deserialize::<T>(document).ok();
        let expected = bson::deserialize_from_slice::<T>(document).ok();
        match expected.is_some() {
            true => self.values += 1,
            false => self.errors += 1,
        }
        assert_eq!(
            format!("{own:?}"),
            format!("{expected:?}"),
            "{} of {:?}",
            std::any::type_name::<T>(),
            Document::from_reader(document)
        );
    }
}

#[derive(Debug, Deserialize)]
#[allow(dead_code, reason = "it is there to be filled")]
struct Field<T> {
    value: T,
}

/// Compares all documents as a type: itself, as a field, in an option, a newtype, a sequence and a map.
fn compare<T: DeserializeOwned + Debug>() {
    #[derive(Debug, Deserialize)]
    #[allow(dead_code, reason = "it is there to be filled")]
    struct Newtype<T>(T);

    let mut seen = Seen::default();
    for document in documents() {
        seen.compare::<T>(&document);
        seen.compare::<Field<T>>(&document);
        seen.compare::<Field<Option<T>>>(&document);
        seen.compare::<Field<Newtype<T>>>(&document);
        seen.compare::<Field<Vec<T>>>(&document);
        seen.compare::<BTreeMap<String, T>>(&document);
    }
    let name = std::any::type_name::<T>();
    assert!(seen.values > 10, "{name}: only {} values", seen.values);
}

/// Compares all documents as a type in further positions. Each of them takes seconds to compile, so a few types must do.
fn compare_deeper<T: DeserializeOwned + Debug>() {
    #[derive(Debug, Deserialize)]
    #[allow(dead_code, reason = "it is there to be filled")]
    struct Flat<T> {
        before: Option<DateTime>,
        #[serde(flatten)]
        rest: BTreeMap<String, T>,
    }

    #[derive(Debug, Deserialize)]
    #[allow(dead_code, reason = "it is there to be filled")]
    struct Nested<T> {
        value: Field<T>,
        x: Option<BTreeMap<String, T>>,
    }

    let mut seen = Seen::default();
    for document in documents() {
        seen.compare::<Field<(IgnoredAny, T, Bson)>>(&document);
        seen.compare::<Flat<T>>(&document);
        seen.compare::<Nested<T>>(&document);
        seen.compare::<Field<HumanReadable<T>>>(&document);
        seen.compare::<Field<Utf8Lossy<T>>>(&document);
    }
    let name = std::any::type_name::<T>();
    assert!(seen.values > 0, "{name}: no values");
}

#[test]
fn positions_are_read_as_by_bson() {
    compare_deeper::<i32>();
    compare_deeper::<String>();
    compare_deeper::<Option<f64>>();
    compare_deeper::<Bson>();
    compare_deeper::<Document>();
    compare_deeper::<RawDocumentBuf>();
    compare_deeper::<ObjectId>();
    compare_deeper::<DateTime>();
    compare_deeper::<Uuid>();
}

#[test]
fn values_are_those_of_bson() {
    compare::<bool>();
    compare::<(i8, i16)>();
    compare::<i8>();
    compare::<u16>();
    compare::<i32>();
    compare::<u32>();
    compare::<i64>();
    compare::<u64>();
    compare::<f32>();
    compare::<f64>();
    compare::<char>();
    compare::<String>();
    compare::<Box<str>>();
    compare::<Cow<'static, str>>();
    compare::<std::path::PathBuf>();
    compare::<()>();
    compare::<Vec<Bson>>();
    compare::<[i32; 2]>();
    compare::<BTreeMap<String, i32>>();
    compare::<Duration>();
    compare::<SystemTime>();
    compare::<IpAddr>();
    compare::<std::num::NonZeroU16>();
    compare::<serde_json::Value>();
    compare::<IgnoredAny>();
}

#[test]
fn types_of_bson_are_read_as_by_bson() {
    compare::<Bson>();
    compare::<Document>();
    compare::<RawBson>();
    compare::<RawDocumentBuf>();
    compare::<RawArrayBuf>();
    compare::<Binary>();
    compare::<Uuid>();
    compare::<ObjectId>();
    compare::<DateTime>();
    compare::<Timestamp>();
    compare::<Decimal128>();
    compare::<Regex>();
    compare::<DbPointer>();
    compare::<JavaScriptCodeWithScope>();
}

#[test]
fn attributes_of_serde_are_read_as_by_bson() {
    #[derive(Debug, Deserialize)]
    struct Unit;

    #[derive(Debug, Deserialize)]
    #[allow(dead_code, reason = "it is there to be filled")]
    enum External {
        One,
        Two(i32, String),
        Named { a: i32, b: Option<bool> },
    }

    #[derive(Debug, Deserialize)]
    #[allow(dead_code, reason = "it is there to be filled")]
    enum OfOne {
        One(i64),
    }

    #[derive(Debug, Deserialize)]
    #[allow(dead_code, reason = "it is there to be filled")]
    #[serde(tag = "type", rename_all = "kebab-case")]
    enum Internal {
        A,
        B { x: ObjectId },
    }

    #[derive(Debug, Deserialize)]
    #[allow(dead_code, reason = "it is there to be filled")]
    #[serde(tag = "t", content = "c")]
    enum Adjacent {
        Tuple(i32, DateTime),
    }

    #[derive(Debug, Deserialize)]
    #[allow(dead_code, reason = "it is there to be filled")]
    #[serde(untagged)]
    enum Untagged {
        Number(u32),
        Id(ObjectId),
        Date(DateTime),
        Text(String),
        Rest(Document),
    }

    #[derive(Debug, Deserialize)]
    #[allow(dead_code, reason = "it is there to be filled")]
    struct Attributes {
        #[serde(default)]
        a: i32,
        #[serde(alias = "One")]
        one: Option<i64>,
        #[serde(skip)]
        skipped: i32,
        #[serde(flatten)]
        rest: Document,
    }

    #[derive(Debug, Deserialize)]
    #[allow(dead_code, reason = "it is there to be filled")]
    #[serde(deny_unknown_fields)]
    struct Strict {
        a: i32,
        b: Bson,
    }

    compare::<Unit>();
    compare::<External>();
    compare::<OfOne>();
    compare::<Internal>();
    compare::<Adjacent>();
    compare::<Untagged>();
    compare::<Attributes>();
    compare::<Strict>();
}

#[test]
fn borrowed_values_are_those_of_bson() {
    #[derive(Debug, Deserialize)]
    #[allow(dead_code, reason = "it is there to be filled")]
    struct Field<T> {
        value: T,
    }

    let mut seen = Seen::default();
    for document in &documents() {
        seen.compare::<Field<&str>>(document);
        seen.compare::<Field<&[u8]>>(document);
        seen.compare::<Field<&RawDocument>>(document);
        seen.compare::<Field<&bson::raw::RawArray>>(document);
        seen.compare::<Field<RawBsonRef<'_>>>(document);
        seen.compare::<BTreeMap<&str, Bson>>(document);
        seen.compare::<&RawDocument>(document);
    }
    assert!(seen.values > 300, "{}", seen.values);
    assert!(seen.errors > 300, "{}", seen.errors);
}

#[test]
fn a_document_with_a_changed_byte_is_read_as_by_bson_or_rejected() {
    let (mut same, mut rejected, mut skipped) = (0, 0, 0);
    for document in documents() {
        for at in 0..document.len() {
            for change in [1, 0x80, 0xff] {
                let mut changed = document.clone();
                changed[at] ^= change;
                let own = deserialize::<BTreeMap<String, Bson>>(&changed).ok();
                let expected =
                    bson::deserialize_from_slice::<BTreeMap<String, Bson>>(&changed).ok();
                match (own, expected) {
                    (Some(own), expected) => {
                        assert_eq!(format!("{:?}", Some(own)), format!("{expected:?}"));
                        same += 1;
                    }
                    (None, _) => rejected += 1,
                }
                // What a type does not read is not checked.
                let _ = deserialize::<BTreeMap<String, IgnoredAny>>(&changed).map(|_| skipped += 1);
            }
        }
    }
    assert!(same > 5000 && rejected > 5000, "{same} {rejected}");
    assert!(skipped > same, "{skipped}");
}

#[test]
fn a_failed_conversion_is_an_error() {
    let message = |bytes: &[u8]| deserialize::<Document>(bytes).unwrap_err().to_string();
    for bytes in [
        &[][..],
        &[5, 0, 0, 0, 1],
        &[6, 0, 0, 0, 0],
        &[9, 0, 0, 0, 0x10, b'a', 0, 1, 0],
    ] {
        let message = message(bytes);
        assert!(message.contains("not valid BSON"), "{message}");
    }
    let document = doc! { "a": "text" }.to_vec().unwrap();
    let error = deserialize::<BTreeMap<String, i32>>(&document).unwrap_err();
    assert!(error.to_string().contains("invalid type"), "{error}");
}
