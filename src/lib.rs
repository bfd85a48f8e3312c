//! A blocking MongoDB connector on OpenSSL that gets TLS right, and says why when it cannot.
//!
//! ```no_run
//! use mongotls::Client;
//! use mongotls::bson::{Document, doc};
//!
//! // A client, for all threads of the program.
//! let client = Client::connect("mongodb://db.example.com/?tlsCAFile=ca.pem")?;
//! let shop = client.database("shop");
//!
//! // A query. The cursor fetches its batches by itself.
//! let cheap = doc! { "find": "things", "filter": { "price": 5 } };
//! for thing in shop.run_cursor_command::<Document>(cheap)? {
//!     println!("{}", thing?);
//! }
//!
//! // A failure, explained.
//! if let Err(error) = shop.run_command(doc! { "ping": 1 }) {
//!     eprintln!("{error}");
//!     if let Some(cause) = error.cause() {
//!         eprintln!("[{}] {}", cause.code(), cause.remedy());
//!     }
//! }
//! # Ok::<(), mongotls::Error>(())
//! ```
//!
//! ```text
//! server db.example.com:27017: TLS handshake failed: the server's certificate
//! "db.example.com" expired at 2026-06-01T11:00:00Z
//! [certificate-expired] Renew the server's certificate and let the server load it.
//! ```
//!
//! # The parts
//!
//! - [`Client`], [`Database`], [`Command`] and [`Cursor`] run commands. All threads of a program share a client. There
//!   is no async runtime; one thread for each server checks it and measures round trips.
//! - [`ClientOptions`] configure a client, from a connection string ([`uri`]) or from a builder ([`options`]).
//! - [`Error`] is the one error. The error of a failed connection has a [`Cause`]: a stable [code](CauseCode), the
//!   facts, and a remedy for people ([`cause`]).
//! - [`tls`] works alone too: it makes a verified stream from options, a host name and any stream.
//! - [`event`] notifies a program of what happens inside a client.
//! - [`doctor`] examines a deployment stage by stage.
//!
//! # Guides
//!
//! [Collections](guide::crud), [migrating from other drivers](guide::migrating), [TLS](guide::tls),
//! [authentication](guide::authentication), [connections](guide::connections),
//! [replica sets and sharded clusters](guide::topologies), [sessions](guide::sessions), [timeouts](guide::timeouts),
//! [monitoring](guide::monitoring), [troubleshooting](guide::troubleshooting), [the doctor](guide::doctor),
//! [the command line](guide::command_line) and [performance](guide::performance).
//!
//! # Defaults that protect
//!
//! The server's certificate must lead to a trust anchor and name the host. The oldest protocol is TLS
//! 1.2. Time limits are totals, whatever the peer does. No length that comes from outside is believed,
//! no secret is printed. When TLS was requested, no command, credential or name goes out without it: a
//! server that leaves a ClientHello without a byte of an answer is asked once, by a bare `hello` on a
//! connection of its own, whether it speaks MongoDB without TLS, so that the error can say so.
//!
//! # Cargo features
//!
//! On by default; a small program takes `default-features = false`, and what is off then is refused with a cause that
//! names the feature:
//!
//! - `cloud`: MONGODB-AWS, and the environments of MONGODB-OIDC, which ask the credential services of clouds.
//! - `idna`: host names with other characters than those of ASCII.
//! - `saslprep`: passwords of SCRAM-SHA-256 with other characters than those of ASCII.
//! - `serde`: documents and replies as types of the program.
//!
//! Off by default:
//!
//! - `vendored`: links an OpenSSL built from source instead of the system's.
//! - `bundled-roots`: Mozilla's root certificates, where the system has no trust anchors.
//! - `cli`: the command line, `mongotls`.
//! - `gssapi`: Kerberos by the system's library.
//! - `zstd`, `zlib`, `snappy`: compression of messages, one compressor each; what the connection string names
//!   (`compressors`) and a feature has built in is offered to servers.
//! - `srv`: connection strings with `mongodb+srv`, whose hosts and options are in DNS.
//! - `chrono-0_4`, `jiff-0_2`, `large_dates`, `serde_json-1`, `serde_path_to_error`, `serde_with-3`, `time-0_3`, `uuid-1`:
//!   the features of [`bson`] with these names, which convert its types from and to those of other crates.

#![cfg_attr(docsrs, feature(doc_cfg))]

pub mod cause;
pub mod change_stream;
pub mod client;
pub mod doctor;
pub mod error;
pub mod event;
pub mod gridfs;
#[cfg(all(doc, not(doctest)))]
pub mod guide;
pub mod options;
pub mod tls;
pub mod topology;
pub mod uri;

#[cfg(feature = "_internals")]
#[doc(hidden)]
pub mod internals;

mod address;
mod auth;
mod bounds;
mod bulk;
mod cancel;
mod client_session;
mod collection;
mod command;
mod conn;
mod cursor;
mod data;
mod database;
#[cfg(feature = "serde")]
mod decode;
#[cfg(feature = "serde")]
mod direct;
mod document;
mod elements;
mod encode;
mod enum_text;
mod explain;
mod ffi;
mod idn;
mod index_model;
mod limit;
mod logging;
mod net;
mod object_id;
mod op;
mod pool;
mod printable;
mod random;
mod reason;
pub mod results;
mod sdam;
mod server_code;
mod session;
mod sniff;
mod socket;
mod srv;
mod steps;
mod stop;
mod store_uri;
mod sync;
mod time;
mod transaction;
mod watch;
mod wire;

pub use bson;

pub use address::{InvalidAddress, ServerAddress};
pub use bulk::{ClientBulk, ClientBulkResult};
pub use cancel::Canceller;
pub use cause::{Cause, CauseCode};
pub use change_stream::{ChangeStream, Watch};
pub use client::Client;
pub use client_session::{
    Free, IntoScope, Scope, ScopedClient, Session, SessionOptions, StartSession,
};
pub use collection::{Aggregate, CountDocuments, Distinct, EstimatedDocumentCount, Find, FindOne};
pub use collection::{Bulk, Collection, InsertOne, Namespace};
pub use collection::{
    CreateCollection, CreateIndex, CreateIndexes, CreateSearchIndex, CreateSearchIndexes,
    DropCollection, DropDatabase, DropIndexes, DropSearchIndex, ListCollectionNames,
    ListCollections, ListDatabaseNames, ListDatabases, ListIndexNames, ListIndexes,
    ListSearchIndexes, ModifyCollection, RenameCollection, UpdateSearchIndex,
};
pub use collection::{Delete, InsertMany, ReplaceOne, UpdateMany, UpdateOne};
pub use collection::{DeleteModel, ReplaceOneModel, UpdateManyModel, UpdateOneModel};
pub use collection::{FindOneAndDelete, FindOneAndReplace, FindOneAndUpdate};
pub use command::Command;
pub use cursor::Cursor;
pub use database::Database;
pub use encode::ToBson;
pub use error::{Error, ErrorKind, Result};
pub use index_model::{
    IndexModel, IndexModelBuilder, IndexOptions, IndexOptionsBuilder, SearchIndexModel,
    SearchIndexType,
};
pub use options::ClientOptions;
pub use results::Written;
pub use transaction::{AbortTransaction, CommitTransaction, RunTransaction, StartTransaction, Tx};
pub use uri::ConnectionString;

/// Runs the examples of the README with those of this documentation.
#[cfg(doctest)]
#[doc = include_str!("../README.md")]
struct Readme;
