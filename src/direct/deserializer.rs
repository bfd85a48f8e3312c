//! BSON → values.
//!
//! A conversion that fails here is repeated with `bson`, whose errors are known to programs; see
//! [`document`](crate::document). So this file may reject a document, but it must not convert one differently. A document
//! may be invalid in a field that the type does not read: such fields are skipped by their size.

use std::any::type_name;

use bson::error::Error;
use bson::oid::ObjectId;
use bson::spec::{BinarySubtype, ElementType};
use bson::{Bson, RawDeserializer};
use serde::de::value::{BorrowedBytesDeserializer, BorrowedStrDeserializer, MapDeserializer};
use serde::de::{
    Deserialize, DeserializeSeed, EnumAccess, Error as _, IgnoredAny, IntoDeserializer, MapAccess,
    SeqAccess, VariantAccess, Visitor,
};
use serde::forward_to_deserialize_any;

use super::{Result, is_private};
use crate::elements::{Element, Elements, Malformed};

/// Converts a document to a value, which may borrow from it.
///
/// # Errors
/// If the document does not fit the type, or what is read of it is not valid BSON.
pub(crate) fn deserialize<'de, T: Deserialize<'de>>(document: &'de [u8]) -> Result<T> {
    T::deserialize(Value {
        kind: ElementType::EmbeddedDocument,
        bytes: document,
        place: Place::Whole,
    })
}

/// A value of a document.
#[derive(Clone, Copy)]
struct Value<'de> {
    kind: ElementType,
    bytes: &'de [u8],
    place: Place<'de>,
}

/// The place of a value, where `bson` can find it.
#[derive(Clone, Copy)]
enum Place<'de> {
    /// The value is the whole document.
    Whole,
    /// The value of the element with this index, of a document or an array.
    Element(&'de [u8], usize),
}

impl<'de> Value<'de> {
    /// The bytes of a number.
    #[inline]
    fn fixed<const N: usize>(self) -> Result<[u8; N]> {
        self.bytes.try_into().map_err(|_| malformed())
    }

    #[inline]
    fn text(self) -> Result<&'de str> {
        // A text is its length, its bytes, and a NUL.
        match self.bytes {
            [_, _, _, _, bytes @ .., 0] => text(bytes),
            _ => Err(malformed()),
        }
    }

    #[inline]
    fn elements(self) -> Result<Fields<'de>> {
        Ok(Fields {
            elements: Elements::of(self.bytes).map_err(|Malformed| malformed())?,
            document: self.bytes,
            next: 0,
            current: None,
            are_identifiers: false,
        })
    }

    /// Lets `bson` convert the value.
    #[cold]
    fn delegate<V: Visitor<'de>>(self, request: Request, visitor: V) -> Result<V::Value> {
        let request = Delegated { request, visitor };
        match self.place {
            Place::Whole => request.deserialize(RawDeserializer::new(self.bytes)?),
            Place::Element(document, index) => {
                let at = At { index, request };
                serde::Deserializer::deserialize_map(RawDeserializer::new(document)?, at)
            }
        }
    }
}

/// The method that a type calls on a deserialiser.
enum Request {
    Any,
    Newtype(&'static str),
}

struct Delegated<V> {
    request: Request,
    visitor: V,
}

impl<'de, V: Visitor<'de>> DeserializeSeed<'de> for Delegated<V> {
    type Value = V::Value;

    fn deserialize<D: serde::Deserializer<'de>>(self, value: D) -> Result<V::Value, D::Error> {
        match self.request {
            Request::Any => value.deserialize_any(self.visitor),
            Request::Newtype(name) => value.deserialize_newtype_struct(name, self.visitor),
        }
    }
}

/// Converts only the value with this index.
struct At<V> {
    index: usize,
    request: Delegated<V>,
}

impl<'de, V: Visitor<'de>> Visitor<'de> for At<V> {
    type Value = V::Value;

    fn expecting(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("a document")
    }

    fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<V::Value, A::Error> {
        for _ in 0..self.index {
            map.next_entry::<IgnoredAny, IgnoredAny>()?;
        }
        map.next_key::<IgnoredAny>()?;
        map.next_value_seed(self.request)
    }
}

impl<'de> serde::Deserializer<'de> for Value<'de> {
    type Error = Error;

    #[inline]
    fn deserialize_any<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value> {
        match self.kind {
            ElementType::String => visitor.visit_borrowed_str(self.text()?),
            ElementType::Int32 => visitor.visit_i32(i32::from_le_bytes(self.fixed()?)),
            ElementType::Int64 => visitor.visit_i64(i64::from_le_bytes(self.fixed()?)),
            ElementType::Double => visitor.visit_f64(f64::from_le_bytes(self.fixed()?)),
            ElementType::Boolean => match self.bytes {
                [0] => visitor.visit_bool(false),
                [1] => visitor.visit_bool(true),
                _ => Err(malformed()),
            },
            ElementType::Null => visitor.visit_unit(),
            ElementType::EmbeddedDocument => visitor.visit_map(self.elements()?),
            ElementType::Array => visitor.visit_seq(self.elements()?),
            ElementType::Binary => match self.bytes {
                [_, _, _, _, subtype, bytes @ ..]
                    if BinarySubtype::from(*subtype) == BinarySubtype::Generic =>
                {
                    visitor.visit_borrowed_bytes(bytes)
                }
                _ => self.delegate(Request::Any, visitor),
            },
            ElementType::ObjectId => {
                let id = BorrowedBytesDeserializer::new(self.bytes);
                match type_name::<V::Value>() == type_name::<Bson>() {
                    // `Bson` also takes the bytes, which saves a conversion to text and back.
                    true => visitor.visit_map(Special::new("$oid", id)),
                    false => {
                        let id = ObjectId::from_bytes(self.fixed()?).to_hex();
                        visitor.visit_map(Special::new("$oid", id.into_deserializer()))
                    }
                }
            }
            ElementType::DateTime => {
                let milliseconds = i64::from_le_bytes(self.fixed()?).to_string();
                let number = std::iter::once(("$numberLong", milliseconds));
                visitor.visit_map(Special::new("$date", MapDeserializer::new(number)))
            }
            _ => self.delegate(Request::Any, visitor),
        }
    }

    #[inline]
    fn deserialize_option<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value> {
        match self.kind {
            ElementType::Null => visitor.visit_none(),
            _ => visitor.visit_some(self),
        }
    }

    fn deserialize_enum<V: Visitor<'de>>(
        self,
        _name: &'static str,
        _variants: &'static [&'static str],
        visitor: V,
    ) -> Result<V::Value> {
        match self.kind {
            ElementType::String => visitor.visit_enum(self.text()?.into_deserializer()),
            ElementType::EmbeddedDocument => visitor.visit_enum(self.elements()?),
            _ => Err(Error::custom("an enum is a text or a document")),
        }
    }

    #[inline]
    fn deserialize_bytes<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value> {
        match self.kind {
            ElementType::ObjectId => visitor.visit_borrowed_bytes(self.bytes),
            _ => self.deserialize_any(visitor),
        }
    }

    #[inline]
    fn deserialize_newtype_struct<V: Visitor<'de>>(
        self,
        name: &'static str,
        visitor: V,
    ) -> Result<V::Value> {
        match is_private(name) {
            true => self.delegate(Request::Newtype(name), visitor),
            false => visitor.visit_newtype_struct(self),
        }
    }

    #[inline]
    fn deserialize_struct<V: Visitor<'de>>(
        self,
        _name: &'static str,
        _fields: &'static [&'static str],
        visitor: V,
    ) -> Result<V::Value> {
        match self.kind {
            ElementType::EmbeddedDocument => visitor.visit_map(Fields {
                are_identifiers: true,
                ..self.elements()?
            }),
            _ => self.deserialize_any(visitor),
        }
    }

    #[inline]
    fn deserialize_ignored_any<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value> {
        visitor.visit_unit()
    }

    fn is_human_readable(&self) -> bool {
        false
    }

    forward_to_deserialize_any! {
        bool char str byte_buf unit unit_struct string identifier seq tuple tuple_struct map
        i8 i16 i32 i64 u8 u16 u32 u64 f32 f64
    }
}

/// The elements of a document or an array.
struct Fields<'de> {
    elements: Elements<'de>,
    document: &'de [u8],
    /// The index of the next element.
    next: usize,
    /// The value whose key was read last.
    current: Option<Value<'de>>,
    /// True if the keys are those of a struct without unknown fields to keep. Such a struct also takes bytes for the name of
    /// a field, so most keys need no check.
    are_identifiers: bool,
}

impl<'de> Fields<'de> {
    /// Returns the next element's key and value.
    #[inline]
    fn advance(&mut self) -> Result<Option<(&'de [u8], Value<'de>)>> {
        let next = self.elements.next().map_err(|Malformed| malformed())?;
        let Some(Element { kind, key, value }) = next else {
            return Ok(None);
        };
        let value = Value {
            kind,
            bytes: value,
            place: Place::Element(self.document, self.next),
        };
        self.next += 1;
        Ok(Some((key, value)))
    }

    #[inline]
    fn value(&mut self) -> Result<Value<'de>> {
        let value = self.current.take();
        value.ok_or_else(|| Error::custom("there is no value without a key"))
    }
}

impl<'de> MapAccess<'de> for Fields<'de> {
    type Error = Error;

    #[inline]
    fn next_key_seed<K: DeserializeSeed<'de>>(&mut self, seed: K) -> Result<Option<K::Value>> {
        let Some((key, value)) = self.advance()? else {
            return Ok(None);
        };
        self.current = Some(value);
        let is_identifier = self.are_identifiers;
        seed.deserialize(Key { key, is_identifier }).map(Some)
    }

    #[inline]
    fn next_value_seed<V: DeserializeSeed<'de>>(&mut self, seed: V) -> Result<V::Value> {
        seed.deserialize(self.value()?)
    }
}

impl<'de> SeqAccess<'de> for Fields<'de> {
    type Error = Error;

    #[inline]
    fn next_element_seed<T: DeserializeSeed<'de>>(&mut self, seed: T) -> Result<Option<T::Value>> {
        match self.advance()? {
            Some((key, value)) => {
                if !key.is_ascii() {
                    text(key)?;
                }
                seed.deserialize(value).map(Some)
            }
            None => Ok(None),
        }
    }
}

impl<'de> EnumAccess<'de> for Fields<'de> {
    type Error = Error;
    type Variant = Self;

    fn variant_seed<V: DeserializeSeed<'de>>(mut self, seed: V) -> Result<(V::Value, Self)> {
        let variant = self.next_key_seed(seed)?;
        let variant = variant.ok_or_else(|| Error::custom("the document names no variant"))?;
        Ok((variant, self))
    }
}

impl<'de> VariantAccess<'de> for Fields<'de> {
    type Error = Error;

    fn unit_variant(self) -> Result<()> {
        Err(Error::custom("a variant without fields is a text"))
    }

    fn newtype_variant_seed<T: DeserializeSeed<'de>>(mut self, seed: T) -> Result<T::Value> {
        self.next_value_seed(seed)
    }

    fn tuple_variant<V: Visitor<'de>>(mut self, _length: usize, visitor: V) -> Result<V::Value> {
        serde::Deserializer::deserialize_any(self.value()?, visitor)
    }

    fn struct_variant<V: Visitor<'de>>(
        mut self,
        _fields: &'static [&'static str],
        visitor: V,
    ) -> Result<V::Value> {
        serde::Deserializer::deserialize_any(self.value()?, visitor)
    }
}

/// The key of an element.
struct Key<'de> {
    key: &'de [u8],
    is_identifier: bool,
}

impl<'de> serde::Deserializer<'de> for Key<'de> {
    type Error = Error;

    #[inline]
    fn deserialize_any<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value> {
        visitor.visit_borrowed_str(text(self.key)?)
    }

    #[inline]
    fn deserialize_identifier<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value> {
        match self.is_identifier {
            true => visitor.visit_borrowed_bytes(self.key),
            false => self.deserialize_any(visitor),
        }
    }

    fn deserialize_enum<V: Visitor<'de>>(
        self,
        name: &'static str,
        variants: &'static [&'static str],
        visitor: V,
    ) -> Result<V::Value> {
        let key = BorrowedStrDeserializer::<Error>::new(text(self.key)?);
        key.deserialize_enum(name, variants, visitor)
    }

    forward_to_deserialize_any! {
        bool i8 i16 i32 i64 i128 u8 u16 u32 u64 u128 f32 f64 char str string bytes byte_buf option unit
        unit_struct newtype_struct seq tuple tuple_struct map struct ignored_any
    }
}

/// A value of `bson` that is not a document: a map with one special key.
struct Special<D> {
    key: Option<&'static str>,
    value: Option<D>,
}

impl<D> Special<D> {
    fn new(key: &'static str, value: D) -> Self {
        Self {
            key: Some(key),
            value: Some(value),
        }
    }
}

impl<'de, D: serde::Deserializer<'de, Error = Error>> MapAccess<'de> for Special<D> {
    type Error = Error;

    #[inline]
    fn next_key_seed<K: DeserializeSeed<'de>>(&mut self, seed: K) -> Result<Option<K::Value>> {
        let key = self.key.take();
        key.map(|key| seed.deserialize(BorrowedStrDeserializer::new(key)))
            .transpose()
    }

    #[inline]
    fn next_value_seed<V: DeserializeSeed<'de>>(&mut self, seed: V) -> Result<V::Value> {
        let value = self.value.take();
        seed.deserialize(value.ok_or_else(|| Error::custom("the value has been read"))?)
    }
}

#[inline]
fn text(bytes: &[u8]) -> Result<&str> {
    std::str::from_utf8(bytes).map_err(Error::custom)
}

#[cold]
fn malformed() -> Error {
    Error::custom("the document is not valid BSON")
}
