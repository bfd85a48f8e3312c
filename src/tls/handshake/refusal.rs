//! From a refused chain to its cause: which certificate, which date, which name, and what to change.
//!
//! OpenSSL refuses a chain with one of some eighty numbers (`X509_V_ERR_*`); each is mapped to the code
//! of the contract, and the certificate, its place in the chain and the CRL behind it are added.

use std::time::SystemTime;

use openssl::x509::{X509, X509Ref, X509VerifyResult};

use super::context::ServerName;
use crate::cause::{Category, Cause, CauseCode};
use crate::ffi::openssl as ffi;
use crate::options::ProtocolOptions;
use crate::printable::Quoted;
use crate::time::rfc3339;
use crate::tls::config::crl::Crls;
use crate::tls::config::crl_scope::CrlScope;
use crate::tls::handshake::issuer::{self, Difference, Namesake};
use crate::tls::handshake::level::SecurityLevel;
use crate::tls::handshake::names::{self, Presented};
use crate::tls::handshake::verify::{Refusal, spki_pin};
use crate::tls::{Certificate, TrustAnchors, openssl_version};

/// The rules by which the server's chain was verified.
pub(crate) struct Rules<'a> {
    pub(crate) name: &'a ServerName,
    pub(crate) anchors: &'a TrustAnchors,
    pub(crate) crls: &'a Crls,
    pub(crate) protocol: &'a ProtocolOptions,
    /// The security level of the connection.
    pub(crate) level: u32,
    pub(crate) now: SystemTime,
}

/// Why our verification refused the server's chain.
pub(crate) fn refused_chain(refusal: &Refusal, rules: &Rules<'_>) -> Cause {
    let &Rules {
        name,
        anchors,
        crls,
        now,
        ..
    } = rules;
    let certificate = refusal.certificate.as_deref().map(Certificate::from);
    let Some(certificate) = certificate else {
        let text = refusal.result.error_string();
        return Cause::new(
            CauseCode::SignatureInvalid,
            format!("the server's certificate was refused: {text}"),
            GENERAL_REMEDY,
        )
        .fact("openssl", text);
    };
    let case = Case {
        refusal,
        certificate: &certificate,
        rules,
        name,
        anchors,
        crls,
        now,
    };
    let mut cause = case.explain();
    if cause.category() == Category::Revocation {
        if let Some(crl) = &refusal.crl {
            cause = cause
                .fact_opt("revoked_at", crl.revoked_at)
                .fact_opt("reason", crl.reason)
                .fact("this_update", crl.this_update)
                .fact_opt("next_update", crl.next_update);
        }
        cause = cause.fact("crl_files", case.crl_files());
    }
    let sent: Vec<_> = refusal
        .sent
        .iter()
        .map(|cert| Certificate::from(&**cert))
        .collect();
    let dates = sent.iter().map(|cert| {
        let (from, until) = (rfc3339(cert.not_before), rfc3339(cert.not_after));
        format!("{from} to {until}: {}", cert.subject)
    });
    let dates = dates.collect::<Vec<_>>();
    let subjects: Vec<_> = sent.into_iter().map(|cert| cert.subject).collect();
    cause
        .fact("subject", certificate.subject.as_str())
        .fact("issuer", certificate.issuer.as_str())
        .fact("serial", certificate.serial.as_str())
        .fact("depth", refusal.depth)
        .fact("role", case.role())
        .fact("not_before", certificate.not_before)
        .fact("not_after", certificate.not_after)
        .fact(
            "sha256_fingerprint",
            certificate.sha256_fingerprint.as_str(),
        )
        .fact("checked_at", now)
        .fact("sent_certificates", subjects)
        .fact("sent_validity", dates)
        .fact("trust_anchors", anchors.to_string())
        .fact("openssl", refusal.result.error_string())
}

/// The server sent no certificate, or OpenSSL did not verify the one that it sent: an anonymous cipher
/// suite does that where the system's configuration allows it.
pub(crate) fn unauthenticated(cipher: &str) -> Cause {
    Cause::new(
        CauseCode::IssuerUnknown,
        format!("the server did not prove who it is: the cipher suite {cipher} needs no certificate"),
        "Remove anonymous cipher suites (aNULL) from the settings of the server, and from the CipherString in this host's openssl.cnf.",
    )
    .fact("cipher", cipher)
}

const GENERAL_REMEDY: &str =
    "Have the CA issue a new certificate; `openssl verify` with the same files tells more.";

/// One refused chain, with all that is known about it.
struct Case<'a> {
    refusal: &'a Refusal,
    certificate: &'a Certificate,
    rules: &'a Rules<'a>,
    name: &'a ServerName,
    anchors: &'a TrustAnchors,
    crls: &'a Crls,
    now: SystemTime,
}

impl Case<'_> {
    fn explain(&self) -> Cause {
        use CauseCode as Code;
        let who = self.who();
        let text = self.refusal.result.error_string();
        match self.refusal.result.as_raw() {
            verify::HAS_EXPIRED => self.expired(),
            verify::NOT_YET_VALID => self.not_yet_valid(),
            verify::NO_ISSUER | verify::NO_LOCAL_ISSUER | verify::NO_LEAF_SIGNATURE => {
                self.issuer_unknown()
            }
            verify::SELF_SIGNED_LEAF => self.self_signed(),
            verify::SELF_SIGNED_IN_CHAIN => self.untrusted_root(),
            verify::HOSTNAME_MISMATCH | verify::IP_MISMATCH => self.name_mismatch(),
            verify::UNTRUSTED | verify::REJECTED
                if self.refusal.depth >= self.refusal.trusted_from =>
            {
                self.rejected_anchor()
            }
            verify::INVALID_PURPOSE | verify::UNTRUSTED | verify::REJECTED => self.wrong_purpose(),
            verify::UNKNOWN_EXTENSION => self.unknown_extension(),
            code if verify::NAME_CONSTRAINTS.contains(&code) => self.constrained(),
            code if verify::INVALID_CA.contains(&code) => self.invalid_ca(code),
            verify::SIGNATURE_FAILURE => self.bad_signature(),
            verify::EE_KEY_TOO_SMALL | verify::CA_KEY_TOO_SMALL => self.weak_key(),
            verify::DIGEST_TOO_WEAK => self.weak_digest(),
            verify::EXPLICIT_CURVE => Cause::new(
                Code::KeyTooWeak,
                format!(
                    "{} does not accept the key of {who}: it spells out the parameters of its elliptic curve, where certificates must name the curve",
                    openssl_version()
                ),
                format!(
                    "Have the certificate of {} issued for a key on a named curve (`openssl genpkey -algorithm EC -pkeyopt ec_paramgen_curve:P-256 -pkeyopt ec_param_enc:named_curve`).",
                    Quoted(&self.certificate.subject)
                ),
            ),
            verify::UNDECODABLE_SIGNATURE | verify::UNDECODABLE_ISSUER_KEY => Cause::new(
                Code::SignatureInvalid,
                format!(
                    "{} cannot check the signature of {who} ({}): {text}",
                    openssl_version(),
                    self.certificate.signature_algorithm
                ),
                format!(
                    "Have it issued by a CA whose kind of key and signature this OpenSSL knows, or use an OpenSSL that knows those of {}.",
                    Quoted(&self.certificate.issuer)
                ),
            ),
            _ if self.is_revoked() => Cause::new(
                Code::RevokedCrl,
                format!(
                    "{who} is revoked: the CRL lists serial number {}",
                    self.certificate.serial
                ),
                "Have a new certificate issued for the server. Until then do not trust it: somebody may have its key.",
            ),
            verify::NO_CRL => self.no_crl(),
            verify::CRL_EXPIRED if self.next_update().is_empty() => self.old_crl(),
            verify::DIFFERENT_SCOPE => self.unfit_crl(),
            verify::CRL_EXPIRED => Cause::new(
                Code::CrlExpired,
                format!(
                    "the CRL of {} is past its nextUpdate{}",
                    Quoted(&self.certificate.issuer),
                    self.next_update()
                ),
                format!(
                    "Fetch the current CRL of that issuer into the file of {}, and do so before each nextUpdate.",
                    self.crl_option()
                ),
            ),
            verify::PIN_MISMATCH => self.pin_mismatch(),
            verify::CRL_NOT_YET_VALID => Cause::new(
                Code::CrlNotYetValid,
                format!(
                    "the CRL of {} is before its thisUpdate",
                    Quoted(&self.certificate.issuer)
                ),
                "Compare this host's clock with the true time.",
            ),
            code if verify::CRL_INVALID.contains(&code) => Cause::new(
                Code::CrlInvalid,
                format!(
                    "the CRL of {} does not verify: {text}",
                    Quoted(&self.certificate.issuer)
                ),
                format!(
                    "Fetch the CRL again from that issuer into the file of {}.",
                    self.crl_option()
                ),
            ),
            _ => Cause::new(
                Code::SignatureInvalid,
                format!("{who} does not verify: {text}"),
                GENERAL_REMEDY,
            ),
        }
    }

    /// Returns whether a CRL lists the certificate. OpenSSL finds no CRL for a trust anchor, because its issuer is
    /// not in the chain.
    fn is_revoked(&self) -> bool {
        let listed = || {
            let certificate = self.refusal.certificate.as_ref();
            certificate.is_some_and(|certificate| self.crls.list(certificate))
        };
        self.refusal.result.as_raw() == verify::REVOKED
            || (misses_crl(self.refusal.result) && self.role() == "trust anchor" && listed())
    }

    /// A certificate among the anchors is not trusted, because of its own trust settings.
    fn rejected_anchor(&self) -> Cause {
        let name = &self.certificate.subject;
        Cause::new(
            CauseCode::UntrustedRoot,
            format!(
                "the chain ends in {name}, which is not a trust anchor: its trust settings (BEGIN TRUSTED CERTIFICATE) do not allow serverAuth",
                name = Quoted(&name)
            ),
            format!(
                "If that CA is to be trusted for servers, put its certificate without trust settings into the file of tlsCAFile: `openssl x509 -in FILE -out ca.pem`; {} is in use now.",
                self.anchors
            ),
        )
    }

    /// A name breaks the constraints of a CA above. OpenSSL blames the certificate with the name.
    fn constrained(&self) -> Cause {
        let text = self.refusal.result.error_string();
        let above = self.refusal.chain.iter().zip(0..);
        let by = above
            .filter(|(_, depth)| *depth > self.refusal.depth)
            .find(|(certificate, _)| ffi::has_name_constraints(certificate))
            .map(|(certificate, _)| Certificate::from(&**certificate).subject);
        let ca = by.as_ref().map_or("a CA above it".to_owned(), |by| {
            format!("the CA {by}", by = Quoted(&by))
        });
        Cause::new(
            CauseCode::InvalidCa,
            format!("{ca} may not issue for the names of {}: {text}", self.who()),
            format!("Have the certificate issued for names within the name constraints of {ca}, or by another CA."),
        )
        .fact_opt("constrained_by", by)
    }

    /// What is critical and not understood must be refused (RFC 5280 §4.2).
    fn unknown_extension(&self) -> Cause {
        let code = match self.refusal.depth {
            0 => CauseCode::WrongPurpose,
            _ => CauseCode::InvalidCa,
        };
        Cause::new(
            code,
            format!(
                "{} holds a critical extension that OpenSSL does not know",
                self.who()
            ),
            "Have the certificate issued without that extension, or with one that is not marked critical; `openssl x509 -noout -text` shows it.",
        )
    }

    fn expired(&self) -> Cause {
        let at = rfc3339(self.certificate.not_after);
        let remedy = match self.role() {
            "end entity" => "Renew the server's certificate and let the server load it.",
            "intermediate" => {
                "Replace the intermediate CA in the chain that the server sends by its renewed certificate."
            }
            _ => {
                "Replace the trust anchor by its renewed certificate (tlsCAFile, or the system's CA certificates)."
            }
        };
        Cause::new(
            CauseCode::CertificateExpired,
            format!("{} expired at {at}", self.who()),
            remedy,
        )
    }

    fn not_yet_valid(&self) -> Cause {
        let from = rfc3339(self.certificate.not_before);
        let now = rfc3339(self.now);
        Cause::new(
            CauseCode::CertificateNotYetValid,
            format!(
                "{} is valid only from {from} on; this host's clock says {now}",
                self.who()
            ),
            "Compare this host's clock with the true time; if it is right, wait or have the certificate issued with an earlier start.",
        )
    }

    fn issuer_unknown(&self) -> Cause {
        let only_end_entity = self.refusal.sent.len() <= 1;
        let issuer = &self.certificate.issuer;
        let no_anchor = format!("no trust anchor for {}", self.who());
        let namesakes = self.namesakes();
        let (message, remedy, namesakes) = if namesakes.is_empty() {
            let below = self.namesake_below();
            let also = below.as_ref().map(|(_, found)| {
                format!(
                    "; the trust anchor {} bears the name of a CA that the server sends, but {}",
                    Quoted(&found.of.certificate.subject),
                    found.of.differs()
                )
            });
            let message = format!(
                "{no_anchor}: its issuer {issuer} is neither a trust anchor nor sent by the server{}",
                also.unwrap_or_default(),
                issuer = Quoted(&issuer)
            );
            match below {
                Some((certificate, found)) => {
                    let remedy = self.replace(&certificate, &found);
                    (message, remedy, vec![found])
                }
                None => (message, self.missing_issuer(only_end_entity), Vec::new()),
            }
        } else {
            let (why, remedy) = self.instead_of_issuer(&namesakes);
            (format!("{no_anchor}: {why}"), remedy, namesakes)
        };
        Cause::new(CauseCode::IssuerUnknown, message, remedy)
            .fact("missing_issuer", issuer.as_str())
            .fact_opt(
                "missing_key_id",
                self.certificate.authority_key_id.as_deref(),
            )
            .fact("sent_only_end_entity", only_end_entity)
            .fact_opt("namesakes", listed(&namesakes))
    }

    /// The remedy if no certificate bears the name of the issuer. The side that can fix it comes first: only the
    /// server can send an intermediate CA, and only this host can trust a root.
    fn missing_issuer(&self, only_end_entity: bool) -> String {
        let issuer = &self.certificate.issuer;
        let chain = &self.refusal.chain;
        let mut sent = self.refusal.sent.iter();
        let has_gap = sent.any(|sent| !chain.contains(sent) && ffi::is_ca(sent));
        let publicly = !matches!(self.anchors, TrustAnchors::Configured { .. });
        let send = "let the server send it after its own certificate (on mongod in net.tls.certificateKeyFile)";
        if has_gap {
            return format!(
                "Let the server send the intermediate CA {issuer} too (on mongod in net.tls.certificateKeyFile): a CA above it is sent, and this one is missing between.",
                issuer = Quoted(&issuer)
            );
        }
        match (only_end_entity, publicly) {
            (true, true) => format!(
                "If {issuer} is an intermediate CA, {send}: it sent no other. Otherwise set tlsCAFile to the PEM file of that CA; {} is in use now.",
                self.anchors,
                issuer = Quoted(&issuer)
            ),
            (true, false) => format!(
                "Set tlsCAFile to the PEM file of the CA {issuer}. If that is an intermediate CA, {send}: it sent no other.",
                issuer = Quoted(&issuer)
            ),
            (false, _) => format!(
                "If {issuer} is another intermediate CA, let the server send it too (on mongod in net.tls.certificateKeyFile). Otherwise set tlsCAFile to the PEM file of that CA; {} is in use now.",
                self.anchors,
                issuer = Quoted(&issuer)
            ),
        }
    }

    /// The certificates that bear the name of the issuer of the certificate in question: the trust anchors first, then
    /// those that the server sent.
    fn namesakes(&self) -> Vec<Found> {
        let Some(certificate) = &self.refusal.certificate else {
            return Vec::new();
        };
        let anchors = self.refusal.namesakes.iter().map(|anchor| (anchor, true));
        let sent = self.refusal.sent.iter().map(|sent| (sent, false));
        let mut known: Vec<&X509> = vec![certificate];
        anchors
            .chain(sent)
            .filter(|(candidate, _)| issuer::is_named_as_issuer(certificate, candidate))
            .filter(|(candidate, _)| {
                let is_new = !known.contains(candidate);
                known.push(candidate);
                is_new
            })
            .map(|(candidate, is_anchor)| Found::new(certificate, candidate, is_anchor))
            .collect()
    }

    /// A trust anchor with the name of a CA lower in the chain, which is not that CA; and the certificate that this CA
    /// issued.
    fn namesake_below(&self) -> Option<(X509, Found)> {
        let below = self.refusal.chain.iter();
        below.take(self.refusal.depth as usize).find_map(|lower| {
            let anchors = self.refusal.namesakes.iter();
            let mut named = anchors.filter(|anchor| issuer::is_named_as_issuer(lower, anchor));
            let anchor = named.next()?;
            Some((lower.clone(), Found::new(lower, anchor, true)))
        })
    }

    /// Returns why none of the namesakes is the issuer, and what to do.
    fn instead_of_issuer(&self, namesakes: &[Found]) -> (String, String) {
        let certificate = self.refusal.certificate.as_ref();
        let (Some(first), Some(certificate)) = (namesakes.first(), certificate) else {
            return (String::new(), GENERAL_REMEDY.to_owned());
        };
        let why = format!(
            "{} bears the name of its issuer, but {}{}",
            first.which(),
            first.of.differs(),
            match namesakes.len() - 1 {
                0 => String::new(),
                more => format!("; so do {more} more that do not fit"),
            }
        );
        (why, self.replace(certificate, first))
    }

    /// The remedy for a certificate if a namesake takes the place of its issuer.
    fn replace(&self, below: &X509Ref, found: &Found) -> String {
        let namesake = &found.of;
        let below = Certificate::from(below);
        let (who, issuer) = (below.short_name(), &below.issuer);
        let key_id = namesake.asked_key_id();
        let anchors = format!("{} is in use now.", self.anchors);
        match (namesake.difference, found.is_anchor) {
            (Some(Difference::Key) | None, false) => format!(
                "Let the server send the certificate of {issuer}{key_id} that signed {who} (on mongod in net.tls.certificateKeyFile), in place of the one that it sends.",
                issuer = Quoted(&issuer),
                who = Quoted(&who)
            ),
            // A certificate is not older than the CA that signed it.
            (Some(Difference::Key) | None, true)
                if below.not_before < namesake.certificate.not_before =>
            {
                format!(
                    "The trust anchor is newer than {who}, so the CA was created again under its old name: have the new CA issue a certificate in place of {who}. Until then, set tlsCAFile to the CA's earlier certificate{key_id}; {anchors}",
                    who = Quoted(&who)
                )
            }
            (Some(Difference::Key) | None, true) => format!(
                "Set tlsCAFile to the certificate of {issuer}{key_id} that signed {who}: the CA was created again under its old name, or there are two of that name; {anchors}",
                issuer = Quoted(&issuer),
                who = Quoted(&who)
            ),
            (Some(Difference::KeyId), _) => format!(
                "Set tlsCAFile to the certificate of {issuer}{key_id}, or have {who} issued again, so that it names the key identifier that the CA has now; {anchors}",
                issuer = Quoted(&issuer),
                who = Quoted(&who)
            ),
            (Some(Difference::Serial), _) => format!(
                "Set tlsCAFile to the certificate of {issuer} with the serial number {}, or have {who} issued again without the issuer's serial number in its authority key identifier; {anchors}",
                namesake.asked_serial(),
                issuer = Quoted(&issuer),
                who = Quoted(&who)
            ),
            (Some(Difference::Signature), _) => format!(
                "Let the server load {who} again as the CA issued it: it was altered. If it was not, another CA with the same name and key identifier signed it: set tlsCAFile to the certificate of that one; {anchors}",
                who = Quoted(&who)
            ),
            (Some(Difference::Other(_)), _) => {
                format!(
                    "Have {who} issued by a CA that may sign certificates; {anchors}",
                    who = Quoted(&who)
                )
            }
        }
    }

    /// OpenSSL found an issuer by its name, and its key does not verify the signature.
    fn bad_signature(&self) -> Cause {
        let mut namesakes = self.namesakes();
        // The one that OpenSSL took first.
        let taken = self.refusal.chain.get(self.refusal.depth as usize + 1);
        let taken = taken.map(|taken| Certificate::from(&**taken).sha256_fingerprint);
        let is_taken =
            |found: &Found| Some(&found.of.certificate.sha256_fingerprint) == taken.as_ref();
        namesakes.sort_by_key(|found| !is_taken(found));
        let who = self.who();
        let does_not_verify = format!("{who} does not verify");
        let signer = namesakes.iter().find(|found| found.of.difference.is_none());
        let (why, remedy) = match (namesakes.first(), signer) {
            (None, _) => (
                self.refusal.result.error_string().to_owned(),
                GENERAL_REMEDY.to_owned(),
            ),
            (Some(first), Some(signer)) => {
                let (wrong, right) = (
                    &first.of.certificate.sha256_fingerprint,
                    &signer.of.certificate.sha256_fingerprint,
                );
                let remedy = match (first.is_anchor, signer.is_anchor) {
                    (true, true) => format!(
                        "Remove the one with the SHA-256 fingerprint {wrong} from the file of tlsCAFile: without key identifiers in the certificates OpenSSL tries only one CA of a name."
                    ),
                    (true, false) => format!(
                        "If the CA was created again under its old name, compare the SHA-256 fingerprint {right} with the CA's own, and set tlsCAFile to that certificate; {} is in use now.",
                        self.anchors
                    ),
                    (false, _) => format!(
                        "Let the server send the one with the SHA-256 fingerprint {right}, and not {wrong}."
                    ),
                };
                let why = format!(
                    "{} bears the name of its issuer, but {}; {} signed it ({})",
                    first.which(),
                    first.of.differs(),
                    signer.which(),
                    signer.of.identity()
                );
                (why, remedy)
            }
            (Some(_), None) => self.instead_of_issuer(&namesakes),
        };
        Cause::new(
            CauseCode::SignatureInvalid,
            format!("{does_not_verify}: {why}"),
            remedy,
        )
        .fact_opt("namesakes", listed(&namesakes))
    }

    fn self_signed(&self) -> Cause {
        let who = self.who();
        let namesakes = self.namesakes();
        let own = &self.certificate.sha256_fingerprint;
        let cause = match namesakes.first() {
            None => Cause::new(
                CauseCode::SelfSigned,
                format!("{who} is signed by itself and is not a trust anchor"),
                "If this certificate is the right one, compare its fingerprint with the server's and put it into the file of tlsCAFile; better, have a CA issue one.",
            ),
            Some(found) => Cause::new(
                CauseCode::SelfSigned,
                format!(
                    "{who} is signed by itself and is not a trust anchor: the trust anchor of that name {}",
                    found.of.differs()
                ),
                format!(
                    "The server has another certificate than the one in tlsCAFile. Compare its SHA-256 fingerprint {own} with the server's own file, and put it into the file of tlsCAFile in place of the other; better, have a CA issue one."
                ),
            ),
        };
        cause.fact_opt("namesakes", listed(&namesakes))
    }

    fn untrusted_root(&self) -> Cause {
        let subject = &self.certificate.subject;
        let namesakes = self.namesakes();
        let ends = format!(
            "the chain ends in {subject}, which is not a trust anchor",
            subject = Quoted(&subject)
        );
        let cause = match namesakes.iter().find(|found| found.is_anchor) {
            None => Cause::new(
                CauseCode::UntrustedRoot,
                ends,
                format!(
                    "Set tlsCAFile to the PEM file of that CA, if it is the right one; {} is in use now.",
                    self.anchors
                ),
            ),
            Some(found) => {
                let own = &self.certificate.sha256_fingerprint;
                // The certificate that the sent root has signed is more useful than the root itself.
                let below = self.refusal.depth.checked_sub(1);
                let below = below.and_then(|depth| self.refusal.chain.get(depth as usize));
                let is_found = |anchor: &&X509| {
                    Certificate::from(&***anchor).sha256_fingerprint
                        == found.of.certificate.sha256_fingerprint
                };
                let anchor = self.refusal.namesakes.iter().find(is_found);
                let found = match (below, anchor) {
                    (Some(below), Some(anchor)) => &Found::new(below, anchor, true),
                    _ => found,
                };
                Cause::new(
                    CauseCode::UntrustedRoot,
                    format!(
                        "{ends}: the trust anchor of that name {}",
                        found.of.differs()
                    ),
                    format!(
                        "If the CA was created again under its old name, compare the SHA-256 fingerprint {own} of the root that the server sends with the CA's own, and set tlsCAFile to that certificate; {} is in use now.",
                        self.anchors
                    ),
                )
            }
        };
        cause.fact_opt("namesakes", listed(&namesakes))
    }

    /// The extended key usage or the key usage does not allow a TLS server.
    fn wrong_purpose(&self) -> Cause {
        let (who, certificate) = (self.who(), self.certificate);
        let only = |purposes: &[String]| match purposes {
            [] => "allows nothing".to_owned(),
            purposes => format!("allows {} and not serverAuth", purposes.join(", ")),
        };
        let extended = certificate.extended_key_usage.as_deref();
        let extended = extended.filter(|_| !certificate.allows_server_auth);
        let (why, remedy) = match (self.refusal.depth, extended, &certificate.key_usage) {
            (0, Some(purposes), _) => (
                format!("its extended key usage {}", only(purposes)),
                "Have a certificate issued for the server with the extended key usage serverAuth.",
            ),
            (0, None, Some(usage)) => (
                format!("its key usage allows {} alone", usage.join(", ")),
                "Have a certificate issued for the server with the key usage digitalSignature.",
            ),
            (0, None, None) => (
                self.refusal.result.error_string().to_owned(),
                "Have a certificate issued with the extended key usage serverAuth and the key usage digitalSignature.",
            ),
            (_, Some(purposes), _) => (
                format!("its extended key usage {}", only(purposes)),
                "Have the server's certificate issued by a CA whose extended key usage allows serverAuth, or that has no extended key usage.",
            ),
            (_, None, _) => (
                self.refusal.result.error_string().to_owned(),
                "Have the server's certificate issued by a CA that may issue certificates for TLS servers.",
            ),
        };
        let may_not = match self.refusal.depth {
            0 => "is not meant for a TLS server",
            _ => "may not issue certificates for TLS servers",
        };
        Cause::new(
            CauseCode::WrongPurpose,
            format!("{who} {may_not}: {why}"),
            remedy,
        )
    }

    fn invalid_ca(&self, code: i32) -> Cause {
        let who = self.who();
        let text = self.refusal.result.error_string();
        let remedy = match (code, self.role()) {
            (verify::PATH_LENGTH_EXCEEDED, _) => format!(
                "Have {} issued with a greater path length in its basic constraints, or the server's certificate issued by it directly.",
                Quoted(&self.certificate.subject)),
            (verify::CHAIN_TOO_LONG, _) => {
                "Have the server's certificate issued by a CA that is nearer to the root.".to_owned()
            }
            (_, "trust anchor") => format!(
                "Set tlsCAFile to the certificate of a CA: its basic constraints say CA:TRUE and its key usage allows keyCertSign; {} is in use now.",
                self.anchors
            ),
            _ => "Have the certificates issued by a CA whose basic constraints, key usage and name constraints allow it.".to_owned(),
        };
        Cause::new(
            CauseCode::InvalidCa,
            format!("{who} may not sign the certificate below it: {text}"),
            remedy,
        )
    }

    fn weak_key(&self) -> Cause {
        let (who, key) = (self.who(), self.certificate.key.as_str());
        let public = self.refusal.certificate.as_ref();
        let public = public.and_then(|certificate| certificate.public_key().ok());
        let level = self.level();
        let cause = match public.map(|key| key.security_bits()) {
            Some(bits) => Cause::new(
                CauseCode::KeyTooWeak,
                format!(
                    "the key of {who} is too weak: {}",
                    level.weak_key(key, bits)
                ),
                level.stronger_key(&self.certificate.subject, bits),
            )
            .fact("key_security_bits", bits),
            // OpenSSL takes a key that it cannot read for one that is too weak.
            None => Cause::new(
                CauseCode::KeyTooWeak,
                format!(
                    "{} cannot use the key of {who}: it does not know its kind, or the key is malformed",
                    openssl_version()
                ),
                format!(
                    "Have the certificate of {} issued for a key of {} or stronger.",
                    Quoted(&self.certificate.subject),
                    level.good_keys()
                ),
            ),
        };
        cause
            .fact("key", key)
            .fact("security_level", level.number())
    }

    fn weak_digest(&self) -> Cause {
        let level = self.level();
        let algorithm = self.certificate.signature_algorithm.as_str();
        Cause::new(
            CauseCode::DigestTooWeak,
            format!(
                "the signature of {} uses a digest that is too weak: {}",
                self.who(),
                level.weak_digest(algorithm)
            ),
            level.stronger_digest(&self.certificate.subject),
        )
        .fact("signature_algorithm", algorithm)
        .fact("security_level", level.number())
    }

    fn level(&self) -> SecurityLevel {
        SecurityLevel::new(self.rules.level, self.rules.protocol)
    }

    fn name_mismatch(&self) -> Cause {
        let presented = self.refusal.certificate.as_deref().map(Presented::of);
        let presented = presented.unwrap_or_default();
        let asked = self.name.to_string();
        let common_name = self.certificate.short_name();
        let (code, kind, needed) = match self.name {
            ServerName::Ip(_) => (CauseCode::IpAddressMismatch, "the IP address", "IP"),
            ServerName::Dns(_) => (CauseCode::HostnameMismatch, "the host name", "DNS"),
        };
        let needed = format!("{needed}:{asked}");
        let is_compared = |name: &&Presented| matches!(name, Presented::Dns(_) | Presented::Ip(_));
        if !presented.iter().any(|name| is_compared(&name)) {
            let near = names::near_misses(self.name, &presented, None);
            let near: String = near.iter().map(|why| format!("; {why}")).collect();
            return Cause::new(
                CauseCode::NoSubjectAltName,
                format!("{} names no host and no IP address among its subject alternative names; its common name {common_name} is not compared{near}", self.who(), common_name = Quoted(&common_name)),
                format!("Have a certificate issued with the subject alternative name {needed}."),
            )
            .fact("common_name", common_name)
            .fact("expected_name", asked)
            .fact("presented_names", self.certificate.presented_names());
        }
        let near = names::near_misses(self.name, &presented, Some(common_name));
        let whys: String = near.iter().map(|why| format!("; {why}")).collect();
        let remedy = match presented.iter().any(Presented::is_usable) {
            true => format!(
                "Connect by a name that the certificate holds, or have one issued with the subject alternative name {needed}."
            ),
            false => {
                format!("Have a certificate issued with the subject alternative name {needed}.")
            }
        };
        Cause::new(
            code,
            format!(
                "the certificate does not hold {kind} {asked}; it holds {}{whys}",
                names::list(&presented),
                asked = Quoted(&asked)
            ),
            remedy,
        )
        .fact("expected_name", asked)
        .fact("presented_names", self.certificate.presented_names())
        .fact_opt("near_misses", (!near.is_empty()).then_some(near))
    }

    /// OpenSSL says that there is no CRL also where there is one that it does not consider.
    fn no_crl(&self) -> Cause {
        let issuer = &self.certificate.issuer;
        if self.crls.of(issuer).next().is_some() {
            return self.unfit_crl();
        }
        let indirect = self
            .crls
            .all()
            .find(|list| CrlScope::of(&list.crl).is_indirect());
        let indirect = indirect.map(|list| {
            let other = ffi::name_text(list.crl.issuer_name());
            format!(
                "; the CRL of {} is an indirect one, which is not supported",
                Quoted(&other)
            )
        });
        Cause::new(
            CauseCode::CrlMissing,
            format!(
                "no CRL of {issuer} is there to check {}{}",
                self.who(),
                indirect.unwrap_or_default(),
                issuer = Quoted(issuer)
            ),
            "Add the CRL of that issuer to the file of tlsCRLFile.",
        )
        .fact("crl_issuers", self.crls.issuers())
    }

    /// No CRL of the issuer covers the certificate.
    fn unfit_crl(&self) -> Cause {
        let issuer = &self.certificate.issuer;
        let mut reasons: Vec<String> = Vec::new();
        for list in self.crls.of(issuer) {
            let reason = self.mismatch(&list.crl);
            if !reasons.contains(&reason) {
                reasons.push(reason);
            }
        }
        Cause::new(
            CauseCode::CrlInvalid,
            format!(
                "the CRL of {} does not serve to check {}: {}",
                Quoted(issuer),
                self.who(),
                reasons.join("; another: ")
            ),
            format!(
                "Give the full CRL that the CA signs with its present key in the file of {}.",
                self.crl_option()
            ),
        )
    }

    /// Returns why a CRL of the issuer does not cover the certificate.
    fn mismatch(&self, crl: &openssl::x509::X509CrlRef) -> String {
        let certificate = self.refusal.certificate.as_ref();
        let of_scope = certificate.and_then(|it| CrlScope::of(crl).mismatch(it));
        let above = usize::try_from(self.refusal.depth)
            .unwrap_or(usize::MAX)
            .saturating_add(1);
        let issuer = self.refusal.chain.get(above);
        let key = issuer.and_then(|issuer| issuer.public_key().ok());
        let is_signed = key.is_some_and(|key| crl.verify(&key).unwrap_or(false));
        of_scope.unwrap_or_else(|| match is_signed {
            false => "it is signed with another key of that CA".to_owned(),
            true => self.refusal.result.error_string().to_owned(),
        })
    }

    /// A CRL that does not say when it ends.
    fn old_crl(&self) -> Cause {
        let made = self
            .refusal
            .crl
            .as_ref()
            .map(|crl| rfc3339(crl.this_update));
        Cause::new(
            CauseCode::CrlExpired,
            format!(
                "the CRL of {} has no nextUpdate and is older than crl_max_age allows: its thisUpdate is {}",
                Quoted(&self.certificate.issuer),
                made.unwrap_or_default()
            ),
            format!(
                "Fetch the current CRL of that issuer into the file of {}, and do so before it is as old as crl_max_age.",
                self.crl_option()
            ),
        )
    }

    /// The option that names the CRL of the issuer in question.
    fn crl_option(&self) -> &'static str {
        let own = self.crls.of(&self.certificate.issuer).next();
        own.map_or("tlsCRLFile", |list| list.option)
    }

    /// The files with a CRL of the issuer in question; all where none of them has one.
    fn crl_files(&self) -> Vec<String> {
        let own: Vec<_> = self.crls.of(&self.certificate.issuer).collect();
        let files = if own.is_empty() {
            self.crls.all().collect()
        } else {
            own
        };
        let mut paths: Vec<_> = files.iter().map(|list| list.path.clone()).collect();
        paths.dedup();
        paths
    }

    fn pin_mismatch(&self) -> Cause {
        let chain = self.refusal.chain.iter();
        let presented: Vec<_> = chain
            .filter_map(|certificate| spki_pin(certificate))
            .map(|pin| pin.to_string())
            .collect();
        Cause::new(
            CauseCode::PinMismatch,
            "none of the public keys in the server's chain is pinned",
            "Find out whether the server or its CA was meant to change its key. If so, pin the new one beside the old one; if not, somebody may stand between this host and the server.",
        )
        .fact("presented_pins", presented)
    }

    /// ` (2026-…)`, where the CRL tells.
    fn next_update(&self) -> String {
        let next_update = self.refusal.crl.as_ref().and_then(|crl| crl.next_update);
        next_update
            .map(|at| format!(" ({})", rfc3339(at)))
            .unwrap_or_default()
    }

    /// The certificate in question, as it stands at the start of a sentence.
    fn who(&self) -> String {
        let name = self.certificate.short_name();
        match self.role() {
            "end entity" => format!("the server's certificate {name}", name = Quoted(&name)),
            "intermediate" => format!("the intermediate CA {name}", name = Quoted(&name)),
            "root" => format!("the root CA {name}", name = Quoted(&name)),
            _ => format!("the trust anchor {name}", name = Quoted(&name)),
        }
    }

    /// The certificate's place in the chain, in the terms of RFC 5280.
    fn role(&self) -> &'static str {
        let last = u32::try_from(self.refusal.chain.len().saturating_sub(1)).unwrap_or(u32::MAX);
        match self.refusal.depth {
            0 => "end entity",
            depth if depth >= self.refusal.trusted_from => "trust anchor",
            depth if depth == last && self.certificate.self_issued => "root",
            _ => "intermediate",
        }
    }
}

/// A certificate that bears the name of an issuer, and where it is from.
struct Found {
    of: Namesake,
    is_anchor: bool,
}

impl Found {
    fn new(below: &X509Ref, candidate: &X509Ref, is_anchor: bool) -> Self {
        Self {
            of: Namesake::of(below, candidate),
            is_anchor,
        }
    }

    /// The certificate, as it stands at the start of a clause.
    fn which(&self) -> String {
        let subject = &self.of.certificate.subject;
        match self.is_anchor {
            true => format!("the trust anchor {subject}", subject = Quoted(&subject)),
            false => format!(
                "the certificate {subject} that the server sends",
                subject = Quoted(&subject)
            ),
        }
    }
}

/// The namesakes as a fact, or `None` if there are no namesakes.
fn listed(namesakes: &[Found]) -> Option<Vec<String>> {
    let texts = namesakes.iter().map(|found| {
        let key_id = found.of.certificate.subject_key_id.as_deref();
        let key_id = key_id.map_or_else(String::new, |id| format!("key identifier {id}, "));
        format!("{}: {key_id}{}", found.which(), found.of.identity())
    });
    let texts: Vec<_> = texts.collect();
    (!texts.is_empty()).then_some(texts)
}

/// Returns whether OpenSSL found no CRL that it could use.
pub(crate) fn misses_crl(result: X509VerifyResult) -> bool {
    let code = result.as_raw();
    let dates = [
        verify::NO_CRL,
        verify::CRL_EXPIRED,
        verify::CRL_NOT_YET_VALID,
    ];
    dates.contains(&code) || verify::CRL_INVALID.contains(&code)
}

/// Results of a verification (`x509_vfy.h`).
mod verify {
    use openssl_sys as sys;

    pub(crate) const NO_ISSUER: i32 = sys::X509_V_ERR_UNABLE_TO_GET_ISSUER_CERT;
    pub(crate) const NO_LOCAL_ISSUER: i32 = sys::X509_V_ERR_UNABLE_TO_GET_ISSUER_CERT_LOCALLY;
    pub(crate) const NO_LEAF_SIGNATURE: i32 = sys::X509_V_ERR_UNABLE_TO_VERIFY_LEAF_SIGNATURE;
    pub(crate) const SELF_SIGNED_LEAF: i32 = sys::X509_V_ERR_DEPTH_ZERO_SELF_SIGNED_CERT;
    pub(crate) const SELF_SIGNED_IN_CHAIN: i32 = sys::X509_V_ERR_SELF_SIGNED_CERT_IN_CHAIN;
    pub(crate) const HAS_EXPIRED: i32 = sys::X509_V_ERR_CERT_HAS_EXPIRED;
    pub(crate) const NOT_YET_VALID: i32 = sys::X509_V_ERR_CERT_NOT_YET_VALID;
    pub(crate) const HOSTNAME_MISMATCH: i32 = sys::X509_V_ERR_HOSTNAME_MISMATCH;
    pub(crate) const IP_MISMATCH: i32 = sys::X509_V_ERR_IP_ADDRESS_MISMATCH;
    pub(crate) const INVALID_PURPOSE: i32 = sys::X509_V_ERR_INVALID_PURPOSE;
    pub(crate) const UNTRUSTED: i32 = sys::X509_V_ERR_CERT_UNTRUSTED;
    pub(crate) const REJECTED: i32 = sys::X509_V_ERR_CERT_REJECTED;
    pub(crate) const SIGNATURE_FAILURE: i32 = sys::X509_V_ERR_CERT_SIGNATURE_FAILURE;
    pub(crate) const EE_KEY_TOO_SMALL: i32 = sys::X509_V_ERR_EE_KEY_TOO_SMALL;
    pub(crate) const CA_KEY_TOO_SMALL: i32 = sys::X509_V_ERR_CA_KEY_TOO_SMALL;
    pub(crate) const DIGEST_TOO_WEAK: i32 = sys::X509_V_ERR_CA_MD_TOO_WEAK;
    pub(crate) const REVOKED: i32 = sys::X509_V_ERR_CERT_REVOKED;
    pub(crate) const NO_CRL: i32 = sys::X509_V_ERR_UNABLE_TO_GET_CRL;
    pub(crate) const CRL_EXPIRED: i32 = sys::X509_V_ERR_CRL_HAS_EXPIRED;
    pub(crate) const CRL_NOT_YET_VALID: i32 = sys::X509_V_ERR_CRL_NOT_YET_VALID;
    /// Ours, and not OpenSSL's: see `tls/verify.rs`.
    pub(crate) const PIN_MISMATCH: i32 = sys::X509_V_ERR_APPLICATION_VERIFICATION;
    pub(crate) const UNKNOWN_EXTENSION: i32 = sys::X509_V_ERR_UNHANDLED_CRITICAL_EXTENSION;
    pub(crate) const NAME_CONSTRAINTS: [i32; 6] = [
        sys::X509_V_ERR_PERMITTED_VIOLATION,
        sys::X509_V_ERR_EXCLUDED_VIOLATION,
        sys::X509_V_ERR_UNSUPPORTED_CONSTRAINT_TYPE,
        sys::X509_V_ERR_UNSUPPORTED_NAME_SYNTAX,
        sys::X509_V_ERR_UNSUPPORTED_CONSTRAINT_SYNTAX,
        sys::X509_V_ERR_SUBTREE_MINMAX,
    ];
    pub(crate) const PATH_LENGTH_EXCEEDED: i32 = sys::X509_V_ERR_PATH_LENGTH_EXCEEDED;
    pub(crate) const CHAIN_TOO_LONG: i32 = sys::X509_V_ERR_CERT_CHAIN_TOO_LONG;
    pub(crate) const UNDECODABLE_SIGNATURE: i32 = sys::X509_V_ERR_UNABLE_TO_DECRYPT_CERT_SIGNATURE;
    pub(crate) const UNDECODABLE_ISSUER_KEY: i32 =
        sys::X509_V_ERR_UNABLE_TO_DECODE_ISSUER_PUBLIC_KEY;
    pub(crate) const EXPLICIT_CURVE: i32 = if cfg!(ossl300) { 94 } else { 79 };
    pub(crate) const INVALID_CA: [i32; 5] = [
        sys::X509_V_ERR_INVALID_CA,
        PATH_LENGTH_EXCEEDED,
        sys::X509_V_ERR_KEYUSAGE_NO_CERTSIGN,
        CHAIN_TOO_LONG,
        sys::X509_V_ERR_INVALID_NON_CA,
    ];
    pub(crate) const DIFFERENT_SCOPE: i32 = sys::X509_V_ERR_DIFFERENT_CRL_SCOPE;
    pub(crate) const CRL_INVALID: [i32; 9] = [
        sys::X509_V_ERR_UNABLE_TO_DECRYPT_CRL_SIGNATURE,
        sys::X509_V_ERR_CRL_SIGNATURE_FAILURE,
        sys::X509_V_ERR_UNABLE_TO_GET_CRL_ISSUER,
        sys::X509_V_ERR_KEYUSAGE_NO_CRL_SIGN,
        sys::X509_V_ERR_UNHANDLED_CRITICAL_CRL_EXTENSION,
        sys::X509_V_ERR_DIFFERENT_CRL_SCOPE,
        sys::X509_V_ERR_CRL_PATH_VALIDATION_ERROR,
        sys::X509_V_ERR_ERROR_IN_CRL_LAST_UPDATE_FIELD,
        sys::X509_V_ERR_ERROR_IN_CRL_NEXT_UPDATE_FIELD,
    ];
}
