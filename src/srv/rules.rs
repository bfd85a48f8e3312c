//! The rules about the records of a `mongodb+srv` name, and how they complete the options. No sockets.

use openssl::rand::rand_bytes;

use crate::address::ServerAddress;
use crate::error::{Error, Result, Stage};
use crate::explain::srv::host_problem;
use crate::ffi::fork;
use crate::limit::Limit;
use crate::logging::warn;
use crate::net::dns::Resolver;
use crate::options::{ClientOptions, DeploymentOptions, SrvOptions};
use crate::printable::Quoted;
use crate::reason::dns::DnsFailure;
use crate::reason::srv::{
    DnsRecordType, SrvConflict, SrvFailure, SrvHostProblem, SrvProblem, TxtProblem,
    UnansweredLookup,
};
use crate::uri::{TxtOptions, Warning};

/// Returns the name whose SRV records hold the hosts.
pub(super) fn query_name(srv: &SrvOptions) -> String {
    format!("_{}._tcp.{}", srv.service_name, bare(&srv.host))
}

/// Returns a name in lower case without a dot at its end.
pub(super) fn bare(name: &str) -> String {
    name.strip_suffix('.').unwrap_or(name).to_ascii_lowercase()
}

/// Returns the distinct hosts of SRV records.
///
/// # Errors
/// [`CauseCode::SrvNotFound`](crate::CauseCode::SrvNotFound) without a record,
/// [`CauseCode::SrvInvalid`](crate::CauseCode::SrvInvalid) if the specification rejects one.
pub(super) fn hosts(
    name: &str,
    query: &str,
    records: Vec<(String, u16)>,
    resolver: &Resolver,
) -> Result<Vec<ServerAddress>> {
    let query = query.to_owned();
    if records.is_empty() {
        let name_servers = resolver.servers().to_vec();
        let problem = SrvProblem::NoRecords {
            query,
            name_servers,
        };
        return Err(failed(name, problem));
    }
    let mut hosts = Vec::with_capacity(records.len());
    for (target, port) in records {
        let host = bare(&target);
        if let Err(problem) = check(name, &host, port) {
            let problem = SrvProblem::Host {
                query,
                target,
                port,
                domain: domain(&bare(name)).to_owned(),
                problem,
            };
            return Err(failed(name, problem));
        }
        let address = ServerAddress::tcp(&host, port);
        if !hosts.contains(&address) {
            hosts.push(address);
        }
    }
    Ok(hosts)
}

/// Returns the distinct hosts of SRV records that may be used. The log names the others.
pub(super) fn known_hosts(
    name: &str,
    query: &str,
    records: Vec<(String, u16)>,
) -> Vec<ServerAddress> {
    let mut hosts = Vec::with_capacity(records.len());
    for (target, port) in records {
        let host = bare(&target);
        if let Err(problem) = check(name, &host, port) {
            let why = host_problem(problem);
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

/// Returns the domain that hosts must be in: the name without its first part, if it has three or more.
fn domain(name: &str) -> &str {
    match name.split_once('.') {
        Some((_, rest)) if rest.contains('.') => rest,
        _ => name,
    }
}

/// Checks that a host may be in an SRV record of `name`. A name of one or two parts is its own domain, so its hosts have
/// one more part.
fn check(name: &str, host: &str, port: u16) -> Result<(), SrvHostProblem> {
    let name = bare(name);
    let domain = domain(&name);
    if host.is_empty() {
        return Err(SrvHostProblem::NoService);
    }
    if host.contains('\\') {
        return Err(SrvHostProblem::NotHostName);
    }
    if port == 0 {
        return Err(SrvHostProblem::NotPort);
    }
    match host.strip_suffix(domain) {
        Some(own) if own.len() > 1 && own.ends_with('.') => Ok(()),
        _ if host == name => Err(SrvHostProblem::SameName),
        _ => Err(SrvHostProblem::OutsideDomain),
    }
}

/// Returns `max` hosts at random, by a Fisher-Yates shuffle. If there are not more hosts, or if `max` is 0, returns all of
/// them in their order.
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
    // The first `max` steps are enough: the other hosts are dropped.
    for index in 0..max {
        let other = index + below(hosts.len() - index)?;
        hosts.swap(index, other);
    }
    hosts.truncate(max);
    Ok(hosts)
}

/// Returns a random number below `end`, with equal probabilities.
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
            Error::failed(Stage::Resolve, SrvFailure::RandomNumbers(error.to_string()))
        })?;
        let number = u64::from_ne_bytes(bytes);
        if number < fair {
            return Ok(usize::try_from(number % end).unwrap_or(0));
        }
    }
}

/// Returns the TXT record, if there is one, and its options.
///
/// # Errors
/// [`CauseCode::SrvInvalid`](crate::CauseCode::SrvInvalid).
pub(super) fn txt(
    name: &str,
    records: Vec<Option<String>>,
) -> Result<(Option<String>, TxtOptions, Vec<Warning>)> {
    let refused = |problem| {
        let query = bare(name);
        Err(failed(name, SrvProblem::Txt { query, problem }))
    };
    let text = match records.as_slice() {
        [] => return Ok((None, TxtOptions::default(), Vec::new())),
        [Some(text)] => text,
        [None] => return refused(TxtProblem::NotUtf8),
        several => return refused(TxtProblem::Several(several.len())),
    };
    match TxtOptions::parse(text) {
        Ok((options, warnings)) => Ok((Some(text.clone()), options, warnings)),
        Err(why) => refused(TxtProblem::Options {
            why,
            record: text.chars().take(MAX_SHOWN).collect(),
        }),
    }
}

/// Adds the hosts and the options of the TXT record, except for options that the connection string or the program sets,
/// and checks the rules that depend on them.
///
/// # Errors
/// [`CauseCode::OptionConflict`](crate::CauseCode::OptionConflict). The options are then unchanged.
pub(super) fn complete(
    options: &mut ClientOptions,
    srv: &SrvOptions,
    hosts: Vec<ServerAddress>,
    txt: TxtOptions,
) -> Result<()> {
    let replica_set = options.replica_set.clone().or(txt.replica_set);
    let from_txt = txt.load_balanced.filter(|_| !srv.explicit.load_balanced);
    let load_balanced = options.load_balanced || from_txt == Some(true);
    let source = txt.auth_source.filter(|_| !srv.explicit.auth_source);
    let deployment = DeploymentOptions {
        hosts: hosts.len(),
        srv: true,
        max_hosts: srv.max_hosts,
        replica_set: replica_set.is_some(),
        direct: options.direct_connection == Some(true),
        load_balanced,
    };
    let mut conflicts: Vec<SrvConflict> = deployment
        .conflicts()
        .into_iter()
        .map(SrvConflict::Deployment)
        .collect();
    let mechanism = options
        .credential
        .as_ref()
        .and_then(|credential| credential.mechanism);
    if let (Some(source), Some(mechanism)) = (&source, mechanism) {
        if mechanism.is_always_external() && source != "$external" {
            let source = source.clone();
            conflicts.push(SrvConflict::AuthSource { source, mechanism });
        }
    }
    if !conflicts.is_empty() {
        return Err(Error::configuration(SrvFailure::Records {
            host: srv.host.clone(),
            problem: SrvProblem::Conflicts { conflicts, hosts },
        }));
    }
    options.hosts = hosts;
    options.replica_set = replica_set;
    options.load_balanced = load_balanced;
    if let (Some(credential), Some(source)) = (&mut options.credential, source) {
        credential.source = source;
    }
    Ok(())
}

/// Converts the failure of a lookup of SRV records.
pub(super) fn no_srv(name: &str, query: &str, failure: DnsFailure, resolver: &Resolver) -> Error {
    lookup_failed(name, DnsRecordType::Srv, query, failure, resolver)
}

/// Converts the failure of a lookup of TXT records. A name without a TXT record is not a failure.
pub(super) fn no_txt<T>(
    name: &str,
    query: &str,
    failure: DnsFailure,
    resolver: &Resolver,
) -> Result<Vec<T>> {
    match failure {
        DnsFailure::NoSuchName => Ok(Vec::new()),
        failure => {
            let record = DnsRecordType::Txt;
            Err(lookup_failed(name, record, query, failure, resolver))
        }
    }
}

/// Describes that a limit of this host prevents the lookup of SRV records.
pub(super) fn limited(name: &str, query: &str, limit: Limit) -> Error {
    let problem = SrvProblem::Limited {
        record: DnsRecordType::Srv,
        query: query.to_owned(),
        reached: limit.reached(),
    };
    failed(name, problem)
}

fn lookup_failed(
    name: &str,
    record: DnsRecordType,
    query: &str,
    failure: DnsFailure,
    resolver: &Resolver,
) -> Error {
    let query = query.to_owned();
    let name_servers = resolver.servers().to_vec();
    let problem = match failure {
        DnsFailure::NoSuchName => SrvProblem::NoSuchName {
            query,
            name_servers,
        },
        DnsFailure::Unanswered { errors, elapsed } => SrvProblem::Unanswered(UnansweredLookup {
            record,
            query,
            name_servers,
            errors,
            elapsed,
        }),
        DnsFailure::NotSent(error) => SrvProblem::NotSent {
            record,
            query,
            error,
        },
        DnsFailure::Limited(limit) => SrvProblem::Limited {
            record,
            query,
            reached: limit.reached(),
        },
    };
    failed(name, problem)
}

fn failed(name: &str, problem: SrvProblem) -> Error {
    let host = name.to_owned();
    Error::failed(Stage::Resolve, SrvFailure::Records { host, problem })
}

/// The number of characters of a TXT record that a message shows.
const MAX_SHOWN: usize = 255;

#[cfg(test)]
mod tests {
    use std::collections::HashMap;

    use super::*;
    use crate::cause::CauseCode;

    fn options(uri: &str) -> (ClientOptions, SrvOptions) {
        let (options, _) = ClientOptions::parse(uri).unwrap();
        let srv = options.srv.clone().unwrap();
        (options, srv)
    }

    fn unused_resolver() -> Resolver {
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
            let found = hosts(name, "q", vec![(host.to_owned(), 1)], &unused_resolver()).unwrap();
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
            let error =
                hosts(name, "q", vec![(host.to_owned(), 1)], &unused_resolver()).unwrap_err();
            assert_eq!(
                error.cause().unwrap().code(),
                CauseCode::SrvInvalid,
                "{host}"
            );
            assert_eq!(fact(&error, "target"), host);
            assert_eq!(fact(&error, "host"), name);
        }
        let error = hosts(
            "a.b.c",
            "q",
            vec![("x.b.c".to_owned(), 0)],
            &unused_resolver(),
        )
        .unwrap_err();
        assert!(error.to_string().contains("is not a port"), "{error}");
    }

    #[test]
    fn one_bad_record_is_enough_and_hosts_are_distinct() {
        let record = |host: &str, port| (host.to_owned(), port);
        let sound = vec![record("x.b.c", 1), record("x.b.c", 2), record("X.b.c", 1)];
        assert_eq!(
            hosts("a.b.c", "q", sound.clone(), &unused_resolver())
                .unwrap()
                .len(),
            2
        );
        let mut spoilt = sound;
        spoilt.push(record("x.evil.c", 1));
        let error = hosts("a.b.c", "q", spoilt, &unused_resolver()).unwrap_err();
        assert_eq!(fact(&error, "target"), "x.evil.c");
        assert_eq!(fact(&error, "domain"), "b.c");
    }

    #[test]
    fn max_hosts_are_taken_with_equal_probabilities() {
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
    fn the_connection_string_precedes_a_txt_record() {
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
    fn conflicts_are_found_after_the_lookup() {
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
    fn at_most_one_txt_record_is_allowed() {
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
        let none: Vec<u8> = no_txt("a", "a", DnsFailure::NoSuchName, &unused_resolver()).unwrap();
        assert!(none.is_empty());
    }
}
