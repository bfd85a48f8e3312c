//! The purposes for which connections are checked out ("Load Balancer Support", "Connection Tracking").
//!
//! Behind a load balancer, cursors and transactions keep their connections. If a check-out times out, the error says
//! how many connections they hold. The counts are atomics, so that connections of other operations cost nothing.

use std::sync::atomic::{AtomicUsize, Ordering};

use super::state::Counts;

/// The kind of work that a connection is pinned to.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum PinnedBy {
    Cursor,
    Transaction,
}

/// The number of connections that are pinned.
#[derive(Debug, Default)]
pub(super) struct Pins {
    by_cursors: AtomicUsize,
    by_transactions: AtomicUsize,
}

impl Pins {
    pub(super) fn add(&self, by: PinnedBy) {
        self.of(by).fetch_add(1, Ordering::Relaxed);
    }

    pub(super) fn remove(&self, by: PinnedBy) {
        self.of(by).fetch_sub(1, Ordering::Relaxed);
    }

    /// Returns the text about the connections of a full pool, in the words of the specification.
    pub(super) fn describe(&self, max_pool_size: u32, counts: Counts) -> String {
        let by_cursors = self.by_cursors.load(Ordering::Relaxed);
        let by_transactions = self.by_transactions.load(Ordering::Relaxed);
        // The counts change while they are read.
        let others = (counts.in_use + counts.pending).saturating_sub(by_cursors + by_transactions);
        format!(
            "maxPoolSize: {max_pool_size}, connections in use by cursors: {by_cursors}, connections in use by \
             transactions: {by_transactions}, connections in use by other operations: {others}"
        )
    }

    fn of(&self, by: PinnedBy) -> &AtomicUsize {
        match by {
            PinnedBy::Cursor => &self.by_cursors,
            PinnedBy::Transaction => &self.by_transactions,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_connection_has_one_purpose() {
        let pins = Pins::default();
        for by in [PinnedBy::Cursor, PinnedBy::Cursor, PinnedBy::Transaction] {
            pins.add(by);
        }
        let counts = Counts {
            in_use: 5,
            pending: 1,
            ..Counts::default()
        };
        assert_eq!(
            pins.describe(6, counts),
            "maxPoolSize: 6, connections in use by cursors: 2, connections in use by transactions: 1, \
             connections in use by other operations: 3"
        );
        pins.remove(PinnedBy::Cursor);
        pins.remove(PinnedBy::Transaction);
        assert_eq!(
            pins.describe(0, Counts::default()),
            "maxPoolSize: 0, connections in use by cursors: 1, connections in use by transactions: 0, \
             connections in use by other operations: 0"
        );
    }
}
