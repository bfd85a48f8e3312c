//! A server for benchmarks with minimal cost, so that a benchmark measures the client.
//!
//! Replies are made before the first connection; only `responseTo`, the id of a cursor or a count is replaced in each.
//! A request is read with one system call and answered with one, up to the sizes in `gathering.rs`; each connection has
//! a thread. It supports only TLS 1.3, with session tickets.
//!
//! Its answers depend only on the name of the command, and of the collection of a `find`:
//! - `hello` and its old spellings: a standalone server, without sessions, and without a topology version, so that
//!   monitors poll. A client behind a load balancer gets a `serviceId`.
//! - `find`, `aggregate`, `getMore`: [`DOCUMENTS`] documents of [`DOCUMENT_SIZE`] bytes, [`BATCH`] in a batch. The id
//!   of the cursor is the number of remaining batches, so that any connection can continue it.
//! - `find` of the collection `one`: one such document.
//! - `find` of `fs.files` and `fs.chunks`: the file whose ID is a number has as many bytes. Each byte is the low byte of
//!   the number of its chunk.
//! - `listIndexes`: those of GridFS.
//! - `insert`, `update`: the number of documents or updates. It stores none, and each update matches one document.
//! - `bulkWrite`: the number of operations, as if each were an update that matches one document. It has no result of each.
//! - anything else: `ok`.

mod files;
mod gathering;
mod replies;

use self::gathering::Gathering;
use self::replies::{Answerer, Replies};
use crate::net::{Bind, Listening, Socket};
use crate::server::ServerTls;
use crate::wire::MAX_MESSAGE_SIZE;
use openssl::ssl::{Ssl, SslContext, SslVersion};
use std::io::{self, ErrorKind, Read, Write};
use std::sync::Arc;

pub use replies::{BATCH, DOCUMENT_SIZE, DOCUMENTS};

/// A running server; dropping it ends it.
///
/// ```
/// use mongotls_testbench::lean::LeanServer;
/// use mongotls_testbench::pki::{Ca, KeyKind, LeafSpec};
/// use mongotls_testbench::server::ServerTls;
///
/// let root = Ca::root("root", KeyKind::EcP256);
/// let server = LeanServer::start(ServerTls::new(&root.issue(LeafSpec::local_server())));
/// assert_ne!(server.port(), 0);
/// ```
#[derive(Debug)]
pub struct LeanServer(Listening);

impl LeanServer {
    /// Serves on a free port of `127.0.0.1`.
    pub fn start(tls: ServerTls) -> Self {
        let tls = tls.versions(SslVersion::TLS1_3, SslVersion::TLS1_3);
        let context = tls.context().unwrap();
        let replies = Arc::new(Replies::new());
        let serve = move |socket: Socket, _: &_| {
            // Clients may disconnect at any time, in any way.
            let _ = serve(&context, Arc::clone(&replies), socket);
        };
        Self(Listening::start(&Bind::V4(0), serve).unwrap())
    }

    /// The port.
    pub fn port(&self) -> u16 {
        self.0.endpoint().addr().port()
    }
}

fn serve(context: &SslContext, replies: Arc<Replies>, socket: Socket) -> io::Result<()> {
    let accepted = Ssl::new(context)?.accept(Gathering::new(socket));
    let mut stream = accepted.map_err(io::Error::other)?;
    let mut answerer = Answerer::new(replies);
    let mut request = vec![0; 64 << 10];
    while let Some(length) = read(&mut stream, &mut request)? {
        if let Some(reply) = answerer.answer(&request[..length]) {
            stream.write_all(reply)?;
            stream.flush()?;
        }
    }
    Ok(())
}

/// Reads one message to the beginning of `buffer`; returns `None` at the end of the stream. Clients wait for a reply
/// before they send more.
fn read(stream: &mut impl Read, buffer: &mut Vec<u8>) -> io::Result<Option<usize>> {
    let (mut filled, mut length) = (0, 4);
    while filled < length {
        let count = stream.read(&mut buffer[filled..])?;
        if count == 0 {
            return Ok(None);
        }
        filled += count;
        if let Some(bytes) = buffer[..filled].first_chunk() {
            length = usize::try_from(u32::from_le_bytes(*bytes)).unwrap_or(usize::MAX);
            if !(MESSAGE_MIN..=MAX_MESSAGE_SIZE).contains(&length) {
                return Err(ErrorKind::InvalidData.into());
            }
            if buffer.len() < length {
                buffer.resize(length, 0);
            }
        }
    }
    Ok(Some(length))
}

/// The header of a message.
const MESSAGE_MIN: usize = 16;
