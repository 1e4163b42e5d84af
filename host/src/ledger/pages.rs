//! `SQLite`'s own look at its pages and the rows in them.

use rusqlite::Connection;

/// Larger databases are not checked page by page: it would take minutes.
const BYTES_MAX: u64 = 1024 * 1024 * 1024;

/// What came of a look.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Pages {
    /// All is in order.
    Sound,
    /// The first thing that is not, in `SQLite`'s words.
    Damaged(String),
    /// They were not looked at: this many bytes.
    TooMany(u64),
}

/// Looks at all of them, where they are not too many.
pub(super) fn check(conn: &Connection) -> rusqlite::Result<Pages> {
    let bytes: i64 = conn.query_row("SELECT page_count * page_size FROM pragma_page_count, pragma_page_size", [], |row| row.get(0))?;
    if bytes.cast_unsigned() > BYTES_MAX {
        return Ok(Pages::TooMany(bytes.cast_unsigned()));
    }
    quick_check(conn)
}

/// Looks at all of them, however many.
pub(super) fn quick_check(conn: &Connection) -> rusqlite::Result<Pages> {
    let found: String = conn.query_row("PRAGMA quick_check(1)", [], |row| row.get(0))?;
    Ok(if found == "ok" { Pages::Sound } else { Pages::Damaged(found) })
}
