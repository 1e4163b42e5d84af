//! Every example payload GitHub's own library publishes, through the plugins that subscribe to its event.

use hookyard::delivery::LegState;
use serde_json::{Value, json};
use system_tests::{payloads, stage::Scene};

const SUBSCRIBED: [(&str, &[&str]); 14] = [
    ("push-deploy", &["push"]),
    ("pr-size", &["pull_request"]),
    ("pr-review", &["pull_request"]),
    ("pr-merged", &["pull_request"]),
    ("issue-triage", &["issues"]),
    ("comment-commands", &["issue_comment"]),
    ("release-deploy", &["release"]),
    ("workflow-alert", &["workflow_run"]),
    ("check-issues", &["check_run"]),
    ("deployment-start", &["deployment"]),
    ("deployment-report", &["deployment_status"]),
    ("status-alert", &["status"]),
    ("repo-setup", &["repository"]),
    ("star-count", &["star", "watch", "fork"]),
];

#[tokio::test(flavor = "multi_thread")]
async fn every_published_example_is_handled_or_skipped() {
    let Some(examples) = payloads::examples() else { return };
    for (plugin, events) in SUBSCRIBED {
        let Some(stage) = Scene::of(plugin).set(|repository| _ = repository.branches.insert("master".to_owned())).await else { return };
        let mut ids = Vec::new();
        for example in examples.iter().filter(|example| events.contains(&example.event.as_str())) {
            let mut document: Value = serde_json::from_slice(&example.document).expect("an example is JSON");
            document["repository"]["full_name"] = json!("acme/shop");
            let answer = stage.host.sender().post(&example.event, document.to_string()).await;
            // Some examples are published twice, and some have an action the manifest does not name.
            if answer.body["status"] == "accepted" {
                ids.push(answer.accepted());
            }
        }
        assert!(!ids.is_empty(), "{plugin} has seen no example");
        for id in ids {
            for leg in stage.host.settled(id).await.legs {
                assert!(matches!(leg.state, LegState::Acked | LegState::Skipped), "{plugin}: {leg:?}");
            }
        }
    }
}
