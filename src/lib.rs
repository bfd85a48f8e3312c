//! A blocking MongoDB connector on OpenSSL.

pub mod cause;
pub mod options;
pub mod tls;

mod address;
mod conn;
mod document;
mod error;
mod net;
mod socket;
mod time;
mod wire;

pub use address::ServerAddress;
pub use cause::{Category, Cause, CauseCode};
pub use error::{CommandFailure, Error, ErrorKind, Result, Stage};
pub use options::ClientOptions;
pub use time::TimeoutKind;
