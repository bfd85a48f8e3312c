//! The OCSP answers and the requests in progress, for all connections of one context.
//!
//! A conclusive answer is cached under its CertID while `thisUpdate ≤ t < nextUpdate`. Of two answers, the one with the
//! later `nextUpdate` stays; of two that contradict each other, the younger one. The number of answers is limited. Only
//! one connection at a time sends requests about a certificate: the others wait for the result. If there is no
//! conclusive result, no connection sends requests again for [`PAUSE`], so that a dead responder does not delay every
//! connection. This does not apply if there was too little time for the request, which a server can cause by stalling, or
//! if this host lacked a resource such as a descriptor.

use std::collections::HashMap;
use std::sync::Arc;
use std::time::{Duration, Instant, SystemTime};

use super::response::OcspAnswer;
use crate::ffi::fork;
use crate::reason::revocation::{OcspSource, ResponderResult};
use crate::sync::{Condvar, Mutex};

/// The largest number of cached answers.
const LARGEST: usize = 1024;

/// The time without further requests after no responder gave a conclusive answer: 5 s.
pub(super) const PAUSE: Duration = Duration::from_secs(5);

/// The answers and the requests of one context.
#[derive(Default)]
pub(super) struct OcspCache {
    answers: Mutex<HashMap<Vec<u8>, CachedAnswer>>,
    requests: Mutex<HashMap<Vec<u8>, Arc<PendingRequest>>>,
}

/// An answer and its source.
#[derive(Clone)]
pub(super) struct CachedAnswer {
    pub(super) answer: OcspAnswer,
    pub(super) source: OcspSource,
    /// The response that holds the answer, so that the same response need not be verified again.
    pub(super) der: Arc<[u8]>,
}

impl OcspCache {
    /// The cached answer about a certificate at `now`.
    pub(super) fn get(&self, id: &[u8], now: SystemTime) -> Option<CachedAnswer> {
        let mut answers = self.answers.lock();
        let known = answers.get(id)?;
        if known.answer.holds(now) {
            return Some(known.clone());
        }
        answers.remove(id);
        None
    }

    /// Caches a conclusive answer that is in force, unless there is a fresher one.
    pub(super) fn keep(&self, id: &[u8], known: CachedAnswer, now: SystemTime) {
        if !known.answer.is_conclusive() || !known.answer.holds(now) {
            return;
        }
        let mut answers = self.answers.lock();
        match answers.get(id) {
            Some(old) if old.answer.outlasts(&known.answer) => return,
            Some(_) => {}
            None if answers.len() >= LARGEST => {
                answers.retain(|_, known| known.answer.holds(now));
                if answers.len() >= LARGEST {
                    // Any answer can be removed: its certificate is looked up again.
                    if let Some(other) = answers.keys().next().cloned() {
                        answers.remove(&other);
                    }
                }
            }
            None => {}
        }
        answers.insert(id.to_vec(), known);
    }

    /// Runs `send` for a certificate, or waits for at most `limit` until another connection has done so. Returns `None`
    /// after that time. The second value is true if another connection sent the requests.
    pub(super) fn request_once(
        &self,
        id: &[u8],
        limit: Option<Duration>,
        send: impl FnOnce() -> ResponderResults,
    ) -> Option<(ResponderResults, bool)> {
        let started = Instant::now();
        let request = loop {
            let mut requests = self.requests.lock();
            requests.retain(|_, request| !request.has_expired());
            let Some(request) = requests.get(id).map(Arc::clone) else {
                let request = Arc::<PendingRequest>::default();
                requests.insert(id.to_vec(), Arc::clone(&request));
                break request;
            };
            drop(requests);
            let remaining = limit.map(|limit| limit.saturating_sub(started.elapsed()));
            let results = request.wait(remaining)?;
            if !results.is_inconclusive() {
                return Some((results, true));
            }
        };
        // Its destructor wakes the waiting connections, even if `send` panics.
        let mut sender = RequestSender {
            request,
            results: ResponderResults::default(),
        };
        sender.results = send();
        Some((sender.results.clone(), false))
    }
}

/// The results of the requests to the responders of one certificate.
#[derive(Clone, Debug, Default)]
pub(super) struct ResponderResults {
    /// The request to each responder.
    pub(super) requests: Vec<ResponderRequest>,
    /// The first conclusive answer, and the URL of its responder.
    pub(super) answer: Option<(OcspAnswer, String)>,
    /// True if the time was too short for a missing answer to mean anything.
    pub(super) was_cut_short: bool,
}

impl ResponderResults {
    /// Returns true if the lack of an answer is no evidence about the responders, so that requests may be sent again.
    fn is_inconclusive(&self) -> bool {
        let mut requests = self.requests.iter();
        let is_limited = requests.any(|request| request.result.is_local_limit());
        self.answer.is_none() && (self.was_cut_short || is_limited)
    }
}

/// The request to one responder.
#[derive(Clone, Debug)]
pub(super) struct ResponderRequest {
    pub(super) url: String,
    pub(super) result: ResponderResult,
    pub(super) duration: Duration,
}

/// The requests about one certificate, which are in progress or ended a short while ago.
#[derive(Default)]
struct PendingRequest {
    results: Mutex<Option<(Instant, ResponderResults)>>,
    answered: Condvar,
}

impl PendingRequest {
    /// Waits for the results, for at most `limit` if given.
    fn wait(&self, limit: Option<Duration>) -> Option<ResponderResults> {
        let results = self.results.lock();
        let is_pending = |results: &mut Option<_>| results.is_none();
        let results = fork::outside(|| self.answered.wait_while(results, limit, is_pending));
        results.as_ref().map(|(_, results)| results.clone())
    }

    /// Returns whether the results came so long ago that requests may be sent again.
    fn has_expired(&self) -> bool {
        let results = self.results.lock();
        results.as_ref().is_some_and(|(at, results)| {
            let is_cached = results
                .answer
                .as_ref()
                .is_some_and(|(answer, _)| answer.next_update.is_some());
            // An answer in the cache need not be kept here.
            is_cached || results.is_inconclusive() || at.elapsed() > PAUSE
        })
    }
}

/// The connection that sends the requests. Its destructor wakes the connections that wait for the results.
struct RequestSender {
    request: Arc<PendingRequest>,
    results: ResponderResults,
}

impl Drop for RequestSender {
    fn drop(&mut self) {
        let results = std::mem::take(&mut self.results);
        *self.request.results.lock() = Some((Instant::now(), results));
        self.request.answered.notify_all();
    }
}
