//! Peers that are not MongoDB.

use mongotls_testbench::client::tls;
use mongotls_testbench::stranger::{banner, http_server, nobody, silent};
use std::io::{ErrorKind, Read, Write};
use std::net::TcpStream;
use std::time::{Duration, Instant};

#[test]
fn web_server_answers_anything_with_400() {
    let server = http_server();
    let mut stream = TcpStream::connect(server.addr()).unwrap();
    stream.write_all(b"\x16\x03\x01").unwrap();
    let mut answer = String::new();
    stream.read_to_string(&mut answer).unwrap();
    assert!(answer.starts_with("HTTP/1.1 400 "));
    let (_, body) = answer.split_once("\r\n\r\n").unwrap();
    assert!(answer.contains(&format!("Content-Length: {}", body.len())));
    let error = tls(server.addr(), "localhost", None, None).unwrap_err();
    assert!(error.to_string().contains("wrong version number"));
}

#[test]
fn banner_comes_unasked_and_silence_stays() {
    let talker = banner("SSH-2.0-bench\r\n");
    let mut heard = [0; 15];
    let mut stream = TcpStream::connect(talker.addr()).unwrap();
    stream.read_exact(&mut heard).unwrap();
    assert_eq!(&heard, b"SSH-2.0-bench\r\n");

    let listener = silent();
    let mut stream = TcpStream::connect(listener.addr()).unwrap();
    stream
        .set_read_timeout(Some(Duration::from_millis(100)))
        .unwrap();
    stream.write_all(b"hello?").unwrap();
    let error = stream.read(&mut heard).unwrap_err();
    assert!(matches!(
        error.kind(),
        ErrorKind::WouldBlock | ErrorKind::TimedOut
    ));
    let begun = Instant::now();
    drop((talker, listener));
    assert!(begun.elapsed() < Duration::from_secs(1));
    let error = TcpStream::connect(nobody()).unwrap_err();
    assert_eq!(error.kind(), ErrorKind::ConnectionRefused);
}
