//! The header lines that cross: what a guest may say, what the host says itself, what the guest is shown.

use std::collections::BTreeSet;

use http::{HeaderMap, HeaderName, HeaderValue, header};

use super::{SendError, scrub::Scrubber};

/// Header lines of a request.
const LINES_MAX: usize = 64;
/// Bytes of them.
const LINES_BYTES_MAX: usize = 16 * 1024;

/// The host's own: who is asked, how the connection is used, who asks. A guest that sets one could smuggle a second request, reach another
/// virtual host, name a credential of its own, be somebody else behind a proxy, or turn a granted path or method into another. No grant names
/// one of these.
const HOSTS_OWN: [&str; 28] = [
    "accept-encoding",
    "authorization",
    "cf-connecting-ip",
    "client-ip",
    "connection",
    "content-length",
    "cookie",
    "cookie2",
    "expect",
    "fastly-client-ip",
    "forwarded",
    "front-end-https",
    "host",
    "http2-settings",
    "keep-alive",
    "remote-user",
    "te",
    "trailer",
    "transfer-encoding",
    "true-client-ip",
    "upgrade",
    "via",
    "x-client-ip",
    "x-cluster-client-ip",
    "x-host",
    "x-method-override",
    "x-real-ip",
    "x-remote-user",
];
/// The same, by how they begin.
const HOSTS_OWN_FAMILIES: [&str; 6] = ["proxy-", "sec-", "x-forwarded", "x-http-method", "x-original-", "x-rewrite-"];
/// What every guest may say: about the body, the answer it wants, caching, and the request's own name. Sorted.
const STANDARD: [&str; 28] = [
    "accept",
    "accept-charset",
    "accept-language",
    "cache-control",
    "content-digest",
    "content-disposition",
    "content-encoding",
    "content-language",
    "content-md5",
    "content-type",
    "date",
    "idempotency-key",
    "if-match",
    "if-modified-since",
    "if-none-match",
    "if-range",
    "if-unmodified-since",
    "pragma",
    "prefer",
    "range",
    "traceparent",
    "tracestate",
    "user-agent",
    "x-correlation-id",
    "x-github-api-version",
    "x-github-media-type",
    "x-idempotency-key",
    "x-request-id",
];
/// Of an answer: about the connection, which is not the guest's, and sessions, which are nobody's.
const NOT_SHOWN: [&str; 8] =
    ["connection", "keep-alive", "proxy-connection", "set-cookie", "set-cookie2", "trailer", "transfer-encoding", "upgrade"];

/// Whether only the host may set this header; `name` in lower case. Many servers take `_` for `-`.
pub(super) fn is_hosts_own(name: &str) -> bool {
    let name = name.replace('_', "-");
    HOSTS_OWN.contains(&name.as_str()) || HOSTS_OWN_FAMILIES.iter().any(|family| name.starts_with(family))
}

/// What is wrong with a header's name in a grant, in words.
pub(super) fn problem(name: &str) -> Option<String> {
    let shown: String = name.chars().take(64).collect::<String>().escape_debug().to_string();
    match name.parse::<HeaderName>() {
        Err(_) => Some(format!("headers: found `{shown}`; expected a header's name")),
        Ok(name) if is_hosts_own(name.as_str()) => {
            Some(format!("headers: found `{shown}`; expected a header that is not the host's own (who asks, who is asked, and how)"))
        }
        Ok(_) => None,
    }
}

/// The lines of a guest, checked, and the host's own beside them.
///
/// `granted` are the names beside the standard ones, in lower case.
pub(super) fn outgoing(lines: &[(String, String)], granted: &BTreeSet<String>) -> Result<HeaderMap, SendError> {
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
        if STANDARD.binary_search(&parsed.as_str()).is_err() && !granted.contains(parsed.as_str()) {
            return Err(SendError::Denied(format!(
                "the header `{shown}` is none that every plugin may send; name it in both grants: `headers = [\"{parsed}\"]` in \
                 `[[grants.http]]` of the plugin's manifest and of the operator's `tenant.toml`"
            )));
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

    fn granted(names: &[&str]) -> BTreeSet<String> {
        names.iter().map(|&name| name.to_owned()).collect()
    }

    #[test]
    fn what_is_the_hosts_own_is_refused_in_any_case_and_no_grant_names_it() {
        let more = ["X-Original-URL", "X-Rewrite-URL", "X-Forwarded-For", "x_forwarded_for", "X-HTTP-Method-Override", "Proxy-Connection"];
        for name in HOSTS_OWN.into_iter().chain(more) {
            for spelling in [name.to_owned(), name.to_ascii_uppercase()] {
                let error = outgoing(&lines(&[(&spelling, "x")]), &granted(&[&name.to_ascii_lowercase()])).unwrap_err();
                assert!(error.to_string().contains("host's own"), "{spelling}: {error}");
                assert!(problem(&spelling).is_some_and(|problem| problem.contains("not the host's own")), "{spelling}");
            }
        }
        for (name, value) in [("bad name", "x"), ("accept", "a\r\nhost: evil"), ("", "x"), ("x\0", "y")] {
            assert!(matches!(outgoing(&lines(&[(name, value)]), &granted(&[])), Err(SendError::Denied(_))), "{name:?}");
        }
    }

    #[test]
    fn what_is_neither_standard_nor_granted_by_name_is_refused_with_the_line_to_add() {
        assert!(STANDARD.is_sorted());
        for name in STANDARD {
            assert!(!is_hosts_own(name) && outgoing(&lines(&[(name, "x")]), &granted(&[])).is_ok(), "{name}");
        }
        for name in ["PRIVATE-TOKEN", "X-Api-Key", "X-Hub-Signature-256", "X-Anything", "X-GitHub-Event"] {
            let error = outgoing(&lines(&[(name, "x")]), &granted(&[])).unwrap_err().to_string();
            assert!(error.contains(&format!("headers = [\"{}\"]", name.to_ascii_lowercase())), "{error}");
            assert!(outgoing(&lines(&[(name, "x")]), &granted(&[&name.to_ascii_lowercase()])).is_ok(), "{name}");
            assert_eq!(problem(name), None);
        }
        assert!(problem("bad name").is_some() && problem("").is_some());
    }

    #[test]
    fn a_guests_lines_stay_in_order_and_within_bounds() {
        let one = granted(&["x-one"]);
        let headers = outgoing(&lines(&[("Accept", "application/vnd.github+json"), ("X-One", "1"), ("X-One", "2")]), &one).unwrap();
        assert_eq!(headers.get_all("x-one").iter().collect::<Vec<_>>(), ["1", "2"]);
        assert_eq!(headers[header::ACCEPT_ENCODING], "identity");
        assert!(headers[header::USER_AGENT].to_str().unwrap().starts_with("hookyard/"));
        assert_eq!(outgoing(&lines(&[("user-agent", "mine")]), &one).unwrap()[header::USER_AGENT], "mine");
        assert!(matches!(outgoing(&vec![("accept".into(), "y".into()); 65], &one), Err(SendError::TooLarge)));
        assert!(matches!(outgoing(&lines(&[("accept", &"y".repeat(17_000))]), &one), Err(SendError::TooLarge)));
    }

    #[test]
    fn an_answers_head_is_scrubbed_and_dated() {
        let scrubber = Scrubber::of([b"super-secret".as_slice()]);
        let mut headers = HeaderMap::new();
        for (name, value) in [("x-echo", "Bearer super-secret"), ("set-cookie", "a=b"), ("connection", "close")] {
            headers.insert(HeaderName::from_static(name), HeaderValue::from_static(value));
        }
        let shown = incoming(&headers, &scrubber, || "now".to_owned());
        assert_eq!(shown, lines(&[("x-echo", "Bearer [scrubbed]"), ("date", "now")]));
    }
}
