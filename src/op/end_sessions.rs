//! `endSessions`: the client closes, and the servers can forget its sessions ("Driver Sessions", "endSessions").

use std::time::{Duration, Instant};

use super::{Deployment, Operation, OperationSession, TimeLimit, execute};
use crate::event::OperationId;
use crate::logging::debug;
use crate::options::{ReadPreference, ReadPreferenceMode};
use crate::wire::request::{EncodeCommand, Fields};

/// Ends the sessions that are in the pool, on the primary or else a secondary. Does nothing if no server is known.
///
/// Takes at most [`LIMIT`]. A failure is not an error: a server discards the sessions itself later.
pub(crate) fn run(deployment: Deployment<'_>) {
    let started = Instant::now();
    let ids = deployment.sessions.drain();
    let preference = ReadPreference {
        mode: ReadPreferenceMode::PrimaryPreferred,
        ..ReadPreference::default()
    };
    let id = OperationId::default();
    for ids in ids.chunks(MOST_AT_ONCE) {
        let remaining = LIMIT.saturating_sub(started.elapsed());
        if remaining.is_zero() {
            return;
        }
        let command = EndSessions(ids);
        let operation = Operation {
            limit: TimeLimit::Internal(remaining),
            is_cleanup: true,
            read_preference: Some(&preference),
            session: OperationSession::Omitted,
            ..Operation::new("admin", &command, &id)
        };
        if let Err(error) = execute::run_on_known_server(deployment, &operation) {
            debug!(target: "mongotls::command", "sessions may stay open on the server: {error}");
            return;
        }
    }
}

/// The longest time for all messages together: 1 s.
const LIMIT: Duration = Duration::from_secs(1);

/// The maximum number of sessions in one message.
const MOST_AT_ONCE: usize = 10_000;

/// The command, with the UUIDs of the sessions.
struct EndSessions<'a>(&'a [[u8; 16]]);

impl EncodeCommand for EndSessions<'_> {
    fn name(&self) -> &str {
        "endSessions"
    }

    fn encode(&self, fields: &mut Fields<'_>) {
        fields.session_ids(self.name(), self.0);
    }
}
