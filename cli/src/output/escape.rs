//! Names from outside, made harmless: control characters never reach a terminal.

use std::fmt::Write;
use std::os::unix::ffi::OsStrExt;
use std::path::Path;

/// A path for people: control characters and bytes that are no UTF-8 are escaped.
pub(crate) fn name(path: &Path) -> String {
    let mut text = String::new();
    for chunk in path.as_os_str().as_bytes().utf8_chunks() {
        push_escaped(&mut text, chunk.valid());
        for byte in chunk.invalid() {
            // Writing to a string cannot fail.
            let _ = write!(text, "\\x{byte:02x}");
        }
    }
    text
}

/// A path as a word of a shell's command line, quoted if it has to be.
pub(crate) fn word(path: &Path) -> String {
    let is_plain = |character: char| {
        character.is_alphanumeric()
            || matches!(character, '/' | '.' | '_' | '-' | '+' | ':' | '@' | ',' | '%' | '=')
    };
    let shown = name(path);
    match path.to_str() {
        Some(text) if !text.is_empty() && text.chars().all(is_plain) => shown,
        Some(text) if text == shown => format!("'{}'", text.replace('\'', "'\\''")),
        // Control characters and bytes that are no text: as the shells' $'...' has them.
        Some(_) | None => {
            let bytes = path.as_os_str().as_bytes();
            let escaped: String = bytes.iter().map(|byte| format!("\\x{byte:02x}")).collect();
            format!("$'{escaped}'")
        }
    }
}

/// A text of several lines with every other control character escaped.
pub(crate) fn lines(text: &str) -> String {
    let mut escaped = String::new();
    for (index, line) in text.split('\n').enumerate() {
        if index > 0 {
            escaped.push('\n');
        }
        push_escaped(&mut escaped, line);
    }
    escaped
}

fn push_escaped(into: &mut String, text: &str) {
    for character in text.chars() {
        if character.is_control() || is_direction_mark(character) {
            into.extend(character.escape_unicode());
        } else {
            into.push(character);
        }
    }
}

/// Characters that turn the direction of what follows: a name could look like another.
fn is_direction_mark(character: char) -> bool {
    matches!(character, '\u{200e}' | '\u{200f}' | '\u{202a}'..='\u{202e}' | '\u{2066}'..='\u{2069}')
}

#[cfg(test)]
mod tests {
    use std::ffi::OsStr;

    use super::*;

    #[test]
    fn words_of_a_command_are_quoted_where_the_shell_needs_it() {
        let word = |bytes: &[u8]| word(Path::new(OsStr::from_bytes(bytes)));
        assert_eq!(word(b"/dev/sda1"), "/dev/sda1");
        assert_eq!(word(b"my disk's.img"), "'my disk'\\''s.img'");
        assert_eq!(word(b"$HOME"), "'$HOME'");
        assert_eq!(word(b""), "''");
        assert_eq!(word(b"a\n"), "$'\\x61\\x0a'");
        assert_eq!(word(b"\xff"), "$'\\xff'");
    }

    #[test]
    fn control_characters_and_broken_text_are_escaped() {
        assert_eq!(name(Path::new("a b.img")), "a b.img");
        assert_eq!(name(Path::new("\u{1b}[31m\n")), "\\u{1b}[31m\\u{a}");
        assert_eq!(name(Path::new(OsStr::from_bytes(b"a\xffb"))), "a\\xffb");
        assert_eq!(name(Path::new("\u{202e}gpj")), "\\u{202e}gpj");
        assert_eq!(lines("one\ntwo\u{7}"), "one\ntwo\\u{7}");
    }
}
