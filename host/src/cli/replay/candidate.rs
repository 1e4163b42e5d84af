//! A component file that past runs are repeated with.

use std::{path::Path, sync::Arc};

use crate::{
    cli::{
        component::{self, ComponentFile},
        exit::{Exit, Failure},
        replay::past::Past,
    },
    delivery::{Digest, PluginName},
    runtime::{Component, Gate, Run, RunReport, Runtime},
    tenants::Budget,
};

/// A component with its manifest, compiled when it is first used.
#[derive(Debug)]
pub(super) struct Candidate {
    file: ComponentFile,
    runtime: Runtime,
    component: tokio::sync::OnceCell<Component>,
    config: Arc<serde_json::Value>,
    budget: Budget,
}

impl Candidate {
    /// Reads a component and the manifest beside it. The digest is the one a host gives the two.
    pub(super) fn load(file: &Path) -> Result<Self, Failure> {
        let (runtime, host) = component::sandbox()?;
        let file = ComponentFile::read(file)?;
        let (config, budget) = (Arc::new(file.config()), file.budget(&host));
        Ok(Self { file, runtime, component: tokio::sync::OnceCell::new(), config, budget })
    }

    /// The version.
    pub(super) fn digest(&self) -> Digest {
        self.file.digest
    }

    /// The plugin the file is named after.
    pub(super) fn name(&self) -> Result<PluginName, Failure> {
        let or_say = |failure: Failure| Failure { message: format!("{}; or say `--plugin`", failure.message), ..failure };
        self.file.name().map_err(or_say)
    }

    /// Makes a past run again, behind a gate that knows its answers and has no way out.
    pub(super) async fn repeat(&self, past: &Past) -> Result<RunReport, Failure> {
        let admit = || async { self.runtime.admit(self.file.wasm.clone(), &self.file.interfaces()).await };
        let component = self.component.get_or_try_init(admit).await;
        let component = component.map_err(|error| Failure::new(Exit::Failed, format!("a host would refuse it: {error}")))?;
        let run = Run {
            delivery: Arc::new(past.delivery.clone()),
            plugin: past.plugin.clone(),
            attempt: past.attempt.attempt,
            generation: past.attempt.generation,
            started_at: past.attempt.started_at,
            digest: self.file.digest,
            config: Arc::clone(&self.config),
            budget: self.budget,
            gate: Gate::Replay(Box::new(past.recording())),
        };
        Ok(self.runtime.invoke(component, run).await)
    }
}
