//! Each public operation has a row in the table.

use std::collections::BTreeSet;
use std::fs;
use std::path::{Path, PathBuf};

use crate::operations::OPERATIONS;

/// The methods that send no command of the program, or only start something that has a row.
const NOT_OPERATIONS: &[&str] = &[
    "Client::append_metadata",
    "Client::cancelled_by",
    "Client::close",
    "Client::connect",
    "Client::database",
    "Client::database_with_options",
    "Client::default_database",
    "Client::from_connection_string",
    "Client::options",
    "Client::read_concern",
    "Client::reload_tls",
    "Client::selection_criteria",
    "Client::server_report",
    "Client::snapshot",
    "Client::start_session",
    "Client::until",
    "Client::watch",
    "Client::with_options",
    "Client::with_uri_str",
    "Client::within",
    "Client::write_concern",
    "Collection::cancelled_by",
    "Collection::client",
    "Collection::clone_with_type",
    "Collection::name",
    "Collection::namespace",
    "Collection::read_concern",
    "Collection::read_preference",
    "Collection::selection_criteria",
    "Collection::until",
    "Collection::watch",
    "Collection::within",
    "Collection::write_concern",
    "Cursor::advance_or_wait",
    "Cursor::batch_size",
    "Cursor::cancelled_by",
    "Cursor::close_within",
    "Cursor::comment",
    "Cursor::current",
    "Cursor::deadline",
    "Cursor::deserialize_current",
    "Cursor::is_open",
    "Cursor::next_as",
    "Database::cancelled_by",
    "Database::client",
    "Database::collection",
    "Database::collection_with_options",
    "Database::gridfs_bucket",
    "Database::name",
    "Database::read_concern",
    "Database::read_preference",
    "Database::selection_criteria",
    "Database::until",
    "Database::watch",
    "Database::with_timeout",
    "Database::within",
    "Database::write_concern",
];

#[test]
fn each_public_operation_has_a_row() {
    let mut rows: BTreeSet<String> = NOT_OPERATIONS.iter().map(ToString::to_string).collect();
    for operation in OPERATIONS {
        let name = operation.name.split(' ').next().unwrap();
        assert!(!NOT_OPERATIONS.contains(&name), "{name}");
        rows.insert(name.to_owned());
    }
    let source = Path::new(env!("CARGO_MANIFEST_DIR")).join("src");
    let mut public = BTreeSet::new();
    for file in files(&source) {
        public.extend(methods(&fs::read_to_string(file).unwrap()));
    }
    let missing: Vec<_> = public.difference(&rows).collect();
    assert!(missing.is_empty(), "without a row: {missing:?}");
    let unknown: Vec<_> = rows.difference(&public).collect();
    assert!(unknown.is_empty(), "not public: {unknown:?}");
}

fn files(folder: &Path) -> Vec<PathBuf> {
    let entries = fs::read_dir(folder)
        .unwrap()
        .map(|entry| entry.unwrap().path());
    entries
        .flat_map(|path| match path.is_dir() {
            true => files(&path),
            false => vec![path],
        })
        .collect()
}

/// The public methods of the types on which operations begin, with the names of the types.
fn methods(source: &str) -> BTreeSet<String> {
    let mut of = None;
    let mut methods = BTreeSet::new();
    for line in source.lines() {
        if let Some(header) = line.strip_prefix("impl") {
            of = subject(header);
        }
        let name = line.strip_prefix("    pub fn ").and_then(|rest| {
            let end = rest.find(['(', '<'])?;
            Some(&rest[..end])
        });
        // A macro of this name declares the method.
        let is_name = |name: &&str| {
            name.chars()
                .all(|letter| letter == '_' || letter.is_ascii_lowercase())
        };
        let of_macro = || {
            line.strip_prefix("    ")?
                .strip_suffix("! {")
                .filter(is_name)
        };
        let name = name.or_else(of_macro);
        if let (Some(of), Some(name)) = (of, name) {
            methods.insert(format!("{of}::{name}"));
        }
    }
    methods
}

/// The type of an inherent `impl`, if operations begin on it.
fn subject(header: &str) -> Option<&'static str> {
    let mut depth = 0;
    let without_parameters = header.trim_start_matches(|letter| {
        match letter {
            '<' => depth += 1,
            '>' => depth -= 1,
            _ => return depth > 0,
        }
        true
    });
    let name = without_parameters.trim_start();
    let name = name.split(['<', ' ']).next()?;
    Some(match name {
        "Client" | "ScopedClient" => "Client",
        "Database" => "Database",
        "Collection" => "Collection",
        "Cursor" => "Cursor",
        _ => return None,
    })
}

#[test]
fn methods_are_found_in_any_impl() {
    let source = "
impl<T: ToBson, S: Scope> Collection<T, S> {
    pub fn insert_one(&self) -> u8 {
    pub(crate) fn hidden(&self) {
impl Bulk {
    pub fn run(self) {
impl<S> ScopedClient<S> {
    pub fn bulk<T>(&self) {
";
    let expected = ["Client::bulk", "Collection::insert_one"];
    assert_eq!(methods(source), expected.map(str::to_owned).into());
}
