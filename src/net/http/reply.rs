//! Reading a reply, with a limit for each part (RFC 9112).

use std::io::{self, Read};

use zeroize::Zeroizing;

use crate::reason::http::{HttpFailure, HttpStep};
use crate::reason::io::OsError;

/// A reply.
#[derive(Debug)]
pub(crate) struct HttpReply {
    pub(crate) status: u16,
    pub(crate) location: Option<String>,
    pub(crate) body: Zeroizing<Vec<u8>>,
}

const LARGEST_HEAD: usize = 16 << 10;

/// Reads a head without a body: the reply to CONNECT. Returns the status, and true if no bytes follow yet.
pub(super) fn read_head(stream: &mut impl Read) -> Result<(u16, bool), HttpFailure> {
    let mut incoming = Incoming {
        stream,
        bytes: room(),
    };
    let (reply, _) = incoming.head()?;
    Ok((reply.status, incoming.bytes.is_empty()))
}

/// Allocates memory for a reply of the usual size. It rarely needs to grow, which would leave a copy behind.
fn room() -> Zeroizing<Vec<u8>> {
    Zeroizing::new(Vec::with_capacity(LARGEST_HEAD))
}

/// Reads a reply whose body has at most `largest` bytes.
pub(super) fn read_reply(stream: &mut impl Read, largest: usize) -> Result<HttpReply, HttpFailure> {
    let mut incoming = Incoming {
        stream,
        bytes: room(),
    };
    let (mut reply, framing) = incoming.head()?;
    let too_large = || HttpFailure::TooLarge(largest);
    reply.body = match framing {
        Framing::Length(length) if length > largest => return Err(too_large()),
        Framing::Length(length) => incoming.take(length)?.into(),
        Framing::Chunks => incoming.chunks(largest)?.into(),
        Framing::End => {
            while incoming.bytes.len() <= largest && incoming.more(HttpStep::Rest)? {}
            if incoming.bytes.len() > largest {
                return Err(too_large());
            }
            incoming.bytes
        }
    };
    Ok(reply)
}

/// The bytes that were read but not used yet.
struct Incoming<'a, R> {
    stream: &'a mut R,
    /// Zeroed when dropped: the replies of credential services are secrets.
    bytes: Zeroizing<Vec<u8>>,
}

impl<R: Read> Incoming<'_, R> {
    /// Reads more bytes; returns false at the end of the stream.
    fn more(&mut self, step: HttpStep) -> Result<bool, HttpFailure> {
        let mut piece = Zeroizing::new([0; 4096]);
        let read = self.stream.read(&mut piece[..]);
        let count = read.map_err(|error| io_failure(&error, step))?;
        self.bytes.extend_from_slice(&piece[..count]);
        Ok(count > 0)
    }

    /// Reads more bytes; the end of the stream is an error.
    fn need_more(&mut self) -> Result<(), HttpFailure> {
        match self.more(HttpStep::Rest)? {
            true => Ok(()),
            false => Err(HttpFailure::Closed { has_begun: true }),
        }
    }

    /// Reads the head of the final reply. Interim ones, such as 100 Continue, come before it.
    fn head(&mut self) -> Result<(HttpReply, Framing), HttpFailure> {
        loop {
            match parse_head(&self.bytes)? {
                Some((head, reply, framing)) => {
                    self.bytes.drain(..head);
                    if !(100..200).contains(&reply.status) {
                        return Ok((reply, framing));
                    }
                }
                None if self.bytes.len() > LARGEST_HEAD => {
                    return Err(HttpFailure::EndlessHead);
                }
                None if self.more(HttpStep::Answer)? => {}
                None => return Err(HttpFailure::Closed { has_begun: false }),
            }
        }
    }

    /// Reads exactly `length` bytes. The caller has checked that the number is small.
    fn take(&mut self, length: usize) -> Result<Vec<u8>, HttpFailure> {
        while self.bytes.len() < length {
            self.need_more()?;
        }
        Ok(self.bytes.drain(..length).collect())
    }

    /// Reads a body in chunks (RFC 9112 §7.1), which some servers send even to HTTP/1.0 clients.
    fn chunks(&mut self, largest: usize) -> Result<Vec<u8>, HttpFailure> {
        const LONGEST_LINE: usize = 1024;
        let faulty = || HttpFailure::InvalidChunk;
        let mut body = Vec::new();
        loop {
            let (line, size) = match httparse::parse_chunk_size(&self.bytes) {
                Ok(httparse::Status::Complete(found)) => found,
                Ok(httparse::Status::Partial) if self.bytes.len() <= LONGEST_LINE => {
                    self.need_more()?;
                    continue;
                }
                _ => return Err(faulty()),
            };
            self.bytes.drain(..line);
            if size == 0 {
                // Trailers may follow, but contain nothing that is used.
                return Ok(body);
            }
            let room = largest - body.len();
            let size = usize::try_from(size).ok().filter(|size| *size <= room);
            let Some(size) = size else {
                return Err(HttpFailure::TooLarge(largest));
            };
            body.extend(self.take(size)?);
            if self.take(2)? != b"\r\n" {
                return Err(faulty());
            }
        }
    }
}

/// The way in which the end of a body is marked (RFC 9112 §6.3).
#[derive(Debug)]
enum Framing {
    Length(usize),
    Chunks,
    /// By the end of the connection.
    End,
}

/// Parses the head of a reply, if it is complete: its length, its content, and the framing of the body.
fn parse_head(bytes: &[u8]) -> Result<Option<(usize, HttpReply, Framing)>, HttpFailure> {
    let mut headers = [httparse::EMPTY_HEADER; 64];
    let mut response = httparse::Response::new(&mut headers);
    let head = match response.parse(bytes) {
        Ok(httparse::Status::Complete(head)) => head,
        Ok(httparse::Status::Partial) => return Ok(None),
        Err(error) => return Err(HttpFailure::NotHttp(error.to_string())),
    };
    let header = |name: &str| {
        let mut found = response.headers.iter();
        let found = found.find(|header| header.name.eq_ignore_ascii_case(name))?;
        std::str::from_utf8(found.value).ok().map(str::trim)
    };
    let framing = match (header("transfer-encoding"), header("content-length")) {
        (Some(coding), _) if coding.eq_ignore_ascii_case("chunked") => Framing::Chunks,
        (Some(_), _) => return Err(HttpFailure::UnknownCoding),
        (None, Some(digits)) => {
            Framing::Length(digits.parse().map_err(|_| HttpFailure::InvalidLength)?)
        }
        (None, None) => Framing::End,
    };
    let reply = HttpReply {
        status: response.code.unwrap_or(0),
        location: header("location").map(str::to_owned),
        body: Zeroizing::default(),
    };
    Ok(Some((head, reply, framing)))
}

pub(super) fn io_failure(error: &io::Error, step: HttpStep) -> HttpFailure {
    HttpFailure::Io {
        step,
        error: OsError::from(error),
    }
}

#[cfg(test)]
mod tests {
    use std::io::Cursor;

    use super::*;

    #[test]
    fn replies_are_read_within_their_bounds() {
        let read = |text: &str| read_reply(&mut Cursor::new(text.as_bytes()), 10);
        let body = |text: &str| read(text).unwrap().body.to_vec();
        assert_eq!(body("HTTP/1.1 200 OK\r\n\r\nabc"), b"abc");
        assert_eq!(
            body("HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nabc"),
            b"ab"
        );
        assert_eq!(body("HTTP/1.0 200 OK\r\ncontent-length: 0\r\n\r\n"), b"");
        assert_eq!(
            body("HTTP/1.1 100 Continue\r\n\r\nHTTP/1.1 200 OK\r\n\r\nabc"),
            b"abc"
        );
        let chunked = "HTTP/1.1 200 OK\r\nTransfer-Encoding: Chunked\r\n\r\n";
        let chunks = "2;x=y\r\nab\r\n3\r\ncde\r\n0\r\nTrailer: z\r\n\r\n";
        assert_eq!(body(&format!("{chunked}{chunks}")), b"abcde");
        assert_eq!(body(&format!("{chunked}0\r\n\r\n")), b"");
        let redirect = read("HTTP/1.1 302 Found\r\nLocation: http://b/\r\n\r\n").unwrap();
        assert_eq!(
            (redirect.status, redirect.location.as_deref()),
            (302, Some("http://b/"))
        );
        for (text, reason) in [
            ("", "before its answer"),
            ("HTTP/1.1 200 OK\r\nX: y", "before its answer"),
            ("SSH-2.0-x\r\n", "does not speak HTTP"),
            ("HTTP/1.1 200 OK\r\n\r\n0123456789x", "more than 10 bytes"),
            (
                "HTTP/1.1 200 OK\r\nContent-Length: 11\r\n\r\n",
                "more than 10 bytes",
            ),
            (
                "HTTP/1.1 200 OK\r\nContent-Length: 4\r\n\r\nabc",
                "in the middle",
            ),
            ("HTTP/1.1 200 OK\r\nContent-Length: -1\r\n\r\n", "no number"),
            (
                "HTTP/1.1 200 OK\r\nTransfer-Encoding: gzip\r\n\r\n",
                "not known",
            ),
            (
                "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\nb\r\n01234567890\r\n0\r\n",
                "more than 10",
            ),
            (
                "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n8\r\n01234567\r\n3\r\n",
                "more than 10",
            ),
            (
                "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\nfffffffffffffff\r\n",
                "more than 10",
            ),
            (
                "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n2\r\nabc\r\n",
                "cannot be read",
            ),
            (
                "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\nxyz\r\n",
                "cannot be read",
            ),
            (
                "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n2\r\nab\r\n",
                "in the middle",
            ),
            ("HTTP/1.1 100 Continue\r\n\r\n", "before its answer"),
        ] {
            let error = read(text).unwrap_err().to_string();
            assert!(error.contains(reason), "{text:?}: {error}");
        }
        let endless = format!("HTTP/1.1 200 OK\r\nX: {}", "y".repeat(LARGEST_HEAD));
        assert_eq!(read(&endless).unwrap_err(), HttpFailure::EndlessHead);
    }
}
