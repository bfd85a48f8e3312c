//! `tests/setup.sh` checks for every program that the tests start, so that no test fails because one is missing.

use std::collections::BTreeSet;
use std::fs;
use std::path::{Path, PathBuf};

/// The text before the name of a program in the sources of the tests.
const STARTS: &[&str] = &[
    "Command::new(\"",
    "find_program(\"",
    "find(\"", // in peers/kdc.rs
    "tool::run(\"",
];

fn sources(folder: &Path, found: &mut Vec<PathBuf>) {
    for entry in fs::read_dir(folder).unwrap() {
        let path = entry.unwrap().path();
        if path.is_dir() {
            sources(&path, found);
        } else if path.extension().is_some_and(|extension| extension == "rs") {
            found.push(path);
        }
    }
}

/// The programs that the sources below `folder` start by a literal name.
fn programs(folder: &Path) -> BTreeSet<String> {
    let mut paths = Vec::new();
    sources(folder, &mut paths);
    let mut programs = BTreeSet::new();
    for path in paths {
        let text = fs::read_to_string(&path).unwrap();
        let is_kdc = path.ends_with("peers/kdc.rs");
        for start in STARTS {
            if *start == "find(\"" && !is_kdc {
                continue;
            }
            let names = text.split(start).skip(1);
            programs.extend(names.filter_map(|rest| Some(rest.split_once('"')?.0.to_owned())));
        }
    }
    programs
}

#[test]
fn setup_checks_for_every_program_that_tests_start() {
    let root = Path::new(env!("CARGO_MANIFEST_DIR"));
    let setup = fs::read_to_string(root.join("tests/setup.sh")).unwrap();
    let row = setup.lines().find(|line| line.trim().starts_with("test) "));
    let (_, commands) = row.unwrap().split_once("commands=\"").unwrap();
    let checked: BTreeSet<_> = commands.split(['"', ' ']).collect();

    let mut started = programs(&root.join("tests"));
    started.extend(programs(&root.join("src")));
    assert!(started.len() > 10, "{started:?}");
    // A shell is part of every system. `cargo` is installed by the user, and setup.sh checks for it separately. A test
    // does without `keytool`, which is part of Java.
    let missing: Vec<_> = started
        .iter()
        .filter(|program| !["sh", "cargo", "keytool", ""].contains(&program.as_str()))
        .filter(|program| !checked.contains(program.as_str()))
        .collect();
    assert!(
        missing.is_empty(),
        "tests/setup.sh does not check for {missing:?}"
    );
}
