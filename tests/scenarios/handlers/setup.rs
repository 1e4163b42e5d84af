//! repo-setup.

use std::time::Duration;

use hookyard::{
    clock::Clock,
    delivery::{LegState, Timestamp},
};
use serde_json::{Value, json};
use system_tests::{
    github::Fault,
    stage::{Scene, document, reason},
};

#[tokio::test(flavor = "multi_thread")]
async fn a_new_repository_gets_labels_settings_and_protection() {
    let Some(stage) = Scene::of("repo-setup")
        .set(|repository| {
            repository.branches.insert("main".to_owned());
            // GitHub's own defaults: left as they are.
            repository.labels = vec![json!({"id": 1, "name": "Bug", "color": "000000"})];
        })
        .await
    else {
        return;
    };
    assert_eq!(stage.deliver_twice("repository", &document("repo-setup", "repository")).await.state, LegState::Acked);
    let repository = stage.github.repository();
    let labels: Vec<&Value> = repository.labels.iter().map(|label| &label["name"]).collect();
    assert_eq!(labels, ["Bug", "priority:high"]);
    assert_eq!(repository.settings["delete_branch_on_merge"], true);
    let protection = json!({
        "enforce_admins": true, "required_pull_request_reviews": {"required_approving_review_count": 1},
        "required_status_checks": null, "restrictions": null,
    });
    assert_eq!(repository.protection["main"], protection);
}

#[tokio::test(flavor = "multi_thread")]
async fn an_empty_repository_is_protected_after_its_first_push() {
    let clock = Clock::manual(Timestamp::from_unix_ms(1_800_000_000_000));
    let Some(stage) = Scene::of("repo-setup").clock(clock).set(|_| ()).await else { return };
    let id = stage.send("repository", &document("repo-setup", "repository")).await;
    let leg = stage.retrying(id).await;
    assert_eq!(reason(&leg), "there is no branch main to protect yet");
    let due = leg.due_at.expect("a time");
    assert!(due >= Timestamp::from_unix_ms(1_800_000_000_000).after(Duration::from_mins(15)), "{due}");
    stage.github.repository().branches.insert("main".to_owned());
    assert_eq!(stage.retried(id, Duration::from_hours(1)).await.state, LegState::Acked);
    assert!(stage.github.repository().protection.contains_key("main"));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_label_that_another_run_makes_meanwhile_is_no_failure() {
    let Some(stage) = Scene::of("repo-setup").set(|repository| _ = repository.branches.insert("main".to_owned())).await else { return };
    let taken = json!({"message": "Validation Failed", "errors": [{"resource": "Label", "code": "already_exists", "field": "name"}]});
    let fault = |body: Value| Fault::Answer { status: 422, headers: vec![], body };
    stage.github.fault("POST", "/labels", fault(taken));
    let event = document("repo-setup", "repository");
    assert_eq!(stage.deliver("repository", &event).await.state, LegState::Acked);
    // Any other refusal is one.
    stage.github.fault("POST", "/labels", fault(json!({"message": "Validation Failed", "errors": [{"code": "invalid"}]})));
    assert_eq!(stage.deliver("repository", &event).await.state, LegState::Dead);
}
