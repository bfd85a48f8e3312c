//! Connections through a SOCKS5 proxy.
//!
//! In: a socket that is connected to the proxy. Out: the same socket, connected to the server, before any byte of the
//! server was read. The messages are in `conversation`, without any I/O. All work runs on the caller's thread and ends
//! at the deadline or when the [`Socket`] is interrupted. Source: "SOCKS5 Support".

mod conversation;

use std::io::{self, Read, Write};
use std::time::{Duration, Instant};

use self::conversation::{LONGEST_ANSWER, Socks5Conversation};
use super::Unreachable;
use crate::error::Stage;
use crate::options::ProxyOptions;
use crate::reason::io::OsError;
use crate::reason::net::{NetFailure, ProxyFailure, ProxyProblem, ProxyRefusal};
use crate::socket::Socket;
use crate::time::Deadline;

/// Sends the proxy at the other end of `socket` the request to connect to `port` of `host`.
///
/// User and password are sent in the clear, if the proxy requests them.
pub(super) fn pass(
    mut socket: Socket,
    proxy: &ProxyOptions,
    host: &str,
    port: u16,
    deadline: &Deadline,
) -> Result<Socket, Unreachable> {
    let unreachable = |problem| Unreachable {
        stage: Stage::Connect,
        failure: Box::new(NetFailure::Proxy(ProxyFailure {
            proxy: proxy.address(),
            user: proxy
                .credential
                .as_ref()
                .map(|credential| credential.username.clone()),
            problem,
        })),
    };
    let mut conversation =
        Socks5Conversation::new(host, port, proxy.credential.as_ref()).map_err(|text| {
            let limit = ProxyOptions::MAX_LENGTH;
            unreachable(ProxyProblem::TooLong { text, limit })
        })?;
    socket.set_deadline(Some(*deadline));
    let Err(end) = converse(&mut socket, &mut conversation) else {
        socket.set_deadline(None);
        return Ok(socket);
    };
    let step = conversation.step();
    Err(unreachable(match end {
        ConversationError::Io(error) => ProxyProblem::NoAnswer {
            step,
            error: OsError::from(&error),
            timeout: deadline.elapsed(),
        },
        ConversationError::Refused(ProxyRefusal::NotSocks5, mut first_bytes) => {
            let soon = Deadline::after(Instant::now(), Some(SNIFF_TIME), deadline.elapsed().kind);
            socket.set_deadline(Some(deadline.earlier(soon)));
            // Further bytes help to recognise the peer. It is no error if none follow.
            let _ = socket.take(SNIFF_LENGTH).read_to_end(&mut first_bytes);
            ProxyProblem::NotSocks5 { first_bytes }
        }
        ConversationError::Refused(refusal, _) => ProxyProblem::Refused {
            step,
            refusal,
            host: host.to_owned(),
        },
    }))
}

/// The error if the proxy itself cannot be reached.
pub(super) fn out_of_reach(
    proxy: &ProxyOptions,
    unreachable: Unreachable,
    deadline: &Deadline,
) -> Unreachable {
    Unreachable {
        stage: unreachable.stage,
        failure: Box::new(NetFailure::ProxyUnreachable {
            proxy: proxy.address(),
            failure: unreachable.failure,
            timeout: deadline.elapsed(),
        }),
    }
}

/// The time and the number of bytes for which this client reads from a peer that is not a SOCKS5 proxy.
const SNIFF_TIME: Duration = Duration::from_millis(100);
const SNIFF_LENGTH: u64 = 14;

/// The reason why a conversation ended early.
#[derive(Debug)]
enum ConversationError {
    /// The socket failed, or the deadline passed.
    Io(io::Error),
    /// The proxy rejected the request, with this reply.
    Refused(ProxyRefusal, Vec<u8>),
}

/// Runs a conversation, turn by turn.
fn converse(
    stream: &mut (impl Read + Write),
    conversation: &mut Socks5Conversation,
) -> Result<(), ConversationError> {
    let mut room = [0; LONGEST_ANSWER];
    let mut turn = Some(conversation.greeting());
    while let Some(now) = turn {
        // An empty write would be harmless, but costs a system call.
        if !now.send.is_empty() {
            stream.write_all(&now.send).map_err(ConversationError::Io)?;
        }
        let answer = &mut room[..now.expect];
        stream.read_exact(answer).map_err(ConversationError::Io)?;
        turn = conversation
            .next(answer)
            .map_err(|refusal| ConversationError::Refused(refusal, answer.to_vec()))?;
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A proxy that sends all its replies at once.
    struct Eager {
        replies: io::Cursor<Vec<u8>>,
        received: Vec<u8>,
    }

    impl Read for Eager {
        fn read(&mut self, buf: &mut [u8]) -> io::Result<usize> {
            self.replies.read(buf)
        }
    }

    impl Write for Eager {
        fn write(&mut self, buf: &[u8]) -> io::Result<usize> {
            self.received.extend_from_slice(buf);
            Ok(buf.len())
        }

        fn flush(&mut self) -> io::Result<()> {
            Ok(())
        }
    }

    fn exchange_with(says: &[u8]) -> (Result<(), ConversationError>, Eager) {
        let mut eager = Eager {
            replies: io::Cursor::new(says.to_vec()),
            received: Vec::new(),
        };
        let mut conversation = Socks5Conversation::new("db", 1, None).unwrap();
        let outcome = converse(&mut eager, &mut conversation);
        (outcome, eager)
    }

    const REPLIES: [&[u8]; 3] = [
        b"\x05\0\x05\0\0\x01\0\0\0\0\0\0",
        b"\x05\0\x05\0\0\x04\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0",
        b"\x05\0\x05\0\0\x03\x05proxy\0\0",
    ];

    #[test]
    fn bytes_after_the_last_reply_belong_to_the_server() {
        for reply in REPLIES {
            let (outcome, eager) = exchange_with(&[reply, b"the server's"].concat());
            assert!(outcome.is_ok(), "{outcome:?}");
            let at = usize::try_from(eager.replies.position()).unwrap();
            assert_eq!(&eager.replies.get_ref()[at..], b"the server's");
            assert_eq!(
                eager.received,
                b"\x05\x01\0\x05\x01\0\x03\x02db\0\x01".as_slice()
            );
        }
    }

    #[test]
    fn a_reply_may_end_early_at_each_byte() {
        for reply in REPLIES {
            for end in 0..reply.len() {
                let (outcome, _) = exchange_with(&reply[..end]);
                let Err(ConversationError::Io(error)) = outcome else {
                    panic!("{end} of {reply:?}: {outcome:?}")
                };
                assert_eq!(error.kind(), io::ErrorKind::UnexpectedEof);
            }
        }
    }

    #[test]
    fn a_refusal_contains_its_reply() {
        let (outcome, _) = exchange_with(b"HTTP/1.1 400 Bad Request");
        let Err(ConversationError::Refused(ProxyRefusal::NotSocks5, answer)) = outcome else {
            panic!("{outcome:?}")
        };
        assert_eq!(answer, b"HT");
    }
}
