//! What is there, what is gone, and whether that is meant.
//!
//! A plugin that is removed routes no more, and what arrives then is lost to it. So only files that are known to be gone count, for a while,
//! and not when most of a folder goes at once. What cannot be read is not gone, and newcomers never push out who serves.

use std::{
    collections::{BTreeMap, BTreeSet},
    time::Instant,
};

use super::{Inner, files::Stamps, load::Seen};
use crate::delivery::{PluginName, TenantId};

/// From how many plugins on a tenant's loss of more than half of them at once is taken for an accident of the file system.
const MASS_MIN: usize = 4;
/// How many settling times a file may be gone before that is meant: replacing it by removing it and copying anew takes longer than a write
/// needs to settle.
const GONE_SETTLES: u32 = 10;

impl Inner {
    /// A subscriber whose component or manifest is gone is removed, but not at first sight: a file that is replaced is gone for a moment,
    /// and half a folder that vanishes at once is more likely a mount than a decision. What never served has nothing to lose: it is
    /// forgotten with its last file, and while one of its files is there its refusal stands.
    pub(super) async fn note_missing(
        &self,
        seen: &mut Seen,
        tenant: &TenantId,
        found: &BTreeMap<PluginName, Stamps>,
        now: Instant,
    ) -> bool {
        let subscribers = self.table.load().subscribers(tenant);
        self.forget_strangers(seen, tenant, found, &subscribers);
        let missing: Vec<_> = subscribers.iter().filter(|name| !found.get(*name).is_some_and(Stamps::both)).collect();
        let accident = looks_like_an_accident(subscribers.len(), missing.len());
        let patience = if accident { self.settings.rescan } else { self.settings.settle * GONE_SETTLES };
        for name in &subscribers {
            let sight = seen.0.entry((tenant.clone(), name.clone())).or_default();
            if !missing.contains(&name) {
                sight.missing_since = None;
            } else if now.saturating_duration_since(*sight.missing_since.get_or_insert(now)) >= patience {
                seen.0.retain(|(owner, other), _| owner != tenant || (other != name && subscribers.contains(other)));
                self.remove(tenant, name).await;
            }
        }
        !missing.is_empty()
    }

    /// Drops what was refused, never served, and is gone.
    fn forget_strangers(
        &self,
        seen: &mut Seen,
        tenant: &TenantId,
        found: &BTreeMap<PluginName, Stamps>,
        subscribers: &BTreeSet<PluginName>,
    ) {
        seen.0.retain(|(owner, name), _| {
            let keep = owner != tenant || subscribers.contains(name) || found.contains_key(name);
            if !keep {
                self.loads.call_off(tenant, name);
                self.change(|table| table.without(tenant, name));
            }
            keep
        });
    }
}

/// Every subscriber among what was found, then newcomers by name up to the bound and one more, whose refusal tells of the bound. A newcomer
/// never pushes out who serves.
pub(super) fn bounded(
    found: BTreeMap<PluginName, Stamps>,
    subscribers: &BTreeSet<PluginName>,
    plugins_max: usize,
) -> BTreeMap<PluginName, Stamps> {
    let room = plugins_max.saturating_sub(subscribers.len()) + 1;
    let (mut kept, newcomers): (BTreeMap<_, _>, BTreeMap<_, _>) = found.into_iter().partition(|(name, _)| subscribers.contains(name));
    kept.extend(newcomers.into_iter().take(room));
    kept
}

/// Whether so many of so many plugins gone at one look are rather an unmounted folder than a decision.
fn looks_like_an_accident(known: usize, missing: usize) -> bool {
    missing > 1 && (missing == known || known >= MASS_MIN && missing * 2 > known)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn names(texts: &[&str]) -> BTreeSet<PluginName> {
        texts.iter().map(|text| text.parse().unwrap()).collect()
    }

    #[test]
    fn a_newcomer_never_pushes_out_who_serves_and_one_of_the_surplus_is_told() {
        let found: BTreeMap<_, _> = names(&["a", "b", "c", "d", "y", "z"]).into_iter().map(|name| (name, Stamps::default())).collect();
        let seen = |subscribers: &[&str], max| bounded(found.clone(), &names(subscribers), max).into_keys().collect::<BTreeSet<_>>();
        assert_eq!(seen(&["y", "z"], 2), names(&["a", "y", "z"]));
        assert_eq!(seen(&["y", "z"], 3), names(&["a", "b", "y", "z"]));
        assert_eq!(seen(&["y", "z"], 1), names(&["a", "y", "z"]), "a lowered bound removes nobody");
        assert_eq!(seen(&[], 100).len(), 6);
    }

    #[test]
    fn one_file_gone_is_meant_and_most_of_a_folder_gone_at_once_is_not() {
        for (known, missing, accident) in
            [(1, 1, false), (2, 2, true), (3, 1, false), (3, 2, false), (3, 3, true), (4, 2, false), (4, 3, true), (9, 1, false)]
        {
            assert_eq!(looks_like_an_accident(known, missing), accident, "{missing} of {known}");
        }
    }
}
