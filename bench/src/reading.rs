//! One server under one load: what it did, and what both sides spent on it.

use std::{sync::Arc, time::Duration};

use hookyard::clock::Clock;

use crate::{
    lengths::median,
    load::{Measured, Pace, Target, drive},
    payload::Deliveries,
    process::{Server, own_cpu_time},
};

/// What one round showed.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Reading {
    /// Deliveries answered a second.
    pub(crate) per_s: f64,
    /// Half were answered within.
    pub(crate) p50: Duration,
    /// 99 of 100 were answered within.
    pub(crate) p99: Duration,
    /// The slowest answer.
    pub(crate) max: Duration,
    /// CPU time of the server's processes for each delivery, in microseconds.
    pub(crate) server_cpu_us: f64,
    /// CPU time of the generator for each delivery, in microseconds.
    pub(crate) generator_cpu_us: f64,
}

/// The rounds of one server.
#[derive(Clone, Debug)]
pub(crate) struct Readings {
    /// As the report names it.
    pub(crate) name: String,
    /// In the order they were measured.
    pub(crate) rounds: Vec<Reading>,
}

impl Readings {
    /// The median of one value over the rounds.
    pub(crate) fn median(&self, value: impl Fn(&Reading) -> f64) -> f64 {
        median(self.rounds.iter().map(value))
    }

    /// The median of the rates.
    pub(crate) fn per_s(&self) -> f64 {
        self.median(|reading| reading.per_s)
    }
}

/// Loads a server for one round and reads both sides' CPU time around it.
pub(crate) async fn read(
    (server, target): (&mut Server, Target),
    deliveries: &Arc<Deliveries>,
    pace: Pace,
    clock: &Clock,
) -> anyhow::Result<(Reading, Measured)> {
    let (server_before, own_before) = (server.cpu_time(), own_cpu_time());
    let result = drive(target, deliveries, pace, clock).await;
    // A server that died is the better explanation of a broken connection.
    server.must_run()?;
    let measured = result?;
    #[expect(clippy::cast_precision_loss, reason = "counts are far below 2^52")]
    let each_us = |spent: Duration| spent.as_secs_f64() * 1e6 / measured.latency.len() as f64;
    let reading = Reading {
        per_s: measured.per_s(),
        p50: measured.latency.quantile(0.50),
        p99: measured.latency.quantile(0.99),
        max: measured.latency.max(),
        server_cpu_us: each_us(server.cpu_time().saturating_sub(server_before)),
        generator_cpu_us: each_us(own_cpu_time().saturating_sub(own_before)),
    };
    Ok((reading, measured))
}
