//! RabbitMQ: how messages get there and how they are known to be there.

mod link;
mod publisher;

pub use link::{Address, Lost};
pub use publisher::{Connected, HeaderValue, Message, Prepare, Published, Publisher, Settings as PublisherSettings};
