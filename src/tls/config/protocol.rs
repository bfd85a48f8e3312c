//! The protocol settings of a context: versions, ciphers, groups, signature algorithms, security level,
//! and the key log.
//!
//! OpenSSL has read the system's `openssl.cnf` when the context was made; only what the options set is
//! changed here, and a minimum below TLS 1.2, which is raised to it.

use std::fs::{File, Metadata, OpenOptions};
use std::io::Write;
use std::os::unix::fs::{MetadataExt, OpenOptionsExt};
use std::path::Path;
use std::sync::{Mutex, PoisonError};

use openssl::ssl::{SslContextBuilder, SslVersion};

use crate::cause::{Cause, CauseCode};
use crate::error::{Error, Result};
use crate::ffi::callback;
use crate::ffi::system::effective_user;
use crate::limit::Limit;
use crate::options::{ProtocolList, ProtocolOptions, TlsVersion};
use crate::printable::Quoted;
use crate::tls::{internal, openssl_version};

/// Applies what is set.
pub(crate) fn apply(context: &mut SslContextBuilder, options: &ProtocolOptions) -> Result<()> {
    match options.oldest() {
        Some(version) => context.set_min_proto_version(Some(version_code(version))),
        // None stands for the oldest that this OpenSSL has.
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
            // OpenSSL passes over suites that it does not know, as long as it knows one.
            ProtocolList::CipherSuites => value
                .split(':')
                .try_for_each(|suite| context.set_ciphersuites(suite))
                .and_then(|()| context.set_ciphersuites(value)),
            ProtocolList::Groups => context.set_groups_list(value),
            ProtocolList::SignatureAlgorithms => context.set_sigalgs_list(value),
        };
        set.map_err(|error| {
            let name = list.name();
            let cause = Cause::new(
                CauseCode::OptionConflict,
                format!(
                    "{name} {value} is not usable: {} does not know all that it names",
                    openssl_version(),
                    value = Quoted(&value)
                ),
                remedy(list),
            );
            Error::configuration(cause.fact("option", name).fact("value", value)).with_source(error)
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

fn remedy(list: ProtocolList) -> &'static str {
    match list {
        ProtocolList::CipherList => {
            "Name ciphers of TLS 1.2 that `openssl ciphers -s -tls1_2` prints; those of TLS 1.3 go into cipher_suites."
        }
        ProtocolList::CipherSuites => {
            "Name cipher suites that `openssl ciphers -s -tls1_3` prints, separated by colons."
        }
        ProtocolList::Groups => {
            "Name groups that this OpenSSL has, separated by colons, such as X25519:P-256; X25519MLKEM768 needs OpenSSL 3.5."
        }
        ProtocolList::SignatureAlgorithms => {
            "Name signature algorithms that this OpenSSL has, separated by colons, such as ECDSA+SHA256:RSA-PSS+SHA256."
        }
    }
}

/// Appends the secrets of each connection to a file.
pub(crate) fn log_keys(context: &mut SslContextBuilder, path: &Path) -> Result<()> {
    let shown = path.display().to_string();
    let failed = |why: &str, remedy: &str| {
        let message = format!("key_log_file {shown} {why}", shown = Quoted(&shown));
        let cause = Cause::new(CauseCode::KeyFileUnreadable, message, remedy);
        Error::configuration(
            cause
                .fact("option", "key_log_file")
                .fact("path", shown.as_str()),
        )
    };
    let opened = OpenOptions::new()
        .create(true)
        .append(true)
        .mode(0o600)
        // Another user may choose the target of a link, and a pipe without a reader would block.
        .custom_flags(libc::O_NOFOLLOW | libc::O_NONBLOCK)
        .open(path);
    let file = opened.map_err(|error| match (Limit::of(&error), error.raw_os_error()) {
        (Some(limit), _) => {
            let what = format!("key_log_file {} cannot be opened", Quoted(&shown));
            Error::configuration(limit.cause(&what)).with_source(error)
        }
        (_, Some(libc::ELOOP)) => failed("is a symbolic link, which is not followed", OWN_FILE),
        _ => failed(
            &format!("cannot be written: {error}"),
            "Give the path of a file in a folder that the user running this process may write to.",
        )
        .with_source(error),
    })?;
    let metadata = file.metadata().map_err(|error| {
        failed(&format!("cannot be looked at: {error}"), OWN_FILE).with_source(error)
    })?;
    if let Some(why) = not_private(&metadata, effective_user()) {
        return Err(failed(&why, OWN_FILE));
    }
    let file = Mutex::new(file);
    context.set_keylog_callback(move |_, line| {
        callback::run(|| {
            let mut file = file.lock().unwrap_or_else(PoisonError::into_inner);
            write_line(&mut file, line);
        });
    });
    Ok(())
}

/// Returns why a file must not get secrets; `None` if only the user of this process can read and write it.
fn not_private(metadata: &Metadata, user: u32) -> Option<String> {
    let others = metadata.mode() & 0o077;
    match () {
        () if !metadata.is_file() => Some("is not a regular file".to_owned()),
        () if metadata.uid() != user => Some(format!(
            "belongs to the user with the number {}, and this process runs as {user}",
            metadata.uid()
        )),
        () if others != 0 => Some(format!(
            "may be read or written by others than its owner: its mode is {:04o}",
            metadata.mode() & 0o7777
        )),
        () => None,
    }
}

const OWN_FILE: &str = "Give the path of a file that does not exist yet, or of a regular file that belongs to the user that runs this process and has the mode 0600.";

/// One write a line, so that processes which share the file do not mix theirs.
fn write_line(file: &mut File, line: &str) {
    let mut bytes = zeroize::Zeroizing::new(Vec::with_capacity(line.len() + 1));
    bytes.extend_from_slice(line.as_bytes());
    bytes.push(b'\n');
    // A full disk must not end a connection.
    let _ = file.write_all(&bytes);
}
