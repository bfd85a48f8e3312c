//! Words for servers and deployments that monitoring and discovery found unfit.

use super::hello::{update, with_versions};
use crate::address::ServerAddress;
use crate::cause::{Cause, CauseCode, Explanation, FactValue};
use crate::error::Milliseconds;
use crate::printable::Quoted;
use crate::reason::Reason;
use crate::reason::hello::{HelloFailure, WireVersionGap};
use crate::reason::sdam::{AttemptStep, ForeignServer, SdamFailure, UnfinishedAttempt};

pub(super) fn explain(reason: &SdamFailure) -> Explanation {
    match reason {
        SdamFailure::Incompatible { server, gap } => {
            let explanation = Explanation::new(
                CauseCode::HelloFailed,
                compatibility_error(server, gap),
                update(gap),
            );
            with_versions(explanation, gap)
        }
        SdamFailure::Foreign(foreign) => self::foreign(foreign),
        SdamFailure::Ghost => Explanation::new(
            CauseCode::HelloFailed,
            "it was started with --replSet and knows no replica set, or it is still starting",
            "For a new replica set run rs.initiate() once, on one member; add a member to one that is there with \
             rs.add() on its primary.",
        ),
        SdamFailure::UnfinishedAttempt(attempt) => unfinished(attempt),
        SdamFailure::CheckTimeout(timeout) => Explanation::new(
            CauseCode::HandshakeTimeout,
            format!(
                "a check of the server took longer than {} ({})",
                Milliseconds(timeout.limit),
                timeout.kind.option()
            ),
            "See whether the server is overloaded, and whether a firewall drops what passes on a connection \
                       that was idle; on a slow network raise connectTimeoutMS.",
        ),
        SdamFailure::Finding {
            code,
            message,
            remedy,
            servers,
        } => {
            let servers = servers.iter().map(ToString::to_string).collect();
            Explanation::new(CauseCode::HelloFailed, message, remedy)
                .fact("finding", *code)
                .fact("servers", FactValue::List(servers))
        }
    }
}

/// Says that this client speaks no wire version of `server` ("Checking wire protocol compatibility").
pub(crate) fn compatibility_error(server: &ServerAddress, gap: &WireVersionGap) -> String {
    match gap.is_client_too_old() {
        true => format!(
            "server at {server} requires wire version {}, but this version of mongotls only supports up to {}",
            gap.min,
            gap.supported.end()
        ),
        false => format!(
            "server at {server} reports wire version {}, but this version of mongotls requires at least {} \
             (MongoDB 4.2)",
            gap.max,
            gap.supported.start()
        ),
    }
}

fn foreign(foreign: &ForeignServer) -> Explanation {
    let (message, remedy) = match foreign {
        ForeignServer::Standalone => (
            "the server stands on its own, and is one of several hosts".to_owned(),
            "Name the members of one replica set or the routers of one sharded cluster, or this server alone.",
        ),
        ForeignServer::Router => (
            "the server is a router of a sharded cluster, and no member of a replica set"
                .to_owned(),
            "Remove replicaSet from the connection string, or name the members of that set.",
        ),
        ForeignServer::Member => (
            "the server is a member of a replica set, and no router of the sharded cluster"
                .to_owned(),
            "Name the routers of the cluster alone.",
        ),
        ForeignServer::OtherAddress { me } => (
            format!("its replica set knows the server as {me}, and names its members so"),
            "Name the server in the connection string as the configuration of the set does, or change the \
             configuration (rs.reconfig); for this one server alone, add directConnection=true.",
        ),
        ForeignServer::NotListed => (
            "the server is not among the members that the primary names".to_owned(),
            "Add the member to the configuration of the set (rs.add), or take it out of the connection string.",
        ),
    };
    Explanation::new(CauseCode::HelloFailed, message, remedy)
}

fn unfinished(attempt: &UnfinishedAttempt) -> Explanation {
    let server = &attempt.server;
    let (code, what, remedy) = match attempt.step {
        AttemptStep::Resolve => (
            CauseCode::DnsFailed,
            format!("the resolver has not answered for {:?}", server.host()),
            "Check the name servers in /etc/resolv.conf and the way to them; then raise",
        ),
        AttemptStep::Connect => {
            let addresses: Vec<_> = attempt.addresses.iter().map(ToString::to_string).collect();
            let places = match addresses.is_empty() {
                true => server.to_string(),
                false => addresses.join(", "),
            };
            (
                CauseCode::ConnectTimeout,
                format!("there is no TCP connection to {places}"),
                "Check host and port, and that no firewall drops the packets; then raise",
            )
        }
        AttemptStep::Tls => (
            CauseCode::HandshakeTimeout,
            "the TLS handshake has not ended".to_owned(),
            "Check that the port speaks TLS, and that the server is not overloaded; then raise",
        ),
        AttemptStep::Hello => (
            CauseCode::HandshakeTimeout,
            "the server has not answered hello".to_owned(),
            "Check that the port speaks TLS if and only if tls is on, and that the server is not overloaded; then raise",
        ),
    };
    let until = match attempt.connect_timeout {
        Some(limit) => format!(
            "so far; the attempt may take {} (connectTimeoutMS)",
            Milliseconds(limit)
        ),
        None => "so far; connectTimeoutMS sets no limit".to_owned(),
    };
    let option = attempt.timeout.kind.option();
    Explanation::new(
        code,
        format!("{what} {until}"),
        format!("{remedy} {option}."),
    )
}

/// Adds the hosts that advertise `server`, which cannot be used, and what to do about its name if that is the reason.
pub(crate) fn advertised(cause: Cause, server: &ServerAddress, by: &[ServerAddress]) -> Cause {
    let remedy = advertised_remedy(&cause, server);
    let by = by.iter().map(ToString::to_string).collect();
    cause.reworded(|it| {
        let it = match remedy {
            Some(remedy) => it.with_remedy(remedy),
            None => it,
        };
        it.fact("advertised_by", FactValue::List(by))
    })
}

/// Says what to do about a host of the replica set's configuration, if it fails because of its name or address.
pub(crate) fn advertised_remedy(cause: &Cause, server: &ServerAddress) -> Option<String> {
    use CauseCode as C;
    let host = server.host();
    match cause.code() {
        C::HelloFailed
            if matches!(cause.reason(), Reason::Hello(HelloFailure::WrongSet { .. })) =>
        {
            Some(format!(
                "The replica set's configuration has the host {server}, and what answers there is none of its members: start it \
             with the --replSet of the others, let the name lead to the member, or remove it (rs.remove())."
            ))
        }
        C::DnsNotFound | C::DnsFailed => Some(format!(
            "The replica set's configuration has the name {host}, so each client must resolve it: add it to DNS or to \
             /etc/hosts here, or change the host of the member (rs.reconfig()) to a name that members and clients resolve.",
            host = Quoted(&host)
        )),
        C::ConnectionRefused | C::NetworkUnreachable | C::ConnectTimeout => Some(format!(
            "The replica set's configuration has the address {server}, so each client must reach it: start the member, \
             open the way to it, or change its host (rs.reconfig()) to an address that members and clients reach."
        )),
        C::HostnameMismatch | C::IpAddressMismatch | C::NoSubjectAltName => Some(format!(
            "The replica set's configuration has the host {host}, so the member's certificate must name it: issue one \
             with {host} in its subject alternative names, or change the host of the member (rs.reconfig()) to a name \
             that the certificate has.",
            host = Quoted(&host)
        )),
        _ => None,
    }
}
