//! Going back to an earlier version: one transaction in the ledger, one swap in memory.
//!
//! The newer files still lie in the folder, and after a restart nothing in memory would remember that they are not wanted. So the word is kept
//! with the versions: the version that is left is held, which means its files are passed over, until different ones are dropped.

use std::{
    sync::{Arc, PoisonError},
    time::Duration,
};

use super::{Inner, Plugin};
use crate::{
    delivery::{Digest, PluginName, TenantId, view::PluginRefusalView},
    ledger::{Hold, LedgerError, Refund, ShelvedVersion, Standing},
    observe::facts::PluginRolledBack,
};

/// How long a version that was left may still settle something: the longest run there can be, and its settlement.
const LEFT_FOR: Duration = Duration::from_mins(15);
/// The least digits of a digest that name a version.
const DIGITS_MIN: usize = 4;

/// Why an earlier version does not serve.
#[derive(Debug, thiserror::Error)]
pub enum RollbackError {
    /// There is no plugin of that name.
    #[error("there is no such plugin")]
    NoPlugin,
    /// No kept version fits, in words.
    #[error("{0}")]
    NoVersion(String),
    /// The version does not load any more.
    #[error("{code}: {detail}")]
    Refused {
        /// The refusal's slug.
        code: &'static str,
        /// In words.
        detail: String,
    },
    /// The ledger did not do it.
    #[error(transparent)]
    Ledger(#[from] LedgerError),
}

/// Who wants which version back, and why.
#[derive(Clone, Copy, Debug)]
pub(super) struct Word<'a> {
    /// The version, by the first digits of its digest.
    pub(super) to: Option<&'a str>,
    /// The version that is to be left, where it must be that one.
    pub(super) from: Option<Digest>,
    /// `operator` or `watch`.
    pub(super) cause: &'static str,
    /// Told wherever the plugin is shown.
    pub(super) why: &'a str,
}

impl Inner {
    /// Serves an earlier version and holds the one that is left. What must be compiled for it is compiled before the lock is taken that
    /// versions change under: nobody's removal or pause waits for that. Gives why the version that serves now was once taken back itself.
    pub(super) async fn roll_back(&self, tenant: &TenantId, name: &PluginName, word: Word<'_>) -> Result<Option<String>, RollbackError> {
        let (from, to) = self.way_back(tenant, name, word).await?;
        let before = self.table.load().entry(tenant, name).and_then(|entry| entry.before.clone());
        let now = self.parts.clock.now();
        let plugin = match before.filter(|before| before.digest == to.digest) {
            Some(before) => Plugin { since: now, health: Arc::default(), ..Plugin::clone(&before) },
            None => self.revive(&to).await.map_err(|refused| RollbackError::Refused { code: refused.code, detail: refused.reason })?,
        };
        let _turn = self.versions.lock().await;
        let (still_from, still_to) = self.way_back(tenant, name, word).await?;
        if (still_from, still_to.digest) != (from, to.digest) {
            return Err(RollbackError::NoVersion("another version serves by now".to_owned()));
        }
        let entry = self.table.load().entry(tenant, name).cloned().ok_or(RollbackError::NoPlugin)?;
        let standing = self.parts.ledger.plugin_standing(tenant, name).await?;
        let reason = format!("rolled back to {}: {}; drop a changed file to deploy again", to.digest.short(), word.why);
        let hold = from.map(|digest| Hold { digest, reason: reason.clone(), at: now });
        if !self.parts.ledger.roll_plugin_back(&to, hold, word.why).await? {
            return Err(RollbackError::NoVersion("that version is not kept any more".to_owned()));
        }
        self.swap(plugin, Standing { crash: None, ..standing }, None);
        if let Some(left) = entry.plugin {
            left.health.leave();
            self.left.lock().unwrap_or_else(PoisonError::into_inner).push((left, self.parts.clock.instant() + LEFT_FOR));
        }
        let digest = from.map(|digest| digest.to_string());
        let refusal = PluginRefusalView { code: "rolled_back".to_owned(), reason: reason.clone(), at: now, digest, report: None };
        self.change(|table| table.with(tenant, name, |entry| entry.refusal = Some(refusal.clone())));
        let refund = self.refund(tenant, name, from).await;
        let (tenant, plugin) = (tenant.clone(), name.clone());
        self.parts.observer.record(&PluginRolledBack { tenant, plugin, from, to: to.digest, cause: word.cause, reason, refund });
        Ok(to.taken_back)
    }

    /// The version that serves, and the one to go back to.
    async fn way_back(
        &self,
        tenant: &TenantId,
        name: &PluginName,
        word: Word<'_>,
    ) -> Result<(Option<Digest>, ShelvedVersion), RollbackError> {
        let entry = self.table.load().entry(tenant, name).cloned().ok_or(RollbackError::NoPlugin)?;
        let serving = entry.plugin.as_ref().map(|plugin| plugin.digest);
        if word.from.is_some() && word.from != serving {
            return Err(RollbackError::NoVersion("another version serves by now".to_owned()));
        }
        let (versions, standing) =
            (self.parts.ledger.plugin_versions(tenant, name).await?, self.parts.ledger.plugin_standing(tenant, name).await?);
        // Shortly after a start the version that served last may still be on its way: it is that one which is left.
        let from = serving.or_else(|| versions.first().filter(|_| self.loads.is_restoring(tenant, name)).map(|last| last.digest));
        let holds: Vec<_> = standing.holds.iter().map(|hold| hold.digest).collect();
        let to = target(&versions, from, &holds, word.to).map_err(RollbackError::NoVersion)?;
        Ok((from, to.clone()))
    }

    /// Gives back what a version that was left has taken: its dead letters run again, by the version that serves now, and its attempts do not
    /// count. The roll-back stands even where that fails.
    pub(super) async fn refund(&self, tenant: &TenantId, name: &PluginName, left: Option<Digest>) -> Refund {
        let Some(digest) = left else { return Refund::default() };
        self.parts.ledger.refund(tenant, name, digest).await.unwrap_or_else(|error| {
            tracing::error!(%tenant, plugin = %name, %digest, %error, "rollback_not_refunded");
            Refund::default()
        })
    }
}

/// The version to go back to. `versions` are the kept ones, the newest first.
fn target<'a>(
    versions: &'a [ShelvedVersion],
    serving: Option<Digest>,
    held: &[Digest],
    to: Option<&str>,
) -> Result<&'a ShelvedVersion, String> {
    let mut others = versions.iter().filter(|version| Some(version.digest) != serving);
    let Some(digits) = to else {
        let all = others.clone().count();
        let earlier = others.find(|version| !held.contains(&version.digest) && version.taken_back.is_none());
        return earlier.ok_or_else(|| match all {
            0 => "no earlier version is kept".to_owned(),
            all => format!("each of the {all} other kept versions was taken back once; `--to DIGEST` serves one all the same"),
        });
    };
    let named: Vec<_> = others.filter(|version| version.digest.to_string().starts_with(digits)).collect();
    match named[..] {
        _ if digits.len() < DIGITS_MIN => Err(format!("`{digits}` is too short; give at least {DIGITS_MIN} digits of the digest")),
        [version] => Ok(version),
        [] => Err(format!("no kept version but the one that serves begins with `{digits}`; `hookyard plugins show` lists them")),
        _ => Err(format!("{} kept versions begin with `{digits}`; give more digits", named.len())),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::delivery::Timestamp;

    fn version(number: u8) -> ShelvedVersion {
        let digest = Digest::from_bytes([number; 32]);
        ShelvedVersion {
            tenant: TenantId::default_tenant(),
            name: "p".parse().unwrap(),
            digest,
            served_from: Timestamp::from_unix_ms(0),
            taken_back: None,
        }
    }

    fn found(serving: u8, held: &[u8], to: Option<&str>) -> Result<u8, String> {
        let versions = [3, 2, 1].map(version);
        let held: Vec<_> = held.iter().map(|number| version(*number).digest).collect();
        target(&versions, Some(version(serving).digest), &held, to).map(|version| version.digest.as_bytes()[0])
    }

    #[test]
    fn without_a_name_it_is_the_newest_that_neither_serves_nor_is_held() {
        assert_eq!(found(3, &[], None), Ok(2));
        assert_eq!(found(2, &[3], None), Ok(1), "twice in a row goes back two versions");
        assert!(found(1, &[3, 2], None).is_err());
    }

    #[test]
    fn a_version_is_named_by_its_first_digits_even_where_it_is_held() {
        assert_eq!(found(1, &[3, 2], Some("0303")), Ok(3), "an operator may take a roll-back back");
        assert!(found(3, &[], Some("030")).unwrap_err().contains("at least 4"));
        assert!(found(3, &[], Some("0303")).unwrap_err().contains("the one that serves"));
        let twins = [version(1), version(1)];
        assert!(target(&twins, None, &[], Some("0101")).unwrap_err().contains("2 kept versions"));
    }
}
