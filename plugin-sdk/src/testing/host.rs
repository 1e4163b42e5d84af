//! The host calls of a test run, with the contract's bounds.

use super::{Emit, Log, RUNNING};

const KEY_BYTES_MAX: usize = 512;
const VALUE_BYTES_MAX: usize = 64 * 1024;

pub(crate) mod log {
    use super::{Log, RUNNING};
    use crate::log::Level;

    pub(crate) fn write(level: Level, message: &str, fields: &[(String, String)]) {
        let line = Log { level, message: message.to_owned(), fields: fields.to_vec() };
        RUNNING.with_borrow_mut(|running| running.logs.push(line));
    }
}

pub(crate) mod config {
    use serde_json::Value;

    use super::RUNNING;

    pub(crate) fn get(key: &str) -> Option<String> {
        RUNNING.with_borrow(|running| {
            let found = key.split('.').try_fold(&running.host.config, |table, part| table.get(part))?;
            Some(found.as_str().map_or_else(|| found.to_string(), str::to_owned))
        })
    }

    pub(crate) fn document() -> String {
        RUNNING.with_borrow(|running| match &running.host.config {
            Value::Null => "{}".to_owned(),
            table => table.to_string(),
        })
    }
}

pub(crate) mod kv {
    use super::{KEY_BYTES_MAX, RUNNING, VALUE_BYTES_MAX};
    use crate::bindings::hookyard::plugin::kv::Error;

    fn within(key: &str, value: &[u8]) -> Result<(), Error> {
        if key.len() > KEY_BYTES_MAX || value.len() > VALUE_BYTES_MAX { Err(Error::TooLarge) } else { Ok(()) }
    }

    pub(crate) fn get(key: &str) -> Result<Option<Vec<u8>>, Error> {
        within(key, &[])?;
        Ok(RUNNING.with_borrow(|running| running.host.kv.get(key).cloned()))
    }

    pub(crate) fn set(key: &str, value: &[u8], _ttl_ms: Option<u64>) -> Result<(), Error> {
        within(key, value)?;
        RUNNING.with_borrow_mut(|running| running.host.kv.insert(key.to_owned(), value.to_owned()));
        Ok(())
    }

    pub(crate) fn delete(key: &str) -> Result<(), Error> {
        within(key, &[])?;
        RUNNING.with_borrow_mut(|running| running.host.kv.remove(key));
        Ok(())
    }
}

pub(crate) mod once {
    use super::{KEY_BYTES_MAX, RUNNING, VALUE_BYTES_MAX};
    use crate::bindings::hookyard::plugin::once::{Error, Step};

    const STEPS_MAX: usize = 64;

    pub(crate) fn begin(key: &str) -> Result<Step, Error> {
        if key.len() > KEY_BYTES_MAX {
            return Err(Error::TooLarge);
        }
        RUNNING.with_borrow_mut(|running| {
            let steps = &mut running.host.once;
            match steps.get(key) {
                Some(Some(answer)) => Ok(Step::Done(answer.clone())),
                Some(None) => Ok(Step::Unknown),
                None if steps.len() >= STEPS_MAX => Err(Error::Quota),
                None => {
                    steps.insert(key.to_owned(), None);
                    Ok(Step::Begun)
                }
            }
        })
    }

    pub(crate) fn finish(key: &str, answer: &[u8]) -> Result<(), Error> {
        if key.len() > KEY_BYTES_MAX || answer.len() > VALUE_BYTES_MAX {
            return Err(Error::TooLarge);
        }
        RUNNING.with_borrow_mut(|running| running.host.once.insert(key.to_owned(), Some(answer.to_owned())));
        Ok(())
    }
}

pub(crate) mod http {
    use super::{
        super::{SentRequest, Server},
        RUNNING,
    };
    use crate::{
        bindings::hookyard::plugin::http::{Error, Request, Response},
        http::HttpError,
    };

    const BODY_BYTES_MAX: usize = 1024 * 1024;
    const REQUESTS_MAX: usize = 100;
    /// The host's own; the whole list is in `docs/capabilities.md`.
    const REFUSED: [&str; 6] = ["authorization", "cookie", "host", "proxy-authorization", "content-length", "transfer-encoding"];

    pub(crate) fn send(request: &Request) -> Result<Response, Error> {
        if let Some((name, _)) = request.headers.iter().find(|(name, _)| REFUSED.contains(&name.to_ascii_lowercase().as_str())) {
            return Err(Error::Denied(format!("the header `{name}` is the host's own")));
        }
        if request.body.as_ref().is_some_and(|body| body.len() > BODY_BYTES_MAX) {
            return Err(Error::TooLarge);
        }
        let sent = SentRequest::of(request);
        let server: Option<Server> = RUNNING.with_borrow_mut(|running| {
            running.requests.push(sent.clone());
            if running.requests.len() > REQUESTS_MAX { None } else { running.host.server.clone() }
        });
        // Outside the borrow: what answers may look at the store.
        let Some(Server(answer)) = server else {
            return Err(Error::Unavailable("nothing answers in this test: see `testing::Host::answering`".to_owned()));
        };
        match answer(&sent) {
            Ok(answer) => Ok(Response { status: answer.status, headers: answer.headers, body: answer.body, truncated: answer.truncated }),
            Err(HttpError::Timeout) => Err(Error::Timeout),
            Err(HttpError::TooLarge) => Err(Error::TooLarge),
            Err(HttpError::Denied(why)) => Err(Error::Denied(why)),
            Err(other) => Err(Error::Unavailable(other.to_string())),
        }
    }
}

pub(crate) mod secrets {
    use hmac::{Hmac, Mac as _};
    use sha2::Sha256;

    use super::RUNNING;
    use crate::bindings::hookyard::plugin::secrets::Error;

    fn mac(name: &str, data: &[u8]) -> Result<Hmac<Sha256>, Error> {
        let key = RUNNING.with_borrow(|running| running.host.secrets.get(name).cloned());
        let key = key.ok_or_else(|| Error::Denied(format!("no credential `{name}` of kind `hmac` is granted")))?;
        let mac = Hmac::<Sha256>::new_from_slice(&key).map_err(|error| Error::Denied(error.to_string()))?;
        Ok(mac.chain_update(data))
    }

    pub(crate) fn hmac_sha256(name: &str, data: &[u8]) -> Result<Vec<u8>, Error> {
        Ok(mac(name, data)?.finalize().into_bytes().to_vec())
    }

    pub(crate) fn verify_hmac_sha256(name: &str, data: &[u8], tag: &[u8]) -> Result<bool, Error> {
        Ok(mac(name, data)?.verify_slice(tag).is_ok())
    }
}

pub(crate) mod emit {
    use super::{Emit, RUNNING};
    use crate::bindings::hookyard::plugin::emit::Error;

    const BODY_BYTES_MAX: usize = 256 * 1024;
    const RUN_BYTES_MAX: usize = 1024 * 1024;
    const EVENTS_MAX: usize = 64;

    pub(crate) fn publish(name: &str, content_type: &str, body: &[u8]) -> Result<(), Error> {
        if !is_name(name) {
            return Err(Error::InvalidName);
        }
        if body.len() > BODY_BYTES_MAX {
            return Err(Error::TooLarge);
        }
        RUNNING.with_borrow_mut(|running| {
            let emitted: usize = running.emits.iter().map(|emit| emit.body.len()).sum();
            if running.emits.len() >= EVENTS_MAX || emitted + body.len() > RUN_BYTES_MAX {
                return Err(Error::Quota);
            }
            running.emits.push(Emit { name: name.to_owned(), content_type: content_type.to_owned(), body: body.to_owned() });
            Ok(())
        })
    }

    fn is_name(name: &str) -> bool {
        let first = name.bytes().next().is_some_and(|b| b.is_ascii_lowercase() || b.is_ascii_digit());
        first && name.len() <= 63 && name.bytes().all(|b| matches!(b, b'a'..=b'z' | b'0'..=b'9' | b'.' | b'_' | b'-'))
    }
}
