//! The programs of `docs/migrating.md`: the versions of one program for several drivers print the same output, and the port
//! from the official crate changes few lines.
//!
//! The version for the official crate runs in `benches/peers/beside`, because the tests here do not depend on that crate.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Command, Output};

use mongotls_testbench::deployment::{Deployment, Topology};
use mongotls_testbench::peers::{Secantus, or_skip};
use mongotls_testbench::server::Version;

use crate::examples::Example;
use crate::matrix::skipped;

const GUIDE: &str = include_str!("../../docs/migrating.md");
const OFFICIAL: &str = include_str!("../../docs/migrating/stock_official.rs");
const PORT: &str = include_str!("../../docs/migrating/stock_mongotls.rs");
const PYMONGO: &str = include_str!("../../docs/migrating/stock_pymongo.py");
const LIBMONGOC: &str = include_str!("../../docs/migrating/stock_libmongoc.c");
const OUTPUT: &str = include_str!("../../docs/migrating/output.txt");

/// A store for the programs.
fn deployment() -> Option<Deployment> {
    let backend = or_skip(Secantus::shared())?.backend();
    let deployment = Deployment::start(Topology::ReplicaSet, Version::V8_2, &backend);
    Some(deployment)
}

/// Fails unless a program has printed the output of the guide, and nothing else.
fn expect_output(output: &Output) {
    let errors = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "{errors}");
    assert_eq!(String::from_utf8_lossy(&output.stdout), OUTPUT);
    assert_eq!(errors, "");
}

fn source(name: &str) -> PathBuf {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("docs/migrating");
    folder.join(name)
}

/// The lines of a program, without those of `use` and empty ones.
fn lines(program: &str) -> Vec<&str> {
    let mut is_use = false;
    let others = program.lines().map(str::trim_end).filter(|line| {
        is_use |= line.starts_with("use ");
        let counts = !is_use && !line.is_empty();
        is_use &= !line.ends_with(';');
        counts
    });
    others.collect()
}

/// The length of the longest list of lines that both have, in this order.
fn common(one: &[&str], other: &[&str]) -> usize {
    let mut row = vec![0; other.len() + 1];
    for line in one {
        let mut diagonal = 0;
        for (column, candidate) in other.iter().enumerate() {
            let above = row[column + 1];
            row[column + 1] = match line == candidate {
                true => diagonal + 1,
                false => above.max(row[column]),
            };
            diagonal = above;
        }
    }
    row[other.len()]
}

#[test]
fn common_lines_are_counted_in_their_order() {
    assert_eq!(common(&["a", "b", "c"], &["a", "x", "c"]), 2);
    assert_eq!(common(&["a", "b"], &["b", "a"]), 1);
    assert_eq!(common(&["a", "a"], &["a"]), 1);
    let program = "use a::{\n    b,\n};\nuse c;\n\nfn main() {\n}\n";
    assert_eq!(lines(program), ["fn main() {", "}"]);
}

#[test]
fn a_program_for_the_official_driver_changes_at_most_5_percent_of_its_lines() {
    let (official, port) = (lines(OFFICIAL), lines(PORT));
    let common = common(&official, &port);
    let changed = official.len().max(port.len()) - common;
    assert!(
        changed * 20 <= official.len(),
        "{changed} of {}",
        official.len()
    );

    let stated = format!(
        "Of the other {} lines of the program, {changed} change",
        official.len()
    );
    assert!(GUIDE.contains(&stated), "not in the guide: {stated}");
    // Each line that is left out or changed is in the table.
    for line in official.iter().filter(|line| !port.contains(line)) {
        let code = format!("`{}`", line.trim());
        assert!(GUIDE.contains(&code), "not in the guide: {code}");
    }
    for line in port.iter().filter(|line| !official.contains(line)) {
        let code = format!("`{}`", line.trim());
        assert!(GUIDE.contains(&code), "not in the guide: {code}");
    }
}

#[test]
fn the_guide_shows_parts_of_the_programs() {
    let text = |text: &str| text.split_whitespace().collect::<Vec<_>>().join(" ");
    let mut number = 0;
    for (language, program) in [("rust", PORT), ("python", PYMONGO), ("c", LIBMONGOC)] {
        let program = text(program);
        for block in GUIDE.split(&format!("```{language}\n")).skip(1) {
            let block = text(block.split_once("```").unwrap().0);
            assert!(program.contains(&block), "not in the program: {block}");
            number += 1;
        }
    }
    assert_eq!(number, 24);
}

#[test]
fn the_program_for_mongotls_prints_the_output_of_the_guide() {
    let Some(deployment) = deployment() else {
        return;
    };
    let uri = deployment.uri("");
    let Some(example) = Example::start("stock", &[&uri, "warehouse-mongotls"]) else {
        return;
    };
    let (code, out, err) = example.end();
    assert_eq!((code, out.as_str(), err.as_str()), (0, OUTPUT, ""));
}

#[test]
fn the_program_for_pymongo_prints_the_output_of_the_guide() {
    let Some(deployment) = deployment() else {
        return;
    };
    let Some(python) = Secantus::python() else {
        return skipped(
            "docs/migrating/stock_pymongo.py: SecantusDB has no Python with PyMongo beside it",
        );
    };
    let output = Command::new(python)
        .arg(source("stock_pymongo.py"))
        .args([&deployment.uri(""), "warehouse-pymongo"])
        .output();
    expect_output(&output.unwrap());
}

#[test]
fn the_program_for_libmongoc_prints_the_output_of_the_guide() {
    let flags = Command::new("pkg-config")
        .args(["--cflags", "--libs", "libmongoc-1.0"])
        .output();
    let Some(flags) = flags.ok().filter(|flags| flags.status.success()) else {
        return skipped(
            "docs/migrating/stock_libmongoc.c: libmongoc 1.x is not installed (libmongoc-dev)",
        );
    };
    let Some(deployment) = deployment() else {
        return;
    };
    let dir = mongotls_testbench::pki::PkiDir::new();
    let program = dir.path().join("stock");
    let compiled = Command::new("cc")
        .args(["-Wall", "-Wextra", "-Werror", "-o"])
        .args([&program, &source("stock_libmongoc.c")])
        .args(String::from_utf8(flags.stdout).unwrap().split_whitespace())
        .output()
        .unwrap();
    let errors = String::from_utf8_lossy(&compiled.stderr);
    assert!(compiled.status.success(), "{errors}");
    let output = Command::new(&program)
        .args([&deployment.uri(""), "warehouse-libmongoc"])
        .output();
    expect_output(&output.unwrap());
    fs::remove_file(program).unwrap();
}
