//! What facts count, log and show.

mod lines;

use std::time::Duration;

use super::{
    facts::{
        AdminTokenRefused, AttemptFinished, DeliveryAccepted, DeliveryDuplicate, DeliveryRefused, HostCallTally, MessageRejected,
        PluginBreaker, PluginRefused, PluginRemoved, PluginRolledBack, PluginSwapped, SettingsReloaded, SettlementVoid, StreamConnected,
        StreamFailed, StreamPublished, UpstreamCircuit,
    },
    *,
};
use crate::{
    delivery::{
        DeliveryId, Destination, Digest, LegId, PluginName, StreamName, TenantId,
        view::{QueueView, StreamView},
    },
    ledger::Refund,
    shares::{Holder, Limit, Limits, Machine, Resource, Shares},
};

fn tenant() -> TenantId {
    "acme".parse().unwrap()
}

fn plugin() -> PluginName {
    "triage".parse().unwrap()
}

fn leg() -> LegId {
    LegId { delivery: DeliveryId::from_bytes([7; 16]), plugin: plugin() }
}

fn digest(version: u32) -> Digest {
    Digest::of(&[&version.to_le_bytes()])
}

fn finished() -> AttemptFinished {
    AttemptFinished {
        leg: leg(),
        tenant: tenant(),
        source: "github".parse().unwrap(),
        event: "push".into(),
        attempt: 2,
        outcome: "ack",
        detail: "all\u{1b}[31m well\n".into(),
        settlement: "ack",
        digest: Some(digest(1)),
        fuel: 250_000,
        memory_peak_bytes: 65_536,
        took: Duration::from_micros(1500),
        age: Some(Duration::from_millis(20)),
        host_calls: vec![HostCallTally { call: "kv.get".into(), result: "ok", count: 3 }],
    }
}

fn refused() -> DeliveryRefused {
    DeliveryRefused {
        code: "signature_mismatch",
        tenant: None,
        source: None,
        path: "/webhooks/github".into(),
        client: [203, 0, 113, 7].into(),
        provider_id: None,
        took: Duration::from_micros(90),
    }
}

fn swapped(version: u32) -> PluginSwapped {
    PluginSwapped { tenant: tenant(), plugin: plugin(), digest: digest(version), before: None, took: Duration::from_millis(50) }
}

fn removed() -> PluginRemoved {
    PluginRemoved { tenant: tenant(), plugin: plugin() }
}

fn state_everything(observer: &Observer) {
    let (id, source) = (leg().delivery, "github".parse().unwrap());
    let accepted = DeliveryAccepted {
        id,
        provider_id: "72d3162e".into(),
        tenant: tenant(),
        source,
        event: "push".into(),
        legs: 1,
        took: Duration::from_millis(3),
    };
    observer.record(&DeliveryDuplicate { id, tenant: tenant(), source: accepted.source.clone(), took: accepted.took });
    observer.record(&accepted);
    observer.relayed("confirmed");
    observer.admin_refused("token_invalid");
    observer.record(&MessageRejected { reason: "unsealed", queue: "q".to_owned(), bytes: 1, detail: "it has no seal".to_owned() });
    observer.broker_blocked(true);
    observer.record(&refused());
    observer.record(&finished());
    observer.record(&SettlementVoid { leg: leg(), tenant: tenant(), attempt: 1, cause: "stale", detail: String::new() });
    observer.record(&removed());
    observer.record(&PluginRolledBack {
        tenant: tenant(),
        plugin: plugin(),
        from: Some(digest(2)),
        to: digest(1),
        cause: "watch",
        reason: String::new(),
        refund: Refund { requeued: 1, refunded: 2 },
    });
    observer.record(&AdminTokenRefused { address: [203, 0, 113, 7].into() });
    observer.record(&swapped(1));
    observer.record(&PluginRefused { tenant: tenant(), plugin: plugin(), code: "too_large", reason: "too large".into() });
    observer.record(&PluginBreaker { tenant: tenant(), plugin: plugin(), digest: Digest::of(&[b"1"]), state: "open", faults: 20 });
    let destination = Destination::server("api.example".to_owned());
    observer.record(&UpstreamCircuit { tenant: tenant(), destination, state: "open" });
    observer.record(&SettingsReloaded::default());
    observer.record(&StreamConnected { stream: stream(), position: 1 });
    observer.record(&StreamPublished { stream: stream(), published: 3, refused: 1, position: 4 });
    observer.record(&StreamFailed { stream: stream(), detail: "gone".to_owned() });
}

fn scrape() -> Scrape {
    let (tenant, plugin) = (tenant(), plugin());
    let stream = StreamView {
        name: stream(),
        kind: Some("redis".to_owned()),
        follows: "deliveries".to_owned(),
        connected: true,
        failure: None,
        position: 5,
        lag: 6,
        published: 5,
        gap: 7,
    };
    Scrape {
        queues: Some(vec![QueueView { tenant, plugin, waiting: 4, leased: 3, retry: 2, parked: 1, relayed: 5, dead: 9 }]),
        books_gap: Some(0),
        ledger_log_bytes: 16_384,
        streams: vec![stream],
        broken: vec![(self::tenant(), self::plugin())],
        oldest_parked: vec![(self::tenant(), self::plugin(), Duration::from_mins(1))],
        relay_lag: 5,
        shares: shares(),
    }
}

/// A table of which acme uses 4 KiB of run memory.
fn shares() -> Shares {
    let mut limits = Limits::of(Machine { memory_bytes: 1 << 30, cores: 2 });
    limits.set(Resource::RunMemory, Limit::new(8192, 6144));
    limits.give(Resource::RunMemory, tenant(), 5000);
    let shares = Shares::new(&limits);
    shares.pool(Resource::RunMemory).set(&Holder::Tenant(tenant()), 4096);
    shares
}

fn stream() -> StreamName {
    "redis".parse().unwrap()
}

/// The families of a text, with their types.
fn families(text: &str) -> Vec<(String, String)> {
    let types = text.lines().filter_map(|line| line.strip_prefix("# TYPE "));
    types.map(|line| line.split_once(' ').unwrap()).map(|(name, kind)| (name.to_owned(), kind.to_owned())).collect()
}

fn assert_has(text: &str, line: &str) {
    assert!(text.lines().any(|found| found == line), "expected the line\n{line}\nin\n{text}");
}

#[test]
fn every_fact_moves_its_metrics() {
    let observer = Observer::default();
    state_everything(&observer);
    let text = observer.encode(&scrape());
    for line in [
        r#"hookyard_deliveries_total{tenant="acme",source="github",code="accepted"} 1"#,
        r#"hookyard_deliveries_total{tenant="acme",source="github",code="duplicate"} 1"#,
        r#"hookyard_deliveries_total{tenant="unknown",source="unknown",code="signature_mismatch"} 1"#,
        "hookyard_accept_duration_seconds_count 2",
        r#"hookyard_attempts_total{tenant="acme",plugin="triage",outcome="ack",settlement="ack"} 1"#,
        r#"hookyard_attempt_duration_seconds_bucket{le="0.0025",tenant="acme",plugin="triage"} 1"#,
        r#"hookyard_attempt_duration_seconds_bucket{le="0.001",tenant="acme",plugin="triage"} 0"#,
        r#"hookyard_attempt_fuel_sum{tenant="acme",plugin="triage"} 250000.0"#,
        r#"hookyard_event_age_seconds_sum{tenant="acme",plugin="triage"} 0.02"#,
        r#"hookyard_queue_depth{tenant="acme",plugin="triage",state="waiting"} 4"#,
        r#"hookyard_queue_depth{tenant="acme",plugin="triage",state="parked"} 1"#,
        r#"hookyard_dead_letters{tenant="acme",plugin="triage"} 9"#,
        r#"hookyard_plugin_swaps_total{result="swapped"} 1"#,
        r#"hookyard_plugin_swaps_total{result="refused"} 1"#,
        r#"hookyard_host_calls_total{call="kv.get",result="ok"} 3"#,
        r#"hookyard_settlements_void_total{result="stale"} 1"#,
        r#"hookyard_settings_reloads_total{result="taken"} 1"#,
        r#"hookyard_admin_refused_total{result="token_invalid"} 1"#,
        r#"hookyard_stream_published_total{stream="redis"} 3"#,
        r#"hookyard_stream_refused_total{stream="redis"} 1"#,
        r#"hookyard_stream_failures_total{stream="redis"} 1"#,
        r#"hookyard_stream_connected{stream="redis"} 1"#,
        r#"hookyard_stream_lag{stream="redis"} 6"#,
        r#"hookyard_stream_gap{stream="redis"} 7"#,
        "hookyard_broker_connected 1",
        "hookyard_broker_blocked 1",
        r#"hookyard_relay_messages_total{result="confirmed"} 1"#,
        r#"hookyard_messages_rejected_total{reason="unsealed"} 1"#,
        "hookyard_relay_lag 5",
        "hookyard_books_gap 0",
        "hookyard_ledger_log_bytes 16384",
        r#"hookyard_share_used{resource="run_memory",tenant="acme"} 4096"#,
        r#"hookyard_share_bound{resource="run_memory"} 8192"#,
        r#"hookyard_share_max{resource="run_memory"} 6144"#,
        r#"hookyard_share_max{resource="run_memory",tenant="acme"} 5000"#,
    ] {
        assert_has(&text, line);
    }
}

#[test]
fn a_run_that_was_not_made_is_counted_but_has_no_duration_and_no_fuel() {
    let observer = Observer::default();
    observer.record(&AttemptFinished { digest: None, age: None, ..finished() });
    let text = observer.encode(&Scrape::default());
    assert!(text.contains("hookyard_attempts_total{"));
    assert!(!text.contains("attempt_duration_seconds_count"));
    assert!(!text.contains("attempt_fuel_count"));
    assert!(!text.contains("event_age_seconds_count"));
}

#[test]
fn the_text_follows_the_rules_of_openmetrics() {
    let observer = Observer::default();
    state_everything(&observer);
    let text = observer.encode(&scrape());
    assert!(text.ends_with("# EOF\n"));
    for (name, kind) in families(&text) {
        assert!(name.starts_with("hookyard_"), "{name}");
        assert!(text.contains(&format!("# HELP {name} ")), "{name} has no help");
        assert!(!name.ends_with("_total"), "{name}: the suffix belongs to the sample, not to the family");
        let has_samples = |suffix: &str| text.lines().any(|line| line.starts_with(&format!("{name}{suffix}")) && !line.starts_with('#'));
        match kind.as_str() {
            "counter" => assert!(has_samples("_total"), "{name}"),
            "histogram" => assert!(has_samples("_bucket") && has_samples("_sum") && has_samples("_count"), "{name}"),
            other => assert!(other == "gauge" && has_samples(""), "{name} is a {other}"),
        }
    }
}

#[test]
fn every_metric_stands_in_the_document_and_every_row_is_a_metric() {
    let observer = Observer::default();
    state_everything(&observer);
    let samples: BTreeMap<String, String> = families(&observer.encode(&scrape()))
        .into_iter()
        .map(|(name, kind)| (if kind == "counter" { format!("{name}_total") } else { name }, kind))
        .collect();
    let document = include_str!("../../../docs/metrics.md");
    let rows: BTreeMap<String, String> = document
        .lines()
        .filter_map(|line| line.strip_prefix("| `hookyard_"))
        .map(|row| {
            let mut cells = row.split('|').map(|cell| cell.trim().trim_end_matches('`'));
            (format!("hookyard_{}", cells.next().unwrap()), cells.next().unwrap().to_owned())
        })
        .collect();
    assert_eq!(rows, samples, "left: docs/metrics.md, right: the registry");
}

#[test]
fn a_queue_that_is_gone_leaves_no_gauge_behind_and_a_silent_broker_shows() {
    let observer = Observer::default();
    assert!(observer.encode(&scrape()).contains("hookyard_queue_depth{"));
    let text = observer.encode(&Scrape::default());
    assert!(!text.contains("hookyard_queue_depth{") && !text.contains("hookyard_dead_letters{"));
    assert_has(&text, "hookyard_broker_connected 0");
}

#[test]
fn two_hundred_swaps_leave_one_series_and_a_removal_none() {
    let observer = Observer::default();
    let series = || observer.encode(&Scrape::default()).lines().filter(|line| line.starts_with("hookyard_plugin_info{")).count();
    (0..200).for_each(|version| observer.record(&swapped(version)));
    assert_eq!(series(), 1);
    observer.record(&removed());
    assert_eq!(series(), 0);
}

#[test]
fn the_same_version_again_keeps_its_series() {
    let observer = Observer::default();
    observer.record(&swapped(1));
    observer.record(&swapped(1));
    assert!(observer.encode(&Scrape::default()).contains("hookyard_plugin_info{"));
}

#[test]
fn more_series_than_the_bound_are_refused_and_counted() {
    let metrics = Metrics::default();
    for number in 0..SERIES_MAX + 5 {
        metrics.host_calls(&format!("call-{number}"), "ok", 1);
    }
    metrics.host_calls("call-0", "ok", 1);
    let text = metrics.encode(&Scrape::default());
    assert_eq!(text.lines().filter(|line| line.starts_with("hookyard_host_calls_total{")).count(), SERIES_MAX);
    assert_has(&text, "hookyard_series_refused_total 5");
    assert_has(&text, r#"hookyard_host_calls_total{call="call-0",result="ok"} 2"#);
}
