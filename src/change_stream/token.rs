//! The place in the history of a deployment at which a change stream continues.

use std::fmt;
use std::str::FromStr;

use bson::raw::RawDocument;
use bson::{Document, RawDocumentBuf};

use crate::error::{Error, Result};

/// A place in the history of a deployment, behind one change. A change stream continues there.
///
/// A program stores the token of a change that it has processed, and passes it to
/// [`resume_after`](super::Watch::resume_after) after a restart. What is in the token is the server's business. It can be
/// stored as bytes, as text (`Display` and `FromStr`), or with `serde` as a document.
///
/// ```
/// use mongotls::bson::doc;
/// use mongotls::change_stream::ResumeToken;
///
/// let token = ResumeToken::try_from(doc! { "_data": "826A" })?;
/// assert_eq!(ResumeToken::from_bytes(token.as_bytes())?, token);
/// assert_eq!(token.to_string().parse::<ResumeToken>()?, token);
/// # Ok::<(), mongotls::Error>(())
/// ```
#[derive(Clone, PartialEq)]
pub struct ResumeToken(RawDocumentBuf);

impl ResumeToken {
    /// Restores a token from the bytes of [`as_bytes`](Self::as_bytes).
    ///
    /// # Errors
    /// [`ErrorKind::InvalidArgument`](crate::ErrorKind::InvalidArgument) if the bytes are not a BSON document.
    pub fn from_bytes(bytes: &[u8]) -> Result<Self> {
        let document = RawDocument::from_bytes(bytes).ok();
        let document = document.filter(|document| document.iter().all(|field| field.is_ok()));
        let document = document.ok_or_else(|| {
            Error::invalid_argument("a resume token is a BSON document, and these bytes are not")
        })?;
        Ok(Self(document.to_owned()))
    }

    /// The token as a BSON document, for storing it.
    pub fn as_bytes(&self) -> &[u8] {
        self.0.as_bytes()
    }

    /// The token as the server sent it.
    pub fn as_document(&self) -> &RawDocument {
        &self.0
    }

    pub(super) fn new(document: &RawDocument) -> Self {
        Self(document.to_owned())
    }
}

/// The token as text: its bytes in hexadecimal digits.
impl fmt::Display for ResumeToken {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mut bytes = self.as_bytes().iter();
        bytes.try_for_each(|byte| write!(f, "{byte:02x}"))
    }
}

impl fmt::Debug for ResumeToken {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "ResumeToken({self})")
    }
}

impl FromStr for ResumeToken {
    type Err = Error;

    /// Restores a token from its text.
    ///
    /// # Errors
    /// [`ErrorKind::InvalidArgument`](crate::ErrorKind::InvalidArgument) if it is not the text of a token.
    fn from_str(text: &str) -> Result<Self> {
        let digit = |digit: u8| char::from(digit).to_digit(16);
        let bytes = text.as_bytes().chunks(2).map(|pair| match pair {
            [high, low] => u8::try_from(digit(*high)? * 16 + digit(*low)?).ok(),
            _ => None,
        });
        let bytes: Option<Vec<u8>> = bytes.collect();
        Self::from_bytes(&bytes.ok_or_else(not_a_token)?)
    }
}

fn not_a_token() -> Error {
    Error::invalid_argument("the text of a resume token has pairs of hexadecimal digits only")
}

impl TryFrom<Document> for ResumeToken {
    type Error = Error;

    /// Restores a token from the document of an event's `_id`.
    ///
    /// # Errors
    /// [`ErrorKind::Bson`](crate::ErrorKind::Bson) if the document cannot be encoded.
    fn try_from(document: Document) -> Result<Self> {
        let raw = RawDocumentBuf::try_from(&document);
        raw.map(Self)
            .map_err(|error| Error::bson("the resume token cannot be encoded", error))
    }
}

#[cfg(feature = "serde")]
impl serde::Serialize for ResumeToken {
    fn serialize<S: serde::Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let document = Document::try_from(&*self.0);
        document
            .map_err(serde::ser::Error::custom)?
            .serialize(serializer)
    }
}

#[cfg(feature = "serde")]
impl<'de> serde::Deserialize<'de> for ResumeToken {
    fn deserialize<D: serde::Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let document = Document::deserialize(deserializer)?;
        Self::try_from(document).map_err(serde::de::Error::custom)
    }
}

#[cfg(test)]
mod tests {
    use bson::doc;

    use super::*;
    use crate::error::ErrorKind;

    fn token() -> ResumeToken {
        ResumeToken::try_from(doc! { "_data": "8265", "n": 1 }).unwrap()
    }

    #[test]
    fn a_token_survives_being_stored() {
        let token = token();
        assert_eq!(ResumeToken::from_bytes(token.as_bytes()).unwrap(), token);
        let text = token.to_string();
        assert_eq!(text.parse::<ResumeToken>().unwrap(), token);
        assert_eq!(text.to_uppercase().parse::<ResumeToken>().unwrap(), token);
        assert_eq!(format!("{token:?}"), format!("ResumeToken({text})"));
    }

    #[cfg(feature = "serde")]
    #[test]
    fn a_token_is_a_document_for_serde() {
        let json = serde_json::to_string(&token()).unwrap();
        assert_eq!(json, r#"{"_data":"8265","n":1}"#);
        let read: ResumeToken = serde_json::from_str(&json).unwrap();
        assert_eq!(read, token());
        let stored = bson::serialize_to_bson(&token()).unwrap();
        assert_eq!(stored, doc! { "_data": "8265", "n": 1 }.into());
        assert_eq!(
            bson::deserialize_from_bson::<ResumeToken>(stored).unwrap(),
            token()
        );
    }

    #[test]
    fn other_texts_and_bytes_are_rejected() {
        for (text, reason) in [
            ("", "is a BSON document"),
            ("05", "is a BSON document"),
            ("0500000001", "is a BSON document"),
            ("0", "hexadecimal"),
            ("xx", "hexadecimal"),
            ("05000000é0", "hexadecimal"),
            ("+5", "hexadecimal"),
        ] {
            let error = text.parse::<ResumeToken>().unwrap_err();
            assert_eq!(error.kind(), ErrorKind::InvalidArgument, "{text}");
            assert!(error.to_string().contains(reason), "{text}: {error}");
        }
    }
}
