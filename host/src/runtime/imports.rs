//! The host's side of the contract: what a guest may call.
//!
//! `log`, `config`, `kv`, `once` and `emit` are free; `http` and `secrets` need grants, which are looked at again with every call. Every call is counted and, logging apart, recorded with the attempt.

use serde_json::Value;
use wasmtime::{
    Result,
    component::{HasData, Linker},
};

use std::time::Duration;

use super::{
    bindings::hookyard::plugin::{config, emit, http, kv, log, once, secrets},
    gate::Denial,
    reach::{self, in_short},
    recording::{Question, failure},
    state::State,
};
use crate::{
    delivery::view::{Blob, Recorded},
    egress::{Request, SendError},
    ledger::OnceStep,
};

/// Interfaces every plugin may import. `types` holds values only.
pub(super) const FREE: [&str; 6] = ["config", "emit", "kv", "log", "once", "types"];

struct Imports;

impl HasData for Imports {
    type Data<'a> = &'a mut State;
}

/// Links the interfaces this host offers.
pub(super) fn link(linker: &mut Linker<State>) -> Result<()> {
    log::add_to_linker::<State, Imports>(linker, |state| state)?;
    config::add_to_linker::<State, Imports>(linker, |state| state)?;
    kv::add_to_linker::<State, Imports>(linker, |state| state)?;
    once::add_to_linker::<State, Imports>(linker, |state| state)?;
    emit::add_to_linker::<State, Imports>(linker, |state| state)?;
    secrets::add_to_linker::<State, Imports>(linker, |state| state)?;
    http::add_to_linker::<State, Imports>(linker, |state| state)
}

impl log::Host for State {
    fn write(&mut self, level: log::Level, message: String, fields: Vec<(String, String)>) -> Result<()> {
        self.count_log_call()?;
        self.drain_output();
        let level = match level {
            log::Level::Trace => "trace",
            log::Level::Debug => "debug",
            log::Level::Info => "info",
            log::Level::Warn => "warn",
            log::Level::Error => "error",
        };
        self.log.write(level, &message, &fields);
        Ok(())
    }
}

impl config::Host for State {
    fn get(&mut self, key: String) -> Result<Option<String>> {
        self.count_call()?;
        let value = lookup(&self.config, &key);
        self.journal.record(Question::told("config.get", key), value.as_deref().unwrap_or("none"), None);
        Ok(value)
    }

    fn document(&mut self) -> Result<String> {
        self.count_call()?;
        let document = self.config.to_string();
        self.journal.record(Question::told("config.document", String::new()), &document, None);
        Ok(document)
    }
}

impl kv::Host for State {
    fn get(&mut self, key: String) -> Result<Result<Option<Vec<u8>>, kv::Error>> {
        self.count_call()?;
        let question = Question::new("kv.get", key.clone(), &[key.as_bytes()]);
        let answer = self.overlay.get(&key, &question);
        let (shown, recorded) = match &answer {
            Ok(value) => {
                let shown = value.as_ref().map(|value| String::from_utf8_lossy(&value[..value.len().min(1024)]).into_owned());
                (shown.unwrap_or_else(|| "none".to_owned()), Recorded::Value(value.clone().map(Blob)))
            }
            Err(denial) => (format!("{denial:?}"), denial.to_record()),
        };
        self.journal.record(question, &shown, Some(recorded));
        Ok(answer.map_err(kv::Error::from))
    }

    fn set(&mut self, key: String, value: Vec<u8>, ttl_ms: Option<u64>) -> Result<Result<(), kv::Error>> {
        self.count_call()?;
        let exact = [key.as_bytes(), &value, &ttl_ms.unwrap_or(u64::MAX).to_le_bytes()];
        let question = Question::new("kv.set", format!("{key}{}", in_short(&value)), &exact);
        let answer = self.overlay.write(&key, Some(value), ttl_ms);
        self.journal.record(question, &shown(answer), None);
        Ok(answer.map_err(kv::Error::from))
    }

    fn delete(&mut self, key: String) -> Result<Result<(), kv::Error>> {
        self.count_call()?;
        let answer = self.overlay.write(&key, None, None);
        self.journal.record(Question::new("kv.delete", key.clone(), &[key.as_bytes()]), &shown(answer), None);
        Ok(answer.map_err(kv::Error::from))
    }
}

impl once::Host for State {
    async fn begin(&mut self, key: String) -> Result<Result<once::Step, once::Error>> {
        self.count_call()?;
        let question = Question::new("once.begin", key.clone(), &[key.as_bytes()]);
        let step = self.overlay.begin(&key, &question).await;
        let (shown, recorded, answer) = match step {
            Ok(OnceStep::Begun) => ("begun".to_owned(), Recorded::Begun, Ok(once::Step::Begun)),
            Ok(OnceStep::Unknown) => ("unknown".to_owned(), Recorded::Unknown, Ok(once::Step::Unknown)),
            Ok(OnceStep::Done(answer)) => {
                (format!("done ({} bytes)", answer.len()), Recorded::Done(Blob(answer.clone())), Ok(once::Step::Done(answer)))
            }
            Ok(OnceStep::QuotaExceeded) => (format!("{:?}", Denial::Quota), Denial::Quota.to_record(), Err(Denial::Quota)),
            Err(denial) => (format!("{denial:?}"), denial.to_record(), Err(denial)),
        };
        self.journal.record(question, &shown, Some(recorded));
        Ok(answer.map_err(once::Error::from))
    }

    async fn finish(&mut self, key: String, answer: Vec<u8>) -> Result<Result<(), once::Error>> {
        self.count_call()?;
        let question = Question::new("once.finish", format!("{key}{}", in_short(&answer)), &[key.as_bytes(), &answer]);
        let answer = self.overlay.finish(&key, answer, &question).await;
        self.journal.record(question, &shown(answer), answer.err().map(Denial::to_record));
        Ok(answer.map_err(once::Error::from))
    }
}

impl emit::Host for State {
    fn publish(&mut self, name: String, content_type: String, body: Vec<u8>) -> Result<Result<(), emit::Error>> {
        self.count_call()?;
        let exact = [name.as_bytes(), content_type.as_bytes(), &body];
        let question = Question::new("emit.publish", format!("{name}{}", in_short(&body)), &exact);
        let answer = self.overlay.emit(name, content_type, body);
        self.journal.record(question, &shown(answer), None);
        Ok(answer.map_err(emit::Error::from))
    }
}

impl secrets::Host for State {
    fn hmac_sha256(&mut self, name: String, data: Vec<u8>) -> Result<Result<Vec<u8>, secrets::Error>> {
        self.count_call()?;
        let question = Question::new("secrets.hmac-sha256", format!("{name} ({} bytes)", data.len()), &[name.as_bytes(), &data]);
        let answer = self.overlay.sign(&name, &data, &question);
        let shown = answer.as_ref().map_or_else(|error| format!("Denied: {error}"), |_| "ok".to_owned());
        let recorded = answer.as_ref().map_or_else(failure, |tag| Recorded::Tag(Blob(tag.clone())));
        self.journal.record(question, &shown, Some(recorded));
        Ok(answer.map_err(|error| secrets::Error::Denied(error.to_string())))
    }

    fn verify_hmac_sha256(&mut self, name: String, data: Vec<u8>, tag: Vec<u8>) -> Result<Result<bool, secrets::Error>> {
        self.count_call()?;
        let exact = [name.as_bytes(), &data, &tag];
        let question = Question::new("secrets.verify-hmac-sha256", format!("{name} ({} bytes)", data.len()), &exact);
        let answer = self.overlay.verify((&name, &data, &tag), &question);
        let shown = answer.as_ref().map_or_else(|error| format!("Denied: {error}"), ToString::to_string);
        let recorded = answer.as_ref().map_or_else(failure, |truth| Recorded::Verified(*truth));
        self.journal.record(question, &shown, Some(recorded));
        Ok(answer.map_err(|error| secrets::Error::Denied(error.to_string())))
    }
}

impl http::Host for State {
    async fn send(&mut self, request: http::Request) -> Result<Result<http::Response, http::Error>> {
        self.count_call()?;
        let timeout = request.timeout_ms.map(|ms| Duration::from_millis(ms.into()));
        let http::Request { method, url, headers, body, credential, .. } = request;
        let request = Request { method, url, headers, body: body.unwrap_or_default(), credential };
        let question = reach::question(&request);
        let answer = self.overlay.send(request, timeout, &question).await;
        let (shown, recorded) = reach::answered(&answer);
        self.journal.record(question, &shown, Some(recorded));
        let answer = answer.map(|answer| http::Response {
            status: answer.status,
            headers: answer.headers,
            body: answer.body,
            truncated: answer.truncated,
        });
        Ok(answer.map_err(http::Error::from))
    }
}

impl From<SendError> for http::Error {
    fn from(error: SendError) -> Self {
        match error {
            SendError::Denied(why) => Self::Denied(why),
            SendError::Timeout => Self::Timeout,
            SendError::TooLarge => Self::TooLarge,
            SendError::Unavailable(why) | SendError::Unreachable(why) => Self::Unavailable(why),
        }
    }
}

impl From<Denial> for kv::Error {
    fn from(denial: Denial) -> Self {
        match denial {
            Denial::TooLarge | Denial::InvalidName => Self::TooLarge,
            Denial::Quota => Self::Quota,
            Denial::Unavailable => Self::Unavailable,
        }
    }
}

impl From<Denial> for once::Error {
    fn from(denial: Denial) -> Self {
        match denial {
            Denial::TooLarge | Denial::InvalidName => Self::TooLarge,
            Denial::Quota => Self::Quota,
            Denial::Unavailable => Self::Unavailable,
        }
    }
}

impl From<Denial> for emit::Error {
    fn from(denial: Denial) -> Self {
        match denial {
            Denial::InvalidName => Self::InvalidName,
            Denial::TooLarge => Self::TooLarge,
            Denial::Quota | Denial::Unavailable => Self::Quota,
        }
    }
}

fn shown(answer: Result<(), Denial>) -> String {
    answer.map_or_else(|denial| format!("{denial:?}"), |()| "ok".to_owned())
}

/// A key's value: the whole key first, then dot by dot into tables.
fn lookup(config: &Value, key: &str) -> Option<String> {
    let value = config.get(key).or_else(|| key.split('.').try_fold(config, |table, part| table.get(part)))?;
    Some(match value {
        Value::String(text) => text.clone(),
        other => other.to_string(),
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_string_is_given_as_it_is_anything_else_as_json_and_dots_reach_into_tables() {
        let config = serde_json::json!({ "name": "x", "labels": { "small": 10, "on": true }, "a.b": "whole" });
        assert_eq!(lookup(&config, "name").as_deref(), Some("x"));
        assert_eq!(lookup(&config, "labels.small").as_deref(), Some("10"));
        assert_eq!(lookup(&config, "labels").as_deref(), Some(r#"{"on":true,"small":10}"#));
        assert_eq!(lookup(&config, "a.b").as_deref(), Some("whole"));
        assert_eq!(lookup(&config, "labels.large"), None);
        assert_eq!(lookup(&config, "name.x"), None);
    }
}
