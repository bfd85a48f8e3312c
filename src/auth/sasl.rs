//! The client's side of SASL (RFC 4422), which every mechanism except MONGODB-X509 implements.

use std::fmt;

use bson::RawDocumentBuf;
use zeroize::Zeroizing;

use crate::cause::Cause;
use crate::options::AuthMechanism;
use crate::reason::auth::{AuthFailure, SaslViolation};

/// The client's side of a SASL mechanism for one connection: bytes in, bytes out (RFC 4422).
pub(super) trait SaslClient: fmt::Debug + Send {
    /// Returns the first message. In every mechanism of MongoDB the client sends it.
    fn first(&mut self) -> Result<Zeroizing<Vec<u8>>, Cause>;

    /// Returns the response to a message of the server. The response to the last message is empty, and is sent only if
    /// the server waits for it.
    fn respond(&mut self, message: &[u8]) -> Result<Zeroizing<Vec<u8>>, Cause>;

    /// Returns true if the mechanism needs no further message from the server, which may then end the conversation.
    fn is_complete(&self) -> bool;

    /// Returns true if the server should end the conversation with its last message, without a response to an empty one
    /// (`skipEmptyExchange`).
    fn skips_empty_exchange(&self) -> bool {
        false
    }
}

/// Describes that the server violated the rules of the mechanism, and so has not proven its identity.
pub(super) fn not_proven(mechanism: AuthMechanism, violation: SaslViolation) -> AuthFailure {
    AuthFailure::NotProven {
        mechanism,
        violation,
    }
}

/// Returns an empty document with room for `bytes` bytes. A buffer that grows moves, and leaves a copy of its content, and
/// so of a secret, behind.
pub(crate) fn with_room(bytes: usize) -> RawDocumentBuf {
    let mut empty = Vec::with_capacity(bytes);
    empty.extend_from_slice(&[5, 0, 0, 0, 0]);
    RawDocumentBuf::from_bytes(empty).unwrap_or_default()
}
