//! The examples of `docs/monitoring.md`, run and compared like those of `docs/tls.md`.

// example
use std::sync::mpsc;

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
