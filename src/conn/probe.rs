//! Tests if a server that does not answer a ClientHello speaks MongoDB without TLS.
//!
//! A MongoDB server without TLS takes a ClientHello for the start of a huge message, and waits for the rest or closes
//! the connection; both look like a network error. So, after TLS has failed before the server sent a byte, one hello in
//! the clear is sent on a separate connection, by the same route. The command contains only the word `hello` and the name of a
//! database, and only one bit of the reply is used: a server that does not know the command answers with an error. The connection that the client needs is never made in the clear.

use std::collections::HashMap;
use std::io::Write;
use std::sync::Arc;
use std::time::{Duration, Instant};

use bson::rawdoc;

use crate::address::ServerAddress;
use crate::logging::debug;
use crate::net::Route;
use crate::options::ProxyOptions;
use crate::socket::Interrupt;
use crate::sync::Mutex;
use crate::time::Deadline;
use crate::wire::compress::Offered;
use crate::wire::reply::{self, Expected};
use crate::wire::request;

/// The results of these tests. A server is tested at most once in ten seconds, to spare one that has problems; the last
/// result is used until then.
#[derive(Debug, Default)]
pub(super) struct Probe(Mutex<HashMap<ServerAddress, (Instant, ProbeResult)>>);

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum ProbeResult {
    /// Another thread is testing.
    Pending,
    SpeaksInTheClear,
    No,
}

impl Probe {
    /// Returns true if the server answers a hello in the clear, within a tenth of the limit of `connecting` and at most
    /// one second.
    pub(super) fn speaks_mongodb_in_the_clear(
        &self,
        server: &ServerAddress,
        dns_name: &str,
        proxy: Option<&ProxyOptions>,
        connecting: &Deadline,
        interrupt: &Arc<Interrupt>,
    ) -> bool {
        const VALID_FOR: Duration = Duration::from_secs(10);
        let now = Instant::now();
        {
            let mut known = self.0.lock();
            match known.get(server) {
                Some((at, answer)) if now.duration_since(*at) < VALID_FOR => {
                    return *answer == ProbeResult::SpeaksInTheClear;
                }
                _ => known.insert(server.clone(), (now, ProbeResult::Pending)),
            };
        }
        debug!(target: "mongotls::tls", "asking {server} whether it speaks MongoDB without TLS");
        let answer = if hello_in_clear(server, dns_name, proxy, connecting, interrupt) {
            ProbeResult::SpeaksInTheClear
        } else {
            ProbeResult::No
        };
        let mut known = self.0.lock();
        match interrupt.is_interrupted() {
            // The test has no result.
            true => known.remove(server),
            false => known.insert(server.clone(), (now, answer)),
        };
        answer == ProbeResult::SpeaksInTheClear
    }
}

fn hello_in_clear(
    server: &ServerAddress,
    dns_name: &str,
    proxy: Option<&ProxyOptions>,
    connecting: &Deadline,
    interrupt: &Arc<Interrupt>,
) -> bool {
    let elapsed = connecting.elapsed();
    let limit = (elapsed.limit / 10).min(Duration::from_secs(1));
    let deadline = Deadline::after(Instant::now(), Some(limit), elapsed.kind);
    let route = Route {
        server,
        dns_name,
        proxy,
        interrupt,
        deadline: &deadline,
    };
    let socket = route
        .resolve()
        .and_then(|addresses| route.connect(&addresses.unwrap_or_default()));
    let Ok(mut socket) = socket else { return false };
    socket.set_deadline(Some(deadline));
    let mut buffer = Vec::new();
    let hello = rawdoc! { "hello": 1_i32, "$db": "admin" };
    let size = crate::wire::MAX_MESSAGE_SIZE;
    let sent = request::encode_msg(&mut buffer, 1, &hello, |_| (), &[], size).is_ok()
        && socket.write_all(&buffer).is_ok();
    let expected = Expected {
        request_id: 1,
        offered: Offered::NONE,
    };
    sent && reply::read(&mut socket, expected).is_ok()
}
