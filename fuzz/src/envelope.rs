//! A message of RabbitMQ: whoever may write to the broker can write anything.
//!
//! The first byte says what the rest is: a message as it stands, or a JSON head and a frame of zstd with a line end between them, which are
//! framed here, so that the fuzzer need not learn to count.

use bytes::Bytes;
use hookyard::broker::amqp::{Decoder, Headers};
use lapin::types::{AMQPValue, FieldTable};

pub(crate) fn run(data: &[u8]) {
    let Some((kind, rest)) = data.split_first() else { return };
    let body = Bytes::from(if kind % 2 == 0 { rest.to_vec() } else { framed(rest) });
    let runs = i64::from(*kind) - 100;
    let Ok(arrival) = Decoder::default().decode(&body, &headers(runs)) else { return };
    assert!(runs >= 0, "less than no run");
    assert_eq!(i64::try_from(arrival.position.runs), Ok(runs));
    assert_eq!(arrival.leg.delivery, arrival.delivery.id);
    assert!(!arrival.body_corrupt || arrival.delivery.document.is_empty(), "nothing of a body that is not what its hash says");
    assert!(body.ends_with(&arrival.compressed), "the body is passed on as it came");
}

fn framed(rest: &[u8]) -> Vec<u8> {
    let end = rest.iter().position(|byte| *byte == b'\n').unwrap_or(rest.len());
    let (head, compressed) = (&rest[..end], rest.get(end + 1..).unwrap_or_default());
    let length = u32::try_from(head.len()).unwrap_or(u32::MAX).to_le_bytes();
    [b"HKY\x01".as_slice(), &length, head, compressed].concat()
}

fn headers(runs: i64) -> Headers {
    let mut table = FieldTable::default();
    for name in ["hookyard-generation", "hookyard-attempts", "hookyard-crashes"] {
        table.insert(name.into(), AMQPValue::LongLongInt(1));
    }
    table.insert("hookyard-runs".into(), AMQPValue::LongLongInt(runs));
    Headers::read(Some(&table))
}
