//! The rules of a pool, as a plain value: which connection a check-out gets, who must wait, what is
//! closed and why.
//!
//! What comes in are the calls of threads and the instant of each; what goes out are decisions that the
//! caller carries out after it has let go of the lock. Nothing in here dials, closes, wakes, logs or reads
//! the clock. Source: CMAP, "Connection Pool Behaviors".
//!
//! The value is generic over the connection `C`, the handle `H` by which a connection in use can be reached
//! from outside, and the waiting thread `W`, so that the rules are tested without sockets and threads.

use std::collections::{HashMap, VecDeque};
use std::time::{Duration, Instant};

/// The service behind a load balancer, as in hello's `serviceId`.
pub(super) type ServiceId = [u8; 12];

/// The limits of a pool, from the options.
#[derive(Clone, Copy, Debug)]
pub(super) struct Limits {
    /// `maxPoolSize`; `usize::MAX` means no limit.
    pub(super) max_size: usize,
    /// `minPoolSize`.
    pub(super) min_size: usize,
    /// `maxConnecting`; 1 and up.
    pub(super) max_connecting: usize,
    /// `maxIdleTimeMS`.
    pub(super) max_idle_time: Option<Duration>,
}

/// Whether a pool serves check-outs (CMAP, "Connection Pool").
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Phase {
    Paused,
    Ready,
    Closed,
}

/// A place in the pool: the right to hold one connection, and the duty to give the place back.
///
/// The pool may have taken the place away meanwhile, by an interruption; then giving it back is without effect.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Lease {
    /// The number of the connection within its pool, from 1 on, in order of creation.
    pub(crate) id: u64,
    slot: usize,
    /// The pool's generation when the connection was created.
    pub(crate) generation: u64,
}

/// What a check-out is told.
#[derive(Debug)]
pub(super) enum Outcome<C> {
    /// Here is a connection that was available since that instant.
    Reuse(Lease, C, Instant),
    /// Establish a connection in this place; then call [`State::established`] or [`State::failed`].
    Establish(Lease),
    /// There is none to be had.
    Refused(Refusal),
}

/// Why a check-out fails at once.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Refusal {
    Paused,
    Closed,
}

/// Why a connection is closed (CMAP, `ConnectionClosedEvent.reason`).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Reason {
    Stale,
    Idle,
    Error,
    PoolClosed,
}

/// A connection that has left the pool. It is for the caller to tell of it and to close it.
#[derive(Debug)]
pub(super) struct Closing<C, H> {
    pub(super) id: u64,
    /// None if it was told before, when the connection was interrupted.
    pub(super) reason: Option<Reason>,
    /// None if the connection is in use elsewhere.
    pub(super) connection: Option<C>,
    /// Reaches a connection that is in use elsewhere, and has to be cut off.
    pub(super) handle: Option<H>,
}

/// How many connections and threads there are.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct Counts {
    pub(super) available: usize,
    pub(super) in_use: usize,
    pub(super) pending: usize,
    pub(super) waiting: usize,
}

impl Counts {
    /// The connections that there are (CMAP, `totalConnectionCount`).
    pub(super) fn total(&self) -> usize {
        self.available + self.in_use + self.pending
    }
}

/// A waiting thread's number in the queue. Lower ones are served first.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct Ticket(i64);

/// The state of a pool; see the [module documentation](self).
#[derive(Debug)]
pub(super) struct State<C, H, W> {
    limits: Limits,
    phase: Phase,
    generation: u64,
    services: HashMap<ServiceId, Service>,
    last_id: u64,
    /// The places; an empty one is listed in `free`.
    members: Vec<Option<Member<C, H>>>,
    free: Vec<usize>,
    /// The slots of what is available, the one checked in last at the end.
    available: Vec<usize>,
    pending: usize,
    in_use: usize,
    waiters: VecDeque<(Ticket, W)>,
    next_ticket: i64,
    /// The next ticket of a thread that lines up as the first one; below all others that there were, so that none
    /// is ever given twice.
    first_ticket: i64,
    /// Whether connections may be made in the background: not before the program was told that the pool is
    /// ready.
    may_populate: bool,
    /// The instant before which no connection is established while there are others to wait for.
    held_until: Option<Instant>,
    closing: Vec<Closing<C, H>>,
}

#[derive(Debug)]
struct Member<C, H> {
    id: u64,
    generation: u64,
    /// Known once the connection is established.
    service: Option<(ServiceId, u64)>,
    is: Is,
    /// When it became what it is.
    since: Instant,
    /// There while it is available.
    connection: Option<C>,
    handle: H,
}

/// What a connection is (CMAP, `Connection.state`).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Is {
    Pending,
    Available,
    InUse,
}

/// A service behind a load balancer (CMAP, "Load Balancer Mode").
#[derive(Debug, Default)]
struct Service {
    generation: u64,
    connections: usize,
}

impl<C, H: Clone, W> State<C, H, W> {
    /// An empty pool, paused.
    pub(super) fn new(limits: Limits) -> Self {
        Self {
            limits,
            phase: Phase::Paused,
            generation: 0,
            services: HashMap::new(),
            last_id: 0,
            members: Vec::new(),
            free: Vec::new(),
            available: Vec::new(),
            pending: 0,
            in_use: 0,
            waiters: VecDeque::new(),
            next_ticket: 0,
            first_ticket: -1,
            may_populate: false,
            held_until: None,
            closing: Vec::new(),
        }
    }

    pub(super) fn phase(&self) -> Phase {
        self.phase
    }

    pub(super) fn generation(&self) -> u64 {
        self.generation
    }

    pub(super) fn counts(&self) -> Counts {
        Counts {
            available: self.available.len(),
            in_use: self.in_use,
            pending: self.pending,
            waiting: self.waiters.len(),
        }
    }

    /// The handle of a connection; none if the pool has taken its place away.
    pub(super) fn handle(&self, lease: Lease) -> Option<H> {
        let member = self.members.get(lease.slot)?.as_ref()?;
        (member.id == lease.id).then(|| member.handle.clone())
    }

    /// What has left the pool since this was asked last.
    pub(super) fn take_closing(&mut self) -> Vec<Closing<C, H>> {
        std::mem::take(&mut self.closing)
    }

    /// The connections in use, and since when.
    pub(super) fn in_use(&self) -> impl Iterator<Item = (u64, Instant)> {
        let members = self.members.iter().flatten();
        members
            .filter(|member| member.is == Is::InUse)
            .map(|member| (member.id, member.since))
    }

    /// Serves a check-out at once, or not at all: then the thread must [`enqueue`](Self::enqueue).
    ///
    /// Whoever came earlier is served first. `handle` is for a connection that is still to be established.
    pub(super) fn check_out(
        &mut self,
        now: Instant,
        handle: impl FnOnce() -> H,
    ) -> Option<Outcome<C>> {
        match self.phase {
            Phase::Paused => Some(Outcome::Refused(Refusal::Paused)),
            Phase::Closed => Some(Outcome::Refused(Refusal::Closed)),
            Phase::Ready if self.waiters.is_empty() => self.serve(now, handle),
            Phase::Ready => None,
        }
    }

    /// As [`check_out`](Self::check_out), for a thread that was given a connection which turned out to be
    /// dead: its place is free again, and it is still the first in the queue.
    pub(super) fn check_out_instead(
        &mut self,
        dead: Lease,
        connection: C,
        now: Instant,
        handle: impl FnOnce() -> H,
    ) -> Option<Outcome<C>> {
        self.close(dead, Some(connection), Reason::Error);
        match self.phase {
            Phase::Paused => Some(Outcome::Refused(Refusal::Paused)),
            Phase::Closed => Some(Outcome::Refused(Refusal::Closed)),
            Phase::Ready => self.serve(now, handle),
        }
    }

    /// As [`check_out`](Self::check_out), for a thread that could not establish a connection because of a
    /// [limit of this host](Self::hold): it is still the first in the queue. Returns `None` if there is no other
    /// connection to wait for.
    pub(super) fn check_out_another(
        &mut self,
        now: Instant,
        handle: impl FnOnce() -> H,
    ) -> Option<Option<Outcome<C>>> {
        match self.phase {
            Phase::Ready if !self.has_established() => None,
            Phase::Ready => Some(self.serve(now, handle)),
            Phase::Paused => Some(Some(Outcome::Refused(Refusal::Paused))),
            Phase::Closed => Some(Some(Outcome::Refused(Refusal::Closed))),
        }
    }

    /// This host can establish no more connections for now. Threads wait for the existing ones, in their order, so
    /// that no thread fails while others go on.
    pub(super) fn hold(&mut self, now: Instant) {
        self.held_until = now.checked_add(HELD_FOR);
    }

    fn has_established(&self) -> bool {
        self.in_use > 0 || !self.available.is_empty()
    }

    /// Lines a thread up: at the end, or as the first one.
    pub(super) fn enqueue(&mut self, waiter: W, first: bool) -> Ticket {
        if first {
            let ticket = Ticket(self.first_ticket);
            self.first_ticket -= 1;
            self.waiters.push_front((ticket, waiter));
            return ticket;
        }
        let ticket = Ticket(self.next_ticket);
        self.next_ticket += 1;
        self.waiters.push_back((ticket, waiter));
        ticket
    }

    /// Takes a thread out of the queue. False if it is not there any more, because it was served.
    pub(super) fn leave(&mut self, ticket: Ticket) -> bool {
        let place = self
            .waiters
            .binary_search_by_key(&ticket, |(ticket, _)| *ticket);
        place.is_ok_and(|place| self.waiters.remove(place).is_some())
    }

    /// The thread at the head of the queue with what it gets, if it can be served now.
    pub(super) fn next_grant(
        &mut self,
        now: Instant,
        handle: impl FnOnce() -> H,
    ) -> Option<(W, Outcome<C>)> {
        if self.waiters.is_empty() {
            return None;
        }
        let outcome = match self.phase {
            Phase::Paused => Outcome::Refused(Refusal::Paused),
            Phase::Closed => Outcome::Refused(Refusal::Closed),
            Phase::Ready => self.serve(now, handle)?,
        };
        let (_, waiter) = self.waiters.pop_front()?;
        Some((waiter, outcome))
    }

    /// A place for a connection that is to be established in the background, if one is wanted and allowed.
    pub(super) fn populate(&mut self, now: Instant, handle: impl FnOnce() -> H) -> Option<Lease> {
        let wanted = self.lacks_connections() && self.may_create(now);
        wanted.then(|| self.create(now, handle()))
    }

    /// Whether there are fewer connections than `minPoolSize`, and the pool may make some.
    pub(super) fn lacks_connections(&self) -> bool {
        self.phase == Phase::Ready
            && self.may_populate
            && self.counts().total() < self.limits.min_size
    }

    /// A connection is established. It is in use by the thread that established it.
    pub(super) fn established(&mut self, lease: Lease, service: Option<ServiceId>, now: Instant) {
        let Some(member) = self.members.get_mut(lease.slot).and_then(Option::as_mut) else {
            return;
        };
        if member.id != lease.id || member.is != Is::Pending {
            return;
        }
        member.service = service.map(|id| {
            let service = self.services.entry(id).or_default();
            service.connections += 1;
            (id, service.generation)
        });
        member.is = Is::InUse;
        member.since = now;
        self.pending -= 1;
        self.in_use += 1;
    }

    /// A connection could not be established, or its dial panicked.
    pub(super) fn failed(&mut self, lease: Lease, reason: Reason) {
        self.close(lease, None, reason);
    }

    /// A connection comes back. It is available again, unless it has perished.
    pub(super) fn check_in(&mut self, lease: Lease, connection: C, perished: bool, now: Instant) {
        let reason = match () {
            () if self.phase == Phase::Closed => Some(Reason::PoolClosed),
            () if perished => Some(Reason::Error),
            () if self.is_stale(lease) => Some(Reason::Stale),
            () => None,
        };
        if let Some(reason) = reason {
            self.close(lease, Some(connection), reason);
            return;
        }
        // A place that was taken away is stale.
        let Some(member) = self.member(lease) else {
            return;
        };
        member.connection = Some(connection);
        member.is = Is::Available;
        member.since = now;
        self.in_use -= 1;
        self.available.push(lease.slot);
    }

    /// Marks the pool ready; true if it was paused. The threads that wait may be served now.
    pub(super) fn ready(&mut self) -> bool {
        let was_paused = self.phase == Phase::Paused;
        if was_paused {
            self.phase = Phase::Ready;
        }
        was_paused
    }

    /// Allows connections to be made in the background: the program knows that the pool is ready.
    pub(super) fn allow_populating(&mut self) {
        self.may_populate = self.phase == Phase::Ready;
    }

    /// Begins a new generation: what is available is closed, what is in use when it is checked in. With
    /// `pause` the pool does not serve anybody until it is ready again, and true is returned if it did before.
    ///
    /// With `interrupt` what is in use leaves the pool too; the caller cuts it off by its handle. What is being
    /// established is returned by handle as well: its place is given back by whoever dials.
    pub(super) fn clear(&mut self, pause: bool, interrupt: bool) -> (bool, Vec<H>) {
        let was_ready = self.phase == Phase::Ready;
        self.generation += 1;
        if pause && was_ready {
            self.phase = Phase::Paused;
            self.may_populate = false;
        }
        self.close_available(Reason::Stale);
        let mut dials = Vec::new();
        if interrupt {
            self.close_all(Is::InUse, Reason::Stale);
            dials = self.pending_handles();
        }
        (was_ready, dials)
    }

    /// Begins a new generation for one service behind a load balancer. The pool goes on serving (CMAP,
    /// "Clearing a load balanced pool"). False if no connection to the service exists.
    pub(super) fn clear_service(&mut self, id: &ServiceId) -> bool {
        let Some(service) = self.services.get_mut(id) else {
            return false;
        };
        service.generation += 1;
        let is_stale = |member: &Member<C, H>| member.service.is_some_and(|(own, _)| own == *id);
        let members = &self.members;
        let (stale, kept) = std::mem::take(&mut self.available)
            .into_iter()
            .partition(|slot| members[*slot].as_ref().is_some_and(is_stale));
        self.available = kept;
        for slot in stale {
            self.remove(slot, Reason::Stale);
        }
        true
    }

    /// Whether an error of a connection says nothing about those of now: the pool has been cleared since the
    /// connection was created.
    pub(super) fn is_stale(&self, lease: Lease) -> bool {
        let Some(member) = self.members.get(lease.slot).and_then(Option::as_ref) else {
            return true;
        };
        member.id != lease.id || self.is_member_stale(member)
    }

    /// Closes the pool for good; false if it was closed already. The handles are those of the connections that
    /// are being established.
    pub(super) fn close_pool(&mut self) -> (bool, Vec<H>) {
        if self.phase == Phase::Closed {
            return (false, Vec::new());
        }
        self.phase = Phase::Closed;
        self.may_populate = false;
        self.close_available(Reason::PoolClosed);
        (true, self.pending_handles())
    }

    /// Closes what has been available for longer than `maxIdleTimeMS`, oldest first; returns when the next
    /// one will have been.
    pub(super) fn close_idle(&mut self, now: Instant) -> Option<Instant> {
        let limit = self.limits.max_idle_time?;
        let members = &self.members;
        let since = |slot: &usize| members[*slot].as_ref().map(|member| member.since);
        // Those at the front were checked in first.
        let is_old =
            |slot: &usize| since(slot).is_some_and(|since| now.duration_since(since) > limit);
        let old = self
            .available
            .iter()
            .take_while(|slot| is_old(slot))
            .count();
        let next = self
            .available
            .get(old)
            .and_then(since)
            .and_then(|since| since.checked_add(limit));
        for slot in self.available.drain(..old).collect::<Vec<_>>() {
            self.remove(slot, Reason::Idle);
        }
        next
    }

    /// A connection that is available, or a place for a new one; none if there is neither.
    fn serve(&mut self, now: Instant, handle: impl FnOnce() -> H) -> Option<Outcome<C>> {
        while let Some(slot) = self.available.pop() {
            if let Some(reason) = self.perished(slot, now) {
                self.remove(slot, reason);
                continue;
            }
            let member = self.members[slot].as_mut()?;
            let since = std::mem::replace(&mut member.since, now);
            member.is = Is::InUse;
            let lease = Lease {
                id: member.id,
                slot,
                generation: member.generation,
            };
            let connection = member.connection.take()?;
            self.in_use += 1;
            return Some(Outcome::Reuse(lease, connection, since));
        }
        self.may_create(now)
            .then(|| Outcome::Establish(self.create(now, handle())))
    }

    fn may_create(&self, now: Instant) -> bool {
        let is_held = self.held_until.is_some_and(|until| now < until) && self.has_established();
        self.pending < self.limits.max_connecting
            && self.counts().total() < self.limits.max_size
            && !is_held
    }

    fn create(&mut self, now: Instant, handle: H) -> Lease {
        self.last_id += 1;
        let member = Member {
            id: self.last_id,
            generation: self.generation,
            service: None,
            is: Is::Pending,
            since: now,
            connection: None,
            handle,
        };
        let slot = self.free.pop().unwrap_or_else(|| {
            self.members.push(None);
            self.members.len() - 1
        });
        self.members[slot] = Some(member);
        self.pending += 1;
        Lease {
            id: self.last_id,
            slot,
            generation: self.generation,
        }
    }

    /// Why what is available must not be handed out.
    fn perished(&self, slot: usize, now: Instant) -> Option<Reason> {
        let member = self.members[slot].as_ref()?;
        if self.is_member_stale(member) {
            return Some(Reason::Stale);
        }
        let is_old = |limit| now.duration_since(member.since) > limit;
        self.limits
            .max_idle_time
            .is_some_and(is_old)
            .then_some(Reason::Idle)
    }

    fn is_member_stale(&self, member: &Member<C, H>) -> bool {
        let of_service = |(id, generation): (ServiceId, u64)| {
            self.services
                .get(&id)
                .is_none_or(|service| service.generation != generation)
        };
        member.generation != self.generation || member.service.is_some_and(of_service)
    }

    fn member(&mut self, lease: Lease) -> Option<&mut Member<C, H>> {
        let member = self.members.get_mut(lease.slot)?.as_mut()?;
        (member.id == lease.id).then_some(member)
    }

    /// Ends a lease; without effect if the pool has ended it already.
    fn close(&mut self, lease: Lease, connection: Option<C>, reason: Reason) {
        match self.member(lease) {
            Some(member) => {
                member.connection = connection;
                self.remove(lease.slot, reason);
            }
            None => self.closing.push(Closing {
                id: lease.id,
                reason: None,
                connection,
                handle: None,
            }),
        }
    }

    /// Takes a member out of the pool, whatever it is; the slot of an available one is not listed any more.
    fn remove(&mut self, slot: usize, reason: Reason) {
        let Some(member) = self.members[slot].take() else {
            return;
        };
        self.free.push(slot);
        match member.is {
            Is::Pending => self.pending -= 1,
            Is::InUse => self.in_use -= 1,
            Is::Available => {}
        }
        if let Some((id, _)) = member.service {
            self.leave_service(&id);
        }
        let is_elsewhere = member.is == Is::InUse && member.connection.is_none();
        self.closing.push(Closing {
            id: member.id,
            reason: Some(reason),
            connection: member.connection,
            handle: is_elsewhere.then_some(member.handle),
        });
    }

    fn leave_service(&mut self, id: &ServiceId) {
        let Some(service) = self.services.get_mut(id) else {
            return;
        };
        service.connections -= 1;
        if service.connections == 0 {
            self.services.remove(id);
        }
    }

    fn close_available(&mut self, reason: Reason) {
        for slot in std::mem::take(&mut self.available) {
            self.remove(slot, reason);
        }
    }

    fn close_all(&mut self, what: Is, reason: Reason) {
        for slot in 0..self.members.len() {
            if self.members[slot]
                .as_ref()
                .is_some_and(|member| member.is == what)
            {
                self.remove(slot, reason);
            }
        }
    }

    fn pending_handles(&self) -> Vec<H> {
        let members = self.members.iter().flatten();
        let pending = members.filter(|member| member.is == Is::Pending);
        pending.map(|member| member.handle.clone()).collect()
    }
}

/// The pause before the next dial after this host could not establish a connection: 500 ms, or until the last one is
/// gone.
const HELD_FOR: Duration = Duration::from_millis(500);

// The path is given because the model test includes this file by its path.
#[cfg(test)]
#[path = "tests.rs"]
mod tests;
