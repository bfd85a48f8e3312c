//! Values that the command line names but does not contain: texts on standard input, in files and in the environment,
//! and passwords. Every user of the host can see the arguments of a process.

use std::fs::File;
use std::io::{self, IsTerminal, Read};
use std::path::{Path, PathBuf};

use mongotls::options::{ClientOptionsBuilder, Secret, ServerApi, ServerApiVersion};
use mongotls::{Client, ConnectionString, Error, ServerAddress};

use crate::log_setup;
use crate::output::clean;
use crate::wait_notice;

/// The source of a text.
#[derive(Clone, Debug, PartialEq)]
pub(crate) enum TextSource {
    Text(String),
    StandardInput,
    File(PathBuf),
    /// The environment variable [`URI_VARIABLE`].
    Variable,
}

/// A connection string as given, and the files that contain its passwords.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct Target {
    pub(crate) uri: TextSource,
    pub(crate) password_file: Option<PathBuf>,
    pub(crate) key_password_file: Option<PathBuf>,
    /// Servers, and the address to connect to in place of each.
    pub(crate) connect_to: Vec<Redirect>,
    /// The version of the Stable API to declare.
    pub(crate) api_version: Option<ServerApiVersion>,
}

/// A server, and the address to connect to in its place.
pub(crate) type Redirect = (ServerAddress, ServerAddress);

/// A connection string that was fetched, and the values to add to it.
pub(crate) struct FetchedUri {
    pub(crate) uri: String,
    password: Option<Secret>,
    key_password: Option<Secret>,
    connect_to: Vec<Redirect>,
    api_version: Option<ServerApiVersion>,
}

impl TextSource {
    /// Parses an argument: `-`, `@FILE`, or the text itself.
    pub(crate) fn of(argument: String) -> Self {
        match argument.strip_prefix('@') {
            Some(path) => Self::File(path.into()),
            None if argument == "-" => Self::StandardInput,
            None => Self::Text(argument),
        }
    }

    /// Fetches the text, without the white space around it. The error is a message for the user about `what`.
    pub(crate) fn fetch(&self, what: &str) -> Result<String, String> {
        let (text, place) = match self {
            Self::Text(text) => return Ok(text.clone()),
            Self::Variable => {
                let text = std::env::var(URI_VARIABLE);
                let text = text.map_err(|_| format!("{URI_VARIABLE} is not UTF-8"))?;
                (Ok(text), URI_VARIABLE.to_owned())
            }
            Self::StandardInput => (read(io::stdin().lock()), "standard input".to_owned()),
            Self::File(path) => (File::open(path).and_then(read), clean(path.display())),
        };
        let text = text.map_err(|error| format!("cannot read {what} from {place}: {error}"))?;
        match text.trim() {
            "" => Err(format!("{what} is empty in {place}")),
            text => Ok(text.to_owned()),
        }
    }
}

impl Target {
    /// Fetches the values that the command line names. The error is a message for the user.
    pub(crate) fn fetch(&self) -> Result<FetchedUri, String> {
        let uri = self.uri.fetch("the URI")?;
        let password = self.password_file.as_deref().map(first_line);
        let key_password = self.key_password_file.as_deref().map(first_line);
        Ok(FetchedUri {
            uri,
            password: password.transpose()?,
            key_password: key_password.transpose()?,
            connect_to: self.connect_to.clone(),
            api_version: self.api_version,
        })
    }
}

impl FetchedUri {
    /// Prompts for the user's password on the terminal if it is missing, the mechanism needs it, and there is a
    /// terminal. It never prompts for the password of a key.
    pub(crate) fn prompt_for_password(&mut self) {
        let is_missing = self.password.is_none()
            && ConnectionString::parse(&self.uri).is_ok_and(|uri| uri.lacks_password());
        if is_missing {
            self.password = prompt();
        }
    }

    /// Adds the values of the command line and of the environment to the options of the connection string.
    pub(crate) fn complete(self, builder: ClientOptionsBuilder) -> ClientOptionsBuilder {
        let mut builder = log_setup::limit_documents(builder);
        if let Some(password) = self.password {
            builder = builder.password(password);
        }
        if let Some(password) = self.key_password {
            builder = builder.tls_with(|tls| tls.certificate_key_file_password(password));
        }
        if let Some(version) = self.api_version {
            builder = builder.server_api(ServerApi::new(version));
        }
        let pairs = self.connect_to.into_iter();
        pairs.fold(builder, |builder, (server, target)| {
            builder.connect_to(server, target)
        })
    }

    /// Makes a client, and prints a message if that takes long.
    pub(crate) fn client(mut self) -> Result<Client, Error> {
        self.prompt_for_password();
        let what = wait_notice::for_a_client(&self.uri);
        let uri = ConnectionString::parse(&self.uri)?;
        let uri = uri.with(|builder| self.complete(builder));
        wait_notice::with_notice(|| what, || Client::from_connection_string(uri))
    }
}

/// Prompts for the user's password, without an echo. Returns `None` if there is no terminal or no answer.
fn prompt() -> Option<Secret> {
    if !io::stderr().is_terminal() {
        return None;
    }
    let password = rpassword::prompt_password("Password of the MongoDB user: ").ok()?;
    Some(Secret::new(password))
}

/// Reads the password in the first line of a file. The error is a message for the user.
pub(crate) fn first_line(path: &Path) -> Result<Secret, String> {
    // The text is moved into the secret, which zeroes its memory, and is truncated in place.
    let mut text = File::open(path).and_then(read).map_err(|error| {
        let path = clean(path.display());
        format!("cannot read the password file {path}: {error}")
    })?;
    if text.starts_with('\u{feff}') {
        text.drain(..'\u{feff}'.len_utf8());
    }
    let line = text.split('\n').next().unwrap_or_default();
    text.truncate(line.strip_suffix('\r').unwrap_or(line).len());
    Ok(Secret::new(text))
}

/// Reads a text of a bounded size.
fn read(mut source: impl Read) -> io::Result<String> {
    let mut text = String::new();
    // Reads one byte more than the limit, so that a longer text is detected and not truncated.
    source
        .by_ref()
        .take(LARGEST + 1)
        .read_to_string(&mut text)?;
    match u64::try_from(text.len()).is_ok_and(|length| length <= LARGEST) {
        true => Ok(text),
        false => Err(io::Error::other("it is larger than 48 MB")),
    }
}

/// The environment variable with the connection string that is used if the command line has none.
pub(crate) const URI_VARIABLE: &str = "MONGOTLS_URI";
/// The size limit of a message to a server, in bytes.
const LARGEST: u64 = 48_000_000;
