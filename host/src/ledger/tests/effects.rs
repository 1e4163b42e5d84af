//! What is committed with a settlement, or not at all.

use super::*;

fn write(key: &str, value: &[u8]) -> KvWrite {
    KvWrite { key: key.to_owned(), value: Some(value.to_vec()), expires_at: None }
}

fn read(key: &str, version: u64) -> KvRead {
    KvRead { key: key.to_owned(), version }
}

impl Rig {
    fn kv(&self, key: &str) -> Option<KvValue> {
        self.ledger.kv_get(&tenant("default"), &plugin("a"), key).unwrap()
    }

    async fn ack_with(&self, number: u32, effects: Effects) -> Settled {
        self.accept(number, &["a"]).await;
        let lease = self.lease().await;
        self.settle(&lease, Settlement::Ack, effects).await
    }
}

#[tokio::test]
async fn of_two_runs_that_read_the_same_version_one_commits_and_the_other_runs_again_uncounted() {
    let rig = Rig::new();
    rig.accept(1, &["a"]).await;
    rig.accept(2, &["a"]).await;
    let (first, second) = (rig.lease().await, rig.lease().await);
    let effects = |value: u8| Effects { kv_reads: vec![read("stars", 0)], kv_writes: vec![write("stars", &[value])], emits: vec![] };
    assert_eq!(rig.settle(&first, Settlement::Ack, effects(1)).await, Settled::Committed);
    assert_eq!(rig.settle(&second, Settlement::Ack, effects(1)).await, Settled::Conflict);
    let again = rig.lease().await;
    assert_eq!((again.leg.clone(), again.attempt), (second.leg.clone(), 1));
    let stored = rig.kv("stars").unwrap();
    let next = Effects { kv_reads: vec![read("stars", stored.version)], kv_writes: vec![write("stars", &[2])], emits: vec![] };
    assert_eq!(rig.settle(&again, Settlement::Ack, next).await, Settled::Committed);
    assert_eq!(rig.kv("stars").unwrap().value, [2]);
    assert!(rig.kv("stars").unwrap().version > stored.version);
    rig.assert_books_balance().await;
}

#[tokio::test]
async fn a_version_is_not_given_again_after_a_removal_and_values_expire() {
    let rig = Rig::new();
    let expires_at = Some(START.after(Duration::from_secs(10)));
    rig.ack_with(1, Effects { kv_writes: vec![KvWrite { expires_at, ..write("k", b"1") }], ..Effects::default() }).await;
    let first = rig.kv("k").unwrap();
    let removal = KvWrite { value: None, ..write("k", b"") };
    rig.ack_with(2, Effects { kv_writes: vec![removal], ..Effects::default() }).await;
    assert_eq!(rig.kv("k"), None);
    rig.ack_with(3, Effects { kv_writes: vec![KvWrite { expires_at, ..write("k", b"2") }], ..Effects::default() }).await;
    assert!(rig.kv("k").unwrap().version > first.version);
    rig.clock.advance(Duration::from_secs(10));
    assert_eq!(rig.kv("k"), None);
    assert_eq!(rig.ack_with(4, Effects { kv_reads: vec![read("k", 0)], ..Effects::default() }).await, Settled::Committed);
}

#[tokio::test]
async fn values_over_the_quota_drop_the_effects_and_count_as_a_failed_attempt() {
    let rig = Rig::new();
    let big = vec![0; 9 * 1024 * 1024];
    assert_eq!(rig.ack_with(1, Effects { kv_writes: vec![write("x", &big)], ..Effects::default() }).await, Settled::Committed);
    let emits = vec![Emit { name: "n".to_owned(), content_type: "text/plain".to_owned(), body: vec![] }];
    let effects = Effects { kv_writes: vec![write("y", &big)], emits, kv_reads: vec![] };
    assert_eq!(rig.ack_with(2, effects).await, Settled::Committed);
    assert_eq!(rig.kv("y"), None);
    assert!(rig.ledger.emits(None, None, None, 10).await.unwrap().items.is_empty());
    let view = &rig.ledger.by_provider_id("guid-2").await.unwrap()[0].legs[0];
    assert_eq!((view.state, view.attempts, view.outcome.as_deref()), (LegState::Retry, 1, Some("denied")));
    let replaced = Effects { kv_writes: vec![write("x", b"small"), write("y", &big)], ..Effects::default() };
    rig.ack_with(3, replaced).await;
    assert!(rig.kv("y").is_some());
    rig.assert_books_balance().await;
}

#[tokio::test]
async fn an_emit_has_the_same_id_for_the_same_decision_and_another_one_for_a_rerun() {
    let rig = Rig::new();
    let emit = || Emit { name: "star".to_owned(), content_type: "text/plain".to_owned(), body: b"hello".to_vec() };
    let effects = || Effects { emits: vec![emit(), emit()], ..Effects::default() };
    let id = rig.accept(1, &["a"]).await;
    let lease = rig.lease().await;
    rig.settle(&lease, Settlement::Ack, effects()).await;
    rig.ledger.rerun(&tenant("default"), &leg(id, "a"), true).await.unwrap();
    let lease = rig.lease().await;
    rig.settle(&lease, Settlement::Ack, effects()).await;
    let first = rig.ledger.emits(Some(tenant("default")), None, None, 3).await.unwrap();
    let rest = rig.ledger.emits(None, Some(plugin("a")), first.next_cursor, 3).await.unwrap();
    let ids: Vec<_> = first.items.iter().chain(&rest.items).map(|emit| emit.id.clone()).collect();
    assert_eq!(ids, ["g1.1", "g1.0", "1", "0"].map(|end| format!("{id}.a.{end}")));
    assert_eq!(rest.next_cursor, None);
}

#[tokio::test]
async fn a_step_is_begun_once_and_answers_what_it_answered() {
    let rig = Rig::new();
    let id = rig.accept(1, &["a"]).await;
    let leg = leg(id, "a");
    assert!(rig.ledger.once_finish(&TenantId::default_tenant(), &leg, "mail", vec![]).await.is_err());
    assert_eq!(rig.ledger.once_begin(&TenantId::default_tenant(), &leg, "mail").await.unwrap(), OnceStep::Begun);
    assert_eq!(rig.ledger.once_begin(&TenantId::default_tenant(), &leg, "mail").await.unwrap(), OnceStep::Unknown);
    rig.ledger.once_finish(&TenantId::default_tenant(), &leg, "mail", b"sent".to_vec()).await.unwrap();
    rig.run(DEAD).await;
    rig.offer(offer(1, &["a"])).await.unwrap();
    let restarted = rig.after_crash();
    assert_eq!(restarted.ledger.once_begin(&TenantId::default_tenant(), &leg, "mail").await.unwrap(), OnceStep::Done(b"sent".to_vec()));
    for step in 1..64 {
        assert_eq!(rig.ledger.once_begin(&TenantId::default_tenant(), &leg, &step.to_string()).await.unwrap(), OnceStep::Begun);
    }
    assert_eq!(rig.ledger.once_begin(&TenantId::default_tenant(), &leg, "one too many").await.unwrap(), OnceStep::QuotaExceeded);
    assert!(rig.ledger.once_begin(&TenantId::default_tenant(), &self::leg(id, "b"), "mail").await.is_err());
}

/// What one tenant's runs leave behind costs its own time; a neighbour's settlement and everybody's deliveries are committed meanwhile.
#[tokio::test]
async fn a_tenant_over_its_budget_of_bytes_waits_and_nobody_else() {
    let rig = Rig::with(|settings| settings.tenant_settled_bytes_per_s_max = 64 * 1024);
    rig.accept(1, &["a", "b"]).await;
    rig.offer(offer_of("other", "guid-2", "{}", &["a"])).await.unwrap();
    let noise = |tenant: &str| {
        let bytes = if tenant == "default" { 128 * 1024 } else { 10 };
        let emit = Emit { name: "noise".to_owned(), content_type: "text/plain".to_owned(), body: vec![b'x'; bytes] };
        Effects { emits: vec![emit], ..Effects::default() }
    };
    let mut waiting = tokio::task::JoinSet::new();
    for _ in 0..3 {
        let lease = rig.lease().await;
        let effects = noise(lease.delivery.tenant.as_str());
        let (ledger, finished) = (rig.ledger.clone(), finished(&lease, Settlement::Ack, effects));
        waiting.spawn(async move { ledger.settle(lease, finished).await.unwrap() });
    }
    // The first of the noisy tenant and the neighbour's; the second noisy one owes three seconds and a bit.
    for _ in 0..2 {
        assert_eq!(waiting.join_next().await.unwrap().unwrap(), Settled::Committed);
    }
    rig.accept(3, &[]).await;
    rig.clock.advance(Duration::from_millis(2900));
    rig.accept(4, &[]).await;
    assert!(waiting.try_join_next().is_none());
    rig.clock.advance(Duration::from_millis(200));
    assert_eq!(waiting.join_next().await.unwrap().unwrap(), Settled::Committed);
    rig.assert_books_balance().await;
}
