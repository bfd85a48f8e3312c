//! Words for local files, and for what is configured in place of one.

use std::borrow::Cow;
use std::fmt;

use openssl::version::version as openssl_version;

use super::local_limit;
use crate::cause::{CauseCode, Explanation};
use crate::data::certificate::{Certificate, TrustAnchors};
use crate::error::Milliseconds;
use crate::printable::Quoted;
use crate::reason::certificate::SecurityLevel;
use crate::reason::files::{
    CaFolderProblem, CertificateWeakness, CertificatesProblem, ContentFailure, ContentProblem,
    ContentSource, CrlReplacement, CrlReplacementProblem, FileContents, FileFailure, FilePurpose,
    KeyLack, KeyLackKind, KeyLogProblem, KeyPasswordProblem, KeyPasswordSource, LibraryProblem,
    NewCrl, PemDamage, PemKind, PlaceProblem, ProtocolList, ReadProblem, SearchedPlace,
    StoredKeyProblem,
};
use crate::time::rfc3339;

pub(super) fn explain(reason: &FileFailure) -> Explanation {
    match reason {
        FileFailure::Unreadable {
            purpose,
            path,
            problem,
        } => unreadable(*purpose, path, problem),
        FileFailure::Limited {
            option,
            path,
            limit,
        } => local_limit(
            &format!("{option} {path} cannot be read", path = Quoted(path)),
            limit,
        )
        .fact("option", *option)
        .fact("path", path.as_str()),
        FileFailure::Content(failure) => content(failure),
        FileFailure::CaFolder { path, problem } => ca_folder(path, problem),
        FileFailure::NoTrustAnchors {
            is_chosen,
            searched,
        } => no_trust_anchors(*is_chosen, searched),
        FileFailure::SystemAnchorsLimited(limit) => {
            local_limit("the trust anchors of the system cannot be read", limit)
        }
        FileFailure::AnchorsLimited { anchors, limit } => local_limit(
            &format!("the trust anchors in {anchors} cannot be read"),
            limit,
        ),
        FileFailure::AnchorsGone { anchors, limit } => {
            let message = format!("no trust anchor can be read from {anchors}");
            match limit {
                Some(limit) => local_limit(&message, limit),
                None => Explanation::new(
                    CauseCode::NoTrustAnchors,
                    message,
                    "Put a CA certificate in PEM form there.",
                ),
            }
        }
        FileFailure::AnchorsNotInForce {
            anchors,
            name,
            not_before,
            not_after,
            is_early,
            checked_at,
        } => anchors_not_in_force(
            anchors,
            name,
            *is_early,
            rfc3339(match is_early {
                true => *not_before,
                false => *not_after,
            }),
        )
        .fact("subject", name.as_str())
        .fact("not_before", *not_before)
        .fact("not_after", *not_after)
        .fact("trust_anchors", anchors.to_string())
        .fact("checked_at", *checked_at),
        FileFailure::CrlReplacement(replacement) => crl_replacement(replacement),
        FileFailure::OwnCertificateNotInForce {
            certificate,
            checked_at,
        } => {
            let (code, when) = match certificate.not_after < *checked_at {
                true => (
                    CauseCode::ClientCertificateExpired,
                    format!("expired at {}", rfc3339(certificate.not_after)),
                ),
                false => (
                    CauseCode::CertificateNotYetValid,
                    format!("is valid only from {} on", rfc3339(certificate.not_before)),
                ),
            };
            Explanation::new(
                code,
                format!(
                    "the client certificate {} {when}",
                    Quoted(&certificate.subject)
                ),
                "Put a certificate that is in force into tlsCertificateKeyFile.",
            )
            .fact("subject", certificate.subject.as_str())
            .fact("not_before", certificate.not_before)
            .fact("not_after", certificate.not_after)
            .fact("checked_at", *checked_at)
        }
        FileFailure::KeyPassword(problem) => key_password(problem),
        FileFailure::StoredKey {
            uri,
            openssl,
            problem,
        } => stored_key(uri, problem)
            .fact("uri", uri.as_str())
            .fact_opt("openssl", openssl.as_deref()),
        FileFailure::KeyLog { path, problem } => key_log(path, problem),
        FileFailure::ProtocolList { list, value } => protocol_list(*list, value),
        FileFailure::OpenSsl { error, problems } => {
            let problems: Vec<_> = problems.iter().map(ToString::to_string).collect();
            let remedy = match problems.as_slice() {
                [] => "Look at OpenSSL's configuration file (`openssl version -d` names its folder) and at the security level set there.".to_owned(),
                problems => format!("Correct OpenSSL's configuration: {}.", problems.join("; ")),
            };
            let message = format!("OpenSSL refuses the configuration: {error}");
            Explanation::new(CauseCode::OptionConflict, message, remedy)
        }
    }
}

fn unreadable(purpose: FilePurpose, path: &str, problem: &ReadProblem) -> Explanation {
    let code = match purpose {
        FilePurpose::TrustAnchors => CauseCode::CaFileUnreadable,
        FilePurpose::Crl => CauseCode::CrlFileUnreadable,
        FilePurpose::ClientCertificate | FilePurpose::KeyPassword => CauseCode::KeyFileUnreadable,
    };
    let option = purpose.option();
    let message = format!(
        "{option} {path} cannot be read: {problem}",
        path = Quoted(path)
    );
    Explanation::new(code, message, read_remedy(problem))
        .fact("option", option)
        .fact("path", path)
        .fact("reason", problem.to_string())
}

/// Completes the sentence "the file cannot be read: …".
impl fmt::Display for ReadProblem {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::NotFound => f.write_str("there is no such file"),
            Self::PermissionDenied => f.write_str("permission denied"),
            Self::System(text) => f.write_str(text),
            Self::IsFolder => f.write_str("it is a folder"),
            Self::IsPipe => f.write_str("it is a pipe, which can be read only once"),
            Self::IsSocket => f.write_str("it is a socket, not a file"),
            Self::IsDevice => f.write_str("it is a device, not a file"),
            Self::LargerThan(bytes) => match bytes >> 20 {
                0 => write!(f, "it is larger than {} KiB", bytes >> 10),
                mebibytes => write!(f, "it is larger than {mebibytes} MiB"),
            },
            Self::PipeStalled(limit) => write!(
                f,
                "nothing more was written to it within {}, and it was not closed",
                Milliseconds(*limit)
            ),
            Self::NotNamed => f.write_str("it is not a file of these options"),
        }
    }
}

fn read_remedy(problem: &ReadProblem) -> &'static str {
    match problem {
        ReadProblem::NotFound => {
            "Correct the path; a relative path starts at the working directory of the process."
        }
        ReadProblem::PermissionDenied => {
            "Let the user that runs this process read the file and enter its folders."
        }
        ReadProblem::System(_) => "Look at the file system that holds the file.",
        ReadProblem::IsFolder => "Give the path of a file, not of the folder that holds it.",
        ReadProblem::IsPipe | ReadProblem::IsSocket | ReadProblem::IsDevice => {
            "Give the path of a regular file."
        }
        ReadProblem::LargerThan(_) => "Give a file that holds certificates, CRLs or keys alone.",
        ReadProblem::PipeStalled(_) => {
            "Let a program write the whole file to the pipe and close it, or give the path of a regular file."
        }
        ReadProblem::NotNamed => "Name it among the options.",
    }
}

fn content(failure: &ContentFailure) -> Explanation {
    let subject = match &failure.source {
        ContentSource::File { option, path } => format!("{option} {}", Quoted(path)),
        ContentSource::Text { option } => format!("the text of {option}"),
        ContentSource::ClientCertificate => "the client certificate".to_owned(),
        ContentSource::PrivateKey => "the private key".to_owned(),
    };
    let (code, why, remedy) = content_problem(failure);
    let explanation = Explanation::new(code, format!("{subject} {why}"), remedy)
        .fact_opt("option", failure.source.option())
        .fact_opt("path", failure.source.path())
        .fact_opt("holds", failure.holds.as_ref().map(ToString::to_string))
        .fact_opt("openssl", failure.openssl.as_deref());
    match &failure.problem {
        ContentProblem::KeyMismatch { subject } => explanation.fact("subject", subject.as_str()),
        ContentProblem::TooWeak { certificate, .. } => explanation
            .fact("subject", certificate.subject.as_str())
            .fact("issuer", certificate.issuer.as_str())
            .fact("serial", certificate.serial.as_str())
            .fact("not_before", certificate.not_before)
            .fact("not_after", certificate.not_after)
            .fact("key", certificate.key.as_str())
            .fact(
                "signature_algorithm",
                certificate.signature_algorithm.as_str(),
            ),
        _ => explanation,
    }
}

/// The code, the rest of a sentence whose subject is the source, and the remedy.
fn content_problem(failure: &ContentFailure) -> (CauseCode, String, String) {
    const ONE_FILE: &str = "`cat client.crt client.key > client.pem`";
    const WHOLE_CRLS: &str = "Replace the damaged part; a file holds whole CRLs, in PEM form or in DER form one after the other.";
    let holds = failure.holds.as_ref();
    let held = || holds.map(ToString::to_string).unwrap_or_default();
    let invalid = match failure.purpose {
        FilePurpose::TrustAnchors => CauseCode::CaFileInvalid,
        FilePurpose::Crl => CauseCode::CrlFileInvalid,
        FilePurpose::ClientCertificate => CauseCode::KeyFileNoCertificate,
        FilePurpose::KeyPassword => CauseCode::KeyPasswordMissing,
    };
    match &failure.problem {
        ContentProblem::Certificates(problem) => (
            invalid,
            problem.to_string(),
            certificates_remedy(problem).into_owned(),
        ),
        ContentProblem::NoAnchor => (
            invalid,
            format!("holds no trust anchor: {UNTRUSTED}"),
            "If the certificates are to be trusted nevertheless, drop their trust settings: `openssl x509 -in FILE -out ca.pem` does so for the first one.".to_owned(),
        ),
        ContentProblem::UndecodableCertificate => (
            invalid,
            "holds a certificate that cannot be decoded".to_owned(),
            damage_remedy(PemDamage::Other).to_owned(),
        ),
        ContentProblem::NoCertificate => (
            invalid,
            format!("holds no certificate in PEM form: it holds {}", held()),
            format!("Put the certificate and the private key into one PEM file: {ONE_FILE}."),
        ),
        ContentProblem::StoreWithoutCertificate => (
            invalid,
            "holds no certificate".to_owned(),
            "Export the key again together with its certificate.".to_owned(),
        ),
        ContentProblem::NoPrivateKey => (
            CauseCode::KeyFileNoPrivateKey,
            format!("holds no private key in PEM form: it holds {}", held()),
            format!("Put the private key and the certificate into one PEM file: {ONE_FILE}."),
        ),
        ContentProblem::SeveralPrivateKeys { count } => (
            CauseCode::KeyCertificateMismatch,
            format!("holds {count} private keys"),
            "Leave only the private key that belongs to the certificate in the file.".to_owned(),
        ),
        ContentProblem::UndecodableKey => (
            CauseCode::KeyFileNoPrivateKey,
            "holds a private key that cannot be decoded".to_owned(),
            "Replace the private key by a whole one in PEM form.".to_owned(),
        ),
        ContentProblem::NoPassword(source) => {
            let (why, remedy) = no_password(source.as_ref());
            (CauseCode::KeyPasswordMissing, why, remedy.to_owned())
        }
        ContentProblem::WrongPassword(source) => {
            let (why, remedy) = wrong_password(source.as_ref());
            (CauseCode::KeyPasswordWrong, why, remedy)
        }
        ContentProblem::UnsupportedKey(lack) => (
            CauseCode::KeyAlgorithmUnsupported,
            lack.to_string(),
            lack.remedy().to_owned(),
        ),
        ContentProblem::KeyMismatch { subject } => (
            CauseCode::KeyCertificateMismatch,
            format!(
                "holds the certificate of {}, to which the private key does not belong",
                Quoted(subject)
            ),
            "Pair the certificate with the private key that it was issued for.".to_owned(),
        ),
        ContentProblem::TooWeak {
            certificate,
            level,
            weakness,
        } => too_weak(certificate, level, *weakness),
        ContentProblem::NoCrl => (
            invalid,
            format!("holds no CRL: it holds {}", held()),
            match holds {
                Some(FileContents::Pkcs7) => CONVERT_PKCS7.to_owned(),
                _ => "Give the file with the CRL of the CA that signed the server's certificate, in PEM or DER form.".to_owned(),
            },
        ),
        ContentProblem::UndecodableCrl { number, line } => {
            let line = line.map(|line| format!(", whose block begins on line {line}"));
            let line = line.unwrap_or_default();
            (
                invalid,
                format!("holds a CRL that cannot be decoded: number {number}{line}"),
                WHOLE_CRLS.to_owned(),
            )
        }
        ContentProblem::CrlCutOff { line } => (
            invalid,
            format!("holds a CRL that is cut off: its block begins on line {line}"),
            WHOLE_CRLS.to_owned(),
        ),
        ContentProblem::DeltaCrl => (
            invalid,
            "holds a delta CRL, which lists only what has changed since the full one".to_owned(),
            "Give the CA's full CRL, and leave out the deltas to it.".to_owned(),
        ),
    }
}

fn too_weak(
    certificate: &Certificate,
    level: &SecurityLevel,
    weakness: CertificateWeakness,
) -> (CauseCode, String, String) {
    let subject = &certificate.subject;
    let (code, why, remedy) = match weakness {
        CertificateWeakness::Digest => (
            CauseCode::DigestTooWeak,
            format!(
                "signature uses a digest that is too weak: {}",
                level.weak_digest(&certificate.signature_algorithm)
            ),
            level.stronger_digest(subject),
        ),
        CertificateWeakness::Key { bits } => (
            CauseCode::KeyTooWeak,
            format!(
                "key is too weak: {}",
                level.weak_key(&certificate.key, bits)
            ),
            level.stronger_key(subject, bits),
        ),
    };
    let why = format!("holds the certificate of {}, whose {why}", Quoted(subject));
    (code, why, remedy)
}

/// Completes a sentence whose subject is the file.
impl fmt::Display for CertificatesProblem {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Undecodable {
                number,
                count,
                line,
                damage,
            } => {
                f.write_str("holds a certificate that cannot be decoded: ")?;
                if *count > 1 {
                    write!(f, "number {number} of {count}, ")?;
                }
                let damage = match damage {
                    PemDamage::CutOff => ", is cut off",
                    PemDamage::LiteralBreaks => r", has \n as text in place of line breaks",
                    PemDamage::NoBreaks => ", has no line breaks",
                    PemDamage::Indented => ", is indented",
                    PemDamage::Other => "",
                };
                write!(f, "whose block begins on line {line}{damage}")
            }
            Self::CutOff { line } => write!(
                f,
                "holds a certificate that is cut off: its block begins on line {line}"
            ),
            Self::BesidePkcs7 => f.write_str(
                "holds a PKCS#7 block beside certificates, and what is in it would be left out",
            ),
            Self::None(holds) => write!(f, "holds no certificate in PEM form: it holds {holds}"),
        }
    }
}

fn certificates_remedy(problem: &CertificatesProblem) -> Cow<'static, str> {
    match problem {
        CertificatesProblem::Undecodable { damage, .. } => damage_remedy(*damage).into(),
        CertificatesProblem::CutOff { .. } => damage_remedy(PemDamage::CutOff).into(),
        CertificatesProblem::BesidePkcs7 => CONVERT_PKCS7.into(),
        CertificatesProblem::None(holds) => conversion(holds),
    }
}

fn damage_remedy(damage: PemDamage) -> &'static str {
    match damage {
        PemDamage::CutOff => "Copy the whole file again; each block must end with its END line.",
        PemDamage::LiteralBreaks => r"Make line breaks of them: `sed 's/\\n/\n/g' FILE > ca.pem`.",
        PemDamage::NoBreaks => {
            "Put the BEGIN line, the END line and each 64 characters between them on lines of their own."
        }
        PemDamage::Indented => {
            "Remove the white space before each line: `sed 's/^[[:space:]]*//' FILE > ca.pem`."
        }
        PemDamage::Other => {
            "Replace the damaged PEM block; each block must hold one whole certificate."
        }
    }
}

/// The remedy for a file without a certificate in PEM form: how to convert it, if that is possible.
fn conversion(holds: &FileContents) -> Cow<'static, str> {
    let fixed = match holds {
        FileContents::Pkcs7 => {
            "Convert it: `openssl pkcs7 -inform DER -print_certs -in FILE -out ca.pem`."
        }
        FileContents::Pkcs12 => "Convert it: `openssl pkcs12 -in FILE -nokeys -out ca.pem`.",
        FileContents::JavaKeystore => "Convert it: `keytool -list -rfc -keystore FILE > ca.pem`.",
        FileContents::Html => "Download the certificate itself: a server answered with a web page.",
        FileContents::DerCertificate => {
            "Convert it: `openssl x509 -inform DER -in FILE -out ca.pem`."
        }
        FileContents::Utf16(encoding) => {
            return format!("Convert it: `iconv -f {encoding} -t UTF-8 FILE > ca.pem`.").into();
        }
        FileContents::Base64 => {
            "Convert it: `tr -d '\\r\\n' < FILE | openssl base64 -d -A | openssl x509 -inform DER -out ca.pem`."
        }
        FileContents::Pem(kinds) => match kinds.first() {
            Some(PemKind::Pkcs7) => CONVERT_PKCS7,
            Some(PemKind::PrivateKey | PemKind::EncryptedPrivateKey) => {
                "Give the certificate of the CA. No private key is needed to check a server, and that of a CA does not belong on this host."
            }
            Some(PemKind::Crl) => {
                "Give the CRL with tlsCRLFile, and the certificate of the CA with tlsCAFile."
            }
            Some(PemKind::CertificateRequest) => {
                "Give the certificate of the CA that answers such requests."
            }
            _ => GIVE_CERTIFICATE,
        },
        _ => GIVE_CERTIFICATE,
    };
    fixed.into()
}

const GIVE_CERTIFICATE: &str = "Give a PEM file with the CA's certificate.";

const CONVERT_PKCS7: &str = "Convert it: `openssl pkcs7 -print_certs -in FILE -out ca.pem`.";

const UNTRUSTED: &str =
    "the trust settings in its certificates (BEGIN TRUSTED CERTIFICATE) do not allow serverAuth";

/// Completes "it holds …".
impl fmt::Display for FileContents {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Pem(kinds) => {
                let kinds: Vec<_> = kinds.iter().map(|kind| pem_kind(*kind)).collect();
                return f.write_str(&kinds.join(" and "));
            }
            Self::Empty => "nothing",
            Self::Html => "an HTML page",
            Self::JavaKeystore => "a Java keystore",
            Self::Pkcs12 => "a PKCS#12 file",
            Self::Pkcs7 => "a PKCS#7 file in DER form",
            Self::Utf16(_) => "text in UTF-16",
            Self::DerCertificate => "a certificate in DER form",
            Self::DerCrl => "a CRL in DER form",
            Self::DerPrivateKey => "a private key in DER form",
            Self::DerEncryptedPrivateKey => "an encrypted private key in DER form",
            Self::DerCertificateRequest => "a certificate request in DER form",
            Self::DerPublicKey => "a public key in DER form",
            Self::Der => "binary data in DER form",
            Self::Base64 => "base64 without BEGIN and END lines",
            Self::Text => "text without a PEM block",
            Self::Binary => "binary data",
        })
    }
}

fn pem_kind(kind: PemKind) -> &'static str {
    match kind {
        PemKind::Certificate => "a certificate",
        PemKind::TrustedCertificate => "a certificate in OpenSSL's own trusted form",
        PemKind::Crl => "a CRL",
        PemKind::CertificateRequest => "a certificate request",
        PemKind::PublicKey => "a public key",
        PemKind::EncryptedPrivateKey => "an encrypted private key",
        PemKind::PrivateKey => "a private key",
        PemKind::Pkcs7 => "a PKCS#7 file",
        PemKind::Other => "a PEM block of another kind",
    }
}

/// The source of a password, for a sentence.
fn password_source(source: Option<&KeyPasswordSource>) -> String {
    match source {
        Some(KeyPasswordSource::File(path)) => {
            format!("the first line of key_password_file {}", Quoted(path))
        }
        Some(KeyPasswordSource::Variable(name)) => format!(
            "the environment variable {} (key_password_variable)",
            Quoted(name)
        ),
        Some(KeyPasswordSource::Callback) => "the function of key_password_callback".to_owned(),
        Some(KeyPasswordSource::Option) | None => "tlsCertificateKeyFilePassword".to_owned(),
    }
}

fn no_password(source: Option<&KeyPasswordSource>) -> (String, &'static str) {
    match source {
        None => (
            "holds an encrypted private key and no password is configured".to_owned(),
            "Set tlsCertificateKeyFilePassword to the password of the private key.",
        ),
        source => (
            format!(
                "holds an encrypted private key, and {} gave no password",
                password_source(source)
            ),
            "Let it return the password of the private key.",
        ),
    }
}

fn wrong_password(source: Option<&KeyPasswordSource>) -> (String, String) {
    let named = password_source(source);
    match source {
        Some(KeyPasswordSource::Option) | None => (
            "holds a private key that the configured password does not decrypt".to_owned(),
            format!("Correct {named}; in a connection string it must be percent-encoded."),
        ),
        Some(KeyPasswordSource::File(_)) => (
            format!("holds a private key that {named} does not decrypt"),
            "Correct that line: it must be the password alone, without quotes or white space around it.".to_owned(),
        ),
        Some(_) => (
            format!("holds a private key that the password from {named} does not decrypt"),
            format!("Correct the password from {named}."),
        ),
    }
}

/// Completes a sentence whose subject is the file.
impl fmt::Display for KeyLack {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Some(algorithm) = &self.algorithm else {
            return f.write_str(
                "holds a private key whose type or encryption this OpenSSL does not offer",
            );
        };
        let what = match self.kind {
            KeyLackKind::StoreEncryption => "is a PKCS#12 file encrypted with",
            KeyLackKind::StoreMac => "is a PKCS#12 file protected by",
            KeyLackKind::KeyEncryption => "holds a private key encrypted with",
            KeyLackKind::KeyType => "holds a private key of the type",
        };
        let place = match self.is_legacy {
            true => "which OpenSSL 3 keeps in its legacy provider, and that is not active",
            false => "which this OpenSSL does not offer",
        };
        write!(f, "{what} {algorithm}, {place}")
    }
}

impl KeyLack {
    pub(crate) fn remedy(&self) -> &'static str {
        match self.kind {
            KeyLackKind::StoreMac => {
                "Use OpenSSL 3.4 or later, or write the file in PEM form: `openssl pkcs12 -nomacver -in FILE -out NEW.pem`."
            }
            KeyLackKind::StoreEncryption if self.has_legacy => {
                "Write the file in PEM form: `openssl pkcs12 -legacy -in FILE -out NEW.pem`; or activate the legacy provider in openssl.cnf."
            }
            KeyLackKind::StoreEncryption => {
                "Write the file in PEM form on a machine whose OpenSSL reads it: `openssl pkcs12 -in FILE -out NEW.pem`."
            }
            KeyLackKind::KeyEncryption if self.is_legacy => {
                "Encrypt the key with AES: `openssl pkcs8 -topk8 -v2 aes-256-cbc -provider legacy -provider default -in FILE -out NEW.key`; or activate the legacy provider in openssl.cnf."
            }
            KeyLackKind::KeyEncryption => {
                "Encrypt the key with AES on a machine whose OpenSSL reads it: `openssl pkcs8 -topk8 -v2 aes-256-cbc -in FILE -out NEW.key`."
            }
            KeyLackKind::KeyType => {
                "Have a certificate issued for a key of RSA, EC or Ed25519, or use an OpenSSL with a provider for this type."
            }
        }
    }
}

fn key_password(problem: &KeyPasswordProblem) -> Explanation {
    match problem {
        KeyPasswordProblem::FileIsUtf16 { path } => Explanation::new(
            CauseCode::KeyPasswordWrong,
            format!("key_password_file {} holds text in UTF-16", Quoted(path)),
            "Convert it: `iconv -f UTF-16 -t UTF-8 FILE > password.txt`.",
        )
        .fact("option", FilePurpose::KeyPassword.option())
        .fact("path", path.as_str()),
        KeyPasswordProblem::FileIsEmpty { path } => Explanation::new(
            CauseCode::KeyPasswordMissing,
            format!(
                "the private key is encrypted, and the first line of key_password_file {} is empty",
                Quoted(path)
            ),
            "Put the password of the private key into the first line of that file.",
        )
        .fact("option", FilePurpose::KeyPassword.option())
        .fact("path", path.as_str()),
        KeyPasswordProblem::NoVariable { name } => Explanation::new(
            CauseCode::KeyPasswordMissing,
            format!(
                "the private key is encrypted, and the environment variable {} with its password is not set",
                Quoted(name)
            ),
            "Set the environment variable for this process.",
        )
        .fact("variable", name.as_str()),
        KeyPasswordProblem::CallbackPanicked => Explanation::new(
            CauseCode::KeyPasswordMissing,
            "the private key is encrypted, and the function that returns its password panicked",
            "Correct the function; the message of its panic is on standard error.",
        ),
    }
}

fn stored_key(uri: &str, problem: &StoredKeyProblem) -> Explanation {
    let (code, why, remedy) = match problem {
        StoredKeyProblem::NoPassword => (
            CauseCode::KeyPasswordMissing,
            "needs a password or a PIN, and none is configured",
            "Set tlsCertificateKeyFilePassword to the password or the PIN of the private key.".to_owned(),
        ),
        StoredKeyProblem::WrongPassword(source) => (
            CauseCode::KeyPasswordWrong,
            "is not given out for the configured password or PIN",
            format!(
                "Correct {}; a token may be locked after some wrong ones.",
                password_source(source.as_ref())
            ),
        ),
        StoredKeyProblem::UnknownStore => (
            CauseCode::KeyAlgorithmUnsupported,
            "names a kind of store that this OpenSSL does not know",
            "Use OpenSSL 3 or later, install the provider for that kind of store, and activate it in openssl.cnf (`openssl list -providers`).".to_owned(),
        ),
        StoredKeyProblem::NotLoaded => (
            CauseCode::KeyFileUnreadable,
            "cannot be loaded from its store",
            "Correct the URI; `openssl storeutl -keys URI` tells what a store holds.".to_owned(),
        ),
        StoredKeyProblem::NotFound => (
            CauseCode::KeyFileNoPrivateKey,
            "is not in its store",
            "Correct the URI, and the PIN if the store asks for one; `openssl storeutl -keys URI` tells what a store holds.".to_owned(),
        ),
    };
    Explanation::new(
        code,
        format!("the private key {} {why}", Quoted(uri)),
        remedy,
    )
}

fn ca_folder(path: &str, problem: &CaFolderProblem) -> Explanation {
    let (code, why, remedy) = match problem {
        CaFolderProblem::Unreadable(error) => (
            CauseCode::CaFileUnreadable,
            format!("cannot be read: {error}"),
            "Give a folder that the user running this process may read and enter.",
        ),
        CaFolderProblem::NoHashedNames => (
            CauseCode::CaFileInvalid,
            "holds no certificate under a hashed name, such as 5ed36f99.0".to_owned(),
            "Make the names with `openssl rehash FOLDER`, or give the certificates as one file with tlsCAFile.",
        ),
    };
    Explanation::new(
        code,
        format!("the CA folder {} {why}", Quoted(path)),
        remedy,
    )
    .fact("option", "ca_directory")
    .fact("path", path)
}

fn no_trust_anchors(is_chosen: bool, searched: &[SearchedPlace]) -> Explanation {
    let reasons = searched
        .iter()
        .map(|place| format!("{} ({})", place.path, place.problem));
    let reasons: Vec<_> = reasons.collect();
    let remedy = match is_chosen {
        true => {
            "Correct SSL_CERT_FILE and SSL_CERT_DIR, or set tlsCAFile to the PEM file of the CA that signed the server's certificate."
        }
        false => {
            "Install the system's CA certificates (on Debian the package ca-certificates), or set tlsCAFile to the PEM file of the CA that signed the server's certificate."
        }
    };
    let message = format!("no trust anchors: none found in {}", reasons.join(", "));
    let searched: Vec<_> = searched.iter().map(|place| place.path.clone()).collect();
    Explanation::new(CauseCode::NoTrustAnchors, message, remedy).fact("looked_in", searched)
}

impl fmt::Display for PlaceProblem {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Unread(problem) => return problem.fmt(f),
            Self::Certificates(problem) => return write!(f, "it {problem}"),
            Self::FolderUnreadable(error) => error,
            Self::NoAnchor => UNTRUSTED,
            Self::FolderNotFound => "there is no such folder",
            Self::FolderDenied => "permission denied",
            Self::NotFolder => "it is a file, not a folder",
            Self::FolderEmpty => "it is empty",
            Self::NoHashedNames => {
                "it holds no certificate under a hashed name, as `openssl rehash` makes them"
            }
        })
    }
}

fn anchors_not_in_force(
    anchors: &TrustAnchors,
    name: &str,
    is_early: bool,
    at: String,
) -> Explanation {
    let name = Quoted(name);
    let (code, when, remedy) = match is_early {
        true => (
            CauseCode::CertificateNotYetValid,
            format!("the first of them, {name}, is valid from {at} on"),
            "Compare this host's clock with the true time; until then keep a CA certificate that is in force beside the next one.",
        ),
        false => (
            CauseCode::CertificateExpired,
            format!("the last of them, {name}, expired at {at}"),
            "Replace the trust anchors by CA certificates that are in force.",
        ),
    };
    let message = format!("none of the trust anchors in {anchors} is in force: {when}");
    Explanation::new(code, message, remedy)
}

fn crl_replacement(replacement: &CrlReplacement) -> Explanation {
    const CURRENT: &str = "Put the current CRL of that issuer into the file of tlsCRLFile.";
    let issuer = Quoted(&replacement.issuer);
    let in_force = match replacement.in_force_until {
        Some(end) => format!("which is in force until {}", rfc3339(end)),
        None => "which is in force without an end".to_owned(),
    };
    let (code, message, remedy, new) = match &replacement.problem {
        CrlReplacementProblem::Missing => (
            CauseCode::CrlMissing,
            format!(
                "the files of tlsCRLFile no longer hold a CRL of {issuer}, and would replace one {in_force}"
            ),
            CURRENT,
            None,
        ),
        CrlReplacementProblem::NotYetValid(new) => (
            CauseCode::CrlNotYetValid,
            format!(
                "the CRL of {issuer} in {} is valid only from {} on, and would replace one {in_force}",
                Quoted(&new.path),
                rfc3339(new.this_update)
            ),
            "Compare this host's clock with the true time; until then keep the CRL that is in force beside the next one.",
            Some(new),
        ),
        CrlReplacementProblem::Expired(new) => (
            CauseCode::CrlExpired,
            format!(
                "the CRL of {issuer} in {} is past its nextUpdate ({}), and would replace one {in_force}",
                Quoted(&new.path),
                new.next_update.map(rfc3339).unwrap_or_default()
            ),
            CURRENT,
            Some(new),
        ),
        CrlReplacementProblem::LowerNumber {
            new,
            number,
            number_in_use,
            this_update_in_use,
        } => (
            CauseCode::CrlInvalid,
            format!(
                "the CRL of {issuer} in {} has the number {number} (thisUpdate {}), and would replace number {number_in_use} (thisUpdate {}), {in_force}",
                Quoted(&new.path),
                rfc3339(new.this_update),
                rfc3339(*this_update_in_use)
            ),
            "Find out who put the older CRL there, and put the current one of that issuer into the file of tlsCRLFile.",
            Some(new),
        ),
    };
    let numbers = match &replacement.problem {
        CrlReplacementProblem::LowerNumber {
            number,
            number_in_use,
            ..
        } => Some((number.as_str(), number_in_use.as_str())),
        _ => None,
    };
    Explanation::new(code, message, remedy)
        .fact("crl_issuer", replacement.issuer.as_str())
        .fact_opt("path", new.map(|new: &NewCrl| new.path.as_str()))
        .fact_opt("crl_number", numbers.map(|(number, _)| number))
        .fact_opt("crl_number_in_use", numbers.map(|(_, in_use)| in_use))
        .fact_opt("this_update", new.map(|new| new.this_update))
        .fact_opt("next_update", new.and_then(|new| new.next_update))
        .fact("checked_at", replacement.checked_at)
}

fn key_log(path: &str, problem: &KeyLogProblem) -> Explanation {
    const OWN_FILE: &str = "Give the path of a file that does not exist yet, or of a regular file that belongs to the user that runs this process and has the mode 0600.";
    let (why, remedy) = match problem {
        KeyLogProblem::Limited(limit) => {
            let what = format!("key_log_file {} cannot be opened", Quoted(path));
            return local_limit(&what, limit);
        }
        KeyLogProblem::IsLink => (
            "is a symbolic link, which is not followed".to_owned(),
            OWN_FILE,
        ),
        KeyLogProblem::NotWritable(error) => (
            format!("cannot be written: {error}"),
            "Give the path of a file in a folder that the user running this process may write to.",
        ),
        KeyLogProblem::NotExaminable(error) => (format!("cannot be looked at: {error}"), OWN_FILE),
        KeyLogProblem::NotRegular => ("is not a regular file".to_owned(), OWN_FILE),
        KeyLogProblem::OtherOwner { owner, user } => (
            format!("belongs to the user with the number {owner}, and this process runs as {user}"),
            OWN_FILE,
        ),
        KeyLogProblem::OpenToOthers { mode } => (
            format!("may be read or written by others than its owner: its mode is {mode:04o}"),
            OWN_FILE,
        ),
    };
    let message = format!("key_log_file {} {why}", Quoted(path));
    Explanation::new(CauseCode::KeyFileUnreadable, message, remedy)
        .fact("option", "key_log_file")
        .fact("path", path)
}

fn protocol_list(list: ProtocolList, value: &str) -> Explanation {
    let remedy = match list {
        ProtocolList::CipherList => {
            "Name ciphers of TLS 1.2 that `openssl ciphers -s -tls1_2` prints; those of TLS 1.3 go into cipher_suites."
        }
        ProtocolList::CipherSuites => {
            "Name cipher suites that `openssl ciphers -s -tls1_3` prints, separated by colons."
        }
        ProtocolList::Groups => {
            "Name groups that this OpenSSL has, separated by colons, such as X25519:P-256; X25519MLKEM768 needs OpenSSL 3.5."
        }
        ProtocolList::SignatureAlgorithms => {
            "Name signature algorithms that this OpenSSL has, separated by colons, such as ECDSA+SHA256:RSA-PSS+SHA256."
        }
    };
    let name = list.name();
    let message = format!(
        "{name} {} is not usable: {} does not know all that it names",
        Quoted(value),
        openssl_version()
    );
    Explanation::new(CauseCode::OptionConflict, message, remedy)
        .fact("option", name)
        .fact("value", value)
}

impl fmt::Display for LibraryProblem {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::IgnoredFile { file, error } => write!(
                f,
                "OpenSSL ignores its configuration file {}: {error}; correct it, or name another file with OPENSSL_CONF",
                Quoted(file)
            ),
            Self::MissingProvider { file, provider } => write!(
                f,
                "the provider {}, which {} activates, is not loaded; `openssl list -providers -provider {provider}` tells why",
                Quoted(provider),
                Quoted(file)
            ),
            Self::NoFipsProvider { file } => write!(
                f,
                "OpenSSL is set to use FIPS algorithms alone (default_properties in {}), and no provider with such algorithms is loaded; activate the FIPS provider there",
                Quoted(file)
            ),
        }
    }
}
