//! The server session that an open cursor keeps.

use std::sync::Arc;

use super::pool::SessionPool;
use super::server_session::ServerSession;

/// A server session of an open cursor, without a session of the program. It returns to the pool when it is dropped.
#[derive(Debug)]
pub(crate) struct ImplicitSession {
    pool: Arc<SessionPool>,
    /// The session, unless it has been returned.
    pub(crate) session: Option<ServerSession>,
}

impl ImplicitSession {
    pub(crate) fn new(pool: &Arc<SessionPool>, session: ServerSession) -> Self {
        Self {
            pool: Arc::clone(pool),
            session: Some(session),
        }
    }
}

impl Drop for ImplicitSession {
    fn drop(&mut self) {
        self.pool.end(self.session.take(), None);
    }
}
