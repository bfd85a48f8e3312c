//! One conversation: the server's replies in, the next commands out.
//!
//! SASL mechanisms use `saslStart` and `saslContinue` ("Driver Authentication", "SASL Mechanisms"); their side of the
//! conversation is a [`SaslClient`]. MONGODB-X509 uses one `authenticate`. Nothing in a reply is trusted: the
//! conversation ends if a field has another type than it must have, and after a limited number of replies.

use std::time::Duration;

use bson::raw::{RawDocument, cstr};
use bson::spec::BinarySubtype;
use bson::{RawBinaryRef, RawBson, RawBsonRef, RawDocumentBuf, rawdoc};
use zeroize::Zeroizing;

use super::oidc::{AccessToken, OidcClient};
use super::sasl::{SaslClient, not_proven, with_room};
use crate::cause::Cause;
use crate::options::{AuthMechanism, Credential};
use crate::reason::auth::{SaslViolation, UserMechanisms};

/// The authentication of one connection by one mechanism.
#[derive(Debug)]
pub(crate) struct Conversation {
    mechanism: AuthMechanism,
    source: String,
    user: Option<String>,
    /// The mechanisms of the user in hello's reply.
    pub(super) user_mechanisms: UserMechanisms,
    client: MechanismClient,
    exchange: SaslExchange,
}

/// The client's side of a conversation.
#[derive(Debug)]
enum MechanismClient {
    Sasl(Box<dyn SaslClient>),
    Oidc(OidcClient),
    /// MONGODB-X509, which sends one command and no message of SASL.
    X509,
}

/// The server's side of a SASL conversation.
#[derive(Debug, Default)]
struct SaslExchange {
    /// The `conversationId` in the server's first reply. It may be any number.
    id: Option<RawBson>,
    replies: u32,
}

/// The next step of a conversation.
#[derive(Debug)]
pub(crate) enum Step {
    /// Sends this command to the database [`Conversation::source`]; the reply goes to [`Conversation::receive`]. The
    /// command may contain a secret.
    Send(RawDocumentBuf),
    /// The connection is authenticated.
    Done,
}

/// The result of authenticating a connection.
#[derive(Clone, Debug)]
pub(crate) struct Authenticated {
    pub(crate) mechanism: AuthMechanism,
    /// The database that the user belongs to.
    pub(crate) source: String,
    /// The user. With MONGODB-X509 and no user name, this is the name that the server took from the certificate.
    pub(crate) user: Option<String>,
    /// The access token that was sent to the server, or `None` for mechanisms other than MONGODB-OIDC.
    pub(crate) token: Option<AccessToken>,
}

impl Conversation {
    /// A conversation by a SASL mechanism.
    pub(super) fn sasl(
        mechanism: AuthMechanism,
        credential: &Credential,
        client: Box<dyn SaslClient>,
    ) -> Self {
        let (source, user) = (&credential.source, &credential.username);
        Self::new(
            mechanism,
            source,
            user.clone(),
            MechanismClient::Sasl(client),
        )
    }

    /// A conversation by MONGODB-OIDC.
    pub(super) fn oidc(credential: &Credential, client: OidcClient) -> Self {
        let (source, user) = (&credential.source, &credential.username);
        let mechanism = AuthMechanism::MongodbOidc;
        Self::new(
            mechanism,
            source,
            user.clone(),
            MechanismClient::Oidc(client),
        )
    }

    /// A conversation about the certificate of the TLS connection.
    pub(super) fn x509(user: Option<String>) -> Self {
        let mechanism = AuthMechanism::MongodbX509;
        Self::new(mechanism, "$external", user, MechanismClient::X509)
    }

    fn new(
        mechanism: AuthMechanism,
        source: &str,
        user: Option<String>,
        client: MechanismClient,
    ) -> Self {
        Self {
            mechanism,
            source: source.to_owned(),
            user,
            user_mechanisms: UserMechanisms::default(),
            client,
            exchange: SaslExchange::default(),
        }
    }

    pub(crate) fn mechanism(&self) -> AuthMechanism {
        self.mechanism
    }

    /// The database that the commands go to.
    pub(crate) fn source(&self) -> &str {
        &self.source
    }

    /// Returns the authenticated user and its database, after the conversation is done.
    pub(crate) fn into_authenticated(self) -> Authenticated {
        let token = self.oidc_client().and_then(OidcClient::token).cloned();
        Authenticated {
            mechanism: self.mechanism,
            source: self.source,
            user: self.user,
            token,
        }
    }

    /// The client's side, if the mechanism is MONGODB-OIDC.
    pub(super) fn oidc_client(&self) -> Option<&OidcClient> {
        match &self.client {
            MechanismClient::Oidc(client) => Some(client),
            MechanismClient::Sasl(_) | MechanismClient::X509 => None,
        }
    }

    /// The time that the conversation has waited for a person. No limit includes it.
    pub(crate) fn human_time(&self) -> Duration {
        self.oidc_client()
            .map_or(Duration::ZERO, OidcClient::time_of_person)
    }

    /// Returns the first command.
    pub(super) fn first(&mut self) -> Result<RawDocumentBuf, Cause> {
        self.first_with_room(0)
    }

    /// Returns the first command, in a buffer to which the caller may add `more` bytes.
    fn first_with_room(&mut self, more: usize) -> Result<RawDocumentBuf, Cause> {
        let mechanism = self.mechanism.as_str();
        let Some(client) = self.client.sasl() else {
            let mut command = rawdoc! { "authenticate": 1_i32, "mechanism": mechanism };
            if let Some(user) = &self.user {
                command.append(cstr!("user"), user.as_str());
            }
            return Ok(command);
        };
        let payload = client.first()?;
        let mut command = with_room(COMMAND + payload.len() + more);
        command.append(cstr!("saslStart"), 1_i32);
        command.append(cstr!("mechanism"), mechanism);
        append_payload(&mut command, &payload);
        command.append(cstr!("autoAuthorize"), 1_i32);
        if client.skips_empty_exchange() {
            command.append(cstr!("options"), rawdoc! { "skipEmptyExchange": true });
        }
        Ok(command)
    }

    /// Returns the first command in the form for hello. For SASL it names the database.
    pub(super) fn speculative(&mut self) -> Result<RawDocumentBuf, Cause> {
        let mut command = self.first_with_room(self.source.len())?;
        if self.client.sasl().is_some() {
            command.append(cstr!("db"), self.source.as_str());
        }
        Ok(command)
    }

    /// Reads the successful reply to the last command, and returns the next step.
    pub(crate) fn receive(&mut self, reply: &RawDocument) -> Result<Step, Cause> {
        let Some(client) = self.client.sasl() else {
            if let Ok(user) = reply.get_str("user") {
                self.user.get_or_insert_with(|| user.to_owned());
            }
            return Ok(Step::Done);
        };
        let violated = |violation| Cause::from(not_proven(self.mechanism, violation));
        let reply = SaslReply::read(reply).map_err(violated)?;
        let exchange = &mut self.exchange;
        match &exchange.id {
            Some(id) if id.as_raw_bson_ref() != reply.id => {
                return Err(violated(SaslViolation::ConversationIdChanged));
            }
            Some(_) => {}
            None => exchange.id = Some(reply.id.into()),
        }
        exchange.replies += 1;
        if exchange.replies > MOST_REPLIES {
            return Err(violated(SaslViolation::TooManyReplies));
        }
        let payload = match client.is_complete() && reply.payload.is_empty() {
            true => Zeroizing::default(),
            false => client.respond(reply.payload)?,
        };
        if !reply.done {
            let mut command = with_room(COMMAND + payload.len());
            command.append(cstr!("saslContinue"), 1_i32);
            command.append(cstr!("conversationId"), RawBson::from(reply.id));
            append_payload(&mut command, &payload);
            return Ok(Step::Send(command));
        }
        // A response that the server did not wait for is part of the proof.
        match client.is_complete() && payload.is_empty() {
            true => Ok(Step::Done),
            false => Err(violated(SaslViolation::EndedEarly)),
        }
    }
}

impl MechanismClient {
    /// The client as a SASL mechanism, if it is one.
    fn sasl(&mut self) -> Option<&mut dyn SaslClient> {
        match self {
            Self::Sasl(client) => Some(client.as_mut()),
            Self::Oidc(client) => Some(client),
            Self::X509 => None,
        }
    }
}

/// The fields of a reply to `saslStart` or `saslContinue`.
struct SaslReply<'a> {
    id: RawBsonRef<'a>,
    done: bool,
    payload: &'a [u8],
}

impl<'a> SaslReply<'a> {
    fn read(reply: &'a RawDocument) -> Result<Self, SaslViolation> {
        let (mut id, mut done, mut payload) = (None, None, None);
        for (key, value) in reply.iter().map_while(Result::ok) {
            match (key.as_str(), value) {
                (
                    "conversationId",
                    RawBsonRef::Int32(_) | RawBsonRef::Int64(_) | RawBsonRef::Double(_),
                ) => id = Some(value),
                ("done", RawBsonRef::Boolean(yes)) => done = Some(yes),
                ("payload", RawBsonRef::Binary(binary)) => payload = Some(binary.bytes),
                _ => {}
            }
        }
        let payload = payload.ok_or(SaslViolation::NoPayload)?;
        if payload.len() > LARGEST_PAYLOAD {
            return Err(SaslViolation::PayloadTooLarge);
        }
        Ok(Self {
            id: id.ok_or(SaslViolation::NoConversationId)?,
            done: done.ok_or(SaslViolation::NoDone)?,
            payload,
        })
    }
}

fn append_payload(command: &mut RawDocumentBuf, payload: &[u8]) {
    command.append(
        cstr!("payload"),
        RawBinaryRef {
            subtype: BinarySubtype::Generic,
            bytes: payload,
        },
    );
}

/// An upper bound of a command's size, without the message and the name of a database.
const COMMAND: usize = 256;

/// The number of replies after which a conversation must be done: SCRAM needs three, GSSAPI a few more.
const MOST_REPLIES: u32 = 16;

/// The largest message of a server: 64 KiB. A message of SCRAM has some hundred bytes, a Kerberos token some thousand.
const LARGEST_PAYLOAD: usize = 64 << 10;

#[cfg(test)]
mod tests {
    use bson::{Binary, Bson, Document, doc};
    use mongotls_testbench::random::{Random, rounds};

    use super::*;
    use crate::cause::CauseCode;

    /// A mechanism in which the server sends this number of messages, each of which must be the word "go".
    #[derive(Debug)]
    struct Toy(u32);

    impl SaslClient for Toy {
        fn first(&mut self) -> Result<Zeroizing<Vec<u8>>, Cause> {
            Ok(Zeroizing::new(b"hello".to_vec()))
        }

        fn respond(&mut self, message: &[u8]) -> Result<Zeroizing<Vec<u8>>, Cause> {
            if message != b"go" {
                let violation = SaslViolation::UnexpectedMessage;
                return Err(not_proven(AuthMechanism::Plain, violation).into());
            }
            self.0 = self.0.saturating_sub(1);
            let answer: &[u8] = if self.0 == 0 { b"" } else { b"on" };
            Ok(Zeroizing::new(answer.to_vec()))
        }

        fn is_complete(&self) -> bool {
            self.0 == 0
        }
    }

    fn sasl(client: Box<dyn SaslClient>) -> Conversation {
        Conversation::new(
            AuthMechanism::Plain,
            "db",
            None,
            MechanismClient::Sasl(client),
        )
    }

    fn conversation(messages: u32) -> Conversation {
        let mut conversation = sasl(Box::new(Toy(messages)));
        conversation.first().unwrap();
        conversation
    }

    fn payload(bytes: &[u8]) -> Bson {
        Bson::Binary(Binary {
            subtype: BinarySubtype::Generic,
            bytes: bytes.to_vec(),
        })
    }

    fn answer(done: bool, message: &[u8]) -> Document {
        doc! { "conversationId": 1, "done": done, "payload": payload(message), "ok": 1.0 }
    }

    fn receive(conversation: &mut Conversation, reply: &Document) -> Result<Step, Cause> {
        conversation.receive(&RawDocumentBuf::try_from(reply).unwrap())
    }

    fn sent(step: Step) -> Document {
        match step {
            Step::Send(command) => Document::try_from(command).unwrap(),
            Step::Done => panic!("nothing more is sent"),
        }
    }

    #[test]
    fn commands_carry_the_messages_and_the_servers_number() {
        let mut conversation = sasl(Box::new(Toy(2)));
        let first = Document::try_from(conversation.first().unwrap()).unwrap();
        let expected = doc! {
            "saslStart": 1, "mechanism": "PLAIN", "payload": payload(b"hello"), "autoAuthorize": 1,
        };
        assert_eq!(first, expected);
        let mut reply = answer(false, b"go");
        reply.insert("conversationId", 7_i64);
        let step = receive(&mut conversation, &reply).unwrap();
        let expected =
            doc! { "saslContinue": 1, "conversationId": 7_i64, "payload": payload(b"on") };
        assert_eq!(sent(step), expected);
        reply.insert("done", true);
        assert!(matches!(receive(&mut conversation, &reply), Ok(Step::Done)));
    }

    #[test]
    fn an_old_server_gets_the_empty_message_it_waits_for() {
        let mut conversation = conversation(1);
        receive(&mut conversation, &answer(false, b"go")).unwrap();
        let step = receive(&mut conversation, &answer(false, b"")).unwrap();
        assert_eq!(sent(step).get("payload"), Some(&payload(b"")));
        let step = receive(&mut conversation, &answer(true, b"")).unwrap();
        assert!(matches!(step, Step::Done));
    }

    #[test]
    fn answers_that_break_the_rules_end_the_conversation() {
        let with = |key: &str, value: Bson| {
            let mut reply = answer(false, b"go");
            reply.insert(key, value);
            reply
        };
        let without = |key: &str| {
            let mut reply = answer(false, b"go");
            reply.remove(key);
            reply
        };
        let cases = [
            (without("conversationId"), "no conversationId"),
            (with("conversationId", "1".into()), "no conversationId"),
            (without("done"), "whether it is done"),
            (with("done", 1.into()), "whether it is done"),
            (without("payload"), "no payload"),
            (with("payload", "Z28=".into()), "no payload"),
            (with("payload", payload(&[0; (64 << 10) + 1])), "too large"),
            (with("payload", payload(b"stop")), "unexpected message"),
            (answer(true, b"go"), "ended the conversation early"),
        ];
        for (reply, why) in cases {
            let cause = receive(&mut conversation(2), &reply).unwrap_err();
            assert_eq!(cause.code(), CauseCode::ServerNotProven);
            assert!(cause.message().contains(why), "{cause}");
        }
        let mut two = conversation(2);
        receive(&mut two, &answer(false, b"go")).unwrap();
        let cause = receive(&mut two, &with("conversationId", 2.into())).unwrap_err();
        assert!(cause.message().contains("changed"), "{cause}");
    }

    #[test]
    fn commands_with_a_secret_are_written_in_one_piece() {
        /// A mechanism whose first message has this number of bytes.
        #[derive(Debug)]
        struct Long(usize);

        impl SaslClient for Long {
            fn first(&mut self) -> Result<Zeroizing<Vec<u8>>, Cause> {
                Ok(Zeroizing::new(vec![b'x'; self.0]))
            }

            fn respond(&mut self, message: &[u8]) -> Result<Zeroizing<Vec<u8>>, Cause> {
                Ok(Zeroizing::new(vec![b'x'; message.len() * self.0]))
            }

            fn is_complete(&self) -> bool {
                false
            }

            fn skips_empty_exchange(&self) -> bool {
                true
            }
        }

        let database = "d".repeat(64);
        for length in [0, 1, 7, 30, 100, 1000, 20_000] {
            let make = || {
                let client = Box::new(Long(length));
                let client = MechanismClient::Sasl(client);
                Conversation::new(AuthMechanism::MongodbOidc, &database, None, client)
            };
            let first = make().first().unwrap().into_bytes();
            let speculative = make().speculative().unwrap().into_bytes();
            let mut conversation = make();
            let Step::Send(next) = receive(&mut conversation, &answer(false, b"g")).unwrap() else {
                panic!("more is sent");
            };
            // Memory that grew would have another size.
            for (command, room) in [
                (&first, COMMAND),
                (&speculative, COMMAND + database.len()),
                (&next.into_bytes(), COMMAND),
            ] {
                assert!(command.len() > length && command.len() <= command.capacity());
                assert_eq!(command.capacity(), room + length, "{length}");
            }
        }
    }

    #[test]
    fn a_conversation_has_a_limited_number_of_replies() {
        let mut conversation = conversation(1000);
        let reply = answer(false, b"go");
        for _ in 0..MOST_REPLIES {
            sent(receive(&mut conversation, &reply).unwrap());
        }
        let cause = receive(&mut conversation, &reply).unwrap_err();
        assert!(cause.message().contains("does not end"), "{cause}");
    }

    #[test]
    fn mutated_answers_are_read_or_refused() {
        let mut random = Random::default();
        let whole = RawDocumentBuf::try_from(&answer(false, b"go")).unwrap();
        let (mut read, mut refused) = (0, 0);
        for _ in 0..rounds(100_000) {
            let mut bytes = whole.as_bytes().to_vec();
            for _ in 0..=random.below(3) {
                let at = 4 + random.below(bytes.len() - 5);
                bytes[at] = random.number().to_le_bytes()[0];
            }
            let Ok(reply) = RawDocument::from_bytes(&bytes) else {
                continue;
            };
            match conversation(1).receive(reply) {
                Ok(_) => read += 1,
                Err(_) => refused += 1,
            }
            let _ = super::super::HelloReply::read(reply).default_mechanism();
        }
        assert!(read > 0 && refused > 0, "{read} read, {refused} refused");
    }
}
