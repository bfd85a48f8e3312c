//! OP_COMPRESSED: a message wrapped in another one, with zstd, zlib or snappy.
//!
//! Source: "OP_COMPRESSED". [`wrap`] compresses a request that is completely encoded. For a reply, [`Wrapping`] is
//! checked before anything is allocated. [`unwrap`] then returns its content: never more than the declared size, in
//! memory that grows with the decompressed bytes. A declared size that the compressed bytes cannot reach, by the
//! rules of their format, is rejected at once.
//!
//! The state of a compressor is created for each message and dropped afterwards, which costs about 10 µs (`make
//! bench`). The state of zlib and zstd takes hundreds of kilobytes, which a pool of idle connections would otherwise
//! hold for no benefit.

use super::{HEADER_SIZE, MAX_MESSAGE_SIZE, opcode};
use crate::options::Compressor;

/// The size of the header and the three fields of OP_COMPRESSED.
pub(crate) const PREFIX: usize = HEADER_SIZE + 9;

/// The compression of requests.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Compression {
    pub(crate) compressor: Compressor,
    /// The level of zlib; the others use the default of their library.
    pub(crate) level: i32,
}

/// The set of compressors that were offered to a server.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Offered(u8);

impl Offered {
    pub(crate) const NONE: Self = Self(0);

    /// Returns the compressors of `preferred` that are built in.
    pub(crate) fn of(preferred: &[Compressor]) -> Self {
        let built_in = preferred.iter().filter(|one| one.is_built_in());
        Self(built_in.fold(0, |set, one| set | 1 << id(*one)))
    }

    pub(crate) fn has_any(self) -> bool {
        self.0 != 0
    }

    fn has(self, compressor: Compressor) -> bool {
        self.0 & 1 << id(compressor) != 0
    }
}

/// The reason for rejecting a compressed reply.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Refused {
    /// The wrapped message is not the expected reply.
    Opcode(i32),
    /// No compressor has this number.
    Unknown(u8),
    /// The client has not offered this compressor.
    NotOffered(Compressor),
    /// The declared size is below the minimum or above the maximum, or the compressed bytes cannot reach it.
    Size(i32),
    /// The bytes are not in the compressor's format, or decompress to another size than declared.
    Data,
}

impl std::fmt::Display for Refused {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::Opcode(opcode) => write!(f, "opcode {opcode} was not expected in OP_COMPRESSED"),
            Self::Unknown(id) => write!(f, "no compressor has the number {id}"),
            Self::NotOffered(compressor) => {
                write!(
                    f,
                    "the compressor {:?} was not offered",
                    compressor.as_str()
                )
            }
            Self::Size(size) => write!(f, "the compressed bytes cannot come to {size} bytes"),
            Self::Data => f.write_str("the compressed bytes do not come to what was declared"),
        }
    }
}

/// The fields of OP_COMPRESSED in a reply.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Wrapping {
    /// The compressor, or `None` for `noop`: the bytes are not compressed.
    compressor: Option<Compressor>,
    /// The size of the content, without a header.
    size: usize,
}

impl Wrapping {
    /// Checks the fields in `head`, which contains the [`PREFIX`] bytes of a message of `message_size` bytes.
    /// `smallest` is the minimum size of the content, an OP_MSG.
    pub(crate) fn check(
        head: &[u8],
        message_size: usize,
        smallest: usize,
        offered: Offered,
    ) -> Result<Self, Refused> {
        let field = |at| super::word(head, at).unwrap_or(0);
        let (found, declared) = (field(HEADER_SIZE), field(HEADER_SIZE + 4));
        if found != opcode::MSG {
            return Err(Refused::Opcode(found));
        }
        let compressor = match head.get(PREFIX - 1) {
            Some(0) => None,
            Some(number) => Some(by_id(*number).ok_or(Refused::Unknown(*number))?),
            None => return Err(Refused::Data),
        };
        if let Some(compressor) = compressor.filter(|one| !offered.has(*one)) {
            return Err(Refused::NotOffered(compressor));
        }
        let most = most_of(compressor, message_size.saturating_sub(PREFIX));
        let most = most.min(MAX_MESSAGE_SIZE - HEADER_SIZE);
        let size = usize::try_from(declared)
            .ok()
            .filter(|size| (smallest..=most).contains(size))
            .ok_or(Refused::Size(declared))?;
        Ok(Self { compressor, size })
    }
}

/// Wraps `message`, a request with its header, into `out`, replacing its content. Returns false if the result would
/// exceed `limit` or the compressor fails; `out` must not be sent then.
pub(crate) fn wrap(message: &[u8], out: &mut Vec<u8>, with: Compression, limit: usize) -> bool {
    let Some((header, content)) = message.split_at_checked(HEADER_SIZE) else {
        return false;
    };
    out.clear();
    out.extend_from_slice(&header[..12]);
    out.extend_from_slice(&opcode::COMPRESSED.to_le_bytes());
    out.extend_from_slice(&header[12..]);
    out.extend_from_slice(&super::length(content.len()).to_le_bytes());
    out.push(id(with.compressor));
    if compress(content, out, with).is_none() || out.len() > limit {
        return false;
    }
    let size = super::length(out.len()).to_le_bytes();
    out[..4].copy_from_slice(&size);
    true
}

/// Returns the content, without a header, from the `bytes` that follow the [`PREFIX`].
pub(crate) fn unwrap(bytes: Vec<u8>, wrapping: Wrapping) -> Result<Vec<u8>, Refused> {
    let Wrapping { compressor, size } = wrapping;
    let unwrapped = match compressor {
        None => (bytes.len() == size).then_some(bytes),
        Some(compressor) => decompress(compressor, &bytes, size),
    };
    unwrapped.ok_or(Refused::Data)
}

/// Returns the maximum size that `compressed` bytes can decompress to.
fn most_of(compressor: Option<Compressor>, compressed: usize) -> usize {
    match compressor {
        None => compressed,
        // A copy of 64 bytes takes 3 ("Snappy compressed format description", 2.2.2).
        Some(Compressor::Snappy) => (compressed / 3 + 1).saturating_mul(64),
        // A copy of 258 bytes takes 2 bits (RFC 1951, 3.2.5).
        Some(Compressor::Zlib) => compressed.saturating_mul(1032),
        // A block of 128 KiB takes 4 bytes (RFC 8878, 3.1.1.2: three of header, one that is repeated).
        Some(Compressor::Zstd) => (compressed / 4 + 1).saturating_mul(128 << 10),
    }
}

fn id(compressor: Compressor) -> u8 {
    match compressor {
        Compressor::Snappy => 1,
        Compressor::Zlib => 2,
        Compressor::Zstd => 3,
    }
}

fn by_id(number: u8) -> Option<Compressor> {
    let all = [Compressor::Snappy, Compressor::Zlib, Compressor::Zstd];
    all.into_iter().find(|one| id(*one) == number)
}

/// Appends `content` to `out`, compressed. Returns `None` if that fails or the compressor is not built in.
#[cfg_attr(
    not(any(feature = "zstd", feature = "zlib", feature = "snappy")),
    expect(unused_variables, clippy::ptr_arg, reason = "nothing is built in")
)]
fn compress(content: &[u8], out: &mut Vec<u8>, with: Compression) -> Option<()> {
    match with.compressor {
        #[cfg(feature = "snappy")]
        Compressor::Snappy => {
            let start = out.len();
            out.resize(start + snap::raw::max_compress_len(content.len()), 0);
            let written = snap::raw::Encoder::new().compress(content, &mut out[start..]);
            out.truncate(start + written.ok()?);
            Some(())
        }
        #[cfg(feature = "zlib")]
        Compressor::Zlib => {
            use std::io::Write;
            let level = u32::try_from(with.level)
                .map_or_else(|_| flate2::Compression::default(), flate2::Compression::new);
            let mut encoder = flate2::write::ZlibEncoder::new(out, level);
            encoder.write_all(content).ok()?;
            encoder.finish().ok().map(|_| ())
        }
        #[cfg(feature = "zstd")]
        Compressor::Zstd => {
            let start = out.len();
            out.resize(start + zstd::zstd_safe::compress_bound(content.len()), 0);
            // The specification defines no level; 0 is the library's default.
            let written = zstd::bulk::compress_to_buffer(content, &mut out[start..], 0);
            out.truncate(start + written.ok()?);
            Some(())
        }
        #[cfg(not(all(feature = "zstd", feature = "zlib", feature = "snappy")))]
        _ => None,
    }
}

/// Decompresses `bytes`, if the result has exactly `size` bytes and nothing follows.
#[cfg_attr(
    not(any(feature = "zstd", feature = "zlib", feature = "snappy")),
    expect(unused_variables, reason = "nothing is built in")
)]
fn decompress(compressor: Compressor, bytes: &[u8], size: usize) -> Option<Vec<u8>> {
    match compressor {
        #[cfg(feature = "snappy")]
        Compressor::Snappy => {
            // The data begin with the decompressed size, and the decoder never writes beyond it.
            if snap::raw::decompress_len(bytes).ok()? != size {
                return None;
            }
            snap::raw::Decoder::new().decompress_vec(bytes).ok()
        }
        #[cfg(feature = "zlib")]
        Compressor::Zlib => {
            let mut decoder = flate2::bufread::ZlibDecoder::new(bytes);
            let content = take_all(&mut decoder, size)?;
            decoder.into_inner().is_empty().then_some(content)
        }
        #[cfg(feature = "zstd")]
        Compressor::Zstd if size <= super::TAKEN_AT_ONCE => {
            // The output serves as the window, which is faster and needs no further allocation.
            let mut content = vec![0; size];
            let written = zstd::bulk::decompress_to_buffer(bytes, &mut content[..]).ok()?;
            (written == size).then_some(content)
        }
        #[cfg(feature = "zstd")]
        Compressor::Zstd => {
            let mut decoder = zstd::stream::read::Decoder::with_buffer(bytes).ok()?;
            // The window is no larger than the size itself, regardless of the frame, but at least 8 MiB, as RFC 8878,
            // 3.1.1.1.2 recommends: a compressor that does not know the size requests a window that suits any size.
            let log = size.next_power_of_two().ilog2().max(23);
            decoder.window_log_max(log).ok()?;
            take_all(&mut decoder, size)
        }
        #[cfg(not(all(feature = "zstd", feature = "zlib", feature = "snappy")))]
        _ => None,
    }
}

/// Reads `size` bytes, after which the stream must end.
#[cfg(any(feature = "zstd", feature = "zlib"))]
fn take_all(stream: &mut impl std::io::Read, size: usize) -> Option<Vec<u8>> {
    let content = super::read_rest(Vec::new(), stream, size).ok()?;
    match stream.read(&mut [0]) {
        Ok(0) => Some(content),
        _ => None,
    }
}

#[cfg(test)]
#[cfg(all(feature = "zstd", feature = "zlib", feature = "snappy"))]
mod tests;
