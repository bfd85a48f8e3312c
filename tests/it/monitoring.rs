//! The examples of `docs/monitoring.md`, run and compared like those of `docs/tls.md`.

// example
use std::collections::BTreeMap;
use std::sync::{Mutex, mpsc};

use mongotls::bson::doc;
use mongotls::event::{CommandEvent, Event, EventKind, PoolEventKind, TlsEvent};
use mongotls::{Client, ConnectionString};
// end

use crate::guide::{Desk, Outcome, expect_shown};

#[test]
fn the_guide_shows_the_examples_as_they_are_run_here() {
    let guide = include_str!("../../docs/monitoring.md");
    expect_shown(include_str!("monitoring.rs"), guide);
}

#[test]
#[allow(clippy::print_stderr, reason = "as the guide shows it")]
fn slow_commands() -> Outcome {
    let desk = Desk::get();
    // example
    let (slow, found) = mpsc::channel();
    let uri = &desk.uri("mongodb://db.example.com/?tls=true&tlsCAFile=ca.pem");
    let options = ConnectionString::parse(uri)?
        .into_builder()
        .event_listener_for(&[EventKind::Command], move |event| match event {
            Event::Command(CommandEvent::Succeeded(command))
                if command.duration.as_millis() >= 100 =>
            {
                let _ = slow.send((command.info.command_name.clone(), command.duration));
            }
            Event::Command(CommandEvent::Failed(command)) => eprintln!("{}", command.failure),
            _ => {}
        })
        .build()?;
    let client = Client::with_options(options)?;
    client.database("admin").run_command(doc! { "ping": 1 })?;
    assert!(found.try_recv().is_err()); // nothing took so long
    // end
    Ok(())
}

#[test]
fn handshakes() -> Outcome {
    let desk = Desk::get();
    // example
    let (told, handshakes) = mpsc::channel();
    let uri = &desk.uri("mongodb://db.example.com/?tls=true&tlsCAFile=wrong-ca.pem");
    let options = ConnectionString::parse(uri)?
        .into_builder()
        .event_listener_for(&[EventKind::Tls], move |event| {
            let _ = told.send(match event {
                Event::Tls(TlsEvent::HandshakeSucceeded(ended)) => {
                    format!("{} {}", ended.protocol, ended.revocation.as_str())
                }
                Event::Tls(TlsEvent::HandshakeFailed(failed)) => match failed.error.cause() {
                    Some(cause) => cause.code().to_string(),
                    None => failed.error.to_string(),
                },
                _ => return,
            });
        })
        .build()?;
    let client = Client::with_options(options)?;
    assert!(
        client
            .database("admin")
            .run_command(doc! { "ping": 1 })
            .is_err()
    );
    assert_eq!(handshakes.recv()?, "issuer-unknown");
    // end
    Ok(())
}

#[test]
#[allow(clippy::print_stdout, reason = "as the guide shows it")]
fn waits() -> Outcome {
    let desk = Desk::get();
    // example
    let (told, waits) = mpsc::channel();
    let uri = &desk.uri("mongodb://db.example.com/?tls=true&tlsCAFile=ca.pem");
    let options = ConnectionString::parse(uri)?
        .into_builder()
        .event_listener_for(&[EventKind::Pool], move |event| {
            let Event::Pool(pool) = event else { return };
            if let PoolEventKind::ConnectionCheckedOut { duration, .. } = pool.kind {
                let _ = told.send(duration);
            }
        })
        .build()?;
    let client = Client::with_options(options)?;
    client.database("admin").run_command(doc! { "ping": 1 })?;
    println!("waited {} µs", waits.recv()?.as_micros());
    // end
    Ok(())
}

// example
/// The time of all commands so far, in milliseconds, by name.
static TIMES: Mutex<BTreeMap<String, u64>> = Mutex::new(BTreeMap::new());

struct Times;

impl log::Log for Times {
    fn enabled(&self, metadata: &log::Metadata<'_>) -> bool {
        metadata.target() == "mongotls::command" && metadata.level() <= log::Level::Debug
    }

    fn log(&self, record: &log::Record<'_>) {
        let pairs = record.key_values();
        let name = pairs.get("commandName".into());
        let took = pairs
            .get("durationMS".into())
            .and_then(|took| took.to_u64());
        // The message about the start of a command has no duration.
        if let (Some(name), Some(took)) = (name, took) {
            let mut times = TIMES.lock().unwrap();
            *times.entry(name.to_string()).or_default() += took;
        }
    }

    fn flush(&self) {}
}
// end

#[test]
fn a_logger_reads_pairs() {
    let desk = Desk::get();
    crate::logs::forward_to(&Times);
    let options =
        ConnectionString::parse(&desk.uri("mongodb://db.example.com/?tls=true&tlsCAFile=ca.pem"));
    let client = Client::with_options(options.unwrap().into_builder().build().unwrap()).unwrap();
    client
        .database("admin")
        .run_command(doc! { "buildInfo": 1 })
        .unwrap();
    assert!(TIMES.lock().unwrap().contains_key("buildInfo"));
}

#[test]
fn the_length_of_documents() -> Outcome {
    let desk = Desk::get();
    // example
    let uri = &desk.uri("mongodb://db.example.com/?tls=true&tlsCAFile=ca.pem");
    let options = ConnectionString::parse(uri)?
        .into_builder()
        .max_log_document_length(10_000_usize)
        .build()?;
    let client = Client::with_options(options)?;
    client.database("admin").run_command(doc! { "ping": 1 })?;
    // end
    Ok(())
}
