//! Wrong options and local files: nothing is sent.

use std::path::Path;
use std::process::Command;

use mongotls::CauseCode;
use mongotls_testbench::der;
use mongotls_testbench::pki::{CaSpec, Identity, KeyKind, LeafSpec, PkiDir};
use serde_json::Value;

use super::{Expected, KINDS, Place, Seen, key, shown, skipped};
use crate::common::{fact, ping};

pub(super) const CODES: &[CauseCode] = &[
    CauseCode::CaFileUnreadable,
    CauseCode::CrlFileUnreadable,
    CauseCode::KeyFileUnreadable,
    CauseCode::CaFileInvalid,
    CauseCode::CrlFileInvalid,
    CauseCode::KeyFileNoCertificate,
    CauseCode::KeyFileNoPrivateKey,
    CauseCode::KeyPasswordMissing,
    CauseCode::KeyPasswordWrong,
    CauseCode::KeyAlgorithmUnsupported,
    CauseCode::KeyCertificateMismatch,
    CauseCode::NoTrustAnchors,
    CauseCode::OptionConflict,
    CauseCode::InvalidUri,
];

/// The options that name a file, and the codes of an unreadable one.
const OPTIONS: [(&str, CauseCode); 3] = [
    ("tlsCAFile", CauseCode::CaFileUnreadable),
    ("tlsCRLFile", CauseCode::CrlFileUnreadable),
    ("tlsCertificateKeyFile", CauseCode::KeyFileUnreadable),
];

/// A PKI, its files, and a connection string with a wrong one.
struct Shelf {
    dir: PkiDir,
    ca: Vec<u8>,
    crl: Vec<u8>,
    delta: Vec<u8>,
    client: Identity,
    other: Identity,
}

impl Shelf {
    fn new(kind: KeyKind) -> Self {
        let ca = CaSpec::new("the root").key(&key(kind, "root")).root();
        // deltaCRLIndicator (RFC 5280 §5.2.4): changes since the CRL of that number.
        let base = der::value(der::INTEGER, &[1]);
        let delta = ca.crl().number(2).extension("2.5.29.27", true, &base);
        let client = |of| ca.issue(LeafSpec::client(of).key(&key(kind, of)));
        Self {
            dir: PkiDir::new(),
            crl: ca.crl().build().to_pem().unwrap(),
            delta: delta.build().to_pem().unwrap(),
            client: client("leaf"),
            other: client("mid"),
            ca: ca.cert_pem(),
        }
    }

    fn uri(&self, option: &str, path: &Path) -> String {
        let ca_file = self.dir.write("good-ca.pem", &self.ca);
        let ca_file = match option {
            "tlsCAFile" => String::new(),
            _ => format!("&tlsCAFile={}", shown(&ca_file)),
        };
        format!("mongodb://localhost/?{option}={}{ca_file}", shown(path))
    }

    fn check(&self, seen: &mut Seen, option: &str, path: &Path, expected: Expected) {
        let expected = expected
            .fact("option", option)
            .fact("path", shown(path))
            .says(&shown(path));
        let scenario = format!("{option} {}", path.display());
        seen.check(&scenario, &self.uri(option, path), &expected);
    }

    /// A client certificate file with a password.
    fn check_key(&self, seen: &mut Seen, path: &Path, password: Option<&str>, code: CauseCode) {
        let option = "tlsCertificateKeyFile";
        let password = password
            .map(|password| format!("&tlsCertificateKeyFilePassword={password}"))
            .unwrap_or_default();
        let uri = self.uri(option, path) + &password;
        let expected = Expected::new(code).fact("path", shown(path));
        seen.check(&format!("{code} {}", path.display()), &uri, &expected);
        let own_words = [
            CauseCode::KeyPasswordWrong,
            CauseCode::KeyAlgorithmUnsupported,
        ];
        if own_words.contains(&code) {
            let error = ping(&uri).unwrap_err();
            assert!(!fact(&error, "openssl").is_empty(), "{error}");
        }
    }
}

/// Runs `openssl` and returns its standard output.
fn openssl(words: &[&str]) -> Vec<u8> {
    let run = Command::new("openssl").args(words).output().unwrap();
    assert!(
        run.status.success(),
        "{words:?}: {}",
        String::from_utf8_lossy(&run.stderr)
    );
    run.stdout
}

#[test]
fn unreadable_files_say_which_and_why() {
    let shelf = Shelf::new(KeyKind::EcP256);
    let mut seen = Seen::default();
    for (option, code) in OPTIONS {
        let missing = shelf.dir.path().join("missing.pem");
        let expected = Expected::new(code).fact("reason", "there is no such file");
        shelf.check(&mut seen, option, &missing, expected);
        let expected = Expected::new(code).fact("reason", "it is a folder");
        shelf.check(&mut seen, option, shelf.dir.path(), expected);
        forbidden(&shelf, &mut seen, option, code);
    }
    seen.are(&OPTIONS.map(|(_, code)| code));
}

/// Tests an unreadable file. The superuser can read any file, so the command runs as the user `nobody` then.
fn forbidden(shelf: &Shelf, seen: &mut Seen, option: &str, code: CauseCode) {
    use std::os::unix::fs::PermissionsExt;
    let path = shelf.dir.write("forbidden.pem", &shelf.ca);
    std::fs::set_permissions(&path, PermissionsExt::from_mode(0o000)).unwrap();
    let mut place = Place::default();
    if std::fs::read(&path).is_ok() {
        place.user = Some(65_534);
        if !place.can_run() {
            skipped("a file without permission; nobody may not run the command here");
            return;
        }
        // Only the file itself is unreadable, not its folder.
        let open = PermissionsExt::from_mode(0o755);
        std::fs::set_permissions(shelf.dir.path(), open).unwrap();
    }
    let uri = shelf.uri(option, &path);
    if option != "tlsCAFile" {
        let open = PermissionsExt::from_mode(0o644);
        std::fs::set_permissions(shelf.dir.path().join("good-ca.pem"), open).unwrap();
    }
    let expected = Expected::new(code)
        .fact("reason", "permission denied")
        .fact("path", shown(&path));
    seen.check_in(&place, "permission", &uri, &expected);
    assert_eq!(place.client_code(&uri), code.as_str());
}

#[test]
fn a_file_of_another_kind_is_identified() {
    let mut seen = Seen::default();
    for kind in KINDS {
        let shelf = Shelf::new(kind);
        let client = &shelf.client;
        let der = client.cert.to_der().unwrap();
        let contents: Vec<(&str, Vec<u8>, &str)> = vec![
            ("empty", Vec::new(), "nothing"),
            ("blank", b" \n\n".to_vec(), "nothing"),
            ("key", client.key_pem(), "a private key"),
            (
                "locked key",
                client.encrypted_key_pem("p"),
                "an encrypted private key",
            ),
            ("der", der, "a certificate in DER form"),
            ("p12", client.pkcs12("p"), "a PKCS#12 file"),
            (
                "jks",
                b"\xFE\xED\xFE\xED\x00\x00\x00\x02".to_vec(),
                "a Java keystore",
            ),
            (
                "html",
                b"<!DOCTYPE html><html></html>".to_vec(),
                "an HTML page",
            ),
            ("text", b"hello".to_vec(), "text without a PEM block"),
            ("noise", vec![0xff, 0, 1], "binary data"),
        ];
        let files = [
            ("tlsCAFile", CauseCode::CaFileInvalid),
            ("tlsCRLFile", CauseCode::CrlFileInvalid),
        ];
        for (name, bytes, holds) in &contents {
            let path = shelf.dir.write(name, bytes);
            for (option, code) in files {
                let expected = Expected::new(code).fact("holds", *holds).says(holds);
                shelf.check(&mut seen, option, &path, expected);
            }
        }
        let (ca, crl) = (
            shelf.dir.write("ca", &shelf.ca),
            shelf.dir.write("crl", &shelf.crl),
        );
        let expected = Expected::new(CauseCode::CaFileInvalid).fact("holds", "a CRL");
        shelf.check(&mut seen, "tlsCAFile", &crl, expected);
        let expected = Expected::new(CauseCode::CrlFileInvalid).fact("holds", "a certificate");
        shelf.check(&mut seen, "tlsCRLFile", &ca, expected);
        let both = [&shelf.crl[..], &shelf.delta].concat();
        let both = shelf.dir.write("delta", both);
        let expected = Expected::new(CauseCode::CrlFileInvalid).says("delta CRL");
        shelf.check(&mut seen, "tlsCRLFile", &both, expected);
        let page = "-----BEGIN CERTIFICATE-----\n<!DOCTYPE html><html></html>\n";
        let page = shelf.dir.write("page", page);
        let expected = Expected::new(CauseCode::CaFileInvalid).says("is cut off");
        shelf.check(&mut seen, "tlsCAFile", &page, expected);
        let trusted = shelf.dir.write("plain.pem", &shelf.ca);
        let reject = ["-trustout", "-addreject", "serverAuth", "-in"];
        let trusted = openssl(&[&["x509"], &reject[..], &[&shown(&trusted)]].concat());
        let trusted = shelf.dir.write("trusted.pem", trusted);
        let expected = Expected::new(CauseCode::CaFileInvalid).says("do not allow serverAuth");
        shelf.check(&mut seen, "tlsCAFile", &trusted, expected);
        let half = "-----BEGIN CERTIFICATE-----\nMIIB\n-----END CERTIFICATE-----\n";
        let damaged = [&shelf.ca[..], half.as_bytes()].concat();
        let damaged = shelf.dir.write("damaged", damaged);
        let expected = Expected::new(CauseCode::CaFileInvalid).says("cannot be decoded");
        shelf.check(&mut seen, "tlsCAFile", &damaged, expected);
    }
    seen.are(&[CauseCode::CaFileInvalid, CauseCode::CrlFileInvalid]);
}

#[test]
fn a_client_certificate_file_says_what_is_wrong_with_it() {
    let mut seen = Seen::default();
    for kind in KINDS {
        let shelf = Shelf::new(kind);
        let (client, other) = (&shelf.client, &shelf.other);
        let file = |name: &str, parts: &[Vec<u8>]| shelf.dir.write(name, parts.concat());
        let no_key = CauseCode::KeyFileNoPrivateKey;
        let no_certificate = CauseCode::KeyFileNoCertificate;
        let mismatch = CauseCode::KeyCertificateMismatch;
        for (path, code) in [
            (file("certificate.pem", &[client.cert_pem()]), no_key),
            (file("empty.pem", &[]), no_key),
            (file("html.pem", &[b"<html></html>".to_vec()]), no_key),
            (file("cert.der", &[client.cert.to_der().unwrap()]), no_key),
            (file("key.pem", &[client.key_pem()]), no_certificate),
            (
                file("mixed.pem", &[other.cert_pem(), client.key_pem()]),
                mismatch,
            ),
            (
                file(
                    "two-keys.pem",
                    &[client.cert_pem(), client.key_pem(), other.key_pem()],
                ),
                mismatch,
            ),
        ] {
            shelf.check_key(&mut seen, &path, None, code);
        }

        let (locked, wrong) = (CauseCode::KeyPasswordMissing, CauseCode::KeyPasswordWrong);
        for path in [
            file("pkcs8.pem", &[client.encrypted_bundle_pem("right")]),
            file(
                "traditional.pem",
                &[
                    client.cert_pem(),
                    client.encrypted_traditional_key_pem("right"),
                ],
            ),
            file("store.p12", &[client.pkcs12("right")]),
        ] {
            shelf.check_key(&mut seen, &path, None, locked);
            shelf.check_key(&mut seen, &path, Some("left"), wrong);
        }
        unsupported(&shelf, &mut seen);
    }
    seen.are(&[
        CauseCode::KeyFileNoCertificate,
        CauseCode::KeyFileNoPrivateKey,
        CauseCode::KeyPasswordMissing,
        CauseCode::KeyPasswordWrong,
        CauseCode::KeyAlgorithmUnsupported,
        CauseCode::KeyCertificateMismatch,
    ]);
}

/// Encryption that OpenSSL 3 keeps in its legacy provider, which is not loaded.
fn unsupported(shelf: &Shelf, seen: &mut Seen) {
    let code = CauseCode::KeyAlgorithmUnsupported;
    // PKCS#8 (RFC 5958 §2) with a key of an unknown kind.
    let algorithm = der::sequence(&[der::object_identifier("2.999.1")]);
    let strange = der::sequence(&[
        der::value(der::INTEGER, &[0]),
        algorithm,
        der::value(der::OCTET_STRING, &[4, 1, 7]),
    ]);
    let strange = openssl::base64::encode_block(&strange);
    let strange = format!("-----BEGIN PRIVATE KEY-----\n{strange}\n-----END PRIVATE KEY-----\n");
    let strange = [shelf.client.cert_pem(), strange.into_bytes()].concat();
    let strange = shelf.dir.write("strange.pem", strange);
    shelf.check_key(seen, &strange, None, code);
    if mongotls::tls::openssl_version().starts_with("OpenSSL 1.") {
        return seen.note(code);
    }
    let plain = shown(&shelf.dir.write("plain.key", shelf.client.key_pem()));
    let both = shown(&shelf.dir.write("plain.pem", shelf.client.bundle_pem()));
    let legacy = ["-provider", "legacy", "-provider", "default"];
    let made = |words: &[&str], input: &str| {
        let pass = ["-passout", "pass:right", "-in", input];
        openssl(&[words, &legacy, &pass].concat())
    };
    let pbes1 = made(&["pkcs8", "-topk8", "-v1", "PBE-MD5-DES"], &plain);
    let pbes1 = [shelf.client.cert_pem(), pbes1].concat();
    let pbes1 = shelf.dir.write("pbes1.pem", pbes1);
    let rc2 = made(&["pkcs12", "-export", "-legacy"], &both);
    let rc2 = shelf.dir.write("rc2.p12", rc2);
    for path in [pbes1, rc2] {
        shelf.check_key(seen, &path, Some("right"), code);
    }
}

#[test]
fn a_host_without_trust_anchors_says_where_it_looked() {
    let dir = PkiDir::new();
    let empty = dir.write("empty.pem", "");
    let none = dir.path().join("none");
    let code = CauseCode::NoTrustAnchors;
    let mut seen = Seen::default();
    for (file, folder) in [(&empty, &none), (&none, &dir.path().to_owned())] {
        // The variables belong to a whole process, and so the client is a separate one too.
        let place = Place {
            variables: vec![
                ("SSL_CERT_FILE", shown(file)),
                ("SSL_CERT_DIR", shown(folder)),
            ],
            ..Place::default()
        };
        let expected = Expected::new(code)
            .fact("looked_in", vec![shown(file), shown(folder)])
            .says("SSL_CERT_FILE")
            .says("tlsCAFile");
        let uri = "mongodb://localhost/?tls=true";
        seen.check_in(&place, "no anchors", uri, &expected);
        assert_eq!(place.client_code(uri), code.as_str());
    }
    seen.are(&[code]);
}

/// Each place has a reason for its lack of anchors.
#[test]
fn a_place_without_trust_anchors_says_why() {
    let dir = PkiDir::new();
    let empty = dir.write("empty.pem", "");
    let key = CaSpec::new("root").root().issue(LeafSpec::local_server());
    let key = dir.write("key.pem", key.key_pem());
    let folder = |name: &str| {
        let path = dir.path().join(name);
        std::fs::create_dir(&path).unwrap();
        path
    };
    let (bare, unhashed) = (folder("bare"), folder("unhashed"));
    std::fs::write(unhashed.join("ca.pem"), "").unwrap();
    let none = dir.path().join("none");
    let cases = [
        (
            &none,
            "there is no such file",
            &none,
            "there is no such folder",
        ),
        (
            &empty,
            "it holds no certificate in PEM form: it holds nothing",
            &bare,
            "it is empty",
        ),
        (
            &key,
            "it holds no certificate in PEM form: it holds a private key",
            &unhashed,
            "it holds no certificate under a hashed name, as `openssl rehash` makes them",
        ),
        (
            &bare,
            "it is a folder",
            &empty,
            "it is a file, not a folder",
        ),
    ];
    let code = CauseCode::NoTrustAnchors;
    let mut seen = Seen::default();
    for (file, of_file, folder, of_folder) in cases {
        let place = Place {
            variables: vec![
                ("SSL_CERT_FILE", shown(file)),
                ("SSL_CERT_DIR", shown(folder)),
            ],
            ..Place::default()
        };
        let (file, folder) = (shown(file), shown(folder));
        let expected = Expected::new(code)
            .fact("looked_in", vec![file.clone(), folder.clone()])
            .reads(
                &format!("no trust anchors: none found in {file} ({of_file}), {folder} ({of_folder})"),
                "Correct SSL_CERT_FILE and SSL_CERT_DIR, or set tlsCAFile to the PEM file of the CA that signed the server's certificate.",
            );
        seen.check_in(&place, of_file, "mongodb://localhost/?tls=true", &expected);
    }
    seen.are(&[code]);
}

/// A folder that replaces the system's, without hashed names for OpenSSL.
#[test]
fn a_bundle_in_the_folder_of_the_systems_certificates_is_found() {
    let others = [
        "/etc/pki",
        "/etc/ssl/cert.pem",
        "/etc/ssl/ca-bundle.pem",
        "/opt/etc/ssl",
    ];
    let folder = "/etc/ssl/certs";
    let is_elsewhere = others.iter().any(|path| Path::new(path).exists());
    if !Place::can_mount() || is_elsewhere || !Path::new(folder).is_dir() {
        return skipped(
            "a bundle of the system; it needs unshare --mount, and certificates as Debian has them",
        );
    }
    let bench = crate::common::Bench::sound();
    let dir = PkiDir::new();
    dir.write("ca-bundle.crt", bench.ca.cert_pem());
    let place = Place {
        variables: vec![
            ("SSL_CERT_FILE", String::new()),
            ("SSL_CERT_DIR", String::new()),
        ],
        mounts: vec![(shown(dir.path()), folder)],
        ..Place::default()
    };
    let uri = format!("mongodb://localhost:{}/?tls=true", bench.server.port());
    let (exit, object) = place.json(&["doctor", &uri, "--json"]);
    assert_eq!((exit, &object["cause"]), (0, &Value::Null), "{object:#}");
}

#[test]
fn invalid_connection_strings_are_rejected() {
    let (conflict, invalid) = (CauseCode::OptionConflict, CauseCode::InvalidUri);
    let cases = [
        ("mongodb://h/?tls=false&tlsCAFile=/x", conflict),
        ("mongodb://h/?tls=false&tlsInsecure=true", conflict),
        ("mongodb://h/?tls=true&ssl=false", conflict),
        (
            "mongodb://h/?tlsInsecure=true&tlsAllowInvalidHostnames=true",
            conflict,
        ),
        ("mongodb://h/?tlsCAFile=/a&tlsCAFile=/b", conflict),
        ("mongodb://a,b/?directConnection=true", conflict),
        ("mongodb://", invalid),
        ("mongodb://localhost:0/", invalid),
        ("mongodb://localhost:port/", invalid),
        ("mongodb://[::1/", invalid),
        ("mongodb://user:p@ss@h/", invalid),
        ("http://localhost/", invalid),
    ];
    let mut seen = Seen::default();
    for (uri, code) in cases {
        let (exit, object) = Place::default().json(&["doctor", uri, "--json"]);
        assert_eq!((exit, &object["facts"]["server"]), (1, &Value::Null));
        seen.check(uri, uri, &Expected::new(code));
    }
    seen.are(&[conflict, invalid]);
}
