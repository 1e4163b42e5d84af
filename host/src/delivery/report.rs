//! What an examination of a plugin version found: the same words from `hookyard plugin inspect`, from a deploy that was taken and from one
//! that was refused.

use serde::{Deserialize, Serialize};

/// What is known of a version, and how far its examination came.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct AdmissionReport {
    /// Size of the component file.
    pub component_bytes: u64,
    /// `pure-handler` or `webhook-handler`, from what it imports and exports; none where the file is no component.
    pub world: Option<String>,
    /// The `hookyard:plugin` interfaces it imports.
    pub imports: Vec<String>,
    /// The WASI interfaces it imports: linked, and powerless.
    pub wasi_imports: Vec<String>,
    /// Whether it exports `validate-config`.
    pub validates_config: bool,
    /// Core instances one run needs.
    pub core_instances: Option<u32>,
    /// Linear memories one run needs.
    pub memories: Option<u32>,
    /// What it asks for beyond what every plugin has, one a line.
    pub asks: Vec<String>,
    /// What of it the version before did not ask for.
    pub asks_more: Vec<String>,
    /// The steps in their order; the last is the refused one, where it was refused.
    pub steps: Vec<AdmissionStep>,
}

/// What a look at the settings' files came to.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct ReloadReport {
    /// What counts now, and did not before.
    pub taken: Vec<String>,
    /// What is wrong; what was before goes on.
    pub refused: Vec<String>,
    /// What is sound and counts after a restart only.
    pub restart: Vec<String>,
    /// What to know beside it.
    pub notes: Vec<String>,
}

/// What became of credentials and certificates that were read again.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Renewed {
    /// They are as they were.
    Same,
    /// The next connection uses them.
    Taken,
    /// They are of another place, and nothing was changed.
    Elsewhere,
}

/// One step of an examination.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct AdmissionStep {
    /// `manifest`, `grants`, `component`, `compile`, `config` or `sample`; `kept` where nothing is known of an
    /// examination that was made by an older host.
    pub step: String,
    /// How it ended.
    pub result: StepResult,
    /// In words.
    pub detail: String,
    /// How long it took.
    pub duration_ms: f64,
}

/// How a step ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum StepResult {
    /// Nothing speaks against the version.
    Ok,
    /// Something to know; the version is taken all the same.
    Noted,
    /// There was nothing to do.
    Skipped,
    /// The version is not taken.
    Refused,
}

impl StepResult {
    /// The result's one name.
    #[must_use]
    pub fn slug(self) -> &'static str {
        match self {
            Self::Ok => "ok",
            Self::Noted => "noted",
            Self::Skipped => "skipped",
            Self::Refused => "refused",
        }
    }
}
