//! The labels of errors that an overloaded server may cause.
//!
//! An overloaded server closes new connections before TLS, or lets them wait. So a network error that ends an attempt
//! to connect has the labels `SystemOverloadedError` and `RetryableError`, from the TCP connection to the reply to
//! hello; timeouts count as network errors. Errors that overload cannot cause have no labels: names that do not
//! resolve, certificates, other failures of TLS itself, errors that the server reports, and all of authentication. Code
//! that handles an error with these labels leaves the pool and the server's description unchanged.
//!
//! If a SOCKS5 proxy cannot be reached or rejects this client, that is no evidence about the server: such an error has
//! no labels. After the client has sent the proxy the request to connect, the server may be the cause of a refused
//! connection or of a timeout; these have the labels, under the same codes as without a proxy. The proxy's own errors
//! have a separate code (`proxy-failed`), without labels.
//!
//! Sources: "Client Backpressure"; CMAP, "Establishing a Connection"; "Server Discovery and Monitoring", "Network error
//! when reading or writing".

use std::error::Error as _;
use std::io;

use crate::cause::{Cause, CauseCode};
use crate::error::{Error, Stage};
use crate::reason::Reason;

/// The labels of an error that an overloaded server may cause.
const LABELS: [&str; 2] = ["SystemOverloadedError", "RetryableError"];

/// Adds the labels to an error of an attempt to connect if an overloaded server may cause it.
pub(crate) fn label(error: Error) -> Error {
    if may_be_overload(&error) {
        error.with_labels(&LABELS)
    } else {
        error
    }
}

/// Returns true if an overloaded server may cause the error.
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

/// Returns true if a proxy failed before the client sent it the request to connect to the server.
fn is_of_proxy(cause: &Cause) -> bool {
    matches!(cause.reason(), Reason::Net(failure) if failure.is_of_proxy())
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
        // The most likely reasons for a close without an alert.
        C::ServerRequiresTls | C::ClientCertificateRequired | C::ClientCertificateRejected => {
            cause.reason().alert().is_none() && is_cut_off(error)
        }
        _ => false,
    }
}

/// Returns true if the stream ended.
fn is_cut_off(error: &Error) -> bool {
    error
        .source()
        .is_some_and(|source| source.is::<io::Error>())
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;
    use crate::address::ServerAddress;
    use crate::cause::Explanation;
    use crate::reason::alert::Alert;
    use crate::reason::io::OsError;
    use crate::reason::net::{
        ConnectAttempt, ConnectFailure, NetFailure, ProxyFailure, ProxyProblem, ProxyRefusal,
        ProxyStep,
    };
    use crate::reason::tls::{AlertMeaning, TlsFailure};
    use crate::time::{Elapsed, TimeoutKind};

    /// The causes whose errors have the labels at all three stages of the network.
    const OF_NETWORK: [CauseCode; 6] = [
        CauseCode::ConnectionRefused,
        CauseCode::ConnectionReset,
        CauseCode::ConnectionClosed,
        CauseCode::NetworkUnreachable,
        CauseCode::ConnectTimeout,
        CauseCode::HandshakeTimeout,
    ];
    /// The causes whose errors have the labels if the stream ended without an alert.
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
            let cause = || Cause::simulated(code, "m", "r");
            let is_establishing = [Stage::Connect, Stage::Tls, Stage::Hello].contains(&stage);
            let plain = is_labelled(Error::failed(stage, cause()));
            assert_eq!(
                plain,
                is_establishing && OF_NETWORK.contains(&code),
                "{code} {stage}"
            );
            let ended = is_labelled(Error::failed(stage, cause()).with_source(cut()));
            let guessed = is_establishing && GUESSED.contains(&code);
            assert_eq!(ended, plain || guessed, "{code} {stage}");
            let alert = TlsFailure::Alert {
                alert: Alert::UNKNOWN_CA,
                text: None,
                meaning: AlertMeaning::ConnectionEnded,
            };
            let explanation = Explanation::new(code, "m", "r");
            let alerted = Error::failed(stage, Cause::explained(alert.into(), explanation));
            assert_eq!(
                is_labelled(alerted.with_source(cut())),
                plain,
                "{code} {stage}"
            );
            labelled += usize::from(plain);
        }
        assert_eq!(labelled, OF_NETWORK.len() * 3);
    }

    fn proxy(step: ProxyStep, problem: io::ErrorKind) -> NetFailure {
        let problem = ProxyProblem::NoAnswer {
            step,
            error: OsError::from(&problem.into()),
            timeout: TIMEOUT,
        };
        by_proxy(problem)
    }

    fn by_proxy(problem: ProxyProblem) -> NetFailure {
        NetFailure::Proxy(ProxyFailure {
            proxy: ServerAddress::tcp("p", 1080),
            user: None,
            problem,
        })
    }

    fn replied(code: u8) -> NetFailure {
        by_proxy(ProxyProblem::Refused {
            step: ProxyStep::Connect,
            refusal: ProxyRefusal::Reply(code),
            host: "db".to_owned(),
        })
    }

    const TIMEOUT: Elapsed = Elapsed {
        limit: Duration::from_secs(1),
        kind: TimeoutKind::Connect,
    };

    #[test]
    fn errors_of_a_proxy_have_no_labels_until_it_connects() {
        use CauseCode as C;
        use io::ErrorKind as E;
        let of = |failure: NetFailure| {
            let error = Error::failed(Stage::Connect, failure);
            let code = error.cause().unwrap().code();
            (code, is_labelled(error))
        };
        let connect = |kind: E| {
            NetFailure::Connect(ConnectFailure {
                attempts: vec![ConnectAttempt {
                    address: "[::1]:1080".parse().unwrap(),
                    error: OsError::from(&kind.into()),
                }],
                timeout: TIMEOUT,
            })
        };
        for (kind, code) in [
            (E::ConnectionRefused, C::ConnectionRefused),
            (E::ConnectionReset, C::ConnectionReset),
            (E::TimedOut, C::ConnectTimeout),
            (E::HostUnreachable, C::NetworkUnreachable),
        ] {
            assert_eq!(of(connect(kind)), (code, true));
            let of_proxy = NetFailure::ProxyUnreachable {
                proxy: ServerAddress::tcp("p", 1080),
                failure: Box::new(connect(kind)),
                timeout: TIMEOUT,
            };
            assert_eq!(of(of_proxy), (code, false));
        }
        for (kind, code) in [
            (E::UnexpectedEof, C::ConnectionClosed),
            (E::ConnectionReset, C::ConnectionReset),
            (E::TimedOut, C::ConnectTimeout),
        ] {
            for step in [ProxyStep::Greeting, ProxyStep::Login] {
                assert_eq!(of(proxy(step, kind)), (code, false), "{step:?}");
            }
            assert_eq!(of(proxy(ProxyStep::Connect, kind)), (code, true));
        }
        for (code, expected) in [
            (1, (C::ProxyFailed, false)),
            (2, (C::ProxyFailed, false)),
            (3, (C::NetworkUnreachable, true)),
            (5, (C::ConnectionRefused, true)),
        ] {
            assert_eq!(of(replied(code)), expected);
        }
    }

    #[test]
    fn overload_labels_need_a_connection_error_and_come_once() {
        assert!(!is_labelled(Error::protocol("x").with_stage(Stage::Hello)));
        let cause = Cause::simulated(CauseCode::ConnectionReset, "m", "r");
        let twice = label(label(Error::failed(Stage::Connect, cause)));
        assert_eq!(twice.labels(), LABELS);
    }
}
