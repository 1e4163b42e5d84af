//! Why the host is not ready, if it is not: a set of reasons, each with an owner who puts it in and takes it out.

use std::{
    collections::BTreeMap,
    sync::{Arc, Mutex, PoisonError},
};

/// The reasons of this moment; cheap to clone.
#[derive(Clone, Debug, Default)]
pub struct Readiness(Arc<Mutex<BTreeMap<&'static str, String>>>);

impl Readiness {
    /// No reason against it.
    #[must_use]
    pub fn new() -> Self {
        Self::default()
    }

    /// Not ready because of `reason` (a slug), in words `detail`.
    pub fn block(&self, reason: &'static str, detail: impl Into<String>) {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).insert(reason, detail.into());
    }

    /// `reason` holds no more.
    pub fn clear(&self, reason: &'static str) {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).remove(reason);
    }

    /// Whether nothing speaks against it.
    pub fn is_ready(&self) -> bool {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).is_empty()
    }

    /// The reasons, by slug.
    pub fn reasons(&self) -> BTreeMap<&'static str, String> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }
}
