//! What is at RabbitMQ and is not as it must be: found, named, and nothing is lost by it.

use std::time::Duration;

use hookyard::{
    broker::{
        Broker, Lease,
        amqp::{Management, Settings, Topology},
    },
    clock::Clock,
    delivery::Settlement,
};
use lapin::{
    BasicProperties, Confirmation, Connection, ConnectionProperties,
    options::{BasicPublishOptions, ConfirmSelectOptions, QueueDeclareOptions},
    types::FieldTable,
};
use system_tests::{
    amqp::{Node, PATIENCE, settings},
    contract::{finished, offer, queues},
    rabbit::{self, Vhost},
};

const DIFFERS: &str = "rabbitmq_topology_differs";
const UNVERIFIED: &str = "rabbitmq_unverified";

async fn accept(node: &Node, number: u32, plugins: &[&str]) {
    let clock = Clock::system();
    let deadline = clock.instant() + Duration::from_secs(8);
    node.engine.offer(offer(number, plugins, clock.now()), deadline).await.expect("the ledger takes it");
}

/// Waits for the next leg to run, never for ever, and settles it.
async fn handle(node: &Node) -> Lease {
    let lease = tokio::time::timeout(PATIENCE, node.engine.lease()).await.expect("a leg comes in time").expect("the queue is open");
    let finished = finished(&lease, Settlement::Ack, Clock::system().now());
    node.engine.settle(lease.clone(), finished).await.expect("the queue works");
    lease
}

/// Settings of a host that asks the management API of its vhost's broker.
fn audited(vhost: &Vhost) -> Settings {
    asking(vhost, vhost.management().url())
}

fn asking(vhost: &Vhost, management_url: &str) -> Settings {
    Settings { management: Some(Management::parse(management_url, None).expect("a URL")), ..settings(vhost.url()) }
}

/// Lays a policy over queues; it holds when this returns.
fn set_policy(vhost: &Vhost, kind: &str, name: &str, policy: &str) {
    vhost.management().call("PUT", &format!("/api/{kind}/{}/{name}", vhost.name()), policy).expect("a policy");
}

/// Waits until a note of `readyz` has these words, and gives it.
async fn noted(host: &Node, note: &str, words: &str) -> String {
    tokio::time::timeout(PATIENCE, async {
        loop {
            if let Some(said) = host.readiness.notes().get(note).filter(|said| said.contains(words)) {
                return said.clone();
            }
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
    })
    .await
    .expect("it is said in time")
}

#[tokio::test(flavor = "multi_thread")]
async fn a_queue_with_other_arguments_is_told_with_the_argument_and_nothing_is_lost() {
    let Some(vhost) = rabbit::vhost() else { return };
    let (path, due) = (format!("/api/queues/{}/hookyard.due", vhost.name()), r#"{"x-queue-type":"quorum","x-max-length":5}"#);
    vhost.management().call("PUT", &path, &format!(r#"{{"durable":true,"arguments":{due}}}"#)).unwrap();
    let host = Node::start(settings(vhost.url()), Clock::system()).await;
    let said = noted(&host, "broker_away", "x-max-length").await;
    assert!(said.contains("the queue `hookyard.due` is there with other settings") && said.contains("drain"), "{said}");
    host.engine.serve(queues());
    accept(&host, 1, &["a"]).await;
    vhost.management().call("DELETE", &path, "").unwrap();
    handle(&host).await;
    host.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_passive_host_makes_nothing_names_what_is_missing_and_says_what_it_cannot_check() {
    let Some(vhost) = rabbit::vhost() else { return };
    let passive = settings(vhost.url());
    let passive = Settings { topology: Topology { passive: true, ..passive.topology.clone() }, ..passive };
    let host = Node::start(passive, Clock::system()).await;
    let said = noted(&host, "broker_away", "is not there").await;
    assert!(said.contains("`hookyard.unrouted`") && said.contains("passive"), "{said}");
    let said = noted(&host, "rabbitmq_unverified", "existence only").await;
    assert!(["arguments", "policies", "bindings", "alternate exchanges"].iter().all(|what| said.contains(what)), "{said}");
    // An administrator makes it; here another host does.
    let maker = Node::start(settings(vhost.url()), Clock::system()).await;
    tokio::time::timeout(PATIENCE, async {
        while host.readiness.notes().contains_key("broker_away") {
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
    })
    .await
    .expect("what was missing is found in time");
    maker.stop().await;
    host.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_plugins_queue_with_other_arguments_is_named_and_its_siblings_go_on() {
    let Some(vhost) = rabbit::vhost() else { return };
    let path = format!("/api/queues/{}/hookyard.leg.default.a", vhost.name());
    let small = r#"{"durable":true,"arguments":{"x-queue-type":"quorum","x-max-length":5}}"#;
    vhost.management().call("PUT", &path, small).unwrap();
    let host = Node::start(settings(vhost.url()), Clock::system()).await;
    host.engine.serve(queues());
    accept(&host, 1, &["a", "b"]).await;
    let said = noted(&host, "rabbitmq_queue_unusable", "x-").await;
    assert!(said.contains("the queue `hookyard.leg.default.a` is there with other settings") && said.contains("drain"), "{said}");
    assert_eq!(handle(&host).await.leg.plugin.as_str(), "b");
    vhost.management().call("DELETE", &path, "").unwrap();
    assert_eq!(handle(&host).await.leg.plugin.as_str(), "a");
    assert!(!host.readiness.notes().contains_key("rabbitmq_queue_unusable"), "what is mended is not told any more");
    host.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_vhost_as_the_host_makes_it_is_verified_and_nothing_is_told() {
    let Some(vhost) = rabbit::vhost() else { return };
    let host = Node::start(audited(&vhost), Clock::system()).await;
    host.engine.serve(queues());
    accept(&host, 1, &["a"]).await;
    handle(&host).await;
    let said = noted(&host, UNVERIFIED, "not verified: ").await;
    assert!(said.contains("message cap") && !said.contains("policies"), "{said}");
    assert!(!host.readiness.notes().contains_key(DIFFERS), "{:?}", host.readiness.notes());
    host.stop().await;
}

/// AMQP tells nothing of it, and a full queue would drop what RabbitMQ has confirmed.
#[tokio::test(flavor = "multi_thread")]
async fn a_queue_that_an_operator_has_drop_its_head_is_told_and_given_nothing_until_it_does_not() {
    let Some(vhost) = rabbit::vhost() else { return };
    set_policy(&vhost, "policies", "tidy-up", r#"{"pattern":"[.]a$","apply-to":"queues","definition":{"overflow":"drop-head"}}"#);
    let host = Node::start(audited(&vhost), Clock::system()).await;
    host.engine.serve(queues());
    accept(&host, 1, &["a"]).await;
    handle(&host).await;
    let said = noted(&host, DIFFERS, "drop-head").await;
    assert!(said.contains("policy `tidy-up`") && said.contains("`hookyard.leg.default.a`") && said.contains("drops the oldest"), "{said}");
    accept(&host, 2, &["a", "b"]).await;
    assert_eq!(handle(&host).await.leg.plugin.as_str(), "b");
    let of_a = |queue: &hookyard::delivery::view::QueueView| queue.plugin.as_str() == "a";
    let waits = host.ledger.queues().await.unwrap().into_iter().find(of_a).unwrap();
    assert_eq!((waits.waiting, waits.relayed), (1, 0), "its leg is the ledger's");
    vhost.management().call("DELETE", &format!("/api/policies/{}/tidy-up", vhost.name()), "").unwrap();
    // It looks again by itself, and at once where what is served changes.
    host.engine.serve(queues());
    assert_eq!(handle(&host).await.leg.plugin.as_str(), "a");
    host.stop().await;
}

/// Why the host believes the policy and not its own argument: RabbitMQ's manual does not say which is stronger for `overflow`.
#[tokio::test(flavor = "multi_thread")]
async fn the_broker_drops_what_it_has_confirmed_where_a_policy_says_so_against_our_argument() {
    const MESSAGES: u32 = 200;
    let Some(vhost) = rabbit::vhost() else { return };
    set_policy(&vhost, "policies", "tidy-up", r#"{"pattern":"^full$","apply-to":"queues","definition":{"overflow":"drop-head"}}"#);
    let path = format!("/api/queues/{}/full", vhost.name());
    let arguments = r#"{"x-queue-type":"quorum","x-max-length":10,"x-overflow":"reject-publish"}"#;
    vhost.management().call("PUT", &path, &format!(r#"{{"durable":true,"arguments":{arguments}}}"#)).unwrap();
    let channel = Connection::connect(vhost.url(), ConnectionProperties::default()).await.unwrap().create_channel().await.unwrap();
    channel.confirm_select(ConfirmSelectOptions::default()).await.unwrap();
    for _ in 0..MESSAGES {
        let options = BasicPublishOptions::default();
        let sent = channel.basic_publish("".into(), "full".into(), options, b"leg", BasicProperties::default()).await.unwrap();
        assert!(matches!(sent.await.unwrap(), Confirmation::Ack(_)));
    }
    let passive = QueueDeclareOptions { passive: true, ..QueueDeclareOptions::default() };
    let left = channel.queue_declare("full".into(), passive, FieldTable::default()).await.unwrap().message_count();
    assert!(left < MESSAGES / 10, "of {MESSAGES} confirmed messages {left} are left");
}

#[tokio::test(flavor = "multi_thread")]
async fn an_operator_policy_that_has_queues_expire_is_told() {
    let Some(vhost) = rabbit::vhost() else { return };
    let expires = r#"{"pattern":"^hookyard[.]due$","apply-to":"queues","definition":{"expires":3600000}}"#;
    set_policy(&vhost, "operator-policies", "no-leftovers", expires);
    let host = Node::start(audited(&vhost), Clock::system()).await;
    let said = noted(&host, DIFFERS, "expires").await;
    assert!(said.contains("operator policy `no-leftovers`") && said.contains("`hookyard.due`"), "{said}");
    host.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_management_api_that_tells_nothing_leaves_it_unverified_and_stops_nobody() {
    let Some(vhost) = rabbit::vhost() else { return };
    let wrong = vhost.management().url().replacen("guest:guest", "guest:wrong", 1);
    let host = Node::start(asking(&vhost, &wrong), Clock::system()).await;
    host.engine.serve(queues());
    let said = noted(&host, UNVERIFIED, "401").await;
    assert!(said.contains("policies") && said.contains("right password") && !said.contains("wrong"), "{said}");
    accept(&host, 1, &["a"]).await;
    handle(&host).await;
    host.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_user_who_may_see_policies_and_change_nothing_is_enough() {
    let Some(vhost) = rabbit::vhost() else { return };
    let (user, management) = (vhost.name(), vhost.management());
    management.call("PUT", &format!("/api/users/{user}"), r#"{"password":"looks","tags":"policymaker"}"#).unwrap();
    let none = r#"{"configure":"^$","write":"^$","read":"^$"}"#;
    management.call("PUT", &format!("/api/permissions/{}/{user}", vhost.name()), none).unwrap();
    let url = management.url().replacen("guest:guest", &format!("{user}:looks"), 1);
    let host = Node::start(asking(&vhost, &url), Clock::system()).await;
    noted(&host, UNVERIFIED, "not verified: ").await;
    host.stop().await;
    management.call("DELETE", &format!("/api/users/{user}"), "").unwrap();
}
