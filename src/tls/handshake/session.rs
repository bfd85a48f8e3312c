//! Resumption of TLS sessions: the cached sessions, their users, and their lifetime (RFC 8446 §2.2, RFC 5077).
//!
//! A resumed handshake repeats neither the certificate nor the check of a CRL. So a session is cached only while the
//! evidence of its full handshake is valid: until the first `notAfter` of the verified chain, the first `nextUpdate` of
//! a CRL that was used or that of the OCSP response, whichever comes first. If a responder might have a more conclusive
//! answer next time, the session is not cached. A session that was issued in a resumed handshake inherits that instant.
//! The cache belongs to those that use one context at the same time ([`InUse`](super::sharing::InUse)), because OpenSSL
//! ties a session to its context, and because another context may have other anchors or checks.
//!
//! A ticket of TLS 1.3 is used once (RFC 8446 §C.4), the newest first; a session of TLS 1.2 is used repeatedly, because
//! the server need not send a new one. The number of both is limited. Sessions arrive through OpenSSL's callback, in
//! TLS 1.3 with the first read after the handshake.
//!
//! Some servers issue sessions and then fail a handshake that offers one. The most common are OpenSSL servers that
//! verify client certificates and set no session ID context: they answer with the alert `internal_error`. After such a
//! failure no session is offered to that server for [`PAUSE`].

use std::collections::HashMap;
use std::sync::{Arc, OnceLock};
use std::time::{Duration, Instant, SystemTime};

use openssl::error::ErrorStack;
use openssl::ex_data::Index;
use openssl::ssl::{Ssl, SslContextBuilder, SslRef, SslSession, SslSessionCacheMode, SslVersion};
use openssl::stack::StackRef;
use openssl::x509::X509;

use crate::ffi::callback;
use crate::ffi::openssl as ffi;
use crate::ffi::openssl::instant;
use crate::sync::Mutex;
use crate::tls::config::crl::Crls;
use crate::tls::ocsp::findings::RevocationFindings;
use crate::tls::ocsp::{Checker, SessionLimit};

/// The number of tickets that are cached for one server. A server sends two with each full handshake.
const TICKETS: usize = 8;
/// The number of servers with cached sessions.
const SERVERS: usize = 512;
/// The time for which no session is offered to a server after an offered one has failed: 5 minutes. The next offer
/// after that costs at most one handshake.
const PAUSE: Duration = Duration::from_secs(5 * 60);

/// The choice whether a handshake offers a session.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum SessionOffer {
    /// The newest session that is still valid, if there is one.
    Session,
    /// No session: the handshake is a full one.
    NoSession,
}

/// The sessions of one context.
#[derive(Default)]
pub(crate) struct SessionCache(Mutex<HashMap<String, ServerSessions>>);

/// The sessions of one server.
#[derive(Default)]
struct ServerSessions {
    sessions: Vec<CachedSession>,
    /// No session is offered before this instant.
    paused_until: Option<Instant>,
}

impl ServerSessions {
    fn is_paused(&self, now: Instant) -> bool {
        self.paused_until.is_some_and(|until| now < until)
    }
}

/// A session, and the end of the validity of its evidence.
#[derive(Clone)]
struct CachedSession {
    session: SslSession,
    valid_until: SystemTime,
    proof: Arc<Proof>,
}

/// The results of a full handshake about the server: OpenSSL stores little of it with a session.
#[derive(Clone, Default)]
pub(crate) struct Proof {
    pub(crate) peer_chain: Vec<X509>,
    pub(crate) verified_chain: Vec<X509>,
    pub(crate) revocation: RevocationFindings,
}

impl Proof {
    /// Reads the results of a handshake that has progressed far enough for its session to be cached.
    fn of(ssl: &SslRef) -> Self {
        let owned = |chain: &StackRef<X509>| chain.iter().map(|cert| cert.to_owned()).collect();
        Self {
            peer_chain: ssl.peer_cert_chain().map(owned).unwrap_or_default(),
            verified_chain: ssl.verified_chain().map(owned).unwrap_or_default(),
            revocation: Checker::findings(ssl).unwrap_or_default(),
        }
    }
}

/// The data that a connection needs when a session arrives: the cache, and the evidence.
struct Ticketing {
    cache: Arc<SessionCache>,
    server: String,
    /// The session that was offered.
    offered: Option<CachedSession>,
}

/// Makes a context pass its sessions on. `crls` are those that it uses.
pub(crate) fn enable(context: &mut SslContextBuilder, crls: Crls) {
    context.set_session_cache_mode(SslSessionCacheMode::CLIENT | SslSessionCacheMode::NO_INTERNAL);
    let keep = move |ssl: &mut SslRef, session| {
        let Some(ticketing) = index().ok().and_then(|index| ssl.ex_data(index)) else {
            return;
        };
        let evidence = match ticketing.offered.as_ref().filter(|_| ssl.session_reused()) {
            Some(offered) => Some((offered.valid_until, Arc::clone(&offered.proof))),
            None => evidence_until(ssl, &crls).map(|until| (until, Arc::new(Proof::of(ssl)))),
        };
        // Without a verified chain there is no evidence.
        let Some((valid_until, proof)) = evidence else {
            return;
        };
        let valid_until = match Checker::session_limit(ssl) {
            SessionLimit::None => valid_until,
            SessionLimit::Until(until) => valid_until.min(until),
            SessionLimit::NotKept => return,
        };
        ticketing.cache.keep(
            &ticketing.server,
            CachedSession {
                session,
                valid_until,
                proof,
            },
        );
    };
    context.set_new_session_callback(move |ssl, session| {
        callback::run(|| keep(ssl, session));
    });
}

/// The first `notAfter` of the verified chain, or the first `nextUpdate` of the CRLs that were checked if that is
/// earlier.
fn evidence_until(ssl: &SslRef, crls: &Crls) -> Option<SystemTime> {
    let chain = ssl.verified_chain()?;
    let certificates = chain.iter();
    let ends = certificates.map(|certificate| instant(certificate.not_after()));
    ends.chain(crls.until(chain, SystemTime::now())).min()
}

impl SessionCache {
    /// Prepares a connection to `server`: offers a session if `offer` allows it, and caches new ones.
    pub(crate) fn prepare(
        self: &Arc<Self>,
        ssl: &mut Ssl,
        server: &str,
        offer: SessionOffer,
    ) -> Result<(), ErrorStack> {
        let kept = match offer {
            SessionOffer::Session => self.take(server, SystemTime::now(), Instant::now()),
            SessionOffer::NoSession => None,
        };
        if let Some(kept) = &kept {
            ffi::offer_session(ssl, &kept.session)?;
        }
        let ticketing = Ticketing {
            cache: Arc::clone(self),
            server: server.to_owned(),
            offered: kept,
        };
        ssl.set_ex_data(index()?, ticketing);
        Ok(())
    }

    /// The results of the full handshake whose session was resumed, or `None` for a full handshake.
    pub(crate) fn resumed(ssl: &SslRef) -> Option<Arc<Proof>> {
        let ticketing = ssl.ex_data(index().ok()?)?;
        let offered = ticketing
            .offered
            .as_ref()
            .filter(|_| ssl.session_reused())?;
        Some(Arc::clone(&offered.proof))
    }

    /// Returns whether a session was offered in the handshake of this connection.
    pub(crate) fn was_offered(ssl: &SslRef) -> bool {
        let ticketing = index().ok().and_then(|index| ssl.ex_data(index));
        ticketing.is_some_and(|ticketing| ticketing.offered.is_some())
    }

    /// Returns whether there is a session that the next connection to `server` would offer.
    pub(crate) fn holds_session(&self, server: &str) -> bool {
        let servers = self.0.lock();
        let Some(known) = servers.get(server) else {
            return false;
        };
        let now = SystemTime::now();
        !known.is_paused(Instant::now()) && known.sessions.iter().any(|kept| now < kept.valid_until)
    }

    /// Removes all sessions with `server`, because one of them may be the reason for a failed handshake.
    pub(crate) fn forget(&self, server: &str) {
        if let Some(known) = self.0.lock().get_mut(server) {
            known.sessions.clear();
        }
    }

    /// Removes all sessions with the server of a connection that failed. If the connection resumed a session, no
    /// session is offered for some time.
    pub(crate) fn connection_failed(ssl: &SslRef) {
        let Some(ticketing) = index().ok().and_then(|index| ssl.ex_data(index)) else {
            return;
        };
        if ssl.session_reused() {
            ticketing.cache.pause(&ticketing.server, Instant::now());
        } else {
            ticketing.cache.forget(&ticketing.server);
        }
    }

    /// Offers no session to `server` for some time, and removes the cached ones.
    pub(crate) fn pause(&self, server: &str, now: Instant) {
        let mut servers = self.0.lock();
        let known = Self::entry(&mut servers, server);
        known.sessions.clear();
        known.paused_until = now.checked_add(PAUSE);
    }

    /// The newest session with `server` that is still valid; a ticket of TLS 1.3 is removed from the cache.
    fn take(&self, server: &str, now: SystemTime, instant: Instant) -> Option<CachedSession> {
        let mut servers = self.0.lock();
        let known = servers.get_mut(server)?;
        if known.is_paused(instant) {
            return None;
        }
        let sessions = &mut known.sessions;
        sessions.retain(|kept| now < kept.valid_until);
        let newest = sessions.last()?;
        match newest.session.protocol_version() {
            SslVersion::TLS1_3 => sessions.pop(),
            _ => Some(newest.clone()),
        }
    }

    fn keep(&self, server: &str, kept: CachedSession) {
        let mut servers = self.0.lock();
        let sessions = &mut Self::entry(&mut servers, server).sessions;
        if sessions.len() >= TICKETS {
            sessions.remove(0);
        }
        sessions.push(kept);
    }

    /// The sessions of `server`. If there are too many servers, another one is removed.
    fn entry<'a>(
        servers: &'a mut HashMap<String, ServerSessions>,
        server: &str,
    ) -> &'a mut ServerSessions {
        if !servers.contains_key(server) && servers.len() >= SERVERS {
            // Any server can be removed: its next handshake is then a full one.
            if let Some(other) = servers.keys().next().cloned() {
                servers.remove(&other);
            }
        }
        servers.entry(server.to_owned()).or_default()
    }
}

/// The index under which a connection holds its [`Ticketing`]. A process allocates it once.
fn index() -> Result<Index<Ssl, Ticketing>, ErrorStack> {
    static INDEX: OnceLock<Index<Ssl, Ticketing>> = OnceLock::new();
    if let Some(index) = INDEX.get() {
        return Ok(*index);
    }
    let index = Ssl::new_ex_index()?;
    Ok(*INDEX.get_or_init(|| index))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_session_is_offered_again_five_minutes_after_a_failure() {
        let cache = SessionCache::default();
        let now = Instant::now();
        let is_paused = |server, later| {
            let servers = cache.0.lock();
            let known = servers.get(server);
            known.is_some_and(|known| known.is_paused(now + Duration::from_secs(later)))
        };
        cache.pause("a", now);
        cache.forget("a");
        assert!(is_paused("a", 0) && is_paused("a", 299));
        assert!(!is_paused("a", 300) && !is_paused("b", 0));
        for number in 0..2 * SERVERS {
            cache.pause(&number.to_string(), now);
        }
        assert_eq!(cache.0.lock().len(), SERVERS);
    }
}
