//! Protocol settings of the builder: each with a server that supports both values, so that the agreed value shows the
//! setting, and with one that supports only the other, so that the failure shows it.

use std::fs::Permissions;
use std::os::unix::fs::{MetadataExt, PermissionsExt};
use std::path::Path;

use mongotls::options::{ProtocolOptions, TlsOptionsBuilder, TlsVersion};
use mongotls::{CauseCode, ErrorKind};
use mongotls_testbench::pki::{KeyKind, PkiDir};
use openssl::ssl::SslVersion;

use crate::common::{Bench, code, fact};

/// The builder's options with the CA file of the bench.
fn with<'a>(
    bench: &'a Bench,
    set: impl FnOnce(ProtocolOptions) -> ProtocolOptions + 'a,
) -> impl FnOnce(TlsOptionsBuilder) -> TlsOptionsBuilder + 'a {
    |tls| tls.ca_file(&bench.ca_file).protocol(set)
}

fn only(version: SslVersion) -> Bench {
    Bench::with(
        KeyKind::EcP256,
        |leaf| leaf,
        |tls| tls.versions(version, version),
    )
}

#[test]
fn versions_are_bounded_on_both_sides() {
    let both = Bench::sound();
    let newest = both.handshake(with(&both, |p| p.min_version(TlsVersion::Tls13)));
    assert_eq!(newest.unwrap().protocol(), "TLSv1.3");
    let oldest = both.handshake(with(&both, |p| p.max_version(TlsVersion::Tls12)));
    assert_eq!(oldest.unwrap().protocol(), "TLSv1.2");

    let (old, new) = (only(SslVersion::TLS1_2), only(SslVersion::TLS1_3));
    for error in [
        old.handshake(with(&old, |p| p.min_version(TlsVersion::Tls13))),
        new.handshake(with(&new, |p| p.max_version(TlsVersion::Tls12))),
    ] {
        let error = error.unwrap_err();
        assert_eq!(code(&error), CauseCode::ProtocolVersionMismatch, "{error}");
    }
    let error = both
        .handshake(with(&both, |p| {
            p.min_version(TlsVersion::Tls13)
                .max_version(TlsVersion::Tls12)
        }))
        .unwrap_err();
    assert_eq!(
        (code(&error), error.kind()),
        (CauseCode::OptionConflict, ErrorKind::Configuration)
    );
    assert!(
        error.to_string().contains("min_version is TLS 1.3"),
        "{error}"
    );
}

#[test]
fn ciphers_and_groups_are_the_configured_ones() {
    let (old, new) = (only(SslVersion::TLS1_2), only(SslVersion::TLS1_3));
    let suite = "TLS_CHACHA20_POLY1305_SHA256";
    let report = new
        .handshake(with(&new, |p| p.cipher_suites(suite)))
        .unwrap();
    assert_eq!(report.cipher(), suite);
    let report = old
        .handshake(with(&old, |p| {
            p.cipher_list("ECDHE-ECDSA-AES128-GCM-SHA256")
        }))
        .unwrap();
    assert_eq!(report.cipher(), "TLS_ECDHE_ECDSA_WITH_AES_128_GCM_SHA256");
    // In TLS 1.2 the groups also bound the curves of an ECDSA certificate, so that one is RSA.
    let rsa = Bench::with(
        KeyKind::Rsa(2048),
        |leaf| leaf,
        |tls| tls.versions(SslVersion::TLS1_2, SslVersion::TLS1_2),
    );
    for bench in [&rsa, &new] {
        let report = bench.handshake(with(bench, |p| p.groups("P-384")));
        assert_eq!(report.unwrap().group(), Some("secp384r1"));
    }

    let x25519 = Bench::with(KeyKind::EcP256, |leaf| leaf, |tls| tls.groups("X25519"));
    let chacha = Bench::with(
        KeyKind::EcP256,
        |leaf| leaf,
        |tls| {
            tls.versions(SslVersion::TLS1_2, SslVersion::TLS1_2)
                .cipher_list("ECDHE-ECDSA-CHACHA20-POLY1305")
        },
    );
    for error in [
        x25519.handshake(with(&x25519, |p| p.groups("P-384"))),
        chacha.handshake(with(&chacha, |p| p.cipher_list("ECDHE+AESGCM"))),
        // The server's key is ECDSA on P-256.
        new.handshake(with(&new, |p| p.signature_algorithms("RSA-PSS+SHA256"))),
    ] {
        let error = error.unwrap_err();
        assert_eq!(code(&error), CauseCode::NoSharedCipher, "{error}");
    }
    new.handshake(with(&new, |p| p.signature_algorithms("ECDSA+SHA256")))
        .unwrap();
}

#[test]
fn a_hybrid_group_is_used_where_openssl_has_it() {
    const HYBRID: &str = "X25519MLKEM768";
    let has_it = openssl::version::number() >= 0x3050_0000;
    let bench = Bench::sound();
    let outcome = bench.handshake(with(&bench, |p| p.groups(HYBRID)));
    match outcome {
        Ok(report) if has_it => assert_eq!(report.group(), Some(HYBRID)),
        Err(error) if !has_it => {
            assert_eq!(code(&error), CauseCode::OptionConflict, "{error}");
            assert!(error.cause().unwrap().remedy().contains("OpenSSL 3.5"));
        }
        other => panic!("{other:?}"),
    }
}

#[test]
fn a_security_level_refuses_what_is_below_it() {
    let bench = Bench::with(KeyKind::Rsa(2048), |leaf| leaf, |tls| tls);
    bench
        .handshake(with(&bench, |p| p.security_level(2)))
        .unwrap();
    // RSA 2048 has 112 bits of security, and level 3 requires 128.
    let error = bench
        .handshake(with(&bench, |p| p.security_level(3)))
        .unwrap_err();
    assert_eq!(code(&error), CauseCode::KeyTooWeak, "{error}");
    for level in [0, 6, u32::MAX] {
        let error = bench
            .handshake(with(&bench, |p| p.security_level(level)))
            .unwrap_err();
        assert_eq!(code(&error), CauseCode::OptionConflict, "{error}");
        assert!(error.to_string().contains("must be 1 to 5"), "{error}");
    }
}

#[test]
fn an_invalid_list_is_reported_by_option_name() {
    type Set = fn(ProtocolOptions) -> ProtocolOptions;
    let bench = Bench::sound();
    let cases: [(&str, Set); 4] = [
        ("cipher_list", |p| p.cipher_list("NO-SUCH")),
        ("cipher_suites", |p| {
            p.cipher_suites("TLS_AES_128_GCM_SHA256:NO-SUCH")
        }),
        ("groups", |p| p.groups("X25519:NO-SUCH")),
        ("signature_algorithms", |p| {
            p.signature_algorithms("NO+SUCH")
        }),
    ];
    for (name, set) in cases {
        let error = bench.handshake(with(&bench, set)).unwrap_err();
        assert_eq!(
            (code(&error), error.kind(), fact(&error, "option").as_str()),
            (CauseCode::OptionConflict, ErrorKind::Configuration, name),
            "{error}"
        );
        assert!(fact(&error, "value").contains("SUCH"));
        assert!(error.to_string().contains(mongotls::tls::openssl_version()));
    }
    assert_eq!(bench.server.counts().accepted, 0);
}

#[test]
fn tls_secrets_go_only_to_the_key_log_file() {
    let bench = Bench::sound();
    let dir = PkiDir::new();
    let path = dir.path().join("keys.log");
    let log = || {
        bench
            .handshake(|tls| {
                tls.ca_file(&bench.ca_file)
                    .dangerous(|tls| tls.key_log_file(&path))
            })
            .unwrap()
    };
    log();
    let first = std::fs::read_to_string(&path).unwrap();
    // The labels of TLS 1.3 in the format of NSS.
    for label in [
        "CLIENT_HANDSHAKE_TRAFFIC_SECRET ",
        "SERVER_TRAFFIC_SECRET_0 ",
        "EXPORTER_SECRET ",
    ] {
        let lines = first.lines().filter(|line| line.starts_with(label));
        // The doctor makes a second handshake, which may resume the first one's session.
        assert_eq!(lines.count(), 2, "{first}");
    }
    let mode = std::fs::metadata(&path).unwrap().permissions().mode();
    assert_eq!(mode & 0o777, 0o600);
    log();
    let second = std::fs::read_to_string(&path).unwrap();
    assert!(second.starts_with(&first) && second.len() > first.len());

    // A file that another user may have created gets no secrets.
    let refused = |path: &Path| {
        let error = bench
            .handshake(|tls| {
                tls.ca_file(&bench.ca_file)
                    .dangerous(|tls| tls.key_log_file(path))
            })
            .unwrap_err();
        assert_eq!(code(&error), CauseCode::KeyFileUnreadable);
        let cause = error.cause().unwrap();
        assert_eq!(
            cause.remedy(),
            "Give the path of a file that does not exist yet, or of a regular file that belongs to the user that runs this process and has the mode 0600."
        );
        let message = cause
            .message()
            .strip_prefix(&format!("key_log_file {path:?} "));
        message.unwrap().to_owned()
    };
    let set_mode = |mode| std::fs::set_permissions(&path, Permissions::from_mode(mode)).unwrap();
    for mode in [0o640, 0o620, 0o604, 0o602, 0o666] {
        set_mode(mode);
        let expected =
            format!("may be read or written by others than its owner: its mode is {mode:04o}");
        assert_eq!(refused(&path), expected);
    }
    set_mode(0o600);
    let link = dir.path().join("link.log");
    std::os::unix::fs::symlink(&path, &link).unwrap();
    assert_eq!(refused(&link), "is a symbolic link, which is not followed");
    let dangling = dir.path().join("dangling.log");
    std::os::unix::fs::symlink(dir.path().join("elsewhere"), &dangling).unwrap();
    assert_eq!(
        refused(&dangling),
        "is a symbolic link, which is not followed"
    );
    assert_eq!(refused(Path::new("/dev/null")), "is not a regular file");
    // Only the superuser can change the owner of a file.
    if std::os::unix::fs::chown(&path, Some(12345), None).is_ok() {
        let owner = std::fs::metadata("/proc/self").unwrap().uid();
        let expected =
            format!("belongs to the user with the number 12345, and this process runs as {owner}");
        assert_eq!(refused(&path), expected);
    }
    assert_eq!(std::fs::read_to_string(&path).unwrap(), second);

    let missing = dir.path().join("none").join("keys.log");
    let error = bench
        .handshake(|tls| {
            tls.ca_file(&bench.ca_file)
                .dangerous(|tls| tls.key_log_file(missing))
        })
        .unwrap_err();
    assert_eq!(code(&error), CauseCode::KeyFileUnreadable, "{error}");
    assert_eq!(fact(&error, "option"), "key_log_file");
}
