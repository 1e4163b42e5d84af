//! The examination of a version: every step in its order, each noted, and the first refusal ends it.
//!
//! What can be told without running anything comes first, then the compiler, then the plugin's own word about its configuration, and last a
//! run on a delivery it would have got. None of it has an effect. The same function serves a deploy and `hookyard plugin inspect`, so that
//! both say the same.

use std::{sync::Arc, time::Instant};

use bytes::Bytes;

use super::{
    Manifest, Plugin, asks,
    manifest::parse,
    notes,
    refused::Refused,
    rehearsal::Rehearsal,
    route, sample,
    trial::{Reach, old_does_better},
};
use crate::{
    clock::Clock,
    delivery::{
        Delivery, Digest, Outcome, PluginName, TenantId,
        report::{AdmissionReport, AdmissionStep, StepResult},
    },
    egress::{Allowed, Asked},
    runtime::{Account, Component, Report, Runtime, Turn},
    tenants::Budget,
};

/// The two files, in memory.
#[derive(Clone, Debug)]
pub(super) struct Candidate {
    pub(super) component: Bytes,
    pub(super) manifest: Bytes,
}

/// What it is compared with.
#[derive(Debug, Default)]
pub(super) struct Beside {
    /// The version that serves.
    pub(super) serving: Option<Arc<Plugin>>,
    /// The newest delivery the plugin has handled.
    pub(super) sample: Option<Delivery>,
    /// What the tenant's plugins may reach; none where nobody knows, and what is asked for is taken as granted.
    pub(super) allowed: Option<Arc<Allowed>>,
    /// Whether a version that asks for more than the one before waits for an operator.
    pub(super) more_waits: bool,
}

/// An examination under way.
struct Examination<'a> {
    rehearsal: &'a Rehearsal,
    turn: &'a Turn,
    beside: &'a Beside,
    report: AdmissionReport,
    /// When the step under way began.
    began: Instant,
}

/// Examines a version in a turn at the compiler; `assemble` puts manifest and component together to what would serve. The report is complete either way.
pub(super) async fn examine(
    (rehearsal, turn): (&Rehearsal, &Turn),
    candidate: &Candidate,
    beside: &Beside,
    assemble: impl FnOnce(Manifest, Component) -> Plugin,
) -> (AdmissionReport, Result<Plugin, Refused>) {
    let report = AdmissionReport { component_bytes: candidate.component.len() as u64, ..AdmissionReport::default() };
    let mut examination = Examination { rehearsal, turn, beside, report, began: rehearsal.clock.instant() };
    let result = examination.steps(candidate, assemble).await;
    (examination.report, result)
}

impl Examination<'_> {
    async fn steps(&mut self, candidate: &Candidate, assemble: impl FnOnce(Manifest, Component) -> Plugin) -> Result<Plugin, Refused> {
        let manifest = parse(&candidate.manifest).map_err(|problems| Refused::new("manifest_invalid", problems));
        let manifest = self.must("manifest", manifest)?;
        let words = format!("{} from {}; retried {}", manifest.events.join(", "), listed(&manifest.sources), manifest.retry.in_words());
        match notes::of_manifest(&manifest).as_slice() {
            [] => self.note("manifest", StepResult::Ok, words),
            notes => self.note("manifest", StepResult::Noted, format!("{words}; {}", notes.join("; "))),
        }
        self.must("manifest", belongs_together(&manifest, &candidate.component))?;
        self.grants(&manifest)?;
        let allowed = self.beside.allowed.as_ref();
        let granted = allowed.map_or_else(|| manifest.asked.interfaces(), |allowed| manifest.asked.granted_interfaces(allowed));
        self.component(candidate, &granted)?;
        let compiled = self.rehearsal.runtime.admit_in(self.turn, candidate.component.clone(), &granted).await.map_err(Refused::from);
        let component = self.must("compile", compiled)?;
        self.report.memories = Some(component.report().memories);
        self.note("compile", StepResult::Ok, "compiled and linked");
        let plugin = assemble(manifest, component);
        // What no manifest asked for is given as far as it is there.
        if plugin.limits.memory_bytes_max.is_some() {
            let fits = self.rehearsal.runtime.check_memory(&plugin.tenant, &plugin.budget).map_err(Refused::from);
            self.must("memory", fits)?;
        }
        let sample = Arc::new(self.sample_for(&plugin));
        self.config(&plugin, &sample).await?;
        self.sample(&plugin, sample).await?;
        Ok(plugin)
    }

    /// What the version asks for, and whether somebody must look at it first.
    fn grants(&mut self, manifest: &Manifest) -> Result<(), Refused> {
        let before = self.beside.serving.as_ref().map(|serving| Arc::clone(&serving.asked)).unwrap_or_default();
        self.report.asks = asks::lines(&manifest.asked);
        self.report.asks_more = asks::beyond(&manifest.asked, &before);
        let more = self.report.asks_more.join("; ");
        if more.is_empty() {
            self.note("grants", StepResult::Ok, "asks for nothing it did not have");
        } else if self.beside.more_waits {
            let words = format!("it newly asks for {more}; `hookyard plugins approve NAME` lets it serve");
            return self.must("grants", Err(Refused::new("approval_needed", words)));
        } else {
            self.note("grants", StepResult::Noted, format!("newly asks for {more}"));
        }
        Ok(())
    }

    /// What the component is, imports, exports and needs.
    fn component(&mut self, candidate: &Candidate, granted: &[&str]) -> Result<(), Refused> {
        let found = self.must("component", Runtime::inspect(&candidate.component).map_err(Refused::from))?;
        state_facts(&mut self.report, &found);
        let checked = Runtime::check(&candidate.component, granted).map_err(Refused::from);
        self.must("component", checked)?;
        let words = format!("a run needs {} core instances and {} linear memories", found.core_instances, found.memories);
        self.note("component", StepResult::Ok, words);
        Ok(())
    }

    /// The plugin's own word about its configuration.
    async fn config(&mut self, plugin: &Plugin, sample: &Arc<Delivery>) -> Result<(), Refused> {
        if !self.report.validates_config {
            self.note("config", StepResult::Skipped, "the component exports no `validate-config`");
            return Ok(());
        }
        let answer = self.rehearsal.validate(plugin, Arc::clone(sample)).await;
        self.must("config", answer.map_err(|objections| Refused::new("config_invalid", objections)))?;
        self.note("config", StepResult::Ok, "`validate-config` has no objection");
        Ok(())
    }

    /// One run on a delivery the plugin would get. A version that does worse than the one that serves is not taken; a first version is,
    /// because a failed delivery is kept and can be replayed, and one that nobody subscribed to cannot.
    async fn sample(&mut self, plugin: &Plugin, sample: Arc<Delivery>) -> Result<(), Refused> {
        let which = format!("{} ({})", sample.id, sample.event);
        let new = self.rehearsal.run(plugin, Arc::clone(&sample)).await;
        if Reach::of(&new) == Some(Reach::Handled) {
            self.note("sample", StepResult::Ok, format!("{} on {which}", new.slug()));
            return Ok(());
        }
        let old = match &self.beside.serving {
            Some(serving) => Some(self.rehearsal.run(serving, sample).await),
            None => None,
        };
        let told = format!("{} on {which}", told(&new));
        match old {
            Some(old) if old_does_better(&new, &old) => {
                let words = format!("{told}; the version that serves ends in {} on the same delivery", old.slug());
                self.must("sample", Err(Refused::new("sample_failed", words)))
            }
            _ => {
                self.note("sample", StepResult::Noted, told);
                Ok(())
            }
        }
    }

    /// The newest delivery the plugin has handled, if the version still subscribes to such; else one that is built in.
    fn sample_for(&self, plugin: &Plugin) -> Delivery {
        let matches = |delivery: &&Delivery| {
            let is_event = |pattern: &String| route::matches(pattern, &delivery.event, delivery.action.as_deref());
            plugin.sources.contains(&delivery.source) && plugin.events.iter().any(is_event)
        };
        let stored = self.beside.sample.as_ref().filter(matches);
        stored.cloned().unwrap_or_else(|| sample::built_in(plugin, self.rehearsal.clock.now()))
    }

    fn note(&mut self, step: &str, result: StepResult, detail: impl Into<String>) {
        let now = self.rehearsal.clock.instant();
        let took = now.saturating_duration_since(std::mem::replace(&mut self.began, now));
        let duration_ms = (took.as_secs_f64() * 1e6).round() / 1e3;
        self.report.steps.push(AdmissionStep { step: step.to_owned(), result, detail: detail.into(), duration_ms });
    }

    /// Notes a refusal on its way out.
    fn must<T>(&mut self, step: &str, result: Result<T, Refused>) -> Result<T, Refused> {
        result.inspect_err(|refused| self.note(step, StepResult::Refused, format!("{}: {}", refused.code, refused.reason)))
    }
}

/// A version that lies on nobody's host yet.
#[derive(Debug)]
pub struct Inspected {
    /// What its examination found.
    pub report: AdmissionReport,
    /// Why a host would not take it, by slug and in words.
    pub refusal: Option<(&'static str, String)>,
}

/// Examines a version without a host, as a deploy would, for `hookyard plugin inspect`.
pub async fn inspect(
    (runtime, clock): (Runtime, Clock),
    name: PluginName,
    (component, manifest): (Bytes, Bytes),
    (default_budget, ceiling): (Budget, Budget),
) -> Inspected {
    let digest = Digest::of(&[&component, &manifest]);
    let (rehearsal, candidate) = (Rehearsal { runtime, clock }, Candidate { component, manifest });
    let now = rehearsal.clock.now();
    let assemble = |manifest: Manifest, component| {
        let budget = manifest.limits.budget(default_budget, ceiling);
        Plugin::assemble((TenantId::default_tenant(), name, digest), (manifest, component), budget, now)
    };
    let turn = rehearsal.runtime.turn(Account::Host).await;
    let (report, result) = examine((&rehearsal, &turn), &candidate, &Beside::default(), assemble).await;
    Inspected { report, refusal: result.err().map(|refused| (refused.code, refused.reason)) }
}

/// What is told of a version whose report was not kept with it: what it is, and what it asks for.
pub(super) fn of_unreported(found: &Report, asked: &Asked) -> AdmissionReport {
    let mut report = AdmissionReport { asks: asks::lines(asked), ..AdmissionReport::default() };
    state_facts(&mut report, found);
    let detail = "it was examined when it was deployed, and what was found then was not kept".to_owned();
    report.steps.push(AdmissionStep { step: "kept".to_owned(), result: StepResult::Ok, detail, duration_ms: 0.0 });
    report
}

/// A manifest that names its component is never taken with another one: between two writes, one of the files is still the old one.
fn belongs_together(manifest: &Manifest, component: &[u8]) -> Result<(), Refused> {
    let found = Digest::of_file(component);
    match manifest.component_sha256 {
        Some(named) if named != found => Err(Refused::new(
            "component_differs",
            format!(
                "the manifest names a component with the SHA-256 {named}, the one beside it has {found}: both are taken as soon as they belong together"
            ),
        )),
        _ => Ok(()),
    }
}

fn state_facts(report: &mut AdmissionReport, found: &Report) {
    report.component_bytes = found.component_bytes;
    report.world = Some(found.world.clone());
    report.imports.clone_from(&found.imports);
    report.wasi_imports.clone_from(&found.wasi_imports);
    report.validates_config = found.validates_config;
    (report.core_instances, report.memories) = (Some(found.core_instances), Some(found.memories));
}

fn listed(names: &[impl ToString]) -> String {
    names.iter().map(ToString::to_string).collect::<Vec<_>>().join(", ")
}

fn told(outcome: &Outcome) -> String {
    let detail = outcome.detail().lines().next().unwrap_or_default();
    if detail.is_empty() { outcome.slug().to_owned() } else { format!("{} ({detail})", outcome.slug()) }
}
