//! Certificate revocation lists from the user (RFC 5280 §5): in the files of `tlsCRLFile`, and beside the trust anchors
//! that the options name, in a file, in memory or in a folder.
//!
//! As in PyMongo, the server's certificate is looked up, or the whole chain if the program requires it. For each of
//! these certificates, there must be a CRL of its issuer that is signed by the issuer and in force.
//!
//! The lists are loaded and sorted once for a context, and OpenSSL finds a serial number in them by binary search. But
//! it verifies the signature of the whole list in each full handshake, which is slow for a list of a million entries
//! (`docs/performance.md`); a resumed handshake checks no CRL.

use std::fs;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::{Duration, SystemTime};

use foreign_types::ForeignTypeRef;
use openssl::asn1::Asn1Integer;
use openssl::bn::BigNum;
use openssl::error::ErrorStack;
use openssl::nid::Nid;
use openssl::stack::StackRef;
use openssl::x509::store::X509StoreBuilder;
use openssl::x509::verify::X509VerifyFlags;
use openssl::x509::{CrlNumber, CrlStatus, X509, X509Crl, X509CrlRef, X509NameRef, X509Ref};

use crate::error::{Error, Result};
use crate::ffi::fork;
use crate::ffi::openssl as ffi;
use crate::ffi::openssl::instant;
use crate::limit::Limit;
use crate::logging::warn;
use crate::options::TlsOptions;
use crate::reason::files::{
    ContentFailure, ContentProblem, ContentSource, CrlReplacement, CrlReplacementProblem,
    FileContents, FileFailure, FilePurpose, NewCrl,
};
use crate::reason::options::OptionConflict;
use crate::tls::config::pem::{self, PemBlock};
use crate::tls::config::reading::{self, Files};
use crate::tls::config::{files, locations};
use crate::tls::library::{self, internal};

/// The CRLs that a context uses.
#[derive(Clone, Default)]
pub(crate) struct Crls {
    lists: Arc<Vec<Listed>>,
    checks_whole_chain: bool,
}

/// One CRL, with the data that explains it.
pub(crate) struct Listed {
    /// The option that names the file.
    pub(crate) option: &'static str,
    pub(crate) path: String,
    pub(crate) crl: X509Crl,
    scope: CrlSequence,
    number: Option<BigNum>,
    /// The end of its validity: its `nextUpdate` or, without one, the limit by `crl_max_age`.
    ends: Option<SystemTime>,
}

/// The scope of a CRL. A newer CRL replaces an older one with the same scope, and their numbers increase (RFC 5280
/// §5.2.3).
#[derive(PartialEq, Eq)]
struct CrlSequence {
    issuer: String,
    /// The authority key identifier: a CA with a new key starts a new count.
    key: Option<Vec<u8>>,
    /// The issuing distribution point.
    part: Option<Vec<u8>>,
}

impl Listed {
    fn new(origin: &CrlSource, crl: X509Crl, max_age: Option<Duration>) -> Self {
        let number = crl.extension::<CrlNumber>().ok().flatten();
        Self {
            option: origin.option,
            path: origin.path.clone().unwrap_or_default(),
            scope: CrlSequence {
                issuer: ffi::name_text(crl.issuer_name()),
                key: ffi::crl_extension(&crl, Nid::AUTHORITY_KEY_IDENTIFIER),
                part: ffi::crl_extension(&crl, Nid::ISSUING_DISTRIBUTION_POINT),
            },
            ends: crl
                .next_update()
                .map(instant)
                .or_else(|| instant(crl.last_update()).checked_add(max_age?)),
            number: number.and_then(|(_, number): (bool, Asn1Integer)| number.to_bn().ok()),
            crl,
        }
    }

    /// The file, or the option if there is no file.
    fn place(&self) -> String {
        match self.path.as_str() {
            "" => self.option.to_owned(),
            path => format!("{path:?}"),
        }
    }

    /// Describes the CRL as one that must not replace another.
    fn new_crl(&self) -> NewCrl {
        NewCrl {
            path: self.path.clone(),
            this_update: self.this_update(),
            next_update: self.next_update(),
        }
    }

    fn this_update(&self) -> SystemTime {
        instant(self.crl.last_update())
    }

    fn next_update(&self) -> Option<SystemTime> {
        self.crl.next_update().map(instant)
    }

    /// Returns whether the CRL is in force for OpenSSL, and within the limit for those without `nextUpdate`.
    fn is_in_force(&self, now: SystemTime) -> bool {
        self.this_update() <= now && self.ends.is_none_or(|end| now < end)
    }

    /// The number in decimal form, if the CRL has one.
    fn number(&self) -> Option<String> {
        let text = self.number.as_ref()?.to_dec_str().ok()?;
        Some((*text).to_owned())
    }
}

impl Crls {
    pub(crate) fn count(&self) -> usize {
        self.lists.len()
    }

    pub(crate) fn all(&self) -> impl Iterator<Item = &Listed> {
        self.lists.iter()
    }

    /// The CRLs of one issuer, by its name.
    pub(crate) fn of(&self, issuer: &str) -> impl Iterator<Item = &Listed> {
        self.all().filter(move |list| list.scope.issuer == issuer)
    }

    /// The distinct issuers of the loaded CRLs.
    pub(crate) fn issuers(&self) -> Vec<String> {
        let mut issuers: Vec<String> = Vec::new();
        for list in self.all() {
            if !issuers.contains(&list.scope.issuer) {
                issuers.push(list.scope.issuer.clone());
            }
        }
        issuers
    }

    /// Returns whether a CRL with the name of its issuer lists a certificate, without checking the signature of that
    /// CRL.
    pub(crate) fn list(&self, certificate: &X509Ref) -> bool {
        let issuer = ffi::name_text(certificate.issuer_name());
        let mut lists = self.of(&issuer);
        let serial = certificate.serial_number();
        lists.any(|list| matches!(list.crl.get_by_serial(serial), CrlStatus::Revoked(_)))
    }

    /// The first certificate of a verified chain covered only by a CRL without `nextUpdate` older than `crl_max_age`,
    /// and that CRL. OpenSSL has no such limit.
    pub(crate) fn too_old(
        &self,
        chain: &StackRef<X509>,
        now: SystemTime,
    ) -> Option<(usize, &Listed)> {
        let all = chain.iter().take(self.checked(chain)).enumerate();
        let mut too_old = all.filter_map(|(depth, certificate)| {
            let issuer = ffi::name_text(certificate.issuer_name());
            let newest = self.of(&issuer).max_by_key(|list| list.this_update())?;
            let has_other = self.of(&issuer).any(|list| list.is_in_force(now));
            let is_limited = newest.next_update().is_none() && newest.ends.is_some();
            (is_limited && !has_other).then_some((depth, newest))
        });
        too_old.next()
    }

    #[cfg(test)]
    pub(crate) fn first(&self) -> Option<&X509Crl> {
        self.lists.first().map(|list| &list.crl)
    }

    /// Returns whether this very CRL is one of these.
    pub(crate) fn has(&self, crl: &X509CrlRef) -> bool {
        let lists = self.lists.iter();
        lists
            .map(|list| list.crl.as_ptr())
            .any(|known| known == crl.as_ptr())
    }

    /// Returns the number of certificates of a chain that are looked up; the trust anchor is not.
    fn checked(&self, chain: &StackRef<X509>) -> usize {
        match self.checks_whole_chain {
            true => chain.len().saturating_sub(1).max(1),
            false => 1,
        }
    }

    /// The instant until which the CRLs are valid for a verified chain; `None` if they set no limit.
    pub(crate) fn until(&self, chain: &StackRef<X509>, now: SystemTime) -> Option<SystemTime> {
        if self.count() == 0 {
            return None;
        }
        let chain = chain.iter().take(self.checked(chain));
        let issuers: Vec<_> = chain
            .map(|certificate| ffi::name_text(certificate.issuer_name()))
            .collect();
        let lists = self
            .all()
            .filter(|list| issuers.contains(&list.scope.issuer));
        let used = in_use(lists, now).into_iter();
        used.filter_map(|list| list.ends).min()
    }

    /// Checks that these CRLs may replace the `old` ones at `now`. They may revoke more, and some may be stale; but
    /// each issuer with a CRL in force must keep one, and a CRL with a lower number never replaces one in force. That
    /// does not apply to the CAs that are no longer trusted, according to `is_withdrawn`, and to those below them.
    ///
    /// # Errors
    /// [`ErrorKind::Configuration`](crate::ErrorKind::Configuration) with both CRLs.
    pub(crate) fn may_replace(
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

/// The CRLs that OpenSSL would use now: the newest of those in force with equal scope.
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

/// The result of the check if a CA was a trust anchor and no longer is one.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Withdrawn {
    Yes,
    No,
    /// It was no anchor; some anchor, which may have been above it, was withdrawn.
    Unknown,
}

/// The new set has no CRL in force for an issuer; `newest` is the one that it has.
fn none_in_force(old: &Listed, newest: Option<&Listed>, now: SystemTime) -> Error {
    let problem = match newest {
        None => CrlReplacementProblem::Missing,
        Some(list) if now < list.this_update() => {
            CrlReplacementProblem::NotYetValid(list.new_crl())
        }
        Some(list) => CrlReplacementProblem::Expired(list.new_crl()),
    };
    must_not_replace(old, problem, now)
}

/// An attacker may have restored an old CRL on which a certificate was not revoked yet.
fn lower_number(old: &Listed, new: &Listed, now: SystemTime) -> Error {
    let problem = CrlReplacementProblem::LowerNumber {
        new: new.new_crl(),
        number: new.number().unwrap_or_default(),
        number_in_use: old.number().unwrap_or_default(),
        this_update_in_use: old.this_update(),
    };
    must_not_replace(old, problem, now)
}

fn must_not_replace(old: &Listed, problem: CrlReplacementProblem, now: SystemTime) -> Error {
    let replacement = CrlReplacement {
        issuer: old.scope.issuer.clone(),
        in_force_until: old.next_update(),
        checked_at: now,
        problem,
    };
    Error::configuration(FileFailure::CrlReplacement(Box::new(replacement)))
}

/// The source of CRLs.
struct CrlSource {
    /// The option that names the file.
    option: &'static str,
    /// The file, or `None` for text in memory.
    path: Option<String>,
    purpose: FilePurpose,
}

impl CrlSource {
    fn file(purpose: FilePurpose, option: &'static str, path: &Path) -> Self {
        Self {
            option,
            path: Some(path.display().to_string()),
            purpose,
        }
    }

    fn invalid(&self, holds: &FileContents, problem: ContentProblem) -> ContentFailure {
        let option = self.option;
        ContentFailure {
            purpose: self.purpose,
            source: match &self.path {
                Some(path) => ContentSource::File {
                    option,
                    path: path.clone(),
                },
                None => ContentSource::Text { option },
            },
            holds: Some(holds.clone()),
            openssl: None,
            problem,
        }
    }
}

/// Loads the CRLs that the options name into `store` and makes the store use them: those of the CRL files, and those
/// beside the trust anchors in a file, in memory or in a folder. If there is at least one, every server is looked up.
pub(crate) fn load(
    store: &mut X509StoreBuilder,
    options: &TlsOptions,
    files: &mut Files,
) -> Result<Crls> {
    let mut found = Vec::new();
    for path in options.crl_files() {
        let origin = CrlSource::file(FilePurpose::Crl, FilePurpose::Crl.option(), path);
        if !found
            .iter()
            .any(|(known, _): &(CrlSource, _)| known.path == origin.path)
        {
            let crls = read(&origin, path, files)?;
            found.push((origin, crls));
        }
    }
    // If the check is off, CRLs beside the anchors are not needed.
    if options.checks_revocation() {
        beside_anchors(options, files, &mut found)?;
    }
    let mut lists = Vec::new();
    for (origin, crls) in found {
        for crl in crls {
            sort(&crl).map_err(internal)?;
            ffi::store_add_crl(store, &crl).map_err(internal)?;
            let list = Listed::new(&origin, crl, options.crl_max_age());
            if list.next_update().is_none() {
                let (issuer, place) = (&list.scope.issuer, list.place());
                warn!(target: "mongotls::tls", "the CRL of {issuer:?} in {place} has no nextUpdate, so that an old one is not noticed; crl_max_age limits its age");
            }
            lists.push(list);
        }
    }
    let whole_chain = options.check_whole_chain();
    if !lists.is_empty() {
        let mut flags = X509VerifyFlags::CRL_CHECK;
        flags.set(X509VerifyFlags::CRL_CHECK_ALL, whole_chain);
        store.set_flags(flags).map_err(internal)?;
    } else if whole_chain {
        return Err(Error::configuration(vec![
            OptionConflict::WholeChainWithoutCrl,
        ]));
    }
    Ok(Crls {
        lists: Arc::new(lists),
        checks_whole_chain: whole_chain,
    })
}

/// The CRLs among the trust anchors. OpenSSL's own loaders read them too (`X509_load_cert_crl_file`), but use them only
/// if the check is on.
fn beside_anchors(
    options: &TlsOptions,
    files: &mut Files,
    found: &mut Vec<(CrlSource, Vec<X509Crl>)>,
) -> Result<()> {
    let purpose = FilePurpose::TrustAnchors;
    if let Some(path) = options.ca_file() {
        let origin = CrlSource::file(purpose, purpose.option(), path);
        // This may also be the file of tlsCRLFile.
        if !found.iter().any(|(known, _)| known.path == origin.path) {
            let file = files
                .get_mut(path)
                .map_err(|unread| reading::unreadable(purpose, path, unread))?;
            let crls = decode_pem(&origin, &mut file.bytes)?;
            found.push((origin, crls));
        }
    }
    if let Some(text) = options.ca_certificates() {
        let origin = CrlSource {
            option: "ca_certificates_pem",
            path: None,
            purpose,
        };
        let crls = decode_pem(&origin, &mut text.as_bytes().to_vec())?;
        found.push((origin, crls));
    }
    let folder = options.ca_directory().map(hashed_crls).transpose()?;
    for path in folder.into_iter().flatten() {
        let origin = CrlSource::file(purpose, "ca_directory", &path);
        let mut file = files
            .read_also(&path)
            .map_err(|unread| reading::unreadable(purpose, &path, &unread))?;
        let crls = decode_pem(&origin, &mut file.bytes)?;
        found.push((origin, crls));
    }
    Ok(())
}

/// The CRLs of a folder, under names such as `5ed36f99.r0`, as `openssl rehash` makes them.
fn hashed_crls(directory: &Path) -> Result<Vec<PathBuf>> {
    let entries = fork::outside(|| fs::read_dir(directory));
    if let Some(limit) = entries.as_ref().err().and_then(Limit::of) {
        return Err(reading::beyond_limit(limit, "ca_directory", directory));
    }
    // A folder that cannot be read for another reason is rejected as a place of trust anchors.
    let entries = entries.into_iter().flatten().flatten();
    let mut paths: Vec<_> = entries
        .map(|entry| entry.path())
        .filter(|path| path.file_name().is_some_and(locations::is_name_of_crl))
        .collect();
    paths.sort();
    Ok(paths)
}

/// Makes OpenSSL sort the entries now. Otherwise it would do so at the first look-up, in a handshake that may have
/// little time and that all others wait for.
fn sort(crl: &X509Crl) -> Result<(), ErrorStack> {
    let any = BigNum::from_u32(0)?.to_asn1_integer()?;
    let _ = crl.get_by_serial(&any);
    Ok(())
}

/// Reads the CRLs of one file, which must contain at least one: in PEM form, or in DER form one after the other.
fn read(origin: &CrlSource, path: &Path, files: &mut Files) -> Result<Vec<X509Crl>> {
    let file = files
        .get_mut(path)
        .map_err(|unread| reading::unreadable(FilePurpose::Crl, path, unread))?;
    let bytes = &mut file.bytes[..];
    // A DER file that is not a CRL is reported by its contents, not as a damaged CRL.
    let crls = match pem::first_der(bytes).map(X509Crl::from_der) {
        Some(Ok(first)) => {
            // Only an error needs them: it decodes the list again.
            let holds = || files::contents(bytes);
            let crls = decode_der(bytes, Some(first));
            let crls = crls.map_err(|damaged| damaged.into_error(origin, &holds()))?;
            refuse_deltas(origin, holds, &crls)?;
            crls
        }
        _ => decode_pem(origin, bytes)?,
    };
    if crls.is_empty() {
        let holds = files::contents(bytes);
        let failure = origin.invalid(&holds, ContentProblem::NoCrl);
        return Err(Error::configuration(failure));
    }
    Ok(crls)
}

/// A CRL that cannot be decoded.
struct Damaged {
    /// Counted from 1.
    number: usize,
    /// The line on which its block begins, or `None` in DER form.
    line: Option<usize>,
    error: ErrorStack,
}

impl Damaged {
    fn into_error(self, origin: &CrlSource, holds: &FileContents) -> Error {
        let problem = ContentProblem::UndecodableCrl {
            number: self.number,
            line: self.line,
        };
        let failure = ContentFailure {
            openssl: library::reasons(&self.error),
            ..origin.invalid(holds, problem)
        };
        Error::configuration(failure).with_source(self.error)
    }
}

/// Decodes the CRLs in the PEM blocks in place.
fn decode_pem(origin: &CrlSource, bytes: &mut [u8]) -> Result<Vec<X509Crl>> {
    let bodies: Vec<_> = pem::pem_blocks(bytes)
        .filter(PemBlock::is_crl)
        .map(|block| (block.line(bytes), block.body))
        .collect();
    let cut = pem::cut_block(bytes, pem::is_crl_label);
    if bodies.is_empty() && cut.is_none() {
        return Ok(Vec::new());
    }
    let holds = files::contents(bytes);
    if let Some(line) = cut {
        let failure = origin.invalid(&holds, ContentProblem::CrlCutOff { line });
        return Err(Error::configuration(failure));
    }
    let mut crls = Vec::new();
    for (at, (line, body)) in bodies.into_iter().enumerate() {
        let text = &mut bytes[body];
        // Text that is not base64 is not a CRL either, and OpenSSL rejects it.
        let length = pem::decode_in_place(text).unwrap_or(0);
        let decoded = decode_der(&text[..length], None);
        crls.extend(decoded.map_err(|damaged| {
            let damaged = Damaged {
                number: at + 1,
                line: Some(line),
                ..damaged
            };
            damaged.into_error(origin, &holds)
        })?);
    }
    refuse_deltas(origin, || holds, &crls)?;
    Ok(crls)
}

/// Decodes all CRLs in DER form, one after the other; OpenSSL itself would read only the first one, which may be `known`
/// already.
fn decode_der(bytes: &[u8], mut known: Option<X509Crl>) -> Result<Vec<X509Crl>, Damaged> {
    let mut crls = Vec::new();
    let mut rest = bytes;
    loop {
        let first = pem::first_der(rest).unwrap_or(rest);
        let decoded = known.take().map_or_else(|| X509Crl::from_der(first), Ok);
        crls.push(decoded.map_err(|error| Damaged {
            number: crls.len() + 1,
            line: None,
            error,
        })?);
        rest = rest[first.len()..].trim_ascii_start();
        if rest.is_empty() {
            return Ok(crls);
        }
    }
}

/// Rejects delta CRLs. OpenSSL would take one for the full list, and earlier revocations would be ignored.
fn refuse_deltas(
    origin: &CrlSource,
    holds: impl FnOnce() -> FileContents,
    crls: &[X509Crl],
) -> Result<()> {
    if !crls.iter().any(|crl| ffi::is_delta(crl)) {
        return Ok(());
    }
    let failure = origin.invalid(&holds(), ContentProblem::DeltaCrl);
    Err(Error::configuration(failure))
}
