//! A leg as a message: the delivery in the body, how far the leg has come in the headers.
//!
//! The body never changes, so it is passed on as it came: three bytes of name, one of version, the length of a JSON head, the head, the
//! document compressed with zstd. A version with the same first number may have more fields in its head, which are ignored; one with another
//! first number is left to hosts that know it. Whoever may write to the broker can write anything, so every length is checked before it is
//! believed and nothing is decompressed past what the head declares.

use std::{
    collections::BTreeMap,
    fmt,
    sync::{Mutex, PoisonError},
};

use bytes::Bytes;
use lapin::types::{AMQPValue, FieldTable};
use serde::{Deserialize, Serialize};
use sha2::{Digest as _, Sha256};
use zstd::bulk::Decompressor;

use super::{
    names::Names,
    publisher::{HeaderValue, Message},
};
use crate::{
    delivery::{BodyEncoding, Delivery, DeliveryId, Header, LegId, PluginName, SourceId, TenantId, Timestamp},
    ledger::{Arrival, Death, Outbound, Position},
};

const MAGIC: &[u8; 3] = b"HKY";
/// The first number of the version written and read.
const MAJOR: u8 = 1;
/// A head: names and the kept request headers.
const HEAD_BYTES_MAX: usize = 256 * 1024;
/// Decompressors kept for reuse.
const KEPT_MAX: usize = 8;
/// A document; far above what a provider sends.
const DOCUMENT_BYTES_MAX: u64 = 128 * 1024 * 1024;
const CONTENT_TYPE: &str = "application/vnd.hookyard.leg";

const TENANT: &str = "hookyard-tenant";
const PLUGIN: &str = "hookyard-plugin";
const GENERATION: &str = "hookyard-generation";
const RUNS: &str = "hookyard-runs";
const ATTEMPTS: &str = "hookyard-attempts";
const CRASHES: &str = "hookyard-crashes";
const DUE_MS: &str = "hookyard-due-ms";
const ORIGIN: &str = "hookyard-origin";
const REASON: &str = "hookyard-reason";
const OUTCOME: &str = "hookyard-outcome";
const DETAIL: &str = "hookyard-detail";
const TRACE: &str = "traceparent";
/// Words of an outcome that travel with a dead letter.
const DETAIL_BYTES_MAX: usize = 4096;

/// Headers are names of ours or nothing: what RabbitMQ adds on its ways (`x-death` and the like) is not passed on, or a leg that is retried
/// often would be taken for a message in a circle, and dropped.
const PASSED_ON: [&str; 8] = [TENANT, PLUGIN, GENERATION, RUNS, ATTEMPTS, CRASHES, ORIGIN, TRACE];

/// Why a message is no leg, in words for the operator.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Unreadable {
    /// Written by a host of a later kind: it is passed on until one of those takes it.
    #[error("it has envelope version {0}, this host reads {MAJOR}: upgrade this host, or keep one that can read it")]
    Newer(u8),
    /// Not a leg of ours.
    #[error("{0}")]
    Foreign(&'static str),
}

#[derive(Debug, Serialize, Deserialize)]
struct Head {
    tenant: TenantId,
    plugin: PluginName,
    id: DeliveryId,
    source: SourceId,
    provider_id: String,
    hook_id: Option<String>,
    event: String,
    action: Option<String>,
    repository: Option<String>,
    installation_id: Option<u64>,
    received_ms: i64,
    form: bool,
    headers: Vec<Header>,
    body_sha256: [u8; 32],
    document_sha256: [u8; 32],
    document_bytes: u64,
}

/// The headers of a message that are ours.
#[derive(Clone, Debug, Default)]
pub struct Headers(BTreeMap<&'static str, HeaderValue>);

/// Reads messages, with decompressors that are reused: making one costs more than a usual body does.
#[derive(Default)]
pub struct Decoder(Mutex<Vec<Decompressor<'static>>>);

/// The message of a leg to `exchange`.
pub(super) fn encode(outbound: &Outbound, origin: u64, (exchange, routing_key): (String, String)) -> Message {
    let delivery = &outbound.delivery;
    let head = Head {
        tenant: delivery.tenant.clone(),
        plugin: outbound.leg.plugin.clone(),
        id: delivery.id,
        source: delivery.source.clone(),
        provider_id: delivery.provider_id.clone(),
        hook_id: delivery.hook_id.clone(),
        event: delivery.event.clone(),
        action: delivery.action.clone(),
        repository: delivery.repository.clone(),
        installation_id: delivery.installation_id,
        received_ms: delivery.received_at.unix_ms(),
        form: delivery.encoding == BodyEncoding::Form,
        headers: delivery.headers.clone(),
        body_sha256: delivery.body_sha256,
        document_sha256: document_sha256(delivery),
        document_bytes: delivery.document.len() as u64,
    };
    let head = serde_json::to_vec(&head).unwrap_or_default();
    let mut body = Vec::with_capacity(8 + head.len() + outbound.compressed.len());
    body.extend_from_slice(MAGIC);
    body.push(MAJOR);
    body.extend_from_slice(&u32::try_from(head.len()).unwrap_or(u32::MAX).to_le_bytes());
    body.extend_from_slice(&head);
    body.extend_from_slice(&outbound.compressed);
    Message {
        exchange,
        routing_key,
        message_id: format!("{}.{}.{}", outbound.leg, outbound.position.generation, outbound.position.runs),
        content_type: CONTENT_TYPE,
        headers: headers(outbound, origin),
        body: body.into(),
    }
}

/// A JSON body is its document, and was hashed when it was accepted.
fn document_sha256(delivery: &Delivery) -> [u8; 32] {
    match delivery.encoding {
        BodyEncoding::Json => delivery.body_sha256,
        BodyEncoding::Form => Sha256::digest(&delivery.document).into(),
    }
}

fn headers(outbound: &Outbound, origin: u64) -> Vec<(&'static str, HeaderValue)> {
    let Position { generation, runs, attempts, crashes } = outbound.position;
    let text = |text: &str| HeaderValue::Text(text.to_owned());
    let mut headers = vec![
        (TENANT, text(outbound.delivery.tenant.as_str())),
        (PLUGIN, text(outbound.leg.plugin.as_str())),
        (GENERATION, HeaderValue::Number(generation.into())),
        (RUNS, HeaderValue::Number(runs.cast_signed())),
        (ATTEMPTS, HeaderValue::Number(attempts.into())),
        (CRASHES, HeaderValue::Number(crashes.into())),
        (ORIGIN, HeaderValue::Number(origin.cast_signed())),
        // The delivery is the trace, each message of it a span.
        (TRACE, HeaderValue::Text(format!("00-{}-{:016x}-01", outbound.leg.delivery, fastrand::u64(1..)))),
    ];
    if let Some(due_at) = outbound.due_at {
        headers.push((DUE_MS, HeaderValue::Number(due_at.unix_ms())));
    }
    if let Some(Death { reason, outcome, detail }) = &outbound.death {
        let detail = &detail[..detail.floor_char_boundary(DETAIL_BYTES_MAX)];
        headers.extend([(REASON, text(reason)), (OUTCOME, text(outcome)), (DETAIL, text(detail))]);
    }
    headers
}

impl Decoder {
    /// The leg of a message.
    pub fn decode(&self, body: &Bytes, headers: &Headers) -> Result<Arrival, Unreadable> {
        let foreign = Unreadable::Foreign;
        let rest = body.strip_prefix(MAGIC).ok_or(foreign("it does not begin like an envelope"))?;
        let (major, rest) = rest.split_first().ok_or(foreign("it ends in its version"))?;
        if *major != MAJOR {
            return Err(if *major > MAJOR { Unreadable::Newer(*major) } else { foreign("it has an envelope version there never was") });
        }
        let (length, rest) = rest.split_first_chunk::<4>().ok_or(foreign("it ends in the length of its head"))?;
        let length = usize::try_from(u32::from_le_bytes(*length)).unwrap_or(usize::MAX);
        if length > HEAD_BYTES_MAX || length > rest.len() {
            return Err(foreign("its head is longer than it or longer than any"));
        }
        let (head, compressed) = rest.split_at(length);
        let head: Head = serde_json::from_slice(head).map_err(|_| foreign("its head cannot be read"))?;
        if head.document_bytes > DOCUMENT_BYTES_MAX {
            return Err(foreign("it declares a document larger than any"));
        }
        let document = self.decompress(compressed, usize::try_from(head.document_bytes).unwrap_or(usize::MAX));
        let is_whole = document.as_ref().is_some_and(|document| Sha256::digest(document)[..] == head.document_sha256);
        let leg = LegId { delivery: head.id, plugin: head.plugin };
        let delivery = Delivery {
            id: head.id,
            tenant: head.tenant,
            source: head.source,
            provider_id: head.provider_id,
            hook_id: head.hook_id,
            event: head.event,
            action: head.action,
            repository: head.repository,
            installation_id: head.installation_id,
            received_at: Timestamp::from_unix_ms(head.received_ms),
            sequence: 0,
            encoding: if head.form { BodyEncoding::Form } else { BodyEncoding::Json },
            headers: head.headers,
            document: document.filter(|_| is_whole).unwrap_or_default(),
            raw: None,
            body_sha256: head.body_sha256,
        };
        let position = headers.position().ok_or(foreign("its headers do not say how far the leg has come"))?;
        Ok(Arrival { leg, delivery, compressed: body.slice_ref(compressed), position, body_corrupt: !is_whole })
    }

    fn decompress(&self, compressed: &[u8], bytes: usize) -> Option<Bytes> {
        // The frame's own word first, so that no memory is taken for what is not there.
        let declared = zstd::zstd_safe::get_frame_content_size(compressed).ok()??;
        if declared != bytes as u64 {
            return None;
        }
        let pooled = self.0.lock().unwrap_or_else(PoisonError::into_inner).pop();
        let mut decompressor = pooled.map_or_else(Decompressor::new, Ok).ok()?;
        let document = decompressor.decompress(compressed, bytes).ok()?;
        let mut pool = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        if pool.len() < KEPT_MAX {
            pool.push(decompressor);
        }
        (document.len() == bytes).then(|| document.into())
    }
}

impl fmt::Debug for Decoder {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Decoder").finish_non_exhaustive()
    }
}

impl Headers {
    /// Ours among those of a message.
    pub fn read(table: Option<&FieldTable>) -> Self {
        let all = [PASSED_ON.as_slice(), &[DUE_MS, REASON, OUTCOME, DETAIL]].concat();
        let value = |name: &str| match table?.inner().get(name)? {
            AMQPValue::LongLongInt(number) => Some(HeaderValue::Number(*number)),
            AMQPValue::LongInt(number) => Some(HeaderValue::Number((*number).into())),
            AMQPValue::LongString(text) => Some(HeaderValue::Text(String::from_utf8_lossy(text.as_bytes()).into_owned())),
            _ => None,
        };
        Self(all.into_iter().filter_map(|name| Some((name, value(name)?))).collect())
    }

    fn number(&self, name: &str) -> Option<i64> {
        match self.0.get(name)? {
            HeaderValue::Number(number) => Some(*number),
            HeaderValue::Text(_) => None,
        }
    }

    fn text(&self, name: &str) -> Option<&str> {
        match self.0.get(name)? {
            HeaderValue::Text(text) => Some(text),
            HeaderValue::Number(_) => None,
        }
    }

    fn position(&self) -> Option<Position> {
        let small = |name| u32::try_from(self.number(name)?).ok();
        let runs = u64::try_from(self.number(RUNS)?).ok()?;
        Some(Position { generation: small(GENERATION)?, runs, attempts: small(ATTEMPTS)?, crashes: small(CRASHES)? })
    }

    /// The queue the leg belongs to.
    pub(super) fn queue(&self) -> Option<(TenantId, PluginName)> {
        Some((self.text(TENANT)?.parse().ok()?, self.text(PLUGIN)?.parse().ok()?))
    }

    /// When the leg may run, where that was not at once.
    pub(super) fn due_at(&self) -> Option<Timestamp> {
        self.number(DUE_MS).map(Timestamp::from_unix_ms)
    }

    /// The ledger whose host published it.
    pub(super) fn origin(&self) -> Option<u64> {
        self.number(ORIGIN).map(i64::cast_unsigned)
    }

    /// Why it died; none where the broker made it a dead letter.
    pub(super) fn death(&self) -> Option<Death> {
        let text = |name| self.text(name).unwrap_or_default().to_owned();
        self.text(REASON).map(|reason| Death { reason: reason.to_owned(), outcome: text(OUTCOME), detail: text(DETAIL) })
    }

    /// The same message to its leg's queue, or to a wait before it.
    pub(super) fn passed_on(&self, names: &Names, body: Bytes, message_id: String, wait: Option<super::names::Rung>) -> Option<Message> {
        let (tenant, plugin) = self.queue()?;
        let mut headers: Vec<_> = PASSED_ON.iter().filter_map(|name| Some((*name, self.0.get(name)?.clone()))).collect();
        let (exchange, routing_key) = match wait {
            Some(rung) => {
                headers.extend(self.number(DUE_MS).map(|due_ms| (DUE_MS, HeaderValue::Number(due_ms))));
                (names.retry(), rung.name.to_owned())
            }
            None => (names.legs(), names.queue(&tenant, &plugin)),
        };
        Some(Message { exchange, routing_key, message_id, content_type: CONTENT_TYPE, headers, body })
    }
}
