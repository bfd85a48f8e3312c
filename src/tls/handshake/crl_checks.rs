//! The checks of CRLs that need not be repeated.
//!
//! OpenSSL verifies the signature of a CRL in each full handshake, which takes 50 ms for a million entries. The result
//! depends on the CRL, the certificate, its issuer, the flags of the verification, and the dates of the CRL. So a context
//! remembers each success, and compares the dates each time. OpenSSL still does the rest each time: it chooses the CRL,
//! judges its scope, and looks the certificate up.
//!
//! If anything is unusual, OpenSSL's own check runs: a CRL that another certificate than the issuer has signed, one that is
//! out of date, one that is not of this context, or a certificate that is a trust anchor.

use std::collections::HashSet;
use std::sync::OnceLock;
use std::time::{SystemTime, UNIX_EPOCH};

use foreign_types::ForeignTypeRef;
use libc::{c_ulong, time_t};
use openssl::asn1::Asn1Time;
use openssl::error::ErrorStack;
use openssl::ex_data::Index;
use openssl::hash::MessageDigest;
use openssl::ssl::{SslContext, SslContextBuilder};
use openssl::x509::{X509CrlRef, X509Ref, X509StoreContext, X509StoreContextRef, X509VerifyResult};

use crate::ffi::openssl as ffi;
use crate::sync::Mutex;
use crate::tls::config::crl::Crls;

/// The largest number of checks that a context remembers: far more than it has servers.
const MOST: usize = 4096;

/// The checks of one context that have succeeded.
pub(crate) struct PassedChecks {
    /// They keep the CRLs alive, so that their addresses identify them.
    crls: Crls,
    passed: Mutex<HashSet<Check>>,
}

/// Identifies a check. Its result depends on these values, and on the dates of the CRL.
#[derive(PartialEq, Eq, Hash)]
struct Check {
    /// The address of the CRL.
    crl: usize,
    /// The SHA-256 of the certificate, and of the one that has issued both.
    certificate: [u8; 32],
    issuer: [u8; 32],
    flags: c_ulong,
}

impl PassedChecks {
    /// Makes a context remember its checks. Its store has these CRLs, and calls [`PassedChecks`].
    pub(crate) fn install(context: &mut SslContextBuilder, crls: &Crls) -> Result<(), ErrorStack> {
        let checks = Self {
            crls: crls.clone(),
            passed: Mutex::default(),
        };
        context.set_ex_data(index()?, checks);
        Ok(())
    }

    /// The checks of the context whose handshake verifies a chain.
    fn of(context: &X509StoreContextRef) -> Option<&Self> {
        let ssl = context.ex_data(X509StoreContext::ssl_idx().ok()?)?;
        ssl.ssl_context().ex_data(index().ok()?)
    }
}

impl ffi::CrlChecks for PassedChecks {
    fn has_passed(context: &X509StoreContextRef, crl: &X509CrlRef) -> bool {
        let known = || {
            let checks = Self::of(context)?;
            let check = checks.check(context, crl)?;
            Some(checks.passed.lock().contains(&check))
        };
        known() == Some(true)
    }

    fn note(context: &X509StoreContextRef, crl: &X509CrlRef) {
        // The callback of the verification may have accepted an error.
        if context.error() != X509VerifyResult::OK {
            return;
        }
        let Some(checks) = Self::of(context) else {
            return;
        };
        if let Some(check) = checks.check(context, crl) {
            let mut passed = checks.passed.lock();
            if passed.len() >= MOST {
                passed.clear();
            }
            passed.insert(check);
        }
    }
}

impl PassedChecks {
    /// The check that is being made. `None` if it is not an ordinary one, or if the CRL is not in force.
    fn check(&self, context: &X509StoreContextRef, crl: &X509CrlRef) -> Option<Check> {
        let depth = context.error_depth();
        // The callback accepts some errors for trust anchors.
        if depth >= ffi::untrusted_count(context) {
            return None;
        }
        let chain = context.chain()?;
        let depth = usize::try_from(depth).ok()?;
        let (certificate, issuer) = (chain.get(depth)?, chain.get(depth + 1)?);
        let is_indirect = ffi::current_issuer(context).is_some_and(|other| !is_same(other, issuer));
        let (flags, time) = ffi::verification_flags(context);
        if is_indirect || !self.crls.has(crl) || !is_in_force(crl, time)? {
            return None;
        }
        let sha256 = |certificate: &X509Ref| {
            let digest = certificate.digest(MessageDigest::sha256()).ok()?;
            <[u8; 32]>::try_from(&*digest).ok()
        };
        Some(Check {
            crl: crl.as_ptr() as usize,
            certificate: sha256(certificate)?,
            issuer: sha256(issuer)?,
            flags,
        })
    }
}

fn is_same(one: &X509Ref, other: &X509Ref) -> bool {
    one.as_ptr() == other.as_ptr()
}

/// Returns whether the dates of a CRL allow its use at `time`, in seconds since 1970, or now.
fn is_in_force(crl: &X509CrlRef, time: Option<time_t>) -> Option<bool> {
    let now = || {
        let now = SystemTime::now().duration_since(UNIX_EPOCH).ok()?;
        time_t::try_from(now.as_secs()).ok()
    };
    let time = Asn1Time::from_unix(time.or_else(now)?).ok()?;
    let is_early = crl.last_update() > &*time;
    let is_late = crl.next_update().is_some_and(|end| end <= &*time);
    Some(!is_early && !is_late)
}

fn index() -> Result<Index<SslContext, PassedChecks>, ErrorStack> {
    static INDEX: OnceLock<Index<SslContext, PassedChecks>> = OnceLock::new();
    if let Some(index) = INDEX.get() {
        return Ok(*index);
    }
    let index = SslContext::new_ex_index()?;
    Ok(*INDEX.get_or_init(|| index))
}

#[cfg(test)]
mod tests {
    use std::net::TcpStream;
    use std::thread;
    use std::time::Duration;

    use libc::c_int;
    use mongotls_testbench::pki::{
        Ca, CaSpec, CrlSpec, Identity, KeyKind, LeafSpec, PkiDir, Revocation, Validity,
    };
    use mongotls_testbench::server::{Server, ServerTls};
    use openssl::ssl::{HandshakeError, Ssl};
    use openssl_sys::{
        X509_V_ERR_CERT_REVOKED, X509_V_ERR_CRL_HAS_EXPIRED, X509_V_ERR_CRL_SIGNATURE_FAILURE,
        X509_V_ERR_KEYUSAGE_NO_CRL_SIGN, X509_V_OK,
    };

    use super::super::loaded::Loaded;
    use super::*;
    use crate::options::TlsOptions;
    use crate::tls::config::reading::{Files, Reading};

    /// A context with these CAs and this CRL.
    fn context(cas: &[&Ca], crl: CrlSpec<'_>) -> Loaded {
        let dir = PkiDir::new();
        let pem: Vec<u8> = cas.iter().flat_map(|ca| ca.cert_pem()).collect();
        let crl = crl.build().to_pem().unwrap();
        let options = TlsOptions::builder()
            .ca_file(dir.write("ca.pem", pem))
            .crl_file(dir.write("crl.pem", crl))
            .session_resumption(false)
            .build()
            .unwrap();
        let files = Files::of(&options, Reading::Once);
        Loaded::build(&options, files).unwrap()
    }

    fn server(identity: &Identity) -> Server {
        Server::builder().tls(ServerTls::new(identity)).start()
    }

    /// The result of a handshake.
    fn verify(context: &Loaded, server: &Server) -> c_int {
        let stream = TcpStream::connect(server.addr()).unwrap();
        match Ssl::new(&context.context).unwrap().connect(stream) {
            Ok(stream) => stream.ssl().verify_result().as_raw(),
            Err(HandshakeError::Failure(failed)) => failed.ssl().verify_result().as_raw(),
            Err(other) => panic!("{other}"),
        }
    }

    fn passed(context: &Loaded) -> &PassedChecks {
        context.context.ex_data(index().unwrap()).unwrap()
    }

    fn count(context: &Loaded) -> usize {
        passed(context).passed.lock().len()
    }

    #[test]
    fn a_check_that_has_passed_is_not_repeated() {
        let ca = Ca::root("root", KeyKind::EcP256);
        let server = server(&ca.issue(LeafSpec::local_server()));
        let sound = context(&[&ca], ca.crl());
        for _ in 0..2 {
            assert_eq!(verify(&sound, &server), X509_V_OK);
            assert_eq!(count(&sound), 1);
        }
        // The signature of this CRL is wrong, which OpenSSL finds each time.
        let broken = context(&[&ca], ca.crl().broken_signature());
        for _ in 0..2 {
            let failure = X509_V_ERR_CRL_SIGNATURE_FAILURE;
            assert_eq!(verify(&broken, &server), failure);
            assert_eq!(count(&broken), 0);
        }
        // If its check had passed, OpenSSL would not find it.
        let mut check = passed(&sound).passed.lock().drain().next().unwrap();
        let lists = &passed(&broken).crls;
        check.crl = lists.first().unwrap().as_ptr() as usize;
        passed(&broken).passed.lock().insert(check);
        assert_eq!(verify(&broken, &server), X509_V_OK);
    }

    #[test]
    fn another_certificate_is_checked_and_looked_up() {
        let ca = Ca::root("root", KeyKind::EcP256);
        let [good, revoked] = [(); 2].map(|()| ca.issue(LeafSpec::local_server()));
        let context = context(&[&ca], ca.crl().revoke(Revocation::of(&revoked.cert)));
        let (good, revoked) = (server(&good), server(&revoked));
        for _ in 0..2 {
            assert_eq!(verify(&context, &good), X509_V_OK);
            let expected = X509_V_ERR_CERT_REVOKED;
            assert_eq!(verify(&context, &revoked), expected);
        }
        // The CRL is sound for both.
        assert_eq!(count(&context), 2);
    }

    #[test]
    fn an_issuer_of_the_same_name_is_another_one() {
        let [ca, namesake] = [(); 2].map(|()| Ca::root("root", KeyKind::EcP256));
        let of_ca = server(&ca.issue(LeafSpec::local_server()));
        let of_namesake = server(&namesake.issue(LeafSpec::local_server()));
        let warm = context(&[&ca, &namesake], ca.crl());
        assert_eq!(verify(&warm, &of_ca), X509_V_OK);
        let fresh = context(&[&ca, &namesake], ca.crl());
        let expected = verify(&fresh, &of_namesake);
        assert_ne!(expected, X509_V_OK);
        assert_eq!(verify(&warm, &of_namesake), expected);
        assert_eq!((count(&warm), count(&fresh)), (1, 0));
    }

    /// A CA that was certified twice, the second time without the right to sign CRLs.
    #[test]
    fn another_certificate_of_the_issuer_is_checked_too() {
        let root = Ca::root("root", KeyKind::EcP256);
        let ca = root.intermediate("CA", KeyKind::EcP256);
        let renewed = CaSpec::new("CA").key(ca.key()).without_crl_sign();
        let renewed = renewed.issued_by(&root);
        let before = ca.issue(LeafSpec::local_server());
        let mut after = before.clone();
        after.chain = renewed.chain().to_vec();
        let [before, after] = [&before, &after].map(server);
        let context = context(&[&root], ca.crl());
        for _ in 0..2 {
            assert_eq!(verify(&context, &before), X509_V_OK);
            let expected = X509_V_ERR_KEYUSAGE_NO_CRL_SIGN;
            assert_eq!(verify(&context, &after), expected);
        }
        assert_eq!(count(&context), 1);
    }

    #[test]
    fn the_scope_of_a_crl_is_judged_each_time() {
        let ca = Ca::root("root", KeyKind::EcP256);
        let server = server(&ca.issue(LeafSpec::local_server()));
        let context = context(&[&ca], ca.crl().only_ca_certificates());
        for _ in 0..2 {
            assert_ne!(verify(&context, &server), X509_V_OK);
            assert_eq!(count(&context), 0);
        }
    }

    #[test]
    fn a_crl_expires_under_a_running_client() {
        let ca = Ca::root("root", KeyKind::EcP256);
        let server = server(&ca.issue(LeafSpec::local_server()));
        let short = Validity::seconds(-10, 3);
        let context = context(&[&ca], ca.crl().validity(short));
        for _ in 0..2 {
            assert_eq!(verify(&context, &server), X509_V_OK);
        }
        assert_eq!(count(&context), 1);
        thread::sleep(Duration::from_secs(4));
        let expired = X509_V_ERR_CRL_HAS_EXPIRED;
        assert_eq!(verify(&context, &server), expired);
    }
}
