//! The live gate against a real ledger.

use super::*;
use crate::{
    delivery::{AttemptRecord, Settlement},
    egress::{self, Reach, Standing},
    ledger::{self, Finished, Lease, Ledger, Offer, OnceStep, Queue, QueueSet, RunMemory, Settled},
};

fn open(dir: &std::path::Path) -> Ledger {
    let settings = ledger::Settings {
        tenant_settled_bytes_per_s_max: u64::MAX,
        group_items_max: 64,
        group_bytes_max: 1024 * 1024,
        wal_bytes_max: 4 * MIB,
        free_bytes_min: 0,
        body_cache_bytes_max: 1024 * 1024,
        retain_settled: Duration::from_hours(1),
        retain_unstreamed: Duration::from_hours(24),
        retain_dead: Duration::from_hours(1),
        retain_dedup: Duration::from_hours(72),
        ..ledger::Settings::new(dir)
    };
    let ledger = Ledger::open(settings, Clock::system()).unwrap();
    let queue = Queue {
        tenant: TenantId::default_tenant(),
        plugin: "guest".parse().unwrap(),
        concurrency_max: 1,
        run_memory: RunMemory::default(),
    };
    ledger.serve(QueueSet { queues: vec![queue], tenant_concurrency_max: 1 });
    ledger
}

async fn lease(ledger: &Ledger, id: u8) -> Lease {
    let delivery = Delivery { id: DeliveryId::from_bytes([id; 16]), provider_id: id.to_string(), ..delivery(b"{}") };
    let offer = Offer { delivery, legs: vec!["guest".parse().unwrap()], refuse_replays: false, waiting_bytes_max: MIB };
    ledger.offer(offer, Clock::system().instant() + Duration::from_secs(10)).await.unwrap();
    ledger.lease().await.unwrap()
}

async fn settle(ledger: &Ledger, lease: Lease, report: RunReport) -> Settled {
    let record = AttemptRecord {
        attempt: 1,
        started_at: run().started_at,
        duration: report.duration,
        outcome: report.outcome,
        settlement: Settlement::Skip,
        fuel: report.fuel,
        memory_peak_bytes: report.memory_peak_bytes,
        digest: None,
        logs: report.logs,
        host_calls: report.host_calls,
    };
    ledger.settle(lease, Finished { record, effects: report.effects }).await.unwrap()
}

fn live(ledger: &Ledger, lease: &Lease) -> Run {
    let reach = Reach { tenant: TenantId::default_tenant(), asked: Arc::default(), allowed: Arc::default(), installation: None };
    let egress = Egress::new(egress::Settings::default(), Clock::system()).unwrap();
    let reach = Standing::new(move || reach.clone());
    let outside = Outside { ledger: ledger.clone(), egress, reach };
    Run { delivery: Arc::clone(&lease.delivery), gate: Gate::Live(Box::new(outside)), started_at: Clock::system().now(), ..run() }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_live_write_is_seen_by_the_next_run_only_once_it_is_settled() {
    let dir = tempfile::tempdir().unwrap();
    let ledger = open(dir.path());
    let first = lease(&ledger, 1).await;
    let (tenant, plugin) = (TenantId::default_tenant(), "guest".parse().unwrap());
    let report = play("kv-own-writes", live(&ledger, &first)).await;
    assert_eq!(ledger.kv_get(&tenant, &plugin, "count").unwrap(), None);
    assert_eq!(settle(&ledger, first, report).await, Settled::Committed);
    assert_eq!(ledger.kv_get(&tenant, &plugin, "count").unwrap().unwrap().value, b"one");
    ledger.close().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_live_step_is_durable_at_once_and_a_dry_one_never() {
    let dir = tempfile::tempdir().unwrap();
    let ledger = open(dir.path());
    let lease = lease(&ledger, 1).await;
    let leg = lease.leg.clone();
    play("once-twice", Run { gate: Gate::Dry, ..live(&ledger, &lease) }).await;
    play("once-twice", live(&ledger, &lease)).await;
    assert_eq!(ledger.once_begin(&TenantId::default_tenant(), &leg, "step").await.unwrap(), OnceStep::Unknown);
    assert_eq!(ledger.once_begin(&TenantId::default_tenant(), &leg, "other").await.unwrap(), OnceStep::Begun);
    let report = play("once-twice", live(&ledger, &lease)).await;
    assert_eq!(report.host_calls[0].answer, "unknown");
    ledger.close().await;
}
