//! The settings of a database or of a collection.

use std::time::Duration;

use super::{ReadConcern, ReadPreference, WriteConcern};

/// The settings of a collection handle. `None` takes the setting of the database.
///
/// ```
/// use mongotls::options::{CollectionOptions, WriteConcern};
///
/// let options = CollectionOptions::default().write_concern(WriteConcern::majority());
/// ```
#[derive(Clone, Debug, Default, PartialEq)]
#[non_exhaustive]
pub struct CollectionOptions {
    /// The read concern of reads.
    pub read_concern: Option<ReadConcern>,
    /// The write concern of writes.
    pub write_concern: Option<WriteConcern>,
    /// The read preference of reads.
    pub read_preference: Option<ReadPreference>,
    /// `timeoutMS` of each operation. Zero means no limit.
    pub timeout: Option<Duration>,
}

impl CollectionOptions {
    /// Sets the read concern of reads.
    #[must_use]
    pub fn read_concern(mut self, concern: ReadConcern) -> Self {
        self.read_concern = Some(concern);
        self
    }

    /// Sets the write concern of writes.
    #[must_use]
    pub fn write_concern(mut self, concern: WriteConcern) -> Self {
        self.write_concern = Some(concern);
        self
    }

    /// Sets the read preference of reads.
    #[must_use]
    pub fn read_preference(mut self, preference: ReadPreference) -> Self {
        self.read_preference = Some(preference);
        self
    }

    /// Sets `timeoutMS` of each operation. Zero means no limit.
    #[must_use]
    pub fn timeout(mut self, limit: Duration) -> Self {
        self.timeout = Some(limit);
        self
    }
}

/// The settings of a database handle, which are also those of its collections. `None` takes the setting of the client.
///
/// ```
/// use mongotls::options::{DatabaseOptions, WriteConcern};
///
/// let options = DatabaseOptions::default().write_concern(WriteConcern::majority());
/// ```
#[derive(Clone, Debug, Default, PartialEq)]
#[non_exhaustive]
pub struct DatabaseOptions {
    /// The read concern of reads. `run_command` has none.
    pub read_concern: Option<ReadConcern>,
    /// The write concern of writes. `run_command` has none.
    pub write_concern: Option<WriteConcern>,
    /// The read preference of reads. `run_command` has none.
    pub read_preference: Option<ReadPreference>,
    /// `timeoutMS` of each operation. Zero means no limit.
    pub timeout: Option<Duration>,
}

impl DatabaseOptions {
    /// Sets the read concern of reads.
    #[must_use]
    pub fn read_concern(mut self, concern: ReadConcern) -> Self {
        self.read_concern = Some(concern);
        self
    }

    /// Sets the write concern of writes.
    #[must_use]
    pub fn write_concern(mut self, concern: WriteConcern) -> Self {
        self.write_concern = Some(concern);
        self
    }

    /// Sets the read preference of reads.
    #[must_use]
    pub fn read_preference(mut self, preference: ReadPreference) -> Self {
        self.read_preference = Some(preference);
        self
    }

    /// Sets `timeoutMS` of each operation. Zero means no limit.
    #[must_use]
    pub fn timeout(mut self, limit: Duration) -> Self {
        self.timeout = Some(limit);
        self
    }
}

/// Declares a builder as the official driver has it: the setters of the options themselves do the same.
macro_rules! builder {
    ($options:ident, $builder:ident) => {
        #[doc = concat!("A builder of [`", stringify!($options), "`], which has the same setters itself.")]
        #[derive(Clone, Debug, Default)]
        #[must_use = "the options are made by build"]
        pub struct $builder($options);

        impl $options {
            /// Creates a builder without settings.
            pub fn builder() -> $builder {
                $builder::default()
            }
        }

        impl $builder {
            /// Sets the read concern of reads.
            pub fn read_concern(self, concern: ReadConcern) -> Self {
                Self(self.0.read_concern(concern))
            }

            /// Sets the write concern of writes.
            pub fn write_concern(self, concern: WriteConcern) -> Self {
                Self(self.0.write_concern(concern))
            }

            /// Sets the read preference of reads. The official driver has this name.
            pub fn selection_criteria(self, preference: ReadPreference) -> Self {
                Self(self.0.read_preference(preference))
            }

            /// Returns the options.
            pub fn build(self) -> $options {
                self.0
            }
        }
    };
}

builder!(CollectionOptions, CollectionOptionsBuilder);
builder!(DatabaseOptions, DatabaseOptionsBuilder);

/// Read concern, write concern and read preference. A database takes those of its client, a collection those of its
/// database, and an action those of its collection, unless it has its own.
#[derive(Clone, Debug, Default, PartialEq)]
pub(crate) struct Criteria {
    pub(crate) read_concern: ReadConcern,
    pub(crate) write_concern: WriteConcern,
    pub(crate) read_preference: ReadPreference,
}
