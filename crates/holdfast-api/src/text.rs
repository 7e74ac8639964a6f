//! Text of others: shown as it is, as far as it is text.

use std::{borrow::Cow, fmt::Write as _};

/// The text with every control character written out, so that whatever a tool or a cluster prints can be stored and
/// shown: a terminal obeys none of it. Line ends and tabulators stay.
pub fn printable(text: &str) -> Cow<'_, str> {
    if !text.chars().any(is_raw) {
        return Cow::Borrowed(text);
    }
    let mut shown = String::with_capacity(text.len() + 16);
    for char in text.chars() {
        match char {
            '\r' => shown.push_str("\\r"),
            raw if is_raw(raw) => {
                // Writing to a String cannot fail.
                let _ = write!(shown, "\\x{:02x}", u32::from(raw));
            }
            char => shown.push(char),
        }
    }
    Cow::Owned(shown)
}

fn is_raw(char: char) -> bool {
    char.is_control() && char != '\n' && char != '\t'
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn control_characters_are_written_out_and_text_stays() {
        assert_eq!(
            printable("a\x1b[31m\0b\r\x7f\u{9b}ü\ttab\nend"),
            "a\\x1b[31m\\x00b\\r\\x7f\\x9bü\ttab\nend"
        );
        assert!(matches!(printable("plain \n text"), Cow::Borrowed(_)));
    }
}
