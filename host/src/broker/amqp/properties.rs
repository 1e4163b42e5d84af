//! Whether the properties of a message are such that the client library survives to read them: texts are UTF-8, tables nest a few deep, and there
//! are not too many values in them. Pure.

use bytes::Buf as _;

/// Tables in tables; RabbitMQ's own `x-death` is a list of tables in a table, with lists in it.
const DEPTH_MAX: u32 = 8;
/// Values of all tables of a message. Each takes a few dozen bytes in memory, and one byte on the wire.
const VALUES_MAX: u32 = 1024;
/// The class of messages.
const BASIC: u16 = 60;
/// The methods that are looked at: a delivery, which has a publisher's routing key in it, and the first word of a broker, which has a table.
const DELIVER: u16 = 60;
const START: (u16, u16) = (10, 10);

/// The properties of a message of the class `basic`, in their order.
const FIELDS: [Field; 14] = [
    Field::Text,
    Field::Text,
    Field::Table,
    Field::Bytes(1),
    Field::Bytes(1),
    Field::Text,
    Field::Text,
    Field::Text,
    Field::Text,
    Field::Bytes(8),
    Field::Text,
    Field::Text,
    Field::Text,
    Field::Text,
];

#[derive(Clone, Copy)]
enum Field {
    Text,
    Table,
    Bytes(usize),
}

/// How many more values may come.
struct Values(u32);

/// Whether a content header's properties can be read: flags, and what they say is there.
pub(super) fn are_readable(mut properties: &[u8]) -> bool {
    read(&mut properties).is_some() && properties.is_empty()
}

fn read(bytes: &mut &[u8]) -> Option<()> {
    let flags = bytes.try_get_u16().ok()?;
    // The last bit would say that more flags follow: no version has them.
    if flags & 0b11 != 0 {
        return None;
    }
    let mut values = Values(VALUES_MAX);
    for (at, field) in FIELDS.into_iter().enumerate() {
        if flags & (1 << (15 - at)) == 0 {
            continue;
        }
        match field {
            Field::Text => text(bytes)?,
            Field::Table => table(bytes, DEPTH_MAX, &mut values)?,
            Field::Bytes(count) => skip(bytes, count)?,
        }
    }
    Some(())
}

/// Whether a method can be read. A routing key that is no text is made one: its bytes decide nothing here.
pub(super) fn is_method_readable(method: &mut [u8]) -> bool {
    let mut rest = &*method;
    let (Ok(class), Ok(number)) = (rest.try_get_u16(), rest.try_get_u16()) else { return false };
    if (class, number) == START {
        // Two numbers of the version, then what the broker says of itself.
        return skip(&mut rest, 2).and_then(|()| table(&mut rest, DEPTH_MAX, &mut Values(VALUES_MAX))).is_some();
    }
    if (class, number) == (BASIC, DELIVER) {
        make_text(&mut method[4..]);
    }
    true
}

/// A delivery: consumer tag, number, whether it was delivered before, exchange and routing key. The tag is ours.
fn make_text(delivery: &mut [u8]) {
    let Some(tag) = delivery.first() else { return };
    let mut at = 1 + usize::from(*tag) + 8 + 1;
    for _ in 0..2 {
        let Some(length) = delivery.get(at).copied() else { return };
        let Some(name) = delivery.get_mut(at + 1..at + 1 + usize::from(length)) else { return };
        if std::str::from_utf8(name).is_err() {
            name.iter_mut().filter(|byte| !byte.is_ascii()).for_each(|byte| *byte = b'?');
        }
        at += 1 + usize::from(length);
    }
}

fn skip(bytes: &mut &[u8], count: usize) -> Option<()> {
    *bytes = bytes.get(count..)?;
    Some(())
}

/// A text with its length in one byte before it.
fn text(bytes: &mut &[u8]) -> Option<()> {
    let length = bytes.try_get_u8().ok()?;
    let (text, rest) = bytes.split_at_checked(length.into())?;
    *bytes = rest;
    std::str::from_utf8(text).ok().map(drop)
}

/// Whatever has its length in four bytes before it.
fn sized<'a>(bytes: &mut &'a [u8]) -> Option<&'a [u8]> {
    let length = usize::try_from(bytes.try_get_u32().ok()?).ok()?;
    let (sized, rest) = bytes.split_at_checked(length)?;
    *bytes = rest;
    Some(sized)
}

fn table(bytes: &mut &[u8], depth: u32, values: &mut Values) -> Option<()> {
    let mut entries = sized(bytes)?;
    while !entries.is_empty() {
        text(&mut entries)?;
        value(&mut entries, depth, values)?;
    }
    Some(())
}

fn list(bytes: &mut &[u8], depth: u32, values: &mut Values) -> Option<()> {
    let mut entries = sized(bytes)?;
    while !entries.is_empty() {
        value(&mut entries, depth, values)?;
    }
    Some(())
}

fn value(bytes: &mut &[u8], depth: u32, values: &mut Values) -> Option<()> {
    values.0 = values.0.checked_sub(1)?;
    match bytes.try_get_u8().ok()? {
        b'V' => Some(()),
        b't' | b'b' | b'B' => skip(bytes, 1),
        b's' | b'U' | b'u' => skip(bytes, 2),
        b'I' | b'i' | b'f' => skip(bytes, 4),
        b'D' => skip(bytes, 5),
        b'L' | b'l' | b'd' | b'T' => skip(bytes, 8),
        b'S' | b'x' => sized(bytes).map(drop),
        b'A' => list(bytes, depth.checked_sub(1)?, values),
        b'F' => table(bytes, depth.checked_sub(1)?, values),
        _ => None,
    }
}
