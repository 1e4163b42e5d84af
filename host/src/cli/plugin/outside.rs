//! What a fixture says of the outside: what the store and earlier runs left, keys, and the requests that are expected with their answers.
//!
//! What the manifest asks for is taken as granted, with stand-ins for its credentials: a fixture needs no secret, and a request no grant covers
//! is denied as a host would deny it.

use std::{
    collections::{BTreeMap, VecDeque},
    sync::{Arc, mpsc},
};

use serde::Deserialize;
use serde_json::Value;

use super::expect::{Difference, compare_body, note};
use crate::{
    delivery::TenantId,
    egress::{Allowed, Asked, Credential, Reach, Request, Response, SendError},
    runtime::{Exchange, Gate, Script},
    signature::Secret,
};

/// What stands in for a token.
const TOKEN: &str = "stand-in-token";
/// What stands in for a URL that is a secret; nothing is ever sent there.
const URL: &str = "https://stand-in.invalid/";

/// The outside of one fixture, as it is written.
#[derive(Clone, Debug, Default)]
pub(super) struct Outside {
    /// Values: a text as it is, anything else as JSON.
    pub(super) kv: BTreeMap<String, Value>,
    pub(super) once: BTreeMap<String, Step>,
    /// Keys of credentials of kind `hmac`.
    pub(super) secrets: BTreeMap<String, String>,
    /// All requests, in order; they are neither answered nor compared where there is no list.
    pub(super) http: Option<Vec<Expected>>,
}

/// What an earlier run did of a step.
#[derive(Clone, Debug, Deserialize)]
#[serde(rename_all = "lowercase")]
pub(super) enum Step {
    /// It began it and never said how it ended.
    Unknown,
    /// It did it, with this answer.
    Done(String),
}

/// A request that is expected, and its answer.
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Expected {
    /// `POST https://…`; the method alone where the credential is itself the URL.
    request: String,
    /// The credential's name; not compared where absent.
    credential: Option<String>,
    /// The body's fields that are compared.
    body: Option<Value>,
    #[serde(default = "ok")]
    status: u16,
    #[serde(default)]
    headers: BTreeMap<String, String>,
    /// The answer's body: a text as it is, anything else as JSON.
    answer: Option<Value>,
    /// No answer, but this.
    error: Option<NoAnswer>,
}

#[derive(Clone, Copy, Debug, Deserialize)]
#[serde(rename_all = "kebab-case")]
enum NoAnswer {
    Denied,
    Timeout,
    TooLarge,
    Unavailable,
}

fn ok() -> u16 {
    200
}

impl Outside {
    /// What is wrong with it, in words.
    pub(super) fn check(&self) -> Result<(), String> {
        let stated = |expected: &&Expected| expected.error.is_some() && (expected.answer.is_some() || expected.status != ok());
        match self.http.iter().flatten().find(stated) {
            Some(both) => Err(format!("`{}` has both an `error` and an answer", both.request)),
            None => self.keys().map(drop),
        }
    }

    /// The gate of a run of a plugin that asks for this; what is sent can be read behind it.
    pub(super) fn gate(&self, asked: &Asked) -> Result<(Gate, mpsc::Receiver<Request>), String> {
        let (sent, requests) = mpsc::channel();
        let reach = Reach {
            tenant: TenantId::default_tenant(),
            asked: Arc::new(asked.clone()),
            allowed: Arc::new(self.allowed(asked)?),
            installation: None,
        };
        let script = Script {
            kv: self.kv.iter().map(|(key, value)| (key.clone(), bytes(value))).collect(),
            steps: self.once.iter().map(|(key, step)| (key.clone(), step.answer())).collect(),
            reach,
            exchanges: self.http.as_ref().map(|http| http.iter().map(Expected::exchange).collect::<VecDeque<_>>()),
            sent,
        };
        Ok((Gate::Scripted(Box::new(script)), requests))
    }

    /// What of the requests is not as expected.
    pub(super) fn differences(&self, sent: &[Request]) -> Vec<Difference> {
        let mut found = Vec::new();
        let Some(expected) = &self.http else { return found };
        for at in 0..expected.len().max(sent.len()) {
            let what = format!("http[{at}]");
            match (expected.get(at), sent.get(at)) {
                (Some(expected), Some(sent)) => expected.compare(&what, sent, &mut found),
                (Some(expected), None) => note(&mut found, &what, false, &expected.request, "nothing"),
                (None, Some(sent)) => note(&mut found, &what, false, "nothing", &line(sent)),
                (None, None) => {}
            }
        }
        found
    }

    fn allowed(&self, asked: &Asked) -> Result<Allowed, String> {
        let mut credentials = self.keys()?;
        for grant in &asked.http {
            let Some(name) = &grant.credential else { continue };
            // A grant without a host is for a credential that is one.
            let stand_in = if grant.host.is_some() { Credential::bearer(&secret(TOKEN)?) } else { Credential::url(&secret(URL)?) };
            credentials.entry(name.clone()).or_insert(stand_in?);
        }
        let mut http = asked.http.clone();
        for grant in &mut http {
            grant.allow_http = true;
        }
        Ok(Allowed { http, secrets: asked.secrets.clone(), credentials, addresses: Vec::new() })
    }

    fn keys(&self) -> Result<BTreeMap<String, Credential>, String> {
        let key = |(name, key): (&String, &String)| {
            let key = secret(key).and_then(|key| Credential::hmac(&key)).map_err(|problem| format!("secrets.{name}: {problem}"))?;
            Ok((name.clone(), key))
        };
        self.secrets.iter().map(key).collect()
    }
}

impl Step {
    fn answer(&self) -> Option<Vec<u8>> {
        match self {
            Self::Unknown => None,
            Self::Done(answer) => Some(answer.clone().into_bytes()),
        }
    }
}

impl Expected {
    fn exchange(&self) -> Exchange {
        let (method, url) = self.request.split_once(' ').unwrap_or((&self.request, ""));
        let answer = match self.error {
            None => Ok(Response {
                status: self.status,
                headers: self.headers.iter().map(|(name, value)| (name.to_ascii_lowercase(), value.clone())).collect(),
                body: self.answer.as_ref().map(bytes).unwrap_or_default(),
                truncated: false,
            }),
            Some(NoAnswer::Timeout) => Err(SendError::Timeout),
            Some(NoAnswer::TooLarge) => Err(SendError::TooLarge),
            Some(NoAnswer::Denied) => Err(SendError::Denied("the fixture denies it".to_owned())),
            Some(NoAnswer::Unavailable) => Err(SendError::Unavailable("the fixture lets nobody answer".to_owned())),
        };
        Exchange { method: method.to_owned(), url: url.trim().to_owned(), answer }
    }

    fn compare(&self, what: &str, sent: &Request, found: &mut Vec<Difference>) {
        let (expected, line) = (self.request.trim(), line(sent));
        note(found, what, expected == line, expected, &line);
        if let Some(credential) = &self.credential {
            let sent = sent.credential.as_deref().unwrap_or("none");
            note(found, &format!("{what}.credential"), credential == sent, credential, sent);
        }
        if let Some(body) = &self.body {
            compare_body(&format!("{what}.body"), body, &sent.body, found);
        }
    }
}

/// Method and URL.
fn line(request: &Request) -> String {
    format!("{} {}", request.method, request.url).trim_end().to_owned()
}

/// A text as it is, anything else as JSON.
fn bytes(value: &Value) -> Vec<u8> {
    match value {
        Value::String(text) => text.clone().into_bytes(),
        other => other.to_string().into_bytes(),
    }
}

fn secret(text: &str) -> Result<Secret, String> {
    Secret::new(text).ok_or_else(|| "it is empty".to_owned())
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    const LABELS: &str = "https://api.github.com/repos/acme/shop/issues/7/labels";

    fn outside(http: &str) -> Outside {
        #[derive(Deserialize)]
        struct Written {
            http: Option<Vec<Expected>>,
        }
        Outside { http: toml::from_str::<Written>(http).unwrap().http, ..Outside::default() }
    }

    fn sent(method: &str, url: &str, body: &Value) -> Request {
        let credential = Some("github".to_owned());
        Request { method: method.into(), url: url.into(), headers: Vec::new(), body: body.to_string().into_bytes(), credential }
    }

    fn differences(http: &str, sent: &[Request]) -> Vec<String> {
        outside(http).differences(sent).into_iter().map(|difference| difference.what).collect()
    }

    #[test]
    fn requests_are_compared_in_order_by_method_url_credential_and_the_fields_that_are_named() {
        let written = format!("[[http]]\nrequest = \"POST {LABELS}\"\ncredential = \"github\"\nbody = {{ labels = [\"bug\"] }}\n");
        assert_eq!(differences(&written, &[sent("POST", LABELS, &json!({"labels": ["bug"], "more": 1}))]), [""; 0]);
        assert_eq!(differences(&written, &[sent("POST", LABELS, &json!({"labels": []}))]), ["http[0].body.labels"]);
        assert_eq!(differences(&written, &[sent("PUT", LABELS, &json!({"labels": ["bug"]}))]), ["http[0]"]);
        assert_eq!(differences(&written, &[]), ["http[0]"]);
        let twice = [sent("POST", LABELS, &json!({"labels": ["bug"]})), sent("GET", LABELS, &json!(null))];
        assert_eq!(differences(&written, &twice), ["http[1]"]);
        let other = written.replace("\"github\"", "\"slack\"");
        assert_eq!(differences(&other, &twice[..1]), ["http[0].credential"]);
    }

    #[test]
    fn without_a_list_nothing_is_compared_and_an_empty_one_expects_nothing() {
        let one = [sent("GET", LABELS, &json!(null))];
        assert_eq!(differences("", &one), [""; 0]);
        assert_eq!(differences("http = []", &one), ["http[0]"]);
    }

    #[test]
    fn an_answer_is_a_text_or_json_or_none_at_all() {
        let written = "[[http]]\nrequest = \"GET https://a/\"\nstatus = 403\nheaders = { Retry-After = \"7\" }\nanswer = { message = \"no\" }\n\
                       [[http]]\nrequest = \"POST\"\nerror = \"timeout\"\n";
        let exchanges: Vec<Exchange> = outside(written).http.unwrap().iter().map(Expected::exchange).collect();
        let answer = exchanges[0].answer.as_ref().unwrap();
        assert_eq!((answer.status, answer.body.as_slice()), (403, br#"{"message":"no"}"#.as_slice()));
        assert_eq!(answer.headers, [("retry-after".to_owned(), "7".to_owned())]);
        assert_eq!((exchanges[1].method.as_str(), exchanges[1].url.as_str()), ("POST", ""));
        assert_eq!(exchanges[1].answer, Err(SendError::Timeout));
    }

    #[test]
    fn a_key_that_no_tenant_could_have_and_an_error_with_an_answer_are_problems() {
        let short = Outside { secrets: BTreeMap::from([("partner".into(), "short".into())]), ..Outside::default() };
        assert!(short.check().unwrap_err().contains("secrets.partner"));
        let both = outside("[[http]]\nrequest = \"GET https://a/\"\nerror = \"timeout\"\nstatus = 500\n");
        assert!(both.check().unwrap_err().contains("both"));
    }
}
