//! Errors of the parser, and the text that they may contain.
//!
//! An error names a position and a rule. The text of the connection string never becomes part of one, because any of it
//! may be a piece of a password; [`Discretion`] makes the one exception.

use std::fmt::Display;

use crate::cause::{Cause, CauseCode};
use crate::error::Error;
use crate::options::option_conflict;

/// The remedy for a user name, a password, or a possible piece of one.
pub(super) const ENCODE_CREDENTIALS: &str = "Percent-encode the user name and the password: % as \
    %25, @ as %40, : as %3A, / as %2F, ? as %3F, # as %23.";

/// Returns the error for a connection string that breaks a rule at `place`.
pub(super) fn invalid(place: impl Display, problem: impl Display, remedy: &str) -> Error {
    let place = place.to_string();
    Error::configuration(
        Cause::new(
            CauseCode::InvalidUri,
            format!("invalid connection string: {place} {problem}"),
            remedy,
        )
        .fact("place", place),
    )
}

/// Returns the error for keys that contradict each other.
pub(super) fn conflict(problem: String) -> Error {
    Error::configuration(option_conflict(&[problem]))
}

/// Decides if a warning may contain the name of an unknown option.
///
/// The name helps to find a typing error, but it may be a piece of a password: of the user's, cut off at an unescaped
/// `?` or `&`, or of the one in an earlier option, cut off at `&`.
#[derive(Clone, Copy, Debug)]
pub(super) struct Discretion {
    nothing: bool,
}

impl Discretion {
    /// Creates the state. `after_hosts` is the text after the host part; `slash` is true if a `/` ends that part.
    pub(super) fn new(after_hosts: &str, slash: bool) -> Self {
        let at_sign = after_hosts.contains('@') || after_hosts.contains("%40");
        Self {
            nothing: at_sign || !slash,
        }
    }

    /// Notes a secret: the text after it may belong to it.
    pub(super) fn secret_met(&mut self) {
        self.nothing = true;
    }

    /// Returns the name if it is harmless and looks like that of an option.
    pub(super) fn show(self, name: &str) -> Option<&str> {
        let plain = |c: char| c.is_ascii_alphabetic() || matches!(c, '_' | '-' | '.');
        (!self.nothing && name.len() <= 40 && name.chars().all(plain)).then_some(name)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn unknown_names_are_shown_where_no_secret_can_be_part_of_them() {
        let open = Discretion::new("/db?tlsCAFiel=x", true);
        assert_eq!(open.show("tlsCAFiel"), Some("tlsCAFiel"));
        for name in ["hunter2", "a@b", "a%20b", "", "ключ"] {
            assert_eq!(open.show(name).unwrap_or(""), "", "{name}");
        }
        assert_eq!(open.show(&"x".repeat(41)), None);
        assert_eq!(Discretion::new("?a=b", false).show("a"), None);
        assert_eq!(Discretion::new("/?a=b%40c", true).show("a"), None);
        let mut after_secret = open;
        after_secret.secret_met();
        assert_eq!(after_secret.show("tlsCAFiel"), None);
    }
}
