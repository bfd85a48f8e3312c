//! Users that the server rejects, mechanisms that are missing on either side, and servers that do not prove their
//! identity. `auth/` has more of each.

use mongotls::CauseCode;
use mongotls::error::Stage;
use mongotls_testbench::pki::{CaSpec, KeyKind, LeafSpec};
use mongotls_testbench::server::{Auth, ClientAuth, Server, ServerTls, User};
use serde_json::json;

use super::{Expected, KINDS, Place, Seen, key, passes, tempfile};
use crate::common::Bench;

pub(super) const CODES: &[CauseCode] = &[
    CauseCode::AuthenticationFailed,
    CauseCode::MechanismUnavailable,
    CauseCode::ServerNotProven,
    CauseCode::MechanismUnsupported,
];

fn bench(kind: KeyKind, auth: Auth) -> Bench {
    let ca = CaSpec::new("the root").key(&key(kind, "root")).root();
    let identity = ca.issue(LeafSpec::local_server().key(&key(kind, "leaf")));
    let tls = ServerTls::new(&identity).client_auth(ClientAuth::Request, &[ca.cert()]);
    Bench::around(Server::builder().tls(tls).auth(auth).start(), ca)
}

fn failed(code: CauseCode) -> Expected {
    Expected::new(code).at(Stage::Authentication)
}

#[test]
fn users_are_refused_for_their_reason() {
    let mut seen = Seen::default();
    for kind in KINDS {
        let ada = User::new("admin", "ada", "pencil");
        let bench = bench(
            kind,
            Auth::new()
                .user(ada.clone())
                .mechanisms(&["SCRAM-SHA-1", "MONGODB-X509"]),
        );
        let uri = |user: &str, options: &str| {
            let user = format!("mongodb://{user}");
            bench.uri(options).replace("mongodb://", &user)
        };
        passes("the right password", &uri("ada:pencil@", ""));
        seen.check(
            "a wrong password",
            &uri("ada:wrong@", ""),
            &failed(CauseCode::AuthenticationFailed)
                .fact("user", "ada")
                .fact("auth_source", "admin")
                .fact("mechanism", "SCRAM-SHA-1")
                .fact("server_code", 18)
                .says("password"),
        );
        seen.check(
            "an unknown user",
            &uri("eve:pencil@", ""),
            &failed(CauseCode::AuthenticationFailed)
                .fact("user", "eve")
                .says("knows no such user"),
        );
        let elsewhere = failed(CauseCode::AuthenticationFailed).fact("auth_source", "things");
        let uri_elsewhere = uri("ada:pencil@", "&authSource=things");
        // The doctor finds out that admin has the user.
        let told = elsewhere
            .clone()
            .fact("known_in", json!(["admin"]))
            .says("authSource=admin");
        seen.check_in(
            &Place::default(),
            "another authSource",
            &uri_elsewhere,
            &told,
        );
        let error = crate::common::ping_error(&uri_elsewhere);
        seen.check_error("another authSource", &error, &elsewhere);
        seen.check(
            "a mechanism that is not offered",
            &uri("ada:pencil@", "&authMechanism=PLAIN"),
            &failed(CauseCode::MechanismUnavailable)
                .fact("mechanism", "PLAIN")
                .says("does not offer PLAIN"),
        );
        let client = bench
            .ca
            .issue(LeafSpec::client("app").key(&key(kind, "client")));
        let file = bench.dir.write("client.pem", client.bundle_pem());
        let options = format!(
            "&authMechanism=MONGODB-X509&tlsCertificateKeyFile={}",
            file.display()
        );
        seen.check(
            "a certificate of nobody",
            &uri("", &options),
            &failed(CauseCode::AuthenticationFailed)
                .fact("user", "CN=app,OU=clients,O=mongotls")
                .fact("auth_source", "$external")
                .says("createUser: \"CN=app,OU=clients,O=mongotls\""),
        );
    }
    seen.note(CauseCode::ServerNotProven);
    seen.note(CauseCode::MechanismUnsupported);
    seen.are(CODES);
}

#[test]
fn a_server_that_does_not_know_the_user_is_not_believed() {
    let mut seen = Seen::default();
    for kind in KINDS {
        let auth = Auth::new().user(User::new("admin", "ada", "pencil"));
        let bench = bench(kind, auth.tamper(|reply| drop(reply.insert("done", true))));
        let uri = bench.uri("").replace("mongodb://", "mongodb://ada:pencil@");
        seen.check(
            "a server that skips its proof",
            &uri,
            &failed(CauseCode::ServerNotProven)
                .fact("mechanism", "SCRAM-SHA-256")
                .says("ended the conversation early"),
        );
    }
    seen.are(&[CauseCode::ServerNotProven]);
}

#[test]
fn an_openssl_without_md5_has_no_scram_sha_1() {
    // A provider without any digest: it has the effect of FIPS on MD5, on a host without the FIPS provider.
    let (file, _kept) = tempfile(NO_DIGESTS);
    let place = Place {
        variables: vec![("OPENSSL_CONF", file)],
        ..Place::default()
    };
    if openssl::version::number() < 0x3000_0000 || !place.can_run() {
        return super::skipped("an OpenSSL without MD5; it needs OpenSSL 3");
    }
    let server = Server::builder().auth(Auth::new()).start();
    let uri = server.uri().replace("mongodb://", "mongodb://ada:pencil@");
    let mut seen = Seen::default();
    seen.check_in(
        &place,
        "no MD5",
        &format!("{uri}?authMechanism=SCRAM-SHA-1"),
        &Expected::new(CauseCode::MechanismUnsupported)
            .fact("mechanism", "SCRAM-SHA-1")
            .fact("refused", "MD5")
            .says("mechanisms: [\"SCRAM-SHA-256\"]"),
    );
    assert_eq!(server.counts().accepted, 0);
    seen.are(&[CauseCode::MechanismUnsupported]);
}

/// A configuration of OpenSSL 3 without any digest.
pub(crate) const NO_DIGESTS: &[u8] =
    b"openssl_conf = init\n[init]\nproviders = providers\n[providers]\nbase = base\n\
    [base]\nactivate = 1\n";
