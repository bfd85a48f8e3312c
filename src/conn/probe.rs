//! A look at a server that does not answer a ClientHello: does it speak MongoDB without TLS?
//!
//! A MongoDB server without TLS takes a ClientHello for the start of a huge message and waits for the
//! rest, or closes; either looks like a network fault. So, after TLS has failed without a byte of an
//! answer, one hello in the clear is sent on a connection of its own. It holds nothing but the word
//! `isMaster`; its answer is read for one bit and thrown away. The connection that was asked for is
//! never made in the clear.

use std::io::Write;
use std::time::{Duration, Instant};

use bson::rawdoc;

use crate::address::ServerAddress;
use crate::cause::{Cause, CauseCode};
use crate::net;
use crate::time::Deadline;
use crate::wire::reply::{self, Expected};
use crate::wire::{opcode, request};

/// Whether the server answers a hello in the clear, within a tenth of the limit of `connecting` and a
/// second at most.
pub(super) fn speaks_mongodb_in_the_clear(server: &ServerAddress, connecting: &Deadline) -> bool {
    let elapsed = connecting.elapsed();
    let limit = (elapsed.limit / 10).min(Duration::from_secs(1));
    let deadline = Deadline::after(Instant::now(), Some(limit), elapsed.kind);
    let socket = match server {
        ServerAddress::Tcp { host, port } => net::resolve(host, *port, &deadline)
            .and_then(|addresses| net::connect(&addresses, &deadline)),
        ServerAddress::Unix { path } => net::connect_unix(path, &deadline),
    };
    let Ok(mut socket) = socket else { return false };
    socket.set_deadline(Some(deadline));
    let mut buffer = Vec::new();
    let sent = request::encode_query(&mut buffer, 1, &rawdoc! { "isMaster": 1_i32 }).is_ok()
        && socket.write_all(&buffer).is_ok();
    sent && reply::read(
        &mut socket,
        Expected {
            request_id: 1,
            opcode: opcode::REPLY,
        },
    )
    .is_ok()
}

pub(super) fn server_not_tls() -> Cause {
    Cause::new(
        CauseCode::ServerNotTls,
        "the server does not speak TLS: it left the ClientHello unanswered, and answers in the clear as MongoDB does",
        "Turn TLS on at the server (on mongod net.tls.mode: requireTLS), or connect to the port that has it.",
    )
    .fact("looks_like", "MongoDB in the clear")
}
