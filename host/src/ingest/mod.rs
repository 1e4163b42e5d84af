//! From an HTTP request to a receipt, or a reason why not.

use std::{net::SocketAddr, path::PathBuf, sync::Arc, time::Duration};

use crate::{
    broker::Broker,
    catalog::Catalog,
    clock::Clock,
    observe::{Observer, Readiness},
    tenants::Tenants,
};

/// A block of addresses, such as `10.0.0.0/8` or `fd00::/8`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Cidr {
    /// The network's address.
    pub address: std::net::IpAddr,
    /// Leading bits that count.
    pub prefix: u8,
}

/// Certificate chain and key in PEM, read again when they change.
#[derive(Clone, Debug)]
pub struct TlsSettings {
    /// Certificate chain.
    pub certificate: PathBuf,
    /// Private key.
    pub key: PathBuf,
}

/// How the door is set up. Every `_max` is a bound.
#[derive(Clone, Debug)]
pub struct Settings {
    /// Where to listen.
    pub listen: SocketAddr,
    /// Whose forwarding headers are believed.
    pub trusted_proxies: Vec<Cidr>,
    /// TLS, where the host itself speaks it.
    pub tls: Option<TlsSettings>,
    /// Largest JSON body.
    pub json_bytes_max: usize,
    /// Largest form body.
    pub form_bytes_max: usize,
    /// Largest request head.
    pub head_bytes_max: usize,
    /// Connections at once.
    pub connections_max: usize,
    /// Connections of one address at once (v6: of one /64).
    pub connections_per_address_max: usize,
    /// Time for a TLS handshake and for a request head.
    pub head_timeout: Duration,
    /// Time for a whole body.
    pub body_timeout: Duration,
    /// Body bytes a second below which a sender is cut off.
    pub body_bytes_per_s_min: usize,
    /// Bytes of unfinished bodies, all connections together.
    pub body_budget_bytes_max: usize,
    /// Requests a second of one address.
    pub address_rate_per_s_max: u32,
    /// Failed calls a minute of one address, before it is refused without being read.
    pub address_failures_per_min_max: u32,
    /// From the end of the head to the answer.
    pub accept_timeout: Duration,
}

/// What the door works with.
#[derive(Clone)]
pub struct Parts {
    /// Knows sources and secrets.
    pub tenants: Tenants,
    /// Routes.
    pub catalog: Catalog,
    /// Makes durable.
    pub broker: Arc<dyn Broker>,
    /// Is told.
    pub observer: Observer,
    /// Dates and limits.
    pub clock: Clock,
    /// Refuses while the host is not ready.
    pub readiness: Readiness,
}

/// An open door.
#[derive(Debug)]
pub struct Door {
    /// Where it listens, with the real port.
    pub address: SocketAddr,
}

impl Door {
    /// Opens the door.
    pub async fn open(settings: Settings, parts: Parts) -> anyhow::Result<Self> {
        let _ = (settings, parts);
        todo!()
    }

    /// Takes no more connections, lets the calls in the house finish, at most `grace`; returns how many did not.
    pub async fn close(self, grace: Duration) -> usize {
        let _ = grace;
        todo!()
    }
}
