//! Why a SOCKS5 proxy did not connect to a server, as causes.
//!
//! Each has the fact `proxy`. One of the conversation has the `step` at which it ended too (`greeting`, `login`,
//! `connect`), and one that the proxy told by a code has the `reply`: what comes of a server behind the proxy is told
//! from what comes of the proxy itself by those (`conn/overload.rs`).

use std::io;

use super::conversation::{Refusal, Step, TooLong};
use crate::address::ip_address;
use crate::cause::{Cause, CauseCode};
use crate::net::{Unreachable, limit_ms, within};
use crate::options::ProxyOptions;
use crate::printable::Quoted;
use crate::sniff;
use crate::time::{Deadline, Elapsed};

impl Step {
    fn as_str(self) -> &'static str {
        match self {
            Self::Greeting => "greeting",
            Self::Login => "login",
            Self::Connect => "connect",
        }
    }

    /// What the proxy has to answer then.
    fn question(self) -> &'static str {
        match self {
            Self::Greeting => "the greeting",
            Self::Login => "user and password",
            Self::Connect => "the request to connect to the server",
        }
    }
}

/// A message that begins with the proxy.
fn of(proxy: &ProxyOptions, what: &str) -> String {
    format!("the SOCKS5 proxy {} {what}", proxy.address())
}

fn with_proxy(cause: Cause, proxy: &ProxyOptions) -> Cause {
    cause.fact("proxy", proxy.address().to_string())
}

/// The proxy's own name does not resolve, or nobody answers there: what was found out about it, said of the proxy.
pub(in crate::net) fn out_of_reach(
    proxy: &ProxyOptions,
    failed: Unreachable,
    deadline: &Deadline,
) -> Unreachable {
    let Unreachable { stage, cause } = failed;
    let remedy = match cause.code() {
        CauseCode::DnsNotFound => {
            let host = &proxy.host;
            format!(
                "Correct proxyHost, or look into DNS and /etc/hosts (`getent ahosts {host}`)."
            )
        }
        CauseCode::ConnectionRefused => {
            "Start the proxy, or correct proxyHost and proxyPort; look for a firewall that rejects connections.".to_owned()
        }
        CauseCode::ConnectionReset => {
            "Look for a firewall on the way to the proxy, and at the proxy's log.".to_owned()
        }
        CauseCode::ConnectTimeout => format!(
            "Check proxyHost and proxyPort, and that no firewall drops the packets; then raise {}.",
            deadline.elapsed().kind.option()
        ),
        CauseCode::NetworkUnreachable => {
            "Check proxyHost, this host's routes (`ip route get ADDRESS`), and its limits on open files.".to_owned()
        }
        _ => cause.remedy().to_owned(),
    };
    let message = of(proxy, &format!("cannot be reached: {}", cause.message()));
    let cause = cause.with_message(message).with_remedy(remedy);
    Unreachable {
        stage,
        cause: with_proxy(cause, proxy),
    }
}

/// A text is too long for the proxy to be told; the options are checked for it, unless a program changes them later.
pub(super) fn too_long(proxy: &ProxyOptions, TooLong(what): TooLong) -> Cause {
    let limit = ProxyOptions::MAX_LENGTH;
    let cause = Cause::new(
        CauseCode::OptionConflict,
        format!("{what} is longer than the {limit} bytes that a SOCKS5 proxy can be told"),
        format!("Use one of {limit} bytes or fewer."),
    );
    with_proxy(cause, proxy)
}

/// The conversation ended without an answer to `step`.
pub(super) fn broken_off(
    proxy: &ProxyOptions,
    step: Step,
    error: &io::Error,
    elapsed: Elapsed,
) -> Cause {
    let question = step.question();
    let cause = match error.kind() {
        io::ErrorKind::TimedOut => {
            let option = elapsed.kind.option();
            let remedy = match step {
                Step::Greeting => {
                    "Check that proxyHost and proxyPort name a SOCKS5 proxy, and that it is not overloaded"
                }
                Step::Login => {
                    "Check that the proxy, and what it asks about users, is not overloaded"
                }
                Step::Connect => {
                    "Check on the proxy's host that the server's name resolves and the server can be reached, and that no firewall between them drops the packets"
                }
            };
            Cause::new(
                CauseCode::ConnectTimeout,
                of(
                    proxy,
                    &format!("did not answer {question} {}", within(elapsed)),
                ),
                format!("{remedy}; then raise {option}."),
            )
            .fact("limit_ms", limit_ms(elapsed))
            .fact("option", option)
        }
        kind => {
            let (code, how) = match kind {
                io::ErrorKind::UnexpectedEof | io::ErrorKind::BrokenPipe => {
                    (CauseCode::ConnectionClosed, "closed".to_owned())
                }
                io::ErrorKind::ConnectionReset | io::ErrorKind::ConnectionAborted => {
                    (CauseCode::ConnectionReset, "reset".to_owned())
                }
                _ => (CauseCode::ConnectionReset, format!("lost ({error})")),
            };
            let remedy = match step {
                Step::Greeting => {
                    "Check that proxyHost and proxyPort name a SOCKS5 proxy which lets this host in, and look at its log."
                }
                Step::Login => {
                    "Check proxyUsername and proxyPassword, and look at the proxy's log."
                }
                Step::Connect => {
                    "Look at the proxy's log: it may not be allowed to connect to the server, or not be able to."
                }
            };
            let what = format!("{how} the connection before it had answered {question}");
            Cause::new(code, of(proxy, &what), remedy)
        }
    };
    with_proxy(cause, proxy).fact("step", step.as_str())
}

/// What listens there is something else, which began with these bytes.
pub(super) fn not_socks5(proxy: &ProxyOptions, head: &[u8]) -> Cause {
    let looks_like = match head {
        head if sniff::is_tls_answer(head) => "TLS".to_owned(),
        [0, 90..=93, ..] => "SOCKS4".to_owned(),
        head => sniff::looks_like(head),
    };
    let address = proxy.address();
    let cause = Cause::new(
        CauseCode::ProxyFailed,
        format!("what answers at {address} is not a SOCKS5 proxy: it looks like {looks_like}"),
        "Correct proxyHost and proxyPort: a SOCKS5 proxy must listen there, without TLS; one of HTTP or SOCKS4 is of no use.",
    );
    with_proxy(cause, proxy)
        .fact("step", Step::Greeting.as_str())
        .fact("looks_like", looks_like)
}

/// The proxy said no to `step`; `host` is the server's.
pub(super) fn refused(proxy: &ProxyOptions, step: Step, refusal: &Refusal, host: &str) -> Cause {
    let user = proxy.credential.as_ref().map(|(user, _)| user.as_str());
    let failed =
        |what: &str, remedy: &str| Cause::new(CauseCode::ProxyFailed, of(proxy, what), remedy);
    let cause = match refusal {
        Refusal::NotSocks5 => return not_socks5(proxy, &[]),
        Refusal::NoMethod | Refusal::NotOffered(2) if user.is_none() => failed(
            "lets nobody in without user and password",
            "Set proxyUsername and proxyPassword, or let the proxy take this host without a user.",
        ),
        Refusal::NoMethod => failed(
            "takes neither a user with a password nor nobody",
            "Let the proxy authenticate by user and password (RFC 1929): no other method is known here.",
        ),
        Refusal::NotOffered(method) => failed(
            &format!("chose method {method} of authentication, which was not offered"),
            "Look at the settings and the version of the proxy: it breaks the rules of SOCKS5 (RFC 1928).",
        )
        .fact("method", u32::from(*method)),
        Refusal::Login => failed(
            &format!("refused the user {}", Quoted(&user.unwrap_or_default())),
            "Correct proxyUsername and proxyPassword, or make the user known to the proxy.",
        )
        .fact_opt("user", user),
        Refusal::Broken(how) => failed(
            &format!("broke the rules of SOCKS5: {how}"),
            "Look at the settings and the version of the proxy (RFC 1928).",
        ),
        Refusal::Reply(code) => reply(proxy, *code, host),
    };
    with_proxy(cause, proxy).fact("step", step.as_str())
}

/// What the proxy says by a reply that is not 0 (RFC 1928 §6).
fn reply(proxy: &ProxyOptions, code: u8, host: &str) -> Cause {
    use CauseCode as C;
    let is_address = ip_address(host).is_some();
    let (cause, what, remedy) = match code {
        1 => (
            C::ProxyFailed,
            "failed to connect to the server and does not say why",
            "Look at the proxy's log, and check on its host that the server's name resolves and the server can be reached.",
        ),
        2 => (
            C::ProxyFailed,
            "does not allow a connection to the server",
            "Allow the server's host and port in the rules of the proxy.",
        ),
        3 => (
            C::NetworkUnreachable,
            "has no route to the network of the server",
            "Check the address of the server, and the routes of the proxy's host.",
        ),
        4 => (
            C::NetworkUnreachable,
            "cannot reach the host of the server",
            "Check on the proxy's host that the server's name has an address there, and that there is a route to it.",
        ),
        5 => (
            C::ConnectionRefused,
            "was refused by the server: nothing listens there",
            "Start the server, or correct host and port as the proxy sees them; look for a firewall that rejects connections of the proxy.",
        ),
        6 => (
            C::NetworkUnreachable,
            "lost its packets on the way to the server (TTL expired)",
            "Check the routes of the proxy's host, and that no firewall drops its packets to the server.",
        ),
        7 => (
            C::ProxyFailed,
            "does not know the command CONNECT",
            "Use a SOCKS5 proxy that makes connections, or let this one make them.",
        ),
        8 if is_address => (
            C::ProxyFailed,
            "does not take an address of this kind",
            "Name the server by its host name or by an address of the other family, or let the proxy take this one.",
        ),
        8 => (
            C::ProxyFailed,
            "does not take host names",
            "Name the servers by their IP addresses, or use a proxy that resolves names.",
        ),
        _ => (
            C::ProxyFailed,
            "answered with a reply that SOCKS5 does not know",
            "Look at the proxy's log, and at its version: it breaks the rules of SOCKS5 (RFC 1928).",
        ),
    };
    let message = of(proxy, &format!("{what} (reply {code})"));
    Cause::new(cause, message, remedy).fact("reply", u32::from(code))
}

#[cfg(test)]
mod tests {
    use std::time::{Duration, Instant};

    use super::*;
    use crate::error::Stage;
    use crate::options::Secret;
    use crate::time::TimeoutKind;

    fn proxy(with_user: bool) -> ProxyOptions {
        ProxyOptions {
            host: "[::1]".to_owned(),
            port: 1080,
            credential: with_user.then(|| ("bob".to_owned(), Secret::new("hunter2"))),
        }
    }

    fn fact(cause: &Cause, key: &str) -> String {
        cause
            .facts()
            .get(key)
            .map_or("none".to_owned(), ToString::to_string)
    }

    #[test]
    fn each_reply_has_its_cause_and_its_remedy() {
        use CauseCode as C;
        for (code, host, expected, words, remedy) in [
            (1, "db", C::ProxyFailed, "does not say why", "proxy's log"),
            (2, "db", C::ProxyFailed, "not allow", "rules of the proxy"),
            (3, "db", C::NetworkUnreachable, "no route", "routes"),
            (
                4,
                "db",
                C::NetworkUnreachable,
                "cannot reach the host",
                "has an address there",
            ),
            (
                5,
                "db",
                C::ConnectionRefused,
                "refused by the server",
                "Start the server",
            ),
            (
                6,
                "db",
                C::NetworkUnreachable,
                "TTL expired",
                "drops its packets",
            ),
            (7, "db", C::ProxyFailed, "CONNECT", "makes connections"),
            (8, "db", C::ProxyFailed, "host names", "IP addresses"),
            (8, "::1", C::ProxyFailed, "of this kind", "other family"),
            (9, "db", C::ProxyFailed, "does not know", "RFC 1928"),
            (255, "db", C::ProxyFailed, "reply 255", "RFC 1928"),
        ] {
            let cause = refused(&proxy(false), Step::Connect, &Refusal::Reply(code), host);
            assert_eq!(cause.code(), expected, "{code}");
            assert!(cause.message().contains(words), "{}", cause.message());
            assert!(cause.remedy().contains(remedy), "{}", cause.remedy());
            assert_eq!(fact(&cause, "proxy"), "[::1]:1080");
            assert_eq!(fact(&cause, "reply"), code.to_string());
            assert_eq!(fact(&cause, "step"), "connect");
        }
    }

    #[test]
    fn a_refused_client_is_told_what_to_set_and_no_password() {
        for (refusal, with_user, words, remedy) in [
            (
                Refusal::NoMethod,
                false,
                "lets nobody in",
                "Set proxyUsername",
            ),
            (
                Refusal::NotOffered(2),
                false,
                "lets nobody in",
                "Set proxyUsername",
            ),
            (Refusal::NoMethod, true, "takes neither", "RFC 1929"),
            (Refusal::NotOffered(1), true, "method 1", "breaks the rules"),
            (
                Refusal::Login,
                true,
                "user \"bob\"",
                "Correct proxyUsername",
            ),
            (
                Refusal::Broken("so".to_owned()),
                false,
                "rules of SOCKS5: so",
                "RFC 1928",
            ),
        ] {
            let cause = refused(&proxy(with_user), Step::Login, &refusal, "db");
            assert_eq!(cause.code(), CauseCode::ProxyFailed);
            assert!(cause.message().contains(words), "{}", cause.message());
            assert!(cause.remedy().contains(remedy), "{}", cause.remedy());
            assert!(!format!("{cause:?}").contains("hunter2"));
        }
    }

    #[test]
    fn what_is_not_socks5_is_named() {
        for (head, expected) in [
            (b"HTTP/1.1 400 B".as_slice(), "HTTP"),
            (b"SSH-2.0-OpenSS", "SSH"),
            (b"\x15\x03\x01\0\x02\x02\x28", "TLS"),
            (b"\0\x5B\0\0", "SOCKS4"),
            (b"\x04\x01", "\"\\x04\\x01\""),
        ] {
            let cause = not_socks5(&proxy(false), head);
            assert_eq!(cause.code(), CauseCode::ProxyFailed);
            assert_eq!(fact(&cause, "looks_like"), expected);
            assert!(cause.message().ends_with(expected), "{}", cause.message());
        }
    }

    #[test]
    fn an_end_without_an_answer_says_what_was_waited_for() {
        let deadline = Deadline::after(
            Instant::now(),
            Some(Duration::from_millis(300)),
            TimeoutKind::Connect,
        );
        let cause = |step, kind: io::ErrorKind| {
            broken_off(&proxy(false), step, &kind.into(), deadline.elapsed())
        };
        for (step, question) in [
            (Step::Greeting, "answer the greeting within"),
            (Step::Login, "answer user and password within"),
            (Step::Connect, "connect to the server within"),
        ] {
            let cause = cause(step, io::ErrorKind::TimedOut);
            assert_eq!(cause.code(), CauseCode::ConnectTimeout);
            assert!(cause.message().contains(question), "{}", cause.message());
            assert!(cause.message().contains("300 ms (connectTimeoutMS)"));
            assert!(cause.remedy().ends_with("then raise connectTimeoutMS."));
            assert_eq!(fact(&cause, "step"), step.as_str());
            assert_eq!(fact(&cause, "limit_ms"), "300");
        }
        for (kind, code) in [
            (io::ErrorKind::UnexpectedEof, CauseCode::ConnectionClosed),
            (io::ErrorKind::BrokenPipe, CauseCode::ConnectionClosed),
            (io::ErrorKind::ConnectionReset, CauseCode::ConnectionReset),
            (io::ErrorKind::ConnectionAborted, CauseCode::ConnectionReset),
            (io::ErrorKind::Other, CauseCode::ConnectionReset),
        ] {
            assert_eq!(cause(Step::Greeting, kind).code(), code);
        }
    }

    #[test]
    fn a_proxy_out_of_reach_is_said_to_be_the_proxy() {
        let deadline = Deadline::after(Instant::now(), None, TimeoutKind::Client);
        for (code, remedy) in [
            (CauseCode::DnsNotFound, "Correct proxyHost"),
            (CauseCode::DnsFailed, "as before"),
            (CauseCode::ConnectionRefused, "Start the proxy"),
            (CauseCode::ConnectionReset, "proxy's log"),
            (CauseCode::ConnectTimeout, "raise timeoutMS."),
            (CauseCode::NetworkUnreachable, "Check proxyHost"),
        ] {
            let failed = Unreachable {
                stage: Stage::Connect,
                cause: Cause::new(code, "so it is", "as before").fact("attempts", 1_u32),
            };
            let found = out_of_reach(&proxy(false), failed, &deadline);
            assert_eq!((found.stage, found.cause.code()), (Stage::Connect, code));
            let message = "the SOCKS5 proxy [::1]:1080 cannot be reached: so it is";
            assert_eq!(found.cause.message(), message);
            let told = found.cause.remedy();
            assert!(told.contains(remedy), "{told}");
            assert_eq!(fact(&found.cause, "attempts"), "1");
            assert_eq!(fact(&found.cause, "step"), "none");
        }
    }
}
