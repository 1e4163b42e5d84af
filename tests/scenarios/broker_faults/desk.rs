//! What the scenarios have in common.

use std::{collections::BTreeSet, sync::Arc, time::Duration};

use hookyard::delivery::{DeliveryId, LegState};
use system_tests::{
    guests,
    host::{Builder, TestHost},
    rabbit::{Management, Node, Queue},
    sender::{Post, Sender},
};

/// A subscription to everything.
pub(crate) const ALL: &str = "sources = [\"github\"]\nevents = [\"*\"]\n";

/// A host with two plugins that take everything.
pub(crate) fn two_plugins(queue: Queue) -> Builder {
    TestHost::builder().on(queue).plugin("ack", guests::component("ack")).plugin("echo", guests::component("publish-document"))
}

/// How long a host may refuse, when its broker is on its way back.
const TAKEN_MAX: Duration = Duration::from_mins(3);

/// A document that is like no other.
pub(crate) fn fresh_document() -> String {
    format!("{{\"n\":\"{:032x}\"}}", fastrand::u128(..))
}

/// Sends so many, all accepted.
pub(crate) async fn send(sender: &Sender, count: usize) -> Vec<DeliveryId> {
    let mut sending = tokio::task::JoinSet::new();
    for _ in 0..count {
        let sender = sender.clone();
        sending.spawn(async move { sender.post("push", fresh_document()).await.accepted() });
    }
    sending.join_all().await
}

/// Sends until so many are accepted: a host that answers for its broker refuses until it has one.
pub(crate) async fn taken(host: &TestHost, count: usize) -> Vec<DeliveryId> {
    let (mut ids, mut last) = (Vec::new(), None);
    let taking = async {
        while ids.len() < count {
            let answer = host.sender().post("push", fresh_document()).await;
            if answer.status == 202 {
                ids.push(answer.accepted());
            } else {
                assert_eq!(answer.status, 503, "{}", answer.body);
                last = Some(answer);
                pause().await;
            }
        }
    };
    let is_taken = tokio::time::timeout(TAKEN_MAX, taking).await.is_ok();
    assert!(is_taken, "{} of {count} were taken within {TAKEN_MAX:?}; the last answer: {last:?}", ids.len());
    ids
}

/// Makes the same call again until it is taken. What was refused may have been kept all the same, and run meanwhile: then it is a duplicate now.
pub(crate) async fn taken_at_last(host: &TestHost, post: &Post) -> DeliveryId {
    let taking = async {
        loop {
            let answer = host.sender().send(post.clone()).await;
            match answer.status.as_u16() {
                202 => return answer.accepted(),
                200 => return answer.duplicate(),
                _ => after(Duration::from_millis(100)).await,
            }
        }
    };
    tokio::time::timeout(TAKEN_MAX, taking).await.unwrap_or_else(|_| panic!("not taken within {TAKEN_MAX:?}"))
}

/// Waits until every leg of these is acked; gives how many attempts were made beyond one a leg.
pub(crate) async fn all_acked(host: &TestHost, ids: impl IntoIterator<Item = &DeliveryId>, legs: usize) -> usize {
    let mut repeats = 0;
    for &id in ids {
        let view = host.settled(id).await;
        assert_eq!(view.legs.len(), legs, "{view:?}");
        for leg in &view.legs {
            assert_eq!(leg.state, LegState::Acked, "{view:?}");
            repeats += leg.attempts.saturating_sub(1) as usize;
        }
    }
    repeats
}

/// Sends from so many connections until `stop` resolves; gives the ids that were answered 202. Refusals and cut connections are tried again.
pub(crate) async fn load(sender: Sender, lanes: usize, stop: impl Future<Output = ()>) -> BTreeSet<DeliveryId> {
    let (ids, ended) = (Arc::new(std::sync::Mutex::new(BTreeSet::new())), Arc::new(std::sync::atomic::AtomicBool::new(false)));
    let mut sending = tokio::task::JoinSet::new();
    for _ in 0..lanes {
        let (sender, ids, ended) = (sender.clone(), Arc::clone(&ids), Arc::clone(&ended));
        sending.spawn(async move {
            while !ended.load(std::sync::atomic::Ordering::Relaxed) {
                match sender.try_send(Post::json("push", fresh_document())).await {
                    Ok(answer) if answer.status == 202 => {
                        ids.lock().expect("the ids").insert(answer.accepted());
                        // What comes in during an outage has to be worked off within a test's patience.
                        after(Duration::from_millis(50)).await;
                    }
                    Ok(answer) => {
                        assert_eq!(answer.status, 503, "{}", answer.body);
                        pause().await;
                    }
                    Err(_) => pause().await,
                }
            }
        });
    }
    stop.await;
    ended.store(true, std::sync::atomic::Ordering::Relaxed);
    sending.join_all().await;
    let ids = ids.lock().expect("the ids");
    ids.clone()
}

/// A sender that was refused does not come back at once.
async fn pause() {
    after(Duration::from_millis(20)).await;
}

/// For what happens at a moment of the test's choice: a kill, the end of a load.
pub(crate) async fn after(span: Duration) {
    let _ = tokio::time::timeout(span, std::future::pending::<()>()).await;
}

/// Restarts a killed node again for as long as RabbitMQ 3.10.8 leaves a plugin's queue without a leader; tells and gives how often. What the host
/// does meanwhile is its own matter.
#[expect(clippy::print_stdout, reason = "the figures of the run, for who reads it")]
pub(crate) async fn healed(node: &Arc<Node>) -> usize {
    let node = Arc::clone(node);
    let restarts =
        tokio::task::spawn_blocking(move || node.heal("hookyard.leg.")).await.expect("an end").expect("a node whose queues have leaders");
    if restarts > 0 {
        println!("RabbitMQ was restarted {restarts} times for want of a queue's leader");
    }
    restarts
}

/// A number from the environment.
pub(crate) fn number(variable: &str, otherwise: usize) -> usize {
    std::env::var(variable).ok().and_then(|text| text.parse().ok()).unwrap_or(otherwise)
}

/// The names of a vhost's queues that have this in their name.
pub(crate) fn queues(management: &Management, vhost: &str, part: &str) -> Vec<String> {
    let list =
        management.call("GET", &format!("/api/queues/{vhost}?disable_stats=true&enable_queue_totals=true"), "").expect("a list of queues");
    let list: serde_json::Value = serde_json::from_str(&list).expect("JSON");
    let names = list.as_array().expect("a list").iter().filter_map(|queue| queue["name"].as_str());
    names.filter(|name| name.contains(part)).map(str::to_owned).collect()
}

/// The one queue of a plugin, once the host has declared it.
pub(crate) async fn queue_of(management: &Management, vhost: &str, plugin: &str) -> String {
    loop {
        if let [name] = &queues(management, vhost, &format!(".{plugin}"))[..] {
            return name.clone();
        }
        pause().await;
    }
}
