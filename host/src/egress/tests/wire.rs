//! What is matched against what goes over the wire: a server reads the bytes and judges them with rules of its own.

use super::*;

/// Pieces that readers of URLs disagree about.
const PIECES: [&str; 30] = [
    "acme",
    "shop",
    "/",
    "//",
    "..",
    ".",
    "%2e",
    "%2E%2e",
    "%2f",
    "%5c",
    "\\",
    ";",
    "?",
    "#",
    "@",
    ":",
    "%00",
    "%252e%252e%252f",
    "&",
    "%c0%ae",
    "a%20b",
    "ü",
    "%",
    "%zz",
    "+",
    "*",
    "=",
    "..;",
    "%09",
    "[",
];

fn prefixed(server: &Server) -> Reach {
    let mut reach = reach(&server.authority(), &["127.0.0.1"]);
    let narrow = |grants: &[HttpGrant]| -> Vec<HttpGrant> {
        grants.iter().map(|grant| HttpGrant { path_prefix: Some("/repos/acme/".to_owned()), ..grant.clone() }).collect()
    };
    reach.allowed = Arc::new(Allowed { http: narrow(&reach.allowed.http), ..(*reach.allowed).clone() });
    reach
}

/// The folders a server may see in a request's target: decoded as often as it likes, back-slashes as slashes, dots followed.
fn folders(target: &str, decodings: usize) -> Vec<String> {
    let mut bytes = target.split('?').next().unwrap_or_default().as_bytes().to_vec();
    for _ in 0..decodings {
        bytes = percent_decoded(&bytes);
    }
    let text = String::from_utf8_lossy(&bytes).replace('\\', "/");
    let mut folders: Vec<String> = Vec::new();
    // Parameters are left out, as some servers do before they follow dots.
    let segments = text.split('/').map(|segment| segment.split(';').next().unwrap_or_default());
    for segment in segments.filter(|segment| !segment.is_empty() && *segment != ".") {
        if segment == ".." {
            folders.pop();
        } else {
            folders.push(segment.to_owned());
        }
    }
    folders
}

fn percent_decoded(bytes: &[u8]) -> Vec<u8> {
    let mut decoded = Vec::new();
    let mut at = 0;
    while at < bytes.len() {
        let digits = bytes.get(at + 1..at + 3).and_then(|digits| std::str::from_utf8(digits).ok());
        if let Some(byte) = digits.filter(|_| bytes[at] == b'%').and_then(|digits| u8::from_str_radix(digits, 16).ok()) {
            decoded.push(byte);
            at += 3;
        } else {
            decoded.push(bytes[at]);
            at += 1;
        }
    }
    decoded
}

#[tokio::test]
async fn nothing_outside_the_granted_prefix_ever_reaches_the_wire() {
    let server = Server::start(|_| answer(200, "", "")).await;
    let (egress, reach) = (egress(), prefixed(&server));
    let mut random = fastrand::Rng::with_seed(55);
    let mut granted = 0;
    for _ in 0..3_000 {
        let pieces: String = (0..random.usize(0..7)).map(|_| PIECES[random.usize(0..PIECES.len())]).collect();
        let start = ["/repos/acme/", "/repos/acme", "/repos/other/", "/repos/acme/../", "/"][random.usize(0..5)];
        if send(&egress, &reach, request("GET", &server.url(&format!("{start}{pieces}")))).await.is_ok() {
            granted += 1;
        }
    }
    let requests = server.requests();
    assert_eq!(requests.len(), granted);
    assert!(granted > 100, "{granted} of 3,000 were granted: the test tests nothing");
    for received in requests {
        let target = received.line.strip_prefix("GET ").and_then(|rest| rest.strip_suffix(" HTTP/1.1")).unwrap();
        assert!(target.starts_with("/repos/acme/"), "{target}");
        assert_eq!(received.header("host"), Some(server.authority().as_str()));
        for decodings in 0..6 {
            assert!(folders(target, decodings).starts_with(&["repos".to_owned(), "acme".to_owned()]), "{target} decoded {decodings} times");
        }
    }
}

#[tokio::test]
async fn a_host_that_only_looks_granted_is_never_asked() {
    let server = Server::start(|_| answer(200, "", "")).await;
    let stranger = Server::start(|_| answer(200, "", "")).await;
    let (egress, reach) = (egress(), reach(&server.authority(), &["127.0.0.1"]));
    let (good, bad) = (server.authority(), stranger.authority());
    for url in [
        format!("http://{good}@{bad}/"),
        format!("http://{bad}/{good}"),
        format!("http://{bad}#{good}"),
        format!("http://{bad}?{good}"),
        format!("http://{bad}\\@{good}/"),
        format!("http://{good}:80@{bad}/"),
        format!("http:{bad}"),
        format!("//{bad}/"),
        format!("http://{bad}%00{good}/"),
        format!("http://{bad}%2f{good}/"),
    ] {
        let headers = vec![("x-host".to_owned(), good.clone())];
        let sent = send(&egress, &reach, Request { headers, ..request("GET", &url) }).await;
        assert!(matches!(sent, Err(SendError::Denied(_))), "{url}: {sent:?}");
    }
    assert_eq!((server.connections(), stranger.connections()), (0, 0));
}
