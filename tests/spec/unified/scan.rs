//! Decides before a case runs whether this library can run it: operations of later work are known by name, and an
//! unknown operation or argument makes the case fail.

use std::collections::BTreeMap;

use serde_json::Value;

use super::failure::Failure;
use super::json::items;
use super::operations::{self, Run};
use super::schema;

/// The kind of object that an operation is performed on.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Kind {
    TestRunner,
    Client,
    ClientEncryption,
    Database,
    Collection,
    Session,
    Cursor,
    ChangeStream,
    Bucket,
    /// An entity without operations.
    Other,
}

impl Kind {
    pub(crate) fn as_str(self) -> &'static str {
        match self {
            Self::TestRunner => "test runner",
            Self::Client => "client",
            Self::ClientEncryption => "client encryption",
            Self::Database => "database",
            Self::Collection => "collection",
            Self::Session => "session",
            Self::Cursor => "cursor",
            Self::ChangeStream => "change stream",
            Self::Bucket => "bucket",
            Self::Other => "value",
        }
    }

    fn of_entity(name: &str) -> Self {
        match name {
            "client" => Self::Client,
            "clientEncryption" => Self::ClientEncryption,
            "database" => Self::Database,
            "collection" => Self::Collection,
            "session" => Self::Session,
            "bucket" => Self::Bucket,
            _ => Self::Other,
        }
    }
}

/// What can be done with a case.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Plan {
    Run,
    /// It needs a part of the library that does not exist yet.
    NotYet(&'static str),
    /// It tests something that the library will not have.
    OutOfScope(&'static str),
}

/// Reads a case without running it. Something unknown is a failure.
pub(crate) fn scan(file: &Value, case: &Value) -> Result<Plan, Failure> {
    let mut scan = Scan {
        kinds: BTreeMap::from([("testRunner".to_owned(), Kind::TestRunner)]),
        not_yet: None,
        out_of_scope: None,
    };
    scan.entities(&file["createEntities"]);
    scan.operations(&case["operations"])?;
    if !case["expectTracingMessages"].is_null() {
        scan.not_yet.get_or_insert("OpenTelemetry");
    }
    if is_encryption_required(file) || is_encryption_required(case) {
        scan.out_of_scope = Some("client-side encryption");
    }
    Ok(match (scan.out_of_scope, scan.not_yet) {
        (Some(why), _) => Plan::OutOfScope(why),
        (None, Some(why)) => Plan::NotYet(why),
        (None, None) => Plan::Run,
    })
}

/// Returns true if the requirements can only be satisfied with client-side encryption.
fn is_encryption_required(value: &Value) -> bool {
    let requirements = items(&value["runOnRequirements"]);
    let requires = |requirement: &Value| {
        let csfle = &requirement["csfle"];
        *csfle == true || csfle.is_object()
    };
    !requirements.is_empty() && requirements.iter().all(requires)
}

struct Scan {
    kinds: BTreeMap<String, Kind>,
    not_yet: Option<&'static str>,
    out_of_scope: Option<&'static str>,
}

impl Scan {
    fn entities(&mut self, entities: &Value) {
        for entity in items(entities) {
            for (name, fields) in entity.as_object().into_iter().flatten() {
                let kind = Kind::of_entity(name);
                let id = fields["id"].as_str().unwrap_or_default();
                self.kinds.insert(id.to_owned(), kind);
                if kind == Kind::ClientEncryption || !fields["autoEncryptOpts"].is_null() {
                    self.out_of_scope = Some("client-side encryption");
                }
                // CMAP, "Deprecated Options": a driver need not have them.
                let deprecated = ["waitQueueSize", "waitQueueMultiple"];
                if deprecated
                    .iter()
                    .any(|option| !fields["uriOptions"][option].is_null())
                {
                    self.out_of_scope
                        .get_or_insert("deprecated options of the wait queue");
                }
            }
        }
    }

    fn operations(&mut self, operations: &Value) -> Result<(), Failure> {
        items(operations)
            .iter()
            .try_for_each(|operation| self.operation(operation))
    }

    fn operation(&mut self, operation: &Value) -> Result<(), Failure> {
        let name = operation["name"].as_str().unwrap_or_default();
        let object = operation["object"].as_str().unwrap_or_default();
        let arguments = &operation["arguments"];
        // An undefined entity makes the operation fail when it runs.
        if let Some(kind) = self.kinds.get(object).copied() {
            let known = operations::find(kind, name)?;
            operations::check_arguments(known, arguments)?;
            if let Run::OutOfScope(why) = known.run {
                self.out_of_scope.get_or_insert(why);
            }
            self.result(kind, name, operation);
        }
        match name {
            "createEntities" => {
                schema::check_entities(&arguments["entities"]).map_err(Failure::Malformed)?;
                self.entities(&arguments["entities"]);
            }
            "runOnThread" => self.nested(&arguments["operation"])?,
            "loop" | "withTransaction" => {
                let field = if name == "loop" {
                    "operations"
                } else {
                    "callback"
                };
                items(&arguments[field])
                    .iter()
                    .try_for_each(|operation| self.nested(operation))?;
            }
            "waitForEvent" | "assertEventCount" => {
                schema::check_event(&arguments["event"]).map_err(Failure::Malformed)?;
            }
            "recordTopologyDescription" => {
                let id = arguments["id"].as_str().unwrap_or_default();
                self.kinds.insert(id.to_owned(), Kind::Other);
            }
            _ => {}
        }
        Ok(())
    }

    fn nested(&mut self, operation: &Value) -> Result<(), Failure> {
        schema::check_operation(operation).map_err(Failure::Malformed)?;
        self.operation(operation)
    }

    /// Remembers the kind of a result that becomes an entity.
    fn result(&mut self, kind: Kind, name: &str, operation: &Value) {
        let Some(id) = operation["saveResultAsEntity"].as_str() else {
            return;
        };
        let result = match (kind, name) {
            (_, "createFindCursor" | "createCommandCursor") => Kind::Cursor,
            (_, "createChangeStream") => Kind::ChangeStream,
            (Kind::Database, "createCollection") => Kind::Collection,
            _ => Kind::Other,
        };
        self.kinds.insert(id.to_owned(), result);
    }
}
