//! `mongodb+srv`: the hosts, and some options, of a deployment come from DNS. Source: "Initial DNS Seedlist
//! Discovery".
//!
//! [`resolve`] looks up SRV and TXT records when a client is created, and completes its options by the rules in `rules`.
//! Without the cargo feature `srv` it returns an error.

#[cfg(feature = "srv")]
pub(crate) mod polling;
#[cfg(feature = "srv")]
mod rules;

use std::net::SocketAddr;
use std::time::Duration;

use crate::address::ServerAddress;
use crate::error::Result;
#[cfg(feature = "srv")]
use crate::error::{Error, Stage};
#[cfg(feature = "srv")]
use crate::idn;
use crate::options::ClientOptions;
#[cfg(feature = "srv")]
use crate::options::SrvOptions;

/// The answer of DNS for the name in a `mongodb+srv` connection string.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct SeedList {
    /// The name whose SRV records were looked up.
    pub query: String,
    /// The hosts of the SRV records in the order of the answer, including those that `srvMaxHosts` excludes.
    pub hosts: Vec<ServerAddress>,
    /// The TXT record with its strings joined, if there is one.
    pub txt: Option<String>,
    /// The configured name servers.
    pub name_servers: Vec<SocketAddr>,
    /// The duration of both lookups.
    pub duration: Duration,
    /// The time for which the SRV records may be cached: the shortest of their times to live.
    pub ttl: Duration,
}

/// Looks up the hosts of `options`, which have `srv`, in DNS, and completes the options. It takes at most
/// `connectTimeoutMS`.
///
/// # Errors
/// At [`Stage::Resolve`](crate::error::Stage::Resolve), if DNS does not answer or the specification rejects its answer;
/// [`CauseCode::OptionConflict`](crate::CauseCode::OptionConflict), if the options of a TXT record contradict others.
#[cfg(feature = "srv")]
pub(crate) fn resolve(options: &mut ClientOptions) -> Result<SeedList> {
    let Some(srv) = &options.srv else {
        return Err(crate::Error::invalid_argument(
            "there is no name to look up",
        ));
    };
    let (written, srv) = (srv.host.clone(), in_dns(srv)?);
    let outcome = resolve_name(options, &srv);
    outcome.map_err(|error| idn::in_both_forms(error, &written, &srv.host))
}

/// Returns the options with the ASCII form of the name.
#[cfg(feature = "srv")]
fn in_dns(srv: &SrvOptions) -> Result<SrvOptions> {
    let host = idn::to_ascii(&srv.host).map_err(|cause| Error::failed(Stage::Resolve, cause))?;
    Ok(SrvOptions {
        host: host.into_owned(),
        ..srv.clone()
    })
}

#[cfg(feature = "srv")]
fn resolve_name(options: &mut ClientOptions, srv: &SrvOptions) -> Result<SeedList> {
    use std::time::Instant;

    use crate::logging::{debug, warn};
    use crate::net::dns::Resolver;
    use crate::time::{Deadline, TimeoutKind};

    let started = Instant::now();
    let deadline = Deadline::after(started, options.connect_timeout, TimeoutKind::Connect);
    let query = rules::query_name(srv);
    let resolver = Resolver::new(options.dns_server)
        .map_err(|limit| rules::limited(&srv.host, &query, limit))?;
    let (records, ttl) = resolver
        .srv(&query, &deadline)
        .map_err(|failure| rules::no_srv(&srv.host, &query, failure, &resolver))?;
    let hosts = rules::hosts(&srv.host, &query, records, &resolver)?;
    let host = rules::bare(&srv.host);
    let records = resolver
        .txt(&host, &deadline)
        .or_else(|failure| rules::no_txt(&srv.host, &host, failure, &resolver))?;
    let (txt, found, warnings) = rules::txt(&srv.host, records)?;
    for warning in warnings {
        warn!(target: "mongotls::uri", "{warning}");
    }

    let seeds = rules::some_of(hosts.clone(), srv.max_hosts)?;
    rules::complete(options, srv, seeds, found)?;
    debug!(
        target: "mongotls::dns",
        "{query} has {} hosts, {} are used; {host} has {} TXT record",
        hosts.len(),
        options.hosts.len(),
        if txt.is_some() { "a" } else { "no" }
    );
    Ok(SeedList {
        query,
        hosts,
        txt,
        name_servers: resolver.servers().to_vec(),
        duration: started.elapsed(),
        ttl,
    })
}

/// Returns an error, because this program is built without a resolver.
#[cfg(not(feature = "srv"))]
pub(crate) fn resolve(_: &mut ClientOptions) -> Result<SeedList> {
    Err(crate::Error::configuration(
        crate::reason::srv::SrvFailure::NotBuiltIn,
    ))
}
