//! The MongoDB wire protocol: bytes and conversations, no sockets.
//!
//! A request is encoded whole into one buffer, so that it leaves in one write ([`request`]). A reply
//! is read from anything that reads, checked before memory is allocated for it, and handed on as raw
//! BSON without a copy ([`reply`]). Either may be wrapped in a compressed message ([`compress`]). Every length
//! comes from outside and is never trusted.
//!
//! Sources: the "OP_MSG" and "OP_COMPRESSED" specifications of the MongoDB drivers, and "MongoDB Wire Protocol" of the
//! MongoDB manual. All integers are little-endian.

pub(crate) mod compress;
pub(crate) mod reply;
pub(crate) mod request;

use std::io::{self, Read};

/// The largest message that either side may send, unless the server names a smaller limit.
pub(crate) const MAX_MESSAGE_SIZE: usize = 48_000_000;

/// The standard header: length, request id, response to, opcode.
pub(crate) const HEADER_SIZE: usize = 16;

/// The opcodes that this crate sends or reads.
pub(crate) mod opcode {
    pub(crate) const REPLY: i32 = 1;
    pub(crate) const QUERY: i32 = 2004;
    pub(crate) const COMPRESSED: i32 = 2012;
    pub(crate) const MSG: i32 = 2013;
}

/// The flags of OP_MSG; those below bit 16 must be understood.
pub(crate) mod flag {
    pub(crate) const CHECKSUM_PRESENT: u32 = 1;
    pub(crate) const MORE_TO_COME: u32 = 2;
    pub(crate) const EXHAUST_ALLOWED: u32 = 1 << 16;
    pub(crate) const REQUIRED: u32 = 0xFFFF;
}

/// The integer at `at`, if the bytes reach so far.
fn word(bytes: &[u8], at: usize) -> Option<i32> {
    bytes
        .get(at..at + 4)
        .and_then(|bytes| bytes.try_into().ok())
        .map(i32::from_le_bytes)
}

/// A length of the protocol. One that does not fit belongs to a message over every limit, which is
/// refused as a whole.
fn length(size: usize) -> i32 {
    i32::try_from(size).unwrap_or(i32::MAX)
}

/// Up to this size memory is taken at once; a larger reply makes it grow as its bytes come.
const TAKEN_AT_ONCE: usize = 1 << 20;

/// Reads `size` bytes, into memory that is there or grows as they come.
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
