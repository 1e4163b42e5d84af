//! The embedded engine keeps the queue contract.

use std::sync::Arc;

use hookyard::{
    broker::Embedded,
    clock::Clock,
    delivery::Timestamp,
    ledger::{Ledger, Settings},
};
use system_tests::contract::{Engine, Rule, hold};

#[tokio::test]
async fn the_embedded_engine_keeps_every_rule() {
    for rule in Rule::ALL {
        let dir = tempfile::tempdir().unwrap();
        let clock = Clock::manual(Timestamp::from_unix_ms(1_767_225_600_000));
        let ledger = Ledger::open(Settings { free_bytes_min: 0, ..Settings::new(dir.path()) }, clock.clone()).unwrap();
        let queue = Arc::new(Embedded::new(ledger.clone()));
        hold(&Engine { broker: queue.clone(), dead: queue, clock }, rule).await;
        assert_eq!(ledger.books().await.unwrap().gap, 0, "after {rule:?}");
        ledger.close().await;
    }
}
