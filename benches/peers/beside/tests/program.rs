//! The program of `docs/migrating.md` for the official driver, run as its users run it.
//!
//! `tests/it/migrating.rs` runs the ports, and compares the texts of the programs.

use std::process::Command;

use mongotls_testbench::deployment::{Deployment, Topology};
use mongotls_testbench::peers::{Secantus, or_skip};
use mongotls_testbench::server::Version;

#[test]
fn the_program_for_the_official_driver_prints_the_output_of_the_guide() {
    let Some(secantus) = or_skip(Secantus::shared()) else {
        return;
    };
    let deployment = Deployment::start(Topology::ReplicaSet, Version::V8_2, &secantus.backend());
    let output = Command::new(env!("CARGO_BIN_EXE_stock-official"))
        .args([&deployment.uri(""), "warehouse-official"])
        .output()
        .unwrap();
    let errors = String::from_utf8_lossy(&output.stderr);
    assert_eq!(errors, "");
    let printed = String::from_utf8_lossy(&output.stdout);
    assert_eq!(
        printed,
        include_str!("../../../../docs/migrating/output.txt")
    );
}
