//! Encoding requests: each is one OP_MSG.

use bson::raw::CStr;
use bson::spec::{BinarySubtype, ElementType};
use bson::{RawArrayBuf, RawBsonRef, RawDocument, RawDocumentBuf, Timestamp};

use super::{HEADER_SIZE, flag, length, opcode, word};
use crate::options::{Acknowledgment, ServerApi, WriteConcern};

/// Documents that are sent next to the body of a command, such as those of an insert (an OP_MSG section of kind 1).
#[derive(Clone, Copy, Debug)]
pub(crate) struct DocumentSequence<'a> {
    /// The field of the command that the documents belong to, such as `documents`.
    pub(crate) identifier: &'a str,
    /// The BSON documents, one after the other.
    pub(crate) documents: &'a [u8],
}

/// The error for a message that exceeds the limits of the protocol.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct TooLarge {
    pub(crate) size: usize,
    pub(crate) limit: usize,
}

/// A command that writes its own fields into a message.
pub(crate) trait EncodeCommand {
    /// Returns the name of the command, which is its first field.
    fn name(&self) -> &str;

    /// Returns the minimum size of the encoded fields in bytes, if it is cheap to compute. A message that already
    /// exceeds the limit by this size is not encoded.
    fn min_size(&self) -> usize {
        0
    }

    /// Writes the fields of the command.
    fn encode(&self, fields: &mut Fields<'_>);

    /// Returns the size of the command as a document, in bytes, without the fields that the driver adds.
    fn size(&self) -> usize {
        let mut bytes = Vec::new();
        self.encode(&mut Fields(&mut bytes));
        4 + bytes.len() + 1
    }
}

/// A whole document as a command. Its fields are copied as they are.
impl EncodeCommand for RawDocument {
    fn name(&self) -> &str {
        command_name(self)
    }

    fn min_size(&self) -> usize {
        self.as_bytes().len()
    }

    fn encode(&self, fields: &mut Fields<'_>) {
        fields.fields_of(self);
    }
}

impl EncodeCommand for RawDocumentBuf {
    fn name(&self) -> &str {
        command_name(self)
    }

    fn min_size(&self) -> usize {
        self.as_bytes().len()
    }

    fn encode(&self, fields: &mut Fields<'_>) {
        fields.fields_of(self);
    }
}

/// Returns the name of a command: its first key, or an empty text if the document is empty.
pub(crate) fn command_name(body: &RawDocument) -> &str {
    // The key follows the length of the document and the type of the element.
    let key = body.as_bytes().get(4 + 1..).unwrap_or_default();
    let key = key.split(|byte| *byte == 0).next().unwrap_or_default();
    std::str::from_utf8(key).unwrap_or_default()
}

/// The fields that the driver adds to a command. They are written behind the command's own fields, so that the command
/// is copied only once.
///
/// The executor sets them. The fields of the Stable API belong to the connection, because they are the same for all
/// commands of a client ([`Fields::server_api`]).
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Envelope<'a> {
    /// `$db`: the database that the command runs on.
    pub(crate) database: &'a str,
    /// `$readPreference`, if the server needs one.
    pub(crate) read_preference: Option<&'a RawDocument>,
    /// `lsid`: the ID of the server session, a UUID.
    pub(crate) session_id: Option<[u8; 16]>,
    /// `txnNumber`: the number of a retryable write or a transaction.
    pub(crate) transaction_number: Option<i64>,
    /// The position of the command in a transaction, if it belongs to one.
    pub(crate) position: Option<Position>,
    /// `$clusterTime`: the latest cluster time that the client knows.
    pub(crate) cluster_time: Option<&'a RawDocument>,
    /// `readConcern`.
    pub(crate) read_concern: Option<ReadConcernFields<'a>>,
    /// `writeConcern`.
    pub(crate) write_concern: Option<&'a WriteConcern>,
    /// `rawData`, if the server knows it.
    pub(crate) raw_data: Option<bool>,
    /// `maxTimeMS`: the time limit on the server in milliseconds.
    pub(crate) max_time_ms: Option<i64>,
}

impl Envelope<'_> {
    /// Writes the fields that are set. `maxTimeMS` is the last one, so that its value can be computed last.
    pub(crate) fn encode(&self, fields: &mut Fields<'_>) {
        fields.text("$db", self.database);
        if let Some(preference) = self.read_preference {
            fields.document("$readPreference", preference);
        }
        if let Some(id) = self.session_id {
            fields.session_id("lsid", id);
        }
        if let Some(number) = self.transaction_number {
            fields.int64("txnNumber", number);
        }
        if let Some(position) = self.position {
            if position == Position::First {
                fields.boolean("startTransaction", true);
            }
            fields.boolean("autocommit", false);
        }
        if let Some(time) = self.cluster_time {
            fields.document("$clusterTime", time);
        }
        if let Some(concern) = self.read_concern {
            fields.nested("readConcern", |fields| concern.encode(fields));
        }
        if let Some(concern) = self.write_concern {
            fields.nested("writeConcern", |fields| {
                encode_write_concern(concern, fields)
            });
        }
        if let Some(raw_data) = self.raw_data {
            fields.boolean("rawData", raw_data);
        }
        if let Some(limit) = self.max_time_ms {
            fields.int64("maxTimeMS", limit);
        }
    }
}

/// The position of a command in a transaction ("Transactions", "Constructing commands within a transaction").
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Position {
    /// The first command, which starts the transaction on the server.
    First,
    /// Any other command, among them the one that ends the transaction.
    Later,
}

/// The fields of `readConcern`.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub(crate) struct ReadConcernFields<'a> {
    pub(crate) level: Option<&'a str>,
    /// The read must see the data of this time or of a later one ("Causal Consistency").
    pub(crate) after_cluster_time: Option<Timestamp>,
    /// The read must see the data of exactly this time ("Snapshot Reads").
    pub(crate) at_cluster_time: Option<Timestamp>,
}

impl ReadConcernFields<'_> {
    fn encode(&self, fields: &mut Fields<'_>) {
        if let Some(level) = self.level {
            fields.text("level", level);
        }
        if let Some(time) = self.after_cluster_time {
            fields.timestamp("afterClusterTime", time);
        }
        if let Some(time) = self.at_cluster_time {
            fields.timestamp("atClusterTime", time);
        }
    }
}

fn encode_write_concern(concern: &WriteConcern, fields: &mut Fields<'_>) {
    match &concern.w {
        Some(Acknowledgment::Nodes(nodes)) => match i32::try_from(*nodes) {
            Ok(nodes) => fields.int32("w", nodes),
            Err(_) => fields.int64("w", i64::from(*nodes)),
        },
        Some(Acknowledgment::Tag(tag)) => fields.text("w", tag),
        None => {}
    }
    if let Some(journal) = concern.journal {
        fields.boolean("j", journal);
    }
    if let Some(limit) = concern.w_timeout {
        let ms = i64::try_from(limit.as_millis()).unwrap_or(i64::MAX);
        fields.int64("wtimeout", ms);
    }
}

/// Appends fields to a document that is being encoded. A key contains no NUL.
pub(crate) struct Fields<'a>(&'a mut Vec<u8>);

impl Fields<'_> {
    /// Appends a text field.
    pub(crate) fn text(&mut self, key: &str, value: &str) {
        self.start(ElementType::String, key);
        // The length counts the final NUL. A longer text exceeds the limit on messages.
        self.0
            .extend_from_slice(&length(value.len() + 1).to_le_bytes());
        self.0.extend_from_slice(value.as_bytes());
        self.0.push(0);
    }

    /// Appends a 32-bit integer.
    pub(crate) fn int32(&mut self, key: &str, value: i32) {
        self.start(ElementType::Int32, key);
        self.0.extend_from_slice(&value.to_le_bytes());
    }

    /// Appends a 64-bit integer.
    pub(crate) fn int64(&mut self, key: &str, value: i64) {
        self.start(ElementType::Int64, key);
        self.0.extend_from_slice(&value.to_le_bytes());
    }

    /// Appends a boolean.
    pub(crate) fn boolean(&mut self, key: &str, value: bool) {
        self.start(ElementType::Boolean, key);
        self.0.push(value.into());
    }

    /// Appends the fields of the Stable API, if a version is declared: `apiVersion`, and the flags that the program has
    /// set ("Stable API For Drivers", "Command Syntax").
    pub(crate) fn server_api(&mut self, api: Option<ServerApi>) {
        let Some(api) = api else {
            return;
        };
        self.text("apiVersion", api.version.as_str());
        if let Some(strict) = api.strict {
            self.boolean("apiStrict", strict);
        }
        if let Some(errors) = api.deprecation_errors {
            self.boolean("apiDeprecationErrors", errors);
        }
    }

    /// Appends a timestamp.
    fn timestamp(&mut self, key: &str, value: Timestamp) {
        self.start(ElementType::Timestamp, key);
        self.0.extend_from_slice(&value.increment.to_le_bytes());
        self.0.extend_from_slice(&value.time.to_le_bytes());
    }

    /// Appends a value of any type.
    pub(crate) fn value(&mut self, key: &CStr, value: RawBsonRef<'_>) {
        match value {
            RawBsonRef::Document(document) => self.document(key.as_str(), document),
            RawBsonRef::Array(array) => {
                self.start(ElementType::Array, key.as_str());
                self.0.extend_from_slice(array.as_bytes());
            }
            RawBsonRef::String(text) => self.text(key.as_str(), text),
            RawBsonRef::Boolean(value) => self.boolean(key.as_str(), value),
            RawBsonRef::Int32(value) => self.int32(key.as_str(), value),
            RawBsonRef::Int64(value) => self.int64(key.as_str(), value),
            other => {
                let mut document = RawDocumentBuf::new();
                document.append(key, other);
                self.fields_of(&document);
            }
        }
    }

    /// Appends an embedded document, whose fields `encode` appends.
    pub(crate) fn nested(&mut self, key: &str, encode: impl FnOnce(&mut Fields<'_>)) {
        self.start(ElementType::EmbeddedDocument, key);
        let start = self.0.len();
        self.0.extend_from_slice(&[0; 4]);
        encode(self);
        self.0.push(0);
        patch(self.0, start, 0);
    }

    /// Appends an array with one 64-bit integer.
    pub(crate) fn array_of_one(&mut self, key: &str, value: i64) {
        self.start(ElementType::Array, key);
        let start = self.0.len();
        self.0.extend_from_slice(&[0; 4]);
        self.int64("0", value);
        self.0.push(0);
        patch(self.0, start, 0);
    }

    /// Appends an embedded document.
    pub(crate) fn document(&mut self, key: &str, value: &RawDocument) {
        self.start(ElementType::EmbeddedDocument, key);
        self.0.extend_from_slice(value.as_bytes());
    }

    /// Appends the document `{ id: UUID }` that identifies a session.
    fn session_id(&mut self, key: &str, id: [u8; 16]) {
        self.start(ElementType::EmbeddedDocument, key);
        let start = self.0.len();
        self.0.extend_from_slice(&[0; 4]);
        self.start(ElementType::Binary, "id");
        self.0.extend_from_slice(&length(id.len()).to_le_bytes());
        self.0.push(BinarySubtype::Uuid.into());
        self.0.extend_from_slice(&id);
        self.0.push(0);
        patch(self.0, start, 0);
    }

    /// Appends an array of documents `{ id: UUID }`.
    pub(crate) fn session_ids(&mut self, key: &str, ids: &[[u8; 16]]) {
        self.start(ElementType::Array, key);
        let start = self.0.len();
        self.0.extend_from_slice(&[0; 4]);
        for (index, id) in ids.iter().enumerate() {
            self.session_id(&index.to_string(), *id);
        }
        self.0.push(0);
        patch(self.0, start, 0);
    }

    /// Appends all fields of a document, as they are.
    pub(crate) fn fields_of(&mut self, document: &RawDocument) {
        // Its length is in front of the fields, and a NUL follows them.
        let bytes = document.as_bytes();
        let fields = bytes
            .get(4..bytes.len().saturating_sub(1))
            .unwrap_or_default();
        self.0.extend_from_slice(fields);
    }

    fn start(&mut self, kind: ElementType, key: &str) {
        self.0.push(kind as u8);
        self.0.extend_from_slice(key.as_bytes());
        self.0.push(0);
    }
}

/// Encodes a command as OP_MSG into `buffer`, whose content is replaced.
///
/// `more` appends fields to those of the command, such as `$db`.
///
/// # Errors
/// [`TooLarge`] if the message would exceed `limit`; then there is nothing to send.
pub(crate) fn encode_msg<C: EncodeCommand + ?Sized>(
    buffer: &mut Vec<u8>,
    request_id: i32,
    command: &C,
    more: impl FnOnce(&mut Fields<'_>),
    sequences: &[DocumentSequence<'_>],
    limit: usize,
) -> Result<(), TooLarge> {
    encode(buffer, request_id, command, more, (sequences, false), limit)
}

/// Encodes a command like [`encode_msg`], without the documents of the last sequence. They are the end of the message, so
/// they can be sent after the buffer without a copy.
///
/// # Errors
/// As [`encode_msg`].
pub(crate) fn encode_all_but_last<C: EncodeCommand + ?Sized>(
    buffer: &mut Vec<u8>,
    request_id: i32,
    command: &C,
    more: impl FnOnce(&mut Fields<'_>),
    sequences: &[DocumentSequence<'_>],
    limit: usize,
) -> Result<(), TooLarge> {
    encode(buffer, request_id, command, more, (sequences, true), limit)
}

fn encode<C: EncodeCommand + ?Sized>(
    buffer: &mut Vec<u8>,
    request_id: i32,
    command: &C,
    more: impl FnOnce(&mut Fields<'_>),
    (sequences, is_cut): (&[DocumentSequence<'_>], bool),
    limit: usize,
) -> Result<(), TooLarge> {
    let estimate = command.min_size()
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
    header(buffer, request_id);
    buffer.extend_from_slice(&0_u32.to_le_bytes());
    buffer.push(0);
    let start = buffer.len();
    buffer.extend_from_slice(&[0; 4]);
    let mut fields = Fields(buffer);
    command.encode(&mut fields);
    more(&mut fields);
    buffer.push(0);
    patch(buffer, start, 0);
    let mut left_out = 0;
    for (index, sequence) in sequences.iter().enumerate() {
        buffer.push(1);
        let start = buffer.len();
        buffer.extend_from_slice(&[0; 4]);
        buffer.extend_from_slice(sequence.identifier.as_bytes());
        buffer.push(0);
        match is_cut && index + 1 == sequences.len() {
            true => left_out = sequence.documents.len(),
            false => buffer.extend_from_slice(sequence.documents),
        }
        patch(buffer, start, left_out);
    }
    finish(buffer, left_out, limit)
}

/// Allows the server to send more than one reply to the message of [`encode_msg`] in `buffer`.
pub(crate) fn allow_exhaust(buffer: &mut [u8]) {
    if let Some(flags) = buffer.get_mut(HEADER_SIZE..HEADER_SIZE + 4) {
        flags.copy_from_slice(&flag::EXHAUST_ALLOWED.to_le_bytes());
    }
}

/// Tells the server not to answer the message of [`encode_msg`] in `buffer`.
pub(crate) fn expect_no_reply(buffer: &mut [u8]) {
    if let Some(flags) = buffer.get_mut(HEADER_SIZE..HEADER_SIZE + 4) {
        flags.copy_from_slice(&flag::MORE_TO_COME.to_le_bytes());
    }
}

/// Returns the body in a message of [`encode_msg`].
pub(crate) fn body(message: &[u8]) -> Option<&RawDocument> {
    let (body, _) = first_document(message.get(MSG_PREFIX..)?)?;
    Some(body)
}

/// Returns the command in a message of [`encode_msg`] as one document, with the sequences as arrays.
pub(crate) fn folded(message: &[u8], sequences: &[DocumentSequence<'_>]) -> RawDocumentBuf {
    let mut command = body(message).map(RawDocument::to_owned).unwrap_or_default();
    for sequence in sequences {
        let mut documents = RawArrayBuf::new();
        let mut rest = sequence.documents;
        while let Some((document, after)) = first_document(rest) {
            documents.push(document.to_owned());
            rest = after;
        }
        // `Command::documents` rejects an identifier with a NUL.
        if let Ok(key) = <&CStr>::try_from(sequence.identifier) {
            command.append(key, documents);
        }
    }
    command
}

/// Returns the document at the beginning of `bytes`, and the rest.
fn first_document(bytes: &[u8]) -> Option<(&RawDocument, &[u8])> {
    let size = usize::try_from(word(bytes, 0)?).ok()?;
    let (document, rest) = bytes.split_at_checked(size)?;
    Some((RawDocument::from_bytes(document).ok()?, rest))
}

/// The bytes before the body of an OP_MSG: header, flags, kind.
const MSG_PREFIX: usize = HEADER_SIZE + 4 + 1;

fn header(buffer: &mut Vec<u8>, request_id: i32) {
    for word in [0, request_id, 0, opcode::MSG] {
        buffer.extend_from_slice(&word.to_le_bytes());
    }
}

/// Writes the length of the message, whose last `left_out` bytes are not in the buffer.
fn finish(buffer: &mut [u8], left_out: usize, limit: usize) -> Result<(), TooLarge> {
    let size = buffer.len() + left_out;
    if size > limit {
        return Err(TooLarge { size, limit });
    }
    patch(buffer, 0, left_out);
    Ok(())
}

/// Writes the length of the part from `start` to the end of the buffer at `start`, plus `more`.
fn patch(buffer: &mut [u8], start: usize, more: usize) {
    let size = length(buffer.len() - start + more).to_le_bytes();
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
    fn session_ids_are_an_array_of_documents() {
        struct Ids<'a>(&'a [[u8; 16]]);
        impl EncodeCommand for Ids<'_> {
            fn name(&self) -> &str {
                "endSessions"
            }

            fn encode(&self, fields: &mut Fields<'_>) {
                fields.session_ids(self.name(), self.0);
            }
        }
        let ids: Vec<[u8; 16]> = (0..11).map(|byte| [byte; 16]).collect();
        let mut buffer = Vec::new();
        encode_msg(&mut buffer, 1, &Ids(&ids), |_| (), &[], 1000).unwrap();
        let documents = ids
            .iter()
            .map(|id| doc! { "id": bson::Uuid::from_bytes(*id) });
        let expected = doc! { "endSessions": documents.collect::<Vec<_>>() };
        assert_eq!(body(&buffer).unwrap().to_owned(), raw(expected));
    }

    /// Returns the body of a ping with this envelope.
    fn enveloped(envelope: Envelope<'_>) -> RawDocumentBuf {
        let mut buffer = Vec::new();
        let ping = raw(doc! { "ping": 1 });
        let more = |fields: &mut Fields<'_>| envelope.encode(fields);
        encode_msg(&mut buffer, 1, &ping, more, &[], 1000).unwrap();
        body(&buffer).unwrap().to_owned()
    }

    #[test]
    fn an_envelope_adds_only_the_fields_that_are_set() {
        let mut envelope = Envelope {
            database: "d",
            ..Envelope::default()
        };
        let plain = doc! { "ping": 1, "$db": "d" };
        assert_eq!(enveloped(envelope), raw(plain.clone()));
        let with = |key: &str, value: bson::Bson| {
            let mut expected = plain.clone();
            expected.insert(key, value);
            raw(expected)
        };
        envelope.max_time_ms = Some(5);
        assert_eq!(enveloped(envelope), with("maxTimeMS", 5_i64.into()));
        envelope.max_time_ms = None;
        envelope.transaction_number = Some(i64::MAX);
        assert_eq!(enveloped(envelope), with("txnNumber", i64::MAX.into()));
    }

    #[test]
    fn the_fields_of_an_envelope_have_a_fixed_order() {
        let preference = raw(doc! { "mode": "nearest" });
        let time = raw(doc! { "clusterTime": bson::Timestamp { time: 7, increment: 8 } });
        let after = Timestamp {
            time: 1,
            increment: 2,
        };
        let read = ReadConcernFields {
            level: Some("local"),
            after_cluster_time: Some(after),
            at_cluster_time: None,
        };
        let write = WriteConcern::default().w(1).journal(true);
        let envelope = Envelope {
            database: "d",
            read_preference: Some(&preference),
            session_id: Some([9; 16]),
            transaction_number: Some(3),
            position: Some(Position::First),
            cluster_time: Some(&time),
            read_concern: Some(read),
            write_concern: Some(&write),
            raw_data: Some(true),
            max_time_ms: Some(250),
        };
        let id = bson::Uuid::from_bytes([9; 16]);
        let expected = doc! {
            "ping": 1, "$db": "d", "$readPreference": { "mode": "nearest" }, "lsid": { "id": id }, "txnNumber": 3_i64,
            "startTransaction": true, "autocommit": false,
            "$clusterTime": { "clusterTime": bson::Timestamp { time: 7, increment: 8 } },
            "readConcern": { "level": "local", "afterClusterTime": after },
            "writeConcern": { "w": 1, "j": true }, "rawData": true, "maxTimeMS": 250_i64,
        };
        assert_eq!(enveloped(envelope), raw(expected));
    }

    #[test]
    fn a_declared_api_sends_the_flags_that_are_set() {
        use crate::options::ServerApiVersion::V1;
        let api = ServerApi::new(V1);
        for (api, expected) in [
            (None, doc! { "ping": 1 }),
            (Some(api), doc! { "ping": 1, "apiVersion": "1" }),
            (
                Some(api.strict(false)),
                doc! { "ping": 1, "apiVersion": "1", "apiStrict": false },
            ),
            (
                Some(api.strict(true).deprecation_errors(false)),
                doc! { "ping": 1, "apiVersion": "1", "apiStrict": true, "apiDeprecationErrors": false },
            ),
        ] {
            let mut buffer = Vec::new();
            let ping = raw(doc! { "ping": 1 });
            let more = |fields: &mut Fields<'_>| fields.server_api(api);
            encode_msg(&mut buffer, 1, &ping, more, &[], 1000).unwrap();
            assert_eq!(body(&buffer).unwrap(), &*raw(expected));
        }
    }

    #[test]
    fn a_command_writes_its_own_fields() {
        struct Example;
        impl EncodeCommand for Example {
            fn name(&self) -> &str {
                "example"
            }
            fn encode(&self, fields: &mut Fields<'_>) {
                fields.int64("example", -1);
                fields.int32("a", 5);
                fields.array_of_one("b", 6);
            }
        }
        let mut buffer = Vec::new();
        encode_msg(&mut buffer, 1, &Example, |_| (), &[], 1000).unwrap();
        let expected = doc! { "example": -1_i64, "a": 5, "b": [6_i64] };
        assert_eq!(body(&buffer).unwrap(), &*raw(expected));
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
    fn documents_that_are_left_out_belong_behind_the_buffer() {
        let documents = [1, 2].map(|n| raw(doc! { "_id": n }));
        let bytes = documents.each_ref().map(|one| one.as_bytes()).concat();
        let sequences = ["first", "last"].map(|identifier| DocumentSequence {
            identifier,
            documents: &bytes,
        });
        let insert = raw(doc! { "insert": "c" });
        for sequences in [&sequences[..0], &sequences[..1], &sequences] {
            let (mut whole, mut cut) = (Vec::new(), Vec::new());
            encode_msg(&mut whole, 1, &insert, |_| (), sequences, 1000).unwrap();
            encode_all_but_last(&mut cut, 1, &insert, |_| (), sequences, 1000).unwrap();
            let left_out = sequences.last().map_or(&[][..], |last| last.documents);
            assert_eq!([&cut, left_out].concat(), whole);
            let size = whole.len();
            let limit = size - 1;
            let refused = encode_all_but_last(&mut cut, 1, &insert, |_| (), sequences, limit);
            assert_eq!(refused, Err(TooLarge { size, limit }));
        }
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
