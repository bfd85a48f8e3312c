//! The version of the Stable API that a program declares.

use std::str::FromStr;

use super::UnknownName;
use crate::enum_text::display_as_str;

/// A version of the Stable API: a set of commands and options whose behavior servers keep in later releases.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum ServerApiVersion {
    /// Version 1, which MongoDB 5.0 and later know.
    V1,
}

impl ServerApiVersion {
    /// Returns the version as it is sent to servers: `1`.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::V1 => "1",
        }
    }
}

display_as_str!(ServerApiVersion);

impl FromStr for ServerApiVersion {
    type Err = UnknownName;

    fn from_str(text: &str) -> Result<Self, UnknownName> {
        match text {
            "1" => Ok(Self::V1),
            _ => Err(UnknownName::SERVER_API_VERSION),
        }
    }
}

/// The version of the Stable API that a client declares with every command. Source: "Stable API For Drivers".
///
/// ```
/// use mongotls::options::{ServerApi, ServerApiVersion};
/// use mongotls::{ClientOptions, ServerAddress};
///
/// let options = ClientOptions::builder()
///     .host(ServerAddress::tcp("db.example.com", 27017))
///     .server_api(ServerApi::new(ServerApiVersion::V1).strict(true))
///     .build()?;
/// assert_eq!(options.server_api().and_then(|api| api.strict), Some(true));
/// # Ok::<(), mongotls::Error>(())
/// ```
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub struct ServerApi {
    /// The version (`apiVersion`).
    pub version: ServerApiVersion,
    /// True if the server must reject commands and options that are not in this version (`apiStrict`). `None` sends
    /// nothing; the server's default is false.
    pub strict: Option<bool>,
    /// True if the server must reject commands and options that are deprecated in this version
    /// (`apiDeprecationErrors`). `None` sends nothing; the server's default is false.
    pub deprecation_errors: Option<bool>,
}

impl ServerApi {
    /// Declares this version, and leaves the other fields to the server's defaults.
    pub fn new(version: ServerApiVersion) -> Self {
        Self {
            version,
            strict: None,
            deprecation_errors: None,
        }
    }

    /// Sets [`strict`](Self::strict).
    #[must_use]
    pub fn strict(mut self, strict: bool) -> Self {
        self.strict = Some(strict);
        self
    }

    /// Sets [`deprecation_errors`](Self::deprecation_errors).
    #[must_use]
    pub fn deprecation_errors(mut self, errors: bool) -> Self {
        self.deprecation_errors = Some(errors);
        self
    }
}
