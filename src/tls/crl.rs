//! Certificate revocation lists given by the user (`tlsCRLFile`; RFC 5280 §5).
//!
//! The server's certificate is looked up, as in PyMongo, or the whole chain if the program asks for it.
//! For each certificate that is looked up its issuer's CRL must be there, be signed by the issuer and be
//! in force.
//!
//! The lists are loaded and sorted once for a context, and OpenSSL finds a serial number in them by binary
//! search. But it verifies the signature of the whole list in each full handshake, which a list of a
//! million entries makes felt (`docs/performance.md`); a resumed handshake looks into no CRL.

use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::SystemTime;

use openssl::bn::BigNum;
use openssl::error::ErrorStack;
use openssl::x509::X509Crl;
use openssl::x509::store::X509StoreBuilder;
use openssl::x509::verify::X509VerifyFlags;

use super::certificate::instant;
use super::files::{self, Purpose};
use super::reading::Files;
use super::{ffi, internal};
use crate::cause::{Cause, CauseCode};
use crate::error::{Error, Result};

/// The CRLs that a context uses.
#[derive(Clone, Default)]
pub(super) struct Crls {
    lists: Arc<Vec<Listed>>,
    /// The first `nextUpdate` of all.
    pub(super) until: Option<SystemTime>,
}

/// One CRL, and what is told of it.
pub(super) struct Listed {
    pub(super) path: String,
    pub(super) crl: X509Crl,
    issuer: String,
}

impl Crls {
    pub(super) fn count(&self) -> usize {
        self.lists.len()
    }

    pub(super) fn all(&self) -> impl Iterator<Item = &Listed> {
        self.lists.iter()
    }

    /// Those of one issuer, by its name.
    pub(super) fn of(&self, issuer: &str) -> impl Iterator<Item = &Listed> {
        self.all().filter(move |list| list.issuer == issuer)
    }

    /// Whose they are, none twice.
    pub(super) fn issuers(&self) -> Vec<String> {
        let mut issuers: Vec<String> = Vec::new();
        for list in self.all() {
            if !issuers.contains(&list.issuer) {
                issuers.push(list.issuer.clone());
            }
        }
        issuers
    }
}

/// Loads the CRLs in `paths` into `store` and lets it use them.
pub(super) fn load(
    store: &mut X509StoreBuilder,
    paths: &[PathBuf],
    files: &mut Files,
    whole_chain: bool,
) -> Result<Crls> {
    let mut lists = Vec::new();
    let mut until = None;
    for path in paths {
        for crl in read(path, files)? {
            sort(&crl).map_err(internal)?;
            ffi::store_add_crl(store, &crl).map_err(internal)?;
            let next_update = crl.next_update().map(instant);
            until = [until, next_update].into_iter().flatten().min();
            lists.push(Listed {
                path: path.display().to_string(),
                issuer: ffi::name_text(crl.issuer_name()),
                crl,
            });
        }
    }
    if !lists.is_empty() {
        let mut flags = X509VerifyFlags::CRL_CHECK;
        flags.set(X509VerifyFlags::CRL_CHECK_ALL, whole_chain);
        store.set_flags(flags).map_err(internal)?;
    }
    Ok(Crls {
        lists: Arc::new(lists),
        until,
    })
}

/// Lets OpenSSL sort the entries now. It would do so at the first look-up, in a handshake that may have
/// little time and that all others wait for.
fn sort(crl: &X509Crl) -> Result<(), ErrorStack> {
    let any = BigNum::from_u32(0)?.to_asn1_integer()?;
    let _ = crl.get_by_serial(&any);
    Ok(())
}

/// The CRLs of one file, in PEM or DER form.
fn read(path: &Path, files: &mut Files) -> Result<Vec<X509Crl>> {
    let file = files
        .get_mut(path)
        .map_err(|unread| files::unreadable(Purpose::Crl, path, unread))?;
    let bytes = &mut file.bytes[..];
    // A DER file that is no CRL is told by what it is, not as a damaged one.
    if let Ok(crl) = X509Crl::from_der(bytes) {
        let holds = "a CRL in DER form".to_owned();
        refuse_deltas(path, holds, std::slice::from_ref(&crl))?;
        return Ok(vec![crl]);
    }
    let holds = files::describe(bytes);
    let bodies: Vec<_> = files::pem_blocks(bytes)
        .filter(files::PemBlock::is_crl)
        .map(|block| block.body)
        .collect();
    if bodies.is_empty() {
        let why = format!("holds no CRL: it holds {holds}");
        let remedy = "Give the file with the CRL of the CA that signed the server's certificate, in PEM or DER form.";
        return Err(Error::configuration(invalid(path, holds, &why, remedy)));
    }
    let mut crls = Vec::new();
    for body in bodies {
        let text = &mut bytes[body];
        // What is not base64 is no CRL either, and OpenSSL says so.
        let length = files::decode_in_place(text).unwrap_or(0);
        let crl = X509Crl::from_der(&text[..length]).map_err(|error| {
            let why = "holds a CRL that cannot be decoded";
            let remedy = "Replace the damaged part; a file holds whole CRLs in PEM form, or one in DER form.";
            let cause = invalid(path, holds.clone(), why, remedy);
            Error::configuration(cause.fact_opt("openssl", files::reasons(&error)))
                .with_source(error)
        })?;
        crls.push(crl);
    }
    refuse_deltas(path, holds, &crls)?;
    Ok(crls)
}

/// OpenSSL would take a delta CRL for the full list: what was revoked before would pass.
fn refuse_deltas(path: &Path, holds: String, crls: &[X509Crl]) -> Result<()> {
    if !crls.iter().any(|crl| ffi::is_delta(crl)) {
        return Ok(());
    }
    let why = "holds a delta CRL, which lists only what has changed since the full one";
    let remedy = "Give the CA's full CRL, and leave out the deltas to it.";
    Err(Error::configuration(invalid(path, holds, why, remedy)))
}

fn invalid(path: &Path, holds: String, why: &str, remedy: &str) -> Cause {
    let path = path.display().to_string();
    Cause::new(
        CauseCode::CrlFileInvalid,
        format!("tlsCRLFile {path:?} {why}"),
        remedy,
    )
    .fact("option", "tlsCRLFile")
    .fact("path", path)
    .fact("holds", holds)
}
