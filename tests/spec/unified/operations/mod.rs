//! The operations, one file for each kind of object. An operation is one row of a table: its name, its arguments, and
//! the function that performs it.

mod admin;
mod aggregate;
mod arguments;
mod bucket;
mod bulk;
mod change_stream;
mod client;
mod client_encryption;
mod collection;
mod count;
mod cursor;
mod database;
mod find;
mod indexes;
mod insert;
mod session;
mod test_runner;
mod write;

use std::cell::RefCell;
use std::collections::BTreeSet;
use std::sync::Arc;

use bson::{Bson, Document};
use mongotls::options::{ReadPreference, ReadPreferenceMode};
use serde_json::Value;

pub(super) use self::arguments::{read_concern, write_concern};
pub(super) use self::bulk::document as bulk_result;
pub(super) use self::session::transaction_options;
use super::entities::Entity;
use super::failure::Failure;
use super::json::{items, only_arguments, unsigned};
use super::run::CaseRun;
use super::scan::Kind;

/// An operation that the runner knows.
pub(crate) struct Operation {
    pub(crate) name: &'static str,
    pub(crate) arguments: &'static [&'static str],
    pub(crate) run: Run,
}

/// How an operation is performed.
pub(crate) enum Run {
    /// By this function.
    Now(fn(&Call<'_>) -> Result<Outcome, Failure>),
    /// Never: the library will not have this part.
    OutOfScope(&'static str),
}

/// A row of a table for an operation that is performed.
const fn now(
    name: &'static str,
    arguments: &'static [&'static str],
    run: fn(&Call<'_>) -> Result<Outcome, Failure>,
) -> Operation {
    Operation {
        name,
        arguments,
        run: Run::Now(run),
    }
}

/// An operation with its object.
pub(crate) struct Call<'a> {
    pub(crate) run: &'a Arc<CaseRun>,
    /// `None` for the test runner itself.
    pub(crate) object: Option<&'a Entity>,
    pub(crate) arguments: &'a Value,
    /// The names of the arguments that the operation has read.
    used: RefCell<BTreeSet<&'static str>>,
}

/// The result of an operation.
pub(crate) enum Outcome {
    Nothing,
    /// A value that is compared as it is.
    Value(Bson),
    /// A document that may have more fields than expected.
    Document(Document),
    /// Documents of a cursor, which may have more fields than expected.
    Documents(Vec<Document>),
    Entity(Entity),
}

impl Outcome {
    /// The entity that `saveResultAsEntity` stores.
    pub(crate) fn into_entity(self) -> Result<Entity, Failure> {
        match self {
            Self::Nothing => Err(Failure::Entity("the operation has no result".to_owned())),
            Self::Value(value) => Ok(Entity::Value(value)),
            Self::Document(document) => Ok(Entity::Value(Bson::Document(document))),
            Self::Documents(documents) => Ok(Entity::Value(Bson::Array(
                documents.into_iter().map(Bson::Document).collect(),
            ))),
            Self::Entity(entity) => Ok(entity),
        }
    }

    /// A short text for reports.
    pub(crate) fn summary(&self) -> String {
        match self {
            Self::Nothing => "nothing".to_owned(),
            Self::Value(value) => value.to_string(),
            Self::Document(document) => document.to_string(),
            Self::Documents(documents) => {
                Bson::Array(documents.iter().cloned().map(Bson::Document).collect()).to_string()
            }
            Self::Entity(entity) => format!("a {}", entity.kind().as_str()),
        }
    }
}

/// The operation of this name on this kind of object.
pub(crate) fn find(kind: Kind, name: &str) -> Result<&'static Operation, Failure> {
    let table = match kind {
        Kind::TestRunner => test_runner::OPERATIONS,
        Kind::Client => client::OPERATIONS,
        Kind::ClientEncryption => client_encryption::OPERATIONS,
        Kind::Database => database::OPERATIONS,
        Kind::Collection => collection::OPERATIONS,
        Kind::Session => session::OPERATIONS,
        Kind::Cursor => cursor::OPERATIONS,
        Kind::ChangeStream => change_stream::OPERATIONS,
        Kind::Bucket => bucket::OPERATIONS,
        Kind::Other => &[],
    };
    let found = table.iter().find(|operation| operation.name == name);
    found.ok_or_else(|| {
        Failure::malformed(format!("a {} has no operation \"{name}\"", kind.as_str()))
    })
}

/// Fails if an argument is unknown, or has a value that no server needs to see.
pub(crate) fn check_arguments(operation: &Operation, arguments: &Value) -> Result<(), Failure> {
    only_arguments(arguments, operation.arguments)
        .map_err(|why| Failure::malformed(format!("{}: {why}", operation.name)))?;
    let is_document = |text: &str| ["before", "after"].contains(&text.to_lowercase().as_str());
    match &arguments["returnDocument"] {
        Value::Null => Ok(()),
        Value::String(text) if is_document(text) => Ok(()),
        other => Err(Failure::malformed(format!(
            "{}: returnDocument is {other}",
            operation.name
        ))),
    }
}

/// Performs the operation of this name.
pub(crate) fn perform(name: &str, call: &Call<'_>) -> Result<Outcome, Failure> {
    let kind = call.object.map_or(Kind::TestRunner, Entity::kind);
    let operation = find(kind, name)?;
    check_arguments(operation, call.arguments)?;
    match operation.run {
        Run::Now(run) => run(call),
        Run::OutOfScope(why) => Err(Failure::runner(format!(
            "{name} needs {why}, which the library lacks"
        ))),
    }
}

impl<'a> Call<'a> {
    pub(crate) fn new(
        run: &'a Arc<CaseRun>,
        object: Option<&'a Entity>,
        arguments: &'a Value,
    ) -> Self {
        Self {
            run,
            object,
            arguments,
            used: RefCell::default(),
        }
    }
}

/// The read preference of "Common Options".
pub(super) fn read_preference(value: &Value) -> Result<ReadPreference, String> {
    only_arguments(value, &["mode", "tagSets", "maxStalenessSeconds", "hedge"])?;
    let name = value["mode"]
        .as_str()
        .unwrap_or_default()
        .to_ascii_lowercase();
    let modes = [
        ReadPreferenceMode::Primary,
        ReadPreferenceMode::PrimaryPreferred,
        ReadPreferenceMode::Secondary,
        ReadPreferenceMode::SecondaryPreferred,
        ReadPreferenceMode::Nearest,
    ];
    let mode = modes
        .into_iter()
        .find(|mode| mode.as_str().to_ascii_lowercase() == name);
    let mode = mode.ok_or_else(|| format!("the mode {} is unknown", value["mode"]))?;
    let mut preference = ReadPreference::new(mode);
    let sets = items(&value["tagSets"]).iter().map(|set| {
        let tags = set.as_object().into_iter().flatten();
        tags.map(|(name, value)| {
            mongotls::options::Tag::new(name, value.as_str().unwrap_or_default())
        })
        .collect()
    });
    preference = preference.tag_sets(sets.collect::<Vec<_>>());
    if let Some(seconds) = unsigned(&value["maxStalenessSeconds"]) {
        preference = preference.max_staleness(std::time::Duration::from_secs(seconds));
    }
    Ok(preference)
}
