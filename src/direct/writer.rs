//! The bytes of a document that is being encoded.

use bson::error::Error;
use bson::spec::ElementType;
use serde::ser::{Error as _, Serialize, SerializeStruct};

use super::Result;

/// Writes the elements of a document.
pub(super) struct Writer<'a> {
    pub(super) bytes: &'a mut Vec<u8>,
    /// The position of the type of the current element, which precedes its key. `None` for the document itself.
    pub(super) type_at: Option<usize>,
}

impl Writer<'_> {
    /// Begins a value of this type.
    #[inline]
    pub(super) fn begin(&mut self, kind: ElementType) -> Result<()> {
        match (self.type_at, kind) {
            (Some(at), _) => self.bytes[at] = kind as u8,
            (None, ElementType::EmbeddedDocument) => {}
            (None, _) => return Err(Error::custom("the value is not a document")),
        }
        Ok(())
    }

    #[inline]
    pub(super) fn fixed<const N: usize>(
        &mut self,
        kind: ElementType,
        value: [u8; N],
    ) -> Result<()> {
        self.begin(kind)?;
        self.bytes.extend_from_slice(&value);
        Ok(())
    }

    /// Begins an element with this key.
    #[inline]
    pub(super) fn key(&mut self, key: &str) -> Result<()> {
        if key.as_bytes().contains(&0) {
            return Err(Error::custom("a key has a NUL"));
        }
        self.bytes.reserve(1 + key.len() + 1);
        self.type_at = Some(self.bytes.len());
        self.bytes.push(0);
        self.bytes.extend_from_slice(key.as_bytes());
        self.bytes.push(0);
        Ok(())
    }

    /// Writes the length of the document that begins at `start`, and ends it.
    #[inline]
    pub(super) fn close(&mut self, start: usize) -> Result<()> {
        self.bytes.push(0);
        let length = length(self.bytes.len() - start)?;
        self.bytes[start..start + 4].copy_from_slice(&length);
        Ok(())
    }

    /// Writes the length of a document later.
    #[inline]
    pub(super) fn open(&mut self) -> usize {
        let start = self.bytes.len();
        self.bytes.extend_from_slice(&[0; 4]);
        start
    }

    /// Lets `bson` encode the value.
    pub(super) fn delegate(&mut self, value: &impl Serialize) -> Result<()> {
        let Some(at) = self.type_at else {
            return bson::serialize_to_buffer(value, self.bytes);
        };
        let start = self.bytes.len();
        let document = Fields {
            name: "",
            fields: [("v", value)],
        };
        bson::serialize_to_buffer(&document, self.bytes)?;
        // The document is its length, the type, the key with a NUL, the value, and a NUL.
        self.bytes[at] = self.bytes[start + 4];
        self.bytes.drain(start..start + 7);
        self.bytes.pop();
        Ok(())
    }
}

#[inline]
pub(super) fn length(bytes: usize) -> Result<[u8; 4]> {
    match i32::try_from(bytes) {
        Ok(length) => Ok(length.to_le_bytes()),
        Err(_) => Err(Error::custom("a value is larger than 2 GiB")),
    }
}

/// A struct with this name and these fields.
pub(super) struct Fields<'a, T: ?Sized, const N: usize> {
    pub(super) name: &'static str,
    pub(super) fields: [(&'static str, &'a T); N],
}

impl<T: Serialize + ?Sized, const N: usize> Serialize for Fields<'_, T, N> {
    fn serialize<S: serde::Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let mut fields = serializer.serialize_struct(self.name, N)?;
        for (key, value) in self.fields {
            fields.serialize_field(key, value)?;
        }
        fields.end()
    }
}
