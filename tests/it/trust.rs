//! Trust anchors that only the builder can name, and pinned keys.

use std::fs;
use std::net::TcpStream;
use std::process::Command;
use std::sync::Barrier;
use std::thread;
use std::time::Duration;

use mongotls::CauseCode;
use mongotls::options::{SpkiPin, TlsOptions};
use mongotls::tls::TlsContext;
use mongotls_testbench::pki::{Ca, KeyKind, LeafSpec, PkiDir, Revocation};
use mongotls_testbench::server::{Server, ServerTls};
use openssl::pkey::{HasPublic, PKeyRef};
use openssl::sha::sha256;

use crate::common::{Bench, code, fact, timed};

/// A folder with these CAs under hashed names.
pub(crate) fn hashed(certificates: &[&Ca]) -> PkiDir {
    let dir = PkiDir::new();
    for (index, ca) in certificates.iter().enumerate() {
        dir.write(&format!("{index}.pem"), ca.cert_pem());
    }
    let made = Command::new("openssl")
        .arg("rehash")
        .arg(dir.path())
        .output()
        .unwrap();
    assert!(made.status.success(), "{made:?}");
    dir
}

#[test]
fn anchors_come_from_a_folder_from_memory_or_from_both() {
    let bench = Bench::sound();
    let stranger = Ca::root("stranger", KeyKind::EcP256);
    let text = |ca: &Ca| String::from_utf8(ca.cert_pem()).unwrap();
    let (with, without) = (hashed(&[&stranger, &bench.ca]), hashed(&[&stranger]));

    let report = bench
        .handshake(|tls| tls.ca_directory(with.path()))
        .unwrap();
    assert!(report.is_verified());
    bench
        .handshake(|tls| tls.ca_certificates_pem(text(&stranger) + &text(&bench.ca)))
        .unwrap();
    bench
        .handshake(|tls| {
            tls.ca_directory(without.path())
                .ca_certificates_pem(text(&bench.ca))
        })
        .unwrap();
    bench
        .handshake(|tls| {
            tls.ca_certificates_pem(text(&stranger))
                .ca_file(&bench.ca_file)
        })
        .unwrap();

    let error = bench
        .handshake(|tls| {
            tls.ca_directory(without.path())
                .ca_certificates_pem(text(&stranger))
        })
        .unwrap_err();
    assert_eq!(code(&error), CauseCode::IssuerUnknown, "{error}");
    assert_eq!(
        fact(&error, "trust_anchors"),
        format!("{} and 1 from memory", without.path().display())
    );
}

#[test]
fn an_issuer_that_comes_into_the_folder_later_is_found() {
    let bench = Bench::sound();
    let dir = hashed(&[&Ca::root("stranger", KeyKind::EcP256)]);
    let refused = bench.handshake(|tls| tls.ca_directory(dir.path()));
    assert_eq!(code(&refused.unwrap_err()), CauseCode::IssuerUnknown);
    for entry in fs::read_dir(hashed(&[&bench.ca]).path()).unwrap() {
        let entry = entry.unwrap();
        fs::write(
            dir.path().join(entry.file_name()),
            fs::read(entry.path()).unwrap(),
        )
        .unwrap();
    }
    bench.handshake(|tls| tls.ca_directory(dir.path())).unwrap();
}

/// OpenSSL's own lookup would wait for the pipe, and read the others completely.
#[test]
fn other_files_in_a_ca_folder_delay_no_handshake() {
    let bench = Bench::sound();
    let dir = hashed(&[&bench.ca]);
    let hash = format!("{:08x}", bench.ca.cert().subject_name_hash());
    let place = |number: usize| dir.path().join(format!("{hash}.{number}"));
    let fifo = Command::new("mkfifo").arg(place(9)).status().unwrap();
    assert!(fifo.success());
    let huge = fs::File::create(place(8)).unwrap();
    huge.set_len(64 << 30).unwrap();
    std::os::unix::fs::symlink("/dev/zero", place(7)).unwrap();
    fs::write(place(6), "no certificate").unwrap();
    let cases = [
        (9, "it is a pipe, which can be read only once"),
        (8, "it is larger than 1 MiB"),
        (7, "it is a device, not a file"),
        (6, "it holds no certificate in PEM form"),
    ];
    for (number, why) in cases {
        // The certificate comes first, then after the other file, and then not at all.
        let certificate = dir.path().join("certificate");
        fs::rename(place(number), place(1)).unwrap();
        let connect = || {
            timed(Duration::ZERO, Duration::from_secs(5), || {
                bench.handshake(|tls| tls.ca_directory(dir.path()))
            })
        };
        connect().unwrap();
        fs::rename(place(0), &certificate).unwrap();
        fs::rename(place(1), place(0)).unwrap();
        fs::rename(&certificate, place(1)).unwrap();
        connect().unwrap();
        fs::rename(place(1), &certificate).unwrap();
        let error = connect().unwrap_err();
        assert_eq!(code(&error), CauseCode::IssuerUnknown, "{error}");
        let end = format!("; \"{}\" was not used: {why}", place(0).display());
        assert!(error.cause().unwrap().message().ends_with(&end), "{error}");
        fs::rename(place(0), place(number)).unwrap();
        fs::rename(&certificate, place(0)).unwrap();
    }
}

/// Several threads look up a name in parallel, and a context finds its earlier results.
#[test]
fn threads_share_a_folder() {
    let bench = Bench::sound();
    let folder = hashed(&[&bench.ca]);
    let options = TlsOptions::builder().ca_directory(folder.path()).build();
    let context = TlsContext::new(&options.unwrap()).unwrap();
    let connect = || {
        let stream = TcpStream::connect(bench.server.addr()).unwrap();
        context.connect("localhost", stream).map(drop)
    };
    let barrier = Barrier::new(8);
    thread::scope(|scope| {
        let work = || {
            barrier.wait();
            connect()
        };
        let all: Vec<_> = (0..8).map(|_| scope.spawn(work)).collect();
        all.into_iter().for_each(|it| it.join().unwrap().unwrap());
    });
    fs::remove_dir_all(folder.path()).unwrap();
    connect().unwrap();
}

#[test]
fn a_folder_or_text_without_anchors_is_reported() {
    let bench = Bench::sound();
    let dir = PkiDir::new();
    let file = dir.write("ca.pem", bench.ca.cert_pem());
    let missing = dir.path().join("none");
    for (path, expected, words) in [
        (
            missing.as_path(),
            CauseCode::CaFileUnreadable,
            "No such file",
        ),
        (
            file.as_path(),
            CauseCode::CaFileUnreadable,
            "Not a directory",
        ),
        (dir.path(), CauseCode::CaFileInvalid, "hashed name"),
    ] {
        let error = bench.handshake(|tls| tls.ca_directory(path)).unwrap_err();
        assert_eq!(code(&error), expected, "{error}");
        assert_eq!(fact(&error, "path"), path.display().to_string());
        assert!(error.to_string().contains(words), "{error}");
    }
    let key = bench.ca.issue(LeafSpec::local_server()).key_pem();
    let error = bench
        .handshake(|tls| tls.ca_certificates_pem(String::from_utf8(key).unwrap()))
        .unwrap_err();
    assert_eq!(
        (code(&error), fact(&error, "holds").as_str()),
        (CauseCode::CaFileInvalid, "a private key")
    );
}

fn pin(key: &PKeyRef<impl HasPublic>) -> SpkiPin {
    SpkiPin::from_digest(sha256(&key.public_key_to_der().unwrap()))
}

#[test]
fn one_pinned_key_in_the_verified_chain_is_enough() {
    for kind in [KeyKind::Rsa(2048), KeyKind::EcP256, KeyKind::Ed25519] {
        let root = Ca::root("bench root", KeyKind::EcP256);
        let mid = root.intermediate("bench mid", kind);
        let identity = mid.issue(LeafSpec::local_server().key_kind(kind));
        let bench = Bench::around(
            Server::builder().tls(ServerTls::new(&identity)).start(),
            root,
        );
        let leaf_pin = pin(&identity.key);
        let other = SpkiPin::from_digest([7; 32]);
        for pins in [
            &[leaf_pin][..],
            &[other, pin(mid.key())],
            &[pin(bench.ca.key()), other],
        ] {
            let report = bench
                .handshake(|tls| {
                    pins.iter()
                        .fold(tls.ca_file(&bench.ca_file), |tls, pin| tls.pinned_key(*pin))
                })
                .unwrap_or_else(|error| panic!("{pins:?}: {error}"));
            assert!(report.is_verified());
        }
        let error = bench
            .handshake(|tls| tls.ca_file(&bench.ca_file).pinned_key(other))
            .unwrap_err();
        assert_eq!(code(&error), CauseCode::PinMismatch, "{error}");
        assert_eq!(
            fact(&error, "presented_pins"),
            format!("{leaf_pin}, {}, {}", pin(mid.key()), pin(bench.ca.key()))
        );
    }
}

#[test]
fn a_pin_replaces_no_other_check() {
    let root = Ca::root("bench root", KeyKind::EcP256);
    let identity = root.issue(LeafSpec::server("db.example"));
    let crl = root
        .crl()
        .revoke(Revocation::of(&identity.cert))
        .build()
        .to_pem()
        .unwrap();
    let bench = Bench::around(
        Server::builder().tls(ServerTls::new(&identity)).start(),
        root,
    );
    let pin = pin(&identity.key);
    let stranger = Ca::root("stranger", KeyKind::EcP256);
    let stranger_file = bench.dir.write("stranger.pem", stranger.cert_pem());
    let crl_file = bench.dir.write("crl.pem", crl);

    let error = bench.handshake(|tls| tls.ca_file(stranger_file).pinned_key(pin));
    assert_eq!(code(&error.unwrap_err()), CauseCode::IssuerUnknown);
    let error = bench.handshake(|tls| tls.ca_file(&bench.ca_file).pinned_key(pin));
    assert_eq!(code(&error.unwrap_err()), CauseCode::HostnameMismatch);
    let error = bench.handshake(|tls| {
        tls.ca_file(&bench.ca_file)
            .crl_file(crl_file)
            .pinned_key(pin)
            .dangerous(|tls| tls.allow_invalid_hostnames(true))
    });
    assert_eq!(code(&error.unwrap_err()), CauseCode::RevokedCrl);
    let error = bench
        .handshake(|tls| {
            tls.pinned_key(pin)
                .dangerous(|tls| tls.allow_invalid_certificates(true))
        })
        .unwrap_err();
    assert_eq!(code(&error), CauseCode::OptionConflict, "{error}");
    assert!(error.to_string().contains("pinned_key"), "{error}");
}

#[test]
fn a_folder_with_a_colon_in_its_path_is_refused() {
    let bench = Bench::sound();
    let (own, foreign) = (
        hashed(&[&Ca::root("stranger", KeyKind::EcP256)]),
        hashed(&[&bench.ca]),
    );
    // OpenSSL would read this as two folders, and trust the certificates of the second.
    let path = format!("{}:{}", own.path().display(), foreign.path().display());
    fs::create_dir_all(&path).unwrap();
    for entry in fs::read_dir(own.path()).unwrap() {
        let entry = entry.unwrap();
        fs::copy(
            entry.path(),
            std::path::Path::new(&path).join(entry.file_name()),
        )
        .unwrap();
    }
    for path in [path.as_str(), ":", "/etc:"] {
        let error = bench.handshake(|tls| tls.ca_directory(path)).unwrap_err();
        assert_eq!(code(&error), CauseCode::OptionConflict);
        assert_eq!(
            error.cause().unwrap().message(),
            format!(
                "ca_directory {path:?} contains a colon, at which OpenSSL would split it into several folders"
            )
        );
    }
}

/// The certificate of a CA with trust settings, like that of `openssl x509 -trustout`.
fn trusted(ca: &Ca, settings: &[&str]) -> Vec<u8> {
    let dir = PkiDir::new();
    let file = dir.write("ca.pem", ca.cert_pem());
    let mut command = Command::new("openssl");
    command.args(["x509", "-trustout", "-in"]).arg(file);
    let made = command.args(settings).output().unwrap();
    assert!(made.status.success(), "{made:?}");
    assert!(made.stdout.starts_with(b"-----BEGIN TRUSTED CERTIFICATE"));
    made.stdout
}

#[test]
fn trust_settings_decide_whether_a_certificate_is_an_anchor() {
    let bench = Bench::sound();
    let other = Ca::root("other", KeyKind::EcP256);
    let anchors = |settings: &[&str]| trusted(&bench.ca, settings);
    for settings in [
        &[][..],
        &["-setalias", "a name"],
        &["-addtrust", "serverAuth"],
        &["-addtrust", "emailProtection", "-addtrust", "serverAuth"],
        &["-addtrust", "anyExtendedKeyUsage"],
        &["-addreject", "emailProtection", "-addtrust", "serverAuth"],
    ] {
        let file = bench.dir.write("trusted.pem", anchors(settings));
        let report = bench.handshake(|tls| tls.ca_file(&file));
        assert!(report.unwrap().is_verified(), "{settings:?}");
    }
    for settings in [
        &["-addreject", "serverAuth"][..],
        &["-addtrust", "clientAuth"],
        &["-addreject", "anyExtendedKeyUsage"],
    ] {
        let file = bench.dir.write("trusted.pem", anchors(settings));
        let error = bench.handshake(|tls| tls.ca_file(&file)).unwrap_err();
        assert_eq!(code(&error), CauseCode::CaFileInvalid, "{settings:?}");
        assert_eq!(
            error.cause().unwrap().message(),
            format!(
                "tlsCAFile {file:?} holds no trust anchor: the trust settings in its certificates (BEGIN TRUSTED CERTIFICATE) do not allow serverAuth"
            )
        );
        // Beside others, even if the same certificate follows without settings.
        for more in [&b""[..], &bench.ca.cert_pem()] {
            let all = [more, &other.cert_pem(), &anchors(settings)].concat();
            let file = bench.dir.write("trusted.pem", all);
            let error = bench.handshake(|tls| tls.ca_file(&file)).unwrap_err();
            assert_eq!(
                code(&error),
                CauseCode::UntrustedRoot,
                "{settings:?}: {error}"
            );
            assert_eq!(
                error.cause().unwrap().message(),
                "the chain ends in \"CN=bench root\", which is not a trust anchor: its trust settings (BEGIN TRUSTED CERTIFICATE) do not allow serverAuth"
            );
        }
    }
}
