//! The signature header: what is taken is exactly `sha256=` and 64 digits, and proves exactly the body that was signed.

use hookyard::signature::{Secret, SignatureHeader, sign};

/// The header's line, then the body.
pub(crate) fn run(data: &[u8]) {
    let end = data.iter().position(|byte| *byte == b'\n').unwrap_or(data.len());
    let (line, body) = (&data[..end], data.get(end + 1..).unwrap_or_default());
    let Some(secret) = Secret::new("It's a Secret to Everybody") else { unreachable!("it is not empty") };
    let expected = sign(&secret, body);
    let is_whole = line.len() == 71 && line.starts_with(b"sha256=") && line[7..].iter().all(u8::is_ascii_hexdigit);
    match SignatureHeader::parse(line) {
        Ok(header) => {
            assert!(is_whole, "it is no signature");
            let proves = header.verify(std::slice::from_ref(&secret), body).is_some();
            assert_eq!(proves, line.eq_ignore_ascii_case(expected.as_bytes()), "only the body's own signature proves it");
        }
        Err(_) => assert!(!is_whole, "it is a signature"),
    }
    let Ok(right) = SignatureHeader::parse(expected.as_bytes()) else { panic!("what we sign we read") };
    assert_eq!(right.verify(&[secret], body), Some(0));
}
