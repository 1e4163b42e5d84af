//! The listener: connections, handshakes, requests, and the word on health.
//!
//! The shield that costs nothing stands here, before any request is looked at: a place for each connection, and its times. What a connection
//! is, and who is given up for whom, is the same at every door of the host: see [`crate::listen`].

use std::{net::SocketAddr, sync::Arc, time::Duration};

use http::{HeaderValue, Method, Request, StatusCode, header};
use hyper::body::{Body as _, Incoming};
use serde_json::json;
use tokio::io::{AsyncRead, AsyncWrite};
use tokio_rustls::TlsAcceptor;
use tokio_util::sync::CancellationToken;

use super::{
    Settings,
    accept::{Acceptor, Call},
    address::{Client, Peer, is_trusted},
    response::{self, Answer},
};
use crate::{
    clock::Clock,
    delivery::Refusal,
    listen::{self, Connection, Listener, Place, Places, Stream, Times},
    observe::Readiness,
    shares::Holder,
    tasks::Tasks,
};

/// Connections beyond the bound that are there for probes.
pub(super) const RESERVE: usize = 16;
/// How long an answer may wait for its reader, and the pace below which one counts as absent.
const WRITE: Duration = Duration::from_secs(10);
const READ_BYTES_PER_S_MIN: usize = 1024;

/// What every connection needs.
pub(super) struct Server {
    pub(super) settings: Settings,
    pub(super) acceptor: Acceptor,
    pub(super) tls: Option<TlsAcceptor>,
    pub(super) places: Places,
    pub(super) clock: Clock,
    pub(super) readiness: Readiness,
    pub(super) tasks: Tasks,
    /// Ends connections that outlived the drain.
    pub(super) cut: CancellationToken,
}

impl Server {
    /// Takes connections until told to stop.
    pub(super) async fn run(self: Arc<Self>, listener: Listener) {
        let (clock, tasks) = (self.clock.clone(), self.tasks.clone());
        listen::accept(listener, (clock, tasks), |stream, address| self.welcome(stream, address)).await;
    }

    fn welcome(self: &Arc<Self>, stream: Stream, address: SocketAddr) {
        let address = address.ip().to_canonical();
        // Behind a trusted proxy are many; the bound of all is the only one it has.
        let holder = if is_trusted(address, &self.settings.trusted_proxies) { Holder::Host } else { Client::of(address).holder() };
        // Without a place the connection is closed unread: an answer would cost what the bound is there to save.
        let Some(place) = self.places.enter(&holder).map(Arc::new) else { return };
        let peer = Peer { address, tls: self.tls.is_some() };
        let server = Arc::clone(self);
        self.tasks.spawn_brief(async move {
            let cut = server.cut.clone();
            tokio::select! {
                () = cut.cancelled() => {}
                () = server.connection(stream, peer, place) => {}
            }
        });
    }

    async fn connection(self: Arc<Self>, stream: Stream, peer: Peer, place: Arc<Place>) {
        let Some(tls) = &self.tls else { return Arc::clone(&self).serve(stream, peer, place).await };
        let handshake = tokio::select! {
            () = self.clock.sleep(self.settings.head_timeout) => return,
            () = self.tasks.stopping() => return,
            () = place.given_up() => return,
            handshake = tls.accept(stream) => handshake,
        };
        if let Ok(stream) = handshake {
            Arc::clone(&self).serve(stream, peer, place).await;
        }
    }

    async fn serve<S: AsyncRead + AsyncWrite + Unpin + Send + 'static>(self: Arc<Self>, stream: S, peer: Peer, place: Arc<Place>) {
        let times = Times {
            head: self.settings.head_timeout,
            write: WRITE,
            bytes_per_s_min: READ_BYTES_PER_S_MIN,
            head_bytes_max: self.settings.head_bytes_max,
        };
        let its = Arc::clone(&place);
        let connection = Connection { place, times, clock: self.clock.clone(), tasks: self.tasks.clone() };
        let respond = move |request| {
            let (server, place) = (Arc::clone(&self), Arc::clone(&its));
            async move { server.respond(request, peer, place).await }
        };
        connection.serve(stream, respond).await;
    }

    async fn respond(&self, request: Request<Incoming>, peer: Peer, place: Arc<Place>) -> Answer {
        let (head, body) = request.into_parts();
        if let Some(answer) = self.health(&head.method, head.uri.path()) {
            return answer;
        }
        let is_reserved = place.is_reserved();
        let mut call = Call { head, body, peer, began: self.clock.instant(), place };
        let result = if is_reserved { self.acceptor.turn_away(&call) } else { self.acceptor.answer(&mut call).await };
        let mut answer = match result {
            Ok(receipt) => response::receipt(&receipt),
            Err(refusal) => response::refusal(&refusal),
        };
        if is_reserved || !call.body.is_end_stream() {
            answer.headers_mut().insert(header::CONNECTION, HeaderValue::from_static("close"));
        }
        answer
    }

    /// The public word on health: a status, never a reason. Reasons are for the admin listener.
    fn health(&self, method: &Method, path: &str) -> Option<Answer> {
        let body = match path {
            "/health" => json!({"status": "healthy", "service": "hookyard", "timestamp": self.clock.now()}),
            "/livez" => json!({"status": "alive"}),
            "/readyz" if self.readiness.is_ready() => json!({"status": "ready"}),
            "/readyz" => json!({"status": "not_ready"}),
            _ => return None,
        };
        if method != Method::GET && method != Method::HEAD {
            return Some(response::refusal(&Refusal::MethodNotAllowed("GET, HEAD")));
        }
        let status = if body["status"] == "not_ready" { StatusCode::SERVICE_UNAVAILABLE } else { StatusCode::OK };
        let mut answer = response::json_answer(status, &body);
        if status == StatusCode::SERVICE_UNAVAILABLE {
            answer.headers_mut().insert(header::RETRY_AFTER, HeaderValue::from_static("5"));
        }
        Some(answer)
    }
}
