//! Names become addresses without holding a thread: a look-up is a future of the request that needs it, and ends with it.
//!
//! The system's own way (`getaddrinfo`) takes a thread for as long as a name server is silent, and a few requests to one granted host with such a
//! server took them all. Here a silent server costs a socket and a turn of its tenant's share of look-ups. The system's files are still what
//! counts: `/etc/hosts` and `/etc/resolv.conf`, read again when they change.

use std::{
    fs,
    future::poll_fn,
    net::{IpAddr, SocketAddr},
    pin::pin,
    sync::{Mutex, PoisonError},
    time::{Duration, SystemTime},
};

use hickory_resolver::{
    TokioResolver,
    config::{ConnectionConfig, NameServerConfig, ResolverConfig},
    net::runtime::TokioRuntimeProvider,
};
use tokio::{runtime::Handle, time::Instant};

use super::SendError;
use crate::{
    delivery::TenantId,
    shares::{Holder, Resource, Shares},
};

/// The longest one name is looked up, every server and search domain together.
const LOOKUP_MAX: Duration = Duration::from_secs(10);
/// The longest one question waits for its answer.
const ANSWER_MAX: Duration = Duration::from_secs(3);
/// How often a question is asked again.
const ATTEMPTS_MAX: usize = 2;
/// Answers that are kept.
const KEPT_MAX: u64 = 1_024;
/// The longest an answer is kept, whatever its own time says, and the longest that there is none.
const KEPT_FOR: (Duration, Duration) = (Duration::from_mins(5), Duration::from_secs(10));
/// Questions to one server at once; the table of shares bounds them before.
const ASKED_AT_ONCE_MAX: usize = 4_096;
/// How often the system's files are looked at.
const LOOK_EVERY: Duration = Duration::from_secs(5);
/// The files that say who is who.
const FILES: [&str; 2] = ["/etc/resolv.conf", "/etc/hosts"];

/// Looks names up.
pub(super) struct Names {
    /// The operator's; the system's where there is none.
    servers: Vec<SocketAddr>,
    shares: Shares,
    /// Where what serves all look-ups is driven; the threads of long runs, from which one may come, yield to everybody.
    home: Option<Handle>,
    current: Mutex<Option<Current>>,
}

/// The resolver in use, and the files it was made of.
struct Current {
    resolver: TokioResolver,
    stamps: Stamps,
    looked_at: Instant,
}

type Stamps = [Option<SystemTime>; FILES.len()];

impl Names {
    pub(super) fn new(servers: Vec<SocketAddr>, shares: Shares) -> Self {
        Self { servers, shares, home: Handle::try_current().ok(), current: Mutex::default() }
    }

    /// The addresses of a name. Waits for the tenant's turn, and no longer than its caller does.
    pub(super) async fn addresses(&self, tenant: &TenantId, name: &str) -> Result<Vec<IpAddr>, SendError> {
        let failed = |why: String| SendError::Unreachable(format!("the name {name} cannot be resolved: {why}"));
        let _turn = self.shares.pool(Resource::Lookups).take(&Holder::tenant(tenant), 1).await;
        let resolver = self.resolver().map_err(failed)?;
        let mut lookup = pin!(resolver.lookup_ip(name));
        let at_home = poll_fn(|context| {
            let _entered = self.home.as_ref().map(Handle::enter);
            lookup.as_mut().poll(context)
        });
        match tokio::time::timeout(LOOKUP_MAX, at_home).await {
            Ok(Ok(found)) => Ok(found.iter().collect()),
            Ok(Err(error)) => Err(failed(error.to_string())),
            Err(_) => Err(failed(format!("no name server answered within {} s", LOOKUP_MAX.as_secs()))),
        }
    }

    /// The resolver in use, or a new one where the files have changed.
    fn resolver(&self) -> Result<TokioResolver, String> {
        let mut current = self.current.lock().unwrap_or_else(PoisonError::into_inner);
        let now = Instant::now();
        if let Some(current) = current.as_mut() {
            if now.saturating_duration_since(current.looked_at) < LOOK_EVERY {
                return Ok(current.resolver.clone());
            }
            current.looked_at = now;
            if stamps() == current.stamps {
                return Ok(current.resolver.clone());
            }
        }
        let stamps = stamps();
        let resolver = self.build()?;
        *current = Some(Current { resolver: resolver.clone(), stamps, looked_at: now });
        Ok(resolver)
    }

    fn build(&self) -> Result<TokioResolver, String> {
        let with =
            |servers| TokioResolver::builder_with_config(ResolverConfig::from_name_servers(servers), TokioRuntimeProvider::default());
        let mut builder = if self.servers.is_empty() {
            // Without servers `/etc/hosts` still says something.
            TokioResolver::builder_tokio().unwrap_or_else(|error| {
                tracing::warn!(%error, file = FILES[0], "name_servers_unknown");
                with(Vec::new())
            })
        } else {
            with(self.servers.iter().copied().map(server).collect())
        };
        let options = builder.options_mut();
        options.timeout = options.timeout.min(ANSWER_MAX);
        options.attempts = options.attempts.min(ATTEMPTS_MAX);
        options.cache_size = KEPT_MAX;
        (options.positive_max_ttl, options.negative_max_ttl) = (Some(KEPT_FOR.0), Some(KEPT_FOR.1));
        options.max_active_requests = ASKED_AT_ONCE_MAX;
        builder.build().map_err(|error| error.to_string())
    }
}

/// Asked by datagram, and by stream where an answer is too long for one.
fn server(address: SocketAddr) -> NameServerConfig {
    let connections = [ConnectionConfig::udp(), ConnectionConfig::tcp()].map(|mut connection| {
        connection.port = address.port();
        connection
    });
    NameServerConfig::new(address.ip(), true, connections.into())
}

fn stamps() -> Stamps {
    FILES.map(|file| fs::metadata(file).and_then(|meta| meta.modified()).ok())
}

impl std::fmt::Debug for Names {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Names").field("servers", &self.servers).finish_non_exhaustive()
    }
}
