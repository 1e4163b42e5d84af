//! What a version asks for beyond what every plugin has, in lines a person reads, and what of it is new.
//!
//! The comparison is by what may be done, not by how it is written: a narrower path or fewer methods than before are nothing new. The tenant's
//! ceiling holds whatever is asked for; this is about somebody looking at it before it counts.

use crate::egress::{Asked, HttpGrant, Purpose, SecretGrant};

/// Everything that is asked for.
pub(super) fn lines(asked: &Asked) -> Vec<String> {
    beyond(asked, &Asked::default())
}

/// What is asked for and was not before.
pub(super) fn beyond(asked: &Asked, before: &Asked) -> Vec<String> {
    let http = asked.http.iter().filter_map(|grant| http_line(grant, before));
    let secrets = asked.secrets.iter().filter_map(|grant| secret_line(grant, before));
    http.chain(secrets).collect()
}

fn http_line(grant: &HttpGrant, before: &Asked) -> Option<String> {
    let is_new = |method: &&String| !before.http.iter().any(|old| old.methods.contains(*method) && reaches(old, grant));
    let methods: Vec<_> = grant.methods.iter().filter(is_new).map(String::as_str).collect();
    let host = grant.host.as_deref().unwrap_or("the credential's own URL");
    let credential = grant.credential.as_ref().map(|name| format!(" with credential {name}")).unwrap_or_default();
    let prefix = grant.path_prefix.as_deref().unwrap_or_default();
    let headers = if grant.headers.is_empty() { String::new() } else { format!(" with headers {}", grant.headers.join(",")) };
    (!methods.is_empty()).then(|| format!("http {} {host}{prefix}{credential}{headers}", methods.join(",")))
}

/// Whether what `new` reaches, `old` reached too.
fn reaches(old: &HttpGrant, new: &HttpGrant) -> bool {
    let is_beneath = match (&old.path_prefix, &new.path_prefix) {
        (None, _) => true,
        (Some(_), None) => false,
        (Some(old), Some(new)) => {
            new.strip_prefix(old.as_str()).is_some_and(|rest| old.ends_with('/') || rest.is_empty() || rest.starts_with('/'))
        }
    };
    let has_headers = new.headers.iter().all(|name| old.headers.iter().any(|had| had.eq_ignore_ascii_case(name)));
    old.host == new.host && is_beneath && has_headers && (new.credential.is_none() || old.credential == new.credential)
}

fn secret_line(grant: &SecretGrant, before: &Asked) -> Option<String> {
    let had = |purpose: Purpose| before.secrets.iter().any(|old| old.credential == grant.credential && old.purposes.contains(&purpose));
    let purposes: Vec<_> = grant.purposes.iter().filter(|purpose| !had(**purpose)).map(|purpose| word(*purpose)).collect();
    (!purposes.is_empty()).then(|| format!("secrets {} with credential {}", purposes.join(","), grant.credential))
}

fn word(purpose: Purpose) -> &'static str {
    match purpose {
        Purpose::Sign => "sign",
        Purpose::Verify => "verify",
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn http(host: &str, methods: &[&str], prefix: Option<&str>, credential: Option<&str>) -> Asked {
        let grant = HttpGrant {
            host: Some(host.to_owned()),
            methods: methods.iter().map(|method| (*method).to_owned()).collect(),
            path_prefix: prefix.map(str::to_owned),
            credential: credential.map(str::to_owned),
            headers: Vec::new(),
            allow_http: false,
        };
        Asked { http: vec![grant], secrets: Vec::new() }
    }

    #[test]
    fn only_what_was_not_asked_for_before_is_new() {
        let before = http("api.github.com", &["GET"], Some("/repos/"), Some("github"));
        for (asked, new) in [
            (before.clone(), None),
            (http("api.github.com", &["GET"], Some("/repos/acme/"), Some("github")), None),
            (http("api.github.com", &["GET"], Some("/repos/"), None), None),
            (
                http("api.github.com", &["GET", "POST"], Some("/repos/"), Some("github")),
                Some("http POST api.github.com/repos/ with credential github"),
            ),
            (http("api.github.com", &["GET"], None, Some("github")), Some("http GET api.github.com with credential github")),
            (http("api.github.com", &["GET"], Some("/repositories/"), None), Some("http GET api.github.com/repositories/")),
            (http("evil.example", &["GET"], Some("/repos/"), None), Some("http GET evil.example/repos/")),
            (
                http("api.github.com", &["GET"], Some("/repos/"), Some("other")),
                Some("http GET api.github.com/repos/ with credential other"),
            ),
        ] {
            assert_eq!(beyond(&asked, &before), new.map(str::to_owned).into_iter().collect::<Vec<_>>(), "{asked:?}");
        }
    }

    #[test]
    fn a_header_beside_the_standard_ones_is_something_to_ask_for() {
        let before = http("a", &["GET"], None, None);
        let mut asked = before.clone();
        asked.http[0].headers = vec!["X-Api-Version".to_owned()];
        assert_eq!(beyond(&asked, &before), ["http GET a with headers X-Api-Version"]);
        assert!(beyond(&asked, &asked).is_empty() && beyond(&before, &asked).is_empty());
    }

    #[test]
    fn a_prefix_ends_where_a_segment_does() {
        let before = http("a", &["GET"], Some("/repos/acme"), None);
        assert!(beyond(&http("a", &["GET"], Some("/repos/acme/site"), None), &before).is_empty());
        assert_eq!(beyond(&http("a", &["GET"], Some("/repos/acme-secret"), None), &before).len(), 1);
    }

    #[test]
    fn a_secrets_purpose_is_a_grant_of_its_own() {
        let secret = |purposes: &[Purpose]| Asked {
            http: Vec::new(),
            secrets: vec![SecretGrant { credential: "chat".to_owned(), purposes: purposes.to_vec() }],
        };
        assert_eq!(beyond(&secret(&[Purpose::Sign, Purpose::Verify]), &secret(&[Purpose::Verify])), ["secrets sign with credential chat"]);
        assert_eq!(lines(&secret(&[Purpose::Verify])), ["secrets verify with credential chat"]);
    }
}
