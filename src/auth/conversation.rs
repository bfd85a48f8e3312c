//! One conversation: commands to send, made of the answers that came.
//!
//! SASL mechanisms speak through `saslStart` and `saslContinue` ("Driver Authentication", "SASL
//! Mechanisms"), MONGODB-X509 through one `authenticate`. Nothing in an answer is trusted: fields have
//! their types or the conversation ends, and so it does if the server wants to go on for ever.

use std::time::Duration;

use bson::raw::{RawDocument, cstr};
use bson::spec::BinarySubtype;
use bson::{RawBinaryRef, RawBson, RawBsonRef, RawDocumentBuf, rawdoc};
use zeroize::Zeroizing;

use super::oidc::{AccessToken, Way};
use super::sasl::SaslClient;
use super::{Authenticated, UserMechanisms, server_not_proven};
use crate::cause::Cause;
use crate::options::AuthMechanism;

/// The authentication of one connection by one mechanism.
#[derive(Debug)]
pub(crate) struct Conversation {
    mechanism: AuthMechanism,
    source: String,
    user: Option<String>,
    /// What hello has said about the user.
    pub(super) user_mechanisms: UserMechanisms,
    kind: Kind,
}

#[derive(Debug)]
enum Kind {
    Sasl {
        client: Box<dyn SaslClient>,
        /// The server's number for the conversation; any number will do.
        id: Option<RawBson>,
        answers: u32,
    },
    X509,
}

/// What comes next.
#[derive(Debug)]
pub(crate) enum Step {
    /// This command, on the database [`Conversation::source`]; what the server answers goes to
    /// [`Conversation::receive`]. It may hold a secret.
    Send(RawDocumentBuf),
    /// Nothing: the connection is authenticated.
    Done,
}

impl Conversation {
    /// A conversation through SASL.
    pub(super) fn sasl(
        mechanism: AuthMechanism,
        source: &str,
        user: Option<String>,
        client: Box<dyn SaslClient>,
    ) -> Self {
        let kind = Kind::Sasl {
            client,
            id: None,
            answers: 0,
        };
        Self {
            mechanism,
            source: source.to_owned(),
            user,
            user_mechanisms: UserMechanisms::default(),
            kind,
        }
    }

    /// A conversation about the certificate of the TLS connection.
    pub(super) fn x509(user: Option<String>) -> Self {
        Self {
            mechanism: AuthMechanism::MongodbX509,
            source: "$external".to_owned(),
            user,
            user_mechanisms: UserMechanisms::default(),
            kind: Kind::X509,
        }
    }

    /// The mechanism.
    pub(crate) fn mechanism(&self) -> AuthMechanism {
        self.mechanism
    }

    /// What hello has said about the user.
    pub(crate) fn user_mechanisms(&self) -> &UserMechanisms {
        &self.user_mechanisms
    }

    /// The database that the commands go to.
    pub(crate) fn source(&self) -> &str {
        &self.source
    }

    /// What is known when the conversation is done.
    pub(crate) fn into_authenticated(self) -> Authenticated {
        let token = self.token().and_then(|(_, token)| token.cloned());
        Authenticated {
            mechanism: self.mechanism,
            source: self.source,
            user: self.user,
            token,
        }
    }

    /// The access token, and how it was come by; none of another mechanism than MONGODB-OIDC.
    pub(super) fn token(&self) -> Option<(Way, Option<&AccessToken>)> {
        match &self.kind {
            Kind::Sasl { client, .. } => client.token(),
            Kind::X509 => None,
        }
    }

    /// How long a person was waited for, which no limit counts.
    pub(crate) fn time_of_person(&self) -> Duration {
        match &self.kind {
            Kind::Sasl { client, .. } => client.time_of_person(),
            Kind::X509 => Duration::ZERO,
        }
    }

    /// The first command.
    pub(super) fn first(&mut self) -> Result<RawDocumentBuf, Cause> {
        self.first_with_room(0)
    }

    /// The first command, to which the caller may add so many bytes.
    fn first_with_room(&mut self, more: usize) -> Result<RawDocumentBuf, Cause> {
        let mechanism = self.mechanism.as_str();
        match &mut self.kind {
            Kind::Sasl { client, .. } => {
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
            Kind::X509 => {
                let mut command = rawdoc! { "authenticate": 1_i32, "mechanism": mechanism };
                if let Some(user) = &self.user {
                    command.append(cstr!("user"), user.as_str());
                }
                Ok(command)
            }
        }
    }

    /// The same as hello carries it, which names the database of a SASL conversation.
    pub(super) fn speculative(&mut self) -> Result<RawDocumentBuf, Cause> {
        let mut command = self.first_with_room(self.source.len())?;
        if let Kind::Sasl { .. } = self.kind {
            command.append(cstr!("db"), self.source.as_str());
        }
        Ok(command)
    }

    /// Reads the answer to the last command, which the server carried out.
    pub(crate) fn receive(&mut self, reply: &RawDocument) -> Result<Step, Cause> {
        let mechanism = self.mechanism;
        let (client, id, answers) = match &mut self.kind {
            Kind::Sasl {
                client,
                id,
                answers,
            } => (client, id, answers),
            Kind::X509 => {
                if let Ok(user) = reply.get_str("user") {
                    self.user.get_or_insert_with(|| user.to_owned());
                }
                return Ok(Step::Done);
            }
        };
        let broken = |what: &str| server_not_proven(mechanism, what);
        let answer = SaslAnswer::read(reply).map_err(broken)?;
        match id {
            Some(id) if id.as_raw_bson_ref() != answer.id => {
                return Err(broken("it changed the conversationId"));
            }
            Some(_) => {}
            None => *id = Some(answer.id.into()),
        }
        *answers += 1;
        if *answers > MOST_ANSWERS {
            return Err(broken("it does not come to an end"));
        }
        let payload = match client.is_complete() && answer.payload.is_empty() {
            true => Zeroizing::default(),
            false => client.answer(answer.payload)?,
        };
        if !answer.done {
            let mut command = with_room(COMMAND + payload.len());
            command.append(cstr!("saslContinue"), 1_i32);
            command.append(cstr!("conversationId"), RawBson::from(answer.id));
            append_payload(&mut command, &payload);
            return Ok(Step::Send(command));
        }
        // What it has not waited for is part of the proof.
        match client.is_complete() && payload.is_empty() {
            true => Ok(Step::Done),
            false => Err(broken("it ended the conversation early")),
        }
    }
}

/// The fields of an answer to `saslStart` or `saslContinue`.
struct SaslAnswer<'a> {
    id: RawBsonRef<'a>,
    done: bool,
    payload: &'a [u8],
}

impl<'a> SaslAnswer<'a> {
    fn read(reply: &'a RawDocument) -> Result<Self, &'static str> {
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
        let payload = payload.ok_or("its answer has no payload")?;
        if payload.len() > LARGEST_PAYLOAD {
            return Err("its message is too large");
        }
        Ok(Self {
            id: id.ok_or("its answer has no conversationId")?,
            done: done.ok_or("its answer does not say whether it is done")?,
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

/// An empty document that takes so many bytes before it moves: memory that grows leaves its old content
/// behind, and with it a secret.
pub(crate) fn with_room(bytes: usize) -> RawDocumentBuf {
    let mut empty = Vec::with_capacity(bytes);
    empty.extend_from_slice(&[5, 0, 0, 0, 0]);
    RawDocumentBuf::from_bytes(empty).unwrap_or_default()
}

/// More than what a command takes beside the message, and the name of a database.
const COMMAND: usize = 256;

/// How many answers a server may take to the end: SCRAM has three, GSSAPI a few more.
const MOST_ANSWERS: u32 = 16;

/// The largest message of a server: 64 KiB. Those of SCRAM have some hundred bytes, a Kerberos token has
/// some thousand.
const LARGEST_PAYLOAD: usize = 64 << 10;

#[cfg(test)]
mod tests {
    use bson::{Binary, Bson, Document, doc};
    use mongotls_testbench::random::{Random, rounds};

    use super::*;
    use crate::cause::CauseCode;

    /// A mechanism of so many messages of the server, each of which must be the word "go".
    #[derive(Debug)]
    struct Toy(u32);

    impl SaslClient for Toy {
        fn first(&mut self) -> Result<Zeroizing<Vec<u8>>, Cause> {
            Ok(Zeroizing::new(b"hello".to_vec()))
        }

        fn answer(&mut self, message: &[u8]) -> Result<Zeroizing<Vec<u8>>, Cause> {
            if message != b"go" {
                return Err(server_not_proven(AuthMechanism::Plain, "not the word"));
            }
            self.0 = self.0.saturating_sub(1);
            let answer: &[u8] = if self.0 == 0 { b"" } else { b"on" };
            Ok(Zeroizing::new(answer.to_vec()))
        }

        fn is_complete(&self) -> bool {
            self.0 == 0
        }
    }

    fn conversation(messages: u32) -> Conversation {
        let mut conversation =
            Conversation::sasl(AuthMechanism::Plain, "db", None, Box::new(Toy(messages)));
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
        let mut conversation =
            Conversation::sasl(AuthMechanism::Plain, "db", None, Box::new(Toy(2)));
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
    fn an_old_server_gets_the_empty_message_that_it_waits_for() {
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
            (with("payload", payload(b"stop")), "not the word"),
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
        /// A mechanism whose first message is of so many bytes.
        #[derive(Debug)]
        struct Long(usize);

        impl SaslClient for Long {
            fn first(&mut self) -> Result<Zeroizing<Vec<u8>>, Cause> {
                Ok(Zeroizing::new(vec![b'x'; self.0]))
            }

            fn answer(&mut self, message: &[u8]) -> Result<Zeroizing<Vec<u8>>, Cause> {
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
                Conversation::sasl(AuthMechanism::MongodbOidc, &database, None, client)
            };
            let first = make().first().unwrap().into_bytes();
            let speculative = make().speculative().unwrap().into_bytes();
            let mut conversation = make();
            let Step::Send(next) = receive(&mut conversation, &answer(false, b"g")).unwrap() else {
                panic!("more is sent");
            };
            // Memory that grew would be another size.
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
    fn a_server_cannot_go_on_for_ever() {
        let mut conversation = conversation(1000);
        let reply = answer(false, b"go");
        for _ in 0..MOST_ANSWERS {
            sent(receive(&mut conversation, &reply).unwrap());
        }
        let cause = receive(&mut conversation, &reply).unwrap_err();
        assert!(cause.message().contains("an end"), "{cause}");
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
            let _ = super::super::Offered::read(reply).default_mechanism();
        }
        assert!(read > 0 && refused > 0, "{read} read, {refused} refused");
    }
}
