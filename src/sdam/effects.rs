//! What follows from changes of the topology, in the order of the changes.
//!
//! Changes are made under the lock of the topology by many threads; what follows from them takes time, and is done
//! without it. So it is queued under the lock, and whichever thread comes first does all that is queued. A function
//! of the program that is told of something may call the client: what follows from that is done after it returns.

use std::collections::VecDeque;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use bson::oid::ObjectId;

use super::server::{Dialer, Server};
use crate::event::SdamEvent;
use crate::ffi::fork;
use crate::pool::{Clearing, Lease};

/// One thing to do.
pub(super) enum Effect {
    /// Tell the program and the log.
    Tell(SdamEvent),
    /// Warn that no server is left.
    Warn,
    /// Tell that there is the pool.
    Announce(Arc<Server>),
    /// Close the pool.
    End(Arc<Server>),
    /// The pool was made ready.
    Ready(Arc<Server>),
    /// The pool was cleared.
    Cleared(Arc<Server>, Clearing<Dialer>),
    /// Give up the connections to one service behind a load balancer.
    ClearService(Arc<Server>, Lease, ObjectId),
}

/// See the [module documentation](self).
#[derive(Default)]
pub(super) struct Effects(Mutex<Queue>);

#[derive(Default)]
struct Queue {
    waiting: VecDeque<Effect>,
    is_running: bool,
    /// Servers whose monitors are to be started.
    new: Vec<Arc<Server>>,
}

impl Effects {
    /// Queues what follows from a change, under the lock of the topology.
    pub(super) fn push(&self, effects: impl IntoIterator<Item = Effect>) {
        self.lock().waiting.extend(effects);
    }

    /// Queues servers that are new, likewise. Their monitors do not wait for their turn: a function of the program that
    /// is told of something may use a server, and waits until it is found.
    pub(super) fn push_new(&self, servers: Vec<Arc<Server>>) {
        let mut queue = self.lock();
        queue
            .waiting
            .extend(servers.iter().cloned().map(Effect::Announce));
        queue.new.extend(servers);
    }

    /// Forgets what is queued.
    pub(super) fn clear(&self) {
        let mut queue = self.lock();
        queue.waiting.clear();
        queue.new.clear();
    }

    /// Starts the monitors of new servers, and does all that is queued, unless a thread is at it, this one or another.
    /// A monitor that has just been started does not do it: the thread that started it is the one.
    pub(super) fn run(&self, start: impl Fn(Arc<Server>), mut act: impl FnMut(Effect)) {
        /// Lets others go on, also after a panic.
        struct Running<'a>(&'a Effects);
        impl Drop for Running<'_> {
            fn drop(&mut self) {
                self.0.lock().is_running = false;
            }
        }
        let mut queue = self.lock();
        let new = std::mem::take(&mut queue.new);
        let is_free = !queue.is_running;
        queue.is_running = true;
        drop(queue);
        let running = is_free.then(|| Running(self));
        new.into_iter().for_each(start);
        let Some(running) = running else {
            return;
        };
        let forks = fork::count();
        loop {
            let mut queue = self.lock();
            let Some(effect) = queue.waiting.pop_front() else {
                // Under the same lock as the look at the queue: nothing is left behind.
                queue.is_running = false;
                drop(queue);
                std::mem::forget(running);
                return;
            };
            drop(queue);
            act(effect);
            if fork::count() != forks {
                // The program's function has forked, and this is the child: the rest is the parent's, and so is the
                // lock.
                std::mem::forget(running);
                return;
            }
        }
    }

    fn lock(&self) -> MutexGuard<'_, Queue> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl std::fmt::Debug for Effects {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Effects")
    }
}

#[cfg(test)]
mod tests {
    use std::panic::{AssertUnwindSafe, catch_unwind};

    use super::*;

    fn warns(effects: &Effects, count: usize) {
        effects.push(std::iter::repeat_with(|| Effect::Warn).take(count));
    }

    #[test]
    fn what_is_queued_meanwhile_is_done_by_the_one_that_is_at_it() {
        let effects = Effects::default();
        warns(&effects, 2);
        let mut done = 0;
        let mut nested = 0;
        effects.run(
            |_| (),
            |_| {
                done += 1;
                if done == 1 {
                    warns(&effects, 1);
                    effects.run(|_| (), |_| nested += 1);
                }
            },
        );
        assert_eq!((done, nested), (3, 0));
        effects.run(|_| (), |_| done += 1);
        assert_eq!(done, 3);
    }

    #[test]
    fn a_panic_leaves_the_rest_to_the_next() {
        let effects = Effects::default();
        warns(&effects, 2);
        let run = || effects.run(|_| (), |_| panic!("on purpose"));
        assert!(catch_unwind(AssertUnwindSafe(run)).is_err());
        let mut done = 0;
        effects.run(|_| (), |_| done += 1);
        assert_eq!(done, 1);
    }
}
