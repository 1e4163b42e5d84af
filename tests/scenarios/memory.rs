//! The host's memory beside plugins that take all they may: a real process, real memory, a neighbour that is timed.

use std::{collections::BTreeMap, time::Duration};

use hookyard::{clock::Clock, delivery::DeliveryId};
use system_tests::{
    folder::{Folder, Layout, SECRET},
    guests,
    host::TestHost,
    process::{ProcessHost, Signal},
    sender::Sender,
};

const MIB: u64 = 1 << 20;
/// For all runs together, and for those of one tenant.
const BOUND: u64 = 640 * MIB;
const SHARE: u64 = 560 * MIB;
/// What the plugin asks for, and takes: two such runs are more than the bound.
const GREEDY: u64 = 512 * MIB;
/// What the rest of a host may hold.
const REST: u64 = 192 * MIB;
const NEIGHBOURS: usize = 40;

/// Grows to what it may have and writes to every page of it, then acks.
const GUEST: &str = r#"(func (export "hookyard:plugin/handler@0.1.0#handle") (param $delivery i32) (result i32)
  (local $end i32)
  (block $full
    (loop $more
      (local.set $end (i32.mul (memory.size $memory) (i32.const 65536)))
      (br_if $full (i32.eq (memory.grow $memory (i32.const 16)) (i32.const -1)))
      (memory.fill $memory (local.get $end) (i32.const 7) (i32.const 1048576))
      (br $more)))
  (call $ack))"#;

/// How long the delivery in the middle waited for its run.
async fn middle_wait(host: &TestHost, ids: &[DeliveryId]) -> Duration {
    let mut waits = Vec::new();
    for &id in ids {
        let view = host.settled(id).await;
        waits.push(view.legs[0].history[0].started_at.since(view.received_at));
    }
    waits.sort();
    waits[waits.len() / 2]
}

async fn post(sender: &Sender, count: usize) -> Vec<DeliveryId> {
    let mut ids = Vec::new();
    for _ in 0..count {
        ids.push(sender.post("push", format!("{{\"n\":\"{:032x}\"}}", fastrand::u128(..))).await.accepted());
    }
    ids
}

#[tokio::test(flavor = "multi_thread")]
#[expect(clippy::print_stdout, reason = "the figures of the run, for who reads it")]
async fn runs_that_take_all_the_memory_they_may_have_end_neither_the_host_nor_a_neighbours_patience() {
    let manifest = |limits: &str| format!("sources = [\"github\"]\nevents = [\"*\"]\n{limits}");
    let greedy = manifest(&format!("[limits]\nmemory_bytes_max = {GREEDY}\nfuel = 50000000000\nwall_ms = 60000\n"));
    let plugins = BTreeMap::from([
        (("default".to_owned(), "greedy".to_owned()), (guests::encode(GUEST), greedy)),
        (("other".to_owned(), "neighbour".to_owned()), (guests::component("ack"), manifest("[limits]\nmemory_bytes_max = 1048576\n"))),
    ]);
    let hookyard_toml = format!("[shares]\nrun_memory_bytes_max = {BOUND}\ntenant_run_memory_bytes_max = {SHARE}\n");
    let folder = Folder::lay(&Layout { hookyard_toml, plugins, ..Layout::default() });
    let host = ProcessHost::start(&folder);
    let (greedy, neighbour) = (Sender::new(host.ingest, "default", "github", SECRET), Sender::new(host.ingest, "other", "github", SECRET));
    let alone = post(&neighbour, NEIGHBOURS).await;
    let hungry = post(&greedy, 12).await;
    let beside = post(&neighbour, NEIGHBOURS).await;
    let has_ended = |line: &&str| line.contains("attempt_finished") && line.contains("greedy");
    while host.log().lines().filter(has_ended).count() < hungry.len() {
        // Looks ten times a second, so as to leave the processors to the host.
        tokio::time::timeout(Duration::from_millis(100), std::future::pending::<()>()).await.unwrap_err();
    }
    let peak = host.peak_rss_bytes();
    host.signal(Signal::TERM);
    host.ended();

    let host = TestHost::start_on(folder, Clock::system()).await;
    let (alone, beside) = (middle_wait(&host, &alone).await, middle_wait(&host, &beside).await);
    for id in hungry {
        let leg = host.settled(id).await.legs.remove(0);
        assert_eq!((leg.outcome.as_deref(), leg.attempts), (Some("ack"), 1), "{leg:?}");
    }
    println!(
        "12 runs of {} MiB each: the host peaked at {} MiB; a neighbour waited {alone:?} before them, {beside:?} beside them",
        GREEDY / MIB,
        peak / MIB
    );
    assert!(peak < BOUND + REST, "{} MiB", peak / MIB);
    assert!(beside < alone + Duration::from_millis(250), "{alone:?} alone, {beside:?} beside them");
}
