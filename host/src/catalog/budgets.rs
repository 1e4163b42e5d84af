//! What a run of each plugin may spend: what its manifest asks for, within its tenant's ceiling of this moment.

use std::sync::Arc;

use super::{Inner, Plugin};
use crate::{delivery::TenantId, tenants::Budget};

impl Inner {
    /// A tenant that is not known (its file was bad from the start) has no ceiling to read: it gets what is given without asking.
    pub(super) fn ceiling(&self, tenant: &TenantId) -> Budget {
        let directory = self.parts.tenants.snapshot();
        directory.tenants.get(tenant).map_or(self.settings.default_budget, |tenant| tenant.ceiling).min(self.settings.ceiling)
    }

    /// Fits every budget to the ceilings of this moment: a tenant's file may have been read again since.
    pub(super) fn fit_budgets(&self) {
        let table = self.table.load();
        for plugin in table.0.values().flat_map(|plugins| plugins.values()).filter_map(|entry| entry.plugin.as_ref()) {
            let budget = plugin.limits.budget(self.settings.default_budget, self.ceiling(&plugin.tenant));
            if budget != plugin.budget {
                let fitted = Arc::new(Plugin { budget, ..Plugin::clone(plugin) });
                self.change(|table| table.with(&plugin.tenant, &plugin.name, |entry| entry.plugin = Some(Arc::clone(&fitted))));
            }
        }
    }
}
