//! The contents of a local file, and its problems, determined without a connection.
//!
//! [`FileReport::of`] reads a file of any kind: PEM, DER, PKCS#12, or a wrong file in its place. The findings are plain
//! data, for `mongotls inspect` and for the doctor, which checks the files before it connects. `contents.rs` decodes,
//! `judge.rs` finds the problems of one file, and `across.rs` the mismatches between several files. No file makes it
//! fail or panic, the report contains no secret, and there is no password prompt.

mod across;
mod contents;
mod judge;
mod report;

use std::path::{Path, PathBuf};
use std::time::SystemTime;

use openssl::x509::X509;

use self::contents::Contents;
use super::Certificate;
use crate::ffi::fork;
use crate::options::{IdentitySource, PasswordSource, Secret, TlsOptions};
use crate::reason::files::FilePurpose;
use crate::store_uri::shown_path;
use crate::tls::config::files;
use crate::tls::config::key::Password;
use crate::tls::config::reading::{self, FileBytes, Files, Unread};

pub(crate) use self::judge::ends_soon;
pub use self::report::{
    ChainReport, CrlReport, FileReport, Finding, FindingCode, KeyForm, KeyReport, Severity,
};

impl FileReport {
    /// Inspects a file. An encrypted private key is opened with `password`, if given.
    ///
    /// ```no_run
    /// use std::path::Path;
    /// use mongotls::tls::FileReport;
    ///
    /// let report = FileReport::of(Path::new("/etc/ssl/client.pem"), None);
    /// for finding in &report.findings {
    ///     println!("{} {}: {}", finding.severity.as_str(), finding.code, finding.message);
    /// }
    /// ```
    pub fn of(path: &Path, password: Option<&Secret>) -> Self {
        let source = password.cloned().map(PasswordSource::Text);
        let file = reading::read_once(path);
        let files = Files::none();
        let password = Password::new(source.as_ref(), &files);
        Self::judged(path, file.as_ref(), None, password, SystemTime::now()).0
    }

    /// Inspects several files, each as [`FileReport::of`] does, and compares them: a certificate in one file and the
    /// certificate of its supposed issuer in another may have only the name in common.
    ///
    /// ```no_run
    /// use mongotls::tls::FileReport;
    ///
    /// let files = ["ca.pem".into(), "client.pem".into()];
    /// for report in FileReport::of_all(&files, None) {
    ///     println!("{}: {}", report.path.display(), report.is_ok());
    /// }
    /// ```
    pub fn of_all(paths: &[PathBuf], password: Option<&Secret>) -> Vec<Self> {
        let source = password.cloned().map(PasswordSource::Text);
        let files = Files::none();
        let now = SystemTime::now();
        let judged = paths.iter().map(|path| {
            let file = reading::read_once(path);
            let password = Password::new(source.as_ref(), &files);
            Self::judged(path, file.as_ref(), None, password, now)
        });
        across::compared(judged)
    }

    /// Inspects the files that `options` name: CA file, CRLs, client certificate and key.
    pub(crate) fn of_options(options: &TlsOptions, files: &Files, now: SystemTime) -> Vec<Self> {
        let crls = options
            .crl_files()
            .iter()
            .map(|path| (path, FilePurpose::Crl));
        let ca = options.ca_file().map(Path::to_owned);
        let ca = ca.iter().map(|path| (path, FilePurpose::TrustAnchors));
        let identity = match options.identity() {
            Some(IdentitySource::File(path)) => vec![path],
            // One file may contain both.
            Some(IdentitySource::Files { certificate, key }) if certificate == key => {
                vec![certificate]
            }
            Some(IdentitySource::Files { certificate, key }) => vec![certificate, key],
            Some(IdentitySource::Store { certificate, .. }) => vec![certificate],
            Some(IdentitySource::Memory { .. }) | None => Vec::new(),
        };
        let identity = identity
            .into_iter()
            .map(|path| (path, FilePurpose::ClientCertificate));
        let judged = ca.chain(crls).chain(identity).map(|(path, purpose)| {
            let password = Password::new(options.password(), files);
            Self::judged(path, files.get(path), Some(purpose), password, now)
        });
        across::compared(judged)
    }

    fn judged(
        path: &Path,
        file: Result<&FileBytes, &Unread>,
        purpose: Option<FilePurpose>,
        password: Password<'_>,
        now: SystemTime,
    ) -> (Self, Vec<X509>) {
        let _at_work = fork::at_work();
        let mut certificates = Vec::new();
        let mut report = Self {
            path: match file {
                Ok(_) => path.to_owned(),
                Err(_) => shown_path(path).into(),
            },
            option: purpose.map(FilePurpose::option),
            form: None,
            holds: String::new(),
            certificates: Vec::new(),
            crls: Vec::new(),
            keys: Vec::new(),
            chain: None,
            findings: Vec::new(),
        };
        match file {
            Ok(file) => {
                let bytes = &file.bytes;
                let contents = Contents::of(bytes, password);
                report.form = Some(files::form(bytes));
                report.holds = files::contents(bytes).to_string();
                report.fill(&contents, purpose);
                report.findings = judge::findings(&report, &contents, file, purpose, now);
                certificates = contents.certificates;
            }
            Err(unread) => report.findings.push(judge::unreadable(unread)),
        }
        (report, certificates)
    }

    /// Converts the decoded contents to plain data.
    fn fill(&mut self, contents: &Contents, purpose: Option<FilePurpose>) {
        let certificates = &contents.certificates;
        self.certificates = certificates
            .iter()
            .map(|certificate| Certificate::of(certificate))
            .collect();
        self.crls = contents.crls.iter().map(|crl| CrlReport::of(crl)).collect();
        let keys = contents.keys.iter();
        self.keys = keys.map(|key| key.report(certificates)).collect();

        // Several CAs are a bundle, and need not be related.
        let end_entity = self.certificates.iter().position(|found| !found.is_ca);
        let of_key = self.keys.iter().find_map(|key| key.certificate);
        let start = of_key.or(end_entity).filter(|_| certificates.len() > 1);
        if purpose != Some(FilePurpose::TrustAnchors) {
            self.chain = start.map(|start| ChainReport::of(certificates, start));
        }
    }
}
