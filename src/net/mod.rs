//! Reaching a server: from an address to a connected socket, within a deadline.
//!
//! A [`Route`] leads to a MongoDB server, by its own addresses or through a SOCKS5 proxy; [`http`] talks to other
//! servers. For both, `resolve` turns a name into addresses in the order of RFC 8305, and `connect` tries them. Neither
//! waits longer than its deadline, not even for the system's resolver. No lock is held, and nothing is kept from one
//! call to the next.

#[cfg(feature = "gssapi")]
mod canonical;
mod connect;
#[cfg(feature = "srv")]
pub(crate) mod dns;
#[cfg_attr(
    not(feature = "cloud"),
    allow(dead_code, reason = "OCSP responders use plain HTTP only")
)]
pub(crate) mod http;
mod resolve;
mod route;
mod socks5;
mod unreachable;

#[cfg(feature = "gssapi")]
pub(crate) use self::canonical::canonical_name;
use self::connect::connect;
use self::resolve::resolve;
pub(crate) use self::route::Route;
pub(crate) use self::unreachable::Unreachable;
