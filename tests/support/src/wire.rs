//! The bench's own MongoDB wire protocol, separate from the connector's on purpose.
//!
//! If both shared one implementation, a mistake in it would cancel out. So this one is small, slow and literal: bytes
//! in, owned documents out. It supports OP_QUERY and OP_REPLY (for a legacy hello), and OP_MSG with both kinds of
//! section; OP_COMPRESSED is in [`compress`](crate::compress).
//!
//! All integers are little-endian. Source: "MongoDB Wire Protocol" in MongoDB's manual and the OP_MSG specification.
//! Malformed input is an [`io::Error`] of kind `InvalidData`.

use bson::Document;
use std::io::{self, ErrorKind, Read};

/// OP_REPLY.
pub const OP_REPLY: i32 = 1;
/// OP_QUERY.
pub const OP_QUERY: i32 = 2004;
/// OP_COMPRESSED.
pub const OP_COMPRESSED: i32 = 2012;
/// OP_MSG.
pub const OP_MSG: i32 = 2013;

/// OP_MSG flag: a CRC-32C of all before it ends the message.
pub const CHECKSUM_PRESENT: u32 = 1;
/// OP_MSG flag: from a client, no reply is wanted; from a server, another reply follows.
pub const MORE_TO_COME: u32 = 1 << 1;
/// OP_MSG flag: the client takes replies with [`MORE_TO_COME`].
pub const EXHAUST_ALLOWED: u32 = 1 << 16;

/// The longest message that is read.
pub const MAX_MESSAGE_SIZE: usize = 48_000_000 + 16_384;

const HEADER: usize = 16;

/// A message, without its header fields for the length.
#[derive(Clone, Debug)]
pub struct Frame {
    /// `requestID`.
    pub request_id: i32,
    /// `responseTo`.
    pub response_to: i32,
    /// `opCode`.
    pub op_code: i32,
    /// The bytes after the header.
    pub payload: Vec<u8>,
}

impl Frame {
    /// Reads one message; `None` if the stream ended before its first byte.
    ///
    /// # Errors
    ///
    /// Those of the stream; `InvalidData` for an impossible length; `UnexpectedEof` inside a message.
    pub fn read(stream: &mut impl Read) -> io::Result<Option<Self>> {
        let mut header = [0; HEADER];
        let first = loop {
            match stream.read(&mut header) {
                Err(error) if error.kind() == ErrorKind::Interrupted => {}
                other => break other?,
            }
        };
        if first == 0 {
            return Ok(None);
        }
        stream.read_exact(&mut header[first..])?;
        let mut fields = &header[..];
        let length = usize::try_from(take_i32(&mut fields)?).map_err(|_| bad("negative length"))?;
        if !(HEADER..=MAX_MESSAGE_SIZE).contains(&length) {
            return Err(bad("impossible message length"));
        }
        let mut frame = Self {
            request_id: take_i32(&mut fields)?,
            response_to: take_i32(&mut fields)?,
            op_code: take_i32(&mut fields)?,
            payload: vec![0; length - HEADER],
        };
        stream.read_exact(&mut frame.payload)?;
        Ok(Some(frame))
    }

    /// The message as bytes, with its true length.
    pub fn encode(&self) -> Vec<u8> {
        let length = i32::try_from(HEADER + self.payload.len()).expect("a message below 2 GiB");
        let mut out = Vec::with_capacity(HEADER + self.payload.len());
        for field in [length, self.request_id, self.response_to, self.op_code] {
            out.extend_from_slice(&field.to_le_bytes());
        }
        out.extend_from_slice(&self.payload);
        out
    }
}

/// A kind-1 section of OP_MSG.
#[derive(Clone, Debug, PartialEq)]
pub struct Sequence {
    /// Its identifier, such as `documents`.
    pub id: String,
    /// Its documents.
    pub documents: Vec<Document>,
}

/// The content of an OP_MSG.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Msg {
    /// Flag bits.
    pub flags: u32,
    /// The one kind-0 section.
    pub body: Document,
    /// The kind-1 sections, in order.
    pub sequences: Vec<Sequence>,
}

impl Msg {
    /// Creates a message with only a body.
    pub fn of(body: Document) -> Self {
        Self {
            body,
            ..Self::default()
        }
    }

    /// Reads the payload of an OP_MSG; a checksum is skipped, not verified.
    ///
    /// # Errors
    ///
    /// `InvalidData` for anything malformed, an unknown required flag, or not exactly one body.
    pub fn decode(payload: &[u8]) -> io::Result<Self> {
        let mut rest = payload;
        let flags = u32::from_le_bytes(take(&mut rest)?);
        // Bits 0-15 are required: a message with an unknown one must be rejected.
        if flags & 0xffff & !(CHECKSUM_PRESENT | MORE_TO_COME) != 0 {
            return Err(bad("unknown required flag"));
        }
        if flags & CHECKSUM_PRESENT != 0 {
            let end = rest.len().checked_sub(4);
            rest = &rest[..end.ok_or_else(|| bad("no room for the checksum"))?];
        }
        let mut body = None;
        let mut sequences = Vec::new();
        while !rest.is_empty() {
            match take::<1>(&mut rest)? {
                [0] if body.is_some() => return Err(bad("two bodies")),
                [0] => body = Some(take_document(&mut rest)?),
                [1] => sequences.push(take_sequence(&mut rest)?),
                _ => return Err(bad("unknown kind of section")),
            }
        }
        Ok(Self {
            flags,
            body: body.ok_or_else(|| bad("no body"))?,
            sequences,
        })
    }

    /// The payload of an OP_MSG, without checksum for any flags.
    pub fn encode(&self) -> Vec<u8> {
        let mut out = self.flags.to_le_bytes().to_vec();
        out.push(0);
        out.extend(self.body.to_vec().unwrap());
        for sequence in &self.sequences {
            let mut content = sequence.id.clone().into_bytes();
            content.push(0);
            for document in &sequence.documents {
                content.extend(document.to_vec().unwrap());
            }
            out.push(1);
            let size = i32::try_from(content.len() + 4).expect("a section below 2 GiB");
            out.extend(size.to_le_bytes());
            out.extend(content);
        }
        out
    }
}

/// The content of an OP_QUERY.
#[derive(Clone, Debug, PartialEq)]
pub struct Query {
    /// Flag bits.
    pub flags: i32,
    /// `database.collection`; for commands the collection is `$cmd`.
    pub namespace: String,
    /// The command.
    pub document: Document,
}

impl Query {
    /// A command on a database.
    pub fn command(database: &str, document: Document) -> Self {
        Self {
            flags: 0,
            namespace: format!("{database}.$cmd"),
            document,
        }
    }

    /// Reads the payload of an OP_QUERY; a field selector is ignored.
    ///
    /// # Errors
    ///
    /// `InvalidData` for anything malformed.
    pub fn decode(payload: &[u8]) -> io::Result<Self> {
        let mut rest = payload;
        let flags = take_i32(&mut rest)?;
        let namespace = take_cstring(&mut rest)?;
        let (_skip, _limit) = (take_i32(&mut rest)?, take_i32(&mut rest)?);
        Ok(Self {
            flags,
            namespace,
            document: take_document(&mut rest)?,
        })
    }

    /// The payload of an OP_QUERY that requests one document.
    pub fn encode(&self) -> Vec<u8> {
        let mut out = self.flags.to_le_bytes().to_vec();
        out.extend(self.namespace.as_bytes());
        out.push(0);
        out.extend(0_i32.to_le_bytes());
        out.extend((-1_i32).to_le_bytes());
        out.extend(self.document.to_vec().unwrap());
        out
    }
}

/// The payload of an OP_REPLY with one document.
pub fn encode_reply(document: &Document) -> Vec<u8> {
    // responseFlags: AwaitCapable, as servers since 3.x set it; then cursor, start, count.
    let mut out = 8_i32.to_le_bytes().to_vec();
    out.extend(0_i64.to_le_bytes());
    out.extend(0_i32.to_le_bytes());
    out.extend(1_i32.to_le_bytes());
    out.extend(document.to_vec().unwrap());
    out
}

/// The first document of an OP_REPLY.
///
/// # Errors
///
/// `InvalidData` for anything malformed.
pub fn decode_reply(payload: &[u8]) -> io::Result<Document> {
    let mut rest = payload;
    let _flags_cursor_start_count: [u8; 20] = take(&mut rest)?;
    take_document(&mut rest)
}

/// The CRC-32C (Castagnoli) of a message, for OP_MSG's checksum.
pub fn crc32c(bytes: &[u8]) -> u32 {
    !bytes.iter().fold(!0_u32, |crc, byte| {
        (0..8).fold(crc ^ u32::from(*byte), |crc, _| {
            (crc >> 1) ^ (0x82f6_3b78 & (crc & 1).wrapping_neg())
        })
    })
}

fn take_sequence(rest: &mut &[u8]) -> io::Result<Sequence> {
    let size = usize::try_from(take_i32(rest)?).map_err(|_| bad("negative section size"))?;
    let size = size.checked_sub(4).filter(|size| *size <= rest.len());
    let (mut section, after) = rest.split_at(size.ok_or_else(|| bad("section size"))?);
    *rest = after;
    let id = take_cstring(&mut section)?;
    let mut documents = Vec::new();
    while !section.is_empty() {
        documents.push(take_document(&mut section)?);
    }
    Ok(Sequence { id, documents })
}

fn take_document(rest: &mut &[u8]) -> io::Result<Document> {
    Document::from_reader(rest).map_err(|error| io::Error::new(ErrorKind::InvalidData, error))
}

fn take_cstring(rest: &mut &[u8]) -> io::Result<String> {
    let end = rest.iter().position(|byte| *byte == 0);
    let (text, after) = rest.split_at(end.ok_or_else(|| bad("string without end"))?);
    *rest = &after[1..];
    String::from_utf8(text.to_vec()).map_err(|_| bad("string that is not UTF-8"))
}

fn take_i32(rest: &mut &[u8]) -> io::Result<i32> {
    take(rest).map(i32::from_le_bytes)
}

fn take<const N: usize>(rest: &mut &[u8]) -> io::Result<[u8; N]> {
    let (head, tail) = rest
        .split_first_chunk::<N>()
        .ok_or_else(|| bad("message too short"))?;
    *rest = tail;
    Ok(*head)
}

fn bad(what: &str) -> io::Error {
    io::Error::new(ErrorKind::InvalidData, what)
}

#[cfg(test)]
mod tests {
    use super::*;
    use bson::doc;

    #[test]
    fn messages_survive_the_round_trip() {
        let msg = Msg {
            flags: EXHAUST_ALLOWED,
            body: doc! { "insert": "c", "$db": "d" },
            sequences: vec![Sequence {
                id: "documents".into(),
                documents: vec![doc! { "_id": 1 }, doc! { "_id": 2 }],
            }],
        };
        assert_eq!(Msg::decode(&msg.encode()).unwrap(), msg);
        let query = Query::command("admin", doc! { "isMaster": 1 });
        assert_eq!(Query::decode(&query.encode()).unwrap(), query);
        let reply = doc! { "ok": 1 };
        assert_eq!(decode_reply(&encode_reply(&reply)).unwrap(), reply);
    }

    #[test]
    fn known_bytes_of_a_ping() {
        // Written out by hand from the specification.
        let bytes = b"\x24\0\0\0\x07\0\0\0\0\0\0\0\xdd\x07\0\0\
            \0\0\0\0\0\x0f\0\0\0\x10ping\0\x01\0\0\0\0";
        let frame = Frame::read(&mut &bytes[..]).unwrap().unwrap();
        assert_eq!((frame.request_id, frame.op_code), (7, OP_MSG));
        let msg = Msg::decode(&frame.payload).unwrap();
        assert_eq!(msg, Msg::of(doc! { "ping": 1 }));
        assert_eq!(frame.encode(), bytes);
    }

    #[test]
    fn malformed_input_is_an_error() {
        for length in [0_i32, 15, -1, i32::MAX] {
            let mut header = [0; 16];
            header[..4].copy_from_slice(&length.to_le_bytes());
            let error = Frame::read(&mut &header[..]).unwrap_err();
            assert_eq!(error.kind(), ErrorKind::InvalidData, "{length}");
        }
        assert!(Frame::read(&mut &[][..]).unwrap().is_none());
        assert!(Frame::read(&mut &[36, 0, 0][..]).is_err());
        let good = Msg::of(doc! { "ping": 1 }).encode();
        for end in 0..good.len() {
            assert!(Msg::decode(&good[..end]).is_err(), "{end}");
        }
        assert!(Msg::decode(&[&good[..], &good[4..]].concat()).is_err());
        assert!(Msg::decode(&[&[4, 0, 0, 0], &good[4..]].concat()).is_err());
    }

    #[test]
    fn checksum_follows_the_published_vector() {
        assert_eq!(crc32c(b"123456789"), 0xe306_9283);
    }
}
