//! The rules of a pool, as a plain value: the connection that a check-out gets, the threads that must wait, and the
//! connections that are closed and the reasons.
//!
//! Input: the calls of threads and the instant of each call. Output: decisions, which the caller carries out after it
//! has released the lock. Nothing in this module dials, closes, wakes, logs or reads the clock. Source: CMAP,
//! "Connection Pool Behaviors".
//!
//! The value is generic over the connection `C`, the handle `H` through which another thread can interrupt a
//! connection, and the waiting thread `W`, so that the rules are tested without sockets and threads.

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

/// The phase of a pool: whether it serves check-outs (CMAP, "Connection Pool").
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Phase {
    Paused,
    Ready,
    Closed,
}

/// A lease: the right to hold one connection of the pool, and the duty to return it once.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Lease {
    /// The number of the connection within its pool, starting at 1, in order of creation.
    pub(crate) id: u64,
    slot: usize,
    /// The generation of the pool when the connection was created.
    pub(crate) generation: u64,
}

/// The result of a check-out.
#[derive(Debug)]
pub(super) enum CheckOutStep<C> {
    /// Use this connection, which has been available since that instant.
    Reuse(Lease, C, Instant),
    /// Establish a connection for this lease; then call [`State::established`] or [`State::failed`].
    Establish(Lease),
    /// The pool does not serve check-outs.
    Refused(CheckOutRefusal),
}

/// The reason why a check-out fails at once.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum CheckOutRefusal {
    Paused,
    Closed,
}

/// The reason why a connection is closed (CMAP, `ConnectionClosedEvent.reason`).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum CloseReason {
    Stale,
    Idle,
    Error,
    PoolClosed,
}

/// A connection that has left the pool. The caller must report and close it.
#[derive(Debug)]
pub(super) struct Closing<C> {
    pub(super) id: u64,
    pub(super) reason: CloseReason,
    /// The connection, or `None` if it could not be established.
    pub(super) connection: Option<C>,
}

/// The numbers of connections and waiting threads.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct Counts {
    pub(super) available: usize,
    pub(super) in_use: usize,
    pub(super) pending: usize,
    pub(super) waiting: usize,
}

impl Counts {
    /// Returns the number of existing connections (CMAP, `totalConnectionCount`).
    pub(super) fn total(&self) -> usize {
        self.available + self.in_use + self.pending
    }
}

/// The number of a waiting thread in the queue. Lower numbers are served first.
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
    /// The slots for connections; the empty ones are listed in `free`.
    members: Vec<Option<PoolMember<C, H>>>,
    free: Vec<usize>,
    /// The slots of available connections, with the one checked in last at the end.
    available: Vec<usize>,
    pending: usize,
    in_use: usize,
    waiters: VecDeque<(Ticket, W)>,
    next_ticket: i64,
    /// The next ticket of a thread that enters the queue at the head. It is below all earlier tickets, so that no
    /// ticket is given twice.
    first_ticket: i64,
    /// True if connections may be established in the background. This is allowed only after the program has been
    /// notified that the pool is ready.
    may_populate: bool,
    /// The instant before which no connection is established if there are others to wait for.
    held_until: Option<Instant>,
    closing: Vec<Closing<C>>,
}

#[derive(Debug)]
struct PoolMember<C, H> {
    id: u64,
    generation: u64,
    /// The service and its generation, known once the server has answered hello.
    service: Option<(ServiceId, u64)>,
    is: MemberState,
    /// True if the pool was cleared with an interruption while the connection was in use.
    is_interrupted: bool,
    /// The instant of the last change of status.
    since: Instant,
    /// The connection, while it is available.
    connection: Option<C>,
    handle: H,
}

/// The status of a connection (CMAP, `Connection.state`).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum MemberState {
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
    /// Creates an empty, paused pool.
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

    /// Returns the handle of a connection, or `None` if its lease has been returned.
    pub(super) fn handle(&self, lease: Lease) -> Option<H> {
        let member = self.members.get(lease.slot)?.as_ref()?;
        (member.id == lease.id).then(|| member.handle.clone())
    }

    /// Returns the connections that have left the pool since the last call.
    pub(super) fn take_closing(&mut self) -> Vec<Closing<C>> {
        std::mem::take(&mut self.closing)
    }

    /// Returns the connections in use, and the time of their check-out.
    pub(super) fn in_use(&self) -> impl Iterator<Item = (u64, Instant)> {
        let members = self.members.iter().flatten();
        members
            .filter(|member| member.is == MemberState::InUse)
            .map(|member| (member.id, member.since))
    }

    /// Serves a check-out immediately, if that is possible. Otherwise the thread must [`enqueue`](Self::enqueue).
    ///
    /// Threads that came earlier are served first. `handle` creates the handle of a connection that must be
    /// established.
    pub(super) fn check_out(
        &mut self,
        now: Instant,
        handle: impl FnOnce() -> H,
    ) -> Option<CheckOutStep<C>> {
        match self.phase {
            Phase::Paused => Some(CheckOutStep::Refused(CheckOutRefusal::Paused)),
            Phase::Closed => Some(CheckOutStep::Refused(CheckOutRefusal::Closed)),
            Phase::Ready if self.waiters.is_empty() => self.serve(now, handle),
            Phase::Ready => None,
        }
    }

    /// Does the same as [`check_out`](Self::check_out) for a thread whose connection turned out to be dead. Its lease
    /// is released, and the thread is still first in the queue.
    pub(super) fn check_out_instead(
        &mut self,
        dead: Lease,
        connection: C,
        now: Instant,
        handle: impl FnOnce() -> H,
    ) -> Option<CheckOutStep<C>> {
        self.close(dead, Some(connection), CloseReason::Error);
        match self.phase {
            Phase::Paused => Some(CheckOutStep::Refused(CheckOutRefusal::Paused)),
            Phase::Closed => Some(CheckOutStep::Refused(CheckOutRefusal::Closed)),
            Phase::Ready => self.serve(now, handle),
        }
    }

    /// Does the same as [`check_out`](Self::check_out) for a thread that could not establish a connection because of
    /// a [limit of this host](Self::hold). The thread is still first in the queue. Returns `None` if there is no
    /// other connection to wait for.
    pub(super) fn check_out_another(
        &mut self,
        now: Instant,
        handle: impl FnOnce() -> H,
    ) -> Option<Option<CheckOutStep<C>>> {
        match self.phase {
            Phase::Ready if !self.has_established() => None,
            Phase::Ready => Some(self.serve(now, handle)),
            Phase::Paused => Some(Some(CheckOutStep::Refused(CheckOutRefusal::Paused))),
            Phase::Closed => Some(Some(CheckOutStep::Refused(CheckOutRefusal::Closed))),
        }
    }

    /// Records that this host can establish no more connections for now. Threads then wait for the existing ones, in
    /// order, so that no thread fails while others continue.
    pub(super) fn hold(&mut self, now: Instant) {
        self.held_until = now.checked_add(HELD_FOR);
    }

    fn has_established(&self) -> bool {
        self.in_use > 0 || !self.available.is_empty()
    }

    /// Adds a thread to the queue: at the end, or at the head.
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

    /// Removes a thread from the queue. Returns false if it is not in the queue any more, because it was served.
    pub(super) fn leave(&mut self, ticket: Ticket) -> bool {
        let place = self
            .waiters
            .binary_search_by_key(&ticket, |(ticket, _)| *ticket);
        place.is_ok_and(|place| self.waiters.remove(place).is_some())
    }

    /// Returns the thread at the head of the queue and its result, if it can be served now.
    pub(super) fn next_grant(
        &mut self,
        now: Instant,
        handle: impl FnOnce() -> H,
    ) -> Option<(W, CheckOutStep<C>)> {
        if self.waiters.is_empty() {
            return None;
        }
        let outcome = match self.phase {
            Phase::Paused => CheckOutStep::Refused(CheckOutRefusal::Paused),
            Phase::Closed => CheckOutStep::Refused(CheckOutRefusal::Closed),
            Phase::Ready => self.serve(now, handle)?,
        };
        let (_, waiter) = self.waiters.pop_front()?;
        Some((waiter, outcome))
    }

    /// Returns a lease for a connection to establish in the background, if one is needed and allowed.
    pub(super) fn populate(&mut self, now: Instant, handle: impl FnOnce() -> H) -> Option<Lease> {
        let is_needed = self.lacks_connections() && self.may_create(now);
        is_needed.then(|| self.create(now, handle()))
    }

    /// Returns true if there are fewer connections than `minPoolSize`, and the pool may establish more.
    pub(super) fn lacks_connections(&self) -> bool {
        self.phase == Phase::Ready
            && self.may_populate
            && self.counts().total() < self.limits.min_size
    }

    /// Records the service that a connection leads to, once the server has answered hello. From then on the
    /// connection belongs to the current generation of that service (CMAP, "Load Balancer Mode").
    pub(super) fn serves(&mut self, lease: Lease, id: ServiceId) {
        let Some(member) = self.members.get_mut(lease.slot).and_then(Option::as_mut) else {
            return;
        };
        if member.id != lease.id || member.service.is_some() {
            return;
        }
        let service = self.services.entry(id).or_default();
        service.connections += 1;
        member.service = Some((id, service.generation));
    }

    /// Records that a connection is established. It is in use by the thread that established it.
    pub(super) fn established(&mut self, lease: Lease, now: Instant) {
        let Some(member) = self.member(lease) else {
            return;
        };
        if member.is != MemberState::Pending {
            return;
        }
        member.is = MemberState::InUse;
        member.since = now;
        self.pending -= 1;
        self.in_use += 1;
    }

    /// Records that a connection could not be established, or that its dial panicked.
    pub(super) fn failed(&mut self, lease: Lease, reason: CloseReason) {
        self.close(lease, None, reason);
    }

    /// Returns a connection to the pool. It is available again, unless it has perished.
    pub(super) fn check_in(&mut self, lease: Lease, connection: C, perished: bool, now: Instant) {
        let is_interrupted = self.member(lease).is_some_and(|own| own.is_interrupted);
        let reason = match () {
            () if self.phase == Phase::Closed => Some(CloseReason::PoolClosed),
            // The interruption is the reason why it has perished.
            () if is_interrupted => Some(CloseReason::Stale),
            () if perished => Some(CloseReason::Error),
            () if self.is_stale(lease) => Some(CloseReason::Stale),
            () => None,
        };
        if let Some(reason) = reason {
            self.close(lease, Some(connection), reason);
            return;
        }
        let Some(member) = self.member(lease) else {
            return;
        };
        member.connection = Some(connection);
        member.is = MemberState::Available;
        member.since = now;
        self.in_use -= 1;
        self.available.push(lease.slot);
    }

    /// Marks the pool ready, and returns true if it was paused. Waiting threads can now be served.
    pub(super) fn ready(&mut self) -> bool {
        let was_paused = self.phase == Phase::Paused;
        if was_paused {
            self.phase = Phase::Ready;
        }
        was_paused
    }

    /// Allows connections to be established in the background, after the program has been notified that the pool is
    /// ready.
    pub(super) fn allow_populating(&mut self) {
        self.may_populate = self.phase == Phase::Ready;
    }

    /// Begins a new generation: available connections are closed now, those in use when they are checked in. With
    /// `pause`, the pool serves no check-outs until it is ready again; the returned flag is true if it served them
    /// before.
    ///
    /// With `interrupt`, the handles of the connections in use and of those that are being established are returned.
    /// The caller interrupts them. Their threads then return the leases, so that each connection is checked in before
    /// it is reported as closed.
    pub(super) fn clear(&mut self, pause: bool, interrupt: bool) -> (bool, Vec<H>) {
        let was_ready = self.phase == Phase::Ready;
        self.generation += 1;
        if pause && was_ready {
            self.phase = Phase::Paused;
            self.may_populate = false;
        }
        self.close_available(CloseReason::Stale);
        let interrupted = match interrupt {
            true => self.interrupt_all(),
            false => Vec::new(),
        };
        (was_ready, interrupted)
    }

    /// Begins a new generation for one service behind a load balancer. The pool continues to serve check-outs (CMAP,
    /// "Clearing a load balanced pool"). Returns false if no connection to the service exists.
    pub(super) fn clear_service(&mut self, id: &ServiceId) -> bool {
        let Some(service) = self.services.get_mut(id) else {
            return false;
        };
        service.generation += 1;
        let is_stale =
            |member: &PoolMember<C, H>| member.service.is_some_and(|(own, _)| own == *id);
        let members = &self.members;
        let (stale, kept) = std::mem::take(&mut self.available)
            .into_iter()
            .partition(|slot| members[*slot].as_ref().is_some_and(is_stale));
        self.available = kept;
        for slot in stale {
            self.remove(slot, CloseReason::Stale);
        }
        true
    }

    /// Returns true if an error of a connection says nothing about the current connections, because the pool has been
    /// cleared since that connection was created.
    pub(super) fn is_stale(&self, lease: Lease) -> bool {
        let Some(member) = self.members.get(lease.slot).and_then(Option::as_ref) else {
            return true;
        };
        member.id != lease.id || self.is_member_stale(member)
    }

    /// Closes the pool permanently. Returns false if it was already closed, and the handles that interrupt the connections
    /// that are being established.
    pub(super) fn close_pool(&mut self) -> (bool, Vec<H>) {
        if self.phase == Phase::Closed {
            return (false, Vec::new());
        }
        self.phase = Phase::Closed;
        self.may_populate = false;
        self.close_available(CloseReason::PoolClosed);
        (true, self.pending_handles())
    }

    /// Closes the connections that have been available for longer than `maxIdleTimeMS`, oldest first. Returns the
    /// time at which the next one reaches that limit.
    pub(super) fn close_idle(&mut self, now: Instant) -> Option<Instant> {
        let limit = self.limits.max_idle_time?;
        let members = &self.members;
        let since = |slot: &usize| members[*slot].as_ref().map(|member| member.since);
        // Connections at the front were checked in first.
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
            self.remove(slot, CloseReason::Idle);
        }
        next
    }

    /// Calls `act` with each connection that has been available for longer than `limit`.
    pub(super) fn each_idle_for(
        &mut self,
        limit: Duration,
        now: Instant,
        mut act: impl FnMut(&mut C),
    ) {
        // Connections at the front were checked in first.
        for slot in &self.available {
            match &mut self.members[*slot] {
                Some(member) if now.duration_since(member.since) > limit => {
                    member.connection.iter_mut().for_each(&mut act);
                }
                _ => break,
            }
        }
    }

    /// Returns an available connection or a lease for a new one, or `None` if neither is possible.
    fn serve(&mut self, now: Instant, handle: impl FnOnce() -> H) -> Option<CheckOutStep<C>> {
        while let Some(slot) = self.available.pop() {
            if let Some(reason) = self.perished(slot, now) {
                self.remove(slot, reason);
                continue;
            }
            let member = self.members[slot].as_mut()?;
            let since = std::mem::replace(&mut member.since, now);
            member.is = MemberState::InUse;
            let lease = Lease {
                id: member.id,
                slot,
                generation: member.generation,
            };
            let connection = member.connection.take()?;
            self.in_use += 1;
            return Some(CheckOutStep::Reuse(lease, connection, since));
        }
        self.may_create(now)
            .then(|| CheckOutStep::Establish(self.create(now, handle())))
    }

    fn may_create(&self, now: Instant) -> bool {
        let is_held = self.held_until.is_some_and(|until| now < until) && self.has_established();
        self.pending < self.limits.max_connecting
            && self.counts().total() < self.limits.max_size
            && !is_held
    }

    fn create(&mut self, now: Instant, handle: H) -> Lease {
        self.last_id += 1;
        let member = PoolMember {
            id: self.last_id,
            generation: self.generation,
            service: None,
            is: MemberState::Pending,
            is_interrupted: false,
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

    /// Returns the reason why an available connection must not be handed out, if any.
    fn perished(&self, slot: usize, now: Instant) -> Option<CloseReason> {
        let member = self.members[slot].as_ref()?;
        if self.is_member_stale(member) {
            return Some(CloseReason::Stale);
        }
        let is_old = |limit| now.duration_since(member.since) > limit;
        self.limits
            .max_idle_time
            .is_some_and(is_old)
            .then_some(CloseReason::Idle)
    }

    fn is_member_stale(&self, member: &PoolMember<C, H>) -> bool {
        let of_service = |(id, generation): (ServiceId, u64)| {
            self.services
                .get(&id)
                .is_none_or(|service| service.generation != generation)
        };
        member.generation != self.generation || member.service.is_some_and(of_service)
    }

    fn member(&mut self, lease: Lease) -> Option<&mut PoolMember<C, H>> {
        let member = self.members.get_mut(lease.slot)?.as_mut()?;
        (member.id == lease.id).then_some(member)
    }

    /// Ends a lease.
    fn close(&mut self, lease: Lease, connection: Option<C>, reason: CloseReason) {
        if let Some(member) = self.member(lease) {
            member.connection = connection;
            self.remove(lease.slot, reason);
        }
    }

    /// Removes a connection from the pool. The slot of an available one must no longer be listed.
    fn remove(&mut self, slot: usize, reason: CloseReason) {
        let Some(member) = self.members[slot].take() else {
            return;
        };
        self.free.push(slot);
        match member.is {
            MemberState::Pending => self.pending -= 1,
            MemberState::InUse => self.in_use -= 1,
            MemberState::Available => {}
        }
        if let Some((id, _)) = member.service {
            self.leave_service(&id);
        }
        self.closing.push(Closing {
            id: member.id,
            reason,
            connection: member.connection,
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

    fn close_available(&mut self, reason: CloseReason) {
        for slot in std::mem::take(&mut self.available) {
            self.remove(slot, reason);
        }
    }

    /// Marks the connections in use as interrupted, and returns their handles and those of pending connections.
    fn interrupt_all(&mut self) -> Vec<H> {
        let members = self.members.iter_mut().flatten();
        let busy = members.filter(|member| member.is != MemberState::Available);
        busy.map(|member| {
            member.is_interrupted = member.is == MemberState::InUse;
            member.handle.clone()
        })
        .collect()
    }

    fn pending_handles(&self) -> Vec<H> {
        let members = self.members.iter().flatten();
        let pending = members.filter(|member| member.is == MemberState::Pending);
        pending.map(|member| member.handle.clone()).collect()
    }
}

/// The maximum pause before the next dial after this host could not establish a connection: 500 ms. It ends earlier
/// when the last connection is closed.
const HELD_FOR: Duration = Duration::from_millis(500);

// The path is explicit because the model test includes this file by its path.
#[cfg(test)]
#[path = "tests.rs"]
mod tests;
