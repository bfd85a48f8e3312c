//! Why something failed, as plain data: one enum per layer, with typed fields and no words.
//!
//! A layer that understands a failure returns a reason from here. Overload labels and the rules of the doctor match on
//! reasons. [`explain`](crate::explain) converts a reason into a [`Cause`](crate::Cause) with a code, a message, a remedy
//! and facts. The kind of an error follows from the code; message, remedy and facts are output only.
//!
//! These types depend on nothing but each other, addresses and instants, so that every layer can use them.

pub(crate) mod alert;
pub(crate) mod auth;
pub(crate) mod cancel;
pub(crate) mod certificate;
#[cfg(feature = "srv")]
pub(crate) mod dns;
pub(crate) mod files;
pub(crate) mod gridfs;
pub(crate) mod hello;
pub(crate) mod http;
pub(crate) mod io;
pub(crate) mod net;
pub(crate) mod options;
pub(crate) mod revocation;
pub(crate) mod sdam;
pub(crate) mod srv;
pub(crate) mod tls;
pub(crate) mod transaction;
pub(crate) mod write;

use crate::reason::alert::Alert;

/// Why something failed, by the layer that understands it.
#[derive(Clone, Debug, PartialEq)]
pub(crate) enum Reason {
    /// TLS: the handshake, the server's chain, or the exchange of records.
    Tls(tls::TlsFailure),
    /// The network: a host cannot be reached.
    Net(net::NetFailure),
    /// The answer to hello.
    Hello(hello::HelloFailure),
    /// The exchange of messages with a server.
    Exchange(hello::ExchangeFailure),
    /// Discovery and monitoring of the deployment.
    Sdam(sdam::SdamFailure),
    /// Options that contradict each other, or a connection string that does not parse.
    Option(options::OptionFailure),
    /// A local file, or what is configured in place of one.
    File(files::FileFailure),
    /// A limit of this process or this host.
    LocalLimit(io::LocalLimit),
    /// An exchange with a service beside the database server, which a limit of this host prevented.
    #[cfg(feature = "cloud")]
    LimitedExchange(io::LimitedExchange),
    /// No real reason: a test made the error.
    #[cfg(any(test, feature = "_internals"))]
    Simulated,
    /// Authentication: the credential, its sources, and the conversation with the server.
    Auth(Box<auth::AuthFailure>),
    /// SRV and TXT records of DNS.
    Srv(Box<srv::SrvFailure>),
    /// The certificate of the server.
    Certificate(certificate::CertificateFailure),
    /// The revocation check by OCSP.
    Revocation(Box<revocation::RevocationFailure>),
    /// A command or a write that the server rejected.
    Refusal(Box<write::Refusal>),
    /// The program cancelled the operation.
    Cancelled(cancel::Cancelled),
    /// A file of GridFS.
    GridFs(Box<gridfs::GridFsFailure>),
    /// A transaction that failed as a whole.
    Transaction(transaction::TransactionFailure),
}

impl Reason {
    /// Returns true if a name server or the system's resolver did not answer in time.
    pub(crate) fn is_resolver_timeout(&self) -> bool {
        match self {
            Self::Net(failure) => failure.is_resolver_timeout(),
            Self::Srv(failure) => failure.is_resolver_timeout(),
            _ => false,
        }
    }

    /// The alert that the server sent, if it sent one.
    pub(crate) fn alert(&self) -> Option<Alert> {
        match self {
            Self::Tls(failure) => failure.alert(),
            _ => None,
        }
    }
}

impl From<auth::AuthFailure> for Reason {
    fn from(reason: auth::AuthFailure) -> Self {
        Self::Auth(Box::new(reason))
    }
}

impl From<transaction::TransactionFailure> for Reason {
    fn from(reason: transaction::TransactionFailure) -> Self {
        Self::Transaction(reason)
    }
}

impl From<srv::SrvFailure> for Reason {
    fn from(reason: srv::SrvFailure) -> Self {
        Self::Srv(Box::new(reason))
    }
}

impl From<tls::TlsFailure> for Reason {
    fn from(reason: tls::TlsFailure) -> Self {
        Self::Tls(reason)
    }
}

impl From<options::OptionFailure> for Reason {
    fn from(reason: options::OptionFailure) -> Self {
        Self::Option(reason)
    }
}

impl From<Vec<options::OptionConflict>> for Reason {
    fn from(conflicts: Vec<options::OptionConflict>) -> Self {
        Self::Option(options::OptionFailure::Conflicts(conflicts))
    }
}

impl From<files::FileFailure> for Reason {
    fn from(reason: files::FileFailure) -> Self {
        Self::File(reason)
    }
}

impl From<files::ContentFailure> for Reason {
    fn from(reason: files::ContentFailure) -> Self {
        Self::File(files::FileFailure::Content(Box::new(reason)))
    }
}

impl From<io::LocalLimit> for Reason {
    fn from(reason: io::LocalLimit) -> Self {
        Self::LocalLimit(reason)
    }
}

#[cfg(feature = "cloud")]
impl From<io::LimitedExchange> for Reason {
    fn from(reason: io::LimitedExchange) -> Self {
        Self::LimitedExchange(reason)
    }
}

impl From<net::NetFailure> for Reason {
    fn from(reason: net::NetFailure) -> Self {
        Self::Net(reason)
    }
}

impl From<net::HostNameFailure> for net::NetFailure {
    fn from(failure: net::HostNameFailure) -> Self {
        Self::HostName(failure)
    }
}

impl From<net::HostNameFailure> for Reason {
    fn from(failure: net::HostNameFailure) -> Self {
        Self::Net(failure.into())
    }
}

impl From<certificate::CertificateFailure> for Reason {
    fn from(reason: certificate::CertificateFailure) -> Self {
        Self::Certificate(reason)
    }
}

impl From<revocation::RevocationFailure> for Reason {
    fn from(reason: revocation::RevocationFailure) -> Self {
        Self::Revocation(Box::new(reason))
    }
}

impl From<write::Refusal> for Reason {
    fn from(reason: write::Refusal) -> Self {
        Self::Refusal(Box::new(reason))
    }
}

impl From<cancel::Cancelled> for Reason {
    fn from(reason: cancel::Cancelled) -> Self {
        Self::Cancelled(reason)
    }
}

impl From<gridfs::GridFsFailure> for Reason {
    fn from(reason: gridfs::GridFsFailure) -> Self {
        Self::GridFs(Box::new(reason))
    }
}

impl From<hello::HelloFailure> for Reason {
    fn from(reason: hello::HelloFailure) -> Self {
        Self::Hello(reason)
    }
}

impl From<hello::ExchangeFailure> for Reason {
    fn from(reason: hello::ExchangeFailure) -> Self {
        Self::Exchange(reason)
    }
}

impl From<sdam::SdamFailure> for Reason {
    fn from(reason: sdam::SdamFailure) -> Self {
        Self::Sdam(reason)
    }
}
