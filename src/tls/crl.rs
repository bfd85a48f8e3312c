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

use openssl::asn1::Asn1Integer;
use openssl::bn::BigNum;
use openssl::error::ErrorStack;
use openssl::nid::Nid;
use openssl::stack::StackRef;
use openssl::x509::store::X509StoreBuilder;
use openssl::x509::verify::X509VerifyFlags;
use openssl::x509::{CrlNumber, CrlStatus, X509, X509Crl, X509NameRef, X509Ref};

use super::certificate::instant;
use super::files::{self, Purpose};
use super::reading::Files;
use super::{ffi, internal};
use crate::cause::{Cause, CauseCode};
use crate::error::{Error, Result};
use crate::time::rfc3339;

/// The CRLs that a context uses.
#[derive(Clone, Default)]
pub(super) struct Crls {
    lists: Arc<Vec<Listed>>,
    checks_whole_chain: bool,
}

/// One CRL, and what is told of it.
pub(super) struct Listed {
    pub(super) path: String,
    pub(super) crl: X509Crl,
    scope: Scope,
    number: Option<BigNum>,
}

/// What a CRL is about. Of CRLs with the same scope a newer one replaces an older one, and their numbers grow (RFC 5280
/// §5.2.3).
#[derive(PartialEq, Eq)]
struct Scope {
    issuer: String,
    /// The authority key identifier: a CA with a new key counts anew.
    key: Option<Vec<u8>>,
    /// The issuing distribution point.
    part: Option<Vec<u8>>,
}

impl Listed {
    fn new(path: &Path, crl: X509Crl) -> Self {
        let number = crl.extension::<CrlNumber>().ok().flatten();
        Self {
            path: path.display().to_string(),
            scope: Scope {
                issuer: ffi::name_text(crl.issuer_name()),
                key: ffi::crl_extension(&crl, Nid::AUTHORITY_KEY_IDENTIFIER),
                part: ffi::crl_extension(&crl, Nid::ISSUING_DISTRIBUTION_POINT),
            },
            number: number.and_then(|(_, number): (bool, Asn1Integer)| number.to_bn().ok()),
            crl,
        }
    }

    fn this_update(&self) -> SystemTime {
        instant(self.crl.last_update())
    }

    fn next_update(&self) -> Option<SystemTime> {
        self.crl.next_update().map(instant)
    }

    /// As OpenSSL sees it.
    fn is_in_force(&self, now: SystemTime) -> bool {
        self.this_update() <= now && self.next_update().is_none_or(|end| now < end)
    }

    /// The number in decimal form, if the CRL has one.
    fn number(&self) -> Option<String> {
        let text = self.number.as_ref()?.to_dec_str().ok()?;
        Some((*text).to_owned())
    }
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
        self.all().filter(move |list| list.scope.issuer == issuer)
    }

    /// Whose they are, none twice.
    pub(super) fn issuers(&self) -> Vec<String> {
        let mut issuers: Vec<String> = Vec::new();
        for list in self.all() {
            if !issuers.contains(&list.scope.issuer) {
                issuers.push(list.scope.issuer.clone());
            }
        }
        issuers
    }

    /// Whether a CRL that bears the name of its issuer lists a certificate, whoever signed that CRL.
    pub(super) fn list(&self, certificate: &X509Ref) -> bool {
        let issuer = ffi::name_text(certificate.issuer_name());
        let mut lists = self.of(&issuer);
        let serial = certificate.serial_number();
        lists.any(|list| matches!(list.crl.get_by_serial(serial), CrlStatus::Revoked(_)))
    }

    /// Until when what the CRLs say of a verified chain holds; `None` if they set no limit.
    pub(super) fn until(&self, chain: &StackRef<X509>, now: SystemTime) -> Option<SystemTime> {
        if self.count() == 0 {
            return None;
        }
        let checked = match self.checks_whole_chain {
            true => chain.len().saturating_sub(1).max(1),
            false => 1,
        };
        let chain = chain.iter().take(checked);
        let issuers: Vec<_> = chain
            .map(|certificate| ffi::name_text(certificate.issuer_name()))
            .collect();
        let lists = self
            .all()
            .filter(|list| issuers.contains(&list.scope.issuer));
        let used = in_use(lists, now).into_iter();
        used.filter_map(Listed::next_update).min()
    }

    /// Whether these CRLs may take the place of `old` ones at `now`. They may revoke more, and some may be stale; but each
    /// issuer with a CRL in force must keep one, and no CRL in force gives way to one with a lower number. That does not
    /// apply to the CAs that are no longer trusted, as `is_withdrawn` knows, and to what was below them.
    ///
    /// # Errors
    /// [`ErrorKind::Configuration`](crate::ErrorKind::Configuration) with both CRLs.
    pub(super) fn may_replace(
        &self,
        old: &Self,
        is_withdrawn: &dyn Fn(&X509NameRef) -> Withdrawn,
        now: SystemTime,
    ) -> Result<()> {
        let fresh = in_use(self.all(), now);
        for old in in_use(old.all(), now) {
            let withdrawn = is_withdrawn(old.crl.issuer_name());
            if withdrawn == Withdrawn::Yes {
                continue;
            }
            let issuer = &old.scope.issuer;
            if !fresh.iter().any(|list| list.scope.issuer == *issuer) {
                let newest = self.of(issuer).max_by_key(|list| list.this_update());
                if newest.is_none() && withdrawn == Withdrawn::Unknown {
                    continue;
                }
                return Err(none_in_force(old, newest, now));
            }
            let same = fresh.iter().find(|list| list.scope == old.scope);
            let is_lower = |list: &Listed| list.number.is_some() && list.number < old.number;
            if let Some(lower) = same.filter(|list| is_lower(list)) {
                return Err(lower_number(old, lower, now));
            }
        }
        Ok(())
    }
}

/// The CRLs that OpenSSL would use now: of those in force with the same scope, the newest.
fn in_use<'a>(lists: impl Iterator<Item = &'a Listed>, now: SystemTime) -> Vec<&'a Listed> {
    let mut best: Vec<&Listed> = Vec::new();
    for list in lists.filter(|list| list.is_in_force(now)) {
        match best.iter_mut().find(|known| known.scope == list.scope) {
            Some(known) if known.this_update() < list.this_update() => *known = list,
            Some(_) => {}
            None => best.push(list),
        }
    }
    best
}

/// Whether a CA was a trust anchor and is none any more.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Withdrawn {
    Yes,
    No,
    /// It was no anchor; some anchor, which may have been above it, was withdrawn.
    Unknown,
}

/// `, which is in force until …`, of a CRL that is in use.
fn in_force_until(old: &Listed) -> String {
    match old.next_update() {
        Some(end) => format!("which is in force until {}", rfc3339(end)),
        None => "which is in force without an end".to_owned(),
    }
}

/// The new set has no CRL in force of an issuer; `newest` is the one it has.
fn none_in_force(old: &Listed, newest: Option<&Listed>, now: SystemTime) -> Error {
    let issuer = &old.scope.issuer;
    let in_force = in_force_until(old);
    let (code, problem) = match newest {
        None => (
            CauseCode::CrlMissing,
            format!(
                "the files of tlsCRLFile no longer hold a CRL of {issuer:?}, and would replace one {in_force}"
            ),
        ),
        Some(list) if now < list.this_update() => (
            CauseCode::CrlNotYetValid,
            format!(
                "the CRL of {issuer:?} in {:?} is valid only from {} on, and would replace one {in_force}",
                list.path,
                rfc3339(list.this_update())
            ),
        ),
        Some(list) => (
            CauseCode::CrlExpired,
            format!(
                "the CRL of {issuer:?} in {:?} is past its nextUpdate ({}), and would replace one {in_force}",
                list.path,
                list.next_update().map(rfc3339).unwrap_or_default()
            ),
        ),
    };
    let remedy = match code {
        CauseCode::CrlNotYetValid => {
            "Compare this host's clock with the true time; until then keep the CRL that is in force beside the next one."
        }
        _ => "Put the current CRL of that issuer into the file of tlsCRLFile.",
    };
    let cause = Cause::new(code, problem, remedy)
        .fact("crl_issuer", issuer.as_str())
        .fact_opt("path", newest.map(|list| list.path.as_str()))
        .fact_opt("this_update", newest.map(Listed::this_update))
        .fact_opt("next_update", newest.and_then(Listed::next_update));
    Error::configuration(cause.fact("checked_at", now))
}

/// Someone may have put an old CRL back, on which a certificate was not revoked yet.
fn lower_number(old: &Listed, new: &Listed, now: SystemTime) -> Error {
    let issuer = &old.scope.issuer;
    let number = |list: &Listed| list.number().unwrap_or_default();
    let message = format!(
        "the CRL of {issuer:?} in {:?} has the number {} (thisUpdate {}), and would replace number {} (thisUpdate {}), {}",
        new.path,
        number(new),
        rfc3339(new.this_update()),
        number(old),
        rfc3339(old.this_update()),
        in_force_until(old)
    );
    let remedy = "Find out who put the older CRL there, and put the current one of that issuer into the file of tlsCRLFile.";
    let cause = Cause::new(CauseCode::CrlInvalid, message, remedy)
        .fact("crl_issuer", issuer.as_str())
        .fact("path", new.path.as_str())
        .fact("crl_number", number(new))
        .fact("crl_number_in_use", number(old))
        .fact("this_update", new.this_update())
        .fact_opt("next_update", new.next_update());
    Error::configuration(cause.fact("checked_at", now))
}

/// Loads the CRLs in `paths` into `store` and lets it use them.
pub(super) fn load(
    store: &mut X509StoreBuilder,
    paths: &[PathBuf],
    files: &mut Files,
    whole_chain: bool,
) -> Result<Crls> {
    let mut lists = Vec::new();
    for path in paths {
        for crl in read(path, files)? {
            sort(&crl).map_err(internal)?;
            ffi::store_add_crl(store, &crl).map_err(internal)?;
            lists.push(Listed::new(path, crl));
        }
    }
    if !lists.is_empty() {
        let mut flags = X509VerifyFlags::CRL_CHECK;
        flags.set(X509VerifyFlags::CRL_CHECK_ALL, whole_chain);
        store.set_flags(flags).map_err(internal)?;
    }
    Ok(Crls {
        lists: Arc::new(lists),
        checks_whole_chain: whole_chain,
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
