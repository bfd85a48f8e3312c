//! The commands that actions send.

use bson::raw::CStr;
use bson::{RawBsonRef, RawDocument, cstr};

use crate::options::Verbosity;
use crate::wire::request::{EncodeCommand, Fields};

/// The time limit of a command on the server.
const MAX_TIME: &CStr = cstr!("maxTimeMS");

/// The command of an action on a collection or on a database.
#[derive(Clone, Copy, Debug)]
pub(crate) struct ActionCommand<'a> {
    pub(super) name: &'static str,
    /// The value of the first field: the name of the collection. `None` for a database, whose commands have the value 1.
    pub(super) subject: Option<&'a str>,
    pub(super) own: &'a [(&'static CStr, RawBsonRef<'a>)],
    pub(super) options: Option<&'a RawDocument>,
    /// True if `maxTimeMS` among the options is not a field of the command.
    pub(super) ignores_max_time: bool,
}

impl<'a> ActionCommand<'a> {
    /// `maxTimeMS` of the program, if it is set.
    pub(super) fn max_time(&self) -> Option<RawBsonRef<'a>> {
        self.options?.get(MAX_TIME.as_str()).ok().flatten()
    }
}

impl EncodeCommand for ActionCommand<'_> {
    fn name(&self) -> &str {
        self.name
    }

    fn encode(&self, fields: &mut Fields<'_>) {
        match self.subject {
            Some(subject) => fields.text(self.name, subject),
            None => fields.int32(self.name, 1),
        }
        for (key, value) in self.own {
            fields.value(key, *value);
        }
        let Some(options) = self.options else {
            return;
        };
        // A server rejects a field that occurs twice.
        if !self.ignores_max_time || self.max_time().is_none() {
            fields.fields_of(options);
            return;
        }
        let others = options.iter().flatten();
        for (key, value) in others.filter(|(key, _)| *key != MAX_TIME) {
            fields.value(key, value);
        }
    }
}

/// The command `explain` for the command of an action.
#[derive(Clone, Copy, Debug)]
pub(super) struct ExplainCommand<'a> {
    pub(super) explained: ActionCommand<'a>,
    pub(super) verbosity: Verbosity,
    /// `maxTimeMS`, if the program has set it.
    pub(super) limit: Option<RawBsonRef<'a>>,
}

impl EncodeCommand for ExplainCommand<'_> {
    fn name(&self) -> &str {
        "explain"
    }

    fn encode(&self, fields: &mut Fields<'_>) {
        fields.nested(self.name(), |fields| self.explained.encode(fields));
        fields.text("verbosity", self.verbosity.as_str());
        if let Some(limit) = self.limit {
            fields.value(MAX_TIME, limit);
        }
    }
}
