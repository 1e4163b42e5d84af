//! The circuits of all tenants: bounded, in memory, and asked whenever the queues are told how many legs they may lend.
//!
//! A circuit exists from the first failure until nothing about it is to be remembered. A restart forgets them; three failures bring one back.

use std::{
    collections::BTreeMap,
    sync::{Mutex, MutexGuard, PoisonError},
    time::Instant,
};

use super::circuit::{Circuit, Stand};
use crate::{
    clock::Clock,
    delivery::{DeliveryId, Destination, PluginName, TenantId, Upstream, view::CircuitView},
};

/// Destinations of one tenant that are kept; failures at any more are not counted.
const DESTINATIONS_MAX: usize = 64;

/// All of them.
#[derive(Debug, Default)]
pub(super) struct Circuits(Mutex<State>);

#[derive(Debug, Default)]
struct State {
    by: BTreeMap<TenantId, BTreeMap<Destination, Circuit>>,
    /// What has moved and was not told yet.
    moved: BTreeMap<(TenantId, Destination), &'static str>,
}

/// What the guard has to do about them.
#[derive(Debug)]
pub(super) struct Look {
    /// Whether queues are to be lent from otherwise.
    pub(super) is_changed: bool,
    /// Circuits that stand elsewhere than was last told, and where.
    pub(super) moved: Vec<(TenantId, Destination, &'static str)>,
    /// When to look again.
    pub(super) next: Option<Instant>,
}

impl Circuits {
    fn lock(&self) -> MutexGuard<'_, State> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Notes how a settled run found what it called. True where the guard has something to do.
    pub(super) fn note(&self, (tenant, plugin): (&TenantId, &PluginName), delivery: DeliveryId, found: &[Upstream], now: Instant) -> bool {
        let mut state = self.lock();
        let mut is_moved = false;
        for Upstream { destination, is_up } in found {
            let Some(circuit) = state.circuit(tenant, destination, *is_up) else { continue };
            let before = circuit.stand();
            if *is_up {
                circuit.answered(now);
            } else {
                circuit.failed((plugin, delivery), now, fastrand::f64());
            }
            let after = circuit.stand();
            is_moved |= state.moved(tenant, destination, (before, after));
        }
        is_moved
    }

    /// Runs at once of a plugin that all its destinations allow; none while one of them is away.
    pub(super) fn lends(&self, tenant: &TenantId, plugin: &PluginName, concurrency_max: usize) -> Option<usize> {
        let state = self.lock();
        let mut met = state.by.get(tenant).into_iter().flat_map(BTreeMap::values).filter(|circuit| circuit.is_met_by(plugin));
        met.try_fold(concurrency_max, |lends, circuit| Some(lends.min(circuit.lends()?)))
    }

    /// Lets those go on whose time has come, and forgets tenants that are gone.
    pub(super) fn look(&self, now: Instant, is_known: impl Fn(&TenantId) -> bool) -> Look {
        let mut state = self.lock();
        state.by.retain(|tenant, _| is_known(tenant));
        let mut woken = Vec::new();
        for (tenant, circuits) in &mut state.by {
            for (destination, circuit) in circuits {
                let before = circuit.stand();
                if circuit.wake(now) {
                    woken.push((tenant.clone(), destination.clone(), (before, circuit.stand())));
                }
            }
        }
        let is_changed = !woken.is_empty() || !state.moved.is_empty();
        for (tenant, destination, stands) in woken {
            state.moved(&tenant, &destination, stands);
        }
        let moved = std::mem::take(&mut state.moved).into_iter().map(|((tenant, destination), to)| (tenant, destination, to)).collect();
        state.by.values_mut().for_each(|circuits| circuits.retain(|_, circuit| !circuit.is_idle()));
        let next = state.by.values().flat_map(BTreeMap::values).filter_map(Circuit::next_change).min();
        Look { is_changed, moved, next }
    }

    /// Forgets what a plugin has met: an operator wants it to run.
    pub(super) fn pardon(&self, tenant: &TenantId, plugin: &PluginName) {
        let mut state = self.lock();
        let State { by, moved } = &mut *state;
        let Some(circuits) = by.get_mut(tenant) else { return };
        for (destination, _) in circuits.extract_if(.., |_, circuit| circuit.is_met_by(plugin)) {
            moved.insert((tenant.clone(), destination), Stand::Closed.slug());
        }
    }

    /// What a plugin waits for, for people.
    pub(super) fn views(&self, tenant: &TenantId, plugin: &PluginName, clock: &Clock) -> Vec<CircuitView> {
        let state = self.lock();
        let met = state.by.get(tenant).into_iter().flatten().filter(|(_, circuit)| circuit.is_met_by(plugin));
        let open = met.filter(|(_, circuit)| circuit.stand() != Stand::Closed);
        open.map(|(destination, circuit)| {
            let until = match circuit.stand() {
                Stand::Open { until, .. } => Some(clock.now().after(until.saturating_duration_since(clock.instant()))),
                _ => None,
            };
            CircuitView { destination: destination.to_string(), state: circuit.stand().slug().to_owned(), until }
        })
        .collect()
    }
}

impl State {
    /// The circuit of a destination. A new one only for a failure, and where there is room.
    fn circuit(&mut self, tenant: &TenantId, destination: &Destination, is_up: bool) -> Option<&mut Circuit> {
        if is_up {
            return self.by.get_mut(tenant)?.get_mut(destination);
        }
        let circuits = self.by.entry(tenant.clone()).or_default();
        if !circuits.contains_key(destination) && circuits.len() >= DESTINATIONS_MAX {
            return None;
        }
        Some(circuits.entry(destination.clone()).or_default())
    }

    /// Notes a move to be told of; true where there is something to look at.
    fn moved(&mut self, tenant: &TenantId, destination: &Destination, (before, after): (Stand, Stand)) -> bool {
        if before.slug() != after.slug() {
            self.moved.insert((tenant.clone(), destination.clone()), after.slug());
        }
        before != after
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;

    fn names() -> (TenantId, TenantId, PluginName, PluginName) {
        ("acme".parse().unwrap(), "bob".parse().unwrap(), "a".parse().unwrap(), "b".parse().unwrap())
    }

    fn down(server: &str) -> [Upstream; 1] {
        [Upstream { destination: Destination::server(server.to_owned()), is_up: false }]
    }

    fn id(number: u8) -> DeliveryId {
        DeliveryId::from_bytes([number; 16])
    }

    #[test]
    fn a_server_that_is_away_holds_the_plugins_that_met_it_and_no_other_tenants() {
        let (acme, bob, a, b) = names();
        let (circuits, clock) = (Circuits::default(), Clock::system());
        let now = clock.instant();
        for number in 1..=3 {
            circuits.note((&acme, &a), id(number), &down("api.example"), now);
        }
        let lends = |tenant, plugin| circuits.lends(tenant, plugin, 8);
        assert_eq!([lends(&acme, &a), lends(&acme, &b), lends(&bob, &a)], [None, Some(8), Some(8)]);
        let look = circuits.look(now, |_| true);
        assert_eq!(look.moved, [(acme.clone(), Destination::server("api.example".to_owned()), "open")]);
        assert!(look.is_changed && look.next.is_some() && circuits.look(now, |_| true).moved.is_empty());
        let view = circuits.views(&acme, &a, &clock).remove(0);
        assert_eq!((view.destination.as_str(), view.state.as_str(), view.until.is_some()), ("api.example", "open", true));
        assert!(circuits.look(now + Duration::from_mins(1), |_| true).is_changed);
        assert_eq!(lends(&acme, &a), Some(1));
        circuits.pardon(&acme, &a);
        assert_eq!((lends(&acme, &a), circuits.look(now, |_| true).moved[0].2), (Some(8), "closed"));
    }

    #[test]
    fn what_is_kept_of_a_tenant_is_bounded_and_goes_with_it() {
        let (acme, _, a, _) = names();
        let (circuits, now) = (Circuits::default(), Clock::system().instant());
        for server in 0..1000 {
            circuits.note((&acme, &a), id(1), &down(&format!("host-{server}.example")), now);
        }
        assert_eq!(circuits.lock().by[&acme].len(), DESTINATIONS_MAX);
        let up = [Upstream { destination: Destination::server("host-1.example".to_owned()), is_up: true }];
        circuits.note((&acme, &a), id(1), &up, now);
        circuits.look(now, |_| true);
        assert_eq!(circuits.lock().by[&acme].len(), DESTINATIONS_MAX - 1, "what was answered is forgotten");
        circuits.look(now, |_| false);
        assert!(circuits.lock().by.is_empty());
    }
}
