//! The options of a collection that is created or changed ("Collection Management").

use std::time::Duration;

use bson::{Bson, Document, doc};

use crate::enum_text::display_as_str;

/// The writes that the validator of a collection checks.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum ValidationLevel {
    /// No write.
    Off,
    /// All inserts and all updates.
    Strict,
    /// All inserts, and updates of documents that are valid.
    Moderate,
}

impl ValidationLevel {
    /// Returns the level as written in a command: `off`, `strict` or `moderate`.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Off => "off",
            Self::Strict => "strict",
            Self::Moderate => "moderate",
        }
    }
}

display_as_str!(ValidationLevel);

/// The consequence of a write that violates the validator of a collection.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum ValidationAction {
    /// The server rejects the write.
    Error,
    /// The server makes the write, and logs a warning.
    Warn,
}

impl ValidationAction {
    /// Returns the action as written in a command: `error` or `warn`.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Error => "error",
            Self::Warn => "warn",
        }
    }
}

display_as_str!(ValidationAction);

/// The options of a time-series collection.
///
/// ```
/// use mongotls::options::{TimeseriesGranularity, TimeseriesOptions};
///
/// let options = TimeseriesOptions::new("at")
///     .meta_field("sensor")
///     .granularity(TimeseriesGranularity::Minutes);
/// ```
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct TimeseriesOptions {
    /// The field with the date of each document.
    pub time_field: String,
    /// The field that names the source of each document.
    pub meta_field: Option<String>,
    /// The expected interval between documents of one source.
    pub granularity: Option<TimeseriesGranularity>,
    /// The longest time between the documents of a bucket, in whole seconds. It replaces the granularity, from MongoDB
    /// 6.3 on.
    pub bucket_max_span: Option<Duration>,
    /// The interval to whose start the beginning of a bucket is rounded, in whole seconds, from MongoDB 6.3 on.
    pub bucket_rounding: Option<Duration>,
}

/// The expected interval between documents of one source in a time-series collection.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum TimeseriesGranularity {
    /// Seconds.
    Seconds,
    /// Minutes.
    Minutes,
    /// Hours.
    Hours,
}

impl TimeseriesGranularity {
    /// Returns the granularity as written in a command: `seconds`, `minutes` or `hours`.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Seconds => "seconds",
            Self::Minutes => "minutes",
            Self::Hours => "hours",
        }
    }
}

display_as_str!(TimeseriesGranularity);

impl TimeseriesOptions {
    /// Creates the options of a collection whose documents have their date in this field.
    pub fn new(time_field: impl Into<String>) -> Self {
        Self {
            time_field: time_field.into(),
            meta_field: None,
            granularity: None,
            bucket_max_span: None,
            bucket_rounding: None,
        }
    }

    /// Sets the field that names the source of each document.
    #[must_use]
    pub fn meta_field(mut self, field: impl Into<String>) -> Self {
        self.meta_field = Some(field.into());
        self
    }

    /// Sets the expected interval between documents of one source.
    #[must_use]
    pub fn granularity(mut self, granularity: TimeseriesGranularity) -> Self {
        self.granularity = Some(granularity);
        self
    }

    /// Sets the longest time between the documents of a bucket, in whole seconds.
    #[must_use]
    pub fn bucket_max_span(mut self, span: Duration) -> Self {
        self.bucket_max_span = Some(span);
        self
    }

    /// Sets the interval to whose start the beginning of a bucket is rounded, in whole seconds.
    #[must_use]
    pub fn bucket_rounding(mut self, interval: Duration) -> Self {
        self.bucket_rounding = Some(interval);
        self
    }

    /// Returns the value of the field `timeseries` in a command.
    pub fn to_document(&self) -> Document {
        let text = |text: &String| Bson::from(text);
        let seconds =
            |time: Duration| Bson::from(i32::try_from(time.as_secs()).unwrap_or(i32::MAX));
        let granularity = self.granularity.map(|it| Bson::from(it.as_str()));
        let fields = [
            ("timeField", Some(text(&self.time_field))),
            ("metaField", self.meta_field.as_ref().map(text)),
            ("granularity", granularity),
            ("bucketMaxSpanSeconds", self.bucket_max_span.map(seconds)),
            ("bucketRoundingSeconds", self.bucket_rounding.map(seconds)),
        ];
        let set = fields
            .into_iter()
            .filter_map(|(key, value)| Some((key.to_owned(), value?)));
        set.collect()
    }
}

/// The index by which a collection is stored (a clustered collection), on `_id`. Servers have it from MongoDB 5.3 on.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub struct ClusteredIndex {
    /// The name of the index.
    pub name: Option<String>,
}

impl ClusteredIndex {
    /// Sets the name of the index.
    #[must_use]
    pub fn name(mut self, name: impl Into<String>) -> Self {
        self.name = Some(name.into());
        self
    }

    /// Returns the value of the field `clusteredIndex` in a command.
    pub fn to_document(&self) -> Document {
        let mut document = doc! { "key": { "_id": 1 }, "unique": true };
        if let Some(name) = &self.name {
            document.insert("name", name);
        }
        document
    }
}

/// The setting whether change streams of a collection can show documents as they were before and after a change. Servers
/// have it from MongoDB 6.0 on.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub struct ChangeStreamPreAndPostImages {
    /// True if they can.
    pub enabled: bool,
}

impl ChangeStreamPreAndPostImages {
    /// Creates the setting.
    pub fn new(enabled: bool) -> Self {
        Self { enabled }
    }

    /// Returns the value of the field `changeStreamPreAndPostImages` in a command.
    pub fn to_document(&self) -> Document {
        doc! { "enabled": self.enabled }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn options_have_their_names_in_the_command() {
        let options = TimeseriesOptions::new("at")
            .meta_field("sensor")
            .granularity(TimeseriesGranularity::Hours);
        let expected = doc! { "timeField": "at", "metaField": "sensor", "granularity": "hours" };
        assert_eq!(options.to_document(), expected);
        let minute = Duration::from_secs(60);
        let options = TimeseriesOptions::new("at")
            .bucket_max_span(minute)
            .bucket_rounding(minute);
        let expected =
            doc! { "timeField": "at", "bucketMaxSpanSeconds": 60, "bucketRoundingSeconds": 60 };
        assert_eq!(options.to_document(), expected);
        let clustered = ClusteredIndex::default().name("by-id");
        let expected = doc! { "key": { "_id": 1 }, "unique": true, "name": "by-id" };
        assert_eq!(clustered.to_document(), expected);
    }
}
