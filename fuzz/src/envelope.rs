//! A message of RabbitMQ: whoever may write to the broker can write anything.
//!
//! The first byte says what the rest is: a message as it stands, or a JSON head and a frame of zstd with a line end between them, which are
//! framed here, so that the fuzzer need not learn to count. Each is tried twice: as a stranger writes it, who has no key, and as somebody would who
//! has one, so that what lies behind the seal is reached, too.

use bytes::Bytes;
use hookyard::{
    broker::amqp::{Decoder, Keys, Names},
    signature::Secret,
};
use lapin::types::{AMQPValue, FieldTable};

/// A document may have so many bytes.
const DOCUMENT_BYTES_MAX: usize = 1 << 20;

pub(crate) fn run(data: &[u8]) {
    let Some((kind, rest)) = data.split_first() else { return };
    let body = Bytes::from(if kind % 2 == 0 { rest.to_vec() } else { framed(rest) });
    let runs = i64::from(*kind) - 100;
    let decoder = decoder();
    let table = headers(runs);
    assert!(decoder.open("id", Some(&table), &body).is_err(), "a stranger has no key");
    let Ok(genuine) = decoder.sealed("id", Some(&table), body.clone()) else { return };
    let Ok(packed) = decoder.read(&genuine) else { return };
    assert!(packed.document_bytes() <= DOCUMENT_BYTES_MAX, "more than a document may have");
    let Ok(arrival) = decoder.unpack(packed) else { return };
    assert!(runs >= 0, "less than no run");
    assert!(arrival.position.is_in_range());
    assert_eq!(i64::try_from(arrival.position.runs), Ok(runs));
    assert_eq!(arrival.leg.delivery, arrival.delivery.id);
    assert!(arrival.delivery.document.len() <= DOCUMENT_BYTES_MAX);
    assert!(body.ends_with(&arrival.compressed), "the body is passed on as it came");
}

fn decoder() -> Decoder {
    let secret = Secret::new("a key that nobody who fuzzes has to guess").into_iter().collect();
    match (Keys::new(secret), Names::new("hookyard")) {
        (Ok(keys), Ok(names)) => Decoder::new(keys, names, DOCUMENT_BYTES_MAX),
        _ => unreachable!("both are well formed"),
    }
}

fn framed(rest: &[u8]) -> Vec<u8> {
    let end = rest.iter().position(|byte| *byte == b'\n').unwrap_or(rest.len());
    let (head, compressed) = (&rest[..end], rest.get(end + 1..).unwrap_or_default());
    let length = u32::try_from(head.len()).unwrap_or(u32::MAX).to_le_bytes();
    [b"HKY\x01".as_slice(), &length, head, compressed].concat()
}

fn headers(runs: i64) -> FieldTable {
    let mut table = FieldTable::default();
    for name in ["hookyard-generation", "hookyard-attempts", "hookyard-crashes"] {
        table.insert(name.into(), AMQPValue::LongLongInt(1));
    }
    table.insert("hookyard-tenant".into(), AMQPValue::LongString("default".into()));
    table.insert("hookyard-plugin".into(), AMQPValue::LongString("triage".into()));
    table.insert("hookyard-runs".into(), AMQPValue::LongLongInt(runs));
    table
}
