//! Read concern, write concern and read preference: what a client asks of each operation.
//!
//! Sources: the specifications "Read and Write Concern", "Server Selection" (read preference) and
//! "Max Staleness" of the MongoDB drivers.

use std::fmt;
use std::str::FromStr;
use std::time::Duration;

use bson::{Bson, Document, doc};

use super::UnknownName;

/// The consistency of reads (`readConcernLevel`).
#[derive(Clone, Debug, Default, PartialEq, Eq, Hash)]
pub struct ReadConcern {
    /// The level, for example `majority`; none leaves it to the server. Any text is allowed, for
    /// levels of servers to come.
    pub level: Option<String>,
}

impl ReadConcern {
    /// The read concern of that level.
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

    /// Whether nothing is set, so that the server's default applies and nothing is sent.
    pub fn is_server_default(&self) -> bool {
        self.level.is_none()
    }

    /// The value of the field `readConcern` in a command.
    pub fn to_document(&self) -> Document {
        self.level
            .iter()
            .map(|level| ("level".to_owned(), Bson::from(level)))
            .collect()
    }
}

/// How many members must have a write before it counts (`w`, `journal`, `wTimeoutMS`).
#[derive(Clone, Debug, Default, PartialEq, Eq, Hash)]
pub struct WriteConcern {
    /// How many members, or which.
    pub w: Option<Acknowledgment>,
    /// How long the server may wait for `w`; sent in milliseconds.
    pub w_timeout: Option<Duration>,
    /// Whether the write must be in the journal.
    pub journal: Option<bool>,
}

/// The members that must acknowledge a write.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub enum Acknowledgment {
    /// That many members; 0 asks for no acknowledgment at all.
    Nodes(u32),
    /// `majority`, or the name of a set of tags defined on the server.
    Tag(String),
}

impl WriteConcern {
    /// Reads the form in which a command holds it: `w`, `j`, `wtimeout`.
    ///
    /// # Errors
    /// A text that names the field which has a wrong type or range, or the fields that contradict.
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
        concern.check()?;
        Ok(concern)
    }

    /// Whether nothing is set, so that the server's default applies and nothing is sent.
    pub fn is_server_default(&self) -> bool {
        *self == Self::default()
    }

    /// Whether the server answers writes at all.
    pub fn is_acknowledged(&self) -> bool {
        self.w != Some(Acknowledgment::Nodes(0)) || self.journal == Some(true)
    }

    /// The value of the field `writeConcern` in a command.
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

    /// "Read and Write Concern", "Inconsistent WriteConcern".
    pub(crate) fn check(&self) -> Result<(), String> {
        if self.w == Some(Acknowledgment::Nodes(0)) && self.journal == Some(true) {
            return Err("w=0 asks for no acknowledgment and journal=true asks for one".to_owned());
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

/// Which members of a deployment serve reads.
#[derive(Clone, Debug, Default, PartialEq, Eq, Hash)]
pub struct ReadPreference {
    /// The mode (`readPreference`).
    pub mode: ReadPreferenceMode,
    /// Sets of tags in their order; the first set that a member matches decides
    /// (`readPreferenceTags`). An empty set matches every member.
    pub tag_sets: Vec<TagSet>,
    /// How far a secondary may lag behind; 90 s or more, none for no limit
    /// (`maxStalenessSeconds`, where -1 means no limit).
    pub max_staleness: Option<Duration>,
}

/// Tags that a member must have, all of them, in the order in which they were given.
pub type TagSet = Vec<(String, String)>;

/// The mode of a read preference.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub enum ReadPreferenceMode {
    /// Only the primary.
    #[default]
    Primary,
    /// The primary, or a secondary where there is none.
    PrimaryPreferred,
    /// Only secondaries.
    Secondary,
    /// A secondary, or the primary where there is none.
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

    /// The mode as it stands in a connection string and in a command.
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

impl fmt::Display for ReadPreferenceMode {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

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
    /// The value of the field `$readPreference` in a command.
    pub fn to_document(&self) -> Document {
        let mut document = doc! { "mode": self.mode.as_str() };
        if !self.tag_sets.is_empty() {
            let sets: Vec<Document> = self
                .tag_sets
                .iter()
                .map(|set| {
                    set.iter()
                        .map(|(key, value)| (key.clone(), Bson::from(value)))
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

    /// "Server Selection", "Read Preference": tags and staleness make no sense with the primary.
    pub(crate) fn check(&self) -> Result<(), String> {
        let tagged = self.tag_sets.iter().any(|set| !set.is_empty());
        if self.mode == ReadPreferenceMode::Primary && tagged {
            return Err("readPreferenceTags needs a readPreference other than primary".to_owned());
        }
        if self.mode == ReadPreferenceMode::Primary && self.max_staleness.is_some() {
            return Err("maxStalenessSeconds needs a readPreference other than primary".to_owned());
        }
        if self
            .max_staleness
            .is_some_and(|limit| limit < Duration::from_secs(90))
        {
            return Err("maxStalenessSeconds must be 90 or more, or -1 for no limit".to_owned());
        }
        Ok(())
    }
}
