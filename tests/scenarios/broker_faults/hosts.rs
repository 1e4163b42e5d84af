//! Two hosts on one RabbitMQ: they share the work, and what one has not heard of it does not call a duplicate.

use std::{collections::BTreeMap, time::Duration};

use system_tests::{
    folder::{Folder, Layout, SECRET},
    guests,
    process::ProcessHost,
    rabbit::{self, Queue, Vhost},
    sender::{Post, Sender},
};

use super::{
    desk::{ALL, after, fresh_document, send},
    limits::incompressible,
};

const PATIENCE: Duration = Duration::from_mins(1);

fn folder(vhost: &Vhost, guest: &str) -> Folder {
    let plugins = BTreeMap::from([(("default".to_owned(), "p".to_owned()), (guests::component(guest), ALL.to_owned()))]);
    Folder::lay(&Layout { rabbitmq: Some(Queue::at(vhost.url())), plugins, ..Layout::default() })
}

/// Waits until the host has logged a finished attempt for this many legs.
async fn finished(host: &ProcessHost, wanted: impl Fn(usize) -> bool) {
    let waiting = async {
        while !wanted(host.log().matches("attempt_finished").count()) {
            after(Duration::from_millis(50)).await;
        }
    };
    tokio::time::timeout(PATIENCE, waiting).await.unwrap_or_else(|_| panic!("the host did not work: {}", host.log()));
}

#[tokio::test(flavor = "multi_thread")]
async fn what_died_on_another_host_is_accepted_again() {
    let Some(vhost) = rabbit::vhost() else { return };
    let (door, bench) = (folder(&vhost, "reject"), folder(&vhost, "reject"));
    let door = ProcessHost::start_with(&door, &["--roles", "ingest,admin"]);
    let bench = ProcessHost::start_with(&bench, &["--roles", "work,admin"]);
    let sender = Sender::new(door.ingest, "default", "github", SECRET);
    let post = Post::json("push", fresh_document());
    let id = sender.send(post.clone()).await.accepted();
    finished(&bench, |count| count >= 1).await;
    let again = async {
        while sender.send(post.clone()).await.status != 202 {
            after(Duration::from_millis(100)).await;
        }
    };
    tokio::time::timeout(PATIENCE, again).await.expect("a redelivery of what died is accepted");
    finished(&bench, |count| count >= 2).await;
    assert!(bench.log().contains(&id.to_string()));
}

#[tokio::test(flavor = "multi_thread")]
async fn two_hosts_share_the_work() {
    let Some(vhost) = rabbit::vhost() else { return };
    let (one, two) = (folder(&vhost, "ack"), folder(&vhost, "ack"));
    let (one, two) = (ProcessHost::start(&one), ProcessHost::start(&two));
    let sender = Sender::new(one.ingest, "default", "github", SECRET);
    let ids = send(&sender, 400).await;
    let waiting = async {
        let done = |id: &str| {
            [&one, &two].iter().any(|host| host.log().lines().any(|line| line.contains("attempt_finished") && line.contains(id)))
        };
        for id in &ids {
            while !done(&id.to_string()) {
                after(Duration::from_millis(50)).await;
            }
        }
    };
    tokio::time::timeout(PATIENCE, waiting).await.expect("every delivery runs on one of the two");
    finished(&two, |count| count > 0).await;
}

/// Its body is in one host's ledger, and no message can carry it to another.
#[tokio::test(flavor = "multi_thread")]
async fn what_no_message_can_carry_runs_on_the_host_that_has_it_and_a_door_alone_refuses_it() {
    let Some(vhost) = rabbit::vhost() else { return };
    let folders = [folder(&vhost, "ack"), folder(&vhost, "ack"), folder(&vhost, "ack")];
    let (one, two) = (ProcessHost::start(&folders[0]), ProcessHost::start(&folders[1]));
    let door = ProcessHost::start_with(&folders[2], &["--roles", "ingest,admin"]);
    let sender = |host: &ProcessHost| Sender::new(host.ingest, "default", "github", SECRET);
    let big = incompressible(24_900_000);
    let refused = sender(&door).post("push", big.clone()).await;
    assert_eq!(refused.status, 413, "{}", refused.body);
    let beside = send(&sender(&one), 40).await;
    let id = sender(&one).post("push", big).await.accepted().to_string();
    finished(&one, |_| one.log().contains(&id)).await;
    let done = |id: &str| one.log().contains(id) || two.log().contains(id);
    finished(&one, |_| beside.iter().all(|id| done(&id.to_string()))).await;
    assert!(!two.log().contains(&id), "the other host never had it");
}

/// What lapin logs is the operator's log too: a first start makes the queues before it consumes them, and a stop closes channels before
/// connections.
#[tokio::test(flavor = "multi_thread")]
async fn a_host_on_an_empty_vhost_starts_works_and_stops_without_a_word_of_complaint() {
    let Some(vhost) = rabbit::vhost() else { return };
    let folder = folder(&vhost, "ack");
    let host = ProcessHost::start(&folder);
    send(&Sender::new(host.ingest, "default", "github", SECRET), 5).await;
    finished(&host, |count| count >= 5).await;
    host.signal(rustix::process::Signal::TERM);
    let (status, log) = tokio::task::block_in_place(|| host.ended());
    assert!(status.success(), "{log}");
    let complaints: Vec<_> = log.lines().filter(|line| line.contains("\"ERROR\"") || line.contains("\"WARN\"")).collect();
    assert!(complaints.is_empty(), "{complaints:#?}");
}
