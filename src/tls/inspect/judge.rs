//! The problems of a file, now or soon.
//!
//! Every rule checks one property and adds findings. A finding is a failure if a connection that uses the file fails
//! because of it. If it depends on the server, the finding is a warning.

use std::time::{Duration, SystemTime};

use openssl::nid::Nid;
use openssl::pkey::Id;
use openssl::x509::X509;

use super::contents::Contents;
use super::report::{CrlReport, FileReport, Finding, FindingCode, Severity};
use crate::cause::Cause;
use crate::ffi::openssl as ffi;
use crate::printable::Quoted;
use crate::reason::files::FilePurpose;
use crate::time::rfc3339;
use crate::tls::Certificate;
use crate::tls::config::files::FileForm;
use crate::tls::config::key::{self, UnlockFailure};
use crate::tls::config::reading::{FileBytes, Unread};

/// A shorter remaining validity causes a warning: 30 days.
const SOON: Duration = Duration::from_secs(30 * 24 * 60 * 60);

/// Returns the text about the end of a certificate, if it is in force and ends soon.
pub(crate) fn ends_soon(certificate: &Certificate, now: SystemTime) -> Option<String> {
    let name = certificate.short_name();
    until(certificate.not_after, now)
        .map(|expiry| format!("the certificate {name} {expiry}", name = Quoted(&name)))
}

/// Returns `ends in 9 days, at …`, if that is soon and not past.
fn until(end: SystemTime, now: SystemTime) -> Option<String> {
    let remaining = end.duration_since(now).ok().filter(|left| *left < SOON)?;
    let days = remaining.as_secs() / 86_400;
    Some(format!("ends in {days} days, at {}", rfc3339(end)))
}

/// Returns `ends in 5 hours, at …`, if less than a tenth of a CRL's validity remains: a CA that renews in time does so
/// earlier.
fn expires_soon(crl: &CrlReport, now: SystemTime) -> Option<String> {
    let end = crl.next_update?;
    let term = end.duration_since(crl.this_update).ok()?;
    let remaining = end.duration_since(now).ok()?;
    let hours = remaining.as_secs() / 3600;
    let time = match hours {
        0..48 => format!("{hours} hours"),
        hours => format!("{} days", hours / 24),
    };
    (remaining < term / 10).then(|| format!("ends in {time}, at {}", rfc3339(end)))
}

/// The finding about a file that cannot be read.
pub(super) fn unreadable(unread: &Unread) -> Finding {
    Finding {
        code: FindingCode::FileUnreadable,
        severity: Severity::Failure,
        message: format!("it cannot be read: {}", unread.problem),
    }
}

/// All findings about a file that was read.
pub(super) fn findings(
    report: &FileReport,
    contents: &Contents,
    file: &FileBytes,
    purpose: Option<FilePurpose>,
    now: SystemTime,
) -> Vec<Finding> {
    let mut judge = Judge {
        report,
        contents,
        bytes: &file.bytes,
        purpose,
        now,
        findings: Vec::new(),
    };
    judge.blocks();
    judge.form();
    judge.keys();
    for (certificate, x509) in report.certificates.iter().zip(&contents.certificates) {
        judge.dates(certificate);
        judge.strength(certificate, x509);
        judge.usage(certificate);
    }
    judge.crls();
    judge.chain();
    judge.mode(file.mode);
    judge.findings
}

struct Judge<'a> {
    report: &'a FileReport,
    contents: &'a Contents,
    bytes: &'a [u8],
    purpose: Option<FilePurpose>,
    now: SystemTime,
    findings: Vec<Finding>,
}

impl Judge<'_> {
    fn find(&mut self, severity: Severity, code: FindingCode, message: impl Into<String>) {
        let message = message.into();
        let finding = Finding {
            code,
            severity,
            message,
        };
        // Two certificates of one name, or two damaged blocks, may cause equal findings.
        if !self.findings.contains(&finding) {
            self.findings.push(finding);
        }
    }

    fn fail(&mut self, code: FindingCode, message: impl Into<String>) {
        self.find(Severity::Failure, code, message);
    }

    fn warn(&mut self, code: FindingCode, message: impl Into<String>) {
        self.find(Severity::Warning, code, message);
    }

    fn blocks(&mut self) {
        for label in &self.contents.damaged {
            self.fail(
                FindingCode::DamagedBlock,
                format!(
                    "a block {label} cannot be decoded; replace it by a whole one",
                    label = Quoted(&label)
                ),
            );
        }
        if self.contents.unfinished > 0 {
            self.warn(
                FindingCode::DamagedBlock,
                "a line begins a PEM block that does not end or that may not be encrypted; it is left out",
            );
        }
        if self.contents.is_truncated {
            self.warn(
                FindingCode::TooManyBlocks,
                "the file holds more than is looked at; the rest of it is left out",
            );
        }
    }

    fn form(&mut self) {
        let contents = self.contents;
        let holds = &self.report.holds;
        if contents.is_empty() {
            let message = match self.report.form {
                Some(FileForm::JavaKeystore) => format!(
                    "it holds {holds}; `keytool -importkeystore -srckeystore FILE -destkeystore FILE.p12 -deststoretype PKCS12` converts it"
                ),
                _ => format!("nothing in it is of use for TLS: it holds {holds}"),
            };
            self.fail(FindingCode::NothingUsable, message);
        }
        // A CRL may be in DER form.
        let command = match self.report.form {
            Some(FileForm::Der) if !contents.certificates.is_empty() => "x509",
            Some(FileForm::Der) if !contents.keys.is_empty() => "pkey",
            Some(FileForm::Pkcs12) if self.purpose == Some(FilePurpose::TrustAnchors) => {
                return self.warn(
                    FindingCode::NotPem,
                    "it is a PKCS#12 file where certificates in PEM form are needed",
                );
            }
            _ => return,
        };
        self.warn(
            FindingCode::NotPem,
            format!(
                "it is in DER form where PEM is needed; `openssl {command} -inform DER -in FILE -out FILE.pem` converts it"
            ),
        );
    }

    fn keys(&mut self) {
        for key in &self.contents.keys {
            if let Err(locked) = &key.key {
                self.locked(locked, Severity::Warning);
            }
        }
        // The contents of a PKCS#12 file that did not open are unknown.
        if let Some(locked) = &self.contents.locked {
            self.locked(locked, Severity::Failure);
        }
        let keys = &self.report.keys;
        if keys.len() > 1 {
            let count = keys.len();
            self.fail(
                FindingCode::KeyCertificateMismatch,
                format!("it holds {count} private keys; leave only the one that belongs to the certificate"),
            );
        }
        let strange = keys
            .iter()
            .any(|key| key.opened && key.certificate.is_none());
        if let Some(first) = self.report.certificates.first().filter(|_| strange) {
            let message = format!(
                "the private key belongs to no certificate of the file; the first one is {}",
                Quoted(&first.short_name())
            );
            self.fail(FindingCode::KeyCertificateMismatch, message);
        }
    }

    /// Adds the finding about a locked key. `missing` is the severity if no password was given.
    fn locked(&mut self, locked: &UnlockFailure, missing: Severity) {
        match locked {
            UnlockFailure::NoPassword => {
                let unchecked = match missing {
                    Severity::Failure => "nothing of it can be told",
                    Severity::Warning => "whether it fits is not known",
                };
                self.find(
                    missing,
                    FindingCode::KeyPasswordMissing,
                    format!("the private key is encrypted and no password was given: {unchecked}"),
                );
            }
            UnlockFailure::Unfetched(error) => {
                let why = error.cause().map(Cause::message).unwrap_or_default();
                self.fail(FindingCode::KeyPasswordMissing, why);
            }
            UnlockFailure::WrongPassword(_) => self.fail(
                FindingCode::KeyPasswordWrong,
                "the password does not open the private key",
            ),
            UnlockFailure::Unsupported(error) => {
                let lack = key::lack(self.bytes, error);
                self.fail(
                    FindingCode::KeyAlgorithmUnsupported,
                    format!("it {lack}; {}", lack.remedy().trim_end_matches('.')),
                );
            }
            UnlockFailure::Undecodable(_) => self.fail(
                FindingCode::DamagedBlock,
                "the private key cannot be decoded; replace it by a whole one",
            ),
        }
    }

    fn dates(&mut self, certificate: &Certificate) {
        let name = certificate.short_name();
        if certificate.not_after < self.now {
            let at = rfc3339(certificate.not_after);
            let is_own = self.purpose == Some(FilePurpose::ClientCertificate) && !certificate.is_ca;
            let code = if is_own {
                FindingCode::ClientCertificateExpired
            } else {
                FindingCode::CertificateExpired
            };
            let severity = if self.is_bundle_in_force() {
                Severity::Warning
            } else {
                Severity::Failure
            };
            self.find(
                severity,
                code,
                format!(
                    "the certificate {name} expired at {at}",
                    name = Quoted(&name)
                ),
            );
        } else if self.now < certificate.not_before {
            let message = format!(
                "the certificate {name} is valid only from {} on; this host's clock says {}",
                rfc3339(certificate.not_before),
                rfc3339(self.now),
                name = Quoted(&name)
            );
            self.fail(FindingCode::CertificateNotYetValid, message);
        } else if let Some(message) = ends_soon(certificate, self.now) {
            self.warn(FindingCode::CertificateEndsSoon, message);
        }
    }

    /// Returns true if all certificates are CAs and at least one is in force: a bundle may contain an old one beside
    /// it.
    fn is_bundle_in_force(&self) -> bool {
        let certificates = &self.report.certificates;
        certificates.iter().all(|certificate| certificate.is_ca)
            && certificates.iter().any(|certificate| {
                (certificate.not_before..=certificate.not_after).contains(&self.now)
            })
    }

    fn strength(&mut self, certificate: &Certificate, x509: &X509) {
        let name = certificate.short_name();
        let too_short = x509.public_key().is_ok_and(|key| {
            let least = match key.id() {
                Id::RSA | Id::DSA => 2048,
                Id::EC => 224,
                _ => 0,
            };
            key.bits() < least
        });
        if too_short {
            let key = &certificate.key;
            self.warn(
                FindingCode::KeyTooWeak,
                format!(
                    "the key of {name} is weak ({key}); OpenSSL's security level may refuse it",
                    name = Quoted(&name)
                ),
            );
        }
        // The signature of a root is never checked: the root is trusted by itself.
        if !certificate.self_issued && is_weak(x509.signature_algorithm().object().nid()) {
            let algorithm = &certificate.signature_algorithm;
            self.warn(
                FindingCode::DigestTooWeak,
                format!("the signature of {name} uses a weak digest ({algorithm}); OpenSSL's security level may refuse it", name = Quoted(&name)),
            );
        }
    }

    /// Checks that an end entity may be used for its purpose.
    fn usage(&mut self, certificate: &Certificate) {
        if certificate.is_ca {
            return;
        }
        let name = certificate.short_name();
        let (client, server) = (
            certificate.allows_client_auth,
            certificate.allows_server_auth,
        );
        match self.purpose {
            None if !client && !server => self.fail(
                FindingCode::WrongPurpose,
                format!("the extended key usage of {name} allows neither serverAuth nor clientAuth", name = Quoted(&name)),
            ),
            None if server && certificate.presented_names().is_empty() => self.warn(
                FindingCode::NoSubjectAltName,
                format!("the certificate {name} has no host name and no IP address among its subject alternative names: it will do for a client, and for no server", name = Quoted(&name)),
            ),
            Some(FilePurpose::ClientCertificate) if !client => self.warn(
                FindingCode::WrongPurpose,
                format!("the extended key usage of {name} does not allow clientAuth: a server may refuse it", name = Quoted(&name)),
            ),
            _ => {}
        }
    }

    fn crls(&mut self) {
        for (crl, found) in self.report.crls.iter().zip(&self.contents.crls) {
            let issuer = &crl.issuer;
            if self.now < crl.this_update {
                let from = rfc3339(crl.this_update);
                self.find(
                    self.severity_of_useless_crl(issuer),
                    FindingCode::CrlNotYetValid,
                    format!(
                        "the CRL of {issuer} is in force only from {from} on",
                        issuer = Quoted(&issuer)
                    ),
                );
            }
            if let Some(end) = crl.next_update.filter(|end| *end < self.now) {
                let at = rfc3339(end);
                self.find(
                    self.severity_of_useless_crl(issuer),
                    FindingCode::CrlExpired,
                    format!(
                        "the CRL of {issuer} is past its nextUpdate ({at}); fetch the current one",
                        issuer = Quoted(&issuer)
                    ),
                );
            } else if crl.next_update.is_none() {
                self.warn(
                    FindingCode::CrlNoNextUpdate,
                    format!("the CRL of {issuer:?} has no nextUpdate, so that an old one is not noticed; crl_max_age limits its age"),
                );
            } else if let Some(expiry) = expires_soon(crl, self.now) {
                self.warn(
                    FindingCode::CrlEndsSoon,
                    format!("the CRL of {issuer} {expiry}", issuer = Quoted(&issuer)),
                );
            }
            if is_weak(ffi::crl_signature(found)) {
                let algorithm = &crl.signature_algorithm;
                self.warn(
                    FindingCode::DigestTooWeak,
                    format!(
                        "the signature of the CRL of {issuer} uses a weak digest ({algorithm})",
                        issuer = Quoted(&issuer)
                    ),
                );
            }
        }
    }

    /// One CRL in force is enough for an issuer.
    fn severity_of_useless_crl(&self, issuer: &str) -> Severity {
        let is_in_force = |crl: &CrlReport| {
            let ended = crl.next_update.is_some_and(|end| end < self.now);
            crl.issuer == issuer && crl.this_update <= self.now && !ended
        };
        match self.report.crls.iter().any(is_in_force) {
            true => Severity::Warning,
            false => Severity::Failure,
        }
    }

    fn chain(&mut self) {
        let certificates = &self.report.certificates;
        let Some(chain) = &self.report.chain else {
            return;
        };
        if !chain.signatures_valid {
            self.fail(
                FindingCode::SignatureInvalid,
                "a certificate is not signed by the one that bears its issuer's name: one of them was exchanged or renewed",
            );
        }
        let mut unrelated = certificates
            .iter()
            .enumerate()
            .filter(|(place, _)| !chain.path.contains(place));
        if let Some((_, stranger)) = unrelated.next() {
            let more = unrelated.count();
            let start = chain
                .path
                .first()
                .and_then(|place| certificates.get(*place));
            let message = format!(
                "the certificate {}{} not on the way up from {}",
                Quoted(&stranger.short_name()),
                match more {
                    0 => " is".to_owned(),
                    more => format!(" and {more} more are"),
                },
                Quoted(&start.map_or("", Certificate::short_name))
            );
            self.warn(FindingCode::ChainUnrelated, message);
        } else if !chain.in_order && self.report.form != Some(FileForm::Pkcs12) {
            // A PKCS#12 file has no order.
            self.warn(
                FindingCode::ChainOutOfOrder,
                "the certificates do not stand in the order of the chain: the end entity first, each issued by the next",
            );
        }
    }

    fn mode(&mut self, mode: u32) {
        const OTHERS_MAY_READ: u32 = 0o004;
        let holds_key = !self.report.keys.is_empty() || self.report.form == Some(FileForm::Pkcs12);
        if holds_key && mode & OTHERS_MAY_READ != 0 {
            let mode = mode & 0o7777;
            self.warn(
                FindingCode::ReadableByOthers,
                format!("every user of this host may read the private key (mode {mode:04o}); `chmod 600` it"),
            );
        }
    }
}

/// Returns true if a signature algorithm uses a digest that OpenSSL rejects at its usual security levels.
fn is_weak(algorithm: Nid) -> bool {
    const MD5_SHA1: Nid = Nid::from_raw(114);
    algorithm.signature_algorithms().is_some_and(|parts| {
        matches!(
            parts.digest,
            Nid::MD2 | Nid::MD4 | Nid::MD5 | Nid::SHA1 | MD5_SHA1
        )
    })
}
