//! Client certificates in every common form, each loaded and used in a handshake, with the password missing, wrong and
//! correct.

use std::path::{Path, PathBuf};
use std::process::Command;

use mongotls::options::{Secret, TlsOptions, TlsOptionsBuilder};
use mongotls::tls::{FileReport, TlsContext};
use mongotls::{CauseCode, Error};
use mongotls_testbench::pki::{Ca, Identity, KeyKind, LeafSpec};
use mongotls_testbench::server::{ClientAuth, Server, ServerTls};

use crate::common::{Bench, code, fact};

/// A server that requests a client certificate, and the file of one in the form under test.
struct Desk {
    bench: Bench,
}

impl Desk {
    fn new() -> Self {
        let ca = Ca::root("root", KeyKind::EcP256);
        let identity = ca.issue(LeafSpec::local_server());
        let server = Server::builder()
            .tls(ServerTls::new(&identity).client_auth(ClientAuth::Require, &[ca.cert()]))
            .start();
        Self {
            bench: Bench::around(server, ca),
        }
    }

    fn client(&self, kind: KeyKind) -> Identity {
        let mid = self.bench.ca.intermediate("clients", KeyKind::EcP256);
        mid.issue(LeafSpec::client("app").key_kind(kind))
    }

    fn file(&self, name: &str, bytes: impl AsRef<[u8]>) -> PathBuf {
        self.bench.dir.write(name, bytes)
    }

    /// One command with these options of TLS.
    fn attempt(
        &self,
        change: impl FnOnce(TlsOptionsBuilder) -> TlsOptionsBuilder,
    ) -> Result<(), Error> {
        let handshake = self
            .bench
            .handshake(|tls| change(tls.ca_file(&self.bench.ca_file)));
        handshake.map(drop)
    }

    fn with_file(&self, path: &Path, password: Option<&str>) -> Result<(), Error> {
        self.attempt(|tls| match password {
            Some(password) => tls
                .certificate_key_file(path)
                .certificate_key_file_password(password),
            None => tls.certificate_key_file(path),
        })
    }
}

/// Runs `openssl` on a file and returns its output: forms made by another tool than the bench.
fn openssl(arguments: &[&str], input: &Path, output: &Path) -> Vec<u8> {
    let run = Command::new("openssl")
        .args(arguments)
        .arg("-in")
        .arg(input)
        .arg("-out")
        .arg(output)
        .output()
        .unwrap();
    assert!(
        run.status.success(),
        "{arguments:?}: {}",
        String::from_utf8_lossy(&run.stderr)
    );
    std::fs::read(output).unwrap()
}

#[test]
fn keys_without_a_password_load_in_every_form() {
    let desk = Desk::new();
    for kind in [
        KeyKind::Rsa(2048),
        KeyKind::EcP256,
        KeyKind::EcP384,
        KeyKind::Ed25519,
    ] {
        let client = desk.client(kind);
        let pkcs8 = [client.chain_pem(), client.key_pem()].concat();
        desk.with_file(&desk.file("pkcs8.pem", pkcs8), None)
            .unwrap_or_else(|error| panic!("{kind:?}: {error}"));
        if kind != KeyKind::Ed25519 {
            let traditional = [client.traditional_key_pem(), client.chain_pem()].concat();
            desk.with_file(&desk.file("traditional.pem", traditional), None)
                .unwrap();
        }
        desk.with_file(&desk.file("open.p12", client.pkcs12("")), None)
            .unwrap_or_else(|error| panic!("{kind:?}: {error}"));
    }
}

#[test]
fn encrypted_keys_distinguish_missing_and_wrong_passwords() {
    let desk = Desk::new();
    for kind in [KeyKind::Rsa(2048), KeyKind::EcP256, KeyKind::Ed25519] {
        let client = desk.client(kind);
        let plain = desk.file("plain.pem", client.key_pem());
        let scratch = desk.bench.dir.path().join("scratch");
        let pass = ["-passout", "pass:correct horse"];
        let pkcs8 = |cipher: &str| {
            openssl(
                &[&["pkcs8", "-topk8", "-v2", cipher], &pass[..]].concat(),
                &plain,
                &scratch,
            )
        };
        let mut forms = vec![
            ("PBES2 AES-256", pkcs8("aes-256-cbc")),
            ("PBES2 AES-128", pkcs8("aes-128-cbc")),
            ("PBES2 3DES", pkcs8("des3")),
            (
                "scrypt",
                openssl(
                    &[&["pkcs8", "-topk8", "-scrypt"], &pass[..]].concat(),
                    &plain,
                    &scratch,
                ),
            ),
        ];
        if kind != KeyKind::Ed25519 {
            forms.push((
                "DEK-Info",
                client.encrypted_traditional_key_pem("correct horse"),
            ));
        }
        for (form, key) in forms {
            let path = desk.file("client.pem", [client.chain_pem(), key].concat());
            let context = format!("{form} {kind:?}");
            assert_eq!(
                code(&desk.with_file(&path, None).unwrap_err()),
                CauseCode::KeyPasswordMissing,
                "{context}"
            );
            assert_eq!(
                code(&desk.with_file(&path, Some("wrong")).unwrap_err()),
                CauseCode::KeyPasswordWrong,
                "{context}"
            );
            desk.with_file(&path, Some("correct horse"))
                .unwrap_or_else(|error| panic!("{context}: {error}"));
        }
        let store = desk.file("client.p12", client.pkcs12("correct horse"));
        assert_eq!(
            code(&desk.with_file(&store, None).unwrap_err()),
            CauseCode::KeyPasswordMissing
        );
        assert_eq!(
            code(&desk.with_file(&store, Some("wrong")).unwrap_err()),
            CauseCode::KeyPasswordWrong
        );
        desk.with_file(&store, Some("correct horse")).unwrap();
    }
}

#[test]
fn a_legacy_key_encryption_is_reported_if_not_supported() {
    let desk = Desk::new();
    let client = desk.client(KeyKind::Rsa(2048));
    let plain = desk.file("plain.pem", client.key_pem());
    let both = desk.file("both.pem", client.bundle_pem());
    let scratch = desk.bench.dir.path().join("scratch");
    // OpenSSL 3 keeps them in its legacy provider. The tool loads it on request; the library does not.
    let version = Command::new("openssl").arg("version").output().unwrap();
    let (provider, export): (&[_], &[_]) = if version.stdout.starts_with(b"OpenSSL 1.") {
        (&[][..], &["pkcs12", "-export"][..])
    } else {
        (
            &["-provider", "legacy", "-provider", "default"],
            &["pkcs12", "-export", "-legacy"],
        )
    };
    let pass = ["-passout", "pass:right"];
    let pbes1 = openssl(
        &[
            &["pkcs8", "-topk8", "-v1", "PBE-MD5-DES"],
            provider,
            &pass[..],
        ]
        .concat(),
        &plain,
        &scratch,
    );
    let pbes1 = desk.file("pbes1.pem", [client.chain_pem(), pbes1].concat());
    let rc2 = openssl(&[export, provider, &pass[..]].concat(), &both, &scratch);
    let rc2 = desk.file("rc2.p12", rc2);
    let unsupported = Err(CauseCode::KeyAlgorithmUnsupported);
    let wrong = Err(CauseCode::KeyPasswordWrong);
    let missing = Err(CauseCode::KeyPasswordMissing);
    let expected = if openssl::version::number() < 0x3000_0000 {
        [(&pbes1, Ok(()), wrong), (&rc2, Ok(()), wrong)]
    } else {
        // A PKCS#12 file has a checksum under the password, which is compared first.
        [
            (&pbes1, unsupported, unsupported),
            (&rc2, unsupported, wrong),
        ]
    };
    for (path, right, wrong) in expected {
        let passwords = [
            (Some("right"), right),
            (Some("wrong"), wrong),
            (None, missing),
        ];
        for (password, expected) in passwords {
            let outcome = desk.with_file(path, password);
            let found = outcome.as_ref().copied().map_err(code);
            assert_eq!(
                found,
                expected,
                "{} {password:?}: {outcome:?}",
                path.display()
            );
        }
    }
}

#[test]
fn certificate_and_key_may_stand_apart_in_files_or_in_memory() {
    let desk = Desk::new();
    let client = desk.client(KeyKind::EcP256);
    let (certificate, key) = (
        desk.file("tls.crt", client.chain_pem()),
        desk.file("tls.key", client.key_pem()),
    );
    desk.attempt(|tls| tls.certificate_and_key_files(&certificate, &key))
        .unwrap();
    let text = |bytes: Vec<u8>| String::from_utf8(bytes).unwrap();
    desk.attempt(|tls| {
        tls.certificate_and_key_pem(text(client.chain_pem()), text(client.key_pem()))
    })
    .unwrap();

    let other = desk.file("other.key", desk.client(KeyKind::EcP256).key_pem());
    let error = desk
        .attempt(|tls| tls.certificate_and_key_files(&certificate, &other))
        .unwrap_err();
    assert_eq!(code(&error), CauseCode::KeyCertificateMismatch);
    let error = desk
        .attempt(|tls| tls.certificate_and_key_pem("nothing", text(client.key_pem())))
        .unwrap_err();
    assert_eq!(code(&error), CauseCode::KeyFileNoCertificate);
    assert!(
        error
            .to_string()
            .starts_with("the client certificate holds"),
        "{error}"
    );
}

#[test]
fn key_passwords_have_three_sources_and_are_read_on_demand() {
    let desk = Desk::new();
    let client = desk.client(KeyKind::EcP256);
    let locked = desk.file("locked.pem", client.encrypted_bundle_pem("from afar"));
    let open = desk.file("open.pem", client.bundle_pem());
    let right = desk.file("right.txt", "from afar\r\nsecond line\n");

    desk.attempt(|tls| tls.certificate_key_file(&locked).key_password_file(&right))
        .unwrap();
    desk.attempt(|tls| {
        tls.certificate_key_file(&locked)
            .key_password_callback(|| Some(Secret::from("from afar")))
    })
    .unwrap();
    let none = desk
        .attempt(|tls| {
            tls.certificate_key_file(&locked)
                .key_password_callback(|| None)
        })
        .unwrap_err();
    assert_eq!(code(&none), CauseCode::KeyPasswordMissing);
    let panicked = desk
        .attempt(|tls| {
            tls.certificate_key_file(&locked)
                .key_password_callback(|| panic!("the panic of a test"))
        })
        .unwrap_err();
    assert_eq!(code(&panicked), CauseCode::KeyPasswordMissing);
    let cause = panicked.cause().unwrap();
    assert_eq!(
        (cause.message(), cause.remedy()),
        (
            "the private key is encrypted, and the function that returns its password panicked",
            "Correct the function; the message of its panic is on standard error."
        )
    );
    let missing = desk
        .attempt(|tls| {
            tls.certificate_key_file(&locked)
                .key_password_file("/nowhere/password")
        })
        .unwrap_err();
    assert_eq!(code(&missing), CauseCode::KeyFileUnreadable);
    let unset = desk
        .attempt(|tls| {
            tls.certificate_key_file(&locked)
                .key_password_variable("MONGOTLS_TEST_UNSET")
        })
        .unwrap_err();
    assert_eq!(code(&unset), CauseCode::KeyPasswordMissing);
    assert!(unset.to_string().contains("MONGOTLS_TEST_UNSET"), "{unset}");

    // An unencrypted key needs no password.
    desk.attempt(|tls| {
        tls.certificate_key_file(&open)
            .key_password_callback(|| panic!("asked"))
    })
    .unwrap();
    desk.attempt(|tls| {
        tls.certificate_key_file(&open)
            .key_password_file("/nowhere/password")
    })
    .unwrap();
}

#[test]
fn crls_may_be_der_and_cover_the_whole_chain() {
    use mongotls_testbench::pki::Revocation;
    let root = Ca::root("root", KeyKind::EcP256);
    let mid = root.intermediate("mid", KeyKind::EcP256);
    let server = Server::builder()
        .tls(ServerTls::new(&mid.issue(LeafSpec::local_server())))
        .start();
    let bench = Bench::around(server, root);
    let revoking_mid = bench.ca.crl().revoke(Revocation::of(mid.cert())).build();
    let (of_root, of_mid) = (bench.ca.crl().build(), mid.crl().build());
    let write = |name: &str, bytes: Vec<u8>| bench.dir.write(name, bytes);
    let der = write("mid.der", of_mid.to_der().unwrap());
    let several = write(
        "several.pem",
        [of_root.to_pem().unwrap(), of_mid.to_pem().unwrap()].concat(),
    );
    let mid_revoked = write("revoked.pem", revoking_mid.to_pem().unwrap());
    let handshake = |change: &dyn Fn(TlsOptionsBuilder) -> TlsOptionsBuilder| {
        let options = change(TlsOptions::builder().ca_file(&bench.ca_file))
            .build()
            .unwrap();
        let stream = std::net::TcpStream::connect(bench.server.addr()).unwrap();
        TlsContext::new(&options)
            .and_then(|context| context.connect("localhost", stream))
            .map(|_| ())
    };
    handshake(&|tls| tls.crl_file(&der)).unwrap();
    handshake(&|tls| tls.crl_file(&several).check_whole_chain(true)).unwrap();
    handshake(&|tls| tls.crl_file(&mid_revoked).crl_file(&der)).unwrap();
    let missing = handshake(&|tls| tls.crl_file(&der).check_whole_chain(true)).unwrap_err();
    assert_eq!(
        (
            code(&missing),
            crate::common::fact(&missing, "subject").as_str()
        ),
        (CauseCode::CrlMissing, "CN=mid")
    );
    let revoked = handshake(&|tls| {
        tls.crl_file(&der)
            .crl_file(&mid_revoked)
            .check_whole_chain(true)
    })
    .unwrap_err();
    assert_eq!(
        (
            code(&revoked),
            crate::common::fact(&revoked, "subject").as_str()
        ),
        (CauseCode::RevokedCrl, "CN=mid")
    );
}

#[test]
fn a_store_key_is_used_and_its_password_checked() {
    if openssl::version::number() < 0x3000_0000 {
        return;
    }
    let desk = Desk::new();
    for kind in [KeyKind::Rsa(2048), KeyKind::EcP256, KeyKind::Ed25519] {
        let client = desk.client(kind);
        let certificate = desk.file("chain.pem", client.chain_pem());
        let uri = |name: &str, bytes: Vec<u8>| format!("file:{}", desk.file(name, bytes).display());
        let open = uri("open.pem", client.key_pem());
        let closed = uri("closed.pem", client.encrypted_key_pem("right"));
        let empty = uri("empty.pem", client.cert_pem());
        let attempt = |uri: &str, password: Option<&str>| {
            desk.attempt(|tls| {
                let tls = tls.certificate_file_and_key_uri(&certificate, uri);
                match password {
                    Some(password) => tls.certificate_key_file_password(password),
                    None => tls,
                }
            })
        };
        attempt(&open, None).unwrap_or_else(|error| panic!("{kind:?}: {error}"));
        attempt(&closed, Some("right")).unwrap();
        let missing = format!("file:{}", desk.bench.dir.path().join("none").display());
        for (uri, password, expected) in [
            (closed.as_str(), None, CauseCode::KeyPasswordMissing),
            (&closed, Some("wrong"), CauseCode::KeyPasswordWrong),
            (&empty, None, CauseCode::KeyFileNoPrivateKey),
            (&missing, None, CauseCode::KeyFileUnreadable),
            (
                "no-such-scheme:object=key?pin-value=12345",
                None,
                CauseCode::KeyAlgorithmUnsupported,
            ),
            (
                "no-such-scheme:object=key;pin-value=12345",
                None,
                CauseCode::KeyAlgorithmUnsupported,
            ),
        ] {
            let error = attempt(uri, password).unwrap_err();
            assert_eq!(code(&error), expected, "{kind:?} {uri}: {error:?}");
            assert!(!format!("{error:?} {error}").contains("12345"));
        }
        // In place of a file.
        let in_wrong_place = "pkcs11:object=key;pin-value=12345";
        let error = desk
            .attempt(|tls| tls.certificate_key_file(in_wrong_place))
            .unwrap_err();
        assert_eq!(
            error.cause().unwrap().message(),
            "tlsCertificateKeyFile \"pkcs11:object=key;pin-value=<redacted>\" cannot be read: there is no such file"
        );
        assert_eq!(
            fact(&error, "path"),
            "pkcs11:object=key;pin-value=<redacted>"
        );
        // Options and reports of files do not show it either.
        let options = TlsOptions::builder()
            .ca_file(in_wrong_place)
            .crl_file(in_wrong_place)
            .certificate_and_key_files(in_wrong_place, in_wrong_place)
            .key_password_file(in_wrong_place);
        let shown = format!("{options:?} {:?}", options.clone().build().unwrap());
        let one = "\"pkcs11:object=key;pin-value=<redacted>\"";
        assert_eq!(shown.matches(one).count(), 10, "{shown}");
        let report = FileReport::of(Path::new(in_wrong_place), None);
        assert_eq!(format!("{:?}", report.path), one);
        let run = crate::cli::mongotls(&["inspect", in_wrong_place, "--json"]);
        let folder = TlsOptions::builder().ca_directory(in_wrong_place).build();
        let folder = folder.unwrap_err().to_string();
        for text in [shown, format!("{report:?}"), run.out, run.err, folder] {
            assert!(!text.contains("12345"), "{text}");
        }
        let other = desk.client(kind);
        let error = attempt(&uri("other.pem", other.key_pem()), None).unwrap_err();
        assert_eq!(code(&error), CauseCode::KeyCertificateMismatch);
    }
}

/// The code, message and remedy about a client certificate file.
fn told(error: &Error) -> (CauseCode, String, String) {
    let cause = error.cause().unwrap();
    (
        cause.code(),
        cause.message().to_owned(),
        cause.remedy().to_owned(),
    )
}

/// Runs the first command of a remedy for a file with the password `right`, and returns the path of its output.
fn follow(remedy: &str, file: &Path) -> PathBuf {
    let folder = file.parent().unwrap();
    let command = remedy.split('`').nth(1).unwrap();
    let command = command.replace("FILE", &file.display().to_string());
    let command = command + " -passin pass:right -passout pass:right";
    let run = Command::new("sh")
        .args(["-c", &command])
        .current_dir(folder)
        .output()
        .unwrap();
    assert!(run.status.success(), "{command}: {run:?}");
    let name = command.split(' ').find(|word| word.starts_with("NEW"));
    folder.join(name.unwrap())
}

#[test]
fn a_pkcs12_file_without_a_mac_opens() {
    let desk = Desk::new();
    let client = desk.client(KeyKind::EcP256);
    let both = desk.file("both.pem", client.bundle_pem());
    let scratch = desk.bench.dir.path().join("scratch");
    let export = ["pkcs12", "-export", "-nomac", "-passout"];
    let made = openssl(&[&export[..], &["pass:right"]].concat(), &both, &scratch);
    let file = desk.file("no-mac.p12", made);
    desk.with_file(&file, Some("right")).unwrap();
    let error = desk.with_file(&file, Some("left")).unwrap_err();
    assert_eq!(code(&error), CauseCode::KeyPasswordWrong, "{error}");
    let error = desk.with_file(&file, None).unwrap_err();
    assert_eq!(code(&error), CauseCode::KeyPasswordMissing, "{error}");
    let open = ["pass:", "-keypbe", "NONE", "-certpbe", "NONE"];
    let made = openssl(&[&export[..], &open].concat(), &both, &scratch);
    desk.with_file(&desk.file("open.p12", made), None).unwrap();
}

#[test]
fn a_lacking_algorithm_is_named_and_its_command_works() {
    if openssl::version::number() < 0x3000_0000 {
        return; // which has all of them
    }
    let desk = Desk::new();
    let client = desk.client(KeyKind::Rsa(2048));
    let plain = desk.file("plain.pem", client.key_pem());
    let both = desk.file("both.pem", client.bundle_pem());
    let scratch = desk.bench.dir.path().join("scratch");
    let made = |words: &[&str], input: &Path| {
        let legacy = ["-provider", "legacy", "-provider", "default"];
        let pass = ["-passout", "pass:right"];
        openssl(&[words, &legacy, &pass].concat(), input, &scratch)
    };
    let certificates = client.chain_pem();
    let with_key = |key: Vec<u8>| [certificates.clone(), key].concat();
    let pkcs8 = |scheme| with_key(made(&["pkcs8", "-topk8", "-v1", scheme], &plain));
    let traditional = with_key(made(&["rsa", "-traditional", "-des"], &plain));
    let rc2 = made(&["pkcs12", "-export", "-legacy"], &both);
    // The MAC of a valid file, under the name of another kind (RFC 9579).
    let sha256 = b"\x60\x86\x48\x01\x65\x03\x04\x02\x01";
    let pbmac1 = b"\x2a\x86\x48\x86\xf7\x0d\x01\x05\x0e";
    let mut mac = openssl(
        &["pkcs12", "-export", "-passout", "pass:right"],
        &both,
        &scratch,
    );
    let place = mac.windows(9).rposition(|it| it == sha256).unwrap();
    mac[place..place + 9].copy_from_slice(pbmac1);
    let legacy = "which OpenSSL 3 keeps in its legacy provider, and that is not active";
    let aes = "Encrypt the key with AES: `openssl pkcs8 -topk8 -v2 aes-256-cbc -provider legacy -provider default -in FILE -out NEW.key`; or activate the legacy provider in openssl.cnf.";
    let mut cases = vec![
        (
            rc2,
            format!("is a PKCS#12 file encrypted with RC2-40-CBC, {legacy}"),
            "Write the file in PEM form: `openssl pkcs12 -legacy -in FILE -out NEW.pem`; or activate the legacy provider in openssl.cnf.",
        ),
        (
            pkcs8("PBE-MD5-DES"),
            format!("holds a private key encrypted with pbeWithMD5AndDES-CBC, {legacy}"),
            aes,
        ),
        (
            pkcs8("PBE-SHA1-RC2-64"),
            format!("holds a private key encrypted with pbeWithSHA1AndRC2-CBC, {legacy}"),
            aes,
        ),
        (
            traditional,
            format!("holds a private key encrypted with DES-CBC, {legacy}"),
            aes,
        ),
    ];
    if openssl::version::number() < 0x3040_0000 {
        cases.push((
            mac,
            "is a PKCS#12 file protected by PBMAC1, which this OpenSSL does not offer".to_owned(),
            "Use OpenSSL 3.4 or later, or write the file in PEM form: `openssl pkcs12 -nomacver -in FILE -out NEW.pem`.",
        ));
    }
    for (bytes, why, remedy) in cases {
        let file = desk.file("old", bytes);
        let error = desk.with_file(&file, Some("right")).unwrap_err();
        let message = format!("tlsCertificateKeyFile {file:?} {why}");
        let expected = (
            CauseCode::KeyAlgorithmUnsupported,
            message,
            remedy.to_owned(),
        );
        assert_eq!(told(&error), expected);
        let new = follow(remedy, &file);
        let mut bytes = std::fs::read(&new).unwrap();
        if new.ends_with("NEW.key") {
            bytes = with_key(bytes);
        }
        desk.with_file(&desk.file("new.pem", bytes), Some("right"))
            .unwrap_or_else(|error| panic!("{why}: {error}"));
    }
}

#[test]
fn the_password_of_a_file_is_used_byte_for_byte() {
    let desk = Desk::new();
    let client = desk.client(KeyKind::EcP256);
    let plain = desk.file("plain.pem", client.key_pem());
    let both = desk.file("both.pem", client.bundle_pem());
    let scratch = desk.bench.dir.path().join("scratch");
    let mut passwords = vec![
        b"plain".to_vec(),
        "Gr\u{fc}\u{df}e ".into(),
        b" \xe4\xff\x80".to_vec(),
    ];
    passwords.push(vec![b'x'; 200]);
    for password in passwords {
        let line = [&password[..], b"\n"].concat();
        let pass = format!("file:{}", desk.file("pass", &line).display());
        let locked = openssl(&["pkcs8", "-topk8", "-passout", &pass], &plain, &scratch);
        let locked = desk.file("locked.pem", [client.chain_pem(), locked].concat());
        let store = openssl(&["pkcs12", "-export", "-passout", &pass], &both, &scratch);
        let store = desk.file("store.p12", store);
        for text in [
            line.clone(),
            password.clone(),
            [&b"\xEF\xBB\xBF"[..], &password, b"\r\nsecond"].concat(),
        ] {
            let file = desk.file("password.txt", text);
            for key in [&locked, &store] {
                desk.attempt(|tls| tls.certificate_key_file(key).key_password_file(&file))
                    .unwrap_or_else(|error| panic!("{password:?} {key:?}: {error}"));
            }
        }
    }
}

#[test]
fn password_file_errors_name_the_file() {
    let desk = Desk::new();
    let client = desk.client(KeyKind::EcP256);
    let pem = desk.file("locked.pem", client.encrypted_bundle_pem("right"));
    let store = desk.file("locked.p12", client.pkcs12("right"));
    let folder = desk.bench.dir.path();
    let wide: Vec<u8> = "\u{feff}right\r\n"
        .encode_utf16()
        .flat_map(u16::to_le_bytes)
        .collect();
    let (missing, wrong) = (CauseCode::KeyPasswordMissing, CauseCode::KeyPasswordWrong);
    let unreadable = CauseCode::KeyFileUnreadable;
    let path = |name: &str| folder.join(name);
    for locked in [&pem, &store] {
        let cases = [
            (
                path("none"),
                unreadable,
                format!(
                    "key_password_file {:?} cannot be read: there is no such file",
                    path("none")
                ),
                "Correct the path; a relative path starts at the working directory of the process.",
            ),
            (
                folder.to_owned(),
                unreadable,
                format!("key_password_file {folder:?} cannot be read: it is a folder"),
                "Give the path of a file, not of the folder that holds it.",
            ),
            (
                desk.file("empty", "\nright\n"),
                missing,
                format!(
                    "the private key is encrypted, and the first line of key_password_file {:?} is empty",
                    path("empty")
                ),
                "Put the password of the private key into the first line of that file.",
            ),
            (
                desk.file("wide", &wide),
                wrong,
                format!("key_password_file {:?} holds text in UTF-16", path("wide")),
                "Convert it: `iconv -f UTF-16 -t UTF-8 FILE > password.txt`.",
            ),
            (
                desk.file("left", "left\n"),
                wrong,
                format!(
                    "tlsCertificateKeyFile {locked:?} holds a private key that the first line of key_password_file {:?} does not decrypt",
                    path("left")
                ),
                "Correct that line: it must be the password alone, without quotes or white space around it.",
            ),
        ];
        for (file, code, message, remedy) in cases {
            let error = desk
                .attempt(|tls| tls.certificate_key_file(locked).key_password_file(&file))
                .unwrap_err();
            assert_eq!(told(&error), (code, message, remedy.to_owned()));
        }
        let error = desk
            .attempt(|tls| {
                tls.certificate_key_file(locked)
                    .key_password_callback(|| Some(Secret::from("left")))
            })
            .unwrap_err();
        let expected = format!(
            "tlsCertificateKeyFile {locked:?} holds a private key that the password from the function of key_password_callback does not decrypt"
        );
        assert_eq!((told(&error).0, told(&error).1), (wrong, expected));
    }
}
