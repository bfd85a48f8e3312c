//! The examples that people copy: each command line of the README and of the guides is run, and prints the documented
//! output.

use std::path::Path;
use std::process::{Command, Stdio};

use mongotls::doctor::TopologyFindingCode;

use crate::guide::Desk;

/// One example: the line after `$`, and the lines below.
struct Example<'a> {
    command: &'a str,
    printed: Vec<&'a str>,
}

/// The examples in the blocks that show a console.
fn examples(text: &str) -> Vec<Example<'_>> {
    let blocks = text
        .split("```console\n")
        .skip(1)
        .map(|rest| rest.split_once("```").unwrap().0);
    let read = |block| {
        let parts = str::split(block, "$ ").skip(1);
        parts.map(|part: &str| {
            let (command, printed) = part.split_once('\n').unwrap();
            Example {
                command,
                printed: printed.lines().collect(),
            }
        })
    };
    blocks.flat_map(read).collect()
}

/// A line without its times, addresses, versions, digests and the group: OpenSSL 3.5 and later use X25519MLKEM768.
pub(crate) fn shape(line: &str) -> String {
    let is_digest = |word: &str| word.len() >= 32 && word.bytes().all(|b| b.is_ascii_hexdigit());
    let words = line.split_whitespace().map(|word| match word {
        word if word.starts_with(|c: char| c.is_ascii_digit() || c == ':') => "N",
        word if word.starts_with('(') && word[1..].starts_with(|c: char| c.is_ascii_digit()) => "N",
        word if is_digest(word) => "N",
        word if word.to_lowercase().starts_with("x25519") => "GROUP",
        word => word,
    });
    let mut words: Vec<_> = words.collect();
    // A host may have one address or two.
    words.dedup_by(|next, word| next == word && *word == "N");
    words.join(" ")
}

/// Runs the examples one after another in the folder of the desk, as a reader would. The output must contain the
/// documented lines, in their order; `...` means other lines.
fn check(desk: &Desk, text: &str, expected: usize) {
    let program = Path::new(env!("CARGO_BIN_EXE_mongotls")).parent().unwrap();
    let path = std::env::var("PATH").unwrap_or_default();
    let examples = examples(text);
    assert_eq!(examples.len(), expected);
    for Example { command, printed } in examples {
        let output = Command::new("sh")
            .args(["-c", &desk.local(command)])
            .current_dir(desk.dir.path())
            .env("PATH", format!("{}:{path}", program.display()))
            .env_remove("MONGOTLS_LOG")
            .env_remove("MONGOTLS_URI")
            .stdin(Stdio::null())
            .output()
            .unwrap();
        let out = desk.foreign(&String::from_utf8_lossy(&output.stdout));
        let err = desk.foreign(&String::from_utf8_lossy(&output.stderr));
        let mut found = out.lines().chain(err.lines()).map(shape);
        let shown = printed.iter().map(|line| line.trim());
        for line in shown.filter(|line| !matches!(*line, "" | "...")) {
            let cut = line.strip_suffix(" ...");
            let expected = shape(cut.unwrap_or(line));
            let matches = |line: String| match cut {
                Some(_) => line.starts_with(&expected),
                None => line == expected,
            };
            assert!(
                found.any(matches),
                "{command}: {line:?} is not among, or not there,\n{out}{err}"
            );
        }
        assert_eq!(printed.is_empty(), out.is_empty(), "{command}: {out}{err}");
    }
}

#[test]
fn commands_in_the_readme_print_the_shown_output() {
    check(&Desk::new(), include_str!("../../README.md"), 2);
}

#[test]
fn the_readme_is_read_in_two_minutes() {
    // 250 words a minute, and half a minute for the examples.
    let parts = include_str!("../../README.md").split("```");
    let words = parts.step_by(2).flat_map(str::split_whitespace).count();
    assert!(words < 480, "{words} words besides the examples");
}

#[test]
fn commands_in_the_guide_print_the_shown_output() {
    check(&Desk::new(), include_str!("../../docs/tls.md"), 16);
}

#[test]
fn commands_in_the_connection_guide_print_the_shown_output() {
    check(&Desk::new(), include_str!("../../docs/connections.md"), 2);
}

#[test]
fn commands_in_the_deployment_guide_print_the_shown_output() {
    check(&Desk::new(), include_str!("../../docs/doctor.md"), 1);
}

#[test]
fn the_guide_to_deployments_has_each_finding_with_its_meaning() {
    let guide = include_str!("../../docs/doctor.md");
    let rows: Vec<&str> = guide
        .lines()
        .filter(|line| line.starts_with("| `"))
        .collect();
    let codes = TopologyFindingCode::ALL.iter();
    let expected = codes.map(|code| format!("| `{code}` | {} |", code.meaning()));
    let expected: Vec<String> = expected.collect();
    assert_eq!(rows.len(), expected.len());
    for (row, expected) in rows.iter().zip(&expected) {
        assert!(row.starts_with(expected), "{row}: not {expected}");
    }
}

#[test]
fn commands_in_the_authentication_guide_print_as_shown() {
    check(
        &Desk::new(),
        include_str!("../../docs/authentication.md"),
        6,
    );
}

#[test]
fn commands_in_the_reference_print_the_shown_output() {
    check(&Desk::new(), include_str!("../../docs/command-line.md"), 10);
}

#[test]
fn each_entry_of_the_changelog_is_one_short_line() {
    let changelog = include_str!("../../CHANGELOG.md");
    let body = changelog.split_once("## ").unwrap().1;
    for line in body.lines().filter(|line| !line.is_empty()) {
        let is_entry = line.starts_with("- ") && line.chars().count() < 100;
        assert!(
            is_entry || line.starts_with('#') || line == "Unreleased",
            "{line}"
        );
    }
}
