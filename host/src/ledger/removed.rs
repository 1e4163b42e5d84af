//! Forgetting the values of plugins that are gone.
//!
//! A plugin is gone where no version of it is on the shelf, nobody has paused it and its queue is not served. When that was first seen is written
//! down, so that a restart does not begin the time anew; a plugin that comes back in time finds its values. Steps, records and emits go with
//! their deliveries. The values count as their tenant's stored bytes until then, so going through names gains nobody room.

use std::sync::Arc;

use rusqlite::{Connection, params};

use super::{LedgerError, Shared, committer::Tx, kv, readers::READ_MAX, rows::parsed};
use crate::delivery::{PluginName, TenantId, Timestamp};

/// Values removed at once.
const REMOVED_MAX: usize = 250;

/// A plugin with values of which the shelf has no version.
#[derive(Clone, Debug)]
struct Gone {
    queue: i64,
    tenant: TenantId,
    name: PluginName,
    /// When that was first seen.
    since: Option<Timestamp>,
}

/// One round.
pub(super) async fn retain(shared: &Arc<Shared>) -> Result<(), LedgerError> {
    let (mut gone, mut noted) = shared.read(READ_MAX, |conn| Ok((look(conn)?, noted(conn)?))).await?;
    gone.retain(|gone| !shared.schedule.is_served(gone.queue));
    let due = shared.clock.now().before(shared.settings.retain_removed_plugin);
    for gone in gone {
        noted.retain(|(tenant, name)| (tenant, name) != (&gone.tenant, &gone.name));
        match gone.since {
            None => shared.write(0, move |tx| note(tx, &gone)).await?,
            Some(since) if since <= due => forget(shared, &gone).await?,
            Some(_) => {}
        }
    }
    for back in noted {
        shared.write(0, move |tx| strike(tx, &back)).await?;
    }
    Ok(())
}

fn look(conn: &Connection) -> rusqlite::Result<Vec<Gone>> {
    let gone = |row: &rusqlite::Row<'_>| {
        let since = row.get::<_, Option<i64>>(3)?.map(Timestamp::from_unix_ms);
        Ok(Gone { queue: row.get(0)?, tenant: parsed(row, 1)?, name: parsed(row, 2)?, since })
    };
    conn.prepare_cached(
        "SELECT q.id, q.tenant, q.plugin, r.since_ms FROM kv_usage u JOIN queues q ON q.id = u.queue
         LEFT JOIN removed_plugins r ON r.tenant = q.tenant AND r.name = q.plugin
         WHERE u.keys > 0 AND NOT EXISTS (SELECT 1 FROM kept_plugins k WHERE k.tenant = q.tenant AND k.name = q.plugin)
         AND NOT EXISTS (SELECT 1 FROM plugin_pauses p WHERE p.tenant = q.tenant AND p.name = q.plugin)",
    )?
    .query_map([], gone)?
    .collect()
}

fn noted(conn: &Connection) -> rusqlite::Result<Vec<(TenantId, PluginName)>> {
    conn.prepare_cached("SELECT tenant, name FROM removed_plugins")?.query_map([], |row| Ok((parsed(row, 0)?, parsed(row, 1)?)))?.collect()
}

fn note(tx: &mut Tx<'_>, gone: &Gone) -> rusqlite::Result<()> {
    let sql = "INSERT OR IGNORE INTO removed_plugins(tenant, name, since_ms) VALUES (?1, ?2, ?3)";
    tx.execute(sql, params![gone.tenant.as_str(), gone.name.as_str(), tx.now.unix_ms()]).map(drop)
}

fn strike(tx: &mut Tx<'_>, (tenant, name): &(TenantId, PluginName)) -> rusqlite::Result<()> {
    tx.execute("DELETE FROM removed_plugins WHERE tenant = ?1 AND name = ?2", [tenant.as_str(), name.as_str()]).map(drop)
}

/// Removes all values of a plugin, some at a time; stops where it has come back.
async fn forget(shared: &Arc<Shared>, gone: &Gone) -> Result<(), LedgerError> {
    let Gone { queue, tenant, name, .. } = gone;
    let (queue, mut removed) = (*queue, 0);
    loop {
        let step = move |tx: &mut Tx<'_>| if tx.shared.schedule.is_served(queue) { Ok(0) } else { kv::remove_some(tx, queue, REMOVED_MAX) };
        match shared.write(0, step).await? {
            0 => break,
            values => removed += values,
        }
    }
    tracing::info!(%tenant, plugin = %name, values = removed, "values_of_removed_plugin_forgotten");
    let key = (tenant.clone(), name.clone());
    shared.write(0, move |tx| strike(tx, &key)).await
}
