//! A TCP relay between a host and its broker that fails on command: it cuts, resets, stalls, delays and half-closes, at once or at the very frame
//! a test names, such as after a publish and before its confirm.

use std::{
    collections::BTreeMap,
    net::SocketAddr,
    sync::{Arc, Mutex},
    time::Duration,
};

use bytes::BytesMut;
use tokio::{
    io::{AsyncReadExt as _, AsyncWriteExt as _},
    net::{
        TcpListener, TcpStream,
        tcp::{ReadHalf, WriteHalf},
    },
    sync::{oneshot, watch},
    task::JoinHandle,
};

use crate::frames::{Frame, GREETING, method};

/// Which way a frame goes.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Way {
    /// From the host.
    ToBroker,
    /// From the broker.
    ToHost,
}

/// What happens to the connections.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Fault {
    /// They end in order.
    Cut,
    /// They end with a reset.
    Reset,
    /// They stay open and carry nothing any more, as through a router that has forgotten them; new ones work.
    Stall,
    /// The host can still send, and hears the end of what the broker says.
    HalfClose,
}

impl Fault {
    /// Whether connections are over with it.
    fn is_end(self) -> bool {
        matches!(self, Self::Cut | Self::Reset)
    }
}

/// How the relay carries at this moment.
#[derive(Clone, Copy, Debug)]
struct Mood {
    /// Raised by every fault; connections of an older number suffer it.
    generation: u64,
    fault: Fault,
    /// New connections are turned away.
    is_closed: bool,
    delay: Duration,
}

/// The frame at which a fault strikes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Moment {
    /// Which way it goes.
    pub way: Way,
    /// Class and method.
    pub what: (u16, u16),
    /// How many such frames pass first.
    pub after: usize,
    /// Whether the frame itself still passes.
    pub passes: bool,
}

impl Moment {
    /// The broker has the message and has said so, and the host never hears it.
    pub const BEFORE_CONFIRM: Self = Self { way: Way::ToHost, what: method::ACK, after: 0, passes: false };
    /// The message is announced and its content never comes.
    pub const AMID_PUBLISH: Self = Self { way: Way::ToBroker, what: method::PUBLISH, after: 0, passes: true };
    /// The host has settled a leg and the broker never hears it.
    pub const BEFORE_ACK: Self = Self { way: Way::ToBroker, what: method::ACK, after: 0, passes: false };

    /// Once this many of such frames have passed.
    #[must_use]
    pub fn after(self, after: usize) -> Self {
        Self { after, ..self }
    }
}

/// A fault that waits for its frame.
#[derive(Debug)]
struct Trap {
    moment: Moment,
    fault: Fault,
    sprung: oneshot::Sender<()>,
}

#[derive(Debug)]
struct Shared {
    broker: watch::Sender<SocketAddr>,
    /// What is looked for in message headers, and how often it went by each way.
    words: Mutex<BTreeMap<(Way, &'static [u8]), usize>>,
    mood: watch::Sender<Mood>,
    trap: Mutex<Option<Trap>>,
}

/// The relay; its connections end when it is dropped.
#[derive(Debug)]
pub struct Relay {
    address: SocketAddr,
    shared: Arc<Shared>,
    listening: JoinHandle<()>,
}

impl Relay {
    /// A relay to the broker at this local port.
    #[expect(clippy::disallowed_methods, reason = "the relay is this test's own")]
    pub async fn to(port: u16) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.expect("a port");
        let address = listener.local_addr().expect("an address");
        let mood = Mood { generation: 0, fault: Fault::Cut, is_closed: false, delay: Duration::ZERO };
        let broker = watch::Sender::new(local(port));
        let shared = Arc::new(Shared { broker, words: Mutex::default(), mood: watch::Sender::new(mood), trap: Mutex::new(None) });
        let listening = tokio::spawn({
            let shared = Arc::clone(&shared);
            async move {
                let mut connections = tokio::task::JoinSet::new();
                while let Ok((host, _)) = listener.accept().await {
                    connections.spawn(Arc::clone(&shared).carry(host));
                }
            }
        });
        Self { address, shared, listening }
    }

    /// The broker's URL by way of this relay, as `guest` in a vhost.
    pub fn url(&self, vhost: &str) -> String {
        format!("amqp://guest:guest@{}/{vhost}", self.address)
    }

    /// Does this to every connection there is.
    pub fn strike(&self, fault: Fault) {
        self.shared.strike(fault);
    }

    /// Turns new connections away (and cuts those there are), or takes them again.
    pub fn close(&self, is_closed: bool) {
        self.shared.mood.send_modify(|mood| mood.is_closed = is_closed);
        if is_closed {
            self.strike(Fault::Cut);
        }
    }

    /// From now on every frame takes this much longer.
    pub fn delay(&self, delay: Duration) {
        self.shared.mood.send_modify(|mood| mood.delay = delay);
    }

    /// Leads new connections to another node, as a balancer does, and cuts those there are.
    pub fn lead_to(&self, port: u16) {
        self.shared.broker.send_replace(local(port));
        self.strike(Fault::Cut);
    }

    /// Counts from now on the message headers in which this stands.
    pub fn look_for(&self, way: Way, word: &'static [u8]) {
        self.shared.words.lock().expect("the words").insert((way, word), 0);
    }

    /// How many message headers had it.
    pub fn seen(&self, way: Way, word: &'static [u8]) -> usize {
        self.shared.words.lock().expect("the words")[&(way, word)]
    }

    /// Strikes at this moment, once. Gives what ends when it has.
    pub fn strike_at(&self, moment: Moment, fault: Fault) -> oneshot::Receiver<()> {
        let (sprung, wait) = oneshot::channel();
        *self.shared.trap.lock().expect("the trap") = Some(Trap { moment, fault, sprung });
        wait
    }
}

impl Drop for Relay {
    fn drop(&mut self) {
        self.listening.abort();
    }
}

impl Shared {
    fn strike(&self, fault: Fault) {
        self.mood.send_modify(|mood| {
            mood.fault = fault;
            mood.generation += 1;
        });
    }

    async fn carry(self: Arc<Self>, mut host: TcpStream) {
        if self.mood.borrow().is_closed {
            return;
        }
        let mut mood = self.mood.subscribe();
        let generation = mood.borrow_and_update().generation;
        let broker = *self.broker.borrow();
        let Ok(mut broker) = TcpStream::connect(broker).await else { return };
        let _ = (host.set_nodelay(true), broker.set_nodelay(true));
        let ending = {
            let ((from_host, to_host), (from_broker, to_broker)) = (host.split(), broker.split());
            tokio::select! {
                _ = self.pump(Way::ToBroker, from_host, to_broker, generation) => Fault::Cut,
                _ = self.pump(Way::ToHost, from_broker, to_host, generation) => Fault::Cut,
                mood = mood.wait_for(|mood| mood.generation != generation && mood.fault.is_end()) => {
                    mood.map_or(Fault::Cut, |mood| mood.fault)
                }
            }
        };
        if ending == Fault::Reset {
            let _ = (host.set_zero_linger(), broker.set_zero_linger());
        }
    }

    async fn pump(&self, way: Way, mut from: ReadHalf<'_>, mut to: WriteHalf<'_>, generation: u64) -> Option<()> {
        let (mut mood, mut half) = (self.mood.subscribe(), self.mood.subscribe());
        let mut bytes = BytesMut::new();
        let mut is_greeted = way == Way::ToHost;
        loop {
            if !is_greeted && bytes.len() >= GREETING.len() {
                to.write_all(&bytes.split_to(GREETING.len())).await.ok()?;
                is_greeted = true;
            }
            while is_greeted && let Some(frame) = Frame::take(&mut bytes) {
                self.pass(way, &frame, &mut to, (&mut mood, generation)).await?;
            }
            tokio::select! {
                read = from.read_buf(&mut bytes) => read.ok().filter(|read| *read > 0).map(drop)?,
                () = half_closed(&mut half, generation), if way == Way::ToHost => {
                    to.shutdown().await.ok()?;
                    std::future::pending::<()>().await;
                }
            }
        }
    }

    async fn pass(
        &self,
        way: Way,
        frame: &Frame,
        to: &mut WriteHalf<'_>,
        (mood, generation): (&mut watch::Receiver<Mood>, u64),
    ) -> Option<()> {
        let (delay, sprung) = (mood.borrow().delay, self.spring(way, frame));
        if !delay.is_zero() {
            tokio::time::sleep(delay).await;
        }
        mood.wait_for(|mood| mood.generation == generation || mood.fault != Fault::Stall).await.ok()?;
        self.note(way, frame);
        if sprung.as_ref().is_none_or(|trap| trap.moment.passes) {
            let mut bytes = BytesMut::new();
            frame.put(&mut bytes);
            to.write_all(&bytes).await.ok()?;
        }
        if let Some(trap) = sprung {
            self.strike(trap.fault);
            let _ = trap.sprung.send(());
        }
        Some(())
    }

    fn note(&self, way: Way, frame: &Frame) {
        if !frame.is_header() {
            return;
        }
        for ((_, word), seen) in self.words.lock().expect("the words").iter_mut().filter(|((looked, _), _)| *looked == way) {
            *seen += usize::from(frame.payload.windows(word.len()).any(|part| part == *word));
        }
    }

    /// The trap, if this is its frame.
    fn spring(&self, way: Way, frame: &Frame) -> Option<Trap> {
        let mut armed = self.trap.lock().expect("the trap");
        let moment = &mut armed.as_mut()?.moment;
        if moment.way != way || frame.what() != Some(moment.what) {
            return None;
        }
        if moment.after > 0 {
            moment.after -= 1;
            return None;
        }
        armed.take()
    }
}

async fn half_closed(mood: &mut watch::Receiver<Mood>, generation: u64) {
    // The relay is gone when this fails, and its connections with it.
    let _ = mood.wait_for(|mood| mood.generation != generation && mood.fault == Fault::HalfClose).await.map(|mood| mood.generation);
}

fn local(port: u16) -> SocketAddr {
    SocketAddr::from(([127, 0, 0, 1], port))
}
