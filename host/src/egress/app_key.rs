//! The private key of a GitHub App, in the shapes people have it in.
//!
//! GitHub hands out a PEM file. What holds one line only (a variable, a field of a form) makes something else of it: line ends written as `\n`,
//! blanks in their place, or the whole file in base64. All of these are the same key, and are taken. What is no key that can sign is told by
//! its kind, because `no private key in PEM` sends nobody to the right place.

use base64::{Engine as _, engine::general_purpose::STANDARD};
use ring::signature::RsaKeyPair;
use rustls_pki_types::{PrivateKeyDer, pem::PemObject as _};

/// What every part of a PEM file begins with.
const BEGIN: &str = "-----BEGIN ";

/// Reads the key; the error says what is wrong and shows nothing of it.
pub(super) fn read(given: &[u8]) -> Result<RsaKeyPair, String> {
    let wrong = |why: &str| format!("{why}; expected the PEM file GitHub hands out (`BEGIN RSA PRIVATE KEY`), at least 2048 bits");
    let text = unpacked(std::str::from_utf8(given).map_err(|_| wrong("bytes that are no text"))?);
    if let Some(why) = unusable_key(&text) {
        return Err(wrong(why));
    }
    if text.contains("BEGIN EC PRIVATE KEY") {
        return Err(wrong("a key for elliptic curves, and a GitHub App signs with RSA"));
    }
    let der = PrivateKeyDer::from_pem_slice(in_lines(&text).as_bytes()).map_err(|_| wrong("no private key in PEM"))?;
    match &der {
        PrivateKeyDer::Pkcs1(der) => RsaKeyPair::from_der(der.secret_pkcs1_der()),
        PrivateKeyDer::Pkcs8(der) => RsaKeyPair::from_pkcs8(der.secret_pkcs8_der()),
        _ => return Err(wrong("a key of another kind")),
    }
    .map_err(|error| wrong(&format!("no usable RSA key ({error})")))
}

/// Why what stands in a PEM file can be no key of a host's, where it is plain to see.
#[must_use]
pub fn unusable_key(pem: &str) -> Option<&'static str> {
    let has = |label: &str| pem.contains(label);
    if has("BEGIN ENCRYPTED PRIVATE KEY") || has("Proc-Type: 4,ENCRYPTED") {
        Some(
            "a key encrypted with a passphrase, and nobody is there to type it: `openssl pkey -in KEY -out PLAIN` writes it without one, for the host's user alone",
        )
    } else if has("BEGIN OPENSSH PRIVATE KEY") {
        Some("a key of OpenSSH, which is for logging in")
    } else if has("PRIVATE KEY-----") {
        None
    } else if has("PUBLIC KEY-----") {
        Some("the public half of a key, and the private one is needed")
    } else if has("BEGIN CERTIFICATE") {
        Some("a certificate, and its key is needed")
    } else {
        None
    }
}

/// The text of the file: out of base64 where all of it is in that, and with `\n` made line ends.
fn unpacked(text: &str) -> String {
    let packed = || STANDARD.decode(text.split_whitespace().collect::<String>()).ok().and_then(|bytes| String::from_utf8(bytes).ok());
    let text = if text.contains(BEGIN) { text.to_owned() } else { packed().unwrap_or_else(|| text.to_owned()) };
    text.replace("\\r", "").replace("\\n", "\n")
}

/// The first part, with its lines where PEM wants them: blanks may stand for line ends.
fn in_lines(text: &str) -> String {
    let parts = || {
        let (label, rest) = text.split_once(BEGIN)?.1.split_once("-----")?;
        let body: String = rest.split_once("-----END ")?.0.split_whitespace().collect();
        Some(format!("{BEGIN}{label}-----\n{body}\n-----END {label}-----\n"))
    };
    parts().unwrap_or_else(|| text.to_owned())
}
