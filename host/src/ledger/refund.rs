//! What a version that was rolled back from leaves behind: its dead letters run again, and its attempts are given back.
//!
//! Candidates are found by a reader, in bounded pages, and each is checked again in the transaction that changes it. Doing it twice changes
//! nothing: what counts is which attempts are *not* the version's, so that runs which settle late can simply be swept up by another round.

use std::time::Duration;

use rusqlite::{Connection, OptionalExtension, params};

use super::{Ledger, LedgerError, books::BOOKS_MAX, committer::Tx, offer, rows};
use crate::delivery::{Digest, FaultKind, PluginName, TenantId};

/// Legs changed in one group.
const PAGE: usize = 256;
/// Dead letters older than this stay where they are: nobody expects last week's to run because of today's roll-back.
const AGE_MAX: Duration = Duration::from_hours(24);

/// What was given back.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Refund {
    /// Dead letters that run again.
    pub requeued: usize,
    /// Open legs that got attempts back.
    pub refunded: usize,
}

/// A version of one queue.
#[derive(Clone, Copy, Debug)]
struct Left {
    queue: i64,
    digest: Digest,
}

impl Ledger {
    /// Runs the dead letters of a version again that died by it since it began to serve (24 hours back at most), and takes its attempts off
    /// what is open. To be called when another version serves; idempotent.
    pub async fn refund(&self, tenant: &TenantId, name: &PluginName, digest: Digest) -> Result<Refund, LedgerError> {
        let Some(queue) = self.shared().schedule.queue(tenant, name) else { return Ok(Refund::default()) };
        let left = Left { queue, digest };
        let now = self.shared().clock.now();
        let (tenant, name, since_ms) = (tenant.clone(), name.clone(), now.before(AGE_MAX).unix_ms());
        let dead = self.shared().read(BOOKS_MAX, move |conn| dead(conn, left, (&tenant, &name), since_ms)).await?;
        let open = self.shared().read(BOOKS_MAX, move |conn| open(conn, left)).await?;
        let mut refund = Refund::default();
        for page in dead.chunks(PAGE) {
            let page = page.to_vec();
            refund.requeued += self.shared().write(0, move |tx| requeue(tx, left, &page)).await?;
        }
        for page in open.chunks(PAGE) {
            let page = page.to_vec();
            refund.refunded += self.shared().write(0, move |tx| give_back(tx, left, &page)).await?;
        }
        Ok(refund)
    }
}

/// Legs that died since the version began to serve; which of them died by it is checked when they are changed.
fn dead(conn: &Connection, left: Left, (tenant, name): (&TenantId, &PluginName), since_ms: i64) -> rusqlite::Result<Vec<i64>> {
    let mark: Option<i64> = conn
        .prepare_cached("SELECT mark FROM kept_plugins WHERE tenant = ?1 AND name = ?2 AND digest = ?3")?
        .query_row(params![tenant.as_str(), name.as_str(), left.digest.as_bytes()], |row| row.get(0))
        .optional()?;
    conn.prepare_cached("SELECT seq FROM legs WHERE state = 6 AND mark > ?1 AND queue = ?2 AND settled_ms >= ?3 ORDER BY mark")?
        .query_map(params![mark.unwrap_or(0), left.queue, since_ms], |row| row.get(0))?
        .collect()
}

/// Open legs the version has tried.
fn open(conn: &Connection, left: Left) -> rusqlite::Result<Vec<i64>> {
    conn.prepare_cached(
        "SELECT l.seq FROM legs l WHERE l.state < 4 AND l.queue = ?1 AND l.attempts > 0 AND EXISTS
         (SELECT 1 FROM attempts a WHERE a.seq = l.seq AND a.queue = l.queue AND a.generation = l.generation AND a.digest = ?2)
         ORDER BY l.seq",
    )?
    .query_map(params![left.queue, left.digest.as_bytes()], |row| row.get(0))?
    .collect()
}

fn requeue(tx: &mut Tx<'_>, left: Left, legs: &[i64]) -> rusqlite::Result<usize> {
    let mut requeued = 0;
    let Some(tenant) = tx.owner(left.queue) else { return Ok(0) };
    for &seq in legs {
        let last: Option<Option<Vec<u8>>> = tx
            .conn
            .prepare_cached(
                "SELECT (SELECT a.digest FROM attempts a WHERE a.seq = l.seq AND a.queue = l.queue ORDER BY a.run DESC LIMIT 1)
                 FROM legs l WHERE l.seq = ?1 AND l.queue = ?2 AND l.state = ?3",
            )?
            .query_row(params![seq, left.queue, rows::code(crate::delivery::LegState::Dead)], |row| row.get(0))
            .optional()?;
        if last.flatten().as_deref() == Some(left.digest.as_bytes()) {
            requeued += usize::from(offer::revive(tx, &tenant, (seq.cast_unsigned(), left.queue))?);
        }
    }
    Ok(requeued)
}

fn give_back(tx: &mut Tx<'_>, left: Left, legs: &[i64]) -> rusqlite::Result<usize> {
    let mut refunded = 0;
    for &seq in legs {
        let changed = tx.execute(
            "UPDATE legs SET attempts = (SELECT count(*) FROM attempts a WHERE a.seq = legs.seq AND a.queue = legs.queue
               AND a.generation = legs.generation AND a.settlement = 'retry' AND a.outcome NOT IN (?4, ?5) AND a.digest IS NOT ?3)
             WHERE seq = ?1 AND queue = ?2 AND state < 4 AND attempts > (SELECT count(*) FROM attempts a WHERE a.seq = legs.seq
               AND a.queue = legs.queue AND a.generation = legs.generation AND a.settlement = 'retry' AND a.outcome NOT IN (?4, ?5)
               AND a.digest IS NOT ?3)",
            params![seq, left.queue, left.digest.as_bytes(), FaultKind::HostUnavailable.slug(), FaultKind::VersionConflict.slug()],
        )?;
        // Its time begins anew with the version that is tried next.
        if changed > 0 {
            tx.execute("DELETE FROM tried WHERE seq = ?1 AND queue = ?2", params![seq, left.queue])?;
        }
        refunded += changed;
    }
    Ok(refunded)
}
