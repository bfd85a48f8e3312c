//! The effects of changes of the topology, applied in the order of the changes.
//!
//! Many threads change the topology, under its lock. The effects take time and are applied without the lock. They are
//! therefore queued under the lock, and the first thread that gets to it applies everything in the queue. A listener
//! of the program may call the client: the effects of that call are applied after the listener returns.

use std::collections::VecDeque;
use std::sync::Arc;
use std::thread::{self, ThreadId};
use std::time::Duration;

use bson::oid::ObjectId;

use super::server::{Dialer, Server};
use crate::event::SdamEvent;
use crate::ffi::fork;
use crate::pool::{Clearing, Lease};
use crate::sync::{Condvar, Mutex};

/// One effect.
pub(super) enum Effect {
    /// Send the event to the listener and the log.
    Tell(SdamEvent),
    /// Warn that no server is left.
    Warn,
    /// Report that the pool was created.
    Announce(Arc<Server>),
    /// Close the pool.
    End(Arc<Server>),
    /// The pool was made ready.
    Ready(Arc<Server>),
    /// The pool was cleared.
    Cleared(Arc<Server>, Clearing<Dialer>),
    /// Close the connections to one service behind a load balancer.
    ClearService(Arc<Server>, Lease, ObjectId),
}

/// See the [module documentation](self).
#[derive(Default)]
pub(super) struct Effects {
    queue: Mutex<Queue>,
    /// Notified when a thread has applied all effects.
    idle: Condvar,
}

#[derive(Default)]
struct Queue {
    queue: VecDeque<Effect>,
    /// The thread that applies the effects, if there is one.
    runner: Option<ThreadId>,
    /// Servers whose monitors must be started.
    new: Vec<Arc<Server>>,
}

impl Effects {
    /// Queues the effects of a change, under the lock of the topology.
    pub(super) fn push(&self, effects: impl IntoIterator<Item = Effect>) {
        self.queue.lock().queue.extend(effects);
    }

    /// Queues new servers, under the lock of the topology. Their monitors do not wait for their turn in the queue: a
    /// listener may use a server, and then waits until it is discovered.
    pub(super) fn push_new(&self, servers: Vec<Arc<Server>>) {
        let mut queue = self.queue.lock();
        queue
            .queue
            .extend(servers.iter().cloned().map(Effect::Announce));
        queue.new.extend(servers);
    }

    /// Removes everything from the queue.
    pub(super) fn clear(&self) {
        let mut queue = self.queue.lock();
        queue.queue.clear();
        queue.new.clear();
    }

    /// Starts the monitors of new servers and applies all queued effects, unless a thread (this one or another) is
    /// already doing that. A monitor that has just been started never applies them, because the thread that started
    /// it does.
    pub(super) fn run(&self, start: impl Fn(Arc<Server>), mut act: impl FnMut(Effect)) {
        /// Allows other threads to continue, even after a panic.
        struct Running<'a>(&'a Effects);
        impl Drop for Running<'_> {
            fn drop(&mut self) {
                self.0.queue.lock().runner = None;
                self.0.idle.notify_all();
            }
        }
        let mut queue = self.queue.lock();
        let new = std::mem::take(&mut queue.new);
        let is_free = queue.runner.is_none();
        if is_free {
            queue.runner = Some(thread::current().id());
        }
        drop(queue);
        let running = is_free.then(|| Running(self));
        new.into_iter().for_each(start);
        let Some(running) = running else {
            return;
        };
        let forks = fork::count();
        loop {
            let mut queue = self.queue.lock();
            let Some(effect) = queue.queue.pop_front() else {
                // Reset under the same lock as the check of the queue, so that no effect is left behind.
                queue.runner = None;
                drop(queue);
                self.idle.notify_all();
                std::mem::forget(running);
                return;
            };
            drop(queue);
            act(effect);
            if fork::count() != forks {
                // The listener has forked, and this is the child: the remaining effects belong to the parent, and so
                // does the lock.
                std::mem::forget(running);
                return;
            }
        }
    }

    /// Waits until another thread has applied all queued effects, for at most `limit`. Does not wait on the thread that
    /// applies them, which has called a listener.
    pub(super) fn wait(&self, limit: Duration) {
        let own = thread::current().id();
        let waits = |queue: &mut Queue| queue.runner.is_some_and(|runner| runner != own);
        drop(self.idle.wait_while(self.queue.lock(), Some(limit), waits));
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
    fn effects_queued_meanwhile_run_on_the_active_thread() {
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
    fn a_wait_ends_once_another_thread_has_applied_all_effects() {
        let effects = Effects::default();
        let (begun, has_begun) = std::sync::mpsc::channel();
        warns(&effects, 2);
        thread::scope(|scope| {
            let runner = scope.spawn(|| {
                let mut done = 0;
                effects.run(
                    |_| (),
                    |_| {
                        // Its own thread does not wait.
                        effects.wait(Duration::from_secs(600));
                        done += 1;
                        begun.send(()).unwrap();
                        thread::sleep(Duration::from_millis(50));
                    },
                );
                done
            });
            has_begun.recv().unwrap();
            effects.wait(Duration::from_secs(600));
            assert!(has_begun.try_recv().is_ok());
            assert_eq!(runner.join().unwrap(), 2);
        });
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
