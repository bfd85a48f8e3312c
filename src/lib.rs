//! A blocking MongoDB connector on OpenSSL.

pub mod cause;
pub mod options;
pub mod uri;

mod address;
mod error;
mod time;

pub use address::ServerAddress;
pub use cause::{Category, Cause, CauseCode};
pub use error::{CommandFailure, Error, ErrorKind, Result, Stage};
pub use options::ClientOptions;
pub use time::TimeoutKind;
pub use uri::{ConnectionString, Warning};
