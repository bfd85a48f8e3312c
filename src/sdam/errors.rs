//! The consequences of an error of an operation or of a check.
//!
//! In: the error or the reply, and the description of the server. Out: an [`ErrorEffects`], which the caller applies under
//! the lock of the topology: first the description ([`TopologyState::update`](super::update::TopologyState::update)),
//! then the pool, then the monitor. Sources: "Server Discovery and Monitoring", "Error handling"; "Server
//! Monitoring", "Network or command error during server check"; "Client Backpressure"; "Load Balancer Support",
//! "Error Handling".

use bson::oid::ObjectId;
use bson::raw::RawDocument;

use super::description::{ServerDescription, TopologyDescription, TopologyType};
use crate::address::ServerAddress;
use crate::conn::StateChange;
use crate::data::hello::{TopologyVersion, WIRE_VERSIONS};
use crate::error::{CommandFailure, Error, ErrorKind};

/// The end of an operation, as far as it concerns its server.
#[derive(Clone, Copy, Debug)]
pub(crate) struct ApplicationError<'a> {
    /// The server of the operation.
    pub(crate) server: &'a ServerAddress,
    /// The error or the reply.
    pub(crate) what: OperationResult<'a>,
    /// True if the pool, or its part for the service, was cleared after the connection was created or its establishment
    /// began.
    pub(crate) is_stale: bool,
    /// The newest wire version of the server, according to the connection's own hello.
    pub(crate) max_wire_version: i32,
    /// The service behind a load balancer, according to the connection's own hello.
    pub(crate) service_id: Option<ObjectId>,
}

/// The result of an operation.
#[derive(Clone, Copy, Debug)]
pub(crate) enum OperationResult<'a> {
    /// The operation failed, while its connection was established or on it.
    Error(&'a Error),
    /// The operation succeeded (`ok: 1`). The reply may contain an error of the write concern.
    Reply(&'a RawDocument),
}

/// The consequences of an error.
#[derive(Clone, Debug, Default, PartialEq)]
pub(crate) struct ErrorEffects {
    /// The new description of the server, or `None` if it does not change.
    pub(crate) description: Option<ServerDescription>,
    /// The effect on connections.
    pub(crate) clear: Clear,
    /// The effect on the monitor.
    pub(crate) check: CheckEffect,
}

/// The effect of an error on the connections of a pool.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) enum Clear {
    /// No effect.
    #[default]
    No,
    /// All connections are stale; those in use may be interrupted.
    Pool {
        /// True if connections in use are interrupted.
        interrupt_in_use_connections: bool,
    },
    /// The connections to one service behind a load balancer are stale.
    Service(ObjectId),
}

/// The effect of an error on the monitor of the server.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) enum CheckEffect {
    /// The monitor continues unchanged.
    #[default]
    AsBefore,
    /// The monitor checks the server immediately, but not earlier than 500 ms after the last check.
    Request,
    /// The monitor cancels the current check, closes its connection and waits for the next check.
    Cancel,
    /// The monitor checks the server again without a pause.
    Retry,
}

impl ErrorEffects {
    /// Returns the consequences of the end of an operation.
    pub(crate) fn of_operation(
        topology: &TopologyDescription,
        error: ApplicationError<'_>,
    ) -> Self {
        let Some(known) = topology.servers.get(error.server) else {
            return Self::default();
        };
        let answer = error.what.answer();
        let version = answer.and_then(TopologyVersion::of_answer);
        if error.is_stale || TopologyVersion::is_no_later(version, known.topology_version) {
            return Self::default();
        }
        let change = answer.and_then(StateChange::read);
        let is_load_balanced = topology.topology_type == TopologyType::LoadBalanced;
        let clear = match error.service_id {
            _ if !is_load_balanced => Clear::Pool {
                interrupt_in_use_connections: false,
            },
            Some(id) => Clear::Service(id),
            // Before the reply to hello the service is unknown.
            None => Clear::No,
        };
        if let Some(change) = change {
            // Servers before MongoDB 4.2 close all connections in this case.
            let is_old = error.max_wire_version < *WIRE_VERSIONS.start();
            let mut description =
                ServerDescription::failed(error.server.clone(), error.what.text());
            description.topology_version = change.topology_version;
            return Self {
                description: (!is_load_balanced).then_some(description),
                clear: match change.is_shutting_down || is_old {
                    true => clear,
                    false => Clear::No,
                },
                check: match is_load_balanced {
                    true => CheckEffect::AsBefore,
                    false => CheckEffect::Request,
                },
            };
        }
        match error.what {
            OperationResult::Error(failure) if makes_server_unknown(failure) => Self {
                description: (!is_load_balanced)
                    .then(|| ServerDescription::failed(error.server.clone(), failure.clone())),
                clear,
                check: match is_load_balanced {
                    true => CheckEffect::AsBefore,
                    false => CheckEffect::Cancel,
                },
            },
            _ => Self::default(),
        }
    }

    /// Returns the consequences of a failed check. `known` is the previous description of the server.
    ///
    /// Overload labels do not count, because they protect a server that answers its monitor. A check that failed
    /// because this host lacks a file descriptor or a thread says nothing about a known server.
    pub(crate) fn of_check(known: &ServerDescription, error: &Error) -> Self {
        if error.is_local_limit() {
            let is_unknown = !known.is_available();
            return Self {
                description: is_unknown
                    .then(|| ServerDescription::failed(known.address.clone(), error.clone())),
                ..Self::default()
            };
        }
        // A connection that violates the protocol is treated like an interrupted one.
        let is_of_network =
            is_network_error(error) || error.is_timeout() || error.kind() == ErrorKind::Protocol;
        Self {
            description: Some(ServerDescription::failed(
                known.address.clone(),
                error.clone(),
            )),
            clear: Clear::Pool {
                interrupt_in_use_connections: error.is_timeout(),
            },
            check: match is_of_network && known.is_available() {
                true => CheckEffect::Retry,
                false => CheckEffect::AsBefore,
            },
        }
    }
}

impl<'a> OperationResult<'a> {
    /// Returns the server's reply, if there is one.
    fn answer(self) -> Option<&'a RawDocument> {
        match self {
            Self::Error(error) => error.command().map(|failure| &*failure.reply),
            Self::Reply(reply) => Some(reply),
        }
    }

    /// Returns the error to store in the description.
    fn text(self) -> Error {
        match self {
            Self::Error(error) => error.clone(),
            Self::Reply(reply) => {
                let failure = reply.get_document("writeConcernError").ok();
                let text = |key| failure.and_then(|failure| failure.get_str(key).ok());
                let code = failure.and_then(|failure| failure.get_i32("code").ok());
                let failure = CommandFailure {
                    code: code.unwrap_or(0),
                    code_name: text("codeName").unwrap_or_default().to_owned(),
                    message: text("errmsg").unwrap_or_default().to_owned(),
                    reply: reply.to_owned(),
                };
                Error::refused(failure, Vec::new())
            }
        }
    }
}

/// Returns true if an error that reports no change of state makes the server unknown.
fn makes_server_unknown(error: &Error) -> bool {
    match () {
        // An earlier error has already been handled.
        () if error.is_pool_cleared() => false,
        // The error does not concern the server.
        () if error.is_local_limit() || error.is_cancelled() => false,
        // An overloaded server keeps its description.
        () if error.has_label("SystemOverloadedError") => false,
        // Authentication is part of the handshake.
        () if error.is_of_establishing() => true,
        // A slow operation may cause a timeout.
        () => is_network_error(error),
    }
}

/// Returns true if the network failed, except for timeouts. TLS errors count, because a server may reject the
/// client's certificate after the handshake.
fn is_network_error(error: &Error) -> bool {
    let of_network = [ErrorKind::Network, ErrorKind::Tls];
    of_network.contains(&error.kind()) && !error.is_pool_cleared()
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use bson::rawdoc;

    use super::*;
    use crate::cause::{Cause, CauseCode};
    use crate::error::Stage;
    use crate::sdam::ServerType;

    const PROCESS: ObjectId = ObjectId::from_bytes([7; 12]);
    const SERVICE: ObjectId = ObjectId::from_bytes([8; 12]);

    fn address() -> ServerAddress {
        ServerAddress::tcp("a", 27017)
    }

    /// Returns a topology of one server, in its state 5.
    fn topology(topology_type: TopologyType) -> TopologyDescription {
        let mut server = ServerDescription::unknown(address());
        server.server_type = ServerType::RsPrimary;
        server.topology_version = TopologyVersion::of_answer(&rawdoc! {
            "topologyVersion": { "processId": PROCESS, "counter": 5 },
        });
        let mut topology = TopologyDescription {
            topology_type,
            ..TopologyDescription::default()
        };
        topology.servers.insert(address(), Arc::new(server));
        topology
    }

    /// Returns a text that describes the consequences for an error of a connection with wire version 21.
    fn outcome(topology_type: TopologyType, what: OperationResult<'_>) -> String {
        let server = address();
        let error = ApplicationError {
            server: &server,
            what,
            is_stale: false,
            max_wire_version: 21,
            service_id: None,
        };
        words(&ErrorEffects::of_operation(&topology(topology_type), error))
    }

    fn words(outcome: &ErrorEffects) -> String {
        let mut words = Vec::new();
        if outcome.description.is_some() {
            words.push("unknown");
        }
        words.push(match outcome.clear {
            Clear::No => "keep",
            Clear::Pool {
                interrupt_in_use_connections: false,
            } => "clear",
            Clear::Pool { .. } => "interrupt",
            Clear::Service(_) => "service",
        });
        words.push(match outcome.check {
            CheckEffect::AsBefore => "as before",
            CheckEffect::Request => "request",
            CheckEffect::Cancel => "cancel",
            CheckEffect::Retry => "retry",
        });
        words.join(", ")
    }

    fn failed(stage: Stage, code: CauseCode) -> Error {
        Error::failed(stage, Cause::simulated(code, "m", "r"))
    }

    fn refused(reply: bson::RawDocumentBuf) -> Error {
        crate::conn::check(&reply).unwrap_err()
    }

    const NOTHING: &str = "keep, as before";

    #[test]
    fn errors_count_by_stage_and_kind() {
        use CauseCode as C;
        let overloaded =
            failed(Stage::Connect, C::ConnectionRefused).with_labels(&["SystemOverloadedError"]);
        for (error, expected) in [
            (
                failed(Stage::Command, C::ConnectionReset),
                "unknown, clear, cancel",
            ),
            (
                failed(Stage::Command, C::ClientCertificateRejected),
                "unknown, clear, cancel",
            ),
            (
                Error::new(ErrorKind::Timeout, "slow").with_stage(Stage::Command),
                NOTHING,
            ),
            (Error::protocol("x").with_stage(Stage::Command), NOTHING),
            (
                failed(Stage::Resolve, C::DnsFailed),
                "unknown, clear, cancel",
            ),
            (
                failed(Stage::Tls, C::CertificateExpired),
                "unknown, clear, cancel",
            ),
            (
                failed(Stage::Authentication, C::AuthenticationFailed),
                "unknown, clear, cancel",
            ),
            (
                failed(Stage::Authentication, C::HandshakeTimeout),
                "unknown, clear, cancel",
            ),
            (overloaded, NOTHING),
            (failed(Stage::Resolve, C::LocalLimit), NOTHING),
            (failed(Stage::Connect, C::LocalLimit), NOTHING),
            (failed(Stage::Authentication, C::LocalLimit), NOTHING),
            (failed(Stage::Command, C::LocalLimit), NOTHING),
            (Error::pool_cleared(None), NOTHING),
            (Error::interrupted().with_stage(Stage::Connect), NOTHING),
            (Error::client_closed(), NOTHING),
            (Error::invalid_argument("x"), NOTHING),
            (
                refused(rawdoc! { "ok": 0, "code": 11000 }).with_stage(Stage::Command),
                NOTHING,
            ),
        ] {
            let what = OperationResult::Error(&error);
            assert_eq!(
                outcome(TopologyType::ReplicaSetWithPrimary, what),
                expected,
                "{error:?}"
            );
            // Without the service, nothing can be cleared behind a load balancer.
            assert_eq!(
                outcome(TopologyType::LoadBalanced, what),
                NOTHING,
                "{error:?}"
            );
        }
    }

    #[test]
    fn state_change_errors_mark_unknown_and_request_a_check() {
        let of = |reply| {
            outcome(
                TopologyType::ReplicaSetWithPrimary,
                OperationResult::Error(&refused(reply)),
            )
        };
        assert_eq!(
            of(rawdoc! { "ok": 0, "code": 10107 }),
            "unknown, keep, request"
        );
        assert_eq!(
            of(rawdoc! { "ok": 0, "code": 91 }),
            "unknown, clear, request"
        );
        assert_eq!(
            of(rawdoc! { "ok": 0, "code": 1, "errmsg": "not master" }),
            NOTHING
        );
        let of_write_concern =
            rawdoc! { "ok": 1, "writeConcernError": { "code": 11600, "errmsg": "x" } };
        let server = address();
        let error = ApplicationError {
            server: &server,
            what: OperationResult::Reply(&of_write_concern),
            is_stale: false,
            max_wire_version: 21,
            service_id: None,
        };
        let outcome = ErrorEffects::of_operation(&topology(TopologyType::Sharded), error);
        assert_eq!(words(&outcome), "unknown, clear, request");
        let text = outcome.description.unwrap().error.unwrap().to_string();
        assert_eq!(text, "the server answered with error 11600: x");
        // Connections of old servers do not survive this error.
        let old = refused(rawdoc! { "ok": 0, "code": 10107 });
        let error = ApplicationError {
            what: OperationResult::Error(&old),
            max_wire_version: 7,
            ..error
        };
        let outcome = ErrorEffects::of_operation(&topology(TopologyType::Sharded), error);
        assert_eq!(words(&outcome), "unknown, clear, request");
    }

    #[test]
    fn outdated_errors_change_nothing() {
        let of = |process: ObjectId, counter: i64, is_stale| {
            let reply = rawdoc! {
                "ok": 0, "code": 10107, "topologyVersion": { "processId": process, "counter": counter },
            };
            let (server, error) = (address(), refused(reply));
            let error = ApplicationError {
                server: &server,
                what: OperationResult::Error(&error),
                is_stale,
                max_wire_version: 21,
                service_id: None,
            };
            words(&ErrorEffects::of_operation(
                &topology(TopologyType::ReplicaSetWithPrimary),
                error,
            ))
        };
        assert_eq!(of(PROCESS, 6, false), "unknown, keep, request");
        assert_eq!(of(PROCESS, 5, false), NOTHING);
        assert_eq!(of(PROCESS, 4, false), NOTHING);
        assert_eq!(of(SERVICE, 1, false), "unknown, keep, request");
        assert_eq!(of(PROCESS, 6, true), NOTHING);
    }

    #[test]
    fn behind_a_load_balancer_only_the_service_is_cleared() {
        let of = |error: Error| {
            let server = address();
            let error = ApplicationError {
                server: &server,
                what: OperationResult::Error(&error),
                is_stale: false,
                max_wire_version: 21,
                service_id: Some(SERVICE),
            };
            words(&ErrorEffects::of_operation(
                &topology(TopologyType::LoadBalanced),
                error,
            ))
        };
        assert_eq!(
            of(failed(Stage::Command, CauseCode::ConnectionReset)),
            "service, as before"
        );
        assert_eq!(
            of(failed(
                Stage::Authentication,
                CauseCode::AuthenticationFailed
            )),
            "service, as before"
        );
        assert_eq!(
            of(refused(rawdoc! { "ok": 0, "code": 91 })),
            "service, as before"
        );
        assert_eq!(of(refused(rawdoc! { "ok": 0, "code": 10107 })), NOTHING);
    }

    #[test]
    fn a_failed_check_clears_the_pool_and_may_be_retried() {
        let known = topology(TopologyType::Single).servers[&address()].clone();
        let unknown = ServerDescription::unknown(address());
        let reset = failed(Stage::Command, CauseCode::ConnectionReset);
        let slow = failed(Stage::Connect, CauseCode::ConnectTimeout)
            .with_labels(&["SystemOverloadedError"]);
        let not_ok = refused(rawdoc! { "ok": 0 });
        let odd = failed(Stage::Hello, CauseCode::NotMongodb);
        let own = failed(Stage::Connect, CauseCode::LocalLimit);
        for (known, error, expected) in [
            (&*known, &reset, "unknown, clear, retry"),
            (&unknown, &reset, "unknown, clear, as before"),
            (&*known, &slow, "unknown, interrupt, retry"),
            (&*known, &not_ok, "unknown, clear, as before"),
            (&*known, &odd, "unknown, clear, retry"),
            (&*known, &own, NOTHING),
            (&unknown, &own, "unknown, keep, as before"),
        ] {
            assert_eq!(
                words(&ErrorEffects::of_check(known, error)),
                expected,
                "{error:?}"
            );
        }
    }
}
