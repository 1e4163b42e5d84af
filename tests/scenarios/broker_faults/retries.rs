//! Retries wait in the broker, which marks every round in the message's headers; ours go without those marks.

use std::time::Duration;

use hookyard::delivery::LegState;
use lapin::{Connection, ConnectionProperties, options::QueueDeclareOptions, types::FieldTable};
use system_tests::{
    guests,
    host::TestHost,
    rabbit::{self, Queue, Vhost},
    relay::{Fault, Moment, Relay, Way},
};

/// How long ten cuts may take: between two of them the host connects anew and waits out a retry.
const CUT_MAX: Duration = Duration::from_mins(2);
const ELEVEN: &str = "sources = [\"github\"]\nevents = [\"*\"]\n[retry]\nattempts_max = 11\ndelay_min_ms = 200\ndelay_max_ms = 200\n";

#[tokio::test(flavor = "multi_thread")]
async fn ten_rounds_of_retries_carry_no_mark_of_the_rounds_before() {
    let Some(vhost) = rabbit::vhost() else { return };
    let relay = Relay::to(vhost.port()).await;
    for way in [Way::ToBroker, Way::ToHost] {
        relay.look_for(way, b"x-death");
    }
    let busy = guests::component("retry");
    let host = TestHost::builder().on(Queue::at(relay.url(vhost.name()))).plugin_of("default", "busy", busy, ELEVEN).start().await;
    let id = host.sender().post("push", "{}").await.accepted();
    let view = host.settled(id).await;
    assert_eq!((view.legs[0].state, view.legs[0].attempts), (LegState::Dead, 11), "{view:?}");
    assert!(relay.seen(Way::ToHost, b"x-death") >= 10, "each round went through the broker's wait queue");
    assert_eq!(relay.seen(Way::ToBroker, b"x-death"), 0, "the marks of one round are not carried into the next");
}

/// The retry is published, the message of the round before comes again, and neither may live on as a second leg.
#[tokio::test(flavor = "multi_thread")]
async fn ten_rounds_whose_acknowledgements_are_all_lost_stay_one_leg() {
    let Some(vhost) = rabbit::vhost() else { return };
    let relay = Relay::to(vhost.port()).await;
    let busy = guests::component("retry");
    let host = TestHost::builder().on(Queue::at(relay.url(vhost.name()))).plugin_of("default", "busy", busy, ELEVEN).start().await;
    let id = host.sender().post("push", "{}").await.accepted();
    let cutting = async {
        for _ in 0..10 {
            relay.strike_at(Moment::BEFORE_ACK, Fault::Cut).await.expect("the relay is there");
        }
    };
    let (view, cuts) = tokio::join!(host.settled(id), tokio::time::timeout(CUT_MAX, cutting));
    cuts.expect("each round is acknowledged, or tried to be");
    let leg = &view.legs[0];
    assert_eq!((leg.state, leg.attempts, leg.history.len()), (LegState::Dead, 11, 11), "{view:?}");
    // What came again and again is dropped, not kept: nothing of it is left with the broker.
    let names = ["hookyard.leg.default.busy", "hookyard.due", "hookyard.retry.1s"];
    for name in names {
        empty(&vhost, name).await;
    }
    assert_eq!(host.delivery(id).await.legs[0].history.len(), 11, "and it has not run again");
}

/// Waits until a queue holds nothing, also nothing that is under way.
async fn empty(vhost: &Vhost, queue: &str) {
    let connection = Connection::connect(vhost.url(), ConnectionProperties::default()).await.expect("a broker");
    let channel = connection.create_channel().await.expect("a channel");
    let looking = async {
        loop {
            let passive = QueueDeclareOptions { passive: true, durable: true, ..QueueDeclareOptions::default() };
            let found = channel.queue_declare(queue.into(), passive, FieldTable::default()).await.expect("a queue");
            if found.message_count() == 0 {
                return;
            }
        }
    };
    tokio::time::timeout(CUT_MAX, looking).await.unwrap_or_else(|_| panic!("copies are left in {queue}"));
}
