//! Words for servers that cannot be used: their answer to hello, and the exchange of messages with them.

use std::io;

use super::limit::local_limit;
use super::revocation::with_responder;
use super::tls::{SILENT_NETWORK, TURN_TLS_ON};
use super::wording::{limit_ms, within};
use crate::cause::{Cause, CauseCode, Explanation};
use crate::printable::Quoted;
use crate::reason::hello::{
    ExchangeFailure, FirstCommandProblem, HandshakeStep, HelloFailure, ReplyViolation,
    WireVersionGap,
};
use crate::reason::io::OsError;
use crate::server_code::{API_VERSION_ERROR, COMMAND_NOT_FOUND};
use crate::sniff;
use crate::time::Elapsed;

pub(super) fn explain(reason: &HelloFailure) -> Explanation {
    match reason {
        HelloFailure::WireVersion(gap) => with_versions(wire_version(gap), gap),
        HelloFailure::NoService => Explanation::new(
            CauseCode::HelloFailed,
            // The specification has this text.
            "Driver attempted to initialize in load balancing mode, but the server does not support this mode",
            "Remove loadBalanced=true unless the host is a load balancer in front of mongos.",
        ),
        HelloFailure::WrongSet { found, wanted } => wrong_set(found.as_deref(), wanted),
        HelloFailure::Refused { text, code } => Explanation::new(
            CauseCode::HelloFailed,
            format!("the server refused hello: {text}"),
            refused(*code),
        )
        .fact_opt("server_code", code.map(i64::from)),
        HelloFailure::RequiresTls(error) => {
            let how = error
                .as_ref()
                .map_or("it answered in TLS", |error| &error.text);
            Explanation::new(
                CauseCode::ServerRequiresTls,
                format!("TLS is off and the server does not answer in the clear: {how}"),
                "Add tls=true to the connection string; a server that requires TLS closes other connections without a word. \
                 A server older than MongoDB 3.6 does so too, because it does not know OP_MSG.",
            )
        }
        HelloFailure::SpeaksWithoutTls => Explanation::new(
            CauseCode::ServerNotTls,
            "the server does not speak TLS: it left the ClientHello unanswered, and answers in the clear as MongoDB does",
            TURN_TLS_ON,
        )
        .fact("looks_like", sniff::MONGODB_IN_THE_CLEAR),
        HelloFailure::WithoutOpMsg => Explanation::new(
            CauseCode::HelloFailed,
            "the server answered hello in the protocol of servers older than MongoDB 3.6, which do not know OP_MSG",
            UPDATE_SERVER,
        ),
        HelloFailure::NotMongodb(violation) => not_mongodb(violation),
        HelloFailure::MetadataTooLong { limit } => Explanation::new(
            CauseCode::OptionConflict,
            metadata_too_long(*limit),
            format!(
                "Shorten what driver_info says: all of it must fit into {limit} bytes with the rest."
            ),
        ),
    }
}

/// The remedy for a server that answered hello with this error.
fn refused(code: Option<i32>) -> &'static str {
    match code {
        Some(COMMAND_NOT_FOUND) => {
            "Update the server: the Stable API (server_api) and loadBalanced=true need the command hello, which MongoDB \
             4.4.2 and later know."
        }
        Some(API_VERSION_ERROR) => {
            "Declare a version of the Stable API that the server knows (server_api), or update the server."
        }
        _ => "Look at the server's log for this connection.",
    }
}

/// Says that the names of libraries do not fit into hello.
pub(crate) fn metadata_too_long(limit: usize) -> String {
    format!("the metadata about this client does not fit into {limit} bytes, even shortened")
}

/// Adds why TLS is on if the connection string need not say so.
pub(crate) fn with_srv(cause: Cause) -> Cause {
    cause.reworded(|it| {
        let message = format!("{}; mongodb+srv turns TLS on by itself", it.message());
        it.with_message(message)
    })
}

/// Adds the wire versions of the server as facts.
pub(super) fn with_versions(explanation: Explanation, gap: &WireVersionGap) -> Explanation {
    explanation
        .fact("min_wire_version", i64::from(gap.min))
        .fact("max_wire_version", i64::from(gap.max))
}

fn wire_version(gap: &WireVersionGap) -> Explanation {
    let message = match gap.is_client_too_old() {
        true => format!(
            "the server needs wire version {}, and this client speaks {} at most",
            gap.min,
            gap.supported.end()
        ),
        false => format!(
            "the server's wire version {} is too old: at least {} (MongoDB 4.2) is needed",
            gap.max,
            gap.supported.start()
        ),
    };
    Explanation::new(CauseCode::HelloFailed, message, update(gap))
}

/// The remedy for a gap between wire versions.
pub(super) fn update(gap: &WireVersionGap) -> &'static str {
    match gap.is_client_too_old() {
        true => "Update mongotls to a release that knows this server.",
        false => UPDATE_SERVER,
    }
}

const UPDATE_SERVER: &str = "Update the server to MongoDB 4.2 or later.";

fn wrong_set(found: Option<&str>, wanted: &str) -> Explanation {
    let set = found.map_or("no replica set".to_owned(), |name| {
        format!("the replica set {}", Quoted(name))
    });
    Explanation::new(
        CauseCode::HelloFailed,
        format!("the server belongs to {set}, not to {}", Quoted(wanted)),
        "Correct replicaSet in the connection string, or connect to a member of that set.",
    )
    .fact("expected_set", wanted)
    .fact_opt("found_set", found)
}

fn not_mongodb(violation: &ReplyViolation) -> Explanation {
    let looks_like = sniff::looks_like(&violation.first_bytes);
    let explanation = Explanation::new(
        CauseCode::NotMongodb,
        format!(
            "what answers is not a MongoDB server: {}; its answer looks like {looks_like}",
            violation.rule
        ),
        "Check host and port: something other than MongoDB answers there.",
    );
    with_first_bytes(explanation, &violation.first_bytes)
}

fn with_first_bytes(explanation: Explanation, first_bytes: &[u8]) -> Explanation {
    explanation
        .fact("looks_like", sniff::looks_like(first_bytes))
        .fact("first_bytes", first_bytes.escape_ascii().to_string())
}

pub(super) fn explain_exchange(reason: &ExchangeFailure) -> Explanation {
    match reason {
        ExchangeFailure::HandshakeTimeout {
            step,
            timeout,
            waited,
        } => {
            let explanation = handshake_timeout(*step, *timeout);
            match waited {
                Some(waited) => with_responder(explanation, waited),
                None => explanation,
            }
        }
        ExchangeFailure::Lost { error, has_begun } => lost(error, *has_begun),
        ExchangeFailure::Violation(violation) => protocol_broken(violation),
        ExchangeFailure::FirstCommand { problem, text } => first_command(*problem, text),
    }
}

fn handshake_timeout(step: HandshakeStep, timeout: Elapsed) -> Explanation {
    const CHECK_TLS: &str = "Check that the port speaks TLS if and only if tls is on, and that the server is not overloaded";
    const CHECK_LOAD: &str =
        "TLS works: see whether the server, or the server behind a proxy, is overloaded or stopped";
    let (what, check, received) = match step {
        // Peers that do not speak TLS were detected earlier: a peer that has answered has begun to speak TLS.
        HandshakeStep::Tls { received } => {
            let check = match received {
                Some(0) => CHECK_TLS,
                _ => CHECK_LOAD,
            };
            ("the TLS handshake", check, received)
        }
        HandshakeStep::Hello { is_tls: true } => ("the MongoDB handshake", CHECK_LOAD, None),
        HandshakeStep::Hello { is_tls: false } => ("the MongoDB handshake", CHECK_TLS, None),
        HandshakeStep::Authentication => (
            "the authentication",
            "Check that neither the server nor the service that it uses to check users is overloaded",
            None,
        ),
    };
    let option = timeout.kind.option();
    Explanation::new(
        CauseCode::HandshakeTimeout,
        format!("{what} did not end {}", within(timeout)),
        format!("{check}; then raise {option}."),
    )
    .fact("limit_ms", limit_ms(timeout))
    .fact("option", option)
    .fact_opt(
        "received_bytes",
        received.map(|received| i64::try_from(received).unwrap_or(i64::MAX)),
    )
}

fn lost(error: &OsError, has_begun: bool) -> Explanation {
    let moment = match has_begun {
        true => "in the middle of its reply",
        false => "before it replied",
    };
    if let Some(reached) = &error.limit {
        let what = format!("the connection to the server failed {moment}");
        return local_limit(&what, reached);
    }
    let text = &error.text;
    if error.is_unreachable() {
        return Explanation::new(
            CauseCode::NetworkUnreachable,
            format!("the connection to the server was lost {moment}: {text}"),
            SILENT_NETWORK,
        )
        .fact("begun", has_begun);
    }
    let (code, how) = match error.kind {
        io::ErrorKind::ConnectionReset
        | io::ErrorKind::BrokenPipe
        | io::ErrorKind::ConnectionAborted => (CauseCode::ConnectionReset, "reset"),
        _ => (CauseCode::ConnectionClosed, "closed"),
    };
    let message = match error.kind {
        // The kernel gave the connection up: the server did not reset it.
        io::ErrorKind::ConnectionAborted => {
            format!("the connection to the server was lost {moment}: {text}")
        }
        _ => format!("the server {how} the connection {moment}"),
    };
    Explanation::new(
        code,
        message,
        "Look at the server's log for this instant, and for a firewall or a proxy that cuts connections.",
    )
    .fact("begun", has_begun)
}

fn protocol_broken(violation: &ReplyViolation) -> Explanation {
    let looks_like = sniff::looks_like(&violation.first_bytes);
    let mut message = format!("the server broke the MongoDB protocol: {}", violation.rule);
    if looks_like != sniff::MONGODB_IN_THE_CLEAR {
        message += &format!("; its answer looks like {looks_like}");
    }
    let explanation = Explanation::new(
        CauseCode::ProtocolError,
        message,
        "Look at the logs of the server, and of any proxy or load balancer in front of it, for this instant: one of them \
         sent what does not belong to this connection. If it happens again, connect without the proxy, or update the \
         server.",
    );
    with_first_bytes(explanation, &violation.first_bytes)
}

fn first_command(problem: FirstCommandProblem, text: &str) -> Explanation {
    let code = match problem {
        FirstCommandProblem::Timeout => CauseCode::HandshakeTimeout,
        FirstCommandProblem::Unauthorized => CauseCode::AuthenticationFailed,
        FirstCommandProblem::Refused => CauseCode::HelloFailed,
        FirstCommandProblem::Other => CauseCode::ProtocolError,
    };
    let remedy = match problem {
        FirstCommandProblem::Unauthorized => {
            "Name a user in the connection string, or give the user a role that may run this command; the connection \
             itself is sound."
        }
        _ => "Look at the server's log for this command; the connection itself is sound.",
    };
    Explanation::new(code, text, remedy)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_connection_that_the_network_gave_up_is_lost_and_not_late() {
        let error = io::Error::new(io::ErrorKind::HostUnreachable, "no acknowledgement");
        for (has_begun, when) in [
            (false, "before it replied"),
            (true, "in the middle of its reply"),
        ] {
            let error = OsError::from(&error);
            let cause = Cause::from(ExchangeFailure::Lost { error, has_begun });
            assert_eq!(cause.code(), CauseCode::NetworkUnreachable);
            assert_eq!(
                cause.message(),
                format!("the connection to the server was lost {when}: no acknowledgement")
            );
            assert_eq!(
                cause.remedy(),
                "Check that the server's host is up, and look for a firewall, a NAT gateway or a VPN that drops packets without an answer; socketTimeoutMS limits how long a command waits."
            );
        }
    }
}
