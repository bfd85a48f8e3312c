//! The arguments of operations as the types that the library takes. [`set`] passes them to the setters of an action.
//!
//! Each getter notes the name that it reads, so that [`Call::all_used`] finds an argument that nothing has read.

use std::sync::Arc;
use std::time::Duration;

use bson::{Bson, Document};
use mongotls::options::{
    Collation, CollationAlternate, CollationCaseFirst, CollationMaxVariable, CollationStrength,
    CursorTimeoutMode, CursorType, Hint, ReadConcern, ReadPreference, WriteConcern,
};
use serde_json::Value;

use super::{Call, read_preference};
use crate::unified::entities::SessionEntity;
use crate::unified::failure::Failure;
use crate::unified::json::{bson, document, only_arguments, unsigned};

/// Sets the options of an action that are among the arguments: `setter = getter("argument")`.
macro_rules! set {
    ($action:ident, $call:ident: $($setter:ident = $getter:ident($name:literal)),* $(,)?) => {$(
        if let Some(value) = $call.$getter($name)? {
            $action = $action.$setter(value);
        }
    )*};
}
pub(super) use set;

/// Performs `$function` with the object of the call, which `$object` returns, within the session of the call if it has
/// one. Fails if the function does not read all arguments.
macro_rules! scoped {
    ($object:path, $function:path) => {
        |call| {
            let object = $object(call)?;
            let outcome = match call.session()? {
                Some(session) => session.with(|session| $function(call, &object.within(session))),
                None => $function(call, &object.within(mongotls::Free)),
            };
            call.all_used()?;
            outcome
        }
    };
}
pub(super) use scoped;

impl Call<'_> {
    /// The argument of this name, unless it is absent or null.
    pub(super) fn argument(&self, name: &'static str) -> Option<&Value> {
        self.used.borrow_mut().insert(name);
        let value = &self.arguments[name];
        (!value.is_null()).then_some(value)
    }

    /// Fails if there is an argument that no getter has read: the operation has ignored it.
    pub(super) fn all_used(&self) -> Result<(), Failure> {
        let used = self.used.borrow();
        let mut names = self.arguments.as_object().into_iter().flatten();
        match names.find(|(name, _)| !used.contains(name.as_str())) {
            Some((name, _)) => Err(Failure::runner(format!(
                "the operation ignores the argument \"{name}\""
            ))),
            None => Ok(()),
        }
    }

    /// The session of the argument `session`, if there is one.
    pub(super) fn session(&self) -> Result<Option<Arc<SessionEntity>>, Failure> {
        let Some(name) = self.argument("session") else {
            return Ok(None);
        };
        let name = name
            .as_str()
            .ok_or_else(|| wrong("session", "a string", name))?;
        self.run.entities.session(name).map(Some)
    }

    /// A string that must be among the arguments.
    pub(super) fn text(&self, name: &'static str) -> Result<&str, Failure> {
        self.string(name)?.ok_or_else(|| missing(name))
    }

    /// A number that must be among the arguments.
    pub(super) fn number(&self, name: &'static str) -> Result<u64, Failure> {
        self.u64(name)?.ok_or_else(|| missing(name))
    }

    /// A document that must be among the arguments.
    pub(super) fn document(&self, name: &'static str) -> Result<Document, Failure> {
        self.fields(name)?.ok_or_else(|| missing(name))
    }

    /// A value that must be among the arguments.
    pub(super) fn present(&self, name: &'static str) -> Result<Bson, Failure> {
        self.value(name)?.ok_or_else(|| missing(name))
    }

    /// Documents that must be among the arguments.
    pub(super) fn documents(&self, name: &'static str) -> Result<Vec<Document>, Failure> {
        self.array(name)?.ok_or_else(|| missing(name))
    }

    pub(super) fn string(&self, name: &'static str) -> Result<Option<&str>, Failure> {
        let Some(value) = self.argument(name) else {
            return Ok(None);
        };
        let text = value.as_str();
        text.map(Some).ok_or_else(|| wrong(name, "a string", value))
    }

    pub(super) fn bool(&self, name: &'static str) -> Result<Option<bool>, Failure> {
        self.read(name, "a boolean", Value::as_bool)
    }

    pub(super) fn u64(&self, name: &'static str) -> Result<Option<u64>, Failure> {
        self.read(name, "a number", unsigned)
    }

    pub(super) fn u32(&self, name: &'static str) -> Result<Option<u32>, Failure> {
        let convert = |value: &Value| unsigned(value).and_then(|number| number.try_into().ok());
        self.read(name, "a number", convert)
    }

    pub(super) fn i32(&self, name: &'static str) -> Result<Option<i32>, Failure> {
        let number = self.i64(name)?;
        number
            .map(i32::try_from)
            .transpose()
            .map_err(|error| Failure::malformed(format!("{name}: {error}")))
    }

    pub(super) fn i64(&self, name: &'static str) -> Result<Option<i64>, Failure> {
        self.read(name, "a number", |value| match bson(value).ok()? {
            Bson::Int32(number) => Some(number.into()),
            Bson::Int64(number) => Some(number),
            _ => None,
        })
    }

    /// A number of milliseconds.
    pub(super) fn millis(&self, name: &'static str) -> Result<Option<Duration>, Failure> {
        Ok(self.u64(name)?.map(Duration::from_millis))
    }

    /// A number of seconds.
    pub(super) fn seconds(&self, name: &'static str) -> Result<Option<Duration>, Failure> {
        Ok(self.u64(name)?.map(Duration::from_secs))
    }

    pub(super) fn fields(&self, name: &'static str) -> Result<Option<Document>, Failure> {
        self.read(name, "a document", |value| document(value).ok())
    }

    pub(super) fn value(&self, name: &'static str) -> Result<Option<Bson>, Failure> {
        self.read(name, "Extended JSON", |value| bson(value).ok())
    }

    /// An array of documents.
    pub(super) fn array(&self, name: &'static str) -> Result<Option<Vec<Document>>, Failure> {
        self.read(name, "an array of documents", |value| {
            let all = value.as_array()?.iter();
            all.map(|one| document(one).ok()).collect()
        })
    }

    pub(super) fn hint(&self, name: &'static str) -> Result<Option<Hint>, Failure> {
        self.read(name, "a hint", hint)
    }

    pub(super) fn collation(&self, name: &'static str) -> Result<Option<Collation>, Failure> {
        let value = self.argument(name);
        let collation = value.map(collation).transpose();
        collation.map_err(Failure::Malformed)
    }

    pub(super) fn cursor_type(&self, name: &'static str) -> Result<Option<CursorType>, Failure> {
        self.read(name, "a cursor type", |value| match value.as_str()? {
            "nonTailable" => Some(CursorType::NonTailable),
            "tailable" => Some(CursorType::Tailable),
            "tailableAwait" => Some(CursorType::TailableAwait),
            _ => None,
        })
    }

    pub(super) fn timeout_mode(
        &self,
        name: &'static str,
    ) -> Result<Option<CursorTimeoutMode>, Failure> {
        self.read(name, "a timeout mode", |value| match value.as_str()? {
            "cursorLifetime" => Some(CursorTimeoutMode::CursorLifetime),
            "iteration" => Some(CursorTimeoutMode::Iteration),
            _ => None,
        })
    }

    pub(super) fn read_concern(&self, name: &'static str) -> Result<Option<ReadConcern>, Failure> {
        let concern = self.argument(name).map(read_concern).transpose();
        concern.map_err(Failure::Malformed)
    }

    pub(super) fn write_concern(
        &self,
        name: &'static str,
    ) -> Result<Option<WriteConcern>, Failure> {
        let concern = self.argument(name).map(write_concern).transpose();
        concern.map_err(Failure::Malformed)
    }

    pub(super) fn preference(&self, name: &'static str) -> Result<Option<ReadPreference>, Failure> {
        let preference = self.argument(name).map(read_preference).transpose();
        preference.map_err(Failure::Malformed)
    }

    pub(super) fn read<T>(
        &self,
        name: &'static str,
        kind: &str,
        convert: impl Fn(&Value) -> Option<T>,
    ) -> Result<Option<T>, Failure> {
        let Some(value) = self.argument(name) else {
            return Ok(None);
        };
        let converted = convert(value).map(Some);
        converted.ok_or_else(|| wrong(name, kind, value))
    }
}

fn missing(name: &str) -> Failure {
    Failure::malformed(format!("the argument \"{name}\" is missing"))
}

fn wrong(name: &str, kind: &str, value: &Value) -> Failure {
    Failure::malformed(format!("the argument \"{name}\" is {value}, not {kind}"))
}

/// The read concern of "Common Options".
pub(in crate::unified) fn read_concern(value: &Value) -> Result<ReadConcern, String> {
    only_arguments(value, &["level"])?;
    match &value["level"] {
        Value::Null => Ok(ReadConcern::default()),
        Value::String(level) => Ok(ReadConcern::new(level)),
        other => Err(format!("the read concern {other} is not a string")),
    }
}

/// The write concern of "Common Options".
pub(in crate::unified) fn write_concern(value: &Value) -> Result<WriteConcern, String> {
    only_arguments(value, &["w", "wtimeoutMS", "journal"])?;
    let mut concern = WriteConcern::default();
    match &value["w"] {
        Value::Null => {}
        Value::String(mode) => concern = concern.w(mode.as_str()),
        number => {
            let members = unsigned(number).and_then(|number| u32::try_from(number).ok());
            concern = concern.w(members.ok_or_else(|| format!("w is {number}"))?);
        }
    }
    if let Some(limit) = unsigned(&value["wtimeoutMS"]) {
        concern = concern.w_timeout(Duration::from_millis(limit));
    }
    if let Some(journal) = value["journal"].as_bool() {
        concern = concern.journal(journal);
    }
    Ok(concern)
}

/// An index as a name or as a document of keys.
pub(super) fn hint(value: &Value) -> Option<Hint> {
    match bson(value).ok()? {
        Bson::String(name) => Some(Hint::from(name)),
        Bson::Document(keys) => Some(Hint::from(keys)),
        _ => None,
    }
}

/// A collation as its document.
pub(super) fn collation(value: &Value) -> Result<Collation, String> {
    let fields = value.as_object().into_iter().flatten();
    let locale = value["locale"].as_str();
    let mut collation = Collation::new(locale.ok_or("a collation without a locale")?);
    for (name, value) in fields {
        let set = set_rule(&mut collation, name, value);
        set.ok_or_else(|| format!("the collation has {name}: {value}"))?;
    }
    Ok(collation)
}

fn set_rule(collation: &mut Collation, name: &str, value: &Value) -> Option<()> {
    let flag = || value.as_bool();
    let text = || value.as_str();
    match name {
        "locale" => {}
        "strength" => {
            let all = [
                CollationStrength::Primary,
                CollationStrength::Secondary,
                CollationStrength::Tertiary,
                CollationStrength::Quaternary,
                CollationStrength::Identical,
            ];
            let level = unsigned(value)?;
            let strength = all.into_iter().find(|one| one.level() as u64 == level)?;
            collation.strength = Some(strength);
        }
        "caseLevel" => collation.case_level = Some(flag()?),
        "caseFirst" => {
            collation.case_first = Some(match text()? {
                "upper" => CollationCaseFirst::Upper,
                "lower" => CollationCaseFirst::Lower,
                "off" => CollationCaseFirst::Off,
                _ => return None,
            });
        }
        "numericOrdering" => collation.numeric_ordering = Some(flag()?),
        "alternate" => {
            collation.alternate = Some(match text()? {
                "non-ignorable" => CollationAlternate::NonIgnorable,
                "shifted" => CollationAlternate::Shifted,
                _ => return None,
            });
        }
        "maxVariable" => {
            collation.max_variable = Some(match text()? {
                "punct" => CollationMaxVariable::Punct,
                "space" => CollationMaxVariable::Space,
                _ => return None,
            });
        }
        "normalization" => collation.normalization = Some(flag()?),
        "backwards" => collation.backwards = Some(flag()?),
        _ => return None,
    }
    Some(())
}
