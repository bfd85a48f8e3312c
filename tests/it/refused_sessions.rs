//! Servers that issue TLS sessions and then fail a handshake that offers one.

use std::io::{self, Read, Write};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread;
use std::time::Duration;

use mongotls::error::Stage;
use mongotls::options::TlsOptions;
use mongotls::tls::TlsContext;
use mongotls::{CauseCode, Client, ClientOptions, doctor};
use mongotls_testbench::fault::Fault;
use mongotls_testbench::net::Socket;
use mongotls_testbench::pki::{Ca, KeyKind, LeafSpec};
use mongotls_testbench::server::{ClientAuth, Server, ServerTls};
use mongotls_testbench::stranger::Stranger;
use openssl::ssl::{Ssl, SslVersion};

use crate::common::{Bench, code, ping_on};

const VERSIONS: [SslVersion; 2] = [SslVersion::TLS1_2, SslVersion::TLS1_3];

/// A server that requests client certificates, and the options of a client that has one.
fn asking(version: SslVersion, change: impl FnOnce(ServerTls) -> ServerTls) -> (Bench, String) {
    let ca = Ca::root("bench root", KeyKind::EcP256);
    let tls = ServerTls::new(&ca.issue(LeafSpec::local_server()))
        .client_auth(ClientAuth::Require, &[ca.cert()])
        .versions(version, version);
    let bench = Bench::around(Server::builder().tls(change(tls)).start(), ca);
    let own = bench.ca.issue(LeafSpec::client("client"));
    let own = bench.dir.write("client.pem", own.bundle_pem());
    let options = format!("&tlsCertificateKeyFile={}", own.display());
    (bench, options)
}

/// A server without a session ID context, such as one of pyOpenSSL.
fn refusing(version: SslVersion) -> (Bench, String) {
    asking(version, ServerTls::without_session_id_context)
}

/// A client without monitors that makes a new connection for each command.
fn dialing(bench: &Bench, options: &str) -> Client {
    let monitors = bench.without_monitors();
    bench.client(&format!("&maxIdleTimeMS=1{monitors}{options}"))
}

/// Waits until the connection of the last command has been idle for too long.
fn pause() {
    thread::sleep(Duration::from_millis(5));
}

/// The failed handshakes of the server, by its errors.
fn failures(server: &Server) -> Vec<String> {
    let seen = server.connections().into_iter();
    seen.filter_map(|connection| connection.handshake_error)
        .collect()
}

#[test]
fn a_refused_session_fails_no_command() {
    for version in VERSIONS {
        let (bench, options) = refusing(version);
        let client = dialing(&bench, &options);
        for _ in 0..13 {
            ping_on(&client).unwrap();
            pause();
        }
        // The second command offered a session and was dialed again without one; the others offered none.
        let counts = bench.server.counts();
        assert_eq!((counts.accepted, counts.resumed), (14, 0), "{version:?}");
        let failures = failures(&bench.server);
        assert_eq!(failures.len(), 1, "{failures:?}");
        let why = "session id context uninitialized";
        assert!(failures[0].contains(why), "{failures:?}");
        assert_eq!(client.snapshot().full_handshakes, 13);
    }
}

#[test]
fn a_refused_session_fails_no_check_of_a_monitor() {
    for version in VERSIONS {
        let (bench, options) = refusing(version);
        let client = bench.client(&options);
        thread::scope(|scope| {
            for _ in 0..8 {
                scope.spawn(|| ping_on(&client).unwrap());
            }
        });
    }
}

#[test]
fn a_context_alone_offers_no_session_after_a_refusal() {
    let (bench, _) = refusing(SslVersion::TLS1_3);
    let own = bench.dir.path().join("client.pem");
    let options = TlsOptions::builder().ca_file(&bench.ca_file);
    let options = options.certificate_key_file(own).build().unwrap();
    let context = TlsContext::new(&options).unwrap();
    let dial = || {
        let socket = std::net::TcpStream::connect(bench.server.addr()).unwrap();
        let stream = context.connect("localhost", socket)?;
        let mut peer = mongotls_testbench::client::RawClient::over(stream);
        peer.legacy_hello().unwrap();
        Ok::<_, mongotls::Error>(())
    };
    dial().unwrap();
    let error = dial().unwrap_err();
    assert_eq!(code(&error), CauseCode::TlsAlert);
    let message = "the server ended the handshake with the alert internal_error";
    assert_eq!(error.cause().unwrap().message(), message);
    for _ in 0..3 {
        dial().unwrap();
    }
    assert_eq!(
        (context.full_handshakes(), context.resumed_handshakes()),
        (4, 0)
    );
}

/// A stream whose bytes are changed on request, so that OpenSSL sends an alert.
struct Spoiled {
    inner: Socket,
    is_spoiled: Arc<AtomicBool>,
}

impl Read for Spoiled {
    fn read(&mut self, buf: &mut [u8]) -> io::Result<usize> {
        let count = self.inner.read(buf)?;
        // Not the header of the record, which is read separately.
        if self.is_spoiled.load(Ordering::Relaxed) && count > 5 {
            buf[count - 1] ^= 1;
        }
        Ok(count)
    }
}

impl Write for Spoiled {
    fn write(&mut self, buf: &[u8]) -> io::Result<usize> {
        self.inner.write(buf)
    }

    fn flush(&mut self) -> io::Result<()> {
        self.inner.flush()
    }
}

/// In TLS 1.3 the client's side of the handshake ends before the server has processed it.
#[test]
fn a_session_refused_after_the_handshake_fails_no_command() {
    let ca = Ca::root("bench root", KeyKind::EcP256);
    let tls = ServerTls::new(&ca.issue(LeafSpec::local_server()));
    let tls = tls.versions(SslVersion::TLS1_3, SslVersion::TLS1_3);
    let behind = Server::builder().start();
    let address = behind.addr();
    let context = tls.context().unwrap();
    let front = Stranger::start(move |socket, _| {
        let is_spoiled = Arc::new(AtomicBool::new(false));
        let inner = Spoiled {
            inner: socket,
            is_spoiled: Arc::clone(&is_spoiled),
        };
        let Ok(mut stream) = Ssl::new(&context).unwrap().accept(inner) else {
            return;
        };
        is_spoiled.store(stream.ssl().session_reused(), Ordering::Relaxed);
        // One command and its reply at a time.
        let mut server = std::net::TcpStream::connect(address).unwrap();
        let mut bytes = [0; 1 << 16];
        while let Ok(count @ 1..) = stream.read(&mut bytes) {
            server.write_all(&bytes[..count]).unwrap();
            let count = server.read(&mut bytes).unwrap();
            stream.write_all(&bytes[..count]).unwrap();
        }
    });
    let bench = Bench::around(behind, ca);
    let monitors = bench.without_monitors();
    let uri = format!(
        "mongodb://localhost:{}/?tls=true&tlsCAFile={}&maxIdleTimeMS=1{monitors}",
        front.addr().port(),
        bench.ca_file.display()
    );
    let client = Client::connect(&uri).unwrap();
    for _ in 0..5 {
        ping_on(&client).unwrap();
        pause();
    }
    let snapshot = client.snapshot();
    let handshakes = (snapshot.full_handshakes, snapshot.resumed_handshakes);
    assert_eq!(handshakes, (5, 1));
}

#[test]
fn a_cut_or_silence_stops_the_offer_and_nothing_else() {
    let cases = [
        (Fault::close_after(0), CauseCode::ConnectionClosed),
        (Fault::reset_after(0), CauseCode::ConnectionReset),
        (Fault::stall_after(0), CauseCode::HandshakeTimeout),
    ];
    for version in VERSIONS {
        for (fault, expected) in cases.clone() {
            let bench = Bench::with(
                KeyKind::EcP256,
                |leaf| leaf,
                |tls| tls.versions(version, version),
            );
            let client = dialing(&bench, "&connectTimeoutMS=2000&maxAdaptiveRetries=0");
            ping_on(&client).unwrap();
            pause();
            ping_on(&client).unwrap();
            pause();
            let before = bench.server.counts();
            assert_eq!((before.accepted, before.resumed), (2, 1));
            bench.server.faults().next(1, fault);
            let error = ping_on(&client).unwrap_err();
            assert_eq!(code(&error), expected, "{version:?} {error}");
            if error.stage() == Some(Stage::Connect) {
                continue; // a reset that came before TLS began
            }
            // No second connection: neither the same command's nor a probe's that got the fault.
            let handshakes = client.snapshot();
            assert_eq!(
                handshakes.full_handshakes + handshakes.resumed_handshakes,
                2
            );
            for full in 2..=4 {
                pause();
                ping_on(&client).unwrap();
                assert_eq!(client.snapshot().full_handshakes, full);
            }
            assert_eq!(bench.server.counts().resumed, 1);
        }
    }
}

#[test]
fn a_refusal_that_no_session_caused_is_not_dialed_again() {
    for version in VERSIONS {
        let (bench, options) = asking(version, |tls| tls);
        let client = dialing(&bench, &options);
        ping_on(&client).unwrap();
        pause();
        // Our own verdict, with a session that this server does not know.
        let stranger = Ca::root("stranger", KeyKind::EcP256);
        let tls = |identity, ca: &Ca| {
            ServerTls::new(identity)
                .client_auth(ClientAuth::Require, &[ca.cert()])
                .versions(version, version)
        };
        let identity = stranger.issue(LeafSpec::local_server());
        bench.server.set_tls(&tls(&identity, &bench.ca));
        let error = ping_on(&client).unwrap_err();
        assert_eq!(code(&error), CauseCode::IssuerUnknown, "{error}");
        assert_eq!(bench.server.counts().accepted, 2);

        // The server's verdict on the client's certificate, after it has declined the session.
        let identity = bench.ca.issue(LeafSpec::local_server());
        bench.server.set_tls(&tls(&identity, &bench.ca));
        ping_on(&client).unwrap();
        pause();
        bench.server.set_tls(&tls(&identity, &stranger));
        let error = ping_on(&client).unwrap_err();
        let expected = CauseCode::ClientCertificateUntrusted;
        assert_eq!(code(&error), expected, "{error}");
        assert_eq!(bench.server.counts().accepted, 4, "{version:?}");
    }
}

#[test]
fn the_doctor_reports_a_server_that_refuses_its_own_sessions() {
    for version in VERSIONS {
        let (bench, options) = refusing(version);
        let diagnosis = doctor::examine(&bench.uri(&options));
        assert!(diagnosis.is_ok());
        assert_eq!(
            diagnosis.examinations[0].warnings,
            [
                "a second connection, which offered the TLS session of the first one, failed: the server ended the handshake with the alert internal_error; the server issues sessions that it does not accept. Set a session ID context at the server (SSL_CTX_set_session_id_context in OpenSSL, Context.set_session_id in pyOpenSSL), or tlsSessionResumption=false in the connection string."
            ]
        );
        assert_eq!(bench.server.counts().accepted, 2);
        let off = bench.uri(&format!("{options}&tlsSessionResumption=false"));
        let diagnosis = doctor::examine(&off);
        assert_eq!(diagnosis.examinations[0].warnings, [""; 0]);
        assert_eq!(bench.server.counts().accepted, 3);
    }
}

#[test]
fn the_doctor_is_silent_about_a_resuming_server() {
    let bench = Bench::sound();
    let diagnosis = doctor::examine(&bench.uri(""));
    assert_eq!(diagnosis.examinations[0].warnings, [""; 0]);
    let settled = Duration::from_secs(5);
    let resumed = |server: &Server| server.counts().resumed == 1;
    assert!(bench.server.wait_until(settled, resumed));
    assert!(!diagnosis.examinations[0].handshake().unwrap().resumed());
}

#[test]
fn a_connection_string_can_switch_resumption_off() {
    let bench = Bench::sound();
    let client = dialing(&bench, "&tlsSessionResumption=false");
    for _ in 0..3 {
        ping_on(&client).unwrap();
        pause();
    }
    assert_eq!(bench.server.counts().resumed, 0);
    let resumes = |uri: &str| {
        let (options, warnings) = ClientOptions::parse(uri).unwrap();
        assert!(warnings.is_empty());
        options.tls().unwrap().session_resumption()
    };
    assert!(resumes("mongodb://h/?tls=true"));
    assert!(resumes("mongodb://h/?tlsSessionResumption=true"));
    assert!(!resumes("mongodb://h/?TLSsessionResumption=false"));
    let twice = "mongodb://h/?tlsSessionResumption=true&tlsSessionResumption=false";
    let error = ClientOptions::parse(twice).unwrap_err();
    let message = "tlsSessionResumption is given twice, with different values";
    assert_eq!(error.cause().unwrap().message(), message);
}
