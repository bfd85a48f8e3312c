//! The MongoDB wire protocol: encoding and decoding of messages, without sockets.
//!
//! A request is encoded completely into one buffer, so that it is sent in one write ([`request`]). A reply is read
//! from any reader, checked before memory is allocated for it, and returned as raw BSON without a copy ([`reply`]).
//! Both may be wrapped in a compressed message ([`compress`]). All lengths come from the peer and are never trusted.
//!
//! Sources: the "OP_MSG" and "OP_COMPRESSED" specifications of the MongoDB drivers, and "MongoDB Wire Protocol" of the
//! MongoDB manual. All integers are little-endian.

pub(crate) mod compress;
pub(crate) mod reply;
pub(crate) mod request;

use std::io::{self, Read};

pub(crate) use crate::data::hello::MAX_MESSAGE_SIZE;

/// The standard header: length, request id, response to, opcode.
pub(crate) const HEADER_SIZE: usize = 16;

/// The opcodes that this crate sends or recognises.
pub(crate) mod opcode {
    /// The reply to an OP_QUERY. Only a server older than MongoDB 3.6 answers an OP_MSG with it.
    pub(crate) const REPLY: i32 = 1;
    pub(crate) const COMPRESSED: i32 = 2012;
    pub(crate) const MSG: i32 = 2013;
}

/// The flags of OP_MSG. A receiver must understand those below bit 16.
pub(crate) mod flag {
    pub(crate) const CHECKSUM_PRESENT: u32 = 1;
    pub(crate) const MORE_TO_COME: u32 = 2;
    pub(crate) const EXHAUST_ALLOWED: u32 = 1 << 16;
    pub(crate) const REQUIRED: u32 = 0xFFFF;
}

/// Returns the integer at `at`, if the bytes are long enough.
fn word(bytes: &[u8], at: usize) -> Option<i32> {
    bytes
        .get(at..at + 4)
        .and_then(|bytes| bytes.try_into().ok())
        .map(i32::from_le_bytes)
}

/// Converts a size to a length field. A size that does not fit belongs to a message over every limit, which is
/// rejected as a whole.
fn length(size: usize) -> i32 {
    i32::try_from(size).unwrap_or(i32::MAX)
}

/// Memory up to this size is allocated at once; for a larger reply it grows as the bytes arrive.
const TAKEN_AT_ONCE: usize = 1 << 20;

/// Reads `size` bytes, into existing memory or memory that grows as the bytes arrive.
fn read_rest(spare: Vec<u8>, stream: &mut impl Read, size: usize) -> io::Result<Vec<u8>> {
    let mut bytes = spare;
    let mut have = 0;
    while have < size {
        let there = bytes.len();
        let next = size.min(there.max(have + have.max(TAKEN_AT_ONCE)));
        if next > there {
            bytes.reserve_exact(next - there);
            bytes.resize(next, 0);
        }
        stream.read_exact(&mut bytes[have..next])?;
        have = next;
    }
    bytes.truncate(size);
    Ok(bytes)
}
