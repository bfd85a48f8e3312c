//! The answers of a responder: valid, or invalid HTTP.

use super::Request;
use crate::fault::{FaultyStream, Transport};
use crate::net::{Socket, Stop};
use std::io::{self, Write};
use std::time::Duration;

/// The behaviour of a [`Responder`](super::Responder).
///
/// Cutting or delaying bytes is a [`Fault`](crate::fault::Fault) instead; both may be combined.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Behaviour {
    /// Status 200, the response, and the end of the connection.
    Sound,
    /// Sound, but the connection stays open for more requests.
    KeepAlive,
    /// Sound, after this delay.
    Delay(Duration),
    /// Sound, in chunks of ten bytes.
    Chunked,
    /// Sound, without a length: the body ends with the connection.
    NoContentLength,
    /// Sound, after a `100 Continue` that the client did not request.
    Interim,
    /// This status, and a web page.
    Status(u16),
    /// Status 200, and a web page, as from a captive portal.
    Html,
    /// A redirect with this status to the given URL, followed by the requested path.
    Redirect(u16, String),
    /// A redirect to the requested URL itself.
    RedirectToItself,
    /// A redirect to another path of this responder, without end.
    RedirectForEver,
    /// The response with this Content-Type, or without one.
    ContentType(Option<String>),
    /// The response with this Content-Length, which need not be true; then the end.
    ContentLength(String),
    /// A body of this many zeros, announced and sent.
    Huge(u64),
    /// A body without length and end.
    Endless,
    /// A body without end, in chunks.
    EndlessChunked,
    /// One header after the other, without end.
    EndlessHeaders,
    /// A header line without end.
    EndlessHeaderLine,
    /// These bytes instead of any HTTP; then the end.
    Raw(Vec<u8>),
}

impl Behaviour {
    /// Answers; returns true if the connection continues.
    pub(super) fn answer(
        &self,
        to: &mut FaultyStream<Socket>,
        request: &Request,
        response: &[u8],
        own_url: &str,
        stop: &Stop,
    ) -> io::Result<bool> {
        let length = format!("Content-Length: {}", response.len());
        let sound = || message(200, &[OCSP_TYPE, &length, CLOSE], response);
        let target = &request.http.target;
        let path = match request.http.method.as_str() {
            "GET" => target.as_str(),
            _ => "",
        };
        match self {
            Self::Sound => to.write_all(&sound())?,
            Self::KeepAlive => {
                let headers = [OCSP_TYPE, &length, "Connection: keep-alive"];
                to.write_all(&message(200, &headers, response))?;
                return Ok(true);
            }
            Self::Delay(delay) => {
                if !stop.wait(*delay) {
                    to.write_all(&sound())?;
                }
            }
            Self::Chunked => {
                let mut body = Vec::new();
                for chunk in response.chunks(10) {
                    body.extend(chunk_of(chunk));
                }
                body.extend(chunk_of(&[]));
                to.write_all(&message(200, &[OCSP_TYPE, CHUNKED, CLOSE], &body))?;
            }
            Self::NoContentLength => {
                to.write_all(&message(200, &[OCSP_TYPE, CLOSE], response))?;
            }
            Self::Interim => {
                let interim = message(100, &[], &[]);
                to.write_all(&[interim, sound()].concat())?;
            }
            Self::Status(status) => to.write_all(&page(*status, &[]))?,
            Self::Html => to.write_all(&page(200, &[]))?,
            Self::Redirect(status, url) => {
                to.write_all(&redirect(*status, &format!("{url}{path}")))?;
            }
            Self::RedirectToItself => {
                to.write_all(&redirect(302, &format!("{own_url}{target}")))?;
            }
            Self::RedirectForEver => {
                to.write_all(&redirect(302, &format!("{own_url}/again{target}")))?;
            }
            Self::ContentType(kind) => {
                let kind = kind.as_ref().map(|kind| format!("Content-Type: {kind}"));
                let headers: Vec<_> = kind
                    .as_deref()
                    .into_iter()
                    .chain([&*length, CLOSE])
                    .collect();
                to.write_all(&message(200, &headers, response))?;
            }
            Self::ContentLength(text) => {
                let length = format!("Content-Length: {text}");
                to.write_all(&message(200, &[OCSP_TYPE, &length, CLOSE], response))?;
            }
            Self::Huge(length) => {
                let header = format!("Content-Length: {length}");
                to.write_all(&message(200, &[OCSP_TYPE, &header, CLOSE], &[]))?;
                let mut left = *length;
                while left > 0 {
                    let part = usize::try_from(left).map_or(BLOCK, |left| left.min(BLOCK));
                    to.write_all(&[0; BLOCK][..part])?;
                    left -= part as u64;
                }
            }
            Self::Endless => {
                to.write_all(&message(200, &[OCSP_TYPE, CLOSE], &[]))?;
                for_ever(to, &[0; BLOCK])?;
            }
            Self::EndlessChunked => {
                to.write_all(&message(200, &[OCSP_TYPE, CHUNKED, CLOSE], &[]))?;
                for_ever(to, &chunk_of(&[0; BLOCK]))?;
            }
            Self::EndlessHeaders => {
                to.write_all(b"HTTP/1.1 200 OK\r\n")?;
                for_ever(to, "X-Filler: more and more\r\n".repeat(100).as_bytes())?;
            }
            Self::EndlessHeaderLine => {
                to.write_all(b"HTTP/1.1 200 OK\r\nX-Filler: ")?;
                for_ever(to, &[b'x'; BLOCK])?;
            }
            Self::Raw(bytes) => to.write_all(bytes)?,
        }
        Ok(false)
    }
}

/// A web page with this status.
pub(crate) fn page(status: u16, more: &[&str]) -> Vec<u8> {
    let body = format!("<html><body>{status} {}</body></html>\r\n", reason(status));
    let length = format!("Content-Length: {}", body.len());
    let mut headers = vec!["Content-Type: text/html", &length, CLOSE];
    if status == 405 {
        headers.push("Allow: GET, POST"); // RFC 9110 §15.5.6: there must be one
    }
    headers.extend(more);
    message(status, &headers, body.as_bytes())
}

fn redirect(status: u16, url: &str) -> Vec<u8> {
    page(status, &[&format!("Location: {url}")])
}

fn message(status: u16, headers: &[&str], body: &[u8]) -> Vec<u8> {
    let mut head = format!("HTTP/1.1 {status} {}\r\n", reason(status));
    for header in headers {
        head.push_str(header);
        head.push_str("\r\n");
    }
    head.push_str("\r\n");
    [head.as_bytes(), body].concat()
}

fn reason(status: u16) -> &'static str {
    match status {
        100 => "Continue",
        200 => "OK",
        301 => "Moved Permanently",
        302 => "Found",
        307 => "Temporary Redirect",
        308 => "Permanent Redirect",
        400 => "Bad Request",
        404 => "Not Found",
        405 => "Method Not Allowed",
        407 => "Proxy Authentication Required",
        500 => "Internal Server Error",
        502 => "Bad Gateway",
        503 => "Service Unavailable",
        _ => "Something",
    }
}

fn chunk_of(bytes: &[u8]) -> Vec<u8> {
    [format!("{:x}\r\n", bytes.len()).as_bytes(), bytes, b"\r\n"].concat()
}

/// Writes until the client has disconnected, or the bench ends the connection.
fn for_ever(to: &mut impl Transport, bytes: &[u8]) -> io::Result<()> {
    loop {
        to.write_all(bytes)?;
    }
}

const OCSP_TYPE: &str = "Content-Type: application/ocsp-response";
const CHUNKED: &str = "Transfer-Encoding: chunked";
const CLOSE: &str = "Connection: close";
const BLOCK: usize = 16 * 1024;
