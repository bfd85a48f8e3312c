//! A deployment whose servers fail on request, and the database of one case.

use std::fmt;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::thread;
use std::time::{Duration, Instant};

use mongotls::bson::{Bson, Document, doc};
use mongotls::error::Result;
use mongotls::{Client, Collection, ConnectionString, Database, Namespace};
use mongotls_testbench::deployment::{Deployment, Topology};
use mongotls_testbench::fault::Action;
use mongotls_testbench::node::Node;
use mongotls_testbench::server::{Backend, ReplyFault, Version, fail_command};

use crate::judge::Snapshot;
use crate::operations::{Operation, more};
use crate::replies::{Exchange, Recorder};

/// A fault during an operation.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Fault {
    None,
    /// The connection ends before the command runs, as often as `times`.
    Close {
        times: i32,
    },
    /// The command runs, and the connection ends after this number of bytes of its reply. `skip` replies are whole
    /// before.
    Cut {
        skip: usize,
        after: usize,
        times: usize,
    },
    /// The command runs later than the client waits.
    Block,
    /// The server rejects the command with this code.
    Code(i32),
    /// The command runs, and the write concern fails with this code.
    Concern(i32),
    /// Another member becomes the primary while the command waits.
    Election,
}

/// The names of the databases of this process, which share a store.
static DATABASES: AtomicUsize = AtomicUsize::new(0);

/// A deployment that one case at a time uses.
pub(crate) struct Lane {
    pub(crate) deployment: Deployment,
    backend: Backend,
}

/// The outcome of a case.
pub(crate) struct Outcome {
    pub(crate) result: Result<String>,
    pub(crate) before: Snapshot,
    pub(crate) after: Snapshot,
    /// The commands of the operation with their replies.
    pub(crate) exchanges: Vec<Exchange>,
}

impl Lane {
    pub(crate) fn new(topology: Topology, backend: &Backend) -> Self {
        let deployment = Deployment::start(topology, Version::V8_2, backend);
        for node in deployment.nodes() {
            // Bulk writes need several batches.
            node.server()
                .set_hello(|hello| hello.max_write_batch_size = 4);
        }
        Self {
            deployment,
            backend: backend.clone(),
        }
    }

    /// Runs an operation in a database of its own, and waits until the servers have nothing more to do.
    pub(crate) fn run(&self, operation: &Operation, fault: Fault, retries: bool) -> Outcome {
        let database = format!("faults{}", DATABASES.fetch_add(1, Ordering::Relaxed));
        self.seed(&database);
        let before = self.snapshot(&database);
        let node = self.writable();
        let timeout = match fault {
            Fault::Block => "&socketTimeoutMS=300",
            _ => "",
        };
        let options = format!("retryReads={retries}&retryWrites={retries}{timeout}");
        let uri = ConnectionString::parse(&self.deployment.uri(&options)).unwrap();
        let recorder = Recorder::default();
        let builder = uri.into_builder().event_listener(recorder.listen());
        let client = Client::with_options(builder.build().unwrap()).unwrap();
        let scene = Scene {
            client,
            database: database.clone(),
        };
        self.set(&node, operation.command, fault);
        let result = thread::scope(|scope| {
            if fault == Fault::Election {
                scope.spawn(|| self.elect(&node, operation.command));
            }
            (operation.run)(&scene)
        });
        for node in self.deployment.nodes() {
            node.server().clear_fail_points();
            node.server().heal_replies();
            node.server().forget_commands();
        }
        let exchanges = recorder.take();
        drop(scene);
        self.expect_quiet();
        let after = self.snapshot(&database);
        self.command(&database, doc! { "dropDatabase": 1 });
        Outcome {
            result,
            before,
            after,
            exchanges,
        }
    }

    fn set(&self, node: &Node, command: &str, fault: Fault) {
        let server = node.server();
        let fail = |times, data| {
            server.configure_fail_point(&fail_command(times, &[command], data));
        };
        match fault {
            Fault::None => {}
            Fault::Close { times } => fail(times, doc! { "closeConnection": true }),
            Fault::Cut { skip, after, times } => {
                let cut = |after| ReplyFault::Cut {
                    after,
                    action: Action::Close,
                };
                // A fault that never comes lets a reply pass.
                server.spoil_replies(command, skip, cut(u64::MAX));
                server.spoil_replies(command, times, cut(after as u64));
            }
            Fault::Block => fail(1, doc! { "blockConnection": true, "blockTimeMS": 900 }),
            Fault::Code(code) => fail(1, doc! { "errorCode": code }),
            Fault::Concern(code) => {
                let error = doc! { "code": code, "errmsg": "not replicated" };
                fail(1, doc! { "writeConcernError": error });
            }
            Fault::Election => fail(1, doc! { "blockConnection": true, "blockTimeMS": 50 }),
        }
    }

    /// Replaces the primary as soon as it has received the command.
    fn elect(&self, node: &Node, command: &str) {
        let has_come = |server: &mongotls_testbench::server::Server| server.count_of(command) > 0;
        let server = node.server();
        if server.wait_until(Duration::from_secs(2), has_come) {
            self.deployment.replica_set().unwrap().fail_over();
        }
    }

    /// The server that gets the writes.
    fn writable(&self) -> Arc<Node> {
        let set = self.deployment.replica_set();
        let index = set.and_then(|set| set.primary()).unwrap_or(0);
        self.deployment.nodes()[index].clone()
    }

    /// Waits until all connections have ended, so that no command still runs.
    fn expect_quiet(&self) {
        let end = Instant::now() + Duration::from_secs(20);
        for node in self.deployment.nodes() {
            while node.server().counts().open > 0 {
                assert!(Instant::now() < end, "{:?}", node.server().counts());
                thread::sleep(Duration::from_millis(1));
            }
        }
    }

    fn seed(&self, database: &str) {
        let seeds = (0..4).map(|n| doc! { "_id": format!("s{n}"), "n": 0, "kind": "a" });
        let seeds: Vec<Document> = seeds.collect();
        self.command(database, doc! { "insert": "things", "documents": seeds });
        let index = doc! { "key": { "kind": 1 }, "name": "kind_1" };
        self.command(
            database,
            doc! { "createIndexes": "things", "indexes": [index] },
        );
    }

    /// The documents, collections and indexes of a database.
    fn snapshot(&self, database: &str) -> Snapshot {
        let mut snapshot = Snapshot::default();
        let list = self.command(
            database,
            doc! { "listCollections": 1, "nameOnly": true, "cursor": {} },
        );
        for collection in batch(&list) {
            let name = collection.get_str("name").unwrap();
            snapshot.add(name.to_owned(), 0);
            let documents = self.command(database, doc! { "find": name });
            for document in batch(&documents) {
                let id = document.get_str("_id").unwrap();
                let n = document.get_i32("n").unwrap_or(0);
                snapshot.add(format!("{name}/{id}"), n);
            }
            let indexes = self.command(database, doc! { "listIndexes": name });
            for index in batch(&indexes) {
                snapshot.add(format!("{name}#{}", index.get_str("name").unwrap()), 0);
            }
        }
        snapshot
    }

    fn command(&self, database: &str, command: Document) -> Document {
        let reply = self.backend.command(database, command).unwrap();
        assert!(reply.get_f64("ok").is_ok_and(|ok| ok == 1.0), "{reply}");
        reply
    }
}

fn batch(reply: &Document) -> impl Iterator<Item = &Document> {
    let batch = reply.get_document("cursor").unwrap();
    batch
        .get_array("firstBatch")
        .unwrap()
        .iter()
        .filter_map(Bson::as_document)
}

/// The client and the database of a case.
pub(crate) struct Scene {
    pub(crate) client: Client,
    pub(crate) database: String,
}

impl fmt::Debug for Scene {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.database)
    }
}

impl Scene {
    pub(crate) fn database(&self) -> Database {
        self.client.database(&self.database)
    }

    pub(crate) fn things(&self) -> Collection<Document> {
        self.database().collection("things")
    }

    /// A bulk with models of all kinds, in several commands.
    /// A transaction of two writes.
    pub(crate) fn transaction(&self) -> Result<u64> {
        let things = self.things();
        self.client.transaction().run(|tx| {
            let things = things.within(tx);
            things.insert_one(doc! { "_id": "u0" }).run()?;
            let updated = things.update_one(doc! { "_id": "s0" }, more()).run()?;
            Ok(updated.modified_count)
        })
    }

    pub(crate) fn bulk(&self, ordered: bool) -> Result<impl fmt::Debug + use<>> {
        let mut bulk = self.things().bulk().ordered(ordered);
        bulk.insert_one(doc! { "_id": "u0" });
        bulk.update_one(doc! { "_id": "s0" }, more());
        bulk.delete_one(doc! { "_id": "s1" });
        bulk.insert_one(doc! { "_id": "u1" });
        bulk.replace_one(doc! { "_id": "s2" }, doc! { "n": 1 });
        bulk.update_one(doc! { "_id": "u2" }, more()).upsert(true);
        bulk.run()
    }

    pub(crate) fn bulk_with_duplicate(&self, ordered: bool) -> Result<impl fmt::Debug + use<>> {
        let mut bulk = self.things().bulk().ordered(ordered);
        bulk.insert_one(doc! { "_id": "u0" });
        bulk.insert_one(doc! { "_id": "s0" });
        bulk.update_one(doc! { "_id": "s1" }, more());
        bulk.run()
    }

    /// The first write succeeds, and matches nothing.
    pub(crate) fn bulk_that_changes_nothing(&self) -> Result<impl fmt::Debug + use<>> {
        let mut bulk = self.things().bulk();
        bulk.update_one(doc! { "_id": "s9" }, more());
        bulk.insert_one(doc! { "_id": "s0" });
        bulk.run()
    }

    pub(crate) fn client_bulk_that_changes_nothing(&self) -> Result<impl fmt::Debug + use<>> {
        let (mut bulk, things) = (self.client.bulk(), self.namespace());
        bulk.update_one(&things, doc! { "_id": "s9" }, more());
        bulk.insert_one(&things, doc! { "_id": "s0" });
        bulk.run()
    }

    pub(crate) fn bulk_of_many(&self) -> Result<impl fmt::Debug + use<>> {
        let mut bulk = self.things().bulk();
        bulk.update_many(doc! { "_id": "s0" }, more());
        bulk.update_one(doc! { "_id": "s1" }, more());
        bulk.run()
    }

    fn namespace(&self) -> Namespace {
        Namespace::new(&self.database, "things")
    }

    pub(crate) fn client_bulk(&self, ordered: bool) -> Result<impl fmt::Debug + use<>> {
        let (mut bulk, things) = (self.client.bulk().ordered(ordered), self.namespace());
        bulk.insert_one(&things, doc! { "_id": "u0" });
        bulk.update_one(&things, doc! { "_id": "s0" }, more());
        bulk.delete_one(&things, doc! { "_id": "s1" });
        bulk.insert_one(&things, doc! { "_id": "u1" });
        bulk.replace_one(&things, doc! { "_id": "s2" }, doc! { "n": 1 });
        bulk.update_one(&things, doc! { "_id": "u2" }, more())
            .upsert(true);
        bulk.run()
    }

    pub(crate) fn verbose_client_bulk(&self) -> Result<impl fmt::Debug + use<>> {
        let (mut bulk, things) = (self.client.bulk().verbose_results(), self.namespace());
        bulk.insert_one(&things, doc! { "_id": "u0" });
        bulk.update_one(&things, doc! { "_id": "s0" }, more());
        bulk.delete_one(&things, doc! { "_id": "s1" });
        bulk.insert_one(&things, doc! { "_id": "u1" });
        bulk.replace_one(&things, doc! { "_id": "s2" }, doc! { "n": 1 });
        bulk.update_one(&things, doc! { "_id": "u2" }, more())
            .upsert(true);
        bulk.run()
    }

    pub(crate) fn client_bulk_with_duplicate(
        &self,
        ordered: bool,
    ) -> Result<impl fmt::Debug + use<>> {
        let (mut bulk, things) = (self.client.bulk().ordered(ordered), self.namespace());
        bulk.insert_one(&things, doc! { "_id": "u0" });
        bulk.insert_one(&things, doc! { "_id": "s0" });
        bulk.update_one(&things, doc! { "_id": "s1" }, more());
        bulk.run()
    }
}
