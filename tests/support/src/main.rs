//! `mongotls-testbench serve`: the bench server as a separate program.
//!
//! `make demo` and manual checks use it. It writes a fresh PKI into a folder, prints `ready PORT`, and serves until its
//! input is closed, so that it cannot outlive the process that started it.
#![expect(clippy::print_stdout, reason = "printing is what this program is for")]
#![expect(clippy::print_stderr, reason = "printing is what this program is for")]

use lexopt::prelude::*;
use mongotls_testbench::net::Bind;
use mongotls_testbench::pki::{
    Ca, CrlSpec, Identity, KeyKind, LeafSpec, PkiDir, Revocation, Validity,
};
use mongotls_testbench::server::{ClientAuth, Server, ServerTls};
use std::io::{self, Write};
use std::path::PathBuf;
use std::process::ExitCode;

const USAGE: &str = "\
Usage: mongotls-testbench serve --dir DIR [OPTION]...

Serves MongoDB from memory on 127.0.0.1 until standard input is closed.
Prints 'ready PORT' once it does.

Options:
  --dir DIR            write a fresh PKI into DIR: ca.pem, other-ca.pem, server.pem,
                       client.pem, client-encrypted.pem (its password is in
                       client-password.txt), crl.pem (nothing revoked) and
                       crl-revoked.pem (the server is)
  --port N             listen on port N (default: any)
  --plain              no TLS
  --certificate KIND   what the server shows: sound (default), expired, not-yet-valid,
                       other-name, self-signed, unknown-issuer, no-intermediate
  --client-auth MODE   none (default), request, require, like-mongod
  -h, --help           print this
";

/// The password of `client-encrypted.pem`; a file beside it contains it.
const PASSWORD: &str = "testbench";

struct Arguments {
    dir: PathBuf,
    port: u16,
    plain: bool,
    certificate: String,
    client_auth: ClientAuth,
}

fn main() -> ExitCode {
    match parse() {
        Ok(None) => {
            print!("{USAGE}");
            ExitCode::SUCCESS
        }
        Ok(Some(arguments)) => match serve(&arguments) {
            Ok(()) => ExitCode::SUCCESS,
            Err(error) => {
                eprintln!("mongotls-testbench: {error}");
                ExitCode::FAILURE
            }
        },
        Err(error) => {
            eprintln!("mongotls-testbench: {error}\n\n{USAGE}");
            ExitCode::from(2)
        }
    }
}

fn parse() -> Result<Option<Arguments>, lexopt::Error> {
    let (mut dir, mut serves) = (None, false);
    let mut arguments = Arguments {
        dir: PathBuf::new(),
        port: 0,
        plain: false,
        certificate: "sound".into(),
        client_auth: ClientAuth::None,
    };
    let mut parser = lexopt::Parser::from_env();
    while let Some(argument) = parser.next()? {
        match argument {
            Short('h') | Long("help") => return Ok(None),
            Long("dir") => dir = Some(PathBuf::from(parser.value()?)),
            Long("port") => arguments.port = parser.value()?.parse()?,
            Long("plain") => arguments.plain = true,
            Long("certificate") => arguments.certificate = parser.value()?.string()?,
            Long("client-auth") => {
                arguments.client_auth = match parser.value()?.string()?.as_str() {
                    "none" => ClientAuth::None,
                    "request" => ClientAuth::Request,
                    "require" => ClientAuth::Require,
                    "like-mongod" => ClientAuth::RequireLikeMongod,
                    other => return Err(format!("no such mode: {other}").into()),
                }
            }
            Value(word) if word == "serve" => serves = true,
            other => return Err(other.unexpected()),
        }
    }
    if !serves {
        return Err("say what to do: serve".into());
    }
    arguments.dir = dir.ok_or("--dir is missing")?;
    Ok(Some(arguments))
}

fn serve(arguments: &Arguments) -> Result<(), String> {
    let root = Ca::root("mongotls testbench root", KeyKind::EcP256);
    let middle = root.intermediate("mongotls testbench intermediate", KeyKind::EcP256);
    let identity = server_identity(&middle, &arguments.certificate)?;
    write_pki(&PkiDir::at(&arguments.dir), &root, &middle, &identity);

    let mut builder = Server::builder().bind(Bind::V4(arguments.port));
    if !arguments.plain {
        let tls = ServerTls::new(&identity).client_auth(arguments.client_auth, &[root.cert()]);
        builder = builder.tls(tls);
    }
    let server = builder.start();
    println!("ready {}", server.port());
    io::stdout().flush().map_err(|error| error.to_string())?;
    // Ends with the input; its content is ignored.
    io::copy(&mut io::stdin(), &mut io::sink()).map_err(|error| error.to_string())?;
    Ok(())
}

fn server_identity(middle: &Ca, kind: &str) -> Result<Identity, String> {
    let spec = LeafSpec::local_server();
    Ok(match kind {
        "sound" => middle.issue(spec),
        "expired" => middle.issue(spec.validity(Validity::expired())),
        "not-yet-valid" => middle.issue(spec.validity(Validity::not_yet())),
        "other-name" => middle.issue(LeafSpec::server("other.example")),
        "self-signed" => Identity::self_signed(spec),
        "unknown-issuer" => Ca::root("someone else", KeyKind::EcP256).issue(spec),
        "no-intermediate" => middle.issue(spec).without_chain(),
        other => return Err(format!("no such certificate: {other}")),
    })
}

fn write_pki(dir: &PkiDir, root: &Ca, middle: &Ca, server: &Identity) {
    let pem = |crl: CrlSpec<'_>| crl.build().to_pem().expect("a CRL as PEM");
    let other = Ca::root("another root", KeyKind::EcP256);
    let client = root.issue(LeafSpec::client("app"));
    dir.write("ca.pem", root.cert_pem());
    dir.write("other-ca.pem", other.cert_pem());
    dir.write("server.pem", server.bundle_pem());
    dir.write("client.pem", client.bundle_pem());
    dir.write(
        "client-encrypted.pem",
        client.encrypted_bundle_pem(PASSWORD),
    );
    dir.write("client-password.txt", format!("{PASSWORD}\n"));
    dir.write("crl.pem", pem(middle.crl()));
    let revoked = middle.crl().revoke(Revocation::of(&server.cert));
    dir.write("crl-revoked.pem", pem(revoked));
}
