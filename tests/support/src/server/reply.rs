//! Replies that break the protocol, one rule at a time.
//!
//! While a [`Fault`](crate::fault::Fault) cuts bytes, a [`ReplyFault`] leaves the transport unchanged and sends a
//! message that a client must reject, or must handle correctly.

use crate::compress::{Compressor, wrap, wrap_as};
use crate::fault::Action;
use crate::net::lock;
use crate::wire::{CHECKSUM_PRESENT, Frame, MORE_TO_COME, crc32c};
use std::sync::Mutex;

/// A fault of a reply.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum ReplyFault {
    /// No reply comes; the connection stays open.
    Silence,
    /// `responseTo` names another request.
    WrongResponseTo,
    /// The header declares this length; the bytes sent stay the same.
    DeclaredLength(i32),
    /// The header has this opcode.
    OpCode(i32),
    /// The last `n` bytes are missing, and the header's length matches that.
    Truncated(usize),
    /// These flag bits are set.
    Flags(u32),
    /// A checksum is announced and added; a wrong one unless `valid`. Only OP_MSG has one.
    Checksum {
        /// True if the checksum is correct.
        valid: bool,
    },
    /// The flag for further replies is set, but none follows.
    MoreToCome,
    /// This number of zero bytes follows the last section, and the header's length includes them.
    TrailingBytes(usize),
    /// The body section comes twice.
    TwoBodies,
    /// The reply is not compressed, although its request was.
    Uncompressed,
    /// The reply is compressed in this way, for any request, with an optional fault.
    Compressed(Compressor, Option<CompressedFault>),
    /// These bytes instead of the whole message.
    Replace(Vec<u8>),
    /// These bytes in place of the document, in a message that is otherwise sound.
    Body(Vec<u8>),
    /// This number of bytes of the reply pass, then the action happens.
    Cut {
        /// The number of bytes that pass.
        after: u64,
        /// The action after that.
        action: Action,
    },
}

/// A fault of a compressed reply.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum CompressedFault {
    /// `uncompressedSize` has this value.
    Size(i32),
    /// The compressor has this number.
    Number(u8),
    /// `originalOpcode` has this value.
    OpCode(i32),
    /// The last `n` compressed bytes are missing.
    Truncated(usize),
    /// These bytes follow the compressed bytes.
    Trailing(Vec<u8>),
    /// This number of zeros is compressed instead, and the true size of the reply is declared.
    Bomb(usize),
}

impl CompressedFault {
    fn apply(&self, reply: &Frame, compressor: Compressor) -> Frame {
        let mut size = i32::try_from(reply.payload.len()).unwrap_or(i32::MAX);
        let (mut op_code, mut number) = (reply.op_code, compressor as u8);
        let mut compressed = compressor.compress(&reply.payload);
        match self {
            Self::Size(wrong) => size = *wrong,
            Self::Number(wrong) => number = *wrong,
            Self::OpCode(wrong) => op_code = *wrong,
            Self::Truncated(bytes) => {
                compressed.truncate(compressed.len().saturating_sub(*bytes));
            }
            Self::Trailing(bytes) => compressed.extend(bytes),
            Self::Bomb(zeros) => compressed = compressor.compress(&vec![0; *zeros]),
        }
        wrap_as(reply, op_code, size, number, &compressed)
    }
}

impl ReplyFault {
    /// The bytes to send instead of `reply`; empty for no reply at all.
    pub(super) fn apply(&self, mut reply: Frame) -> Vec<u8> {
        match self {
            Self::Silence => return Vec::new(),
            Self::Replace(bytes) => return bytes.clone(),
            Self::DeclaredLength(length) => {
                let mut bytes = reply.encode();
                bytes[..4].copy_from_slice(&length.to_le_bytes());
                return bytes;
            }
            Self::Checksum { valid } => {
                set_flags(&mut reply, CHECKSUM_PRESENT);
                reply.payload.extend([0; 4]);
                let mut bytes = reply.encode();
                let end = bytes.len() - 4;
                let sum = crc32c(&bytes[..end]) ^ u32::from(!valid);
                bytes[end..].copy_from_slice(&sum.to_le_bytes());
                return bytes;
            }
            Self::Cut { .. } | Self::Uncompressed => {}
            Self::Body(bytes) => {
                // Flags, and the kind of a section.
                reply.payload = vec![0; 5];
                reply.payload.extend(bytes);
            }
            Self::Compressed(compressor, None) => return wrap(&reply, *compressor).encode(),
            Self::Compressed(compressor, Some(fault)) => {
                return fault.apply(&reply, *compressor).encode();
            }
            Self::WrongResponseTo => reply.response_to = reply.response_to.wrapping_add(1),
            Self::OpCode(code) => reply.op_code = *code,
            Self::Truncated(bytes) => {
                let left = reply.payload.len().saturating_sub(*bytes);
                reply.payload.truncate(left);
            }
            Self::Flags(bits) => set_flags(&mut reply, *bits),
            Self::MoreToCome => set_flags(&mut reply, MORE_TO_COME),
            Self::TrailingBytes(bytes) => reply.payload.resize(reply.payload.len() + bytes, 0),
            Self::TwoBodies => reply.payload.extend_from_within(4..),
        }
        reply.encode()
    }
}

/// Flags are the first field of both OP_MSG and OP_REPLY.
fn set_flags(reply: &mut Frame, bits: u32) {
    if let Some(flags) = reply.payload.first_chunk_mut::<4>() {
        *flags = (u32::from_le_bytes(*flags) | bits).to_le_bytes();
    }
}

#[derive(Debug)]
struct Rule {
    command: String,
    left: usize,
    fault: ReplyFault,
}

/// The faults of future replies.
#[derive(Debug, Default)]
pub(super) struct ReplyPlan(Mutex<Vec<Rule>>);

impl ReplyPlan {
    pub(super) fn add(&self, command: &str, times: usize, fault: ReplyFault) {
        let rule = Rule {
            command: command.into(),
            left: times,
            fault,
        };
        lock(&self.0).push(rule);
    }

    pub(super) fn clear(&self) {
        lock(&self.0).clear();
    }

    pub(super) fn take(&self, command: &str) -> Option<ReplyFault> {
        let mut rules = lock(&self.0);
        rules.retain(|rule| rule.left > 0);
        let rule = rules
            .iter_mut()
            .find(|rule| rule.command == "*" || rule.command == command)?;
        rule.left -= 1;
        Some(rule.fault.clone())
    }
}
