//! The documents that events of a change stream include.

/// The document that an update event includes, besides the fields that have changed.
///
/// Source: "Change Streams", "ChangeStreamOptions".
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum FullDocumentType {
    /// The document as it is when the server looks it up, some time after the change.
    UpdateLookup,
    /// The document directly after the change, if the server has it. From MongoDB 6.0, if the collection stores images.
    WhenAvailable,
    /// The document directly after the change. The stream fails if the server does not have it.
    Required,
    /// Another value, which the server knows.
    Other(String),
}

impl FullDocumentType {
    pub(crate) fn as_str(&self) -> &str {
        match self {
            Self::UpdateLookup => "updateLookup",
            Self::WhenAvailable => "whenAvailable",
            Self::Required => "required",
            Self::Other(name) => name,
        }
    }
}

/// The document directly before the change, as part of an event. From MongoDB 6.0, if the collection stores images.
///
/// Source: "Change Streams", "ChangeStreamOptions".
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum FullDocumentBeforeChangeType {
    /// The document, if the server has it.
    WhenAvailable,
    /// The document. The stream fails if the server does not have it.
    Required,
    /// No such document. This is the default.
    Off,
    /// Another value, which the server knows.
    Other(String),
}

impl FullDocumentBeforeChangeType {
    pub(crate) fn as_str(&self) -> &str {
        match self {
            Self::WhenAvailable => "whenAvailable",
            Self::Required => "required",
            Self::Off => "off",
            Self::Other(name) => name,
        }
    }
}
