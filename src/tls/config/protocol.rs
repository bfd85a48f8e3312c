//! The protocol settings of a context: versions, ciphers, groups, signature algorithms, security level, and the key
//! log.
//!
//! OpenSSL has read the system's `openssl.cnf` when the context was made. This module changes only the settings that
//! the options name, and raises a minimum below TLS 1.2 to TLS 1.2.

use std::fs::{File, Metadata, OpenOptions};
use std::io::Write;
use std::os::unix::fs::{MetadataExt, OpenOptionsExt};
use std::path::Path;

use openssl::ssl::{SslContextBuilder, SslVersion};

use crate::error::{Error, Result};
use crate::ffi::callback;
use crate::ffi::system::effective_user;
use crate::limit::Limit;
use crate::options::{ProtocolList, ProtocolOptions, TlsVersion};
use crate::reason::files::{FileFailure, KeyLogProblem};
use crate::sync::Mutex;
use crate::tls::library::internal;

/// Applies the options that are set.
pub(crate) fn apply(context: &mut SslContextBuilder, options: &ProtocolOptions) -> Result<()> {
    match options.oldest() {
        Some(version) => context.set_min_proto_version(Some(version_code(version))),
        // `None` means the oldest version that this OpenSSL has.
        None if !matches!(
            context.min_proto_version(),
            Some(SslVersion::TLS1_2 | SslVersion::TLS1_3)
        ) =>
        {
            context.set_min_proto_version(Some(SslVersion::TLS1_2))
        }
        None => Ok(()),
    }
    .map_err(internal)?;
    if let Some(version) = options.newest() {
        context
            .set_max_proto_version(Some(version_code(version)))
            .map_err(internal)?;
    }
    if let Some(level) = options.level() {
        context.set_security_level(level);
    }
    for (list, value) in options.lists() {
        let set = match list {
            ProtocolList::CipherList => context.set_cipher_list(value),
            // OpenSSL ignores unknown suites if it knows at least one.
            ProtocolList::CipherSuites => value
                .split(':')
                .try_for_each(|suite| context.set_ciphersuites(suite))
                .and_then(|()| context.set_ciphersuites(value)),
            ProtocolList::Groups => context.set_groups_list(value),
            ProtocolList::SignatureAlgorithms => context.set_sigalgs_list(value),
        };
        set.map_err(|error| {
            let value = value.to_owned();
            Error::configuration(FileFailure::ProtocolList { list, value }).with_source(error)
        })?;
    }
    Ok(())
}

fn version_code(version: TlsVersion) -> SslVersion {
    match version {
        TlsVersion::Tls12 => SslVersion::TLS1_2,
        TlsVersion::Tls13 => SslVersion::TLS1_3,
    }
}

/// Appends the secrets of each connection to a file.
pub(crate) fn log_keys(context: &mut SslContextBuilder, path: &Path) -> Result<()> {
    let failed = |problem| {
        let path = path.display().to_string();
        Error::configuration(FileFailure::KeyLog { path, problem })
    };
    let opened = OpenOptions::new()
        .create(true)
        .append(true)
        .mode(0o600)
        // Another user may choose the target of a link, and a pipe without a reader would block.
        .custom_flags(libc::O_NOFOLLOW | libc::O_NONBLOCK)
        .open(path);
    let file = opened.map_err(|error| match (Limit::of(&error), error.raw_os_error()) {
        (Some(limit), _) => failed(KeyLogProblem::Limited(limit.reached())).with_source(error),
        (_, Some(libc::ELOOP)) => failed(KeyLogProblem::IsLink),
        _ => failed(KeyLogProblem::NotWritable(error.to_string())).with_source(error),
    })?;
    let metadata = file.metadata().map_err(|error| {
        failed(KeyLogProblem::NotExaminable(error.to_string())).with_source(error)
    })?;
    if let Some(problem) = not_private(&metadata, effective_user()) {
        return Err(failed(problem));
    }
    let file = Mutex::new(file);
    context.set_keylog_callback(move |_, line| {
        callback::run(|| {
            let mut file = file.lock();
            write_line(&mut file, line);
        });
    });
    Ok(())
}

/// Returns why a file must not get secrets, or `None` if only the user of this process can read and write it.
fn not_private(metadata: &Metadata, user: u32) -> Option<KeyLogProblem> {
    let is_open = metadata.mode() & 0o077 != 0;
    match metadata.uid() {
        _ if !metadata.is_file() => Some(KeyLogProblem::NotRegular),
        owner if owner != user => Some(KeyLogProblem::OtherOwner { owner, user }),
        _ if is_open => Some(KeyLogProblem::OpenToOthers {
            mode: metadata.mode() & 0o7777,
        }),
        _ => None,
    }
}

/// Writes each line with one system call, so that lines of several processes that share the file do not mix.
fn write_line(file: &mut File, line: &str) {
    let mut bytes = zeroize::Zeroizing::new(Vec::with_capacity(line.len() + 1));
    bytes.extend_from_slice(line.as_bytes());
    bytes.push(b'\n');
    // A full disk must not end a connection.
    let _ = file.write_all(&bytes);
}
