//! A secret that does not show itself.

use std::fmt;

/// U+FEFF in UTF-8: some editors begin a file with it.
const BYTE_ORDER_MARK: &[u8] = b"\xef\xbb\xbf";

/// Bytes that prove who one is. `Debug` shows nothing of them, and there is no `Display` and no `Serialize`.
#[derive(Clone, PartialEq, Eq)]
pub struct Secret(Box<[u8]>);

impl Secret {
    /// How an operator gives a variable the secret alone.
    pub const WITHOUT: &str =
        "in a shell, NAME=\"$(cat FILE)\" drops a line end; a file of variables takes no quotes; or name the file itself";

    /// A secret of at least one byte; an empty one would be an open door.
    #[must_use]
    pub fn new(bytes: impl Into<Vec<u8>>) -> Option<Self> {
        let bytes: Vec<u8> = bytes.into();
        if bytes.is_empty() { None } else { Some(Self(bytes.into())) }
    }

    /// A secret of a fixed number of bytes, which is never none.
    #[must_use]
    pub fn from_nonempty<const N: usize>(bytes: [u8; N]) -> Self {
        const { assert!(N > 0, "an empty secret would be an open door") };
        Self(bytes.into())
    }

    /// The secret that a file holds: without the byte order mark before it and the line ends after it, which editors add.
    #[must_use]
    pub fn in_file(bytes: &[u8]) -> Option<Self> {
        let mut bytes = bytes.strip_prefix(BYTE_ORDER_MARK).unwrap_or(bytes);
        while let Some((b'\n' | b'\r', rest)) = bytes.split_last() {
            bytes = rest;
        }
        Self::new(bytes)
    }

    /// What stands around it and is hardly part of it, in words. The other side does not have it, so every signature would be another one.
    #[must_use]
    pub fn surrounded_by(&self) -> Option<&'static str> {
        let bytes = &*self.0;
        let is_quoted = |quote: u8| bytes.len() > 1 && bytes.first() == Some(&quote) && bytes.last() == Some(&quote);
        match bytes {
            _ if bytes.starts_with(BYTE_ORDER_MARK) => Some("a byte order mark at its start"),
            [.., b'\r', b'\n'] => Some("a carriage return and a line feed at its end"),
            [.., b'\n'] => Some("a line feed at its end"),
            [.., b'\r'] => Some("a carriage return at its end"),
            _ if is_quoted(b'"') || is_quoted(b'\'') => Some("quotes around it"),
            _ => None,
        }
    }

    /// The bytes, for the one who computes with them.
    #[must_use]
    pub fn expose(&self) -> &[u8] {
        &self.0
    }
}

impl fmt::Debug for Secret {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Secret(…)")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_editors_add_to_a_file_is_no_part_of_the_secret_in_it() {
        for file in ["s3cret", "s3cret\n", "s3cret\r\n", "\u{feff}s3cret", "\u{feff}s3cret\r\n\n"] {
            assert_eq!(Secret::in_file(file.as_bytes()).unwrap().expose(), b"s3cret", "{file:?}");
        }
        assert!(Secret::in_file(b"\xef\xbb\xbf\n").is_none());
    }

    #[test]
    fn what_stands_around_a_secret_is_named() {
        let around = |text: &str| Secret::new(text).unwrap().surrounded_by();
        for (text, words) in [
            ("s\n", "a line feed"),
            ("s\r\n", "a carriage return and"),
            ("s\r", "a carriage return at"),
            ("\u{feff}s", "a byte order mark"),
            ("\"s\"", "quotes"),
            ("'s'", "quotes"),
        ] {
            assert!(around(text).is_some_and(|found| found.starts_with(words)), "{text:?}");
        }
        for text in ["s", "\"", "\"s", "s ' t"] {
            assert_eq!(around(text), None, "{text}");
        }
    }
}
