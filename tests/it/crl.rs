//! A long CRL: loaded once for a client, whatever place an entry has in it.

use std::fs;
use std::thread;
use std::time::Duration;

use mongotls::{CauseCode, Client};
use mongotls_testbench::pki::{DAY, Identity, LeafSpec, Revocation, random_serial};
use mongotls_testbench::server::ServerTls;
use openssl::bn::BigNum;
use openssl::x509::{CrlReason, X509Crl};

use crate::common::{Bench, code, fact, ping_on};

const ENTRIES: usize = 30_000;

/// A CRL, and the servers that are its first, middle and last entry. Their serial numbers are the largest,
/// some, and the smallest of all, so that sorting turns the list around.
struct Listed {
    crl: X509Crl,
    /// With the reason that the CRL gives.
    servers: Vec<(Identity, &'static str)>,
}

impl Listed {
    fn new(bench: &Bench) -> Self {
        let cases = [
            (
                BigNum::from_slice(&[0x7f; 16]).unwrap(),
                CrlReason::KEY_COMPROMISE,
                "keyCompromise",
                30,
            ),
            (random_serial(), CrlReason::SUPERSEDED, "superseded", 20),
            (
                BigNum::from_u32(1).unwrap(),
                CrlReason::CESSATION_OF_OPERATION,
                "cessationOfOperation",
                10,
            ),
        ];
        let mut crl = bench.ca.crl();
        let mut servers = Vec::new();
        for (serial, reason, name, days) in cases {
            if !servers.is_empty() {
                crl = (0..ENTRIES / 2).fold(crl, |crl, _| {
                    crl.revoke(Revocation::of_serial(&random_serial()))
                });
            }
            let identity = bench.ca.issue(LeafSpec::local_server().serial(serial));
            crl = crl.revoke(
                Revocation::of(&identity.cert)
                    .reason(reason)
                    .at(-days * DAY),
            );
            servers.push((identity, name));
        }
        let crl = crl.build();
        Self { crl, servers }
    }

    /// Each server is refused for what the CRL says of it, and one that is not listed is let in, by a
    /// full handshake each time.
    fn check(&self, bench: &Bench, client: &Client) {
        let mut dates = Vec::new();
        for (identity, reason) in &self.servers {
            bench.server.set_tls(&ServerTls::new(identity));
            let error = ping_on(client).unwrap_err();
            assert_eq!(code(&error), CauseCode::RevokedCrl, "{error}");
            assert_eq!(fact(&error, "serial"), identity.serial_hex());
            assert_eq!(fact(&error, "reason"), *reason);
            dates.push(fact(&error, "revoked_at"));
        }
        assert!(dates[0] < dates[1] && dates[1] < dates[2], "{dates:?}");

        for _ in 0..3 {
            let good = bench.ca.issue(LeafSpec::local_server());
            bench.server.set_tls(&ServerTls::new(&good));
            ping_on(client).unwrap();
            // The connection is idle for too long, and the next ping makes a new one.
            thread::sleep(Duration::from_millis(5));
        }
        assert_eq!(bench.server.counts().resumed, 0);
    }
}

#[test]
fn a_long_crl_is_loaded_once_and_each_of_its_entries_is_found() {
    let bench = Bench::sound();
    let listed = Listed::new(&bench);
    for (name, bytes) in [
        ("crl.pem", listed.crl.to_pem().unwrap()),
        ("crl.der", listed.crl.to_der().unwrap()),
    ] {
        let path = bench.dir.write(name, bytes);
        let client = bench.client(&format!(
            "&tlsCRLFile={}&maxIdleTimeMS=1{}",
            path.display(),
            bench.without_monitors()
        ));
        // What is not there cannot be read once more.
        fs::remove_file(&path).unwrap();
        let accepted = bench.server.counts().accepted;
        listed.check(&bench, &client);
        assert!(bench.server.counts().accepted >= accepted + 6, "{name}");
        assert_eq!(
            code(&client.reload_tls().unwrap_err()),
            CauseCode::CrlFileUnreadable
        );
        listed.check(&bench, &client);
    }
}

#[test]
fn a_damaged_crl_among_sound_ones_is_not_left_out() {
    let bench = Bench::sound();
    let sound = String::from_utf8(bench.ca.crl().build().to_pem().unwrap()).unwrap();
    let lines: Vec<_> = sound.lines().collect();
    let without_a_line = [&lines[..2], &lines[3..]].concat().join("\n");
    let with_a_star = sound.replacen("\nMI", "\n*I", 1);
    for damaged in [without_a_line, with_a_star] {
        let path = bench
            .dir
            .write("crl.pem", format!("{sound}{damaged}\n{sound}"));
        let uri = bench.uri(&format!("&tlsCRLFile={}", path.display()));
        let error = Client::connect(&uri).unwrap_err();
        assert_eq!(code(&error), CauseCode::CrlFileInvalid);
        assert_eq!(fact(&error, "holds"), "a CRL");
        assert!(error.to_string().contains("cannot be decoded"), "{error}");
    }
}
