//! Background threads: this is the only place of the crate that starts one.
//!
//! They are not threads of the standard library. Those take a lock of the whole process when they begin and when they
//! end. If a program forks at that moment, the lock stays locked in the child, where the first thread that is started
//! then hangs. Threads of the C library do not take that lock.

use std::io;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::Arc;

use crate::ffi::system::start_thread;
use crate::logging::{error, warn};
use crate::sync::Mutex;

/// Starts a detached thread. The name is truncated to 15 bytes, which is what the system shows.
///
/// `SIGPIPE` is blocked on the thread, because the C library's resolver and the Kerberos library write to sockets
/// without `MSG_NOSIGNAL`. A panic ends only this thread.
///
/// # Errors
/// The system's errors, if it has no thread or no memory left.
pub(crate) fn spawn(name: &str, work: impl FnOnce() + Send + 'static) -> io::Result<()> {
    start_thread(name, Box::new(work))
}

/// The background threads that a client needs for its whole life. A thread that the system cannot start now is stored
/// and started later.
#[derive(Default)]
pub(crate) struct Background(Mutex<Vec<Unstarted>>);

struct Unstarted {
    name: &'static str,
    work: Arc<Mutex<Option<Work>>>,
}

type Work = Box<dyn FnOnce() + Send>;

impl Background {
    /// Starts a thread, now or in a later [`retry`](Self::retry).
    ///
    /// # Errors
    /// The system's errors, if the thread cannot be started now.
    pub(crate) fn start(
        &self,
        name: &'static str,
        work: impl FnOnce() + Send + 'static,
    ) -> io::Result<()> {
        let unstarted = Unstarted {
            name,
            work: Arc::new(Mutex::new(Some(Box::new(work)))),
        };
        let outcome = unstarted.start();
        if let Err(error) = &outcome {
            warn!(target: "mongotls::thread", "the thread {name} cannot be started yet: {error}");
            self.0.lock().push(unstarted);
        }
        outcome
    }

    /// Starts the threads that could not be started before, and returns true if all run. Never call this under a lock
    /// that a thread of the client takes.
    pub(crate) fn retry(&self) -> bool {
        let mut pending = std::mem::take(&mut *self.0.lock());
        pending.retain(|unstarted| unstarted.start().is_err());
        let mut kept = self.0.lock();
        kept.append(&mut pending);
        kept.is_empty()
    }

    /// Removes the threads that have not been started.
    pub(crate) fn clear(&self) {
        let unstarted = std::mem::take(&mut *self.0.lock());
        drop(unstarted);
    }
}

impl Unstarted {
    fn start(&self) -> io::Result<()> {
        let work = Arc::clone(&self.work);
        spawn(self.name, move || {
            let work = work.lock().take();
            if let Some(work) = work {
                work();
            }
        })
    }
}

impl std::fmt::Debug for Background {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let names: Vec<_> = self.0.lock().iter().map(|it| it.name).collect();
        f.debug_tuple("Background").field(&names).finish()
    }
}

/// Runs `work` again after each panic, so that a panic does not end the purpose of the thread. `go_on` waits in
/// between, and ends the loop by returning false.
pub(crate) fn restart_after_panics(
    what: &str,
    mut work: impl FnMut(),
    mut go_on: impl FnMut() -> bool,
) {
    while catch_unwind(AssertUnwindSafe(&mut work)).is_err() {
        // The program's logger may be the source of the panic.
        let _ = catch_unwind(|| {
            error!(target: "mongotls::thread", "{what} panicked, and begins again");
        });
        if !go_on() {
            return;
        }
    }
}

#[cfg(test)]
mod tests {
    use std::sync::mpsc;
    use std::time::Duration;

    use super::*;

    const LIMIT: Duration = Duration::from_secs(20);

    #[test]
    #[cfg(target_os = "linux")]
    fn a_thread_has_its_name_and_blocks_sigpipe_alone() {
        let (sender, status) = mpsc::channel();
        spawn("mongotls-a-long-name", move || {
            sender
                .send(std::fs::read_to_string("/proc/thread-self/status").unwrap())
                .unwrap();
        })
        .unwrap();
        let status = status.recv_timeout(LIMIT).unwrap();
        let field = |name: &str| {
            let mut lines = status.lines();
            lines
                .find_map(|line| line.strip_prefix(name))
                .unwrap()
                .trim()
        };
        assert_eq!(field("Name:"), "mongotls-a-long");
        let own = std::fs::read_to_string("/proc/thread-self/status").unwrap();
        let own = own.lines().find_map(|line| line.strip_prefix("SigBlk:"));
        let mask = |text: &str| u64::from_str_radix(text.trim(), 16).unwrap();
        let sigpipe = 1 << (libc::SIGPIPE - 1);
        assert_eq!(mask(field("SigBlk:")), mask(own.unwrap()) | sigpipe);
    }

    #[test]
    fn panicking_work_restarts_until_it_returns_or_stops() {
        for (panics, most, expected) in [(0, 9, (1, 0)), (3, 9, (4, 3)), (9, 2, (3, 3))] {
            let (mut runs, mut pauses) = (0, 0);
            let work = || {
                runs += 1;
                assert!(
                    runs > panics,
                    "a panic of the test, which is meant to be seen here"
                );
            };
            restart_after_panics("the test", work, || {
                pauses += 1;
                pauses <= most
            });
            assert_eq!((runs, pauses), expected);
        }
    }

    #[test]
    fn a_panic_ends_the_thread_alone_and_drops_what_it_owns() {
        let (sender, dropped) = mpsc::channel::<()>();
        spawn("mongotls-test", move || {
            let _owned = sender;
            panic!("a panic of the test, which is meant to be seen here");
        })
        .unwrap();
        assert_eq!(
            dropped.recv_timeout(LIMIT),
            Err(mpsc::RecvTimeoutError::Disconnected)
        );
    }
}
