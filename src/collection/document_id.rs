//! The `_id` of a document that is inserted: the document's own, moved to the front, or a new one ("CRUD API", "Insert").

use bson::Bson;
use bson::oid::ObjectId;
use bson::raw::RawDocument;
use bson::spec::ElementType;

use crate::elements::{Elements, Malformed};
use crate::error::{Error, Result};
use crate::object_id::IdGenerator;

/// Appends the document that `encode` appends, so that it begins with its `_id`. A document without one gets a new one. So
/// does one whose `_id` is null, because an `Option` field is `None`, unless `keeps_null`: the program has written the null
/// itself.
///
/// # Errors
/// The error of `encode`, or an error if the document is not valid BSON. In both cases `bytes` may have a part of it.
pub(super) fn append_with_id(
    bytes: &mut Vec<u8>,
    ids: IdGenerator,
    keeps_null: bool,
    encode: impl FnOnce(&mut Vec<u8>) -> Result<()>,
) -> Result<()> {
    // The new `_id` takes this room in front of the document, so most documents need not move.
    let start = bytes.len();
    bytes.extend_from_slice(&[0; ID_SIZE]);
    let document = start + ID_SIZE;
    encode(bytes)?;
    let found = position_of_id(&bytes[document..]);
    let found = found.map_err(|Malformed| invalid(&bytes[document..]))?;
    if let Some((position, size, kind)) = found {
        let element = document + position..document + position + size;
        if kind != ElementType::Null || keeps_null {
            bytes[document + LENGTH..element.end].rotate_right(size);
            bytes.drain(start..document);
            return Ok(());
        }
        bytes.drain(element);
    }
    let length = i32::try_from(bytes.len() - start)
        .map_err(|_| Error::invalid_argument("the document is larger than 2 GiB"))?;
    let front = &mut bytes[start..document + LENGTH];
    front[..LENGTH].copy_from_slice(&length.to_le_bytes());
    front[LENGTH..].copy_from_slice(&id_element(ids.next()));
    Ok(())
}

/// The position of the element `_id`, its size and its type.
fn position_of_id(document: &[u8]) -> Result<Option<(usize, usize, ElementType)>, Malformed> {
    let mut position = LENGTH;
    let mut elements = Elements::of(document)?;
    while let Some(element) = elements.next()? {
        if element.key == b"_id" {
            return Ok(Some((position, element.size(), element.kind)));
        }
        position += element.size();
    }
    Ok(None)
}

#[cold]
fn invalid(document: &[u8]) -> Error {
    let error = match RawDocument::from_bytes(document) {
        Ok(document) => document.iter_elements().find_map(std::result::Result::err),
        Err(error) => Some(error),
    };
    let message = "the document cannot be encoded as BSON";
    match error {
        Some(error) => Error::bson(message, error),
        None => Error::invalid_argument(message),
    }
}

/// The `_id` of a document that begins with it.
///
/// # Errors
/// If the document is not valid BSON.
pub(crate) fn id_of(document: &RawDocument) -> Result<Bson> {
    // Most documents have an ObjectId, which needs no check of its key and its value.
    if let [_, _, _, _, 0x07, b'_', b'i', b'd', 0, value @ ..] = document.as_bytes() {
        if let Some(id) = value.first_chunk() {
            return Ok(Bson::ObjectId(ObjectId::from_bytes(*id)));
        }
    }
    let invalid = |error| Error::bson("the document cannot be encoded as BSON", error);
    match document.iter_elements().next() {
        Some(first) => Bson::try_from(first.map_err(invalid)?).map_err(invalid),
        None => Ok(Bson::Null),
    }
}

/// The size of the length in front of a document.
const LENGTH: usize = 4;

/// The size of an element `_id` with an `ObjectId`: its type, its key and its value.
const ID_SIZE: usize = 1 + 4 + 12;

/// The element `_id` with this value.
fn id_element(id: ObjectId) -> [u8; ID_SIZE] {
    let mut element = *b"\x07_id\0            ";
    element[5..].copy_from_slice(&id.bytes());
    element
}

#[cfg(test)]
mod tests {
    use bson::{Document, doc};

    use super::*;

    fn append(bytes: &mut Vec<u8>, document: &[u8], keeps_null: bool) -> Result<()> {
        append_with_id(bytes, IdGenerator::new(), keeps_null, |bytes| {
            bytes.extend_from_slice(document);
            Ok(())
        })
    }

    /// Returns the document with its ID, behind other bytes, and the ID.
    fn with_id(document: &Document) -> (Document, Bson) {
        let mut bytes = vec![7; 3];
        append(&mut bytes, &document.to_vec().unwrap(), false).unwrap();
        assert_eq!(bytes[..3], [7; 3]);
        let id = id_of(RawDocument::from_bytes(&bytes[3..]).unwrap()).unwrap();
        (Document::from_reader(&bytes[3..]).unwrap(), id)
    }

    #[test]
    fn a_document_without_an_id_gets_one_in_front() {
        for document in [
            doc! {},
            doc! { "a": 1, "b": { "_id": 5 } },
            doc! { "_id": null, "a": 1 },
            doc! { "a": 1, "_id": null },
        ] {
            let (with, id) = with_id(&document);
            let Bson::ObjectId(_) = id else {
                panic!("{id}");
            };
            let mut expected = doc! { "_id": id };
            expected.extend(document.into_iter().filter(|(key, _)| key != "_id"));
            assert_eq!(with.to_string(), expected.to_string());
        }
    }

    #[test]
    fn an_own_id_moves_to_the_front_and_nothing_else_changes() {
        let document = doc! { "a": 1, "_id": { "x": [1, "two"] }, "b": "text" };
        let (with, id) = with_id(&document);
        assert_eq!(id, document["_id"]);
        let expected = doc! { "_id": { "x": [1, "two"] }, "a": 1, "b": "text" };
        assert_eq!(with.to_string(), expected.to_string());
        let first = doc! { "_id": 1, "a": 1 };
        assert_eq!(with_id(&first), (first, Bson::Int32(1)));
    }

    #[test]
    fn a_null_that_the_program_has_written_stays() {
        let mut bytes = Vec::new();
        append(
            &mut bytes,
            &doc! { "a": 1, "_id": null }.to_vec().unwrap(),
            true,
        )
        .unwrap();
        let document = Document::from_reader(&*bytes).unwrap();
        assert_eq!(document.to_string(), "{ \"_id\": null, \"a\": 1 }");
    }

    #[test]
    fn bytes_that_are_not_a_document_are_an_error() {
        let mut bytes = doc! { "a": "text" }.to_vec().unwrap();
        bytes[7] = 200; // the length of the text
        let error = append(&mut Vec::new(), &bytes, true).unwrap_err();
        assert_eq!(error.kind(), crate::ErrorKind::Bson);
        assert_eq!(error.to_string(), "the document cannot be encoded as BSON");
    }
}
