//! The keys that are derived from a password, and their cache.
//!
//! `SaltedPassword` takes thousands of iterations on purpose, and is equal for all connections of a client to a
//! deployment ("Caching credentials in SCRAM"). The cache holds `ClientKey` and `ServerKey`.

use std::fmt;
use std::sync::Arc;

use openssl::error::ErrorStack;
use openssl::hash::{MessageDigest, hash};
use openssl::pkcs5::pbkdf2_hmac;
use openssl::pkey::PKey;
use openssl::sign::Signer;
use zeroize::Zeroizing;

use crate::options::AuthMechanism;
use crate::sync::Mutex;

/// The hash function of a SCRAM mechanism.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Digest {
    Sha1,
    Sha256,
}

impl Digest {
    /// The hash function of SCRAM-SHA-256, or of SCRAM-SHA-1 for every other mechanism.
    pub(super) fn of(mechanism: AuthMechanism) -> Self {
        match mechanism {
            AuthMechanism::ScramSha256 => Self::Sha256,
            _ => Self::Sha1,
        }
    }

    pub(super) fn mechanism(self) -> AuthMechanism {
        match self {
            Self::Sha1 => AuthMechanism::ScramSha1,
            Self::Sha256 => AuthMechanism::ScramSha256,
        }
    }

    fn function(self) -> MessageDigest {
        match self {
            Self::Sha1 => MessageDigest::sha1(),
            Self::Sha256 => MessageDigest::sha256(),
        }
    }
}

/// `ClientKey` and `ServerKey` (RFC 5802 §3).
pub(super) struct Keys {
    client: Zeroizing<Vec<u8>>,
    server: Zeroizing<Vec<u8>>,
}

impl Keys {
    /// Derives the keys. The time it takes is proportional to `iterations`.
    pub(super) fn derive(
        digest: Digest,
        password: &str,
        salt: &[u8],
        iterations: u32,
    ) -> Result<Self, ErrorStack> {
        let function = digest.function();
        let mut salted = Zeroizing::new(vec![0; function.size()]);
        // OpenSSL stores the number in a C int.
        let iterations = usize::try_from(iterations).unwrap_or(usize::MAX);
        pbkdf2_hmac(password.as_bytes(), salt, iterations, function, &mut salted)?;
        Ok(Self {
            client: Zeroizing::new(hmac(digest, &salted, b"Client Key")?),
            server: Zeroizing::new(hmac(digest, &salted, b"Server Key")?),
        })
    }

    /// Returns the client's proof and the expected signature of the server, for a whole conversation
    /// (`AuthMessage`).
    pub(super) fn sign(
        &self,
        digest: Digest,
        conversation: &[u8],
    ) -> Result<(Vec<u8>, Vec<u8>), ErrorStack> {
        let stored = Zeroizing::new(hash(digest.function(), &self.client)?.to_vec());
        let mut proof = hmac(digest, &stored, conversation)?;
        for (byte, key) in proof.iter_mut().zip(self.client.iter()) {
            *byte ^= key;
        }
        Ok((proof, hmac(digest, &self.server, conversation)?))
    }
}

impl fmt::Debug for Keys {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("<redacted>")
    }
}

fn hmac(digest: Digest, key: &[u8], message: &[u8]) -> Result<Vec<u8>, ErrorStack> {
    let key = PKey::hmac(key)?;
    let mut signer = Signer::new(digest.function(), &key)?;
    signer.update(message)?;
    signer.sign_to_vec()
}

/// The keys of one user and password, by salt, iteration count and mechanism, which the server chooses.
#[derive(Debug, Default)]
pub(super) struct KeyCache(Mutex<Vec<CachedKeys>>);

#[derive(Debug)]
struct CachedKeys {
    digest: Digest,
    salt: Vec<u8>,
    iterations: u32,
    keys: Arc<Keys>,
}

impl KeyCache {
    /// Returns the keys, and derives them with `derive` if the cache does not have them. Nothing is derived under the
    /// lock.
    pub(super) fn get(
        &self,
        digest: Digest,
        salt: &[u8],
        iterations: u32,
        derive: impl FnOnce() -> Result<Keys, ErrorStack>,
    ) -> Result<Arc<Keys>, ErrorStack> {
        let is_same = |entry: &CachedKeys| {
            (entry.digest, entry.iterations) == (digest, iterations) && entry.salt == salt
        };
        let known = |entries: &[CachedKeys]| {
            let entry = entries.iter().find(|entry| is_same(entry));
            entry.map(|entry| Arc::clone(&entry.keys))
        };
        if let Some(keys) = known(&self.0.lock()) {
            return Ok(keys);
        }
        let keys = Arc::new(derive()?);
        let mut entries = self.0.lock();
        if let Some(keys) = known(&entries) {
            return Ok(keys);
        }
        if entries.len() >= MOST_ENTRIES {
            entries.remove(0);
        }
        entries.push(CachedKeys {
            digest,
            salt: salt.to_vec(),
            iterations,
            keys: Arc::clone(&keys),
        });
        Ok(keys)
    }

    #[cfg(test)]
    pub(super) fn len(&self) -> usize {
        self.0.lock().len()
    }
}

/// The size of the cache. The members of a deployment share one entry for each mechanism; a server that
/// sends another salt each time cannot make it grow further.
const MOST_ENTRIES: usize = 16;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn keys_are_derived_once_for_each_salt_count_and_mechanism() {
        let cache = KeyCache::default();
        let derived = std::cell::Cell::new(0);
        let get = |digest, salt: &[u8], iterations| {
            let derive = || {
                derived.set(derived.get() + 1);
                Keys::derive(digest, "pencil", salt, iterations)
            };
            cache.get(digest, salt, iterations, derive).unwrap();
            derived.get()
        };
        assert_eq!(get(Digest::Sha256, b"salt", 10), 1);
        assert_eq!(get(Digest::Sha256, b"salt", 10), 1);
        assert_eq!(get(Digest::Sha256, b"salt", 11), 2);
        assert_eq!(get(Digest::Sha256, b"other", 10), 3);
        assert_eq!(get(Digest::Sha1, b"salt", 10), 4);
        assert_eq!(get(Digest::Sha256, b"salt", 10), 4);
        for number in 0..100_u8 {
            get(Digest::Sha1, &[number], 1);
        }
        assert_eq!(cache.len(), MOST_ENTRIES);
        assert_eq!(get(Digest::Sha1, &[99], 1), 104, "the newest are kept");
        assert_eq!(get(Digest::Sha256, b"salt", 10), 105, "the oldest are not");
    }

    #[test]
    fn keys_are_not_printed() {
        let keys = Keys::derive(Digest::Sha256, "pencil", b"salt", 1).unwrap();
        assert_eq!(format!("{keys:?}"), "<redacted>");
    }
}
