//! Tests of OP_COMPRESSED, with all compressors.

use bson::{Document, RawDocumentBuf, doc};
use mongotls_testbench::random::{Random, rounds};

use super::*;
use crate::wire::reply::{self, Expected, Malformed, ReadError};
use crate::wire::request::encode_msg;

const ALL: [Compressor; 3] = [Compressor::Snappy, Compressor::Zlib, Compressor::Zstd];

/// One insert as PyMongo 4.20 compresses it, with python-snappy 0.7, zlib 1.2.13 and backports.zstd 1.
const PYMONGO: [(Compressor, &str); 3] = [
    (
        Compressor::Snappy,
        "5e000000baad86b900000000dc070000dd07000070000000017000000101b06b00000002696e7365727400070000007468696e67\
         7300086f7264657265640001026e6f746500330000006161be0200340002246462000300000064620000",
    ),
    (
        Compressor::Zlib,
        "5a00000054294ae400000000dc070000dd0700007000000002789c636000826c2066cacc2b4e2d2a616007b24b3232f3d28b1938\
         f28b52528b5253181899f2f24b52198c815289240306269594240666a05e20c500007fb01f17",
    ),
    (
        Compressor::Zstd,
        "68000000e45a8c1a00000000dc070000dd070000700000000328b52ffd2070350200f40300000000006b00000002696e73657274\
         00070000007468696e677300086f7264657265640001026e6f7465003300000061000224646200030000006462000001006104a0",
    ),
];

/// Replies to request 9, made by PyMongo's compressors.
const REPLIES: [(Compressor, &str); 3] = [
    (
        Compressor::Snappy,
        "3f0000000100000009000000dc070000dd0700005d000000015d000001011858000000016f6b010b3c000000f03f027465787400\
         3d00000078ea0100040000",
    ),
    (
        Compressor::Zlib,
        "3c0000000100000009000000dc070000dd0700005d00000002789c63600082082066cccf6680800ff64c25a915250cb640760505\
         80810100da132087",
    ),
    (
        Compressor::Zstd,
        "460000000100000009000000dc070000dd0700005d0000000328b52ffd205d250100e0000000000058000000016f6b00f03f0274\
         657874003d000000780000020000f21bc017",
    ),
];

fn hex(text: &str) -> Vec<u8> {
    let digits: Vec<u8> = text.bytes().filter(|b| !b.is_ascii_whitespace()).collect();
    let byte = |pair: &[u8]| u8::from_str_radix(std::str::from_utf8(pair).unwrap(), 16);
    digits.chunks(2).map(|pair| byte(pair).unwrap()).collect()
}

fn expected(offered: &[Compressor]) -> Expected {
    Expected {
        request_id: 9,
        offered: Offered::of(offered),
    }
}

fn with(compressor: Compressor, level: i32) -> Compression {
    Compression { compressor, level }
}

/// Returns an OP_MSG that answers request 9.
fn reply(document: &Document) -> Vec<u8> {
    let mut message = Vec::new();
    let body = RawDocumentBuf::try_from(document).unwrap();
    encode_msg(&mut message, 1, &body, |_| (), &[], MAX_MESSAGE_SIZE).unwrap();
    message[8..12].copy_from_slice(&9_i32.to_le_bytes());
    message
}

fn wrapped(message: &[u8], compressor: Compressor) -> Vec<u8> {
    let mut out = Vec::new();
    assert!(wrap(
        message,
        &mut out,
        with(compressor, -1),
        MAX_MESSAGE_SIZE
    ));
    out
}

/// Returns an OP_COMPRESSED that answers request 9, with this content.
fn raw(inner: i32, size: i32, number: u8, content: &[u8]) -> Vec<u8> {
    let length = i32::try_from(PREFIX + content.len()).unwrap();
    let fields = [length, 1, 9, opcode::COMPRESSED, inner, size];
    let mut out: Vec<u8> = fields.iter().flat_map(|word| word.to_le_bytes()).collect();
    out.push(number);
    out.extend_from_slice(content);
    out
}

fn refused(bytes: &[u8], offered: &[Compressor]) -> Malformed {
    match reply::read(&mut &bytes[..], expected(offered)) {
        Err(ReadError::Malformed { what, first_bytes }) => {
            assert!(first_bytes.len() >= HEADER_SIZE && bytes.starts_with(&first_bytes));
            what
        }
        other => panic!("{other:?}"),
    }
}

#[test]
fn replies_compressed_by_pymongo_are_read() {
    for (compressor, text) in PYMONGO {
        let message = hex(text);
        let offered = Offered::of(&[compressor]);
        let wrapping = Wrapping::check(&message[..PREFIX], message.len(), 10, offered).unwrap();
        let content = unwrap(message[PREFIX..].to_vec(), wrapping).unwrap();
        let body = Document::from_reader(&content[5..]).unwrap();
        let insert =
            doc! { "insert": "things", "ordered": true, "note": "a".repeat(50), "$db": "db" };
        assert_eq!(body, insert, "{compressor:?}");
        assert_eq!(content[..5], [0; 5]);
    }
    for (compressor, text) in REPLIES {
        let document = reply::read(&mut &hex(text)[..], expected(&[compressor])).unwrap();
        let document = Document::try_from(document).unwrap();
        assert_eq!(
            document,
            doc! { "ok": 1.0, "text": "x".repeat(60) },
            "{compressor:?}"
        );
    }
}

#[test]
fn a_wrapped_message_keeps_its_header_and_comes_out_as_it_was() {
    let document = doc! { "ok": 1, "text": "abc".repeat(100_000), "rest": [1, 2, 3] };
    for compressor in ALL {
        for level in [-1, 0, 1, 9] {
            let mut out = vec![1; 7];
            let message = reply(&document);
            assert!(wrap(
                &message,
                &mut out,
                with(compressor, level),
                MAX_MESSAGE_SIZE
            ));
            assert_eq!(out[4..12], message[4..12]);
            assert_eq!(super::super::word(&out, 0), i32::try_from(out.len()).ok());
            let is_smaller = out.len() < message.len() / 10;
            assert_eq!(
                is_smaller,
                (compressor, level) != (Compressor::Zlib, 0),
                "{compressor:?} {level}"
            );
            let read = reply::read(&mut &out[..], expected(&ALL)).unwrap();
            assert_eq!(Document::try_from(read).unwrap(), document);
        }
    }
}

#[test]
fn oversized_messages_are_not_compressed() {
    let noise = Random::default().bytes(5000);
    let binary = bson::Binary {
        subtype: bson::spec::BinarySubtype::Generic,
        bytes: noise,
    };
    let message = reply(&doc! { "noise": binary });
    for compressor in ALL {
        let mut out = Vec::new();
        assert!(
            !wrap(&message, &mut out, with(compressor, -1), message.len()),
            "{compressor:?}"
        );
        assert!(wrap(
            &message,
            &mut out,
            with(compressor, -1),
            message.len() + 1000
        ));
    }
    assert!(!wrap(
        &message[..10],
        &mut Vec::new(),
        with(Compressor::Zlib, -1),
        1000
    ));
}

#[test]
fn each_invalid_compressed_reply_is_rejected_with_its_reason() {
    let message = reply(&doc! { "ok": 1, "text": "x".repeat(1000) });
    let content = &message[HEADER_SIZE..];
    let size = i32::try_from(content.len()).unwrap();
    assert_eq!(
        refused(&raw(opcode::MSG, size, 0, content), &[]),
        Malformed::Opcode(2012)
    );
    let noop = raw(opcode::MSG, size, 0, content);
    assert!(reply::read(&mut &noop[..], expected(&ALL)).is_ok());
    assert_eq!(
        refused(&raw(opcode::MSG, size - 1, 0, content), &ALL),
        Malformed::Compressed(Refused::Data)
    );
    for compressor in ALL {
        let good = wrapped(&message, compressor);
        let data = &good[PREFIX..];
        let number = id(compressor);
        let make = |inner, size, number, data: &[u8]| raw(inner, size, number, data);
        let others: Vec<_> = ALL.into_iter().filter(|one| *one != compressor).collect();
        let cases = [
            (good.clone(), &others[..], Refused::NotOffered(compressor)),
            (
                make(opcode::REPLY, size, number, data),
                &ALL,
                Refused::Opcode(1),
            ),
            (
                make(opcode::COMPRESSED, size, number, data),
                &ALL,
                Refused::Opcode(2012),
            ),
            (make(opcode::MSG, size, 4, data), &ALL, Refused::Unknown(4)),
            (
                make(opcode::MSG, size, 255, data),
                &ALL,
                Refused::Unknown(255),
            ),
            (make(opcode::MSG, -1, number, data), &ALL, Refused::Size(-1)),
            (make(opcode::MSG, 0, number, data), &ALL, Refused::Size(0)),
            (make(opcode::MSG, 9, number, data), &ALL, Refused::Size(9)),
            (
                make(opcode::MSG, i32::MAX, number, data),
                &ALL,
                Refused::Size(i32::MAX),
            ),
            (
                make(opcode::MSG, 48_000_000, number, data),
                &ALL,
                Refused::Size(48_000_000),
            ),
            (
                make(opcode::MSG, size - 1, number, data),
                &ALL,
                Refused::Data,
            ),
            (
                make(opcode::MSG, size + 1, number, data),
                &ALL,
                Refused::Data,
            ),
            (
                make(opcode::MSG, size, number, &data[..data.len() - 1]),
                &ALL,
                Refused::Data,
            ),
            (
                make(opcode::MSG, size, number, &[data, b"x"].concat()),
                &ALL,
                Refused::Data,
            ),
            (
                make(opcode::MSG, 100, number, &[0xee; 50]),
                &ALL,
                Refused::Data,
            ),
        ];
        for (bytes, offered, why) in cases {
            assert_eq!(
                refused(&bytes, offered),
                Malformed::Compressed(why),
                "{compressor:?}"
            );
        }
    }
    // Each has its own wording.
    let text = Malformed::Compressed(Refused::Unknown(9)).to_string();
    assert_eq!(text, "no compressor has the number 9");
}

#[test]
fn compressed_replies_are_read_in_pieces() {
    let document = doc! { "ok": 1, "text": "y".repeat(300) };
    let mut content = vec![0; 5];
    content.extend(document.to_vec().unwrap());
    for compressor in ALL {
        let mut data = Vec::new();
        compress(&content, &mut data, with(compressor, -1)).unwrap();
        let size = i32::try_from(content.len()).unwrap();
        let message = raw(opcode::MSG, size, id(compressor), &data);
        // The result does not depend on how the bytes arrive.
        for step in [1, 7, 1000] {
            let mut stream = Slow(&message, step);
            let read = reply::read(&mut stream, expected(&ALL)).unwrap();
            assert_eq!(Document::try_from(read).unwrap(), document);
            assert_eq!(stream.0, b"");
        }
    }
}

/// Returns this many bytes at a time.
struct Slow<'a>(&'a [u8], usize);

impl std::io::Read for Slow<'_> {
    fn read(&mut self, buf: &mut [u8]) -> std::io::Result<usize> {
        let most = buf.len().min(self.1);
        self.0.read(&mut buf[..most])
    }
}

#[test]
fn a_decompression_bomb_stops_at_the_declared_size() {
    let zeros = vec![0; 64 << 20];
    for compressor in ALL {
        let mut data = Vec::new();
        compress(&zeros, &mut data, with(compressor, 9)).unwrap();
        // 20 000 bytes are declared, but the content has 64 MiB.
        let bomb = raw(opcode::MSG, 20_000, id(compressor), &data);
        assert_eq!(
            refused(&bomb, &ALL),
            Malformed::Compressed(Refused::Data),
            "{compressor:?}"
        );
        // A small part must not cause an allocation for the whole size.
        let claim = raw(opcode::MSG, 47_000_000, id(compressor), &data[..60]);
        assert_eq!(
            refused(&claim, &ALL),
            Malformed::Compressed(Refused::Size(47_000_000))
        );
    }
}

#[test]
fn a_window_beyond_reason_is_refused_where_one_is_needed() {
    use std::io::Write;
    let small = reply(&doc! { "ok": 1 });
    let large = reply(&doc! { "ok": 1, "text": "z".repeat(2 << 20) });
    for (message, log, is_read) in [
        (&small, 10, true),
        (&small, 27, true),
        (&large, 23, true),
        (&large, 24, false),
        (&large, 27, false),
    ] {
        let content = &message[HEADER_SIZE..];
        let mut encoder = zstd::stream::write::Encoder::new(Vec::new(), 3).unwrap();
        encoder.window_log(log).unwrap();
        encoder.write_all(content).unwrap();
        // A frame that is flushed before its end does not contain its size.
        encoder.flush().unwrap();
        let data = encoder.finish().unwrap();
        let size = i32::try_from(content.len()).unwrap();
        let message = raw(opcode::MSG, size, id(Compressor::Zstd), &data);
        if is_read {
            assert!(
                reply::read(&mut &message[..], expected(&ALL)).is_ok(),
                "{log}"
            );
        } else {
            let refusal = refused(&message, &ALL);
            assert_eq!(refusal, Malformed::Compressed(Refused::Data), "{log}");
        }
    }
}

/// Reads valid replies with bytes changed, truncated, duplicated or random. Set `MONGOTLS_FUZZ_ROUNDS` for more.
#[test]
fn mutated_compressed_replies_do_not_panic_or_allocate_much() {
    let rounds = rounds(100_000);
    let mut random = Random::default();
    let document = doc! { "ok": 1.0, "cursor": { "id": 5_i64, "ns": "a.b", "firstBatch": [{ "x": "y".repeat(40) }, 7] } };
    let good = ALL.map(|compressor| wrapped(&reply(&document), compressor));
    let (mut read_whole, mut not_compressed_well) = (0_u64, 0_u64);
    for round in 0..rounds {
        let mut bytes = good[random.below(3)].clone();
        for _ in 0..=random.below(3) {
            // Most changes are in the compressed part.
            let from = if random.below(4) == 0 {
                HEADER_SIZE
            } else {
                PREFIX
            };
            let at = (from + random.below(bytes.len() - from)).min(bytes.len() - 1);
            match random.below(5) {
                0 => bytes[at] = random.number().to_le_bytes()[0],
                1 | 2 => bytes[at] ^= 1 << random.below(8),
                3 if at > PREFIX => bytes.truncate(at),
                _ => bytes.extend_from_within(at..),
            }
        }
        let length = i32::try_from(bytes.len()).unwrap().to_le_bytes();
        bytes[..4].copy_from_slice(&length);
        match reply::read(&mut &bytes[..], expected(&ALL)) {
            Ok(document) => {
                read_whole += 1;
                crate::conn::read_by_all_readers(&document);
                let taken = document.into_bytes().capacity();
                let most = most_of(Some(Compressor::Zstd), bytes.len());
                assert!(taken <= most, "{taken} in round {round}");
            }
            Err(ReadError::Malformed {
                what: Malformed::Compressed(Refused::Data),
                ..
            }) => {
                not_compressed_well += 1;
            }
            Err(_) => {}
        }
    }
    assert!(
        read_whole > 0 && read_whole < rounds,
        "{read_whole} of {rounds} were read"
    );
    assert!(
        not_compressed_well > rounds / 10,
        "{not_compressed_well} of {rounds}"
    );
}
