//! A front for a server that does not know by which address its clients reach it.
//!
//! It terminates TLS, forwards messages in the clear, and replaces `hosts` in hello by its own address. FerretDB needs
//! that to be a replica set over TLS; see
//! [`FerretDbOptions::repl_set_name`](crate::peers::FerretDbOptions::repl_set_name). One thread serves a connection,
//! one request at a time: it supports neither streamed replies nor compression.

use crate::net::{Bind, Endpoint, Listening, Port, Socket};
use crate::server::ServerTls;
use crate::wire::{Frame, MORE_TO_COME, Msg, OP_MSG, OP_REPLY, decode_reply, encode_reply};
use bson::Document;
use openssl::ssl::Ssl;
use std::io::{self, ErrorKind, Read, Write};
use std::net::SocketAddr;

/// A running front; dropping it ends its connections.
#[derive(Debug)]
pub struct Front {
    listening: Listening,
    address: String,
    _port: Port,
}

impl Front {
    /// Listens on `127.0.0.1` and any port, which clients reach as `host`; forwards to `server`.
    ///
    /// # Panics
    ///
    /// If no port can be bound, or OpenSSL rejects the TLS settings.
    pub fn start(host: &str, tls: &ServerTls, server: SocketAddr) -> Self {
        let context = tls.context().expect("TLS settings that OpenSSL takes");
        let port = Port::reserve().expect("a free port");
        let address = format!("{host}:{}", port.number());
        let told = address.clone();
        let listening = Listening::start(&Bind::V4(port.number()), move |socket, _stop| {
            // An error means that one of the two sides has disconnected.
            let _ended = Ssl::new(&context)
                .map_err(io::Error::other)
                .and_then(|ssl| ssl.accept(socket).map_err(io::Error::other))
                .and_then(|client| relay(client, Endpoint::Tcp(server).connect()?, &told));
        });
        Self {
            listening: listening.expect("the reserved port"),
            address,
            _port: port,
        }
    }

    /// The address that it puts into hello: `HOST:PORT`.
    pub fn address(&self) -> &str {
        &self.address
    }

    /// The address that it listens on.
    pub fn addr(&self) -> SocketAddr {
        self.listening.endpoint().addr()
    }
}

fn relay(mut client: impl Read + Write, mut server: Socket, address: &str) -> io::Result<()> {
    while let Some(request) = Frame::read(&mut client)? {
        server.write_all(&request.encode())?;
        let flags = request
            .payload
            .first_chunk()
            .copied()
            .map(u32::from_le_bytes);
        if request.op_code == OP_MSG && flags.is_some_and(|flags| flags & MORE_TO_COME != 0) {
            continue; // the client wants no reply
        }
        // FerretDB 1.24 also answers requests that want no reply: those answers come first, and are dropped.
        let mut reply = loop {
            let reply = Frame::read(&mut server)?.ok_or(ErrorKind::UnexpectedEof)?;
            if reply.response_to == request.request_id {
                break reply;
            }
        };
        match reply.op_code {
            OP_MSG => {
                let mut msg = Msg::decode(&reply.payload)?;
                if readdress(&mut msg.body, address) {
                    reply.payload = msg.encode();
                }
            }
            OP_REPLY => {
                let mut body = decode_reply(&reply.payload)?;
                if readdress(&mut body, address) {
                    reply.payload = encode_reply(&body);
                }
            }
            _ => {}
        }
        client.write_all(&reply.encode())?;
    }
    Ok(())
}

/// Replaces the hosts in a hello reply by this address; returns true if there were any.
fn readdress(reply: &mut Document, address: &str) -> bool {
    let names_hosts = reply.contains_key("setName") && reply.contains_key("hosts");
    if names_hosts {
        reply.insert("hosts", [address]);
    }
    names_hosts
}
