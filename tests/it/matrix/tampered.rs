//! Handshakes with a part that this client's OpenSSL rejects and that no OpenSSL server sends: bytes of `openssl
//! s_server` are changed on the way. In TLS 1.2 they are readable up to the last message.

#![expect(
    clippy::ptr_arg,
    reason = "all changes have one type, and one of them shortens the record"
)]

use std::io::{self, Read, Write};
use std::net::{SocketAddr, TcpStream};

use mongotls::CauseCode;
use mongotls::error::Stage;
use mongotls::options::{TlsOptions, TlsOptionsBuilder};
use mongotls::tls::{TlsContext, openssl_version};
use mongotls_testbench::peers::{SServer, or_skip};
use mongotls_testbench::pki::{CaSpec, KeyKind, LeafSpec, PkiDir};

use super::{Expected, Seen, key};

/// Changes a record of the server's handshake.
type Change = fn(&mut Vec<u8>);

/// A socket to a server whose handshake records are changed before the client receives them.
struct Tampered {
    socket: TcpStream,
    change: Change,
    /// Bytes that the client has not read yet.
    ready: Vec<u8>,
    is_encrypted: bool,
}

impl Tampered {
    fn connect(addr: SocketAddr, change: Change) -> Self {
        Self {
            socket: TcpStream::connect(addr).unwrap(),
            change,
            ready: Vec::new(),
            is_encrypted: false,
        }
    }

    /// Receives one record.
    fn receive(&mut self) -> io::Result<()> {
        let mut head = [0; 5];
        self.socket.read_exact(&mut head)?;
        let mut body = vec![0; u16::from_be_bytes([head[3], head[4]]).into()];
        self.socket.read_exact(&mut body)?;
        // After the change of the cipher everything is encrypted.
        self.is_encrypted |= head[0] == 20;
        if head[0] == 22 && !self.is_encrypted {
            (self.change)(&mut body);
        }
        let length = u16::try_from(body.len()).unwrap();
        self.ready.extend(&head[..3]);
        self.ready.extend(length.to_be_bytes());
        self.ready.extend(body);
        Ok(())
    }
}

impl Read for Tampered {
    fn read(&mut self, buf: &mut [u8]) -> io::Result<usize> {
        if self.ready.is_empty() {
            self.receive()?;
        }
        let count = buf.len().min(self.ready.len());
        buf[..count].copy_from_slice(&self.ready[..count]);
        self.ready.drain(..count);
        Ok(count)
    }
}

impl Write for Tampered {
    fn write(&mut self, buf: &[u8]) -> io::Result<usize> {
        self.socket.write(buf)
    }

    fn flush(&mut self) -> io::Result<()> {
        self.socket.flush()
    }
}

/// The position after `pattern`, if the record contains it.
fn behind(record: &[u8], pattern: &[u8]) -> Option<usize> {
    let mut windows = record.windows(pattern.len());
    Some(windows.position(|window| window == pattern)? + pattern.len())
}

const SERVER_HELLO: u8 = 2;
const CERTIFICATE: u8 = 11;
const SERVER_KEY_EXCHANGE: u8 = 12;

/// Selects another curve, P-521, in the server's key exchange.
fn another_curve(record: &mut Vec<u8>) {
    if record[0] == SERVER_KEY_EXCHANGE {
        // Type, length, and a named curve.
        assert_eq!(record[4], 3);
        record[5..7].copy_from_slice(&[0, 25]);
    }
}

/// Signs with ECDSA and SHA-1.
fn another_signature(record: &mut Vec<u8>) {
    if record[0] == SERVER_KEY_EXCHANGE {
        let algorithm = 8 + usize::from(record[7]);
        record[algorithm..algorithm + 2].copy_from_slice(&[2, 3]);
    }
}

/// Replaces the algorithm of the certificate's key by one that does not exist.
fn another_key(record: &mut Vec<u8>) {
    if record[0] == CERTIFICATE {
        let id_ec_public_key = [6, 7, 0x2a, 0x86, 0x48, 0xce, 0x3d, 2, 1];
        let end = behind(record, &id_ec_public_key).unwrap();
        record[end - 1] = 0x7f;
    }
}

/// Breaks the object identifier of the first name in the certificate.
fn broken_certificate(record: &mut Vec<u8>) {
    if record[0] == CERTIFICATE {
        let common_name = [6, 3, 0x55, 4, 3];
        let end = behind(record, &common_name).unwrap();
        record[end - common_name.len()] = 5;
    }
}

/// Removes the extended master secret.
fn without_extended_master_secret(record: &mut Vec<u8>) {
    if record[0] != SERVER_HELLO {
        return;
    }
    let length = 4 + usize::from(u16::from_be_bytes([record[2], record[3]]));
    let rest = record.split_off(length);
    // Version, random, session, cipher suite and compression come before the length of all extensions.
    let session = usize::from(record[38]);
    let extensions = 39 + session + 3;
    let place = behind(&record[extensions..], &[0, 23, 0, 0]).unwrap() + extensions;
    record.drain(place - 4..place);
    for at in [2, extensions] {
        let length = u16::from_be_bytes([record[at], record[at + 1]]) - 4;
        record[at..at + 2].copy_from_slice(&length.to_be_bytes());
    }
    record.extend(rest);
}

fn unchanged(_: &mut Vec<u8>) {}

struct Desk {
    server: SServer,
    dir: PkiDir,
}

impl Desk {
    fn new() -> Option<Self> {
        let root = CaSpec::new("the root")
            .key(&key(KeyKind::EcP256, "root"))
            .root();
        let identity = root.issue(LeafSpec::local_server().key(&key(KeyKind::EcP256, "leaf")));
        let dir = PkiDir::new();
        dir.write("ca.pem", root.cert_pem());
        let server = or_skip(SServer::start(&identity, &["-tls1_2"]))?;
        Some(Self { server, dir })
    }

    fn context(&self, set: impl FnOnce(TlsOptionsBuilder) -> TlsOptionsBuilder) -> TlsContext {
        let options = TlsOptions::builder().ca_file(self.dir.path().join("ca.pem"));
        TlsContext::new(&set(options).build().unwrap()).unwrap()
    }

    fn check(
        &self,
        seen: &mut Seen,
        scenario: &str,
        context: &TlsContext,
        change: Change,
        expected: Expected,
    ) {
        let socket = Tampered::connect(self.server.addr(), change);
        let error = context.connect("localhost", socket).expect_err(scenario);
        seen.check_error(scenario, &error, &expected.at(Stage::Tls));
        let facts = error.cause().unwrap().facts();
        let ended_by = facts.get("ended_by").map(ToString::to_string);
        assert_eq!(ended_by.as_deref(), Some("client"), "{scenario}");
    }
}

/// Compares the message and the remedy for each selection of the server that the client rejects, with the client's own
/// lists and with those of the options.
#[test]
fn server_properties_that_fail_the_options_are_reported() {
    let Some(desk) = Desk::new() else { return };
    let mut seen = Seen::default();
    let code = CauseCode::NoSharedCipher;
    let version = openssl_version();

    let own = desk.context(|tls| tls.protocol(|protocol| protocol.groups("X25519:P-256")));
    desk.check(
        &mut seen,
        "a curve, with a list",
        &own,
        another_curve,
        Expected::new(code).reads(
            "the server uses an elliptic curve that this client does not accept: wrong curve",
            "Add the server's curve to the option groups, which allows only X25519:P-256, or let the server use one of these.",
        ),
    );
    let any = desk.context(|tls| tls);
    let signature = "the server signs its handshake with an algorithm that this client does not accept: wrong signature type";
    desk.check(
        &mut seen,
        "a signature",
        &any,
        another_signature,
        Expected::new(code).reads(
            signature,
            "Let the server sign with SHA-256 or stronger: update its TLS library, or enable TLS 1.3 there.",
        ),
    );
    let own = desk.context(|tls| {
        tls.protocol(|protocol| protocol.signature_algorithms("ECDSA+SHA256:ECDSA+SHA384"))
    });
    desk.check(
        &mut seen,
        "a signature, with a list",
        &own,
        another_signature,
        Expected::new(code).reads(
            signature,
            "Add the server's algorithm to the option signature_algorithms, which allows only ECDSA+SHA256:ECDSA+SHA384, or let the server use one of these.",
        ),
    );
    // With verification, the signature of the certificate would fail first.
    let unchecked = desk.context(|tls| tls.dangerous(|tls| tls.allow_invalid_certificates(true)));
    desk.check(
        &mut seen,
        "a kind of key",
        &unchecked,
        another_key,
        Expected::new(code).reads(
            &format!("{version} cannot use the kind of key in the server's certificate: unable to find public key parameters"),
            "Have the certificate issued for a key of RSA 2048, EC P-256 or stronger, or use an OpenSSL that knows the kind of key.",
        ),
    );
    seen.are(&[code]);
}

#[test]
fn an_undecodable_certificate_is_reported() {
    let Some(desk) = Desk::new() else { return };
    let mut seen = Seen::default();
    desk.check(
        &mut seen,
        "a certificate",
        &desk.context(|tls| tls),
        broken_certificate,
        Expected::new(CauseCode::TlsAlert).reads(
            &format!("{} cannot decode a certificate that the server sends: wrong tag", openssl_version()),
            "Have the certificate issued again and let the server load it; `openssl x509 -noout -text` shows what it holds.",
        ),
    );
}

/// The full handshake has an extended master secret, and the resumed one has none (RFC 7627 §5.3).
#[test]
fn a_resumption_without_extended_master_secret_is_reported() {
    let Some(desk) = Desk::new() else { return };
    let mut seen = Seen::default();
    let context = desk.context(|tls| tls);
    let connect =
        |change| context.connect("localhost", Tampered::connect(desk.server.addr(), change));
    assert!(!connect(unchanged).unwrap().report().resumed());
    assert!(connect(unchanged).unwrap().report().resumed());
    desk.check(
        &mut seen,
        "an extended master secret",
        &context,
        without_extended_master_secret,
        Expected::new(CauseCode::TlsAlert).reads(
            &format!(
                "{} refuses the resumed session of the server, whose extended master secret (RFC 7627) does not go with its full handshake",
                openssl_version()
            ),
            "Update the TLS library of the server, or of the proxy in front of it; until then, tlsSessionResumption=false in the connection string avoids resumption.",
        ),
    );
    // The session is not offered again at once.
    assert!(!connect(unchanged).unwrap().report().resumed());
}
