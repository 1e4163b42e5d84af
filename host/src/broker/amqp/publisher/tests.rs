//! Against a broker of a page that answers as real ones do under load: in its own order, or not at all.

use std::{net::SocketAddr, sync::Mutex};

use tokio::{
    io::{AsyncReadExt as _, AsyncWriteExt as _},
    net::{TcpListener, TcpStream},
};

use super::*;

/// What the broker does with a message, by the number in its body.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Temper {
    /// Confirms even numbers and refuses odd ones.
    RefusesOdd,
    /// Never confirms.
    Silent,
    /// Cuts the connection at the first message of its first life, confirms in the second.
    CutsOnce,
}

/// A broker that speaks as much AMQP as a publisher needs.
struct Broker {
    address: SocketAddr,
    /// The flag bits of every publish: mandatory is 1.
    flags: Arc<Mutex<Vec<u8>>>,
}

fn method(channel: u16, class: u16, id: u16, arguments: &[u8]) -> Vec<u8> {
    let mut payload = [class.to_be_bytes(), id.to_be_bytes()].concat();
    payload.extend_from_slice(arguments);
    let mut frame = vec![1];
    frame.extend(channel.to_be_bytes());
    frame.extend(u32::try_from(payload.len()).unwrap().to_be_bytes());
    frame.extend(payload);
    frame.push(0xce);
    frame
}

impl Broker {
    async fn start(tasks: &Tasks, temper: Temper) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let (address, flags) = (listener.local_addr().unwrap(), Arc::<Mutex<Vec<u8>>>::default());
        let (noted, stop) = (Arc::clone(&flags), tasks.clone());
        tasks.spawn("fake_broker", async move {
            let mut lives = 0;
            loop {
                let (stream, _) = tokio::select! {
                    () = stop.stopping() => return,
                    accepted = listener.accept() => accepted.unwrap(),
                };
                let noted = Arc::clone(&noted);
                lives += 1;
                let is_cut = temper == Temper::CutsOnce && lives == 1;
                stop.spawn_brief(async move { speak(stream, temper, is_cut, &noted).await.unwrap_or_default() });
            }
        });
        Self { address, flags }
    }

    fn publisher(&self, tasks: &Tasks, confirm_max: Duration) -> Publisher {
        let address = Address::parse(&format!("amqp://guest:guest@{}/%2f", self.address)).unwrap();
        let settings = Settings { confirm_max, ..Settings::new("test") };
        Publisher::start(tasks, address, settings, Arc::new(|_| Box::pin(async { Ok(()) })))
    }
}

async fn speak(mut stream: TcpStream, temper: Temper, is_cut: bool, flags: &Mutex<Vec<u8>>) -> std::io::Result<()> {
    let mut greeting = [0; 8];
    stream.read_exact(&mut greeting).await?;
    let start = [&[0, 9][..], &[0; 4], &5_u32.to_be_bytes(), b"PLAIN", &5_u32.to_be_bytes(), b"en_US"].concat();
    stream.write_all(&method(0, 10, 10, &start)).await?;
    let mut sequence = 0_u64;
    loop {
        let kind = stream.read_u8().await?;
        let (channel, length) = (stream.read_u16().await?, stream.read_u32().await?);
        let mut payload = vec![0; length as usize + 1];
        stream.read_exact(&mut payload).await?;
        if kind == 3 {
            sequence += 1;
            let number = u64::from_be_bytes(payload[..8].try_into().unwrap());
            match temper {
                Temper::Silent => {}
                Temper::CutsOnce if is_cut => return Ok(()),
                _ => {
                    let (id, last) = if number % 2 == 0 { (80, 0) } else { (120, 0) };
                    stream.write_all(&method(channel, 60, id, &[&sequence.to_be_bytes()[..], &[last]].concat())).await?;
                }
            }
        }
        if kind != 1 {
            continue;
        }
        let answer = match (u16::from_be_bytes([payload[0], payload[1]]), u16::from_be_bytes([payload[2], payload[3]])) {
            (10, 11) => method(0, 10, 30, &[&2047_u16.to_be_bytes()[..], &131_072_u32.to_be_bytes(), &[0, 0]].concat()),
            (10, 40) => method(0, 10, 41, &[0]),
            (20, 10) => method(channel, 20, 11, &[0; 4]),
            (85, 10) => method(channel, 85, 11, &[]),
            (20, 40) => method(channel, 20, 41, &[]),
            (10, 50) => method(0, 10, 51, &[]),
            (60, 40) => {
                flags.lock().unwrap().push(payload[payload.len() - 2]);
                continue;
            }
            _ => continue,
        };
        stream.write_all(&answer).await?;
    }
}

fn message(number: u64) -> Message {
    Message {
        exchange: "x".to_owned(),
        routing_key: "k".to_owned(),
        message_id: number.to_string(),
        content_type: "application/octet-stream",
        headers: vec![("n".into(), HeaderValue::Number(1)), ("t".into(), HeaderValue::Text("one".to_owned()))],
        body: number.to_be_bytes().to_vec().into(),
    }
}

async fn ready(publisher: &Publisher) {
    publisher.connected().wait_for(|connected| *connected == Connected::Ready).await.unwrap();
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn many_tasks_are_each_told_what_became_of_their_own_message() {
    let tasks = Tasks::new();
    let broker = Broker::start(&tasks, Temper::RefusesOdd).await;
    let publisher = broker.publisher(&tasks, ANSWER_MAX);
    ready(&publisher).await;
    let crossed = Arc::new(AtomicU64::new(0));
    let publishing = Tasks::new();
    for task in 0..8_u64 {
        let (publisher, crossed) = (publisher.clone(), Arc::clone(&crossed));
        publishing.spawn("publish_many", async move {
            for number in task * 500..(task + 1) * 500 {
                let expected = if number % 2 == 0 { Published::Confirmed } else { Published::Refused };
                crossed.fetch_add(u64::from(publisher.publish(message(number)).await != expected), Ordering::Relaxed);
            }
        });
    }
    assert_eq!(publishing.stop(Duration::from_mins(1)).await, 0);
    assert_eq!(crossed.load(Ordering::Relaxed), 0, "a refused message was reported as stored, or the other way round");
    assert!(broker.flags.lock().unwrap().iter().all(|flags| *flags == 0), "returns cannot be told apart: never ask for them");
    tasks.stop(ANSWER_MAX).await;
}

#[tokio::test]
async fn a_confirm_that_does_not_come_is_unknown_and_ends_the_connection() {
    let tasks = Tasks::new();
    let broker = Broker::start(&tasks, Temper::Silent).await;
    let publisher = broker.publisher(&tasks, Duration::from_millis(100));
    ready(&publisher).await;
    assert!(matches!(publisher.publish(message(2)).await, Published::Unknown(_)));
    publisher.connected().wait_for(|connected| matches!(connected, Connected::Away(_))).await.unwrap();
    tasks.stop(ANSWER_MAX).await;
}

#[tokio::test]
async fn a_connection_lost_between_publish_and_confirm_is_unknown_and_comes_back() {
    let tasks = Tasks::new();
    let broker = Broker::start(&tasks, Temper::CutsOnce).await;
    let publisher = broker.publisher(&tasks, ANSWER_MAX);
    ready(&publisher).await;
    assert!(matches!(publisher.publish(message(2)).await, Published::Unknown(_)));
    ready(&publisher).await;
    assert_eq!(publisher.publish(message(2)).await, Published::Confirmed);
    tasks.stop(ANSWER_MAX).await;
}

#[tokio::test]
async fn without_a_broker_nothing_is_sent_and_nobody_waits() {
    let tasks = Tasks::new();
    let address = Address::parse("amqp://guest:guest@127.0.0.1:1/%2f").unwrap();
    let publisher = Publisher::start(&tasks, address, Settings::new("test"), Arc::new(|_| Box::pin(async { Ok(()) })));
    assert!(matches!(publisher.publish(message(2)).await, Published::NotSent(_)));
    tasks.stop(ANSWER_MAX).await;
}
