//! Chains that do not verify, for any name: dates, issuers, CAs, signatures, strength, purposes.

use mongotls::CauseCode;
use mongotls_testbench::der;
use mongotls_testbench::pki::{
    BasicConstraints, Ca, CaSpec, Digest, Identity, KeyKind, LeafSpec, PkiDir, Purpose, Usage,
    Validity,
};
use mongotls_testbench::server::{Server, ServerTls};
use openssl::ssl::SslVersion;

use super::{Expected, Seen, TLS_1_2, TLS_1_3, key, name, passes, security_level, shown};

pub(super) const CODES: &[CauseCode] = &[
    CauseCode::CertificateExpired,
    CauseCode::CertificateNotYetValid,
    CauseCode::IssuerUnknown,
    CauseCode::SelfSigned,
    CauseCode::UntrustedRoot,
    CauseCode::WrongPurpose,
    CauseCode::InvalidCa,
    CauseCode::SignatureInvalid,
    CauseCode::KeyTooWeak,
    CauseCode::DigestTooWeak,
];

/// The served chain, the trust anchors, and the expected result; `None` is success.
struct Case {
    name: &'static str,
    identity: Identity,
    anchors: Vec<u8>,
    expected: Option<Expected>,
    only: Option<SslVersion>,
}

impl Case {
    fn anchors(mut self, anchors: Vec<u8>) -> Self {
        self.anchors = anchors;
        self
    }

    fn only(mut self, version: SslVersion) -> Self {
        self.only = Some(version);
        self
    }
}

/// The authorities of one kind of key.
struct Pki {
    kind: KeyKind,
    root: Ca,
    mid: Ca,
    other: Ca,
}

impl Pki {
    fn new(kind: KeyKind) -> Self {
        let ca = |name: &str, of| CaSpec::new(name).key(&key(kind, of));
        let root = ca("the root", "root").root();
        Self {
            mid: ca("the intermediate", "mid").issued_by(&root),
            other: ca("another root", "other").root(),
            root,
            kind,
        }
    }

    fn leaf(&self) -> LeafSpec {
        LeafSpec::local_server().key(&key(self.kind, "leaf"))
    }

    /// An authority with the intermediate's key.
    fn ca(&self, name: &str) -> CaSpec {
        CaSpec::new(name).key(&key(self.kind, "mid"))
    }

    fn case(&self, name: &'static str, identity: Identity, expected: Expected) -> Case {
        Case {
            name,
            identity,
            anchors: self.root.cert_pem(),
            expected: Some(expected),
            only: None,
        }
    }

    /// The server's own certificate is at fault.
    fn of_leaf(&self, name: &'static str, identity: Identity, code: CauseCode) -> Case {
        let expected = Expected::new(code).blames(&identity.cert, 0, "end entity");
        self.case(name, identity, expected)
    }

    /// The authority below the root is at fault.
    fn of_mid(&self, name: &'static str, mid: &Ca, code: CauseCode) -> Case {
        let expected = Expected::new(code).blames(mid.cert(), 1, "intermediate");
        self.case(name, mid.issue(self.leaf()), expected)
    }

    fn dates(&self) -> Vec<Case> {
        let anchor = |name, spec: CaSpec, code| {
            let root = spec.root();
            let expected = Expected::new(code).blames(root.cert(), 1, "trust anchor");
            self.case(name, root.issue(self.leaf()), expected)
                .anchors(root.cert_pem())
        };
        // An intermediate in the CA file is an anchor, and no server sends it.
        let partial = self
            .ca("pinned")
            .validity(Validity::expired())
            .issued_by(&self.root);
        let expected = Expected::new(CauseCode::CertificateExpired)
            .blames(partial.cert(), 1, "trust anchor")
            .says("tlsCAFile");
        let (past, future) = (Validity::expired(), Validity::not_yet());
        vec![
            self.of_leaf(
                "end entity expired",
                self.mid.issue(self.leaf().validity(past)),
                CauseCode::CertificateExpired,
            ),
            self.of_mid(
                "intermediate expired",
                &self.ca("old").validity(past).issued_by(&self.root),
                CauseCode::CertificateExpired,
            ),
            anchor(
                "anchor expired",
                self.ca("old root").validity(past),
                CauseCode::CertificateExpired,
            ),
            self.case(
                "intermediate as an anchor expired",
                partial.issue(self.leaf()).without_chain(),
                expected,
            )
            .anchors(partial.cert_pem()),
            self.of_leaf(
                "end entity not yet valid",
                self.mid.issue(self.leaf().validity(future)),
                CauseCode::CertificateNotYetValid,
            ),
            self.of_mid(
                "intermediate not yet valid",
                &self.ca("new").validity(future).issued_by(&self.root),
                CauseCode::CertificateNotYetValid,
            ),
            anchor(
                "anchor not yet valid",
                self.ca("new root").validity(future),
                CauseCode::CertificateNotYetValid,
            ),
        ]
        .into_iter()
        .map(|mut case| {
            if case.name.contains("not yet") {
                case.expected = case.expected.map(|expected| expected.says("clock"));
            }
            case
        })
        .collect()
    }

    fn issuers(&self) -> Vec<Case> {
        let missing = |case: Case, issuer: &str, only: bool| {
            let expected = case.expected.map(|expected| {
                expected
                    .fact("missing_issuer", issuer)
                    .fact("sent_only_end_entity", only)
            });
            Case { expected, ..case }
        };
        let unknown = CauseCode::IssuerUnknown;
        let stranger = self.other.issue(self.leaf());
        let mut with_root = stranger.clone();
        with_root.chain.push(self.other.cert().clone());
        let untrusted =
            Expected::new(CauseCode::UntrustedRoot).blames(self.other.cert(), 1, "root");
        // The CA has a new key, and the client still has the certificate of the old one.
        let namesake = CaSpec::new("the root").key(&key(self.kind, "other")).root();
        // The server sends an intermediate, and not the one above it.
        let low = self.ca("low").issued_by(&self.mid);
        let mut gap = low.issue(self.leaf());
        gap.chain.truncate(1);
        let expected = Expected::new(unknown).blames(low.cert(), 1, "intermediate");
        let mut middle = low.issue(self.leaf());
        middle.chain = vec![low.cert().clone(), self.root.cert().clone()];
        let middle_missing = expected.clone().reads(
            "no trust anchor for the intermediate CA \"low\": its issuer \"CN=the intermediate\" is neither a trust anchor nor sent by the server",
            "Let the server send the intermediate CA \"CN=the intermediate\" too (on mongod in net.tls.certificateKeyFile): a CA above it is sent, and this one is missing between.",
        );
        vec![
            missing(
                self.of_leaf("another CA", stranger.clone(), unknown),
                "CN=another root",
                true,
            ),
            missing(
                self.of_leaf(
                    "intermediate not sent",
                    self.mid.issue(self.leaf()).without_chain(),
                    unknown,
                ),
                "CN=the intermediate",
                true,
            ),
            missing(
                self.of_leaf(
                    "a CA of the same name with another key",
                    namesake.issue(self.leaf()),
                    unknown,
                ),
                "CN=the root",
                true,
            ),
            missing(
                self.case("upper intermediate not sent", gap, expected.says("If \"CN=the intermediate\" is another intermediate CA, let the server send it too")),
                "CN=the intermediate",
                false,
            ),
            missing(
                self.case("a middle that is not sent", middle, middle_missing),
                "CN=the intermediate",
                false,
            ),
            self.of_leaf(
                "self-signed",
                Identity::self_signed(self.leaf()),
                CauseCode::SelfSigned,
            ),
            self.case("foreign root sent", with_root, untrusted),
        ]
    }

    fn authorities(&self) -> Vec<Case> {
        let invalid = CauseCode::InvalidCa;
        let short = self.ca("short").path_length(0).issued_by(&self.root);
        let below = CaSpec::new("below")
            .key(&key(self.kind, "below"))
            .issued_by(&short);
        let too_long = Expected::new(invalid).blames(short.cert(), 2, "intermediate");
        // The name below breaks the constraint; the CA that sets it may be the one to change.
        let constrained = |name, ca: &Ca| {
            let identity = ca.issue(self.leaf());
            let expected = Expected::new(invalid)
                .blames(&identity.cert, 0, "end entity")
                .fact("constrained_by", super::name(ca.cert().subject_name()))
                .says("fenced");
            self.case(name, identity, expected)
        };
        let fenced = || self.ca("fenced");
        // Permits 192.0.2.0/24 (RFC 5280 §4.2.1.10), and the certificate contains loopback addresses.
        let subnet = der::context(7, &[192, 0, 2, 0, 255, 255, 255, 0]);
        let subnet = der::context_constructed(0, &der::sequence(&[subnet]));
        let no_ca_anchor = self
            .ca("no CA")
            .basic_constraints(BasicConstraints::NotCa)
            .root();
        let expected = Expected::new(invalid).blames(no_ca_anchor.cert(), 1, "trust anchor");
        vec![
            self.of_mid(
                "issued by an end entity",
                &self
                    .ca("no CA")
                    .basic_constraints(BasicConstraints::NotCa)
                    .issued_by(&self.root),
                invalid,
            ),
            self.of_mid(
                "CA without basic constraints",
                &self
                    .ca("plain")
                    .basic_constraints(BasicConstraints::Absent)
                    .issued_by(&self.root),
                invalid,
            ),
            self.case(
                "anchor that is no CA",
                no_ca_anchor.issue(self.leaf()),
                expected,
            )
            .anchors(no_ca_anchor.cert_pem()),
            self.of_mid(
                "CA that may not sign",
                &self.ca("mute").without_cert_sign().issued_by(&self.root),
                invalid,
            ),
            self.case("path too long", below.issue(self.leaf()), too_long),
            self.of_mid(
                "unknown critical extension in a CA",
                &self
                    .ca("odd")
                    .extension(UNKNOWN, true, &[5, 0])
                    .issued_by(&self.root),
                invalid,
            ),
            constrained(
                "name outside of the CA's",
                &fenced().permit_dns("example.org").issued_by(&self.root),
            ),
            constrained(
                "name that the CA excludes",
                &fenced().exclude_dns("localhost").issued_by(&self.root),
            ),
            constrained(
                "address outside of the CA's",
                &fenced()
                    .extension("2.5.29.30", true, &der::sequence(&[subnet]))
                    .issued_by(&self.root),
            ),
        ]
    }

    fn purposes(&self) -> Vec<Case> {
        let wrong = CauseCode::WrongPurpose;
        let leaf = |name, spec: LeafSpec| self.of_leaf(name, self.mid.issue(spec), wrong);
        let reads = |mut case: Case, message: &str, remedy: &str| {
            case.expected = case.expected.map(|it| it.reads(message, remedy));
            case
        };
        // Extended key usage: only clientAuth (RFC 5280 §4.2.1.12).
        let client_auth = der::sequence(&[der::object_identifier("1.3.6.1.5.5.7.3.2")]);
        let mut cases = vec![
            reads(
                leaf(
                    "a client's certificate",
                    self.leaf().purposes(&[Purpose::ClientAuth]),
                ),
                "the server's certificate \"localhost\" is not meant for a TLS server: its extended key usage allows clientAuth and not serverAuth",
                "Have a certificate issued for the server with the extended key usage serverAuth.",
            ),
            leaf(
                "a signer's certificate",
                self.leaf().purposes(&[Purpose::CodeSigning]),
            ),
            leaf(
                "an unknown critical extension",
                self.leaf().extension(UNKNOWN, true, &[5, 0]),
            ),
            reads(
                self.of_mid(
                    "a CA for clients",
                    &self
                        .ca("for clients")
                        .extension("2.5.29.37", false, &client_auth)
                        .issued_by(&self.root),
                    wrong,
                ),
                "the intermediate CA \"for clients\" is not allowed to issue certificates for TLS servers: its extended key usage allows clientAuth and not serverAuth",
                "Have the server's certificate issued by a CA whose extended key usage allows serverAuth, or that has no extended key usage.",
            ),
        ];
        for (name, usage) in [
            ("key usage of a CA", Usage::CertSign),
            ("key usage of a notary", Usage::NonRepudiation),
        ] {
            let words = match usage {
                Usage::CertSign => "keyCertSign",
                _ => "nonRepudiation",
            };
            let case = reads(
                leaf(name, self.leaf().usage(usage)),
                &format!(
                    "the server's certificate \"localhost\" is not meant for a TLS server: its key usage allows {words} alone"
                ),
                "Have a certificate issued for the server with the key usage digitalSignature.",
            );
            // An OpenSSL server does not even offer an ECDSA key on TLS 1.2 that may not sign.
            cases.push(match self.kind {
                KeyKind::EcP256 => case.only(SslVersion::TLS1_3),
                _ => case,
            });
        }
        cases
    }

    fn strength(&self) -> Vec<Case> {
        let rsa = |bits| key(KeyKind::Rsa(bits), "weak");
        let weak = |name, bits| {
            let mut case = self.of_leaf(
                name,
                self.mid.issue(LeafSpec::local_server().key(&rsa(bits))),
                CauseCode::KeyTooWeak,
            );
            let key = format!("RSA {bits}");
            case.expected = case.expected.map(|expected| expected.fact("key", key));
            case
        };
        let signed = |mut case: Case, algorithm: &str| {
            let expected = case.expected.take();
            case.expected =
                expected.map(|expected| expected.fact("signature_algorithm", algorithm));
            case
        };
        let sha1 = match self.kind {
            KeyKind::EcP256 => "ecdsa-with-SHA1",
            _ => "sha1WithRSAEncryption",
        };
        let small = CaSpec::new("small").key(&rsa(1024)).issued_by(&self.root);
        let mut of_small = self.of_mid("RSA 1024 in the CA", &small, CauseCode::KeyTooWeak);
        of_small.expected = of_small
            .expected
            .map(|expected| expected.fact("key", "RSA 1024"));
        let digest = CauseCode::DigestTooWeak;
        let old = self.ca("old").digest(Digest::Sha1);
        let old_root = self.ca("old root").digest(Digest::Sha1).root();
        let mut cases = vec![
            weak("RSA 768", 768),
            signed(
                self.of_leaf(
                    "SHA-1 in the end entity",
                    self.mid.issue(self.leaf().digest(Digest::Sha1)),
                    digest,
                ),
                sha1,
            ),
            signed(
                self.of_mid(
                    "SHA-1 in the intermediate",
                    &old.issued_by(&self.root),
                    digest,
                ),
                sha1,
            ),
            // The contents of a root are not relied on.
            Case {
                name: "SHA-1 in the anchor",
                identity: old_root.issue(self.leaf()),
                anchors: old_root.cert_pem(),
                expected: None,
                only: None,
            },
        ];
        // Accepted if OpenSSL was built for level 1, the default of 1.1.1 and 3.0.
        if security_level() >= 2 {
            cases.extend([weak("RSA 1024", 1024), of_small]);
        }
        if matches!(self.kind, KeyKind::Rsa(_)) {
            let md5 = self.mid.issue(self.leaf().digest(Digest::Md5));
            cases.push(signed(
                self.of_leaf("MD5", md5, digest),
                "md5WithRSAEncryption",
            ));
        }
        cases
    }

    fn signatures(&self) -> Vec<Case> {
        let broken = CauseCode::SignatureInvalid;
        let mid = self.ca("forged").issued_by(&self.root);
        vec![
            self.of_leaf(
                "broken signature of the end entity",
                self.mid.issue(self.leaf()).with_broken_signature(),
                broken,
            ),
            self.of_mid(
                "broken signature of the intermediate",
                &mid.with_broken_signature(),
                broken,
            ),
        ]
    }

    fn sound(&self) -> Vec<Case> {
        let well = |name, identity: Identity, anchors: Vec<u8>| Case {
            name,
            identity,
            anchors,
            expected: None,
            only: None,
        };
        let mut unordered = self.ca("low").issued_by(&self.mid).issue(self.leaf());
        unordered.chain.reverse();
        vec![
            well("sound", self.mid.issue(self.leaf()), self.root.cert_pem()),
            well("out of order", unordered, self.root.cert_pem()),
            well(
                "an unknown extension that is not critical",
                self.mid
                    .issue(self.leaf().extension(UNKNOWN, false, &[5, 0])),
                self.root.cert_pem(),
            ),
        ]
    }
}

/// An unknown extension: an arc for examples.
const UNKNOWN: &str = "2.999.1";

fn check_all(kind: KeyKind) {
    let pki = Pki::new(kind);
    let server = Server::builder()
        .tls(ServerTls::new(&pki.root.issue(pki.leaf())))
        .start();
    let dir = PkiDir::new();
    let mut seen = Seen::default();
    let cases = [
        pki.dates(),
        pki.issuers(),
        pki.authorities(),
        pki.purposes(),
        pki.strength(),
        pki.signatures(),
        pki.sound(),
    ];
    for case in cases.into_iter().flatten() {
        let ca_file = dir.write("ca.pem", &case.anchors);
        let uri = format!(
            "mongodb://localhost:{}/?tls=true&tlsCAFile={}",
            server.port(),
            shown(&ca_file)
        );
        for (min, max) in [TLS_1_2, TLS_1_3] {
            if case.only.is_some_and(|only| only != min) {
                continue;
            }
            server.set_tls(&ServerTls::new(&case.identity).versions(min, max));
            let scenario = format!("{} on {min:?} with {kind:?}", case.name);
            let Some(expected) = &case.expected else {
                passes(&scenario, &uri);
                continue;
            };
            let sent = std::iter::once(&case.identity.cert).chain(&case.identity.chain);
            let sent: Vec<_> = sent.map(|sent| name(sent.subject_name())).collect();
            let before = server.counts().commands;
            let expected = expected
                .clone()
                .fact("sent_certificates", sent)
                .fact(
                    "trust_anchors",
                    format!("{} (1 from tlsCAFile)", shown(&ca_file)),
                )
                .fact("server", format!("localhost:{}", server.port()));
            seen.check(&scenario, &uri, &expected);
            assert_eq!(
                server.counts().commands,
                before,
                "{scenario}: a command reached an unverified server"
            );
        }
    }
    seen.are(CODES);
}

/// A key that the usual level allows but a higher one rejects: the setting, and the requirement.
#[test]
fn a_higher_security_level_is_reported_with_its_source() {
    use mongotls::options::{ProtocolOptions, TlsOptions};
    let root = CaSpec::new("the root")
        .key(&key(KeyKind::Rsa(3072), "root"))
        .root();
    let leaf = || LeafSpec::local_server().key(&key(KeyKind::Rsa(2048), "leaf"));
    let server = Server::builder()
        .tls(ServerTls::new(&root.issue(leaf())))
        .start();
    let dir = PkiDir::new();
    let ca_file = dir.write("ca.pem", root.cert_pem());
    let handshake = |protocol: fn(ProtocolOptions) -> ProtocolOptions| {
        let options = TlsOptions::builder().ca_file(&ca_file).protocol(protocol);
        let context = mongotls::tls::TlsContext::new(&options.build().unwrap()).unwrap();
        let stream = std::net::TcpStream::connect(server.addr()).unwrap();
        context.connect("localhost", stream).map(drop).unwrap_err()
    };
    let weak_key = |set_by: &str, lower: &str| {
        Expected::new(CauseCode::KeyTooWeak)
            .fact("security_level", 3)
            .fact("key_security_bits", 112)
            .reads(
                &format!("the key of the server's certificate \"localhost\" is too weak: RSA 2048 has 112 bits of security, and security level 3, which {set_by}, requires 128 (RSA 3072 or an elliptic curve of 256 bits)"),
                &format!("Have the certificate of \"CN=localhost\" issued for a key of RSA 3072, EC P-256 or stronger. Or lower the security level to 2, which accepts it, with {lower}."),
            )
    };
    let mut seen = Seen::default();
    seen.check_error(
        "by the option",
        &handshake(|tls| tls.security_level(3)),
        &weak_key("the option security_level sets", "security_level(2)"),
    );
    seen.check_error(
        "by the cipher list, which wins",
        &handshake(|tls| tls.security_level(1).cipher_list("DEFAULT:@SECLEVEL=3")),
        &weak_key(
            "@SECLEVEL=3 in cipher_list sets",
            "@SECLEVEL=2 in cipher_list",
        ),
    );
    let conf = dir.write(
        "openssl.cnf",
        "openssl_conf = init\n[init]\nssl_conf = modules\n[modules]\nsystem_default = all\n[all]\nCipherString = DEFAULT:@SECLEVEL=3\n",
    );
    let place = super::Place {
        variables: vec![("OPENSSL_CONF", shown(&conf))],
        ..super::Place::default()
    };
    let uri = format!(
        "mongodb://localhost:{}/?tls=true&tlsCAFile={}",
        server.port(),
        shown(&ca_file)
    );
    let (set_by, lower) = (
        format!("@SECLEVEL=3 in {} sets", conf.display()),
        format!("@SECLEVEL=2 in {}", conf.display()),
    );
    seen.check_in(&place, "by openssl.cnf", &uri, &weak_key(&set_by, &lower));

    let signed = root.issue(leaf().key(&key(KeyKind::EcP384, "leaf")));
    server.set_tls(&ServerTls::new(&signed));
    // RSA 3072 is below level 4 too, so a P-384 root signs.
    let root = CaSpec::new("the root")
        .key(&key(KeyKind::EcP384, "root"))
        .root();
    dir.write("ca.pem", root.cert_pem());
    server.set_tls(&ServerTls::new(
        &root.issue(leaf().key(&key(KeyKind::EcP384, "leaf"))),
    ));
    let expected = Expected::new(CauseCode::DigestTooWeak)
        .fact("security_level", 4)
        .reads(
            "the signature of the server's certificate \"localhost\" uses a digest that is too weak: ecdsa-with-SHA256 has less than the 192 bits of security that security level 4, which the option security_level sets, requires",
            "Have the certificate of \"CN=localhost\" signed again with SHA-384 or stronger.",
        );
    seen.check_error(
        "a digest",
        &handshake(|tls| tls.security_level(4)),
        &expected,
    );
}

/// Keys with explicit curve parameters, which OpenSSL 3 rejects, are not reported as a bad signature.
#[test]
fn an_explicit_curve_is_reported() {
    use openssl::ec::{Asn1Flag, EcGroup, EcKey};
    if openssl::version::number() < 0x3000_0000 {
        return;
    }
    let mut group = EcGroup::from_curve_name(openssl::nid::Nid::X9_62_PRIME256V1).unwrap();
    group.set_asn1_flag(Asn1Flag::EXPLICIT_CURVE);
    let explicit = openssl::pkey::PKey::from_ec_key(EcKey::generate(&group).unwrap()).unwrap();
    let root = CaSpec::new("the root")
        .key(&key(KeyKind::EcP256, "root"))
        .root();
    let mid = CaSpec::new("the middle").key(&explicit).issued_by(&root);
    let identity = mid.issue(LeafSpec::local_server().key(&key(KeyKind::EcP256, "leaf")));
    let server = Server::builder().tls(ServerTls::new(&identity)).start();
    let dir = PkiDir::new();
    let ca_file = dir.write("ca.pem", root.cert_pem());
    let uri = format!(
        "mongodb://localhost:{}/?tls=true&tlsCAFile={}",
        server.port(),
        shown(&ca_file)
    );
    let version = mongotls::tls::openssl_version();
    let expected = Expected::new(CauseCode::KeyTooWeak)
        .blames(mid.cert(), 1, "intermediate")
        .reads(
            &format!("{version} does not accept the key of the intermediate CA \"the middle\": it contains the parameters of its elliptic curve instead of the name of the curve, which a certificate must have"),
            "Have the certificate of \"CN=the middle\" issued for a key on a named curve (`openssl genpkey -algorithm EC -pkeyopt ec_paramgen_curve:P-256 -pkeyopt ec_param_enc:named_curve`).",
        );
    let mut seen = Seen::default();
    seen.check("an explicit curve", &uri, &expected);

    // The server's own key.
    let mid = CaSpec::new("the middle").key(&key(KeyKind::EcP256, "mid"));
    let identity = mid
        .issued_by(&root)
        .issue(LeafSpec::local_server().key(&explicit));
    let expected = Expected::new(CauseCode::KeyTooWeak)
        .blames(&identity.cert, 0, "end entity")
        .says("it contains the parameters of its elliptic curve instead of the name of the curve, which a certificate must have");
    for (min, max) in [TLS_1_2, TLS_1_3] {
        server.set_tls(&ServerTls::new(&identity).versions(min, max));
        seen.check("an explicit curve of the server", &uri, &expected);
    }
}

#[test]
fn each_fault_of_an_ecdsa_chain_has_its_facts() {
    check_all(KeyKind::EcP256);
}

#[test]
fn each_fault_of_an_rsa_chain_has_its_facts() {
    check_all(KeyKind::Rsa(2048));
}
