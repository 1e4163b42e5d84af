//! The bare loop: hyper, one HMAC, 202, nothing kept. What no server that does the work can beat, and the generator's own ceiling.

use std::{convert::Infallible, io::Write as _, net::SocketAddr};

use anyhow::Context as _;
use bytes::Bytes;
use hookyard::tasks::Tasks;
use http::{Request, Response, StatusCode};
use http_body_util::{BodyExt as _, Full, Limited};
use hyper::{body::Incoming, server::conn::http1, service::service_fn};
use hyper_util::rt::TokioIo;
use tokio::net::{TcpListener, TcpStream};

use crate::{payload::Key, rabbit::Keeper};

/// Larger bodies are not read.
const BODY_BYTES_MAX: usize = 1024 * 1024;

/// Serves until the process is ended.
pub(crate) async fn serve(listen: SocketAddr) -> anyhow::Result<()> {
    let listener = TcpListener::bind(listen).await.with_context(|| format!("{listen} cannot be listened on"))?;
    writeln!(std::io::stdout(), "listening on {}", listener.local_addr()?)?;
    accept(listener, Key::new()?, None).await
}

/// Takes connections until it is dropped or the listener fails; what has a good signature goes to the keeper, where there is one.
pub(crate) async fn accept(listener: TcpListener, key: Key, keeper: Option<Keeper>) -> anyhow::Result<()> {
    let tasks = Tasks::new();
    loop {
        let (stream, _) = listener.accept().await?;
        tasks.spawn_brief(connection(stream, key.clone(), keeper.clone()));
    }
}

async fn connection(stream: TcpStream, key: Key, keeper: Option<Keeper>) {
    if stream.set_nodelay(true).is_ok() {
        let service = service_fn(move |request| {
            let (key, keeper) = (key.clone(), keeper.clone());
            async move { Ok::<_, Infallible>(answer(&key, keeper.as_ref(), request).await) }
        });
        // A caller that hangs up is none of our business.
        drop(http1::Builder::new().serve_connection(TokioIo::new(stream), service).await);
    }
}

async fn answer(key: &Key, keeper: Option<&Keeper>, request: Request<Incoming>) -> Response<Full<Bytes>> {
    let (head, body) = request.into_parts();
    let status = match Limited::new(body, BODY_BYTES_MAX).collect().await {
        Err(_) => StatusCode::BAD_REQUEST,
        Ok(body) => {
            let signature = head.headers.get("x-hub-signature-256").map_or(&b""[..], |value| value.as_bytes());
            let body = body.to_bytes();
            match keeper {
                _ if !key.verifies(&body, signature) => StatusCode::UNAUTHORIZED,
                Some(keeper) if !keeper.keep(body).await => StatusCode::SERVICE_UNAVAILABLE,
                _ => StatusCode::ACCEPTED,
            }
        }
    };
    let mut response = Response::new(Full::new(Bytes::from_static(br#"{"status":"accepted"}"#)));
    *response.status_mut() = status;
    response
}
