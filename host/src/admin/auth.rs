//! Who may ask. Three doors, in this order: the `Host` header, the bearer token, the body.
//!
//! The `Host` list is there for browsers: a page of a stranger can make its own name resolve to 127.0.0.1 and would then speak to this listener
//! as if it were its own (DNS rebinding). Such a request carries the stranger's name as `Host`. There is one token for all tenants; tokens for
//! one tenant do not exist in this version.

use std::net::{IpAddr, SocketAddr};

use axum::http::{HeaderMap, HeaderValue, header};
use sha2::{Digest as _, Sha256};
use subtle::ConstantTimeEq as _;

use super::Settings;

/// Checks requests against the settings, which do not change while the listener is open.
pub(super) struct Auth {
    token_sha256: [u8; 32],
    listen: IpAddr,
    hosts: Vec<String>,
}

impl Auth {
    pub(super) fn new(settings: &Settings, listen: SocketAddr) -> Self {
        Self {
            token_sha256: Sha256::digest(settings.token.expose()).into(),
            listen: listen.ip(),
            hosts: settings.hosts.iter().map(|host| without_port(host).to_ascii_lowercase()).collect(),
        }
    }

    /// Whether the request names a host that is ours. An address can only be ours: rebinding needs a name. So where we listen on every
    /// address, any address will do.
    pub(super) fn knows_host(&self, headers: &HeaderMap) -> bool {
        let mut values = headers.get_all(header::HOST).iter();
        let (Some(value), None) = (values.next(), values.next()) else { return false };
        let Ok(host) = value.to_str().map(|host| without_port(host).to_ascii_lowercase()) else { return false };
        let address = host.trim_start_matches('[').trim_end_matches(']').parse::<IpAddr>().ok();
        let is_our_address = address.is_some_and(|ip| ip.is_loopback() || ip == self.listen || self.listen.is_unspecified());
        is_our_address || host == "localhost" || self.hosts.contains(&host)
    }

    /// Whether `path` is answered without a token to a peer on this machine: an orchestrator's probe carries none, and neither does a scraper
    /// beside the host. Metrics name tenants, so where others reach this listener, too, they need the token from everywhere.
    pub(super) fn is_open(&self, path: &str) -> bool {
        is_health(path) || (path == "/metrics" && self.listen.is_loopback())
    }

    /// Whether the request carries the token. Digests are compared, so that neither its bytes nor its length show in the time.
    pub(super) fn knows_token(&self, headers: &HeaderMap) -> bool {
        let Some(value) = headers.get(header::AUTHORIZATION).map(HeaderValue::as_bytes) else { return false };
        let Some((scheme, token)) = value.split_at_checked("bearer ".len()) else { return false };
        let given: [u8; 32] = Sha256::digest(token).into();
        scheme.eq_ignore_ascii_case(b"bearer ") && bool::from(given.ct_eq(&self.token_sha256))
    }
}

/// Whether `path` says whether the host lives and is ready: what probes ask.
pub(super) fn is_health(path: &str) -> bool {
    matches!(path, "/livez" | "/readyz")
}

/// Whether the request says that somebody else sent it on. Then the peer is a proxy on this machine, and who asks may be anybody.
pub(super) fn names_a_proxy(headers: &HeaderMap) -> bool {
    headers
        .keys()
        .map(header::HeaderName::as_str)
        .any(|name| matches!(name, "forwarded" | "via" | "x-real-ip") || name.starts_with("x-forwarded"))
}

/// The host of `host:port`; an address of version 6 keeps its brackets.
fn without_port(host: &str) -> &str {
    match host.rsplit_once(':') {
        Some((name, port)) if port.bytes().all(|b| b.is_ascii_digit()) && (!name.contains(':') || name.ends_with(']')) => name,
        _ => host,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::signature::Secret;

    fn auth(listen: &str) -> Auth {
        let listen: SocketAddr = listen.parse().unwrap();
        let token = Secret::new("correct horse").unwrap();
        Auth::new(&Settings { listen, token, hosts: vec!["Admin.Example:9090".into()], shares: crate::shares::Shares::default() }, listen)
    }

    fn headers(name: &header::HeaderName, values: &[&str]) -> HeaderMap {
        values.iter().map(|value| (name.clone(), HeaderValue::from_str(value).unwrap())).collect()
    }

    fn knows_host(listen: &str, host: &str) -> bool {
        auth(listen).knows_host(&headers(&header::HOST, &[host]))
    }

    #[test]
    fn loopback_names_the_listening_address_and_listed_names_are_ours() {
        for host in ["localhost", "LOCALHOST:9090", "127.0.0.1:9090", "127.0.0.1", "[::1]:9090", "[::1]", "10.1.2.3:9090", "admin.example"]
        {
            assert!(knows_host("10.1.2.3:9090", host), "{host}");
        }
    }

    #[test]
    fn a_strangers_name_is_not_ours_wherever_it_resolves_to() {
        for host in ["rebind.evil", "localhost.evil", "127.0.0.1.evil:9090", "10.9.9.9", "", ":9090", "admin.example.evil"] {
            assert!(!knows_host("10.1.2.3:9090", host), "{host}");
            assert!(host == "10.9.9.9" || !knows_host("0.0.0.0:9090", host), "{host} on every address");
        }
        assert!(knows_host("0.0.0.0:9090", "10.9.9.9"));
    }

    #[test]
    fn a_request_with_no_host_or_two_is_nobodys() {
        let auth = auth("127.0.0.1:9090");
        assert!(!auth.knows_host(&HeaderMap::new()));
        assert!(!auth.knows_host(&headers(&header::HOST, &["localhost", "rebind.evil"])));
    }

    #[test]
    fn metrics_are_open_where_the_listener_is_on_this_machine_only() {
        assert!(auth("127.0.0.1:9090").is_open("/metrics") && auth("[::1]:9090").is_open("/metrics"));
        for listen in ["0.0.0.0:9090", "10.1.2.3:9090", "[::]:9090"] {
            assert!(!auth(listen).is_open("/metrics") && auth(listen).is_open("/livez"), "{listen}");
        }
        assert!(!auth("127.0.0.1:9090").is_open("/api/v1/queues"));
    }

    #[test]
    fn a_proxy_is_known_by_what_it_adds() {
        for name in ["forwarded", "via", "x-forwarded-for", "x-forwarded-host", "x-real-ip"] {
            assert!(names_a_proxy(&headers(&name.parse().unwrap(), &["x"])), "{name}");
        }
        assert!(!names_a_proxy(&headers(&header::USER_AGENT, &["Prometheus"])));
    }

    #[test]
    fn only_the_whole_token_opens() {
        let auth = auth("127.0.0.1:9090");
        let knows = |value: &str| auth.knows_token(&headers(&header::AUTHORIZATION, &[value]));
        assert!(knows("Bearer correct horse"));
        assert!(knows("bearer correct horse"));
        for wrong in ["Bearer correct", "Bearer correct horse ", "Bearer ", "Basic correct horse", "correct horse", "Bearer", "ébearer x"]
        {
            assert!(!knows(wrong), "{wrong}");
        }
        assert!(!auth.knows_token(&HeaderMap::new()));
    }
}
