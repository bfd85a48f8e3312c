//! IDs for documents that have none ("BSON ObjectID").
//!
//! An ID is the time in seconds, five random bytes of the process, and a counter of three bytes. The generator of `bson`
//! keeps its random bytes and its counter in a forked child, so that parent and child create the same IDs. This one
//! makes new random bytes and another start of the counter in the child. It takes no lock, because a thread of the parent
//! might have held one during the fork.

use std::sync::atomic::{AtomicU32, AtomicU64, Ordering};
use std::time::{SystemTime, UNIX_EPOCH};

use bson::oid::ObjectId;

use crate::ffi::fork;
use crate::random;

/// Creates IDs with the time of its own creation. It reads the clock once, so that many IDs are cheap.
#[derive(Clone, Copy, Debug)]
pub(crate) struct IdGenerator {
    /// Seconds since 1970, modulo 2^32 as specified.
    seconds: u32,
    process: [u8; 5],
}

impl IdGenerator {
    /// Creates a generator for the current second and process.
    pub(crate) fn new() -> Self {
        let since_1970 = SystemTime::now().duration_since(UNIX_EPOCH);
        let seconds = since_1970.map_or(0, |since| since.as_secs());
        let [.., a, b, c, d] = seconds.to_be_bytes();
        Self {
            seconds: u32::from_be_bytes([a, b, c, d]),
            process: process_bytes(),
        }
    }

    /// The same generator, with the bytes of the current process, which may be a forked child.
    pub(crate) fn in_this_process(self) -> Self {
        Self {
            process: process_bytes(),
            ..self
        }
    }

    /// Returns an ID that this process has not returned before.
    pub(crate) fn next(self) -> ObjectId {
        let [_, counter @ ..] = COUNTER.fetch_add(1, Ordering::Relaxed).to_be_bytes();
        ObjectId::from_parts(self.seconds, self.process, counter)
    }
}

/// The number of IDs so far, plus a random start. An ID has its last three bytes.
static COUNTER: AtomicU32 = AtomicU32::new(0);

/// The random bytes of a process, below a number that identifies the process among its forked relatives. 0 until the
/// first ID.
static PROCESS: AtomicU64 = AtomicU64::new(0);

/// The number of bits of the random bytes in [`PROCESS`].
const RANDOM_BITS: u32 = 40;

fn process_bytes() -> [u8; 5] {
    // One more than the number of forks, so that 0 stands for no process.
    let relative = (fork::count() + 1) << RANDOM_BITS;
    let mut current = PROCESS.load(Ordering::Acquire);
    if current >> RANDOM_BITS != relative >> RANDOM_BITS {
        // A UUID has random bytes that no other process has. Those with its version are not used.
        let [a, b, c, d, e, .., w, x, y, z] = random::uuid();
        let new = relative | u64::from_be_bytes([0, 0, 0, a, b, c, d, e]);
        let set = PROCESS.compare_exchange(current, new, Ordering::AcqRel, Ordering::Acquire);
        current = match set {
            Ok(_) => {
                // Adding keeps the numbers distinct that other threads take at this moment.
                COUNTER.fetch_add(u32::from_be_bytes([w, x, y, z]), Ordering::Relaxed);
                new
            }
            Err(other) => other,
        };
    }
    let [_, _, _, bytes @ ..] = current.to_be_bytes();
    bytes
}

#[cfg(test)]
mod tests {
    use std::collections::HashSet;

    use super::*;

    #[test]
    fn ids_have_the_parts_of_the_specification() {
        let before = SystemTime::now().duration_since(UNIX_EPOCH).unwrap();
        let (first, second) = (IdGenerator::new().next(), IdGenerator::new().next());
        let seconds = u64::try_from(first.timestamp().timestamp_millis()).unwrap() / 1000;
        assert!((before.as_secs()..=before.as_secs() + 5).contains(&seconds));
        let (first, second) = (first.bytes(), second.bytes());
        assert_eq!(first[4..9], second[4..9], "the bytes of the process");
        assert_ne!(first[4..9], [0; 5]);
        assert_ne!(first[9..], second[9..], "the counter");
    }

    #[test]
    fn threads_create_distinct_ids() {
        let threads = [(); 4].map(|()| {
            std::thread::spawn(|| {
                let generator = IdGenerator::new();
                (0..10_000).map(|_| generator.next()).collect::<Vec<_>>()
            })
        });
        let ids = threads.map(|thread| thread.join().unwrap());
        let distinct: HashSet<_> = ids.iter().flatten().collect();
        assert_eq!(distinct.len(), 40_000);
    }
}
