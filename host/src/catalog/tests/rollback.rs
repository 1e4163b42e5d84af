//! Going back to an earlier version, and what a restart finds.

use super::*;

async fn serve(stage: &mut Stage, guest: &str) -> Digest {
    stage.put_plugin("p", guest);
    stage.pass().await;
    assert_eq!(stage.refusal("p"), None);
    stage.digest("p").unwrap()
}

async fn back(stage: &Stage, to: Option<&str>) -> Result<(), RollbackError> {
    stage.catalog.roll_back(&red(), &"p".parse().unwrap(), to).await
}

#[tokio::test]
async fn a_roll_back_holds_the_files_through_a_restart_until_different_ones_are_dropped() {
    let mut stage = Stage::new(10).await;
    let (first, second) = (serve(&mut stage, "ack").await, serve(&mut stage, "skip").await);
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

    let third = serve(&mut stage, "reject").await;
    assert_eq!(serve(&mut stage, "skip").await, second, "another drop lifts the hold");
    assert_ne!(third, second);
}

#[tokio::test]
async fn two_roll_backs_go_back_two_versions_and_one_by_name_goes_where_it_is_told() {
    let mut stage = Stage::new(10).await;
    let mut versions = Vec::new();
    for guest in ["ack", "skip", "reject"] {
        versions.push(serve(&mut stage, guest).await);
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
    serve(&mut stage, "ack").await;
    let second = serve(&mut stage, "skip").await;
    back(&stage, None).await.unwrap();
    stage.remove("p.wasm");
    stage.remove("p.toml");
    stage.pass().await;
    stage.pass_after(Duration::from_millis(500)).await;
    assert_eq!(serve(&mut stage, "skip").await, second);
}

#[tokio::test]
async fn a_pause_survives_a_restart_a_new_version_and_even_a_removal() {
    let mut stage = Stage::new(10).await;
    serve(&mut stage, "ack").await;
    let name = "p".parse().unwrap();
    stage.catalog.pause(&red(), &name, true).await.unwrap();
    stage.restart().await;
    assert!(stage.catalog.queues().borrow().queues.is_empty());
    serve(&mut stage, "skip").await;
    assert_eq!(stage.view("p").unwrap().status, "paused");
    stage.remove("p.wasm");
    stage.pass().await;
    stage.pass_after(Duration::from_millis(500)).await;
    serve(&mut stage, "ack").await;
    assert!(stage.catalog.queues().borrow().queues.is_empty(), "removing the files is no way around the operator's word");
    stage.catalog.pause(&red(), &name, false).await.unwrap();
    stage.restart().await;
    assert_eq!(stage.catalog.queues().borrow().queues.len(), 1);
}
