//! Real programs as peers, as child processes.
//!
//! Each is an owned guard: it picks a free port, keeps its files and its log in a temporary folder, waits until the
//! program accepts connections, and ends its own child, by its process id, when dropped. A program that is not
//! installed leads to a [`PeerUnavailable`] with instructions to get it; a test prints that and continues.

mod ferretdb;
mod haproxy;
mod kdc;
mod microsocks;
mod openssl_ocsp;
mod s_server;
mod secantus;

use crate::net::Endpoint;
use crate::pki::PkiDir;
use std::error::Error;
use std::ffi::OsStr;
use std::fmt;
use std::fs::{self, File};
use std::io::Write as _;
use std::net::{Ipv4Addr, SocketAddr, TcpListener};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::thread;
use std::time::{Duration, Instant};

pub use ferretdb::{FerretDb, FerretDbOptions};
pub use haproxy::{ClientCertificates, HaProxy, HaProxyOptions};
pub use kdc::Kdc;
pub use microsocks::MicroSocks;
pub use openssl_ocsp::{OpensslOcsp, OpensslOcspOptions};
pub use s_server::SServer;
pub use secantus::{Secantus, SecantusOptions};

/// The reason why a peer could not be started, and the remedy.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct PeerUnavailable {
    /// The missing or failed part.
    pub what: String,
    /// The way to get it.
    pub remedy: String,
}

impl fmt::Display for PeerUnavailable {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}; {}", self.what, self.remedy)
    }
}

impl Error for PeerUnavailable {}

/// Returns the peer, or `None` if it is not installed; then the test is skipped, with a message.
///
/// If no test may be skipped, as in CI, the environment variable `MONGOTLS_REQUIRE_PEERS` is set.
///
/// # Panics
/// If the peer is installed but does not start, or if it is missing and required.
pub fn or_skip<P>(peer: Result<P, PeerUnavailable>) -> Option<P> {
    let required =
        std::env::var_os("MONGOTLS_REQUIRE_PEERS").is_some_and(|value| !value.is_empty());
    match peer {
        Ok(peer) => Some(peer),
        Err(why) if required || !why.what.starts_with("there is no") => panic!("{why}"),
        Err(why) => {
            // Written directly, because the test runner hides the output of a passing test.
            let _ = writeln!(std::io::stderr(), "SKIPPED: {why}");
            None
        }
    }
}

/// A child process that ends with its guard.
#[derive(Debug)]
struct Peer {
    child: Child,
    addr: SocketAddr,
    log: PathBuf,
    dir: PkiDir,
}

/// The condition for a child process to be ready.
enum Ready {
    /// A connection succeeds.
    Connects,
    /// The log contains these words.
    Says(&'static str),
}

impl Peer {
    /// Starts the command for a free port, and waits until it accepts connections there.
    fn start(
        name: &str,
        dir: PkiDir,
        command: impl Fn(&Path, SocketAddr) -> Command,
    ) -> Result<Self, PeerUnavailable> {
        Self::start_when(&Ready::Connects, name, dir, command)
    }

    /// Starts the command for a free port, and waits until it is ready.
    ///
    /// Between the choice of the port and its use another program may take it: then it tries again.
    fn start_when(
        ready: &Ready,
        name: &str,
        dir: PkiDir,
        command: impl Fn(&Path, SocketAddr) -> Command,
    ) -> Result<Self, PeerUnavailable> {
        let log = dir.path().join("log");
        let mut failure = String::new();
        for _ in 0..ATTEMPTS {
            let addr = free_addr();
            let output = File::create(&log).expect("a log file");
            let spawned = command(dir.path(), addr)
                .stdin(Stdio::piped()) // held open: some programs end with their input
                .stdout(output.try_clone().expect("another handle"))
                .stderr(output)
                .spawn();
            let mut child = spawned.map_err(|error| PeerUnavailable {
                what: format!("{name} does not start: {error}"),
                remedy: "check that it is installed and executable".into(),
            })?;
            let is_ready = || match ready {
                Ready::Connects => Endpoint::Tcp(addr).connect().is_ok(),
                Ready::Says(words) => fs::read_to_string(&log).is_ok_and(|log| log.contains(words)),
            };
            match wait_until_ready(&mut child, is_ready) {
                Ok(()) => {
                    return Ok(Self {
                        child,
                        addr,
                        log,
                        dir,
                    });
                }
                Err(why) => {
                    end(&mut child);
                    let said = fs::read_to_string(&log).unwrap_or_default();
                    failure = format!("{name} {why}: {}", said.trim());
                }
            }
        }
        Err(PeerUnavailable {
            what: failure,
            remedy: "see its own words above".into(),
        })
    }

    fn log(&self) -> String {
        fs::read_to_string(&self.log).unwrap_or_default()
    }
}

impl Drop for Peer {
    fn drop(&mut self) {
        end(&mut self.child);
    }
}

fn end(child: &mut Child) {
    // An error means that it has already ended.
    let _ = child.kill();
    let _ = child.wait();
}

fn wait_until_ready(child: &mut Child, is_ready: impl Fn() -> bool) -> Result<(), &'static str> {
    let end = Instant::now() + READY_LIMIT;
    loop {
        let ready = is_ready();
        // Checked after the connection: if the child has ended, another process listens there.
        if !matches!(child.try_wait(), Ok(None)) {
            return Err("ended at once");
        }
        if ready {
            return Ok(());
        }
        if Instant::now() > end {
            return Err("took no connections in time");
        }
        thread::sleep(Duration::from_millis(10));
    }
}

/// The folder for programs that are built or installed only once; the scripts beside this crate use the same.
fn cache() -> Option<PathBuf> {
    let folder = std::env::var_os("MONGOTLS_CACHE_DIR").map(PathBuf::from);
    let xdg = || std::env::var_os("XDG_CACHE_HOME").map(|dir| PathBuf::from(dir).join("mongotls"));
    let home = || std::env::var_os("HOME").map(|dir| PathBuf::from(dir).join(".cache/mongotls"));
    folder.or_else(xdg).or_else(home)
}

fn free_addr() -> SocketAddr {
    let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).expect("a free port");
    listener.local_addr().expect("a bound socket")
}

/// The program `name` in `PATH`, or in the folders for administrators that a user's `PATH` may lack.
fn find_program(name: &str) -> Option<PathBuf> {
    let path = std::env::var_os("PATH").unwrap_or_default();
    let folders = std::env::split_paths(&path).collect::<Vec<_>>();
    let more = ["/usr/sbin", "/usr/local/sbin", "/sbin"];
    folders
        .into_iter()
        .chain(more.map(PathBuf::from))
        .map(|folder| folder.join(OsStr::new(name)))
        .find(|file| file.is_file())
}

const ATTEMPTS: usize = 5;
const READY_LIMIT: Duration = Duration::from_secs(20);
