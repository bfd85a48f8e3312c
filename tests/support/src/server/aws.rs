//! The server's side of MONGODB-AWS: it signs the request too and compares.
//!
//! A real server sends the signed request to AWS STS, which knows the secret key. It is written from the driver
//! specification and from AWS's description of Signature Version 4, and shares no code with the client under test.

use super::external::{ExternalConversation, ExternalMechanism, Said};
use bson::spec::BinarySubtype;
use bson::{Binary, Bson, Document, doc};
use openssl::hash::MessageDigest;
use openssl::pkey::PKey;
use openssl::rand::rand_bytes;
use openssl::sha::sha256;
use openssl::sign::Signer;
use std::collections::BTreeMap;

/// An access key that STS knows.
#[derive(Clone, Debug)]
struct Key {
    id: String,
    secret: String,
    token: Option<String>,
}

/// MONGODB-AWS, with the keys that are accepted.
#[derive(Clone, Debug)]
pub struct AwsMechanism {
    keys: Vec<Key>,
    sts_host: String,
    server_first: Option<Document>,
}

impl AwsMechanism {
    /// No keys yet, and `sts.us-west-2.amazonaws.com`.
    pub fn new() -> Self {
        Self {
            keys: Vec::new(),
            sts_host: "sts.us-west-2.amazonaws.com".into(),
            server_first: None,
        }
    }

    /// Accepts a key; with a token, that of temporary credentials.
    pub fn key(mut self, id: &str, secret: &str, token: Option<&str>) -> Self {
        self.keys.push(Key {
            id: id.into(),
            secret: secret.into(),
            token: token.map(Into::into),
        });
        self
    }

    /// Sets the STS host.
    pub fn sts_host(mut self, host: &str) -> Self {
        self.sts_host = host.into();
        self
    }

    /// Sends this as the first message, for any message of the client.
    pub fn server_first(mut self, message: Document) -> Self {
        self.server_first = Some(message);
        self
    }
}

impl Default for AwsMechanism {
    fn default() -> Self {
        Self::new()
    }
}

impl ExternalMechanism for AwsMechanism {
    fn name(&self) -> &'static str {
        "MONGODB-AWS"
    }

    fn start(&self) -> Box<dyn ExternalConversation> {
        Box::new(Talk {
            mechanism: self.clone(),
            nonce: None,
        })
    }
}

struct Talk {
    mechanism: AwsMechanism,
    nonce: Option<Vec<u8>>,
}

impl ExternalConversation for Talk {
    fn answer(&mut self, message: &[u8]) -> Option<Said> {
        let message = Document::from_reader(message).ok()?;
        match self.nonce.take() {
            None => self.first(&message),
            Some(nonce) => self.second(&message, &nonce),
        }
    }
}

impl Talk {
    fn first(&mut self, message: &Document) -> Option<Said> {
        let nonce = message.get_binary_generic("r").ok()?;
        if nonce.len() != 32 || message.get_i32("p").ok()? != i32::from(b'n') {
            return None;
        }
        let mut own = [0; 32];
        rand_bytes(&mut own).ok()?;
        let nonce = [nonce.as_slice(), &own].concat();
        let answer = self.mechanism.server_first.clone().unwrap_or_else(|| {
            let nonce = Binary {
                subtype: BinarySubtype::Generic,
                bytes: nonce.clone(),
            };
            doc! { "s": Bson::Binary(nonce), "h": &self.mechanism.sts_host }
        });
        self.nonce = Some(nonce);
        Some(Said::More(encode(&answer)))
    }

    fn second(&self, message: &Document, nonce: &[u8]) -> Option<Said> {
        let header = message.get_str("a").ok()?;
        let date = message.get_str("d").ok()?;
        let token = message.get_str("t").ok();
        let rest = header.strip_prefix("AWS4-HMAC-SHA256 Credential=")?;
        let (id, rest) = rest.split_once('/')?;
        let key = self.mechanism.keys.iter().find(|key| key.id == id)?;
        if key.token.as_deref() != token {
            return None;
        }
        let (scope, rest) = rest.split_once(", SignedHeaders=")?;
        let (names, signature) = rest.split_once(", Signature=")?;
        let body = "Action=GetCallerIdentity&Version=2011-06-15";
        let mut headers = BTreeMap::from([
            ("content-length", "43".to_owned()),
            (
                "content-type",
                "application/x-www-form-urlencoded".to_owned(),
            ),
            ("host", self.mechanism.sts_host.clone()),
            ("x-amz-date", date.to_owned()),
            ("x-mongodb-gs2-cb-flag", "n".to_owned()),
            (
                "x-mongodb-server-nonce",
                openssl::base64::encode_block(nonce),
            ),
        ]);
        if let Some(token) = token {
            headers.insert("x-amz-security-token", token.to_owned());
        }
        // All of these headers are signed, and no others.
        let expected: Vec<&str> = headers.keys().copied().collect();
        let region = match self.mechanism.sts_host.split('.').nth(1) {
            Some(label) if self.mechanism.sts_host != "sts.amazonaws.com" => label,
            _ => "us-east-1",
        };
        let day = date.get(..8)?;
        if names != expected.join(";") || scope != format!("{day}/{region}/sts/aws4_request") {
            return None;
        }
        let lines: String = headers
            .iter()
            .map(|(name, value)| format!("{name}:{value}\n"))
            .collect();
        let hash = |text: &str| hex(&sha256(text.as_bytes()));
        let canonical = format!("POST\n/\n\n{lines}\n{names}\n{}", hash(body));
        let to_sign = format!("AWS4-HMAC-SHA256\n{date}\n{scope}\n{}", hash(&canonical));
        let start = format!("AWS4{}", key.secret).into_bytes();
        let signing_key = scope.split('/').fold(start, |key, part| hmac(&key, part));
        (hex(&hmac(&signing_key, &to_sign)) == signature)
            .then(|| Said::Done(format!("arn:aws:iam::123456789012:user/{id}")))
    }
}

fn encode(document: &Document) -> Vec<u8> {
    document.to_vec().expect("a document that can be encoded")
}

fn hmac(key: &[u8], text: &str) -> Vec<u8> {
    let key = PKey::hmac(key).expect("a key");
    let mut signer = Signer::new(MessageDigest::sha256(), &key).expect("HMAC");
    signer.sign_oneshot_to_vec(text.as_bytes()).expect("HMAC")
}

fn hex(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}
