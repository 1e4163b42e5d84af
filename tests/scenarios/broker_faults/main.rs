//! The host on a real RabbitMQ that is killed, starved, cut off, filled up and split: whatever was answered 202 is settled, and no neighbour
//! notices.
//!
//! Each scenario says itself when it is skipped for want of RabbitMQ. Those that harm the broker start a node of their own, so they take
//! seconds; longer runs by environment: `HOOKYARD_BROKER_KILLS` (20), `HOOKYARD_OUTAGE_S` (5).

mod alarms;
mod cluster;
mod desk;
mod hosts;
mod kills;
mod limits;
mod outage;
mod queues;
mod relayed;
mod retries;
mod tls;
