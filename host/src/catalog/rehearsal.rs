//! Runs that have no effect: what a new version is tried with before it serves, and what two versions are compared by afterwards.
//!
//! Such a run gets a gate that leads nowhere, and a thread of its own: guests never compute on the threads that take deliveries. It may take
//! as long as a run of the plugin may, but never so long that deploys of others wait for it.

use std::{future::Future, sync::Arc, time::Duration};

use super::Plugin;
use crate::{
    clock::Clock,
    delivery::{Delivery, Fault, FaultKind, Outcome},
    runtime::{Gate, Run, Runtime},
    tenants::Budget,
};

/// The longest rehearsal; a version that needs more than this for one delivery is not judged by it.
const WALL_MAX: Duration = Duration::from_secs(5);

/// Rehearses versions; cheap to clone.
#[derive(Clone, Debug)]
pub(super) struct Rehearsal {
    pub(super) runtime: Runtime,
    pub(super) clock: Clock,
}

impl Rehearsal {
    /// How a run of this version on this delivery ends.
    pub(super) async fn run(&self, plugin: &Plugin, delivery: Arc<Delivery>) -> Outcome {
        let (runtime, component, run) = (self.runtime.clone(), plugin.component.clone(), self.dry(plugin, delivery));
        let outcome = self.apart(plugin, async move { runtime.invoke(&component, run).await.outcome }).await;
        outcome.unwrap_or_else(|| Outcome::Fault(Fault::new(FaultKind::HostUnavailable, "the rehearsal ended early")))
    }

    /// What the version says of its configuration; the delivery is not shown to it.
    pub(super) async fn validate(&self, plugin: &Plugin, delivery: Arc<Delivery>) -> Result<(), String> {
        let (runtime, component, run) = (self.runtime.clone(), plugin.component.clone(), self.dry(plugin, delivery));
        let answer = self.apart(plugin, async move { runtime.validate_config(&component, run).await }).await;
        answer.unwrap_or_else(|| Err("the question was not answered".to_owned()))
    }

    /// Does the work on a thread that may block, one of the plugin's tenant; none where it panicked.
    async fn apart<T: Send + 'static>(&self, plugin: &Plugin, work: impl Future<Output = T> + Send + 'static) -> Option<T> {
        let handle = tokio::runtime::Handle::current();
        self.runtime.threads(&plugin.tenant).run(move || handle.block_on(work)).await.ok()
    }

    fn dry(&self, plugin: &Plugin, delivery: Arc<Delivery>) -> Run {
        Run {
            delivery,
            plugin: plugin.name.clone(),
            attempt: 1,
            generation: 0,
            started_at: self.clock.now(),
            digest: plugin.digest,
            config: Arc::clone(&plugin.config),
            budget: Budget { wall: plugin.budget.wall.min(WALL_MAX), ..plugin.budget },
            gate: Gate::Dry,
        }
    }
}
