//! The scenarios. Each ends when all its threads have ended; a thread that is never woken is a deadlock, which the
//! scheduler reports.

use std::sync::atomic::{AtomicUsize, Ordering::SeqCst};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use shuttle::thread::{self, JoinHandle};

use crate::state::{CheckOutRefusal, CheckOutStep, CloseReason, Lease, Limits};
use crate::sync::now;
use crate::wait_queue::{CheckOut, WaitQueue};
use crate::world::{Chances, Failure, World, chance, leave_to_chance};
use crate::{exhaust, explore};

/// Two connections, of which one at a time is established.
const TIGHT: Limits = Limits {
    max_size: 2,
    min_size: 0,
    max_connecting: 1,
    max_idle_time: None,
};

/// This number of threads that each check out and in twice, and stop waiting if `has_limit`.
fn users(world: &Arc<World>, count: usize, has_limit: bool) -> Vec<JoinHandle<()>> {
    let user = |number: usize| {
        let world = Arc::clone(world);
        thread::spawn(move || {
            for _ in 0..2 {
                match world.check_out(has_limit && number % 2 == 0) {
                    Ok(held) => {
                        thread::yield_now();
                        world.check_in(held);
                    }
                    Err(Failure::Refused(CheckOutRefusal::Closed)) => return,
                    Err(_) => {}
                }
            }
        })
    };
    (0..count).map(user).collect()
}

fn join(threads: Vec<JoinHandle<()>>) {
    for thread in threads {
        thread.join().unwrap();
    }
}

#[test]
fn no_thread_waits_forever() {
    explore(|| {
        let world = World::new(TIGHT);
        join(users(&world, 4, false));
        world.check_at_the_end();
    });
}

#[test]
fn a_waiter_that_times_out_takes_no_connection() {
    explore(|| {
        let world = World::new(TIGHT);
        join(users(&world, 4, true));
        world.check_at_the_end();
    });
}

#[test]
fn one_connection_goes_from_hand_to_hand() {
    explore(|| {
        let limits = Limits {
            max_size: 1,
            ..TIGHT
        };
        let world = World::new(limits);
        join(users(&world, 3, true));
        world.check_at_the_end();
    });
}

#[test]
fn more_dial_at_once() {
    explore(|| {
        let limits = Limits {
            max_size: 3,
            max_connecting: 2,
            ..TIGHT
        };
        let world = World::new(limits);
        join(users(&world, 5, true));
        world.check_at_the_end();
    });
}

#[test]
fn clearing_rejects_the_waiters() {
    explore(|| {
        let world = World::new(TIGHT);
        let threads = users(&world, 3, true);
        for _ in 0..2 {
            world.clear(true, chance(2));
            world.queue.ready();
        }
        join(threads);
        world.check_at_the_end();
    });
}

#[test]
fn the_pool_is_looked_after_meanwhile() {
    explore(|| {
        let limits = Limits {
            min_size: 1,
            max_idle_time: Some(Duration::from_secs(10)),
            ..TIGHT
        };
        let world = World::new(limits);
        let threads = users(&world, 3, true);
        world.populate();
        world.clear(false, false);
        world.close_idle();
        if let Ok(held) = world.check_out(true) {
            world.clear_service(&held);
            world.check_in(held);
        }
        world.populate();
        join(threads);
        world.check_at_the_end();
    });
}

#[test]
fn a_closed_pool_drains() {
    explore(|| {
        let world = World::new(TIGHT);
        let mut threads = users(&world, 3, true);
        let same = Arc::clone(&world);
        threads.push(thread::spawn(move || {
            same.close_pool();
            assert_eq!(same.queue.drain(None), []);
        }));
        if chance(2) {
            world.clear(true, true);
            world.queue.ready();
        }
        join(threads);
        world.check_at_the_end();
        assert_eq!(
            world.check_out(false).unwrap_err(),
            Failure::Refused(CheckOutRefusal::Closed)
        );
    });
}

/// Threads join the queue one after another; later ones, or ones that stop waiting, do not change the order.
#[test]
fn who_came_first_is_served_first() {
    explore(|| {
        let limits = Limits {
            max_size: 1,
            ..TIGHT
        };
        let world = World::new(limits);
        // Dials fail at random; without a connection, a thread cannot delay others.
        let held = loop {
            if let Ok(held) = world.check_out(false) {
                break held;
            }
        };
        let served = Arc::new(Mutex::new(Vec::new()));
        let gave_up = Arc::new(AtomicUsize::new(0));
        let come = |number: usize, has_limit: bool| {
            let (world, served) = (Arc::clone(&world), Arc::clone(&served));
            let gave_up = Arc::clone(&gave_up);
            thread::spawn(move || match world.check_out(has_limit) {
                Ok(held) => {
                    served.lock().unwrap().push(number);
                    world.check_in(held);
                }
                Err(Failure::TimedOut) => drop(gave_up.fetch_add(1, SeqCst)),
                Err(_) => {}
            })
        };
        let mut threads = Vec::new();
        for number in 0..3 {
            // The one in the middle may stop waiting, at any time.
            threads.push(come(number, number == 1));
            // In this order: a thread that stops waiting has left the queue before it is counted.
            while gave_up.load(SeqCst) + world.queue.counts().2.waiting <= number {
                thread::yield_now();
            }
        }
        threads.push(come(3, false));
        world.check_in(held);
        join(threads);
        world.check_at_the_end();
        let served = served.lock().unwrap();
        assert!(served.is_sorted(), "{served:?}");
    });
}

/// A thread whose connection turns out to be dead was already the first when it received that one.
#[test]
fn who_lines_up_again_is_served_before_those_who_wait() {
    explore(|| {
        leave_to_chance(Chances::NothingAndWaitsDoNotEnd);
        let queue = Arc::new(Queue::new(TIGHT));
        queue.ready();
        let place = |queue: &Queue| match queue.check_out(now(), None).0 {
            CheckOut::Served(CheckOutStep::Establish(lease)) => lease,
            outcome => panic!("{outcome:?}"),
        };
        let dead = place(&queue);
        queue.established(dead, now());
        let dialling = place(&queue);
        let served = Arc::new(Mutex::new(Vec::new()));
        let come = |name: &'static str, dead: Option<Lease>| {
            let (queue, served) = (Arc::clone(&queue), Arc::clone(&served));
            thread::spawn(move || {
                let (outcome, _) = match dead {
                    Some(dead) => queue.check_out_instead(dead, (), now(), None),
                    None => queue.check_out(now(), None),
                };
                let CheckOut::Served(CheckOutStep::Establish(lease)) = outcome else {
                    panic!("{outcome:?}");
                };
                served.lock().unwrap().push(name);
                queue.failed(lease, CloseReason::Error, now());
            })
        };
        let wait_for = |count: usize| {
            while queue.counts().2.waiting < count {
                thread::yield_now();
            }
        };
        let mut threads = vec![come("waits", None)];
        wait_for(1);
        threads.push(come("lines up again", Some(dead)));
        wait_for(2);
        queue.failed(dialling, CloseReason::Error, now());
        join(threads);
        assert_eq!(*served.lock().unwrap(), ["lines up again", "waits"]);
        assert_eq!(queue.counts().2.total(), 0);
    });
}

/// One connection, which is in use, and the queue.
fn one_held() -> (Arc<Queue>, Lease) {
    let limits = Limits {
        max_size: 1,
        ..TIGHT
    };
    let queue = Arc::new(Queue::new(limits));
    queue.ready();
    let CheckOut::Served(CheckOutStep::Establish(lease)) = queue.check_out(now(), None).0 else {
        panic!("there is room");
    };
    queue.established(lease, now());
    (queue, lease)
}

#[test]
fn one_gives_back_while_another_waits() {
    exhaust(|| {
        leave_to_chance(Chances::NothingAndWaitsDoNotEnd);
        let (queue, lease) = one_held();
        let same = Arc::clone(&queue);
        let other = thread::spawn(move || {
            let (outcome, _) = same.check_out(now(), None);
            let CheckOut::Served(CheckOutStep::Reuse(lease, (), _)) = outcome else {
                panic!("{outcome:?}");
            };
            same.check_in(lease, (), false, now());
        });
        queue.check_in(lease, (), false, now());
        other.join().unwrap();
        assert_eq!(queue.counts().2.available, 1);
    });
}

#[test]
fn one_gives_back_while_the_time_of_another_is_up() {
    exhaust(|| {
        leave_to_chance(Chances::NothingAndWaitsEnd);
        let (queue, lease) = one_held();
        let same = Arc::clone(&queue);
        let other = thread::spawn(move || {
            let deadline = now() + Duration::from_secs(1);
            match same.check_out(now(), Some(deadline)).0 {
                CheckOut::Served(CheckOutStep::Reuse(lease, (), _)) => {
                    same.check_in(lease, (), false, now());
                }
                CheckOut::TimedOut(counts) => assert_eq!(counts.in_use + counts.available, 1),
                outcome => panic!("{outcome:?}"),
            }
        });
        queue.check_in(lease, (), false, now());
        other.join().unwrap();
        assert_eq!(queue.counts().2.available, 1);
    });
}

#[test]
fn one_closes_while_another_waits_and_a_third_drains() {
    exhaust(|| {
        leave_to_chance(Chances::NothingAndWaitsDoNotEnd);
        let (queue, lease) = one_held();
        let same = Arc::clone(&queue);
        let other = thread::spawn(move || match same.check_out(now(), None).0 {
            CheckOut::Served(CheckOutStep::Reuse(lease, (), _)) => {
                // The connection turns out to be dead.
                let (outcome, _) = same.check_out_instead(lease, (), now(), None);
                match outcome {
                    CheckOut::Served(CheckOutStep::Establish(lease)) => {
                        same.failed(lease, CloseReason::Error, now());
                    }
                    CheckOut::Served(CheckOutStep::Refused(CheckOutRefusal::Closed)) => {}
                    outcome => panic!("{outcome:?}"),
                }
            }
            CheckOut::Served(CheckOutStep::Refused(CheckOutRefusal::Closed)) => {}
            outcome => panic!("{outcome:?}"),
        });
        queue.check_in(lease, (), false, now());
        queue.close();
        queue.wake(now());
        assert_eq!(queue.drain(None), []);
        other.join().unwrap();
        assert_eq!(queue.counts().2.total(), 0);
    });
}

/// A queue whose connections have no content.
type Queue = WaitQueue<(), ()>;
