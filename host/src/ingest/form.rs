//! The JSON document in a form body: the one field `payload`, percent- and plus-decoded
//! (<https://url.spec.whatwg.org/#application/x-www-form-urlencoded>).
//!
//! Stricter than browsers in two ways, because host and plugin must never see different documents: a second `payload` and a broken escape
//! are refused, not guessed at. Other fields are passed over. The bytes are decoded once, into the copy that goes on as the document.

use crate::delivery::Refusal;

/// The decoded value of the only `payload` field, where it has at most `bytes_max` bytes.
pub fn payload(form: &[u8], bytes_max: usize) -> Result<Vec<u8>, Refusal> {
    let mut found = None;
    for field in form.split(|byte| *byte == b'&') {
        let (name, value) = split_field(field);
        if is_payload(name)? && found.replace(value).is_some() {
            return Err(Refusal::FormPayloadInvalid);
        }
    }
    let document: Vec<u8> =
        decode(found.ok_or(Refusal::FormPayloadInvalid)?).take(bytes_max + 1).collect::<Option<_>>().ok_or(Refusal::FormPayloadInvalid)?;
    if document.len() > bytes_max { Err(Refusal::BodyTooLarge { bytes_max }) } else { Ok(document) }
}

fn split_field(field: &[u8]) -> (&[u8], &[u8]) {
    field.iter().position(|byte| *byte == b'=').map_or((field, &[]), |at| (&field[..at], &field[at + 1..]))
}

fn is_payload(name: &[u8]) -> Result<bool, Refusal> {
    let mut expected = b"payload".iter();
    for byte in decode(name) {
        if expected.next() != Some(&byte.ok_or(Refusal::FormPayloadInvalid)?) {
            return Ok(false);
        }
    }
    Ok(expected.next().is_none())
}

/// The decoded bytes; `None` in place of a broken escape.
fn decode(encoded: &[u8]) -> impl Iterator<Item = Option<u8>> + '_ {
    let mut bytes = encoded.iter();
    std::iter::from_fn(move || {
        Some(match *bytes.next()? {
            b'+' => Some(b' '),
            b'%' => hex_pair(bytes.next(), bytes.next()),
            plain => Some(plain),
        })
    })
}

fn hex_pair(high: Option<&u8>, low: Option<&u8>) -> Option<u8> {
    let digit = |byte: Option<&u8>| char::from(*byte?).to_digit(16).and_then(|digit| u8::try_from(digit).ok());
    Some(digit(high)? << 4 | digit(low)?)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    /// What a careful sender does, and what a lavish one does: every byte escaped.
    fn encode(document: &[u8], lavish: bool) -> Vec<u8> {
        document
            .iter()
            .flat_map(|byte| match byte {
                b'a'..=b'z' | b'A'..=b'Z' | b'0'..=b'9' | b'-' | b'_' | b'.' if !lavish => vec![*byte],
                b' ' if !lavish => vec![b'+'],
                byte => format!("%{byte:02X}").into_bytes(),
            })
            .collect()
    }

    #[test]
    fn the_payload_is_found_among_other_fields_under_any_spelling_of_its_name() {
        for form in ["payload=%7B%7D", "a=1&payload=%7b%7d&b", "pay%6Coad={}", "payload={}&"] {
            assert_eq!(payload(form.as_bytes(), 100).as_deref(), Ok(b"{}".as_slice()), "{form}");
        }
        assert_eq!(payload(b"payload=a=b+c%2B", 100).as_deref(), Ok(b"a=b c+".as_slice()));
    }

    #[test]
    fn no_payload_two_payloads_and_broken_escapes_are_refused() {
        for form in [
            "",
            "a=1",
            "Payload={}",
            "payloads={}",
            "payloa={}",
            "payload={}&payload={}",
            "payload=1&pa%79load=2",
            "payload=%7",
            "payload=%",
            "payload=%zz",
            "payload=%+1",
        ] {
            assert_eq!(payload(form.as_bytes(), 100), Err(Refusal::FormPayloadInvalid), "{form}");
        }
    }

    #[test]
    fn the_document_in_the_form_has_the_cap_of_a_document() {
        assert_eq!(payload(b"payload=1234", 4).as_deref(), Ok(b"1234".as_slice()));
        assert_eq!(payload(b"payload=12345", 4), Err(Refusal::BodyTooLarge { bytes_max: 4 }));
    }

    proptest! {
        #[test]
        fn what_was_encoded_comes_back(document in prop::collection::vec(any::<u8>(), 0..300), lavish: bool) {
            let mut form = b"x=1&payload=".to_vec();
            form.extend(encode(&document, lavish));
            prop_assert_eq!(payload(&form, 300), Ok(document));
        }

        #[test]
        fn no_form_makes_the_reader_panic(form in "[payload=&%+0-9a-f]{0,80}") {
            let _ = payload(form.as_bytes(), 100);
        }
    }
}
