//! Certificate revocation lists given by the user (RFC 5280 §5): in the files of `tlsCRLFile`, and beside the trust anchors
//! that the options name, in a file, in memory or in a folder.
//!
//! The server's certificate is looked up, as in PyMongo, or the whole chain if the program asks for it.
//! For each certificate that is looked up its issuer's CRL must be there, be signed by the issuer and be
//! in force.
//!
//! The lists are loaded and sorted once for a context, and OpenSSL finds a serial number in them by binary
//! search. But it verifies the signature of the whole list in each full handshake, which a list of a
//! million entries makes felt (`docs/performance.md`); a resumed handshake looks into no CRL.

use std::fs;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::{Duration, SystemTime};

use openssl::asn1::Asn1Integer;
use openssl::bn::BigNum;
use openssl::error::ErrorStack;
use openssl::nid::Nid;
use openssl::stack::StackRef;
use openssl::x509::store::X509StoreBuilder;
use openssl::x509::verify::X509VerifyFlags;
use openssl::x509::{CrlNumber, CrlStatus, X509, X509Crl, X509NameRef, X509Ref};

use crate::cause::{Cause, CauseCode};
use crate::error::{Error, Result};
use crate::ffi::fork;
use crate::ffi::openssl as ffi;
use crate::ffi::openssl::instant;
use crate::limit::Limit;
use crate::logging::warn;
use crate::options::{TlsOptions, option_conflict};
use crate::printable::Quoted;
use crate::time::rfc3339;
use crate::tls::config::files::{self, Purpose};
use crate::tls::config::reading::Files;
use crate::tls::config::trust;
use crate::tls::inspect::FileForm;
use crate::tls::internal;

/// The CRLs that a context uses.
#[derive(Clone, Default)]
pub(crate) struct Crls {
    lists: Arc<Vec<Listed>>,
    checks_whole_chain: bool,
}

/// One CRL, and what is told of it.
pub(crate) struct Listed {
    /// The option that names the place.
    pub(crate) option: &'static str,
    pub(crate) path: String,
    pub(crate) crl: X509Crl,
    scope: Scope,
    number: Option<BigNum>,
    /// The end of its term: its `nextUpdate`, or what `crl_max_age` makes of one without.
    ends: Option<SystemTime>,
}

/// The scope of a CRL. A newer CRL replaces an older one with the same scope, and their numbers increase (RFC 5280
/// §5.2.3).
#[derive(PartialEq, Eq)]
struct Scope {
    issuer: String,
    /// The authority key identifier: a CA with a new key starts a new count.
    key: Option<Vec<u8>>,
    /// The issuing distribution point.
    part: Option<Vec<u8>>,
}

impl Listed {
    fn new(origin: &Origin, crl: X509Crl, max_age: Option<Duration>) -> Self {
        let number = crl.extension::<CrlNumber>().ok().flatten();
        Self {
            option: origin.option,
            path: origin.path.clone().unwrap_or_default(),
            scope: Scope {
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

    /// Those of one issuer, by its name.
    pub(crate) fn of(&self, issuer: &str) -> impl Iterator<Item = &Listed> {
        self.all().filter(move |list| list.scope.issuer == issuer)
    }

    /// Whose they are, none twice.
    pub(crate) fn issuers(&self) -> Vec<String> {
        let mut issuers: Vec<String> = Vec::new();
        for list in self.all() {
            if !issuers.contains(&list.scope.issuer) {
                issuers.push(list.scope.issuer.clone());
            }
        }
        issuers
    }

    /// Returns whether a CRL that bears the name of its issuer lists a certificate, regardless of who signed that CRL.
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

    /// Returns how many certificates of a chain are looked up: not the trust anchor.
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

/// The answer to whether a CA was a trust anchor and no longer is one.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Withdrawn {
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
                "the files of tlsCRLFile no longer hold a CRL of {issuer}, and would replace one {in_force}",
                issuer = Quoted(&issuer)
            ),
        ),
        Some(list) if now < list.this_update() => (
            CauseCode::CrlNotYetValid,
            format!(
                "the CRL of {issuer} in {} is valid only from {} on, and would replace one {in_force}",
                Quoted(&list.path),
                rfc3339(list.this_update()),
                issuer = Quoted(&issuer)
            ),
        ),
        Some(list) => (
            CauseCode::CrlExpired,
            format!(
                "the CRL of {issuer} in {} is past its nextUpdate ({}), and would replace one {in_force}",
                Quoted(&list.path),
                list.next_update().map(rfc3339).unwrap_or_default(),
                issuer = Quoted(&issuer)
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
        "the CRL of {issuer} in {} has the number {} (thisUpdate {}), and would replace number {} (thisUpdate {}), {}",
        Quoted(&new.path),
        number(new),
        rfc3339(new.this_update()),
        number(old),
        rfc3339(old.this_update()),
        in_force_until(old),
        issuer = Quoted(&issuer)
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

/// The source of CRLs.
struct Origin {
    /// The option that names the place.
    option: &'static str,
    /// The file, or `None` for text in memory.
    path: Option<String>,
    purpose: Purpose,
}

impl Origin {
    fn file(purpose: Purpose, option: &'static str, path: &Path) -> Self {
        Self {
            option,
            path: Some(path.display().to_string()),
            purpose,
        }
    }

    fn invalid(&self, holds: &str, why: &str, remedy: &str) -> Cause {
        let what = match &self.path {
            Some(path) => format!("{} {path}", self.option, path = Quoted(&path)),
            None => format!("the text of {}", self.option),
        };
        Cause::new(self.purpose.invalid(), format!("{what} {why}"), remedy)
            .fact("option", self.option)
            .fact_opt("path", self.path.as_deref())
            .fact("holds", holds)
    }
}

/// Loads the CRLs that the options name into `store` and lets it use them: those of the CRL files, and those that stand beside
/// the trust anchors in a file, in memory or in a folder. If there is one, every server is looked up.
pub(crate) fn load(
    store: &mut X509StoreBuilder,
    options: &TlsOptions,
    files: &mut Files,
) -> Result<Crls> {
    let mut found = Vec::new();
    for path in options.crl_files() {
        let origin = Origin::file(Purpose::Crl, Purpose::Crl.option(), path);
        if !found
            .iter()
            .any(|(known, _): &(Origin, _)| known.path == origin.path)
        {
            let crls = read(&origin, path, files)?;
            found.push((origin, crls));
        }
    }
    // If the check is switched off, CRLs beside the anchors are not needed.
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
        let conflict = "check_whole_chain needs a CRL".to_owned();
        return Err(Error::configuration(option_conflict(&[conflict])));
    }
    Ok(Crls {
        lists: Arc::new(lists),
        checks_whole_chain: whole_chain,
    })
}

/// The CRLs among the trust anchors. OpenSSL's own loaders read them too (`X509_load_cert_crl_file`), but use
/// them only if the check is switched on.
fn beside_anchors(
    options: &TlsOptions,
    files: &mut Files,
    found: &mut Vec<(Origin, Vec<X509Crl>)>,
) -> Result<()> {
    let purpose = Purpose::TrustAnchors;
    if let Some(path) = options.ca_file() {
        let origin = Origin::file(purpose, purpose.option(), path);
        // The file may be that of tlsCRLFile as well.
        if !found.iter().any(|(known, _)| known.path == origin.path) {
            let file = files
                .get_mut(path)
                .map_err(|unread| files::unreadable(purpose, path, unread))?;
            let crls = decode_pem(&origin, &mut file.bytes)?;
            found.push((origin, crls));
        }
    }
    if let Some(text) = options.ca_certificates() {
        let origin = Origin {
            option: "ca_certificates_pem",
            path: None,
            purpose,
        };
        let crls = decode_pem(&origin, &mut text.as_bytes().to_vec())?;
        found.push((origin, crls));
    }
    let folder = options.ca_directory().map(hashed_crls).transpose()?;
    for path in folder.into_iter().flatten() {
        let origin = Origin::file(purpose, "ca_directory", &path);
        let mut file = files
            .further(&path)
            .map_err(|unread| files::unreadable(purpose, &path, &unread))?;
        let crls = decode_pem(&origin, &mut file.bytes)?;
        found.push((origin, crls));
    }
    Ok(())
}

/// The CRLs of a folder, under names such as `5ed36f99.r0`, as `openssl rehash` makes them.
fn hashed_crls(directory: &Path) -> Result<Vec<PathBuf>> {
    let entries = fork::outside(|| fs::read_dir(directory));
    if let Some(limit) = entries.as_ref().err().and_then(Limit::of) {
        return Err(files::beyond_limit(limit, "ca_directory", directory));
    }
    // A folder that cannot be read for another reason is refused as a place of trust anchors.
    let entries = entries.into_iter().flatten().flatten();
    let mut paths: Vec<_> = entries
        .map(|entry| entry.path())
        .filter(|path| path.file_name().is_some_and(trust::is_name_of_crl))
        .collect();
    paths.sort();
    Ok(paths)
}

/// Lets OpenSSL sort the entries now. It would do so at the first look-up, in a handshake that may have
/// little time and that all others wait for.
fn sort(crl: &X509Crl) -> Result<(), ErrorStack> {
    let any = BigNum::from_u32(0)?.to_asn1_integer()?;
    let _ = crl.get_by_serial(&any);
    Ok(())
}

/// The CRLs of one file, of which there must be one: in PEM form, or in DER form one after the other.
fn read(origin: &Origin, path: &Path, files: &mut Files) -> Result<Vec<X509Crl>> {
    let file = files
        .get_mut(path)
        .map_err(|unread| files::unreadable(Purpose::Crl, path, unread))?;
    let bytes = &mut file.bytes[..];
    // A DER file that is no CRL is told by what it is, not as a damaged one.
    let crls = match files::first_der(bytes).map(X509Crl::from_der) {
        Some(Ok(_)) => {
            let holds = files::describe(bytes);
            let crls = decode_der(bytes).map_err(|damaged| damaged.explain(origin, &holds))?;
            refuse_deltas(origin, &holds, &crls)?;
            crls
        }
        _ => decode_pem(origin, bytes)?,
    };
    if crls.is_empty() {
        let holds = files::describe(bytes);
        let why = format!("holds no CRL: it holds {holds}");
        let remedy = match files::form(bytes) {
            FileForm::Pkcs7 => files::PKCS7_REMEDY,
            _ => {
                "Give the file with the CRL of the CA that signed the server's certificate, in PEM or DER form."
            }
        };
        return Err(Error::configuration(origin.invalid(&holds, &why, remedy)));
    }
    Ok(crls)
}

/// A CRL that cannot be decoded, and which.
struct Damaged {
    /// Counted from 1.
    number: usize,
    /// The line on which its block begins, or `None` in DER form.
    line: Option<usize>,
    error: ErrorStack,
}

impl Damaged {
    fn explain(self, origin: &Origin, holds: &str) -> Error {
        let line = self
            .line
            .map(|line| format!(", whose block begins on line {line}"));
        let why = format!(
            "holds a CRL that cannot be decoded: number {}{}",
            self.number,
            line.unwrap_or_default()
        );
        let cause = origin.invalid(holds, &why, WHOLE);
        let cause = cause.fact_opt("openssl", files::reasons(&self.error));
        Error::configuration(cause).with_source(self.error)
    }
}

/// The CRLs in the PEM blocks, which are decoded in their own place.
fn decode_pem(origin: &Origin, bytes: &mut [u8]) -> Result<Vec<X509Crl>> {
    let bodies: Vec<_> = files::pem_blocks(bytes)
        .filter(files::PemBlock::is_crl)
        .map(|block| (block.line(bytes), block.body))
        .collect();
    let cut = files::cut_block(bytes, files::is_crl_label);
    if bodies.is_empty() && cut.is_none() {
        return Ok(Vec::new());
    }
    let holds = files::describe(bytes);
    if let Some(line) = cut {
        let why = format!("holds a CRL that is cut off: its block begins on line {line}");
        return Err(Error::configuration(origin.invalid(&holds, &why, WHOLE)));
    }
    let mut crls = Vec::new();
    for (at, (line, body)) in bodies.into_iter().enumerate() {
        let text = &mut bytes[body];
        // What is not base64 is no CRL either, and OpenSSL says so.
        let length = files::decode_in_place(text).unwrap_or(0);
        let decoded = decode_der(&text[..length]);
        crls.extend(decoded.map_err(|damaged| {
            let damaged = Damaged {
                number: at + 1,
                line: Some(line),
                ..damaged
            };
            damaged.explain(origin, &holds)
        })?);
    }
    refuse_deltas(origin, &holds, &crls)?;
    Ok(crls)
}

const WHOLE: &str = "Replace the damaged part; a file holds whole CRLs, in PEM form or in DER form one after the other.";

/// All CRLs in DER form, one after the other; OpenSSL itself would read the first alone.
fn decode_der(bytes: &[u8]) -> Result<Vec<X509Crl>, Damaged> {
    let mut crls = Vec::new();
    let mut rest = bytes;
    loop {
        let first = files::first_der(rest).unwrap_or(rest);
        crls.push(X509Crl::from_der(first).map_err(|error| Damaged {
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

/// Refuses delta CRLs. OpenSSL would take one for the full list: what was revoked before would pass.
fn refuse_deltas(origin: &Origin, holds: &str, crls: &[X509Crl]) -> Result<()> {
    if !crls.iter().any(|crl| ffi::is_delta(crl)) {
        return Ok(());
    }
    let why = "holds a delta CRL, which lists only what has changed since the full one";
    let remedy = "Give the CA's full CRL, and leave out the deltas to it.";
    Err(Error::configuration(origin.invalid(holds, why, remedy)))
}
