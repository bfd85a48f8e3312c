//! The events of a change stream, as values.

use std::fmt;

use bson::{Binary, DateTime, Document, Timestamp};
use serde::{Deserialize, Serialize};

use super::ResumeToken;

/// One change, as a server reports it. `T` is the type of the documents of the collection.
///
/// Servers add fields, and a pipeline changes them. Read a stream
/// [`with_type`](super::Watch::with_type) [`Document`] or a type of your own to get all of them.
///
/// Source: "Change Streams", "Response Format".
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
#[non_exhaustive]
pub struct ChangeStreamEvent<T> {
    /// The place behind this change, at which another stream can continue.
    #[serde(rename = "_id")]
    pub id: ResumeToken,
    /// The kind of the change.
    pub operation_type: OperationType,
    /// The collection or the database that has changed.
    pub ns: Option<ChangeNamespace>,
    /// The type of a new collection, of an event `create`. From MongoDB 8.1, with
    /// [`show_expanded_events`](super::Watch::show_expanded_events).
    pub ns_type: Option<ChangeNamespaceType>,
    /// The new name of a collection that was renamed.
    pub to: Option<ChangeNamespace>,
    /// The `_id` of the document, and in a sharded collection the fields of the shard key before it.
    pub document_key: Option<Document>,
    /// The fields that an update has changed.
    pub update_description: Option<UpdateDescription>,
    /// The document that was inserted, or that replaces another one. After an update: the document as
    /// [`full_document`](super::Watch::full_document) requests it, if it exists.
    #[serde(default = "none")]
    pub full_document: Option<T>,
    /// The document before the change, as
    /// [`full_document_before_change`](super::Watch::full_document_before_change) requests it, if the server has it.
    #[serde(default = "none")]
    pub full_document_before_change: Option<T>,
    /// The cluster time of the change.
    pub cluster_time: Option<Timestamp>,
    /// The time of the change by the server's clock. From MongoDB 6.0.
    pub wall_time: Option<DateTime>,
    /// The number of the transaction that the change is a part of.
    pub txn_number: Option<i64>,
    /// The session of the transaction that the change is a part of.
    pub lsid: Option<Document>,
    /// The details of a change of a collection or an index. With
    /// [`show_expanded_events`](super::Watch::show_expanded_events).
    pub operation_description: Option<Document>,
    /// The UUID of the collection. With [`show_expanded_events`](super::Watch::show_expanded_events).
    #[serde(rename = "collectionUUID")]
    pub collection_uuid: Option<Binary>,
    /// The part that this is of a large event, if the pipeline splits them.
    pub split_event: Option<SplitEvent>,
}

/// `serde` would ask for a default value of `T`.
fn none<T>() -> Option<T> {
    None
}

/// The kind of a change.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum OperationType {
    /// A document was inserted.
    Insert,
    /// Fields of a document were changed.
    Update,
    /// A document was replaced.
    Replace,
    /// A document was deleted.
    Delete,
    /// The collection was dropped.
    Drop,
    /// The collection was renamed.
    Rename,
    /// The database was dropped.
    DropDatabase,
    /// The stream ends, because what it watched no longer exists.
    Invalidate,
    /// Another kind, by its name. Servers add kinds.
    Other(String),
}

impl OperationType {
    const KNOWN: [(&'static str, Self); 8] = [
        ("insert", Self::Insert),
        ("update", Self::Update),
        ("replace", Self::Replace),
        ("delete", Self::Delete),
        ("drop", Self::Drop),
        ("rename", Self::Rename),
        ("dropDatabase", Self::DropDatabase),
        ("invalidate", Self::Invalidate),
    ];

    /// The name of the kind, as the server sends it.
    pub fn as_str(&self) -> &str {
        match self {
            Self::Other(name) => name,
            known => {
                let found = Self::KNOWN.iter().find(|(_, kind)| kind == known);
                found.map_or("", |(name, _)| name)
            }
        }
    }
}

impl From<String> for OperationType {
    fn from(name: String) -> Self {
        let found = Self::KNOWN.into_iter().find(|(known, _)| *known == name);
        found.map_or(Self::Other(name), |(_, kind)| kind)
    }
}

impl fmt::Display for OperationType {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

impl Serialize for OperationType {
    fn serialize<S: serde::Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_str(self.as_str())
    }
}

impl<'de> Deserialize<'de> for OperationType {
    fn deserialize<D: serde::Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        String::deserialize(deserializer).map(Self::from)
    }
}

/// The database of a change, and the collection if it concerns one.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[non_exhaustive]
pub struct ChangeNamespace {
    /// The name of the database.
    pub db: String,
    /// The name of the collection.
    pub coll: Option<String>,
}

/// The type of a new collection.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
#[non_exhaustive]
pub enum ChangeNamespaceType {
    /// A collection.
    Collection,
    /// A time series.
    Timeseries,
    /// A view.
    View,
    /// Another type, by its name. Servers add types.
    #[serde(untagged)]
    Other(String),
}

/// The fields that an update has changed.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
#[non_exhaustive]
pub struct UpdateDescription {
    /// The new values, by the paths of the fields.
    #[serde(default)]
    pub updated_fields: Document,
    /// The paths of the fields that were removed.
    #[serde(default)]
    pub removed_fields: Vec<String>,
    /// The arrays that became shorter. From MongoDB 4.7.
    pub truncated_arrays: Option<Vec<TruncatedArray>>,
    /// The parts of paths that are ambiguous, because a name contains a dot or is a number. From MongoDB 6.1.
    pub disambiguated_paths: Option<Document>,
}

/// An array that became shorter.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
#[non_exhaustive]
pub struct TruncatedArray {
    /// The path of the field.
    pub field: String,
    /// The number of its elements now.
    pub new_size: i32,
}

/// The part that an event is of a larger one.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[non_exhaustive]
pub struct SplitEvent {
    /// The number of the part, from 1.
    pub fragment: i32,
    /// The number of all parts.
    pub of: i32,
}

#[cfg(test)]
mod tests {
    use bson::doc;

    use super::*;

    #[test]
    fn an_event_is_read_with_all_its_fields() {
        let id = doc! { "_data": "82" };
        let wall = DateTime::from_millis(5);
        let time = Timestamp {
            time: 1,
            increment: 2,
        };
        let document = doc! {
            "_id": id.clone(), "operationType": "update", "ns": { "db": "shop", "coll": "things", "viewOn": "x" },
            "documentKey": { "_id": 1 }, "clusterTime": time, "wallTime": wall, "txnNumber": 3_i64,
            "lsid": { "id": 1 }, "fullDocument": { "_id": 1, "n": 5 }, "fullDocumentBeforeChange": null,
            "updateDescription": {
                "updatedFields": { "n": 5 }, "removedFields": ["m"],
                "truncatedArrays": [{ "field": "a", "newSize": 2 }], "disambiguatedPaths": { "a.0": ["a", "0"] },
            },
            "splitEvent": { "fragment": 1, "of": 2 }, "aNewField": 1,
        };
        let event: ChangeStreamEvent<Document> = bson::deserialize_from_document(document).unwrap();
        assert_eq!(event.id, ResumeToken::try_from(id).unwrap());
        assert_eq!(event.operation_type, OperationType::Update);
        let ns = event.ns.unwrap();
        assert_eq!(
            (ns.db.as_str(), ns.coll.as_deref()),
            ("shop", Some("things"))
        );
        assert_eq!(event.full_document, Some(doc! { "_id": 1, "n": 5 }));
        assert_eq!(event.full_document_before_change, None);
        assert_eq!(
            (event.cluster_time, event.wall_time),
            (Some(time), Some(wall))
        );
        assert_eq!(
            (event.txn_number, event.lsid),
            (Some(3), Some(doc! { "id": 1 }))
        );
        let update = event.update_description.unwrap();
        assert_eq!(update.updated_fields, doc! { "n": 5 });
        assert_eq!(update.removed_fields, ["m"]);
        let truncated = update.truncated_arrays.unwrap();
        assert_eq!(
            (truncated[0].field.as_str(), truncated[0].new_size),
            ("a", 2)
        );
        assert_eq!(update.disambiguated_paths, Some(doc! { "a.0": ["a", "0"] }));
        assert_eq!(event.split_event, Some(SplitEvent { fragment: 1, of: 2 }));
    }

    #[test]
    fn kinds_that_a_new_server_adds_keep_their_names() {
        for (name, _) in OperationType::KNOWN {
            let kind = OperationType::from(name.to_owned());
            assert!(!matches!(kind, OperationType::Other(_)), "{name}");
            assert_eq!(kind.to_string(), name);
        }
        let document = doc! { "_id": {}, "operationType": "shardCollection", "nsType": "bucket" };
        let event: ChangeStreamEvent<Document> = bson::deserialize_from_document(document).unwrap();
        assert_eq!(
            event.operation_type,
            OperationType::Other("shardCollection".into())
        );
        assert_eq!(
            event.ns_type,
            Some(ChangeNamespaceType::Other("bucket".into()))
        );
        let again = bson::serialize_to_document(&event).unwrap();
        assert_eq!(again.get_str("operationType").unwrap(), "shardCollection");
        assert_eq!(again.get_str("nsType").unwrap(), "bucket");
    }
}
