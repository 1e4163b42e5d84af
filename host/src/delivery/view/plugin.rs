//! Parts of what is shown of a plugin.

use serde::{Deserialize, Serialize};

use super::super::{TenantId, Timestamp, report::AdmissionReport};

/// Something in the tenants' folders that no host looks at, because of its name.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct PassedOverView {
    /// Whose folder it is in; none where it is a folder that is no tenant's.
    pub tenant: Option<TenantId>,
    /// The path in the folder of the tenants.
    pub path: String,
    /// Why it is not looked at, and what would be.
    pub reason: String,
}

/// A kept version of a plugin.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct PluginVersionView {
    /// The version.
    pub digest: String,
    /// When it last began to serve.
    pub served_from: Timestamp,
    /// Why its files are not taken, where it was rolled back from.
    pub held: Option<String>,
    /// Why it was left for an earlier version, where it was; such a version is not what a roll-back goes to unless it is named.
    #[serde(default)]
    pub taken_back: Option<String>,
}

/// Why the newest files of a plugin were not taken.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct PluginRefusalView {
    /// The refusal's slug, an entry of `docs/failures.md`.
    pub code: String,
    /// In words.
    pub reason: String,
    /// When.
    pub at: Timestamp,
    /// The refused version.
    pub digest: Option<String>,
    /// How far its examination came; only where one plugin is asked for.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub report: Option<AdmissionReport>,
}
