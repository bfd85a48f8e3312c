//! Names to addresses.

use std::io;
use std::net::{IpAddr, SocketAddr};
use std::sync::mpsc::{self, RecvTimeoutError};
use std::time::{Duration, Instant};

use dns_lookup::{AddrInfoHints, LookupError, LookupErrorKind, SockType, getaddrinfo};

use super::{Unreachable, limit_ms, within};
use crate::cause::{Cause, CauseCode};
use crate::error::Stage;
use crate::fork;
use crate::limit::Limit;
use crate::socket::Interrupt;
use crate::thread;
use crate::time::Deadline;

/// The addresses of `host`, best first: the families alternate (RFC 8305 §4), starting with the one
/// that the system prefers (RFC 6724).
///
/// The system's resolver cannot be interrupted. It runs on a thread of its own, which is left to
/// itself once the deadline has passed.
pub(crate) fn resolve(
    host: &str,
    port: u16,
    deadline: &Deadline,
) -> Result<Vec<SocketAddr>, Unreachable> {
    resolve_unless(&Interrupt::default(), host, port, deadline)
}

/// The same, unless it is interrupted.
pub(crate) fn resolve_unless(
    interrupt: &Interrupt,
    host: &str,
    port: u16,
    deadline: &Deadline,
) -> Result<Vec<SocketAddr>, Unreachable> {
    let fail = |cause| Unreachable {
        stage: Stage::Resolve,
        cause,
    };
    // The zone of `fe80::1%eth0` is a name that only the system knows.
    if let Ok(address) = host.parse::<IpAddr>() {
        return Ok(vec![SocketAddr::new(address, port)]);
    }

    let (answer, wait) = mpsc::sync_channel(1);
    let name = host.to_owned();
    let spawned = thread::spawn("mongotls-resolve", move || {
        // Nobody waits any more once the deadline has passed.
        let _ = answer.send(look_up(&name));
    });
    if spawned.is_err() {
        let what = format!("the host name {host:?} cannot be resolved");
        return Err(fail(Limit::Threads.cause(&what)));
    }
    let outcome = loop {
        let a_while = Duration::from_millis(100);
        let left = match deadline.remaining(Instant::now()) {
            Ok(left) => left.unwrap_or(a_while),
            Err(elapsed) => break Err(elapsed),
        };
        match fork::outside(|| wait.recv_timeout(left.min(a_while))) {
            Ok(answer) => break Ok(answer),
            Err(RecvTimeoutError::Timeout) if !interrupt.is_interrupted() => {}
            Err(_) => break Err(deadline.elapsed()),
        }
    };
    match outcome {
        Ok(Ok(addresses)) if addresses.is_empty() => Err(fail(not_found(host))),
        Ok(Ok(addresses)) => Ok(alternate(addresses)
            .into_iter()
            .map(|mut address| {
                address.set_port(port);
                address
            })
            .collect()),
        Ok(Err(Unresolved {
            limit: Some(limit), ..
        })) => {
            let what = format!("the host name {host:?} cannot be resolved");
            Err(fail(limit.cause(&what)))
        }
        Ok(Err(Unresolved { error, .. })) => Err(fail(match error.kind() {
            LookupErrorKind::NoName | LookupErrorKind::NoData => not_found(host),
            _ => failed(host, &io::Error::from(error).to_string()),
        })),
        Err(elapsed) => Err(fail(
            failed(host, &format!("no answer {}", within(elapsed)))
                .fact("limit_ms", limit_ms(elapsed))
                .fact("option", elapsed.kind.option()),
        )),
    }
}

/// Why the system's resolver gave no address.
struct Unresolved {
    error: LookupError,
    /// The limit for which it could not ask, if that is the reason.
    limit: Option<Limit>,
}

fn look_up(host: &str) -> Result<Vec<SocketAddr>, Unresolved> {
    let hints = AddrInfoHints {
        socktype: SockType::Stream.into(),
        ..AddrInfoHints::default()
    };
    let found = getaddrinfo(Some(host), None, Some(hints)).map_err(|error| {
        // A resolver that could not open a file or a socket may say that the name server did not answer, or even that
        // the name does not exist. What it met with is left in `errno`, as a rule.
        let errno = io::Error::last_os_error();
        let limit = match error.kind() {
            LookupErrorKind::Memory => Some(Limit::Memory),
            _ => Limit::of(&errno).or_else(Limit::of_descriptors),
        };
        Unresolved { error, limit }
    })?;
    Ok(found.flatten().map(|found| found.sockaddr).collect())
}

fn not_found(host: &str) -> Cause {
    Cause::new(
        CauseCode::DnsNotFound,
        format!("the host name {host:?} does not exist, or has no address"),
        format!("Correct the host name, or look into DNS and /etc/hosts (`getent ahosts {host}`)."),
    )
}

fn failed(host: &str, why: &str) -> Cause {
    Cause::new(
        CauseCode::DnsFailed,
        format!("the resolver failed for {host:?}: {why}"),
        format!("Check the name servers in /etc/resolv.conf and the way to them (`getent ahosts {host}`)."),
    )
    .fact("reason", why)
}

/// Lets IPv6 and IPv4 alternate, each in its own order, the first one first; none twice.
fn alternate(addresses: Vec<SocketAddr>) -> Vec<SocketAddr> {
    let mut unique: Vec<SocketAddr> = Vec::with_capacity(addresses.len());
    for address in addresses {
        if !unique.contains(&address) {
            unique.push(address);
        }
    }
    let first_is_v6 = unique.first().is_some_and(SocketAddr::is_ipv6);
    let (first, second): (Vec<_>, Vec<_>) = unique
        .into_iter()
        .partition(|address| address.is_ipv6() == first_is_v6);
    let (mut first, mut second) = (first.into_iter(), second.into_iter());
    let mut ordered = Vec::new();
    loop {
        match (first.next(), second.next()) {
            (None, None) => return ordered,
            (a, b) => ordered.extend(a.into_iter().chain(b)),
        }
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;
    use crate::error::Error;
    use crate::time::TimeoutKind;

    fn soon() -> Deadline {
        Deadline::after(
            Instant::now(),
            Some(Duration::from_secs(5)),
            TimeoutKind::Connect,
        )
    }

    fn addresses(texts: &[&str]) -> Vec<SocketAddr> {
        texts.iter().map(|text| text.parse().unwrap()).collect()
    }

    #[test]
    fn families_alternate_starting_with_the_preferred_one() {
        let found = addresses(&[
            "[::1]:1",
            "[::2]:1",
            "[::1]:1",
            "127.0.0.1:1",
            "[::3]:1",
            "127.0.0.2:1",
        ]);
        let expected = addresses(&[
            "[::1]:1",
            "127.0.0.1:1",
            "[::2]:1",
            "127.0.0.2:1",
            "[::3]:1",
        ]);
        assert_eq!(alternate(found), expected);
    }

    #[test]
    fn addresses_need_no_resolver_and_localhost_is_this_host() {
        let Ok(v6) = resolve("::1", 7, &soon()) else {
            panic!("no address")
        };
        assert_eq!(v6, addresses(&["[::1]:7"]));
        let Ok(local) = resolve("localhost", 7, &soon()) else {
            panic!("localhost not found")
        };
        assert!(
            !local.is_empty()
                && local
                    .iter()
                    .all(|address| address.ip().is_loopback() && address.port() == 7)
        );
    }

    #[test]
    fn the_zone_of_an_address_is_a_name_or_a_number() {
        let scope = |host: &str| match resolve(host, 7, &soon()).ok()?.as_slice() {
            [SocketAddr::V6(address)] => Some((address.scope_id(), address.port())),
            _ => None,
        };
        if scope("::1%lo").is_none() {
            return; // This host has no IPv6, or names its loopback in another way.
        }
        assert_eq!(scope("fe80::1%lo"), Some((1, 7)));
        assert_eq!(scope("fe80::1%1"), Some((1, 7)));
        assert_eq!(scope("fe80::1%nosuch"), None);
    }

    #[test]
    fn a_resolver_that_outlasts_the_deadline_is_a_time_out_with_its_option() {
        let limit = Some(Duration::from_nanos(1));
        let deadline = Deadline::after(Instant::now(), limit, TimeoutKind::Client);
        let Err(unreachable) = resolve("localhost", 7, &deadline) else {
            panic!("found")
        };
        let cause = &unreachable.cause;
        assert_eq!(cause.code(), CauseCode::DnsFailed);
        assert_eq!(cause.facts().get("option"), Some(&"timeoutMS".into()));
        assert_eq!(cause.facts().get("limit_ms"), Some(&0_i64.into()));
        let error = Error::failed(unreachable.stage, unreachable.cause);
        assert!(error.is_timeout());
    }

    #[test]
    fn a_name_that_cannot_exist_is_not_found() {
        // RFC 6761: names under .invalid never resolve; without any name server the resolver fails.
        let Err(unreachable) = resolve("mongotls.invalid", 7, &soon()) else {
            panic!("found")
        };
        assert!(matches!(
            unreachable.cause.code(),
            CauseCode::DnsNotFound | CauseCode::DnsFailed
        ));
    }
}
