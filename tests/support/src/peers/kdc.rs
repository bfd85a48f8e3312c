//! A KDC of MIT Kerberos: one realm, its database and its keys in a temporary folder.

use super::{Peer, PeerUnavailable, find_program};
use crate::pki::PkiDir;
use rustix::process::{Pid, Signal, kill_process};
use std::io::Write as _;
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

/// A running KDC.
///
/// It serves the realm [`Kdc::REALM`] on a loopback port. Programs find it by [`Kdc::env`].
#[derive(Debug)]
pub struct Kdc {
    peer: Peer,
    kadmin: PathBuf,
    kinit: PathBuf,
}

impl Kdc {
    /// The realm.
    pub const REALM: &'static str = "BENCH.TEST";

    /// Creates the realm and starts the KDC, without any principal.
    ///
    /// # Errors
    ///
    /// If MIT Kerberos is not installed, or rejects its configuration.
    pub fn start() -> Result<Self, PeerUnavailable> {
        let find = |name: &str, package: &str| {
            find_program(name).ok_or_else(|| PeerUnavailable {
                what: format!("there is no {name}"),
                remedy: format!("install the package {package}"),
            })
        };
        let krb5kdc = find("krb5kdc", "krb5-kdc")?;
        let kdb5_util = find("kdb5_util", "krb5-kdc")?;
        let kadmin = find("kadmin.local", "krb5-admin-server")?;
        let kinit = find("kinit", "krb5-user")?;
        let peer = Peer::start("the KDC", PkiDir::new(), |dir, addr| {
            configure(dir, addr);
            let mut make = Command::new(&kdb5_util);
            make.args(["create", "-s", "-r", Self::REALM, "-P", "bench"]);
            // Left by an attempt on a port that was in use.
            let _ = std::fs::remove_file(dir.join("principal"));
            run(make.envs(variables(dir)), "");
            let mut kdc = Command::new(&krb5kdc);
            kdc.args(["-n", "-r", Self::REALM]).envs(variables(dir));
            kdc
        })?;
        Ok(Self {
            peer,
            kadmin,
            kinit,
        })
    }

    /// The variables by which Kerberos finds the KDC, the keys of services and a place for tickets.
    pub fn env(&self) -> Vec<(&'static str, PathBuf)> {
        variables(self.peer.dir.path())
    }

    /// Adds a user with a password.
    ///
    /// # Panics
    ///
    /// If `kadmin.local` fails.
    pub fn user(&self, name: &str, password: &str) {
        self.admin(&format!("addprinc -pw {password} {name}"));
    }

    /// Adds a service, and its key to the key table.
    ///
    /// # Panics
    ///
    /// If `kadmin.local` fails.
    pub fn service(&self, principal: &str) {
        let table = self.peer.dir.path().join("keytab");
        self.admin(&format!("addprinc -randkey {principal}"));
        self.admin(&format!("ktadd -k {} {principal}", table.display()));
    }

    /// Gets a ticket for a user, for this number of seconds.
    ///
    /// # Panics
    ///
    /// If `kinit` fails.
    pub fn ticket(&self, user: &str, password: &str, seconds: u32) {
        let mut command = Command::new(&self.kinit);
        command.args(["-l", &format!("{seconds}s"), user]);
        run(command.envs(self.env()), &format!("{password}\n"));
    }

    fn admin(&self, query: &str) {
        let mut command = Command::new(&self.kadmin);
        command.args(["-r", Self::REALM, "-q", query]);
        run(command.envs(self.env()), "");
    }

    /// Suspends the process: the KDC no longer answers, and its port stays in use.
    ///
    /// # Panics
    ///
    /// If the process has ended.
    pub fn stop(&self) {
        kill_process(Pid::from_child(&self.peer.child), Signal::STOP).unwrap();
    }

    /// Its log.
    pub fn log(&self) -> String {
        self.peer.log()
    }
}

fn variables(dir: &Path) -> Vec<(&'static str, PathBuf)> {
    vec![
        ("KRB5_CONFIG", dir.join("krb5.conf")),
        ("KRB5_KDC_PROFILE", dir.join("kdc.conf")),
        ("KRB5_KTNAME", dir.join("keytab")),
        ("KRB5_CLIENT_KTNAME", dir.join("none")),
        ("KRB5CCNAME", dir.join("tickets")),
        // The replay cache of services.
        ("KRB5RCACHEDIR", dir.to_owned()),
    ]
}

fn configure(dir: &Path, addr: SocketAddr) {
    let files = PkiDir::at(dir);
    let realm = Kdc::REALM;
    files.write(
        "krb5.conf",
        format!(
            "[libdefaults]\n default_realm = {realm}\n dns_lookup_realm = false\n dns_lookup_kdc = false\n \
             dns_canonicalize_hostname = false\n rdns = false\n udp_preference_limit = 1\n clockskew = 1\n\
             [realms]\n {realm} = {{\n  kdc = {addr}\n }}\n\
             [domain_realm]\n localhost = {realm}\n"
        ),
    );
    let path = dir.display();
    files.write(
        "kdc.conf",
        format!(
            "[kdcdefaults]\n kdc_listen = {addr}\n kdc_tcp_listen = {addr}\n\
             [realms]\n {realm} = {{\n  database_name = {path}/principal\n  key_stash_file = {path}/stash\n  \
             acl_file = {path}/acl\n  max_life = 1h\n  supported_enctypes = aes256-cts-hmac-sha1-96:normal\n }}\n\
             [logging]\n kdc = STDERR\n admin_server = STDERR\n default = STDERR\n"
        ),
    );
}

/// Runs a program to its end.
fn run(command: &mut Command, input: &str) {
    let mut child = command
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .unwrap();
    // It may have ended without reading.
    let _ = child.stdin.take().unwrap().write_all(input.as_bytes());
    let output = child.wait_with_output().unwrap();
    assert!(
        output.status.success(),
        "{command:?}: {}{}",
        String::from_utf8_lossy(&output.stdout),
        String::from_utf8_lossy(&output.stderr)
    );
}
