//! Through a SOCKS5 proxy: a connection to it becomes one to a server that it connects to.
//!
//! In: a socket that is connected to the proxy. Out: the same socket, from which not a byte of the server's was read.
//! What is said, and what the answers mean, stands in `conversation`, without any I/O; why it ended, as causes, in
//! `refusal`. It runs on the caller's thread, and ends at its deadline or with its interruption, as all on a [`Socket`]
//! does. Source: "SOCKS5 Support".

mod conversation;
mod refusal;

use std::io::{self, Read, Write};
use std::time::{Duration, Instant};

use self::conversation::{Conversation, LONGEST_ANSWER, Refusal};
pub(super) use self::refusal::out_of_reach;
use super::Unreachable;
use crate::error::Stage;
use crate::options::ProxyOptions;
use crate::socket::Socket;
use crate::time::Deadline;

/// Has the proxy at the other end of `socket` connect to `port` of `host`.
///
/// User and password go to it in the clear, if it asks for them.
pub(super) fn pass(
    mut socket: Socket,
    proxy: &ProxyOptions,
    host: &str,
    port: u16,
    deadline: &Deadline,
) -> Result<Socket, Unreachable> {
    let unreachable = |cause| Unreachable {
        stage: Stage::Connect,
        cause,
    };
    let mut conversation = Conversation::new(host, port, proxy.credential.as_ref())
        .map_err(|too_long| unreachable(refusal::too_long(proxy, too_long)))?;
    socket.set_deadline(Some(*deadline));
    let outcome = converse(&mut socket, &mut conversation);
    let Err(failure) = outcome else {
        socket.set_deadline(None);
        return Ok(socket);
    };
    let step = conversation.step();
    let cause = match failure {
        Failure::Broken(error) => refusal::broken_off(proxy, step, &error, deadline.elapsed()),
        Failure::Refused(Refusal::NotSocks5, mut head) => {
            let soon = Deadline::after(Instant::now(), Some(A_LOOK), deadline.elapsed().kind);
            socket.set_deadline(Some(deadline.earlier(soon)));
            // What stands after it may help to tell what it is; that nothing comes is no failure.
            let _ = socket.take(ENOUGH_TO_TELL).read_to_end(&mut head);
            refusal::not_socks5(proxy, &head)
        }
        Failure::Refused(refused, _) => refusal::refused(proxy, step, &refused, host),
    };
    Err(unreachable(cause))
}

/// How long something is listened to that is not a SOCKS5 proxy, and how many bytes of it.
const A_LOOK: Duration = Duration::from_millis(100);
const ENOUGH_TO_TELL: u64 = 14;

/// Why a conversation did not come to its end.
#[derive(Debug)]
enum Failure {
    /// The socket failed, or time ran out.
    Broken(io::Error),
    /// The proxy refused, by this answer.
    Refused(Refusal, Vec<u8>),
}

/// Carries a conversation, turn by turn.
fn converse(
    stream: &mut (impl Read + Write),
    conversation: &mut Conversation,
) -> Result<(), Failure> {
    let mut room = [0; LONGEST_ANSWER];
    let mut turn = Some(conversation.greeting());
    while let Some(now) = turn {
        // An empty write would do no harm, and cost a system call.
        if !now.send.is_empty() {
            stream.write_all(&now.send).map_err(Failure::Broken)?;
        }
        let answer = &mut room[..now.expect];
        stream.read_exact(answer).map_err(Failure::Broken)?;
        turn = conversation
            .next(answer)
            .map_err(|refusal| Failure::Refused(refusal, answer.to_vec()))?;
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A proxy that says all it has to say at once.
    struct Eager {
        says: io::Cursor<Vec<u8>>,
        heard: Vec<u8>,
    }

    impl Read for Eager {
        fn read(&mut self, buf: &mut [u8]) -> io::Result<usize> {
            self.says.read(buf)
        }
    }

    impl Write for Eager {
        fn write(&mut self, buf: &[u8]) -> io::Result<usize> {
            self.heard.extend_from_slice(buf);
            Ok(buf.len())
        }

        fn flush(&mut self) -> io::Result<()> {
            Ok(())
        }
    }

    fn talk(says: &[u8]) -> (Result<(), Failure>, Eager) {
        let mut eager = Eager {
            says: io::Cursor::new(says.to_vec()),
            heard: Vec::new(),
        };
        let mut conversation = Conversation::new("db", 1, None).unwrap();
        let outcome = converse(&mut eager, &mut conversation);
        (outcome, eager)
    }

    const REPLIES: [&[u8]; 3] = [
        b"\x05\0\x05\0\0\x01\0\0\0\0\0\0",
        b"\x05\0\x05\0\0\x04\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0",
        b"\x05\0\x05\0\0\x03\x05proxy\0\0",
    ];

    #[test]
    fn what_follows_the_last_answer_is_left_to_the_server() {
        for reply in REPLIES {
            let (outcome, eager) = talk(&[reply, b"the server's"].concat());
            assert!(outcome.is_ok(), "{outcome:?}");
            let at = usize::try_from(eager.says.position()).unwrap();
            assert_eq!(&eager.says.get_ref()[at..], b"the server's");
            assert_eq!(
                eager.heard,
                b"\x05\x01\0\x05\x01\0\x03\x02db\0\x01".as_slice()
            );
        }
    }

    #[test]
    fn an_answer_that_ends_early_is_an_end_at_each_byte() {
        for reply in REPLIES {
            for end in 0..reply.len() {
                let (outcome, _) = talk(&reply[..end]);
                let Err(Failure::Broken(error)) = outcome else {
                    panic!("{end} of {reply:?}: {outcome:?}")
                };
                assert_eq!(error.kind(), io::ErrorKind::UnexpectedEof);
            }
        }
    }

    #[test]
    fn a_refusal_comes_with_the_answer_that_told_it() {
        let (outcome, _) = talk(b"HTTP/1.1 400 Bad Request");
        let Err(Failure::Refused(Refusal::NotSocks5, answer)) = outcome else {
            panic!("{outcome:?}")
        };
        assert_eq!(answer, b"HT");
    }
}
