//! Many runs again, by filter: after a plugin was mended, on the deliveries it gave the wrong verdict.
//!
//! What is to run is counted first, so that a bar knows the whole and `--dry-run` is the same way without its last step. Then page by page, not
//! faster than `--rate`: a plugin's API should not get an hour of traffic in a second.

use std::time::Duration;

use serde_json::{Value, json};

use super::super::{
    api::{Api, query},
    exit::Failure,
    output::{Output, next, say},
    progress::Progress,
};
use crate::{
    clock::Clock,
    delivery::{PluginName, TenantId, Timestamp},
};

/// Deliveries one call looks at, at most: it is answered well within the client's patience, and Ctrl-C comes soon enough.
const PAGE_MAX: u32 = 200;

/// In which settled state a leg is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, clap::ValueEnum)]
pub(super) enum Settled {
    /// The plugin handled it
    Acked,
    /// The plugin had nothing to do
    Skipped,
    /// It was given up on
    Dead,
    /// An operator has discarded it
    Discarded,
}

/// Which runs.
#[derive(Clone, Debug)]
pub(super) struct Again {
    pub(super) tenant: TenantId,
    pub(super) plugin: PluginName,
    pub(super) states: Vec<Settled>,
    pub(super) since: Timestamp,
    pub(super) until: Option<Timestamp>,
    pub(super) source: Option<String>,
    pub(super) event: Option<String>,
    pub(super) action: Option<String>,
    pub(super) dry_run: bool,
    /// Legs a second.
    pub(super) rate: u32,
    /// Legs at most.
    pub(super) limit: u32,
}

/// What one pass over the deliveries came to.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
struct Pass {
    matched: u64,
    changed: u64,
    /// The limit was reached, and there may be more.
    is_cut: bool,
}

impl Settled {
    fn slug(self) -> &'static str {
        match self {
            Self::Acked => "acked",
            Self::Skipped => "skipped",
            Self::Dead => "dead",
            Self::Discarded => "discarded",
        }
    }
}

impl Again {
    /// Counts, and runs what was counted again.
    pub(super) async fn run(&self, output: Output, api: &mut Api) -> Result<(), Failure> {
        let counted = self.pass(api, true, &Progress::counting("looking")).await?;
        let done = if self.dry_run || counted.matched == 0 {
            counted
        } else {
            self.pass(api, false, &Progress::of(counted.matched, "running again")).await?
        };
        self.tell(output, done)
    }

    async fn pass(&self, api: &mut Api, dry_run: bool, progress: &Progress) -> Result<Pass, Failure> {
        let (clock, mut pass, mut cursor) = (Clock::system(), Pass::default(), None::<String>);
        let begun = clock.instant();
        loop {
            let left = u64::from(self.limit).saturating_sub(pass.matched);
            if left == 0 {
                return Ok(Pass { is_cut: true, ..pass });
            }
            let pace = if dry_run { PAGE_MAX } else { self.rate.min(PAGE_MAX) };
            let answer = api.post(&self.path(dry_run, u64::from(pace).min(left), cursor.as_deref())).await;
            let answer = answer.map_err(|failure| after(failure, pass.changed))?;
            let of = |name: &str| answer[name].as_u64().unwrap_or(0);
            pass.matched += of("matched");
            pass.changed += of("changed");
            progress.advance(of("matched"));
            match answer["next_cursor"].as_str() {
                Some(next) => cursor = Some(next.to_owned()),
                None => return Ok(pass),
            }
            if !dry_run {
                clock.sleep_until(begun + self.earned(pass.changed)).await;
            }
        }
    }

    /// How long so many legs take at the rate that is wanted.
    fn earned(&self, legs: u64) -> Duration {
        Duration::from_secs(1).mul_f64(f64::from(u32::try_from(legs).unwrap_or(u32::MAX)) / f64::from(self.rate.max(1)))
    }

    fn path(&self, dry_run: bool, limit: u64, cursor: Option<&str>) -> String {
        let states: Vec<&str> = self.states.iter().map(|state| state.slug()).collect();
        let (states, since, until) = (states.join(","), self.since.to_string(), self.until.map(|until| until.to_string()));
        let limit = limit.to_string();
        let pairs = [
            ("tenant", Some(self.tenant.as_str())),
            ("plugin", Some(self.plugin.as_str())),
            ("state", Some(&states)),
            ("since", Some(&since)),
            ("until", until.as_deref()),
            ("source", self.source.as_deref()),
            ("event", self.event.as_deref()),
            ("action", self.action.as_deref()),
            ("dry_run", dry_run.then_some("true")),
            ("limit", Some(&limit)),
            ("cursor", cursor),
        ];
        format!("deliveries/replay{}", query(&pairs))
    }

    fn tell(&self, output: Output, pass: Pass) -> Result<(), Failure> {
        let Pass { matched, changed, is_cut } = pass;
        if output.is_json() {
            let object: Value = json!({
                "tenant": self.tenant, "plugin": self.plugin, "since": self.since, "dry_run": self.dry_run,
                "matched": matched, "changed": changed, "more": is_cut,
            });
            return output.object(&object, false);
        }
        let plugin = &self.plugin;
        if self.dry_run {
            output.line(&format!("{matched} deliveries would run again in `{plugin}`; nothing was changed"))?;
        } else {
            output.line(&format!("{changed} deliveries run again in `{plugin}`"))?;
        }
        if is_cut {
            say(&format!(
                "stopped at --limit {}; there are more, further back in time: a larger one, or --until, reaches them",
                self.limit
            ));
        }
        if changed > 0 {
            say(&next(&format!("hookyard deliveries list --tenant {} --plugin {plugin} --status waiting", self.tenant)));
        }
        Ok(())
    }
}

/// A failure in the middle tells what was done before it.
fn after(failure: Failure, changed: u64) -> Failure {
    if changed == 0 {
        return failure;
    }
    Failure { message: format!("{changed} deliveries run again, and then: {}", failure.message), ..failure }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn again() -> Again {
        Again {
            tenant: TenantId::default_tenant(),
            plugin: "triage".parse().unwrap(),
            states: vec![Settled::Acked, Settled::Dead],
            since: Timestamp::from_unix_ms(0),
            until: None,
            source: None,
            event: Some("issues".to_owned()),
            action: None,
            dry_run: false,
            rate: 50,
            limit: 10,
        }
    }

    #[test]
    fn the_whole_filter_reaches_the_host() {
        let path = again().path(true, 7, Some("12"));
        for part in [
            "tenant=default",
            "plugin=triage",
            "state=acked%2Cdead",
            "since=1970-01-01T",
            "event=issues",
            "dry_run=true",
            "limit=7",
            "cursor=12",
        ] {
            assert!(path.contains(part), "{part} is not in {path}");
        }
        assert!(!again().path(false, 7, None).contains("dry_run"), "what is not said is not asked for");
    }

    #[test]
    fn the_pace_is_what_was_asked_for() {
        assert_eq!(
            (again().earned(0), again().earned(25), again().earned(500)),
            (Duration::ZERO, Duration::from_millis(500), Duration::from_secs(10))
        );
    }
}
