//! One HTTP exchange within a deadline: enough to ask an OCSP responder (RFC 9110, RFC 9112).
//!
//! A request is one write, as HTTP/1.0, so that no server need answer in chunks or keep the connection. A
//! reply is bounded: 16 KiB of headers, and a body of the caller's size. There is no TLS here: what an OCSP
//! responder says is signed, and to verify the responder's own certificate would need another responder.

mod proxy;
mod reply;
mod url;

use std::env;
use std::fmt;
use std::io::Write;

use self::proxy::Proxy;
pub(crate) use self::reply::Reply;
use self::reply::{broken, read_reply};
pub(crate) use self::url::Url;
use super::{Unreachable, connect, resolve};
use crate::time::Deadline;

/// What to send.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Method<'a> {
    Get,
    /// A body, and its type.
    Post(&'a [u8], &'static str),
}

/// Why nothing usable came back, in words that complete "the responder …".
#[derive(Debug)]
pub(crate) struct HttpError(pub(crate) String);

impl fmt::Display for HttpError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

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

#[cfg(test)]
mod tests {
    use super::*;

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
}
