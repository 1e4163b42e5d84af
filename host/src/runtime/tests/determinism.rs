//! A run is a function of its inputs.

use super::*;

fn number(report: &RunReport) -> u64 {
    match &report.outcome {
        Outcome::Verdict(Verdict::Skip(digits)) => u64::from_str_radix(digits, 16).unwrap(),
        other => panic!("no number: {other:?}"),
    }
}

#[tokio::test]
async fn an_hours_sleep_is_over_at_once_and_the_guest_believes_it() {
    let report = play("sleep", run()).await;
    assert!(report.duration < Duration::from_secs(5));
    assert_eq!(number(&report), 3_600_000_000_000 + 1_000);
}

#[tokio::test]
async fn what_a_run_wrote_to_its_memory_is_gone_in_the_next() {
    for _ in 0..3 {
        assert_eq!(number(&play("remember", run()).await), 0);
    }
}

#[tokio::test]
async fn the_wall_clock_stands_at_the_recorded_start() {
    assert_eq!(number(&play("wall-clock", run()).await), 1_700_000_001);
}

#[tokio::test]
async fn randomness_follows_from_delivery_plugin_and_attempt() {
    let first = number(&play("random", run()).await);
    assert_eq!(first, number(&play("random", run()).await));
    let other = Delivery { id: DeliveryId::from_bytes([8; 16]), ..delivery(b"{}") };
    for changed in
        [Run { attempt: 2, ..run() }, Run { plugin: "other".parse().unwrap(), ..run() }, Run { delivery: Arc::new(other), ..run() }]
    {
        assert_ne!(first, number(&play("random", changed).await));
    }
}
