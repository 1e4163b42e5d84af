//! workflow-alert, status-alert and star-count.

use hookyard::delivery::LegState;
use serde_json::{Value, json};
use system_tests::{
    github::Fault,
    stage::{Scene, document, reason},
};

use super::issues::send_all;

#[tokio::test(flavor = "multi_thread")]
async fn a_failed_run_is_told_once_with_the_jobs_that_failed() {
    let Some(stage) = Scene::of("workflow-alert")
        .set(|repository| {
            let job = |name: &str, conclusion: &str| json!({"name": name, "conclusion": conclusion, "html_url": "https://github.com/acme/shop/job"});
            let jobs = vec![job("lint <x>", "failure"), job("build", "success"), job("test", "timed_out")];
            repository.jobs.insert(289_782_451, jobs);
        })
        .await
    else {
        return;
    };
    let mut event = document("workflow-alert", "workflow_run");
    assert_eq!(stage.deliver_twice("workflow_run", &event).await.state, LegState::Acked);
    let expected = "<https://github.com/acme/shop/actions/runs/289782451|CI #17> failed on main of acme/shop.\n\
                    • <https://github.com/acme/shop/job|lint &lt;x&gt;>\n\
                    • <https://github.com/acme/shop/job|test>";
    assert_eq!(stage.github.notices(), [expected]);

    event["workflow_run"]["run_attempt"] = json!(2);
    let leg = stage.deliver("workflow_run", &event).await;
    assert_eq!((leg.state, reason(&leg)), (LegState::Skipped, "the team has been told"));
    event["workflow_run"]["conclusion"] = json!("success");
    let leg = stage.deliver("workflow_run", &event).await;
    assert_eq!((leg.state, reason(&leg)), (LegState::Skipped, "`success` is no failure"));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_failed_status_of_the_default_branch_is_told_once_for_each_commit_and_context() {
    let Some(stage) = Scene::of("status-alert").set(|_| ()).await else { return };
    let mut event = document("status-alert", "status");
    event["context"] = json!("ci/<!channel>");
    assert_eq!(stage.deliver_twice("status", &event).await.state, LegState::Acked);
    let told = "<https://ci.example.com/2|ci/&lt;!channel&gt;> reports failure for c5b97d5 of main (acme/shop): 2 tests failed";
    assert_eq!(stage.github.notices(), [told]);
    // Another text, the same thing: GitHub sends a status again whenever it changes.
    event["description"] = json!("3 tests failed");
    assert_eq!(stage.deliver("status", &event).await.state, LegState::Skipped);
    event["context"] = json!("ci/test");
    assert_eq!(stage.deliver("status", &event).await.state, LegState::Acked);
    event["branches"] = json!([{"name": "topic"}]);
    let leg = stage.deliver("status", &event).await;
    assert_eq!((leg.state, reason(&leg)), (LegState::Skipped, "the commit is not the head of main"));
    assert_eq!(stage.github.notices().len(), 2);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_chat_that_is_out_is_told_when_it_is_back_and_not_again() {
    let Some(stage) = Scene::of("status-alert").edit("delay_min_ms = 1000", "delay_min_ms = 1").set(|_| ()).await else { return };
    stage.github.fault("POST", "XXXX", Fault::status(503));
    let leg = stage.deliver_twice("status", &document("status-alert", "status")).await;
    assert_eq!((leg.state, leg.attempts), (LegState::Acked, 2));
    assert_eq!(stage.github.notices().len(), 1);
}

#[tokio::test(flavor = "multi_thread")]
async fn fifty_statuses_at_once_are_told_once() {
    let Some(stage) = Scene::of("status-alert").set(|_| ()).await else { return };
    let documents = (0..50).map(|id| {
        let mut event = document("status-alert", "status");
        event["id"] = json!(id);
        event
    });
    send_all(&stage, "status", documents).await;
    assert_eq!(stage.github.notices().len(), 1);
}

fn star(number: u64, total: u64) -> Value {
    let mut event = document("star-count", "star");
    event["sender"]["id"] = json!(number);
    event["repository"]["stargazers_count"] = json!(total);
    event
}

/// What the plugin keeps under a key that begins so, added up.
fn count(stage: &system_tests::stage::Stage, kind: &str) -> u64 {
    let ledger = stage.host.inner().ledger();
    let (tenant, plugin) = ("default".parse().expect("a tenant"), "star-count".parse().expect("a plugin"));
    let day = hookyard::clock::Clock::system().now().to_string();
    let key = format!("{kind}:acme/shop:{}", &day[..10]);
    let found = ledger.kv_get(&tenant, &plugin, &key).expect("a readable ledger");
    found.map_or(0, |found| String::from_utf8(found.value).expect("a number").parse().expect("a number"))
}

#[tokio::test(flavor = "multi_thread")]
async fn a_hundred_stars_at_once_are_a_hundred() {
    // Without turns: what keeps the count right is that the host runs again what has read an old one.
    let scene = Scene::of("star-count").edit("concurrency_max = 1", "concurrency_max = 32").edit("notify = \"slack\"", "");
    let Some(stage) = scene.set(|_| ()).await else { return };
    send_all(&stage, "star", (1..=100).map(|number| star(number, number))).await;
    assert_eq!(count(&stage, "star"), 100);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_milestone_is_told_once_and_a_repository_that_had_it_does_not_celebrate() {
    let Some(stage) = Scene::of("star-count").set(|_| ()).await else { return };
    stage.deliver_twice("star", &star(1, 98)).await;
    for (number, total) in [(2, 99), (3, 101), (4, 100), (5, 102)] {
        assert_eq!(stage.deliver("star", &star(number, total)).await.state, LegState::Acked);
    }
    assert_eq!(stage.github.notices(), ["<https://github.com/acme/shop|acme/shop> has 100 stars."]);

    let mut fork = document("star-count", "fork");
    fork["repository"]["forks_count"] = json!(5000);
    stage.deliver("fork", &fork).await;
    stage.deliver("watch", &document("star-count", "watch")).await;
    let mut unstar = star(6, 101);
    unstar["action"] = json!("deleted");
    stage.deliver("star", &unstar).await;
    assert_eq!(stage.github.notices().len(), 1);
    for (kind, expected) in [("star", 5), ("fork", 1), ("watch", 1), ("unstar", 1)] {
        assert!(count(&stage, kind) >= expected, "{kind}");
    }
}
