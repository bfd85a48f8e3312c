//! What a SASL mechanism is to a conversation: bytes in, bytes out (RFC 4422).

use std::fmt;
use std::time::Duration;

use zeroize::Zeroizing;

use super::oidc::{AccessToken, Way};
use crate::cause::Cause;

/// The client's side of a SASL mechanism, for one connection.
pub(crate) trait SaslClient: fmt::Debug + Send {
    /// The first message, which is the client's in every mechanism of MongoDB.
    fn first(&mut self) -> Result<Zeroizing<Vec<u8>>, Cause>;

    /// Answers a message of the server. An answer to the last one is empty, and is sent only if the
    /// server waits for it.
    fn answer(&mut self, message: &[u8]) -> Result<Zeroizing<Vec<u8>>, Cause>;

    /// Whether the mechanism has nothing more to learn from the server: whether the server may end the
    /// conversation.
    fn is_complete(&self) -> bool;

    /// Whether the server is asked to end the conversation with its last message, not with an answer to
    /// an empty one (`skipEmptyExchange`).
    fn skips_empty_exchange(&self) -> bool {
        false
    }

    /// The access token that the server is shown, once there is one, and how it was come by; none of
    /// another mechanism than MONGODB-OIDC.
    fn token(&self) -> Option<(Way, Option<&AccessToken>)> {
        None
    }

    /// How long a person was waited for, which no limit counts.
    fn time_of_person(&self) -> Duration {
        Duration::ZERO
    }
}
