//! Hookyard on RabbitMQ, beside bare loops on the same node: what one confirm, one consumed message and one wasmtime call cost by themselves.
//!
//! The node is a private one, on the same cores as everything else. Accepting is measured on a host with the roles of a door only, because a
//! host that also works would show how the two share the cores; end to end is measured on a host that does everything.

mod bare;

use std::{sync::Arc, time::Duration};

use anyhow::Context as _;
use rabbit_node::{Node, Packages, Settings};

pub(crate) use self::bare::{Keeper, serve_confirming};
use crate::{
    bench::Bench,
    durable::{ACCEPTING, PUSH_PLUGIN, drained, serving},
    host::{Folder, Host, Queue},
    lengths::median,
    load::{Pace, drive},
    payload::Deliveries,
    process::{Server, free_address},
    reading::{Reading, Readings, read},
    report::{Figure, Floor},
};

/// As the report names the bare loops.
const CONFIRMING: &str = "bare hyper + HMAC + one quorum confirm";
const CONSUMING: &str = "bare consume and ack";
/// As the report names the accepts.
const DISK: &str = "RabbitMQ, 202 after disk, 1 subscriber";
/// Subscribers a delivery has.
const SUBSCRIBERS: [usize; 3] = [1, 3, 14];
/// Arrivals a second of the open loop, and what its 95th percentile may be.
const STEADY_PER_S: u32 = 1_000;
const STEADY_P95_MS: f64 = 50.0;
/// How soon work goes on after a killed broker listens again.
const RESUME_S: f64 = 4.0;
/// How old the broker's queues are before it is killed. RabbitMQ 3.10.8 has not written all it knows of a queue that was only just declared
/// (docs/rabbitmq.md, Versions), and that is not what is asked here.
const DECLARED_FOR: Duration = Duration::from_secs(10);
/// How often that is looked at.
const LOOK_EVERY: Duration = Duration::from_millis(5);
/// How long it may take at the very most.
const RESUME_MAX: Duration = Duration::from_secs(30);

/// Measures everything; without RabbitMQ it is left out with a word.
pub(crate) async fn measure(bench: &mut Bench) -> anyhow::Result<()> {
    let node = match Packages::find().and_then(|packages| Node::start(packages, &Settings::default())) {
        Ok(node) => node,
        Err(missing) => {
            bench.report.skipped.push(format!("everything on RabbitMQ: {missing:#}"));
            return Ok(());
        }
    };
    bare_loops(bench, &node).await?;
    accepts(bench, &node).await?;
    end_to_end(bench, &node).await?;
    drop(node);
    // One that has nothing else to recover.
    let node = Node::start(Packages::find()?, &Settings::default())?;
    resume(bench, &node).await
}

async fn bare_loops(bench: &mut Bench, node: &Node) -> anyhow::Result<()> {
    let mut confirming = Readings { name: CONFIRMING.to_owned(), rounds: Vec::new() };
    let mut consuming = Vec::new();
    for round in 1..=bench.lengths.rounds {
        let (place, other) = (Place::on(node)?, Place::on(node)?);
        let reading = confirming_round(bench, &place.url).await?;
        let consumed_per_s = bare::consume(&other.url, bench.lengths.end_to_end, &bench.clock).await?;
        bench.say(&format!("round {round}: {CONFIRMING} {:.0}/s, {CONSUMING} {consumed_per_s:.0}/s", reading.per_s));
        confirming.rounds.push(reading);
        consuming.push(consumed_per_s);
    }
    bench.report.readings.push(confirming);
    bench.report.figures.push(Figure { name: CONSUMING.to_owned(), value: median(consuming), unit: "/s", floor: Floor::None });
    Ok(())
}

async fn confirming_round(bench: &Bench, url: &str) -> anyhow::Result<Reading> {
    let address = free_address()?;
    let mut command = std::process::Command::new(std::env::current_exe()?);
    command.args(["bare-server", "--listen", &address.to_string(), "--confirm", url]);
    let mut server = Server::start("bare-confirm", &mut command, &bench.folders.scratch()?.join("bare-confirm.log"))?;
    server.listening(address, Duration::from_secs(30), &bench.clock).await?;
    let target = crate::load::Target { address, expected: http::StatusCode::ACCEPTED };
    let deliveries = Arc::new(Deliveries::pushes(bench.series())?);
    drive(target, &deliveries, Pace::ClosedFor(bench.lengths.warm_up), &bench.clock).await?;
    let (reading, _) = read((&mut server, target), &deliveries, Pace::ClosedFor(bench.lengths.span), &bench.clock).await?;
    server.stop(&bench.clock).await?;
    Ok(reading)
}

/// One way to accept on RabbitMQ.
struct Way {
    name: String,
    ack_after: &'static str,
    subscribers: usize,
}

async fn accepts(bench: &mut Bench, node: &Node) -> anyhow::Result<()> {
    let confirmed = SUBSCRIBERS.map(|subscribers| Way { name: by_broker(subscribers), ack_after: "broker", subscribers });
    let ways: Vec<_> = std::iter::once(Way { name: DISK.to_owned(), ack_after: "disk", subscribers: 1 }).chain(confirmed).collect();
    let mut all: Vec<_> = ways.iter().map(|way| Readings { name: way.name.clone(), rounds: Vec::new() }).collect();
    let mut steady_p95_ms = Vec::new();
    for round in 1..=bench.lengths.rounds {
        for (way, readings) in ways.iter().zip(&mut all) {
            let reading = accept_round(bench, node, way).await?;
            bench.say(&format!("round {round}: {:<44} {:>8.0} deliveries/s, p99 {:?}", way.name, reading.per_s, reading.p99));
            readings.rounds.push(reading);
        }
        steady_p95_ms.push(steady_round(bench, node).await?);
    }
    let name = format!("RabbitMQ, accept p95 at {STEADY_PER_S}/s, open loop, 202 after disk, plugin runs");
    bench.report.figures.push(Figure { name, value: median(steady_p95_ms), unit: " ms", floor: Floor::AtMost(STEADY_P95_MS) });
    bench.report.readings.extend(all);
    let ratio = |name: &str, to: &str| Some(bench.report.per_s(name)? / bench.report.per_s(to)?);
    let figures = [
        (format!("{DISK}, against the embedded queue"), ratio(DISK, ACCEPTING), 0.8),
        (format!("{}, against the bare confirm loop", by_broker(1)), ratio(&by_broker(1), CONFIRMING), 0.6),
    ];
    for (name, value, floor) in figures {
        match value {
            Some(value) => bench.report.figures.push(Figure { name, value, unit: "×", floor: Floor::AtLeast(floor) }),
            None => bench.report.skipped.push(format!("{name}: the other side was not measured")),
        }
    }
    Ok(())
}

fn by_broker(subscribers: usize) -> String {
    format!("RabbitMQ, 202 after every confirm, {subscribers} subscriber{}", if subscribers == 1 { "" } else { "s" })
}

async fn accept_round(bench: &Bench, node: &Node, way: &Way) -> anyhow::Result<Reading> {
    let place = Place::on(node)?;
    let queue = Queue { url: place.url.clone(), ack_after: way.ack_after, roles: "ingest,admin" };
    let folder = Folder::lay_copies(&bench.folders, PUSH_PLUGIN, way.subscribers, queue)?;
    let mut host = folder.start(&bench.clock).await?;
    let deliveries = Arc::new(Deliveries::pushes(bench.series())?);
    let warm = drive(host.target, &deliveries, Pace::ClosedFor(bench.lengths.warm_up), &bench.clock).await?;
    let (reading, measured) = read((&mut host.server, host.target), &deliveries, Pace::ClosedFor(bench.lengths.span), &bench.clock).await?;
    host.books().await?.must_hold(warm.latency.len() + measured.latency.len())?;
    host.stop(&bench.clock).await?;
    Ok(reading)
}

/// A host that does everything, at a rate it keeps up with.
async fn whole(bench: &Bench, place: &Place<'_>) -> anyhow::Result<(Folder, Host)> {
    let queue = Queue { url: place.url.clone(), ack_after: "disk", roles: "ingest,work,admin" };
    let folder = Folder::lay_copies(&bench.folders, PUSH_PLUGIN, 1, queue)?;
    let host = serving(&folder, &[PUSH_PLUGIN], bench).await?;
    Ok((folder, host))
}

async fn steady_round(bench: &Bench, node: &Node) -> anyhow::Result<f64> {
    let place = Place::on(node)?;
    let (_folder, mut host) = whole(bench, &place).await?;
    let deliveries = Arc::new(Deliveries::pushes(bench.series())?);
    let steady = Pace::Open { per_s: STEADY_PER_S, span: bench.lengths.span };
    let measured = drive(host.target, &deliveries, steady, &bench.clock).await?;
    drained(&mut host, measured.latency.len(), bench).await?;
    host.stop(&bench.clock).await?;
    Ok(measured.latency.quantile(0.95).as_secs_f64() * 1e3)
}

async fn end_to_end(bench: &mut Bench, node: &Node) -> anyhow::Result<()> {
    let mut rates = Vec::new();
    for round in 1..=bench.lengths.rounds {
        let place = Place::on(node)?;
        let (_folder, mut host) = whole(bench, &place).await?;
        let (count, deliveries) = (bench.lengths.end_to_end, Arc::new(Deliveries::pushes(bench.series())?));
        let measured = drive(host.target, &deliveries, Pace::ClosedCount(count), &bench.clock).await?;
        drained(&mut host, count, bench).await?;
        let elapsed = bench.clock.instant().saturating_duration_since(measured.first_answer);
        host.stop(&bench.clock).await?;
        #[expect(clippy::cast_precision_loss, reason = "counts are far below 2^52")]
        let per_s = count as f64 / elapsed.as_secs_f64();
        bench.say(&format!("round {round}: end to end on RabbitMQ {per_s:.0} deliveries/s"));
        rates.push(per_s);
    }
    let value = median(rates);
    let name = "RabbitMQ, end to end: accepted → plugin done".to_owned();
    bench.report.figures.push(Figure { name, value, unit: "/s", floor: Floor::None });
    let name = "RabbitMQ, end to end, against the three bare loops one after the other".to_owned();
    match together(bench) {
        Some(bare) => bench.report.figures.push(Figure { name, value: value / bare, unit: "×", floor: Floor::AtLeast(0.5) }),
        None => bench.report.skipped.push(format!("{name}: not all three were measured")),
    }
    Ok(())
}

/// What the bare loops allow together: a delivery is confirmed, consumed and called, each at its own rate, the call on every core.
fn together(bench: &Bench) -> Option<f64> {
    let (confirming, consuming) = (bench.report.per_s(CONFIRMING)?, bench.report.figure(CONSUMING)?);
    let call_us = bench.report.figures.iter().find(|figure| figure.name.starts_with("one bare wasmtime call"))?.value;
    let cores = std::thread::available_parallelism().map_or(1.0, |cores| f64::from(u32::try_from(cores.get()).unwrap_or(u32::MAX)));
    Some(1.0 / (1.0 / confirming + 1.0 / consuming + call_us / 1e6 / cores))
}

/// From the moment a killed broker listens again until the first waiting leg is handled. A round in which none is within [`RESUME_MAX`] counts as
/// that long, whoever is to blame, and is told.
async fn resume(bench: &mut Bench, node: &Node) -> anyhow::Result<()> {
    let mut spans_s = Vec::new();
    for round in 1..=bench.lengths.rounds {
        match resume_round(bench, node).await? {
            Resumed::After(span) => {
                bench.say(&format!("round {round}: work went on {span:?} after the broker listened again"));
                spans_s.push(span.as_secs_f64());
            }
            Resumed::Not { leaderless } => {
                let words = format!("round {round} of going on after a killed broker: nothing was handled within {RESUME_MAX:?}");
                let why = leaderless.map_or("RabbitMQ says that every queue has a leader".to_owned(), |queues| {
                    format!("RabbitMQ says that these queues have no leader: {queues} (docs/rabbitmq.md, Versions)")
                });
                bench.say(&format!("{words}; {why}"));
                bench.report.skipped.push(format!("{words}, and that long it counts; {why}"));
                spans_s.push(RESUME_MAX.as_secs_f64());
            }
        }
    }
    let name = "RabbitMQ, work goes on after a killed broker listens again".to_owned();
    bench.report.figures.push(Figure { name, value: median(spans_s), unit: " s", floor: Floor::AtMost(RESUME_S) });
    Ok(())
}

enum Resumed {
    After(Duration),
    /// Not in time; with the queues that have no leader by RabbitMQ's own word.
    Not {
        leaderless: Option<String>,
    },
}

async fn resume_round(bench: &Bench, node: &Node) -> anyhow::Result<Resumed> {
    let place = Place::on(node)?;
    let (_folder, mut host) = whole(bench, &place).await?;
    let deliveries = Arc::new(Deliveries::pushes(bench.series())?);
    drive(host.target, &deliveries, Pace::ClosedCount(200), &bench.clock).await?;
    drained(&mut host, 200, bench).await?;
    bench.clock.sleep(DECLARED_FOR).await;
    node.kill()?;
    drive(host.target, &deliveries, Pace::ClosedCount(200), &bench.clock).await?;
    let handled = host.books().await?.handled;
    node.restart()?;
    let listening = bench.clock.instant();
    while host.books().await?.handled == handled {
        host.server.must_run()?;
        if bench.clock.instant().saturating_duration_since(listening) > RESUME_MAX {
            return Ok(Resumed::Not { leaderless: node.leaderless("hookyard")? });
        }
        bench.clock.sleep(LOOK_EVERY).await;
    }
    let span = bench.clock.instant().saturating_duration_since(listening);
    drained(&mut host, 400, bench).await?;
    host.stop(&bench.clock).await?;
    Ok(Resumed::After(span))
}

/// A vhost nobody has used; what a round leaves in it goes with it, or the next round would share the node with it.
struct Place<'a> {
    node: &'a Node,
    name: String,
    url: String,
}

impl<'a> Place<'a> {
    fn on(node: &'a Node) -> anyhow::Result<Self> {
        let name = format!("bench-{:016x}", fastrand::u64(..));
        let url = node.add_vhost(&name).context("a vhost for the bench")?;
        Ok(Self { node, name, url })
    }
}

impl Drop for Place<'_> {
    fn drop(&mut self) {
        // A node that is gone has nothing to remove.
        let _ = self.node.remove_vhost(&self.name);
    }
}
