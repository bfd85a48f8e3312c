//! The access token of a client, and the calls that get the next one, one at a time.
//!
//! A call runs on a separate thread, so that a callback that blocks cannot exceed a time limit: waiting threads return
//! at their deadline, while the call continues and its token serves the next threads. Calls are at least 100 ms apart.
//! If a call fails, all threads that wait for it get its error. No lock is held while the callback runs. Source:
//! "Credential Caching" in "Driver Authentication".

use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::Arc;
use std::time::{Duration, Instant};

use crate::cause::Cause;
use crate::ffi::fork;
use crate::ffi::thread;
use crate::limit::Limit;
use crate::options::{AuthMechanism, IdpInfo, OidcToken, Secret};
use crate::reason::auth::{AccessTokenFailure, AccessTokenProblem, AccessTokenSource, AuthFailure};
use crate::sync::{Condvar, Mutex};
use crate::time::Deadline;

/// An access token, as it is sent to servers. Two are equal if they have equal text.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct AccessToken(Arc<Secret>);

impl AccessToken {
    pub(super) fn expose(&self) -> &str {
        self.0.expose()
    }
}

/// The tokens of one client, and the calls that get them.
#[derive(Debug, Default)]
pub(super) struct Tokens {
    state: Mutex<TokenState>,
    changed: Condvar,
    source: AccessTokenSource,
}

#[derive(Debug, Default)]
struct TokenState {
    access: Option<(AccessToken, Option<Instant>)>,
    refresh: Option<Secret>,
    idp: Option<IdpInfo>,
    /// The number of forks of the process when the running call began. A forked child has the state, but not the
    /// thread.
    runs_in: Option<u64>,
    /// The end of the last call.
    last_call: Option<Instant>,
    /// The number of calls that have ended, and the result of the last one.
    ended: u64,
    result: Option<Result<AccessToken, Cause>>,
}

/// A token, with a flag that is true if it came from the cache.
#[derive(Debug)]
pub(super) struct ObtainedToken {
    pub(super) token: AccessToken,
    pub(super) is_cached: bool,
}

/// The arguments of a human callback that depend on the server and on earlier calls.
#[derive(Clone, Debug, Default)]
pub(super) struct CallArguments {
    pub(super) idp: Option<IdpInfo>,
    pub(super) refresh: Option<Secret>,
}

/// Gets a token from the environment or with the callback.
pub(super) type TokenCall = Box<dyn FnOnce() -> Result<OidcToken, Cause> + Send>;

impl Tokens {
    pub(super) fn new(source: AccessTokenSource) -> Self {
        Self {
            source,
            ..Self::default()
        }
    }

    /// The cached token, if it has not expired.
    pub(super) fn cached(&self, now: Instant) -> Option<AccessToken> {
        self.state.lock().cached(now)
    }

    /// Returns the arguments with which a callback gets a token without a person: the refresh token and its identity
    /// provider.
    pub(super) fn refresh(&self) -> Option<CallArguments> {
        let state = self.state.lock();
        state.refresh.as_ref()?;
        Some(CallArguments {
            idp: state.idp.clone(),
            refresh: state.refresh.clone(),
        })
    }

    /// Removes a token that the server rejected, unless the cache already has another one.
    pub(super) fn invalidate(&self, refused: &AccessToken) {
        let mut state = self.state.lock();
        if state
            .access
            .as_ref()
            .is_some_and(|(token, _)| token == refused)
        {
            state.access = None;
        }
    }

    /// Removes the refresh token, because it yielded no access token.
    pub(super) fn remove_refresh(&self) {
        self.state.lock().refresh = None;
    }

    /// Returns the cached token or, if there is none, that of a call: of the running call, or of `call`. `arguments`
    /// are those of the call, and are cached with its token.
    pub(super) fn get(
        self: &Arc<Self>,
        call: TokenCall,
        arguments: CallArguments,
        deadline: &Deadline,
    ) -> Result<ObtainedToken, Cause> {
        let mut call = Some(call);
        let mut state = self.state.lock();
        let mut is_cached = true;
        let mut awaited = None;
        loop {
            if let Some(token) = state.cached(Instant::now()) {
                return Ok(ObtainedToken { token, is_cached });
            }
            if awaited.is_some_and(|count| state.ended > count) {
                match &state.result {
                    Some(Err(cause)) => return Err(cause.clone()),
                    // The call returned a token. It was removed in the meantime because a server rejected it, or it
                    // expired at once. The server decides.
                    Some(Ok(token)) => {
                        let token = token.clone();
                        return Ok(ObtainedToken {
                            token,
                            is_cached: false,
                        });
                    }
                    None => {}
                }
            }
            let own = fork::count();
            if state.runs_in != Some(own) {
                let Some(call) = call.take() else {
                    let problem = AccessTokenProblem::TimedOut(deadline.elapsed());
                    return Err(self.failed(problem));
                };
                state.runs_in = Some(own);
                let pause = state
                    .last_call
                    .map(|last| (last + PAUSE).saturating_duration_since(Instant::now()));
                let tokens = Arc::clone(self);
                let arguments = arguments.clone();
                let started = thread::spawn("mongotls-oidc", move || {
                    tokens.run(call, arguments, pause.unwrap_or_default());
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
            is_cached = false;
            let remaining = deadline.remaining(Instant::now());
            let remaining =
                remaining.map_err(|elapsed| self.failed(AccessTokenProblem::TimedOut(elapsed)))?;
            state = fork::outside(|| self.changed.wait(state, remaining));
        }
    }

    /// Runs one call, on a separate thread.
    fn run(&self, call: TokenCall, arguments: CallArguments, pause: Duration) {
        std::thread::sleep(pause);
        let result = catch_unwind(AssertUnwindSafe(call))
            .unwrap_or_else(|_| Err(self.failed(AccessTokenProblem::Panicked)))
            .and_then(|token| match token.access_token.expose().is_empty() {
                true => Err(self.failed(AccessTokenProblem::EmptyToken)),
                false => Ok(token),
            });
        let mut state = self.state.lock();
        state.result = Some(result.map(|token| {
            let access = AccessToken(Arc::new(token.access_token));
            let end = token
                .expires_in
                .and_then(|time| Instant::now().checked_add(time));
            state.access = Some((access.clone(), end));
            // Without a new refresh token, the old one stays valid (RFC 6749 §6).
            state.refresh = token.refresh_token.or(arguments.refresh);
            state.idp = arguments.idp;
            access
        }));
        state.runs_in = None;
        state.last_call = Some(Instant::now());
        state.ended += 1;
        drop(state);
        self.changed.notify_all();
    }

    /// Describes that the source of tokens returned none.
    fn failed(&self, problem: AccessTokenProblem) -> Cause {
        let source = self.source;
        AuthFailure::AccessToken(AccessTokenFailure { source, problem }).into()
    }

    /// Puts a token into the cache that does not come from a call.
    #[cfg(test)]
    pub(super) fn put(&self, text: &str, end: Option<Instant>) -> AccessToken {
        let token = AccessToken(Arc::new(Secret::from(text)));
        self.state.lock().access = Some((token.clone(), end));
        token
    }
}

impl TokenState {
    fn cached(&self, now: Instant) -> Option<AccessToken> {
        let (token, end) = self.access.as_ref()?;
        end.is_none_or(|end| now < end).then(|| token.clone())
    }
}

/// The minimum time between the end of a call and the next one. The specification counts from the start of a call,
/// which the callback sees a little later than this crate does.
const PAUSE: Duration = Duration::from_millis(100);

#[cfg(test)]
mod tests {
    use std::sync::atomic::{AtomicUsize, Ordering};
    use std::sync::mpsc;
    use std::thread;

    use super::*;
    use crate::cause::CauseCode;
    use crate::time::TimeoutKind;

    fn within(limit: Duration) -> Deadline {
        Deadline::after(Instant::now(), Some(limit), TimeoutKind::OidcCallback)
    }

    fn gives(text: &'static str) -> TokenCall {
        Box::new(move || Ok(OidcToken::new(text)))
    }

    fn refused(text: &str) -> Cause {
        let problem = AccessTokenProblem::Callback(text.to_owned());
        Tokens::default().failed(problem)
    }

    const LONG: Duration = Duration::from_secs(20);

    #[test]
    fn a_token_is_cached_until_it_is_refused() {
        let tokens = Arc::new(Tokens::default());
        let first = tokens
            .get(gives("a"), CallArguments::default(), &within(LONG))
            .unwrap();
        assert!(!first.is_cached);
        let second_call = tokens
            .get(gives("b"), CallArguments::default(), &within(LONG))
            .unwrap();
        assert!(second_call.is_cached && second_call.token == first.token);
        let other = AccessToken(Arc::new(Secret::from("other")));
        tokens.invalidate(&other);
        assert_eq!(tokens.cached(Instant::now()), Some(first.token.clone()));
        tokens.invalidate(&first.token);
        assert_eq!(tokens.cached(Instant::now()), None);
        let next = tokens
            .get(gives("b"), CallArguments::default(), &within(LONG))
            .unwrap();
        assert_eq!(next.token.expose(), "b");
        assert!(!format!("{tokens:?}").contains("\"b\""));
    }

    #[test]
    fn an_expired_token_is_not_used() {
        let tokens = Arc::new(Tokens::default());
        let now = Instant::now();
        tokens.put("a", Some(now + LONG));
        assert!(tokens.cached(now).is_some());
        assert!(tokens.cached(now + LONG).is_none());
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
                        let call: TokenCall = Box::new(move || {
                            calls.fetch_add(1, Ordering::SeqCst);
                            thread::sleep(Duration::from_millis(50));
                            Ok(OidcToken::new("a"))
                        });
                        let found = tokens
                            .get(call, CallArguments::default(), &within(LONG))
                            .unwrap();
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
            .get(gives("a"), CallArguments::default(), &within(LONG))
            .unwrap();
        let ended = tokens.state.lock().last_call.unwrap();
        tokens.invalidate(&first.token);
        tokens
            .get(gives("b"), CallArguments::default(), &within(LONG))
            .unwrap();
        assert!(tokens.state.lock().last_call.unwrap() - ended >= PAUSE);
    }

    #[test]
    fn the_error_of_a_call_is_returned() {
        let cases: [(TokenCall, &str); 3] = [
            (Box::new(|| panic!("s3cret")), "it panicked"),
            (gives(""), "an empty access token"),
            (Box::new(|| Err(refused("no luck"))), "no luck"),
        ];
        for (call, reason) in cases {
            let tokens = Arc::new(Tokens::default());
            let cause = tokens
                .get(call, CallArguments::default(), &within(LONG))
                .unwrap_err();
            assert_eq!(cause.code(), CauseCode::OidcCallbackFailed);
            assert!(cause.message().contains(reason), "{cause}");
            assert!(!cause.message().contains("s3cret"));
            // The next call is made as usual.
            assert!(
                tokens
                    .get(gives("a"), CallArguments::default(), &within(LONG))
                    .is_ok()
            );
        }
    }

    #[test]
    fn a_call_from_before_a_fork_is_not_awaited() {
        let tokens = Arc::new(Tokens::default());
        tokens.state.lock().runs_in = Some(fork::count() + 1);
        let found = tokens.get(gives("a"), CallArguments::default(), &within(LONG));
        assert_eq!(found.unwrap().token.expose(), "a");
    }

    #[test]
    fn a_late_call_stretches_no_deadline_and_its_token_is_used() {
        let tokens = Arc::new(Tokens::default());
        let (release, blocked) = mpsc::channel::<()>();
        let call: TokenCall = Box::new(move || {
            let _ = blocked.recv();
            Ok(OidcToken::new("late"))
        });
        let limit = Duration::from_millis(100);
        let cause = tokens
            .get(call, CallArguments::default(), &within(limit))
            .unwrap_err();
        assert!(
            cause.message().contains("did not end within 100 ms"),
            "{cause}"
        );
        // No other call begins in the meantime.
        let cause = tokens
            .get(gives("other"), CallArguments::default(), &within(limit))
            .unwrap_err();
        assert!(cause.message().contains("did not end within"), "{cause}");
        release.send(()).unwrap();
        let found = tokens
            .get(gives("other"), CallArguments::default(), &within(LONG))
            .unwrap();
        assert_eq!(found.token.expose(), "late");
    }
}
