//! Errors of the parser, and what they may say.
//!
//! An error names a place and a rule. The text of the connection string never becomes part of one,
//! because any of it may be a piece of a password; [`Discretion`] makes the one exception.

use std::fmt::Display;

use crate::cause::{Cause, CauseCode};
use crate::error::Error;
use crate::options::option_conflict;

/// What to do about a user name, a password, or what may be a piece of one.
pub(super) const ENCODE_CREDENTIALS: &str = "Percent-encode the user name and the password: % as \
    %25, @ as %40, : as %3A, / as %2F, ? as %3F, # as %23.";

/// The error for a connection string that breaks a rule at `place`.
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

/// The error for keys that contradict each other.
pub(super) fn conflict(problem: String) -> Error {
    Error::configuration(option_conflict(&[problem]))
}

/// Whether the name of an unknown option may be repeated in a warning.
///
/// It helps to find a typing error, and it may be a piece of a password: of the user's, cut off at an
/// unescaped `?` or `&`, or of the one in an option to its left, cut off at `&`.
#[derive(Clone, Copy, Debug)]
pub(super) struct Discretion {
    nothing: bool,
}

impl Discretion {
    /// `after_hosts` is all that follows the host part; `slash` tells whether a `/` ends that.
    pub(super) fn new(after_hosts: &str, slash: bool) -> Self {
        let at_sign = after_hosts.contains('@') || after_hosts.contains("%40");
        Self {
            nothing: at_sign || !slash,
        }
    }

    /// A secret was met: what follows may belong to it.
    pub(super) fn secret_met(&mut self) {
        self.nothing = true;
    }

    /// The name, if it is harmless and looks like that of an option.
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
