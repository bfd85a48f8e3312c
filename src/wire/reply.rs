//! Reading replies: OP_MSG, which may come in OP_COMPRESSED.
//!
//! The header is checked before anything is allocated. Memory for a large reply grows with the received bytes, so
//! that a length field alone cannot cause a large allocation. The document's own length must fit the message. Its
//! elements are checked as they are read, and its depth is checked before anything recurses into it (`document`).

use std::fmt;
use std::io::{self, Read};

use bson::RawDocumentBuf;

use super::compress::{self, Offered, Refused, Wrapping};
use super::{HEADER_SIZE, MAX_MESSAGE_SIZE, flag, opcode, read_rest, word};

/// The reply that is expected.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Expected {
    /// The id of the request.
    pub(crate) request_id: i32,
    /// The compressors that the reply may use, regardless of the compression of the request.
    pub(crate) offered: Offered,
}

/// The reason why no reply could be read.
#[derive(Debug)]
pub(crate) enum ReadError {
    /// The stream failed. `first_bytes` is the part of the reply received so far.
    Io {
        error: io::Error,
        first_bytes: Vec<u8>,
    },
    /// The peer violated the protocol. `first_bytes` is what it sent.
    Malformed {
        what: Malformed,
        first_bytes: Vec<u8>,
    },
}

/// A protocol violation in a reply.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Malformed {
    /// The declared length of the message is below the minimum or above the maximum.
    Length(i32),
    /// The opcode is not that of an OP_MSG.
    Opcode(i32),
    /// The reply belongs to another request.
    ResponseTo(i32),
    /// A required flag is not supported.
    Flags(u32),
    /// A section is not a body, or there is more than one body.
    Section(u8),
    /// The document's declared length does not fit the message.
    DocumentLength,
    /// The document is not framed as BSON.
    Document,
    /// The message is compressed and cannot be decompressed.
    Compressed(Refused),
}

impl fmt::Display for Malformed {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Length(length) => write!(f, "a message cannot be {length} bytes long"),
            Self::Opcode(opcode) => write!(f, "opcode {opcode} was not expected"),
            Self::ResponseTo(id) => write!(f, "the reply answers request {id}, which was not sent"),
            Self::Flags(flags) => write!(f, "the flags {flags:#x} are not understood"),
            Self::Section(kind) => write!(f, "a section of kind {kind} was not expected"),
            Self::DocumentLength => {
                f.write_str("the length of the document does not fit the message")
            }
            Self::Document => f.write_str("the document is not well-formed BSON"),
            Self::Compressed(refused) => write!(f, "{refused}"),
        }
    }
}

/// The size of the first field of the header.
const LENGTH_SIZE: usize = 4;
/// The bytes before the document of an OP_MSG with one body: header, flags, kind.
const MSG_PREFIX: usize = HEADER_SIZE + 4 + 1;
/// The bytes that are read before the size of the rest is known: up to the document or the compressed bytes.
const HEAD_SIZE: usize = compress::PREFIX;
const _: () = assert!(MSG_PREFIX <= HEAD_SIZE && HEAD_SIZE < MSG_PREFIX + SMALLEST_DOCUMENT);
/// The size of an empty BSON document.
const SMALLEST_DOCUMENT: usize = 5;

/// Reads one reply.
pub(crate) fn read(
    stream: &mut impl Read,
    expected: Expected,
) -> Result<RawDocumentBuf, ReadError> {
    read_into(Vec::new(), stream, expected)
}

/// Reads one reply into memory that is no longer needed. The previous content is lost.
pub(crate) fn read_into(
    spare: Vec<u8>,
    stream: &mut impl Read,
    expected: Expected,
) -> Result<RawDocumentBuf, ReadError> {
    let mut head = [0; HEAD_SIZE];
    let size = read_prefix(stream, &mut head, expected, None)?;
    let (document, _) = read_document(spare, stream, head, size, expected, 0)?;
    Ok(document)
}

/// Reads one of the replies to an OP_MSG that allows more than one, as [`read_into`] does. If another reply follows
/// without a request (`moreToCome`), also returns the request id that it answers, which is the id of this reply. `first` is
/// the id of the request itself, if this reply is not the first one: some servers name it in all replies.
pub(crate) fn read_one_of_many(
    spare: Vec<u8>,
    stream: &mut impl Read,
    expected: Expected,
    first: Option<i32>,
) -> Result<(RawDocumentBuf, Option<i32>), ReadError> {
    let mut head = [0; HEAD_SIZE];
    let size = read_prefix(stream, &mut head, expected, first)?;
    let id = word(&head, 4);
    let allowed = flag::MORE_TO_COME;
    let (document, flags) = read_document(spare, stream, head, size, expected, allowed)?;
    Ok((document, id.filter(|_| flags & allowed != 0)))
}

/// Reads the rest of a reply. Returns its document and its flags, of which those in `allowed` may be set.
fn read_document(
    spare: Vec<u8>,
    stream: &mut impl Read,
    head: [u8; HEAD_SIZE],
    size: usize,
    expected: Expected,
    allowed: u32,
) -> Result<(RawDocumentBuf, u32), ReadError> {
    if word(&head, HEADER_SIZE - 4) == Some(opcode::COMPRESSED) {
        let sent = &head[..compress::PREFIX];
        let malformed = |what| ReadError::Malformed {
            what,
            first_bytes: sent.to_vec(),
        };
        let smallest = MSG_PREFIX - HEADER_SIZE + SMALLEST_DOCUMENT;
        let wrapping = Wrapping::check(sent, size, smallest, expected.offered)
            .map_err(|refused| malformed(Malformed::Compressed(refused)))?;
        let bytes = read_rest(spare, stream, size - sent.len()).map_err(|error| ReadError::Io {
            error,
            first_bytes: sent.to_vec(),
        })?;
        let mut content = compress::unwrap(bytes, wrapping)
            .map_err(|refused| malformed(Malformed::Compressed(refused)))?;
        let mut inner = [0; MSG_PREFIX];
        let fields = MSG_PREFIX - HEADER_SIZE;
        inner[HEADER_SIZE..].copy_from_slice(&content[..fields]);
        content.drain(..fields);
        let (checksum, flags) = check_fields(&inner, allowed).map_err(malformed)?;
        let document = document(content, checksum).map_err(malformed)?;
        return Ok((document, flags));
    }
    let head = &head[..MSG_PREFIX];
    let malformed = |what| ReadError::Malformed {
        what,
        first_bytes: head.to_vec(),
    };
    let (checksum, flags) = check_fields(head, allowed).map_err(malformed)?;
    let rest = read_rest(spare, stream, size - MSG_PREFIX).map_err(|error| ReadError::Io {
        error,
        first_bytes: head.to_vec(),
    })?;
    let document = document(rest, checksum).map_err(malformed)?;
    Ok((document, flags))
}

/// Returns the document in `rest`, which ends with `checksum` bytes of checksum.
fn document(mut rest: Vec<u8>, checksum: usize) -> Result<RawDocumentBuf, Malformed> {
    let end = rest
        .len()
        .checked_sub(checksum)
        .ok_or(Malformed::DocumentLength)?;
    let document_size = word(&rest, 0).and_then(|size| usize::try_from(size).ok());
    match document_size {
        Some(size) if size == end => {}
        // Another section follows the body, which a reply to a command never has.
        Some(size) if (SMALLEST_DOCUMENT..end).contains(&size) => {
            return Err(Malformed::Section(rest[size]));
        }
        _ => return Err(Malformed::DocumentLength),
    }
    rest.truncate(end);
    RawDocumentBuf::from_bytes(rest).map_err(|_| Malformed::Document)
}

/// Fills the beginning of `head`, up to the document or the compressed bytes, and checks the header as soon as it is
/// received. Returns the size of the message.
fn read_prefix(
    stream: &mut impl Read,
    head: &mut [u8],
    expected: Expected,
    first: Option<i32>,
) -> Result<usize, ReadError> {
    // This is also the size of the smallest OP_COMPRESSED: its prefix, and one byte.
    let smallest = MSG_PREFIX + SMALLEST_DOCUMENT;
    let mut target = MSG_PREFIX;
    let mut have = 0;
    let mut size = None;
    let mut checked = false;
    while have < target {
        let taken = match stream.read(&mut head[have..target]) {
            Ok(0) => Err(io::ErrorKind::UnexpectedEof.into()),
            other => other,
        };
        match taken {
            Ok(n) => have += n,
            Err(error) if error.kind() == io::ErrorKind::Interrupted => continue,
            Err(error) => {
                return Err(ReadError::Io {
                    error,
                    first_bytes: head[..have].to_vec(),
                });
            }
        }
        let malformed = |what| ReadError::Malformed {
            what,
            first_bytes: head[..have].to_vec(),
        };
        // A server that is not MongoDB may send less than a header, and then wait.
        if size.is_none() && have >= LENGTH_SIZE {
            size = Some(check_length(head, smallest).map_err(malformed)?);
        }
        if !checked && have >= HEADER_SIZE {
            if check_header(head, expected, first).map_err(malformed)? {
                target = compress::PREFIX;
            }
            checked = true;
        }
    }
    Ok(size.unwrap_or(0))
}

/// Returns the size of the message from its first field.
fn check_length(head: &[u8], smallest: usize) -> Result<usize, Malformed> {
    let length = word(head, 0).unwrap_or(0);
    usize::try_from(length)
        .ok()
        .filter(|size| (smallest..=MAX_MESSAGE_SIZE).contains(size))
        .ok_or(Malformed::Length(length))
}

/// Checks the header, and returns true if the message is compressed.
fn check_header(head: &[u8], expected: Expected, first: Option<i32>) -> Result<bool, Malformed> {
    let field = |at| word(head, at).unwrap_or(0);
    let (response_to, opcode) = (field(8), field(12));
    let is_compressed = opcode == opcode::COMPRESSED && expected.offered.has_any();
    if opcode != opcode::MSG && !is_compressed {
        return Err(Malformed::Opcode(opcode));
    }
    if response_to != expected.request_id && first != Some(response_to) {
        return Err(Malformed::ResponseTo(response_to));
    }
    Ok(is_compressed)
}

/// Checks flags and section kind, and returns the number of checksum bytes at the end of the message, and the flags.
/// Those in `allowed` may be set: `moreToCome` is valid only after a request that allows it.
fn check_fields(head: &[u8], allowed: u32) -> Result<(usize, u32), Malformed> {
    let flags = word(head, HEADER_SIZE).map_or(0, |flags| u32::from_ne_bytes(flags.to_ne_bytes()));
    if flags & flag::REQUIRED & !flag::CHECKSUM_PRESENT & !allowed != 0 {
        return Err(Malformed::Flags(flags));
    }
    match head[MSG_PREFIX - 1] {
        0 => {}
        kind => return Err(Malformed::Section(kind)),
    }
    // TCP and TLS already protect the bytes, and the specification makes the check optional for drivers.
    let checksum = match flags & flag::CHECKSUM_PRESENT {
        0 => 0,
        _ => 4,
    };
    Ok((checksum, flags))
}

#[cfg(test)]
mod tests {
    use bson::{doc, rawdoc};

    use mongotls_testbench::random::{Random, rounds};

    use super::super::TAKEN_AT_ONCE;
    use super::*;

    const PING: Expected = Expected {
        request_id: 9,
        offered: Offered::NONE,
    };

    /// Returns an OP_MSG that answers request 9 with `document`.
    fn message(document: &[u8]) -> Vec<u8> {
        let mut bytes = Vec::new();
        for word in [0, 1, 9, opcode::MSG, 0] {
            bytes.extend_from_slice(&i32::to_le_bytes(word));
        }
        bytes.push(0);
        bytes.extend_from_slice(document);
        set_length(&mut bytes);
        bytes
    }

    fn set_length(bytes: &mut [u8]) {
        let length = i32::try_from(bytes.len()).unwrap().to_le_bytes();
        bytes[..4].copy_from_slice(&length);
    }

    fn set_word(bytes: &mut [u8], at: usize, word: i32) {
        bytes[at..at + 4].copy_from_slice(&word.to_le_bytes());
    }

    fn malformed(bytes: &[u8], expected: Expected) -> Malformed {
        match read(&mut &bytes[..], expected) {
            Err(ReadError::Malformed { what, .. }) => what,
            other => panic!("{other:?}"),
        }
    }

    #[test]
    fn a_reply_is_read_whole_and_no_further() {
        let ok = rawdoc! { "ok": 1.0 };
        let mut bytes = message(ok.as_bytes());
        bytes.extend_from_slice(b"next");
        let mut stream = &bytes[..];
        assert_eq!(read(&mut stream, PING).unwrap(), ok);
        assert_eq!(stream, b"next");
    }

    #[test]
    fn buffers_are_reused_and_their_contents_dropped() {
        let ok = rawdoc! { "ok": 1.0 };
        let bytes = message(ok.as_bytes());
        for spare in [vec![7; 5], vec![7; 17], vec![7; 5000]] {
            let capacity = spare.capacity().max(ok.as_bytes().len());
            let read = read_into(spare, &mut &bytes[..], PING).unwrap();
            assert_eq!(read, ok);
            assert_eq!(read.into_bytes().capacity(), capacity);
        }
    }

    #[test]
    fn a_checksum_is_cut_off() {
        let ok = rawdoc! { "ok": 1.0 };
        let mut bytes = message(ok.as_bytes());
        bytes.extend_from_slice(&[1, 2, 3, 4]);
        set_word(&mut bytes, 16, 1);
        set_length(&mut bytes);
        assert_eq!(read(&mut &bytes[..], PING).unwrap(), ok);
    }

    #[test]
    fn each_breach_of_the_protocol_has_its_name() {
        let good = message(rawdoc! { "ok": 1.0 }.as_bytes());
        let broken = |at: usize, word: i32| {
            let mut bytes = good.clone();
            set_word(&mut bytes, at, word);
            malformed(&bytes, PING)
        };
        for length in [i32::MIN, -1, 0, 15, 25, 48_000_001, i32::MAX] {
            assert_eq!(broken(0, length), Malformed::Length(length));
        }
        assert_eq!(broken(8, 10), Malformed::ResponseTo(10));
        assert_eq!(broken(12, 2012), Malformed::Opcode(2012));
        assert_eq!(broken(16, 2), Malformed::Flags(2));
        assert_eq!(broken(16, 1 << 15), Malformed::Flags(1 << 15));
        for length in [i32::MIN, -1, 0, 4, 1000] {
            assert_eq!(broken(21, length), Malformed::DocumentLength);
        }
        let mut sequence = good.clone();
        sequence[20] = 1;
        assert_eq!(malformed(&sequence, PING), Malformed::Section(1));
        let mut two = good.clone();
        two.push(1);
        set_length(&mut two);
        assert_eq!(malformed(&two, PING), Malformed::Section(1));
        let mut unterminated = good.clone();
        *unterminated.last_mut().unwrap() = 1;
        assert_eq!(malformed(&unterminated, PING), Malformed::Document);
    }

    /// Returns its bytes, and then fails like a socket whose peer waits.
    struct Waiting<'a>(&'a [u8]);

    impl Read for Waiting<'_> {
        fn read(&mut self, buf: &mut [u8]) -> io::Result<usize> {
            if self.0.is_empty() {
                return Err(io::ErrorKind::TimedOut.into());
            }
            self.0.read(buf)
        }
    }

    #[test]
    fn an_impossible_length_is_rejected_at_once() {
        for (greeting, length) in [
            (&b"SSH-2.0-x\r\n"[..], i32::from_le_bytes(*b"SSH-")),
            (b"220 ", i32::from_le_bytes(*b"220 ")),
            (&[25, 0, 0, 0], 25),
            (&[0xff; 4], -1),
        ] {
            match read(&mut Waiting(greeting), PING) {
                Err(ReadError::Malformed { what, first_bytes }) => {
                    assert_eq!(what, Malformed::Length(length));
                    assert_eq!(first_bytes, greeting);
                }
                other => panic!("{other:?}"),
            }
        }
        assert!(matches!(
            read(&mut Waiting(&[26, 0, 0, 0]), PING),
            Err(ReadError::Io { error, .. }) if error.kind() == io::ErrorKind::TimedOut
        ));
    }

    #[test]
    fn an_op_reply_is_no_reply_to_an_op_msg() {
        let mut bytes = Vec::new();
        for word in [0, 1, 9, opcode::REPLY, 0, 0, 0, 0, 1] {
            bytes.extend_from_slice(&i32::to_le_bytes(word));
        }
        bytes.extend_from_slice(rawdoc! { "ok": 1.0 }.as_bytes());
        set_length(&mut bytes);
        assert_eq!(malformed(&bytes, PING), Malformed::Opcode(1));
    }

    #[test]
    fn a_cut_tells_how_the_reply_had_begun() {
        let good = message(rawdoc! { "ok": 1.0 }.as_bytes());
        for cut in 0..good.len() {
            match read(&mut &good[..cut], PING) {
                Err(ReadError::Io { error, first_bytes }) => {
                    assert_eq!(error.kind(), io::ErrorKind::UnexpectedEof);
                    assert_eq!(first_bytes, good[..cut.min(MSG_PREFIX)]);
                }
                other => panic!("{other:?}"),
            }
        }
    }

    /// Counts the largest amount of memory that a reader must fill at once.
    struct Endless(usize);

    impl Read for Endless {
        fn read(&mut self, buf: &mut [u8]) -> io::Result<usize> {
            self.0 = self.0.max(buf.len());
            buf.fill(0);
            Ok(buf.len().min(1))
        }
    }

    #[test]
    fn more_to_come_is_allowed_only_for_exhaust_replies() {
        let document = rawdoc! { "ok": 1 };
        let mut bytes = message(document.as_bytes());
        set_word(&mut bytes, 4, 77);
        let one = |bytes: &[u8]| read_one_of_many(Vec::new(), &mut &*bytes, PING, None).unwrap();
        assert_eq!(one(&bytes), (document.clone(), None));
        set_word(&mut bytes, 16, 2);
        assert_eq!(one(&bytes), (document, Some(77)));
        assert_eq!(malformed(&bytes, PING), Malformed::Flags(2));
        set_word(&mut bytes, 16, 6);
        let refused = read_one_of_many(Vec::new(), &mut &bytes[..], PING, None);
        assert!(matches!(
            refused,
            Err(ReadError::Malformed {
                what: Malformed::Flags(6),
                ..
            })
        ));
    }

    #[test]
    fn a_further_reply_answers_the_last_one_or_the_request() {
        let document = rawdoc! { "ok": 1 };
        let mut bytes = message(document.as_bytes());
        for (answers, first, is_accepted) in [
            (9, None, true),
            (9, Some(3), true),
            (3, Some(3), true),
            (3, None, false),
            (4, Some(3), false),
        ] {
            set_word(&mut bytes, 8, answers);
            let read = read_one_of_many(Vec::new(), &mut &bytes[..], PING, first);
            let is_other = matches!(
                read,
                Err(ReadError::Malformed {
                    what: Malformed::ResponseTo(id),
                    ..
                }) if id == answers
            );
            assert_eq!((read.is_ok(), is_other), (is_accepted, !is_accepted));
        }
    }

    #[test]
    fn a_length_alone_claims_no_memory() {
        let mut head = message(rawdoc! {}.as_bytes());
        set_word(&mut head, 0, 48_000_000);
        let mut stream = head[..MSG_PREFIX].chain(io::empty());
        assert!(matches!(
            read(&mut stream, PING),
            Err(ReadError::Io { first_bytes, .. }) if first_bytes.len() == MSG_PREFIX
        ));
        let mut endless = Endless(0);
        let started = read_rest(Vec::new(), &mut (&mut endless).take(100), 48_000_000);
        assert!(
            started.is_err() && endless.0 <= TAKEN_AT_ONCE,
            "{}",
            endless.0
        );
    }

    /// Reads one million messages: random ones, and valid ones with bytes changed, truncated, duplicated or added.
    /// Set `MONGOTLS_FUZZ_ROUNDS` for more.
    #[test]
    fn random_and_mutated_messages_neither_panic_nor_claim_memory() {
        let rounds = rounds(1_000_000);
        let mut random = Random::default();
        let document = doc! { "ok": 1.0, "cursor": { "id": 5_i64, "ns": "a.b", "firstBatch": [{ "x": "y" }, 7] } };
        let good = message(&document.to_vec().unwrap());
        let mut read_whole = 0_u64;
        let mut in_batches = 0;
        for _ in 0..rounds {
            let mut bytes = if random.below(4) == 0 {
                let count = random.below(200);
                random.bytes(count)
            } else {
                good.clone()
            };
            for _ in 0..random.below(4) {
                mutate(&mut bytes, &mut random);
            }
            if let Ok(document) = read(&mut &bytes[..], PING) {
                read_whole += 1;
                assert!(document.as_bytes().len() <= bytes.len());
                let _ = crate::document::to_document(&document);
                crate::conn::read_by_all_readers(&document);
                in_batches += crate::op::read_batches(&document);
                let taken = document.into_bytes().capacity();
                assert!(taken <= bytes.len() + TAKEN_AT_ONCE, "{taken}");
            }
        }
        assert!(
            read_whole > 0 && read_whole < rounds,
            "{read_whole} of {rounds} were read"
        );
        assert!(in_batches > 0);
    }

    fn mutate(bytes: &mut Vec<u8>, random: &mut Random) {
        if bytes.is_empty() {
            return;
        }
        let at = random.below(bytes.len());
        match random.below(6) {
            0 => bytes[at] = random.number().to_le_bytes()[0],
            1 => bytes[at] ^= 1 << random.below(8),
            2 => bytes.truncate(at),
            3 => bytes.extend_from_within(at..),
            4 if bytes.len() >= 25 => {
                let places = [0, 4, 8, 12, 16, 21];
                let words = [i32::MIN, -1, 0, 1, 5, 26, 48_000_000, i32::MAX];
                let (place, word) = (
                    places[random.below(places.len())],
                    words[random.below(words.len())],
                );
                set_word(bytes, place, word);
            }
            _ => {
                if bytes.len() >= 4 {
                    set_length(bytes);
                }
            }
        }
    }
}
