//! The bench's own OP_COMPRESSED, separate from the connector's on purpose.
//!
//! It is simple, and limits only the size of a message, because a test bench trusts its tests. Source: the
//! "OP_COMPRESSED" specification.

use crate::wire::{Frame, MAX_MESSAGE_SIZE, OP_COMPRESSED};
use std::io::{self, ErrorKind, Read, Write};

/// A compressor, by its number on the wire.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u8)]
pub enum Compressor {
    /// No compression.
    Noop = 0,
    /// Snappy.
    Snappy = 1,
    /// zlib.
    Zlib = 2,
    /// Zstandard.
    Zstd = 3,
}

impl Compressor {
    /// The compressors that have a name in hello.
    pub const ALL: [Self; 3] = [Self::Snappy, Self::Zlib, Self::Zstd];

    /// Its name in hello and in connection strings.
    pub fn name(self) -> &'static str {
        match self {
            Self::Noop => "noop",
            Self::Snappy => "snappy",
            Self::Zlib => "zlib",
            Self::Zstd => "zstd",
        }
    }

    /// Returns the compressor of that number.
    pub fn numbered(number: u8) -> Option<Self> {
        let all = [Self::Noop, Self::Snappy, Self::Zlib, Self::Zstd];
        all.into_iter().find(|one| *one as u8 == number)
    }

    /// Compresses.
    ///
    /// # Panics
    ///
    /// If the library fails.
    pub fn compress(self, bytes: &[u8]) -> Vec<u8> {
        match self {
            Self::Noop => bytes.to_vec(),
            Self::Snappy => snap::raw::Encoder::new().compress_vec(bytes).unwrap(),
            Self::Zlib => {
                let level = flate2::Compression::default();
                let mut encoder = flate2::write::ZlibEncoder::new(Vec::new(), level);
                encoder.write_all(bytes).unwrap();
                encoder.finish().unwrap()
            }
            Self::Zstd => zstd::bulk::compress(bytes, 3).unwrap(),
        }
    }

    /// Decompresses.
    ///
    /// # Errors
    ///
    /// `InvalidData` for bytes of another format, or too many for a message.
    pub fn decompress(self, bytes: &[u8]) -> io::Result<Vec<u8>> {
        let mut out = Vec::new();
        let limit = MAX_MESSAGE_SIZE as u64;
        match self {
            Self::Noop => out.extend_from_slice(bytes),
            Self::Snappy => {
                let plain = snap::raw::Decoder::new().decompress_vec(bytes);
                out = plain.map_err(|error| io::Error::new(ErrorKind::InvalidData, error))?;
            }
            Self::Zlib => {
                let decoder = flate2::read::ZlibDecoder::new(bytes);
                decoder.take(limit).read_to_end(&mut out)?;
            }
            Self::Zstd => {
                let decoder = zstd::stream::read::Decoder::new(bytes)?;
                decoder.take(limit).read_to_end(&mut out)?;
            }
        }
        Ok(out)
    }
}

/// Wraps a message into OP_COMPRESSED.
///
/// # Panics
///
/// If the message has 2 GiB.
pub fn wrap(frame: &Frame, compressor: Compressor) -> Frame {
    let size = i32::try_from(frame.payload.len()).expect("a message below 2 GiB");
    wrap_as(
        frame,
        frame.op_code,
        size,
        compressor as u8,
        &compressor.compress(&frame.payload),
    )
}

/// Wraps a message into OP_COMPRESSED, with fields that need not be true.
pub fn wrap_as(frame: &Frame, op_code: i32, size: i32, number: u8, compressed: &[u8]) -> Frame {
    let mut payload = op_code.to_le_bytes().to_vec();
    payload.extend(size.to_le_bytes());
    payload.push(number);
    payload.extend(compressed);
    Frame {
        op_code: OP_COMPRESSED,
        payload,
        ..frame.clone()
    }
}

/// Decodes an OP_COMPRESSED message and returns its compressor too; other messages are returned unchanged.
///
/// # Errors
///
/// `Unsupported` for a number that no compressor has; `InvalidData` for a malformed message.
pub fn unwrap(frame: Frame) -> io::Result<(Frame, Option<Compressor>)> {
    if frame.op_code != OP_COMPRESSED {
        return Ok((frame, None));
    }
    let bad = |what: &str| io::Error::new(ErrorKind::InvalidData, what);
    let (fields, rest) = frame
        .payload
        .split_first_chunk::<9>()
        .ok_or_else(|| bad("message too short"))?;
    let [op_code @ .., s0, s1, s2, s3, number] = *fields;
    let compressor = Compressor::numbered(number).ok_or_else(|| {
        let what = format!("the bench does not know compressor {number}");
        io::Error::new(ErrorKind::Unsupported, what)
    })?;
    let payload = compressor.decompress(rest)?;
    let size = i32::from_le_bytes([s0, s1, s2, s3]);
    if usize::try_from(size).ok() != Some(payload.len()) {
        return Err(bad("uncompressedSize is not true"));
    }
    let plain = Frame {
        op_code: i32::from_le_bytes(op_code),
        payload,
        ..frame
    };
    Ok((plain, Some(compressor)))
}
