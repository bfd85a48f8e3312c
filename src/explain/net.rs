//! Words for hosts that cannot be reached, and for the SOCKS5 proxy on the way.
//!
//! An explanation about a proxy has the fact `proxy`. After the conversation with the proxy has begun, it also has the
//! `step` at which the conversation ended (`greeting`, `login`, `connect`), and the `reply` if the proxy sent a code.

use std::io;

use super::limit::local_limit;
use super::wording::{limit_ms, within};
use crate::address::{ServerAddress, ip_address};
use crate::cause::{Cause, CauseCode, Explanation};
use crate::printable::Quoted;
use crate::reason::net::{
    AsciiNameProblem, ConnectAttempt, ConnectFailure, ConnectProblem, HostNameFailure,
    HostNameProblem, NetFailure, ProxyFailure, ProxyProblem, ProxyRefusal, ProxyStep, ProxyText,
    ProxyViolation, ResolveFailure, ResolveProblem, UnixSocketFailure,
};
use crate::sniff;
use crate::time::Elapsed;

pub(super) fn explain(reason: &NetFailure) -> Explanation {
    match reason {
        NetFailure::HostName(failure) => host_name(failure),
        NetFailure::Resolve(failure) => resolve(failure),
        NetFailure::Connect(failure) => connect(failure),
        NetFailure::UnixSocket(failure) => unix_socket(failure),
        NetFailure::ProxyUnreachable {
            proxy,
            failure,
            timeout,
        } => proxy_unreachable(proxy, failure, *timeout),
        NetFailure::Proxy(failure) => socks5(failure),
    }
}

/// Adds that `connect_to` leads from `server` to another address.
pub(crate) fn redirected(cause: Cause, server: &ServerAddress, target: &ServerAddress) -> Cause {
    cause.reworded(|it| {
        let message = format!(
            "{}; connect_to leads from {server} to {target}",
            it.message()
        );
        let remedy = format!(
            "Check the tunnel or the forwarded port at {target}. {}",
            it.remedy()
        );
        it.with_message(message)
            .with_remedy(remedy)
            .fact("connect_to", target.to_string())
    })
}

/// Adds the ASCII form of a host name that is `written` in other characters.
pub(crate) fn with_dns_name(cause: Cause, written: &str, ascii: &str) -> Cause {
    cause.reworded(|it| {
        let message = format!(
            "{} ({written} is {ascii} in DNS)",
            it.message(),
            written = Quoted(written),
            ascii = Quoted(ascii)
        );
        it.with_message(message).fact("dns_name", ascii)
    })
}

fn host_name(HostNameFailure { host, problem }: &HostNameFailure) -> Explanation {
    const CORRECT: &str = "Correct the host name in the connection string.";
    let (why, remedy, ascii) = match problem {
        HostNameProblem::NoAsciiForm => (
            "it has no ASCII form for DNS (UTS 46): a character is not allowed there, or a part is empty or too long"
                .to_owned(),
            CORRECT,
            None,
        ),
        HostNameProblem::InvalidAsciiForm { ascii, problem } => {
            let why = match problem {
                AsciiNameProblem::ForbiddenCharacter => "holds a character that no host name has",
                AsciiNameProblem::ReadsAsAddress => "reads as an IP address",
            };
            let why = format!("its ASCII form {ascii} {why}", ascii = Quoted(ascii));
            (why, CORRECT, Some(ascii.as_str()))
        }
        HostNameProblem::NotBuiltIn => (
            "this program was built without the cargo feature \"idna\" of mongotls".to_owned(),
            "Build with the feature \"idna\", or write the name in its ASCII form (xn--…).",
            None,
        ),
    };
    Explanation::new(
        CauseCode::OptionConflict,
        format!(
            "the host name {host} cannot be looked up: {why}",
            host = Quoted(host)
        ),
        remedy,
    )
    .fact("host", host.as_str())
    .fact_opt("dns_name", ascii)
}

fn resolve(ResolveFailure { host, problem }: &ResolveFailure) -> Explanation {
    match problem {
        ResolveProblem::NotFound => Explanation::new(
            CauseCode::DnsNotFound,
            format!(
                "the host name {host} does not exist, or has no address",
                host = Quoted(host)
            ),
            format!(
                "Correct the host name, or look into DNS and /etc/hosts (`getent ahosts {host}`)."
            ),
        ),
        ResolveProblem::Limited(reached) => {
            let what = format!(
                "the host name {host} cannot be resolved",
                host = Quoted(host)
            );
            local_limit(&what, reached)
        }
        ResolveProblem::Failed(error) => resolver_failed(host, error),
        ResolveProblem::TimedOut(elapsed) => {
            resolver_failed(host, &format!("no answer {}", within(*elapsed)))
                .fact("limit_ms", limit_ms(*elapsed))
                .fact("option", elapsed.kind.option())
        }
    }
}

fn resolver_failed(host: &str, why: &str) -> Explanation {
    Explanation::new(
        CauseCode::DnsFailed,
        format!("the resolver failed for {host}: {why}", host = Quoted(host)),
        format!("Check the name servers in /etc/resolv.conf and the way to them (`getent ahosts {host}`)."),
    )
    .fact("reason", why)
}

fn connect(failure: &ConnectFailure) -> Explanation {
    let attempts = failure.attempts.iter();
    let places: Vec<_> = attempts.map(|it| it.address.to_string()).collect();
    let places = places.join(", ");
    let attempts = failure.attempts.iter();
    let attempts: Vec<_> = attempts
        .map(|ConnectAttempt { address, error }| format!("{address}: {}", error.text))
        .collect();
    let closest = failure.closest();
    let problem = closest.map_or(ConnectProblem::Other, |(problem, _)| problem);
    let error = closest.map(|(_, attempt)| &attempt.error);
    let text = error.map_or("", |error| error.text.as_str());
    let explanation = match problem {
        ConnectProblem::Limit(limit) => {
            let reached = error.and_then(|error| error.limit.clone());
            let reached = reached.unwrap_or_else(|| limit.reached());
            local_limit(&format!("no connection to {places}"), &reached)
        }
        ConnectProblem::Refused => Explanation::new(
            CauseCode::ConnectionRefused,
            format!("connection refused: nothing listens on {places}"),
            "Start the server, or correct host and port; look for a firewall that rejects connections.",
        ),
        ConnectProblem::Reset => Explanation::new(
            CauseCode::ConnectionReset,
            format!("the connection to {places} was reset"),
            "Look for a firewall or a proxy on the way, and at the server's log.",
        ),
        ConnectProblem::Slow => {
            let option = failure.timeout.kind.option();
            Explanation::new(
                CauseCode::ConnectTimeout,
                format!("no TCP connection to {places} {}", within(failure.timeout)),
                format!("Check host and port, and that no firewall drops the packets; then raise {option}."),
            )
            .fact("limit_ms", limit_ms(failure.timeout))
            .fact("option", option)
        }
        ConnectProblem::Unreachable => Explanation::new(
            CauseCode::NetworkUnreachable,
            format!("there is no route to {places}: {text}"),
            "Check the address and this host's routes (`ip route get ADDRESS`).",
        ),
        ConnectProblem::Other => Explanation::new(
            CauseCode::NetworkUnreachable,
            format!("no connection to {places}: {text}"),
            "Check the address, and this host's network.",
        ),
    };
    explanation.fact("attempts", attempts)
}

fn unix_socket(failure: &UnixSocketFailure) -> Explanation {
    let UnixSocketFailure {
        path,
        error,
        timeout,
    } = failure;
    let path = path.display();
    if let Some(reached) = &error.limit {
        return local_limit(&format!("no connection to {path}"), reached);
    }
    let (code, remedy) = match error.kind {
        io::ErrorKind::TimedOut | io::ErrorKind::WouldBlock => {
            let option = timeout.kind.option();
            return Explanation::new(
                CauseCode::ConnectTimeout,
                format!("no connection to {path} {}", within(*timeout)),
                format!("Look at the server: it does not accept connections; then raise {option}."),
            )
            .fact("limit_ms", limit_ms(*timeout))
            .fact("option", option);
        }
        io::ErrorKind::NotFound => (
            CauseCode::ConnectionRefused,
            "Check the path; the server makes the socket when it starts (on mongod net.unixDomainSocket).",
        ),
        io::ErrorKind::ConnectionRefused => (
            CauseCode::ConnectionRefused,
            "Start the server. The socket file at this path is left over from a server that has ended.",
        ),
        io::ErrorKind::PermissionDenied => (
            CauseCode::ConnectionRefused,
            "Let the user that runs this process write to the socket and enter its folders.",
        ),
        _ => (
            CauseCode::NetworkUnreachable,
            "Look at the path, which a socket limits to about 100 bytes.",
        ),
    };
    Explanation::new(
        code,
        format!("no connection to {path}: {}", error.text),
        remedy,
    )
}

/// A message that begins with the proxy.
fn of(proxy: &ServerAddress, what: &str) -> String {
    format!("the SOCKS5 proxy {proxy} {what}")
}

/// The reason why the proxy cannot be reached, worded as a problem of the proxy.
fn proxy_unreachable(proxy: &ServerAddress, failure: &NetFailure, timeout: Elapsed) -> Explanation {
    let explanation = explain(failure);
    let remedy = match explanation.code() {
        CauseCode::DnsNotFound => format!(
            "Correct proxyHost, or look into DNS and /etc/hosts (`getent ahosts {}`).",
            proxy.host()
        ),
        CauseCode::ConnectionRefused => {
            "Start the proxy, or correct proxyHost and proxyPort; look for a firewall that rejects connections.".to_owned()
        }
        CauseCode::ConnectionReset => {
            "Look for a firewall on the way to the proxy, and at the proxy's log.".to_owned()
        }
        CauseCode::ConnectTimeout => format!(
            "Check proxyHost and proxyPort, and that no firewall drops the packets; then raise {}.",
            timeout.kind.option()
        ),
        CauseCode::NetworkUnreachable => {
            "Check proxyHost, this host's routes (`ip route get ADDRESS`), and its limits on open files.".to_owned()
        }
        _ => explanation.remedy().to_owned(),
    };
    let message = of(
        proxy,
        &format!("cannot be reached: {}", explanation.message()),
    );
    explanation
        .with_message(message)
        .with_remedy(remedy)
        .fact("proxy", proxy.to_string())
}

fn socks5(failure: &ProxyFailure) -> Explanation {
    let proxy = &failure.proxy;
    let explanation = match &failure.problem {
        ProxyProblem::TooLong { text, limit } => proxy_text_too_long(*text, *limit),
        ProxyProblem::NoAnswer {
            step,
            error,
            timeout,
        } => match error.kind {
            io::ErrorKind::TimedOut => proxy_timeout(proxy, *step, *timeout),
            _ => proxy_lost(proxy, *step, error.kind, &error.text),
        },
        ProxyProblem::NotSocks5 { first_bytes } => not_socks5(proxy, first_bytes),
        ProxyProblem::Refused { refusal, host, .. } => refused(failure, refusal, host),
    };
    explanation
        .fact("proxy", proxy.to_string())
        .fact_opt("step", failure.problem.step().map(step_name))
        .fact_opt("looks_like", looks_like(&failure.problem))
}

fn step_name(step: ProxyStep) -> &'static str {
    match step {
        ProxyStep::Greeting => "greeting",
        ProxyStep::Login => "login",
        ProxyStep::Connect => "connect",
    }
}

/// The answer that the proxy owes in a step.
fn question(step: ProxyStep) -> &'static str {
    match step {
        ProxyStep::Greeting => "the greeting",
        ProxyStep::Login => "the login request",
        ProxyStep::Connect => "the request to connect to the server",
    }
}

fn proxy_text_too_long(text: ProxyText, limit: usize) -> Explanation {
    let what = match text {
        ProxyText::User => "proxyUsername",
        ProxyText::Password => "proxyPassword",
        ProxyText::HostName => "the host name of the server",
    };
    Explanation::new(
        CauseCode::OptionConflict,
        format!("{what} is longer than the {limit} bytes that SOCKS5 allows"),
        format!("Use one of {limit} bytes or fewer."),
    )
}

fn proxy_timeout(proxy: &ServerAddress, step: ProxyStep, timeout: Elapsed) -> Explanation {
    let option = timeout.kind.option();
    let remedy = match step {
        ProxyStep::Greeting => {
            "Check that proxyHost and proxyPort name a SOCKS5 proxy, and that it is not overloaded"
        }
        ProxyStep::Login => {
            "Check that neither the proxy nor the service that it uses to check users is overloaded"
        }
        ProxyStep::Connect => {
            "Check on the proxy's host that the server's name resolves and the server can be reached, and that no firewall between them drops the packets"
        }
    };
    let what = format!("did not answer {} {}", question(step), within(timeout));
    Explanation::new(
        CauseCode::ConnectTimeout,
        of(proxy, &what),
        format!("{remedy}; then raise {option}."),
    )
    .fact("limit_ms", limit_ms(timeout))
    .fact("option", option)
}

fn proxy_lost(
    proxy: &ServerAddress,
    step: ProxyStep,
    kind: io::ErrorKind,
    text: &str,
) -> Explanation {
    let (code, how) = match kind {
        io::ErrorKind::UnexpectedEof | io::ErrorKind::BrokenPipe => {
            (CauseCode::ConnectionClosed, "closed".to_owned())
        }
        io::ErrorKind::ConnectionReset | io::ErrorKind::ConnectionAborted => {
            (CauseCode::ConnectionReset, "reset".to_owned())
        }
        _ => (CauseCode::ConnectionReset, format!("lost ({text})")),
    };
    let remedy = match step {
        ProxyStep::Greeting => {
            "Check that proxyHost and proxyPort name a SOCKS5 proxy which lets this host in, and look at its log."
        }
        ProxyStep::Login => "Check proxyUsername and proxyPassword, and look at the proxy's log.",
        ProxyStep::Connect => {
            "Look at the proxy's log: it may not be allowed to connect to the server, or not be able to."
        }
    };
    let what = format!(
        "{how} the connection before it had answered {}",
        question(step)
    );
    Explanation::new(code, of(proxy, &what), remedy)
}

/// The kind of peer that answers in place of a SOCKS5 proxy.
fn looks_like(problem: &ProxyProblem) -> Option<String> {
    let head = match problem {
        ProxyProblem::NotSocks5 { first_bytes } => first_bytes.as_slice(),
        ProxyProblem::Refused {
            refusal: ProxyRefusal::NotSocks5,
            ..
        } => &[],
        _ => return None,
    };
    Some(match head {
        head if sniff::is_tls_answer(head) => "TLS".to_owned(),
        [0, 90..=93, ..] => "SOCKS4".to_owned(),
        head => sniff::looks_like(head),
    })
}

fn not_socks5(proxy: &ServerAddress, first_bytes: &[u8]) -> Explanation {
    let problem = ProxyProblem::NotSocks5 {
        first_bytes: first_bytes.to_vec(),
    };
    let looks_like = looks_like(&problem).unwrap_or_default();
    Explanation::new(
        CauseCode::ProxyFailed,
        format!("what answers at {proxy} is not a SOCKS5 proxy: it looks like {looks_like}"),
        "Correct proxyHost and proxyPort: a SOCKS5 proxy must listen there, without TLS; an HTTP proxy or a SOCKS4 proxy does not work.",
    )
}

fn refused(failure: &ProxyFailure, refusal: &ProxyRefusal, host: &str) -> Explanation {
    let proxy = &failure.proxy;
    let user = failure.user.as_deref();
    let failed = |what: &str, remedy: &str| {
        Explanation::new(CauseCode::ProxyFailed, of(proxy, what), remedy)
    };
    match refusal {
        ProxyRefusal::NotSocks5 => not_socks5(proxy, &[]),
        ProxyRefusal::NoMethod | ProxyRefusal::NotOffered(2) if user.is_none() => failed(
            "requires user and password",
            "Set proxyUsername and proxyPassword, or let the proxy accept this host without a user.",
        ),
        ProxyRefusal::NoMethod => failed(
            "supports neither user and password nor access without a user",
            "Let the proxy authenticate by user and password (RFC 1929): no other method is known here.",
        ),
        ProxyRefusal::NotOffered(method) => failed(
            &format!("chose method {method} of authentication, which was not offered"),
            "Look at the settings and the version of the proxy: it breaks the rules of SOCKS5 (RFC 1928).",
        )
        .fact("method", u32::from(*method)),
        ProxyRefusal::Login => failed(
            &format!("refused the user {}", Quoted(user.unwrap_or_default())),
            "Correct proxyUsername and proxyPassword, or make the user known to the proxy.",
        )
        .fact_opt("user", user),
        ProxyRefusal::Violation(violation) => failed(
            &format!("broke the rules of SOCKS5: {}", violated(*violation)),
            "Look at the settings and the version of the proxy (RFC 1928).",
        ),
        ProxyRefusal::Reply(code) => reply(proxy, *code, host),
    }
}

fn violated(violation: ProxyViolation) -> String {
    match violation {
        ProxyViolation::LoginVersion(version) => {
            format!("it answers to user and password in version {version}, not 1")
        }
        ProxyViolation::ReplyVersion(version) => {
            format!("it replies in version {version} of SOCKS")
        }
        ProxyViolation::ReservedByte => "its reply has a reserved byte set".to_owned(),
        ProxyViolation::AddressType(kind) => {
            format!("its reply has an address of the unknown type {kind}")
        }
        ProxyViolation::Length => "its answer has an unexpected length".to_owned(),
    }
}

/// Explains a reply code that is not 0 (RFC 1928 §6).
fn reply(proxy: &ServerAddress, code: u8, host: &str) -> Explanation {
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
            "On the proxy's host, check that the server's name resolves and that there is a route to the server.",
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
    Explanation::new(cause, message, remedy).fact("reply", u32::from(code))
}

#[cfg(test)]
mod tests {
    use std::path::Path;
    use std::time::Duration;

    use super::*;
    use crate::reason::io::OsError;
    use crate::time::TimeoutKind;

    fn timeout(kind: TimeoutKind) -> Elapsed {
        Elapsed {
            limit: Duration::from_millis(300),
            kind,
        }
    }

    fn os_error(kind: io::ErrorKind) -> OsError {
        OsError::from(&io::Error::from(kind))
    }

    fn fact(cause: &Cause, key: &str) -> String {
        cause
            .facts()
            .get(key)
            .map_or("none".to_owned(), ToString::to_string)
    }

    #[test]
    fn each_failure_of_a_unix_socket_has_its_remedy() {
        for (kind, code, remedy) in [
            (
                io::ErrorKind::NotFound,
                CauseCode::ConnectionRefused,
                "Check the path",
            ),
            (
                io::ErrorKind::ConnectionRefused,
                CauseCode::ConnectionRefused,
                "Start the server",
            ),
            (
                io::ErrorKind::PermissionDenied,
                CauseCode::ConnectionRefused,
                "Let the user",
            ),
            (
                io::ErrorKind::InvalidInput,
                CauseCode::NetworkUnreachable,
                "Look at the path",
            ),
        ] {
            let cause = Cause::from(NetFailure::UnixSocket(UnixSocketFailure {
                path: Path::new("/m.sock").to_owned(),
                error: os_error(kind),
                timeout: timeout(TimeoutKind::Connect),
            }));
            assert_eq!(cause.code(), code);
            assert!(
                cause.remedy().starts_with(remedy),
                "{kind}: {}",
                cause.remedy()
            );
        }
    }

    fn proxy(user: Option<&str>, problem: ProxyProblem) -> Cause {
        Cause::from(NetFailure::Proxy(ProxyFailure {
            proxy: ServerAddress::tcp("[::1]", 1080),
            user: user.map(str::to_owned),
            problem,
        }))
    }

    fn refused(user: Option<&str>, step: ProxyStep, refusal: ProxyRefusal, host: &str) -> Cause {
        let host = host.to_owned();
        proxy(
            user,
            ProxyProblem::Refused {
                step,
                refusal,
                host,
            },
        )
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
                "name resolves",
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
            let cause = refused(None, ProxyStep::Connect, ProxyRefusal::Reply(code), host);
            assert_eq!(cause.code(), expected, "{code}");
            assert!(cause.message().contains(words), "{}", cause.message());
            assert!(cause.remedy().contains(remedy), "{}", cause.remedy());
            assert_eq!(fact(&cause, "proxy"), "[::1]:1080");
            assert_eq!(fact(&cause, "reply"), code.to_string());
            assert_eq!(fact(&cause, "step"), "connect");
        }
    }

    #[test]
    fn a_refused_client_learns_what_to_set() {
        for (refusal, user, words, remedy) in [
            (
                ProxyRefusal::NoMethod,
                None,
                "requires user and password",
                "Set proxyUsername",
            ),
            (
                ProxyRefusal::NotOffered(2),
                None,
                "requires user and password",
                "Set proxyUsername",
            ),
            (
                ProxyRefusal::NoMethod,
                Some("bob"),
                "supports neither",
                "RFC 1929",
            ),
            (
                ProxyRefusal::NotOffered(1),
                Some("bob"),
                "method 1",
                "breaks the rules",
            ),
            (
                ProxyRefusal::Login,
                Some("bob"),
                "user \"bob\"",
                "Correct proxyUsername",
            ),
            (
                ProxyRefusal::Violation(ProxyViolation::ReservedByte),
                None,
                "rules of SOCKS5: its reply has a reserved byte set",
                "RFC 1928",
            ),
        ] {
            let cause = refused(user, ProxyStep::Login, refusal, "db");
            assert_eq!(cause.code(), CauseCode::ProxyFailed);
            assert!(cause.message().contains(words), "{}", cause.message());
            assert!(cause.remedy().contains(remedy), "{}", cause.remedy());
        }
    }

    #[test]
    fn other_protocols_than_socks5_are_named() {
        for (head, expected) in [
            (b"HTTP/1.1 400 B".as_slice(), "HTTP"),
            (b"SSH-2.0-OpenSS", "SSH"),
            (b"\x15\x03\x01\0\x02\x02\x28", "TLS"),
            (b"\0\x5B\0\0", "SOCKS4"),
            (b"\x04\x01", "\"\\x04\\x01\""),
        ] {
            let cause = proxy(
                None,
                ProxyProblem::NotSocks5 {
                    first_bytes: head.to_vec(),
                },
            );
            assert_eq!(cause.code(), CauseCode::ProxyFailed);
            assert_eq!(fact(&cause, "looks_like"), expected);
            assert!(cause.message().ends_with(expected), "{}", cause.message());
        }
    }

    #[test]
    fn an_early_end_names_the_awaited_reply() {
        let cause = |step, kind| {
            proxy(
                None,
                ProxyProblem::NoAnswer {
                    step,
                    error: os_error(kind),
                    timeout: timeout(TimeoutKind::Connect),
                },
            )
        };
        for (step, question) in [
            (ProxyStep::Greeting, "answer the greeting within"),
            (ProxyStep::Login, "answer the login request within"),
            (ProxyStep::Connect, "connect to the server within"),
        ] {
            let cause = cause(step, io::ErrorKind::TimedOut);
            assert_eq!(cause.code(), CauseCode::ConnectTimeout);
            assert!(cause.message().contains(question), "{}", cause.message());
            assert!(cause.message().contains("300 ms (connectTimeoutMS)"));
            assert!(cause.remedy().ends_with("then raise connectTimeoutMS."));
            assert_eq!(fact(&cause, "step"), step_name(step));
            assert_eq!(fact(&cause, "limit_ms"), "300");
        }
        for (kind, code) in [
            (io::ErrorKind::UnexpectedEof, CauseCode::ConnectionClosed),
            (io::ErrorKind::BrokenPipe, CauseCode::ConnectionClosed),
            (io::ErrorKind::ConnectionReset, CauseCode::ConnectionReset),
            (io::ErrorKind::ConnectionAborted, CauseCode::ConnectionReset),
            (io::ErrorKind::Other, CauseCode::ConnectionReset),
        ] {
            assert_eq!(cause(ProxyStep::Greeting, kind).code(), code);
        }
    }

    #[test]
    fn a_proxy_out_of_reach_is_said_to_be_the_proxy() {
        let connect = |kind| {
            NetFailure::Connect(ConnectFailure {
                attempts: vec![ConnectAttempt {
                    address: "[::1]:1080".parse().unwrap(),
                    error: os_error(kind),
                }],
                timeout: timeout(TimeoutKind::Client),
            })
        };
        let resolve = |problem| {
            NetFailure::Resolve(ResolveFailure {
                host: "p".to_owned(),
                problem,
            })
        };
        for (failure, code, remedy) in [
            (
                resolve(ResolveProblem::NotFound),
                CauseCode::DnsNotFound,
                "Correct proxyHost",
            ),
            (
                resolve(ResolveProblem::Failed("x".to_owned())),
                CauseCode::DnsFailed,
                "Check the name servers",
            ),
            (
                connect(io::ErrorKind::ConnectionRefused),
                CauseCode::ConnectionRefused,
                "Start the proxy",
            ),
            (
                connect(io::ErrorKind::ConnectionReset),
                CauseCode::ConnectionReset,
                "proxy's log",
            ),
            (
                connect(io::ErrorKind::TimedOut),
                CauseCode::ConnectTimeout,
                "raise timeoutMS.",
            ),
            (
                connect(io::ErrorKind::HostUnreachable),
                CauseCode::NetworkUnreachable,
                "Check proxyHost",
            ),
        ] {
            let own = Cause::from(failure.clone());
            let cause = Cause::from(NetFailure::ProxyUnreachable {
                proxy: ServerAddress::tcp("[::1]", 1080),
                failure: Box::new(failure),
                timeout: timeout(TimeoutKind::Client),
            });
            assert_eq!((cause.code(), own.code()), (code, code));
            let message = format!(
                "the SOCKS5 proxy [::1]:1080 cannot be reached: {}",
                own.message()
            );
            assert_eq!(cause.message(), message);
            assert!(cause.remedy().contains(remedy), "{}", cause.remedy());
            assert_eq!(fact(&cause, "attempts"), fact(&own, "attempts"));
            assert_eq!(fact(&cause, "step"), "none");
            assert_eq!(fact(&cause, "proxy"), "[::1]:1080");
        }
    }
}
