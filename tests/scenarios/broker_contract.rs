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

#[tokio::test(flavor = "multi_thread")]
async fn the_rabbitmq_engine_keeps_every_rule() {
    for rule in Rule::ALL {
        let Some(vhost) = system_tests::rabbit::vhost() else { return };
        let clock = Clock::manual(Timestamp::from_unix_ms(1_767_225_600_000));
        // A manual clock moves no broker's: the waits are the ledger's. `rabbitmq.rs` has those of RabbitMQ.
        let settings = hookyard::broker::amqp::Settings { retries_in_ledger: true, ..system_tests::amqp::settings(vhost.url()) };
        let node = system_tests::amqp::Node::start(settings, clock).await;
        let held = tokio::time::timeout(system_tests::amqp::PATIENCE, hold(&node.as_engine(), rule)).await;
        assert!(held.is_ok(), "{rule:?} was not held in time");
        node.stop().await;
    }
}
