//! Readers that stay, beside a writer that does not wait for them. `HOOKYARD_HELD_SECONDS` says for how long (10 by default).

use std::sync::atomic::{AtomicBool, Ordering};

use super::*;

/// Small, so that a log nobody bounds is far beyond it soon.
const WAL_BYTES_MAX: u64 = 4 << 20;
/// A second for the readers in the log, a little for their interruption: it must not take longer than this until it begins anew.
const ANEW_WITHIN_SECONDS: u64 = 5;
/// Between two deliveries: some 200 a second and 10 MiB of log are enough.
const PACE: Duration = Duration::from_millis(4);
const ENDLESS: &str = "WITH RECURSIVE n(i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM n) SELECT max(i) + (SELECT count(*) FROM legs) FROM n";

/// More readers than there are connections, each of which would read for ever, one behind the other: there is always one in the log.
#[tokio::test(flavor = "multi_thread")]
#[expect(clippy::print_stdout, reason = "the figures of the run, for who reads it")]
async fn readers_that_would_stay_are_interrupted_the_log_stays_bounded_and_nobody_waits_at_the_door() {
    let seconds = std::env::var("HOOKYARD_HELD_SECONDS").ok().and_then(|text| text.parse().ok()).unwrap_or(10);
    let (dir, clock, stop) = (tempfile::tempdir().unwrap(), Clock::system(), Arc::new(AtomicBool::new(false)));
    let ledger = Ledger::open(settings(dir.path(), |settings| settings.wal_bytes_max = WAL_BYTES_MAX), clock.clone()).unwrap();
    let mut readers = tokio::task::JoinSet::new();
    for number in 0..6 {
        let (ledger, stop, clock) = (ledger.clone(), Arc::clone(&stop), clock.clone());
        readers.spawn(async move {
            // Not in step, so that one has just begun when another ends.
            clock.sleep(READ_MAX / 6 * number).await;
            let mut interrupted = 0;
            while !stop.load(Ordering::Relaxed) {
                let read = ledger.shared().read(READ_MAX, |conn| conn.query_row(ENDLESS, [], |row| row.get::<_, i64>(0))).await;
                assert!(matches!(read, Err(LedgerError::Interrupted(_))), "{read:?}");
                interrupted += 1;
            }
            interrupted
        });
    }
    let began = clock.instant();
    let (mut took, mut peak, mut last, mut anew, mut number) = (Vec::new(), 0, 0, 0, 0);
    while clock.instant() - began < Duration::from_secs(seconds) {
        let body = format!("{{\"number\":{number},\"noise\":\"{}\"}}", noise());
        let offered = clock.instant();
        ledger.offer(offer_of("default", &format!("guid-{number}"), &body, &["a"]), offered + Duration::from_secs(8)).await.unwrap();
        took.push(clock.instant() - offered);
        let bytes = ledger.log_bytes();
        (peak, anew, last) = (peak.max(bytes), anew + u64::from(bytes < last), bytes);
        number += 1;
        clock.sleep(PACE).await;
    }
    stop.store(true, Ordering::Relaxed);
    let interrupted: u64 = readers.join_all().await.into_iter().sum();
    took.sort_unstable();
    let p99 = took[took.len() * 99 / 100];
    println!(
        "{number} accepted in {seconds} s, p99 {p99:?}, slowest {:?}; {interrupted} reads interrupted; the log had {peak} bytes at most and began anew {anew} times",
        took[took.len() - 1]
    );
    assert!(interrupted >= seconds, "{interrupted}");
    assert!(anew >= seconds / ANEW_WITHIN_SECONDS, "the log began anew {anew} times and grew to {peak} bytes");
    assert!(p99 < Duration::from_secs(1), "{p99:?}");
    assert_eq!(ledger.books().await.unwrap().gap, 0);
    ledger.close().await;
}

/// 16 KiB that hardly not compress.
fn noise() -> String {
    use std::fmt::Write as _;
    let mut text = String::new();
    for _ in 0..512 {
        let _ = write!(text, "{:032x}", fastrand::u128(..));
    }
    text
}
