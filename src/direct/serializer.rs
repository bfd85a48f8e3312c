//! Values → BSON.

use bson::error::Error;
use bson::spec::{BinarySubtype, ElementType};
use serde::ser::{Error as _, Serialize};

use super::compound::{Compound, Struct, is_special};
use super::writer::{Writer, length};
use super::{Result, is_private};

/// Appends `value` as a document.
///
/// # Errors
/// If it is not a document, or cannot be encoded. Then `bytes` may have a part of it.
pub(crate) fn serialize<T: Serialize + ?Sized>(value: &T, bytes: &mut Vec<u8>) -> Result<()> {
    let mut writer = Writer {
        bytes,
        type_at: None,
    };
    value.serialize(&mut writer)
}

/// A newtype with this name.
struct Newtype<'a, T: ?Sized>(&'static str, &'a T);

impl<T: Serialize + ?Sized> Serialize for Newtype<'_, T> {
    fn serialize<S: serde::Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_newtype_struct(self.0, self.1)
    }
}

impl<'s, 'a> serde::Serializer for &'s mut Writer<'a> {
    type Ok = ();
    type Error = Error;
    type SerializeSeq = Compound<'s, 'a>;
    type SerializeTuple = Compound<'s, 'a>;
    type SerializeTupleStruct = Compound<'s, 'a>;
    type SerializeTupleVariant = Compound<'s, 'a>;
    type SerializeMap = Compound<'s, 'a>;
    type SerializeStruct = Struct<'s, 'a>;
    type SerializeStructVariant = Compound<'s, 'a>;

    fn is_human_readable(&self) -> bool {
        false
    }

    #[inline]
    fn serialize_bool(self, value: bool) -> Result<()> {
        self.fixed(ElementType::Boolean, [value.into()])
    }

    #[inline]
    fn serialize_i8(self, value: i8) -> Result<()> {
        self.serialize_i32(value.into())
    }

    #[inline]
    fn serialize_i16(self, value: i16) -> Result<()> {
        self.serialize_i32(value.into())
    }

    #[inline]
    fn serialize_i32(self, value: i32) -> Result<()> {
        self.fixed(ElementType::Int32, value.to_le_bytes())
    }

    #[inline]
    fn serialize_i64(self, value: i64) -> Result<()> {
        self.fixed(ElementType::Int64, value.to_le_bytes())
    }

    #[inline]
    fn serialize_u8(self, value: u8) -> Result<()> {
        self.serialize_i32(value.into())
    }

    #[inline]
    fn serialize_u16(self, value: u16) -> Result<()> {
        self.serialize_i32(value.into())
    }

    #[inline]
    fn serialize_u32(self, value: u32) -> Result<()> {
        self.serialize_i64(value.into())
    }

    #[inline]
    fn serialize_u64(self, value: u64) -> Result<()> {
        match i64::try_from(value) {
            Ok(value) => self.serialize_i64(value),
            Err(_) => Err(Error::custom(format!(
                "the number {value} is too large for a signed 64-bit integer"
            ))),
        }
    }

    #[inline]
    fn serialize_f32(self, value: f32) -> Result<()> {
        self.serialize_f64(value.into())
    }

    #[inline]
    fn serialize_f64(self, value: f64) -> Result<()> {
        self.fixed(ElementType::Double, value.to_le_bytes())
    }

    #[inline]
    fn serialize_char(self, value: char) -> Result<()> {
        self.serialize_str(value.encode_utf8(&mut [0; 4]))
    }

    #[inline]
    fn serialize_str(self, value: &str) -> Result<()> {
        self.begin(ElementType::String)?;
        let length = length(value.len() + 1)?;
        self.bytes.reserve(4 + value.len() + 1);
        self.bytes.extend_from_slice(&length);
        self.bytes.extend_from_slice(value.as_bytes());
        self.bytes.push(0);
        Ok(())
    }

    #[inline]
    fn serialize_bytes(self, value: &[u8]) -> Result<()> {
        self.begin(ElementType::Binary)?;
        let length = length(value.len())?;
        self.bytes.extend_from_slice(&length);
        self.bytes.push(BinarySubtype::Generic.into());
        self.bytes.extend_from_slice(value);
        Ok(())
    }

    #[inline]
    fn serialize_none(self) -> Result<()> {
        self.begin(ElementType::Null)
    }

    #[inline]
    fn serialize_some<T: Serialize + ?Sized>(self, value: &T) -> Result<()> {
        value.serialize(self)
    }

    #[inline]
    fn serialize_unit(self) -> Result<()> {
        self.begin(ElementType::Null)
    }

    #[inline]
    fn serialize_unit_struct(self, _name: &'static str) -> Result<()> {
        self.begin(ElementType::Null)
    }

    #[inline]
    fn serialize_unit_variant(
        self,
        _name: &'static str,
        _index: u32,
        variant: &'static str,
    ) -> Result<()> {
        self.serialize_str(variant)
    }

    #[inline]
    fn serialize_newtype_struct<T: Serialize + ?Sized>(
        self,
        name: &'static str,
        value: &T,
    ) -> Result<()> {
        match is_private(name) {
            true => self.delegate(&Newtype(name, value)),
            false => value.serialize(self),
        }
    }

    #[inline]
    fn serialize_newtype_variant<T: Serialize + ?Sized>(
        self,
        _name: &'static str,
        _index: u32,
        variant: &'static str,
        value: &T,
    ) -> Result<()> {
        self.begin(ElementType::EmbeddedDocument)?;
        let start = self.open();
        self.key(variant)?;
        value.serialize(&mut *self)?;
        self.close(start)
    }

    #[inline]
    fn serialize_seq(self, _length: Option<usize>) -> Result<Compound<'s, 'a>> {
        Compound::begin(self, ElementType::Array)
    }

    #[inline]
    fn serialize_tuple(self, _length: usize) -> Result<Compound<'s, 'a>> {
        Compound::begin(self, ElementType::Array)
    }

    #[inline]
    fn serialize_tuple_struct(
        self,
        _name: &'static str,
        _length: usize,
    ) -> Result<Compound<'s, 'a>> {
        Compound::begin(self, ElementType::Array)
    }

    #[inline]
    fn serialize_tuple_variant(
        self,
        _name: &'static str,
        _index: u32,
        variant: &'static str,
        _length: usize,
    ) -> Result<Compound<'s, 'a>> {
        Compound::begin_variant(self, variant, ElementType::Array)
    }

    #[inline]
    fn serialize_map(self, _length: Option<usize>) -> Result<Compound<'s, 'a>> {
        Compound::begin(self, ElementType::EmbeddedDocument)
    }

    #[inline]
    fn serialize_struct(self, name: &'static str, _length: usize) -> Result<Struct<'s, 'a>> {
        Ok(match is_special(name) {
            true => Struct::Special {
                writer: self,
                name,
                code: None,
            },
            false => Struct::Document(Compound::begin(self, ElementType::EmbeddedDocument)?),
        })
    }

    #[inline]
    fn serialize_struct_variant(
        self,
        _name: &'static str,
        _index: u32,
        variant: &'static str,
        _length: usize,
    ) -> Result<Compound<'s, 'a>> {
        Compound::begin_variant(self, variant, ElementType::EmbeddedDocument)
    }
}
