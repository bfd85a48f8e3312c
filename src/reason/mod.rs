//! Why something failed, as plain data: one enum per layer, with typed fields and no words.
//!
//! A layer that understands a failure returns a reason from here. Decisions match on reasons: error kinds, overload
//! labels, retries, and the rules of the doctor. [`explain`](crate::explain) converts a reason into a
//! [`Cause`](crate::Cause) with a code, a message, a remedy and facts, which are output only.
//!
//! These types depend on nothing but each other, addresses and instants, so that every layer can use them.

pub(crate) mod tls;

/// Why something failed, by the layer that understands it.
#[derive(Clone, Debug, PartialEq)]
pub(crate) enum Reason {
    /// TLS: the handshake, the server's chain, or the exchange of records.
    Tls(tls::TlsFailure),
    /// A reason that has only a wording yet.
    Worded,
}

impl From<tls::TlsFailure> for Reason {
    fn from(reason: tls::TlsFailure) -> Self {
        Self::Tls(reason)
    }
}
