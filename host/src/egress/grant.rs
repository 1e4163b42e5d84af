//! Who may send where: what a manifest asks for, what the operator allows, and what follows for one request.
//!
//! Absent means none. A request needs one entry on either side; a credential is added only where both entries name it.

use std::{collections::BTreeMap, sync::Arc};

use super::{SendError, credential::Credential, target::Target};
use crate::{cidr::Cidr, delivery::TenantId};

/// The methods a grant may name. `CONNECT` and `TRACE` are no requests of a plugin.
pub(super) const METHODS: [&str; 7] = ["GET", "HEAD", "POST", "PUT", "PATCH", "DELETE", "OPTIONS"];

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
    pub(super) credential: Option<(&'a str, &'a Credential)>,
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
        problems
    }

    fn covers(&self, method: &str, target: &Target, credential: Option<&str>) -> bool {
        let host = self.host.as_ref().is_none_or(|host| *host == target.authority());
        // Without a host a grant reaches what its credential says, and nothing else.
        let bound = self.host.is_some() || (credential.is_some() && self.credential.as_deref() == credential);
        host && bound
            && self.methods.iter().any(|granted| granted == method)
            && self.path_prefix.as_ref().is_none_or(|prefix| target.is_beneath(prefix))
            && credential.is_none_or(|name| self.credential.as_deref() == Some(name))
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
        let meets = |asked: &HttpGrant, granted: &HttpGrant| {
            (asked.host.is_none() || granted.host.is_none() || asked.host == granted.host)
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
        let of = |grants: &[HttpGrant]| grants.iter().any(|grant| grant.covers(method, &target, name));
        let what = || format!("{method} to {}{}", target.authority(), name.map_or_else(String::new, |name| format!(" with `{name}`")));
        if !of(&self.asked.http) {
            return Err(denied(format!("the manifest asks for no `[[grants.http]]` that covers {}", what())));
        }
        let granted: Vec<_> = self.allowed.http.iter().filter(|grant| grant.covers(method, &target, name)).collect();
        if granted.is_empty() {
            return Err(denied(format!("the tenant's `[[grants.http]]` do not cover {}", what())));
        }
        if !target.is_https && !granted.iter().any(|grant| grant.allow_http) {
            return Err(denied(format!("{} is not over TLS; the operator may say `allow_http = true` in the tenant's grant", what())));
        }
        Ok(Granted { target, credential: named })
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

#[cfg(test)]
mod tests {
    use super::*;
    use crate::signature::Secret;

    fn grant(host: &str, methods: &[&str], prefix: Option<&str>, credential: Option<&str>) -> HttpGrant {
        HttpGrant {
            host: (!host.is_empty()).then(|| host.to_owned()),
            methods: methods.iter().map(|&method| method.to_owned()).collect(),
            path_prefix: prefix.map(str::to_owned),
            credential: credential.map(str::to_owned),
            allow_http: false,
        }
    }

    fn reach(asked: Vec<HttpGrant>, allowed: Vec<HttpGrant>) -> Reach {
        let secret = |text: &str| Secret::new(text).unwrap();
        let credentials = BTreeMap::from([
            ("github".to_owned(), Credential::bearer(&secret("ghp_0123456789")).unwrap()),
            ("slack".to_owned(), Credential::url(&secret("https://hooks.slack.com/services/T0/B0/xyz")).unwrap()),
            ("partner".to_owned(), Credential::Hmac(secret("partner-key"))),
        ]);
        let sign = SecretGrant { credential: "partner".into(), purposes: vec![Purpose::Sign] };
        let github = SecretGrant { credential: "github".into(), purposes: vec![Purpose::Sign] };
        Reach {
            tenant: TenantId::default_tenant(),
            asked: Arc::new(Asked { http: asked, secrets: vec![sign.clone(), github.clone()] }),
            allowed: Arc::new(Allowed { http: allowed, secrets: vec![sign, github], credentials, addresses: Vec::new() }),
            installation: None,
        }
    }

    fn denial(reach: &Reach, method: &str, url: &str, credential: Option<&str>) -> String {
        match reach.grant(method, url, credential) {
            Ok(_) => panic!("{method} {url} is granted"),
            Err(error) => error.to_string(),
        }
    }

    #[test]
    fn a_request_needs_both_and_a_credential_needs_both_by_name() {
        let github = grant("api.github.com", &["GET", "POST"], Some("/repos/acme/"), Some("github"));
        let greedy = grant("api.github.com", &["GET", "POST", "DELETE"], None, Some("github"));
        let both = reach(vec![greedy.clone(), grant("evil.example.com", &["GET"], None, Some("github"))], vec![github]);
        let url = "https://api.github.com/repos/acme/shop";
        assert!(both.grant("GET", url, Some("github")).is_ok());
        assert!(both.grant("GET", url, None).is_ok(), "without the credential is less");
        assert!(denial(&both, "DELETE", url, Some("github")).contains("tenant's"));
        assert!(denial(&both, "GET", "https://api.github.com/user", Some("github")).contains("tenant's"));
        assert!(denial(&both, "GET", "https://evil.example.com/", Some("github")).contains("tenant's"), "bound to its destination");
        assert!(denial(&both, "GET", "https://api.github.com:8443/repos/acme/shop", None).contains("8443"));
        assert!(denial(&both, "GET", "http://api.github.com:443/repos/acme/shop", None).contains(":443"));
        assert!(denial(&both, "GET", url, Some("other")).contains("no credential `other`"));
        let none = reach(vec![greedy.clone()], Vec::new());
        assert!(denial(&none, "GET", url, None).contains("tenant's"));
        let unasked = reach(Vec::new(), vec![greedy]);
        assert!(denial(&unasked, "GET", url, None).contains("manifest"));
    }

    #[test]
    fn a_url_that_is_the_secret_is_reached_by_its_name_only() {
        let by_name = grant("", &["POST"], None, Some("slack"));
        let both = reach(vec![by_name.clone()], vec![by_name]);
        assert_eq!(both.grant("POST", "", Some("slack")).unwrap().target.host, "hooks.slack.com");
        assert!(denial(&both, "GET", "", Some("slack")).contains("manifest"));
        assert!(denial(&both, "POST", "https://evil.example.com/", Some("slack")).contains("itself the URL"));
        assert!(
            denial(&both, "POST", "https://evil.example.com/", None).contains("manifest"),
            "a grant without a host is no grant for all"
        );
        assert!(denial(&both, "POST", "", Some("partner")).contains("for `secrets`"));
    }

    #[test]
    fn plain_http_is_the_operators_word() {
        let asked = grant("internal.example.com", &["GET"], None, None);
        let mut allowed = asked.clone();
        let url = "http://internal.example.com/";
        assert!(denial(&reach(vec![asked.clone()], vec![allowed.clone()]), "GET", url, None).contains("allow_http"));
        allowed.allow_http = true;
        assert!(reach(vec![asked], vec![allowed]).grant("GET", url, None).is_ok());
    }

    #[test]
    fn a_key_is_used_for_the_granted_purpose_and_only_a_key_is() {
        let reach = reach(Vec::new(), Vec::new());
        assert!(reach.key("partner", Purpose::Sign).is_ok());
        assert!(reach.key("partner", Purpose::Verify).unwrap_err().to_string().contains("Verify"));
        assert!(reach.key("github", Purpose::Sign).unwrap_err().to_string().contains("not of kind `hmac`"));
        assert!(reach.key("webhook", Purpose::Sign).unwrap_err().to_string().contains("do not cover"));
    }

    #[test]
    fn a_grant_that_says_something_else_than_it_seems_is_a_problem() {
        let problems = |host: &str, methods: &[&str], prefix| grant(host, methods, prefix, None).problems().join("\n");
        assert_eq!(problems("api.github.com", &["GET"], Some("/repos/acme/")), "");
        assert_eq!(problems("127.0.0.1:8080", &["GET"], None), "");
        for host in ["https://api.github.com", "API.github.com", "api.github.com/x", "*", "u@h", "127.1", "host:443", ""] {
            assert!(problems(host, &["GET"], None).contains("host:"), "{host}");
        }
        for prefix in ["repos", "/a/../b", "/a?b", "//x"] {
            assert!(problems("h", &["GET"], Some(prefix)).contains("path_prefix"), "{prefix}");
        }
        assert!(problems("h", &["get"], None).contains("methods") && problems("h", &[], None).contains("methods"));
    }
}
