//! A component file that past runs are repeated with.

use std::{
    path::{Path, PathBuf},
    sync::Arc,
};

use crate::{
    catalog::parse_manifest,
    cli::{
        check::print_problems,
        environment,
        exit::{Exit, Failure},
        read_bounded,
        replay::past::Past,
    },
    config,
    delivery::{Digest, PluginName},
    runtime::{Compiler, Component, Gate, Run, RunReport, Runtime, Settings},
    tenants::Budget,
};

/// A component with its manifest, compiled when it is first used.
#[derive(Debug)]
pub(super) struct Candidate {
    file: PathBuf,
    runtime: Runtime,
    component: tokio::sync::OnceCell<Component>,
    wasm: Vec<u8>,
    granted: Vec<&'static str>,
    digest: Digest,
    config: Arc<serde_json::Value>,
    budget: Budget,
}

impl Candidate {
    /// Reads a component and the manifest beside it; without one it has no configuration and asks for nothing. The digest is the one a host
    /// gives the two.
    pub(super) fn load(file: &Path) -> Result<Self, Failure> {
        let host = config::load(None, &environment()).map_err(|problems| {
            print_problems(&problems);
            Failure::new(Exit::ConfigInvalid, "the host's configuration does not tell the limits")
        })?;
        let wasm = read_bounded(file)?;
        let beside = file.with_extension("toml");
        let manifest = if beside.exists() { Some(read_bounded(&beside)?) } else { None };
        let digest = manifest.as_ref().map_or_else(|| Digest::of(&[&wasm]), |manifest| Digest::of(&[&wasm, manifest]));
        let parsed = manifest.map(|manifest| parse_manifest(&manifest)).transpose();
        let parsed = parsed.map_err(|problems| Failure::new(Exit::ConfigInvalid, format!("{}: {problems}", beside.display())))?;
        let settings = Settings { concurrency_max: 1, cache_dir: None, compiler: Compiler::InProcess, ..host.runtime };
        let limits = parsed.as_ref().map(|manifest| manifest.limits).unwrap_or_default();
        Ok(Self {
            file: file.to_owned(),
            runtime: Runtime::new(settings)?,
            component: tokio::sync::OnceCell::new(),
            wasm,
            granted: parsed.as_ref().map(|manifest| manifest.asked.interfaces()).unwrap_or_default(),
            digest,
            budget: limits.budget(host.catalog.default_budget, host.ceiling),
            config: Arc::new(parsed.map_or_else(|| serde_json::json!({}), |manifest| manifest.config)),
        })
    }

    /// The version.
    pub(super) fn digest(&self) -> Digest {
        self.digest
    }

    /// The plugin the file is named after.
    pub(super) fn name(&self) -> Result<PluginName, Failure> {
        let stem = self.file.file_stem().map(|stem| stem.to_string_lossy().into_owned()).unwrap_or_default();
        stem.parse().map_err(|error| {
            Failure::new(Exit::Usage, format!("a component's file is named after its plugin, and {error}; or say `--plugin`"))
        })
    }

    /// Makes a past run again, behind a gate that knows its answers and has no way out.
    pub(super) async fn repeat(&self, past: &Past) -> Result<RunReport, Failure> {
        let admit = || async { self.runtime.admit(self.wasm.clone().into(), &self.granted).await };
        let component = self.component.get_or_try_init(admit).await;
        let component = component.map_err(|error| Failure::new(Exit::Failed, format!("a host would refuse it: {error}")))?;
        let run = Run {
            delivery: Arc::new(past.delivery.clone()),
            plugin: past.plugin.clone(),
            attempt: past.attempt.attempt,
            generation: past.attempt.generation,
            started_at: past.attempt.started_at,
            digest: self.digest,
            config: Arc::clone(&self.config),
            budget: self.budget,
            gate: Gate::Replay(Box::new(past.recording())),
        };
        Ok(self.runtime.invoke(component, run).await)
    }
}
