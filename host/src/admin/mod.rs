//! Read views and few verbs over HTTP, for operators.
//!
//! The listener has one thread and runtime of its own: when deliveries take every core the host has, the one who wants to know why still gets
//! an answer. No route reads a request body: what is asked for stands in the path and the query, and what a route does not read is refused.
//!
//! Everything the answers carry is text from strangers (event names, plugin logs), so they are JSON or plain text, never markup, and every
//! answer forbids a browser to see more in it.

mod auth;
mod deliveries;
mod events;
mod guard;
mod host;
mod json;
mod listener;
mod metrics;
mod plugins;
mod problem;
mod query;
mod replay;
mod router;
mod streams;

use std::{fmt, net::SocketAddr, sync::Arc, time::Duration};

use anyhow::Context as _;
use axum::Router;

use crate::{
    broker::{Broker, DeadLetters},
    catalog::Catalog,
    clock::Clock,
    delivery::report::ReloadReport,
    ledger::Ledger,
    listen::{Listen, Places, Sockets},
    observe::{Observer, Readiness, StreamBoard},
    shares::{Resource, Shares},
    signature::Secret,
    tasks::Tasks,
    tenants::Tenants,
};
use auth::Auth;
use guard::Guard;

/// How the admin listener is set up.
#[derive(Clone, Debug)]
pub struct Settings {
    /// Where to listen.
    pub listen: SocketAddr,
    /// The bearer token.
    pub token: Secret,
    /// `Host` headers that are answered besides the loopback names and the listening address.
    pub hosts: Vec<String>,
    /// What is shared, and how much of it one holder may have.
    pub shares: Shares,
}

/// What the admin listener works with.
#[derive(Clone)]
pub struct Parts {
    /// Deliveries and emits.
    pub ledger: Ledger,
    /// Depths.
    pub broker: Arc<dyn Broker>,
    /// What is shared.
    pub shares: Shares,
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
    /// What each stream is doing.
    pub streams: StreamBoard,
    /// Dates.
    pub clock: Clock,
    /// Reads the files of settings again.
    pub reload: Arc<dyn Fn() -> ReloadReport + Send + Sync>,
    /// What is open already.
    pub sockets: Sockets,
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
        let told = (parts.observer.clone(), parts.clock.clone());
        let sockets = parts.sockets.clone();
        Self::serve((&settings, &sockets), told, |guard, tasks| router::routes(parts, guard, tasks)).await
    }

    async fn serve(
        (settings, sockets): (&Settings, &Sockets),
        (observer, clock): (Observer, Clock),
        routes: impl FnOnce(Guard, Tasks) -> Router,
    ) -> anyhow::Result<Self> {
        let socket = sockets.take("admin", &Listen::Tcp(settings.listen)).await.context("the admin listener; is another host running?")?;
        let address =
            socket.listen.tcp().context("the socket `admin` of LISTEN_FDS is none of the network; the commands could not reach it")?;
        let runtime = tokio::runtime::Builder::new_multi_thread()
            .worker_threads(1)
            .thread_name("admin")
            .enable_all()
            .build()
            .context("the admin thread cannot be started")?;
        let tasks = Tasks::new();
        let pool = |resource| settings.shares.pool(resource).clone();
        let guard = Guard::new(Auth::new(settings, address), pool(Resource::AdminRequests), (observer, clock.clone()));
        let (routes, places) = (routes(guard, tasks.clone()), Places::new(pool(Resource::AdminConnections), listener::RESERVE));
        let entered = runtime.enter();
        let listener = socket.watched().context("the admin listener cannot be watched")?;
        tasks.spawn("admin", listener::run(listener, routes, (places, clock, tasks.clone())));
        drop(entered);
        Ok(Self { address, tasks, runtime: Some(runtime) })
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

#[cfg(test)]
mod tests {
    use axum::{Extension, body::Body, response::Response, routing::get};
    use tokio::{
        io::{AsyncReadExt as _, AsyncWriteExt as _},
        net::TcpStream,
    };

    use super::*;
    use crate::{
        admin::events::{Events, Source},
        delivery::Timestamp,
        observe::facts::SettingsReloaded,
    };

    fn settings(listen: SocketAddr) -> Settings {
        Settings { listen, token: Secret::new("open-sesame").unwrap(), hosts: vec![], shares: Shares::default() }
    }

    /// The real listener with the routes of its own that need no ledger.
    async fn open(observer: Observer, clock: Clock) -> Admin {
        let settings = settings("127.0.0.1:0".parse().unwrap());
        let told = (observer.clone(), clock.clone());
        let events = |Extension(tasks): Extension<Tasks>| async move {
            Response::new(Body::new(Events::new(Source { live: observer.subscribe(), clock, tasks })))
        };
        let routes = Router::new().route("/livez", get(host::livez)).route("/api/v1/events", get(events));
        Admin::serve((&settings, &Sockets::default()), told, |guard, tasks| router::guarded(routes.layer(Extension(tasks)), guard))
            .await
            .unwrap()
    }

    async fn ask(admin: &Admin, path: &str, headers: &str) -> TcpStream {
        let mut stream = TcpStream::connect(admin.address).await.unwrap();
        let request = format!("GET {path} HTTP/1.1\r\nHost: {}\r\n{headers}\r\n", admin.address);
        stream.write_all(request.as_bytes()).await.unwrap();
        stream
    }

    async fn read_until(stream: &mut TcpStream, text: &str) -> String {
        let mut read = Vec::new();
        while !String::from_utf8_lossy(&read).contains(text) {
            assert_ne!(stream.read_buf(&mut read).await.unwrap(), 0, "the connection ended before `{text}`: {}", read.escape_ascii());
        }
        String::from_utf8(read).unwrap()
    }

    #[tokio::test]
    async fn a_probe_on_this_machine_is_answered_without_a_token() {
        let admin = open(Observer::default(), Clock::system()).await;
        let answer = read_until(&mut ask(&admin, "/livez", "").await, "live\"}").await;
        assert!(answer.starts_with("HTTP/1.1 200 OK\r\n"), "{answer}");
        let answer = read_until(&mut ask(&admin, "/api/v1/events", "").await, "token_invalid").await;
        assert!(answer.starts_with("HTTP/1.1 401 "), "{answer}");
    }

    #[tokio::test]
    async fn facts_reach_a_reader_as_they_happen_and_a_close_ends_its_stream() {
        let (observer, clock) = (Observer::default(), Clock::manual(Timestamp::from_unix_ms(0)));
        let admin = open(observer.clone(), clock).await;
        let mut stream = ask(&admin, "/api/v1/events", "Authorization: Bearer open-sesame\r\n").await;
        read_until(&mut stream, ": listening").await;
        observer.record(&SettingsReloaded::default());
        read_until(&mut stream, "event: settings_reloaded").await;
        let read = async move {
            let mut rest = Vec::new();
            stream.read_to_end(&mut rest).await.unwrap();
            rest
        };
        let ((), rest) = tokio::join!(admin.close(Duration::from_secs(30)), read);
        assert!(rest.ends_with(b"0\r\n\r\n"), "the stream was cut, not ended: {}", rest.escape_ascii());
    }

    #[tokio::test]
    async fn an_address_in_use_is_named() {
        let first = open(Observer::default(), Clock::system()).await;
        let told = (Observer::default(), Clock::system());
        let error = Admin::serve((&settings(first.address), &Sockets::default()), told, |_, _| Router::new()).await.unwrap_err();
        assert!(format!("{error:#}").contains(&first.address.to_string()), "{error:#}");
    }
}
