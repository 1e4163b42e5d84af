//! A server of few lines: one request at a time a connection, written down byte for byte.

use std::sync::{
    Arc, Mutex,
    atomic::{AtomicUsize, Ordering},
};

use rustls::{
    ServerConfig,
    pki_types::{CertificateDer, PrivateKeyDer, pem::PemObject as _},
};
use tokio::{
    io::{AsyncRead, AsyncReadExt as _, AsyncWrite, AsyncWriteExt as _},
    net::TcpListener,
    sync::watch,
};
use tokio_rustls::TlsAcceptor;

use crate::tasks::Tasks;

/// The certificate of a server that speaks TLS.
pub(super) const CERTIFICATE: &[u8] = include_bytes!("../../../../tests/fixtures/tls/first.pem");
const KEY: &[u8] = include_bytes!("../../../../tests/fixtures/tls/first.key");

/// One request as it came.
#[derive(Clone, Debug)]
pub(super) struct Received {
    /// `GET /path HTTP/1.1`.
    pub(super) line: String,
    headers: Vec<(String, String)>,
}

type Answering = dyn Fn(&Received) -> Vec<u8> + Send + Sync;

/// A server that answers as it is told.
pub(super) struct Server {
    port: u16,
    seen: Arc<Seen>,
    tasks: Tasks,
}

struct Seen {
    requests: Mutex<Vec<Received>>,
    names: Mutex<Vec<Option<String>>>,
    connections: AtomicUsize,
    open: watch::Sender<usize>,
    round: watch::Sender<usize>,
    answer: Box<Answering>,
}

/// An answer with its length.
pub(super) fn answer(status: u16, headers: &str, body: &str) -> Vec<u8> {
    format!("HTTP/1.1 {status} X\r\ncontent-length: {}\r\n{headers}\r\n{body}", body.len()).into_bytes()
}

impl Received {
    pub(super) fn header(&self, name: &str) -> Option<&str> {
        self.headers.iter().find(|(found, _)| found.eq_ignore_ascii_case(name)).map(|(_, value)| value.as_str())
    }
}

impl Server {
    pub(super) async fn start(answer: impl Fn(&Received) -> Vec<u8> + Send + Sync + 'static) -> Self {
        Self::listen(None, Box::new(answer)).await
    }

    pub(super) async fn start_tls(answer: impl Fn(&Received) -> Vec<u8> + Send + Sync + 'static) -> Self {
        let certificates = CertificateDer::pem_slice_iter(CERTIFICATE).collect::<Result<Vec<_>, _>>().unwrap();
        let config = ServerConfig::builder_with_provider(Arc::new(rustls::crypto::ring::default_provider()))
            .with_safe_default_protocol_versions()
            .unwrap()
            .with_no_client_auth()
            .with_single_cert(certificates, PrivateKeyDer::from_pem_slice(KEY).unwrap())
            .unwrap();
        Self::listen(Some(TlsAcceptor::from(Arc::new(config))), Box::new(answer)).await
    }

    async fn listen(tls: Option<TlsAcceptor>, answer: Box<Answering>) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let port = listener.local_addr().unwrap().port();
        let seen = Arc::new(Seen {
            requests: Mutex::default(),
            names: Mutex::default(),
            connections: AtomicUsize::new(0),
            open: watch::channel(0).0,
            round: watch::channel(0).0,
            answer,
        });
        let tasks = Tasks::new();
        let (accepting, spawner) = (Arc::clone(&seen), tasks.clone());
        tasks.spawn_brief(async move {
            while let Ok((stream, _)) = listener.accept().await {
                accepting.connections.fetch_add(1, Ordering::SeqCst);
                accepting.open.send_modify(|open| *open += 1);
                let (seen, tls) = (Arc::clone(&accepting), tls.clone());
                spawner.spawn_brief(async move {
                    match tls {
                        None => seen.serve(stream).await,
                        Some(tls) => {
                            if let Ok(stream) = tls.accept(stream).await {
                                seen.names.lock().unwrap().push(stream.get_ref().1.server_name().map(str::to_owned));
                                seen.serve(stream).await;
                            }
                        }
                    }
                    seen.open.send_modify(|open| *open -= 1);
                });
            }
        });
        Self { port, seen, tasks }
    }

    pub(super) fn port(&self) -> u16 {
        self.port
    }

    pub(super) fn authority(&self) -> String {
        format!("127.0.0.1:{}", self.port)
    }

    pub(super) fn url(&self, path: &str) -> String {
        format!("http://{}{path}", self.authority())
    }

    pub(super) fn requests(&self) -> Vec<Received> {
        self.seen.requests.lock().unwrap().clone()
    }

    pub(super) fn names(&self) -> Vec<Option<String>> {
        self.seen.names.lock().unwrap().clone()
    }

    pub(super) fn connections(&self) -> usize {
        self.seen.connections.load(Ordering::SeqCst)
    }

    /// Closes every connection and waits until they are.
    pub(super) async fn close_connections(&self) {
        self.seen.round.send_modify(|round| *round += 1);
        self.seen.open.subscribe().wait_for(|open| *open == 0).await.unwrap();
        let _ = &self.tasks;
    }
}

impl Seen {
    async fn serve(&self, mut stream: impl AsyncRead + AsyncWrite + Unpin) {
        let mut round = self.round.subscribe();
        round.borrow_and_update();
        loop {
            let received = tokio::select! {
                received = read(&mut stream) => received,
                _ = round.changed() => None,
            };
            let Some(received) = received else { return };
            let answer = (self.answer)(&received);
            self.requests.lock().unwrap().push(received);
            if stream.write_all(&answer).await.is_err() {
                return;
            }
        }
    }
}

async fn read(stream: &mut (impl AsyncRead + Unpin)) -> Option<Received> {
    let mut bytes = Vec::new();
    let end = loop {
        if let Some(end) = bytes.windows(4).position(|window| window == b"\r\n\r\n") {
            break end;
        }
        if stream.read_buf(&mut bytes).await.ok()? == 0 {
            return None;
        }
    };
    let head = String::from_utf8_lossy(&bytes[..end]).into_owned();
    let mut lines = head.split("\r\n");
    let line = lines.next()?.to_owned();
    let headers: Vec<(String, String)> =
        lines.filter_map(|line| line.split_once(": ")).map(|(name, value)| (name.to_owned(), value.to_owned())).collect();
    let received = Received { line, headers };
    let length: usize = received.header("content-length").and_then(|length| length.parse().ok()).unwrap_or(0);
    while bytes.len() < end + 4 + length {
        if stream.read_buf(&mut bytes).await.ok()? == 0 {
            return None;
        }
    }
    Some(received)
}
