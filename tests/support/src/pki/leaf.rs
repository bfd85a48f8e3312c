//! End-entity certificates with selected contents.

use super::{
    AD_CA_ISSUERS, AD_OCSP, Ca, Digest, Draft, Identity, KeyIds, KeyKind, Validity,
    certificate_setters, information_access, name, random_serial,
};
use crate::der;
use openssl::bn::BigNum;
use openssl::pkey::{PKey, Private};
use openssl::x509::X509Extension;
use openssl::x509::extension::{BasicConstraints, ExtendedKeyUsage, KeyUsage};
use std::net::IpAddr;

/// A value of the extended key usage.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Purpose {
    /// `id-kp-serverAuth`.
    ServerAuth,
    /// `id-kp-clientAuth`.
    ClientAuth,
    /// `id-kp-OCSPSigning`: a delegated responder.
    OcspSigning,
    /// `id-kp-codeSigning`.
    CodeSigning,
}

/// The content of keyUsage.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Usage {
    /// digitalSignature and keyEncipherment: usable for TLS.
    Tls,
    /// Only nonRepudiation: not usable for TLS.
    NonRepudiation,
    /// Only keyCertSign: a CA's usage, not usable for TLS.
    CertSign,
    /// The extension is absent.
    Absent,
}

/// The options for an end-entity certificate. It has only the subject alternative names that are set.
///
/// ```
/// use mongotls_testbench::pki::{Ca, KeyKind, LeafSpec, Validity};
///
/// let ca = Ca::root("root", KeyKind::EcP256);
/// let server = ca.issue(LeafSpec::server("db.example").ip("127.0.0.1").must_staple());
/// let client = ca.issue(LeafSpec::client("app").validity(Validity::expired()));
/// ```
#[derive(Debug)]
pub struct LeafSpec {
    subject: Vec<(String, String)>,
    dns: Vec<String>,
    ips: Vec<IpAddr>,
    key_kind: KeyKind,
    key: Option<PKey<Private>>,
    validity: Validity,
    serial: BigNum,
    digest: Digest,
    purposes: Vec<Purpose>,
    usage: Usage,
    tls_features: Vec<u8>,
    information_access: Vec<(&'static str, Vec<u8>)>,
    crl_urls: Vec<String>,
    is_ca: bool,
    ocsp_no_check: bool,
    more: Vec<(String, bool, Vec<u8>)>,
    key_ids: KeyIds,
}

impl LeafSpec {
    /// A server certificate with `host` as common name and as its one DNS name.
    pub fn server(host: &str) -> Self {
        Self::new(host).dns(host).purposes(&[Purpose::ServerAuth])
    }

    /// A server certificate for `localhost`, `127.0.0.1` and `::1`.
    pub fn local_server() -> Self {
        Self::server("localhost").ip("127.0.0.1").ip("::1")
    }

    /// A client certificate; its subject is `CN=common_name,OU=clients,O=mongotls`.
    pub fn client(common_name: &str) -> Self {
        Self::new(common_name)
            .subject_entry("OU", "clients")
            .subject_entry("O", "mongotls")
            .purposes(&[Purpose::ClientAuth])
    }

    /// The certificate of a delegated OCSP responder, with `id-pkix-ocsp-nocheck`.
    ///
    /// It is a valid delegate if the CA that issues it also issued the certificate in question. Without the usage:
    /// `.purposes(&[])`; expired: `.validity(Validity::expired())`; of a CA of the same name with another key: let a
    /// second [`Ca::root`] of that name issue it.
    pub fn ocsp_responder(common_name: &str) -> Self {
        Self::new(common_name)
            .purposes(&[Purpose::OcspSigning])
            .ocsp_no_check(true)
    }

    /// A certificate with only a common name: no names, no extended key usage.
    pub fn new(common_name: &str) -> Self {
        Self {
            subject: vec![("CN".into(), common_name.into())],
            dns: Vec::new(),
            ips: Vec::new(),
            key_kind: KeyKind::EcP256,
            key: None,
            validity: Validity::days(-1, 365),
            serial: random_serial(),
            digest: Digest::default(),
            purposes: Vec::new(),
            usage: Usage::Tls,
            tls_features: Vec::new(),
            information_access: Vec::new(),
            crl_urls: Vec::new(),
            is_ca: false,
            ocsp_no_check: false,
            more: Vec::new(),
            key_ids: KeyIds::default(),
        }
    }

    /// Adds a DNS name to the subject alternative names.
    pub fn dns(mut self, name: &str) -> Self {
        self.dns.push(name.into());
        self
    }

    /// Adds an IP address to the subject alternative names.
    pub fn ip(mut self, address: &str) -> Self {
        self.ips.push(address.parse().expect("an IP address"));
        self
    }

    /// Removes every subject alternative name.
    pub fn no_san(mut self) -> Self {
        self.dns.clear();
        self.ips.clear();
        self
    }

    /// Replaces the common name.
    pub fn cn(mut self, common_name: &str) -> Self {
        self.subject.retain(|(attribute, _)| attribute != "CN");
        self.subject.push(("CN".into(), common_name.into()));
        self
    }

    certificate_setters!();

    /// Sets the serial number instead of a random one.
    pub fn serial(mut self, serial: BigNum) -> Self {
        self.serial = serial;
        self
    }

    /// Replaces the extended key usage; empty leaves the extension out.
    pub fn purposes(mut self, purposes: &[Purpose]) -> Self {
        self.purposes = purposes.to_vec();
        self
    }

    /// The content of keyUsage.
    pub fn usage(mut self, usage: Usage) -> Self {
        self.usage = usage;
        self
    }

    /// Requires a stapled OCSP response (RFC 7633, `status_request`).
    pub fn must_staple(self) -> Self {
        self.tls_features(&[5]) // RFC 6066 §8: status_request
    }

    /// Requires these TLS extensions of the server (RFC 7633), by their numbers below 128.
    pub fn tls_features(mut self, extensions: &[u8]) -> Self {
        self.tls_features = extensions.to_vec();
        self
    }

    /// Adds an OCSP responder's URL to the authority information access; any text, several in order.
    pub fn ocsp_url(self, url: &str) -> Self {
        self.ocsp_location(&der::context(6, url.as_bytes()))
    }

    /// Adds an OCSP responder by any GeneralName (DER): a name that is not a URI, or a URI that is not text.
    pub fn ocsp_location(mut self, general_name: &[u8]) -> Self {
        self.information_access
            .push((AD_OCSP, general_name.to_vec()));
        self
    }

    /// Adds the location of the issuer's certificate to the authority information access.
    pub fn ca_issuers_url(mut self, url: &str) -> Self {
        self.information_access
            .push((AD_CA_ISSUERS, der::context(6, url.as_bytes())));
        self
    }

    /// Sets if `id-pkix-ocsp-nocheck` is present: a delegate that need not be checked itself.
    pub fn ocsp_no_check(mut self, present: bool) -> Self {
        self.ocsp_no_check = present;
        self
    }

    /// Adds a CRL distribution point.
    pub fn crl_url(mut self, url: &str) -> Self {
        self.crl_urls.push(url.into());
        self
    }

    /// Sets `cA TRUE` although this is an end entity.
    pub fn marked_as_ca(mut self) -> Self {
        self.is_ca = true;
        self
    }

    /// Makes the certificate, signed by `issuer`.
    pub fn issued_by(self, issuer: &Ca) -> Identity {
        self.make(Some(issuer))
    }

    /// Makes the certificate, signed with its own key.
    pub fn self_signed(self) -> Identity {
        self.make(None)
    }

    fn make(self, issuer: Option<&Ca>) -> Identity {
        let extensions = self.extensions();
        let key = self.key.unwrap_or_else(|| self.key_kind.generate());
        let cert = Draft {
            subject: &name(&self.subject),
            key: &key,
            validity: self.validity,
            serial: self.serial,
            digest: self.digest,
            extensions,
            key_ids: self.key_ids,
        }
        .sign(issuer);
        Identity {
            cert,
            key,
            chain: issuer.map_or_else(Vec::new, |ca| ca.chain().to_vec()),
        }
    }

    fn extensions(&self) -> Vec<X509Extension> {
        let mut constraints = BasicConstraints::new();
        constraints.critical();
        if self.is_ca {
            constraints.ca();
        }
        let mut extensions = vec![constraints.build().unwrap()];
        extensions.extend(self.usage.extension());
        if !self.purposes.is_empty() {
            extensions.push(extended_key_usage(&self.purposes));
        }
        if !self.dns.is_empty() || !self.ips.is_empty() {
            extensions.push(self.alternative_names());
        }
        if !self.tls_features.is_empty() {
            // RFC 7633 §3: Features ::= SEQUENCE OF INTEGER.
            let features: Vec<_> = self
                .tls_features
                .iter()
                .map(|number| der::value(der::INTEGER, &[*number]))
                .collect();
            let value = der::sequence(&features);
            extensions.push(der::extension("1.3.6.1.5.5.7.1.24", false, &value));
        }
        if !self.information_access.is_empty() {
            extensions.push(information_access(&self.information_access));
        }
        if !self.crl_urls.is_empty() {
            let points: Vec<Vec<u8>> = self
                .crl_urls
                .iter()
                .map(|url| {
                    let full_name = der::context_constructed(0, &der::context(6, url.as_bytes()));
                    der::sequence(&[der::context_constructed(0, &full_name)])
                })
                .collect();
            extensions.push(der::extension("2.5.29.31", false, &der::sequence(&points)));
        }
        if self.ocsp_no_check {
            // RFC 6960 §4.2.2.2.1: the value is NULL.
            extensions.push(der::extension("1.3.6.1.5.5.7.48.1.5", false, &[5, 0]));
        }
        for (dotted, critical, value) in &self.more {
            extensions.push(der::extension(dotted, *critical, value));
        }
        extensions
    }

    fn alternative_names(&self) -> X509Extension {
        let names: Vec<Vec<u8>> = self
            .dns
            .iter()
            .map(|dns| der::context(2, dns.as_bytes()))
            .chain(self.ips.iter().map(|ip| match ip {
                IpAddr::V4(v4) => der::context(7, &v4.octets()),
                IpAddr::V6(v6) => der::context(7, &v6.octets()),
            }))
            .collect();
        der::extension("2.5.29.17", false, &der::sequence(&names))
    }
}

impl Usage {
    fn extension(self) -> Option<X509Extension> {
        let mut usage = KeyUsage::new();
        usage.critical();
        match self {
            Self::Tls => usage.digital_signature().key_encipherment(),
            Self::NonRepudiation => usage.non_repudiation(),
            Self::CertSign => usage.key_cert_sign(),
            Self::Absent => return None,
        };
        Some(usage.build().unwrap())
    }
}

fn extended_key_usage(purposes: &[Purpose]) -> X509Extension {
    let mut usage = ExtendedKeyUsage::new();
    for purpose in purposes {
        match purpose {
            Purpose::ServerAuth => usage.server_auth(),
            Purpose::ClientAuth => usage.client_auth(),
            Purpose::OcspSigning => usage.other("OCSPSigning"),
            Purpose::CodeSigning => usage.code_signing(),
        };
    }
    usage.build().unwrap()
}
