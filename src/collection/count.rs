//! The numbers of documents: counted by an aggregation, or estimated by the metadata of the collection ("CRUD API",
//! "Count API Details").

use bson::raw::{CStr, RawDocument};
use bson::{Document, RawArrayBuf, RawBsonRef, RawDocumentBuf, cstr, rawdoc};

use super::Collection;
use super::action::{self, Action};
use crate::client_session::{Free, IntoScope, Scope};
use crate::data::hello::integer;
use crate::encode::{ToBson, to_document};
use crate::error::{Error, Result};
use crate::options::Verbosity;
use crate::server_code::NAMESPACE_NOT_FOUND;

impl<T, S: Scope> Collection<T, S> {
    /// Counts the documents that match `filter`. An empty filter matches all documents, and each of them is visited; see
    /// [`estimated_document_count`](Self::estimated_document_count).
    ///
    /// The filter is a stage `$match` of an aggregation, which does not have all operators: `$where`, `$near` and
    /// `$nearSphere` need `$expr`, `$geoWithin` with `$center` and `$geoWithin` with `$centerSphere` instead.
    ///
    /// ```no_run
    /// # use mongotls::bson::{Document, doc};
    /// # let client = mongotls::Client::connect("mongodb://localhost")?;
    /// let things = client.database("shop").collection::<Document>("things");
    /// let bolts = things.count_documents(doc! { "kind": "bolt" }).run()?;
    /// # Ok::<(), mongotls::Error>(())
    /// ```
    pub fn count_documents(&self, filter: impl ToBson) -> CountDocuments<S> {
        CountDocuments {
            action: self.action(),
            filter: to_document(&filter, "the filter"),
            skip: None,
            limit: None,
        }
    }

    /// Estimates the number of documents from the metadata of the collection, without visiting them.
    ///
    /// It runs the server's command `count`; the server's manual describes when its result is wrong ("Count: Behavior").
    /// The command is missing in the Stable API of MongoDB 5.0.0 to 5.0.8 and 5.1.0 to 5.3.1. With a strict
    /// [`ServerApi`](crate::options::ServerApi) these servers reject it: use a later server, or an API that is not strict.
    ///
    /// ```no_run
    /// # use mongotls::bson::Document;
    /// # let client = mongotls::Client::connect("mongodb://localhost")?;
    /// let things = client.database("shop").collection::<Document>("things");
    /// println!("about {}", things.estimated_document_count().run()?);
    /// # Ok::<(), mongotls::Error>(())
    /// ```
    pub fn estimated_document_count(&self) -> EstimatedDocumentCount<S> {
        EstimatedDocumentCount {
            action: self.action(),
        }
    }
}

/// The action of [`Collection::count_documents`].
#[must_use = "an action does nothing until it is run"]
pub struct CountDocuments<S = Free> {
    action: Action<S>,
    filter: Result<RawDocumentBuf>,
    skip: Option<u64>,
    limit: Option<u64>,
}

action::redacted_debug!(CountDocuments<S>);

impl<S: Scope> CountDocuments<S> {
    action::common_setters!();
    action::read_setters!();
    action::option_fields! {
        /// Sets the index that the server must use.
        hint: hint => "hint";
        /// Sets the rules for comparing text.
        collation: collation => "collation";
        /// Sets the time limit on the server, in milliseconds on the wire. `timeoutMS` replaces it.
        max_time: duration_ms => "maxTimeMS";
    }

    /// Sets the number of documents that are not counted.
    pub fn skip(mut self, skip: u64) -> Self {
        self.skip = Some(skip);
        self
    }

    /// Sets the largest number of documents to count.
    pub fn limit(mut self, limit: u64) -> Self {
        self.limit = Some(limit);
        self
    }

    /// Runs the action in a session: `&Session`, `&mut Session` or `Rc<Session>`.
    pub fn session<S2: IntoScope>(self, scope: S2) -> CountDocuments<S2::Scope> {
        CountDocuments {
            action: self.action.within(scope.into_scope()),
            filter: self.filter,
            skip: self.skip,
            limit: self.limit,
        }
    }

    /// Sends the command and returns the number.
    ///
    /// # Errors
    /// [`ErrorKind::InvalidArgument`](crate::ErrorKind::InvalidArgument) and [`ErrorKind::Bson`](crate::ErrorKind::Bson) if
    /// the filter or an option cannot be sent; otherwise those of
    /// [`Database::run_command`](crate::Database::run_command).
    pub fn run(self) -> Result<u64> {
        let (pipeline, cursor) = (self.pipeline()?, RawDocumentBuf::new());
        // No document matches: there is no group.
        let own = own_fields(&pipeline, &cursor);
        let counted = self.action.first_document("aggregate", &own, count)?;
        Ok(counted.unwrap_or(0))
    }

    /// Returns the server's explanation of this operation, which describes the plan that it chooses. With
    /// [`Verbosity::QueryPlanner`] the operation does not run.
    ///
    /// # Errors
    /// As [`run`](Self::run), except for errors of documents.
    pub fn explain(self, verbosity: Verbosity) -> Result<Document> {
        let (pipeline, cursor) = (self.pipeline()?, RawDocumentBuf::new());
        self.action
            .explain("aggregate", &own_fields(&pipeline, &cursor), verbosity)
    }

    /// The pipeline that counts.
    fn pipeline(&self) -> Result<RawArrayBuf> {
        let mut pipeline = RawArrayBuf::new();
        pipeline.push(rawdoc! { "$match": self.filter.clone()? });
        let signed = |number| i64::try_from(number).unwrap_or(i64::MAX);
        if let Some(skip) = self.skip {
            pipeline.push(rawdoc! { "$skip": signed(skip) });
        }
        if let Some(limit) = self.limit {
            pipeline.push(rawdoc! { "$limit": signed(limit) });
        }
        pipeline.push(rawdoc! { "$group": { "_id": 1, "n": { "$sum": 1 } } });
        Ok(pipeline)
    }
}

/// The fields of an aggregation.
fn own_fields<'a>(
    pipeline: &'a RawArrayBuf,
    cursor: &'a RawDocumentBuf,
) -> [(&'static CStr, RawBsonRef<'a>); 2] {
    [
        (cstr!("pipeline"), RawBsonRef::Array(pipeline)),
        (cstr!("cursor"), RawBsonRef::Document(cursor)),
    ]
}

/// The action of [`Collection::estimated_document_count`].
#[must_use = "an action does nothing until it is run"]
pub struct EstimatedDocumentCount<S = Free> {
    action: Action<S>,
}

action::redacted_debug!(EstimatedDocumentCount<S>);

impl<S: Scope> EstimatedDocumentCount<S> {
    action::common_setters!();
    action::read_setters!();
    action::option_fields! {
        /// Sets the time limit on the server, in milliseconds on the wire. `timeoutMS` replaces it.
        max_time: duration_ms => "maxTimeMS";
    }

    /// Runs the action in a session: `&Session`, `&mut Session` or `Rc<Session>`.
    pub fn session<S2: IntoScope>(self, scope: S2) -> EstimatedDocumentCount<S2::Scope> {
        EstimatedDocumentCount {
            action: self.action.within(scope.into_scope()),
        }
    }

    /// Returns the server's explanation of this operation, which describes the plan that it chooses. With
    /// [`Verbosity::QueryPlanner`] the operation does not run.
    ///
    /// # Errors
    /// As [`run`](Self::run), except for errors of documents.
    pub fn explain(self, verbosity: Verbosity) -> Result<Document> {
        self.action.explain("count", &[], verbosity)
    }

    /// Sends the command and returns the number.
    ///
    /// # Errors
    /// As [`CountDocuments::run`].
    pub fn run(self) -> Result<u64> {
        match self.action.run_read("count", &[]) {
            Ok(reply) => count(&reply),
            // A collection that does not exist has no documents.
            Err(error) if has_code(&error, NAMESPACE_NOT_FOUND) => Ok(0),
            Err(error) => Err(error),
        }
    }
}

fn has_code(error: &Error, code: i32) -> bool {
    error.command().is_some_and(|failure| failure.code == code)
}

/// The number in the field `n`.
fn count(document: &RawDocument) -> Result<u64> {
    let fields = document.iter().map_while(std::result::Result::ok);
    let mut counts = fields.filter(|(key, _)| key.as_str() == "n");
    let n = match (counts.next(), counts.next()) {
        (Some((_, n)), None) => integer(n),
        _ => None,
    };
    n.and_then(|n| u64::try_from(n).ok())
        .ok_or_else(|| Error::protocol("the reply has no number of documents"))
}
