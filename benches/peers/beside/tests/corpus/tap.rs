//! A server of the bench, and a listener in front of it that keeps all bytes that clients send.

use std::io::{Read, Write};
use std::net::{Ipv4Addr, TcpListener, TcpStream};
use std::sync::{Arc, Mutex};
use std::thread;

use bson::RawDocument;
use mongotls_testbench::server::Server;
use mongotls_testbench::wire::{Frame, OP_MSG};

/// All bytes that a client has sent on one connection.
type Sent = Arc<Mutex<Vec<u8>>>;

pub(crate) struct Tap {
    _server: Server,
    port: u16,
    connections: Arc<Mutex<Vec<Sent>>>,
}

impl Tap {
    pub(crate) fn start() -> Self {
        let server = Server::builder().start();
        let upstream = server.port();
        let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).unwrap();
        let port = listener.local_addr().unwrap().port();
        let connections = Arc::new(Mutex::new(Vec::new()));
        let list = Arc::clone(&connections);
        thread::spawn(move || {
            for client in listener.incoming() {
                let client = client.unwrap();
                // The clients connect again when the test has ended, and the server with it.
                let Ok(server) = TcpStream::connect((Ipv4Addr::LOCALHOST, upstream)) else {
                    break;
                };
                let sent = Sent::default();
                list.lock().unwrap().push(Arc::clone(&sent));
                let (from, to) = (client.try_clone().unwrap(), server.try_clone().unwrap());
                thread::spawn(move || copy(from, to, |bytes| sent.lock().unwrap().extend(bytes)));
                thread::spawn(move || copy(server, client, |_| {}));
            }
        });
        Self {
            _server: server,
            port,
            connections,
        }
    }

    pub(crate) fn uri(&self) -> String {
        format!("mongodb://127.0.0.1:{}/?directConnection=true", self.port)
    }

    /// Returns the bytes of all documents that were sent to be inserted into this collection.
    pub(crate) fn inserted(&self, collection: &str) -> Vec<Vec<u8>> {
        let mut found = Vec::new();
        for sent in &*self.connections.lock().unwrap() {
            let bytes = sent.lock().unwrap().clone();
            let mut rest = &bytes[..];
            while let Ok(Some(frame)) = Frame::read(&mut rest) {
                if frame.op_code == OP_MSG {
                    found.extend(documents(&frame.payload, collection));
                }
            }
        }
        found
    }
}

/// Copies one direction of a connection until it ends, and shows all bytes to `see`.
fn copy(mut from: TcpStream, mut to: TcpStream, see: impl Fn(&[u8])) {
    let mut buffer = [0; 1 << 16];
    while let Ok(length @ 1..) = from.read(&mut buffer) {
        see(&buffer[..length]);
        if to.write_all(&buffer[..length]).is_err() {
            break;
        }
    }
    let _ = to.shutdown(std::net::Shutdown::Both);
}

/// Returns the bytes of the documents in an OP_MSG, if it inserts into this collection.
fn documents(payload: &[u8], collection: &str) -> Vec<Vec<u8>> {
    let mut rest = &payload[4..];
    let (mut found, mut matches) = (Vec::new(), false);
    while let Some((&kind, section)) = rest.split_first() {
        let size = size_of(section);
        let content = &section[..size];
        rest = &section[size..];
        if kind == 0 {
            let body = RawDocument::from_bytes(content).unwrap();
            matches = body.get_str("insert").is_ok_and(|name| name == collection);
            let inline = body.get_array("documents").into_iter().flatten();
            found.extend(inline.map(|it| it.unwrap().as_document().unwrap().as_bytes().to_vec()));
        } else {
            let name = content[4..].iter().position(|byte| *byte == 0).unwrap();
            let mut documents = &content[4 + name + 1..];
            while !documents.is_empty() {
                let (first, others) = documents.split_at(size_of(documents));
                found.push(first.to_vec());
                documents = others;
            }
        }
    }
    if matches { found } else { Vec::new() }
}

/// Reads the length at the start of a document or of a sequence.
fn size_of(bytes: &[u8]) -> usize {
    let length = bytes[..4].try_into().unwrap();
    usize::try_from(i32::from_le_bytes(length)).unwrap()
}
