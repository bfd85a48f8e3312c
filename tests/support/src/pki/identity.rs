//! A certificate with its key and the chain above it, in all file formats.

use super::LeafSpec;
use openssl::nid::Nid;
use openssl::pkcs12::Pkcs12;
use openssl::pkey::{Id, PKey, Private};
use openssl::stack::Stack;
use openssl::symm::Cipher;
use openssl::x509::X509;

/// An end-entity certificate, its private key, and the intermediates that belong with it.
#[derive(Clone, Debug)]
pub struct Identity {
    /// The end entity.
    pub cert: X509,
    /// Its private key.
    pub key: PKey<Private>,
    /// The intermediates, nearest first, without the root. Clear it for a server that omits them.
    pub chain: Vec<X509>,
}

impl Identity {
    /// Makes a certificate that is its own issuer.
    pub fn self_signed(spec: LeafSpec) -> Self {
        spec.self_signed()
    }

    /// Reads the output of [`bundle_pem`](Self::bundle_pem).
    ///
    /// # Panics
    ///
    /// If it is something else.
    pub fn from_bundle_pem(pem: &[u8]) -> Self {
        let mut certs = X509::stack_from_pem(pem).unwrap();
        Self {
            cert: certs.remove(0),
            key: PKey::private_key_from_pem(pem).unwrap(),
            chain: certs,
        }
    }

    /// Removes the intermediates: for a server that sends only its end entity.
    pub fn without_chain(mut self) -> Self {
        self.chain.clear();
        self
    }

    /// Breaks the signature: its last byte is flipped.
    pub fn with_broken_signature(mut self) -> Self {
        let mut der = self.cert.to_der().unwrap();
        *der.last_mut().unwrap() ^= 0x01;
        self.cert = X509::from_der(&der).unwrap();
        self
    }

    /// Only the certificate, as PEM.
    pub fn cert_pem(&self) -> Vec<u8> {
        self.cert.to_pem().unwrap()
    }

    /// The certificate and its intermediates as PEM.
    pub fn chain_pem(&self) -> Vec<u8> {
        let mut pem = self.cert_pem();
        for cert in &self.chain {
            pem.extend(cert.to_pem().unwrap());
        }
        pem
    }

    /// The key as PKCS#8 PEM (`BEGIN PRIVATE KEY`).
    pub fn key_pem(&self) -> Vec<u8> {
        self.key.private_key_to_pem_pkcs8().unwrap()
    }

    /// The key as encrypted PKCS#8 PEM (`BEGIN ENCRYPTED PRIVATE KEY`; PBES2, AES-256-CBC).
    pub fn encrypted_key_pem(&self, password: &str) -> Vec<u8> {
        self.key
            .private_key_to_pem_pkcs8_passphrase(Cipher::aes_256_cbc(), password.as_bytes())
            .unwrap()
    }

    /// The key in the form before PKCS#8 (`BEGIN RSA PRIVATE KEY`, `BEGIN EC PRIVATE KEY`).
    ///
    /// # Panics
    ///
    /// If the key is neither RSA nor EC: no such form exists.
    pub fn traditional_key_pem(&self) -> Vec<u8> {
        match self.key.id() {
            Id::RSA => self.key.rsa().unwrap().private_key_to_pem().unwrap(),
            Id::EC => self.key.ec_key().unwrap().private_key_to_pem().unwrap(),
            other => panic!("no traditional form for key type {other:?}"),
        }
    }

    /// The traditional form, encrypted (`Proc-Type: 4,ENCRYPTED`; AES-256-CBC).
    ///
    /// # Panics
    ///
    /// If the key is neither RSA nor EC: no such form exists.
    pub fn encrypted_traditional_key_pem(&self, password: &str) -> Vec<u8> {
        let cipher = Cipher::aes_256_cbc();
        let password = password.as_bytes();
        match self.key.id() {
            Id::RSA => self
                .key
                .rsa()
                .unwrap()
                .private_key_to_pem_passphrase(cipher, password),
            Id::EC => self
                .key
                .ec_key()
                .unwrap()
                .private_key_to_pem_passphrase(cipher, password),
            other => panic!("no traditional form for key type {other:?}"),
        }
        .unwrap()
    }

    /// A certificate key file in MongoDB's terms: certificate, intermediates and key in one PEM file.
    pub fn bundle_pem(&self) -> Vec<u8> {
        [self.chain_pem(), self.key_pem()].concat()
    }

    /// A certificate key file with an encrypted key.
    pub fn encrypted_bundle_pem(&self, password: &str) -> Vec<u8> {
        [self.chain_pem(), self.encrypted_key_pem(password)].concat()
    }

    /// Certificate, intermediates and key as PKCS#12 (DER).
    pub fn pkcs12(&self, password: &str) -> Vec<u8> {
        let mut above = Stack::new().unwrap();
        for cert in &self.chain {
            above.push(cert.clone()).unwrap();
        }
        let mut builder = Pkcs12::builder();
        builder
            .name("mongotls")
            .key_algorithm(Nid::AES_256_CBC)
            .cert_algorithm(Nid::AES_256_CBC)
            .pkey(&self.key)
            .cert(&self.cert)
            .ca(above);
        builder.build2(password).unwrap().to_der().unwrap()
    }

    /// The serial number in upper-case hexadecimal, as OpenSSL prints it.
    pub fn serial_hex(&self) -> String {
        let serial = self.cert.serial_number().to_bn().unwrap();
        serial.to_hex_str().unwrap().to_string()
    }
}
