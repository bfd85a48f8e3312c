//! The position of a value that does not fit the type of the program, for the error about it.
//!
//! A failed conversion is repeated once with a deserialiser that counts the elements on its way; see [`explain`]. So a
//! conversion that succeeds costs nothing more. The position ends at a value that `serde` buffers, such as a field with
//! `flatten` or an untagged enum.

use std::cell::RefCell;
use std::fmt;

use bson::RawBsonRef;
use bson::raw::RawDocument;
use serde::de::{
    Deserialize, DeserializeSeed, Deserializer, EnumAccess, Error, MapAccess, SeqAccess,
    VariantAccess, Visitor,
};

/// Converts the document again, and returns the position and the reason of the failure, such as
/// `items[3].price: expected f64, found string`. Returns `None` if the conversion succeeds.
pub(crate) fn explain<'a, T: Deserialize<'a>>(document: &'a RawDocument) -> Option<String> {
    // A conversion of the program may run another one.
    let outer = PATH.with_borrow_mut(std::mem::take);
    let outcome = bson::deserialize_from_slice::<Traced<T>>(document.as_bytes());
    let path = PATH.replace(outer);
    let error = outcome.err()?;
    let message = error.message.clone().unwrap_or_else(|| error.to_string());
    let (place, value) = resolve(document, &path);
    let reason = match (message.rsplit_once(", expected "), value) {
        (Some((found, expected)), Some(value)) if found.starts_with("invalid type: ") => {
            // The texts of `bson` begin with another "expecting".
            let expected = expected.trim_start_matches("expecting ");
            format!("expected {expected}, found {}", type_name(value))
        }
        _ => message,
    };
    Some(match place.is_empty() {
        true => reason,
        false => format!("{place}: {reason}"),
    })
}

thread_local! {
    /// The index of the current element on each level. After an error it leads to the value that caused it.
    static PATH: RefCell<Vec<usize>> = const { RefCell::new(Vec::new()) };
}

/// Runs a conversion of the element with this index.
fn within<T, E>(index: usize, convert: impl FnOnce() -> Result<T, E>) -> Result<T, E> {
    PATH.with_borrow_mut(|path| path.push(index));
    let outcome = convert();
    if outcome.is_ok() {
        PATH.with_borrow_mut(Vec::pop);
    }
    outcome
}

/// Returns the names on the way to a value, and the value. The way ends early at a value without elements: `bson`
/// presents some types as documents.
fn resolve<'a>(document: &'a RawDocument, path: &[usize]) -> (String, Option<RawBsonRef<'a>>) {
    let mut place = String::new();
    let mut value = RawBsonRef::Document(document);
    for index in path {
        let inner = match value {
            RawBsonRef::Document(document) => document.iter().nth(*index),
            RawBsonRef::Array(array) => {
                let next = array.into_iter().nth(*index).and_then(Result::ok);
                place.push_str(&format!("[{index}]"));
                match next {
                    Some(next) => value = next,
                    None => return (place, None),
                }
                continue;
            }
            _ => break,
        };
        let Some(Ok((key, next))) = inner else {
            return (place, None);
        };
        if !place.is_empty() {
            place.push('.');
        }
        place.push_str(key.as_str());
        value = next;
    }
    (place, Some(value))
}

/// The name of a BSON type, as in the server's operator `$type`.
fn type_name(value: RawBsonRef<'_>) -> &'static str {
    match value {
        RawBsonRef::Double(_) => "double",
        RawBsonRef::String(_) => "string",
        RawBsonRef::Document(_) => "document",
        RawBsonRef::Array(_) => "array",
        RawBsonRef::Binary(_) => "binary",
        RawBsonRef::ObjectId(_) => "ObjectId",
        RawBsonRef::Boolean(_) => "boolean",
        RawBsonRef::DateTime(_) => "date",
        RawBsonRef::Null => "null",
        RawBsonRef::RegularExpression(_) => "regular expression",
        RawBsonRef::Int32(_) => "int32",
        RawBsonRef::Int64(_) => "int64",
        RawBsonRef::Timestamp(_) => "timestamp",
        RawBsonRef::Decimal128(_) => "decimal128",
        RawBsonRef::MinKey => "MinKey",
        RawBsonRef::MaxKey => "MaxKey",
        RawBsonRef::Undefined => "undefined",
        RawBsonRef::Symbol(_) => "symbol",
        RawBsonRef::DbPointer(_) => "DBPointer",
        RawBsonRef::JavaScriptCode(_) | RawBsonRef::JavaScriptCodeWithScope(_) => "JavaScript code",
    }
}

/// A value whose conversion is traced.
struct Traced<T>(T);

impl<'de, T: Deserialize<'de>> Deserialize<'de> for Traced<T> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        T::deserialize(Tracing(deserializer)).map(Self)
    }
}

/// A part of a deserialiser, whose elements are traced.
struct Tracing<D>(D);

/// Access to elements, and the index of the next one.
struct Elements<A> {
    access: A,
    next: usize,
}

impl<A> Elements<A> {
    fn new(access: A) -> Self {
        Self { access, next: 0 }
    }
}

macro_rules! forward_to_deserializer {
    ($($name:ident($($argument:ident: $kind:ty),*))*) => {
        $(fn $name<V: Visitor<'de>>(self, $($argument: $kind,)* visitor: V) -> Result<V::Value, D::Error> {
            self.0.$name($($argument,)* Tracing(visitor))
        })*
    };
}

impl<'de, D: Deserializer<'de>> Deserializer<'de> for Tracing<D> {
    type Error = D::Error;

    forward_to_deserializer! {
        deserialize_any()
        deserialize_bool()
        deserialize_i8()
        deserialize_i16()
        deserialize_i32()
        deserialize_i64()
        deserialize_i128()
        deserialize_u8()
        deserialize_u16()
        deserialize_u32()
        deserialize_u64()
        deserialize_u128()
        deserialize_f32()
        deserialize_f64()
        deserialize_char()
        deserialize_str()
        deserialize_string()
        deserialize_bytes()
        deserialize_byte_buf()
        deserialize_option()
        deserialize_unit()
        deserialize_unit_struct(name: &'static str)
        deserialize_newtype_struct(name: &'static str)
        deserialize_seq()
        deserialize_tuple(length: usize)
        deserialize_tuple_struct(name: &'static str, length: usize)
        deserialize_map()
        deserialize_struct(name: &'static str, fields: &'static [&'static str])
        deserialize_enum(name: &'static str, variants: &'static [&'static str])
        deserialize_identifier()
        deserialize_ignored_any()
    }

    fn is_human_readable(&self) -> bool {
        self.0.is_human_readable()
    }
}

macro_rules! forward_to_visitor {
    ($($name:ident($kind:ty))*) => {
        $(fn $name<E: Error>(self, value: $kind) -> Result<V::Value, E> {
            self.0.$name(value)
        })*
    };
}

impl<'de, V: Visitor<'de>> Visitor<'de> for Tracing<V> {
    type Value = V::Value;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.expecting(f)
    }

    forward_to_visitor! {
        visit_bool(bool)
        visit_i8(i8)
        visit_i16(i16)
        visit_i32(i32)
        visit_i64(i64)
        visit_i128(i128)
        visit_u8(u8)
        visit_u16(u16)
        visit_u32(u32)
        visit_u64(u64)
        visit_u128(u128)
        visit_f32(f32)
        visit_f64(f64)
        visit_char(char)
        visit_str(&str)
        visit_borrowed_str(&'de str)
        visit_string(String)
        visit_bytes(&[u8])
        visit_borrowed_bytes(&'de [u8])
        visit_byte_buf(Vec<u8>)
    }

    fn visit_none<E: Error>(self) -> Result<V::Value, E> {
        self.0.visit_none()
    }

    fn visit_some<D: Deserializer<'de>>(self, deserializer: D) -> Result<V::Value, D::Error> {
        self.0.visit_some(Tracing(deserializer))
    }

    fn visit_unit<E: Error>(self) -> Result<V::Value, E> {
        self.0.visit_unit()
    }

    fn visit_newtype_struct<D: Deserializer<'de>>(
        self,
        deserializer: D,
    ) -> Result<V::Value, D::Error> {
        self.0.visit_newtype_struct(Tracing(deserializer))
    }

    fn visit_seq<A: SeqAccess<'de>>(self, access: A) -> Result<V::Value, A::Error> {
        self.0.visit_seq(Elements::new(access))
    }

    fn visit_map<A: MapAccess<'de>>(self, access: A) -> Result<V::Value, A::Error> {
        self.0.visit_map(Elements::new(access))
    }

    fn visit_enum<A: EnumAccess<'de>>(self, access: A) -> Result<V::Value, A::Error> {
        self.0.visit_enum(Tracing(access))
    }
}

impl<'de, S: DeserializeSeed<'de>> DeserializeSeed<'de> for Tracing<S> {
    type Value = S::Value;

    fn deserialize<D: Deserializer<'de>>(self, deserializer: D) -> Result<S::Value, D::Error> {
        self.0.deserialize(Tracing(deserializer))
    }
}

impl<'de, A: SeqAccess<'de>> SeqAccess<'de> for Elements<A> {
    type Error = A::Error;

    fn next_element_seed<S: DeserializeSeed<'de>>(
        &mut self,
        seed: S,
    ) -> Result<Option<S::Value>, A::Error> {
        let access = &mut self.access;
        let element = within(self.next, || access.next_element_seed(Tracing(seed)))?;
        self.next += 1;
        Ok(element)
    }

    fn size_hint(&self) -> Option<usize> {
        self.access.size_hint()
    }
}

impl<'de, A: MapAccess<'de>> MapAccess<'de> for Elements<A> {
    type Error = A::Error;

    fn next_key_seed<S: DeserializeSeed<'de>>(
        &mut self,
        seed: S,
    ) -> Result<Option<S::Value>, A::Error> {
        self.access.next_key_seed(seed)
    }

    fn next_value_seed<S: DeserializeSeed<'de>>(&mut self, seed: S) -> Result<S::Value, A::Error> {
        let access = &mut self.access;
        let value = within(self.next, || access.next_value_seed(Tracing(seed)))?;
        self.next += 1;
        Ok(value)
    }

    fn size_hint(&self) -> Option<usize> {
        self.access.size_hint()
    }
}

impl<'de, A: EnumAccess<'de>> EnumAccess<'de> for Tracing<A> {
    type Error = A::Error;
    type Variant = Tracing<A::Variant>;

    fn variant_seed<S: DeserializeSeed<'de>>(
        self,
        seed: S,
    ) -> Result<(S::Value, Self::Variant), A::Error> {
        let (name, variant) = self.0.variant_seed(seed)?;
        Ok((name, Tracing(variant)))
    }
}

/// A variant with a value is a document whose only element is this value.
impl<'de, A: VariantAccess<'de>> VariantAccess<'de> for Tracing<A> {
    type Error = A::Error;

    fn unit_variant(self) -> Result<(), A::Error> {
        self.0.unit_variant()
    }

    fn newtype_variant_seed<S: DeserializeSeed<'de>>(self, seed: S) -> Result<S::Value, A::Error> {
        within(0, || self.0.newtype_variant_seed(Tracing(seed)))
    }

    fn tuple_variant<V: Visitor<'de>>(
        self,
        length: usize,
        visitor: V,
    ) -> Result<V::Value, A::Error> {
        within(0, || self.0.tuple_variant(length, Tracing(visitor)))
    }

    fn struct_variant<V: Visitor<'de>>(
        self,
        fields: &'static [&'static str],
        visitor: V,
    ) -> Result<V::Value, A::Error> {
        within(0, || self.0.struct_variant(fields, Tracing(visitor)))
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use bson::{DateTime, Document, RawDocumentBuf, doc, oid::ObjectId};
    use serde::Deserialize;

    use super::*;

    #[derive(Debug, Deserialize)]
    #[expect(dead_code, reason = "only the errors matter")]
    struct Order<'a> {
        name: &'a str,
        #[serde(default)]
        items: Vec<Item>,
        #[serde(default)]
        state: Option<State>,
        #[serde(default)]
        seen: Option<DateTime>,
        #[serde(default)]
        prices: BTreeMap<String, ObjectId>,
    }

    #[derive(Debug, Deserialize)]
    #[expect(dead_code, reason = "only the errors matter")]
    struct Item {
        price: f64,
    }

    #[derive(Debug, Deserialize)]
    #[expect(dead_code, reason = "only the errors matter")]
    enum State {
        New,
        Sent { to: String },
        At((i32, u8)),
    }

    fn explained(document: &Document) -> Option<String> {
        explain::<Order<'_>>(&RawDocumentBuf::try_from(document).unwrap())
    }

    #[test]
    fn the_position_of_a_wrong_value_is_named() {
        let price = |price: bson::Bson| doc! { "price": price };
        let items = vec![price(1.0.into()), price(2.into()), price("three".into())];
        for (document, expected) in [
            (
                doc! { "name": "a", "items": items },
                "items[2].price: expected f64, found string",
            ),
            (doc! { "items": [] }, "missing field `name`"),
            (
                doc! { "name": "a", "items": [{ "price": 1 }, {}] },
                "items[1]: missing field `price`",
            ),
            (
                doc! { "name": null },
                "name: expected a borrowed string, found null",
            ),
            (
                doc! { "name": "a", "state": { "Sent": { "to": 5 } } },
                "state.Sent.to: expected a string, found int32",
            ),
            (
                doc! { "name": "a", "state": { "At": [1, 300] } },
                "state.At[1]: invalid value: integer `300`, expected u8",
            ),
            (
                doc! { "name": "a", "prices": { "x": ObjectId::from_bytes([1; 12]), "y": [] } },
                "prices.y: expected an ObjectId, found array",
            ),
        ] {
            assert_eq!(explained(&document).as_deref(), Some(expected));
        }
        assert_eq!(explained(&doc! { "name": "a", "state": "New" }), None);
    }
}
