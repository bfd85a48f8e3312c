//! The selection of trust anchors.
//!
//! The anchors that the options name (a CA file, a folder, certificates in memory) replace the system's. If the options
//! name none, the following places are tried: those that the administrator sets (`SSL_CERT_FILE`, `SSL_CERT_DIR`),
//! those that this OpenSSL was built with, those of known distributions (`openssl-probe`), and last the roots built in
//! with the feature `bundled-roots`. Only the first place that has anchors is used. If the environment names a place
//! without anchors, that is an error: the administrator's choice is never replaced by a wider one.
//!
//! The certificates of a file of the system, and the bundled roots, are decoded when a chain needs them
//! ([`AnchorIndex`]), because there are many. Those that the options name are decoded at once, so that a damaged one is
//! an error of the configuration.
//!
//! A folder of hashed names is searched during a handshake, when OpenSSL needs an issuer: for each name only the files
//! with its hash are read. OpenSSL's own lookup is not used, because it would wait for a pipe and read a file of any
//! size. A file is parsed once in a process, and again after a change.

use std::cell::RefCell;
use std::cmp::Ordering;
use std::collections::HashMap;
use std::fs;
use std::io;
use std::path::{Path, PathBuf};
use std::sync::{Arc, OnceLock};
use std::time::SystemTime;

use openssl::error::ErrorStack;
use openssl::x509::store::X509StoreBuilder;
use openssl::x509::verify::X509VerifyFlags;
use openssl::x509::{X509, X509NameRef};

use crate::data::certificate::{AnchorFile, TrustAnchors};
use crate::error::{Error, Result};
use crate::ffi::fork;
use crate::ffi::openssl as ffi;
use crate::ffi::openssl::instant;
use crate::limit::Limit;
use crate::options::TlsOptions;
use crate::reason::files::{
    CaFolderProblem, ContentFailure, ContentProblem, ContentSource, FileFailure, FilePurpose,
    PlaceProblem, ReadProblem, SearchedPlace,
};
use crate::store_uri::shown_path;
use crate::sync::Mutex;
use crate::tls::Certificate;
use crate::tls::config::anchor_index::AnchorIndex;
use crate::tls::config::files::{self, CertificatesError};
use crate::tls::config::locations::{
    AnchorLocation, is_hashed_name, is_name_of_crl, system_places,
};
use crate::tls::config::pem;
use crate::tls::config::reading::{self, Files};
use crate::tls::config::snapshot::Stamp;
use crate::tls::library::{self, internal};

/// A store with trust anchors, and its description.
pub(crate) struct AnchorStore {
    pub(crate) builder: X509StoreBuilder,
    pub(crate) anchors: TrustAnchors,
    pub(crate) roots: Roots,
}

/// The trust anchors themselves.
#[derive(Clone, Default)]
pub(crate) struct Roots {
    certificates: Vec<X509>,
    /// The files whose certificates are decoded when OpenSSL needs them.
    indexes: Vec<Arc<AnchorIndex>>,
    /// The folders in which more are looked up when OpenSSL needs one.
    folders: Vec<PathBuf>,
}

impl Roots {
    /// Reads the folders now, so that later changes in them have no effect.
    pub(crate) fn read_folders(&mut self) {
        let read = self.in_folders();
        self.certificates.extend(read);
        self.folders.clear();
    }

    /// All anchors. Those in folders are read now.
    fn all(&self) -> Vec<X509> {
        let mut all = self.certificates.clone();
        all.extend(self.indexes.iter().flat_map(|index| index.all()).cloned());
        all.extend(self.in_folders());
        all
    }

    /// The anchors in folders, which are read now. Unreadable files are left out, as OpenSSL does.
    fn in_folders(&self) -> Vec<X509> {
        let folders = self.folders.iter();
        let found: Vec<_> = fork::outside(|| {
            let entries = folders.filter_map(|folder| fs::read_dir(folder).ok());
            let files = entries.flat_map(Iterator::flatten).filter(|entry| {
                let name = entry.file_name();
                is_hashed_name(&name) && !is_name_of_crl(&name)
            });
            files.map(|file| file.path()).collect()
        });
        let read = found.iter().filter_map(|path| {
            let file = reading::reread(path).ok()?;
            pem::certificates(&file.bytes).ok()
        });
        let read = read.flatten();
        read.filter(|one| !ffi::rejects_servers(one)).collect()
    }

    /// Returns whether one of the anchors has this name.
    pub(crate) fn contain_name(&self, name: &X509NameRef) -> bool {
        let is_named = |certificate: &X509| {
            let subject = certificate.subject_name();
            subject.try_cmp(name).is_ok_and(Ordering::is_eq)
        };
        self.certificates.iter().any(is_named)
            || self.indexes.iter().any(|index| index.contains_name(name))
            || self.in_folders().iter().any(is_named)
    }

    /// Returns whether one of the anchors is no longer among `others`.
    pub(crate) fn contain_more_than(&self, others: &Self) -> bool {
        let others = others.all();
        let mut all = self.all().into_iter();
        all.any(|certificate| !others.contains(&certificate))
    }

    /// Checks that one of the anchors, which `anchors` describes, is within its dates at `now`.
    ///
    /// # Errors
    /// [`ErrorKind::Configuration`](crate::ErrorKind::Configuration) with the anchor that was or will be valid, if no
    /// anchor is valid.
    pub(crate) fn check_dates(&self, anchors: &TrustAnchors, now: SystemTime) -> Result<()> {
        let all = self.all();
        let dates = |certificate: &X509| {
            let (from, until) = (certificate.not_before(), certificate.not_after());
            (instant(from), instant(until))
        };
        let is_in_force = |certificate: &X509| {
            let (from, until) = dates(certificate);
            (from..=until).contains(&now)
        };
        if all.iter().any(is_in_force) {
            return Ok(());
        }
        let next = all.iter().filter(|certificate| now < dates(certificate).0);
        let next = next.min_by_key(|certificate| dates(certificate).0);
        let last = all.iter().max_by_key(|certificate| dates(certificate).1);
        let Some(certificate) = next.or(last) else {
            return Err(Error::configuration(FileFailure::AnchorsGone {
                anchors: anchors.clone(),
                limit: Limit::of_descriptors().map(Limit::reached),
            }));
        };
        let (not_before, not_after) = dates(certificate);
        Err(Error::configuration(FileFailure::AnchorsNotInForce {
            anchors: anchors.clone(),
            name: Certificate::of(certificate).short_name().to_owned(),
            not_before,
            not_after,
            is_early: next.is_some(),
            checked_at: now,
        }))
    }
}

/// A store with the anchors that the options name, or with the system's.
pub(crate) fn store(options: &TlsOptions, files: &Files) -> Result<AnchorStore> {
    let mut store = AnchorStore {
        builder: X509StoreBuilder::new().map_err(internal)?,
        anchors: TrustAnchors::NotUsed,
        roots: Roots::default(),
    };
    // An intermediate CA among the anchors ends the path, as in Go and in Python 3.13.
    store
        .builder
        .set_flags(X509VerifyFlags::PARTIAL_CHAIN)
        .map_err(internal)?;
    store.anchors = match options.names_anchors() {
        true => configured_anchors(&mut store, options, files)?,
        false => system_anchors(&mut store, files)?,
    };
    let Roots {
        indexes, folders, ..
    } = store.roots.clone();
    if !indexes.is_empty() || !folders.is_empty() {
        let find = move |name: &X509NameRef| look_up(&indexes, &folders, name);
        ffi::store_find_by(&mut store.builder, Box::new(find)).map_err(internal)?;
    }
    Ok(store)
}

impl AnchorStore {
    /// Adds certificates. Of equal ones the store keeps the first; one that rejects servers has priority.
    fn add_all(&mut self, certificates: Vec<X509>) -> Result<(), ErrorStack> {
        let (rejecting, others): (Vec<_>, Vec<_>) = certificates
            .into_iter()
            .partition(|certificate| ffi::rejects_servers(certificate));
        for certificate in &rejecting {
            self.builder.add_cert(certificate.clone())?;
        }
        for certificate in others {
            self.builder.add_cert(certificate.clone())?;
            if !rejecting.contains(&certificate) {
                self.roots.certificates.push(certificate);
            }
        }
        Ok(())
    }
}

/// A problem of a folder during a look-up.
#[derive(Default)]
pub(crate) struct FolderError {
    /// The limit of this host for which a file was not read.
    pub(crate) limit: Option<Limit>,
    /// A file that was not used, and the reason.
    pub(crate) unused: Option<UnusedFile>,
}

/// A file of a folder that was not used.
pub(crate) struct UnusedFile {
    pub(crate) path: PathBuf,
    /// The reason why it was not read, or `None` if it contains no certificate in PEM form.
    pub(crate) problem: Option<ReadProblem>,
}

thread_local! {
    static FOLDER_ERROR: RefCell<FolderError> = RefCell::default();
}

/// Returns the problems of look-ups on this thread since the last call.
pub(crate) fn take_folder_error() -> FolderError {
    FOLDER_ERROR.take()
}

/// The certificates for a name in the first file or folder that has some. It runs in a callback of OpenSSL, in a
/// handshake, so it never waits and reads little.
fn look_up(indexes: &[Arc<AnchorIndex>], folders: &[PathBuf], name: &X509NameRef) -> Vec<X509> {
    for index in indexes {
        let found = index.find(name);
        if !found.is_empty() {
            return found;
        }
    }
    if folders.is_empty() {
        return Vec::new();
    }
    let Some(hash) = hash(name) else {
        return Vec::new();
    };
    let found = folders.iter().map(|folder| look_up_in(folder, hash));
    found
        .into_iter()
        .find(|found| !found.is_empty())
        .unwrap_or_default()
}

/// The certificates of one folder in `HASH.0`, `HASH.1` and so on. An unusable file does not hide the next one.
fn look_up_in(folder: &Path, hash: u32) -> Vec<X509> {
    let mut found = Vec::new();
    let mut remaining = LARGEST_LOOK_UP;
    for number in 0..MOST_OF_A_HASH {
        let path = folder.join(format!("{hash:08x}.{number}"));
        if fork::outside(|| fs::metadata(&path)).is_err() {
            break;
        }
        let (limit, problem) = match reading::read_for_handshake(&path, remaining) {
            Ok(file) => {
                remaining = remaining.saturating_sub(file.bytes.len());
                match pem::certificates(&file.bytes) {
                    Ok(certificates) if !certificates.is_empty() => {
                        found.extend(certificates);
                        continue;
                    }
                    _ => (None, None),
                }
            }
            Err(unread) => (
                unread.source().as_ref().and_then(Limit::of),
                Some(unread.problem),
            ),
        };
        FOLDER_ERROR.with_borrow_mut(|error| {
            error.limit = error.limit.or(limit);
            error.unused.get_or_insert(UnusedFile { path, problem });
        });
    }
    found
}

/// The hash of a name that OpenSSL uses for the names of files.
fn hash(name: &X509NameRef) -> Option<u32> {
    // The `openssl` crate has no call that hashes only a name.
    let mut certificate = X509::builder().ok()?;
    certificate.set_subject_name(name).ok()?;
    Some(certificate.build().subject_name_hash())
}

/// The size limit for all files of one look-up: 1 MiB. A certificate has a few thousand bytes.
const LARGEST_LOOK_UP: usize = 1 << 20;

/// The maximum number of files with one hash that are read.
const MOST_OF_A_HASH: usize = 256;

fn configured_anchors(
    store: &mut AnchorStore,
    options: &TlsOptions,
    files: &Files,
) -> Result<TrustAnchors> {
    let mut file = None;
    if let Some(path) = options.ca_file() {
        let bytes = reading::bytes(FilePurpose::TrustAnchors, path, files)?;
        let source = ContentSource::File {
            option: FilePurpose::TrustAnchors.option(),
            path: path.display().to_string(),
        };
        file = Some(AnchorFile {
            path: path.to_owned(),
            count: add_pem(store, bytes, source)?,
        });
    }
    let mut in_memory = 0;
    if let Some(text) = options.ca_certificates() {
        let source = ContentSource::Text {
            option: "ca_certificates_pem",
        };
        in_memory = add_pem(store, text.as_bytes(), source)?;
    }
    if let Some(path) = options.ca_directory() {
        add_directory(store, path)?;
    }
    Ok(TrustAnchors::Configured {
        file,
        directory: options.ca_directory().map(Path::to_owned),
        in_memory,
    })
}

/// Adds all certificates in PEM form and returns their number. There must be at least one.
fn add_pem(store: &mut AnchorStore, bytes: &[u8], source: ContentSource) -> Result<usize> {
    let invalid = |problem, error: Option<&ErrorStack>| {
        Error::configuration(ContentFailure {
            purpose: FilePurpose::TrustAnchors,
            source,
            holds: Some(files::contents(bytes)),
            openssl: error.and_then(library::reasons),
            problem,
        })
    };
    let certificates = match files::whole_certificates(bytes) {
        Ok(certificates) => certificates,
        Err(CertificatesError { problem, error }) => {
            let invalid = invalid(ContentProblem::Certificates(problem), error.as_ref());
            return Err(match error {
                Some(error) => invalid.with_source(error),
                None => invalid,
            });
        }
    };
    let count = anchors_among(&certificates);
    if count == 0 {
        return Err(invalid(ContentProblem::NoAnchor, None));
    }
    store.add_all(certificates).map_err(internal)?;
    Ok(count)
}

/// Returns the number of certificates that are trust anchors for servers.
fn anchors_among(certificates: &[X509]) -> usize {
    let rejecting = certificates.iter().filter(|one| ffi::rejects_servers(one));
    certificates.len() - rejecting.count()
}

/// Makes the store look up issuers in a folder, which must exist and have hashed names.
fn add_directory(store: &mut AnchorStore, path: &Path) -> Result<()> {
    let faulty = |problem| {
        Error::configuration(FileFailure::CaFolder {
            path: shown_path(path),
            problem,
        })
    };
    match has_hashed_names(path) {
        Ok(true) => {}
        Ok(false) => return Err(faulty(CaFolderProblem::NoHashedNames)),
        Err(error) => {
            if let Some(limit) = Limit::of(&error) {
                return Err(reading::beyond_limit(limit, "ca_directory", path).with_source(error));
            }
            return Err(faulty(CaFolderProblem::Unreadable(error.to_string())).with_source(error));
        }
    }
    store.roots.folders.push(path.to_owned());
    Ok(())
}

fn system_anchors(store: &mut AnchorStore, files: &Files) -> Result<TrustAnchors> {
    let mut searched = Vec::new();
    let (places, chosen) = system_places();
    for place in places {
        if let Some(anchors) = place.load(store, files, &mut searched)? {
            return Ok(anchors);
        }
    }
    #[cfg(feature = "bundled-roots")]
    if let (false, Some(anchors)) = (chosen, bundled_anchors(store)) {
        return Ok(anchors);
    }
    Err(Error::configuration(FileFailure::NoTrustAnchors {
        is_chosen: chosen,
        searched,
    }))
}

impl AnchorLocation {
    /// Adds the anchors of the place to the store; returns `None` if there are none.
    fn load(
        self,
        store: &mut AnchorStore,
        files: &Files,
        searched: &mut Vec<SearchedPlace>,
    ) -> Result<Option<TrustAnchors>> {
        let mut without_anchors = |path: &Path, unusable: Unusable| match unusable {
            Unusable::Limited(limit) => {
                let failure = FileFailure::SystemAnchorsLimited(limit.reached());
                Err(Error::configuration(failure))
            }
            Unusable::WithoutAnchors(problem) => {
                let path = path.display().to_string();
                searched.push(SearchedPlace { path, problem });
                Ok(())
            }
        };
        let mut found_file = None;
        if let Some(path) = self.file {
            match known_or_read(&path, files) {
                Ok(SystemFile::Indexed(index)) => {
                    found_file = Some(AnchorFile {
                        path,
                        count: index.len(),
                    });
                    store.roots.indexes.push(index);
                }
                Ok(SystemFile::Decoded(certificates)) => {
                    found_file = Some(AnchorFile {
                        path,
                        count: anchors_among(&certificates),
                    });
                    store.add_all(certificates).map_err(internal)?;
                }
                Err(unusable) => without_anchors(&path, unusable)?,
            }
        }
        let mut found_directory = None;
        for path in self.directories {
            if let Err(unusable) = check_directory(&path) {
                without_anchors(&path, unusable)?;
                continue;
            }
            store.roots.folders.push(path.clone());
            found_directory.get_or_insert(path);
        }
        if found_file.is_none() && found_directory.is_none() {
            return Ok(None);
        }
        Ok(Some(TrustAnchors::System {
            file: found_file,
            directory: found_directory,
        }))
    }
}

/// Returns whether a folder has an entry such as `5ed36f99.0`, as `openssl rehash` makes them.
fn has_hashed_names(directory: &Path) -> io::Result<bool> {
    fork::outside(|| {
        let has_name = fs::read_dir(directory)?.flatten().any(|entry| {
            let name = entry.file_name();
            is_hashed_name(&name) && !is_name_of_crl(&name)
        });
        Ok(has_name)
    })
}

/// The reason why a place of the system has no usable anchors.
enum Unusable {
    /// A limit of this host: other anchors must not replace these.
    Limited(Limit),
    WithoutAnchors(PlaceProblem),
}

impl From<PlaceProblem> for Unusable {
    fn from(problem: PlaceProblem) -> Self {
        Self::WithoutAnchors(problem)
    }
}

/// Checks that a folder has anchors.
fn check_directory(path: &Path) -> Result<(), Unusable> {
    let unreadable = |error: io::Error| match (Limit::of(&error), error.kind()) {
        (Some(limit), _) => Unusable::Limited(limit),
        (_, io::ErrorKind::NotFound) => PlaceProblem::FolderNotFound.into(),
        (_, io::ErrorKind::PermissionDenied) => PlaceProblem::FolderDenied.into(),
        (_, io::ErrorKind::NotADirectory) => PlaceProblem::NotFolder.into(),
        _ => PlaceProblem::FolderUnreadable(error.to_string()).into(),
    };
    if has_hashed_names(path).map_err(unreadable)? {
        return Ok(());
    }
    let mut entries = fork::outside(|| fs::read_dir(path)).map_err(unreadable)?;
    Err(match entries.next() {
        None => PlaceProblem::FolderEmpty.into(),
        Some(_) => PlaceProblem::NoHashedNames.into(),
    })
}

/// The certificates of a file of the system.
#[derive(Clone)]
enum SystemFile {
    Indexed(Arc<AnchorIndex>),
    /// The file has certificates with trust settings.
    Decoded(Vec<X509>),
}

/// The certificates of a file of the system, from memory while the file has not changed; or the reason why there are
/// none.
fn known_or_read(path: &Path, files: &Files) -> Result<SystemFile, Unusable> {
    type Known = HashMap<PathBuf, (Stamp, SystemFile)>;
    static KNOWN: OnceLock<Mutex<Known>> = OnceLock::new();
    let stamp = fs::metadata(path).ok().as_ref().map(Stamp::of);
    let known = || KNOWN.get_or_init(Mutex::default).lock();
    if let Some((_, file)) = known().get(path).filter(|(at, _)| Some(*at) == stamp) {
        return Ok(file.clone());
    }
    // The file is read with the lock released: two threads may both read it, with equal results.
    let file = files.read_also(path).map_err(|unread| {
        let limit = unread.source().as_ref().and_then(Limit::of);
        limit.map_or_else(
            || PlaceProblem::Unread(unread.problem).into(),
            Unusable::Limited,
        )
    })?;
    let read = match AnchorIndex::of_pem(&file.bytes) {
        Some(index) => SystemFile::Indexed(Arc::new(index)),
        None => {
            let certificates = files::whole_certificates(&file.bytes)
                .map_err(|error| PlaceProblem::Certificates(error.problem))?;
            if anchors_among(&certificates) == 0 {
                return Err(PlaceProblem::NoAnchor.into());
            }
            SystemFile::Decoded(certificates)
        }
    };
    if let Some(stamp) = stamp {
        known().insert(path.to_owned(), (stamp, read.clone()));
    }
    Ok(read)
}

#[cfg(feature = "bundled-roots")]
fn bundled_anchors(store: &mut AnchorStore) -> Option<TrustAnchors> {
    static BUNDLED: OnceLock<Option<Arc<AnchorIndex>>> = OnceLock::new();
    let text = include_bytes!("../../../vendor-certs/mozilla-roots.pem");
    let index = BUNDLED.get_or_init(|| AnchorIndex::of_pem(text).map(Arc::new));
    let index = index.as_ref()?;
    store.roots.indexes.push(Arc::clone(index));
    Some(TrustAnchors::Bundled { count: index.len() })
}
