//! Just enough of Rust's lexical grammar to tell code from what only looks like it.
//!
//! Comments, strings and character literals are blanked: every byte becomes a space, line ends stay. So an offset means the same in the text
//! and in the code, and a rule that searches the code cannot be fooled by an example in a comment.

use std::ops::Range;

/// A source, told apart.
#[derive(Debug, Default)]
pub(super) struct Lexed {
    /// The text with comments, strings and characters blanked; as long as the text.
    pub(super) code: String,
    /// Where the contents of string literals stand, quotes excluded.
    pub(super) strings: Vec<Range<usize>>,
}

/// Tells a source's code from its comments and literals. An unfinished literal or comment reaches to the end.
pub(super) fn lex(text: &str) -> Lexed {
    let mut lexer = Lexer { text: text.as_bytes(), at: 0, code: text.as_bytes().to_vec(), strings: Vec::new() };
    while lexer.at < lexer.text.len() {
        lexer.step();
    }
    // Whole characters are blanked, so what is left is still UTF-8.
    Lexed { code: String::from_utf8_lossy(&lexer.code).into_owned(), strings: lexer.strings }
}

struct Lexer<'a> {
    text: &'a [u8],
    at: usize,
    code: Vec<u8>,
    strings: Vec<Range<usize>>,
}

impl Lexer<'_> {
    fn step(&mut self) {
        match self.text[self.at] {
            b'/' if self.peek(1) == b'/' => self.blank_to(self.find(self.at, b"\n")),
            b'/' if self.peek(1) == b'*' => self.block_comment(),
            b'"' => self.string(),
            b'r' if !self.follows_a_word() => self.raw_string(),
            b'\'' => self.quote(),
            _ => self.at += 1,
        }
    }

    fn peek(&self, ahead: usize) -> u8 {
        self.text.get(self.at + ahead).copied().unwrap_or(0)
    }

    /// Whether the byte here only continues an identifier; `b` and `c` before `r` are the prefixes of raw byte and C strings.
    fn follows_a_word(&self) -> bool {
        let is_word =
            |at: Option<usize>| at.and_then(|at| self.text.get(at)).is_some_and(|&byte| byte.is_ascii_alphanumeric() || byte == b'_');
        let before = self.at.checked_sub(1);
        match before.and_then(|at| self.text.get(at)) {
            Some(b'b' | b'c') => is_word(self.at.checked_sub(2)),
            _ => is_word(before),
        }
    }

    /// The next place of `what` at or after `from`, or the end.
    fn find(&self, from: usize, what: &[u8]) -> usize {
        self.text
            .get(from..)
            .and_then(|rest| rest.windows(what.len()).position(|window| window == what))
            .map_or(self.text.len(), |at| from + at)
    }

    fn blank_to(&mut self, end: usize) {
        let end = end.min(self.text.len());
        for byte in &mut self.code[self.at..end] {
            if *byte != b'\n' {
                *byte = b' ';
            }
        }
        self.at = end;
    }

    fn block_comment(&mut self) {
        let (mut depth, mut at) = (1, self.at + 2);
        while depth > 0 && at < self.text.len() {
            match &self.text[at..(at + 2).min(self.text.len())] {
                b"/*" => (depth, at) = (depth + 1, at + 2),
                b"*/" => (depth, at) = (depth - 1, at + 2),
                _ => at += 1,
            }
        }
        self.blank_to(at);
    }

    fn string(&mut self) {
        let start = self.at + 1;
        let mut at = start;
        while at < self.text.len() && self.text[at] != b'"' {
            at += if self.text[at] == b'\\' { 2 } else { 1 };
        }
        let at = at.min(self.text.len());
        self.strings.push(start..at);
        self.blank_to(at + 1);
    }

    fn raw_string(&mut self) {
        let hashes = self.text[self.at + 1..].iter().take_while(|&&byte| byte == b'#').count();
        if self.peek(1 + hashes) != b'"' {
            // An ordinary word, or a raw identifier.
            self.at += 1;
            return;
        }
        let start = self.at + hashes + 2;
        let close = [b"\"".as_slice(), "#".repeat(hashes).as_bytes()].concat();
        let end = self.find(start, &close);
        self.strings.push(start..end);
        self.blank_to(end + close.len());
    }

    /// A character literal, or the tick of a lifetime or label.
    fn quote(&mut self) {
        let width = match self.peek(1) {
            b'\\' => return self.blank_to(self.find(self.at + 3, b"'") + 1),
            byte if byte < 0x80 => 1,
            byte => byte.leading_ones() as usize,
        };
        if self.peek(1 + width) == b'\'' { self.blank_to(self.at + width + 2) } else { self.at += 1 }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn words(text: &str) -> Vec<String> {
        let lexed = lex(text);
        assert_eq!(lexed.code.len(), text.len(), "offsets stay");
        assert_eq!(lexed.code.lines().count(), text.lines().count(), "lines stay");
        lexed.code.split_whitespace().map(str::to_owned).collect()
    }

    fn strings(text: &str) -> Vec<&str> {
        lex(text).strings.into_iter().map(|range| &text[range]).collect()
    }

    #[test]
    fn comments_are_blanked_even_nested_and_unfinished() {
        assert_eq!(words("a // b \" c\nd"), ["a", "d"]);
        assert_eq!(words("a /* b /* c */ d */ e"), ["a", "e"]);
        assert_eq!(words("a /* b"), ["a"]);
        assert_eq!(words("a / b"), ["a", "/", "b"]);
    }

    #[test]
    fn strings_are_blanked_and_kept_with_their_escapes() {
        let text = r#"f("a \" // b", b"c", "ü") g"#;
        assert_eq!(words(text), ["f(", ",", "b", ",", ")", "g"]);
        assert_eq!(strings(text), [r#"a \" // b"#, "c", "ü"]);
    }

    #[test]
    fn raw_strings_end_at_their_own_number_of_hashes() {
        let text = "x(r\"a\\\", r##\"b \"# c\"##, br#\"d\"#) y";
        assert_eq!(strings(text), ["a\\", "b \"# c", "d"]);
        assert_eq!(words(text).last().map(String::as_str), Some("y"));
    }

    #[test]
    fn a_word_that_ends_in_r_and_a_raw_identifier_begin_no_raw_string() {
        assert_eq!(words("for r#type in var"), ["for", "r#type", "in", "var"]);
        assert_eq!(strings("bar\"s\" r#\"t\"#"), ["s", "t"]);
    }

    #[test]
    fn characters_are_blanked_and_lifetimes_are_not() {
        assert_eq!(words(r"a '{' '\'' '\u{7b}' 'ü' b"), ["a", "b"]);
        assert_eq!(words("fn f<'a>(x: &'a str) 'out: loop"), ["fn", "f<'a>(x:", "&'a", "str)", "'out:", "loop"]);
        assert_eq!(words("('\"', x)"), ["(", ",", "x)"]);
    }
}
