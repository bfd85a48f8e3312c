//! The vectors of the RFCs and of the specification, and servers that break the rules.

use mongotls_testbench::random::{Random, rounds};

use super::*;
use crate::cause::CauseCode;

fn credential(user: &str, password: &str) -> Credential {
    Credential {
        username: Some(user.to_owned()),
        password: Some(Secret::from(password)),
        source: "admin".to_owned(),
        mechanism: None,
        properties: std::collections::BTreeMap::new(),
    }
}

fn respond(client: &mut ScramClient, message: &str) -> Result<String, Cause> {
    let response = client.respond(message.as_bytes())?;
    Ok(String::from_utf8(response.to_vec()).unwrap())
}

/// A whole conversation: the nonce, and the messages of server, client and server.
struct Vector {
    digest: Digest,
    nonce: &'static str,
    server_first: &'static str,
    client_final: &'static str,
    server_final: &'static str,
}

/// RFC 7677 §3.
const RFC_7677: Vector = Vector {
    digest: Digest::Sha256,
    nonce: "rOprNGfwEbeRWgbNEkqO",
    server_first: "r=rOprNGfwEbeRWgbNEkqO%hvYDpWUa2RaTCAfuxFIlj)hNlF$k0,s=W22ZaJ0SNY7soEsUEjb6gQ==,i=4096",
    client_final: "c=biws,r=rOprNGfwEbeRWgbNEkqO%hvYDpWUa2RaTCAfuxFIlj)hNlF$k0,\
                   p=dHzbZapWIk4jUhN+Ute9ytag9zjfMHgsqmmiz7AndVQ=",
    server_final: "v=6rriTRBi23WpRR/wtup+mMhUZUn/dB5nLTJRsjl95G4=",
};

/// RFC 5802 §5, whose password is not digested.
const RFC_5802: Vector = Vector {
    digest: Digest::Sha1,
    nonce: "fyko+d2lbbFgONRv9qkxdawL",
    server_first: "r=fyko+d2lbbFgONRv9qkxdawL3rfcNHYJY1ZVvWVs7j,s=QSXCR+Q6sek8bf92,i=4096",
    client_final: "c=biws,r=fyko+d2lbbFgONRv9qkxdawL3rfcNHYJY1ZVvWVs7j,p=v0X8v3Bz2T0CJGbJQyF0X+HI4Ts=",
    server_final: "v=rmF9pqV8S7suAoZWja4dJRkFsKQ=",
};

/// "Driver Authentication", "SCRAM-SHA-1".
const MONGODB_SHA_1: Vector = Vector {
    digest: Digest::Sha1,
    nonce: "fyko+d2lbbFgONRv9qkxdawL",
    server_first: "r=fyko+d2lbbFgONRv9qkxdawLHo+Vgk7qvUOKUwuWLIWg4l/9SraGMHEE,s=rQ9ZY3MntBeuP3E1TDVC4w==,i=10000",
    client_final: "c=biws,r=fyko+d2lbbFgONRv9qkxdawLHo+Vgk7qvUOKUwuWLIWg4l/9SraGMHEE,\
                   p=MC2T8BvbmWRckDw8oWl5IVghwCY=",
    server_final: "v=UMWeI25JD1yNYZRMpZ4VHvhZ9e0=",
};

fn converse(scram: &Scram, vector: &Vector) {
    let mut client = scram.client_with_nonce(vector.digest, vector.nonce.to_owned());
    let first = client.first().unwrap();
    assert_eq!(
        String::from_utf8_lossy(&first),
        format!("n,,n=user,r={}", vector.nonce)
    );
    assert_eq!(
        respond(&mut client, vector.server_first).unwrap(),
        vector.client_final
    );
    assert!(!client.is_complete());
    assert_eq!(respond(&mut client, vector.server_final).unwrap(), "");
    assert!(client.is_complete());
}

fn scram() -> Scram {
    Scram::new(&credential("user", "pencil"))
}

#[test]
fn the_published_conversations_are_spoken() {
    converse(&scram(), &RFC_7677);
    if let Ok(digested) = digest_password("user", "pencil") {
        assert_eq!(digested.expose(), "1c33006ec1ffd90f9cadcbcc0e118200");
        converse(&scram(), &MONGODB_SHA_1);
    }
    let mut shared = Arc::into_inner(scram().0).unwrap();
    shared.digested = Ok(Secret::from("pencil"));
    converse(&Scram(Arc::new(shared)), &RFC_5802);
}

#[test]
fn the_conversations_of_a_client_share_their_keys() {
    let scram = scram();
    for _ in 0..3 {
        let mut client = scram.client(AuthMechanism::ScramSha256).unwrap();
        let first = format!("r={}more,s=QSXCR+Q6sek8bf92,i=4096", client.nonce);
        respond(&mut client, &first).unwrap();
    }
    assert_eq!(scram.0.cache.len(), 1);
}

#[test]
fn a_nonce_has_24_random_bytes() {
    let nonce = |_| {
        let client = scram().client(AuthMechanism::ScramSha256).unwrap();
        assert_eq!(
            openssl::base64::decode_block(&client.nonce).unwrap().len(),
            24
        );
        client.nonce
    };
    let nonces: std::collections::HashSet<String> = (0..100).map(nonce).collect();
    assert_eq!(nonces.len(), 100);
}

#[test]
fn commas_and_equals_signs_in_a_user_name_are_escaped() {
    let scram = Scram::new(&credential("a=b,c", "x"));
    let mut client = scram.client_with_nonce(Digest::Sha256, "n".to_owned());
    let first = client.first().unwrap();
    assert_eq!(String::from_utf8_lossy(&first), "n,,n=a=3Db=2Cc,r=n");
}

#[cfg(feature = "saslprep")]
#[test]
fn saslprep_applies_only_to_passwords_of_sha_256() {
    let same = |one: &str, other: &str| {
        let prepare = |password| prepare_password(password).unwrap().expose().to_owned();
        assert_eq!(prepare(one), prepare(other));
    };
    // "Driver Authentication", "Test Plan", step 4.
    same("IX", "I\u{ad}X");
    same("IV", "\u{2163}");
    same("IV", "I\u{ad}V");
    let scram = Scram::new(&credential("\u{2168}", "IV"));
    assert!(
        scram
            .client_with_nonce(Digest::Sha256, "n".to_owned())
            .first_bare()
            .starts_with("n=\u{2168},")
    );
    let digest =
        |user, password| digest_password(user, password).map(|text| text.expose().to_owned());
    if let (Ok(one), Ok(other)) = (digest("u", "IX"), digest("u", "I\u{ad}X")) {
        assert_ne!(one, other);
    }
}

#[test]
fn a_prohibited_password_is_a_configuration_error() {
    let unprepared = match cfg!(feature = "saslprep") {
        true => &["a\u{7}b", "\u{1f511}", "\u{627}1", "\u{e000}"][..],
        false => &["a\u{7}b", "\u{7f}"],
    };
    for &password in unprepared {
        let scram = Scram::new(&credential("user", password));
        let checked = scram.check_password(AuthMechanism::ScramSha256);
        let cause = Cause::from(checked.unwrap_err());
        assert_eq!(cause.code(), CauseCode::OptionConflict);
        assert!(cause.message().contains("SASLprep"), "{cause}");
        let printed = format!("{cause:?} {scram:?}");
        assert!(!printed.contains(password), "{printed}");
        // SCRAM-SHA-1 uses the password unchanged.
        assert!(scram.client(AuthMechanism::ScramSha1).is_ok());
    }
}

#[cfg(not(feature = "saslprep"))]
#[test]
fn without_its_tables_a_password_of_more_than_ascii_is_refused() {
    for password in ["I\u{ad}X", "gr\u{fc}n", "\u{1f511}"] {
        let scram = Scram::new(&credential("user", password));
        let checked = scram.check_password(AuthMechanism::ScramSha256);
        let cause = Cause::from(checked.unwrap_err());
        assert_eq!(cause.code(), CauseCode::MechanismUnsupported);
        assert!(cause.remedy().contains("feature saslprep"), "{cause}");
        assert!(scram.client(AuthMechanism::ScramSha256).is_ok());
        let mut client = scram.client_with_nonce(Digest::Sha256, "n".to_owned());
        client.first().unwrap();
        // No message of the server leads to a proof with a password that is not prepared.
        let said = respond(&mut client, "r=nonce,s=W22ZaJ0SNY7soEsUEjb6gQ==,i=4096");
        assert_eq!(said.unwrap_err().code(), CauseCode::MechanismUnsupported);
        assert!(!format!("{cause:?} {scram:?}").contains(password));
        assert!(scram.client(AuthMechanism::ScramSha1).is_ok());
    }
    let all: String = (' '..='~').collect();
    assert_eq!(prepare_password(&all).unwrap().expose(), all);
    assert_eq!(prepare_password("").unwrap().expose(), "");
}

/// Hostile first messages of a server, each with a part of the error that describes its problem.
const HOSTILE_FIRST: &[(&str, &str)] = &[
    ("", "no nonce"),
    ("r", "no nonce"),
    ("r=", "nonce is malformed"),
    ("r=NONCE", "no salt"),
    ("r=NONCE,s=QSXCR+Q6sek8bf92,i=4096", "does not continue"),
    ("r=other,s=QSXCR+Q6sek8bf92,i=4096", "does not continue"),
    (
        "r=xNONCEmore,s=QSXCR+Q6sek8bf92,i=4096",
        "does not continue",
    ),
    (
        "r=NONCEm\u{e9},s=QSXCR+Q6sek8bf92,i=4096",
        "nonce is malformed",
    ),
    (
        "r=NONCE more,s=QSXCR+Q6sek8bf92,i=4096",
        "nonce is malformed",
    ),
    ("s=QSXCR+Q6sek8bf92,r=NONCEmore,i=4096", "no nonce"),
    ("r=NONCEmore,i=4096,s=QSXCR+Q6sek8bf92", "no salt"),
    ("r=NONCEmore,i=4096", "no salt"),
    ("r=NONCEmore,s=,i=4096", "salt is malformed"),
    ("r=NONCEmore,s=QSXCR,i=4096", "salt is malformed"),
    ("r=NONCEmore,s=QS=CR+Q6sek8bf92,i=4096", "salt is malformed"),
    (
        "r=NONCEmore,s=QSX\nR+Q6sek8bf92,i=4096",
        "salt is malformed",
    ),
    ("r=NONCEmore,s=QSX-R+Q6sek8bf92,i=4096", "salt is malformed"),
    ("r=NONCEmore,s====,i=4096", "salt is malformed"),
    ("r=NONCEmore,s=QSXCR+Q6sek8bf92", "no iteration count"),
    ("r=NONCEmore,s=QSXCR+Q6sek8bf92,", "no iteration count"),
    (
        "r=NONCEmore,s=QSXCR+Q6sek8bf92,i=",
        "iteration count is malformed",
    ),
    (
        "r=NONCEmore,s=QSXCR+Q6sek8bf92,i=0",
        "iteration count is malformed",
    ),
    (
        "r=NONCEmore,s=QSXCR+Q6sek8bf92,i=04096",
        "iteration count is malformed",
    ),
    (
        "r=NONCEmore,s=QSXCR+Q6sek8bf92,i=-4096",
        "iteration count is malformed",
    ),
    (
        "r=NONCEmore,s=QSXCR+Q6sek8bf92,i=+4096",
        "iteration count is malformed",
    ),
    (
        "r=NONCEmore,s=QSXCR+Q6sek8bf92,i=4e9",
        "iteration count is malformed",
    ),
    (
        "r=NONCEmore,s=QSXCR+Q6sek8bf92,i=1",
        "1 iterations of SCRAM-SHA-256, fewer than 4096",
    ),
    ("r=NONCEmore,s=QSXCR+Q6sek8bf92,i=4095", "fewer than 4096"),
    (
        "r=NONCEmore,s=QSXCR+Q6sek8bf92,i=1000001",
        "more than 1000000",
    ),
    (
        "r=NONCEmore,s=QSXCR+Q6sek8bf92,i=4294967296",
        "more than 1000000",
    ),
    (
        "r=NONCEmore,s=QSXCR+Q6sek8bf92,i=99999999999999999999",
        "more than 1000000",
    ),
    (
        "m=x,r=NONCEmore,s=QSXCR+Q6sek8bf92,i=4096",
        "requires an extension",
    ),
    (
        "r=NONCEmore,s=QSXCR+Q6sek8bf92,i=4096,m=x",
        "requires an extension",
    ),
    ("r=NONCEmore,m=x,s=QSXCR+Q6sek8bf92,i=4096", "no salt"),
    (
        "r=NONCEmore,s=QSXCR+Q6sek8bf92,i=4096,r=NONCEother",
        "twice",
    ),
    ("r=NONCEmore,s=QSXCR+Q6sek8bf92,i=4096,i=4097", "twice"),
    ("r=NONCEmore,s=QSXCR+Q6sek8bf92,i=4096,", "without a name"),
    (
        "r=NONCEmore,s=QSXCR+Q6sek8bf92,i=4096,1=x",
        "without a name",
    ),
    ("v=6rriTRBi23WpRR/wtup+mMhUZUn/dB5nLTJRsjl95G4=", "no nonce"),
    ("e=unknown-user", "no nonce"),
];

#[test]
fn hostile_first_messages_are_refused_for_their_reason() {
    for (message, why) in HOSTILE_FIRST {
        let mut client = scram().client_with_nonce(Digest::Sha256, "NONCE".to_owned());
        let cause = respond(&mut client, message).unwrap_err();
        assert_eq!(cause.code(), CauseCode::ServerNotProven, "{message}");
        assert!(cause.message().contains(why), "{message}: {cause}");
        // After an error, every message is rejected.
        let sound = "r=NONCEmore,s=QSXCR+Q6sek8bf92,i=4096";
        let cause = respond(&mut client, sound).unwrap_err();
        assert!(cause.message().contains("unexpected message"), "{cause}");
    }
    let mut client = scram().client_with_nonce(Digest::Sha256, "NONCE".to_owned());
    let huge = format!("r=NONCE{},s=QSXCR+Q6sek8bf92,i=4096", "x".repeat(5000));
    let cause = respond(&mut client, &huge).unwrap_err();
    assert!(cause.message().contains("too long"), "{cause}");
    let mut client = scram().client_with_nonce(Digest::Sha256, "NONCE".to_owned());
    let cause = client.respond(b"r=NONCE\xff").unwrap_err();
    assert!(cause.message().contains("is not UTF-8"), "{cause}");
}

#[test]
fn extensions_that_are_not_mandatory_are_passed_over() {
    let mut client = scram().client_with_nonce(Digest::Sha256, "NONCE".to_owned());
    let first = "r=NONCEmore,s=QSXCR+Q6sek8bf92,i=4096,x=anything,y=";
    assert!(
        respond(&mut client, first)
            .unwrap()
            .starts_with("c=biws,r=NONCEmore,p=")
    );
}

/// Hostile last messages of a server.
const HOSTILE_LAST: &[(&str, &str)] = &[
    ("", "no signature"),
    ("v", "no signature"),
    ("v=", "signature is malformed"),
    (
        "v=6rriTRBi23WpRR/wtup+mMhUZUn/dB5nLTJRsjl95G4",
        "signature is malformed",
    ),
    (
        "v=6rriTRBi23WpRR/wtup+mMhUZUn/dB5nLTJRsjl95G5=",
        "signature is malformed",
    ),
    (
        "v=6rriTRBi23WpRR/wtup+mMhUZUn/dB5nLTJRsjl9",
        "signature is wrong",
    ),
    (
        "v=7rriTRBi23WpRR/wtup+mMhUZUn/dB5nLTJRsjl95G4=",
        "signature is wrong",
    ),
    (
        "v=6rriTRBi23WpRR/wtup+mMhUZUn/dB5nLTJRsjl95G4=,m=x",
        "requires an extension",
    ),
    (
        "v=6rriTRBi23WpRR/wtup+mMhUZUn/dB5nLTJRsjl95G4=,v=x",
        "twice",
    ),
    (
        "x=y,v=6rriTRBi23WpRR/wtup+mMhUZUn/dB5nLTJRsjl95G4=",
        "no signature",
    ),
    ("e=", "error is malformed"),
    ("e=in\u{1b}[31m", "error is malformed"),
    (RFC_7677.server_first, "no signature"),
];

fn about_to_end() -> ScramClient {
    let mut client = scram().client_with_nonce(RFC_7677.digest, RFC_7677.nonce.to_owned());
    respond(&mut client, RFC_7677.server_first).unwrap();
    client
}

#[test]
fn hostile_last_messages_are_refused_for_their_reason() {
    for (message, why) in HOSTILE_LAST {
        let mut client = about_to_end();
        let cause = respond(&mut client, message).unwrap_err();
        assert_eq!(cause.code(), CauseCode::ServerNotProven, "{message}");
        assert!(cause.message().contains(why), "{message}: {cause}");
        assert!(!client.is_complete());
    }
}

#[test]
fn the_error_of_a_server_is_quoted() {
    let cause = respond(&mut about_to_end(), "e=invalid-proof").unwrap_err();
    assert_eq!(cause.code(), CauseCode::AuthenticationFailed);
    assert_eq!(
        cause.message(),
        "the server refused the user by SCRAM-SHA-256: \"invalid-proof\""
    );
}

#[test]
fn mutated_messages_never_prove_a_server() {
    let mut random = Random::default();
    let (mut parsed, mut proven) = (0, 0);
    let rounds = rounds(100_000);
    let template = about_to_end();
    for _ in 0..rounds {
        let mutate = |text: &str, random: &mut Random| {
            let mut bytes = text.as_bytes().to_vec();
            for _ in 0..=random.below(3) {
                let at = random
                    .below(bytes.len().max(1))
                    .min(bytes.len().saturating_sub(1));
                match random.below(6) {
                    0 => bytes.truncate(at),
                    1 => bytes.extend_from_within(at..),
                    2 => bytes.insert(at, b",=mrsiev"[random.below(8)]),
                    3 if !bytes.is_empty() => bytes[at] ^= 1 << random.below(8),
                    4 if !bytes.is_empty() => bytes[at] = random.number().to_le_bytes()[0],
                    _ if !bytes.is_empty() => drop(bytes.remove(at)),
                    _ => {}
                }
            }
            bytes
        };
        if let Ok(text) = String::from_utf8(mutate(RFC_7677.server_first, &mut random)) {
            if let Ok(first) = ServerFirst::parse(&text) {
                parsed += 1;
                assert!(first.salt.len() < text.len() && !first.nonce.contains(','));
            }
        }
        let mut client = ScramClient {
            shared: Arc::clone(&template.shared),
            digest: template.digest,
            nonce: template.nonce.clone(),
            state: template.state.clone(),
        };
        let last = mutate(RFC_7677.server_final, &mut random);
        if client.respond(&last).is_ok() {
            proven += 1;
            let text = String::from_utf8(last).unwrap();
            // An equal signature, with an extension.
            assert!(text.starts_with(&RFC_7677.server_final[..44]), "{text}");
        }
        assert!(client.is_complete() || matches!(client.state, ScramState::Broken));
    }
    assert!(
        parsed > 0 && proven < rounds,
        "{parsed} parsed, {proven} proven"
    );
}
