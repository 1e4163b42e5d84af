//! `verify`: why a signature holds or does not, step by step. Never prints a secret, nor the signature that would have been right.

use std::path::PathBuf;

use super::{
    exit::{Exit, Failure},
    output::Output,
    read_bounded,
};
use crate::signature::{Secret, SignatureHeader};

/// The arguments of `verify`.
#[derive(Clone, Debug, clap::Args)]
pub(super) struct Args {
    /// How the source signs
    #[arg(long, default_value = "github")]
    source: super::Scheme,
    /// A file with the secret; line ends at its end and a byte order mark are left out, as the host does
    #[arg(long, value_name = "FILE")]
    secret_file: PathBuf,
    /// A file with the request's headers, one `Name: value` a line
    #[arg(long, value_name = "FILE")]
    headers: PathBuf,
    /// A file with the exact body
    #[arg(long, value_name = "FILE")]
    payload: PathBuf,
    /// Print objects
    #[arg(long)]
    json: bool,
}

/// One thing that was looked at.
#[derive(Clone, Debug, PartialEq, Eq, serde::Serialize)]
pub(super) struct Step {
    /// Whether it is as it should be.
    pub holds: bool,
    /// In words.
    pub found: String,
}

impl Step {
    fn new(holds: bool, found: impl Into<String>) -> Self {
        Self { holds, found: found.into() }
    }
}

/// Explains; exit 1 where the signature does not hold.
pub(super) fn run(args: &Args) -> Result<(), Failure> {
    let super::Scheme::Github = args.source;
    let headers = read_bounded(&args.headers)?;
    let steps = explain(&parse_headers(&headers), &read_bounded(&args.payload)?, &read_bounded(&args.secret_file)?);
    let holds = steps.iter().all(|step| step.holds);
    let output = Output::new(args.json);
    if output.is_json() {
        output.object(&serde_json::json!({ "holds": holds, "steps": steps }), false)?;
    } else {
        for step in &steps {
            output.line(&format!("{}  {}", if step.holds { "ok " } else { "no " }, step.found))?;
        }
        output.line(if holds { "The signature holds." } else { "The signature does not hold." })?;
    }
    if holds { Ok(()) } else { Err(Failure::silent(Exit::Failed)) }
}

/// Looks at everything a receiver looks at, in its order, and then for the usual mistakes.
fn explain(headers: &[(String, String)], payload: &[u8], secret_file: &[u8]) -> Vec<Step> {
    let value = match signature_header(headers) {
        Ok(value) => value,
        Err(step) => return vec![step],
    };
    let mut steps = vec![Step::new(true, "`X-Hub-Signature-256` is there, once")];
    let Ok(header) = SignatureHeader::parse(value.as_bytes()) else {
        let found = if value.starts_with("sha1=") { "it holds a SHA-1 signature" } else { "it holds something else" };
        steps.push(Step::new(false, format!("it should be `sha256=` and 64 hexadecimal digits; {found}, {} bytes long", value.len())));
        return steps;
    };
    steps.push(Step::new(true, "it is `sha256=` and 64 hexadecimal digits"));
    let Some(secret) = Secret::in_file(secret_file) else {
        steps.push(Step::new(false, "the secret file is empty"));
        return steps;
    };
    steps.push(Step::new(true, format!("the secret has {} bytes, the body {}", secret.expose().len(), payload.len())));
    if header.verify(&[secret], payload).is_some() {
        steps.push(Step::new(true, "HMAC-SHA256 of the raw body under the secret is the signature"));
        return steps;
    }
    let cause = mistake(&header, payload, secret_file)
        .unwrap_or("another secret, or another body: nothing this knows of explains it. Is the body byte for byte what was sent, and the secret that of this very hook?");
    steps.push(Step::new(false, format!("HMAC-SHA256 of the raw body under the secret is not the signature; {cause}")));
    steps
}

fn signature_header(headers: &[(String, String)]) -> Result<&str, Step> {
    let all = |name: &str| {
        headers.iter().filter(|(found, _)| found.eq_ignore_ascii_case(name)).map(|(_, value)| value.as_str()).collect::<Vec<_>>()
    };
    match (all("x-hub-signature-256").as_slice(), all("x-hub-signature").is_empty()) {
        ([value], _) => Ok(value),
        ([], false) => Err(Step::new(
            false,
            "`X-Hub-Signature-256` is missing; only the SHA-1 header `X-Hub-Signature` is there, which is never trusted; look for the sender's setting for SHA-256",
        )),
        ([], true) => Err(Step::new(false, "`X-Hub-Signature-256` is missing: the hook has no secret, or a proxy removed the header")),
        (several, _) => Err(Step::new(
            false,
            format!("`X-Hub-Signature-256` stands there {} times; a receiver cannot tell which counts", several.len()),
        )),
    }
}

/// The usual mistakes, each tried: which change makes the signature hold?
fn mistake(header: &SignatureHeader, payload: &[u8], secret_file: &[u8]) -> Option<&'static str> {
    let in_file = Secret::in_file(secret_file)?;
    let secret = in_file.expose();
    let with = |before: &[u8], after: &[u8]| [before, secret, after].concat();
    let (lf, crlf, double, single) = (with(b"", b"\n"), with(b"", b"\r\n"), with(b"\"", b"\""), with(b"'", b"'"));
    let marked = with(b"\xef\xbb\xbf", b"");
    let holds = |secret: &[u8], body: &[u8]| Secret::new(secret).is_some_and(|secret| header.verify(&[secret], body).is_some());
    let with_end = [payload, b"\n"].concat();
    let tries: [(&'static str, &[u8], &[u8]); 13] = [
        ("it is with all of the secret file's bytes: the signer was given the secret with what an editor adds", secret_file, payload),
        ("it is with a line feed after the secret: the signer has it with one, from a file or a variable", &lf, payload),
        ("it is with CR LF after the secret: the signer has it with them, from a file or a variable", &crlf, payload),
        ("it is with quotes around the secret: the signer was given them as part of it", &double, payload),
        ("it is with quotes around the secret: the signer was given them as part of it", &single, payload),
        ("it is with a byte order mark before the secret: the signer was given it as part of it", &marked, payload),
        ("it is without the quotes around the secret: they are in the file, and the signer has it without", unquoted(secret), payload),
        ("it is with the blanks around the secret removed: the file has too many", secret.trim_ascii(), payload),
        ("it is without the line end at the body's end: an editor or `echo` added it", secret, without_line_end(payload)),
        ("it is with a line end after the body: something removed it", secret, &with_end),
        ("it is with CR LF made LF: something changed the line ends of the body", secret, &replaced(payload, b"\r\n", b"\n")),
        ("it is with LF made CR LF: something changed the line ends of the body", secret, &replaced(payload, b"\n", b"\r\n")),
        (
            "it is over the form field `payload`: the signature of a form must be checked over the raw form, not the document",
            secret,
            &form_document(payload),
        ),
    ];
    let found = tries.iter().find(|(_, secret, body)| holds(secret, body)).map(|(words, ..)| *words);
    found.or_else(|| {
        let form = [b"payload=".as_slice(), super::send::form_encoded(payload).as_bytes()].concat();
        holds(secret, &form).then_some("it is over `payload=` and this document: the sender sent a form; check its raw bytes")
    })
}

fn parse_headers(text: &[u8]) -> Vec<(String, String)> {
    let text = String::from_utf8_lossy(text);
    text.lines().filter_map(|line| line.split_once(':')).map(|(name, value)| (name.trim().to_owned(), value.trim().to_owned())).collect()
}

fn unquoted(bytes: &[u8]) -> &[u8] {
    let inside = |quote: &[u8]| bytes.strip_prefix(quote).and_then(|bytes| bytes.strip_suffix(quote));
    inside(b"\"").or_else(|| inside(b"'")).unwrap_or(bytes)
}

fn without_line_end(bytes: &[u8]) -> &[u8] {
    let bytes = bytes.strip_suffix(b"\n").unwrap_or(bytes);
    bytes.strip_suffix(b"\r").unwrap_or(bytes)
}

fn replaced(bytes: &[u8], from: &[u8], to: &[u8]) -> Vec<u8> {
    let mut out = Vec::with_capacity(bytes.len());
    let mut rest = bytes;
    while let Some((first, tail)) = rest.split_first() {
        if let Some(tail) = rest.strip_prefix(from) {
            out.extend_from_slice(to);
            rest = tail;
        } else {
            out.push(*first);
            rest = tail;
        }
    }
    out
}

fn form_document(payload: &[u8]) -> Vec<u8> {
    let Some(value) = payload.strip_prefix(b"payload=") else { return Vec::new() };
    let mut out = Vec::with_capacity(value.len());
    let mut bytes = value.iter().copied();
    while let Some(byte) = bytes.next() {
        out.push(match byte {
            b'+' => b' ',
            b'%' => {
                let digits: Vec<u8> = bytes.by_ref().take(2).collect();
                std::str::from_utf8(&digits).ok().and_then(|digits| u8::from_str_radix(digits, 16).ok()).unwrap_or(b'%')
            }
            byte => byte,
        });
    }
    out
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::signature::sign;

    fn signed(secret: &str, body: &[u8]) -> Vec<(String, String)> {
        vec![("x-hub-signature-256".to_owned(), sign(&Secret::new(secret).unwrap(), body))]
    }

    fn last(headers: &[(String, String)], body: &[u8], secret: &[u8]) -> Step {
        explain(headers, body, secret).pop().unwrap()
    }

    #[test]
    fn a_good_signature_holds_with_and_without_the_files_line_end() {
        for file in [b"s3cret".as_slice(), b"s3cret\n", b"s3cret\r\n", b"\xef\xbb\xbfs3cret"] {
            assert!(explain(&signed("s3cret", b"{}"), b"{}", file).iter().all(|step| step.holds));
        }
    }

    #[test]
    fn each_usual_mistake_is_named() {
        for (headers, body, secret, words) in [
            (signed("s", b"{}"), b"{}\n".as_slice(), b"s".as_slice(), "without the line end at the body"),
            (signed("s", b"{}\n"), b"{}", b"s", "something removed it"),
            (signed("s\n", b"{}"), b"{}", b"s\n", "with what an editor adds"),
            (signed("s\n", b"{}"), b"{}", b"s", "line feed after the secret"),
            (signed("s\r\n", b"{}"), b"{}", b"s", "CR LF after the secret"),
            (signed("\"s\"", b"{}"), b"{}", b"s", "quotes around the secret"),
            (signed("\u{feff}s", b"{}"), b"{}", b"s", "byte order mark"),
            (signed("s", b"{}"), b"{}", b"'s'", "without the quotes"),
            (signed("s", b"{}"), b"{}", b" s ", "blanks around the secret"),
            (signed("s", b"{\n}"), b"{\r\n}", b"s", "CR LF made LF"),
            (signed("s", b"{\r\n}"), b"{\n}", b"s", "LF made CR LF"),
            (signed("s", b"payload=%7B%7D"), b"{}", b"s", "the sender sent a form"),
            (signed("s", b"{}"), b"payload=%7B%7D", b"s", "over the raw form"),
            (signed("other", b"{}"), b"{}", b"s", "another secret"),
        ] {
            let step = last(&headers, body, secret);
            assert!(!step.holds && step.found.contains(words), "{words}: {step:?}");
        }
    }

    #[test]
    fn a_header_that_is_missing_old_doubled_or_malformed_is_told_apart() {
        let one = |name: &str, value: &str| vec![(name.to_owned(), value.to_owned())];
        assert!(last(&[], b"{}", b"s").found.contains("has no secret"));
        assert!(last(&one("X-Hub-Signature", "sha1=00"), b"{}", b"s").found.contains("only the SHA-1 header"));
        assert!(last(&one("X-Hub-Signature-256", "sha1=00"), b"{}", b"s").found.contains("holds a SHA-1"));
        assert!(last(&[signed("s", b"{}"), signed("s", b"{}")].concat(), b"{}", b"s").found.contains("2 times"));
    }

    #[test]
    fn no_secret_is_ever_printed() {
        for headers in [signed("hunter2", b"{}"), signed("other", b"{}")] {
            let words = format!("{:?}", explain(&headers, b"{}", b"hunter2"));
            assert!(!words.contains("hunter2"), "{words}");
        }
    }
}
