//! A look at a server that does not answer a ClientHello: does it speak MongoDB without TLS?
//!
//! A MongoDB server without TLS takes a ClientHello for the start of a huge message and waits for the
//! rest, or closes; either looks like a network fault. So, after TLS has failed without a byte of an
//! answer, one hello in the clear is sent on a connection of its own. It holds nothing but the word
//! `isMaster`; its answer is read for one bit and thrown away. The connection that was asked for is
//! never made in the clear. It goes the same way as that one, by the same proxy if there is one.

use std::collections::HashMap;
use std::io::Write;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use bson::rawdoc;

use crate::address::ServerAddress;
use crate::cause::{Cause, CauseCode};
use crate::logging::debug;
use crate::net::Route;
use crate::options::ProxyOptions;
use crate::sniff::MONGODB_IN_THE_CLEAR;
use crate::time::Deadline;
use crate::tls::TURN_TLS_ON;
use crate::wire::compress::Offered;
use crate::wire::reply::{self, Expected};
use crate::wire::{opcode, request};

/// Asks servers, each at most once in ten seconds, so that one in trouble is not given more to do; its
/// last answer stands until then.
#[derive(Debug, Default)]
pub(super) struct Probe(Mutex<HashMap<ServerAddress, (Instant, Answer)>>);

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Answer {
    /// Another thread is asking.
    Awaited,
    SpeaksInTheClear,
    No,
}

impl Probe {
    /// Whether the server answers a hello in the clear, within a tenth of the limit of `connecting` and
    /// a second at most.
    pub(super) fn speaks_mongodb_in_the_clear(
        &self,
        server: &ServerAddress,
        dns_name: &str,
        proxy: Option<&ProxyOptions>,
        connecting: &Deadline,
    ) -> bool {
        const VALID_FOR: Duration = Duration::from_secs(10);
        let now = Instant::now();
        {
            let mut known = self.known();
            match known.get(server) {
                Some((at, answer)) if now.duration_since(*at) < VALID_FOR => {
                    return *answer == Answer::SpeaksInTheClear;
                }
                _ => known.insert(server.clone(), (now, Answer::Awaited)),
            };
        }
        debug!(target: "mongotls::tls", "asking {server} whether it speaks MongoDB without TLS");
        let answer = if ask(server, dns_name, proxy, connecting) {
            Answer::SpeaksInTheClear
        } else {
            Answer::No
        };
        self.known().insert(server.clone(), (now, answer));
        answer == Answer::SpeaksInTheClear
    }

    fn known(&self) -> MutexGuard<'_, HashMap<ServerAddress, (Instant, Answer)>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

fn ask(
    server: &ServerAddress,
    dns_name: &str,
    proxy: Option<&ProxyOptions>,
    connecting: &Deadline,
) -> bool {
    let elapsed = connecting.elapsed();
    let limit = (elapsed.limit / 10).min(Duration::from_secs(1));
    let deadline = Deadline::after(Instant::now(), Some(limit), elapsed.kind);
    let route = Route {
        server,
        dns_name,
        proxy,
        interrupt: &Arc::default(),
        deadline: &deadline,
    };
    let socket = route
        .resolve()
        .and_then(|addresses| route.connect(&addresses.unwrap_or_default()));
    let Ok(mut socket) = socket else { return false };
    socket.set_deadline(Some(deadline));
    let mut buffer = Vec::new();
    let sent = request::encode_query(&mut buffer, 1, &rawdoc! { "isMaster": 1_i32 }).is_ok()
        && socket.write_all(&buffer).is_ok();
    let expected = Expected {
        request_id: 1,
        opcode: opcode::REPLY,
        offered: Offered::NONE,
    };
    sent && reply::read(&mut socket, expected).is_ok()
}

pub(super) fn server_not_tls() -> Cause {
    Cause::new(
        CauseCode::ServerNotTls,
        "the server does not speak TLS: it left the ClientHello unanswered, and answers in the clear as MongoDB does",
        TURN_TLS_ON,
    )
    .fact("looks_like", MONGODB_IN_THE_CLEAR)
}
