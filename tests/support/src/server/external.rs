//! SASL mechanisms that are added to those of the bench: an implementation maps bytes to bytes.

use std::fmt;

/// A mechanism of a server.
pub trait ExternalMechanism: Send + Sync {
    /// Its name on the wire.
    fn name(&self) -> &str;

    /// Begins a conversation.
    fn start(&self) -> Box<dyn ExternalConversation>;
}

/// The server's side of one conversation.
pub trait ExternalConversation: Send {
    /// Answers a message of the client; `None` rejects it with error 18.
    fn answer(&mut self, message: &[u8]) -> Option<Said>;
}

/// The server's answer.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Said {
    /// These bytes; the server waits for more.
    More(Vec<u8>),
    /// The end of the conversation: the client is this user of `$external`.
    Done(String),
}

impl fmt::Debug for dyn ExternalMechanism {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}
