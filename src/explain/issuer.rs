//! Words for an issuer that is not trusted, and for certificates that have its name without being it.

use super::wording::GENERAL_REMEDY;
use crate::cause::{CauseCode, Explanation};
use crate::data::certificate::{Certificate, TrustAnchors};
use crate::printable::Quoted;
use crate::reason::certificate::{
    ChainRejection, IssuerDifference, Namesake, NamesakeOrigin, UnknownIssuer,
};
use crate::time::rfc3339;

pub(super) fn unknown(rejection: &ChainRejection, unknown: &UnknownIssuer) -> Explanation {
    let certificate = &rejection.certificate;
    let issuer = &certificate.issuer;
    let no_anchor = format!("no trust anchor for {}", rejection.certificate_name());
    let below = unknown.below.as_deref();
    let namesakes = match below {
        Some((_, namesake)) => std::slice::from_ref(namesake),
        None => &unknown.namesakes,
    };
    let (message, remedy) = if let Some((below, namesake)) = below {
        let message = format!(
            "{no_anchor}: its issuer {} is neither a trust anchor nor sent by the server; the trust anchor {} bears the name of a CA that the server sends, but {}",
            Quoted(issuer),
            Quoted(&namesake.certificate.subject),
            namesake.differs()
        );
        (message, replace(rejection, below, namesake))
    } else if namesakes.is_empty() {
        let message = format!(
            "{no_anchor}: its issuer {} is neither a trust anchor nor sent by the server",
            Quoted(issuer)
        );
        (message, missing(rejection, unknown.has_gap))
    } else {
        let (why, remedy) = instead_of_issuer(rejection, namesakes);
        (format!("{no_anchor}: {why}"), remedy)
    };
    Explanation::new(CauseCode::IssuerUnknown, message, remedy)
        .fact("missing_issuer", issuer.as_str())
        .fact_opt("missing_key_id", certificate.authority_key_id.as_deref())
        .fact("sent_only_end_entity", rejection.sent.len() <= 1)
        .fact_opt("namesakes", listed(namesakes))
}

/// The remedy if no certificate has the name of the issuer. The side that can fix it comes first: only the server can
/// send an intermediate CA, and only this host can trust a root.
fn missing(rejection: &ChainRejection, has_gap: bool) -> String {
    let issuer = Quoted(&rejection.certificate.issuer);
    let anchors = &rejection.anchors;
    let has_public_anchors = !matches!(anchors, TrustAnchors::Configured { .. });
    let send = "let the server send it after its own certificate (on mongod in net.tls.certificateKeyFile)";
    if has_gap {
        return format!(
            "Let the server send the intermediate CA {issuer} too (on mongod in net.tls.certificateKeyFile): a CA above it is sent, and this one is missing between."
        );
    }
    match (rejection.sent.len() <= 1, has_public_anchors) {
        (true, true) => format!(
            "If {issuer} is an intermediate CA, {send}: it sent no other. Otherwise set tlsCAFile to the PEM file of that CA; {anchors} is in use now."
        ),
        (true, false) => format!(
            "Set tlsCAFile to the PEM file of the CA {issuer}. If that is an intermediate CA, {send}: it sent no other."
        ),
        (false, _) => format!(
            "If {issuer} is another intermediate CA, let the server send it too (on mongod in net.tls.certificateKeyFile). Otherwise set tlsCAFile to the PEM file of that CA; {anchors} is in use now."
        ),
    }
}

/// Returns why none of the namesakes is the issuer, and the remedy.
fn instead_of_issuer(rejection: &ChainRejection, namesakes: &[Namesake]) -> (String, String) {
    let Some(first) = namesakes.first() else {
        return (String::new(), GENERAL_REMEDY.to_owned());
    };
    let why = format!(
        "{} bears the name of its issuer, but {}{}",
        first.which(),
        first.differs(),
        match namesakes.len() - 1 {
            0 => String::new(),
            more => format!("; so do {more} more that do not fit"),
        }
    );
    (why, replace(rejection, &rejection.certificate, first))
}

/// The remedy for the certificate `below` if a namesake takes the place of its issuer.
fn replace(rejection: &ChainRejection, below: &Certificate, namesake: &Namesake) -> String {
    let (who, issuer) = (Quoted(below.short_name()), Quoted(&below.issuer));
    let key_id = namesake.expected_key_id.as_ref();
    let key_id = key_id.map_or_else(String::new, |id| format!(" with the key identifier {id}"));
    let anchors = format!("{} is in use now.", rejection.anchors);
    let is_anchor = namesake.origin == NamesakeOrigin::TrustAnchor;
    match (namesake.difference, is_anchor) {
        (Some(IssuerDifference::Key) | None, false) => format!(
            "Let the server send the certificate of {issuer}{key_id} that signed {who} (on mongod in net.tls.certificateKeyFile), in place of the one that it sends."
        ),
        // A certificate is not older than the CA that signed it.
        (Some(IssuerDifference::Key) | None, true)
            if below.not_before < namesake.certificate.not_before =>
        {
            format!(
                "The trust anchor is newer than {who}, so the CA was created again under its old name: have the new CA issue a certificate in place of {who}. Until then, set tlsCAFile to the CA's earlier certificate{key_id}; {anchors}"
            )
        }
        (Some(IssuerDifference::Key) | None, true) => format!(
            "Set tlsCAFile to the certificate of {issuer}{key_id} that signed {who}: the CA was created again under its old name, or there are two of that name; {anchors}"
        ),
        (Some(IssuerDifference::KeyId), _) => format!(
            "Set tlsCAFile to the certificate of {issuer}{key_id}, or have {who} issued again, so that it names the key identifier that the CA has now; {anchors}"
        ),
        (Some(IssuerDifference::Serial), _) => format!(
            "Set tlsCAFile to the certificate of {issuer} with the serial number {}, or have {who} issued again without the issuer's serial number in its authority key identifier; {anchors}",
            namesake.expected_serial.as_deref().unwrap_or_default()
        ),
        (Some(IssuerDifference::Signature), _) => format!(
            "Let the server load {who} again as the CA issued it: it was altered. If it was not, another CA with the same name and key identifier signed it: set tlsCAFile to the certificate of that one; {anchors}"
        ),
        (Some(IssuerDifference::Other(_)), _) => {
            format!("Have {who} issued by a CA that may sign certificates; {anchors}")
        }
    }
}

pub(super) fn bad_signature(rejection: &ChainRejection, namesakes: &[Namesake]) -> Explanation {
    let is_anchor = |namesake: &Namesake| namesake.origin == NamesakeOrigin::TrustAnchor;
    let mut signers = namesakes.iter();
    let signer = signers.find(|namesake| namesake.difference.is_none());
    let (why, remedy) = match (namesakes.first(), signer) {
        (None, _) => (rejection.openssl.to_owned(), GENERAL_REMEDY.to_owned()),
        (Some(first), Some(signer)) => {
            let wrong = &first.certificate.sha256_fingerprint;
            let right = &signer.certificate.sha256_fingerprint;
            let remedy = match (is_anchor(first), is_anchor(signer)) {
                (true, true) => format!(
                    "Remove the one with the SHA-256 fingerprint {wrong} from the file of tlsCAFile: without key identifiers in the certificates OpenSSL tries only one CA of a name."
                ),
                (true, false) => format!(
                    "If the CA was created again under its old name, compare the SHA-256 fingerprint {right} with the CA's own, and set tlsCAFile to that certificate; {} is in use now.",
                    rejection.anchors
                ),
                (false, _) => format!(
                    "Let the server send the one with the SHA-256 fingerprint {right}, and not {wrong}."
                ),
            };
            let why = format!(
                "{} bears the name of its issuer, but {}; {} signed it ({})",
                first.which(),
                first.differs(),
                signer.which(),
                signer.identity()
            );
            (why, remedy)
        }
        (Some(_), None) => instead_of_issuer(rejection, namesakes),
    };
    Explanation::new(
        CauseCode::SignatureInvalid,
        format!("{} does not verify: {why}", rejection.certificate_name()),
        remedy,
    )
    .fact_opt("namesakes", listed(namesakes))
}

pub(super) fn self_signed(rejection: &ChainRejection, namesakes: &[Namesake]) -> Explanation {
    let own = &rejection.certificate.sha256_fingerprint;
    let message = format!(
        "{} is signed by itself and is not a trust anchor",
        rejection.certificate_name()
    );
    let (message, remedy) = match namesakes.first() {
        None => (
            message,
            "If this certificate is the right one, compare its fingerprint with the server's and put it into the file of tlsCAFile; better, have a CA issue one.".to_owned(),
        ),
        Some(namesake) => (
            format!("{message}: the trust anchor of that name {}", namesake.differs()),
            format!(
                "The server has another certificate than the one in tlsCAFile. Compare its SHA-256 fingerprint {own} with the server's own file, and put it into the file of tlsCAFile in place of the other; better, have a CA issue one."
            ),
        ),
    };
    Explanation::new(CauseCode::SelfSigned, message, remedy)
        .fact_opt("namesakes", listed(namesakes))
}

pub(super) fn untrusted_root(
    rejection: &ChainRejection,
    namesakes: &[Namesake],
    anchor: Option<&Namesake>,
) -> Explanation {
    let message = format!(
        "the chain ends in {}, which is not a trust anchor",
        Quoted(&rejection.certificate.subject)
    );
    let (message, remedy) = match anchor {
        None => (
            message,
            format!(
                "Set tlsCAFile to the PEM file of that CA, if it is the right one; {} is in use now.",
                rejection.anchors
            ),
        ),
        Some(anchor) => (
            format!(
                "{message}: the trust anchor of that name {}",
                anchor.differs()
            ),
            format!(
                "If the CA was created again under its old name, compare the SHA-256 fingerprint {} of the root that the server sends with the CA's own, and set tlsCAFile to that certificate; {} is in use now.",
                rejection.certificate.sha256_fingerprint, rejection.anchors
            ),
        ),
    };
    Explanation::new(CauseCode::UntrustedRoot, message, remedy)
        .fact_opt("namesakes", listed(namesakes))
}

/// The namesakes as a fact, or `None` if there are no namesakes.
fn listed(namesakes: &[Namesake]) -> Option<Vec<String>> {
    let texts = namesakes.iter().map(|namesake| {
        let key_id = namesake.certificate.subject_key_id.as_deref();
        let key_id = key_id.map_or_else(String::new, |id| format!("key identifier {id}, "));
        format!("{}: {key_id}{}", namesake.which(), namesake.identity())
    });
    let texts: Vec<_> = texts.collect();
    (!texts.is_empty()).then_some(texts)
}

impl Namesake {
    /// Completes "the certificate X bears the name of the issuer, but".
    pub(crate) fn differs(&self) -> String {
        let certificate = &self.certificate;
        let (expected, has) = (&self.expected_key_id, &certificate.subject_key_id);
        let what = match (self.difference, expected, has) {
            (Some(IssuerDifference::Key), Some(expected), Some(has)) => {
                format!("has another key, with the key identifier {has} instead of {expected}")
            }
            (Some(IssuerDifference::Key), ..) => "has another key".to_owned(),
            (Some(IssuerDifference::Signature), ..) => {
                "its key does not verify the signature, although it has the right key identifier"
                    .to_owned()
            }
            (Some(IssuerDifference::KeyId), expected, has) => format!(
                "has, with the same key, the key identifier {} instead of {}",
                has.as_deref().unwrap_or("none"),
                expected.as_deref().unwrap_or("none")
            ),
            (Some(IssuerDifference::Serial), ..) => format!(
                "has, with the same key, the serial number {} instead of {}",
                certificate.serial,
                self.expected_serial.as_deref().unwrap_or("none")
            ),
            (Some(IssuerDifference::Other(why)), ..) => {
                format!("OpenSSL does not accept it: {why}")
            }
            (None, ..) => "is another certificate with the same key".to_owned(),
        };
        format!("{what} ({})", self.identity())
    }

    /// The properties that distinguish the certificate from others of its name.
    fn identity(&self) -> String {
        let certificate = &self.certificate;
        format!(
            "SHA-256 fingerprint {}, valid from {} to {}",
            certificate.sha256_fingerprint,
            rfc3339(certificate.not_before),
            rfc3339(certificate.not_after)
        )
    }

    /// The certificate, as the beginning of a clause.
    fn which(&self) -> String {
        let subject = Quoted(&self.certificate.subject);
        match self.origin {
            NamesakeOrigin::TrustAnchor => format!("the trust anchor {subject}"),
            NamesakeOrigin::SentByServer => {
                format!("the certificate {subject} that the server sends")
            }
            NamesakeOrigin::File => format!("the certificate {subject}"),
        }
    }
}
