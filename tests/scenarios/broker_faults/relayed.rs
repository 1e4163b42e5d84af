//! The connection to the broker fails at the worst moments: the message is stored and the host never hears it, the leg is settled and the broker
//! never hears it.

use std::time::Duration;

use hookyard::delivery::LegState;
use system_tests::{
    host::TestHost,
    rabbit::{self, Queue},
    relay::{Fault, Moment, Relay},
    sender::Post,
};

use super::desk::{all_acked, fresh_document, send, taken, taken_at_last, two_plugins};

/// Beyond this the fault was never struck: the host publishes, hears confirms and acknowledges all the time.
const STRUCK_MAX: Duration = Duration::from_secs(30);

const MOMENTS: [(&str, Moment); 3] = [
    ("between publish and confirm", Moment::BEFORE_CONFIRM),
    ("in the middle of a message", Moment::AMID_PUBLISH),
    ("between settlement and acknowledgement", Moment::BEFORE_ACK),
];

/// A host behind a relay to the shared broker.
async fn relayed() -> Option<(TestHost, Relay, rabbit::Vhost)> {
    let vhost = rabbit::vhost()?;
    let relay = Relay::to(vhost.port()).await;
    let host = two_plugins(Queue::at(relay.url(vhost.name()))).start().await;
    let ids = send(&host.sender(), 5).await;
    all_acked(&host, &ids, 2).await;
    Some((host, relay, vhost))
}

/// Strikes at each moment once, under way; everything is settled, and what was settled before the fault does not run again for its sake.
async fn strikes(fault: Fault) {
    let Some((host, relay, _vhost)) = relayed().await else { return };
    for (words, moment) in MOMENTS {
        for after in [0, 3] {
            let mut sprung = relay.strike_at(moment.after(after), fault);
            let mut ids = Vec::new();
            // One frame may confirm many messages, so it takes as many as it takes.
            let striking = async {
                while sprung.try_recv().is_err() {
                    ids.extend(send(&host.sender(), 20).await);
                }
            };
            tokio::time::timeout(STRUCK_MAX, striking).await.unwrap_or_else(|_| panic!("no frame {words}"));
            all_acked(&host, &ids, 2).await;
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_connection_that_is_cut_costs_nothing() {
    strikes(Fault::Cut).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_connection_that_is_reset_costs_nothing() {
    strikes(Fault::Reset).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_connection_that_is_closed_one_way_costs_nothing() {
    strikes(Fault::HalfClose).await;
}

/// No end and no reset, as behind a router that has forgotten the connection: only heartbeats and patience tell.
#[tokio::test(flavor = "multi_thread")]
async fn a_connection_that_falls_silent_is_noticed() {
    let Some((host, relay, _vhost)) = relayed().await else { return };
    let sprung = relay.strike_at(Moment::BEFORE_CONFIRM, Fault::Stall);
    let ids = send(&host.sender(), 20).await;
    tokio::time::timeout(STRUCK_MAX, sprung).await.expect("a confirm comes").expect("the relay is there");
    all_acked(&host, &ids, 2).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_slow_connection_is_slow_and_nothing_else() {
    let Some((host, relay, _vhost)) = relayed().await else { return };
    relay.delay(Duration::from_millis(20));
    let ids = send(&host.sender(), 10).await;
    assert_eq!(all_acked(&host, &ids, 2).await, 0, "nobody takes slow for gone");
}

/// The run is done and recorded, and the broker hands the leg out again: it is acknowledged unrun.
#[tokio::test(flavor = "multi_thread")]
async fn a_settled_leg_whose_acknowledgement_was_lost_does_not_run_again() {
    let Some((host, relay, _vhost)) = relayed().await else { return };
    let before = host.emits().await.len();
    for _ in 0..10 {
        let sprung = relay.strike_at(Moment::BEFORE_ACK, Fault::Cut);
        let ids = send(&host.sender(), 1).await;
        tokio::time::timeout(STRUCK_MAX, sprung).await.expect("a leg is acknowledged").expect("the relay is there");
        all_acked(&host, &ids, 2).await;
        let view = host.delivery(ids[0]).await;
        assert!(view.legs.iter().all(|leg| leg.state == LegState::Acked && leg.attempts == 1), "{view:?}");
    }
    assert_eq!(host.emits().await.len(), before + 10, "each delivery was handled once");
}

/// The broker has it and the host does not know: the sender hears 503 and calls again, and that is the same delivery.
#[tokio::test(flavor = "multi_thread")]
async fn a_confirm_that_never_came_is_a_503_and_the_same_call_again_runs_nothing_twice() {
    let Some(vhost) = rabbit::vhost() else { return };
    let relay = Relay::to(vhost.port()).await;
    let host = two_plugins(Queue::at(relay.url(vhost.name())).acked_by_broker()).start().await;
    let warm = taken(&host, 1).await;
    all_acked(&host, &warm, 2).await;
    let before = host.emits().await.len();
    let sprung = relay.strike_at(Moment::BEFORE_CONFIRM, Fault::Stall);
    let post = Post::json("push", fresh_document());
    let unknown = host.sender().send(post.clone()).await;
    sprung.await.expect("a confirm was eaten");
    assert_eq!(unknown.status, 503, "{}", unknown.body);
    assert!(unknown.retry_after.is_some());
    let id = taken_at_last(&host, &post).await;
    assert_eq!(all_acked(&host, [&id], 2).await, 0, "no leg ran twice");
    assert_eq!(host.emits().await.len(), before + 1);
}
