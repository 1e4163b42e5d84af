//! Taking a leg back: the leg's row, the record of the run and its effects in one savepoint.

use std::{mem, time::Duration};

use rusqlite::{OptionalExtension, params};

use super::{
    Finished, Lease, Settled,
    claims::Taken,
    committer::Tx,
    kv,
    quota::Unfit,
    rows,
    schedule::Change,
    stored::{EMIT_BYTES, OF_RECORD, RECORD_BYTES, weight},
};
use crate::delivery::{
    AttemptRecord, DeadReason, Fault, FaultKind, KvRead, LegState, Outcome, PluginName, Settlement, TenantId, Timestamp, Verdict,
};

/// Records kept of one leg; older ones go, so that a leg that is retried for ever does not fill the disk.
const ATTEMPTS_KEPT_MAX: i64 = 100;
/// Records kept of one leg where its tenant's stored bytes are used up.
const ATTEMPTS_KEPT_MIN: i64 = 1;
/// How long a run that broke its kv quota waits for another try.
const QUOTA_RETRY: Duration = Duration::from_mins(1);
/// Bytes kept of a record's words where its tenant's stored bytes are used up.
const SHORT_DETAIL_BYTES: usize = 256;

/// A settlement on its way. It may wait, so it holds of the lease what is needed, and the delivery is put away.
#[derive(Debug)]
pub(super) struct Settling {
    tenant: TenantId,
    plugin: PluginName,
    seq: u64,
    generation: u32,
    tried_at: Option<Timestamp>,
    token: u64,
    finished: Finished,
    logs: Option<String>,
    host_calls: Option<String>,
    /// A retry goes to RabbitMQ.
    held: bool,
    /// Memory for as much as it weighs.
    _memory: Taken,
    /// Its place among the runs at once.
    _slot: Taken,
}

impl Settling {
    /// Encodes the record.
    pub(super) fn new(lease: Lease, mut finished: Finished, held: bool) -> Self {
        let (logs, host_calls) = (mem::take(&mut finished.record.logs), mem::take(&mut finished.record.host_calls));
        let logs = (!logs.is_empty()).then(|| serde_json::to_string(&logs).unwrap_or_default());
        let host_calls = (!host_calls.is_empty()).then(|| serde_json::to_string(&host_calls).unwrap_or_default());
        let Lease { leg, delivery, generation, tried_at, token, memory, slot, .. } = lease;
        let (tenant, seq) = (delivery.tenant.clone(), delivery.sequence);
        drop(delivery);
        let (plugin, of_run) = (leg.plugin, memory.clone());
        let settling =
            Self { tenant, plugin, seq, generation, tried_at, token, finished, logs, host_calls, held, _memory: memory, _slot: slot };
        let reads = &settling.finished.effects.kv_reads;
        of_run.shrink((settling.bytes() + reads.iter().map(|read| size_of::<KvRead>() + read.key.len()).sum::<usize>()) as u64);
        settling
    }

    /// What it weighs in a group.
    pub(super) fn bytes(&self) -> usize {
        let effects = &self.finished.effects;
        let values: usize = effects.kv_writes.iter().map(|write| write.value.as_ref().map_or(0, Vec::len) + write.key.len()).sum();
        let emits: usize = effects.emits.iter().map(|emit| emit.body.len() + emit.name.len() + emit.content_type.len()).sum();
        values + emits + self.record_bytes() + 256
    }

    fn record_bytes(&self) -> usize {
        let texts = [&self.logs, &self.host_calls].map(|text| text.as_ref().map_or(0, String::len));
        RECORD_BYTES + self.finished.record.outcome.detail().len() + texts.iter().sum::<usize>()
    }

    fn emit_bytes(&self) -> usize {
        let emits = self.finished.effects.emits.iter();
        emits.map(|emit| EMIT_BYTES + emit.name.len() + emit.content_type.len() + emit.body.len()).sum()
    }

    /// Whose it is.
    pub(super) fn tenant(&self) -> &TenantId {
        &self.tenant
    }

    /// Which leg it takes back, and under which token.
    pub(super) fn place(&self) -> (u64, &TenantId, &PluginName, u64) {
        (self.seq, &self.tenant, &self.plugin, self.token)
    }

    /// Carries it out.
    pub(super) fn apply(mut self, tx: &mut Tx<'_>) -> rusqlite::Result<Settled> {
        let Some(queue) = tx.shared.schedule.queue(&self.tenant, &self.plugin) else { return Ok(Settled::Stale) };
        let leg = (self.seq, queue);
        if !tx.shared.schedule.begin_settling(leg, self.token) {
            return Ok(Settled::Stale);
        }
        tx.settling.push(leg);
        if !kv::reads_hold(tx, queue, &self.finished.effects.kv_reads)? {
            tx.changes.push(Change::Again { leg, due: None, held: false });
            return Ok(Settled::Conflict);
        }
        let is_done = matches!(self.finished.record.settlement, Settlement::Ack | Settlement::Skip);
        if is_done && let Some(quota) = self.write_effects(tx, queue)? {
            over_quota(&mut self.finished, quota);
        }
        let Some(run) = self.update_leg(tx, queue)? else { return Ok(Settled::Stale) };
        self.write_attempt(tx, queue, run)?;
        tx.changes.push(match self.finished.record.settlement {
            Settlement::Retry { after, .. } => Change::Again { leg, due: Some(tx.instant + after), held: self.held },
            settlement => Change::Settled { leg, dead: matches!(settlement, Settlement::DeadLetter(_)) },
        });
        Ok(Settled::Committed)
    }

    /// Updates the leg and returns the number of this run; `None` where the leg is not the one that was lent.
    fn update_leg(&self, tx: &mut Tx<'_>, queue: i64) -> rusqlite::Result<Option<i64>> {
        let record = &self.finished.record;
        let (state, due_ms) = match record.settlement {
            Settlement::Ack => (LegState::Acked, None),
            Settlement::Skip => (LegState::Skipped, None),
            Settlement::DeadLetter(_) => (LegState::Dead, None),
            Settlement::Retry { after, .. } => (LegState::Retry, Some(tx.now.after(after).unix_ms())),
        };
        let counted = !matches!(record.settlement, Settlement::Retry { counted: false, .. });
        if counted && state == LegState::Retry {
            let began_at = self.tried_at.unwrap_or(record.started_at);
            rows::note_tried(tx.conn, (self.seq.cast_signed(), queue), self.generation, began_at)?;
        }
        let settled_ms = (!state.is_open()).then(|| tx.now.unix_ms());
        let mark = (!state.is_open()).then(|| tx.counters.next_mark());
        let reason = match record.settlement {
            Settlement::DeadLetter(reason) => Some(DeadReason::slug(reason)),
            _ => None,
        };
        tx.conn
            .prepare_cached(
                "UPDATE legs SET state = ?3, attempts = min(attempts, 4294967294) + ?4, runs = min(runs, 9223372036854775806) + 1,
                 due_ms = ?5, settled_ms = ?6, mark = ?7, reason = ?8
                 WHERE seq = ?1 AND queue = ?2 AND state < 4 AND generation = ?9 RETURNING runs",
            )?
            .query_row(
                params![self.seq.cast_signed(), queue, rows::code(state), counted, due_ms, settled_ms, mark, reason, self.generation],
                |row| row.get(0),
            )
            .optional()
    }

    /// Values and emits, all of them or none: which quota they do not fit. A record itself is always written, or a leg could not end; where
    /// there is no room for all of it, without its log and its calls.
    fn write_effects(&self, tx: &mut Tx<'_>, queue: i64) -> rusqlite::Result<Option<(String, Unfit)>> {
        let (tenant, effects) = (&self.tenant, &self.finished.effects);
        let emitted = weight(self.emit_bytes());
        if let Err(unfit) = kv::write_all(tx, (tenant, queue), &effects.kv_writes, emitted)? {
            return Ok(Some((kv::unfit_in_words(tx, tenant, unfit), unfit)));
        }
        self.write_emits(tx, queue)?;
        tx.store(tenant, emitted);
        Ok(None)
    }

    fn write_emits(&self, tx: &mut Tx<'_>, queue: i64) -> rusqlite::Result<()> {
        for (position, emit) in self.finished.effects.emits.iter().enumerate() {
            let mark = tx.counters.next_mark();
            tx.execute(
                "INSERT INTO emits VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8, ?9)",
                params![
                    mark,
                    self.seq.cast_signed(),
                    queue,
                    self.generation,
                    position.cast_signed(),
                    emit.name,
                    emit.content_type,
                    emit.body,
                    tx.now.unix_ms()
                ],
            )?;
        }
        Ok(())
    }

    fn write_attempt(&mut self, tx: &mut Tx<'_>, queue: i64, run: i64) -> rusqlite::Result<()> {
        let (tenant, seq) = (self.tenant.clone(), self.seq);
        let mut detail = self.finished.record.outcome.detail().to_owned();
        let is_short = !tx.may_store(&tenant, weight(self.record_bytes()));
        if is_short {
            (self.logs, self.host_calls) = (None, None);
            shorten(&mut detail);
        }
        let texts = [&self.logs, &self.host_calls].map(|text| text.as_ref().map_or(0, String::len));
        tx.store(&tenant, weight(RECORD_BYTES + detail.len() + texts.iter().sum::<usize>()));
        let AttemptRecord { attempt, started_at, duration, outcome, settlement, fuel, memory_peak_bytes, digest, .. } =
            &self.finished.record;
        tx.execute(
            // A leg that another host re-ran may count its runs from fewer than are recorded here.
            "INSERT INTO attempts VALUES (?1, ?2, max(?3, (SELECT ifnull(max(run), 0) + 1 FROM attempts WHERE seq = ?1 AND queue = ?2)), ?4,
             ?5, ?6, ?7, ?8, ?9, ?10, ?11, ?12, ?13, ?14, ?15, ?16)",
            params![
                seq.cast_signed(),
                queue,
                run,
                self.generation,
                attempt,
                started_at.unix_ms(),
                i64::try_from(duration.as_micros()).unwrap_or(i64::MAX),
                outcome.slug(),
                settlement.slug(),
                detail,
                i64::try_from(*fuel).unwrap_or(i64::MAX),
                i64::try_from(*memory_peak_bytes).unwrap_or(i64::MAX),
                digest.map(|digest| *digest.as_bytes()),
                self.logs,
                self.host_calls,
                asked_after(outcome).map(|after| i64::try_from(after.as_millis()).unwrap_or(i64::MAX)),
            ],
        )?;
        let kept = if is_short { ATTEMPTS_KEPT_MIN } else { ATTEMPTS_KEPT_MAX };
        if run > kept {
            tx.store(&tenant, -drop_older(tx, (seq, queue), kept)?);
        }
        Ok(())
    }
}

/// Deletes all but the last records of a leg; what they weighed.
fn drop_older(tx: &Tx<'_>, (seq, queue): (u64, i64), kept: i64) -> rusqlite::Result<i64> {
    let sql = format!(
        "DELETE FROM attempts WHERE seq = ?1 AND queue = ?2
         AND run <= (SELECT max(run) FROM attempts WHERE seq = ?1 AND queue = ?2) - ?3 RETURNING {}",
        *OF_RECORD
    );
    let mut dropping = tx.conn.prepare_cached(&sql)?;
    let dropped = dropping.query_map(params![seq.cast_signed(), queue, kept], |row| row.get::<_, i64>(0))?;
    dropped.sum()
}

/// The delay the plugin itself asked for.
fn asked_after(outcome: &Outcome) -> Option<Duration> {
    match outcome {
        Outcome::Verdict(Verdict::Retry { after, .. }) => *after,
        _ => None,
    }
}

/// Cuts words where there is no room for them.
fn shorten(detail: &mut String) {
    let end = (0..=SHORT_DETAIL_BYTES.min(detail.len())).rev().find(|at| detail.is_char_boundary(*at)).unwrap_or(0);
    detail.truncate(end);
}

/// A run whose values or emits do not fit their quota: its effects are dropped as a whole and it counts as a failed attempt, with the reason in its
/// record. So it ends as a dead letter if the plugin does not make room, and nothing is half written. Where it is the disk that is short, the leg
/// waits instead.
fn over_quota(finished: &mut Finished, (words, unfit): (String, Unfit)) {
    let detail = format!("{words}. Nothing of this run was kept");
    finished.record.outcome = Outcome::Fault(Fault::new(FaultKind::Denied, detail));
    finished.record.settlement = Settlement::Retry { after: QUOTA_RETRY, counted: unfit == Unfit::Quota };
}
