//! The operations, one file for each kind of object. An operation is one row of a table: its name, its arguments, and
//! the function that performs it.

mod bucket;
mod client;
mod client_encryption;
mod collection;
mod cursor;
mod database;
mod session;
mod test_runner;

use std::sync::Arc;

use bson::{Bson, Document};
use mongotls::options::{ReadPreference, ReadPreferenceMode};
use serde_json::Value;

use super::entities::{Entity, SessionEntity};
use super::failure::Failure;
use super::json::{document, items, only_arguments, unsigned};
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
    /// Not yet: the library lacks this part.
    NotYet(&'static str),
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

/// A row of a table for an operation of later work.
const fn later(
    name: &'static str,
    arguments: &'static [&'static str],
    lacking: &'static str,
) -> Operation {
    Operation {
        name,
        arguments,
        run: Run::NotYet(lacking),
    }
}

/// An operation with its object.
pub(crate) struct Call<'a> {
    pub(crate) run: &'a Arc<CaseRun>,
    /// `None` for the test runner itself.
    pub(crate) object: Option<&'a Entity>,
    pub(crate) arguments: &'a Value,
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
        Kind::ChangeStream => cursor::OF_CHANGE_STREAMS,
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
        Run::NotYet(why) | Run::OutOfScope(why) => Err(Failure::runner(format!(
            "{name} needs {why}, which the library lacks"
        ))),
    }
}

impl Call<'_> {
    /// A string that must be among the arguments.
    fn text(&self, name: &str) -> Result<&str, Failure> {
        let text = self.arguments[name].as_str();
        text.ok_or_else(|| Failure::malformed(format!("the argument \"{name}\" is not a string")))
    }

    /// A number that must be among the arguments.
    fn number(&self, name: &str) -> Result<u64, Failure> {
        let number = unsigned(&self.arguments[name]);
        number.ok_or_else(|| Failure::malformed(format!("the argument \"{name}\" is not a number")))
    }

    /// A document that must be among the arguments.
    fn document(&self, name: &str) -> Result<Document, Failure> {
        document(&self.arguments[name]).map_err(Failure::Malformed)
    }

    /// The session of the argument `session`, if there is one.
    fn session(&self) -> Result<Option<Arc<SessionEntity>>, Failure> {
        match self.arguments["session"].as_str() {
            Some(name) => self.run.entities.session(name).map(Some),
            None => Ok(None),
        }
    }

    /// `readPreference`, if it is among the arguments.
    fn read_preference(&self) -> Result<Option<ReadPreference>, Failure> {
        let argument = &self.arguments["readPreference"];
        match argument.is_null() {
            true => Ok(None),
            false => read_preference(argument)
                .map(Some)
                .map_err(Failure::Malformed),
        }
    }
}

/// The read preference of "Common Options".
fn read_preference(value: &Value) -> Result<ReadPreference, String> {
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
