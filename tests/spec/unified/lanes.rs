//! Lanes: threads that run one suite at a time, each with its own store and its own deployments.

use std::env;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, mpsc};
use std::thread;
use std::time::Duration;

use mongotls_testbench::peers::{PeerUnavailable, Secantus, SecantusOptions};
use serde_json::Value;

use super::deployment::{Configuration, Deployment};
use super::failure::Failure;
use super::lock;
use super::run;

/// How to run suites side by side.
pub(crate) struct Lanes {
    count: usize,
}

/// One thread's store and deployments.
pub(crate) struct Lane {
    // Dropped before the store.
    deployments: Mutex<Vec<Arc<Deployment>>>,
    store: Result<Secantus, String>,
    /// True if cases that need servers are skipped, because there is no store and none is required.
    pub(crate) is_skipped: bool,
}

/// The time limit of one case: a blocking driver can hang, and the others must still run.
const LIMIT: Duration = Duration::from_secs(60);

impl Lanes {
    pub(crate) fn new(need_servers: bool) -> Self {
        let cores = thread::available_parallelism().map_or(1, usize::from);
        Self {
            count: if need_servers { cores.clamp(1, 4) } else { 1 },
        }
    }

    /// Calls `act` for each item, on some lane.
    pub(crate) fn each<T: Sync>(&self, items: &[T], act: impl Fn(&T, &Lane) + Sync) {
        let next = AtomicUsize::new(0);
        thread::scope(|scope| {
            for _ in 0..self.count {
                scope.spawn(|| {
                    let lane = Lane::new();
                    while let Some(item) = items.get(next.fetch_add(1, Ordering::SeqCst)) {
                        act(item, &lane);
                    }
                });
            }
        });
    }
}

impl Lane {
    fn new() -> Self {
        let store = Secantus::start(&SecantusOptions::plain());
        let is_required =
            env::var_os("MONGOTLS_REQUIRE_PEERS").is_some_and(|value| !value.is_empty());
        let is_missing =
            |why: &PeerUnavailable| !is_required && why.what.starts_with("there is no");
        Self {
            deployments: Mutex::default(),
            is_skipped: store.as_ref().is_err_and(is_missing),
            store: store.map_err(|why| why.to_string()),
        }
    }

    /// The reason why there are no servers, if there are none.
    pub(crate) fn problem(&self) -> Option<&str> {
        self.store.as_ref().err().map(String::as_str)
    }

    /// A deployment of this kind; started when it is first needed.
    pub(crate) fn deployment(
        &self,
        configuration: Configuration,
    ) -> Result<Arc<Deployment>, String> {
        let mut deployments = lock(&self.deployments);
        let present = deployments
            .iter()
            .find(|one| one.configuration == configuration);
        if let Some(present) = present {
            return Ok(Arc::clone(present));
        }
        let store = self.store.as_ref().map_err(Clone::clone)?;
        let started = Arc::new(Deployment::start(configuration, &store.backend()));
        deployments.push(Arc::clone(&started));
        Ok(started)
    }

    /// Runs a case within the time limit. A panic is a failure, and so is a hang, after which nothing uses that
    /// deployment any more.
    pub(crate) fn run(
        &self,
        configuration: Configuration,
        file: &Arc<Value>,
        case: usize,
    ) -> Result<(), Failure> {
        let deployment = self.deployment(configuration).map_err(Failure::Runner)?;
        let (send, received) = mpsc::channel();
        let (file, for_case) = (Arc::clone(file), Arc::clone(&deployment));
        let thread = thread::spawn(move || {
            let outcome = run::run(&for_case, &file, &super::cases(&file)[case]);
            // Nobody receives it after the limit.
            let _ = send.send(outcome);
        });
        match received.recv_timeout(LIMIT) {
            Ok(outcome) => {
                let _ = thread.join();
                outcome
            }
            Err(mpsc::RecvTimeoutError::Timeout) => {
                lock(&self.deployments).retain(|one| !Arc::ptr_eq(one, &deployment));
                // Its drop would wait for the connections of the hanging case.
                std::mem::forget(deployment);
                Err(Failure::mismatch(format!(
                    "the case has not ended after {LIMIT:?}"
                )))
            }
            Err(mpsc::RecvTimeoutError::Disconnected) => {
                let payload = thread.join().err();
                let text = payload.as_ref().and_then(|payload| {
                    let owned = payload.downcast_ref::<String>().map(String::as_str);
                    owned.or_else(|| payload.downcast_ref::<&str>().copied())
                });
                Err(Failure::mismatch(format!(
                    "panicked: {}",
                    text.unwrap_or("no message")
                )))
            }
        }
    }
}
