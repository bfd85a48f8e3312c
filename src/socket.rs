//! One socket, TCP or Unix, with a total deadline, which another thread can interrupt.
//!
//! It is used below OpenSSL, because one `SSL_read` may read from the socket many times. Each read gets only the
//! remaining time, so that a peer that sends one byte per second cannot extend the deadline. A passed deadline is
//! reported as [`io::ErrorKind::TimedOut`], never as `WouldBlock`, which `openssl` would interpret as an unfinished
//! handshake.
//!
//! The kernel's timeout (`SO_RCVTIMEO`, `SO_SNDTIMEO`) is set again only if the remaining time is much shorter than
//! its current value. Therefore a command that is answered quickly costs no system call besides its write and its
//! read. A deadline may be exceeded by at most one tenth.

use std::io::{self, Read, Write};
use std::net::{Shutdown, SocketAddr};
use std::os::fd::{AsFd, BorrowedFd};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Weak};
use std::time::{Duration, Instant};

use crate::cancel::Wake;
use crate::ffi::fork;
use crate::sync::Mutex;
use crate::time::Deadline;

/// A connected socket with a deadline; see the [module documentation](self).
#[derive(Debug)]
pub(crate) struct Socket {
    transport: Arc<socket2::Socket>,
    deadline: Option<Deadline>,
    read_timeout: Option<Duration>,
    write_timeout: Option<Duration>,
    /// True if reads and writes block until the deadline. Otherwise they return `WouldBlock`.
    waits: bool,
    /// The number of forks of the process when the connection was created.
    forks: u64,
    began: Began,
}

/// The instants at which the first write and the first read with the current deadline began. They cost no reading of the
/// clock of their own.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Began {
    pub(crate) write: Option<Instant>,
    pub(crate) read: Option<Instant>,
}

impl Socket {
    /// Takes over a connected socket and resets its timeouts.
    pub(crate) fn new(transport: Arc<socket2::Socket>) -> io::Result<Self> {
        transport.set_read_timeout(None)?;
        transport.set_write_timeout(None)?;
        Ok(Self {
            transport,
            deadline: None,
            read_timeout: None,
            write_timeout: None,
            waits: true,
            forks: fork::count(),
            began: Began::default(),
        })
    }

    /// Sets the instant after which reads and writes fail; with `None` they block without limit.
    pub(crate) fn set_deadline(&mut self, deadline: Option<Deadline>) {
        self.deadline = deadline;
        self.began = Began::default();
    }

    /// The instants at which the first write and the first read since [`set_deadline`](Self::set_deadline) began. `None`
    /// without a deadline.
    pub(crate) fn began(&self) -> Began {
        self.began
    }

    /// Sets whether reads and writes block, which they do initially.
    pub(crate) fn set_waits(&mut self, waits: bool) -> io::Result<()> {
        self.waits = waits;
        self.transport.set_nonblocking(!waits)
    }

    /// Shuts down the connection in both directions, including for other holders of the socket. It does nothing in a
    /// forked child, because the connection belongs to the parent.
    pub(crate) fn shut_down(&self) {
        if !self.is_inherited() {
            // A socket that is not connected any more is already closed.
            let _ = self.transport.shutdown(Shutdown::Both);
        }
    }

    /// Returns true if the process has forked since the connection was created, and this is the child.
    pub(crate) fn is_inherited(&self) -> bool {
        self.forks != fork::count()
    }

    /// The descriptor, to wait for input.
    pub(crate) fn as_fd(&self) -> BorrowedFd<'_> {
        self.transport.as_fd()
    }

    /// Lets `interrupt` interrupt the socket. Fails if the interruption has already been requested.
    pub(crate) fn attach_to(&self, interrupt: &Interrupt) -> io::Result<()> {
        interrupt.attach(&self.transport)
    }

    /// Returns the address of the peer, or `None` for a Unix socket.
    pub(crate) fn peer_addr(&self) -> Option<SocketAddr> {
        self.transport.peer_addr().ok()?.as_socket()
    }

    /// Limits the next read to the remaining time.
    fn arm_read(&mut self) -> io::Result<()> {
        let timeout = match &self.deadline {
            Some(deadline) => {
                let now = Instant::now();
                self.began.read.get_or_insert(now);
                effective_timeout(deadline, self.read_timeout, now)?
            }
            None => None,
        };
        if timeout != self.read_timeout {
            self.transport.set_read_timeout(timeout)?;
            self.read_timeout = timeout;
        }
        Ok(())
    }

    fn arm_write(&mut self) -> io::Result<()> {
        let timeout = match &self.deadline {
            Some(deadline) => {
                let now = Instant::now();
                self.began.write.get_or_insert(now);
                effective_timeout(deadline, self.write_timeout, now)?
            }
            None => None,
        };
        if timeout != self.write_timeout {
            self.transport.set_write_timeout(timeout)?;
            self.write_timeout = timeout;
        }
        Ok(())
    }

    /// Returns `Ok` if a failed call can be retried. `WouldBlock` means that `SO_RCVTIMEO` or `SO_SNDTIMEO` has
    /// elapsed, which is no failure before the deadline. `ETIMEDOUT` is a failure: TCP gave up the connection because
    /// nothing was acknowledged. It must not be mistaken for the caller's deadline, so it becomes `HostUnreachable`,
    /// which the system also reports if the network signals this state.
    fn retry(error: io::Error) -> io::Result<()> {
        match error.kind() {
            io::ErrorKind::WouldBlock | io::ErrorKind::Interrupted => Ok(()),
            io::ErrorKind::TimedOut => Err(io::Error::new(
                io::ErrorKind::HostUnreachable,
                "the other side acknowledged nothing, until TCP gave the connection up",
            )),
            _ => Err(error),
        }
    }
}

/// Returns the timeout to block with, given the one that is set. Fails once the deadline has passed.
fn effective_timeout(
    deadline: &Deadline,
    set: Option<Duration>,
    now: Instant,
) -> io::Result<Option<Duration>> {
    let remaining = deadline
        .remaining(now)
        .map_err(|_| io::ErrorKind::TimedOut)?;
    Ok(match (remaining, set) {
        (Some(left), Some(set)) if left <= set && left.as_secs_f64() >= 0.9 * set.as_secs_f64() => {
            Some(set)
        }
        // The kernel counts in microseconds, and zero means "no limit".
        (Some(left), _) => Some(left.max(Duration::from_millis(1))),
        (None, _) => None,
    })
}

impl Read for Socket {
    fn read(&mut self, buf: &mut [u8]) -> io::Result<usize> {
        fork::refuse_inherited(self.forks)?;
        if !self.waits {
            return (&*self.transport).read(buf);
        }
        loop {
            self.arm_read()?;
            match fork::outside(|| (&*self.transport).read(buf)) {
                Ok(n) => return Ok(n),
                Err(error) => Self::retry(error)?,
            }
        }
    }
}

impl Write for Socket {
    fn write(&mut self, buf: &[u8]) -> io::Result<usize> {
        fork::refuse_inherited(self.forks)?;
        if !self.waits {
            return send(&self.transport, buf);
        }
        loop {
            self.arm_write()?;
            match fork::outside(|| send(&self.transport, buf)) {
                Ok(n) => return Ok(n),
                Err(error) => Self::retry(error)?,
            }
        }
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

/// Sends without `SIGPIPE`. If the program has restored its default action, or never changed it (as in C), a closed
/// connection would otherwise kill the process.
fn send(transport: &socket2::Socket, buf: &[u8]) -> io::Result<usize> {
    transport.send_with_flags(buf, libc::MSG_NOSIGNAL)
}

/// Interrupts a connection from another thread: its reads and writes fail at once.
///
/// It exists before the connection does, so that an attempt to connect can be aborted too. It does not keep the
/// socket open.
#[derive(Debug, Default)]
pub(crate) struct Interrupt {
    is_interrupted: AtomicBool,
    /// True if the program interrupted the connection to cancel an operation.
    is_cancelled: AtomicBool,
    /// The sockets of concurrent attempts to connect, or the one of the established connection.
    sockets: Mutex<Vec<Weak<socket2::Socket>>>,
}

impl Interrupt {
    /// Adds a socket to interrupt, before it connects or later. Fails if the interruption has already been requested.
    pub(crate) fn attach(&self, socket: &Arc<socket2::Socket>) -> io::Result<()> {
        let mut sockets = self.sockets.lock();
        sockets.retain(|socket| socket.strong_count() > 0);
        sockets.push(Arc::downgrade(socket));
        drop(sockets);
        match self.is_interrupted() {
            true => Err(io::ErrorKind::ConnectionAborted.into()),
            false => Ok(()),
        }
    }

    /// Interrupts the connection. The peer sees it end.
    pub(crate) fn interrupt(&self) {
        self.is_interrupted.store(true, Ordering::SeqCst);
        let sockets = std::mem::take(&mut *self.sockets.lock());
        for socket in sockets.iter().filter_map(Weak::upgrade) {
            let _ = socket.shutdown(Shutdown::Both);
        }
    }

    /// Returns true if the program interrupted the connection to cancel an operation.
    pub(crate) fn is_cancelled(&self) -> bool {
        self.is_cancelled.load(Ordering::SeqCst)
    }

    /// Returns true if the connection was interrupted.
    pub(crate) fn is_interrupted(&self) -> bool {
        self.is_interrupted.load(Ordering::SeqCst)
    }

    /// Returns the number of sockets to interrupt.
    #[cfg(test)]
    pub(crate) fn attached(&self) -> usize {
        self.sockets.lock().len()
    }
}

impl Wake for Interrupt {
    /// Interrupts the connection, because the program cancels the operation that uses it.
    fn wake(&self) {
        self.is_cancelled.store(true, Ordering::SeqCst);
        self.interrupt();
    }
}

#[cfg(test)]
mod tests {
    use std::os::unix::net::UnixStream;
    use std::thread;

    use super::*;
    use crate::time::TimeoutKind;

    fn pair(limit: Duration) -> (Socket, UnixStream) {
        let (ours, theirs) = UnixStream::pair().unwrap();
        let mut socket = Socket::new(Arc::new(ours.into())).unwrap();
        socket.set_deadline(Some(Deadline::after(
            Instant::now(),
            Some(limit),
            TimeoutKind::Socket,
        )));
        (socket, theirs)
    }

    #[test]
    fn a_trickle_does_not_stretch_the_deadline() {
        let (mut socket, mut theirs) = pair(Duration::from_millis(300));
        let trickle = thread::spawn(move || {
            while theirs.write_all(b"x").is_ok() {
                thread::sleep(Duration::from_millis(20));
            }
        });
        let started = Instant::now();
        let error = socket.read_exact(&mut [0; 1000]).unwrap_err();
        let took = started.elapsed();
        assert_eq!(error.kind(), io::ErrorKind::TimedOut);
        assert!(
            took >= Duration::from_millis(300) && took < Duration::from_millis(360),
            "{took:?}"
        );
        drop(socket);
        trickle.join().unwrap();
    }

    #[test]
    fn a_tcp_timeout_is_not_a_passed_deadline() {
        for retried in [io::ErrorKind::WouldBlock, io::ErrorKind::Interrupted] {
            assert!(Socket::retry(retried.into()).is_ok());
        }
        let error = Socket::retry(io::ErrorKind::TimedOut.into()).unwrap_err();
        assert_eq!(error.kind(), io::ErrorKind::HostUnreachable);
        assert_eq!(
            error.to_string(),
            "the other side acknowledged nothing, until TCP gave the connection up"
        );
    }

    /// A blocked SIGPIPE stays pending even if it is ignored, as in Rust programs.
    #[test]
    #[cfg(target_os = "linux")]
    fn a_write_to_a_closed_peer_raises_no_sigpipe() {
        let unix = || {
            let (ours, theirs) = UnixStream::pair().unwrap();
            drop(theirs);
            Arc::new(socket2::Socket::from(ours))
        };
        let listener = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
        let tcp = || {
            let ours = std::net::TcpStream::connect(listener.local_addr().unwrap()).unwrap();
            let ours = Arc::new(socket2::Socket::from(ours));
            let interrupt = Interrupt::default();
            interrupt.attach(&ours).unwrap();
            // As Client::close() does while another thread connects.
            interrupt.interrupt();
            ours
        };
        for transport in [unix(), tcp()] {
            for waits in [true, false] {
                let mut socket = Socket::new(Arc::clone(&transport)).unwrap();
                socket.set_waits(waits).unwrap();
                let (sender, outcome) = std::sync::mpsc::channel();
                crate::ffi::thread::spawn("mongotls-test", move || {
                    let error = socket.write(b"x").unwrap_err();
                    let status = std::fs::read_to_string("/proc/thread-self/status").unwrap();
                    sender.send((error.kind(), status)).unwrap();
                })
                .unwrap();
                let (kind, status) = outcome.recv_timeout(Duration::from_secs(20)).unwrap();
                assert_eq!(kind, io::ErrorKind::BrokenPipe);
                assert!(status.contains("\nSigPnd:\t0000000000000000\n"), "{status}");
            }
        }
    }

    #[test]
    fn a_full_send_buffer_ends_at_the_deadline() {
        let (mut socket, theirs) = pair(Duration::from_millis(200));
        let error = socket.write_all(&vec![0; 64 << 20]).unwrap_err();
        assert_eq!(error.kind(), io::ErrorKind::TimedOut);
        drop(theirs);
    }

    #[test]
    fn a_later_deadline_is_honoured_after_a_shorter_one() {
        let (mut socket, mut theirs) = pair(Duration::from_millis(20));
        assert_eq!(
            socket.read(&mut [0]).unwrap_err().kind(),
            io::ErrorKind::TimedOut
        );
        socket.set_deadline(Some(Deadline::after(
            Instant::now(),
            Some(Duration::from_secs(5)),
            TimeoutKind::Socket,
        )));
        let late = thread::spawn(move || {
            thread::sleep(Duration::from_millis(100));
            theirs.write_all(b"x").unwrap();
        });
        assert_eq!(socket.read(&mut [0]).unwrap(), 1);
        late.join().unwrap();
    }
}
