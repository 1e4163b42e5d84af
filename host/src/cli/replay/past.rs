//! A past run as the host tells it: one delivery, one plugin, one attempt, of one tenant.

use bytes::Bytes;

use crate::{
    cli::exit::{Exit, Failure},
    delivery::{
        BodyEncoding, Delivery, Header, PluginName, TenantId,
        view::{AttemptView, DeliveryView},
    },
    runtime::Recording,
};

/// One past run.
#[derive(Debug)]
pub(super) struct Past {
    pub(super) delivery: Delivery,
    pub(super) plugin: PluginName,
    pub(super) attempt: AttemptView,
}

impl Past {
    /// The run of this tenant's plugin in what the host tells of a delivery. Another tenant's delivery is not found, whatever is known of it.
    pub(super) fn of(view: DeliveryView, (tenant, plugin): (&TenantId, &PluginName), number: Option<usize>) -> Result<Self, Failure> {
        let missing = |what: String| Failure::new(Exit::NotFound, what);
        if view.tenant != *tenant {
            return Err(missing(format!("the tenant `{tenant}` has no delivery {}", view.delivery_id)));
        }
        let leg = view.legs.iter().find(|leg| leg.plugin == *plugin);
        let leg = leg.ok_or_else(|| missing(format!("{} was not for the plugin `{plugin}`", view.delivery_id)))?;
        let ran = |attempt: &&AttemptView| attempt.digest.is_some();
        let found = match number {
            Some(number) => number.checked_sub(1).and_then(|at| leg.history.get(at)).filter(ran),
            None => leg.history.iter().rev().find(ran),
        };
        let attempt = found.cloned().ok_or_else(|| missing(format!("{} was not run by `{plugin}` that often", view.delivery_id)))?;
        Ok(Self { delivery: delivery(view)?, plugin: plugin.clone(), attempt })
    }

    /// What its calls were answered.
    pub(super) fn recording(&self) -> Recording {
        Recording::of(self.delivery.tenant.clone(), &self.attempt.host_calls)
    }
}

/// The delivery as the guest saw it.
fn delivery(view: DeliveryView) -> Result<Delivery, Failure> {
    let document = view.document.ok_or_else(|| Failure::new(Exit::NotFound, "its document is not kept any more".to_owned()))?;
    let is_form = view.content_type.as_deref() == Some(BodyEncoding::Form.content_type());
    Ok(Delivery {
        id: view.delivery_id,
        tenant: view.tenant,
        source: view.source,
        provider_id: view.provider_delivery_id,
        hook_id: None,
        event: view.event,
        action: view.action,
        repository: view.repository,
        installation_id: None,
        received_at: view.received_at,
        sequence: view.sequence,
        encoding: if is_form { BodyEncoding::Form } else { BodyEncoding::Json },
        headers: view.headers.into_iter().map(|(name, value)| Header { name, value }).collect(),
        document: Bytes::from(document),
        raw: None,
        body_sha256: [0; 32],
    })
}
