//! The counts in the reply of a `bulkWrite`, and the check that they fit the writes that were sent.

use bson::raw::RawDocument;

use crate::collection::malformed_reply as malformed;
use crate::data::hello::integer;
use crate::error::Result;
use crate::op::WriteQueue;

/// The counts of one reply.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct Counts {
    pub(super) inserted: u64,
    pub(super) upserted: u64,
    pub(super) matched: u64,
    pub(super) modified: u64,
    pub(super) deleted: u64,
    pub(super) errors: u64,
}

/// The writes of a command, by their kinds.
#[derive(Clone, Copy, Debug, Default)]
struct Sent {
    inserts: u64,
    updates: u64,
    deletes: u64,
    has_update_many: bool,
    has_delete_many: bool,
}

impl Counts {
    /// Reads the counts.
    ///
    /// # Errors
    /// If one is missing, is no count, or is there twice.
    pub(super) fn read(reply: &RawDocument) -> Result<Self> {
        const NAMES: [&str; 6] = [
            "nInserted",
            "nUpserted",
            "nMatched",
            "nModified",
            "nDeleted",
            "nErrors",
        ];
        let mut found = [None; NAMES.len()];
        for (key, value) in reply.iter().map_while(std::result::Result::ok) {
            let Some(at) = NAMES.iter().position(|name| *name == key.as_str()) else {
                continue;
            };
            let count = integer(value).and_then(|count| u64::try_from(count).ok());
            let count = count.ok_or_else(|| malformed("a number of documents"))?;
            if found[at].replace(count).is_some() {
                return Err(malformed("each field once"));
            }
        }
        let [inserted, upserted, matched, modified, deleted, errors] = found;
        let all = || {
            Some(Self {
                inserted: inserted?,
                upserted: upserted?,
                matched: matched?,
                modified: modified?,
                deleted: deleted?,
                errors: errors?,
            })
        };
        all().ok_or_else(|| malformed("a number of documents"))
    }

    /// Returns whether a document changed.
    pub(super) fn has_written(&self) -> bool {
        self.inserted + self.upserted + self.modified + self.deleted > 0
    }

    /// Returns whether the counts can be those of the writes that were sent last.
    pub(super) fn fits(&self, queue: &WriteQueue, is_ordered: bool) -> bool {
        let sent = Sent::of(queue);
        let without_result = match is_ordered {
            // All writes behind the one that failed.
            true if self.errors > 0 => u64::MAX,
            _ => self.errors,
        };
        let all = sent.inserts + sent.updates + sent.deletes;
        let most_errors = if is_ordered { 1 } else { all };
        self.errors <= most_errors.min(all)
            && self.inserted <= sent.inserts
            && sent.inserts - self.inserted <= without_result
            && self.upserted <= sent.updates
            && (sent.has_update_many || self.matched.saturating_add(self.upserted) <= sent.updates)
            && self.modified <= self.matched
            && (sent.has_delete_many || self.deleted <= sent.deletes)
            && (sent.updates > 0 || self.matched == 0)
            && (sent.deletes > 0 || self.deleted == 0)
    }
}

impl Sent {
    fn of(queue: &WriteQueue) -> Self {
        let mut sent = Self::default();
        for (write, document) in queue.chosen() {
            // The name of the operation follows the length and the type.
            match document.as_bytes().get(5) {
                Some(b'i') => sent.inserts += 1,
                Some(b'u') => {
                    sent.updates += 1;
                    sent.has_update_many |= write.is_multi;
                }
                _ => {
                    sent.deletes += 1;
                    sent.has_delete_many |= write.is_multi;
                }
            }
        }
        sent
    }
}
