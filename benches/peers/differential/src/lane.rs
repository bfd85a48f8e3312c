//! A driver with its servers, on a thread of its own.

use std::path::PathBuf;
use std::sync::mpsc::{Receiver, Sender, channel};
use std::thread;

use bson::{Bson, Document, doc};

use crate::command::observed;
use crate::driver::{Driver, Official, Ours, Peer, PyMongo};
use crate::stage::{Stage, Store};

/// What happened in a sequence of operations.
pub(crate) struct Transcript {
    pub(crate) steps: Vec<Step>,
    /// The documents at the end.
    pub(crate) contents: Document,
}

/// What happened in one operation.
pub(crate) struct Step {
    pub(crate) result: Document,
    /// The commands that the servers received.
    pub(crate) commands: Vec<Document>,
}

/// A sequence of operations to run.
struct Job {
    operations: Vec<Document>,
    /// False if the documents at the end are not needed, which saves time.
    reads_contents: bool,
}

/// Runs sequences of operations in the order in which they are sent.
pub(crate) struct Lane {
    jobs: Sender<Job>,
    transcripts: Receiver<Transcript>,
}

impl Lane {
    /// Starts the driver of this peer, or mongotls.
    pub(crate) fn start(peer: Option<Peer>, store: Store, python: PathBuf) -> Self {
        let (jobs, incoming) = channel::<Job>();
        let (outgoing, transcripts) = channel();
        thread::spawn(move || {
            let stage = Stage::start(store).unwrap_or_else(|why| panic!("{why}"));
            let mut driver: Box<dyn Driver> = match peer {
                None => Box::new(Ours::new(&stage.uri())),
                Some(Peer::Official) => Box::new(Official::new(&stage.uri())),
                Some(Peer::PyMongo) => Box::new(PyMongo::new(&python, &stage.uri())),
            };
            for job in incoming {
                let mut transcript = run(&mut *driver, &stage, &job.operations);
                if job.reads_contents {
                    transcript.contents = stage.contents();
                }
                if outgoing.send(transcript).is_err() {
                    return;
                }
            }
        });
        Self { jobs, transcripts }
    }

    /// Sends a sequence.
    pub(crate) fn send(&self, operations: Vec<Document>) {
        self.queue(operations, true);
    }

    fn queue(&self, operations: Vec<Document>, reads_contents: bool) {
        let job = Job {
            operations,
            reads_contents,
        };
        self.jobs.send(job).expect("a driver has stopped");
    }

    /// Waits for the next transcript.
    pub(crate) fn receive(&self) -> Transcript {
        self.transcripts.recv().expect("a driver has stopped")
    }

    /// Runs one sequence. The documents at the end are not read.
    pub(crate) fn run_steps(&self, operations: &[Document]) -> Transcript {
        self.queue(operations.to_vec(), false);
        self.receive()
    }

    /// Runs one sequence.
    pub(crate) fn run(&self, operations: &[Document]) -> Transcript {
        self.send(operations.to_vec());
        self.receive()
    }
}

fn run(driver: &mut dyn Driver, stage: &Stage, operations: &[Document]) -> Transcript {
    stage.prepare();
    let steps = operations.iter().map(|operation| {
        let result = driver.run(operation);
        if is_silent(operation) {
            // It may still be on its way. There is one connection, so that the answer to a ping comes after it.
            driver.run(&doc! { "name": "ping", "arguments": { "collection": "none" } });
        }
        let commands = stage.commands();
        stage.forget();
        Step {
            result,
            commands: commands.iter().map(observed).collect(),
        }
    });
    let steps = steps.collect();
    Transcript {
        steps,
        contents: Document::new(),
    }
}

fn is_silent(operation: &Document) -> bool {
    let arguments = operation.get_document("arguments");
    let concern = arguments.and_then(|arguments| arguments.get_document("writeConcern"));
    concern.is_ok_and(|concern| concern.get("w") == Some(&Bson::Int32(0)))
}
