//! The examples of `docs/sessions.md`, run and compared like those of `docs/tls.md`.

// example
use mongotls::bson::{Document, doc};
use mongotls::{Client, Session};
// end

use crate::guide::{Desk, Outcome, expect_shown};

#[test]
fn the_guide_shows_the_examples_as_they_are_run_here() {
    let guide = include_str!("../../docs/sessions.md");
    expect_shown(include_str!("session_guide.rs"), guide);
}

#[test]
fn commands_in_a_session() -> Outcome {
    let desk = Desk::get();
    let uri = "mongodb://router.example.com/?tls=true&tlsCAFile=ca.pem";
    let cleared = Client::connect(&desk.uri(uri))?;
    cleared
        .database("shop")
        .run_command(doc! { "drop": "things" })
        .ok();
    // example
    let client =
        Client::connect(&desk.uri("mongodb://router.example.com/?tls=true&tlsCAFile=ca.pem"))?;
    let session = client.start_session().run()?;
    let shop = client.database("shop").within(&session);
    shop.run_command(doc! { "insert": "things", "documents": [{ "_id": 1 }] })?;
    for thing in shop.run_cursor_command::<Document>(doc! { "find": "things" })? {
        assert_eq!(thing?.get_i32("_id")?, 1);
    }
    // end
    Ok(())
}

// example
/// Lets reads of `to` see what was done in `from`.
fn follow(from: &Session, to: &Session) -> mongotls::Result<()> {
    if let Some(time) = from.cluster_time() {
        to.advance_cluster_time(&time)?;
    }
    if let Some(time) = from.operation_time() {
        to.advance_operation_time(time);
    }
    Ok(())
}
// end

#[test]
fn one_session_follows_another() -> Outcome {
    let desk = Desk::get();
    // example
    let client =
        Client::connect(&desk.uri("mongodb://router.example.com/?tls=true&tlsCAFile=ca.pem"))?;
    let (orders, report) = (client.start_session().run()?, client.start_session().run()?);
    let insert = doc! { "insert": "orders", "documents": [{ "total": 12 }] };
    client
        .database("shop")
        .within(&orders)
        .run_command(insert)?;
    follow(&orders, &report)?;
    assert_eq!(report.operation_time(), orders.operation_time());
    // end
    assert!(report.operation_time().is_some() && report.cluster_time() == orders.cluster_time());
    Ok(())
}
