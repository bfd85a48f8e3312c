//! A connection of the floor.

use std::io::{Read, Write};
use std::net::TcpStream;

use bson::rawdoc;
use kit::documents::{BATCH, WRITTEN};
use openssl::ssl::{Ssl, SslContext, SslStream};

use crate::messages::{GET_MORE_ID, REPLY_ID, find, get_more, message};

/// A TLS connection, and the buffer for replies.
pub(crate) struct Connection {
    stream: SslStream<TcpStream>,
    ping: Vec<u8>,
    reply: Vec<u8>,
    /// Made at the first write, and sent repeatedly.
    prepared: Vec<u8>,
}

impl Connection {
    /// Connects, with a full handshake, and sends hello.
    pub(crate) fn new(context: &SslContext, port: u16) -> Self {
        let socket = TcpStream::connect(("127.0.0.1", port)).expect("a connection");
        socket.set_nodelay(true).expect("a socket");
        let mut ssl = Ssl::new(context).expect("a connection's state");
        let address = "127.0.0.1".parse().expect("an address");
        ssl.param_mut().set_ip(address).expect("an address");
        let mut connection = Self {
            stream: ssl.connect(socket).expect("a handshake"),
            ping: message(&rawdoc! { "ping": 1, "$db": "admin" }),
            reply: Vec::new(),
            prepared: Vec::new(),
        };
        connection.exchange(&message(&rawdoc! { "hello": 1, "$db": "admin" }));
        connection
    }

    pub(crate) fn ping(&mut self) {
        exchange(&mut self.stream, &self.ping, &mut self.reply);
    }

    /// Reads the replies with all documents; returns the number of documents.
    pub(crate) fn read_all(&mut self) -> usize {
        let batches = self.read_cursor(&find(), get_more());
        assert!(batches <= WRITTEN / BATCH, "the cursor comes to an end");
        batches * BATCH
    }

    /// Reads all batches of a cursor; returns their number.
    pub(crate) fn read_cursor(&mut self, find: &[u8], mut next: Vec<u8>) -> usize {
        self.exchange(find);
        let mut batches = 1;
        loop {
            let id = &self.reply[REPLY_ID..REPLY_ID + 8];
            if id == [0; 8] {
                return batches;
            }
            next[GET_MORE_ID..GET_MORE_ID + 8].copy_from_slice(id);
            self.exchange(&next);
            batches += 1;
        }
    }

    /// Sends one message, which is made at the first call.
    pub(crate) fn write(&mut self, message: impl FnOnce() -> Vec<u8>) {
        if self.prepared.is_empty() {
            self.prepared = message();
        }
        exchange(&mut self.stream, &self.prepared, &mut self.reply);
    }

    fn exchange(&mut self, message: &[u8]) {
        exchange(&mut self.stream, message, &mut self.reply);
    }
}

/// Sends a message and reads the reply into the buffer, without its length.
fn exchange(stream: &mut SslStream<TcpStream>, message: &[u8], reply: &mut Vec<u8>) {
    stream.write_all(message).expect("a message sent");
    let mut length = [0; 4];
    stream.read_exact(&mut length).expect("a reply");
    reply.resize(u32::from_le_bytes(length) as usize - 4, 0);
    stream.read_exact(reply).expect("the rest of it");
}
