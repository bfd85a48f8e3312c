//! The results of the administration of databases and indexes.

use bson::Document;

/// The result of [`Collection::create_index`](crate::Collection::create_index).
#[derive(Clone, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub struct CreateIndexResult {
    /// The name of the index.
    pub index_name: String,
}

/// The result of [`Collection::create_indexes`](crate::Collection::create_indexes).
#[derive(Clone, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub struct CreateIndexesResult {
    /// The names of the indexes, in the order of the models.
    pub index_names: Vec<String>,
}

/// A database, as [`Client::list_databases`](crate::Client::list_databases) returns it.
#[derive(Clone, Debug, Default, PartialEq)]
#[non_exhaustive]
pub struct DatabaseSpecification {
    /// The name.
    pub name: String,
    /// The size of its files, in bytes.
    pub size_on_disk: u64,
    /// True if it has no data.
    pub empty: bool,
    /// The size of its files on each shard of a sharded cluster, in bytes.
    pub shards: Option<Document>,
}
