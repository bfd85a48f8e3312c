//! The operations of change streams, and those that open one.

use std::sync::{Arc, Mutex};

use bson::{Document, Timestamp};
use mongotls::change_stream::ResumeToken;
use mongotls::options::{FullDocumentBeforeChangeType, FullDocumentType};
use mongotls::{ChangeStream, Watch};

use super::arguments::set;
use super::{Call, Operation, Outcome, client, collection, database, now};
use crate::unified::entities::Entity;
use crate::unified::failure::Failure;
use crate::unified::lock;

pub(super) const OPERATIONS: &[Operation] = &[
    now("close", &[], close),
    now("iterateOnce", &[], iterate_once),
    now(
        "iterateUntilDocumentOrError",
        &[],
        iterate_until_document_or_error,
    ),
];

pub(super) const CREATE: &[&str] = &[
    "pipeline",
    "batchSize",
    "collation",
    "comment",
    "fullDocument",
    "fullDocumentBeforeChange",
    "maxAwaitTimeMS",
    "resumeAfter",
    "showExpandedEvents",
    "startAfter",
    "startAtOperationTime",
    "timeoutMS",
];

pub(super) fn of_client(call: &Call<'_>) -> Result<Outcome, Failure> {
    open(call, client::client(call)?.client.watch().with_type())
}

pub(super) fn of_database(call: &Call<'_>) -> Result<Outcome, Failure> {
    open(call, database::object(call)?.watch().with_type())
}

pub(super) fn of_collection(call: &Call<'_>) -> Result<Outcome, Failure> {
    open(call, collection::object(call)?.watch().with_type())
}

fn open(call: &Call<'_>, action: Watch<Document>) -> Result<Outcome, Failure> {
    let mut watch = action;
    set!(watch, call:
        pipeline = array("pipeline"),
        batch_size = u32("batchSize"),
        collation = collation("collation"),
        comment = value("comment"),
        full_document = full_document("fullDocument"),
        full_document_before_change = before_change("fullDocumentBeforeChange"),
        max_await_time = millis("maxAwaitTimeMS"),
        resume_after = token("resumeAfter"),
        show_expanded_events = bool("showExpandedEvents"),
        start_after = token("startAfter"),
        start_at_operation_time = timestamp("startAtOperationTime"),
        timeout = millis("timeoutMS"),
    );
    call.all_used()?;
    let stream = Arc::new(Mutex::new(Some(watch.run()?)));
    Ok(Outcome::Entity(Entity::ChangeStream(stream)))
}

impl Call<'_> {
    fn full_document(&self, name: &'static str) -> Result<Option<FullDocumentType>, Failure> {
        Ok(self.string(name)?.map(|text| match text {
            "updateLookup" => FullDocumentType::UpdateLookup,
            "whenAvailable" => FullDocumentType::WhenAvailable,
            "required" => FullDocumentType::Required,
            other => FullDocumentType::Other(other.to_owned()),
        }))
    }

    fn before_change(
        &self,
        name: &'static str,
    ) -> Result<Option<FullDocumentBeforeChangeType>, Failure> {
        Ok(self.string(name)?.map(|text| match text {
            "whenAvailable" => FullDocumentBeforeChangeType::WhenAvailable,
            "required" => FullDocumentBeforeChangeType::Required,
            "off" => FullDocumentBeforeChangeType::Off,
            other => FullDocumentBeforeChangeType::Other(other.to_owned()),
        }))
    }

    fn token(&self, name: &'static str) -> Result<Option<ResumeToken>, Failure> {
        let token = self.fields(name)?.map(ResumeToken::try_from);
        Ok(token.transpose()?)
    }

    fn timestamp(&self, name: &'static str) -> Result<Option<Timestamp>, Failure> {
        let value = self.value(name)?;
        match value.map(|value| value.as_timestamp()) {
            None => Ok(None),
            Some(Some(time)) => Ok(Some(time)),
            Some(None) => Err(Failure::malformed(format!("{name} is not a timestamp"))),
        }
    }
}

type Stream = Mutex<Option<ChangeStream<Document>>>;

fn stream<'a>(call: &Call<'a>) -> Result<&'a Arc<Stream>, Failure> {
    match call.object {
        Some(Entity::ChangeStream(stream)) => Ok(stream),
        _ => Err(Failure::Entity(
            "the object is not a change stream".to_owned(),
        )),
    }
}

fn close(call: &Call<'_>) -> Result<Outcome, Failure> {
    drop(lock(stream(call)?).take());
    Ok(Outcome::Nothing)
}

fn next(
    call: &Call<'_>,
    next: impl Fn(&mut ChangeStream<Document>) -> mongotls::Result<Option<Document>>,
) -> Result<Option<Document>, Failure> {
    match &mut *lock(stream(call)?) {
        Some(stream) => Ok(next(stream)?),
        None => Err(Failure::runner("the change stream is closed")),
    }
}

fn iterate_once(call: &Call<'_>) -> Result<Outcome, Failure> {
    Ok(match next(call, ChangeStream::next_if_any)? {
        Some(event) => Outcome::Document(event),
        None => Outcome::Nothing,
    })
}

fn iterate_until_document_or_error(call: &Call<'_>) -> Result<Outcome, Failure> {
    match next(call, |stream| stream.next().transpose())? {
        Some(event) => Ok(Outcome::Document(event)),
        None => Err(Failure::mismatch("the stream ended without an event")),
    }
}
