//! The library and the command line, with real servers and with the bench, one file for each subject.

#![allow(
    missing_docs,
    clippy::unwrap_used,
    clippy::missing_panics_doc,
    reason = "tests say what they need by failing"
)]

mod auth;
mod aws;
mod bank;
mod cancellation;
mod causal_consistency;
mod certificates;
mod change_stream_guide;
mod change_stream_soak;
mod change_streams;
mod cli;
mod client_metadata;
mod closing;
mod collections;
mod command_line;
mod commands;
mod common;
mod completions;
#[cfg(all(feature = "zstd", feature = "zlib", feature = "snappy"))]
mod compression;
mod connections;
mod crl;
mod cursors;
mod cut_connections;
mod deadlines;
mod deployments;
mod docs;
mod error_queue;
mod events;
mod examples;
mod exhaust;
mod explain_command;
mod ferretdb;
mod files;
mod gridfs;
mod gridfs_guide;
#[cfg(feature = "gssapi")]
mod gssapi;
mod guide;
mod handover;
mod hello;
mod identity;
mod inspect;
mod lean;
mod listeners;
mod load_balancer;
mod local_limits;
mod logs;
mod matrix;
mod migrating;
mod monitoring;
mod ocsp;
mod oidc;
mod options;
mod overload;
mod pooling;
mod printable;
mod protocol;
mod recovery;
mod refused_sessions;
mod replica_set;
mod replies;
mod resumption;
mod retries;
mod rotation;
mod round_trips;
mod sdam_prose;
mod seeds;
mod session_guide;
mod sessions;
mod settings;
mod setup;
mod sharing;
mod silence;
mod socks5;
#[cfg(feature = "srv")]
mod srv;
mod stable_api;
mod stale_crls;
mod target;
mod things;
mod timeouts;
mod topologies;
mod transaction_guide;
mod transactions;
mod troubleshooting;
mod trust;
mod unicode_names;
mod waiting;
#[cfg(not(feature = "gssapi"))]
mod without_gssapi;
#[cfg(not(feature = "srv"))]
mod without_srv;
mod wrong_peers;
