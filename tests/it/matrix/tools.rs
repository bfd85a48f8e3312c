//! Causes with certificates, keys and CRLs from the `openssl` command line, as an administrator would make them.

use std::process::Command;

use mongotls::CauseCode;
use mongotls_testbench::peers::{SServer, or_skip};
use mongotls_testbench::pki::{Identity, PkiDir};
use openssl::pkey::PKey;
use openssl::x509::{X509, X509Crl};

use super::{Expected, Seen, shown, time};

/// A folder in which `openssl` works.
struct Workshop(PkiDir);

impl Workshop {
    fn new() -> Self {
        let dir = PkiDir::new();
        dir.write("serial", "1000\n");
        dir.write("crlnumber", "01\n");
        dir.write("index.txt", "");
        dir.write("openssl.cnf", CONFIGURATION);
        let shop = Self(dir);
        for (name, subject) in [("ca", "/O=Acme/CN=Acme CA"), ("other", "/CN=Other CA")] {
            let words =
                "req -x509 -config openssl.cnf -extensions v3_ca -newkey rsa:2048 -nodes -days 30";
            let (key, cert) = (format!("{name}.key"), format!("{name}.pem"));
            shop.run(words, &["-subj", subject, "-keyout", &key, "-out", &cert]);
        }
        shop
    }

    fn run(&self, words: &str, more: &[&str]) {
        let output = Command::new("openssl")
            .args(words.split_whitespace())
            .args(more)
            .current_dir(self.0.path())
            .output()
            .unwrap();
        assert!(
            output.status.success(),
            "{words} {more:?}: {}",
            String::from_utf8_lossy(&output.stderr)
        );
    }

    /// A server's certificate, signed by `openssl ca` with these dates and extensions.
    fn issue(&self, name: &str, key: &str, ca: &str, dates: &str, extensions: &str) -> Identity {
        let request = format!(
            "req -config openssl.cnf -nodes -newkey {key} -keyout {name}.key -out {name}.csr -subj"
        );
        self.run(&request, &[&format!("/O=Acme/CN={name}")]);
        self.run(
            &format!("ca -config openssl.cnf -batch -notext -rand_serial -cert {ca}.pem -keyfile {ca}.key -in {name}.csr -out {name}.pem -extensions {extensions} {dates}"),
            &[],
        );
        let read = |name: String| std::fs::read(self.0.path().join(name)).unwrap();
        Identity {
            cert: X509::from_pem(&read(format!("{name}.pem"))).unwrap(),
            key: PKey::private_key_from_pem(&read(format!("{name}.key"))).unwrap(),
            chain: Vec::new(),
        }
    }

    fn crl(&self, ca: &str, more: &str) -> X509Crl {
        let words = format!(
            "ca -config openssl.cnf -gencrl -cert {ca}.pem -keyfile {ca}.key -out {ca}.crl {more}"
        );
        self.run(&words, &[]);
        X509Crl::from_pem(&std::fs::read(self.0.path().join(format!("{ca}.crl"))).unwrap()).unwrap()
    }

    fn path(&self, name: &str) -> String {
        shown(&self.0.path().join(name))
    }
}

const CONFIGURATION: &str = "\
[req]
distinguished_name = dn
prompt = no
[dn]
[ca]
default_ca = here
[here]
database = index.txt
serial = serial
crlnumber = crlnumber
new_certs_dir = .
default_md = sha256
default_days = 10
default_crl_days = 5
unique_subject = no
policy = any
[any]
commonName = supplied
organizationName = optional
[v3_ca]
basicConstraints = critical,CA:TRUE
keyUsage = critical,keyCertSign,cRLSign
subjectKeyIdentifier = hash
[server]
basicConstraints = CA:FALSE
keyUsage = critical,digitalSignature,keyEncipherment
extendedKeyUsage = serverAuth
subjectAltName = DNS:localhost,IP:127.0.0.1
[client]
extendedKeyUsage = clientAuth
subjectAltName = DNS:localhost
[elsewhere]
subjectAltName = DNS:db.example,DNS:*.db.example
[nameless]
basicConstraints = CA:FALSE
[odd]
subjectAltName = DNS:localhost
2.999.1 = critical,ASN1:NULL
";

const PAST: &str = "-startdate 20250101000000Z -enddate 20250201000000Z";
const FUTURE: &str = "-startdate 20490101000000Z -enddate 20491231000000Z";

#[test]
fn files_made_by_the_openssl_command_are_judged_alike() {
    let shop = Workshop::new();
    let (rsa, ec) = ("rsa:2048", "ec -pkeyopt ec_paramgen_curve:P-256");
    let code = |code| Expected::new(code);
    let cases = [
        (
            shop.issue("expired", ec, "ca", PAST, "server"),
            code(CauseCode::CertificateExpired).fact("not_after", "2025-02-01T00:00:00Z"),
        ),
        (
            shop.issue("future", rsa, "ca", FUTURE, "server"),
            code(CauseCode::CertificateNotYetValid).fact("not_before", "2049-01-01T00:00:00Z"),
        ),
        (
            shop.issue("stranger", ec, "other", "", "server"),
            code(CauseCode::IssuerUnknown).fact("missing_issuer", "CN=Other CA"),
        ),
        (
            shop.issue("client", rsa, "ca", "", "client"),
            code(CauseCode::WrongPurpose),
        ),
        (
            shop.issue("elsewhere", ec, "ca", "", "elsewhere"),
            code(CauseCode::HostnameMismatch)
                .fact("presented_names", vec!["db.example", "*.db.example"]),
        ),
        (
            shop.issue("nameless", ec, "ca", "", "nameless"),
            code(CauseCode::NoSubjectAltName).fact("common_name", "nameless"),
        ),
        (
            shop.issue("odd", ec, "ca", "", "odd"),
            code(CauseCode::WrongPurpose).says("critical extension"),
        ),
        (
            shop.issue("small", "rsa:1024", "ca", "", "server"),
            code(CauseCode::KeyTooWeak).fact("key", "RSA 1024"),
        ),
        (
            shop.issue("old", ec, "ca", "-md sha1", "server"),
            code(CauseCode::DigestTooWeak).fact("signature_algorithm", "sha1WithRSAEncryption"),
        ),
    ];
    let mut seen = Seen::default();
    let ca_file = shop.path("ca.pem");
    for (identity, expected) in cases {
        let expected = expected.blames(&identity.cert, 0, "end entity");
        attempt(&mut seen, &identity, &ca_file, "", &expected);
    }

    let revoked = shop.issue("revoked", rsa, "ca", "", "server");
    shop.run(
        "ca -config openssl.cnf -revoke revoked.pem -cert ca.pem -keyfile ca.key -crl_reason superseded",
        &[],
    );
    let crl = shop.crl("ca", "");
    let option = format!("&tlsCRLFile={}", shop.path("ca.crl"));
    let expected = Expected::new(CauseCode::RevokedCrl)
        .blames(&revoked.cert, 0, "end entity")
        .fact("reason", "superseded")
        .fact("next_update", time(crl.next_update().unwrap()))
        .fact("crl_files", vec![shop.path("ca.crl")]);
    attempt(&mut seen, &revoked, &ca_file, &option, &expected);
    shop.crl("other", "");
    let option = format!("&tlsCRLFile={}", shop.path("other.crl"));
    let expected = Expected::new(CauseCode::CrlMissing).fact("crl_issuers", vec!["CN=Other CA"]);
    attempt(&mut seen, &revoked, &ca_file, &option, &expected);
}

/// Tests both versions, with `openssl s_server` as the peer.
fn attempt(seen: &mut Seen, identity: &Identity, ca: &str, options: &str, expected: &Expected) {
    for version in ["-tls1_2", "-tls1_3"] {
        let arguments = [version, "-cipher", "DEFAULT:@SECLEVEL=0"];
        let Some(server) = or_skip(SServer::start(identity, &arguments)) else {
            return;
        };
        let uri = format!(
            "mongodb://localhost:{}/?tls=true&tlsCAFile={ca}{options}",
            server.addr().port()
        );
        seen.check(&format!("{expected:?} {version}"), &uri, expected);
    }
}
