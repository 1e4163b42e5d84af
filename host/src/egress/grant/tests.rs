//! Who may send where, entry by entry.

use super::*;
use crate::signature::Secret;

fn grant(host: &str, methods: &[&str], prefix: Option<&str>, credential: Option<&str>) -> HttpGrant {
    HttpGrant {
        host: (!host.is_empty()).then(|| host.to_owned()),
        methods: methods.iter().map(|&method| method.to_owned()).collect(),
        path_prefix: prefix.map(str::to_owned),
        credential: credential.map(str::to_owned),
        headers: Vec::new(),
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
    assert!(denial(&both, "POST", "https://evil.example.com/", None).contains("manifest"), "a grant without a host is no grant for all");
    assert!(denial(&both, "POST", "", Some("partner")).contains("for `secrets`"));
}

#[test]
fn without_a_host_only_a_credential_that_is_a_url_goes_anywhere() {
    let by_name = grant("", &["GET"], None, Some("github"));
    let anywhere = reach(vec![by_name.clone()], vec![by_name.clone()]);
    assert!(denial(&anywhere, "GET", "https://evil.example.com/", Some("github")).contains("manifest"));
    // Nor where one of the two names it.
    let named = grant("evil.example.com", &["GET"], None, Some("github"));
    for (asked, allowed) in [(named.clone(), by_name.clone()), (by_name, named)] {
        let half = reach(vec![asked], vec![allowed]);
        assert!(half.grant("GET", "https://evil.example.com/", Some("github")).is_err());
        assert_eq!(half.asked.granted_interfaces(&half.allowed), ["secrets"]);
    }
    let slack = grant("", &["POST"], None, Some("slack"));
    let bound = reach(vec![slack.clone()], vec![slack]);
    assert_eq!(bound.asked.granted_interfaces(&bound.allowed), ["http", "secrets"]);
}

#[test]
fn a_header_beside_the_standard_ones_needs_both_sides_by_name() {
    let plain = grant("api.example.com", &["GET"], None, None);
    let with = |headers: &[&str]| HttpGrant { headers: headers.iter().map(|&name| name.to_owned()).collect(), ..plain.clone() };
    let both = reach(vec![with(&["X-One", "x-two"])], vec![with(&["x-one", "X-Three"])]);
    let headers = both.grant("GET", "https://api.example.com/", None).unwrap().headers;
    assert_eq!(headers.into_iter().collect::<Vec<_>>(), ["x-one"]);
    // Of another grant's destination they are not.
    let other = HttpGrant { host: Some("other.example.com".into()), ..with(&["x-one"]) };
    let apart = reach(vec![with(&["x-one"]), other.clone()], vec![plain.clone(), other]);
    assert!(apart.grant("GET", "https://api.example.com/", None).unwrap().headers.is_empty());
    assert!(with(&["X-Forwarded-For"]).problems()[0].contains("headers:"), "{:?}", with(&["X-Forwarded-For"]).problems());
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
