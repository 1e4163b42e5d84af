//! What a stream costs whoever accepts: the same deliveries with a Redis that is told of each, and without.
//!
//! Redis is one of our own on the same cores and the same disk, and syncs every write, so this is more than a stream costs where Redis is
//! elsewhere. A round counts only once Redis has every delivery that was accepted in it.

use std::{sync::Arc, time::Duration};

use anyhow::ensure;
use system_tests::redis::RedisServer;

use crate::{
    bench::Bench,
    durable::{PUSH_PLUGIN, drained, serving},
    host::{Folder, private_file, quoted},
    lengths::median,
    load::{Pace, drive},
    payload::Deliveries,
    report::{Figure, Floor},
};

/// Arrivals a second of the open loop.
const PER_S: u32 = 1_000;
/// How long the stream may need after the last accept.
const FOLLOWED_MAX: Duration = Duration::from_mins(2);
/// How often that is looked at.
const LOOK_EVERY: Duration = Duration::from_millis(10);

/// One round, with a stream or without.
struct Round {
    p95_ms: f64,
    /// Accepts a second of a sender that never waits.
    per_s: f64,
    /// How far the stream was behind when that sender stopped.
    behind: u64,
}

/// Measures both, in turn.
pub(crate) async fn measure(bench: &mut Bench) -> anyhow::Result<()> {
    let Some(redis) = RedisServer::start() else {
        bench.report.skipped.push("accepting beside a stream: there is no redis-server".to_owned());
        return Ok(());
    };
    let (mut alone, mut followed) = (Vec::new(), Vec::new());
    for number in 1..=bench.lengths.rounds {
        for (stream, rounds) in [(None, &mut alone), (Some(&redis), &mut followed)] {
            let round = round(bench, stream).await?;
            let beside = stream.map_or("without a stream", |_| "beside a stream");
            bench.say(&format!(
                "round {number}: accepting {beside}: p95 {:.1} ms at {PER_S}/s; at most {:.0}/s, {} behind",
                round.p95_ms, round.per_s, round.behind
            ));
            rounds.push(round);
        }
    }
    let ratio = |value: fn(&Round) -> f64| median(followed.iter().zip(&alone).map(|(followed, alone)| value(followed) / value(alone)));
    let p95 = |rounds: &[Round]| median(rounds.iter().map(|round| round.p95_ms));
    let figure = |name: String, value, unit, floor| Figure { name, value, unit, floor };
    bench.report.figures.extend([
        figure(format!("accept p95 at {PER_S}/s beside a stream, plugin runs"), p95(&followed), " ms", Floor::AtMost(50.0)),
        figure("the same without a stream".to_owned(), p95(&alone), " ms", Floor::None),
        figure(
            "accepts of a sender that never waits, beside a stream against without".to_owned(),
            ratio(|round| round.per_s),
            "×",
            Floor::None,
        ),
    ]);
    Ok(())
}

async fn round(bench: &Bench, redis: Option<&RedisServer>) -> anyhow::Result<Round> {
    let series = bench.series();
    let stream = format!("bench:{series}");
    let mut folder = Folder::lay(&bench.folders, &[PUSH_PLUGIN])?;
    if let Some(redis) = redis {
        let url = folder.tenant("default").join("secrets/redis");
        private_file(&url, &redis.url())?;
        folder = folder.with(&format!(
            "[streams.bench]\nkind = \"redis\"\nurl = {{ file = {} }}\ntenants = [\"default\"]\nstream = \"{stream}\"\nmaxlen = 100000000\n",
            quoted(&url)
        ));
    }
    let mut host = serving(&folder, &[PUSH_PLUGIN], bench).await?;
    let deliveries = Arc::new(Deliveries::pushes(series)?);
    let warm = drive(host.target, &deliveries, Pace::ClosedFor(bench.lengths.warm_up), &bench.clock).await?;
    drained(&mut host, warm.latency.len(), bench).await?;
    let steady = drive(host.target, &deliveries, Pace::Open { per_s: PER_S, span: bench.lengths.span }, &bench.clock).await?;
    let accepted = warm.latency.len() + steady.latency.len();
    drained(&mut host, accepted, bench).await?;
    host.pause(PUSH_PLUGIN).await?;
    followed(redis, &stream, accepted, bench).await?;
    let most = drive(host.target, &deliveries, Pace::ClosedFor(bench.lengths.span), &bench.clock).await?;
    let accepted = accepted + most.latency.len();
    let behind = match redis {
        Some(redis) => accepted.saturating_sub(entries(redis, &stream).await),
        None => 0,
    };
    followed(redis, &stream, accepted, bench).await?;
    host.books().await?.must_hold(accepted)?;
    host.stop(&bench.clock).await?;
    #[expect(clippy::cast_precision_loss, reason = "counts are far below 2^52")]
    let per_s = most.latency.len() as f64 / bench.lengths.span.as_secs_f64();
    Ok(Round { p95_ms: steady.latency.quantile(0.95).as_secs_f64() * 1e3, per_s, behind })
}

async fn entries(redis: &RedisServer, stream: &str) -> u64 {
    redis.ask(&["XLEN", stream]).await
}

/// Waits until Redis has so many.
async fn followed(redis: Option<&RedisServer>, stream: &str, accepted: u64, bench: &Bench) -> anyhow::Result<()> {
    let Some(redis) = redis else { return Ok(()) };
    let deadline = bench.clock.instant() + FOLLOWED_MAX;
    loop {
        let there = entries(redis, stream).await;
        if there >= accepted {
            return Ok(());
        }
        ensure!(bench.clock.instant() < deadline, "Redis has {there} of {accepted} deliveries after {FOLLOWED_MAX:?}");
        bench.clock.sleep(LOOK_EVERY).await;
    }
}
