//! The test bench of mongotls: a PKI, servers and faults, all made at run time.
#![allow(
    clippy::unwrap_used,
    clippy::missing_panics_doc,
    reason = "a bench that cannot be set up has no better answer than a panic at that very line"
)]

pub mod client;
pub mod der;
pub mod fault;
pub mod net;
pub mod pki;
pub mod server;
pub mod stranger;
pub mod wire;
