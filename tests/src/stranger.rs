//! Somebody who knows no secret and has many addresses: raw connections to a host, from any loopback address.

use std::{
    net::{IpAddr, Ipv4Addr, SocketAddr},
    time::Duration,
};

use tokio::{
    io::{AsyncReadExt as _, AsyncWriteExt as _},
    net::{TcpSocket, TcpStream},
};

/// A signature header of the right shape, over nothing.
pub const FORGED: &str = "sha256=0000000000000000000000000000000000000000000000000000000000000000";

/// How long an answer may take before it counts as none.
const ANSWER_MAX: Duration = Duration::from_secs(20);

/// Connects from `127.0.0.{from}`; none where the host does not take it.
pub async fn connect(to: SocketAddr, from: u8) -> Option<TcpStream> {
    let socket = TcpSocket::new_v4().ok()?;
    socket.bind(SocketAddr::new(IpAddr::V4(Ipv4Addr::new(127, 0, 0, from)), 0)).ok()?;
    tokio::time::timeout(ANSWER_MAX, socket.connect(to)).await.ok()?.ok()
}

/// A request head with a forged signature; `more` are further header lines.
pub fn head(path: &str, content_type: &str, more: &str) -> String {
    format!(
        "POST {path} HTTP/1.1\r\nhost: hooks\r\ncontent-type: {content_type}\r\nx-github-event: push\r\nx-github-delivery: stranger\r\n\
         x-hub-signature-256: {FORGED}\r\n{more}\r\n"
    )
}

/// Everything the host says until it closes the connection, or until it has said nothing for a while.
pub async fn answer(stream: &mut TcpStream) -> String {
    let mut said = Vec::new();
    let mut block = [0; 4096];
    while let Ok(Ok(bytes @ 1..)) = tokio::time::timeout(ANSWER_MAX, stream.read(&mut block)).await {
        said.extend_from_slice(&block[..bytes]);
        if is_whole(&said) {
            break;
        }
    }
    String::from_utf8_lossy(&said).into_owned()
}

/// Whether there is an answer with as much body as it declares.
fn is_whole(said: &[u8]) -> bool {
    let text = String::from_utf8_lossy(said);
    let Some((head, body)) = text.split_once("\r\n\r\n") else { return false };
    let declared = head.lines().find_map(|line| line.strip_prefix("content-length: ")?.parse::<usize>().ok());
    declared.is_some_and(|declared| body.len() >= declared)
}

/// Sends one request and gives the answer.
pub async fn ask(stream: &mut TcpStream, request: &[u8]) -> String {
    if stream.write_all(request).await.is_err() {
        return String::new();
    }
    answer(stream).await
}

/// The status of an answer; 0 where there is none.
pub fn status(answer: &str) -> u16 {
    answer.split(' ').nth(1).and_then(|code| code.parse().ok()).unwrap_or(0)
}
