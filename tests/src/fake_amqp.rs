//! A broker that decides about every message as the test says: it stores nothing, confirms, refuses or returns what it is sent, and keeps a list.
//!
//! It answers what has arrived by then in one go, contiguous confirms as one with `multiple`, as RabbitMQ does under load. That is where
//! clients mix up whose confirm is whose.

use std::{
    net::SocketAddr,
    sync::{Arc, Mutex},
};

use bytes::{Buf as _, BufMut as _, Bytes, BytesMut};
use tokio::{
    io::{AsyncReadExt as _, AsyncWriteExt as _},
    net::{TcpListener, TcpStream},
    task::JoinHandle,
};

use crate::frames::{Frame, GREETING, method, put_short, take_short};

/// A message the broker was sent.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Published {
    /// To which exchange.
    pub exchange: String,
    /// Under which routing key.
    pub routing_key: String,
    /// The body.
    pub body: Bytes,
}

/// What the broker says to a message.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Answer {
    /// It has it.
    Ack,
    /// It does not take it.
    Nack,
    /// It has no queue for it; the message goes back and, as AMQP has it, is confirmed.
    Return,
}

type Judge = Arc<dyn Fn(&Published) -> Answer + Send + Sync>;

/// The broker; it ends when dropped.
#[derive(Debug)]
pub struct FakeBroker {
    address: SocketAddr,
    answered: Arc<Mutex<Vec<(Published, Answer)>>>,
    listening: JoinHandle<()>,
}

impl FakeBroker {
    /// Starts one that answers each message as `judge` says.
    #[expect(clippy::disallowed_methods, reason = "the broker is this test's own")]
    pub async fn start(judge: impl Fn(&Published) -> Answer + Send + Sync + 'static) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.expect("a port");
        let address = listener.local_addr().expect("an address");
        let (judge, answered): (Judge, _) = (Arc::new(judge), Arc::new(Mutex::new(Vec::new())));
        let listening = tokio::spawn({
            let answered = Arc::clone(&answered);
            async move {
                let mut sessions = tokio::task::JoinSet::new();
                while let Ok((stream, _)) = listener.accept().await {
                    let session = Session { judge: Arc::clone(&judge), answered: Arc::clone(&answered), ..Session::default() };
                    sessions.spawn(session.serve(stream));
                }
            }
        });
        Self { address, answered, listening }
    }

    /// Where it is, with credentials.
    pub fn url(&self) -> String {
        format!("amqp://guest:guest@{}/%2f", self.address)
    }

    /// Every message so far with what was said to it, in the order of their arrival.
    pub fn answered(&self) -> Vec<(Published, Answer)> {
        self.answered.lock().expect("the list").clone()
    }
}

impl Drop for FakeBroker {
    fn drop(&mut self) {
        self.listening.abort();
    }
}

/// One connection.
struct Session {
    judge: Judge,
    answered: Arc<Mutex<Vec<(Published, Answer)>>>,
    channels: std::collections::BTreeMap<u16, Channel>,
    out: BytesMut,
}

impl Default for Session {
    fn default() -> Self {
        let judge: Judge = Arc::new(|_| Answer::Ack);
        Self { judge, answered: Arc::default(), channels: std::collections::BTreeMap::new(), out: BytesMut::new() }
    }
}

/// One channel: the message that is arriving, and the confirms that are owed.
#[derive(Default)]
struct Channel {
    arriving: Option<Arriving>,
    delivery_tag: u64,
    owed: Vec<(u64, Answer)>,
}

struct Arriving {
    published: Published,
    header: Bytes,
    body_bytes: u64,
}

impl Session {
    async fn serve(mut self, mut stream: TcpStream) {
        let mut greeting = [0; 8];
        if stream.read_exact(&mut greeting).await.is_err() || greeting != GREETING {
            return;
        }
        // Version 0-9, no server properties, one mechanism, one locale.
        self.say(0, (10, 10), b"\x00\x09\x00\x00\x00\x00\x00\x00\x00\x0ePLAIN AMQPLAIN\x00\x00\x00\x05en_US");
        let mut bytes = BytesMut::new();
        loop {
            while let Some(frame) = Frame::take(&mut bytes) {
                self.hear(&frame);
            }
            self.confirm();
            if stream.write_all(&self.out).await.is_err() {
                return;
            }
            self.out.clear();
            if !matches!(stream.read_buf(&mut bytes).await, Ok(read) if read > 0) {
                return;
            }
        }
    }

    fn say(&mut self, channel: u16, what: (u16, u16), arguments: &[u8]) {
        Frame::method(channel, what, arguments).put(&mut self.out);
    }

    fn hear(&mut self, frame: &Frame) {
        if frame.is_header() || frame.is_body() {
            return self.hear_content(frame);
        }
        let Some(what) = frame.what() else { return };
        let channel = frame.channel;
        match what {
            // start-ok → tune: 2047 channels, frames of 128 KiB, no heartbeat.
            (10, 11) => self.say(channel, (10, 30), b"\x07\xff\x00\x02\x00\x00\x00\x00"),
            // tune-ok, and acknowledgements of what was never delivered.
            (10, 31) | method::ACK | method::NACK => {}
            (10, 40) => self.say(channel, (10, 41), b"\x00"),
            (20, 10) => self.say(channel, (20, 11), b"\x00\x00\x00\x00"),
            method::PUBLISH => {
                let mut arguments = frame.arguments();
                arguments.advance(2);
                let (exchange, routing_key) = (take_short(&mut arguments), take_short(&mut arguments));
                let published = Published { exchange, routing_key, body: Bytes::new() };
                self.channels.entry(channel).or_default().arriving = Some(Arriving { published, header: Bytes::new(), body_bytes: 0 });
            }
            (50, 10) => {
                let mut arguments = frame.arguments();
                arguments.advance(2);
                let mut answer = BytesMut::new();
                put_short(&mut answer, &take_short(&mut arguments));
                answer.put_slice(&[0; 8]);
                self.say(channel, (50, 11), &answer);
            }
            (60, 20) => self.say(channel, (60, 21), b"\x03tag"),
            (60, 30) => self.say(channel, (60, 31), b"\x03tag"),
            // Purging and deleting answer with a count.
            (50, 30 | 40) => self.say(channel, (what.0, what.1 + 1), &[0; 4]),
            // Everything else is answered by the next method without arguments.
            (class, method) => self.say(channel, (class, method + 1), b""),
        }
    }

    fn hear_content(&mut self, frame: &Frame) {
        let channel = self.channels.entry(frame.channel).or_default();
        let Some(mut arriving) = channel.arriving.take() else { return };
        if frame.is_header() {
            arriving.body_bytes = frame.payload.slice(4..).get_u64();
            arriving.header = frame.payload.clone();
        } else {
            let whole = [arriving.published.body, frame.payload.clone()].concat();
            arriving.published.body = whole.into();
        }
        if (arriving.published.body.len() as u64) < arriving.body_bytes {
            channel.arriving = Some(arriving);
            return;
        }
        channel.delivery_tag += 1;
        let answer = (self.judge)(&arriving.published);
        channel.owed.push((channel.delivery_tag, answer));
        if answer == Answer::Return {
            self.give_back(frame.channel, &arriving);
        }
        self.answered.lock().expect("the list").push((arriving.published, answer));
    }

    fn give_back(&mut self, channel: u16, arriving: &Arriving) {
        let mut arguments = BytesMut::new();
        arguments.put_u16(312);
        put_short(&mut arguments, "NO_ROUTE");
        put_short(&mut arguments, &arriving.published.exchange);
        put_short(&mut arguments, &arriving.published.routing_key);
        self.say(channel, method::RETURN, &arguments);
        Frame::content(channel, true, arriving.header.clone()).put(&mut self.out);
        Frame::content(channel, false, arriving.published.body.clone()).put(&mut self.out);
    }

    /// Confirms what is owed: runs of the same answer as one.
    fn confirm(&mut self) {
        let owed: Vec<_> = self.channels.iter_mut().map(|(channel, state)| (*channel, std::mem::take(&mut state.owed))).collect();
        for (channel, owed) in owed {
            for run in owed.chunk_by(|(_, left), (_, right)| (*left == Answer::Nack) == (*right == Answer::Nack)) {
                let (tag, answer) = run[run.len() - 1];
                let mut arguments = BytesMut::new();
                arguments.put_u64(tag);
                arguments.put_u8(u8::from(run.len() > 1));
                self.say(channel, if answer == Answer::Nack { method::NACK } else { method::ACK }, &arguments);
            }
        }
    }
}
