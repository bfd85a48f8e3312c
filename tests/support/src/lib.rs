//! The test bench of mongotls: a PKI, servers and faults, all made at run time.
//!
//! Nothing here depends on the connector, so that no mistake is made twice and cancels out. Nothing is
//! read from the repository, no date can run out, and nothing leaves the loopback interface.
//!
//! - [`pki`]: certificates, keys, CRLs and OCSP responses, each with the defect that a test is about.
//! - [`server`]: a MongoDB server in memory, over TLS or not, that breaks on demand.
//! - [`replica_set`], [`sharded_cluster`]: several such servers as one deployment, behind proxies that part
//!   them; [`node`] is one of them.
//! - [`lean`]: a server that is cheap enough for benchmarks.
//! - [`fault`]: what can go wrong with bytes; [`proxy`] brings it before servers not our own.
//! - [`front`]: a TLS front that gives a server another address.
//! - [`ocsp`]: an OCSP responder that breaks on demand; [`http_proxy`] stands before it; [`http_server`]
//!   answers as a test says.
//! - [`dns`]: a DNS server that breaks on demand; [`socks5`]: a SOCKS5 proxy that does.
//! - [`stranger`]: what is not MongoDB. [`peers`]: real programs, as child processes.
//! - [`client`] and [`wire`]: raw messages, for tests of the bench itself; [`net`]: sockets and threads;
//!   [`http`]: requests.
//!
//! Whatever is started is an owned value that binds a port of its own and ends when dropped.
#![allow(
    clippy::unwrap_used,
    clippy::missing_panics_doc,
    reason = "a bench that cannot be set up has no better answer than a panic at that very line"
)]

pub mod client;
pub mod compress;
pub mod der;
pub mod dns;
pub mod fault;
pub mod front;
pub mod http;
pub mod http_proxy;
pub mod http_server;
pub mod lean;
pub mod net;
pub mod node;
pub mod ocsp;
pub mod peers;
pub mod pki;
pub mod proxy;
pub mod random;
pub mod replica_set;
pub mod server;
pub mod sharded_cluster;
pub mod socks5;
pub mod stranger;
pub mod wire;
