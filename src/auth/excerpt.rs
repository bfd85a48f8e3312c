//! What others say, fit to be shown.

/// The beginning of a text from outside, in one line that no terminal takes for a command.
pub(super) fn excerpt(text: &[u8]) -> String {
    const LONGEST: usize = 500;
    let text = String::from_utf8_lossy(text);
    let words: Vec<&str> = text.split_whitespace().collect();
    let line = words.join(" ");
    let mut shown: String = line
        .chars()
        .take(LONGEST)
        .filter(|c| !c.is_control())
        .collect();
    if line.chars().nth(LONGEST).is_some() {
        shown.push('…');
    }
    shown
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_excerpt_is_one_short_line_without_commands() {
        assert_eq!(excerpt(b" a\r\n\tb\x1b[31mc\0 \xff "), "a b[31mc \u{fffd}");
        assert_eq!(excerpt(b""), "");
        let long = excerpt("é".repeat(600).as_bytes());
        assert_eq!(long.chars().count(), 501);
        assert!(long.ends_with('…'));
    }
}
