//! A form body: where we find one payload, so does the parser of browsers, and it is the same.

use hookyard::{delivery::Refusal, ingest::payload};

const BYTES_MAX: usize = 256;

pub(crate) fn run(form: &[u8]) {
    let theirs: Vec<_> = url::form_urlencoded::parse(form).filter(|(name, _)| name == "payload").map(|(_, value)| value).collect();
    match payload(form, BYTES_MAX) {
        Ok(document) => {
            assert!(document.len() <= BYTES_MAX, "the cap holds");
            assert_eq!(theirs, [String::from_utf8_lossy(&document)], "host and guest see the same document");
        }
        Err(Refusal::BodyTooLarge { bytes_max }) => assert_eq!(bytes_max, BYTES_MAX),
        Err(refusal) => {
            assert_eq!(refusal, Refusal::FormPayloadInvalid);
            let is_escaped = form.contains(&b'%');
            assert!(is_escaped || theirs.len() != 1, "a form with one payload and no escape is taken");
        }
    }
}
