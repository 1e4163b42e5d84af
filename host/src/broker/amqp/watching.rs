//! What the host is told of RabbitMQ: whether it is there, whether others work on it, what cannot be checked, and which queues nobody here takes
//! from.

use std::{collections::HashSet, sync::Arc};

use tokio::sync::watch;

use super::{Connected, engine::Settings, relay::Relay};
use crate::{
    ledger::{Ledger, QueueSet, RelayScope},
    observe::{Observer, Readiness},
    tasks::Tasks,
};

/// Queues that a note names; of more it gives the number.
pub(super) const NAMED_MAX: usize = 10;

/// What AMQP has no question for, so that nobody takes silence for a check.
pub(super) fn unverified(settings: &Settings) -> String {
    let cap = cap(settings);
    if settings.topology.passive {
        return format!(
            "existence only was checked: AMQP does not tell arguments, policies, bindings and alternate exchanges of what others made, nor {cap}"
        );
    }
    format!("AMQP does not tell policies laid over our queues, nor {cap}")
}

/// What nothing tells.
pub(super) fn cap(settings: &Settings) -> String {
    format!("that the broker's message cap is at least {} bytes", settings.message_bytes_max)
}

/// Tells the host what the connections tell.
pub(super) struct Watching {
    pub(super) publishing: watch::Receiver<Connected>,
    pub(super) consuming: watch::Receiver<Option<String>>,
    pub(super) observer: Observer,
    pub(super) readiness: Readiness,
    /// Nothing can be accepted without RabbitMQ.
    pub(super) needed: bool,
}

impl Watching {
    pub(super) async fn run(mut self, tasks: Tasks) {
        loop {
            let publishing = match &*self.publishing.borrow_and_update() {
                Connected::Ready => None,
                Connected::Away(why) => Some(why.clone()),
                Connected::Blocked(why) => Some(format!("it takes nothing at the moment: {why}")),
            };
            let consuming = self.consuming.borrow_and_update().clone();
            let away = publishing.clone().or(consuming);
            self.observer.broker_connected(away.is_none());
            self.observer.broker_blocked(matches!(*self.publishing.borrow(), Connected::Blocked(_)));
            match publishing.filter(|_| self.needed) {
                Some(why) => self.readiness.block("broker_away", format!("RabbitMQ: {why}")),
                None => self.readiness.clear("broker_away"),
            }
            match away.filter(|_| !self.needed) {
                Some(why) => self.readiness.note("broker_away", format!("deliveries are taken and wait in the ledger; RabbitMQ: {why}")),
                None => self.readiness.clear_note("broker_away"),
            }
            tokio::select! {
                () = tasks.stopping() => return,
                changed = self.publishing.changed() => if changed.is_err() { return },
                changed = self.consuming.changed() => if changed.is_err() { return },
            }
        }
    }
}

/// When the first leg of another host comes although nobody said that work is shared, outcomes count as unknown from then on.
pub(super) async fn watch_sharing(
    mut foreign: watch::Receiver<bool>,
    ledger: Ledger,
    (scope, readiness): (RelayScope, Readiness),
    tasks: Tasks,
) {
    if scope.outcomes_elsewhere {
        return;
    }
    tokio::select! {
        () = tasks.stopping() => {}
        seen = foreign.wait_for(|foreign| *foreign) => if seen.is_ok() {
            let words = "legs of another host come from this RabbitMQ; set `broker.rabbitmq.shared_work = true` on all of them, so that \
                         plugins whose state is one host's are refused";
            tracing::error!(words, "work_is_shared_unannounced");
            readiness.note("work_is_shared_unannounced", words);
            ledger.relay(RelayScope { outcomes_elsewhere: true, ..scope });
        },
    }
}

/// Names the queues of plugins that this host knows and does not run, with what an operator can do about them: nothing is deleted here.
pub(super) async fn watch_unserved(
    (mut served, ledger, relay, readiness): (watch::Receiver<QueueSet>, Ledger, Arc<Relay>, Readiness),
    tasks: Tasks,
) {
    let vhost = relay.vhost();
    loop {
        let names = &relay.topology.names;
        let here: HashSet<String> =
            served.borrow_and_update().queues.iter().map(|queue| names.queue(&queue.tenant, &queue.plugin)).collect();
        let known = ledger.queues().await.unwrap_or_default();
        let unserved: Vec<String> =
            known.iter().map(|queue| names.queue(&queue.tenant, &queue.plugin)).filter(|queue| !here.contains(queue)).collect();
        if unserved.is_empty() || here.is_empty() {
            readiness.clear_note("rabbitmq_queues_unserved");
        } else {
            let more = unserved.len().saturating_sub(NAMED_MAX);
            let list = unserved[..unserved.len() - more].join(", ");
            let more = if more > 0 { format!(" and {more} more") } else { String::new() };
            let words = format!(
                "this host takes nothing from {list}{more}: the plugin was removed, or is paused or broken. What is in them waits, and dies as \
                 `no_plugin` 72 hours after a plugin was removed. For one that does not come back: `rabbitmqctl delete_queue --vhost {vhost} QUEUE --if-empty`; \
                 `rabbitmqctl purge_queue --vhost {vhost} QUEUE` first drops what is in it"
            );
            tracing::info!(queues = list, "rabbitmq_queues_unserved");
            readiness.note("rabbitmq_queues_unserved", words);
        }
        tokio::select! {
            () = tasks.stopping() => return,
            changed = served.changed() => if changed.is_err() { return },
        }
    }
}
