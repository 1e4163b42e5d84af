//! From a folder to a running ledger: lock, recover, check, load, start.
//!
//! The order matters. The log left by the last process is moved into the database and synced before anything else, because recovery replays
//! commits without syncing them and new ones would stand behind a hole. Only then is the high-water mark compared, only then is anything
//! written.

use std::{
    io,
    path::Path,
    sync::{
        Arc, Mutex,
        atomic::{AtomicI32, Ordering},
    },
    time::Duration,
};

use rusqlite::Connection;
use tokio::sync::watch;

use super::{
    OpenError, Settings, Shared, blame,
    body::Compressors,
    checkpoint,
    checkpoint::Checkpoints,
    committer::{self, Committer},
    counters::Counters,
    cursors,
    folder::{self, Files, io_failed},
    inflight::{InFlight, Run},
    lanes::Lanes,
    pace::Pace,
    pages::{self, Pages},
    poison::Poison,
    quota::Quotas,
    readers::Readers,
    retention::Dropping,
    room::Room,
    rows,
    schedule::{Change, Key, Schedule},
    schema, seal,
    stored::Stored,
    watermark::Watermark,
};
use crate::{
    clock::Clock,
    shares::{Holder, Resource},
};

/// The longest a stored due time may lie ahead: a clock that was wrong when it was written must not park a leg for years.
pub(super) const DUE_MAX: Duration = Duration::from_hours(7 * 24);
/// Legs loaded in one go.
const LOAD_CHUNK: usize = 8192;

fn sql_failed(what: &'static str) -> impl Fn(rusqlite::Error) -> OpenError {
    move |error| OpenError(format!("{what}: {error}"))
}

/// Opens the ledger and starts its threads.
pub(super) fn open(settings: Settings, clock: Clock) -> Result<Arc<Shared>, OpenError> {
    schema::check_library()?;
    let lock = folder::lock(&settings.data_dir)?;
    let files = Files::of(&settings.data_dir);
    files.close_to_others()?;
    let mut conn = schema::open_writer(&files.database).map_err(sql_failed("cannot open the database"))?;
    if !checkpoint::truncate(&conn).map_err(sql_failed("cannot recover the write-ahead log"))? {
        return Err(OpenError("the database is open in another program; close it first".to_owned()));
    }
    schema::migrate(&mut conn)?;
    let mut counters = Counters::read(&conn).map_err(sql_failed("cannot read the counters"))?;
    let mut watermark = Watermark::open(&files.watermark, clock.instant()).map_err(io_failed("cannot open", &files.watermark))?;
    check_watermark(&settings, &watermark, &counters)?;
    let (inflight, runs) = InFlight::open(&files.inflight).map_err(io_failed("cannot open", &files.inflight))?;
    let was_clean = was_clean(&conn).map_err(sql_failed("cannot read the database"))?;
    if !was_clean {
        check_pages(&conn)?;
    }
    let runs = if was_clean { Vec::new() } else { runs };
    let suspects = begin(&conn, &mut counters, &runs, &clock).map_err(sql_failed("cannot write the database"))?;
    let now = clock.instant();
    watermark
        .write(counters.commits, now)
        .and_then(|()| watermark.sync(counters.commits, now))
        .and_then(|()| inflight.reset())
        .map_err(|error| OpenError(format!("cannot write to {}: {error}", settings.data_dir.display())))?;
    let stored = Stored::load(&conn).map_err(sql_failed("cannot count what is stored"))?;
    let schedule = Schedule::new(settings.body_cache_bytes_max);
    load(&conn, &schedule, &clock, counters.commits).map_err(sql_failed("cannot load the open legs"))?;
    schedule.suspect(&suspects);
    let poison = Arc::new(Poison::new());
    let reads_max = settings.shares.pool(Resource::LedgerReads).limit().bound;
    let readers = Readers::open(&files.database, reads_max, clock.clone(), Arc::clone(&poison))
        .map_err(sql_failed("cannot open the database for reading"))?;
    let shared = Arc::new(Shared {
        pace: Pace::new(settings.tenant_settled_bytes_per_s_max, settings.shares.pool(Resource::SettledBytes).clone()),
        room: Room::new(settings.data_dir.clone(), clock.clone(), settings.free_bytes_min),
        opened: (clock.now(), clock.instant()),
        quotas: Quotas::new(settings.shares.clone()),
        stored,
        dropping: Dropping::default(),
        settings,
        clock,
        schedule,
        inflight,
        claims: tokio::sync::Mutex::default(),
        poison,
        lanes: Lanes::new(),
        readers,
        compressors: Compressors::default(),
        checkpoints: Checkpoints::default(),
        heads: watch::Sender::new(cursors::heads(&counters)),
        ended: watch::Sender::new(false),
        lock: Mutex::new(Some(lock)),
    });
    for (tenant, bytes) in shared.stored.all() {
        shared.settings.shares.pool(Resource::StoredBytes).set(&Holder::Tenant(tenant), bytes);
    }
    shared.tell_waiting();
    start(&shared, conn, watermark, counters, &files.database)?;
    Ok(shared)
}

/// Starts the committer and the checkpointing thread.
fn start(shared: &Arc<Shared>, mut conn: Connection, watermark: Watermark, counters: Counters, path: &Path) -> Result<(), OpenError> {
    let wal_pages = Arc::new(AtomicI32::new(0));
    let noted = Arc::clone(&wal_pages);
    let note = move |_: &mut rusqlite::hooks::Wal, pages: i32| {
        noted.store(pages, Ordering::Relaxed);
        Ok(())
    };
    conn.wal_hook(Some(note)).map_err(sql_failed("cannot watch the write-ahead log"))?;
    let checkpointer = schema::open_writer(path).map_err(sql_failed("cannot open the database"))?;
    let holds = checkpoint::Holds::new(shared.settings.wal_bytes_max);
    let committer = Committer { conn, watermark, shared: Arc::clone(shared), wal_pages, holds, counters };
    let failed = |error: io::Error| OpenError(format!("cannot start a thread: {error}"));
    let for_checkpoints = Arc::clone(shared);
    std::thread::Builder::new()
        .name("hookyard-checkpoint".to_owned())
        .spawn(move || checkpoint::run(&checkpointer, &for_checkpoints))
        .map_err(failed)?;
    std::thread::Builder::new().name("hookyard-commit".to_owned()).spawn(move || committer::run(committer)).map_err(failed)?;
    Ok(())
}

fn check_watermark(settings: &Settings, watermark: &Watermark, counters: &Counters) -> Result<(), OpenError> {
    let mark = match watermark.read() {
        Ok(mark) => mark.unwrap_or(0),
        Err(_) if settings.accept_loss => 0,
        Err(error) => {
            return Err(OpenError(format!(
                "{error}; whether commits are missing cannot be told. `serve --accept-loss` goes on without it"
            )));
        }
    };
    if mark <= counters.commits || settings.accept_loss {
        return Ok(());
    }
    Err(OpenError(format!(
        "the newest commits are missing: the database ends at commit {}, but commit {mark} was answered. Put the missing files back \
         (ledger.db-wal), or go on without what was accepted since with `serve --accept-loss`",
        counters.commits
    )))
}

fn was_clean(conn: &Connection) -> rusqlite::Result<bool> {
    conn.query_row("SELECT value FROM meta WHERE key = 'clean'", [], |row| row.get(0))
}

fn check_pages(conn: &Connection) -> Result<(), OpenError> {
    match pages::check(conn).map_err(sql_failed("the database cannot be checked"))? {
        Pages::Sound => Ok(()),
        Pages::Damaged(found) => Err(OpenError(format!("the database is damaged ({found}): restore a backup with `hookyard restore`"))),
        Pages::TooMany(bytes) => {
            tracing::warn!(bytes, "database_not_checked_after_unclean_end");
            Ok(())
        }
    }
}

/// Marks the ledger as in use, and charges the runs that were under way when the process died. Returns the legs that are suspects.
fn begin(conn: &Connection, counters: &mut Counters, runs: &[Run], clock: &Clock) -> rusqlite::Result<Vec<Key>> {
    let transaction = conn.unchecked_transaction()?;
    transaction.execute("UPDATE meta SET value = 0 WHERE key = 'clean'", [])?;
    let suspects = blame::charge(&transaction, runs, clock)?;
    counters.commits += 1;
    counters.write(&transaction)?;
    transaction.commit()?;
    Ok(suspects)
}

/// Fills the schedule from the partial indexes: open legs oldest first, and how many are dead.
fn load(conn: &Connection, schedule: &Schedule, clock: &Clock, commit: u64) -> rusqlite::Result<()> {
    let mut queues = conn.prepare("SELECT id, tenant, plugin, sound FROM queues ORDER BY id")?;
    let names = queues.query_map([], |row| {
        seal::check(row, 3, "the name of a queue")?;
        Ok(Change::Queue { queue: row.get(0)?, tenant: rows::parsed(row, 1)?, plugin: rows::parsed(row, 2)? })
    })?;
    schedule.apply(commit, names.collect::<Result<_, _>>()?);
    let mut dead = conn.prepare("SELECT queue, count(*) FROM legs WHERE state = 6 GROUP BY queue")?;
    let dead = dead.query_map([], |row| Ok(Change::Dead { queue: row.get(0)?, by: row.get(1)? }))?;
    schedule.apply(commit, dead.collect::<Result<_, _>>()?);
    let mut relayed = conn.prepare("SELECT queue, count(*) FROM legs WHERE state = -1 GROUP BY queue")?;
    let relayed = relayed.query_map([], |row| Ok(Change::Relayed { queue: row.get(0)?, by: row.get(1)? }))?;
    schedule.apply(commit, relayed.collect::<Result<_, _>>()?);
    let mut open = conn.prepare("SELECT seq, queue, due_ms, body_bytes FROM legs WHERE state BETWEEN 0 AND 3 ORDER BY seq, queue")?;
    let mut open = open.query([])?;
    let (now, instant) = (clock.now(), clock.instant());
    let mut chunk = Vec::with_capacity(LOAD_CHUNK);
    while let Some(row) = open.next()? {
        let due = row.get::<_, Option<i64>>(2)?.map(|due_ms| instant + wait(due_ms, now.unix_ms()));
        let leg = (row.get::<_, i64>(0)?.cast_unsigned(), row.get(1)?);
        chunk.push(Change::Opened { leg, bytes: row.get::<_, i64>(3)?.cast_unsigned(), due, fresh: None });
        if chunk.len() == LOAD_CHUNK {
            schedule.apply(commit, std::mem::take(&mut chunk));
        }
    }
    schedule.apply(commit, chunk);
    Ok(())
}

/// How long a leg waits that is due then, by a wall clock that may have been anywhere when it was written.
fn wait(due_ms: i64, now_ms: i64) -> Duration {
    Duration::from_millis(due_ms.saturating_sub(now_ms).max(0).cast_unsigned()).min(DUE_MAX)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_due_time_waits_no_longer_than_a_week_and_never_less_than_nothing() {
        assert_eq!(wait(5_000, 2_000), Duration::from_secs(3));
        assert_eq!(wait(2_000, 5_000), Duration::ZERO);
        assert_eq!(wait(365 * 86_400_000, 0), DUE_MAX);
        assert_eq!(wait(i64::MAX, i64::MIN), DUE_MAX);
    }
}
