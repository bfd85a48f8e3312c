//! Private keys: traditional PEM (RSA, EC), PKCS#8 and PKCS#12, encrypted or not, and keys of a store.
//!
//! There is never a password prompt on a terminal. OpenSSL gets a callback that returns the configured password and
//! records if it was needed, so that errors distinguish a missing password, a wrong one, and an encryption that this
//! OpenSSL lacks.

use std::os::unix::ffi::OsStringExt;
use std::path::Path;

use openssl::asn1::Asn1Object;
use openssl::error::ErrorStack;
use openssl::nid::Nid;
use openssl::pkcs12::{ParsedPkcs12_2, Pkcs12};
use openssl::pkey::{PKey, Private};
use openssl::x509::X509;
use zeroize::Zeroizing;

use crate::error::{Error, Result};
use crate::ffi::openssl as ffi;
use crate::options::{PasswordSource, Secret};
use crate::reason::files::{
    FileFailure, FilePurpose, KeyLack, KeyLackKind, KeyPasswordProblem, KeyPasswordSource,
    StoredKeyProblem,
};
use crate::store_uri::{scheme, shown_path, shown_uri};
use crate::tls::config::pem::{self, PemBlock};
use crate::tls::config::reading::{self, Files};
use crate::tls::library::{self, openssl_version};

/// The password of a private key. It is fetched once, when it is needed.
pub(crate) struct Password<'a> {
    source: Option<&'a PasswordSource>,
    files: &'a Files,
    fetched: Option<Option<Bytes>>,
}

/// A password as bytes: those of old keys may not be UTF-8.
type Bytes = Zeroizing<Vec<u8>>;

impl<'a> Password<'a> {
    pub(crate) fn new(source: Option<&'a PasswordSource>, files: &'a Files) -> Self {
        Self {
            source,
            files,
            fetched: None,
        }
    }

    /// The password, or `None` if none is configured.
    fn fetch(&mut self) -> Result<Option<Bytes>> {
        if let Some(known) = &self.fetched {
            return Ok(known.clone());
        }
        let bytes = |password: &Secret| Bytes::new(password.expose().as_bytes().to_vec());
        let password = match self.source {
            None => None,
            Some(PasswordSource::Text(password)) => Some(bytes(password)),
            Some(PasswordSource::Callback(callback)) => {
                let password = callback
                    .call()
                    .map_err(|_| no_password(KeyPasswordProblem::CallbackPanicked))?;
                password.as_ref().map(bytes)
            }
            Some(PasswordSource::Variable(name)) => match std::env::var_os(name) {
                Some(password) => Some(Bytes::new(password.into_vec())),
                None => {
                    let name = name.clone();
                    return Err(no_password(KeyPasswordProblem::NoVariable { name }));
                }
            },
            Some(PasswordSource::File(path)) => {
                let text = reading::bytes(FilePurpose::KeyPassword, path, self.files)?;
                Some(Bytes::new(first_line(path, text)?.to_vec()))
            }
        };
        self.fetched = Some(password.clone());
        Ok(password)
    }

    /// The source of the password, if one is configured.
    pub(crate) fn source(&self) -> Option<KeyPasswordSource> {
        Some(match self.source? {
            PasswordSource::File(path) => KeyPasswordSource::File(shown_path(path)),
            PasswordSource::Variable(name) => KeyPasswordSource::Variable(name.clone()),
            PasswordSource::Callback(_) => KeyPasswordSource::Callback,
            PasswordSource::Text(_) => KeyPasswordSource::Option,
        })
    }
}

/// The first line of a password file, without the byte order mark that some editors write.
fn first_line<'a>(path: &Path, text: &'a [u8]) -> Result<&'a [u8]> {
    let path = || path.display().to_string();
    if text.starts_with(b"\xFF\xFE") || text.starts_with(b"\xFE\xFF") {
        return Err(no_password(KeyPasswordProblem::FileIsUtf16 {
            path: path(),
        }));
    }
    let text = text.strip_prefix(b"\xEF\xBB\xBF").unwrap_or(text);
    let line = text.split(|byte| *byte == b'\n').next().unwrap_or_default();
    match line.strip_suffix(b"\r").unwrap_or(line) {
        [] => Err(no_password(KeyPasswordProblem::FileIsEmpty {
            path: path(),
        })),
        line => Ok(line),
    }
}

fn no_password(problem: KeyPasswordProblem) -> Error {
    Error::configuration(FileFailure::KeyPassword(problem))
}

/// The reason why a key did not open.
pub(crate) enum UnlockFailure {
    NoPassword,
    WrongPassword(ErrorStack),
    Unsupported(ErrorStack),
    Undecodable(ErrorStack),
    /// The password could not be fetched.
    Unfetched(Error),
}

/// The private key of a PEM block.
pub(crate) fn open(
    block: &PemBlock<'_>,
    password: &mut Password<'_>,
) -> Result<PKey<Private>, UnlockFailure> {
    let read = |ask: PasswordReader<'_>| PKey::private_key_from_pem_callback(block.text, ask);
    unlock(password, read).0
}

/// The private key of an encrypted PKCS#8 file in DER form, or `None` if the bytes are something else.
pub(crate) fn open_encrypted_der(
    bytes: &[u8],
    password: &mut Password<'_>,
) -> Option<Result<PKey<Private>, UnlockFailure>> {
    let read = |ask: PasswordReader<'_>| PKey::private_key_from_pkcs8_callback(bytes, ask);
    let (outcome, was_needed) = unlock(password, read);
    // OpenSSL calls for a password only for an encrypted key.
    was_needed.then_some(outcome)
}

/// The callback that OpenSSL calls for a password.
type PasswordReader<'a> = &'a mut dyn FnMut(&mut [u8]) -> Result<usize, ErrorStack>;

/// Runs `read`, which decodes a key with the password. Also returns whether the password was needed.
fn unlock(
    password: &mut Password<'_>,
    read: impl FnOnce(PasswordReader<'_>) -> Result<PKey<Private>, ErrorStack>,
) -> (Result<PKey<Private>, UnlockFailure>, bool) {
    let mut fetched = FetchedPassword::default();
    let outcome = read(&mut |buffer| Ok(fetched.write_to(password, buffer)));
    let was_needed = fetched.0.is_some();
    let outcome = outcome.map_err(|error| match fetched.0 {
        Some(Err(error)) => UnlockFailure::Unfetched(error),
        Some(Ok(None)) => UnlockFailure::NoPassword,
        _ if is_unsupported(&error) => UnlockFailure::Unsupported(error),
        Some(Ok(Some(_))) => UnlockFailure::WrongPassword(error),
        None => UnlockFailure::Undecodable(error),
    });
    (outcome, was_needed)
}

/// The password that OpenSSL received, or `None` if it did not call for one.
#[derive(Default)]
struct FetchedPassword(Option<Result<Option<Bytes>>>);

impl FetchedPassword {
    /// Writes the password into OpenSSL's buffer and returns its length.
    fn write_to(&mut self, password: &mut Password<'_>, buffer: &mut [u8]) -> usize {
        let text = match self.0.insert(password.fetch()) {
            Ok(Some(password)) => password.as_slice(),
            _ => &[],
        };
        // A password that does not fit is not truncated: OpenSSL then reports a wrong one.
        let Some(room) = buffer.get_mut(..text.len()) else {
            return 0;
        };
        room.copy_from_slice(text);
        text.len()
    }
}

/// The private key that the URI of an OpenSSL store names.
pub(crate) fn stored_key(uri: &str, password: &mut Password<'_>) -> Result<PKey<Private>> {
    let mut fetched = FetchedPassword::default();
    let outcome = ffi::load_private_key(uri, &mut |buffer| fetched.write_to(password, buffer));
    let error = match outcome {
        Ok(Some(key)) => return Ok(key),
        Ok(None) => None,
        Err(error) => Some(error),
    };
    let problem = match (fetched.0, &error) {
        (Some(Err(error)), _) => return Err(error),
        (Some(Ok(None)), _) => StoredKeyProblem::NoPassword,
        (Some(Ok(Some(_))), Some(_)) => StoredKeyProblem::WrongPassword(password.source()),
        (None, Some(error)) if lacks_store(uri, error) => StoredKeyProblem::UnknownStore,
        (None, Some(_)) => StoredKeyProblem::NotLoaded,
        // Some stores report a wrong PIN as a missing key.
        (_, None) => StoredKeyProblem::NotFound,
    };
    Err(Error::configuration(FileFailure::StoredKey {
        uri: shown_uri(uri),
        // OpenSSL's own text repeats the whole URI, so only its reasons are kept.
        openssl: error.as_ref().and_then(library::reasons),
        problem,
    }))
}

/// Returns whether OpenSSL has no store for the scheme of a URI. It reports a missing file in the same way.
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

/// A PKCS#12 file that is open.
pub(crate) struct OpenStore {
    pub(crate) key: Option<PKey<Private>>,
    /// The certificates, starting with that of the key.
    pub(crate) certificates: Vec<X509>,
    /// True if a password was needed.
    pub(crate) encrypted: bool,
}

/// Opens a PKCS#12 file, or `None` if the bytes are something else.
pub(crate) fn open_pkcs12(
    bytes: &[u8],
    password: &mut Password<'_>,
) -> Option<Result<OpenStore, UnlockFailure>> {
    if bytes.first() != Some(&0x30) || Pkcs12::from_der(bytes).is_err() {
        return None;
    }
    // A store without a password has an empty one.
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

/// Opens a store that did not open without a password, with the error `without`.
fn with_password(
    bytes: &[u8],
    password: &mut Password<'_>,
    without: ErrorStack,
) -> Result<ParsedPkcs12_2, UnlockFailure> {
    let password = match password.fetch().map_err(UnlockFailure::Unfetched)? {
        None if is_unsupported(&without) => return Err(UnlockFailure::Unsupported(without)),
        None => return Err(UnlockFailure::NoPassword),
        // C ends a text at its first NUL, so a store cannot have such a password.
        Some(password) if password.contains(&0) => {
            return Err(UnlockFailure::WrongPassword(without));
        }
        Some(password) => password,
    };
    ffi::parse_pkcs12(bytes, &password).map_err(|error| {
        if is_unsupported(&error) {
            UnlockFailure::Unsupported(error)
        } else {
            UnlockFailure::WrongPassword(error)
        }
    })
}

/// The algorithm or provider that this OpenSSL lacks to read a private key.
pub(crate) fn lack(bytes: &[u8], error: &ErrorStack) -> KeyLack {
    let block = pem::pem_blocks(bytes).find(PemBlock::is_key);
    let failed_lookups = error
        .errors()
        .iter()
        .filter_map(openssl::error::Error::data);
    let algorithms =
        failed_lookups.filter_map(|data| data.split_once("Algorithm (")?.1.split_once(" :"));
    let algorithm = algorithms.map(|(name, _)| name.to_owned()).next();
    let kind = match &block {
        None if algorithm.as_deref() == Some("PBMAC1") => KeyLackKind::StoreMac,
        None => KeyLackKind::StoreEncryption,
        Some(block) if block.is_encrypted() => KeyLackKind::KeyEncryption,
        Some(_) => KeyLackKind::KeyType,
    };
    // If an old scheme needs several algorithms, the name of the scheme is the most useful.
    let own = block.and_then(|block| algorithm_of(bytes, &block));
    let own = own.filter(|name| kind != KeyLackKind::KeyEncryption || name != "PBES2");
    let algorithm = own.or(algorithm);
    let has_legacy = !openssl_version().starts_with("OpenSSL 1.");
    KeyLack {
        is_legacy: has_legacy && algorithm.as_deref().is_some_and(is_legacy),
        algorithm,
        kind,
        has_legacy,
    }
}

/// Returns whether OpenSSL 3 has an algorithm in its legacy provider.
fn is_legacy(algorithm: &str) -> bool {
    let name = algorithm.to_ascii_uppercase();
    let legacy = [
        "RC2", "RC4", "RC5", "DES-CBC", "DES-CFB", "DESX", "BF", "CAST5", "IDEA", "SEED", "MD2",
        "MD4", "MDC2", "PBKDF1",
    ];
    let is_old_scheme = name.starts_with("PBEWITH") && !name.contains("TRIPLEDES");
    is_old_scheme || legacy.iter().any(|start| name.starts_with(start))
}

/// The algorithm that a key in the form of PKCS#8 (RFC 5958) names: its encryption, or its type.
fn algorithm_of(file: &[u8], block: &PemBlock<'_>) -> Option<String> {
    let mut body = file.get(block.body.clone())?.to_vec();
    let length = pem::decode_in_place(&mut body)?;
    let der = body.get(..length)?;
    // The contents of a value and what follows it, if its tag is this one.
    let open = |bytes, tag| {
        let value = pem::der_value(bytes).filter(|(found, ..)| *found == tag);
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

/// Returns whether OpenSSL lacks the algorithm, so that the text need not be wrong.
///
/// After decryption with a wrong password, a decoder also reports "unsupported" for the random bytes. So only errors of
/// those parts of OpenSSL count that look an algorithm up.
fn is_unsupported(error: &ErrorStack) -> bool {
    const LIB_EVP: i32 = 6;
    const LIB_PEM: i32 = 9;
    error.errors().iter().any(|entry| {
        let reason = entry.reason().unwrap_or_default();
        let names_algorithm = reason.contains("unsupported") || reason.contains("unknown");
        names_algorithm && matches!(entry.library_code(), LIB_EVP | LIB_PEM)
    })
}
