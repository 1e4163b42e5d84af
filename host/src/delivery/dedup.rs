//! What to do with a delivery whose id is already in the ledger.
//!
//! GitHub's own recovery tool is the redelivery of the same id, so "seen before" must not mean "dropped": the answer depends on what
//! became of each leg. Work in hand or done is a duplicate; work that died, was discarded or never had a plugin runs again, and only that.

use std::collections::BTreeMap;

use super::{LegState, PluginName};

/// The decision about a delivery that came again.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Dedup {
    /// Nothing runs because of this call.
    Duplicate,
    /// These legs run; the others stay as they are.
    Rerun(Vec<LegDecision>),
}

/// What to do with one plugin's leg of a delivery that came again.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum LegDecision {
    /// The leg is dead or discarded: raise its generation and run it again.
    Revive(PluginName),
    /// No leg exists: a plugin subscribed since. Create it.
    Create(PluginName),
}

/// Decides by leg. `legs` are the delivery's stored legs, `matching` the plugins subscribed to it now.
///
/// Any leg open, or legs present and all acked or skipped: duplicate. Otherwise (a leg is dead or discarded, or there are no legs at all)
/// the dead and discarded ones and the newly matching ones run; acked and skipped legs never re-run by themselves. A delivery that is
/// still unrouted stays so: it is accepted again and nothing runs.
#[must_use]
pub fn decide(legs: &BTreeMap<PluginName, LegState>, matching: &[PluginName]) -> Dedup {
    let any_open = legs.values().any(|state| state.is_open());
    let any_failed = legs.values().any(|state| matches!(state, LegState::Dead | LegState::Discarded));
    if any_open || (!legs.is_empty() && !any_failed) {
        return Dedup::Duplicate;
    }
    let revived = legs
        .iter()
        .filter(|(_, state)| matches!(state, LegState::Dead | LegState::Discarded))
        .map(|(plugin, _)| LegDecision::Revive(plugin.clone()));
    let created = matching.iter().filter(|plugin| !legs.contains_key(*plugin)).map(|plugin| LegDecision::Create(plugin.clone()));
    Dedup::Rerun(revived.chain(created).collect())
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn plugin(name: &str) -> PluginName {
        name.parse().unwrap()
    }

    fn any_legs() -> impl Strategy<Value = BTreeMap<PluginName, LegState>> {
        let state = prop::sample::select(LegState::ALL.to_vec());
        prop::collection::btree_map("[abc]", state, 0..4)
            .prop_map(|legs| legs.into_iter().map(|(name, state)| (plugin(&name), state)).collect())
    }

    #[test]
    fn a_single_leg_in_every_state_is_decided_as_the_table_says() {
        let revive = || Dedup::Rerun(vec![LegDecision::Revive(plugin("a"))]);
        for (state, expected) in [
            (LegState::Waiting, Dedup::Duplicate),
            (LegState::Leased, Dedup::Duplicate),
            (LegState::Retry, Dedup::Duplicate),
            (LegState::Parked, Dedup::Duplicate),
            (LegState::Acked, Dedup::Duplicate),
            (LegState::Skipped, Dedup::Duplicate),
            (LegState::Dead, revive()),
            (LegState::Discarded, revive()),
        ] {
            assert_eq!(decide(&BTreeMap::from([(plugin("a"), state)]), &[plugin("a")]), expected, "{state}");
        }
    }

    #[test]
    fn an_unrouted_delivery_runs_for_whoever_subscribed_since() {
        assert_eq!(decide(&BTreeMap::new(), &[plugin("new")]), Dedup::Rerun(vec![LegDecision::Create(plugin("new"))]));
        assert_eq!(decide(&BTreeMap::new(), &[]), Dedup::Rerun(vec![]));
    }

    proptest! {
        #[test]
        fn acked_skipped_and_open_legs_never_run_again(legs in any_legs(), matching in prop::collection::vec("[a-e]", 0..4)) {
            let matching: Vec<_> = matching.iter().map(|name| plugin(name)).collect();
            if let Dedup::Rerun(decisions) = decide(&legs, &matching) {
                for decision in decisions {
                    match decision {
                        LegDecision::Revive(name) => prop_assert!(matches!(legs[&name], LegState::Dead | LegState::Discarded)),
                        LegDecision::Create(name) => prop_assert!(!legs.contains_key(&name)),
                    }
                }
            }
        }

        #[test]
        fn a_dead_leg_runs_again_unless_a_sibling_is_still_open(legs in any_legs()) {
            let open = legs.values().any(|state| state.is_open());
            let failed: Vec<_> = legs.iter().filter(|(_, s)| matches!(s, LegState::Dead | LegState::Discarded)).collect();
            match decide(&legs, &[]) {
                Dedup::Duplicate => prop_assert!(open || failed.is_empty()),
                Dedup::Rerun(decisions) => {
                    prop_assert!(!open);
                    prop_assert_eq!(decisions.len(), failed.len());
                }
            }
        }
    }
}
