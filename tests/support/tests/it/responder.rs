//! The OCSP responder and the HTTP proxy, from the view of a client.

use mongotls_testbench::fault::Fault;
use mongotls_testbench::http_proxy::HttpProxy;
use mongotls_testbench::net::Bind;
use mongotls_testbench::ocsp::{Behaviour, Responder};
use mongotls_testbench::pki::{Ca, Digest, Identity, KeyKind, LeafSpec, OcspSpec, PkiDir};
use openssl::hash::MessageDigest;
use openssl::ocsp::{OcspCertId, OcspRequest, OcspResponseStatus};
use openssl::x509::X509Ref;
use std::io::{ErrorKind, Read, Write};
use std::net::{Shutdown, SocketAddr, TcpStream};
use std::process::Command;
use std::time::{Duration, Instant};

/// The time limit for an expected event.
const SOON: Duration = Duration::from_secs(5);
/// The time to wait for an event that should not happen.
const A_WHILE: Duration = Duration::from_millis(150);

fn setup() -> (Responder, Ca, Identity, Vec<u8>) {
    let responder = Responder::start();
    let ca = Ca::root("root", KeyKind::EcP256);
    let server = ca.issue(LeafSpec::local_server().ocsp_url(&responder.url()));
    let response = ca.ocsp(&server.cert).build();
    responder.answer(&server.cert, &*response);
    (responder, ca, server, response)
}

/// An OCSPRequest, as OpenSSL makes it.
fn request(ca: &Ca, certs: &[&X509Ref], digest: MessageDigest) -> Vec<u8> {
    let mut request = OcspRequest::new().unwrap();
    for cert in certs {
        let id = OcspCertId::from_cert(digest, cert, ca.cert()).unwrap();
        request.add_id(id).unwrap();
    }
    request.to_der().unwrap()
}

fn sha1_request(ca: &Ca, cert: &X509Ref) -> Vec<u8> {
    request(ca, &[cert], MessageDigest::sha1())
}

fn post(der: &[u8]) -> Vec<u8> {
    let head = format!(
        "POST / HTTP/1.1\r\nHost: 127.0.0.1\r\nContent-Type: application/ocsp-request\r\n\
         Content-Length: {}\r\n\r\n",
        der.len()
    );
    [head.as_bytes(), der].concat()
}

fn path(der: &[u8]) -> String {
    let base64 = openssl::base64::encode_block(der);
    let encoded = base64.replace('+', "%2B").replace('/', "%2F");
    format!("/{}", encoded.replace('=', "%3D"))
}

fn get(target: &str) -> Vec<u8> {
    format!("GET {target} HTTP/1.1\r\nHost: 127.0.0.1\r\n\r\n").into_bytes()
}

fn send(addr: SocketAddr, bytes: &[u8]) -> TcpStream {
    let mut stream = TcpStream::connect(addr).unwrap();
    stream.set_read_timeout(Some(SOON)).unwrap();
    stream.write_all(bytes).unwrap();
    stream
}

/// The bytes until the end of the connection.
fn ask(addr: SocketAddr, bytes: &[u8]) -> Vec<u8> {
    let mut answer = Vec::new();
    send(addr, bytes).read_to_end(&mut answer).unwrap();
    answer
}

/// Header and body.
fn parts(answer: &[u8]) -> (String, &[u8]) {
    let at = answer.windows(4).position(|four| four == b"\r\n\r\n");
    let (head, body) = answer.split_at(at.expect("the end of the header") + 4);
    (String::from_utf8(head.to_vec()).unwrap(), body)
}

#[test]
fn answers_get_and_post_and_keeps_what_was_asked() {
    let (responder, ca, server, response) = setup();
    let other = ca.issue(LeafSpec::local_server());
    let der = sha1_request(&ca, &server.cert);
    let begun = Instant::now();
    for bytes in [post(&der), get(&path(&der))] {
        let answer = ask(responder.addr(), &bytes);
        let (head, body) = parts(&answer);
        assert!(head.starts_with("HTTP/1.1 200 OK\r\n"), "{head}");
        assert!(head.contains("\r\nContent-Type: application/ocsp-response\r\n"));
        assert!(head.contains(&format!("\r\nContent-Length: {}\r\n", response.len())));
        assert_eq!(body, response);
    }
    assert_eq!((responder.count(), responder.connections()), (2, 2));
    let requests = responder.requests();
    assert_eq!(requests[0].http.method, "POST");
    assert_eq!(requests[1].http.method, "GET");
    for request in &requests {
        assert_eq!(request.complaints, [""; 0]);
        assert_eq!(request.der, der);
        assert_eq!(request.nonce, None);
        let [id] = &request.cert_ids[..] else {
            panic!("{request:?}");
        };
        assert_eq!(id.digest, Some(Digest::Sha1));
        assert!(id.is_about(ca.cert(), &server.cert));
        assert!(!id.is_about(ca.cert(), &other.cert));
        assert!(!id.is_about(Ca::root("root", KeyKind::EcP256).cert(), &server.cert));
        assert_eq!(request.http.header("host"), Some("127.0.0.1"));
        assert!(request.http.at > begun && request.http.at < Instant::now());
    }
    assert_eq!(requests[0].http.target, "/");
    assert_eq!(requests[0].http.body, der);
    assert_eq!(requests[1].http.target, path(&der));
    assert_eq!(requests[1].http.body, b"");
}

#[test]
fn openssl_is_served_and_its_nonce_read() {
    let (responder, ca, server, _) = setup();
    let (signer, issuer, cert) = (ca.clone(), ca.cert().clone(), server.cert.clone());
    let dir = PkiDir::new();
    dir.write("ca.pem", ca.cert_pem());
    dir.write("cert.pem", server.cert_pem());
    responder.answer_with(move |request| {
        assert!(request.cert_ids[0].is_about(&issuer, &cert));
        let nonce = request.nonce.as_ref().expect("a nonce");
        signer.ocsp(&cert).nonce(nonce).build()
    });
    let output = Command::new("openssl")
        .args("ocsp -CAfile ca.pem -issuer ca.pem -cert cert.pem -nonce -url".split(' '))
        .arg(responder.url())
        .current_dir(dir.path())
        .output()
        .unwrap();
    let said = format!("{output:?}");
    assert!(said.contains("Response verify OK"), "{said}");
    assert!(said.contains("cert.pem: good"), "{said}");
    // It warns if the nonce is missing or another one.
    assert!(!said.contains("WARNING"), "{said}");
    let request = &responder.requests()[0];
    assert_eq!(request.nonce.as_ref().unwrap().len(), 16);
    assert_eq!(request.complaints, [""; 0]);
}

#[test]
fn answers_by_serial_number_or_for_all() {
    let (responder, ca, server, response) = setup();
    let other = ca.issue(LeafSpec::local_server());
    let about = |cert: &X509Ref| {
        let answer = ask(responder.addr(), &post(&sha1_request(&ca, cert)));
        parts(&answer).1.to_vec()
    };
    assert_eq!(about(&server.cert), response);
    let unauthorized = OcspSpec::failure(OcspResponseStatus::UNAUTHORIZED);
    assert_eq!(about(&other.cert), unauthorized);
    responder.answer_all(*b"any bytes");
    assert_eq!(about(&other.cert), b"any bytes");
    assert_eq!(about(&server.cert), response);
    responder.answer(&server.cert, *b"new bytes");
    assert_eq!(about(&server.cert), b"new bytes");

    let both = request(&ca, &[&other.cert, &server.cert], MessageDigest::sha256());
    ask(responder.addr(), &post(&both));
    let last = responder.requests().pop().unwrap();
    assert_eq!(last.cert_ids.len(), 2);
    assert!(last.cert_ids[0].is_about(ca.cert(), &other.cert));
    assert!(last.cert_ids[1].is_about(ca.cert(), &server.cert));
    assert_eq!(last.cert_ids[1].digest, Some(Digest::Sha256));
}

#[test]
fn a_path_before_the_request_and_unencoded_base64_are_taken() {
    let (responder, ca, server, response) = setup();
    // A random serial number: after a few tries the base64 of one has each of the three characters.
    let awkward = std::iter::repeat_with(|| ca.issue(LeafSpec::local_server()).cert)
        .find(|cert| {
            let base64 = openssl::base64::encode_block(&sha1_request(&ca, cert));
            ['/', '+', '='].iter().all(|sign| base64.contains(*sign))
        })
        .unwrap();
    responder.answer(&awkward, &*response);
    let der = sha1_request(&ca, &awkward);
    for prefix in ["", "/ocsp", "/a/b/c"] {
        let answer = ask(responder.addr(), &get(&format!("{prefix}{}", path(&der))));
        assert_eq!(parts(&answer).1, response, "{prefix}");
        let plain = format!("{prefix}/{}", openssl::base64::encode_block(&der));
        let answer = ask(responder.addr(), &get(&plain));
        assert_eq!(parts(&answer).1, response, "{plain}");
    }
    let requests = responder.requests();
    for pair in requests.chunks(2) {
        assert_eq!(pair[0].complaints, [""; 0], "{}", pair[0].http.target);
        assert_eq!(pair[1].complaints, ["the base64 is not encoded for a URL"]);
        assert_eq!((&pair[0].der, &pair[1].der), (&der, &der));
    }
    drop(server);
}

#[test]
fn complains_of_requests_that_a_strict_responder_would_refuse() {
    const UNREADABLE: &str = "there is no OCSPRequest that can be read";
    let (responder, ca, server, _) = setup();
    let der = sha1_request(&ca, &server.cert);
    let whole = String::from_utf8(get(&path(&der))).unwrap();
    let posted = |from: &str, to: &str| {
        let head = String::from_utf8(post(b"")).unwrap();
        let head = head.replace("Length: 0", &format!("Length: {}", der.len()));
        [head.replace(from, to).as_bytes(), &der].concat()
    };
    let long = get(&format!("/{}{}", "x".repeat(255), path(&der)));
    let cut = post(&der[..der.len() - 1]);
    let padded = post(&[&der[..], b"\0"].concat());
    let cases: Vec<(Vec<u8>, &[&str])> = vec![
        (post(&der), &[]),
        (whole.replace("Host", "Hose").into(), &["there is no Host"]),
        (
            posted("ocsp-request", "x"),
            &["the Content-Type is not application/ocsp-request"],
        ),
        (long, &["the URL of a GET is longer than 255 bytes"]),
        (cut, &[UNREADABLE]),
        (padded, &[UNREADABLE]),
        (get("/"), &[UNREADABLE]),
        (get("/%zz"), &[UNREADABLE]),
        (get("/AAAA"), &[UNREADABLE]),
        (
            whole.replace("GET /", "GET http://x/").into(),
            &["the target is no path"],
        ),
        (
            whole.replace("GET", "PUT").into(),
            &["the method is neither GET nor POST", UNREADABLE],
        ),
    ];
    let malformed = OcspSpec::failure(OcspResponseStatus::MALFORMED_REQUEST);
    for (bytes, complaints) in cases {
        let answer = ask(responder.addr(), &bytes);
        let last = responder.requests().pop().unwrap();
        assert_eq!(last.complaints, complaints);
        let refused = complaints.contains(&UNREADABLE);
        assert_eq!(parts(&answer).1 == malformed, refused, "{complaints:?}");
        assert_eq!(last.cert_ids.is_empty(), refused);
    }
    let count = responder.count();
    for nonsense in [
        "hello\r\n\r\n",
        "GET /\r\n\r\n",
        "GET / HTTP/1.1\r\nno colon\r\n\r\n",
    ] {
        let answer = ask(responder.addr(), nonsense.as_bytes());
        assert!(answer.starts_with(b"HTTP/1.1 400 "), "{nonsense}");
    }
    assert_eq!(responder.count(), count);
}

#[test]
fn every_behaviour_is_what_its_name_says() {
    let (responder, ca, server, response) = setup();
    let der = sha1_request(&ca, &server.cert);
    let addr = responder.addr();
    let asked = |behaviour: Behaviour| {
        responder.behave(behaviour);
        let answer = ask(addr, &post(&der));
        let (head, body) = parts(&answer);
        (head, body.to_vec())
    };
    let length = format!("\r\nContent-Length: {}\r\n", response.len());
    let kind = "\r\nContent-Type: application/ocsp-response\r\n";

    let begun = Instant::now();
    let sound = asked(Behaviour::Delay(A_WHILE));
    assert!(begun.elapsed() >= A_WHILE);
    assert_eq!(sound, asked(Behaviour::Sound));
    assert!(sound.0.contains("\r\nConnection: close\r\n"));
    let (head, body) = asked(Behaviour::NoContentLength);
    assert_eq!(
        (head, body),
        (sound.0.replace(&length, "\r\n"), response.clone())
    );
    let (head, rest) = asked(Behaviour::Interim);
    assert_eq!(head, "HTTP/1.1 100 Continue\r\n\r\n");
    assert_eq!(rest, [sound.0.as_bytes(), &response].concat());
    let (head, body) = asked(Behaviour::Chunked);
    assert!(
        head.contains("\r\nTransfer-Encoding: chunked\r\n") && !head.contains("Content-Length")
    );
    assert_eq!(dechunk(&body), (response.clone(), true));

    for status in [404, 405, 500, 503] {
        let (head, body) = asked(Behaviour::Status(status));
        assert!(head.starts_with(&format!("HTTP/1.1 {status} ")), "{head}");
        assert!(body.starts_with(b"<html>"));
        assert_eq!(head.contains("\r\nAllow: "), status == 405);
    }
    let (head, body) = asked(Behaviour::Html);
    assert!(head.starts_with("HTTP/1.1 200 ") && head.contains("Content-Type: text/html\r\n"));
    assert!(body.starts_with(b"<html>"));

    let (head, body) = asked(Behaviour::ContentType(None));
    assert_eq!(
        (head, body),
        (sound.0.replace(kind, "\r\n"), response.clone())
    );
    let (head, body) = asked(Behaviour::ContentType(Some("text/plain".into())));
    assert!(head.contains("\r\nContent-Type: text/plain\r\n") && !head.contains(kind));
    assert_eq!(body, response);
    for text in ["5", "99999", "-1", "many"] {
        let (head, body) = asked(Behaviour::ContentLength(text.into()));
        let wrong = format!("\r\nContent-Length: {text}\r\n");
        assert_eq!(
            (head, body),
            (sound.0.replace(&length, &wrong), response.clone())
        );
    }
    let (head, body) = asked(Behaviour::Huge(1_000_000));
    assert!(head.contains("\r\nContent-Length: 1000000\r\n"), "{head}");
    assert_eq!(body.len(), 1_000_000);
    responder.behave(Behaviour::Raw(b"SSH-2.0-bench\r\n".to_vec()));
    assert_eq!(ask(addr, &post(&der)), b"SSH-2.0-bench\r\n");
}

/// The body; the second value is true if it ended with the last chunk.
fn dechunk(mut bytes: &[u8]) -> (Vec<u8>, bool) {
    let mut body = Vec::new();
    while let Some(at) = bytes.windows(2).position(|two| two == b"\r\n") {
        let size = std::str::from_utf8(&bytes[..at]).unwrap();
        let size = usize::from_str_radix(size, 16).unwrap();
        let Some(chunk) = bytes.get(at + 2..at + 2 + size) else {
            break;
        };
        if size == 0 {
            assert_eq!(&bytes[at + 2..], b"\r\n");
            return (body, true);
        }
        body.extend_from_slice(chunk);
        bytes = &bytes[(at + 4 + size).min(bytes.len())..];
    }
    (body, false)
}

#[test]
fn redirects_lead_where_they_say() {
    let (responder, ca, server, response) = setup();
    let der = sha1_request(&ca, &server.cert);
    let location = |at: &Responder, bytes: &[u8]| {
        let (head, _) = parts(&ask(at.addr(), bytes));
        assert!(head.starts_with("HTTP/1.1 30"), "{head}");
        let (_, rest) = head.split_once("\r\nLocation: ").unwrap();
        rest.split("\r\n").next().unwrap().to_owned()
    };
    let away = Responder::start();
    away.behave(Behaviour::Redirect(301, responder.url()));
    let target = location(&away, &get(&path(&der)));
    assert_eq!(target, format!("{}{}", responder.url(), path(&der)));
    let origin = target.strip_prefix(&responder.url()).unwrap();
    let answer = ask(responder.addr(), &get(origin));
    assert_eq!(parts(&answer).1, response);
    assert_eq!(location(&away, &post(&der)), responder.url());
    away.behave(Behaviour::Redirect(307, "https://127.0.0.1:1/ocsp".into()));
    assert_eq!(location(&away, &post(&der)), "https://127.0.0.1:1/ocsp");
    let secure = location(&away, &get(&path(&der)));
    assert_eq!(secure, format!("https://127.0.0.1:1/ocsp{}", path(&der)));

    away.behave(Behaviour::RedirectToItself);
    let own = format!("{}{}", away.url(), path(&der));
    assert_eq!(location(&away, &get(&path(&der))), own);
    assert_eq!(location(&away, &post(&der)), format!("{}/", away.url()));
    away.behave(Behaviour::RedirectForEver);
    let mut target = path(&der);
    for _ in 0..3 {
        let next = location(&away, &get(&target));
        let next = next.strip_prefix(&away.url()).unwrap();
        assert_ne!(next, target);
        target = next.into();
    }
    assert_eq!(away.requests().pop().unwrap().der, der);
}

#[test]
fn endless_answers_go_on_until_the_client_goes() {
    let (responder, ca, server, _) = setup();
    let der = sha1_request(&ca, &server.cert);
    let bytes = 1_000_000;
    for behaviour in [
        Behaviour::Endless,
        Behaviour::EndlessChunked,
        Behaviour::EndlessHeaders,
        Behaviour::EndlessHeaderLine,
        Behaviour::Huge(u64::MAX),
    ] {
        responder.behave(behaviour.clone());
        let mut stream = send(responder.addr(), &post(&der));
        let mut answer = vec![0; bytes];
        stream.read_exact(&mut answer).unwrap();
        let ends = answer.windows(4).filter(|four| four == b"\r\n\r\n").count();
        let lines = answer.windows(2).filter(|two| two == b"\r\n").count();
        match behaviour {
            Behaviour::EndlessHeaders => assert!(ends == 0 && lines > 10_000),
            Behaviour::EndlessHeaderLine => assert_eq!((ends, lines), (0, 1)),
            Behaviour::EndlessChunked => {
                let (head, body) = parts(&answer);
                assert!(head.contains("chunked") && !head.contains("Content-Length"));
                let (body, ended) = dechunk(body);
                assert!(!ended && body.len() > bytes - 100_000);
            }
            Behaviour::Endless => {
                let (head, body) = parts(&answer);
                assert!(!head.contains("chunked") && !head.contains("Content-Length"));
                assert!(body.iter().all(|byte| *byte == 0));
            }
            _ => assert!(
                parts(&answer)
                    .0
                    .contains("Content-Length: 18446744073709551615")
            ),
        }
    }
    let mut open = send(responder.addr(), &post(&der));
    assert!(responder.wait_for(6, SOON));
    let begun = Instant::now();
    drop(responder);
    assert!(begun.elapsed() < Duration::from_secs(1));
    let mut rest = Vec::new();
    let _ = open.read_to_end(&mut rest); // an end or a reset, but no time-out
    assert!(begun.elapsed() < SOON);
}

#[test]
fn faults_strike_the_answer_and_not_the_request() {
    let (responder, ca, server, _) = setup();
    let der = sha1_request(&ca, &server.cert);
    // The received bytes, and the kind of the end.
    let outcome = |fault: Fault| {
        responder.faults().next(1, fault);
        let mut stream = send(responder.addr(), &post(&der));
        stream.set_read_timeout(Some(A_WHILE)).unwrap();
        let (mut got, mut buffer) = (0, [0; 4096]);
        loop {
            match stream.read(&mut buffer) {
                Ok(0) => return (got, None),
                Ok(count) => got += count,
                Err(error) if error.kind() == ErrorKind::TimedOut => {
                    return (got, Some(ErrorKind::WouldBlock));
                }
                Err(error) => return (got, Some(error.kind())),
            }
        }
    };
    let whole = outcome(Fault::close_after(1_000_000));
    assert_eq!(whole.1, None);
    assert_eq!(
        outcome(Fault::stall_after(0)),
        (0, Some(ErrorKind::WouldBlock))
    );
    assert_eq!(
        outcome(Fault::stall_after(20)),
        (20, Some(ErrorKind::WouldBlock))
    );
    assert_eq!(
        outcome(Fault::reset_after(0)),
        (0, Some(ErrorKind::ConnectionReset))
    );
    assert_eq!(outcome(Fault::close_after(0)), (0, None));
    assert_eq!(outcome(Fault::close_after(100)), (100, None));
    let slow = Duration::from_millis(1);
    let trickled = outcome(Fault::trickle_after(0, 10, slow));
    assert_eq!(trickled, whole);
    let slow = Duration::from_millis(30);
    responder.faults().next(1, Fault::trickle_after(0, 1, slow));
    let mut stream = send(responder.addr(), &post(&der));
    let begun = Instant::now();
    for _ in 0..5 {
        assert_eq!(stream.read(&mut [0; 100]).unwrap(), 1);
    }
    assert!(begun.elapsed() >= 4 * slow);
    assert_eq!((responder.count(), responder.connections()), (8, 8));
    for request in responder.requests() {
        assert_eq!(request.der, der);
    }
}

#[test]
fn connections_are_kept_only_on_request() {
    let (responder, ca, server, response) = setup();
    responder.behave(Behaviour::KeepAlive);
    let der = sha1_request(&ca, &server.cert);
    let mut stream = send(responder.addr(), &post(&der));
    for _ in 0..3 {
        let (mut answer, mut byte) = (Vec::new(), [0]);
        while !answer.ends_with(b"\r\n\r\n") {
            stream.read_exact(&mut byte).unwrap();
            answer.push(byte[0]);
        }
        assert!(parts(&answer).0.contains("\r\nConnection: keep-alive\r\n"));
        let mut body = vec![0; response.len()];
        stream.read_exact(&mut body).unwrap();
        assert_eq!(body, response);
        stream.set_read_timeout(Some(A_WHILE)).unwrap();
        let kind = stream.read(&mut byte).unwrap_err().kind();
        assert!(matches!(kind, ErrorKind::WouldBlock | ErrorKind::TimedOut));
        stream.set_read_timeout(Some(SOON)).unwrap();
        stream.write_all(&post(&der)).unwrap();
    }
    assert!(responder.wait_for(4, SOON));
    assert_eq!((responder.count(), responder.connections()), (4, 1));
    responder.cut();
    let mut rest = Vec::new();
    stream.read_to_end(&mut rest).unwrap(); // whatever came before it, the end
}

#[test]
fn behaviours_may_be_for_a_method_or_for_the_next_requests() {
    let (responder, ca, server, _) = setup();
    let der = sha1_request(&ca, &server.cert);
    let statuses = || {
        [get(&path(&der)), post(&der)].map(|bytes| {
            let (head, _) = parts(&ask(responder.addr(), &bytes));
            head[9..12].parse::<u16>().unwrap()
        })
    };
    responder.behave_on("GET", Behaviour::Status(405));
    assert_eq!(statuses(), [405, 200]);
    assert_eq!(statuses(), [405, 200]);
    responder.behave_next(3, Behaviour::Status(503));
    assert_eq!(statuses(), [503, 503]);
    assert_eq!(statuses(), [503, 200]);
    assert_eq!(statuses(), [405, 200]);
    responder.behave_on("GET", Behaviour::Sound);
    assert_eq!(statuses(), [200, 200]);
    responder.behave_next(1, Behaviour::Html);
    responder.behave(Behaviour::Status(500));
    assert_eq!(statuses(), [500, 500]);
}

#[test]
fn one_of_two_may_hang_and_one_may_come_back() {
    let (responder, ca, server, response) = setup();
    let hanging = Responder::start();
    hanging.faults().all(Fault::stall_after(0));
    let der = sha1_request(&ca, &server.cert);
    let mut silent = send(hanging.addr(), &post(&der));
    assert!(hanging.wait_for(1, SOON));
    assert_eq!(parts(&ask(responder.addr(), &post(&der))).1, response);
    silent.set_read_timeout(Some(A_WHILE)).unwrap();
    assert!(silent.read(&mut [0; 1]).is_err());

    let addr = responder.addr();
    drop(responder);
    let error = TcpStream::connect(addr).unwrap_err();
    assert_eq!(error.kind(), ErrorKind::ConnectionRefused);
    let again = Responder::start_on(&Bind::V4(addr.port())).unwrap();
    again.answer_all(*b"back");
    assert_eq!(parts(&ask(addr, &post(&der))).1, b"back");
    assert_eq!(again.url(), format!("http://{addr}"));
}

#[test]
fn a_connection_without_a_request_counts_as_a_connection() {
    let (responder, ..) = setup();
    let stream = send(responder.addr(), b"");
    stream.shutdown(Shutdown::Write).unwrap();
    let mut rest = Vec::new();
    (&stream).read_to_end(&mut rest).unwrap();
    assert_eq!(
        (rest.len(), responder.connections(), responder.count()),
        (0, 1, 0)
    );
    assert!(!responder.wait_for(1, A_WHILE));
}

fn through(proxy: &HttpProxy, host: &str, more: &str, der: &[u8]) -> (String, Vec<u8>) {
    let bytes = format!(
        "GET http://{host}{} HTTP/1.1\r\nHost: {host}\r\nProxy-Connection: close\r\n{more}\r\n",
        path(der)
    );
    let answer = ask(proxy.addr(), bytes.as_bytes());
    let (head, body) = parts(&answer);
    (head, body.to_vec())
}

#[test]
fn proxy_forwards_by_name_or_to_one_place() {
    let (responder, ca, server, response) = setup();
    let der = sha1_request(&ca, &server.cert);
    let proxy = HttpProxy::start();
    let host = responder.addr().to_string();
    let (head, body) = through(&proxy, &host, "", &der);
    assert!(head.starts_with("HTTP/1.1 200 "), "{head}");
    assert_eq!(body, response);
    let seen = &proxy.requests()[0];
    assert_eq!(seen.target, format!("http://{host}{}", path(&der)));
    let forwarded = &responder.requests()[0];
    assert_eq!(forwarded.complaints, [""; 0]);
    assert_eq!(forwarded.http.target, path(&der));
    assert_eq!(forwarded.http.header("Proxy-Connection"), None);
    // 192.0.2.0/24 is for documentation: no host has such an address, and no request is sent there.
    let (head, _) = through(&proxy, "192.0.2.1", "", &der);
    assert!(head.starts_with("HTTP/1.1 502 "), "{head}");
    // Requests to the proxy must have the absolute form.
    let answer = ask(proxy.addr(), &get(&path(&der)));
    assert!(answer.starts_with(b"HTTP/1.1 400 "));
    assert_eq!((proxy.count(), responder.count()), (3, 1));

    let proxy = HttpProxy::to(responder.addr());
    let (_, body) = through(&proxy, "responder.example", "", &der);
    assert_eq!(body, response);
    let forwarded = responder.requests().pop().unwrap();
    assert_eq!(forwarded.http.header("Host"), Some("responder.example"));
    let bytes = post(&der);
    let bytes = [b"POST http://responder.example", &bytes[5..]].concat();
    assert_eq!(parts(&ask(proxy.addr(), &bytes)).1, response);
    let forwarded = responder.requests().pop().unwrap();
    assert_eq!((forwarded.der, forwarded.complaints), (der, Vec::new()));
}

#[test]
fn proxy_may_only_count_or_want_a_password_or_hang() {
    let (responder, ca, server, response) = setup();
    let der = sha1_request(&ca, &server.cert);
    let host = responder.addr().to_string();
    let counting = HttpProxy::answering(503);
    let (head, _) = through(&counting, &host, "", &der);
    assert!(head.starts_with("HTTP/1.1 503 "), "{head}");
    assert_eq!((counting.count(), responder.count()), (1, 0));

    let guarded = HttpProxy::with_password(responder.addr(), "user:secret");
    let (head, _) = through(&guarded, &host, "", &der);
    assert!(head.starts_with("HTTP/1.1 407 "), "{head}");
    assert!(head.contains("\r\nProxy-Authenticate: Basic "), "{head}");
    let wrong = "Proxy-Authorization: Basic dXNlcjp3cm9uZw==\r\n";
    let (head, _) = through(&guarded, &host, wrong, &der);
    assert!(head.starts_with("HTTP/1.1 407 "), "{head}");
    let right = "Proxy-Authorization: Basic dXNlcjpzZWNyZXQ=\r\n";
    let (_, body) = through(&guarded, &host, right, &der);
    assert_eq!(body, response);
    let forwarded = responder.requests().pop().unwrap();
    assert_eq!(forwarded.http.header("Proxy-Authorization"), None);

    guarded.faults().all(Fault::stall_after(0));
    let bytes = format!("GET http://{host}/ HTTP/1.1\r\nHost: {host}\r\n\r\n");
    let mut stream = send(guarded.addr(), bytes.as_bytes());
    assert!(guarded.wait_for(4, SOON));
    stream.set_read_timeout(Some(A_WHILE)).unwrap();
    assert!(stream.read(&mut [0; 1]).is_err());
}
