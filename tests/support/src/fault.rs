//! Faults in the bytes that a server sends, at any byte.
//!
//! A [`Fault`] lets a number of bytes pass and then does something else: stalls, ends, resets, trickles or sends
//! garbage. It applies to one of two layers: [`Layer::Tcp`] counts the bytes on the wire, so under TLS it acts inside
//! the handshake or inside a record; [`Layer::Message`] counts the bytes of replies, so under TLS its output is
//! properly encrypted, and its end is a `close_notify`.
//!
//! [`FaultyStream`] is the wrapper that applies it, [`FaultPlan`] selects the connections. The thread that serves the
//! connection runs it all; waits end with the server's [`Stop`].

use crate::net::{Socket, Stop, lock};
use openssl::ssl::SslStream;
use std::io::{self, ErrorKind, Read, Write};
use std::net::Shutdown;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;

/// The action after the bytes of a [`Fault`] have passed.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Action {
    /// Sends nothing more and keeps the connection open.
    Stall,
    /// Sends nothing more, and ignores all received bytes.
    Ignore,
    /// Ends the connection in order: FIN, and above TLS `close_notify` first.
    Close,
    /// Ends the connection with RST. A Unix socket has no RST and is closed.
    Reset,
    /// Continues with `bytes` at a time, and a pause of `interval` before each.
    Trickle {
        /// The number of bytes at a time.
        bytes: usize,
        /// The pause before each.
        interval: Duration,
    },
    /// Sends these bytes instead of all following ones, and keeps the connection open.
    Garbage(Vec<u8>),
}

/// The layer whose bytes are counted and cut.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Layer {
    /// The bytes on the wire: records and handshake where there is TLS.
    #[default]
    Tcp,
    /// The bytes of the messages, above TLS where there is TLS.
    Message,
}

/// An action after a number of bytes.
///
/// ```
/// use mongotls_testbench::fault::{Fault, Layer};
///
/// let mid_handshake = Fault::reset_after(100);
/// let mid_reply = Fault::stall_after(20).on(Layer::Message);
/// let accept_and_say_nothing = Fault::stall_after(0);
/// ```
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Fault {
    /// The layer whose bytes are counted.
    pub layer: Layer,
    /// The number of bytes that pass unchanged; with 0 the action happens before the first.
    pub after: u64,
    /// The action after that.
    pub action: Action,
}

impl Fault {
    /// Creates a fault on the wire after this number of bytes.
    pub fn new(after: u64, action: Action) -> Self {
        Self {
            layer: Layer::Tcp,
            after,
            action,
        }
    }

    /// Stalls after this number of bytes.
    pub fn stall_after(after: u64) -> Self {
        Self::new(after, Action::Stall)
    }

    /// Stops reading and writing after this number of bytes.
    pub fn ignore_after(after: u64) -> Self {
        Self::new(after, Action::Ignore)
    }

    /// Ends the connection in order after this number of bytes.
    pub fn close_after(after: u64) -> Self {
        Self::new(after, Action::Close)
    }

    /// Resets the connection after this number of bytes.
    pub fn reset_after(after: u64) -> Self {
        Self::new(after, Action::Reset)
    }

    /// Trickles after this number of bytes.
    pub fn trickle_after(after: u64, bytes: usize, interval: Duration) -> Self {
        Self::new(after, Action::Trickle { bytes, interval })
    }

    /// Sends garbage after this number of bytes.
    pub fn garbage_after(after: u64, garbage: impl Into<Vec<u8>>) -> Self {
        Self::new(after, Action::Garbage(garbage.into()))
    }

    /// Moves it to another layer.
    pub fn on(mut self, layer: Layer) -> Self {
        self.layer = layer;
        self
    }
}

/// The faults of future connections.
#[derive(Debug, Default)]
pub struct FaultPlan(Mutex<Vec<(Fault, Option<usize>)>>);

impl FaultPlan {
    /// Applies a fault to every connection from now on.
    pub fn all(&self, fault: Fault) {
        lock(&self.0).push((fault, None));
    }

    /// Applies a fault to the next `count` connections that have no earlier fault on the same layer.
    pub fn next(&self, count: usize, fault: Fault) {
        lock(&self.0).push((fault, Some(count)));
    }

    /// Removes all faults.
    pub fn clear(&self) {
        lock(&self.0).clear();
    }

    /// The fault of a new connection on that layer.
    pub(crate) fn take(&self, layer: Layer) -> Option<Fault> {
        let mut plan = lock(&self.0);
        let at = plan.iter().position(|(fault, _)| fault.layer == layer)?;
        let fault = plan[at].0.clone();
        match &mut plan[at].1 {
            Some(1) => drop(plan.remove(at)),
            Some(left) => *left -= 1,
            None => {}
        }
        Some(fault)
    }
}

/// A stream that can be ended in more than one way.
pub trait Transport: Read + Write {
    /// Ends the stream in order for its layer: FIN, or `close_notify` and FIN.
    fn close(&mut self);

    /// The socket at the bottom.
    fn socket(&self) -> &Socket;
}

impl Transport for Socket {
    fn close(&mut self) {
        self.shutdown(Shutdown::Write);
    }

    fn socket(&self) -> &Socket {
        self
    }
}

impl<T: Transport> Transport for SslStream<T> {
    fn close(&mut self) {
        // An error means that the peer has disconnected already.
        let _ = self.shutdown();
        self.get_mut().close();
    }

    fn socket(&self) -> &Socket {
        self.get_ref().socket()
    }
}

/// The number of bytes that passed, over all connections.
#[derive(Debug, Default)]
pub struct Traffic {
    /// To the client.
    pub sent: AtomicU64,
    /// From the client.
    pub received: AtomicU64,
}

/// A stream that applies a [`Fault`] to the written bytes.
#[derive(Debug)]
pub struct FaultyStream<S> {
    inner: S,
    state: State,
    stop: Stop,
    traffic: Arc<Traffic>,
}

#[derive(Debug)]
enum State {
    Sound,
    Counting { left: u64, action: Action },
    Trickling { bytes: usize, interval: Duration },
    Swallowing,
    Ignoring,
    Over,
}

impl<S: Transport> FaultyStream<S> {
    /// Wraps a stream; a fault after 0 bytes happens at once, except that a stall waits for a write.
    pub fn new(inner: S, fault: Option<Fault>, stop: &Stop) -> Self {
        let mut stream = Self {
            inner,
            state: State::Sound,
            stop: stop.clone(),
            traffic: Arc::default(),
        };
        if let Some(fault) = fault {
            stream.arm(fault.after, fault.action);
        }
        stream
    }

    /// Adds the bytes that pass to `traffic`.
    pub fn counting(mut self, traffic: &Arc<Traffic>) -> Self {
        self.traffic = Arc::clone(traffic);
        self
    }

    /// Sets a fault that counts from here.
    pub fn arm(&mut self, after: u64, action: Action) {
        self.state = State::Counting {
            left: after,
            action,
        };
        self.strike_if_due();
    }

    /// Applies the fault if its bytes have passed; an action that is visible only at the next write waits for it.
    fn strike_if_due(&mut self) {
        let State::Counting { left: 0, action } = &self.state else {
            return;
        };
        match action.clone() {
            Action::Stall => {}
            Action::Ignore => self.state = State::Ignoring,
            Action::Trickle { bytes, interval } => {
                let bytes = bytes.max(1);
                self.state = State::Trickling { bytes, interval };
            }
            Action::Close => {
                self.state = State::Over;
                self.inner.close();
            }
            Action::Reset => {
                self.state = State::Over;
                self.inner.socket().reset_on_close();
            }
            Action::Garbage(bytes) => {
                self.state = State::Swallowing;
                // An error means that the client has disconnected and needs no garbage.
                let _ = self.inner.write_all(&bytes);
            }
        }
    }

    fn pass(&mut self, buf: &[u8]) -> io::Result<usize> {
        // Counted first, and corrected later: a client that has received bytes must find them in the count.
        let sent = &self.traffic.sent;
        sent.fetch_add(buf.len() as u64, Ordering::Relaxed);
        let written = self.inner.write(buf);
        let unsent = buf.len() - written.as_ref().copied().unwrap_or(0);
        sent.fetch_sub(unsent as u64, Ordering::Relaxed);
        written
    }
}

impl<S: Transport> Read for FaultyStream<S> {
    fn read(&mut self, buf: &mut [u8]) -> io::Result<usize> {
        if matches!(self.state, State::Over) {
            return Err(over());
        }
        loop {
            let count = self.inner.read(buf)?;
            self.traffic
                .received
                .fetch_add(count as u64, Ordering::Relaxed);
            if count == 0 || !matches!(self.state, State::Ignoring) {
                return Ok(count);
            }
        }
    }
}

impl<S: Transport> Write for FaultyStream<S> {
    fn write(&mut self, buf: &[u8]) -> io::Result<usize> {
        match &self.state {
            State::Sound => self.pass(buf),
            State::Over => Err(over()),
            State::Swallowing | State::Ignoring => Ok(buf.len()),
            State::Trickling { bytes, interval } => {
                let bytes = (*bytes).min(buf.len());
                if self.stop.wait(*interval) {
                    return Err(over());
                }
                self.pass(&buf[..bytes])
            }
            // Only a stall can still be pending with no bytes left to pass.
            State::Counting { left: 0, .. } => {
                self.stop.wait_for_ever();
                Err(over())
            }
            State::Counting { left, .. } => {
                let allowed = usize::try_from(*left).map_or(buf.len(), |left| left.min(buf.len()));
                let count = self.pass(&buf[..allowed])?;
                if let State::Counting { left, .. } = &mut self.state {
                    *left -= count as u64;
                }
                self.strike_if_due();
                Ok(count)
            }
        }
    }

    fn flush(&mut self) -> io::Result<()> {
        self.inner.flush()
    }
}

impl<S: Transport> Transport for FaultyStream<S> {
    fn close(&mut self) {
        self.inner.close();
    }

    fn socket(&self) -> &Socket {
        self.inner.socket()
    }
}

fn over() -> io::Error {
    io::Error::new(ErrorKind::BrokenPipe, "the bench ended this connection")
}
