//! The raw stream under TLS, which records what passes.

use std::io::{self, Read, Write};

use crate::ffi::fork;
use crate::sniff;

/// Counts the bytes from the peer and keeps the first ones, so that an error can name the peer's protocol if it is not
/// TLS. Also keeps an error of the stream under TLS, because OpenSSL 3.2 and later lose it.
pub(crate) struct Tap<S> {
    pub(super) inner: S,
    head: [u8; 24],
    received: u64,
    wrote_last: bool,
    failure: Option<io::Error>,
}

impl<S> Tap<S> {
    pub(crate) fn new(inner: S) -> Self {
        Self {
            inner,
            head: [0; 24],
            received: 0,
            wrote_last: false,
            failure: None,
        }
    }

    /// The first bytes.
    pub(crate) fn head(&self) -> &[u8] {
        let kept = usize::try_from(self.received)
            .unwrap_or(usize::MAX)
            .min(self.head.len());
        &self.head[..kept]
    }

    /// The number of bytes.
    pub(crate) fn received(&self) -> u64 {
        self.received
    }

    /// Returns true if data was sent after the last byte was received.
    pub(crate) fn was_write_last(&self) -> bool {
        self.wrote_last
    }

    /// The error of the stream since the last call, if any.
    pub(crate) fn take_failure(&mut self) -> Option<io::Error> {
        self.failure.take()
    }

    /// Returns OpenSSL's result of a call, or the error of the stream if there was one.
    pub(super) fn explained(&mut self, outcome: io::Result<usize>) -> io::Result<usize> {
        match (outcome, self.failure.take()) {
            (Ok(0) | Err(_), Some(failure)) => Err(failure),
            (outcome, _) => outcome,
        }
    }

    fn keep<T>(&mut self, outcome: io::Result<T>) -> io::Result<T> {
        outcome.inspect_err(|error| {
            self.failure = Some(match error.raw_os_error() {
                Some(code) => io::Error::from_raw_os_error(code),
                None => io::Error::new(error.kind(), error.to_string()),
            });
        })
    }
}

impl<S: Read> Tap<S> {
    /// Reads once more if there are too few bytes to identify the protocol: OpenSSL 3.2 and later read only the five
    /// bytes of a record's header.
    pub(crate) fn recheck_readable(&mut self) {
        const RECORD_HEADER: usize = 5;
        if self.received == RECORD_HEADER as u64 && !sniff::is_tls_record(self.head()) {
            let mut more = [0; 24 - RECORD_HEADER];
            // A failure adds no information.
            let _ = self.read(&mut more);
        }
    }
}

impl<S: Read> Read for Tap<S> {
    fn read(&mut self, buf: &mut [u8]) -> io::Result<usize> {
        let read = fork::outside(|| self.inner.read(buf));
        let n = self.keep(read)?;
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
        let written = fork::outside(|| self.inner.write(buf));
        self.keep(written)
    }

    fn flush(&mut self) -> io::Result<()> {
        fork::outside(|| self.inner.flush())
    }
}

/// Returns true if the wait of a stream has timed out. A blocking socket with a timeout reports `WouldBlock`.
pub(crate) fn is_timeout(error: &io::Error) -> bool {
    matches!(
        error.kind(),
        io::ErrorKind::TimedOut | io::ErrorKind::WouldBlock
    )
}
