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
