//! The host's memory, taken before a run.

use std::{pin::pin, task::Poll};

use super::*;
use crate::shares::{Limit, Limits, Machine, Usage};

fn shares(bound: u64, share: u64) -> Shares {
    let mut limits = Limits::of(Machine::here());
    limits.set(Resource::RunMemory, Limit::new(bound, share));
    Shares::new(&limits)
}

/// What one run of these tests takes.
fn one() -> u64 {
    run_memory(&budget()).of(2)
}

fn used(shares: &Shares) -> u64 {
    shares.usage().into_iter().map(|Usage { used, .. }| used).sum()
}

#[tokio::test]
async fn the_memory_of_all_runs_is_never_above_the_bound_and_nothing_is_left_of_it_afterwards() {
    let shares = shares(2 * one(), 2 * one());
    let runtime = Runtime::new(Settings { shares: shares.clone(), ..settings() }).unwrap();
    let component = runtime.admit(guests::component("loop").into(), &[]).await.unwrap();
    let mut all: Vec<_> = (0..6).map(|_| Box::pin(runtime.invoke(&component, Run { budget: budget(), ..run() }))).collect();
    let mut most = 0;
    std::future::poll_fn(|context| {
        all.retain_mut(|run| run.as_mut().poll(context).is_pending());
        most = most.max(used(&shares));
        if all.is_empty() { Poll::Ready(()) } else { Poll::Pending }
    })
    .await;
    assert_eq!((most, used(&shares)), (2 * one(), 0));
}

#[tokio::test]
async fn a_run_waits_for_its_memory_outside_its_own_time() {
    let shares = shares(one(), one());
    let runtime = Runtime::new(Settings { shares: shares.clone(), ..settings() }).unwrap();
    let component = runtime.admit(guests::component("validate").into(), &[]).await.unwrap();
    let held = shares.pool(Resource::RunMemory).try_take(&Holder::Host, 1).unwrap();
    let brief = || Run { budget: Budget { wall: Duration::from_millis(700), ..budget() }, ..run() };
    let (mut waits, mut asks) = (pin!(runtime.invoke(&component, brief())), pin!(runtime.validate_config(&component, brief())));
    // Longer than the run may take.
    let early = tokio::time::timeout(Duration::from_secs(1), async { tokio::join!(waits.as_mut(), asks.as_mut()) }).await;
    assert!(early.is_err(), "there is no memory for either");
    drop(held);
    let (report, answer) = tokio::join!(waits, asks);
    assert_eq!(report.outcome.slug(), "ack");
    assert!(!answer.is_err_and(|error| error.contains("did not come to its end")));
}

#[tokio::test]
async fn what_was_taken_for_a_run_before_counts_and_is_made_to_fit() {
    let shares = shares(2 * one(), 2 * one());
    let runtime = Runtime::new(Settings { shares: shares.clone(), ..settings() }).unwrap();
    let component = runtime.admit(guests::component("ack").into(), &[]).await.unwrap();
    let tenant = Holder::tenant(&TenantId::default_tenant());
    for taken in [one() / 2, one(), 2 * one()] {
        let held = shares.pool(Resource::RunMemory).try_take(&tenant, taken).unwrap();
        let (report, _) = runtime.invoke_with(Some(held), &component, run()).await;
        assert_eq!((report.outcome.slug(), report.memory_bytes_max), ("ack", 64 * MIB + 16), "with {taken} taken before");
        assert_eq!(used(&shares), 0);
    }
}

#[tokio::test]
async fn a_run_gets_at_most_its_tenants_share_and_a_manifest_that_asks_for_more_is_refused_in_words() {
    let shares = shares(40 * MIB, 24 * MIB);
    let runtime = Runtime::new(Settings { shares, ..settings() }).unwrap();
    let component = runtime.admit(guests::component("memory-bomb").into(), &[]).await.unwrap();
    let report = runtime.invoke(&component, run()).await;
    assert_eq!(report.outcome.slug(), "out_of_memory");
    assert!(report.memory_peak_bytes <= 16 * MIB && report.memory_bytes_max <= 16 * MIB, "{report:?}");
    let refused = runtime.check_memory(&"red".parse().unwrap(), &budget()).unwrap_err();
    assert_eq!(refused.code, "needs_too_much");
    for words in ["comes to 64 MiB", "8 MiB beside", "24 MiB together", "at most 16 MiB", "tenant_run_memory_bytes_max"] {
        assert!(refused.detail.contains(words), "{words}: {}", refused.detail);
    }
    runtime.check_memory(&"red".parse().unwrap(), &Budget { memory_bytes_max: 16 * MIB, ..budget() }).unwrap();
}
