//! Local files that are missing, unreadable, of another kind, or protected by a password: each is reported before
//! anything is sent.

use std::path::{Path, PathBuf};
use std::process::Command;

use mongotls::error::Stage;
use mongotls::options::TlsOptions;
use mongotls::tls::{FileReport, TlsContext};
use mongotls::{CauseCode, Client, Error, ErrorKind, doctor};
use mongotls_testbench::pki::{Ca, Identity, KeyKind, LeafSpec, PkiDir};

use crate::common::{Bench, code, fact, ping_on, too_small_rsa};

/// Files of every kind, and the option under test.
struct Shelf {
    dir: PkiDir,
    ca: Ca,
    client: Identity,
}

impl Shelf {
    fn new() -> Self {
        let ca = Ca::root("root", KeyKind::EcP256);
        let client = ca.issue(LeafSpec::client("app"));
        Self {
            dir: PkiDir::new(),
            ca,
            client,
        }
    }

    fn file(&self, name: &str, bytes: impl AsRef<[u8]>) -> PathBuf {
        self.dir.write(name, bytes)
    }

    /// The error of a client with `option=path`.
    fn error(&self, option: &str, path: &Path) -> Error {
        let ca_file = self.file("good-ca.pem", self.ca.cert_pem());
        let ca = if option == "tlsCAFile" {
            String::new()
        } else {
            format!("&tlsCAFile={}", ca_file.display())
        };
        let error = Client::connect(&format!(
            "mongodb://localhost/?{option}={}{ca}",
            path.display()
        ))
        .expect_err(option);
        assert_eq!(
            (error.kind(), error.stage()),
            (ErrorKind::Configuration, Some(Stage::Options)),
            "{error}"
        );
        assert_eq!(fact(&error, "path"), path.display().to_string());
        error
    }
}

#[test]
fn unreadable_files_say_why() {
    let shelf = Shelf::new();
    let options = [
        ("tlsCAFile", CauseCode::CaFileUnreadable),
        ("tlsCRLFile", CauseCode::CrlFileUnreadable),
        ("tlsCertificateKeyFile", CauseCode::KeyFileUnreadable),
    ];
    for (option, expected) in options {
        let missing = shelf.error(option, &shelf.dir.path().join("missing.pem"));
        assert_eq!(
            (code(&missing), fact(&missing, "reason").as_str()),
            (expected, "there is no such file")
        );
        let folder = shelf.error(option, shelf.dir.path());
        assert_eq!(
            (code(&folder), fact(&folder, "reason").as_str()),
            (expected, "it is a folder")
        );
    }
}

#[test]
fn a_file_of_another_kind_is_identified() {
    let shelf = Shelf::new();
    let key = shelf.client.key_pem();
    let der = shelf.client.cert.to_der().unwrap();
    let crl = shelf.ca.crl().build();
    let contents: Vec<(&str, Vec<u8>, &str)> = vec![
        ("empty", Vec::new(), "nothing"),
        ("key", key, "a private key"),
        (
            "encrypted",
            shelf.client.encrypted_key_pem("p"),
            "an encrypted private key",
        ),
        ("der", der, "a certificate in DER form"),
        ("p12", shelf.client.pkcs12("p"), "a PKCS#12 file"),
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
    ];
    for (name, bytes, holds) in &contents {
        let path = shelf.file(name, bytes);
        for (option, expected) in [
            ("tlsCAFile", CauseCode::CaFileInvalid),
            ("tlsCRLFile", CauseCode::CrlFileInvalid),
        ] {
            let error = shelf.error(option, &path);
            assert_eq!(
                (code(&error), fact(&error, "holds").as_str()),
                (expected, *holds),
                "{option} {name}"
            );
            assert!(error.to_string().contains(holds), "{error}");
        }
    }
    let crl_as_ca = shelf.error("tlsCAFile", &shelf.file("crl", crl.to_pem().unwrap()));
    assert_eq!(fact(&crl_as_ca, "holds"), "a CRL");
    let ca_as_crl = shelf.error("tlsCRLFile", &shelf.file("ca", shelf.ca.cert_pem()));
    assert_eq!(fact(&ca_as_crl, "holds"), "a certificate");
}

#[test]
fn a_damaged_block_is_not_skipped() {
    let shelf = Shelf::new();
    let mut damaged = shelf.ca.cert_pem();
    damaged.extend_from_slice(b"-----BEGIN CERTIFICATE-----\nMIIB\n-----END CERTIFICATE-----\n");
    let error = shelf.error("tlsCAFile", &shelf.file("damaged.pem", damaged));
    assert_eq!(code(&error), CauseCode::CaFileInvalid);
    assert!(error.to_string().contains("cannot be decoded"), "{error}");
}

#[test]
fn a_client_certificate_file_lacks_what_it_lacks() {
    let shelf = Shelf::new();
    let other = shelf.ca.issue(LeafSpec::client("other"));
    let both =
        |certificate: &Identity, key: &Identity| [certificate.cert_pem(), key.key_pem()].concat();
    let cases = [
        (shelf.client.chain_pem(), CauseCode::KeyFileNoPrivateKey),
        (shelf.client.key_pem(), CauseCode::KeyFileNoCertificate),
        (
            both(&other, &shelf.client),
            CauseCode::KeyCertificateMismatch,
        ),
        (
            [shelf.client.bundle_pem(), other.key_pem()].concat(),
            CauseCode::KeyCertificateMismatch,
        ),
    ];
    for (bytes, expected) in cases {
        let error = shelf.error("tlsCertificateKeyFile", &shelf.file("client.pem", bytes));
        assert_eq!(code(&error), expected, "{error}");
    }
}

#[test]
fn missing_wrong_and_right_passwords_are_distinguished() {
    let shelf = Shelf::new();
    let ca_file = shelf.file("ca.pem", shelf.ca.cert_pem());
    for bytes in [
        shelf.client.encrypted_bundle_pem("correct horse"),
        [
            shelf.client.cert_pem(),
            shelf.client.encrypted_traditional_key_pem("correct horse"),
        ]
        .concat(),
    ] {
        let path = shelf.file("client.pem", bytes);
        let context = |password: Option<&str>| {
            let options = TlsOptions::builder()
                .ca_file(&ca_file)
                .certificate_key_file(&path);
            let options = match password {
                Some(password) => options.certificate_key_file_password(password),
                None => options,
            };
            TlsContext::new(&options.build().unwrap())
        };
        assert_eq!(
            code(&context(None).unwrap_err()),
            CauseCode::KeyPasswordMissing
        );
        for wrong in ["hunter22", "", "correct horses", &"x".repeat(5000)] {
            let error = context(Some(wrong)).unwrap_err();
            assert_eq!(
                code(&error),
                CauseCode::KeyPasswordWrong,
                "{wrong:?}: {error}"
            );
            assert!(wrong.is_empty() || !format!("{error:?}").contains(wrong));
        }
        assert_eq!(
            context(Some("correct horse"))
                .unwrap()
                .own_certificate()
                .unwrap()
                .subject,
            "CN=app,OU=clients,O=mongotls"
        );
    }
}

#[test]
fn a_wrong_password_is_never_taken_for_a_missing_algorithm() {
    // About one in a few hundred wrong passwords decrypts to random bytes with valid padding.
    let shelf = Shelf::new();
    let traditional = [
        shelf.client.cert_pem(),
        shelf.client.encrypted_traditional_key_pem("right"),
    ]
    .concat();
    let path = shelf.file("client.pem", traditional);
    let ca_file = shelf.file("ca.pem", shelf.ca.cert_pem());
    for n in 0..1500 {
        let options = TlsOptions::builder()
            .ca_file(&ca_file)
            .certificate_key_file(&path);
        let options = options.certificate_key_file_password(format!("wrong {n}"));
        let error = TlsContext::new(&options.build().unwrap()).unwrap_err();
        assert_eq!(code(&error), CauseCode::KeyPasswordWrong, "{n}: {error:?}");
    }
}

#[test]
fn encrypted_blocks_in_certificate_files_are_skipped() {
    let shelf = Shelf::new();
    let encrypted = |label: &str| {
        format!(
            "-----BEGIN {label}-----\nProc-Type: 4,ENCRYPTED\nDEK-Info: AES-128-CBC,00112233445566778899AABBCCDDEEFF\n\nAAAA\n-----END {label}-----\n"
        )
    };
    let error = shelf.error("tlsCAFile", &shelf.file("ca.pem", encrypted("CERTIFICATE")));
    assert_eq!(code(&error), CauseCode::CaFileInvalid);
    let error = shelf.error("tlsCRLFile", &shelf.file("crl.pem", encrypted("X509 CRL")));
    assert_eq!(code(&error), CauseCode::CrlFileInvalid);
}

#[test]
fn a_weak_client_certificate_names_its_file() {
    let shelf = Shelf::new();
    let small = too_small_rsa();
    let weak = shelf
        .ca
        .issue(LeafSpec::client("app").key_kind(KeyKind::Rsa(small)));
    let error = shelf.error(
        "tlsCertificateKeyFile",
        &shelf.file("weak.pem", weak.bundle_pem()),
    );
    assert_eq!(
        (code(&error), fact(&error, "key")),
        (CauseCode::KeyTooWeak, format!("RSA {small}"))
    );
}

#[test]
fn a_ca_file_must_load_even_where_its_verdict_does_not_count() {
    let error =
        Client::connect("mongodb://h/?tlsCAFile=/nowhere/ca.pem&tlsInsecure=true").unwrap_err();
    assert_eq!(code(&error), CauseCode::CaFileUnreadable);
}

#[test]
fn a_password_is_not_asked_for_on_a_terminal() {
    // A process with a terminal would block; one without must not even try.
    let shelf = Shelf::new();
    let path = shelf.file("client.pem", shelf.client.encrypted_bundle_pem("p"));
    let error = shelf.error("tlsCertificateKeyFile", &path);
    assert_eq!(code(&error), CauseCode::KeyPasswordMissing);
    assert_eq!(
        error.cause().unwrap().remedy(),
        "Set tlsCertificateKeyFilePassword to the password of the private key."
    );
}

#[test]
fn the_client_chain_is_sent_whatever_its_order_in_the_file() {
    use mongotls_testbench::server::{ClientAuth, Server, ServerTls};
    let root = Ca::root("root", KeyKind::EcP256);
    let mid = root.intermediate("mid", KeyKind::EcP256);
    let identity = root.issue(LeafSpec::local_server());
    let server = Server::builder()
        .tls(ServerTls::new(&identity).client_auth(ClientAuth::Require, &[root.cert()]))
        .start();
    let bench = Bench::around(server, root);
    let client = mid.issue(LeafSpec::client("app"));
    let orders = [
        [client.key_pem(), client.cert_pem(), mid.cert_pem()],
        [mid.cert_pem(), client.cert_pem(), client.key_pem()],
        [client.cert_pem(), client.key_pem(), mid.cert_pem()],
    ];
    for parts in orders {
        let path = bench.dir.write("client.pem", parts.concat());
        crate::common::ping(&bench.uri(&format!("&tlsCertificateKeyFile={}", path.display())))
            .unwrap();
    }
    let without = bench
        .dir
        .write("client.pem", [client.key_pem(), client.cert_pem()].concat());
    let error = crate::common::ping_error(
        &bench.uri(&format!("&tlsCertificateKeyFile={}", without.display())),
    );
    assert_eq!(code(&error), CauseCode::ClientCertificateUntrusted);
}

/// A named pipe that receives `bytes` once.
fn pipe(dir: &PkiDir, name: &str, bytes: Vec<u8>) -> PathBuf {
    let path = silent_pipe(dir, name);
    let to = path.clone();
    std::thread::spawn(move || std::fs::write(to, bytes));
    path
}

fn silent_pipe(dir: &PkiDir, name: &str) -> PathBuf {
    let path = dir.path().join(name);
    let _ = std::fs::remove_file(&path);
    let made = Command::new("mkfifo").arg(&path).status().unwrap();
    assert!(made.success());
    path
}

#[test]
fn pipes_are_enough_for_a_client_and_for_the_doctor() {
    let bench = Bench::sound();
    let client = bench.ca.issue(LeafSpec::client("app"));
    let uri = || {
        let ca = pipe(&bench.dir, "ca", bench.ca.cert_pem());
        let crl = bench.ca.crl().build().to_pem().unwrap();
        let crl = pipe(&bench.dir, "crl", crl);
        let own = pipe(&bench.dir, "own", client.bundle_pem());
        format!(
            "mongodb://localhost:{}/?tlsCAFile={}&tlsCRLFile={}&tlsCertificateKeyFile={}",
            bench.server.port(),
            ca.display(),
            crl.display(),
            own.display()
        )
    };
    crate::common::ping(&uri()).unwrap();
    let diagnosis = doctor::examine(&uri());
    assert!(diagnosis.is_ok(), "{:?}", diagnosis.error());
    let files = match &diagnosis.examinations[0].stages[0].findings {
        doctor::Findings::Options { files, .. } => files,
        other => panic!("{other:?}"),
    };
    let holds: Vec<_> = files.iter().map(|file| file.holds.as_str()).collect();
    let expected = ["a certificate", "a CRL", "a certificate and a private key"];
    assert_eq!(holds, expected);
    let report = FileReport::of(&pipe(&bench.dir, "x", bench.ca.cert_pem()), None);
    assert_eq!((report.is_ok(), report.certificates.len()), (true, 1));
}

#[test]
fn a_reload_reads_regular_files_alone() {
    let bench = Bench::sound();
    let ca = pipe(&bench.dir, "ca", bench.ca.cert_pem());
    let uri = format!(
        "mongodb://localhost:{}/?tlsCAFile={}",
        bench.server.port(),
        ca.display()
    );
    let client = Client::connect(&uri).unwrap();
    ping_on(&client).unwrap();
    let error = client.reload_tls().unwrap_err();
    assert_eq!(code(&error), CauseCode::CaFileUnreadable);
    assert_eq!(
        error.cause().unwrap().message(),
        format!("tlsCAFile {ca:?} cannot be read: it is a pipe, which can be read only once")
    );
    assert_eq!(
        error.cause().unwrap().remedy(),
        "Give the path of a regular file."
    );
    ping_on(&client).unwrap();
    std::fs::remove_file(&ca).unwrap();
    std::fs::write(&ca, bench.ca.cert_pem()).unwrap();
    client.reload_tls().unwrap();
}

#[test]
fn a_device_is_no_file_of_an_option() {
    let shelf = Shelf::new();
    for (option, expected) in [
        ("tlsCAFile", CauseCode::CaFileUnreadable),
        ("tlsCRLFile", CauseCode::CrlFileUnreadable),
        ("tlsCertificateKeyFile", CauseCode::KeyFileUnreadable),
    ] {
        let error = shelf.error(option, Path::new("/dev/zero"));
        let reason = "it is a device, not a file".to_owned();
        assert_eq!((code(&error), fact(&error, "reason")), (expected, reason));
    }
}

#[test]
fn a_silent_pipe_ends_in_time_and_holds_nobody_up() {
    let shelf = Shelf::new();
    let silent = silent_pipe(&shelf.dir, "silent");
    let sound = shelf.file("ca.pem", shelf.ca.cert_pem());
    let context = |path: &Path| {
        let options = TlsOptions::builder().ca_file(path).build().unwrap();
        TlsContext::new(&options)
    };
    let started = std::time::Instant::now();
    let (quick, error) = std::thread::scope(|scope| {
        let slow = scope.spawn(|| context(&silent).unwrap_err());
        std::thread::sleep(std::time::Duration::from_millis(200));
        context(&sound).unwrap();
        let forked = std::time::Instant::now();
        assert!(Command::new("true").status().unwrap().success());
        assert!(forked.elapsed().as_secs() < 5);
        (started.elapsed(), slow.join().unwrap())
    });
    assert!(quick.as_secs() < 8, "{quick:?}");
    assert!(started.elapsed().as_secs() < 60);
    assert_eq!(
        error.cause().unwrap().message(),
        format!(
            "tlsCAFile {silent:?} cannot be read: nothing more was written to it within 10 s, and it was not closed"
        )
    );
}

/// Runs the command in a remedy, between backticks, for `file`, and returns the path of its output.
fn follow(remedy: &str, file: &Path) -> PathBuf {
    let command = remedy.split('`').nth(1).unwrap();
    let command = command.replace("FILE", &file.display().to_string());
    let folder = file.parent().unwrap();
    let run = Command::new("sh")
        .args(["-c", &command])
        .current_dir(folder)
        .stdin(std::process::Stdio::null())
        .output()
        .unwrap();
    assert!(run.status.success(), "{command}: {run:?}");
    folder.join("ca.pem")
}

/// The output of `openssl` about a file.
fn openssl(words: &[&str], file: &Path) -> Vec<u8> {
    let mut command = Command::new("openssl");
    let run = command.args(words).arg(file).output().unwrap();
    assert!(run.status.success(), "{words:?}: {run:?}");
    run.stdout
}

#[test]
fn the_remedy_for_each_form_of_ca_file_makes_one_that_works() {
    let shelf = Shelf::new();
    let pem = String::from_utf8(shelf.ca.cert_pem()).unwrap();
    let plain = shelf.file("plain.pem", &pem);
    let der = shelf.ca.cert().to_der().unwrap();
    let bundle = |form| {
        openssl(
            &["crl2pkcs7", "-nocrl", "-outform", form, "-certfile"],
            &plain,
        )
    };
    let store = openssl(
        &["pkcs12", "-export", "-nokeys", "-passout", "pass:", "-in"],
        &plain,
    );
    let wide = |mark: &str, from: fn(u16) -> [u8; 2]| -> Vec<u8> {
        let text = format!("{mark}{pem}");
        text.encode_utf16().flat_map(from).collect()
    };
    let bare: String = pem.lines().filter(|line| !line.starts_with('-')).collect();
    let cannot = "holds a certificate that cannot be decoded: whose block begins on line 1";
    let none = "holds no certificate in PEM form: it holds";
    let cases: Vec<(Vec<u8>, String)> = vec![
        (bundle("PEM"), format!("{none} a PKCS#7 file")),
        (bundle("DER"), format!("{none} a PKCS#7 file in DER form")),
        (der.clone(), format!("{none} a certificate in DER form")),
        (
            wide("\u{feff}", u16::to_le_bytes),
            format!("{none} text in UTF-16"),
        ),
        (
            wide("\u{feff}", u16::to_be_bytes),
            format!("{none} text in UTF-16"),
        ),
        (wide("", u16::to_le_bytes), format!("{none} text in UTF-16")),
        (wide("", u16::to_be_bytes), format!("{none} text in UTF-16")),
        (
            bare.clone().into_bytes(),
            format!("{none} base64 without BEGIN and END lines"),
        ),
        (
            bare.as_bytes()
                .chunks(64)
                .collect::<Vec<_>>()
                .join(&b"\r\n"[..]),
            format!("{none} base64 without BEGIN and END lines"),
        ),
        (
            pem.replace('\n', "\\n").into_bytes(),
            format!(r"{cannot}, has \n as text in place of line breaks"),
        ),
        (
            pem.replace('\n', "\n    ").into_bytes(),
            format!("{cannot}, is indented"),
        ),
        (
            pem.lines()
                .map(|line| format!("\t{line}\n"))
                .collect::<String>()
                .into_bytes(),
            format!("{cannot}, is indented"),
        ),
        (store, format!("{none} a PKCS#12 file")),
    ];
    for (bytes, why) in cases {
        let file = shelf.file("wrong", bytes);
        let error = shelf.error("tlsCAFile", &file);
        assert_eq!(code(&error), CauseCode::CaFileInvalid);
        let cause = error.cause().unwrap();
        assert_eq!(cause.message(), format!("tlsCAFile {file:?} {why}"));
        let remedy = cause
            .remedy()
            .replace("pkcs12 -in", "pkcs12 -passin pass: -in");
        let made = follow(&remedy, &file);
        let options = TlsOptions::builder().ca_file(&made).build().unwrap();
        TlsContext::new(&options).unwrap_or_else(|error| panic!("{why}: {error}"));
    }
}

#[test]
fn a_ca_file_that_no_command_repairs_says_what_to_give() {
    let shelf = Shelf::new();
    let pem = String::from_utf8(shelf.ca.cert_pem()).unwrap();
    let lines = pem.lines().count();
    let other = String::from_utf8(Ca::root("other", KeyKind::EcP256).cert_pem()).unwrap();
    let damaged = other.replacen("\nMI", "\n*I", 1);
    let cut = &pem[..pem.len() / 2];
    let none = "holds no certificate in PEM form: it holds";
    let cannot = "holds a certificate that cannot be decoded:";
    let give = "Give a PEM file with the CA's certificate.";
    let whole = "Copy the whole file again; each block must end with its END line.";
    let replace = "Replace the damaged PEM block; each block must hold one whole certificate.";
    let cases: Vec<(String, String, &str)> = vec![
        (String::new(), format!("{none} nothing"), give),
        (
            "hello".to_owned(),
            format!("{none} text without a PEM block"),
            give,
        ),
        (
            "<html></html>".to_owned(),
            format!("{none} an HTML page"),
            "Download the certificate itself: a server answered with a web page.",
        ),
        (
            String::from_utf8(shelf.client.key_pem()).unwrap(),
            format!("{none} a private key"),
            "Give the certificate of the CA. No private key is needed to check a server, and that of a CA does not belong on this host.",
        ),
        (
            String::from_utf8(shelf.ca.crl().build().to_pem().unwrap()).unwrap(),
            format!("{none} a CRL"),
            "Give the CRL with tlsCRLFile, and the certificate of the CA with tlsCAFile.",
        ),
        (
            cut.to_owned(),
            "holds a certificate that is cut off: its block begins on line 1".to_owned(),
            whole,
        ),
        (
            format!("{other}{cut}"),
            format!(
                "holds a certificate that is cut off: its block begins on line {}",
                1 + other.lines().count()
            ),
            whole,
        ),
        (
            format!("# a comment\n{pem}{cut}\n{pem}"),
            format!(
                "{cannot} number 2 of 3, whose block begins on line {}, is cut off",
                lines + 2
            ),
            whole,
        ),
        (
            format!("{pem}{damaged}{pem}"),
            format!(
                "{cannot} number 2 of 3, whose block begins on line {}",
                lines + 1
            ),
            replace,
        ),
        (
            pem.replace('\n', " "),
            format!("{cannot} whose block begins on line 1, has no line breaks"),
            "Put the BEGIN line, the END line and each 64 characters between them on lines of their own.",
        ),
    ];
    for (text, why, remedy) in cases {
        let file = shelf.file("wrong", text);
        let error = shelf.error("tlsCAFile", &file);
        let cause = error.cause().unwrap();
        assert_eq!(code(&error), CauseCode::CaFileInvalid);
        assert_eq!(cause.message(), format!("tlsCAFile {file:?} {why}"));
        assert_eq!(cause.remedy(), remedy);
    }
}

/// A Java keystore of the form JKS with one trusted certificate, like that of `keytool -importcert`.
fn java_keystore(certificate: &[u8], password: &str) -> Vec<u8> {
    let text = |text: &str| {
        let length = u16::try_from(text.len()).unwrap();
        [&length.to_be_bytes(), text.as_bytes()].concat()
    };
    let length = u32::try_from(certificate.len()).unwrap();
    let store = [
        // The magic number, the version, and one entry, which is a trusted certificate.
        &[0xfe, 0xed, 0xfe, 0xed, 0, 0, 0, 2, 0, 0, 0, 1, 0, 0, 0, 2][..],
        &text("root"),
        // The time when it was added.
        &[0; 8],
        &text("X.509"),
        &length.to_be_bytes(),
        certificate,
    ]
    .concat();
    let wide: Vec<u8> = password.encode_utf16().flat_map(u16::to_be_bytes).collect();
    let digest = openssl::sha::sha1(&[&wide, &b"Mighty Aphrodite"[..], &store].concat());
    [store, digest.to_vec()].concat()
}

#[test]
fn a_java_keystore_is_reported_with_a_conversion_command() {
    let shelf = Shelf::new();
    let der = shelf.ca.cert().to_der().unwrap();
    let file = shelf.file("trust.jks", java_keystore(&der, "changeit"));
    let error = shelf.error("tlsCAFile", &file);
    let cause = error.cause().unwrap();
    assert_eq!(code(&error), CauseCode::CaFileInvalid);
    assert_eq!(
        cause.message(),
        format!("tlsCAFile {file:?} holds no certificate in PEM form: it holds a Java keystore")
    );
    assert_eq!(
        cause.remedy(),
        "Convert it: `keytool -list -rfc -keystore FILE > ca.pem`."
    );
    let has_keytool = Command::new("keytool").arg("-help").output().is_ok();
    if !has_keytool {
        return crate::matrix::skipped("a Java keystore; the host has no keytool");
    }
    // It prompts for the password on the terminal.
    let remedy = cause.remedy().replace("-list", "-list -storepass changeit");
    let made = follow(&remedy, &file);
    let options = TlsOptions::builder().ca_file(&made).build().unwrap();
    TlsContext::new(&options).unwrap();
}
