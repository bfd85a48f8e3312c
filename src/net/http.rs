//! One HTTP exchange within a deadline: enough to ask an OCSP responder (RFC 9110, RFC 9112).
//!
//! A request is one write, as HTTP/1.0, so that no server need answer in chunks or keep the connection. A
//! reply is bounded: 16 KiB of headers, and a body of the caller's size. There is no TLS here: what an OCSP
//! responder says is signed, and to verify the responder's own certificate would need another responder.

use std::env;
use std::fmt;
use std::io::{Read, Write};

use super::{Unreachable, connect, resolve};
use crate::time::Deadline;

/// An `http` URL, taken apart.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Url {
    host: String,
    port: u16,
    /// Path and query, beginning with a slash.
    target: String,
}

impl Url {
    /// Reads an absolute URL. Only `http` will do, without a user and without white space.
    pub(crate) fn parse(text: &str) -> Result<Self, &'static str> {
        let is_http = text
            .get(..7)
            .is_some_and(|scheme| scheme.eq_ignore_ascii_case("http://"));
        if !is_http {
            return Err("only http URLs are asked");
        }
        if !text.bytes().all(|byte| byte.is_ascii_graphic()) {
            return Err("it holds a character that a URL cannot hold");
        }
        let rest = &text[7..];
        let end = rest.find(['/', '?', '#']).unwrap_or(rest.len());
        let (authority, target) = rest.split_at(end);
        let (host, port) = host_and_port(authority, 80)?;
        let target = target.split('#').next().unwrap_or_default();
        let slash = if target.starts_with('/') { "" } else { "/" };
        Ok(Self {
            host,
            port,
            target: format!("{slash}{target}"),
        })
    }

    /// The URL that `location`, absolute or only a path, leads to from here (RFC 9110 §10.2.2).
    pub(crate) fn join(&self, location: &str) -> Result<Self, &'static str> {
        match location.starts_with('/') && !location.starts_with("//") {
            true => Self::parse(&format!("http://{}{location}", self.authority())),
            false => Self::parse(location),
        }
    }

    /// The same with more of a path, which is escaped already.
    pub(crate) fn with_segment(&self, segment: &str) -> Self {
        let slash = if self.target.ends_with('/') { "" } else { "/" };
        Self {
            target: format!("{}{slash}{segment}", self.target),
            ..self.clone()
        }
    }

    /// Host and port, as a `Host` header has them.
    fn authority(&self) -> String {
        let host = match self.host.contains(':') {
            true => format!("[{}]", self.host),
            false => self.host.clone(),
        };
        match self.port {
            80 => host,
            port => format!("{host}:{port}"),
        }
    }
}

impl fmt::Display for Url {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "http://{}{}", self.authority(), self.target)
    }
}

fn host_and_port(authority: &str, default: u16) -> Result<(String, u16), &'static str> {
    if authority.contains('@') {
        return Err("it holds a user");
    }
    let (host, port) = match authority.strip_prefix('[') {
        Some(rest) => rest.split_once(']').ok_or("its IPv6 address has no end")?,
        None => authority.split_at(authority.find(':').unwrap_or(authority.len())),
    };
    let port = match port.strip_prefix(':') {
        Some(digits) if !digits.is_empty() => {
            digits.parse().map_err(|_| "its port is no number")?
        }
        Some(_) => default,
        None if port.is_empty() => default,
        None => return Err("its host cannot be read"),
    };
    if host.is_empty() || port == 0 {
        return Err("it names no host");
    }
    Ok((host.to_owned(), port))
}

/// What to send.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Method<'a> {
    Get,
    /// A body, and its type.
    Post(&'a [u8], &'static str),
}

/// What came back.
#[derive(Debug)]
pub(crate) struct Reply {
    pub(crate) status: u16,
    pub(crate) location: Option<String>,
    pub(crate) body: Vec<u8>,
}

/// Why nothing usable came back, in words that complete "the responder …".
#[derive(Debug)]
pub(crate) struct HttpError(pub(crate) String);

impl fmt::Display for HttpError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

const LARGEST_HEAD: usize = 16 << 10;

/// Sends one request and reads the reply, of which the body may have `largest` bytes.
pub(crate) fn exchange(
    url: &Url,
    method: Method<'_>,
    largest: usize,
    deadline: &Deadline,
) -> Result<Reply, HttpError> {
    let proxy = Proxy::for_host(&url.host, |name| env::var(name).ok());
    let (host, port) = match &proxy {
        Some(proxy) => (proxy.host.as_str(), proxy.port),
        None => (url.host.as_str(), url.port),
    };
    let unreachable = |Unreachable { cause, .. }: Unreachable| {
        let way = if proxy.is_some() { " by its proxy" } else { "" };
        HttpError(format!("cannot be reached{way}: {}", cause.message()))
    };
    let addresses = resolve(host, port, deadline).map_err(unreachable)?;
    let mut socket = connect(&addresses, deadline).map_err(unreachable)?;
    socket.set_deadline(Some(*deadline));
    socket
        .write_all(&request(url, method, proxy.as_ref()))
        .map_err(|error| broken(&error, "took no request"))?;
    read_reply(&mut socket, largest)
}

fn request(url: &Url, method: Method<'_>, proxy: Option<&Proxy>) -> Vec<u8> {
    let target = match proxy {
        Some(_) => url.to_string(),
        None => url.target.clone(),
    };
    let name = match method {
        Method::Get => "GET",
        Method::Post(..) => "POST",
    };
    let mut head = format!(
        "{name} {target} HTTP/1.0\r\nHost: {}\r\nUser-Agent: mongotls/{}\r\nAccept: */*\r\nConnection: close\r\n",
        url.authority(),
        env!("CARGO_PKG_VERSION")
    );
    if let Some(credential) = proxy.and_then(|proxy| proxy.credential.as_ref()) {
        head += &format!("Proxy-Authorization: Basic {credential}\r\n");
    }
    let body = match method {
        Method::Get => &[],
        Method::Post(body, content_type) => {
            head += &format!(
                "Content-Type: {content_type}\r\nContent-Length: {}\r\n",
                body.len()
            );
            body
        }
    };
    [head.as_bytes(), b"\r\n", body].concat()
}

fn read_reply(stream: &mut impl Read, largest: usize) -> Result<Reply, HttpError> {
    let mut incoming = Incoming {
        stream,
        bytes: Vec::new(),
    };
    let (mut reply, framing) = loop {
        match parse_head(&incoming.bytes)? {
            // An interim answer, such as 100 Continue: the final one follows.
            Some((head, reply, _)) if (100..200).contains(&reply.status) => {
                incoming.bytes.drain(..head);
            }
            Some((head, reply, framing)) => {
                incoming.bytes.drain(..head);
                break (reply, framing);
            }
            None if incoming.bytes.len() > LARGEST_HEAD => {
                return Err(HttpError("sent headers without an end".into()));
            }
            None if incoming.more("did not answer")? => {}
            None => return Err(HttpError("ended the connection before its answer".into())),
        }
    };
    let too_large = || HttpError(format!("answered with more than {largest} bytes"));
    reply.body = match framing {
        Framing::Length(length) if length > largest => return Err(too_large()),
        Framing::Length(length) => incoming.take(length)?,
        Framing::Chunks => incoming.chunks(largest)?,
        Framing::End => {
            while incoming.bytes.len() <= largest && incoming.more(MIDDLE)? {}
            if incoming.bytes.len() > largest {
                return Err(too_large());
            }
            incoming.bytes
        }
    };
    Ok(reply)
}

const MIDDLE: &str = "stopped in the middle of its answer";

/// What has come and was not used yet.
struct Incoming<'a, R> {
    stream: &'a mut R,
    bytes: Vec<u8>,
}

impl<R: Read> Incoming<'_, R> {
    /// Reads some more; false at the end. `what` tells what a failure means.
    fn more(&mut self, what: &str) -> Result<bool, HttpError> {
        let mut piece = [0; 4096];
        let read = self.stream.read(&mut piece);
        let count = read.map_err(|error| broken(&error, what))?;
        self.bytes.extend_from_slice(&piece[..count]);
        Ok(count > 0)
    }

    /// Reads some more, which must come.
    fn need_more(&mut self) -> Result<(), HttpError> {
        match self.more(MIDDLE)? {
            true => Ok(()),
            false => Err(HttpError(
                "ended the connection in the middle of its answer".into(),
            )),
        }
    }

    /// Exactly so many bytes, which the caller has found to be few.
    fn take(&mut self, length: usize) -> Result<Vec<u8>, HttpError> {
        while self.bytes.len() < length {
            self.need_more()?;
        }
        Ok(self.bytes.drain(..length).collect())
    }

    /// A body in chunks (RFC 9112 §7.1), which some servers send whoever asks.
    fn chunks(&mut self, largest: usize) -> Result<Vec<u8>, HttpError> {
        const LONGEST_LINE: usize = 1024;
        let faulty = || HttpError("sent a chunk that cannot be read".into());
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
                // What may follow, trailers, tells nothing that is looked at.
                return Ok(body);
            }
            let room = largest - body.len();
            let size = usize::try_from(size).ok().filter(|size| *size <= room);
            let Some(size) = size else {
                return Err(HttpError(format!(
                    "answered with more than {largest} bytes"
                )));
            };
            body.extend(self.take(size)?);
            if self.take(2)? != b"\r\n" {
                return Err(faulty());
            }
        }
    }
}

/// How the end of a body is told (RFC 9112 §6.3).
#[derive(Debug)]
enum Framing {
    Length(usize),
    Chunks,
    /// With the end of the connection.
    End,
}

/// The head of a reply, if it is all there: how long it is, what it says, and how its body ends.
fn parse_head(bytes: &[u8]) -> Result<Option<(usize, Reply, Framing)>, HttpError> {
    let mut headers = [httparse::EMPTY_HEADER; 64];
    let mut response = httparse::Response::new(&mut headers);
    let head = match response.parse(bytes) {
        Ok(httparse::Status::Complete(head)) => head,
        Ok(httparse::Status::Partial) => return Ok(None),
        Err(error) => return Err(HttpError(format!("does not speak HTTP: {error}"))),
    };
    let header = |name: &str| {
        let mut found = response.headers.iter();
        let found = found.find(|header| header.name.eq_ignore_ascii_case(name))?;
        std::str::from_utf8(found.value).ok().map(str::trim)
    };
    let framing = match (header("transfer-encoding"), header("content-length")) {
        (Some(coding), _) if coding.eq_ignore_ascii_case("chunked") => Framing::Chunks,
        (Some(_), _) => return Err(HttpError("answers in a coding that is not known".into())),
        (None, Some(digits)) => Framing::Length(
            digits
                .parse()
                .map_err(|_| HttpError("sent a Content-Length that is no number".into()))?,
        ),
        (None, None) => Framing::End,
    };
    let reply = Reply {
        status: response.code.unwrap_or(0),
        location: header("location").map(str::to_owned),
        body: Vec::new(),
    };
    Ok(Some((head, reply, framing)))
}

fn broken(error: &std::io::Error, what: &str) -> HttpError {
    HttpError(match error.kind() {
        std::io::ErrorKind::TimedOut => format!("{what} in time"),
        _ => format!("{what}: {error}"),
    })
}

/// The proxy that the environment names for `http` (`http_proxy`, `all_proxy`, `no_proxy`).
#[derive(Clone, PartialEq, Eq)]
struct Proxy {
    host: String,
    port: u16,
    /// User and password as Basic authentication has them (RFC 7617).
    credential: Option<String>,
}

impl Proxy {
    /// The proxy for a host. `HTTP_PROXY` in upper case is not looked at: in a CGI program whoever sends a
    /// request sets it.
    fn for_host(host: &str, variable: impl Fn(&str) -> Option<String>) -> Option<Self> {
        let of_any = |names: &[&str]| {
            let mut values = names.iter().filter_map(|name| variable(name));
            values.find(|value| !value.is_empty())
        };
        let exempt = of_any(&["no_proxy", "NO_PROXY"]).unwrap_or_default();
        if exempt.split(',').any(|entry| covers(entry.trim(), host)) {
            return None;
        }
        Self::parse(&of_any(&["http_proxy", "all_proxy", "ALL_PROXY"])?)
    }

    fn parse(text: &str) -> Option<Self> {
        let rest = match text.split_once("://") {
            Some((scheme, rest)) if scheme.eq_ignore_ascii_case("http") => rest,
            // Another kind of proxy is none for us.
            Some(_) => return None,
            None => text,
        };
        let authority = rest.split(['/', '?', '#']).next()?;
        let (user, authority) = match authority.rsplit_once('@') {
            Some((user, authority)) => (Some(user), authority),
            None => (None, authority),
        };
        let (host, port) = host_and_port(authority, 80).ok()?;
        let credential = user.map(|user| {
            let decoded: Vec<u8> = percent_encoding::percent_decode_str(user).collect();
            openssl::base64::encode_block(&decoded)
        });
        Some(Self {
            host,
            port,
            credential,
        })
    }
}

/// Whether an entry of `no_proxy` is for a host: it is the host, a domain above it, or `*`.
fn covers(entry: &str, host: &str) -> bool {
    let domain = entry
        .trim_start_matches('*')
        .trim_start_matches('.')
        .to_ascii_lowercase();
    let host = host.to_ascii_lowercase();
    entry == "*"
        || (!domain.is_empty() && (host == domain || host.ends_with(&format!(".{domain}"))))
}

#[cfg(test)]
mod tests {
    use std::io::Cursor;

    use super::*;

    #[test]
    fn urls_are_taken_apart_and_put_together() {
        let cases = [
            ("http://ocsp.example", "http://ocsp.example/"),
            (
                "HTTP://ocsp.example:80/a?b=c#d",
                "http://ocsp.example/a?b=c",
            ),
            ("http://ocsp.example:8080?x", "http://ocsp.example:8080/?x"),
            ("http://[::1]:88/p/", "http://[::1]:88/p/"),
            ("http://127.0.0.1:", "http://127.0.0.1/"),
        ];
        for (text, expected) in cases {
            assert_eq!(Url::parse(text).unwrap().to_string(), expected);
        }
        for wrong in [
            "",
            "https://a/",
            "ldap://a/",
            "http://",
            "http:///p",
            "http://:80/",
            "http://a:0/",
            "http://a:99999/",
            "http://u@a/",
            "http://u:p@a/",
            "http://[::1/",
            "http://[::1]x/",
            "http://a b/",
            "http://a/\r\nX: y",
            "http://é/",
            "httpx",
        ] {
            assert!(Url::parse(wrong).is_err(), "{wrong:?}");
        }
        let url = Url::parse("http://a:81/x").unwrap();
        assert_eq!(url.with_segment("MD%2B").to_string(), "http://a:81/x/MD%2B");
        assert_eq!(url.join("/y").unwrap().to_string(), "http://a:81/y");
        assert_eq!(url.join("http://b/").unwrap().to_string(), "http://b/");
        for wrong in ["https://a/", "//b/", "y", ""] {
            assert!(url.join(wrong).is_err(), "{wrong:?}");
        }
    }

    #[test]
    fn requests_are_those_of_http_1_0() {
        let url = Url::parse("http://a:81/x").unwrap();
        let text = |method, proxy: Option<&Proxy>| {
            String::from_utf8(request(&url, method, proxy)).unwrap()
        };
        let get = text(Method::Get, None);
        assert!(
            get.starts_with("GET /x HTTP/1.0\r\nHost: a:81\r\n"),
            "{get}"
        );
        assert!(get.ends_with("\r\n\r\n"));
        let post = text(Method::Post(b"body", "application/x"), None);
        assert!(post.contains("\r\nContent-Type: application/x\r\nContent-Length: 4\r\n"));
        assert!(post.ends_with("\r\n\r\nbody"));
        let proxy = Proxy::parse("http://u%40x:p@proxy:3128").unwrap();
        let by_proxy = text(Method::Get, Some(&proxy));
        assert!(by_proxy.starts_with("GET http://a:81/x HTTP/1.0\r\nHost: a:81\r\n"));
        // u@x:p
        assert!(
            by_proxy.contains("\r\nProxy-Authorization: Basic dUB4OnA=\r\n"),
            "{by_proxy}"
        );
    }

    #[test]
    fn replies_are_read_within_their_bounds() {
        let read = |text: &str| read_reply(&mut Cursor::new(text.as_bytes()), 10);
        let body = |text: &str| read(text).unwrap().body;
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
        assert!(read(&endless).unwrap_err().0.contains("without an end"));
    }

    #[test]
    fn the_proxy_is_the_one_that_the_environment_names() {
        let proxy = |variables: &[(&str, &str)]| {
            let variable = |name: &str| {
                let mut found = variables.iter().filter(|(key, _)| *key == name);
                found.next().map(|(_, value)| (*value).to_owned())
            };
            let proxy = Proxy::for_host("ocsp.example", variable);
            proxy.map(|proxy| format!("{}:{}", proxy.host, proxy.port))
        };
        let some = |text: &str| Some(text.to_owned());
        assert_eq!(proxy(&[]), None);
        assert_eq!(proxy(&[("http_proxy", "http://p:3128/")]), some("p:3128"));
        assert_eq!(proxy(&[("http_proxy", "p")]), some("p:80"));
        assert_eq!(proxy(&[("HTTP_PROXY", "http://p:3128")]), None);
        assert_eq!(proxy(&[("https_proxy", "http://p:3128")]), None);
        assert_eq!(proxy(&[("ALL_PROXY", "http://p:1")]), some("p:1"));
        assert_eq!(
            proxy(&[("http_proxy", ""), ("all_proxy", "http://p:1")]),
            some("p:1")
        );
        assert_eq!(proxy(&[("all_proxy", "socks5://p:1")]), None);
        for (exempt, expected) in [
            ("*", None),
            ("ocsp.example", None),
            ("x, EXAMPLE", None),
            (".example", None),
            ("*.example", None),
            ("csp.example", some("p:80")),
            ("", some("p:80")),
            (",", some("p:80")),
        ] {
            assert_eq!(
                proxy(&[("http_proxy", "p"), ("no_proxy", exempt)]),
                expected,
                "{exempt:?}"
            );
        }
    }
}
