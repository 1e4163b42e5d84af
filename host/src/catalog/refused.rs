//! Why a version does not serve: a slug, words, and how far its examination came.

use super::{Inner, files::FileRefusal};
use crate::{
    delivery::{Digest, PluginName, TenantId, report::AdmissionReport, view::PluginRefusalView},
    observe::facts::PluginRefused,
    runtime::{AdmissionError, Again},
};

/// A refusal.
#[derive(Clone, Debug, PartialEq)]
pub(super) struct Refused {
    pub(super) code: &'static str,
    pub(super) reason: String,
    digest: Option<Digest>,
    report: Option<Box<AdmissionReport>>,
    /// When the same files are to be tried again; only after a change where it is not said.
    pub(super) again: Option<Again>,
}

impl Refused {
    pub(super) fn new(code: &'static str, reason: impl Into<String>) -> Self {
        Self { code, reason: reason.into(), digest: None, report: None, again: None }
    }

    /// The host could not do its part; the files are looked at again.
    pub(super) fn by_host(reason: impl Into<String>) -> Self {
        Self::new("host_unavailable", reason)
    }

    pub(super) fn is_hosts(&self) -> bool {
        self.code == "host_unavailable"
    }

    /// Of this version.
    pub(super) fn of(self, digest: Digest) -> Self {
        Self { digest: Some(digest), ..self }
    }

    /// With what was found until then.
    pub(super) fn with(self, report: AdmissionReport) -> Self {
        Self { report: Some(Box::new(report)), ..self }
    }
}

impl From<AdmissionError> for Refused {
    fn from(error: AdmissionError) -> Self {
        Self { again: error.again, ..Self::new(error.code, error.detail) }
    }
}

impl From<FileRefusal> for Refused {
    fn from(refusal: FileRefusal) -> Self {
        Self::new(refusal.code, refusal.detail)
    }
}

impl Inner {
    /// Shows a refusal; whatever serves goes on.
    pub(super) fn refuse(&self, tenant: &TenantId, name: &PluginName, refused: Refused) {
        let is_hosts = refused.is_hosts();
        let Refused { code, reason, digest, report, again: _ } = refused;
        let view = PluginRefusalView {
            code: code.to_owned(),
            reason: reason.clone(),
            at: self.parts.clock.now(),
            digest: digest.map(|digest| digest.to_string()),
            report: report.map(|report| *report),
        };
        self.change(|table| {
            table.with(tenant, name, |entry| {
                entry.refusal = Some(view.clone());
                // What the host could not do is tried again soon; until then what was expected still is.
                entry.expected = entry.expected.take().filter(|_| is_hosts);
            })
        });
        self.parts.observer.record(&PluginRefused { tenant: tenant.clone(), plugin: name.clone(), code, reason });
    }
}
