//! The wrapper around the work of every OpenSSL callback.

use std::cell::Cell;
use std::panic::{AssertUnwindSafe, catch_unwind};

use crate::ffi::openssl::ErrorMark;

thread_local! {
    static PANICKED: Cell<bool> = const { Cell::new(false) };
}

/// Runs the work of a callback, and returns `None` if it panicked, because a panic that crosses C would abort the
/// process. Errors that the work leaves in OpenSSL's queue are removed, because OpenSSL would treat them as its own.
pub(crate) fn run<T>(work: impl FnOnce() -> T) -> Option<T> {
    let _mark = ErrorMark::set();
    #[cfg(test)]
    let work = || {
        tests::panic_if_requested();
        work()
    };
    let result = catch_unwind(AssertUnwindSafe(work)).ok();
    if result.is_none() {
        PANICKED.set(true);
    }
    result
}

/// Returns true if a callback on this thread has panicked since the last call.
pub(crate) fn take_panic() -> bool {
    PANICKED.take()
}

#[cfg(test)]
mod tests {
    use std::net::TcpStream;

    use mongotls_testbench::pki::{Ca, KeyKind, LeafSpec, PkiDir};
    use mongotls_testbench::server::{ClientAuth, Server, ServerTls};
    use openssl::error::ErrorStack;
    use openssl::pkey::PKey;
    use openssl::ssl::SslVersion;

    use super::*;
    use crate::options::TlsOptions;
    use crate::tls::TlsContext;

    thread_local! {
        /// The number of callbacks that have run on this thread, and the number of the one that must panic.
        static RUN: Cell<usize> = const { Cell::new(0) };
        static PANICS: Cell<usize> = const { Cell::new(0) };
    }

    pub(crate) fn panic_if_requested() {
        RUN.set(RUN.get() + 1);
        assert_ne!(RUN.get(), PANICS.get(), "the panic of a test");
    }

    #[test]
    fn a_panic_in_any_callback_is_a_failed_handshake() {
        let ca = Ca::root("root", KeyKind::EcP256);
        let identity = ca.issue(LeafSpec::local_server());
        // In TLS 1.2 the session arrives during the handshake.
        let tls = ServerTls::new(&identity)
            .versions(SslVersion::TLS1_2, SslVersion::TLS1_2)
            .client_auth(ClientAuth::Request, &[])
            .staple(ca.ocsp(&identity.cert).build());
        let server = Server::builder().tls(tls).start();
        let dir = PkiDir::new();
        let options = TlsOptions::builder().ca_file(dir.write("ca.pem", ca.cert_pem()));
        let options = options.dangerous(|it| it.key_log_file(dir.path().join("keys.log")));
        let options = options.build().unwrap();
        let attempt = |panics: usize| {
            // A separate context, so that no session is resumed.
            let context = TlsContext::new(&options).unwrap();
            let stream = TcpStream::connect(server.addr()).unwrap();
            RUN.set(0);
            PANICS.set(panics);
            let outcome = context.connect("localhost", stream).map(drop);
            PANICS.set(0);
            (outcome, RUN.get())
        };
        let (outcome, count) = attempt(0);
        outcome.unwrap();
        // At least the chain's two certificates, the request, the staple, the key log and the session.
        assert!(count >= 6, "{count}");
        for panics in 1..=count {
            let error = attempt(panics).0.unwrap_err();
            let cause = error.cause().unwrap();
            assert_eq!(
                cause.message(),
                "mongotls panicked in the middle of the TLS handshake"
            );
        }
        attempt(0).0.unwrap();
    }

    #[test]
    fn errors_from_before_a_callback_stay_and_its_own_go() {
        let stack = PKey::private_key_from_pem(b"no key").unwrap_err();
        for before in [0, 1] {
            (0..before).for_each(|_| stack.put());
            assert_eq!(run(|| stack.put()), Some(()));
            let leftover = ErrorStack::get();
            assert_eq!(leftover.errors().len(), before * stack.errors().len());
        }
    }
}
