//! Runs the public specification tests of the MongoDB drivers.
//!
//! The JSON files are not part of this repository, because their licence is different. `SPEC_TESTS_DIR` names a folder
//! with the layout of `source/` in <https://github.com/mongodb/specifications>; without the variable,
//! `../shared/spec-tests` beside the workspace is used if it exists. Without either, the run prints that it tested
//! nothing, and passes.
//!
//! ```sh
//! git clone https://github.com/mongodb/specifications
//! SPEC_TESTS_DIR=$PWD/specifications/source cargo test --test spec
//! ```
//!
//! The output has one line for each suite (file) and one for each case that failed or was skipped; the last line
//! contains the totals. A word on the command line selects the suites whose path contains it. A format is one row of
//! [`FORMATS`], a skip one row of [`skips::SKIPS`]; neither depends on the set of cases. Files in the unified test format
//! are recognised by their content, in any folder: see [`unified`]. `--mutants`, or `--mutants=COUNT` for a sample,
//! changes the expected values of those instead.

#![expect(
    clippy::print_stdout,
    reason = "a test program reports on its standard output"
)]

mod auth;
mod bson_corpus;
mod cmap;
mod concern;
mod connection_string;
mod expect;
mod runner;
mod sdam;
mod selection;
mod skips;
#[cfg(feature = "srv")]
mod srv;
mod unified;
mod uri_options;

use std::env;
use std::path::{Path, PathBuf};
use std::process::ExitCode;

use runner::{Format, Report};

/// The formats: the folder below the root, and the function that runs one case.
const FORMATS: &[Format] = &[
    Format {
        folder: "bson-corpus/tests",
        run: bson_corpus::run,
    },
    Format {
        folder: "connection-string/tests",
        run: connection_string::run,
    },
    Format {
        folder: "uri-options/tests",
        run: uri_options::run,
    },
    Format {
        folder: "auth/tests/legacy",
        run: auth::run,
    },
    Format {
        folder: "read-write-concern/tests/connection-string",
        run: concern::run_uri,
    },
    Format {
        folder: "read-write-concern/tests/document",
        run: concern::run_document,
    },
    Format {
        folder: "connection-monitoring-and-pooling/tests/cmap-format",
        run: cmap::run,
    },
    #[cfg(feature = "srv")]
    Format {
        folder: "initial-dns-seedlist-discovery/tests/replica-set",
        run: srv::run_replica_set,
    },
    #[cfg(feature = "srv")]
    Format {
        folder: "initial-dns-seedlist-discovery/tests/load-balanced",
        run: srv::run_load_balanced,
    },
    #[cfg(feature = "srv")]
    Format {
        folder: "initial-dns-seedlist-discovery/tests/sharded",
        run: srv::run_sharded,
    },
    Format {
        folder: "server-discovery-and-monitoring/tests",
        run: sdam::run,
    },
    Format {
        folder: "server-selection/tests/server_selection",
        run: selection::run,
    },
    Format {
        folder: "server-selection/tests/rtt",
        run: selection::run_rtt,
    },
    Format {
        folder: "server-selection/tests/in_window",
        run: selection::run_in_window,
    },
    Format {
        folder: "max-staleness/tests",
        run: selection::run,
    },
];

fn main() -> ExitCode {
    let arguments: Vec<String> = env::args().skip(1).collect();
    if arguments.iter().any(|argument| argument == "--list") {
        return ExitCode::SUCCESS;
    }
    let selected = arguments.iter().find(|argument| !argument.starts_with('-'));
    let selected = selected.map(String::as_str).unwrap_or_default();

    let Some(root) = root() else {
        println!("SKIPPED: the specification tests did not run, because their files are not here.");
        println!("  git clone https://github.com/mongodb/specifications");
        println!("  SPEC_TESTS_DIR=$PWD/specifications/source cargo test --test spec");
        println!("{}", Report::default());
        return ExitCode::SUCCESS;
    };
    println!("specification tests in {}", root.display());
    #[cfg(not(feature = "srv"))]
    println!("SKIPPED: initial-dns-seedlist-discovery did not run, because the feature srv is off");
    runner::silence_panics();
    if let Some(mutants) = arguments
        .iter()
        .find_map(|one| one.strip_prefix("--mutants"))
    {
        unified::run_mutants(
            &root,
            selected,
            mutants.trim_start_matches('=').parse().ok(),
        );
        return ExitCode::SUCCESS;
    }
    let mut report = Report::default();
    for format in FORMATS {
        runner::run_format(&root, format, selected, &mut report);
    }
    unified::run(&root, selected, &mut report);
    if selected.is_empty() {
        runner::check_skips(&root, &mut report);
    }
    println!("{report}");
    match report.failed {
        0 => ExitCode::SUCCESS,
        _ => ExitCode::FAILURE,
    }
}

/// The folder with the files. A named one that does not exist is a failure later on.
fn root() -> Option<PathBuf> {
    if let Some(folder) = env::var_os("SPEC_TESTS_DIR") {
        return Some(PathBuf::from(folder));
    }
    let beside = Path::new(env!("CARGO_MANIFEST_DIR")).join("../shared/spec-tests");
    beside.is_dir().then_some(beside)
}
