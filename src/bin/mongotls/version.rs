//! The texts that `--version` prints.

use mongotls::tls::Library;
use serde_json::{Value, json};

use crate::json as form;
use crate::output::clean;

/// The text that `--version` prints.
pub(crate) fn text() -> String {
    let features = features();
    let mut text = format!(
        "mongotls {} ({})\nfeatures: {}",
        env!("CARGO_PKG_VERSION"),
        mongotls::tls::openssl_version(),
        features.join(", ")
    );
    for problem in Library::inspect().problems() {
        text.push_str("\nwarning: ");
        text.push_str(&clean(problem));
    }
    text
}

/// The versions and features as JSON.
pub(crate) fn json() -> Value {
    let library = Library::inspect();
    json!({
        "ok": true,
        "version": env!("CARGO_PKG_VERSION"),
        "openssl": mongotls::tls::openssl_version(),
        "features": features(),
        "library": form::library(&library),
        "warnings": library.problems(),
    })
}

/// The cargo features that are built in.
fn features() -> Vec<&'static str> {
    [
        ("bundled-roots", cfg!(feature = "bundled-roots")),
        ("cli", cfg!(feature = "cli")),
        ("cloud", cfg!(feature = "cloud")),
        ("gssapi", cfg!(feature = "gssapi")),
        ("saslprep", cfg!(feature = "saslprep")),
        ("serde", cfg!(feature = "serde")),
        ("snappy", cfg!(feature = "snappy")),
        ("srv", cfg!(feature = "srv")),
        ("vendored", cfg!(feature = "vendored")),
        ("zlib", cfg!(feature = "zlib")),
        ("zstd", cfg!(feature = "zstd")),
    ]
    .into_iter()
    .filter_map(|(name, is_built_in)| is_built_in.then_some(name))
    .collect()
}
