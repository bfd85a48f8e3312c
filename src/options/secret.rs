//! Text that must not be displayed.

use std::fmt;

use zeroize::Zeroizing;

/// A password, key or token. Its memory is zeroed on drop and its `Debug` shows `<redacted>`.
#[derive(Clone, PartialEq, Eq)]
pub struct Secret(Zeroizing<String>);

impl Secret {
    /// Creates a secret from this text.
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

    /// Returns the text. Use it only where it is needed.
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
