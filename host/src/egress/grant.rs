//! Who may send where: what a manifest asks for, what the operator allows, and what follows for one request.
//!
//! Absent means none. A request needs one entry on either side; a credential is added only where both entries name it.

use std::{
    collections::{BTreeMap, BTreeSet},
    sync::Arc,
};

use super::{SendError, credential::Credential, headers, target::Target};
use crate::{
    cidr::Cidr,
    delivery::{Destination, TenantId},
};

/// The methods a grant may name. `CONNECT` and `TRACE` are no requests of a plugin.
pub(super) const METHODS: [&str; 7] = ["GET", "HEAD", "POST", "PUT", "PATCH", "DELETE", "OPTIONS"];

/// Header names of one grant.
const HEADERS_MAX: usize = 32;

/// Where requests may be sent, and with which credential: asked for by a manifest, allowed by a tenant's file, effective where both agree.
#[derive(Clone, Debug, PartialEq, Eq, serde::Deserialize)]
#[serde(deny_unknown_fields)]
pub struct HttpGrant {
    /// The host, exactly, with a port where it is not the scheme's own. Absent only beside a credential that is itself the URL.
    #[serde(default)]
    pub host: Option<String>,
    /// The methods.
    pub methods: Vec<String>,
    /// The path prefix, segment by segment; everything where it is absent.
    #[serde(default)]
    pub path_prefix: Option<String>,
    /// The credential the host adds, by name.
    #[serde(default)]
    pub credential: Option<String>,
    /// Header names the plugin may set beside the standard ones.
    #[serde(default)]
    pub headers: Vec<String>,
    /// Whether plain `http` may be spoken; the operator's word only.
    #[serde(default)]
    pub allow_http: bool,
}

/// What may be done with a secret of kind `hmac`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, serde::Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Purpose {
    /// Make tags.
    Sign,
    /// Check tags.
    Verify,
}

/// Which secret operations a plugin may ask for.
#[derive(Clone, Debug, PartialEq, Eq, serde::Deserialize)]
#[serde(deny_unknown_fields)]
pub struct SecretGrant {
    /// The credential, by name.
    pub credential: String,
    /// What for.
    pub purposes: Vec<Purpose>,
}

/// What a plugin's manifest asks for.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Asked {
    /// Requests.
    pub http: Vec<HttpGrant>,
    /// Secret operations.
    pub secrets: Vec<SecretGrant>,
}

/// What a tenant's plugins may at most: the operator's file.
#[derive(Clone, Debug, Default)]
pub struct Allowed {
    /// Requests.
    pub http: Vec<HttpGrant>,
    /// Secret operations.
    pub secrets: Vec<SecretGrant>,
    /// The credentials, by name.
    pub credentials: BTreeMap<String, Credential>,
    /// Addresses beside the public ones.
    pub addresses: Vec<Cidr>,
}

/// What one run may reach: manifest ∧ tenant, for one delivery.
#[derive(Clone, Debug)]
pub struct Reach {
    /// Whose run.
    pub tenant: TenantId,
    /// What its manifest asks for.
    pub asked: Arc<Asked>,
    /// What the operator allows.
    pub allowed: Arc<Allowed>,
    /// The installation the delivery is from.
    pub installation: Option<u64>,
}

/// A request's destination, granted.
pub(super) struct Granted<'a> {
    pub(super) target: Target,
    pub(super) credential: Option<Named<'a>>,
    /// Header names that both sides grant beside the standard ones, in lower case.
    pub(super) headers: BTreeSet<String>,
}

impl Granted<'_> {
    /// Where it goes, in a name that tells nothing secret.
    pub(super) fn destination(&self) -> Destination {
        match self.credential {
            Some((name, Credential::Url(_))) => Destination::of_credential(name),
            _ => Destination::server(self.target.authority()),
        }
    }
}

/// A credential and what it is called.
type Named<'a> = (&'a str, &'a Credential);

/// What a run may reach at the moment it is asked. It is asked anew for each call, so that a grant taken away is gone with the next one.
#[derive(Clone)]
pub struct Standing(Arc<dyn Fn() -> Reach + Send + Sync>);

impl Standing {
    /// By what `look` says at each call; it must be quick.
    pub fn new(look: impl Fn() -> Reach + Send + Sync + 'static) -> Self {
        Self(Arc::new(look))
    }

    /// What may be reached now.
    #[must_use]
    pub fn now(&self) -> Reach {
        (self.0)()
    }
}

impl std::fmt::Debug for Standing {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_tuple("Standing").field(&self.now()).finish()
    }
}

impl HttpGrant {
    /// What is wrong with it, in words.
    pub fn problems(&self) -> Vec<String> {
        let mut problems = Vec::new();
        match &self.host {
            Some(host) => {
                let canonical = Target::parse(&format!("https://{host}/")).map(|target| target.authority());
                let is_plain = host.bytes().all(|byte| byte.is_ascii_alphanumeric() || b".-:[]".contains(&byte));
                if canonical.as_ref() != Ok(host) || !is_plain {
                    problems.push(format!("host: found `{}`; expected `api.github.com` or `ghe.example.com:8443`", host.escape_debug()));
                }
            }
            None if self.credential.is_none() => {
                problems.push("host: found nothing; expected a host, or a credential that is a URL".into());
            }
            None => {}
        }
        if self.methods.is_empty() {
            problems.push(format!("methods: found none; expected some of {}", METHODS.join(", ")));
        }
        for method in self.methods.iter().filter(|method| !METHODS.contains(&method.as_str())) {
            problems.push(format!("methods: found `{}`; expected one of {}", method.escape_debug(), METHODS.join(", ")));
        }
        if let Some(prefix) = &self.path_prefix {
            let canonical = Target::parse(&format!("https://host{prefix}")).is_ok_and(|target| target.path_and_query == *prefix);
            if !prefix.starts_with('/') || !canonical || prefix.contains('?') {
                problems.push(format!("path_prefix: found `{}`; expected a path such as `/repos/acme/`", prefix.escape_debug()));
            }
        }
        if self.headers.len() > HEADERS_MAX {
            problems.push(format!("headers: found {}; expected at most {HEADERS_MAX}", self.headers.len()));
        }
        problems.extend(self.headers.iter().filter_map(|name| headers::problem(name)));
        problems
    }

    fn covers(&self, method: &str, target: &Target, credential: Option<Named<'_>>) -> bool {
        let is_named = |name: &str| self.credential.as_deref() == Some(name);
        let host = match (&self.host, credential) {
            (Some(host), _) => *host == target.authority(),
            // Without a host a grant reaches what its credential says, and only a URL says where to.
            (None, Some((name, Credential::Url(_)))) => is_named(name),
            (None, _) => false,
        };
        host && self.methods.iter().any(|granted| granted == method)
            && self.path_prefix.as_ref().is_none_or(|prefix| target.is_beneath(prefix))
            && credential.is_none_or(|(name, _)| is_named(name))
    }
}

impl SecretGrant {
    fn covers(&self, name: &str, purpose: Purpose) -> bool {
        self.credential == name && self.purposes.contains(&purpose)
    }
}

impl Asked {
    /// The interfaces of the contract that go with what is asked for.
    #[must_use]
    pub fn interfaces(&self) -> Vec<&'static str> {
        let asked = [("http", !self.http.is_empty()), ("secrets", !self.secrets.is_empty())];
        asked.into_iter().filter(|(_, is_asked)| *is_asked).map(|(name, _)| name).collect()
    }

    /// The interfaces of the contract an asking plugin may import where the operator allows something it asks for.
    #[must_use]
    pub fn granted_interfaces(&self, allowed: &Allowed) -> Vec<&'static str> {
        let is_url = |name: &String| matches!(allowed.credentials.get(name), Some(Credential::Url(_)));
        let is_bound = |grant: &HttpGrant| grant.host.is_some() || grant.credential.as_ref().is_some_and(is_url);
        let meets = |asked: &HttpGrant, granted: &HttpGrant| {
            is_bound(asked)
                && is_bound(granted)
                && (asked.host.is_none() || granted.host.is_none() || asked.host == granted.host)
                && asked.methods.iter().any(|method| granted.methods.contains(method))
        };
        let http = self.http.iter().any(|asked| allowed.http.iter().any(|granted| meets(asked, granted)));
        let secrets = self.secrets.iter().any(|asked| allowed.secrets.iter().any(|granted| asked.credential == granted.credential));
        [("http", http), ("secrets", secrets)].into_iter().filter(|(_, is_granted)| *is_granted).map(|(name, _)| name).collect()
    }
}

impl Reach {
    /// The destination of a request, if it is granted; the error names what is missing.
    pub(super) fn grant(&self, method: &str, url: &str, credential: Option<&str>) -> Result<Granted<'_>, SendError> {
        let denied = |why: String| SendError::Denied(why);
        let named = credential.map(|name| self.credential(name)).transpose()?;
        let target = match named {
            Some((_, Credential::Url(secret))) if url.is_empty() => Target::parse(secret.as_str()),
            Some((name, Credential::Url(_))) => Err(format!("the credential `{name}` is itself the URL: name it and leave the URL empty")),
            Some((name, Credential::Hmac(_))) => Err(format!("the credential `{name}` is for `secrets`, not for requests")),
            _ => Target::parse(url),
        }
        .map_err(denied)?;
        let name = named.map(|(name, _)| name);
        let of = |grants: &'_ [HttpGrant]| -> Vec<HttpGrant> {
            grants.iter().filter(|grant| grant.covers(method, &target, named)).cloned().collect()
        };
        let what = || format!("{method} to {}{}", target.authority(), name.map_or_else(String::new, |name| format!(" with `{name}`")));
        let asked = of(&self.asked.http);
        if asked.is_empty() {
            return Err(denied(format!("the manifest asks for no `[[grants.http]]` that covers {}", what())));
        }
        let granted = of(&self.allowed.http);
        if granted.is_empty() {
            return Err(denied(format!("the tenant's `[[grants.http]]` do not cover {}", what())));
        }
        if !target.is_https && !granted.iter().any(|grant| grant.allow_http) {
            return Err(denied(format!("{} is not over TLS; the operator may say `allow_http = true` in the tenant's grant", what())));
        }
        let headers = &header_names(&asked) & &header_names(&granted);
        Ok(Granted { target, credential: named, headers })
    }

    /// The key of a secret, if the purpose is granted.
    pub(super) fn key(&self, name: &str, purpose: Purpose) -> Result<&crate::signature::Secret, SendError> {
        let of = |grants: &[SecretGrant]| grants.iter().any(|grant| grant.covers(name, purpose));
        let shown: String = name.chars().take(64).collect();
        for (whose, grants) in [("manifest", &self.asked.secrets), ("tenant", &self.allowed.secrets)] {
            if !of(grants) {
                return Err(SendError::Denied(format!("the {whose}'s `[[grants.secrets]]` do not cover `{shown}` for {purpose:?}")));
            }
        }
        match self.credential(name)? {
            (_, Credential::Hmac(key)) => Ok(key),
            (name, _) => Err(SendError::Denied(format!("the credential `{name}` is not of kind `hmac`"))),
        }
    }

    fn credential(&self, name: &str) -> Result<(&str, &Credential), SendError> {
        let known = self.allowed.credentials.get_key_value(name).map(|(name, credential)| (name.as_str(), credential));
        known.ok_or_else(|| {
            let shown: String = name.chars().take(64).collect();
            SendError::Denied(format!("the tenant has no credential `{shown}`"))
        })
    }
}

fn header_names(grants: &[HttpGrant]) -> BTreeSet<String> {
    grants.iter().flat_map(|grant| &grant.headers).map(|name| name.to_ascii_lowercase()).collect()
}

#[cfg(test)]
mod tests;
