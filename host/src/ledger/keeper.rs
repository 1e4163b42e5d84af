//! Which RabbitMQ keeps the legs that are no longer this ledger's: legs at one broker are not found at another.

use rusqlite::{OptionalExtension as _, params};

use super::{Ledger, LedgerError, committer::Tx};

/// Legs are in the keeping of a broker that is not the one asked about.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct KeptElsewhere {
    /// How many.
    pub legs: u64,
    /// The broker that has them.
    pub keeper: String,
}

impl Ledger {
    /// From now on legs are given to `keeper`. Another one that still has legs is named, and stays the keeper unless `is_same`: the operator's
    /// word that both are one broker.
    pub async fn give_to(&self, keeper: String, is_same: bool) -> Result<Option<KeptElsewhere>, LedgerError> {
        let legs = self.in_keeping().await?.values().sum();
        self.shared().write(64, move |tx| give_to(tx, &keeper, if is_same { 0 } else { legs })).await
    }
}

fn give_to(tx: &Tx<'_>, keeper: &str, legs: u64) -> rusqlite::Result<Option<KeptElsewhere>> {
    let before: Option<String> = tx.conn.query_row("SELECT name FROM keeper", [], |row| row.get(0)).optional()?;
    match before {
        Some(before) if before != keeper && legs > 0 => Ok(Some(KeptElsewhere { legs, keeper: before })),
        Some(before) if before == keeper => Ok(None),
        _ => {
            tx.execute("INSERT INTO keeper VALUES (1, ?1) ON CONFLICT (id) DO UPDATE SET name = excluded.name", params![keeper])?;
            Ok(None)
        }
    }
}
