//! Asking the host's admin listener: one connection a question, as `curl` would.

use std::{net::SocketAddr, time::Duration};

use anyhow::{Context as _, ensure};
use bytes::Bytes;
use http::{Method, Request, StatusCode, header};
use http_body_util::{BodyExt as _, Empty};
use hyper::client::conn::http1::handshake;
use hyper_util::rt::TokioIo;
use serde_json::Value;
use tokio::{net::TcpStream, task::JoinSet};

/// How long an answer may take.
const ANSWER_MAX: Duration = Duration::from_secs(10);

/// Where to ask, and with which token.
#[derive(Clone)]
pub(crate) struct Admin {
    /// Where the admin listener is.
    pub(crate) address: SocketAddr,
    /// The bearer token.
    pub(crate) token: String,
}

impl Admin {
    /// The JSON of a page that must be there.
    pub(crate) async fn get(&self, path: &str) -> anyhow::Result<Value> {
        self.json(Method::GET, path).await
    }

    /// Does what stands in the path.
    pub(crate) async fn post(&self, path: &str) -> anyhow::Result<Value> {
        self.json(Method::POST, path).await
    }

    /// Whether the host says that it is ready; a listener that is not there yet is not.
    pub(crate) async fn is_ready(&self) -> bool {
        self.ask(Method::GET, "/readyz").await.is_ok_and(|(status, _)| status == StatusCode::OK)
    }

    async fn json(&self, method: Method, path: &str) -> anyhow::Result<Value> {
        let (status, body) = self.ask(method.clone(), path).await.with_context(|| format!("{method} {path}"))?;
        ensure!(status.is_success(), "{method} {path} answered {status}: {}", String::from_utf8_lossy(&body[..body.len().min(300)]));
        serde_json::from_slice(&body).with_context(|| format!("{method} {path} did not answer JSON"))
    }

    async fn ask(&self, method: Method, path: &str) -> anyhow::Result<(StatusCode, Bytes)> {
        let request = Request::builder()
            .method(method)
            .uri(path)
            .header(header::HOST, self.address.to_string())
            .header(header::AUTHORIZATION, format!("Bearer {}", self.token))
            .header(header::CONNECTION, "close")
            .body(Empty::<Bytes>::new())?;
        tokio::time::timeout(ANSWER_MAX, exchange(self.address, request))
            .await
            .with_context(|| format!("no answer within {ANSWER_MAX:?}"))?
    }
}

async fn exchange(address: SocketAddr, request: Request<Empty<Bytes>>) -> anyhow::Result<(StatusCode, Bytes)> {
    let (mut sender, connection) = handshake(TokioIo::new(TcpStream::connect(address).await?)).await?;
    let mut driver = JoinSet::new();
    driver.spawn(connection);
    let response = sender.send_request(request).await?;
    let status = response.status();
    Ok((status, response.into_body().collect().await?.to_bytes()))
}
