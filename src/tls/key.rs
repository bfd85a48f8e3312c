//! Private keys: traditional PEM (RSA, EC), PKCS#8 and PKCS#12, encrypted or not, and keys of a store.
//!
//! A password is never asked for on a terminal. OpenSSL gets a callback that hands over the one that is
//! configured and notes whether it was needed, so that a password which is missing, one which is wrong
//! and an encryption that this OpenSSL lacks are told apart.

use openssl::error::ErrorStack;
use openssl::pkcs12::{ParsedPkcs12_2, Pkcs12};
use openssl::pkey::{PKey, Private};
use openssl::x509::X509;

use super::ffi;
use super::files::{self, PemBlock, Purpose};
use super::identity::Material;
use super::reading::Files;
use crate::cause::{Cause, CauseCode};
use crate::error::{Error, Result};
use crate::options::{PasswordSource, Secret};

/// The password of a private key, fetched once, when it is needed.
pub(super) struct Password<'a> {
    source: Option<&'a PasswordSource>,
    files: &'a Files,
    fetched: Option<Option<Secret>>,
}

impl<'a> Password<'a> {
    pub(super) fn new(source: Option<&'a PasswordSource>, files: &'a Files) -> Self {
        Self {
            source,
            files,
            fetched: None,
        }
    }

    /// The password; none if there is none.
    fn fetch(&mut self) -> Result<Option<Secret>> {
        if let Some(known) = &self.fetched {
            return Ok(known.clone());
        }
        let password = match self.source {
            None => None,
            Some(PasswordSource::Text(password)) => Some(password.clone()),
            Some(PasswordSource::Callback(callback)) => {
                callback.ask().map_err(|_| callback_panicked())?
            }
            Some(PasswordSource::Variable(name)) => match std::env::var(name) {
                Ok(password) => Some(Secret::new(password)),
                Err(error) => return Err(no_variable(name, &error)),
            },
            Some(PasswordSource::File(path)) => {
                let bytes = files::bytes(Purpose::ClientCertificate, path, self.files)?;
                let line = bytes
                    .split(|byte| *byte == b'\n')
                    .next()
                    .unwrap_or_default();
                let line = line.strip_suffix(b"\r").unwrap_or(line);
                Some(Secret::new(String::from_utf8_lossy(line).into_owned()))
            }
        };
        self.fetched = Some(password.clone());
        Ok(password)
    }
}

fn no_variable(name: &str, error: &std::env::VarError) -> Error {
    let why = match error {
        std::env::VarError::NotPresent => "is not set",
        std::env::VarError::NotUnicode(_) => "is not UTF-8",
    };
    let cause = Cause::new(
        CauseCode::KeyPasswordMissing,
        format!(
            "the private key is encrypted, and the environment variable {name:?} with its password {why}"
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
pub(super) enum Locked {
    NoPassword,
    WrongPassword(ErrorStack),
    Unsupported(ErrorStack),
    Undecodable(ErrorStack),
    /// The password could not be fetched.
    Unfetched(Error),
}

impl Locked {
    fn into_error(self, material: &Material<'_>) -> Error {
        match self {
            Self::NoPassword => password_missing(material),
            Self::WrongPassword(error) => password_wrong(material, error),
            Self::Unsupported(error) => unsupported(material, error),
            Self::Undecodable(error) => undecodable(material, error),
            Self::Unfetched(error) => error,
        }
    }
}

/// The one private key in PEM form.
pub(super) fn private_key(
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
    open(block, password).map_err(|locked| locked.into_error(material))
}

/// The private key of a PEM block.
pub(super) fn open(
    block: &PemBlock<'_>,
    password: &mut Password<'_>,
) -> Result<PKey<Private>, Locked> {
    let read = |ask: Ask<'_>| PKey::private_key_from_pem_callback(block.text, ask);
    unlock(password, read).0
}

/// The private key of an encrypted PKCS#8 file in DER form; none if the bytes are something else.
pub(super) fn open_encrypted_der(
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
struct Asked(Option<Result<Option<Secret>>>);

impl Asked {
    /// Writes the password into OpenSSL's buffer and says how long it is.
    fn answer(&mut self, password: &mut Password<'_>, buffer: &mut [u8]) -> usize {
        let text = match self.0.insert(password.fetch()) {
            Ok(Some(password)) => password.expose().as_bytes(),
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
pub(super) fn stored_key(uri: &str, password: &mut Password<'_>) -> Result<PKey<Private>> {
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
        let cause = Cause::new(code, format!("the private key {shown:?} {why}"), remedy);
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
            "Correct tlsCertificateKeyFilePassword; a token may be locked after some wrong ones.",
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

/// The scheme of a URI in lower case, as it should be; none of a path.
fn scheme(uri: &str) -> Option<&str> {
    let (scheme, _) = uri.split_once(':')?;
    let is_scheme = scheme.starts_with(|c: char| c.is_ascii_alphabetic())
        && scheme
            .bytes()
            .all(|byte| byte.is_ascii_alphanumeric() || b"+-.".contains(&byte));
    is_scheme.then_some(scheme)
}

/// A store URI without what may be secret: of `file:` the path, of `pkcs11:` the attributes that name a token and an
/// object (RFC 7512 §2.3), of all others the scheme alone. A PIN may stand anywhere else.
pub(super) fn shown_uri(uri: &str) -> String {
    const REDACTED: &str = "<redacted>";
    let until = |end: &[char]| uri.split(end).next().unwrap_or_default();
    match scheme(uri) {
        None => until(&['?']).to_owned(),
        Some(scheme) if scheme.eq_ignore_ascii_case("file") => until(&['?', '#']).to_owned(),
        Some(scheme) if scheme.eq_ignore_ascii_case("pkcs11") => {
            let attributes = &until(&['?'])[scheme.len() + 1..];
            let shown = attributes
                .split(';')
                .map(|attribute| match attribute.split_once('=') {
                    Some((name, _)) if PKCS11_NAMES.contains(&name) => attribute.to_owned(),
                    Some((name, _))
                        if name
                            .bytes()
                            .all(|byte| byte.is_ascii_lowercase() || byte == b'-') =>
                    {
                        format!("{name}={REDACTED}")
                    }
                    _ if attribute.is_empty() => String::new(),
                    _ => REDACTED.to_owned(),
                });
            format!("{scheme}:{}", shown.collect::<Vec<_>>().join(";"))
        }
        Some(scheme) => format!("{scheme}:{REDACTED}"),
    }
}

/// The attributes of `pkcs11:` that name a token or an object.
const PKCS11_NAMES: [&str; 13] = [
    "token",
    "manufacturer",
    "serial",
    "model",
    "library-manufacturer",
    "library-version",
    "library-description",
    "object",
    "type",
    "id",
    "slot-manufacturer",
    "slot-description",
    "slot-id",
];

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
pub(super) struct KeyStore {
    pub(super) key: PKey<Private>,
    pub(super) certificates: Vec<X509>,
}

/// Key and certificates of a PKCS#12 file (RFC 7292); none if the bytes are something else.
pub(super) fn pkcs12(
    material: &Material<'_>,
    password: &mut Password<'_>,
) -> Result<Option<KeyStore>> {
    let store = match open_pkcs12(material.bytes, password) {
        None => return Ok(None),
        Some(store) => store.map_err(|locked| locked.into_error(material))?,
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
pub(super) struct OpenStore {
    pub(super) key: Option<PKey<Private>>,
    /// The certificate of the key first.
    pub(super) certificates: Vec<X509>,
    /// Whether it took a password.
    pub(super) encrypted: bool,
}

/// Opens a PKCS#12 file; none if the bytes are something else.
pub(super) fn open_pkcs12(
    bytes: &[u8],
    password: &mut Password<'_>,
) -> Option<Result<OpenStore, Locked>> {
    let store = bytes
        .first()
        .filter(|byte| **byte == 0x30)
        .and_then(|_| Pkcs12::from_der(bytes).ok())?;
    // A store without a password is one with an empty one.
    let (outcome, encrypted) = match store.parse2("") {
        Ok(parsed) => (Ok(parsed), false),
        Err(error) => (with_password(&store, password, error), true),
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
    store: &Pkcs12,
    password: &mut Password<'_>,
    without: ErrorStack,
) -> Result<ParsedPkcs12_2, Locked> {
    let password = match password.fetch().map_err(Locked::Unfetched)? {
        None if is_unsupported(&without) => return Err(Locked::Unsupported(without)),
        None => return Err(Locked::NoPassword),
        // C ends a text at its first NUL, so that no store has such a password; the crate would panic.
        Some(password) if password.expose().contains('\0') => {
            return Err(Locked::WrongPassword(without));
        }
        Some(password) => password,
    };
    store.parse2(password.expose()).map_err(|error| {
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

fn password_missing(material: &Material<'_>) -> Error {
    let remedy = "Set tlsCertificateKeyFilePassword to the password of the private key.";
    material.error(
        CauseCode::KeyPasswordMissing,
        "holds an encrypted private key and no password is configured",
        remedy,
    )
}

fn password_wrong(material: &Material<'_>, error: ErrorStack) -> Error {
    material.refused(
        CauseCode::KeyPasswordWrong,
        "holds a private key that the configured password does not decrypt",
        "Correct tlsCertificateKeyFilePassword; in a connection string it must be percent-encoded.",
        error,
    )
}

fn unsupported(material: &Material<'_>, error: ErrorStack) -> Error {
    material.refused(
        CauseCode::KeyAlgorithmUnsupported,
        "holds a private key whose type or encryption this OpenSSL does not offer",
        "Encrypt the key anew with AES (`openssl pkcs8 -topk8 -v2 aes-256-cbc -in OLD -out NEW`) on a machine whose OpenSSL reads the old one.",
        error,
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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_store_uri_is_shown_without_secrets() {
        for (uri, shown) in [
            ("file:/etc/key.pem", "file:/etc/key.pem"),
            ("/etc/key.pem", "/etc/key.pem"),
            ("file:/etc/key.pem?pin=1234", "file:/etc/key.pem"),
            ("pkcs11:", "pkcs11:"),
            (
                "pkcs11:token=My%20token;object=key;type=private?pin-value=1234",
                "pkcs11:token=My%20token;object=key;type=private",
            ),
            (
                "pkcs11:object=key;pin-value=1234;id=%01",
                "pkcs11:object=key;pin-value=<redacted>;id=%01",
            ),
            (
                "PKCS11:x-pin=1234;1234",
                "PKCS11:x-pin=<redacted>;<redacted>",
            ),
            ("pkcs11:Pin-Value=1234", "pkcs11:<redacted>"),
            ("pkcs11:pin%2Dvalue=1234", "pkcs11:<redacted>"),
            ("engine:pkcs11:1234", "engine:<redacted>"),
            (
                "org.openssl.engine:pkcs11:1234",
                "org.openssl.engine:<redacted>",
            ),
            ("https://user:1234@host/key", "https:<redacted>"),
            ("handle:0x81000001?pass=1234", "handle:<redacted>"),
        ] {
            assert_eq!(shown_uri(uri), shown);
        }
    }
}
