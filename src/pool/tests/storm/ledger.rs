//! A ledger of a pool's events, checked as they arrive and balanced at the end.
//!
//! Events of different threads may arrive in another order than that in which things happened, because no event is
//! sent under the lock. Two orders are always kept: that of the events of one thread, and that of the events of one
//! connection: it is created, ready, checked out and checked in in turns, and closed while no thread has it.

use std::cell::Cell;
use std::collections::HashMap;
use std::sync::Mutex;
use std::time::{Duration, Instant};

use crate::event::{ConnectionCheckOutFailedReason, ConnectionClosedReason, Event, PoolEventKind};

#[derive(Debug, Default)]
pub(super) struct Ledger {
    entries: Mutex<Entries>,
}

#[derive(Debug, Default)]
struct Entries {
    connections: HashMap<u64, Life>,
    check_outs_started: u64,
    answered: u64,
    is_pool_closed: bool,
    /// The errors found. They are collected because a panic of a listener would not be noticed.
    wrong: Vec<String>,
}

/// The known state of a connection.
#[derive(Debug, Default)]
struct Life {
    is_ready: bool,
    is_out: bool,
    closed: Option<ConnectionClosedReason>,
}

thread_local! {
    /// The start of this thread's check-out, until it ends.
    static ASKED: Cell<Option<Instant>> = const { Cell::new(None) };
    /// The time that this thread took to establish a connection during the current check-out.
    static ESTABLISHED: Cell<Option<Duration>> = const { Cell::new(None) };
    /// The number of the last connection that this thread created.
    static LAST: Cell<u64> = const { Cell::new(0) };
}

impl Ledger {
    pub(super) fn note(&self, event: &Event) {
        let Event::Pool(event) = event else { return };
        let mut entries = self.entries.lock().unwrap();
        if let Err(wrong) = entries.note(&event.kind) {
            entries.wrong.push(format!("{wrong}: {event:?}"));
        }
    }

    /// Checks the balance once the pool is closed and unused.
    pub(super) fn check_at_the_end(&self, dials: u64) {
        let entries = self.entries.lock().unwrap();
        let (wrong, count) = (entries.wrong.first(), entries.wrong.len());
        assert_eq!(wrong, None, "and {count} in all");
        assert_eq!(entries.check_outs_started, entries.answered);
        assert!(entries.is_pool_closed);
        let count = entries.connections.len() as u64;
        assert_eq!(count, dials, "each dial is told, and nothing else");
        for id in 1..=count {
            let life = &entries.connections[&id];
            assert!(life.closed.is_some() && !life.is_out, "{id}: {life:?}");
        }
    }
}

impl Entries {
    fn note(&mut self, kind: &PoolEventKind) -> Result<(), &'static str> {
        match kind {
            PoolEventKind::ConnectionCreated { connection_id } => {
                if LAST.replace(*connection_id) >= *connection_id {
                    return Err("numbers do not rise");
                }
                let before = self.connections.insert(*connection_id, Life::default());
                check(before.is_none(), "created twice")
            }
            PoolEventKind::ConnectionReady {
                connection_id,
                duration,
            } => {
                ESTABLISHED.set(Some(*duration));
                let life = self.life(*connection_id)?;
                let was_ready = std::mem::replace(&mut life.is_ready, true);
                check(!was_ready && life.closed.is_none(), "ready too late")
            }
            PoolEventKind::ConnectionClosed {
                connection_id,
                reason,
                error,
            } => {
                let life = self.life(*connection_id)?;
                check(!life.is_out, "closed before it was checked in")?;
                check(life.closed.replace(*reason).is_none(), "closed twice")?;
                let is_error = *reason == ConnectionClosedReason::Error;
                // An attempt to connect ends by itself, or with its pool.
                let ends_a_dial = is_error || *reason == ConnectionClosedReason::PoolClosed;
                check(life.is_ready || ends_a_dial, "closed before it was ready")?;
                check(error.is_none() || is_error, "an error that is no reason")
            }
            PoolEventKind::ConnectionCheckOutStarted => {
                self.check_outs_started += 1;
                ESTABLISHED.set(None);
                let before = ASKED.replace(Some(Instant::now()));
                check(before.is_none(), "asked without an answer")
            }
            PoolEventKind::ConnectionCheckedOut {
                connection_id,
                duration,
            } => {
                self.answer(*duration)?;
                let life = self.life(*connection_id)?;
                check(life.is_ready, "checked out before it was ready")?;
                let was_out = std::mem::replace(&mut life.is_out, true);
                check(!was_out, "checked out twice")?;
                check(life.closed.is_none(), "checked out after it was closed")
            }
            PoolEventKind::ConnectionCheckedIn { connection_id } => {
                let life = self.life(*connection_id)?;
                let was_out = std::mem::replace(&mut life.is_out, false);
                check(was_out, "checked in without having been out")
            }
            PoolEventKind::ConnectionCheckOutFailed {
                duration, reason, ..
            } => {
                let is_refusal = *reason == ConnectionCheckOutFailedReason::PoolClosed;
                check(!is_refusal, "nobody asks a closed pool here")?;
                self.answer(*duration)
            }
            PoolEventKind::Closed => {
                check(!self.is_pool_closed, "closed twice")?;
                self.is_pool_closed = true;
                Ok(())
            }
            PoolEventKind::Created { .. }
            | PoolEventKind::Ready
            | PoolEventKind::Cleared { .. } => Ok(()),
        }
    }

    fn answer(&mut self, duration: Duration) -> Result<(), &'static str> {
        self.answered += 1;
        let started = ASKED.take().ok_or("an answer that nobody asked for")?;
        // The pool reads the clock before it sends the event.
        check(duration <= started.elapsed() + SLACK, "it took too long")?;
        match ESTABLISHED.take() {
            Some(established) => check(established <= duration, "shorter than its part"),
            None => Ok(()),
        }
    }

    fn life(&mut self, id: u64) -> Result<&mut Life, &'static str> {
        self.connections.get_mut(&id).ok_or("it was not created")
    }
}

fn check(is_so: bool, wrong: &'static str) -> Result<(), &'static str> {
    is_so.then_some(()).ok_or(wrong)
}

/// The maximum time for which a thread may be preempted between the clock and the event.
const SLACK: Duration = Duration::from_secs(5);
