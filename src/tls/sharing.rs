//! One OpenSSL context for all clients of this process that ask for the same.
//!
//! A context costs as much as half a handshake, and a new one knows no session. So a client whose options are those of
//! another one that is still there, and whose files hold the same bytes, shares its context, with sessions and cached
//! OCSP responses. The options are compared whole, and files by the SHA-256 of what they hold now: a file that was
//! replaced since leads to a context of its own. Not shared is what depends on more than options and files: the
//! system's anchors, folders, which OpenSSL searches later, keys in a store, passwords from elsewhere.
//!
//! A reload makes a new context always, without the old one's sessions, and later clients share that one. A forked child
//! shares nothing with its parent.

use std::fs::{self, File};
use std::io::Read;
use std::path::Path;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError, Weak};

use openssl::sha::Sha256;

use super::Shared;
use crate::error::Result;
use crate::fork;
use crate::options::TlsOptions;

/// What makes a context what it is, beside the options.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Key {
    /// Of each file.
    digests: Vec<[u8; 32]>,
    /// How often the process had forked.
    forks: u64,
}

/// The contexts that are in use, the newest last. Locked only [at work](fork::at_work), so that no fork leaves it locked.
static IN_USE: Mutex<Vec<Weak<Shared>>> = Mutex::new(Vec::new());

/// The context of another client that asks for the same, or a new one.
pub(super) fn context(
    options: &TlsOptions,
    build: impl FnOnce() -> Result<Shared>,
) -> Result<Arc<Shared>> {
    let _at_work = fork::at_work();
    let key = key(options);
    match key.as_ref().and_then(|key| find(options, key)) {
        Some(shared) => Ok(shared),
        None => register(key, options, build),
    }
}

/// A new context, which others may share.
pub(super) fn fresh(
    options: &TlsOptions,
    build: impl FnOnce() -> Result<Shared>,
) -> Result<Arc<Shared>> {
    let _at_work = fork::at_work();
    register(key(options), options, build)
}

fn register(
    key: Option<Key>,
    options: &TlsOptions,
    build: impl FnOnce() -> Result<Shared>,
) -> Result<Arc<Shared>> {
    let mut shared = build()?;
    // Not that a file was replaced meanwhile.
    shared.key = key.filter(|before| self::key(options).as_ref() == Some(before));
    let is_shared = shared.key.is_some();
    let shared = Arc::new(shared);
    if is_shared {
        in_use().push(Arc::downgrade(&shared));
    }
    Ok(shared)
}

fn find(options: &TlsOptions, key: &Key) -> Option<Arc<Shared>> {
    let mut in_use = in_use();
    in_use.retain(|context| context.strong_count() > 0);
    let contexts = in_use.iter().rev().filter_map(Weak::upgrade);
    let is_same = |it: &Arc<Shared>| it.key.as_ref() == Some(key) && it.options == *options;
    // Collected, so that none is dropped under the lock for the last time.
    let contexts: Vec<_> = contexts.collect();
    drop(in_use);
    contexts.into_iter().find(is_same)
}

fn in_use() -> MutexGuard<'static, Vec<Weak<Shared>>> {
    IN_USE.lock().unwrap_or_else(PoisonError::into_inner)
}

/// None where a context with these options must not be shared, or where a file cannot be read, which building it tells.
fn key(options: &TlsOptions) -> Option<Key> {
    if !options.rests_on_files_alone() {
        return None;
    }
    let files = options.files();
    let digests: Option<Vec<_>> = files.iter().map(|path| digest(path)).collect();
    Some(Key {
        digests: digests?,
        forks: fork::count(),
    })
}

/// The SHA-256 of a regular file; none of what can be read but once, such as a pipe.
fn digest(path: &Path) -> Option<[u8; 32]> {
    fs::metadata(path).ok().filter(fs::Metadata::is_file)?;
    let mut file = File::open(path).ok()?;
    let mut hash = Sha256::new();
    let mut buffer = [0; 8 << 10];
    loop {
        match file.read(&mut buffer).ok()? {
            0 => return Some(hash.finish()),
            n => hash.update(&buffer[..n]),
        }
    }
}

#[cfg(test)]
mod tests {
    use mongotls_testbench::pki::{Ca, KeyKind, PkiDir};

    use super::*;

    #[test]
    fn what_was_built_while_a_file_was_replaced_is_not_shared() {
        let dir = PkiDir::new();
        let [old, new] = ["old", "new"].map(|name| Ca::root(name, KeyKind::EcP256).cert_pem());
        let path = dir.write("ca.pem", &old);
        let options = TlsOptions::builder().ca_file(&path).build().unwrap();
        let build = || Shared::build(&options);
        let in_between = context(&options, || {
            let shared = build();
            dir.write("ca.pem", &new);
            shared
        });
        // What it holds is not what the file holds now, and may not be what the file held before.
        let in_between = in_between.unwrap();
        assert!(in_between.key.is_none());
        let of_new = context(&options, build).unwrap();
        assert!(!Arc::ptr_eq(&in_between, &of_new));
        dir.write("ca.pem", &old);
        let of_old = context(&options, build).unwrap();
        assert!(!Arc::ptr_eq(&in_between, &of_old) && !Arc::ptr_eq(&of_new, &of_old));
        assert!(Arc::ptr_eq(&of_old, &context(&options, build).unwrap()));
    }
}
