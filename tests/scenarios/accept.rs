//! The main job: a signed delivery goes in, a sandboxed plugin handles it, exactly the document that was sent.

use std::collections::BTreeMap;

use hookyard::delivery::LegState;
use system_tests::{guests, host::TestHost, payloads, sender::Post};

#[tokio::test(flavor = "multi_thread")]
async fn a_signed_delivery_reaches_the_plugin_with_the_exact_document() {
    let host = TestHost::builder().plugin("echo", guests::component("echo")).start().await;
    let document = r#"{"action":"opened","installation":{"id":7},"text":"naïve 🚀"}"#;

    let id = host.sender().post("pull_request", document).await.accepted();

    let view = host.settled(id).await;
    assert_eq!((view.event.as_str(), view.action.as_deref()), ("pull_request", Some("opened")));
    assert_eq!(host.leg(id, "echo").await.state, LegState::Acked);
    let emits = host.emits().await;
    assert_eq!(emits.len(), 1);
    assert_eq!(emits[0].body, document);
}

#[tokio::test(flavor = "multi_thread")]
async fn every_published_example_reaches_the_plugin_once_as_json_and_as_form() {
    let Some(examples) = payloads::examples() else { return };
    assert_eq!(examples.len(), 329);
    let host = TestHost::builder().plugin("echo", guests::component("echo")).start().await;
    let sender = host.sender();
    let mut sent = BTreeMap::new();
    for example in &examples {
        for post in [Post::json(&example.event, example.document.clone()), Post::form(&example.event, &example.document)] {
            let id = sender.send(post).await.accepted();
            assert!(sent.insert(id, example).is_none(), "two deliveries share the id {id}");
        }
    }
    host.drained().await;

    let emits = host.emits().await;
    assert_eq!(emits.len(), 2 * examples.len());
    for emit in emits {
        let example = sent.remove(&emit.delivery_id).expect("each delivery is handled once");
        assert_eq!(emit.body.as_bytes(), example.document, "{}", example.event);
    }
    assert!(sent.is_empty());
}

#[tokio::test(flavor = "multi_thread")]
async fn a_delivery_nobody_subscribed_to_is_kept_and_runs_for_who_subscribes_later() {
    let host = TestHost::builder().start().await;
    let post = Post::json("star", "{}");
    let id = host.sender().send(post.clone()).await.accepted();
    assert!(host.delivery(id).await.legs.is_empty());

    host.folder().deploy("default", "late", &guests::component("ack"), "sources = [\"github\"]\nevents = [\"star\"]\n");
    host.plugin("default", "late", |plugin| plugin.digest.is_some()).await;

    assert_eq!(host.sender().send(post).await.accepted(), id);
    assert_eq!(host.settled(id).await.legs[0].state, LegState::Acked);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_plugin_gets_only_the_events_it_subscribed_to() {
    let manifest = "sources = [\"github\"]\nevents = [\"push\", \"pull_request.opened\"]\n";
    let host = TestHost::builder().plugin_of("default", "picky", guests::component("ack"), manifest).start().await;
    let sender = host.sender();
    for (event, document, legs) in [
        ("push", "{}", 1),
        ("pull_request", r#"{"action":"opened"}"#, 1),
        ("pull_request", r#"{"action":"closed"}"#, 0),
        ("pull_request", "{}", 0),
        ("issues", r#"{"action":"opened"}"#, 0),
    ] {
        let id = sender.post(event, document).await.accepted();
        assert_eq!(host.settled(id).await.legs.len(), legs, "{event} {document}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn tenants_have_doors_and_plugins_of_their_own() {
    let manifest = "sources = [\"github\"]\nevents = [\"*\"]\n";
    let host = TestHost::builder()
        .plugin_of("red", "echo", guests::component("echo"), manifest)
        .plugin_of("blue", "ack", guests::component("ack"), manifest)
        .start()
        .await;

    let post = Post::json("push", "{}");
    let red = host.sender_to("red").send(post.clone()).await.accepted();
    let blue = host.sender_to("blue").send(post).await.accepted();

    assert_ne!(red, blue, "the same call to two tenants is two deliveries");
    assert_eq!(host.settled(red).await.legs[0].plugin.as_str(), "echo");
    assert_eq!(host.settled(blue).await.legs[0].plugin.as_str(), "ack");
}
