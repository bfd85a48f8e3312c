//! HTTP/1.1 as far as OCSP needs it: a request, read and kept as it came (RFC 9112).
//!
//! Answers are not made here: most of those that a test wants are wrong, and written by hand.

use crate::net::lock;
use std::io::{self, BufRead, ErrorKind, Read};
use std::sync::{Condvar, Mutex, PoisonError};
use std::time::{Duration, Instant};

/// A request as it came.
#[derive(Clone, Debug)]
pub struct Request {
    /// `GET`, `POST` or whatever else stood there.
    pub method: String,
    /// What stood between the method and the version: `/path`, or a whole URL if a proxy is asked.
    pub target: String,
    /// Names and values in their order; names as they were written.
    pub headers: Vec<(String, String)>,
    /// As many bytes as Content-Length said.
    pub body: Vec<u8>,
    /// When it had come as a whole.
    pub at: Instant,
}

impl Request {
    /// The value of the first header of that name, in whatever case.
    pub fn header(&self, name: &str) -> Option<&str> {
        let mut headers = self.headers.iter();
        headers
            .find(|(key, _)| key.eq_ignore_ascii_case(name))
            .map(|(_, value)| value.as_str())
    }

    /// Reads the next request; nothing, if the client sends no more.
    ///
    /// # Errors
    ///
    /// The system's, and `InvalidData` for what is no request.
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

/// A line without its end, which must be CRLF; nothing, if there is no byte more.
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

/// What has come so far, for tests to read and to wait for.
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

    /// Waits until there are so many; says whether there are.
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

/// How long a request line and its headers may be, together.
const HEAD_LIMIT: u64 = 64 * 1024;

/// How long a body may be.
const BODY_LIMIT: usize = 1024 * 1024;
