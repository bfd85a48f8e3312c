//! Certificate revocation lists given by the user (`tlsCRLFile`; RFC 5280 §5).
//!
//! The end entity's certificate is checked, as in PyMongo: its issuer's CRL must be in the file, be
//! signed by the issuer and be in force. The list is loaded once for a context.

use std::path::Path;

use openssl::x509::X509Crl;
use openssl::x509::store::X509StoreBuilder;
use openssl::x509::verify::X509VerifyFlags;

use super::files::{self, Purpose};
use super::{ffi, internal};
use crate::cause::{Cause, CauseCode};
use crate::error::{Error, Result};

/// Loads the CRLs in `path` into `store`, and lets it check the end entity against them.
pub(super) fn load(store: &mut X509StoreBuilder, path: &Path) -> Result<usize> {
    let bytes = files::read(Purpose::Crl, path)?;
    let invalid = |why: &str, remedy: &str| {
        let cause = Cause::new(
            CauseCode::CrlFileInvalid,
            format!("tlsCRLFile {:?} {why}", path.display().to_string()),
            remedy,
        );
        cause
            .fact("option", "tlsCRLFile")
            .fact("path", path.display().to_string())
            .fact("holds", files::describe(&bytes))
    };
    let mut count = 0;
    for block in files::pem_blocks(&bytes).filter(|block| block.label == "X509 CRL") {
        let crl = X509Crl::from_pem(block.text).map_err(|error| {
            let remedy = "Replace the damaged PEM block; each block must hold one whole CRL.";
            Error::configuration(invalid("holds a CRL that cannot be decoded", remedy))
                .with_source(error)
        })?;
        ffi::store_add_crl(store, &crl).map_err(internal)?;
        count += 1;
    }
    if count == 0 {
        let why = format!(
            "holds no CRL in PEM form: it holds {}",
            files::describe(&bytes)
        );
        let remedy = "Give a PEM file with the CRL of the CA that signed the server's certificate. `openssl crl -inform DER -in FILE -out crl.pem` converts one in DER form.";
        return Err(Error::configuration(invalid(&why, remedy)));
    }
    store
        .set_flags(X509VerifyFlags::CRL_CHECK)
        .map_err(internal)?;
    Ok(count)
}
