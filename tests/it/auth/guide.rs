//! The examples of `docs/authentication.md` in Rust; `guide.rs` has those of `docs/tls.md`.

use std::error::Error;

// example
use mongotls::bson::doc;
use mongotls::options::{AuthMechanism, OidcToken, Secret, TlsOptions};
use mongotls::{Client, ClientOptions, ConnectionString, ErrorKind, ServerAddress};
// end

use crate::guide::{Desk, expect_shown, names_causes};

const GUIDE: &str = include_str!("../../../docs/authentication.md");

type Outcome = Result<(), Box<dyn Error>>;

#[test]
fn the_guide_shows_the_examples_as_they_are_run_here() {
    expect_shown(include_str!("guide.rs"), GUIDE);
    assert!(names_causes(GUIDE) >= 5);
}

/// A command that needs authentication.
fn count(client: &Client) -> Outcome {
    client
        .database("shop")
        .run_command(doc! { "count": "things" })?;
    Ok(())
}

#[test]
fn uri() -> Outcome {
    let desk = Desk::get();
    // example
    let client = Client::connect(
        &desk.uri("mongodb://till:pa%2Fss@users.example.com/?authSource=shop&tlsCAFile=ca.pem"),
    )?;
    client
        .database("shop")
        .run_command(doc! { "count": "things" })?;
    // end
    Ok(())
}

#[test]
fn builder() -> Outcome {
    let desk = Desk::get();
    std::fs::write(desk.file("pass.txt"), "pencil\n")?;
    // example
    let file = std::fs::read_to_string(desk.file("pass.txt"))?;
    let password = file.trim_end_matches(['\r', '\n']);
    let tls = TlsOptions::builder().ca_file(desk.file("ca.pem")).build()?;
    let options = ClientOptions::builder()
        .host(desk.server("users.example.com"))
        .tls(tls)
        .credential("ada", password)
        .auth_source("admin")
        .build()?;
    let client = Client::with_options(options)?;
    // end
    count(&client)
}

#[test]
fn added_to_a_connection_string() -> Outcome {
    let desk = Desk::get();
    std::fs::write(desk.file("pass.txt"), "pencil\n")?;
    // example
    let file = std::fs::read_to_string(desk.file("pass.txt"))?;
    let password = file.trim_end_matches(['\r', '\n']);
    let uri = ConnectionString::parse(&desk.uri("mongodb://users.example.com/?tlsCAFile=ca.pem"))?;
    let options = uri.into_builder().credential("ada", password).build()?;
    let client = Client::with_options(options)?;
    // end
    count(&client)
}

#[test]
fn x509() -> Outcome {
    let desk = Desk::get();
    // example
    let client = Client::connect(&desk.uri("mongodb://users.example.com/?tlsCAFile=ca.pem&tlsCertificateKeyFile=client.pem&authMechanism=MONGODB-X509"))?;
    // end
    count(&client)
}

#[test]
fn plain() -> Outcome {
    let desk = Desk::get();
    // example
    let none: [(&str, Secret); 0] = [];
    let uri = ConnectionString::parse(&desk.uri("mongodb://users.example.com/?tlsCAFile=ca.pem"))?;
    let options = uri
        .into_builder()
        .credential("eve", "secret")
        .auth_mechanism(AuthMechanism::Plain, none)
        .build()?;
    let client = Client::with_options(options)?;
    // end
    count(&client)
}

#[test]
fn access_token_of_the_program() -> Outcome {
    let desk = Desk::get();
    std::fs::write(desk.file("token"), "t0ken\n")?;
    // example
    let uri = ConnectionString::parse(
        &desk.uri("mongodb://oidc.example.com/?tlsCAFile=ca.pem&authMechanism=MONGODB-OIDC"),
    )?;
    let options = uri
        .into_builder()
        .oidc_callback(|_| {
            // Whatever gives a token in time: here a file that something else renews.
            let token = std::fs::read_to_string(desk.file("token"))?;
            Ok(OidcToken::new(token.trim_end()))
        })
        .build()?;
    let client = Client::with_options(options)?;
    // end
    count(&client)
}

#[test]
fn access_token_of_a_person() -> Outcome {
    let desk = Desk::get();
    std::fs::write(desk.file("token"), "t0ken\n")?;
    // example
    // A real one opens the page of the issuer in a browser. Here the token is in a file.
    let log_in = |issuer: &str, refresh_token: Option<&str>| -> std::io::Result<(String, String)> {
        println!(
            "log in at {issuer}{}",
            if refresh_token.is_some() {
                " again"
            } else {
                ""
            }
        );
        let token = std::fs::read_to_string(desk.file("token"))?;
        Ok((token.trim_end().to_owned(), "refresh".to_owned()))
    };
    let uri = ConnectionString::parse(
        &desk.uri("mongodb://oidc.example.com/?tlsCAFile=ca.pem&authMechanism=MONGODB-OIDC"),
    )?;
    let options = uri
        .into_builder()
        .oidc_human_callback(move |request| {
            let idp = request
                .idp_info
                .as_ref()
                .ok_or("the server names no identity provider")?;
            let old = request.refresh_token.as_ref().map(|token| token.expose());
            let (access_token, refresh_token) = log_in(&idp.issuer, old)?;
            Ok(OidcToken::new(access_token).refresh_token(refresh_token))
        })
        .oidc_allowed_hosts([desk.host("oidc.example.com")])
        .build()?;
    let client = Client::with_options(options)?;
    // end
    count(&client)
}

#[test]
fn refusal() -> Outcome {
    let desk = Desk::get();
    // example
    let client =
        Client::connect(&desk.uri("mongodb://ada:wrong@users.example.com/?tlsCAFile=ca.pem"))?;
    let error = client
        .database("shop")
        .run_command(doc! { "count": "things" })
        .unwrap_err();
    if error.kind() == ErrorKind::Authentication {
        let cause = error.cause().ok_or("every failed connection has one")?;
        eprintln!("{}: {}", cause.code(), cause.remedy());
    }
    // end
    assert_eq!(error.kind(), ErrorKind::Authentication);
    Ok(())
}

/// The guide writes its address as this type, and so does the desk.
#[test]
fn an_address_is_that_of_the_desk() {
    let address: ServerAddress = Desk::get().server("users.example.com");
    assert_eq!(address.host(), "localhost");
}
