//! Why a connection failed, or an operation was rejected: the codes, their categories, and the facts that go with them.
//!
//! Every failed attempt to connect ends in exactly one [`CauseCode`]. The code is a contract: it is stable once
//! released, programs may match on it and dashboards may count it. The message, the remedy and the facts beside it are
//! for people and may get better from one release to the next.
//!
//! A [`Cause`] is plain data. The layer that understands the failure returns a value of `reason`, and `explain` makes
//! the cause from it. The cause is a part of [`Error`](crate::Error), and the command line prints it. A remedy names the option, file or command to
//! change; it never advises to switch verification off.

use std::fmt;
use std::time::SystemTime;

use crate::address::ServerAddress;
use crate::enum_text::{codes, display_as_str};
pub use crate::printable::Printable;
use crate::printable::printable;
use crate::reason::Reason;
use crate::time::rfc3339;

/// Where to look for the reason, in the order in which the PyMongo guide sorts TLS errors, and then what is met beside
/// them.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum Category {
    /// The server's certificate, or its chain, does not verify.
    Certificate,
    /// The two sides do not agree on how to speak TLS, or one does not speak it at all.
    Protocol,
    /// A certificate is revoked, or what would tell is missing or invalid.
    Revocation,
    /// The server refused the client's certificate, or misses one.
    ClientCertificate,
    /// An option or a local file is wrong; nothing was sent.
    Configuration,
    /// The user's credential could not be obtained; the server was not asked, or not to the end.
    Credential,
    /// The server could not be reached, or went away.
    Network,
    /// The connection is fine and what answers on it is not, or refuses.
    Server,
    /// The server rejected a command of the program, or one of its writes; or the program cancelled it.
    Operation,
}

impl Category {
    /// The category as it stands in `mongotls doctor --json`.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Certificate => "certificate",
            Self::Protocol => "protocol",
            Self::Revocation => "revocation",
            Self::ClientCertificate => "client-certificate",
            Self::Configuration => "configuration",
            Self::Credential => "credential",
            Self::Network => "network",
            Self::Server => "server",
            Self::Operation => "operation",
        }
    }
}

display_as_str!(Category);

/// A row of the table has the variant, its code, its category and when it applies.
macro_rules! causes {
    ($($variant:ident = $code:literal, $category:ident, $when:literal;)*) => {
        codes! {
            /// The stable name of a reason for a failed connection or a rejected operation.
            CauseCode

            $($variant = $code, $when;)*
        }

        impl CauseCode {
            /// The category that the code belongs to.
            pub fn category(self) -> Category {
                match self { $(Self::$variant => Category::$category,)* }
            }
        }
    };
}

causes! {
    CertificateExpired = "certificate-expired", Certificate, "a certificate of the server's chain is past its notAfter";
    CertificateNotYetValid = "certificate-not-yet-valid", Certificate, "a certificate of the server's chain is before its notBefore";
    IssuerUnknown = "issuer-unknown", Certificate, "no path leads from the server's certificate to a trust anchor";
    SelfSigned = "self-signed", Certificate, "the server's certificate is signed by itself and is not trusted";
    UntrustedRoot = "untrusted-root", Certificate, "the chain ends in a self-signed CA that is not among the trust anchors";
    HostnameMismatch = "hostname-mismatch", Certificate, "no DNS name in the certificate matches the host name";
    IpAddressMismatch = "ip-address-mismatch", Certificate, "no IP address in the certificate matches the address";
    NoSubjectAltName = "no-subject-alt-name", Certificate, "the certificate names no host in its subject alternative names";
    WrongPurpose = "wrong-purpose", Certificate, "the certificate's key usage or extended key usage forbids a TLS server";
    InvalidCa = "invalid-ca", Certificate, "a CA in the chain is not allowed to sign the certificate below it";
    SignatureInvalid = "signature-invalid", Certificate, "a signature in the chain does not verify";
    KeyTooWeak = "key-too-weak", Certificate, "a key in the chain is below the security level";
    DigestTooWeak = "digest-too-weak", Certificate, "a signature digest in the chain is below the security level";
    PinMismatch = "pin-mismatch", Certificate, "no public key in the server's verified chain is pinned";

    ProtocolVersionMismatch = "protocol-version-mismatch", Protocol, "the two sides have no TLS version in common";
    NoSharedCipher = "no-shared-cipher", Protocol, "the two sides have no cipher suite, group or signature algorithm in common";
    ServerNameRejected = "server-name-rejected", Protocol, "the server rejected the name sent in SNI";
    ServerNotTls = "server-not-tls", Protocol, "the answer to the ClientHello was not TLS";
    ServerRequiresTls = "server-requires-tls", Protocol, "TLS was off and the server closed the connection or answered in TLS";
    TlsAlert = "tls-alert", Protocol, "the server sent another alert, or this client ended the handshake with one";

    RevokedCrl = "revoked-crl", Revocation, "a CRL lists the certificate";
    CrlMissing = "crl-missing", Revocation, "a CRL check is configured but there is no CRL of the issuer";
    CrlExpired = "crl-expired", Revocation, "the CRL is past its nextUpdate";
    CrlNotYetValid = "crl-not-yet-valid", Revocation, "the CRL is before its thisUpdate";
    CrlInvalid = "crl-invalid", Revocation, "the CRL's signature or scope does not verify";
    RevokedOcspStaple = "revoked-ocsp-staple", Revocation, "the stapled OCSP response says that the certificate is revoked";
    RevokedOcspResponder = "revoked-ocsp-responder", Revocation, "the OCSP responder says that the certificate is revoked";
    MustStapleMissing = "must-staple-missing", Revocation, "a must-staple certificate came without an OCSP response";
    OcspStapleInvalid = "ocsp-staple-invalid", Revocation, "the stapled OCSP response does not verify, is out of date or is for another certificate";
    RevocationUnknown = "revocation-unknown", Revocation, "a revocation status is required but cannot be determined";

    ClientCertificateRequired = "client-certificate-required", ClientCertificate, "the server requested a client certificate but none is configured";
    ClientCertificateUntrusted = "client-certificate-untrusted", ClientCertificate, "the server does not know the CA of the client certificate";
    ClientCertificateExpired = "client-certificate-expired", ClientCertificate, "the client certificate has expired";
    ClientCertificateRevoked = "client-certificate-revoked", ClientCertificate, "the server says that the client certificate is revoked";
    ClientCertificateRejected = "client-certificate-rejected", ClientCertificate, "the server rejected the client certificate for another reason";

    CaFileUnreadable = "ca-file-unreadable", Configuration, "the CA file cannot be read";
    CrlFileUnreadable = "crl-file-unreadable", Configuration, "the CRL file cannot be read";
    KeyFileUnreadable = "key-file-unreadable", Configuration, "the client certificate file cannot be read";
    CaFileInvalid = "ca-file-invalid", Configuration, "the CA file contains no certificate";
    CrlFileInvalid = "crl-file-invalid", Configuration, "the CRL file contains no CRL";
    KeyFileNoCertificate = "key-file-no-certificate", Configuration, "the client certificate file contains no certificate";
    KeyFileNoPrivateKey = "key-file-no-private-key", Configuration, "the client certificate file contains no private key";
    KeyPasswordMissing = "key-password-missing", Configuration, "the private key is encrypted and no password is configured";
    KeyPasswordWrong = "key-password-wrong", Configuration, "the password does not decrypt the private key";
    KeyAlgorithmUnsupported = "key-algorithm-unsupported", Configuration, "this OpenSSL does not support the key's type or encryption";
    KeyCertificateMismatch = "key-certificate-mismatch", Configuration, "the private key and the certificate do not belong together";
    LocalLimit = "local-limit", Configuration, "this host has no descriptor, thread, local port or memory left";
    NoTrustAnchors = "no-trust-anchors", Configuration, "no CA file is configured and the system has no trust anchors";
    MechanismUnsupported = "mechanism-unsupported", Configuration, "this build, or this OpenSSL, does not support an option, such as an authentication mechanism";
    OptionConflict = "option-conflict", Configuration, "two options contradict each other, or one has a value outside its range";
    InvalidUri = "invalid-uri", Configuration, "the connection string does not parse";

    AwsCredentialsMissing = "aws-credentials-missing", Credential, "no source has AWS credentials";
    AwsStsRefused = "aws-sts-refused", Credential, "AWS STS refused to give credentials for the web identity";
    CredentialServiceFailed = "credential-service-failed", Credential, "the credential source of the environment does not provide credentials";
    OidcCallbackFailed = "oidc-callback-failed", Credential, "the program's OIDC callback did not return a token in time";
    OidcHostNotAllowed = "oidc-host-not-allowed", Credential, "a person would have to log in for a host that is not allowed";
    KerberosTicketMissing = "kerberos-ticket-missing", Credential, "there is no Kerberos ticket for the user, or it has expired";
    KerberosServiceUnknown = "kerberos-service-unknown", Credential, "the KDC does not know the service principal of the server";
    KerberosFailed = "kerberos-failed", Credential, "the Kerberos library failed for another reason";

    DnsNotFound = "dns-not-found", Network, "the host name does not exist";
    DnsFailed = "dns-failed", Network, "the resolver failed";
    SrvNotFound = "srv-not-found", Network, "the name has no SRV record";
    SrvInvalid = "srv-invalid", Network, "the SRV or TXT record violates the specification";
    ConnectionRefused = "connection-refused", Network, "nothing listens on the port";
    ConnectionReset = "connection-reset", Network, "the peer reset the connection";
    ConnectionClosed = "connection-closed", Network, "the peer closed the connection";
    NetworkUnreachable = "network-unreachable", Network, "there is no route to the host";
    ConnectTimeout = "connect-timeout", Network, "the TCP connection was not established in time";
    ProxyFailed = "proxy-failed", Network, "the SOCKS5 proxy did not connect to the server, for a reason that has no other code";
    HandshakeTimeout = "handshake-timeout", Network, "the TLS or MongoDB handshake did not end in time";

    NotMongodb = "not-mongodb", Server, "the peer is not a MongoDB server";
    ProtocolError = "protocol-error", Server, "the server, or a device in between, violated the MongoDB protocol after hello";
    HelloFailed = "hello-failed", Server, "the server answered hello with an error or an unsupported wire version";
    AuthenticationFailed = "authentication-failed", Server, "the server rejected the credential";
    MechanismUnavailable = "mechanism-unavailable", Server, "the server does not offer the authentication mechanism";
    ServerNotProven = "server-not-proven", Server, "the server violated the rules of the authentication mechanism, or did not prove that it knows the user";

    DuplicateKey = "duplicate-key", Operation, "a unique index already has the value";
    ValidationFailed = "validation-failed", Operation, "the document violates the rules of its collection";
    WriteConflict = "write-conflict", Operation, "another operation changed the same document at the same time";
    NotPrimary = "not-primary", Operation, "the server is not the primary, or stops being it";
    WriteConcernTimeout = "write-concern-timeout", Operation, "the write was made, but not confirmed by enough members in time";
    MaxTimeExpired = "max-time-expired", Operation, "the time limit of the operation passed at the server";
    DocumentTooLarge = "document-too-large", Operation, "the document is larger than the server allows";
    CursorExpired = "cursor-expired", Operation, "the server does not have the cursor any more";
    Unauthorized = "unauthorized", Operation, "the user has no right to run the command";
    ImmutableField = "immutable-field", Operation, "the update changes a field that cannot change";
    IndexConflict = "index-conflict", Operation, "there is another index with the same name or the same keys";
    NamespaceExists = "namespace-exists", Operation, "there is a collection or a view with this name";
    ApiStrict = "api-strict", Operation, "the command is not a part of the Stable API";
    Cancelled = "cancelled", Operation, "the program cancelled the operation";
    GridfsFileNotFound = "gridfs-file-not-found", Operation, "no file of the GridFS bucket has the ID or the name";
    GridfsRevisionNotFound = "gridfs-revision-not-found", Operation, "the file of the GridFS bucket has fewer revisions";
    GridfsFileExists = "gridfs-file-exists", Operation, "the GridFS upload to resume is complete already";
    GridfsCorrupt = "gridfs-corrupt", Operation, "a chunk of a GridFS file is missing or wrong, or the file's document is";
    CommitUnknown = "commit-unknown", Operation, "it is unknown whether the transaction was committed";
    TransactionSpoiled = "transaction-spoiled", Operation, "a command of the transaction failed, and the closure ignored its error";
}

/// A reason for a failed connection or a rejected operation, with the remedy and the facts that a person needs to fix it.
///
/// `Display` prints the message alone, in one line.
#[derive(Clone, Debug, PartialEq)]
pub struct Cause(Box<Explained>);

/// A reason with its words. In a box, because results carry it through many functions.
#[derive(Clone, Debug, PartialEq)]
struct Explained {
    reason: Reason,
    explanation: Explanation,
}

/// A reason in words: the code, the message, the remedy and the facts.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct Explanation {
    code: CauseCode,
    message: String,
    remedy: String,
    facts: Facts,
}

// Cold, as those of `Error` are: so that the code of callers stays small and together.
impl Explanation {
    #[cold]
    pub(crate) fn new(
        code: CauseCode,
        message: impl Into<String>,
        remedy: impl Into<String>,
    ) -> Self {
        Self {
            code,
            message: printable(message.into()),
            remedy: printable(remedy.into()),
            facts: Facts::default(),
        }
    }

    /// Adds a fact, or replaces the one of that name.
    #[cold]
    pub(crate) fn fact(mut self, key: &'static str, value: impl Into<FactValue>) -> Self {
        self.facts.push(key, value);
        self
    }

    /// Adds a fact if `value` is `Some`.
    #[cold]
    pub(crate) fn fact_opt(self, key: &'static str, value: Option<impl Into<FactValue>>) -> Self {
        match value {
            Some(value) => self.fact(key, value),
            None => self,
        }
    }

    pub(crate) fn code(&self) -> CauseCode {
        self.code
    }

    pub(crate) fn message(&self) -> &str {
        &self.message
    }

    pub(crate) fn remedy(&self) -> &str {
        &self.remedy
    }

    /// Replaces the message.
    pub(crate) fn with_message(self, message: impl Into<String>) -> Self {
        Self {
            message: printable(message.into()),
            ..self
        }
    }

    /// Replaces the remedy.
    pub(crate) fn with_remedy(self, remedy: impl Into<String>) -> Self {
        Self {
            remedy: printable(remedy.into()),
            ..self
        }
    }
}

impl Cause {
    /// A reason with its explanation, which [`explain`](crate::explain) writes.
    #[cold]
    pub(crate) fn explained(reason: Reason, explanation: Explanation) -> Self {
        Self(Box::new(Explained {
            reason,
            explanation,
        }))
    }

    /// Changes the words for the same reason: an upper layer adds what only it knows. Only [`explain`](crate::explain)
    /// calls it.
    pub(crate) fn reworded(self, reword: impl FnOnce(Explanation) -> Explanation) -> Self {
        let Explained {
            reason,
            explanation,
        } = *self.0;
        Self::explained(reason, reword(explanation))
    }

    /// The reason as data, for decisions.
    pub(crate) fn reason(&self) -> &Reason {
        &self.0.reason
    }

    /// A cause with any code, for tests.
    #[cfg(any(test, feature = "_internals"))]
    pub(crate) fn simulated(code: CauseCode, message: &str, remedy: &str) -> Self {
        Self::explained(Reason::Simulated, Explanation::new(code, message, remedy))
    }

    /// Adds the facts `server`, `host` and `port`.
    pub(crate) fn with_server(self, server: &ServerAddress) -> Self {
        self.reworded(|explanation| {
            explanation
                .fact("server", server.to_string())
                .fact("host", server.host())
                .fact_opt("port", server.port().map(u32::from))
        })
    }

    /// The stable code.
    pub fn code(&self) -> CauseCode {
        self.0.explanation.code
    }

    /// The category of the code.
    pub fn category(&self) -> Category {
        self.0.explanation.code.category()
    }

    /// The message: one line, lower case, without a full stop.
    pub fn message(&self) -> &str {
        &self.0.explanation.message
    }

    /// The remedy: one or two sentences.
    ///
    /// ```
    /// use mongotls::{CauseCode, Client};
    ///
    /// let error = Client::connect("mongodb://h/?tls=false&tlsCAFile=ca.pem").unwrap_err();
    /// let cause = error.cause().unwrap();
    /// assert_eq!(cause.code(), CauseCode::OptionConflict);
    /// println!("{}", cause.remedy());
    /// ```
    pub fn remedy(&self) -> &str {
        &self.0.explanation.remedy
    }

    /// The facts behind the message.
    ///
    /// ```
    /// let error = mongotls::Client::connect("mongodb://h/?tlsCAFile=missing.pem").unwrap_err();
    /// for (name, value) in error.cause().unwrap().facts().iter() {
    ///     println!("{name}: {value}");
    /// }
    /// ```
    pub fn facts(&self) -> &Facts {
        &self.0.explanation.facts
    }
}

impl fmt::Display for Cause {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0.explanation.message)
    }
}

/// Named facts in the order in which they are worth reading.
///
/// Keys are lower case words joined by underscores, for example `subject`, `not_after`, `presented_names`, `path`.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Facts(Vec<(&'static str, FactValue)>);

impl Facts {
    /// Adds a fact, or replaces the one of that name.
    #[cold]
    pub(crate) fn push(&mut self, key: &'static str, value: impl Into<FactValue>) {
        let value = value.into();
        match self.0.iter_mut().find(|(name, _)| *name == key) {
            Some(slot) => slot.1 = value,
            None => self.0.push((key, value)),
        }
    }

    /// The fact of that name.
    pub fn get(&self, key: &str) -> Option<&FactValue> {
        self.0
            .iter()
            .find(|(name, _)| *name == key)
            .map(|(_, value)| value)
    }

    /// All facts in their order.
    pub fn iter(&self) -> impl Iterator<Item = (&'static str, &FactValue)> {
        self.0.iter().map(|(key, value)| (*key, value))
    }

    /// Returns true if there is no fact.
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }
}

/// The value of a fact.
#[derive(Clone, Debug, PartialEq)]
#[non_exhaustive]
pub enum FactValue {
    /// Text, exactly as it was found. `Display` makes it [printable](crate::cause::Printable).
    Text(String),
    /// A count, a depth, a length or a number of milliseconds; the key tells the unit.
    Number(i64),
    /// Yes or no.
    Bool(bool),
    /// An instant in UTC.
    Time(SystemTime),
    /// Several texts, such as the names in a certificate.
    List(Vec<String>),
}

impl fmt::Display for FactValue {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Text(text) => write!(f, "{}", Printable(text)),
            Self::Number(number) => write!(f, "{number}"),
            Self::Bool(yes) => f.write_str(if *yes { "yes" } else { "no" }),
            Self::Time(time) => f.write_str(&rfc3339(*time)),
            Self::List(list) if list.is_empty() => f.write_str("none"),
            Self::List(list) => write!(f, "{}", Printable(list.join(", "))),
        }
    }
}

impl From<String> for FactValue {
    fn from(text: String) -> Self {
        Self::Text(text)
    }
}

impl From<&str> for FactValue {
    fn from(text: &str) -> Self {
        Self::Text(text.to_owned())
    }
}

impl From<bool> for FactValue {
    fn from(yes: bool) -> Self {
        Self::Bool(yes)
    }
}

impl From<i64> for FactValue {
    fn from(number: i64) -> Self {
        Self::Number(number)
    }
}

impl From<u32> for FactValue {
    fn from(number: u32) -> Self {
        Self::Number(i64::from(number))
    }
}

impl From<SystemTime> for FactValue {
    fn from(time: SystemTime) -> Self {
        Self::Time(time)
    }
}

impl From<Vec<String>> for FactValue {
    fn from(list: Vec<String>) -> Self {
        Self::List(list)
    }
}

#[cfg(test)]
mod tests {
    use std::collections::HashSet;

    use super::*;

    #[test]
    fn codes_are_unique_and_well_formed() {
        let codes: HashSet<_> = CauseCode::ALL.iter().map(|code| code.as_str()).collect();
        assert_eq!(codes.len(), CauseCode::ALL.len());
        for code in codes {
            assert!(
                code.bytes().all(|b| b.is_ascii_lowercase() || b == b'-'),
                "{code}"
            );
        }
    }

    #[test]
    fn a_fact_of_the_same_name_is_replaced_in_place() {
        let explanation = Explanation::new(CauseCode::TlsAlert, "m", "r")
            .fact("depth", 0_u32)
            .fact("alert", "x")
            .fact("depth", 1_u32);
        let cause = Cause::explained(Reason::Simulated, explanation);
        let keys: Vec<_> = cause
            .facts()
            .iter()
            .map(|(key, value)| format!("{key}={value}"))
            .collect();
        assert_eq!(keys, ["depth=1", "alert=x"]);
    }
}
