//! Read views and few verbs over HTTP, for operators.
//!
//! The listener has one thread and runtime of its own: when deliveries take every core the host has, the one who wants to know why still gets
//! an answer. No route reads a request body: what is asked for stands in the path and the query.
//!
//! Everything the answers carry is text from strangers (event names, plugin logs), so they are JSON or plain text, never markup, and every
//! answer forbids a browser to see more in it.

mod auth;
mod deliveries;
mod events;
mod host;
mod problem;
mod query;
mod router;

use std::{fmt, net::SocketAddr, sync::Arc, time::Duration};

use anyhow::Context as _;
use tokio::net::TcpListener;

use crate::{
    broker::{Broker, DeadLetters},
    catalog::Catalog,
    clock::Clock,
    ledger::Ledger,
    observe::{Observer, Readiness},
    signature::Secret,
    tasks::Tasks,
    tenants::Tenants,
};

/// How the admin listener is set up.
#[derive(Clone, Debug)]
pub struct Settings {
    /// Where to listen.
    pub listen: SocketAddr,
    /// The bearer token.
    pub token: Secret,
    /// `Host` headers that are answered besides the loopback names and the listening address.
    pub hosts: Vec<String>,
}

/// What the admin listener works with.
#[derive(Clone)]
pub struct Parts {
    /// Deliveries and emits.
    pub ledger: Ledger,
    /// Depths.
    pub broker: Arc<dyn Broker>,
    /// Dead letters.
    pub dead_letters: Arc<dyn DeadLetters>,
    /// Plugins.
    pub catalog: Catalog,
    /// Tenants.
    pub tenants: Tenants,
    /// Metrics.
    pub observer: Observer,
    /// Health.
    pub readiness: Readiness,
    /// Dates.
    pub clock: Clock,
}

/// The admin listener, open.
#[derive(Debug)]
pub struct Admin {
    /// Where it listens, with the real port.
    pub address: SocketAddr,
    tasks: Tasks,
    /// Taken by the drop, which must not wait: it may happen inside another runtime.
    runtime: Option<tokio::runtime::Runtime>,
}

impl fmt::Debug for Parts {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Parts")
    }
}

impl Admin {
    /// Opens it.
    ///
    /// # Errors
    /// The address cannot be listened on, or the operating system gives no thread.
    pub async fn open(settings: Settings, parts: Parts) -> anyhow::Result<Self> {
        let listener = std::net::TcpListener::bind(settings.listen)
            .and_then(|listener| listener.set_nonblocking(true).map(|()| listener))
            .with_context(|| format!("the admin listener cannot listen on {}; is another host running?", settings.listen))?;
        let address = listener.local_addr().context("the admin listener has no address")?;
        let tasks = Tasks::new();
        let routes = router::routes(parts, auth::Auth::new(&settings, address), tasks.clone());
        let runtime = tokio::runtime::Builder::new_multi_thread()
            .worker_threads(1)
            .thread_name("admin")
            .enable_all()
            .build()
            .context("the admin thread cannot be started")?;
        let admin = Self { address, tasks, runtime: Some(runtime) };
        admin.serve(listener, routes)?;
        Ok(admin)
    }

    fn serve(&self, listener: std::net::TcpListener, routes: axum::Router) -> anyhow::Result<()> {
        let _entered = self.runtime.as_ref().map(tokio::runtime::Runtime::enter);
        let listener = TcpListener::from_std(listener).context("the admin listener cannot be watched")?;
        let stopping = self.tasks.clone();
        self.tasks.spawn("admin", async move {
            let service = routes.into_make_service_with_connect_info::<SocketAddr>();
            let serving = axum::serve(listener, service).with_graceful_shutdown(async move { stopping.stopping().await });
            if let Err(error) = serving.await {
                tracing::error!(detail = %error, "admin_failed");
            }
        });
        Ok(())
    }

    /// Closes it: takes no more connections and lets answers be finished, at most `grace`.
    pub async fn close(self, grace: Duration) {
        self.tasks.stop(grace).await;
    }
}

impl Drop for Admin {
    fn drop(&mut self) {
        if let Some(runtime) = self.runtime.take() {
            runtime.shutdown_background();
        }
    }
}
