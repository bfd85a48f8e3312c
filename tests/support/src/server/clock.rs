//! The cluster time of a deployment, which servers add to their replies.

use super::hello::is_hello;
use super::record::Request;
use bson::spec::BinarySubtype;
use bson::{Binary, Document, Timestamp, doc};
use std::sync::Arc;
use std::sync::atomic::{AtomicU32, Ordering};

/// A logical clock that servers share. Each command except hello advances it.
#[derive(Clone, Debug, Default)]
pub struct Clock(Arc<AtomicU32>);

impl Clock {
    /// The current time.
    pub fn now(&self) -> Timestamp {
        Timestamp {
            time: 1_700_000_000,
            increment: self.0.load(Ordering::SeqCst),
        }
    }

    /// Advances the clock, as another client's write would.
    pub fn advance(&self) {
        self.0.fetch_add(1, Ordering::SeqCst);
    }

    /// The `$clusterTime` of a time.
    pub fn document(time: Timestamp) -> Document {
        let hash = Binary {
            subtype: BinarySubtype::Generic,
            bytes: vec![0; 20],
        };
        doc! { "clusterTime": time, "signature": { "hash": hash, "keyId": 0_i64 } }
    }

    /// Adds the time to a reply.
    pub(super) fn stamp(&self, request: &Request, reply: &mut Document) {
        if !is_hello(&request.name) {
            self.advance();
        }
        let now = self.now();
        reply.insert("$clusterTime", Self::document(now));
        reply.insert("operationTime", now);
    }
}
