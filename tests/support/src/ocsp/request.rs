//! The request of a client to an OCSP responder, and its problems.

use crate::der;
use crate::http;
use crate::pki::{Digest, SingleResponse};
use openssl::x509::X509Ref;

/// A request to a [`Responder`](super::Responder).
#[derive(Clone, Debug)]
pub struct Request {
    /// The HTTP request that contained it.
    pub http: http::Request,
    /// The OCSPRequest; empty if there was none.
    pub der: Vec<u8>,
    /// The requested certificates, in their order; empty if `der` cannot be decoded.
    pub cert_ids: Vec<CertId>,
    /// The nonce, if there is one.
    pub nonce: Option<Vec<u8>>,
    /// The problems that a strict responder could report; empty if there are none.
    pub complaints: Vec<String>,
}

/// One requested certificate (RFC 6960 §4.1.1).
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct CertId {
    /// The digest of the two hashes, or `None` if the bench does not know it.
    pub digest: Option<Digest>,
    /// The hash of the issuer's name.
    pub issuer_name_hash: Vec<u8>,
    /// The hash of the issuer's key.
    pub issuer_key_hash: Vec<u8>,
    /// The serial number, without leading zeros.
    pub serial: Vec<u8>,
}

impl CertId {
    /// Returns true if it identifies `cert`, which `issuer` has issued.
    pub fn is_about(&self, issuer: &X509Ref, cert: &X509Ref) -> bool {
        let Some(digest) = self.digest else {
            return false;
        };
        let single = SingleResponse::new(issuer, cert).cert_id_digest(digest);
        let (name_hash, key_hash) = single.hashes();
        self.serial == serial(cert)
            && self.issuer_name_hash == name_hash
            && self.issuer_key_hash == key_hash
    }
}

impl Request {
    /// Decodes the HTTP request, and records its problems.
    pub(super) fn new(http: http::Request) -> Self {
        let mut request = Self {
            http,
            der: Vec::new(),
            cert_ids: Vec::new(),
            nonce: None,
            complaints: Vec::new(),
        };
        match request.http.method.as_str() {
            "GET" => request.read_path(),
            "POST" => request.read_body(),
            _ => request.complain("the method is neither GET nor POST"),
        }
        if request.http.header("Host").is_none_or(str::is_empty) {
            request.complain("there is no Host");
        }
        if !request.http.target.starts_with('/') {
            request.complain("the target is no path");
        }
        match parse(&request.der) {
            Some((cert_ids, nonce)) => (request.cert_ids, request.nonce) = (cert_ids, nonce),
            None => request.complain("there is no OCSPRequest that can be read"),
        }
        request
    }

    fn complain(&mut self, complaint: &str) {
        self.complaints.push(complaint.into());
    }

    /// Decodes the path. RFC 6960 A.1: `{url}/{url-encoding of base-64 encoding of the DER}`.
    fn read_path(&mut self) {
        let path = self.http.target.clone();
        // If a slash of the base64 is not encoded, the text begins further to the left.
        let found = path.rmatch_indices('/').find_map(|(at, _)| {
            let text = &path[at + 1..];
            let der = decode(text).filter(|der| parse(der).is_some())?;
            Some((text, der))
        });
        if let Some((text, der)) = found {
            if text.contains(['/', '+', '=']) {
                self.complain("the base64 is not encoded for a URL");
            }
            self.der = der;
        }
        // RFC 5019 §5 counts the whole URL.
        let host = self.http.header("Host").unwrap_or_default();
        if "http://".len() + host.len() + path.len() > 255 {
            self.complain("the URL of a GET is longer than 255 bytes");
        }
        if !self.http.body.is_empty() {
            self.complain("a GET with a body");
        }
    }

    fn read_body(&mut self) {
        self.der.clone_from(&self.http.body);
        if self.http.header("Content-Type") != Some("application/ocsp-request") {
            self.complain("the Content-Type is not application/ocsp-request");
        }
        if self.http.header("Content-Length").is_none() {
            self.complain("there is no Content-Length");
        }
    }
}

/// The serial number of a certificate, in the form of [`CertId`].
pub(super) fn serial(cert: &X509Ref) -> Vec<u8> {
    cert.serial_number().to_bn().unwrap().to_vec()
}

/// Base64 with percent-encoding.
fn decode(text: &str) -> Option<Vec<u8>> {
    let mut base64 = String::new();
    let mut rest = text;
    while let Some((before, after)) = rest.split_once('%') {
        let code = u8::from_str_radix(after.get(..2)?, 16).ok()?;
        base64.push_str(before);
        base64.push(char::from(code));
        rest = &after[2..];
    }
    base64.push_str(rest);
    openssl::base64::decode_block(&base64).ok()
}

/// OCSPRequest (RFC 6960 §4.1.1): the CertIDs and the nonce.
fn parse(bytes: &[u8]) -> Option<(Vec<CertId>, Option<Vec<u8>>)> {
    let request = sequence(one(bytes)?)?;
    let mut tbs = sequence(*request.first()?)?.into_iter().peekable();
    // version [0] and requestorName [1]
    while tbs.next_if(|(tag, _)| matches!(tag, 0xa0 | 0xa1)).is_some() {}
    let cert_ids = sequence(tbs.next()?)?
        .into_iter()
        .map(|request| parse_cert_id(*sequence(request)?.first()?))
        .collect::<Option<Vec<_>>>()?;
    let nonce = match tbs.next() {
        None => None,
        Some((0xa2, extensions)) => parse_nonce(sequence(one(extensions)?)?)?,
        Some(_) => return None,
    };
    tbs.next().is_none().then_some((cert_ids, nonce))
}

fn parse_cert_id(value: (u8, &[u8])) -> Option<CertId> {
    let [algorithm, name_hash, key_hash, serial] = sequence(value)?[..] else {
        return None;
    };
    let (der::OBJECT_IDENTIFIER, algorithm) = *sequence(algorithm)?.first()? else {
        return None;
    };
    let tags = [name_hash.0, key_hash.0, serial.0];
    if tags != [der::OCTET_STRING, der::OCTET_STRING, der::INTEGER] {
        return None;
    }
    let zeros = serial.1.iter().take_while(|byte| **byte == 0).count();
    Some(CertId {
        digest: Digest::ALL
            .into_iter()
            .find(|digest| der::content(&digest.object_identifier()) == algorithm),
        issuer_name_hash: name_hash.1.to_vec(),
        issuer_key_hash: key_hash.1.to_vec(),
        serial: serial.1[zeros..].to_vec(),
    })
}

/// The content of `id-pkix-ocsp-nonce` among these extensions, if it is there.
fn parse_nonce(extensions: Vec<(u8, &[u8])>) -> Option<Option<Vec<u8>>> {
    let wanted = der::object_identifier("1.3.6.1.5.5.7.48.1.2");
    for extension in extensions {
        let parts = sequence(extension)?;
        let (first, last) = (parts.first()?, parts.last()?);
        if first.1 == der::content(&wanted) {
            let (der::OCTET_STRING, nonce) = one(last.1)? else {
                return None;
            };
            return Some(Some(nonce.to_vec()));
        }
    }
    Some(None)
}

/// The only value in `bytes`.
fn one(bytes: &[u8]) -> Option<(u8, &[u8])> {
    match der::split(bytes)?[..] {
        [value] => Some(value),
        _ => None,
    }
}

/// The content of a SEQUENCE.
fn sequence((tag, content): (u8, &[u8])) -> Option<Vec<(u8, &[u8])>> {
    (tag == der::SEQUENCE).then(|| der::split(content))?
}
