//! What a start knows before anything is compiled.

use super::*;

fn compiling(stage: &Stage) -> (usize, usize) {
    let Compiling { plugins, of } = *stage.catalog.compiling().borrow();
    (plugins, of)
}

#[tokio::test]
async fn what_served_is_routed_to_at_once_and_serves_when_it_is_compiled() {
    let mut stage = Stage::new(10).await;
    for name in ["p", "q"] {
        stage.put_plugin(name, "ack");
    }
    stage.pass().await;
    assert!(stage.catalog.pause(&red(), &"q".parse().unwrap(), true).await.unwrap());
    let served = stage.digest("p");
    stage.start().await;
    assert_eq!((stage.routes(), stage.digest("p")), (vec!["p".to_owned(), "q".to_owned()], None));
    assert!(stage.catalog.queues().borrow().queues.is_empty(), "what is for them waits");
    assert_eq!((compiling(&stage), stage.view("p").unwrap().status), ((2, 2), "compiling".to_owned()));
    assert_eq!(stage.view("q").unwrap().status, "paused");
    stage.pass().await;
    assert_eq!((compiling(&stage), stage.digest("p")), ((0, 2), served));
    let view = stage.view("q").unwrap();
    assert_eq!((view.status.as_str(), view.compiling_since, view.digest.is_some()), ("paused", None, true));
}

#[tokio::test]
async fn a_manifest_that_is_new_counts_only_for_a_plugin_that_never_served() {
    let mut stage = Stage::new(10).await;
    stage.put_plugin("p", "ack");
    stage.pass().await;
    // A version that would take nothing of what the one before takes, and is refused.
    stage.put("p.wasm", b"half a file");
    stage.put("p.toml", MANIFEST.replace("push", "issues"));
    stage.put_plugin("good", "ack");
    stage.put("bad.wasm", b"half a file");
    stage.put("bad.toml", MANIFEST);
    stage.put("half.toml", MANIFEST);
    stage.start().await;
    assert_eq!((stage.routes(), compiling(&stage)), (["bad", "good", "p"].map(str::to_owned).to_vec(), (3, 3)));
    stage.pass().await;
    assert_eq!(stage.routes(), ["good", "p"], "what was refused is not waited for any more");
    assert_eq!((compiling(&stage).0, stage.digest("good").is_some()), (0, true));
    for name in ["bad.wasm", "bad.toml", "half.toml"] {
        stage.remove(name);
    }
    stage.pass().await;
    assert!(stage.view("bad").is_none(), "and forgotten with its files");
}

#[tokio::test]
async fn newcomers_are_routed_to_as_far_as_there_is_room_and_nobodys_word_is_needed() {
    let mut stage = Stage::new(2).await;
    for name in ["z", "a", "b"] {
        stage.put_plugin(name, "ack");
        if name == "z" {
            stage.pass().await;
        }
    }
    stage.start().await;
    assert_eq!(stage.routes(), ["a", "z"]);
    stage.pass().await;
    assert_eq!((stage.routes(), stage.refusal("b").as_deref()), (["a", "z"].map(str::to_owned).to_vec(), Some("too_many_plugins")));
    stage.remove("a.toml");
    stage.pass().await;
    stage.pass_after(Duration::from_millis(500)).await;
    let grant = "[[grants.secrets]]\ncredential = \"chat\"\npurposes = [\"sign\"]\n";
    stage.put("a.toml", format!("{MANIFEST}{grant}"));
    let mut settings = stage.catalog.0.settings.clone();
    settings.approve_new_grants = true;
    stage.catalog = Catalog::new(settings, stage.catalog.0.parts.clone());
    stage.catalog.load(&stage.tasks).await;
    assert!(!stage.routes().contains(&"a".to_owned()), "it would wait for an operator");
}

#[tokio::test]
async fn an_operator_goes_back_while_the_version_that_served_is_still_compiled() {
    let mut stage = Stage::new(10).await;
    stage.put_plugin("p", "ack");
    stage.pass().await;
    let first = stage.digest("p");
    stage.put_plugin("p", "skip");
    stage.pass().await;
    let second = stage.digest("p").unwrap();
    stage.start().await;
    stage.catalog.roll_back(&red(), &"p".parse().unwrap(), None).await.unwrap();
    assert_eq!(stage.digest("p"), first);
    stage.pass().await;
    assert_eq!((stage.digest("p"), stage.refusal("p").as_deref()), (first, Some("rolled_back")));
    let standing = stage.ledger.plugin_standing(&red(), &"p".parse().unwrap()).await.unwrap();
    assert_eq!(standing.holds.iter().map(|hold| hold.digest).collect::<Vec<_>>(), [second]);
}
