//! One OpenSSL context for all clients of this process with equal settings.
//!
//! Making a context costs half as much as a handshake, and a new one has no sessions. So a client shares the context of
//! an existing client, with sessions and cached OCSP responses, if their options are equal and their files contain
//! equal bytes. A few contexts outlive their last client, but not their sessions and cached responses, for programs
//! that make one client after another. These have no private keys, and no CRLs, which are large.
//!
//! The options are compared completely, and files by the SHA-256 of the bytes that were read: a file that was replaced
//! since leads to a separate context. A context is not shared if it depends on more than options and files: the
//! system's anchors, folders, which OpenSSL searches later, keys in a store, passwords from other sources.
//!
//! A reload always makes a new context, without the old one's sessions, and later clients share that one. A forked
//! child shares nothing with its parent.

use std::sync::{Arc, Weak};

use once_cell::race::OnceBox;

use super::loaded::{ContextKey, Loaded};
use crate::error::Result;
use crate::ffi::fork::{self, PerProcess};
use crate::options::TlsOptions;
use crate::sync::{Mutex, MutexGuard};
use crate::tls::config::reading::Files;
use crate::tls::handshake::session::SessionCache;
use crate::tls::ocsp::Checker;

/// A context, with the sessions and OCSP responses of all its concurrent users. It ends with the last of them.
pub(crate) struct InUse {
    pub(crate) loaded: Arc<Loaded>,
    /// The OCSP check, or `None` if the options exclude it.
    pub(crate) ocsp: Option<Arc<Checker>>,
    /// The session cache, or `None` if resumption is off or there is no evidence.
    pub(crate) sessions: Option<Arc<SessionCache>>,
    /// The replacement of this context, which a forked child inherited because the files could not be loaded; `None` if
    /// they were loaded.
    pub(crate) successor: Option<OnceBox<Successor>>,
}

/// A context that a forked child loaded later.
pub(crate) type Successor = Arc<PerProcess<Arc<InUse>>>;

impl InUse {
    fn new(loaded: Arc<Loaded>) -> Arc<Self> {
        let options = &loaded.options;
        Arc::new(Self {
            ocsp: Checker::new(options, loaded.crls.clone()),
            sessions: options.resumes_sessions().then(Arc::default),
            successor: None,
            loaded,
        })
    }

    /// Returns this context for a forked child that cannot load the files yet, without sessions and OCSP responses.
    pub(crate) fn inherited(&self) -> Arc<Self> {
        let options = &self.loaded.options;
        Arc::new(Self {
            ocsp: Checker::new(options, self.loaded.crls.clone()),
            sessions: options.resumes_sessions().then(Arc::default),
            successor: Some(OnceBox::new()),
            loaded: Arc::clone(&self.loaded),
        })
    }
}

/// A context that may be shared.
struct SharedContext {
    users: Weak<InUse>,
    /// The part that remains after its last user.
    kept: Option<Arc<Loaded>>,
}

/// The existing contexts, the newest last. Locked only [at work](fork::at_work), so that no fork leaves it locked.
static CONTEXTS: Mutex<Vec<SharedContext>> = Mutex::new(Vec::new());

/// The number of contexts that are kept, possibly without a user.
const KEPT: usize = 4;

/// Returns the context of another client with equal settings, or a new one.
pub(crate) fn context(options: &TlsOptions, files: Files) -> Result<Arc<InUse>> {
    let _at_work = fork::at_work();
    let key = key(options, &files);
    match key.as_ref().and_then(|key| find(options, key)) {
        Some(found) => Ok(found),
        None => register(key, options, files),
    }
}

/// Returns a new context, which others may share.
pub(crate) fn fresh(options: &TlsOptions, files: Files) -> Result<Arc<InUse>> {
    let _at_work = fork::at_work();
    register(key(options, &files), options, files)
}

fn register(key: Option<ContextKey>, options: &TlsOptions, files: Files) -> Result<Arc<InUse>> {
    let mut loaded = Loaded::build(options, files)?;
    loaded.key = key;
    let is_shared = loaded.key.is_some();
    let users = InUse::new(Arc::new(loaded));
    if is_shared {
        // CRLs may be large.
        let is_kept = users.loaded.crls.count() == 0 && options.can_outlive_its_clients();
        let kept = is_kept.then(|| Arc::clone(&users.loaded));
        let mut contexts = contexts();
        contexts.push(SharedContext {
            users: Arc::downgrade(&users),
            kept,
        });
        let too_many = contexts.iter().filter(|one| one.kept.is_some()).count() > KEPT;
        let mut kept = contexts
            .iter_mut()
            .filter_map(|one| one.kept.take_if(|_| too_many));
        let oldest = kept.next();
        drop(kept);
        drop(contexts);
        drop(oldest);
    }
    Ok(users)
}

fn find(options: &TlsOptions, key: &ContextKey) -> Option<Arc<InUse>> {
    let is_same = |it: &Loaded| it.key.as_ref() == Some(key) && it.options == *options;
    // Dropped after the lock is released, so that no last reference is dropped under it.
    let mut seen = Vec::new();
    let mut contexts = contexts();
    contexts.retain(|one| one.kept.is_some() || one.users.strong_count() > 0);
    for one in contexts.iter_mut().rev() {
        if let Some(users) = one.users.upgrade() {
            if is_same(&users.loaded) {
                return Some(users);
            }
            seen.push(users);
        } else if let Some(kept) = one.kept.as_ref().filter(|kept| is_same(kept)) {
            let users = InUse::new(Arc::clone(kept));
            one.users = Arc::downgrade(&users);
            return Some(users);
        }
    }
    drop(contexts);
    drop(seen);
    None
}

fn contexts() -> MutexGuard<'static, Vec<SharedContext>> {
    CONTEXTS.lock()
}

/// The key of a shared context. `None` if one with these options must not be shared, or if a file was not read;
/// building the context then reports that.
fn key(options: &TlsOptions, files: &Files) -> Option<ContextKey> {
    if !options.rests_on_files_alone() {
        return None;
    }
    Some(ContextKey {
        digests: files.digests()?.to_vec(),
        forks: fork::count(),
    })
}

#[cfg(test)]
mod tests {
    use mongotls_testbench::pki::{Ca, KeyKind, LeafSpec, PkiDir};

    use super::*;
    use crate::tls::Reading;

    fn context(options: &TlsOptions) -> Arc<InUse> {
        super::context(options, Files::of(options, Reading::Once)).unwrap()
    }

    #[test]
    fn a_file_replaced_after_it_was_read_is_another_context() {
        let dir = PkiDir::new();
        let [old, new] = ["old", "new"].map(|name| Ca::root(name, KeyKind::EcP256).cert_pem());
        let path = dir.write("ca.pem", &old);
        let options = TlsOptions::builder().ca_file(&path).build().unwrap();
        let files = Files::of(&options, Reading::Once);
        dir.write("ca.pem", &new);
        let of_old = super::context(&options, files).unwrap();
        let of_new = context(&options);
        assert!(!Arc::ptr_eq(&of_old, &of_new));
        dir.write("ca.pem", &old);
        assert!(Arc::ptr_eq(&of_old, &context(&options)));
    }

    #[test]
    fn an_unused_context_loses_sessions_and_stays_without_a_key() {
        let dir = PkiDir::new();
        let ca = Ca::root("root", KeyKind::EcP256);
        let path = dir.write("ca.pem", ca.cert_pem());
        let own = ca.issue(LeafSpec::client("client"));
        let plain = TlsOptions::builder().ca_file(&path).build().unwrap();
        let secret = TlsOptions::builder().ca_file(&path);
        let secret = secret.certificate_key_file(dir.write("own.pem", own.bundle_pem()));
        let secret = secret.build().unwrap();
        for (options, is_kept) in [(&plain, true), (&secret, false)] {
            let first = context(options);
            let weak = Arc::downgrade(&first.loaded);
            drop(first);
            assert_eq!(weak.upgrade().is_some(), is_kept);
        }
        // A kept context is used again, and is evicted at last.
        let first = context(&plain);
        let weak = Arc::downgrade(&first.loaded);
        drop(first);
        for name in ["a", "b", "c", "d", "e"] {
            let path = dir.write(name, Ca::root(name, KeyKind::EcP256).cert_pem());
            let options = TlsOptions::builder().ca_file(&path).build().unwrap();
            context(&options);
        }
        assert!(weak.upgrade().is_none());
    }
}
