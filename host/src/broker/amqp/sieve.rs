//! What the client library is given to read: frames that it survives.
//!
//! Whoever may publish to a queue chooses the properties of his message, and RabbitMQ hands them on as they are. The library reads the tables in
//! them by recursion, without a limit, so that a header of tables in tables ends the process by an overflow of the stack; a text in them that is no
//! UTF-8 ends its connection, again each time the message is delivered; and it keeps a whole message in memory, however long it is. No code of
//! ours sees a message before all that. So this stands between the connection and the library, reads the frames first, and changes the few that
//! must not be read: properties are taken out, a body is left out, a routing key loses what is no text. A message that was changed so has a
//! content type that says it, and is put aside like everything whose seal does not hold. What no publisher can cause (tables of the broker's own
//! that nest, frames longer than any) ends the connection.

use std::{
    collections::HashMap,
    io,
    pin::Pin,
    task::{Context, Poll, ready},
};

use bytes::{Buf as _, BufMut as _, BytesMut};
use futures_io::{AsyncRead, AsyncWrite};

use super::properties;

/// The content type of a message whose properties were taken out.
pub(super) const WITHOUT_PROPERTIES: &str = "application/x-hookyard-without-properties";
/// The content type of a message whose properties and body were left out.
pub(super) const WITHOUT_BODY: &str = "application/x-hookyard-without-body";

/// The longest message that is read: above every cap that a host may have for its own.
pub(super) const MESSAGE_BYTES_MAX: u64 = 129 * 1024 * 1024;
/// The longest frame: eight times what RabbitMQ agrees to where nobody changed it.
const FRAME_BYTES_MAX: usize = 1024 * 1024;
/// The longest properties that are looked into.
const PROPERTIES_BYTES_MAX: usize = 64 * 1024;
/// Bytes read at once.
const READ_BYTES: usize = 64 * 1024;

const METHOD: u8 = 1;
const HEADER: u8 = 2;
const BODY: u8 = 3;
const HEARTBEAT: u8 = 8;
const FRAME_END: u8 = 0xce;
/// Of a frame: kind, channel, length.
const FRAME_HEAD_BYTES: usize = 7;
/// Of the payload of a header frame: class, weight, length of the body.
const CONTENT_HEAD_BYTES: usize = 12;

/// A stream whose reader gets only what it survives.
#[derive(Debug)]
pub(super) struct Sieve<S> {
    stream: S,
    frames: Frames,
    buffer: Box<[u8]>,
}

/// The frames, as they go by.
#[derive(Debug, Default)]
pub(super) struct Frames {
    /// Of a frame that is looked at whole, what has come of it.
    held: BytesMut,
    /// What can be read.
    ready: BytesMut,
    rest: Rest,
    /// Bytes of bodies that are still to be left out, by channel.
    left_out: HashMap<u16, u64>,
}

/// What the next bytes are.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
enum Rest {
    /// The head of a frame.
    #[default]
    Head,
    /// So many bytes of a frame that is looked at whole.
    Held(usize),
    /// So many that are passed on unseen.
    Passed(usize),
    /// So many that are left out.
    LeftOut(usize),
}

impl<S> Sieve<S> {
    pub(super) fn new(stream: S) -> Self {
        Self { stream, frames: Frames::default(), buffer: vec![0; READ_BYTES].into() }
    }
}

impl Frames {
    /// Takes what has come.
    ///
    /// # Errors
    /// It is nothing that a broker sends.
    pub(super) fn take(&mut self, mut bytes: &[u8]) -> io::Result<()> {
        while !bytes.is_empty() {
            let wanted = match self.rest {
                Rest::Head => FRAME_HEAD_BYTES - self.held.len(),
                Rest::Held(wanted) | Rest::Passed(wanted) | Rest::LeftOut(wanted) => wanted,
            };
            let (now, later) = bytes.split_at(wanted.min(bytes.len()));
            bytes = later;
            let left = wanted - now.len();
            match self.rest {
                Rest::Head | Rest::Held(_) => self.held.extend_from_slice(now),
                Rest::Passed(_) => self.ready.extend_from_slice(now),
                Rest::LeftOut(_) => {}
            }
            self.rest = match self.rest {
                Rest::Head if left > 0 => Rest::Head,
                Rest::Head => self.begin()?,
                Rest::Held(_) if left > 0 => Rest::Held(left),
                Rest::Passed(_) if left > 0 => Rest::Passed(left),
                Rest::LeftOut(_) if left > 0 => Rest::LeftOut(left),
                Rest::Held(_) => {
                    self.look()?;
                    Rest::Head
                }
                Rest::Passed(_) | Rest::LeftOut(_) => Rest::Head,
            };
        }
        Ok(())
    }

    /// What can be read by now.
    pub(super) fn ready(&mut self) -> &mut BytesMut {
        &mut self.ready
    }

    /// The head of a frame is whole: what becomes of the rest of it.
    fn begin(&mut self) -> io::Result<Rest> {
        let mut head = &self.held[..];
        let (kind, channel, length) = (head.get_u8(), head.get_u16(), head.get_u32());
        if self.held.starts_with(b"AMQP") {
            // It speaks another version, says which, and hangs up.
            self.ready.put(self.held.split());
            return Ok(Rest::Passed(usize::MAX));
        }
        let length = usize::try_from(length).unwrap_or(usize::MAX);
        if length > FRAME_BYTES_MAX {
            return Err(wrong("a frame longer than any"));
        }
        match kind {
            METHOD | HEADER => Ok(Rest::Held(length + 1)),
            BODY => {
                let left_out = self.left_out.get_mut(&channel).filter(|bytes| **bytes > 0);
                let Some(left_out) = left_out else {
                    self.ready.put(self.held.split());
                    return Ok(Rest::Passed(length + 1));
                };
                *left_out = left_out.checked_sub(length as u64).ok_or(wrong("a body longer than it was said to be"))?;
                self.held.clear();
                Ok(Rest::LeftOut(length + 1))
            }
            HEARTBEAT => {
                self.ready.put(self.held.split());
                Ok(Rest::Passed(length + 1))
            }
            _ => Err(wrong("a frame of an unknown kind")),
        }
    }

    /// A frame is whole: it is passed on, changed or not.
    fn look(&mut self) -> io::Result<()> {
        let mut frame = self.held.split();
        let [kind, high, low, ..] = frame[..] else { return Err(wrong("a frame without a head")) };
        let end = frame.len() - 1;
        if frame[end] != FRAME_END {
            return Err(wrong("a frame without an end"));
        }
        if kind == METHOD {
            if !properties::is_method_readable(&mut frame[FRAME_HEAD_BYTES..end]) {
                return Err(wrong("a table that nests, or has more in it than any"));
            }
            self.ready.put(frame);
            return Ok(());
        }
        let channel = u16::from_be_bytes([high, low]);
        let payload = &frame[FRAME_HEAD_BYTES..end];
        let Some((content, properties)) = payload.split_at_checked(CONTENT_HEAD_BYTES) else { return Err(wrong("half a content header")) };
        let mut content = content;
        let (class, weight, body_bytes) = (content.get_u16(), content.get_u16(), content.get_u64());
        if body_bytes > MESSAGE_BYTES_MAX {
            self.left_out.insert(channel, body_bytes);
            self.put_header((channel, class, weight), 0, WITHOUT_BODY);
        } else if properties.len() > PROPERTIES_BYTES_MAX || !properties::are_readable(properties) {
            self.put_header((channel, class, weight), body_bytes, WITHOUT_PROPERTIES);
        } else {
            self.ready.put(frame);
        }
        Ok(())
    }

    /// A content header with nothing but a content type, which is the first of the properties.
    fn put_header(&mut self, (channel, class, weight): (u16, u16, u16), body_bytes: u64, content_type: &str) {
        let length = CONTENT_HEAD_BYTES + 2 + 1 + content_type.len();
        self.ready.put_u8(HEADER);
        self.ready.put_u16(channel);
        self.ready.put_u32(u32::try_from(length).unwrap_or(u32::MAX));
        self.ready.put_u16(class);
        self.ready.put_u16(weight);
        self.ready.put_u64(body_bytes);
        self.ready.put_u16(1 << 15);
        self.ready.put_u8(u8::try_from(content_type.len()).unwrap_or(u8::MAX));
        self.ready.put_slice(content_type.as_bytes());
        self.ready.put_u8(FRAME_END);
    }
}

fn wrong(what: &str) -> io::Error {
    io::Error::new(io::ErrorKind::InvalidData, format!("the broker sent {what}"))
}

impl<S: AsyncRead + Unpin> AsyncRead for Sieve<S> {
    fn poll_read(mut self: Pin<&mut Self>, context: &mut Context<'_>, into: &mut [u8]) -> Poll<io::Result<usize>> {
        let Self { stream, frames, buffer } = &mut *self;
        while frames.ready().is_empty() {
            let read = ready!(Pin::new(&mut *stream).poll_read(context, buffer))?;
            if read == 0 {
                return Poll::Ready(Ok(0));
            }
            frames.take(&buffer[..read])?;
        }
        let ready = frames.ready();
        let bytes = ready.len().min(into.len());
        ready.copy_to_slice(&mut into[..bytes]);
        Poll::Ready(Ok(bytes))
    }
}

impl<S: AsyncWrite + Unpin> AsyncWrite for Sieve<S> {
    fn poll_write(mut self: Pin<&mut Self>, context: &mut Context<'_>, bytes: &[u8]) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.stream).poll_write(context, bytes)
    }

    fn poll_flush(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_flush(context)
    }

    fn poll_close(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_close(context)
    }
}

#[cfg(test)]
mod tests;
