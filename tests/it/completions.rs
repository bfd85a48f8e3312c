//! The manual page and the completions of the command line: they are complete, and their readers accept them.

use std::collections::BTreeSet;
use std::io::Write;
use std::process::{Command, Stdio};

use mongotls_testbench::pki::PkiDir;

use crate::cli::mongotls;
use crate::matrix::skipped;

const COMMANDS: [&str; 7] = [
    "ping",
    "run",
    "doctor",
    "inspect",
    "completions",
    "man",
    "help",
];

fn printed(words: &[&str]) -> String {
    let run = mongotls(words);
    assert_eq!((run.code, run.err.as_str()), (0, ""), "{words:?}");
    run.out
}

/// Returns the long options that a help text lists, with their short forms.
fn options(help: &str) -> BTreeSet<String> {
    let lines = help
        .lines()
        .map(str::trim)
        .filter(|line| line.starts_with('-'));
    let heads = lines.map(|line| line.split("  ").next().unwrap());
    let words = heads.flat_map(|head| head.split([' ', ',']));
    words
        .filter(|word| word.starts_with('-'))
        .map(str::to_owned)
        .collect()
}

/// Runs a program with a text on standard input, if the program is there. Returns both of its outputs.
fn fed(program: &str, arguments: &[&str], input: &str) -> Option<String> {
    let child = Command::new(program)
        .args(arguments)
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn();
    let Ok(mut child) = child else {
        skipped(&format!(
            "what {program} says of the command line's texts; it is not installed"
        ));
        return None;
    };
    let mut stdin = child.stdin.take().unwrap();
    stdin.write_all(input.as_bytes()).unwrap();
    drop(stdin);
    let output = child.wait_with_output().unwrap();
    let text = [output.stdout, output.stderr].concat();
    Some(String::from_utf8(text).unwrap())
}

#[test]
fn each_option_is_in_the_manual_and_in_all_completions() {
    let general = printed(&["--help"]);
    let manual = printed(&["man"]).replace("\\-", "-");
    let shells = ["bash", "zsh", "fish"].map(|shell| printed(&["completions", shell]));
    let mut all = options(&general);
    assert!(
        all.contains("--count") && all.contains("-c") && all.len() >= 11,
        "{all:?}"
    );
    for name in COMMANDS {
        assert!(general.contains(&format!("mongotls {name}")), "{name}");
        let own = options(&printed(&["help", name]));
        assert!(name == "help" || own.is_subset(&all), "{name}: {own:?}");
        all.extend(own);
    }
    for text in [&manual, &shells[0], &shells[1], &shells[2]] {
        for name in COMMANDS {
            assert!(text.contains(name), "{name}: {text}");
        }
        for option in &all {
            let in_fish = match option.strip_prefix("--") {
                Some(long) => format!(" -l {long} "),
                None => format!(" -s {} ", &option[1..]),
            };
            // The completions of bash contain only the long form of each option.
            let is_there = text.contains(option.as_str()) || text.contains(&in_fish);
            let is_short_in_bash = text == &shells[0] && !option.starts_with("--");
            assert!(is_there || is_short_in_bash, "{option}: {text}");
        }
    }
}

#[test]
fn the_manual_is_accepted_by_its_readers() {
    let manual = printed(&["man"]);
    for (program, arguments) in [
        ("groff", &["-man", "-ww", "-Tutf8", "-z"][..]),
        // A page without a date is a deliberate choice; it changes with the program, not with the day.
        ("mandoc", &["-Tlint", "-Wwarning"]),
    ] {
        if let Some(said) = fed(program, arguments, &manual) {
            let said: Vec<&str> = said
                .lines()
                .filter(|line| !line.contains("missing date"))
                .collect();
            assert!(said.is_empty(), "{program}: {said:?}");
        }
    }
}

#[test]
fn the_shells_accept_their_completions() {
    for shell in ["bash", "zsh", "fish"] {
        let script = printed(&["completions", shell]);
        let said = fed(shell, &["-n"], &script);
        assert_eq!(said.unwrap_or_default(), "", "{shell}");
    }
}

#[test]
fn bash_completes_commands_options_and_files() {
    let dir = PkiDir::new();
    dir.write("client.pem", "");
    let script = printed(&["completions", "bash"]);
    let complete = |words: &[&str]| {
        let cursor = words.len() - 1;
        let words: Vec<String> = words.iter().map(|word| format!("'{word}'")).collect();
        let folder = dir.path().display();
        let input = format!(
            "{script}\ncd {folder}\nCOMP_WORDS=({}) COMP_CWORD={cursor}\n_mongotls\n\
             printf '%s\\n' \"${{COMPREPLY[@]}}\"\n",
            words.join(" ")
        );
        let said = fed("bash", &["--norc"], &input).expect("bash");
        let said: Vec<String> = said.split_whitespace().map(str::to_owned).collect();
        said.join(" ")
    };
    assert_eq!(complete(&["mongotls", "do"]), "doctor");
    assert_eq!(complete(&["mongotls", "--v"]), "--version");
    assert_eq!(
        complete(&["mongotls", "ping", "--c"]),
        "--count --connect-to"
    );
    assert_eq!(
        complete(&["mongotls", "ping", "u", "--password-file", "cl"]),
        "client.pem"
    );
    assert_eq!(complete(&["mongotls", "ping", "--count", ""]), "");
    assert_eq!(complete(&["mongotls", "doctor", "--a"]), "--api-version");
    assert_eq!(complete(&["mongotls", "inspect", ""]), "client.pem");
    assert_eq!(complete(&["mongotls", "inspect", "--p"]), "--password-file");
    assert_eq!(complete(&["mongotls", "completions", "f"]), "fish");
    assert_eq!(complete(&["mongotls", "help", "ins"]), "inspect");
}

/// Tests with fish itself, if it is installed.
#[test]
fn fish_completes_commands_and_options() {
    let script = printed(&["completions", "fish"]);
    let complete = |line: &str| {
        let input = format!("{script}\ncomplete -C '{line}' | string split -f1 \\t\n");
        fed("fish", &["--no-config"], &input)
    };
    let Some(said) = complete("mongotls do") else {
        return;
    };
    assert_eq!(said, "doctor\n");
    assert_eq!(
        complete("mongotls ping --c").unwrap(),
        "--connect-to\n--count\n"
    );
    assert_eq!(complete("mongotls completions z").unwrap(), "zsh\n");
}
