//! Stored deliveries as samples: what a new version is tried on before it serves, and what an old one is tried on beside it.

use rusqlite::{Connection, OptionalExtension, params};

use super::{Ledger, LedgerError, readers::READ_MAX, rows};
use crate::delivery::{Delivery, DeliveryId, LegState, PluginName, TenantId};

/// How far back a sample is looked for, in deliveries of all tenants: a look is a step per leg, and a deploy must not wait for a long one.
const LOOK_BACK: i64 = 20_000;

impl Ledger {
    /// A delivery as it was accepted; none where it is gone or its body is damaged.
    pub async fn stored_delivery(&self, id: DeliveryId) -> Result<Option<Delivery>, LedgerError> {
        self.shared()
            .read(READ_MAX, move |conn| match rows::find(conn, id)? {
                Some((seq, _)) => sound(conn, seq),
                None => Ok(None),
            })
            .await
    }

    /// The newest delivery a plugin has handled, among the last twenty thousand of the host.
    pub async fn sample(&self, tenant: &TenantId, plugin: &PluginName) -> Result<Option<Delivery>, LedgerError> {
        let Some(queue) = self.shared().schedule.queue(tenant, plugin) else { return Ok(None) };
        self.shared().read(READ_MAX, move |conn| newest(conn, queue)).await
    }
}

fn newest(conn: &Connection, queue: i64) -> rusqlite::Result<Option<Delivery>> {
    let found: Option<i64> = conn
        .prepare_cached(
            "SELECT seq FROM legs WHERE queue = ?1 AND state IN (?2, ?3) AND seq > (SELECT seq FROM counters) - ?4
             ORDER BY seq DESC LIMIT 1",
        )?
        .query_row(params![queue, rows::code(LegState::Acked), rows::code(LegState::Skipped), LOOK_BACK], |row| row.get(0))
        .optional()?;
    found.map_or(Ok(None), |seq| sound(conn, seq))
}

fn sound(conn: &Connection, seq: i64) -> rusqlite::Result<Option<Delivery>> {
    Ok(rows::delivery(conn, seq)?.filter(|(_, is_corrupt)| !is_corrupt).map(|(delivery, _)| delivery))
}
