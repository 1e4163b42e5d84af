//! Legs that are given to RabbitMQ and come back.

use super::*;

fn arrival(outbound: &Outbound) -> Arrival {
    Arrival {
        leg: outbound.leg.clone(),
        delivery: Delivery::clone(&outbound.delivery),
        compressed: outbound.compressed.clone(),
        position: outbound.position,
    }
}

/// What has arrived and has no room in memory is read from the disk when its turn comes.
#[tokio::test]
async fn a_leg_that_came_with_a_document_too_large_to_be_kept_in_memory_runs_all_the_same() {
    for body_cache_bytes_max in [0, 64 << 20] {
        let rig = Rig::with(|settings| settings.body_cache_bytes_max = body_cache_bytes_max);
        rig.ledger.relay(RelayScope { all: true, outcomes_elsewhere: false });
        rig.accept(1, &["a"]).await;
        let outbound = rig.ledger.next_outbound().await.unwrap();
        rig.ledger.relayed(vec![outbound.mark()]).await.unwrap();
        assert_eq!(rig.ledger.arrive(arrival(&outbound)).await.unwrap(), Arrived::Ready);
        assert_eq!(rig.ledger.arrive(arrival(&outbound)).await.unwrap(), Arrived::AlreadyHere);
        let lease = rig.lease().await;
        assert_eq!((&lease.delivery.document, lease.attempt), (&outbound.delivery.document, 1));
        rig.settle(&lease, Settlement::Ack, Effects::default()).await;
        rig.assert_books_balance().await;
    }
}

/// The message comes before its confirm is marked, and the connections are lost before its run: it is counted as RabbitMQ's only once.
#[tokio::test]
async fn a_leg_that_came_before_its_confirm_and_went_with_its_connection_is_counted_once() {
    let rig = Rig::new();
    rig.ledger.relay(RelayScope { all: true, outcomes_elsewhere: false });
    rig.accept(1, &["a"]).await;
    let outbound = rig.ledger.next_outbound().await.unwrap();
    assert_eq!(rig.ledger.arrive(arrival(&outbound)).await.unwrap(), Arrived::Ready);
    rig.ledger.not_relayed(&outbound, None);
    assert!(rig.ledger.retract(&outbound.leg).await.unwrap());
    assert_eq!(rig.ledger.queues().await.unwrap()[0].relayed, 1);
    assert_eq!(rig.ledger.arrive(arrival(&outbound)).await.unwrap(), Arrived::Ready);
    assert_eq!(rig.ledger.queues().await.unwrap()[0].relayed, 0);
    rig.run(Settlement::Ack).await;
    rig.assert_books_balance().await;
}
