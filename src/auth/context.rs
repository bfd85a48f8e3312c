//! The properties of a connection that a mechanism may need.

use crate::address::ServerAddress;
use crate::time::Deadline;

/// The properties of a connection that a mechanism may need.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Context<'a> {
    pub(crate) server: &'a ServerAddress,
    /// The server's name for DNS and Kerberos.
    #[cfg_attr(
        not(feature = "gssapi"),
        allow(dead_code, reason = "only Kerberos needs it")
    )]
    pub(crate) dns_name: &'a str,
    /// The deadline for establishing the connection. It also limits the search for a credential.
    pub(crate) deadline: Deadline,
}
