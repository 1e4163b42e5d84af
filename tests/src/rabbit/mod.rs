//! RabbitMQ for scenarios: a vhost of a shared node where it is enough, a node of one's own where it is to be harmed.
//!
//! Where no RabbitMQ can be had, these say so and give nothing; the test then returns.

use std::sync::OnceLock;

use rabbit_node::Shared;
pub use rabbit_node::{Cluster, Management, Node, Packages, Settings, Vhost};

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
