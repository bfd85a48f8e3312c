//! Reads which OpenSSL `openssl-sys` found, refuses what this crate cannot work with, and turns the
//! version into `cfg`s for the few calls that need one. Prepares the guides in `docs/` for the API documentation.

use std::path::Path;
use std::{env, fs, io};

/// The first version of the API that this crate needs, OpenSSL 1.1.1, as `0xMNNFFPPS`.
const OLDEST: u64 = 0x1010_1000;

fn main() {
    println!("cargo:rerun-if-changed=build.rs");
    println!("cargo:rustc-check-cfg=cfg(ossl300)");

    let version = env::var("DEP_OPENSSL_VERSION_NUMBER").ok();
    let Some(version) = version.and_then(|hex| u64::from_str_radix(&hex, 16).ok()) else {
        panic!("mongotls needs OpenSSL; LibreSSL, BoringSSL and AWS-LC lack calls that it uses");
    };
    assert!(
        version >= OLDEST,
        "mongotls needs OpenSSL 1.1.1 or later; found version {version:#x}"
    );
    if version >= 0x3000_0000 {
        println!("cargo:rustc-cfg=ossl300");
    }

    let folder = env::var("OUT_DIR").expect("Cargo sets OUT_DIR");
    guides(&Path::new(&folder).join("guide")).expect("the guides in docs/ can be copied");
}

/// The guides that are modules of the API documentation (`src/guide.rs`). A hyphen in a file's name is `_` in its module's.
const GUIDES: [&str; 16] = [
    "authentication",
    "change-streams",
    "command-line",
    "connections",
    "crud",
    "doctor",
    "gridfs",
    "migrating",
    "monitoring",
    "performance",
    "sessions",
    "timeouts",
    "tls",
    "topologies",
    "transactions",
    "troubleshooting",
];

/// Copies the guides, with their links to each other as links to modules.
fn guides(folder: &Path) -> io::Result<()> {
    println!("cargo:rerun-if-changed=docs");
    fs::create_dir_all(folder)?;
    for name in GUIDES {
        let text = fs::read_to_string(format!("docs/{name}.md"))?;
        let file = format!("{}.md", name.replace('-', "_"));
        fs::write(folder.join(file), linked(&text))?;
    }
    Ok(())
}

/// Replaces links to files. What is no guide has no page in the API documentation; only the text of such a link is kept.
fn linked(text: &str) -> String {
    let mut linked = String::with_capacity(text.len());
    let mut rest = text;
    while let Some((before, (target, after))) = rest
        .split_once("](")
        .and_then(|(before, after)| Some((before, after.split_once(')')?)))
    {
        linked.push_str(before);
        rest = after;
        let (file, anchor) = target.split_at(target.find('#').unwrap_or(target.len()));
        let name = file
            .strip_suffix(".md")
            .filter(|name| GUIDES.contains(name));
        match (name, linked.rfind('[')) {
            (Some(name), _) => {
                let module = name.replace('-', "_");
                linked.push_str(&format!("](crate::guide::{module}{anchor})"));
            }
            (None, Some(start)) if !file.is_empty() && !file.contains("://") => {
                linked.remove(start);
            }
            (None, _) => linked.push_str(&format!("]({target})")),
        }
    }
    linked + rest
}
