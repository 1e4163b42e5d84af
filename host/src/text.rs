//! Words from outside, made harmless for whoever reads them.
//!
//! Names, reasons and log lines come from strangers and plugins. A terminal obeys control characters, of which U+009B alone begins a command;
//! characters that change the direction of writing let a line read as another than it is; and two line separators end a line for some readers
//! and not for others. JSON escapes only the first 32 of them by itself, and it is read at terminals, too.

use std::{borrow::Cow, fmt::Write as _};

/// Whether a reader may obey this character instead of showing it: control characters (C0, DEL, C1), those that steer the direction of
/// writing, and the line and paragraph separators.
#[must_use]
pub fn is_obeyed(c: char) -> bool {
    c.is_control() || matches!(c, '\u{61c}' | '\u{200e}' | '\u{200f}' | '\u{2028}'..='\u{202e}' | '\u{2066}'..='\u{2069}')
}

/// Text for people, on one line: what would be obeyed becomes `·`; tabs, line ends and separators blanks.
#[must_use]
pub fn harmless(text: &str) -> String {
    let shown = |c| match c {
        '\n' | '\t' | '\r' | '\u{2028}' | '\u{2029}' => ' ',
        c if is_obeyed(c) => '·',
        c => c,
    };
    text.chars().map(shown).collect()
}

/// The beginning of a stranger's words for a line or a list, harmless, with `…` where they go on.
#[must_use]
pub fn beginning(words: &[u8], bytes_max: usize) -> String {
    let shown = words.get(..bytes_max).unwrap_or(words);
    let end = if shown.len() < words.len() { "…" } else { "" };
    format!("{}{end}", harmless(&String::from_utf8_lossy(shown)))
}

/// A JSON text, or a line of a log, with escapes in place of what would be obeyed and JSON leaves as it is. Reads as the same value: outside
/// strings there is nothing of the kind. The C0 characters stay: JSON has escaped them in strings, and outside they lay it out.
#[must_use]
pub fn escaped(text: &str) -> Cow<'_, str> {
    let is_left = |c: char| is_obeyed(c) && !c.is_ascii() || c == '\u{7f}';
    if !text.contains(is_left) {
        return Cow::Borrowed(text);
    }
    let mut escaped = String::with_capacity(text.len() + 16);
    for c in text.chars() {
        if is_left(c) {
            // Writing to a string cannot fail. All of them are one unit of UTF-16.
            let _ = write!(escaped, "\\u{:04x}", u32::from(c));
        } else {
            escaped.push(c);
        }
    }
    Cow::Owned(escaped)
}

/// The one of `words` that `word` was probably meant to be: a few edits away, and more alike than not. Of two that are as far away the one that it
/// begins.
#[must_use]
pub fn nearest<'a>(word: &str, words: impl IntoIterator<Item = &'a str>) -> Option<&'a str> {
    let (edits, _, near) = words.into_iter().map(|known| (distance(known, word), !known.starts_with(word), known)).min()?;
    (edits <= 3 && 2 * edits <= word.len().max(near.len())).then_some(near)
}

/// Edits between two words (Levenshtein), for "did you mean".
#[must_use]
pub fn distance(a: &str, b: &str) -> usize {
    let mut row: Vec<usize> = (0..=b.len()).collect();
    for (i, x) in a.bytes().enumerate() {
        let mut diagonal = row[0];
        row[0] = i + 1;
        for (j, y) in b.bytes().enumerate() {
            let substituted = diagonal + usize::from(x != y);
            diagonal = row[j + 1];
            row[j + 1] = substituted.min(row[j] + 1).min(diagonal + 1);
        }
    }
    row[b.len()]
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn a_strangers_text_cannot_drive_the_terminal() {
        assert_eq!(harmless("a\x1b[2Jb\x07\u{9b}c\u{202e}d\r\ne\x7f\u{2028}\u{200f}"), "a·[2Jb··c·d  e· ·");
        assert_eq!(harmless("größer 🦀"), "größer 🦀");
    }

    #[test]
    fn the_beginning_of_foreign_words_is_bounded_and_harmless_also_where_it_is_no_text() {
        assert_eq!(beginning(b"/webhooks/a\x1b[2J", 64), "/webhooks/a·[2J");
        assert_eq!(beginning(b"/webhooks/abc", 10), "/webhooks/…");
        assert_eq!(beginning("größer".as_bytes(), 3), "gr\u{fffd}…");
        assert_eq!(beginning(&vec![0xff; 1 << 20], 2).chars().count(), 3);
    }

    #[test]
    fn a_misspelt_word_has_a_nearest_one_and_another_word_has_none() {
        let words = ["github", "gitlab", "push", "wall_ms", "fuel"];
        for (word, near) in [("gitub", Some("github")), ("fule", Some("fuel")), ("wall", Some("wall_ms")), ("slack", None), ("x", None)] {
            assert_eq!(nearest(word, words), near, "{word}");
        }
    }

    #[test]
    fn json_keeps_its_meaning_and_loses_what_a_terminal_obeys() {
        let text = serde_json::json!({"\u{85}": "a\u{9b}2J\u{202e}b\u{2029}\u{7f}\u{2066}", "n": "größer 🦀\n"}).to_string();
        let safe = escaped(&text);
        assert_eq!(safe, r#"{"n":"größer 🦀\n","\u0085":"a\u009b2J\u202eb\u2029\u007f\u2066"}"#);
        assert_eq!(serde_json::from_str::<serde_json::Value>(&safe).unwrap(), serde_json::from_str::<serde_json::Value>(&text).unwrap());
        assert!(matches!(escaped("{\"a\": 1}\n"), Cow::Borrowed(_)));
    }

    proptest! {
        #[test]
        fn whatever_a_string_holds_its_json_is_the_same_value_and_obeyed_by_nobody(text: String) {
            let value = serde_json::Value::from(text);
            let pretty = format!("{:#}", serde_json::json!([value]));
            let safe = escaped(&pretty);
            prop_assert!(safe.chars().all(|c| c == '\n' || !is_obeyed(c)));
            prop_assert_eq!(&serde_json::from_str::<serde_json::Value>(&safe).unwrap()[0], &value);
        }
    }
}
