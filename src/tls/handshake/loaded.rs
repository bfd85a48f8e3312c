//! The contents of a context: the OpenSSL context, and the configuration and files that it was built from.

use std::path::{Path, PathBuf};
use std::time::SystemTime;

use openssl::ssl::{SslContext, SslContextBuilder, SslMethod, SslMode, SslOptions, SslVerifyMode};
use openssl::x509::X509NameRef;

use super::crl_checks::PassedChecks;
use super::session;
use crate::data::certificate::TrustAnchors;
use crate::error::{Error, Result};
use crate::ffi::fork::{self, Call};
use crate::ffi::openssl as ffi;
use crate::options::TlsOptions;
use crate::reason::files::FileFailure;
use crate::tls::Certificate;
use crate::tls::config::crl::{self, Crls, Withdrawn};
use crate::tls::config::identity::{Identity, OwnChain};
use crate::tls::config::protocol;
use crate::tls::config::reading::{self, Files};
use crate::tls::config::snapshot::FilesSnapshot;
use crate::tls::config::trust::{self, Roots};
use crate::tls::library::internal;
use crate::tls::ocsp::Checker;

/// An OpenSSL context, with the configuration and files that it was built from.
pub(crate) struct Loaded {
    pub(crate) context: SslContext,
    pub(crate) options: TlsOptions,
    pub(crate) anchors: TrustAnchors,
    pub(crate) roots: Roots,
    pub(crate) crls: Crls,
    pub(crate) own: Option<OwnChain>,
    /// The state of the files before they were read.
    pub(crate) seen: FilesSnapshot,
    /// The SHA-256 of each file as it was read.
    contents: Vec<(PathBuf, [u8; 32])>,
    /// `None` if no other client may share the context.
    pub(crate) key: Option<ContextKey>,
    /// Ends after the context above is dropped.
    dropping: Option<Call>,
}

/// The properties of a context besides the options.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct ContextKey {
    /// The digest of each file.
    pub(super) digests: Vec<[u8; 32]>,
    /// The number of forks of the process at that time.
    pub(super) forks: u64,
}

impl Loaded {
    pub(crate) fn build(options: &TlsOptions, mut files: Files) -> Result<Self> {
        // Not SslConnector: it trusts the system's anchors in addition to a CA file, and sets a cipher list.
        let mut context = SslContextBuilder::new(SslMethod::tls_client()).map_err(internal)?;
        context.set_mode(
            SslMode::AUTO_RETRY
                | SslMode::ENABLE_PARTIAL_WRITE
                | SslMode::ACCEPT_MOVING_WRITE_BUFFER,
        );
        context.set_options(SslOptions::NO_COMPRESSION | SslOptions::NO_RENEGOTIATION);
        // One read of the socket for a whole record, and often for a whole reply.
        context.set_read_ahead(true);
        protocol::apply(&mut context, options.protocol())?;
        if let Some(path) = options.key_log_file() {
            protocol::log_keys(&mut context, path)?;
        }

        let mut anchors = TrustAnchors::NotUsed;
        let mut roots = Roots::default();
        let mut crls = Crls::default();
        let verifies = options.verifies_certificate();
        // A CA file must load even if certificates are not verified.
        if verifies || options.names_anchors() {
            let mut store = trust::store(options, &files)?;
            crls = crl::load(&mut store.builder, options, &mut files)?;
            if crls.count() > 0 {
                ffi::store_check_crl_with::<PassedChecks>(&mut store.builder).map_err(internal)?;
                PassedChecks::install(&mut context, &crls).map_err(internal)?;
            }
            context.set_cert_store(store.builder.build());
            (anchors, roots) = (store.anchors, store.roots);
            if crls.count() > 0 {
                // A reload compares the anchors with the previous ones.
                roots.read_folders();
            }
        }
        context.set_verify(if verifies {
            SslVerifyMode::PEER
        } else {
            SslVerifyMode::NONE
        });

        let mut own = None;
        if let Some(source) = options.identity() {
            let identity = Identity::load(source, options.password(), &files)?;
            identity.install(&mut context, options.protocol())?;
            own = Some(identity.describe());
        }
        if options.checks_revocation() {
            Checker::install(&mut context).map_err(internal)?;
        }
        ffi::watch_certificate_requests(&mut context);
        if options.resumes_sessions() {
            session::enable(&mut context, crls.clone());
        }

        Ok(Self {
            context: context.build(),
            options: options.clone(),
            anchors,
            roots,
            crls,
            own,
            seen: files.seen().clone(),
            contents: files.contents(),
            key: None,
            dropping: None,
        })
    }

    /// Returns whether a file has the same bytes as when it was read. A file that was written again with equal bytes is
    /// not a change.
    pub(crate) fn still_holds(&self, path: &Path) -> bool {
        let mut contents = self.contents.iter();
        let known = contents.find(|(known, _)| known == path);
        known.is_some_and(|(_, digest)| reading::has_digest(path, digest))
    }
}

impl Drop for Loaded {
    fn drop(&mut self) {
        self.dropping = Some(fork::call());
    }
}

impl Loaded {
    /// Checks that this context may replace an `old` one with equal options at `now`: it must be in force as far as the
    /// old one is. It may trust fewer CAs or revoke more.
    pub(crate) fn may_replace(&self, old: &Self, now: SystemTime) -> Result<()> {
        if let Some(own) = &self.own {
            let is_in_force = |own: &OwnChain| {
                let certificate = &own.certificate;
                (certificate.not_before..=certificate.not_after).contains(&now)
            };
            if !is_in_force(own) && old.own.as_ref().is_some_and(is_in_force) {
                return Err(own_not_in_force(&own.certificate, now));
            }
        }
        if !self.options.verifies_certificate() {
            return Ok(());
        }
        self.roots.check_dates(&self.anchors, now)?;
        let fewer = || old.roots.contain_more_than(&self.roots);
        let is_withdrawn = |name: &X509NameRef| match (
            old.roots.contain_name(name),
            self.roots.contain_name(name),
        ) {
            (true, false) => Withdrawn::Yes,
            (false, false) if fewer() => Withdrawn::Unknown,
            _ => Withdrawn::No,
        };
        self.crls.may_replace(&old.crls, &is_withdrawn, now)
    }
}

fn own_not_in_force(own: &Certificate, now: SystemTime) -> Error {
    Error::configuration(FileFailure::OwnCertificateNotInForce {
        certificate: Box::new(own.clone()),
        checked_at: now,
    })
}
