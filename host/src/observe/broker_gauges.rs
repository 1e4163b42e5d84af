//! What is counted and read of RabbitMQ. The labels are slugs of this code, a dozen in all, so they need no part of the bound on series.

use std::sync::atomic::{AtomicBool, Ordering};

use prometheus_client::{
    metrics::{counter::Counter, family::Family, gauge::Gauge},
    registry::Registry,
};

use super::labels::{ReasonLabels, ResultLabels};

/// The queue's connections, and what goes to it and comes from it.
#[derive(Debug, Default)]
pub(super) struct BrokerGauges {
    connected: Gauge,
    blocked: Gauge,
    relay_messages: Family<ResultLabels, Counter>,
    messages_rejected: Family<ReasonLabels, Counter>,
    relay_lag: Gauge,
    away: AtomicBool,
}

impl BrokerGauges {
    pub(super) fn register(&self, registry: &mut Registry) {
        registry.register(
            "broker_connected",
            "Whether the queue answered at this scrape and its connections stand",
            self.connected.clone(),
        );
        registry.register("broker_blocked", "1 while RabbitMQ has an alarm and takes no messages", self.blocked.clone());
        registry.register("relay_messages", "Legs that were given to RabbitMQ, by what came of it", self.relay_messages.clone());
        registry.register("messages_rejected", "Messages of RabbitMQ that were put aside, by reason", self.messages_rejected.clone());
        registry.register("relay_lag", "Legs that RabbitMQ is to get and has not confirmed", self.relay_lag.clone());
    }

    pub(super) fn is_away(&self, is_away: bool) {
        self.away.store(is_away, Ordering::Relaxed);
    }

    pub(super) fn is_blocked(&self, is_blocked: bool) {
        self.blocked.set(i64::from(is_blocked));
    }

    pub(super) fn relayed(&self, result: &'static str) {
        self.relay_messages.get_or_create(&ResultLabels { result }).inc();
    }

    pub(super) fn message_rejected(&self, reason: &'static str) {
        self.messages_rejected.get_or_create(&ReasonLabels { reason }).inc();
    }

    /// What is known at a scrape: whether the queue answered, and how far the relay is behind.
    pub(super) fn set(&self, answered: bool, relay_lag: u64) {
        self.connected.set(i64::from(answered && !self.away.load(Ordering::Relaxed)));
        self.relay_lag.set(i64::try_from(relay_lag).unwrap_or(i64::MAX));
    }
}
