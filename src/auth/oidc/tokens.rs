//! The access token of a client, and the one call at a time that gets the next.
//!
//! A call runs on a thread of its own, so that a callback that blocks cannot stretch a time limit: those
//! who wait give up at their deadline, while the call goes on and its token serves whoever comes next.
//! Calls are 100 ms apart at least. What a call did wrong is told to all who waited for it. No lock is held
//! while the callback runs. Source: "Credential Caching" in "Driver Authentication".

use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

#[cfg(feature = "cloud")]
use super::environment;
use crate::cause::{Cause, CauseCode};
use crate::ffi::fork;
use crate::ffi::thread;
use crate::limit::Limit;
use crate::options::{AuthMechanism, IdpInfo, OidcToken, Secret};
use crate::reason::auth::AuthFailure;
use crate::time::{Deadline, Elapsed};

/// An access token that servers are shown. Two are the same if they have the same text.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct AccessToken(Arc<Secret>);

impl AccessToken {
    pub(super) fn expose(&self) -> &str {
        self.0.expose()
    }
}

/// What one client knows of its user.
#[derive(Debug, Default)]
pub(super) struct Tokens {
    state: Mutex<State>,
    changed: Condvar,
    /// The environment that is asked; none where it is a callback of the program.
    #[cfg(feature = "cloud")]
    environment: Option<&'static str>,
}

#[derive(Debug, Default)]
struct State {
    access: Option<(AccessToken, Option<Instant>)>,
    refresh: Option<Secret>,
    idp: Option<IdpInfo>,
    /// How often the process had forked when the call that runs began: a child has the state, and not the thread.
    runs_in: Option<u64>,
    /// When the last call ended.
    last_call: Option<Instant>,
    /// How many calls have ended, and how the last one did.
    ended: u64,
    outcome: Option<Result<AccessToken, Cause>>,
}

/// A token, and whether it was there already.
#[derive(Debug)]
pub(super) struct Found {
    pub(super) token: AccessToken,
    pub(super) is_kept: bool,
}

/// What a human callback is told.
#[derive(Clone, Debug, Default)]
pub(super) struct Told {
    pub(super) idp: Option<IdpInfo>,
    pub(super) refresh: Option<Secret>,
}

/// What gets a token: the environment, or a callback with all that it is told but its time limit.
pub(super) type Call = Box<dyn FnOnce() -> Result<OidcToken, Cause> + Send>;

impl Tokens {
    /// Tokens that the environment of that name gives.
    #[cfg(feature = "cloud")]
    pub(super) fn of_environment(name: &'static str) -> Self {
        Self {
            environment: Some(name),
            ..Self::default()
        }
    }

    /// The token that is kept.
    pub(super) fn kept(&self, now: Instant) -> Option<AccessToken> {
        self.state().kept(now)
    }

    /// What gets a token without a person: the refresh token, and for which identity provider.
    pub(super) fn refresh(&self) -> Option<Told> {
        let state = self.state();
        state.refresh.as_ref()?;
        Some(Told {
            idp: state.idp.clone(),
            refresh: state.refresh.clone(),
        })
    }

    /// Gives up a token that the server refused, unless there is another one already.
    pub(super) fn invalidate(&self, refused: &AccessToken) {
        let mut state = self.state();
        if state
            .access
            .as_ref()
            .is_some_and(|(token, _)| token == refused)
        {
            state.access = None;
        }
    }

    /// Gives up the refresh token: it was used in vain.
    pub(super) fn forget_refresh(&self) {
        self.state().refresh = None;
    }

    /// The token that is kept or, if there is none, that of a call, which is made of `call` unless one
    /// runs already. `told` is what the call is told, and kept with its outcome.
    pub(super) fn get(
        self: &Arc<Self>,
        call: Call,
        told: Told,
        deadline: &Deadline,
    ) -> Result<Found, Cause> {
        let mut call = Some(call);
        let mut state = self.state();
        let mut is_kept = true;
        let mut awaited = None;
        loop {
            if let Some(token) = state.kept(Instant::now()) {
                return Ok(Found { token, is_kept });
            }
            if awaited.is_some_and(|count| state.ended > count) {
                match &state.outcome {
                    Some(Err(cause)) => return Err(cause.clone()),
                    // It came, and another connection was refused with it in the meantime, or it had no
                    // time left at all: the server may say so.
                    Some(Ok(token)) => {
                        let token = token.clone();
                        return Ok(Found {
                            token,
                            is_kept: false,
                        });
                    }
                    None => {}
                }
            }
            let own = fork::count();
            if state.runs_in != Some(own) {
                let Some(call) = call.take() else {
                    return Err(self.timed_out(deadline.elapsed()));
                };
                state.runs_in = Some(own);
                let pause = state
                    .last_call
                    .map(|last| (last + PAUSE).saturating_duration_since(Instant::now()));
                let tokens = Arc::clone(self);
                let told = told.clone();
                let started = thread::spawn("mongotls-oidc", move || {
                    tokens.run(call, told, pause.unwrap_or_default());
                });
                if started.is_err() {
                    state.runs_in = None;
                    let failure = AuthFailure::NoThread {
                        mechanism: AuthMechanism::MongodbOidc,
                        reached: Limit::Threads.reached(),
                    };
                    return Err(failure.into());
                }
            }
            awaited.get_or_insert(state.ended);
            is_kept = false;
            let left = deadline.remaining(Instant::now());
            let left = left.map_err(|elapsed| self.timed_out(elapsed))?;
            state = fork::outside(|| match left {
                Some(left) => {
                    let waited = self.changed.wait_timeout(state, left);
                    waited.unwrap_or_else(PoisonError::into_inner).0
                }
                None => self
                    .changed
                    .wait(state)
                    .unwrap_or_else(PoisonError::into_inner),
            });
        }
    }

    /// One call, on a thread of its own.
    fn run(&self, call: Call, told: Told, pause: Duration) {
        std::thread::sleep(pause);
        let outcome = catch_unwind(AssertUnwindSafe(call))
            .unwrap_or_else(|_| Err(self.failed("it panicked".to_owned())))
            .and_then(|token| match token.access_token.expose().is_empty() {
                true => Err(self.failed("it gave an empty access token".to_owned())),
                false => Ok(token),
            });
        let mut state = self.state();
        state.outcome = Some(outcome.map(|token| {
            let access = AccessToken(Arc::new(token.access_token));
            let end = token
                .expires_in
                .and_then(|time| Instant::now().checked_add(time));
            state.access = Some((access.clone(), end));
            // An identity provider may let the old one hold (RFC 6749 §6).
            state.refresh = token.refresh_token.or(told.refresh);
            state.idp = told.idp;
            access
        }));
        state.runs_in = None;
        state.last_call = Some(Instant::now());
        state.ended += 1;
        drop(state);
        self.changed.notify_all();
    }

    fn failed(&self, why: String) -> Cause {
        #[cfg(feature = "cloud")]
        if let Some(name) = self.environment {
            return environment::failed(name, &why);
        }
        failed(why)
    }

    fn timed_out(&self, elapsed: Elapsed) -> Cause {
        let limit = crate::error::Milliseconds(elapsed.limit);
        let option = elapsed.kind.option();
        self.failed(format!("it did not end within {limit} ({option})"))
            .fact(
                "limit_ms",
                i64::try_from(elapsed.limit.as_millis()).unwrap_or(i64::MAX),
            )
            .fact("option", option)
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Puts a token there that no call gave.
    #[cfg(test)]
    pub(super) fn put(&self, text: &str, end: Option<Instant>) -> AccessToken {
        let token = AccessToken(Arc::new(Secret::from(text)));
        self.state().access = Some((token.clone(), end));
        token
    }
}

impl State {
    fn kept(&self, now: Instant) -> Option<AccessToken> {
        let (token, end) = self.access.as_ref()?;
        end.is_none_or(|end| now < end).then(|| token.clone())
    }
}

/// The callback gave no token.
pub(super) fn failed(why: String) -> Cause {
    Cause::new(
        CauseCode::OidcCallbackFailed,
        format!("the OIDC callback gave no access token: {why}"),
        "Look at the program's OIDC callback, and at the identity provider that it asks.",
    )
    .fact("mechanism", AuthMechanism::MongodbOidc.as_str())
}

/// How long after the end of a call the next one may begin. The specification counts from its beginning, which
/// the callback sees a little later than this side does.
const PAUSE: Duration = Duration::from_millis(100);

#[cfg(test)]
mod tests {
    use std::sync::atomic::{AtomicUsize, Ordering};
    use std::sync::mpsc;
    use std::thread;

    use super::*;
    use crate::time::TimeoutKind;

    fn within(limit: Duration) -> Deadline {
        Deadline::after(Instant::now(), Some(limit), TimeoutKind::OidcCallback)
    }

    fn gives(text: &'static str) -> Call {
        Box::new(move || Ok(OidcToken::new(text)))
    }

    const LONG: Duration = Duration::from_secs(20);

    #[test]
    fn a_token_is_kept_until_it_is_refused() {
        let tokens = Arc::new(Tokens::default());
        let first = tokens
            .get(gives("a"), Told::default(), &within(LONG))
            .unwrap();
        assert!(!first.is_kept);
        let again = tokens
            .get(gives("b"), Told::default(), &within(LONG))
            .unwrap();
        assert!(again.is_kept && again.token == first.token);
        let other = AccessToken(Arc::new(Secret::from("other")));
        tokens.invalidate(&other);
        assert_eq!(tokens.kept(Instant::now()), Some(first.token.clone()));
        tokens.invalidate(&first.token);
        assert_eq!(tokens.kept(Instant::now()), None);
        let next = tokens
            .get(gives("b"), Told::default(), &within(LONG))
            .unwrap();
        assert_eq!(next.token.expose(), "b");
        assert!(!format!("{tokens:?}").contains("\"b\""));
    }

    #[test]
    fn a_token_whose_time_is_over_is_not_kept() {
        let tokens = Arc::new(Tokens::default());
        let now = Instant::now();
        tokens.put("a", Some(now + LONG));
        assert!(tokens.kept(now).is_some());
        assert!(tokens.kept(now + LONG).is_none());
    }

    #[test]
    fn calls_are_one_at_a_time_and_shared() {
        let tokens = Arc::new(Tokens::default());
        let calls = Arc::new(AtomicUsize::new(0));
        let texts: Vec<String> = thread::scope(|scope| {
            let threads: Vec<_> = (0..8)
                .map(|_| {
                    let (tokens, calls) = (Arc::clone(&tokens), Arc::clone(&calls));
                    scope.spawn(move || {
                        let call: Call = Box::new(move || {
                            calls.fetch_add(1, Ordering::SeqCst);
                            thread::sleep(Duration::from_millis(50));
                            Ok(OidcToken::new("a"))
                        });
                        let found = tokens.get(call, Told::default(), &within(LONG)).unwrap();
                        found.token.expose().to_owned()
                    })
                })
                .collect();
            threads
                .into_iter()
                .map(|thread| thread.join().unwrap())
                .collect()
        });
        assert_eq!(texts, ["a"; 8]);
        assert_eq!(calls.load(Ordering::SeqCst), 1);
    }

    #[test]
    fn calls_are_a_tenth_of_a_second_apart() {
        let tokens = Arc::new(Tokens::default());
        let first = tokens
            .get(gives("a"), Told::default(), &within(LONG))
            .unwrap();
        let ended = tokens.state().last_call.unwrap();
        tokens.invalidate(&first.token);
        tokens
            .get(gives("b"), Told::default(), &within(LONG))
            .unwrap();
        assert!(tokens.state().last_call.unwrap() - ended >= PAUSE);
    }

    #[test]
    fn what_a_call_did_wrong_is_told() {
        let cases: [(Call, &str); 3] = [
            (Box::new(|| panic!("s3cret")), "it panicked"),
            (gives(""), "an empty access token"),
            (Box::new(|| Err(failed("no luck".into()))), "no luck"),
        ];
        for (call, reason) in cases {
            let tokens = Arc::new(Tokens::default());
            let cause = tokens
                .get(call, Told::default(), &within(LONG))
                .unwrap_err();
            assert_eq!(cause.code(), CauseCode::OidcCallbackFailed);
            assert!(cause.message().contains(reason), "{cause}");
            assert!(!cause.message().contains("s3cret"));
            // The next one is asked anew.
            assert!(
                tokens
                    .get(gives("a"), Told::default(), &within(LONG))
                    .is_ok()
            );
        }
    }

    #[test]
    fn a_call_of_the_process_before_a_fork_is_not_waited_for() {
        let tokens = Arc::new(Tokens::default());
        tokens.state().runs_in = Some(fork::count() + 1);
        let found = tokens.get(gives("a"), Told::default(), &within(LONG));
        assert_eq!(found.unwrap().token.expose(), "a");
    }

    #[test]
    fn a_call_that_blocks_keeps_nobody_beyond_the_deadline_and_its_token_still_counts() {
        let tokens = Arc::new(Tokens::default());
        let (release, blocked) = mpsc::channel::<()>();
        let call: Call = Box::new(move || {
            let _ = blocked.recv();
            Ok(OidcToken::new("late"))
        });
        let limit = Duration::from_millis(100);
        let cause = tokens
            .get(call, Told::default(), &within(limit))
            .unwrap_err();
        assert!(
            cause.message().contains("did not end within 100 ms"),
            "{cause}"
        );
        // Another one does not begin meanwhile.
        let cause = tokens
            .get(gives("other"), Told::default(), &within(limit))
            .unwrap_err();
        assert!(cause.message().contains("did not end within"), "{cause}");
        release.send(()).unwrap();
        let found = tokens
            .get(gives("other"), Told::default(), &within(LONG))
            .unwrap();
        assert_eq!(found.token.expose(), "late");
    }
}
