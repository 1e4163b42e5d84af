//! The envelope: what is read back, what is refused, and that nothing a stranger writes does more than that.

use std::sync::Arc;

use bytes::Bytes;
use proptest::prelude::*;
use sha2::{Digest as _, Sha256};

use super::{
    envelope::{Decoder, Headers, Unreadable, encode},
    names::{Names, RUNGS},
    publisher::{HeaderValue, Message},
};
use crate::{
    clock::Clock,
    delivery::{BodyEncoding, Delivery, DeliveryId, LegId, TenantId, Timestamp},
    ledger::{Arrival, Death, Ledger, Offer, Outbound, RelayScope, Settings},
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
    let delivery = Delivery {
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
    let name = |number| if number == 1 { "triage".to_owned() } else { format!("triage-{number}") };
    let legs = (1..=plugins).map(|number| name(number).parse().unwrap()).collect();
    let offer = Offer { delivery, legs, refuse_replays: false, waiting_bytes_max: u64::MAX };
    ledger.offer(offer, clock.instant() + std::time::Duration::from_secs(8)).await.unwrap();
    ledger
}

fn decode(body: &[u8], headers: &Headers) -> Result<Arrival, Unreadable> {
    Decoder::default().decode(&Bytes::copy_from_slice(body), headers)
}

/// The headers of a message, as they come back from the broker.
fn returned(message: &Message, more: &[(&str, i64)]) -> Headers {
    use lapin::types::{AMQPValue, FieldTable};
    let mut table = FieldTable::default();
    for (name, value) in &message.headers {
        let value = match value {
            HeaderValue::Text(text) => AMQPValue::LongString(text.as_str().into()),
            HeaderValue::Number(number) => AMQPValue::LongLongInt(*number),
        };
        table.insert((*name).into(), value);
    }
    for (name, number) in more {
        table.insert((*name).into(), AMQPValue::LongLongInt(*number));
    }
    Headers::read(Some(&table))
}

fn place() -> (String, String) {
    ("hookyard.legs".to_owned(), "hookyard.leg.default.triage".to_owned())
}

#[tokio::test]
async fn a_leg_is_read_back_as_it_was_written() {
    let mut outbound = outbound().await;
    outbound.position.runs = 3;
    outbound.death = Some(Death { reason: "rejected".to_owned(), outcome: "reject".to_owned(), detail: "no".to_owned() });
    let message = encode(&outbound, 42, place());
    let headers = returned(&message, &[]);
    let arrival = decode(&message.body, &headers).unwrap();
    assert_eq!(arrival.leg, LegId { delivery: outbound.leg.delivery, plugin: outbound.leg.plugin.clone() });
    assert_eq!(arrival.position, outbound.position);
    assert_eq!(arrival.delivery.document, outbound.delivery.document);
    assert_eq!(arrival.delivery.received_at, outbound.delivery.received_at);
    assert_eq!((headers.origin(), headers.death()), (Some(42), outbound.death.clone()));
    assert_eq!(message.message_id, format!("{}.0.3", outbound.leg));
    assert!(!arrival.body_corrupt);
}

#[tokio::test]
async fn what_the_broker_adds_on_the_way_is_not_passed_on() {
    let message = encode(&outbound().await, 42, place());
    let headers = returned(&message, &[("x-delivery-count", 12), ("x-first-death-reason", 1), ("hookyard-due-ms", 5)]);
    let names = Names::new("hookyard").unwrap();
    let on = headers.passed_on(&names, message.body.clone(), message.message_id.clone(), None).unwrap();
    assert_eq!((on.exchange.as_str(), on.routing_key.as_str()), ("hookyard.legs", "hookyard.leg.default.triage"));
    assert_eq!(on.body, message.body);
    assert!(on.headers.iter().all(|(name, _)| !name.starts_with("x-") && *name != "hookyard-due-ms"), "{:?}", on.headers);
    let waiting = headers.passed_on(&names, message.body.clone(), String::new(), Some(RUNGS[2])).unwrap();
    assert_eq!((waiting.exchange.as_str(), waiting.routing_key.as_str()), ("hookyard.retry", "5s"));
    assert!(waiting.headers.contains(&("hookyard-due-ms", HeaderValue::Number(5))), "its time goes with it");
}

#[tokio::test]
async fn a_newer_kind_is_left_to_others_and_a_newer_field_is_not_minded() {
    let message = encode(&outbound().await, 42, place());
    let headers = returned(&message, &[]);
    let mut newer = message.body.to_vec();
    newer[3] = 2;
    assert_eq!(decode(&newer, &headers).unwrap_err(), Unreadable::Newer(2));
    let length = u32::from_le_bytes(message.body[4..8].try_into().unwrap()) as usize;
    let mut head: serde_json::Value = serde_json::from_slice(&message.body[8..8 + length]).unwrap();
    head["a_field_of_tomorrow"] = serde_json::json!({ "x": 1 });
    let head = serde_json::to_vec(&head).unwrap();
    let body = [b"HKY\x01", &u32::try_from(head.len()).unwrap().to_le_bytes()[..], &head, &message.body[8 + length..]].concat();
    assert!(!decode(&body, &headers).unwrap().body_corrupt);
}

#[tokio::test]
async fn a_bomb_is_not_unpacked_and_a_damaged_document_is_known_as_one() {
    let mut outbound = outbound().await;
    let bomb = zstd::bulk::compress(&vec![0; 64 << 20], 1).unwrap();
    assert!(bomb.len() < 10_000);
    outbound.compressed = bomb.into();
    let message = encode(&outbound, 42, place());
    let arrival = decode(&message.body, &returned(&message, &[])).unwrap();
    assert!(arrival.body_corrupt && arrival.delivery.document.is_empty(), "the frame declares more than the head");
}

fn message_once() -> Arc<Message> {
    static ONCE: std::sync::OnceLock<Arc<Message>> = std::sync::OnceLock::new();
    let make = || {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
        Arc::new(encode(&runtime.block_on(outbound()), 42, place()))
    };
    Arc::clone(ONCE.get_or_init(make))
}

proptest! {
    #[test]
    fn no_bytes_do_more_than_be_refused(bytes in prop::collection::vec(any::<u8>(), 0..400)) {
        let headers = returned(&message_once(), &[]);
        prop_assert!(decode(&bytes, &headers).is_err());
        let ours = [b"HKY\x01".as_slice(), &bytes].concat();
        prop_assert!(decode(&ours, &headers).is_err());
    }

    #[test]
    fn a_flipped_byte_is_refused_or_harmless_or_known_as_damage(at in 0_usize..10_000, with in 1_u8..) {
        let message = message_once();
        let mut body = message.body.to_vec();
        let at = at % body.len();
        body[at] ^= with;
        let whole = decode(&message.body, &returned(&message, &[])).unwrap();
        if let Ok(arrival) = decode(&body, &returned(&message, &[])) {
            prop_assert!(arrival.body_corrupt || arrival.delivery.document == whole.delivery.document);
        }
    }

    #[test]
    fn a_message_cut_anywhere_is_no_panic(cut in 0_usize..10_000) {
        let message = message_once();
        let cut = cut % message.body.len();
        if let Ok(arrival) = decode(&message.body[..cut], &returned(&message, &[])) {
            prop_assert!(arrival.body_corrupt);
        }
    }
}
