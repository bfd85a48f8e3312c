//! The error of an operation for which there is no server: one readable block with the state of each server.
//!
//! ```text
//! no server for a write within 30 s (serverSelectionTimeoutMS): replica set "rs0" without a known primary
//!   db1.example.com:27017  RSSecondary
//!   db2.example.com:27017  Unknown: TLS handshake failed: certificate "db2" expired at … [certificate-expired]
//!       remedy: Renew …
//!   db9.example.com:27017  left out: the server belongs to … [hello-failed]
//!       remedy: Correct …
//! ```
//!
//! Its cause is the most useful one of a server: a cause that waiting cannot fix comes first.

use std::fmt::Write as _;
use std::sync::Arc;

use super::description::{ServerDescription, ServerType, TopologyDescription, TopologyType};
use super::selection::ServerRequirement;
use crate::cause::Cause;
use crate::error::{Error, ErrorKind, Milliseconds, WithoutServer};
use crate::printable::{Printable, Quoted};
use crate::reason::sdam::SdamFailure;
use crate::time::Elapsed;

/// The reason why a thread stopped waiting for a server.
#[derive(Clone, Copy, Debug)]
pub(super) enum WaitEnd {
    /// The time limit has passed.
    TimedOut(Elapsed),
    /// Waiting cannot help.
    Hopeless,
}

/// Creates the error; see the [module documentation](self).
pub(super) fn error(
    topology: &TopologyDescription,
    removal_errors: &[Error],
    requirement: ServerRequirement<'_>,
    end: WaitEnd,
) -> Error {
    let topology = &with_reasons(topology);
    let known = || topology.servers.values().filter_map(|it| it.error.as_ref());
    let unsuitable = topology.suitable(requirement, &[]).err();
    let telling = unsuitable
        .as_ref()
        .or_else(|| known().find(|error| error.is_permanent()))
        .or_else(|| known().find(|error| error.cause().is_some()))
        .or_else(|| removal_errors.last());
    let kind = match (end, telling) {
        (WaitEnd::TimedOut(_), _) => ErrorKind::Timeout,
        (WaitEnd::Hopeless, Some(error)) if topology.servers.len() + removal_errors.len() == 1 => {
            // The error of the only server needs no addition.
            return error.without_labels();
        }
        (WaitEnd::Hopeless, Some(error)) => error.kind(),
        (WaitEnd::Hopeless, None) => ErrorKind::Configuration,
    };
    let mut text = format!("no server for {requirement}");
    if let WaitEnd::TimedOut(elapsed) = end {
        let limit = Milliseconds(elapsed.limit);
        let _ = write!(text, " within {limit} ({})", elapsed.kind.option());
    }
    let why = match unsuitable.as_ref().and_then(Error::cause) {
        Some(cause) => cause.message().to_owned(),
        None => state(topology),
    };
    let _ = write!(text, ": {why}");
    let addresses = topology
        .servers
        .keys()
        .chain(removal_errors.iter().filter_map(Error::server));
    let width = addresses.map(|it| it.to_string().len()).max().unwrap_or(0);
    for (address, server) in topology.servers.iter().take(MOST_SHOWN) {
        let _ = write!(
            text,
            "\n  {:width$}  {}",
            address.to_string(),
            server.server_type
        );
        describe(&mut text, server);
    }
    let hidden = topology.servers.len().saturating_sub(MOST_SHOWN);
    if hidden > 0 {
        let _ = write!(text, "\n  and {hidden} more");
    }
    for error in removal_errors {
        let address = error.server().map(ToString::to_string).unwrap_or_default();
        let why = error.cause().map_or("", Cause::message);
        let _ = write!(text, "\n  {address:width$}  left out: {why}");
        add_remedy(&mut text, error);
    }
    Error::no_server(kind, text, telling)
}

/// Returns the topology with an error for each server that answers but can never be selected.
fn with_reasons(topology: &TopologyDescription) -> TopologyDescription {
    let mut topology = topology.clone();
    for server in topology.servers.values_mut() {
        if server.server_type == ServerType::RsGhost && server.error.is_none() {
            let error = Error::explained(ErrorKind::Command, SdamFailure::Ghost);
            Arc::make_mut(server).error = Some(error.with_server(&server.address));
        }
    }
    topology
}

/// Describes the problem of the topology as a whole.
fn state(topology: &TopologyDescription) -> String {
    let set = match &topology.set_name {
        Some(name) => format!("replica set {}", Quoted(name)),
        None => "replica set".to_owned(),
    };
    match topology.topology_type {
        _ if topology.servers.is_empty() => "no server is left of the deployment".to_owned(),
        TopologyType::ReplicaSetNoPrimary => format!("{set} without a known primary"),
        TopologyType::ReplicaSetWithPrimary => {
            format!("{set} has a primary, and no member that is asked for")
        }
        TopologyType::Sharded => "no router of the sharded cluster is there".to_owned(),
        TopologyType::Single | TopologyType::LoadBalanced => "the server is not there".to_owned(),
        TopologyType::Unknown if topology.servers.values().any(|it| it.is_available()) => {
            "no server that has answered can be used".to_owned()
        }
        TopologyType::Unknown => "no server has answered".to_owned(),
    }
}

fn describe(text: &mut String, server: &ServerDescription) {
    let tags: Vec<String> = server
        .tags
        .iter()
        .map(|(key, value)| format!("{key}:{value}"))
        .collect();
    if !tags.is_empty() {
        let _ = write!(text, ", tags {}", Printable(tags.join(",")));
    }
    match &server.error {
        Some(error) => {
            let _ = write!(text, ": {}", WithoutServer(error));
            add_remedy(text, error);
        }
        None if server.server_type == ServerType::Unknown => text.push_str(": not checked yet"),
        None => {}
    }
}

/// Appends the code and the remedy of the cause, if there is one.
fn add_remedy(text: &mut String, error: &Error) {
    if let Some(cause) = error.cause() {
        let _ = write!(
            text,
            " [{}]\n      remedy: {}",
            cause.code(),
            cause.remedy()
        );
    }
}

/// The maximum number of servers that are shown.
const MOST_SHOWN: usize = 50;

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;
    use crate::address::ServerAddress;
    use crate::cause::CauseCode;
    use crate::error::Stage;
    use crate::options::ReadPreference;
    use crate::time::TimeoutKind;

    fn address(name: &str) -> ServerAddress {
        ServerAddress::tcp(name, 27017)
    }

    fn topology(
        topology_type: TopologyType,
        servers: Vec<ServerDescription>,
    ) -> TopologyDescription {
        let servers = servers.into_iter();
        TopologyDescription {
            topology_type,
            set_name: Some("rs0".to_owned()),
            servers: servers
                .map(|server| (server.address.clone(), Arc::new(server)))
                .collect(),
            ..TopologyDescription::default()
        }
    }

    fn failed(name: &str, stage: Stage, code: CauseCode) -> ServerDescription {
        let cause = Cause::simulated(code, "it did not work", "Do this.");
        let error = Error::failed(stage, cause).with_server(&address(name));
        ServerDescription::failed(address(name), error)
    }

    fn late() -> WaitEnd {
        WaitEnd::TimedOut(Elapsed {
            limit: Duration::from_secs(30),
            kind: TimeoutKind::ServerSelection,
        })
    }

    #[test]
    fn a_selection_timeout_describes_each_server() {
        let mut secondary = ServerDescription::unknown(address("c"));
        secondary.server_type = ServerType::RsSecondary;
        secondary.tags.insert("dc".to_owned(), "east".to_owned());
        let topology = topology(
            TopologyType::ReplicaSetNoPrimary,
            vec![
                failed("a", Stage::Connect, CauseCode::ConnectionRefused),
                failed("long-name", Stage::Tls, CauseCode::CertificateExpired),
                secondary,
                ServerDescription::unknown(address("d")),
            ],
        );
        let removed = failed("e", Stage::Hello, CauseCode::HelloFailed).error;
        let left = [removed.unwrap()];
        let error = error(&topology, &left, ServerRequirement::Write, late());
        assert_eq!(
            error.to_string(),
            "no server for a write within 30 s (serverSelectionTimeoutMS): replica set \"rs0\" without a known primary
  a:27017          Unknown: connecting failed: it did not work [connection-refused]
      remedy: Do this.
  c:27017          RSSecondary, tags dc:east
  d:27017          Unknown: not checked yet
  long-name:27017  Unknown: TLS handshake failed: it did not work [certificate-expired]
      remedy: Do this.
  e:27017          left out: it did not work [hello-failed]
      remedy: Do this."
        );
        assert_eq!(error.kind(), ErrorKind::Timeout);
        // Waiting cannot fix a certificate; a server that is down may start.
        let cause = error.cause().unwrap();
        assert_eq!(cause.code(), CauseCode::CertificateExpired);
        assert_eq!(
            cause.facts().get("server").map(ToString::to_string),
            Some("long-name:27017".to_owned())
        );
    }

    #[test]
    fn the_error_of_a_single_failing_server_is_returned() {
        let server = failed("a", Stage::Tls, CauseCode::CertificateExpired);
        let own = server.error.clone().unwrap();
        let one = topology(TopologyType::Unknown, vec![server]);
        let read = ReadPreference::default();
        let shown = error(&one, &[], ServerRequirement::Read(&read), WaitEnd::Hopeless);
        assert_eq!(shown.to_string(), own.to_string());
        assert_eq!((shown.kind(), shown.stage()), (own.kind(), own.stage()));
        let two = topology(
            TopologyType::Unknown,
            vec![
                failed("a", Stage::Tls, CauseCode::CertificateExpired),
                failed("b", Stage::Tls, CauseCode::HostnameMismatch),
            ],
        );
        let shown = error(&two, &[], ServerRequirement::Write, WaitEnd::Hopeless);
        assert!(
            shown
                .to_string()
                .starts_with("no server for a write: no server has answered\n")
        );
        assert_eq!(shown.kind(), ErrorKind::Tls);
    }

    #[test]
    fn a_ghost_is_explained_with_a_remedy() {
        let mut ghost = ServerDescription::unknown(address("a"));
        ghost.server_type = ServerType::RsGhost;
        let one = topology(TopologyType::Unknown, vec![ghost]);
        let error = error(&one, &[], ServerRequirement::Write, late());
        assert_eq!(
            error.to_string(),
            "no server for a write within 30 s (serverSelectionTimeoutMS): no server that has answered can be used
  a:27017  RSGhost: it was started with --replSet and knows no replica set, or it is still starting [hello-failed]
      remedy: For a new replica set run rs.initiate() once, on one member; add a member to one that is there with \
            rs.add() on its primary."
        );
        assert_eq!(error.cause().unwrap().code(), CauseCode::HelloFailed);
    }

    #[test]
    fn no_error_has_the_labels_of_the_last_dial() {
        let mut server = failed("a", Stage::Tls, CauseCode::ClientCertificateRequired);
        let labels = ["SystemOverloadedError", "RetryableError"];
        server.error = server.error.map(|error| error.with_labels(&labels));
        let one = topology(TopologyType::Unknown, vec![server]);
        for end in [late(), WaitEnd::Hopeless] {
            let error = error(&one, &[], ServerRequirement::Write, end);
            assert_eq!(error.labels(), [""; 0]);
            assert_eq!(
                error.cause().unwrap().code(),
                CauseCode::ClientCertificateRequired
            );
        }
    }

    #[test]
    fn many_servers_are_not_all_shown() {
        let servers = (0..60).map(|n| ServerDescription::unknown(address(&format!("s{n}"))));
        let topology = topology(TopologyType::Sharded, servers.collect());
        let text = error(&topology, &[], ServerRequirement::Write, late()).to_string();
        assert_eq!(text.lines().count(), 52);
        assert!(text.ends_with("and 10 more"), "{text}");
    }
}
