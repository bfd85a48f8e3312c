//! A minimal client: raw messages over any stream, for tests of the bench and of servers.
//!
//! It is not the connector: it has no pool, no checks, no retries. Reads and writes are limited to ten seconds, so that
//! a test whose event never comes fails instead of hanging.

use crate::pki::Identity;
use crate::wire::{Frame, Msg, OP_MSG, OP_QUERY, OP_REPLY, Query, decode_reply};
use bson::{Document, doc};
use openssl::ssl::{SslConnector, SslMethod, SslStream, SslVerifyMode, SslVersion};
use openssl::x509::X509;
use std::io::{self, ErrorKind, Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::time::Duration;

/// A connection that speaks raw MongoDB.
#[derive(Debug)]
pub struct RawClient<S> {
    /// The stream.
    pub stream: S,
    last_id: i32,
}

impl RawClient<TcpStream> {
    /// Connects without TLS.
    ///
    /// # Errors
    ///
    /// The system's.
    pub fn connect(addr: SocketAddr) -> io::Result<Self> {
        Ok(Self::over(tcp(addr)?))
    }
}

impl RawClient<SslStream<Patient>> {
    /// Connects with TLS to `host`, with `ca` as the only trust anchor.
    ///
    /// # Errors
    ///
    /// The system's, and OpenSSL's as text.
    pub fn connect_tls(addr: SocketAddr, host: &str, ca: &X509) -> io::Result<Self> {
        tls(addr, host, Some(ca), None).map(Self::over)
    }

    /// Connects with TLS and a client certificate.
    ///
    /// # Errors
    ///
    /// The system's, and OpenSSL's as text.
    pub fn connect_tls_as(
        addr: SocketAddr,
        host: &str,
        ca: &X509,
        client: &Identity,
    ) -> io::Result<Self> {
        tls(addr, host, Some(ca), Some(client)).map(Self::over)
    }
}

impl<S: Read + Write> RawClient<S> {
    /// Uses a stream that is connected already.
    pub fn over(stream: S) -> Self {
        Self { stream, last_id: 0 }
    }

    /// Sends a command as OP_MSG and reads its reply.
    ///
    /// # Errors
    ///
    /// Those of the stream; `InvalidData` for a malformed reply.
    pub fn command(&mut self, database: &str, command: Document) -> io::Result<Document> {
        self.message(database, Msg::of(command)).map(|msg| msg.body)
    }

    /// Sends an OP_MSG, with `$db` added to its body, and reads the reply.
    ///
    /// # Errors
    ///
    /// Those of the stream; `InvalidData` for a malformed reply.
    pub fn message(&mut self, database: &str, mut msg: Msg) -> io::Result<Msg> {
        msg.body.insert("$db", database);
        self.send(OP_MSG, msg.encode())?;
        let reply = self.receive()?;
        if reply.op_code != OP_MSG || reply.response_to != self.last_id {
            return Err(io::Error::new(ErrorKind::InvalidData, "not the reply"));
        }
        Msg::decode(&reply.payload)
    }

    /// Sends a legacy hello by OP_QUERY and reads its OP_REPLY.
    ///
    /// # Errors
    ///
    /// Those of the stream; `InvalidData` for a malformed reply.
    pub fn legacy_hello(&mut self) -> io::Result<Document> {
        let hello = Query::command("admin", doc! { "isMaster": 1, "helloOk": true });
        self.send(OP_QUERY, hello.encode())?;
        let reply = self.receive()?;
        if reply.op_code != OP_REPLY || reply.response_to != self.last_id {
            return Err(io::Error::new(ErrorKind::InvalidData, "not the reply"));
        }
        decode_reply(&reply.payload)
    }

    /// Sends a message, with the next request id.
    ///
    /// # Errors
    ///
    /// Those of the stream.
    pub fn send(&mut self, op_code: i32, payload: Vec<u8>) -> io::Result<()> {
        self.last_id += 1;
        let frame = Frame {
            request_id: self.last_id,
            response_to: 0,
            op_code,
            payload,
        };
        self.stream.write_all(&frame.encode())
    }

    /// Reads a message; the end of the stream is `UnexpectedEof`.
    ///
    /// # Errors
    ///
    /// Those of the stream; `InvalidData` for an impossible length.
    pub fn receive(&mut self) -> io::Result<Frame> {
        Frame::read(&mut self.stream)?.ok_or_else(|| ErrorKind::UnexpectedEof.into())
    }
}

/// Connects with TLS 1.2 or newer. Without `ca` nothing is verified.
///
/// # Errors
///
/// The system's, and OpenSSL's as text.
pub fn tls(
    addr: SocketAddr,
    host: &str,
    ca: Option<&X509>,
    client: Option<&Identity>,
) -> io::Result<SslStream<Patient>> {
    let mut builder = SslConnector::builder(SslMethod::tls_client())?;
    builder.set_min_proto_version(Some(SslVersion::TLS1_2))?;
    match ca {
        Some(ca) => builder.cert_store_mut().add_cert(ca.clone())?,
        None => builder.set_verify(SslVerifyMode::NONE),
    }
    if let Some(client) = client {
        builder.set_certificate(&client.cert)?;
        builder.set_private_key(&client.key)?;
        for cert in &client.chain {
            builder.add_extra_chain_cert(cert.clone())?;
        }
    }
    builder
        .build()
        .connect(host, Patient(tcp(addr)?))
        .map_err(|error| io::Error::other(error.to_string()))
}

/// A socket whose reads and writes continue after an interruption. A process that was stopped for a while gets one if
/// they have a time limit; OpenSSL would take it for the end.
#[derive(Debug)]
pub struct Patient(TcpStream);

impl Read for Patient {
    fn read(&mut self, buf: &mut [u8]) -> io::Result<usize> {
        patiently(|| self.0.read(buf))
    }
}

impl Write for Patient {
    fn write(&mut self, buf: &[u8]) -> io::Result<usize> {
        patiently(|| self.0.write(buf))
    }

    fn flush(&mut self) -> io::Result<()> {
        self.0.flush()
    }
}

fn patiently(mut act: impl FnMut() -> io::Result<usize>) -> io::Result<usize> {
    loop {
        match act() {
            Err(error) if error.kind() == ErrorKind::Interrupted => {}
            outcome => return outcome,
        }
    }
}

/// Returns true if the server completes a handshake with a client that supports only these key exchange groups.
///
/// # Errors
///
/// The system's, and OpenSSL's if it does not know the groups.
pub fn agrees_on_groups(addr: SocketAddr, groups: &str) -> io::Result<bool> {
    let mut builder = SslConnector::builder(SslMethod::tls_client())?;
    builder.set_groups_list(groups)?;
    builder.set_verify(SslVerifyMode::NONE);
    Ok(builder.build().connect("localhost", tcp(addr)?).is_ok())
}

fn tcp(addr: SocketAddr) -> io::Result<TcpStream> {
    let stream = TcpStream::connect_timeout(&addr, LIMIT)?;
    stream.set_read_timeout(Some(LIMIT))?;
    stream.set_write_timeout(Some(LIMIT))?;
    stream.set_nodelay(true)?;
    Ok(stream)
}

const LIMIT: Duration = Duration::from_secs(10);
