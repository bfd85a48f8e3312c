//! SASL mechanisms that are added to those of the bench: whoever writes one gives bytes for bytes.

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
    /// Answers a message of the client; `None` refuses it with error 18.
    fn answer(&mut self, message: &[u8]) -> Option<Said>;
}

/// What a server says.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Said {
    /// This, and it waits for more.
    More(Vec<u8>),
    /// Nothing more: the client is this user of `$external`.
    Done(String),
}

impl fmt::Debug for dyn ExternalMechanism {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}
