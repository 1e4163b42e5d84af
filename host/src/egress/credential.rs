//! What proves to another system who a tenant is. A guest knows a credential's name; its value goes from here to the wire and nowhere else.

use std::{fmt, sync::Arc};

use http::{HeaderName, HeaderValue, header::AUTHORIZATION};

use super::{github_app::GithubApp, scrub::SECRET_BYTES_MIN, target::Target};
use crate::signature::Secret;

/// One credential of a tenant.
#[derive(Clone, Debug)]
pub enum Credential {
    /// A fixed header, a token among them.
    Header(SecretHeader),
    /// The URL itself is the secret, such as a Slack webhook's.
    Url(SecretUrl),
    /// A key for `secrets`, never for requests.
    Hmac(Secret),
    /// A GitHub App: an installation token is made for the delivery's installation.
    GithubApp(Arc<GithubApp>),
}

/// A header with a secret in it.
#[derive(Clone)]
pub struct SecretHeader {
    name: HeaderName,
    value: HeaderValue,
    secret: Secret,
}

/// A URL that is a secret.
#[derive(Clone)]
pub struct SecretUrl(String);

impl Credential {
    /// `Authorization: Bearer <token>`; the error says what is wrong and does not show it.
    pub fn bearer(token: &Secret) -> Result<Self, String> {
        SecretHeader::bearer(token.expose()).map(Self::Header)
    }

    /// Any header.
    pub fn header(name: &str, value: &Secret) -> Result<Self, String> {
        let name: HeaderName = name.parse().map_err(|_| "the name is no header's name".to_owned())?;
        if super::headers::is_hosts_own(name.as_str()) && name != AUTHORIZATION && name != http::header::COOKIE {
            return Err(format!("`{name}` is set by the host itself"));
        }
        SecretHeader::new(name, value.expose(), value.clone()).map(Self::Header)
    }

    /// A URL.
    pub fn url(url: &Secret) -> Result<Self, String> {
        let text = std::str::from_utf8(long_enough(url)?.expose()).map_err(|_| "the URL is not UTF-8".to_owned())?;
        Target::parse(text)?;
        Ok(Self::Url(SecretUrl(text.to_owned())))
    }

    /// A key for `secrets`.
    pub fn hmac(key: &Secret) -> Result<Self, String> {
        long_enough(key).cloned().map(Self::Hmac)
    }

    /// What must not come back, as it stands. Tokens that are made for a call are added by the call.
    pub(super) fn secrets(&self) -> Vec<&[u8]> {
        match self {
            Self::Header(header) => header.secrets(),
            Self::Url(url) => url.secrets(),
            Self::Hmac(key) => vec![key.expose()],
            Self::GithubApp(_) => Vec::new(),
        }
    }
}

impl SecretHeader {
    /// `Authorization: Bearer <token>`.
    pub(super) fn bearer(token: &[u8]) -> Result<Self, String> {
        let secret = Secret::new(token).ok_or_else(|| "the token is empty".to_owned())?;
        Self::new(AUTHORIZATION, &[b"Bearer ", token].concat(), secret)
    }

    fn new(name: HeaderName, value: &[u8], secret: Secret) -> Result<Self, String> {
        long_enough(&secret)?;
        let mut value = HeaderValue::from_bytes(value).map_err(|_| "it has bytes that no header may have (a line break?)".to_owned())?;
        value.set_sensitive(true);
        Ok(Self { name, value, secret })
    }

    pub(super) fn name(&self) -> &HeaderName {
        &self.name
    }

    pub(super) fn value(&self) -> &HeaderValue {
        &self.value
    }

    /// The value, and what stands behind its scheme (`Bearer …`, `token …`).
    pub(super) fn secrets(&self) -> Vec<&[u8]> {
        let whole = self.secret.expose();
        let last = whole.rsplit(|byte| *byte == b' ').next().filter(|last| last.len() < whole.len());
        last.into_iter().chain([whole]).collect()
    }
}

impl SecretUrl {
    pub(super) fn as_str(&self) -> &str {
        &self.0
    }

    /// The URL, what follows its host, and its last segment: each of them opens the door.
    fn secrets(&self) -> Vec<&[u8]> {
        let path = self.0.splitn(4, '/').nth(3).unwrap_or_default();
        let last = path.rsplit('/').next().unwrap_or_default();
        [self.0.as_str(), path, last].into_iter().map(str::as_bytes).collect()
    }
}

fn long_enough(secret: &Secret) -> Result<&Secret, String> {
    let bytes = secret.expose().len();
    if bytes >= SECRET_BYTES_MIN {
        return Ok(secret);
    }
    Err(format!("it has {bytes} bytes; expected at least {SECRET_BYTES_MIN}, or it could not be recognised in an answer"))
}

impl fmt::Debug for SecretHeader {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "SecretHeader({})", self.name)
    }
}

impl fmt::Debug for SecretUrl {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("SecretUrl(…)")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn secret(text: &str) -> Secret {
        Secret::new(text).unwrap()
    }

    #[test]
    fn a_credential_that_cannot_be_sent_or_recognised_is_refused_without_being_shown() {
        for (made, why) in [
            (Credential::bearer(&secret("short")), "at least 8"),
            (Credential::bearer(&secret("long enough\r\nx: y")), "line break"),
            (Credential::header("bad name", &secret("long enough")), "name"),
            (Credential::header("Host", &secret("long enough")), "host itself"),
            (Credential::url(&secret("not-a-url-at-all")), "read"),
            (Credential::url(&secret("ftp://example.com/x")), "scheme"),
            (Credential::hmac(&secret("short")), "at least 8"),
        ] {
            let error = made.unwrap_err();
            assert!(error.contains(why), "{error}");
            assert!(!error.contains("long enough"), "{error}");
        }
        assert!(!format!("{:?}", Credential::bearer(&secret("ghp_0123456789")).unwrap()).contains("ghp_"));
    }

    #[test]
    fn what_must_not_come_back_is_known_in_its_parts() {
        let header = Credential::header("authorization", &secret("token abcdefgh")).unwrap();
        assert_eq!(header.secrets(), [b"abcdefgh".as_slice(), b"token abcdefgh"]);
        let url = Credential::url(&secret("https://hooks.slack.com/services/T0/B0/xyzxyzxyz")).unwrap();
        assert!(url.secrets().contains(&b"xyzxyzxyz".as_slice()) && url.secrets().contains(&b"services/T0/B0/xyzxyzxyz".as_slice()));
    }
}
