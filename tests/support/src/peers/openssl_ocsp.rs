//! `openssl ocsp` as a responder: an OCSP implementation that is not the bench's own.

use super::{Peer, PeerUnavailable, Ready, find_program};
use crate::net::lock;
use crate::pki::{Ca, DAY, Identity, PkiDir, generalized_time};
use openssl::hash::MessageDigest;
use openssl::ocsp::{OcspCertId, OcspRequest};
use openssl::x509::{CrlReason, X509Ref};
use std::io::{self, Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::process::Command;
use std::sync::Mutex;
use std::time::Duration;

/// The options for `openssl ocsp`.
#[derive(Clone, Debug)]
pub struct OpensslOcspOptions {
    ca: Ca,
    signer: Identity,
    arguments: Vec<String>,
}

impl OpensslOcspOptions {
    /// Answers for this authority and signs with its key.
    pub fn new(ca: &Ca) -> Self {
        let signer = Identity {
            cert: ca.cert().clone(),
            key: ca.key().clone(),
            chain: Vec::new(),
        };
        Self {
            ca: ca.clone(),
            signer,
            arguments: Vec::new(),
        }
    }

    /// Signs with the key of this delegate.
    pub fn signed_by(mut self, delegate: &Identity) -> Self {
        self.signer = delegate.clone();
        self
    }

    /// Further arguments, such as `-resp_no_certs`, `-resp_key_id` or `-nmin 5`.
    pub fn arguments(mut self, arguments: &[&str]) -> Self {
        let arguments = arguments.iter().map(|&argument| argument.to_owned());
        self.arguments.extend(arguments);
        self
    }
}

/// A running `openssl ocsp`. It knows no certificate until one is added.
///
/// It serves one connection after another, so a client that connects and sends nothing blocks it; it accepts POST and
/// GET. It has no option for the listen address and uses all of them.
///
/// ```no_run
/// # use mongotls_testbench::{pki::*, peers::{OpensslOcsp, OpensslOcspOptions}};
/// let ca = Ca::root("root", KeyKind::EcP256);
/// let responder = OpensslOcsp::start(&OpensslOcspOptions::new(&ca)).unwrap();
/// let server = ca.issue(LeafSpec::local_server().ocsp_url(&responder.url()));
/// responder.good(&server.cert);
/// ```
#[derive(Debug)]
pub struct OpensslOcsp {
    peer: Peer,
    ca: Ca,
    index: Mutex<Vec<Entry>>,
}

/// A line of the index, which `openssl ca` writes about the certificates it has issued.
#[derive(Debug)]
struct Entry {
    serial: String,
    revoked: Option<String>,
}

impl OpensslOcsp {
    /// Starts it.
    ///
    /// # Errors
    ///
    /// If there is no `openssl` program, or it rejects the arguments.
    pub fn start(options: &OpensslOcspOptions) -> Result<Self, PeerUnavailable> {
        let program = find_program("openssl").ok_or_else(|| PeerUnavailable {
            what: "there is no openssl program".into(),
            remedy: "install the package openssl".into(),
        })?;
        let dir = PkiDir::new();
        let index = dir.write("index", "");
        let ca = dir.write("ca.pem", options.ca.cert_pem());
        let signer = dir.write("signer.pem", options.signer.cert_pem());
        let key = dir.write("signer-key.pem", options.signer.key_pem());
        // A connection is no test: it would wait for the request of that connection, and serve no other.
        let ready = Ready::Says("aiting for OCSP client connections");
        let peer = Peer::start_when(&ready, "openssl ocsp", dir, |_, addr| {
            let mut command = Command::new(&program);
            command.args(["ocsp", "-ignore_err"]);
            command.arg("-port").arg(addr.port().to_string());
            command.arg("-index").arg(&index).arg("-CA").arg(&ca);
            command.arg("-rsigner").arg(&signer).arg("-rkey").arg(&key);
            if !options.arguments.iter().any(|argument| argument == "-nmin") {
                command.args(["-ndays", "1"]);
            }
            command.args(&options.arguments);
            command
        })?;
        Ok(Self {
            peer,
            ca: options.ca.clone(),
            index: Mutex::default(),
        })
    }

    /// Reports this certificate as good from now on.
    pub fn good(&self, cert: &X509Ref) {
        self.set(cert, None);
    }

    /// Reports this certificate as revoked from now on, with the time in seconds from now, and the reason.
    pub fn revoked(&self, cert: &X509Ref, at: i64, reason: Option<CrlReason>) {
        let reason = reason.map_or_else(String::new, |reason| format!(",{}", name_of(reason)));
        self.set(
            cert,
            Some(format!("{}{reason}", &generalized_time(at)[2..])),
        );
    }

    fn set(&self, cert: &X509Ref, revoked: Option<String>) {
        let serial = cert.serial_number().to_bn().unwrap();
        let serial = serial.to_hex_str().unwrap().to_string();
        let mut index = lock(&self.index);
        index.retain(|entry| entry.serial != serial);
        index.push(Entry { serial, revoked });
        let expires = &generalized_time(365 * DAY)[2..];
        let lines = index.iter().map(|Entry { serial, revoked }| {
            let status = if revoked.is_some() { 'R' } else { 'V' };
            let revoked = revoked.as_deref().unwrap_or_default();
            // The subjects must differ, but have no other meaning here.
            format!("{status}\t{expires}\t{revoked}\t{serial}\tunknown\t/CN={serial}\n")
        });
        self.peer.dir.write("index", lines.collect::<String>());
        // It checks for a new index each time before it waits for a request, and compares the inode and the second. It
        // is waiting already; a second request proves that it has read this index. With only one, the next index could
        // get the inode of the last one before the check.
        for _ in 0..2 {
            self.ask_in_vain().expect("a responder that answers");
        }
    }

    fn ask_in_vain(&self) -> io::Result<()> {
        let ca = self.ca.cert();
        let id = OcspCertId::from_cert(MessageDigest::sha1(), ca, ca)?;
        let mut request = OcspRequest::new()?;
        request.add_id(id)?;
        let der = request.to_der()?;
        let head = format!(
            "POST / HTTP/1.0\r\nContent-Type: application/ocsp-request\r\nContent-Length: {}\r\n\r\n",
            der.len()
        );
        let mut stream = TcpStream::connect_timeout(&self.addr(), LIMIT)?;
        stream.set_read_timeout(Some(LIMIT))?;
        stream.write_all(&[head.as_bytes(), &der].concat())?;
        stream.read_to_end(&mut Vec::new())?;
        Ok(())
    }

    /// Its URL, without a path and without a slash at the end.
    pub fn url(&self) -> String {
        format!("http://{}", self.addr())
    }

    /// Its address.
    pub fn addr(&self) -> SocketAddr {
        self.peer.addr
    }

    /// Its log so far.
    pub fn log(&self) -> String {
        self.peer.log()
    }
}

/// The reason in the form of an index.
fn name_of(reason: CrlReason) -> &'static str {
    match reason {
        CrlReason::UNSPECIFIED => "unspecified",
        CrlReason::KEY_COMPROMISE => "keyCompromise",
        CrlReason::CA_COMPROMISE => "CACompromise",
        CrlReason::AFFILIATION_CHANGED => "affiliationChanged",
        CrlReason::SUPERSEDED => "superseded",
        CrlReason::CESSATION_OF_OPERATION => "cessationOfOperation",
        CrlReason::CERTIFICATE_HOLD => "certificateHold",
        CrlReason::REMOVE_FROM_CRL => "removeFromCRL",
        other => panic!("openssl knows no name for {other:?}"),
    }
}

const LIMIT: Duration = Duration::from_secs(10);
