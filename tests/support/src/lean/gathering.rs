//! A socket that is read and written in large pieces, under OpenSSL, which would do so in small ones.
//!
//! OpenSSL reads a record as five bytes and the rest, and writes each record by itself.

use crate::net::Socket;
use std::io::{self, Read, Write};

/// The socket, with the bytes that were read but not consumed yet, and those that are not written yet.
#[derive(Debug)]
pub(super) struct Gathering {
    socket: Socket,
    read: Vec<u8>,
    /// The consumed part of `read`, and its length.
    taken: usize,
    filled: usize,
    written: Vec<u8>,
}

impl Gathering {
    pub(super) fn new(socket: Socket) -> Self {
        Self {
            socket,
            read: vec![0; READ],
            taken: 0,
            filled: 0,
            written: Vec::new(),
        }
    }
}

impl Read for Gathering {
    fn read(&mut self, buf: &mut [u8]) -> io::Result<usize> {
        if self.taken == self.filled {
            self.taken = 0;
            self.filled = self.socket.read(&mut self.read)?;
        }
        let mut rest = &self.read[self.taken..self.filled];
        let count = rest.read(buf)?;
        self.taken += count;
        Ok(count)
    }
}

impl Write for Gathering {
    fn write(&mut self, buf: &[u8]) -> io::Result<usize> {
        self.written.extend_from_slice(buf);
        if self.written.len() > WRITE {
            self.flush()?;
        }
        Ok(buf.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        self.socket.write_all(&self.written)?;
        self.written.clear();
        Ok(())
    }
}

/// The maximum that one call reads.
const READ: usize = 64 << 10;

/// The size above which the bytes are written.
const WRITE: usize = 256 << 10;
