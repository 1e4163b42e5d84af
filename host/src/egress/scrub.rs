//! Takes secrets out of what comes back, in whatever spelling the other side gave them.
//!
//! An answer, an error page or a header may repeat the credential that was sent: as it was, percent- or JSON-escaped (or one in the other),
//! as HTML, in hexadecimal, or in base64 at any offset, alone or in a longer text. The text is therefore searched as it stands and once more
//! each time its escapes are undone, and what is found is cut out of the original. This is a net, not the wall: the wall is that a credential
//! goes only to the destination the operator bound it to. A server that wants to hide a secret from this net can.

use std::{borrow::Cow, collections::HashMap, sync::Arc};

use base64::{Engine as _, engine::general_purpose::STANDARD_NO_PAD};

use super::target::hex;

/// What stands where a secret stood.
const MARK: &[u8] = b"[scrubbed]";
/// Shorter secrets are refused when they are configured: cutting them out would cut everything.
pub(super) const SECRET_BYTES_MIN: usize = 8;
/// The digits, in lower case.
const HEX: &[u8; 16] = b"0123456789abcdef";
/// How often escapes are undone: JSON in a query in JSON.
const DEPTH_MAX: usize = 3;

/// How many bytes of a spelling's end it is found by: at least so many has every spelling.
const TAIL_BYTES: usize = 8;
/// Comparisons with spellings a text may cost, beside four for each byte of it. A text that costs more was made for it, and goes whole.
const COMPARISONS_MAX: usize = 1 << 20;

/// Knows some secrets in all their spellings; cheap to clone.
#[derive(Clone, Default)]
pub(super) struct Scrubber {
    sets: Vec<Arc<Spellings>>,
}

/// All spellings of some secrets, found in one pass over a text however many they are: by their last eight bytes, which differ where beginnings
/// (`Bearer `, `ghs_`, `https://hooks.`) are the same.
#[derive(Default)]
pub(super) struct Spellings {
    needles: Vec<Needle>,
    /// Which spellings end with these bytes, in lower case.
    by_tail: HashMap<u64, Vec<usize>>,
    /// A bit for each tail that is there: most places of a text are told apart by one look at it.
    bits: Vec<u64>,
    shift: u32,
}

#[derive(Clone, PartialEq, Eq, PartialOrd, Ord)]
struct Needle {
    bytes: Vec<u8>,
    spelling: Spelling,
}

#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
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

/// Places of a text that are to be cut out, and what may still be spent on finding more.
struct Found {
    places: Vec<(usize, usize)>,
    comparisons: usize,
}

impl Scrubber {
    /// A scrubber of these.
    pub(super) fn new(sets: Vec<Arc<Spellings>>) -> Self {
        Self { sets }
    }

    /// A scrubber for these secrets alone.
    #[cfg(test)]
    pub(super) fn of<'a>(secrets: impl IntoIterator<Item = &'a [u8]>) -> Self {
        Self::new(vec![Arc::new(Spellings::of(secrets))])
    }

    /// The text without the secrets.
    pub(super) fn bytes<'a>(&self, text: &'a [u8]) -> Cow<'a, [u8]> {
        if self.sets.iter().all(|set| set.needles.is_empty()) {
            return Cow::Borrowed(text);
        }
        let mut found = Found { places: Vec::new(), comparisons: COMPARISONS_MAX + 4 * text.len() };
        let mut is_searched = self.search(text, |place| place, &mut found);
        let mut view = View::undone(text, None);
        for _ in 0..DEPTH_MAX {
            let Some(current) = view else { break };
            is_searched =
                is_searched && self.search(&current.bytes, |(start, end)| (current.starts[start], current.starts[end]), &mut found);
            view = View::undone(&current.bytes, Some(&current.starts));
        }
        match (is_searched, found.places.is_empty()) {
            (false, _) => Cow::Owned(MARK.to_vec()),
            (true, true) => Cow::Borrowed(text),
            (true, false) => Cow::Owned(cut(text, found.places)),
        }
    }

    /// The text without the secrets.
    pub(super) fn text(&self, text: &str) -> String {
        String::from_utf8_lossy(&self.bytes(text.as_bytes())).into_owned()
    }

    fn search(&self, text: &[u8], original: impl Fn((usize, usize)) -> (usize, usize), found: &mut Found) -> bool {
        self.sets.iter().filter(|set| !set.needles.is_empty()).all(|set| set.search(text, &original, found))
    }
}

impl Spellings {
    /// Every spelling of these secrets.
    pub(super) fn of<'a>(secrets: impl IntoIterator<Item = &'a [u8]>) -> Self {
        let mut needles = Vec::new();
        for secret in secrets.into_iter().filter(|secret| secret.len() >= SECRET_BYTES_MIN) {
            let in_hex = secret.iter().flat_map(|byte| [byte >> 4, byte & 0x0f]).map(|digit| HEX[usize::from(digit)]).collect();
            needles.push(Needle { bytes: secret.to_ascii_lowercase(), spelling: Spelling::Plain });
            needles.push(Needle { bytes: in_hex, spelling: Spelling::Plain });
            for offset in 0..3 {
                let core = base64_core(secret, offset);
                let url_safe = core.iter().map(|byte| match byte {
                    b'+' => b'-',
                    b'/' => b'_',
                    other => *other,
                });
                needles.push(Needle { bytes: url_safe.collect(), spelling: Spelling::Base64 });
                needles.push(Needle { bytes: core, spelling: Spelling::Base64 });
            }
        }
        needles.retain(|needle| needle.bytes.len() >= TAIL_BYTES);
        needles.sort_unstable();
        needles.dedup();
        // Sixteen bits a spelling, so that one place in sixteen is looked at twice for nothing.
        let bits = (needles.len() * 16).next_power_of_two().max(4096);
        let mut spellings =
            Self { by_tail: HashMap::new(), bits: vec![0; bits / 64], shift: 64 - bits.trailing_zeros(), needles: Vec::new() };
        for (at, needle) in needles.iter().enumerate() {
            let tail = needle.bytes[needle.bytes.len() - TAIL_BYTES..].iter().fold(0, |tail, byte| pushed(tail, *byte));
            let bit = spellings.bit(tail);
            spellings.bits[bit / 64] |= 1 << (bit % 64);
            spellings.by_tail.entry(tail).or_default().push(at);
        }
        Self { needles, ..spellings }
    }

    /// The bit of a tail (Fibonacci hashing).
    fn bit(&self, tail: u64) -> usize {
        usize::try_from(tail.wrapping_mul(0x9e37_79b9_7f4a_7c15) >> self.shift).unwrap_or(0)
    }

    /// Whether the text was searched to its end.
    fn search(&self, text: &[u8], original: impl Fn((usize, usize)) -> (usize, usize), found: &mut Found) -> bool {
        let mut tail = 0;
        for (at, byte) in text.iter().enumerate() {
            tail = pushed(tail, *byte);
            let bit = self.bit(tail);
            if at + 1 < TAIL_BYTES || self.bits.get(bit / 64).is_none_or(|bits| bits & (1 << (bit % 64)) == 0) {
                continue;
            }
            for needle in self.by_tail.get(&tail).into_iter().flatten().map(|needle| &self.needles[*needle]) {
                if found.comparisons == 0 {
                    return false;
                }
                found.comparisons -= 1;
                let end = at + 1;
                let Some(start) = end.checked_sub(needle.bytes.len()) else { continue };
                let is_match = match needle.spelling {
                    Spelling::Plain => text[start..end].eq_ignore_ascii_case(&needle.bytes),
                    Spelling::Base64 => text[start..end] == *needle.bytes,
                };
                if is_match {
                    let place = if needle.spelling == Spelling::Base64 { whole_run(text, start, end) } else { (start, end) };
                    found.push(original(place));
                }
            }
        }
        true
    }
}

impl Found {
    /// Places that overlap are one, so that there are never more of them than bytes.
    fn push(&mut self, (start, end): (usize, usize)) {
        match self.places.last_mut() {
            Some(last) if start < last.1 && last.0 < end => *last = (last.0.min(start), last.1.max(end)),
            _ => self.places.push((start, end)),
        }
    }
}

/// The last eight bytes of a text, in lower case, one further.
fn pushed(tail: u64, byte: u8) -> u64 {
    tail << 8 | u64::from(byte.to_ascii_lowercase())
}

/// Never the secrets.
impl std::fmt::Debug for Spellings {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "Spellings({})", self.needles.len())
    }
}

impl std::fmt::Debug for Scrubber {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_list().entries(&self.sets).finish()
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
mod tests;
