//! Reading a body: charged as it comes, bounded in bytes, in time and from below in speed.
//!
//! The first poll of the body is what makes hyper answer `Expect: 100-continue`, so nobody may call this before the head is checked.

use std::time::{Duration, Instant};

use bytes::{Bytes, BytesMut};
use http_body_util::BodyExt as _;
use hyper::body::Incoming;

use super::budget::Hold;
use crate::{clock::Clock, delivery::Refusal, listen::Place};

/// How long a sender may be as slow as it likes: connections start slowly.
const SLOW_START: Duration = Duration::from_secs(5);

/// What a body may take.
#[derive(Clone, Copy, Debug)]
pub(super) struct Allowance {
    pub(super) bytes_max: usize,
    pub(super) bytes_per_s_min: usize,
    pub(super) deadline: Instant,
}

/// Reads the whole body. It is held once: the buffer grows at most to twice what came, and is handed on without a copy. While a part of it is
/// waited for, the connection is idle: where places are short, who sends nothing for the longest time goes first.
pub(super) async fn read(
    (body, place): (&mut Incoming, &Place),
    allowance: Allowance,
    hold: &mut Hold,
    clock: &Clock,
) -> Result<Bytes, Refusal> {
    let began = clock.instant();
    let mut received = BytesMut::new();
    loop {
        let limit = allowance.deadline.min(began + slowest(received.len(), allowance.bytes_per_s_min));
        let waits = place.rest();
        let frame = tokio::select! {
            biased;
            () = clock.sleep_until(limit) => return Err(Refusal::BodyTimeout),
            frame = body.frame() => frame,
        };
        drop(waits);
        let Some(frame) = frame else { return Ok(received.freeze()) };
        // Trailers carry nothing we want; they are read and dropped.
        let Ok(chunk) = frame.map_err(|_| Refusal::BodyIncomplete)?.into_data() else { continue };
        if received.len() + chunk.len() > allowance.bytes_max {
            return Err(Refusal::BodyTooLarge { bytes_max: allowance.bytes_max });
        }
        hold.charge(chunk.len()).map_err(|_| Refusal::BodyBudgetExhausted)?;
        received.extend_from_slice(&chunk);
    }
}

/// Until when a sender at the lowest speed would still be sending.
fn slowest(received_bytes: usize, bytes_per_s_min: usize) -> Duration {
    let seconds = received_bytes / bytes_per_s_min.max(1);
    SLOW_START.max(Duration::from_secs(seconds as u64))
}
