//! issue-triage, comment-commands and check-issues.

use hookyard::delivery::LegState;
use serde_json::{Value, json};
use system_tests::{
    github::Repository,
    stage::{Scene, Stage, document, reason},
};
use tokio::task::JoinSet;

#[tokio::test(flavor = "multi_thread")]
async fn an_issue_is_labelled_by_its_words_and_assigned_by_its_labels() {
    let scene = Scene::of("issue-triage").edit("# bug = [\"ada\"]", "bug = [\"ada\", \"nobody\"]\n\"priority:high\" = [\"eve\"]");
    let Some(stage) = scene
        .set(|repository| {
            repository.add_issue(12, "Error: prices are off by a cent", "It is urgent. A debugger does not help.");
            for person in ["ada", "eve"] {
                repository.permissions.insert(person.to_owned(), "write".to_owned());
            }
        })
        .await
    else {
        return;
    };
    let leg = stage.deliver_twice("issues", &document("issue-triage", "issues")).await;
    assert_eq!(leg.state, LegState::Acked);
    assert_eq!(stage.github.repository().labels_of(12), ["bug", "priority:high"]);
    assert_eq!(stage.github.repository().assignees_of(12), ["ada", "eve"]);
    let logs = &leg.history[0].logs;
    assert!(logs.iter().any(|line| line.message == "cannot be assigned here"), "{logs:?}");
}

#[tokio::test(flavor = "multi_thread")]
async fn an_issue_without_telling_words_is_left_alone() {
    let Some(stage) = Scene::of("issue-triage").set(|repository| repository.add_issue(12, "Debugging", "no bugfixes here")).await else {
        return;
    };
    let leg = stage.deliver("issues", &document("issue-triage", "issues")).await;
    assert_eq!((leg.state, reason(&leg)), (LegState::Skipped, "nothing to add"));
    assert!(stage.github.changes().is_empty());
}

fn with_writers(repository: &mut Repository) {
    repository.add_issue(12, "Prices", "");
    for (person, permission) in [("ada", "write"), ("bob", "admin"), ("eve", "read")] {
        repository.permissions.insert(person.to_owned(), permission.to_owned());
    }
}

fn comment(id: u64, author: &str, text: &str) -> Value {
    let mut event = document("comment-commands", "issue_comment");
    event["comment"]["id"] = json!(id);
    event["comment"]["body"] = json!(text);
    event["comment"]["user"]["login"] = json!(author);
    event["sender"]["login"] = json!(author);
    event
}

#[tokio::test(flavor = "multi_thread")]
async fn commands_are_obeyed_and_a_late_repetition_undoes_nothing() {
    let Some(stage) = Scene::of("comment-commands").set(with_writers).await else { return };
    let event = comment(1, "ada", "/assign @bob\n/label \"good first issue\" bug\n/close not-planned\n\nThanks!");
    let leg = stage.deliver_twice("issue_comment", &event).await;
    assert_eq!(leg.state, LegState::Acked, "{}", reason(&leg));
    {
        let repository = stage.github.repository();
        assert_eq!(repository.assignees_of(12), ["bob"]);
        assert_eq!(repository.labels_of(12), ["bug", "good first issue"]);
        assert_eq!((&repository.issues[&12]["state"], &repository.issues[&12]["state_reason"]), (&json!("closed"), &json!("not_planned")));
        assert!(repository.reactions.contains(&(1, "+1".to_owned())));
    }
    stage.deliver("issue_comment", &comment(2, "bob", "/reopen\n/unassign @bob\n/unlabel bug absent")).await;
    let late = stage.deliver("issue_comment", &event).await;
    assert_eq!((late.state, reason(&late)), (LegState::Skipped, "obeyed before"));
    let repository = stage.github.repository();
    assert_eq!(repository.issues[&12]["state"], "open");
    assert!(repository.assignees_of(12).is_empty());
    assert_eq!(repository.labels_of(12), ["good first issue"]);
}

#[tokio::test(flavor = "multi_thread")]
async fn strangers_bots_and_the_plugin_itself_get_no_answer() {
    let Some(stage) = Scene::of("comment-commands").set(with_writers).await else { return };
    let leg = stage.deliver("issue_comment", &comment(1, "eve", "/close")).await;
    assert_eq!((leg.state, reason(&leg)), (LegState::Skipped, "eve may not write here"));
    stage.deliver("issue_comment", &comment(2, "mallory", "/frobnicate")).await;
    for event in [comment(3, "dependabot[bot]", "/close"), comment(4, "ada", "/frobnicate\n\n<!-- hookyard:comment-commands:1 -->"), {
        let mut event = comment(5, "helper", "/close");
        event["comment"]["user"]["type"] = json!("Bot");
        event
    }] {
        let leg = stage.deliver("issue_comment", &event).await;
        assert_eq!((leg.state, reason(&leg)), (LegState::Skipped, "bots are not answered"));
    }
    assert!(stage.github.changes().is_empty(), "{:?}", stage.github.changes());
}

#[tokio::test(flavor = "multi_thread")]
async fn an_unknown_command_gets_one_helpful_reply() {
    let Some(stage) = Scene::of("comment-commands").set(with_writers).await else { return };
    stage.deliver_twice("issue_comment", &comment(1, "ada", "/frobnicate now")).await;
    let repository = stage.github.repository();
    let comments = repository.comments_of(12);
    assert_eq!(comments.len(), 1);
    assert!(comments[0].starts_with("I do not know what to do with `/frobnicate`. I know `/assign"), "{comments:?}");
}

#[tokio::test(flavor = "multi_thread")]
async fn retest_runs_what_failed_again_and_only_that() {
    let Some(stage) = Scene::of("comment-commands")
        .set(|repository| {
            with_writers(repository);
            repository.add_pull(42, 1, 1);
            let sha = format!("{:040x}", 42);
            let run = |id, sha: &str, conclusion| json!({"id": id, "head_sha": sha, "status": "completed", "conclusion": conclusion});
            repository.runs =
                vec![run(1, &sha, "failure"), run(2, &sha, "success"), run(3, &"0".repeat(40), "failure"), run(4, &sha, "timed_out")];
        })
        .await
    else {
        return;
    };
    let mut event = comment(1, "ada", "/retest");
    event["issue"]["number"] = json!(42);
    event["issue"]["pull_request"] = json!({"url": "https://api.github.com/repos/acme/shop/pulls/42"});
    stage.deliver_twice("issue_comment", &event).await;
    assert_eq!(stage.github.repository().reruns, [1, 4]);

    stage.deliver_twice("issue_comment", &comment(2, "ada", "/retest")).await;
    assert!(stage.github.repository().comments_of(12)[0].starts_with("Only a pull request has something to test."));
}

fn check(id: u64, name: &str, branch: &str) -> Value {
    let mut event = document("check-issues", "check_run");
    event["check_run"]["id"] = json!(id);
    event["check_run"]["name"] = json!(name);
    event["check_run"]["check_suite"]["head_branch"] = json!(branch);
    event
}

#[tokio::test(flavor = "multi_thread")]
async fn a_failed_check_opens_an_issue_and_failing_again_comments_on_it() {
    let Some(stage) = Scene::of("check-issues").set(|_| ()).await else { return };
    stage.deliver_twice("check_run", &check(1, "lint", "main")).await;
    stage.deliver_twice("check_run", &check(2, "lint", "main")).await;
    {
        let repository = stage.github.repository();
        assert_eq!(repository.issues.len(), 1);
        assert_eq!(repository.issues[&1]["title"], "Check “lint” fails on main");
        assert_eq!(repository.labels_of(1), ["check-failure"]);
        assert_eq!(repository.comments_of(1).len(), 1);
    }
    stage.deliver("check_run", &check(3, "lint", "release")).await;
    stage.deliver("check_run", &check(4, "test", "main")).await;
    assert_eq!(stage.github.repository().issues.len(), 3, "another branch and another check have issues of their own");

    stage.github.repository().issue(1)["state"] = json!("closed");
    stage.deliver("check_run", &check(5, "lint", "main")).await;
    assert_eq!(stage.github.repository().issues.len(), 4, "what was mended and fails again is a new issue");
}

#[tokio::test(flavor = "multi_thread")]
async fn two_issues_for_one_check_become_one() {
    let Some(stage) = Scene::of("check-issues").set(|_| ()).await else { return };
    stage.deliver("check_run", &check(1, "lint", "main")).await;
    {
        let mut repository = stage.github.repository();
        let mut twin = repository.issues[&1].clone();
        twin["number"] = json!(2);
        repository.issues.insert(2, twin);
    }
    stage.deliver("check_run", &check(2, "lint", "main")).await;
    let repository = stage.github.repository();
    assert_eq!((&repository.issues[&1]["state"], &repository.issues[&2]["state"]), (&json!("open"), &json!("closed")));
    assert_eq!(repository.comments_of(1).len(), 1);
}

/// `serialize_by`: each of them looks before it creates, and without turns several would look at once and find nothing.
#[tokio::test(flavor = "multi_thread")]
async fn fifty_failures_at_once_make_one_issue() {
    let Some(stage) = Scene::of("check-issues").set(|_| ()).await else { return };
    send_all(&stage, "check_run", (0..50).map(|id| check(id, "lint", "main"))).await;
    let repository = stage.github.repository();
    assert_eq!(repository.issues.len(), 1);
    assert_eq!(repository.comments_of(1).len(), 49);
}

/// Sends all of them at once, and waits until all are settled.
pub(crate) async fn send_all(stage: &Stage, event: &'static str, documents: impl Iterator<Item = Value>) {
    let mut calls = JoinSet::new();
    for document in documents {
        let sender = stage.host.sender();
        calls.spawn(async move { sender.post(event, document.to_string()).await.accepted() });
    }
    while calls.join_next().await.is_some() {}
    stage.host.drained().await;
}
