//! From an HTTP request to a receipt, or a reason why not.
//!
//! The listener speaks HTTP/1.1 only. Webhook senders gain nothing from HTTP/2, and it multiplies every cap: streams beside connections,
//! rapid resets, CONTINUATION floods, header compression. With HTTP/1 a connection is at most one call, so one count bounds both.
//!
//! The order at the door is in `accept`; each step has a file. Nothing here decides what becomes of a delivery.

mod accept;
mod address;
mod budget;
mod document;
mod form;
mod head;
mod limits;
mod read;
mod recipient;
mod response;
mod server;
mod subject;
mod tls;

#[cfg(test)]
mod tests;

use std::{path::PathBuf, sync::Arc, time::Duration};

use crate::{
    broker::Broker,
    catalog::Catalog,
    cidr::Cidr,
    clock::Clock,
    listen::{Listen, Places, Sockets},
    observe::{Observer, Readiness},
    shares::{Resource, Shares},
    tasks::Tasks,
    tenants::Tenants,
};

pub use self::{document::Fields, form::payload};
use accept::{Acceptor, Routes};
use anyhow::Context as _;
use tokio_util::sync::CancellationToken;

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
    pub listen: Listen,
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
    /// Time for a TLS handshake and for a request head.
    pub head_timeout: Duration,
    /// Time for a whole body.
    pub body_timeout: Duration,
    /// Body bytes a second below which a sender is cut off.
    pub body_bytes_per_s_min: usize,
    /// Requests a second of one address.
    pub address_rate_per_s_max: u32,
    /// Failed calls a minute of one address, before it is refused without being read.
    pub address_failures_per_min_max: u32,
    /// From the end of the head to the answer.
    pub accept_timeout: Duration,
    /// What is shared, and how much of it one holder may have.
    pub shares: Shares,
}

/// What the door works with.
#[derive(Clone)]
#[expect(missing_debug_implementations, reason = "a broker behind a trait object has nothing to show")]
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
    /// What is open already.
    pub sockets: Sockets,
}

/// An open door.
#[derive(Debug)]
pub struct Door {
    /// Where it listens, with the real port.
    pub listen: Listen,
    tasks: Tasks,
    cut: CancellationToken,
}

impl Settings {
    /// The defaults.
    ///
    /// A JSON body may have GitHub's cap of 25 MiB. A form may carry the same document percent-encoded, whatever it is written in.
    #[must_use]
    pub fn new(listen: Listen) -> Self {
        Self {
            listen,
            trusted_proxies: Vec::new(),
            tls: None,
            json_bytes_max: 26_214_400,
            form_bytes_max: form_bytes_of(26_214_400),
            head_bytes_max: 16 * 1024,
            head_timeout: Duration::from_secs(10),
            body_timeout: Duration::from_secs(30),
            body_bytes_per_s_min: 1024,
            address_rate_per_s_max: 5_000,
            address_failures_per_min_max: 300,
            accept_timeout: Duration::from_secs(8),
            shares: Shares::default(),
        }
    }
}

/// Bytes of a form with a document of so many: each byte of a text that is not Latin is three of the form.
#[must_use]
pub const fn form_bytes_of(json_bytes: usize) -> usize {
    3 * json_bytes + "payload=".len()
}

impl Door {
    /// Opens the door. Errors name the address or file that could not be used.
    pub async fn open(settings: Settings, parts: Parts) -> anyhow::Result<Self> {
        let catalog = parts.catalog.clone();
        let routes: Routes = Arc::new(move |tenant, source, event, action| catalog.route(tenant, source, event, action));
        Self::open_with(settings, parts.into(), routes).await
    }

    async fn open_with(settings: Settings, parts: Inner, routes: Routes) -> anyhow::Result<Self> {
        let (tasks, cut) = (Tasks::new(), CancellationToken::new());
        let tls = match settings.tls.clone() {
            Some(files) => Some(tls::Certificates::open(files, parts.clock.clone(), parts.observer.clone(), &tasks)?.acceptor()?),
            None => None,
        };
        let socket = parts.sockets.take("ingest", &settings.listen).await?;
        let listen = socket.listen.clone();
        let listener = socket.watched().with_context(|| format!("cannot listen on {listen}"))?;
        let places = Places::new(settings.shares.pool(Resource::DoorConnections).clone(), server::RESERVE);
        let (clock, readiness) = (parts.clock.clone(), parts.readiness.clone());
        let acceptor = Acceptor::new(settings.clone(), parts, routes, tasks.clone())?;
        let server = server::Server { settings, acceptor, tls, places, clock, readiness, tasks: tasks.clone(), cut: cut.clone() };
        tasks.spawn("ingest_listener", Arc::new(server).run(listener));
        Ok(Self { listen, tasks, cut })
    }

    /// Completes when the listener itself has panicked; the host must then stop.
    pub async fn failed(&self) {
        self.tasks.failed().await;
    }

    /// Takes no more connections, lets the calls in the house finish, at most `grace`; returns how many did not. Those are cut off.
    pub async fn close(self, grace: Duration) -> usize {
        let left = self.tasks.stop(grace).await;
        self.cut.cancel();
        left
    }
}

/// [`Parts`] without the catalog, of which only [`Catalog::route`] is used.
struct Inner {
    tenants: Tenants,
    broker: Arc<dyn Broker>,
    observer: Observer,
    clock: Clock,
    readiness: Readiness,
    sockets: Sockets,
}

impl From<Parts> for Inner {
    fn from(parts: Parts) -> Self {
        let Parts { tenants, broker, observer, clock, readiness, sockets, .. } = parts;
        Self { tenants, broker, observer, clock, readiness, sockets }
    }
}
