//! The route to a server: directly, or through a proxy.
//!
//! All connections to MongoDB servers are made here. `connect` and `resolve` are private to `net`, so nothing can bypass
//! the proxy. Unix sockets are on this host and need no proxy.

use std::net::SocketAddr;
use std::sync::Arc;

use super::connect::{connect_unix, connect_unless};
use super::resolve::resolve_unless;
use super::{Unreachable, socks5};
use crate::address::ServerAddress;
use crate::error::Stage;
use crate::idn;
use crate::options::ProxyOptions;
use crate::socket::{Interrupt, Socket};
use crate::time::Deadline;

/// The route to a server, with the deadline and the interrupt of the attempt.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Route<'a> {
    pub(crate) server: &'a ServerAddress,
    /// The server's name for DNS.
    pub(crate) dns_name: &'a str,
    /// The proxy to connect through, or `None` to connect directly.
    pub(crate) proxy: Option<&'a ProxyOptions>,
    pub(crate) interrupt: &'a Arc<Interrupt>,
    pub(crate) deadline: &'a Deadline,
}

impl Route<'_> {
    /// The addresses to connect to, best first: those of the server or, with a proxy, those of the proxy, which then
    /// resolves the server's name. `None` for a Unix socket.
    pub(crate) fn resolve(&self) -> Result<Option<Vec<SocketAddr>>, Unreachable> {
        let addresses =
            |host: &str, port| resolve_unless(self.interrupt, host, port, self.deadline);
        match (self.server, self.proxy) {
            (ServerAddress::Unix { .. }, _) => Ok(None),
            (ServerAddress::Tcp { port, .. }, None) => addresses(self.dns_name, *port).map(Some),
            (ServerAddress::Tcp { .. }, Some(proxy)) => {
                let host = proxy.address().host();
                let name = idn::to_ascii(&host).map_err(|failure| Unreachable {
                    stage: Stage::Resolve,
                    failure: Box::new(failure.into()),
                });
                let found = name.and_then(|name| addresses(&name, proxy.port));
                let of_proxy = |failed| socks5::out_of_reach(proxy, failed, self.deadline);
                found.map(Some).map_err(of_proxy)
            }
        }
    }

    /// Connects to the server, by the first of `addresses` that answers.
    pub(crate) fn connect(&self, addresses: &[SocketAddr]) -> Result<Socket, Unreachable> {
        let connect = || connect_unless(self.interrupt, addresses, self.deadline);
        match (self.server, self.proxy) {
            (ServerAddress::Unix { path }, _) => connect_unix(self.interrupt, path, self.deadline),
            (ServerAddress::Tcp { .. }, None) => connect(),
            (ServerAddress::Tcp { port, .. }, Some(proxy)) => {
                let of_proxy = |failed| socks5::out_of_reach(proxy, failed, self.deadline);
                let socket = connect().map_err(of_proxy)?;
                socks5::pass(socket, proxy, self.dns_name, *port, self.deadline)
            }
        }
    }
}
