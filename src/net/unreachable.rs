//! A failed attempt to reach a server.

use crate::error::Stage;
use crate::reason::net::NetFailure;

/// A failed attempt to reach a server, not yet an error: the caller knows which server it was.
pub(crate) struct Unreachable {
    pub(crate) stage: Stage,
    pub(crate) failure: Box<NetFailure>,
}
