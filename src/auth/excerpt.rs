//! What others say, fit to be shown.

/// The beginning of a text from outside, in one line.
pub(super) fn excerpt(text: &[u8]) -> String {
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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_excerpt_is_one_short_line() {
        assert_eq!(
            excerpt(b" a\r\n\tb\x1b[31mc\0 \xff "),
            "a b\u{1b}[31mc\0 \u{fffd}"
        );
        assert_eq!(excerpt(b""), "");
        let long = excerpt("é".repeat(600).as_bytes());
        assert_eq!(long.chars().count(), 501);
        assert!(long.ends_with('…'));
    }
}
