//! The descriptions of indexes ("Index Management").

use std::time::Duration;

use bson::{Bson, Document};

use crate::options::Collation;

/// An index to create: its keys and its options.
///
/// ```
/// use std::time::Duration;
///
/// use mongotls::IndexModel;
/// use mongotls::bson::doc;
///
/// let by_kind = IndexModel::new(doc! { "kind": 1, "n": -1 });
/// assert_eq!(by_kind.name(), "kind_1_n_-1");
/// let expiring = IndexModel::new(doc! { "seen": 1 }).expire_after(Duration::from_secs(3600));
/// ```
#[derive(Clone, Debug, PartialEq)]
#[must_use = "an index is created by Collection::create_index"]
pub struct IndexModel {
    keys: Document,
    options: Document,
}

impl IndexModel {
    /// Creates a model of an index on these keys. A value is 1 (ascending), -1 (descending) or the name of another kind
    /// of index, such as `text`, `hashed` or `2dsphere`.
    pub fn new(keys: Document) -> Self {
        Self {
            keys,
            options: Document::new(),
        }
    }

    /// Sets the name. Default: the keys and their values, joined with underscores, such as `kind_1_n_-1`.
    pub fn with_name(self, name: impl Into<String>) -> Self {
        self.option("name", name.into())
    }

    /// Sets whether two documents must not have the same values of the keys. Default: false.
    pub fn unique(self, unique: bool) -> Self {
        self.option("unique", unique)
    }

    /// Sets whether documents without the keys are left out. Default: false.
    pub fn sparse(self, sparse: bool) -> Self {
        self.option("sparse", sparse)
    }

    /// Sets whether the query planner ignores the index. Default: false.
    pub fn hidden(self, hidden: bool) -> Self {
        self.option("hidden", hidden)
    }

    /// Sets the time after which documents are deleted, counted from the date in the indexed field (a TTL index). It is
    /// sent in whole seconds. A time above 2^31 - 1 seconds, which no server accepts, is sent as this value.
    pub fn expire_after(self, time: Duration) -> Self {
        let seconds = i32::try_from(time.as_secs()).unwrap_or(i32::MAX);
        self.option("expireAfterSeconds", seconds)
    }

    /// Sets the filter of a partial index: other documents are left out.
    pub fn partial_filter_expression(self, filter: Document) -> Self {
        self.option("partialFilterExpression", filter)
    }

    /// Sets the rules for comparing text.
    pub fn collation(self, collation: Collation) -> Self {
        self.option("collation", collation.to_document())
    }

    /// Sets another option of the server's command `createIndexes`, such as `weights` of a text index or `bits` of a 2d
    /// index. A later value replaces an earlier one.
    pub fn option(mut self, key: impl Into<String>, value: impl Into<Bson>) -> Self {
        self.options.insert(key, value);
        self
    }

    /// The keys.
    pub fn keys(&self) -> &Document {
        &self.keys
    }

    /// The name that the index gets.
    pub fn name(&self) -> String {
        match self.options.get_str("name") {
            Ok(name) => name.to_owned(),
            Err(_) => default_name(&self.keys),
        }
    }

    /// The element of `indexes` in the command `createIndexes`.
    pub(crate) fn to_document(&self) -> Document {
        let mut document = Document::new();
        document.insert("key", self.keys.clone());
        document.insert("name", self.name());
        let others = self.options.iter().filter(|(key, _)| *key != "name");
        document.extend(others.map(|(key, value)| (key.clone(), value.clone())));
        document
    }
}

/// A search index to create: its definition, and its name and type if they are not the server's defaults.
///
/// ```
/// use mongotls::SearchIndexModel;
/// use mongotls::bson::doc;
///
/// let by_text = SearchIndexModel::new(doc! { "mappings": { "dynamic": true } }).name("by-text");
/// ```
#[derive(Clone, Debug, PartialEq)]
#[must_use = "a search index is created by Collection::create_search_index"]
pub struct SearchIndexModel {
    definition: Document,
    name: Option<String>,
    index_type: Option<SearchIndexType>,
}

/// The type of a search index.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum SearchIndexType {
    /// A search index on text and other values. It is the server's default.
    Search,
    /// An index on vectors.
    VectorSearch,
}

impl SearchIndexType {
    /// Returns the type as written in a command: `search` or `vectorSearch`.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Search => "search",
            Self::VectorSearch => "vectorSearch",
        }
    }
}

impl SearchIndexModel {
    /// Creates a model with this definition.
    pub fn new(definition: Document) -> Self {
        Self {
            definition,
            name: None,
            index_type: None,
        }
    }

    /// Sets the name. Default: that of the server, `default`.
    pub fn name(mut self, name: impl Into<String>) -> Self {
        self.name = Some(name.into());
        self
    }

    /// Sets the type. Default: that of the server, [`SearchIndexType::Search`].
    pub fn index_type(mut self, index_type: SearchIndexType) -> Self {
        self.index_type = Some(index_type);
        self
    }

    /// The element of `indexes` in the command `createSearchIndexes`.
    pub(crate) fn to_document(&self) -> Document {
        let mut document = Document::new();
        document.insert("definition", self.definition.clone());
        if let Some(name) = &self.name {
            document.insert("name", name);
        }
        if let Some(index_type) = self.index_type {
            document.insert("type", index_type.as_str());
        }
        document
    }
}

/// The name of an index on these keys ("Index Name Generation").
fn default_name(keys: &Document) -> String {
    let parts = keys.iter().map(|(key, value)| match value {
        Bson::String(kind) => format!("{key}_{kind}"),
        // Of a whole number only the number is a part of the name.
        Bson::Double(number) => format!("{key}_{number}"),
        other => format!("{key}_{other}"),
    });
    parts.collect::<Vec<_>>().join("_")
}

#[cfg(test)]
mod tests {
    use bson::doc;

    use super::*;

    #[test]
    fn an_index_without_a_name_gets_one_from_its_keys() {
        for (keys, name) in [
            (doc! { "a": 1 }, "a_1"),
            (doc! { "a.b": -1, "c": 1_i64 }, "a.b_-1_c_1"),
            (doc! { "a": "text", "b": 1.0 }, "a_text_b_1"),
            (doc! { "$**": 1 }, "$**_1"),
        ] {
            assert_eq!(IndexModel::new(keys).name(), name);
        }
    }

    #[test]
    fn options_have_their_names_in_the_command() {
        let model = IndexModel::new(doc! { "a": 1 })
            .unique(true)
            .with_name("first")
            .expire_after(Duration::from_millis(1999))
            .collation(Collation::new("de"))
            .option("bits", 26);
        let expected = doc! {
            "key": { "a": 1 }, "name": "first", "unique": true, "expireAfterSeconds": 1,
            "collation": { "locale": "de" }, "bits": 26,
        };
        assert_eq!(model.to_document(), expected);
        let long = IndexModel::new(doc! { "a": 1 }).expire_after(Duration::MAX);
        let seconds = long.to_document().get_i32("expireAfterSeconds").ok();
        assert_eq!(seconds, Some(i32::MAX));
    }
}
