//! Accepting: the same load on every server in turn, round after round, so that a slow minute of the machine falls on all of them.

use std::{fs::create_dir_all, sync::Arc, time::Duration};

use crate::{
    bench::Bench,
    load::{Pace, Target, drive},
    payload::Deliveries,
    peers::Peer,
    process::{Server, free_address},
    reading::{Reading, Readings, read},
};

/// How long a peer may take to start.
const START_MAX: Duration = Duration::from_secs(30);

/// Measures the peers; what cannot be installed is left out with a word.
pub(crate) async fn peers(bench: &mut Bench) -> anyhow::Result<()> {
    let mut present = Vec::new();
    for peer in Peer::ALL {
        match peer.install(&bench.folders) {
            Ok(()) => present.push((peer, Readings { name: peer.name().to_owned(), rounds: Vec::new() })),
            Err(error) => bench.report.skipped.push(format!("{}: {error:#}", peer.name())),
        }
    }
    for round in 1..=bench.lengths.rounds {
        for (peer, readings) in &mut present {
            let reading = turn(bench, *peer).await?;
            bench.say(&format!("round {round}: {:<20} {:>8.0} deliveries/s", peer.name(), reading.per_s));
            readings.rounds.push(reading);
        }
    }
    bench.report.readings.extend(present.into_iter().map(|(_, readings)| readings));
    Ok(())
}

/// One peer's turn: start, warm up, measure, stop.
async fn turn(bench: &Bench, peer: Peer) -> anyhow::Result<Reading> {
    let address = free_address()?;
    create_dir_all(bench.folders.peers())?;
    let log = bench.folders.peers().join("server.log");
    let mut server = Server::start(peer.name(), &mut peer.command(address, &bench.folders)?, &log)?;
    server.listening(address, START_MAX, &bench.clock).await?;
    let target = Target { address, expected: peer.expected() };
    let deliveries = Arc::new(Deliveries::pushes(bench.series())?);
    drive(target, &deliveries, Pace::ClosedFor(bench.lengths.warm_up), &bench.clock).await?;
    let (reading, _) = read((&mut server, target), &deliveries, Pace::ClosedFor(bench.lengths.span), &bench.clock).await?;
    server.stop(&bench.clock).await?;
    Ok(reading)
}
