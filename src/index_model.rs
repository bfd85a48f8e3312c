//! The descriptions of indexes ("Index Management").

use std::time::Duration;

use bson::{Bson, Document};

use crate::options::Collation;

/// Declares the setters of the options of an index, for a type with a method `option`.
macro_rules! option_setters {
    () => {
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

        /// Sets the fields that a wildcard index includes or leaves out.
        pub fn wildcard_projection(self, projection: Document) -> Self {
            self.option("wildcardProjection", projection)
        }

        /// Sets the weights of the fields of a text index.
        pub fn weights(self, weights: Document) -> Self {
            self.option("weights", weights)
        }

        /// Sets the language of a text index. Default: that of the server, English.
        pub fn default_language(self, language: impl Into<String>) -> Self {
            self.option("default_language", language.into())
        }

        /// Sets the field that names the language of a document in a text index. Default: that of the server,
        /// `language`.
        pub fn language_override(self, field: impl Into<String>) -> Self {
            self.option("language_override", field.into())
        }

        /// Sets the smallest value of a 2d index. Default: that of the server, -180.
        pub fn min(self, min: f64) -> Self {
            self.option("min", min)
        }

        /// Sets the largest value of a 2d index. Default: that of the server, 180.
        pub fn max(self, max: f64) -> Self {
            self.option("max", max)
        }

        /// Sets the precision of a 2d index in bits, from 1 to 32. Default: that of the server, 26.
        pub fn bits(self, bits: u32) -> Self {
            self.option("bits", i32::try_from(bits).unwrap_or(i32::MAX))
        }

        /// Sets whether servers before MongoDB 4.2 build the index in the background. Later servers ignore it.
        pub fn background(self, background: bool) -> Self {
            self.option("background", background)
        }

        /// Sets the options of the storage engine.
        pub fn storage_engine(self, options: Document) -> Self {
            self.option("storageEngine", options)
        }
    };
}

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
    /// Creates a model in the way of the official driver, from keys and [`IndexOptions`].
    ///
    /// ```
    /// use mongotls::bson::doc;
    /// use mongotls::{IndexModel, IndexOptions};
    ///
    /// let by_email = IndexModel::builder()
    ///     .keys(doc! { "email": 1 })
    ///     .options(IndexOptions::builder().unique(true).build())
    ///     .build();
    /// assert_eq!(by_email, IndexModel::new(doc! { "email": 1 }).unique(true));
    /// ```
    pub fn builder() -> IndexModelBuilder {
        IndexModelBuilder::default()
    }

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

    option_setters!();

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

/// The options of an index, as a value of its own. [`IndexModel`] has the same setters.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct IndexOptions {
    fields: Document,
}

impl IndexOptions {
    /// Creates a builder without options.
    pub fn builder() -> IndexOptionsBuilder {
        IndexOptionsBuilder::default()
    }
}

/// A builder of [`IndexOptions`].
#[derive(Clone, Debug, Default)]
#[must_use = "the options are made by build"]
pub struct IndexOptionsBuilder {
    options: Document,
}

impl IndexOptionsBuilder {
    option_setters!();

    /// Sets the name. Default: the keys and their values, joined with underscores, such as `kind_1_n_-1`.
    pub fn name(self, name: impl Into<Option<String>>) -> Self {
        match name.into() {
            Some(name) => self.option("name", name),
            None => self,
        }
    }

    /// Sets another option of the server's command `createIndexes`. A later value replaces an earlier one.
    pub fn option(mut self, key: impl Into<String>, value: impl Into<Bson>) -> Self {
        self.options.insert(key, value);
        self
    }

    /// Returns the options.
    pub fn build(self) -> IndexOptions {
        IndexOptions {
            fields: self.options,
        }
    }
}

/// A builder of an [`IndexModel`]; see [`IndexModel::builder`].
#[derive(Clone, Debug, Default)]
#[must_use = "the model is made by build"]
pub struct IndexModelBuilder {
    keys: Document,
    options: Document,
}

impl IndexModelBuilder {
    /// Sets the keys. Servers reject an index without keys.
    pub fn keys(mut self, keys: Document) -> Self {
        self.keys = keys;
        self
    }

    /// Sets the options.
    pub fn options(mut self, options: impl Into<Option<IndexOptions>>) -> Self {
        self.options = options.into().unwrap_or_default().fields;
        self
    }

    /// Returns the model.
    pub fn build(self) -> IndexModel {
        IndexModel {
            keys: self.keys,
            options: self.options,
        }
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
