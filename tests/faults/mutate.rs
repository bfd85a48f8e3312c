//! Mutations of valid replies.

use mongotls::bson::oid::ObjectId;
use mongotls::bson::{Bson, Document, RawBson, RawDocument, RawDocumentBuf, doc};
use mongotls_testbench::random::Random;

/// The fields of a document, in which a name may be there twice.
type Fields = Vec<(String, Value)>;

#[derive(Clone, Debug)]
enum Value {
    Leaf(Bson),
    Document(Fields),
    Array(Fields),
    /// An encoded document, for one that is too deep to be built in another way.
    Encoded(Vec<u8>),
}

/// Changes a reply. Returns its bytes, and what was changed.
pub(crate) fn mutated(reply: &RawDocument, random: &mut Random) -> (Vec<u8>, String) {
    let document = Document::try_from(reply).unwrap();
    let mut fields = fields(document);
    let mut changes = Vec::new();
    for _ in 0..=random.below(2) {
        changes.push(change(&mut fields, random));
    }
    let mut bytes = encoded(&fields);
    if random.below(6) == 0 {
        changes.push(damage(&mut bytes, random));
    }
    (bytes, changes.join(", "))
}

fn fields(document: Document) -> Fields {
    document
        .into_iter()
        .map(|(key, value)| (key, node(value)))
        .collect()
}

fn node(value: Bson) -> Value {
    match value {
        Bson::Document(document) => Value::Document(fields(document)),
        Bson::Array(values) => {
            let values = values.into_iter().enumerate();
            Value::Array(
                values
                    .map(|(at, value)| (at.to_string(), node(value)))
                    .collect(),
            )
        }
        leaf => Value::Leaf(leaf),
    }
}

/// Changes one field, at any depth.
fn change(fields: &mut Fields, random: &mut Random) -> String {
    if fields.is_empty() || random.below(12) == 0 {
        let (key, value) = injected(random);
        let text = format!("{key} added: {}", shown(&value));
        let at = random.below(fields.len() + 1);
        fields.insert(at, (key, value));
        return text;
    }
    let at = random.below(fields.len());
    let key = fields[at].0.clone();
    if let Value::Document(inner) | Value::Array(inner) = &mut fields[at].1 {
        if random.below(3) > 0 {
            return format!("{key}.{}", change(inner, random));
        }
    }
    match random.below(8) {
        0 | 1 => {
            fields.remove(at);
            format!("{key} removed")
        }
        2 => {
            let value = (key.clone(), fields[at].1.clone());
            fields.insert(random.below(fields.len() + 1), value);
            format!("{key} twice")
        }
        3 => {
            let value = other(random);
            let text = shown(&value);
            fields.insert(random.below(fields.len() + 1), (key.clone(), value));
            format!("{key} also {text}")
        }
        4 => {
            let with = random.below(fields.len());
            fields.swap(at, with);
            format!("{key} moved")
        }
        5 => {
            fields[at].0 = format!("{key}x");
            format!("{key} renamed")
        }
        _ => {
            fields[at].1 = other(random);
            format!("{key} is {}", shown(&fields[at].1))
        }
    }
}

/// A value of any type.
fn other(random: &mut Random) -> Value {
    let leaf = match random.below(22) {
        0 => Bson::Int32(-1),
        1 => Bson::Int32(0),
        2 => Bson::Int32(1),
        3 => Bson::Int32(2),
        4 => Bson::Int32(i32::MAX),
        5 => Bson::Int64(i64::MAX),
        6 => Bson::Int64(i64::MIN),
        7 => Bson::Int64(1),
        8 => Bson::Double(f64::NAN),
        9 => Bson::Double(0.5),
        10 => Bson::Double(1.0),
        11 => Bson::Double(1e300),
        12 => Bson::String(String::new()),
        13 => Bson::String("1".to_owned()),
        14 => Bson::Null,
        15 => Bson::Boolean(true),
        16 => Bson::Boolean(false),
        17 => Bson::ObjectId(ObjectId::new()),
        18 => return node(doc! {}.into()),
        19 => return node(Bson::Array(Vec::new())),
        20 => return node(Bson::Array(vec![Bson::Int32(1), doc! { "a": 1 }.into()])),
        _ => return deep(if random.below(2) == 0 { 150 } else { 4000 }),
    };
    Value::Leaf(leaf)
}

fn deep(levels: usize) -> Value {
    // Each level is a length, a type, a name of one letter, the next level, and a NUL.
    let mut bytes = Vec::new();
    for level in (1..=levels).rev() {
        bytes.extend(i32::try_from(5 + 8 * (level - 1)).unwrap().to_le_bytes());
        if level > 1 {
            bytes.extend(b"\x03a\0");
        }
    }
    bytes.resize(bytes.len() + levels, 0);
    Value::Encoded(bytes)
}

/// A field that decides about the success of a command.
fn injected(random: &mut Random) -> (String, Value) {
    let mut error = doc! { "code": 11000, "errmsg": "E11000" };
    match random.below(6) {
        0 => {}
        1 => drop(error.insert("index", 0)),
        2 => drop(error.insert("index", -1)),
        3 => drop(error.insert("index", 99)),
        4 => drop(error.insert("index", "0")),
        _ => drop(error.insert("index", i64::MAX)),
    }
    let (key, value): (_, Bson) = match random.below(12) {
        0 | 1 => ("writeErrors", vec![Bson::from(error)].into()),
        2 => ("writeErrors", Bson::Array(vec![Bson::Int32(1)])),
        3 => ("writeErrors", error.into()),
        4 => ("writeErrors", Bson::Array(Vec::new())),
        5 => (
            "writeConcernError",
            doc! { "code": 64, "errmsg": "w" }.into(),
        ),
        6 => ("writeConcernError", Bson::Null),
        7 => ("ok", Bson::Int32(0)),
        8 => (
            "upserted",
            vec![Bson::from(doc! { "index": 5, "_id": 1 })].into(),
        ),
        9 => (
            "errorLabels",
            vec!["NoWritesPerformed", "RetryableWriteError"].into(),
        ),
        10 => ("n", Bson::Int32(7)),
        _ => (
            "cursor",
            doc! { "id": 1_i64, "ns": "db.x", "firstBatch": [] }.into(),
        ),
    };
    (key.to_owned(), node(value))
}

/// Changes bytes, whatever they mean.
fn damage(bytes: &mut Vec<u8>, random: &mut Random) -> String {
    let at = random.below(bytes.len());
    match random.below(6) {
        0 => bytes[at] ^= 1 << random.below(8),
        1 => bytes[at] = 0xFF,
        2 => bytes.truncate(at),
        3 => bytes.extend(random.bytes(3)),
        4 => {
            let size = i32::try_from(random.below(1000)).unwrap() - 10;
            bytes[..4].copy_from_slice(&size.to_le_bytes());
        }
        _ => {
            let end = (at + 4).min(bytes.len());
            bytes[at..end].copy_from_slice(&[0xFF, 0xFF, 0xFF, 0x7F][..end - at]);
        }
    }
    format!("damaged at {at}")
}

fn encoded(fields: &Fields) -> Vec<u8> {
    let mut bytes = vec![0; 4];
    for (key, value) in fields {
        match value {
            Value::Leaf(leaf) => bytes.extend(element(key, leaf)),
            Value::Document(inner) => nested(&mut bytes, 3, key, inner),
            Value::Array(inner) => nested(&mut bytes, 4, key, inner),
            Value::Encoded(inner) => {
                bytes.push(3);
                bytes.extend(key.as_bytes());
                bytes.push(0);
                bytes.extend(inner);
            }
        }
    }
    bytes.push(0);
    let size = i32::try_from(bytes.len()).unwrap();
    bytes[..4].copy_from_slice(&size.to_le_bytes());
    bytes
}

fn nested(bytes: &mut Vec<u8>, kind: u8, key: &str, fields: &Fields) {
    bytes.push(kind);
    bytes.extend(key.as_bytes());
    bytes.push(0);
    bytes.extend(encoded(fields));
}

fn element(key: &str, leaf: &Bson) -> Vec<u8> {
    let mut document = RawDocumentBuf::new();
    let key = mongotls::bson::raw::CString::try_from(key.to_owned()).unwrap();
    document.append(key, RawBson::try_from(leaf.clone()).unwrap());
    let bytes = document.as_bytes();
    bytes[4..bytes.len() - 1].to_vec()
}

fn shown(value: &Value) -> String {
    let mut text = format!("{value:?}");
    text.truncate(80);
    text
}
