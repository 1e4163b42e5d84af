//! Why the host is not ready, if it is not: a set of reasons, each with an owner who puts it in and takes it out. Beside them notes: what an
//! operator should know and no balancer should act on.

use std::{
    collections::BTreeMap,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
};

/// Words by slug.
type Words = BTreeMap<&'static str, String>;

/// The reasons of this moment; cheap to clone.
#[derive(Clone, Debug, Default)]
pub struct Readiness {
    reasons: Arc<Mutex<Words>>,
    notes: Arc<Mutex<Words>>,
}

fn lock(words: &Mutex<Words>) -> MutexGuard<'_, Words> {
    words.lock().unwrap_or_else(PoisonError::into_inner)
}

impl Readiness {
    /// No reason against it.
    #[must_use]
    pub fn new() -> Self {
        Self::default()
    }

    /// Not ready because of `reason` (a slug), in words `detail`.
    pub fn block(&self, reason: &'static str, detail: impl Into<String>) {
        lock(&self.reasons).insert(reason, detail.into());
    }

    /// `reason` holds no more.
    pub fn clear(&self, reason: &'static str) {
        lock(&self.reasons).remove(reason);
    }

    /// Ready, and yet an operator should know `detail`.
    pub fn note(&self, note: &'static str, detail: impl Into<String>) {
        lock(&self.notes).insert(note, detail.into());
    }

    /// `note` holds no more.
    pub fn clear_note(&self, note: &'static str) {
        lock(&self.notes).remove(note);
    }

    /// Whether nothing speaks against it.
    pub fn is_ready(&self) -> bool {
        lock(&self.reasons).is_empty()
    }

    /// The reasons, by slug.
    pub fn reasons(&self) -> Words {
        lock(&self.reasons).clone()
    }

    /// The notes, by slug.
    pub fn notes(&self) -> Words {
        lock(&self.notes).clone()
    }
}
