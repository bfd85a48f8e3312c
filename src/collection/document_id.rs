//! The `_id` of a document that is inserted: the document's own, moved to the front, or a new one ("CRUD API", "Insert").

use bson::oid::ObjectId;
use bson::raw::RawDocument;
use bson::spec::ElementType;
use bson::{Bson, RawBsonRef};

use crate::error::{Error, Result};
use crate::object_id::IdGenerator;

/// Lets the document that begins at `start` of `bytes` begin with its `_id`, and returns the `_id`. A document without one
/// gets a new one. So does one whose `_id` is null, because an `Option` field is `None`, unless `keeps_null`: the program
/// has written the null itself.
///
/// # Errors
/// If the document is not valid BSON.
pub(super) fn ensure_id(
    bytes: &mut Vec<u8>,
    start: usize,
    ids: IdGenerator,
    keeps_null: bool,
) -> Result<Bson> {
    let invalid = |error| Error::bson("the document cannot be encoded as BSON", error);
    let document = RawDocument::from_bytes(&bytes[start..]).map_err(invalid)?;
    let mut position = start + LENGTH;
    for element in document.iter_elements() {
        let element = element.map_err(invalid)?;
        let size = 1 + element.key().as_str().len() + 1 + element.size();
        if element.key().as_str() != "_id" {
            position += size;
            continue;
        }
        let value = element.value().map_err(invalid)?;
        if value == RawBsonRef::Null && !keeps_null {
            bytes.drain(position..position + size);
            break;
        }
        let id = Bson::try_from(value).map_err(invalid)?;
        bytes[start + LENGTH..position + size].rotate_right(size);
        return Ok(id);
    }
    let id = ids.next();
    bytes.splice(start + LENGTH..start + LENGTH, id_element(id));
    let length = i32::try_from(bytes.len() - start)
        .map_err(|_| Error::invalid_argument("the document is larger than 2 GiB"))?;
    bytes[start..start + LENGTH].copy_from_slice(&length.to_le_bytes());
    Ok(Bson::ObjectId(id))
}

/// The size of the length in front of a document.
const LENGTH: usize = 4;

/// The element `_id` with this value.
fn id_element(id: ObjectId) -> impl Iterator<Item = u8> {
    let name = *b"_id\0";
    [ElementType::ObjectId as u8]
        .into_iter()
        .chain(name)
        .chain(id.bytes())
}

#[cfg(test)]
mod tests {
    use bson::{Document, doc};

    use super::*;

    /// Returns the document with its ID, behind other bytes, and the ID.
    fn with_id(document: &Document) -> (Document, Bson) {
        let mut bytes = vec![7; 3];
        bytes.extend(document.to_vec().unwrap());
        let id = ensure_id(&mut bytes, 3, IdGenerator::new(), false).unwrap();
        assert_eq!(bytes[..3], [7; 3]);
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
        let mut bytes = doc! { "a": 1, "_id": null }.to_vec().unwrap();
        let id = ensure_id(&mut bytes, 0, IdGenerator::new(), true).unwrap();
        assert_eq!(id, Bson::Null);
        let document = Document::from_reader(&*bytes).unwrap();
        assert_eq!(document.to_string(), "{ \"_id\": null, \"a\": 1 }");
    }
}
