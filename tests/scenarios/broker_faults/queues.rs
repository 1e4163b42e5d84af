//! One plugin's queue is full, deleted or refused; its own legs wait in the ledger, and nobody else notices.

use std::time::Duration;

use hookyard::delivery::{DeliveryId, LegState};
use system_tests::{
    guests,
    host::TestHost,
    rabbit::{self, Queue, Vhost},
    sender::Sender,
};

use super::desk::{ALL, after, all_acked, fresh_document, queue_of, send, two_plugins};

async fn acked(host: &TestHost, id: DeliveryId, plugin: &str) {
    host.until("the leg's end", || async { (host.leg(id, plugin).await.state == LegState::Acked).then_some(()) }).await;
}

/// A policy that lets no message into a queue, as one at its limit.
fn fill(vhost: &Vhost, queue: &str) {
    let pattern = queue.replace('.', "\\\\.");
    let policy = format!(
        r#"{{"pattern":"^{pattern}$","definition":{{"max-length":1,"overflow":"reject-publish"}},"apply-to":"queues","priority":9}}"#
    );
    vhost.management().call("PUT", &format!("/api/policies/{}/full", vhost.name()), &policy).expect("a policy");
}

fn empty(vhost: &Vhost) {
    vhost.management().call("DELETE", &format!("/api/policies/{}/full", vhost.name()), "").expect("no policy");
}

async fn paused(host: &TestHost, name: &str, is_paused: bool) {
    let (tenant, plugin) = ("default".parse().expect("a name"), name.parse().expect("a name"));
    assert!(host.inner().catalog().pause(&tenant, &plugin, is_paused).await.expect("a readable ledger"));
}

async fn posts(sender: Sender, count: usize) -> Vec<DeliveryId> {
    let mut ids = Vec::new();
    for _ in 0..count {
        ids.push(sender.post("push", fresh_document()).await.accepted());
    }
    ids
}

#[tokio::test(flavor = "multi_thread")]
async fn a_full_queue_under_64_senders_refuses_nobody_and_runs_when_there_is_room() {
    let Some(vhost) = rabbit::vhost() else { return };
    let host = two_plugins(Queue::at(vhost.url())).start().await;
    let queue = queue_of(vhost.management(), vhost.name(), "ack").await;
    // Its consumer is gone, so what the queue holds stays in it.
    paused(&host, "ack", true).await;
    fill(&vhost, &queue);
    let mut sending = tokio::task::JoinSet::new();
    for _ in 0..64 {
        sending.spawn(posts(host.sender(), 4));
    }
    let ids = sending.join_all().await.concat();
    for &id in &ids {
        acked(&host, id, "echo").await;
        assert_ne!(host.leg(id, "ack").await.state, LegState::Acked, "its queue is full and nobody works on it");
    }
    empty(&vhost);
    paused(&host, "ack", false).await;
    all_acked(&host, &ids, 2).await;
    assert_eq!(host.emits().await.len(), ids.len(), "the sibling ran once for each");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_queue_deleted_under_its_consumer_is_there_again_and_its_legs_run() {
    let Some(vhost) = rabbit::vhost() else { return };
    let host = two_plugins(Queue::at(vhost.url())).start().await;
    let queue = queue_of(vhost.management(), vhost.name(), "ack").await;
    // RabbitMQ 3.10.8 keeps the half of a queue that is deleted while it is being declared, and answers 541 to whoever comes near it.
    let before = send(&host.sender(), 5).await;
    all_acked(&host, &before, 2).await;
    for _ in 0..3 {
        vhost.management().call("DELETE", &format!("/api/queues/{}/{queue}", vhost.name()), "").unwrap();
        let ids = send(&host.sender(), 20).await;
        all_acked(&host, &ids, 2).await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn the_legs_in_a_deleted_queue_are_still_in_the_ledger_and_run() {
    let Some(vhost) = rabbit::vhost() else { return };
    let host = two_plugins(Queue::at(vhost.url())).start().await;
    let queue = queue_of(vhost.management(), vhost.name(), "ack").await;
    let before = send(&host.sender(), 5).await;
    all_acked(&host, &before, 2).await;
    paused(&host, "ack", true).await;
    let ids = send(&host.sender(), 20).await;
    for &id in &ids {
        acked(&host, id, "echo").await;
    }
    vhost.management().call("DELETE", &format!("/api/queues/{}/{queue}", vhost.name()), "").unwrap();
    paused(&host, "ack", false).await;
    all_acked(&host, &ids, 2).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_connection_the_broker_closes_is_opened_again() {
    let Some(node) = rabbit::node(&rabbit::Settings::default()) else { return };
    let host = two_plugins(Queue::at(node.url())).start().await;
    for _ in 0..3 {
        let ids = send(&host.sender(), 20).await;
        tokio::task::block_in_place(|| node.ctl(&["close_all_connections", "a test"])).unwrap();
        let more = send(&host.sender(), 20).await;
        all_acked(&host, ids.iter().chain(&more), 2).await;
    }
}

/// A second plugin's queue and an onlooker hide the first one's missing queue behind a confirm, where legs are routed by a shared key.
#[tokio::test(flavor = "multi_thread")]
async fn a_missing_queue_is_not_hidden_by_a_sibling_or_an_onlooker() {
    let Some(vhost) = rabbit::vhost() else { return };
    let host = two_plugins(Queue::at(vhost.url())).start().await;
    let queue = queue_of(vhost.management(), vhost.name(), "ack").await;
    let api = |method: &str, path: &str, body: &str| vhost.management().call(method, path, body).expect("the broker does it");
    let name = vhost.name();
    api("PUT", &format!("/api/queues/{name}/onlooker"), r#"{"durable":true,"arguments":{"x-queue-type":"quorum"}}"#);
    api("POST", &format!("/api/bindings/{name}/e/hookyard.events/q/onlooker"), r##"{"routing_key":"#"}"##);
    // The binding of the first plugin's queue is taken away, once it is there; the queue stays.
    let binding = format!("/api/bindings/{name}/e/hookyard.legs/q/{queue}/{queue}");
    while vhost.management().call("DELETE", &binding, "").is_err() {
        after(Duration::from_millis(20)).await;
    }
    let ids = send(&host.sender(), 20).await;
    all_acked(&host, &ids, 2).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn one_tenants_deleted_or_full_queue_does_not_delay_anothers_retry() {
    const RETRY: &str = "sources = [\"github\"]\nevents = [\"*\"]\n[retry]\nattempts_max = 4\ndelay_min_ms = 1000\ndelay_max_ms = 1000\n";
    let Some(vhost) = rabbit::vhost() else { return };
    let host = TestHost::builder()
        .on(Queue::at(vhost.url()))
        .plugin_of("red", "busy", guests::component("retry"), RETRY)
        .plugin_of("blue", "late", guests::component("retry"), RETRY)
        .plugin_of("blue", "ack", guests::component("ack"), ALL)
        .start()
        .await;
    let queue = queue_of(vhost.management(), vhost.name(), "busy").await;
    for harm in ["full", "deleted"] {
        // More than the 32 that a wait queue's dead-letter worker holds unconfirmed before it stands still.
        let red = posts(host.sender_to("red"), 100).await;
        host.until("the first attempts of red", || async {
            let mut is_tried = true;
            for &id in &red {
                is_tried &= host.leg(id, "busy").await.attempts >= 1;
            }
            is_tried.then_some(())
        })
        .await;
        match harm {
            "full" => fill(&vhost, &queue),
            _ => drop(vhost.management().call("DELETE", &format!("/api/queues/{}/{queue}", vhost.name()), "").unwrap()),
        }
        let blue = host.sender_to("blue").post("push", fresh_document()).await.accepted();
        let view = host.settled(blue).await;
        let late = view.legs.iter().find(|leg| leg.plugin.as_str() == "late").unwrap();
        assert_eq!((late.state, late.attempts), (LegState::Dead, 4), "{harm}: {late:?}");
        for pair in late.history.windows(2) {
            let between = pair[1].started_at.since(pair[0].started_at);
            assert!(between <= Duration::from_secs(3), "{harm}: blue's retry of one second came after {between:?}");
        }
        if harm == "full" {
            empty(&vhost);
        }
    }
    host.drained().await;
}
