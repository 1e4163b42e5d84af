//! AMQP 0-9-1 frames, as far as a fault injector and a fake broker read and write them.

use bytes::{Buf as _, BufMut as _, Bytes, BytesMut};

/// (class, method) of what tests speak of.
pub mod method {
    /// A client hands a message to the broker.
    pub const PUBLISH: (u16, u16) = (60, 40);
    /// A broker returns a message it could not route.
    pub const RETURN: (u16, u16) = (60, 50);
    /// A broker hands a message to a client.
    pub const DELIVER: (u16, u16) = (60, 60);
    /// Either side takes responsibility: a confirm from the broker, an acknowledgement from the client.
    pub const ACK: (u16, u16) = (60, 80);
    /// The broker refuses.
    pub const NACK: (u16, u16) = (60, 120);
}

/// The first byte of a frame.
const METHOD: u8 = 1;
const HEADER: u8 = 2;
const BODY: u8 = 3;
const END: u8 = 0xce;
const OVERHEAD: usize = 8;
/// What a client says before its first frame.
pub const GREETING: &[u8] = b"AMQP\x00\x00\x09\x01";

/// One frame.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Frame {
    /// Method, header, body or heartbeat.
    pub kind: u8,
    /// Which channel.
    pub channel: u16,
    /// What it carries.
    pub payload: Bytes,
}

impl Frame {
    /// Takes the first whole frame off the front.
    pub fn take(bytes: &mut BytesMut) -> Option<Self> {
        let size = usize::try_from(u32::from_be_bytes(bytes.get(3..7)?.try_into().ok()?)).ok()?;
        if bytes.len() < size + OVERHEAD {
            return None;
        }
        let mut whole = bytes.split_to(size + OVERHEAD).freeze();
        let (kind, channel) = (whole.get_u8(), whole.get_u16());
        whole.advance(4);
        assert_eq!(whole[size], END, "a frame ends where it says");
        Some(Self { kind, channel, payload: whole.slice(..size) })
    }

    /// A method.
    pub fn method(channel: u16, (class, method): (u16, u16), arguments: &[u8]) -> Self {
        let mut payload = BytesMut::with_capacity(4 + arguments.len());
        payload.put_u16(class);
        payload.put_u16(method);
        payload.put_slice(arguments);
        Self { kind: METHOD, channel, payload: payload.freeze() }
    }

    /// A message's header or body.
    pub fn content(channel: u16, is_header: bool, payload: Bytes) -> Self {
        Self { kind: if is_header { HEADER } else { BODY }, channel, payload }
    }

    /// Which method this is, if it is one.
    pub fn what(&self) -> Option<(u16, u16)> {
        let mut payload = self.payload.clone();
        (self.kind == METHOD && payload.len() >= 4).then(|| (payload.get_u16(), payload.get_u16()))
    }

    /// Whether it is a message's header.
    pub fn is_header(&self) -> bool {
        self.kind == HEADER
    }

    /// Whether it is a part of a message's body.
    pub fn is_body(&self) -> bool {
        self.kind == BODY
    }

    /// What follows class and method.
    pub fn arguments(&self) -> Bytes {
        self.payload.slice(4..)
    }

    /// Writes it down.
    pub fn put(&self, to: &mut BytesMut) {
        to.put_u8(self.kind);
        to.put_u16(self.channel);
        to.put_u32(u32::try_from(self.payload.len()).expect("a frame of less than 4 GiB"));
        to.put_slice(&self.payload);
        to.put_u8(END);
    }
}

/// Takes a short string off the front.
pub fn take_short(bytes: &mut Bytes) -> String {
    let len = usize::from(bytes.get_u8());
    String::from_utf8_lossy(&bytes.split_to(len)).into_owned()
}

/// A short string.
pub fn put_short(to: &mut BytesMut, text: &str) {
    to.put_u8(u8::try_from(text.len()).expect("at most 255 bytes"));
    to.put_slice(text.as_bytes());
}
