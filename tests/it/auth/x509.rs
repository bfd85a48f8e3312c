//! MONGODB-X509: the bench with its own TLS, and behind HAProxy, which verifies the certificate.

use mongotls::{CauseCode, Client, ErrorKind};
use mongotls_testbench::peers::{ClientCertificates, HaProxy, HaProxyOptions, or_skip};
use mongotls_testbench::pki::{Ca, KeyKind, LeafSpec, PkiDir};
use mongotls_testbench::server::{Auth, ClientAuth, Server, ServerTls, User};

use super::{users, work};
use crate::cli::mongotls;
use crate::common::{Bench, code, fact};

/// A server that requests certificates, the client's certificate, and its file.
struct Desk {
    bench: Bench,
    file: std::path::PathBuf,
}

impl Desk {
    fn new(leaf: LeafSpec, auth: Auth) -> Self {
        let ca = Ca::root("bench root", KeyKind::EcP256);
        let tls = ServerTls::new(&ca.issue(LeafSpec::local_server()))
            .client_auth(ClientAuth::Request, &[ca.cert()]);
        let client = ca.issue(leaf);
        let server = Server::builder().tls(tls).auth(auth).start();
        let bench = Bench::around(server, ca);
        let file = bench.dir.write("client.pem", client.bundle_pem());
        Self { bench, file }
    }

    /// A connection string with the certificate; `user` is the text before the host.
    fn uri(&self, user: &str) -> String {
        let options = format!(
            "&authMechanism=MONGODB-X509&tlsCertificateKeyFile={}",
            self.file.display()
        );
        self.bench
            .uri(&options)
            .replace("mongodb://", &format!("mongodb://{user}"))
    }
}

const SUBJECT: &str = "CN=app,OU=clients,O=mongotls";

fn app() -> Desk {
    Desk::new(
        LeafSpec::client("app"),
        Auth::new().user(User::certificate(SUBJECT)),
    )
}

#[test]
fn the_server_takes_the_user_from_the_certificate() {
    let desk = app();
    work(&desk.uri("")).unwrap();
    assert_eq!(
        users(&desk.bench.server),
        [Some(format!("$external.{SUBJECT}"))]
    );
    // hello carried the complete command.
    assert_eq!(desk.bench.server.count_of("authenticate"), 0);
    let hello = crate::common::program_commands(&desk.bench.server)
        .swap_remove(0)
        .body;
    let command = hello.get_document("speculativeAuthenticate").unwrap();
    assert!(!command.contains_key("user"));
    assert_eq!(command.get_str("mechanism").unwrap(), "MONGODB-X509");
    let text = mongotls(&["doctor", &desk.uri("")]).out;
    assert!(
        text.contains(&format!("{SUBJECT} of $external, MONGODB-X509")),
        "{text}"
    );
}

#[test]
fn without_speculation_and_with_the_name_it_works_too() {
    let auth = Auth::new()
        .user(User::certificate(SUBJECT))
        .without_speculation();
    let desk = Desk::new(LeafSpec::client("app"), auth);
    work(&desk.uri("CN%3Dapp%2COU%3Dclients%2CO%3Dmongotls@")).unwrap();
    let command = desk.bench.server.commands_named("authenticate").remove(0);
    assert_eq!(command.database, "$external");
    assert_eq!(command.body.get_str("user").unwrap(), SUBJECT);
}

#[test]
fn a_missing_user_is_reported_with_a_create_command() {
    let odd = |leaf: LeafSpec| leaf.subject_entry("O", "Smith, \"Sons\" + Co; \u{e9}t\u{e9}");
    for (leaf, subject) in [
        (LeafSpec::client("app"), SUBJECT.to_owned()),
        (
            odd(LeafSpec::new("#1 ")),
            "CN=\\#1\\ ,O=Smith\\, \\\"Sons\\\" \\+ Co\\; \\C3\\A9t\\C3\\A9".to_owned(),
        ),
    ] {
        let desk = Desk::new(leaf, Auth::new());
        let error = work(&desk.uri("")).unwrap_err();
        assert_eq!(code(&error), CauseCode::AuthenticationFailed);
        assert_eq!(error.kind(), ErrorKind::Authentication);
        assert_eq!(fact(&error, "user"), subject);
        // The bench formats the name itself, from the certificate.
        let told = &error.command().unwrap().message;
        assert!(told.contains(&format!("user \"{subject}\"")), "{told}");
        let message = error.cause().unwrap().message();
        let expected = format!(
            "the server refused the user of the client certificate, \"{subject}\", most likely"
        );
        assert!(message.starts_with(&expected), "{message}");
        let literal = serde_json::to_string(&subject).unwrap();
        let command =
            format!("db.getSiblingDB(\"$external\").runCommand({{createUser: {literal}, roles:");
        let remedy = error.cause().unwrap().remedy().to_owned();
        assert!(remedy.contains(&command), "{remedy}");
        let run = mongotls(&["doctor", &desk.uri("")]);
        assert!(run.code == 1 && run.out.contains(&command), "{}", run.out);
    }
}

#[test]
fn a_user_of_another_certificate_is_distinguished() {
    let desk = app();
    let error = work(&desk.uri("CN%3Dother@")).unwrap_err();
    assert_eq!(code(&error), CauseCode::AuthenticationFailed);
    let text = format!("the user \"CN=other\", and the client certificate is that of {SUBJECT:?}");
    assert!(error.to_string().contains(&text), "{error}");
    assert_eq!(fact(&error, "certificate_user"), SUBJECT);
    assert!(
        error
            .cause()
            .unwrap()
            .remedy()
            .contains("Leave the user out")
    );
}

#[test]
fn a_certificate_of_a_cluster_member_is_recognised() {
    // In MongoDB's words.
    let text = "The provided certificate can only be used for cluster authentication, not client authentication. \
                The current configuration does not allow x.509 cluster authentication, check the --clusterAuthMode flag";
    let auth = Auth::new().tamper(move |reply| {
        reply.insert("code", 18);
        reply.insert("errmsg", text);
    });
    let desk = Desk::new(LeafSpec::client("app"), auth);
    let error = work(&desk.uri("")).unwrap_err();
    assert_eq!(code(&error), CauseCode::AuthenticationFailed);
    assert!(
        error.to_string().contains("for that of a member"),
        "{error}"
    );
    assert!(error.cause().unwrap().remedy().contains("in O, OU or DC"));
}

#[test]
fn without_tls_or_a_certificate_nothing_is_tried() {
    for (uri, why) in [
        (
            "mongodb://localhost:1/?authMechanism=MONGODB-X509",
            "tls is off",
        ),
        (
            "mongodb://localhost:1/?tls=true&authMechanism=MONGODB-X509",
            "no client certificate is configured",
        ),
    ] {
        let error = Client::connect(uri).unwrap_err();
        assert_eq!(error.kind(), ErrorKind::Configuration);
        assert_eq!(code(&error), CauseCode::OptionConflict);
        assert!(error.to_string().contains(why), "{error}");
        assert!(
            error
                .cause()
                .unwrap()
                .remedy()
                .contains("tlsCertificateKeyFile")
        );
    }
}

#[test]
fn haproxy_verifies_and_forwards_the_certificate() {
    let ca = Ca::root("front root", KeyKind::EcP256);
    let strangers = Ca::root("another root", KeyKind::EcP256);
    let auth = || Auth::new().user(User::certificate("CN=app"));
    let server = Server::builder().auth(auth()).behind_proxy().start();
    let options = HaProxyOptions::new(&ca.issue(LeafSpec::local_server()), server.addr())
        .clients(ClientCertificates::Required, ca.cert())
        .server_option("send-proxy-v2-ssl-cn");
    let Some(front) = or_skip(HaProxy::start(&options)) else {
        return;
    };
    let dir = PkiDir::new();
    let ca_file = dir.write("ca.pem", ca.cert_pem());
    let uri = |name: &str, client: &mongotls_testbench::pki::Identity| {
        let file = dir.write(name, client.bundle_pem());
        format!(
            "mongodb://localhost:{}/?tls=true&tlsCAFile={}&tlsCertificateKeyFile={}&authMechanism=MONGODB-X509",
            front.addr().port(),
            ca_file.display(),
            file.display()
        )
    };
    let app = ca.issue(LeafSpec::new("app"));
    assert_eq!(
        app.cert.subject_name().entries().count(),
        1,
        "HAProxy tells one part"
    );
    let client = Client::connect(&uri("app.pem", &app)).unwrap();
    // The first handshake is full and the second resumed; the certificate counts in both.
    for _ in 0..2 {
        super::work_on(&client).unwrap();
        server.cut();
        let _ = super::work_on(&client);
    }
    let users = users(&server).into_iter().flatten();
    let users: std::collections::BTreeSet<String> = users.collect();
    assert_eq!(users.into_iter().collect::<Vec<_>>(), ["$external.CN=app"]);

    let error = work(&uri("eve.pem", &ca.issue(LeafSpec::new("eve")))).unwrap_err();
    assert_eq!(code(&error), CauseCode::AuthenticationFailed);
    assert!(
        error
            .cause()
            .unwrap()
            .remedy()
            .contains("createUser: \"CN=eve\"")
    );
    // A certificate of another CA fails before it identifies a user.
    let error = work(&uri("app2.pem", &strangers.issue(LeafSpec::new("app")))).unwrap_err();
    assert_eq!(code(&error), CauseCode::ClientCertificateUntrusted);
}

/// MongoDB escapes each byte from 0x80 on in the names of X.509 users.
#[test]
fn names_that_are_not_ascii_are_written_as_the_server_does() {
    for (name, user, encoded) in [
        (
            "Jürgen",
            r"CN=J\C3\BCrgen,OU=clients,O=mongotls",
            "CN%3DJ%5CC3%5CBCrgen%2COU%3Dclients%2CO%3Dmongotls",
        ),
        (
            "Ωmega",
            r"CN=\CE\A9mega,OU=clients,O=mongotls",
            "CN%3D%5CCE%5CA9mega%2COU%3Dclients%2CO%3Dmongotls",
        ),
    ] {
        let known = || {
            Auth::new()
                .user(User::certificate(user))
                .without_speculation()
        };
        let desk = Desk::new(LeafSpec::client(name), known());
        work(&desk.uri("")).unwrap();
        work(&desk.uri(&format!("{encoded}@"))).unwrap();
        // The readable form.
        let plain = user
            .replace(r"J\C3\BCrgen", name)
            .replace(r"\CE\A9mega", name);
        let typed = format!("{}@", percent(&plain));
        let error = work(&desk.uri(&typed)).unwrap_err();
        assert_eq!(code(&error), CauseCode::AuthenticationFailed, "{error}");
        let said = &error.command().unwrap().message;
        let cause = error.cause().unwrap();
        assert_eq!(
            cause.message(),
            format!(
                "the server refused the user \"{plain}\" of the client certificate, whose name MongoDB writes as \"{user}\": {}",
                said.trim_end_matches('.')
            )
        );
        assert_eq!(
            cause.remedy(),
            format!(
                "Leave the user out of the connection string, so that the server takes it from the certificate, or write it as MongoDB does: {encoded}"
            )
        );

        // A server that does not know the user, whose name is written correctly or not at all.
        let desk = Desk::new(LeafSpec::client(name), Auth::new());
        for typed in [String::new(), format!("{encoded}@")] {
            let error = work(&desk.uri(&typed)).unwrap_err();
            let literal = serde_json::to_string(user).unwrap();
            assert_eq!(
                error.cause().unwrap().remedy(),
                format!(
                    "Create the user, with the roles that it needs: db.getSiblingDB(\"$external\").runCommand({{createUser: {literal}, roles: [{{role: \"readWrite\", db: \"DATABASE\"}}]}})"
                )
            );
        }
    }
}

fn percent(text: &str) -> String {
    let bytes = text.bytes();
    bytes.map(|byte| format!("%{byte:02X}")).collect()
}
