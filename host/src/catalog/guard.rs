//! The guard: looks at what the versions' health asks for, and acts. Parks the queue of a version that only faults, lets it try again, takes
//! a version back that does worse than the one before, and gives back what a version has taken that was left.
//!
//! It is one task that decides at once what needs no run, and one task a tenant for what does, so that one tenant's slow plugins keep the
//! guard from nobody else. Circuits are looked after here, too: they hold queues like breakers do.

use std::{
    collections::BTreeSet,
    sync::{Arc, PoisonError},
    time::Instant,
};

use super::{
    Inner, Plugin,
    breaker::Stand,
    circuits::Look,
    health::Told,
    rollback::Word,
    table::Table,
    trial::{Reach, old_does_better},
};
use crate::{
    delivery::{Delivery, DeliveryId, TenantId},
    observe::facts::{PluginBreaker, UpstreamCircuit},
    tasks::Tasks,
};

pub(super) async fn run(inner: Arc<Inner>, tasks: Tasks) {
    loop {
        let next = inner.look_after(&tasks);
        let asleep = async {
            match next {
                Some(instant) => inner.parts.clock.sleep_until(instant).await,
                None => std::future::pending().await,
            }
        };
        tokio::select! {
            () = tasks.stopping() => return,
            () = inner.attention.notified() => {}
            () = asleep => {}
        }
    }
}

impl Inner {
    /// Does what needs no run, starts what does, and says when to look again.
    fn look_after(self: &Arc<Self>, tasks: &Tasks) -> Option<Instant> {
        let (table, now) = (self.table.load_full(), self.parts.clock.instant());
        let mut next: Option<Instant> = None;
        let mut busy = BTreeSet::new();
        for (tenant, entry) in table.0.iter().flat_map(|(tenant, plugins)| plugins.values().map(move |entry| (tenant, entry))) {
            let Some(plugin) = &entry.plugin else { continue };
            let (told, look, is_over) = {
                let mut state = plugin.health.lock();
                state.breaker.wake(now);
                let stand = state.breaker.stand();
                let told = (state.told != Told::from(stand)).then(|| std::mem::replace(&mut state.told, stand.into()));
                let is_over = state.watch.as_ref().is_some_and(|(_, until)| *until <= now);
                if is_over {
                    state.watch = None;
                }
                if state.breaker.is_suspect(self.settings.breaker) || state.watch.as_ref().is_some_and(|(watch, _)| watch.has_more()) {
                    busy.insert(tenant.clone());
                }
                let probe = match stand {
                    Stand::Open { until, .. } => Some(until),
                    _ => None,
                };
                (told.is_some(), probe.into_iter().chain(state.watch.as_ref().map(|(_, until)| *until)).min(), is_over)
            };
            if told {
                self.tell_breaker(plugin);
            }
            if is_over && entry.before.is_some() {
                self.change(|table| table.with(tenant, &plugin.name, |entry| entry.before = None));
            }
            next = next.into_iter().chain(look).min();
        }
        next = next.into_iter().chain(self.look_after_circuits(&table, now)).min();
        busy.extend(self.left_behind(now));
        for tenant in busy {
            self.attend(tenant, tasks);
        }
        next
    }

    /// Has the queues held, tried and opened as the circuits say, and tells of each move.
    fn look_after_circuits(&self, table: &Table, now: Instant) -> Option<Instant> {
        let Look { is_changed, moved, next } = self.circuits.look(now, |tenant| table.0.contains_key(tenant));
        if is_changed {
            self.change(Clone::clone);
        }
        for (tenant, destination, state) in moved {
            self.parts.observer.record(&UpstreamCircuit { tenant, destination, state });
        }
        next
    }

    /// Says where a breaker stands now, and has the queue served accordingly.
    fn tell_breaker(&self, plugin: &Plugin) {
        let (state, faults) = {
            let state = plugin.health.lock();
            (state.told.slug(), state.breaker.faults())
        };
        self.change(Clone::clone);
        let (tenant, name) = (plugin.tenant.clone(), plugin.name.clone());
        self.parts.observer.record(&PluginBreaker { tenant, plugin: name, digest: plugin.digest, state, faults });
    }

    /// Tenants of versions that were left and have settled something since; forgets those that can have nothing under way any more.
    fn left_behind(&self, now: Instant) -> BTreeSet<TenantId> {
        let mut left = self.left.lock().unwrap_or_else(PoisonError::into_inner);
        left.retain(|(_, until)| now < *until);
        left.iter().filter(|(plugin, _)| plugin.health.lock().settled_late).map(|(plugin, _)| plugin.tenant.clone()).collect()
    }

    /// Works on one tenant's plugins, unless that is being done already.
    fn attend(self: &Arc<Self>, tenant: TenantId, tasks: &Tasks) {
        let mut attended = self.attended.lock().unwrap_or_else(PoisonError::into_inner);
        if !attended.insert(tenant.clone()) {
            return;
        }
        drop(attended);
        let (inner, stopping) = (Arc::clone(self), tasks.clone());
        tasks.spawn("guard", async move {
            tokio::select! {
                () = stopping.stopping() => {}
                () = inner.work_off(&tenant) => {}
            }
            inner.attended.lock().unwrap_or_else(PoisonError::into_inner).remove(&tenant);
            inner.attention.notify_one();
        });
    }

    /// One thing for each plugin of the tenant in turn, until there is nothing left.
    async fn work_off(&self, tenant: &TenantId) {
        loop {
            let mut did = self.give_back_late(tenant).await;
            let table = self.table.load_full();
            for entry in table.0.get(tenant).into_iter().flat_map(|plugins| plugins.values()) {
                let Some(plugin) = &entry.plugin else { continue };
                did |= self.question(plugin).await;
                did |= match &entry.before {
                    Some(before) => self.compare(plugin, before).await,
                    None => false,
                };
            }
            if !did {
                return;
            }
        }
    }

    /// Whether a suspect version is at fault, or what it was given: it is tried on a delivery it, or one before it, has handled.
    async fn question(&self, plugin: &Arc<Plugin>) -> bool {
        let last_handled = {
            let state = plugin.health.lock();
            if !state.breaker.is_suspect(self.settings.breaker) {
                return false;
            }
            state.last_handled
        };
        let sample = match last_handled {
            Some(id) => self.delivered(id).await,
            None => self.parts.ledger.sample(&plugin.tenant, &plugin.name).await.ok().flatten(),
        };
        let is_able = match sample {
            Some(delivery) => Reach::of(&self.rehearsal().run(plugin, Arc::new(delivery)).await) != Some(Reach::Failed),
            None => false,
        };
        {
            let mut state = plugin.health.lock();
            if is_able {
                state.breaker.acquit();
            } else {
                state.breaker.trip(self.settings.breaker, self.parts.clock.instant());
            }
        }
        self.attention.notify_one();
        true
    }

    /// Gives both versions one delivery the new one has failed on, and takes the new one back where that settles it.
    async fn compare(&self, plugin: &Arc<Plugin>, before: &Arc<Plugin>) -> bool {
        let Some(id) = plugin.health.lock().watch.as_mut().and_then(|(watch, _)| watch.next()) else { return false };
        let is_better = match self.delivered(id).await.map(Arc::new) {
            Some(delivery) => {
                let rehearsal = self.rehearsal();
                let new = rehearsal.run(plugin, Arc::clone(&delivery)).await;
                Reach::of(&new) != Some(Reach::Handled) && old_does_better(&new, &rehearsal.run(before, delivery).await)
            }
            None => false,
        };
        let worse = {
            let mut state = plugin.health.lock();
            state.watch.as_mut().and_then(|(watch, _)| {
                watch.tried(is_better);
                watch.is_worse()
            })
        };
        if let Some(why) = worse {
            let to = before.digest.to_string();
            let word = Word { to: Some(&to), from: Some(plugin.digest), cause: "watch", why: &why };
            if let Err(error) = self.roll_back(&plugin.tenant, &plugin.name, word).await {
                tracing::error!(tenant = %plugin.tenant, plugin = %plugin.name, %error, "not_rolled_back");
            }
        }
        true
    }

    /// Gives back what versions have settled after they were left.
    async fn give_back_late(&self, tenant: &TenantId) -> bool {
        let late: Vec<_> = {
            let left = self.left.lock().unwrap_or_else(PoisonError::into_inner);
            let is_late = |plugin: &Plugin| plugin.tenant == *tenant && std::mem::take(&mut plugin.health.lock().settled_late);
            left.iter().filter(|(plugin, _)| is_late(plugin)).map(|(plugin, _)| Arc::clone(plugin)).collect()
        };
        for plugin in &late {
            self.refund(&plugin.tenant, &plugin.name, Some(plugin.digest)).await;
        }
        !late.is_empty()
    }

    async fn delivered(&self, id: DeliveryId) -> Option<Delivery> {
        self.parts.ledger.stored_delivery(id).await.ok().flatten()
    }
}
