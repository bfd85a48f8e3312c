//! The SOCKS5 proxy of the bench, tested with hand-built messages.

use mongotls_testbench::client::RawClient;
use mongotls_testbench::fault::Fault;
use mongotls_testbench::net::Bind;
use mongotls_testbench::server::Server;
use mongotls_testbench::socks5::{Misbehaviour, Socks5Proxy, Visit};
use mongotls_testbench::stranger::{banner, nobody};
use std::io::{Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::time::{Duration, Instant};

/// Sends the messages one by one, and returns the answers, each with the given length.
fn talk(proxy: SocketAddr, messages: &[(&[u8], usize)]) -> (Vec<Vec<u8>>, TcpStream) {
    let mut stream = TcpStream::connect(proxy).unwrap();
    stream
        .set_read_timeout(Some(Duration::from_secs(10)))
        .unwrap();
    let mut answers = Vec::new();
    for (message, length) in messages {
        stream.write_all(message).unwrap();
        let mut answer = vec![0; *length];
        stream.read_exact(&mut answer).unwrap();
        answers.push(answer);
    }
    (answers, stream)
}

fn ask_for(kind: u8, address: &[u8], port: u16) -> Vec<u8> {
    [&[5, 1, 0, kind], address, &port.to_be_bytes()].concat()
}

fn is_over(mut stream: TcpStream) -> bool {
    matches!(stream.read(&mut [0]), Ok(0))
}

#[test]
fn names_and_addresses_lead_to_servers_and_are_recorded() {
    let server = Server::builder().start();
    let port = server.port();
    let proxy = Socks5Proxy::builder()
        .name("db.example.com", server.addr())
        .start();
    let name = ask_for(3, b"\x0Edb.example.com", 27017);
    let address = ask_for(1, &[127, 0, 0, 1], port);
    for (request, address_type, host, port) in [
        (name, 3, "db.example.com", 27017),
        (address, 1, "127.0.0.1", port),
    ] {
        let (answers, stream) = talk(proxy.addr(), &[(&[5, 1, 0], 2), (&request, 10)]);
        assert_eq!((&answers[0][..], answers[1][1]), (&[5, 0][..], 0));
        assert!(RawClient::over(stream).legacy_hello().is_ok());
        let expected = Visit {
            methods: vec![0],
            login: None,
            address_type,
            host: host.to_owned(),
            port,
        };
        assert_eq!(proxy.visits().last(), Some(&expected));
    }
}

#[test]
fn a_proxy_with_a_user_lets_nobody_else_in() {
    let server = Server::builder().start();
    let proxy = Socks5Proxy::builder()
        .bind(Bind::V6(0))
        .login("bob", "pw")
        .start();
    let request = ask_for(1, &[127, 0, 0, 1], server.port());
    let (answers, stream) = talk(proxy.addr(), &[(&[5, 1, 0], 2)]);
    assert_eq!(answers[0], [5, 0xFF]);
    assert!(is_over(stream));
    let greeting: (&[u8], usize) = (&[5, 2, 0, 2], 2);
    let (answers, stream) = talk(proxy.addr(), &[greeting, (b"\x01\x03bob\x02no", 2)]);
    assert_eq!(answers, [vec![5, 2], vec![1, 1]]);
    assert!(is_over(stream));
    let login: (&[u8], usize) = (b"\x01\x03bob\x02pw", 2);
    let (answers, _stream) = talk(proxy.addr(), &[greeting, login, (&request, 10)]);
    assert_eq!((&answers[1][..], answers[2][1]), (&[1, 0][..], 0));
    let visits = proxy.visits();
    let logins: Vec<_> = visits.iter().map(|visit| visit.login.as_ref()).collect();
    let bob = |password: &str| ("bob".to_owned(), password.to_owned());
    assert_eq!(logins, [None, Some(&bob("no")), Some(&bob("pw"))]);
}

#[test]
fn nothing_leads_beyond_the_loopback_interface() {
    let proxy = Socks5Proxy::start();
    let refused = nobody();
    for (request, code) in [
        (ask_for(1, &[192, 0, 2, 1], 27017), 4),
        (ask_for(3, b"\x0Cno.such.host", 27017), 4),
        (ask_for(1, &[127, 0, 0, 1], refused.port()), 5),
        (vec![5, 2, 0, 1, 127, 0, 0, 1, 0, 1], 7),
    ] {
        let (answers, stream) = talk(proxy.addr(), &[(&[5, 1, 0], 2), (&request, 10)]);
        assert_eq!(answers[1][1], code, "{request:?}");
        assert!(is_over(stream));
    }
}

#[test]
fn it_misbehaves_as_it_is_told() {
    let talker = banner(*b"SSH-2.0-bench\r\n");
    let server = Server::builder().start();
    let proxy = Socks5Proxy::builder()
        .name("talker", talker.addr())
        .name("server", server.addr())
        .start();
    let request = ask_for(3, b"\x06talker", 22);
    proxy.misbehave(Misbehaviour::Greeting(b"HTTP/1.1 400".to_vec()));
    let (answers, stream) = talk(proxy.addr(), &[(&[5, 1, 0], 12)]);
    assert_eq!(answers[0], b"HTTP/1.1 400");
    assert!(is_over(stream));
    proxy.misbehave(Misbehaviour::Method(7));
    assert_eq!(talk(proxy.addr(), &[(&[5, 1, 0], 2)]).0[0], [5, 7]);
    proxy.reply_with(3);
    let (answers, _) = talk(proxy.addr(), &[(&[5, 1, 0], 2), (&request, 10)]);
    assert_eq!(answers[1][1], 3);
    proxy.misbehave(Misbehaviour::WithServersBytes);
    let (answers, _) = talk(proxy.addr(), &[(&[5, 1, 0], 2), (&request, 10 + 15)]);
    assert_eq!(&answers[1][10..], b"SSH-2.0-bench\r\n");
    // A valid but unusual reply is followed by the bytes of the server.
    proxy.misbehave(Misbehaviour::Reply(b"\x05\0\0\x03\x01p\0\0".to_vec()));
    let request = ask_for(3, b"\x06server", 1);
    let (_, stream) = talk(proxy.addr(), &[(&[5, 1, 0], 2), (&request, 8)]);
    assert!(RawClient::over(stream).legacy_hello().is_ok());

    proxy.behave();
    proxy.faults().next(1, Fault::close_after(5));
    let (answers, stream) = talk(proxy.addr(), &[(&[5, 1, 0], 2), (&request, 3)]);
    assert_eq!(answers[1], [5, 0, 0]);
    assert!(is_over(stream));
    proxy.faults().next(1, Fault::stall_after(0));
    let mut stream = TcpStream::connect(proxy.addr()).unwrap();
    stream.write_all(&[5, 1, 0]).unwrap();
    let begun = Instant::now();
    drop(proxy);
    assert!(begun.elapsed() < Duration::from_secs(2));
}
