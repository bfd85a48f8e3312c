//! SCRAM-SHA-1 and SCRAM-SHA-256 (RFC 5802, RFC 7677): client and server prove to each other that they
//! know the password, without sending it.
//!
//! [`Scram`] is shared by all connections of a client: the user, the password in the form that each
//! mechanism wants, and the keys that were derived from it. A [`Client`] is one conversation:
//!
//! ```text
//! client_first   n,,n=user,r=nonce
//! server_first   r=nonce and more,s=salt,i=iteration count
//! client_final   c=biws,r=nonce and more,p=proof
//! server_final   v=signature
//! ```
//!
//! What differs from the RFCs is the specification's ("Driver Authentication", "SCRAM-SHA-1" and
//! "SCRAM-SHA-256"): user names are not prepared, and the password of SCRAM-SHA-1 is an MD5 digest.
//! Channel binding is not offered: no server supports it. All cryptography is OpenSSL's.

mod keys;
mod message;

use std::fmt;
use std::sync::Arc;

use openssl::hash::{MessageDigest, hash};
use openssl::memcmp;
use openssl::rand::rand_bytes;
use zeroize::Zeroizing;

use self::keys::{Digest, KeyCache, Keys};
use self::message::{ServerFinal, ServerFirst};
use super::sasl::SaslClient;
use super::{library_refuses, server_not_proven};
use crate::cause::{Cause, CauseCode};
use crate::options::{AuthMechanism, Credential, Secret};
use crate::printable::Quoted;

/// What the SCRAM conversations of a client share.
#[derive(Debug)]
pub(super) struct Scram(Arc<Shared>);

#[derive(Debug)]
struct Shared {
    user: String,
    /// The password of SCRAM-SHA-1; an error where OpenSSL refuses MD5.
    digested: Result<Secret, Cause>,
    /// The password of SCRAM-SHA-256; an error where it cannot be prepared.
    prepared: Result<Secret, Cause>,
    cache: KeyCache,
}

impl Scram {
    pub(super) fn new(credential: &Credential) -> Self {
        let user = credential.username.clone().unwrap_or_default();
        let password = credential.password.as_ref().map_or("", Secret::expose);
        Self(Arc::new(Shared {
            digested: digest_password(&user, password),
            prepared: prepare_password(password),
            user,
            cache: KeyCache::default(),
        }))
    }

    /// Whether the password can be used with a mechanism, and with this OpenSSL.
    pub(super) fn check_password(&self, mechanism: AuthMechanism) -> Result<(), Cause> {
        let password = self.0.password(Digest::of(mechanism));
        password.map(|_| ())
    }

    /// A conversation by SCRAM-SHA-256 or SCRAM-SHA-1.
    pub(super) fn client(&self, mechanism: AuthMechanism) -> Result<Client, Cause> {
        let mut nonce = [0; NONCE_BYTES];
        rand_bytes(&mut nonce)
            .map_err(|error| library_refuses(mechanism, "random numbers", &error))?;
        Ok(self.client_with_nonce(Digest::of(mechanism), openssl::base64::encode_block(&nonce)))
    }

    fn client_with_nonce(&self, digest: Digest, nonce: String) -> Client {
        Client {
            shared: Arc::clone(&self.0),
            digest,
            nonce,
            state: State::First,
        }
    }
}

impl Shared {
    fn password(&self, digest: Digest) -> Result<&Secret, Cause> {
        let password = match digest {
            Digest::Sha1 => &self.digested,
            Digest::Sha256 => &self.prepared,
        };
        password.as_ref().map_err(Cause::clone)
    }

    fn keys(&self, digest: Digest, first: &ServerFirst<'_>) -> Result<Arc<Keys>, Cause> {
        let password = self.password(digest)?;
        self.cache
            .get(digest, &first.salt, first.iterations, || {
                Keys::derive(digest, password.expose(), &first.salt, first.iterations)
            })
            .map_err(|error| library_refuses(digest.mechanism(), "PBKDF2 or HMAC", &error))
    }
}

/// The client's side of one conversation.
pub(super) struct Client {
    shared: Arc<Shared>,
    digest: Digest,
    nonce: String,
    state: State,
}

/// What the server is about to send.
#[derive(Clone)]
enum State {
    First,
    Final {
        signature: Vec<u8>,
    },
    /// Nothing any more.
    Complete,
    /// It has broken the rules, and nothing of it counts any more.
    Broken,
}

impl Client {
    /// The part of `client_first` that the proof covers.
    fn first_bare(&self) -> String {
        format!("n={},r={}", message::escape(&self.shared.user), self.nonce)
    }

    fn client_final(&self, server_first: &str) -> Result<(String, Vec<u8>), Cause> {
        let first = ServerFirst::parse(server_first).map_err(|what| self.broken(what))?;
        let own = first.nonce.strip_prefix(self.nonce.as_str());
        if own.is_none_or(str::is_empty) {
            return Err(self.broken("its nonce does not continue that of the client"));
        }
        self.check_iterations(first.iterations)?;
        let keys = self.shared.keys(self.digest, &first)?;
        // "biws" is the header of `client_first`, "n,,", in base 64.
        let without_proof = format!("c=biws,r={}", first.nonce);
        let signed = format!("{},{server_first},{without_proof}", self.first_bare());
        let (proof, signature) = keys
            .sign(self.digest, signed.as_bytes())
            .map_err(|error| library_refuses(self.digest.mechanism(), "HMAC", &error))?;
        let proof = openssl::base64::encode_block(&proof);
        Ok((format!("{without_proof},p={proof}"), signature))
    }

    fn check_iterations(&self, iterations: u32) -> Result<(), Cause> {
        let (how, remedy) = match iterations {
            MIN_ITERATIONS..=MAX_ITERATIONS => return Ok(()),
            ..MIN_ITERATIONS => (
                format!("fewer than {MIN_ITERATIONS}"),
                "Set scramIterationCount and scramSHA256IterationCount of the server to 4096 or more, then set the \
                 user's password again. Where they are not lower, somebody stands between this client and the server.",
            ),
            _ => (
                format!("more than {MAX_ITERATIONS}"),
                "Lower scramIterationCount or scramSHA256IterationCount of the server, then set the user's password \
                 again.",
            ),
        };
        let mechanism = self.digest.mechanism();
        let message = format!("the server asks for {iterations} iterations of {mechanism}, {how}");
        Err(Cause::new(CauseCode::ServerNotProven, message, remedy)
            .fact("mechanism", mechanism.as_str())
            .fact("iterations", iterations))
    }

    fn verify(&self, server_final: &str, expected: &[u8]) -> Result<(), Cause> {
        match ServerFinal::parse(server_final).map_err(|what| self.broken(what))? {
            ServerFinal::Error(word) => {
                let mechanism = self.digest.mechanism();
                Err(Cause::new(
                    CauseCode::AuthenticationFailed,
                    format!(
                        "the server refused the user by {mechanism}: {word}",
                        word = Quoted(&word)
                    ),
                    "Check the user name, the password, and authSource.",
                )
                .fact("mechanism", mechanism.as_str()))
            }
            ServerFinal::Signature(signature) => {
                let same = signature.len() == expected.len() && memcmp::eq(&signature, expected);
                match same {
                    true => Ok(()),
                    false => Err(self.broken("its signature is wrong")),
                }
            }
        }
    }

    fn broken(&self, what: &str) -> Cause {
        server_not_proven(self.digest.mechanism(), what)
    }
}

impl SaslClient for Client {
    fn first(&mut self) -> Result<Zeroizing<Vec<u8>>, Cause> {
        Ok(Zeroizing::new(
            format!("n,,{}", self.first_bare()).into_bytes(),
        ))
    }

    fn answer(&mut self, message: &[u8]) -> Result<Zeroizing<Vec<u8>>, Cause> {
        let state = std::mem::replace(&mut self.state, State::Broken);
        let text = match std::str::from_utf8(message) {
            Ok(text) if text.len() <= LONGEST_MESSAGE => text,
            Ok(_) => return Err(self.broken("its message is too long")),
            Err(_) => return Err(self.broken("its message is not text")),
        };
        let (answer, state) = match state {
            State::First => {
                let (answer, signature) = self.client_final(text)?;
                (answer.into_bytes(), State::Final { signature })
            }
            State::Final { signature } => {
                self.verify(text, &signature)?;
                (Vec::new(), State::Complete)
            }
            State::Complete | State::Broken => {
                return Err(self.broken("it sent a message where none is due"));
            }
        };
        self.state = state;
        Ok(Zeroizing::new(answer))
    }

    fn is_complete(&self) -> bool {
        matches!(self.state, State::Complete)
    }

    fn skips_empty_exchange(&self) -> bool {
        true
    }
}

impl fmt::Debug for Client {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Client")
            .field("digest", &self.digest)
            .finish_non_exhaustive()
    }
}

/// The password of SCRAM-SHA-1: `HEX(MD5(user:mongo:password))`.
fn digest_password(user: &str, password: &str) -> Result<Secret, Cause> {
    // In one piece: memory that grows leaves its old content behind.
    let parts = [user, ":mongo:", password];
    let mut text = Zeroizing::new(Vec::with_capacity(
        parts.iter().map(|part| part.len()).sum(),
    ));
    for part in parts {
        text.extend_from_slice(part.as_bytes());
    }
    let digest = hash(MessageDigest::md5(), &text).map_err(|error| {
        let cause = library_refuses(AuthMechanism::ScramSha1, "MD5", &error);
        let remedy = "Give the user keys for SCRAM-SHA-256: run updateUser with its password and \
                      mechanisms: [\"SCRAM-SHA-256\"]. FIPS forbids MD5, on which SCRAM-SHA-1 of MongoDB rests.";
        cause.with_remedy(remedy)
    })?;
    let mut hex = String::with_capacity(2 * digest.len());
    for byte in digest.iter() {
        for nibble in [byte >> 4, byte & 15] {
            hex.extend(char::from_digit(u32::from(nibble), 16));
        }
    }
    Ok(Secret::from(hex))
}

/// The password of SCRAM-SHA-256: prepared by SASLprep (RFC 4013).
#[cfg(feature = "saslprep")]
fn prepare_password(password: &str) -> Result<Secret, Cause> {
    match stringprep::saslprep(password) {
        Ok(prepared) => Ok(Secret::new(prepared.into_owned())),
        // The error names the character, which is a piece of the password.
        Err(_) => Err(prohibited(password)),
    }
}

/// The password of SCRAM-SHA-256: of ASCII, SASLprep changes nothing and prohibits the control characters. For others it
/// needs tables; without preparation a password could be another than the one that the server knows.
#[cfg(not(feature = "saslprep"))]
fn prepare_password(password: &str) -> Result<Secret, Cause> {
    if !password.is_ascii() {
        return Err(super::not_built_in(
            AuthMechanism::ScramSha256,
            "SASLprep (RFC 4013), which the password needs, as it has other characters than those of ASCII",
            "Build mongotls with its feature saslprep, one of the default ones, or choose a password of ASCII.",
        ));
    }
    match password.bytes().any(|byte| byte.is_ascii_control()) {
        true => Err(prohibited(password)),
        false => Ok(Secret::from(password)),
    }
}

fn prohibited(password: &str) -> Cause {
    if super::ends_with_line_feed(password) {
        return Cause::new(
            CauseCode::OptionConflict,
            "the password ends with a line feed, as texts that were read from a file do, and SASLprep (RFC 4013) \
             prohibits it",
            super::REMOVE_LINE_FEED,
        )
        .fact("mechanism", AuthMechanism::ScramSha256.as_str());
    }
    Cause::new(
        CauseCode::OptionConflict,
        "the password cannot be used with SCRAM-SHA-256: SASLprep (RFC 4013) prohibits one of its characters, or the \
         order of its scripts",
        "Choose another password: control characters, private characters, and characters that are younger than \
         Unicode 3.2, such as most emoji, are prohibited, and letters of scripts written from right to left do not go \
         together with others.",
    )
    .fact("mechanism", AuthMechanism::ScramSha256.as_str())
}

/// The random bytes of a nonce: 24, as many as MongoDB's own clients take.
const NONCE_BYTES: usize = 24;

/// Fewer iterations are refused ("SCRAM-SHA-256"), since a server in the middle could ask for one.
const MIN_ITERATIONS: u32 = 4096;

/// More iterations are refused: the server picks the work that the client must do, for which no time limit
/// holds. A million take half a second; MongoDB's default is 15 000.
const MAX_ITERATIONS: u32 = 1_000_000;

/// The longest message of a server: 4 KiB. It holds a nonce and a salt, of some tens of bytes each.
const LONGEST_MESSAGE: usize = 4 << 10;

#[cfg(test)]
mod tests;
