//! Documents, arrays, and the types of `bson` that are structs in serde's data model.

use bson::error::Error;
use bson::spec::ElementType;
use serde::ser::{
    Serialize, SerializeMap, SerializeSeq, SerializeStruct, SerializeStructVariant, SerializeTuple,
    SerializeTupleStruct, SerializeTupleVariant,
};

use super::Result;
use super::key::Key;
use super::writer::{Fields, Writer};

/// Returns whether a struct with this name is a value of `bson` that is not a document.
#[inline]
pub(super) fn is_special(name: &str) -> bool {
    name.starts_with('$')
        && [
            "$oid",
            "$date",
            "$binary",
            "$timestamp",
            "$minKey",
            "$maxKey",
            "$code",
            CODE_WITH_SCOPE,
            "$symbol",
            "$undefined",
            "$regularExpression",
            "$dbPointer",
            "$numberDecimal",
        ]
        .contains(&name)
}

/// The only special struct with more than one field.
const CODE_WITH_SCOPE: &str = "$codeWithScope";

/// An array or a document.
pub(super) struct Compound<'s, 'a> {
    writer: &'s mut Writer<'a>,
    start: usize,
    /// The document with the name of the variant as its only key, if this is a variant.
    outer: Option<usize>,
    /// The number of elements of an array so far.
    count: usize,
}

impl<'s, 'a> Compound<'s, 'a> {
    #[inline]
    pub(super) fn begin(writer: &'s mut Writer<'a>, kind: ElementType) -> Result<Self> {
        writer.begin(kind)?;
        let start = writer.open();
        Ok(Self {
            writer,
            start,
            outer: None,
            count: 0,
        })
    }

    pub(super) fn begin_variant(
        writer: &'s mut Writer<'a>,
        variant: &str,
        kind: ElementType,
    ) -> Result<Self> {
        writer.begin(ElementType::EmbeddedDocument)?;
        let outer = writer.open();
        writer.key(variant)?;
        let inner = Self::begin(writer, kind)?;
        Ok(Self {
            outer: Some(outer),
            ..inner
        })
    }

    #[inline]
    fn element<T: Serialize + ?Sized>(&mut self, value: &T) -> Result<()> {
        let mut digits = [0; MOST_DIGITS];
        let key = decimal(self.count, &mut digits);
        self.writer.key(key)?;
        self.count += 1;
        value.serialize(&mut *self.writer)
    }

    #[inline]
    fn field<T: Serialize + ?Sized>(&mut self, key: &str, value: &T) -> Result<()> {
        self.writer.key(key)?;
        value.serialize(&mut *self.writer)
    }

    #[inline]
    fn finish(self) -> Result<()> {
        self.writer.close(self.start)?;
        match self.outer {
            Some(outer) => self.writer.close(outer),
            None => Ok(()),
        }
    }
}

const MOST_DIGITS: usize = 20;

/// Writes a number to the end of `digits`.
#[inline]
fn decimal(mut number: usize, digits: &mut [u8; MOST_DIGITS]) -> &str {
    let mut at = MOST_DIGITS;
    loop {
        at -= 1;
        digits[at] = b"0123456789"[number % 10];
        number /= 10;
        if number == 0 {
            break;
        }
    }
    std::str::from_utf8(&digits[at..]).unwrap_or_default()
}

macro_rules! arrays {
    ($($name:ident $method:ident)*) => {
        $(
            impl $name for Compound<'_, '_> {
                type Ok = ();
                type Error = Error;

                #[inline]
                fn $method<T: Serialize + ?Sized>(&mut self, value: &T) -> Result<()> {
                    self.element(value)
                }

                #[inline]
                fn end(self) -> Result<()> {
                    self.finish()
                }
            }
        )*
    };
}

arrays! {
    SerializeSeq serialize_element
    SerializeTuple serialize_element
    SerializeTupleStruct serialize_field
    SerializeTupleVariant serialize_field
}

impl SerializeStructVariant for Compound<'_, '_> {
    type Ok = ();
    type Error = Error;

    #[inline]
    fn serialize_field<T: Serialize + ?Sized>(
        &mut self,
        key: &'static str,
        value: &T,
    ) -> Result<()> {
        self.field(key, value)
    }

    #[inline]
    fn end(self) -> Result<()> {
        self.finish()
    }
}

impl SerializeMap for Compound<'_, '_> {
    type Ok = ();
    type Error = Error;

    #[inline]
    fn serialize_key<T: Serialize + ?Sized>(&mut self, key: &T) -> Result<()> {
        key.serialize(Key(&mut *self.writer))
    }

    #[inline]
    fn serialize_value<T: Serialize + ?Sized>(&mut self, value: &T) -> Result<()> {
        value.serialize(&mut *self.writer)
    }

    #[inline]
    fn end(self) -> Result<()> {
        self.finish()
    }
}

pub(super) enum Struct<'s, 'a> {
    Document(Compound<'s, 'a>),
    /// A value of `bson` that is not a document. Each has one field, except a code with a scope.
    Special {
        writer: &'s mut Writer<'a>,
        name: &'static str,
        /// The first field of a code with a scope, in a document with the key `v`.
        code: Option<bson::RawDocumentBuf>,
    },
}

impl SerializeStruct for Struct<'_, '_> {
    type Ok = ();
    type Error = Error;

    #[inline]
    fn serialize_field<T: Serialize + ?Sized>(
        &mut self,
        key: &'static str,
        value: &T,
    ) -> Result<()> {
        match self {
            Self::Document(document) => document.field(key, value),
            Self::Special { writer, name, code } => special_field(writer, name, code, (key, value)),
        }
    }

    #[inline]
    fn end(self) -> Result<()> {
        match self {
            Self::Document(document) => document.finish(),
            Self::Special { .. } => Ok(()),
        }
    }
}

fn special_field<T: Serialize + ?Sized>(
    writer: &mut Writer<'_>,
    name: &'static str,
    code: &mut Option<bson::RawDocumentBuf>,
    field: (&'static str, &T),
) -> Result<()> {
    if name != CODE_WITH_SCOPE {
        let fields = [field];
        return writer.delegate(&Fields { name, fields });
    }
    match code.take() {
        None => {
            let document = Fields {
                name: "",
                fields: [("v", field.1)],
            };
            *code = Some(bson::serialize_to_raw_document_buf(&document)?);
            Ok(())
        }
        Some(code) => {
            let code = code.get_str("v").unwrap_or_default();
            writer.delegate(&CodeWithScope(code, field.1))
        }
    }
}

struct CodeWithScope<'a, T: ?Sized>(&'a str, &'a T);

impl<T: Serialize + ?Sized> Serialize for CodeWithScope<'_, T> {
    fn serialize<S: serde::Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let mut fields = serializer.serialize_struct(CODE_WITH_SCOPE, 2)?;
        fields.serialize_field("$code", self.0)?;
        fields.serialize_field("$scope", self.1)?;
        fields.end()
    }
}
