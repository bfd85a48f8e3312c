//! TLS alone, for a program that has a protocol of its own: the verification, the revocation checks and the explained
//! failures of this crate on any stream.
//!
//! ```sh
//! cargo run --example tls_context -- db.example.com 27017 ca.pem
//! ```
//!
//! Here the stream is a `TcpStream`, and the protocol one message of MongoDB.

#![allow(clippy::print_stdout, clippy::print_stderr)]

use std::env;
use std::error::Error;
use std::io::{self, Read, Write};
use std::net::TcpStream;
use std::time::Duration;

use mongotls::bson::{RawDocumentBuf, rawdoc};
use mongotls::options::TlsOptions;
use mongotls::tls::TlsContext;

fn main() -> Result<(), Box<dyn Error>> {
    let arguments: Vec<String> = env::args().skip(1).collect();
    let [host, port, ca_file] = &arguments[..] else {
        return Err("usage: tls_context HOST PORT CA_FILE".into());
    };

    // Create the context once: it reads and checks the files, and it keeps the sessions that later handshakes resume.
    let options = TlsOptions::builder().ca_file(ca_file).build()?;
    let context = TlsContext::new(&options)?;

    let stream = TcpStream::connect((host.as_str(), port.parse()?))?;
    // The context sets no time limit; that is for the owner of the stream.
    stream.set_read_timeout(Some(Duration::from_secs(10)))?;
    stream.set_write_timeout(Some(Duration::from_secs(10)))?;

    let mut stream = match context.connect(host, stream) {
        Ok(stream) => stream,
        Err(error) => {
            println!("{error}");
            if let Some(cause) = error.cause() {
                println!("cause: {}", cause.code());
                println!("remedy: {}", cause.remedy());
            }
            return Err("the handshake failed".into());
        }
    };

    let report = stream.report();
    println!("protocol: {}, {}", report.protocol(), report.cipher());
    println!("verified: {}", report.is_verified());
    for certificate in report.peer_chain() {
        println!(
            "certificate: {}, until {:?}",
            certificate.subject, certificate.not_after
        );
    }

    match ping(&mut stream) {
        Ok(reply) => println!("reply: {reply:?}"),
        Err(error) => {
            // In TLS 1.3 a server refuses a client's certificate only after the handshake. `explain` tells.
            if let Some(cause) = stream.explain(&error) {
                println!("cause: {}", cause.code());
            }
            return Err(error.into());
        }
    }
    stream.shutdown()?;
    Ok(())
}

/// Sends the command `ping`, and reads the reply.
fn ping(stream: &mut (impl Read + Write)) -> io::Result<RawDocumentBuf> {
    const HEADER: usize = 16;
    const OP_MSG: i32 = 2013;
    let command = rawdoc! { "ping": 1, "$db": "admin" };
    let length = HEADER + 4 + 1 + command.as_bytes().len();
    let length = i32::try_from(length).map_err(io::Error::other)?;

    let mut message = Vec::new();
    for number in [length, 1, 0, OP_MSG, 0] {
        message.extend(number.to_le_bytes()); // length, request id, response to, code, flags
    }
    message.push(0); // the kind of the section: one document
    message.extend(command.as_bytes());
    stream.write_all(&message)?;

    let mut header = [0; HEADER];
    stream.read_exact(&mut header)?;
    let length = u32::from_le_bytes([header[0], header[1], header[2], header[3]]);
    // Never believe a length from outside.
    let length = usize::try_from(length).map_err(io::Error::other)?;
    if !(HEADER + 5..1 << 20).contains(&length) {
        return Err(io::Error::other("the reply has an impossible length"));
    }
    let mut rest = vec![0; length - HEADER];
    stream.read_exact(&mut rest)?;
    RawDocumentBuf::from_bytes(rest[5..].to_vec()).map_err(io::Error::other)
}
