//! The bank test: threads transfer money in transactions while connections are cut, commits are delayed or undone, and the
//! primary steps down. No money is lost or made, no acknowledged transfer is lost, and none is made twice.
//!
//! The servers are the bench in front of SecantusDB. They check the commits that they get a second time, and they undo some
//! that are to be acknowledged by the primary alone, as a primary does that steps down. The same transfers run with PyMongo,
//! as a control of the servers. `MONGOTLS_BANK_SECONDS` sets the time of each run, `MONGOTLS_BANK_SEED` the seed. `make bank`
//! runs each for two minutes.

use std::collections::{BTreeMap, HashSet};
use std::process::Command;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Mutex};
use std::thread;
use std::time::{Duration, Instant};

use mongotls::bson::oid::ObjectId;
use mongotls::bson::{Document, doc};
use mongotls::options::{ReadConcern, WriteConcern};
use mongotls::{CauseCode, Client, Collection, Result, Tx, Written};
use mongotls_testbench::deployment::{Deployment, Topology};
use mongotls_testbench::fault::Action;
use mongotls_testbench::node::NodeOptions;
use mongotls_testbench::peers::{Secantus, SecantusOptions, or_skip};
use mongotls_testbench::random::Random;
use mongotls_testbench::server::{Backend, ReplyFault, Request, Version, fail_command};

use crate::common::setting;

const ACCOUNTS: i32 = 24;
const THREADS: u64 = 16;
/// The money of each account at first.
const MONEY: i64 = 1000;
const MS: fn(u64) -> Duration = Duration::from_millis;

/// The time of each run.
fn seconds() -> u64 {
    setting("MONGOTLS_BANK_SECONDS", 4)
}

/// Checks the commits that a server receives.
struct Rules {
    /// True if a repeated commit must have the token of the routers.
    needs_token: bool,
    backend: Backend,
    /// The transactions that have begun.
    begun: Mutex<HashSet<(Vec<u8>, i64)>>,
    /// The transactions that a server was to commit.
    commits: Mutex<HashSet<(Vec<u8>, i64)>>,
    violations: Mutex<Vec<String>>,
    random: Mutex<Random>,
    undone: AtomicU64,
    repeated: AtomicU64,
}

impl Rules {
    fn new(needs_token: bool, backend: &Backend, seed: u64) -> Arc<Self> {
        Arc::new(Self {
            needs_token,
            backend: backend.clone(),
            begun: Mutex::default(),
            commits: Mutex::default(),
            violations: Mutex::default(),
            random: Mutex::new(Random::seeded(seed)),
            undone: AtomicU64::new(0),
            repeated: AtomicU64::new(0),
        })
    }

    /// Notes the beginning of a transaction.
    fn note(&self, request: &Request) {
        if request.body.contains_key("startTransaction") {
            self.begun.lock().unwrap().insert(transaction(request));
        }
    }

    fn reject(&self, why: &str, request: &Request) -> Option<Document> {
        let violation = format!("{why}: {}", request.body);
        self.violations.lock().unwrap().push(violation);
        Some(doc! { "ok": 0, "code": 72, "codeName": "InvalidOptions", "errmsg": why })
    }

    /// The answer to a commit, if the store does not get it.
    fn commit(&self, request: &Request) -> Option<Document> {
        let body = &request.body;
        let id = transaction(request);
        if !self.begun.lock().unwrap().contains(&id) {
            return self.reject("the commit of a transaction that has not begun", request);
        }
        let concern = body.get_document("writeConcern").ok();
        let has_majority = concern.is_some_and(|it| it.get_str("w").ok() == Some("majority"));
        if self.commits.lock().unwrap().insert(id) {
            let is_undone = !has_majority && self.random.lock().unwrap().below(4) == 0;
            return is_undone.then(|| self.undo(request));
        }
        self.repeated.fetch_add(1, Ordering::Relaxed);
        match () {
            () if !has_majority => self.reject("a repeated commit without a majority", request),
            () if self.needs_token && !body.contains_key("recoveryToken") => {
                self.reject("a repeated commit without a recoveryToken", request)
            }
            () => None,
        }
    }

    /// Undoes the commit, as a primary does that steps down before others have it.
    fn undo(&self, request: &Request) -> Document {
        self.undone.fetch_add(1, Ordering::Relaxed);
        let mut abort = doc! { "abortTransaction": 1, "autocommit": false };
        for field in ["lsid", "txnNumber"] {
            abort.insert(field, request.body.get(field).cloned());
        }
        self.backend.command("admin", abort).unwrap();
        // With the code of a step-down the client would wait for the next check of a server that has not changed.
        doc! {
            "ok": 0, "code": 9001, "codeName": "SocketException",
            "errmsg": "the commit was undone", "errorLabels": ["RetryableWriteError"],
        }
    }
}

/// The session and the number of a transaction.
fn transaction(request: &Request) -> (Vec<u8>, i64) {
    let session = request.body.get_document("lsid").unwrap();
    let number = request.body.get_i64("txnNumber").unwrap();
    (session.to_vec().unwrap(), number)
}

/// The faults that were injected.
#[derive(Debug, Default)]
struct Faults {
    cut_before: u64,
    cut_after: u64,
    delayed: u64,
    stepped_down: u64,
    routers_cut: u64,
}

/// The transfers by their outcomes, and what the threads have counted.
#[derive(Debug, Default)]
struct Outcomes {
    acknowledged: Vec<String>,
    unknown: Vec<String>,
    failed: Vec<String>,
    totals: Vec<i64>,
    spoiled: u64,
    retries: u64,
    commit_retries: u64,
    /// The number of transfers whose repetitions have taken all the time that the specification gives them, 120 s. With
    /// many threads and few accounts one may lose that often.
    out_of_time: u64,
    /// The errors of transfers that should have been made.
    given_up: Vec<String>,
}

/// The command whose error a closure ignores.
#[derive(Clone, Copy)]
enum Careless {
    Never,
    AboutTheJournal,
    AboutTheReceiver,
}

struct Bank {
    deployment: Deployment,
    client: Client,
    name: String,
    rules: Arc<Rules>,
    seed: u64,
    /// A store of its own, because the threads keep it busy.
    _store: Secantus,
}

impl Bank {
    /// `needs_token`: see [`Rules`].
    fn open(topology: Topology, needs_token: bool) -> Option<Self> {
        let store = or_skip(Secantus::start(&SecantusOptions::plain()))?;
        let backend = store.backend();
        let seed = setting("MONGOTLS_BANK_SEED", 1);
        let needs_token = needs_token && topology == Topology::Sharded;
        let rules = Rules::new(needs_token, &backend, seed);
        let known = Arc::clone(&rules);
        let options = NodeOptions::new().setup(move |_, builder| {
            let rules = Arc::clone(&known);
            let builder = builder.handle("commitTransaction", move |request| rules.commit(request));
            let first = ["insert", "find"].into_iter();
            let builder = first.fold(builder, |builder, command| {
                let rules = Arc::clone(&known);
                builder.handle(command, move |request| {
                    rules.note(request);
                    None
                })
            });
            builder.log_limit(0)
        });
        let deployment = Deployment::start_with(topology, Version::V8_2, &backend, options);
        let client = Client::connect(&deployment.uri_of_all("socketTimeoutMS=1500")).unwrap();
        let bank = Self {
            name: ObjectId::new().to_hex(),
            deployment,
            client,
            rules,
            seed,
            _store: store,
        };
        let accounts = (0..ACCOUNTS).map(|id| doc! { "_id": id, "balance": MONEY });
        bank.accounts().insert_many(accounts).run().unwrap();
        bank.journal()
            .insert_one(doc! { "_id": 0, "transfer": "", "amount": 0_i64 })
            .run()
            .unwrap();
        Some(bank)
    }

    fn accounts(&self) -> Collection<Document> {
        self.client.database(&self.name).collection("accounts")
    }

    fn journal(&self) -> Collection<Document> {
        self.client.database(&self.name).collection("journal")
    }

    /// Injects faults until the end.
    fn disturb(&self, end: Instant, is_done: &AtomicBool) -> Faults {
        let mut random = Random::seeded(self.seed + 1);
        let nodes = self.deployment.nodes();
        let commands = [
            "insert",
            "update",
            "find",
            "commitTransaction",
            "abortTransaction",
        ];
        let mut faults = Faults::default();
        while Instant::now() < end && !is_done.load(Ordering::Relaxed) {
            thread::sleep(MS(40 + random.number() % 100));
            let server = nodes[random.below(nodes.len())].server();
            let command = commands[random.below(commands.len())];
            match random.below(8) {
                0..3 => {
                    let cut = doc! { "closeConnection": true };
                    server.configure_fail_point(&fail_command(1, &[command], cut));
                    faults.cut_before += 1;
                }
                3..6 => {
                    let action = Action::Reset;
                    server.spoil_replies(command, 1, ReplyFault::Cut { after: 0, action });
                    faults.cut_after += 1;
                }
                6 => {
                    let slow = doc! { "blockConnection": true, "blockTimeMS": 150 };
                    let slow = fail_command(1, &["commitTransaction"], slow);
                    server.configure_fail_point(&slow);
                    faults.delayed += 1;
                }
                _ => match self.deployment.replica_set() {
                    Some(set) => {
                        set.fail_over();
                        faults.stepped_down += 1;
                    }
                    None => {
                        server.cut();
                        faults.routers_cut += 1;
                    }
                },
            }
        }
        self.deployment.clear_fail_points();
        nodes.iter().for_each(|node| node.server().heal_replies());
        faults
    }

    /// Makes transfers until the end.
    fn transfer(&self, thread: u64, end: Instant) -> Outcomes {
        let mut random = Random::seeded(self.seed * 1000 + thread);
        let mut outcomes = Outcomes::default();
        while Instant::now() < end {
            let id = ObjectId::new().to_hex();
            let mut account = || i32::try_from(random.below(ACCOUNTS as usize)).unwrap();
            let (from, to) = (account(), account());
            if from == to {
                continue;
            }
            let amount = i64::try_from(1 + random.below(9)).unwrap();
            // Some closures ignore an error, and would leave half a transfer.
            let careless = match random.below(8) {
                0 => Careless::AboutTheJournal,
                1 => Careless::AboutTheReceiver,
                _ => Careless::Never,
            };
            let concern = match random.below(2) {
                0 => WriteConcern::nodes(1),
                _ => WriteConcern::majority(),
            };
            let (retries, of_commit) = (&mut outcomes.retries, &mut outcomes.commit_retries);
            let outcome = self
                .client
                .transaction()
                .write_concern(concern)
                .on_retry(|retry| match retry.is_commit {
                    true => *of_commit += 1,
                    false => *retries += 1,
                })
                .run(|tx| self.work(tx, &id, (from, to), amount, careless));
            match outcome {
                Ok(()) => outcomes.acknowledged.push(id),
                Err(error) => {
                    let code = error.cause().map(|cause| cause.code());
                    match code {
                        Some(CauseCode::TransactionSpoiled) => outcomes.spoiled += 1,
                        _ if error.is_timeout() => outcomes.out_of_time += 1,
                        _ => outcomes.given_up.push(error.to_string()),
                    }
                    match error.written() {
                        Written::No => outcomes.failed.push(id),
                        Written::Yes => outcomes.acknowledged.push(id),
                        _ => outcomes.unknown.push(id),
                    }
                }
            }
        }
        outcomes
    }

    fn work(
        &self,
        tx: &Tx<'_>,
        id: &str,
        (from, to): (i32, i32),
        amount: i64,
        careless: Careless,
    ) -> Result<()> {
        let (accounts, journal) = (self.accounts(), self.journal());
        let entry = doc! { "transfer": id, "from": from, "to": to, "amount": amount };
        journal.within(tx).insert_one(entry).run()?;
        let add = |account: i32, amount: i64| {
            let change = doc! { "$inc": { "balance": amount } };
            accounts
                .within(tx)
                .update_one(doc! { "_id": account }, change)
                .run()
        };
        add(from, -amount)?;
        match careless {
            Careless::Never => _ = add(to, amount)?,
            Careless::AboutTheReceiver => _ = add(to, amount),
            Careless::AboutTheJournal => {
                let _ignored = journal.within(tx).insert_one(doc! { "_id": 0 }).run();
            }
        }
        Ok(())
    }

    /// Reads totals until the end.
    fn audit(&self, end: Instant) -> Vec<i64> {
        let mut totals = Vec::new();
        while Instant::now() < end {
            let transaction = self
                .client
                .transaction()
                .read_concern(ReadConcern::snapshot());
            let total = transaction.run(|tx| {
                let accounts = self.accounts();
                let all = accounts
                    .within(tx)
                    .find(doc! {})
                    .run()?
                    .collect::<Result<Vec<_>>>()?;
                Ok(all
                    .iter()
                    .map(|account| account.get_i64("balance").unwrap())
                    .sum())
            });
            totals.push(total.unwrap());
        }
        totals
    }

    /// Runs all threads of this crate.
    fn run(&self) -> (Outcomes, Faults) {
        let end = Instant::now() + Duration::from_secs(seconds());
        let is_done = AtomicBool::new(false);
        thread::scope(|scope| {
            let faults = scope.spawn(|| self.disturb(end, &is_done));
            let audits = scope.spawn(|| self.audit(end));
            let threads: Vec<_> = (0..THREADS)
                .map(|thread| scope.spawn(move || self.transfer(thread, end)))
                .collect();
            let mut all = Outcomes::default();
            for thread in threads {
                let outcomes = thread.join().unwrap();
                all.acknowledged.extend(outcomes.acknowledged);
                all.unknown.extend(outcomes.unknown);
                all.failed.extend(outcomes.failed);
                all.given_up.extend(outcomes.given_up);
                all.spoiled += outcomes.spoiled;
                all.out_of_time += outcomes.out_of_time;
                all.retries += outcomes.retries;
                all.commit_retries += outcomes.commit_retries;
            }
            all.totals = audits.join().unwrap();
            (all, faults.join().unwrap())
        })
    }

    /// Runs the transfers with PyMongo.
    fn run_control(&self, python: &std::path::Path) -> (Outcomes, Faults) {
        let end = Instant::now() + Duration::from_secs(seconds());
        let is_done = AtomicBool::new(false);
        thread::scope(|scope| {
            let faults = scope.spawn(|| self.disturb(end, &is_done));
            let script = concat!(env!("CARGO_MANIFEST_DIR"), "/tests/it/bank/control.py");
            let uri = self.deployment.uri_of_all("socketTimeoutMS=1500");
            let output = Command::new(python)
                .args([script, &uri, &self.name])
                .args([seconds().to_string(), self.seed.to_string()])
                .output()
                .unwrap();
            is_done.store(true, Ordering::Relaxed);
            let errors = String::from_utf8_lossy(&output.stderr);
            assert!(output.status.success(), "{errors}");
            let all: serde_json::Value = serde_json::from_slice(&output.stdout).unwrap();
            let texts = |name: &str| {
                let list = all[name].as_array().unwrap().iter();
                list.map(|id| id.as_str().unwrap().to_owned()).collect()
            };
            let totals = all["totals"].as_array().unwrap().iter();
            let outcomes = Outcomes {
                acknowledged: texts("acknowledged"),
                unknown: texts("unknown"),
                failed: texts("failed"),
                totals: totals.map(|total| total.as_i64().unwrap()).collect(),
                ..Outcomes::default()
            };
            (outcomes, faults.join().unwrap())
        })
    }

    /// Compares the outcomes with the data, and prints them.
    #[allow(clippy::print_stdout, reason = "`make bank` shows the figures")]
    #[allow(clippy::cast_precision_loss, reason = "a rate")]
    fn check(&self, who: &str, outcomes: &Outcomes, faults: &Faults) {
        let client = Client::connect(&self.deployment.uri_of_all("")).unwrap();
        let database = client.database(&self.name);
        let all = |name: &str| -> Vec<Document> {
            let found = database
                .collection::<Document>(name)
                .find(doc! {})
                .run()
                .unwrap();
            found.map(|document| document.unwrap()).collect()
        };
        let rules = &self.rules;
        println!(
            "bank, {who}, {}: {} s, seed {}: {} acknowledged ({:.1}/s), {} unknown, {} failed ({} spoiled, {} out of time), \
             {} retries, {} of commits alone, {} commits undone, {} repeated, {} audits, {faults:?}",
            self.deployment.topology().name(),
            seconds(),
            self.seed,
            outcomes.acknowledged.len(),
            outcomes.acknowledged.len() as f64 / seconds() as f64,
            outcomes.unknown.len(),
            outcomes.failed.len(),
            outcomes.spoiled,
            outcomes.out_of_time,
            outcomes.retries,
            outcomes.commit_retries,
            rules.undone.load(Ordering::Relaxed),
            rules.repeated.load(Ordering::Relaxed),
            outcomes.totals.len(),
        );
        assert_eq!(
            *rules.violations.lock().unwrap(),
            [""; 0],
            "seen by the servers"
        );
        let expected = i64::from(ACCOUNTS) * MONEY;
        let wrong: Vec<_> = outcomes
            .totals
            .iter()
            .filter(|total| **total != expected)
            .collect();
        assert!(wrong.is_empty(), "the totals {wrong:?} are not {expected}");
        let mut balances: BTreeMap<i32, i64> = (0..ACCOUNTS).map(|id| (id, MONEY)).collect();
        let mut made: BTreeMap<String, u64> = BTreeMap::new();
        for entry in all("journal") {
            let Ok(amount) = entry
                .get_i64("amount")
                .or(entry.get_i32("amount").map(i64::from))
            else {
                panic!("an entry without an amount: {entry}");
            };
            if let (Ok(from), Ok(to)) = (entry.get_i32("from"), entry.get_i32("to")) {
                *balances.get_mut(&from).unwrap() -= amount;
                *balances.get_mut(&to).unwrap() += amount;
                let id = match entry.get_object_id("transfer") {
                    Ok(id) => id.to_hex(),
                    Err(_) => entry.get_str("transfer").unwrap().to_owned(),
                };
                *made.entry(id).or_default() += 1;
            }
        }
        let twice: Vec<_> = made.iter().filter(|(_, times)| **times > 1).collect();
        assert!(twice.is_empty(), "made twice: {twice:?}");
        let lost: Vec<_> = outcomes
            .acknowledged
            .iter()
            .filter(|id| !made.contains_key(*id))
            .collect();
        assert!(lost.is_empty(), "acknowledged, and lost: {lost:?}");
        let unexpected: Vec<_> = outcomes
            .failed
            .iter()
            .filter(|id| made.contains_key(*id))
            .collect();
        assert!(
            unexpected.is_empty(),
            "reported as not made, and made: {unexpected:?}"
        );
        let stored: BTreeMap<i32, i64> = all("accounts")
            .iter()
            .map(|account| {
                (
                    account.get_i32("_id").unwrap(),
                    account.get_i64("balance").unwrap(),
                )
            })
            .collect();
        assert_eq!(stored, balances, "the balances are those of the journal");
        let made = outcomes.acknowledged.len() as u64;
        assert!(outcomes.out_of_time * 20 <= made, "too many out of time");
        // The test has tested something.
        assert!(
            !outcomes.acknowledged.is_empty()
                && !outcomes.totals.is_empty()
                && faults.cut_after > 0
                && faults.cut_before > 0
        );
    }
}

fn run(topology: Topology) {
    let Some(bank) = Bank::open(topology, true) else {
        return;
    };
    let (outcomes, faults) = bank.run();
    bank.check("mongotls", &outcomes, &faults);
    // Every other failure is one after which the transaction can run again.
    assert_eq!(outcomes.given_up, [""; 0]);
    assert!(outcomes.retries > 0);
}

#[test]
fn no_money_is_lost_or_made_in_a_replica_set() {
    run(Topology::ReplicaSet);
}

#[test]
fn no_money_is_lost_or_made_behind_two_routers() {
    run(Topology::Sharded);
}

#[test]
fn the_servers_are_fair_to_pymongo() {
    for topology in [Topology::ReplicaSet, Topology::Sharded] {
        // PyMongo was seen to repeat a commit without the token.
        let Some(bank) = Bank::open(topology, false) else {
            return;
        };
        let Some(python) = Secantus::python() else {
            return;
        };
        let (outcomes, faults) = bank.run_control(&python);
        bank.check("PyMongo", &outcomes, &faults);
    }
}
