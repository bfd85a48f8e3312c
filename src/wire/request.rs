//! Encoding requests: OP_MSG for commands, OP_QUERY for the first hello.

use bson::raw::CStr;
use bson::{RawArrayBuf, RawDocument, RawDocumentBuf};

use super::{HEADER_SIZE, flag, length, opcode, word};

/// Documents that travel beside the body of a command, such as those of an insert (an OP_MSG section
/// of kind 1).
#[derive(Clone, Copy, Debug)]
pub(crate) struct DocumentSequence<'a> {
    /// The field of the command that they stand for, such as `documents`.
    pub(crate) identifier: &'a str,
    /// The BSON documents, one after the other.
    pub(crate) documents: &'a [u8],
}

/// A message does not fit the limits of the protocol.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct TooLarge {
    pub(crate) size: usize,
    pub(crate) limit: usize,
}

/// Appends fields to a document that is being encoded.
pub(crate) struct Fields<'a>(&'a mut Vec<u8>);

impl Fields<'_> {
    /// Appends a text field. `key` holds no NUL.
    pub(crate) fn text(&mut self, key: &str, value: &str) {
        self.start(0x02, key);
        // The length counts the final NUL; a text that long does not pass the limit on messages.
        self.0
            .extend_from_slice(&length(value.len() + 1).to_le_bytes());
        self.0.extend_from_slice(value.as_bytes());
        self.0.push(0);
    }

    /// Appends an embedded document. `key` holds no NUL.
    pub(crate) fn document(&mut self, key: &str, value: &RawDocument) {
        self.start(0x03, key);
        self.0.extend_from_slice(value.as_bytes());
    }

    fn start(&mut self, kind: u8, key: &str) {
        self.0.push(kind);
        self.0.extend_from_slice(key.as_bytes());
        self.0.push(0);
    }
}

/// Encodes a command as OP_MSG into `buffer`, whose content is replaced.
///
/// `more` appends fields to the body, such as `$db`; the command itself is copied as it stands.
///
/// # Errors
/// [`TooLarge`] if the message would exceed `limit`; then there is nothing to send.
pub(crate) fn encode_msg(
    buffer: &mut Vec<u8>,
    request_id: i32,
    body: &RawDocument,
    more: impl FnOnce(&mut Fields<'_>),
    sequences: &[DocumentSequence<'_>],
    limit: usize,
) -> Result<(), TooLarge> {
    let estimate = body.as_bytes().len()
        + sequences
            .iter()
            .map(|sequence| sequence.documents.len())
            .sum::<usize>();
    if estimate > limit {
        return Err(TooLarge {
            size: estimate,
            limit,
        });
    }
    buffer.clear();
    header(buffer, request_id, opcode::MSG);
    buffer.extend_from_slice(&0_u32.to_le_bytes());
    buffer.push(0);
    let start = buffer.len();
    let (_, fields) = body.as_bytes().split_last().unwrap_or((&0, &[]));
    buffer.extend_from_slice(fields);
    more(&mut Fields(buffer));
    buffer.push(0);
    patch(buffer, start);
    for sequence in sequences {
        buffer.push(1);
        let start = buffer.len();
        buffer.extend_from_slice(&[0; 4]);
        buffer.extend_from_slice(sequence.identifier.as_bytes());
        buffer.push(0);
        buffer.extend_from_slice(sequence.documents);
        patch(buffer, start);
    }
    finish(buffer, limit)
}

/// Lets the server answer the message of [`encode_msg`] in `buffer` more than once.
pub(crate) fn allow_exhaust(buffer: &mut [u8]) {
    if let Some(flags) = buffer.get_mut(HEADER_SIZE..HEADER_SIZE + 4) {
        flags.copy_from_slice(&flag::EXHAUST_ALLOWED.to_le_bytes());
    }
}

/// The command in a message of [`encode_msg`] as one document: the sequences are arrays in it.
pub(crate) fn folded(message: &[u8], sequences: &[DocumentSequence<'_>]) -> RawDocumentBuf {
    let body = message
        .get(MSG_PREFIX..)
        .and_then(|rest| first_document(rest));
    let mut command = body.map(|(body, _)| body.to_owned()).unwrap_or_default();
    for sequence in sequences {
        let mut documents = RawArrayBuf::new();
        let mut rest = sequence.documents;
        while let Some((document, after)) = first_document(rest) {
            documents.push(document.to_owned());
            rest = after;
        }
        // An identifier with a NUL is refused long before.
        if let Ok(key) = <&CStr>::try_from(sequence.identifier) {
            command.append(key, documents);
        }
    }
    command
}

/// The document at the beginning, and what follows it.
fn first_document(bytes: &[u8]) -> Option<(&RawDocument, &[u8])> {
    let size = usize::try_from(word(bytes, 0)?).ok()?;
    let (document, rest) = bytes.split_at_checked(size)?;
    Some((RawDocument::from_bytes(document).ok()?, rest))
}

/// The bytes before the body of an OP_MSG: header, flags, kind.
const MSG_PREFIX: usize = HEADER_SIZE + 4 + 1;

/// Encodes a command as OP_QUERY on `admin.$cmd` into `buffer`, whose content is replaced.
pub(crate) fn encode_query(
    buffer: &mut Vec<u8>,
    request_id: i32,
    body: &RawDocument,
) -> Result<(), TooLarge> {
    /// Lets a secondary answer.
    const SECONDARY_OK: u32 = 1 << 2;
    buffer.clear();
    header(buffer, request_id, opcode::QUERY);
    buffer.extend_from_slice(&SECONDARY_OK.to_le_bytes());
    buffer.extend_from_slice(b"admin.$cmd\0");
    buffer.extend_from_slice(&0_i32.to_le_bytes());
    buffer.extend_from_slice(&(-1_i32).to_le_bytes());
    buffer.extend_from_slice(body.as_bytes());
    finish(buffer, super::MAX_MESSAGE_SIZE)
}

fn header(buffer: &mut Vec<u8>, request_id: i32, opcode: i32) {
    for word in [0, request_id, 0, opcode] {
        buffer.extend_from_slice(&word.to_le_bytes());
    }
}

fn finish(buffer: &mut [u8], limit: usize) -> Result<(), TooLarge> {
    if buffer.len() > limit {
        return Err(TooLarge {
            size: buffer.len(),
            limit,
        });
    }
    patch(buffer, 0);
    Ok(())
}

/// Writes the length of what follows `start` there.
fn patch(buffer: &mut [u8], start: usize) {
    let size = length(buffer.len() - start).to_le_bytes();
    buffer[start..start + 4].copy_from_slice(&size);
}

#[cfg(test)]
mod tests {
    use bson::{RawDocumentBuf, doc};

    use super::*;

    fn raw(document: bson::Document) -> RawDocumentBuf {
        RawDocumentBuf::try_from(&document).unwrap()
    }

    #[test]
    fn a_ping_is_encoded_byte_by_byte() {
        let mut buffer = vec![0xAA; 3];
        let ping = raw(doc! { "ping": 1_i32 });
        encode_msg(
            &mut buffer,
            7,
            &ping,
            |fields| fields.text("$db", "admin"),
            &[],
            1000,
        )
        .unwrap();
        #[rustfmt::skip]
        let expected = [
            51, 0, 0, 0, 7, 0, 0, 0, 0, 0, 0, 0, 0xDD, 7, 0, 0, // header: 51 bytes, id 7, OP_MSG
            0, 0, 0, 0, 0, // no flags, section of kind 0
            30, 0, 0, 0, 0x10, b'p', b'i', b'n', b'g', 0, 1, 0, 0, 0,
            2, b'$', b'd', b'b', 0, 6, 0, 0, 0, b'a', b'd', b'm', b'i', b'n', 0, 0,
        ];
        assert_eq!(buffer, expected);
    }

    #[test]
    fn a_sequence_follows_the_body_with_its_own_length() {
        let mut buffer = Vec::new();
        let document = raw(doc! { "a": 1_i32 });
        let sequence = DocumentSequence {
            identifier: "documents",
            documents: document.as_bytes(),
        };
        encode_msg(
            &mut buffer,
            1,
            &raw(doc! { "insert": "c" }),
            |_| (),
            &[sequence],
            1000,
        )
        .unwrap();
        let tail = &buffer[buffer.len() - (1 + 4 + 10 + 12)..];
        assert_eq!(tail[..5], [1, 26, 0, 0, 0]);
        assert_eq!(&tail[5..15], b"documents\0");
        assert_eq!(&tail[15..], document.as_bytes());
    }

    #[test]
    fn the_folded_command_has_sequences_as_arrays() {
        let mut buffer = Vec::new();
        let documents = [doc! { "_id": 1 }, doc! { "_id": 2, "x": [] }].map(raw);
        let bytes = documents.each_ref().map(|one| one.as_bytes()).concat();
        let sequences = [("documents", &bytes[..]), ("none", &[])];
        let sequences = sequences.map(|(identifier, documents)| DocumentSequence {
            identifier,
            documents,
        });
        let insert = raw(doc! { "insert": "c" });
        let more = |fields: &mut Fields<'_>| fields.text("$db", "d");
        encode_msg(&mut buffer, 1, &insert, more, &sequences, 1000).unwrap();
        let expected = doc! {
            "insert": "c", "$db": "d", "documents": [{ "_id": 1 }, { "_id": 2, "x": [] }], "none": [],
        };
        assert_eq!(folded(&buffer, &sequences), raw(expected));
    }

    #[test]
    fn a_message_over_the_limit_is_refused() {
        let mut buffer = Vec::new();
        let ping = raw(doc! { "ping": 1_i32 });
        let refused = encode_msg(
            &mut buffer,
            7,
            &ping,
            |fields| fields.text("$db", "admin"),
            &[],
            50,
        );
        assert_eq!(
            refused,
            Err(TooLarge {
                size: 51,
                limit: 50
            })
        );
    }
}
