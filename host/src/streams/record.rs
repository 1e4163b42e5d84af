//! One thing that is sent on, and what is said of it beside its payload.

use std::borrow::Cow;

use bytes::Bytes;

use crate::{
    delivery::{Delivery, DeliveryId, TenantId, Timestamp},
    ledger::Emitted,
};

/// A delivery or an emit.
#[derive(Clone, Debug)]
pub(super) enum Record {
    Delivery(Delivery),
    Emit(Emitted),
}

/// A record in its envelope.
#[derive(Clone, Debug)]
pub(super) struct Message {
    pub(super) record: Record,
    pub(super) content_type: String,
    pub(super) payload: Bytes,
}

impl Record {
    /// The same every time this very thing is sent, so that whoever takes it can drop what comes twice.
    pub(super) fn id(&self) -> Cow<'_, str> {
        match self {
            Self::Delivery(delivery) => delivery.id.to_string().into(),
            Self::Emit(emit) => emit.id.as_str().into(),
        }
    }

    pub(super) fn delivery_id(&self) -> DeliveryId {
        match self {
            Self::Delivery(delivery) => delivery.id,
            Self::Emit(emit) => emit.delivery_id,
        }
    }

    pub(super) fn tenant(&self) -> &TenantId {
        match self {
            Self::Delivery(delivery) => &delivery.tenant,
            Self::Emit(emit) => &emit.tenant,
        }
    }

    /// Its position among what is followed.
    pub(super) fn position(&self) -> u64 {
        match self {
            Self::Delivery(delivery) => delivery.sequence,
            Self::Emit(emit) => emit.mark,
        }
    }

    /// The provider's event name, or the name the plugin gave.
    pub(super) fn event_type(&self) -> &str {
        match self {
            Self::Delivery(delivery) => &delivery.event,
            Self::Emit(emit) => &emit.name,
        }
    }

    /// When it was received or emitted.
    pub(super) fn time(&self) -> Timestamp {
        match self {
            Self::Delivery(delivery) => delivery.received_at,
            Self::Emit(emit) => emit.emitted_at,
        }
    }

    pub(super) fn body(&self) -> &Bytes {
        match self {
            Self::Delivery(delivery) => &delivery.document,
            Self::Emit(emit) => &emit.body,
        }
    }

    /// The media type of the body as it is.
    pub(super) fn body_type(&self) -> &str {
        match self {
            // What a form carried is a JSON document too; that is what is stored as the document.
            Self::Delivery(_) => "application/json",
            Self::Emit(emit) => &emit.content_type,
        }
    }

    /// What is said beside the payload, by name; absent things are not in it.
    pub(super) fn attributes(&self) -> Vec<(&'static str, String)> {
        let mut attributes = vec![
            ("id", self.id().into_owned()),
            ("delivery_id", self.delivery_id().to_string()),
            ("event_type", self.event_type().to_owned()),
            ("tenant", self.tenant().to_string()),
        ];
        match self {
            Self::Delivery(delivery) => {
                attributes.extend([
                    ("received_at", delivery.received_at.to_string()),
                    ("source", delivery.source.to_string()),
                    ("provider_delivery_id", delivery.provider_id.clone()),
                    ("sequence", delivery.sequence.to_string()),
                ]);
                attributes.extend(delivery.action.clone().map(|action| ("action", action)));
                attributes.extend(delivery.repository.clone().map(|repository| ("repository", repository)));
            }
            Self::Emit(emit) => {
                attributes.extend([("emitted_at", emit.emitted_at.to_string()), ("plugin", emit.plugin.to_string())]);
            }
        }
        attributes
    }
}
