//! PEM blocks (RFC 7468), base64, and values in DER form: positions in the bytes of a file.

use std::ops::Range;

use memchr::memmem;
use openssl::base64;
use openssl::error::ErrorStack;
use openssl::x509::X509;

use crate::ffi::openssl as ffi;

/// One PEM block of a file.
pub(crate) struct PemBlock<'a> {
    /// The text between `-----BEGIN ` and the dashes.
    pub(crate) label: &'a str,
    /// The block with its first and last line.
    pub(crate) text: &'a [u8],
    /// The position of its base64 in the file.
    pub(crate) body: Range<usize>,
}

impl PemBlock<'_> {
    pub(crate) fn is_certificate(&self) -> bool {
        is_certificate_label(self.label)
    }

    /// The certificate, with its trust settings if it is in OpenSSL's own form (`TRUSTED CERTIFICATE`).
    pub(crate) fn certificate(&self) -> Result<X509, ErrorStack> {
        match self.label {
            "TRUSTED CERTIFICATE" => ffi::trusted_certificate(self.text),
            _ => X509::from_pem(self.text),
        }
    }

    pub(crate) fn is_crl(&self) -> bool {
        is_crl_label(self.label)
    }

    /// The line of the file on which the block begins, counted from 1.
    pub(crate) fn line(&self, file: &[u8]) -> usize {
        line_of(file, self.body.start)
    }

    pub(crate) fn is_key(&self) -> bool {
        self.label.ends_with("PRIVATE KEY")
    }

    /// Returns whether a password protects the block: in the form of PKCS#8, or in the older form (RFC 1421).
    pub(crate) fn is_encrypted(&self) -> bool {
        self.label.starts_with("ENCRYPTED ") || find(self.text, b"Proc-Type:").is_some()
    }
}

/// The complete PEM blocks of a file (RFC 7468), in their order, and those that another one of their kind cuts off.
///
/// Only private keys may be encrypted in the traditional way: for other blocks, OpenSSL would prompt for the password
/// on the terminal. Other blocks that claim to be encrypted are left out, as if damaged.
pub(crate) fn pem_blocks(bytes: &[u8]) -> impl Iterator<Item = PemBlock<'_>> {
    let mut rest = bytes;
    std::iter::from_fn(move || {
        loop {
            let start = find(rest, b"-----BEGIN ")?;
            let block = &rest[start..];
            let place = bytes.len() - block.len();
            let after = &block[b"-----BEGIN ".len()..];
            let Some(label_end) = find(after, b"-----") else {
                rest = &[];
                return None;
            };
            let label = std::str::from_utf8(&after[..label_end])
                .ok()
                .filter(|label| !label.contains('\n'));
            let Some(label) = label else {
                rest = after;
                continue;
            };
            // Only the last line of a block has five dashes, so the next such line must be the last one. Looking
            // further would take quadratic time for a hostile file.
            let end_line = format!("-----END {label}-----");
            let next_begin = format!("-----BEGIN {label}-----");
            let body = next_begin.len();
            let dashes = body + find(&block[body..], b"-----")?;
            let end = if block[dashes..].starts_with(end_line.as_bytes()) {
                dashes + end_line.len()
            } else if block[dashes..].starts_with(next_begin.as_bytes()) {
                // One of two blocks was cut off. It is not skipped, because decoding it will report the error.
                dashes
            } else {
                rest = after;
                continue;
            };
            let (text, tail) = block.split_at(end);
            rest = tail;
            let body = place + body..place + dashes;
            let block = PemBlock { label, text, body };
            if !block.is_key() && block.is_encrypted() {
                continue;
            }
            return Some(block);
        }
    })
}

/// The number of PEM blocks that begin in a file, complete or not.
pub(crate) fn pem_beginnings(bytes: &[u8]) -> usize {
    memmem::find_iter(bytes, b"-----BEGIN ").count()
}

/// The line on which the first block begins that has one of these labels and is not among [`pem_blocks`]: it does not
/// end, or claims to be encrypted.
pub(crate) fn cut_block(bytes: &[u8], is_wanted: fn(&str) -> bool) -> Option<usize> {
    let begin = b"-----BEGIN ";
    let mut whole = pem_blocks(bytes).map(|block| block.body.start).peekable();
    for start in memmem::find_iter(bytes, begin) {
        let after = &bytes[start + begin.len()..];
        // No label is longer.
        let head = &after[..after.len().min(64)];
        let label = find(head, b"-----").and_then(|end| std::str::from_utf8(&head[..end]).ok());
        let Some(label) = label.filter(|label| is_wanted(label)) else {
            continue;
        };
        let body = start + begin.len() + label.len() + b"-----".len();
        while whole.next_if(|known| *known < body).is_some() {}
        if whole.peek() != Some(&body) {
            return Some(line_of(bytes, start));
        }
    }
    None
}

/// The certificates of a PEM file, in their order.
///
/// # Errors
/// OpenSSL's error about the first block that it cannot decode.
pub(crate) fn certificates(bytes: &[u8]) -> Result<Vec<X509>, ErrorStack> {
    let blocks = pem_blocks(bytes).filter(PemBlock::is_certificate);
    blocks.map(|block| block.certificate()).collect()
}

pub(crate) fn is_certificate_label(label: &str) -> bool {
    matches!(
        label,
        "CERTIFICATE" | "X509 CERTIFICATE" | "TRUSTED CERTIFICATE"
    )
}

pub(crate) fn is_crl_label(label: &str) -> bool {
    label == "X509 CRL"
}

/// Decodes base64 in place (RFC 4648 §4), with white space anywhere; returns the number of decoded bytes at the start.
///
/// Otherwise a large CRL would be in memory twice while OpenSSL decodes it.
pub(crate) fn decode_in_place(text: &mut [u8]) -> Option<usize> {
    /// A whole number of groups of four digits.
    const PIECE: usize = 1 << 16;
    let mut digits = 0;
    for at in 0..text.len() {
        let byte = text[at];
        text[digits] = byte;
        digits += usize::from(!byte.is_ascii_whitespace());
    }
    let mut decoded = 0;
    for start in (0..digits).step_by(PIECE) {
        let end = digits.min(start + PIECE);
        let piece = std::str::from_utf8(&text[start..end]).ok()?;
        if end < digits && piece.contains('=') {
            return None;
        }
        let bytes = base64::decode_block(piece).ok()?;
        text[decoded..decoded + bytes.len()].copy_from_slice(&bytes);
        decoded += bytes.len();
    }
    Some(decoded)
}

/// The first value in DER form: its tag, its contents and the rest; `None` if it is incomplete.
pub(crate) fn der_value(bytes: &[u8]) -> Option<(u8, &[u8], &[u8])> {
    let (&[tag, length], rest) = bytes.split_first_chunk()?;
    let (length, rest) = match usize::from(length) {
        short @ 0..0x80 => (short, rest),
        // An indefinite length, which DER does not allow.
        0x80 => return None,
        long => {
            let (digits, rest) = rest.split_at_checked(long - 0x80)?;
            let length = digits.iter().try_fold(0_usize, |length, digit| {
                length.checked_mul(0x100)?.checked_add(usize::from(*digit))
            })?;
            (length, rest)
        }
    };
    let (contents, rest) = rest.split_at_checked(length)?;
    Some((tag, contents, rest))
}

/// The first value in DER form with its tag and length; `None` if the bytes do not begin with a whole sequence.
pub(crate) fn first_der(bytes: &[u8]) -> Option<&[u8]> {
    let (_, _, rest) = der_value(bytes).filter(|(tag, ..)| *tag == 0x30)?;
    bytes.get(..bytes.len() - rest.len())
}

/// The line of a position, counted from 1.
fn line_of(bytes: &[u8], place: usize) -> usize {
    1 + memchr::memchr_iter(b'\n', &bytes[..place]).count()
}

/// The position of the first `needle`.
pub(super) fn find(haystack: &[u8], needle: &[u8]) -> Option<usize> {
    memmem::find(haystack, needle)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_unfinished_block_does_not_hide_the_next_one() {
        let text = b"-----BEGIN A-----\n-----BEGIN B-----\nx\n-----END B-----\n-----BEGIN C";
        let labels: Vec<_> = pem_blocks(text).map(|block| block.label).collect();
        assert_eq!(labels, ["B"]);
    }

    #[test]
    fn a_pem_block_cut_by_the_next_one_is_not_skipped() {
        let text = b"-----BEGIN A-----\nx\n-----BEGIN A-----\ny\n-----END A-----\n";
        let texts: Vec<_> = pem_blocks(text).map(|block| block.text).collect();
        let whole = b"-----BEGIN A-----\ny\n-----END A-----";
        assert_eq!(texts, [&b"-----BEGIN A-----\nx\n"[..], whole]);
    }

    /// Searching all following text for the last line of each unfinished block would take an hour here.
    #[test]
    fn a_hostile_file_is_read_in_no_time() {
        const SIZE: usize = 8 << 20;
        let repeated = |line: &dyn Fn(usize) -> String| {
            let mut text = String::with_capacity(SIZE + 100);
            (0..)
                .map(line)
                .take_while(|line| {
                    text.push_str(line);
                    text.len() < SIZE
                })
                .for_each(drop);
            text
        };
        let files = [
            repeated(&|_| "-----BEGIN A-----\n".to_owned()),
            repeated(&|n| format!("-----BEGIN {n}-----\n")),
            repeated(&|_| "-----BEGIN ".to_owned()),
            repeated(&|_| "-----END ".to_owned()),
            repeated(&|n| format!("-----BEGIN {n}-----\n-----END x{n}-----\n")),
            format!(
                "{}{}",
                repeated(&|_| "-----BEGIN B-----".to_owned()),
                repeated(&|_| "-----END A-----".to_owned())
            ),
        ];
        let started = std::time::Instant::now();
        for file in &files {
            let whole = |block: &PemBlock<'_>| find(block.text, b"-----END").is_some();
            let blocks = pem_blocks(file.as_bytes()).filter(whole);
            assert_eq!(blocks.count(), 0, "{}", &file[..50]);
        }
        let took = started.elapsed();
        assert!(took < std::time::Duration::from_secs(20), "{took:?}");
    }

    #[test]
    fn base64_is_decoded_in_place() {
        let cases: &[(&str, Option<&[u8]>)] = &[
            ("", Some(b"")),
            ("\r\nQUJD\r\n", Some(b"ABC")),
            ("\nQU\n \tJ\nDRA==\n", Some(b"ABCD")),
            ("QUJDREU=", Some(b"ABCDE")),
            ("QUJ", None),
            ("QU*D", None),
            ("QUJ\u{e9}", None),
        ];
        for (text, expected) in cases {
            let mut bytes = text.as_bytes().to_vec();
            let length = decode_in_place(&mut bytes);
            assert_eq!(length.map(|length| &bytes[..length]), *expected, "{text:?}");
        }
        let long: Vec<u8> = (0..=u8::MAX).cycle().take(300_000).collect();
        let mut text = base64::encode_block(&long).into_bytes();
        assert_eq!(decode_in_place(&mut text), Some(long.len()));
        assert_eq!(text[..long.len()], long);
        let mut two = base64::encode_block(&long[..1000]).repeat(100).into_bytes();
        assert_eq!(decode_in_place(&mut two), None);
    }
}
