//! The servers of one driver, and what they see.

use bson::{Bson, Document, doc};
use mongotls_testbench::deployment::{Deployment, Topology};
use mongotls_testbench::peers::{
    FerretDb, FerretDbOptions, PeerUnavailable, Secantus, SecantusOptions,
};
use mongotls_testbench::server::{Backend, Request, Version};

use crate::driver::DATABASE;
use crate::generate::{CAPPED, OTHER, THINGS, stored};

/// The server that stores the documents.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Store {
    Secantus,
    FerretDb,
}

/// Its process, which ends with this.
#[expect(dead_code, reason = "it is only dropped")]
enum Process {
    Secantus(Secantus),
    FerretDb(FerretDb),
}

/// A replica set in front of a store of its own, so that drivers can run at the same time with equal names.
pub(crate) struct Stage {
    servers: Deployment,
    backend: Backend,
    _store: Process,
}

impl Stage {
    pub(crate) fn start(store: Store) -> Result<Self, PeerUnavailable> {
        let (process, backend) = match store {
            Store::Secantus => {
                let process = Secantus::start(&SecantusOptions::plain())?;
                let backend = process.backend();
                (Process::Secantus(process), backend)
            }
            Store::FerretDb => {
                let process = FerretDb::start(&FerretDbOptions::plain())?;
                let backend = Backend::new(process.addr());
                (Process::FerretDb(process), backend)
            }
        };
        let topology = match store {
            Store::Secantus => Topology::ReplicaSet,
            // It does not know retryable writes.
            Store::FerretDb => Topology::Single,
        };
        Ok(Self {
            servers: Deployment::start(topology, Version::V8_2, &backend),
            backend,
            _store: process,
        })
    }

    /// The connection string. With one connection, a write without acknowledgment is finished before the next operation.
    pub(crate) fn uri(&self) -> String {
        self.servers.uri("maxPoolSize=1")
    }

    /// Creates the documents that a seed begins with.
    pub(crate) fn prepare(&self) {
        self.store(doc! { "dropDatabase": 1 });
        let indexes = [
            doc! { "key": { "n": 1 }, "name": "n_1" },
            doc! { "key": { "s": 1 }, "name": "s_1" },
        ];
        self.store(doc! { "createIndexes": THINGS, "indexes": indexes.to_vec() });
        self.store(doc! { "insert": THINGS, "documents": stored() });
        self.store(doc! { "insert": OTHER, "documents": [{ "_id": 1, "n": 1 }, { "_id": 2 }] });
        self.store(doc! { "create": CAPPED, "capped": true, "size": 4096 });
        self.store(
            doc! { "insert": CAPPED, "documents": [{ "_id": 1 }, { "_id": 2 }, { "_id": 3 }] },
        );
        self.forget();
    }

    /// The documents at the end.
    pub(crate) fn contents(&self) -> Document {
        let names = [THINGS, OTHER, CAPPED, "out", "new", "renamed", "missing"];
        let of = |name: &str| {
            let reply = self.store(doc! { "find": name, "batchSize": 10_000 });
            let cursor = reply.get_document("cursor").ok();
            let batch = cursor.and_then(|cursor| cursor.get_array("firstBatch").ok());
            Bson::from(batch.cloned())
        };
        names
            .iter()
            .map(|name| ((*name).to_owned(), of(name)))
            .collect()
    }

    fn store(&self, command: Document) -> Document {
        self.backend
            .command(DATABASE, command)
            .expect("a reply of the store")
    }

    pub(crate) fn forget(&self) {
        for node in self.servers.nodes() {
            node.server().forget_commands();
        }
    }

    /// The commands of the driver since [`forget`](Self::forget), in their order.
    pub(crate) fn commands(&self) -> Vec<Request> {
        let nodes = self.servers.nodes();
        let requests = nodes.iter().flat_map(|node| node.server().commands());
        let mut requests: Vec<Request> = requests.filter(is_of_operation).collect();
        requests.sort_by_key(|request| request.received);
        requests
    }
}

/// False for commands that a driver sends on its own, or at a time that no specification fixes.
fn is_of_operation(request: &Request) -> bool {
    !matches!(
        request.name.as_str(),
        "hello" | "isMaster" | "ismaster" | "killCursors" | "endSessions" | "ping"
    )
}
