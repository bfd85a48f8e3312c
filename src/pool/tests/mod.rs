//! Tests of the pool with real connections to the test bench.

mod cost;
mod storm;

use std::panic::{AssertUnwindSafe, catch_unwind};
use std::thread;

use bson::{RawDocumentBuf, doc, rawdoc};
use mongotls_testbench::fault::Fault;
use mongotls_testbench::pki::{Ca, KeyKind, LeafSpec, PkiDir};
use mongotls_testbench::server::{Server, ServerTls, fail_command};
use openssl::ssl::SslVersion;

use super::*;
use crate::conn::{Connector, Request};

/// Returns a pool that is ready, with these options of the connection string.
fn pool_with(server: &Server, options: &str) -> Arc<Pool<Alone>> {
    let uri = format!("{}?{options}", server.uri());
    let (options, _) = ClientOptions::parse(&uri).unwrap();
    let dialer = Arc::new(Alone(Connector::new(&options).unwrap()));
    let pool = Pool::new(
        options.hosts[0].clone(),
        dialer,
        PoolSettings::new(&options),
    );
    pool.ready();
    pool
}

/// Returns a pool of `size` connections, in which no thread waits for long.
fn pool_of(server: &Server, size: usize) -> Arc<Pool<Alone>> {
    pool_with(server, &format!("maxPoolSize={size}&waitQueueTimeoutMS=50"))
}

/// Returns the numbers of available connections and of those in use.
fn counts(pool: &Pool<Alone>) -> (usize, usize) {
    let snapshot = pool.snapshot();
    (snapshot.available, snapshot.in_use)
}

#[test]
fn a_panic_gives_the_connection_back() {
    let server = Server::builder().start();
    let pool = pool_of(&server, 1);
    let outcome = catch_unwind(AssertUnwindSafe(|| {
        let _connection = pool.check_out(None).unwrap();
        assert!(pool.check_out(None).unwrap_err().is_timeout());
        panic!("a bug of the program");
    }));
    let payload = outcome.unwrap_err();
    assert_eq!(payload.downcast_ref(), Some(&"a bug of the program"));
    drop(pool.check_out(None).unwrap());
    assert_eq!(server.counts().accepted, 1);
}

/// Returns `count` connections that are checked out at the same time.
fn connections(pool: &Arc<Pool<Alone>>, count: usize) -> Vec<PooledConnection<Alone>> {
    (0..count).map(|_| pool.check_out(None).unwrap()).collect()
}

#[test]
fn clear_closes_available_now_and_in_use_at_check_in() {
    let server = Server::builder().start();
    let pool = pool_of(&server, 3);
    let mut open = connections(&pool, 3);
    drop(open.pop());
    open.remove(0).clear_pool(None);
    assert_eq!(counts(&pool), (0, 1), "one is still in use");
    drop(open);
    assert_eq!(counts(&pool), (0, 0));
    pool.ready();
    drop(pool.check_out(None).unwrap());
    assert_eq!(counts(&pool), (1, 0));
    assert_eq!(server.counts().accepted, 4);
}

#[test]
fn a_stale_connection_does_not_clear_what_is_younger() {
    let server = Server::builder().start();
    let pool = pool_of(&server, 3);
    let mut old = connections(&pool, 2);
    old.remove(0).clear_pool(None);
    pool.ready();
    drop(pool.check_out(None).unwrap());
    old.remove(0).clear_pool(None);
    assert!(!pool.check_out(None).unwrap().is_new());
    assert_eq!(server.counts().accepted, 3);
}

#[test]
fn a_failed_dial_gives_its_place_back() {
    let server = Server::builder().start();
    let pool = pool_of(&server, 1);
    server.faults().next(3, Fault::close_after(0));
    for _ in 0..3 {
        assert!(!pool.check_out(None).unwrap_err().is_timeout());
    }
    drop(pool.check_out(None).unwrap());
}

#[test]
fn a_paused_pool_reports_why_it_was_cleared() {
    let server = Server::builder().start();
    let pool = pool_of(&server, 1);
    pool.clear(Some(&Error::protocol("the other operation")), false);
    let error = pool.check_out(None).unwrap_err();
    assert!(error.is_pool_cleared(), "{error}");
    let source = std::error::Error::source(&error).unwrap();
    assert_eq!(source.to_string(), "the other operation");
    pool.close();
    let error = pool.check_out(None).unwrap_err();
    assert_eq!(error.kind(), crate::ErrorKind::ClientClosed);
    assert!(!error.is_pool_cleared());
}

#[test]
fn a_wait_queue_timeout_describes_the_pool() {
    let server = Server::builder().start();
    let pool = pool_of(&server, 2);
    let _open = connections(&pool, 2);
    let error = pool.check_out(None).unwrap_err().to_string();
    assert!(
        error.ends_with(
            "timed out while checking out a connection from connection pool after 50 ms (waitQueueTimeoutMS): 2 in use, 0 being established, 0 other threads waiting"
        ),
        "{error}"
    );
}

#[test]
fn an_interrupted_connection_fails_at_once_and_says_why() {
    let server = Server::builder().start();
    let pool = pool_with(&server, "");
    let mut connection = pool.check_out(None).unwrap();
    let blocks = doc! { "blockConnection": true, "blockTimeMS": 60_000 };
    server.configure_fail_point(&fail_command(1, &["ping"], blocks));
    let blocked = thread::spawn(move || ping(&mut connection).unwrap_err());
    assert!(server.wait_until(LONG, |server| server.count_of("ping") == 1));
    let started = Instant::now();
    pool.clear(Some(&Error::protocol("the monitor")), true);
    let error = blocked.join().unwrap();
    assert!(started.elapsed() < Duration::from_secs(5));
    assert!(error.is_pool_cleared(), "{error:?}");
    assert_eq!(counts(&pool), (0, 0), "it has left the pool");
}

#[test]
fn closing_interrupts_a_dial() {
    let server = Server::builder().start();
    server.faults().next(1, Fault::stall_after(0));
    let pool = pool_with(&server, "");
    let other = Arc::clone(&pool);
    let dialling = thread::spawn(move || other.check_out(None).unwrap_err());
    assert!(server.wait_until(LONG, |server| server.counts().accepted == 1));
    pool.close();
    let error = dialling.join().unwrap();
    assert_eq!(error.kind(), ErrorKind::ClientClosed, "{error:?}");
    assert_eq!(pool.snapshot().pending, 0);
}

/// Returns one server without TLS, and two with TLS.
fn servers() -> (PkiDir, Vec<(Server, String)>) {
    let folder = PkiDir::new();
    let ca = Ca::root("root", KeyKind::EcP256);
    let path = folder.write("ca.pem", ca.cert_pem());
    let identity = ca.issue(LeafSpec::local_server());
    let mut servers = vec![(Server::builder().start(), String::new())];
    for version in [SslVersion::TLS1_2, SslVersion::TLS1_3] {
        let tls = ServerTls::new(&identity).versions(version, version);
        let options = format!("tlsCAFile={}", path.display());
        servers.push((Server::builder().tls(tls).start(), options));
    }
    (folder, servers)
}

#[test]
fn a_connection_sees_that_its_peer_has_closed_it() {
    let (_folder, servers) = servers();
    for (server, options) in &servers {
        let pool = pool_with(server, options);
        let mut connection = pool.check_out(None).unwrap();
        // Twice: session tickets do not count as an end of the stream, and the check leaves the connection unchanged.
        assert!(connection.is_open() && connection.is_open());
        ping(&mut connection).unwrap();
        assert!(connection.is_open());
        server.cut();
        let started = Instant::now();
        while connection.is_open() {
            assert!(started.elapsed() < LONG);
            thread::yield_now();
        }
    }
}

#[test]
fn an_idle_connection_closed_by_the_server_fails_no_command() {
    let (_folder, servers) = servers();
    for (server, options) in &servers {
        let pool = pool_with(server, &format!("maxPoolSize=1&{options}"));
        drop(pool.check_out(None).unwrap());
        server.cut();
        thread::sleep(CHECKED_WHEN_IDLE_FOR + Duration::from_millis(50));
        let mut connection = pool.check_out(None).unwrap();
        assert!(connection.is_new());
        ping(&mut connection).unwrap();
        assert_eq!(
            pool.snapshot().generation,
            0,
            "this is no reason to clear the pool"
        );
    }
}

fn ping(connection: &mut PooledConnection<Alone>) -> Result<RawDocumentBuf> {
    connection.run(&Request::new("admin", &rawdoc! { "ping": 1_i32 }), None)
}

/// The time limit for events that happen at once unless something is wrong.
const LONG: Duration = Duration::from_secs(10);
