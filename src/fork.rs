//! What must not outlive a `fork()`.
//!
//! A forked child has the memory of its parent, one of its threads, and all of its file descriptors. A lock that
//! another thread held stays locked for ever, and a connection is still the parent's: one byte from the child
//! would break it. So whatever holds locks or connections exists [once for each process](PerProcess): a child
//! that asks for it gets one of its own, made anew, and looks at the parent's no more.
//!
//! A fork is noticed by a handler of `pthread_atfork`, so that asking whether there was one costs no system call.
//! Programs that make processes by the bare `clone` system call are not noticed.

use once_cell::race::OnceBox;

/// How many forks lie between this process and the one that made the first [`PerProcess`].
pub(crate) fn count() -> u64 {
    crate::tls::fork_count()
}

/// A value that each process has for itself.
#[derive(Debug)]
pub(crate) struct PerProcess<T: Abandon> {
    forks: u64,
    /// There until it is dropped.
    value: Option<T>,
    /// That of a child, in the child. Made without a lock: another thread may have been at it during the fork.
    child: OnceBox<PerProcess<T>>,
}

/// What a child does with what it has inherited.
pub(crate) trait Abandon {
    /// Gives back what can be given back without waiting for a lock and without a word to a peer. The rest stays
    /// where it is until the process ends: nothing is dropped.
    fn abandon(&self);
}

impl<T: Abandon> PerProcess<T> {
    pub(crate) fn new(value: T) -> Self {
        crate::tls::watch_forks();
        Self {
            forks: count(),
            value: Some(value),
            child: OnceBox::new(),
        }
    }

    /// The value of this process; `make` makes it from that of the parent.
    pub(crate) fn get(&self, make: impl Fn(&T) -> T) -> &T {
        let mut own = self;
        while own.forks != count() {
            let inherited = own.value();
            own = own.child.get_or_init(|| {
                inherited.abandon();
                Box::new(Self::new(make(inherited)))
            });
        }
        own.value()
    }

    #[expect(clippy::expect_used, reason = "only drop takes the value")]
    fn value(&self) -> &T {
        self.value.as_ref().expect("the value is there until drop")
    }
}

impl<T: Abandon> Drop for PerProcess<T> {
    fn drop(&mut self) {
        let value = self.value.take();
        if self.forks != count() {
            // Dropping it may wait for a lock that nobody will release, or for a thread that is not here.
            std::mem::forget(value);
        }
    }
}
