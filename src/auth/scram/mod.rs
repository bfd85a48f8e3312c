//! SCRAM-SHA-1 and SCRAM-SHA-256 (RFC 5802, RFC 7677): client and server prove to each other that they know the
//! password, without sending it.
//!
//! All connections of a client share one [`Scram`]: the user, the password in the form that each mechanism needs, and
//! the keys derived from it. A [`ScramClient`] is the client's side of one conversation:
//!
//! ```text
//! client_first   n,,n=user,r=nonce
//! server_first   r=nonce and more,s=salt,i=iteration count
//! client_final   c=biws,r=nonce and more,p=proof
//! server_final   v=signature
//! ```
//!
//! MongoDB's specification differs from the RFCs ("Driver Authentication", "SCRAM-SHA-1" and "SCRAM-SHA-256"): user
//! names are not prepared, and the password of SCRAM-SHA-1 is an MD5 digest. Channel binding is not offered, because no
//! server supports it. All cryptography is OpenSSL's.

mod keys;
mod message;

use std::fmt;
use std::sync::Arc;

use openssl::error::ErrorStack;
use openssl::hash::{MessageDigest, hash};
use openssl::memcmp;
use openssl::rand::rand_bytes;
use zeroize::Zeroizing;

use self::keys::{Digest, KeyCache, Keys};
use self::message::{ServerFinal, ServerFirst};
use super::sasl::{SaslClient, not_proven};
use crate::cause::Cause;
use crate::options::{AuthMechanism, Credential, Secret};
#[cfg(not(feature = "saslprep"))]
use crate::reason::auth::AuthFeature;
use crate::reason::auth::{AuthFailure, CryptoPrimitive, IterationLimit, SaslViolation};
use crate::tls::Library;

/// The state that the SCRAM conversations of a client share.
#[derive(Debug)]
pub(super) struct Scram(Arc<ScramUser>);

#[derive(Debug)]
struct ScramUser {
    user: String,
    /// The password of SCRAM-SHA-1, or an error if OpenSSL rejects MD5.
    digested: Result<Secret, AuthFailure>,
    /// The password of SCRAM-SHA-256, or an error if SASLprep prohibits it.
    prepared: Result<Secret, AuthFailure>,
    cache: KeyCache,
}

impl Scram {
    pub(super) fn new(credential: &Credential) -> Self {
        let user = credential.username.clone().unwrap_or_default();
        let password = credential.password.as_ref().map_or("", Secret::expose);
        Self(Arc::new(ScramUser {
            digested: digest_password(&user, password),
            prepared: prepare_password(password),
            user,
            cache: KeyCache::default(),
        }))
    }

    /// Checks that the password can be used with a mechanism, and with this OpenSSL.
    pub(super) fn check_password(&self, mechanism: AuthMechanism) -> Result<(), AuthFailure> {
        let password = self.0.password(Digest::of(mechanism));
        password.map(|_| ())
    }

    /// Starts a conversation by SCRAM-SHA-256 or SCRAM-SHA-1.
    pub(super) fn client(&self, mechanism: AuthMechanism) -> Result<ScramClient, AuthFailure> {
        let mut nonce = [0; NONCE_BYTES];
        rand_bytes(&mut nonce).map_err(|error| {
            crypto_unavailable(mechanism, CryptoPrimitive::RandomNumbers, &error)
        })?;
        Ok(self.client_with_nonce(Digest::of(mechanism), openssl::base64::encode_block(&nonce)))
    }

    fn client_with_nonce(&self, digest: Digest, nonce: String) -> ScramClient {
        ScramClient {
            shared: Arc::clone(&self.0),
            digest,
            nonce,
            state: ScramState::First,
        }
    }
}

impl ScramUser {
    fn password(&self, digest: Digest) -> Result<&Secret, AuthFailure> {
        let password = match digest {
            Digest::Sha1 => &self.digested,
            Digest::Sha256 => &self.prepared,
        };
        password.as_ref().map_err(AuthFailure::clone)
    }

    fn keys(&self, digest: Digest, first: &ServerFirst<'_>) -> Result<Arc<Keys>, AuthFailure> {
        let password = self.password(digest)?;
        self.cache
            .get(digest, &first.salt, first.iterations, || {
                Keys::derive(digest, password.expose(), &first.salt, first.iterations)
            })
            .map_err(|error| {
                crypto_unavailable(digest.mechanism(), CryptoPrimitive::Pbkdf2, &error)
            })
    }
}

/// The client's side of one conversation.
pub(super) struct ScramClient {
    shared: Arc<ScramUser>,
    digest: Digest,
    nonce: String,
    state: ScramState,
}

/// The message that the server must send next.
#[derive(Clone)]
enum ScramState {
    First,
    Final {
        signature: Vec<u8>,
    },
    /// No message: the server has proven that it knows the user.
    Complete,
    /// No message: the server broke a rule, and every further message is rejected.
    Broken,
}

impl ScramClient {
    /// The part of `client_first` that the proof covers.
    fn first_bare(&self) -> String {
        format!("n={},r={}", message::escape(&self.shared.user), self.nonce)
    }

    fn client_final(&self, server_first: &str) -> Result<(String, Vec<u8>), AuthFailure> {
        let first =
            ServerFirst::parse(server_first).map_err(|violation| self.violated(violation))?;
        let own = first.nonce.strip_prefix(self.nonce.as_str());
        if own.is_none_or(str::is_empty) {
            return Err(self.violated(SaslViolation::NonceNotContinued));
        }
        self.check_iterations(first.iterations)?;
        let keys = self.shared.keys(self.digest, &first)?;
        // "biws" is the header of `client_first`, "n,,", in base 64.
        let without_proof = format!("c=biws,r={}", first.nonce);
        let signed = format!("{},{server_first},{without_proof}", self.first_bare());
        let (proof, signature) = keys.sign(self.digest, signed.as_bytes()).map_err(|error| {
            crypto_unavailable(self.digest.mechanism(), CryptoPrimitive::Hmac, &error)
        })?;
        let proof = openssl::base64::encode_block(&proof);
        Ok((format!("{without_proof},p={proof}"), signature))
    }

    fn check_iterations(&self, requested: u32) -> Result<(), AuthFailure> {
        let limit = match requested {
            MIN_ITERATIONS..=MAX_ITERATIONS => return Ok(()),
            ..MIN_ITERATIONS => IterationLimit::Least(MIN_ITERATIONS),
            _ => IterationLimit::Most(MAX_ITERATIONS),
        };
        Err(AuthFailure::IterationCount {
            mechanism: self.digest.mechanism(),
            requested,
            limit,
        })
    }

    fn verify(&self, server_final: &str, expected: &[u8]) -> Result<(), AuthFailure> {
        match ServerFinal::parse(server_final).map_err(|violation| self.violated(violation))? {
            ServerFinal::Error(error) => Err(AuthFailure::ScramError {
                mechanism: self.digest.mechanism(),
                error: error.to_owned(),
            }),
            ServerFinal::Signature(signature) => {
                let same = signature.len() == expected.len() && memcmp::eq(&signature, expected);
                match same {
                    true => Ok(()),
                    false => Err(self.violated(SaslViolation::SignatureWrong)),
                }
            }
        }
    }

    fn violated(&self, violation: SaslViolation) -> AuthFailure {
        not_proven(self.digest.mechanism(), violation)
    }
}

impl SaslClient for ScramClient {
    fn first(&mut self) -> Result<Zeroizing<Vec<u8>>, Cause> {
        Ok(Zeroizing::new(
            format!("n,,{}", self.first_bare()).into_bytes(),
        ))
    }

    fn respond(&mut self, message: &[u8]) -> Result<Zeroizing<Vec<u8>>, Cause> {
        let state = std::mem::replace(&mut self.state, ScramState::Broken);
        let text = match std::str::from_utf8(message) {
            Ok(text) if text.len() <= LONGEST_MESSAGE => text,
            Ok(_) => return Err(self.violated(SaslViolation::MessageTooLong).into()),
            Err(_) => return Err(self.violated(SaslViolation::MessageNotUtf8).into()),
        };
        let (response, state) = match state {
            ScramState::First => {
                let (response, signature) = self.client_final(text)?;
                (response.into_bytes(), ScramState::Final { signature })
            }
            ScramState::Final { signature } => {
                self.verify(text, &signature)?;
                (Vec::new(), ScramState::Complete)
            }
            ScramState::Complete | ScramState::Broken => {
                return Err(self.violated(SaslViolation::UnexpectedMessage).into());
            }
        };
        self.state = state;
        Ok(Zeroizing::new(response))
    }

    fn is_complete(&self) -> bool {
        matches!(self.state, ScramState::Complete)
    }

    fn skips_empty_exchange(&self) -> bool {
        true
    }
}

impl fmt::Debug for ScramClient {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("ScramClient")
            .field("digest", &self.digest)
            .finish_non_exhaustive()
    }
}

/// Returns the password of SCRAM-SHA-1: `HEX(MD5(user:mongo:password))`.
fn digest_password(user: &str, password: &str) -> Result<Secret, AuthFailure> {
    // The buffer must not grow: it would leave a copy of the password behind.
    let parts = [user, ":mongo:", password];
    let mut text = Zeroizing::new(Vec::with_capacity(
        parts.iter().map(|part| part.len()).sum(),
    ));
    for part in parts {
        text.extend_from_slice(part.as_bytes());
    }
    let digest = hash(MessageDigest::md5(), &text).map_err(|error| {
        crypto_unavailable(AuthMechanism::ScramSha1, CryptoPrimitive::Md5, &error)
    })?;
    let mut hex = String::with_capacity(2 * digest.len());
    for byte in digest.iter() {
        for nibble in [byte >> 4, byte & 15] {
            hex.extend(char::from_digit(u32::from(nibble), 16));
        }
    }
    Ok(Secret::from(hex))
}

/// Returns the password of SCRAM-SHA-256: prepared by SASLprep (RFC 4013).
#[cfg(feature = "saslprep")]
fn prepare_password(password: &str) -> Result<Secret, AuthFailure> {
    match stringprep::saslprep(password) {
        Ok(prepared) => Ok(Secret::new(prepared.into_owned())),
        // The error names the character, which is a part of the password.
        Err(_) => Err(prohibited(password)),
    }
}

/// Returns the password of SCRAM-SHA-256. SASLprep does not change ASCII, and prohibits its control characters. It needs
/// tables for other characters; without preparation the password could differ from the one that the server knows.
#[cfg(not(feature = "saslprep"))]
fn prepare_password(password: &str) -> Result<Secret, AuthFailure> {
    if !password.is_ascii() {
        return Err(AuthFailure::NotBuiltIn(AuthFeature::Saslprep));
    }
    match password.bytes().any(|byte| byte.is_ascii_control()) {
        true => Err(prohibited(password)),
        false => Ok(Secret::from(password)),
    }
}

fn prohibited(password: &str) -> AuthFailure {
    AuthFailure::PasswordProhibited {
        ends_with_line_feed: ends_with_line_feed(password),
    }
}

/// Returns true if a password ends with a line feed or a carriage return, which is most likely the end of a file.
pub(super) fn ends_with_line_feed(password: &str) -> bool {
    password.ends_with(['\n', '\r'])
}

/// Describes that OpenSSL rejects an algorithm that a mechanism needs, as in FIPS mode.
fn crypto_unavailable(
    mechanism: AuthMechanism,
    primitive: CryptoPrimitive,
    error: &ErrorStack,
) -> AuthFailure {
    let reasons = error.errors().iter();
    let reasons = reasons.filter_map(openssl::error::Error::reason);
    AuthFailure::CryptoUnavailable {
        mechanism,
        primitive,
        fips: Library::inspect().fips,
        errors: reasons.map(str::to_owned).collect(),
    }
}

/// The random bytes of a nonce: 24, as in MongoDB's own clients.
const NONCE_BYTES: usize = 24;

/// The minimum iteration count that is accepted ("SCRAM-SHA-256"): an attacker between client and server could request
/// a single iteration.
const MIN_ITERATIONS: u32 = 4096;

/// The maximum iteration count that is accepted: the server determines the work of the client, and no deadline limits
/// the computation. A million iterations take half a second; MongoDB's default is 15 000.
const MAX_ITERATIONS: u32 = 1_000_000;

/// The longest message of a server: 4 KiB. It contains a nonce and a salt, of a few dozen bytes each.
const LONGEST_MESSAGE: usize = 4 << 10;

#[cfg(test)]
mod tests;
