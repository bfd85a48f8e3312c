//! HTTP/1.1 as far as OCSP needs it: reads a request and keeps it unchanged (RFC 9112).
//!
//! Answers are not made here: most of those that a test needs are wrong, and written by hand.

use crate::net::lock;
use std::io::{self, BufRead, ErrorKind, Read};
use std::sync::{Condvar, Mutex, PoisonError};
use std::time::{Duration, Instant};

/// A received request.
#[derive(Clone, Debug)]
pub struct Request {
    /// The method: `GET`, `POST` or any other text.
    pub method: String,
    /// The target: `/path`, or a whole URL in a request to a proxy.
    pub target: String,
    /// Names and values in their order, with the original spelling of the names.
    pub headers: Vec<(String, String)>,
    /// The body, with the length of Content-Length.
    pub body: Vec<u8>,
    /// The time at which it was complete.
    pub at: Instant,
}

impl Request {
    /// The value of the first header of that name, case-insensitively.
    pub fn header(&self, name: &str) -> Option<&str> {
        let mut headers = self.headers.iter();
        headers
            .find(|(key, _)| key.eq_ignore_ascii_case(name))
            .map(|(_, value)| value.as_str())
    }

    /// Reads the next request, or returns `None` if the client sends no more.
    ///
    /// # Errors
    ///
    /// The system's, and `InvalidData` for bytes that are not a request.
    pub(crate) fn read(from: &mut impl BufRead) -> io::Result<Option<Self>> {
        let mut head = from.take(HEAD_LIMIT);
        let Some(first) = line(&mut head)? else {
            return Ok(None);
        };
        let mut words = first.split(' ');
        let (Some(method), Some(target), Some(version), None) =
            (words.next(), words.next(), words.next(), words.next())
        else {
            return Err(invalid("a request line of three words"));
        };
        if !version.starts_with("HTTP/1.") {
            return Err(invalid("HTTP/1"));
        }
        let mut headers = Vec::new();
        loop {
            let line = line(&mut head)?.ok_or_else(|| invalid("the end of the header"))?;
            if line.is_empty() {
                break;
            }
            let (name, value) = line.split_once(':').ok_or_else(|| invalid("a colon"))?;
            headers.push((name.to_owned(), value.trim().to_owned()));
        }
        let mut request = Self {
            method: method.into(),
            target: target.into(),
            headers,
            body: Vec::new(),
            at: Instant::now(),
        };
        let length = request.header("Content-Length").unwrap_or("0");
        let length: usize = length.parse().map_err(|_| invalid("a length"))?;
        if length > BODY_LIMIT {
            return Err(invalid("a body of a sensible length"));
        }
        request.body.resize(length, 0);
        from.read_exact(&mut request.body)?;
        request.at = Instant::now();
        Ok(Some(request))
    }
}

/// Reads a line without its end, which must be CRLF; returns `None` at the end of the stream.
fn line(from: &mut impl BufRead) -> io::Result<Option<String>> {
    let mut line = String::new();
    if from.read_line(&mut line)? == 0 {
        return Ok(None);
    }
    match line.strip_suffix("\r\n") {
        Some(line) => Ok(Some(line.to_owned())),
        None => Err(invalid("a line that ends with CRLF")),
    }
}

fn invalid(lacking: &str) -> io::Error {
    io::Error::new(ErrorKind::InvalidData, format!("this lacks {lacking}"))
}

/// The received items, for tests to read and to wait for.
#[derive(Debug)]
pub(crate) struct Log<T> {
    list: Mutex<Vec<T>>,
    grown: Condvar,
}

impl<T: Clone> Log<T> {
    pub(crate) fn push(&self, one: T) {
        lock(&self.list).push(one);
        self.grown.notify_all();
    }

    pub(crate) fn list(&self) -> Vec<T> {
        lock(&self.list).clone()
    }

    pub(crate) fn count(&self) -> usize {
        lock(&self.list).len()
    }

    /// Waits until there are this many; returns true if there are.
    pub(crate) fn wait_for(&self, count: usize, limit: Duration) -> bool {
        let list = lock(&self.list);
        let (list, _) = self
            .grown
            .wait_timeout_while(list, limit, |list| list.len() < count)
            .unwrap_or_else(PoisonError::into_inner);
        list.len() >= count
    }
}

impl<T> Default for Log<T> {
    fn default() -> Self {
        Self {
            list: Mutex::default(),
            grown: Condvar::default(),
        }
    }
}

/// The maximum length of a request line and its headers together.
const HEAD_LIMIT: u64 = 64 * 1024;

/// The maximum length of a body.
const BODY_LIMIT: usize = 1024 * 1024;
