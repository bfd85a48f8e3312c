//! Tests of the texts that are rejected and of those that stay valid.

use super::*;
use crate::cause::CauseCode;
use crate::options::ClientOptions;
use crate::uri::ConnectionString;

const OPTIONS: &str = "Write \"/?\" before the first option and \"&\" between options. If this is text and not an \
    option, write its \"=\" as %3D.";
const USE_TLS: &str = "Use the key tls instead: tls=true turns TLS on, tls=false turns it off.";
const ONE_FILE: &str = "Use the key tlsCertificateKeyFile instead; its file holds the certificate and the private key.";
const SPELLING: &str = "Check its spelling. The keys about TLS are tls, tlsCAFile, tlsCRLFile, \
    tlsCertificateKeyFile, tlsCertificateKeyFilePassword, tlsDisableOCSPEndpointCheck, \
    tlsDisableCertificateRevocationCheck, tlsAllowInvalidCertificates, tlsAllowInvalidHostnames, tlsSessionResumption, \
    tlsInsecure.";

/// The message after "invalid connection string: ", and the remedy.
fn refused(uri: &str) -> (String, String) {
    let error = ConnectionString::parse(uri).expect_err(uri);
    let cause = error.cause().unwrap();
    assert_eq!(cause.code(), CauseCode::InvalidUri, "{uri}");
    let message = cause.message().strip_prefix("invalid connection string: ");
    (message.unwrap().to_owned(), cause.remedy().to_owned())
}

const BEHIND_HOSTS: &str = "Write \"/?\" between the hosts and the first option, as in mongodb://host/?tls=true, and \
    \"&\" between options. In a user name or password, write ; as %3B and = as %3D.";

#[test]
fn a_misplaced_option_gets_a_remedy() {
    for (uri, expected) in [
        ("mongodb://h;tls=true", "contains \"tls=\" after \";\""),
        (
            "mongodb://h:27017;tls=true/",
            "contains \"tls=\" after \";\"",
        ),
        ("mongodb://h,tls=true", "contains \"tls=\" after \",\""),
        ("mongodb://h&w=majority", "contains \"w=\" after \"&\""),
        (
            "mongodb://h&amp;tls=true",
            "contains \"tls=\" after \"&amp;\"",
        ),
        (
            "mongodb://ada:pencil@h#tls=true",
            "contains \"tls=\" after \"#\"",
        ),
        ("mongodb://[::1];tls=true", "contains \"tls=\" after \";\""),
        ("mongodb+srv://h;tls=true", "contains \"tls=\" after \";\""),
        // A part of a password may not be quoted.
        (
            "mongodb://ada:a;mySSLpass=b",
            "contains an option after \";\"",
        ),
    ] {
        let (message, remedy) = refused(uri);
        assert_eq!(message, format!("the host part {expected}"), "{uri}");
        assert_eq!(remedy, BEHIND_HOSTS, "{uri}");
    }
    let (message, remedy) = refused("mongodb://h;useSSL=true");
    assert_eq!(
        (message.as_str(), remedy),
        (
            "the host part contains \"useSSL=\" after \";\"",
            format!("{BEHIND_HOSTS} {USE_TLS}")
        )
    );
    // Other texts are unchanged, and the path of a socket may contain anything.
    let (message, _) = refused("mongodb://h;x=y");
    assert_eq!(message, "host 1 has a character that no host name has");
    ConnectionString::parse("mongodb://%2Ftmp%2Fa;w=1.sock").unwrap();
}

#[test]
fn an_option_that_would_be_read_as_text_is_refused() {
    for (uri, expected) in [
        (
            "mongodb://h/tls=true",
            "the database name starts with \"tls=\"",
        ),
        (
            "mongodb://h/ssl=true?w=1",
            "the database name starts with \"ssl=\"",
        ),
        (
            "mongodb://h/retryWrites=false",
            "the database name starts with \"retryWrites=\"",
        ),
        (
            "mongodb://h/ tls=true",
            "the database name contains \"tls=\" after a space",
        ),
        (
            "mongodb://h/&tls=true",
            "the database name contains \"tls=\" after \"&\"",
        ),
        (
            "mongodb://h/shop&w=majority",
            "the database name contains \"w=\" after \"&\"",
        ),
        (
            "mongodb://h/shop&amp;tls=true",
            "the database name contains \"tls=\" after \"&amp;\"",
        ),
        (
            "mongodb://h/shop;tls=true",
            "the database name contains \"tls=\" after \";\"",
        ),
        (
            "mongodb://h/shop,tlsInsecure=true",
            "the database name contains \"tlsInsecure=\" after \",\"",
        ),
        (
            "mongodb://h/shop%26tls=true",
            "the database name contains \"tls=\" after \"%26\"",
        ),
        (
            "mongodb://h/shop#tls=true",
            "the database name contains \"tls=\" after \"#\"",
        ),
        (
            "mongodb+srv://h/shop;tls=false",
            "the database name contains \"tls=\" after \";\"",
        ),
        (
            "mongodb://h/?appName=x&amp;tls=true",
            "option 2 contains \"tls=\" after \"&amp;\"",
        ),
        (
            "mongodb://h/?appName=x&amp;retryWrites=false",
            "option 2 contains \"retryWrites=\" after \"&amp;\"",
        ),
        (
            "mongodb://h/?replicaSet=rs0?ssl=true",
            "option 1 (replicaSet) contains \"ssl=\" after \"?\"",
        ),
        (
            "mongodb://h/?replicaSet=rs0;tls=true",
            "option 1 (replicaSet) contains \"tls=\" after \";\"",
        ),
        (
            "mongodb://h/?replicaSet=rs0;W=majority",
            "option 1 (replicaSet) contains \"W=\" after \";\"",
        ),
        (
            "mongodb://h/?appName=x,tls=true",
            "option 1 (appName) contains \"tls=\" after \",\"",
        ),
        (
            "mongodb://h/?appName=x%26tls=true",
            "option 1 (appName) contains \"tls=\" after \"%26\"",
        ),
        (
            "mongodb://h/?appName=x tls=true",
            "option 1 (appName) contains \"tls=\" after a space",
        ),
        (
            "mongodb://h/?appName=x\u{a0}TLS = true",
            "option 1 (appName) contains \"TLS=\" after a space",
        ),
        (
            "mongodb://h/?appName=x#tls=true",
            "option 1 (appName) contains \"tls=\" after \"#\"",
        ),
        (
            "mongodb://h/? tls=true",
            "option 1 contains \"tls=\" after a space",
        ),
        (
            "mongodb://h/?? tls=true",
            "option 1 contains \"tls=\" after a space",
        ),
        (
            "mongodb://h/??tls=true",
            "option 1 contains \"tls=\" after \"?\"",
        ),
        (
            "mongodb://h/?w=1&;tls=true",
            "option 2 contains \"tls=\" after \";\"",
        ),
        (
            "mongodb://h/?foo=x;tlsCAFile=/ca.pem",
            "option 1 contains \"tlsCAFile=\" after \";\"",
        ),
        (
            "mongodb://h?tls=true;w=1",
            "option 1 (tls) contains \"w=\" after \";\"",
        ),
        (
            "mongodb://h/?readPreferenceTags=dc:ny,ssl=true",
            "option 1 (readPreferenceTags) contains \"ssl=\" after \",\"",
        ),
        (
            "mongodb://h/?authMechanismProperties=A:b,tls=true",
            "option 1 (authMechanismProperties) contains an option after \",\"",
        ),
        (
            "mongodb://h/?tlsCertificateKeyFilePassword=a;w=1",
            "option 1 (tlsCertificateKeyFilePassword) contains an option after \";\"",
        ),
    ] {
        let (message, remedy) = refused(uri);
        assert_eq!(
            (message.as_str(), remedy.as_str()),
            (expected, OPTIONS),
            "{uri}"
        );
    }
    for (uri, expected) in [
        (
            "mongodb://h/useSSL=true",
            "the database name starts with \"useSSL=\"",
        ),
        (
            "mongodb://h/?appName=x;sslEnabled=0",
            "option 1 (appName) contains \"sslEnabled=\" after \";\"",
        ),
    ] {
        let (message, remedy) = refused(uri);
        assert_eq!(message, expected, "{uri}");
        assert_eq!(remedy, format!("{OPTIONS} {USE_TLS}"), "{uri}");
    }
}

#[test]
fn an_unknown_key_about_tls_is_refused_with_its_equivalent() {
    let key = |name: &str| format!("Use the key {name} instead.");
    let opposite = |name: &str| {
        format!(
            "Remove it: the check is on by default. The key with the opposite meaning is {name}."
        )
    };
    let rows = [
        ("useSSL", USE_TLS.to_owned()),
        ("useTLS", USE_TLS.to_owned()),
        ("usetls", USE_TLS.to_owned()),
        ("enableSsl", USE_TLS.to_owned()),
        ("require_tls", USE_TLS.to_owned()),
        ("sslEnabled", USE_TLS.to_owned()),
        ("tls.enabled", USE_TLS.to_owned()),
        ("sslmode", USE_TLS.to_owned()),
        ("ssl-mode", USE_TLS.to_owned()),
        ("tlsMode", USE_TLS.to_owned()),
        ("sslCAFile", key("tlsCAFile")),
        ("tls_ca_file", key("tlsCAFile")),
        ("ssl_ca_cert", key("tlsCAFile")),
        ("sslrootcert", key("tlsCAFile")),
        ("sslCertificateAuthorityFile", key("tlsCAFile")),
        ("sslCRLFile", key("tlsCRLFile")),
        ("tlsCertificateFile", ONE_FILE.to_owned()),
        ("tlsPrivateKeyFile", ONE_FILE.to_owned()),
        ("sslPEMKeyFile", ONE_FILE.to_owned()),
        ("sslClientCertificateKeyFile", ONE_FILE.to_owned()),
        ("sslcert", ONE_FILE.to_owned()),
        ("sslPEMKeyPassword", key("tlsCertificateKeyFilePassword")),
        ("ssl_key_pass_phrase", key("tlsCertificateKeyFilePassword")),
        (
            "sslAllowInvalidCertificates",
            key("tlsAllowInvalidCertificates"),
        ),
        ("sslAllowInvalidHostnames", key("tlsAllowInvalidHostnames")),
        ("sslInvalidHostNameAllowed", key("tlsAllowInvalidHostnames")),
        ("sslInsecure", key("tlsInsecure")),
        ("sslValidate", opposite("tlsAllowInvalidCertificates")),
        ("ssl_verify_hostname", opposite("tlsAllowInvalidHostnames")),
        (
            "ssl_verify_ocsp_endpoint",
            opposite("tlsDisableOCSPEndpointCheck"),
        ),
        ("sslDisabledProtocols", EquivalentKey::Protocol.to_string()),
        ("tlsCAFiel", SPELLING.to_owned()),
        ("netTlsFoo", SPELLING.to_owned()),
        ("tlsfoo", SPELLING.to_owned()),
    ];
    for (name, expected) in rows {
        for value in ["true", "false", "", "s3cret"] {
            let (message, remedy) = refused(&format!("mongodb://h/?appName=x&{name}={value}"));
            assert_eq!(
                message,
                format!("option 2 has an unknown key about TLS, \"{name}\"")
            );
            assert_eq!(remedy, expected, "{name}");
        }
    }
    // After text that may be a password, a key that is in no table may be a part of it.
    let (message, _) = refused("mongodb://u:p@h?sslFoo=x");
    assert_eq!(message, "option 1 has an unknown key about TLS");
    let (message, _) = refused("mongodb://u:p@h?sslEnabled=x");
    assert_eq!(
        message,
        "option 1 has an unknown key about TLS, \"sslEnabled\""
    );
    let (message, _) = refused("mongodb://h/?%20tls=true");
    assert_eq!(message, "option 1 has an unknown key about TLS, \"tls\"");
}

#[test]
fn text_that_only_looks_like_a_request_for_tls_stays_valid() {
    for uri in [
        "mongodb://h/my=db",
        "mongodb://h/tls",
        "mongodb://h/ssl;x",
        "mongodb://h/tls%3Dtrue",
        "mongodb://h/shop;tls%3Dtrue",
        "mongodb://h/a=tls",
        "mongodb://h/shop?appName=who?",
        "mongodb://h/?appName=tls=true",
        "mongodb://h/?appName=tls;ssl",
        "mongodb://h/?appName=a;b=c",
        "mongodb://h/?appName=what?x=1",
        "mongodb://h/?appName=x%3Btls=true",
        "mongodb://h/?appName=x%26tls%3Dtrue",
        "mongodb://h/?appName=x%20tls=true",
        "mongodb://h/?appName=x;classLoader=1",
        "mongodb://h/?replicaSet=tls,ssl",
        "mongodb://h/?readPreference=nearest&readPreferenceTags=tls:true,ssl:1",
        "mongodb://tls:ssl%3Ftls=true@h/",
        "mongodb://u:tls=true;ssl=true&useSSL=1@h/",
        "mongodb://tls.example,ssl/",
    ] {
        let (options, warnings) = ClientOptions::parse(uri).expect(uri);
        assert!(
            options.tls.is_none() && warnings.is_empty(),
            "{uri}: {warnings:?}"
        );
    }
    for key in [
        "classLoader",
        "compressLevel",
        "processList",
        "CLASSLOADER",
        "hustlers",
    ] {
        let (options, warnings) = ClientOptions::parse(&format!("mongodb://h/?{key}=1")).unwrap();
        let expected =
            format!("connection string: option 1 has an unknown key \"{key}\" and is ignored");
        assert_eq!(warnings[0].message(), expected);
        assert!(options.tls.is_none(), "{key}");
    }
}

#[test]
fn words_about_tls_are_found_in_every_spelling() {
    for key in [
        "tls",
        "SSL",
        "Tls",
        "useSSL",
        "usetls",
        "starttls",
        "UseTls",
        "USE_SSL",
        "use-ssl",
        "use.ssl",
        "enableSSL",
        "enabletls",
        "requireTls",
        "requiressl",
        "sslMode",
        "sslmode",
        "tls_mode",
        "TLSMODE",
        "useSslMode",
        "usesslmode",
        "sslEnabled",
        "tlsenabled",
        "mongoSsl",
        "net.tls.mode",
        "db-ssl",
        "dbSSLOption",
        "withTLSCAFile",
        "noSSL",
        "useTLSv1",
        "x509tls",
        "tlscafil",
        " tls",
        "amp;tls",
        "t%6Cs",
        "%74ls",
        "tls%3Dtrue",
        "\"tls\"",
        "tls\u{a0}",
        "disableSsl",
        "myTLS12",
        "\u{200b}ssl",
    ] {
        assert!(is_about_tls(key), "{key}");
    }
    for key in [
        "classLoader",
        "CLASSLOADER",
        "classloader",
        "ClassLoader",
        "processLimit",
        "compressLevel",
        "compresslevel",
        "passLog",
        "accessList",
        "hustles",
        "castlsize",
        "mattlsame",
        "URLSize",
        "htmlSize",
        "outlSeries",
        "crosslink",
        "t-l-s",
        "appName",
        "w",
        "",
        "%",
        "tl",
        "кslл",
        "wirelesslan",
    ] {
        assert!(!is_about_tls(key), "{key}");
    }
}

#[test]
fn a_stray_option_has_a_separator_key_and_equals_sign() {
    let found = |text| Stray::find(text, false).map(|stray| stray.key);
    for (text, key) in [
        ("appName=x,tls=true", "tls"),
        ("appName=x;w=1", "w"),
        ("appName=x%26tls=true", "tls"),
        ("appName=x tls = true", "tls"),
        ("appName=x\u{a0}ssl=1", "ssl"),
        ("appName=x#useSSL=1", "useSSL"),
        ("appName=a=b?MAXPOOLSIZE=1", "MAXPOOLSIZE"),
        ("amp;tls=true", "tls"),
        ("appName=x;\"tls\"=true", "tls"),
        ("appName=x;t%6Cs=true", "tls"),
        ("appName=x;fsync=true", "fsync"),
        ("appName=x%26amp%3Btls=true", "tls"),
        ("appName=x&#38;ssl=true", "ssl"),
    ] {
        assert_eq!(found(text).as_deref(), Some(key), "{text}");
    }
    for text in [
        "tls=true",
        "appName=tls=true",
        "appName=who?",
        "appName=a;b",
        "appName=a;b=c",
        "appName=x;tls",
        "appName=x%3Btls=true",
        "appName=x;tls%3Dtrue",
        "appName=x%20tls=true",
        "appName=x;classLoader=1",
        "tlsCAFile=/a b/tls=1/ca.pem",
        "appName=x|tls=true",
        "appName=,=;=?=",
    ] {
        assert_eq!(found(text), None, "{text}");
    }
}

#[test]
fn the_table_of_other_keys_is_in_its_normal_form() {
    let mut all: Vec<&str> = EQUIVALENTS
        .iter()
        .flat_map(|(names, _)| names.iter().copied())
        .collect();
    for name in &all {
        assert!(
            name.bytes().all(|byte| byte.is_ascii_lowercase()) && !name.contains("ssl"),
            "{name}"
        );
        assert!(is_about_tls(name), "{name}");
        let is_known = KEYS.iter().any(|key| key.name.eq_ignore_ascii_case(name));
        assert!(!is_known, "{name}");
    }
    let count = all.len();
    all.sort_unstable();
    all.dedup();
    assert_eq!(all.len(), count);
    for (_, equivalent) in EQUIVALENTS {
        if let EquivalentKey::Key(name) | EquivalentKey::Opposite(name) = equivalent {
            assert!(KEYS.iter().any(|key| key.name == *name), "{name}");
        }
    }
}
