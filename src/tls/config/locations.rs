//! The places where the system may keep its trust anchors, and the names of files in folders of anchors.

use std::env;
use std::ffi::OsStr;
use std::path::PathBuf;

use crate::ffi::openssl as ffi;

/// A file and folders that may contain anchors.
pub(super) struct AnchorLocation {
    pub(super) file: Option<PathBuf>,
    pub(super) directories: Vec<PathBuf>,
}

impl AnchorLocation {
    fn is_named(&self) -> bool {
        self.file.is_some() || !self.directories.is_empty()
    }
}

/// The places where the system may keep its anchors, in the order in which they are tried; the second value is true if
/// the environment names them.
pub(super) fn system_places() -> (Vec<AnchorLocation>, bool) {
    let from_env = AnchorLocation {
        file: path_from_env("SSL_CERT_FILE"),
        directories: directories_from_env("SSL_CERT_DIR"),
    };
    let chosen = from_env.is_named();
    let mut places = vec![from_env];
    if !chosen {
        let (file, directory) = ffi::default_verify_paths();
        places.push(AnchorLocation {
            file: Some(file),
            directories: vec![directory],
        });
        let probed = openssl_probe::probe();
        places.push(AnchorLocation {
            file: probed.cert_file,
            directories: probed.cert_dir,
        });
        places.push(AnchorLocation {
            file: Some(PathBuf::from("/etc/ssl/certs/ca-bundle.crt")),
            directories: Vec::new(),
        });
    }
    (places, chosen)
}

/// All files and folders where the system may keep its anchors, including those that do not exist.
pub(crate) fn system_paths() -> Vec<PathBuf> {
    let (places, _) = system_places();
    let paths = places.into_iter();
    paths
        .flat_map(|place| place.file.into_iter().chain(place.directories))
        .collect()
}

fn path_from_env(name: &str) -> Option<PathBuf> {
    env::var_os(name)
        .filter(|value| !value.is_empty())
        .map(PathBuf::from)
}

/// Parses a list of folders as OpenSSL does, similar to `PATH`.
fn directories_from_env(name: &str) -> Vec<PathBuf> {
    env::var_os(name)
        .map(|value| {
            env::split_paths(&value)
                .filter(|path| !path.as_os_str().is_empty())
                .collect()
        })
        .unwrap_or_default()
}

/// Returns whether OpenSSL looks for a file of this name: `5ed36f99.0` for certificates, `5ed36f99.r0` for CRLs.
pub(crate) fn is_hashed_name(name: &OsStr) -> bool {
    let name = name.to_string_lossy();
    name.split_once('.').is_some_and(|(hash, number)| {
        let number = number.strip_prefix('r').unwrap_or(number);
        hash.len() == 8
            && hash.bytes().all(|b| b.is_ascii_hexdigit())
            && !number.is_empty()
            && number.bytes().all(|b| b.is_ascii_digit())
    })
}

/// Returns whether a name belongs to a CRL in such a folder, such as `5ed36f99.r0`.
pub(crate) fn is_name_of_crl(name: &OsStr) -> bool {
    is_hashed_name(name) && name.to_string_lossy().contains(".r")
}
