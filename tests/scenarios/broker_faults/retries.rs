//! Retries wait in the broker, which marks every round in the message's headers; ours go without those marks.

use hookyard::delivery::LegState;
use system_tests::{
    guests,
    host::TestHost,
    rabbit::{self, Queue},
    relay::{Relay, Way},
};

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
