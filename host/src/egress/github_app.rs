//! A GitHub App: who it is, which installations are this tenant's, and the installation tokens made for them.
//!
//! A delivery names its installation, and whoever can sign a delivery can name any. So a token is made only for an installation the operator
//! has bound to the tenant, and GitHub is not even asked for another. A token is kept until shortly before it expires; those who need one at
//! the same time wait for the same call.

use std::{
    collections::{BTreeMap, BTreeSet},
    fmt,
    sync::{self, Arc, PoisonError},
    time::Duration,
};

use base64::{Engine as _, engine::general_purpose::URL_SAFE_NO_PAD};
use http::{HeaderMap, HeaderValue, Method, header};
use ring::{
    rand::SystemRandom,
    signature::{RSA_PKCS1_SHA256, RsaKeyPair},
};
use tokio::sync::Mutex;

use super::{Response, SendError, app_key, credential::SecretHeader, target::Target};
use crate::{delivery::Timestamp, signature::Secret};

/// Where GitHub's API is, unless the operator names an Enterprise Server's.
pub const API_URL: &str = "https://api.github.com";
/// A token is not used in the last minutes of its hour: a run may take one, and clocks differ.
const EXPIRY_MARGIN: Duration = Duration::from_mins(5);
/// How far GitHub's clock may be behind ours.
const CLOCK_SKEW: Duration = Duration::from_mins(1);
/// How long a JWT is good for; GitHub takes at most ten minutes from its issue.
const JWT_LIFETIME: Duration = Duration::from_mins(8);
/// How long one is used, so that its number is bounded however often a token is refused.
const JWT_USED: Duration = Duration::from_mins(4);

/// An app as one tenant may use it.
pub struct GithubApp {
    /// The app's id, or its client id.
    issuer: String,
    key: RsaKeyPair,
    installations: BTreeMap<u64, Mutex<Option<Arc<Token>>>>,
    jwt: sync::Mutex<Option<Jwt>>,
    api_url: String,
}

/// A signed assertion of who the app is, and until when it is used.
#[derive(Clone)]
struct Jwt {
    text: Arc<str>,
    used_until: Timestamp,
    expires_at: Timestamp,
}

/// What is secret and was made for a tenant: it is told before it is used.
pub(super) struct Made<'a> {
    pub(super) secret: &'a [u8],
    pub(super) expires_at: Timestamp,
}

/// An installation token.
pub(super) struct Token {
    header: SecretHeader,
    expires_at: Timestamp,
}

#[derive(serde::Deserialize)]
struct Answer {
    token: String,
    expires_at: Timestamp,
}

/// A request to GitHub that makes a token.
pub(super) struct Mint {
    pub(super) target: Target,
    pub(super) method: Method,
    pub(super) headers: HeaderMap,
}

impl GithubApp {
    /// An app from its id or client id, its private key as GitHub hands it out or in one line, the tenant's installations and the API's URL;
    /// the error says what is wrong and shows nothing of the key.
    pub fn new(issuer: &str, private_key: &Secret, installations: Vec<u64>, api_url: &str) -> Result<Self, String> {
        let key = app_key::read(private_key.expose())?;
        Target::parse(api_url)?;
        let installations = installations.into_iter().map(|id| (id, Mutex::new(None))).collect();
        Ok(Self {
            issuer: issuer.to_owned(),
            key,
            installations,
            jwt: sync::Mutex::default(),
            api_url: api_url.trim_end_matches('/').to_owned(),
        })
    }

    /// The header for a delivery's installation: kept from before, or made by `send`. Where GitHub answers that it is asked too often, its answer
    /// comes back as the answer of the request itself, with the time it names. `made` is told every assertion and token before anybody has it, and
    /// may forbid it.
    pub(super) async fn header<F>(
        &self,
        installation: Option<u64>,
        now: Timestamp,
        send: impl FnOnce(Mint) -> F,
        made: impl Fn(Made<'_>) -> Result<(), SendError>,
    ) -> Result<Arc<Token>, Refused>
    where
        F: Future<Output = Result<Response, SendError>>,
    {
        let installation = self.bound(installation).map_err(|why| Refused::Error(SendError::Denied(why)))?;
        let Some(place) = self.installations.get(&installation) else {
            let why = format!("installation {installation} is not one of the credential's `installations`");
            return Err(Refused::Error(SendError::Denied(why)));
        };
        let mut kept = place.lock().await;
        if let Some(token) = kept.as_ref().filter(|token| token.expires_at > now.after(EXPIRY_MARGIN)) {
            return Ok(Arc::clone(token));
        }
        let jwt = self.current_jwt(now).map_err(Refused::Error)?;
        made(Made { secret: jwt.text.as_bytes(), expires_at: jwt.expires_at }).map_err(Refused::Error)?;
        let answer = send(self.mint(installation, &jwt).map_err(Refused::Error)?).await.map_err(Refused::Error)?;
        if answer.status == 401 {
            // Perhaps the assertion itself is what is not taken.
            *self.jwt.lock().unwrap_or_else(PoisonError::into_inner) = None;
        }
        let token = Arc::new(token_of(answer)?);
        made(Made { secret: token.secret(), expires_at: token.expires_at }).map_err(Refused::Error)?;
        *kept = Some(Arc::clone(&token));
        Ok(token)
    }

    /// Forgets a token GitHub no longer takes.
    pub(super) async fn forget(&self, token: &Arc<Token>) {
        for place in self.installations.values() {
            let mut kept = place.lock().await;
            if kept.as_ref().is_some_and(|kept| Arc::ptr_eq(kept, token)) {
                *kept = None;
            }
        }
    }

    /// The delivery's installation; where it has none (a repository's own hook), the only one there is.
    fn bound(&self, installation: Option<u64>) -> Result<u64, String> {
        let only = self.installations.keys().next().copied().filter(|_| self.installations.len() == 1);
        installation.or(only).ok_or_else(|| "the delivery names no installation, and the credential has several or none".to_owned())
    }

    /// The assertion in use, or a new one.
    fn current_jwt(&self, now: Timestamp) -> Result<Jwt, SendError> {
        let mut kept = self.jwt.lock().unwrap_or_else(PoisonError::into_inner);
        // A clock that was set back does not make one good for longer.
        let is_good = |jwt: &&Jwt| jwt.used_until > now && jwt.used_until <= now.after(JWT_USED);
        if let Some(jwt) = kept.as_ref().filter(is_good) {
            return Ok(jwt.clone());
        }
        let text = self.jwt(now).map_err(SendError::Unavailable)?.into();
        let jwt = Jwt { text, used_until: now.after(JWT_USED), expires_at: now.after(JWT_LIFETIME) };
        *kept = Some(jwt.clone());
        Ok(jwt)
    }

    fn mint(&self, installation: u64, jwt: &Jwt) -> Result<Mint, SendError> {
        let target =
            Target::parse(&format!("{}/app/installations/{installation}/access_tokens", self.api_url)).map_err(SendError::Denied)?;
        let mut headers = super::headers::outgoing(&[], &BTreeSet::new())?;
        let mut bearer =
            HeaderValue::from_str(&format!("Bearer {}", jwt.text)).map_err(|error| SendError::Unavailable(error.to_string()))?;
        bearer.set_sensitive(true);
        headers.insert(header::AUTHORIZATION, bearer);
        headers.insert(header::ACCEPT, HeaderValue::from_static("application/vnd.github+json"));
        Ok(Mint { target, method: Method::POST, headers })
    }

    /// RS256 (RFC 7519, RFC 7518 3.3), issued a little in the past because GitHub refuses what comes from its future.
    fn jwt(&self, now: Timestamp) -> Result<String, String> {
        let seconds = |time: Timestamp| time.unix_ms() / 1000;
        let (issued, expires) = (seconds(now.before(CLOCK_SKEW)), seconds(now.after(JWT_LIFETIME)));
        let claims = format!(r#"{{"iat":{issued},"exp":{expires},"iss":"{}"}}"#, self.issuer);
        let signed = format!("{}.{}", URL_SAFE_NO_PAD.encode(r#"{"alg":"RS256","typ":"JWT"}"#), URL_SAFE_NO_PAD.encode(claims));
        let mut signature = vec![0; self.key.public().modulus_len()];
        self.key
            .sign(&RSA_PKCS1_SHA256, &SystemRandom::new(), signed.as_bytes(), &mut signature)
            .map_err(|_| "the private key does not sign".to_owned())?;
        Ok(format!("{signed}.{}", URL_SAFE_NO_PAD.encode(signature)))
    }
}

/// Why there is no token.
pub(super) enum Refused {
    /// GitHub's own answer, which the guest may read: it is asked too often.
    Answer(Response),
    /// Anything else.
    Error(SendError),
}

fn token_of(answer: Response) -> Result<Token, Refused> {
    let error = |why: String| Refused::Error(SendError::Unavailable(why));
    match answer.status {
        201 => {
            let made: Answer = serde_json::from_slice(&answer.body)
                .map_err(|_| error("GitHub's answer to the request for an installation token has no token and expiry in it".to_owned()))?;
            let header = SecretHeader::bearer(made.token.as_bytes()).map_err(|why| error(format!("GitHub's installation token: {why}")))?;
            Ok(Token { header, expires_at: made.expires_at })
        }
        403 | 429 => Err(Refused::Answer(answer)),
        status @ 500.. => Err(Refused::Error(SendError::Unreachable(format!("GitHub gave no installation token ({status})")))),
        status => Err(error(format!(
            "GitHub gave no installation token ({status}); check `app_id` or `client_id`, the private key and whether the app is still installed"
        ))),
    }
}

impl Token {
    pub(super) fn header(&self) -> &SecretHeader {
        &self.header
    }

    /// The token itself, without the word before it.
    fn secret(&self) -> &[u8] {
        self.header.secrets().into_iter().next().unwrap_or_default()
    }
}

impl fmt::Debug for GithubApp {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("GithubApp").field("issuer", &self.issuer).field("installations", &self.installations.keys()).finish_non_exhaustive()
    }
}
