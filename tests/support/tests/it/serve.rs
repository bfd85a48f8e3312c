//! The program: it prints a line when it is ready, and ends with its input.

use mongotls_testbench::client::RawClient;
use openssl::pkey::PKey;
use openssl::x509::X509;
use std::fs;
use std::io::{BufRead, BufReader, Read};
use std::process::{Child, Command, Stdio};

fn run(arguments: &[&str]) -> Child {
    Command::new(env!("CARGO_BIN_EXE_mongotls-testbench"))
        .args(arguments)
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .unwrap()
}

#[test]
fn serves_with_a_fresh_pki_until_its_input_ends() {
    let folder = tempfile::tempdir().unwrap();
    let dir = folder.path().join("made");
    let mut child = run(&["serve", "--dir", dir.to_str().unwrap()]);
    let mut output = BufReader::new(child.stdout.take().unwrap());
    let mut line = String::new();
    output.read_line(&mut line).unwrap();
    let port: u16 = line.trim().strip_prefix("ready ").unwrap().parse().unwrap();

    let ca = X509::from_pem(&fs::read(dir.join("ca.pem")).unwrap()).unwrap();
    let mut client =
        RawClient::connect_tls(([127, 0, 0, 1], port).into(), "localhost", &ca).unwrap();
    client.legacy_hello().unwrap();
    let password = fs::read_to_string(dir.join("client-password.txt")).unwrap();
    let encrypted = fs::read(dir.join("client-encrypted.pem")).unwrap();
    PKey::private_key_from_pem_passphrase(&encrypted, password.trim().as_bytes()).unwrap();

    drop(child.stdin.take());
    assert!(child.wait().unwrap().success());
    assert!(client.legacy_hello().is_err());
}

#[test]
fn deploys_a_topology_until_its_input_ends() {
    // Nothing is forwarded here, so that no store is needed.
    let store = ["--store", "127.0.0.1:1"];
    let topology = ["deploy", "--topology", "sharded", "--version", "4.2"];
    let mut child = run(&[&topology[..], &store[..]].concat());
    let lines = BufReader::new(child.stdout.take().unwrap()).lines();
    let lines: Vec<_> = lines.take(2).map(Result::unwrap).collect();
    let one = lines[0].strip_prefix("one mongodb://localhost:").unwrap();
    let all = lines[1].strip_prefix("all mongodb://localhost:").unwrap();
    let port = one.strip_suffix("/?").unwrap();
    assert!(all.starts_with(&format!("{port},localhost:")), "{all}");
    let addr = ([127, 0, 0, 1], port.parse().unwrap()).into();
    let mut client = RawClient::connect(addr).unwrap();
    let hello = client.legacy_hello().unwrap();
    assert_eq!(hello.get_str("msg").unwrap(), "isdbgrid");
    assert_eq!(hello.get_i32("maxWireVersion").unwrap(), 8);
    drop(child.stdin.take());
    assert!(child.wait().unwrap().success());
}

#[test]
fn usage_is_explained_and_errors_end_with_2() {
    let mut help = run(&["--help"]);
    let mut text = String::new();
    help.stdout
        .take()
        .unwrap()
        .read_to_string(&mut text)
        .unwrap();
    assert!(help.wait().unwrap().success() && text.contains("--plain"));
    for wrong in [
        &["serve"][..],
        &["--dir", "x"],
        &["serve", "--nonsense"],
        &["deploy"],
        &["deploy", "--topology", "ring"],
        &["deploy", "--topology", "single", "--version", "1.0"],
    ] {
        assert_eq!(run(wrong).wait().unwrap().code(), Some(2), "{wrong:?}");
    }
}
