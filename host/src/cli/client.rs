//! A small HTTP/1.1 client: one connection, used again while it lives, `http` and `https`.
//!
//! The trust roots are the machine's own (`SSL_CERT_FILE`, or the bundle of the distribution): a host in a private network is signed by a
//! private authority more often than not, and no list of ours would know it.

use std::{path::PathBuf, sync::Arc, time::Duration};

use bytes::Bytes;
use http::{Request, Response, Uri, header};
use http_body_util::{BodyExt as _, Full, Limited};
use hyper::client::conn::http1::{self, SendRequest};
use hyper_util::rt::TokioIo;
use rustls::{
    ClientConfig, RootCertStore,
    pki_types::{CertificateDer, ServerName, pem::PemObject as _},
};
use tokio::net::TcpStream;
use tokio_rustls::TlsConnector;

use super::exit::{Exit, Failure};
use crate::tasks::Tasks;

const CONNECT_TIMEOUT: Duration = Duration::from_secs(10);
const ANSWER_TIMEOUT: Duration = Duration::from_mins(1);
const ANSWER_BYTES_MAX: usize = 64 << 20;
const BUNDLES: [&str; 3] = ["/etc/ssl/certs/ca-certificates.crt", "/etc/pki/tls/certs/ca-bundle.crt", "/etc/ssl/cert.pem"];

/// Where requests go.
#[derive(Clone, Debug)]
pub(super) struct Target {
    /// `host:port` as it stands in the URL.
    pub authority: String,
    /// The name or address alone, without brackets.
    pub host: String,
    port: u16,
    /// Path and query of the URL, as they stand there.
    pub path: String,
    tls: Option<Arc<ClientConfig>>,
}

impl Target {
    /// Reads an `http://` or `https://` URL.
    pub(super) fn parse(url: &str) -> Result<Self, Failure> {
        let bad = |why: &str| {
            Failure::new(Exit::Usage, format!("`{url}` is not a URL this can call: {why}")).hint("give http://host:port or https://host")
        };
        let uri: Uri = url.parse().map_err(|error| bad(&format!("{error}")))?;
        let host = uri.host().ok_or_else(|| bad("it has no host"))?;
        let tls = match uri.scheme_str() {
            Some("http") => None,
            Some("https") => Some(tls_config()?),
            _ => return Err(bad("its scheme is neither http nor https")),
        };
        Ok(Self {
            authority: uri
                .authority()
                .map(|authority| authority.as_str().rsplit('@').next().unwrap_or_default().to_owned())
                .unwrap_or_default(),
            host: host.trim_matches(['[', ']']).to_owned(),
            port: uri.port_u16().unwrap_or(if tls.is_some() { 443 } else { 80 }),
            path: uri.path_and_query().map_or("/", http::uri::PathAndQuery::as_str).to_owned(),
            tls,
        })
    }

    /// Whether the target is this machine by its name or address.
    #[must_use]
    pub(super) fn is_loopback(&self) -> bool {
        self.host == "localhost" || self.host.parse::<std::net::IpAddr>().is_ok_and(|address| address.is_loopback())
    }
}

/// One connection, made when it is needed.
#[derive(Debug)]
pub(super) struct Wire {
    target: Target,
    tasks: Tasks,
    open: Option<SendRequest<Full<Bytes>>>,
}

impl Wire {
    /// No connection yet.
    #[must_use]
    pub(super) fn new(target: Target) -> Self {
        Self { target, tasks: Tasks::new(), open: None }
    }

    /// Sends one request and reads its whole answer, at most 64 MiB. `Host` is set here.
    pub(super) async fn call(&mut self, mut request: Request<Full<Bytes>>) -> Result<Response<Bytes>, Failure> {
        let unreachable = |why: String| {
            Failure::new(Exit::Unreachable, format!("{} does not answer: {why}", self.target.authority))
                .hint("is the host running, and is this its address? `hookyard serve` prints both of them")
        };
        let host = self.target.authority.parse().map_err(|_| Failure::new(Exit::Usage, "the URL's host is no header value"))?;
        request.headers_mut().insert(header::HOST, host);
        let mut sender = match self.open.take().filter(|sender| !sender.is_closed()) {
            Some(sender) => sender,
            None => tokio::time::timeout(CONNECT_TIMEOUT, connect(&self.target, &self.tasks))
                .await
                .map_err(|_| unreachable(format!("no connection within {CONNECT_TIMEOUT:?}")))?
                .map_err(|error| unreachable(format!("{error:#}")))?,
        };
        let exchange = async {
            sender.ready().await?;
            let (parts, body) = sender.send_request(request).await?.into_parts();
            let body = Limited::new(body, ANSWER_BYTES_MAX).collect().await.map_err(|error| anyhow::anyhow!("{error}"))?;
            anyhow::Ok(Response::from_parts(parts, body.to_bytes()))
        };
        let answer = tokio::time::timeout(ANSWER_TIMEOUT, exchange)
            .await
            .map_err(|_| unreachable(format!("no answer within {ANSWER_TIMEOUT:?}")))?
            .map_err(|error| unreachable(format!("{error:#}")))?;
        self.open = Some(sender);
        Ok(answer)
    }
}

async fn connect(target: &Target, tasks: &Tasks) -> anyhow::Result<SendRequest<Full<Bytes>>> {
    let tcp = TcpStream::connect((target.host.as_str(), target.port)).await?;
    tcp.set_nodelay(true)?;
    let Some(tls) = &target.tls else {
        let (sender, connection) = http1::handshake(TokioIo::new(tcp)).await?;
        // How the connection ends is seen by whoever waits for an answer on it.
        tasks.spawn_brief(async move { drop(connection.await) });
        return Ok(sender);
    };
    let name = ServerName::try_from(target.host.clone())?;
    let stream = TlsConnector::from(Arc::clone(tls)).connect(name, tcp).await?;
    let (sender, connection) = http1::handshake(TokioIo::new(stream)).await?;
    tasks.spawn_brief(async move { drop(connection.await) });
    Ok(sender)
}

fn tls_config() -> Result<Arc<ClientConfig>, Failure> {
    let failed = |why: String| {
        Failure::new(Exit::Failed, format!("no trust roots for https: {why}"))
            .hint("install ca-certificates, or name a PEM bundle in SSL_CERT_FILE")
    };
    let bundle = std::env::var_os("SSL_CERT_FILE")
        .map(PathBuf::from)
        .or_else(|| BUNDLES.iter().map(PathBuf::from).find(|path| path.exists()))
        .ok_or_else(|| failed("this machine has no bundle in a usual place".to_owned()))?;
    let mut roots = RootCertStore::empty();
    let certificates = CertificateDer::pem_file_iter(&bundle).map_err(|error| failed(format!("{}: {error}", bundle.display())))?;
    roots.add_parsable_certificates(certificates.filter_map(Result::ok));
    if roots.is_empty() {
        return Err(failed(format!("{} holds no certificate", bundle.display())));
    }
    let provider = Arc::new(rustls::crypto::ring::default_provider());
    let versions = ClientConfig::builder_with_provider(provider).with_safe_default_protocol_versions();
    let config = versions.map_err(|error| failed(error.to_string()))?.with_root_certificates(roots).with_no_client_auth();
    Ok(Arc::new(config))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_url_is_taken_apart_and_what_is_not_one_is_refused() {
        let target = Target::parse("http://[::1]:8080/webhooks/github/").unwrap();
        assert_eq!((target.host.as_str(), target.port, target.path.as_str()), ("::1", 8080, "/webhooks/github/"));
        assert!(target.is_loopback());
        assert!(!Target::parse("http://hooks.example").unwrap().is_loopback());
        for bad in ["", "8080", "ftp://x/", "/webhooks", "http://"] {
            assert_eq!(Target::parse(bad).err().map(|failure| failure.exit), Some(Exit::Usage), "{bad}");
        }
    }

    #[tokio::test]
    async fn a_door_that_nobody_opens_is_unreachable() {
        let closed = std::net::TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap();
        let mut wire = Wire::new(Target::parse(&format!("http://{closed}/")).unwrap());
        let failure = wire.call(Request::new(Full::default())).await.unwrap_err();
        assert_eq!(failure.exit, Exit::Unreachable);
        assert!(failure.message.contains(&closed.to_string()), "{failure}");
    }
}
