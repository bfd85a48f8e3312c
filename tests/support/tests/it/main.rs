//! Tests of the bench itself: a wrong bench makes every test on it worthless.
#![allow(
    clippy::unwrap_used,
    reason = "helpers of tests, too, may fail the test"
)]

mod deployment;
mod faults;
mod monitoring;
mod ocsp;
mod peers;
mod pki;
mod replica_set;
mod responder;
mod serve;
mod server;
mod sharded_cluster;
mod socks5;
mod staple;
mod strangers;
