//! The labels of errors by which an overloaded server is spared.
//!
//! A server that is overloaded closes new connections before TLS, or lets them wait. So an error of the
//! network, a time-out among them, that ends an attempt to connect has the labels `SystemOverloadedError` and
//! `RetryableError`, from the TCP connection to the answer to hello. Not so what cannot come of overload: names
//! that do not resolve, certificates, other failures of TLS itself, what the server says in words, and all of
//! authentication. Whoever handles an error with these labels leaves the pool and the server's description as
//! they are.
//!
//! A SOCKS5 proxy that cannot be reached, or refuses this client, says nothing of the server: such an error has no
//! labels. Once the proxy was asked to connect to the server it is another matter: what then comes, a refusal by the
//! server or a time-out, may come of the server, as it may without a proxy, and has the labels under the same codes. What
//! the proxy itself objects to ends in a code of its own (`proxy-failed`), which has none.
//!
//! Sources: "Client Backpressure"; CMAP, "Establishing a Connection"; "Server Discovery and Monitoring",
//! "Network error when reading or writing".

use std::error::Error as _;
use std::io;

use crate::cause::{Cause, CauseCode};
use crate::error::{Error, Stage};

/// The labels of such an error.
const LABELS: [&str; 2] = ["SystemOverloadedError", "RetryableError"];

/// Adds the labels to an error of an attempt to connect, where they belong.
pub(crate) fn label(error: Error) -> Error {
    if may_be_overload(&error) {
        error.with_labels(&LABELS)
    } else {
        error
    }
}

/// Whether the error may come of an overloaded server.
fn may_be_overload(error: &Error) -> bool {
    let of_network = matches!(
        error.stage(),
        Some(Stage::Connect | Stage::Tls | Stage::Hello)
    );
    of_network
        && error
            .cause()
            .is_some_and(|cause| is_of_network(cause, error) && !is_of_proxy(cause))
}

/// Whether it happened before a proxy was asked to connect to the server.
fn is_of_proxy(cause: &Cause) -> bool {
    let facts = cause.facts();
    facts.get("proxy").is_some() && facts.get("step") != Some(&"connect".into())
}

fn is_of_network(cause: &Cause, error: &Error) -> bool {
    use CauseCode as C;
    match cause.code() {
        C::ConnectionRefused
        | C::ConnectionReset
        | C::ConnectionClosed
        | C::NetworkUnreachable
        | C::ConnectTimeout
        | C::HandshakeTimeout => true,
        // What a close without a word is taken for, as the likeliest of its reasons.
        C::ServerRequiresTls | C::ClientCertificateRequired | C::ClientCertificateRejected => {
            cause.facts().get("alert").is_none() && is_cut_off(error)
        }
        _ => false,
    }
}

/// Whether the stream ended.
fn is_cut_off(error: &Error) -> bool {
    error
        .source()
        .is_some_and(|source| source.is::<io::Error>())
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The causes whose errors have the labels at all three stages of the network.
    const OF_NETWORK: [CauseCode; 6] = [
        CauseCode::ConnectionRefused,
        CauseCode::ConnectionReset,
        CauseCode::ConnectionClosed,
        CauseCode::NetworkUnreachable,
        CauseCode::ConnectTimeout,
        CauseCode::HandshakeTimeout,
    ];
    /// Those that have them if the stream ended without a word.
    const GUESSED: [CauseCode; 3] = [
        CauseCode::ServerRequiresTls,
        CauseCode::ClientCertificateRequired,
        CauseCode::ClientCertificateRejected,
    ];

    fn is_labelled(error: Error) -> bool {
        let error = label(error);
        let count = error.labels().len();
        assert!(
            count == 0 || error.labels() == LABELS,
            "{:?}",
            error.labels()
        );
        count > 0
    }

    #[test]
    fn labels_follow_from_stage_and_cause_alone() {
        let cut = || io::Error::from(io::ErrorKind::UnexpectedEof);
        let stages = [
            Stage::Options,
            Stage::Resolve,
            Stage::Connect,
            Stage::Tls,
            Stage::Revocation,
            Stage::Hello,
            Stage::Authentication,
            Stage::Command,
        ];
        let mut labelled = 0;
        for (code, stage) in CauseCode::ALL
            .iter()
            .flat_map(|code| stages.map(|stage| (*code, stage)))
        {
            let cause = || Cause::new(code, "m", "r");
            let on_the_way = [Stage::Connect, Stage::Tls, Stage::Hello].contains(&stage);
            let plain = is_labelled(Error::failed(stage, cause()));
            assert_eq!(
                plain,
                on_the_way && OF_NETWORK.contains(&code),
                "{code} {stage}"
            );
            let ended = is_labelled(Error::failed(stage, cause()).with_source(cut()));
            let guessed = on_the_way && GUESSED.contains(&code);
            assert_eq!(ended, plain || guessed, "{code} {stage}");
            let alerted = Error::failed(stage, cause().fact("alert", "unknown_ca"));
            assert_eq!(
                is_labelled(alerted.with_source(cut())),
                plain,
                "{code} {stage}"
            );
            labelled += usize::from(plain);
        }
        assert_eq!(labelled, OF_NETWORK.len() * 3);
    }

    #[test]
    fn what_speaks_of_a_proxy_has_none_and_what_the_proxy_says_of_the_server_has_them() {
        let labelled = |code, step: Option<&str>| {
            let cause = Cause::new(code, "m", "r").fact("proxy", "p:1080");
            is_labelled(Error::failed(Stage::Connect, cause.fact_opt("step", step)))
        };
        for code in OF_NETWORK {
            for step in [None, Some("greeting"), Some("login")] {
                assert!(!labelled(code, step), "{code} {step:?}");
            }
            assert!(labelled(code, Some("connect")), "{code}");
        }
        assert!(!labelled(CauseCode::ProxyFailed, Some("connect")));
    }

    #[test]
    fn an_error_without_a_cause_or_of_a_command_has_none_and_none_comes_twice() {
        assert!(!is_labelled(Error::protocol("x").with_stage(Stage::Hello)));
        let cause = Cause::new(CauseCode::ConnectionReset, "m", "r");
        let twice = label(label(Error::failed(Stage::Connect, cause)));
        assert_eq!(twice.labels(), LABELS);
    }
}
