//! Text that must not be seen.

use std::fmt;

use zeroize::Zeroizing;

/// A password, key or token. Its memory is zeroed on drop and its `Debug` shows `<redacted>`.
#[derive(Clone, PartialEq, Eq)]
pub struct Secret(Zeroizing<String>);

impl Secret {
    /// Takes the text over.
    ///
    /// ```
    /// use mongotls::options::Secret;
    ///
    /// let secret = Secret::new("correct horse");
    /// assert_eq!(format!("{secret:?}"), "<redacted>");
    /// assert_eq!(secret.expose(), "correct horse");
    /// ```
    pub fn new(text: impl Into<String>) -> Self {
        Self(Zeroizing::new(text.into()))
    }

    /// The text itself, for the one place that needs it.
    pub fn expose(&self) -> &str {
        &self.0
    }
}

impl fmt::Debug for Secret {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("<redacted>")
    }
}

impl From<String> for Secret {
    fn from(text: String) -> Self {
        Self::new(text)
    }
}

impl From<&str> for Secret {
    fn from(text: &str) -> Self {
        Self::new(text)
    }
}
