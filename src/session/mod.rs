//! Sessions, as the executor sees them: the sessions that servers know, the pool that lends them, and the cluster time.
//!
//! A *server session* is an ID under which a server groups commands that run one after the other. It has one user at a
//! time: an operation, an open cursor, or a session of the program. Afterwards it returns to the pool of the client, which
//! lends the one that was used last. One lock guards the pool and the cluster time of the client, so that a command takes
//! both together.
//!
//! | file | holds |
//! |---|---|
//! | `server_session.rs` | one server session, as plain data |
//! | `pool.rs` | the server sessions that are not in use, and the cluster time of the client: the rules as a plain value, and the lock around them |
//! | `implicit.rs` | the server session that an open cursor keeps |
//! | `explicit.rs` | the state of a session of the program |
//! | `transaction.rs` | the state of its transaction |
//!
//! Runs on the thread of the program. No file here waits for a server. Sources: "Driver Sessions", "Causal Consistency",
//! "Snapshot Reads", "Transactions".

mod explicit;
mod implicit;
mod pool;
mod server_session;
mod transaction;

pub(crate) use self::explicit::{ReadMode, SessionState};
pub(crate) use self::implicit::ImplicitSession;
pub(crate) use self::pool::SessionPool;
pub(crate) use self::server_session::{Lifetime, ServerSession};
pub(crate) use self::transaction::{Pinned, Transaction, TransactionSettings, TransactionState};
