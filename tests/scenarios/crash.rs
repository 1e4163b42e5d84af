//! The host is killed again and again, at random moments, under load. Whatever was answered 202 is settled after the last start. A kill during
//! the run of a suspect parks its plugin, innocent as it is here, so both are resumed at the begin of each life.
//!
//! `HOOKYARD_KILLS` sets the number of kills (50 by default).

use std::{
    collections::{BTreeMap, BTreeSet},
    time::Duration,
};

use hookyard::{clock::Clock, delivery::LegState};
use system_tests::{
    folder::{Folder, Layout, SECRET},
    guests,
    host::TestHost,
    process::ProcessHost,
    sender::Sender,
};

/// Runs a worker may have under way at once, and so the most a kill may repeat.
const IN_FLIGHT_MAX: usize = 64;
/// Both handle everything.
const PLUGINS: [&str; 2] = ["ack", "echo"];

#[tokio::test(flavor = "multi_thread")]
#[expect(clippy::disallowed_methods, reason = "the load is this test's own")]
#[expect(clippy::print_stdout, reason = "the figures of the run, for who reads it")]
async fn every_leg_of_every_202_is_settled_after_any_number_of_kills() {
    let kills: usize = std::env::var("HOOKYARD_KILLS").ok().and_then(|text| text.parse().ok()).unwrap_or(50);
    let folder = Folder::lay(&Layout {
        plugins: BTreeMap::from([
            (("default".to_owned(), "ack".to_owned()), (guests::component("ack"), "sources = [\"github\"]\nevents = [\"*\"]\n".to_owned())),
            (
                ("default".to_owned(), "echo".to_owned()),
                (guests::component("publish-document"), "sources = [\"github\"]\nevents = [\"*\"]\n".to_owned()),
            ),
        ]),
        ..Layout::default()
    });
    let mut accepted = BTreeSet::new();
    for kill in 0..kills {
        let host = ProcessHost::start(&folder);
        for plugin in PLUGINS {
            host.resume(&folder, plugin);
        }
        let life = Duration::from_millis(fastrand::u64(20..400));
        let load = tokio::spawn(Sender::new(host.ingest, "default", "github", SECRET).load_until_the_host_dies());
        tokio::time::timeout(life, std::future::pending::<()>()).await.unwrap_err();
        host.kill();
        let ids = load.await.unwrap();
        assert!(kill > 5 || !ids.is_empty() || life < Duration::from_millis(100), "the host accepted nothing in {life:?}");
        accepted.extend(ids);
    }
    assert!(accepted.len() > kills, "only {} deliveries were accepted", accepted.len());

    let host = TestHost::start_on(folder, Clock::system()).await;
    for plugin in PLUGINS {
        let (tenant, name) = ("default".parse().unwrap(), plugin.parse().unwrap());
        assert!(host.inner().catalog().pause(&tenant, &name, false).await.unwrap());
    }
    host.drained().await;
    let mut repeats = 0;
    for &id in &accepted {
        let view = host.delivery(id).await;
        assert_eq!(view.legs.len(), 2, "{view:?}");
        for leg in &view.legs {
            assert_eq!(leg.state, LegState::Acked, "{view:?}");
            repeats += leg.attempts.saturating_sub(1) as usize;
        }
    }
    assert!(repeats <= kills * IN_FLIGHT_MAX, "{repeats} repeats after {kills} kills");
    println!("{} deliveries accepted through {kills} kills, all settled, {repeats} repeats", accepted.len());
}
