//! What can be said about messages that came from a broker and are not believed.

use serde_json::json;

use crate::observe::{Fact, Fields, Metrics};

/// A message was put aside. Lines are sampled: whoever may write to the broker must not be able to fill the log.
#[derive(Clone, Debug)]
pub struct MessageRejected {
    /// The reason's slug.
    pub reason: &'static str,
    /// The queue it came from.
    pub queue: String,
    /// Its length.
    pub bytes: usize,
    /// The reason in words, without anything of the message.
    pub detail: String,
}

impl Fact for MessageRejected {
    fn kind(&self) -> &'static str {
        "message_rejected"
    }

    fn count(&self, metrics: &Metrics) {
        metrics.broker().message_rejected(self.reason);
    }

    fn log(&self) {
        let Self { reason, queue, bytes, detail } = self;
        tracing::error!(reason, queue = queue.as_str(), bytes, detail = detail.as_str(), "message_rejected");
    }

    fn fields(&self) -> Fields {
        Fields::from([
            ("reason", json!(self.reason)),
            ("queue", json!(self.queue)),
            ("bytes", json!(self.bytes)),
            ("detail", json!(self.detail)),
        ])
    }

    fn is_sampled(&self) -> bool {
        true
    }
}
