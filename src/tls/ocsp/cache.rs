//! What is known of certificates, and who is being asked, for all connections of one context.
//!
//! An answer is kept under its CertID while `thisUpdate ≤ t < nextUpdate`, if it is conclusive; of two the one
//! with the later `nextUpdate` stays, and of two that contradict each other the younger one. The number of
//! answers is bounded. A certificate is asked about by one connection at a time: the others wait for what
//! that one learns. When it learned nothing, nobody asks again for [`PAUSE`], so that a dead responder does
//! not hold every connection up; unless it was asked when there was next to no time, which a server can
//! bring about by stalling.

use std::collections::HashMap;
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant, SystemTime};

use super::response::Answer;
use crate::ffi::fork;

/// How many answers are kept.
const LARGEST: usize = 1024;

/// How long nobody asks again after no responder gave a conclusive answer: 5 s.
pub(super) const PAUSE: Duration = Duration::from_secs(5);

/// The answers and the questions of one context.
#[derive(Default)]
pub(super) struct Cache {
    answers: Mutex<HashMap<Vec<u8>, Known>>,
    questions: Mutex<HashMap<Vec<u8>, Arc<Question>>>,
}

/// An answer, and where it came from.
#[derive(Clone)]
pub(super) struct Known {
    pub(super) answer: Answer,
    pub(super) origin: Origin,
    /// The response that holds it, so that the same one need not be verified again.
    pub(super) der: Arc<[u8]>,
}

/// Where an answer came from.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Origin {
    Staple,
    Responder(String),
}

impl Cache {
    /// What is known of a certificate at `now`.
    pub(super) fn get(&self, id: &[u8], now: SystemTime) -> Option<Known> {
        let mut answers = lock(&self.answers);
        let known = answers.get(id)?;
        if known.answer.holds(now) {
            return Some(known.clone());
        }
        answers.remove(id);
        None
    }

    /// Keeps an answer, unless a fresher one is there or it is not for keeping.
    pub(super) fn keep(&self, id: &[u8], known: Known, now: SystemTime) {
        if !known.answer.is_conclusive() || !known.answer.holds(now) {
            return;
        }
        let mut answers = lock(&self.answers);
        match answers.get(id) {
            Some(old) if old.answer.outlasts(&known.answer) => return,
            Some(_) => {}
            None if answers.len() >= LARGEST => {
                answers.retain(|_, known| known.answer.holds(now));
                if answers.len() >= LARGEST {
                    // Any one will do: its certificate is asked about anew.
                    if let Some(other) = answers.keys().next().cloned() {
                        answers.remove(&other);
                    }
                }
            }
            None => {}
        }
        answers.insert(id.to_vec(), known);
    }

    /// Runs `ask` for a certificate, or waits until another connection has done so, up to `limit`; none if
    /// that was too long. The second value tells whether another connection asked.
    pub(super) fn ask_once(
        &self,
        id: &[u8],
        limit: Option<Duration>,
        ask: impl FnOnce() -> Learned,
    ) -> Option<(Learned, bool)> {
        let started = Instant::now();
        let question = loop {
            let mut questions = lock(&self.questions);
            questions.retain(|_, question| !question.is_over());
            let Some(question) = questions.get(id).map(Arc::clone) else {
                let question = Arc::<Question>::default();
                questions.insert(id.to_vec(), Arc::clone(&question));
                break question;
            };
            drop(questions);
            let left = limit.map(|limit| limit.saturating_sub(started.elapsed()));
            let learned = question.wait(left)?;
            if !learned.was_cut_short {
                return Some((learned, true));
            }
        };
        // Told also if `ask` panics: whoever waits goes on.
        let mut asker = Asker {
            question,
            learned: Learned::default(),
        };
        asker.learned = ask();
        Some((asker.learned.clone(), false))
    }
}

/// What responders said, one after the other.
#[derive(Clone, Debug, Default)]
pub(super) struct Learned {
    /// Each responder that was asked, what came of it and how long it took.
    pub(super) attempts: Vec<Attempt>,
    /// The first conclusive answer, and who gave it.
    pub(super) answer: Option<(Answer, String)>,
    /// Whether the responders had too little time for their silence to mean anything.
    pub(super) was_cut_short: bool,
}

/// One responder that was asked.
#[derive(Clone, Debug)]
pub(super) struct Attempt {
    pub(super) url: String,
    pub(super) outcome: String,
    pub(super) duration: Duration,
}

/// A question to the responders that is being asked, or was asked a short while ago.
#[derive(Default)]
struct Question {
    learned: Mutex<Option<(Instant, Learned)>>,
    answered: Condvar,
}

impl Question {
    fn wait(&self, limit: Option<Duration>) -> Option<Learned> {
        let learned = lock(&self.learned);
        let unanswered = |learned: &mut Option<_>| learned.is_none();
        let learned = fork::outside(|| match limit {
            Some(limit) => {
                let waited = self.answered.wait_timeout_while(learned, limit, unanswered);
                waited.unwrap_or_else(PoisonError::into_inner).0
            }
            None => {
                let waited = self.answered.wait_while(learned, unanswered);
                waited.unwrap_or_else(PoisonError::into_inner)
            }
        });
        learned.as_ref().map(|(_, learned)| learned.clone())
    }

    /// Whether it was answered so long ago that it may be asked again.
    fn is_over(&self) -> bool {
        let learned = lock(&self.learned);
        learned.as_ref().is_some_and(|(at, learned)| {
            let is_kept = learned
                .answer
                .as_ref()
                .is_some_and(|(answer, _)| answer.next_update.is_some());
            // What is in the cache need not be remembered here.
            is_kept || learned.was_cut_short || at.elapsed() > PAUSE
        })
    }
}

/// Whoever asks; tells those who wait when it goes.
struct Asker {
    question: Arc<Question>,
    learned: Learned,
}

impl Drop for Asker {
    fn drop(&mut self) {
        let learned = std::mem::take(&mut self.learned);
        *lock(&self.question.learned) = Some((Instant::now(), learned));
        self.question.answered.notify_all();
    }
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}
