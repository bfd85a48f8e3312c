//! TLS on OpenSSL: from options to a verified stream and a report of facts.
//!
//! [`TlsContext`] is built once from [`TlsOptions`](crate::options::TlsOptions). It reads trust anchors, CRLs and the
//! client's certificate; if a file does not load, building fails with its path. All connections of a client share the
//! context. [`TlsContext::connect`] runs a handshake over any stream and returns a [`TlsStream`] whose peer is verified
//! according to the options, or an error with the exact [`Cause`](crate::Cause). It is independent of MongoDB, so a
//! program with its own protocol can use it alone:
//!
//! ```no_run
//! use std::net::TcpStream;
//! use mongotls::options::TlsOptions;
//! use mongotls::tls::TlsContext;
//!
//! let options = TlsOptions::builder().ca_file("/etc/ssl/db-ca.pem").build()?;
//! let context = TlsContext::new(&options)?;
//! let stream = context.connect("db.example.com", TcpStream::connect("db.example.com:27017")?)?;
//! println!("{} {}", stream.report().protocol(), stream.report().verification());
//! # Ok::<(), Box<dyn std::error::Error>>(())
//! ```
//!
//! | folder | holds |
//! |---|---|
//! | `config/` | options and local files → trust anchors, CRLs, the client's certificate and key |
//! | `handshake/` | the context, the check of the server's chain, sessions, the stream, and why a handshake failed |
//! | `ocsp/` | the check that no certificate is revoked |
//! | `inspect/` | reports of the contents of local files |

mod certificate;
mod config;
mod handshake;
mod inspect;
mod library;
mod ocsp;

pub use self::config::files::FileForm;
#[cfg(feature = "cloud")]
pub(crate) use self::config::reading::read_small;
pub(crate) use self::config::reading::{Files, Reading};
pub(crate) use self::config::snapshot::FilesSnapshot;
pub(crate) use self::handshake::connect::Failed;
pub use self::handshake::context::TlsContext;
#[cfg(test)]
pub(crate) use self::handshake::names::near_misses;
pub use self::handshake::report::{HandshakeReport, Verification};
pub(crate) use self::handshake::session::SessionOffer;
pub use self::handshake::stream::TlsStream;
pub(crate) use self::inspect::ends_soon;
pub use self::inspect::{
    ChainReport, CrlReport, FileReport, Finding, FindingCode, KeyForm, KeyReport, Severity,
};
pub use self::library::{Library, openssl_version};
pub use crate::data::certificate::{AnchorFile, Certificate, TrustAnchors};
pub use crate::data::revocation::{
    CertificateRevocation, Evidence, RevocationStatus, RevocationStep,
};
pub(crate) use crate::reason::revocation::ResponderWait;
