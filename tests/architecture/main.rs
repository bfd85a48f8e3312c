//! Holds the code to the layers that docs/architecture.md describes.
//!
//! The test reads the imports and paths of every file in `src/`, finds the file that defines what they name (through
//! re-exports), and fails if a file uses something of a layer above its own, or if files depend on each other in a
//! circle. It also fails if code outside of `explain/` writes the words of a cause, or reads facts.

#![allow(clippy::unwrap_used, reason = "a test fails by a panic")]

mod graph;

use std::collections::{BTreeMap, BTreeSet};
use std::fmt::Write as _;
use std::fs;
use std::path::Path;

use graph::Graph;

/// Circles of files that are one thing in several files. Every other circle fails.
const JUSTIFIED: &[(&[&str], &str)] = &[(
    &["sdam/monitor.rs", "sdam/topology.rs"],
    "The topology starts the monitors of its servers, and a monitor reports each check to the topology.",
)];

#[test]
fn no_import_goes_upward() {
    let graph = Graph::of(Path::new(env!("CARGO_MANIFEST_DIR")));
    let layers = Layers::documented();
    let mut wrong = String::new();
    for (file, used) in &graph.edges {
        let own = layers.of(file);
        for (target, names) in used {
            let other = layers.of(target);
            if own.entry != other.entry && own.rank <= other.rank {
                let names: Vec<_> = names.iter().map(String::as_str).collect();
                writeln!(wrong, "{file} uses {target} ({})", names.join(", ")).unwrap();
            }
        }
    }
    assert_eq!(wrong, "", "imports that do not go down");
}

#[test]
fn files_depend_on_each_other_in_no_circle() {
    let graph = Graph::of(Path::new(env!("CARGO_MANIFEST_DIR")));
    let mut wrong = String::new();
    let mut met = BTreeSet::new();
    for circle in graph.circles() {
        let names: Vec<_> = circle.iter().map(String::as_str).collect();
        match JUSTIFIED.iter().find(|(files, _)| *files == names) {
            Some((files, _)) => {
                met.insert(*files);
            }
            None => {
                writeln!(wrong, "{}", names.join(" ")).unwrap();
                for file in &circle {
                    for (target, used) in &graph.edges[file] {
                        if circle.contains(target) {
                            let used: Vec<_> = used.iter().map(String::as_str).collect();
                            writeln!(wrong, "    {file} -> {target}: {}", used.join(", ")).unwrap();
                        }
                    }
                }
            }
        }
    }
    assert_eq!(wrong, "", "circles of files");
    assert_eq!(met.len(), JUSTIFIED.len(), "a justified circle is no more");
}

/// Decisions match on reasons. Words are written in one place, and facts are output.
#[test]
fn only_explain_writes_words_of_causes_and_nothing_reads_facts() {
    let graph = Graph::of(Path::new(env!("CARGO_MANIFEST_DIR")));
    let mut wrong = String::new();
    for (file, used) in &graph.edges {
        let names = used.get("cause.rs").into_iter().flatten();
        let is_allowed = file.starts_with("explain/") || file == "cause.rs";
        if !is_allowed && names.clone().any(|name| name.contains("Explanation")) {
            writeln!(wrong, "{file} writes an explanation").unwrap();
        }
        if !is_allowed && graph.calls[file].contains("reworded") {
            writeln!(wrong, "{file} changes an explanation").unwrap();
        }
        if !is_allowed && graph.calls[file].contains("facts") {
            writeln!(wrong, "{file} reads facts").unwrap();
        }
    }
    assert_eq!(wrong, "");
}

/// The layers as docs/architecture.md lists them, the topmost first.
struct Layers {
    /// A file or folder of `src/`, and the number of its layer: larger is higher.
    ranks: BTreeMap<String, usize>,
}

struct Layer<'a> {
    entry: &'a str,
    rank: usize,
}

impl Layers {
    fn documented() -> Self {
        let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("docs/architecture.md");
        let text = fs::read_to_string(path).unwrap();
        let (_, block) = text.split_once("```layers\n").expect("a block of layers");
        let (block, _) = block.split_once("```").unwrap();
        let lines: Vec<_> = block.lines().collect();
        let mut ranks = BTreeMap::new();
        for (index, line) in lines.iter().enumerate() {
            for entry in line.split_whitespace() {
                let known = ranks.insert(entry.to_owned(), lines.len() - index);
                assert!(known.is_none(), "{entry} is listed twice");
            }
        }
        Self { ranks }
    }

    /// The layer of a file: the longest entry that is the file or a folder around it.
    fn of(&self, file: &str) -> Layer<'_> {
        let name = file.trim_end_matches(".rs").trim_end_matches("/mod");
        let mut prefix = name;
        loop {
            if let Some((entry, rank)) = self.ranks.get_key_value(prefix) {
                return Layer { entry, rank: *rank };
            }
            prefix = match prefix.rsplit_once('/') {
                Some((folder, _)) => folder,
                None => panic!("docs/architecture.md lists no layer of {file}"),
            };
        }
    }
}
