//! What the records of a `mongodb+srv` name must be like, and what they make of the options. No sockets.

use std::net::SocketAddr;

use openssl::rand::rand_bytes;

use crate::address::ServerAddress;
use crate::cause::{Cause, CauseCode};
use crate::error::{Error, Result, Stage};
use crate::ffi::fork;
use crate::limit::Limit;
use crate::logging::warn;
use crate::net::dns::Resolver;
use crate::options::{ClientOptions, Deployment, SrvOptions, option_conflict};
use crate::printable::Quoted;
use crate::reason::dns::{DnsFailure, NameServerError};
use crate::uri::{TxtOptions, Warning};

/// The name whose SRV records hold the hosts.
pub(super) fn query_name(srv: &SrvOptions) -> String {
    format!("_{}._tcp.{}", srv.service_name, bare(&srv.host))
}

/// A name in lower case without a dot at its end.
pub(super) fn bare(name: &str) -> String {
    name.strip_suffix('.').unwrap_or(name).to_ascii_lowercase()
}

/// The hosts of SRV records, none twice.
///
/// # Errors
/// [`CauseCode::SrvNotFound`] without a record, [`CauseCode::SrvInvalid`] with one that the specification refuses.
pub(super) fn hosts(
    name: &str,
    query: &str,
    records: Vec<(String, u16)>,
    resolver: &Resolver,
) -> Result<Vec<ServerAddress>> {
    if records.is_empty() {
        let why = format!("{query} has no SRV record", query = Quoted(&query));
        return Err(not_found(name, query, &why, "no records", resolver));
    }
    let mut hosts = Vec::with_capacity(records.len());
    for (target, port) in records {
        let host = bare(&target);
        if let Err(why) = check(name, &host, port) {
            let cause = Cause::new(
                CauseCode::SrvInvalid,
                format!(
                    "an SRV record of {query} names {target}, port {port}, which {why}",
                    query = Quoted(&query),
                    target = Quoted(&target)
                ),
                format!(
                    "Correct the record (`dig SRV {query}`): its hosts must be in the domain {}. If you do not know \
                     that host, somebody may have changed the DNS answer: do not connect.",
                    Quoted(&domain(&bare(name)))
                ),
            );
            let cause = cause
                .fact("query", query)
                .fact("target", target)
                .fact("port", u32::from(port))
                .fact("domain", domain(&bare(name)));
            return Err(Error::failed(Stage::Resolve, with_name(cause, name)));
        }
        let address = ServerAddress::tcp(&host, port);
        if !hosts.contains(&address) {
            hosts.push(address);
        }
    }
    Ok(hosts)
}

/// The hosts of SRV records that may be followed, none twice; the others are named in the log.
pub(super) fn known_hosts(
    name: &str,
    query: &str,
    records: Vec<(String, u16)>,
) -> Vec<ServerAddress> {
    let mut hosts = Vec::with_capacity(records.len());
    for (target, port) in records {
        let host = bare(&target);
        if let Err(why) = check(name, &host, port) {
            let shown = target.escape_debug();
            warn!(target: "mongotls::dns", "an SRV record of {query} names \"{shown}\", port {port}, which {why}: left out", query = Quoted(&query));
            continue;
        }
        let address = ServerAddress::tcp(&host, port);
        if !hosts.contains(&address) {
            hosts.push(address);
        }
    }
    hosts
}

/// The part of a name that hosts must share: all but the first part, where there are three or more.
fn domain(name: &str) -> &str {
    match name.split_once('.') {
        Some((_, rest)) if rest.contains('.') => rest,
        _ => name,
    }
}

/// Whether a host may stand in an SRV record of `name`. A name of one or two parts is its own domain, so that a host
/// has one part more.
fn check(name: &str, host: &str, port: u16) -> Result<(), &'static str> {
    let name = bare(name);
    let domain = domain(&name);
    if host.is_empty() {
        return Err("means that the service is not there");
    }
    if host.contains('\\') {
        return Err("is no host name");
    }
    if port == 0 {
        return Err("is no port");
    }
    match host.strip_suffix(domain) {
        Some(own) if own.len() > 1 && own.ends_with('.') => Ok(()),
        _ if host == name => Err("is the name itself: a host needs one part more"),
        _ => Err("is outside of the domain of the connection string"),
    }
}

/// Takes `max` of the hosts at random, by a Fisher-Yates shuffle; all of them, in their order, where there are not
/// more, or if `max` is 0.
pub(super) fn some_of(hosts: Vec<ServerAddress>, max: u32) -> Result<Vec<ServerAddress>> {
    some_of_by(hosts, max, below)
}

fn some_of_by<E>(
    mut hosts: Vec<ServerAddress>,
    max: u32,
    mut below: impl FnMut(usize) -> Result<usize, E>,
) -> Result<Vec<ServerAddress>, E> {
    let max = usize::try_from(max).unwrap_or(usize::MAX);
    if max == 0 || max >= hosts.len() {
        return Ok(hosts);
    }
    // The first `max` steps: what is behind them is not needed.
    for index in 0..max {
        let other = index + below(hosts.len() - index)?;
        hosts.swap(index, other);
    }
    hosts.truncate(max);
    Ok(hosts)
}

/// A number below `end`, each as likely.
fn below(end: usize) -> Result<usize> {
    let end = u64::try_from(end).unwrap_or(u64::MAX).max(1);
    let fair = u64::MAX - u64::MAX % end;
    loop {
        let mut bytes = [0; 8];
        let drawn = {
            let _at_work = fork::at_work();
            rand_bytes(&mut bytes)
        };
        drawn.map_err(|error| {
            let cause = Cause::new(
                CauseCode::DnsFailed,
                format!("OpenSSL has no random bytes to choose hosts with: {error}"),
                "Look at OpenSSL's configuration, and at the random source of the system.",
            );
            Error::failed(Stage::Resolve, cause)
        })?;
        let number = u64::from_ne_bytes(bytes);
        if number < fair {
            return Ok(usize::try_from(number % end).unwrap_or(0));
        }
    }
}

/// The one TXT record there may be, and its options.
///
/// # Errors
/// [`CauseCode::SrvInvalid`].
pub(super) fn txt(
    name: &str,
    records: Vec<Option<String>>,
) -> Result<(Option<String>, TxtOptions, Vec<Warning>)> {
    let host = bare(name);
    let refuse = |why: &str, txt: Option<&str>| {
        let shown = txt.map(|txt| txt.chars().take(MAX_SHOWN).collect::<String>());
        let cause = Cause::new(
            CauseCode::SrvInvalid,
            format!("the TXT record of {host} {why}", host = Quoted(&host)),
            format!(
                "Correct the TXT record (`dig TXT {host}`): one record, with authSource, replicaSet and loadBalanced \
                 as in a connection string and nothing else."
            ),
        );
        let cause = cause
            .fact("query", host.as_str())
            .fact_opt("txt_record", shown);
        Err(Error::failed(Stage::Resolve, with_name(cause, name)))
    };
    let text = match records.as_slice() {
        [] => return Ok((None, TxtOptions::default(), Vec::new())),
        [Some(text)] => text,
        [None] => return refuse("is not UTF-8", None),
        several => {
            let why = format!("is one of {}, and only one is allowed", several.len());
            return refuse(&why, None);
        }
    };
    match TxtOptions::parse(text) {
        Ok((options, warnings)) => Ok((Some(text.clone()), options, warnings)),
        Err(why) => refuse(&why, Some(text)),
    }
}

/// Fills in the hosts and what the TXT record adds, where neither the connection string nor the program says
/// otherwise, and checks the rules that could not be checked before.
///
/// # Errors
/// [`CauseCode::OptionConflict`]; the options are unchanged then.
pub(super) fn complete(
    options: &mut ClientOptions,
    srv: &SrvOptions,
    hosts: Vec<ServerAddress>,
    txt: TxtOptions,
) -> Result<()> {
    let replica_set = options.replica_set.clone().or(txt.replica_set);
    let from_txt = txt.load_balanced.filter(|_| !srv.given.load_balanced);
    let load_balanced = options.load_balanced || from_txt == Some(true);
    let source = txt.auth_source.filter(|_| !srv.given.auth_source);
    let deployment = Deployment {
        hosts: hosts.len(),
        srv: true,
        max_hosts: srv.max_hosts,
        replica_set: replica_set.is_some(),
        direct: options.direct_connection == Some(true),
        load_balanced,
    };
    let mut conflicts: Vec<String> = deployment
        .conflicts()
        .into_iter()
        .map(str::to_owned)
        .collect();
    let mechanism = options
        .credential
        .as_ref()
        .and_then(|credential| credential.mechanism);
    if let (Some(source), Some(mechanism)) = (&source, mechanism) {
        if mechanism.is_always_external() && source != "$external" {
            conflicts.push(format!(
                "authSource={source} of the TXT record cannot be used with {mechanism}; add authSource=$external to the connection string"
            , source = Quoted(&source)));
        }
    }
    if !conflicts.is_empty() {
        let cause = option_conflict(&conflicts)
            .with_remedy("Change the connection string or the DNS records: what a TXT record sets counts unless the connection string sets it.")
            .fact("srv_hosts", hosts.iter().map(ToString::to_string).collect::<Vec<_>>());
        return Err(Error::configuration(with_name(cause, &srv.host)));
    }
    options.hosts = hosts;
    options.replica_set = replica_set;
    options.load_balanced = load_balanced;
    if let (Some(credential), Some(source)) = (&mut options.credential, source) {
        credential.source = source;
    }
    Ok(())
}

/// Why there are no SRV records.
pub(super) fn no_srv(name: &str, query: &str, failure: DnsFailure, resolver: &Resolver) -> Error {
    match failure {
        DnsFailure::NoSuchName => {
            let why = format!(
                "the name {query} does not exist in DNS",
                query = Quoted(&query)
            );
            not_found(name, query, &why, "NXDOMAIN", resolver)
        }
        failure => unanswered(name, "SRV", query, failure, resolver),
    }
}

/// No TXT record is no failure; no answer is one.
pub(super) fn no_txt<T>(
    name: &str,
    query: &str,
    failure: DnsFailure,
    resolver: &Resolver,
) -> Result<Vec<T>> {
    match failure {
        DnsFailure::NoSuchName => Ok(Vec::new()),
        failure => Err(unanswered(name, "TXT", query, failure, resolver)),
    }
}

/// This host lacks a resource to ask for the records.
pub(super) fn limited(name: &str, kind: &str, query: &str, limit: Limit) -> Error {
    let what = format!(
        "the {kind} records of {query} cannot be requested",
        query = Quoted(&query)
    );
    let cause = limit.cause(&what).fact("query", query);
    Error::failed(Stage::Resolve, with_name(cause, name))
}

fn not_found(name: &str, query: &str, why: &str, answer: &str, resolver: &Resolver) -> Error {
    let cause = Cause::new(
        CauseCode::SrvNotFound,
        why,
        format!(
            "Correct the name behind mongodb+srv://, or srvServiceName; `dig SRV {query}` shows what DNS has. The \
             name of a server itself belongs into a mongodb:// connection string."
        ),
    );
    let cause = cause
        .fact("query", query)
        .fact("dns_answer", answer)
        .fact("name_servers", names(resolver.servers()));
    Error::failed(Stage::Resolve, with_name(cause, name))
}

fn unanswered(
    name: &str,
    kind: &str,
    query: &str,
    failure: DnsFailure,
    resolver: &Resolver,
) -> Error {
    let (troubles, elapsed) = match failure {
        DnsFailure::Unanswered { errors, elapsed } => (errors, elapsed),
        DnsFailure::NotSent(why) => {
            let cause = Cause::new(
                CauseCode::DnsFailed,
                format!(
                    "the {kind} records of {query} cannot be asked for: {why}",
                    query = Quoted(&query)
                ),
                "Correct the name behind mongodb+srv://.",
            );
            return Error::failed(Stage::Resolve, with_name(cause.fact("query", query), name));
        }
        DnsFailure::Limited(limit) => return limited(name, kind, query, limit),
        // Told apart by the callers.
        DnsFailure::NoSuchName => (Vec::new(), None),
    };
    let told: Vec<String> = troubles
        .iter()
        .map(|(server, trouble)| format!("{server} {trouble}"))
        .collect();
    let told = match told.is_empty() {
        true => "no name server was asked".to_owned(),
        false => told.join("; "),
    };
    // A server that said something says more than those that are silent.
    let answer = troubles.iter().find_map(|(_, trouble)| match trouble {
        NameServerError::Code(code) => Some((*code).to_owned()),
        NameServerError::Truncated => Some("truncated".to_owned()),
        NameServerError::Malformed => Some("malformed".to_owned()),
        NameServerError::Referral => Some("referral".to_owned()),
        NameServerError::Aliases(error) => Some(error.to_string()),
        NameServerError::Io(kind) => Some(kind.to_string()),
        NameServerError::Limited(limit) => Some(limit.to_string()),
        NameServerError::Silent { .. } => None,
    });
    let limit = elapsed.map(|elapsed| {
        format!(
            " within {} ({})",
            crate::error::Milliseconds(elapsed.limit),
            elapsed.kind.option()
        )
    });
    let is_endless = |(_, trouble): &(SocketAddr, NameServerError)| {
        matches!(trouble, NameServerError::Aliases(_))
    };
    let remedy = match troubles.iter().any(is_endless) {
        true => format!(
            "Correct the CNAME records of that name: at most 8 may lie between it and its {kind} records \
             (`dig {kind} {query}`)."
        ),
        false => format!(
            "Check the name servers in /etc/resolv.conf, or the one that the program sets, and the way to them \
             (`dig {kind} {query}`)."
        ),
    };
    let cause = Cause::new(
        CauseCode::DnsFailed,
        format!(
            "no name server answered for the {kind} records of {query}{}: {told}",
            limit.unwrap_or_default(),
            query = Quoted(&query)
        ),
        remedy,
    );
    let cause = cause
        .fact("query", query)
        .fact(
            "dns_answer",
            answer.unwrap_or_else(|| "time-out".to_owned()),
        )
        .fact("reason", told)
        .fact("name_servers", names(resolver.servers()));
    let limit_ms =
        elapsed.map(|elapsed| i64::try_from(elapsed.limit.as_millis()).unwrap_or(i64::MAX));
    let cause = cause
        .fact_opt("limit_ms", limit_ms)
        .fact_opt("option", elapsed.map(|elapsed| elapsed.kind.option()));
    Error::failed(Stage::Resolve, with_name(cause, name))
}

fn with_name(cause: Cause, name: &str) -> Cause {
    cause.fact("host", name)
}

fn names(servers: &[SocketAddr]) -> Vec<String> {
    servers.iter().map(ToString::to_string).collect()
}

/// How much of a TXT record is shown, in characters.
const MAX_SHOWN: usize = 255;

#[cfg(test)]
mod tests {
    use std::collections::HashMap;

    use super::*;

    fn options(uri: &str) -> (ClientOptions, SrvOptions) {
        let (options, _) = ClientOptions::parse(uri).unwrap();
        let srv = options.srv.clone().unwrap();
        (options, srv)
    }

    fn nobody() -> Resolver {
        Resolver::new(Some("127.0.0.1:53".parse().unwrap())).unwrap()
    }

    fn fact(error: &Error, key: &str) -> String {
        error.cause().unwrap().facts().get(key).unwrap().to_string()
    }

    #[test]
    fn the_query_has_the_service_before_the_host() {
        let name = |uri| query_name(&options(uri).1);
        assert_eq!(name("mongodb+srv://Db.Example"), "_mongodb._tcp.db.example");
        assert_eq!(
            name("mongodb+srv://db.example./?srvServiceName=other"),
            "_other._tcp.db.example"
        );
    }

    #[test]
    fn hosts_are_below_the_domain_of_the_name() {
        for (name, host) in [
            ("cluster.tests.example", "a.tests.example"),
            ("cluster.tests.example", "a.b.tests.example"),
            ("tests.build.example.org", "tests.build.example.org"),
            ("CLUSTER.Tests.example.", "A.TESTS.EXAMPLE."),
            ("localhost", "a.localhost"),
            ("mongo.local", "a.mongo.local"),
        ] {
            let found = hosts(name, "q", vec![(host.to_owned(), 1)], &nobody()).unwrap();
            assert_eq!(found, [ServerAddress::tcp(&bare(host), 1)], "{name} {host}");
        }
        // Prose tests 2, 3 and 4 of the specification, and more.
        for (name, host) in [
            ("localhost", "localhost.mongodb"),
            ("mongo.local", "test_1.evil.local"),
            ("blogs.mongodb.com", "blogs.evil.com"),
            ("localhost", "localhost"),
            ("mongo.local", "mongo.local"),
            ("localhost", "test_1.cluster_1localhost"),
            ("mongo.local", "test_1.my_hostmongo.local"),
            ("blogs.mongodb.com", "cluster.testmongodb.com"),
            ("blogs.mongodb.com", "mongodb.com"),
            ("blogs.mongodb.com", ".mongodb.com"),
            ("blogs.mongodb.com", r"evil\046mongodb.com"),
            ("blogs.mongodb.com", ""),
        ] {
            let error = hosts(name, "q", vec![(host.to_owned(), 1)], &nobody()).unwrap_err();
            assert_eq!(
                error.cause().unwrap().code(),
                CauseCode::SrvInvalid,
                "{host}"
            );
            assert_eq!(fact(&error, "target"), host);
            assert_eq!(fact(&error, "host"), name);
        }
        let error = hosts("a.b.c", "q", vec![("x.b.c".to_owned(), 0)], &nobody()).unwrap_err();
        assert!(error.to_string().contains("is no port"), "{error}");
    }

    #[test]
    fn one_bad_record_spoils_all_and_none_is_taken_twice() {
        let record = |host: &str, port| (host.to_owned(), port);
        let sound = vec![record("x.b.c", 1), record("x.b.c", 2), record("X.b.c", 1)];
        assert_eq!(
            hosts("a.b.c", "q", sound.clone(), &nobody()).unwrap().len(),
            2
        );
        let mut spoilt = sound;
        spoilt.push(record("x.evil.c", 1));
        let error = hosts("a.b.c", "q", spoilt, &nobody()).unwrap_err();
        assert_eq!(fact(&error, "target"), "x.evil.c");
        assert_eq!(fact(&error, "domain"), "b.c");
    }

    #[test]
    fn as_many_hosts_are_taken_as_asked_for_each_as_likely() {
        let all: Vec<_> = (1..=5).map(|port| ServerAddress::tcp("h", port)).collect();
        for max in [0, 5, 6] {
            assert_eq!(some_of(all.clone(), max).unwrap(), all);
        }
        let mut counts: HashMap<Vec<ServerAddress>, u32> = HashMap::new();
        for _ in 0..6000 {
            let mut some = some_of(all.clone(), 2).unwrap();
            some.sort();
            some.dedup();
            assert_eq!(some.len(), 2);
            *counts.entry(some).or_default() += 1;
        }
        // Ten pairs, 600 each, with a standard deviation of 23.
        assert_eq!(counts.len(), 10);
        assert!(
            counts.values().all(|count| (440..760).contains(count)),
            "{counts:?}"
        );
    }

    #[test]
    fn a_txt_record_gives_way_to_the_connection_string() {
        let seeds = || vec![ServerAddress::tcp("x.b.c", 1)];
        let completed = |uri: &str, text: &str| {
            let (mut options, srv) = options(uri);
            let (txt, _) = TxtOptions::parse(text).unwrap();
            complete(&mut options, &srv, seeds(), txt).map(|()| options)
        };
        let source = |options: &ClientOptions| options.credential.clone().unwrap().source;
        let all = "authSource=txt&replicaSet=txt";
        let taken = completed("mongodb+srv://u:p@a.b.c/db", all).unwrap();
        assert_eq!(
            (source(&taken), taken.replica_set.as_deref()),
            ("txt".to_owned(), Some("txt"))
        );
        assert_eq!(taken.hosts, seeds());
        let own = completed(
            "mongodb+srv://u:p@a.b.c/?authSource=own&replicaSet=own",
            all,
        )
        .unwrap();
        assert_eq!(
            (source(&own), own.replica_set.as_deref()),
            ("own".to_owned(), Some("own"))
        );
        assert!(
            completed("mongodb+srv://a.b.c", "loadBalanced=true")
                .unwrap()
                .load_balanced
        );
        let uri = "mongodb+srv://a.b.c/?loadBalanced=false";
        assert!(!completed(uri, "loadBalanced=true").unwrap().load_balanced);
    }

    #[test]
    fn what_cannot_go_together_is_refused_after_the_lookup() {
        for (uri, hosts, text, why) in [
            (
                "mongodb+srv://a.b.c/?srvMaxHosts=1",
                1,
                "replicaSet=r",
                "srvMaxHosts cannot be used with replicaSet",
            ),
            (
                "mongodb+srv://a.b.c/?srvMaxHosts=1",
                1,
                "loadBalanced=true",
                "cannot be used with srvMaxHosts",
            ),
            (
                "mongodb+srv://a.b.c/?replicaSet=r",
                1,
                "loadBalanced=true",
                "cannot be used with replicaSet",
            ),
            (
                "mongodb+srv://a.b.c/?loadBalanced=true",
                1,
                "replicaSet=r",
                "cannot be used with replicaSet",
            ),
            (
                "mongodb+srv://a.b.c/?loadBalanced=true",
                2,
                "",
                "allows one host only",
            ),
            (
                "mongodb+srv://a.b.c/?authMechanism=MONGODB-X509",
                1,
                "authSource=admin",
                "cannot be used with MONGODB-X509",
            ),
        ] {
            let (mut options, srv) = options(uri);
            let before = options.clone();
            let seeds = (1..=hosts)
                .map(|port| ServerAddress::tcp("x.b.c", port))
                .collect();
            let (txt, _) = TxtOptions::parse(text).unwrap();
            let error = complete(&mut options, &srv, seeds, txt).unwrap_err();
            assert_eq!(error.cause().unwrap().code(), CauseCode::OptionConflict);
            assert!(error.to_string().contains(why), "{uri} {text}: {error}");
            assert_eq!(options, before);
        }
    }

    #[test]
    fn one_txt_record_is_allowed_and_no_failure_is_none() {
        assert_eq!(txt("a.b.c", Vec::new()).unwrap().0, None);
        for (records, why) in [
            (
                vec![Some("a".to_owned()), Some("b".to_owned())],
                "is one of 2",
            ),
            (vec![None], "is not UTF-8"),
            (vec![Some("ssl=false".to_owned())], "sets \"ssl\""),
        ] {
            let error = txt("a.b.c", records).unwrap_err();
            assert_eq!(error.cause().unwrap().code(), CauseCode::SrvInvalid);
            assert!(error.to_string().contains(why), "{error}");
        }
        let none: Vec<u8> = no_txt("a", "a", DnsFailure::NoSuchName, &nobody()).unwrap();
        assert!(none.is_empty());
    }
}
