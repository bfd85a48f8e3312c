//! Private keys: traditional PEM (RSA, EC), PKCS#8 and PKCS#12, encrypted or not, and keys of a store.
//!
//! A password is never asked for on a terminal. OpenSSL gets a callback that hands over the one that is
//! configured and notes whether it was needed, so that a password which is missing, one which is wrong
//! and an encryption that this OpenSSL lacks are told apart.

use std::os::unix::ffi::OsStringExt;
use std::path::Path;

use openssl::asn1::Asn1Object;
use openssl::error::ErrorStack;
use openssl::nid::Nid;
use openssl::pkcs12::{ParsedPkcs12_2, Pkcs12};
use openssl::pkey::{PKey, Private};
use openssl::x509::X509;
use zeroize::Zeroizing;

use crate::cause::{Cause, CauseCode};
use crate::error::{Error, Result};
use crate::ffi::openssl as ffi;
use crate::options::{PasswordSource, Secret};
use crate::printable::Quoted;
use crate::store_uri::{scheme, shown_path, shown_uri};
use crate::tls::config::files::{self, PemBlock, Purpose};
use crate::tls::config::identity::Material;
use crate::tls::config::reading::Files;
use crate::tls::library::openssl_version;

/// The password of a private key, fetched once, when it is needed.
pub(crate) struct Password<'a> {
    source: Option<&'a PasswordSource>,
    files: &'a Files,
    fetched: Option<Option<Bytes>>,
}

/// A password, byte for byte as it stands where it comes from: old keys may have one that is not UTF-8.
type Bytes = Zeroizing<Vec<u8>>;

impl<'a> Password<'a> {
    pub(crate) fn new(source: Option<&'a PasswordSource>, files: &'a Files) -> Self {
        Self {
            source,
            files,
            fetched: None,
        }
    }

    /// The password; none if there is none.
    fn fetch(&mut self) -> Result<Option<Bytes>> {
        if let Some(known) = &self.fetched {
            return Ok(known.clone());
        }
        let bytes = |password: &Secret| Bytes::new(password.expose().as_bytes().to_vec());
        let password = match self.source {
            None => None,
            Some(PasswordSource::Text(password)) => Some(bytes(password)),
            Some(PasswordSource::Callback(callback)) => {
                let password = callback.ask().map_err(|_| callback_panicked())?;
                password.as_ref().map(bytes)
            }
            Some(PasswordSource::Variable(name)) => match std::env::var_os(name) {
                Some(password) => Some(Bytes::new(password.into_vec())),
                None => return Err(no_variable(name)),
            },
            Some(PasswordSource::File(path)) => {
                let text = files::bytes(Purpose::KeyPassword, path, self.files)?;
                Some(Bytes::new(first_line(path, text)?.to_vec()))
            }
        };
        self.fetched = Some(password.clone());
        Ok(password)
    }

    /// Returns where the password comes from, for a sentence.
    fn named(&self) -> String {
        match self.source {
            Some(PasswordSource::File(path)) => format!(
                "the first line of key_password_file {}",
                Quoted(&shown_path(path))
            ),
            Some(PasswordSource::Variable(name)) => {
                format!(
                    "the environment variable {name} (key_password_variable)",
                    name = Quoted(&name)
                )
            }
            Some(PasswordSource::Callback(_)) => "the function of key_password_callback".to_owned(),
            Some(PasswordSource::Text(_)) | None => "tlsCertificateKeyFilePassword".to_owned(),
        }
    }
}

/// The first line of a password file, without the byte order mark that some editors write.
fn first_line<'a>(path: &Path, text: &'a [u8]) -> Result<&'a [u8]> {
    let failed = |code: CauseCode, message: String, remedy: &str| {
        let cause = Cause::new(code, message, remedy)
            .fact("option", Purpose::KeyPassword.option())
            .fact("path", path.display().to_string());
        Err(Error::configuration(cause))
    };
    let shown = path.display().to_string();
    if text.starts_with(b"\xFF\xFE") || text.starts_with(b"\xFE\xFF") {
        return failed(
            CauseCode::KeyPasswordWrong,
            format!(
                "key_password_file {shown} holds text in UTF-16",
                shown = Quoted(&shown)
            ),
            "Convert it: `iconv -f UTF-16 -t UTF-8 FILE > password.txt`.",
        );
    }
    let text = text.strip_prefix(b"\xEF\xBB\xBF").unwrap_or(text);
    let line = text.split(|byte| *byte == b'\n').next().unwrap_or_default();
    match line.strip_suffix(b"\r").unwrap_or(line) {
        [] => failed(
            CauseCode::KeyPasswordMissing,
            format!(
                "the private key is encrypted, and the first line of key_password_file {shown} is empty",
                shown = Quoted(&shown)
            ),
            "Put the password of the private key into the first line of that file.",
        ),
        line => Ok(line),
    }
}

fn no_variable(name: &str) -> Error {
    let cause = Cause::new(
        CauseCode::KeyPasswordMissing,
        format!(
            "the private key is encrypted, and the environment variable {name} with its password is not set",
            name = Quoted(&name)
        ),
        "Set the environment variable for this process.",
    );
    Error::configuration(cause.fact("variable", name))
}

fn callback_panicked() -> Error {
    let cause = Cause::new(
        CauseCode::KeyPasswordMissing,
        "the private key is encrypted, and the function that returns its password panicked",
        "Correct the function; the message of its panic is on standard error.",
    );
    Error::configuration(cause)
}

/// Why a key did not open.
pub(crate) enum Locked {
    NoPassword,
    WrongPassword(ErrorStack),
    Unsupported(ErrorStack),
    Undecodable(ErrorStack),
    /// The password could not be fetched.
    Unfetched(Error),
}

impl Locked {
    fn into_error(self, material: &Material<'_>, password: &Password<'_>) -> Error {
        match self {
            Self::NoPassword => password_missing(material, password),
            Self::WrongPassword(error) => password_wrong(material, password, error),
            Self::Unsupported(error) => unsupported(material, error),
            Self::Undecodable(error) => undecodable(material, error),
            Self::Unfetched(error) => error,
        }
    }
}

/// The one private key in PEM form.
pub(crate) fn private_key(
    material: &Material<'_>,
    password: &mut Password<'_>,
) -> Result<PKey<Private>> {
    let blocks: Vec<_> = files::pem_blocks(material.bytes)
        .filter(PemBlock::is_key)
        .collect();
    let [block] = blocks.as_slice() else {
        return Err(match blocks.len() {
            0 => no_private_key(material),
            count => several_private_keys(material, count),
        });
    };
    open(block, password).map_err(|locked| locked.into_error(material, password))
}

/// The private key of a PEM block.
pub(crate) fn open(
    block: &PemBlock<'_>,
    password: &mut Password<'_>,
) -> Result<PKey<Private>, Locked> {
    let read = |ask: Ask<'_>| PKey::private_key_from_pem_callback(block.text, ask);
    unlock(password, read).0
}

/// The private key of an encrypted PKCS#8 file in DER form; none if the bytes are something else.
pub(crate) fn open_encrypted_der(
    bytes: &[u8],
    password: &mut Password<'_>,
) -> Option<Result<PKey<Private>, Locked>> {
    let read = |ask: Ask<'_>| PKey::private_key_from_pkcs8_callback(bytes, ask);
    let (outcome, asked) = unlock(password, read);
    // OpenSSL asks for the password of nothing else.
    asked.then_some(outcome)
}

/// What OpenSSL calls for a password.
type Ask<'a> = &'a mut dyn FnMut(&mut [u8]) -> Result<usize, ErrorStack>;

/// Lets `read` decode a key with the password at hand, and tells whether it was needed.
fn unlock(
    password: &mut Password<'_>,
    read: impl FnOnce(Ask<'_>) -> Result<PKey<Private>, ErrorStack>,
) -> (Result<PKey<Private>, Locked>, bool) {
    let mut asked = Asked::default();
    let outcome = read(&mut |buffer| Ok(asked.answer(password, buffer)));
    let was_asked = asked.0.is_some();
    let outcome = outcome.map_err(|error| match asked.0 {
        Some(Err(error)) => Locked::Unfetched(error),
        Some(Ok(None)) => Locked::NoPassword,
        _ if is_unsupported(&error) => Locked::Unsupported(error),
        Some(Ok(Some(_))) => Locked::WrongPassword(error),
        None => Locked::Undecodable(error),
    });
    (outcome, was_asked)
}

/// What OpenSSL was given when it asked for a password; none if it did not ask.
#[derive(Default)]
struct Asked(Option<Result<Option<Bytes>>>);

impl Asked {
    /// Writes the password into OpenSSL's buffer and says how long it is.
    fn answer(&mut self, password: &mut Password<'_>, buffer: &mut [u8]) -> usize {
        let text = match self.0.insert(password.fetch()) {
            Ok(Some(password)) => password.as_slice(),
            _ => &[],
        };
        // A password that does not fit is not cut: OpenSSL then reports a wrong one.
        let Some(room) = buffer.get_mut(..text.len()) else {
            return 0;
        };
        room.copy_from_slice(text);
        text.len()
    }
}

/// The private key that the URI of an OpenSSL store names.
pub(crate) fn stored_key(uri: &str, password: &mut Password<'_>) -> Result<PKey<Private>> {
    let shown = shown_uri(uri);
    let shown = shown.as_str();
    let mut asked = Asked::default();
    let outcome = ffi::load_private_key(uri, &mut |buffer| asked.answer(password, buffer));
    let error = match outcome {
        Ok(Some(key)) => return Ok(key),
        Ok(None) => None,
        Err(error) => Some(error),
    };
    // OpenSSL's own text repeats the whole URI, so that only its reasons are kept.
    let reasons = error.as_ref().and_then(files::reasons);
    let failed = |code: CauseCode, why: &str, remedy: &str| {
        let cause = Cause::new(
            code,
            format!("the private key {shown} {why}", shown = Quoted(&shown)),
            remedy,
        );
        let cause = cause.fact("uri", shown);
        Error::configuration(cause.fact_opt("openssl", reasons.clone()))
    };
    Err(match (asked.0, &error) {
        (Some(Err(error)), _) => error,
        (Some(Ok(None)), _) => failed(
            CauseCode::KeyPasswordMissing,
            "needs a password or a PIN, and none is configured",
            "Set tlsCertificateKeyFilePassword to the password or the PIN of the private key.",
        ),
        (Some(Ok(Some(_))), Some(_)) => failed(
            CauseCode::KeyPasswordWrong,
            "is not given out for the configured password or PIN",
            &format!(
                "Correct {}; a token may be locked after some wrong ones.",
                password.named()
            ),
        ),
        (None, Some(error)) if lacks_store(uri, error) => failed(
            CauseCode::KeyAlgorithmUnsupported,
            "names a kind of store that this OpenSSL does not know",
            "Use OpenSSL 3 or later, install the provider for that kind of store, and activate it in openssl.cnf (`openssl list -providers`).",
        ),
        (None, Some(_)) => failed(
            CauseCode::KeyFileUnreadable,
            "cannot be loaded from its store",
            "Correct the URI; `openssl storeutl -keys URI` tells what a store holds.",
        ),
        // Some stores do not tell a wrong PIN from a key that is not there.
        (_, None) => failed(
            CauseCode::KeyFileNoPrivateKey,
            "is not in its store",
            "Correct the URI, and the PIN if the store asks for one; `openssl storeutl -keys URI` tells what a store holds.",
        ),
    })
}

/// Whether OpenSSL has no store for the scheme of a URI. It says so of a file that is not there as well.
fn lacks_store(uri: &str, error: &ErrorStack) -> bool {
    const LIB_OSSL_STORE: i32 = 44;
    let mut entries = error.errors().iter();
    let unregistered = entries.any(|entry| {
        let reason = entry.reason().unwrap_or_default();
        entry.library_code() == LIB_OSSL_STORE
            && matches!(reason, "unregistered scheme" | "unsupported")
    });
    let is_file = matches!(scheme(uri), None | Some("file"));
    error.errors().is_empty() || (unregistered && !is_file)
}

/// What a PKCS#12 file holds.
pub(crate) struct KeyStore {
    pub(crate) key: PKey<Private>,
    pub(crate) certificates: Vec<X509>,
}

/// Key and certificates of a PKCS#12 file (RFC 7292); none if the bytes are something else.
pub(crate) fn pkcs12(
    material: &Material<'_>,
    password: &mut Password<'_>,
) -> Result<Option<KeyStore>> {
    let store = match open_pkcs12(material.bytes, password) {
        None => return Ok(None),
        Some(store) => store.map_err(|locked| locked.into_error(material, password))?,
    };
    let key = store.key.ok_or_else(|| no_private_key(material))?;
    if store.certificates.is_empty() {
        let remedy = "Export the key again together with its certificate.";
        return Err(material.error(
            CauseCode::KeyFileNoCertificate,
            "holds no certificate",
            remedy,
        ));
    }
    Ok(Some(KeyStore {
        key,
        certificates: store.certificates,
    }))
}

/// A PKCS#12 file that is open.
pub(crate) struct OpenStore {
    pub(crate) key: Option<PKey<Private>>,
    /// The certificate of the key first.
    pub(crate) certificates: Vec<X509>,
    /// Whether it took a password.
    pub(crate) encrypted: bool,
}

/// Opens a PKCS#12 file; none if the bytes are something else.
pub(crate) fn open_pkcs12(
    bytes: &[u8],
    password: &mut Password<'_>,
) -> Option<Result<OpenStore, Locked>> {
    if bytes.first() != Some(&0x30) || Pkcs12::from_der(bytes).is_err() {
        return None;
    }
    // A store without a password is one with an empty one.
    let (outcome, encrypted) = match ffi::parse_pkcs12(bytes, b"") {
        Ok(parsed) => (Ok(parsed), false),
        Err(error) => (with_password(bytes, password, error), true),
    };
    Some(outcome.map(|parsed| {
        let mut certificates: Vec<X509> = parsed.cert.into_iter().collect();
        certificates.extend(parsed.ca.into_iter().flatten());
        OpenStore {
            key: parsed.pkey,
            certificates,
            encrypted,
        }
    }))
}

/// Opens a store that does not open without a password, and said `without`.
fn with_password(
    bytes: &[u8],
    password: &mut Password<'_>,
    without: ErrorStack,
) -> Result<ParsedPkcs12_2, Locked> {
    let password = match password.fetch().map_err(Locked::Unfetched)? {
        None if is_unsupported(&without) => return Err(Locked::Unsupported(without)),
        None => return Err(Locked::NoPassword),
        // C ends a text at its first NUL, so a store cannot have such a password.
        Some(password) if password.contains(&0) => return Err(Locked::WrongPassword(without)),
        Some(password) => password,
    };
    ffi::parse_pkcs12(bytes, &password).map_err(|error| {
        if is_unsupported(&error) {
            Locked::Unsupported(error)
        } else {
            Locked::WrongPassword(error)
        }
    })
}

fn no_private_key(material: &Material<'_>) -> Error {
    material.error(
        CauseCode::KeyFileNoPrivateKey,
        &format!("holds no private key in PEM form: it holds {}", files::describe(material.bytes)),
        "Put the private key and the certificate into one PEM file: `cat client.crt client.key > client.pem`.",
    )
}

fn several_private_keys(material: &Material<'_>, count: usize) -> Error {
    material.error(
        CauseCode::KeyCertificateMismatch,
        &format!("holds {count} private keys"),
        "Leave only the private key that belongs to the certificate in the file.",
    )
}

fn undecodable(material: &Material<'_>, error: ErrorStack) -> Error {
    material.refused(
        CauseCode::KeyFileNoPrivateKey,
        "holds a private key that cannot be decoded",
        "Replace the private key by a whole one in PEM form.",
        error,
    )
}

fn password_missing(material: &Material<'_>, password: &Password<'_>) -> Error {
    let (why, remedy) = match password.source {
        None => (
            "holds an encrypted private key and no password is configured".to_owned(),
            "Set tlsCertificateKeyFilePassword to the password of the private key.",
        ),
        Some(_) => (
            format!(
                "holds an encrypted private key, and {} gave no password",
                password.named()
            ),
            "Let it return the password of the private key.",
        ),
    };
    material.error(CauseCode::KeyPasswordMissing, &why, remedy)
}

fn password_wrong(material: &Material<'_>, password: &Password<'_>, error: ErrorStack) -> Error {
    let named = password.named();
    let (why, remedy) = match password.source {
        Some(PasswordSource::Text(_)) | None => (
            "holds a private key that the configured password does not decrypt".to_owned(),
            format!("Correct {named}; in a connection string it must be percent-encoded."),
        ),
        Some(PasswordSource::File(_)) => (
            format!("holds a private key that {named} does not decrypt"),
            "Correct that line: it must be the password alone, without quotes or white space around it.".to_owned(),
        ),
        Some(_) => (
            format!("holds a private key that the password from {named} does not decrypt"),
            format!("Correct the password from {named}."),
        ),
    };
    material.refused(CauseCode::KeyPasswordWrong, &why, &remedy, error)
}

fn unsupported(material: &Material<'_>, error: ErrorStack) -> Error {
    let lacking = Lacking::of(material.bytes, &error);
    let (why, remedy) = (lacking.why(), lacking.remedy());
    material.refused(CauseCode::KeyAlgorithmUnsupported, &why, remedy, error)
}

/// The part that this OpenSSL lacks to read a private key.
pub(crate) struct Lacking {
    /// An algorithm, by OpenSSL's name of it or as a dotted number.
    algorithm: Option<String>,
    kind: Lack,
    has_legacy: bool,
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum Lack {
    /// The encryption of a PKCS#12 file.
    Store,
    /// The protection of a PKCS#12 file against changes.
    Mac,
    /// The encryption of a key in PEM form.
    Encryption,
    /// The type of a key.
    Type,
}

impl Lacking {
    pub(crate) fn of(bytes: &[u8], error: &ErrorStack) -> Self {
        let block = files::pem_blocks(bytes).find(PemBlock::is_key);
        let looked_up = error
            .errors()
            .iter()
            .filter_map(openssl::error::Error::data);
        let looked_up =
            looked_up.filter_map(|data| data.split_once("Algorithm (")?.1.split_once(" :"));
        let algorithm = looked_up.map(|(name, _)| name.to_owned()).next();
        let kind = match &block {
            None if algorithm.as_deref() == Some("PBMAC1") => Lack::Mac,
            None => Lack::Store,
            Some(block) if block.is_encrypted() => Lack::Encryption,
            Some(_) => Lack::Type,
        };
        // If an old scheme needs several algorithms, the name of the scheme is the most useful.
        let own = block.and_then(|block| algorithm_of(bytes, &block));
        let own = own.filter(|name| kind != Lack::Encryption || name != "PBES2");
        Self {
            algorithm: own.or(algorithm),
            kind,
            has_legacy: !openssl_version().starts_with("OpenSSL 1."),
        }
    }

    /// Returns whether OpenSSL 3 keeps the algorithm in its legacy provider.
    fn is_legacy(&self) -> bool {
        let name = self
            .algorithm
            .as_deref()
            .unwrap_or_default()
            .to_ascii_uppercase();
        let kept = [
            "RC2", "RC4", "RC5", "DES-CBC", "DES-CFB", "DESX", "BF", "CAST5", "IDEA", "SEED",
            "MD2", "MD4", "MDC2", "PBKDF1",
        ];
        let is_old_scheme = name.starts_with("PBEWITH") && !name.contains("TRIPLEDES");
        self.has_legacy && (is_old_scheme || kept.iter().any(|start| name.starts_with(start)))
    }

    /// Completes a sentence whose subject is the file.
    pub(crate) fn why(&self) -> String {
        let Some(algorithm) = &self.algorithm else {
            return "holds a private key whose type or encryption this OpenSSL does not offer"
                .to_owned();
        };
        let what = match self.kind {
            Lack::Store => "is a PKCS#12 file encrypted with",
            Lack::Mac => "is a PKCS#12 file protected by",
            Lack::Encryption => "holds a private key encrypted with",
            Lack::Type => "holds a private key of the type",
        };
        let where_it_is = match self.is_legacy() {
            true => "which OpenSSL 3 keeps in its legacy provider, and that is not active",
            false => "which this OpenSSL does not offer",
        };
        format!("{what} {algorithm}, {where_it_is}")
    }

    pub(crate) fn remedy(&self) -> &'static str {
        match self.kind {
            Lack::Mac => {
                "Use OpenSSL 3.4 or later, or write the file in PEM form: `openssl pkcs12 -nomacver -in FILE -out NEW.pem`."
            }
            Lack::Store if self.has_legacy => {
                "Write the file in PEM form: `openssl pkcs12 -legacy -in FILE -out NEW.pem`; or activate the legacy provider in openssl.cnf."
            }
            Lack::Store => {
                "Write the file in PEM form on a machine whose OpenSSL reads it: `openssl pkcs12 -in FILE -out NEW.pem`."
            }
            Lack::Encryption if self.is_legacy() => {
                "Encrypt the key with AES: `openssl pkcs8 -topk8 -v2 aes-256-cbc -provider legacy -provider default -in FILE -out NEW.key`; or activate the legacy provider in openssl.cnf."
            }
            Lack::Encryption => {
                "Encrypt the key with AES on a machine whose OpenSSL reads it: `openssl pkcs8 -topk8 -v2 aes-256-cbc -in FILE -out NEW.key`."
            }
            Lack::Type => {
                "Have a certificate issued for a key of RSA, EC or Ed25519, or use an OpenSSL with a provider for this type."
            }
        }
    }
}

/// The algorithm that a key in the form of PKCS#8 (RFC 5958) names: its encryption, or its type.
fn algorithm_of(file: &[u8], block: &PemBlock<'_>) -> Option<String> {
    let mut body = file.get(block.body.clone())?.to_vec();
    let length = files::decode_in_place(&mut body)?;
    let der = body.get(..length)?;
    // The contents of a value and what follows it, if its tag is this one.
    let open = |bytes, tag| {
        let value = files::der_value(bytes).filter(|(found, ..)| *found == tag);
        value.map(|(_, contents, rest)| (contents, rest))
    };
    const INTEGER: u8 = 2;
    const OBJECT: u8 = 6;
    const SEQUENCE: u8 = 0x30;
    let (contents, _) = open(der, SEQUENCE)?;
    let after_version = open(contents, INTEGER).map_or(contents, |(_, rest)| rest);
    let (algorithm, _) = open(after_version, SEQUENCE)?;
    let (object, _) = open(algorithm, OBJECT)?;
    let dotted = dotted(object)?;
    let name = Asn1Object::from_str(&dotted).ok()?.nid();
    Some(match name {
        Nid::UNDEF => dotted,
        name => name.long_name().map_or(dotted, str::to_owned),
    })
}

/// The dotted form of an object identifier (X.690 §8.19).
fn dotted(object: &[u8]) -> Option<String> {
    let mut numbers: Vec<u64> = Vec::new();
    let mut number = 0_u64;
    for byte in object {
        number = number.checked_mul(128)? + u64::from(byte & 0x7F);
        if byte & 0x80 == 0 {
            numbers.push(std::mem::take(&mut number));
        }
    }
    let (first, rest) = numbers.split_first()?;
    let root = (first / 40).min(2);
    let all = [root, first - 40 * root]
        .into_iter()
        .chain(rest.iter().copied());
    Some(
        all.map(|number| number.to_string())
            .collect::<Vec<_>>()
            .join("."),
    )
}

/// Whether OpenSSL says that it lacks the algorithm, rather than that the text is wrong.
///
/// A wrong password may decrypt a key to rubbish, of which a decoder says "unsupported" as well; so only
/// those parts of OpenSSL are believed that look an algorithm up.
fn is_unsupported(error: &ErrorStack) -> bool {
    const LIB_EVP: i32 = 6;
    const LIB_PEM: i32 = 9;
    error.errors().iter().any(|entry| {
        let reason = entry.reason().unwrap_or_default();
        let told = reason.contains("unsupported") || reason.contains("unknown");
        told && matches!(entry.library_code(), LIB_EVP | LIB_PEM)
    })
}
