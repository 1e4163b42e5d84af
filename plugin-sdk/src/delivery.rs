//! The delivery as a plugin sees it.

use std::fmt;

use serde::de::DeserializeOwned;

use crate::{Verdict, bindings::hookyard::plugin::types};

/// One authentic delivery: verified, deduplicated and durable before the plugin runs.
#[derive(Clone, Debug)]
pub struct Delivery(pub(crate) types::Delivery);

/// The document is not what the plugin expected of it. Running again would end the same way: the usual answer is
/// [`Verdict::reject`].
#[derive(Debug)]
pub struct DocumentError {
    event: String,
    cause: serde_json::Error,
}

impl Delivery {
    /// Hookyard's id: 32 hexadecimal digits, the same in every run of this delivery.
    pub fn id(&self) -> &str {
        &self.0.id
    }

    /// The provider's own id, such as GitHub's `X-GitHub-Delivery`. Unsigned.
    pub fn provider_id(&self) -> &str {
        &self.0.provider_id
    }

    /// The tenant the plugin runs for.
    pub fn tenant(&self) -> &str {
        &self.0.tenant
    }

    /// The source it came from, as in the path `/webhooks/{source}`.
    pub fn source(&self) -> &str {
        &self.0.source
    }

    /// The event's name, such as `pull_request`. Unsigned: GitHub's signature covers the body only.
    pub fn event(&self) -> &str {
        &self.0.event
    }

    /// The document's top-level `action`, such as `opened`.
    pub fn action(&self) -> Option<&str> {
        self.0.action.as_deref()
    }

    /// Which attempt this is: 1 for the first. Faults of the host are not counted.
    pub fn attempt(&self) -> u32 {
        self.0.attempt
    }

    /// How often the delivery was run again after it had been settled.
    pub fn generation(&self) -> u32 {
        self.0.generation
    }

    /// When the host received it, in milliseconds since the Unix epoch.
    pub fn received_at_ms(&self) -> u64 {
        self.0.received_at_ms
    }

    /// When this attempt started, in milliseconds since the Unix epoch: the only clock a plugin has.
    pub fn started_at_ms(&self) -> u64 {
        self.0.started_at_ms
    }

    /// Position among the deliveries its host accepted. No order of handling is promised; this tells what came later.
    pub fn sequence(&self) -> u64 {
        self.0.sequence
    }

    /// How the sender encoded the body; [`Delivery::document`] is the JSON document in any case.
    pub fn content_type(&self) -> &str {
        &self.0.content_type
    }

    /// The first value of a kept request header, by its lower-case name.
    pub fn header(&self, name: &str) -> Option<&str> {
        self.0.headers.iter().find(|header| header.name == name).map(|header| header.value.as_str())
    }

    /// A value the host knows and this version of the contract has no field for.
    pub fn extension(&self, name: &str) -> Option<&str> {
        self.0.extensions.iter().find(|(key, _)| key == name).map(|(_, value)| value.as_str())
    }

    /// The exact bytes of the JSON document.
    pub fn document(&self) -> &[u8] {
        &self.0.document
    }

    /// The document as `T`: one of [`github`](crate::github)'s views, or a struct of the plugin's own.
    pub fn json<T: DeserializeOwned>(&self) -> Result<T, DocumentError> {
        serde_json::from_slice(&self.0.document).map_err(|cause| DocumentError { event: self.0.event.clone(), cause })
    }
}

impl From<types::Delivery> for Delivery {
    fn from(delivery: types::Delivery) -> Self {
        Self(delivery)
    }
}

/// The document would be the same again.
impl From<DocumentError> for Verdict {
    fn from(error: DocumentError) -> Self {
        Self::reject(error.to_string())
    }
}

impl fmt::Display for DocumentError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "the `{}` document has another shape than this plugin expects: {}", self.event, self.cause)
    }
}

impl std::error::Error for DocumentError {
    fn source(&self) -> Option<&(dyn std::error::Error + 'static)> {
        Some(&self.cause)
    }
}
