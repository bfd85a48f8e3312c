//! The types of `bson`, and of the libraries that programs use with it.

use std::str::FromStr;

use bson::oid::ObjectId;
use bson::raw::RawDocumentBuf;
use bson::serde_helpers::{datetime, object_id, timestamp, u32 as as_u32, u64 as as_u64, uuid_1};
use bson::spec::BinarySubtype;
use bson::{Binary, Bson, DateTime, Decimal128, Document, JavaScriptCodeWithScope};
use bson::{RawArrayBuf, RawBson, Regex, Timestamp, cstr, doc, rawdoc};
use serde::{Deserialize, Serialize};
use serde_with::{
    DisplayFromStr, DurationSeconds, NoneAsEmptyString, OneOrMany, TimestampSeconds, serde_as,
    skip_serializing_none,
};

use crate::Corpus;

const ID: ObjectId = ObjectId::from_bytes([7; 12]);

pub(crate) fn bson(corpus: &mut Corpus) {
    let date = DateTime::from_millis(-1_500);
    let binary = Binary {
        subtype: BinarySubtype::UserDefined(200),
        bytes: vec![1, 2],
    };
    let time = Timestamp {
        time: 5,
        increment: 7,
    };
    let scope = JavaScriptCodeWithScope {
        code: "x".to_owned(),
        scope: doc! { "x": 1 },
    };
    let regex = Regex {
        pattern: cstr!("^a").to_owned(),
        options: cstr!("im").to_owned(),
    };
    corpus.keeps("bson: ObjectId", ID);
    corpus.keeps("bson: DateTime", date);
    corpus.keeps("bson: Decimal128", Decimal128::from_str("1.50").unwrap());
    corpus.keeps("bson: Binary", binary.clone());
    corpus.keeps("bson: Uuid", bson::Uuid::from_bytes([3; 16]));
    corpus.keeps("bson: Timestamp", time);
    corpus.keeps("bson: code with scope", scope.clone());
    corpus.keeps("bson: Regex", regex.clone());
    let all = doc! {
        "id": ID, "date": date, "binary": binary, "time": time, "scope": scope, "regex": regex,
        "min": Bson::MinKey, "max": Bson::MaxKey, "undefined": Bson::Undefined, "null": null,
        "symbol": Bson::Symbol("s".to_owned()), "code": Bson::JavaScriptCode("x".to_owned()),
        "list": [1, 2_i64, 1.5, "a", [true]], "document": {},
    };
    corpus.keeps("bson: Document", all.clone());
    corpus.keeps("bson: Bson", Bson::Document(all.clone()));
    corpus.keeps("bson: MinKey", Bson::MinKey);
    corpus.keeps(
        "bson: raw document",
        RawDocumentBuf::try_from(&all).unwrap(),
    );
    corpus.writes("bson: borrowed raw document", &&*rawdoc! { "a": 1 });
    let array = RawArrayBuf::from_iter([1_i32, 2]);
    corpus.keeps("bson: raw array", array.clone());
    corpus.keeps("bson: raw value", RawBson::Array(array));
    corpus.keeps("list of documents", vec![Document::new(), doc! { "a": 1 }]);
    let readable = bson::serde_helpers::HumanReadable(Readable { id: ID });
    corpus.writes("bson: HumanReadable", &readable);
}

#[derive(Serialize)]
struct Readable {
    id: ObjectId,
}

#[serde_as]
#[derive(Debug, Deserialize, PartialEq, Serialize)]
struct Helpers {
    #[serde_as(as = "datetime::FromChrono04DateTime")]
    chrono: chrono::DateTime<chrono::Utc>,
    #[serde_as(as = "datetime::FromTime03OffsetDateTime")]
    time: time::OffsetDateTime,
    #[serde_as(as = "datetime::AsRfc3339String")]
    text: DateTime,
    #[serde_as(as = "datetime::FromI64")]
    millis: i64,
    #[serde_as(as = "object_id::AsHexString")]
    hex: ObjectId,
    #[serde_as(as = "timestamp::AsU32")]
    timestamp: Timestamp,
    #[serde_as(as = "timestamp::FromU32")]
    seconds: u32,
    #[serde_as(as = "as_u32::AsF64")]
    double: u32,
    #[serde_as(as = "as_u64::AsF64")]
    large: u64,
    #[serde_as(as = "uuid_1::AsBinary")]
    uuid: uuid::Uuid,
    #[serde_as(as = "Option<uuid_1::AsBinary>")]
    no_uuid: Option<uuid::Uuid>,
    #[serde_as(as = "uuid_1::AsPythonLegacyBinary")]
    python: uuid::Uuid,
}

#[serde_as]
#[derive(Debug, Deserialize, PartialEq, Serialize)]
struct With {
    #[serde_as(as = "DisplayFromStr")]
    text: i32,
    #[serde_as(as = "serde_with::hex::Hex")]
    hex: Vec<u8>,
    #[serde_as(as = "serde_with::Bytes")]
    bytes: Vec<u8>,
    #[serde_as(as = "DurationSeconds<i64>")]
    duration: chrono::Duration,
    #[serde_as(as = "TimestampSeconds<i64>")]
    timestamp: chrono::DateTime<chrono::Utc>,
    #[serde_as(as = "NoneAsEmptyString")]
    empty: Option<String>,
    #[serde_as(as = "OneOrMany<_>")]
    one: Vec<i32>,
    #[serde_as(as = "Vec<(_, _)>")]
    pairs: std::collections::BTreeMap<i32, i32>,
}

#[skip_serializing_none]
#[derive(Debug, Default, Deserialize, PartialEq, Serialize)]
struct WithoutNone {
    a: Option<i32>,
    b: Option<i32>,
}

#[derive(Debug, Deserialize, PartialEq, Serialize)]
struct Chrono {
    #[serde(with = "chrono::serde::ts_milliseconds")]
    millis: chrono::DateTime<chrono::Utc>,
    #[serde(with = "chrono::serde::ts_seconds_option")]
    seconds: Option<chrono::DateTime<chrono::Utc>>,
}

pub(crate) fn others(corpus: &mut Corpus) {
    let instant = chrono::DateTime::from_timestamp(1_700_000_000, 5_000_000).unwrap();
    let whole = chrono::DateTime::from_timestamp(1_700_000_000, 0).unwrap();
    let uuid = uuid::Uuid::from_bytes([9; 16]);
    corpus.keeps("uuid", uuid);
    corpus.keeps("uuid as text", uuid.hyphenated());
    corpus.keeps("chrono: DateTime", instant);
    corpus.keeps("chrono: FixedOffset", instant.fixed_offset());
    corpus.keeps("chrono: NaiveDate", instant.date_naive());
    corpus.keeps("chrono: NaiveDateTime", instant.naive_utc());
    corpus.keeps("chrono: Weekday", chrono::Weekday::Mon);
    corpus.keeps(
        "chrono: timestamps",
        Chrono {
            millis: instant,
            seconds: Some(whole),
        },
    );
    let time = time::OffsetDateTime::from_unix_timestamp(1_700_000_000).unwrap();
    corpus.keeps("time: OffsetDateTime", time);
    corpus.keeps("time: Date", time.date());
    corpus.keeps("time: Duration", time::Duration::minutes(5));
    corpus.keeps(
        "serde_with: helpers of bson",
        Helpers {
            chrono: instant,
            time,
            text: DateTime::from_millis(1_500),
            millis: 1_500,
            hex: ID,
            timestamp: Timestamp {
                time: 5,
                increment: 0,
            },
            seconds: 5,
            double: 6,
            large: 7,
            uuid,
            no_uuid: None,
            python: uuid,
        },
    );
    corpus.keeps(
        "serde_with",
        With {
            text: 5,
            hex: vec![0xab],
            bytes: vec![1, 2],
            duration: chrono::Duration::seconds(90),
            timestamp: whole,
            empty: None,
            one: vec![1],
            pairs: [(1, 2)].into(),
        },
    );
    corpus.keeps(
        "serde_with: without None",
        WithoutNone {
            a: None,
            b: Some(1),
        },
    );
}
