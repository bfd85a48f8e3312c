//! Threads in the background: this is the only place of the crate that starts one.
//!
//! They are not threads of the standard library. Those take a lock of the whole process when they begin and when they
//! end; if a program forks at that moment, the lock stays locked in the child, where the first thread that is started
//! then hangs. Threads of the C library do not take it.

use std::io;

use crate::tls::start_thread;

/// Starts a thread that nobody waits for. Its name is cut after 15 bytes, which is what the system shows.
///
/// `SIGPIPE` is blocked on it: the C library's resolver and the Kerberos library write to sockets without
/// `MSG_NOSIGNAL`. A panic ends the thread and nothing else.
///
/// # Errors
/// Those of the system, if it has no thread or no memory left.
pub(crate) fn spawn(name: &str, work: impl FnOnce() + Send + 'static) -> io::Result<()> {
    start_thread(name, Box::new(work))
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
