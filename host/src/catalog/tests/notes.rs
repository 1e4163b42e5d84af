//! What a version names, and nobody has.

use super::*;
use crate::delivery::report::StepResult;

#[tokio::test]
async fn what_a_version_names_and_nobody_has_is_told_with_the_nearest_word_until_it_is_there() {
    let mut stage = Stage::new(10).await;
    stage.allow(Allowed::default());
    let secret = "[[grants.secrets]]\ncredential = \"chat\"\npurposes = [\"sign\"]\n";
    stage.put("p.wasm", guests::component("ack"));
    stage.put("p.toml", format!("sources = [\"github\"]\nevents = [\"pull_requests.opened\", \"push\", \"invoice\"]\n{secret}"));
    stage.pass().await;
    let told = stage.view("p").unwrap().notes;
    assert_eq!(
        told,
        [
            "source `github` is none of the tenant's",
            "event `pull_requests.opened` is none that GitHub sends; did you mean `pull_request`?",
            "credential `chat` is none of the tenant's",
        ]
    );
    let report = stage.catalog.plugin(&red(), &"p".parse().unwrap()).unwrap().report.clone();
    assert!(report.steps[0].result == StepResult::Noted && report.steps[0].detail.contains("did you mean `pull_request`?"), "{report:?}");
    stage.put("p.toml", "sources = [\"github\"]\nevents = [\"Push\"]\n");
    stage.pass().await;
    assert!(stage.view("p").unwrap().refusal.unwrap().reason.contains("did you mean `push`?"));
}

#[tokio::test]
async fn a_name_that_is_no_plugins_or_no_tenants_is_told_with_one_that_is() {
    let stage = Stage::new(10).await;
    stage.put("MyPlugin.wasm", "x");
    stage.put(".MyPlugin.wasm", "an editor's");
    stage.put("notes.txt", "x");
    fs::create_dir(stage.folder.path().join("tenants/Acme")).unwrap();
    stage.catalog.0.note_passed_over().await;
    let told: Vec<_> = stage.catalog.passed_over(None).into_iter().map(|one| (one.path, one.reason)).collect();
    let [(tenant, why), (plugin, reason)] = &told[..] else { panic!("{told:?}") };
    assert!(tenant == "Acme" && why.ends_with("rename it, such as to acme"), "{told:?}");
    assert!(plugin == "red/plugins/MyPlugin.wasm" && reason.ends_with("rename it, such as to my-plugin.wasm"), "{told:?}");
    assert_eq!(stage.catalog.passed_over(Some(&red())).len(), 1);
}
