//! microsocks, an independent SOCKS5 proxy.

use super::{Peer, PeerUnavailable, find_program};
use crate::pki::PkiDir;
use std::net::SocketAddr;
use std::process::Command;

/// A running microsocks.
///
/// ```no_run
/// # use mongotls_testbench::peers::MicroSocks;
/// let proxy = MicroSocks::start(Some(("bob", "pw"))).unwrap();
/// ```
#[derive(Debug)]
pub struct MicroSocks(Peer);

impl MicroSocks {
    /// Starts it, for only this user and password or for everybody.
    ///
    /// # Errors
    ///
    /// If it is not installed.
    pub fn start(login: Option<(&str, &str)>) -> Result<Self, PeerUnavailable> {
        let program = find_program("microsocks").ok_or_else(|| PeerUnavailable {
            what: "there is no microsocks".into(),
            remedy: "install the package microsocks".into(),
        })?;
        Peer::start("microsocks", PkiDir::new(), |_, addr| {
            let mut command = Command::new(&program);
            command.args(["-i", &addr.ip().to_string()]);
            command.args(["-p", &addr.port().to_string()]);
            if let Some((user, password)) = login {
                command.args(["-u", user, "-P", password]);
            }
            command
        })
        .map(Self)
    }

    /// Its address.
    pub fn addr(&self) -> SocketAddr {
        self.0.addr
    }

    /// Its output so far: a line for each connection that it made.
    pub fn log(&self) -> String {
        self.0.log()
    }
}
