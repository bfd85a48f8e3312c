//! The test bench of mongotls: a PKI, servers and faults, all made at run time.
//!
//! The bench does not depend on the connector, so that no mistake occurs on both sides and cancels out. It reads
//! nothing from the repository, its dates cannot expire, and it stays on the loopback interface.
//!
//! - [`pki`]: certificates, keys, CRLs and OCSP responses, each with the defect that a test is about.
//! - [`server`]: a MongoDB server in memory, with or without TLS, that misbehaves on request.
//! - [`replica_set`], [`sharded_cluster`]: several such servers as one deployment, behind proxies that can separate
//!   them; [`node`] is one of them.
//! - [`deployment`]: the topologies that drivers distinguish, as front ends of one real store.
//! - [`lean`]: a server that is cheap enough for benchmarks.
//! - [`fault`]: faults in bytes; [`proxy`] applies them to servers outside of the bench.
//! - [`front`]: a TLS front that gives a server another address.
//! - [`ocsp`]: an OCSP responder that misbehaves on request; [`http_proxy`] is a proxy in front of it; [`http_server`]
//!   returns a test's answers.
//! - [`dns`]: a DNS server that misbehaves on request; [`socks5`]: a SOCKS5 proxy that does.
//! - [`stranger`]: peers that are not MongoDB. [`peers`]: real programs, as child processes.
//! - [`client`] and [`wire`]: raw messages, for tests of the bench itself; [`net`]: sockets and threads; [`http`]:
//!   requests.
//!
//! Everything that is started is an owned value that binds a free port and ends when dropped.
#![allow(
    clippy::unwrap_used,
    clippy::missing_panics_doc,
    reason = "a bench that cannot be set up has no better answer than a panic at that very line"
)]

pub mod client;
pub mod compress;
pub mod deployment;
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
