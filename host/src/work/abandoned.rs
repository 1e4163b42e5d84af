//! Queues whose plugin has been gone too long: their legs wait for nothing, and dead letters are where an operator looks.
//!
//! A removed plugin parks its queue, because files are replaced and mounts come back. After 72 hours it is taken for gone, and its legs take
//! the way of every other: they are leased, found to have no plugin, judged and settled, each with its record. The time counts from when this
//! host first saw the queue without a plugin, so a restart begins it again; dying late is harmless, dying early is not.

use std::{
    collections::BTreeMap,
    sync::{Mutex, PoisonError},
};

use super::judge::judge_parked;
use crate::{
    broker::{Queue, RunMemory},
    delivery::{PluginName, TenantId, Timestamp, view::QueueView},
};

/// Since when queues with open legs have been without a plugin.
#[derive(Debug, Default)]
pub(super) struct Abandoned(Mutex<BTreeMap<(TenantId, PluginName), Timestamp>>);

impl Abandoned {
    /// Looks at the depths of this moment and gives the queues that are to be worked off as having no plugin.
    pub(super) fn look(&self, depths: Vec<QueueView>, is_known: impl Fn(&TenantId, &PluginName) -> bool, now: Timestamp) -> Vec<Queue> {
        let mut absent = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let before = std::mem::take(&mut *absent);
        for depth in depths {
            let open = depth.waiting + depth.leased + depth.retry + depth.parked + depth.relayed > 0;
            if open && !is_known(&depth.tenant, &depth.plugin) {
                let key = (depth.tenant, depth.plugin);
                let since = before.get(&key).copied().unwrap_or(now);
                absent.insert(key, since);
            }
        }
        let overdue = absent.iter().filter(|(_, since)| judge_parked(**since, now).is_some());
        overdue.map(|((tenant, plugin), _)| unserved(tenant, plugin)).collect()
    }

    /// Whether this queue is one of them.
    pub(super) fn holds(&self, tenant: &TenantId, plugin: &PluginName, now: Timestamp) -> bool {
        let absent = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        absent.get(&(tenant.clone(), plugin.clone())).is_some_and(|since| judge_parked(*since, now).is_some())
    }
}

/// A queue of which no leg will be run, and so takes no memory.
fn unserved(tenant: &TenantId, plugin: &PluginName) -> Queue {
    Queue { tenant: tenant.clone(), plugin: plugin.clone(), concurrency_max: 1, run_memory: RunMemory::default() }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;

    fn depth(plugin: &str, parked: u64) -> QueueView {
        QueueView {
            tenant: TenantId::default_tenant(),
            plugin: plugin.parse().unwrap(),
            waiting: 0,
            leased: 0,
            retry: 0,
            parked,
            relayed: 0,
            dead: 0,
        }
    }

    #[test]
    fn a_queue_is_abandoned_after_72_hours_without_a_plugin_and_not_before() {
        let (abandoned, start) = (Abandoned::default(), Timestamp::from_unix_ms(0));
        let gone = |_: &TenantId, _: &PluginName| false;
        let hours = |hours: u64| start.after(Duration::from_hours(hours));
        let depths = || vec![depth("gone", 3), depth("empty", 0)];
        assert!(abandoned.look(depths(), gone, start).is_empty());
        assert!(abandoned.look(depths(), gone, hours(71)).is_empty());
        let queues = abandoned.look(depths(), gone, hours(72));
        assert_eq!(queues.iter().map(|queue| queue.plugin.as_str()).collect::<Vec<_>>(), ["gone"]);
        assert!(abandoned.holds(&queues[0].tenant, &queues[0].plugin, hours(72)));
    }

    #[test]
    fn a_plugin_that_comes_back_begins_anew() {
        let (abandoned, start) = (Abandoned::default(), Timestamp::from_unix_ms(0));
        let late = start.after(Duration::from_hours(80));
        abandoned.look(vec![depth("p", 1)], |_, _| false, start);
        abandoned.look(vec![depth("p", 1)], |_, _| true, start.after(Duration::from_hours(71)));
        assert!(abandoned.look(vec![depth("p", 1)], |_, _| false, late).is_empty());
        assert!(!abandoned.holds(&TenantId::default_tenant(), &"p".parse().unwrap(), late));
    }
}
