//! What can go wrong with the bytes that a server sends, at any byte.
//!
//! A [`Fault`] lets so many bytes pass and then does something else: nothing more, an end, a reset, a
//! trickle, garbage. It applies to one of two layers: [`Layer::Tcp`] counts the bytes on the wire, so
//! under TLS it strikes inside the handshake or inside a record; [`Layer::Message`] counts the bytes
//! of replies, so under TLS all it does is properly encrypted, and its end is a `close_notify`.
//!
//! [`FaultyStream`] is the wrapper that does it, [`FaultPlan`] says which connections it befalls. The
//! thread that serves the connection runs it all; waits end with the server's [`Stop`].

use crate::net::{Socket, Stop, lock};
use openssl::ssl::SslStream;
use std::io::{self, ErrorKind, Read, Write};
use std::net::Shutdown;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;

/// What happens once the bytes of a [`Fault`] have passed.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Action {
    /// Sends nothing more and keeps the connection open.
    Stall,
    /// Takes what comes for nothing, whatever it is, and sends nothing more.
    Ignore,
    /// Ends the connection in order: FIN, and above TLS `close_notify` first.
    Close,
    /// Ends it with RST. A Unix socket knows none and just closes.
    Reset,
    /// Goes on with `bytes` at a time and a pause of `interval` before each.
    Trickle {
        /// How many bytes at a time.
        bytes: usize,
        /// The pause before each.
        interval: Duration,
    },
    /// Sends these bytes instead of all that would follow, and keeps the connection open.
    Garbage(Vec<u8>),
}

/// Which bytes are counted and cut.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Layer {
    /// The bytes on the wire: records and handshake where there is TLS.
    #[default]
    Tcp,
    /// The bytes of the messages, above TLS where there is TLS.
    Message,
}

/// So many bytes pass, then something else happens.
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
    /// Which bytes are counted.
    pub layer: Layer,
    /// How many bytes pass unharmed; with 0 the action happens before the first.
    pub after: u64,
    /// What happens then.
    pub action: Action,
}

impl Fault {
    /// A fault on the wire after so many bytes.
    pub fn new(after: u64, action: Action) -> Self {
        Self {
            layer: Layer::Tcp,
            after,
            action,
        }
    }

    /// Nothing more after so many bytes.
    pub fn stall_after(after: u64) -> Self {
        Self::new(after, Action::Stall)
    }

    /// Deaf and mute after so many bytes.
    pub fn ignore_after(after: u64) -> Self {
        Self::new(after, Action::Ignore)
    }

    /// An orderly end after so many bytes.
    pub fn close_after(after: u64) -> Self {
        Self::new(after, Action::Close)
    }

    /// A reset after so many bytes.
    pub fn reset_after(after: u64) -> Self {
        Self::new(after, Action::Reset)
    }

    /// A trickle after so many bytes.
    pub fn trickle_after(after: u64, bytes: usize, interval: Duration) -> Self {
        Self::new(after, Action::Trickle { bytes, interval })
    }

    /// Garbage after so many bytes.
    pub fn garbage_after(after: u64, garbage: impl Into<Vec<u8>>) -> Self {
        Self::new(after, Action::Garbage(garbage.into()))
    }

    /// Moves it to another layer.
    pub fn on(mut self, layer: Layer) -> Self {
        self.layer = layer;
        self
    }
}

/// Which of the coming connections get a fault.
#[derive(Debug, Default)]
pub struct FaultPlan(Mutex<Vec<(Fault, Option<usize>)>>);

impl FaultPlan {
    /// For every connection from now on.
    pub fn all(&self, fault: Fault) {
        lock(&self.0).push((fault, None));
    }

    /// For the next `count` connections that have no earlier fault on the same layer.
    pub fn next(&self, count: usize, fault: Fault) {
        lock(&self.0).push((fault, Some(count)));
    }

    /// For none any more.
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
    /// Ends it in order, as the layer does: FIN, or `close_notify` and FIN.
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
        // An error means that the other side has gone already.
        let _ = self.shutdown();
        self.get_mut().close();
    }

    fn socket(&self) -> &Socket {
        self.get_ref().socket()
    }
}

/// How many bytes passed, over all connections.
#[derive(Debug, Default)]
pub struct Traffic {
    /// To the client.
    pub sent: AtomicU64,
    /// From the client.
    pub received: AtomicU64,
}

/// A stream that does to what is written what its [`Fault`] says.
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

    /// Adds what passes to `traffic`.
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

    /// Does what is due now that the bytes have passed; what only shows at the next write waits for it.
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
                // An error means that the client has gone: it needs no garbage.
                let _ = self.inner.write_all(&bytes);
            }
        }
    }

    fn pass(&mut self, buf: &[u8]) -> io::Result<usize> {
        // Counted first, and corrected: who has received bytes must find them in the count.
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
            // Only a stall can still be waiting with nothing left to pass.
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
