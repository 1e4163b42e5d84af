//! The broker is short of memory or disk and reads nothing from who publishes.

use std::time::Duration;

use system_tests::rabbit::{self, Node, Queue, Settings};

use super::desk::{after, all_acked, fresh_document, send, taken, two_plugins};

type Alarm = fn(&Node, bool) -> anyhow::Result<()>;

const ALARMS: [(&str, Alarm); 2] = [("memory", Node::alarm_memory), ("disk", Node::alarm_disk)];

#[tokio::test(flavor = "multi_thread")]
async fn an_alarm_of_the_broker_costs_no_delivery() {
    let Some(node) = rabbit::node(&Settings::default()) else { return };
    let host = two_plugins(Queue::at(node.url())).start().await;
    for (name, alarm) in ALARMS {
        let before = send(&host.sender(), 20).await;
        all_acked(&host, &before, 2).await;
        set(&node, alarm, true);
        let during = send(&host.sender(), 20).await;
        after(Duration::from_secs(1)).await;
        for &id in &during {
            let view = host.delivery(id).await;
            assert!(view.legs.iter().all(|leg| leg.attempts == 0), "{name}: the broker takes nothing: {view:?}");
        }
        set(&node, alarm, false);
        all_acked(&host, &during, 2).await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_host_that_answers_for_the_broker_refuses_during_an_alarm_and_no_longer() {
    let Some(node) = rabbit::node(&Settings::default()) else { return };
    let host = two_plugins(Queue::at(node.url()).acked_by_broker()).start().await;
    let mut accepted = taken(&host, 5).await;
    for (name, alarm) in ALARMS {
        set(&node, alarm, true);
        let refused = host.sender().post("push", fresh_document()).await;
        assert_eq!(refused.status, 503, "{name}: {}", refused.body);
        set(&node, alarm, false);
        accepted.extend(taken(&host, 5).await);
    }
    all_acked(&host, &accepted, 2).await;
}

fn set(node: &Node, alarm: Alarm, is_on: bool) {
    tokio::task::block_in_place(|| alarm(node, is_on)).expect("the alarm is set");
}
