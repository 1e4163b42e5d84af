//! The table of shares as gauges, read when somebody asks.

use std::collections::BTreeMap;

use prometheus_client::{
    metrics::{family::Family, gauge::Gauge},
    registry::Registry,
};

use super::labels::{Known, ResourceLabels, ShareLabels, UsageLabels};
use crate::shares::{Resource, Shares};

/// What there is, what one holder may have, what tenants use.
#[derive(Debug, Default)]
pub(super) struct ShareGauges {
    used: Family<UsageLabels, Gauge>,
    bound: Family<ResourceLabels, Gauge>,
    max: Family<ShareLabels, Gauge>,
}

impl ShareGauges {
    pub(super) fn register(&self, registry: &mut Registry) {
        registry.register("share_used", "What a tenant uses of a shared resource, at this scrape", self.used.clone());
        registry.register("share_bound", "How much of a shared resource there is for all", self.bound.clone());
        registry.register("share_max", "How much of a shared resource one holder may have", self.max.clone());
    }

    /// Addresses are no labels: what strangers hold is one number.
    pub(super) fn set(&self, shares: &Shares) {
        let value = |count: u64| i64::try_from(count).unwrap_or(i64::MAX);
        let mut used = BTreeMap::<UsageLabels, u64>::new();
        for usage in shares.usage() {
            let labels = UsageLabels { resource: usage.resource.row().name, tenant: Known::of(usage.holder.of_tenant()) };
            *used.entry(labels).or_default() += usage.used;
        }
        self.used.clear();
        for (labels, used) in used {
            self.used.get_or_create(&labels).set(value(used));
        }
        for resource in Resource::ALL {
            let (labels, limit) = (ResourceLabels { resource: resource.row().name }, shares.pool(resource).limit());
            self.bound.get_or_create(&labels).set(value(limit.bound));
            let everybody = ShareLabels { resource: labels.resource, tenant: None };
            self.max.get_or_create(&everybody).set(value(limit.share));
            for (holder, share) in shares.pool(resource).own() {
                let own = ShareLabels { resource: labels.resource, tenant: holder.of_tenant().cloned() };
                self.max.get_or_create(&own).set(value(share));
            }
        }
    }
}
