//! RabbitMQ for scenarios: a vhost of a shared node where it is enough, a node of one's own where it is to be harmed.
//!
//! Where no RabbitMQ can be had, these say so and give nothing; the test then returns.

use std::sync::{Arc, OnceLock};

use rabbit_node::Shared;
pub use rabbit_node::{Cluster, Management, Node, Packages, Settings, Vhost};

/// RabbitMQ as a host's queue.
#[derive(Clone, Debug)]
pub struct Queue {
    /// Where it is, with credentials.
    pub url: String,
    /// `disk` or `broker`.
    pub ack_after: &'static str,
    /// More lines of `[broker.rabbitmq]`.
    pub more: String,
    /// The vhost that goes when nobody uses the queue any more.
    _vhost: Option<Arc<Vhost>>,
}

impl Queue {
    /// The broker at this URL; a 202 is given once a delivery is on the host's disk.
    pub fn at(url: impl Into<String>) -> Self {
        Self { url: url.into(), ack_after: "disk", more: String::new(), _vhost: None }
    }

    /// This vhost, for as long as the queue is used.
    pub fn of(vhost: &Arc<Vhost>) -> Self {
        Self { _vhost: Some(Arc::clone(vhost)), ..Self::at(vhost.url()) }
    }

    /// A 202 is given once the broker has confirmed every leg.
    #[must_use]
    pub fn acked_by_broker(self) -> Self {
        Self { ack_after: "broker", ..self }
    }
}

/// The queue of every host of this test binary that has not been given another: RabbitMQ in `pipeline_on_rabbitmq`, which holds the scenarios of
/// the pipeline unchanged, the embedded one elsewhere.
pub fn of_this_binary() -> Option<Queue> {
    let binary = std::env::current_exe().ok()?;
    let is_rabbit = binary.file_name()?.to_str()?.starts_with("pipeline_on_rabbitmq");
    is_rabbit.then(vhost).flatten().map(|vhost| Queue::of(&Arc::new(vhost)))
}

/// An empty vhost of the shared broker: that of `HOOKYARD_AMQP_URL`, or of a node this process starts once.
pub fn vhost() -> Option<Vhost> {
    static SHARED: OnceLock<Result<Shared, String>> = OnceLock::new();
    let shared = SHARED.get_or_init(|| Shared::find().map_err(|error| format!("{error:#}")));
    told(shared.as_ref().map_err(Clone::clone).and_then(|shared| shared.vhost().map_err(|error| format!("{error:#}"))))
}

/// A node of this test's own.
pub fn node(settings: &Settings) -> Option<Node> {
    let packages = told(Packages::find().map_err(|error| format!("{error:#}")))?;
    Some(Node::start(packages, settings).expect("RabbitMQ is here and starts"))
}

/// A cluster of three of this test's own.
pub fn cluster(settings: &Settings) -> Option<Cluster> {
    let packages = told(Packages::find().map_err(|error| format!("{error:#}")))?;
    Some(Cluster::start(packages, settings).expect("RabbitMQ is here and its nodes join"))
}

#[expect(clippy::print_stdout, reason = "what is skipped is said")]
fn told<T>(found: Result<T, String>) -> Option<T> {
    found.inspect_err(|missing| println!("skipped: no RabbitMQ: {missing}")).ok()
}
