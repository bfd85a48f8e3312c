//! A blocking MongoDB connector on OpenSSL.

pub mod cause;
pub mod doctor;
pub mod options;
pub mod tls;
pub mod uri;

mod address;
mod client;
mod command;
mod conn;
mod cursor;
mod database;
mod document;
mod error;
mod net;
mod pool;
mod socket;
mod time;
mod wire;

pub use bson;

pub use address::ServerAddress;
pub use cause::{Category, Cause, CauseCode};
pub use client::{Client, ServerReport};
pub use command::Command;
pub use conn::Hello;
pub use cursor::Cursor;
pub use database::Database;
pub use error::{CommandFailure, Error, ErrorKind, Result, Stage};
pub use options::ClientOptions;
pub use time::TimeoutKind;
pub use uri::{ConnectionString, Warning};
