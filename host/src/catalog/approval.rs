//! The operator's yes to a version that asks for more than the one before.
//!
//! What is approved is the version that was shown, by its digest: files that were changed meanwhile are another version, and wait anew. The
//! approval is the deploy itself, so there is nothing to remember of it but that the version serves.

use std::sync::PoisonError;

use super::{Inner, files, loads::Wanted};
use crate::delivery::{Digest, PluginName, TenantId};

/// Why nothing was approved.
#[derive(Debug, thiserror::Error)]
pub enum ApprovalError {
    /// There is no plugin of that name.
    #[error("there is no such plugin")]
    NoPlugin,
    /// No version of it waits.
    #[error("no version of it waits for an approval")]
    NothingWaits,
    /// The files are not those that were shown any more.
    #[error("the files have changed since they were shown; `hookyard plugins show` has the new ones")]
    Changed,
    /// The version was approved and then refused for another reason.
    #[error("approved, and then refused: {0}")]
    Refused(String),
}

impl Inner {
    /// Lets the version serve that waits for it.
    pub(super) async fn approve(&self, tenant: &TenantId, name: &PluginName) -> Result<(), ApprovalError> {
        let entry = self.table.load().entry(tenant, name).cloned().ok_or(ApprovalError::NoPlugin)?;
        let waiting = entry.refusal.filter(|refusal| refusal.code == "approval_needed");
        let digest: Digest = waiting.and_then(|refusal| refusal.digest?.parse().ok()).ok_or(ApprovalError::NothingWaits)?;
        let folder = self.settings.tenants_dir.join(tenant.as_str());
        let threads = self.parts.runtime.threads(tenant);
        let found = threads.run(move || files::scan(&folder)).await.ok().and_then(Result::ok);
        let stamps = found.and_then(|found| found.get(name).copied()).ok_or(ApprovalError::Changed)?;
        let key = (tenant.clone(), name.clone(), digest);
        self.approved.lock().unwrap_or_else(PoisonError::into_inner).insert(key.clone());
        self.load(tenant, name, stamps, &Wanted::since(self.parts.clock.instant())).await;
        self.is_compiling(tenant, name, false);
        self.approved.lock().unwrap_or_else(PoisonError::into_inner).remove(&key);
        let after = self.table.load().entry(tenant, name).cloned().ok_or(ApprovalError::NoPlugin)?;
        match after.refusal {
            _ if after.plugin.is_some_and(|plugin| plugin.digest == digest) => Ok(()),
            Some(refusal) if refusal.code != "approval_needed" => {
                Err(ApprovalError::Refused(format!("{}: {}", refusal.code, refusal.reason)))
            }
            _ => Err(ApprovalError::Changed),
        }
    }

    /// Whether a version that asks for more must wait.
    pub(super) fn more_waits(&self, tenant: &TenantId, name: &PluginName, digest: Digest) -> bool {
        let approved = self.approved.lock().unwrap_or_else(PoisonError::into_inner);
        self.new_grants_wait(tenant) && !approved.contains(&(tenant.clone(), name.clone(), digest))
    }

    /// Whether the tenant's versions that ask for more wait for an operator.
    pub(super) fn new_grants_wait(&self, tenant: &TenantId) -> bool {
        let by_tenant = self.parts.tenants.snapshot().tenants.get(tenant).is_some_and(|tenant| tenant.approve_new_grants);
        by_tenant || self.settings.approve_new_grants
    }
}
