//! A delivery that comes again: dropped where it is in hand or done, run again where it failed.

use hookyard::delivery::LegState;
use system_tests::{
    guests,
    host::TestHost,
    sender::{Post, fresh_guid},
};

#[tokio::test(flavor = "multi_thread")]
async fn a_delivery_that_was_handled_is_a_duplicate() {
    let host = TestHost::builder().plugin("echo", guests::component("publish-document")).start().await;
    let post = Post::json("push", r#"{"n":1}"#);
    let id = host.sender().send(post.clone()).await.accepted();
    host.settled(id).await;

    assert_eq!(host.sender().send(post).await.duplicate(), id);
    assert_eq!(host.emits().await.len(), 1);
}

#[tokio::test(flavor = "multi_thread")]
async fn of_a_hundred_at_once_one_is_accepted_and_runs_once() {
    let host = TestHost::builder().plugin("echo", guests::component("publish-document")).start().await;
    let (sender, post) = (host.sender(), Post::json("push", "{}"));
    let mut calls = tokio::task::JoinSet::new();
    for _ in 0..100 {
        let (sender, post) = (sender.clone(), post.clone());
        calls.spawn(async move { sender.send(post).await.status.as_u16() });
    }
    let mut answers = calls.join_all().await;
    answers.sort_unstable();
    assert_eq!((answers[0], answers[98], answers[99]), (200, 200, 202));
    host.drained().await;
    assert_eq!(host.emits().await.len(), 1);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_redelivery_runs_only_the_legs_that_died() {
    let host =
        TestHost::builder().plugin("good", guests::component("publish-document")).plugin("bad", guests::component("reject")).start().await;
    let post = Post::json("push", "{}");
    let id = host.sender().send(post.clone()).await.accepted();
    host.settled(id).await;
    assert_eq!((host.leg(id, "good").await.state, host.leg(id, "bad").await.state), (LegState::Acked, LegState::Dead));

    assert_eq!(host.sender().send(post).await.accepted(), id);
    host.settled(id).await;

    assert_eq!((host.leg(id, "good").await.generation, host.leg(id, "bad").await.generation), (0, 1));
    assert_eq!(host.emits().await.len(), 1, "the acked leg did not run again");
}

#[tokio::test(flavor = "multi_thread")]
async fn the_same_id_with_another_body_is_another_delivery_and_is_flagged() {
    let host = TestHost::builder().plugin("ack", guests::component("ack")).start().await;
    let guid = fresh_guid();
    let first = host.sender().send(Post::json("push", r#"{"n":1}"#).guid(&guid)).await.accepted();
    let second = host.sender().send(Post::json("push", r#"{"n":2}"#).guid(&guid)).await.accepted();
    assert_ne!(first, second);
    assert!(!host.settled(first).await.id_reused);
    assert!(host.settled(second).await.id_reused);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_body_replayed_under_another_id_or_event_is_flagged_and_refused_where_the_source_says_so() {
    let host = TestHost::builder().plugin("ack", guests::component("ack")).start().await;
    host.sender().post("push", r#"{"n":1}"#).await.accepted();
    let again = host.sender().post("push", r#"{"n":1}"#).await.accepted();
    let as_other_event = host.sender().post("star", r#"{"n":1}"#).await.accepted();
    assert!(host.settled(again).await.body_seen_before);
    assert!(host.settled(as_other_event).await.body_seen_before);

    let strict = TestHost::builder().tenant_toml("refuse_replays = true").start().await;
    strict.sender().post("push", r#"{"n":1}"#).await.accepted();
    strict.sender().post("push", r#"{"n":1}"#).await.refused(400, "body_replayed");
}
