//! Legs that are given to RabbitMQ and come back.

use super::*;

fn arrival(outbound: &Outbound) -> Arrival {
    Arrival {
        leg: outbound.leg.clone(),
        delivery: Delivery::clone(&outbound.delivery),
        compressed: outbound.compressed.clone(),
        position: outbound.position,
        body_corrupt: false,
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
