//! Settlements that wait for their tenant's pace.

use super::*;

/// Has the settlements of the default tenant wait, where its pace is a byte a second.
fn owe(rig: &Rig) {
    rig.ledger.shared().pace.owe(&tenant("default"), 300, rig.clock.instant());
}

/// A settlement on its way.
fn settle(rig: &Rig, lease: Lease, effects: Effects) -> tokio::task::JoinHandle<Settled> {
    let (ledger, record) = (rig.ledger.clone(), finished(&lease, Settlement::Ack, effects));
    tokio::spawn(async move { ledger.settle(lease, record).await.unwrap() })
}

#[tokio::test]
async fn a_suspect_whose_settlement_waits_holds_up_no_other_and_is_not_blamed() {
    let before = Rig::new();
    before.accept(1, &["a", "b"]).await;
    let _under_way = [before.lease().await, before.lease().await];
    before.accept(2, &["a", "b"]).await;
    let rig = before.after_crash_with(|settings| settings.tenant_settled_bytes_per_s_max = 1);
    let lent = async || tokio::time::timeout(Duration::from_secs(30), rig.lease()).await.expect("a leg that can run");
    let suspect = lent().await;
    let under_way = || inflight::InFlight::open(&rig.dir.path().join("inflight")).unwrap().1;
    assert!(under_way().len() == 1 && under_way()[0].is_suspect, "known until its guest has ended");
    owe(&rig);
    let leg = suspect.leg.clone();
    let settling = settle(&rig, suspect, Effects::default());
    let next = [lent().await, lent().await];
    let mut names = next.each_ref().map(|lease| lease.leg.plugin.to_string());
    names.sort();
    assert_eq!(names, ["a", "b"], "the other suspect, and what waited behind this one");
    assert!(!settling.is_finished() && next.iter().all(|lease| lease.leg != leg), "it still waits");
    let runs = under_way();
    assert_eq!((runs.len(), runs.iter().filter(|run| run.is_suspect).count()), (2, 1), "only the other suspect is under way");
    rig.clock.advance(Duration::from_mins(10));
    assert_eq!(settling.await.unwrap(), Settled::Committed);
    rig.assert_books_balance().await;
}

#[tokio::test]
async fn while_a_settlement_waits_its_document_is_gone_and_its_effects_are_counted() {
    let rig = Rig::with(|settings| settings.tenant_settled_bytes_per_s_max = 1);
    let mut set = everything(8);
    set.queues.iter_mut().for_each(|queue| queue.run_memory = RunMemory { bytes: 1 << 20, per_body_byte: 2 });
    rig.ledger.serve(set);
    rig.accept(1, &["a"]).await;
    let memory = rig.ledger.shared().settings.shares.pool(Resource::RunMemory).clone();
    let used = || memory.used_by(&Holder::tenant(&tenant("default")));
    let lease = rig.lease().await;
    assert!(used() > 1 << 20, "{}", used());
    let document = Arc::downgrade(&lease.delivery);
    let emit = Emit { name: "noise".to_owned(), content_type: "text/plain".to_owned(), body: vec![b'x'; 10_000] };
    owe(&rig);
    let settling = settle(&rig, lease, Effects { emits: vec![emit], ..Effects::default() });
    tokio::task::yield_now().await;
    assert!(!settling.is_finished(), "it waits");
    assert!(document.upgrade().is_none(), "nobody needs the document any more");
    assert!((10_000..12_000).contains(&used()), "{}", used());
    rig.clock.advance(Duration::from_mins(10));
    assert_eq!((settling.await.unwrap(), used()), (Settled::Committed, 0));
    rig.assert_books_balance().await;
}
