//! How uploads and downloads end: by a failure, a drop, a deadline or a canceller, and what is left in the database.

use std::io::{self, ErrorKind as IoKind, Read, Seek, SeekFrom, Write};
use std::panic;
use std::thread;
use std::time::{Duration, Instant};

use mongotls::bson::{Bson, Document, doc};
use mongotls::gridfs::GridFsUploadStream;
use mongotls::{Canceller, CauseCode, ErrorKind};
use mongotls_testbench::fault::Action;
use mongotls_testbench::server::{ReplyFault, fail_command};

use super::{Store, inner};
use crate::common::code;

const MS: fn(u64) -> Duration = Duration::from_millis;

impl Store {
    /// Sets a fail point on all members.
    fn fail(&self, times: i32, commands: &[&str], data: Document) {
        for node in self.deployment.nodes() {
            let fail = fail_command(times, commands, data.clone());
            node.server().configure_fail_point(&fail);
        }
    }

    /// Cuts the connection with the next reply to a command, on each member.
    fn cut_reply(&self, command: &str) {
        for node in self.deployment.nodes() {
            let action = Action::Reset;
            let cut = ReplyFault::Cut { after: 0, action };
            node.server().spoil_replies(command, 1, cut);
        }
    }

    fn count_of(&self, command: &str) -> u64 {
        let nodes = self.deployment.nodes();
        let counts = nodes.iter().map(|node| node.server().count_of(command));
        counts.sum()
    }

    /// An upload of which two chunks are stored.
    fn half(&self, id: i32) -> GridFsUploadStream {
        let mut upload = self.bucket.open_upload_stream("file").id(id).run().unwrap();
        upload.write_all(b"abcdefgh").unwrap();
        upload.flush().unwrap();
        assert_eq!(self.numbers(&Bson::Int32(id)), [0, 1]);
        upload
    }
}

#[test]
fn a_lost_reply_does_not_store_a_chunk_twice() {
    let Some(store) = Store::start() else {
        return;
    };
    let mut upload = store.half(1);
    store.cut_reply("insert");
    upload.write_all(b"ijkl").unwrap();
    upload.flush().unwrap();
    store.cut_reply("insert");
    upload.close().unwrap();
    assert_eq!(store.get(1).unwrap(), b"abcdefghijkl");
    assert_eq!(store.numbers(&Bson::Int32(1)), [0, 1, 2]);
}

#[test]
fn a_failed_upload_deletes_nothing_until_it_is_aborted() {
    let Some(store) = Store::start() else {
        return;
    };
    let mut upload = store.half(1);
    store.fail(1, &["insert"], doc! { "errorCode": 14 });
    upload.write_all(b"ijkl").unwrap();
    let error = upload.flush().unwrap_err();
    assert_eq!(inner(&error).command().unwrap().code, 14);
    // Everything fails from now on, for the first reason.
    for error in [upload.write(b"m").unwrap_err(), upload.flush().unwrap_err()] {
        assert_eq!(error.to_string(), "the upload has failed before");
    }
    let error = upload.close().unwrap_err();
    assert_eq!(error.to_string(), "the upload has failed before");
    drop(upload);
    assert_eq!(store.numbers(&Bson::Int32(1)), [0, 1]);
    assert_eq!(store.count_of("delete"), 0);

    let mut upload = store.half(2);
    // The document of the file cannot be inserted.
    store.fail(1, &["insert"], doc! { "errorCode": 14 });
    assert_eq!(upload.close().unwrap_err().command().unwrap().code, 14);
    assert_eq!(store.numbers(&Bson::Int32(2)), [0, 1]);
    upload.abort().unwrap();
    assert_eq!(store.numbers(&Bson::Int32(2)), [0; 0]);
    assert_eq!(store.count_of("delete"), 1);
    assert_eq!(store.files().count_documents(doc! {}).run().unwrap(), 0);
}

#[test]
fn an_upload_whose_deletion_fails_is_aborted_and_reports_it() {
    let Some(store) = Store::start() else {
        return;
    };
    let mut upload = store.half(1);
    store.fail(1, &["delete"], doc! { "errorCode": 14 });
    assert_eq!(upload.abort().unwrap_err().command().unwrap().code, 14);
    assert_eq!(
        upload.abort().unwrap_err().to_string(),
        "the upload was aborted"
    );
    drop(upload);
    assert_eq!(store.numbers(&Bson::Int32(1)), [0, 1]);
    assert_eq!(store.count_of("delete"), 1);
}

#[test]
fn dropping_an_open_upload_aborts_it() {
    let Some(store) = Store::start() else {
        return;
    };
    drop(store.half(1));
    assert_eq!(store.numbers(&Bson::Int32(1)), [0; 0]);
    // A failure is only logged, and the drop ends in time.
    let upload = store.half(2);
    store.fail(2, &["delete"], doc! { "closeConnection": true });
    drop(upload);
    assert_eq!(store.numbers(&Bson::Int32(2)), [0, 1]);
}

#[test]
fn a_panic_leaves_the_chunks() {
    let Some(store) = Store::start() else {
        return;
    };
    let upload = store.half(1);
    let outcome = panic::catch_unwind(panic::AssertUnwindSafe(move || {
        let _upload = upload;
        panic::resume_unwind(Box::new(()));
    }));
    assert!(outcome.is_err());
    assert_eq!(store.numbers(&Bson::Int32(1)), [0, 1]);
    assert_eq!(store.count_of("delete"), 0);
}

#[test]
fn a_source_that_fails_aborts_the_upload_unless_it_is_resumable() {
    struct Failing(&'static [u8]);
    impl Read for Failing {
        fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
            match self.0.read(buffer)? {
                0 => Err(io::Error::other("the disk is on fire")),
                read => Ok(read),
            }
        }
    }
    let Some(store) = Store::start() else {
        return;
    };
    let failing = || Failing(b"abcdefghij");
    let upload = store.bucket.upload_from_stream("file", failing()).id(1);
    let error = upload.run().unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Source);
    let source = std::error::Error::source(&error).unwrap();
    assert_eq!(source.to_string(), "the disk is on fire");
    assert_eq!(store.numbers(&Bson::Int32(1)), [0; 0]);

    // Its complete chunks are stored in batches; here none was sent yet.
    let mut upload = store
        .bucket
        .open_upload_stream("file")
        .resumable(2)
        .run()
        .unwrap();
    upload.write_all(b"abcd").unwrap();
    upload.flush().unwrap();
    drop(upload);
    let again = || store.bucket.upload_from_stream("file", failing());
    let error = again().resumable(2).run().unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Source);
    assert_eq!(store.numbers(&Bson::Int32(2)), [0]);
    let whole = &b"abcdefghij"[..];
    let upload = store.bucket.upload_from_stream("file", whole);
    upload.resumable(2).run().unwrap();
    assert_eq!(store.get(2).unwrap(), whole);
    assert_eq!(store.numbers(&Bson::Int32(2)), [0, 1, 2]);
}

#[test]
fn a_resumable_upload_continues_after_its_last_complete_chunk() {
    let Some(store) = Store::start() else {
        return;
    };
    let open = |id: i32| store.bucket.open_upload_stream("file").resumable(id).run();
    let content = b"abcdefghijklmnop";
    let mut upload = open(1).unwrap();
    assert_eq!(upload.stored_bytes(), 0);
    upload.write_all(&content[..8]).unwrap();
    upload.flush().unwrap();
    // The next chunk is not complete when the upload ends.
    upload.write_all(&content[8..10]).unwrap();
    drop(upload);
    let mut upload = open(1).unwrap();
    assert_eq!(upload.stored_bytes(), 8);
    // Written, but the reply and the retry are lost.
    upload.write_all(&content[8..12]).unwrap();
    for node in store.deployment.nodes() {
        let action = Action::Reset;
        let cut = ReplyFault::Cut { after: 0, action };
        node.server().spoil_replies("insert", 2, cut);
    }
    let error = upload.flush().unwrap_err();
    assert_eq!(inner(&error).kind(), ErrorKind::Network);
    drop(upload);
    for node in store.deployment.nodes() {
        node.server().heal_replies();
    }
    let mut upload = open(1).unwrap();
    assert_eq!(upload.stored_bytes(), 12);
    upload.write_all(&content[12..]).unwrap();
    upload.close().unwrap();
    assert_eq!(store.get(1).unwrap(), content);
    assert_eq!(store.numbers(&Bson::Int32(1)), [0, 1, 2, 3]);
    // It is complete.
    let error = open(1).unwrap_err();
    assert_eq!(code(&error), CauseCode::GridfsFileExists);
    // The chunks of another size are not those of this upload.
    drop(store.half(2).abort());
    let mut upload = open(2).unwrap();
    upload.write_all(b"abcd").unwrap();
    upload.flush().unwrap();
    drop(upload);
    let other = store.bucket.open_upload_stream("file").chunk_size_bytes(3);
    let error = other.resumable(2).run().unwrap_err();
    assert_eq!(code(&error), CauseCode::GridfsCorrupt);
    assert_eq!(store.numbers(&Bson::Int32(2)), [0]);
    // An abort deletes them.
    open(2).unwrap().abort().unwrap();
    assert_eq!(store.numbers(&Bson::Int32(2)), [0; 0]);
}

#[test]
fn a_deadline_ends_uploads_and_downloads() {
    let Some(store) = Store::start() else {
        return;
    };
    store.put(1, "file", b"abcdefgh");
    let open = store.bucket.open_upload_stream("late").id(2);
    let mut upload = open.deadline(Instant::now() + MS(300)).run().unwrap();
    upload.write_all(b"abcdefgh").unwrap();
    upload.flush().unwrap();
    let mut download = store
        .bucket
        .open_download_stream(1)
        .deadline(Instant::now() + MS(300))
        .run()
        .unwrap();
    thread::sleep(MS(350));
    upload.write_all(b"ijkl").unwrap();
    let before = store.count_of("insert");
    let error = upload.flush().unwrap_err();
    assert_eq!(error.kind(), IoKind::TimedOut);
    assert_eq!(inner(&error).kind(), ErrorKind::Timeout);
    let error = download.read(&mut [0]).unwrap_err();
    assert_eq!(inner(&error).kind(), ErrorKind::Timeout);
    // Nothing is sent any more, and nothing is deleted.
    drop(upload);
    assert_eq!(store.count_of("insert"), before);
    assert_eq!(store.numbers(&Bson::Int32(2)), [0, 1]);
}

#[test]
fn an_upload_that_is_late_is_not_deleted_when_it_is_dropped() {
    let Some(store) = Store::start() else {
        return;
    };
    let open = store.bucket.open_upload_stream("late").id(2);
    let mut upload = open.timeout(MS(300)).run().unwrap();
    upload.write_all(b"abcdefgh").unwrap();
    upload.flush().unwrap();
    thread::sleep(MS(350));
    drop(upload);
    assert_eq!(store.numbers(&Bson::Int32(2)), [0, 1]);
    assert_eq!(store.count_of("delete"), 0);
}

/// Runs `work` on another thread, cancels it after 200 ms, and returns its error, which comes within a second.
fn cancelled<T: Send>(
    canceller: &Canceller,
    work: impl FnOnce() -> io::Result<T> + Send,
) -> io::Error {
    thread::scope(|scope| {
        let running = scope.spawn(|| work().err().expect("an error"));
        thread::sleep(MS(200));
        assert!(!running.is_finished());
        canceller.cancel();
        let cancelled = Instant::now();
        let error = running.join().unwrap();
        assert!(cancelled.elapsed() < MS(1000));
        error
    })
}

#[test]
fn a_canceller_ends_uploads_and_downloads() {
    let Some(store) = Store::start() else {
        return;
    };
    store.put(1, "file", b"abcdefgh");
    let slow = || doc! { "blockConnection": true, "blockTimeMS": 3000 };

    let canceller = Canceller::new();
    let open = store.bucket.open_upload_stream("file").id(2);
    let mut upload = open.cancelled_by(&canceller).run().unwrap();
    upload.write_all(b"abcd").unwrap();
    upload.flush().unwrap();
    store.fail(1, &["insert"], slow());
    let error = cancelled(&canceller, || {
        upload.write_all(b"efgh")?;
        upload.flush()
    });
    assert_eq!(inner(&error).kind(), ErrorKind::Cancelled);
    assert_eq!(
        upload.close().unwrap_err().to_string(),
        "the upload has failed before"
    );
    drop(upload);
    assert_eq!(store.count_of("delete"), 0);
    store.deployment.clear_fail_points();

    let canceller = Canceller::new();
    let open = store.bucket.open_download_stream(1);
    let mut download = open.cancelled_by(&canceller).run().unwrap();
    store.fail(1, &["find"], slow());
    let error = cancelled(&canceller, || download.read(&mut [0]));
    assert_eq!(inner(&error).kind(), ErrorKind::Cancelled);
    store.deployment.clear_fail_points();
    assert_eq!(store.get(1).unwrap(), b"abcdefgh");
}

#[test]
fn a_download_continues_after_a_lost_connection() {
    let Some(store) = Store::start() else {
        return;
    };
    store.put(1, "file", b"abcdefgh");
    // A find is retried.
    store.cut_reply("find");
    let mut download = store.bucket.open_download_stream(1).run().unwrap();
    store.cut_reply("find");
    let mut content = [0; 4];
    download.read_exact(&mut content).unwrap();
    assert_eq!(&content, b"abcd");
    drop(download);

    // A `getMore` is not. The program can continue with another download.
    let mut bytes = vec![0; 3 << 20];
    bytes
        .iter_mut()
        .zip(0..)
        .for_each(|(byte, at): (_, u32)| *byte = at.to_le_bytes()[1]);
    let upload = store.bucket.upload_from_stream("large", &bytes[..]);
    let id = upload.chunk_size_bytes(255 << 10).run().unwrap();
    let mut download = store.bucket.open_download_stream(id.clone()).run().unwrap();
    let mut content = Vec::new();
    store.cut_reply("getMore");
    let error = download.read_to_end(&mut content).unwrap_err();
    assert_eq!(inner(&error).kind(), ErrorKind::Network);
    for node in store.deployment.nodes() {
        node.server().heal_replies();
    }
    let again = download.read(&mut [0]).unwrap_err();
    assert_eq!(inner(&again).to_string(), inner(&error).to_string());
    let position = download.stream_position().unwrap();
    assert_eq!(position, content.len() as u64);
    let mut download = store.bucket.open_download_stream(id).run().unwrap();
    download.seek(SeekFrom::Start(position)).unwrap();
    download.read_to_end(&mut content).unwrap();
    assert!(content == bytes);
}
