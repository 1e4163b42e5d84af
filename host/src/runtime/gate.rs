//! What a run reads and wants changed: an overlay over the store, or over nothing.
//!
//! Writes and events are collected and leave only with the settlement. Where the gate is dry there is no ledger in reach: a smoke run or a
//! replay has no effect because there is nothing it could have one on.

use std::{collections::BTreeMap, time::Duration};

use super::{Gate, reach::Requests, recording::Question};
use crate::{
    delivery::{Effects, Emit, KvRead, KvWrite, LegId, TenantId, Timestamp, view::Recorded},
    ledger::{KvValue, LedgerError, OnceStep},
};

/// Longest key of `kv` and `once`.
pub(super) const KEY_BYTES_MAX: usize = 512;
/// Longest value of `kv`, and longest answer of `once`.
pub(super) const VALUE_BYTES_MAX: usize = 64 * 1024;
/// Keys one run may write.
const WRITES_MAX: usize = 256;
/// Bytes of keys and values one run may have written at its end.
const WRITTEN_BYTES_MAX: usize = 1024 * 1024;
/// Steps of one delivery.
const STEPS_MAX: usize = 64;
/// Events of one run.
const EMITS_MAX: usize = 64;
/// Bytes of events of one run.
const EMITTED_BYTES_MAX: usize = 1024 * 1024;
/// Bytes of one event's body.
const EMIT_BYTES_MAX: usize = 256 * 1024;
/// Bytes of an event's media type.
const CONTENT_TYPE_BYTES_MAX: usize = 256;

/// Why a host call was not done; the wording of the WIT's enums.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Denial {
    InvalidName,
    TooLarge,
    Quota,
    Unavailable,
}

impl Denial {
    /// As it is recorded.
    pub(super) fn to_record(self) -> Recorded {
        Recorded::Failed { code: format!("{self:?}"), detail: String::new() }
    }

    /// As it was recorded; what nobody recorded is not available.
    fn recorded(recorded: Option<&Recorded>) -> Self {
        let Some(Recorded::Failed { code, .. }) = recorded else { return Self::Unavailable };
        let all = [Self::InvalidName, Self::TooLarge, Self::Quota, Self::Unavailable];
        all.into_iter().find(|denial| format!("{denial:?}") == *code).unwrap_or(Self::Unavailable)
    }
}

/// One run's view of the outside.
#[derive(Debug)]
pub(super) struct Overlay {
    pub(super) gate: Gate,
    tenant: TenantId,
    leg: LegId,
    started_at: Timestamp,
    read: BTreeMap<String, (u64, Option<Vec<u8>>)>,
    written: BTreeMap<String, KvWrite>,
    written_bytes: usize,
    emits: Vec<Emit>,
    emitted_bytes: usize,
    steps: BTreeMap<String, Option<Vec<u8>>>,
    pub(super) requests: Requests,
}

impl Overlay {
    /// Nothing read or written yet.
    pub(super) fn new(gate: Gate, tenant: TenantId, leg: LegId, started_at: Timestamp, wall: Duration) -> Self {
        let steps = if let Gate::Scripted(script) = &gate { script.steps.clone() } else { BTreeMap::new() };
        Self {
            gate,
            tenant,
            leg,
            started_at,
            read: BTreeMap::new(),
            written: BTreeMap::new(),
            written_bytes: 0,
            emits: Vec::new(),
            emitted_bytes: 0,
            steps,
            requests: Requests::within(wall),
        }
    }

    /// The value of a key: what this run wrote, else what it has read before, else what is stored.
    pub(super) fn get(&mut self, key: &str, question: &Question) -> Result<Option<Vec<u8>>, Denial> {
        check_key(key)?;
        if let Some(write) = self.written.get(key) {
            return Ok(write.value.clone());
        }
        if let Some((_, value)) = self.read.get(key) {
            return Ok(value.clone());
        }
        let stored = match &mut self.gate {
            Gate::Live(outside) => {
                outside.ledger.kv_get(&self.tenant, &self.leg.plugin, key).map_err(|error| unavailable("kv.get", &error))?
            }
            Gate::Dry => None,
            Gate::Scripted(script) => script.kv.get(key).map(|value| KvValue { value: value.clone(), version: 1 }),
            Gate::Replay(recording) => match recording.next(question) {
                Some(Recorded::Value(value)) => value.map(|value| KvValue { value: value.0, version: 1 }),
                other => return Err(Denial::recorded(other.as_ref())),
            },
        };
        let (version, value) = stored.map_or((0, None), |stored| (stored.version, Some(stored.value)));
        self.read.insert(key.to_owned(), (version, value.clone()));
        Ok(value)
    }

    /// Sets or, without a value, removes a key; committed with the settlement.
    pub(super) fn write(&mut self, key: &str, value: Option<Vec<u8>>, ttl_ms: Option<u64>) -> Result<(), Denial> {
        check_key(key)?;
        let size = value.as_ref().map_or(0, Vec::len);
        if size > VALUE_BYTES_MAX {
            return Err(Denial::TooLarge);
        }
        let replaced = self.written.get(key).map(|old| key.len() + old.value.as_ref().map_or(0, Vec::len));
        let written_bytes = self.written_bytes - replaced.unwrap_or(0) + key.len() + size;
        if written_bytes > WRITTEN_BYTES_MAX || (replaced.is_none() && self.written.len() >= WRITES_MAX) {
            return Err(Denial::Quota);
        }
        self.written_bytes = written_bytes;
        let expires_at = ttl_ms.map(|ms| self.started_at.after(Duration::from_millis(ms)));
        self.written.insert(key.to_owned(), KvWrite { key: key.to_owned(), value, expires_at });
        Ok(())
    }

    /// Collects an event.
    pub(super) fn emit(&mut self, name: String, content_type: String, body: Vec<u8>) -> Result<(), Denial> {
        if !is_emit_name(&name) {
            return Err(Denial::InvalidName);
        }
        if body.len() > EMIT_BYTES_MAX || content_type.len() > CONTENT_TYPE_BYTES_MAX {
            return Err(Denial::TooLarge);
        }
        if self.emits.len() >= EMITS_MAX || self.emitted_bytes + body.len() > EMITTED_BYTES_MAX {
            return Err(Denial::Quota);
        }
        self.emitted_bytes += body.len();
        self.emits.push(Emit { name, content_type, body });
        Ok(())
    }

    /// Begins a step, or tells what became of it.
    pub(super) async fn begin(&mut self, key: &str, question: &Question) -> Result<OnceStep, Denial> {
        check_key(key)?;
        if let Gate::Replay(recording) = &mut self.gate {
            return match recording.next(question) {
                Some(Recorded::Begun) => Ok(OnceStep::Begun),
                Some(Recorded::Done(answer)) => Ok(OnceStep::Done(answer.0)),
                Some(Recorded::Unknown) => Ok(OnceStep::Unknown),
                other => Err(Denial::recorded(other.as_ref())),
            };
        }
        if let Gate::Live(outside) = &self.gate {
            let step = outside.ledger.once_begin(&self.tenant, &self.leg, key).await.map_err(|error| unavailable("once.begin", &error))?;
            return if step == OnceStep::QuotaExceeded { Err(Denial::Quota) } else { Ok(step) };
        }
        match self.steps.get(key) {
            Some(Some(answer)) => return Ok(OnceStep::Done(answer.clone())),
            Some(None) => return Ok(OnceStep::Unknown),
            None if self.steps.len() >= STEPS_MAX => return Err(Denial::Quota),
            None => {}
        }
        self.steps.insert(key.to_owned(), None);
        Ok(OnceStep::Begun)
    }

    /// Records a step's answer.
    pub(super) async fn finish(&mut self, key: &str, answer: Vec<u8>, question: &Question) -> Result<(), Denial> {
        check_key(key)?;
        if answer.len() > VALUE_BYTES_MAX {
            return Err(Denial::TooLarge);
        }
        if let Gate::Replay(recording) = &mut self.gate {
            // Only a failure is recorded: a success has nothing to say.
            return recording.next(question).map_or(Ok(()), |failed| Err(Denial::recorded(Some(&failed))));
        }
        if let Gate::Live(outside) = &self.gate {
            return outside
                .ledger
                .once_finish(&self.tenant, &self.leg, key, answer)
                .await
                .map_err(|error| unavailable("once.finish", &error));
        }
        if !self.steps.contains_key(key) && self.steps.len() >= STEPS_MAX {
            return Err(Denial::Quota);
        }
        self.steps.insert(key.to_owned(), Some(answer));
        Ok(())
    }

    /// What is to be committed with the settlement.
    pub(super) fn into_effects(self) -> Effects {
        let kv_reads = self.read.into_iter().map(|(key, (version, _))| KvRead { key, version }).collect();
        Effects { kv_reads, kv_writes: self.written.into_values().collect(), emits: self.emits }
    }
}

fn check_key(key: &str) -> Result<(), Denial> {
    if key.len() > KEY_BYTES_MAX { Err(Denial::TooLarge) } else { Ok(()) }
}

fn is_emit_name(name: &str) -> bool {
    let bytes = name.as_bytes();
    (1..=63).contains(&bytes.len())
        && matches!(bytes[0], b'a'..=b'z' | b'0'..=b'9')
        && bytes.iter().all(|byte| matches!(byte, b'a'..=b'z' | b'0'..=b'9' | b'.' | b'_' | b'-'))
}

fn unavailable(call: &'static str, error: &LedgerError) -> Denial {
    tracing::warn!(call, %error, "host_call_unavailable");
    Denial::Unavailable
}

#[cfg(test)]
mod tests {
    use super::*;

    fn dry() -> Overlay {
        let leg = LegId { delivery: crate::delivery::DeliveryId::from_bytes([1; 16]), plugin: "counter".parse().unwrap() };
        Overlay::new(Gate::Dry, TenantId::default_tenant(), leg, Timestamp::from_unix_ms(1_000), Duration::from_secs(1))
    }

    fn asked(key: &str) -> Question {
        Question::new("kv.get", key.to_owned(), &[key.as_bytes()])
    }

    #[test]
    fn a_write_is_read_back_and_the_last_one_counts() {
        let mut overlay = dry();
        assert_eq!(overlay.get("n", &asked("n")), Ok(None));
        overlay.write("n", Some(b"1".to_vec()), None).unwrap();
        overlay.write("n", Some(b"2".to_vec()), Some(500)).unwrap();
        assert_eq!(overlay.get("n", &asked("n")), Ok(Some(b"2".to_vec())));
        let effects = overlay.into_effects();
        assert_eq!(effects.kv_reads, [KvRead { key: "n".to_owned(), version: 0 }]);
        assert_eq!(effects.kv_writes.len(), 1);
        assert_eq!(effects.kv_writes[0].expires_at, Some(Timestamp::from_unix_ms(1_500)));
    }

    #[test]
    fn keys_values_and_their_sum_are_bounded() {
        let mut overlay = dry();
        assert_eq!(overlay.get(&"k".repeat(513), &asked("k")), Err(Denial::TooLarge));
        assert_eq!(overlay.write("k", Some(vec![0; VALUE_BYTES_MAX + 1]), None), Err(Denial::TooLarge));
        for i in 0..15 {
            overlay.write(&i.to_string(), Some(vec![0; VALUE_BYTES_MAX]), None).unwrap();
        }
        assert_eq!(overlay.write("last", Some(vec![0; VALUE_BYTES_MAX]), None), Err(Denial::Quota));
        // Replacing a value frees what it replaces.
        overlay.write("0", None, None).unwrap();
        overlay.write("last", Some(vec![0; VALUE_BYTES_MAX]), None).unwrap();
    }

    #[test]
    fn events_are_named_and_bounded() {
        let mut overlay = dry();
        for bad in ["", ".a", "A", "a/b", &"x".repeat(64)] {
            assert_eq!(overlay.emit(bad.to_owned(), String::new(), Vec::new()), Err(Denial::InvalidName), "{bad}");
        }
        assert_eq!(overlay.emit("a".to_owned(), String::new(), vec![0; EMIT_BYTES_MAX + 1]), Err(Denial::TooLarge));
        for _ in 0..4 {
            overlay.emit("a.b-c_d".to_owned(), String::new(), vec![0; EMIT_BYTES_MAX]).unwrap();
        }
        assert_eq!(overlay.emit("a".to_owned(), String::new(), vec![0]), Err(Denial::Quota));
    }

    #[tokio::test]
    async fn a_dry_step_is_begun_then_unknown_then_done() {
        let mut overlay = dry();
        assert_eq!(overlay.begin("comment", &asked("comment")).await, Ok(OnceStep::Begun));
        assert_eq!(overlay.begin("comment", &asked("comment")).await, Ok(OnceStep::Unknown));
        overlay.finish("comment", b"42".to_vec(), &asked("comment")).await.unwrap();
        assert_eq!(overlay.begin("comment", &asked("comment")).await, Ok(OnceStep::Done(b"42".to_vec())));
    }
}
