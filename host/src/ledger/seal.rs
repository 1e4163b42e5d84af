//! Seals: a checksum in every row that a flipped bit could turn into another one that also makes sense.
//!
//! `SQLite` has no page checksums. What was accepted is under the checksum of its body (`body`); a leg's state, the record of a run, a value a
//! plugin keeps change later and in many places, so their seal is a generated column: whoever writes the row, `SQLite` computes it, and no
//! writer can forget it. `sound` says whether the row is still the one that was sealed; who reads a row reads that too.
//!
//! A row that is damaged is shown as such, never run and never handed out as if nothing were wrong. Writing it seals it again: a leg that an
//! operator runs again after a look at it is a sound one.

use rusqlite::{
    Connection, Row,
    functions::{Context, FunctionFlags},
    types::{Type, ValueRef},
};
use sha2::{Digest as _, Sha256};

/// What stands in the place of a reason or detail in words, where its row is damaged.
pub(super) const DAMAGED: &str = "this row is damaged on the disk: what is shown of it may be wrong. Restore a backup, or run it again";

/// Teaches a connection the function behind the seals. Other programs can read the sealed tables without it, all but `sound`.
pub(super) fn teach(conn: &Connection) -> rusqlite::Result<()> {
    let flags = FunctionFlags::SQLITE_UTF8 | FunctionFlags::SQLITE_DETERMINISTIC | FunctionFlags::SQLITE_INNOCUOUS;
    conn.create_scalar_function("seal_of", -1, flags, |values| Ok(seal(values)))
}

/// An error where the row is not the one that was sealed: what it holds must not be taken for true. `at` is the column `sound`.
pub(super) fn check(row: &Row<'_>, at: usize, what: &str) -> rusqlite::Result<()> {
    if row.get(at)? {
        return Ok(());
    }
    let damaged = format!("{what} is damaged on the disk: restore a backup with `hookyard restore`");
    Err(rusqlite::Error::FromSqlConversionFailure(at, Type::Integer, damaged.into()))
}

/// The first eight bytes of the SHA-256 of the values, each with its type and length in front.
fn seal(values: &Context<'_>) -> i64 {
    let mut hash = Sha256::new();
    for at in 0..values.len() {
        let (kind, bytes): (u8, &[u8]) = match values.get_raw(at) {
            ValueRef::Null => (0, &[]),
            ValueRef::Integer(number) => {
                hash.update([1]);
                hash.update(number.to_le_bytes());
                continue;
            }
            ValueRef::Real(number) => {
                hash.update([2]);
                hash.update(number.to_le_bytes());
                continue;
            }
            ValueRef::Text(text) => (3, text),
            ValueRef::Blob(blob) => (4, blob),
        };
        hash.update([kind]);
        hash.update((bytes.len() as u64).to_le_bytes());
        hash.update(bytes);
    }
    let mut first = [0; 8];
    first.copy_from_slice(&hash.finalize()[..8]);
    i64::from_le_bytes(first)
}
