//! RabbitMQ nodes of one's own: on their own ports, in their own folder, without a service and without root.
//!
//! Tests, scripts and the bench need a real broker that they may kill, freeze, starve and split. So they start one from Debian's packages:
//! those that are installed, or else fetched and unpacked into `target/rabbitmq`. A node ends with the process that started it, however that
//! ends. This crate knows no AMQP beyond the first frame, so that scripts compile it in no time.

mod cluster;
mod group;
mod management;
mod node;
mod packages;
mod ports;
mod settings;
mod shared;
mod site;

pub use cluster::Cluster;
pub use management::Management;
pub use node::Node;
pub use packages::Packages;
pub use settings::Settings;
pub use shared::{Shared, Vhost};
