//! The arguments of operations, which the generator has made: a value of another type is its mistake, and panics.

use std::time::Duration;

use bson::{Bson, Document};

/// The arguments of an operation.
pub(super) fn of(operation: &Document) -> &Document {
    operation.get_document("arguments").expect("arguments")
}

pub(super) fn doc(arguments: &Document, name: &str) -> Option<Document> {
    let value = arguments.get(name)?;
    Some(value.as_document().expect("a document").clone())
}

/// A document that every operation of this kind has.
pub(super) fn document(arguments: &Document, name: &str) -> Document {
    doc(arguments, name).unwrap_or_else(|| panic!("no {name} in {arguments}"))
}

pub(super) fn docs(arguments: &Document, name: &str) -> Option<Vec<Document>> {
    let array = arguments.get(name)?.as_array().expect("an array").iter();
    Some(
        array
            .map(|one| one.as_document().expect("documents").clone())
            .collect(),
    )
}

pub(super) fn documents(arguments: &Document, name: &str) -> Vec<Document> {
    docs(arguments, name).unwrap_or_else(|| panic!("no {name} in {arguments}"))
}

pub(super) fn any(arguments: &Document, name: &str) -> Option<Bson> {
    arguments.get(name).cloned()
}

pub(super) fn flag(arguments: &Document, name: &str) -> Option<bool> {
    Some(arguments.get(name)?.as_bool().expect("a boolean"))
}

pub(super) fn text(arguments: &Document, name: &str) -> Option<String> {
    Some(arguments.get(name)?.as_str().expect("a text").to_owned())
}

/// A text that every operation of this kind has.
pub(super) fn name(arguments: &Document, name: &str) -> String {
    text(arguments, name).unwrap_or_else(|| panic!("no {name} in {arguments}"))
}

pub(super) fn signed(arguments: &Document, name: &str) -> Option<i64> {
    Some(match arguments.get(name)? {
        Bson::Int32(number) => i64::from(*number),
        Bson::Int64(number) => *number,
        other => panic!("{name}: {other} is no number"),
    })
}

pub(super) fn long(arguments: &Document, name: &str) -> Option<u64> {
    Some(
        signed(arguments, name)?
            .try_into()
            .expect("a number without a sign"),
    )
}

pub(super) fn short(arguments: &Document, name: &str) -> Option<u32> {
    Some(signed(arguments, name)?.try_into().expect("a small number"))
}

pub(super) fn millis(arguments: &Document, name: &str) -> Option<Duration> {
    long(arguments, name).map(Duration::from_millis)
}

pub(super) fn seconds(arguments: &Document, name: &str) -> Option<Duration> {
    long(arguments, name).map(Duration::from_secs)
}
