//! Whole deliveries through the plugin, with the manifest's own configuration.

use hookyard_sdk::{
    Delivery, Verdict,
    log::Level,
    testing::{Host, Report},
};
use push_deploy::handle;
use serde_json::{Value, json};

const PUSH: &[u8] = include_bytes!("push.json");

fn push(change: impl FnOnce(&mut Value)) -> Delivery {
    let mut document: Value = serde_json::from_slice(PUSH).expect("the fixture is JSON");
    change(&mut document);
    Delivery::sample("push", document.to_string().as_bytes())
}

fn host() -> Host {
    let manifest: toml::Table = toml::from_str(include_str!("../push-deploy.toml")).expect("the manifest is TOML");
    Host::new().config(serde_json::to_value(&manifest["config"]).expect("tables are JSON"))
}

fn skipped(report: &Report) -> &str {
    assert!(report.emits.is_empty(), "{:?}", report.emits);
    match &report.verdict {
        Verdict::Skip(reason) => reason,
        other => panic!("expected a skip, found {other:?}"),
    }
}

#[test]
fn a_push_to_the_main_branch_asks_for_a_deployment_and_the_closings() {
    let report = host().run(handle, push(|_| ()));
    assert_eq!(report.verdict, Verdict::Ack);
    let found: Vec<(&str, Value)> = report.emits.iter().map(|emit| (emit.name.as_str(), emit.json())).collect();
    let sha = "c5b97d5ae6c19d5c5df71a34c7fbeeda2479ccbc";
    let expected = [
        (
            "deployment-requested",
            json!({
                "repository": "acme/shop", "ref": "refs/heads/main", "sha": sha, "environment": "production",
                "delivery": "0123456789abcdef0123456789abcdef"
            }),
        ),
        ("issue-close-requested", json!({"repository": "acme/shop", "issue": 12, "sha": sha})),
        ("issue-close-requested", json!({"repository": "other/lib", "issue": 3, "sha": sha})),
    ];
    assert_eq!(found, expected);
}

#[test]
fn a_push_elsewhere_is_skipped_with_the_reason() {
    let topic = host().run(handle, push(|document| document["ref"] = json!("refs/heads/topic")));
    assert_eq!(skipped(&topic), "refs/heads/topic is not the branch main");
    let tag = host().run(handle, push(|document| document["ref"] = json!("refs/tags/main")));
    assert_eq!(skipped(&tag), "refs/tags/main is not the branch main");
}

#[test]
fn a_deleted_main_branch_is_not_deployed() {
    let report = host().run(handle, push(|document| document["deleted"] = json!(true)));
    assert_eq!(skipped(&report), "refs/heads/main was deleted");
}

#[test]
fn the_configuration_names_branch_and_environment() {
    let mut host = Host::new().config(json!({"main_branch": "trunk", "environment": "staging"}));
    let report = host.run(handle, push(|document| document["ref"] = json!("refs/heads/trunk")));
    assert_eq!(report.emits[0].json()["environment"], "staging");
    assert_eq!(skipped(&host.run(handle, push(|_| ()))), "refs/heads/main is not the branch trunk");
}

#[test]
fn a_misspelt_configuration_is_retried_and_a_strange_document_rejected() {
    let report = Host::new().config(json!({"main_brunch": "main"})).run(handle, push(|_| ()));
    assert!(matches!(&report.verdict, Verdict::Retry { reason, .. } if reason.contains("main_brunch")), "{:?}", report.verdict);
    let report = host().run(handle, Delivery::sample("push", b"{}"));
    assert!(matches!(report.verdict, Verdict::Reject(_)), "{:?}", report.verdict);
}

#[test]
fn more_issues_than_a_run_may_emit_are_told_of_and_the_deployment_stands() {
    let message = (1..=70).map(|issue| format!("fix #{issue}")).collect::<Vec<_>>().join("\n");
    let report = host().run(handle, push(|document| document["commits"][0]["message"] = json!(message)));
    assert_eq!((report.verdict, report.emits.len()), (Verdict::Ack, 64));
    assert_eq!(report.emits[0].name, "deployment-requested");
    assert_eq!((report.logs[0].level, report.logs[0].fields[0].1.as_str()), (Level::Warn, "8"));
}
