//! Read concern, write concern and read preference.
//!
//! Sources: the specifications "Read and Write Concern", "Server Selection" (read preference) and
//! "Max Staleness" of the MongoDB drivers.

use std::fmt;
use std::str::FromStr;
use std::time::Duration;

use bson::{Bson, Document, doc};

use super::UnknownName;
use crate::enum_text::display_as_str;
use crate::reason::options::OptionConflict;

/// The consistency of reads (`readConcernLevel`).
///
/// ```
/// use mongotls::options::ReadConcern;
///
/// assert_eq!(ReadConcern::majority(), ReadConcern::new("majority"));
/// ```
#[derive(Clone, Debug, Default, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub struct ReadConcern {
    /// The level, for example `majority`, or `None` for the server's default. Any text is allowed, so that levels of
    /// future servers can be used.
    pub level: Option<String>,
}

impl ReadConcern {
    /// Reads data that may be rolled back: level `local`.
    pub fn local() -> Self {
        Self::new("local")
    }

    /// Reads data that a majority of the members has acknowledged: level `majority`.
    pub fn majority() -> Self {
        Self::new("majority")
    }

    /// Reads data that reflects all writes acknowledged before the read: level `linearizable`.
    pub fn linearizable() -> Self {
        Self::new("linearizable")
    }

    /// Reads local data, without an ownership check on sharded clusters: level `available`.
    pub fn available() -> Self {
        Self::new("available")
    }

    /// Reads data as of one point in time: level `snapshot`.
    pub fn snapshot() -> Self {
        Self::new("snapshot")
    }

    /// Creates a read concern with this level.
    ///
    /// ```
    /// use mongotls::options::ReadConcern;
    ///
    /// let concern = ReadConcern::new("majority");
    /// assert_eq!(concern.to_document().get_str("level").ok(), Some("majority"));
    /// ```
    pub fn new(level: impl Into<String>) -> Self {
        Self {
            level: Some(level.into()),
        }
    }

    /// Returns true if no level is set: the server's default applies and no read concern is sent.
    pub fn is_server_default(&self) -> bool {
        self.level.is_none()
    }

    /// Returns the value of the field `readConcern` in a command.
    pub fn to_document(&self) -> Document {
        self.level
            .iter()
            .map(|level| ("level".to_owned(), Bson::from(level)))
            .collect()
    }
}

/// The acknowledgment that a write needs to succeed (`w`, `journal`, `wTimeoutMS`).
///
/// ```
/// use std::time::Duration;
/// use mongotls::options::WriteConcern;
///
/// let concern = WriteConcern::majority().journal(true).w_timeout(Duration::from_secs(5));
/// assert!(concern.is_acknowledged());
/// ```
#[derive(Clone, Debug, Default, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub struct WriteConcern {
    /// The members that must acknowledge a write, or `None` for the server's default.
    pub w: Option<Acknowledgment>,
    /// The limit for the server to wait for `w`, in milliseconds on the wire. `None` means no limit. Deprecated in favour
    /// of `timeoutMS`, with which typed operations ignore it.
    pub w_timeout: Option<Duration>,
    /// True if a write must be in the journal, or `None` for the server's default.
    pub journal: Option<bool>,
}

/// The members that must acknowledge a write.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum Acknowledgment {
    /// A number of members; 0 requests no acknowledgment.
    Nodes(u32),
    /// `majority`, or the name of a set of tags that is defined on the server.
    Tag(String),
}

impl From<u32> for Acknowledgment {
    fn from(nodes: u32) -> Self {
        Self::Nodes(nodes)
    }
}

impl From<&str> for Acknowledgment {
    fn from(tag: &str) -> Self {
        Self::Tag(tag.to_owned())
    }
}

impl fmt::Display for Acknowledgment {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Nodes(nodes) => write!(f, "{nodes}"),
            Self::Tag(tag) => f.write_str(tag),
        }
    }
}

impl WriteConcern {
    /// Requires acknowledgment by a majority of the members.
    pub fn majority() -> Self {
        Self::default().w("majority")
    }

    /// Requires acknowledgment by this number of members; 0 requests no acknowledgment.
    pub fn nodes(nodes: u32) -> Self {
        Self::default().w(nodes)
    }

    /// Requires acknowledgment by the members of this set of tags, which is defined on the server.
    pub fn custom(tag: impl AsRef<str>) -> Self {
        Self::default().w(tag.as_ref())
    }

    /// Requires acknowledgment by these members.
    #[must_use]
    pub fn w(mut self, members: impl Into<Acknowledgment>) -> Self {
        self.w = Some(members.into());
        self
    }

    /// Limits how long the server waits for the members of `w`, in whole milliseconds.
    #[must_use]
    pub fn w_timeout(mut self, limit: Duration) -> Self {
        self.w_timeout = Some(limit);
        self
    }

    /// Sets whether a write must be in the journal before it is acknowledged.
    #[must_use]
    pub fn journal(mut self, journal: bool) -> Self {
        self.journal = Some(journal);
        self
    }

    /// Reads a write concern from its form in a command: `w`, `j`, `wtimeout`.
    ///
    /// # Errors
    /// Returns a text that names the field with a wrong type or range, or the fields that contradict each other.
    pub fn from_document(document: &Document) -> Result<Self, String> {
        let mut concern = Self::default();
        for (key, value) in document {
            match (key.as_str(), value) {
                ("w", Bson::String(tag)) => concern.w = Some(Acknowledgment::Tag(tag.clone())),
                ("w", number) => {
                    let nodes = integer(number).and_then(|n| u32::try_from(n).ok());
                    concern.w = Some(Acknowledgment::Nodes(
                        nodes.ok_or("\"w\" must be 0 or more, or a text")?,
                    ));
                }
                ("wtimeout", number) => {
                    let ms = integer(number).and_then(|n| u64::try_from(n).ok());
                    concern.w_timeout = Some(Duration::from_millis(
                        ms.ok_or("\"wtimeout\" must be 0 or more")?,
                    ));
                }
                ("j", Bson::Boolean(journal)) => concern.journal = Some(*journal),
                ("j", _) => return Err("\"j\" must be true or false".to_owned()),
                _ => return Err(format!("\"{key}\" is not a field of a write concern")),
            }
        }
        concern.check().map_err(|conflict| conflict.to_string())?;
        Ok(concern)
    }

    /// Returns true if nothing is set: the server's default applies and no write concern is sent.
    pub fn is_server_default(&self) -> bool {
        *self == Self::default()
    }

    /// Returns true if the server acknowledges writes.
    pub fn is_acknowledged(&self) -> bool {
        self.w != Some(Acknowledgment::Nodes(0)) || self.journal == Some(true)
    }

    /// Returns the value of the field `writeConcern` in a command.
    pub fn to_document(&self) -> Document {
        let mut document = Document::new();
        match &self.w {
            Some(Acknowledgment::Nodes(nodes)) => {
                document.insert(
                    "w",
                    i32::try_from(*nodes).map_or(Bson::Int64(i64::from(*nodes)), Bson::Int32),
                );
            }
            Some(Acknowledgment::Tag(tag)) => {
                document.insert("w", tag);
            }
            None => {}
        }
        if let Some(journal) = self.journal {
            document.insert("j", journal);
        }
        if let Some(limit) = self.w_timeout {
            let ms = i64::try_from(limit.as_millis()).unwrap_or(i64::MAX);
            document.insert(
                "wtimeout",
                i32::try_from(ms).map_or(Bson::Int64(ms), Bson::Int32),
            );
        }
        document
    }

    /// Checks the rules of "Read and Write Concern", "Inconsistent WriteConcern".
    pub(crate) fn check(&self) -> Result<(), OptionConflict> {
        if self.w == Some(Acknowledgment::Nodes(0)) && self.journal == Some(true) {
            return Err(OptionConflict::UnacknowledgedJournal);
        }
        Ok(())
    }
}

fn integer(value: &Bson) -> Option<i64> {
    match value {
        Bson::Int32(n) => Some(i64::from(*n)),
        Bson::Int64(n) => Some(*n),
        _ => None,
    }
}

/// The members of a deployment that serve reads.
///
/// ```
/// use std::time::Duration;
/// use mongotls::options::{ReadPreference, ReadPreferenceMode, Tag};
///
/// let preference = ReadPreference::new(ReadPreferenceMode::Secondary)
///     .tag_sets([vec![Tag::new("dc", "east")], vec![]])
///     .max_staleness(Duration::from_secs(120));
/// ```
#[derive(Clone, Debug, Default, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub struct ReadPreference {
    /// The mode (`readPreference`).
    pub mode: ReadPreferenceMode,
    /// The tag sets in order; the first set that matches a member decides (`readPreferenceTags`). An empty set
    /// matches every member.
    pub tag_sets: Vec<TagSet>,
    /// The maximum lag of a secondary behind the primary: 90 s or more, or `None` for no limit
    /// (`maxStalenessSeconds`, where -1 means no limit).
    pub max_staleness: Option<Duration>,
}

/// A tag of a replica set member.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub struct Tag {
    /// The name, for example `dc`.
    pub name: String,
    /// The value, for example `east`.
    pub value: String,
}

impl Tag {
    /// Creates a tag with this name and value.
    pub fn new(name: impl Into<String>, value: impl Into<String>) -> Self {
        Self {
            name: name.into(),
            value: value.into(),
        }
    }
}

/// A set of tags that a member must have all of. The order is preserved.
pub type TagSet = Vec<Tag>;

/// The mode of a read preference.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum ReadPreferenceMode {
    /// Only the primary.
    #[default]
    Primary,
    /// The primary, or a secondary if there is no primary.
    PrimaryPreferred,
    /// Only secondaries.
    Secondary,
    /// A secondary, or the primary if there is no secondary.
    SecondaryPreferred,
    /// Any member.
    Nearest,
}

impl ReadPreferenceMode {
    const ALL: [Self; 5] = [
        Self::Primary,
        Self::PrimaryPreferred,
        Self::Secondary,
        Self::SecondaryPreferred,
        Self::Nearest,
    ];

    /// Returns the mode as written in a connection string and in a command.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Primary => "primary",
            Self::PrimaryPreferred => "primaryPreferred",
            Self::Secondary => "secondary",
            Self::SecondaryPreferred => "secondaryPreferred",
            Self::Nearest => "nearest",
        }
    }
}

display_as_str!(ReadPreferenceMode);

impl FromStr for ReadPreferenceMode {
    type Err = UnknownName;

    fn from_str(text: &str) -> Result<Self, UnknownName> {
        Self::ALL
            .into_iter()
            .find(|mode| mode.as_str() == text)
            .ok_or(UnknownName::READ_PREFERENCE)
    }
}

impl ReadPreference {
    /// Creates a read preference with this mode, without tags and without a staleness limit.
    pub fn new(mode: ReadPreferenceMode) -> Self {
        Self {
            mode,
            ..Self::default()
        }
    }

    /// Sets the tag sets, in the order in which they are tried.
    #[must_use]
    pub fn tag_sets(mut self, sets: impl IntoIterator<Item = TagSet>) -> Self {
        self.tag_sets = sets.into_iter().collect();
        self
    }

    /// Sets the maximum lag of a secondary behind the primary: 90 s or more.
    #[must_use]
    pub fn max_staleness(mut self, limit: Duration) -> Self {
        self.max_staleness = Some(limit);
        self
    }

    /// Returns the value of the field `$readPreference` in a command.
    pub fn to_document(&self) -> Document {
        let mut document = doc! { "mode": self.mode.as_str() };
        if !self.tag_sets.is_empty() {
            let sets: Vec<Document> = self
                .tag_sets
                .iter()
                .map(|set| {
                    set.iter()
                        .map(|tag| (tag.name.clone(), Bson::from(&tag.value)))
                        .collect()
                })
                .collect();
            document.insert("tags", sets);
        }
        if let Some(limit) = self.max_staleness {
            document.insert(
                "maxStalenessSeconds",
                i64::try_from(limit.as_secs()).unwrap_or(i64::MAX),
            );
        }
        document
    }

    /// Checks the rule that tags and staleness are not combined with mode `primary` ("Server Selection", "Read
    /// Preference").
    pub(crate) fn check(&self) -> Result<(), OptionConflict> {
        let tagged = self.tag_sets.iter().any(|set| !set.is_empty());
        if self.mode == ReadPreferenceMode::Primary && tagged {
            return Err(OptionConflict::TagsWithPrimary);
        }
        if self.mode == ReadPreferenceMode::Primary && self.max_staleness.is_some() {
            return Err(OptionConflict::MaxStalenessWithPrimary);
        }
        if self
            .max_staleness
            .is_some_and(|limit| limit < Duration::from_secs(90))
        {
            return Err(OptionConflict::MaxStalenessTooShort);
        }
        Ok(())
    }
}
