//! RabbitMQ: the legs of many hosts on one broker, each accepted by one ledger and run by whoever takes it.
//!
//! Accepting is the embedded engine's: delivery and legs are committed to this host's ledger, and only then is the sender answered. From there
//! a `relay` gives each leg to its plugin's queue and forgets it only when RabbitMQ has confirmed it. The `intake` takes legs from the queues
//! of plugins that serve here, from whichever host they come, and puts them into the ledger's lanes; leasing, attempts, settlements, effects and
//! what happens after a crash are then the same as without RabbitMQ. A message is believed as far as its
//! `seal` goes, and put aside where that does not hold. It is acknowledged when what it stands for is settled, or safe in its next message. Everything is at least once; of two messages of one leg the older is known by how far the leg has come, and dropped.

mod audit;
mod engine;
mod envelope;
mod handling;
mod headers;
mod inbox;
mod intake;
mod link;
mod management;
mod marks;
mod migration;
mod names;
mod onlookers;
mod opening;
mod plan;
mod properties;
mod publisher;
mod queues;
mod rejection;
mod relay;
mod seal;
mod sieve;
#[cfg(test)]
mod tests;
mod topology;
mod transport;
mod waiters;
mod watching;

pub(crate) use engine::SEALED;
pub use engine::{Amqp, Parts, Settings};
pub use envelope::{Decoder, Genuine, Packed, Unreadable};
pub use headers::Headers;
pub use link::{Address, Lost};
pub use management::Management;
pub use migration::{Migration, Moved, Progress, Stopped};
pub use names::{Names, RUNGS, Rung};
pub use onlookers::{EMITS, EVENTS, topic_exchange};
pub use publisher::{Connected, HeaderValue, Message, Prepare, Published, Publisher, Settings as PublisherSettings};
pub use rejection::Rejection;
pub use seal::Keys;
pub use topology::Topology;
