//! One HTTP exchange within a deadline, with OCSP responders and the credential services of clouds (RFC 9110, RFC
//! 9112).
//!
//! A request is one write, and the connection ends with the reply. A reply is bounded: 16 KiB of headers, and a body of
//! at most the caller's size. `http` has only [`exchange`]: it is for OCSP responders, whose responses are signed, and
//! link-local endpoints, which no certificate can name. For `https`, [`open`] opens the socket, the TLS layer wraps it,
//! and [`exchange_over`] runs the exchange over that.

mod proxy;
mod reply;
mod request;
mod url;

use std::env;
use std::io::{Read, Write};

use zeroize::Zeroizing;

use self::proxy::Proxy;
pub(crate) use self::reply::HttpReply;
use self::reply::{io_failure, read_head, read_reply};
pub(crate) use self::request::{HttpRequest, Method, ProxyPolicy};
pub(crate) use self::url::Url;
use super::{Unreachable, connect, resolve};
use crate::reason::http::{HttpFailure, HttpStep};
use crate::socket::Socket;
use crate::time::Deadline;

/// Sends one request by `http` and reads the reply.
pub(crate) fn exchange(
    request: &HttpRequest<'_>,
    deadline: &Deadline,
) -> Result<HttpReply, HttpFailure> {
    let proxy = Proxy::for_request(request, |name| env::var(name).ok());
    let mut socket = dial(request.url, proxy.as_ref(), deadline)?;
    run(&mut socket, request, proxy.as_ref())
}

/// Opens a connection to the server of an `https` URL, via the proxy if there is one (RFC 9110 §9.3.6). The caller
/// starts TLS on it.
pub(crate) fn open(request: &HttpRequest<'_>, deadline: &Deadline) -> Result<Socket, HttpFailure> {
    let url = request.url;
    let proxy = Proxy::for_request(request, |name| env::var(name).ok());
    let mut socket = dial(url, proxy.as_ref(), deadline)?;
    if let Some(proxy) = proxy {
        socket
            .write_all(&connect_request(url, &proxy))
            .map_err(|error| io_failure(&error, HttpStep::ProxyRequest))?;
        match read_head(&mut socket)? {
            (200..=299, true) => {}
            (200..=299, false) => {
                return Err(HttpFailure::ProxySpokeEarly);
            }
            (status, _) => return Err(HttpFailure::ProxyStatus(status)),
        }
    }
    Ok(socket)
}

/// Runs the exchange over a stream that [`open`] began.
pub(crate) fn exchange_over(
    stream: &mut (impl Read + Write),
    request: &HttpRequest<'_>,
) -> Result<HttpReply, HttpFailure> {
    run(stream, request, None)
}

/// Opens a socket to the server of the URL, or to the proxy if there is one.
fn dial(url: &Url, proxy: Option<&Proxy>, deadline: &Deadline) -> Result<Socket, HttpFailure> {
    let (host, port) = match proxy {
        Some(proxy) => (proxy.host.as_str(), proxy.port),
        None => (url.host.as_str(), url.port),
    };
    let unreachable = |Unreachable { failure, .. }| HttpFailure::Unreachable {
        by_proxy: proxy.is_some(),
        failure,
    };
    let addresses = resolve(host, port, deadline).map_err(unreachable)?;
    let mut socket = connect(&addresses, deadline).map_err(unreachable)?;
    socket.set_deadline(Some(*deadline));
    Ok(socket)
}

fn run(
    stream: &mut (impl Read + Write),
    request: &HttpRequest<'_>,
    proxy: Option<&Proxy>,
) -> Result<HttpReply, HttpFailure> {
    let bytes = encode(request, proxy)?;
    stream
        .write_all(&bytes)
        .and_then(|()| stream.flush())
        .map_err(|error| io_failure(&error, HttpStep::Request))?;
    read_reply(stream, request.largest)
}

/// The bytes of a request, as HTTP/1.0, so that no server needs to reply in chunks or to keep the connection.
fn encode(
    request: &HttpRequest<'_>,
    proxy: Option<&Proxy>,
) -> Result<Zeroizing<Vec<u8>>, HttpFailure> {
    let url = request.url;
    let (name, body, content_type) = match request.method {
        Method::Get => ("GET", &[][..], None),
        Method::Put => ("PUT", &[][..], None),
        Method::Post(body, content_type) => ("POST", body, Some(content_type)),
    };
    let target = match proxy {
        Some(_) => url.to_string(),
        None => url.target.clone(),
    };
    let own = [("Host", url.authority()), ("User-Agent", USER_AGENT.into())];
    let mut headers: Vec<(&str, &str)> =
        own.iter().map(|(name, value)| (*name, &**value)).collect();
    let names_accept = request.headers.iter().any(|(name, _)| *name == "Accept");
    if !names_accept {
        headers.push(("Accept", "*/*"));
    }
    headers.push(("Connection", "close"));
    let credential = proxy.and_then(Proxy::authorization);
    if let Some(credential) = &credential {
        headers.push(("Proxy-Authorization", credential));
    }
    let length = body.len().to_string();
    if let Some(content_type) = content_type {
        headers.push(("Content-Type", content_type));
    }
    if !matches!(request.method, Method::Get) {
        headers.push(("Content-Length", &length));
    }
    for (name, value) in request.headers {
        let is_visible = |byte: u8| byte.is_ascii_graphic() || byte == b' ';
        if !value.bytes().all(is_visible) {
            return Err(HttpFailure::InvalidHeader((*name).to_owned()));
        }
        headers.push((name, value));
    }
    let line = [name, " ", &target, " HTTP/1.0\r\n"];
    let mut pieces: Vec<&[u8]> = line.iter().map(|piece| piece.as_bytes()).collect();
    for (name, value) in &headers {
        pieces.extend([name.as_bytes(), b": ", value.as_bytes(), b"\r\n"]);
    }
    pieces.extend([b"\r\n", body]);
    // Allocated at once: memory that grows leaves its old content behind.
    Ok(Zeroizing::new(pieces.concat()))
}

fn connect_request(url: &Url, proxy: &Proxy) -> Vec<u8> {
    let target = url.host_and_port();
    let mut head =
        format!("CONNECT {target} HTTP/1.1\r\nHost: {target}\r\nUser-Agent: {USER_AGENT}\r\n");
    if let Some(credential) = proxy.authorization() {
        head += &format!("Proxy-Authorization: {credential}\r\n");
    }
    (head + "\r\n").into_bytes()
}

const USER_AGENT: &str = concat!("mongotls/", env!("CARGO_PKG_VERSION"));

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn requests_are_those_of_http_1_0() {
        let url = Url::parse("http://a:81/x").unwrap();
        let text = |method, proxy: Option<&Proxy>| {
            let request = HttpRequest {
                url: &url,
                method,
                headers: &[("X-Token", "a b")],
                largest: 0,
                proxy: ProxyPolicy::Environment,
            };
            let bytes = encode(&request, proxy).unwrap();
            String::from_utf8(bytes.to_vec()).unwrap()
        };
        let get = text(Method::Get, None);
        assert!(
            get.starts_with("GET /x HTTP/1.0\r\nHost: a:81\r\n"),
            "{get}"
        );
        assert!(get.ends_with("\r\nX-Token: a b\r\n\r\n"), "{get}");
        assert!(get.contains("\r\nAccept: */*\r\nConnection: close\r\n"));
        assert!(!get.contains("Content-"), "{get}");
        let put = text(Method::Put, None);
        assert!(
            put.starts_with("PUT /x HTTP/1.0\r\n") && put.contains("\r\nContent-Length: 0\r\n")
        );
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
        let tunnel = String::from_utf8(connect_request(&url, &proxy)).unwrap();
        assert!(tunnel.starts_with("CONNECT a:81 HTTP/1.1\r\nHost: a:81\r\n"));
        assert!(tunnel.ends_with("\r\nProxy-Authorization: Basic dUB4OnA=\r\n\r\n"));
    }

    #[test]
    fn no_header_ends_early() {
        let url = Url::parse("http://a/").unwrap();
        for value in ["a\r\nX: y", "a\nb", "\0", "é"] {
            let request = HttpRequest {
                url: &url,
                method: Method::Get,
                headers: &[("X-Token", value)],
                largest: 0,
                proxy: ProxyPolicy::Direct,
            };
            let error = encode(&request, None).unwrap_err().to_string();
            assert_eq!(
                error,
                "was not asked: the value of X-Token is not one of a header"
            );
        }
    }
}
