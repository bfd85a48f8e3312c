//! The measured operations of `mongotls`, and equivalent ones of a bare program on the `openssl` crate.

use std::fs;
use std::hint::black_box;
use std::net::TcpStream;

use mongotls::Client;
use mongotls::bson::{Document, RawDocumentBuf, doc, rawdoc};
use openssl::ssl::{Ssl, SslContext, SslMethod, SslStream, SslVerifyMode};
use openssl::x509::X509;
use openssl::x509::store::X509StoreBuilder;
use serde::{Deserialize, Serialize};

use crate::common::{exchange, message};

/// The program that runs the operation.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Side {
    Mongotls,
    Floor,
}

/// A measured operation.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Operation {
    /// `run_raw_command` with a prepared command.
    Ping,
    /// `insert_one` of a struct without an `_id`.
    InsertOne,
    /// `find_one` into a struct with one text.
    FindOne,
    /// The commands of the two above, prepared, with `run_raw_command`.
    RawInsert,
    RawFind,
    /// `insert_one` and `find_one` in a transaction.
    Transaction,
}

/// What to measure.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Subject {
    pub(crate) operation: Operation,
    pub(crate) side: Side,
}

/// The document that is inserted and found. It has one text, so a found one needs one allocation of its own.
#[derive(Serialize, Deserialize)]
struct Thing {
    name: String,
    count: i32,
    price: f64,
    is_sold: bool,
}

impl Thing {
    fn bolt() -> Self {
        Self {
            name: "bolt".to_owned(),
            count: 5,
            price: 0.25,
            is_sold: false,
        }
    }
}

const COLLECTION: &str = "things";

impl Operation {
    /// The name of the operation in sentences.
    pub(crate) fn name(self) -> &'static str {
        match self {
            Self::Ping => "a ping",
            Self::InsertOne => "insert_one",
            Self::FindOne => "find_one",
            Self::RawInsert => "a raw insert",
            Self::RawFind => "a raw find",
            Self::Transaction => "a transaction",
        }
    }

    /// The command as a program without collections would prepare it.
    fn command(self) -> RawDocumentBuf {
        match self {
            // The commands of a transaction have no bare program.
            Self::Ping | Self::Transaction => rawdoc! { "ping": 1 },
            Self::InsertOne | Self::RawInsert => {
                let thing = rawdoc! { "name": "bolt", "count": 5, "price": 0.25, "is_sold": false };
                rawdoc! { "insert": COLLECTION, "documents": [thing] }
            }
            Self::FindOne | Self::RawFind => {
                rawdoc! { "find": COLLECTION, "filter": { "name": "bolt" }, "limit": 1_i64, "singleBatch": true }
            }
        }
    }

    /// The reply of the server to commands other than a ping.
    pub(crate) fn reply(command: &str) -> Document {
        match command {
            "insert" => doc! { "n": 1, "ok": 1.0 },
            "commitTransaction" => doc! { "ok": 1.0 },
            _ => {
                let thing = doc! { "name": "bolt", "count": 5, "price": 0.25, "is_sold": false };
                doc! { "cursor": { "firstBatch": [thing], "id": 0_i64, "ns": "guard.things" }, "ok": 1.0 }
            }
        }
    }
}

impl Subject {
    /// The words for it on a command line.
    pub(crate) fn words(self) -> [&'static str; 2] {
        let side = match self.side {
            Side::Mongotls => "mongotls",
            Side::Floor => "floor",
        };
        [side, self.operation.name()]
    }

    pub(crate) fn of([side, operation]: [&str; 2]) -> Self {
        let side = match side {
            "mongotls" => Side::Mongotls,
            "floor" => Side::Floor,
            other => panic!("there is no program {other:?}"),
        };
        let all = [
            Operation::Ping,
            Operation::InsertOne,
            Operation::FindOne,
            Operation::Transaction,
        ];
        let operation = all.into_iter().find(|one| one.name() == operation);
        Self {
            side,
            operation: operation.unwrap(),
        }
    }

    /// Connects, runs the operation a few times to warm up, then passes a function that runs it to `measure`.
    pub(crate) fn run<T>(self, server: &str, measure: impl FnOnce(&mut dyn FnMut()) -> T) -> T {
        let (port, ca_file) = server.split_once(' ').unwrap();
        let warm = |run: &mut dyn FnMut()| {
            (0..10).for_each(|_| run());
            measure(run)
        };
        let command = self.operation.command();
        if self.side == Side::Floor {
            let mut floor = Floor::connect(port.parse().unwrap(), ca_file);
            let mut command = command;
            command.append(mongotls::bson::cstr!("$db"), "guard");
            let command = message(&command);
            return warm(&mut || floor.exchange(&command));
        }
        let uri = format!("mongodb://127.0.0.1:{port}/?tls=true&tlsCAFile={ca_file}");
        let client = Client::connect(&uri).unwrap();
        let database = client.database("guard");
        let things = database.collection::<Thing>(COLLECTION);
        match self.operation {
            Operation::Ping | Operation::RawInsert | Operation::RawFind => warm(&mut || {
                black_box(database.run_raw_command(command.as_ref()).unwrap());
            }),
            Operation::Transaction => {
                let thing = Thing::bolt();
                let filter = rawdoc! { "name": "bolt" };
                let session = client.start_session().run().unwrap();
                warm(&mut || {
                    let outcome = session.transaction().run(|tx| {
                        let things = things.within(tx);
                        things.insert_one(&thing).run()?;
                        things.find_one(&filter).run()
                    });
                    assert_eq!(black_box(outcome).unwrap().unwrap().count, 5);
                })
            }
            Operation::InsertOne => {
                let thing = Thing::bolt();
                warm(&mut || {
                    black_box(things.insert_one(&thing).run().unwrap());
                })
            }
            Operation::FindOne => {
                let filter = rawdoc! { "name": "bolt" };
                warm(&mut || {
                    let thing = things.find_one(&filter).run().unwrap();
                    assert_eq!(black_box(thing).unwrap().count, 5);
                })
            }
        }
    }
}

/// The bare program: it writes prepared messages, and reads replies without parsing them.
struct Floor {
    stream: SslStream<TcpStream>,
    reply: Vec<u8>,
}

impl Floor {
    fn connect(port: u16, ca_file: &str) -> Self {
        let mut store = X509StoreBuilder::new().unwrap();
        for certificate in X509::stack_from_pem(&fs::read(ca_file).unwrap()).unwrap() {
            store.add_cert(certificate).unwrap();
        }
        let mut context = SslContext::builder(SslMethod::tls_client()).unwrap();
        context.set_cert_store(store.build());
        context.set_verify(SslVerifyMode::PEER);
        let mut ssl = Ssl::new(&context.build()).unwrap();
        let address = "127.0.0.1".parse().unwrap();
        ssl.param_mut().set_ip(address).unwrap();
        let socket = TcpStream::connect((address, port)).unwrap();
        socket.set_nodelay(true).unwrap();
        let mut floor = Self {
            stream: ssl.connect(socket).unwrap(),
            reply: Vec::new(),
        };
        let hello: RawDocumentBuf = rawdoc! { "hello": 1_i32, "$db": "admin" };
        floor.exchange(&message(&hello));
        floor
    }

    fn exchange(&mut self, message: &[u8]) {
        exchange(&mut self.stream, message, &mut self.reply);
    }
}
