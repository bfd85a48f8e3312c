//! The reasons why a case does not pass.

use std::fmt;

use mongotls::Error;

/// Why an operation, or a whole case, did not succeed.
#[derive(Clone, Debug)]
pub(crate) enum Failure {
    /// The library returned this error.
    Operation(Box<Error>),
    /// An entity is missing, has another type, or exists already.
    Entity(String),
    /// The test file has something that the format does not allow, or that the runner does not know.
    Malformed(String),
    /// A result, an error or an event is not the expected one.
    Mismatch(String),
    /// The deployment could not be prepared, or a check of the runner itself failed.
    Runner(String),
}

impl Failure {
    pub(crate) fn malformed(why: impl Into<String>) -> Self {
        Self::Malformed(why.into())
    }

    pub(crate) fn mismatch(why: impl Into<String>) -> Self {
        Self::Mismatch(why.into())
    }

    pub(crate) fn runner(why: impl Into<String>) -> Self {
        Self::Runner(why.into())
    }

    /// Adds the place of the failure. An error of the library stays what it is.
    pub(crate) fn at(self, place: &str) -> Self {
        match self {
            Self::Operation(error) => Self::Operation(error),
            Self::Entity(why) => Self::Entity(format!("{place}: {why}")),
            Self::Malformed(why) => Self::Malformed(format!("{place}: {why}")),
            Self::Mismatch(why) => Self::Mismatch(format!("{place}: {why}")),
            Self::Runner(why) => Self::Runner(format!("{place}: {why}")),
        }
    }
}

impl From<Error> for Failure {
    fn from(error: Error) -> Self {
        Self::Operation(Box::new(error))
    }
}

impl fmt::Display for Failure {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Operation(error) => write!(f, "unexpected error: {error:?}"),
            Self::Entity(why) => write!(f, "entity: {why}"),
            Self::Malformed(why) => write!(f, "malformed: {why}"),
            Self::Mismatch(why) => f.write_str(why),
            Self::Runner(why) => write!(f, "runner: {why}"),
        }
    }
}
