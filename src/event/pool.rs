//! The events of connection pools. Source: CMAP, "Connection Pool Monitoring".
//!
//! `Display` formats an event as its log line, with target `mongotls::connection` and level debug (CMAP, "Connection
//! Pool Logging").

use std::fmt;
use std::time::Duration;

use bson::oid::ObjectId;

use crate::address::ServerAddress;
use crate::error::Error;

/// Something that happened in the connection pool of a server.
#[derive(Clone, Debug)]
#[non_exhaustive]
pub struct PoolEvent {
    /// The server that the pool belongs to.
    pub server: ServerAddress,
    /// The event in the pool.
    pub kind: PoolEventKind,
}

/// An event in a pool.
///
/// Events of one thread arrive in the order in which they happen. `connection_id` numbers the connections of a pool,
/// starting at 1; it differs from the server's number.
#[derive(Clone, Debug)]
#[non_exhaustive]
pub enum PoolEventKind {
    /// The pool was created, paused.
    Created {
        /// The options that differ from their defaults.
        options: PoolOptions,
    },
    /// The pool serves check-outs from now on.
    Ready,
    /// All connections of the pool, or all connections to one service, became stale.
    Cleared {
        /// The service behind a load balancer, or `None` if the whole pool was cleared.
        service_id: Option<ObjectId>,
        /// True if connections in use were interrupted too.
        interrupt_in_use_connections: bool,
    },
    /// The pool was closed permanently.
    Closed,
    /// A connection is about to be established.
    ConnectionCreated {
        /// The number of the connection.
        connection_id: u64,
    },
    /// A connection is established: TCP, TLS, hello and authentication.
    ConnectionReady {
        /// The number of the connection.
        connection_id: u64,
        /// The time since [`ConnectionCreated`](Self::ConnectionCreated).
        duration: Duration,
    },
    /// A connection was closed and removed from the pool.
    ConnectionClosed {
        /// The number of the connection.
        connection_id: u64,
        /// The reason.
        reason: ConnectionClosedReason,
        /// The error of the connection, if that is the reason and it is known.
        error: Option<Error>,
    },
    /// A thread requests a connection.
    ConnectionCheckOutStarted,
    /// A thread cannot get a connection.
    ConnectionCheckOutFailed {
        /// The reason.
        reason: ConnectionCheckOutFailedReason,
        /// The error that the thread receives.
        error: Error,
        /// The time that the thread has waited.
        duration: Duration,
    },
    /// A thread gets a connection.
    ConnectionCheckedOut {
        /// The number of the connection.
        connection_id: u64,
        /// The time that the thread has waited.
        duration: Duration,
    },
    /// A connection is returned to the pool.
    ConnectionCheckedIn {
        /// The number of the connection.
        connection_id: u64,
    },
}

/// The options of a pool that differ from their defaults; the others are `None`.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub struct PoolOptions {
    /// `maxPoolSize`; 0 means no limit.
    pub max_pool_size: Option<u32>,
    /// `minPoolSize`.
    pub min_pool_size: Option<u32>,
    /// `maxConnecting`.
    pub max_connecting: Option<u32>,
    /// `maxIdleTimeMS`.
    pub max_idle_time: Option<Duration>,
    /// `waitQueueTimeoutMS`.
    pub wait_queue_timeout: Option<Duration>,
}

/// The reason for closing a connection.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum ConnectionClosedReason {
    /// The pool was cleared after the connection was created, or the TLS files were reloaded.
    Stale,
    /// The connection was idle for longer than `maxIdleTimeMS`.
    Idle,
    /// The connection could not be established, it failed, or the server closed it.
    Error,
    /// The pool was closed.
    PoolClosed,
}

/// The reason for a failed check-out.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum ConnectionCheckOutFailedReason {
    /// The pool is closed.
    PoolClosed,
    /// No connection became available in time.
    Timeout,
    /// The pool was cleared, or a new connection could not be established.
    ConnectionError,
}

impl ConnectionClosedReason {
    /// Returns the reason as CMAP spells it.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Stale => "stale",
            Self::Idle => "idle",
            Self::Error => "error",
            Self::PoolClosed => "poolClosed",
        }
    }
}

impl ConnectionCheckOutFailedReason {
    /// Returns the reason as CMAP spells it.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::PoolClosed => "poolClosed",
            Self::Timeout => "timeout",
            Self::ConnectionError => "connectionError",
        }
    }
}

impl PoolEventKind {
    /// Returns the event's name in CMAP.
    ///
    /// ```
    /// use mongotls::event::PoolEventKind;
    ///
    /// assert_eq!(PoolEventKind::Ready.name(), "ConnectionPoolReady");
    /// ```
    pub fn name(&self) -> &'static str {
        match self {
            Self::Created { .. } => "ConnectionPoolCreated",
            Self::Ready => "ConnectionPoolReady",
            Self::Cleared { .. } => "ConnectionPoolCleared",
            Self::Closed => "ConnectionPoolClosed",
            Self::ConnectionCreated { .. } => "ConnectionCreated",
            Self::ConnectionReady { .. } => "ConnectionReady",
            Self::ConnectionClosed { .. } => "ConnectionClosed",
            Self::ConnectionCheckOutStarted => "ConnectionCheckOutStarted",
            Self::ConnectionCheckOutFailed { .. } => "ConnectionCheckOutFailed",
            Self::ConnectionCheckedOut { .. } => "ConnectionCheckedOut",
            Self::ConnectionCheckedIn { .. } => "ConnectionCheckedIn",
        }
    }
}

impl fmt::Display for ConnectionClosedReason {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Stale => "Connection became stale because the pool was cleared",
            Self::Idle => {
                "Connection has been available but unused for longer than the configured max idle time"
            }
            Self::Error => "An error occurred while using the connection",
            Self::PoolClosed => "Connection pool was closed",
        })
    }
}

impl fmt::Display for ConnectionCheckOutFailedReason {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::PoolClosed => "Connection pool was closed",
            Self::Timeout => "Wait queue timeout elapsed without a connection becoming available",
            Self::ConnectionError => "An error occurred while trying to establish a new connection",
        })
    }
}
