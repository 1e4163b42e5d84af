//! What newer brokers set narrower: a message of 16 MiB at most, and twenty deliveries of the same message.

use std::time::Duration;

use hookyard::delivery::LegState;
use lapin::{
    Connection, ConnectionProperties,
    options::{BasicConsumeOptions, BasicQosOptions},
    types::FieldTable,
};
use system_tests::{
    guests,
    host::TestHost,
    rabbit::{self, Queue, Vhost},
};

use super::desk::{ALL, all_acked, queue_of, send, two_plugins};

/// What one consumer holds.
const HELD: u16 = 300;

/// A document of this size that hardly shrinks: random printable characters.
pub(crate) fn incompressible(bytes: usize) -> Vec<u8> {
    let mut document = b"{\"n\":\"".to_vec();
    document.extend(std::iter::repeat_with(|| fastrand::u8(0x23..0x5b)).take(bytes - document.len() - 2));
    document.extend(b"\"}");
    document
}

#[tokio::test(flavor = "multi_thread")]
async fn a_leg_too_big_for_the_broker_is_run_by_the_host_that_accepted_it() {
    let Some(vhost) = rabbit::vhost() else { return };
    let host = two_plugins(Queue::at(vhost.url())).start().await;
    let big = host.sender().post("push", incompressible(24_900_000)).await.accepted();
    let beside = send(&host.sender(), 20).await;
    all_acked(&host, beside.iter().chain([&big]), 2).await;
}

/// Every lost connection counts as a delivery of everything it had prefetched; past the limit the broker takes the message out of the queue.
#[tokio::test(flavor = "multi_thread")]
async fn a_consumer_cut_25_times_while_it_holds_300_legs_under_a_limit_of_20_loses_none() {
    let Some(vhost) = rabbit::vhost() else { return };
    let host = two_plugins(Queue::at(vhost.url())).start().await;
    limit_deliveries(&vhost);
    let queue = queue_of(vhost.management(), vhost.name(), "ack").await;
    let (tenant, plugin) = ("default".parse().unwrap(), "ack".parse().unwrap());
    assert!(host.inner().catalog().pause(&tenant, &plugin, true).await.unwrap());
    let ids = send(&host.sender(), usize::from(HELD)).await;
    for _ in 0..25 {
        hold_and_drop(&vhost, &queue).await;
    }
    assert!(host.inner().catalog().pause(&tenant, &plugin, false).await.unwrap());
    all_acked(&host, &ids, 2).await;
}

/// As RabbitMQ 4 does by itself.
fn limit_deliveries(vhost: &Vhost) {
    let policy = r#"{"pattern":".*","definition":{"delivery-limit":20},"apply-to":"queues"}"#;
    vhost.management().call("PUT", &format!("/api/policies/{}/limit", vhost.name()), policy).expect("a policy");
}

/// Takes what the queue has, up to [`HELD`], and goes without a word.
async fn hold_and_drop(vhost: &Vhost, queue: &str) {
    let connection = Connection::connect(vhost.url(), ConnectionProperties::default()).await.expect("a connection");
    let channel = connection.create_channel().await.expect("a channel");
    channel.basic_qos(HELD, BasicQosOptions::default()).await.expect("a prefetch");
    let options = BasicConsumeOptions::default();
    let mut consumer = channel.basic_consume(queue.into(), "holder".into(), options, FieldTable::default()).await.expect("a consumer");
    for _ in 0..HELD {
        let next = std::future::poll_fn(|context| futures_core::Stream::poll_next(std::pin::Pin::new(&mut consumer), context));
        if tokio::time::timeout(Duration::from_secs(2), next).await.is_err() {
            break;
        }
    }
    connection.close(200, "gone".into()).await.expect("an end");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_message_that_is_no_envelope_of_ours_is_put_aside_and_stops_nobody() {
    let Some(vhost) = rabbit::vhost() else { return };
    let host = TestHost::builder().on(Queue::at(vhost.url())).plugin_of("default", "ack", guests::component("ack"), ALL).start().await;
    let queue = queue_of(vhost.management(), vhost.name(), "ack").await;
    // A queue is in the list before it takes anything.
    let before = send(&host.sender(), 1).await;
    all_acked(&host, &before, 1).await;
    for payload in ["", "nonsense", r#"{\"v\":1}"#] {
        let message = format!(r#"{{"properties":{{}},"routing_key":"{queue}","payload":"{payload}","payload_encoding":"string"}}"#);
        vhost.management().call("POST", &format!("/api/exchanges/{}/amq.default/publish", vhost.name()), &message).unwrap();
    }
    let ids = send(&host.sender(), 20).await;
    all_acked(&host, &ids, 1).await;
    assert!(host.leg(ids[0], "ack").await.state == LegState::Acked);
}
