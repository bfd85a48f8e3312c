//! Reaching a server: from an address to a connected socket, within a deadline.
//!
//! A [`Way`] leads to a MongoDB server, by its own addresses or through a SOCKS5 proxy; [`http`] asks other servers.
//! For both `resolve` turns a name into addresses in the order of RFC 8305, and `connect` tries them. Neither
//! can be made to wait longer than its deadline, not even by the system's resolver. No lock is held
//! and nothing is kept from one call to the next.

#[cfg(feature = "gssapi")]
mod canonical;
mod connect;
#[cfg(feature = "srv")]
pub(crate) mod dns;
#[cfg_attr(
    not(feature = "cloud"),
    allow(dead_code, reason = "responders of OCSP are asked by plain HTTP alone")
)]
pub(crate) mod http;
mod resolve;
mod socks5;
mod way;

use crate::cause::Cause;
use crate::error::{Milliseconds, Stage};
use crate::time::Elapsed;

#[cfg(feature = "gssapi")]
pub(crate) use self::canonical::canonical_name;
use self::connect::connect;
use self::resolve::resolve;
pub(crate) use self::way::Way;

/// A failed attempt to reach a server, not yet an error: the caller knows which server it was.
pub(crate) struct Unreachable {
    pub(crate) stage: Stage,
    pub(crate) cause: Cause,
}

/// What ran out of time, as the end of a sentence: `within 10 s (connectTimeoutMS)`.
fn within(elapsed: Elapsed) -> String {
    format!(
        "within {} ({})",
        Milliseconds(elapsed.limit),
        elapsed.kind.option()
    )
}

fn limit_ms(elapsed: Elapsed) -> i64 {
    i64::try_from(elapsed.limit.as_millis()).unwrap_or(i64::MAX)
}
