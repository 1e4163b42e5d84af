//! The one way out of the host for its guests.
//!
//! A request is granted (manifest ∧ tenant) by its canonical URL, its name is resolved and every address judged, the connection goes to an
//! address that passed, with TLS for the name, and no redirect is followed: a guest that wants to follow one asks for it, and is judged again.
//! One deadline covers name, connection, TLS, token, request and body. The host adds the credential the guest has named, for the destination it
//! is bound to, and takes it out of what comes back, in every spelling, before the guest, a record or a log sees it.
//!
//! | what | where |
//! |---|---|
//! | who may send where | `grant` |
//! | the URL that is matched is the URL that is sent | `target` |
//! | which addresses are public | `address` |
//! | names, without holding a thread | `names` |
//! | connections, apart by tenant and credential; whom they trust | `connection`, `authorities` |
//! | header lines that cross | `headers` |
//! | what is sent and never shown | `credential`, `github_app`, `app_key`, `known`, `scrub` |

mod address;
mod app_key;
mod authorities;
mod connection;
mod credential;
mod error;
mod exchange;
mod github_app;
mod grant;
mod headers;
mod known;
mod names;
mod scrub;
mod target;
#[cfg(test)]
mod tests;

use std::{net::SocketAddr, path::PathBuf, sync::Arc};

use arc_swap::{ArcSwap, ArcSwapOption};
use bytes::Bytes;
use http::{HeaderMap, Method, header};
use http_body_util::Full;
use rustls::ClientConfig;
use tokio::time::Instant;

use self::{
    address::Policy,
    connection::{Connection, Key, Pool, Resolver},
    error::{is_up, scrubbed},
    exchange::{Exchanged, Raw, exchange},
    github_app::{Made, Mint, Refused, Token},
    grant::{Granted, METHODS},
    known::{Known, LIVE_MAX},
    names::Names,
    scrub::Scrubber,
    target::Target,
};
pub use self::{
    app_key::unusable_key,
    authorities::trusting,
    credential::{Credential, SecretHeader, SecretUrl},
    error::SendError,
    github_app::{API_URL as GITHUB_API_URL, GithubApp},
    grant::{Allowed, Asked, HttpGrant, Purpose, Reach, SecretGrant, Standing},
};
use crate::{
    cidr::Cidr,
    clock::Clock,
    delivery::{Upstream, report::Renewed},
    shares::{Holder, Resource, Shares},
    signature,
};

/// Bytes of a request's body.
pub const REQUEST_BYTES_MAX: usize = 1024 * 1024;
/// Bytes of an answer's body that are passed on.
pub const ANSWER_BYTES_MAX: usize = 1024 * 1024;

/// What the host's operator says about requests.
#[derive(Clone, Debug, Default)]
pub struct Settings {
    /// Addresses every tenant may reach beside the public ones.
    pub allow_addresses: Vec<Cidr>,
    /// Addresses nobody may reach: the host's own public ones behind a translating router, for example.
    pub refuse_addresses: Vec<Cidr>,
    /// A PEM file of certificates that are trusted beside the system's.
    pub ca_file: Option<PathBuf>,
    /// Who is asked for addresses; the system's name servers where there is none.
    pub name_servers: Vec<SocketAddr>,
    /// What is shared, and how much of it one holder may have.
    pub shares: Shares,
}

/// A request as a guest makes it.
#[derive(Clone, Debug)]
pub struct Request {
    /// `GET`, `POST`, …
    pub method: String,
    /// An absolute URL; empty for a credential that is one.
    pub url: String,
    /// Header lines.
    pub headers: Vec<(String, String)>,
    /// The body.
    pub body: Vec<u8>,
    /// The credential to add, by name.
    pub credential: Option<String>,
}

/// An answer as a guest is shown it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Response {
    /// The status code.
    pub status: u16,
    /// Header lines, scrubbed, with a `date`.
    pub headers: Vec<(String, String)>,
    /// The body, scrubbed, up to the cap.
    pub body: Vec<u8>,
    /// Whether the body was longer.
    pub truncated: bool,
}

/// The way out; cheap to clone.
#[derive(Clone, Debug)]
pub struct Egress(Arc<Inner>);

#[derive(Debug)]
struct Inner {
    settings: Settings,
    tls: ArcSwap<ClientConfig>,
    /// What `ca_file` held when it was read.
    authorities: ArcSwapOption<Vec<u8>>,
    resolver: Resolver,
    pool: Pool,
    known: Known,
    clock: Clock,
}

impl Egress {
    /// Reads the certificates that are trusted: the system's and the operator's.
    pub fn new(settings: Settings, clock: Clock) -> anyhow::Result<Self> {
        let names = Names::new(settings.name_servers.clone(), settings.shares.clone());
        Self::with_resolver(settings, clock, Resolver::System(Box::new(names)))
    }

    fn with_resolver(settings: Settings, clock: Clock, resolver: Resolver) -> anyhow::Result<Self> {
        let bytes = authorities::read(&settings)?;
        let (tls, authorities) =
            (ArcSwap::from_pointee(authorities::tls(&settings, bytes.as_deref())?), ArcSwapOption::from_pointee(bytes));
        Ok(Self(Arc::new(Inner { settings, tls, authorities, resolver, pool: Pool::default(), known: Known::default(), clock })))
    }

    /// Reads the operator's certificates again, for the next connections.
    ///
    /// # Errors
    /// They cannot be read, or are none; those from before go on.
    pub fn renew(&self) -> anyhow::Result<Renewed> {
        let bytes = authorities::read(&self.0.settings)?;
        if bytes.as_ref() == self.0.authorities.load().as_deref() {
            return Ok(Renewed::Same);
        }
        self.0.tls.store(Arc::new(authorities::tls(&self.0.settings, bytes.as_deref())?));
        self.0.authorities.store(bytes.map(Arc::new));
        Ok(Renewed::Taken)
    }

    /// Sends a request of a run and waits for the answer until `deadline`. An answer of any status is an answer, a redirect among them.
    pub async fn send(&self, reach: &Reach, request: Request, deadline: Instant) -> Result<Response, SendError> {
        self.send_watched(reach, request, deadline).await.0
    }

    /// The same, and how the other side did, where the request came to it.
    pub async fn send_watched(
        &self,
        reach: &Reach,
        request: Request,
        deadline: Instant,
    ) -> (Result<Response, SendError>, Option<Upstream>) {
        let (method, headers, granted) = match judged(reach, &request) {
            Ok(judged) => judged,
            Err(denied) => return (Err(denied), None),
        };
        let destination = granted.destination();
        // Who waits for its turn waits for its own tenant's requests, not for the other side.
        let pool = self.0.settings.shares.pool(Resource::OutgoingRequests);
        let Ok(_turn) = tokio::time::timeout_at(deadline, pool.take(&Holder::tenant(&reach.tenant), 1)).await else {
            return (Err(SendError::Timeout), None);
        };
        let call = Call { egress: &self.0, reach, credential: granted.credential.map(|(name, _)| name) };
        let parts = (method, headers, request.body.into());
        let answer = tokio::time::timeout_at(deadline, call.run(granted, parts)).await.unwrap_or(Err(SendError::Timeout));
        let upstream = is_up(&answer).map(|is_up| Upstream { destination, is_up });
        (answer, upstream)
    }

    /// Whether a run may send this request: all that [`Self::send`] looks at before a name is resolved.
    pub fn judge(reach: &Reach, request: &Request) -> Result<(), SendError> {
        judged(reach, request).map(drop)
    }

    /// HMAC-SHA256 under a named key.
    pub fn sign(reach: &Reach, name: &str, data: &[u8]) -> Result<Vec<u8>, SendError> {
        Ok(signature::hmac_sha256(reach.key(name, Purpose::Sign)?, data).to_vec())
    }

    /// Whether a tag is the HMAC-SHA256 under a named key, in constant time.
    pub fn verify(reach: &Reach, name: &str, data: &[u8], tag: &[u8]) -> Result<bool, SendError> {
        Ok(signature::is_hmac_sha256(reach.key(name, Purpose::Verify)?, data, tag))
    }
}

type Parts = (Method, HeaderMap, Bytes);

/// One request under way.
struct Call<'a> {
    egress: &'a Inner,
    reach: &'a Reach,
    credential: Option<&'a str>,
}

impl Call<'_> {
    async fn run(&self, granted: Granted<'_>, (method, mut headers, body): Parts) -> Result<Response, SendError> {
        let mut made: Option<(&GithubApp, Arc<Token>)> = None;
        match granted.credential {
            Some((_, Credential::Header(header))) => {
                headers.insert(header.name(), header.value().clone());
            }
            Some((_, Credential::GithubApp(app))) => {
                let now = self.egress.clock.now();
                match app.header(self.reach.installation, now, |mint| self.mint(mint), |made| self.note(&made)).await {
                    Ok(token) => {
                        headers.insert(token.header().name(), token.header().value().clone());
                        made = Some((app, token));
                    }
                    Err(Refused::Answer(answer)) => return Ok(clean(&answer, &self.scrubber())),
                    Err(Refused::Error(error)) => return Err(scrubbed(error, &self.scrubber())),
                }
            }
            Some((_, Credential::Url(_) | Credential::Hmac(_))) | None => {}
        }
        let raw = self.round_trip(&granted.target, (method, headers, body)).await;
        // By what is known now that the answer is here: another call may have made a token meanwhile.
        let scrubber = self.scrubber();
        let raw = raw.map_err(|error| scrubbed(error, &scrubber))?;
        if let (401, Some((app, token))) = (raw.status.as_u16(), &made) {
            app.forget(token).await;
        }
        Ok(self.shown(&raw, &scrubber))
    }

    /// Asks GitHub for a token. The answer is not scrubbed here: the token is what is wanted, and only [`GithubApp`] sees it.
    async fn mint(&self, mint: Mint) -> Result<Response, SendError> {
        let raw = self.round_trip(&mint.target, (mint.method, mint.headers, Bytes::new())).await?;
        Ok(self.shown(&raw, &Scrubber::default()))
    }

    /// On a connection kept from before if there is one, else on a new one. A request of which nothing was written is sent again.
    async fn round_trip(&self, target: &Target, (method, headers, body): Parts) -> Result<Raw, SendError> {
        let key = self.key(target);
        let mut request = http::Request::builder()
            .method(method)
            .uri(&target.path_and_query)
            .header(header::HOST, target.authority())
            .body(Full::new(body))
            .map_err(|error| SendError::Denied(format!("the request cannot be written: {error}")))?;
        request.headers_mut().extend(headers);
        while let Some(connection) = self.egress.pool.take(&key, &self.policy(), &self.egress.clock) {
            match exchange(connection, request).await? {
                Exchanged::Answer(raw, connection) => return Ok(self.keep(key, raw, connection)),
                Exchanged::NotSent(unsent) => request = unsent,
            }
        }
        let tls = self.egress.tls.load_full();
        let by = (&self.egress.resolver, &tls);
        let connection = connection::open(target, &self.reach.tenant, &self.policy(), by).await?;
        match exchange(connection, request).await? {
            Exchanged::Answer(raw, connection) => Ok(self.keep(key, raw, connection)),
            Exchanged::NotSent(_) => Err(SendError::Unreachable("the connection was closed before the request was written".to_owned())),
        }
    }

    fn keep(&self, key: Key, raw: Raw, connection: Option<Connection>) -> Raw {
        if let Some(connection) = connection {
            self.egress.pool.put(key, connection, &self.egress.clock);
        }
        raw
    }

    fn key(&self, target: &Target) -> Key {
        Key {
            tenant: self.reach.tenant.clone(),
            credential: self.credential.map(str::to_owned),
            is_https: target.is_https,
            host: target.host.clone(),
            port: target.port,
        }
    }

    fn policy(&self) -> Policy<'_> {
        Policy {
            host_allows: &self.egress.settings.allow_addresses,
            tenant_allows: &self.reach.allowed.addresses,
            host_refuses: &self.egress.settings.refuse_addresses,
        }
    }

    /// Every secret of the tenant, not only the one that was sent: what one call gave away, another may bring back.
    fn scrubber(&self) -> Scrubber {
        self.egress.known.scrubber(self.reach, self.egress.clock.now())
    }

    fn note(&self, made: &Made<'_>) -> Result<(), SendError> {
        let times = (made.expires_at, self.egress.clock.now());
        if self.egress.known.note(&self.reach.tenant, made.secret, times) {
            return Ok(());
        }
        let why =
            format!("the tenant has {LIVE_MAX} live tokens, and no more are made until some expire; is a server refusing each of them?");
        Err(SendError::Unavailable(why))
    }

    fn shown(&self, raw: &Raw, scrubber: &Scrubber) -> Response {
        Response {
            status: raw.status.as_u16(),
            headers: headers::incoming(&raw.headers, scrubber, || http_date(self.egress.clock.now())),
            body: scrubber.bytes(&raw.body).into_owned(),
            truncated: raw.truncated,
        }
    }
}

/// A request that is well formed, and granted.
fn judged<'a>(reach: &'a Reach, request: &Request) -> Result<(Method, HeaderMap, Granted<'a>), SendError> {
    let method = checked(request)?;
    let granted = reach.grant(method.as_str(), &request.url, request.credential.as_deref())?;
    let headers = headers::outgoing(&request.headers, &granted.headers)?;
    Ok((method, headers, granted))
}

/// What can be said of a request without looking at grants.
fn checked(request: &Request) -> Result<Method, SendError> {
    if !METHODS.contains(&request.method.as_str()) {
        let shown: String = request.method.chars().take(32).collect::<String>().escape_debug().to_string();
        return Err(SendError::Denied(format!("the method is `{shown}`; expected one of {}", METHODS.join(", "))));
    }
    if request.body.len() > REQUEST_BYTES_MAX {
        return Err(SendError::TooLarge);
    }
    request.method.parse().map_err(|_| SendError::Denied("the method cannot be written".to_owned()))
}

/// An answer that was read for its token, without anything secret in it.
fn clean(answer: &Response, scrubber: &Scrubber) -> Response {
    let headers = answer.headers.iter().map(|(name, value)| (scrubber.text(name), scrubber.text(value))).collect();
    Response { status: answer.status, headers, body: scrubber.bytes(&answer.body).into_owned(), truncated: answer.truncated }
}

/// RFC 9110, 5.6.7.
fn http_date(now: crate::delivery::Timestamp) -> String {
    jiff::Timestamp::from_millisecond(now.unix_ms())
        .map_or_else(|_| String::new(), |now| now.strftime("%a, %d %b %Y %H:%M:%S GMT").to_string())
}
