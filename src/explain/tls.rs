//! Words for failures of TLS.

use crate::cause::{CauseCode, Explanation};
use crate::printable::Quoted;
use crate::reason::tls::TlsFailure;

pub(super) fn explain(reason: &TlsFailure) -> Explanation {
    match reason {
        TlsFailure::HandshakeTimeout { received } => handshake_timeout(*received),
        TlsFailure::CallbackPanicked => Explanation::new(
            CauseCode::OptionConflict,
            "mongotls panicked in the middle of the TLS handshake",
            "Report the message of the panic, which is on standard error, as a bug of mongotls.",
        ),
        TlsFailure::UnusableHostName { host } => Explanation::new(
            CauseCode::OptionConflict,
            format!(
                "{host} cannot stand in a certificate as the name of a host",
                host = Quoted(host)
            ),
            "Write an internationalised name in its ASCII form (xn--…), without spaces.",
        ),
    }
}

fn handshake_timeout(received: u64) -> Explanation {
    // A peer that has begun to answer speaks TLS: others were detected earlier.
    let (message, remedy) = match received {
        0 => (
            "the TLS handshake did not end in time: the server did not answer".to_owned(),
            "Check that this port speaks TLS and that the server is not overloaded; then let the stream wait longer.",
        ),
        _ => (
            format!(
                "the TLS handshake did not end in time: the server stopped after {received} bytes"
            ),
            "See whether the server, or the way to it, is overloaded; then let the stream wait longer.",
        ),
    };
    Explanation::new(CauseCode::HandshakeTimeout, message, remedy).fact(
        "received_bytes",
        i64::try_from(received).unwrap_or(i64::MAX),
    )
}
