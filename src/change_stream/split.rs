//! Events that a server has split, joined again.
//!
//! The stage `$changeStreamSplitLargeEvent` divides an event whose size exceeds 16 MiB at the borders of its fields. Each
//! part has a token of its own and a field `splitEvent`.

use bson::RawDocumentBuf;
use bson::raw::RawDocument;

use crate::data::hello::integer;
use crate::error::{Error, Result};

/// The parts of an event that have arrived.
#[derive(Debug, Default)]
pub(super) struct Parts {
    /// The fields of the parts so far, except `_id` and `splitEvent`.
    fields: RawDocumentBuf,
    /// The number of the last part.
    last: i64,
}

impl Parts {
    /// Returns whether only some parts have arrived.
    pub(super) fn is_incomplete(&self) -> bool {
        self.last > 0
    }

    /// Adds an event. Returns the whole one if it is the last part, and `None` if others follow. An event that is not split
    /// is not changed.
    ///
    /// # Errors
    /// If a part is missing.
    pub(super) fn add(&mut self, event: &RawDocument) -> Result<Option<RawDocumentBuf>> {
        let Some(split) = event.get("splitEvent").ok().flatten() else {
            return match self.is_incomplete() {
                true => Err(missing(self.last + 1)),
                false => Ok(Some(event.to_owned())),
            };
        };
        let split = split.as_document();
        let number = |key: &str| split?.get(key).ok().flatten().and_then(integer);
        let (Some(fragment), Some(of)) = (number("fragment"), number("of")) else {
            return Err(Error::protocol("a part of a split event has no number"));
        };
        if fragment != self.last + 1 {
            return Err(missing(self.last + 1));
        }
        if self.fields.as_bytes().len() + event.as_bytes().len() > LARGEST {
            return Err(Error::protocol("a split event is larger than 256 MiB"));
        }
        for element in event.iter_elements() {
            let element = element.and_then(|element| Ok((element.key(), element.value()?)));
            let (key, value) =
                element.map_err(|error| Error::bson("an event is not valid BSON", error))?;
            if !["_id", "splitEvent"].contains(&key.as_str()) {
                self.fields.append(key, value);
            }
        }
        self.last = fragment;
        if fragment < of {
            return Ok(None);
        }
        let mut whole = RawDocumentBuf::new();
        if let Ok(Some(id)) = event.get("_id") {
            whole.append(bson::cstr!("_id"), id);
        }
        let parts = std::mem::take(self);
        for (key, value) in parts.fields.iter().flatten() {
            whole.append(key, value);
        }
        Ok(Some(whole))
    }
}

/// The largest event that is joined, in bytes. A server splits events that are not much larger than a few documents of 16
/// MiB.
const LARGEST: usize = 256 << 20;

fn missing(number: i64) -> Error {
    Error::protocol(format!("part {number} of a split event is missing"))
}

#[cfg(test)]
mod tests {
    use bson::rawdoc;

    use super::*;

    fn part(fragment: i32, of: i32) -> RawDocumentBuf {
        let mut part = rawdoc! { "_id": { "_data": fragment } };
        part.append(
            bson::cstr!("splitEvent"),
            rawdoc! { "fragment": fragment, "of": of },
        );
        match fragment {
            1 => part.append(bson::cstr!("operationType"), "update"),
            2 => part.append(bson::cstr!("fullDocument"), rawdoc! { "a": 1 }),
            _ => part.append(bson::cstr!("ns"), "x"),
        }
        part
    }

    #[test]
    fn parts_are_joined_in_order() {
        let mut parts = Parts::default();
        assert_eq!(parts.add(&part(1, 3)).unwrap(), None);
        assert!(parts.is_incomplete());
        assert_eq!(parts.add(&part(2, 3)).unwrap(), None);
        let expected = rawdoc! {
            "_id": { "_data": 3 }, "operationType": "update", "fullDocument": { "a": 1 }, "ns": "x",
        };
        assert_eq!(parts.add(&part(3, 3)).unwrap(), Some(expected));
        assert!(!parts.is_incomplete());
        let whole = rawdoc! { "_id": {}, "operationType": "insert" };
        assert_eq!(parts.add(&whole).unwrap(), Some(whole));
    }

    #[test]
    fn a_missing_part_is_an_error() {
        let text = |error: Error| error.to_string();
        let mut parts = Parts::default();
        assert_eq!(
            text(parts.add(&part(2, 3)).unwrap_err()),
            "part 1 of a split event is missing"
        );
        parts.add(&part(1, 3)).unwrap();
        let whole = rawdoc! { "_id": {} };
        assert_eq!(
            text(parts.add(&whole).unwrap_err()),
            "part 2 of a split event is missing"
        );
        assert_eq!(
            text(parts.add(&part(3, 3)).unwrap_err()),
            "part 2 of a split event is missing"
        );
        let wrong = rawdoc! { "_id": {}, "splitEvent": { "of": 2 } };
        assert_eq!(
            text(parts.add(&wrong).unwrap_err()),
            "a part of a split event has no number"
        );
    }
}
