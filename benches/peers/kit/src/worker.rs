//! The protocol between a worker and the program that started it.
//!
//! Each line is one command with one line as its reply: numbers, or `no` and the reason why this peer has none. The
//! first two numbers are nanoseconds of CPU time of the whole process, including its background threads, and of elapsed
//! time. Workers in other languages (`libmongoc/`, `pymongo/`) use the same protocol.
//!
//! - `open [OPTIONS]`: makes the client that the next lines use, and sends a ping. The options are appended to the
//!   connection string.
//! - `connect N [OPTIONS]`: N times a new client, a ping, and the end of the client, which is complete when the next
//!   one is made. The wait for that does not count.
//! - `ping N`: N pings, one after another.
//! - `fresh N`: N pings, each on a new connection, because the previous one has been idle for too long. Only the pings
//!   count, including the client's search for a connection and the new connection.
//! - `threads T C N`: T threads send N pings each on C connections of one client, made and used before. A third number
//!   is the 99th percentile of the duration of a ping, in nanoseconds.
//! - `read SHAPE`: reads all documents through a cursor, `raw`, into a `struct`, into a struct with texts `borrowed` from
//!   the reply, or into a `document` that owns them.
//! - `write`: writes all documents. Making them does not count.
//! - `insert_one N`, `find_one N`: N times `insert_one` of a struct, and `find_one` into a struct, one after another.
//! - `insert_many`: `insert_many` of all structs. Making them does not count.
//! - `bulk`: one bulk write with as many updates. Their filters and updates are made for it, and count.
//! - `upload N`, `download N`: writes N MiB to a file of GridFS in pieces of 64 KiB, and reads a file of this size in such
//!   pieces.
//! - `idle N`: the memory of each of N idle connections of a pool, in bytes. The only number.
//! - `build PORT [CA]`: makes a client of a server that does not exist, with a CA file or with the system's trust
//!   anchors, and counts only that.

use std::any::Any;
use std::env;
use std::fs;
use std::hint::black_box;
use std::io::{self, BufRead, Write};
use std::process::ExitCode;
use std::sync::Barrier;
use std::thread;
use std::time::{Duration, Instant};

use bson::RawDocumentBuf;

use crate::clock::{Took, nanoseconds_since, took, uncounted};
use crate::documents::{self, BATCH, Sale, WRITTEN};
use crate::memory;

/// The address of the server, and the trust anchors.
#[derive(Clone, Debug)]
pub struct Target {
    /// Its port on `127.0.0.1`.
    pub port: u16,
    /// The path of the CA file, or `None` for the system's trust anchors.
    pub ca_file: Option<String>,
}

impl Target {
    /// The connection string, as a user would write it, and further options.
    pub fn uri(&self, options: &str) -> String {
        let ca_file = self.ca_file.iter().map(|path| format!("&tlsCAFile={path}"));
        let ca_file: String = ca_file.collect();
        format!(
            "mongodb://127.0.0.1:{}/?tls=true{ca_file}{options}",
            self.port
        )
    }
}

/// The type into which documents are read.
#[derive(Clone, Copy, Debug)]
pub enum Shape {
    /// The raw bytes.
    Raw,
    /// [`documents::Item`].
    Struct,
    /// [`documents::BorrowedItem`].
    Borrowed,
    /// The document type of the peer that owns its content.
    Document,
}

/// The function of one thread that sends a ping.
pub type Pinger = Box<dyn FnMut() + Send>;

/// The operations of a peer. All of them panic if they fail.
pub trait Peer: Sized {
    /// Its client.
    type Client;

    /// Creates the state that it keeps for its clients.
    fn new(target: &Target) -> Self;

    /// A client; further options for the connection string.
    fn open(&self, options: &str) -> Self::Client;

    /// Sends a ping and reads the reply.
    fn ping(client: &mut Self::Client);

    /// Waits for the end of a dropped client, if the next one could be affected: until there are as many threads as
    /// before.
    fn settle(_threads: usize) {}

    /// Sends a ping after the client, opened with [`SHORT_IDLE`], was unused for longer than that.
    fn fresh_ping(client: &mut Self::Client) {
        Self::ping(client);
    }

    /// The functions of this number of threads that send pings, on this number of connections of one client.
    fn crew(&self, threads: usize, connections: usize) -> Vec<Pinger>;

    /// Reads all documents; returns their number.
    fn read(client: &mut Self::Client, shape: Shape) -> Result<usize, &'static str>;

    /// Writes these documents with one message.
    fn write(client: &mut Self::Client, documents: &[RawDocumentBuf]);

    /// Inserts a struct with `insert_one`.
    fn insert_one(client: &mut Self::Client, sale: &Sale);

    /// Finds a document with `find_one`, as a struct.
    fn find_one(client: &mut Self::Client);

    /// Inserts structs with `insert_many`; returns their number.
    fn insert_many(client: &mut Self::Client, sales: &[Sale]) -> usize;

    /// Sends this number of updates with one bulk write; returns the number of those that the server has made.
    fn bulk(client: &mut Self::Client, count: usize) -> usize;

    /// Uploads a file of this size with GridFS, in pieces of [`PIECE`].
    fn upload(client: &mut Self::Client, size: u64);

    /// Downloads the file whose ID is this size, in pieces of [`PIECE`], and returns its size.
    fn download(client: &mut Self::Client, size: u64) -> u64;

    /// Holds this number of idle connections until it is dropped; making them may take a while.
    fn idle(&self, count: usize) -> Box<dyn Any>;

    /// Makes a client of a server that does not exist.
    fn build(target: &Target) -> Box<dyn Any>;
}

/// The size of the pieces in which files are written and read.
pub const PIECE: usize = 64 << 10;

/// The options that `fresh` adds to the connection string.
pub const SHORT_IDLE: &str = "&maxIdleTimeMS=1";

/// Longer than that, and than the shortest maintenance interval of a pool.
const LONG_IDLE: Duration = Duration::from_millis(15);

/// Runs the commands on standard input, until it ends.
pub fn run<P: Peer>() -> ExitCode {
    let mut arguments = env::args().skip(1);
    let (Some(port), Some(ca_file)) = (
        arguments.next().and_then(|port| port.parse().ok()),
        arguments.next(),
    ) else {
        eprintln!("Usage: worker PORT CA_FILE");
        return ExitCode::from(2);
    };
    let target = Target {
        port,
        ca_file: Some(ca_file),
    };
    let mut worker = Worker::<P> {
        peer: P::new(&target),
        client: None,
    };
    for line in io::stdin().lock().lines() {
        let line = line.expect("a line");
        let answer = worker.answer(&line);
        let mut output = io::stdout().lock();
        let written = match answer {
            Ok(numbers) => {
                let words: Vec<_> = numbers.iter().map(u64::to_string).collect();
                writeln!(output, "{}", words.join(" "))
            }
            Err(reason) => writeln!(output, "no {reason}"),
        };
        if written.and_then(|()| output.flush()).is_err() {
            break;
        }
    }
    ExitCode::SUCCESS
}

struct Worker<P: Peer> {
    peer: P,
    client: Option<P::Client>,
}

impl<P: Peer> Worker<P> {
    fn answer(&mut self, line: &str) -> Result<Vec<u64>, &'static str> {
        let words: Vec<&str> = line.split(' ').collect();
        let number = |at: usize| {
            words
                .get(at)
                .and_then(|word| word.parse::<usize>().ok())
                .unwrap_or(1)
        };
        let word = |at: usize| words.get(at).copied().unwrap_or_default();
        let peer = &self.peer;
        let took = match word(0) {
            "open" => {
                let mut client = peer.open(word(1));
                P::ping(&mut client);
                self.client = Some(client);
                Took::default()
            }
            "connect" => {
                let (mut waited, threads) = (0, threads_now());
                let mut all = took(|| {
                    for _ in 0..number(1) {
                        P::ping(&mut peer.open(word(2)));
                        waited += uncounted(|| P::settle(threads));
                    }
                });
                all.cpu -= waited;
                all
            }
            "ping" => {
                let client = self.client()?;
                took(|| (0..number(1)).for_each(|_| P::ping(client)))
            }
            "fresh" => fresh(peer, number(1)),
            "threads" => return Ok(threads(peer.crew(number(1), number(2)), number(3))),
            "read" => {
                let shape = match word(1) {
                    "raw" => Shape::Raw,
                    "struct" => Shape::Struct,
                    "borrowed" => Shape::Borrowed,
                    _ => Shape::Document,
                };
                let client = self.client()?;
                let mut count = Ok(0);
                let took = took(|| count = P::read(client, shape));
                assert_eq!(count?, WRITTEN, "as many are read as are written");
                took
            }
            "write" => {
                let batch = documents::to_write();
                let client = self.client()?;
                took(|| (0..WRITTEN / BATCH).for_each(|_| P::write(client, &batch)))
            }
            "insert_one" => {
                let (client, sale) = (self.client()?, Sale::new(0));
                took(|| (0..number(1)).for_each(|_| P::insert_one(client, &sale)))
            }
            "find_one" => {
                let client = self.client()?;
                took(|| (0..number(1)).for_each(|_| P::find_one(client)))
            }
            "insert_many" => {
                let (client, sales) = (self.client()?, Sale::all());
                let mut inserted = 0;
                let took = took(|| inserted = P::insert_many(client, &sales));
                assert_eq!(inserted, WRITTEN, "all are inserted");
                took
            }
            "bulk" => {
                let client = self.client()?;
                let mut updated = 0;
                let took = took(|| updated = P::bulk(client, WRITTEN));
                assert_eq!(updated, WRITTEN, "all are updated");
                took
            }
            "upload" => {
                let (client, size) = (self.client()?, (number(1) as u64) << 20);
                took(|| P::upload(client, size))
            }
            "download" => {
                let (client, size) = (self.client()?, (number(1) as u64) << 20);
                let mut read = 0;
                let took = took(|| read = P::download(client, size));
                assert_eq!(read, size, "the file is complete");
                took
            }
            "idle" => return Ok(vec![idle(peer, number(1))]),
            "build" => {
                let target = Target {
                    port: word(1).parse().map_err(|_| "there is no port")?,
                    ca_file: words.get(2).map(|path| (*path).to_owned()),
                };
                let mut built = None;
                let took = took(|| built = Some(P::build(&target)));
                black_box(built);
                took
            }
            _ => return Err("this worker cannot do that"),
        };
        Ok(vec![took.cpu, took.wall])
    }

    fn client(&mut self) -> Result<&mut P::Client, &'static str> {
        self.client.as_mut().ok_or("no client is open")
    }
}

fn fresh<P: Peer>(peer: &P, count: usize) -> Took {
    let mut client = peer.open(SHORT_IDLE);
    P::ping(&mut client);
    let mut sum = Took::default();
    for _ in 0..count {
        thread::sleep(LONG_IDLE);
        sum += took(|| P::fresh_ping(&mut client));
    }
    sum
}

/// The number of threads of this process.
pub fn threads_now() -> usize {
    fs::read_dir("/proc/self/task").map_or(0, Iterator::count)
}

/// Runs the pings on all threads, and returns CPU time, elapsed time, and the 99th percentile.
fn threads(crew: Vec<Pinger>, count: usize) -> Vec<u64> {
    let (ready, go) = (Barrier::new(crew.len() + 1), Barrier::new(crew.len() + 1));
    let work = |mut ping: Pinger| {
        // Makes and uses every connection.
        (0..WARM_UP).for_each(|_| ping());
        let mut each = Vec::with_capacity(count);
        ready.wait();
        go.wait();
        for _ in 0..count {
            let asked = Instant::now();
            ping();
            each.push(nanoseconds_since(asked));
        }
        each
    };
    let work = &work;
    thread::scope(|scope| {
        let spawned: Vec<_> = crew
            .into_iter()
            .map(|ping| scope.spawn(move || work(ping)))
            .collect();
        ready.wait();
        let mut each = Vec::new();
        let took = took(|| {
            go.wait();
            each.extend(
                spawned
                    .into_iter()
                    .flat_map(|thread| thread.join().expect("pings")),
            );
        });
        each.sort_unstable();
        let p99 = each.get(each.len() * 99 / 100).copied().unwrap_or(0);
        vec![took.cpu, took.wall, p99]
    })
}

const WARM_UP: usize = 100;

/// The memory of one idle connection, in bytes.
fn idle<P: Peer>(peer: &P, count: usize) -> u64 {
    // One-time costs of a first client are not included.
    let mut first = peer.open("");
    P::ping(&mut first);
    thread::sleep(SETTLE);
    let (memory, sockets) = (memory::resident(), memory::sockets());
    let held = peer.idle(count);
    let end = Instant::now() + Duration::from_secs(60);
    while memory::sockets() < sockets + count {
        assert!(Instant::now() < end, "not all connections were made");
        thread::sleep(Duration::from_millis(10));
    }
    // The last ones are still in their handshakes.
    thread::sleep(SETTLE);
    let more = memory::resident().saturating_sub(memory);
    drop(held);
    more / count as u64
}

const SETTLE: Duration = Duration::from_millis(500);
