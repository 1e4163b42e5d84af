//! Going back to an earlier version, and what a restart finds.

use super::*;
use crate::ledger::StoredPlugin;

/// A version of its own by a comment in its manifest.
async fn serve(stage: &mut Stage, comment: &str) -> Digest {
    stage.put("p.wasm", guests::component("ack"));
    stage.put("p.toml", format!("{MANIFEST}# {comment}\n"));
    stage.pass().await;
    assert_eq!(stage.refusal("p"), None);
    stage.digest("p").unwrap()
}

async fn back(stage: &Stage, to: Option<&str>) -> Result<(), RollbackError> {
    stage.catalog.roll_back(&red(), &"p".parse().unwrap(), to).await.map(drop)
}

#[tokio::test]
async fn a_roll_back_holds_the_files_through_a_restart_until_different_ones_are_dropped() {
    let mut stage = Stage::new(10).await;
    let (first, second) = (serve(&mut stage, "first").await, serve(&mut stage, "second").await);
    back(&stage, None).await.unwrap();
    assert_eq!((stage.digest("p"), stage.refusal("p").as_deref()), (Some(first), Some("rolled_back")));
    stage.pass_after(Duration::from_mins(1)).await;
    assert_eq!(stage.digest("p"), Some(first));

    stage.restart().await;
    assert_eq!((stage.digest("p"), stage.refusal("p").as_deref()), (Some(first), Some("rolled_back")));
    let view = stage.catalog.view(&red(), &"p".parse().unwrap()).await.unwrap().unwrap();
    let told: Vec<_> = view.versions.iter().map(|version| (version.digest.as_str(), version.held.is_some())).collect();
    assert_eq!(told, [(first.to_string().as_str(), false), (second.to_string().as_str(), true)]);
    assert!(view.refusal.unwrap().reason.contains("drop a changed file"), "what to do is said");

    let third = serve(&mut stage, "third").await;
    assert_eq!(serve(&mut stage, "second").await, second, "another drop lifts the hold");
    assert_ne!(third, second);
}

#[tokio::test]
async fn two_roll_backs_go_back_two_versions_and_one_by_name_goes_where_it_is_told() {
    let mut stage = Stage::new(10).await;
    let mut versions = Vec::new();
    for comment in ["first", "second", "third"] {
        versions.push(serve(&mut stage, comment).await);
    }
    back(&stage, None).await.unwrap();
    back(&stage, None).await.unwrap();
    assert_eq!(stage.digest("p"), Some(versions[0]));
    assert!(matches!(back(&stage, None).await, Err(RollbackError::NoVersion(_))));
    back(&stage, Some(&versions[1].to_string())).await.unwrap();
    assert_eq!(stage.digest("p"), Some(versions[1]));
    stage.restart().await;
    assert_eq!(stage.digest("p"), Some(versions[1]));
    let nobody = stage.catalog.roll_back(&red(), &"nobody".parse().unwrap(), None).await;
    assert!(matches!(nobody, Err(RollbackError::NoPlugin)));
}

#[tokio::test]
async fn a_plugin_that_was_rolled_back_and_removed_begins_anew() {
    let mut stage = Stage::new(10).await;
    serve(&mut stage, "first").await;
    let second = serve(&mut stage, "second").await;
    back(&stage, None).await.unwrap();
    stage.remove("p.wasm");
    stage.remove("p.toml");
    stage.pass().await;
    stage.pass_after(Duration::from_millis(500)).await;
    assert_eq!(serve(&mut stage, "second").await, second);
}

#[tokio::test]
async fn a_pause_survives_a_restart_a_new_version_and_even_a_removal() {
    let mut stage = Stage::new(10).await;
    serve(&mut stage, "first").await;
    let name = "p".parse().unwrap();
    stage.catalog.pause(&red(), &name, true).await.unwrap();
    stage.restart().await;
    assert!(stage.catalog.queues().borrow().queues.is_empty());
    serve(&mut stage, "second").await;
    assert_eq!(stage.view("p").unwrap().status, "paused");
    stage.remove("p.wasm");
    stage.pass().await;
    stage.pass_after(Duration::from_millis(500)).await;
    serve(&mut stage, "first").await;
    assert!(stage.catalog.queues().borrow().queues.is_empty(), "removing the files is no way around the operator's word");
    stage.catalog.pause(&red(), &name, false).await.unwrap();
    stage.restart().await;
    assert_eq!(stage.catalog.queues().borrow().queues.len(), 1);
}

#[tokio::test]
async fn a_new_version_is_watched_for_its_time_through_a_restart_and_what_was_rolled_back_to_is_not() {
    let mut stage = Stage::new(10).await;
    serve(&mut stage, "first").await;
    let watched = |stage: &Stage| stage.view("p").unwrap().watch;
    assert!(watched(&stage).is_none(), "a first version has nothing to be compared with");
    serve(&mut stage, "second").await;
    let until = watched(&stage).unwrap().until;
    stage.clock.advance(Duration::from_mins(4));
    stage.restart().await;
    assert_eq!(watched(&stage).unwrap().until, until);
    stage.clock.advance(Duration::from_mins(2));
    stage.restart().await;
    assert!(watched(&stage).is_none());

    serve(&mut stage, "third").await;
    back(&stage, None).await.unwrap();
    assert!(watched(&stage).is_none());
    stage.restart().await;
    assert!(watched(&stage).is_none());
}

#[tokio::test]
async fn a_version_the_watch_took_back_is_gone_back_to_only_by_name_and_with_a_warning() {
    let mut stage = Stage::new(10).await;
    let (good, bad) = (serve(&mut stage, "good").await, serve(&mut stage, "bad").await);
    let word = Word { to: None, from: Some(bad), cause: "watch", why: "it failed where the one before did not" };
    stage.catalog.0.roll_back(&red(), &"p".parse().unwrap(), word).await.unwrap();
    let mended = serve(&mut stage, "mended").await;
    back(&stage, None).await.unwrap();
    assert_eq!(stage.digest("p"), Some(good));
    let refused = stage.catalog.roll_back(&red(), &"p".parse().unwrap(), None).await.unwrap_err().to_string();
    assert!(refused.contains("each of the 2 other kept versions was taken back once; `--to DIGEST`"), "{refused}");

    stage.restart().await;
    let warning = stage.catalog.roll_back(&red(), &"p".parse().unwrap(), Some(&bad.to_string())).await.unwrap();
    assert_eq!(warning.as_deref(), Some("it failed where the one before did not"));
    let view = stage.catalog.view(&red(), &"p".parse().unwrap()).await.unwrap().unwrap();
    let told: Vec<_> = view.versions.iter().map(|version| (version.digest.clone(), version.taken_back.clone())).collect();
    let by_operator = Some("an operator took it back".to_owned());
    assert_eq!(told, [(bad.to_string(), None), (good.to_string(), by_operator.clone()), (mended.to_string(), by_operator)]);
    serve(&mut stage, "something else").await;
    assert_eq!(serve(&mut stage, "good").await, good);
    assert_eq!(stage.ledger.plugin_versions(&red(), &"p".parse().unwrap()).await.unwrap()[0].taken_back, None, "dropped anew, it is new");
}

#[tokio::test]
async fn what_an_examination_found_is_kept_with_its_version() {
    let mut stage = Stage::new(10).await;
    let grant = "[[grants.secrets]]\ncredential = \"chat\"\npurposes = [\"sign\"]\n";
    let report = |stage: &Stage| stage.catalog.plugin(&red(), &"p".parse().unwrap()).unwrap().report.clone();
    stage.put("p.wasm", guests::component("ack"));
    stage.put("p.toml", format!("{MANIFEST}{grant}"));
    stage.pass().await;
    let found = report(&stage);
    assert_eq!(found.asks, ["secrets sign with credential chat"]);
    stage.restart().await;
    assert_eq!(report(&stage), found, "after a restart");
    serve(&mut stage, "second").await;
    serve(&mut stage, "third").await;
    for _ in 0..2 {
        back(&stage, None).await.unwrap();
    }
    assert_eq!(report(&stage), found, "after two roll-backs");
    // As a host of before left it.
    stage.ledger.forget_plugin(&red(), &"p".parse().unwrap()).await.unwrap();
    let (wasm, manifest) = (guests::component("ack"), format!("{MANIFEST}{grant}").into_bytes());
    let digest = Digest::of(&[&wasm, &manifest]);
    stage.put("p.toml", &manifest);
    let (tenant, name) = (red(), "p".parse().unwrap());
    stage.ledger.keep_plugin(StoredPlugin { tenant, name, digest, wasm, manifest, report: None }).await.unwrap();
    stage.restart().await;
    assert_eq!((&report(&stage).asks, report(&stage).steps[0].step.as_str()), (&found.asks, "kept"));
}
