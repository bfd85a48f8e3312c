//! From raw BSON to values: replies of a server, which are not trusted.
//!
//! `bson` walks documents by recursion and without a limit; a reply that is nested a million levels
//! deep would exhaust the stack. So the depth is checked first.

use bson::raw::RawDocument;
use bson::{Document, RawBsonRef};
#[cfg(feature = "serde")]
use serde::de::DeserializeOwned;

use crate::error::{Error, Result};

/// MongoDB refuses documents nested deeper than 100 levels; replies wrap them in a few more.
const DEEPEST: usize = 200;

/// The document as an owned value.
pub(crate) fn to_document(raw: &RawDocument) -> Result<Document> {
    check_depth(raw)?;
    Document::try_from(raw)
        .map_err(|error| Error::bson("the server's answer is not valid BSON", error))
}

/// The document as a value of type `T`.
#[cfg(feature = "serde")]
pub(crate) fn to_typed<T: DeserializeOwned>(raw: &RawDocument) -> Result<T> {
    check_depth(raw)?;
    bson::deserialize_from_slice(raw.as_bytes()).map_err(|error| {
        Error::bson(
            format!(
                "the server's answer is not a {}",
                std::any::type_name::<T>()
            ),
            error,
        )
    })
}

fn check_depth(raw: &RawDocument) -> Result<()> {
    if is_deeper(raw, DEEPEST) {
        return Err(Error::protocol(format!(
            "the server's answer is nested deeper than {DEEPEST} levels"
        )));
    }
    Ok(())
}

/// Whether the document has more than `levels` levels. What is not valid BSON counts as flat; whoever
/// reads it finds out.
fn is_deeper(raw: &RawDocument, levels: usize) -> bool {
    if levels == 0 {
        return true;
    }
    raw.iter()
        .map_while(std::result::Result::ok)
        .any(|(_, value)| match value {
            RawBsonRef::Document(inner) => is_deeper(inner, levels - 1),
            RawBsonRef::Array(inner) => RawDocument::from_bytes(inner.as_bytes())
                .is_ok_and(|inner| is_deeper(inner, levels - 1)),
            RawBsonRef::JavaScriptCodeWithScope(code) => is_deeper(code.scope, levels - 1),
            _ => false,
        })
}

#[cfg(test)]
mod tests {
    use bson::RawDocumentBuf;

    use super::*;

    /// `{ "a": { "a": … {} } }` with that many levels.
    fn nested(levels: usize) -> RawDocumentBuf {
        let mut bytes = Vec::new();
        let wrap = 4 + 3 + 1; // length, kind and key, end
        for level in (1..levels).rev() {
            bytes.extend_from_slice(&i32::try_from(5 + wrap * level).unwrap().to_le_bytes());
            bytes.extend_from_slice(b"\x03a\0");
        }
        bytes.extend_from_slice(&[5, 0, 0, 0, 0]);
        bytes.resize(bytes.len() + levels - 1, 0);
        RawDocumentBuf::from_bytes(bytes).unwrap()
    }

    #[test]
    fn depth_is_bounded_before_anything_recurses() {
        assert!(to_document(&nested(200)).is_ok());
        assert!(
            to_document(&nested(201))
                .unwrap_err()
                .to_string()
                .contains("nested")
        );
        assert!(
            to_document(&nested(3_000_000))
                .unwrap_err()
                .to_string()
                .contains("nested")
        );
        #[cfg(feature = "serde")]
        assert!(
            to_typed::<Document>(&nested(3_000_000))
                .unwrap_err()
                .to_string()
                .contains("nested")
        );
    }

    #[cfg(feature = "serde")]
    #[test]
    fn a_reply_of_another_shape_says_what_was_wanted() {
        let error = to_typed::<Vec<u8>>(&nested(2)).unwrap_err();
        assert_eq!(error.kind(), crate::ErrorKind::Bson);
    }
}
