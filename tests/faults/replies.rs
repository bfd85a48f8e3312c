//! Runs each operation with mutated replies: no panic, no hang, and no success that the reply does not justify.
//!
//! The valid replies come from the store. `mutate.rs` changes one of them, a bench server sends it, and `justified.rs`
//! says by itself, without the code of the driver, whether such a reply means success.

use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::{Arc, Mutex};
use std::thread;
use std::time::{Duration, Instant};

use mongotls::bson::oid::ObjectId;
use mongotls::bson::{Document, RawDocumentBuf, doc};
use mongotls::event::{CommandEvent, Event};
use mongotls::{Client, ConnectionString, Error, ErrorKind, Written};
use mongotls_testbench::deployment::Topology;
use mongotls_testbench::peers::{Secantus, or_skip};
use mongotls_testbench::random::{Random, rounds};
use mongotls_testbench::server::{Hello, ReplyFault, Server, Version};

use crate::justified::is_justified;
use crate::mutate::mutated;
use crate::operations::{Kind, OPERATIONS, Operation};
use crate::scene::{Fault, Lane, Scene};

/// A command of an operation, and the valid reply to it.
#[derive(Clone, Debug)]
pub(crate) struct Exchange {
    pub(crate) command: Document,
    pub(crate) reply: RawDocumentBuf,
}

impl Exchange {
    pub(crate) fn name(&self) -> &str {
        self.command.keys().next().map_or("", String::as_str)
    }
}

/// The exchanges of a client, in their order.
#[derive(Clone, Debug, Default)]
pub(crate) struct Recorder(Arc<Mutex<Vec<Recorded>>>);

/// A command, and the reply if it has come.
type Recorded = (Document, Option<RawDocumentBuf>);

impl Recorder {
    pub(crate) fn listen(&self) -> impl Fn(&Event) + Send + Sync + 'static {
        let all = Arc::clone(&self.0);
        move |event| match event {
            Event::Command(CommandEvent::Started(event)) => {
                let command = Document::try_from(&*event.command).unwrap();
                all.lock().unwrap().push((command, None));
            }
            Event::Command(CommandEvent::Succeeded(event)) => {
                if let Some(last) = all.lock().unwrap().last_mut() {
                    last.1 = Some(event.reply.clone());
                }
            }
            Event::Command(CommandEvent::Failed(event)) => {
                let reply = event.failure.command().map(|failure| failure.reply.clone());
                if let Some(last) = all.lock().unwrap().last_mut() {
                    last.1 = reply;
                }
            }
            _ => {}
        }
    }

    /// The exchanges so far, without the end of sessions.
    pub(crate) fn take(&self) -> Vec<Exchange> {
        let all = std::mem::take(&mut *self.0.lock().unwrap());
        let exchanges = all.into_iter().filter_map(|(command, reply)| {
            let reply = reply?;
            Some(Exchange { command, reply })
        });
        exchanges.filter(|it| it.name() != "endSessions").collect()
    }
}

/// An operation with its valid replies, and whether it succeeds with them.
struct Sample {
    operation: &'static Operation,
    exchanges: Vec<Exchange>,
    succeeds: bool,
}

fn samples() -> Option<Vec<Sample>> {
    let backend = or_skip(Secantus::shared())?.backend();
    let lane = Lane::new(Topology::LoadBalanced, &backend);
    // Inside a transaction a reply does not say what is written: nothing is until the commit.
    let operations = OPERATIONS.iter();
    let operations =
        operations.filter(|operation| !operation.name.starts_with("Client::transaction"));
    let samples = operations.map(|operation| {
        let outcome = lane.run(operation, Fault::None, false);
        let (mut exchanges, mut succeeds) = (outcome.exchanges, outcome.result.is_ok());
        if let Some(reply) = reply_about_search_indexes(operation) {
            exchanges.truncate(1);
            exchanges[0].reply = RawDocumentBuf::try_from(&reply).unwrap();
            succeeds = true;
        }
        Sample {
            operation,
            exchanges,
            succeeds,
        }
    });
    Some(samples.collect())
}

/// The reply of MongoDB to a command that the store does not have.
fn reply_about_search_indexes(operation: &Operation) -> Option<Document> {
    let index = doc! { "id": "6524096020da840844a4c4a7", "name": "by-text" };
    Some(match operation.command {
        "createSearchIndexes" => doc! { "ok": 1, "indexesCreated": [index] },
        "updateSearchIndex" | "dropSearchIndex" => doc! { "ok": 1 },
        "explain" => doc! { "ok": 1, "queryPlanner": { "winningPlan": { "stage": "COLLSCAN" } } },
        _ if operation.name.ends_with("list_search_indexes") => {
            doc! { "ok": 1, "cursor": { "id": 0_i64, "ns": "db.things", "firstBatch": [index] } }
        }
        _ => return None,
    })
}

/// A server that sends what it is told, and a client of it. A router behind a load balancer has no monitors, so a bad
/// reply does not stop the client for a while.
struct Puppet {
    server: Server,
    scene: Scene,
}

impl Puppet {
    fn new() -> Self {
        let mut hello = Hello::mongos();
        hello.extra = doc! { "serviceId": ObjectId::new() };
        let server = Server::builder()
            .hello(hello)
            .version(Version::V8_2)
            .start();
        server.set_hello(|hello| {
            hello.role = Hello::mongos().role;
            hello.max_write_batch_size = 4;
        });
        let options = "loadBalanced=true&retryReads=false&retryWrites=false&socketTimeoutMS=2000";
        let uri = format!("{}?{options}", server.uri());
        let builder = ConnectionString::parse(&uri).unwrap().into_builder();
        let client = Client::with_options(builder.build().unwrap()).unwrap();
        let scene = Scene {
            client,
            database: "db".to_owned(),
        };
        Self { server, scene }
    }

    /// Runs an operation that gets these replies to its commands.
    fn run(&self, operation: &Operation, replies: &[(&str, Vec<u8>)]) -> Result<String, Error> {
        self.server.heal_replies();
        for (command, body) in replies {
            let body = ReplyFault::Body(body.clone());
            self.server.spoil_replies(command, 1, body);
        }
        (operation.run)(&self.scene)
    }
}

/// What is wrong with the outcome of an operation, one of whose replies was changed.
fn problem(
    sample: &Sample,
    changed: &Exchange,
    body: &[u8],
    outcome: &Result<String, Error>,
) -> Option<String> {
    let error = match outcome {
        Ok(value) if is_justified(sample.operation, changed, body) => {
            let _ = value;
            return None;
        }
        Ok(value) => return Some(format!("a success that is not justified: {value}")),
        Err(error) => error,
    };
    let written = error.written();
    if sample.operation.kind == Kind::Read {
        return (written != Written::No).then(|| format!("a read with {written:?}: {error}"));
    }
    // All writes were made, and the reply does not deny it.
    let says_no = RawDocumentBuf::from_bytes(body.to_vec()).is_ok_and(|reply| {
        let fields = reply.iter().filter_map(Result::ok);
        let mut oks = fields.filter(|(key, _)| key.as_str() == "ok").peekable();
        oks.peek().is_none()
            || oks.any(|(_, ok)| ok.as_bool() != Some(true) && number(ok) != Some(1.0))
    });
    let is_rejected = says_no || !matches!(error.kind(), ErrorKind::Bson | ErrorKind::Protocol);
    let is_wrong = sample.succeeds && !is_rejected && written == Written::No;
    is_wrong.then(|| format!("No, although it was made: {error}"))
}

fn number(value: mongotls::bson::RawBsonRef<'_>) -> Option<f64> {
    value
        .as_f64()
        .or_else(|| value.as_i32().map(f64::from))
        .or_else(|| value.as_i64().map(|number| number as f64))
}

#[test]
fn wrong_replies_cause_no_panic_no_hang_and_no_false_success() {
    let Some(samples) = samples() else {
        return;
    };
    let rounds = rounds(if crate::runs_all() { 3000 } else { 40 });
    let problems = Mutex::new(Vec::new());
    let (count, successes) = (Mutex::new(0_u64), Mutex::new(0_u64));
    thread::scope(|scope| {
        for thread in 0..THREADS {
            let (samples, problems) = (&samples, &problems);
            let (count, successes) = (&count, &successes);
            scope.spawn(move || {
                let puppet = Puppet::new();
                let own = samples.iter().skip(thread).step_by(THREADS);
                for sample in own.filter(|sample| !sample.exchanges.is_empty()) {
                    for round in 0..rounds {
                        let (ok, found) = one_round(&puppet, sample, round);
                        *count.lock().unwrap() += 1;
                        *successes.lock().unwrap() += u64::from(ok);
                        problems.lock().unwrap().extend(found);
                    }
                }
            });
        }
    });
    let (count, successes) = (count.into_inner().unwrap(), successes.into_inner().unwrap());
    println!("{count} wrong replies, {successes} of them harmless");
    let problems = problems.into_inner().unwrap();
    assert!(
        problems.is_empty(),
        "{} problems:\n{}",
        problems.len(),
        problems[..problems.len().min(40)].join("\n")
    );
    // Most mutations matter, and some must not.
    assert!(
        successes * 10 > count && successes * 10 < count * 9,
        "{successes} of {count}"
    );
}

/// Runs an operation with one mutated reply. Returns whether it succeeded, and what is wrong.
fn one_round(puppet: &Puppet, sample: &Sample, round: u64) -> (bool, Option<String>) {
    let operation = sample.operation;
    let mut random = Random::seeded(round ^ seed_of(operation.name));
    let target = random.below(sample.exchanges.len());
    let changed = &sample.exchanges[target];
    let (body, mutation) = mutated(&changed.reply, &mut random);
    let replies = sample.exchanges.iter().enumerate().map(|(at, exchange)| {
        let body = if at == target {
            &body[..]
        } else {
            exchange.reply.as_bytes()
        };
        (exchange.name(), body.to_vec())
    });
    let replies: Vec<_> = replies.collect();
    let start = Instant::now();
    let outcome = catch_unwind(AssertUnwindSafe(|| puppet.run(operation, &replies)));
    let took = start.elapsed();
    let is_ok = matches!(outcome, Ok(Ok(_)));
    let problem = match &outcome {
        Err(_) => Some("a panic".to_owned()),
        Ok(_) if took > Duration::from_millis(1900) => Some(format!("it took {took:?}")),
        Ok(outcome) => problem(sample, changed, &body, outcome),
    };
    let problem = problem.map(|problem| {
        let name = changed.name();
        format!(
            "{}, round {round}, reply {target} ({name}), {mutation}: {problem}",
            operation.name
        )
    });
    (is_ok, problem)
}

fn seed_of(name: &str) -> u64 {
    name.bytes()
        .fold(7, |seed, byte| seed.wrapping_mul(31) ^ u64::from(byte))
}

/// Servers and clients at the same time.
const THREADS: usize = 4;

/// Without a mutation, each operation has the result that it has on the store.
#[test]
fn valid_replies_are_accepted() {
    let Some(samples) = samples() else {
        return;
    };
    let puppet = Puppet::new();
    for sample in samples.iter().filter(|sample| !sample.exchanges.is_empty()) {
        let replies = sample.exchanges.iter();
        let replies = replies.map(|it| (it.name(), it.reply.as_bytes().to_vec()));
        let outcome = puppet.run(sample.operation, &replies.collect::<Vec<_>>());
        assert_eq!(
            outcome.is_ok(),
            sample.succeeds,
            "{}: {outcome:?}",
            sample.operation.name
        );
        let exchange = sample
            .exchanges
            .iter()
            .find(|it| it.name() == sample.operation.command);
        if let Some(exchange) = exchange.filter(|_| sample.succeeds) {
            let body = exchange.reply.as_bytes();
            assert!(
                is_justified(sample.operation, exchange, body),
                "{}",
                sample.operation.name
            );
        }
    }
}

/// The rules of the test find a client that accepts anything.
#[test]
fn a_false_success_is_found() {
    let Some(samples) = samples() else {
        return;
    };
    let mut found = 0;
    for sample in samples.iter().filter(|sample| sample.succeeds) {
        for round in 0..20 {
            let mut random = Random::seeded(round);
            let Some(changed) = sample.exchanges.first() else {
                continue;
            };
            let (body, _) = mutated(&changed.reply, &mut random);
            let accepted = Ok("anything".to_owned());
            found += usize::from(problem(sample, changed, &body, &accepted).is_some());
        }
    }
    assert!(found > 200, "{found}");
}
