//! How long parked queues have waited: an age that grows is a plugin nobody misses, or a disk that fills.

use super::{Ledger, LedgerError, readers::READ_MAX};
use crate::delivery::{PluginName, TenantId, Timestamp};

impl Ledger {
    /// When the oldest leg of each parked queue was received. Legs that also wait for a time count from when it has come.
    pub async fn oldest_parked(&self) -> Result<Vec<(TenantId, PluginName, Timestamp)>, LedgerError> {
        let parked = self.shared().schedule.oldest_parked();
        if parked.is_empty() {
            return Ok(Vec::new());
        }
        self.shared()
            .read(READ_MAX, move |conn| {
                let mut received = conn.prepare_cached("SELECT received_ms FROM deliveries WHERE seq = ?1")?;
                let mut found = Vec::with_capacity(parked.len());
                for (tenant, plugin, seq) in parked {
                    let received_ms = received.query_row([seq.cast_signed()], |row| row.get(0))?;
                    found.push((tenant, plugin, Timestamp::from_unix_ms(received_ms)));
                }
                Ok(found)
            })
            .await
    }
}
