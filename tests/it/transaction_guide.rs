//! The examples of `docs/transactions.md`, run on SecantusDB behind the bench, and compared like those of `docs/tls.md`.

// example
use std::time::Duration;

use mongotls::bson::{Document, doc};
use mongotls::options::{ReadConcern, WriteConcern};
use mongotls::{CauseCode, Client, Error, Written};
// end
use mongotls_testbench::deployment::{Deployment, Topology};
use mongotls_testbench::peers::{Secantus, SecantusOptions, or_skip};
use mongotls_testbench::server::Version;

use crate::guide::{Outcome, expect_shown};

/// A replica set with a store of its own, because the guide names its databases.
pub(crate) struct Desk {
    deployment: Deployment,
    _store: Secantus,
}

impl Desk {
    /// Returns true if there is no store on this host, and none is required.
    pub(crate) fn is_missing() -> bool {
        or_skip(Secantus::shared()).is_none()
    }

    pub(crate) fn new() -> Self {
        let store = Secantus::start(&SecantusOptions::plain()).unwrap();
        let backend = store.backend();
        Self {
            deployment: Deployment::start(Topology::ReplicaSet, Version::V8_2, &backend),
            _store: store,
        }
    }

    /// The connection string of the guide, with the servers of the test.
    pub(crate) fn uri(&self, _shown: &str) -> String {
        self.deployment.uri("")
    }
}

#[test]
fn the_guide_shows_the_examples_as_they_are_run_here() {
    let guide = include_str!("../../docs/transactions.md");
    expect_shown(include_str!("transaction_guide.rs"), guide);
}

// example
#[derive(Debug)]
struct SoldOut;

/// Sells one piece of `article`.
fn sell(client: &Client, article: &str) -> Result<(), Error> {
    let stock = client.database("shop").collection::<Document>("stock");
    client.transaction().run(|tx| {
        let is_there = doc! { "_id": article, "pieces": { "$gt": 0 } };
        let sold = stock
            .within(tx)
            .update_one(is_there, doc! { "$inc": { "pieces": -1 } })
            .run()?;
        if sold.modified_count == 0 {
            return Err(Error::custom(SoldOut));
        }
        let orders = tx.collection::<Document>("shop", "orders");
        orders.insert_one(doc! { "article": article }).run()?;
        Ok(())
    })
}
// end

#[test]
fn an_error_of_the_program_aborts() -> Outcome {
    if Desk::is_missing() {
        return Ok(());
    }
    let desk = Desk::new();
    // example
    let client =
        Client::connect(&desk.uri("mongodb://db1.example.com,db2.example.com/?replicaSet=rs0"))?;
    let stock = client.database("shop").collection::<Document>("stock");
    stock
        .insert_one(doc! { "_id": "bolt", "pieces": 1 })
        .run()?;
    sell(&client, "bolt")?;
    let error = sell(&client, "bolt").unwrap_err();
    assert!(error.get_custom::<SoldOut>().is_some());
    // end
    let orders = client.database("shop").collection::<Document>("orders");
    assert_eq!(orders.count_documents(doc! {}).run()?, 1);
    Ok(())
}

#[test]
#[allow(clippy::print_stderr, reason = "as the guide shows it")]
fn a_transaction_with_options() -> Outcome {
    if Desk::is_missing() {
        return Ok(());
    }
    let desk = Desk::new();
    // example
    let client =
        Client::connect(&desk.uri("mongodb://db1.example.com,db2.example.com/?replicaSet=rs0"))?;
    let visits = client.database("shop").collection::<Document>("visits");
    let count = client
        .transaction()
        .read_concern(ReadConcern::snapshot())
        .write_concern(WriteConcern::majority())
        .timeout(Duration::from_secs(5))
        .attempts(10)
        .on_retry(|retry| eprintln!("{retry}"))
        .run(|tx| {
            let visits = visits.within(tx);
            visits.insert_one(doc! { "page": "start" }).run()?;
            visits.count_documents(doc! { "page": "start" }).run()
        })?;
    assert_eq!(count, 1);
    // end
    Ok(())
}

#[test]
fn a_transaction_step_by_step() -> Outcome {
    if Desk::is_missing() {
        return Ok(());
    }
    let desk = Desk::new();
    // example
    let client =
        Client::connect(&desk.uri("mongodb://db1.example.com,db2.example.com/?replicaSet=rs0"))?;
    let session = client.start_session().run()?;
    let accounts = client.database("bank").collection::<Document>("accounts");
    accounts
        .insert_many([doc! { "_id": 1, "money": 9 }, doc! { "_id": 2, "money": 0 }])
        .run()?;

    session.start_transaction().run()?;
    let within = accounts.within(&session);
    within
        .update_one(doc! { "_id": 1 }, doc! { "$inc": { "money": -5 } })
        .run()?;
    within
        .update_one(doc! { "_id": 2 }, doc! { "$inc": { "money": 5 } })
        .run()?;
    let committed = session.commit_transaction().run().or_else(|error| {
        match error.cause().map(|cause| cause.code()) {
            // The server says how the first commit ended.
            Some(CauseCode::CommitUnknown) => session.commit_transaction().run(),
            _ => Err(error),
        }
    });
    assert_eq!(
        committed.map_err(|error| error.written() == Written::No),
        Ok(())
    );
    // end
    let found = accounts.find_one(doc! { "_id": 2 }).run()?.unwrap();
    assert_eq!(found.get_i32("money")?, 5);
    Ok(())
}
