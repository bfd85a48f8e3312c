//! The examples of `docs/connections.md`, run and compared like those of `docs/tls.md`.

// example
use std::time::Duration;

use mongotls::bson::doc;
use mongotls::options::{Secret, ServerApi, ServerApiVersion};
use mongotls::{Client, ConnectionString, ErrorKind};
// end

use crate::guide::{Desk, Outcome, expect_shown};

#[test]
fn the_guide_shows_the_examples_as_they_are_run_here() {
    let guide = include_str!("../../docs/connections.md");
    expect_shown(include_str!("connections.rs"), guide);
}

#[test]
fn through_a_proxy() -> Outcome {
    let desk = Desk::new();
    // example
    let options = ConnectionString::parse(
        &desk
            .uri("mongodb://db.example.com/?tls=true&tlsCAFile=ca.pem&proxyHost=proxy.example.com"),
    )?
    .into_builder()
    .proxy_credential("bob", Secret::new("correct horse"))
    .build()?;
    let client = Client::with_options(options)?;
    client.database("admin").run_command(doc! { "ping": 1 })?;
    // end
    // The program's, and the monitor's own, which comes with its second check.
    let is_second_there = desk.proxy.wait_until(Duration::from_secs(10), |visits| {
        visits.len() == 2 && visits[1].address_type != 0
    });
    assert!(is_second_there);
    for visit in desk.proxy.visits() {
        assert_eq!(
            (visit.host.as_str(), visit.methods),
            ("localhost", vec![0, 2])
        );
    }
    Ok(())
}

#[test]
fn through_a_tunnel() -> Outcome {
    let desk = Desk::get();
    // example
    // ssh -L 27018:db.example.com:27017 bastion.example.com
    let options =
        ConnectionString::parse(&desk.uri("mongodb://db.example.com/?tls=true&tlsCAFile=ca.pem"))?
            .into_builder()
            .connect_to("db.example.com:27017".parse()?, "127.0.0.1:27018".parse()?)
            .build()?;
    let client = Client::with_options(options)?;
    client.database("admin").run_command(doc! { "ping": 1 })?;
    // end
    Ok(())
}

#[test]
fn the_stable_api() -> Outcome {
    let desk = Desk::get();
    // example
    let options =
        ConnectionString::parse(&desk.uri("mongodb://db.example.com/?tls=true&tlsCAFile=ca.pem"))?
            .into_builder()
            .server_api(ServerApi::new(ServerApiVersion::V1).strict(true))
            .build()?;
    let client = Client::with_options(options)?;
    client.database("admin").run_command(doc! { "ping": 1 })?;
    // end
    Ok(())
}

#[test]
#[allow(clippy::print_stdout, reason = "as the guide shows it")]
fn looking_at_the_pool() -> Outcome {
    let desk = Desk::get();
    // example
    let client = Client::connect(
        &desk.uri("mongodb://db.example.com/?tls=true&tlsCAFile=ca.pem&maxPoolSize=20"),
    )?;
    client.database("admin").run_command(doc! { "ping": 1 })?;
    let snapshot = client.snapshot();
    for pool in &snapshot.pools {
        println!(
            "{}: {} available, {} in use, {} being established, {} threads waiting",
            pool.server, pool.available, pool.in_use, pool.pending, pool.waiting
        );
    }
    println!(
        "{} full and {} resumed handshakes, {} with unknown revocation",
        snapshot.full_handshakes,
        snapshot.resumed_handshakes,
        snapshot.soft_failed_revocation_checks
    );
    // end
    assert_eq!(snapshot.pools[0].available, 1);
    Ok(())
}

#[test]
#[allow(clippy::print_stderr, reason = "as the guide shows it")]
fn closing() -> Outcome {
    let desk = Desk::get();
    // example
    let client = Client::connect(&desk.uri("mongodb://db.example.com/?tls=true&tlsCAFile=ca.pem"))?;
    let admin = client.database("admin");
    admin.run_command(doc! { "ping": 1 })?;
    for connection in client.close(Duration::from_secs(5)) {
        eprintln!("still in use: {connection}");
    }
    let error = admin.run_command(doc! { "ping": 1 }).unwrap_err();
    assert_eq!(error.kind(), ErrorKind::ClientClosed);
    // end
    Ok(())
}

#[test]
fn a_client_works_wherever_an_async_program_lets_it_block() {
    let desk = Desk::get();
    let client =
        Client::connect(&desk.uri("mongodb://db.example.com/?tls=true&tlsCAFile=ca.pem")).unwrap();
    let ping = move || {
        client
            .database("admin")
            .run_command(doc! { "ping": 1 })
            .map(|_| client)
    };
    let runtime = tokio::runtime::Builder::new_multi_thread()
        .worker_threads(1)
        .build()
        .unwrap();
    let client =
        runtime.block_on(async { tokio::task::spawn_blocking(ping).await.unwrap().unwrap() });
    // This is not recommended, but no panic either: the last clone is dropped within the runtime.
    runtime.block_on(async move {
        client
            .database("admin")
            .run_command(doc! { "ping": 1 })
            .unwrap();
        drop(client);
    });
}
