//! The types of the standard library, and what `serde` makes of types of a program.

use std::borrow::Cow;
use std::collections::{BTreeMap, BTreeSet, HashMap, VecDeque};
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};
use std::num::{NonZeroU32, Wrapping};
use std::path::PathBuf;
use std::sync::{Arc, Mutex};
use std::time::{Duration, SystemTime};

use serde::{Deserialize, Serialize, Serializer};

use crate::Corpus;

/// Derives what the corpus needs for the types that follow.
macro_rules! types {
    ($($(#[$attribute:meta])* $kind:ident $name:ident $body:tt)*) => {
        $(
            #[derive(Clone, Debug, Deserialize, PartialEq, Serialize)]
            $(#[$attribute])*
            $kind $name $body
        )*
    };
}

pub(crate) fn standard(corpus: &mut Corpus) {
    corpus.keeps("bool", true);
    corpus.keeps("i8", i8::MIN);
    corpus.keeps("i16", i16::MIN);
    corpus.keeps("i32", i32::MIN);
    corpus.keeps("i64", i64::MIN);
    corpus.keeps("u8", u8::MAX);
    corpus.keeps("u16", u16::MAX);
    corpus.keeps("u32", u32::MAX);
    corpus.keeps("small u32", 5_u32);
    corpus.keeps("small u64", 5_u64);
    corpus.keeps("usize", 70_000_usize);
    corpus.keeps("f32", 0.1_f32);
    corpus.keeps("f64", -0.0_f64);
    corpus.writes("NaN", &f64::NAN);
    corpus.keeps("char", '\u{1f529}');
    corpus.keeps("string", "Schraube \u{e4}\0".to_owned());
    corpus.writes("borrowed string", "bolt");
    corpus.keeps("cow", Cow::<'static, str>::Borrowed("bolt"));
    corpus.keeps("unit", ());
    corpus.keeps("tuple", (1_i32, "a".to_owned(), 1.5_f64));
    corpus.keeps("array", [1_i32, 2, 3]);
    corpus.keeps("empty array", Vec::<i32>::new());
    corpus.keeps("vector of vectors", vec![vec![1_i64], vec![]]);
    corpus.keeps("bytes as numbers", vec![1_u8, 255]);
    corpus.keeps("deque", VecDeque::from([1_i32, 2]));
    corpus.keeps("set", BTreeSet::from(["a".to_owned(), "b".to_owned()]));
    corpus.keeps("none", None::<i32>);
    corpus.keeps("some", Some(5_i32));
    corpus.keeps("some in some", Some(Some(5_i32)));
    corpus.writes("none in some", &Some(None::<i32>));
    corpus.keeps(
        "map",
        BTreeMap::from([("a.b".to_owned(), 1_i32), ("$c".to_owned(), 2)]),
    );
    corpus.keeps("hash map", HashMap::from([("a".to_owned(), vec![1_i32])]));
    corpus.keeps("empty map", BTreeMap::<String, i32>::new());
    corpus.keeps("box", Box::new(5_i32));
    corpus.keeps("arc", Arc::new("a".to_owned()));
    corpus.writes("boxed slice", &Box::<[i32]>::from([1, 2]));
    corpus.writes("mutex", &Mutex::new(5));
    corpus.keeps("wrapping", Wrapping(5_u8));
    corpus.keeps("non-zero", NonZeroU32::new(5).unwrap());
    corpus.keeps("result", Result::<i32, String>::Err("no".to_owned()));
    corpus.keeps("range", 1_i32..5);
    corpus.keeps("duration", Duration::new(5, 250));
    corpus.keeps(
        "system time",
        SystemTime::UNIX_EPOCH + Duration::from_millis(1500),
    );
    corpus.keeps("path", PathBuf::from("/var/lib"));
    corpus.keeps("IPv4", Ipv4Addr::new(127, 0, 0, 1));
    corpus.keeps("IPv6", Ipv6Addr::LOCALHOST);
    corpus.keeps("IP address", IpAddr::V4(Ipv4Addr::LOCALHOST));
    corpus.keeps("socket address", SocketAddr::from(([10, 0, 0, 1], 27017)));
}

types! {
    struct Unit {}
    struct Nested { a: i32, inner: Inner, list: Vec<Inner> }
    struct Inner { b: Option<String>, c: (i64, bool) }

    #[serde(rename_all = "camelCase")]
    struct Renamed { first_name: String, #[serde(rename = "_v")] version: i32 }

    struct Skipped {
        #[serde(skip_serializing_if = "Option::is_none", default)] absent: Option<i32>,
        #[serde(skip_serializing_if = "Option::is_none", default)] there: Option<i32>,
        #[serde(skip)] never: i32,
        #[serde(default)] empty: Vec<String>,
    }

    struct Flattened { a: i32, #[serde(flatten)] inner: Inner, #[serde(flatten)] rest: BTreeMap<String, i32> }

    struct Bytes { #[serde(with = "serde_bytes")] some: Vec<u8>, #[serde(with = "serde_bytes")] none: Vec<u8> }

    struct With { #[serde(with = "as_text")] number: i32 }

    #[serde(into = "String", try_from = "String")]
    struct Converted { text: String }

    struct Deep { child: Option<Box<Deep>>, n: i32 }
}

#[derive(Clone, Debug, Deserialize, PartialEq, Serialize)]
struct NewType(i32);
#[derive(Clone, Debug, Deserialize, PartialEq, Serialize)]
struct NewTypeOfStruct(Inner);
#[derive(Clone, Debug, Deserialize, PartialEq, Serialize)]
struct Pair(i32, String);
#[derive(Clone, Debug, Deserialize, PartialEq, Serialize)]
struct Nothing;
#[derive(Clone, Debug, Deserialize, PartialEq, Serialize)]
#[serde(transparent)]
struct Transparent {
    only: Vec<i32>,
}

#[derive(Serialize)]
struct Borrowed<'a> {
    text: &'a str,
    #[serde(with = "serde_bytes")]
    bytes: &'a [u8],
    list: &'a [&'a str],
    map: HashMap<&'a str, Cow<'a, str>>,
}

#[derive(Serialize)]
struct Tagged {
    #[serde(rename = "type")]
    kind: &'static str,
    #[serde(serialize_with = "doubled")]
    number: i32,
    rc: Arc<[i32]>,
}

fn doubled<S: Serializer>(number: &i32, serializer: S) -> Result<S::Ok, S::Error> {
    serializer.serialize_i64(i64::from(*number) * 2)
}

mod as_text {
    use serde::{Deserialize, Deserializer, Serializer, de::Error};

    pub(super) fn serialize<S: Serializer>(number: &i32, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(number)
    }

    pub(super) fn deserialize<'de, D: Deserializer<'de>>(deserializer: D) -> Result<i32, D::Error> {
        String::deserialize(deserializer)?
            .parse()
            .map_err(Error::custom)
    }
}

impl From<Converted> for String {
    fn from(converted: Converted) -> Self {
        converted.text
    }
}

impl TryFrom<String> for Converted {
    type Error = String;

    fn try_from(text: String) -> Result<Self, String> {
        Ok(Self { text })
    }
}

pub(crate) fn attributes(corpus: &mut Corpus) {
    let inner = Inner {
        b: None,
        c: (5, true),
    };
    corpus.keeps("empty struct", Unit {});
    corpus.keeps(
        "nested structs",
        Nested {
            a: 1,
            inner: inner.clone(),
            list: vec![inner.clone(), inner.clone()],
        },
    );
    corpus.keeps(
        "renamed fields",
        Renamed {
            first_name: "a".to_owned(),
            version: 2,
        },
    );
    corpus.keeps(
        "skipped fields",
        Skipped {
            absent: None,
            there: Some(1),
            never: 0,
            empty: Vec::new(),
        },
    );
    corpus.keeps(
        "flattened fields",
        Flattened {
            a: 1,
            inner: inner.clone(),
            rest: BTreeMap::from([("x".to_owned(), 1)]),
        },
    );
    corpus.keeps(
        "bytes",
        Bytes {
            some: vec![0, 1, 255],
            none: Vec::new(),
        },
    );
    corpus.keeps("serde_bytes buffer", serde_bytes::ByteBuf::from([1, 2, 3]));
    corpus.keeps("field with a module", With { number: 5 });
    corpus.keeps(
        "converted type",
        Converted {
            text: "a".to_owned(),
        },
    );
    let leaf = Deep { child: None, n: 2 };
    corpus.keeps(
        "recursive type",
        Deep {
            child: Some(Box::new(leaf)),
            n: 1,
        },
    );
    corpus.keeps("new type", NewType(5));
    corpus.keeps("new type of a struct", NewTypeOfStruct(inner));
    corpus.keeps("tuple struct", Pair(1, "a".to_owned()));
    corpus.keeps("unit struct", Nothing);
    corpus.keeps("transparent struct", Transparent { only: vec![1, 2] });
    corpus.writes(
        "borrowed fields",
        &Borrowed {
            text: "a",
            bytes: &[1, 2],
            list: &["b", "c"],
            map: HashMap::from([("d", Cow::Borrowed("e"))]),
        },
    );
    corpus.writes(
        "field with a function",
        &Tagged {
            kind: "tag",
            number: 21,
            rc: Arc::from([1, 2]),
        },
    );
}

types! {
    enum External { Unit, New(i32), Tuple(i32, String), Struct { a: i32, b: Option<bool> } }

    #[serde(tag = "kind")]
    enum Internal { Unit, New(Inner), Struct { a: i32 } }

    #[serde(tag = "kind", content = "value")]
    enum Adjacent { Unit, New(i32), Tuple(i32, bool), Struct { a: i32 } }

    #[serde(untagged)]
    enum Untagged { Number(i32), Text(String), Struct { a: i32 }, List(Vec<i32>) }

    #[serde(rename_all = "SCREAMING_SNAKE_CASE")]
    enum RenamedEnum { InStock, #[serde(rename = "gone")] SoldOut }

    #[serde(into = "u8", try_from = "u8")]
    enum Number { One, Two }
}

impl From<Number> for u8 {
    fn from(number: Number) -> Self {
        match number {
            Number::One => 1,
            Number::Two => 2,
        }
    }
}

impl TryFrom<u8> for Number {
    type Error = String;

    fn try_from(number: u8) -> Result<Self, String> {
        match number {
            1 => Ok(Self::One),
            2 => Ok(Self::Two),
            other => Err(format!("{other} is no number")),
        }
    }
}

pub(crate) fn enums(corpus: &mut Corpus) {
    let inner = Inner {
        b: Some("x".to_owned()),
        c: (1, false),
    };
    corpus.keeps("enum: unit", External::Unit);
    corpus.keeps("enum: new type", External::New(1));
    corpus.keeps("enum: tuple", External::Tuple(1, "a".to_owned()));
    corpus.keeps("enum: struct", External::Struct { a: 1, b: None });
    corpus.keeps("internal tag: unit", Internal::Unit);
    corpus.keeps("internal tag: new type", Internal::New(inner));
    corpus.keeps("internal tag: struct", Internal::Struct { a: 1 });
    corpus.keeps("adjacent tag: unit", Adjacent::Unit);
    corpus.keeps("adjacent tag: new type", Adjacent::New(1));
    corpus.keeps("adjacent tag: tuple", Adjacent::Tuple(1, true));
    corpus.keeps("adjacent tag: struct", Adjacent::Struct { a: 1 });
    corpus.keeps("no tag: number", Untagged::Number(1));
    corpus.keeps("no tag: text", Untagged::Text("a".to_owned()));
    corpus.keeps("no tag: struct", Untagged::Struct { a: 1 });
    corpus.keeps("no tag: list", Untagged::List(vec![1, 2]));
    let all = vec![RenamedEnum::InStock, RenamedEnum::SoldOut];
    corpus.keeps("renamed variants", all);
    corpus.keeps("enum as a number", [Number::One, Number::Two]);
    let by_variant = BTreeMap::from([("a".to_owned(), External::Unit)]);
    corpus.keeps("enum in a map", by_variant);
    corpus.keeps("option of an enum", Some(External::New(2)));
}

pub(crate) fn limits(corpus: &mut Corpus) {
    corpus.keeps("largest u64", i64::MAX.unsigned_abs());
    corpus.rejects("too large u64", &(i64::MAX.unsigned_abs() + 1));
    corpus.rejects("u64::MAX", &u64::MAX);
    corpus.rejects("i128", &1_i128);
    corpus.rejects("u128", &1_u128);
    corpus.rejects("key with a NUL", &BTreeMap::from([("a\0b", 1)]));
    corpus.rejects("map with vectors as keys", &BTreeMap::from([(vec![1], 1)]));
    corpus.rejects("error of a type", &Failing);
    corpus.rejects("map with numbers as keys", &BTreeMap::from([(1_i32, 1)]));
}

/// A type that cannot be serialised.
struct Failing;

impl Serialize for Failing {
    fn serialize<S: Serializer>(&self, _: S) -> Result<S::Ok, S::Error> {
        Err(serde::ser::Error::custom("not today"))
    }
}
