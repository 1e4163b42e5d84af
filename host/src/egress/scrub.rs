//! Takes secrets out of what comes back, in whatever spelling the other side gave them.
//!
//! An answer, an error page or a header may repeat the credential that was sent: as it was, percent- or JSON-escaped (or one in the other),
//! as HTML, in hexadecimal, or in base64 at any offset, alone or in a longer text. The text is therefore searched as it stands and once more
//! each time its escapes are undone, and what is found is cut out of the original. This is a net, not the wall: the wall is that a credential
//! goes only to the destination the operator bound it to. A server that wants to hide a secret from this net can.

use std::borrow::Cow;

use base64::{Engine as _, engine::general_purpose::STANDARD_NO_PAD};

use super::target::hex;

/// What stands where a secret stood.
const MARK: &[u8] = b"[scrubbed]";
/// Shorter secrets are refused when they are configured: cutting them out would cut everything.
pub(super) const SECRET_BYTES_MIN: usize = 8;
/// How often escapes are undone: JSON in a query in JSON.
const DEPTH_MAX: usize = 3;

/// Knows some secrets in all their spellings.
#[derive(Clone, Default)]
pub(super) struct Scrubber {
    needles: Vec<Needle>,
}

#[derive(Clone)]
struct Needle {
    bytes: Vec<u8>,
    spelling: Spelling,
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum Spelling {
    /// Letters of either case.
    Plain,
    /// Part of a longer run of base64, which goes with it.
    Base64,
}

/// A text with its escapes undone, and where each byte of it comes from.
struct View {
    bytes: Vec<u8>,
    /// Start in the original of each byte, and the end of the last.
    starts: Vec<usize>,
}

impl Scrubber {
    /// A scrubber for these secrets.
    pub(super) fn new<'a>(secrets: impl IntoIterator<Item = &'a [u8]>) -> Self {
        let mut needles = Vec::new();
        for secret in secrets.into_iter().filter(|secret| secret.len() >= SECRET_BYTES_MIN) {
            let in_hex = secret.iter().map(|byte| format!("{byte:02x}")).collect::<Vec<_>>().concat();
            needles.push(Needle { bytes: secret.to_vec(), spelling: Spelling::Plain });
            needles.push(Needle { bytes: in_hex.into_bytes(), spelling: Spelling::Plain });
            for offset in 0..3 {
                let core = base64_core(secret, offset);
                let url_safe: Vec<u8> = core
                    .iter()
                    .map(|byte| {
                        if *byte == b'+' {
                            b'-'
                        } else if *byte == b'/' {
                            b'_'
                        } else {
                            *byte
                        }
                    })
                    .collect();
                if url_safe != core {
                    needles.push(Needle { bytes: url_safe, spelling: Spelling::Base64 });
                }
                needles.push(Needle { bytes: core, spelling: Spelling::Base64 });
            }
        }
        Self { needles }
    }

    /// The text without the secrets.
    pub(super) fn bytes<'a>(&self, text: &'a [u8]) -> Cow<'a, [u8]> {
        let mut found = Vec::new();
        self.search(text, |range| range, &mut found);
        let mut view = View::undone(text, None);
        for _ in 0..DEPTH_MAX {
            let Some(current) = view else { break };
            self.search(&current.bytes, |(start, end)| (current.starts[start], current.starts[end]), &mut found);
            view = View::undone(&current.bytes, Some(&current.starts));
        }
        if found.is_empty() { Cow::Borrowed(text) } else { Cow::Owned(cut(text, found)) }
    }

    /// The text without the secrets.
    pub(super) fn text(&self, text: &str) -> String {
        String::from_utf8_lossy(&self.bytes(text.as_bytes())).into_owned()
    }

    fn search(&self, text: &[u8], original: impl Fn((usize, usize)) -> (usize, usize), found: &mut Vec<(usize, usize)>) {
        for Needle { bytes, spelling } in &self.needles {
            let first = [bytes[0].to_ascii_lowercase(), bytes[0].to_ascii_uppercase()];
            let mut from = 0;
            while let Some(at) = text.get(from..).and_then(|rest| rest.iter().position(|byte| first.contains(byte))) {
                let start = from + at;
                let Some(candidate) = text.get(start..start + bytes.len()) else { break };
                let is_match = match spelling {
                    Spelling::Plain => candidate.eq_ignore_ascii_case(bytes),
                    Spelling::Base64 => candidate == bytes.as_slice(),
                };
                if is_match {
                    let end = start + bytes.len();
                    found.push(original(if *spelling == Spelling::Base64 { whole_run(text, start, end) } else { (start, end) }));
                }
                from = start + 1;
            }
        }
    }
}

/// Never the needles.
impl std::fmt::Debug for Scrubber {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "Scrubber({})", self.needles.len())
    }
}

/// The part of a base64 text that depends on nothing but the secret in it, where the secret begins `offset` bytes into a group of three.
fn base64_core(secret: &[u8], offset: usize) -> Vec<u8> {
    let mut padded = vec![0; offset];
    padded.extend_from_slice(secret);
    let end = padded.len() * 8 / 6;
    padded.extend_from_slice(&[0; 3]);
    let encoded = STANDARD_NO_PAD.encode(padded).into_bytes();
    encoded[(offset * 8).div_ceil(6)..end].to_vec()
}

/// The whole base64 text around a match: its edges hold bits of the secret too.
fn whole_run(text: &[u8], start: usize, end: usize) -> (usize, usize) {
    let is_base64 = |byte: &u8| byte.is_ascii_alphanumeric() || matches!(byte, b'+' | b'/' | b'-' | b'_' | b'=');
    let before = text[..start].iter().rev().take(3).take_while(|byte| is_base64(byte)).count();
    let after = text[end..].iter().take(4).take_while(|byte| is_base64(byte)).count();
    (start - before, end + after)
}

fn cut(text: &[u8], mut found: Vec<(usize, usize)>) -> Vec<u8> {
    found.sort_unstable();
    let mut clean = Vec::with_capacity(text.len());
    let mut at = 0;
    for (start, end) in found {
        if start >= at {
            clean.extend_from_slice(&text[at..start]);
            clean.extend_from_slice(MARK);
        }
        at = at.max(end);
    }
    clean.extend_from_slice(&text[at..]);
    clean
}

impl View {
    /// The text with one layer of escapes undone; none where there is none. `starts` are the places of `text`'s bytes in the original.
    fn undone(text: &[u8], starts: Option<&[usize]>) -> Option<Self> {
        if !text.iter().any(|byte| matches!(byte, b'%' | b'\\' | b'&')) {
            return None;
        }
        let place = |at: usize| starts.map_or(at, |starts| starts[at]);
        let mut view = Self { bytes: Vec::with_capacity(text.len()), starts: Vec::with_capacity(text.len() + 1) };
        let (mut at, mut undone) = (0, false);
        while at < text.len() {
            let (decoded, length) = match escape(&text[at..]) {
                Some((decoded, length)) => {
                    undone = true;
                    (decoded, length)
                }
                None => (u32::from(text[at]), 1),
            };
            // A byte stands for itself; only an escape names a character.
            let mut utf8 = [0; 4];
            let bytes: &[u8] = match (length, u8::try_from(decoded)) {
                (1 | 3, Ok(byte)) => {
                    utf8[0] = byte;
                    &utf8[..1]
                }
                _ => char::from_u32(decoded).unwrap_or(char::REPLACEMENT_CHARACTER).encode_utf8(&mut utf8).as_bytes(),
            };
            view.bytes.extend_from_slice(bytes);
            view.starts.extend(std::iter::repeat_n(place(at), bytes.len()));
            at += length;
        }
        view.starts.push(place(text.len()));
        undone.then_some(view)
    }
}

/// The character an escape at the start of `text` stands for, and the escape's length.
fn escape(text: &[u8]) -> Option<(u32, usize)> {
    let digits = |range: std::ops::Range<usize>| {
        let digits = text.get(range)?;
        digits.iter().all(u8::is_ascii_hexdigit).then(|| digits.iter().fold(0, |value, digit| value << 4 | u32::from(hex(*digit))))
    };
    match text {
        [b'%', ..] => Some((digits(1..3)?, 3)),
        [b'\\', b'u', ..] => Some((digits(2..6)?, 6)),
        [b'\\', b'x', ..] => Some((digits(2..4)?, 4)),
        [b'\\', b'n', ..] => Some((10, 2)),
        [b'\\', b'r', ..] => Some((13, 2)),
        [b'\\', b't', ..] => Some((9, 2)),
        [b'\\', plain @ (b'"' | b'\\' | b'/' | b'\''), ..] => Some((u32::from(*plain), 2)),
        [b'&', ..] => entity(text),
        _ => None,
    }
}

fn entity(text: &[u8]) -> Option<(u32, usize)> {
    let end = text.iter().take(10).position(|byte| *byte == b';')?;
    let name = std::str::from_utf8(&text[1..end]).ok()?;
    let value = match name {
        "amp" => 38,
        "lt" => 60,
        "gt" => 62,
        "quot" => 34,
        "apos" => 39,
        _ => {
            let number = name.strip_prefix('#')?;
            match number.strip_prefix(['x', 'X']) {
                Some(digits) => u32::from_str_radix(digits, 16).ok()?,
                None => number.parse().ok()?,
            }
        }
    };
    Some((value, end + 1))
}

#[cfg(test)]
mod tests {
    use base64::engine::general_purpose::{STANDARD, URL_SAFE};
    use proptest::prelude::*;

    use super::*;

    const SECRET: &str = "gh\"p_/0+1&2?3%4\\5ü67";

    fn scrubbed(text: &str) -> String {
        Scrubber::new([SECRET.as_bytes()]).text(text)
    }

    fn percent(text: &str) -> String {
        text.bytes().map(|byte| if byte.is_ascii_alphanumeric() { (byte as char).to_string() } else { format!("%{byte:02X}") }).collect()
    }

    #[test]
    fn a_secret_is_cut_out_in_every_spelling() {
        let json = serde_json::to_string(SECRET).unwrap();
        let unicode = SECRET.chars().map(|c| format!("\\u{:04x}", c as u32)).collect::<Vec<_>>().concat();
        let html = SECRET.chars().map(|c| format!("&#{};", c as u32)).collect::<Vec<_>>().concat();
        for (what, spelling) in [
            ("as it is", SECRET.to_owned()),
            ("in capitals", SECRET.to_ascii_uppercase()),
            ("percent", percent(SECRET)),
            ("percent in lower case", percent(SECRET).to_ascii_lowercase()),
            ("percent twice", percent(&percent(SECRET))),
            ("json", json[1..json.len() - 1].to_owned()),
            ("json slashes", SECRET.replace('\\', "\\\\").replace('"', "\\\"").replace('/', "\\/")),
            ("json in unicode", unicode.clone()),
            ("json in a query", percent(&unicode)),
            ("html", html),
            ("hexadecimal", SECRET.bytes().map(|byte| format!("{byte:02x}")).collect::<Vec<_>>().concat()),
        ] {
            assert_eq!(scrubbed(&format!("a {spelling} b")), "a [scrubbed] b", "{what}");
        }
    }

    #[test]
    fn base64_is_found_at_every_offset_and_goes_with_its_edges() {
        for before in ["", "x", "xy", "xyz", "user:"] {
            for after in ["", "1", "12", "123"] {
                for encoded in [STANDARD.encode(format!("{before}{SECRET}{after}")), URL_SAFE.encode(format!("{before}{SECRET}{after}"))] {
                    let clean = scrubbed(&format!("Basic {encoded}, next"));
                    assert!(clean.contains("[scrubbed]") && clean.ends_with(", next"), "{clean}");
                    let left = clean.replace("Basic ", "").replace("[scrubbed]", "").replace(", next", "");
                    assert!(left.len() <= 8, "{before}{after}: {left}");
                }
            }
        }
        let in_json = STANDARD.encode(SECRET).replace('/', "\\/");
        assert_eq!(scrubbed(&in_json), "[scrubbed]");
    }

    #[test]
    fn several_secrets_and_overlaps_leave_nothing_and_the_rest_stays() {
        let scrubber = Scrubber::new([b"first-secret".as_slice(), b"second-secret", b"secret-first"]);
        assert_eq!(scrubber.text("a first-secret-first b second-secret c"), "a [scrubbed] b [scrubbed] c");
        assert!(matches!(scrubber.bytes(b"nothing % \\ & here"), Cow::Borrowed(_)));
        assert_eq!(Scrubber::new([b"short".as_slice()]).text("short"), "short", "refused where it is configured");
    }

    proptest! {
        #[test]
        fn no_text_around_it_saves_a_secret_and_none_breaks_the_search(before in ".{0,12}", after in ".{0,12}") {
            let clean = scrubbed(&format!("{before}{SECRET}{after}"));
            prop_assert!(!clean.contains(SECRET));
        }

        #[test]
        fn any_bytes_are_searched_without_a_panic(text in proptest::collection::vec(any::<u8>(), 0..200)) {
            let scrubber = Scrubber::new([SECRET.as_bytes()]);
            let clean = scrubber.bytes(&text);
            prop_assert!(clean.len() >= MARK.len() || clean.len() == text.len());
        }
    }
}
