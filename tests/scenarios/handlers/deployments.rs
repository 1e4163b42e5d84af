//! push-deploy, release-deploy, deployment-start and deployment-report.

use hookyard::delivery::LegState;
use serde_json::json;
use system_tests::{
    github::Fault,
    stage::{Scene, document, reason},
};

#[tokio::test(flavor = "multi_thread")]
async fn a_push_to_the_main_branch_is_deployed_and_closes_what_it_fixes() {
    let Some(stage) = Scene::of("push-deploy")
        .set(|repository| {
            repository.add_issue(12, "Prices are off by a cent", "");
            repository.add_pull(34, 1, 1);
        })
        .await
    else {
        return;
    };
    let mut event = document("push-deploy", "push");
    event["commits"][1]["message"] = json!("Resolves other/lib#3, closes #12, fixes #34 and fixes #404");
    let id = stage.send("push", &event).await;
    assert_eq!(stage.settled(id).await.state, LegState::Acked);
    {
        let repository = stage.github.repository();
        let deployment = &repository.deployments[0];
        assert_eq!((&deployment["ref"], &deployment["environment"]), (&json!("main"), &json!("production")));
        assert_eq!(deployment["payload"], json!({"hookyard": id.to_string()}));
        assert_eq!((&deployment["required_contexts"], &deployment["auto_merge"]), (&json!([]), &json!(false)));
        assert_eq!(repository.issues[&12]["state"], "closed");
        let comment =
            "Closed by 9f2b0b6e3f5bd1a0e1d6a1a25d9d9f3d8f1d0b11.\n\n<!-- hookyard:push-deploy:9f2b0b6e3f5bd1a0e1d6a1a25d9d9f3d8f1d0b11 -->";
        assert_eq!(repository.comments_of(12), [comment]);
        assert_eq!(repository.issues[&34]["state"], "open", "a pull request is not closed by a word");
    }

    // Somebody opens the issue again; the same delivery, run again by an operator, closes nothing and deploys nothing.
    stage.github.repository().issue(12)["state"] = json!("open");
    let before = stage.github.repository().clone();
    let leg = format!("{id}.push-deploy").parse().expect("a leg's id");
    stage.host.inner().ledger().rerun(&"default".parse().expect("a tenant"), &leg, true).await.expect("it runs again");
    let leg = stage.settled(id).await;
    assert_eq!((leg.state, leg.generation), (LegState::Acked, 1));
    assert_eq!(*stage.github.repository(), before);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_push_elsewhere_asks_github_nothing() {
    let Some(stage) = Scene::of("push-deploy").set(|_| ()).await else { return };
    let mut event = document("push-deploy", "push");
    event["ref"] = json!("refs/heads/topic");
    let leg = stage.deliver("push", &event).await;
    assert_eq!((leg.state, reason(&leg)), (LegState::Skipped, "refs/heads/topic is not the branch main"));
    assert!(stage.github.seen().is_empty());
}

#[tokio::test(flavor = "multi_thread")]
async fn an_outage_after_the_deployment_was_made_does_not_make_a_second() {
    let clock = hookyard::clock::Clock::manual(hookyard::delivery::Timestamp::from_unix_ms(1_800_000_000_000));
    let Some(stage) = Scene::of("push-deploy").clock(clock).set(|repository| repository.add_issue(12, "Prices", "")).await else { return };
    stage.github.fault("POST", "/deployments", Fault::DoneBut(502));
    stage.github.fault("POST", "/comments", Fault::DoneBut(500));
    let id = stage.send("push", &document("push-deploy", "push")).await;
    stage.retrying(id).await;
    stage.host.let_time_pass(std::time::Duration::from_mins(1));
    stage.host.until("the second failure", || async { (stage.host.leg(id, "push-deploy").await.attempts == 2).then_some(()) }).await;
    stage.retrying(id).await;
    let leg = stage.retried(id, std::time::Duration::from_mins(1)).await;
    assert_eq!((leg.state, leg.attempts), (LegState::Acked, 3));
    let repository = stage.github.repository();
    assert_eq!((repository.deployments.len(), repository.comments_of(12).len()), (1, 1));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_release_is_deployed_and_told_once() {
    let Some(stage) = Scene::of("release-deploy").set(|_| ()).await else { return };
    let mut event = document("release-deploy", "release");
    assert_eq!(stage.deliver_twice("release", &event).await.state, LegState::Acked);
    {
        let repository = stage.github.repository();
        assert_eq!(repository.deployments.len(), 1);
        assert_eq!(
            (&repository.deployments[0]["ref"], &repository.deployments[0]["production_environment"]),
            (&json!("v1.2.0"), &json!(true))
        );
    }
    let told =
        "<https://github.com/acme/shop/releases/tag/v1.2.0|Summer> of acme/shop is published; its deployment to production has begun.";
    assert_eq!(stage.github.notices(), [told]);
    event["release"]["prerelease"] = json!(true);
    let leg = stage.deliver("release", &event).await;
    assert_eq!((leg.state, reason(&leg)), (LegState::Skipped, "v1.2.0 is a pre-release"));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_deployment_is_reported_as_begun_unless_somebody_has_reported() {
    let Some(stage) = Scene::of("deployment-start")
        .set(|repository| {
            repository.deployment_states.insert(145_988_746, vec![json!({"id": 1, "state": "queued"})]);
        })
        .await
    else {
        return;
    };
    let event = document("deployment-start", "deployment");
    assert_eq!(stage.deliver_twice("deployment", &event).await.state, LegState::Acked);
    let states: Vec<_> = stage.github.repository().deployment_states[&145_988_746].iter().map(|state| state["state"].clone()).collect();
    assert_eq!(states, ["queued", "in_progress"]);
    let leg = stage.deliver("deployment", &event).await;
    assert_eq!((leg.state, reason(&leg)), (LegState::Skipped, "it is reported as in_progress"));
}

#[tokio::test(flavor = "multi_thread")]
async fn the_end_of_a_deployment_is_told_and_a_failure_opens_an_issue() {
    let Some(stage) = Scene::of("deployment-report").set(|_| ()).await else { return };
    let mut event = document("deployment-report", "deployment_status");
    assert_eq!(stage.deliver_twice("deployment_status", &event).await.state, LegState::Acked);
    {
        let mut repository = stage.github.repository();
        assert_eq!(repository.issues.len(), 1);
        assert_eq!(repository.issues[&1]["title"], "The deployment of main to production failed");
        assert!(repository.issues[&1]["body"].as_str().is_some_and(|body| body.contains("> `The health check did not pass`")));
        repository.issue(1)["state"] = json!("closed");
    }
    stage.deliver("deployment_status", &event).await;
    assert_eq!(stage.github.repository().issues.len(), 1, "a closed issue is an answer too");
    event["deployment"]["id"] = json!(7);
    event["deployment_status"]["state"] = json!("success");
    stage.deliver_twice("deployment_status", &event).await;
    assert_eq!(stage.github.repository().issues.len(), 1);
    let expected = [
        "The deployment of <https://deploy.example.com/logs/7|main> (acme/shop) to production failed.",
        "The deployment of <https://deploy.example.com/logs/7|main> (acme/shop) to production succeeded.",
    ];
    assert_eq!(stage.github.notices(), expected);
    event["deployment_status"]["state"] = json!("in_progress");
    assert_eq!(stage.deliver("deployment_status", &event).await.state, LegState::Skipped);
}
