//! The state of a document that an operation returns.

/// The state in which a changed document is returned.
///
/// ```
/// use mongotls::options::ReturnDocument;
///
/// assert_eq!(ReturnDocument::default(), ReturnDocument::Before);
/// ```
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub enum ReturnDocument {
    /// As it was before the change.
    #[default]
    Before,
    /// As it is after the change.
    After,
}
