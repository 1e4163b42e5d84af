//! The label sets. Every value comes from a closed set: names an operator wrote into a file, or slugs of this code. What a stranger sends is
//! never a label value; where the path named no known tenant or source the value is `unknown`.

use std::fmt::{self, Write as _};

use prometheus_client::encoding::{EncodeLabel as _, EncodeLabelSet, EncodeLabelValue, LabelSetEncoder, LabelValueEncoder};

use crate::delivery::{Digest, PluginName, SourceId, StreamName, TenantId};

/// A tenant or source, where it is known.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub(crate) enum Known<T> {
    /// Named in a file.
    Is(T),
    /// The path named nothing we know.
    Unknown,
}

impl<T: Clone> Known<T> {
    pub(crate) fn of(value: Option<&T>) -> Self {
        value.map_or(Self::Unknown, |value| Self::Is(value.clone()))
    }
}

#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
pub(crate) struct DeliveryLabels {
    pub tenant: Known<TenantId>,
    pub source: Known<SourceId>,
    pub code: &'static str,
}

#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
pub(crate) struct AttemptLabels {
    pub tenant: TenantId,
    pub plugin: PluginName,
    pub outcome: &'static str,
    pub settlement: &'static str,
}

#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
pub(crate) struct PluginLabels {
    pub tenant: TenantId,
    pub plugin: PluginName,
}

#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
pub(crate) struct QueueLabels {
    pub tenant: TenantId,
    pub plugin: PluginName,
    pub state: &'static str,
}

#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
pub(crate) struct VersionLabels {
    pub tenant: TenantId,
    pub plugin: PluginName,
    pub digest: Digest,
}

#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
pub(crate) struct HostCallLabels {
    pub call: String,
    pub result: &'static str,
}

#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
pub(crate) struct StreamLabels {
    pub stream: StreamName,
}

#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
pub(crate) struct ResourceLabels {
    pub resource: &'static str,
}

/// A share that is everybody's bears no tenant.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub(crate) struct ShareLabels {
    pub resource: &'static str,
    pub tenant: Option<TenantId>,
}

impl EncodeLabelSet for ShareLabels {
    fn encode(&self, encoder: &mut LabelSetEncoder<'_>) -> fmt::Result {
        ("resource", self.resource).encode(encoder.encode_label())?;
        self.tenant.as_ref().map_or(Ok(()), |tenant| ("tenant", tenant.as_str()).encode(encoder.encode_label()))
    }
}

/// What belongs to no tenant is `unknown`: the host's own, and what strangers hold.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, EncodeLabelSet)]
pub(crate) struct UsageLabels {
    pub resource: &'static str,
    pub tenant: Known<TenantId>,
}

#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
pub(crate) struct ResultLabels {
    pub result: &'static str,
}

#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
pub(crate) struct ReasonLabels {
    pub reason: &'static str,
}

impl<T: EncodeLabelValue> EncodeLabelValue for Known<T> {
    fn encode(&self, encoder: &mut LabelValueEncoder<'_>) -> fmt::Result {
        match self {
            Self::Is(value) => value.encode(encoder),
            Self::Unknown => encoder.write_str("unknown"),
        }
    }
}

impl EncodeLabelValue for TenantId {
    fn encode(&self, encoder: &mut LabelValueEncoder<'_>) -> fmt::Result {
        encoder.write_str(self.as_str())
    }
}

impl EncodeLabelValue for SourceId {
    fn encode(&self, encoder: &mut LabelValueEncoder<'_>) -> fmt::Result {
        encoder.write_str(self.as_str())
    }
}

impl EncodeLabelValue for PluginName {
    fn encode(&self, encoder: &mut LabelValueEncoder<'_>) -> fmt::Result {
        encoder.write_str(self.as_str())
    }
}

impl EncodeLabelValue for StreamName {
    fn encode(&self, encoder: &mut LabelValueEncoder<'_>) -> fmt::Result {
        encoder.write_str(self.as_str())
    }
}

impl EncodeLabelValue for Digest {
    fn encode(&self, encoder: &mut LabelValueEncoder<'_>) -> fmt::Result {
        write!(encoder, "{self}")
    }
}
