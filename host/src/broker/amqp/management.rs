//! RabbitMQ's management API, as far as it is read here: the exchanges, queues, bindings and policies of one vhost.
//!
//! It is asked rarely, so each question has a connection of its own. Whatever answers is believed only as far as it goes: an answer that is
//! late, too long or no list means that nothing is known, and never that all is well.

use std::{collections::BTreeMap, fmt, sync::Arc, time::Duration};

use arc_swap::ArcSwap;
use base64::Engine as _;
use bytes::Bytes;
use http::{HeaderValue, Request, StatusCode, header};
use http_body_util::{BodyExt as _, Empty, Limited};
use hyper::client::conn::http1;
use hyper_util::rt::TokioIo;
use rustls::{
    ClientConfig,
    pki_types::{CertificateDer, ServerName, pem::PemObject as _},
};
use serde::{
    Deserialize, Deserializer,
    de::{DeserializeOwned, Error as _},
};
use serde_json::{Map, Value, value::RawValue};
use tokio::{
    io::{AsyncRead, AsyncWrite},
    net::TcpStream,
};
use tokio_rustls::TlsConnector;
use url::Url;

use crate::{delivery::report::Renewed, egress};

/// How long one answer may take, from the connection to its last byte.
const ANSWER_MAX: Duration = Duration::from_secs(10);
/// What one answer may be long: some fifty thousand queues.
const ANSWER_BYTES_MAX: usize = 32 * 1024 * 1024;

/// Where the API is and who we are to it. Its `Debug` shows no credential. Credentials can be renewed: each clone has them with the next question.
#[derive(Clone)]
pub struct Management(Arc<ArcSwap<Access>>);

/// The same at one moment.
struct Access {
    url: Url,
    authorization: HeaderValue,
    tls: Option<Arc<ClientConfig>>,
    /// The certificates that are trusted beside those of the system, in PEM.
    ca: Option<String>,
}

/// What a vhost has.
#[derive(Clone, Debug, Default)]
pub(super) struct There {
    pub(super) exchanges: Vec<ExchangeThere>,
    pub(super) queues: Vec<QueueThere>,
    pub(super) bindings: Vec<BindingThere>,
    pub(super) policies: Vec<PolicyThere>,
    pub(super) operator_policies: Vec<PolicyThere>,
}

/// An exchange that is there.
#[derive(Clone, Debug, Deserialize)]
pub(super) struct ExchangeThere {
    pub(super) name: String,
    #[serde(rename = "type")]
    pub(super) kind: String,
    pub(super) durable: bool,
    #[serde(default, deserialize_with = "object")]
    pub(super) arguments: Map<String, Value>,
}

/// A queue that is there.
#[derive(Clone, Debug, Deserialize)]
pub(super) struct QueueThere {
    pub(super) name: String,
    pub(super) durable: bool,
    #[serde(default, deserialize_with = "object")]
    pub(super) arguments: Map<String, Value>,
    /// The policy that is laid over it. Its operator policy is only told by a broker that collects metrics.
    #[serde(default)]
    pub(super) policy: Option<String>,
}

/// A policy that is there, or an operator policy.
#[derive(Clone, Debug, Deserialize)]
pub(super) struct PolicyThere {
    pub(super) name: String,
    pub(super) pattern: String,
    #[serde(rename = "apply-to")]
    pub(super) apply_to: String,
    pub(super) priority: i64,
    #[serde(deserialize_with = "object")]
    pub(super) definition: Map<String, Value>,
}

/// A binding that is there.
#[derive(Clone, Debug, Deserialize)]
pub(super) struct BindingThere {
    pub(super) source: String,
    pub(super) destination: String,
    pub(super) routing_key: String,
}

/// RabbitMQ writes an empty object as `{}`, as `[]`, as `""` or as null, by version and place.
/// Of its values only texts, numbers and truths are built: nothing that is compared here is a list or an object, and a tree of values takes far more
/// memory than its text.
fn object<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Map<String, Value>, D::Error> {
    let raw = Box::<RawValue>::deserialize(deserializer)?;
    match raw.get() {
        "null" | "[]" | "\"\"" => return Ok(Map::new()),
        text if text.starts_with('{') => {}
        _ => return Err(D::Error::custom("something else where an object was expected")),
    }
    let values: BTreeMap<String, Box<RawValue>> = serde_json::from_str(raw.get()).map_err(D::Error::custom)?;
    let value = |raw: &RawValue| if raw.get().starts_with(['[', '{']) { Ok(Value::Null) } else { serde_json::from_str(raw.get()) };
    values.iter().map(|(key, raw)| Ok((key.clone(), value(raw).map_err(D::Error::custom)?))).collect()
}

impl Management {
    /// Reads `http://user:password@host:15672`, or `https://`. The certificates in `ca_pem` are trusted beside those of the system.
    ///
    /// # Errors
    /// Says what was expected, never what was found: a password may stand in it.
    pub fn parse(url: &str, ca_pem: Option<&str>) -> Result<Self, String> {
        let expected = || "http://user:password@host:15672, or https:// (what is special in a password is written %xx)".to_owned();
        let mut url = Url::parse(url.trim()).map_err(|_| expected())?;
        if !matches!(url.scheme(), "http" | "https") || url.host_str().is_none() || url.username().is_empty() || url.query().is_some() {
            return Err(expected());
        }
        let decoded = |text: &str| percent_decoded(text).ok_or_else(expected);
        let pair = format!("{}:{}", decoded(url.username())?, decoded(url.password().unwrap_or_default())?);
        let encoded = base64::engine::general_purpose::STANDARD.encode(pair);
        let mut authorization = HeaderValue::try_from(format!("Basic {encoded}")).map_err(|_| expected())?;
        authorization.set_sensitive(true);
        let tls = (url.scheme() == "https").then(|| tls(ca_pem)).transpose()?.map(Arc::new);
        if url.set_username("").is_err() || url.set_password(None).is_err() {
            return Err(expected());
        }
        Ok(Self(Arc::new(ArcSwap::from_pointee(Access { url, authorization, tls, ca: ca_pem.map(str::to_owned) }))))
    }

    /// Takes what another reading of the settings says.
    pub fn renew(&self, new: &Self) -> Renewed {
        let (now, new) = (self.0.load(), new.0.load_full());
        if (&now.url, &now.authorization, &now.ca) == (&new.url, &new.authorization, &new.ca) {
            return Renewed::Same;
        }
        self.0.store(new);
        Renewed::Taken
    }

    /// What a vhost has.
    ///
    /// # Errors
    /// Why nothing is known, in words for the operator, without a credential.
    pub(super) async fn look(&self, vhost: &str) -> Result<There, String> {
        self.0.load_full().look(vhost).await
    }
}

impl Access {
    async fn look(&self, vhost: &str) -> Result<There, String> {
        Ok(There {
            exchanges: self.list("exchanges", vhost, "name,type,durable,arguments").await?,
            queues: self.list("queues", vhost, "name,durable,arguments,policy").await?,
            bindings: self.list("bindings", vhost, "source,destination,routing_key").await?,
            policies: self.list("policies", vhost, "name,pattern,apply-to,priority,definition").await?,
            operator_policies: self.list("operator-policies", vhost, "name,pattern,apply-to,priority,definition").await?,
        })
    }

    async fn list<T: DeserializeOwned>(&self, what: &str, vhost: &str, columns: &str) -> Result<Vec<T>, String> {
        let mut url = self.url.clone();
        url.path_segments_mut().map_err(|()| "it has no path".to_owned())?.pop_if_empty().extend(["api", what, vhost]);
        url.query_pairs_mut().append_pair("columns", columns);
        let answered = tokio::time::timeout(ANSWER_MAX, self.get(&url)).await;
        let (status, body) =
            answered.map_err(|_| format!("{self} gave no answer within {ANSWER_MAX:?}"))?.map_err(|why| format!("{self}: {why}"))?;
        match status {
            StatusCode::OK => serde_json::from_slice(&body).map_err(|error| format!("{self} answered no list of {what}: {error}")),
            StatusCode::UNAUTHORIZED | StatusCode::FORBIDDEN => Err(format!(
                "{self} answered {status}: the user of `management_url` needs the right password, the tag `policymaker` and rights in the vhost `{vhost}`"
            )),
            status => Err(format!("{self} answered {status} to the question for {what}")),
        }
    }

    async fn get(&self, url: &Url) -> anyhow::Result<(StatusCode, Bytes)> {
        let host = url.host_str().unwrap_or_default();
        let port = url.port_or_known_default().unwrap_or(15672);
        let request = Request::builder()
            .uri(&url[url::Position::BeforePath..url::Position::AfterQuery])
            .header(header::HOST, &url[url::Position::BeforeHost..url::Position::AfterPort])
            .header(header::AUTHORIZATION, self.authorization.clone())
            .header(header::ACCEPT, "application/json")
            .header(header::CONNECTION, "close")
            .body(Empty::<Bytes>::new())?;
        let host = host.trim_matches(['[', ']']);
        let tcp = TcpStream::connect((host, port)).await?;
        match &self.tls {
            None => exchange(tcp, request).await,
            Some(tls) => {
                let name = ServerName::try_from(host.to_owned())?;
                exchange(TlsConnector::from(Arc::clone(tls)).connect(name, tcp).await?, request).await
            }
        }
    }
}

async fn exchange(
    stream: impl AsyncRead + AsyncWrite + Send + Unpin + 'static,
    request: Request<Empty<Bytes>>,
) -> anyhow::Result<(StatusCode, Bytes)> {
    let (mut sender, connection) = http1::handshake(TokioIo::new(stream)).await?;
    let asked = async {
        let (parts, body) = sender.send_request(request).await?.into_parts();
        let body = Limited::new(body, ANSWER_BYTES_MAX).collect().await.map_err(|error| anyhow::anyhow!("{error}"))?;
        anyhow::Ok((parts.status, body.to_bytes()))
    };
    tokio::pin!(asked, connection);
    tokio::select! {
        biased;
        answer = &mut asked => answer,
        // It may end with the last byte of the answer, which is read on then.
        _ = &mut connection => asked.await,
    }
}

fn percent_decoded(text: &str) -> Option<String> {
    let mut bytes = Vec::with_capacity(text.len());
    let mut rest = text.bytes();
    while let Some(byte) = rest.next() {
        let digit = |byte: Option<u8>| char::from(byte?).to_digit(16);
        bytes.push(if byte == b'%' { u8::try_from(digit(rest.next())? * 16 + digit(rest.next())?).ok()? } else { byte });
    }
    String::from_utf8(bytes).ok()
}

fn tls(ca_pem: Option<&str>) -> Result<ClientConfig, String> {
    let read: Result<Vec<_>, _> = CertificateDer::pem_slice_iter(ca_pem.unwrap_or_default().as_bytes()).collect();
    let trusted = read.map_err(anyhow::Error::from).and_then(egress::trusting);
    trusted.map_err(|error| format!("certificates in `ca` that can be trusted: {error:#}"))
}

impl fmt::Debug for Management {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{self}")
    }
}

impl fmt::Display for Management {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.load().fmt(f)
    }
}

impl fmt::Display for Access {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "the management API at {}", self.url)
    }
}
