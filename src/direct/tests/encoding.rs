//! Compares the bytes with those of `bson`.

use std::borrow::Cow;
use std::collections::{BTreeMap, HashMap};
use std::net::IpAddr;
use std::time::Duration;

use bson::oid::ObjectId;
use bson::raw::{RawArrayBuf, RawDocument};
use bson::serde_helpers::HumanReadable;
use bson::spec::BinarySubtype;
use bson::{
    Binary, Bson, DateTime, Decimal128, Document, JavaScriptCodeWithScope, RawBson, RawDocumentBuf,
    Regex, Timestamp, Utf8Lossy, Uuid, doc, rawdoc,
};
use serde::{Serialize, Serializer};

use crate::direct::serialize;

/// Both encodings of a value, if there is one.
fn both<T: Serialize + ?Sized>(value: &T) -> (Option<Vec<u8>>, Option<Vec<u8>>) {
    let mut own = vec![7; 3];
    let own = serialize(value, &mut own).map(|()| own.split_off(3)).ok();
    (own, bson::serialize_to_vec(&value).ok())
}

/// Expects that a value can be encoded, and compares its encodings.
fn compare<T: Serialize>(value: T) {
    assert!(compare_all(value), "{}", std::any::type_name::<T>());
}

/// Expects that a value cannot be encoded.
fn compare_errors<T: Serialize>(value: T) {
    assert!(!compare_all(value), "{}", std::any::type_name::<T>());
}

/// Compares the encodings of a value, and returns whether it can be encoded as a field: itself, as a field, between other fields, in an array, in a map, in variants of an
/// enum, and within a newtype and an option.
fn compare_all<T: Serialize>(value: T) -> bool {
    #[derive(Serialize)]
    struct Newtype<T>(T);

    #[derive(Serialize)]
    struct Fields<'a, T> {
        before: &'a str,
        value: &'a T,
        after: i32,
    }

    #[derive(Serialize)]
    struct Flat<'a, T> {
        before: bool,
        #[serde(flatten)]
        rest: HashMap<&'a str, &'a T>,
    }

    #[derive(Serialize)]
    enum Choice<'a, T> {
        One(&'a T),
        Two(&'a T, i32),
        Named { it: &'a T, more: Option<&'a T> },
    }

    let expect_equal = |name: &str, (own, expected): (Option<Vec<u8>>, Option<Vec<u8>>)| {
        let read = |bytes: Vec<u8>| (Document::from_reader(&*bytes).ok(), bytes);
        let (own, expected) = (own.map(read), expected.map(read));
        assert_eq!(own, expected, "{name} of {}", std::any::type_name::<T>());
    };
    expect_equal("itself", both(&value));
    let field = Fields {
        before: "x",
        value: &value,
        after: 5,
    };
    expect_equal("field", both(&field));
    expect_equal("newtype", both(&doc_of(Newtype(&value))));
    expect_equal("option", both(&doc_of(Some(Some(&value)))));
    expect_equal("array", both(&doc_of([&value; 12])));
    expect_equal("vector", both(&doc_of(vec![&value, &value])));
    expect_equal("tuple", both(&doc_of((&value, "x", &value))));
    expect_equal("map", both(&BTreeMap::from([("a", &value), ("b", &value)])));
    let flat = Flat {
        before: true,
        rest: HashMap::from([("value", &value)]),
    };
    expect_equal("flattened", both(&flat));
    expect_equal("one", both(&Choice::One(&value)));
    expect_equal("two", both(&doc_of([Choice::Two(&value, 1)])));
    let named = || Choice::Named {
        it: &value,
        more: Some(&value),
    };
    expect_equal("named", both(&doc_of((named(), named()))));
    expect_equal("human", both(&doc_of(HumanReadable(&value))));
    expect_equal("nested", both(&doc_of(doc_of(doc_of(&field)))));
    both(&field).0.is_some()
}

/// A document with one field.
fn doc_of<T: Serialize>(value: T) -> impl Serialize {
    #[derive(Serialize)]
    struct One<T> {
        value: T,
    }
    One { value }
}

#[test]
fn plain_values_are_encoded_as_by_bson() {
    compare(true);
    compare((i8::MIN, i16::MAX, i32::MIN, i64::MAX));
    compare((u8::MAX, u16::MAX, u32::MAX, i64::MAX as u64));
    compare((1.5_f32, f64::NEG_INFINITY, -0.0_f64));
    compare(('x', '€', '\0', '🦀'));
    compare("");
    compare("a text with a \0 in it, and ü");
    compare(String::from("owned"));
    compare(Cow::Borrowed("cow"));
    compare(());
    compare(None::<i32>);
    compare(Some("text"));
    compare(Vec::<i32>::new());
    compare((0..120).collect::<Vec<i64>>());
    compare([[1, 2], [3, 4]]);
    compare(BTreeMap::from([(String::from("a"), 1), ("é".into(), 2)]));
    compare(Duration::from_millis(1500));
    compare(std::time::SystemTime::UNIX_EPOCH);
    compare("127.0.0.1".parse::<IpAddr>().unwrap());
    compare("[::1]:27017".parse::<std::net::SocketAddr>().unwrap());
    compare(std::path::Path::new("/a/path"));
    compare(std::num::NonZeroU16::new(7));
    compare(Ok::<i32, String>(1));
    compare(1..5);
    compare(std::cmp::Reverse(1));
    compare(Box::new(std::cell::Cell::new(3)));
    compare(serde_json::json!({ "a": [1, 2.5, null, "x", { "b": true }] }));
}

#[test]
fn types_of_bson_are_encoded_as_by_bson() {
    let subtypes = [
        BinarySubtype::Generic,
        BinarySubtype::Uuid,
        BinarySubtype::BinaryOld,
        BinarySubtype::UserDefined(200),
    ];
    for subtype in subtypes {
        let bytes = vec![1, 2, 3];
        compare(Binary { subtype, bytes });
    }
    compare(ObjectId::new());
    compare(DateTime::now());
    compare(DateTime::MIN);
    compare(Uuid::new());
    compare(Decimal128::from_bytes([9; 16]));
    compare(Timestamp {
        time: 1,
        increment: 2,
    });
    let regex = Regex {
        pattern: "^a+".try_into().unwrap(),
        options: "xi".try_into().unwrap(),
    };
    compare(regex.clone());
    let scope = doc! { "x": 1, "id": ObjectId::new() };
    let code = String::from("f()");
    compare(JavaScriptCodeWithScope {
        code: code.clone(),
        scope,
    });
    compare(Utf8Lossy(code.clone()));
    compare(Bson::JavaScriptCode(code));
    compare(Bson::Symbol("symbol".into()));
    compare((Bson::MinKey, Bson::MaxKey, Bson::Undefined, Bson::Null));
    let document =
        doc! { "a": [1, { "b": regex }], "c": DateTime::now(), "d": Binary::from(Uuid::new()) };
    compare(Bson::from(vec![document.clone()]));
    let raw = RawDocumentBuf::try_from(&document).unwrap();
    let raw: &RawDocument = &raw;
    compare(raw);
    compare(raw.to_owned());
    compare(RawBson::from(raw.to_owned()));
    let array = RawArrayBuf::from_iter([rawdoc! { "a": 1 }, rawdoc! {}]);
    compare(array.clone());
    compare(&*array);
    compare(raw.get("c").unwrap());
    compare(raw.get("d").unwrap());
    compare(bson::Array::from([Bson::Int32(1)]));
    compare(document);
}

#[test]
fn attributes_of_serde_are_encoded_as_by_bson() {
    #[derive(Serialize)]
    struct Unit;

    #[derive(Serialize)]
    struct Tuple(i32, String, Option<bool>);

    #[derive(Serialize)]
    #[serde(tag = "type", rename_all = "kebab-case")]
    enum Internal {
        Empty,
        ANewtype(BTreeMap<&'static str, u8>),
        Struct { x: ObjectId },
    }

    #[derive(Serialize)]
    #[serde(tag = "t", content = "c")]
    enum Adjacent {
        Unit,
        Tuple(i32, DateTime),
        Struct { a: Unit },
    }

    #[derive(Serialize)]
    #[serde(untagged)]
    enum Untagged {
        Number(u32),
        Text(&'static str),
        Date(DateTime),
        Nothing,
    }

    #[derive(Serialize)]
    struct Attributes {
        #[serde(rename = "_id")]
        id: ObjectId,
        #[serde(skip)]
        _skipped: i32,
        #[serde(skip_serializing_if = "Option::is_none")]
        absent: Option<i32>,
        #[serde(serialize_with = "as_bytes")]
        bytes: Vec<u8>,
        #[serde(flatten)]
        inner: Inner,
    }

    #[derive(Serialize)]
    struct Inner {
        date: DateTime,
        #[serde(flatten)]
        rest: Document,
    }

    fn as_bytes<S: Serializer>(bytes: &[u8], serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_bytes(bytes)
    }

    compare(Unit);
    compare(Tuple(1, "x".into(), None));
    compare(Internal::Empty);
    compare(Internal::ANewtype([("a", 1)].into()));
    compare(Internal::Struct { x: ObjectId::new() });
    compare(Adjacent::Unit);
    compare(Adjacent::Tuple(5, DateTime::now()));
    compare(Adjacent::Struct { a: Unit });
    compare([
        Untagged::Number(1),
        Untagged::Text("x"),
        Untagged::Date(DateTime::now()),
        Untagged::Nothing,
    ]);
    compare(Attributes {
        id: ObjectId::new(),
        _skipped: 1,
        absent: None,
        bytes: vec![1, 2],
        inner: Inner {
            date: DateTime::now(),
            rest: doc! { "x": [Uuid::new()] },
        },
    });
}

#[test]
fn keys_are_encoded_as_by_bson() {
    #[derive(Serialize, PartialEq, Eq, PartialOrd, Ord)]
    enum Key {
        First,
        Second,
        Other(i32),
    }

    #[derive(Serialize, PartialEq, Eq, PartialOrd, Ord)]
    struct Name(&'static str);

    compare(BTreeMap::from([(Key::First, 1), (Key::Second, 2)]));
    compare(BTreeMap::from([(Name("a"), 1), (Name(""), 2)]));
    compare(BTreeMap::from([(Some("a"), 1)]));
    compare_errors(BTreeMap::from([(Key::Other(1), 1)]));
    compare_errors(BTreeMap::from([("a\0b", 1)]));
    compare_errors(BTreeMap::from([(5, 1)]));
    compare_errors(BTreeMap::from([('x', 1)]));
    compare_errors(BTreeMap::from([(true, 1)]));
    compare_errors(BTreeMap::from([(None::<&str>, 1)]));
    compare(BTreeMap::from([(Uuid::from_bytes([1; 16]).to_string(), 1)]));
}

#[test]
fn values_that_cannot_be_encoded_are_errors() {
    /// Fails by itself.
    struct Failing;

    impl Serialize for Failing {
        fn serialize<S: Serializer>(&self, _: S) -> Result<S::Ok, S::Error> {
            Err(serde::ser::Error::custom("it fails"))
        }
    }

    compare_errors(Failing);
    compare_errors(u64::MAX);
    compare_errors((1_i128, 2_u128));
    let message = |value: &dyn Fn(&mut Vec<u8>) -> crate::direct::Result<()>| {
        value(&mut Vec::new()).unwrap_err().to_string()
    };
    let large = message(&|bytes| serialize(&doc_of(u64::MAX), bytes));
    assert!(
        large.contains("too large for a signed 64-bit integer"),
        "{large}"
    );
    let own = message(&|bytes| serialize(&doc_of(Failing), bytes));
    assert!(own.contains("it fails"), "{own}");
    let number = message(&|bytes| serialize(&5, bytes));
    assert!(number.contains("not a document"), "{number}");
    let key = message(&|bytes| serialize(&BTreeMap::from([(1, 1)]), bytes));
    assert!(key.contains("a key is not a text"), "{key}");
}
