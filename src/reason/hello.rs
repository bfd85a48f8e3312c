//! Why a server cannot be used after it was reached: its answer to hello, and the exchange of messages with it.

use std::ops::RangeInclusive;

use super::io::OsError;
use super::revocation::ResponderWait;
use crate::time::Elapsed;

/// Why a server cannot be used, by its answer to hello.
#[derive(Clone, Debug, PartialEq)]
pub(crate) enum HelloFailure {
    /// Client and server have no wire version in common.
    WireVersion(WireVersionGap),
    /// The connection string has `loadBalanced=true`, and the answer names no service.
    NoService,
    /// The server belongs to another replica set than `replicaSet`, or to none.
    WrongSet {
        found: Option<String>,
        wanted: String,
    },
    /// The server answered hello with an error.
    Refused {
        /// The text of the error.
        text: String,
        code: Option<i32>,
    },
    /// TLS is off, and the server does not answer without it. `None` if it answered in TLS.
    RequiresTls(Option<OsError>),
    /// TLS is on, and the server speaks MongoDB without it.
    SpeaksWithoutTls,
    /// The server does not know OP_MSG, in which hello is sent: it answered with an OP_REPLY.
    WithoutOpMsg,
    /// The answer to hello is not one of the MongoDB protocol.
    NotMongodb(ReplyViolation),
    /// The names in `driver_info` do not fit into the field `client` of hello.
    MetadataTooLong { limit: usize },
}

/// The wire versions of a server, none of which this client speaks.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct WireVersionGap {
    /// The oldest wire version of the server.
    pub(crate) min: i32,
    /// The newest wire version of the server.
    pub(crate) max: i32,
    /// The wire versions of this client.
    pub(crate) supported: RangeInclusive<i32>,
}

impl WireVersionGap {
    /// The gap between a server's wire versions and those of this client, if there is one.
    pub(crate) fn between(min: i32, max: i32, supported: RangeInclusive<i32>) -> Option<Self> {
        let is_gap = max < *supported.start() || min > *supported.end();
        is_gap.then_some(Self {
            min,
            max,
            supported,
        })
    }

    /// Returns true if the client is too old for the server, and false if the server is too old for the client.
    pub(crate) fn is_client_too_old(&self) -> bool {
        self.min > *self.supported.end()
    }
}

/// A message that breaks the MongoDB protocol.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct ReplyViolation {
    /// The broken rule.
    pub(crate) rule: String,
    pub(crate) first_bytes: Vec<u8>,
}

/// Why the exchange of messages with a server failed.
#[derive(Clone, Debug, PartialEq)]
pub(crate) enum ExchangeFailure {
    /// A step of the handshake did not end in time.
    HandshakeTimeout {
        step: HandshakeStep,
        timeout: Elapsed,
        /// The part of the time that was spent on an OCSP responder, if it was a considerable one.
        waited: Option<ResponderWait>,
    },
    /// The connection failed. `has_begun` is true if a part of the reply had arrived.
    Lost { error: OsError, has_begun: bool },
    /// The server, or something between, broke the MongoDB protocol after hello.
    Violation(ReplyViolation),
    /// The first command of the doctor failed, with this text.
    FirstCommand {
        problem: FirstCommandProblem,
        text: String,
    },
}

/// A step of the handshake of a connection.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum HandshakeStep {
    /// TLS. The server had sent this many bytes, if that is known.
    Tls { received: Option<u64> },
    /// Hello, over TLS or without.
    Hello { is_tls: bool },
    /// Authentication.
    Authentication,
}

/// Why the first command on an established connection failed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum FirstCommandProblem {
    /// The server did not answer in time.
    Timeout,
    /// The command needs a user, or a role that the user does not have.
    Unauthorized,
    /// The server answered with another error.
    Refused,
    /// The connection failed in another way.
    Other,
}
