//! Direct conversion between values of `serde` and BSON, in place of that of `bson`, which takes more steps for each field.
//!
//! The plain values of BSON are converted here: texts, numbers, booleans, null, documents, arrays and generic binary values.
//! Each other value is given to `bson`: its types with names of their own in serde's data model (`$oid`, `$date`, …), and
//! its newtypes with private names, such as those of UUIDs and of raw documents. So the results are those of `bson`, for
//! any type. Tests compare them for many types, so that an update of `bson` that changes them is noticed.
//!
//! Errors have the type of `bson`, with other texts.

mod compound;
mod deserializer;
mod key;
mod serializer;
#[cfg(test)]
mod tests;
mod writer;

use bson::error::Error;

pub(crate) use self::deserializer::deserialize;
pub(crate) use self::serializer::serialize;

type Result<T, E = Error> = std::result::Result<T, E>;

/// Returns whether a newtype may be one of `bson` with a private name, for which it has a rule of its own.
fn is_private(newtype: &str) -> bool {
    newtype.starts_with("$__")
}
