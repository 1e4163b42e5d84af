//! Whether what is at RabbitMQ is what we need: the plan against the management API's word, purely; and telling what differs.
//!
//! AMQP refuses a queue that has other arguments, and tells nothing of policies, which an operator may lay over any queue at any time and some
//! of which are stronger than arguments. Of these a few make RabbitMQ drop what it has confirmed. A plugin's queue that may drop is given no
//! leg while that is so: its legs wait in the ledger.

use std::{
    collections::{BTreeMap, BTreeSet},
    sync::Arc,
    time::Duration,
};

use lapin::ExchangeKind;
use regex_lite::Regex;
use serde_json::{Map, Value};
use tokio::sync::watch;

use super::{
    Connected,
    engine::Settings,
    management::{ExchangeThere, Management, PolicyThere, QueueThere, There},
    plan::{Argument, Arguments, BindingPlan, ExchangePlan, Plan, QueuePlan},
    relay::Relay,
    watching::{NAMED_MAX, cap, unverified},
};
use crate::{ledger::QueueSet, observe::Readiness, tasks::Tasks};

/// How often RabbitMQ is asked where nothing has changed.
const EVERY: Duration = Duration::from_secs(30);
/// How soon once more after a change: what belongs to it may be on its way.
const SOON: Duration = Duration::from_secs(2);
/// The note in `readyz` and the word in the log.
const DIFFERS: &str = "rabbitmq_topology_differs";

/// What is not as it should be.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct Finding {
    /// The queue that drops what it has confirmed, where it is one that does.
    pub(super) drops: Option<String>,
    /// Object, what was found, what was expected.
    pub(super) words: String,
}

impl Finding {
    fn plain(words: String) -> Self {
        Self { drops: None, words }
    }
}

/// Everything in `there` that is not as `plan` says. What is not there is told where `tells_absent`: we may be about to make it.
pub(super) fn compare(plan: &Plan, there: &There, tells_absent: bool) -> BTreeSet<Finding> {
    let exchanges: BTreeMap<&str, &ExchangeThere> = there.exchanges.iter().map(|exchange| (exchange.name.as_str(), exchange)).collect();
    let queues: BTreeMap<&str, &QueueThere> = there.queues.iter().map(|queue| (queue.name.as_str(), queue)).collect();
    let bindings: BTreeSet<(&str, &str, &str)> =
        there.bindings.iter().map(|found| (found.source.as_str(), found.destination.as_str(), found.routing_key.as_str())).collect();
    let absent = |what: &str, name: &str| tells_absent.then(|| Finding::plain(format!("the {what} `{name}` is not there")));
    let mut findings = BTreeSet::new();
    for planned in &plan.exchanges {
        match exchanges.get(planned.name.as_str()) {
            None => findings.extend(absent("exchange", &planned.name)),
            Some(found) => findings.extend(of_exchange(planned, found)),
        }
    }
    for planned in &plan.queues {
        match queues.get(planned.name.as_str()) {
            None => findings.extend(absent("queue", &planned.name)),
            Some(found) => findings.extend(of_queue(planned, found, there)),
        }
    }
    for BindingPlan { exchange, queue, key } in &plan.bindings {
        if queues.contains_key(queue.as_str()) && !bindings.contains(&(exchange, queue, key)) {
            findings.insert(Finding::plain(format!("the queue `{queue}` is not bound to the exchange `{exchange}` by the key `{key}`")));
        }
    }
    findings
}

fn of_exchange(planned: &ExchangePlan, found: &ExchangeThere) -> Vec<Finding> {
    let (name, kind) = (&planned.name, word(&planned.kind));
    let told = |Difference { words, .. }| Finding::plain(format!("the exchange `{name}` has {words}"));
    let mut findings: Vec<Finding> = differing(&planned.arguments, &found.arguments).into_iter().map(told).collect();
    if found.kind != kind || !found.durable {
        let durable = if found.durable { "durable" } else { "not durable" };
        findings.push(Finding::plain(format!("the exchange `{name}` is {} and {durable}, and must be {kind} and durable", found.kind)));
    }
    findings
}

/// A host that makes its own queues finds none with other arguments; one that is `passive` takes what others have made.
fn of_queue(planned: &QueuePlan, found: &QueueThere, there: &There) -> Vec<Finding> {
    let name = &planned.name;
    let dropping = |drops: bool| drops.then(|| name.clone());
    let mut findings = Vec::new();
    if !found.durable {
        findings.push(Finding { drops: Some(name.clone()), words: format!("the queue `{name}` is not durable, and must be") });
    }
    for Difference { argument, words } in differing(&planned.arguments, &found.arguments) {
        let value = found.arguments.get(&argument);
        let harm = argument.strip_prefix("x-").and_then(|key| harm(&planned.arguments, key, value));
        let (drops, why) = harm.map_or((false, String::new()), |harm| (harm.drops, format!(": {}", harm.words)));
        findings.push(Finding { drops: dropping(drops), words: format!("the queue `{name}` has {words}{why}") });
    }
    for (kind, policy) in laid_over(found, there) {
        for (key, value) in &policy.definition {
            let Some(harm) = harm(&planned.arguments, key, Some(value)) else { continue };
            let words = format!("the {kind} `{}` sets `{key}` to {value} for the queue `{name}`: {}", policy.name, harm.words);
            findings.push(Finding { drops: dropping(harm.drops), words });
        }
    }
    findings
}

/// An argument that is not as planned.
struct Difference {
    argument: String,
    words: String,
}

fn differing(planned: &Arguments, found: &Map<String, Value>) -> Vec<Difference> {
    let expected = |name: &str| planned.iter().find(|(planned, _)| *planned == name).map(|(_, argument)| value(argument));
    let shown = |value: Option<&Value>| value.map_or("nothing".to_owned(), Value::to_string);
    let names: BTreeSet<&str> = planned.iter().map(|(name, _)| *name).chain(found.keys().map(String::as_str)).collect();
    let differs = |name: &&str| expected(name).as_ref() != found.get(*name);
    let words = |name: &str| format!("`{name}` = {}, and must have {}", shown(found.get(name)), shown(expected(name).as_ref()));
    names.into_iter().filter(differs).map(|name| Difference { argument: name.to_owned(), words: words(name) }).collect()
}

fn value(argument: &Argument) -> Value {
    match argument {
        Argument::Text(text) => Value::from(text.as_str()),
        Argument::Number(number) => Value::from(*number),
        Argument::Truth(truth) => Value::from(*truth),
    }
}

fn word(kind: &ExchangeKind) -> &'static str {
    match kind {
        ExchangeKind::Direct => "direct",
        ExchangeKind::Fanout => "fanout",
        ExchangeKind::Topic => "topic",
        ExchangeKind::Headers => "headers",
        ExchangeKind::Custom(_) => "of a plugin",
    }
}

/// What a queue does that is full and does not refuse.
const DROPS_THE_OLDEST: &str = "when it is full it drops the oldest messages instead of refusing new ones";

/// What is told of what was found. What drops is told at once; anything else when it was found twice in a row, because between its declaration
/// and its binding, or between two answers of the API, a queue that is just being made looks like one that lacks something.
fn certain(found: &BTreeSet<Finding>, before: &BTreeSet<Finding>) -> BTreeSet<Finding> {
    found.iter().filter(|finding| finding.drops.is_some() || before.contains(finding)).cloned().collect()
}

struct Harm {
    drops: bool,
    words: &'static str,
}

/// What a key of a policy, or an argument that is not as planned, does to a queue that was planned with these arguments; none where it does
/// nothing that matters here. Without a value, the argument is not there. An argument is stronger than a policy for dead-lettering, the lower of
/// both holds for limits (<https://www.rabbitmq.com/docs/parameters#how-policies-work>), and for `overflow` the policy is stronger: scenario
/// `topology` shows it on a real node.
fn harm(planned: &Arguments, key: &str, value: Option<&Value>) -> Option<Harm> {
    let has = |name: &str| planned.iter().any(|(argument, _)| *argument == name);
    let harm = |drops, words| Some(Harm { drops, words });
    // What nobody believes is kept as long as there is room: this queue is meant to drop.
    let is_meant_to_drop =
        planned.iter().any(|(argument, value)| *argument == "x-overflow" && *value == Argument::Text("drop-head".to_owned()));
    if is_meant_to_drop && matches!(key, "overflow" | "max-length" | "max-length-bytes") {
        return None;
    }
    let Some(value) = value else {
        return if key == "overflow" { harm(true, DROPS_THE_OLDEST) } else { None };
    };
    match key {
        "overflow" if value != "reject-publish" => harm(true, DROPS_THE_OLDEST),
        "expires" => harm(true, "it is deleted, with what is in it, when nobody consumes from it for so long"),
        "max-length" | "max-length-bytes" if !has("x-overflow") => {
            harm(true, "it must have no limit, because when it is full it drops the oldest messages")
        }
        "max-length" | "max-length-bytes" => {
            harm(false, "it refuses legs sooner or later than this host is configured for; those it refuses wait in the ledger")
        }
        "message-ttl" if has("x-message-ttl") => harm(false, "what waits in it is put back before its time, and waits once more"),
        "message-ttl" => harm(false, "legs that wait so long are dead-lettered by RabbitMQ and put back"),
        "delivery-limit" => harm(false, "legs delivered so often are dead-lettered by RabbitMQ and put back"),
        "dead-letter-exchange" | "dead-letter-routing-key" | "dead-letter-strategy"
            if !has(&format!("x-{key}")) && has("x-dead-letter-exchange") =>
        {
            harm(false, "what it dead-letters goes another way than it must")
        }
        _ => None,
    }
}

/// The policies that hold for a queue, each with what it is called: at most one of each kind. Which policy it is stands with the queue; which
/// operator policy does not always, so it is found as RabbitMQ finds it: of those whose pattern matches the one with the highest priority. A
/// pattern that only RabbitMQ can read counts as one that matches.
fn laid_over<'a>(queue: &QueueThere, there: &'a There) -> Vec<(&'static str, &'a PolicyThere)> {
    let policy = there.policies.iter().find(|policy| queue.policy.as_ref() == Some(&policy.name));
    let applies = |policy: &&PolicyThere| {
        ["all", "queues", "quorum_queues"].contains(&policy.apply_to.as_str())
            && Regex::new(&policy.pattern).map_or(true, |pattern| pattern.is_match(&queue.name))
    };
    let operator_policy = there.operator_policies.iter().filter(applies).max_by_key(|policy| policy.priority);
    policy.map(|policy| ("policy", policy)).into_iter().chain(operator_policy.map(|policy| ("operator policy", policy))).collect()
}

/// Asks the management API again and again, and tells what differs.
pub(super) struct Audit {
    management: Management,
    relay: Arc<Relay>,
    readiness: Readiness,
    /// What is said of what cannot be checked at all, and of what could not be checked now.
    unverified: (String, String),
    /// What the last look found, and what of it was told.
    found: BTreeSet<Finding>,
    told: BTreeSet<Finding>,
}

impl Audit {
    /// An audit, where the settings say whom to ask.
    pub(super) fn new(settings: &Settings, relay: &Arc<Relay>, readiness: &Readiness) -> Option<Self> {
        Some(Self {
            management: settings.management.clone()?,
            relay: Arc::clone(relay),
            readiness: readiness.clone(),
            unverified: (cap(settings), unverified(settings)),
            found: BTreeSet::new(),
            told: BTreeSet::new(),
        })
    }

    /// Looks until the tasks are told to stop.
    pub(super) async fn run(mut self, mut served: watch::Receiver<QueueSet>, tasks: Tasks) {
        let mut connected = self.relay.publisher.connected();
        let mut again_in = SOON;
        loop {
            let is_there = *connected.borrow_and_update() == Connected::Ready;
            let queues = served.borrow_and_update().clone();
            if is_there {
                tokio::select! {
                    () = tasks.stopping() => return,
                    () = self.look(&queues) => {}
                }
            }
            // What was found for the first time is looked at again soon.
            let wait = if self.found == self.told { again_in } else { SOON };
            let changed = tokio::select! {
                () = tasks.stopping() => return,
                () = tokio::time::sleep(wait) => false,
                changed = served.changed() => if changed.is_err() { return } else { true },
                changed = connected.changed() => if changed.is_err() { return } else { true },
            };
            again_in = if changed { SOON } else { EVERY };
        }
    }

    async fn look(&mut self, served: &QueueSet) {
        let topology = &self.relay.topology;
        // A host that runs nothing serves no queue, and gives legs to them all the same.
        let served = served.queues.iter().map(|queue| topology.names.queue(&queue.tenant, &queue.plugin));
        let queues: BTreeSet<String> = served.chain(self.relay.queues.names()).collect();
        let plan = queues.iter().fold(Plan::once(&topology.names), |plan, queue| plan.and(topology.plan_of(queue)));
        match self.management.look(self.relay.vhost()).await {
            Ok(there) => {
                self.readiness.note("rabbitmq_unverified", format!("not verified: {}", self.unverified.0));
                self.tell(compare(&plan, &there, topology.passive));
            }
            Err(why) => {
                tracing::debug!(why, "rabbitmq_not_audited");
                self.readiness.note("rabbitmq_unverified", format!("{}; {why}", self.unverified.1));
            }
        }
    }

    /// A finding is logged once, and stands in `readyz` as long as it holds.
    fn tell(&mut self, found: BTreeSet<Finding>) {
        self.relay.queues.may_drop(found.iter().filter_map(|finding| finding.drops.clone()).collect());
        let findings = certain(&found, &self.found);
        self.found = found;
        for Finding { words, .. } in findings.difference(&self.told) {
            tracing::error!(words, "rabbitmq_topology_differs");
        }
        if findings.is_empty() {
            self.readiness.clear_note(DIFFERS);
        } else {
            // What drops comes last in their order, and is told first.
            let words: Vec<&str> = findings.iter().rev().take(NAMED_MAX).map(|finding| finding.words.as_str()).collect();
            let more = findings.len().saturating_sub(NAMED_MAX);
            let more = if more > 0 { format!("; and {more} more, which are in the log") } else { String::new() };
            self.readiness.note(DIFFERS, format!("{}{more}", words.join("; ")));
        }
        self.told = findings;
    }
}

#[cfg(test)]
mod tests;
