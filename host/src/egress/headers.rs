//! The header lines that cross: what a guest may say, what the host says itself, what the guest is shown.

use http::{HeaderMap, HeaderName, HeaderValue, header};

use super::{SendError, scrub::Scrubber};

/// Header lines of a request.
const LINES_MAX: usize = 64;
/// Bytes of them.
const LINES_BYTES_MAX: usize = 16 * 1024;

/// The host's own: who is asked, how the connection is used, who asks. A guest that sets one could smuggle a second request, reach another
/// virtual host, name a credential of its own, or turn a granted method into another.
const HOSTS_OWN: [&str; 25] = [
    "accept-encoding",
    "authorization",
    "connection",
    "content-length",
    "cookie",
    "cookie2",
    "expect",
    "forwarded",
    "host",
    "http2-settings",
    "keep-alive",
    "proxy-authenticate",
    "proxy-authorization",
    "proxy-connection",
    "te",
    "trailer",
    "transfer-encoding",
    "upgrade",
    "via",
    "x-forwarded-for",
    "x-forwarded-host",
    "x-forwarded-proto",
    "x-http-method",
    "x-http-method-override",
    "x-method-override",
];
/// Of an answer: about the connection, which is not the guest's, and sessions, which are nobody's.
const NOT_SHOWN: [&str; 8] =
    ["connection", "keep-alive", "proxy-connection", "set-cookie", "set-cookie2", "trailer", "transfer-encoding", "upgrade"];

/// Whether only the host may set this header; `name` in lower case.
pub(super) fn is_hosts_own(name: &str) -> bool {
    HOSTS_OWN.contains(&name)
}

/// The lines of a guest, checked, and the host's own beside them.
pub(super) fn outgoing(lines: &[(String, String)]) -> Result<HeaderMap, SendError> {
    let bytes: usize = lines.iter().map(|(name, value)| name.len() + value.len() + 4).sum();
    if lines.len() > LINES_MAX || bytes > LINES_BYTES_MAX {
        return Err(SendError::TooLarge);
    }
    let mut headers = HeaderMap::with_capacity(lines.len() + 4);
    for (name, value) in lines {
        let shown: String = name.chars().take(64).collect::<String>().escape_debug().to_string();
        let parsed: HeaderName = name.parse().map_err(|_| SendError::Denied(format!("`{shown}` is no header's name")))?;
        if is_hosts_own(parsed.as_str()) {
            return Err(SendError::Denied(format!("the header `{shown}` is the host's own; name a credential instead")));
        }
        let value = HeaderValue::from_str(value);
        headers.append(parsed, value.map_err(|_| SendError::Denied(format!("the header `{shown}` has bytes that no header may have")))?);
    }
    headers.insert(header::ACCEPT_ENCODING, HeaderValue::from_static("identity"));
    if !headers.contains_key(header::USER_AGENT) {
        headers.insert(header::USER_AGENT, HeaderValue::from_static(concat!("hookyard/", env!("CARGO_PKG_VERSION"))));
    }
    Ok(headers)
}

/// What the guest is shown of an answer's head. A `date` is added where there is none, because it is the only clock a guest can tell a rate
/// limit's reset by.
pub(super) fn incoming(headers: &HeaderMap, scrubber: &Scrubber, now: impl FnOnce() -> String) -> Vec<(String, String)> {
    let shown = headers.iter().filter(|(name, _)| !NOT_SHOWN.contains(&name.as_str()));
    let mut lines: Vec<(String, String)> =
        shown.map(|(name, value)| (scrubber.text(name.as_str()), scrubber.text(&String::from_utf8_lossy(value.as_bytes())))).collect();
    if !headers.contains_key(header::DATE) {
        lines.push(("date".to_owned(), now()));
    }
    lines
}

#[cfg(test)]
mod tests {
    use super::*;

    fn lines(pairs: &[(&str, &str)]) -> Vec<(String, String)> {
        pairs.iter().map(|(name, value)| ((*name).to_owned(), (*value).to_owned())).collect()
    }

    #[test]
    fn what_is_the_hosts_own_is_refused_in_any_case() {
        for name in HOSTS_OWN {
            for spelling in [name.to_owned(), name.to_ascii_uppercase()] {
                let error = outgoing(&lines(&[(&spelling, "x")])).unwrap_err();
                assert!(error.to_string().contains("host's own"), "{spelling}: {error}");
            }
        }
        for (name, value) in [("bad name", "x"), ("x", "a\r\nhost: evil"), ("", "x"), ("x\0", "y")] {
            assert!(matches!(outgoing(&lines(&[(name, value)])), Err(SendError::Denied(_))), "{name:?}");
        }
    }

    #[test]
    fn a_guests_lines_stay_in_order_and_within_bounds() {
        let headers = outgoing(&lines(&[("Accept", "application/vnd.github+json"), ("X-One", "1"), ("X-One", "2")])).unwrap();
        assert_eq!(headers.get_all("x-one").iter().collect::<Vec<_>>(), ["1", "2"]);
        assert_eq!(headers[header::ACCEPT_ENCODING], "identity");
        assert!(headers[header::USER_AGENT].to_str().unwrap().starts_with("hookyard/"));
        assert_eq!(outgoing(&lines(&[("user-agent", "mine")])).unwrap()[header::USER_AGENT], "mine");
        assert!(matches!(outgoing(&vec![("x".into(), "y".into()); 65]), Err(SendError::TooLarge)));
        assert!(matches!(outgoing(&lines(&[("x", &"y".repeat(17_000))])), Err(SendError::TooLarge)));
    }

    #[test]
    fn an_answers_head_is_scrubbed_and_dated() {
        let scrubber = Scrubber::new([b"super-secret".as_slice()]);
        let mut headers = HeaderMap::new();
        for (name, value) in [("x-echo", "Bearer super-secret"), ("set-cookie", "a=b"), ("connection", "close")] {
            headers.insert(HeaderName::from_static(name), HeaderValue::from_static(value));
        }
        let shown = incoming(&headers, &scrubber, || "now".to_owned());
        assert_eq!(shown, lines(&[("x-echo", "Bearer [scrubbed]"), ("date", "now")]));
    }
}
