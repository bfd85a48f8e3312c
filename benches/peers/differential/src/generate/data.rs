//! Documents, filters, pipelines and updates.

use bson::oid::ObjectId;
use bson::spec::BinarySubtype;
use bson::{Binary, Bson, DateTime, Document, Regex, Timestamp, doc};

use super::Choice;

/// The collection of most operations.
pub(crate) const THINGS: &str = "things";
/// Another collection.
pub(crate) const OTHER: &str = "others";
/// A capped collection with three documents.
pub(crate) const CAPPED: &str = "log";

const WORDS: &[&str] = &["apple", "Apple", "äpfel", "zebra", "item 2", "item 10", ""];

/// The documents that a seed begins with.
pub(crate) fn stored() -> Vec<Document> {
    let documents = (1..=12).map(|id| {
        let word = WORDS[id as usize % WORDS.len()];
        let number: Bson = match id % 3 {
            0 => Bson::Int64(i64::from(id / 2)),
            1 => Bson::Int32(id / 2),
            _ => Bson::Double(f64::from(id) / 2.0),
        };
        doc! {
            "_id": id,
            "n": number,
            "s": word,
            "tags": [id, id % 4],
            "items": [{ "q": id % 5, "name": word }, { "q": 6 }],
            "o": { "a": id % 4 },
        }
    });
    documents.collect()
}

/// A value of any type.
fn value(choice: &mut Choice) -> Bson {
    match choice.between(0, 17) {
        0 => Bson::Null,
        1 => choice.chance(50).into(),
        2 => Bson::Int64(i64::from(choice.between(-5, 5)) << 40),
        3 => Bson::Int64(i64::from(choice.between(-5, 5))),
        4 => Bson::Double(f64::from(choice.between(-9, 9)) / 4.0),
        5 => Bson::Decimal128("12.50".parse().expect("a decimal")),
        6 => Bson::DateTime(DateTime::from_millis(
            i64::from(choice.between(-9, 9)) * 86_400_001,
        )),
        // A date that Python cannot represent.
        7 => Bson::DateTime(DateTime::from_millis(1 << 50)),
        8 => Bson::ObjectId(known_id(choice)),
        9 => Bson::RegularExpression(Regex {
            pattern: "^a.".try_into().expect("a pattern"),
            options: "i".try_into().expect("options"),
        }),
        10 => binary(BinarySubtype::Generic),
        11 => binary(BinarySubtype::Uuid),
        12 => Bson::Timestamp(Timestamp {
            time: 7,
            increment: 1,
        }),
        13 => Bson::MinKey,
        14 => vec![value(choice), value(choice)].into(),
        15 => doc! { "z": value(choice), "a": 1, "": "empty" }.into(),
        16 => (choice.one(WORDS)).into(),
        _ => choice.between(0, 9).into(),
    }
}

fn binary(subtype: BinarySubtype) -> Bson {
    let bytes = (1..=16).collect();
    Bson::Binary(Binary { subtype, bytes })
}

/// An ID that the comparison can tell from those that drivers and servers create.
fn known_id(choice: &mut Choice) -> ObjectId {
    let mut bytes = *b"differential";
    bytes[11] = u8::try_from(choice.between(0, 255)).expect("a byte");
    ObjectId::from_bytes(bytes)
}

/// True for an ID of [`known_id`].
pub(crate) fn is_known(id: &ObjectId) -> bool {
    id.bytes()[..11] == b"differential"[..11]
}

fn id(choice: &mut Choice) -> Bson {
    match choice.between(0, 9) {
        // A document with this ID exists.
        0 => choice.between(1, 12).into(),
        1 => Bson::ObjectId(known_id(choice)),
        2 => doc! { "b": choice.between(0, 99), "a": 1 }.into(),
        3 => Bson::String(format!("id {}", choice.between(0, 999))),
        4 => Bson::Null,
        _ => choice.between(100, 9_999).into(),
    }
}

/// A document to insert. Some have no `_id`, and some have it at another place than the first.
pub(super) fn document(choice: &mut Choice) -> Document {
    let mut document = Document::new();
    let place = choice.between(0, 4);
    if place < 3 {
        document.insert("_id", id(choice));
    }
    document.insert("n", choice.between(0, 9));
    document.insert("s", choice.one(WORDS));
    for index in 0..choice.between(0, 2) {
        document.insert(format!("v{index}"), value(choice));
    }
    if place == 3 {
        document.insert("_id", id(choice));
    }
    document
}

pub(super) fn replacement(choice: &mut Choice) -> Document {
    let mut document = doc! { "n": choice.between(0, 9), "new": value(choice) };
    match choice.between(0, 9) {
        // The drivers reject it.
        0 => doc! { "$set": { "n": 1 } },
        1 => Document::new(),
        2 => {
            document.insert("s", choice.one(WORDS));
            document
        }
        _ => document,
    }
}

fn condition(choice: &mut Choice) -> Document {
    match choice.between(0, 9) {
        0 => doc! { "_id": choice.between(1, 13) },
        1 => doc! { "n": { "$gte": choice.between(0, 6) } },
        2 => doc! { "n": { "$lt": choice.between(0, 6) } },
        3 => doc! { "s": choice.one(WORDS) },
        4 => doc! { "tags": choice.between(0, 3) },
        5 => doc! { "items.q": { "$in": [choice.between(0, 5), 3] } },
        6 => doc! { "o": { "a": choice.between(0, 3) } },
        7 => doc! { "$or": [{ "n": choice.between(0, 6) }, { "_id": choice.between(1, 12) }] },
        8 => doc! { "missing": { "$exists": false } },
        _ => doc! { "s": { "$regex": "^a", "$options": "i" } },
    }
}

/// A filter; with variables it may use them.
pub(super) fn filter(choice: &mut Choice, has_variables: bool) -> Document {
    if has_variables && choice.chance(70) {
        return doc! { "$expr": { "$gte": ["$n", "$$least"] } };
    }
    match choice.between(0, 19) {
        // The server rejects it.
        0 => doc! { "n": { "$unknown": 1 } },
        1..=7 => Document::new(),
        8 => {
            let mut both = condition(choice);
            both.extend(condition(choice));
            both
        }
        9 => doc! { "n": value(choice) },
        _ => condition(choice),
    }
}

/// A filter of a write. An upsert with it may insert a document with a known `_id`.
pub(super) fn write_filter(choice: &mut Choice, has_variables: bool) -> Document {
    match choice.chance(30) {
        true => doc! { "_id": choice.between(10, 20) },
        false => filter(choice, has_variables),
    }
}

pub(super) fn update(choice: &mut Choice, has_array_filters: bool, has_variables: bool) -> Bson {
    if has_array_filters && choice.chance(80) {
        return doc! { "$set": { "items.$[i].q": choice.between(10, 20) } }.into();
    }
    if has_variables && choice.chance(70) {
        return vec![doc! { "$set": { "least": "$$least" } }].into();
    }
    match choice.between(0, 13) {
        // The drivers reject these two.
        0 => Document::new().into(),
        1 => doc! { "n": 1 }.into(),
        2 => vec![doc! { "$set": { "copy": "$n" } }, doc! { "$unset": "tags" }].into(),
        // The server rejects these two.
        3 => doc! { "$unknown": { "n": 1 } }.into(),
        4 => doc! { "$set": { "_id": 77 } }.into(),
        5 => doc! { "$inc": { "n": choice.between(1, 3) }, "$set": { "v": value(choice) } }.into(),
        6 => doc! { "$push": { "tags": choice.between(0, 9) } }.into(),
        7 => doc! { "$unset": { "o": "" } }.into(),
        8 => doc! { "$mul": { "n": 2 } }.into(),
        9 => doc! { "$setOnInsert": { "fresh": true }, "$set": { "s": choice.one(WORDS) } }.into(),
        _ => doc! { "$set": { "v": value(choice) } }.into(),
    }
}

pub(super) fn pipeline(choice: &mut Choice, has_variables: bool) -> Vec<Document> {
    let mut stages = vec![doc! { "$match": filter(choice, has_variables) }];
    match choice.between(0, 9) {
        0 => stages.push(doc! { "$sort": { "n": 1, "_id": 1 } }),
        1 => stages.push(doc! { "$project": { "n": 1, "twice": { "$multiply": ["$n", 2] } } }),
        2 => stages.extend([
            doc! { "$group": { "_id": "$o.a", "sum": { "$sum": "$n" } } },
            doc! { "$sort": { "_id": 1 } },
        ]),
        3 => stages.push(doc! { "$unwind": "$tags" }),
        4 => stages.push(doc! { "$out": "out" }),
        5 => stages.push(doc! { "$merge": { "into": "out" } }),
        6 => stages.push(doc! { "$count": "n" }),
        7 => stages.extend([doc! { "$skip": 1 }, doc! { "$limit": choice.between(1, 9) }]),
        8 => return Vec::new(),
        _ => {}
    }
    stages
}

pub(super) fn database_pipeline(choice: &mut Choice) -> Vec<Document> {
    let documents: Vec<_> = (0..choice.between(1, 5)).map(|n| doc! { "n": n }).collect();
    let mut stages = vec![
        doc! { "$documents": documents },
        doc! { "$match": { "n": { "$gte": choice.between(0, 2) } } },
    ];
    if choice.chance(40) {
        stages.push(doc! { "$out": "out" });
    }
    stages
}
