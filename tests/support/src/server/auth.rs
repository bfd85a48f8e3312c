//! Users and their authentication: SCRAM-SHA-1, SCRAM-SHA-256, PLAIN and MONGODB-X509.
//!
//! It answers as MongoDB does: `saslSupportedMechs` only for known users, nothing in hello about a failed
//! `speculativeAuthenticate`, one text for every wrong credential, and error 13 for a command before authentication.
//! [`Auth::external`] adds mechanisms. [`Auth::tamper`] changes any answer before it is sent. It is written from RFC
//! 5802 and the driver specification, and shares no code with the client under test.

use super::commands::{failure, ok};
use super::external::{ExternalConversation, ExternalMechanism, Said};
use super::record::Request;
use bson::spec::BinarySubtype;
use bson::{Binary, Bson, Document, doc};
use openssl::hash::{MessageDigest, hash};
use openssl::pkcs5::pbkdf2_hmac;
use openssl::pkey::PKey;
use openssl::rand::rand_bytes;
use openssl::sign::Signer;
use openssl::x509::X509Ref;
use std::fmt;
use std::sync::Arc;

/// Every mechanism that the bench supports.
const MECHANISMS: [&str; 4] = ["SCRAM-SHA-1", "SCRAM-SHA-256", "PLAIN", "MONGODB-X509"];

type Tamper = Arc<dyn Fn(&mut Document) + Send + Sync>;

/// The users and the mechanisms.
///
/// ```
/// use mongotls_testbench::server::{Auth, Server, User};
///
/// let auth = Auth::new().user(User::new("admin", "ada", "secret"));
/// let server = Server::builder().auth(auth).start();
/// ```
#[derive(Clone)]
pub struct Auth {
    users: Vec<User>,
    mechanisms: Vec<String>,
    speculative: bool,
    skips_empty_exchange: bool,
    tamper: Option<Tamper>,
    external: Vec<Arc<dyn ExternalMechanism>>,
}

/// A user.
#[derive(Clone, Debug)]
pub struct User {
    database: String,
    name: String,
    password: String,
    mechanisms: Vec<String>,
    iterations: usize,
    salt: Vec<u8>,
}

impl Auth {
    /// No users yet, with every mechanism.
    pub fn new() -> Self {
        Self {
            users: Vec::new(),
            mechanisms: MECHANISMS.map(ToOwned::to_owned).to_vec(),
            speculative: true,
            skips_empty_exchange: true,
            tamper: None,
            external: Vec::new(),
        }
    }

    /// Offers a mechanism outside of the bench, or one with separate users.
    pub fn external(mut self, mechanism: impl ExternalMechanism + 'static) -> Self {
        self.mechanisms.push(mechanism.name().to_owned());
        self.external.push(Arc::new(mechanism));
        self
    }

    /// Adds a user.
    pub fn user(mut self, user: User) -> Self {
        self.users.push(user);
        self
    }

    /// Offers only these mechanisms.
    pub fn mechanisms(mut self, names: &[&str]) -> Self {
        self.mechanisms = names.iter().map(|&name| name.into()).collect();
        self
    }

    /// Ignores `speculativeAuthenticate`, as before MongoDB 4.4.
    pub fn without_speculation(mut self) -> Self {
        self.speculative = false;
        self
    }

    /// Waits for an empty message after its last one, as before MongoDB 4.4.
    pub fn with_empty_exchange(mut self) -> Self {
        self.skips_empty_exchange = false;
        self
    }

    /// Changes every answer to `saslStart`, `saslContinue` and `authenticate`, and the answer to
    /// `speculativeAuthenticate` in hello.
    pub fn tamper(mut self, change: impl Fn(&mut Document) + Send + Sync + 'static) -> Self {
        self.tamper = Some(Arc::new(change));
        self
    }

    fn find(&self, database: &str, name: &str) -> Option<&User> {
        let mut users = self.users.iter();
        users.find(|user| user.database == database && user.name == name)
    }
}

impl Default for Auth {
    fn default() -> Self {
        Self::new()
    }
}

impl fmt::Debug for Auth {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Auth")
            .field("users", &self.users)
            .field("mechanisms", &self.mechanisms)
            .finish_non_exhaustive()
    }
}

impl User {
    /// A user with keys for both SCRAM mechanisms, of 4096 iterations.
    ///
    /// # Panics
    ///
    /// If OpenSSL has no random numbers.
    pub fn new(database: &str, name: &str, password: &str) -> Self {
        let mut salt = vec![0; 16];
        rand_bytes(&mut salt).expect("random numbers");
        Self {
            database: database.into(),
            name: name.into(),
            password: password.into(),
            mechanisms: vec!["SCRAM-SHA-1".into(), "SCRAM-SHA-256".into()],
            iterations: 4096,
            salt,
        }
    }

    /// A user of LDAP: only PLAIN, in `$external`.
    pub fn ldap(name: &str, password: &str) -> Self {
        Self::new("$external", name, password).only(&["PLAIN"])
    }

    /// A user with a certificate of this subject (RFC 2253).
    pub fn certificate(subject: &str) -> Self {
        Self::new("$external", subject, "").only(&["MONGODB-X509"])
    }

    /// Allows only these mechanisms.
    pub fn only(mut self, mechanisms: &[&str]) -> Self {
        self.mechanisms = mechanisms.iter().map(|&name| name.into()).collect();
        self
    }

    /// Uses this number of iterations for the keys.
    pub fn iterations(mut self, count: usize) -> Self {
        self.iterations = count;
        self
    }

    fn has(&self, mechanism: &str) -> bool {
        self.mechanisms.iter().any(|own| own == mechanism)
    }

    /// `SaltedPassword` of a mechanism.
    fn salted(&self, digest: MessageDigest) -> Vec<u8> {
        let mut password = self.password.clone();
        if digest.type_() == MessageDigest::sha1().type_() {
            let text = format!("{}:mongo:{}", self.name, self.password);
            let digest = hash(MessageDigest::md5(), text.as_bytes()).expect("MD5");
            password = digest.iter().map(|byte| format!("{byte:02x}")).collect();
        }
        let mut salted = vec![0; digest.size()];
        pbkdf2_hmac(
            password.as_bytes(),
            &self.salt,
            self.iterations,
            digest,
            &mut salted,
        )
        .expect("PBKDF2");
        salted
    }
}

/// The user of a connection, and the authentication in progress.
#[derive(Default)]
pub(super) struct Session {
    /// `database.name`, after authentication.
    pub(super) user: Option<String>,
    conversation: Option<Conversation>,
    external: Option<Box<dyn ExternalConversation>>,
}

/// A SCRAM conversation that waits for `client_final`, or for the empty message after `server_final`.
struct Conversation {
    user: User,
    digest: MessageDigest,
    skips_empty_exchange: bool,
    /// `client_first_bare` and `server_first`, or `None` after a correct proof.
    said: Option<(String, String)>,
    nonce: String,
}

impl Session {
    /// The answer to a command of authentication, or the rejection of a command that comes too early; `None` for
    /// others.
    pub(super) fn answer(&mut self, auth: &Auth, request: &Request) -> Option<Document> {
        let mut reply = match request.name.as_str() {
            "saslStart" => self.start(auth, &request.database, &request.body),
            "saslContinue" => self.go_on(&request.body),
            "authenticate" => self.authenticate(auth, request, &request.body),
            "ping" | "buildInfo" | "buildinfo" | "hello" | "isMaster" | "ismaster" => return None,
            _ if self.user.is_some() => return None,
            name => {
                let text = format!("Command {name} requires authentication");
                return Some(failure(13, "Unauthorized", &text));
            }
        };
        if let Some(tamper) = &auth.tamper {
            tamper(&mut reply);
        }
        Some(reply)
    }

    /// Adds the requested authentication fields to a hello reply.
    pub(super) fn hello(&mut self, auth: &Auth, request: &Request, reply: &mut Document) {
        if let Ok(name) = request.body.get_str("saslSupportedMechs") {
            let (database, name) = name.split_once('.').unwrap_or_default();
            if let Some(user) = auth.find(database, name) {
                let offered = auth.mechanisms.iter().filter(|name| user.has(name));
                reply.insert("saslSupportedMechs", offered.cloned().collect::<Vec<_>>());
            }
        }
        let Ok(command) = request.body.get_document("speculativeAuthenticate") else {
            return;
        };
        if !auth.speculative {
            return;
        }
        let mut answer = if command.contains_key("saslStart") {
            self.start(auth, command.get_str("db").unwrap_or_default(), command)
        } else {
            self.authenticate(auth, request, command)
        };
        if answer.get_f64("ok").is_ok_and(|ok| ok == 0.0) {
            return;
        }
        if let Some(tamper) = &auth.tamper {
            tamper(&mut answer);
        }
        answer.remove("ok");
        reply.insert("speculativeAuthenticate", answer);
    }

    fn start(&mut self, auth: &Auth, database: &str, command: &Document) -> Document {
        self.conversation = None;
        self.external = None;
        let mechanism = command.get_str("mechanism").unwrap_or_default();
        if !auth.mechanisms.iter().any(|name| name == mechanism) {
            let text =
                format!("Received authentication for mechanism {mechanism} which is not enabled");
            return failure(334, "MechanismUnavailable", &text);
        }
        let mut external = auth.external.iter();
        if let Some(external) = external.find(|external| external.name() == mechanism) {
            self.external = Some(external.start());
            return self.external(command);
        }
        let message = payload(command);
        let outcome = match mechanism {
            "PLAIN" => self.plain(auth, database, &message),
            "SCRAM-SHA-1" => self.scram(auth, database, command, &message, MessageDigest::sha1()),
            "SCRAM-SHA-256" => {
                self.scram(auth, database, command, &message, MessageDigest::sha256())
            }
            _ => None,
        };
        outcome.unwrap_or_else(refused)
    }

    fn plain(&mut self, auth: &Auth, database: &str, message: &str) -> Option<Document> {
        let mut parts = message.split('\0').skip(1);
        let (name, password) = (parts.next()?, parts.next()?);
        let user = auth.find(database, name).filter(|user| user.has("PLAIN"))?;
        (parts.next().is_none() && user.password == password).then(|| {
            self.user = Some(format!("{database}.{name}"));
            said(true, "")
        })
    }

    fn scram(
        &mut self,
        auth: &Auth,
        database: &str,
        command: &Document,
        message: &str,
        digest: MessageDigest,
    ) -> Option<Document> {
        let bare = message.strip_prefix("n,,")?;
        let (name, nonce) = bare.strip_prefix("n=")?.split_once(",r=")?;
        let name = name.replace("=2C", ",").replace("=3D", "=");
        let mechanism = command.get_str("mechanism").ok()?;
        let user = auth
            .find(database, &name)
            .filter(|user| user.has(mechanism))?;
        let mut more = [0; 18];
        rand_bytes(&mut more).expect("random numbers");
        let nonce = format!("{nonce}{}", openssl::base64::encode_block(&more));
        let salt = openssl::base64::encode_block(&user.salt);
        let first = format!("r={nonce},s={salt},i={}", user.iterations);
        let options = command.get_document("options");
        let asked = options.and_then(|options| options.get_bool("skipEmptyExchange"));
        self.conversation = Some(Conversation {
            user: user.clone(),
            digest,
            skips_empty_exchange: auth.skips_empty_exchange && asked.is_ok_and(|asked| asked),
            said: Some((bare.to_owned(), first.clone())),
            nonce,
        });
        Some(said(false, &first))
    }

    /// Handles one more message of a mechanism outside of the bench.
    fn external(&mut self, command: &Document) -> Document {
        let message = command.get_binary_generic("payload");
        let message = message.map(|bytes| bytes.as_slice()).unwrap_or_default();
        let answer = self.external.as_mut().and_then(|own| own.answer(message));
        if !matches!(answer, Some(Said::More(_))) {
            self.external = None;
        }
        match answer {
            Some(Said::More(bytes)) => said_bytes(false, bytes),
            Some(Said::Done(user)) => {
                self.user = Some(format!("$external.{user}"));
                said(true, "")
            }
            None => refused(),
        }
    }

    fn go_on(&mut self, command: &Document) -> Document {
        if self.external.is_some() {
            return self.external(command);
        }
        let Some(mut conversation) = self.conversation.take() else {
            return failure(17, "ProtocolError", "No SASL session state found");
        };
        if !command.get_i32("conversationId").is_ok_and(|id| id == 1) {
            return failure(17, "ProtocolError", "sasl: Mismatched conversation id");
        }
        let message = payload(command);
        let user = format!("{}.{}", conversation.user.database, conversation.user.name);
        let Some((client_first, server_first)) = conversation.said.take() else {
            return match message.is_empty() {
                true => {
                    self.user = Some(user);
                    said(true, "")
                }
                false => refused(),
            };
        };
        let Some(signature) = conversation.verify(&client_first, &server_first, &message) else {
            return refused();
        };
        let last = format!("v={}", openssl::base64::encode_block(&signature));
        if conversation.skips_empty_exchange {
            self.user = Some(user);
            return said(true, &last);
        }
        self.conversation = Some(conversation);
        said(false, &last)
    }

    /// MONGODB-X509: the subject of the certificate is the user.
    fn authenticate(&mut self, auth: &Auth, request: &Request, command: &Document) -> Document {
        let mechanism = command.get_str("mechanism").unwrap_or_default();
        if !auth.mechanisms.iter().any(|name| name == mechanism) || mechanism != "MONGODB-X509" {
            let text =
                format!("Received authentication for mechanism {mechanism} which is not enabled");
            return failure(334, "MechanismUnavailable", &text);
        }
        let Some(subject) = &request.certificate_subject else {
            return refused();
        };
        if command.get_str("user").is_ok_and(|user| user != subject) {
            let text = "There is no x.509 client certificate matching the user.";
            return failure(18, "AuthenticationFailed", text);
        }
        let known = auth.find("$external", subject);
        if !known.is_some_and(|user| user.has("MONGODB-X509")) {
            let text = format!("Could not find user \"{subject}\" for db \"$external\"");
            return failure(11, "UserNotFound", &text);
        }
        self.user = Some(format!("$external.{subject}"));
        doc! { "dbname": "$external", "user": subject, "ok": 1.0 }
    }
}

impl Conversation {
    /// The server's signature, if the client's proof is correct.
    fn verify(&self, client_first: &str, server_first: &str, message: &str) -> Option<Vec<u8>> {
        let (without_proof, proof) = message.rsplit_once(",p=")?;
        if without_proof != format!("c=biws,r={}", self.nonce) {
            return None;
        }
        let salted = self.user.salted(self.digest);
        let client_key = self.hmac(&salted, "Client Key");
        let stored_key = self.hash(&client_key);
        let spoken = format!("{client_first},{server_first},{without_proof}");
        let signature = self.hmac(&stored_key, &spoken);
        let proof = openssl::base64::decode_block(proof).ok()?;
        let recovered: Vec<u8> = proof.iter().zip(&signature).map(|(a, b)| a ^ b).collect();
        let is_right = proof.len() == signature.len() && self.hash(&recovered) == stored_key;
        is_right.then(|| self.hmac(&self.hmac(&salted, "Server Key"), &spoken))
    }

    fn hash(&self, bytes: &[u8]) -> Vec<u8> {
        hash(self.digest, bytes).expect("a hash").to_vec()
    }

    fn hmac(&self, key: &[u8], text: &str) -> Vec<u8> {
        let key = PKey::hmac(key).expect("a key");
        let mut signer = Signer::new(self.digest, &key).expect("HMAC");
        signer.update(text.as_bytes()).expect("HMAC");
        signer.sign_to_vec().expect("HMAC")
    }
}

/// The subject in MongoDB's form: the last part first, escaped as in RFC 2253, including each byte from 0x80 on. Parts
/// with several values are not supported.
pub(super) fn subject(certificate: &X509Ref) -> String {
    let mut parts: Vec<String> = Vec::new();
    for entry in certificate.subject_name().entries() {
        let name = entry.object().nid().short_name().unwrap_or("?").to_owned();
        let value = String::from_utf8_lossy(entry.data().as_slice()).into_owned();
        let last = value.chars().count().saturating_sub(1);
        let escaped = value.chars().enumerate().map(|(at, c)| match c {
            ',' | '+' | '"' | '\\' | '<' | '>' | ';' => format!("\\{c}"),
            '#' if at == 0 => "\\#".to_owned(),
            ' ' if at == 0 || at == last => "\\ ".to_owned(),
            c if c.is_ascii() => c.to_string(),
            c => {
                let bytes = c.to_string().into_bytes();
                bytes.iter().map(|byte| format!("\\{byte:02X}")).collect()
            }
        });
        parts.push(format!("{name}={}", escaped.collect::<String>()));
    }
    parts.reverse();
    parts.join(",")
}

fn refused() -> Document {
    failure(18, "AuthenticationFailed", "Authentication failed.")
}

fn said(done: bool, message: &str) -> Document {
    said_bytes(done, message.into())
}

fn said_bytes(done: bool, bytes: Vec<u8>) -> Document {
    let payload = Bson::Binary(Binary {
        subtype: BinarySubtype::Generic,
        bytes,
    });
    let mut reply = doc! { "conversationId": 1, "done": done, "payload": payload };
    reply.extend(ok());
    reply
}

fn payload(command: &Document) -> String {
    let bytes = command.get_binary_generic("payload");
    let bytes = bytes.map(|bytes| bytes.as_slice()).unwrap_or_default();
    String::from_utf8_lossy(bytes).into_owned()
}
