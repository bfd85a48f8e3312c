//! The stream after the handshake, and a look at the raw bytes under it.

use std::fmt;
use std::io::{self, Read, Write};

use openssl::ssl::{self, SslStream};

use super::{HandshakeReport, ServerName, TlsContext, diagnose, ffi};
use crate::cause::Cause;

/// A TLS connection whose peer is verified as the options of its context ask.
///
/// Dropping it closes the socket without a close_notify; MongoDB's messages carry their own length,
/// so that a cut is noticed.
pub struct TlsStream<S> {
    stream: SslStream<Tap<S>>,
    report: HandshakeReport,
    context: TlsContext,
    name: ServerName,
}

impl<S> TlsStream<S> {
    pub(super) fn new(
        stream: SslStream<Tap<S>>,
        report: HandshakeReport,
        context: TlsContext,
        name: ServerName,
    ) -> Self {
        Self {
            stream,
            report,
            context,
            name,
        }
    }

    /// The facts of the handshake.
    pub fn report(&self) -> &HandshakeReport {
        &self.report
    }

    /// The stream under TLS.
    pub fn get_ref(&self) -> &S {
        &self.stream.get_ref().inner
    }

    /// The stream under TLS. Reading from it or writing to it breaks the connection.
    pub fn get_mut(&mut self) -> &mut S {
        &mut self.stream.get_mut().inner
    }

    /// Why the first read or write after the handshake failed, in terms of TLS: an alert, a close or a
    /// reset; none for a time-out, which is the caller's own.
    ///
    /// In TLS 1.3 the server's refusal of the client's certificate, or of the lack of one, arrives only
    /// then. Once the server has answered, an end of the connection has nothing to do with it any more.
    pub fn explain(&self, error: &io::Error) -> Option<Cause> {
        if is_timeout(error) {
            return None;
        }
        let peer = self
            .context
            .peer(&self.name, self.stream.ssl(), self.stream.get_ref(), true);
        Some(
            match error
                .get_ref()
                .and_then(|inner| inner.downcast_ref::<ssl::Error>())
            {
                Some(error) => diagnose::failed_exchange(error, &peer),
                None if error.kind() == io::ErrorKind::UnexpectedEof => diagnose::closed(&peer),
                None => diagnose::socket_failed(error, &peer),
            },
        )
    }
}

impl<S: Read + Write> TlsStream<S> {
    /// Tells the peer that nothing more will be sent (close_notify, RFC 8446 §6.1), so that it can tell
    /// the end from a cut. Does not wait for the peer to do the same.
    ///
    /// # Errors
    /// What the stream under TLS says.
    pub fn shutdown(&mut self) -> io::Result<()> {
        match self.stream.shutdown() {
            Ok(_) => Ok(()),
            Err(error) => Err(error.into_io_error().unwrap_or_else(io::Error::other)),
        }
    }
}

impl<S> Drop for TlsStream<S> {
    /// OpenSSL takes a connection that goes away without close_notify for broken, and its session for
    /// unfit to be resumed. A pool closes connections that are sound, so it is told otherwise.
    fn drop(&mut self) {
        ffi::mark_shut_down(self.stream.ssl());
    }
}

impl<S: Read + Write> Read for TlsStream<S> {
    fn read(&mut self, buf: &mut [u8]) -> io::Result<usize> {
        self.stream.read(buf)
    }
}

impl<S: Read + Write> Write for TlsStream<S> {
    fn write(&mut self, buf: &[u8]) -> io::Result<usize> {
        self.stream.write(buf)
    }

    fn flush(&mut self) -> io::Result<()> {
        self.stream.flush()
    }
}

impl<S> fmt::Debug for TlsStream<S> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("TlsStream")
            .field("report", &self.report)
            .finish_non_exhaustive()
    }
}

/// Whether a stream gave up waiting. A blocking socket with a time-out reports `WouldBlock`.
pub(super) fn is_timeout(error: &io::Error) -> bool {
    matches!(
        error.kind(),
        io::ErrorKind::TimedOut | io::ErrorKind::WouldBlock
    )
}

/// Counts the bytes that come from the peer and keeps the first ones, so that a failure can tell what
/// the peer speaks if it is not TLS.
pub(super) struct Tap<S> {
    inner: S,
    head: [u8; 24],
    received: u64,
    wrote_last: bool,
}

impl<S> Tap<S> {
    pub(super) fn new(inner: S) -> Self {
        Self {
            inner,
            head: [0; 24],
            received: 0,
            wrote_last: false,
        }
    }

    /// The first bytes.
    pub(super) fn head(&self) -> &[u8] {
        let kept = usize::try_from(self.received)
            .unwrap_or(usize::MAX)
            .min(self.head.len());
        &self.head[..kept]
    }

    /// How many bytes there were.
    pub(super) fn received(&self) -> u64 {
        self.received
    }

    /// Whether something was sent since the last byte came in.
    pub(super) fn wrote_last(&self) -> bool {
        self.wrote_last
    }
}

impl<S: Read> Read for Tap<S> {
    fn read(&mut self, buf: &mut [u8]) -> io::Result<usize> {
        let n = self.inner.read(buf)?;
        let kept = self.head().len();
        if let Some(room) = self.head.get_mut(kept..).filter(|room| !room.is_empty()) {
            let first = n.min(room.len());
            room[..first].copy_from_slice(&buf[..first]);
        }
        self.received += n as u64;
        self.wrote_last &= n == 0;
        Ok(n)
    }
}

impl<S: Write> Write for Tap<S> {
    fn write(&mut self, buf: &[u8]) -> io::Result<usize> {
        self.wrote_last = true;
        self.inner.write(buf)
    }

    fn flush(&mut self) -> io::Result<()> {
        self.inner.flush()
    }
}
