//! A library that wraps this one, as servers see it in their log.

/// A library on top of this one, which adds its name to what servers are told of the client.
///
/// Source: "MongoDB Handshake", "Supporting Wrapping Libraries". Each text is appended to this crate's own
/// behind a `|`, and must not hold one.
///
/// ```
/// use mongotls::options::DriverInfo;
///
/// let info = DriverInfo::new("shop-store").version("2.1").platform("shop 7");
/// # let _ = info;
/// ```
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub struct DriverInfo {
    /// The library's name.
    pub name: String,
    /// Its version.
    pub version: Option<String>,
    /// What else is worth knowing of where it runs.
    pub platform: Option<String>,
}

impl DriverInfo {
    /// What separates the names of several libraries.
    pub(crate) const DELIMITER: char = '|';

    /// A library of that name.
    pub fn new(name: impl Into<String>) -> Self {
        Self {
            name: name.into(),
            version: None,
            platform: None,
        }
    }

    /// Adds the library's version.
    #[must_use]
    pub fn version(mut self, version: impl Into<String>) -> Self {
        self.version = Some(version.into());
        self
    }

    /// Adds what else is worth knowing.
    #[must_use]
    pub fn platform(mut self, platform: impl Into<String>) -> Self {
        self.platform = Some(platform.into());
        self
    }

    /// Whether no text holds what separates them, and there is a name.
    pub(crate) fn is_sound(&self) -> bool {
        let texts = [
            Some(&self.name),
            self.version.as_ref(),
            self.platform.as_ref(),
        ];
        let mut texts = texts.into_iter().flatten();
        !self.name.is_empty() && texts.all(|text| !text.contains([Self::DELIMITER, '\0']))
    }
}
