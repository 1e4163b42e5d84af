//! The envelope: what is read back, what is refused, and that nothing a stranger writes does more than that.

use std::sync::Arc;

use bytes::Bytes;
use lapin::types::{AMQPValue, FieldTable};
use proptest::prelude::*;
use sha2::{Digest as _, Sha256};

use super::{
    envelope::{Decoder, Unreadable},
    names::{Names, RUNGS},
    opening::Opening,
    publisher::{HeaderValue, Message},
    rejection::Rejection,
    seal::Keys,
};
use crate::{
    clock::Clock,
    delivery::{BodyEncoding, Delivery, DeliveryId, DeliveryKey, LegId, TenantId, Timestamp},
    ledger::{Arrival, Death, Ledger, Offer, Outbound, RelayScope, Settings},
    shares::{Limit, Limits, Machine, Resource, Shares},
    signature::Secret,
};

async fn outbound() -> Outbound {
    let dir = tempfile::tempdir().unwrap();
    let ledger = relaying(dir.path(), 1).await;
    let outbound = ledger.next_outbound().await.unwrap();
    ledger.close().await;
    outbound
}

/// A ledger with one delivery for so many plugins, all of which are RabbitMQ's to get.
pub(super) async fn relaying(dir: &std::path::Path, plugins: usize) -> Ledger {
    let clock = Clock::manual(Timestamp::from_unix_ms(1_767_225_600_000));
    let ledger = Ledger::open(Settings { free_bytes_min: 0, ..Settings::new(dir) }, clock.clone()).unwrap();
    ledger.relay(RelayScope { all: true, outcomes_elsewhere: false });
    let document = Bytes::from_static(b"{\"action\":\"opened\",\"zen\":\"Keep it logically awesome.\"}");
    let mut delivery = Delivery {
        id: DeliveryId::from_bytes([9; 16]),
        tenant: TenantId::default_tenant(),
        source: "github".parse().unwrap(),
        provider_id: "guid".to_owned(),
        hook_id: Some("1".to_owned()),
        event: "issues".to_owned(),
        action: Some("opened".to_owned()),
        repository: None,
        installation_id: Some(7),
        received_at: clock.now(),
        sequence: 0,
        encoding: BodyEncoding::Json,
        headers: vec![],
        body_sha256: Sha256::digest(&document).into(),
        document,
        raw: None,
    };
    delivery.id = id_of(&delivery);
    let name = |number| if number == 1 { "triage".to_owned() } else { format!("triage-{number}") };
    let legs = (1..=plugins).map(|number| name(number).parse().unwrap()).collect();
    let offer = Offer { delivery, legs, refuse_replays: false, waiting_bytes_max: u64::MAX };
    ledger.offer(offer, clock.instant() + std::time::Duration::from_secs(8)).await.unwrap();
    ledger
}

fn id_of(delivery: &Delivery) -> DeliveryId {
    let Delivery { tenant, source, provider_id, body_sha256, .. } = delivery;
    let hook_id = delivery.hook_id.as_deref().unwrap_or_default();
    DeliveryId::derive(&DeliveryKey { tenant, source, hook_id, provider_id, body_sha256 })
}

fn names() -> Names {
    Names::new("hookyard").unwrap()
}

fn keys(text: &str) -> Keys {
    Keys::new(vec![Secret::new(text.repeat(32)).unwrap()]).unwrap()
}

fn decoder() -> Decoder {
    Decoder::new(keys("k"), names(), 64 << 20)
}

/// The headers of a message, as they come back from the broker.
fn table(message: &Message, more: &[(&str, AMQPValue)]) -> FieldTable {
    let mut table = FieldTable::default();
    for (name, value) in &message.headers {
        let value = match value {
            HeaderValue::Text(text) => AMQPValue::LongString(text.as_str().into()),
            HeaderValue::Number(number) => AMQPValue::LongLongInt(*number),
        };
        table.insert(name.as_ref().into(), value);
    }
    for (name, value) in more {
        table.insert((*name).into(), value.clone());
    }
    table
}

fn text(text: &str) -> AMQPValue {
    AMQPValue::LongString(text.into())
}

/// What a host makes of a message that came as it was sent, with these headers more.
fn received(message: &Message, more: &[(&str, AMQPValue)]) -> Result<Arrival, Unreadable> {
    read(&decoder(), &message.message_id, &table(message, more), &message.body)
}

fn read(decoder: &Decoder, id: &str, table: &FieldTable, body: &Bytes) -> Result<Arrival, Unreadable> {
    let genuine = decoder.open(id, Some(table), body)?;
    let packed = decoder.read(&genuine)?;
    Ok(decoder.unpack(packed)?)
}

/// What a host makes of content that somebody who has the key has sealed: everything is checked all the same.
fn sealed(table: &FieldTable, body: &[u8]) -> Result<Arrival, Unreadable> {
    let decoder = decoder();
    let genuine = decoder.sealed("id", Some(table), Bytes::copy_from_slice(body))?;
    let packed = decoder.read(&genuine)?;
    Ok(decoder.unpack(packed)?)
}

fn place() -> (String, String) {
    ("hookyard.legs".to_owned(), "hookyard.leg.default.triage".to_owned())
}

/// The body with another head.
fn with_head(body: &Bytes, change: impl FnOnce(&mut serde_json::Value)) -> Vec<u8> {
    let length = u32::from_le_bytes(body[4..8].try_into().unwrap()) as usize;
    let mut head: serde_json::Value = serde_json::from_slice(&body[8..8 + length]).unwrap();
    change(&mut head);
    let head = serde_json::to_vec(&head).unwrap();
    [b"HKY\x01", &u32::try_from(head.len()).unwrap().to_le_bytes()[..], &head, &body[8 + length..]].concat()
}

#[tokio::test]
async fn a_leg_is_read_back_as_it_was_written() {
    let mut outbound = outbound().await;
    outbound.position.runs = 3;
    outbound.death = Some(Death { reason: "rejected".to_owned(), outcome: "reject".to_owned(), detail: "no\x1b[2J".to_owned() });
    let message = decoder().encode(&outbound, 42, place());
    let arrival = received(&message, &[]).unwrap();
    assert_eq!(arrival.leg, LegId { delivery: outbound.leg.delivery, plugin: outbound.leg.plugin.clone() });
    assert_eq!(arrival.position, outbound.position);
    assert_eq!(arrival.delivery.document, outbound.delivery.document);
    assert_eq!(arrival.delivery.received_at, outbound.delivery.received_at);
    let genuine = decoder().open(&message.message_id, Some(&table(&message, &[])), &message.body).unwrap();
    let death = genuine.headers().death().unwrap().unwrap();
    assert_eq!((genuine.headers().origin(), death.detail.as_str()), (Some(42), "no\u{fffd}[2J"), "a terminal obeys nothing of it");
    assert_eq!(message.message_id, format!("{}.0.3", outbound.leg));
}

#[tokio::test]
async fn what_the_broker_adds_on_the_way_is_not_passed_on_and_all_of_ours_is_with_its_seal() {
    let mut outbound = outbound().await;
    outbound.due_at = Some(Timestamp::from_unix_ms(5));
    let message = decoder().encode(&outbound, 42, place());
    let came = table(&message, &[("x-delivery-count", AMQPValue::LongLongInt(12)), ("x-first-death-reason", AMQPValue::LongLongInt(1))]);
    let genuine = decoder().open(&message.message_id, Some(&came), &message.body).unwrap();
    let on = genuine.passed_on(&names(), None).unwrap();
    assert_eq!((on.exchange.as_str(), on.routing_key.as_str()), ("hookyard.legs", "hookyard.leg.default.triage"));
    assert!(on.headers.iter().all(|(name, _)| !name.starts_with("x-")), "{:?}", on.headers);
    received(&on, &[]).unwrap();
    let waiting = genuine.passed_on(&names(), Some(RUNGS[2])).unwrap();
    assert_eq!((waiting.exchange.as_str(), waiting.routing_key.as_str()), ("hookyard.retry", "5s"));
    assert!(waiting.headers.contains(&("hookyard-due-ms".into(), HeaderValue::Number(5))), "its time goes with it");
}

#[tokio::test]
async fn a_dead_letter_that_found_no_queue_is_passed_on_to_the_archive_and_never_to_its_plugin() {
    let mut outbound = outbound().await;
    outbound.death = Some(Death { reason: "rejected".to_owned(), outcome: "reject".to_owned(), detail: String::new() });
    let message = decoder().encode(&outbound, 42, place());
    let genuine = decoder().open(&message.message_id, Some(&table(&message, &[])), &message.body).unwrap();
    assert_eq!(genuine.passed_on(&names(), None).unwrap().exchange, "hookyard.dead");
}

#[tokio::test]
async fn nothing_that_a_host_believes_can_be_changed_added_or_taken_away() {
    let message = decoder().encode(&outbound().await, 42, place());
    for (name, value) in [
        ("hookyard-plugin", text("other")),
        ("hookyard-tenant", text("other")),
        ("hookyard-generation", AMQPValue::LongLongInt(1)),
        ("hookyard-runs", AMQPValue::LongLongInt(9)),
        ("hookyard-attempts", AMQPValue::LongLongInt(7)),
        ("hookyard-crashes", AMQPValue::LongLongInt(7)),
        ("hookyard-origin", AMQPValue::LongLongInt(7)),
        ("hookyard-due-ms", AMQPValue::LongLongInt(1)),
        ("hookyard-reason", text("rejected")),
        ("hookyard-of-tomorrow", text("x")),
        ("traceparent", text("00-x")),
    ] {
        assert_eq!(received(&message, &[(name, value)]).unwrap_err(), Rejection::SealBroken.into(), "{name}");
    }
    for (name, _) in message.headers.iter().filter(|(name, _)| *name != "hookyard-seal") {
        let mut fewer = message.clone();
        fewer.headers.retain(|(other, _)| other != name);
        assert_eq!(received(&fewer, &[]).unwrap_err(), Rejection::SealBroken.into(), "without {name}");
    }
    let other_id = Message { message_id: "another".to_owned(), ..message.clone() };
    assert_eq!(received(&other_id, &[]).unwrap_err(), Rejection::SealBroken.into());
    let elsewhere = Decoder::new(keys("k"), Names::new("staging").unwrap(), 64 << 20);
    let taken = read(&elsewhere, &message.message_id, &table(&message, &[]), &message.body);
    assert_eq!(taken.unwrap_err(), Rejection::SealBroken.into(), "of another installation under the same key");
    received(&message, &[]).unwrap();
}

#[tokio::test]
async fn a_message_without_a_key_of_ours_is_refused_whatever_is_in_it() {
    let message = decoder().encode(&outbound().await, 42, place());
    let mut bare = message.clone();
    bare.headers.retain(|(name, _)| *name != "hookyard-seal");
    assert_eq!(received(&bare, &[]).unwrap_err(), Rejection::Unsealed.into());
    let foreign = Decoder::new(keys("x"), names(), 64 << 20).encode(&outbound().await, 42, place());
    assert!(matches!(received(&foreign, &[]).unwrap_err(), Unreadable::Rejected(Rejection::UnknownKey(_))));
    let odd = [("hookyard-seal", AMQPValue::FieldTable(FieldTable::default()))];
    assert!(matches!(received(&message, &odd).unwrap_err(), Unreadable::Rejected(Rejection::Malformed(_))));
}

#[tokio::test]
async fn every_number_has_a_range_even_under_a_seal() {
    let message = decoder().encode(&outbound().await, 42, place());
    let largest = [
        ("hookyard-attempts", i64::from(u32::MAX)),
        ("hookyard-attempts", i64::from(u32::MAX) + 1),
        ("hookyard-crashes", i64::from(u32::MAX)),
        ("hookyard-generation", i64::from(u32::MAX)),
        ("hookyard-runs", i64::MAX),
        ("hookyard-runs", -1),
        ("hookyard-due-ms", i64::MAX),
        ("hookyard-due-ms", i64::MIN),
    ];
    for (name, number) in largest {
        let refused = sealed(&table(&message, &[(name, AMQPValue::LongLongInt(number))]), &message.body).unwrap_err();
        assert!(matches!(refused, Unreadable::Rejected(Rejection::OutOfRange(_))), "{name} {number}: {refused}");
    }
    for received_ms in [i64::MAX, i64::MIN, -1] {
        let body = with_head(&message.body, |head| head["received_ms"] = received_ms.into());
        let refused = sealed(&table(&message, &[]), &body).unwrap_err();
        assert!(matches!(refused, Unreadable::Rejected(Rejection::OutOfRange(_))), "{received_ms}: {refused}");
    }
    sealed(&table(&message, &[]), &message.body).unwrap();
}

#[tokio::test]
async fn an_id_that_is_not_the_contents_and_texts_that_are_none_are_refused_even_under_a_seal() {
    let message = decoder().encode(&outbound().await, 42, place());
    let changed = |change: &dyn Fn(&mut serde_json::Value)| sealed(&table(&message, &[]), &with_head(&message.body, change)).unwrap_err();
    for (name, value) in [("provider_id", "another"), ("hook_id", "2"), ("source", "gitlab"), ("id", &"0".repeat(32))] {
        assert!(changed(&|head| head[name] = value.into()).to_string().len() > 1, "{name}");
    }
    assert_eq!(changed(&|head| head["provider_id"] = "another".into()), Rejection::IdMismatch.into());
    assert_eq!(changed(&|head| head["body_sha256"][0] = 255.into()), Rejection::IdMismatch.into());
    assert_eq!(changed(&|head| head["document_sha256"][0] = 255.into()), Rejection::IdMismatch.into());
    for (name, value) in
        [("event", "a\u{1b}[2J"), ("provider_id", "a\nb"), ("action", "a\u{0}"), ("repository", "a\u{9b}"), ("event", &"e".repeat(65))]
    {
        let refused = changed(&|head| head[name] = value.into());
        assert!(matches!(refused, Unreadable::Rejected(Rejection::UnfitText(_))), "{name}: {refused}");
    }
    let refused = changed(&|head| head["headers"] = serde_json::json!([{ "name": "user-agent", "value": "x\r\ny" }]));
    assert!(matches!(refused, Unreadable::Rejected(Rejection::UnfitText(_))), "{refused}");
    let detail = [("hookyard-reason", text("rejected")), ("hookyard-detail", text("\u{7}"))];
    assert!(decoder().sealed("id", Some(&table(&message, &detail)), message.body.clone()).is_err());
}

#[tokio::test]
async fn a_newer_kind_is_left_to_others_and_a_newer_field_is_not_minded() {
    let message = decoder().encode(&outbound().await, 42, place());
    let mut newer = message.body.to_vec();
    newer[3] = 2;
    assert_eq!(sealed(&table(&message, &[]), &newer).unwrap_err(), Unreadable::Newer(2));
    assert_eq!(
        received(&Message { body: newer.into(), ..message.clone() }, &[]).unwrap_err(),
        Rejection::SealBroken.into(),
        "only a host's word is passed on"
    );
    let body = with_head(&message.body, |head| head["a_field_of_tomorrow"] = serde_json::json!({ "x": 1 }));
    sealed(&table(&message, &[]), &body).unwrap();
}

#[tokio::test]
async fn a_bomb_is_not_unpacked_and_a_damaged_document_is_refused() {
    let mut outbound = outbound().await;
    let bomb = zstd::bulk::compress(&vec![0; 64 << 20], 1).unwrap();
    assert!(bomb.len() < 10_000);
    outbound.compressed = bomb.into();
    let message = decoder().encode(&outbound, 42, place());
    assert_eq!(received(&message, &[]).unwrap_err(), Rejection::DocumentMismatch.into(), "the frame declares more than the head");
    let larger = with_head(&message.body, |head| head["document_bytes"] = ((64_u64 << 20) + 1).into());
    assert_eq!(sealed(&table(&message, &[]), &larger).unwrap_err(), Rejection::DocumentTooLarge((64 << 20) + 1).into());
}

#[tokio::test]
async fn what_no_other_host_would_take_does_not_travel() {
    let good = outbound().await;
    assert!(decoder().may_travel(&good));
    let mut far = good.clone();
    far.position.attempts = u32::MAX;
    assert!(!decoder().may_travel(&far));
    let mut odd = good.clone();
    odd.delivery = Arc::new(Delivery { action: Some("a\u{0}b".to_owned()), ..Delivery::clone(&good.delivery) });
    assert!(!decoder().may_travel(&odd));
}

/// Twenty-four messages, each of a few kilobytes and 16 MiB unpacked: of all, no more than the budget is unpacked at once, and the rest wait.
#[tokio::test(flavor = "multi_thread")]
async fn messages_that_inflate_wait_for_each_other() {
    let document = Bytes::from(vec![b' '; 16 << 20]);
    let mut outbound = outbound().await;
    let body_sha256 = Sha256::digest(&document).into();
    let delivery = Delivery { document: document.clone(), body_sha256, ..Delivery::clone(&outbound.delivery) };
    let id = id_of(&delivery);
    outbound.delivery = Arc::new(Delivery { id, ..delivery });
    outbound.leg.delivery = id;
    outbound.compressed = zstd::bulk::compress(&document, 1).unwrap().into();
    let message = decoder().encode(&outbound, 42, place());
    assert!(message.body.len() < 8_000, "{}", message.body.len());
    let mut limits = Limits::of(Machine { memory_bytes: 4 << 30, cores: 2 });
    limits.set(Resource::OpenedBytes, Limit::new(256 << 20, 64 << 20));
    let opening = Arc::new(Opening::new(Arc::new(decoder()), Shares::new(&limits)));
    let genuine = opening.decoder.open(&message.message_id, Some(&table(&message, &[])), &message.body).unwrap();
    let mut opened = tokio::task::JoinSet::new();
    for _ in 0..24 {
        let (opening, genuine) = (Arc::clone(&opening), genuine.clone());
        opened.spawn(async move { opening.open(&genuine).await.unwrap() });
    }
    let mut held = Vec::new();
    while held.len() < 16 {
        held.push(opened.join_next().await.unwrap().unwrap());
    }
    let none = tokio::time::timeout(std::time::Duration::from_millis(200), opened.join_next()).await;
    assert!(none.is_err(), "256 MiB are unpacked, and another was");
    for _ in 16..24 {
        held.pop();
        held.push(opened.join_next().await.unwrap().unwrap());
    }
}

fn message_once() -> Arc<Message> {
    static ONCE: std::sync::OnceLock<Arc<Message>> = std::sync::OnceLock::new();
    let make = || {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
        Arc::new(decoder().encode(&runtime.block_on(outbound()), 42, place()))
    };
    Arc::clone(ONCE.get_or_init(make))
}

proptest! {
    #[test]
    fn no_bytes_do_more_than_be_refused(bytes in prop::collection::vec(any::<u8>(), 0..400)) {
        let message = message_once();
        prop_assert!(sealed(&table(&message, &[]), &bytes).is_err());
        let ours = [b"HKY\x01".as_slice(), &bytes].concat();
        prop_assert!(sealed(&table(&message, &[]), &ours).is_err());
    }

    #[test]
    fn a_flipped_byte_or_a_cut_is_refused_under_the_seal_and_harmless_without(at in 0_usize..10_000, with in 1_u8..) {
        let message = message_once();
        let at = at % message.body.len();
        let mut flipped = message.body.to_vec();
        flipped[at] ^= with;
        for body in [flipped, message.body[..at].to_vec()] {
            let changed = Message { body: body.clone().into(), ..Message::clone(&message) };
            prop_assert_eq!(received(&changed, &[]).unwrap_err(), Rejection::SealBroken.into());
            if let Ok(arrival) = sealed(&table(&message, &[]), &body) {
                prop_assert_eq!(arrival.delivery.document, received(&message, &[]).unwrap().delivery.document);
            }
        }
    }
}
