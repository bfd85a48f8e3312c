//! A web server in memory whose answers a test determines: the credential services of clouds.
//!
//! It serves one request per connection, with or without TLS, on the loopback interface. It records each request;
//! dropping it ends every thread.

use crate::http::{Log, Request};
use crate::net::{Bind, Listening, Socket, Stop};
use crate::server::ServerTls;
use openssl::ssl::{Ssl, SslContext};
use std::fmt;
use std::io::{self, BufReader, Read, Write};
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

/// A test's answer.
#[derive(Clone, Debug)]
pub struct Response {
    status: u16,
    body: Vec<u8>,
    delay: Duration,
}

impl Response {
    /// Status 200 and this body.
    pub fn ok(body: impl Into<Vec<u8>>) -> Self {
        Self::status(200, body)
    }

    /// This status and body.
    pub fn status(status: u16, body: impl Into<Vec<u8>>) -> Self {
        Self {
            status,
            body: body.into(),
            delay: Duration::ZERO,
        }
    }

    /// Delays the answer, unless the server ends earlier.
    pub fn after(mut self, delay: Duration) -> Self {
        self.delay = delay;
        self
    }

    fn bytes(&self) -> Vec<u8> {
        let Self { status, body, .. } = self;
        let length = body.len();
        let head =
            format!("HTTP/1.1 {status} X\r\nContent-Length: {length}\r\nConnection: close\r\n\r\n");
        [head.as_bytes(), body].concat()
    }
}

type Answer = dyn Fn(&Request) -> Response + Send + Sync;

struct Shared {
    answer: Box<Answer>,
    tls: Option<SslContext>,
    log: Log<Request>,
}

impl fmt::Debug for Shared {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Shared").finish_non_exhaustive()
    }
}

/// A running web server.
///
/// ```
/// use mongotls_testbench::http_server::{HttpServer, Response};
///
/// let server = HttpServer::start(|request| match request.target.as_str() {
///     "/token" => Response::ok("t0ken"),
///     _ => Response::status(404, ""),
/// });
/// assert!(server.url().starts_with("http://127.0.0.1:"));
/// assert!(server.requests().is_empty());
/// ```
#[derive(Debug)]
pub struct HttpServer {
    listening: Listening,
    shared: Arc<Shared>,
}

impl HttpServer {
    /// Answers by `http`.
    ///
    /// # Panics
    ///
    /// If no port can be bound.
    pub fn start(answer: impl Fn(&Request) -> Response + Send + Sync + 'static) -> Self {
        Self::serve(Box::new(answer), None)
    }

    /// Answers by `https`.
    ///
    /// # Panics
    ///
    /// If no port can be bound, or if OpenSSL refuses the settings.
    pub fn start_tls(
        tls: &ServerTls,
        answer: impl Fn(&Request) -> Response + Send + Sync + 'static,
    ) -> Self {
        let context = tls.context().expect("TLS settings that OpenSSL takes");
        Self::serve(Box::new(answer), Some(context))
    }

    fn serve(answer: Box<Answer>, tls: Option<SslContext>) -> Self {
        let shared = Arc::new(Shared {
            answer,
            tls,
            log: Log::default(),
        });
        let serving = Arc::clone(&shared);
        let listening = Listening::start(&Bind::default(), move |socket, stop| {
            // An error means that the client has disconnected, or does not trust this server.
            let _ = serving.accept(socket, stop);
        })
        .expect("a free port");
        Self { listening, shared }
    }

    /// Its address.
    pub fn addr(&self) -> SocketAddr {
        self.listening.endpoint().addr()
    }

    /// Its URL, without a path and without a slash at the end; for `localhost`, if it uses TLS.
    pub fn url(&self) -> String {
        match self.shared.tls {
            Some(_) => format!("https://localhost:{}", self.addr().port()),
            None => format!("http://{}", self.addr()),
        }
    }

    /// The received requests, oldest first.
    pub fn requests(&self) -> Vec<Request> {
        self.shared.log.list()
    }
}

impl Shared {
    fn accept(&self, socket: Socket, stop: &Stop) -> io::Result<()> {
        match &self.tls {
            None => self.talk(socket, stop),
            Some(context) => {
                let ssl = Ssl::new(context)?;
                let mut stream = ssl.accept(socket).map_err(io::Error::other)?;
                self.talk(&mut stream, stop)?;
                stream.shutdown().map_err(io::Error::other).map(drop)
            }
        }
    }

    fn talk(&self, stream: impl Read + Write, stop: &Stop) -> io::Result<()> {
        let mut stream = BufReader::new(stream);
        let Some(request) = Request::read(&mut stream)? else {
            return Ok(());
        };
        self.log.push(request.clone());
        let response = (self.answer)(&request);
        if response.delay.is_zero() || !stop.wait(response.delay) {
            stream.get_mut().write_all(&response.bytes())?;
        }
        stream.get_mut().flush()
    }
}
