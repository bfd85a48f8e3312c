//! MONGODB-AWS: the client signs a request, and the server sends it to AWS STS to learn who signed it.
//!
//! The client sends two messages, each a BSON document: a nonce, and, after the server has added its own nonce and named
//! the STS host, the `Authorization` header of a `GetCallerIdentity` request that holds both. [`sources`] finds the
//! credentials, [`sigv4`] makes the signature. Source: "MONGODB-AWS" in "Driver Authentication".

mod credentials;
mod services;
mod sigv4;
mod sources;

use std::fmt;
use std::time::SystemTime;

use bson::raw::{RawDocument, cstr};
use bson::spec::BinarySubtype;
use bson::{RawBinaryRef, RawDocumentBuf};
use openssl::rand::rand_bytes;
use zeroize::Zeroizing;

use self::credentials::AwsCredentials;
use self::sources::Sources;
use super::context::Context;
use super::sasl::{SaslClient, not_proven, with_room};
use crate::cause::Cause;
use crate::options::{AuthMechanism, CloudServices, Credential};
use crate::reason::auth::{AuthFailure, AwsFailure, SaslViolation};
use crate::time::rfc3339;

/// The sources of credentials that the connections of one client share.
#[derive(Debug)]
pub(super) struct Aws(Sources);

impl Aws {
    pub(super) fn new(credential: &Credential, services: &CloudServices) -> Self {
        Self(Sources::new(credential, services))
    }

    /// Finds credentials, and starts the conversation of a connection.
    pub(super) fn client(&self, context: &Context<'_>) -> Result<AwsClient, Cause> {
        let now = SystemTime::now();
        let credentials = self.0.find(now, &context.deadline)?;
        let mut nonce = [0; NONCE];
        rand_bytes(&mut nonce).map_err(|error| signing_failed(&error))?;
        Ok(AwsClient {
            credentials,
            nonce,
            time: amz_date(now),
            is_complete: false,
        })
    }

    /// Clears the cached credentials, because an authentication has failed.
    pub(super) fn clear_cached(&self) {
        self.0.clear_cached();
    }
}

/// The client's side of one conversation.
pub(super) struct AwsClient {
    credentials: AwsCredentials,
    nonce: [u8; NONCE],
    /// The time in the format of `X-Amz-Date`.
    time: String,
    is_complete: bool,
}

impl SaslClient for AwsClient {
    fn first(&mut self) -> Result<Zeroizing<Vec<u8>>, Cause> {
        let mut message = RawDocumentBuf::new();
        message.append(cstr!("r"), binary(&self.nonce));
        // The flag for "no channel binding".
        message.append(cstr!("p"), i32::from(b'n'));
        Ok(message.into_bytes().into())
    }

    fn respond(&mut self, message: &[u8]) -> Result<Zeroizing<Vec<u8>>, Cause> {
        let violated = |violation| Cause::from(not_proven(AuthMechanism::MongodbAws, violation));
        if self.is_complete {
            return Err(violated(SaslViolation::UnexpectedMessage));
        }
        let challenge = Challenge::read(message, &self.nonce).map_err(violated)?;
        let header = self
            .sign(&challenge)
            .map_err(|error| signing_failed(&error))?;
        let token = self.credentials.session_token.as_ref();
        let token = token.map_or(0, |token| token.expose().len());
        let mut response = with_room(64 + header.len() + self.time.len() + token);
        response.append(cstr!("a"), header);
        response.append(cstr!("d"), self.time.as_str());
        if let Some(token) = &self.credentials.session_token {
            response.append(cstr!("t"), token.expose());
        }
        self.is_complete = true;
        Ok(response.into_bytes().into())
    }

    fn is_complete(&self) -> bool {
        self.is_complete
    }
}

impl AwsClient {
    /// The `Authorization` header of the request that the server will send to STS.
    fn sign(&self, challenge: &Challenge<'_>) -> Result<String, openssl::error::ErrorStack> {
        let nonce = openssl::base64::encode_block(challenge.nonce);
        let length = BODY.len().to_string();
        let mut headers = vec![
            ("content-length", length.as_str()),
            ("content-type", "application/x-www-form-urlencoded"),
            ("host", challenge.host),
            ("x-amz-date", &self.time),
            ("x-mongodb-gs2-cb-flag", "n"),
            ("x-mongodb-server-nonce", &nonce),
        ];
        if let Some(token) = &self.credentials.session_token {
            headers.push(("x-amz-security-token", token.expose()));
        }
        let request = sigv4::SignedRequest {
            method: "POST",
            path: "/",
            query: "",
            headers: &headers,
            body: BODY.as_bytes(),
        };
        let scope = sigv4::CredentialScope {
            time: &self.time,
            region: challenge.region,
            service: "sts",
        };
        let credentials = &self.credentials;
        sigv4::authorization(
            &request,
            &scope,
            &credentials.access_key_id,
            credentials.secret_access_key.expose(),
        )
    }
}

impl fmt::Debug for AwsClient {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("AwsClient").finish_non_exhaustive()
    }
}

/// The first message of the server.
#[derive(Debug, PartialEq, Eq)]
struct Challenge<'a> {
    nonce: &'a [u8],
    host: &'a str,
    region: &'a str,
}

impl<'a> Challenge<'a> {
    fn read(message: &'a [u8], own: &[u8; NONCE]) -> Result<Self, SaslViolation> {
        let document = RawDocument::from_bytes(message).map_err(|_| SaslViolation::NotBson)?;
        let nonce = document
            .get_binary(cstr!("s"))
            .map_err(|_| SaslViolation::AwsNoNonce)?;
        if nonce.subtype != BinarySubtype::Generic || nonce.bytes.len() != 2 * NONCE {
            return Err(SaslViolation::AwsNonceLength);
        }
        if !nonce.bytes.starts_with(own) {
            return Err(SaslViolation::AwsNonceNotContinued);
        }
        let host = document
            .get_str(cstr!("h"))
            .map_err(|_| SaslViolation::NoStsHost)?;
        let region = region(host).ok_or(SaslViolation::InvalidStsHost)?;
        Ok(Self {
            nonce: nonce.bytes,
            host,
            region,
        })
    }
}

/// Returns the region of a host of STS, or `None` if the host is not one.
fn region(host: &str) -> Option<&str> {
    const DEFAULT: &str = "us-east-1";
    let labels: Vec<&str> = host.split('.').collect();
    // Only the characters of a host name are accepted, so that the host cannot end the header early.
    let is_label = |label: &&str| {
        let is_host = |byte: u8| byte.is_ascii_alphanumeric() || matches!(byte, b'-' | b'_');
        !label.is_empty() && label.bytes().all(is_host)
    };
    if host.len() > 255 || !labels.iter().all(is_label) {
        return None;
    }
    match (host, labels.as_slice()) {
        ("sts.amazonaws.com" | "aws.amazonaws.com", _) => Some(DEFAULT),
        (_, [_, region, ..]) => Some(region),
        _ => Some(DEFAULT),
    }
}

/// Formats an instant as AWS does: `20150830T123600Z`.
fn amz_date(time: SystemTime) -> String {
    rfc3339(time).replace(['-', ':'], "")
}

fn binary(bytes: &[u8]) -> RawBinaryRef<'_> {
    RawBinaryRef {
        subtype: BinarySubtype::Generic,
        bytes,
    }
}

fn signing_failed(error: &openssl::error::ErrorStack) -> Cause {
    AuthFailure::Aws(AwsFailure::Signing(error.to_string())).into()
}

/// The request that is signed.
const BODY: &str = "Action=GetCallerIdentity&Version=2011-06-15";

/// The length of each side's part of the nonce, in bytes.
const NONCE: usize = 32;

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use bson::rawdoc;
    use mongotls_testbench::random::{Random, rounds};

    use super::*;
    use crate::cause::CauseCode;
    use crate::options::Secret;

    fn client(token: Option<&str>) -> AwsClient {
        AwsClient {
            credentials: AwsCredentials {
                access_key_id: "AKIDEXAMPLE".into(),
                secret_access_key: Secret::from("s3cret-key"),
                session_token: token.map(Secret::from),
            },
            nonce: [7; NONCE],
            time: amz_date(SystemTime::UNIX_EPOCH + Duration::from_secs(1_440_938_160)),
            is_complete: false,
        }
    }

    fn challenge(nonce: &[u8], host: &str) -> Vec<u8> {
        let mut message = RawDocumentBuf::new();
        message.append(cstr!("s"), binary(nonce));
        message.append(cstr!("h"), host);
        message.into_bytes()
    }

    #[test]
    fn a_conversation_signs_both_nonces_and_the_token() {
        let mut client = client(Some("s3cret-token"));
        let first = client.first().unwrap();
        let first = RawDocument::from_bytes(&first).unwrap();
        assert_eq!(first.get_binary(cstr!("r")).unwrap().bytes, [7; NONCE]);
        assert_eq!(first.get_i32(cstr!("p")).unwrap(), 110);
        assert!(!client.is_complete());
        let nonce = [[7; NONCE], [9; NONCE]].concat();
        let second = client.respond(&challenge(&nonce, "sts.eu-central-1.amazonaws.com"));
        let second = second.unwrap();
        let second = RawDocument::from_bytes(&second).unwrap();
        let header = second.get_str(cstr!("a")).unwrap();
        assert!(
            header.starts_with(
                "AWS4-HMAC-SHA256 Credential=AKIDEXAMPLE/20150830/eu-central-1/sts/aws4_request, \
             SignedHeaders=content-length;content-type;host;x-amz-date;x-amz-security-token;\
             x-mongodb-gs2-cb-flag;x-mongodb-server-nonce, Signature="
            ),
            "{header}"
        );
        assert_eq!(second.get_str(cstr!("d")).unwrap(), "20150830T123600Z");
        assert_eq!(second.get_str(cstr!("t")).unwrap(), "s3cret-token");
        assert!(client.is_complete());
        assert!(client.respond(b"more").is_err());
        assert!(!format!("{client:?}").contains("s3cret"));
    }

    #[test]
    fn without_a_session_token_none_is_sent_or_signed() {
        let mut client = client(None);
        let nonce = [7; 2 * NONCE];
        let second = client.respond(&challenge(&nonce, "localhost")).unwrap();
        let second = RawDocument::from_bytes(&second).unwrap();
        assert!(second.get(cstr!("t")).unwrap().is_none());
        assert!(
            !second
                .get_str(cstr!("a"))
                .unwrap()
                .contains("security-token")
        );
    }

    #[test]
    fn a_server_that_breaks_the_rules_gets_no_signature() {
        let good = [7; 2 * NONCE];
        let long = format!("a.{}", "b".repeat(254));
        let cases = [
            (challenge(&good[1..], "localhost"), "does not have 64 bytes"),
            (
                challenge(&[8; 2 * NONCE], "localhost"),
                "does not begin with that of the client",
            ),
            (challenge(&good, ""), "an invalid STS host"),
            (challenge(&good, &long), "an invalid STS host"),
            (challenge(&good, "a\r\nx-evil:1"), "an invalid STS host"),
            (rawdoc! { "h": "localhost" }.into_bytes(), "no nonce"),
            (rawdoc! { "s": "text" }.into_bytes(), "no nonce"),
            (b"\x05\0\0\0".to_vec(), "not BSON"),
            (Vec::new(), "not BSON"),
        ];
        for (message, reason) in cases {
            let cause = client(None).respond(&message).unwrap_err();
            assert_eq!(cause.code(), CauseCode::ServerNotProven);
            assert!(cause.message().contains(reason), "{reason}: {cause}");
        }
    }

    #[test]
    fn a_message_of_any_bytes_is_refused_or_answered() {
        let sound = challenge(&[7; 2 * NONCE], "sts.us-west-2.amazonaws.com");
        let mut random = Random::default();
        for _ in 0..rounds(20_000) {
            let mut message = sound.clone();
            for _ in 0..=random.below(4) {
                let at = random.below(message.len());
                message[at] = random.bytes(1)[0];
            }
            message.truncate(random.below(2 * message.len()));
            if let Err(cause) = client(None).respond(&message) {
                assert_eq!(cause.code(), CauseCode::ServerNotProven);
            }
        }
    }

    #[test]
    fn regions_are_those_of_the_specification() {
        for (host, expected) in [
            ("sts.amazonaws.com", Some("us-east-1")),
            ("sts.us-west-2.amazonaws.com", Some("us-west-2")),
            ("sts.us-west-2.amazonaws.com.ch", Some("us-west-2")),
            ("example.com", Some("com")),
            ("localhost", Some("us-east-1")),
            ("sts..com", None),
            (".amazonaws.com", None),
            ("sts.amazonaws.", None),
            ("", None),
        ] {
            assert_eq!(region(host), expected, "{host}");
        }
        assert_eq!(region(&"a".repeat(255)), Some("us-east-1"));
        assert_eq!(region(&"a".repeat(256)), None);
    }
}
