//! The listener: connections, handshakes, requests, and the end of each.
//!
//! The shield that costs nothing stands here, before any request is looked at: caps on connections, time for the handshake and for the head.
//! When the process is out of descriptors, a reserved one is spent to take the waiting connection and close it, so that the accept loop does
//! not spin and the sender learns at once.

use std::{convert::Infallible, fs::File, future::poll_fn, io, sync::Arc, time::Duration};

use http::{HeaderValue, Method, Request, StatusCode, header};
use hyper::{
    body::{Body as _, Incoming},
    server::conn::http1,
    service::service_fn,
};
use hyper_util::rt::{TokioIo, TokioTimer};
use serde_json::json;
use tokio::{
    io::{AsyncRead, AsyncReadExt as _, AsyncWrite, AsyncWriteExt as _},
    net::{TcpListener, TcpStream},
};
use tokio_rustls::TlsAcceptor;
use tokio_util::sync::CancellationToken;

use super::{
    Settings,
    accept::{Acceptor, Call},
    address::{Client, Peer, is_trusted},
    gate::{Gate, Permit},
    response::{self, Answer},
};
use crate::{broker::BoxFuture, clock::Clock, delivery::Refusal, observe::Readiness, tasks::Tasks};

/// How long the accept loop rests when the process is out of descriptors.
const REST: Duration = Duration::from_millis(50);
/// Header lines of a request.
const HEADERS_MAX: usize = 64;
/// What is read of a refused body, so that the sender gets to read the answer before the connection is reset.
const LINGER_BYTES_MAX: usize = 64 * 1024 * 1024;
/// How long that may take.
const LINGER: Duration = Duration::from_secs(1);

/// What every connection needs.
pub(super) struct Server {
    pub(super) settings: Settings,
    pub(super) acceptor: Acceptor,
    pub(super) tls: Option<TlsAcceptor>,
    pub(super) gate: Gate,
    pub(super) clock: Clock,
    pub(super) readiness: Readiness,
    pub(super) tasks: Tasks,
    /// Ends connections that outlived the drain.
    pub(super) cut: CancellationToken,
}

impl Server {
    /// Takes connections until told to stop.
    pub(super) async fn run(self: Arc<Self>, listener: TcpListener) {
        let mut reserve = File::open("/dev/null").ok();
        loop {
            let accepted = tokio::select! {
                () = self.tasks.stopping() => return,
                accepted = listener.accept() => accepted,
            };
            match accepted {
                Ok((stream, address)) => self.welcome(stream, address.ip().to_canonical()),
                Err(error) if is_out_of_descriptors(&error) => {
                    drop(reserve.take());
                    let _ = tokio::time::timeout(REST, listener.accept()).await;
                    reserve = File::open("/dev/null").ok();
                    self.clock.sleep(REST).await;
                }
                // The peer was gone before it was taken: nothing to do for it, and the next one waits.
                Err(_) => {}
            }
        }
    }

    fn welcome(self: &Arc<Self>, stream: TcpStream, address: std::net::IpAddr) {
        let client = (!is_trusted(address, &self.settings.trusted_proxies)).then(|| Client::of(address));
        // Without a place the connection is closed unread: an answer would cost what the cap is there to save.
        let Some(permit) = self.gate.enter(client) else { return };
        let peer = Peer { address, tls: self.tls.is_some() };
        let server = Arc::clone(self);
        self.tasks.spawn_brief(async move {
            let cut = server.cut.clone();
            tokio::select! {
                () = cut.cancelled() => {}
                () = server.connection(stream, peer, permit) => {}
            }
        });
    }

    async fn connection(self: Arc<Self>, stream: TcpStream, peer: Peer, _permit: Permit) {
        // Answers are one small write; waiting for more to send only delays them. A socket that refuses the option still works.
        let _ = stream.set_nodelay(true);
        let Some(tls) = &self.tls else { return Arc::clone(&self).serve(stream, peer).await };
        let handshake = tokio::select! {
            () = self.clock.sleep(self.settings.head_timeout) => return,
            () = self.tasks.stopping() => return,
            handshake = tls.accept(stream) => handshake,
        };
        if let Ok(stream) = handshake {
            Arc::clone(&self).serve(stream, peer).await;
        }
    }

    /// Serves the requests of one connection, then lets the client read the last answer.
    async fn serve<S: AsyncRead + AsyncWrite + Unpin + Send + 'static>(self: Arc<Self>, stream: S, peer: Peer) {
        let server = Arc::clone(&self);
        let service = service_fn(move |request| -> BoxFuture<'static, Result<Answer, Infallible>> {
            let server = Arc::clone(&server);
            Box::pin(async move { Ok(server.respond(request, peer).await) })
        });
        let mut connection = http1::Builder::new()
            .timer(TokioTimer::new())
            .header_read_timeout(self.settings.head_timeout)
            .max_buf_size(self.settings.head_bytes_max)
            .max_headers(HEADERS_MAX)
            .serve_connection(TokioIo::new(stream), service);
        let mut is_draining = false;
        let ended = loop {
            tokio::select! {
                ended = poll_fn(|context| connection.poll_without_shutdown(context)) => break ended,
                () = self.tasks.stopping(), if !is_draining => {
                    is_draining = true;
                    std::pin::Pin::new(&mut connection).graceful_shutdown();
                }
            }
        };
        // A connection that ended in an error has been answered or has nobody to answer; lingering does it no harm.
        drop(ended);
        linger(connection.into_parts().io.into_inner(), &self.clock).await;
    }

    async fn respond(&self, request: Request<Incoming>, peer: Peer) -> Answer {
        let (head, body) = request.into_parts();
        if let Some(answer) = self.health(&head.method, head.uri.path()) {
            return answer;
        }
        let mut call = Call { head, body, peer, began: self.clock.instant() };
        let mut answer = match self.acceptor.answer(&mut call).await {
            Ok(receipt) => response::receipt(&receipt),
            Err(refusal) => response::refusal(&refusal),
        };
        if !call.body.is_end_stream() {
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

/// Says that nothing more comes, and reads a bounded rest: closing a socket with unread bytes resets it, and takes the answer along.
async fn linger<S: AsyncRead + AsyncWrite + Unpin>(mut stream: S, clock: &Clock) {
    let drain = async {
        let (mut rest, mut buffer) = (LINGER_BYTES_MAX, [0; 4096]);
        if stream.shutdown().await.is_err() {
            return;
        }
        while let Ok(bytes) = stream.read(&mut buffer).await {
            rest = rest.saturating_sub(bytes);
            if bytes == 0 || rest == 0 {
                return;
            }
        }
    };
    tokio::select! {
        () = clock.sleep(LINGER) => {}
        () = drain => {}
    }
}

fn is_out_of_descriptors(error: &io::Error) -> bool {
    use rustix::io::Errno;
    error.raw_os_error().is_some_and(|code| [Errno::MFILE, Errno::NFILE].iter().any(|errno| errno.raw_os_error() == code))
}
