//! Connections: to an address that was judged, with TLS for the name that was asked for, kept apart by tenant and credential.
//!
//! A connection is driven by the call that uses it; idle ones are driven by nobody, and one the other side has closed meanwhile shows itself
//! before the next request is written. Two tenants, or two credentials of one, never share a connection.

use std::{
    collections::BTreeMap,
    net::{IpAddr, SocketAddr},
    pin::Pin,
    sync::{Arc, Mutex, PoisonError},
    time::{Duration, Instant},
};

use bytes::Bytes;
use http_body_util::Full;
use hyper::client::conn::http1::{Builder, SendRequest};
use hyper_util::rt::TokioIo;
use rustls::{ClientConfig, pki_types::ServerName};
use tokio::{
    io::{AsyncRead, AsyncWrite},
    net::TcpStream,
};
use tokio_rustls::TlsConnector;

use super::{SendError, address::Policy, names::Names, target::Target};
use crate::{clock::Clock, delivery::TenantId};

/// Header lines of an answer.
const ANSWER_LINES_MAX: usize = 128;
/// Bytes of an answer's head.
pub(super) const ANSWER_HEAD_BYTES_MAX: usize = 64 * 1024;
/// How long an idle connection is kept; servers close theirs after a minute or so.
const IDLE_MAX: Duration = Duration::from_secs(30);
/// Idle connections of one key.
const IDLE_PER_KEY_MAX: usize = 4;
/// Idle connections of one tenant.
const IDLE_PER_TENANT_MAX: usize = 64;
/// Idle connections in all.
const IDLE_IN_ALL_MAX: usize = 256;
/// Addresses of one name that are tried.
const ADDRESSES_MAX: usize = 4;

/// Who shares connections with whom: nobody but the same tenant with the same credential to the same place.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct Key {
    pub(super) tenant: TenantId,
    pub(super) credential: Option<String>,
    pub(super) is_https: bool,
    pub(super) host: String,
    pub(super) port: u16,
}

/// An open connection.
pub(super) struct Connection {
    pub(super) requests: SendRequest<Full<Bytes>>,
    /// Moves the bytes; it ends when the connection does.
    pub(super) driver: Pin<Box<dyn Future<Output = ()> + Send>>,
    address: SocketAddr,
}

/// Idle connections.
#[derive(Debug, Default)]
pub(super) struct Pool(Mutex<BTreeMap<Key, Vec<(Connection, Instant)>>>);

/// What names become addresses with.
#[derive(Debug)]
pub(super) enum Resolver {
    /// Name servers and the system's files.
    System(Box<Names>),
    /// Fixed answers, for tests of names that cannot be had from the system's.
    #[cfg(test)]
    Fixed(BTreeMap<String, Vec<IpAddr>>),
}

trait Stream: AsyncRead + AsyncWrite + Send + Unpin {}

impl<T: AsyncRead + AsyncWrite + Send + Unpin> Stream for T {}

impl Pool {
    /// An idle connection whose address may still be reached.
    pub(super) fn take(&self, key: &Key, policy: &Policy<'_>, clock: &Clock) -> Option<Connection> {
        let mut idle = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let now = clock.instant();
        let connections = idle.get_mut(key)?;
        let mut found = None;
        while let (None, Some((connection, since))) = (&found, connections.pop()) {
            let is_fresh = now.saturating_duration_since(since) < IDLE_MAX && connection.requests.is_ready();
            if is_fresh && policy.judge(connection.address).is_ok() {
                found = Some(connection);
            }
        }
        if connections.is_empty() {
            idle.remove(key);
        }
        found
    }

    /// Keeps a connection for the next request, if there is room.
    pub(super) fn put(&self, key: Key, connection: Connection, clock: &Clock) {
        if connection.requests.is_closed() {
            return;
        }
        let mut idle = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let now = clock.instant();
        idle.retain(|_, connections| {
            connections.retain(|(_, since)| now.saturating_duration_since(*since) < IDLE_MAX);
            !connections.is_empty()
        });
        if idle.values().map(Vec::len).sum::<usize>() >= IDLE_IN_ALL_MAX {
            return;
        }
        let of_tenant = idle.iter().filter(|(other, _)| other.tenant == key.tenant).map(|(_, connections)| connections.len());
        if of_tenant.sum::<usize>() >= IDLE_PER_TENANT_MAX {
            return;
        }
        let connections = idle.entry(key).or_default();
        if connections.len() < IDLE_PER_KEY_MAX {
            connections.push((connection, now));
        }
    }
}

impl Resolver {
    async fn addresses(&self, tenant: &TenantId, host: &str, port: u16) -> Result<Vec<SocketAddr>, SendError> {
        if let Ok(address) = host.parse::<IpAddr>() {
            return Ok(vec![SocketAddr::new(address, port)]);
        }
        let found = match self {
            Self::System(names) => names.addresses(tenant, host).await?,
            #[cfg(test)]
            Self::Fixed(names) => names.get(host).cloned().unwrap_or_default(),
        };
        if found.is_empty() {
            return Err(SendError::Unreachable(format!("the name {host} has no address")));
        }
        Ok(found.into_iter().map(|address| SocketAddr::new(address, port)).collect())
    }
}

/// Opens a connection to an address of the target that was judged and found good.
pub(super) async fn open(
    target: &Target,
    tenant: &TenantId,
    policy: &Policy<'_>,
    (resolver, tls): (&Resolver, &Arc<ClientConfig>),
) -> Result<Connection, SendError> {
    let (mut refused, mut failed) = (None, None);
    for address in resolver.addresses(tenant, &target.host, target.port).await?.into_iter().take(ADDRESSES_MAX) {
        if let Err(why) = policy.judge(address) {
            refused = Some(why);
            continue;
        }
        match TcpStream::connect(address).await {
            Ok(stream) => return shake_hands(target, stream, address, tls).await,
            Err(error) => failed = Some(error),
        }
    }
    let host = &target.host;
    Err(match (failed, refused) {
        (Some(error), _) => SendError::Unreachable(format!("{host} cannot be reached: {error}")),
        (None, Some(why)) => SendError::Denied(format!("{host}: {why}")),
        (None, None) => SendError::Unreachable(format!("the name {host} has no address")),
    })
}

async fn shake_hands(target: &Target, stream: TcpStream, address: SocketAddr, tls: &Arc<ClientConfig>) -> Result<Connection, SendError> {
    let host = &target.host;
    let failed = |what: &str, error: &dyn std::fmt::Display| SendError::Unreachable(format!("{what} with {host} failed: {error}"));
    stream.set_nodelay(true).map_err(|error| failed("the connection", &error))?;
    let stream: Box<dyn Stream> = if target.is_https {
        let name = ServerName::try_from(host.clone()).map_err(|error| failed("TLS", &error))?;
        Box::new(TlsConnector::from(Arc::clone(tls)).connect(name, stream).await.map_err(|error| failed("TLS", &error))?)
    } else {
        Box::new(stream)
    };
    let (requests, connection) = Builder::new()
        .max_buf_size(ANSWER_HEAD_BYTES_MAX)
        .max_headers(ANSWER_LINES_MAX)
        .handshake::<_, Full<Bytes>>(TokioIo::new(stream))
        .await
        .map_err(|error| failed("HTTP", &error))?;
    // Its error is told to the request, which has the words for it.
    let driver = Box::pin(async move { drop(connection.await) });
    Ok(Connection { requests, driver, address })
}

impl std::fmt::Debug for Connection {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "Connection({})", self.address)
    }
}
