//! Certification authorities: roots, intermediates, and invalid ones.

use super::{
    AD_OCSP, CrlSpec, Digest, Draft, Identity, KeyIds, KeyKind, LeafSpec, OcspSpec, Validity,
    certificate_setters, information_access, name, random_serial,
};
use crate::der;
use openssl::pkey::{PKey, Private};
use openssl::x509::extension::{BasicConstraints as BasicConstraintsExtension, KeyUsage};
use openssl::x509::{X509, X509Extension, X509Ref};

/// A certification authority with its key and the chain above it.
#[derive(Clone, Debug)]
pub struct Ca {
    cert: X509,
    key: PKey<Private>,
    chain: Vec<X509>,
}

impl Ca {
    /// A self-signed root with sound defaults, valid for ten years.
    pub fn root(common_name: &str, kind: KeyKind) -> Self {
        CaSpec::new(common_name).key_kind(kind).root()
    }

    /// An intermediate with sound defaults, signed by this authority.
    pub fn intermediate(&self, common_name: &str, kind: KeyKind) -> Self {
        CaSpec::new(common_name).key_kind(kind).issued_by(self)
    }

    /// Breaks the signature: its last byte is flipped.
    pub fn with_broken_signature(mut self) -> Self {
        let mut der = self.cert.to_der().unwrap();
        *der.last_mut().unwrap() ^= 0x01;
        self.cert = X509::from_der(&der).unwrap();
        if let Some(own) = self.chain.first_mut() {
            *own = self.cert.clone();
        }
        self
    }

    /// Issues an end-entity certificate.
    pub fn issue(&self, spec: LeafSpec) -> Identity {
        spec.issued_by(self)
    }

    /// Begins a CRL of this authority.
    pub fn crl(&self) -> CrlSpec<'_> {
        CrlSpec::new(self)
    }

    /// Begins an OCSP response of this authority about a certificate that it issued; the status is good.
    pub fn ocsp(&self, cert: &X509Ref) -> OcspSpec {
        OcspSpec::new(self, cert)
    }

    /// The authority's own certificate.
    pub fn cert(&self) -> &X509 {
        &self.cert
    }

    /// The authority's key.
    pub fn key(&self) -> &PKey<Private> {
        &self.key
    }

    /// The certificates that a server must send above its own: this authority and those above it, nearest first,
    /// without the root. Empty for a root.
    pub fn chain(&self) -> &[X509] {
        &self.chain
    }

    /// The authority's certificate as PEM.
    pub fn cert_pem(&self) -> Vec<u8> {
        self.cert.to_pem().unwrap()
    }
}

/// The content of basicConstraints.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum BasicConstraints {
    /// `cA TRUE`, critical, with an optional `pathLenConstraint`.
    Ca(Option<u32>),
    /// `cA FALSE`.
    NotCa,
    /// The extension is absent.
    Absent,
}

/// The options for a [`Ca`].
///
/// ```
/// use mongotls_testbench::pki::{Ca, CaSpec, KeyKind, Validity};
///
/// let root = Ca::root("root", KeyKind::EcP256);
/// let expired = CaSpec::new("intermediate").validity(Validity::expired()).issued_by(&root);
/// assert_eq!(expired.chain().len(), 1);
/// ```
#[derive(Clone, Debug)]
pub struct CaSpec {
    subject: Vec<(String, String)>,
    key_kind: KeyKind,
    key: Option<PKey<Private>>,
    validity: Validity,
    digest: Digest,
    basic_constraints: BasicConstraints,
    may_sign_certificates: bool,
    may_sign_crls: bool,
    permitted_dns: Vec<String>,
    excluded_dns: Vec<String>,
    more: Vec<(String, bool, Vec<u8>)>,
    key_ids: KeyIds,
    ocsp_urls: Vec<String>,
}

impl CaSpec {
    /// A sound authority: P-256, SHA-256, ten years, `cA TRUE`, keyCertSign and cRLSign.
    pub fn new(common_name: &str) -> Self {
        Self {
            subject: vec![("CN".into(), common_name.into())],
            key_kind: KeyKind::EcP256,
            key: None,
            validity: Validity::days(-1, 3650),
            digest: Digest::default(),
            basic_constraints: BasicConstraints::Ca(None),
            may_sign_certificates: true,
            may_sign_crls: true,
            permitted_dns: Vec::new(),
            excluded_dns: Vec::new(),
            more: Vec::new(),
            key_ids: KeyIds::default(),
            ocsp_urls: Vec::new(),
        }
    }

    certificate_setters!();

    /// The content of basicConstraints.
    pub fn basic_constraints(mut self, constraints: BasicConstraints) -> Self {
        self.basic_constraints = constraints;
        self
    }

    /// Allows at most this many intermediates below this one.
    pub fn path_length(self, length: u32) -> Self {
        self.basic_constraints(BasicConstraints::Ca(Some(length)))
    }

    /// Leaves keyCertSign out of keyUsage.
    pub fn without_cert_sign(mut self) -> Self {
        self.may_sign_certificates = false;
        self
    }

    /// Leaves cRLSign out of keyUsage.
    pub fn without_crl_sign(mut self) -> Self {
        self.may_sign_crls = false;
        self
    }

    /// Name constraint: permits only this DNS subtree.
    pub fn permit_dns(mut self, subtree: &str) -> Self {
        self.permitted_dns.push(subtree.into());
        self
    }

    /// Name constraint: excludes this DNS subtree.
    pub fn exclude_dns(mut self, subtree: &str) -> Self {
        self.excluded_dns.push(subtree.into());
        self
    }

    /// Adds the URL of the OCSP responder for this authority's own certificate.
    pub fn ocsp_url(mut self, url: &str) -> Self {
        self.ocsp_urls.push(url.into());
        self
    }

    /// Makes a self-signed root.
    pub fn root(self) -> Ca {
        self.make(None)
    }

    /// Makes an authority below `issuer`.
    pub fn issued_by(self, issuer: &Ca) -> Ca {
        self.make(Some(issuer))
    }

    fn make(self, issuer: Option<&Ca>) -> Ca {
        let extensions = self.extensions();
        let key = self.key.unwrap_or_else(|| self.key_kind.generate());
        let cert = Draft {
            subject: &name(&self.subject),
            key: &key,
            validity: self.validity,
            serial: random_serial(),
            digest: self.digest,
            extensions,
            key_ids: self.key_ids,
        }
        .sign(issuer);
        let chain = issuer.map_or_else(Vec::new, |above| {
            [std::slice::from_ref(&cert), above.chain()].concat()
        });
        Ca { cert, key, chain }
    }

    fn extensions(&self) -> Vec<X509Extension> {
        let mut extensions = Vec::new();
        let mut constraints = BasicConstraintsExtension::new();
        constraints.critical();
        match self.basic_constraints {
            BasicConstraints::Ca(path_length) => {
                constraints.ca();
                if let Some(length) = path_length {
                    constraints.pathlen(length);
                }
                extensions.push(constraints.build().unwrap());
            }
            BasicConstraints::NotCa => extensions.push(constraints.build().unwrap()),
            BasicConstraints::Absent => {}
        }

        let mut usage = KeyUsage::new();
        usage.critical();
        if self.may_sign_crls {
            usage.crl_sign();
        }
        if self.may_sign_certificates {
            usage.key_cert_sign();
        }
        extensions.push(usage.build().unwrap());

        if !self.permitted_dns.is_empty() || !self.excluded_dns.is_empty() {
            let value = der::sequence(&[
                subtrees(0, &self.permitted_dns),
                subtrees(1, &self.excluded_dns),
            ]);
            extensions.push(der::extension("2.5.29.30", true, &value));
        }
        for (dotted, critical, value) in &self.more {
            extensions.push(der::extension(dotted, *critical, value));
        }
        if !self.ocsp_urls.is_empty() {
            let urls = self.ocsp_urls.iter();
            let locations: Vec<_> = urls
                .map(|url| (AD_OCSP, der::context(6, url.as_bytes())))
                .collect();
            extensions.push(information_access(&locations));
        }
        extensions
    }
}

/// `permittedSubtrees [0]` or `excludedSubtrees [1]` of DNS names; empty if there are none.
fn subtrees(tag: u8, names: &[String]) -> Vec<u8> {
    if names.is_empty() {
        return Vec::new();
    }
    let trees: Vec<u8> = names
        .iter()
        .flat_map(|dns| der::sequence(&[der::context(2, dns.as_bytes())]))
        .collect();
    der::context_constructed(tag, &trees)
}
