//! GSSAPI with a real KDC: MIT Kerberos on a loopback port, and a bench that accepts with the same library.
//!
//! The library reads the KDC's address from the environment, which a process must not change once it has threads. So
//! each scenario runs in a separate process: this test binary, started again with one ignored test.

use std::process::Command;
use std::time::Duration;

use libgssapi::context::{SecurityContext, ServerCtx};
use libgssapi::credential::{Cred, CredUsage};
use mongotls::bson::doc;
use mongotls::error::Stage;
use mongotls::{CauseCode, Client, Error, ErrorKind};
use mongotls_testbench::peers::{Kdc, or_skip};
use mongotls_testbench::server::{Auth, ExternalConversation, ExternalMechanism, Said, Server};

use crate::common::{at_limit, code};

const PASSWORD: &str = "s3cret-password";

#[test]
fn against_a_kdc() {
    let Some(kdc) = or_skip(Kdc::start()) else {
        return;
    };
    kdc.user("ada", PASSWORD);
    kdc.service("mongodb/localhost");
    kdc.service("other/service.bench");
    let run = |scenario| in_a_process(&kdc, scenario);
    run("without_a_ticket");
    run("with_a_password");
    kdc.ticket("ada", PASSWORD, 600);
    run("with_a_ticket");
    kdc.ticket("ada", PASSWORD, 1);
    // Its seconds pass, and the tolerance of clocks.
    std::thread::sleep(Duration::from_millis(3100));
    run("with_an_expired_ticket");
    kdc.ticket("ada", PASSWORD, 600);
    kdc.stop();
    run("without_a_kdc");
}

fn in_a_process(kdc: &Kdc, scenario: &str) {
    let name = format!("gssapi::{scenario}");
    let mut command = Command::new(std::env::current_exe().unwrap());
    command.args(["--ignored", "--exact", &name, "--nocapture"]);
    let output = command.envs(kdc.env()).output().unwrap();
    let said = String::from_utf8_lossy(&output.stdout);
    assert!(
        output.status.success() && said.contains("1 passed"),
        "{scenario}: {said}{}\n{}",
        String::from_utf8_lossy(&output.stderr),
        kdc.log()
    );
}

/// The server's side of GSSAPI (RFC 4752 §3.2).
struct Gssapi;

impl ExternalMechanism for Gssapi {
    fn name(&self) -> &'static str {
        "GSSAPI"
    }

    fn start(&self) -> Box<dyn ExternalConversation> {
        let credential = Cred::acquire(None, None, CredUsage::Accept, None).unwrap();
        Box::new(Acceptor {
            context: ServerCtx::new(Some(credential)),
            offered: false,
        })
    }
}

struct Acceptor {
    context: ServerCtx,
    offered: bool,
}

impl ExternalConversation for Acceptor {
    fn answer(&mut self, message: &[u8]) -> Option<Said> {
        if !self.context.is_complete() {
            let token = self.context.step(message, None).ok()?;
            return Some(Said::More(
                token.map(|token| token.to_vec()).unwrap_or_default(),
            ));
        }
        if !self.offered {
            self.offered = true;
            assert!(message.is_empty());
            // Every layer, and messages of 64 KiB.
            let offer = self.context.wrap(false, &[7, 1, 0, 0]).ok()?;
            return Some(Said::More(offer.to_vec()));
        }
        let choice = self.context.unwrap(message).ok()?;
        let (layer, user) = choice.split_at_checked(4)?;
        let name = self.context.source_name().ok()?.display_name().ok()?;
        (layer == [1, 0, 0, 0] && *user == *name)
            .then(|| Said::Done(String::from_utf8_lossy(user).into_owned()))
    }
}

fn server() -> Server {
    Server::builder().auth(Auth::new().external(Gssapi)).start()
}

fn count(server: &Server, user: &str, options: &str) -> Result<(), Error> {
    let uri = format!(
        "mongodb://{user}@localhost:{}/?authMechanism=GSSAPI{options}",
        server.port()
    );
    let client = Client::connect(&uri)?;
    let command = doc! { "count": "things" };
    client.database("db").run_command(command).map(drop)
}

fn refused(server: &Server, user: &str, options: &str) -> Error {
    let error = count(server, user, options).expect_err("the user was let in");
    assert_eq!(error.stage(), Some(Stage::Authentication), "{error}");
    assert_eq!(error.kind(), ErrorKind::Authentication, "{error}");
    let shown = format!("{error} {error:?} {:?}", error.cause());
    assert!(!shown.contains("s3cret"), "{shown}");
    error
}

#[test]
#[ignore = "a scenario of against_a_kdc"]
fn without_a_ticket() {
    let server = server();
    let error = refused(&server, "ada%40BENCH.TEST", "");
    assert_eq!(code(&error), CauseCode::KerberosTicketMissing, "{error}");
    assert!(
        error
            .to_string()
            .contains("there is no Kerberos ticket of \"ada@BENCH.TEST\""),
        "{error}"
    );
    assert_eq!(server.count_of("saslStart"), 0);
}

#[test]
#[ignore = "a scenario of against_a_kdc"]
fn with_a_password() {
    let server = server();
    count(&server, &format!("ada%40BENCH.TEST:{PASSWORD}"), "").unwrap();
    let error = refused(&server, "ada%40BENCH.TEST:s3cret-wrong", "");
    assert_eq!(code(&error), CauseCode::KerberosFailed, "{error}");
    assert!(
        error
            .to_string()
            .contains("gave no ticket to \"ada@BENCH.TEST\""),
        "{error}"
    );
    let error = refused(&server, "eve%40BENCH.TEST:s3cret-wrong", "");
    assert_eq!(code(&error), CauseCode::KerberosFailed, "{error}");
    assert!(error.to_string().contains("eve"), "{error}");
}

#[test]
#[ignore = "a scenario of against_a_kdc"]
fn with_a_ticket() {
    let server = server();
    count(&server, "ada%40BENCH.TEST", "").unwrap();
    let user = server.program_connections()[0].user.clone();
    assert_eq!(user.as_deref(), Some("$external.ada@BENCH.TEST"));
    // Another service under another name, with and without a realm.
    let properties = "&authMechanismProperties=SERVICE_NAME:other,SERVICE_HOST:service.bench";
    count(
        &server,
        "ada%40BENCH.TEST",
        &format!("{properties},SERVICE_REALM:BENCH.TEST"),
    )
    .unwrap();
    for mode in ["none", "forward", "forwardAndReverse", "true", "false"] {
        let option = format!("&authMechanismProperties=CANONICALIZE_HOST_NAME:{mode}");
        count(&server, "ada%40BENCH.TEST", &option).unwrap();
    }
    let error = refused(
        &server,
        "ada%40BENCH.TEST",
        "&authMechanismProperties=SERVICE_NAME:unknown",
    );
    assert_eq!(code(&error), CauseCode::KerberosServiceUnknown, "{error}");
    assert!(
        error.to_string().contains("\"unknown@localhost\""),
        "{error}"
    );
    // A ticket of another user is not used.
    let error = refused(&server, "eve%40BENCH.TEST", "");
    assert_eq!(code(&error), CauseCode::KerberosTicketMissing, "{error}");
}

#[test]
#[ignore = "a scenario of against_a_kdc"]
fn with_an_expired_ticket() {
    let error = refused(&server(), "ada%40BENCH.TEST", "");
    assert_eq!(code(&error), CauseCode::KerberosTicketMissing, "{error}");
    assert!(error.to_string().contains("has expired"), "{error}");
}

#[test]
#[ignore = "a scenario of against_a_kdc"]
fn without_a_kdc() {
    let server = server();
    let limit = Duration::from_millis(300);
    let error = at_limit(limit, || {
        refused(&server, "ada%40BENCH.TEST", "&connectTimeoutMS=300")
    });
    assert_eq!(code(&error), CauseCode::KerberosFailed, "{error}");
    assert!(
        error
            .to_string()
            .contains("did not end within 300 ms (connectTimeoutMS)"),
        "{error}"
    );
}
