//! Examines many hosts in parallel, until no new one is named.
//!
//! In: the options, and a function that examines one host. Out: one examination for each host. The calling thread hands
//! hosts out and collects results; each host is examined on its own thread, with at most [`AT_A_TIME`] of them in
//! parallel. The number of hosts is limited by [`MAX_HOSTS`]. Source for the hosts to examine: "Server Discovery and
//! Monitoring".

use std::collections::{HashMap, HashSet, VecDeque};
use std::panic::{AssertUnwindSafe, catch_unwind, resume_unwind};
use std::sync::mpsc;
use std::thread;

use super::judge;
use super::report::Examination;
use crate::address::ServerAddress;
use crate::options::ClientOptions;

/// The number of hosts that are examined in parallel.
const AT_A_TIME: usize = 16;

/// The maximum number of hosts that are examined, unless the seed list alone is longer. It equals the limit of a
/// client's topology.
const MAX_HOSTS: usize = 1000;

/// The examinations of all hosts.
pub(super) struct DeploymentExaminations {
    /// The hosts of the seed list in its order, then the others, sorted.
    pub(super) examinations: Vec<Examination>,
    /// True if every named host was examined.
    pub(super) is_complete: bool,
}

/// Examines the hosts of the options and, unless the options exclude that, the members that they name, directly or
/// indirectly.
pub(super) fn examine_all(
    options: &ClientOptions,
    examine: impl Fn(&ServerAddress) -> Examination + Sync,
) -> DeploymentExaminations {
    let mut known = HashSet::new();
    let seeds = options.hosts.iter();
    let seeds: Vec<_> = seeds.filter(|seed| known.insert((*seed).clone())).collect();
    let limit = MAX_HOSTS.max(seeds.len());
    let mut queue: VecDeque<ServerAddress> = seeds.iter().copied().cloned().collect();
    let mut examined = HashMap::new();
    let mut is_complete = true;
    let examine = &examine;
    thread::scope(|scope| {
        let (done, results) = mpsc::channel();
        let work = move |server: ServerAddress, done: mpsc::Sender<_>| {
            let outcome = catch_unwind(AssertUnwindSafe(|| examine(&server)));
            // The receiver lives as long as the scope, unless another thread has panicked.
            let _ = done.send((server, outcome));
        };
        let mut running = 0;
        loop {
            while running < AT_A_TIME {
                let Some(server) = queue.pop_front() else {
                    break;
                };
                running += 1;
                let (own, of_thread) = (server.clone(), done.clone());
                let thread = thread::Builder::new().name("mongotls-doctor".into());
                let is_alone = running == 1 && queue.is_empty();
                // A single host needs no thread, and is examined even if no thread can be started.
                if is_alone
                    || thread
                        .spawn_scoped(scope, move || work(own, of_thread))
                        .is_err()
                {
                    work(server, done.clone());
                }
            }
            if running == 0 {
                break;
            }
            let Ok((server, outcome)) = results.recv() else {
                break;
            };
            running -= 1;
            let examination = outcome.unwrap_or_else(|panic| resume_unwind(panic));
            for member in judge::named_by(options, &examination) {
                if known.contains(&member) {
                    continue;
                }
                if known.len() < limit {
                    known.insert(member.clone());
                    queue.push_back(member);
                } else {
                    is_complete = false;
                }
            }
            examined.insert(server, examination);
        }
    });
    let of_seeds: Vec<_> = seeds
        .into_iter()
        .filter_map(|seed| examined.remove(seed))
        .collect();
    let mut others: Vec<_> = examined.into_iter().collect();
    others.sort_by(|(one, _), (other, _)| one.cmp(other));
    let others = others.into_iter().map(|(_, examination)| examination);
    DeploymentExaminations {
        examinations: of_seeds.into_iter().chain(others).collect(),
        is_complete,
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Mutex;
    use std::sync::atomic::{AtomicUsize, Ordering};
    use std::time::Duration;

    use super::*;
    use crate::doctor::judge::tests::{examination, host, member};

    fn options(uri: &str) -> ClientOptions {
        ClientOptions::parse(uri).unwrap().0
    }

    fn names(found: &DeploymentExaminations) -> Vec<String> {
        let servers = found.examinations.iter();
        servers
            .map(|examination| examination.server.as_ref().unwrap().to_string())
            .collect()
    }

    #[test]
    fn members_of_members_are_examined_each_once_and_sorted() {
        let examined = Mutex::new(Vec::new());
        let found = examine_all(&options("mongodb://z,a,z"), |server| {
            examined.lock().unwrap().push(server.host());
            let hosts: &[&str] = match server.host().as_str() {
                "z" => &["z", "y"],
                "y" => &["b", "a", "z"],
                "b" => &["x", "b"],
                _ => &[],
            };
            examination(server, member("rs", server, hosts))
        });
        let expected = ["z:27017", "a:27017", "b:27017", "x:27017", "y:27017"];
        assert_eq!(names(&found), expected);
        assert!(found.is_complete);
        let mut examined = examined.into_inner().unwrap();
        examined.sort();
        assert_eq!(examined, ["a", "b", "x", "y", "z"]);
    }

    #[test]
    fn a_direct_connection_examines_one_host() {
        for option in ["directConnection", "loadBalanced"] {
            let options = options(&format!("mongodb://a/?{option}=true"));
            let found = examine_all(&options, |server| {
                examination(server, member("rs", server, &["a", "b"]))
            });
            assert_eq!(names(&found), ["a:27017"], "{option}");
        }
    }

    #[test]
    fn servers_that_name_others_without_end_are_bounded() {
        let number = AtomicUsize::new(0);
        let found = examine_all(&options("mongodb://seed"), |server| {
            let from = number.fetch_add(300, Ordering::Relaxed);
            let hosts: Vec<String> = (from..from + 300).map(|at| format!("h{at}")).collect();
            let hosts: Vec<&str> = hosts.iter().map(String::as_str).collect();
            examination(server, member("rs", server, &hosts))
        });
        assert_eq!(found.examinations.len(), MAX_HOSTS);
        assert!(!found.is_complete);
    }

    #[test]
    fn no_more_than_the_limit_run_at_a_time_and_as_many_do() {
        let hosts: Vec<String> = (0..40).map(|at| format!("h{at}")).collect();
        let (running, most) = (AtomicUsize::new(0), AtomicUsize::new(0));
        let found = examine_all(
            &options(&format!("mongodb://{}", hosts.join(","))),
            |server| {
                let now = running.fetch_add(1, Ordering::SeqCst) + 1;
                most.fetch_max(now, Ordering::SeqCst);
                // Bounded: waits until all permitted examinations run, or for one second.
                for _ in 0..100 {
                    if most.load(Ordering::SeqCst) >= AT_A_TIME {
                        break;
                    }
                    thread::sleep(Duration::from_millis(10));
                }
                running.fetch_sub(1, Ordering::SeqCst);
                examination(server, member("rs", server, &[]))
            },
        );
        assert_eq!(found.examinations.len(), 40);
        assert_eq!(most.into_inner(), AT_A_TIME);
    }

    #[test]
    fn a_panic_of_one_examination_is_that_of_the_whole() {
        let outcome = catch_unwind(|| {
            examine_all(&options("mongodb://a,b,c"), |server| {
                assert_ne!(server, &host("b"), "the panic of the test");
                examination(server, member("rs", server, &[]))
            })
        });
        assert!(outcome.is_err());
    }
}
