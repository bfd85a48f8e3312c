//! A real server: FerretDB, over its own TLS listener (Go's TLS) and behind HAProxy (OpenSSL's TLS), through the public
//! API and through the command line.

use mongotls::bson::{Document, doc};
use mongotls::{CauseCode, Client, ErrorKind, Written};
use mongotls_testbench::peers::{FerretDb, FerretDbOptions, HaProxy, HaProxyOptions, or_skip};
use mongotls_testbench::pki::{Ca, KeyKind, LeafSpec, PkiDir};

use crate::cli::{Run, mongotls};
use crate::common::{code, ping_error};

/// FerretDB with both of its TLS fronts.
struct Fronts {
    uris: Vec<(&'static str, String)>,
    other_ca: std::path::PathBuf,
    _servers: (FerretDb, FerretDb, HaProxy),
    _dir: PkiDir,
}

impl Fronts {
    fn start() -> Option<Self> {
        let ca = Ca::root("ferret root", KeyKind::EcP256);
        let identity = ca
            .intermediate("ferret intermediate", KeyKind::Rsa(2048))
            .issue(LeafSpec::local_server().key_kind(KeyKind::Rsa(2048)));
        let go = or_skip(FerretDb::start(&FerretDbOptions::tls(&identity)))?;
        let behind = or_skip(FerretDb::start(&FerretDbOptions::plain()))?;
        let front = or_skip(HaProxy::start(&HaProxyOptions::new(
            &identity,
            behind.addr(),
        )))?;
        let dir = PkiDir::new();
        let ca_file = dir.write("ca.pem", ca.cert_pem());
        let other_ca = dir.write("other.pem", Ca::root("other", KeyKind::EcP256).cert_pem());
        let uri = |port: u16| {
            format!(
                "mongodb://localhost:{port}/?tls=true&tlsCAFile={}",
                ca_file.display()
            )
        };
        let uris = vec![
            ("Go's TLS", uri(go.addr().port())),
            ("HAProxy", uri(front.addr().port())),
        ];
        Some(Self {
            uris,
            other_ca,
            _servers: (go, behind, front),
            _dir: dir,
        })
    }
}

#[test]
fn ferretdb_serves_ping_insert_find_and_errors_by_api() {
    let Some(fronts) = Fronts::start() else {
        return;
    };
    for (front, uri) in &fronts.uris {
        let client = Client::connect(uri).unwrap();
        let report = client
            .server_report()
            .unwrap_or_else(|error| panic!("{front}: {error}"));
        assert!(
            report.handshake.unwrap().is_verified() && report.hello.is_writable_primary,
            "{front}"
        );
        let database = client.database("api");
        assert_eq!(
            database
                .run_command(doc! { "ping": 1 })
                .unwrap()
                .get_f64("ok")
                .unwrap(),
            1.0
        );

        let documents: Vec<Document> = (0..250)
            .map(|n| doc! { "_id": n, "text": "x".repeat(100) })
            .collect();
        let reply = database
            .run_command(doc! { "insert": "things", "documents": documents })
            .unwrap();
        assert_eq!(reply.get_i32("n").unwrap(), 250);

        let find = doc! { "find": "things", "sort": { "_id": 1 }, "batchSize": 60 };
        let found = database
            .run_cursor_command::<Document>(find)
            .unwrap()
            .batch_size(60);
        let ids: Vec<i32> = found
            .map(|document| document.unwrap().get_i32("_id").unwrap())
            .collect();
        assert_eq!(ids, (0..250).collect::<Vec<_>>(), "{front}");

        let error = database
            .run_command(doc! { "noSuchCommand": 1 })
            .unwrap_err();
        assert_eq!(
            (error.kind(), error.command().unwrap().code),
            (ErrorKind::Command, 59),
            "{front}: {error}"
        );
        let duplicate = database
            .run_command(doc! { "insert": "things", "documents": [{ "_id": 1 }] })
            .unwrap();
        assert_eq!(
            duplicate.get_array("writeErrors").unwrap().len(),
            1,
            "{front}"
        );
    }
}

/// FerretDB counts no documents in the reply to a write that has failed.
#[test]
fn a_rejected_update_is_a_write_error() {
    let Some(server) = or_skip(FerretDb::start(&FerretDbOptions::plain())) else {
        return;
    };
    let client = Client::connect(&format!("mongodb://{}/", server.addr())).unwrap();
    let things = client.database("test").collection::<Document>("rejected");
    things.insert_one(doc! { "_id": 1 }).run().unwrap();
    let update = doc! { "$unknown": { "n": 1 } };
    let one = things.update_one(doc! { "_id": 1 }, update.clone()).run();
    let many = things.update_many(doc! { "_id": 1 }, update).run();
    for (error, written) in [
        (one.unwrap_err(), Written::No),
        (many.unwrap_err(), Written::No),
    ] {
        let failure = error.write_failure().unwrap();
        assert_eq!(failure.errors[0].code, 9, "{error}");
        assert_eq!(error.written(), written);
    }
}

#[test]
fn ferretdb_serves_ping_insert_find_and_errors_by_cli() {
    let Some(fronts) = Fronts::start() else {
        return;
    };
    for (front, uri) in &fronts.uris {
        let Run { code, out, err } = mongotls(&["ping", uri]);
        assert!(
            code == 0 && out.contains("verified") && out.contains("TLSv1.3"),
            "{front}: {out}{err}"
        );

        let documents: Vec<String> = (0..150).map(|n| format!("{{\"_id\": {n}}}")).collect();
        let insert = format!(
            "{{\"insert\": \"cli\", \"documents\": [{}]}}",
            documents.join(",")
        );
        let Run { code, out, .. } = mongotls(&["run", uri, "test", &insert]);
        assert!(code == 0 && out.contains("\"n\": 150"), "{front}: {out}");

        let Run { code, out, .. } = mongotls(&[
            "run",
            uri,
            "test",
            r#"{"find": "cli", "sort": {"_id": 1}, "batchSize": 20}"#,
            "--all",
        ]);
        let lines: Vec<&str> = out.lines().collect();
        assert_eq!(
            (code, lines.len(), lines[149]),
            (0, 150, "{\"_id\":149}"),
            "{front}"
        );

        let Run { code, err, .. } = mongotls(&["run", uri, "test", r#"{"noSuchCommand": 1}"#]);
        assert!(
            code == 1 && err.contains("CommandNotFound"),
            "{front}: {err}"
        );

        let Run { code, out, .. } = mongotls(&["doctor", uri]);
        assert!(
            code == 0 && out.contains("all is well") && out.contains("CN=ferret intermediate"),
            "{front}: {out}"
        );
    }
}

#[test]
fn a_wrong_ca_is_reported_for_both_ferretdb_servers() {
    let Some(fronts) = Fronts::start() else {
        return;
    };
    for (front, uri) in &fronts.uris {
        let (before, _) = uri.split_once("tlsCAFile=").unwrap();
        let error = ping_error(&format!("{before}tlsCAFile={}", fronts.other_ca.display()));
        assert_eq!(code(&error), CauseCode::IssuerUnknown, "{front}: {error}");
    }
}

#[test]
fn ferretdb_without_tls_is_recognised() {
    let Some(plain) = or_skip(FerretDb::start(&FerretDbOptions::plain())) else {
        return;
    };
    let error = ping_error(&format!(
        "mongodb://{}/?tls=true&connectTimeoutMS=3000",
        plain.addr()
    ));
    assert_eq!(code(&error), CauseCode::ServerNotTls, "{error}");
}
