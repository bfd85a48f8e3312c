//! Peers that are not MongoDB, for a wrong host or port in a connection string.
//!
//! Each listens on `127.0.0.1` and any port, on separate threads, and ends when dropped.

use crate::net::{Bind, Endpoint, Listening, Socket, Stop};
use std::io::{Read, Write};
use std::net::SocketAddr;

/// A running peer that does not speak MongoDB.
#[derive(Debug)]
pub struct Stranger(Listening);

impl Stranger {
    /// Runs `serve` for each connection.
    ///
    /// # Panics
    ///
    /// If no port can be bound.
    pub fn start(serve: impl Fn(Socket, &Stop) + Send + Sync + 'static) -> Self {
        Self(Listening::start(&Bind::default(), serve).expect("a free port"))
    }

    /// Its address.
    pub fn addr(&self) -> SocketAddr {
        self.0.endpoint().addr()
    }

    /// The address that it listens on.
    pub fn endpoint(&self) -> &Endpoint {
        self.0.endpoint()
    }
}

/// A web server: answers any bytes with a 400 and closes.
pub fn http_server() -> Stranger {
    Stranger::start(|mut socket, _| {
        let mut request = [0; 1024];
        if socket.read(&mut request).is_ok_and(|count| count > 0) {
            // An error means that the client has disconnected.
            let _ = socket.write_all(HTTP_ANSWER);
        }
    })
}

/// A server that accepts connections and never sends a byte.
pub fn silent() -> Stranger {
    Stranger::start(|_socket, stop| stop.wait_for_ever())
}

/// A server that sends these bytes as soon as a client connects, as SSH and SMTP do, and then waits.
pub fn banner(bytes: impl Into<Vec<u8>>) -> Stranger {
    let bytes = bytes.into();
    Stranger::start(move |mut socket, stop| {
        // An error means that the client has disconnected.
        let _ = socket.write_all(&bytes);
        stop.wait_for_ever();
    })
}

/// A port without a listener: connections to it are refused.
///
/// # Panics
///
/// If no port can be bound.
pub fn nobody() -> SocketAddr {
    let listener = std::net::TcpListener::bind("127.0.0.1:0").expect("a free port");
    listener.local_addr().expect("a bound socket")
}

const HTTP_ANSWER: &[u8] = b"HTTP/1.1 400 Bad Request\r\n\
    Server: testbench\r\n\
    Content-Type: text/html\r\n\
    Content-Length: 36\r\n\
    Connection: close\r\n\
    \r\n\
    <html><body>400 Bad Request</html>\r\n";
