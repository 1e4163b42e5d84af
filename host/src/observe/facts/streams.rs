//! What can be said about streams.

use serde_json::json;

use crate::{
    delivery::StreamName,
    observe::{Fact, Fields, Metrics},
};

/// A stream is connected.
#[derive(Clone, Debug)]
pub struct StreamConnected {
    /// Which.
    pub stream: StreamName,
    /// From where it goes on.
    pub position: u64,
}

/// A portion is on the other side and the cursor behind it.
#[derive(Clone, Debug)]
pub struct StreamPublished {
    /// Which stream.
    pub stream: StreamName,
    /// How many.
    pub published: usize,
    /// How many of them one of the other side's readers did not take: a full queue that refuses.
    pub refused: usize,
    /// The cursor.
    pub position: u64,
}

/// A stream's connection is given up; it tries again.
#[derive(Clone, Debug)]
pub struct StreamFailed {
    /// Which stream.
    pub stream: StreamName,
    /// Why, in words.
    pub detail: String,
}

impl Fact for StreamConnected {
    fn kind(&self) -> &'static str {
        "stream_connected"
    }

    fn count(&self, _metrics: &Metrics) {
        // A gauge tells whether it is connected; how often it was tells nothing that the failures do not.
    }

    fn log(&self) {
        tracing::info!(stream = %self.stream, position = self.position, "stream_connected");
    }

    fn fields(&self) -> Fields {
        Fields::from([("stream", json!(self.stream)), ("position", json!(self.position))])
    }
}

impl Fact for StreamPublished {
    fn kind(&self) -> &'static str {
        "stream_published"
    }

    fn count(&self, metrics: &Metrics) {
        metrics.stream_published(&self.stream, self.published);
        metrics.stream_refused(&self.stream, self.refused);
    }

    fn log(&self) {
        if self.refused > 0 {
            tracing::warn!(stream = %self.stream, refused = self.refused, position = self.position, "stream_refused");
        }
        tracing::debug!(stream = %self.stream, published = self.published, position = self.position, "stream_published");
    }

    fn fields(&self) -> Fields {
        Fields::from([
            ("stream", json!(self.stream)),
            ("published", json!(self.published)),
            ("refused", json!(self.refused)),
            ("position", json!(self.position)),
        ])
    }
}

impl Fact for StreamFailed {
    fn kind(&self) -> &'static str {
        "stream_failed"
    }

    fn count(&self, metrics: &Metrics) {
        metrics.stream_failed(&self.stream);
    }

    fn log(&self) {
        tracing::warn!(stream = %self.stream, detail = self.detail.as_str(), "stream_failed");
    }

    fn fields(&self) -> Fields {
        Fields::from([("stream", json!(self.stream)), ("detail", json!(self.detail))])
    }
}
