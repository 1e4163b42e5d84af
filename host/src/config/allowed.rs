//! `[credentials.*]`, `[[grants.*]]` and `[egress]` of a tenant's file: what its plugins may reach, by the operator's word.

use std::{collections::BTreeMap, sync::Arc};

use serde::de::DeserializeOwned;

use super::{
    host::cidrs,
    reader::Reader,
    secrets::{self, Places},
};
use crate::{
    egress::{Allowed, Credential, GITHUB_API_URL, GithubApp, HttpGrant, SecretGrant},
    signature::Secret,
};

/// The kinds of credentials.
const KINDS: [&str; 5] = ["github-app", "github-token", "header", "url", "hmac"];
/// Installations one credential may name.
const INSTALLATIONS_MAX: usize = 1_000;

/// Reads all of it.
pub(super) fn read(reader: &mut Reader, places: Places<'_>) -> Allowed {
    let mut credentials = BTreeMap::new();
    for name in reader.names("credentials") {
        if let Some(credential) = credential(reader, &name, places) {
            credentials.insert(name, credential);
        }
    }
    let http: Vec<HttpGrant> =
        tables(reader, "grants.http", "[[grants.http]] tables with host, methods, path_prefix, credential, headers and allow_http");
    for (at, problem) in http.iter().enumerate().flat_map(|(at, grant)| grant.problems().into_iter().map(move |problem| (at, problem))) {
        let (found, expected) = problem.split_once("; expected ").unwrap_or((&problem, "a sound grant"));
        reader.problem(&format!("grants.http[{at}]"), found, expected);
    }
    without_host(reader, &http);
    let secrets: Vec<SecretGrant> =
        tables(reader, "grants.secrets", "[[grants.secrets]] tables with credential and purposes (sign, verify)");
    let named = http.iter().filter_map(|grant| grant.credential.as_ref()).chain(secrets.iter().map(|grant| &grant.credential));
    // A credential that did not load is told of by its own problem.
    let defined = reader.names("credentials");
    let unknown: Vec<String> = named.filter(|name| !defined.contains(name)).cloned().collect();
    for name in unknown {
        reader.problem("grants", format!("the credential `{name}`"), "one of this file's [credentials.*]");
    }
    Allowed { http, secrets, credentials, addresses: cidrs(reader, "egress.allow_addresses") }
}

/// A grant without a host reaches what its credential says, so its credential must say it: with any other kind the token would go to any server.
fn without_host(reader: &mut Reader, grants: &[HttpGrant]) {
    for (at, grant) in grants.iter().enumerate().filter(|(_, grant)| grant.host.is_none()) {
        let Some(name) = &grant.credential else { continue };
        let kind = reader.value(&format!("credentials.{name}.kind"));
        match kind.as_ref().and_then(toml::Value::as_str) {
            Some("url") | None => {}
            Some(kind) => {
                let kind: String = kind.chars().take(40).collect::<String>().escape_debug().to_string();
                let found = format!("nothing, beside the credential `{name}` of kind `{kind}`, which could go to any server then");
                let told = (found, "the host that may have the credential; only a credential of kind `url` names its own".to_owned());
                reader.problem_with_hint(&format!("grants.http[{at}].host"), told, Some("such as host = \"api.github.com\"".to_owned()));
            }
        }
    }
}

fn tables<T: DeserializeOwned>(reader: &mut Reader, key: &str, expected: &str) -> Vec<T> {
    let Some(value) = reader.value(key) else { return Vec::new() };
    value.try_into().unwrap_or_else(|error: toml::de::Error| {
        reader.problem(key, error.message(), expected);
        Vec::new()
    })
}

fn credential(reader: &mut Reader, name: &str, places: Places<'_>) -> Option<Credential> {
    let key = |field: &str| format!("credentials.{name}.{field}");
    if reader.value(&key("kind")).is_none() {
        reader.problem(&key("kind"), "nothing", format!("one of {}", KINDS.join(", ")));
        return None;
    }
    let kind = reader.word(&key("kind"), "header", &KINDS);
    let secret = |reader: &mut Reader, field: &str| -> Option<Secret> {
        let Some(value) = reader.value(&key(field)) else {
            reader.problem(&key(field), "nothing", "{ env = \"NAME\" } or { file = \"path\" }");
            return None;
        };
        secrets::resolve(reader, &key(field), &value, places)
    };
    let (field, made) = match kind.as_str() {
        "github-token" => ("token", Credential::bearer(&secret(reader, "token")?)),
        "url" => ("url", Credential::url(&secret(reader, "url")?)),
        "hmac" => ("key", Credential::hmac(&secret(reader, "key")?)),
        "github-app" => {
            let (issuer, installations) = (issuer(reader, name)?, installations(reader, &key("installations"))?);
            let api_url = reader.text(&key("api_url")).unwrap_or_else(|| GITHUB_API_URL.to_owned());
            let app = GithubApp::new(&issuer, &secret(reader, "private_key")?, installations, &api_url);
            ("private_key", app.map(|app| Credential::GithubApp(Arc::new(app))))
        }
        _ => {
            let header = reader.text(&key("header")).unwrap_or_else(|| "authorization".to_owned());
            ("value", Credential::header(&header, &secret(reader, "value")?))
        }
    };
    made.map_err(|why| reader.problem(&key(field), why, "a value that can be sent and recognised")).ok()
}

/// Who the app is: its id, or its client id, by which GitHub knows it as well.
fn issuer(reader: &mut Reader, credential: &str) -> Option<String> {
    const EXPECTED: &str = "`app_id`, a number, or `client_id`, such as \"Iv23liAbCdEf\": both stand on the app's page of settings";
    let [id, client] = ["app_id", "client_id"].map(|field| format!("credentials.{credential}.{field}"));
    let (app_id, client_id) = (reader.value(&id), reader.value(&client));
    match (app_id, client_id) {
        (None, None) => reader.problem(&id, "nothing", EXPECTED),
        (Some(_), Some(_)) => reader.problem(&client, "both `app_id` and `client_id`", "one of them"),
        (Some(toml::Value::String(text)), None) if is_client_id(&text) => {
            let told = ("a client id".to_owned(), EXPECTED.to_owned());
            reader.problem_with_hint(&id, told, Some("call it `client_id`".to_owned()));
        }
        (Some(_), None) => return Some(reader.number(&id, 0, 1..=i64::MAX.unsigned_abs()).to_string()).filter(|id| id != "0"),
        (None, Some(toml::Value::String(text))) if is_client_id(&text) => return Some(text),
        (None, Some(_)) => reader.problem(&client, "another value", EXPECTED),
    }
    None
}

fn is_client_id(text: &str) -> bool {
    let is_long = (8..=64).contains(&text.len());
    is_long && text.bytes().all(|byte| byte.is_ascii_alphanumeric() || byte == b'.') && !text.bytes().all(|byte| byte.is_ascii_digit())
}

fn installations(reader: &mut Reader, key: &str) -> Option<Vec<u64>> {
    let value = reader.value(key);
    let items = value.as_ref().and_then(toml::Value::as_array).filter(|items| (1..=INSTALLATIONS_MAX).contains(&items.len()));
    let ids: Option<Vec<u64>> =
        items.and_then(|items| items.iter().map(|item| item.as_integer().and_then(|id| u64::try_from(id).ok())).collect());
    if ids.is_none() {
        reader.problem(key, "no list of numbers", format!("the installations this tenant may use, 1 to {INSTALLATIONS_MAX} ids"));
    }
    ids
}

#[cfg(test)]
mod tests {
    use std::path::Path;

    use super::*;
    use crate::{config::SecretSources, delivery::TenantId};

    fn allowed(text: &str) -> Result<Allowed, Vec<String>> {
        let env = BTreeMap::from([
            ("HOOKYARD_SECRET_DEFAULT_TOKEN".to_owned(), "ghp_0123456789".to_owned()),
            ("HOOKYARD_SECRET_DEFAULT_SHORT".to_owned(), "short".to_owned()),
            ("HOOKYARD_SECRET_DEFAULT_KEY".to_owned(), include_str!("../../../tests/fixtures/github-app.pem").to_owned()),
            ("HOOKYARD_SECRET_DEFAULT_SLACK".to_owned(), "https://hooks.slack.com/services/T/B/x".to_owned()),
        ]);
        let home = tempfile::tempdir().unwrap();
        // Shortened in the tests below.
        let text = text.replace("env = \"", "env = \"HOOKYARD_SECRET_DEFAULT_");
        let mut reader = Reader::new(Path::new("tenant.toml"), text.parse().unwrap());
        let (sources, tenant) = (SecretSources::default(), TenantId::default_tenant());
        let allowed = read(&mut reader, Places { sources: &sources, tenant: &tenant, home: home.path(), env: &env });
        let (_, problems) = reader.finish();
        let words = |problem: crate::config::Problem| format!("{}: {}; expected {}", problem.key, problem.found, problem.expected);
        if problems.is_empty() { Ok(allowed) } else { Err(problems.into_iter().map(words).collect()) }
    }

    #[test]
    fn a_whole_file_is_read() {
        let allowed = allowed(
            r#"
            [credentials.github]
            kind = "github-token"
            token = { env = "TOKEN" }
            [credentials.slack]
            kind = "url"
            url = { env = "SLACK" }
            [credentials.partner]
            kind = "hmac"
            key = { env = "TOKEN" }
            [credentials.api]
            kind = "header"
            header = "X-Api-Key"
            value = { env = "TOKEN" }
            [[grants.http]]
            host = "api.github.com"
            methods = ["GET", "POST"]
            path_prefix = "/repos/acme/"
            credential = "github"
            [[grants.http]]
            methods = ["POST"]
            credential = "slack"
            [[grants.secrets]]
            credential = "partner"
            purposes = ["sign"]
            [egress]
            allow_addresses = ["10.1.0.0/16"]
            "#,
        )
        .unwrap();
        assert_eq!((allowed.credentials.len(), allowed.http.len(), allowed.secrets.len(), allowed.addresses.len()), (4, 2, 1, 1));
    }

    #[test]
    fn an_app_is_known_by_its_id_or_by_its_client_id() {
        let app = |who: &str| {
            let key = "private_key = { env = \"KEY\" }";
            allowed(&format!("[credentials.a]\nkind = \"github-app\"\n{who}\ninstallations = [7]\n{key}")).map(drop)
        };
        for good in ["app_id = 1", "client_id = \"Iv23liAbCdEf\"", "client_id = \"Iv1.0123456789abcdef\""] {
            assert_eq!(app(good), Ok(()), "{good}");
        }
        for (bad, part) in [
            ("", "`client_id`"),
            ("app_id = \"Iv23liAbCdEf\"", "a client id"),
            ("app_id = 1\nclient_id = \"Iv23liAbCdEf\"", "both"),
            ("client_id = 12345", "another value"),
            ("client_id = \"12345678\"", "another value"),
        ] {
            let problems = app(bad).unwrap_err().join("\n");
            assert!(problems.contains(part), "{bad}: {problems}");
        }
    }

    #[test]
    fn every_problem_is_told_and_no_secret_with_it() {
        for (text, part) in [
            ("[credentials.a]\ntoken = { env = \"TOKEN\" }", "credentials.a.kind"),
            ("[credentials.a]\nkind = \"github-token\"", "credentials.a.token"),
            ("[credentials.a]\nkind = \"github-token\"\ntoken = { env = \"SHORT\" }", "at least 8"),
            ("[credentials.a]\nkind = \"github-token\"\ntoken = { env = \"UNSET\" }", "not set"),
            ("[credentials.a]\nkind = \"github-token\"\ntoken = { file = \"/etc/hostname\" }", "beneath the tenant's folder"),
            ("[credentials.a]\nkind = \"url\"\nurl = { env = \"TOKEN\" }", "credentials.a.url"),
            ("[credentials.a]\nkind = \"github-app\"\napp_id = 1\ninstallations = []\nprivate_key = { env = \"TOKEN\" }", "installations"),
            ("[credentials.a]\nkind = \"github-app\"\napp_id = 1\ninstallations = [7]\nprivate_key = { env = \"TOKEN\" }", "PEM"),
            ("[credentials.a]\nkind = \"hmac\"\nkey = { env = \"TOKEN\" }\nkeyy = 1", "keyy"),
            ("[[grants.http]]\nhost = \"a.example\"\nmethods = [\"GET\"]\ncredential = \"b\"", "the credential `b`"),
            (
                "[credentials.a]\nkind = \"github-token\"\ntoken = { env = \"TOKEN\" }\n\
                 [[grants.http]]\nmethods = [\"GET\"]\ncredential = \"a\"",
                "grants.http[0].host",
            ),
            ("[[grants.http]]\nhost = \"a.example\"\nmethods = [\"GET\"]\nheaders = [\"X-Original-URL\"]", "grants.http[0]"),
            ("[[grants.http]]\nhost = \"https://a\"\nmethods = [\"GET\"]", "grants.http[0]"),
            ("[[grants.http]]\nhost = \"a\"\nmethods = [\"GET\"]\nallow = 1", "grants.http"),
            ("[[grants.secrets]]\ncredential = \"a\"\npurposes = [\"show\"]", "grants.secrets"),
            ("[egress]\nallow_addresses = [\"10.0.0.0/99\"]", "egress.allow_addresses"),
        ] {
            let problems = allowed(text).unwrap_err().join("\n");
            assert!(problems.contains(part), "{part} in {problems}");
            assert!(!problems.contains("ghp_"), "{problems}");
        }
    }
}
