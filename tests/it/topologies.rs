//! The examples of `docs/topologies.md`, run and compared like those of `docs/tls.md`.

// example
use std::time::Duration;

use mongotls::bson::{Document, doc};
use mongotls::options::{ReadPreference, ReadPreferenceMode};
use mongotls::{Client, Command, ErrorKind};
// end

use crate::guide::{Desk, Outcome, expect_shown};

#[test]
fn the_guide_shows_the_examples_as_they_are_run_here() {
    let guide = include_str!("../../docs/topologies.md");
    expect_shown(include_str!("topologies.rs"), guide);
}

#[test]
#[allow(clippy::print_stdout, reason = "as the guide shows it")]
fn choosing_a_server() -> Outcome {
    let desk = Desk::get();
    // example
    let client = Client::connect(&desk.uri("mongodb://db.example.com/?tls=true&tlsCAFile=ca.pem"))?;
    let nearest = ReadPreference::new(ReadPreferenceMode::Nearest);
    let find = Command::from(doc! { "find": "things" }).read_preference(nearest);
    for thing in client
        .database("shop")
        .run_cursor_command::<Document>(find)?
    {
        println!("{}", thing?);
    }
    for server in client.snapshot().topology.servers.values() {
        println!("{} is {}", server.address, server.server_type);
    }
    // end
    Ok(())
}

#[test]
#[allow(clippy::print_stdout, reason = "as the guide shows it")]
fn a_declared_read() -> Outcome {
    let desk = Desk::get();
    // example
    let client = Client::connect(&desk.uri("mongodb://db.example.com/?tls=true&tlsCAFile=ca.pem"))?;
    let count = Command::from(doc! { "count": "things" }).read();
    println!("{}", client.database("shop").run_command(count)?);
    // end
    Ok(())
}

#[test]
#[allow(
    clippy::print_stdout,
    clippy::print_stderr,
    reason = "as the guide shows it"
)]
fn a_limit_of_time() -> Outcome {
    let desk = Desk::get();
    // example
    let client = Client::connect(&desk.uri("mongodb://db.example.com/?tls=true&tlsCAFile=ca.pem"))?;
    let ping = Command::from(doc! { "ping": 1 }).timeout(Duration::from_secs(2));
    match client.database("admin").run_command(ping) {
        Err(error) if error.kind() == ErrorKind::Timeout => {
            eprintln!("not within two seconds: {error}");
        }
        outcome => println!("{}", outcome?),
    }
    // end
    Ok(())
}
