//! pr-size, pr-review and pr-merged.

use hookyard::delivery::LegState;
use serde_json::json;
use system_tests::stage::{Scene, document, reason};

#[tokio::test(flavor = "multi_thread")]
async fn a_pull_request_is_labelled_with_its_size_of_now_and_relabelled_when_it_grows() {
    let Some(stage) = Scene::of("pr-size").set(|repository| repository.add_pull(42, 61, 17)).await else { return };
    let mut event = document("pr-size", "pull_request");
    assert_eq!(stage.deliver_twice("pull_request", &event).await.state, LegState::Acked);
    assert_eq!(stage.github.repository().labels_of(42), ["size/M"]);

    stage.github.repository().pulls.get_mut(&42).expect("the pull request")["additions"] = json!(600);
    stage.github.repository().issue(42)["labels"] = json!([{"id": 1, "name": "size/M"}, {"id": 2, "name": "kind/fix"}]);
    event["action"] = json!("synchronize");
    // The event still tells of 61 lines: what counts is what GitHub says now.
    stage.deliver_twice("pull_request", &event).await;
    assert_eq!(stage.github.repository().labels_of(42), ["kind/fix", "size/XL"]);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_pull_request_that_is_gone_is_skipped() {
    let Some(stage) = Scene::of("pr-size").set(|_| ()).await else { return };
    let leg = stage.deliver("pull_request", &document("pr-size", "pull_request")).await;
    assert_eq!((leg.state, reason(&leg)), (LegState::Skipped, "there is no pull request 42 any more"));
}

#[tokio::test(flavor = "multi_thread")]
async fn reviewers_are_asked_once_and_never_the_author() {
    let scene =
        Scene::of("pr-review").edit("reviewers = []", "reviewers = [\"Ada\", \"bob\", \"eve\"]").edit("teams = []", "teams = [\"core\"]");
    let Some(stage) = scene.set(|repository| repository.add_pull(42, 1, 1)).await else { return };
    let event = document("pr-review", "pull_request");
    assert_eq!(stage.deliver_twice("pull_request", &event).await.state, LegState::Acked);
    let asked = stage.github.seen().into_iter().find(|seen| seen.method == "POST").expect("a request");
    assert_eq!(asked.body, json!({"reviewers": ["bob", "eve"], "team_reviewers": ["core"]}));
}

#[tokio::test(flavor = "multi_thread")]
async fn who_has_reviewed_is_not_asked_again_and_a_draft_waits() {
    let scene = Scene::of("pr-review").edit("reviewers = []", "reviewers = [\"bob\"]");
    let Some(stage) = scene
        .set(|repository| {
            repository.add_pull(42, 1, 1);
            repository.reviews.insert(42, vec![json!({"user": {"id": 2, "login": "Bob"}})]);
        })
        .await
    else {
        return;
    };
    let event = document("pr-review", "pull_request");
    let leg = stage.deliver("pull_request", &event).await;
    assert_eq!((leg.state, reason(&leg)), (LegState::Skipped, "everybody has been asked"));
    stage.github.repository().reviews.clear();
    stage.github.repository().pulls.get_mut(&42).expect("the pull request")["draft"] = json!(true);
    let leg = stage.deliver("pull_request", &event).await;
    assert_eq!((leg.state, reason(&leg)), (LegState::Skipped, "a draft is reviewed once it is ready"));
    assert!(stage.github.changes().is_empty());
}

#[tokio::test(flavor = "multi_thread")]
async fn a_merged_pull_request_is_in_the_changelog_once_and_starts_the_workflow() {
    let scene = Scene::of("pr-merged")
        .edit("# changelog_issue = 1", "changelog_issue = 3")
        .edit("# workflow = \"publish.yml\"", "workflow = \"publish.yml\"")
        .edit("workflow_inputs = {}", "workflow_inputs = { channel = \"next\" }");
    let Some(stage) = scene
        .set(|repository| {
            repository.add_issue(3, "Changelog", "");
            // A stranger writes the marker first: it does not count.
            repository.add_comment(3, "stranger", "NONE", "<!-- hookyard:pr-merged:42 -->");
        })
        .await
    else {
        return;
    };
    let event = document("pr-merged", "pull_request");
    assert_eq!(stage.deliver_twice("pull_request", &event).await.state, LegState::Acked);
    let expected = "* #42 `Round prices to cents` (`ada`)\n\n<!-- hookyard:pr-merged:42 -->";
    assert_eq!(stage.github.repository().comments_of(3), ["<!-- hookyard:pr-merged:42 -->", expected]);
    let started = json!({"workflow": "publish.yml", "ref": "main", "inputs": {"channel": "next"}});
    assert_eq!(stage.github.repository().started, [started]);
}

#[tokio::test(flavor = "multi_thread")]
async fn without_a_changelog_a_merge_is_an_event_for_others_and_a_close_is_nothing() {
    let Some(stage) = Scene::of("pr-merged").set(|_| ()).await else { return };
    let mut event = document("pr-merged", "pull_request");
    assert_eq!(stage.deliver("pull_request", &event).await.state, LegState::Acked);
    event["pull_request"]["merged"] = json!(false);
    let leg = stage.deliver("pull_request", &event).await;
    assert_eq!((leg.state, reason(&leg)), (LegState::Skipped, "`closed` merges nothing"));
    let emits = stage.host.emits().await;
    assert_eq!(emits.len(), 1);
    assert!(stage.github.seen().is_empty());
}
