//! The test language: a whole host in this process, a sender that signs, guests that misbehave, and books that must balance.
//!
//! A scenario reads like a sentence. What it waits for it awaits as a fact; nothing sleeps.

pub mod amqp;
pub mod bomb;
pub mod contract;
pub mod disk;
pub mod fake_amqp;
pub mod folder;
pub mod frames;
pub mod github;
pub mod guests;
pub mod host;
pub mod load;
pub mod payloads;
pub mod process;
pub mod rabbit;
pub mod redis;
pub mod relay;
pub mod sender;
pub mod stage;
pub mod stranger;
pub mod trace;
