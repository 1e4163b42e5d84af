//! A component in the host's own sandbox, outside any host: admitted once, run as often as wanted, without any way out.

use std::{path::Path, sync::Arc, time::Duration};

use bytes::Bytes;
use serde_json::Value;
use sha2::{Digest as _, Sha256};

use super::{
    super::{
        component::{self, ComponentFile},
        exit::{Exit, Failure},
        read_bounded,
    },
    fixture::Fixture,
    refused,
};
use crate::{
    catalog,
    clock::Clock,
    config::Config,
    delivery::{BodyEncoding, Delivery, DeliveryId, DeliveryKey, Header, PluginName, SourceId, TenantId},
    egress::Request,
    runtime::{Component, Gate, Run, RunReport, Runtime},
};

/// The provider's id of a tried delivery: always the same, so that the same file has the same delivery id.
const PROVIDER_ID: &str = "00000000-0000-0000-0000-000000000000";

/// A manifest for a component without one.
const EVERY_EVENT: &[u8] = b"sources = [\"github\"]\nevents = [\"*\"]\n";

/// The sandbox, with the host's limits.
pub(super) struct Sandbox {
    runtime: Runtime,
    host: Config,
}

/// A component that has passed the admission, with its manifest.
pub(super) struct Trial<'a> {
    sandbox: &'a Sandbox,
    file: ComponentFile,
    component: Component,
    name: PluginName,
    /// How long the admission took, which is mostly the compiler's time.
    pub(super) admitted_in: Duration,
}

impl Sandbox {
    /// The engine, and the limits a host started here would have.
    pub(super) fn open() -> Result<Self, Failure> {
        let (runtime, host) = component::sandbox()?;
        Ok(Self { runtime, host })
    }

    /// Examines a version as a deploy would; where no manifest lies beside the component, one stands in that takes every event.
    pub(super) async fn inspect(&self, file: &Path) -> Result<catalog::Inspected, Failure> {
        let manifest = component::manifest_beside(file)?.unwrap_or(Bytes::from_static(EVERY_EVENT));
        let files = (read_bounded(file)?.into(), manifest);
        let budgets = (self.host.catalog.default_budget, self.host.ceiling);
        Ok(catalog::inspect((self.runtime.clone(), Clock::system()), component::name(file)?, files, budgets).await)
    }

    /// Puts a component through the host's whole admission; limits and configuration are those of the manifest beside it, if any.
    pub(super) async fn admit(&self, file: &Path) -> Result<Trial<'_>, Failure> {
        let file = ComponentFile::read(file)?;
        let name = file.name()?;
        let (clock, began) = (Clock::system(), Clock::system().instant());
        let component = self.runtime.admit(file.wasm.clone(), &file.interfaces()).await.map_err(|error| refused(&error))?;
        let admitted_in = clock.instant().saturating_duration_since(began);
        Ok(Trial { sandbox: self, file, component, name, admitted_in })
    }
}

impl Trial<'_> {
    /// The `[config]` table of the manifest.
    pub(super) fn config(&self) -> Value {
        self.file.config()
    }

    /// One run of a fixture, and what it sent into the outside the fixture makes.
    pub(super) async fn fixture(&self, fixture: &Fixture) -> Result<(RunReport, Vec<Request>), Failure> {
        let asked = self.file.manifest.as_ref().map(|manifest| manifest.asked.clone()).unwrap_or_default();
        let (gate, sent) = fixture.gate(&asked)?;
        let delivery = delivery(&fixture.event, fixture.document.clone())?;
        let report = self.run((delivery, fixture.attempt), fixture.configured(self.config()), gate).await;
        Ok((report, sent.try_iter().collect()))
    }

    /// One run.
    pub(super) async fn run(&self, (delivery, attempt): (Delivery, u32), config: Value, gate: Gate) -> RunReport {
        let run = Run {
            started_at: delivery.received_at,
            delivery: Arc::new(delivery),
            plugin: self.name.clone(),
            attempt,
            generation: 0,
            digest: self.file.digest,
            config: Arc::new(config),
            budget: self.file.budget(&self.sandbox.host),
            gate,
        };
        self.sandbox.runtime.invoke(&self.component, run).await
    }
}

/// The delivery a host would make of the document.
pub(super) fn delivery(event: &str, document: Vec<u8>) -> Result<Delivery, Failure> {
    let parsed: Value = serde_json::from_slice(&document)
        .map_err(|error| Failure::new(Exit::Failed, format!("the payload is not JSON ({error}): a host would refuse it")))?;
    let (tenant, body_sha256) = (TenantId::default_tenant(), Sha256::digest(&document).into());
    let source: SourceId = "github".parse().map_err(|error| Failure::new(Exit::Failed, format!("{error}")))?;
    let key = DeliveryKey { tenant: &tenant, source: &source, hook_id: "", provider_id: PROVIDER_ID, body_sha256: &body_sha256 };
    Ok(Delivery {
        id: DeliveryId::derive(&key),
        provider_id: PROVIDER_ID.to_owned(),
        hook_id: None,
        event: event.to_owned(),
        action: parsed["action"].as_str().map(str::to_owned),
        repository: parsed["repository"]["full_name"].as_str().map(str::to_owned),
        installation_id: parsed["installation"]["id"].as_u64(),
        received_at: Clock::system().now(),
        sequence: 1,
        encoding: BodyEncoding::Json,
        headers: vec![Header { name: "x-github-event".to_owned(), value: event.to_owned() }],
        document: Bytes::from(document),
        raw: None,
        body_sha256,
        tenant,
        source,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_same_document_is_the_same_delivery() {
        let document = br#"{"action":"opened","repository":{"full_name":"acme/shop"}}"#;
        let (first, second) = (delivery("pull_request", document.to_vec()).unwrap(), delivery("pull_request", document.to_vec()).unwrap());
        assert_eq!(first.id, second.id);
        assert_eq!((first.action.as_deref(), first.repository.as_deref()), (Some("opened"), Some("acme/shop")));
        assert_ne!(delivery("push", b"{}".to_vec()).unwrap().id, first.id);
        assert!(delivery("push", b"{".to_vec()).unwrap_err().message.contains("not JSON"));
    }
}
