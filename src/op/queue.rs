//! The writes of a bulk that wait to be sent, and the choice of those that one command takes.
//!
//! A write is encoded when it is added. [`Operation::queue`](super::Operation::queue) hands the queue to the executor, which
//! chooses the next writes for each attempt by the limits of its server. The writes stay in the queue until their reply is
//! final, so that another attempt sends the same bytes. Sources: "Bulk Write", "Command Batching"; "CRUD API", "Bulk Write".

use std::collections::HashMap;

use bson::RawBsonRef;
use bson::raw::RawDocument;

use crate::data::hello::{Hello, MAX_MESSAGE_SIZE};
use crate::error::{Error, Result};
use crate::wire::request::DocumentSequence;

/// See the [module documentation](self).
#[derive(Debug)]
pub(crate) struct WriteQueue {
    /// The field of the command that the writes belong to.
    identifier: &'static str,
    /// The writes, one after the other. Those before `first_byte` are done.
    bytes: Vec<u8>,
    first_byte: usize,
    /// One entry for each write in `bytes`. Those before `first` are done.
    writes: Vec<QueuedWrite>,
    first: usize,
    /// The writes of the current command.
    chosen: Option<Chosen>,
    /// True if an attempt of the current command failed, and may have made its writes.
    is_doubtful: bool,
    /// The limits of the last server, or those of most servers.
    limits: Limits,
    /// The namespaces of a `bulkWrite`. Empty for the commands of a collection.
    namespaces: Namespaces,
    rules: Rules,
    /// True if a write in `writes` may change more than one document.
    has_multi: bool,
    /// True if a write names the index to use.
    has_hint: bool,
}

/// The rules for the choice of writes.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Rules {
    /// The writes of a command must follow each other in the bulk.
    pub(crate) is_ordered: bool,
    /// The server does not report the writes that it rejects, so the driver checks their sizes.
    pub(crate) checks_sizes: bool,
}

/// A write in a queue.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct QueuedWrite {
    /// The index of the write in the bulk.
    pub(crate) index: usize,
    /// True if it may change more than one document, so that a server may not run it twice.
    pub(crate) is_multi: bool,
    /// The index of its namespace in [`Namespaces`].
    pub(crate) namespace: u32,
}

#[derive(Clone, Copy, Debug)]
struct Chosen {
    count: usize,
    /// The position behind the last one.
    end: usize,
}

/// The limits of a server that matter for the choice.
#[derive(Clone, Copy, Debug)]
struct Limits {
    message: usize,
    document: usize,
    writes: usize,
}

impl Limits {
    /// The limits of all servers so far.
    const USUAL: Self = Self {
        message: MAX_MESSAGE_SIZE,
        document: 16 << 20,
        writes: 100_000,
    };

    fn of(hello: &Hello) -> Self {
        Self {
            message: hello.max_message_size,
            document: hello.max_bson_object_size,
            writes: usize::try_from(hello.max_write_batch_size)
                .unwrap_or(usize::MAX)
                .max(1),
        }
    }
}

/// The bytes of a message that are left for the fields of the driver ("Bulk Write", "Total Message Size").
const MESSAGE_OVERHEAD: usize = 1000;

/// The bytes by which a command or a statement may be larger than a document ("Bulk Write", "Size Limits").
const COMMAND_OVERHEAD: usize = 16 << 10;

/// The position of the namespace's index in a write of `bulkWrite`: behind the length, the type, and the name of the
/// operation, which has six letters and a NUL.
const NAMESPACE_POSITION: usize = LENGTH + 1 + 7;

/// The size of the length in front of a document.
const LENGTH: usize = 4;

impl WriteQueue {
    pub(crate) fn new(identifier: &'static str) -> Self {
        Self {
            identifier,
            bytes: Vec::new(),
            first_byte: 0,
            writes: Vec::new(),
            first: 0,
            chosen: None,
            is_doubtful: false,
            limits: Limits::USUAL,
            namespaces: Namespaces::default(),
            rules: Rules::default(),
            has_multi: false,
            has_hint: false,
        }
    }

    /// Notes that a write names the index to use.
    pub(crate) fn add_hint(&mut self) {
        self.has_hint = true;
    }

    /// Returns whether a write of the queue names the index to use, or has done so.
    pub(crate) fn has_hint(&self) -> bool {
        self.has_hint
    }

    /// Adds a write, which `encode` appends as a document. Nothing is added after an error.
    pub(crate) fn push(
        &mut self,
        write: QueuedWrite,
        encode: impl FnOnce(&mut Vec<u8>) -> Result<()>,
    ) -> Result<()> {
        let start = self.bytes.len();
        let encoded = encode(&mut self.bytes);
        match encoded {
            Ok(()) => {
                self.has_multi |= write.is_multi;
                self.writes.push(write);
            }
            Err(_) => self.bytes.truncate(start),
        }
        encoded
    }

    /// The bytes, to whose end a caller may append a write in several steps. [`push`](Self::push) makes it one of the writes;
    /// until then no command contains it. The queue must not be [advanced](Self::advance) meanwhile.
    pub(crate) fn bytes_mut(&mut self) -> &mut Vec<u8> {
        &mut self.bytes
    }

    /// The last write, which begins at `start`.
    pub(crate) fn last(&self, start: usize) -> Option<&RawDocument> {
        RawDocument::from_bytes(self.bytes.get(start..)?).ok()
    }

    /// Replaces the last write, which begins at `start`.
    pub(crate) fn replace_last(&mut self, start: usize, document: &RawDocument) {
        self.bytes.truncate(start);
        self.bytes.extend_from_slice(document.as_bytes());
    }

    /// Appends the fields of a document to the last write, which begins at `start`.
    pub(crate) fn append_to_last(&mut self, start: usize, fields: &RawDocument) {
        // A document is its length, its fields and a NUL.
        let fields = fields.as_bytes();
        self.bytes.pop();
        self.bytes.extend_from_slice(&fields[LENGTH..]);
        let size = i32::try_from(self.bytes.len() - start).unwrap_or(i32::MAX);
        self.bytes[start..start + LENGTH].copy_from_slice(&size.to_le_bytes());
    }

    /// Removes the last write, which begins at `start`.
    pub(crate) fn remove_last(&mut self, start: usize) {
        self.bytes.truncate(start);
        self.writes.pop();
    }

    /// The position at which the next write will begin.
    pub(crate) fn end(&self) -> usize {
        self.bytes.len()
    }

    /// The size of the writes that are not done, in bytes.
    pub(crate) fn size(&self) -> usize {
        self.bytes.len() - self.first_byte
    }

    /// Returns whether the writes are enough for one command: of about `bytes`, or of what the last server takes. It leaves
    /// room for a last write that is not small, so that it does not need a command of its own.
    pub(crate) fn is_full(&self, bytes: usize) -> bool {
        let most = self.limits.message - self.limits.message / 48;
        self.size() >= bytes.min(most) || self.writes.len() - self.first >= self.limits.writes
    }

    /// The next write that is not done.
    pub(crate) fn next(&self) -> Option<QueuedWrite> {
        self.writes.get(self.first).copied()
    }

    pub(crate) fn set_rules(&mut self, rules: Rules) {
        self.rules = rules;
    }

    /// The index of a namespace, which is added if it is new.
    pub(crate) fn namespace(&mut self, name: &str) -> u32 {
        self.namespaces.index_of(name)
    }

    /// Chooses the next writes for a server with these limits. `command_size` is the size of the command without them.
    ///
    /// A retry sends the same writes. If its server takes fewer at once, it gets the first of them; the others follow with
    /// a command, and a number, of their own. So they would be made twice if an attempt has made them before.
    ///
    /// # Errors
    /// If the next write is too large, or if the server takes fewer than an attempt may have made.
    pub(super) fn choose(&mut self, hello: &Hello, command_size: usize) -> Result<()> {
        self.limits = Limits::of(hello);
        let before = self.chosen.take();
        let mut chosen = self.fit(command_size)?;
        match before {
            Some(before) if chosen.count >= before.count => chosen = before,
            Some(before) if self.is_doubtful => {
                self.chosen = Some(before);
                return Err(Error::too_large(
                    "a retry needs a server that takes as many writes at once",
                ));
            }
            _ => {}
        }
        if !self.namespaces.is_empty() {
            self.number_namespaces(chosen.count);
        }
        self.chosen = Some(chosen);
        Ok(())
    }

    /// The documents that are sent next to the command.
    pub(super) fn sequences(&self) -> Vec<DocumentSequence<'_>> {
        let end = self.chosen.map_or(self.first_byte, |chosen| chosen.end);
        let writes = DocumentSequence {
            identifier: self.identifier,
            documents: &self.bytes[self.first_byte..end],
        };
        match self.namespaces.is_empty() {
            true => vec![writes],
            false => vec![
                writes,
                DocumentSequence {
                    identifier: "nsInfo",
                    documents: &self.namespaces.chosen,
                },
            ],
        }
    }

    /// Returns whether a write of the current command may change more than one document. Before a server is known, it is
    /// the command for a server with the limits of the last one.
    pub(crate) fn has_multi(&self) -> bool {
        if !self.has_multi {
            return false;
        }
        let count = match self.chosen {
            Some(chosen) => chosen.count,
            None => self.fit(0).map_or(0, |chosen| chosen.count),
        };
        let writes = &self.writes[self.first..self.first + count];
        writes.iter().any(|write| write.is_multi)
    }

    /// The writes of the last command, with their documents.
    pub(crate) fn chosen(&self) -> impl Iterator<Item = (QueuedWrite, &RawDocument)> {
        let count = self.chosen.map_or(0, |chosen| chosen.count);
        let mut rest = &self.bytes[self.first_byte..];
        let writes = &self.writes[self.first..self.first + count];
        writes.iter().filter_map(move |write| {
            let (document, after) = rest.split_at_checked(document_size(rest))?;
            rest = after;
            Some((*write, RawDocument::from_bytes(document).ok()?))
        })
    }

    /// The positions of the writes of the last command.
    pub(crate) fn chosen_positions(&self) -> Vec<usize> {
        let mut positions = Vec::with_capacity(self.chosen_count());
        let mut position = self.first_byte;
        for _ in 0..self.chosen_count() {
            positions.push(position);
            position += document_size(&self.bytes[position..]);
        }
        positions
    }

    /// The write at a position of [`chosen_positions`](Self::chosen_positions).
    pub(crate) fn document_at(&self, position: usize) -> Option<&RawDocument> {
        let rest = self.bytes.get(position..)?;
        RawDocument::from_bytes(rest.get(..document_size(rest))?).ok()
    }

    /// The number of writes in the last command.
    pub(crate) fn chosen_count(&self) -> usize {
        self.chosen.map_or(0, |chosen| chosen.count)
    }

    /// The write of the last command with this index in the command.
    pub(crate) fn chosen_write(&self, index: usize) -> Option<QueuedWrite> {
        let is_chosen = index < self.chosen_count();
        is_chosen.then(|| self.writes[self.first + index])
    }

    /// Notes whether the attempts of the current command, which have failed, may have made its writes.
    pub(super) fn set_doubtful(&mut self, is_doubtful: bool) {
        self.is_doubtful = is_doubtful;
    }

    /// Marks the writes of the last command as done.
    pub(crate) fn advance(&mut self) {
        self.is_doubtful = false;
        if let Some(chosen) = self.chosen.take() {
            self.first += chosen.count;
            self.first_byte = chosen.end;
        }
        if self.first == self.writes.len() {
            self.clear();
        }
    }

    /// Removes all writes. Keeps the memory for further ones.
    pub(crate) fn clear(&mut self) {
        self.bytes.clear();
        self.writes.clear();
        (self.first, self.first_byte, self.chosen) = (0, 0, None);
        (self.is_doubtful, self.has_multi) = (false, false);
    }

    fn fit(&self, command_size: usize) -> Result<Chosen> {
        let room = self.limits.message;
        let room = room.saturating_sub(MESSAGE_OVERHEAD + command_size);
        let mut seen = self.namespaces.none_seen();
        let (mut size, mut end) = (0, self.first_byte);
        let mut count = 0;
        for write in self.writes[self.first..].iter().take(self.limits.writes) {
            let follows = write.index == self.writes[self.first].index + count;
            if self.rules.is_ordered && !follows {
                break;
            }
            let document = document_size(&self.bytes[end..]);
            let added = document + seen.size_of_new(&self.namespaces, write.namespace);
            if size + added > room {
                if count > 0 {
                    break;
                }
                return Err(too_large(write.index, added, room));
            }
            if self.rules.checks_sizes {
                self.check_size(write.index, &self.bytes[end..end + document])?;
            }
            size += added;
            end += document;
            count += 1;
        }
        Ok(Chosen { count, end })
    }

    /// Rejects a write that the server would not make, without a report ("Bulk Write", "Size Limits").
    fn check_size(&self, index: usize, write: &[u8]) -> Result<()> {
        let limit = self.limits.document;
        let (stored, allowed) = match self.identifier {
            "documents" => (Some(write.len()), limit),
            _ => (stored_size(write), limit + COMMAND_OVERHEAD),
        };
        match stored {
            Some(size) if size > limit => Err(too_large(index, size, limit)),
            _ if write.len() > allowed => Err(too_large(index, write.len(), allowed)),
            _ => Ok(()),
        }
    }

    /// Writes the index of each write's namespace in the command, in which only the namespaces of its writes are.
    fn number_namespaces(&mut self, count: usize) {
        let mut seen = self.namespaces.none_seen();
        self.namespaces.chosen.clear();
        let mut position = self.first_byte;
        for write in &self.writes[self.first..self.first + count] {
            if seen.size_of_new(&self.namespaces, write.namespace) > 0 {
                let range = self.namespaces.range(write.namespace);
                let Namespaces { all, chosen, .. } = &mut self.namespaces;
                chosen.extend_from_slice(&all[range]);
            }
            let number = seen.number_of(write.namespace);
            let at = position + NAMESPACE_POSITION;
            self.bytes[at..at + 4].copy_from_slice(&number.to_le_bytes());
            position += document_size(&self.bytes[position..]);
        }
    }
}

/// The size of the document that the write stores whole: the document of an insert, or a replacement.
fn stored_size(write: &[u8]) -> Option<usize> {
    let write = RawDocument::from_bytes(write).ok()?;
    let whole = ["document", "updateMods", "u"]
        .into_iter()
        .find_map(|key| {
            let value = write.get(key).ok().flatten()?;
            match value {
                RawBsonRef::Document(document) => Some(document),
                _ => None,
            }
        })?;
    let first = whole.iter().next().and_then(std::result::Result::ok);
    let is_update = first.is_some_and(|(key, _)| key.as_str().starts_with('$'));
    (!is_update).then(|| whole.as_bytes().len())
}

fn too_large(index: usize, size: usize, limit: usize) -> Error {
    Error::too_large(format!(
        "write {index} takes {size} bytes, and the server accepts {limit} at most"
    ))
}

/// The size of the document at the beginning of `bytes`. The queue holds whole documents only.
fn document_size(bytes: &[u8]) -> usize {
    let length = bytes.first_chunk().copied().map_or(0, i32::from_le_bytes);
    usize::try_from(length).unwrap_or(0)
}

/// The namespaces of a `bulkWrite`, each as a document `{ ns: "database.collection" }`.
#[derive(Debug, Default)]
struct Namespaces {
    /// The documents, one after the other.
    all: Vec<u8>,
    /// The end of each document.
    ends: Vec<usize>,
    indexes: HashMap<String, u32>,
    /// The namespaces of the current command.
    chosen: Vec<u8>,
}

impl Namespaces {
    fn is_empty(&self) -> bool {
        self.ends.is_empty()
    }

    fn index_of(&mut self, name: &str) -> u32 {
        if let Some(index) = self.indexes.get(name) {
            return *index;
        }
        let mut document = bson::RawDocumentBuf::new();
        document.append(bson::cstr!("ns"), name);
        self.all.extend_from_slice(document.as_bytes());
        // Each namespace takes more than one byte of memory, so there are never so many.
        let index = u32::try_from(self.ends.len()).unwrap_or(u32::MAX);
        self.ends.push(self.all.len());
        self.indexes.insert(name.to_owned(), index);
        index
    }

    fn range(&self, index: u32) -> std::ops::Range<usize> {
        let index = index as usize;
        let start = match index {
            0 => 0,
            _ => self.ends[index - 1],
        };
        start..self.ends[index]
    }

    fn none_seen(&self) -> Seen {
        Seen {
            numbers: vec![UNSEEN; self.ends.len()],
            next: 0,
        }
    }
}

/// The namespaces that a command has so far, with their indexes in the command.
struct Seen {
    numbers: Vec<i32>,
    next: i32,
}

const UNSEEN: i32 = -1;

impl Seen {
    /// Adds a namespace. Returns its size in bytes if it is new, else 0. There are none in the commands of a collection.
    fn size_of_new(&mut self, namespaces: &Namespaces, index: u32) -> usize {
        match self.numbers.get_mut(index as usize) {
            Some(number) if *number == UNSEEN => {
                *number = self.next;
                self.next += 1;
                namespaces.range(index).len()
            }
            _ => 0,
        }
    }

    fn number_of(&self, index: u32) -> i32 {
        self.numbers.get(index as usize).copied().unwrap_or(0)
    }
}

#[cfg(test)]
mod tests {
    use bson::{RawDocumentBuf, rawdoc};

    use super::*;
    use crate::error::ErrorKind;

    fn hello(message: usize, writes: u32) -> Hello {
        Hello {
            max_message_size: MESSAGE_OVERHEAD + message,
            max_bson_object_size: 100,
            max_write_batch_size: writes,
            ..Hello::default()
        }
    }

    fn push(queue: &mut WriteQueue, index: usize, namespace: u32, write: &RawDocumentBuf) {
        let write_in_queue = QueuedWrite {
            index,
            is_multi: index == 3,
            namespace,
        };
        let encode = |bytes: &mut Vec<u8>| {
            bytes.extend_from_slice(write.as_bytes());
            Ok(())
        };
        queue.push(write_in_queue, encode).unwrap();
    }

    fn chosen(queue: &WriteQueue) -> Vec<usize> {
        queue.chosen().map(|(write, _)| write.index).collect()
    }

    #[test]
    fn batches_end_at_limits_and_gaps_of_an_order() {
        let mut queue = WriteQueue::new("updates");
        for index in [0, 1, 2, 3, 7] {
            push(&mut queue, index, 0, &rawdoc! { "q": {}, "u": {} });
        }
        let size = queue.size() / 5;
        assert!(queue.has_multi(), "most servers take all of them at once");
        queue.choose(&hello(10_000, 2), 0).unwrap();
        assert_eq!((chosen(&queue), queue.has_multi()), (vec![0, 1], false));
        queue.chosen = None;
        queue.choose(&hello(3 * size + 40, 9), 41).unwrap();
        assert_eq!(chosen(&queue), [0, 1]);
        queue.chosen = None;
        queue.choose(&hello(3 * size + 41, 9), 41).unwrap();
        assert_eq!(chosen(&queue), [0, 1, 2]);
        assert_eq!(queue.sequences()[0].documents.len(), 3 * size);
        queue.advance();
        let is_ordered = true;
        let checks_sizes = false;
        queue.set_rules(Rules {
            is_ordered,
            checks_sizes,
        });
        queue.choose(&hello(10_000, 9), 0).unwrap();
        assert_eq!((chosen(&queue), queue.has_multi()), (vec![3], true));
        queue.advance();
        assert_eq!(queue.next().unwrap().index, 7);
        let error = queue.choose(&hello(size - 1, 9), 0).unwrap_err();
        assert_eq!(error.kind(), ErrorKind::TooLarge);
        let expected = format!(
            "write 7 takes {size} bytes, and the server accepts {} at most",
            size - 1
        );
        assert_eq!(error.to_string(), expected);
    }

    #[test]
    fn a_retry_sends_the_same_writes_or_the_first_of_them() {
        let mut queue = WriteQueue::new("updates");
        for index in [0, 1, 2, 4, 5] {
            push(&mut queue, index, 0, &rawdoc! { "q": {}, "u": {} });
        }
        queue.choose(&hello(10_000, 3), 0).unwrap();
        // A server that takes more.
        queue.set_doubtful(true);
        queue.choose(&hello(10_000, 9), 0).unwrap();
        assert_eq!(chosen(&queue), [0, 1, 2]);
        // A server that takes less must not get the rest under another number if it may be written already.
        let error = queue.choose(&hello(10_000, 2), 0).unwrap_err();
        assert_eq!(error.kind(), ErrorKind::TooLarge);
        assert_eq!(
            error.to_string(),
            "a retry needs a server that takes as many writes at once"
        );
        assert_eq!(chosen(&queue), [0, 1, 2]);
        queue.set_doubtful(false);
        queue.choose(&hello(10_000, 2), 0).unwrap();
        assert_eq!(chosen(&queue), [0, 1]);
        // The next command is no retry.
        queue.set_doubtful(true);
        queue.advance();
        queue.choose(&hello(10_000, 1), 0).unwrap();
        assert_eq!(chosen(&queue), [2]);
    }

    #[test]
    fn a_command_has_only_the_namespaces_of_its_writes() {
        let mut queue = WriteQueue::new("ops");
        for (index, name) in ["a.x", "b.y", "a.x", "b.y", "c.z"].into_iter().enumerate() {
            let namespace = queue.namespace(name);
            push(
                &mut queue,
                index,
                namespace,
                &rawdoc! { "insert": 9, "document": {} },
            );
        }
        let mut seen = Vec::new();
        while queue.next().is_some() {
            queue.choose(&hello(10_000, 3), 0).unwrap();
            let numbers = queue
                .chosen()
                .map(|(_, write)| write.get_i32("insert").unwrap());
            let mut names = queue.sequences()[1].documents;
            let mut texts = String::new();
            while !names.is_empty() {
                let (name, rest) = names.split_at(document_size(names));
                texts += RawDocument::from_bytes(name)
                    .unwrap()
                    .get_str("ns")
                    .unwrap();
                names = rest;
            }
            seen.push((numbers.collect::<Vec<_>>(), texts));
            queue.advance();
        }
        let expected = [
            (vec![0, 1, 0], "a.xb.y".to_owned()),
            (vec![0, 1], "b.yc.z".to_owned()),
        ];
        assert_eq!(seen, expected);
    }

    #[test]
    fn stored_documents_have_a_limit_if_the_server_reports_nothing() {
        let text = "x".repeat(100);
        let check = |identifier, write: RawDocumentBuf| {
            let mut queue = WriteQueue::new(identifier);
            queue.set_rules(Rules {
                is_ordered: false,
                checks_sizes: true,
            });
            push(&mut queue, 0, 0, &write);
            queue.choose(&hello(10_000, 9), 0)
        };
        for (identifier, write) in [
            ("documents", rawdoc! { "a": &*text }),
            ("ops", rawdoc! { "insert": 0, "document": { "a": &*text } }),
            ("updates", rawdoc! { "q": {}, "u": { "a": &*text } }),
        ] {
            let error = check(identifier, write).unwrap_err();
            assert_eq!(error.kind(), ErrorKind::TooLarge);
            assert!(error.to_string().contains("accepts 100 at most"), "{error}");
        }
        let update = rawdoc! { "q": {}, "u": { "$set": { "a": &*text } } };
        assert!(check("updates", update).is_ok());
    }
}
