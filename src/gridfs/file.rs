//! The document of a file: what programs see of it, and what a download needs. Nothing in it is trusted.

use bson::raw::RawDocument;
use bson::{Bson, DateTime, Document, RawBsonRef};

use crate::data::hello::integer;
use crate::error::{Error, Result};
use crate::reason::gridfs::{FileKey, GridFsFailure, Problem};

/// The document that describes a file, in the collection of files.
///
/// Fields that other programs have added are not part of it; read the collection itself for them.
#[derive(Clone, Debug, PartialEq)]
#[non_exhaustive]
pub struct FilesCollectionDocument {
    /// The ID of the file.
    pub id: Bson,
    /// The size of the file in bytes.
    pub length: u64,
    /// The size of its chunks in bytes; the last one may be smaller.
    pub chunk_size_bytes: u32,
    /// The time at which the upload was completed.
    pub upload_date: DateTime,
    /// The name of the file. Files of some old programs have none.
    pub filename: Option<String>,
    /// The data that the program has stored with the file.
    pub metadata: Option<Document>,
}

impl FilesCollectionDocument {
    /// Reads a document of the collection.
    ///
    /// # Errors
    /// If a field has another type than that of the specification, or an impossible value.
    pub(super) fn read(document: &RawDocument) -> Result<Self> {
        let shape = Shape::read(document)?;
        let field = |key: &'static str| document.get(key).ok().flatten();
        let wrong = |key| shape.wrong(None, Problem::Field(key));
        let upload_date = match field("uploadDate") {
            Some(RawBsonRef::DateTime(date)) => date,
            _ => return Err(wrong("uploadDate")),
        };
        let metadata = match field("metadata") {
            Some(RawBsonRef::Document(metadata)) => {
                let metadata = Document::try_from(metadata);
                Some(metadata.map_err(|error| wrong("metadata").with_source(error))?)
            }
            _ => None,
        };
        Ok(Self {
            id: shape.id,
            length: shape.length,
            chunk_size_bytes: shape.chunk_size,
            upload_date,
            filename: shape.filename,
            metadata,
        })
    }
}

#[cfg(feature = "serde")]
impl<'de> serde::Deserialize<'de> for FilesCollectionDocument {
    fn deserialize<D: serde::Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let document = bson::RawDocumentBuf::deserialize(deserializer)?;
        Self::read(&document).map_err(serde::de::Error::custom)
    }
}

/// The part of a file's document that a download needs.
#[derive(Clone, Debug, PartialEq)]
pub(super) struct Shape {
    pub(super) id: Bson,
    pub(super) filename: Option<String>,
    pub(super) length: u64,
    pub(super) chunk_size: u32,
}

impl Shape {
    /// Reads the fields. Numbers may have any numeric type ("Definitions", "Files collection document").
    ///
    /// # Errors
    /// If the length or the size of the chunks is not a possible number.
    pub(super) fn read(document: &RawDocument) -> Result<Self> {
        let field = |key: &'static str| document.get(key).ok().flatten();
        let id = field("_id").and_then(|id| Bson::try_from(id).ok());
        let mut shape = Self {
            id: id.unwrap_or(Bson::Null),
            filename: match field("filename") {
                Some(RawBsonRef::String(name)) => Some(name.to_owned()),
                _ => None,
            },
            length: 0,
            chunk_size: 0,
        };
        let number = |key| field(key).and_then(integer);
        let length = number("length").and_then(|length| u64::try_from(length).ok());
        shape.length = length.ok_or_else(|| shape.wrong(None, Problem::Field("length")))?;
        let size = number("chunkSize").and_then(|size| i32::try_from(size).ok());
        let size = size.and_then(|size| u32::try_from(size).ok());
        shape.chunk_size = size
            .filter(|size| *size > 0)
            .ok_or_else(|| shape.wrong(None, Problem::Field("chunkSize")))?;
        Ok(shape)
    }

    /// The number of chunks.
    pub(super) fn chunk_count(&self) -> u64 {
        self.length.div_ceil(u64::from(self.chunk_size))
    }

    /// The size that chunk `n` must have.
    pub(super) fn size_of(&self, n: u64) -> u64 {
        let size = u64::from(self.chunk_size);
        size.min(self.length.saturating_sub(n.saturating_mul(size)))
    }

    /// The error for a chunk, or for the document itself.
    pub(super) fn wrong(&self, chunk: Option<u64>, problem: Problem) -> Error {
        Error::gridfs(GridFsFailure::Corrupt {
            file: key_of(&self.id),
            chunk,
            problem,
        })
    }
}

/// The ID of a file as text.
pub(super) fn key_of(id: &Bson) -> FileKey {
    FileKey::Id(id.to_string())
}

#[cfg(test)]
mod tests {
    use bson::{RawDocumentBuf, doc};

    use super::*;
    use crate::cause::CauseCode;

    fn shape(document: &Document) -> Result<Shape> {
        Shape::read(&RawDocumentBuf::try_from(document).unwrap())
    }

    #[test]
    fn numbers_of_any_type_are_accepted() {
        for (length, size) in [
            (Bson::Int32(9), Bson::Int32(4)),
            (Bson::Int64(9), Bson::Int64(4)),
            (Bson::Double(9.0), Bson::Double(4.0)),
        ] {
            let shape = shape(&doc! { "_id": 1, "length": length, "chunkSize": size }).unwrap();
            assert_eq!((shape.length, shape.chunk_size), (9, 4));
            assert_eq!(shape.chunk_count(), 3);
            let sizes: Vec<u64> = (0..4).map(|n| shape.size_of(n)).collect();
            assert_eq!(sizes, [4, 4, 1, 0]);
        }
    }

    #[test]
    fn impossible_numbers_are_rejected() {
        let good = doc! { "_id": "x", "length": 9, "chunkSize": 4 };
        let cases: [(&str, Vec<Bson>); 2] = [
            (
                "length",
                vec![
                    Bson::Int32(-1),
                    Bson::Double(1.5),
                    Bson::Double(-1.0),
                    Bson::Double(1e300),
                    Bson::Double(f64::NAN),
                    Bson::String("9".to_owned()),
                    Bson::Null,
                ],
            ),
            (
                "chunkSize",
                vec![
                    Bson::Int32(0),
                    Bson::Int32(-4),
                    Bson::Int64(1 << 31),
                    Bson::Int64(i64::MAX),
                    Bson::Double(0.5),
                    Bson::Null,
                ],
            ),
        ];
        for (key, values) in cases {
            for value in values {
                let mut document = good.clone();
                document.insert(key, value.clone());
                let error = shape(&document).unwrap_err();
                let cause = error.cause().unwrap();
                assert_eq!(cause.code(), CauseCode::GridfsCorrupt);
                let expected = format!(
                    "the file with the ID \"x\" cannot be read: its document has no usable field \"{key}\""
                );
                assert_eq!(error.to_string(), expected, "{value}");
            }
        }
    }

    #[test]
    fn a_document_is_read_with_all_its_fields() {
        let date = DateTime::from_millis(1000);
        let mut document = doc! {
            "_id": 7, "length": 0, "chunkSize": 4.0, "uploadDate": date, "filename": "n", "metadata": { "a": 1 },
        };
        let read = |document: &Document| {
            FilesCollectionDocument::read(&RawDocumentBuf::try_from(document).unwrap())
        };
        let file = read(&document).unwrap();
        let expected = FilesCollectionDocument {
            id: Bson::Int32(7),
            length: 0,
            chunk_size_bytes: 4,
            upload_date: date,
            filename: Some("n".to_owned()),
            metadata: Some(doc! { "a": 1 }),
        };
        assert_eq!(file, expected);
        document.remove("uploadDate");
        let error = read(&document).unwrap_err();
        assert!(error.to_string().contains("uploadDate"), "{error}");
    }
}
