//! What a client says to a SOCKS5 proxy, and what it makes of the answers, as bytes alone.
//!
//! A [`Conversation`] gives out [`Turn`]s: what to send, and how many bytes the answer to it has. It never asks for a
//! byte beyond the proxy's last answer, since what follows is the server's. No answer is longer than
//! [`LONGEST_ANSWER`], and the longest conversation has five turns. Sources: RFC 1928 §3 to §6, RFC 1929 §2.

use std::net::IpAddr;

use zeroize::Zeroizing;

use crate::options::Secret;

/// The longest answer: a name of 255 bytes, and a port.
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

/// What to send next, and how long the answer is.
#[derive(Debug)]
pub(super) struct Turn {
    /// May hold the password.
    pub(super) send: Zeroizing<Vec<u8>>,
    /// Up to [`LONGEST_ANSWER`].
    pub(super) expect: usize,
}

/// How far a conversation has come.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Step {
    /// The proxy chooses how the client authenticates.
    Greeting,
    /// The proxy looks at user and password.
    Login,
    /// The proxy connects to the server.
    Connect,
}

/// Why the proxy does not connect to the server, by what it said.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Refusal {
    /// What it said first is not SOCKS5.
    NotSocks5,
    /// It takes none of the methods of authentication that were offered.
    NoMethod,
    /// It chose a method that was not offered.
    NotOffered(u8),
    /// It does not know the user, or not with this password.
    Login,
    /// It answered with this code, which is not 0.
    Reply(u8),
    /// It broke the rules in this way.
    Broken(String),
}

/// A text does not fit into the one byte that SOCKS5 has for its length.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct TooLong(pub(super) &'static str);

/// One conversation, from the greeting to the connection with the server.
pub(super) struct Conversation {
    /// The message with user and password; none without a user.
    login: Option<Zeroizing<Vec<u8>>>,
    /// The message that asks for the server.
    request: Vec<u8>,
    awaited: Awaited,
}

/// Which answer comes next.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Awaited {
    Method,
    Login,
    /// The beginning of the reply, up to the type of the address in it.
    Reply,
    /// The length of the name in it.
    NameLength,
    /// The rest of it, with which it ends.
    Rest,
}

impl Conversation {
    /// A conversation that asks for `port` of `host`. A name is the proxy's to resolve; an IP address is sent as one,
    /// unless it has a zone, which SOCKS5 has no place for.
    pub(super) fn new(
        host: &str,
        port: u16,
        credential: Option<&(String, Secret)>,
    ) -> Result<Self, TooLong> {
        let login = |(user, password): &(String, Secret)| {
            let user = prefixed(user, "proxyUsername")?;
            let password = Zeroizing::new(prefixed(password.expose(), "proxyPassword")?);
            // In one piece: memory that grows leaves its old content behind.
            Ok(Zeroizing::new(
                [&[LOGIN_VERSION][..], &user, &password].concat(),
            ))
        };
        let (kind, address) = match host.parse() {
            Ok(IpAddr::V4(address)) => (IPV4, address.octets().to_vec()),
            Ok(IpAddr::V6(address)) => (IPV6, address.octets().to_vec()),
            Err(_) => (NAME, prefixed(host, "the host name of the server")?),
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

    /// How far it has come.
    pub(super) fn step(&self) -> Step {
        match self.awaited {
            Awaited::Method => Step::Greeting,
            Awaited::Login => Step::Login,
            Awaited::Reply | Awaited::NameLength | Awaited::Rest => Step::Connect,
        }
    }

    /// The turn after `answer`, which is as long as was expected; none once the way to the server is free.
    pub(super) fn next(&mut self, answer: &[u8]) -> Result<Option<Turn>, Refusal> {
        match (self.awaited, answer) {
            (Awaited::Method, [VERSION, method]) => self.authenticate(*method).map(Some),
            (Awaited::Method, _) => Err(Refusal::NotSocks5),
            (Awaited::Login, [LOGIN_VERSION, 0]) => Ok(Some(self.ask())),
            (Awaited::Login, [LOGIN_VERSION, _]) => Err(Refusal::Login),
            (Awaited::Login, [version, ..]) => Err(broken(&format!(
                "it answers to user and password in version {version}, not 1"
            ))),
            (Awaited::Reply, [VERSION, 0, 0, kind]) => self.address(*kind).map(Some),
            (Awaited::Reply, [VERSION, 0, ..]) => Err(broken("its reply has a reserved byte set")),
            (Awaited::Reply, [VERSION, code, ..]) => Err(Refusal::Reply(*code)),
            (Awaited::Reply, [version, ..]) => {
                Err(broken(&format!("it replies in version {version} of SOCKS")))
            }
            (Awaited::NameLength, [length]) => {
                Ok(Some(self.receive(Awaited::Rest, usize::from(*length) + 2)))
            }
            (Awaited::Rest, _) => Ok(None),
            (_, _) => Err(broken("its answer has a length that nobody asked for")),
        }
    }

    fn authenticate(&mut self, method: u8) -> Result<Turn, Refusal> {
        match (method, &self.login) {
            (NO_AUTHENTICATION, _) => Ok(self.ask()),
            (USER_AND_PASSWORD, Some(login)) => {
                self.awaited = Awaited::Login;
                Ok(Turn {
                    send: login.clone(),
                    expect: 2,
                })
            }
            (NO_ACCEPTABLE_METHOD, _) => Err(Refusal::NoMethod),
            (method, _) => Err(Refusal::NotOffered(method)),
        }
    }

    /// Asks for the server.
    fn ask(&mut self) -> Turn {
        self.awaited = Awaited::Reply;
        Turn {
            send: Zeroizing::new(self.request.clone()),
            expect: 4,
        }
    }

    /// The rest of a reply: the address from which the proxy has connected, and its port.
    fn address(&mut self, kind: u8) -> Result<Turn, Refusal> {
        match kind {
            IPV4 => Ok(self.receive(Awaited::Rest, 4 + 2)),
            IPV6 => Ok(self.receive(Awaited::Rest, 16 + 2)),
            NAME => Ok(self.receive(Awaited::NameLength, 1)),
            kind => Err(broken(&format!(
                "its reply has an address of the unknown type {kind}"
            ))),
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

/// The text behind a byte that says how long it is.
fn prefixed(text: &str, what: &'static str) -> Result<Vec<u8>, TooLong> {
    let length = u8::try_from(text.len()).map_err(|_| TooLong(what))?;
    Ok([&[length], text.as_bytes()].concat())
}

fn broken(how: &str) -> Refusal {
    Refusal::Broken(how.to_owned())
}

#[cfg(test)]
mod tests {
    use mongotls_testbench::random::{Random, rounds};

    use super::*;

    fn bob() -> (String, Secret) {
        ("bob".to_owned(), Secret::new("pw"))
    }

    /// A conversation of `host` and port 27017 with Bob, or with nobody.
    fn of(host: &str, with_user: bool) -> Conversation {
        Conversation::new(host, 27017, with_user.then(bob).as_ref()).unwrap()
    }

    /// All that is sent to a proxy with these answers, and how it ends. Each answer is as long as was expected.
    fn run(
        mut conversation: Conversation,
        answers: &[&[u8]],
    ) -> (Vec<Vec<u8>>, Result<(), Refusal>) {
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
        // A proxy that asks for nobody is not shown the password.
        let (sent, end) = run(of("db", true), &[&[5, 0], reply, rest]);
        assert_eq!(
            (sent, end),
            (vec![greeting.to_vec(), ASK_FOR_NAME.to_vec()], Ok(()))
        );
    }

    #[test]
    fn names_and_addresses_are_asked_for_as_what_they_are() {
        let long = "n".repeat(255);
        for (host, expected) in [
            ("db", b"\x03\x02db".to_vec()),
            ("192.0.2.7", b"\x01\xC0\x00\x02\x07".to_vec()),
            (
                "2001:db8::7",
                b"\x04\x20\x01\x0D\xB8\0\0\0\0\0\0\0\0\0\0\0\x07".to_vec(),
            ),
            // Only this host knows the zone: it is left to a proxy that may be on it.
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
    fn what_has_no_place_in_a_message_is_named() {
        let long = "x".repeat(256);
        let of = |host: &str, user: &str, password: &str| {
            let credential = (user.to_owned(), Secret::new(password));
            Conversation::new(host, 1, Some(&credential)).err()
        };
        let fits = &long[..255];
        assert_eq!(of(fits, fits, fits), None);
        let host = "the host name of the server";
        assert_eq!(of(&long, "u", "p"), Some(TooLong(host)));
        assert_eq!(of("h", &long, "p"), Some(TooLong("proxyUsername")));
        assert_eq!(of("h", "u", &long), Some(TooLong("proxyPassword")));
    }

    #[test]
    fn each_form_of_a_good_reply_is_read_to_its_end_and_no_further() {
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
    fn each_refusal_is_told_from_the_others() {
        let broken = |how: &str| Refusal::Broken(how.to_owned());
        let method: &[u8] = &[5, 0];
        let cases: &[(bool, &[&[u8]], Refusal)] = &[
            (false, &[b"HT"], Refusal::NotSocks5),
            (false, &[&[4, 0]], Refusal::NotSocks5),
            (false, &[&[5, 0xFF]], Refusal::NoMethod),
            (true, &[&[5, 0xFF]], Refusal::NoMethod),
            (false, &[&[5, 2]], Refusal::NotOffered(2)),
            (true, &[&[5, 1]], Refusal::NotOffered(1)),
            (true, &[&[5, 2], &[1, 1]], Refusal::Login),
            (true, &[&[5, 2], &[1, 0xFF]], Refusal::Login),
            (
                true,
                &[&[5, 2], &[5, 0]],
                broken("it answers to user and password in version 5, not 1"),
            ),
            (false, &[method, &[5, 1, 0, 1]], Refusal::Reply(1)),
            // A refusal counts whatever follows it.
            (false, &[method, &[5, 0xFE, 9, 9]], Refusal::Reply(0xFE)),
            (
                false,
                &[method, &[4, 0, 0, 1]],
                broken("it replies in version 4 of SOCKS"),
            ),
            (
                false,
                &[method, &[5, 0, 1, 1]],
                broken("its reply has a reserved byte set"),
            ),
            (
                false,
                &[method, &[5, 0, 0, 2]],
                broken("its reply has an address of the unknown type 2"),
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
        assert_eq!(conversation.step(), Step::Greeting);
        conversation.next(&[5, 2]).unwrap();
        assert_eq!(conversation.step(), Step::Login);
        conversation.next(&[1, 0]).unwrap();
        let answers: [&[u8]; 2] = [&[5, 0, 0, 3], &[1]];
        for answer in answers {
            assert_eq!(conversation.step(), Step::Connect);
            conversation.next(answer).unwrap();
        }
        assert_eq!(conversation.step(), Step::Connect);
        assert!(conversation.next(b"n\0\0").unwrap().is_none());
    }

    /// Whatever a proxy answers, in whatever pieces: the conversation ends, and asks for few bytes.
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
