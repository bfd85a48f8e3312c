//! External text, made safe for a terminal, a log line or an error.
//!
//! Texts of servers, certificates, name servers, proxies and files are stored unchanged in facts, events and replies.
//! Whenever such a text is rendered, it goes through [`Printable`]; no other code does this.

use std::error::Error as StdError;
use std::fmt::{self, Write as _};

/// Displays a value so that it cannot control a terminal, forge a log line or change the reading order of text:
/// control characters, line separators, bidirectional controls and invisible tags are escaped as in JSON (`\n`,
/// `\u001b`, `\u202e`). All other characters stay unchanged, including letters of any script.
///
/// The texts of [`Error`](crate::Error), [`Cause`](crate::Cause) and of this crate's log lines are printed this way.
/// Use it for unescaped texts, such as [`CommandFailure::message`](crate::error::CommandFailure::message), facts and
/// replies.
///
/// ```
/// # use mongotls::cause::Printable;
/// assert_eq!(Printable("Jürgen \u{202e}\x1b[2J\n").to_string(), r"Jürgen \u202e\u001b[2J\n");
/// ```
#[derive(Clone, Copy, Debug)]
pub struct Printable<T>(pub T);

impl<T: fmt::Display> fmt::Display for Printable<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(Escaping(f), "{}", self.0)
    }
}

impl<T: StdError> StdError for Printable<T> {
    fn source(&self) -> Option<&(dyn StdError + 'static)> {
        self.0.source()
    }
}

struct Escaping<'a, 'b>(&'a mut fmt::Formatter<'b>);

impl fmt::Write for Escaping<'_, '_> {
    fn write_str(&mut self, text: &str) -> fmt::Result {
        for piece in text.split_inclusive(is_harmful) {
            match piece.chars().next_back().filter(|last| is_harmful(*last)) {
                Some(last) => {
                    self.0.write_str(&piece[..piece.len() - last.len_utf8()])?;
                    escape(self.0, last)?;
                }
                None => self.0.write_str(piece)?,
            }
        }
        Ok(())
    }
}

/// A text in quotes, in which quotes and backslashes are escaped too. Unlike with `{:?}`, letters stay unchanged,
/// including combining ones.
pub(crate) struct Quoted<T>(pub(crate) T);

impl<T: fmt::Display> fmt::Display for Quoted<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let text = self.0.to_string();
        f.write_char('"')?;
        for piece in text.split_inclusive(['"', '\\']) {
            match piece.strip_suffix(['"', '\\']) {
                Some(before) => {
                    write!(f, "{}\\{}", Printable(before), &piece[before.len()..])?;
                }
                None => write!(f, "{}", Printable(piece))?,
            }
        }
        f.write_char('"')
    }
}

/// Returns the text as [`Printable`] displays it.
pub(crate) fn printable(text: String) -> String {
    match text.contains(is_harmful) {
        true => Printable(text).to_string(),
        false => text,
    }
}

/// Returns the beginning of an external text, in one line.
pub(crate) fn sanitize(text: &[u8]) -> String {
    const LONGEST: usize = 500;
    let text = String::from_utf8_lossy(text);
    let words: Vec<&str> = text.split_whitespace().collect();
    let line = words.join(" ");
    let mut shown: String = line.chars().take(LONGEST).collect();
    if line.chars().nth(LONGEST).is_some() {
        shown.push('…');
    }
    shown
}

/// Writes the escape sequence of a character, which JSON decodes to that character.
pub(crate) fn escape(out: &mut impl fmt::Write, c: char) -> fmt::Result {
    match c {
        '\n' => out.write_str("\\n"),
        '\r' => out.write_str("\\r"),
        '\t' => out.write_str("\\t"),
        _ => {
            let mut units = [0; 2];
            let mut units = c.encode_utf16(&mut units).iter();
            units.try_for_each(|unit| write!(out, "\\u{unit:04x}"))
        }
    }
}

/// Returns true if a character has an effect instead of a visible form.
pub(crate) fn is_harmful(c: char) -> bool {
    c.is_control()
        || matches!(c,
            // Bidirectional: marks, embeddings, overrides, isolates, and the deprecated ones among them.
            '\u{61c}' | '\u{200e}' | '\u{200f}' | '\u{202a}'..='\u{202e}' | '\u{2066}'..='\u{206f}'
            // Line and paragraph separators.
            | '\u{2028}' | '\u{2029}'
            // Invisible: the soft hyphen, zero-width spaces and joiners (except those that scripts need), the byte
            // order mark, interlinear annotations, and tags.
            | '\u{ad}' | '\u{180e}' | '\u{200b}' | '\u{2060}'..='\u{2065}' | '\u{feff}' | '\u{fff9}'..='\u{fffb}' | '\u{e0000}'..='\u{e007f}')
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_does_something_is_escaped_as_json_reads_it() {
        let harmful = "\0\u{7}\t\n\r\u{1b}\u{7f}\u{85}\u{9b}\u{61c}\u{200e}\u{200f}\u{2028}\u{2029}\u{202a}\u{202b}\
                       \u{202c}\u{202d}\u{202e}\u{2066}\u{2067}\u{2068}\u{2069}\u{206a}\u{feff}\u{fff9}\u{e0041}";
        let shown = Printable(harmful).to_string();
        assert_eq!(
            shown,
            "\\u0000\\u0007\\t\\n\\r\\u001b\\u007f\\u0085\\u009b\\u061c\\u200e\\u200f\\u2028\\u2029\\u202a\\u202b\
             \\u202c\\u202d\\u202e\\u2066\\u2067\\u2068\\u2069\\u206a\\ufeff\\ufff9\\udb40\\udc41"
        );
        let read: String = serde_json::from_str(&format!("\"{shown}\"")).unwrap();
        assert_eq!(read, harmful);
        assert_eq!(printable(harmful.to_owned()), shown);
    }

    #[test]
    fn a_sanitized_text_is_one_short_line() {
        assert_eq!(
            sanitize(b" a\r\n\tb\x1b[31mc\0 \xff "),
            "a b\u{1b}[31mc\0 \u{fffd}"
        );
        assert_eq!(sanitize(b""), "");
        let long = sanitize("é".repeat(600).as_bytes());
        assert_eq!(long.chars().count(), 501);
        assert!(long.ends_with('…'));
    }

    #[test]
    fn letters_of_any_script_stay() {
        for text in [
            "Jürgen",
            "日本語",
            "مرحبا",
            "שלום",
            "हिन्दी",
            "ไทย",
            "e\u{301}",
            "می\u{200c}خواهم",
            "👩\u{200d}🚀",
            "a\\b\"c",
            "\u{a0}\u{fffd}",
        ] {
            assert_eq!(Printable(text).to_string(), text);
            assert_eq!(printable(text.to_owned()), text);
        }
        assert_eq!(
            Quoted("हिन्दी \"a\\b\"\n\u{202e}").to_string(),
            "\"हिन्दी \\\"a\\\\b\\\"\\n\\u202e\""
        );
    }
}
