//! Errors of the parser, and the text that they may contain.
//!
//! An error names a position and a rule. The text of the connection string never becomes part of one, because any of it
//! may be a piece of a password; [`Discretion`] makes the one exception.

use crate::error::Error;
use crate::reason::options::{OptionConflict, OptionFailure, UriFailure, UriPlace, UriProblem};

/// The error for a connection string that breaks a rule at `place`.
pub(super) fn invalid(place: UriPlace, problem: UriProblem) -> Error {
    Error::configuration(OptionFailure::InvalidUri(UriFailure { place, problem }))
}

/// The error for keys that contradict each other.
pub(super) fn conflict(conflict: OptionConflict) -> Error {
    Error::configuration(vec![conflict])
}

/// Decides whether a warning may quote the name of an unknown option.
///
/// The name helps to find a typing error, but it may be a piece of a password: of the user's, cut off at an unescaped `?`
/// or `&`, or of the one in an option to its left, cut off at `&`.
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
    pub(super) fn mark_secret_seen(&mut self) {
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
        after_secret.mark_secret_seen();
        assert_eq!(after_secret.show("tlsCAFiel"), None);
    }
}
