//! Guesses the protocol of a peer from its first bytes, if they are unexpected.

/// Returns the name of the peer's protocol, or the bytes themselves with unprintable ones escaped.
pub(crate) fn looks_like(first_bytes: &[u8]) -> String {
    match first_bytes {
        bytes if bytes.starts_with(b"HTTP") || bytes.starts_with(b"<") => "HTTP".to_owned(),
        bytes if bytes.starts_with(b"SSH-") => "SSH".to_owned(),
        bytes if is_mongodb_message(bytes) => MONGODB_IN_THE_CLEAR.to_owned(),
        bytes => format!("\"{}\"", bytes.escape_ascii()),
    }
}

/// The name for a MongoDB server without TLS.
pub(crate) const MONGODB_IN_THE_CLEAR: &str = "MongoDB in the clear";

/// Returns true for the header of a reply: a plausible length, and the opcode OP_REPLY or OP_MSG.
fn is_mongodb_message(bytes: &[u8]) -> bool {
    let word = |at: usize| {
        let bytes = bytes.get(at..at + 4)?;
        Some(i32::from_le_bytes(bytes.try_into().ok()?))
    };
    matches!((word(0), word(12)), (Some(16..=48_000_000), Some(1 | 2013)))
}

/// Returns true if the bytes begin a TLS record: its type, and a version 3.x (RFC 8446 §5.1).
pub(crate) fn is_tls_record(first_bytes: &[u8]) -> bool {
    matches!(first_bytes, [20..=23] | [20..=23, 3, ..])
}

/// Returns true if the bytes answer an unencrypted message with an alert or a handshake record. As a message they
/// would declare more than 64 KiB, which no reply to a hello does.
pub(crate) fn is_tls_answer(first_bytes: &[u8]) -> bool {
    matches!(first_bytes, [21 | 22, 3, 1..=4, ..])
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn peers_are_recognised_by_their_first_bytes() {
        let reply = [36, 0, 0, 0, 1, 0, 0, 0, 0, 0, 0, 0, 1, 0, 0, 0];
        assert_eq!(looks_like(&reply), MONGODB_IN_THE_CLEAR);
        assert_eq!(looks_like(b"HTTP/1.1 400"), "HTTP");
        assert_eq!(looks_like(b"SSH-2.0-x"), "SSH");
        assert_eq!(looks_like(b"\x00a"), "\"\\x00a\"");
        assert!(
            is_tls_record(&[21, 3, 1])
                && is_tls_record(&[22])
                && !is_tls_record(b"")
                && !is_tls_record(&[22, 4])
        );
    }
}
