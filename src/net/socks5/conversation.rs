//! The client's side of a conversation with a SOCKS5 proxy, as bytes only.
//!
//! A [`Socks5Conversation`] returns [`Turn`]s: the bytes to send, and the length of the reply. It never requests a byte
//! beyond the proxy's last reply, because the next bytes belong to the server. No reply is longer than
//! [`LONGEST_ANSWER`], and the longest conversation has five turns. Sources: RFC 1928 §3 to §6, RFC 1929 §2.

use std::net::IpAddr;

use zeroize::Zeroizing;

use crate::options::ProxyCredential;
use crate::reason::net::{ProxyRefusal, ProxyStep, ProxyText, ProxyViolation};

/// The longest reply: a name of 255 bytes, and a port.
pub(super) const LONGEST_ANSWER: usize = 255 + 2;

const VERSION: u8 = 5;
/// The version of the exchange of user and password (RFC 1929 §2).
const LOGIN_VERSION: u8 = 1;
const NO_AUTHENTICATION: u8 = 0;
const USER_AND_PASSWORD: u8 = 2;
const NO_ACCEPTABLE_METHOD: u8 = 0xFF;
const CONNECT: u8 = 1;
const IPV4: u8 = 1;
const NAME: u8 = 3;
const IPV6: u8 = 4;

/// The bytes to send next, and the length of the reply.
#[derive(Debug)]
pub(super) struct Turn {
    /// May contain the password.
    pub(super) send: Zeroizing<Vec<u8>>,
    /// At most [`LONGEST_ANSWER`].
    pub(super) expect: usize,
}

/// One conversation, from the greeting to the connection with the server.
pub(super) struct Socks5Conversation {
    /// The message with user name and password, if there is a user.
    login: Option<Zeroizing<Vec<u8>>>,
    /// The message with the request to connect to the server.
    request: Vec<u8>,
    awaited: Awaited,
}

/// The next reply of the proxy.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Awaited {
    Method,
    Login,
    /// The beginning of the reply, up to the type of the address in it.
    Reply,
    /// The length of the name in the reply.
    NameLength,
    /// The rest of the reply, which ends the conversation.
    Rest,
}

impl Socks5Conversation {
    /// Creates a conversation that requests `port` of `host`. The proxy resolves a name; an IP address is sent as an
    /// address, unless it has a zone, which SOCKS5 cannot express.
    ///
    /// # Errors
    /// The text that is too long for SOCKS5.
    pub(super) fn new(
        host: &str,
        port: u16,
        credential: Option<&ProxyCredential>,
    ) -> Result<Self, ProxyText> {
        let login = |credential: &ProxyCredential| {
            let user = prefixed(&credential.username, ProxyText::User)?;
            let password =
                Zeroizing::new(prefixed(credential.password.expose(), ProxyText::Password)?);
            // Allocated at once: memory that grows leaves its old content behind.
            Ok(Zeroizing::new(
                [&[LOGIN_VERSION][..], &user, &password].concat(),
            ))
        };
        let (kind, address) = match host.parse() {
            Ok(IpAddr::V4(address)) => (IPV4, address.octets().to_vec()),
            Ok(IpAddr::V6(address)) => (IPV6, address.octets().to_vec()),
            Err(_) => (NAME, prefixed(host, ProxyText::HostName)?),
        };
        let head = [VERSION, CONNECT, 0, kind];
        Ok(Self {
            login: credential.map(login).transpose()?,
            request: [&head[..], &address, &port.to_be_bytes()].concat(),
            awaited: Awaited::Method,
        })
    }

    /// The first turn.
    pub(super) fn greeting(&self) -> Turn {
        let methods: &[u8] = match self.login {
            Some(_) => &[VERSION, 2, NO_AUTHENTICATION, USER_AND_PASSWORD],
            None => &[VERSION, 1, NO_AUTHENTICATION],
        };
        Turn {
            send: Zeroizing::new(methods.to_vec()),
            expect: 2,
        }
    }

    /// The current step.
    pub(super) fn step(&self) -> ProxyStep {
        match self.awaited {
            Awaited::Method => ProxyStep::Greeting,
            Awaited::Login => ProxyStep::Login,
            Awaited::Reply | Awaited::NameLength | Awaited::Rest => ProxyStep::Connect,
        }
    }

    /// The turn after `answer`, which has the expected length; `None` when the proxy is connected to the server.
    pub(super) fn next(&mut self, answer: &[u8]) -> Result<Option<Turn>, ProxyRefusal> {
        match (self.awaited, answer) {
            (Awaited::Method, [VERSION, method]) => self.authenticate(*method).map(Some),
            (Awaited::Method, _) => Err(ProxyRefusal::NotSocks5),
            (Awaited::Login, [LOGIN_VERSION, 0]) => Ok(Some(self.request_connection())),
            (Awaited::Login, [LOGIN_VERSION, _]) => Err(ProxyRefusal::Login),
            (Awaited::Login, [version, ..]) => Err(ProxyRefusal::Violation(
                ProxyViolation::LoginVersion(*version),
            )),
            (Awaited::Reply, [VERSION, 0, 0, kind]) => self.address(*kind).map(Some),
            (Awaited::Reply, [VERSION, 0, ..]) => {
                Err(ProxyRefusal::Violation(ProxyViolation::ReservedByte))
            }
            (Awaited::Reply, [VERSION, code, ..]) => Err(ProxyRefusal::Reply(*code)),
            (Awaited::Reply, [version, ..]) => Err(ProxyRefusal::Violation(
                ProxyViolation::ReplyVersion(*version),
            )),
            (Awaited::NameLength, [length]) => {
                Ok(Some(self.receive(Awaited::Rest, usize::from(*length) + 2)))
            }
            (Awaited::Rest, _) => Ok(None),
            (_, _) => Err(ProxyRefusal::Violation(ProxyViolation::Length)),
        }
    }

    fn authenticate(&mut self, method: u8) -> Result<Turn, ProxyRefusal> {
        match (method, &self.login) {
            (NO_AUTHENTICATION, _) => Ok(self.request_connection()),
            (USER_AND_PASSWORD, Some(login)) => {
                self.awaited = Awaited::Login;
                Ok(Turn {
                    send: login.clone(),
                    expect: 2,
                })
            }
            (NO_ACCEPTABLE_METHOD, _) => Err(ProxyRefusal::NoMethod),
            (method, _) => Err(ProxyRefusal::NotOffered(method)),
        }
    }

    /// Sends the request to connect to the server.
    fn request_connection(&mut self) -> Turn {
        self.awaited = Awaited::Reply;
        Turn {
            send: Zeroizing::new(self.request.clone()),
            expect: 4,
        }
    }

    /// The rest of a reply: the address from which the proxy has connected, and its port.
    fn address(&mut self, kind: u8) -> Result<Turn, ProxyRefusal> {
        match kind {
            IPV4 => Ok(self.receive(Awaited::Rest, 4 + 2)),
            IPV6 => Ok(self.receive(Awaited::Rest, 16 + 2)),
            NAME => Ok(self.receive(Awaited::NameLength, 1)),
            kind => Err(ProxyRefusal::Violation(ProxyViolation::AddressType(kind))),
        }
    }

    fn receive(&mut self, awaited: Awaited, expect: usize) -> Turn {
        self.awaited = awaited;
        Turn {
            send: Zeroizing::default(),
            expect,
        }
    }
}

/// Encodes a text after a byte with its length.
fn prefixed(text: &str, what: ProxyText) -> Result<Vec<u8>, ProxyText> {
    let length = u8::try_from(text.len()).map_err(|_| what)?;
    Ok([&[length], text.as_bytes()].concat())
}

#[cfg(test)]
mod tests {
    use mongotls_testbench::random::{Random, rounds};

    use super::*;
    use crate::options::Secret;

    fn credential(username: &str, password: &str) -> ProxyCredential {
        ProxyCredential {
            username: username.to_owned(),
            password: Secret::new(password),
        }
    }

    fn bob() -> ProxyCredential {
        credential("bob", "pw")
    }

    /// A conversation for `host` and port 27017, with the user Bob or without a user.
    fn of(host: &str, with_user: bool) -> Socks5Conversation {
        Socks5Conversation::new(host, 27017, with_user.then(bob).as_ref()).unwrap()
    }

    /// The bytes that are sent to a proxy with these replies, and the result. Each reply has the expected length.
    fn run(
        mut conversation: Socks5Conversation,
        answers: &[&[u8]],
    ) -> (Vec<Vec<u8>>, Result<(), ProxyRefusal>) {
        let mut turn = conversation.greeting();
        let mut sent = vec![turn.send.to_vec()];
        for (at, answer) in answers.iter().enumerate() {
            assert_eq!(answer.len(), turn.expect, "answer {at}");
            turn = match conversation.next(answer) {
                Ok(Some(turn)) => turn,
                Ok(None) => {
                    assert_eq!(at + 1, answers.len(), "it ended before the last answer");
                    return (sent, Ok(()));
                }
                Err(refusal) => return (sent, Err(refusal)),
            };
            if !turn.send.is_empty() {
                sent.push(turn.send.to_vec());
            }
        }
        panic!("it expects {} bytes more", turn.expect);
    }

    const ASK_FOR_NAME: &[u8] = b"\x05\x01\x00\x03\x02db\x69\x89";
    const IPV4_REPLY: [&[u8]; 2] = [&[5, 0, 0, 1], &[10, 0, 0, 7, 0x1F, 0x90]];

    #[test]
    fn without_a_user_no_authentication_is_all_that_is_offered() {
        let (sent, end) = run(of("db", false), &[&[5, 0], IPV4_REPLY[0], IPV4_REPLY[1]]);
        assert_eq!(end, Ok(()));
        assert_eq!(sent, [b"\x05\x01\x00".as_slice(), ASK_FOR_NAME]);
    }

    #[test]
    fn with_a_user_the_proxy_has_the_choice() {
        let greeting: &[u8] = &[5, 2, 0, 2];
        let login: &[u8] = b"\x01\x03bob\x02pw";
        let [reply, rest] = IPV4_REPLY;
        let (sent, end) = run(of("db", true), &[&[5, 2], &[1, 0], reply, rest]);
        assert_eq!(
            (sent, end),
            (
                vec![greeting.to_vec(), login.to_vec(), ASK_FOR_NAME.to_vec()],
                Ok(())
            )
        );
        // A proxy that requests no user does not receive the password.
        let (sent, end) = run(of("db", true), &[&[5, 0], reply, rest]);
        assert_eq!(
            (sent, end),
            (vec![greeting.to_vec(), ASK_FOR_NAME.to_vec()], Ok(()))
        );
    }

    #[test]
    fn names_and_addresses_are_sent_in_their_own_form() {
        let long = "n".repeat(255);
        for (host, expected) in [
            ("db", b"\x03\x02db".to_vec()),
            ("192.0.2.7", b"\x01\xC0\x00\x02\x07".to_vec()),
            (
                "2001:db8::7",
                b"\x04\x20\x01\x0D\xB8\0\0\0\0\0\0\0\0\0\0\0\x07".to_vec(),
            ),
            // Only this host knows the zone: the name is sent to a proxy that may be on this host.
            ("fe80::1%lo", b"\x03\x0Afe80::1%lo".to_vec()),
            ("192.0.2", b"\x03\x07192.0.2".to_vec()),
            (&long, [b"\x03\xFF", long.as_bytes()].concat()),
        ] {
            let request = of(host, false).request;
            let expected = [b"\x05\x01\x00", &*expected, &[0x69, 0x89]].concat();
            assert_eq!(request, expected, "{host}");
        }
    }

    #[test]
    fn values_too_long_for_a_message_are_named() {
        let long = "x".repeat(256);
        let of = |host: &str, user: &str, password: &str| {
            let credential = credential(user, password);
            Socks5Conversation::new(host, 1, Some(&credential)).err()
        };
        let fits = &long[..255];
        assert_eq!(of(fits, fits, fits), None);
        assert_eq!(of(&long, "u", "p"), Some(ProxyText::HostName));
        assert_eq!(of("h", &long, "p"), Some(ProxyText::User));
        assert_eq!(of("h", "u", &long), Some(ProxyText::Password));
    }

    #[test]
    fn each_valid_reply_is_read_exactly_to_its_end() {
        let long = [vec![b'n'; 255], vec![0, 80]].concat();
        let rests: [&[&[u8]]; 4] = [
            &[&[5, 0, 0, 1], &[0; 6]],
            &[&[5, 0, 0, 4], &[0; 18]],
            &[&[5, 0, 0, 3], &[0], &[0, 80]],
            &[&[5, 0, 0, 3], &[255], &long],
        ];
        for rest in rests {
            let answers = [&[&[5_u8, 0] as &[u8]], rest].concat();
            assert_eq!(run(of("db", false), &answers).1, Ok(()), "{rest:?}");
        }
        assert_eq!(long.len(), LONGEST_ANSWER);
    }

    #[test]
    fn each_refusal_is_distinguished() {
        let broken = ProxyRefusal::Violation;
        let method: &[u8] = &[5, 0];
        let cases: &[(bool, &[&[u8]], ProxyRefusal)] = &[
            (false, &[b"HT"], ProxyRefusal::NotSocks5),
            (false, &[&[4, 0]], ProxyRefusal::NotSocks5),
            (false, &[&[5, 0xFF]], ProxyRefusal::NoMethod),
            (true, &[&[5, 0xFF]], ProxyRefusal::NoMethod),
            (false, &[&[5, 2]], ProxyRefusal::NotOffered(2)),
            (true, &[&[5, 1]], ProxyRefusal::NotOffered(1)),
            (true, &[&[5, 2], &[1, 1]], ProxyRefusal::Login),
            (true, &[&[5, 2], &[1, 0xFF]], ProxyRefusal::Login),
            (
                true,
                &[&[5, 2], &[5, 0]],
                broken(ProxyViolation::LoginVersion(5)),
            ),
            (false, &[method, &[5, 1, 0, 1]], ProxyRefusal::Reply(1)),
            // A rejection counts, even if more bytes follow it.
            (
                false,
                &[method, &[5, 0xFE, 9, 9]],
                ProxyRefusal::Reply(0xFE),
            ),
            (
                false,
                &[method, &[4, 0, 0, 1]],
                broken(ProxyViolation::ReplyVersion(4)),
            ),
            (
                false,
                &[method, &[5, 0, 1, 1]],
                broken(ProxyViolation::ReservedByte),
            ),
            (
                false,
                &[method, &[5, 0, 0, 2]],
                broken(ProxyViolation::AddressType(2)),
            ),
        ];
        for (with_user, answers, expected) in cases {
            let (_, end) = run(of("db", *with_user), answers);
            assert_eq!(end, Err(expected.clone()), "{answers:?}");
        }
    }

    #[test]
    fn each_step_has_its_name() {
        let mut conversation = of("db", true);
        assert_eq!(conversation.step(), ProxyStep::Greeting);
        conversation.next(&[5, 2]).unwrap();
        assert_eq!(conversation.step(), ProxyStep::Login);
        conversation.next(&[1, 0]).unwrap();
        let answers: [&[u8]; 2] = [&[5, 0, 0, 3], &[1]];
        for answer in answers {
            assert_eq!(conversation.step(), ProxyStep::Connect);
            conversation.next(answer).unwrap();
        }
        assert_eq!(conversation.step(), ProxyStep::Connect);
        assert!(conversation.next(b"n\0\0").unwrap().is_none());
    }

    /// For any replies of a proxy, in pieces of any size: the conversation ends, and requests few bytes.
    #[test]
    fn random_answers_end_in_few_short_turns() {
        let good: [&[u8]; 5] = [&[5, 2], &[1, 0], &[5, 0, 0, 3], &[9], &[0; 11]];
        let mut random = Random::default();
        let mut passed = 0;
        for _ in 0..rounds(100_000) {
            let mut conversation = of("db", random.below(2) == 0);
            let mut expect = conversation.greeting().expect;
            let mut ended = false;
            for turn in good {
                assert!((1..=LONGEST_ANSWER).contains(&expect), "{expect}");
                let mut answer = match random.below(4) {
                    0 => random.bytes(expect),
                    1 => {
                        let length = random.below(LONGEST_ANSWER + 9);
                        random.bytes(length)
                    }
                    _ => turn.to_vec(),
                };
                if random.below(4) == 0 && !answer.is_empty() {
                    let at = random.below(answer.len());
                    answer[at] ^= 1 << random.below(8);
                }
                match conversation.next(&answer) {
                    Ok(Some(turn)) => expect = turn.expect,
                    Ok(None) => {
                        passed += 1;
                        ended = true;
                        break;
                    }
                    Err(_) => {
                        ended = true;
                        break;
                    }
                }
            }
            assert!(ended, "more than five turns");
        }
        assert!(passed > 0, "no conversation came to a good end");
    }
}
