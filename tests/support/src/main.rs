//! `mongotls-testbench`: the bench as a separate program.
//!
//! `serve` is one server: `make demo` and manual checks use it. It writes a fresh PKI into a folder and prints
//! `ready PORT`. `deploy` is a topology in front of SecantusDB, for other drivers' test runners. Both serve until their
//! input is closed, so that they cannot outlive the process that started them.
#![expect(clippy::print_stdout, reason = "printing is what this program is for")]
#![expect(clippy::print_stderr, reason = "printing is what this program is for")]

use lexopt::prelude::*;
use mongotls_testbench::deployment::{Deployment, Topology};
use mongotls_testbench::net::Bind;
use mongotls_testbench::peers::{Secantus, SecantusOptions};
use mongotls_testbench::pki::{
    Ca, CrlSpec, Identity, KeyKind, LeafSpec, PkiDir, Revocation, Validity,
};
use mongotls_testbench::server::{Backend, ClientAuth, Server, ServerTls, Version};
use std::io::{self, Write};
use std::net::SocketAddr;
use std::path::PathBuf;
use std::process::ExitCode;

const USAGE: &str = "\
Usage: mongotls-testbench serve --dir DIR [OPTION]...
       mongotls-testbench deploy --topology KIND [OPTION]...

Serves MongoDB on 127.0.0.1 until standard input is closed: 'serve' is one server that
keeps documents in memory, 'deploy' is a deployment in front of SecantusDB.
'serve' prints 'ready PORT' once it does. 'deploy' prints two lines:
'one URI', with one router if there are routers, and 'all URI', with all servers.

Options of 'serve':
  --dir DIR            write a fresh PKI into DIR: ca.pem, other-ca.pem, server.pem,
                       client.pem, client-encrypted.pem (its password is in
                       client-password.txt), crl.pem (nothing revoked) and
                       crl-revoked.pem (the server is)
  --port N             listen on port N (default: any)
  --plain              no TLS
  --certificate KIND   what the server shows: sound (default), expired, not-yet-valid,
                       other-name, self-signed, unknown-issuer, no-intermediate
  --client-auth MODE   none (default), request, require, like-mongod

Options of 'deploy':
  --topology KIND      single, replicaset, sharded (two routers) or load-balanced
  --version VERSION    the version that its servers claim: 4.2, 7.0 or 8.2 (default)
  --store HOST:PORT    forward to this server instead of a new SecantusDB

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
    topology: Option<Topology>,
    version: Version,
    store: Option<SocketAddr>,
}

fn main() -> ExitCode {
    match parse() {
        Ok(None) => {
            print!("{USAGE}");
            ExitCode::SUCCESS
        }
        Ok(Some(arguments)) => match run(&arguments) {
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
    let (mut dir, mut command) = (None, String::new());
    let mut arguments = Arguments {
        dir: PathBuf::new(),
        port: 0,
        plain: false,
        certificate: "sound".into(),
        client_auth: ClientAuth::None,
        topology: None,
        version: Version::V8_2,
        store: None,
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
            Long("topology") => arguments.topology = Some(parser.value()?.parse()?),
            Long("version") => arguments.version = version(&parser.value()?.string()?)?,
            Long("store") => arguments.store = Some(parser.value()?.parse()?),
            Value(word) if word == "serve" || word == "deploy" => command = word.string()?,
            other => return Err(other.unexpected()),
        }
    }
    match command.as_str() {
        "serve" => arguments.dir = dir.ok_or("--dir is missing")?,
        "deploy" if arguments.topology.is_none() => return Err("--topology is missing".into()),
        "deploy" => {}
        _ => return Err("say what to do: serve or deploy".into()),
    }
    Ok(Some(arguments))
}

fn version(name: &str) -> Result<Version, String> {
    Ok(match name {
        "4.2" => Version::V4_2,
        "7.0" => Version::V7_0,
        "8.2" => Version::V8_2,
        other => return Err(format!("no such version: {other}")),
    })
}

fn run(arguments: &Arguments) -> Result<(), String> {
    match arguments.topology {
        None => serve(arguments),
        Some(topology) => deploy(topology, arguments),
    }
}

fn deploy(topology: Topology, arguments: &Arguments) -> Result<(), String> {
    // Held until the end.
    let mut secantus = None;
    let store = if let Some(addr) = arguments.store {
        Backend::new(addr)
    } else {
        let started = Secantus::start(&SecantusOptions::plain());
        let started = started.map_err(|error| error.to_string())?;
        secantus.insert(started).backend()
    };
    let deployment = Deployment::start(topology, arguments.version, &store);
    println!("one {}", deployment.uri(""));
    println!("all {}", deployment.uri_of_all(""));
    wait_for_the_end()
}

/// Ends with the input; its content is ignored.
fn wait_for_the_end() -> Result<(), String> {
    io::stdout().flush().map_err(|error| error.to_string())?;
    io::copy(&mut io::stdin(), &mut io::sink()).map_err(|error| error.to_string())?;
    Ok(())
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
    wait_for_the_end()
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
