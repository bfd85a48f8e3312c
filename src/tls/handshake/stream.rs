//! The stream after the handshake.

use std::fmt;
use std::io::{self, Read, Write};

use openssl::ssl::{self, SslStream};

use super::context::TlsContext;
use super::diagnose;
use super::tap::{Tap, is_timeout};
use crate::cause::Cause;
use crate::ffi::fork::{self, Call};
use crate::ffi::openssl as ffi;
use crate::reason::certificate::ServerName;
use crate::reason::tls::TlsPhase;
use crate::tls::HandshakeReport;
use crate::tls::handshake::session::SessionCache;

/// A TLS connection whose peer is verified according to the options of its context.
///
/// Dropping it closes the socket without a close_notify; MongoDB's messages contain their own length, so that a
/// truncation is detected.
pub struct TlsStream<S> {
    stream: SslStream<Tap<S>>,
    report: HandshakeReport,
    context: TlsContext,
    name: ServerName,
    /// The server name under which accepted identities are recorded.
    server: String,
    /// True if the server has answered after the handshake.
    is_answered: bool,
    /// The number of forks of the process when the connection was made.
    forks: u64,
    /// Ends after the fields above are dropped.
    dropping: Option<Call>,
}

impl<S> TlsStream<S> {
    pub(crate) fn new(
        stream: SslStream<Tap<S>>,
        report: HandshakeReport,
        context: TlsContext,
        name: ServerName,
        server: String,
    ) -> Self {
        Self {
            stream,
            report,
            context,
            name,
            server,
            is_answered: false,
            forks: fork::count(),
            dropping: None,
        }
    }

    /// Records that the server has answered: it accepts the client's certificate, or its absence. Later ends of this
    /// connection, and of later ones of the same client, are not attributed to that.
    pub(crate) fn note_answer(&mut self) {
        self.is_answered = true;
        self.free_buffers();
        if self.report.client_certificate_requested() && !self.report.resumed() {
            let own = self.context.shared().loaded.own.as_ref();
            self.context.accepted().note(&self.server, own);
        }
    }

    /// Returns true if OpenSSL has read bytes from the stream under TLS that were not read from this one.
    pub(crate) fn has_pending(&self) -> bool {
        ffi::has_pending(self.stream.ssl())
    }

    /// Frees OpenSSL's record buffers until they are needed again. The next connection can use their memory.
    /// SSL_MODE_RELEASE_BUFFERS would do so after each read and write, which costs 8 % of a ping.
    pub(crate) fn free_buffers(&self) {
        let _call = fork::call();
        ffi::free_buffers(self.stream.ssl());
    }

    /// The facts of the handshake.
    ///
    /// ```no_run
    /// # let client = mongotls::tls::TlsContext::new(&mongotls::options::TlsOptions::builder().build()?)?;
    /// # let stream = std::net::TcpStream::connect("db.example.com:27017")?;
    /// # let stream = client.connect("db.example.com", stream)?;
    /// let report = stream.report();
    /// println!("{} {}", report.protocol(), report.cipher());
    /// for certificate in report.peer_chain() {
    ///     println!("{} until {:?}", certificate.subject, certificate.not_after);
    /// }
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
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

    /// Begins a call of OpenSSL. Fails in a forked child.
    fn call(&self) -> io::Result<Call> {
        fork::refuse_inherited(self.forks)?;
        Ok(fork::call())
    }

    /// Removes the sessions with this server, which did not answer the first message, so that the next handshake is a
    /// full one. A server may have ended the connection because of the client's certificate, which it does not request
    /// if a session is resumed.
    pub(crate) fn forget_sessions(&self) {
        let _call = fork::call();
        SessionCache::connection_failed(self.stream.ssl());
    }

    /// Returns whether the first read or write failed because the server answered a resumed session with an alert. In
    /// TLS 1.3 that may arrive after the handshake.
    pub(crate) fn is_session_refused(&self, error: &io::Error) -> bool {
        let inner = error.get_ref().and_then(|inner| inner.downcast_ref());
        self.report.resumed() && inner.is_some_and(diagnose::is_alert)
    }

    /// Returns the reason why the first read or write after the handshake failed, in terms of TLS: an alert, a close or
    /// a reset. Returns `None` for a timeout, which is the caller's own.
    ///
    /// In TLS 1.3 the server's rejection of the client's certificate, or of its absence, arrives only then. After the
    /// server has answered, an end of the connection has another reason.
    ///
    /// ```no_run
    /// use std::io::Read;
    /// use std::net::TcpStream;
    ///
    /// # let options = mongotls::options::TlsOptions::builder().ca_file("ca.pem").build()?;
    /// # let context = mongotls::tls::TlsContext::new(&options)?;
    /// let stream = TcpStream::connect("db.example.com:27017")?;
    /// let mut stream = context.connect("db.example.com", stream)?;
    /// if let Err(error) = stream.read(&mut [0; 16]) {
    ///     match stream.explain(&error) {
    ///         Some(cause) => println!("[{}] {}", cause.code(), cause.remedy()),
    ///         None => println!("{error}"),
    ///     }
    /// }
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    pub fn explain(&self, error: &io::Error) -> Option<Cause> {
        if is_timeout(error) {
            return None;
        }
        let _at_work = fork::at_work();
        let phase = match self.is_answered {
            true => TlsPhase::Answered,
            false => TlsPhase::Established,
        };
        let (ssl, tap) = (self.stream.ssl(), self.stream.get_ref());
        let context = &self.context;
        let peer = context.peer(&self.server, &self.name, ssl, tap, phase);
        let inner = error.get_ref().and_then(|inner| inner.downcast_ref());
        let reason = match inner {
            Some(error) => diagnose::failed_exchange(error, None, &peer),
            None if error.kind() == io::ErrorKind::UnexpectedEof => diagnose::closed(&peer),
            None => diagnose::socket_failed(error, &peer),
        };
        Some(self.context.with_changed_files(reason.into()))
    }
}

impl<S: Read + Write> TlsStream<S> {
    /// Informs the peer that no more data follows (close_notify, RFC 8446 §6.1), so that it can distinguish the end
    /// from a truncation. Does not wait for the peer's close_notify.
    ///
    /// # Errors
    /// The error of the stream under TLS.
    pub fn shutdown(&mut self) -> io::Result<()> {
        let _call = self.call()?;
        match self.stream.shutdown() {
            Ok(_) => Ok(()),
            Err(error) => Err(error.into_io_error().unwrap_or_else(io::Error::other)),
        }
    }
}

impl<S> Drop for TlsStream<S> {
    /// If a connection ends without close_notify, OpenSSL regards it as broken and its session as unusable for
    /// resumption. The connections that a pool closes are intact, so this marks them as such.
    fn drop(&mut self) {
        self.dropping = Some(fork::call());
        ffi::mark_shut_down(self.stream.ssl());
    }
}

impl<S: Read + Write> TlsStream<S> {
    /// Returns true if the peer has neither ended the connection nor sent data, on a stream under TLS that does not
    /// wait. Processes records without data, such as a session ticket.
    pub(crate) fn is_silent(&mut self) -> bool {
        let Ok(_call) = self.call() else {
            return false;
        };
        let read = self.stream.ssl_read(&mut [0]);
        let waits = read.is_err_and(|error| error.code() == ssl::ErrorCode::WANT_READ);
        self.stream.get_mut().take_failure();
        waits
    }

    /// The alert that the peer sent before it closed the connection, if any. A server that rejects the client's
    /// certificate in TLS 1.3 may close before the first write.
    fn pending_alert(&mut self, cut: &io::Error) -> Option<io::Error> {
        if !is_cut(cut) {
            return None;
        }
        let _call = fork::call();
        let error = self.stream.read(&mut [0]).err();
        self.stream.get_mut().take_failure();
        let error = error?;
        let inner = error.get_ref()?.downcast_ref::<ssl::Error>()?;
        diagnose::is_alert(inner).then_some(error)
    }
}

impl<S: Read + Write> Read for TlsStream<S> {
    fn read(&mut self, buf: &mut [u8]) -> io::Result<usize> {
        let call = self.call()?;
        let read = self.stream.read(buf);
        call.end(read.is_ok());
        self.stream.get_mut().explained(read)
    }
}

impl<S: Read + Write> Write for TlsStream<S> {
    fn write(&mut self, buf: &[u8]) -> io::Result<usize> {
        let call = self.call()?;
        let written = self.stream.write(buf);
        call.end(written.is_ok());
        let written = self.stream.get_mut().explained(written);
        written.map_err(|error| self.pending_alert(&error).unwrap_or(error))
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

/// Returns true if the peer closed the connection without a close_notify.
fn is_cut(error: &io::Error) -> bool {
    matches!(
        error.kind(),
        io::ErrorKind::ConnectionReset | io::ErrorKind::BrokenPipe
    )
}
