//! The connection string: text in, options and warnings out.
//!
//! ```text
//! mongodb://user:password@host:27017,host2/database?key=value&key2=value
//! ```
//!
//! [`ConnectionString::parse`] splits the text into its parts (`syntax`), reads the hosts (`hosts`) and the options
//! (`options`, with the table of keys in `keys`), and fills a [`ClientOptionsBuilder`], which has the rules about
//! several options. Nothing is opened, looked up or logged: the warnings that the specification requires are returned,
//! and the client writes them to the log. Sources: the specifications "Connection String", "URI Options", "Initial DNS
//! Seedlist Discovery" and "SOCKS5 Support" of the MongoDB drivers.
//!
//! **Text that may be a secret is never repeated.** A part of a password with an unescaped `@`, `/` or `?` can look
//! like a host, a port, a database or an option. Errors and warnings therefore contain the position (`host 2`, `option
//! 3`, `byte 17`) and the keys of our own table, never the text itself. For the same reason an `@` that may belong to a
//! password is rejected; otherwise the driver would connect to a part of the password as a host.
//!
//! **Choices where the specification allows several:**
//!
//! - Of a repeated key the last valid value counts, with a warning. Keys of TLS and authentication must agree, in their
//!   old spellings too; those of the proxy must not be repeated at all. Both are errors. The old spelling of any other
//!   key is ignored beside the new one.
//! - TLS is on with `tls=true`, with `mongodb+srv`, and with any other known key about TLS, even if its value is
//!   invalid. An invalid or empty value of `tls` itself also turns TLS on: ignoring it would send everything in plain
//!   text. For the same reason an unknown key about TLS is an error, and so is an option inside the name of the
//!   database or inside another value (`stray`).
//! - A file name, `proxyHost`, `authSource` or `authMechanism` that is empty or unknown is an error: ignoring it would
//!   change which CAs are trusted, which host is reached, or how the user authenticates.
//! - Options are separated only by `&`. The old `;` may be part of a value (a path, a subject), so that splitting there
//!   could change one; before an option it is an error. `+` is a plus, not a space.
//! - A negative `w` is an error ("Read and Write Concern"), a negative `wTimeoutMS` is ignored with a warning like any
//!   value outside of its range. More than 1000 options are an error.
//! - The scheme may be written in capitals (RFC 3986 §3.1); values may not.

mod error;
mod hosts;
mod keys;
mod options;
mod stray;
mod syntax;
#[cfg(feature = "srv")]
mod txt;
mod values;
mod warning;

#[cfg(test)]
mod tests;

use std::str::FromStr;

use self::error::Discretion;
#[cfg(feature = "srv")]
pub(crate) use self::txt::TxtOptions;
pub use self::warning::Warning;
use crate::error::Result;
use crate::options::{ClientOptions, ClientOptionsBuilder, Secret};
use crate::reason::options::UriPlace;

/// A parsed connection string, with its warnings.
///
/// A program that sets options continues with [`into_builder`](Self::into_builder); its values take precedence over the
/// text.
///
/// ```
/// # use mongotls::ConnectionString;
/// let uri = ConnectionString::parse("mongodb://db.example/?appName=text&maxPoolSize=none")?;
/// assert_eq!(uri.warnings()[0].key(), Some("maxPoolSize"));
///
/// let options = uri.into_builder().app_name("program").build()?;
/// assert_eq!(options.app_name(), Some("program"));
/// # Ok::<(), mongotls::Error>(())
/// ```
#[derive(Clone, Debug)]
pub struct ConnectionString {
    builder: ClientOptionsBuilder,
    warnings: Vec<Warning>,
}

impl ConnectionString {
    /// Parses `uri`. [`ClientOptionsBuilder::build`] checks that the options are consistent, after the program has set
    /// its own.
    ///
    /// # Errors
    /// [`ErrorKind::Configuration`](crate::ErrorKind::Configuration) with the cause
    /// [`InvalidUri`](crate::CauseCode::InvalidUri), or [`OptionConflict`](crate::CauseCode::OptionConflict) if a key
    /// is repeated that must not be.
    pub fn parse(uri: &str) -> Result<Self> {
        let parts = syntax::split(uri)?;
        let mut builder = ClientOptionsBuilder::default();
        if let Some(text) = parts.userinfo {
            let (username, password) = syntax::userinfo(text, parts.userinfo_offset)?;
            builder.credential.username = Some(username);
            builder.credential.password = password.map(Secret::new);
        }
        let read = match parts.srv {
            true => hosts::srv_host(parts.hosts).map(|host| builder.srv_host = Some(host)),
            false => hosts::seed_list(parts.hosts).map(|hosts| builder.hosts = hosts),
        };
        // The path of a Unix socket may contain text that looks like an option.
        read.map_err(|error| match stray::Stray::find(parts.hosts, false) {
            Some(stray) => stray.error_behind_hosts(),
            None => error,
        })?;
        if let Some(stray) = stray::Stray::find(parts.database, true) {
            let discretion = Discretion::new(parts.after_hosts, parts.slash);
            return Err(stray.error(UriPlace::Database, discretion, false));
        }
        builder.default_database = syntax::database(parts.database)?;
        let warnings = options::read(&parts, &mut builder)?;
        Ok(Self { builder, warnings })
    }

    /// The values that were ignored or replaced and the keys that are out of date, in the order of the text.
    pub fn warnings(&self) -> &[Warning] {
        &self.warnings
    }

    /// Returns true if the user has no password but the mechanism needs one: a program may get it elsewhere, or prompt
    /// for it.
    pub fn lacks_password(&self) -> bool {
        self.builder.credential.lacks_password()
    }

    /// Changes the options, and keeps the warnings.
    ///
    /// ```
    /// # use mongotls::{Client, ConnectionString};
    /// # let password = "";
    /// let uri = ConnectionString::parse("mongodb://ada@db.example/")?;
    /// assert!(uri.lacks_password());
    ///
    /// let uri = uri.with(|options| options.password(password));
    /// let client = Client::from_connection_string(uri)?;
    /// # Ok::<(), mongotls::Error>(())
    /// ```
    #[must_use]
    pub fn with(
        mut self,
        change: impl FnOnce(ClientOptionsBuilder) -> ClientOptionsBuilder,
    ) -> Self {
        self.builder = change(self.builder);
        self
    }

    /// Checks the options, and returns them with the warnings.
    pub(crate) fn finish(self) -> Result<(ClientOptions, Vec<Warning>)> {
        Ok((self.builder.build()?, self.warnings))
    }

    /// The options, for changes by the program before they are checked.
    pub fn into_builder(self) -> ClientOptionsBuilder {
        self.builder
    }
}

impl FromStr for ConnectionString {
    type Err = crate::Error;

    fn from_str(uri: &str) -> Result<Self> {
        Self::parse(uri)
    }
}

impl ClientOptions {
    /// Parses and checks a connection string. Returns the options, and the warnings for the log.
    ///
    /// ```
    /// # use mongotls::ClientOptions;
    /// let (options, warnings) = ClientOptions::parse(
    ///     "mongodb://db1.example,db2.example:27018/?replicaSet=rs0&tlsCAFile=/etc/ssl/db.pem",
    /// )?;
    /// assert_eq!(options.hosts().len(), 2);
    /// assert!(options.tls().is_some() && warnings.is_empty());
    /// # Ok::<(), mongotls::Error>(())
    /// ```
    ///
    /// # Errors
    /// Those of [`ConnectionString::parse`] and of [`ClientOptionsBuilder::build`].
    pub fn parse(uri: &str) -> Result<(Self, Vec<Warning>)> {
        ConnectionString::parse(uri)?.finish()
    }
}
