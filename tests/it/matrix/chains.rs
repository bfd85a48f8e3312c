//! Chains that do not verify, whatever the name: dates, issuers, CAs, signatures, strength, purposes.

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

/// What is served, what is trusted, and how it must end; none: well.
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

    /// The server's own certificate is to blame.
    fn of_leaf(&self, name: &'static str, identity: Identity, code: CauseCode) -> Case {
        let expected = Expected::new(code).blames(&identity.cert, 0, "end entity");
        self.case(name, identity, expected)
    }

    /// The authority below the root is.
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
                self.case("upper intermediate not sent", gap, expected),
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
        // What breaks a constraint is the name below; what to change may be the CA that sets it.
        let constrained = |name, ca: &Ca| {
            let identity = ca.issue(self.leaf());
            let expected = Expected::new(invalid)
                .blames(&identity.cert, 0, "end entity")
                .fact("constrained_by", super::name(ca.cert().subject_name()))
                .says("fenced");
            self.case(name, identity, expected)
        };
        let fenced = || self.ca("fenced");
        // Permits 192.0.2.0/24 (RFC 5280 §4.2.1.10), and the certificate holds addresses of loopback.
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
        // Extended key usage: clientAuth alone (RFC 5280 §4.2.1.12).
        let client_auth = der::sequence(&[der::object_identifier("1.3.6.1.5.5.7.3.2")]);
        let mut cases = vec![
            leaf(
                "a client's certificate",
                self.leaf().purposes(&[Purpose::ClientAuth]),
            ),
            leaf(
                "a signer's certificate",
                self.leaf().purposes(&[Purpose::CodeSigning]),
            ),
            leaf(
                "an unknown critical extension",
                self.leaf().extension(UNKNOWN, true, &[5, 0]),
            ),
            self.of_mid(
                "a CA for clients",
                &self
                    .ca("for clients")
                    .extension("2.5.29.37", false, &client_auth)
                    .issued_by(&self.root),
                wrong,
            ),
        ];
        for (name, usage) in [
            ("key usage of a CA", Usage::CertSign),
            ("key usage of a notary", Usage::NonRepudiation),
        ] {
            let case = leaf(name, self.leaf().usage(usage));
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
            // Nobody relies on what a root says of itself.
            Case {
                name: "SHA-1 in the anchor",
                identity: old_root.issue(self.leaf()),
                anchors: old_root.cert_pem(),
                expected: None,
                only: None,
            },
        ];
        // Good enough where OpenSSL was built for level 1, as 1.1.1 and 3.0 are by themselves.
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
        let cases = [
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
        ];
        // A trust anchor of the right name that is not the right CA ends in the same way.
        let hint = |case: Case| Case {
            expected: case
                .expected
                .map(|expected| expected.says("another CA named")),
            ..case
        };
        cases.map(hint).into()
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

/// An extension that nobody knows: an arc for examples.
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

#[test]
fn each_fault_of_an_ecdsa_chain_is_told_with_its_facts() {
    check_all(KeyKind::EcP256);
}

#[test]
fn each_fault_of_an_rsa_chain_is_told_with_its_facts() {
    check_all(KeyKind::Rsa(2048));
}
