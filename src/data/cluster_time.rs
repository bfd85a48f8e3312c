//! The cluster time: the logical clock of a deployment, as servers report it in `$clusterTime`.
//!
//! A client sends the highest time that it has seen with each command. So this value is copied for each command, and it
//! holds the document in place: nothing is allocated. Source: "Driver Sessions", "Gossipping the cluster time".

use std::fmt;

use bson::raw::RawDocument;
use bson::{RawBsonRef, Timestamp};

/// The maximum size of a `$clusterTime` document in bytes. Servers send 88 bytes. A larger document is ignored.
pub(crate) const MAX_CLUSTER_TIME_SIZE: usize = 128;

/// A `$clusterTime` document. Only the time in it is compared; the signature is not.
#[derive(Clone, Copy)]
pub(crate) struct ClusterTime {
    time: Timestamp,
    length: usize,
    bytes: [u8; MAX_CLUSTER_TIME_SIZE],
}

impl ClusterTime {
    /// Reads a document. Returns `None` if it has no timestamp `clusterTime`, or if it is too large.
    pub(crate) fn read(document: &RawDocument) -> Option<Self> {
        let source = document.as_bytes();
        let mut bytes = [0; MAX_CLUSTER_TIME_SIZE];
        let length = source.len();
        let time = first_field(source).or_else(|| match document.get("clusterTime") {
            Ok(Some(RawBsonRef::Timestamp(time))) => Some(time),
            _ => None,
        })?;
        bytes.get_mut(..length)?.copy_from_slice(source);
        Some(Self {
            time,
            length,
            bytes,
        })
    }

    /// The document, as it was received. It is never `None`, because [`read`](Self::read) copied it from a document.
    pub(crate) fn document(&self) -> Option<&RawDocument> {
        RawDocument::from_bytes(self.bytes.get(..self.length)?).ok()
    }

    /// Replaces `known` if this time is later.
    pub(crate) fn advance(&self, known: &mut Option<Self>) {
        if known
            .as_ref()
            .is_none_or(|known| is_later(self.time, known.time))
        {
            *known = Some(*self);
        }
    }
}

/// Reads `clusterTime` if it is the first field, as servers send it. This is cheaper than a search by `bson`.
fn first_field(document: &[u8]) -> Option<Timestamp> {
    const KEY: &[u8] = b"\x11clusterTime\0";
    let value = document.get(4..)?.strip_prefix(KEY)?.first_chunk()?;
    let value = u64::from_le_bytes(*value);
    let [time, increment] = [value >> 32, value & u64::from(u32::MAX)].map(u32::try_from);
    Some(Timestamp {
        time: time.ok()?,
        increment: increment.ok()?,
    })
}

impl fmt::Debug for ClusterTime {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("ClusterTime").field(&self.time).finish()
    }
}

/// Returns true if `time` is later than `known`: by the seconds, then by the increment.
pub(crate) fn is_later(time: Timestamp, known: Timestamp) -> bool {
    (time.time, time.increment) > (known.time, known.increment)
}

/// The times in one reply.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct ReplyTimes {
    /// `$clusterTime`.
    pub(crate) cluster_time: Option<ClusterTime>,
    /// `operationTime`: the time at which the command took effect, or at which it read.
    pub(crate) operation_time: Option<Timestamp>,
}

#[cfg(test)]
mod tests {
    use bson::{RawDocumentBuf, rawdoc};

    use super::*;

    fn document(time: u32, increment: u32) -> RawDocumentBuf {
        let hash = bson::Binary {
            subtype: bson::spec::BinarySubtype::Generic,
            bytes: vec![7; 20],
        };
        rawdoc! {
            "clusterTime": Timestamp { time, increment },
            "signature": { "hash": hash, "keyId": 5_i64 },
        }
    }

    fn read(time: u32, increment: u32) -> ClusterTime {
        ClusterTime::read(&document(time, increment)).unwrap()
    }

    #[test]
    fn a_document_is_kept_as_it_was_received() {
        let received = document(1, 2);
        assert_eq!(received.as_bytes().len(), 88);
        assert_eq!(read(1, 2).document(), Some(&*received));
    }

    #[test]
    fn only_a_later_time_replaces_a_known_one() {
        let mut known = None;
        for (time, increment, expected) in [
            (5, 5, (5, 5)),
            (5, 4, (5, 5)),
            (4, 9, (5, 5)),
            (5, 6, (5, 6)),
            (6, 0, (6, 0)),
        ] {
            read(time, increment).advance(&mut known);
            let time = known.unwrap().time;
            assert_eq!((time.time, time.increment), expected);
        }
    }

    #[test]
    fn the_signature_does_not_take_part_in_the_comparison() {
        let time = Timestamp {
            time: 1,
            increment: 1,
        };
        let mut known = ClusterTime::read(&rawdoc! { "clusterTime": time });
        read(1, 1).advance(&mut known);
        let unchanged = rawdoc! { "clusterTime": time };
        assert_eq!(known.unwrap().document(), Some(&*unchanged));
    }

    #[test]
    fn the_time_is_found_at_any_place() {
        let time = Timestamp {
            time: 0x0102_0304,
            increment: 0x0506_0708,
        };
        for document in [
            rawdoc! { "clusterTime": time, "x": 1 },
            rawdoc! { "x": 1, "clusterTime": time },
        ] {
            assert_eq!(ClusterTime::read(&document).unwrap().time, time);
        }
    }

    #[test]
    fn a_document_of_another_form_is_ignored() {
        assert!(ClusterTime::read(&rawdoc! {}).is_none());
        assert!(ClusterTime::read(&rawdoc! { "clusterTime": 5 }).is_none());
        let time = Timestamp {
            time: 1,
            increment: 1,
        };
        let large = rawdoc! { "clusterTime": time, "x": "y".repeat(MAX_CLUSTER_TIME_SIZE) };
        assert!(ClusterTime::read(&large).is_none());
    }
}
