//! Information about a library that wraps this driver, as servers log it.

/// A library that wraps this driver, and adds its name to the client metadata that servers receive.
///
/// Source: "MongoDB Handshake", "Supporting Wrapping Libraries". Each text is appended to the driver's own text after
/// a `|`, and must not contain `|`. An empty version or platform counts as unset. A library that was added before, with
/// the same texts, is not added again.
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
    /// The name of the library.
    pub name: String,
    /// The version of the library.
    pub version: Option<String>,
    /// Further information about the platform.
    pub platform: Option<String>,
}

impl DriverInfo {
    /// The separator between the names of several libraries.
    pub(crate) const DELIMITER: char = '|';

    /// Creates the information for a library with this name.
    pub fn new(name: impl Into<String>) -> Self {
        Self {
            name: name.into(),
            version: None,
            platform: None,
        }
    }

    /// Adds the version of the library.
    #[must_use]
    pub fn version(mut self, version: impl Into<String>) -> Self {
        self.version = Some(version.into());
        self
    }

    /// Adds further information about the platform.
    #[must_use]
    pub fn platform(mut self, platform: impl Into<String>) -> Self {
        self.platform = Some(platform.into());
        self
    }

    /// Returns the same library, with `None` for each empty text ("Supporting Wrapping Libraries").
    pub(crate) fn without_empty_texts(&self) -> Self {
        let filled = |text: &Option<String>| text.clone().filter(|text| !text.is_empty());
        Self {
            name: self.name.clone(),
            version: filled(&self.version),
            platform: filled(&self.platform),
        }
    }

    /// Returns true if the name is not empty and no text contains the separator.
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
