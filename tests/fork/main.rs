//! A pre-forking server: a client on both sides of a `fork()`.
//!
//! The parent has a client with TLS and threads that use it without a pause. It forks children that use the same
//! client. Each child must end in time and without an error, on its own connections. The parent must not be affected:
//! none of its connections is closed, and none of its commands fails.
//!
//! The bench server is a separate process, this program started again with the word `serve`, because a forked child
//! inherits everything that its parent has open.

#![allow(
    missing_docs,
    clippy::unwrap_used,
    clippy::print_stdout,
    reason = "a program for developers"
)]

use std::env;
use std::ffi::CString;
use std::fs;
use std::io::{self, BufRead, BufReader, Read, Write};
use std::net::{Shutdown, TcpListener, TcpStream};
use std::os::unix::ffi::OsStrExt;
use std::process::{self, Child, Command, ExitCode, Stdio};
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Mutex, OnceLock};
use std::thread::{self, JoinHandle};
use std::time::{Duration, Instant};

use mongotls::bson::{Document, doc};
use mongotls::client::PoolState;
use mongotls::event::{CommandEvent, Event, PoolEventKind, TlsEvent};
use mongotls::options::{ClientOptions, DriverInfo, TlsOptions};
use mongotls::tls::TlsContext;
use mongotls::{Canceller, CauseCode, Client, ConnectionString, Cursor, ErrorKind};
use mongotls_testbench::fault::Fault;
use mongotls_testbench::ocsp::Responder;
use mongotls_testbench::pki::{Ca, KeyKind, LeafSpec, PkiDir};
use mongotls_testbench::server::{Request, Server, ServerTls};

const CHILDREN: usize = 8;
const COMMANDS: usize = 1000;
/// The number of children that are forked while the parent's threads are in the middle of handshakes.
const IN_A_STORM: usize = 100;
/// The time after which a child counts as hanging.
const LIMIT: Duration = Duration::from_secs(60);

fn main() -> ExitCode {
    let words: Vec<String> = env::args().skip(1).collect();
    match words.first().map(String::as_str) {
        Some("serve") => serve(),
        Some("--list") => {}
        _ => {
            let bench = Bench::start();
            a_program_with_tls_contexts_alone(&bench);
            a_child_that_cannot_load_its_files_tries_again(&bench);
            waits_in_handshakes_delay_no_fork();
            pre_forking_server(&bench);
            forks_in_a_storm_of_handshakes(&bench);
            forks_while_threads_come_and_go(&bench);
            a_child_leaves_alone_what_is_on_offer(&bench);
            a_cursor_stays_the_parents(&bench);
            an_upload_stays_the_parents(&bench);
            a_child_has_sessions_of_its_own(&bench);
            a_session_stays_the_parents(&bench);
            a_transaction_continues_in_the_parent(&bench);
            a_child_cancels_only_operations_of_its_own();
            a_listener_uses_the_client_in_the_child(&bench);
            a_child_that_leaves_a_listener_writes_nothing(&bench);
            a_source_of_documents_forks(&bench);
        }
    }
    ExitCode::SUCCESS
}

/// The server; ends with its input.
fn serve() {
    let dir = PkiDir::new();
    let ca = Ca::root("root", KeyKind::EcP256);
    let file = dir.write("ca.pem", ca.cert_pem());
    let tls = ServerTls::new(&ca.issue(LeafSpec::local_server()));
    let done = |_: &Request| Some(doc! { "ok": 1 });
    let server = Server::builder().tls(tls).log_limit(0);
    let none = |_: &Request| {
        let cursor = doc! { "id": 0_i64, "ns": "fork.x", "firstBatch": [] };
        Some(doc! { "ok": 1, "cursor": cursor })
    };
    let server = server.handle("listIndexes", none);
    let server = server.handle("createIndexes", done);
    let server = server.handle("commitTransaction", done);
    let server = server.handle("abortTransaction", done).start();
    println!("{}?tls=true&tlsCAFile={}", server.uri(), file.display());
    io::stdin().read_to_end(&mut Vec::new()).unwrap();
}

struct Bench {
    process: Child,
    uri: String,
}

impl Bench {
    fn start() -> Self {
        let mut process = Command::new(env::current_exe().unwrap())
            .arg("serve")
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .spawn()
            .unwrap();
        let mut uri = String::new();
        let mut output = BufReader::new(process.stdout.take().unwrap());
        output.read_line(&mut uri).unwrap();
        Self {
            process,
            uri: uri.trim().to_owned(),
        }
    }

    /// A client, and the number of its connections that were closed.
    fn client(&self, options: &str) -> (Client, Arc<AtomicU64>) {
        let uri = format!("{}&{options}", self.uri);
        let closed = Arc::new(AtomicU64::new(0));
        let counting = Arc::clone(&closed);
        let builder = ConnectionString::parse(&uri).unwrap().into_builder();
        let options: ClientOptions = builder
            .event_listener(move |event| {
                let Event::Pool(event) = event else { return };
                if matches!(event.kind, PoolEventKind::ConnectionClosed { .. }) {
                    counting.fetch_add(1, Ordering::SeqCst);
                }
            })
            .build()
            .unwrap();
        (Client::with_options(options).unwrap(), closed)
    }
}

impl Drop for Bench {
    fn drop(&mut self) {
        self.process.kill().unwrap();
        self.process.wait().unwrap();
    }
}

/// Runs `child` in a forked process, which ends with it. Returns the process id.
fn fork(child: impl FnOnce()) -> libc::pid_t {
    // SAFETY: the child has one thread, and the locks that other threads held. It uses the library, whose behaviour in
    // that case is under test, and the allocator and standard output, which glibc makes safe; it ends without running
    // what the parent has registered for its end.
    #[allow(unsafe_code)]
    let id = unsafe { libc::fork() };
    assert!(id >= 0, "{}", io::Error::last_os_error());
    if id != 0 {
        return id;
    }
    // One that hangs must not outlive the test for long.
    // SAFETY: sets a timer of this process.
    #[allow(unsafe_code)]
    unsafe {
        libc::alarm(u32::try_from(LIMIT.as_secs()).unwrap() + 5);
    }
    let outcome = std::panic::catch_unwind(std::panic::AssertUnwindSafe(child));
    // SAFETY: ends the process.
    #[allow(unsafe_code)]
    unsafe {
        libc::_exit(i32::from(outcome.is_err()))
    }
}

/// Waits for a forked process; fails if it does, and if it does not end in time.
fn wait_for(id: libc::pid_t, until: Instant) {
    loop {
        let mut status = 0;
        // SAFETY: `status` is valid for the call.
        #[allow(unsafe_code)]
        let ended = unsafe { libc::waitpid(id, &mut status, libc::WNOHANG) };
        if ended == id {
            assert_eq!(status, 0, "the child {id} failed");
            return;
        }
        if Instant::now() > until {
            // SAFETY: the process is this one's child and has not been waited for, so its id is still its own.
            #[allow(unsafe_code)]
            unsafe {
                libc::kill(id, libc::SIGKILL);
            }
            panic!("the child {id} hangs");
        }
        thread::sleep(Duration::from_millis(5));
    }
}

/// Threads that repeat an operation until they are stopped; each returns the number of repetitions.
struct Busy {
    over: Arc<AtomicBool>,
    threads: Vec<JoinHandle<usize>>,
}

impl Busy {
    fn start(threads: usize, work: impl Fn() + Clone + Send + 'static) -> Self {
        let over = Arc::new(AtomicBool::new(false));
        let spawn = |_| {
            let (over, work) = (Arc::clone(&over), work.clone());
            thread::spawn(move || {
                let mut count = 0;
                while !over.load(Ordering::Relaxed) {
                    work();
                    count += 1;
                }
                count
            })
        };
        let threads = (0..threads).map(spawn).collect();
        Self { over, threads }
    }

    fn stop(self) -> usize {
        self.over.store(true, Ordering::Relaxed);
        let counts = self
            .threads
            .into_iter()
            .map(|thread| thread.join().unwrap());
        counts.sum()
    }
}

/// Waits until the client's monitor has found the server.
fn wait_for_check(client: &Client, until: Instant) {
    while client.snapshot().pools[0].state != PoolState::Ready {
        assert!(Instant::now() < until, "{:?}", client.snapshot());
        thread::yield_now();
    }
}

fn ping(client: &Client) {
    // A reply that belongs to another process would contain another number.
    let own = i64::from(process::id());
    let database = client.database("admin");
    let reply = database.run_command(doc! { "benchEcho": own }).unwrap();
    assert_eq!(reply.get_i64("benchEcho").unwrap(), own);
}

/// Forks a child that ends at once; returns the duration of the fork.
fn timed_fork() -> Duration {
    let begun = Instant::now();
    let id = fork(|| {});
    let took = begun.elapsed();
    wait_for(id, Instant::now() + LIMIT);
    took
}

/// Without protection a fork waits for a second. A busy machine may delay some of them.
fn expect_quick_forks(what: &str) {
    let mut took: Vec<_> = (0..5).map(|_| timed_fork()).collect();
    took.sort();
    assert!(took[2] < Duration::from_millis(500), "{what}: {took:?}");
}

/// Must run first: a client would have set up the protection.
fn a_program_with_tls_contexts_alone(bench: &Bench) {
    let (address, ca_file) = bench.uri.split_once("/?tls=true&tlsCAFile=").unwrap();
    let address = address.strip_prefix("mongodb://").unwrap();
    let options = TlsOptions::builder().ca_file(ca_file).build().unwrap();
    let context = TlsContext::new(&options).unwrap();
    let connect = || context.connect("localhost", TcpStream::connect(address).unwrap());
    let mut stream = connect().unwrap();
    // Another thread is in a handshake with a server that sends nothing.
    let silent = TcpListener::bind("127.0.0.1:0").unwrap();
    let waiting = TcpStream::connect(silent.local_addr().unwrap()).unwrap();
    let end = waiting.try_clone().unwrap();
    let other = context.clone();
    let waiter = thread::spawn(move || other.connect("localhost", waiting).map(drop));
    let (mut accepted, _) = silent.accept().unwrap();
    accepted.read_exact(&mut [0; 1]).unwrap();
    expect_quick_forks("with a handshake that waits");
    let id = fork(|| {
        for outcome in [
            stream.write(b"x"),
            stream.read(&mut [0]),
            stream.shutdown().map(|()| 0),
        ] {
            let error = outcome.unwrap_err();
            assert_eq!(error.kind(), io::ErrorKind::ConnectionAborted);
            let why = "the connection belongs to the process that this one was forked from";
            assert_eq!(error.to_string(), why);
        }
        drop(stream);
        // A session of the parent would be used twice.
        assert!(!connect().unwrap().report().resumed());
        assert!(!connect().unwrap().report().resumed());
    });
    wait_for(id, Instant::now() + LIMIT);
    println!("ok: a program with TLS contexts alone");
    end.shutdown(Shutdown::Both).unwrap();
    waiter.join().unwrap().unwrap_err();
}

/// The CA file is missing during the first handshake of a child, then contains another CA, and finally the right one.
fn a_child_that_cannot_load_its_files_tries_again(bench: &Bench) {
    let (address, ca_file) = bench.uri.split_once("/?tls=true&tlsCAFile=").unwrap();
    let address = address.strip_prefix("mongodb://").unwrap();
    let right = fs::read(ca_file).unwrap();
    let other = Ca::root("another root", KeyKind::EcP256).cert_pem();
    let dir = PkiDir::new();
    let file = dir.write("ca.pem", &right);
    let options = TlsOptions::builder().ca_file(&file).build().unwrap();
    let context = TlsContext::new(&options).unwrap();
    let connect = || context.connect("localhost", TcpStream::connect(address).unwrap());
    connect().unwrap();
    fs::remove_file(&file).unwrap();
    let id = fork(|| {
        // The inherited context stays in use, without the sessions.
        assert!(!connect().unwrap().report().resumed());
        dir.write("ca.pem", &other);
        let error = connect().unwrap_err();
        let code = error.cause().map(|cause| cause.code());
        assert_eq!(code, Some(CauseCode::IssuerUnknown), "{error}");
        // Loaded once, as in every process.
        dir.write("ca.pem", &right);
        connect().unwrap_err();
        // A grandchild cannot load its files either, and continues with the context that the child used last.
        fs::remove_file(&file).unwrap();
        let id = fork(|| {
            connect().unwrap_err();
            dir.write("ca.pem", &right);
            connect().unwrap();
        });
        wait_for(id, Instant::now() + LIMIT);
    });
    wait_for(id, Instant::now() + LIMIT);
    println!("ok: a child that cannot load its files tries again");
}

/// An OCSP responder that does not answer, and a pipe without data.
fn waits_in_handshakes_delay_no_fork() {
    let dir = PkiDir::new();
    let ca = Ca::root("root", KeyKind::EcP256);
    let file = dir.write("ca.pem", ca.cert_pem());
    let responder = Responder::start();
    responder.faults().all(Fault::stall_after(0));
    let server = |leaf: LeafSpec| {
        let tls = ServerTls::new(&ca.issue(leaf));
        Server::builder().tls(tls).start()
    };
    let slow = server(LeafSpec::local_server().ocsp_url(&responder.url()));
    let quick = server(LeafSpec::local_server());
    let options = TlsOptions::builder().ca_file(&file);
    let options = options
        .ocsp_responder_timeout(Duration::from_secs(6))
        .build()
        .unwrap();
    let context = TlsContext::new(&options).unwrap();
    let other = context.clone();
    let address = slow.addr();
    let waiter = thread::spawn(move || {
        other
            .connect("localhost", TcpStream::connect(address).unwrap())
            .map(drop)
    });
    let until = Instant::now() + LIMIT;
    while responder.connections() == 0 {
        assert!(Instant::now() < until);
        thread::sleep(Duration::from_millis(5));
    }
    expect_quick_forks("with a handshake that waits for its responder");
    // A fork does not block other forks meanwhile either.
    let begun = Instant::now();
    let forking = thread::spawn(timed_fork);
    context
        .connect("localhost", TcpStream::connect(quick.addr()).unwrap())
        .unwrap();
    assert!(!waiter.is_finished() && begun.elapsed() < Duration::from_secs(4));
    forking.join().unwrap();
    waiter.join().unwrap().unwrap();

    let pipe = dir.path().join("pipe.pem");
    let name = CString::new(pipe.as_os_str().as_bytes()).unwrap();
    // SAFETY: the name is NUL-terminated and lives until the call returns.
    #[allow(unsafe_code)]
    let made = unsafe { libc::mkfifo(name.as_ptr(), 0o600) };
    assert_eq!(made, 0);
    let options = TlsOptions::builder().ca_file(&pipe).build().unwrap();
    let waiter = thread::spawn(move || TlsContext::new(&options).map(drop));
    thread::sleep(Duration::from_millis(100));
    expect_quick_forks("with a file that does not come");
    let _ = fs::write(&pipe, ca.cert_pem());
    waiter.join().unwrap().unwrap();
    println!("ok: waits in handshakes delay no fork");
}

fn pre_forking_server(bench: &Bench) {
    let (client, closed) = bench.client("maxPoolSize=4&maxConnecting=4&minPoolSize=2");
    let busy = {
        let client = client.clone();
        Busy::start(3, move || ping(&client))
    };
    let until = Instant::now() + LIMIT;
    let before = client.snapshot();
    let children: Vec<_> = (0..CHILDREN)
        .map(|_| {
            fork(|| {
                let snapshot = client.snapshot();
                assert_eq!(snapshot.pools[0].in_use, 0, "{snapshot:?}");
                let workers: Vec<_> = (0..2)
                    .map(|_| {
                        let client = client.clone();
                        thread::spawn(move || (0..COMMANDS / 2).for_each(|_| ping(&client)))
                    })
                    .collect();
                workers
                    .into_iter()
                    .for_each(|worker| worker.join().unwrap());
                let snapshot = client.snapshot();
                assert!(snapshot.pools[0].available >= 1, "{snapshot:?}");
                assert!(client.close(Duration::from_secs(5)).is_empty());
            })
        })
        .collect();
    children
        .into_iter()
        .for_each(|child| wait_for(child, until));
    let commands = busy.stop();
    assert_eq!(
        closed.load(Ordering::SeqCst),
        0,
        "connections of the parent were closed"
    );
    let after = client.snapshot();
    assert_eq!(before.pools[0].generation, after.pools[0].generation);
    ping(&client);
    println!(
        "ok: {CHILDREN} children with {COMMANDS} commands each, and {commands} of the parent meanwhile"
    );
}

/// The parent's threads are in handshakes, in the pool's lock and in the middle of connecting when it forks.
fn forks_in_a_storm_of_handshakes(bench: &Bench) {
    let (client, _) = bench.client("maxPoolSize=3&maxConnecting=3&waitQueueTimeoutMS=20000");
    let busy = {
        let uri = bench.uri.clone();
        let client = client.clone();
        Busy::start(4, move || {
            ping(&client);
            ping(&Client::connect(&uri).unwrap());
        })
    };
    let until = Instant::now() + LIMIT;
    for _ in 0..IN_A_STORM {
        let id = fork(|| {
            ping(&client);
        });
        wait_for(id, until);
        client.reload_tls().unwrap();
    }
    let commands = busy.stop();
    println!(
        "ok: {IN_A_STORM} children of a parent in handshakes, and {commands} of these meanwhile"
    );
}

/// Threads of the parent use OpenSSL for the first time, on existing connections, and end, while it forks: OpenSSL
/// keeps a list of its threads, under a lock of the whole process.
fn forks_while_threads_come_and_go(bench: &Bench) {
    let (client, _) = bench.client("maxPoolSize=4&waitQueueTimeoutMS=20000");
    ping(&client);
    let busy = {
        let client = client.clone();
        Busy::start(4, move || on_a_bare_thread(&client))
    };
    let until = Instant::now() + LIMIT;
    for _ in 0..IN_A_STORM {
        let id = fork(|| {
            ping(&client);
        });
        wait_for(id, until);
    }
    let threads = busy.stop();
    println!("ok: {IN_A_STORM} children of a parent with {threads} threads that came and went");
}

/// One ping on a separate thread. It is not a Rust thread: those take a lock of the standard library when they begin
/// and end, which stays locked in a child regardless of this crate.
fn on_a_bare_thread(client: &Client) {
    extern "C" fn run(client: *mut libc::c_void) -> *mut libc::c_void {
        // SAFETY: the client is borrowed until the thread has been waited for.
        #[allow(unsafe_code)]
        ping(unsafe { &*client.cast::<Client>() });
        std::ptr::null_mut()
    }
    let client = std::ptr::from_ref(client).cast_mut().cast();
    // SAFETY: the thread has everything that it uses until it ends, and is waited for once. A panic in it ends the
    // process.
    #[allow(unsafe_code)]
    let joined = unsafe {
        let mut thread = std::mem::zeroed();
        let started = libc::pthread_create(&mut thread, std::ptr::null(), run, client);
        assert_eq!(started, 0);
        libc::pthread_join(thread, std::ptr::null_mut())
    };
    assert_eq!(joined, 0);
}

/// The parent's monitor has checked the server, and no command has used its connection yet.
fn a_child_leaves_alone_what_is_on_offer(bench: &Bench) {
    let (client, _) = bench.client("serverMonitoringMode=poll&heartbeatFrequencyMS=600000");
    let until = Instant::now() + LIMIT;
    wait_for_check(&client, until);
    let handshakes = |client: &Client| {
        let snapshot = client.snapshot();
        (snapshot.full_handshakes, snapshot.resumed_handshakes)
    };
    let before = handshakes(&client);
    let child = fork(|| {
        ping(&client);
        assert_eq!(handshakes(&client), (before.0 + 1, before.1));
        assert!(client.close(Duration::from_secs(5)).is_empty());
    });
    wait_for(child, until);
    // It is unchanged, and the parent's command runs on it.
    ping(&client);
    assert_eq!(handshakes(&client), before);
    println!("ok: a child leaves alone what its parent's monitor has on offer");
}

fn a_cursor_stays_the_parents(bench: &Bench) {
    let (client, _) = bench.client("");
    let database = client.database("fork");
    let documents: Vec<_> = (0..10).map(|n| doc! { "n": n }).collect();
    database
        .run_command(doc! { "insert": "numbers", "documents": documents })
        .unwrap();
    let cursor = database.run_cursor_command(doc! { "find": "numbers", "batchSize": 2 });
    let mut cursor: Option<Cursor<Document>> = Some(cursor.unwrap());
    assert!(cursor.as_mut().unwrap().next().unwrap().is_ok());
    let id = fork(|| {
        ping(&client);
        let mut cursor = cursor.take().unwrap();
        // The rest of the first batch is here; the next one would belong to the parent.
        assert!(cursor.next().unwrap().is_ok());
        let error = cursor.next().unwrap().unwrap_err();
        assert_eq!(error.kind(), ErrorKind::InvalidArgument, "{error}");
        assert!(error.to_string().contains("forked"), "{error}");
        // Must not close it on the server.
        drop(cursor);
    });
    wait_for(id, Instant::now() + LIMIT);
    let rest: Vec<_> = cursor.unwrap().map(Result::unwrap).collect();
    assert_eq!(rest.len(), 9);
    println!("ok: a cursor stays the parent's");
}

fn an_upload_stays_the_parents(bench: &Bench) {
    let (client, _) = bench.client("");
    let bucket = client.database("fork").gridfs_bucket(None);
    let open = |chunk_size| {
        let open = bucket.open_upload_stream("file");
        open.chunk_size_bytes(chunk_size).run().unwrap()
    };
    let mut upload = Some(open(4));
    let of_parent = upload.as_mut().unwrap();
    let id = of_parent.id().clone();
    of_parent.write_all(b"abcd").unwrap();
    of_parent.flush().unwrap();
    of_parent.write_all(b"ef").unwrap();
    let child = fork(|| {
        let mut inherited = upload.take().unwrap();
        let errors = [
            inherited.write(b"x").unwrap_err().to_string(),
            inherited.flush().unwrap_err().to_string(),
            inherited.close().unwrap_err().to_string(),
            inherited.abort().unwrap_err().to_string(),
        ];
        assert!(
            errors.iter().all(|error| error.contains("forked")),
            "{errors:?}"
        );
        // Must not delete the chunks.
        drop(inherited);
        let mut own = open(4);
        assert_ne!(*own.id(), id);
        own.write_all(b"own").unwrap();
        own.close().unwrap();
    });
    wait_for(child, Instant::now() + LIMIT);
    let of_parent = upload.as_mut().unwrap();
    of_parent.write_all(b"gh").unwrap();
    of_parent.close().unwrap();
    let mut content = Vec::new();
    let download = bucket.open_download_stream(id).run();
    download.unwrap().read_to_end(&mut content).unwrap();
    assert_eq!(content, b"abcdefgh");
    println!("ok: an upload stays the parent's");
}

/// Prose test 12 of the specification "Driver Sessions".
fn a_child_has_sessions_of_its_own(bench: &Bench) {
    let (client, _) = bench.client("");
    let start = || client.start_session().run().unwrap();
    ping(&client);
    let lsid = start().id();
    let id = fork(|| {
        let session = start();
        assert_ne!(session.id(), lsid);
        // The sessions of commands are new too.
        let echo = |database: &mongotls::Database| {
            let reply = database.run_command(doc! { "benchEcho": 1 }).unwrap();
            reply.get_document("lsid").unwrap().clone()
        };
        let used = echo(&client.database("fork"));
        assert!(used != lsid && used != session.id());
        let reply = client.database("fork").within(&session);
        let reply = reply.run_command(doc! { "benchEcho": 1 }).unwrap();
        assert_eq!(reply.get_document("lsid").unwrap(), &session.id());
        drop(session);
        client.close(Duration::from_secs(5));
    });
    wait_for(id, Instant::now() + LIMIT);
    assert_eq!(start().id(), lsid);
    println!("ok: a child has sessions of its own");
}

fn a_child_cancels_only_operations_of_its_own() {
    let silent = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = silent.local_addr().unwrap();
    let client = Client::connect(&format!("mongodb://{address}/?loadBalanced=true")).unwrap();
    let canceller = Canceller::new();
    let limited = client.cancelled_by(&canceller);
    let waiting = thread::spawn(move || limited.database("db").run_command(doc! { "ping": 1 }));
    // The parent's thread waits for the reply to hello.
    let (mut peer, _) = silent.accept().unwrap();
    assert!(peer.read(&mut [0; 4096]).unwrap() > 16);
    let id = fork(|| {
        canceller.cancel();
        let limited = client.cancelled_by(&canceller);
        let error = limited.database("db").run_command(doc! { "ping": 1 });
        assert_eq!(error.unwrap_err().kind(), ErrorKind::Cancelled);
    });
    wait_for(id, Instant::now() + LIMIT);
    // The child has neither cancelled the operation of its parent nor ended its connection.
    assert!(!canceller.is_cancelled());
    peer.set_read_timeout(Some(Duration::from_millis(300)))
        .unwrap();
    let still_open = peer.read(&mut [0; 1]).unwrap_err();
    assert_eq!(still_open.kind(), io::ErrorKind::WouldBlock);
    canceller.cancel();
    let error = waiting.join().unwrap().unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Cancelled, "{error}");
    println!("ok: a child cancels only operations of its own");
}

/// Prose test 13 of the specification "Driver Sessions".
fn a_session_stays_the_parents(bench: &Bench) {
    let (client, _) = bench.client("");
    let start = || client.start_session().run().unwrap();
    ping(&client);
    let mut session = Some(start());
    let lsid = session.as_ref().unwrap().id();
    let id = fork(|| {
        let inherited = session.take().unwrap();
        let database = client.database("fork").within(&inherited);
        let error = database.run_command(doc! { "ping": 1 }).unwrap_err();
        assert_eq!(error.kind(), ErrorKind::InvalidArgument, "{error}");
        assert!(error.to_string().contains("forked"), "{error}");
        drop(database);
        drop(inherited);
        assert_ne!(start().id(), lsid);
    });
    wait_for(id, Instant::now() + LIMIT);
    drop(session);
    assert_eq!(start().id(), lsid);
    println!("ok: a session stays the parent's");
}

/// A child neither uses nor aborts the open transaction of its parent.
fn a_transaction_continues_in_the_parent(bench: &Bench) {
    let (client, _) = bench.client("");
    let things = client.database("fork").collection::<Document>("things");
    let mut session = Some(client.start_session().run().unwrap());
    let own = |session: &Option<mongotls::Session>| {
        let database = client.database("fork").within(session.as_ref().unwrap());
        database.run_command(doc! { "benchEcho": 1 })
    };
    session.as_ref().unwrap().start_transaction().run().unwrap();
    let first = own(&session).unwrap();
    assert!(first.get_bool("startTransaction").unwrap());
    let id = fork(|| {
        let inherited = session.take().unwrap();
        let error = things.within(&inherited).find_one(doc! {}).run();
        let refused = [
            error.map(drop),
            inherited.commit_transaction().run(),
            inherited.abort_transaction().run(),
            inherited.start_transaction().run(),
            inherited.transaction().run(|_| Ok(())),
        ];
        for outcome in refused {
            let error = outcome.unwrap_err();
            assert_eq!(error.kind(), ErrorKind::InvalidArgument, "{error}");
            assert!(error.to_string().contains("forked"), "{error}");
        }
        // Must not abort it on the server.
        drop(inherited);
        let outcome = client.transaction().run(|tx| {
            let reply = tx.database("fork").run_command(doc! { "benchEcho": 1 })?;
            assert_ne!(reply.get("lsid"), first.get("lsid"));
            Ok(())
        });
        outcome.unwrap();
    });
    wait_for(id, Instant::now() + LIMIT);
    let second = own(&session).unwrap();
    for field in ["lsid", "txnNumber", "autocommit"] {
        assert_eq!(first.get(field), second.get(field), "{field}");
    }
    assert!(!second.contains_key("startTransaction"));
    session.unwrap().commit_transaction().run().unwrap();
    println!("ok: a transaction continues in the parent");
}

/// In the child the pools are created again, and the listener receives the events: by then the client must be usable.
fn a_listener_uses_the_client_in_the_child(bench: &Bench) {
    let own: Arc<OnceLock<Client>> = Arc::default();
    let told = Arc::new(Mutex::new(Vec::new()));
    let (to_use, names) = (Arc::clone(&own), Arc::clone(&told));
    let options = ConnectionString::parse(&bench.uri).unwrap().into_builder();
    let options = options.event_listener(move |event| {
        let Event::Pool(event) = event else { return };
        names.lock().unwrap().push(event.kind.name());
        if let (PoolEventKind::Created { .. }, Some(client)) = (&event.kind, to_use.get()) {
            ping(client);
        }
    });
    let client = Client::with_options(options.build().unwrap()).unwrap();
    own.set(client.clone()).unwrap();
    ping(&client);
    let id = fork(|| {
        told.lock().unwrap().clear();
        // Several threads create the child's resources; there is an event for one of them.
        thread::scope(|scope| {
            for _ in 0..4 {
                scope.spawn(|| ping(&client));
            }
        });
        let told = told.lock().unwrap();
        let count = |name| told.iter().filter(|one| **one == name).count();
        assert_eq!(count("ConnectionPoolCreated"), 1, "{told:?}");
        assert_eq!(count("ConnectionPoolClosed"), 0, "{told:?}");
    });
    wait_for(id, Instant::now() + LIMIT);
    ping(&client);
    println!("ok: a listener uses the client in the child");
}

/// The source of `insert_many` forks while the operation has an incomplete batch. One child uses the client and exits;
/// another one goes on with the insert. No `_id` is there twice.
fn a_source_of_documents_forks(bench: &Bench) {
    let (client, _) = bench.client("&maxPoolSize=1&waitQueueTimeoutMS=5000");
    let things = client.database("fork").collection::<Document>("sources");
    let (mut is_child, mut continues) = (false, 0);
    let source = (0..6).map(|n| {
        if n == 2 {
            let id = fork(|| {
                things.find_one(doc! {}).run().unwrap();
            });
            wait_for(id, Instant::now() + LIMIT);
        }
        if n == 3 {
            // No guard delays the fork of another thread.
            assert!(thread::spawn(timed_fork).join().unwrap() < Duration::from_millis(500));
            // SAFETY: as in `fork`; the child ends below, after the insert.
            #[allow(unsafe_code)]
            let id = unsafe { libc::fork() };
            is_child = id == 0;
            continues = id;
        }
        doc! { "n": n }
    });
    // The batch at the time of the fork is empty.
    let inserted = things.insert_many(source).batch_bytes(1).run();
    if is_child {
        let is_right = inserted.is_ok_and(|inserted| inserted.inserted_count == 6);
        // SAFETY: it ends the process at once.
        #[allow(unsafe_code)]
        unsafe {
            libc::_exit(i32::from(!is_right))
        }
    }
    wait_for(continues, Instant::now() + LIMIT);
    assert_eq!(inserted.unwrap().inserted_count, 6);
    // The first three by the parent, the others by both.
    let count = things.estimated_document_count().run().unwrap();
    assert_eq!(count, 9);
    println!("ok: a source of documents forks");
}

/// A listener forks in the middle of an attempt to connect and of a command, and the child continues from there.
fn a_child_that_leaves_a_listener_writes_nothing(bench: &Bench) {
    let is_child = Arc::new(AtomicBool::new(false));
    let ids = Arc::new(Mutex::new(Vec::new()));
    let (forked, children) = (Arc::clone(&is_child), Arc::clone(&ids));
    let uri = format!("{}&serverMonitoringMode=poll", bench.uri);
    let options = ConnectionString::parse(&uri).unwrap().into_builder();
    let options = options.event_listener(move |event| {
        let is_it = match event {
            Event::Tls(TlsEvent::HandshakeStarted(_))
            | Event::Tls(TlsEvent::HandshakeSucceeded(_)) => true,
            Event::Command(CommandEvent::Started(started)) => started.info.command_name == "ping",
            _ => false,
        };
        if !is_it || forked.load(Ordering::SeqCst) {
            return;
        }
        // SAFETY: as in `fork`; the child ends below, after the operation that it was in.
        #[allow(unsafe_code)]
        let id = unsafe { libc::fork() };
        if id == 0 {
            forked.store(true, Ordering::SeqCst);
            // SAFETY: sets a timer of this process.
            #[allow(unsafe_code)]
            unsafe {
                libc::alarm(20);
            }
        } else {
            children.lock().unwrap().push(id);
            // The child has finished before the parent continues.
            wait_for(id, Instant::now() + LIMIT);
        }
    });
    let client = Client::with_options(options.build().unwrap()).unwrap();
    wait_for_check(&client, Instant::now() + LIMIT);
    // The program makes a connection too: the metadata on the monitor's connection is out of date.
    client.append_metadata(&DriverInfo::new("anew")).unwrap();
    let outcome = client.database("admin").run_command(doc! { "ping": 1 });
    if is_child.load(Ordering::SeqCst) {
        let failed = outcome.is_err();
        let goes_on = client.database("admin").run_command(doc! { "ping": 1 });
        // SAFETY: ends the process.
        #[allow(unsafe_code)]
        unsafe {
            libc::_exit(i32::from(!failed) + 2 * i32::from(goes_on.is_err()))
        }
    }
    outcome.unwrap();
    ping(&client);
    // At two points of each handshake, the monitor's and the program's, and in the command.
    assert_eq!(ids.lock().unwrap().len(), 5);
    println!("ok: a child that leaves a listener writes nothing");
}
