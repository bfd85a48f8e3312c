//! The contents of files of certificates, keys and CRLs, and their problems: from `mongotls inspect`, and from the
//! doctor before it connects.

use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::process::Command;

use mongotls::options::Secret;
use mongotls::tls::FileReport;
use mongotls_testbench::pki::{
    Ca, CaSpec, Digest, Identity, KeyKind, LeafSpec, PkiDir, Purpose, Revocation, Validity,
};
use mongotls_testbench::random::{Random, rounds};
use mongotls_testbench::server::{ClientAuth, Server, ServerTls};
use serde_json::{Value, json};

use crate::cli::mongotls;
use crate::common::Bench;

/// A CA with an intermediate below it, and a folder for files.
struct Desk {
    dir: PkiDir,
    root: Ca,
    mid: Ca,
}

impl Desk {
    fn new() -> Self {
        let root = Ca::root("root", KeyKind::EcP256);
        let mid = root.intermediate("mid", KeyKind::EcP256);
        let dir = PkiDir::new();
        Self { dir, root, mid }
    }

    fn file(&self, name: &str, bytes: impl AsRef<[u8]>) -> PathBuf {
        self.dir.write(name, bytes)
    }

    /// The result of `inspect` for one file with these bytes.
    fn told(&self, bytes: impl AsRef<[u8]>) -> Told {
        inspect(&self.file("file", bytes), &[])
    }

    /// The result of `inspect` for one file with these bytes and a password.
    fn told_with(&self, password: &str, bytes: impl AsRef<[u8]>) -> Told {
        let path = self.file("password", password);
        let words = ["--password-file", path.to_str().unwrap()];
        inspect(&self.file("file", bytes), &words)
    }
}

/// The exit code and the object of one file.
struct Told {
    code: i32,
    file: Value,
}

impl Told {
    /// The codes of the findings with their severity: `!` before a failure.
    fn findings(&self) -> Vec<String> {
        codes(&self.file)
    }

    #[track_caller]
    fn expect(&self, code: i32, findings: &[&str]) -> &Value {
        let told = (self.code, self.findings());
        let expected = findings.iter().map(|&text| text.to_owned()).collect();
        assert_eq!(told, (code, expected), "{:#}", self.file);
        &self.file
    }
}

fn codes(file: &Value) -> Vec<String> {
    let findings = file["findings"].as_array().unwrap().iter();
    let code = |finding: &Value| {
        assert!(!finding["message"].as_str().unwrap().is_empty());
        let mark = match finding["severity"].as_str().unwrap() {
            "failure" => "!",
            "warning" => "",
            other => panic!("{other}"),
        };
        format!("{mark}{}", finding["code"].as_str().unwrap())
    };
    findings.map(code).collect()
}

fn inspect(path: &Path, more: &[&str]) -> Told {
    let words = [&["inspect", path.to_str().unwrap(), "--json"], more].concat();
    let run = mongotls(&words);
    let object: Value = serde_json::from_str(&run.out)
        .unwrap_or_else(|error| panic!("{error}: {}{}", run.out, run.err));
    let file = object["files"][0].clone();
    assert_eq!(object["ok"], run.code == 0);
    assert_eq!(file["ok"], object["ok"]);
    let code = run.code;
    Told { code, file }
}

fn openssl(arguments: &[&str], input: &Path) -> Vec<u8> {
    let mut command = Command::new("openssl");
    let run = command.args(arguments).arg("-in").arg(input).output();
    let run = run.unwrap();
    let complaint = String::from_utf8_lossy(&run.stderr).into_owned();
    assert!(run.status.success(), "{arguments:?}: {complaint}");
    run.stdout
}

#[test]
fn every_form_of_file_is_reported() {
    let desk = Desk::new();
    let server = desk.mid.issue(LeafSpec::local_server());
    let crl = desk.root.crl().validity(Validity::days(-1, 90)).build();
    let key = desk.file("key.pem", server.key_pem());
    let config = desk.file("req.cnf", "[req]\ndistinguished_name = dn\n[dn]\n");
    let request = ["req", "-new", "-subj", "/CN=x", "-key"];
    let request = openssl(
        &[
            &request[..],
            &[key.to_str().unwrap(), "-config", config.to_str().unwrap()],
        ]
        .concat(),
        Path::new("/dev/null"),
    );
    let encrypted_der = openssl(
        &["pkcs8", "-topk8", "-outform", "DER", "-passout", "pass:p"],
        &key,
    );
    let nothing = &["!nothing-usable"][..];
    type Case<'a> = (&'a str, Vec<u8>, &'a str, [usize; 3], &'a [&'a str]);
    let cases: Vec<Case<'_>> = vec![
        ("empty", Vec::new(), "nothing", [0, 0, 0], nothing),
        (
            "text",
            b"hello".to_vec(),
            "text without a PEM block",
            [0, 0, 0],
            nothing,
        ),
        (
            "binary",
            b"\xff\x00\x01".to_vec(),
            "binary data",
            [0, 0, 0],
            nothing,
        ),
        (
            "html",
            b"<!DOCTYPE html><p>Not found".to_vec(),
            "an HTML page",
            [0, 0, 0],
            nothing,
        ),
        (
            "jks",
            b"\xfe\xed\xfe\xed\0\0\0\x02".to_vec(),
            "a Java keystore",
            [0, 0, 0],
            nothing,
        ),
        (
            "der",
            b"\x30\x03\x02\x01\x00".to_vec(),
            "binary data in DER form",
            [0, 0, 0],
            nothing,
        ),
        ("pem", request, "a certificate request", [0, 0, 0], nothing),
        (
            "pem",
            server.bundle_pem(),
            "a certificate and a private key",
            [2, 1, 0],
            &[],
        ),
        ("pem", crl.to_pem().unwrap(), "a CRL", [0, 0, 1], &[]),
        (
            "pem",
            [server.cert_pem(), crl.to_pem().unwrap()].concat(),
            "a certificate and a CRL",
            [1, 0, 1],
            &[],
        ),
        (
            "der",
            crl.to_der().unwrap(),
            "a CRL in DER form",
            [0, 0, 1],
            &[],
        ),
        (
            "der",
            server.cert.to_der().unwrap(),
            "a certificate in DER form",
            [1, 0, 0],
            &["not-pem"],
        ),
        (
            "der",
            server.key.private_key_to_der().unwrap(),
            "a private key in DER form",
            [0, 1, 0],
            &["not-pem"],
        ),
        (
            "der",
            encrypted_der,
            "an encrypted private key in DER form",
            [0, 1, 0],
            &["not-pem", "key-password-missing"],
        ),
        (
            "pkcs12",
            server.pkcs12(""),
            "a PKCS#12 file",
            [2, 1, 0],
            &[],
        ),
        (
            "pkcs12",
            server.pkcs12("p"),
            "a PKCS#12 file",
            [0, 0, 0],
            &["!key-password-missing"],
        ),
    ];
    for (form, bytes, holds, counts, findings) in cases {
        let told = desk.told(&bytes);
        let failed = findings.iter().any(|code| code.starts_with('!'));
        let file = told.expect(i32::from(failed), findings);
        assert_eq!(
            (&file["form"], &file["holds"]),
            (&json!(form), &json!(holds))
        );
        let found = ["certificates", "keys", "crls"].map(|key| file[key].as_array().unwrap().len());
        assert_eq!(found, counts, "{holds}");
    }
}

#[test]
fn a_file_that_cannot_be_read_says_why() {
    let desk = Desk::new();
    for (path, why) in [
        (desk.dir.path().join("missing"), "there is no such file"),
        (desk.dir.path().to_owned(), "it is a folder"),
    ] {
        let told = inspect(&path, &[]);
        let file = told.expect(1, &["!file-unreadable"]);
        assert_eq!(file["form"], Value::Null);
        let message = file["findings"][0]["message"].as_str().unwrap();
        assert!(message.contains(why), "{message}");
    }
}

#[test]
fn a_certificate_is_reported_with_names_usage_and_key() {
    let desk = Desk::new();
    let server = desk
        .mid
        .issue(LeafSpec::local_server().key_kind(KeyKind::Rsa(2048)));
    let told = desk.told(server.bundle_pem());
    let file = told.expect(0, &[]);
    let leaf = &file["certificates"][0];
    let usage = json!(["digitalSignature", "keyEncipherment"]);
    let expected = [
        ("subject", json!("CN=localhost")),
        ("issuer", json!("CN=mid")),
        ("serial", json!(server.serial_hex())),
        ("dns_names", json!(["localhost"])),
        ("ip_addresses", json!(["127.0.0.1", "::1"])),
        ("is_ca", json!(false)),
        ("key_usage", usage),
        ("key", json!("RSA 2048")),
        ("signature_algorithm", json!("ecdsa-with-SHA256")),
    ];
    for (key, value) in expected {
        assert_eq!(leaf[key], value, "{key}");
    }
    let purposes = leaf["extended_key_usage"].as_array().unwrap();
    assert!(purposes.contains(&json!("serverAuth")), "{purposes:?}");
    let mid = &file["certificates"][1];
    let usage = json!(["keyCertSign", "cRLSign"]);
    let facts = [&mid["is_ca"], &mid["key_usage"], &mid["extended_key_usage"]];
    assert_eq!(facts, [&json!(true), &usage, &Value::Null]);
    let key = &file["keys"][0];
    assert_eq!(
        (&key["kind"], &key["certificate"]),
        (&json!("RSA 2048"), &json!(0))
    );
    assert_eq!(key["public_key_sha256"], leaf["public_key_sha256"]);
    assert_eq!(key["public_key_sha256"].as_str().unwrap().len(), 64);
    let chain = json!({ "path": [0, 1], "in_order": true, "signatures_valid": true });
    assert_eq!(file["chain"], chain);
}

#[test]
fn a_crl_is_reported_with_dates_number_and_size() {
    let desk = Desk::new();
    let gone = desk.root.issue(LeafSpec::local_server());
    let crl = desk
        .root
        .crl()
        .number(300)
        .revoke(Revocation::of(&gone.cert));
    let crl = crl.validity(Validity::days(-1, 90)).build();
    let told = desk.told(crl.to_pem().unwrap());
    let crl = &told.expect(0, &[])["crls"][0];
    assert_eq!(
        (&crl["issuer"], &crl["entries"]),
        (&json!("CN=root"), &json!(1))
    );
    assert_eq!(crl["number"], "300");
    assert_eq!(crl["signature_algorithm"], "ecdsa-with-SHA256");
    assert!(crl["this_update"].as_str().unwrap() < crl["next_update"].as_str().unwrap());
}

#[test]
fn inspect_reports_the_kind_and_password_of_each_key_form() {
    let desk = Desk::new();
    for kind in [KeyKind::Rsa(2048), KeyKind::EcP256, KeyKind::Ed25519] {
        let client = desk.root.issue(LeafSpec::client("app").key_kind(kind));
        let name = match kind {
            KeyKind::Rsa(_) => "RSA 2048",
            KeyKind::EcP256 => "EC prime256v1",
            _ => "ED25519",
        };
        let label = name.split(' ').next().unwrap();
        let mut open = vec![("pkcs8", client.key_pem())];
        let mut locked = vec![("pkcs8", Value::Null, client.encrypted_key_pem("right"))];
        if kind != KeyKind::Ed25519 {
            open.push(("traditional", client.traditional_key_pem()));
            let bytes = client.encrypted_traditional_key_pem("right");
            locked.push(("traditional", json!(label), bytes));
        }
        let facts = |told: &Told| {
            let key = &told.file["keys"][0];
            ["form", "kind", "encrypted", "opened", "certificate"].map(|name| key[name].clone())
        };
        for (form, key) in open {
            let told = desk.told([client.cert_pem(), key].concat());
            told.expect(0, &[]);
            let expected = [
                json!(form),
                json!(name),
                json!(false),
                json!(true),
                json!(0),
            ];
            assert_eq!(facts(&told), expected);
        }
        for (form, unopened, key) in locked {
            let both = [client.cert_pem(), key].concat();
            let closed = [
                json!(form),
                unopened,
                json!(true),
                json!(false),
                Value::Null,
            ];
            let told = desk.told(&both);
            told.expect(0, &["key-password-missing"]);
            assert_eq!(facts(&told), closed);
            let told = desk.told_with("wrong\n", &both);
            told.expect(1, &["!key-password-wrong"]);
            assert_eq!(facts(&told), closed);
            let told = desk.told_with("right\r\nmore", &both);
            told.expect(0, &[]);
            let expected = [json!(form), json!(name), json!(true), json!(true), json!(0)];
            assert_eq!(facts(&told), expected);
        }
        let store = client.pkcs12("right");
        desk.told_with("wrong", &store)
            .expect(1, &["!key-password-wrong"]);
        let told = desk.told_with("right", &store);
        told.expect(0, &[]);
        let expected = [
            json!("pkcs12"),
            json!(name),
            json!(true),
            json!(true),
            json!(0),
        ];
        assert_eq!(facts(&told), expected);
    }
}

#[test]
fn an_odd_password_is_wrong_and_no_more() {
    let desk = Desk::new();
    let client = desk.root.issue(LeafSpec::client("app"));
    for bytes in [client.pkcs12("p"), client.encrypted_bundle_pem("p")] {
        for password in ["p\0p", "\0", &"x".repeat(5000)] {
            let told = desk.told_with(password, &bytes);
            told.expect(1, &["!key-password-wrong"]);
        }
    }
}

#[test]
fn a_key_must_belong_to_a_certificate_of_its_file() {
    let desk = Desk::new();
    let (app, other) = (
        desk.root.issue(LeafSpec::client("app")),
        desk.root.issue(LeafSpec::client("other")),
    );
    let mismatch = &["!key-certificate-mismatch"];
    let told = desk.told([app.cert_pem(), other.key_pem()].concat());
    assert_eq!(
        told.expect(1, mismatch)["keys"][0]["certificate"],
        Value::Null
    );
    desk.told([app.bundle_pem(), app.key_pem()].concat())
        .expect(1, mismatch);
    // A key without a certificate belongs to one in another file.
    desk.told(app.key_pem()).expect(0, &[]);
    let many = app.key_pem().repeat(100);
    let told = desk.told(many);
    let file = told.expect(1, &["too-many-blocks", "!key-certificate-mismatch"]);
    assert_eq!(file["keys"].as_array().unwrap().len(), 8);
}

#[test]
fn a_chain_stands_in_order_is_whole_and_is_signed() {
    let desk = Desk::new();
    let low = desk.mid.intermediate("low", KeyKind::EcP256);
    let client = low.issue(LeafSpec::client("app"));
    let renewed = CaSpec::new("low").issued_by(&desk.mid);
    let stranger = Ca::root("stranger", KeyKind::EcP256);
    let [leaf, low, mid, root] = [
        client.cert_pem(),
        low.cert_pem(),
        desk.mid.cert_pem(),
        desk.root.cert_pem(),
    ];
    let (renewed, stranger) = (renewed.cert_pem(), stranger.cert_pem());
    type Case<'a> = (&'a [&'a Vec<u8>], &'a [usize], bool, bool, &'a [&'a str]);
    let cases: &[Case<'_>] = &[
        (&[&leaf, &low], &[0, 1], true, true, &[]),
        (&[&leaf, &low, &mid, &root], &[0, 1, 2, 3], true, true, &[]),
        (
            &[&leaf, &mid, &low],
            &[0, 2, 1],
            false,
            true,
            &["chain-out-of-order"],
        ),
        (
            &[&root, &mid, &low, &leaf],
            &[3, 2, 1, 0],
            false,
            true,
            &["chain-out-of-order"],
        ),
        (
            &[&leaf, &low, &stranger],
            &[0, 1],
            false,
            true,
            &["chain-unrelated"],
        ),
        (&[&leaf, &mid], &[0], false, true, &["chain-unrelated"]),
        (
            &[&leaf, &renewed, &mid],
            &[0, 1, 2],
            true,
            false,
            &["!signature-invalid"],
        ),
        // Of two with one name, the issuer is the one that signed.
        (
            &[&leaf, &renewed, &low],
            &[0, 2],
            false,
            true,
            &["chain-unrelated"],
        ),
    ];
    for (parts, path, in_order, valid, findings) in cases {
        let told = desk.told(
            parts
                .iter()
                .flat_map(|part| part.iter().copied())
                .collect::<Vec<u8>>(),
        );
        let failed = findings.iter().any(|code| code.starts_with('!'));
        let file = told.expect(i32::from(failed), findings);
        let chain = json!({ "path": path, "in_order": in_order, "signatures_valid": valid });
        assert_eq!(file["chain"], chain, "{findings:?}");
    }
    // A bundle of CAs is not a chain.
    let told = desk.told([root, stranger, mid].concat());
    assert_eq!(told.expect(0, &[])["chain"], Value::Null);
    // A PKCS#12 file has no order.
    desk.told(client.pkcs12("")).expect(0, &[]);
}

#[test]
fn dates_are_reported_and_fail_like_connections() {
    let desk = Desk::new();
    let server = |validity| {
        desk.root
            .issue(LeafSpec::local_server().validity(validity))
            .cert_pem()
    };
    let crl = |validity| desk.root.crl().validity(validity).build().to_pem().unwrap();
    let ca = |validity| CaSpec::new("dated").validity(validity).root().cert_pem();
    let (past, future) = (Validity::expired(), Validity::not_yet());
    let (soon, later) = (Validity::days(-1, 29), Validity::days(-1, 31));
    let cases: Vec<(Vec<u8>, &[&str])> = vec![
        (server(past), &["!certificate-expired"]),
        (server(future), &["!certificate-not-yet-valid"]),
        (server(soon), &["certificate-ends-soon"]),
        (server(later), &[]),
        (ca(past), &["!certificate-expired"]),
        (ca(soon), &["certificate-ends-soon"]),
        // A bundle may contain an old CA beside one in force.
        (
            [ca(past), desk.root.cert_pem()].concat(),
            &["certificate-expired"],
        ),
        (
            [server(later), ca(past)].concat(),
            &["!certificate-expired", "chain-unrelated"],
        ),
        (crl(past), &["!crl-expired"]),
        (crl(future), &["!crl-not-yet-valid"]),
        // In relation to a CRL's own validity: a weekly one has no finding for most of the week.
        (crl(soon), &[]),
        (crl(Validity::days(-6, 1)), &[]),
        (
            crl(Validity::seconds(-6 * 86_400 - 70_000, 50_000)),
            &["crl-ends-soon"],
        ),
        (crl(Validity::days(-350, 15)), &["crl-ends-soon"]),
        (crl(Validity::days(-300, 65)), &[]),
        (
            desk.root
                .crl()
                .without_next_update()
                .build()
                .to_pem()
                .unwrap(),
            &["crl-no-next-update"],
        ),
        (crl(later), &[]),
    ];
    for (bytes, findings) in cases {
        let failed = findings.iter().any(|code| code.starts_with('!'));
        desk.told(bytes).expect(i32::from(failed), findings);
    }
    let told = desk.told(server(Validity::seconds(-60, 9 * 86_400 + 3600)));
    let message = told.file["findings"][0]["message"].as_str().unwrap();
    assert!(
        message.contains("\"localhost\" ends in 9 days"),
        "{message}"
    );
}

#[test]
fn purposes_names_keys_and_digests_are_judged() {
    let desk = Desk::new();
    let issue = |spec: LeafSpec| desk.root.issue(spec).cert_pem();
    let signing = LeafSpec::local_server().purposes(&[Purpose::CodeSigning]);
    let rsa = Ca::root("rsa", KeyKind::Rsa(2048));
    let md5 = rsa.issue(LeafSpec::local_server().digest(Digest::Md5));
    let crl = desk.root.crl().validity(Validity::days(-1, 90));
    let cases: Vec<(Vec<u8>, &[&str])> = vec![
        (issue(signing), &["!wrong-purpose"]),
        (
            issue(LeafSpec::local_server().no_san()),
            &["no-subject-alt-name"],
        ),
        (issue(LeafSpec::new("bare")), &["no-subject-alt-name"]),
        (issue(LeafSpec::client("app")), &[]),
        (
            issue(LeafSpec::local_server().key_kind(KeyKind::Rsa(1024))),
            &["key-too-weak"],
        ),
        (
            issue(LeafSpec::local_server().digest(Digest::Sha1)),
            &["digest-too-weak"],
        ),
        (md5.cert_pem(), &["digest-too-weak"]),
        (
            crl.digest(Digest::Sha1).build().to_pem().unwrap(),
            &["digest-too-weak"],
        ),
        // The signature of a root is never checked.
        (
            CaSpec::new("old").digest(Digest::Sha1).root().cert_pem(),
            &[],
        ),
    ];
    for (bytes, findings) in cases {
        let failed = findings.iter().any(|code| code.starts_with('!'));
        desk.told(bytes).expect(i32::from(failed), findings);
    }
}

#[test]
fn damaged_and_unfinished_blocks_are_reported() {
    let desk = Desk::new();
    let root = desk.root.cert_pem();
    for label in ["CERTIFICATE", "X509 CRL", "PRIVATE KEY"] {
        let damaged = format!("-----BEGIN {label}-----\nMIIB\n-----END {label}-----\n");
        desk.told([&root, damaged.as_bytes()].concat())
            .expect(1, &["!damaged-block"]);
    }
    let cut = &root[..root.len() / 2];
    desk.told([&root, cut].concat())
        .expect(0, &["damaged-block"]);
    desk.told([cut, &root].concat())
        .expect(1, &["!damaged-block"]);
    desk.told(cut).expect(1, &["!nothing-usable"]);
    // OpenSSL would prompt for its password on the terminal.
    let asks = "-----BEGIN CERTIFICATE-----\nProc-Type: 4,ENCRYPTED\nDEK-Info: AES-128-CBC,00\n\nAAAA\n-----END CERTIFICATE-----\n";
    desk.told(asks).expect(1, &["!nothing-usable"]);
}

#[test]
fn a_world_readable_private_key_is_reported() {
    let desk = Desk::new();
    let client = desk.root.issue(LeafSpec::client("app"));
    for (bytes, holds_key) in [(client.bundle_pem(), true), (client.cert_pem(), false)] {
        for (mode, open) in [(0o600, false), (0o640, false), (0o644, true)] {
            let path = desk.file("file", &bytes);
            fs::set_permissions(&path, fs::Permissions::from_mode(mode)).unwrap();
            let expected: &[&str] = match holds_key && open {
                true => &["readable-by-others"],
                false => &[],
            };
            inspect(&path, &[]).expect(0, expected);
        }
    }
}

#[test]
fn several_files_are_reported_and_the_worst_sets_the_code() {
    let desk = Desk::new();
    let client = desk.root.issue(LeafSpec::client("app"));
    let good = desk.file("good.pem", client.bundle_pem());
    let (good, bad) = (good.to_str().unwrap(), "/nowhere/client.pem");
    let run = mongotls(&["inspect", good, bad, "--json"]);
    let object: Value = serde_json::from_str(&run.out).unwrap();
    assert_eq!((run.code, &object["ok"]), (1, &json!(false)));
    let told: Vec<_> = object["files"].as_array().unwrap().iter().collect();
    let facts = told.iter().map(|file| (&file["path"], &file["ok"]));
    let expected = [(&json!(good), &json!(true)), (&json!(bad), &json!(false))];
    assert_eq!(facts.collect::<Vec<_>>(), expected);

    let run = mongotls(&["inspect", good, bad]);
    assert_eq!((run.code, run.err.as_str()), (1, ""));
    for text in [
        "good.pem: a certificate and a private key",
        "0 CN=app,OU=clients,O=mongotls",
        "usage        digitalSignature, keyEncipherment; clientAuth",
        "EC prime256v1, PKCS#8, not encrypted, belongs to certificate 0",
        "all is well",
        "FAILURE  it cannot be read: there is no such file [file-unreadable]",
    ] {
        assert!(run.out.contains(text), "{text}: {}", run.out);
    }
}

#[test]
fn a_wrong_command_line_ends_with_2_and_shows_no_secret() {
    let desk = Desk::new();
    let file = desk.file("ca.pem", desk.root.cert_pem());
    let file = file.to_str().unwrap();
    for words in [
        &["inspect"][..],
        &[
            "inspect",
            "mongodb://u:s3cr3t@h/?tlsCertificateKeyFilePassword=s3cr3t",
        ],
        &["inspect", file, "--password-file"],
        &["inspect", file, "--password-file", "/nowhere/password"],
        &["inspect", file, "--all"],
    ] {
        let run = mongotls(words);
        assert_eq!((run.code, run.out.as_str()), (2, ""), "{words:?}");
        assert!(run.err.starts_with("mongotls: "), "{}", run.err);
        assert!(!run.err.contains("s3cr3t"), "{}", run.err);
    }
}

#[test]
fn neither_a_password_nor_a_key_is_shown() {
    let desk = Desk::new();
    let client = desk.root.issue(LeafSpec::client("app"));
    let password = desk.file("password", "s3cr3t-words\n");
    let bundle = desk.file("client.pem", client.encrypted_bundle_pem("s3cr3t-words"));
    let key = desk.file("key.pem", client.key_pem());
    let lines = String::from_utf8(client.key_pem()).unwrap();
    let (password, bundle) = (password.to_str().unwrap(), bundle.to_str().unwrap());
    let uri = format!(
        "mongodb://localhost:1/?tlsCertificateKeyFile={bundle}&tlsCertificateKeyFilePassword=s3cr3t-words"
    );
    for words in [
        &[
            "inspect",
            bundle,
            key.to_str().unwrap(),
            "--password-file",
            password,
        ][..],
        &[
            "inspect",
            bundle,
            key.to_str().unwrap(),
            "--password-file",
            password,
            "--json",
        ],
        &["inspect", password],
        &["doctor", &uri],
        &["doctor", &uri, "--json"],
    ] {
        let run = mongotls(words);
        let text = run.out + &run.err;
        assert!(!text.is_empty() && !text.contains("s3cr3t"), "{text}");
        let mut secret = lines.lines().filter(|line| !line.starts_with("-----"));
        assert!(secret.all(|line| !text.contains(line)), "{text}");
    }
}

#[test]
fn names_in_a_file_cannot_steer_the_terminal() {
    let desk = Desk::new();
    let hostile = desk
        .root
        .issue(LeafSpec::local_server().subject_entry("O", "a\u{1b}[31mb"));
    let path = desk.file("e\u{1b}[31m.pem", hostile.bundle_pem());
    for words in [&["inspect"][..], &["inspect", "--json"]] {
        let run = mongotls(&[words, &[path.to_str().unwrap()]].concat());
        assert!(run.code == 0 && !run.out.contains('\u{1b}'), "{}", run.out);
    }
}

/// The doctor's result, with the files of the stage `options`.
fn doctor(uri: &str) -> (i32, Value, Vec<Value>) {
    let run = mongotls(&["doctor", uri, "--json"]);
    let object: Value = serde_json::from_str(&run.out).unwrap();
    let stage = &object["stages"][0];
    assert_eq!(stage["name"], "options");
    let files = stage["files"].as_array().unwrap().clone();
    (run.code, object, files)
}

/// A server that requests a client certificate.
fn careful_bench() -> Bench {
    let ca = Ca::root("root", KeyKind::EcP256);
    let identity = ca.issue(LeafSpec::local_server());
    let tls = ServerTls::new(&identity).client_auth(ClientAuth::Require, &[ca.cert()]);
    Bench::around(Server::builder().tls(tls).start(), ca)
}

fn client_file(bench: &Bench, identity: &Identity) -> String {
    let path = bench.dir.write("client.pem", identity.bundle_pem());
    format!("&tlsCertificateKeyFile={}", path.display())
}

#[test]
fn the_doctor_shows_the_files_before_the_network() {
    let bench = careful_bench();
    let client = client_file(&bench, &bench.ca.issue(LeafSpec::client("app")));
    let crl = bench.ca.crl().validity(Validity::days(-1, 90)).build();
    let crl = bench.dir.write("crl.pem", crl.to_pem().unwrap());
    let uri = bench.uri(&format!("{client}&tlsCRLFile={}", crl.display()));
    let (code, object, files) = doctor(&uri);
    assert_eq!((code, &object["warnings"]), (0, &json!([])));
    let options: Vec<_> = files
        .iter()
        .map(|file| file["option"].as_str().unwrap())
        .collect();
    assert_eq!(
        options,
        ["tlsCAFile", "tlsCRLFile", "tlsCertificateKeyFile"]
    );
    assert_eq!(files[0]["certificates"][0]["subject"], "CN=root");
    assert_eq!(files[1]["crls"][0]["issuer"], "CN=root");
    assert_eq!(files[2]["keys"][0]["certificate"], 0);
    let run = mongotls(&["doctor", &uri]);
    for text in [
        "tlsCAFile ",
        "CRL of CN=root, ",
        "private key: EC prime256v1, PKCS#8",
    ] {
        assert!(run.out.contains(text), "{text}: {}", run.out);
    }
    // Without TLS there are none.
    let plain = Server::builder().start();
    assert_eq!(doctor(&plain.uri()).2, [] as [Value; 0]);
}

#[test]
fn the_doctor_shows_the_files_that_stop_it() {
    let desk = Desk::new();
    let (app, other) = (
        desk.root.issue(LeafSpec::client("app")),
        desk.root.issue(LeafSpec::client("other")),
    );
    let ca = desk.file("ca.pem", desk.root.cert_pem());
    let open = desk.file("mixed.pem", [app.cert_pem(), other.key_pem()].concat());
    let der = desk.file("client.der", app.cert.to_der().unwrap());
    for (path, cause, findings) in [
        (
            open,
            "key-certificate-mismatch",
            &["!key-certificate-mismatch"][..],
        ),
        (der, "key-file-no-private-key", &["not-pem"]),
    ] {
        let uri = format!(
            "mongodb://localhost:1/?tlsCAFile={}&tlsCertificateKeyFile={}",
            ca.display(),
            path.display()
        );
        let (code, object, files) = doctor(&uri);
        let told = (code, object["stage"].as_str(), object["cause"].as_str());
        assert_eq!(told, (1, Some("options"), Some(cause)));
        assert_eq!(object["stages"][0]["tls"], Value::Null);
        assert_eq!(codes(&files[0]), [] as [&str; 0]);
        assert_eq!(codes(&files[1]), findings);
        // The error reports it; a warning need not repeat it.
        let warned = object["warnings"].as_array().unwrap().len();
        assert_eq!(
            warned,
            findings
                .iter()
                .filter(|code| !code.starts_with('!'))
                .count()
        );
    }
}

#[test]
fn the_doctor_warns_of_expired_files_and_still_connects() {
    let bench = careful_bench();
    let spec = LeafSpec::client("late").validity(Validity::expired());
    let client = client_file(&bench, &bench.ca.issue(spec));
    let (code, object, files) = doctor(&bench.uri(&client));
    assert_eq!(codes(&files[1]), ["!client-certificate-expired"]);
    let warnings = object["warnings"].to_string();
    assert!(warnings.contains("\\\"late\\\" expired at"), "{warnings}");
    assert_eq!(
        (code, &object["cause"]),
        (1, &json!("client-certificate-expired"))
    );
    assert_ne!(object["stage"], "options");

    let crl = bench.ca.crl().validity(Validity::expired()).build();
    let crl = bench.dir.write("crl.pem", crl.to_pem().unwrap());
    let (code, object, files) = doctor(&bench.uri(&format!("&tlsCRLFile={}", crl.display())));
    assert_eq!(codes(&files[1]), ["!crl-expired"]);
    let warnings = object["warnings"].to_string();
    assert!(warnings.contains("is past its nextUpdate"), "{warnings}");
    let told = (code, object["stage"].as_str(), object["cause"].as_str());
    assert_eq!(told, (1, Some("revocation"), Some("crl-expired")));

    // A certificate for servers only: a bench server that does not check accepts it.
    let server = Bench::sound();
    let client = client_file(
        &server,
        &server
            .ca
            .issue(LeafSpec::local_server().purposes(&[Purpose::ServerAuth])),
    );
    let (code, object, files) = doctor(&server.uri(&client));
    assert_eq!(
        (code, codes(&files[1])),
        (0, vec!["wrong-purpose".to_owned()])
    );
    assert!(
        object["warnings"]
            .to_string()
            .contains("does not allow clientAuth")
    );
}

#[test]
fn the_doctor_warns_once_of_each_certificate_that_ends_soon() {
    let root = CaSpec::new("short root")
        .validity(Validity::days(-1, 20))
        .root();
    let soon = |spec: LeafSpec| root.issue(spec.validity(Validity::days(-1, 10)));
    let server = Server::builder()
        .tls(
            ServerTls::new(&soon(LeafSpec::local_server()))
                .client_auth(ClientAuth::Require, &[root.cert()]),
        )
        .start();
    let client = soon(LeafSpec::client("app"));
    let crl = root.crl().validity(Validity::seconds(-6 * 86_400, 39_000));
    let crl = crl.build();
    let bench = Bench::around(server, root);
    let crl = bench.dir.write("crl.pem", crl.to_pem().unwrap());
    let uri = bench.uri(&format!(
        "{}&tlsCRLFile={}",
        client_file(&bench, &client),
        crl.display()
    ));
    let (code, object, _) = doctor(&uri);
    let warnings = object["warnings"].as_array().unwrap();
    let about = |text: &str| {
        let told = |warning: &&Value| warning.as_str().unwrap().contains(text);
        warnings.iter().filter(told).count()
    };
    assert_eq!((code, warnings.len()), (0, 4), "{warnings:#?}");
    for text in [
        "\"short root\" ends in 19 days",
        "the CRL of \"CN=short root\" ends in 10 hours",
        "\"app\" ends in 9 days",
        "\"localhost\" ends in 9 days",
    ] {
        assert_eq!(about(text), 1, "{text}: {warnings:#?}");
    }
}

#[test]
fn many_old_anchors_are_one_warning() {
    let bench = Bench::sound();
    let old = (0..20).map(|n| {
        let old = CaSpec::new(&format!("old {n}")).validity(Validity::expired());
        old.root().cert_pem()
    });
    let bundle = old
        .chain([bench.ca.cert_pem()])
        .collect::<Vec<_>>()
        .concat();
    bench.dir.write("ca.pem", bundle);
    let (code, object, files) = doctor(&bench.uri(""));
    assert_eq!((code, codes(&files[0]).len()), (0, 20));
    let warnings = object["warnings"].as_array().unwrap();
    assert_eq!(warnings.len(), 1);
    let warning = warnings[0].as_str().unwrap();
    assert!(warning.ends_with("; and 19 more like it"), "{warning}");
}

#[test]
fn a_rejected_chain_is_reported_with_its_dates() {
    let bench = Bench::with(
        KeyKind::EcP256,
        |leaf| leaf.validity(Validity::expired()),
        |tls| tls,
    );
    let (_, object, _) = doctor(&bench.uri(""));
    assert_eq!(object["cause"], "certificate-expired");
    let facts = &object["facts"];
    let expected = format!(
        "{} to {}: CN=localhost",
        facts["not_before"].as_str().unwrap(),
        facts["not_after"].as_str().unwrap()
    );
    assert_eq!(facts["sent_validity"], json!([expected]));
}

/// Random files, and valid ones with bytes changed, cut, doubled or joined. In a PEM file most changes break only the
/// text, so that some are made below it. Set `MONGOTLS_FUZZ_ROUNDS` for more.
#[test]
fn random_and_mutated_files_never_panic() {
    let rounds = rounds(3_000);
    let desk = Desk::new();
    let client = desk
        .mid
        .issue(LeafSpec::client("app").dns("host").ip("::1"));
    let crl = desk.root.crl().revoke(Revocation::of(&client.cert)).build();
    let (cert, crl) = (client.cert.to_der().unwrap(), crl.to_der().unwrap());
    let key = client.key.private_key_to_der().unwrap();
    let good = [
        client.bundle_pem(),
        client.encrypted_traditional_key_pem("p"),
        client.pkcs12("p"),
        cert.clone(),
        crl.clone(),
        key.clone(),
    ];
    let below = [
        ("CERTIFICATE", cert),
        ("X509 CRL", crl),
        ("PRIVATE KEY", key),
    ];
    let mut random = Random::default();
    let password = Secret::from("p");
    let (mut held, mut spoiled) = (0_u64, 0_u64);
    for _ in 0..rounds {
        let bytes = match random.below(8) {
            0 => (0..random.below(300))
                .map(|_| random.number().to_le_bytes()[0])
                .collect(),
            1..=4 => mutated(&good[random.below(good.len())], &mut random),
            _ => {
                let (label, der) = &below[random.below(below.len())];
                let block = pem(label, &mutated(der, &mut random));
                [block, client.chain_pem()].concat()
            }
        };
        let path = desk.file("file", &bytes);
        let report = FileReport::of(&path, Some(&password));
        assert!(report.form.is_some());
        let counts = [
            report.certificates.len(),
            report.keys.len(),
            report.crls.len(),
        ];
        held += u64::from(counts.iter().any(|count| *count > 0));
        spoiled += u64::from(!report.is_ok());
        let _ = format!("{report:?}");
    }
    assert!(
        held > 0 && spoiled > 0 && spoiled < rounds,
        "{held} {spoiled}"
    );
}

fn mutated(good: &[u8], random: &mut Random) -> Vec<u8> {
    let mut bytes = good.to_vec();
    for _ in 0..=random.below(3) {
        let at = random.below(bytes.len());
        match random.below(8) {
            0 => bytes.truncate(at.max(1)),
            1 => bytes.extend_from_within(at..),
            2 => drop(bytes.remove(at)),
            3..=5 => bytes[at] ^= 1 << random.below(8),
            _ => bytes[at] = random.number().to_le_bytes()[0],
        }
        if bytes.is_empty() {
            bytes.push(b'-');
        }
    }
    bytes
}

fn pem(label: &str, der: &[u8]) -> Vec<u8> {
    const DIGITS: &[u8; 64] = b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";
    let mut text = format!("-----BEGIN {label}-----\n").into_bytes();
    for line in der.chunks(48) {
        for group in line.chunks(3) {
            let word = group
                .iter()
                .fold(0_usize, |word, byte| word << 8 | usize::from(*byte));
            let word = word << (8 * (3 - group.len()));
            for digit in 0..4 {
                text.push(match digit <= group.len() {
                    true => DIGITS[word >> (18 - 6 * digit) & 63],
                    false => b'=',
                });
            }
        }
        text.push(b'\n');
    }
    text.extend(format!("-----END {label}-----\n").into_bytes());
    text
}

/// A CA created again under its old name, in the files of a server and of a client.
#[test]
fn files_with_equal_names_and_other_keys_are_reported() {
    let desk = Desk::new();
    let again = Ca::root("root", KeyKind::EcP256);
    let leaf = again.issue(LeafSpec::client("app"));
    let old = desk.file("old.pem", desk.root.cert_pem());
    let new = desk.file("new.pem", again.cert_pem());
    let client = desk.file("client.pem", leaf.bundle_pem());
    fs::set_permissions(&client, fs::Permissions::from_mode(0o600)).unwrap();
    let findings = |files: &[&Path]| -> (i32, Vec<(String, String)>) {
        let files = files.iter().map(|file| file.to_str().unwrap());
        let words: Vec<_> = ["inspect", "--json"].into_iter().chain(files).collect();
        let run = mongotls(&words);
        let object: Value = serde_json::from_str(&run.out).unwrap();
        let files = object["files"].as_array().unwrap().iter();
        let text = |value: &Value| value.as_str().unwrap().to_owned();
        let found = files.flat_map(|file| file["findings"].as_array().unwrap().clone());
        let found = found.filter(|found| found["code"] == "issuer-mismatch");
        let found = found.map(|found| (text(&found["severity"]), text(&found["message"])));
        (run.code, found.collect())
    };
    let report = |file: &Path| FileReport::of(file, None).certificates.remove(0);
    let (root, other) = (report(&old), report(&new));
    let id = |certificate: &mongotls::tls::Certificate| certificate.subject_key_id.clone().unwrap();
    let valid = |certificate: &mongotls::tls::Certificate| {
        let bounds = [certificate.not_before, certificate.not_after];
        bounds.map(|time| {
            let time = mongotls::bson::DateTime::from_system_time(time);
            time.try_to_rfc3339_string().unwrap()
        })
    };
    let differs = |certificate: &mongotls::tls::Certificate, key: &str| {
        let [from, until] = valid(certificate);
        format!(
            "has another key{key} (SHA-256 fingerprint {}, valid from {from} to {until})",
            certificate.sha256_fingerprint
        )
    };
    let key = format!(
        ", with the key identifier {} instead of {}",
        id(&root),
        id(&other)
    );
    let message = format!(
        "the certificate \"app\" is not issued by \"CN=root\" in {:?}, which bears the name of its issuer, but {}",
        old.display().to_string(),
        differs(&root, &key)
    );
    assert_eq!(
        findings(&[&old, &client]),
        (1, vec![("failure".to_owned(), message.clone())])
    );
    assert_eq!(findings(&[&new, &client]), (0, Vec::new()));
    assert_eq!(findings(&[&client]), (0, Vec::new()));
    // Two certificates of one name: the old and the new one of a CA are distinguished.
    let (code, found) = findings(&[&old, &new]);
    assert_eq!(code, 0);
    let told = |own: &str, path: &Path, certificate| {
        let text = format!(
            "the certificate {own:?} is not the one of that name in {:?}, which {}",
            path.display().to_string(),
            differs(certificate, "")
        );
        ("warning".to_owned(), text)
    };
    assert_eq!(
        found,
        [told("root", &new, &other), told("root", &old, &root)]
    );
    // With both files the client has no problem.
    let (code, found) = findings(&[&old, &new, &client]);
    assert_eq!((code, found.len()), (0, 2), "{found:?}");

    // The doctor's check of the files before it connects.
    let bench = Bench::sound();
    let ca = [desk.root.cert_pem(), bench.ca.cert_pem()].concat();
    let ca = desk.file("old.pem", ca);
    let uri = format!(
        "mongodb://localhost:{}/?tls=true&tlsCAFile={}&tlsCertificateKeyFile={}",
        bench.server.port(),
        ca.display(),
        client.display()
    );
    let run = mongotls(&["doctor", &uri, "--json"]);
    let object: Value = serde_json::from_str(&run.out).unwrap();
    let warning = format!(
        "tlsCertificateKeyFile {:?}: {message}",
        client.display().to_string()
    );
    assert_eq!(
        (run.code, &object["warnings"]),
        (0, &json!([warning])),
        "{object:#}"
    );
}

/// A problem with a file that two options name is reported once.
#[test]
fn a_file_that_is_named_twice_is_warned_of_once() {
    let bench = Bench::sound();
    let soon = Validity::seconds(-60, 86_400 * 9 + 3600);
    let client = bench.ca.issue(LeafSpec::client("app").validity(soon));
    let path = bench.dir.write("client.pem", client.bundle_pem());
    fs::set_permissions(&path, fs::Permissions::from_mode(0o644)).unwrap();
    let tls = mongotls::options::TlsOptions::builder()
        .ca_file(&bench.ca_file)
        .certificate_and_key_files(&path, &path)
        .build()
        .unwrap();
    let address = mongotls::ServerAddress::tcp("localhost", bench.server.port());
    let options = mongotls::ClientOptions::builder().host(address).tls(tls);
    let diagnosis = mongotls::doctor::examine_options(&options.build().unwrap());
    let warnings = &diagnosis.examinations[0].warnings;
    let count = |words: &str| warnings.iter().filter(|one| one.contains(words)).count();
    assert_eq!(
        (count("ends in 9 days"), count("chmod 600")),
        (1, 1),
        "{warnings:?}"
    );
    assert_eq!(warnings.len(), 2, "{warnings:?}");
}
