//! Words for failures of `mongodb+srv`: SRV and TXT records.

#[cfg(feature = "srv")]
use std::net::SocketAddr;

#[cfg(feature = "srv")]
use super::limit::local_limit;
#[cfg(feature = "srv")]
use super::wording::{limit_ms, within};
#[cfg(feature = "srv")]
use crate::cause::CauseCode;
use crate::cause::Explanation;
#[cfg(feature = "srv")]
use crate::printable::Quoted;
#[cfg(feature = "srv")]
use crate::reason::dns::NameServerError;
use crate::reason::srv::SrvFailure;
#[cfg(feature = "srv")]
use crate::reason::srv::{
    DnsRecordType, SrvConflict, SrvHostProblem, SrvProblem, TxtProblem, UnansweredLookup,
};

pub(super) fn explain(reason: &SrvFailure) -> Explanation {
    match reason {
        #[cfg(not(feature = "srv"))]
        SrvFailure::NotBuiltIn => super::wording::not_built_in(
            "mongodb+srv",
            "Build mongotls with its feature \"srv\", or name the hosts of the deployment in a mongodb:// connection \
             string.",
        ),
        #[cfg(feature = "srv")]
        SrvFailure::Records { host, problem } => records(problem).fact("host", host.as_str()),
        #[cfg(feature = "srv")]
        SrvFailure::RandomNumbers(text) => Explanation::new(
            CauseCode::DnsFailed,
            format!("OpenSSL has no random bytes to choose hosts with: {text}"),
            "Check OpenSSL's configuration, and the random source of the system.",
        ),
    }
}

#[cfg(feature = "srv")]
fn records(problem: &SrvProblem) -> Explanation {
    match problem {
        SrvProblem::NoSuchName {
            query,
            name_servers,
        } => {
            let message = format!(
                "the name {query} does not exist in DNS",
                query = Quoted(query)
            );
            not_found(query, message, "NXDOMAIN", name_servers)
        }
        SrvProblem::NoRecords {
            query,
            name_servers,
        } => {
            let message = format!("{query} has no SRV record", query = Quoted(query));
            not_found(query, message, "no records", name_servers)
        }
        SrvProblem::Host {
            query,
            target,
            port,
            domain,
            problem,
        } => Explanation::new(
            CauseCode::SrvInvalid,
            format!(
                "an SRV record of {query} names {target}, port {port}, which {}",
                host_problem(*problem),
                query = Quoted(query),
                target = Quoted(target)
            ),
            format!(
                "Correct the record (`dig SRV {query}`): its hosts must be in the domain {}. If you do not know that \
                 host, somebody may have changed the DNS answer: do not connect.",
                Quoted(domain)
            ),
        )
        .fact("query", query.as_str())
        .fact("target", target.as_str())
        .fact("port", u32::from(*port))
        .fact("domain", domain.as_str()),
        SrvProblem::Txt { query, problem } => txt(query, problem),
        SrvProblem::Unanswered(lookup) => unanswered(lookup),
        SrvProblem::NotSent {
            record,
            query,
            error,
        } => Explanation::new(
            CauseCode::DnsFailed,
            format!(
                "the {record} records of {query} cannot be requested: {error}",
                record = record_type(*record),
                query = Quoted(query)
            ),
            "Correct the name after mongodb+srv://.",
        )
        .fact("query", query.as_str()),
        SrvProblem::Limited {
            record,
            query,
            reached,
        } => {
            let what = format!(
                "the {record} records of {query} cannot be requested",
                record = record_type(*record),
                query = Quoted(query)
            );
            local_limit(&what, reached).fact("query", query.as_str())
        }
        SrvProblem::Conflicts { conflicts, hosts } => {
            let conflicts: Vec<_> = conflicts.iter().map(conflict).collect();
            Explanation::new(
                CauseCode::OptionConflict,
                conflicts.join("; "),
                "Change the connection string or the DNS records: an option of the TXT record applies unless the \
                 connection string sets it.",
            )
            .fact("conflicts", conflicts)
            .fact(
                "srv_hosts",
                hosts.iter().map(ToString::to_string).collect::<Vec<_>>(),
            )
        }
    }
}

#[cfg(feature = "srv")]
fn not_found(
    query: &str,
    message: String,
    answer: &str,
    name_servers: &[SocketAddr],
) -> Explanation {
    Explanation::new(
        CauseCode::SrvNotFound,
        message,
        format!(
            "Correct the name after mongodb+srv://, or srvServiceName; `dig SRV {query}` shows the records of DNS. The \
             name of a server itself belongs in a mongodb:// connection string."
        ),
    )
    .fact("query", query)
    .fact("dns_answer", answer)
    .fact("name_servers", addresses(name_servers))
}

/// The end of a sentence about a host and its port.
#[cfg(feature = "srv")]
pub(crate) fn host_problem(problem: SrvHostProblem) -> &'static str {
    match problem {
        SrvHostProblem::NoService => "means that the service does not exist",
        SrvHostProblem::NotHostName => "is not a host name",
        SrvHostProblem::NotPort => "is not a port",
        SrvHostProblem::SameName => "is the name itself: a host needs one more part",
        SrvHostProblem::OutsideDomain => "is outside of the domain of the connection string",
    }
}

#[cfg(feature = "srv")]
fn txt(query: &str, problem: &TxtProblem) -> Explanation {
    let (why, record) = match problem {
        TxtProblem::NotUtf8 => ("is not UTF-8".to_owned(), None),
        TxtProblem::Several(count) => (format!("is one of {count}, and only one is allowed"), None),
        TxtProblem::Options { why, record } => (why.clone(), Some(record.as_str())),
    };
    Explanation::new(
        CauseCode::SrvInvalid,
        format!("the TXT record of {query} {why}", query = Quoted(query)),
        format!(
            "Correct the TXT record (`dig TXT {query}`): one record, with authSource, replicaSet and loadBalanced as in \
             a connection string and nothing else."
        ),
    )
    .fact("query", query)
    .fact_opt("txt_record", record)
}

#[cfg(feature = "srv")]
fn unanswered(lookup: &UnansweredLookup) -> Explanation {
    let UnansweredLookup {
        record,
        query,
        name_servers,
        errors,
        elapsed,
    } = lookup;
    let record = record_type(*record);
    let servers: Vec<String> = errors
        .iter()
        .map(|(server, error)| format!("{server} {error}"))
        .collect();
    let servers = match servers.is_empty() {
        true => "no name server was queried".to_owned(),
        false => servers.join("; "),
    };
    // An answer, even a bad one, is more useful than silence.
    let answer = errors.iter().find_map(|(_, error)| match error {
        NameServerError::Code(code) => Some((*code).to_owned()),
        NameServerError::Truncated => Some("truncated".to_owned()),
        NameServerError::Malformed => Some("malformed".to_owned()),
        NameServerError::Referral => Some("referral".to_owned()),
        NameServerError::Aliases(error) => Some(error.to_string()),
        NameServerError::Io(kind) => Some(kind.to_string()),
        NameServerError::Limited(limit) => Some(limit.to_string()),
        NameServerError::Silent { .. } => None,
    });
    let is_endless =
        |(_, error): &(SocketAddr, NameServerError)| matches!(error, NameServerError::Aliases(_));
    let remedy = match errors.iter().any(is_endless) {
        true => format!(
            "Correct the CNAME records of that name: at most 8 may lie between it and its {record} records (`dig \
             {record} {query}`)."
        ),
        false => format!(
            "Check the name servers in /etc/resolv.conf, or the one that the program sets, and the route to them (`dig \
             {record} {query}`)."
        ),
    };
    let limit = elapsed.map(|elapsed| format!(" {}", within(elapsed)));
    Explanation::new(
        CauseCode::DnsFailed,
        format!(
            "no name server answered for the {record} records of {query}{}: {servers}",
            limit.unwrap_or_default(),
            query = Quoted(query)
        ),
        remedy,
    )
    .fact("query", query.as_str())
    .fact(
        "dns_answer",
        answer.unwrap_or_else(|| "time-out".to_owned()),
    )
    .fact("reason", servers)
    .fact("name_servers", addresses(name_servers))
    .fact_opt("limit_ms", elapsed.map(limit_ms))
    .fact_opt("option", elapsed.map(|elapsed| elapsed.kind.option()))
}

#[cfg(feature = "srv")]
fn conflict(conflict: &SrvConflict) -> String {
    match conflict {
        SrvConflict::Deployment(rule) => rule.to_string(),
        SrvConflict::AuthSource { source, mechanism } => format!(
            "authSource={source} of the TXT record cannot be used with {mechanism}; add authSource=$external to the \
             connection string",
            source = Quoted(source)
        ),
    }
}

#[cfg(feature = "srv")]
fn record_type(record: DnsRecordType) -> &'static str {
    match record {
        DnsRecordType::Srv => "SRV",
        DnsRecordType::Txt => "TXT",
    }
}

#[cfg(feature = "srv")]
fn addresses(servers: &[SocketAddr]) -> Vec<String> {
    servers.iter().map(ToString::to_string).collect()
}
