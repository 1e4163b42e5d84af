//! Which addresses a request may go to.
//!
//! A name is resolved once, every address it has is judged here, and the connection is made to an address that passed: what the name says a
//! moment later does not matter. Judged is the address that is meant: a v4 address inside a mapped or NAT64 v6 address is a v4 address.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr, UdpSocket};

use crate::cidr::Cidr;

/// Blocks that are not the public internet (IANA's special-purpose registries, RFC 6890 and its successors), and the two public-looking
/// addresses that clouds answer metadata and host requests on.
const SPECIAL_V4: [(Ipv4Addr, u8); 16] = [
    (Ipv4Addr::UNSPECIFIED, 8),
    (Ipv4Addr::new(10, 0, 0, 0), 8),
    (Ipv4Addr::new(100, 64, 0, 0), 10),
    (Ipv4Addr::new(127, 0, 0, 0), 8),
    (Ipv4Addr::new(168, 63, 129, 16), 32),
    (Ipv4Addr::new(169, 254, 0, 0), 16),
    (Ipv4Addr::new(172, 16, 0, 0), 12),
    (Ipv4Addr::new(192, 0, 0, 0), 24),
    (Ipv4Addr::new(192, 0, 2, 0), 24),
    (Ipv4Addr::new(192, 88, 99, 0), 24),
    (Ipv4Addr::new(192, 168, 0, 0), 16),
    (Ipv4Addr::new(198, 18, 0, 0), 15),
    (Ipv4Addr::new(198, 51, 100, 0), 24),
    (Ipv4Addr::new(203, 0, 113, 0), 24),
    (Ipv4Addr::new(224, 0, 0, 0), 4),
    (Ipv4Addr::new(240, 0, 0, 0), 4),
];

/// Of v6 only `2000::/3` is public, less what carries or documents other addresses: IETF protocols and Teredo, documentation, 6to4.
const PUBLIC_V6: (Ipv6Addr, u8) = (Ipv6Addr::new(0x2000, 0, 0, 0, 0, 0, 0, 0), 3);
const SPECIAL_V6: [(Ipv6Addr, u8); 4] = [
    (Ipv6Addr::new(0x2001, 0, 0, 0, 0, 0, 0, 0), 23),
    (Ipv6Addr::new(0x2001, 0xdb8, 0, 0, 0, 0, 0, 0), 32),
    (Ipv6Addr::new(0x2002, 0, 0, 0, 0, 0, 0, 0), 16),
    (Ipv6Addr::new(0x3fff, 0, 0, 0, 0, 0, 0, 0), 20),
];
/// The well-known prefix of NAT64 (RFC 6052): the last 32 bits are the v4 address that is meant.
const NAT64: (Ipv6Addr, u8) = (Ipv6Addr::new(0x64, 0xff9b, 0, 0, 0, 0, 0, 0), 96);

/// The operator's word about addresses, of the host and of one tenant.
#[derive(Clone, Copy, Debug)]
pub(super) struct Policy<'a> {
    /// Blocks the host's operator allows every tenant.
    pub(super) host_allows: &'a [Cidr],
    /// Blocks the operator allows this tenant.
    pub(super) tenant_allows: &'a [Cidr],
    /// Blocks nobody may reach, whatever else is said.
    pub(super) host_refuses: &'a [Cidr],
}

impl Policy<'_> {
    /// Whether a request may go there; the error says why not.
    pub(super) fn judge(&self, address: SocketAddr) -> Result<(), String> {
        let meant = meant(address.ip());
        let within = |blocks: &[Cidr]| blocks.iter().any(|block| block.contains(meant));
        if within(self.host_refuses) {
            return Err(format!("{meant} is one of the operator's `egress.refuse_addresses`"));
        }
        if within(self.host_allows) || within(self.tenant_allows) {
            return Ok(());
        }
        if !is_public(meant) {
            return Err(format!("{meant} is not a public address; the operator may allow it: `egress.allow_addresses`"));
        }
        if is_own(address) {
            return Err(format!("{meant} is an address of this host; the operator may allow it: `egress.allow_addresses`"));
        }
        Ok(())
    }
}

/// The address that is meant by an address.
fn meant(address: IpAddr) -> IpAddr {
    match address.to_canonical() {
        IpAddr::V6(v6) if within_v6(v6, NAT64) => {
            let [.., a, b, c, d] = v6.octets();
            Ipv4Addr::new(a, b, c, d).into()
        }
        other => other,
    }
}

fn is_public(address: IpAddr) -> bool {
    match address {
        IpAddr::V4(v4) => !SPECIAL_V4.iter().any(|&block| within_v4(v4, block)),
        IpAddr::V6(v6) => within_v6(v6, PUBLIC_V6) && !SPECIAL_V6.iter().any(|&block| within_v6(v6, block)),
    }
}

fn within_v4(address: Ipv4Addr, (block, prefix): (Ipv4Addr, u8)) -> bool {
    Cidr { address: block.into(), prefix }.contains(address.into())
}

fn within_v6(address: Ipv6Addr, (block, prefix): (Ipv6Addr, u8)) -> bool {
    (address.to_bits() ^ block.to_bits()).leading_zeros() >= prefix.into()
}

/// Whether this machine itself would answer: towards one of its own addresses the kernel takes that very address as the source. Connecting a
/// datagram socket asks for the source and sends nothing.
fn is_own(address: SocketAddr) -> bool {
    let any: IpAddr = if address.is_ipv4() { Ipv4Addr::UNSPECIFIED.into() } else { Ipv6Addr::UNSPECIFIED.into() };
    let source = UdpSocket::bind((any, 0)).and_then(|socket| {
        socket.connect(address)?;
        socket.local_addr()
    });
    source.is_ok_and(|source| source.ip().to_canonical() == address.ip().to_canonical())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn judge(address: &str, allows: &[&str]) -> Result<(), String> {
        let allows: Vec<Cidr> = allows.iter().map(|block| block.parse().unwrap()).collect();
        let refuses = ["8.8.4.0/24".parse().unwrap()];
        let policy = Policy { host_allows: &[], tenant_allows: &allows, host_refuses: &refuses };
        policy.judge(SocketAddr::new(address.parse().unwrap(), 443))
    }

    #[test]
    fn what_is_not_the_public_internet_is_refused_in_every_spelling() {
        for address in [
            "0.0.0.0",
            "10.1.2.3",
            "100.64.0.1",
            "100.100.100.200",
            "127.0.0.1",
            "127.9.9.9",
            "168.63.129.16",
            "169.254.169.254",
            "172.16.0.1",
            "172.31.255.255",
            "192.0.0.192",
            "192.0.2.1",
            "192.88.99.1",
            "192.168.0.1",
            "198.18.0.1",
            "198.51.100.1",
            "203.0.113.1",
            "224.0.0.1",
            "255.255.255.255",
            "::",
            "::1",
            "::ffff:127.0.0.1",
            "::ffff:a9fe:a9fe",
            "::127.0.0.1",
            "64:ff9b::7f00:1",
            "64:ff9b::a9fe:a9fe",
            "64:ff9b:1::1",
            "fc00::1",
            "fd00:ec2::254",
            "fe80::1",
            "fec0::1",
            "ff02::1",
            "100::1",
            "2001::1",
            "2001:db8::1",
            "2002:7f00:1::1",
            "3fff::1",
            "5f00::1",
        ] {
            assert!(judge(address, &[]).unwrap_err().contains("not a public address"), "{address}");
        }
    }

    #[test]
    fn public_addresses_pass_and_an_operator_allows_and_refuses_others() {
        for address in ["140.82.121.6", "172.32.0.1", "100.128.0.1", "2606:50c0:8000::153", "64:ff9b::8c52:7906", "::ffff:140.82.121.6"] {
            assert_eq!(judge(address, &[]), Ok(()), "{address}");
        }
        assert_eq!(judge("10.1.2.3", &["10.1.0.0/16"]), Ok(()));
        assert!(judge("10.2.2.3", &["10.1.0.0/16"]).is_err());
        assert_eq!(judge("::ffff:10.1.2.3", &["10.1.0.0/16"]), Ok(()), "the address that is meant");
        assert!(judge("8.8.4.4", &["0.0.0.0/0"]).unwrap_err().contains("refuse_addresses"), "a refusal is stronger than an allowance");
    }

    #[test]
    fn an_address_of_this_machine_is_recognised_without_a_packet() {
        assert!(is_own("127.0.0.1:443".parse().unwrap()));
        assert!(!is_own("192.0.2.1:443".parse().unwrap()));
    }
}
