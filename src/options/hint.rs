//! Hints: the index that an operation must use.

use bson::{Bson, Document};

/// The index that an operation must use: its name, or the document of its keys.
///
/// ```
/// use mongotls::bson::doc;
/// use mongotls::options::Hint;
///
/// assert_eq!(Hint::from("kind_1"), Hint::Name("kind_1".into()));
/// assert_eq!(Hint::from(doc! { "kind": 1 }), Hint::Keys(doc! { "kind": 1 }));
/// ```
#[derive(Clone, Debug, PartialEq)]
#[non_exhaustive]
pub enum Hint {
    /// The index with this name.
    Name(String),
    /// The index with these keys, in this order.
    Keys(Document),
}

impl From<&str> for Hint {
    fn from(name: &str) -> Self {
        Self::Name(name.to_owned())
    }
}

impl From<String> for Hint {
    fn from(name: String) -> Self {
        Self::Name(name)
    }
}

impl From<Document> for Hint {
    fn from(keys: Document) -> Self {
        Self::Keys(keys)
    }
}

impl From<Hint> for Bson {
    fn from(hint: Hint) -> Self {
        match hint {
            Hint::Name(name) => Self::String(name),
            Hint::Keys(keys) => Self::Document(keys),
        }
    }
}
