//! The collection or the database that an action concerns.

use std::sync::Arc;

use crate::client::Client;
use crate::database::Database;
use crate::error::{Error, Result};
use crate::options::{CollectionOptions, Criteria, collection_name_problem};
use crate::time::{Deadline, TimeoutKind, TimeoutMs};

/// A collection on a client, or a database itself, with the settings of its operations.
#[derive(Clone, Debug)]
pub(crate) struct Target {
    client: Client,
    database: String,
    /// The name of the collection. Empty for actions on the database itself.
    name: String,
    /// The reason why every server rejects the names, if they are invalid.
    problem: Option<String>,
    criteria: Criteria,
    /// `timeoutMS` of each operation.
    timeout: Option<TimeoutMs>,
    /// The deadline of the larger whole that the operations belong to, such as an upload. `timeout` has set it.
    whole: Option<Deadline>,
}

impl Target {
    /// A collection of a database. Its settings are those of `options`, and otherwise those of the database.
    pub(super) fn of_collection<S>(
        database: &Database<S>,
        name: &str,
        options: CollectionOptions,
    ) -> Arc<Self> {
        let criteria = database.criteria();
        let of_collection = options.timeout.map(|limit| TimeoutMs {
            limit,
            kind: TimeoutKind::Operation,
        });
        Arc::new(Self {
            client: database.client().clone(),
            database: database.name().to_owned(),
            name: name.to_owned(),
            problem: database.problem().or_else(|| collection_name_problem(name)),
            timeout: of_collection.or_else(|| database.timeout_ms()),
            whole: None,
            criteria: Criteria {
                read_concern: options.read_concern.unwrap_or(criteria.read_concern),
                write_concern: options.write_concern.unwrap_or(criteria.write_concern),
                read_preference: options.read_preference.unwrap_or(criteria.read_preference),
            },
        })
    }

    /// The database itself, for actions that concern no collection.
    pub(super) fn of_database<S>(database: &Database<S>) -> Arc<Self> {
        Arc::new(Self {
            client: database.client().clone(),
            database: database.name().to_owned(),
            name: String::new(),
            problem: database.problem(),
            criteria: database.criteria(),
            timeout: database.timeout_ms(),
            whole: None,
        })
    }

    /// The same collection or database of another handle of the client.
    pub(super) fn of_client(&self, client: Client) -> Arc<Self> {
        Arc::new(Self {
            client,
            ..self.clone()
        })
    }

    /// Returns the collection with one limit and one deadline for all its operations, such as those of an upload.
    pub(super) fn within_whole(&self, timeout: TimeoutMs, deadline: Deadline) -> Arc<Self> {
        Arc::new(Self {
            timeout: Some(timeout),
            whole: Some(deadline),
            ..self.clone()
        })
    }

    pub(super) fn client(&self) -> &Client {
        &self.client
    }

    /// The name of the database.
    pub(super) fn database(&self) -> &str {
        &self.database
    }

    /// The name of the collection. Empty for actions on the database itself.
    pub(super) fn name(&self) -> &str {
        &self.name
    }

    /// Read concern, write concern and read preference of the operations.
    pub(super) fn criteria(&self) -> &Criteria {
        &self.criteria
    }

    /// `timeoutMS` of each operation.
    pub(super) fn timeout(&self) -> Option<TimeoutMs> {
        self.timeout
    }

    /// The deadline of the larger whole that the operations belong to.
    pub(super) fn whole(&self) -> Option<Deadline> {
        self.whole
    }

    /// Returns an error if no server accepts the names.
    pub(super) fn check(&self) -> Result<()> {
        match &self.problem {
            Some(problem) => Err(Error::invalid_argument(problem.clone())),
            None => Ok(()),
        }
    }
}
