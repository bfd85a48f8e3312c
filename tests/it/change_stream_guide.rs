//! The examples of `docs/change-streams.md`, run on SecantusDB behind the bench, and compared like those of `docs/tls.md`.

// example
use std::time::Duration;

use mongotls::bson::{Document, doc};
use mongotls::change_stream::{OperationType, ResumeToken};
use mongotls::options::FullDocumentType;
use mongotls::{Canceller, Client};
// end
use crate::guide::{Outcome, expect_shown};
use crate::transaction_guide::Desk;

#[test]
fn the_guide_shows_the_examples_as_they_are_run_here() {
    let guide = include_str!("../../docs/change-streams.md");
    expect_shown(include_str!("change_stream_guide.rs"), guide);
}

#[test]
fn watching() -> Outcome {
    if Desk::is_missing() {
        return Ok(());
    }
    let desk = Desk::new();
    // example
    let client =
        Client::connect(&desk.uri("mongodb://db1.example.com,db2.example.com/?replicaSet=rs0"))?;
    let things = client.database("shop").collection::<Document>("things");
    let mut stream = things.watch().run()?;

    things.insert_one(doc! { "_id": 1, "name": "bolt" }).run()?;
    things.delete_one(doc! { "_id": 1 }).run()?;

    let event = stream.next().unwrap()?;
    assert_eq!(event.operation_type, OperationType::Insert);
    assert_eq!(event.full_document, Some(doc! { "_id": 1, "name": "bolt" }));
    let event = stream.next().unwrap()?;
    assert_eq!(event.operation_type, OperationType::Delete);
    assert_eq!(event.document_key, Some(doc! { "_id": 1 }));
    // end
    Ok(())
}

#[test]
fn a_pipeline_and_full_documents() -> Outcome {
    if Desk::is_missing() {
        return Ok(());
    }
    let desk = Desk::new();
    // example
    let client =
        Client::connect(&desk.uri("mongodb://db1.example.com,db2.example.com/?replicaSet=rs0"))?;
    let orders = client.database("shop").collection::<Document>("orders");
    let mut stream = orders
        .watch()
        .pipeline([doc! { "$match": { "operationType": "update" } }])
        .full_document(FullDocumentType::UpdateLookup)
        .max_await_time(Duration::from_millis(200))
        .run()?;

    orders.insert_one(doc! { "_id": 1, "paid": false }).run()?;
    orders
        .update_one(doc! { "_id": 1 }, doc! { "$set": { "paid": true } })
        .run()?;

    let event = stream.next().unwrap()?;
    let changed = event.update_description.unwrap();
    assert_eq!(changed.updated_fields, doc! { "paid": true });
    assert_eq!(event.full_document, Some(doc! { "_id": 1, "paid": true }));
    // end
    Ok(())
}

#[test]
fn after_a_restart() -> Outcome {
    if Desk::is_missing() {
        return Ok(());
    }
    let desk = Desk::new();
    // example
    let client =
        Client::connect(&desk.uri("mongodb://db1.example.com,db2.example.com/?replicaSet=rs0"))?;
    let jobs = client.database("shop").collection::<Document>("jobs");
    let mut stream = jobs.watch().run()?;
    jobs.insert_many([doc! { "_id": 1 }, doc! { "_id": 2 }])
        .run()?;

    let first = stream.next().unwrap()?;
    assert_eq!(first.document_key, Some(doc! { "_id": 1 }));
    let stored = stream.resume_token().unwrap().to_string();
    drop(stream);

    let token: ResumeToken = stored.parse()?;
    let mut stream = jobs.watch().resume_after(token).run()?;
    let second = stream.next().unwrap()?;
    assert_eq!(second.document_key, Some(doc! { "_id": 2 }));
    // end
    Ok(())
}

#[test]
fn every_token() -> Outcome {
    if Desk::is_missing() {
        return Ok(());
    }
    let desk = Desk::new();
    // example
    let client =
        Client::connect(&desk.uri("mongodb://db1.example.com,db2.example.com/?replicaSet=rs0"))?;
    let visits = client.database("shop").collection::<Document>("visits");
    let mut stream = visits
        .watch()
        .max_await_time(Duration::from_millis(100))
        .run()?;
    visits.insert_one(doc! { "page": "start" }).run()?;

    let mut stored = None;
    let mut pages = Vec::new();
    while pages.is_empty() {
        if let Some(event) = stream.next_if_any()? {
            pages.extend(event.full_document);
        }
        stored = stream.resume_token();
    }
    assert!(stored.is_some());
    // end
    Ok(())
}

#[test]
fn ending_a_wait() -> Outcome {
    if Desk::is_missing() {
        return Ok(());
    }
    let desk = Desk::new();
    // example
    let client =
        Client::connect(&desk.uri("mongodb://db1.example.com,db2.example.com/?replicaSet=rs0"))?;
    let canceller = Canceller::new();
    let stream = client
        .database("shop")
        .watch()
        .cancelled_by(&canceller)
        .run()?;
    let watching = std::thread::spawn(move || stream.map_while(Result::ok).count());

    canceller.cancel();
    assert_eq!(watching.join().unwrap(), 0);
    // end
    Ok(())
}
