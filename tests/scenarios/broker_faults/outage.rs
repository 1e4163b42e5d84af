//! The broker is away, for as long as it likes; the host stays, and goes on by itself.

use std::{
    sync::Arc,
    time::{Duration, Instant},
};

use system_tests::{
    rabbit::{self, Queue, Settings},
    sender::Post,
};

use super::desk::{after, all_acked, fresh_document, healed, number, send, taken, taken_at_last, two_plugins};

/// How soon work goes on once a broker listens again. The bench holds a calm machine to four seconds.
const RESUME_MAX: Duration = Duration::from_secs(15);

/// How old the queues are when their broker is killed: RabbitMQ 3.10.8 has not written all it knows of a queue that was only just declared, and
/// leaves it without a leader (docs/rabbitmq.md, Versions). That is not what is asked here.
const DECLARED_FOR: Duration = Duration::from_secs(3);

#[tokio::test(flavor = "multi_thread")]
#[expect(clippy::disallowed_methods, reason = "the broker lives in the machine's time")]
#[expect(clippy::print_stdout, reason = "the figures of the run, for who reads it")]
async fn what_is_accepted_while_the_broker_is_away_runs_when_it_is_back() {
    let Some(node) = rabbit::node(&Settings::default()).map(Arc::new) else { return };
    let host = two_plugins(Queue::at(node.url())).start().await;
    let before = send(&host.sender(), 20).await;
    all_acked(&host, &before, 2).await;
    after(DECLARED_FOR).await;

    tokio::task::block_in_place(|| node.kill()).unwrap();
    let during = send(&host.sender(), 50).await;
    after(Duration::from_secs(number("HOOKYARD_OUTAGE_S", 5) as u64)).await;
    for &id in &during {
        assert!(host.delivery(id).await.legs.iter().all(|leg| leg.attempts == 0), "nothing runs without its queue");
    }
    tokio::task::block_in_place(|| node.restart()).unwrap();
    let listening = Instant::now();
    let first = async {
        all_acked(&host, &during[..1], 2).await;
        listening.elapsed()
    };
    let (restarts, resumed) = tokio::join!(healed(&node), first);
    all_acked(&host, &during, 2).await;
    assert!(restarts > 0 || resumed < RESUME_MAX, "work went on only after {resumed:?}");
    println!("work went on {resumed:?} after the broker listened again");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_host_that_starts_without_its_broker_accepts_and_waits_for_it() {
    let Some(node) = rabbit::node(&Settings::default()) else { return };
    tokio::task::block_in_place(|| node.kill()).unwrap();
    let host = two_plugins(Queue::at(node.url())).start().await;
    let ids = send(&host.sender(), 20).await;
    tokio::task::block_in_place(|| node.restart()).unwrap();
    all_acked(&host, &ids, 2).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_host_that_answers_for_the_broker_refuses_while_it_is_away_and_takes_the_same_call_later() {
    let Some(node) = rabbit::node(&Settings::default()).map(Arc::new) else { return };
    let host = two_plugins(Queue::at(node.url()).acked_by_broker()).start().await;
    let first = taken(&host, 5).await;
    all_acked(&host, &first, 2).await;
    after(DECLARED_FOR).await;

    tokio::task::block_in_place(|| node.kill()).unwrap();
    let post = Post::json("push", fresh_document());
    let refused = host.sender().send(post.clone()).await;
    assert_eq!(refused.status, 503, "{}", refused.body);
    assert!(refused.retry_after.is_some());

    tokio::task::block_in_place(|| node.restart()).unwrap();
    healed(&node).await;
    let id = taken_at_last(&host, &post).await;
    all_acked(&host, [&id], 2).await;
}
