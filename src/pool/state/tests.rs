//! Tests of the rules of CMAP, without threads and with explicit instants.

use super::*;

/// A connection is the number under which it was established, a thread is a word.
type TestPool = State<u64, u64, &'static str>;

/// An event in the life of a pool.
type Happens = fn(&mut TestPool);

const LIMITS: Limits = Limits {
    max_size: 100,
    min_size: 0,
    max_connecting: 2,
    max_idle_time: None,
};

const SERVICE: ServiceId = [1; 12];
const OTHER: ServiceId = [2; 12];

fn paused(limits: Limits) -> TestPool {
    State::new(limits)
}

fn ready(limits: Limits) -> TestPool {
    let mut pool = paused(limits);
    assert!(pool.ready());
    pool.allow_populating();
    pool
}

fn seconds(count: u64) -> Duration {
    Duration::from_secs(count)
}

/// The result of a check-out, reduced to what tests compare.
#[derive(Debug, PartialEq, Eq)]
enum PoolStep {
    Reuse(u64),
    Establish(u64),
    Refused(CheckOutRefusal),
    Wait,
}

fn step_of(outcome: Option<&CheckOutStep<u64>>) -> PoolStep {
    match outcome {
        Some(CheckOutStep::Reuse(lease, connection, _)) => {
            assert_eq!(lease.id, *connection);
            PoolStep::Reuse(lease.id)
        }
        Some(CheckOutStep::Establish(lease)) => PoolStep::Establish(lease.id),
        Some(CheckOutStep::Refused(refusal)) => PoolStep::Refused(*refusal),
        None => PoolStep::Wait,
    }
}

impl TestPool {
    fn start_check_out(&mut self, now: Instant) -> PoolStep {
        let next = self.last_id + 1;
        step_of(self.check_out(now, || next).as_ref())
    }

    /// Checks out a lease for a new connection.
    fn place(&mut self, now: Instant) -> Lease {
        let next = self.last_id + 1;
        match self.check_out(now, || next) {
            Some(CheckOutStep::Establish(lease)) => lease,
            outcome => panic!("{outcome:?}"),
        }
    }

    /// Does the same as `place` while connections are available.
    fn place_beside(&mut self, now: Instant) -> Lease {
        let available = std::mem::take(&mut self.available);
        let place = self.place(now);
        self.available = available;
        place
    }

    /// Returns the lease of a new connection that is in use.
    fn new_in_use(&mut self, service: Option<ServiceId>, now: Instant) -> Lease {
        let lease = self.place(now);
        if let Some(service) = service {
            self.serves(lease, service);
        }
        self.established(lease, now);
        lease
    }

    fn reuse(&mut self, now: Instant) -> Lease {
        match self.check_out(now, || unreachable!()) {
            Some(CheckOutStep::Reuse(lease, ..)) => lease,
            outcome => panic!("{outcome:?}"),
        }
    }

    fn give_back(&mut self, lease: Lease, now: Instant) {
        self.check_in(lease, lease.id, false, now);
    }

    /// Adds `count` available connections, checked in one second apart, starting at `now`.
    fn fill(&mut self, count: u64, now: Instant) -> Vec<Lease> {
        let leases: Vec<_> = (0..count).map(|_| self.new_in_use(None, now)).collect();
        for (age, lease) in (0..).zip(&leases) {
            self.give_back(*lease, now + seconds(age));
        }
        leases
    }

    /// Returns the numbers and reasons of the connections closed since the last call.
    fn closed(&mut self) -> Vec<(u64, CloseReason)> {
        let closed = self.take_closing();
        closed.iter().map(|it| (it.id, it.reason)).collect()
    }

    /// Returns the counts: available, in use, pending, waiting.
    fn numbers(&self) -> [usize; 4] {
        let counts = self.counts();
        // The counts must match the existing members.
        let members = self.members.iter().flatten();
        let is = |what| members.clone().filter(|member| member.is == what).count();
        assert_eq!(counts.available, is(MemberState::Available));
        assert_eq!(counts.in_use, is(MemberState::InUse));
        assert_eq!(counts.pending, is(MemberState::Pending));
        assert_eq!(
            counts.total() + self.free.len(),
            self.members.len(),
            "no slot is lost"
        );
        [
            counts.available,
            counts.in_use,
            counts.pending,
            counts.waiting,
        ]
    }

    fn pause(&mut self) {
        self.clear(true, false);
    }

    fn shut(&mut self) {
        self.close_pool();
    }

    fn grant(&mut self, now: Instant) -> Option<(&'static str, PoolStep)> {
        let next = self.last_id + 1;
        let (waiter, outcome) = self.next_grant(now, || next)?;
        Some((waiter, step_of(Some(&outcome))))
    }
}

#[test]
fn a_pool_begins_paused_and_empty() {
    let now = Instant::now();
    let mut pool = paused(Limits {
        min_size: 3,
        ..LIMITS
    });
    assert_eq!(pool.phase(), Phase::Paused);
    assert_eq!(pool.generation(), 0);
    assert_eq!(
        pool.start_check_out(now),
        PoolStep::Refused(CheckOutRefusal::Paused)
    );
    assert_eq!(pool.populate(now, || 0), None);
    assert_eq!(pool.numbers(), [0; 4]);
}

#[test]
fn only_a_paused_pool_becomes_ready() {
    let mut pool = paused(LIMITS);
    assert!(pool.ready());
    assert!(!pool.ready(), "it is already");
    pool.clear(true, false);
    assert!(pool.ready());
    pool.close_pool();
    assert!(!pool.ready());
    assert_eq!(pool.phase(), Phase::Closed);
    pool.allow_populating();
    assert!(!pool.may_populate);
}

#[test]
fn connections_are_numbered_from_one_in_order_of_creation() {
    let now = Instant::now();
    let mut pool = ready(LIMITS);
    let first = pool.place(now);
    let second = pool.place(now);
    assert_eq!((first.id, second.id), (1, 2));
    // Neither failures nor reused slots change that.
    pool.failed(first, CloseReason::Error);
    assert_eq!(pool.place(now).id, 3);
    pool.established(second, now);
    pool.check_in(second, 2, true, now);
    assert_eq!(pool.place(now).id, 4);
    assert_eq!(pool.numbers(), [0, 0, 2, 0]);
}

#[test]
fn the_connection_checked_in_last_is_handed_out_first() {
    let now = Instant::now();
    let mut pool = ready(LIMITS);
    pool.fill(3, now);
    let later = now + seconds(3);
    let order: Vec<_> = (0..3).map(|_| pool.start_check_out(later)).collect();
    assert_eq!(
        order,
        [PoolStep::Reuse(3), PoolStep::Reuse(2), PoolStep::Reuse(1)]
    );
    assert_eq!(pool.start_check_out(later), PoolStep::Establish(4));
    assert_eq!(pool.closed(), []);
}

#[test]
fn check_out_returns_when_the_connection_became_available() {
    let now = Instant::now();
    let mut pool = ready(LIMITS);
    pool.fill(2, now);
    let later = now + seconds(7);
    let Some(CheckOutStep::Reuse(lease, _, since)) = pool.check_out(later, || 0) else {
        panic!("it is available");
    };
    assert_eq!(since, now + seconds(1));
    assert_eq!(pool.in_use().collect::<Vec<_>>(), [(lease.id, later)]);
}

#[test]
fn no_more_than_max_connecting_are_established_at_once() {
    let now = Instant::now();
    for max_connecting in 1..5 {
        let mut pool = ready(Limits {
            max_connecting,
            ..LIMITS
        });
        let places: Vec<_> = (0..max_connecting).map(|_| pool.place(now)).collect();
        assert_eq!(pool.start_check_out(now), PoolStep::Wait);
        // A dial frees capacity whether it succeeds or fails.
        pool.established(places[0], now);
        let next = pool.place(now);
        assert_eq!(pool.start_check_out(now), PoolStep::Wait);
        pool.failed(next, CloseReason::Error);
        pool.place(now);
        assert_eq!(pool.start_check_out(now), PoolStep::Wait);
    }
}

#[test]
fn no_more_than_max_pool_size_exist_at_once() {
    let now = Instant::now();
    let mut pool = ready(Limits {
        max_size: 3,
        ..LIMITS
    });
    let in_use = pool.new_in_use(None, now);
    let [one, two] = [pool.place(now), pool.place(now)];
    pool.established(one, now);
    assert_eq!(
        pool.start_check_out(now),
        PoolStep::Wait,
        "those being established count"
    );
    pool.established(two, now);
    assert_eq!(
        pool.start_check_out(now),
        PoolStep::Wait,
        "those in use count"
    );
    pool.give_back(in_use, now);
    assert_eq!(pool.start_check_out(now), PoolStep::Reuse(1));
    pool.check_in(one, 2, true, now);
    assert_eq!(
        pool.start_check_out(now),
        PoolStep::Establish(4),
        "the perished do not"
    );
}

#[test]
fn without_max_pool_size_there_is_no_limit() {
    let now = Instant::now();
    let mut pool = ready(Limits {
        max_size: usize::MAX,
        ..LIMITS
    });
    for id in 1..=5000 {
        assert_eq!(pool.new_in_use(None, now).id, id);
    }
    assert_eq!(pool.numbers(), [0, 5000, 0, 0]);
}

#[test]
fn a_pool_is_populated_up_to_min_pool_size_and_max_connecting() {
    let now = Instant::now();
    let mut pool = ready(Limits {
        min_size: 3,
        ..LIMITS
    });
    let one = pool.populate(now, || 0).unwrap();
    let two = pool.populate(now, || 0).unwrap();
    assert!(pool.lacks_connections());
    assert_eq!(pool.populate(now, || 0), None, "two are being established");
    pool.established(one, now);
    pool.give_back(one, now);
    pool.established(two, now);
    pool.give_back(two, now);
    let in_use = pool.reuse(now);
    let three = pool.populate(now, || 0).unwrap();
    assert!(!pool.lacks_connections(), "what is in use counts");
    assert_eq!(pool.populate(now, || 0), None);
    pool.failed(three, CloseReason::Error);
    assert!(pool.lacks_connections());
    pool.check_in(in_use, in_use.id, true, now);
    assert!(pool.populate(now, || 0).is_some());
}

#[test]
fn a_pool_is_populated_only_after_the_ready_event() {
    let now = Instant::now();
    let limits = Limits {
        min_size: 1,
        ..LIMITS
    };
    let mut pool = paused(limits);
    pool.allow_populating();
    assert_eq!(pool.populate(now, || 0), None, "it is paused");
    pool.ready();
    assert_eq!(pool.populate(now, || 0), None, "nobody was told");
    pool.allow_populating();
    assert!(pool.populate(now, || 0).is_some());
    let mut pool = ready(limits);
    pool.clear(true, false);
    pool.ready();
    assert_eq!(pool.populate(now, || 0), None, "nobody was told");
    let mut pool = ready(limits);
    pool.clear(false, false);
    assert!(
        pool.populate(now, || 0).is_some(),
        "retiring does not pause"
    );
    let mut pool = ready(limits);
    pool.close_pool();
    assert_eq!(pool.populate(now, || 0), None);
    assert!(!pool.lacks_connections());
}

#[test]
fn population_keeps_to_max_pool_size_even_below_min_pool_size() {
    let now = Instant::now();
    let mut pool = ready(Limits {
        min_size: 2,
        max_size: 1,
        ..LIMITS
    });
    assert!(pool.populate(now, || 0).is_some());
    assert_eq!(pool.populate(now, || 0), None);
}

#[test]
fn clearing_makes_everything_stale() {
    let now = Instant::now();
    let mut pool = ready(LIMITS);
    pool.fill(2, now);
    let in_use = pool.reuse(now);
    let dialling = pool.place_beside(now);
    assert!(!pool.is_stale(in_use));
    let (was_ready, dials) = pool.clear(true, false);
    assert!(was_ready);
    assert!(dials.is_empty());
    assert_eq!(pool.generation(), 1);
    assert_eq!(pool.phase(), Phase::Paused);
    assert_eq!(pool.closed(), [(1, CloseReason::Stale)]);
    assert!(pool.is_stale(in_use) && pool.is_stale(dialling));
    assert_eq!(pool.numbers(), [0, 1, 1, 0]);
    // They are closed when they are checked in, even if the pool is ready again by then.
    pool.ready();
    pool.established(dialling, now);
    for lease in [in_use, dialling] {
        pool.give_back(lease, now);
        assert_eq!(pool.closed(), [(lease.id, CloseReason::Stale)]);
    }
    assert_eq!(pool.numbers(), [0; 4]);
    let fresh = pool.new_in_use(None, now);
    assert_eq!(fresh.generation, 1);
    assert!(!pool.is_stale(fresh));
}

#[test]
fn clearing_a_paused_pool_increments_the_generation() {
    let mut pool = paused(LIMITS);
    assert!(!pool.clear(true, false).0);
    assert_eq!(pool.generation(), 1);
    pool.ready();
    assert!(pool.clear(true, true).0);
    assert!(!pool.clear(true, true).0, "no second event");
    assert_eq!((pool.generation(), pool.phase()), (3, Phase::Paused));
}

#[test]
fn clearing_does_not_open_a_closed_pool() {
    let mut pool = ready(LIMITS);
    pool.close_pool();
    for (pause, interrupt) in [(true, false), (true, true), (false, false)] {
        assert!(!pool.clear(pause, interrupt).0);
        assert_eq!(pool.phase(), Phase::Closed);
        assert!(!pool.ready());
    }
}

#[test]
fn retiring_does_not_pause() {
    let now = Instant::now();
    let mut pool = ready(LIMITS);
    pool.fill(2, now);
    let in_use = pool.reuse(now);
    pool.clear(false, false);
    assert_eq!(pool.phase(), Phase::Ready);
    assert_eq!(pool.closed(), [(1, CloseReason::Stale)]);
    assert_eq!(pool.start_check_out(now), PoolStep::Establish(3));
    pool.give_back(in_use, now);
    assert_eq!(pool.closed(), [(2, CloseReason::Stale)]);
}

#[test]
fn interrupted_connections_are_closed_when_they_come_back() {
    let now = Instant::now();
    let mut pool = ready(LIMITS);
    pool.fill(3, now);
    let [one, two] = [pool.reuse(now), pool.reuse(now)];
    let dialling = pool.place_beside(now);
    assert_eq!(pool.numbers(), [1, 2, 1, 0]);
    let (_, mut interrupted) = pool.clear(true, true);
    interrupted.sort_unstable();
    assert_eq!(interrupted, [2, 3, dialling.id], "all except the available");
    assert_eq!(pool.closed(), [(1, CloseReason::Stale)]);
    assert_eq!(pool.numbers(), [0, 2, 1, 0], "the others are still members");
    pool.ready();
    for (late, perished) in [(one, false), (two, true)] {
        assert!(pool.is_stale(late));
        pool.check_in(late, late.id, perished, now);
        let closing = pool.take_closing().pop().unwrap();
        assert_eq!(
            (closing.id, closing.reason, closing.connection),
            (late.id, CloseReason::Stale, Some(late.id)),
            "the clear is the reason, even if the interruption broke the connection"
        );
    }
    assert_eq!(pool.numbers(), [0, 0, 1, 0]);
    // The dial ends by itself.
    pool.failed(dialling, CloseReason::Error);
    assert_eq!(pool.closed(), [(dialling.id, CloseReason::Error)]);
    assert_eq!(pool.numbers(), [0, 0, 0, 0]);
    // The mark belongs to the connection, and not to its slot.
    let fresh = pool.new_in_use(None, now);
    pool.check_in(fresh, fresh.id, true, now);
    assert_eq!(pool.closed(), [(fresh.id, CloseReason::Error)]);
}

#[test]
fn a_dial_that_survives_an_interruption_is_stale() {
    let now = Instant::now();
    let mut pool = ready(LIMITS);
    let dialling = pool.place(now);
    pool.clear(true, true);
    pool.ready();
    pool.established(dialling, now);
    pool.check_in(dialling, dialling.id, true, now);
    assert_eq!(pool.closed(), [(dialling.id, CloseReason::Error)]);
}

#[test]
fn a_lease_is_returned_once() {
    let now = Instant::now();
    let mut pool = ready(LIMITS);
    let old = pool.new_in_use(Some(SERVICE), now);
    pool.check_in(old, 1, true, now);
    pool.take_closing();
    let other = pool.new_in_use(Some(SERVICE), now);
    assert_eq!(old.slot, other.slot);
    pool.serves(old, OTHER);
    pool.established(old, now);
    pool.check_in(old, 1, false, now);
    pool.failed(old, CloseReason::Error);
    assert_eq!((pool.handle(old), pool.closed()), (None, Vec::new()));
    assert_eq!(pool.numbers(), [0, 1, 0, 0]);
    assert_eq!(pool.services[&SERVICE].connections, 1);
    assert!(!pool.services.contains_key(&OTHER));
}

#[test]
fn a_connection_that_comes_back_is_closed_for_a_reason() {
    let cases: [(bool, Happens, Option<CloseReason>); 6] = [
        (false, |_| (), None),
        (true, |_| (), Some(CloseReason::Error)),
        (
            false,
            |pool| drop(pool.clear(true, false)),
            Some(CloseReason::Stale),
        ),
        (
            true,
            |pool| drop(pool.clear(true, false)),
            Some(CloseReason::Error),
        ),
        (
            false,
            |pool| drop(pool.close_pool()),
            Some(CloseReason::PoolClosed),
        ),
        (
            true,
            |pool| drop(pool.close_pool()),
            Some(CloseReason::PoolClosed),
        ),
    ];
    for (number, (perished, happens, reason)) in cases.into_iter().enumerate() {
        let now = Instant::now();
        let mut pool = ready(LIMITS);
        let lease = pool.new_in_use(None, now);
        happens(&mut pool);
        pool.check_in(lease, 1, perished, now);
        let closing = pool.take_closing().pop();
        assert_eq!(closing.map(|it| it.reason), reason, "case {number}");
        assert_eq!(
            pool.numbers(),
            [usize::from(reason.is_none()), 0, 0, 0],
            "case {number}"
        );
    }
}

#[test]
fn check_out_skips_connections_idle_for_too_long() {
    let now = Instant::now();
    let cases = [
        (9, PoolStep::Reuse(1)),
        (10, PoolStep::Reuse(1)),
        (11, PoolStep::Establish(2)),
    ];
    for (age, expected) in cases {
        let mut pool = ready(Limits {
            max_idle_time: Some(seconds(10)),
            ..LIMITS
        });
        pool.fill(1, now);
        let is_idle = expected != PoolStep::Reuse(1);
        assert_eq!(pool.start_check_out(now + seconds(age)), expected);
        let closed = pool.closed();
        assert_eq!(closed == [(1, CloseReason::Idle)], is_idle, "{closed:?}");
    }
    // Without the option nothing is too old, and connections in use are never idle.
    let mut pool = ready(LIMITS);
    pool.fill(1, now);
    assert_eq!(
        pool.start_check_out(now + seconds(1_000_000)),
        PoolStep::Reuse(1)
    );
}

#[test]
fn the_time_in_use_is_not_idle_time() {
    let now = Instant::now();
    let mut pool = ready(Limits {
        max_idle_time: Some(seconds(10)),
        ..LIMITS
    });
    let lease = pool.new_in_use(None, now);
    pool.close_idle(now + seconds(60));
    pool.give_back(lease, now + seconds(60));
    assert_eq!(pool.start_check_out(now + seconds(65)), PoolStep::Reuse(1));
}

#[test]
fn idle_connections_are_closed_oldest_first() {
    let now = Instant::now();
    let limit = seconds(10);
    let limits = Limits {
        max_idle_time: Some(limit),
        ..LIMITS
    };
    // They were checked in at 0, 1 and 2 s.
    let cases: [(u64, &[u64], Option<u64>); 6] = [
        (0, &[], Some(10)),
        (10, &[], Some(10)),
        (11, &[1], Some(11)),
        (12, &[1, 2], Some(12)),
        (13, &[1, 2, 3], None),
        (99, &[1, 2, 3], None),
    ];
    for (at, expected, next) in cases {
        let mut pool = ready(limits);
        pool.fill(3, now);
        let next_idle = pool.close_idle(now + seconds(at));
        assert_eq!(next_idle, next.map(|next| now + seconds(next)), "at {at} s");
        let expected: Vec<_> = expected.iter().map(|id| (*id, CloseReason::Idle)).collect();
        assert_eq!(pool.closed(), expected, "at {at} s");
        assert_eq!(pool.numbers()[0], 3 - expected.len());
    }
    let mut pool = ready(LIMITS);
    pool.fill(3, now);
    assert_eq!(pool.close_idle(now + seconds(1_000_000)), None);
    assert_eq!(pool.closed(), []);
}

#[test]
fn clearing_a_service_leaves_the_others_alone() {
    let now = Instant::now();
    let mut pool = ready(Limits {
        max_connecting: 9,
        ..LIMITS
    });
    let leases: Vec<_> = [SERVICE, SERVICE, OTHER, SERVICE]
        .map(|service| pool.new_in_use(Some(service), now))
        .into();
    pool.give_back(leases[0], now);
    pool.give_back(leases[2], now);
    let dialling = pool.place_beside(now);
    assert!(pool.clear_service(&SERVICE));
    assert_eq!(pool.closed(), [(1, CloseReason::Stale)]);
    assert_eq!((pool.phase(), pool.generation()), (Phase::Ready, 0));
    let stale: Vec<_> = leases.iter().map(|lease| pool.is_stale(*lease)).collect();
    assert_eq!(stale, [true, true, false, true]);
    // A connection gets the generation of the moment at which its hello ends.
    pool.serves(dialling, SERVICE);
    assert!(!pool.is_stale(dialling));
    pool.established(dialling, now);
    pool.give_back(leases[1], now);
    pool.give_back(dialling, now);
    assert_eq!(pool.closed(), [(2, CloseReason::Stale)]);
    assert_eq!(pool.start_check_out(now), PoolStep::Reuse(dialling.id));
    assert_eq!(pool.start_check_out(now), PoolStep::Reuse(leases[2].id));
}

#[test]
fn a_service_is_forgotten_with_its_last_connection() {
    let now = Instant::now();
    let mut pool = ready(LIMITS);
    assert!(!pool.clear_service(&SERVICE), "nothing is known of it");
    let one = pool.new_in_use(Some(SERVICE), now);
    let two = pool.new_in_use(Some(SERVICE), now);
    assert_eq!(pool.services[&SERVICE].connections, 2);
    assert!(pool.clear_service(&SERVICE));
    assert_eq!(pool.services[&SERVICE].generation, 1);
    pool.check_in(one, 1, true, now);
    assert_eq!(pool.services[&SERVICE].connections, 1);
    pool.give_back(two, now);
    assert!(pool.services.is_empty());
    assert!(!pool.clear_service(&SERVICE));
    // It is known before the first connection is established, because authentication may fail.
    let third = pool.place(now);
    pool.serves(third, SERVICE);
    assert!(!pool.is_stale(third));
    assert!(pool.clear_service(&SERVICE));
    assert!(pool.is_stale(third));
    pool.failed(third, CloseReason::Error);
    assert!(pool.services.is_empty());
    // Every way out of the pool counts.
    let ways: [fn(&mut TestPool, Lease, Instant); 5] = [
        |pool, lease, now| pool.check_in(lease, 0, true, now),
        |pool, lease, now| {
            pool.clear(true, true);
            pool.check_in(lease, 0, false, now);
        },
        |pool, lease, now| {
            pool.give_back(lease, now);
            pool.clear(true, false);
        },
        |pool, lease, now| {
            pool.give_back(lease, now);
            pool.close_pool();
        },
        |pool, lease, now| {
            pool.check_out_instead(lease, 0, now, || 0);
        },
    ];
    for (number, leave) in ways.into_iter().enumerate() {
        let mut pool = ready(LIMITS);
        let lease = pool.new_in_use(Some(SERVICE), now);
        leave(&mut pool, lease, now);
        assert!(pool.services.is_empty(), "way {number}");
    }
}

#[test]
fn closing_closes_what_is_available_and_refuses() {
    let now = Instant::now();
    let mut pool = ready(LIMITS);
    pool.fill(3, now);
    let in_use = pool.reuse(now);
    let dialling = pool.place_beside(now);
    let (is_new, dials) = pool.close_pool();
    assert!(is_new);
    assert_eq!(dials, [dialling.id]);
    let closed = CloseReason::PoolClosed;
    assert_eq!(pool.closed(), [(1, closed), (2, closed)]);
    assert_eq!(
        pool.start_check_out(now),
        PoolStep::Refused(CheckOutRefusal::Closed)
    );
    assert_eq!(pool.close_pool(), (false, vec![]));
    pool.give_back(in_use, now);
    pool.failed(dialling, CloseReason::Error);
    assert_eq!(pool.closed(), [(3, closed), (4, CloseReason::Error)]);
    assert_eq!(pool.numbers(), [0; 4]);
}

#[test]
fn later_waiters_do_not_overtake() {
    let now = Instant::now();
    let mut pool = ready(Limits {
        max_size: 1,
        ..LIMITS
    });
    let lease = pool.new_in_use(None, now);
    assert_eq!(pool.start_check_out(now), PoolStep::Wait);
    pool.enqueue("early", false);
    pool.give_back(lease, now);
    assert_eq!(
        pool.start_check_out(now),
        PoolStep::Wait,
        "the connection is for another"
    );
    assert_eq!(pool.grant(now), Some(("early", PoolStep::Reuse(1))));
    assert_eq!(pool.grant(now), None);
    assert_eq!(pool.numbers(), [0, 1, 0, 0]);
}

#[test]
fn the_head_stays_while_there_is_nothing_for_it() {
    let now = Instant::now();
    let mut pool = ready(Limits {
        max_size: 2,
        max_connecting: 1,
        ..LIMITS
    });
    let dialling = pool.place(now);
    assert_eq!(pool.start_check_out(now), PoolStep::Wait);
    for name in ["a", "b", "c"] {
        pool.enqueue(name, false);
    }
    assert_eq!(pool.grant(now), None, "one dial at a time");
    pool.established(dialling, now);
    assert_eq!(pool.grant(now), Some(("a", PoolStep::Establish(2))));
    assert_eq!(pool.grant(now), None);
    pool.check_in(dialling, 1, true, now);
    assert_eq!(pool.grant(now), None, "still one dial at a time");
    assert_eq!(pool.numbers(), [0, 0, 1, 2]);
}

#[test]
fn waiters_are_rejected_when_the_pool_is_paused_or_closed() {
    let now = Instant::now();
    let cases: [(Happens, CheckOutRefusal); 3] = [
        (
            |pool| drop(pool.clear(true, false)),
            CheckOutRefusal::Paused,
        ),
        (|pool| drop(pool.clear(true, true)), CheckOutRefusal::Paused),
        (|pool| drop(pool.close_pool()), CheckOutRefusal::Closed),
    ];
    for (happens, refusal) in cases {
        let mut pool = ready(Limits {
            max_size: 1,
            ..LIMITS
        });
        pool.new_in_use(None, now);
        pool.enqueue("a", false);
        pool.enqueue("b", false);
        happens(&mut pool);
        for name in ["a", "b"] {
            assert_eq!(pool.grant(now), Some((name, PoolStep::Refused(refusal))));
        }
        assert_eq!(pool.grant(now), None);
    }
}

#[test]
fn a_thread_that_leaves_is_passed_over() {
    let mut pool = paused(LIMITS);
    let tickets = ["a", "b", "c", "d"].map(|name| pool.enqueue(name, false));
    assert!(tickets.is_sorted());
    assert!(pool.leave(tickets[1]));
    assert!(!pool.leave(tickets[1]), "only once");
    assert!(pool.leave(tickets[3]));
    let now = Instant::now();
    let names: Vec<_> = std::iter::from_fn(|| pool.grant(now))
        .map(|it| it.0)
        .collect();
    assert_eq!(names, ["a", "c"]);
    assert!(!pool.leave(tickets[0]), "it was served");
}

#[test]
fn a_requeued_waiter_is_first_and_can_leave() {
    let now = Instant::now();
    let mut pool = paused(LIMITS);
    let a = pool.enqueue("a", false);
    let b = pool.enqueue("b", true);
    let c = pool.enqueue("c", true);
    let d = pool.enqueue("d", false);
    assert!(c < b && b < a && a < d);
    assert!(pool.leave(b));
    let names: Vec<_> = std::iter::from_fn(|| pool.grant(now))
        .map(|it| it.0)
        .collect();
    assert_eq!(names, ["c", "a", "d"]);
}

/// A thread that was served just as its wait timed out leaves with a ticket that is no longer in the queue. That
/// ticket must not belong to another thread.
#[test]
fn no_ticket_is_given_twice() {
    let now = Instant::now();
    for first in [false, true] {
        let mut pool = paused(LIMITS);
        let served = pool.enqueue("served", first);
        assert!(pool.grant(now).is_some());
        let other = pool.enqueue("other", true);
        assert_ne!(served, other);
        assert!(!pool.leave(served));
        assert_eq!(pool.counts().waiting, 1);
    }
}

#[test]
fn a_dead_connection_is_replaced_by_the_next_best() {
    let now = Instant::now();
    let mut pool = ready(Limits {
        max_size: 2,
        max_connecting: 1,
        ..LIMITS
    });
    pool.fill(2, now);
    let dead = pool.reuse(now);
    let next = pool.check_out_instead(dead, 2, now, || 3);
    assert_eq!(step_of(next.as_ref()), PoolStep::Reuse(1));
    assert_eq!(pool.closed(), [(2, CloseReason::Error)]);
    let Some(CheckOutStep::Reuse(dead, ..)) = next else {
        unreachable!()
    };
    // Its lease is free for the new connection, although another thread waits.
    pool.enqueue("other", false);
    let next = pool.check_out_instead(dead, 1, now, || 3);
    assert_eq!(step_of(next.as_ref()), PoolStep::Establish(3));
    assert_eq!(pool.grant(now), None);
    // It must wait if too many connections are being established, and fails if the pool is not ready.
    let mut pool = ready(Limits {
        max_size: 2,
        max_connecting: 1,
        ..LIMITS
    });
    pool.fill(1, now);
    let dead = pool.reuse(now);
    pool.place(now);
    assert!(pool.check_out_instead(dead, 1, now, || 3).is_none());
    assert_eq!(pool.numbers(), [0, 0, 1, 0]);
    for (happens, refusal) in [
        (TestPool::pause as Happens, CheckOutRefusal::Paused),
        (TestPool::shut, CheckOutRefusal::Closed),
    ] {
        let mut pool = ready(LIMITS);
        pool.fill(1, now);
        let dead = pool.reuse(now);
        happens(&mut pool);
        let next = pool.check_out_instead(dead, 1, now, || 3);
        assert_eq!(step_of(next.as_ref()), PoolStep::Refused(refusal));
        assert_eq!(pool.numbers(), [0; 4]);
    }
}

#[test]
fn only_connections_that_are_available_for_long_are_visited() {
    let now = Instant::now();
    let mut pool = ready(LIMITS);
    // Checked in at 0, 1 and 2 s.
    pool.fill(3, now);
    for (at, expected) in [(1, &[][..]), (2, &[1]), (3, &[1, 2]), (9, &[1, 2, 3])] {
        let mut visited = Vec::new();
        pool.each_idle_for(seconds(1), now + seconds(at), |id| visited.push(*id));
        assert_eq!(visited, expected, "at {at} s");
    }
    assert_eq!(pool.start_check_out(now + seconds(9)), PoolStep::Reuse(3));
    let mut visited = Vec::new();
    pool.each_idle_for(seconds(1), now + seconds(99), |id| visited.push(*id));
    assert_eq!(visited, [1, 2], "the third one is in use");
}
