//! Runs one case on one deployment: "Executing a Test" of the unified test format.

use std::collections::BTreeSet;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use bson::{Bson, Document, doc};
use mongotls::Error;
use serde_json::Value;

use super::deployment::Deployment;
use super::entities::{Entities, Entity};
use super::errors;
use super::failure::Failure;
use super::json::{bson, document, items};
use super::matcher::{are_same, matches, matches_roots};
use super::operations::{self, Call, Outcome};
use super::{lock, logs};

/// The state of a running case.
pub(crate) struct CaseRun {
    pub(crate) deployment: Arc<Deployment>,
    pub(crate) entities: Entities,
    /// True if the case sets fail points: clients may check servers more often then, to notice them soon.
    pub(crate) sets_fail_points: bool,
    /// The fail points that were set.
    pub(crate) fail_points: Mutex<BTreeSet<String>>,
}

/// Runs a case of a file.
pub(crate) fn run(deployment: &Arc<Deployment>, file: &Value, case: &Value) -> Result<(), Failure> {
    let run = Arc::new(CaseRun {
        deployment: Arc::clone(deployment),
        entities: Entities::default(),
        sets_fail_points: items(&case["operations"])
            .iter()
            .any(|one| one["name"] == "failPoint" || one["name"] == "targetedFailPoint"),
        fail_points: Mutex::default(),
    });
    let _collecting = (!case["expectLogMessages"].is_null()).then(logs::collect);
    let outcome = run.execute(file, case);
    let ended = run.end();
    outcome.and(ended)
}

impl CaseRun {
    fn execute(self: &Arc<Self>, file: &Value, case: &Value) -> Result<(), Failure> {
        // A transaction that another case has left open would conflict with this one ("Executing a Test").
        let kill = doc! { "killAllSessions": [] };
        let killed = self.deployment.run("admin", kill);
        killed.map_err(|why| Failure::runner(format!("killAllSessions: {why}")))?;
        for data in items(&file["initialData"]) {
            self.prepare(data)
                .map_err(|why| Failure::runner(format!("initialData: {why}")))?;
        }
        if items(&file["initialData"]).is_empty() {
            self.remove_data(&file["createEntities"])
                .map_err(|why| Failure::runner(format!("createEntities: {why}")))?;
        }
        self.create_entities(&file["createEntities"])?;
        self.perform_all(&case["operations"])?;
        let clients = self.entities.clients();
        clients.iter().for_each(|client| client.events.stop());
        clients.iter().for_each(|client| client.logs.stop());
        for expected in items(&case["expectEvents"]) {
            let name = expected["client"].as_str().unwrap_or_default();
            let client = self.entities.client(name)?;
            client
                .events
                .check(expected, &self.entities)
                .map_err(|why| Failure::mismatch(format!("expectEvents of {name}: {why}")))?;
        }
        for expected in items(&case["expectLogMessages"]) {
            let name = expected["client"].as_str().unwrap_or_default();
            let client = self.entities.client(name)?;
            client
                .logs
                .check(expected, &self.entities)
                .map_err(|why| Failure::mismatch(format!("expectLogMessages of {name}: {why}")))?;
        }
        for expected in items(&case["outcome"]) {
            self.check_outcome(expected)?;
        }
        Ok(())
    }

    /// Ends everything, and removes the fail points. A case that left a thread behind has failed.
    fn end(&self) -> Result<(), Failure> {
        let fail_points = std::mem::take(&mut *lock(&self.fail_points));
        let disabled = self.deployment.disable_fail_points(&fail_points);
        let entities = self.entities.take();
        let mut outcome = disabled.map_err(Failure::Runner);
        for entity in &entities {
            if let Entity::Thread(thread) = entity {
                outcome = outcome.and(thread.wait(Duration::from_secs(10)));
            }
        }
        for entity in &entities {
            match entity {
                Entity::Cursor(cursor) => lock(cursor).close(),
                Entity::ChangeStream(stream) => drop(lock(stream).take()),
                Entity::Session(session) => session.end(),
                _ => {}
            }
        }
        for entity in &entities {
            if let Entity::Client(client) = entity {
                client.close();
            }
        }
        outcome
    }

    /// Drops the collections of these entities: without `initialData` a case must not find what others have left.
    fn remove_data(&self, entities: &Value) -> Result<(), String> {
        let of_kind = |kind| move |entity: &Value| entity.get(kind).cloned();
        let databases: Vec<_> = items(entities)
            .iter()
            .filter_map(of_kind("database"))
            .collect();
        let mut collections = items(entities).iter().filter_map(of_kind("collection"));
        collections.try_for_each(|collection| {
            let database = databases
                .iter()
                .find(|database| database["id"] == collection["database"]);
            let database = database.and_then(|database| database["databaseName"].as_str());
            let name = collection["collectionName"].as_str().unwrap_or_default();
            self.drop_collection(database.unwrap_or_default(), name)
        })
    }

    fn drop_collection(&self, database: &str, name: &str) -> Result<(), String> {
        let drop = doc! { "drop": name, "writeConcern": { "w": "majority" } };
        match self.deployment.run(database, drop) {
            Err(why) if !why.contains("ns not found") => Err(why),
            _ => Ok(()),
        }
    }

    /// Puts the data of a collection in its place.
    fn prepare(&self, data: &Value) -> Result<(), String> {
        let name = |field: &str| data[field].as_str().unwrap_or_default().to_owned();
        let (database, collection) = (name("databaseName"), name("collectionName"));
        let majority = doc! { "w": "majority" };
        self.drop_collection(&database, &collection)?;
        let documents = items(&data["documents"]);
        let options = &data["createOptions"];
        if documents.is_empty() || !options.is_null() {
            let mut create = doc! { "create": &collection };
            if !options.is_null() {
                create.extend(document(options)?);
            }
            create.insert("writeConcern", &majority);
            self.deployment.run(&database, create)?;
        }
        if documents.is_empty() {
            return Ok(());
        }
        let documents: Result<Vec<_>, _> = documents.iter().map(bson).collect();
        let insert = doc! {
            "insert": &collection,
            "documents": documents?,
            "writeConcern": &majority,
        };
        let reply = self.deployment.run(&database, insert)?;
        match reply.contains_key("writeErrors") || reply.contains_key("writeConcernError") {
            true => Err(format!("{reply}")),
            false => Ok(()),
        }
    }

    fn check_outcome(&self, expected: &Value) -> Result<(), Failure> {
        let name = |field: &str| expected[field].as_str().unwrap_or_default();
        let (database, collection) = (name("databaseName"), name("collectionName"));
        let actual = self
            .deployment
            .documents(database, collection)
            .map_err(Failure::Runner)?;
        let expected: Result<Vec<_>, _> = items(&expected["documents"]).iter().map(bson).collect();
        let expected = expected.map_err(Failure::Malformed)?;
        let actual = actual.into_iter().map(Bson::Document).collect::<Vec<_>>();
        match are_same(&Bson::Array(expected.clone()), &Bson::Array(actual.clone())) {
            true => Ok(()),
            false => Err(Failure::mismatch(format!(
                "outcome of {database}.{collection}: expected {}, got {}",
                Bson::Array(expected),
                Bson::Array(actual)
            ))),
        }
    }

    /// Performs operations in their order.
    pub(crate) fn perform_all(self: &Arc<Self>, operations: &Value) -> Result<(), Failure> {
        items(operations)
            .iter()
            .enumerate()
            .try_for_each(|(index, operation)| {
                let name = operation["name"].as_str().unwrap_or_default();
                self.perform(operation).map_err(|failure| match failure {
                    Failure::Operation(error) => Failure::mismatch(format!(
                        "operation {index}, {name}: unexpected error: {error:?}"
                    )),
                    other => other.at(&format!("operation {index}, {name}")),
                })
            })
    }

    /// Performs an operation and compares its result with what it expects.
    pub(crate) fn perform(self: &Arc<Self>, operation: &Value) -> Result<(), Failure> {
        self.perform_in_callback(operation).map(|_| ())
    }

    /// Performs an operation as [`perform`](Self::perform) does, and returns its error, if it has the expected one.
    pub(crate) fn perform_in_callback(
        self: &Arc<Self>,
        operation: &Value,
    ) -> Result<Option<Box<Error>>, Failure> {
        let outcome = self.outcome_of(operation);
        let outcome = match outcome {
            // Only errors of the library are expected; others mean that the case is wrong.
            Err(Failure::Operation(error)) => Err(error),
            Err(other) => return Err(other),
            Ok(outcome) => Ok(outcome),
        };
        if operation["ignoreResultAndError"] == true {
            return Ok(outcome.err());
        }
        let expected_error = &operation["expectError"];
        match outcome {
            Err(error) if expected_error.is_null() => Err(Failure::Operation(error)),
            Err(error) => {
                errors::check(expected_error, &error, &self.entities).map_err(Failure::Mismatch)?;
                Ok(Some(error))
            }
            Ok(outcome) if !expected_error.is_null() => Err(Failure::mismatch(format!(
                "expected the error {expected_error}, got the result {}",
                outcome.summary()
            ))),
            Ok(outcome) => {
                if let Some(expected) = operation.get("expectResult") {
                    self.check_result(expected, &outcome)?;
                }
                if let Some(name) = operation["saveResultAsEntity"].as_str() {
                    self.entities.put(name, outcome.into_entity()?)?;
                }
                Ok(None)
            }
        }
    }

    fn outcome_of(self: &Arc<Self>, operation: &Value) -> Result<Outcome, Failure> {
        let name = operation["name"].as_str().unwrap_or_default();
        let object = operation["object"].as_str().unwrap_or_default();
        let entity = match object {
            "testRunner" => None,
            name => Some(self.entities.get(name)?),
        };
        let call = Call::new(self, entity.as_ref(), &operation["arguments"]);
        operations::perform(name, &call)
    }

    fn check_result(&self, expected: &Value, outcome: &Outcome) -> Result<(), Failure> {
        let expected = bson(expected).map_err(Failure::Malformed)?;
        let matched = match outcome {
            Outcome::Nothing | Outcome::Entity(_) => {
                matches(&expected, None, false, &self.entities)
            }
            Outcome::Value(value) => matches(&expected, Some(value), false, &self.entities),
            Outcome::Document(value) => {
                let value = Bson::Document(value.clone());
                matches(&expected, Some(&value), true, &self.entities)
            }
            Outcome::Documents(values) => {
                let values: Vec<_> = values.iter().cloned().map(Bson::Document).collect();
                matches_roots(&expected, &values, &self.entities)
            }
        };
        matched.map_err(|why| Failure::mismatch(format!("expectResult: {why}")))
    }

    /// Keeps a fail point in mind, to disable it at the end.
    pub(crate) fn remember_fail_point(&self, command: &Document) {
        let name = command.get_str("configureFailPoint").unwrap_or_default();
        lock(&self.fail_points).insert(name.to_owned());
    }
}
