//! Reads which OpenSSL `openssl-sys` found, refuses what this crate cannot work with, and turns the
//! version into `cfg`s for the few calls that need one.

use std::env;

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
}
