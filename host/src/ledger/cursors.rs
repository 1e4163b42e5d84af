//! How far each stream has come.
//!
//! A stream is no hook in the accept path. It reads what is synced, by a cursor that only it moves, and moves it only when the other side has
//! confirmed; so it may fail, wait or fall behind without anybody noticing at the door. Deliveries are followed by `seq`, emits by `mark`.
//!
//! Retention waits for the cursors of the streams that are configured, up to a bound. What goes unread beyond it is counted in the cursor's
//! own row, in the transaction that deletes it.

use rusqlite::{Connection, OptionalExtension as _, Row, params};
use tokio::sync::watch;

use super::{Ledger, LedgerError, committer::Tx, counters::Counters, readers::READ_MAX, rows::parsed, seal};
use crate::delivery::StreamName;

/// What a stream follows.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Followed {
    /// Every accepted delivery.
    Deliveries,
    /// Everything the plugins emit.
    Emits,
}

/// Tells when the heads move. It gives copies only: a borrowed value would hold a lock that the committer needs, and an `await` that kept
/// one would stop every accept.
#[derive(Debug)]
pub struct HeadsWatch(watch::Receiver<Heads>);

impl HeadsWatch {
    /// The heads of this moment; [`HeadsWatch::moved`] waits for others.
    pub fn latest(&mut self) -> Heads {
        *self.0.borrow_and_update()
    }

    /// Waits until they are not what was told last. False where the ledger is gone.
    pub async fn moved(&mut self) -> bool {
        self.0.changed().await.is_ok()
    }
}

impl Followed {
    /// Its word in files, answers and documents.
    #[must_use]
    pub fn slug(self) -> &'static str {
        match self {
            Self::Deliveries => "deliveries",
            Self::Emits => "emits",
        }
    }
}

/// Where a stream begins that has no cursor yet.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum StreamStart {
    /// With what comes from now on.
    Newest,
    /// With the oldest that is still kept.
    Oldest,
}

/// How far a stream has come.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct StreamCursor {
    /// Which stream.
    pub name: StreamName,
    /// What it follows.
    pub followed: Followed,
    /// The last position that was published, or passed over.
    pub position: u64,
    /// How many it will never publish: deleted by retention before it came to them, or unreadable.
    pub gap: u64,
}

/// The last position of each kind that is on disk.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Heads {
    /// Of deliveries.
    pub deliveries: u64,
    /// Of emits.
    pub emits: u64,
}

impl Heads {
    /// The head of what is followed.
    #[must_use]
    pub fn of(self, followed: Followed) -> u64 {
        match followed {
            Followed::Deliveries => self.deliveries,
            Followed::Emits => self.emits,
        }
    }
}

impl Ledger {
    /// Says which streams there are: each gets a cursor where it has none, and retention waits for these and no others. A stream that is not
    /// named keeps its cursor, should it ever come back.
    pub async fn follow(&self, streams: Vec<(StreamName, Followed, StreamStart)>) -> Result<(), LedgerError> {
        self.shared().write(0, move |tx| follow(tx, &streams)).await
    }

    /// Every cursor there is, those of streams that are configured no more among them.
    pub async fn stream_cursors(&self) -> Result<Vec<StreamCursor>, LedgerError> {
        self.shared().read(READ_MAX, cursors).await
    }

    /// One cursor.
    pub async fn stream_cursor(&self, name: &StreamName, followed: Followed) -> Result<Option<StreamCursor>, LedgerError> {
        let name = name.clone();
        let read = move |conn: &Connection| {
            conn.prepare_cached(&format!("{CURSOR} WHERE name = ?1 AND followed = ?2"))?
                .query_row(params![name.as_str(), code(followed)], cursor)
                .optional()
        };
        self.shared().read(READ_MAX, read).await
    }

    /// Moves a cursor forward, never back, and adds to its gap. Durable when this returns.
    pub async fn advance_stream(&self, name: &StreamName, followed: Followed, end: u64, gap: u64) -> Result<(), LedgerError> {
        let name = name.clone();
        let advance = move |tx: &mut Tx<'_>| {
            let sql = "UPDATE streams SET position = max(position, ?3), gap = gap + ?4 WHERE name = ?1 AND followed = ?2";
            tx.execute(sql, params![name.as_str(), code(followed), end.cast_signed(), gap.cast_signed()]).map(drop)
        };
        self.shared().write(0, advance).await
    }

    /// The heads of this moment.
    #[must_use]
    pub fn heads(&self) -> Heads {
        *self.shared().heads.borrow()
    }

    /// The heads as they move; told after the senders were answered, so that a follower costs them nothing.
    #[must_use]
    pub fn watch_heads(&self) -> HeadsWatch {
        HeadsWatch(self.shared().heads.subscribe())
    }
}

const CURSOR: &str = "SELECT name, followed, position, gap, sound FROM streams";

fn code(followed: Followed) -> i64 {
    match followed {
        Followed::Deliveries => 0,
        Followed::Emits => 1,
    }
}

fn cursor(row: &Row<'_>) -> rusqlite::Result<StreamCursor> {
    seal::check(row, 4, "a stream's cursor")?;
    Ok(StreamCursor {
        name: parsed(row, 0)?,
        followed: if row.get::<_, i64>(1)? == 0 { Followed::Deliveries } else { Followed::Emits },
        position: row.get::<_, i64>(2)?.cast_unsigned(),
        gap: row.get::<_, i64>(3)?.cast_unsigned(),
    })
}

fn cursors(conn: &Connection) -> rusqlite::Result<Vec<StreamCursor>> {
    conn.prepare_cached(&format!("{CURSOR} ORDER BY name, followed"))?.query_map([], cursor)?.collect()
}

/// The heads the counters tell.
pub(super) fn heads(counters: &Counters) -> Heads {
    Heads { deliveries: counters.seq, emits: counters.mark }
}

fn follow(tx: &mut Tx<'_>, streams: &[(StreamName, Followed, StreamStart)]) -> rusqlite::Result<()> {
    // Where a cursor was is not known any more, nor whose it was: better what is kept once again than something never.
    let damaged = tx.execute("UPDATE streams SET position = 0, gap = 0 WHERE NOT sound", [])?;
    if damaged > 0 {
        tracing::error!(damaged, "stream_cursors_damaged");
    }
    tx.execute("UPDATE streams SET held = 0", [])?;
    let heads = heads(&tx.counters);
    for (name, followed, start) in streams {
        let position = match start {
            StreamStart::Newest if damaged == 0 => heads.of(*followed),
            StreamStart::Newest | StreamStart::Oldest => 0,
        };
        tx.execute(
            "INSERT INTO streams(name, followed, position, gap, held) VALUES (?1, ?2, ?3, 0, 1)
             ON CONFLICT (name, followed) DO UPDATE SET held = 1",
            params![name.as_str(), code(*followed), position.cast_signed()],
        )?;
    }
    Ok(())
}

/// Counts a delivery that is about to be deleted, and its emits, for every stream that has not come to them. How many were missed.
pub(super) fn miss(tx: &Tx<'_>, seq: i64) -> rusqlite::Result<usize> {
    let deliveries = tx.execute(
        "UPDATE streams SET gap = gap + 1
         WHERE followed = 0 AND position < ?1 AND NOT EXISTS (SELECT 1 FROM adopted WHERE seq = ?1)",
        [seq],
    )?;
    let emits = tx.execute(
        "UPDATE streams SET gap = gap + (SELECT count(*) FROM emits e WHERE e.seq = ?1 AND e.mark > streams.position)
         WHERE followed = 1 AND EXISTS (SELECT 1 FROM emits e WHERE e.seq = ?1 AND e.mark > streams.position)",
        [seq],
    )?;
    Ok(deliveries + emits)
}
