//! A leg as a message: the delivery in the body, how far the leg has come in the headers, and a seal over both.
//!
//! The body never changes, so it is passed on as it came: three bytes of name, one of version, the length of a JSON head, the head, the
//! document compressed with zstd. A version with the same first number may have more fields in its head, which are ignored; one with another
//! first number is left to hosts that know it. Whoever may write to the broker can write anything, so the steps are types: only [`Decoder::open`]
//! makes a [`Genuine`] message, which is one whose seal holds, and everything else is done with those. What is sealed is checked all the same:
//! every number has a range, the id is that of the content, and nothing is unpacked past what the head declares.

use std::{
    fmt,
    sync::{Mutex, PoisonError},
};

use bytes::Bytes;
use lapin::types::FieldTable;
use serde::{Deserialize, Serialize};
use sha2::{Digest as _, Sha256};
use zstd::bulk::Decompressor;

use super::{
    headers::{self, Headers, is_text},
    names::{Names, Rung},
    publisher::{HeaderValue, Message},
    rejection::Rejection,
    seal::{Covered, Keys},
};
use crate::{
    delivery::{BodyEncoding, Delivery, DeliveryId, DeliveryKey, Header, LegId, PluginName, SourceId, TenantId},
    ledger::{Arrival, Death, Outbound, Position},
};

const MAGIC: &[u8; 3] = b"HKY";
/// The first number of the version written and read.
const MAJOR: u8 = 1;
/// A head: names and the kept request headers.
const HEAD_BYTES_MAX: usize = 256 * 1024;
/// Request headers of a head, and the bytes of one.
const REQUEST_HEADERS_MAX: usize = 64;
const REQUEST_HEADER_BYTES_MAX: usize = 16 * 1024;
/// Decompressors kept for reuse.
const KEPT_MAX: usize = 8;
const CONTENT_TYPE: &str = "application/vnd.hookyard.leg";
/// Words of an outcome that travel with a dead letter.
const DETAIL_BYTES_MAX: usize = 4096;

/// Why a message is not taken for a leg.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Unreadable {
    /// Written by a host of a later kind: it is passed on until one of those takes it.
    #[error("it has envelope version {0}, this host reads {MAJOR}: upgrade this host, or keep one that can read it")]
    Newer(u8),
    /// Put aside.
    #[error(transparent)]
    Rejected(#[from] Rejection),
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

/// Writes and reads the messages of one installation. Decompressors are reused: making one costs more than a usual body does.
pub struct Decoder {
    keys: Keys,
    names: Names,
    document_bytes_max: usize,
    decompressors: Mutex<Vec<Decompressor<'static>>>,
}

/// A message whose seal holds: a host wrote its headers and its body.
#[derive(Clone, Debug)]
pub struct Genuine {
    id: String,
    headers: Headers,
    seal: String,
    body: Bytes,
}

/// A message whose head was read and found sound, and whose document is still packed.
#[derive(Debug)]
pub struct Packed {
    head: Head,
    position: Position,
    compressed: Bytes,
}

fn head(outbound: &Outbound) -> Head {
    let delivery = &outbound.delivery;
    Head {
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
    }
}

/// A JSON body is its document, and was hashed when it was accepted.
fn document_sha256(delivery: &Delivery) -> [u8; 32] {
    match delivery.encoding {
        BodyEncoding::Json => delivery.body_sha256,
        BodyEncoding::Form => Sha256::digest(&delivery.document).into(),
    }
}

fn headers_of(outbound: &Outbound, origin: u64) -> Headers {
    let Position { generation, runs, attempts, crashes, tried_at } = outbound.position;
    let text = |text: &str| HeaderValue::Text(text.to_owned());
    let mut headers = Headers::default();
    headers.put(headers::TENANT, text(outbound.delivery.tenant.as_str()));
    headers.put(headers::PLUGIN, text(outbound.leg.plugin.as_str()));
    headers.put(headers::GENERATION, HeaderValue::Number(generation.into()));
    headers.put(headers::RUNS, HeaderValue::Number(runs.cast_signed()));
    headers.put(headers::ATTEMPTS, HeaderValue::Number(attempts.into()));
    headers.put(headers::CRASHES, HeaderValue::Number(crashes.into()));
    headers.put(headers::ORIGIN, HeaderValue::Number(origin.cast_signed()));
    // The delivery is the trace, each message of it a span.
    headers.put(headers::TRACE, HeaderValue::Text(format!("00-{}-{:016x}-01", outbound.leg.delivery, fastrand::u64(1..))));
    if let Some(tried_at) = tried_at {
        headers.put(headers::TRIED_MS, HeaderValue::Number(tried_at.unix_ms()));
    }
    if let Some(due_at) = outbound.due_at {
        headers.put(headers::DUE_MS, HeaderValue::Number(due_at.unix_ms()));
    }
    if let Some(Death { reason, outcome, detail }) = &outbound.death {
        // A plugin's words may have anything in them.
        let detail: String = detail.chars().map(|c| if c.is_control() && !matches!(c, '\n' | '\t') { '\u{fffd}' } else { c }).collect();
        headers.put(headers::REASON, text(reason));
        headers.put(headers::OUTCOME, text(outcome));
        headers.put(headers::DETAIL, text(&detail[..detail.floor_char_boundary(DETAIL_BYTES_MAX)]));
    }
    headers
}

impl Decoder {
    /// For messages under these keys and names, with documents of so many bytes at most.
    #[must_use]
    pub fn new(keys: Keys, names: Names, document_bytes_max: usize) -> Self {
        Self { keys, names, document_bytes_max, decompressors: Mutex::default() }
    }

    /// Whether a leg may travel: with numbers, texts and a document that every host takes. What may not is run by the host that accepted it.
    pub(super) fn may_travel(&self, outbound: &Outbound) -> bool {
        outbound.position.is_in_range() && head(outbound).check(self.document_bytes_max).is_ok()
    }

    /// The message of a leg to `exchange`, from the host whose ledger has the number `origin`.
    pub(super) fn encode(&self, outbound: &Outbound, origin: u64, (exchange, routing_key): (String, String)) -> Message {
        let head = serde_json::to_vec(&head(outbound)).unwrap_or_default();
        let mut body = Vec::with_capacity(8 + head.len() + outbound.compressed.len());
        body.extend_from_slice(MAGIC);
        body.push(MAJOR);
        body.extend_from_slice(&u32::try_from(head.len()).unwrap_or(u32::MAX).to_le_bytes());
        body.extend_from_slice(&head);
        body.extend_from_slice(&outbound.compressed);
        let id = format!("{}.{}.{}", outbound.leg, outbound.position.generation, outbound.position.runs);
        let genuine = self.seal(id, headers_of(outbound, origin), body.into());
        genuine.message(exchange, routing_key)
    }

    fn seal(&self, id: String, headers: Headers, body: Bytes) -> Genuine {
        let seal = self.keys.seal(&Covered::new(&self.names, &id, &headers, &body));
        Genuine { id, headers, seal, body }
    }

    /// Seals what is given, whatever it is.
    ///
    /// # Errors
    /// The headers have not the form of ours.
    pub fn sealed(&self, id: &str, table: Option<&FieldTable>, body: Bytes) -> Result<Genuine, Rejection> {
        Ok(self.seal(id.to_owned(), Headers::read(table)?, body))
    }

    /// A message whose seal holds.
    ///
    /// # Errors
    /// It has none, or one that does not hold, or headers under our names that have not our form.
    pub fn open(&self, id: &str, table: Option<&FieldTable>, body: &Bytes) -> Result<Genuine, Rejection> {
        let seal = Headers::seal(table)?;
        let headers = Headers::read(table)?;
        self.keys.verify(seal, &Covered::new(&self.names, id, &headers, body))?;
        Ok(Genuine { id: id.to_owned(), headers, seal: seal.to_owned(), body: body.clone() })
    }

    /// The head of a genuine message, and that all of it is within its bounds. Nothing is unpacked.
    ///
    /// # Errors
    /// It is of a later version, or not as a host writes it.
    pub fn read(&self, genuine: &Genuine) -> Result<Packed, Unreadable> {
        let malformed = Rejection::Malformed;
        let body = &genuine.body;
        let rest = body.strip_prefix(MAGIC).ok_or(malformed("it does not begin like an envelope"))?;
        let (major, rest) = rest.split_first().ok_or(malformed("it ends in its version"))?;
        if *major != MAJOR {
            let never = malformed("it has an envelope version there never was");
            return Err(if *major > MAJOR { Unreadable::Newer(*major) } else { never.into() });
        }
        let (length, rest) = rest.split_first_chunk::<4>().ok_or(malformed("it ends in the length of its head"))?;
        let length = usize::try_from(u32::from_le_bytes(*length)).unwrap_or(usize::MAX);
        if length > HEAD_BYTES_MAX || length > rest.len() {
            return Err(malformed("its head is longer than it or longer than any").into());
        }
        let (head, compressed) = rest.split_at(length);
        let head: Head = serde_json::from_slice(head).map_err(|_| malformed("its head cannot be read"))?;
        head.check(self.document_bytes_max)?;
        if genuine.headers.queue()? != (head.tenant.clone(), head.plugin.clone()) {
            return Err(Rejection::Misplaced("its head and its headers name two legs").into());
        }
        genuine.headers.due_at()?;
        genuine.headers.death()?;
        Ok(Packed { position: genuine.headers.position()?, compressed: body.slice_ref(compressed), head })
    }

    /// The leg of a message whose document takes no more than [`Packed::document_bytes`].
    ///
    /// # Errors
    /// The document is not the one the head names.
    pub fn unpack(&self, packed: Packed) -> Result<Arrival, Rejection> {
        let Packed { head, position, compressed } = packed;
        let bytes = usize::try_from(head.document_bytes).unwrap_or(usize::MAX);
        let document = self.decompress(&compressed, bytes).ok_or(Rejection::DocumentMismatch)?;
        if Sha256::digest(&document)[..] != head.document_sha256 {
            return Err(Rejection::DocumentMismatch);
        }
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
            received_at: headers::time(head.received_ms, "when it was received")?,
            sequence: 0,
            encoding: if head.form { BodyEncoding::Form } else { BodyEncoding::Json },
            headers: head.headers,
            document,
            raw: None,
            body_sha256: head.body_sha256,
        };
        Ok(Arrival { leg: LegId { delivery: head.id, plugin: head.plugin }, delivery, compressed, position })
    }

    fn decompress(&self, compressed: &[u8], bytes: usize) -> Option<Bytes> {
        // The frame's own word first, so that no memory is taken for what is not there.
        let declared = zstd::zstd_safe::get_frame_content_size(compressed).ok()??;
        if declared != bytes as u64 || bytes > self.document_bytes_max {
            return None;
        }
        let pooled = self.decompressors.lock().unwrap_or_else(PoisonError::into_inner).pop();
        let mut decompressor = pooled.map_or_else(Decompressor::new, Ok).ok()?;
        let document = decompressor.decompress(compressed, bytes).ok()?;
        let mut pool = self.decompressors.lock().unwrap_or_else(PoisonError::into_inner);
        if pool.len() < KEPT_MAX {
            pool.push(decompressor);
        }
        (document.len() == bytes).then(|| document.into())
    }
}

impl fmt::Debug for Decoder {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Decoder").field("keys", &self.keys).finish_non_exhaustive()
    }
}

impl Head {
    /// That every number is in its range, every text as the door takes it, and the id that of the content.
    fn check(&self, document_bytes_max: usize) -> Result<(), Rejection> {
        let word = |text: &str, bytes_max: usize| text.len() <= bytes_max && text.bytes().all(|byte| byte.is_ascii_graphic());
        let text = |text: &str, bytes_max: usize| text.len() <= bytes_max && is_text(text);
        let optional = |value: &Option<String>, bytes_max: usize| value.as_deref().is_none_or(|value| text(value, bytes_max));
        if !word(&self.event, 64) || !word(&self.provider_id, 128) || !self.hook_id.as_deref().is_none_or(|hook| word(hook, 64)) {
            return Err(Rejection::UnfitText("its event, its hook or its provider's id"));
        }
        if !optional(&self.action, 64) || !optional(&self.repository, 256) {
            return Err(Rejection::UnfitText("its action or its repository"));
        }
        let fits = |header: &Header| word(&header.name, 64) && text(&header.value, REQUEST_HEADER_BYTES_MAX);
        if self.headers.len() > REQUEST_HEADERS_MAX || !self.headers.iter().all(fits) {
            return Err(Rejection::UnfitText("a request header"));
        }
        headers::time(self.received_ms, "when it was received")?;
        if self.document_bytes > document_bytes_max as u64 {
            return Err(Rejection::DocumentTooLarge(self.document_bytes));
        }
        let key = DeliveryKey {
            tenant: &self.tenant,
            source: &self.source,
            hook_id: self.hook_id.as_deref().unwrap_or_default(),
            provider_id: &self.provider_id,
            body_sha256: &self.body_sha256,
        };
        // A JSON body is its document; of a form only the document travels, and the body's hash is the host's word.
        if DeliveryId::derive(&key) != self.id || (!self.form && self.document_sha256 != self.body_sha256) {
            return Err(Rejection::IdMismatch);
        }
        Ok(())
    }
}

impl Packed {
    /// Whose it is.
    #[must_use]
    pub fn tenant(&self) -> &TenantId {
        &self.head.tenant
    }

    /// What unpacking takes, in bytes: no more than a document may have.
    #[must_use]
    pub fn document_bytes(&self) -> usize {
        usize::try_from(self.head.document_bytes).unwrap_or(usize::MAX)
    }
}

impl Genuine {
    /// Its headers.
    pub(super) fn headers(&self) -> &Headers {
        &self.headers
    }

    /// What consumers tell repeats by.
    pub(super) fn id(&self) -> &str {
        &self.id
    }

    /// The message as it is, seal and all, to another place.
    pub fn message(self, exchange: String, routing_key: String) -> Message {
        let Self { id, headers, seal, body } = self;
        let mut all: Vec<_> = headers.iter().map(|(name, value)| (name.to_owned().into(), value.clone())).collect();
        all.push((headers::SEAL.into(), HeaderValue::Text(seal)));
        Message { exchange, routing_key, message_id: id, content_type: CONTENT_TYPE, headers: all, body }
    }

    /// The same message to its leg's queue or the archive, or to a wait before it.
    pub(super) fn passed_on(&self, names: &Names, wait: Option<Rung>) -> Result<Message, Rejection> {
        let (tenant, plugin) = self.headers.queue()?;
        let (exchange, routing_key) = match wait {
            Some(rung) => (names.retry(), rung.name.to_owned()),
            None if self.headers.death()?.is_some() => (names.dead(), String::new()),
            None => (names.legs(), names.queue(&tenant, &plugin)),
        };
        Ok(self.clone().message(exchange, routing_key))
    }
}
