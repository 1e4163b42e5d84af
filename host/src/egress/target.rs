//! Where a request goes: one canonical URL, which is matched and which is sent.
//!
//! A grant names a host and a path; a guest names a URL. Between the two lie user names before `@`, dots as `%2e`, back-slashes, numbers as
//! addresses. So a URL is parsed once (WHATWG, crate `url`), and from then on only its canonical parts are used: for the match, for the name
//! that is resolved, for TLS and for the request line. What a server might read in another way (an escaped dot segment behind an escaped
//! slash) is refused, and a prefix must hold in both readings.

use url::{Host, Url};

/// Longest URL.
const URL_BYTES_MAX: usize = 8 * 1024;
/// How often a path is decoded to see what a careless server might: `%252e` is `%2e` is `.`.
const DECODINGS_MAX: usize = 4;

/// A canonical URL, `http` or `https`, without user and fragment.
#[derive(Clone, PartialEq, Eq)]
pub(super) struct Target {
    /// Whether TLS is spoken.
    pub(super) is_https: bool,
    /// The host's name or address, in lower case and without brackets.
    pub(super) host: String,
    /// The port.
    pub(super) port: u16,
    /// Path and query, as they are sent.
    pub(super) path_and_query: String,
    path: String,
    decoded_path: String,
}

impl Target {
    /// Reads a URL; the error says what is wrong with it and does not repeat it, because it may be a secret.
    pub(super) fn parse(text: &str) -> Result<Self, String> {
        if text.len() > URL_BYTES_MAX {
            return Err(format!("the URL has {} bytes; at most {URL_BYTES_MAX} are sent", text.len()));
        }
        if text.bytes().any(|byte| byte.is_ascii_control() || byte == b' ' || byte == b'\\') {
            return Err("the URL has control characters, spaces or back-slashes in it; encode them".to_owned());
        }
        let url = Url::parse(text).map_err(|error| format!("the URL cannot be read ({error}); expected `https://host/path`"))?;
        if !matches!(url.scheme(), "https" | "http") {
            return Err(format!("the scheme is `{}`; expected `https`", url.scheme()));
        }
        if !url.username().is_empty() || url.password().is_some() {
            return Err("the URL names a user; name a credential instead".to_owned());
        }
        let host = match url.host() {
            Some(Host::Domain(name)) => name.trim_end_matches('.').to_owned(),
            Some(Host::Ipv4(address)) => address.to_string(),
            Some(Host::Ipv6(address)) => address.to_string(),
            None => String::new(),
        };
        let port = url.port_or_known_default().unwrap_or(0);
        if host.is_empty() || port == 0 {
            return Err("the URL names no host".to_owned());
        }
        let decoded_path = decoded(url.path())?;
        let path_and_query = url.query().map_or_else(|| url.path().to_owned(), |query| format!("{}?{query}", url.path()));
        Ok(Self { is_https: url.scheme() == "https", host, port, path_and_query, path: url.path().to_owned(), decoded_path })
    }

    /// `host` or `host:port`, as in a `Host` header.
    pub(super) fn authority(&self) -> String {
        let host = if self.host.contains(':') { format!("[{}]", self.host) } else { self.host.clone() };
        let default = if self.is_https { 443 } else { 80 };
        if self.port == default { host } else { format!("{host}:{}", self.port) }
    }

    /// Whether the path lies beneath `prefix`, segment by segment: `/repos/acme` holds `/repos/acme/x` and not `/repos/acme-x`.
    pub(super) fn is_beneath(&self, prefix: &str) -> bool {
        [&self.path, &self.decoded_path].into_iter().all(|path| {
            let rest = path.strip_prefix(prefix);
            rest.is_some_and(|rest| prefix.ends_with('/') || rest.is_empty() || rest.starts_with('/'))
        })
    }
}

/// Not the path: it may be the secret.
impl std::fmt::Debug for Target {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "Target({})", self.authority())
    }
}

/// A path as a server may read it that decodes before it routes. What readers disagree about is refused there: dot segments, with parameters
/// (`..;x`), blanks or more dots behind them too; doubled slashes; control characters; bytes that are no UTF-8, overlong dots among them; escapes
/// that are none, or of another kind (`%u002e`).
fn decoded(path: &str) -> Result<String, String> {
    let mut bytes = path.as_bytes().to_vec();
    if has_broken_escape(&bytes) {
        return Err("the path has a `%` in it that escapes nothing; write `%25`".to_owned());
    }
    for _ in 0..DECODINGS_MAX {
        if has_wide_escape(&bytes) {
            return Err("the path has an escape of the kind `%u002e` in it, which some servers read and others do not".to_owned());
        }
        let once = percent_decoded(&bytes);
        if once == bytes {
            let text = String::from_utf8(bytes).map_err(|_| "the path's escapes are no UTF-8".to_owned())?;
            check_decoded(&text)?;
            return Ok(text);
        }
        bytes = once;
    }
    Err("the path is escaped more often than once".to_owned())
}

fn check_decoded(text: &str) -> Result<(), String> {
    // Wide and small forms of dot, slash and back-slash are those once a server has normalised its text.
    let folded: String = text.chars().map(folded).collect();
    if folded.split(['/', '\\']).any(is_dot_segment) {
        return Err("the path has escaped dot segments in it".to_owned());
    }
    if text.contains("//") {
        return Err("the path has an empty segment in it (`//`)".to_owned());
    }
    if text.contains('\\') || text.chars().any(char::is_control) {
        return Err("the path has an escaped back-slash or control character in it".to_owned());
    }
    Ok(())
}

fn folded(c: char) -> char {
    match c {
        '\u{ff0e}' | '\u{fe52}' | '\u{2024}' => '.',
        '\u{ff0f}' | '\u{2215}' | '\u{2044}' => '/',
        '\u{ff3c}' | '\u{fe68}' => '\\',
        '\u{ff1b}' | '\u{fe54}' => ';',
        c => c,
    }
}

/// `.` and `..` as the strictest and the most careless reader have them: without parameters, and whatever blanks and dots stand behind.
fn is_dot_segment(segment: &str) -> bool {
    let name = segment.split(';').next().unwrap_or_default();
    name.contains(['.', '\u{2025}']) && name.chars().all(|c| matches!(c, '.' | '\u{2025}') || c.is_whitespace())
}

fn has_broken_escape(bytes: &[u8]) -> bool {
    let is_escape = |rest: &[u8]| rest.len() >= 3 && rest[1..3].iter().all(u8::is_ascii_hexdigit);
    (0..bytes.len()).any(|at| bytes[at] == b'%' && !is_escape(&bytes[at..]) && !is_wide_escape(&bytes[at..]))
}

fn has_wide_escape(bytes: &[u8]) -> bool {
    (0..bytes.len()).any(|at| is_wide_escape(&bytes[at..]))
}

/// `%u002e`, as one web server has it.
fn is_wide_escape(rest: &[u8]) -> bool {
    rest.len() >= 6 && rest[0] == b'%' && matches!(rest[1], b'u' | b'U') && rest[2..6].iter().all(u8::is_ascii_hexdigit)
}

fn percent_decoded(bytes: &[u8]) -> Vec<u8> {
    let mut decoded = Vec::with_capacity(bytes.len());
    let mut rest = bytes;
    while let Some((&first, tail)) = rest.split_first() {
        match (first, tail) {
            (b'%', [high, low, after @ ..]) if high.is_ascii_hexdigit() && low.is_ascii_hexdigit() => {
                decoded.push(hex(*high) << 4 | hex(*low));
                rest = after;
            }
            _ => {
                decoded.push(first);
                rest = tail;
            }
        }
    }
    decoded
}

/// The value of a hexadecimal digit.
pub(super) fn hex(digit: u8) -> u8 {
    match digit {
        b'0'..=b'9' => digit - b'0',
        b'a'..=b'f' => digit - b'a' + 10,
        _ => digit.to_ascii_uppercase().saturating_sub(b'A').saturating_add(10) & 0x0f,
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn parsed(url: &str) -> Target {
        Target::parse(url).unwrap_or_else(|error| panic!("{url}: {error}"))
    }

    #[test]
    fn a_url_becomes_its_canonical_parts() {
        let target = parsed("HTTPS://API.GitHub.com:443/repos/./acme/../acme/shop?x=1#fragment");
        assert_eq!((target.host.as_str(), target.port, target.is_https), ("api.github.com", 443, true));
        assert_eq!(target.path_and_query, "/repos/acme/shop?x=1");
        assert_eq!(target.authority(), "api.github.com");
        assert_eq!(parsed("http://[::1]:8080/").authority(), "[::1]:8080");
        // Decimal, octal and hexadecimal spellings are the address they mean, and are judged as it.
        for text in ["http://2130706433/", "http://0177.0.0.1/", "http://0x7f.1/", "http://127.1/"] {
            assert_eq!(parsed(text).host, "127.0.0.1", "{text}");
        }
        assert_eq!(parsed("https://github.com./").host, "github.com");
    }

    #[test]
    fn what_another_reader_might_read_otherwise_is_refused() {
        for (bad, why) in [
            ("https://user@host/", "user"),
            ("https://host:x/", "read"),
            ("ftp://host/", "scheme"),
            ("file:///etc/passwd", "scheme"),
            ("https://host\\@evil/", "back-slashes"),
            ("https://host/a b", "spaces"),
            ("https://host/a\r\nx: y", "control"),
            ("https://host/repos/%2e%2e%2fother", "dot segments"),
            ("https://host/repos/%252e%252e%252fother", "dot segments"),
            ("https://host/repos//other", "empty segment"),
            ("https://host/repos/%2Fother", "empty segment"),
            ("https://host/repos/..;/other", "dot segments"),
            ("https://host/repos/..;x=1/other", "dot segments"),
            ("https://host/repos/.;/other", "dot segments"),
            ("https://host/repos/%2e%2e;/other", "dot segments"),
            ("https://host/repos/%2e.%3b/other", "dot segments"),
            ("https://host/repos/%252e%252e%253bx/other", "dot segments"),
            ("https://host/repos/..%20/other", "dot segments"),
            ("https://host/repos/.../other", "dot segments"),
            ("https://host/repos/..%2fother", "dot segments"),
            ("https://host/repos/%ef%bc%8e%ef%bc%8e/other", "dot segments"),
            ("https://host/repos/..%ef%bc%8fother", "dot segments"),
            ("https://host/repos/%c0%ae%c0%ae/other", "UTF-8"),
            ("https://host/repos/%c0%ae%c0%ae%c0%afother", "UTF-8"),
            ("https://host/repos/%e0%80%ae%e0%80%ae/other", "UTF-8"),
            ("https://host/repos/%25c0%25ae/other", "UTF-8"),
            ("https://host/repos/%ff", "UTF-8"),
            ("https://host/repos/%u002e%u002e/other", "%u002e"),
            ("https://host/repos/%25u002e%25u002e/other", "%u002e"),
            ("https://host/repos/%2", "escapes nothing"),
            ("https://host/repos/%zz", "escapes nothing"),
            ("https://host/repos/x%5cy", "back-slash"),
            ("https://host/repos/x%00y", "control"),
            ("https://host/%25252525252e", "more often"),
            ("/relative", "read"),
            ("", "read"),
        ] {
            let error = Target::parse(bad).unwrap_err();
            assert!(error.contains(why), "{bad}: {error}");
        }
    }

    #[test]
    fn a_prefix_ends_at_a_segment_in_both_readings() {
        assert!(parsed("https://h/repos/acme").is_beneath("/repos/acme"));
        assert!(parsed("https://h/repos/acme/x").is_beneath("/repos/acme"));
        assert!(!parsed("https://h/repos/acme-evil").is_beneath("/repos/acme"));
        assert!(!parsed("https://h/repos/acme/../other").is_beneath("/repos/acme"));
        assert!(!parsed("https://h/repos%2facme/x").is_beneath("/repos/acme"));
        assert!(parsed("https://h/repos/acme/branches/feature%2Fx").is_beneath("/repos/acme/"));
        assert!(parsed("https://h/anything").is_beneath("/"));
        // What is no dot segment stays: comparisons, names with dots, parameters, percent signs, other alphabets.
        for path in ["compare/main...next", "v1.2;x=1", ".github", "..git", "a.b", "100%25", "%E7%8C%AB", "x;..", "%25zz"] {
            assert!(parsed(&format!("https://h/repos/acme/{path}")).is_beneath("/repos/acme/"), "{path}");
        }
    }

    proptest! {
        #[test]
        fn no_url_beneath_a_prefix_leaves_it_however_often_it_is_decoded(path in "[a-zA-Z0-9/.%2eEfF5cC;\\\\?#@:]{0,40}") {
            if let Ok(target) = Target::parse(&format!("https://api.example.com/repos/acme/{path}")) && target.is_beneath("/repos/acme/") {
                let mut seen = target.path_and_query.split('?').next().unwrap_or_default().as_bytes().to_vec();
                for _ in 0..6 {
                    let text = String::from_utf8_lossy(&seen).replace('\\', "/");
                    let mut stack: Vec<&str> = Vec::new();
                    let segments = text.split('/').map(|segment| segment.split(';').next().unwrap_or_default().trim());
                    for segment in segments.filter(|segment| !segment.is_empty() && *segment != ".") {
                        if segment == ".." { stack.pop(); } else { stack.push(segment); }
                    }
                    prop_assert!(stack.starts_with(&["repos", "acme"]), "{path} is {text}");
                    seen = percent_decoded(&seen);
                }
            }
        }

        #[test]
        fn the_host_that_is_matched_is_the_host_of_the_authority(text in "[a-z0-9.@:/\\\\?#\\[\\]%-]{1,30}") {
            if let Ok(target) = Target::parse(&format!("https://{text}")) {
                let again = Url::parse(&format!("https://{}{}", target.authority(), target.path_and_query)).unwrap();
                prop_assert_eq!(again.host_str().unwrap().trim_matches(['[', ']']), target.host.as_str());
                prop_assert_eq!(again.port_or_known_default(), Some(target.port));
            }
        }
    }
}
