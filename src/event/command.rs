//! Events of commands.
//!
//! Source: "Command Logging and Monitoring". Each start of a command is followed by a success or a failure with the
//! same request id. Events of commands that carry secrets contain no documents.

use std::time::Duration;

use bson::RawDocumentBuf;
use bson::oid::ObjectId;

use crate::address::ServerAddress;
use crate::data::timing::Timing;
use crate::error::Error;

/// The progress of a command. Each command that starts also succeeds or fails, with the same request id.
#[derive(Clone, Debug)]
#[non_exhaustive]
pub enum CommandEvent {
    /// A command is about to be sent.
    Started(CommandStartedEvent),
    /// The server ran a command (`ok: 1`).
    Succeeded(CommandSucceededEvent),
    /// A command failed: the server rejected it, or the connection failed.
    Failed(CommandFailedEvent),
}

/// The fields that all events of one command have in common.
#[derive(Clone, Debug, PartialEq)]
#[non_exhaustive]
pub struct CommandInfo {
    /// The command's name, such as `find`.
    pub command_name: String,
    /// The database that the command runs on.
    pub database_name: String,
    /// The number of the request. It is the same at the start and the end of the command, and unique for its
    /// connection.
    pub request_id: i32,
    /// The number of the operation that the command belongs to, unique in the process. All attempts of an operation have
    /// the same number. So do the commands of a cursor: the one that opened it, `getMore` and `killCursors`.
    pub operation_id: i64,
    /// The server.
    pub server: ServerAddress,
    /// The client's number for the connection, unique for each server; 0 for a connection that is being established.
    pub connection_id: u64,
    /// The server's number for the connection, as in its log, if the server reports it.
    pub server_connection_id: Option<i64>,
    /// The service behind a load balancer, if any.
    pub service_id: Option<ObjectId>,
}

/// A command is about to be sent.
#[derive(Clone, Debug)]
#[non_exhaustive]
pub struct CommandStartedEvent {
    /// The command and its target.
    pub info: CommandInfo,
    /// The command as the server receives it, with document sequences as arrays. Empty if the command carries a
    /// secret.
    pub command: RawDocumentBuf,
}

/// The server ran a command (`ok: 1`).
#[derive(Clone, Debug)]
#[non_exhaustive]
pub struct CommandSucceededEvent {
    /// The command and its target.
    pub info: CommandInfo,
    /// The time from before the request was written until the reply was read.
    pub duration: Duration,
    /// The time of each step, with server selection and check-out of the same attempt.
    pub timing: Timing,
    /// The server's reply. Empty if the command carries a secret.
    pub reply: RawDocumentBuf,
}

/// A command failed: the server rejected it, or the connection failed.
#[derive(Clone, Debug)]
#[non_exhaustive]
pub struct CommandFailedEvent {
    /// The command and its target.
    pub info: CommandInfo,
    /// The time from before the request was written until the failure was known.
    pub duration: Duration,
    /// The time of each step, with server selection and check-out of the same attempt.
    pub timing: Timing,
    /// The reason. If the server rejected a command that carries a secret: only its code, its code name and its
    /// labels.
    pub failure: Error,
}
