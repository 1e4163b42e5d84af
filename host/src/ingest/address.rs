//! Whose call it is, as far as the network can tell: the last hop that no trusted proxy vouches for.
//!
//! `X-Forwarded-For` is read from the right, and only while the hop that wrote the entry is one of `trusted_proxies`; everything to the left
//! of the first untrusted hop is the sender's own invention. A v6 client is its /64, because one customer gets at least that many addresses.

use std::net::{IpAddr, SocketAddr};

use http::HeaderMap;

use crate::{
    cidr::{self, Cidr},
    shares::Holder,
};

/// Forwarding entries looked at; more than this is no chain of proxies.
const HOPS_MAX: usize = 32;

/// A client as limits know it: a v4 address, or the /64 of a v6 address.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(super) struct Client(IpAddr);

/// The two ends of a connection that the door knows about.
#[derive(Clone, Copy, Debug)]
pub(super) struct Peer {
    /// The other end of the socket.
    pub(super) address: IpAddr,
    /// Whether it speaks TLS with us.
    pub(super) tls: bool,
}

/// Where a call came from.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Origin {
    /// The last untrusted hop.
    pub(super) client: Client,
    /// Whether the client's side of the chain was TLS, by our own knowledge or a trusted proxy's word.
    pub(super) https: bool,
}

impl Client {
    pub(super) fn of(address: IpAddr) -> Self {
        Self(cidr::customer(address))
    }

    /// The address limits know it by.
    pub(super) fn address(self) -> IpAddr {
        self.0
    }

    /// Who has its shares.
    pub(super) fn holder(self) -> Holder {
        Holder::Address(self.0)
    }
}

impl Origin {
    /// The origin of a call with these headers on a connection with this peer.
    pub(super) fn of(peer: Peer, headers: &HeaderMap, trusted: &[Cidr]) -> Self {
        if !is_trusted(peer.address, trusted) {
            return Self { client: Client::of(peer.address), https: peer.tls };
        }
        let mut client = peer.address;
        for hop in entries(headers, "x-forwarded-for").into_iter().rev().take(HOPS_MAX) {
            // An entry nobody can read tells nothing: the proxy that passed it on is the last one known.
            let Some(address) = parse_hop(hop) else { break };
            client = address;
            if !is_trusted(address, trusted) {
                break;
            }
        }
        let protocols = entries(headers, "x-forwarded-proto");
        let https = !protocols.is_empty() && protocols.iter().all(|protocol| protocol.eq_ignore_ascii_case("https"));
        Self { client: Client::of(client), https: peer.tls || https }
    }
}

pub(super) fn is_trusted(address: IpAddr, trusted: &[Cidr]) -> bool {
    trusted.iter().any(|block| block.contains(address))
}

/// The entries of a comma-separated header over all its lines; one that is not text is an empty entry, so that it cannot be skipped over.
fn entries<'a>(headers: &'a HeaderMap, name: &str) -> Vec<&'a str> {
    headers.get_all(name).iter().flat_map(|line| line.to_str().unwrap_or("").split(',')).map(str::trim).collect()
}

fn parse_hop(text: &str) -> Option<IpAddr> {
    let bracketed = text.strip_prefix('[').and_then(|rest| rest.strip_suffix(']')).unwrap_or(text);
    bracketed.parse().ok().or_else(|| text.parse::<SocketAddr>().ok().map(|address| address.ip()))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn origin(peer: &str, forwarded: &[&str]) -> Client {
        let mut headers = HeaderMap::new();
        for line in forwarded {
            headers.append("x-forwarded-for", line.parse().unwrap());
        }
        let peer = Peer { address: peer.parse().unwrap(), tls: false };
        Origin::of(peer, &headers, &["10.0.0.0/8".parse().unwrap()]).client
    }

    fn client(text: &str) -> Client {
        Client::of(text.parse().unwrap())
    }

    #[test]
    fn a_stranger_cannot_choose_its_address_by_a_header() {
        assert_eq!(origin("203.0.113.7", &["192.30.252.1"]), client("203.0.113.7"));
        assert_eq!(origin("10.0.0.1", &["192.30.252.1, 203.0.113.7"]), client("203.0.113.7"));
        assert_eq!(origin("10.0.0.1", &["192.30.252.1", "203.0.113.7, 10.9.9.9"]), client("203.0.113.7"));
    }

    #[test]
    fn an_unreadable_hop_leaves_the_proxy_that_passed_it_on() {
        assert_eq!(origin("10.0.0.1", &["192.30.252.1, unknown"]), client("10.0.0.1"));
        assert_eq!(origin("10.0.0.1", &["192.30.252.1,"]), client("10.0.0.1"));
        assert_eq!(origin("10.0.0.1", &[]), client("10.0.0.1"));
        assert_eq!(origin("10.0.0.1", &["203.0.113.7:4711"]), client("203.0.113.7"));
        assert_eq!(origin("10.0.0.1", &["[2001:db8::1]:4711"]), client("2001:db8::2"));
    }

    #[test]
    fn a_v6_client_is_its_64_and_a_mapped_v4_is_a_v4() {
        assert_eq!(client("2001:db8:1:2:3::4"), client("2001:db8:1:2:ffff::1"));
        assert_ne!(client("2001:db8:1:2::1"), client("2001:db8:1:3::1"));
        assert_eq!(client("::ffff:203.0.113.7"), client("203.0.113.7"));
    }

    #[test]
    fn https_is_believed_of_a_trusted_proxy_only_and_only_where_every_hop_says_so() {
        let trusted = ["10.0.0.0/8".parse().unwrap()];
        let https = |peer: &str, tls, value: &str| {
            let headers = HeaderMap::from_iter([(http::HeaderName::from_static("x-forwarded-proto"), value.parse().unwrap())]);
            Origin::of(Peer { address: peer.parse().unwrap(), tls }, &headers, &trusted).https
        };
        assert!(https("10.0.0.1", false, "https"));
        assert!(!https("10.0.0.1", false, "https, http"));
        assert!(!https("203.0.113.7", false, "https"));
        assert!(https("203.0.113.7", true, "http"));
    }
}
