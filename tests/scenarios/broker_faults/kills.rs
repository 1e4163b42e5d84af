//! Host and broker are killed in turn, at random moments, under load.

use std::{
    collections::{BTreeMap, BTreeSet},
    sync::Arc,
    time::Duration,
};

use hookyard::clock::Clock;
use system_tests::{
    folder::{Folder, Layout, SECRET},
    guests,
    host::TestHost,
    process::ProcessHost,
    rabbit::{self, Node, Queue, Settings},
    sender::Sender,
};

use super::desk::{ALL, after, all_acked, healed, load, number};

/// Legs a kill may repeat: what a host has prefetched and published without having heard the confirm.
const IN_FLIGHT_MAX: usize = 1024;

#[tokio::test(flavor = "multi_thread")]
async fn every_leg_of_every_202_is_settled_though_host_and_broker_are_killed_in_turn() {
    let Some(node) = rabbit::node(&Settings::default()) else { return };
    let queue = Queue::at(node.url());
    killed_in_turn(&Arc::new(node), queue, number("HOOKYARD_BROKER_KILLS", 20)).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_202_that_waits_for_the_broker_is_kept_too() {
    let Some(node) = rabbit::node(&Settings::default()) else { return };
    let queue = Queue::at(node.url()).acked_by_broker();
    killed_in_turn(&Arc::new(node), queue, number("HOOKYARD_BROKER_KILLS", 20) / 3).await;
}

#[expect(clippy::print_stdout, reason = "the figures of the run, for who reads it")]
async fn killed_in_turn(node: &Arc<Node>, queue: Queue, kills: usize) {
    let plugin = |name: &str, guest| (("default".to_owned(), name.to_owned()), (guests::component(guest), ALL.to_owned()));
    let plugins = BTreeMap::from([plugin("ack", "ack"), plugin("echo", "publish-document")]);
    let ack_after = queue.ack_after;
    let folder = Folder::lay(&Layout { rabbitmq: Some(queue), plugins, ..Layout::default() });
    let mut accepted = BTreeSet::new();
    let mut process = ProcessHost::start(&folder);
    for kill in 0..kills {
        let sender = Sender::new(process.ingest, "default", "github", SECRET);
        if kill % 2 == 0 {
            let ids = load(sender, 4, async {
                after(Duration::from_millis(fastrand::u64(200..1500))).await;
                process.kill();
            });
            accepted.extend(ids.await);
            process = ProcessHost::start(&folder);
        } else {
            let ids = load(sender, 4, async {
                after(Duration::from_millis(fastrand::u64(200..1500))).await;
                tokio::task::block_in_place(|| {
                    node.kill().expect("a dead node");
                    node.restart().expect("the node comes back");
                });
                after(Duration::from_millis(fastrand::u64(0..2000))).await;
            });
            accepted.extend(ids.await);
        }
    }
    process.kill();
    healed(node).await;
    assert!(accepted.len() > kills, "only {} deliveries were accepted", accepted.len());

    let host = TestHost::start_on(folder, Clock::system()).await;
    host.drained().await;
    let repeats = all_acked(&host, &accepted, 2).await;
    assert!(repeats <= kills * IN_FLIGHT_MAX, "{repeats} repeats after {kills} kills");
    println!("ack_after = {ack_after}: {} deliveries accepted through {kills} kills, all settled, {repeats} repeats", accepted.len());
}
