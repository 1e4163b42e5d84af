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

/// A path as a server may read it that decodes before it routes. Dot segments, doubled slashes and control characters are refused there.
fn decoded(path: &str) -> Result<String, String> {
    let mut bytes = path.as_bytes().to_vec();
    for _ in 0..DECODINGS_MAX {
        let once = percent_decoded(&bytes);
        if once == bytes {
            let text = String::from_utf8_lossy(&bytes).into_owned();
            let mut segments = text.split(['/', '\\']);
            if segments.any(|segment| matches!(segment, "." | "..")) {
                return Err("the path has escaped dot segments in it".to_owned());
            }
            if text.contains("//") {
                return Err("the path has an empty segment in it (`//`)".to_owned());
            }
            if text.contains('\\') || text.chars().any(char::is_control) {
                return Err("the path has an escaped back-slash or control character in it".to_owned());
            }
            return Ok(text);
        }
        bytes = once;
    }
    Err("the path is escaped more often than once".to_owned())
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
    }

    proptest! {
        #[test]
        fn no_url_beneath_a_prefix_leaves_it_however_often_it_is_decoded(path in "[a-zA-Z0-9/.%2eEfF5cC;\\\\?#@:]{0,40}") {
            if let Ok(target) = Target::parse(&format!("https://api.example.com/repos/acme/{path}")) && target.is_beneath("/repos/acme/") {
                let mut seen = target.path_and_query.split('?').next().unwrap_or_default().as_bytes().to_vec();
                for _ in 0..6 {
                    let text = String::from_utf8_lossy(&seen).replace('\\', "/");
                    let mut stack: Vec<&str> = Vec::new();
                    for segment in text.split('/').filter(|segment| !segment.is_empty() && *segment != ".") {
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
