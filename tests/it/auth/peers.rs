//! FerretDB with authentication.

use mongotls::bson::doc;
use mongotls::error::Stage;
use mongotls::{CauseCode, Client, ErrorKind};
use mongotls_testbench::peers::{FerretDb, FerretDbOptions, or_skip};
use mongotls_testbench::pki::{Ca, KeyKind, LeafSpec, PkiDir};

use serde_json::{Value, json};

use super::work;
use crate::cli::mongotls;
use crate::common::code;

#[test]
fn ferretdb_accepts_its_users_and_rejects_others() {
    let ca = Ca::root("ferret root", KeyKind::EcP256);
    let identity = ca.issue(LeafSpec::local_server());
    let options = FerretDbOptions::tls(&identity).user("ada", "pen/cil");
    let Some(server) = or_skip(FerretDb::start(&options)) else {
        return;
    };
    let dir = PkiDir::new();
    let ca_file = dir.write("ca.pem", ca.cert_pem());
    let uri = |user: &str, options: &str| {
        format!(
            "mongodb://{user}localhost:{}/?tls=true&tlsCAFile={}{options}",
            server.addr().port(),
            ca_file.display()
        )
    };
    let error = work(&uri("", "")).unwrap_err();
    assert!(error.command().is_some(), "{error}");

    // "Driver Authentication", "Test Plan", steps 1 and 4.
    let admin = Client::connect(&uri("ada:pen%2Fcil@", ""))
        .unwrap()
        .database("admin");
    let both = ["SCRAM-SHA-1", "SCRAM-SHA-256"];
    for (name, password, mechanisms) in [
        ("sha1", "sha1", &both[..1]),
        ("sha256", "sha256", &both[1..]),
        ("both", "both", &both),
        ("IX", "IX", &both[1..]),
        ("\u{2168}", "\u{2163}", &both[1..]),
    ] {
        let create =
            doc! { "createUser": name, "pwd": password, "roles": [], "mechanisms": mechanisms };
        admin.run_command(create).unwrap();
    }

    let passes = |user: &str, options: &str| {
        let outcome = work(&uri(&format!("{user}@"), options));
        outcome.unwrap_or_else(|error| panic!("{user} {options}: {error:?}"));
    };
    let fails = |user: &str, options: &str, expected: CauseCode| {
        let uri = uri(&format!("{user}@"), options);
        let error = work(&uri).unwrap_err();
        assert_eq!(error.stage(), Some(Stage::Authentication), "{error}");
        assert_eq!(error.kind(), ErrorKind::Authentication, "{error}");
        assert_eq!(code(&error), expected, "{error}");
        let run = mongotls(&["doctor", &uri, "--json"]);
        let object: Value = serde_json::from_str(&run.out).unwrap();
        assert_eq!(
            (run.code, object["cause"].as_str()),
            (1, Some(expected.as_str()))
        );
        object
    };
    const SHA_1: &str = "&authMechanism=SCRAM-SHA-1";
    const SHA_256: &str = "&authMechanism=SCRAM-SHA-256";
    // Step 2.
    for (user, mechanisms) in [
        ("ada:pen%2Fcil", &["", SHA_1, SHA_256][..]),
        ("sha1:sha1", &["", SHA_1]),
        ("sha256:sha256", &["", SHA_256]),
        ("both:both", &["", SHA_1, SHA_256]),
        ("IX:IX", &[""]),
        ("IX:I%C2%ADX", &[""]),
        ("%E2%85%A8:IV", &[""]),
        ("%E2%85%A8:I%C2%ADV", &[""]),
    ] {
        mechanisms.iter().for_each(|options| passes(user, options));
    }
    // Step 3, and the doctor's result for it.
    let unavailable = CauseCode::MechanismUnavailable;
    let told = fails("sha1:sha1", SHA_256, unavailable);
    assert_eq!(told["facts"]["user_mechanisms"], json!(["SCRAM-SHA-1"]));
    let told = fails("sha256:sha256", SHA_1, unavailable);
    assert_eq!(told["facts"]["user_mechanisms"], json!(["SCRAM-SHA-256"]));
    for options in ["", SHA_1, SHA_256] {
        let told = fails("both:wrong", options, CauseCode::AuthenticationFailed);
        assert!(
            told["remedy"]
                .as_str()
                .unwrap()
                .contains("Correct the password"),
            "{told:#}"
        );
        let told = fails("eve:both", options, CauseCode::AuthenticationFailed);
        assert!(
            told["remedy"]
                .as_str()
                .unwrap()
                .contains("Correct the user name"),
            "{told:#}"
        );
    }
    let told = fails(
        "both:both",
        "&authSource=things",
        CauseCode::AuthenticationFailed,
    );
    assert_eq!(told["facts"]["known_in"], json!(["admin"]));
}
