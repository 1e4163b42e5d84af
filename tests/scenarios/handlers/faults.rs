//! What GitHub answers when things are not as they should be, and what becomes of the delivery.

use std::time::Duration;

use hookyard::{
    clock::Clock,
    delivery::{LegState, Timestamp, view::LegView},
};
use serde_json::json;
use system_tests::{
    github::Fault,
    stage::{Scene, Stage, document, reason},
};

const START: Timestamp = Timestamp::from_unix_ms(1_800_000_000_000);

/// pr-size before a pull request of 78 lines, under a clock that stands still.
async fn stage() -> Option<Stage> {
    Scene::of("pr-size").clock(Clock::manual(START)).set(|repository| repository.add_pull(42, 61, 17)).await
}

/// How long the leg waits, at least, in seconds.
fn wait_s(leg: &LegView) -> i64 {
    (leg.due_at.expect("a time").unix_ms() - START.unix_ms()) / 1000
}

async fn deliver_into(stage: &Stage, fault: Fault) -> hookyard::delivery::DeliveryId {
    stage.github.fault("GET", "/pulls/42", fault);
    stage.send("pull_request", &document("pr-size", "pull_request")).await
}

#[tokio::test(flavor = "multi_thread")]
async fn rate_limits_are_waited_out_for_as_long_as_github_asks() {
    let now = Duration::from_millis(Clock::system().now().unix_ms().unsigned_abs());
    for (fault, expected) in [
        (Fault::primary_limit(now, Duration::from_mins(20)), 19 * 60..=21 * 60),
        (Fault::secondary_limit(77), 77..=78),
        (Fault::Answer { status: 403, headers: vec![], body: json!({"message": "You have exceeded a secondary rate limit."}) }, 60..=61),
    ] {
        let Some(stage) = stage().await else { return };
        let id = deliver_into(&stage, fault).await;
        let leg = stage.retrying(id).await;
        assert!(expected.contains(&wait_s(&leg)), "{} is not within {expected:?}", wait_s(&leg));
        let leg = stage.retried(id, Duration::from_hours(1)).await;
        assert_eq!((leg.state, leg.attempts), (LegState::Acked, 2));
        assert_eq!(stage.github.repository().labels_of(42), ["size/M"]);
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn outages_and_missing_permissions_are_tried_again() {
    for status in [401, 403, 409, 500, 502, 503] {
        let Some(stage) = stage().await else { return };
        let id = deliver_into(&stage, Fault::status(status)).await;
        let leg = stage.retrying(id).await;
        assert!(reason(&leg).contains(&status.to_string()), "{}", reason(&leg));
        assert_eq!(stage.retried(id, Duration::from_hours(1)).await.state, LegState::Acked, "{status}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_silent_github_is_given_up_in_time_and_asked_again() {
    let clock = Clock::manual(START);
    let scene = Scene::of("pr-size").edit("wall_ms = 30_000", "wall_ms = 400").clock(clock);
    let Some(stage) = scene.set(|repository| repository.add_pull(42, 61, 17)).await else { return };
    let id = deliver_into(&stage, Fault::Silence).await;
    let leg = stage.retrying(id).await;
    assert_eq!(leg.attempts, 1, "{leg:?}");
    assert_eq!(stage.retried(id, Duration::from_hours(1)).await.state, LegState::Acked);
}

#[tokio::test(flavor = "multi_thread")]
async fn what_github_will_refuse_again_is_a_dead_letter_with_its_words() {
    let Some(stage) = stage().await else { return };
    let body = json!({"message": "Validation Failed", "errors": [{"resource": "Label", "code": "invalid"}]});
    stage.github.fault("POST", "/labels", Fault::Answer { status: 422, headers: vec![], body });
    let leg = stage.deliver("pull_request", &document("pr-size", "pull_request")).await;
    assert_eq!((leg.state, leg.outcome.as_deref(), leg.attempts), (LegState::Dead, Some("reject"), 1));
    assert!(reason(&leg).contains("Validation Failed"), "{}", reason(&leg));

    let mut event = document("pr-size", "pull_request");
    event["repository"]["full_name"] = json!("acme/other");
    let leg = stage.deliver("pull_request", &event).await;
    assert_eq!(leg.state, LegState::Skipped, "404 for a pull request means that it is gone");
    stage.github.fault("POST", "/labels", Fault::status(404));
    let mut event = document("pr-size", "pull_request");
    event["action"] = json!("reopened");
    assert_eq!(stage.deliver("pull_request", &event).await.state, LegState::Dead, "404 for a change is no success");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_token_github_does_not_take_is_no_success_and_never_in_the_record() {
    let clock = Clock::manual(START);
    let scene = Scene::of("pr-size").token("ghs_a_token_of_another_installation").clock(clock);
    let Some(stage) = scene.set(|repository| repository.add_pull(42, 61, 17)).await else { return };
    let id = stage.send("pull_request", &document("pr-size", "pull_request")).await;
    let leg = stage.retrying(id).await;
    assert!(reason(&leg).contains("401") && reason(&leg).contains("Bad credentials"), "{}", reason(&leg));
    let record = serde_json::to_string(&stage.host.delivery(id).await).expect("a record");
    assert!(!record.contains("another_installation"));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_plugin_without_the_operators_grant_is_told_what_is_missing() {
    let scene = Scene::of("pr-size").edit("methods = [\"GET\", \"POST\", \"DELETE\"]", "methods = [\"GET\"]");
    let Some(stage) = scene.set(|repository| repository.add_pull(42, 61, 17)).await else { return };
    let leg = stage.deliver("pull_request", &document("pr-size", "pull_request")).await;
    assert_eq!(leg.state, LegState::Dead);
    assert!(reason(&leg).contains("grants.http"), "{}", reason(&leg));
    assert!(stage.github.changes().is_empty());
}

#[tokio::test(flavor = "multi_thread")]
async fn an_apps_token_is_made_for_the_installation_the_operator_bound_and_for_no_other() {
    let Some(stage) = Scene::of("pr-size").app(678).set(|repository| repository.add_pull(42, 61, 17)).await else { return };
    let mut event = document("pr-size", "pull_request");
    event["installation"] = json!({"id": 679});
    let leg = stage.deliver("pull_request", &event).await;
    assert_eq!(leg.state, LegState::Dead);
    assert!(reason(&leg).contains("679"), "{}", reason(&leg));
    assert!(stage.github.seen().is_empty(), "GitHub is not even asked");

    event["installation"] = json!({"id": 678});
    assert_eq!(stage.deliver("pull_request", &event).await.state, LegState::Acked);
    assert_eq!(stage.github.repository().labels_of(42), ["size/M"]);
    event["action"] = json!("synchronize");
    stage.deliver("pull_request", &event).await;
    let minted = stage.github.seen().iter().filter(|seen| seen.path == "/app/installations/678/access_tokens").count();
    assert_eq!(minted, 1, "a token is kept while it is good");
}
