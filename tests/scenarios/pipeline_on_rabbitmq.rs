//! Every scenario of the pipeline, unchanged, with RabbitMQ as the queue: [`system_tests::rabbit::of_this_binary`] gives each host a vhost of its own.
//! Where no RabbitMQ can be had, that is said and they run on the embedded queue a second time.

#[path = "accept.rs"]
mod accept;
#[path = "dedup.rs"]
mod dedup;
#[path = "hostile.rs"]
mod hostile;
#[path = "hot_reload.rs"]
mod hot_reload;
#[path = "retry.rs"]
mod retry;
#[path = "secrecy.rs"]
mod secrecy;
#[path = "sizes.rs"]
mod sizes;
