//! Random numbers that need not be secret, cheap, without a lock and without a system call; and UUIDs, from OpenSSL.
//! Other numbers that must not be guessable come from OpenSSL too.

use std::hash::{BuildHasher, Hasher, RandomState};
use std::time::SystemTime;

use openssl::rand::rand_bytes;

use crate::ffi::fork;

/// Returns a random UUID, version 4 (RFC 9562, section 5.4).
///
/// A forked child does not return the UUIDs of its parent: OpenSSL seeds its generator again after a fork.
pub(crate) fn uuid() -> [u8; 16] {
    let mut bytes = [0; 16];
    let _at_work = fork::at_work();
    if rand_bytes(&mut bytes).is_err() {
        // The keys of hash maps are inherited by a forked child, so the process is a part of the hash.
        for half in bytes.chunks_exact_mut(8) {
            let unique = (std::process::id(), SystemTime::now());
            half.copy_from_slice(&RandomState::new().hash_one(unique).to_le_bytes());
        }
    }
    bytes[6] = 0x40 | (bytes[6] & 0x0f);
    bytes[8] = 0x80 | (bytes[8] & 0x3f);
    bytes
}

/// Returns a number below `end`, with nearly equal probability; 0 if `end` is 0.
pub(crate) fn below(end: usize) -> usize {
    let end = u64::try_from(end).unwrap_or(u64::MAX).max(1);
    usize::try_from(any() % end).unwrap_or(0)
}

/// Returns a number from 0 up to, but not including, 1.
pub(crate) fn fraction() -> f64 {
    let bits = u32::try_from(any() >> 32).unwrap_or(0);
    f64::from(bits) / (f64::from(u32::MAX) + 1.0)
}

/// Returns the random part of a pause between retries: from 0 up to, but not including, 1.
pub(crate) fn jitter() -> f64 {
    #[cfg(any(test, feature = "_internals"))]
    if let Some(fixed) = FIXED_JITTER.get() {
        return fixed;
    }
    fraction()
}

#[cfg(any(test, feature = "_internals"))]
thread_local! {
    /// The value that [`jitter`] returns on this thread, for tests.
    static FIXED_JITTER: std::cell::Cell<Option<f64>> = const { std::cell::Cell::new(None) };
}

/// Makes [`jitter`] return this value on this thread; with `None` it is random again.
#[cfg(any(test, feature = "_internals"))]
pub(crate) fn fix_jitter(value: Option<f64>) {
    FIXED_JITTER.set(value);
}

/// Returns a random number: the keys of the standard library's hash maps are random, and differ for each map.
fn any() -> u64 {
    RandomState::new().build_hasher().finish()
}

#[cfg(test)]
mod tests {
    use std::collections::HashSet;

    use super::*;

    #[test]
    fn uuids_differ_and_have_version_4() {
        let uuids: HashSet<_> = (0..100).map(|_| uuid()).collect();
        assert_eq!(uuids.len(), 100);
        for uuid in uuids {
            assert_eq!((uuid[6] >> 4, uuid[8] >> 6), (4, 2), "{uuid:x?}");
        }
    }

    #[test]
    fn each_number_below_the_end_comes_about_as_often() {
        let mut counts = [0; 4];
        (0..4000).for_each(|_| counts[below(4)] += 1);
        assert!(
            counts.iter().all(|count| (850..1150).contains(count)),
            "{counts:?}"
        );
        assert_eq!((below(1), below(0)), (0, 0));
    }

    #[test]
    fn fractions_fill_the_range_and_do_not_reach_its_end() {
        let mut counts = [0; 4];
        for _ in 0..4000 {
            let fraction = fraction();
            assert!((0.0..1.0).contains(&fraction));
            let quarter = [0.25, 0.5, 0.75, 1.0]
                .iter()
                .position(|end| fraction < *end);
            counts[quarter.unwrap()] += 1;
        }
        assert!(
            counts.iter().all(|count| (850..1150).contains(count)),
            "{counts:?}"
        );
    }
}
