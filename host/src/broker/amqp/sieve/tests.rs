//! What passes the sieve, what is changed in it, and what ends the connection.

use bytes::{BufMut as _, BytesMut};
use proptest::prelude::*;

use super::{FRAME_END, Frames, MESSAGE_BYTES_MAX, WITHOUT_BODY, WITHOUT_PROPERTIES};

fn frame(kind: u8, channel: u16, payload: &[u8]) -> Vec<u8> {
    let mut frame = BytesMut::new();
    frame.put_u8(kind);
    frame.put_u16(channel);
    frame.put_u32(u32::try_from(payload.len()).unwrap());
    frame.put_slice(payload);
    frame.put_u8(FRAME_END);
    frame.to_vec()
}

fn header(body_bytes: u64, properties: &[u8]) -> Vec<u8> {
    frame(2, 1, &[&60_u16.to_be_bytes()[..], &[0, 0], &body_bytes.to_be_bytes(), properties].concat())
}

fn sized(bytes: &[u8]) -> Vec<u8> {
    [&u32::try_from(bytes.len()).unwrap().to_be_bytes()[..], bytes].concat()
}

/// Properties with nothing but headers, which are one entry of this value.
fn headers(value: &[u8]) -> Vec<u8> {
    [&(1_u16 << 13).to_be_bytes()[..], &sized(&[b"\x01h", value].concat())].concat()
}

/// A list in a list in a list.
fn nested(depth: usize) -> Vec<u8> {
    (0..depth).fold(vec![b'V'], |inner, _| [b"A".as_slice(), &sized(&inner)].concat())
}

fn sifted(bytes: &[u8]) -> std::io::Result<Vec<u8>> {
    let mut frames = Frames::default();
    frames.take(bytes)?;
    Ok(frames.ready().to_vec())
}

fn delivery(routing_key: &[u8]) -> Vec<u8> {
    let short = |text: &[u8]| [&[u8::try_from(text.len()).unwrap()], text].concat();
    frame(1, 1, &[&[0, 60, 0, 60][..], &short(b"tag"), &[0; 8], &[0], &short(b"hookyard.legs"), &short(routing_key)].concat())
}

#[test]
fn what_a_host_publishes_passes_as_it_is() {
    let plain = headers(&[b"S".as_slice(), &sized(b"default")].concat());
    let deaths = headers(&nested(3));
    for frames in [
        [header(3, &plain), frame(3, 1, b"abc")].concat(),
        [header(0, &deaths), header(0, &[0, 0])].concat(),
        delivery(b"hookyard.leg.default.a"),
        delivery("hookyard.leg.ä".as_bytes()),
        frame(8, 0, b""),
        b"AMQP\x00\x00\x09\x01".to_vec(),
    ] {
        assert_eq!(sifted(&frames).unwrap(), frames);
    }
}

#[test]
fn properties_the_library_would_not_survive_are_taken_out() {
    let not_text = [&(1_u16 << 7).to_be_bytes()[..], b"\x02\xff\xfe"].concat();
    let crowd = headers(&[b"A".as_slice(), &sized(&[b'V'; 2000])].concat());
    let long = headers(&[b"S".as_slice(), &sized(&vec![b'x'; 70_000])].concat());
    let torn = [&(1_u16 << 13).to_be_bytes()[..], &[0, 0, 0, 9, 1]].concat();
    for bad in [headers(&nested(9)), headers(&nested(12_000)), not_text, crowd, long, torn, vec![0, 1], vec![0], headers(b"?")] {
        let sifted = sifted(&[header(3, &bad), frame(3, 1, b"abc")].concat()).unwrap();
        let content_type = [&[u8::try_from(WITHOUT_PROPERTIES.len()).unwrap()], WITHOUT_PROPERTIES.as_bytes()].concat();
        let expected = [header(3, &[&[0x80, 0], &content_type[..]].concat()), frame(3, 1, b"abc")].concat();
        assert_eq!(sifted, expected, "{} bytes", bad.len());
    }
}

#[test]
fn a_message_longer_than_any_is_left_out_and_its_neighbours_pass() {
    let mut frames = Frames::default();
    frames.take(&header(MESSAGE_BYTES_MAX + 3, &[0, 0])).unwrap();
    let kept = frames.ready().split();
    assert!(kept.windows(WITHOUT_BODY.len()).any(|window| window == WITHOUT_BODY.as_bytes()));
    let piece = vec![0; 1 << 20];
    for _ in 0..MESSAGE_BYTES_MAX >> 20 {
        frames.take(&frame(3, 1, &piece)).unwrap();
        assert!(frames.ready().is_empty(), "its body is not kept");
    }
    frames.take(&frame(3, 2, b"of another channel")).unwrap();
    assert_eq!(frames.ready().split().to_vec(), frame(3, 2, b"of another channel"));
    frames.take(&frame(3, 1, b"end")).unwrap();
    assert!(frames.ready().is_empty());
    let next = [header(2, &[0, 0]), frame(3, 1, b"ok")].concat();
    frames.take(&next).unwrap();
    assert_eq!(frames.ready().to_vec(), next);
}

#[test]
fn a_routing_key_that_is_no_text_is_made_one() {
    assert_eq!(sifted(&delivery(b"\xffa\xfe")).unwrap(), delivery(b"?a?"));
}

#[test]
fn a_broker_that_sends_what_no_broker_sends_is_hung_up_on() {
    let start = |table: &[u8]| frame(1, 0, &[&[0, 10, 0, 10, 0, 9][..], &sized(table)].concat());
    assert!(sifted(&start(b"\x01a\x56")).is_ok());
    let mut unended = frame(8, 0, b"");
    unended = [frame(1, 0, &[0, 10, 0, 40]), unended].concat();
    unended[11] = 0;
    for bad in
        [start(&[b"\x01a", &nested(40)[..]].concat()), frame(7, 0, b""), vec![3, 0, 1, 255, 255, 255, 255], frame(2, 1, b"short"), unended]
    {
        assert!(sifted(&bad).is_err());
    }
}

proptest! {
    #[test]
    fn frames_are_the_same_in_whatever_pieces_they_come(cuts in prop::collection::vec(1_usize..40, 1..40), depth in 0_usize..12) {
        let all = [delivery(b"\xffkey"), header(6, &headers(&nested(depth))), frame(3, 1, b"abcdef"), frame(8, 0, b"")].concat();
        let whole = sifted(&all).unwrap();
        let (mut frames, mut rest) = (Frames::default(), &all[..]);
        for cut in cuts.iter().cycle() {
            let (piece, later) = rest.split_at((*cut).min(rest.len()));
            frames.take(piece).unwrap();
            rest = later;
            if rest.is_empty() {
                break;
            }
        }
        prop_assert_eq!(frames.ready().to_vec(), whole);
    }

    #[test]
    fn no_bytes_make_it_panic(bytes in prop::collection::vec(any::<u8>(), 0..300), kind in 1_u8..9, rest in prop::collection::vec(any::<u8>(), 0..100)) {
        let _ = sifted(&bytes);
        let _ = sifted(&frame(kind, 1, &bytes));
        let _ = sifted(&[header(5, &bytes), frame(kind, 1, &rest)].concat());
    }
}
