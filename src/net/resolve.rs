//! Resolves names to addresses.

use std::io;
use std::net::{IpAddr, SocketAddr};
use std::sync::{Arc, Weak};
use std::time::{Duration, Instant};

use dns_lookup::{AddrInfoHints, LookupErrorKind, SockType, getaddrinfo};

use super::Unreachable;
use crate::error::Stage;
use crate::ffi::fork;
use crate::ffi::thread;
use crate::limit::Limit;
use crate::reason::net::{NetFailure, ResolveFailure, ResolveProblem};
use crate::socket::Interrupt;
use crate::sync::{Condvar, Mutex};
use crate::time::{Deadline, Elapsed};

/// The addresses of `host`, best first: the families alternate (RFC 8305 §4), starting with the one
/// that the system prefers (RFC 6724).
///
/// The system's resolver cannot be interrupted. It runs on a thread of its own, which may outlive the deadline. Later
/// lookups of the same name wait for that thread, so that a hanging resolver occupies one thread per name.
pub(crate) fn resolve(
    host: &str,
    port: u16,
    deadline: &Deadline,
) -> Result<Vec<SocketAddr>, Unreachable> {
    resolve_unless(&Interrupt::default(), host, port, deadline)
}

/// Resolves as [`resolve`] does, unless `interrupt` ends the wait.
pub(crate) fn resolve_unless(
    interrupt: &Interrupt,
    host: &str,
    port: u16,
    deadline: &Deadline,
) -> Result<Vec<SocketAddr>, Unreachable> {
    resolve_by(look_up, interrupt, host, port, deadline)
}

fn resolve_by(
    look_up: impl FnOnce(&str) -> Result<Vec<SocketAddr>, Unresolved> + Send + 'static,
    interrupt: &Interrupt,
    host: &str,
    port: u16,
    deadline: &Deadline,
) -> Result<Vec<SocketAddr>, Unreachable> {
    let fail = |problem| Unreachable {
        stage: Stage::Resolve,
        failure: Box::new(NetFailure::Resolve(ResolveFailure {
            host: host.to_owned(),
            problem,
        })),
    };
    let limited = |limit: Limit| fail(ResolveProblem::Limited(limit.reached()));
    // The zone of `fe80::1%eth0` is a name that only the system knows.
    if let Ok(address) = host.parse::<IpAddr>() {
        return Ok(vec![SocketAddr::new(address, port)]);
    }

    let lookup = Lookup::join(host, look_up).map_err(|_| limited(Limit::Threads))?;
    match lookup.wait(interrupt, deadline).as_deref() {
        Ok(Ok(addresses)) if addresses.is_empty() => Err(fail(ResolveProblem::NotFound)),
        Ok(Ok(addresses)) => Ok(alternate(addresses.clone())
            .into_iter()
            .map(|mut address| {
                address.set_port(port);
                address
            })
            .collect()),
        Ok(Err(Unresolved::NotFound)) => Err(fail(ResolveProblem::NotFound)),
        Ok(Err(Unresolved::Limited(limit))) => Err(limited(*limit)),
        Ok(Err(Unresolved::Failed(error))) => Err(fail(ResolveProblem::Failed(error.to_string()))),
        Err(elapsed) => Err(fail(ResolveProblem::TimedOut(*elapsed))),
    }
}

/// A call of the system's resolver, shared by all threads that look up the same name at that time.
struct Lookup {
    host: String,
    /// The number of forks of the process at that time: a child does not have the thread.
    forks: u64,
    result: Mutex<Option<LookupResult>>,
    ended: Condvar,
}

type LookupResult = Arc<Result<Vec<SocketAddr>, Unresolved>>;

/// The reason why the system's resolver gave no addresses.
enum Unresolved {
    /// The name does not exist, or has no address.
    NotFound,
    /// This host could not send the query because of a limit.
    Limited(Limit),
    Failed(io::Error),
}

/// The lookups that have not ended or that a thread waits for. Locked only [at work](fork::at_work), so that no fork
/// leaves it locked.
static LOOKUPS: Mutex<Vec<Weak<Lookup>>> = Mutex::new(Vec::new());

impl Lookup {
    /// Joins the lookup of `host` in progress, or starts a new one, which calls `look_up` on its own thread.
    fn join(
        host: &str,
        look_up: impl FnOnce(&str) -> Result<Vec<SocketAddr>, Unresolved> + Send + 'static,
    ) -> io::Result<Arc<Self>> {
        let _at_work = fork::at_work();
        let forks = fork::count();
        let mut lookups = LOOKUPS.lock();
        lookups.retain(|lookup| lookup.strong_count() > 0);
        let mut known = lookups.iter().filter_map(Weak::upgrade);
        let is_same =
            |it: &Arc<Self>| it.host == host && it.forks == forks && it.result.lock().is_none();
        if let Some(lookup) = known.find(is_same) {
            return Ok(lookup);
        }
        let lookup = Arc::new(Self {
            host: host.to_owned(),
            forks,
            result: Mutex::default(),
            ended: Condvar::new(),
        });
        let own = Arc::clone(&lookup);
        // The lock is held, so that no thread joins a lookup without a resolver thread.
        thread::spawn("mongotls-resolve", move || {
            let outcome = look_up(&own.host);
            *own.result.lock() = Some(Arc::new(outcome));
            own.ended.notify_all();
        })?;
        lookups.push(Arc::downgrade(&lookup));
        Ok(lookup)
    }

    /// Waits until the lookup ends or `interrupt` ends the wait.
    fn wait(&self, interrupt: &Interrupt, deadline: &Deadline) -> Result<LookupResult, Elapsed> {
        // An interrupt does not wake this thread.
        const A_WHILE: Duration = Duration::from_millis(20);
        fork::outside(|| {
            let mut outcome = self.result.lock();
            while outcome.is_none() {
                let remaining = deadline.remaining(Instant::now())?.unwrap_or(A_WHILE);
                if interrupt.is_interrupted() {
                    return Err(deadline.elapsed());
                }
                outcome = self.ended.wait(outcome, Some(remaining.min(A_WHILE)));
            }
            outcome.clone().ok_or(deadline.elapsed())
        })
    }
}

fn look_up(host: &str) -> Result<Vec<SocketAddr>, Unresolved> {
    let hints = AddrInfoHints {
        socktype: SockType::Stream.into(),
        ..AddrInfoHints::default()
    };
    let found = getaddrinfo(Some(host), None, Some(hints)).map_err(|error| {
        // A resolver that cannot open a file or a socket may report that the name server did not answer, or even that
        // the name does not exist. As a rule, `errno` still holds the original error.
        let errno = io::Error::last_os_error();
        let limit = match error.kind() {
            LookupErrorKind::Memory => Some(Limit::Memory),
            _ => Limit::of(&errno).or_else(Limit::of_descriptors),
        };
        match (limit, error.kind()) {
            (Some(limit), _) => Unresolved::Limited(limit),
            (None, LookupErrorKind::NoName | LookupErrorKind::NoData) => Unresolved::NotFound,
            (None, _) => Unresolved::Failed(error.into()),
        }
    })?;
    Ok(found.flatten().map(|found| found.sockaddr).collect())
}

/// The distinct addresses in an order that alternates between IPv6 and IPv4. Each family keeps its order, and the family
/// of the first address comes first.
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
    use std::sync::atomic::{AtomicUsize, Ordering};
    use std::sync::mpsc;

    use super::*;
    use crate::cause::CauseCode;
    use crate::error::Error;
    use crate::time::TimeoutKind;

    fn short_deadline() -> Deadline {
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
        let Ok(v6) = resolve("::1", 7, &short_deadline()) else {
            panic!("no address")
        };
        assert_eq!(v6, addresses(&["[::1]:7"]));
        let Ok(local) = resolve("localhost", 7, &short_deadline()) else {
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
        let scope = |host: &str| match resolve(host, 7, &short_deadline()).ok()?.as_slice() {
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
    fn a_resolver_that_outlasts_the_deadline_is_a_timeout() {
        let (_hold, wait) = mpsc::channel::<()>();
        let look_up = move |_: &str| {
            let _ = wait.recv();
            Err(Unresolved::NotFound)
        };
        let limit = Some(Duration::from_nanos(1));
        let deadline = Deadline::after(Instant::now(), limit, TimeoutKind::Client);
        let no_interrupt = Interrupt::default();
        let outcome = resolve_by(look_up, &no_interrupt, "slow.example", 7, &deadline);
        let Err(unreachable) = outcome else {
            panic!("found")
        };
        let elapsed = deadline.elapsed();
        let NetFailure::Resolve(ResolveFailure { problem, .. }) = &*unreachable.failure else {
            panic!("{:?}", unreachable.failure)
        };
        assert_eq!(*problem, ResolveProblem::TimedOut(elapsed));
        let error = Error::failed(unreachable.stage, *unreachable.failure);
        assert!(error.is_timeout());
        let cause = error.cause().unwrap();
        assert_eq!(cause.code(), CauseCode::DnsFailed);
        assert_eq!(cause.facts().get("option"), Some(&"timeoutMS".into()));
        assert_eq!(cause.facts().get("limit_ms"), Some(&0_i64.into()));
    }

    #[test]
    fn a_name_that_cannot_exist_is_not_found() {
        // RFC 6761: names under .invalid never resolve; without any name server the resolver fails.
        let Err(unreachable) = resolve("mongotls.invalid", 7, &short_deadline()) else {
            panic!("found")
        };
        let NetFailure::Resolve(ResolveFailure { problem, .. }) = &*unreachable.failure else {
            panic!("{:?}", unreachable.failure)
        };
        assert!(matches!(
            problem,
            ResolveProblem::NotFound | ResolveProblem::Failed(_)
        ));
    }

    #[test]
    fn attempts_share_the_lookup_in_progress() {
        let calls = Arc::new(AtomicUsize::new(0));
        let (proceed, wait) = mpsc::channel::<()>();
        let wait = Arc::new(Mutex::new(wait));
        let look_up = || {
            let (calls, wait) = (Arc::clone(&calls), Arc::clone(&wait));
            move |_: &str| {
                calls.fetch_add(1, Ordering::SeqCst);
                let _ = wait.lock().recv();
                Ok(addresses(&["192.0.2.1:0"]))
            }
        };
        let join = |host| Lookup::join(host, look_up()).unwrap_or_else(|error| panic!("{error}"));
        let limit = Some(Duration::from_millis(50));
        // The first caller gives up, but the thread continues.
        let expired = Deadline::after(Instant::now(), limit, TimeoutKind::Connect);
        let no_interrupt = Interrupt::default();
        assert!(
            join("hanging.example")
                .wait(&no_interrupt, &expired)
                .is_err()
        );
        let others: Vec<_> = (0..5).map(|_| join("hanging.example")).collect();
        drop(proceed);
        for lookup in others {
            let outcome = lookup.wait(&no_interrupt, &short_deadline());
            let found = outcome.ok().map(|found| match &*found {
                Ok(found) => found.clone(),
                Err(_) => Vec::new(),
            });
            assert_eq!(found, Some(addresses(&["192.0.2.1:0"])));
        }
        assert_eq!(calls.load(Ordering::SeqCst), 1);
        // A result is not cached, and another name has a separate lookup.
        for (host, expected) in [("hanging.example", 2), ("other.example", 3)] {
            assert!(join(host).wait(&no_interrupt, &short_deadline()).is_ok());
            assert_eq!(calls.load(Ordering::SeqCst), expected);
        }
    }

    #[test]
    fn an_interrupt_ends_the_wait_for_a_lookup() {
        let (_hold, wait) = mpsc::channel::<()>();
        let look_up = move |_: &str| {
            let _ = wait.recv();
            Err(Unresolved::NotFound)
        };
        let lookup = Lookup::join("interrupted.example", look_up).unwrap_or_else(|e| panic!("{e}"));
        let interrupt = Interrupt::default();
        interrupt.interrupt();
        let started = Instant::now();
        assert!(lookup.wait(&interrupt, &short_deadline()).is_err());
        assert!(started.elapsed() < Duration::from_secs(3));
    }
}
