//! A stored body: compressed, and under a checksum that also covers whose body it is and everything else that was accepted with it.
//!
//! Compression and hashing run where the call came in, never on the committer. `SQLite` has no page checksums, so a bit that flips on the disk
//! would reach a plugin as a slightly different document, or as another tenant's or event's; with the delivery's columns in the checksum, a
//! changed row and a body that lands in the wrong row are found too.

use std::{
    io,
    sync::{Mutex, PoisonError},
};

use bytes::Bytes;
use sha2::{Digest as _, Sha256};
use zstd::bulk::{Compressor, Decompressor};

use crate::delivery::{BodyEncoding, Delivery, DeliveryId, Header};

/// Level 1: 7 kB of JSON become 2 kB in 20 µs; higher levels cost more processor than they save disk.
const LEVEL: i32 = 1;
/// Compressors kept for reuse; each holds about 600 kB.
const KEPT_MAX: usize = 8;

/// A body as its row holds it.
#[derive(Debug)]
pub(super) struct StoredBody {
    /// First half of the SHA-256 of what was accepted and the stored bytes.
    pub(super) checksum: [u8; 16],
    /// The document, compressed.
    pub(super) document: Vec<u8>,
    /// The raw bytes, compressed, where they differ.
    pub(super) raw: Option<Vec<u8>>,
}

impl StoredBody {
    /// A body that came compressed from another host.
    pub(super) fn seal(delivery: &Delivery, document: Vec<u8>) -> Self {
        Self { checksum: checksum(delivery, &document, None), document, raw: None }
    }

    /// Bytes it takes in the database.
    pub(super) fn len(&self) -> usize {
        self.document.len() + self.raw.as_ref().map_or(0, Vec::len)
    }
}

/// Compressors that are reused: making one costs more than compressing a usual body with it.
#[derive(Default)]
pub(super) struct Compressors(Mutex<Vec<Compressor<'static>>>);

impl std::fmt::Debug for Compressors {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Compressors").finish_non_exhaustive()
    }
}

impl Compressors {
    /// Compresses bytes.
    pub(super) fn compress(&self, bytes: &[u8]) -> io::Result<Vec<u8>> {
        let pooled = self.0.lock().unwrap_or_else(PoisonError::into_inner).pop();
        let mut compressor = pooled.map_or_else(|| Compressor::new(LEVEL), Ok)?;
        let compressed = compressor.compress(bytes)?;
        let mut pool = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        if pool.len() < KEPT_MAX {
            pool.push(compressor);
        }
        Ok(compressed)
    }

    /// Compresses and seals the body of `delivery`.
    pub(super) fn store(&self, delivery: &Delivery) -> io::Result<StoredBody> {
        let document = self.compress(&delivery.document)?;
        let raw = delivery.raw.as_ref().map(|raw| self.compress(raw)).transpose()?;
        Ok(StoredBody { checksum: checksum(delivery, &document, raw.as_deref()), document, raw })
    }
}

/// The document and raw bytes behind the stored body of `delivery`, or nothing where the checksum or the compressed form is wrong.
pub(super) fn open(delivery: &Delivery, stored: &StoredBody, body_bytes_max: usize) -> Option<(Bytes, Option<Bytes>)> {
    let (document, raw) = (&stored.document, stored.raw.as_deref());
    // Ledgers of before the columns were covered hold the second form.
    if checksum(delivery, document, raw) != stored.checksum && checksum_of_body(delivery.id, document, raw) != stored.checksum {
        return None;
    }
    let mut decompressor = Decompressor::new().ok()?;
    let document = decompressor.decompress(&stored.document, body_bytes_max).ok()?;
    // The checksum has just vouched for the frame, so the size it declares is the one we wrote.
    let raw = match &stored.raw {
        Some(raw) => Some(decompressor.decompress(raw, content_bytes(raw)?).ok()?),
        None => None,
    };
    Some((document.into(), raw.map(Bytes::from)))
}

/// The size a compressed frame declares.
fn content_bytes(frame: &[u8]) -> Option<usize> {
    zstd::zstd_safe::get_frame_content_size(frame).ok()??.try_into().ok()
}

/// Over every column of the delivery that is written once, each with its length in front, and the stored bytes.
fn checksum(delivery: &Delivery, document: &[u8], raw: Option<&[u8]>) -> [u8; 16] {
    let Delivery { id, tenant, source, provider_id, hook_id, event, action, repository, installation_id, received_at, headers, .. } =
        delivery;
    let mut hash = Sha256::new();
    let mut cover = |part: &[u8]| {
        hash.update((part.len() as u64).to_le_bytes());
        hash.update(part);
    };
    for part in [tenant.as_str(), source.as_str(), provider_id, event] {
        cover(part.as_bytes());
    }
    for part in [hook_id, action, repository] {
        cover(&[u8::from(part.is_some())]);
        cover(part.as_deref().unwrap_or_default().as_bytes());
    }
    for Header { name, value } in headers {
        cover(name.as_bytes());
        cover(value.as_bytes());
    }
    cover(&[u8::from(delivery.encoding == BodyEncoding::Form), u8::from(installation_id.is_some())]);
    cover(&installation_id.unwrap_or_default().to_le_bytes());
    cover(&received_at.unix_ms().to_le_bytes());
    cover(&delivery.body_sha256);
    cover(id.as_bytes());
    cover(document);
    cover(raw.unwrap_or_default());
    half(&hash.finalize().into())
}

/// Over the id and the stored bytes only.
fn checksum_of_body(id: DeliveryId, document: &[u8], raw: Option<&[u8]>) -> [u8; 16] {
    let mut hash = Sha256::new();
    hash.update(id.as_bytes());
    hash.update((document.len() as u64).to_le_bytes());
    hash.update(document);
    hash.update(raw.unwrap_or_default());
    half(&hash.finalize().into())
}

/// The first half of a hash: 128 bits are plenty against accidents, and half the index.
pub(super) fn half(full: &[u8; 32]) -> [u8; 16] {
    let mut half = [0; 16];
    half.copy_from_slice(&full[..16]);
    half
}
