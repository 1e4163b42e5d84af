//! Loads beside the watch: each in a task of its own, so that a look at the folders, a removal and a pause wait for no compiler.
//!
//! A load waits for its tenant's turn before it reads a byte. Until its version is swapped in it can be called off: because newer files lie
//! there, because they are gone, because the host stops. Whether it is still wanted is asked once more under the lock that versions change
//! under; so what was called off never serves.

use std::{
    collections::BTreeMap,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    time::Instant,
};

use tokio::sync::Notify;
use tokio_util::sync::CancellationToken;

use super::{Inner, files::Stamps, load::Seen};
use crate::{
    delivery::{PluginName, TenantId},
    egress::Allowed,
    ledger::ShelvedVersion,
    runtime::Again,
    tasks::Tasks,
};

/// Whose plugin.
pub(super) type Key = (TenantId, PluginName);

/// The loads under way, and those that ended and were not looked at yet.
#[derive(Debug, Default)]
pub(super) struct Loads {
    all: Mutex<BTreeMap<Key, Load>>,
    /// Versions that served before the start and are not there yet.
    kept: Mutex<BTreeMap<Key, Kept>>,
    /// Told when one has ended.
    pub(super) ended: Notify,
}

#[derive(Debug)]
struct Load {
    stamps: Stamps,
    allowed: Option<Arc<Allowed>>,
    wanted: Wanted,
    how: Option<Loaded>,
}

/// A version that served before the start, on its way.
#[derive(Clone, Debug)]
struct Kept {
    wanted: Wanted,
    /// Cancelled when it serves, or was refused.
    over: CancellationToken,
}

/// What a load asks whether it is still to go on.
#[derive(Clone, Debug)]
pub(super) struct Wanted {
    unwanted: CancellationToken,
    /// When the files were found.
    pub(super) since: Instant,
}

/// How a load ended.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Loaded {
    /// The version serves, or was refused; and perhaps the same files are to be tried again later.
    Done(Option<Again>),
    /// The files changed under the reader's hands, or the host could not do its part.
    Soon,
    /// It was not wanted any more.
    CalledOff,
}

impl Wanted {
    pub(super) fn since(since: Instant) -> Self {
        Self { unwanted: CancellationToken::new(), since }
    }

    pub(super) fn is_called_off(&self) -> bool {
        self.unwanted.is_cancelled()
    }

    /// What `work` gives, unless it is called off meanwhile.
    pub(super) async fn unless_called_off<T>(&self, work: impl Future<Output = T>) -> Option<T> {
        tokio::select! {
            biased;
            () = self.unwanted.cancelled() => None,
            done = work => Some(done),
        }
    }
}

impl Loads {
    /// The load of a plugin is not wanted any more.
    pub(super) fn call_off(&self, tenant: &TenantId, name: &PluginName) {
        if let Some(load) = self.all().get(&(tenant.clone(), name.clone())) {
            load.wanted.unwanted.cancel();
        }
        if let Some(kept) = self.kept().get(&(tenant.clone(), name.clone())) {
            kept.wanted.unwanted.cancel();
        }
    }

    /// Whether the version that served before the start is still on its way.
    pub(super) fn is_restoring(&self, tenant: &TenantId, name: &PluginName) -> bool {
        self.kept().contains_key(&(tenant.clone(), name.clone()))
    }

    /// Waits for the version that served before the start, if there is one: newer files are compared with it, and come after it.
    async fn restored(&self, key: &Key) {
        let kept = self.kept().get(key).cloned();
        if let Some(kept) = kept {
            kept.over.cancelled().await;
        }
    }

    /// Whether these files are being loaded. A load of other files of the same plugin is called off: newer ones lie there.
    pub(super) fn are_loading(&self, key: &Key, stamps: Stamps) -> bool {
        let all = self.all();
        let Some(load) = all.get(key) else { return false };
        if load.stamps != stamps {
            load.wanted.unwanted.cancel();
        }
        true
    }

    /// Takes over what has ended into what is remembered of the files. True where something is to be looked at again.
    pub(super) fn gather(&self, seen: &mut Seen) -> bool {
        let mut again = false;
        self.all().retain(|key, load| {
            let Some(how) = load.how.take() else { return true };
            match how {
                Loaded::Done(when) => {
                    seen.0.entry(key.clone()).or_default().loaded(load.stamps, load.allowed.take(), when);
                }
                Loaded::Soon | Loaded::CalledOff => again = true,
            }
            false
        });
        again
    }

    /// Completes when none is under way.
    pub(super) async fn idle(&self) {
        loop {
            let ended = self.ended.notified();
            if self.kept().is_empty() && self.all().values().all(|load| load.how.is_some()) {
                return;
            }
            ended.await;
        }
    }

    fn kept(&self) -> MutexGuard<'_, BTreeMap<Key, Kept>> {
        self.kept.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn all(&self) -> MutexGuard<'_, BTreeMap<Key, Load>> {
        self.all.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Inner {
    /// Starts loading a plugin's files.
    pub(super) fn start_loading(self: &Arc<Self>, key: Key, stamps: Stamps, wanted: Wanted, tasks: &Tasks) {
        let allowed = self.known_allowed(&key.0);
        self.loads.all().insert(key.clone(), Load { stamps, allowed, wanted: wanted.clone(), how: None });
        let (inner, stopping) = (Arc::clone(self), tasks.clone());
        tasks.spawn("load", async move {
            let (tenant, name) = &key;
            let how = tokio::select! {
                () = stopping.stopping() => Loaded::CalledOff,
                how = inner.load_after_kept(&key, stamps, &wanted) => how,
            };
            inner.is_compiling(tenant, name, false);
            if let Some(load) = inner.loads.all().get_mut(&key) {
                load.how = Some(how);
            }
            inner.loads.ended.notify_waiters();
            inner.loads.ended.notify_one();
        });
    }

    async fn load_after_kept(&self, key: &Key, stamps: Stamps, wanted: &Wanted) -> Loaded {
        match wanted.unless_called_off(self.loads.restored(key)).await {
            Some(()) => self.load(&key.0, &key.1, stamps, wanted).await,
            None => Loaded::CalledOff,
        }
    }

    /// Starts loading the version that served last. Files of its plugin wait for it.
    pub(super) fn start_restoring(self: &Arc<Self>, version: ShelvedVersion, tasks: &Tasks) {
        let key = (version.tenant.clone(), version.name.clone());
        let kept = Kept { wanted: Wanted::since(self.parts.clock.instant()), over: CancellationToken::new() };
        self.loads.kept().insert(key.clone(), kept.clone());
        let (inner, stopping) = (Arc::clone(self), tasks.clone());
        tasks.spawn("restore", async move {
            let (tenant, name) = &key;
            tokio::select! {
                () = stopping.stopping() => {}
                _ = kept.wanted.unless_called_off(inner.restore(&version, &kept.wanted)) => {}
            }
            inner.is_compiling(tenant, name, false);
            inner.loads.kept().remove(&key);
            kept.over.cancel();
            inner.loads.ended.notify_waiters();
        });
    }

    /// Shows that a version of the plugin is on its way, and since when; or that none is any more.
    pub(super) fn is_compiling(&self, tenant: &TenantId, name: &PluginName, is: bool) {
        let now = self.parts.clock.now();
        if is {
            self.change(|table| table.with(tenant, name, |entry| entry.compiling_since = Some(entry.compiling_since.unwrap_or(now))));
        } else if self.table.load().entry(tenant, name).is_some_and(|entry| entry.compiling_since.is_some()) {
            self.change(|table| table.without_compiling(tenant, name));
        }
    }
}
