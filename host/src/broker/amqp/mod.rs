//! RabbitMQ: how messages get there and how they are known to be there.

mod link;
mod onlookers;
mod publisher;

pub use link::{Address, Lost};
pub use onlookers::{EMITS, EVENTS, topic_exchange};
pub use publisher::{Connected, HeaderValue, Message, Prepare, Published, Publisher, Settings as PublisherSettings};
