//! The soak of change streams: a writer inserts numbered documents, and two readers follow while connections are cut, cursors
//! are killed, the primary steps down, and the readers start again. Each reader sees each number exactly once, in order.
//!
//! The servers are the bench in front of SecantusDB. `MONGOTLS_WATCH_SECONDS` sets the time of the run, `MONGOTLS_WATCH_SEED`
//! the seed. `make watch-soak` runs it for two minutes.

use std::str::FromStr;
use std::sync::atomic::{AtomicBool, AtomicI64, Ordering};
use std::sync::{Arc, Mutex};
use std::thread;
use std::time::{Duration, Instant};

use mongotls::bson::oid::ObjectId;
use mongotls::bson::{Document, doc};
use mongotls::change_stream::{ChangeStreamEvent, ResumeToken};
use mongotls::{ChangeStream, Client, Collection, Result};
use mongotls_testbench::deployment::{Deployment, Topology};
use mongotls_testbench::fault::Action;
use mongotls_testbench::node::NodeOptions;
use mongotls_testbench::peers::{Secantus, SecantusOptions, or_skip};
use mongotls_testbench::random::Random;
use mongotls_testbench::server::{Backend, ReplyFault, Version, fail_command};

use crate::common::setting;

const MS: fn(u64) -> Duration = Duration::from_millis;

/// The time after which a document counts as missing. Readers may be far behind.
const LONGEST_WAIT: Duration = Duration::from_secs(30);

/// The code of a server that does not know the cursor.
const CURSOR_NOT_FOUND: i32 = 43;

/// The faults that were injected.
#[derive(Debug, Default)]
struct Faults {
    cut_before: u64,
    cut_after: u64,
    rejected: u64,
    killed: u64,
    stepped_down: u64,
}

/// The numbers that a reader has seen, and its failures.
#[derive(Debug, Default)]
struct Seen {
    numbers: Vec<i64>,
    /// The number of errors that the streams returned.
    errors: u64,
    /// The number of streams that ended with an error.
    ended: u64,
    /// The number of streams that were dropped, and continued by their tokens.
    restarts: u64,
}

struct Soak {
    deployment: Deployment,
    client: Client,
    database: String,
    backend: Backend,
    /// The cursors of which batches were requested lately.
    cursors: Arc<Mutex<Vec<i64>>>,
    /// The number of the last document, when the writer is done.
    last: AtomicI64,
    is_done: AtomicBool,
    seed: u64,
    /// A store of its own, because the streams keep it busy.
    _store: Secantus,
}

impl Soak {
    fn start(topology: Topology) -> Option<Self> {
        let store = or_skip(Secantus::start(&SecantusOptions::plain()))?;
        let backend = store.backend();
        let cursors = Arc::<Mutex<Vec<i64>>>::default();
        let known = Arc::clone(&cursors);
        let options = NodeOptions::new().setup(move |_, builder| {
            let cursors = Arc::clone(&known);
            let builder = builder.handle("getMore", move |request| {
                let mut cursors = cursors.lock().unwrap();
                cursors.truncate(3);
                cursors.insert(0, request.body.get_i64("getMore").unwrap());
                None
            });
            builder.log_limit(0)
        });
        let deployment = Deployment::start_with(topology, Version::V8_2, &backend, options);
        let options = "socketTimeoutMS=1500&heartbeatFrequencyMS=500";
        let client = Client::connect(&deployment.uri_of_all(options)).unwrap();
        let soak = Self {
            deployment,
            client,
            database: ObjectId::new().to_hex(),
            backend,
            cursors,
            last: AtomicI64::new(0),
            is_done: AtomicBool::new(false),
            seed: setting("MONGOTLS_WATCH_SEED", 1),
            _store: store,
        };
        soak.things()
            .insert_one(doc! { "_id": 0_i64 })
            .run()
            .unwrap();
        Some(soak)
    }

    fn things(&self) -> Collection<Document> {
        self.client.database(&self.database).collection("things")
    }

    /// Inserts documents with the numbers 1, 2, 3 … until the end.
    fn write(&self, end: Instant) {
        let things = self.things();
        let mut number = 0_i64;
        while Instant::now() < end {
            number += 1;
            // A document that may have been inserted is not inserted again, because it has the same number.
            while let Err(error) = things.insert_one(doc! { "_id": number }).run() {
                if error.is_duplicate_key() {
                    break;
                }
            }
            thread::sleep(MS(5));
        }
        self.last.store(number, Ordering::Release);
    }

    /// Injects faults until the readers are done.
    fn disturb(&self) -> Faults {
        let mut random = Random::seeded(self.seed + 1);
        let nodes = self.deployment.nodes();
        let mut faults = Faults::default();
        while !self.is_done.load(Ordering::Relaxed) {
            thread::sleep(MS(50 + random.number() % 150));
            let server = nodes[random.below(nodes.len())].server();
            let command = ["getMore", "aggregate", "insert"][random.below(3)];
            match random.below(6) {
                0 => {
                    let cut = doc! { "closeConnection": true };
                    server.configure_fail_point(&fail_command(1, &[command], cut));
                    faults.cut_before += 1;
                }
                1 | 2 => {
                    let action = Action::Reset;
                    server.spoil_replies(command, 1, ReplyFault::Cut { after: 0, action });
                    faults.cut_after += 1;
                }
                3 => {
                    let label = "ResumableChangeStreamError";
                    let rejection = doc! { "errorCode": 234, "errorLabels": [label] };
                    server.configure_fail_point(&fail_command(1, &["getMore"], rejection));
                    faults.rejected += 1;
                }
                4 => {
                    let cursors = std::mem::take(&mut *self.cursors.lock().unwrap());
                    let kill = doc! { "killCursors": "things", "cursors": cursors };
                    self.backend.command(&self.database, kill).unwrap();
                    faults.killed += 1;
                }
                _ => match self.deployment.replica_set() {
                    Some(set) => {
                        set.fail_over();
                        faults.stepped_down += 1;
                    }
                    None => {
                        server.cut();
                        faults.cut_before += 1;
                    }
                },
            }
        }
        self.deployment.clear_fail_points();
        nodes.iter().for_each(|node| node.server().heal_replies());
        faults
    }

    /// Follows until all documents were seen, or until one is missing or seen twice. `open` opens another stream behind the token.
    fn read(
        &self,
        seed: u64,
        mut stream: Events,
        open: impl Fn(ResumeToken) -> Result<Events>,
    ) -> Seen {
        let mut random = Random::seeded(self.seed * 1000 + seed);
        let mut seen = Seen::default();
        let mut events_until_restart = 5;
        let mut newest = 0;
        let mut heard = Instant::now();
        loop {
            match stream.next_if_any() {
                Ok(Some(event)) => {
                    let key = event.document_key.unwrap();
                    let number = key.get_i64("_id").unwrap();
                    seen.numbers.push(number);
                    if number != newest + 1 {
                        return seen;
                    }
                    newest = number;
                    heard = Instant::now();
                    if random.below(10) == 0 {
                        // The next batch has several events then.
                        thread::sleep(MS(150));
                    }
                    events_until_restart -= 1;
                }
                Ok(None) => {}
                Err(error) => {
                    seen.errors += 1;
                    // Only a server that rejects another cursor ends the stream.
                    let code = error.command().map(|failure| failure.code);
                    let is_rejected = code.is_some_and(|code| code != CURSOR_NOT_FOUND);
                    assert!(
                        stream.is_alive() || is_rejected,
                        "the stream ended: {error}"
                    );
                }
            }
            let last = self.last.load(Ordering::Acquire);
            if last > 0 && (newest >= last || heard.elapsed() > LONGEST_WAIT) {
                return seen;
            }
            if events_until_restart == 0 || !stream.is_alive() {
                match stream.is_alive() {
                    true => seen.restarts += 1,
                    false => seen.ended += 1,
                }
                events_until_restart = 5 + random.below(40);
                let token = stream.resume_token().unwrap();
                // A program stores the token as a text.
                let token = ResumeToken::from_str(&token.to_string()).unwrap();
                stream = loop {
                    match open(token.clone()) {
                        Ok(stream) => break stream,
                        Err(_) => thread::sleep(MS(10)),
                    }
                };
            }
        }
    }
}

type Events = ChangeStream<ChangeStreamEvent<Document>>;

#[allow(clippy::print_stdout, reason = "`make watch-soak` shows the figures")]
fn run(topology: Topology) {
    let Some(soak) = Soak::start(topology) else {
        return;
    };
    let time = Duration::from_secs(setting("MONGOTLS_WATCH_SECONDS", 4));
    let (things, database) = (soak.things(), soak.client.database(&soak.database));
    let of_collection = || things.watch().batch_size(3).max_await_time(MS(100));
    let of_database = || database.watch().max_await_time(MS(300));
    let first = of_collection().run().unwrap();
    let second = of_database().run().unwrap();
    let (faults, readers) = thread::scope(|scope| {
        let readers = [
            scope.spawn(|| soak.read(1, first, |token| of_collection().resume_after(token).run())),
            scope.spawn(|| soak.read(2, second, |token| of_database().start_after(token).run())),
        ];
        let disturbing = scope.spawn(|| soak.disturb());
        soak.write(Instant::now() + time);
        let readers = readers.map(thread::ScopedJoinHandle::join);
        soak.is_done.store(true, Ordering::Relaxed);
        (
            disturbing.join().unwrap(),
            readers.map(|seen| seen.unwrap()),
        )
    });
    println!("{topology}: {faults:?}");
    let last = soak.last.load(Ordering::Acquire);
    for seen in &readers {
        println!(
            "{topology}: {} numbers, {} errors, {} streams ended, {} restarts",
            seen.numbers.len(),
            seen.errors,
            seen.ended,
            seen.restarts
        );
        let expected: Vec<i64> = (1..=last).collect();
        assert!(
            seen.numbers == expected,
            "{}",
            difference(&seen.numbers, &expected)
        );
        assert!(seen.restarts > 0);
    }
    assert!(last > 20 && faults.cut_before + faults.cut_after > 0 && faults.killed > 0);
}

/// The first number that is missing, or that was seen too often.
fn difference(seen: &[i64], expected: &[i64]) -> String {
    let place = seen
        .iter()
        .zip(expected)
        .position(|(seen, expected)| seen != expected);
    let place = place.unwrap_or(seen.len().min(expected.len()));
    let around = &seen[place.saturating_sub(3)..(place + 4).min(seen.len())];
    format!("not {:?} but {around:?}", expected.get(place))
}

#[test]
fn each_reader_sees_each_number_once_in_a_replica_set() {
    run(Topology::ReplicaSet);
}

#[test]
fn each_reader_sees_each_number_once_behind_two_routers() {
    run(Topology::Sharded);
}
