//! Plugins change while deliveries flow: nothing is lost, nothing runs on half a plugin, a bad file changes nothing.

use std::{
    collections::BTreeSet,
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
};

use hookyard::delivery::LegState;
use system_tests::{folder, guests, host::TestHost};

const MANIFEST: &str = "sources = [\"github\"]\nevents = [\"*\"]\n";

#[tokio::test(flavor = "multi_thread")]
async fn a_dropped_file_serves_without_a_restart_and_a_removed_one_parks_its_queue() {
    let host = TestHost::builder().start().await;
    host.folder().deploy("default", "p", &guests::component("ack"), MANIFEST);
    host.plugin("default", "p", |plugin| plugin.status == "active").await;
    let id = host.sender().post("push", r#"{"n":1}"#).await.accepted();
    assert_eq!(host.settled(id).await.legs[0].state, LegState::Acked);

    std::fs::remove_file(host.folder().plugins("default").join("p.wasm")).unwrap();
    host.until("the removal", || async {
        let views = host.inner().catalog().views(None);
        views.iter().all(|plugin| plugin.status != "active").then_some(())
    })
    .await;
    let unrouted = host.sender().post("push", r#"{"n":2}"#).await.accepted();
    assert!(host.delivery(unrouted).await.legs.is_empty());
}

#[tokio::test(flavor = "multi_thread")]
async fn a_bad_file_keeps_the_last_good_one_and_says_why() {
    let host = TestHost::builder().plugin("p", guests::component("ack")).start().await;
    let good = host.plugin("default", "p", |plugin| plugin.status == "active").await.digest;
    let component = guests::component("publish-document");
    for (bad, code) in [
        (component[..component.len() / 2].to_vec(), "component_invalid"),
        (b"(component)".to_vec(), "not_a_component"),
        (guests::component("unknown-import"), "import_unknown"),
        (guests::component("wrong-world"), "world_mismatch"),
    ] {
        folder::write(&host.folder().plugins("default").join("p.wasm"), &bad);
        let view = host.plugin("default", "p", |plugin| plugin.refusal.as_ref().is_some_and(|refusal| refusal.code == code)).await;
        assert_eq!(view.digest, good, "{code}");
        let id = host.sender().post("push", format!("{{\"{code}\":1}}")).await.accepted();
        assert_eq!(host.settled(id).await.legs[0].state, LegState::Acked, "{code}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_restart_beside_a_bad_file_still_serves_the_last_good_version() {
    let host = TestHost::builder().plugin("p", guests::component("ack")).start().await;
    folder::write(&host.folder().plugins("default").join("p.wasm"), b"half a plug");
    let host = TestHost::start_on(host.stop().await, hookyard::clock::Clock::system()).await;
    let id = host.sender().post("push", "{}").await.accepted();
    assert_eq!(host.settled(id).await.legs[0].state, LegState::Acked);
}

/// Two hundred swaps while a thousand deliveries a second flow: every one handled, by one of the two versions, whole.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
#[expect(clippy::disallowed_methods, reason = "the load is this test's own")]
async fn two_hundred_swaps_under_load_lose_nothing() {
    const SWAPS: usize = 200;
    let host = TestHost::builder().plugin_of("default", "p", guests::component("ack"), MANIFEST).start().await;
    let done = Arc::new(AtomicBool::new(false));
    let sender = host.sender();
    let load = tokio::spawn({
        let done = Arc::clone(&done);
        async move {
            let (mut ids, mut n) = (BTreeSet::new(), 0_u64);
            let mut ticks = tokio::time::interval(std::time::Duration::from_millis(20));
            while !done.load(Ordering::Relaxed) {
                ticks.tick().await;
                let mut calls = tokio::task::JoinSet::new();
                for _ in 0..20 {
                    n += 1;
                    let sender = sender.clone();
                    calls.spawn(async move { sender.post("push", format!("{{\"n\":{n}}}")).await.accepted() });
                }
                ids.extend(calls.join_all().await);
            }
            ids
        }
    });
    let versions = [guests::component("ack"), guests::component("publish-document")];
    for swap in 1..=SWAPS {
        let before = host.plugin("default", "p", |plugin| plugin.status == "active").await.digest;
        folder::write(&host.folder().plugins("default").join("p.wasm"), &versions[swap % 2]);
        host.plugin("default", "p", |plugin| plugin.digest != before).await;
    }
    done.store(true, Ordering::Relaxed);
    let ids = load.await.unwrap();
    host.drained().await;

    assert!(ids.len() > SWAPS, "the load went on meanwhile: {}", ids.len());
    for &id in &ids {
        let view = host.delivery(id).await;
        assert_eq!((view.legs.len(), view.legs[0].state, view.legs[0].attempts), (1, LegState::Acked, 1), "{view:?}");
    }
}
