//! OpenSSL's error queue, which all code in a thread shares: errors of other code have no effect, and this crate leaves
//! no errors in it.

use std::net::TcpStream;
use std::path::Path;
use std::thread;
use std::time::Duration;

use mongotls::bson::doc;
use mongotls::cause::Category;
use mongotls::options::TlsOptions;
use mongotls::tls::{FileReport, Library, TlsContext};
use mongotls::{CauseCode, Client};
use mongotls_testbench::pki::{Identity, KeyKind, LeafSpec};
use openssl::error::ErrorStack;
use openssl::pkey::PKey;

use crate::common::{Bench, code, ping_on};

/// Simulates other code in the thread: fails, and does not read the error.
fn leave_an_error() {
    PKey::private_key_from_pem(b"no key").unwrap_err().put();
}

/// Returns the errors in the queue, and empties it.
fn left() -> Vec<String> {
    let stack = ErrorStack::get();
    stack.errors().iter().map(ToString::to_string).collect()
}

#[test]
fn errors_of_others_cost_no_idle_connection() {
    let bench = Bench::sound();
    let client = bench.client(bench.without_monitors());
    ping_on(&client).unwrap();
    let handshakes = |client: &Client| {
        let snapshot = client.snapshot();
        snapshot.full_handshakes + snapshot.resumed_handshakes
    };
    assert_eq!(handshakes(&client), 1);
    // A connection that was idle for a second is checked before it is used.
    thread::sleep(Duration::from_millis(1100));
    leave_an_error();
    ping_on(&client).unwrap();
    assert_eq!(handshakes(&client), 1);
    assert_eq!(left(), [""; 0]);
}

#[test]
fn errors_of_others_do_not_explain_a_closed_connection() {
    let bench = Bench::sound();
    let client = bench.client(bench.without_monitors());
    let mut outcomes = [false, true].map(|is_dirty| {
        ping_on(&client).unwrap();
        bench.server.cut();
        if is_dirty {
            leave_an_error();
        }
        let error = ping_on(&client).unwrap_err();
        (error.to_string(), code(&error), left())
    });
    let [clean, dirty] = &mut outcomes;
    assert_eq!(dirty, clean);
    assert_eq!(clean.1, CauseCode::ConnectionClosed, "{}", clean.0);
}

#[test]
fn errors_of_others_do_not_explain_a_wrong_password() {
    let bench = Bench::sound();
    let identity = bench.ca.issue(LeafSpec::client("client"));
    let key = identity.encrypted_key_pem("right");
    let path = bench
        .dir
        .write("own.pem", [identity.cert_pem(), key].concat());
    let options = TlsOptions::builder().certificate_key_file(&path);
    let options = options
        .certificate_key_file_password("wrong")
        .build()
        .unwrap();
    let attempt = || {
        let error = TlsContext::new(&options).unwrap_err();
        (error.to_string(), code(&error))
    };
    let clean = attempt();
    leave_an_error();
    assert_eq!(attempt(), clean);
    assert_eq!(clean.1, CauseCode::KeyPasswordWrong);
}

#[test]
fn calls_of_every_kind_leave_no_error_behind() {
    let bench = Bench::sound();
    let dir = &bench.dir;
    let junk = dir.write(
        "junk.pem",
        "-----BEGIN CERTIFICATE-----\nAAAA\n-----END CERTIFICATE-----\n",
    );
    let own = Identity::self_signed(LeafSpec::client("client"));
    let locked = dir.write(
        "locked.pem",
        [own.cert_pem(), own.encrypted_key_pem("right")].concat(),
    );
    let key = dir.write("key.pem", own.key_pem());
    let context = |options: TlsOptions| TlsContext::new(&options);
    let files = |path: &Path| context(TlsOptions::builder().ca_file(path).build().unwrap());
    let connect = |bench: &Bench| {
        let options = TlsOptions::builder()
            .ca_file(&bench.ca_file)
            .build()
            .unwrap();
        let stream = TcpStream::connect(bench.server.addr()).unwrap();
        context(options).unwrap().connect("localhost", stream)
    };
    let calls: &[(&str, &dyn Fn())] = &[
        ("a CA file that cannot be decoded", &|| {
            assert_eq!(code(&files(&junk).unwrap_err()), CauseCode::CaFileInvalid);
        }),
        ("a CA file that holds a key", &|| {
            assert_eq!(code(&files(&key).unwrap_err()), CauseCode::CaFileInvalid);
        }),
        ("a wrong password", &|| {
            let options = TlsOptions::builder().ca_file(&bench.ca_file);
            let options = options
                .certificate_key_file(&locked)
                .certificate_key_file_password("wrong");
            let error = context(options.build().unwrap()).unwrap_err();
            assert_eq!(code(&error), CauseCode::KeyPasswordWrong);
        }),
        ("an unknown cipher", &|| {
            let options = TlsOptions::builder()
                .ca_file(&bench.ca_file)
                .protocol(|set| set.cipher_list("NO-SUCH"));
            let error = context(options.build().unwrap()).unwrap_err();
            assert_eq!(code(&error), CauseCode::OptionConflict);
        }),
        ("a store that is not there", &|| {
            let options = TlsOptions::builder().ca_file(&bench.ca_file);
            let options = options.certificate_file_and_key_uri(&locked, "file:/no/such/key");
            context(options.build().unwrap()).unwrap_err();
        }),
        ("a look at a file", &|| {
            assert!(!FileReport::of(&junk, None).is_ok());
            FileReport::of(&locked, None);
        }),
        ("a look at the library", &|| {
            Library::inspect();
        }),
        ("a sound handshake and its report", &|| {
            let mut stream = connect(&bench).unwrap();
            assert_eq!(stream.report().peer_chain().len(), 1);
            assert_eq!(stream.report().verified_chain().len(), 2);
            stream.report().revocation();
            stream.shutdown().unwrap();
        }),
        ("a refused certificate", &|| {
            let other = Bench::sound();
            let options = TlsOptions::builder()
                .ca_file(&other.ca_file)
                .build()
                .unwrap();
            let stream = TcpStream::connect(bench.server.addr()).unwrap();
            let error = context(options)
                .unwrap()
                .connect("localhost", stream)
                .unwrap_err();
            let cause = error.cause().unwrap();
            assert_eq!(cause.category(), Category::Certificate);
        }),
        ("a staple that cannot be decoded", &|| {
            let spoilt = Bench::with(KeyKind::EcP256, |leaf| leaf, |tls| tls.staple("junk"));
            let error = connect(&spoilt).unwrap_err();
            assert_eq!(code(&error), CauseCode::OcspStapleInvalid);
        }),
        ("a connection that is cut", &|| {
            let client = bench.client("");
            ping_on(&client).unwrap();
            bench.server.cut();
            let _ = ping_on(&client);
            let hello = doc! { "hello": 1 };
            client.database("admin").run_command(hello).unwrap();
        }),
    ];
    for (name, call) in calls {
        call();
        assert_eq!(left(), [""; 0], "{name}");
        // This also holds if the queue was not empty.
        leave_an_error();
        call();
        assert_eq!(left(), [""; 0], "{name}, after an error of others");
    }
}
